"""
The worker of online changes, on real servers: what it makes, what it undoes, and that it can be killed at any moment.
"""
import contextlib
import threading
import time

import psycopg
import pytest

import harness
import online_worker as online
from harness import wait_until
from online_worker import column, spec, unique

ALL_SERVERS = True

TABLE = """
CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL DEFAULT 0, w text);
INSERT INTO t SELECT i, i % 10, repeat('x', i % 30) FROM generate_series(1, 20000) i;
"""


@pytest.fixture
def worker(server, database, proxy_factory):
    """A database with the schema and a pgsluice that works on it; begin(safe, spec), wait(id), sql(text)."""
    online.prepare(server, database)
    server.sql("SET client_min_messages = warning; " + TABLE, database, online.OWNER)

    class Worker:
        proxy = None

        def start(self, **more):
            self.proxy = proxy_factory(server, online.config(server, **more))
            return self.proxy

        def begin(self, safe, what, table="public.t"):
            return online.begin(server, database, safe, what, table)

        def wait(self, change, *states, **more):
            return online.wait(server, database, change, *states, **more)

        def row(self, change):
            return online.row(server, database, change)

        def complete(self, change, **more):
            row = self.wait(change, **more)
            assert row["state"] == "complete", row
            return row

        def undone(self, change, sqlstate, **more):
            row = self.wait(change, **more)
            assert (row["state"], row["error_code"]) == ("undone", sqlstate), row
            return row

        def sql(self, text, user=online.OWNER):
            return server.sql(text, database, user)

        def hold(self, text):
            """A session that ends by being ended."""
            with contextlib.suppress(RuntimeError):
                self.sql(text)

        def same_as(self, direct, table=TABLE):
            """Is the schema what the direct statement leaves?"""
            twin = database[:50] + "_d"
            server.sql('DROP DATABASE IF EXISTS "%s"' % twin)
            server.sql('CREATE DATABASE "%s"' % twin)
            server.sql('GRANT CREATE ON DATABASE "%s" TO %s' % (twin, online.OWNER))
            server.sql("GRANT CREATE, USAGE ON SCHEMA public TO %s" % online.OWNER, twin)
            server.sql("SET client_min_messages = warning; " + table, twin, online.OWNER)
            server.sql(direct, twin, online.OWNER)
            want, have = online.shape(server, twin), online.shape(server, database)
            server.sql('DROP DATABASE "%s"' % twin)
            assert have == want

    made = Worker()
    made.server, made.database = server, database
    return made


TOKEN = "ALTER TABLE t ADD COLUMN token uuid, ALTER COLUMN token SET DEFAULT gen_random_uuid()"


def test_volatile_default_not_null_unique(worker):
    worker.start()
    change = worker.begin(TOKEN, spec(column("token", fill=True, not_null=True), uniques=[unique("token")]))
    row = worker.complete(change)
    assert worker.sql("SELECT count(*), count(DISTINCT token) FROM t") == "20000|20000"
    worker.same_as("ALTER TABLE t ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE")
    assert row["throttled"] is None and row["error_code"] is None


def test_duplicates_are_undone(worker):
    worker.start()
    change = worker.begin("ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT (random() * 10)::int",
                          spec(column("n", fill=True, not_null=True), uniques=[unique("n")]))
    row = worker.undone(change, "23505")
    assert "is duplicated" in row["error_detail"]
    worker.same_as("")


def test_serial(worker):
    worker.start()
    change = worker.begin("ALTER TABLE t ADD COLUMN n int; SELECT pgsluice.add_sequence('t', 'n', 'serial', NULL)",
                          spec(column("n", fill=True, not_null=True, serial=True)))
    worker.complete(change)
    # a batch that is broken off leaves a gap, as any transaction that fails does
    distinct, least, most = map(int, worker.sql("SELECT count(DISTINCT n), min(n), max(n) FROM t").split("|"))
    assert distinct == 20000 and least >= 1 and most >= 20000
    worker.same_as("ALTER TABLE t ADD COLUMN n serial")
    assert int(worker.sql("INSERT INTO t (id) VALUES (0) RETURNING n")) > most


def test_identity(worker):
    worker.start()
    change = worker.begin("ALTER TABLE t ADD COLUMN n bigint; "
                          "SELECT pgsluice.add_sequence('t', 'n', 'bigint', 'START WITH 5 INCREMENT BY 2')",
                          spec(column("n", fill=True, not_null=True, identity={"always": True})))
    worker.complete(change)
    distinct, least, most = map(int, worker.sql("SELECT count(DISTINCT n), min(n), max(n) FROM t").split("|"))
    assert distinct == 20000 and least >= 5 and most >= 40003 and least % 2 == most % 2 == 1
    worker.same_as("ALTER TABLE t ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY (START WITH 5 INCREMENT BY 2)")
    assert int(worker.sql("INSERT INTO t (id) VALUES (0) RETURNING n")) > most


def test_several_columns_and_constraints(worker):
    worker.sql("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT generate_series(0, 9)")
    worker.start()
    change = worker.begin(
        "ALTER TABLE t ADD COLUMN a uuid, ALTER COLUMN a SET DEFAULT gen_random_uuid(), ADD COLUMN b int, "
        "ALTER COLUMN b SET DEFAULT (random() * 9)::int, ADD CONSTRAINT t_b_check CHECK (b >= 0) NOT VALID, "
        "ADD CONSTRAINT t_b_fkey FOREIGN KEY (b) REFERENCES other NOT VALID",
        spec(column("a", fill=True), column("b", fill=True, not_null=True),
             uniques=[unique("a", "id", name="pair", include=["w"], deferrable=True, deferred=True)]))
    worker.complete(change)
    assert worker.sql("SELECT count(a), count(b) FROM t") == "20000|20000"
    worker.same_as("ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid(), ADD COLUMN b int NOT NULL DEFAULT "
                   "(random() * 9)::int CHECK (b >= 0) REFERENCES other, ADD CONSTRAINT pair UNIQUE (a, id) INCLUDE (w) "
                   "DEFERRABLE INITIALLY DEFERRED",
                   TABLE + "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT generate_series(0, 9);")


def test_a_named_not_null(worker):
    """From 18 on a NOT NULL constraint keeps its name; before, the name is nothing."""
    worker.start()
    change = worker.begin(TOKEN, spec(column("token", fill=True, not_null=True, not_null_name="must")))
    worker.complete(change)
    worker.same_as("ALTER TABLE t ADD COLUMN token uuid CONSTRAINT must NOT NULL DEFAULT gen_random_uuid()")


def test_set_not_null(worker):
    worker.start()
    what = spec(column("w", added=False, not_null=True), kind="set-not-null")
    worker.complete(worker.begin("SELECT", what))
    worker.same_as("ALTER TABLE t ALTER COLUMN w SET NOT NULL")
    worker.sql("ALTER TABLE t ALTER COLUMN w DROP NOT NULL; UPDATE t SET w = NULL WHERE id = 777")
    row = worker.undone(worker.begin("SELECT", what), "23502")
    assert row["error_message"] == 'column "w" of relation "t" contains null values'
    worker.same_as("")


def test_constraints_of_existing_columns(worker):
    worker.start()
    check = "ALTER TABLE t ADD CONSTRAINT c CHECK (v %s 10) NOT VALID"
    worker.undone(worker.begin(check % "<> 5 AND v <", spec(kind="add-check")), "23514")
    worker.same_as("")
    worker.complete(worker.begin(check % "<", spec(kind="add-check")))
    worker.complete(worker.begin("SELECT", spec(kind="add-unique", uniques=[unique("w", "id", name="u")])))
    worker.same_as("ALTER TABLE t ADD CONSTRAINT c CHECK (v < 10); ALTER TABLE t ADD CONSTRAINT u UNIQUE (w, id)")
    worker.undone(worker.begin("SELECT", spec(kind="add-unique", uniques=[unique("v", name="v")])), "23505")
    worker.same_as("ALTER TABLE t ADD CONSTRAINT c CHECK (v < 10); ALTER TABLE t ADD CONSTRAINT u UNIQUE (w, id)")


def test_create_index(worker):
    worker.start()
    for text, sqlstate in (("CREATE INDEX CONCURRENTLY i ON public.t (lower(w)) WHERE v > 3", None),
                           ("CREATE INDEX CONCURRENTLY ON public.t (v)", None),
                           ("CREATE UNIQUE INDEX CONCURRENTLY ON public.t (v)", "23505"),
                           ("CREATE INDEX CONCURRENTLY k ON public.t ((1 / (id - 500)))", "22012")):
        what = spec(kind="create-index", index={"sql": text, "name": None, "if_not_exists": False})
        change = worker.begin("SELECT", what)
        if sqlstate:
            worker.undone(change, sqlstate)
        else:
            worker.complete(change)
    worker.same_as("CREATE INDEX i ON public.t (lower(w)) WHERE v > 3; CREATE INDEX ON public.t (v)")


def test_what_fails_is_undone(worker):
    worker.start()
    number = "ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT %s"
    n = column("n", fill=True)
    worker.undone(worker.begin(number % "(random() * 3)::int / 0", spec(n)), "22012")
    worker.undone(worker.begin(number % "(random() * 100)::int" + ", ADD CONSTRAINT c CHECK (n < 50) NOT VALID", spec(n)),
                  "23514")
    row = worker.undone(worker.begin(number % "CASE WHEN random() < 2 THEN NULL ELSE 1 END",
                                     spec(column("n", fill=True, not_null=True))), "23502")
    assert row["error_message"] == 'column "n" of relation "t" contains null values'
    worker.same_as("")
    # a nullable column may get NULL, and there is an end to it
    worker.complete(worker.begin(number % "CASE WHEN random() < 0.5 THEN NULL ELSE 1 END", spec(n)))
    assert 8000 < int(worker.sql("SELECT count(n) FROM t")) < 12000


def test_no_trigger_fires(worker):
    worker.sql("CREATE TABLE log (x int); CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS "
               "'BEGIN INSERT INTO log VALUES (1); RETURN new; END'; "
               "CREATE TRIGGER noted BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION noted()")
    worker.start()
    worker.complete(worker.begin(TOKEN, spec(column("token", fill=True, not_null=True))))
    assert worker.sql("SELECT count(*) FROM log") == "0"


def test_partitions(worker):
    table = ("CREATE TABLE p (id int, v int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO "
             "(5000); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (5000) TO (20000) PARTITION BY LIST (v); CREATE TABLE "
             "p3 PARTITION OF p2 DEFAULT; INSERT INTO p SELECT i, i FROM generate_series(1, 9999) i;")
    worker.sql(table)
    worker.start()
    change = worker.begin("ALTER TABLE p ADD COLUMN token uuid, ALTER COLUMN token SET DEFAULT gen_random_uuid()",
                          spec(column("token", fill=True, not_null=True)), "public.p")
    worker.complete(change)
    assert worker.sql("SELECT count(DISTINCT token) FROM p") == "9999"
    worker.same_as("ALTER TABLE p ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()", TABLE + table)


def test_the_owners_code_stays_the_owners(worker):
    """A default's function that tries to become somebody else, or to leave code for COMMIT."""
    worker.server.sql("DROP TABLE IF EXISTS loot; CREATE TABLE loot (who text)", worker.database)
    worker.server.sql("DROP ROLE IF EXISTS victim; CREATE ROLE victim; GRANT victim TO %s; "
                      "GRANT INSERT ON loot TO victim, %s" % (online.WORKER, online.OWNER), worker.database)
    tries = {"role": "SET ROLE victim", "reset": "RESET ROLE",
             "cursor": "DECLARE later CURSOR WITH HOLD FOR SELECT take()",
             "replace": "CREATE OR REPLACE FUNCTION pg_temp.pgsluice_all_' || 't'::regclass::oid || '(bigint, bigint) "
                        "RETURNS text LANGUAGE plpgsql AS ''BEGIN PERFORM take(); RETURN ''''1 0 0''''; END''"}
    worker.sql("CREATE FUNCTION take() RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SET ROLE victim'; "
               "INSERT INTO loot VALUES (current_user); RETURN 1; END$$")
    worker.start()
    for name, text in tries.items():
        worker.sql("CREATE OR REPLACE FUNCTION evil() RETURNS int LANGUAGE plpgsql AS $f$BEGIN EXECUTE '%s'; "
                   "RETURN 1; END$f$" % text)
        change = worker.begin("ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT evil()",
                              spec(column("n", fill=True)))
        if name == "replace":
            wait_until(lambda: "tries again" in (worker.row(change)["throttled"] or ""))
            worker.sql("SELECT pgsluice.cancel(%d)" % change)
        assert worker.wait(change)["state"] == "undone"
        assert worker.server.sql("SELECT count(*) FROM loot", worker.database) == "0", name


def test_pause_resume_cancel(worker):
    worker.start(more="  batch_time: 1ms\n", throttle="latency_percent: 100, autovacuum: false")
    worker.sql("CREATE FUNCTION slow() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1 FROM pg_sleep(0.0005)'")
    slow = "ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT slow()"
    change = worker.begin(slow, spec(column("n", fill=True)))
    worker.wait(change, "running")
    worker.sql("SELECT pgsluice.pause(%d)" % change)
    wait_until(lambda: "paused" in (worker.row(change)["throttled"] or ""))
    filled = worker.sql("SELECT count(n) FROM t")
    time.sleep(0.5)
    assert filled == worker.sql("SELECT count(n) FROM t")
    worker.sql("SELECT pgsluice.resume(%d)" % change)
    wait_until(lambda: int(worker.sql("SELECT count(n) FROM t")) > int(filled))
    worker.sql("SELECT pgsluice.cancel(%d)" % change)
    worker.undone(change, "57014")
    worker.sql("DROP FUNCTION slow()")
    worker.same_as("")


def test_a_default_that_is_too_slow_for_a_block(worker):
    """Batches are broken off within the stall budget, until one block is left; that one gets the time that it takes."""
    worker.start()
    worker.sql("CREATE TABLE slow_t AS SELECT i AS id, repeat('x', 60) FROM generate_series(1, 700) i; ANALYZE slow_t; "
               "CREATE FUNCTION slow() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1 FROM pg_sleep(0.004)'")
    change = worker.begin("ALTER TABLE slow_t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT slow()",
                          spec(column("n", fill=True, not_null=True)), "public.slow_t")
    worker.complete(change)
    assert worker.sql("SELECT count(n) FROM slow_t") == "700"


def test_a_view_is_in_the_way_of_undoing(worker):
    worker.start()
    worker.sql("CREATE FUNCTION slow() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1 FROM pg_sleep(0.0005)'")
    change = worker.begin("ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT slow(); "
                          "CREATE VIEW seen AS SELECT n FROM t", spec(column("n", fill=True)))
    worker.sql("SELECT pgsluice.cancel(%d)" % change)
    row = worker.wait(change, "stuck")
    assert "view seen depends on column n" in row["throttled"]
    assert row["error_code"] == "57014"


def test_how_far_it_is_goes_by_blocks(worker):
    """A table whose first half is nearly empty: rows would say that nothing has been done when half is."""
    worker.sql("CREATE TABLE thin (id int, pad text); INSERT INTO thin SELECT i, repeat('x', 1000) FROM "
               "generate_series(1, 4000) i; DELETE FROM thin WHERE id <= 2000 AND id % 50 <> 0; ANALYZE thin; "
               "CREATE FUNCTION slow() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1 FROM pg_sleep(0.005)'")
    worker.start()
    change = worker.begin("ALTER TABLE thin ADD COLUMN n int, ALTER COLUMN n SET DEFAULT slow()",
                          spec(column("n", fill=True)), "public.thin")
    wait_until(lambda: worker.row(change)["progress"].get("blocks", 0) > 250, 60)
    progress = worker.row(change)["progress"]
    assert progress["blocks_total"] > 500
    percent, eta = worker.sql("SELECT percent, extract(epoch FROM eta) FROM pgsluice.progress WHERE id = %d"
                              % change).split("|")
    assert float(percent) > 43 and 0 < float(eta) < 120, (percent, eta)
    assert progress["rows"] / progress["rows_total"] < float(percent) / 100
    worker.complete(change)
    assert worker.sql("SELECT percent, rows FROM pgsluice.progress WHERE id = %d" % change) == "100.0|"


def test_the_table_is_dropped_or_renamed(worker):
    worker.start()
    worker.sql("CREATE FUNCTION slow() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1 FROM pg_sleep(0.0002)'")
    slow = "ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT slow()"
    change = worker.begin(slow, spec(column("n", fill=True, not_null=True)))
    worker.wait(change, "running")
    worker.sql("ALTER TABLE t RENAME TO u; CREATE TABLE t (LIKE u); INSERT INTO t (id, v) VALUES (1, 1)")
    worker.complete(change)
    assert worker.sql("SELECT count(*), count(n) FROM u") == "20000|20000"
    assert worker.sql("SELECT count(n) FROM t") == "0"
    change = worker.begin("ALTER TABLE u ADD COLUMN m int, ALTER COLUMN m SET DEFAULT slow()",
                          spec(column("m", fill=True)), "public.u")
    worker.wait(change, "running")
    worker.sql("DROP TABLE u")
    worker.undone(change, "42P01")


def test_a_row_is_locked(worker):
    """The fill doesn't wait for the application's rows, and doesn't leave them out."""
    change = worker.begin(TOKEN, spec(column("token", fill=True, not_null=True)))
    holder = threading.Thread(target=worker.hold, args=["BEGIN; UPDATE t SET v = 1 WHERE id > 19990; SELECT pg_sleep(60)"])
    holder.start()
    worker.start()
    wait_until(lambda: "10 rows are left to fill" in (worker.row(change)["throttled"] or ""), 40)
    assert worker.sql("SELECT count(*) FROM t WHERE token IS NULL") == "10"
    worker.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> "
                      "pg_backend_pid()")
    worker.complete(change)
    holder.join()
    assert worker.sql("SELECT count(token) FROM t") == "20000"


def test_a_row_is_locked_and_the_default_gives_null_too(worker):
    """What got NULL has had its turn; what was skipped has not."""
    worker.sql("CREATE SEQUENCE numbers")
    change = worker.begin("ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT nullif(nextval('numbers') % 500, 0), "
                          "ADD COLUMN token uuid, ALTER COLUMN token SET DEFAULT gen_random_uuid()",
                          spec(column("n", fill=True), column("token", fill=True)))
    holder = threading.Thread(target=worker.hold, args=["BEGIN; UPDATE t SET v = 1 WHERE id > 19990; SELECT pg_sleep(60)"])
    holder.start()
    wait_until(lambda: worker.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND wait_event = "
                                  "'PgSleep'") == "1", 30)
    worker.start()
    wait_until(lambda: "10 rows are left to fill" in (worker.row(change)["throttled"] or ""), 40)
    worker.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> "
                      "pg_backend_pid()")
    worker.complete(change)
    holder.join()
    assert worker.sql("SELECT count(token) FROM t") == "20000"
    # batches that were broken off have taken numbers too
    assert 19950 < int(worker.sql("SELECT count(n) FROM t")) < 19970
    assert int(worker.sql("SELECT count(n) FROM t WHERE id > 19990")) >= 9


def test_a_pause_while_the_default_gives_null_too(worker):
    worker.start(more="  batch_time: 1ms\n", throttle="latency_percent: 100, autovacuum: false")
    worker.sql("CREATE FUNCTION maybe() RETURNS int LANGUAGE sql VOLATILE AS "
               "'SELECT CASE WHEN random() < 0.5 THEN 1 END FROM pg_sleep(0.0002)'")
    change = worker.begin("ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT maybe()", spec(column("n", fill=True)))
    wait_until(lambda: int(worker.sql("SELECT count(n) FROM t")) > 2000, 30)
    worker.sql("SELECT pgsluice.pause(%d)" % change)
    wait_until(lambda: "paused" in (worker.row(change)["throttled"] or ""))
    worker.sql("SELECT pgsluice.resume(%d)" % change)
    worker.complete(change)
    assert 9000 < int(worker.sql("SELECT count(n) FROM t")) < 11000


# A default that gives 7 when the gate is open.
GATE = """
CREATE TABLE gate (open boolean); INSERT INTO gate VALUES (false);
CREATE FUNCTION gated() RETURNS int VOLATILE LANGUAGE plpgsql AS
  'BEGIN WHILE NOT (SELECT open FROM public.gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN 7; END';
CREATE TABLE r (id int); INSERT INTO r SELECT generate_series(1, 300);
"""
GATED = "ALTER TABLE %s ADD COLUMN n int, ALTER COLUMN n SET DEFAULT gated()"


@pytest.mark.parametrize("act", ["DELETE FROM other WHERE id = 7", "UPDATE other SET id = 1007 WHERE id = 7"])
def test_who_has_looked_for_references_already_is_waited_for(worker, act):
    """The fill doesn't look for the row that it refers to, and who deletes that one found nothing yet."""
    worker.sql(GATE + "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT generate_series(0, 9)")
    worker.start()
    for end, state in (("rollback", "complete"), ("commit", "undone")):
        worker.sql("UPDATE gate SET open = false")
        change = worker.begin(GATED % "r" + ", ADD CONSTRAINT c FOREIGN KEY (n) REFERENCES other NOT VALID",
                              spec(column("n", fill=True)), "public.r")
        worker.wait(change, "running")
        with psycopg.connect(host="127.0.0.1", port=worker.server.port, user=online.OWNER, dbname=worker.database) as other:
            other.execute(act)
            worker.sql("UPDATE gate SET open = true")
            wait_until(lambda: worker.row(change)["phase"] == "validate", 30)
            time.sleep(0.5)
            assert worker.row(change)["state"] == "running"
            getattr(other, end)()
        row = worker.wait(change)
        assert row["state"] == state and row["error_code"] == (None if state == "complete" else "23503"), row
        worker.sql("ALTER TABLE r DROP COLUMN IF EXISTS n")


def test_timeouts_that_are_set_for_the_worker(worker):
    """Neither a long statement of ours nor a pause between two is anybody's mistake."""
    worker.sql("CREATE FUNCTION fine(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); "
               "RETURN true; END'; CREATE TABLE r (id int); INSERT INTO r SELECT generate_series(1, 600)")
    change = worker.begin("ALTER TABLE r ADD CONSTRAINT c CHECK (fine(id)) NOT VALID", spec(kind="add-check"), "public.r")
    settings = {"statement_timeout": 13, "lock_timeout": 13, "idle_in_transaction_session_timeout": 13,
                "idle_session_timeout": 14, "transaction_timeout": 17}
    for name, since in settings.items():
        if worker.server.version >= since:
            worker.server.sql('ALTER ROLE %s IN DATABASE "%s" SET %s = 300' % (online.WORKER, worker.database, name))
    worker.start()
    row = worker.complete(change)
    assert "tries_of" not in row["progress"]


def test_a_partition_is_dropped(worker):
    worker.sql(GATE + "CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); "
               "CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p SELECT generate_series(1, 300)")
    worker.start()
    change = worker.begin(GATED % "p", spec(column("n", fill=True, not_null=True)), "public.p")
    wait_until(lambda: worker.row(change)["phase"] == "fill", 30)
    time.sleep(0.3)
    worker.sql("DROP TABLE p1; UPDATE gate SET open = true")
    worker.complete(change)
    assert worker.sql("SELECT count(*), count(n) FROM p") == "299|299"


def test_a_table_is_made_like_it(worker):
    """LIKE copies the default that fills; an identity's it wouldn't have."""
    worker.sql(GATE)
    worker.start()
    for name in ("done", "undone"):
        worker.sql("UPDATE gate SET open = false")
        change = worker.begin("ALTER TABLE r ADD COLUMN i_{0} int, ADD COLUMN n_{0} int, ALTER COLUMN n_{0} SET DEFAULT "
                              "gated(); SELECT pgsluice.add_sequence('r', 'i_{0}', 'int', '')".format(name),
                              spec(column("i_" + name, fill=True, not_null=True, identity={"always": True}),
                                   column("n_" + name, fill=True)), "public.r")
        worker.wait(change, "running")
        worker.sql("CREATE TABLE like_%s (LIKE r INCLUDING ALL)" % name)
        if name == "undone":
            worker.sql("SELECT pgsluice.cancel(%d)" % change)
        worker.sql("UPDATE gate SET open = true")
        assert worker.wait(change)["state"] == ("complete" if name == "done" else "undone")
        assert worker.sql("SELECT atthasdef FROM pg_attribute WHERE attrelid = 'like_%s'::regclass AND attname = 'i_%s'"
                          % (name, name)) == "f"


def test_a_superuser_is_refused(server, database, proxy_factory):
    online.prepare(server, database)
    server.sql("SET client_min_messages = warning; " + TABLE, database, online.OWNER)
    proxy = proxy_factory(server, online.config(server).replace("user=" + online.WORKER, "user=" + server.superuser))
    change = online.begin(server, database, TOKEN, spec(column("token", fill=True)))
    wait_until(lambda: "superuser" in (online.row(server, database, change)["throttled"] or ""))
    assert proxy.log().count("is a superuser") == 1


def test_the_worker_can_not_log_in(worker):
    """Whoever waits is told why nothing happens, from the first connection on and in the midst of work."""
    login = "ALTER ROLE %s %%s" % online.WORKER
    said = ('nobody works on it: %s can\'t log in (28000: role "%s" is not permitted to log in)'
            % (online.WORKER, online.WORKER))
    worker.server.sql(login % "NOLOGIN")
    try:
        proxy = worker.start()
        change = worker.begin(TOKEN, spec(column("token", fill=True, not_null=True)))
        wait_until(lambda: "waiting" in shown(worker) and "no worker has taken it; see the proxy's log" in shown(worker), 40)
        worker.server.sql(login % "LOGIN")
        worker.complete(change)
        # now the supervisor's own connection is older than what shuts the worker out
        worker.server.sql(login % "NOLOGIN")
        change = worker.begin("ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT (random() * 9)::int",
                              spec(column("n", fill=True)))
        wait_until(lambda: said in (worker.row(change)["throttled"] or ""), 40)
        assert said in shown(worker)
        assert "are not worked on: %s can't log in" % online.WORKER in proxy.log()
    finally:
        worker.server.sql(login % "LOGIN")
    assert worker.complete(change)["throttled"] is None


def shown(worker):
    done = harness.run([harness.PGSLUICE, "changes", "--connect", "host=127.0.0.1 port=%d user=%s dbname=%s"
                        % (worker.server.port, worker.server.superuser, worker.database), "--database", worker.database])
    return done.stdout


@pytest.mark.parametrize("since", ["the start", "later"])
def test_who_waits_is_told_that_the_worker_can_not_log_in(worker, since):
    login = "ALTER ROLE %s %%s" % online.WORKER
    if since == "the start":
        worker.server.sql(login % "NOLOGIN")
    proxy = worker.start()
    notices = []
    try:
        with psycopg.connect("host=127.0.0.1 port=%d user=%s dbname=%s" % (proxy.port, online.OWNER, worker.database),
                             autocommit=True) as connection:
            connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
            if since == "later":
                connection.execute("ALTER TABLE t ADD COLUMN first uuid DEFAULT gen_random_uuid()")
                worker.server.sql(login % "NOLOGIN")
            began = time.monotonic()
            with pytest.raises(psycopg.Error) as failed:
                connection.execute("ALTER TABLE t ADD COLUMN token uuid DEFAULT gen_random_uuid()")
            took = time.monotonic() - began
    finally:
        worker.server.sql(login % "LOGIN")
    assert failed.value.sqlstate == "SL900" and "is not permitted to log in" in str(failed.value)
    assert 55 < took < 110, took
    told = [text for text in notices if "nobody works on it: pgsluice_worker can't log in (28000: role" in text]
    assert 3 <= len(told) <= 7 and "pgsluice changes cancel" in told[0], notices

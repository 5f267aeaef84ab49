"""
An owner of a table who would like to become the worker: what its code tries while a change is carried out.
"""
import psycopg2
import pytest

import online_worker as online
from online_worker import column, spec
from test_change_worker import worker  # noqa: F401, a fixture

ALL_SERVERS = True
FILL = "ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT evil()"


@pytest.fixture
def intruder(worker):  # noqa: F811
    worker.server.sql("DROP TABLE IF EXISTS loot; CREATE TABLE loot (who text)", worker.database)
    worker.server.sql("SET client_min_messages = error; DO $$BEGIN CREATE ROLE intruders_victim; EXCEPTION WHEN duplicate_object THEN END$$; "
                      "GRANT intruders_victim TO %s; GRANT INSERT ON loot TO intruders_victim" % online.WORKER, worker.database)
    worker.sql("CREATE FUNCTION take() RETURNS int LANGUAGE plpgsql AS $$BEGIN RESET ROLE; SET ROLE intruders_victim; "
               "INSERT INTO loot VALUES (session_user); RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 0; END$$;"
               "CREATE TABLE side (x int); CREATE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS "
               "$$BEGIN PERFORM public.take(); RETURN new; END$$;")

    def evil(text):
        worker.sql("CREATE OR REPLACE FUNCTION evil() RETURNS int LANGUAGE plpgsql AS $f$BEGIN %s; RETURN 1; END$f$" % text)
        return worker.begin(FILL, spec(column("n", fill=True)))

    worker.evil = evil
    worker.loot = lambda: worker.server.sql("SELECT count(*) FROM loot", worker.database)
    worker.start()
    return worker


def test_an_immutable_replacement(intruder):
    """The planner would run it before anything had looked whether the function is ours."""
    change = intruder.evil(
        "EXECUTE 'CREATE OR REPLACE FUNCTION pg_temp.pgsluice_all_' || 't'::regclass::oid || '(bigint, bigint) RETURNS text "
        "LANGUAGE plpgsql IMMUTABLE AS ''BEGIN PERFORM public.take(); RETURN ''''1 0 0''''; END'''")
    online.harness.wait_until(lambda: "tries again" in (intruder.row(change)["throttled"] or ""))
    intruder.sql("SELECT pgsluice.cancel(%d)" % change)
    assert intruder.wait(change)["state"] == "undone"
    assert intruder.loot() == "0"


@pytest.mark.parametrize("text", ["INSERT INTO side VALUES (1)", "TRUNCATE side",
                                  "CREATE TEMP TABLE IF NOT EXISTS own (x int); INSERT INTO own VALUES (1)",
                                  "RESET ALL"])
def test_other_tables(intruder, text):
    """Without triggers and foreign keys; with deferred ones that would run as the worker."""
    intruder.sql("CREATE CONSTRAINT TRIGGER later AFTER INSERT ON side DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
                 "EXECUTE FUNCTION taken()")
    intruder.undone(intruder.evil(text), "0A000")
    assert intruder.loot() == "0"


def test_other_tables_in_a_check(intruder):
    intruder.sql("CREATE FUNCTION chk(i int) RETURNS boolean LANGUAGE plpgsql AS "
                 "$$BEGIN INSERT INTO public.side VALUES (i); RETURN true; END$$")
    change = intruder.begin("ALTER TABLE t ADD CONSTRAINT c CHECK (chk(v)) NOT VALID", spec(kind="add-check"))
    intruder.undone(change, "0A000")
    assert intruder.sql("SELECT count(*) FROM side") == "0"


def test_an_unrelated_trigger_stops_nothing(intruder):
    intruder.sql("CREATE CONSTRAINT TRIGGER later AFTER INSERT ON side DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
                 "EXECUTE FUNCTION taken(); ALTER TABLE side ENABLE ALWAYS TRIGGER later")
    intruder.complete(intruder.evil("NULL"))


def test_an_index_of_own_types(intruder):
    intruder.sql("CREATE FUNCTION chk(i int) RETURNS boolean LANGUAGE sql AS 'SELECT public.take() >= 0'; "
                 "CREATE DOMAIN dom AS int CHECK (public.chk(VALUE))")
    for literal in ("'{1,2}'::public.dom[]", "'{1,2}'::dom[]", "'{1,2}'", "E'{1,2}'", "'' '{1}'::text", "int[] '{1,2}'",
                    "cast('{1}' AS int[])"):
        what = spec(kind="create-index", index={"sql": "CREATE INDEX CONCURRENTLY i ON public.t (v) WHERE v = ANY (%s)"
                                                % literal, "name": "i", "if_not_exists": False})
        assert intruder.wait(intruder.begin("SELECT", what))["state"] == "undone"
        assert intruder.loot() == "0"


def test_event_triggers(intruder):
    """An ordinary one doesn't fire for us; one that fires always prevents the change from being begun."""
    intruder.server.sql("CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS "
                        "$$BEGIN IF session_user = '%s' THEN INSERT INTO public.loot VALUES (session_user); END IF; END$$; "
                        "GRANT INSERT ON loot TO PUBLIC; CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE "
                        "FUNCTION noted()" % online.WORKER, intruder.database)
    index = spec(kind="create-index", index={"sql": "CREATE INDEX CONCURRENTLY i ON public.t (v)", "name": "i",
                                             "if_not_exists": False})
    intruder.complete(intruder.begin("SELECT", index))
    intruder.complete(intruder.evil("NULL"))
    assert intruder.loot() == "0"
    intruder.server.sql("ALTER EVENT TRIGGER noted ENABLE ALWAYS", intruder.database)
    with pytest.raises(RuntimeError, match="event trigger noted fires always"):
        intruder.begin("SELECT", index)


def test_operators_of_others(intruder):
    """Whoever may create in a schema on the owner's search_path offers operators that fit better than pg_catalog's."""
    intruder.server.sql("CREATE SCHEMA offers; GRANT USAGE ON SCHEMA offers TO PUBLIC; ALTER ROLE %s IN DATABASE \"%s\" "
                        "SET search_path = public, offers" % (online.OWNER, intruder.database), intruder.database)
    pairs = [(left, right) for left in ("text", "bigint", "int", "oid", "regclass", '"char"', "smallint")
             for right in ("text", "bigint", "int", "oid", "regclass", '"char"', "anyelement") if left != right]
    for i, (left, right) in enumerate(pairs):
        intruder.server.sql("CREATE FUNCTION offers.planted%d(%s, %s) RETURNS text LANGUAGE plpgsql AS "
                            "$$BEGIN RAISE EXCEPTION 'planted'; END$$" % (i, left, right), intruder.database)
        intruder.server.sql("".join("CREATE OPERATOR offers.%s (FUNCTION = offers.planted%d, LEFTARG = %s, RIGHTARG = %s);"
                                    % (operator, i, left, right) for operator in ("||", "=", ">", "-", "/", "&", "<>")),
                            intruder.database)
    intruder.complete(intruder.evil("NULL"))
    intruder.complete(intruder.begin(
        "ALTER TABLE t ADD COLUMN i int; SELECT pgsluice.add_sequence('t', 'i', 'int', '')",
        spec(column("i", fill=True, not_null=True, identity={"always": False}))))
    cancelled = intruder.begin("ALTER TABLE t ADD COLUMN j int; SELECT pgsluice.add_sequence('t', 'j', 'int', '')",
                               spec(column("j", fill=True, not_null=True, identity={"always": False})))
    intruder.sql("SELECT pgsluice.cancel(%d)" % cancelled)
    assert intruder.wait(cancelled)["state"] in ("undone", "complete")


@pytest.mark.parametrize("text", ["SET default_transaction_isolation = ''serializable''; SET work_mem = ''64kB''",
                                  "SET statement_timeout = 1", "LISTEN noise; NOTIFY noise, ''x''",
                                  "SET default_transaction_read_only = on", "SET TimeZone = ''Asia/Kathmandu''"])
def test_what_a_default_leaves_behind(intruder, text):
    """It is gone before the next statement of the worker, and stops nothing."""
    intruder.sql("CREATE FUNCTION leaves() RETURNS int LANGUAGE plpgsql AS $f$BEGIN EXECUTE '%s'; RETURN 1; "
                 "EXCEPTION WHEN invalid_parameter_value THEN RETURN 2; END$f$" % text.replace("'", "''").replace("''''", "''"))
    intruder.complete(intruder.evil("PERFORM public.leaves()"))


def test_a_deputy(intruder):
    """What runs in the worker's session, or a superuser's, begins and steers nothing of another owner's."""
    intruder.server.sql("CREATE TABLE victims (i int); ALTER TABLE victims OWNER TO intruders_victim; "
                        "GRANT CREATE ON SCHEMA public TO intruders_victim", intruder.database)
    held = online.begin(intruder.server, intruder.database, "", spec(kind="set-not-null"), "public.victims",
                        intruder.server.superuser)
    intruder.server.sql("SELECT pgsluice.pause(%d)" % held, intruder.database)
    wish = online.json.dumps(spec(kind="add-unique", uniques=[online.unique("i", name="planted")]))
    tries = ["SELECT pgsluice.%s(%d)" % (verb, held) for verb in ("cancel", "resume")] + [
        "SELECT pgsluice.%s'victims', $j$%s$j$, NULL, NULL)" % (function, wish)
        for function in ("begin_change(", "begin_checked('{}', ")] + [
        "INSERT INTO pgsluice.asked (relation) VALUES ('victims'::regclass)",
        "UPDATE pgsluice.change SET wanted = 'cancel' WHERE id = %d" % held]
    intruder.sql("CREATE FUNCTION tries() RETURNS int LANGUAGE plpgsql AS $f$"
                 "DECLARE n int; BEGIN %s RETURN 1; END$f$" % "".join(
                     "BEGIN EXECUTE $q$%s$q$; GET DIAGNOSTICS n = ROW_COUNT; IF n > 0 THEN "
                     "RAISE LOG 'the deputy did %%', $q$%s$q$; END IF; EXCEPTION WHEN OTHERS THEN NULL; END;"
                     % (one, one.replace("$j$", "")) for one in tries))
    intruder.complete(intruder.evil("PERFORM public.tries()"))
    intruder.sql("CREATE FUNCTION itries(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT public.tries() + $1'; "
                 "CREATE INDEX ON t (itries(v))")
    intruder.server.sql("ANALYZE t", intruder.database)
    changes = intruder.server.sql("SELECT id, wanted, state FROM pgsluice.change WHERE table_name = 'victims'", intruder.database)
    assert changes == "%d|pause|waiting" % held


def busy(intruder):
    return intruder.server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgsluice change%' "
                               "AND state = 'active'", intruder.database)


# Takes no cancel and no timeout, and keeps the server from noticing that its client is gone.
DEAF = """CREATE FUNCTION deaf(i int) RETURNS int LANGUAGE plpgsql AS $f$
BEGIN IF session_user <> '%s' THEN RETURN 1; END IF;
  BEGIN PERFORM set_config('client_connection_check_interval', '0', false); EXCEPTION WHEN OTHERS THEN NULL; END;
  %%s; LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END$f$""" % online.WORKER


@pytest.mark.parametrize("first", ["NULL", "PERFORM pg_advisory_unlock_all()"])
def test_a_default_that_takes_no_cancel(intruder, first):
    intruder.sql(DEAF % first)
    change = intruder.evil("PERFORM public.deaf(1)")
    assert "went on although it was cancelled" in intruder.undone(change, "38000", seconds=90)["error_message"]
    online.harness.wait_until(lambda: busy(intruder) == "0")


def test_a_check_that_takes_no_cancel(intruder):
    """Validation may take hours, so it has no limit of time; but a person can end it."""
    intruder.sql(DEAF % "NULL")
    change = intruder.begin("ALTER TABLE t ADD CONSTRAINT c CHECK (deaf(v) > 0) NOT VALID", spec(kind="add-check"))
    online.harness.wait_until(lambda: busy(intruder) == "1")
    intruder.sql("SELECT pgsluice.cancel(%d)" % change)
    intruder.undone(change, "57014", seconds=60)
    online.harness.wait_until(lambda: busy(intruder) == "0")


def test_one_owner_does_not_stop_another(worker):  # noqa: F811
    """With one worker, which sleeps: another change of that owner waits, and says for whom; another owner's is done."""
    worker.server.sql("SET client_min_messages = error; DO $$BEGIN CREATE ROLE intruders_victim; EXCEPTION WHEN duplicate_object "
                      "THEN END$$; GRANT intruders_victim TO %s; CREATE TABLE victims (i int); GRANT CREATE ON SCHEMA public TO "
                      "intruders_victim; ALTER TABLE victims OWNER TO intruders_victim" % online.WORKER, worker.database)
    worker.start(more="  workers: 1\n")
    worker.sql("CREATE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(1000); RETURN true; END$$;"
               "CREATE TABLE other (i int)")
    sleeps = worker.begin("ALTER TABLE t ADD CONSTRAINT c CHECK (slow(v)) NOT VALID", spec(kind="add-check"))
    online.harness.wait_until(lambda: busy(worker) == "1")
    waits = worker.begin("", spec(kind="set-not-null"), "public.other")
    another = online.begin(worker.server, worker.database, "", spec(kind="set-not-null"), "public.victims",
                           worker.server.superuser)
    worker.complete(another)
    assert worker.row(waits)["throttled"] == "online.workers (1) are all at work, on change %d" % sleeps
    worker.sql("SELECT pgsluice.cancel(%d)" % sleeps)
    worker.undone(sleeps, "57014")
    worker.complete(waits)


@pytest.mark.parametrize("lock", ["1936483176, g) FROM generate_series(1, 50)", "1936487522, g::int) FROM (SELECT 't'::regclass::oid)"])
def test_somebody_holds_the_leases(intruder, lock):
    """Which anybody can; so it is told who does."""
    with psycopg2.connect(host="127.0.0.1", port=intruder.server.port, user=online.OWNER, dbname=intruder.database) as holder:
        holder.cursor().execute("SELECT pg_advisory_lock(%s g (g)" % lock)
        change = intruder.evil("NULL")
        online.harness.wait_until(lambda: "process %d (user %s) holds an advisory lock" % (
            holder.info.backend_pid, online.OWNER) in (intruder.row(change)["throttled"] or ""))
    holder.close()
    intruder.complete(change)
    assert not intruder.row(change)["throttled"]

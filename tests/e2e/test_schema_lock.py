"""
pgsluice.lock(): it takes the lock without anybody having to wait behind it for longer than the stall budget.
"""
import threading
import time

import psycopg2
import pytest

from harness import wait_until
from online import Watch, ask, install, role, session

ALL_SERVERS = True
STALL = 100  # ms
SLACK = 0.15  # seconds that a busy machine may add


@pytest.fixture
def shop(server, database):
    role(server, "ann", "shop_owner")
    install(server, database)
    server.sql("CREATE TABLE orders (id int PRIMARY KEY, n int); INSERT INTO orders SELECT i, i FROM generate_series(1, 100) i;"
               "ALTER TABLE orders OWNER TO shop_owner; GRANT shop_owner TO ann", database)
    return database


def lock(connection, table="orders", mode="ACCESS EXCLUSIVE", total=3000, stall=STALL):
    ask(connection, "SELECT pgsluice.lock(%s::regclass, %s, %s, %s)", table, mode, stall, total)


def locks_of(connection, table="orders"):
    return [mode for mode, in ask(connection, "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid()"
                                  " AND relation = %s::regclass AND granted ORDER BY 1", table)]


@pytest.mark.parametrize("begin, statement", [
    ("BEGIN", "SELECT id FROM orders LIMIT 1"),  # idle in transaction, once it has run
    ("BEGIN", "UPDATE orders SET n = n + 1 WHERE id = 1"),
])
def test_blocked_and_let_go(server, shop, begin, statement):
    """The holder commits after a while: the lock is there soon, and readers hardly noticed."""
    with session(server, shop, application="report") as holder, session(server, shop, "ann") as asker, \
            Watch(server, shop, "SELECT n FROM orders WHERE id = 50") as watch:
        ask(holder, begin)
        ask(holder, statement)
        threading.Timer(1.5, lambda: ask(holder, "COMMIT")).start()
        ask(asker, "BEGIN")
        began = time.monotonic()
        lock(asker)
        took = time.monotonic() - began
        held = locks_of(asker)
        ask(asker, "COMMIT")
        assert 1.4 < took < 4
        assert held == ["AccessExclusiveLock"]
        assert watch.n > 30 and watch.stalled() < STALL / 1000 + SLACK, (watch.longest, watch.control.longest)
        slow = [took for _, took in watch.over if took > STALL / 1000 / 4 + watch.control.longest]
        assert sum(slow) < took * 0.5, slow  # most of the time nobody waits


def test_long_reader_wins(server, shop):
    """At the end it fails cleanly, having named who was in the way; the transaction's settings are as before."""
    with session(server, shop, application="night report") as reader, session(server, shop, "ann") as asker, \
            Watch(server, shop, "SELECT n FROM orders WHERE id = 50") as watch:
        ask(reader, "BEGIN; SELECT count(*) FROM orders")
        pid = reader.get_backend_pid()
        ask(asker, "SET lock_timeout = '77s'; BEGIN; SET LOCAL statement_timeout = '99s'; SAVEPOINT s")
        began = time.monotonic()
        with pytest.raises(psycopg2.errors.LockNotAvailable) as error:
            lock(asker, total=2600)
        assert 2.5 < time.monotonic() - began < 4
        ask(asker, "ROLLBACK TO s")
        assert ask(asker, "SHOW lock_timeout")[0][0] == "77s" and ask(asker, "SHOW deadlock_timeout")[0][0] == "1s"
        assert locks_of(asker) == []
        ask(asker, "COMMIT")
        told = error.value.diag
        assert "pgsluice got no lock on public.orders" in told.message_primary
        assert "session %d (user postgres, application 'night report')" % pid in told.message_primary
        assert "idle in transaction" in told.message_detail and "AccessShareLock on public.orders" in told.message_detail
        assert "pg_terminate_backend(%d)" % pid in told.message_hint
        assert "SELECT count" not in told.message_detail  # ann may not see it
        notices = [n for n in asker.notices if "waiting for a lock" in n]
        assert len(notices) == 1 and str(pid) in notices[0]
        assert watch.stalled() < STALL / 1000 + SLACK, (watch.longest, watch.control.longest)


def test_query_is_told_to_who_may_see_it(server, shop):
    with session(server, shop, application="night report") as reader, session(server, shop) as asker:
        ask(reader, "BEGIN; SELECT 'marker', count(*) FROM orders")
        with pytest.raises(psycopg2.errors.LockNotAvailable) as error:
            lock(asker, total=300)
        assert "'marker'" in error.value.diag.message_detail


def test_settings_come_back(server, shop):
    """When an attempt that queued has won: values of SET and of SET LOCAL."""
    with session(server, shop) as reader, session(server, shop, "ann") as asker:
        for local, expected in (("", "77s"), ("LOCAL", "55s")):
            ask(asker, "SET lock_timeout = '77s'; BEGIN; SET %s lock_timeout = '%s'" % (local, expected))
            ask(reader, "BEGIN; SELECT count(*) FROM orders")
            threading.Timer(0.8, lambda: ask(reader, "COMMIT")).start()
            lock(asker)
            assert ask(asker, "SHOW lock_timeout")[0][0] == expected
            assert ask(asker, "SHOW deadlock_timeout")[0][0] == "1s"
            ask(asker, "COMMIT")
            assert ask(asker, "SHOW lock_timeout")[0][0] == "77s"


def test_own_lock_timeout_counts(server, shop):
    with session(server, shop) as reader, session(server, shop, "ann") as asker:
        ask(reader, "BEGIN; SELECT count(*) FROM orders")
        ask(asker, "SET lock_timeout = '400ms'")
        began = time.monotonic()
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            lock(asker, total=60000)
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("how", ["statement_timeout", "cancel"])
def test_can_be_interrupted(server, shop, how):
    with session(server, shop) as reader, session(server, shop, "ann") as asker:
        ask(reader, "BEGIN; SELECT count(*) FROM orders")
        if how == "statement_timeout":
            ask(asker, "SET statement_timeout = '700ms'")
        else:
            threading.Timer(0.7, asker.cancel).start()
        began = time.monotonic()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            lock(asker, total=60000)
        assert 0.6 < time.monotonic() - began < 1.5


def test_every_place_a_statement_can_stand(server, shop):
    """An implicit transaction block, a DO block with handlers, the inside of a function; savepoints give it back."""
    with session(server, shop, "ann") as asker:
        ask(asker, "SELECT 1; SELECT pgsluice.lock('orders', 'SHARE ROW EXCLUSIVE', 100, 1000); SELECT 2")
        assert locks_of(asker) == []
        ask(asker, "BEGIN")
        ask(asker, "DO $$ BEGIN BEGIN PERFORM pgsluice.lock('orders', 'EXCLUSIVE', 100, 1000);"
                   " EXCEPTION WHEN division_by_zero THEN NULL; END; END $$")
        assert locks_of(asker) == ["ExclusiveLock"]
        ask(asker, "SAVEPOINT s")
        lock(asker)
        assert locks_of(asker) == ["AccessExclusiveLock", "ExclusiveLock"]
        ask(asker, "ROLLBACK TO s")
        assert locks_of(asker) == ["ExclusiveLock"]
        ask(asker, "ROLLBACK")
        assert locks_of(asker) == []


def test_partitions(server, shop):
    """A parent's partitions are locked too, and an attempt as a whole stays inside the budget."""
    server.sql("CREATE TABLE parts (id int, n int) PARTITION BY RANGE (id);"
               "SELECT format('CREATE TABLE part_%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', i, i, i + 1)"
               " FROM generate_series(1, 8) i \\gexec\n"
               "INSERT INTO parts SELECT i, i FROM generate_series(1, 8) i;"
               "ALTER TABLE parts OWNER TO shop_owner;"
               "SELECT format('ALTER TABLE part_%s OWNER TO shop_owner', i) FROM generate_series(1, 8) i \\gexec\n", shop)
    with session(server, shop, application="report") as one, session(server, shop) as two, \
            session(server, shop, "ann") as asker, Watch(server, shop, "SELECT n FROM part_1") as watch:
        for reader, table in ((one, "part_5"), (two, "part_7")):
            ask(reader, "BEGIN; SELECT * FROM " + table)
        with pytest.raises(psycopg2.errors.LockNotAvailable) as error:
            lock(asker, "parts", total=1500)
        assert "part_5" in error.value.diag.message_detail and "part_7" in error.value.diag.message_detail
        threading.Timer(0.6, lambda: (ask(one, "COMMIT"), ask(two, "COMMIT"))).start()
        ask(asker, "BEGIN")
        lock(asker, "parts")
        assert [locks_of(asker, "part_%d" % i) for i in range(1, 9)] == [["AccessExclusiveLock"]] * 8
        ask(asker, "ROLLBACK")
        assert watch.stalled() < STALL / 1000 + SLACK, (watch.longest, watch.control.longest)


def test_a_deadlock_is_the_servers(server, shop):
    server.sql("CREATE TABLE other (i int); ALTER TABLE other OWNER TO shop_owner", shop)
    with session(server, shop) as holder, session(server, shop, "ann") as asker:
        ask(holder, "BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE")
        ask(asker, "BEGIN; LOCK TABLE other IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=lambda: ask(holder, "SELECT * FROM other; COMMIT"))
        thread.start()
        time.sleep(0.2)
        began = time.monotonic()
        with pytest.raises(psycopg2.errors.DeadlockDetected):
            lock(asker, total=20000)
        assert time.monotonic() - began < 2
        ask(asker, "ROLLBACK")
        thread.join()


def test_all_or_none(server, shop):
    """Two tables, one of them taken: whoever uses the other one hardly notices. With REFERENCES the ALTER TABLE locks it."""
    role(server, "fred")
    server.sql("CREATE TABLE lines (i int); ALTER TABLE lines OWNER TO fred; GRANT UPDATE ON orders TO fred", shop)
    both = "SELECT pgsluice.lock_all(ARRAY['lines', 'orders']::regclass[], ARRAY['ACCESS EXCLUSIVE', 'SHARE ROW EXCLUSIVE'], %s, %s)"
    with session(server, shop, application="writer") as writer, session(server, shop, "fred") as fred, \
            Watch(server, shop, "SELECT count(*) FROM lines") as watch:
        ask(writer, "BEGIN; UPDATE orders SET n = 7 WHERE id = 7")
        with pytest.raises(psycopg2.errors.LockNotAvailable) as error:
            ask(fred, both, STALL, 2500)
        assert "no lock on public.lines and public.orders" in error.value.diag.message_primary
        assert "'writer'" in error.value.diag.message_primary
        assert watch.stalled() < STALL / 1000 + SLACK, (watch.longest, watch.control.longest)
        threading.Timer(0.6, lambda: ask(writer, "COMMIT")).start()
        ask(fred, "BEGIN")
        ask(fred, both, STALL, 5000)
        assert (locks_of(fred), locks_of(fred, "lines")) == (["ShareRowExclusiveLock"], ["AccessExclusiveLock"])
        ask(fred, "COMMIT")
        server.sql("REVOKE UPDATE ON orders FROM fred; GRANT REFERENCES ON orders TO fred", shop)
        ask(fred, "BEGIN")
        ask(fred, both, STALL, 500)
        assert (locks_of(fred), locks_of(fred, "lines")) == ([], ["AccessExclusiveLock"])
        ask(fred, "COMMIT")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            lock(fred)


def test_rights(server, shop):
    """Who may not lock the table may not here; a mode is a mode, never SQL."""
    role(server, "stranger")
    with session(server, shop, "stranger") as stranger:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            lock(stranger, total=500)
        assert ask(stranger, "SELECT * FROM pgsluice.blockers('orders', 'ACCESS EXCLUSIVE')") == []
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            lock(stranger, mode="SHARE ROW EXCLUSIVE", total=500)
        for mode in ("ACCESS EXCLUSIVE MODE; DROP TABLE orders; --", "", None):
            with pytest.raises(psycopg2.errors.InvalidParameterValue):
                lock(stranger, mode=mode)
        ask(stranger, "SELECT pgsluice.impatient(2147483647)")
        assert ask(stranger, "BEGIN; SELECT pgsluice.impatient(2147483647); SHOW deadlock_timeout")[0][0] == "1s"


def test_shared_modes_do_not_block(server, shop):
    """Only what conflicts is a blocker."""
    with session(server, shop) as reader, session(server, shop, "ann") as asker:
        ask(reader, "BEGIN; SELECT count(*) FROM orders")
        lock(asker, mode="SHARE UPDATE EXCLUSIVE", total=200)
        matrix = {m: ask(reader, "SELECT cardinality(pgsluice.conflicts(%s))", m)[0][0] for m in (
            "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE",
            "EXCLUSIVE", "ACCESS EXCLUSIVE")}
        assert list(matrix.values()) == [1, 2, 4, 5, 5, 6, 7, 8]
        ask(reader, "ROLLBACK")


def test_autovacuum_gives_way(server, shop):
    """An autovacuum in the way is made to yield, although nobody waits for a whole second."""
    server.sql("ALTER SYSTEM SET autovacuum_naptime = 1; SELECT pg_reload_conf()")
    server.sql("CREATE TABLE slow (i int, t text) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,"
               "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);"
               "INSERT INTO slow SELECT i, repeat('x', 1000) FROM generate_series(1, 5000) i; DELETE FROM slow WHERE i % 2 = 0;"
               "ALTER TABLE slow OWNER TO shop_owner", shop)

    def vacuumed():
        return server.sql("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                          " WHERE a.backend_type = 'autovacuum worker' AND l.relation = 'slow'::regclass", shop) != "0"
    try:
        wait_until(vacuumed, 60)
        with session(server, shop, "ann") as asker, Watch(server, shop, "SELECT i FROM slow LIMIT 1") as watch:
            ask(asker, "BEGIN")
            began = time.monotonic()
            lock(asker, "slow", total=10000)
            took = time.monotonic() - began
            ask(asker, "ROLLBACK")
            assert took < 6
            assert watch.stalled() < STALL / 1000 + SLACK, (watch.longest, watch.control.longest)
    finally:
        server.sql("ALTER SYSTEM RESET autovacuum_naptime; SELECT pg_reload_conf()")

"""
The catalog is asked over the client's own session, in front of its statement: what comes of it, and that nobody can
tell that it was.
"""
import contextlib
import json
import struct
import time
import urllib.request

import pytest

from harness import free_port, wait_until
from wire import (COPY_DONE, FLUSH, SYNC, Connection, bind, close, copy_data, describe, error_of, execute, fields, parse,
                  plain, query)

POLICY = "policy: {small_table: {rows: 100, size: 1MB}}\n"
OBSERVE = "policy: {profile: observe}\n"
COUNT = iter(range(1, 10**6))


def risky(table):
    return "ALTER TABLE %s ADD COLUMN c%d uuid DEFAULT gen_random_uuid()" % (table, next(COUNT))


def extended(sql, name=""):
    return [parse(sql, name), bind("", name), describe(), execute(), SYNC]


@pytest.fixture
def tables(server, database):
    server.sql("CREATE TABLE big (a int); INSERT INTO big SELECT generate_series(1, 1000);"
               "CREATE TABLE small (a int); INSERT INTO small VALUES (1); ANALYZE", database)
    return database


@pytest.fixture
def proxied(server, proxy_factory, tables):
    proxy = proxy_factory(server, POLICY)
    return lambda **more: Connection(proxy.port, database=tables, **more)


@pytest.fixture
def pair(server, proxy_factory, tables):
    """One direct connection and one through a proxy that only looks on (and asks all the same)."""
    proxy = proxy_factory(server, OBSERVE)
    return [lambda port=port: Connection(port, database=tables) for port in (server.port, proxy.port)]


def ok(messages):
    assert error_of(messages) is None, error_of(messages)
    return [body[:-1].decode() for kind, body in messages if kind == "C"]


def refused(messages, rule="volatile-default"):
    error = error_of(messages)
    assert error and error["C"] == "SL001" and error["n"] == rule, messages
    return error


# ---- facts reach the judgement ---------------------------------------------------------------------------------------

def test_size_decides(proxied):
    with proxied() as c:
        assert "1,000 rows" in refused(c.query(risky("big")))["D"]
        assert ok(c.query(risky("small"))) == ["ALTER TABLE"]
        refused(c.talk(*extended(risky("big"))))


def test_size_decides_in_the_extended_query(proxied):
    with proxied() as c:
        assert ok(c.talk(*extended(risky("small")))) == ["ALTER TABLE"]


@pytest.mark.parametrize("how", ["simple", "extended", "one transaction", "one message", "a pipeline", "temporary"])
def test_a_new_table_is_free(proxied, how):
    with proxied() as c:
        if how == "one message":
            assert len(ok(c.query("CREATE TABLE n (a int); INSERT INTO n VALUES (1); " + risky("n")))) == 3
        elif how == "a pipeline":
            assert ok(c.talk(*extended("CREATE TABLE n (a int)")[:-1],
                             *extended("INSERT INTO n SELECT generate_series(1, 1000)")[:-1],
                             *extended(risky("n"))))[-1] == "ALTER TABLE"
        elif how == "temporary":
            ok(c.query("CREATE TEMP TABLE n AS SELECT generate_series(1, 1000)"))
            ok(c.query(risky("n")))
            ok(c.query(risky("pg_temp.n")))
        else:
            talk = c.query if how != "extended" else lambda sql: c.talk(*extended(sql))
            ok(talk("BEGIN"))
            ok(talk("CREATE TABLE n AS SELECT generate_series(1, 1000)"))
            ok(talk("SAVEPOINT s"))
            ok(talk(risky("n")))
            ok(talk("ALTER TABLE n RENAME TO m"))
            ok(talk(risky("m")))
            ok(talk("COMMIT"))


def test_a_big_table_is_not_hidden_behind_its_message(proxied):
    """Statements in front of it in the same message change what its name means."""
    with proxied() as c:
        ok(c.query("CREATE SCHEMA other; CREATE TABLE other.small AS SELECT generate_series(1, 1000); ANALYZE"))
        for front in ("ALTER TABLE small RENAME TO tiny; ALTER TABLE big RENAME TO small; ",
                      "SET search_path = other; ", "SELECT set_config('search_path', 'other', true); ",
                      "DROP TABLE small; SET search_path = other, public; "):
            ok(c.query("BEGIN"))
            refused(c.query(front + risky("small")))
            ok(c.query("ROLLBACK"))
        # and what has nothing to do with it changes nothing
        ok(c.query("SET lock_timeout = '5s'; COMMENT ON TABLE big IS 'x'; INSERT INTO small VALUES (2); " +
                   risky("small") + "; SELECT 1"))
        ok(c.query("SET search_path = other; CREATE TABLE fresh (a int); GRANT ALL ON fresh TO PUBLIC; " +
                   risky("fresh")))


def test_names_as_the_session_has_them(server, proxied, tables):
    server.sql("CREATE SCHEMA app; CREATE TABLE app.t (a int); INSERT INTO app.t VALUES (1);"
               "CREATE TABLE public.t (a int); INSERT INTO t SELECT generate_series(1, 1000); ANALYZE;"
               "DROP ROLE IF EXISTS inquirer; CREATE ROLE inquirer SUPERUSER; CREATE SCHEMA inquirer;"
               "CREATE TABLE inquirer.t (a int); ALTER ROLE inquirer SET search_path = inquirer;", tables)
    with proxied() as c:
        refused(c.query(risky("t")))
        ok(c.query("SET search_path = app, public"))
        ok(c.query(risky("t")))
        refused(c.query(risky("public.t")))
        ok(c.query("BEGIN"))
        ok(c.query("SET LOCAL search_path = public"))
        refused(c.query(risky("t")))
        ok(c.query("ROLLBACK"))
        ok(c.query("SELECT 1 FROM app.t"))
        ok(c.query('SET search_path = "$user", public'))
        refused(c.query(risky("t")))
        server.sql("CREATE TABLE inquirer.u (a int); INSERT INTO inquirer.u VALUES (1); CREATE TABLE public.u AS "
                   "SELECT generate_series(1, 1000); ANALYZE inquirer.u, public.u", tables)
        refused(c.query(risky("u")))
        ok(c.query("SET ROLE inquirer"))
        ok(c.query(risky("u")))
    server.sql("DROP SCHEMA inquirer CASCADE; DROP ROLE inquirer", tables)


def test_quoted_names_in_the_clients_encoding(server, proxied, tables):
    server.sql('CREATE TABLE "Übergröße" (a int); INSERT INTO "Übergröße" VALUES (1); ANALYZE "Übergröße"', tables)
    with proxied(client_encoding="LATIN1") as c:
        ok(c.query(risky('"Übergröße"').encode("latin1")))
    server.sql('ANALYZE "Übergröße"', tables)
    with proxied(client_encoding="UTF8") as c:
        ok(c.query(risky('"Übergröße"')))
        ok(c.query("ANALYZE"))
        ok(c.query(risky('U&"\\00DCbergr\\00F6\\00DFe"')))


def test_execute_asks_anew(server, proxied, tables):
    server.sql("CREATE TABLE grows (a int); INSERT INTO grows VALUES (1); ANALYZE grows", tables)
    with proxied() as c:
        ok(c.talk(parse(risky("grows"), "s"), SYNC))
        server.sql("INSERT INTO grows SELECT generate_series(1, 1000); ANALYZE grows", tables)
        refused(c.talk(bind("", "s"), execute(), SYNC))
        server.sql("TRUNCATE grows; INSERT INTO grows VALUES (1); ANALYZE grows", tables)
        ok(c.talk(bind("", "s"), execute(), SYNC))


def test_one_question_for_a_parse_and_its_execute(server, proxy_factory, tables):
    admin = free_port()
    proxy = proxy_factory(server, POLICY + "admin: {address: 127.0.0.1, port: %d}\n" % admin)

    def asked():
        text = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % admin, timeout=10).read().decode()
        return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if "question" in line
                and not line.startswith("#")}

    with Connection(proxy.port, database=tables) as c:
        ok(c.talk(*extended(risky("small"))))
        assert asked()["pgsluice_questions_total"] == 1
        refused(c.query(risky("big")))
        assert asked()["pgsluice_questions_total"] == 2
        assert asked()["pgsluice_questions_unanswered_total"] == 0
        assert 0 < asked()["pgsluice_question_seconds_total"] < 30


# ---- nobody can tell -------------------------------------------------------------------------------------------------

def both(pair, *steps, forget=""):
    """Each step: (messages, number of ReadyForQuery to wait for), or a string: a simple query."""
    traces = []
    for connect in pair:
        with connect() as connection:
            trace = []
            for step in steps:
                messages, ready = ([query(step)], 1) if isinstance(step, str) else step
                trace.append(plain(connection.talk(*messages, ready=ready), forget))
            traces.append(trace)
    for one, other in zip(*traces):
        assert one == other
    return traces[1]


X = "CREATE TEMP TABLE x (a int)"

TRACES = {
    "simple": [X, "ALTER TABLE x ADD COLUMN b int", "ALTER TABLE x ADD COLUMN b int", "DROP TABLE x",
               "ALTER TABLE x ADD COLUMN b int"],
    "a transaction": ["BEGIN", X, "ALTER TABLE x ADD COLUMN b int", "ALTER TABLE none ADD COLUMN b int",
                      "ALTER TABLE x ADD COLUMN c int", "ROLLBACK; " + X + "; ALTER TABLE x ADD COLUMN b int", "COMMIT"],
    "what is open": [X, "ALTER TABLE x ADD COLUMN b int",
                     "SELECT name, statement FROM pg_prepared_statements", "SELECT name FROM pg_cursors",
                     "SELECT pg_current_xact_id_if_assigned()"],
    "isolation chosen in the message": [
        X, "BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; ALTER TABLE x ADD COLUMN b int", "COMMIT",
        "BEGIN", "SET LOCAL transaction_isolation = 'repeatable read'; ALTER TABLE x ADD COLUMN c int", "COMMIT",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; ALTER TABLE x ADD COLUMN d int; COMMIT"],
    "read only": ["BEGIN READ ONLY", "ALTER TABLE big ADD COLUMN b int", "ROLLBACK"],
    "search_path without pg_catalog in front": [
        "CREATE SCHEMA s; CREATE FUNCTION s.current_schemas(boolean) RETURNS name[] LANGUAGE sql AS 'SELECT NULL::name[]';"
        "CREATE TABLE s.pg_class (a int); SET search_path = s, pg_catalog", "CREATE TABLE x (a int)",
        "ALTER TABLE x ADD COLUMN b int", "DROP SCHEMA s CASCADE"],
    "odd settings": ["SET standard_conforming_strings = off; SET escape_string_warning = on; SET quote_all_identifiers = on",
                     X, "ALTER TABLE x ADD COLUMN b text DEFAULT 'a''b'", "SET DateStyle = 'German'; SET bytea_output = escape",
                     "ALTER TABLE x ADD COLUMN c int", "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; "
                     "SET enable_indexscan = off; SET jit = on; SET jit_above_cost = 0",
                     "ALTER TABLE x ADD COLUMN d int"],
    "notices of all kinds": ["SET client_min_messages = debug2", "CREATE TEMP TABLE x (a int)",
                             "ALTER TABLE IF EXISTS x ADD COLUMN IF NOT EXISTS a int", "ALTER TABLE x ADD COLUMN b int"],
    "row security and roles": ["SET row_security = off", X, "ALTER TABLE x ADD COLUMN b int"],
    "extended": [X, (extended("ALTER TABLE x ADD COLUMN b int"), 1), (extended("ALTER TABLE x ADD COLUMN b int"), 1),
                 (extended("ALTER TABLE x ADD COLUMN b"), 1), (extended("ALTER TABLE x ADD COLUMN c int", "s"), 1),
                 ([bind("p", "s"), execute("p"), SYNC], 1)],
    "unnamed statement survives": [X, ([parse("SELECT 'mine'"), SYNC], 1),
                                   (extended("ALTER TABLE x ADD COLUMN b int", "s"), 1),
                                   ([bind(), describe(), execute(), SYNC], 1),
                                   ([bind("", "s"), execute(), SYNC], 1),
                                   ([parse("ALTER TABLE x ADD COLUMN c int"), SYNC], 1),
                                   ([bind(), describe(), execute(), SYNC, bind(), execute(), SYNC], 2)],
    "portals survive": [X, ([parse("SELECT n FROM generate_series(1, 9) n"), bind(), execute("", 2),
                             parse("SELECT -n FROM generate_series(1, 9) n", "t"), bind("q", "t"), execute("q", 3),
                             parse("ALTER TABLE x ADD COLUMN b int", "s"), bind("p", "s"), execute("p"),
                             execute("q", 2), execute("", 3), SYNC], 1)],
    "pipeline": [X, ([x for n in range(20) for x in extended("ALTER TABLE x ADD COLUMN c%d int" % n)[:-1]] + [SYNC], 1),
                 "SELECT * FROM x"],
    "pipeline that fails": [([*extended("CREATE TABLE piped (a int)")[:-1],
                              *extended("ALTER TABLE piped ADD COLUMN b int")[:-1],
                              *extended("ALTER TABLE piped ADD COLUMN b int")[:-1],
                              *extended("ALTER TABLE piped ADD COLUMN c int")[:-1], SYNC], 1), "TABLE piped"],
    "queries one behind the other": [([query("BEGIN"), query(X), query("ALTER TABLE x ADD COLUMN b int"),
                                       query("SELECT 1/0"), query("ALTER TABLE x ADD COLUMN c int"), query("ROLLBACK"),
                                       query("ALTER TABLE x ADD COLUMN c int"), query("SELECT 7")], 8)],
    "COPY in front": [X, ([query("COPY x FROM STDIN"), copy_data(b"1\n"), COPY_DONE,
                           query("ALTER TABLE x ADD COLUMN b int"), query("TABLE x")], 3)],
    "not in a transaction block": [
        ([*extended("CREATE INDEX CONCURRENTLY i ON small (a)"), *extended("DROP INDEX CONCURRENTLY i")], 2),
        (extended("VACUUM FULL small"), 1), (extended("REINDEX TABLE CONCURRENTLY small"), 1),
        (extended("CREATE DATABASE never TEMPLATE nothing"), 1), (extended("DO $$ BEGIN COMMIT; END $$"), 1),
        ([parse("CREATE INDEX CONCURRENTLY i ON small (a)", "s"), SYNC, bind("", "s"), execute(), SYNC,
          bind("", "s"), execute(), SYNC], 3),
        "DROP INDEX CONCURRENTLY i", "BEGIN", "CREATE INDEX CONCURRENTLY i ON small (a)", "ROLLBACK"],
    "not in a transaction block, behind a COMMIT in the same pipeline": [
        X, ([*extended("BEGIN")[:-1], *extended("ALTER TABLE x ADD COLUMN b int")[:-1], *extended("COMMIT")[:-1],
          *extended("CREATE INDEX CONCURRENTLY i ON small (a)")[:-1], *extended("REINDEX TABLE CONCURRENTLY small")], 1),
        (extended("DISCARD ALL")[:-1] + extended("VACUUM FULL small"), 1), "DROP INDEX CONCURRENTLY i"],
    "prepared one behind the other": [
        X, ([parse("ALTER TABLE x ADD COLUMN b int", "s"), parse("ALTER TABLE x ADD COLUMN c int", "t"),
             parse("ALTER TABLE x ADD COLUMN d int", "u"), bind("", "t"), execute(), bind("", "s"), execute(), SYNC], 1)],
    "flush and no sync": [X, ([parse("ALTER TABLE x ADD COLUMN b int"), FLUSH, bind(), FLUSH, describe(), FLUSH,
                               execute(), FLUSH, parse("SELECT * FROM x"), bind(), describe(), execute(), SYNC], 1)],
    "simple behind a close": [X, ([close("S", ""), query("ALTER TABLE x ADD COLUMN b int"), SYNC], 2), "TABLE x"],
    "simple in an open pipeline": [X, ([parse("SELECT 1"), bind(), execute(), query("ALTER TABLE x ADD COLUMN b int"),
                                        SYNC], 2)],
    "names of ours": [X, ([parse("SELECT 'ours'", "pgsluice_question"), SYNC], 1), "ALTER TABLE x ADD COLUMN b int",
                      ([bind("pgsluice_question", "pgsluice_question"), parse("ALTER TABLE x ADD COLUMN c int"), bind(),
                        execute(), execute("pgsluice_question"), SYNC], 1)],
}


@pytest.mark.parametrize("name", TRACES)
def test_trace(pair, name):
    traces = both(pair, *TRACES[name])
    if name == "names of ours":
        assert any(kind == "D" and b"ours" in body for kind, body in traces[-1])


def test_row_counts_and_versions_are_the_clients(pair):
    """now(), the snapshot and the transaction id are those of the client's own statements."""
    for connect in pair:
        with connect() as c:
            ok(c.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT now()"))
            before = c.query("SELECT now(), pg_current_snapshot()")
            ok(c.query("ALTER TABLE small ALTER COLUMN a SET STATISTICS 50"))
            assert plain(c.query("SELECT now(), pg_current_snapshot()"))[1:2] == plain(before)[1:2]
            ok(c.query("ROLLBACK"))


# ---- what can go wrong -----------------------------------------------------------------------------------------------

@contextlib.contextmanager
def catalog_locked(server, database):
    """Any question waits until the block is left. Nothing but questions looks into this catalog here."""
    with Connection(server.port, database=database) as holder:
        ok(holder.query("BEGIN"))
        ok(holder.query("LOCK TABLE pg_catalog.pg_publication IN ACCESS EXCLUSIVE MODE"))
        yield holder


def waiting(server):
    return wait_until(lambda: server.sql("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE "
                                         "'WITH RECURSIVE ask %'"))


def cancel(port, key):
    with Connection(port, login=False) as c:
        c.send(struct.pack("!II", 16, 80877102) + key)
        c.receive()


HELD = {
    "simple": ([query("ALTER TABLE small ADD COLUMN never int")], 1, "I"),
    "simple, several": ([query("SELECT 1; ALTER TABLE small ADD COLUMN never int; SELECT 2")], 1, "I"),
    "a transaction": ([query("BEGIN"), query("ALTER TABLE small ADD COLUMN never int")], 2, "E"),
    "extended": (extended("ALTER TABLE small ADD COLUMN never int"), 1, "I"),
    "a pipeline": ([*extended("SELECT 1")[:-1], *extended("ALTER TABLE small ADD COLUMN never int")[:-1],
                    parse("INSERT INTO small VALUES (99)", "z"), bind("", "z"), execute(), SYNC], 1, "I"),
    "extended in a transaction": ([query("BEGIN"), *extended("ALTER TABLE small ADD COLUMN never int")], 2, "E"),
    "execute": ([parse("SELECT 1"), SYNC, *extended("ALTER TABLE small ADD COLUMN never int")], 2, "I"),
}


@pytest.mark.parametrize("how", ["cancel", "statement_timeout"])
@pytest.mark.parametrize("name", HELD)
def test_an_error_that_hits_the_question_is_the_statements(server, proxy_factory, tables, name, how):
    proxy = proxy_factory(server, POLICY)
    messages, ready, status = HELD[name]
    with Connection(proxy.port, database=tables) as c, catalog_locked(server, tables):
        if how == "statement_timeout":
            ok(c.query("SET statement_timeout = '100ms'"))
        c.send(*messages)
        if how == "cancel":
            waiting(server)
            cancel(proxy.port, c.key)
        got = c.until("Z", ready)
        assert error_of(got)["C"] == "57014", got
        assert got[-1] == ("Z", status.encode())
        if status == "E":
            assert error_of(c.query("SELECT 1"))["C"] == "25P02"
            assert ok(c.query("COMMIT")) == ["ROLLBACK"]
        assert ok(c.query("SELECT 'going on'")) == ["SELECT 1"]
        assert ok(c.talk(*extended("SELECT 'going on'"))) == ["SELECT 1"]
    assert server.sql("SELECT count(*) FROM pg_attribute WHERE attname = 'never'", tables) == "0"
    assert server.sql("SELECT count(*) FROM small WHERE a = 99", tables) == "0"
    proxy.stop()
    records = [json.loads(line) for line in proxy.audit_path.read_text().splitlines()]
    decided = [r for r in records if "verdict" in r and "never" in (r.get("sql") or "")]
    ends = {r.get("sqlstate") for r in records if r.get("sqlstate")}
    if name.startswith("simple") or name == "a transaction":
        assert len(decided) == 1 and ends == {"57014"}
        assert [r.get("txn") for r in records if r.get("txn")][-1] == "rolled_back"


def test_the_statement_waits_no_longer_than_the_lock(server, proxied, tables):
    with proxied() as c:
        with catalog_locked(server, tables):
            c.send(query(risky("small")))
            waiting(server)
        assert ok(c.until("Z")) == ["ALTER TABLE"]


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_the_servers_end_in_the_middle(server_factory, proxy_factory, how):
    server = server_factory()
    server.sql("CREATE TABLE small (a int); ANALYZE")
    proxy = proxy_factory(server, POLICY)
    with catalog_locked(server, "postgres"):
        with Connection(proxy.port) as c:
            c.send(query(risky("small")))
            pid = waiting(server)
            if how == "terminated":
                server.sql("SELECT pg_terminate_backend(%s)" % pid)
            else:
                server.stop("immediate")
            got = c.until("")
            assert c.ended
            assert any(fields(body).get("C") in ("57P01", "57P02") for kind, body in got if kind in "EN"), got
    if how == "killed":
        server.start()
    server.sql("SELECT 1 FROM small LIMIT 0")
    with Connection(proxy.port) as c:
        assert error_of(c.query("SELECT 1")) is None


def test_a_client_that_leaves_in_the_middle(server, proxy_factory, tables):
    proxy = proxy_factory(server, POLICY)
    with catalog_locked(server, tables):
        for _ in range(5):
            c = Connection(proxy.port, database=tables)
            c.send(query(risky("small")))
            waiting(server)
            c.socket.close()
        cancelled = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        server.sql(cancelled)
    with Connection(proxy.port, database=tables) as c:
        assert ok(c.query(risky("small"))) == ["ALTER TABLE"]


def test_a_catalog_that_may_not_be_read(server, proxied, tables):
    """Outside a transaction the text alone decides then; inside one the question's error is the statement's."""
    server.sql("DROP ROLE IF EXISTS barred; CREATE ROLE barred LOGIN; GRANT ALL ON SCHEMA public TO barred;"
               "REVOKE SELECT ON pg_catalog.pg_publication FROM PUBLIC", tables)
    try:
        with proxied(user="barred") as c:
            ok(c.query("CREATE TABLE own (a int)"))
            refused(c.query(risky("own")))
            assert ok(c.query("ALTER TABLE own ADD COLUMN b int")) == ["ALTER TABLE"]
            assert ok(c.talk(*extended("ALTER TABLE own ADD COLUMN c int"))) == ["ALTER TABLE"]
            ok(c.query("BEGIN"))
            assert ok(c.query("ALTER TABLE own ADD COLUMN e int")) == ["ALTER TABLE"]
            ok(c.query("COMMIT"))
        with proxied(user="barred") as c:
            ok(c.query("BEGIN"))
            assert error_of(c.query("ALTER TABLE own ADD COLUMN d int"))["C"] == "42501"
            assert ok(c.query("COMMIT")) == ["ROLLBACK"]
    finally:
        server.sql("DROP TABLE IF EXISTS own; DROP OWNED BY barred; DROP ROLE barred", tables)


def test_many_at_once(server, proxied, tables):
    """200 sessions, each with a table of its own, all at the same moment."""
    server.sql("DO $$ BEGIN FOR n IN 1..200 LOOP EXECUTE format('CREATE TABLE m%s AS SELECT 1 AS a', n); END LOOP; END $$;"
               "ANALYZE", tables)
    sessions = [proxied() for _ in range(200)]
    begun = time.monotonic()
    for n, c in enumerate(sessions, 1):
        c.send(query(risky("m%d" % n) if n % 2 else risky("big")))
    for n, c in enumerate(sessions, 1):
        got = c.until("Z")
        if n % 2:
            assert ok(got) == ["ALTER TABLE"]
        else:
            refused(got)
    assert time.monotonic() - begun < 60
    for c in sessions:
        c.close()

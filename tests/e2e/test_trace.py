"""
A session through the proxy can't be told from a direct one: the same messages go to both, the answers must be
equal byte for byte (but for the key, the backend's pid and the source's line numbers).
"""
import struct

import pytest

import wire
from wire import (COPY_DONE, FLUSH, SYNC, Connection, bind, close, copy_data, copy_fail, describe, execute, message,
                  parse, plain, query)

ALL_SERVERS = True


@pytest.fixture
def pair(server, proxy_factory, database):
    """One direct connection and one through the proxy, whose policy has nothing to say."""
    proxy = proxy_factory(server, "policy: {profile: observe}\n")
    server.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 50) n;"
               "CREATE TABLE d (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)", database)
    return (lambda: Connection(server.port, database=database)), (lambda: Connection(proxy.port, database=database))


def both(pair, *steps, forget=""):
    """Each step: (messages, number of ReadyForQuery to wait for), or a string: a simple query. Everything runs in a
    transaction of its own that is never committed unless the steps do."""
    traces = []
    for connect in pair:
        with connect() as connection:
            trace = []
            for step in steps:
                if isinstance(step, str):
                    step = ([query(step)], 1)
                messages, ready = step
                trace += plain(connection.talk(*messages, ready=ready), forget)
            traces.append(trace)
    assert traces[0] == traces[1]
    return traces[1]


def test_startup_parameters_and_key_length(pair):
    direct, proxied = pair
    with direct() as one, proxied() as two:
        assert one.parameters == two.parameters
        assert len(one.key) == len(two.key) == 8


@pytest.mark.parametrize("name,steps", {
    "one query": ["SELECT * FROM t ORDER BY a"],
    "no rows": ["SELECT 1 WHERE false"],
    "empty query": ["", ";", "-- nothing"],
    "several statements": ["SELECT 1; SELECT 'two'; INSERT INTO t VALUES (1000, 'x'); DELETE FROM t WHERE a = 1000"],
    "an error in the middle": ["SELECT 1; SELECT 1/0; SELECT 2", "SELECT 3"],
    "a syntax error": ["SELEC 1", "SELECT 1"],
    "notices": ["DO $$ BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w'; END $$", "DROP TABLE IF EXISTS nope"],
    "a transaction that fails": ["BEGIN", "SELECT 1/0", "SELECT 1", "COMMIT", "SELECT 1"],
    "savepoints": ["BEGIN; SAVEPOINT a; SELECT 1", "SELECT x", "ROLLBACK TO a", "SELECT 2", "ROLLBACK"],
    "parameter changes": ["SET client_encoding = 'LATIN1'", "SELECT 'x'", "SET application_name = 'me'", "RESET ALL"],
    "listen and notify": ["LISTEN c", "NOTIFY c, 'hello'", "UNLISTEN *"],
    "harmless DDL": ["CREATE TABLE n (a int)", "ALTER TABLE n ADD COLUMN b text", "DROP TABLE n"],
    "deferred constraint at commit": ["BEGIN; INSERT INTO d VALUES (1), (1)", "COMMIT", "SELECT 1"],
    "function call": [([message("F", struct.pack("!IHHHiH", 1598, 0, 0, 0, 0, 0)[:10] + struct.pack("!H", 0))], 1)],
}.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_simple(pair, name, steps):
    if name == "listen and notify":
        both_forgetting_pid(pair, steps)
    elif name == "harmless DDL":
        both(pair, *steps, forget="")
    elif name == "function call":
        both(pair, *steps, forget="M")
    else:
        both(pair, *steps)


def both_forgetting_pid(pair, steps):
    traces = []
    for connect in pair:
        with connect() as connection:
            trace = []
            for step in steps:
                trace += [(kind, body[4:] if kind == "A" else body) for kind, body in connection.query(step)]
            traces.append(trace)
    assert traces[0] == traces[1]


EXTENDED = {
    "one statement": ([parse("SELECT $1::int + 1"), bind(values=[b"41"]), describe(), execute(), SYNC], 1),
    "describe a statement": ([parse("SELECT a FROM t WHERE a = $1", "s"), describe("S", "s"), SYNC, close("S", "s"),
                              SYNC], 2),
    "rows in portions": ([parse("SELECT * FROM t ORDER BY a"), bind("p"), execute("p", 7), execute("p", 7), SYNC], 1),
    "empty": ([parse(""), bind(), describe(), execute(), SYNC], 1),
    "error at parse": ([parse("SELEC"), bind(), execute(), SYNC, parse("SELECT 1"), bind(), execute(), SYNC], 2),
    "error at bind": ([parse("SELECT $1::int"), bind(values=[b"x"]), execute(), SYNC, query("SELECT 1")], 2),
    "error at execute": ([parse("SELECT 1/a FROM t WHERE a > $1 - 1"), bind(values=[b"1"]), execute(),
                          parse("SELECT 1/(a-a) FROM t"), bind(), execute(), parse("SELECT 9"), SYNC], 1),
    "a query that is skipped": ([parse("SELEC"), query("SELECT 1"), SYNC, query("SELECT 2")], 2),
    "a pipeline of many": ([x for n in range(100) for x in (parse("SELECT %d" % n), bind(), describe(), execute())]
                           + [SYNC], 1),
    "many syncs": ([SYNC] * 20, 20),
    "error between syncs": ([x for n in range(10) for x in (parse("SELECT 1/%d" % (n % 3)), bind(), execute(), SYNC)],
                            10),
    "unknown statement": ([bind("", "nobody"), execute(), SYNC, close("S", "nobody"), SYNC], 2),
    "name in use": ([parse("SELECT 1", "s"), parse("SELECT 2", "s"), SYNC, bind("", "s"), execute(), SYNC], 2),
    "deferred constraint at sync": ([parse("INSERT INTO d VALUES (1), (1)"), bind(), execute(), SYNC], 1),
    "flush": ([parse("SELECT 1"), FLUSH, bind(), FLUSH, execute(), FLUSH, SYNC], 1),
    "simple behind extended": ([parse("SELECT 1"), bind(), execute(), query("SELECT 2"), SYNC], 2),
    "harmless DDL": ([parse("CREATE TEMP TABLE x (a int)"), bind(), describe(), execute(), SYNC,
                      parse("ALTER TABLE x ADD COLUMN b int"), bind(), execute(), SYNC], 2),
}


@pytest.mark.parametrize("name", EXTENDED)
def test_extended(pair, name):
    both(pair, EXTENDED[name])


COPY = {
    "in": (["CREATE TEMP TABLE c (a int, b text)"],
           ([query("COPY c FROM STDIN")], "G", [copy_data(b"1\tx\n2\ty\n"), copy_data(b"3\tz\n"), COPY_DONE], 1)),
    "in fails at the client": (["CREATE TEMP TABLE c (a int)"],
                               ([query("COPY c FROM STDIN")], "G", [copy_data(b"1\n"), copy_fail("no more")], 1)),
    "in fails at the server": (["CREATE TEMP TABLE c (a int)"],
                               ([query("COPY c FROM STDIN")], "G", [copy_data(b"x\n"), COPY_DONE], 1)),
    "in, extended": (["CREATE TEMP TABLE c (a int)"],
                     ([parse("COPY c FROM STDIN"), bind(), execute(), FLUSH], "G",
                      [copy_data(b"1\n"), COPY_DONE, SYNC], 1)),
    "in, extended, an early Sync that copy mode ignores":
        (["CREATE TEMP TABLE c (a int)"],
         ([parse("COPY c FROM STDIN"), bind(), execute(), SYNC], "G", [copy_data(b"1\n"), COPY_DONE, SYNC], 1)),
    "in, extended, fails": (["CREATE TEMP TABLE c (a int)"],
                            ([parse("COPY c FROM STDIN"), bind(), execute(), FLUSH], "G",
                             [copy_data(b"x\n"), COPY_DONE, parse("SELECT 1"), SYNC], 1)),
    "in between other statements": (["CREATE TEMP TABLE c (a int)"],
                                    ([query("SELECT 1; COPY c FROM STDIN; SELECT count(*) FROM c")], "G",
                                     [copy_data(b"1\n"), COPY_DONE], 1)),
}


@pytest.mark.parametrize("name", COPY)
def test_copy_in(pair, name):
    before, (first, wait_for, then, ready) = COPY[name]
    traces = []
    for connect in pair:
        with connect() as connection:
            trace = []
            for sql in before:
                trace += plain(connection.query(sql))
            connection.send(*first)
            trace += plain(connection.until(wait_for))
            trace += plain(connection.talk(*then, ready=ready))
            trace += plain(connection.query("SELECT * FROM c ORDER BY 1"))
            traces.append(trace)
    assert traces[0] == traces[1]


def test_copy_out(pair):
    both(pair, "COPY t TO STDOUT", "COPY (SELECT 1/0) TO STDOUT", "COPY t TO STDOUT; SELECT 1",
         ([parse("COPY t TO STDOUT (FORMAT csv)"), bind(), execute(), SYNC], 1))


def test_replication_commands(server, proxy_factory):
    proxy = proxy_factory(server)
    traces = []
    for port in (server.port, proxy.port):
        with Connection(port, replication="true") as connection:
            trace = plain(connection.query("SHOW wal_level"))
            trace += [kind for kind, _ in connection.query("IDENTIFY_SYSTEM")]
            traces.append(trace)
    assert traces[0] == traces[1]


def test_replication_stream(server, proxy_factory, database):
    """CopyBoth: logical decoding over START_REPLICATION, ended by the client."""
    proxy = proxy_factory(server)
    server.sql("CREATE TABLE r (a int)", database)
    with Connection(proxy.port, database=database, replication="database") as connection:
        connection.query("CREATE_REPLICATION_SLOT s_e2e TEMPORARY LOGICAL test_decoding")
        connection.send(query("START_REPLICATION SLOT s_e2e LOGICAL 0/0"))
        assert connection.receive()[0] == "W"
        server.sql("INSERT INTO r VALUES (42)", database)
        seen = b""
        while b"42" not in seen:
            kind, body = connection.receive()
            assert kind == "d"
            seen += body
        connection.send(COPY_DONE)
        kinds = [kind for kind, _ in connection.until("Z")]
        assert kinds[-1] == "Z" and "c" in kinds


def test_every_split(pair):
    """The same conversation, cut at every byte on its way to the proxy."""
    direct, proxied = pair
    conversation = (query("SELECT 1") + parse("SELECT $1::text", "s") + bind("", "s", [b"v"]) + execute() +
                    close("S", "s") + SYNC)
    with direct() as connection:
        wanted = plain(connection.talk(conversation, ready=2))
    with proxied() as connection:
        for cut in range(1, len(conversation)):
            connection.send(conversation[:cut])
            connection.send(conversation[cut:])
            assert plain(connection.until("Z", 2)) == wanted, cut


@pytest.mark.parametrize("protocol", [196608, 196610, 196999])
def test_protocol_versions(server, proxy_factory, protocol):
    proxy = proxy_factory(server)
    traces = []
    for port in (server.port, proxy.port):
        connection = Connection(port, login=False)
        connection.send(wire.startup({"user": "postgres", "database": "postgres", "_pq_.nonsense": "1"}, protocol))
        traces.append([(kind, body if kind == "v" else len(body)) for kind, body in connection.until("Z")])
        connection.close()
    assert traces[0] == traces[1]

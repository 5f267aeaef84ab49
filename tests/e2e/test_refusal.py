"""
A refused statement: nothing was executed, and the trace is that of a syntax error on the server itself, with our
words in it. Each case is sent twice: to the proxy with the risky ALTER, and directly with a text that no server can
read in its place; but for the ErrorResponse's words the two traces must be equal.
"""
import pytest

from harness import psql
from wire import (COPY_DONE, FLUSH, SYNC, Connection, bind, close, copy_data, describe, error_of, execute, fields,
                  parse, plain, query)

RISKY = "ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()"
BROKEN = "pgsluice_refused_volatile_default"

ALL_SERVERS = True
NOTHING_IS_SMALL = "policy: {small_table: {rows: 0, size: 0}}\n"


@pytest.fixture
def pair(server, proxy_factory, database):
    proxy = proxy_factory(server, NOTHING_IS_SMALL)
    server.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT n, 'v' FROM generate_series(1, 50) n;"
               "CREATE TABLE w (a int)", database)
    return (lambda: Connection(server.port, database=database)), (lambda: Connection(proxy.port, database=database))


CASES = {
    "simple query": lambda x: [([query(x)], 1), ([query("SELECT 1")], 1)],
    "last of several": lambda x: [([query("INSERT INTO w VALUES (1); " + x)], 1), ([query("SELECT * FROM w")], 1)],
    "first of several": lambda x: [([query(x + "; INSERT INTO w VALUES (1)")], 1), ([query("SELECT * FROM w")], 1)],
    "with a begin in front": lambda x: [([query("BEGIN; " + x + "; COMMIT")], 1), ([query("SELECT 1")], 1)],
    "explicit transaction": lambda x: [([query("BEGIN")], 1), ([query("INSERT INTO w VALUES (1)")], 1), ([query(x)], 1),
                                       ([query("SELECT 1")], 1), ([query("COMMIT")], 1), ([query("SELECT * FROM w")], 1)],
    "savepoint": lambda x: [([query("BEGIN; INSERT INTO w VALUES (1); SAVEPOINT s")], 1), ([query(x)], 1),
                            ([query("ROLLBACK TO s")], 1), ([query("SELECT * FROM w")], 1), ([query("ROLLBACK")], 1)],
    "rollback in the same query": lambda x: [([query("BEGIN")], 1), ([query("SELECT 1/0")], 1),
                                             ([query("ROLLBACK; " + x)], 1), ([query("ROLLBACK")], 1)],
    "extended": lambda x: [([parse(x), bind(), describe(), execute(), SYNC], 1), ([query("SELECT 1")], 1)],
    "extended, parse and sync apart": lambda x: [([parse(x), SYNC], 1), ([bind(), execute(), SYNC], 1)],
    "named statement": lambda x: [([parse(x, "s"), SYNC], 1), ([bind("", "s"), execute(), SYNC], 1),
                                  ([parse("SELECT 7", "s"), bind("", "s"), execute(), SYNC], 1)],
    "unnamed statement is gone": lambda x: [([parse("SELECT 1"), SYNC], 1), ([parse(x), SYNC], 1),
                                            ([bind(), execute(), SYNC], 1)],
    "named statement survives": lambda x: [([parse("SELECT 1", "s"), SYNC], 1), ([parse(x), SYNC], 1),
                                           ([bind("", "s"), execute(), SYNC], 1)],
    "name in use": lambda x: [([parse("SELECT 1", "s"), SYNC], 1), ([parse(x, "s"), SYNC], 1),
                              ([bind("", "s"), execute(), SYNC], 1)],
    "work in front in a pipeline": lambda x: [([parse("INSERT INTO w VALUES (1)"), bind(), execute(), parse(x), bind(),
                                                execute(), SYNC], 1), ([query("SELECT * FROM w")], 1)],
    "work behind in a pipeline": lambda x: [([parse(x), bind(), execute(), parse("INSERT INTO w VALUES (1)"), bind(),
                                              execute(), SYNC], 1), ([query("SELECT * FROM w")], 1)],
    "syncs on both sides": lambda x: [([parse("INSERT INTO w VALUES (1)"), bind(), execute(), SYNC, parse(x), bind(),
                                        execute(), SYNC, parse("INSERT INTO w VALUES (2)"), bind(), execute(), SYNC], 3),
                                      ([query("SELECT * FROM w")], 1)],
    "a query behind it is skipped": lambda x: [([parse(x), query("INSERT INTO w VALUES (1)"), SYNC], 1),
                                               ([query("SELECT * FROM w")], 1)],
    "simple queries in a pipeline": lambda x: [([query("INSERT INTO w VALUES (1)"), query(x), query("SELECT 2")], 3),
                                               ([query("SELECT * FROM w")], 1)],
    "behind an error": lambda x: [([parse("SELECT nope"), parse(x), bind(), execute(), SYNC], 1)],
    "twice": lambda x: [([query(x)], 1), ([query(x)], 1), ([parse(x), SYNC, parse(x), SYNC], 2)],
    "copy in front": lambda x: [([query("COPY w FROM STDIN"), copy_data(b"1\n"), COPY_DONE, query(x)], 2),
                                ([query("SELECT * FROM w")], 1)],
    "copy out in front": lambda x: [([query("COPY t TO STDOUT"), query(x), query("SELECT 1")], 3)],
}


def run_case(connect, steps):
    trace = []
    with connect() as connection:
        for messages, ready in steps:
            got = connection.talk(*messages, ready=ready)
            trace += plain(got, forget="VSMDHPntscC" if any(
                k == "E" and fields(b).get("C") in ("42601", "SL001") for k, b in got) else "")
        connection.query("ROLLBACK")
        connection.query("TRUNCATE w")
    return trace


@pytest.mark.parametrize("name", CASES)
def test_same_trace_as_a_syntax_error(pair, server, database, name):
    direct, proxied = pair
    wanted = run_case(direct, CASES[name](BROKEN))
    got = run_case(proxied, CASES[name](RISKY))
    assert got == wanted
    assert server.sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0",
                      database) == "2"


def test_flush_driver_gets_its_error_before_sync(pair):
    with pair[1]() as connection:
        connection.send(parse(RISKY), describe("S"), FLUSH)
        kind, body = connection.receive()
        assert kind == "E" and fields(body)["C"] == "SL001"
        assert [k for k, _ in connection.talk(SYNC)] == ["Z"]


def test_the_fields_of_a_refusal(pair):
    with pair[1]() as connection:
        error = error_of(connection.query("  /* é */ " + RISKY))
    assert error["S"] == error["V"] == "ERROR"
    assert error["C"] == "SL001"
    assert "volatile-default" in error["M"] and error["n"] == "volatile-default"
    assert error["D"] and error["H"]
    text = "  /* é */ " + RISKY
    place = int(error["P"]) - 1
    assert text[place:].startswith(("DEFAULT", "gen_random_uuid", "u uuid")), text[place:]
    assert error["t"] == "t"


def test_psql_draws_its_caret(server, proxy_factory, database):
    proxy = proxy_factory(server, NOTHING_IS_SMALL)
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    done = psql(proxy.port, RISKY + ";\n", database)
    lines = done.stderr.splitlines()
    line = next(i for i, text in enumerate(lines) if text.startswith("LINE 1: "))
    assert lines[line + 1].strip() == "^"
    caret = lines[line + 1].index("^")
    assert lines[line][caret:].startswith(("DEFAULT", "gen_random_uuid"))


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SJIS"])
def test_refusal_in_the_clients_encoding(server, proxy_factory, database, encoding):
    proxy = proxy_factory(server, NOTHING_IS_SMALL)
    name = "naïve" if encoding != "SJIS" else "表示能"
    server.sql('CREATE TABLE "%s" (a int); INSERT INTO "%s" VALUES (1)' % (name, name), database)
    codec = {"UTF8": "utf-8", "LATIN1": "latin-1", "SJIS": "cp932"}[encoding]
    with Connection(proxy.port, database=database, client_encoding=encoding) as connection:
        sql = 'ALTER TABLE "%s" ADD COLUMN u uuid DEFAULT gen_random_uuid()' % name
        for kind, body in connection.query(sql.encode(codec)):
            if kind == "E":
                parts = {chr(f[0]): f[1:] for f in body.split(b"\0") if f}
    assert parts["C"] == b"SL001"
    assert parts["t"].decode(codec) == name
    place = int(parts["P"]) - 1
    assert sql[place:].startswith(("DEFAULT", "gen_random_uuid"))


def test_escaped_strings_when_standard_conforming_strings_is_off(server, proxy_factory, database):
    """What the server reads as a string is no statement, and what it reads as a statement is no string."""
    proxy = proxy_factory(server, NOTHING_IS_SMALL)
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    hidden = r"SELECT 'a\'; " + RISKY + r"; --'"
    with Connection(proxy.port, database=database) as connection:
        assert error_of(connection.query(hidden))["C"] == "SL001"  # on: the string ends at the first quote
        connection.query("SET standard_conforming_strings = off; SET escape_string_warning = off")
        assert error_of(connection.query(hidden)) is None          # off: one string
        assert error_of(connection.query(r"SELECT 'a\\'; " + RISKY))["C"] == "SL001"
    # the same within one write, before any ReadyForQuery tells the new setting
    with Connection(proxy.port, database=database) as connection:
        got = connection.talk(query("SET standard_conforming_strings = off; SET escape_string_warning = off"),
                              query(r"SELECT 'a\\'; " + RISKY), query(hidden), ready=3)
        assert [fields(b)["C"] for k, b in got if k == "E"] == ["SL001"]
    assert server.sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0",
                      database) == "1"


def test_sjis_backslash_is_half_a_character(server, proxy_factory, database):
    """In SJIS the byte 0x5C may be the second half of a character: E'表' ends at its quote."""
    proxy = proxy_factory(server, NOTHING_IS_SMALL)
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    with Connection(proxy.port, database=database, client_encoding="SJIS") as connection:
        sql = b"SELECT E'\x95\x5c'; " + RISKY.encode() + b" --'"
        assert error_of(connection.query(sql))["C"] == "SL001"


def test_what_the_parser_cannot_read(pair, server):
    direct, proxied = pair
    typos = ["ALTER TABLE t ADD COLUM x int int", "ALTER TABLE t ADD", "ALTER TABLE t ADD COLUMN", "CREATE TABLE (",
             "ALTER TABLE t ADD COLUMN x int; ALTER TABLE t ADD COLUMN 'y' int", "CREATE TABLE x (a int",
             "ALTER TABLE t ADD COLUMN c text DEFAULT 'open", "ALTER TABLE t -- comment", "CREATE TABLE o (a int) /* open"]
    with direct() as one, proxied() as two:
        for sql in typos:
            assert plain(two.query(sql)) == plain(one.query(sql)), sql
            assert plain(two.talk(parse(sql), SYNC)) == plain(one.talk(parse(sql), SYNC)), sql
        if server.version >= 18:
            error = error_of(two.query("ALTER TABLE t ADD CONSTRAINT n NOT NULL b NOT VALID"))
            assert error["C"] == "SL004"


def test_close_and_reuse_of_a_statement_that_was_allowed(pair, server, database):
    with pair[1]() as connection:
        got = connection.talk(parse("ALTER TABLE t ADD COLUMN IF NOT EXISTS ok int", "d"), SYNC,
                              bind("", "d"), execute(), SYNC, bind("", "d"), execute(), SYNC, close("S", "d"), SYNC,
                              ready=4)
        assert error_of(got) is None
    assert "ok" in server.sql("SELECT string_agg(attname, ',') FROM pg_attribute WHERE attrelid = 't'::regclass",
                              database)


def test_failed_transaction_is_left_to_the_server(pair):
    direct, proxied = pair
    with direct() as one, proxied() as two:
        for connection in (one, two):
            connection.query("BEGIN")
            connection.query("SELECT 1/0")
        assert plain(two.query(RISKY)) == plain(one.query(RISKY))  # 25P02, not our refusal
        assert error_of(two.query(RISKY))["C"] == "25P02"


@pytest.mark.parametrize("front", ["SELECT 7", "INSERT INTO w VALUES (1)", RISKY, "SELECT pg_sleep(0.3)"])
def test_answered_before_an_impossible_length(pair, front):
    """What stands in front of a message that can't be is answered; then the session ends, and says why."""
    _, proxied = pair
    with proxied() as connection:
        connection.send(query(front), b"Q\0\0\0\3")
        kinds, last = [], {}
        while (one := connection.receive()) is not None:
            kinds.append(one[0])
            last = fields(one[1]) if one[0] == "E" else last
    assert "Z" in kinds and kinds[-1] == "E" and kinds.index("Z") == len(kinds) - 2, kinds
    assert last["C"] == "08P01" and "invalid length 3" in last["M"]

"""
lock-held-in-transaction: long work behind an ACCESS EXCLUSIVE lock is seen as it happens, and what is no long work,
or comes when the lock is gone, isn't spoken of.
"""
import json
import time

import psycopg
import pytest

from harness import psql, wait_until
from wire import SYNC, Connection, bind, describe, error_of, execute, fields, parse, query

RULE = "lock-held-in-transaction"
STANDARD = "policy: {small_table: {rows: 100, size: 1MB}}\n"
STRICT = "policy: {profile: strict, small_table: {rows: 100, size: 1MB}, rules: {nullable-column: allow, " \
         "explicit-default: allow, column-type: allow, comment-required: allow}}\n"
ALTER = "ALTER TABLE orders ADD COLUMN note text"
FILL = "UPDATE orders SET total = 1"


@pytest.fixture
def tables(server, database):
    server.sql("CREATE TABLE orders (id int, total int); INSERT INTO orders SELECT n, n FROM generate_series(1, 2000) n;"
               "CREATE TABLE lines (id int, total int); INSERT INTO lines SELECT n, n FROM generate_series(1, 2000) n;"
               "CREATE TABLE django_migrations (id int, app text); CREATE TABLE alembic_version (version_num text);"
               "INSERT INTO alembic_version VALUES ('a'); CREATE PROCEDURE fill() LANGUAGE sql AS 'SELECT 1'; ANALYZE",
               database)
    return database


@pytest.fixture(params=[True, False], ids=["audited", "no audit"])
def standard(request, server, proxy_factory, tables):
    return proxy_factory(server, STANDARD, audit=request.param)


@pytest.fixture
def strict(server, proxy_factory, tables):
    return proxy_factory(server, STRICT)


def warnings(messages):
    return [fields(body) for kind, body in messages if kind == "N"]


def of_rule(messages):
    assert error_of(messages) is None, error_of(messages)
    return [n for n in warnings(messages) if n.get("n") == RULE]


def records(proxy):
    return [json.loads(line) for line in proxy.audit_path.read_text().splitlines()]


# ---- work behind the lock --------------------------------------------------------------------------------------------

def test_psql_warned(standard, tables):
    done = psql(standard.port, "BEGIN;\n%s;\n%s;\nCOMMIT;\n%s;\n" % (ALTER, FILL, FILL), tables)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("WARNING:") == 1, done.stderr
    for words in ("this UPDATE would run while nobody else can read or write orders", "ALTER TABLE has locked",
                  "2,000 rows", "COMMIT right after the ALTER TABLE"):
        assert words in done.stderr, done.stderr


def test_strict_refuses(strict, tables, server):
    with Connection(strict.port, database=tables) as c:
        c.query("BEGIN")
        assert error_of(c.query(ALTER)) is None
        error = error_of(c.query(FILL))
        assert error["C"] == "SL001" and error["n"] == RULE and error["t"] == "orders", error
        c.query("ROLLBACK")
        assert error_of(c.query(FILL)) is None
    finished = [r for r in records(strict) if r["record"] == "decided"]
    assert [(r["kind"], r["verdict"], r["rules"]) for r in finished] == \
        [("ALTER TABLE", "allow", []), ("UPDATE", "reject", [RULE])]


WORK = [FILL, "DELETE FROM lines WHERE id > 5", "INSERT INTO lines SELECT id, total FROM orders",
        "WITH d AS (DELETE FROM lines RETURNING id) SELECT count(*) FROM d", "CREATE TABLE kept AS SELECT * FROM lines",
        "CREATE INDEX ON lines (id)", "CALL fill()", "DO $$ BEGIN UPDATE lines SET total = 3; END $$",
        "ALTER TABLE lines ADD CONSTRAINT positive CHECK (id > 0)"]


@pytest.mark.parametrize("work", WORK)
def test_kinds_of_work(server, proxy_factory, tables, work):
    proxy = proxy_factory(server, "policy: {small_table: {rows: 100, size: 1MB}, rules: {add-check: warn}}\n")
    with Connection(proxy.port, database=tables) as c:
        c.query("BEGIN")
        c.query(ALTER)
        assert len(of_rule(c.query(work))) == 1
        c.query("COMMIT")
        assert of_rule(c.query(work.replace("kept", "kept2").replace("positive", "positive2"))) == []


def test_copy_from(standard, tables):
    with psycopg.connect(port=standard.port, host="127.0.0.1", user="postgres", dbname=tables) as connection:
        told = []
        connection.add_notice_handler(lambda d: told.append(d.constraint_name))
        connection.execute(ALTER)
        with connection.cursor().copy("COPY lines FROM STDIN") as copy:
            copy.write("1\t2\n")
        assert told == [RULE]
        connection.rollback()


@pytest.mark.parametrize("text", ["BEGIN; %s; %s; COMMIT", "%s; %s", "SELECT 1; %s; SELECT 2; %s"])
def test_one_message(standard, tables, text):
    with Connection(standard.port, database=tables) as c:
        assert len(of_rule(c.query(text % (ALTER, FILL)))) == 1


def test_one_message_committed_between(standard, tables):
    with Connection(standard.port, database=tables) as c:
        assert of_rule(c.query("BEGIN; %s; COMMIT; %s" % (ALTER, FILL))) == []


def test_through_a_do_block(standard, tables):
    with Connection(standard.port, database=tables) as c:
        c.query("BEGIN")
        c.query("DO $$ BEGIN %s; END $$" % ALTER)
        assert len(of_rule(c.query(FILL))) == 1


def test_psycopg_extended(standard, tables):
    with psycopg.connect(port=standard.port, host="127.0.0.1", user="postgres", dbname=tables) as connection:
        told = []
        connection.add_notice_handler(lambda d: told.append(d.constraint_name))
        connection.execute(ALTER)
        for _ in range(7):  # prepared on the server from the fifth on
            connection.execute("UPDATE orders SET total = %s WHERE id > %s", (1, 5), prepare=True)
        assert RULE in told and set(told) == {RULE}
        connection.commit()
        del told[:]
        for _ in range(3):
            connection.execute("UPDATE orders SET total = %s WHERE id > %s", (1, 5), prepare=True)
        assert told == []


def test_executed_is_on_record(strict, proxy_factory, server, tables):
    proxy = proxy_factory(server, STANDARD)
    with Connection(proxy.port, database=tables) as c:
        c.query("BEGIN")
        c.query(ALTER)
        messages = c.talk(parse(FILL), bind(), describe(), execute(), SYNC)
        assert len(of_rule(messages)) == 1
        c.query("COMMIT")
    wait_until(lambda: len(records(proxy)) >= 6)
    decided = [r for r in records(proxy) if r["record"] == "decided"]
    assert [(r["kind"], r["rules"]) for r in decided] == [("ALTER TABLE", []), ("UPDATE", [RULE])]


def test_pipeline(standard, tables):
    step = [bind(), execute()]
    with Connection(standard.port, database=tables) as c:
        messages = c.talk(parse("BEGIN"), *step, parse(ALTER), *step, parse(FILL), *step, parse("COMMIT"), *step, SYNC)
        assert len(of_rule(messages)) == 1
        messages = c.talk(parse("BEGIN"), *step, parse(ALTER.replace("note", "n2")), *step, parse("COMMIT"), *step,
                          parse(FILL), *step, SYNC)
        assert of_rule(messages) == []


def test_pipelined_queries(standard, tables):
    with Connection(standard.port, database=tables) as c:
        messages = c.talk(query("BEGIN"), query(ALTER), query("COMMIT"), query(FILL), query("BEGIN"),
                          query("ALTER TABLE orders ADD COLUMN n2 int"), query(FILL), query("ROLLBACK"), query(FILL),
                          ready=9)
        assert len(of_rule(messages)) == 1


# ---- LOCK TABLE ------------------------------------------------------------------------------------------------------

LOCKS = ["LOCK TABLE orders", "lock orders, lines in access exclusive mode", "LOCK TABLE orders IN EXCLUSIVE MODE NOWAIT",
         "DO $$ BEGIN LOCK TABLE orders; END $$"]
WEAK = ["LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE", "LOCK orders IN ROW EXCLUSIVE MODE",
        "LOCK orders IN ACCESS SHARE MODE"]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_table(standard, tables, lock):
    with Connection(standard.port, database=tables) as c:
        c.query("BEGIN")
        assert of_rule(c.query(lock)) == []
        told = of_rule(c.query(FILL))
        assert len(told) == 1 and ("read or write" in told[0]["M"]) == ("IN EXCLUSIVE" not in lock), told
        c.query("COMMIT")
        assert of_rule(c.query(FILL)) == []
        c.query("BEGIN")
        c.query("SAVEPOINT s")
        c.query(lock)
        c.query("ROLLBACK TO s")
        assert of_rule(c.query(FILL)) == []
        c.query("ROLLBACK")
        assert len(of_rule(c.query("BEGIN; %s; %s; COMMIT" % (lock, FILL)))) == 1
        assert of_rule(c.query("BEGIN; %s; COMMIT; %s" % (lock, FILL))) == []


@pytest.mark.parametrize("lock", WEAK)
def test_lock_table_weakly(standard, tables, lock):
    with Connection(standard.port, database=tables) as c:
        c.query("BEGIN")
        c.query(lock)
        assert of_rule(c.query(FILL)) == []
        c.query("COMMIT")


def test_lock_table_prepared(standard, tables):
    with Connection(standard.port, database=tables) as c:
        c.talk(parse(LOCKS[0], name="l"), parse(FILL, name="f"), SYNC)
        for _ in range(2):
            c.query("BEGIN")
            assert of_rule(c.talk(bind(statement="l"), execute(), SYNC)) == []
            assert len(of_rule(c.query(FILL))) == 1
            c.query("COMMIT")
            assert of_rule(c.query(FILL)) == []
        c.query("BEGIN")
        assert len(of_rule(c.talk(parse(LOCKS[0]), bind(), execute(), parse(FILL), bind(), execute(), SYNC))) == 1
        c.query("COMMIT")


def test_lock_table_chooses_the_moment(standard, tables, server):
    """In REPEATABLE READ the snapshot comes behind LOCK: nothing of ours may take it first."""
    with Connection(standard.port, database=tables) as c:
        c.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
        c.query(LOCKS[0])
        server.sql("INSERT INTO lines VALUES (-1, 1)", tables)
        assert b"-1" in b"".join(body for kind, body in c.query("SELECT id FROM lines WHERE id < 0") if kind == "D")
        c.query("ROLLBACK")


def test_lock_table_is_not_on_record(strict, tables):
    with Connection(strict.port, database=tables) as c:
        c.query("BEGIN")
        c.query(LOCKS[0])
        assert error_of(c.query(FILL))["n"] == RULE
        c.query("ROLLBACK")
        assert error_of(c.query(LOCKS[0]))["C"] == "25P01"  # outside a transaction
        assert error_of(c.query(FILL)) is None
    assert [r["kind"] for r in records(strict) if r["record"] == "decided"] == ["UPDATE"]


# ---- no work, or no lock ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("statements", [
    ["BEGIN", ALTER, "INSERT INTO django_migrations VALUES (1, 'shop')", "COMMIT"],
    ["BEGIN", ALTER, "UPDATE alembic_version SET version_num = 'b' WHERE version_num = 'a'", "COMMIT"],
    ["BEGIN", ALTER, "SELECT * FROM orders LIMIT 1", "SHOW search_path", "SET LOCAL lock_timeout = '1s'",
     "ALTER TABLE lines ADD COLUMN c int", "INSERT INTO lines VALUES (1, 2), (3, 4)", "LOCK TABLE lines", "COMMIT"],
    ["BEGIN", ALTER, "DO $$ BEGIN ALTER TABLE lines ADD COLUMN c int; EXCEPTION WHEN duplicate_column THEN NULL; "
     "END $$", "COMMIT"],
    ["BEGIN", "SAVEPOINT s", ALTER, "ROLLBACK TO s", FILL, "COMMIT"],
    ["BEGIN", "SAVEPOINT s", ALTER, "ROLLBACK TO SAVEPOINT s", FILL, "COMMIT"],
    ["BEGIN", ALTER, "ROLLBACK", FILL],
    ["BEGIN", ALTER, "COMMIT", "BEGIN", FILL, "COMMIT"],
    [ALTER, FILL],
    ["BEGIN", FILL, ALTER, "COMMIT"],
    ["BEGIN", "CREATE TABLE mine AS SELECT 1 AS a", "ALTER TABLE mine ADD COLUMN c int", FILL, "COMMIT"],
    ["CREATE TEMP TABLE mine (a int)", "BEGIN", "ALTER TABLE mine ADD COLUMN c int", FILL, "COMMIT"],
    ["BEGIN", "CREATE INDEX ON django_migrations (id)", FILL, "COMMIT"],
    ["BEGIN", "ALTER TABLE IF EXISTS nowhere ADD COLUMN c int", FILL, "COMMIT"],
])
def test_nothing_to_say(standard, tables, statements):
    with Connection(standard.port, database=tables) as c:
        for statement in statements:
            assert of_rule(c.query(statement)) == [], statement


def test_failed_and_rolled_back_to(standard, tables):
    with Connection(standard.port, database=tables) as c:
        c.query("BEGIN")
        c.query("SAVEPOINT s")
        assert error_of(c.query("ALTER TABLE orders ADD COLUMN id int"))["C"] == "42701"
        c.query("ROLLBACK TO s")
        assert of_rule(c.query(FILL)) == []
        c.query(ALTER)
        c.query("SAVEPOINT later")
        c.query("ROLLBACK TO later")
        assert len(of_rule(c.query(FILL))) == 1


def test_unreadable_is_forwarded(strict, tables):
    """Nobody has to judge it: what can't be read goes to the server."""
    with Connection(strict.port, database=tables) as c:
        c.query("BEGIN")
        c.query(ALTER)
        assert error_of(c.query("UPDATE orders SET"))["C"] == "42601"
        c.query("ROLLBACK")


# ---- time ------------------------------------------------------------------------------------------------------------

def test_held_for_long(strict, tables):
    with Connection(strict.port, database=tables) as c:
        c.query("BEGIN")
        c.query(ALTER)
        assert of_rule(c.query("SELECT 1")) == []
        time.sleep(1.1)
        told = of_rule(c.query("SELECT 1"))  # warned of, even where work is refused
        assert len(told) == 1 and "orders has been locked for 1." in told[0]["M"], told
        assert of_rule(c.query("SELECT 1")) == []  # once
        c.query("COMMIT")
        c.query("BEGIN")
        assert of_rule(c.query("SELECT 1")) == []


# ---- policy ----------------------------------------------------------------------------------------------------------

def test_observe(server, proxy_factory, tables):
    proxy = proxy_factory(server, "policy: {profile: observe, small_table: {rows: 100, size: 1MB}}\n")
    with Connection(proxy.port, database=tables) as c:
        assert of_rule(c.query("BEGIN; %s; %s; COMMIT" % (ALTER, FILL))) == []
    decided = [r for r in records(proxy) if r["record"] == "decided"]
    assert [(r["kind"], r["verdict"], r["would"]) for r in decided] == \
        [("ALTER TABLE", "allow", "allow"), ("UPDATE", "allow", "warn")]


def test_an_override_and_a_waiver(server, proxy_factory, tables):
    proxy = proxy_factory(server, "policy: {small_table: {rows: 100, size: 1MB}, rules: {%s: reject}, waivers: {"
                          "roles: [postgres]}, overrides: [{when: {application: loader}, rules: {%s: allow}}]}\n"
                          % (RULE, RULE))
    with Connection(proxy.port, database=tables) as c:
        c.query("BEGIN")
        c.query(ALTER)
        assert error_of(c.query("/* pgsluice: allow %s, the table is not in use yet */ %s" % (RULE, FILL))) is None
        assert error_of(c.query(FILL))["n"] == RULE
        c.query("ROLLBACK")
    with Connection(proxy.port, database=tables, application_name="loader") as c:
        assert of_rule(c.query("BEGIN; %s; %s; COMMIT" % (ALTER, FILL))) == []

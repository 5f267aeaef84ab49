"""
What is dropped without being named: each statement is tried on a real server first, which says what went, and then sent
through the proxy, which must have spoken of it. Statements that take nothing must pass without a word.
"""
import pytest

from harness import psql

ALL_SERVERS = True

SETUP = """
CREATE SCHEMA app; CREATE TABLE app.t (a int); INSERT INTO app.t VALUES (1);
CREATE SCHEMA empty;
CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE unused AS ENUM ('x'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE COLLATION other FROM "C";
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE TABLE orders (id int PRIMARY KEY, m mood, p positive, c text COLLATE other, note text,
                     d int GENERATED ALWAYS AS (twice(id)) STORED);
INSERT INTO orders (id) VALUES (1); CREATE INDEX orders_note ON orders (note);
CREATE VIEW seen AS SELECT id FROM orders; CREATE MATERIALIZED VIEW kept AS SELECT id FROM orders;
CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE public.moving (id int);
CREATE SEQUENCE counter; ALTER TABLE orders ALTER COLUMN id SET DEFAULT nextval('counter');
CREATE TABLE lines (o int REFERENCES orders); CREATE TYPE pair AS (a int, b int); CREATE TABLE pairs OF pair;
INSERT INTO pairs SELECT g, g FROM generate_series(1, 100) g;
"""

# statement: (rule or None, what the catalog has less of afterwards: a query that must give another answer)
COLUMNS = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped"
TABLES = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'i') AND oid > 16384"
PLACES = "SELECT string_agg(relnamespace::regnamespace || relname, ',' ORDER BY oid) FROM pg_class WHERE oid > 16384"
CASES = {
    "DROP SCHEMA app CASCADE": ("drop-table", TABLES),
    "DROP SCHEMA empty": (None, None),
    "DROP TYPE mood CASCADE": ("drop-column", COLUMNS),
    "DROP TYPE unused": (None, None),
    "DROP DOMAIN positive CASCADE": ("drop-column", COLUMNS),
    "DROP COLLATION other CASCADE": ("drop-column", COLUMNS),
    "DROP FUNCTION twice(int) CASCADE": ("drop-column", COLUMNS),
    "DROP ROUTINE twice(int) CASCADE": ("drop-column", COLUMNS),
    "DROP SEQUENCE counter CASCADE": ("drop-column", "SELECT count(*) FROM pg_attrdef WHERE adrelid = 'orders'::regclass"),
    "ALTER TABLE orders DROP CONSTRAINT orders_pkey CASCADE": ("drop-constraint", "SELECT count(*) FROM pg_constraint"),
    "ALTER TYPE pair DROP ATTRIBUTE b CASCADE": ("drop-column", "SELECT sum(attnum) FROM pg_attribute WHERE attrelid = "
                                                 "'pairs'::regclass AND NOT attisdropped"),
    "ALTER TYPE pair ALTER ATTRIBUTE a TYPE text CASCADE": ("alter-type", "SELECT pg_relation_filenode('pairs')"),
    "DROP TABLE part": ("drop-table", TABLES),
    "DROP SCHEMA IF EXISTS nothing CASCADE": (None, None),
    "DROP TYPE IF EXISTS nothing CASCADE": (None, None),
    "CREATE TYPE brief AS (a int); DROP TYPE brief CASCADE": (None, None),
    "DROP VIEW seen": ("drop-table", TABLES),
    "DROP VIEW seen; CREATE VIEW seen AS SELECT id, note FROM orders": (None, None),
    "DROP MATERIALIZED VIEW kept": ("drop-table", TABLES),
    "DROP INDEX orders_note": ("drop-index", TABLES),
    "DROP INDEX CONCURRENTLY orders_note": (None, TABLES),
    "DROP INDEX IF EXISTS nothing": (None, None),
    "ALTER TABLE parts DETACH PARTITION part": ("detach-partition", "SELECT count(*) FROM pg_inherits"),
    "ALTER TABLE moving SET SCHEMA app": ("rename-table", PLACES),
    "ALTER SCHEMA app RENAME TO other": ("rename-table", PLACES),
    "ALTER TABLE orders DROP COLUMN IF EXISTS nothing": (None, None),
    "DROP TABLE IF EXISTS nothing": (None, None),
}


@pytest.fixture(scope="module")
def proxy(server, module_proxy_factory):
    return module_proxy_factory(server, "policy: {profile: standard, small_table: {rows: 0, size: 0}}\n")


def send(proxy, statement, database):
    """As one message."""
    return psql(proxy.port, "", database, options=["-c", statement])


@pytest.mark.parametrize("statement", CASES)
def test_spoken_of(server, proxy, database, statement):
    rule, changed = CASES[statement]
    server.sql(SETUP, database)
    if changed:
        before = server.sql(changed, database)
    got = send(proxy, statement, database)
    assert got.returncode == 0, got.stderr
    told = "WARNING:" in got.stderr
    assert told == (rule is not None), got.stderr
    if rule:
        assert "pgsluice" in got.stderr and "HINT:" in got.stderr and "DETAIL:" in got.stderr
        assert rule in got.stderr, got.stderr
    if changed:
        assert server.sql(changed, database) != before


@pytest.mark.parametrize("statement, rule", [
    ("ALTER DOMAIN positive ADD CHECK (VALUE < 1000)", "add-check"), ("ALTER DOMAIN positive SET NOT NULL", "set-not-null")])
def test_domain(server, proxy, database, statement, rule):
    """The lock is on a table that the statement doesn't name."""
    server.sql(SETUP + "UPDATE orders SET p = 1", database)
    got = send(proxy, "BEGIN; %s; SELECT mode FROM pg_locks WHERE relation = 'orders'::regclass" % statement, database)
    assert "ShareLock" in got.stdout and rule in got.stderr, got.stdout + got.stderr
    got = send(proxy, "ALTER DOMAIN positive ADD CONSTRAINT more CHECK (VALUE < 1000) NOT VALID", database)
    assert "WARNING" not in got.stderr, got.stderr


def test_owned(server, proxy, database):
    server.sql("DROP ROLE IF EXISTS leaver; CREATE ROLE leaver; CREATE TABLE o (a int); ALTER TABLE o OWNER TO leaver", database)
    got = send(proxy, "DROP OWNED BY leaver", database)
    assert "drop-table" in got.stderr and "REASSIGN OWNED BY leaver TO ...;" in got.stderr, got.stderr
    assert server.sql("SELECT to_regclass('o') IS NULL", database) == "t"
    server.sql("DROP ROLE leaver", database)


def test_strict_keeps_them(server, database, module_proxy_factory):
    strict = module_proxy_factory(server, "policy: {profile: strict, small_table: {rows: 0, size: 0}}\n")
    server.sql(SETUP, database)
    for statement, (rule, _) in CASES.items():
        if rule:
            got = send(strict, statement, database)
            assert got.returncode != 0 and "refused by pgsluice" in got.stderr, (statement, got.stderr)
    got = send(strict, "DROP DATABASE nothing_there", database)
    assert "refused by pgsluice" in got.stderr and "dropping database nothing_there" in got.stderr
    got = send(strict, "ALTER TABLE orders DROP COLUMN IF EXISTS nothing", database)
    assert got.returncode == 0, got.stderr

"""
Whatever form a statement has, an online change ends in what the statement itself would have left: pg_dump -s of the
database equals, byte for byte, that of a twin where it ran directly. No row is without its value, no index or
constraint is invalid, no trigger has fired, no other column was touched.
"""
import pytest

from harness import psql
from online_proxy import APP, Writer, app_psql, apps, dump, finished, hand_over, online_config

ALL_SERVERS = True
ROWS = 300
UUID = "uuid DEFAULT gen_random_uuid()"

SETUP = r"""
CREATE SCHEMA side;
CREATE TABLE other (id int PRIMARY KEY, name text);
INSERT INTO other SELECT n, 'other ' || n FROM generate_series(1, 50) n;
CREATE TABLE items (id serial PRIMARY KEY, note text, n int, at timestamptz DEFAULT '2026-01-01Z');
INSERT INTO items (note, n) SELECT 'note ' || n, 1 + n %% 50 FROM generate_series(1, %(rows)d) n;
CREATE TABLE "Strange ""Items"" " (id int PRIMARY KEY, note text, n int);
INSERT INTO "Strange ""Items"" " SELECT n, 'note ' || n, n FROM generate_series(1, %(rows)d) n;
CREATE TABLE side.items (id int PRIMARY KEY, note text, n int);
INSERT INTO side.items SELECT n, 'note ' || n, n FROM generate_series(1, %(rows)d) n;
CREATE TABLE keyless (note text, n int);
INSERT INTO keyless SELECT 'note ' || n, n FROM generate_series(1, %(rows)d) n;
CREATE TABLE parted (id int, note text, n int) PARTITION BY RANGE (id);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (100) TO (200) PARTITION BY HASH (n);
CREATE TABLE parted2a PARTITION OF parted2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted2b PARTITION OF parted2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE parted3 (n int, id int NOT NULL, note text);
ALTER TABLE parted ATTACH PARTITION parted3 DEFAULT;
INSERT INTO parted SELECT n, 'note ' || n, n FROM generate_series(1, %(rows)d) n;
CREATE TABLE elder (id int, note text, n int);
CREATE TABLE child (more text) INHERITS (elder);
INSERT INTO elder SELECT n, 'note ' || n, n FROM generate_series(1, %(rows)d / 2) n;
INSERT INTO child SELECT n, 'note ' || n, n, 'more' FROM generate_series(1, %(rows)d / 2) n;
CREATE TABLE hidden (id int PRIMARY KEY, note text, n int);
INSERT INTO hidden SELECT n, 'note ' || n, n FROM generate_series(1, %(rows)d) n;
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON hidden USING (id < 10);
CREATE TABLE fired (what text);
CREATE TABLE watched (id int PRIMARY KEY, note text, n int, updated timestamptz);
INSERT INTO watched SELECT n, 'note ' || n, n FROM generate_series(1, %(rows)d) n;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.fired VALUES (TG_OP || TG_LEVEL); NEW.updated = clock_timestamp(); RETURN NEW; END';
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.fired VALUES (TG_OP || TG_LEVEL); RETURN NULL; END';
CREATE TRIGGER before BEFORE INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER after AFTER UPDATE ON watched FOR EACH STATEMENT EXECUTE FUNCTION told();
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON watched DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION told();
CREATE FUNCTION counted() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1 + (random() * 1000)::int; END';
CREATE DOMAIN dice AS float8 DEFAULT random();
""" % {"rows": ROWS}

# (name, table as SQL writes it, statement; "@" stands for the table)
FORMS = [
    ("volatile", "items", "ALTER TABLE @ ADD COLUMN a " + UUID),
    ("not null", "items", "ALTER TABLE @ ADD COLUMN a %s NOT NULL" % UUID),
    ("unique", "items", "ALTER TABLE @ ADD COLUMN a uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"),
    ("named constraints", "items", "ALTER TABLE @ ADD COLUMN a %s CONSTRAINT nn NOT NULL CONSTRAINT uu UNIQUE" % UUID),
    ("unique deferred", "items", "ALTER TABLE @ ADD COLUMN a %s UNIQUE DEFERRABLE INITIALLY DEFERRED" % UUID),
    ("only unique", "items", "ALTER TABLE @ ADD COLUMN a int UNIQUE"),
    ("check", "items", "ALTER TABLE @ ADD COLUMN a float8 DEFAULT random() CHECK (a < 2) NOT NULL CHECK (a > -1)"),
    ("only check", "items", "ALTER TABLE @ ADD COLUMN a int DEFAULT 3 NOT NULL CHECK (a > 0)"),
    ("references", "items", "ALTER TABLE @ ADD COLUMN a int DEFAULT 7 REFERENCES other ON DELETE SET NULL"),
    ("references volatile", "items",
     "ALTER TABLE @ ADD COLUMN a int NOT NULL DEFAULT 1 + (random() * 49)::int REFERENCES other (id)"),
    ("clock", "items", "ALTER TABLE @ ADD COLUMN a timestamptz NOT NULL DEFAULT clock_timestamp()"),
    ("text", "items", "ALTER TABLE @ ADD a text COLLATE \"C\" NOT NULL DEFAULT md5(random()::text)"),
    ("own function", "items", "ALTER TABLE @ ADD COLUMN a int NOT NULL DEFAULT counted()"),
    ("domain's default", "items", "ALTER TABLE @ ADD COLUMN a dice"),
    ("array", "items", "ALTER TABLE @ ADD COLUMN a int[] NOT NULL DEFAULT ARRAY[(random() * 9)::int, 1]"),
    ("smallserial", "items", "ALTER TABLE @ ADD COLUMN a smallserial"),
    ("serial", "items", "ALTER TABLE @ ADD COLUMN a serial"),
    ("bigserial unique", "items", "ALTER TABLE @ ADD COLUMN a bigserial UNIQUE"),
    ("identity", "items", "ALTER TABLE @ ADD COLUMN a bigint GENERATED ALWAYS AS IDENTITY"),
    ("identity options", "items", "ALTER TABLE @ ADD COLUMN a int GENERATED BY DEFAULT AS IDENTITY"
     " (START WITH 500 INCREMENT BY 5 MINVALUE 10 MAXVALUE 100000 CACHE 3 CYCLE) UNIQUE"),
    ("identity falling", "items",
     "ALTER TABLE @ ADD COLUMN a int GENERATED ALWAYS AS IDENTITY (INCREMENT BY -1 START WITH -1)"),
    ("several", "items", "ALTER TABLE @ ADD COLUMN a %s, ADD COLUMN b int, ADD COLUMN c float8 NOT NULL DEFAULT random(),"
     " ADD COLUMN d int NOT NULL DEFAULT 4, ADD COLUMN e serial" % UUID),
    ("several constraints", "items", "ALTER TABLE @ ADD COLUMN a %s NOT NULL, ADD COLUMN b %s UNIQUE, ADD UNIQUE (a, b),"
     " ADD CONSTRAINT few CHECK (n < 1000), ADD FOREIGN KEY (n) REFERENCES other" % (UUID, UUID)),
    ("if not exists", "items", "ALTER TABLE IF EXISTS @ ADD COLUMN IF NOT EXISTS a %s NOT NULL" % UUID),
    ("only", "items", "ALTER TABLE ONLY @ ADD COLUMN a %s NOT NULL UNIQUE" % UUID),
    ("comments", "items", "/* one */ ALTER TABLE @ -- two\n ADD COLUMN a /* three */ %s NOT /* four */ NULL ;" % UUID),
    ("quoted", '"Strange ""Items"" "', "ALTER TABLE @ ADD COLUMN \"ä \"\"B\"\" c\" uuid DEFAULT gen_random_uuid() NOT NULL"
     " UNIQUE CHECK (length(\"ä \"\"B\"\" c\"::text) > 3)"),
    ("long name", "items", "ALTER TABLE @ ADD COLUMN %s %s NOT NULL UNIQUE" % ("l" * 60, UUID)),
    ("other schema", "side.items", "ALTER TABLE @ ADD COLUMN a %s NOT NULL UNIQUE" % UUID),
    ("other schema serial", "side.items", "ALTER TABLE @ ADD COLUMN a serial"),
    ("no key", "keyless", "ALTER TABLE @ ADD COLUMN a %s NOT NULL UNIQUE" % UUID),
    ("partitioned", "parted", "ALTER TABLE @ ADD COLUMN a %s NOT NULL" % UUID),
    ("partitioned check", "parted", "ALTER TABLE @ ADD COLUMN a float8 NOT NULL DEFAULT random() CHECK (a < 2)"),
    ("partitioned serial", "parted", "ALTER TABLE @ ADD COLUMN a bigserial"),
    ("partition siblings", "parted", "ALTER TABLE @ ADD CHECK (n > 0), ALTER n SET NOT NULL"),
    ("inherited", "elder", "ALTER TABLE @ ADD COLUMN a %s NOT NULL" % UUID),
    ("inherited check", "elder", "ALTER TABLE @ ADD COLUMN a float8 DEFAULT random() CHECK (a < 2)"),
    ("a child", "child", "ALTER TABLE @ ADD COLUMN a %s NOT NULL UNIQUE" % UUID),
    ("row security", "hidden", "ALTER TABLE @ ADD COLUMN a %s NOT NULL" % UUID),
    ("triggers", "watched", "ALTER TABLE @ ADD COLUMN a uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"),
    ("set not null", "items", "ALTER TABLE @ ALTER COLUMN n SET NOT NULL"),
    ("set not null twice", "items", "ALTER TABLE @ ALTER n SET NOT NULL, ALTER COLUMN note SET NOT NULL"),
    ("add check", "items", "ALTER TABLE @ ADD CONSTRAINT few CHECK (n < 1000), ADD CHECK (length(note) > 1)"),
    ("add foreign key", "items", "ALTER TABLE @ ADD FOREIGN KEY (n) REFERENCES other (id) ON UPDATE CASCADE"),
    ("add unique", "items", "ALTER TABLE @ ADD UNIQUE (note), ADD CONSTRAINT \"Both\" UNIQUE (n, id) INCLUDE (note)"),
    ("create index", "items", "CREATE INDEX ON @ (n)"),
    ("create unique index", "items", "CREATE UNIQUE INDEX by_note ON @ (lower(note) DESC, n) WHERE n > 0"),
]


@pytest.fixture(scope="module")
def ways(server, module_proxy_factory):
    """Ports of server and proxy, each with its own twin of the database."""
    twins = {}
    proxy = module_proxy_factory(server, online_config(server, policy="rules: {create-index: online}"))
    for name, port in (("forms_direct", server.port), ("forms_online", proxy.port)):
        server.sql("DROP DATABASE IF EXISTS %s WITH (FORCE)" % name)
        server.sql("CREATE DATABASE %s" % name)
        hand_over(server, name)
        twins[name] = port
    yield twins
    for name in twins:
        server.sql("DROP DATABASE %s WITH (FORCE)" % name)


def anew(server, database):
    server.sql("SET client_min_messages = error; DROP SCHEMA IF EXISTS public, side CASCADE; CREATE SCHEMA public;"
               "ALTER SCHEMA public OWNER TO %s;" % APP, database)
    server.sql(SETUP + "ANALYZE;", database, APP)


def columns(server, database, table):
    return server.sql("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = "
                      "$$%s$$::regclass AND attnum > 0 AND NOT attisdropped" % table, database)


def rows(server, database, table, listed):
    """What stands in these columns of all rows; row security does not hide any from a superuser."""
    return server.sql("SELECT md5(string_agg(r, E'\\n' ORDER BY r)) FROM (SELECT ROW(%s)::text FROM %s) t (r)"
                      % (listed, table), database)


def empty(server, database, table, listed):
    """NULLs, by column."""
    return server.sql("SELECT %s FROM %s" % (", ".join("count(*) - count(%s)" % name for name in listed), table), database)


INVALID = """SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready AND indislive)
UNION ALL SELECT conname FROM pg_constraint WHERE NOT convalidated
UNION ALL SELECT what FROM fired"""

# One more row, with defaults, sequences and identities: it must go in as before.
KEYED = "(id, note, n) VALUES (100000, 'new', 7)"
ROW = {"items": "(note, n) VALUES ('new', 7)", "keyless": "(note, n) VALUES ('new', 7)", "watched": None}


@pytest.mark.parametrize("name, table, statement", FORMS, ids=[form[0] for form in FORMS])
def test_form(server, ways, name, table, statement):
    sql = statement.replace("@", table)
    said, dumps, gaps = [], [], []
    for database, port in ways.items():
        anew(server, database)
        before = columns(server, database, table)
        held = rows(server, database, table, before)
        done = psql(port, sql + ";", database, user=APP, options=["-v", "ON_ERROR_STOP=1"])
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        after = columns(server, database, table)
        new = after[len(before) + 2:].split(", ") if after != before else []
        assert rows(server, database, table, before) == held
        assert server.sql(INVALID, database) == ""
        gaps.append((new, empty(server, database, table, new) if new else ""))
        dumps.append(dump(server, database, catalog=True))
        row = ROW.get(table, KEYED)
        assert row is None or app_psql(port, "INSERT INTO %s %s" % (table, row), database).returncode == 0
    assert said[0] == said[1] and gaps[0] == gaps[1] and dumps[0] == dumps[1]
    finished(server, "forms_online")


@pytest.mark.parametrize("what", ["serial", "bigint GENERATED ALWAYS AS IDENTITY",
                                  "int GENERATED BY DEFAULT AS IDENTITY (START WITH 100 INCREMENT BY 10)"])
def test_numbers_go_on(server, ways, what):
    """Each row has a number of its own, out of the series, and the next ones follow."""
    database, port = "forms_online", ways["forms_online"]
    anew(server, database)
    with apps(port, database) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE items ADD COLUMN a %s" % what)
        cursor.execute("INSERT INTO items (note) VALUES ('one more'), ('and another') RETURNING a")
        new = [a for a, in cursor.fetchall()]
        cursor.execute("SELECT count(DISTINCT a), count(*), max(a) FROM items WHERE a <> ALL (%s)", (new,))
        distinct, all_of_them, highest = cursor.fetchone()
        assert distinct == all_of_them == ROWS
        step = 10 if "INCREMENT" in what else 1
        first = 100 if "INCREMENT" in what else 1
        assert new[1] == new[0] + step and new[0] > highest and (highest - first) % step == 0


def test_the_old_rows_see_what_writers_do(server, ways):
    """Rows that come, change and go while a column is filled."""
    database, port = "forms_online", ways["forms_online"]
    anew(server, database)
    server.sql("INSERT INTO items (note, n) SELECT 'more', 1 + n % 50 FROM generate_series(1, 20000) n", database, APP)
    statements = ["UPDATE items SET n = n + 1 WHERE id = 1 + (random() * 20000)::int", "DELETE FROM items WHERE id = "
                  "(random() * 20000)::int", "INSERT INTO items (note, n) VALUES ('new', 1)"]
    with Writer(port, database, statements, 0) as writer:
        done = psql(port, "ALTER TABLE items ADD COLUMN a uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE;", database, user=APP)
    assert done.returncode == 0 and "ALTER TABLE" in done.stdout, done.stderr
    assert writer.errors == [] and writer.n > 20
    assert server.sql("SELECT count(*) FILTER (WHERE a IS NULL), count(*) - count(DISTINCT a) FROM items", database) == "0|0"

"""
pgsluice.begin_change() and what belongs to it: names as the server chooses them, the spec made complete, what is refused,
who may do and see what.
"""
import psycopg2
import pytest

from online import WORKER, ask, command, conninfo, install, role, session, spec
import wire
from wire import Connection

ALL_SERVERS = True


@pytest.fixture
def shop(server, database):
    role(server, "ann", "eve", "shop_owner", "crm_owner")
    install(server, database)
    server.sql("GRANT shop_owner TO ann; GRANT shop_owner TO %s;" % WORKER +
               "CREATE TABLE orders (id int PRIMARY KEY, n int); INSERT INTO orders SELECT i, i FROM generate_series(1, 10) i;"
               "ALTER TABLE orders OWNER TO shop_owner; GRANT ALL ON SCHEMA public TO shop_owner, ann", database)
    return database


def begin(connection, table="orders", before=(), nonce=None, **more):
    return ask(connection, "SELECT pgsluice.begin_change(%s::regclass, %s, %s::oid[], %s)", table, spec(**more),
               list(before), nonce)[0][0]


def added(name="token", **more):
    return {"name": name, "added": True, "fill": True, **more}


def refused(connection, code, *words, **more):
    with pytest.raises(psycopg2.Error) as error:
        begin(connection, **more)
    assert error.value.pgcode == code, error.value
    text = "%s\n%s\n%s" % (error.value.diag.message_primary, error.value.diag.message_detail, error.value.diag.message_hint)
    for word in words:
        assert word in text, text
    return error.value.diag


# ---- names ----

LONG = "a_very_long_name_that_is_exactly_sixty_three_bytes_long_0123456"
ODD = ['plain', 'Odd "name"', 'with space', LONG, 'ünïcödé_' + 'ä' * 27, '日本語のとても長いテーブル名前あ', 'a' * 62, "it's", '$1',
       '日' * 21]


def test_relation_names(server, shop):
    """For each odd table and column: the names that the server itself chooses, also when they are taken."""
    with session(server, shop) as connection:
        for table in ODD:
            for column in ('plain', LONG, '日' * 21):
                quoted = '"%s"' % table.replace('"', '""'), '"%s"' % column.replace('"', '""')
                ask(connection, 'CREATE TABLE %s (%s int, b int)' % quoted)
                for columns, label, statement in (([column], "key", 'ALTER TABLE %s ADD UNIQUE (%s)'),
                                                  ([column, "b"], "key", 'ALTER TABLE %s ADD UNIQUE (%s) INCLUDE (b)'),
                                                  ([column], "idx", 'CREATE INDEX ON %s (%s)')) * 3:
                    told = ask(connection, "SELECT pgsluice.relation_name(%s::regclass, %s, %s)", quoted[0], columns, label)
                    ask(connection, statement % quoted)
                    assert told == ask(connection, "SELECT relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid"
                                       " WHERE i.indrelid = %s::regclass ORDER BY c.oid DESC LIMIT 1", quoted[0])
                told = [ask(connection, "SELECT pgsluice.relation_name(%s::regclass, %s, %s)", quoted[0], columns, label)[0][0]
                        for columns, label in (([], "pkey"), (["s"], "seq"))]
                ask(connection, 'ALTER TABLE %s ADD PRIMARY KEY (%s), ADD s serial' % quoted)
                chosen = ask(connection, "SELECT (SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
                             " WHERE i.indisprimary AND i.indrelid = %s::regclass), (SELECT c.relname FROM pg_depend d"
                             " JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' WHERE d.refobjid = %s::regclass)",
                             quoted[0], quoted[0])[0]
                assert told == list(chosen)
                ask(connection, 'DROP TABLE %s' % quoted[0])


def test_names_that_are_taken(server, shop):
    """A relation's name counts always, a constraint's only for a constraint; columns twice in INCLUDE get a number."""
    with session(server, shop) as connection:
        ask(connection, "CREATE TABLE t (a int, b int); CREATE TABLE u (a int CONSTRAINT t_a_key CHECK (a > 0),"
            " CONSTRAINT t_a_idx CHECK (a > 0)); CREATE VIEW t_b_key AS SELECT 1")
        for columns, label, statement in ((["a"], "key", "ALTER TABLE t ADD UNIQUE (a)"),
                                          (["a"], "idx", "CREATE INDEX ON t (a)"),
                                          (["b"], "key", "ALTER TABLE t ADD UNIQUE (b)"),
                                          (["a", "a"], "idx", "CREATE INDEX ON t (a) INCLUDE (a)"),
                                          (["a", "a"], "idx", "CREATE INDEX ON t (a, a)")):
            told = ask(connection, "SELECT pgsluice.relation_name('t', %s, %s)", columns, label)[0][0]
            ask(connection, statement)
            assert told == ask(connection, "SELECT relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid"
                               " WHERE i.indrelid = 't'::regclass ORDER BY c.oid DESC LIMIT 1")[0][0], statement


@pytest.mark.parametrize("kind", ["smallserial", "serial", "bigserial"])
def test_serial_as_the_server_makes_it(server, shop, kind):
    with session(server, shop, "ann") as connection:
        facts = []
        for made in ("direct", "ours"):
            for persistence in ("", "UNLOGGED"):
                ask(connection, 'CREATE %s TABLE "T x" (a int); ALTER TABLE "T x" OWNER TO shop_owner' % persistence)
                if made == "direct":
                    ask(connection, 'ALTER TABLE "T x" ADD "C" %s' % kind)
                else:
                    column = {"smallserial": "smallint", "serial": "integer", "bigserial": "bigint"}[kind]
                    ask(connection, 'ALTER TABLE "T x" ADD "C" %s NOT NULL' % column)
                    ask(connection, """SELECT pgsluice.add_sequence('"T x"', 'C', %s, '')""", kind)
                facts.append(ask(connection, """
                    SELECT c.relname, pg_get_userbyid(c.relowner), c.relpersistence, s.seqtypid::regtype::text, s.seqstart,
                           s.seqmax, d.deptype, d.refobjsubid, pg_get_expr(f.adbin, f.adrelid)
                      FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
                      JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'a'
                      JOIN pg_attrdef f ON f.adrelid = '"T x"'::regclass"""))
                ask(connection, 'DROP TABLE "T x"')
        assert len(facts[0]) == 1 and facts[:2] == facts[2:]


def test_sequence_of_an_identity(server, shop):
    with session(server, shop, "ann") as connection:
        ask(connection, "ALTER TABLE orders ADD i bigint")
        assert ask(connection, "SELECT pgsluice.add_sequence('orders', 'i', 'bigint', 'START WITH 5 INCREMENT BY 2')::text") \
            == [("orders_i_fill_seq",)]
        assert ask(connection, "SELECT nextval('orders_i_fill_seq'), nextval('orders_i_fill_seq')") == [(5, 7)]
        with pytest.raises(psycopg2.errors.InvalidParameterValue):
            ask(connection, "SELECT pgsluice.add_sequence('orders', 'i', 'numeric', '')")


# ---- what is begun ----

def test_a_spec_made_complete(server, shop):
    with session(server, shop, "ann") as connection:
        ask(connection, "ALTER TABLE orders ADD CONSTRAINT old FOREIGN KEY (n) REFERENCES orders NOT VALID")
        before = [oid for oid, in ask(connection, "SELECT oid::int FROM pg_constraint WHERE conrelid = 'orders'::regclass")]
        ask(connection, "BEGIN; ALTER TABLE orders ADD token uuid, ADD i int, ADD s bigint, ADD CHECK (i > 0) NOT VALID,"
            " ADD FOREIGN KEY (i) REFERENCES orders NOT VALID;"
            " SELECT pgsluice.add_sequence('orders', 'i', 'integer', ''), pgsluice.add_sequence('orders', 's', 'bigserial', '')")
        number = begin(connection, before=before, columns=[
            added(), added("i", identity={"always": True}, serial=False), added("s", identity=None, serial=True)],
            unique=[{"name": None, "columns": ["token"], "include": []}, {"name": None, "columns": ["token"], "include": []},
                    {"name": "k", "columns": ["token"], "include": ["i"]}])
        ask(connection, "COMMIT")
        row = ask(connection, "SELECT state, wanted, phase, relation::regclass::text, table_schema, table_name,"
                  " owner::regrole::text, session_role, application, kind, statement, columns FROM pgsluice.change"
                  " WHERE id = %s", number)
        assert row == [("waiting", "run", "added", "orders", "public", "orders", "shop_owner", "ann", "test", "add-column",
                        "ALTER TABLE ...", ["token", "i", "s"])]
        whole = ask(connection, "SELECT spec FROM pgsluice.change")[0][0]
        assert [c["number"] for c in whole["columns"]] == [3, 4, 5]
        sequences = dict(ask(connection, "SELECT oid::int, relname FROM pg_class WHERE relkind = 'S'"))
        assert [sequences.get(c.get("sequence")) for c in whole["columns"]] == [None, "orders_i_fill_seq", "orders_s_seq"]
        assert [u["name"] for u in whole["unique"]] == ["orders_token_key", "orders_token_key1", "k"]
        assert whole["validate"] == [{"name": "orders_i_check", "type": "c"}, {"name": "orders_i_fkey", "type": "f"}]
        assert "statement" not in whole
        assert ask(connection, 'SELECT id, state, phase, "table" FROM pgsluice.progress') == \
            [(number, "waiting", "added", "public.orders")]


def test_not_enforced_and_not_null_constraints(server, shop):
    """18: a NOT VALID NOT NULL is to be validated, a NOT ENFORCED one never."""
    if server.version < 18:
        pytest.skip("new in 18")
    with session(server, shop, "ann") as connection:
        ask(connection, "ALTER TABLE orders ADD CONSTRAINT c CHECK (n > 0) NOT ENFORCED, ADD CONSTRAINT nn NOT NULL n NOT VALID")
        begin(connection, kind="set-not-null")
        assert ask(connection, "SELECT spec->'validate' FROM pgsluice.change")[0][0] == [{"name": "nn", "type": "n"}]


@pytest.mark.parametrize("level", ["notice", "error"])
def test_the_proxy_is_told(server, shop, level):
    """INFO goes out whatever client_min_messages says."""
    client = Connection(server.port, user="ann", database=shop)
    client.send(wire.query("SET client_min_messages = " + level))
    client.until("Z")
    client.send(wire.query("BEGIN; ALTER TABLE orders ADD u uuid; SELECT pgsluice.begin_change('orders', '%s', '{}',"
                           " 'nonce-7'); COMMIT" % spec(columns=[added("u")])))
    infos = [wire.fields(body) for kind, body in client.until("Z") if kind == "N"]
    client.close()
    assert [(i["S"], i["C"], i["M"], i["D"]) for i in infos] == [("INFO", "SL100", "nonce-7", "1")]


def test_names_that_are_to_come(server, shop):
    """Of two changes that one transaction begins, the second doesn't take the names that the first one will need."""
    with session(server, shop, "ann") as connection:
        ask(connection, "BEGIN; ALTER TABLE orders ADD token uuid")
        key = {"name": None, "columns": ["token"]}
        begin(connection, kind="add-unique", unique=[key])
        begin(connection, kind="add-unique", unique=[key, {"name": "k", "columns": ["n"]}])
        assert ask(connection, "SELECT spec->'unique'->0->>'name' FROM pgsluice.change ORDER BY id") == \
            [("orders_token_key",), ("orders_token_key1",)]
        refused(connection, "42P07", unique=[{"name": "k", "columns": ["n"]}])


def test_rolled_back(server, shop):
    with session(server, shop, "ann") as connection:
        ask(connection, "BEGIN; ALTER TABLE orders ADD token uuid")
        begin(connection, columns=[added()])
        ask(connection, "ROLLBACK; BEGIN; SAVEPOINT s; ALTER TABLE orders ADD token uuid")
        begin(connection, columns=[added()])
        ask(connection, "ROLLBACK TO s; COMMIT")
        assert ask(connection, "SELECT count(*) FROM pgsluice.change") == [(0,)]
        begin(connection, kind="set-not-null")  # and nothing stands in the way of the next


def test_in_a_subtransaction(server, shop):
    """"New in this transaction" holds in whichever subtransaction the column was added."""
    with session(server, shop, "ann") as connection:
        ask(connection, "BEGIN; SELECT txid_current(); SAVEPOINT a; ALTER TABLE orders ADD token uuid; RELEASE a; SAVEPOINT b")
        begin(connection, columns=[added()])
        ask(connection, "COMMIT")


def test_partitions(server, shop):
    """The change is the parent's; a child's or a parent's excludes it."""
    server.sql("CREATE TABLE parts (id int, n int) PARTITION BY RANGE (id); CREATE TABLE part_1 PARTITION OF parts"
               " FOR VALUES FROM (1) TO (9) PARTITION BY RANGE (id); CREATE TABLE part_11 PARTITION OF part_1 DEFAULT;"
               "ALTER TABLE parts OWNER TO shop_owner; ALTER TABLE part_1 OWNER TO shop_owner;", shop)
    with session(server, shop, "ann") as connection:
        refused(connection, "SL001", "part_11 cannot be changed online", "act as its owner, postgres", "ordinary role",
                table="parts")
        server.sql("ALTER TABLE part_11 OWNER TO shop_owner", shop)
        with pytest.raises(psycopg2.errors.FeatureNotSupported):
            begin(connection, "parts", unique=[{"name": None, "columns": ["n"]}])
        ask(connection, "BEGIN")
        number = begin(connection, "part_1", unique=[{"name": None, "columns": ["id", "n"]}], kind="add-unique")
        ask(connection, "COMMIT")
        for table in ("parts", "part_1", "part_11"):
            refused(connection, "SL001", "public.part_1 is being changed already: change %d is waiting" % number,
                    "pgsluice changes show %d" % number, table=table)
        begin(connection)  # another table is nobody's business


def test_two_at_the_same_moment(server, shop):
    """Neither sees the other's row yet: the second one doesn't wait, it is refused."""
    with session(server, shop, "ann") as one, session(server, shop, "ann") as two:
        ask(one, "BEGIN")
        begin(one, kind="create-index")
        refused(two, "SL001", "another session has just begun", kind="create-index")
        ask(one, "ROLLBACK")
        begin(two, kind="create-index")


def test_several_in_one_transaction(server, shop):
    """A migration that alters a table twice: two changes, one after the other. Another transaction waits for both."""
    with session(server, shop, "ann") as one, session(server, shop, "ann") as two:
        ask(one, "BEGIN")
        begin(one, kind="add-unique", unique=[{"name": "k1", "columns": ["id"]}])
        ask(one, "SAVEPOINT s")
        begin(one, kind="create-index")
        refused(two, "SL001", "another session has just begun", kind="create-index")
        ask(one, "COMMIT")
        refused(two, "SL001", "is being changed already", kind="create-index")
        assert ask(one, "SELECT count(*) FROM pgsluice.change") == [(2,)]


@pytest.mark.parametrize("setup, words", [
    ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; CREATE TRIGGER loud BEFORE UPDATE ON"
     " orders FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE orders ENABLE ALWAYS TRIGGER loud", ["trigger loud", "ENABLE TRIGGER"]),
    ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; CREATE TRIGGER loud BEFORE UPDATE ON"
     " orders FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE orders ENABLE REPLICA TRIGGER loud", ["trigger loud"]),
    ("CREATE RULE r AS ON UPDATE TO orders DO ALSO NOTHING; ALTER TABLE orders ENABLE ALWAYS RULE r", ["rule r"]),
    ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", ["row-level security"]),
    ("ALTER TABLE orders OWNER TO crm_owner", ["may not act as its owner, crm_owner", "GRANT crm_owner TO pgsluice_worker"]),
])
def test_what_is_refused(server, shop, setup, words):
    server.sql(setup + "; ALTER TABLE orders ADD old int", shop)
    with session(server, shop) as connection:
        ask(connection, "BEGIN; ALTER TABLE orders ADD token uuid")
        refused(connection, "SL001", *words, columns=[added()])
        ask(connection, "ROLLBACK")
        assert ask(connection, "SELECT count(*) FROM pgsluice.change") == [(0,)]


COLUMN = "ALTER TABLE orders ADD token uuid"


@pytest.mark.parametrize("setup, change, more, words", [
    ("CREATE TABLE kid (token uuid) INHERITS (orders); CREATE TABLE grandkid () INHERITS (kid)", COLUMN,
     {"columns": [added()]}, ["token cannot be added to public.orders", "kid has one of its own"]),
    ("CREATE TABLE kid () INHERITS (orders); CREATE TABLE grandkid (token uuid) INHERITS (kid)", COLUMN,
     {"columns": [added()]}, ["grandkid has one of its own"]),
    ("CREATE TABLE other (token uuid); CREATE TABLE kid () INHERITS (orders, other)", COLUMN,
     {"columns": [added()]}, ["kid has one of its own"]),
    ("CREATE TYPE pair AS (a int, b int)", "ALTER TABLE orders ADD token pair",
     {"columns": [added(not_null=True)]}, ["token of public.orders cannot be made NOT NULL", "composite type public.pair"]),
    ("CREATE TYPE pair AS (a int, b int); CREATE DOMAIN d AS pair; CREATE DOMAIN dd AS d; ALTER TABLE orders ADD p dd",
     "SELECT", {"kind": "set-not-null", "columns": [{"name": "p", "not_null": True}]}, ["composite type public.pair"]),
    ("CREATE SCHEMA s; ALTER TABLE orders SET SCHEMA s; GRANT USAGE ON SCHEMA s TO ann", "SELECT",
     {"table": "s.orders", "kind": "set-not-null"}, ["lacks USAGE ON SCHEMA s", "GRANT USAGE ON SCHEMA s TO shop_owner;"]),
    ("REVOKE CREATE ON SCHEMA public FROM shop_owner, PUBLIC", "SELECT",
     {"kind": "add-unique", "unique": [{"name": "k", "columns": ["n"]}]}, ["GRANT CREATE ON SCHEMA public TO shop_owner;"]),
    ("REVOKE CREATE ON SCHEMA public FROM shop_owner, PUBLIC", "SELECT",
     {"kind": "create-index", "index": {"sql": "CREATE INDEX CONCURRENTLY ON orders (n)"}}, ["lacks CREATE ON SCHEMA public"]),
    ("ALTER TABLE orders ADD s int; REVOKE CREATE ON SCHEMA public FROM shop_owner, PUBLIC", "SELECT",
     {"columns": [{"name": "s", "identity": {"always": True}}]}, ["lacks CREATE ON SCHEMA public"]),
    ("ALTER TABLE orders ADD s int; REVOKE CREATE ON SCHEMA public FROM shop_owner, PUBLIC", "SELECT",
     {"columns": [{"name": "s", "serial": True}]}, ["lacks CREATE ON SCHEMA public"]),
    ("DO $$ BEGIN EXECUTE format('REVOKE TEMP ON DATABASE %I FROM PUBLIC', current_database()); END $$", "SELECT",
     {"kind": "set-not-null"}, ["lacks TEMPORARY ON DATABASE", "GRANT TEMPORARY ON DATABASE"]),
    ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
     "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES orders NOT VALID",
     {"kind": "add-foreign-key"},
     ["f of public.orders cannot be validated", "security of public.orders binds", "BYPASSRLS"]),
    ("CREATE TABLE pk (i int PRIMARY KEY); ALTER TABLE pk OWNER TO shop_owner, ENABLE ROW LEVEL SECURITY,"
     " FORCE ROW LEVEL SECURITY", "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES pk NOT VALID",
     {"kind": "add-foreign-key"}, ["security of public.pk binds"]),
    ("ALTER TABLE orders ADD CONSTRAINT old CHECK (n > 5) NOT VALID", COLUMN, {"columns": [added()]},
     ["old is NOT VALID", "ALTER TABLE public.orders VALIDATE CONSTRAINT old;"]),
    ("CREATE TABLE kid () INHERITS (orders); ALTER TABLE kid ADD CONSTRAINT old CHECK (n > 5) NOT VALID", COLUMN,
     {"columns": [added()]}, ["ALTER TABLE public.kid VALIDATE CONSTRAINT old;"]),
    ("ALTER TABLE orders REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR ALL TABLES", COLUMN, {"columns": [added()]},
     ["no replica identity, and the publication p", "REPLICA IDENTITY FULL"]),
    ("ALTER TABLE orders DROP CONSTRAINT orders_pkey; CREATE PUBLICATION p FOR TABLE orders", COLUMN,
     {"columns": [added()]}, ["no replica identity"]),
    ("CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts DEFAULT;"
     "ALTER TABLE part OWNER TO shop_owner; ALTER TABLE parts OWNER TO shop_owner; CREATE PUBLICATION p FOR TABLE parts",
     "ALTER TABLE parts ADD token uuid", {"table": "parts", "columns": [added()]}, ["part cannot be filled: it has no replica"]),
])
def test_what_would_come_out_wrong(server, shop, setup, change, more, words):
    """Refused at once what would end otherwise than the direct statement, or could neither be done nor undone."""
    server.sql(setup, shop)
    for kid in ("kid", "grandkid"):
        server.sql("ALTER TABLE IF EXISTS %s OWNER TO shop_owner" % kid, shop)
    with session(server, shop) as connection:
        before = [oid for oid, in ask(connection, "SELECT oid::int FROM pg_constraint")]
        ask(connection, "BEGIN; " + change)
        refused(connection, "SL001", *words, before=before, **more)
        ask(connection, "ROLLBACK")
        assert ask(connection, "SELECT count(*) FROM pgsluice.change") == [(0,)]


@pytest.mark.parametrize("setup, change, more", [
    ("CREATE TABLE kid () INHERITS (orders); CREATE TABLE kid2 () INHERITS (orders); CREATE TABLE grandkid ()"
     " INHERITS (kid, kid2); ALTER TABLE kid2 OWNER TO shop_owner", COLUMN, {"columns": [added(not_null=True)]}),
    ("REVOKE CREATE ON SCHEMA public FROM shop_owner, PUBLIC", COLUMN, {"columns": [added(not_null=True)]}),
    ("CREATE TABLE pk (i int PRIMARY KEY); ALTER TABLE pk ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
     "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES pk NOT VALID", {"kind": "add-foreign-key"}),
    ("CREATE TABLE kid () INHERITS (orders)", COLUMN + ", ADD CONSTRAINT new CHECK (n > 0) NOT VALID", {"columns": [added()]}),
    ("ALTER TABLE orders ADD CONSTRAINT old CHECK (n > 5) NOT VALID", "SELECT", {"kind": "set-not-null"}),
    ("CREATE PUBLICATION p FOR ALL TABLES", COLUMN, {"columns": [added()]}),
    ("ALTER TABLE orders REPLICA IDENTITY FULL; CREATE PUBLICATION p FOR ALL TABLES", COLUMN, {"columns": [added()]}),
    ("ALTER TABLE orders REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE orders WITH (publish = 'insert')", COLUMN,
     {"columns": [added()]}),
    ("ALTER TABLE orders REPLICA IDENTITY NOTHING, SET UNLOGGED; CREATE PUBLICATION p FOR ALL TABLES", COLUMN,
     {"columns": [added()]}),
])
def test_what_comes_out_right(server, shop, setup, change, more):
    """Beside what is refused."""
    server.sql(setup, shop)
    for kid in ("kid", "grandkid"):
        server.sql("ALTER TABLE IF EXISTS %s OWNER TO shop_owner" % kid, shop)
    with session(server, shop) as connection:
        before = [oid for oid, in ask(connection, "SELECT oid::int FROM pg_constraint")]
        ask(connection, "BEGIN; " + change)
        begin(connection, before=before, **more)
        ask(connection, "ROLLBACK")


def test_a_check_of_a_change_before(server, shop):
    """A CHECK that an earlier change of this transaction is to validate is none of the old ones."""
    with session(server, shop, "ann") as connection:
        ask(connection, "BEGIN; ALTER TABLE orders ADD CONSTRAINT c CHECK (n > 0) NOT VALID")
        begin(connection, kind="add-check")
        before = [oid for oid, in ask(connection, "SELECT oid::int FROM pg_constraint")]
        ask(connection, COLUMN)
        begin(connection, before=before, columns=[added()])


def test_published_with_its_schema(server, shop):
    if server.version < 15:
        pytest.skip("new in 15")
    server.sql("ALTER TABLE orders REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLES IN SCHEMA public", shop)
    with session(server, shop, "ann") as connection:
        ask(connection, "BEGIN; " + COLUMN)
        refused(connection, "SL001", "no replica identity", columns=[added()])


def test_foreign_key_to_partitions(server, shop):
    """Those that the server made for the partitions of what is referenced are validated with their parent."""
    server.sql("CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts DEFAULT", shop)
    with session(server, shop) as connection:
        ask(connection, "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES parts NOT VALID")
        begin(connection, kind="add-foreign-key")
        assert ask(connection, "SELECT spec->'validate' FROM pgsluice.change")[0][0] == [{"name": "f", "type": "f"}]


def test_triggers_that_are_no_obstacle(server, shop):
    server.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
               "CREATE TRIGGER quiet BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f();"
               "CREATE TRIGGER off BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f();"
               "ALTER TABLE orders DISABLE TRIGGER off; CREATE TRIGGER ins BEFORE INSERT ON orders FOR EACH ROW"
               " EXECUTE FUNCTION f(); ALTER TABLE orders ENABLE ALWAYS TRIGGER ins;"
               "ALTER TABLE orders ADD FOREIGN KEY (n) REFERENCES orders; ALTER TABLE orders ENABLE ROW LEVEL SECURITY", shop)
    with session(server, shop, "ann") as connection:
        ask(connection, "BEGIN; ALTER TABLE orders ADD token uuid")
        begin(connection, columns=[added()])


def test_what_the_server_would_have_said(server, shop):
    server.sql("CREATE TABLE k (i int); ALTER TABLE orders ADD old int, ADD CONSTRAINT c CHECK (n > 0)", shop)
    with session(server, shop, "ann") as connection:
        refused(connection, "SL001", "column old of public.orders was there before", columns=[added("old")])
        refused(connection, "42703", columns=[added("none")])
        refused(connection, "42P07", 'relation "k" already exists', unique=[{"name": "k", "columns": ["n"]}])
        refused(connection, "42P07", unique=[{"name": "x", "columns": ["n"]}, {"name": "x", "columns": ["n"]}])
        refused(connection, "42710", unique=[{"name": "c", "columns": ["n"]}])
        refused(connection, "22023", kind="drop-everything")
        refused(connection, "22023", index={"sql": "DROP TABLE orders", "name": None})
        refused(connection, "SL001", "pgsluice install", version=2)
        ask(connection, "CREATE TEMP TABLE mine (i int)")
        refused(connection, "SL001", "temporary table", table="mine")
        ask(connection, "CREATE VIEW v AS SELECT 1")
        refused(connection, "SL001", "not a table", table="v")


@pytest.mark.parametrize("what", [
    {"unique": [{"name": "k", "columns": [1]}]}, {"unique": [{"name": "k", "columns": [None]}]},
    {"unique": [{"name": "k", "columns": []}]}, {"unique": [{"name": 1, "columns": ["n"]}]}, {"unique": ["k"]},
    {"unique": [{"name": "k", "columns": "n"}]}, {"unique": [{"name": "k", "columns": ["n"], "include": [{}]}]},
    {"unique": [{"name": "k", "columns": ["n"], "deferred": 1}]}, {"unique": [{"name": "", "columns": ["n"]}]},
    {"unique": [{"name": "k", "columns": ["n"], "more": 1}]}, {"unique": [{"name": "x" * 64, "columns": ["n"]}]},
    {"unique": [{"name": None, "columns": ["n"]}] * 33}, {"columns": [{"name": "n"}] * 101}, {"columns": [{}]},
    {"columns": [{"name": "n", "not_null_name": 7}]}, {"columns": [{"name": "n", "identity": {"always": 1}}]},
    {"columns": [{"name": "n", "number": 1e300}]}, {"columns": [[]]}, {"index": {"sql": ["CREATE INDEX CONCURRENTLY "]}},
    {"index": []}, {"index": {"sql": "CREATE INDEX CONCURRENTLY i ON orders (n)", "search_path": [1]}},
    {"statement": {}}, {"validate": [{"name": "n"}]}])
def test_specs_of_another_form(server, shop, what):
    """What is not as the worker will read it is refused before there is a row."""
    with session(server, shop, "ann") as connection:
        refused(connection, "22023", "cannot be read", **what)
        assert ask(connection, "SELECT count(*) FROM pgsluice.change") == [(0,)]


def test_foreign_partitions(server, shop):
    server.sql("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE TABLE parts (id int)"
               " PARTITION BY RANGE (id); CREATE FOREIGN TABLE far PARTITION OF parts DEFAULT SERVER s;"
               "ALTER TABLE parts OWNER TO shop_owner", shop)
    with session(server, shop, "ann") as connection:
        refused(connection, "SL001", "far is a foreign table", table="parts")


# ---- rights ----

def test_a_stranger(server, shop):
    """Can begin nothing, see nothing, steer nothing, set nothing."""
    with session(server, shop, "ann") as ann, session(server, shop, "eve") as eve:
        number = begin(ann, kind="set-not-null")
        refused(eve, "42501", "must be owner of table orders")
        refused(eve, "42501", table="pgsluice.change")
        for view in ("change", "progress"):
            assert ask(eve, "SELECT * FROM pgsluice." + view) == []
            assert len(ask(ann, "SELECT * FROM pgsluice." + view)) == 1
        for verb in ("pause", "resume", "cancel"):
            with pytest.raises(psycopg2.Error) as error:
                ask(eve, "SELECT pgsluice.%s(%s)" % (verb, number))
            with pytest.raises(psycopg2.Error) as unknown:
                ask(eve, "SELECT pgsluice.%s(77)" % verb)
            assert error.value.diag.message_primary.replace(str(number), "77") == unknown.value.diag.message_primary
        for denied in ("SELECT pgsluice.replica()", "SELECT * FROM pgsluice.load('orders'::regclass)",
                       "UPDATE pgsluice.change SET state = 'complete'", "INSERT INTO pgsluice.change DEFAULT VALUES",
                       "DELETE FROM pgsluice.change", "TRUNCATE pgsluice.change", "UPDATE pgsluice.meta SET version = 0",
                       "CREATE TABLE pgsluice.t (i int)", "SELECT pgsluice.begin_checked('{}', 'orders', '{}', NULL, NULL)",
                       "SELECT pgsluice.insert_change('orders', '{}')", "SELECT nextval('pgsluice.change_id_seq')",
                       "CREATE FUNCTION pgsluice.lock(oid, text, int, int) RETURNS void LANGUAGE sql AS 'SELECT'"):
            for connection in (eve, ann):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    ask(connection, denied)


def test_a_member_without_rights(server, shop):
    """16: a membership may give nothing at all."""
    if server.version < 16:
        pytest.skip("new in 16")
    role(server, "paul")
    server.sql("GRANT shop_owner TO paul WITH INHERIT FALSE, SET FALSE")
    with session(server, shop, "paul") as paul, session(server, shop, "ann") as ann:
        refused(paul, "42501")
        begin(ann, kind="set-not-null")
        assert ask(paul, "SELECT * FROM pgsluice.change") == []


def test_who_sees_all(server, shop):
    role(server, "mona")
    server.sql("GRANT pg_monitor TO mona")
    with session(server, shop, "ann") as ann, session(server, shop, "mona") as mona, session(server, shop, WORKER) as worker:
        number = begin(ann, kind="set-not-null")
        assert len(ask(mona, "SELECT * FROM pgsluice.progress")) == 1
        with pytest.raises(psycopg2.Error):
            ask(mona, "SELECT pgsluice.cancel(%s)", number)
        ask(worker, "UPDATE pgsluice.change SET phase = 'fill', state = 'running', progress = '{\"rows\": 5, \"rows_total\": 20,"
            " \"rate\": 2.5}', heartbeat_at = now()")
        assert ask(mona, "SELECT rows, percent, extract(epoch FROM eta)::int FROM pgsluice.progress") == [(5, 25, 6)]
        for denied in ("UPDATE pgsluice.change SET relation = 1", "UPDATE pgsluice.change SET spec = '{}'",
                       "UPDATE pgsluice.change SET owner = 10", "DELETE FROM pgsluice.change"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                ask(worker, denied)
        assert ask(worker, "BEGIN; SELECT pgsluice.replica(), pgsluice.impatient(7)") == [(True, True)]
        assert ask(worker, "SELECT current_setting('session_replication_role'), current_setting('deadlock_timeout')") \
            == [("replica", "7ms")]
        ask(worker, "COMMIT")
        assert ask(worker, "SELECT current_setting('session_replication_role'), current_setting('deadlock_timeout')") \
            == [("origin", "1s")]
        assert len(ask(worker, "SELECT * FROM pgsluice.load('orders'::regclass)")) == 1


def test_what_may_quote_rows(server, shop):
    """A monitor sees that there is a change, and no value of the table."""
    role(server, "mona")
    server.sql("GRANT pg_monitor TO mona")
    with session(server, shop, "ann") as ann, session(server, shop, "mona") as mona:
        begin(ann, kind="set-not-null")
        server.sql("UPDATE pgsluice.change SET state = 'stuck', error_detail = 'Key (n)=(secret)', throttled = 'stuck: secret'",
                   shop)
        assert ask(mona, "SELECT * FROM pgsluice.change") == []
        assert ask(mona, "SELECT state, throttled FROM pgsluice.progress") == [("stuck", "stuck")]
        assert ask(ann, "SELECT c.error_detail, p.throttled FROM pgsluice.change c JOIN pgsluice.progress p USING (id)") == \
            [("Key (n)=(secret)", "stuck: secret")]
    done = command("changes", "--connect", conninfo(server, shop, "mona"))
    assert done.returncode in (0, 1) and "public.orders" in done.stdout and "secret" not in done.stdout


def test_steering(server, shop):
    with session(server, shop, "ann") as ann, session(server, shop) as admin:
        number = begin(ann, kind="set-not-null")
        for verb, wanted in (("pause", "pause"), ("resume", None), ("cancel", "cancel")):
            assert ask(ann, "SELECT pgsluice.%s(%s)" % (verb, number)) == [("waiting",)]
            assert ask(ann, "SELECT wanted FROM pgsluice.progress") == [(wanted,)]
        ask(admin, "UPDATE pgsluice.change SET state = 'undone', finished_at = now()")
        with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
            ask(ann, "SELECT pgsluice.resume(%s)" % number)


def test_a_row_of_another_database(server, shop):
    """What a dump has brought is nobody's work here, and in nobody's way."""
    with session(server, shop, "ann") as ann, session(server, shop) as admin, session(server, shop, WORKER) as worker:
        begin(ann, kind="set-not-null")
        assert len(ask(worker, "SELECT * FROM pgsluice.change")) == 1
        ask(admin, "UPDATE pgsluice.change SET home = '1/1'")
        assert ask(worker, "SELECT * FROM pgsluice.change") == []
        assert ask(ann, "SELECT state FROM pgsluice.progress") == [("foreign",)]
        begin(ann, kind="set-not-null")


def test_hidden_objects_do_not_change_a_thing(server, shop):
    """Temporary objects, a search_path and operators of one's own: our functions don't see them."""
    server.sql("CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO eve", shop)
    with session(server, shop, "eve") as eve:
        ask(eve, "CREATE TEMP TABLE pg_class (oid oid, relname name, relowner oid, relnamespace oid);"
            "INSERT INTO pg_class SELECT 'orders'::regclass, 'orders', oid, 2200 FROM pg_roles WHERE rolname = 'eve';"
            "CREATE FUNCTION evil.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            "CREATE FUNCTION evil.acts_as(name, oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            "SET search_path = pg_temp, evil, pg_catalog, public")
        refused(eve, "42501", table="public.orders")

"""
An online change as its author and everybody else see it: when the answer comes, what may be done meanwhile, and what is
left when it is taken back, whatever way the statement came in.

The change is kept from ending by a default whose function waits until `gate` is open.
"""
import contextlib
import json
import os
import socket
import threading
import time

import psycopg
import psycopg2
import pytest

from harness import wait_until
from online import ask, command, conninfo
from online_proxy import APP, Doing, app, app_psql, apps, changes, dump, finished, hand_over, online_config

SETUP = """
CREATE TABLE gate (open boolean);
INSERT INTO gate VALUES (true);
CREATE FUNCTION gated() RETURNS uuid VOLATILE LANGUAGE plpgsql AS $$
BEGIN
  WHILE NOT (SELECT open FROM public.gate) LOOP
    PERFORM pg_sleep(0.02);
  END LOOP;
  RETURN gen_random_uuid();
END $$;
CREATE TABLE items (id int PRIMARY KEY, note text);
INSERT INTO items SELECT n, 'note ' || n FROM generate_series(1, 300) n;
CREATE TABLE log (what text);
CREATE TABLE other (id int PRIMARY KEY);
CREATE TABLE more (id int PRIMARY KEY);
INSERT INTO more SELECT generate_series(1, 100);
"""
ADD = "ALTER TABLE items ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"
GATED = "ALTER TABLE items ADD COLUMN token uuid NOT NULL DEFAULT gated()"
DUPLICATES = "ALTER TABLE items ADD COLUMN half int DEFAULT (random() * 2)::int UNIQUE"
FULL = "SELECT count(*), count(token), count(DISTINCT token) FROM items"


class Shop:
    """The server, a database of app's in it, and a proxy."""

    def __init__(self, server, database, proxy):
        self.server, self.database, self.proxy, self.port = server, database, proxy, proxy.port

    def sql(self, text):
        return self.server.sql(text, self.database)

    def gate(self, is_open):
        self.sql("UPDATE gate SET open = %s" % is_open)

    @contextlib.contextmanager
    def app(self, **more):
        connection = app(self.port, self.database, **more)
        try:
            yield connection
        except BaseException:
            self.gate(True)  # a thread may be waiting in it: closing would wait for that one
            raise
        finally:
            connection.close()

    def waits(self):
        """A change has begun, and its author is kept waiting."""
        wait_until(lambda: changes(self.server, self.database), 10)

    def dump(self):
        return dump(self.server, self.database)

    def complete(self, n=300):
        finished(self.server, self.database)
        assert self.sql(FULL) == "%d|%d|%d" % (n, n, n)
        assert self.sql("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'token'") == "t"

    def gone(self, before, state="undone"):
        finished(self.server, self.database, state)
        assert self.dump() == before


@pytest.fixture
def open_shop(server, proxy_factory, database):
    """open_shop(**settings of the section online)"""
    hand_over(server, database, SETUP)

    def make(policy="", **settings):
        return Shop(server, database, proxy_factory(server, online_config(server, policy=policy, **settings)))

    yield make
    server.sql("UPDATE gate SET open = true", database)


@pytest.fixture
def shop(open_shop):
    return open_shop()


# ---- when the answer comes -------------------------------------------------------------------------------------------

def test_autocommit(shop):
    done = app_psql(shop.port, "\\set QUIET off\n%s;\n%s;\n" % (ADD, FULL), shop.database)
    assert done.returncode == 0 and done.stdout.splitlines() == ["ALTER TABLE", "300|300|300"], done.stdout + done.stderr
    told = [s for s in done.stderr.splitlines() if s.startswith("NOTICE:")]
    # one for each rule; a machine that is slow has time to speak of progress
    assert [s.split(":  ")[1][:35] for s in told if "NOTICE:  online change 1 of public.items: " not in s] == [
        "pgsluice does this online (volatile", "pgsluice does this online (inline-u"]
    shop.complete()


def test_the_answer_waits_for_the_last_row(shop):
    shop.gate(False)
    with shop.app() as author:
        doing = Doing(ask, author, GATED)
        shop.waits()
        time.sleep(1)
        assert doing.busy()
        with shop.app() as other:  # nobody else waits
            began = time.monotonic()
            ask(other, "UPDATE items SET note = 'x' WHERE id = 1000; SELECT id, note FROM items LIMIT 1; "
                       "INSERT INTO log VALUES ('x')")
            assert time.monotonic() - began < 1
        shop.gate(True)
        doing.result()
        assert author.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    shop.complete()


def test_a_change_does_not_wait_for_other_databases(server_factory, proxy_factory):
    """These let nobody in: a login waits for who is renaming the database."""
    server = server_factory()
    names = ["other%d" % n for n in range(12)]
    for name in names:
        server.sql("CREATE DATABASE %s" % name)
    server.sql("CREATE DATABASE shop")
    hand_over(server, "shop", SETUP)
    holders = [psycopg2.connect(conninfo(server, "postgres", "postgres")) for _ in names]
    for holder, name in zip(holders, names):
        ask(holder, "ALTER DATABASE %s RENAME TO %s_new" % (name, name))
    proxy = proxy_factory(server, online_config(server))
    with app(proxy.port, "shop") as author:
        for column in ["one", "two", "three"]:
            began = time.monotonic()
            ask(author, ADD.replace("token", column))
            assert time.monotonic() - began < 4
            time.sleep(3)
    assert changes(server, "shop") == ["complete"] * 3
    for holder in holders:
        holder.close()


def test_explicit_transaction(shop):
    """The ALTER returns at once, the COMMIT when the column is complete."""
    shop.gate(False)
    with shop.app(autocommit=False) as author:
        began = time.monotonic()
        ask(author, "INSERT INTO log VALUES ('before')")
        ask(author, GATED)
        ask(author, "INSERT INTO log VALUES ('behind')")
        assert time.monotonic() - began < 5
        assert changes(shop.server, shop.database) == []
        doing = Doing(author.commit)
        shop.waits()
        time.sleep(0.5)
        assert doing.busy() and shop.sql("SELECT count(*) FROM log") == "2"
        shop.gate(True)
        doing.result()
        assert ask(author, FULL) == [(300, 300, 300)]
    shop.complete()


def test_several_statements_in_one_query(shop):
    done = app_psql(shop.port, "", shop.database, "-c", "INSERT INTO log VALUES ('a'); %s; INSERT INTO log VALUES ('b')" % ADD)
    assert done.returncode == 0, done.stderr
    assert shop.sql("SELECT count(*) FROM log") == "2"
    shop.complete()


def test_one_query_with_its_own_transaction(shop):
    with shop.app() as author:
        ask(author, "BEGIN; %s; COMMIT; INSERT INTO log SELECT 'token' FROM items WHERE id = 1" % ADD)
        shop.complete()
        assert shop.sql("SELECT count(*) FROM log") == "1"


def test_prepared_and_executed_again(shop):
    """IF NOT EXISTS is asked when it is executed, not only when it was prepared."""
    with psycopg.connect(host="127.0.0.1", port=shop.port, user=APP, dbname=shop.database, autocommit=True) as author:
        notices = []
        author.add_notice_handler(lambda n: notices.append((n.severity, n.sqlstate, n.message_primary)))
        for _ in range(2):
            author.execute(ADD.replace("COLUMN", "COLUMN IF NOT EXISTS"), prepare=True)
        assert [n for n in notices if n[1] == "42701"] == [
            ("NOTICE", "42701", 'column "token" of relation "items" already exists, skipping')]
        assert author.execute(FULL).fetchone() == (300, 300, 300)
    shop.complete()


@pytest.mark.parametrize("prepare", [False, True], ids=["unnamed", "named"])
def test_extended_protocol(shop, prepare):
    with psycopg.connect(host="127.0.0.1", port=shop.port, user=APP, dbname=shop.database, autocommit=True) as author:
        done = author.execute(ADD, prepare=prepare)
        assert done.statusmessage == "ALTER TABLE"
        assert author.execute("SELECT count(token) FROM items WHERE id > %s", (0,)).fetchone() == (300,)
    shop.complete()


def test_pipeline(shop):
    """What stands behind the Sync finds the column complete."""
    with psycopg.connect(host="127.0.0.1", port=shop.port, user=APP, dbname=shop.database, autocommit=True) as author:
        with author.pipeline() as pipeline:
            author.execute("INSERT INTO log VALUES (%s)", ("before",))
            done = author.execute(ADD)
            author.execute("INSERT INTO log VALUES (%s)", ("behind",))
            pipeline.sync()
            full = author.execute(FULL)
            assert full.fetchone() == (300, 300, 300)
        assert done.statusmessage == "ALTER TABLE"
        assert author.execute("SELECT count(*) FROM log").fetchone() == (2,)
    shop.complete()


def test_two_tables_in_one_transaction(shop):
    with shop.app(autocommit=False) as author:
        ask(author, ADD)
        ask(author, "ALTER TABLE more ADD COLUMN stamp timestamptz NOT NULL DEFAULT clock_timestamp()")
        author.commit()
        assert changes(shop.server, shop.database) == ["complete", "complete"]
        assert ask(author, FULL) == [(300, 300, 300)]


def test_progress(shop):
    """Who waits long is told how far it is."""
    shop.gate(False)
    with shop.app() as author:
        doing = Doing(ask, author, GATED)
        shop.waits()
        time.sleep(7)
        shop.gate(True)
        doing.result()
        told = [notice for notice in author.notices if "online change" in notice]
        assert told and "items" in told[0], author.notices


# ---- what does not happen --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("script", [
    "BEGIN; %s; ROLLBACK;",
    "BEGIN; SAVEPOINT s; %s; ROLLBACK TO s; INSERT INTO log VALUES ('x'); COMMIT;",
    "BEGIN; %s; SELECT 1/0; COMMIT;",
    "BEGIN; SAVEPOINT a; SAVEPOINT b; %s; RELEASE b; ROLLBACK TO a; COMMIT;",
    "BEGIN; %s; PREPARE TRANSACTION 'no'; ROLLBACK;",
], ids=["rollback", "savepoint", "failed", "released and rolled back", "prepared in vain"])
@pytest.mark.parametrize("one_query", [False, True], ids=["statements", "one query"])
def test_rolled_back(shop, script, one_query):
    before = shop.dump()
    text = script % ADD
    with shop.app() as author:
        for part in [text] if one_query else text.split(";"):
            try:
                if part.strip():
                    ask(author, part)
            except psycopg2.Error as error:
                assert error.pgcode in ("22012", "55000"), error
        if one_query:
            ask(author, "ROLLBACK")
        assert changes(shop.server, shop.database) == []
        assert shop.dump() == before
        ask(author, ADD)  # nothing stands in the way of another try
    shop.complete()


def test_a_savepoint_that_stays(shop):
    with shop.app(autocommit=False) as author:
        ask(author, "SAVEPOINT s")
        ask(author, ADD)
        ask(author, "ROLLBACK TO s")
        ask(author, "SAVEPOINT t")
        ask(author, ADD)
        ask(author, "RELEASE t")
        author.commit()
        assert ask(author, FULL) == [(300, 300, 300)]
    shop.complete()


def test_lost_before_the_commit(shop):
    before = shop.dump()
    author = app(shop.port, shop.database, autocommit=False)
    ask(author, ADD)
    author.close()
    wait_until(lambda: shop.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'") == "0")
    assert changes(shop.server, shop.database) == [] and shop.dump() == before


# ---- who waits no longer ---------------------------------------------------------------------------------------------

def test_a_cancel_ends_one_statement(shop):
    """The server is idle while the answer is held: the request must not reach what the client sends next."""
    shop.gate(False)
    with shop.app() as author:
        doing = Doing(ask, author, GATED)
        shop.waits()
        time.sleep(0.5)
        author.cancel()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            doing.result(10)
        assert ask(author, "SELECT 1 FROM pg_sleep(0.5)") == [(1,)]
        shop.gate(True)


def test_a_query_that_fails_is_not_held(shop):
    """What came before the error in it is gone, so nobody waits for its change."""
    shop.gate(False)
    with shop.app() as author:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            ask(author, GATED + "; SELECT 1/0")
        assert changes(shop.server, shop.database) == []
        assert ask(author, "SELECT 1") == [(1,)]
        shop.gate(True)


@pytest.mark.parametrize("undo", [False, True], ids=["continue", "undo"])
@pytest.mark.parametrize("how", ["cancel", "cancel the commit", "disconnect"])
def test_waits_no_longer(open_shop, how, undo):
    shop = open_shop(on_disconnect="undo" if undo else "continue")
    before = shop.dump()
    shop.gate(False)
    author = app(shop.port, shop.database, autocommit=how != "cancel the commit")
    if how == "cancel the commit":
        ask(author, GATED)
        doing = Doing(author.commit)
    else:
        doing = Doing(ask, author, GATED)
    shop.waits()
    time.sleep(0.5)
    assert doing.busy()
    if how == "disconnect":
        kill_socket(author)
    else:
        author.cancel()
        with pytest.raises(psycopg2.errors.QueryCanceled) as error:
            doing.result(10)
        assert error.value.diag.message_detail.startswith("Change 1 ")
        assert ask(author, "SELECT 1") == [(1,)]
    if undo:
        time.sleep(0.3)
        shop.gate(True)
        shop.gone(before)
    else:
        time.sleep(0.5)
        wait_until(lambda: changes(shop.server, shop.database) == ["running"], 10)
        shop.gate(True)
        shop.complete()
    author.close()


def kill_socket(connection):
    sock = socket.socket(fileno=os.dup(connection.fileno()))
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def test_statement_timeout_is_not_ours(shop):
    """It counts what the server does; our waiting is no statement of it."""
    shop.gate(False)
    with shop.app(options="-c statement_timeout=2s") as author:
        doing = Doing(ask, author, GATED)
        shop.waits()
        time.sleep(3)
        assert doing.busy()
        shop.gate(True)
        doing.result()
    shop.complete()


def test_wait_added(open_shop):
    shop = open_shop(wait="added")
    shop.gate(False)
    with shop.app() as author:
        began = time.monotonic()
        ask(author, GATED)
        assert time.monotonic() - began < 5
        assert any("goes on in the background" in notice for notice in author.notices)
        wait_until(lambda: changes(shop.server, shop.database) == ["running"])
        shop.gate(True)
        shop.complete()
        assert ask(author, FULL) == [(300, 300, 300)]


def test_wait_limit(open_shop):
    shop = open_shop(wait_limit="1s")
    shop.gate(False)
    with shop.app() as author:
        began = time.monotonic()
        ask(author, GATED)
        assert 0.9 < time.monotonic() - began < 6
        assert any(notice.startswith("WARNING") and "no longer waited for" in notice for notice in author.notices)
        shop.gate(True)
        shop.complete()


def test_another_change_of_the_table_is_refused_meanwhile(shop):
    shop.gate(False)
    with shop.app() as author, shop.app() as other:
        doing = Doing(ask, author, GATED)
        shop.waits()
        ask(other, "SELECT pgsluice.pause(1)")
        time.sleep(1.5)
        shop.gate(True)
        with pytest.raises(psycopg2.Error) as error:
            ask(other, "ALTER TABLE items ADD COLUMN b uuid DEFAULT gen_random_uuid()")
        assert error.value.pgcode == "SL001"
        ask(other, "SELECT pgsluice.resume(1)")
        doing.result()
        ask(other, "ALTER TABLE items ADD COLUMN b uuid DEFAULT gen_random_uuid()")
        assert ask(other, "SELECT count(b) FROM items") == [(300,)]


# ---- taken back ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("statement, cause", [
    (DUPLICATES, "unique"),
    ("ALTER TABLE items ADD COLUMN a int NOT NULL DEFAULT (random() * 5)::int CHECK (a > 5)", "check"),
    ("ALTER TABLE items ADD COLUMN a int DEFAULT 1 + (random() * 5)::int REFERENCES other", "foreign key"),
    ("ALTER TABLE items ADD COLUMN a uuid NOT NULL DEFAULT nullif(gen_random_uuid(), gen_random_uuid()),"
     " ADD COLUMN b int DEFAULT (random() * 0)::int UNIQUE", "unique"),
    ("ALTER TABLE items ADD CHECK (id > 5)", "check"),
    ("ALTER TABLE items ADD UNIQUE (note), ADD CHECK (id > 5)", "check"),
    ("ALTER TABLE items ADD COLUMN a serial, ADD COLUMN b int GENERATED ALWAYS AS IDENTITY, ADD COLUMN c int DEFAULT"
     " (random() * 0)::int UNIQUE", "unique"),
    ("CREATE UNIQUE INDEX one ON items ((id / 2))", "unique"),
])
def test_undone(open_shop, statement, cause):
    shop = open_shop("rules: {create-index: online}")
    before = shop.dump()
    content = shop.sql("SELECT md5(string_agg(ROW(id, note)::text, '' ORDER BY id)) FROM items")
    with shop.app() as author:
        with pytest.raises(psycopg2.Error) as error:
            ask(author, statement)
        assert error.value.pgcode == "SL003", error.value
        assert cause in str(error.value) + (error.value.diag.message_detail or ""), error.value
        assert "Change 1" in error.value.diag.message_detail
        assert error.value.diag.message_hint.endswith("un the statement again; nothing of it is left.")
        assert ("change its DEFAULT" in error.value.diag.message_hint) == ("ADD COLUMN" in statement)
        assert author.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        shop.gone(before)
        assert shop.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == "0"
        assert content == shop.sql("SELECT md5(string_agg(ROW(id, note)::text, '' ORDER BY id)) FROM items")
        ask(author, ADD)  # another try is free to go
        assert ask(author, FULL) == [(300, 300, 300)]


def test_undone_at_the_commit(shop):
    """What else the transaction did stays; the error says so."""
    before = shop.dump()
    with shop.app(autocommit=False) as author:
        ask(author, "INSERT INTO log VALUES ('stays')")
        ask(author, DUPLICATES)
        with pytest.raises(psycopg2.Error) as error:
            author.commit()
        assert error.value.pgcode == "SL003" and "stays committed" in error.value.diag.message_detail
        assert ask(author, "SELECT what FROM log") == [("stays",)]
    shop.gone(before)


def test_cancelled_by_somebody(shop):
    before = shop.dump()
    shop.gate(False)
    with shop.app() as author, shop.app() as other:
        doing = Doing(ask, author, GATED)
        shop.waits()
        assert ask(other, "SELECT pgsluice.cancel(1)")
        time.sleep(0.3)
        shop.gate(True)
        with pytest.raises(psycopg2.Error) as error:
            doing.result()
        assert error.value.pgcode == "SL003"
        assert error.value.diag.message_hint == "Run the statement again when what it was cancelled for is over."
    shop.gone(before)


# ---- the transaction that adds it ------------------------------------------------------------------------------------

def own(statement):
    return pytest.param(statement, id=statement[:50])


@pytest.mark.parametrize("statement", [own(s) for s in (
    "SELECT token FROM items", "SELECT * FROM items", "SELECT i.* FROM items i", "TABLE items", "SELECT items FROM items",
    "SELECT to_jsonb(i) FROM items i", "SELECT count(*) FROM items WHERE token IS NULL", "UPDATE items SET token = DEFAULT",
    "CREATE INDEX ON items (token)", "ALTER TABLE items ADD CHECK (token IS NOT NULL)", "CREATE VIEW v AS SELECT * FROM items",
    "COPY items TO STDOUT", "INSERT INTO log SELECT token FROM items", "DELETE FROM items RETURNING *",
    "WITH i AS (SELECT * FROM items) SELECT 1 FROM i", "CREATE TABLE twin AS SELECT * FROM public.items",
    "ALTER TABLE items ALTER COLUMN token SET DEFAULT NULL", "ALTER TABLE items ALTER COLUMN token DROP DEFAULT",
    "ALTER TABLE items RENAME COLUMN token TO t", "ALTER TABLE items DROP COLUMN token",
)])
def test_own_column_is_not_read(shop, statement):
    with shop.app(autocommit=False) as author:
        ask(author, "ALTER TABLE items ADD COLUMN token uuid DEFAULT gen_random_uuid()")
        with pytest.raises(psycopg2.Error) as error:
            with author.cursor() as cursor:
                cursor.execute(statement)
        assert (error.value.pgcode, error.value.diag.constraint_name) == ("SL001", "quarantine"), error.value
        assert "COMMIT" in error.value.diag.message_hint
        author.rollback()
        ask(author, "SELECT * FROM items")


@pytest.mark.parametrize("statement", [own(s) for s in (
    "SELECT id, note FROM items", "SELECT count(*) FROM items", "INSERT INTO items (id, note) VALUES (1000, 'token')",
    "UPDATE items SET note = 'token' WHERE id = 1", "SELECT 'token', id AS token FROM other", "SELECT * FROM other",
    "DELETE FROM items WHERE id = 3", "COMMENT ON TABLE items IS 'with token'", "SELECT 1 AS token",
    "INSERT INTO log VALUES ('items.token')",
)])
def test_other_work_goes_on(shop, statement):
    with shop.app(autocommit=False) as author:
        ask(author, "ALTER TABLE items ADD COLUMN token uuid DEFAULT gen_random_uuid()")
        ask(author, statement)
        author.commit()
        assert changes(shop.server, shop.database) == ["complete"]
        assert ask(author, "SELECT count(*) - count(token) FROM items") == [(0,)]


# What the change is to go by, changed behind it by the same transaction.
BEHIND = {
    "ALTER TABLE items ADD CONSTRAINT c CHECK (id > 0)": [
        "ALTER TABLE items RENAME CONSTRAINT c TO d", "ALTER TABLE public.items DROP CONSTRAINT c", "ALTER TABLE items RENAME TO things",
        "ALTER TABLE items SET SCHEMA side", "DO $$ BEGIN ALTER TABLE items DROP CONSTRAINT c; END $$"],
    "ALTER TABLE items ADD CONSTRAINT u UNIQUE (note)": [
        "ALTER TABLE items RENAME note TO n", "ALTER TABLE items RENAME id TO note", "ALTER TABLE items DROP CONSTRAINT IF EXISTS u",
        "ALTER TABLE items DROP COLUMN note", "DROP INDEX IF EXISTS u", "DROP TABLE items"],
    "ALTER TABLE items ADD UNIQUE (note)": ["ALTER TABLE items DROP CONSTRAINT IF EXISTS items_note_key"],
    "ALTER TABLE items ADD FOREIGN KEY (id) REFERENCES more": ["ALTER TABLE items RENAME CONSTRAINT items_id_fkey TO f"],
    "ALTER TABLE items ALTER note SET NOT NULL": ["ALTER TABLE items ALTER note DROP NOT NULL"],
    "CREATE INDEX by_note ON items (note)": ["DROP INDEX IF EXISTS by_note", "ALTER TABLE items RENAME COLUMN note TO n"],
    "ALTER TABLE items ADD COLUMN a serial": [
        "SELECT setval('items_a_seq', 1000)", "SELECT setval(pg_get_serial_sequence('items', 'a'), 1000)",
        "ALTER SEQUENCE items_a_seq RESTART 50", "DROP SEQUENCE public.items_a_seq CASCADE", "ALTER SEQUENCE items_a_seq RENAME TO s",
        "CREATE TRIGGER t BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE r AS ON UPDATE TO items DO NOTHING", "CREATE POLICY p ON items", "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE items OWNER TO app", "CREATE TABLE child () INHERITS (items)", "ALTER TABLE other INHERIT items"],
    "ALTER TABLE parted ADD COLUMN a uuid DEFAULT gen_random_uuid()": [
        "ALTER TABLE part ALTER a DROP DEFAULT", "ALTER TABLE parted DETACH PARTITION part", "DROP TABLE part",
        "CREATE TRIGGER t AFTER INSERT ON part EXECUTE FUNCTION suppress_redundant_updates_trigger()"],
    "ALTER TABLE part ADD CONSTRAINT c CHECK (id > 0)": ["ALTER TABLE parted RENAME COLUMN id TO no"],
}
PARTED = "CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parted DEFAULT; INSERT INTO parted VALUES (1)"


@pytest.mark.parametrize("one_query", [False, True], ids=["statements", "one query"])
def test_what_must_not_stand_behind(open_shop, one_query):
    shop = open_shop("rules: {create-index: online}")
    shop.sql("SET ROLE %s; %s" % (APP, PARTED))
    before = shop.dump()
    with shop.app(autocommit=False) as author:
        for begins, statement in ((begins, statement) for begins in BEHIND for statement in BEHIND[begins]):
            with pytest.raises(psycopg2.Error) as error:
                if not one_query:
                    ask(author, begins)
                ask(author, "%s; %s" % (begins, statement) if one_query else statement)
            assert (error.value.pgcode, error.value.diag.constraint_name) == ("SL001", "quarantine"), (statement, error.value)
            assert "COMMIT first" in error.value.diag.message_hint, statement
            author.rollback()
    assert changes(shop.server, shop.database) == [] and shop.dump() == before


HARMLESS = (
    "ALTER TABLE items DROP COLUMN spare", "ALTER TABLE items RENAME spare TO extra", "ALTER TABLE items ALTER spare DROP NOT NULL",
    "ALTER TABLE items ALTER spare SET DEFAULT 3", "ALTER TABLE items ADD COLUMN b int DEFAULT 3", "ALTER TABLE items DROP CONSTRAINT old",
    "CREATE INDEX by_note ON items (note)", "DROP INDEX by_spare", "COMMENT ON COLUMN items.token IS 'x'", "GRANT SELECT ON items TO app",
    "ALTER TABLE other RENAME TO another", "DROP TABLE other", "CREATE TABLE third (id int REFERENCES items)",
    "ALTER TABLE other ADD FOREIGN KEY (id) REFERENCES items", "ALTER TABLE items ADD CHECK (id > 0)", "ALTER TABLE items SET (fillfactor = 80)",
    "SELECT setval('other_no_seq', 5)", "ALTER SEQUENCE other_no_seq RESTART", "ALTER INDEX by_spare RENAME TO by_extra",
    "CREATE TRIGGER t AFTER INSERT ON other EXECUTE FUNCTION suppress_redundant_updates_trigger()",
)


def test_what_may_stand_behind(shop):
    shop.sql("SET ROLE %s; ALTER TABLE items ADD spare int CONSTRAINT old CHECK (spare > 0); CREATE INDEX by_spare ON items (spare);"
             "CREATE SEQUENCE other_no_seq" % APP)
    begins = "ALTER TABLE items ADD COLUMN token uuid DEFAULT gen_random_uuid() UNIQUE"
    with shop.app(autocommit=False) as author:
        for statement in HARMLESS:
            ask(author, begins)
            ask(author, statement)
            author.rollback()
        for statement in (begins, "ALTER TABLE items DROP COLUMN spare", "CREATE INDEX by_note ON items (note)", "DROP TABLE other",
                          "COMMENT ON TABLE items IS 'x'", "ALTER TABLE items ADD COLUMN b int DEFAULT 3",
                          "INSERT INTO log VALUES ('20260101')"):
            ask(author, statement)
        author.commit()
        assert ask(author, FULL) == [(300, 300, 300)]
    assert set(changes(shop.server, shop.database)) == {"complete"}


def test_after_the_commit_it_may_stand(shop):
    with shop.app(autocommit=False) as author:
        ask(author, "SAVEPOINT s")
        ask(author, "ALTER TABLE items ADD CONSTRAINT c CHECK (id > 0)")
        ask(author, "ROLLBACK TO s")
        ask(author, "ALTER TABLE items RENAME COLUMN note TO n")
        ask(author, "ALTER TABLE items RENAME COLUMN n TO note")
        ask(author, "ALTER TABLE items ADD CONSTRAINT c CHECK (id > 0)")
        author.commit()
        ask(author, "ALTER TABLE items RENAME CONSTRAINT c TO d")
        author.commit()
    assert shop.sql("SELECT convalidated FROM pg_constraint WHERE conname = 'd'") == "t"


@pytest.mark.parametrize("statements, left", [
    (["ALTER TABLE items ADD UNIQUE (token)"], 2),
    (["ALTER TABLE items ALTER COLUMN token SET NOT NULL"], 2),
    (["CREATE UNIQUE INDEX by_token ON items (token)", "CREATE INDEX ON items (note, token)"], 3),
    (["ALTER TABLE items ALTER token SET NOT NULL, ADD CONSTRAINT k UNIQUE (id, token)", "ALTER TABLE items ADD UNIQUE (token)"], 3),
], ids=["unique", "not null", "indexes", "several"])
def test_own_work_comes_behind(open_shop, statements, left):
    """What waits until after the commit anyway may follow the column in its transaction: each finds it filled."""
    shop = open_shop("rules: {create-index: online}")
    add = "ALTER TABLE items ADD COLUMN token uuid DEFAULT gated()"
    with apps(shop.server.port, shop.database) as direct:
        direct.autocommit = False
        for statement in [add, *statements]:
            ask(direct, statement)
        direct.commit()
        wanted = shop.dump()
        ask(direct, "ALTER TABLE items DROP COLUMN token")
        direct.commit()
    with shop.app(autocommit=False) as author:
        for statement in [add, *statements]:
            ask(author, statement)
        author.commit()
        assert changes(shop.server, shop.database) == ["complete"] * left
        assert shop.dump() == wanted
        assert ask(author, FULL) == [(300, 300, 300)]


def test_own_column_that_is_filled_at_once(shop):
    """Only its CHECK is left to be verified: it may be used, as Django does when it takes the default away again."""
    with shop.app(autocommit=False) as author:
        ask(author, 'ALTER TABLE "items" ADD COLUMN "stock" integer DEFAULT 3 NOT NULL CHECK ("stock" >= 0)')
        ask(author, 'ALTER TABLE "items" ALTER COLUMN "stock" DROP DEFAULT')
        assert ask(author, "SELECT DISTINCT stock FROM items") == [(3,)]
        author.commit()
        assert changes(shop.server, shop.database) == ["complete"]


def test_first_fails_so_does_what_is_behind(open_shop):
    shop = open_shop("rules: {create-index: online}")
    before = shop.dump()
    with shop.app(autocommit=False) as author:
        ask(author, "ALTER TABLE items ADD COLUMN a int DEFAULT (random() * 0)::int UNIQUE")
        ask(author, "CREATE INDEX ON items (a)")
        with pytest.raises(psycopg2.Error) as error:
            author.commit()
        assert error.value.pgcode == "SL003"
    assert changes(shop.server, shop.database) == ["undone", "undone"] and shop.dump() == before


def test_gone_with_its_savepoint(shop):
    with shop.app(autocommit=False) as author:
        ask(author, "SAVEPOINT s")
        ask(author, ADD)
        ask(author, "ROLLBACK TO s")
        ask(author, "ALTER TABLE items ADD COLUMN token int")
        ask(author, "SELECT token FROM items")
        author.commit()
    assert changes(shop.server, shop.database) == []


# ---- quarantine ------------------------------------------------------------------------------------------------------

@pytest.fixture
def filling(open_shop):
    """filling(**settings): a shop whose column is being filled, and goes on being until the gate opens."""
    held = []

    def make(**settings):
        shop = open_shop(**settings)
        shop.gate(False)
        author = app(shop.port, shop.database, "author")
        doing = Doing(ask, author, GATED)
        held.append((shop, doing))
        shop.waits()
        time.sleep(1.5)  # what is in quarantine is looked up each second
        return shop, doing

    yield make
    for shop, doing in held:
        shop.gate(True)
        doing.thread.join(20)


def sqlstate(connection, statement):
    try:
        ask(connection, statement)
    except psycopg2.Error as error:
        return error.pgcode
    return None


NAMED = ["SELECT token FROM items", "SELECT i.token FROM items i", "SELECT id FROM items WHERE token IS NULL",
         "UPDATE items SET token = gen_random_uuid() WHERE id = 1", "INSERT INTO items (id, token) VALUES (2000, NULL)",
         "SELECT id FROM items ORDER BY token", "CREATE VIEW v AS SELECT token FROM items"]
UNNAMED = ["SELECT * FROM items LIMIT 1", "SELECT id, note FROM items", "SELECT 'token' AS token",
           "SELECT o.token FROM (SELECT id AS token FROM other) o", "INSERT INTO log VALUES ('token')"]


def test_quarantine(filling):
    shop, doing = filling()
    with shop.app() as other, apps(shop.server.port, shop.database) as direct:
        assert [sqlstate(other, statement) for statement in NAMED] == ["42703"] * len(NAMED)
        assert [sqlstate(other, statement) for statement in UNNAMED] == [None] * len(UNNAMED)
        with pytest.raises(psycopg2.errors.UndefinedColumn) as error:
            ask(other, "SELECT token FROM items")
        diag = error.value.diag
        assert diag.message_primary == 'column "token" does not exist' and "change 1" in diag.message_detail
        assert diag.statement_position == "8" and diag.message_hint
        assert sqlstate(direct, "SELECT token FROM items LIMIT 1") is None
        shop.gate(True)
        doing.result()
        wait_until(lambda: sqlstate(other, "SELECT token FROM items") is None, 5)
        assert [sqlstate(other, s) for s in NAMED[:3]] == [None] * 3


def test_quarantine_in_transactions_and_prepared(filling):
    shop, doing = filling()
    with psycopg.connect(host="127.0.0.1", port=shop.port, user=APP, dbname=shop.database) as other:
        other.execute("INSERT INTO log VALUES ('lost')")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            other.execute("SELECT token FROM items WHERE id = %s", (1,), prepare=True)
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            other.execute("SELECT 1")
        other.rollback()
        shop.gate(True)
        doing.result()
        time.sleep(1.2)
        assert other.execute("SELECT count(token) FROM items WHERE id > %s", (0,), prepare=True).fetchone() == (300,)


def test_quarantine_warn(filling):
    shop, _ = filling(quarantine="warn")
    with shop.app() as other:
        assert sqlstate(other, NAMED[0]) is None
        assert any("token" in notice and "complete" in notice for notice in other.notices)
        del other.notices[:]
        assert sqlstate(other, UNNAMED[0]) is None and other.notices == []


def test_quarantine_allow(filling):
    shop, _ = filling(quarantine="allow")
    with shop.app() as other:
        assert [sqlstate(other, s) for s in NAMED[:3]] == [None] * 3 and other.notices == []


def test_quarantine_of_one_table(filling):
    shop, _ = filling(tables="[{table: public.items, quarantine: allow}]")
    with shop.app() as other:
        assert sqlstate(other, NAMED[0]) is None


MANY = "ALTER TABLE more " + ", ".join("ADD COLUMN w%d uuid DEFAULT gated()" % n for n in range(80))


def test_quarantine_of_many_columns(open_shop):
    """Of one's own transaction, and of somebody else's."""
    shop = open_shop(wait="added")
    shop.gate(False)
    with shop.app() as author, shop.app() as other:
        author.autocommit = False
        ask(author, MANY)
        assert sqlstate(author, "SELECT w79 FROM more") == "SL001"
        author.rollback()
        author.autocommit = True
        ask(author, MANY)
        named = ["SELECT w%d FROM more" % n for n in (0, 63, 64, 79)] + ["UPDATE more SET w79 = NULL WHERE id = 1"]
        wait_until(lambda: sqlstate(other, named[0]) == "42703")
        assert [sqlstate(other, s) for s in named] == ["42703"] * len(named)
        assert sqlstate(other, "SELECT id FROM more") is None
        shop.gate(True)
        finished(shop.server, shop.database)


def test_quarantine_whatever_the_spelling(open_shop):
    """Names that are reserved words, hold quotes or other letters than ASCII's, or are cut by the server."""
    long = "l" * 63
    shop = open_shop(wait="added")
    shop.gate(False)
    with shop.app() as author, shop.app(client_encoding="LATIN1") as other:
        ask(author, 'ALTER TABLE items ADD COLUMN "order" uuid DEFAULT gated(), ADD COLUMN größe uuid DEFAULT gated(), '
                    'ADD COLUMN "a""b" uuid DEFAULT gated(), ADD COLUMN %s uuid DEFAULT gated()' % long)
        named = ["SELECT i.order FROM items i", 'SELECT "order" FROM items', "SELECT größe FROM items", 'SELECT "a""b" FROM items',
                 "SELECT %slllllll FROM items" % long]
        wait_until(lambda: sqlstate(other, named[0]) == "42703")
        assert [sqlstate(other, s) for s in named] == ["42703"] * len(named)
        other.set_client_encoding("UTF8")
        assert [sqlstate(other, s) for s in named] == ["42703"] * len(named)
        assert sqlstate(other, "SELECT note FROM items ORDER BY id LIMIT 1") is None
        shop.gate(True)
        finished(shop.server, shop.database)


def test_quarantine_of_partitions(open_shop):
    """By their own names too, those made meanwhile as well, and under the name that a table has got since."""
    shop = open_shop(wait="added")
    shop.sql("SET ROLE app; CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE SCHEMA apart;"
             "CREATE TABLE apart.low PARTITION OF parted FOR VALUES FROM (0) TO (100); INSERT INTO parted SELECT generate_series(1, 50);"
             "CREATE TABLE kids (note text) INHERITS (items)")
    shop.gate(False)
    with shop.app() as author, shop.app() as other:
        ask(author, "ALTER TABLE parted ADD COLUMN token uuid DEFAULT gated()")
        ask(author, "ALTER TABLE items ADD COLUMN token uuid DEFAULT gated()")
        for statement in ("SELECT token FROM apart.low", "SELECT token FROM kids", "UPDATE kids SET token = NULL"):
            wait_until(lambda: sqlstate(other, statement) == "42703", 5)
        assert sqlstate(other, "SELECT id FROM apart.low") is None
        shop.sql("SET ROLE app; CREATE TABLE high PARTITION OF parted FOR VALUES FROM (100) TO (200);"
                 "ALTER TABLE kids RENAME TO children")
        for statement in ("SELECT token FROM high", "SELECT token FROM children"):
            wait_until(lambda: sqlstate(other, statement) == "42703", 5)
        shop.gate(True)
        finished(shop.server, shop.database)
        wait_until(lambda: sqlstate(other, "SELECT token FROM apart.low") is None, 5)


# ---- what is on record -----------------------------------------------------------------------------------------------

def records(shop):
    return [json.loads(line) for line in shop.proxy.audit_path.read_text().splitlines()]


def test_audit(shop):
    with shop.app() as author:
        ask(author, ADD)
        with pytest.raises(psycopg2.Error):
            ask(author, DUPLICATES)
        wait_until(lambda: [r["record"] for r in records(shop)].count("transaction") == 2)
        wait_until(lambda: len([r for r in records(shop) if r["record"] == "change"]) == 2)
        found = records(shop)
        decided, done, ended = ([r for r in found if r["record"] == kind] for kind in ("decided", "finished", "change"))
        assert [r["sql"] for r in decided] == [ADD, DUPLICATES]
        assert [(r["verdict"], r["rewritten"]) for r in decided] == [("online", True)] * 2
        assert "volatile-default" in decided[0]["rules"] and "inline-unique" in decided[0]["rules"]
        assert [(r["change"], r["tag"]) for r in done] == [(1, "ALTER TABLE"), (2, "ALTER TABLE")]  # what the server said
        assert [(r["change"], r["state"]) for r in ended] == [(1, "complete"), (2, "undone")]


def test_nothing_is_left_that_speaks_of_us(shop):
    """To the author it was his own statement, but for one notice, and progress; a second one may follow at once."""
    with shop.app() as author, author.cursor() as cursor:
        for name in ("a", "b", "c"):
            cursor.execute("ALTER TABLE items ADD COLUMN %s uuid NOT NULL DEFAULT gen_random_uuid()" % name)
            assert cursor.statusmessage == "ALTER TABLE"
        ours = [notice for notice in author.notices if not notice.startswith("NOTICE:  online change ")]
        assert len(ours) == 3 and all("does this online" in notice for notice in ours)
        assert not any("DO" in line.split() for notice in author.notices for line in notice.splitlines())


def test_shut_down_while_somebody_waits(server, open_shop, proxy_factory):
    """The proxy goes, the answer is an error that says so, and another proxy carries the change on."""
    shop = open_shop()
    shop.gate(False)
    author = app(shop.port, shop.database)
    doing = Doing(ask, author, GATED)
    shop.waits()
    time.sleep(0.5)
    stopping = threading.Thread(target=shop.proxy.stop)
    stopping.start()
    with pytest.raises(psycopg2.errors.AdminShutdown) as error:  # nobody may take it for done
        doing.result(15)
    assert "committed" in error.value.diag.message_detail
    author.close()
    shop.gate(True)
    stopping.join(30)
    proxy_factory(server, online_config(server))
    shop.complete()


def test_changes_command(shop):
    with shop.app() as author:
        ask(author, ADD)
    done = command("changes", "--connect", conninfo(shop.server, shop.database, APP))
    assert done.returncode == 0 and "items" in done.stdout and "complete" in done.stdout, done.stdout + done.stderr

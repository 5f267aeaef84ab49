"""
What of the author's session counts for the result: its settings, under which the direct statement would have run the
default's functions, and what belongs to whom afterwards.
"""
import psycopg2
import pytest

from harness import wait_until
from online import ask, role
from online_proxy import APP, Doing, apps, changes, finished, hand_over, online_config

ALL_SERVERS = True
SETUP = """
CREATE TABLE items (id int PRIMARY KEY, note text);
INSERT INTO items SELECT n, 'note ' || n FROM generate_series(1, 50) n;
"""


@pytest.fixture
def shop(server, proxy_factory, database):
    hand_over(server, database, SETUP)
    return proxy_factory(server, online_config(server))


@pytest.mark.parametrize("setting, value", [("TimeZone", "Asia/Kathmandu"), ("DateStyle", "SQL, DMY"),
                                            ("IntervalStyle", "iso_8601"), ("bytea_output", "escape")])
def test_settings(server, shop, database, setting, value):
    server.sql("CREATE FUNCTION shown() RETURNS text VOLATILE LANGUAGE plpgsql AS $$BEGIN PERFORM random(); "
               "RETURN current_setting('%s'); END$$" % setting, database, APP)
    with apps(shop.port, database) as author:
        ask(author, "SET %s = '%s'" % (setting, value))
        ask(author, "ALTER TABLE items ADD COLUMN word text NOT NULL DEFAULT shown()")
        assert ask(author, "SELECT DISTINCT word FROM items") == [(value,)]
    assert changes(server, database) == ["complete"]


def test_search_path(server, shop, database):
    """A function's own names are looked up in the author's schemas, and in no others."""
    server.sql("CREATE SCHEMA \"dict%\"; CREATE TABLE \"dict%\".words (word text); INSERT INTO \"dict%\".words VALUES ('mine');"
               "CREATE TABLE words (word text); INSERT INTO words VALUES ('public');"
               "CREATE FUNCTION public.word() RETURNS text VOLATILE LANGUAGE plpgsql AS $$BEGIN "
               "RETURN (SELECT word FROM words); END$$", database, APP)
    with apps(shop.port, database) as author:
        ask(author, "SET search_path = \"dict%\", \"$user\"")
        ask(author, "ALTER TABLE public.items ADD COLUMN word text NOT NULL DEFAULT public.word()")
        assert ask(author, "SELECT DISTINCT word FROM public.items") == [("mine",)]
    assert changes(server, database) == ["complete"]


def test_tablespace_of_the_index(server, shop, database):
    if server.version < 15:
        pytest.skip("a tablespace without a directory of its own can be made from PostgreSQL 15 on")
    server.sql("SET allow_in_place_tablespaces = on;\nDROP TABLESPACE IF EXISTS fast;\nCREATE TABLESPACE fast LOCATION '';\n"
               "GRANT CREATE ON TABLESPACE fast TO PUBLIC")
    with apps(shop.port, database) as author:
        ask(author, "SET default_tablespace = fast")
        ask(author, "ALTER TABLE items ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE")
        assert ask(author, "SELECT tablespace FROM pg_indexes WHERE indexname = 'items_token_key'") == [("fast",)]
    server.sql("ALTER INDEX items_token_key SET TABLESPACE pg_default", database)
    server.sql("DROP TABLESPACE fast")


def test_who_inserts_meanwhile(server, shop, database):
    """INSERT on the table is enough for an identity column, also while it is being filled."""
    role(server, "inserter")
    server.sql("CREATE TABLE gate (open boolean); INSERT INTO gate VALUES (false); CREATE FUNCTION gated() RETURNS int VOLATILE "
               "LANGUAGE plpgsql AS $$BEGIN WHILE NOT (SELECT open FROM public.gate) LOOP PERFORM pg_sleep(0.02); END LOOP; "
               "RETURN 1; END$$; GRANT INSERT ON items TO inserter; GRANT SELECT ON gate TO inserter; "
               "GRANT USAGE ON SCHEMA public TO inserter", database, APP)
    with apps(shop.port, database) as author:
        doing = Doing(ask, author, "ALTER TABLE items ADD COLUMN n int GENERATED ALWAYS AS IDENTITY, "
                                   "ADD COLUMN g int NOT NULL DEFAULT gated()")
        try:
            wait_until(lambda: changes(server, database), 10)
            # straight to the server, and with a g of its own: the gate is closed
            with psycopg2.connect(host="127.0.0.1", port=server.port, dbname=database, user="inserter") as inserter:
                ask(inserter, "INSERT INTO items (id, g) VALUES (1000, 7)")
        finally:
            server.sql("UPDATE gate SET open = true", database)
        doing.result()
    finished(server, database)
    assert server.sql("SELECT count(*), count(DISTINCT n), bool_and(relacl IS NULL) FROM items, pg_class "
                      "WHERE relname = 'items_n_seq'", database) == "51|51|t"


def test_default_privileges(server, shop, database):
    """Of the table's owner, to whom the sequence belongs from the start, not of who asks."""
    role(server, "asker", "granted")
    server.sql("GRANT %s TO asker; GRANT USAGE, CREATE ON SCHEMA public TO asker;"
               "ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT SELECT ON SEQUENCES TO granted;"
               "ALTER DEFAULT PRIVILEGES FOR ROLE asker GRANT UPDATE ON SEQUENCES TO granted" % (APP, APP), database)
    server.sql("CREATE TABLE direct (id int)", database, APP)
    with psycopg2.connect(host="127.0.0.1", port=shop.port, dbname=database, user="asker") as asker:
        asker.autocommit = True
        ask(asker, "ALTER TABLE items ADD COLUMN n serial")
        assert ask(asker, "SELECT current_user::text, current_setting('role')") == [("asker", "none")]
    server.sql("ALTER TABLE direct ADD COLUMN n serial", database, "asker")
    acls = server.sql("SELECT relacl FROM pg_class WHERE relname IN ('items_n_seq', 'direct_n_seq')", database).split()
    assert len(acls) == 2 and acls[0] == acls[1] and "granted" in acls[0]

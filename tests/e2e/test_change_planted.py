"""
Rows and schemas that somebody planted: the worker neither believes nor dies of them, and nobody keeps it from working.
"""
import contextlib
import json
import time

import online_worker
from online import WORKER, ask, command, conninfo, install, role, session
from online_worker import OWNER, column, spec, unique

ALL_SERVERS = True
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i"

PLANTED = ("CREATE OR REPLACE FUNCTION pgsluice.home() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN"
           " INSERT INTO public.loot SELECT current_user; RETURN ''; END $$;"
           "INSERT INTO pgsluice.change (relation, table_schema, table_name, owner, session_role, application, kind, home,"
           " spec, columns) VALUES (1, '', '', 1, '', '', 'add-column', '', '{}', '{}')")


def unready(server, database):
    online_worker.prepare(server, database)
    server.sql(TABLE, database, OWNER)


def plant(server, database, what):
    """A row that no begin_change() of today would write."""
    change = online_worker.begin(server, database, "ALTER TABLE t ADD x int", spec(column("x")))
    server.sql("UPDATE pgsluice.change SET spec = spec || $j$%s$j$ WHERE id = %d" % (json.dumps(what), change), database)
    return change


def test_rows_of_another_form(server, database, proxy_factory):
    """They are stuck, and the proxy goes on to live and to work."""
    unready(server, database)
    for i, what in enumerate(({"unique": [{"name": "k", "columns": [1]}]}, {"columns": 1}, {"validate": [{}]})):
        server.sql("ALTER TABLE t RENAME TO t%d; %s" % (i, TABLE.replace("PRIMARY KEY", "")), database, OWNER)
        change = plant(server, database, what)
        proxy = None if i else proxy_factory(server, online_worker.config(server))
        assert "can't be read" in online_worker.wait(server, database, change, "stuck")["throttled"]
        assert server.sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'x'", database) == "1"
    server.sql("CREATE TABLE good (i int)", database, OWNER)
    good = online_worker.begin(server, database, "", spec(kind="add-unique", uniques=[unique("i", name="good_k")]), "public.good")
    assert online_worker.wait(server, database, good)["state"] == "complete", proxy


def test_a_schema_of_a_databases_owner(server, database, proxy_factory):
    """Whoever owns a database makes the worker run his functions there: not one of them runs."""
    role(server, "mallory", OWNER, WORKER)
    server.sql("GRANT %s TO %s; ALTER DATABASE \"%s\" OWNER TO mallory" % (OWNER, WORKER, database))
    told = install(server, database, user="mallory")
    assert "mallory is no superuser" in told and "mallory is no member of" in told and OWNER in told
    server.sql("CREATE TABLE public.loot (who text); GRANT ALL ON public.loot TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC;"
               + PLANTED, database, "mallory")
    proxy_factory(server, online_worker.config(server))
    time.sleep(4)
    assert server.sql("SELECT count(*) FROM loot", database) == "0"
    done = command("changes", "--connect", conninfo(server, database, WORKER))
    assert done.returncode == 2 and "left out" in done.stderr


def test_a_databases_owner_who_may_as_much(server, database):
    """Commands that may no more than the owner believe him; one more membership, and they don't."""
    role(server, "db_owner", "own_worker", "other_owner")
    server.sql("REVOKE other_owner FROM own_worker; GRANT db_owner TO own_worker;"
               "ALTER DATABASE \"%s\" OWNER TO db_owner" % database)
    told = install(server, database, "--worker", "own_worker", user="db_owner")
    assert "db_owner is no superuser" in told and "no member of" not in told and "administers own_worker" in told
    asked = ("changes", "--connect", conninfo(server, database, "own_worker"))
    assert command(*asked).returncode == 0
    server.sql("GRANT other_owner TO own_worker")
    done = command(*asked)
    assert done.returncode == 2 and "left out" in done.stderr
    server.sql("REVOKE other_owner, db_owner FROM own_worker")


def test_a_databases_owner_who_waits(server, database, proxy_factory):
    """The worker stays for long: only an owner who administers its role is believed by it."""
    role(server, "waiting_owner", "waiting_worker")
    server.sql("ALTER DATABASE \"%s\" OWNER TO waiting_owner; ALTER ROLE waiting_worker LOGIN" % database)
    told = install(server, database, "--worker", "waiting_worker", user="waiting_owner")
    assert "administers waiting_worker" in told and "no member of" not in told
    server.sql("CREATE TABLE public.loot (who text); GRANT ALL ON public.loot TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC;"
               + PLANTED, database, "waiting_owner")
    proxy_factory(server, online_worker.config(server).replace("user=" + WORKER, "user=waiting_worker"))
    time.sleep(4)
    assert server.sql("SELECT count(*) FROM loot", database) == "0"
    server.sql("GRANT waiting_worker TO waiting_owner WITH ADMIN OPTION")
    proxy_factory(server, online_worker.config(server).replace("user=" + WORKER, "user=waiting_worker"))
    online_worker.harness.wait_until(lambda: server.sql("SELECT count(*) FROM loot", database) != "0")
    server.sql("REVOKE waiting_worker FROM waiting_owner")


def test_locked_rows_of_paused_changes(server, database, proxy_factory):
    """Whoever keeps rows locked keeps nobody else's change waiting."""
    unready(server, database)
    with contextlib.ExitStack() as stack:
        for i in range(4):
            server.sql("CREATE TABLE p%d (i int)" % i, database, OWNER)
            change = online_worker.begin(server, database, "", spec(kind="set-not-null"), "public.p%d" % i)
            server.sql("SELECT pgsluice.pause(%d)" % change, database, OWNER)
            ask(stack.enter_context(session(server, database, OWNER)), "BEGIN; SELECT pgsluice.pause(%s)", change)
        proxy_factory(server, online_worker.config(server))
        began = time.monotonic()
        change = online_worker.begin(server, database, "", spec(kind="add-unique", uniques=[unique("v", name="k")]))
        assert online_worker.wait(server, database, change)["state"] == "complete"
        assert time.monotonic() - began < 10


def test_ids_of_more_than_31_bits(server, database, proxy_factory):
    unready(server, database)
    server.sql("ALTER TABLE pgsluice.change ALTER id RESTART WITH 2147483650", database)
    proxy_factory(server, online_worker.config(server))
    change = online_worker.begin(server, database, "ALTER TABLE t ADD x int DEFAULT 1", spec(column("x")))
    assert change == 2147483650 and online_worker.wait(server, database, change)["state"] == "complete"


def test_a_default_that_gives_up_the_lease(server, database, proxy_factory):
    """It gets it back at the next mark: what another one could take meanwhile is not ended twice."""
    unready(server, database)
    server.sql("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN PERFORM pg_advisory_unlock_all();"
               " PERFORM pg_sleep(0.03); RETURN 1; END $$", database, OWNER)
    change = online_worker.begin(server, database, "ALTER TABLE t ADD x int; ALTER TABLE t ALTER x SET DEFAULT f()",
                                 spec(column("x", fill=True)))
    for _ in range(2):
        proxy_factory(server, online_worker.config(server))
    assert online_worker.wait(server, database, change)["state"] == "complete"
    assert server.sql("SELECT count(*) FROM t WHERE x = 1", database) == "100"

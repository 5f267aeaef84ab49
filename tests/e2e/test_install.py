"""
pgsluice install, uninstall and changes: the commands, on every server version.
"""
import json

import psycopg2
import pytest

from online import WORKER, ask, command, conninfo, install, role, session, spec

ALL_SERVERS = True


def objects(server, database):
    """All that an installation makes, with its rights."""
    return server.sql("SELECT p.proname, p.prosecdef, p.proconfig, p.proacl, md5(p.prosrc) FROM pg_proc p WHERE"
                      " p.pronamespace = 'pgsluice'::regnamespace ORDER BY 1, 5; SELECT relname, relacl FROM pg_class WHERE"
                      " relnamespace = 'pgsluice'::regnamespace ORDER BY 1; SELECT * FROM pg_policies ORDER BY 3;"
                      " SELECT nspacl FROM pg_namespace WHERE nspname = 'pgsluice'; SELECT version, worker FROM pgsluice.meta",
                      database)


def test_installed_twice(server, database):
    role(server, "shop_owner", "Odd owner", attributes="NOLOGIN")
    server.sql('CREATE TABLE a (i int); CREATE TABLE b (i int); CREATE TABLE c (i int); ALTER TABLE a OWNER TO shop_owner;'
               'ALTER TABLE b OWNER TO shop_owner; ALTER TABLE c OWNER TO "Odd owner"', database)
    server.sql('REVOKE shop_owner FROM "%s"' % WORKER) if server.sql(
        "SELECT 1 FROM pg_roles WHERE rolname = '%s'" % WORKER) else None
    told = install(server, database)
    new = server.version >= 16
    with_ = " WITH INHERIT FALSE, SET TRUE" if new else ""
    assert "GRANT shop_owner TO pgsluice_worker%s;  -- 2 tables" % with_ in told
    assert 'GRANT "Odd owner" TO pgsluice_worker%s;  -- 1 table\n' % with_ in told
    assert "online: {maintenance: 'host=127.0.0.1 port=%d user=pgsluice_worker" % server.port in told
    before = objects(server, database)
    server.sql("GRANT shop_owner TO pgsluice_worker" + with_)
    told = install(server, database)
    assert told.startswith("Installed again") and "GRANT shop_owner" not in told and 'GRANT "Odd owner"' in told
    assert objects(server, database) == before
    attributes = server.sql("SELECT rolcanlogin, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls,"
                            " rolreplication FROM pg_roles WHERE rolname = '%s'" % WORKER)
    assert attributes == "t|f|f|f|f|f|f"
    if server.version >= 15:
        with session(server, database, WORKER) as worker:
            ask(worker, "SET session_replication_role = replica; SET deadlock_timeout = '5ms'")


def test_every_function_is_closed(server, database):
    """Each has a search_path of its own; each that runs with the installer's rights is one that we mean to."""
    install(server, database)
    rows = [line.split("|") for line in server.sql(
        "SELECT proname, prosecdef, proconfig::text LIKE '%search_path=pg_catalog, pg_temp%',"
        " proacl::text LIKE '{=X/%' OR proacl::text LIKE '%,=X/%' OR proacl IS NULL FROM pg_proc"
        " WHERE pronamespace = 'pgsluice'::regnamespace", database).splitlines()]
    assert len(rows) > 30 and [name for name, _, fixed, _ in rows if fixed != "t"] == ["begin_change"]
    assert sorted({name for name, definer, _, public in rows if definer == "t" and public == "t"}) == [
        "begin_checked", "blockers", "home", "impatient"]
    assert sorted({name for name, definer, _, public in rows if definer == "t" and public == "f"}) == [
        "load", "replica", "replica_session"]


def test_another_worker(server, database):
    """--worker makes that role, the former one keeps nothing, and a later installation stays with it."""
    install(server, database)
    told = install(server, database, "--worker", 'Wor"ker')
    assert 'worker Wor"ker' in told
    install(server, database)
    assert server.sql("SELECT worker FROM pgsluice.meta", database) == 'Wor"ker'
    assert server.sql("SELECT has_column_privilege('pgsluice_worker', 'pgsluice.change', 'state', 'UPDATE'),"
                      " has_function_privilege('pgsluice_worker', 'pgsluice.replica()', 'EXECUTE')", database) == "f|f"
    server.sql('DROP OWNED BY "Wor""ker"; DROP SCHEMA pgsluice CASCADE; DROP OWNED BY "Wor""ker"', database)
    server.sql('DROP OWNED BY "Wor""ker"; DROP ROLE "Wor""ker"')


def test_a_superuser_owns_tables(server, database):
    server.sql("CREATE TABLE t (i int)", database)
    told = install(server, database)
    assert "postgres, a superuser, owns 1 of the tables" in told and "GRANT postgres" not in told


def test_by_the_databases_owner(server, database):
    """Without a superuser: it works where the role is there, and says what is missing."""
    role(server, "db_owner", WORKER)
    server.sql('ALTER DATABASE "%s" OWNER TO db_owner' % database)
    told = install(server, database, user="db_owner")
    if server.version >= 15:
        assert "GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO db_owner, pgsluice_worker;" in told
    else:
        assert "Let a superuser install instead" in told
    server.sql("CREATE TABLE t (i int); ALTER TABLE t OWNER TO db_owner; GRANT db_owner TO " + WORKER, database)
    with session(server, database, "db_owner") as owner, session(server, database) as reader:
        ask(owner, "BEGIN; SELECT pgsluice.lock('t', 'ACCESS EXCLUSIVE', 100, 1000); COMMIT")
        ask(reader, "BEGIN; SELECT * FROM t")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            ask(owner, "SELECT pgsluice.lock('t', 'ACCESS EXCLUSIVE', 100, 700)")
        ask(owner, "SELECT pgsluice.begin_change('t', %s, '{}', NULL)", spec(kind="set-not-null"))
        assert ask(owner, "SELECT pgsluice.impatient(5)") == [(False,)]
    done = command("install", "--connect", conninfo(server, database))
    assert done.returncode == 1 and "belongs to db_owner" in done.stderr and "nothing was changed" in done.stderr
    server.sql("REVOKE db_owner FROM " + WORKER)


def test_a_schema_that_somebody_planted(server, database):
    role(server, "mallory")
    server.sql('GRANT CREATE ON DATABASE "%s" TO mallory' % database)
    server.sql("CREATE SCHEMA pgsluice; CREATE TABLE pgsluice.meta (version int, worker text);"
               "CREATE TABLE pgsluice.change (id int)", database, user="mallory")
    done = command("install", "--connect", conninfo(server, database))
    assert done.returncode == 1 and "belongs to mallory" in done.stderr
    done = command("changes", "--connect", conninfo(server, database))
    assert done.returncode == 2 and "left out" in done.stderr


def test_nothing_that_somebody_planted_is_read(server, database):
    """A view that runs its owner's function is enough, when a superuser reads it."""
    role(server, "mallory")
    server.sql('GRANT CREATE ON DATABASE "%s" TO mallory' % database)
    server.sql("CREATE SCHEMA pgsluice; GRANT USAGE ON SCHEMA pgsluice TO public;"
               "CREATE FUNCTION pgsluice.own() RETURNS int LANGUAGE plpgsql AS $$BEGIN"
               " RAISE LOG 'planted code runs as %', current_user; RETURN 1; END$$;"
               "CREATE VIEW pgsluice.meta AS SELECT pgsluice.own() AS version, name 'pgsluice_worker' AS worker;"
               "CREATE VIEW pgsluice.change AS SELECT pgsluice.own()::bigint AS id, text 'waiting' AS state,"
               " text 'a' AS table_schema, text 'b' AS table_name;"
               "GRANT SELECT ON ALL TABLES IN SCHEMA pgsluice TO public", database, user="mallory")
    for arguments in (["install"], ["uninstall"], ["uninstall", "--force"]):
        done = command(*arguments, "--connect", conninfo(server, database))
        assert done.returncode == 1 and "belongs to mallory" in done.stderr
    # in a schema that is a superuser's too
    server.sql('ALTER SCHEMA pgsluice OWNER TO "%s"' % server.superuser, database)
    for arguments in (["install"], ["uninstall", "--force"]):
        done = command(*arguments, "--connect", conninfo(server, database))
        assert done.returncode == 1 and "belongs to mallory" in done.stderr
    assert "planted code runs as %s" % server.superuser not in server.log()


def test_who_may_not(server, database):
    role(server, "nobody_much")
    done = command("install", "--connect", conninfo(server, database, "nobody_much"))
    assert done.returncode == 1 and "nobody_much may not" in done.stderr
    assert server.sql("SELECT to_regnamespace('pgsluice') IS NULL", database) == "t"


def test_a_newer_schema_is_left_alone(server, database):
    install(server, database)
    server.sql("UPDATE pgsluice.meta SET version = 99", database)
    done = command("install", "--connect", conninfo(server, database))
    assert done.returncode == 1 and "version 99, made by a newer pgsluice" in done.stderr


def test_publications(server, database):
    server.sql("CREATE PUBLICATION everything FOR ALL TABLES", database)
    done = command("install", "--connect", conninfo(server, database))
    assert done.returncode == 1 and "publication everything is FOR ALL TABLES" in done.stderr
    install(server, database, "--published")
    with session(server, database) as connection:
        role(server, "shop_owner")
        server.sql("GRANT shop_owner TO " + WORKER)
        ask(connection, "CREATE TABLE t (i int); ALTER TABLE t OWNER TO shop_owner")
        ask(connection, "SELECT pgsluice.begin_change('t', %s, '{}', NULL)", spec(kind="set-not-null"))
        ask(connection, "UPDATE pgsluice.change SET phase = 'fill'")
    install(server, database)


def test_wrong_usage(server, database):
    for arguments in (["install"], ["uninstall"], ["install", "--connect"], ["install", "--connect", "", "more"],
                      ["install", "--connect", "host=127.0.0.1 port=1"], ["install", "--connect", "nonsense=1"],
                      ["install", "--connect", conninfo(server, "no such database")], ["changes", "jump", "1"],
                      ["changes", "show"], ["changes", "show", "x"], ["changes", "approve", "1"], ["changes", "deny", "1"],
                      ["changes", "--format", "xml"], ["changes", "-c", "/nowhere.yaml"],
                      ["changes", "--connect", conninfo(server, database)]):
        done = command(*arguments)
        assert done.returncode == 2 and done.stderr and not done.stdout, arguments
    assert "later version" in command("changes", "approve", "1").stderr
    for name in ("install", "uninstall", "changes"):
        done = command(name, "--help")
        assert done.returncode == 0 and "usage: pgsluice " + name in done.stdout and not done.stderr


# ---- with a change in it ----

@pytest.fixture
def shop(server, database):
    role(server, "ann", "shop_owner")
    install(server, database)
    server.sql("GRANT shop_owner TO ann; GRANT shop_owner TO %s; CREATE TABLE orders (i int, j int);"
               "CREATE TABLE lines (i int); ALTER TABLE orders OWNER TO shop_owner; ALTER TABLE lines OWNER TO shop_owner" % WORKER,
               database)
    with session(server, database, "ann", application="migrate") as ann:
        for table in ("orders", "lines"):
            ask(ann, "SELECT pgsluice.begin_change(%s::regclass, %s, '{}', NULL)", table,
                spec(kind="set-not-null", statement="ALTER TABLE \033[2J" + table))
    server.sql("UPDATE pgsluice.change SET state = 'running', phase = 'fill', throttled = 'replication is 7 s behind',"
               " progress = '{\"rows\": 4100000, \"rows_total\": 10000000, \"rate\": 12345.6}' WHERE id = 1", database)
    return database


def changes(server, database, *arguments, user="ann", code=0):
    done = command("changes", "--connect", conninfo(server, database, user), *arguments)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_changes(server, shop):
    lines = changes(server, shop).splitlines()
    assert lines[0].split() == ["id", "table", "state", "progress", "rows/s", "left", "age"]
    assert lines[1].split()[:5] == ["1", "public.orders", "fill", "41.0%", "12.3k"] and "7 min 58 s" in lines[1]
    assert lines[2].split() == ["makes", "a", "pause:", "replication", "is", "7", "s", "behind"]
    assert lines[3].split()[:3] == ["2", "public.lines", "waiting"]
    one, two = [json.loads(line) for line in changes(server, shop, "--format", "json").splitlines()]
    assert (one["id"], one["state"], one["rows"], one["percent"], one["eta_seconds"], one["throttled"]) == \
        (1, "running", 4100000, 41.0, 478, "replication is 7 s behind")
    assert (two["database"], two["table"], two["role"], two["percent"]) == (shop, "public.lines", "ann", None)
    shown = changes(server, shop, "show", "1")
    assert "set-not-null of public.orders" in shown and "4.1M of about 10.0M rows" in shown and "began" in shown
    assert "\033" not in shown and "?[2J" in shown
    assert "no change 7" in changes(server, shop, "show", "7", code=1)


def test_changes_are_seen_by_their_owners(server, shop):
    role(server, "eve")
    assert "no change under way" in changes(server, shop, user="eve")
    assert "no change 1" in changes(server, shop, "cancel", "1", user="eve", code=1)
    assert len(changes(server, shop, "--format", "json", user=WORKER).splitlines()) == 2


def test_steering(server, shop):
    def wanted():
        return json.loads(changes(server, shop, "show", "1", "--format", "json"))["wanted"]
    assert "make a pause" in changes(server, shop, "pause", "1") and wanted() == "pause"
    assert "paused" in changes(server, shop)
    assert "goes on" in changes(server, shop, "resume", "1") and wanted() == "run"
    assert "will be undone" in changes(server, shop, "cancel", "1") and wanted() == "cancel"
    server.sql("UPDATE pgsluice.change SET state = 'undone', error_code = '23505', error_message = 'two rows alike',"
               " finished_at = now() WHERE id = 1", shop)
    assert "is undone already" in changes(server, shop, "pause", "1", code=1)
    done = command("changes", "--connect", conninfo(server, shop), "show", "1", "--watch")
    assert done.returncode == 1 and "two rows alike" in done.stdout


def test_stuck_is_told_by_the_exit_code(server, shop):
    server.sql("UPDATE pgsluice.change SET state = 'stuck' WHERE id = 2", shop)
    assert command("changes", "--connect", conninfo(server, shop)).returncode == 1


def test_by_the_proxys_file(server, shop, folder):
    file = folder / "pgsluice.yaml"
    text = "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: 127.0.0.1, port: %d}\n" % server.port
    file.write_text(text)
    done = command("changes", "-c", str(file))
    assert done.returncode == 2 and "no online.maintenance" in done.stderr
    file.write_text(text + "online: {maintenance: 'host=127.0.0.1 port=%d user=%s dbname=postgres'}\n" % (server.port, WORKER))
    done = command("changes", "-c", str(file), "--database", shop)
    assert done.returncode == 0 and "public.lines" in done.stdout
    done = command("changes", "-c", str(file), "--format", "json")
    assert {"database": shop, "table": "public.orders"}.items() <= json.loads(
        [line for line in done.stdout.splitlines() if shop in line][0]).items()
    done = command("changes", "-c", str(file), "-d", shop, "pause", "2")
    assert done.returncode == 0, done.stderr


def test_uninstall(server, shop):
    done = command("uninstall", "--connect", conninfo(server, shop))
    assert done.returncode == 1 and "change 1 of public.orders is running" in done.stderr and "2 changes are" in done.stderr
    assert server.sql("SELECT count(*) FROM pgsluice.change", shop) == "2"
    for text in ("Uninstalled", "nothing to do"):
        done = command("uninstall", "--connect", conninfo(server, shop), "--force")
        assert done.returncode == 0 and text in done.stdout
    assert server.sql("SELECT to_regnamespace('pgsluice') IS NULL, count(*) FROM pg_roles WHERE rolname = '%s'" % WORKER,
                      shop) == "t|1"


def test_a_standby(server_factory, folder):
    """Once, on Debian's version: a server in recovery is refused, with what to do."""
    server = server_factory()
    server.stop()
    with server.as_owner(server.data / "standby.signal", "w") as file:
        file.write("")
    server.start()
    done = command("install", "--connect", conninfo(server, "postgres"))
    assert done.returncode == 1 and "standby" in done.stderr

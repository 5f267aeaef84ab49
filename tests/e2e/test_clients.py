"""
The clients people use, unchanged: each does its work directly and through the proxy, with the same result.
"""
import json
import os
import pathlib

import psycopg
import psycopg2
import psycopg2.extras
import pytest

from harness import psql, run

HERE = pathlib.Path(__file__).parent
CLIENTS = HERE / "clients"
NOTHING_IS_SMALL = "policy: {small_table: {rows: 0, size: 0}}\n"
RISKY = "ALTER TABLE items ADD COLUMN token uuid DEFAULT gen_random_uuid()"


@pytest.fixture
def ways(server, proxy_factory, database):
    """The two ways to the same database: a list of ports."""
    proxy = proxy_factory(server, NOTHING_IS_SMALL)
    server.sql("CREATE TABLE items (id int PRIMARY KEY, name text); INSERT INTO items SELECT n, 'item ' || n FROM "
               "generate_series(1, 500) n", database)
    return [server.port, proxy.port]


def same(results):
    assert results[0] == results[1]
    return results[0]


def test_psql(ways, database, folder):
    script = r"""
\pset pager off
\d items
\dt
SELECT * FROM items ORDER BY id LIMIT 3;
\copy items TO '%s'
BEGIN;
INSERT INTO items VALUES (1, 'twice');
ROLLBACK;
SELECT count(*) \gset
\echo :count
SELECT id, name FROM items WHERE id < 3 \gx
\set VERBOSITY verbose
SELECT 1/0;
\conninfo
""" % (folder / "out.csv")
    results = []
    for port in ways:
        done = psql(port, script, database)
        text = done.stdout + done.stderr
        results.append([line for line in text.splitlines() if "port" not in line])
    same(results)


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(ways, database, protocol):
    for port in ways:
        base = ["pgbench", "-h", "127.0.0.1", "-p", port, "-U", "postgres", database]
        done = run([*base, "-i", "-q", "-s", "1"])
        assert done.returncode == 0, done.stderr
        done = run([*base, "-n", "-M", protocol, "-c", 8, "-j", 2, "-t", 50])
        assert done.returncode == 0 and "actually processed: 400/400" in done.stdout, done.stdout + done.stderr


def test_pgbench_pipeline(ways, database, folder):
    script = folder / "pipeline.sql"
    script.write_text("\\startpipeline\n" + "SELECT name FROM items WHERE id = 7;\n" * 20 + "\\endpipeline\n")
    for port in ways:
        done = run(["pgbench", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-n", "-M", "extended", "-c", 4, "-t", 30,
                    "-f", script, database])
        assert "actually processed: 120/120" in done.stdout, done.stdout + done.stderr


def test_psycopg2(ways, database):
    results = []
    for port in ways:
        found = []
        connection = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname=database)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT * FROM items WHERE id = ANY(%s) ORDER BY id", ([1, 2, 3],))
            found.append(cursor.fetchall())
            psycopg2.extras.execute_values(cursor, "INSERT INTO items VALUES %s", [(n, "x") for n in range(1000, 1100)])
            found.append(cursor.rowcount)
            with connection.cursor("named") as named:
                named.execute("SELECT id FROM items ORDER BY id")
                found.append(len(named.fetchall()))
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1/0")
        except psycopg2.Error as error:
            found.append((error.pgcode, str(error)))
        with connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM items WHERE id >= 1000")
            connection.rollback()
            cursor.execute("DELETE FROM items WHERE id >= 1000")
            found.append(cursor.rowcount)
        connection.close()
        results.append(found)
    same(results)


def test_psycopg2_sees_the_refusal(ways, database):
    connection = psycopg2.connect(host="127.0.0.1", port=ways[1], user="postgres", dbname=database)
    with pytest.raises(psycopg2.Error) as caught:
        connection.cursor().execute(RISKY)
    assert caught.value.pgcode == "SL001"
    assert caught.value.diag.constraint_name == "volatile-default"
    assert caught.value.diag.message_hint and caught.value.diag.message_detail
    assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INERROR
    connection.rollback()
    connection.cursor().execute("SELECT 1")
    connection.close()


def test_psycopg3_with_pipelines(ways, database):
    results = []
    for port in ways:
        found = []
        with psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname=database) as connection:
            with connection.pipeline():
                cursors = [connection.execute("SELECT name FROM items WHERE id = %s", (n,), prepare=n % 2 == 0)
                           for n in range(1, 200)]
            found.append([c.fetchall() for c in cursors])
            connection.commit()
            try:
                with connection.pipeline() as pipeline:
                    connection.execute("INSERT INTO items VALUES (2000, 'a')")
                    connection.execute("SELECT 1/0")
                    connection.execute("INSERT INTO items VALUES (2001, 'b')")
                    pipeline.sync()
            except psycopg.Error as error:
                found.append(type(error).__name__)
            connection.rollback()
            found.append(connection.execute("SELECT count(*) FROM items").fetchall())
            with connection.cursor().copy("COPY items TO STDOUT") as copy:
                found.append(sum(1 for _ in copy.rows()))
            with connection.cursor().copy("COPY items FROM STDIN") as copy:
                for n in range(3000, 3100):
                    copy.write_row((n, "c"))
            found.append(connection.execute("DELETE FROM items WHERE id >= 3000").rowcount)
            connection.rollback()
        results.append(found)
    same(results)


def test_psycopg3_refusal_inside_a_pipeline(ways, database):
    with psycopg.connect(host="127.0.0.1", port=ways[1], user="postgres", dbname=database, autocommit=True) as connection:
        with pytest.raises(psycopg.Error) as caught:
            with connection.pipeline():
                connection.execute("INSERT INTO items VALUES (5000, 'before')")
                connection.execute(RISKY)
                connection.execute("INSERT INTO items VALUES (5001, 'behind')")
        assert caught.value.sqlstate == "SL001"
        assert connection.execute("SELECT count(*) FROM items WHERE id >= 5000").fetchone()[0] in (0, 1)


def test_node_postgres(ways, database):
    results = []
    for port in ways:
        done = run(["node", CLIENTS / "node_postgres.js", port, database])
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    direct, proxied = results
    refused = proxied.pop("risky")
    assert direct.pop("risky") == "done"
    assert direct == proxied
    assert refused["code"] == "SL001" and refused["constraint"] == "volatile-default" and refused["hint"]


def migrations(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def dbmate(port, database, folder, *words):
    return run([CLIENTS / "node_modules" / "@dbmate" / "linux-x64" / "bin" / "dbmate", "--no-dump-schema", "--url",
                "postgres://postgres@127.0.0.1:%d/%s?sslmode=disable" % (port, database), "--migrations-dir",
                folder / "migrations", *words], timeout=60)


def test_dbmate(server, proxy_factory, database, folder):
    migrations(folder, {
        "migrations/20260101000000_first.sql":
            "-- migrate:up\nCREATE TABLE items (id int PRIMARY KEY);\nALTER TABLE items ADD COLUMN name text;\n"
            "-- migrate:down\nDROP TABLE items;\n",
        "migrations/20260102000000_index.sql":
            "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY items_name ON items (name);\n"
            "-- migrate:down\nDROP INDEX items_name;\n"})
    proxy = proxy_factory(server)
    for port in (proxy.port, server.port):
        done = dbmate(port, database, folder, "up")
        assert done.returncode == 0, done.stderr + done.stdout
        assert server.sql("SELECT count(*) FROM schema_migrations", database) == "2"
        done = dbmate(port, database, folder, "rollback")
        assert done.returncode == 0, done.stderr + done.stdout
        server.sql("DROP TABLE items; DROP TABLE schema_migrations", database)


def test_dbmate_is_told_of_the_refusal(server, proxy_factory, database, folder):
    migrations(folder, {"migrations/20260101000000_risky.sql":
                        "-- migrate:up\nCREATE TABLE other (a int);\n%s;\n-- migrate:down\n" % RISKY})
    server.sql("CREATE TABLE items (id int); INSERT INTO items VALUES (1)", database)
    proxy = proxy_factory(server, NOTHING_IS_SMALL)
    done = dbmate(proxy.port, database, folder, "up")
    assert done.returncode != 0 and "volatile-default" in done.stderr + done.stdout
    assert server.sql("SELECT to_regclass('other') IS NULL", database) == "t"  # all of it was rolled back


def test_sqitch(server, proxy_factory, database, folder):
    migrations(folder, {
        "sqitch.conf": "[core]\n\tengine = pg\n[user]\n\tname = Test\n\temail = test@example.com\n",
        "sqitch.plan": "%syntax-version=1.0.0\n%project=shop\n\nitems 2026-01-01T00:00:00Z Test <test@example.com> # one\n"
                       "name [items] 2026-01-02T00:00:00Z Test <test@example.com> # two\n",
        "deploy/items.sql": "BEGIN;\nCREATE TABLE items (id int PRIMARY KEY);\nCOMMIT;\n",
        "revert/items.sql": "BEGIN;\nDROP TABLE items;\nCOMMIT;\n",
        "verify/items.sql": "SELECT id FROM items WHERE false;\n",
        "deploy/name.sql": "BEGIN;\nALTER TABLE items ADD COLUMN name text;\nCOMMIT;\n",
        "revert/name.sql": "BEGIN;\nALTER TABLE items DROP COLUMN name;\nCOMMIT;\n",
        "verify/name.sql": "SELECT name FROM items WHERE false;\n"})
    proxy = proxy_factory(server)
    environment = {"HOME": folder, "SQITCH_USERNAME": "postgres", "LC_ALL": "C.UTF-8"}
    for port in (proxy.port, server.port):
        target = "db:pg://postgres@127.0.0.1:%d/%s" % (port, database)
        for words in (["deploy", "--verify"], ["status"], ["revert", "-y"]):
            done = run(["sqitch", *words, target], cwd=folder, environment=environment)
            assert done.returncode == 0, done.stdout + done.stderr
            if words[0] == "deploy":
                assert server.sql("SELECT count(*) FROM sqitch.changes", database) == "2"
        server.sql("DROP SCHEMA sqitch CASCADE", database)


DJANGO_SETTINGS = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["DB"], "USER": "postgres",
                         "HOST": "127.0.0.1", "PORT": os.environ["DBPORT"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""


def test_django_migrate(server, proxy_factory, database, folder):
    migrations(folder, {
        "settings.py": DJANGO_SETTINGS, "shop/__init__.py": "", "shop/migrations/__init__.py": "",
        "shop/models.py": "from django.db import models\nclass Item(models.Model):\n    name = models.TextField()\n"
                          "    note = models.TextField(null=True)\n",
        "shop/migrations/0001_initial.py":
            "from django.db import migrations, models\nclass Migration(migrations.Migration):\n    initial = True\n"
            "    operations = [migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True)),"
            " ('name', models.TextField())])]\n",
        "shop/migrations/0002_note.py":
            "from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
            "    dependencies = [('shop', '0001_initial')]\n"
            "    operations = [migrations.AddField('Item', 'note', models.TextField(null=True))]\n"})
    proxy = proxy_factory(server)
    schemas = []
    for port in (server.port, proxy.port):
        server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database)
        environment = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": folder, "DB": database, "DBPORT": port}
        for words in (["migrate", "--no-input", "-v", "0"], ["migrate", "--check"],
                      ["migrate", "shop", "zero", "-v", "0"], ["migrate", "--no-input", "-v", "0"]):
            done = run(["/usr/bin/python3", "-m", "django", *words], environment=environment, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr
        done = run(["pg_dump", "-s", "-h", "127.0.0.1", "-p", server.port, "-U", "postgres", database])
        assert done.returncode == 0, done.stderr
        schemas.append([line for line in done.stdout.splitlines() if "restrict" not in line])
    same(schemas)


def test_pg_dump_and_restore_through_the_proxy(ways, server, database, folder):
    done = run(["pg_dump", "-h", "127.0.0.1", "-p", ways[1], "-U", "postgres", "-f", folder / "dump.sql", database])
    assert done.returncode == 0, done.stderr
    server.sql("DROP TABLE items", database)
    done = psql(ways[1], (folder / "dump.sql").read_text(), database, options=["-v", "ON_ERROR_STOP=1", "-q"])
    assert done.returncode == 0, done.stderr
    assert server.sql("SELECT count(*), count(name) FROM items", database) == "500|500"


def test_the_environment_names_no_other_program():
    """The tests above must use the program under test."""
    assert os.access(os.environ.get("PGSLUICE", "build/asan/pgsluice"), os.X_OK)

"""
`pgsluice plan` and `check --connect` where changes can be carried out: what they say of a statement, and their exit codes.
"""
import json

from online import command, conninfo, install, role

TABLE = ("SET client_min_messages = warning; CREATE TABLE orders (id int PRIMARY KEY, n int);"
         "INSERT INTO orders SELECT g, g FROM generate_series(1, 20000) g; ANALYZE orders")
ADD = "ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"


def plan(server, database, sql, *more):
    return command("plan", *more, "--connect", conninfo(server, database, "maker"), sql)


def prepare(server, database):
    role(server, "maker")
    server.sql("GRANT CREATE, USAGE ON SCHEMA public TO maker", database)
    server.sql(TABLE, database, "maker")


def test_plan(server, database):
    prepare(server, database)
    done = plan(server, database, ADD)
    assert done.returncode == 1
    assert "pgsluice install --connect" in done.stdout
    told = command("plan", "--connect", conninfo(server, database, "maker") + " password=hidden", ADD)
    assert told.returncode == 1 and "dbname=" + database in told.stdout and "hidden" not in told.stdout + told.stderr
    install(server, database)
    done = plan(server, database, ADD, "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["online"] and told["columns"] == ["token"] and told["direct"]["rewrite"] == "yes"
    assert [step["step"] for step in told["plan"]] == ["lock", "alter", "record", "fill", "check", "validate", "index", "finish",
                                                       "analyze"]
    assert told["seconds"] > 0 and told["wal_bytes"] > 0 and told["space_bytes"] > 0
    done = plan(server, database, ADD)
    assert "fills token in batches" in done.stdout and "ShareUpdateExclusiveLock" in done.stdout
    assert server.sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'token'", database) == "0"


def test_no_plan(server, database):
    prepare(server, database)
    install(server, database)
    done = plan(server, database, "ALTER TABLE orders ADD COLUMN m int GENERATED ALWAYS AS (n * 2) STORED")
    assert done.returncode == 1 and "rewriting the whole table" in " ".join(done.stdout.split())
    assert plan(server, database, "ALTER TABEL orders").returncode == 2
    assert command("plan", "SELECT 1").returncode == 2


def test_check(server, database, tmp_path):
    prepare(server, database)
    install(server, database)
    config = tmp_path / "pgsluice.yaml"
    config.write_text("listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: 127.0.0.1, port: %d}\n"
                      "online: {maintenance: 'user=pgsluice_worker'}\n" % server.port)
    file = tmp_path / "1.sql"
    file.write_text(ADD + ";\n")
    more = ["check", "-c", str(config), "--connect", conninfo(server, database, "maker"), str(file)]
    told = json.loads(command(*more, "--format", "json").stdout)
    assert told["action"] == "online" and told["plan"][3]["step"] == "fill"
    assert "online, in these steps" in command(*more).stdout
    assert command(*more, "--fail-on", "approve").returncode == 0

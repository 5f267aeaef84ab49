"""
Plans of online changes on real servers: the safe form of each statement in plans.txt writes and reads no row, and with
what is left done by hand the schema is, byte for byte, what the statement itself would have left (pg_dump -s).

PGSLUICE_SERVER_BINS names the servers (Debian's without it), PGSLUICE_TRUTH_DRIVER the program that plans, PGSLUICE
the one that installs the schema.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import psycopg2
import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "e2e"))
from harness import AS_SERVER, PGSLUICE, ROOT, Server, server_bins  # noqa: E402

DRIVER = os.environ.get("PGSLUICE_TRUTH_DRIVER", str(ROOT / "build/asan/tests/truth/truth_driver"))


def rows():
    for line in (HERE / "plans.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        gate = re.match(r"\[(?:(\d+)\+|-(\d+))\] (.*)", line)
        since, until, line = (int(gate[1] or 0), int(gate[2] or 99), gate[3]) if gate else (0, 99, line)
        expected, sql = line.split("\t", 1)
        sql = re.sub(r"\\(.)", lambda m: "\n" if m.group(1) == "n" else m.group(1), sql)
        yield pytest.param(since, until, expected, sql, id=sql[:70])


class Driver:
    def __init__(self):
        self.process = subprocess.Popen([DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.query = self.ask(do="sql")["sql"]

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def plan(self, connection, sql):
        questions = self.ask(do="questions", sql=sql)["questions"]
        answer = None
        if questions is not None:
            with connection.cursor() as cursor:
                cursor.execute("PREPARE asking (text) AS " + self.query)
                cursor.execute("EXECUTE asking (%s)", (questions,))
                answer = cursor.fetchone()[0]
                cursor.execute("DEALLOCATE asking")
        return self.ask(do="plan", sql=sql, answer=answer, version=connection.server_version)


@pytest.fixture(scope="module")
def driver():
    return Driver()


@pytest.fixture(scope="module", params=sorted(server_bins()))
def server(request):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-plan-"))
    folder.chmod(0o755)
    made = Server(folder / "server", request.param)
    made.sql("CREATE ROLE maker LOGIN")
    for database in ("direct", "online"):
        made.sql("CREATE DATABASE %s OWNER maker" % database)
    subprocess.run([PGSLUICE, "install", "--connect", "host=127.0.0.1 port=%d user=postgres dbname=online" % made.port],
                   check=True, stdout=subprocess.DEVNULL)
    made.sql("GRANT maker TO pgsluice_worker")
    made.admin = {database: connect(made, database, "postgres") for database in ("direct", "online")}
    yield made
    made.stop()


def connect(server, database, user="maker"):
    connection = psycopg2.connect(host="127.0.0.1", port=server.port, user=user, dbname=database)
    connection.autocommit = True
    return connection


def dump(server, database, connection):
    """The schema: pg_dump's, where there is one for this server, and what else the catalog knows of it."""
    with connection.cursor() as cursor:
        cursor.execute((HERE / "plan_schema.sql").read_text())
        lines = [line for line, in cursor.fetchall()]
    program = dump_program(server)
    if program:
        done = subprocess.run([*AS_SERVER, str(program), "-s", "-h", "127.0.0.1", "-p", str(server.port), "-U", "maker",
                               "-N", "pgsluice", database], capture_output=True, text=True, check=True)
        lines += [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
    return lines


def dump_program(server):
    own = server.bin / "pg_dump"
    debian = {int(f.parent.parent.name): f for f in pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_dump")}
    newest = max(debian, default=0)
    return own if own.exists() else debian[newest] if newest >= server.version else None


ANEW = """SET client_min_messages = error; BEGIN; DROP SCHEMA IF EXISTS side CASCADE; DROP SCHEMA IF EXISTS public CASCADE;
CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO maker; SET ROLE maker; %s; RESET ROLE; COMMIT; RESET client_min_messages"""


def anew(server, database):
    """A connection to the database as plan_setup.sql makes it."""
    with server.admin[database].cursor() as cursor:
        if database == "online":
            cursor.execute("DELETE FROM pgsluice.change")
        cursor.execute(ANEW % (HERE / "plan_setup.sql").read_text())
    return connect(server, database)


FILES = "SELECT oid, relfilenode FROM pg_class WHERE relkind IN ('r', 'i') AND relnamespace <> 'pg_catalog'::regnamespace"


def quote(name):
    return '"%s"' % name.replace('"', '""')


def complete(cursor, table, spec):
    """What the worker does, without its patience."""
    def run(sql, *arguments):
        cursor.execute(sql, arguments or None)

    def default_sequence(name):
        run("SELECT pg_get_serial_sequence(%s, %s)", table, name)
        return cursor.fetchone()[0]

    for column in spec["columns"]:
        c = quote(column["name"])
        if column["fill"]:
            run("UPDATE %s SET %s = DEFAULT WHERE %s IS NULL" % (table, c, c))
        if column["not_null"]:
            name = column["not_null_name"]
            if name and cursor.connection.server_version >= 180000:
                run("ALTER TABLE %s ADD CONSTRAINT %s NOT NULL %s" % (table, quote(name), c))
            run("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL" % (table, c))
        if column["identity"]:
            sequence = default_sequence(column["name"])
            run("SELECT seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle FROM pg_sequence WHERE seqrelid = %s::regclass", sequence)
            start, step, low, high, cache, cycle = cursor.fetchone()
            run("SELECT last_value FROM " + sequence)
            run("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT" % (table, c))
            run("DROP SEQUENCE " + sequence)
            run("ALTER TABLE %s ALTER COLUMN %s ADD GENERATED %s AS IDENTITY (START %d INCREMENT %d MINVALUE %d MAXVALUE"
                " %d CACHE %d %s)" % (table, c, "ALWAYS" if column["identity"]["always"] else "BY DEFAULT", start, step, low,
                                      high, cache, "CYCLE" if cycle else "NO CYCLE"))
    for constraint in spec["validate"]:
        run("ALTER TABLE %s VALIDATE CONSTRAINT %s" % (table, quote(constraint["name"])))
    for key in spec["unique"]:
        listed = ", ".join(quote(c) for c in key["columns"])
        run("ALTER TABLE %s ADD %s UNIQUE %s (%s) %s %s %s" % (
            table, "CONSTRAINT " + quote(key["name"]),
            "NULLS NOT DISTINCT" if key["nulls_not_distinct"] else "", listed,
            "INCLUDE (%s)" % ", ".join(quote(c) for c in key["include"]) if key["include"] else "",
            "DEFERRABLE" if key["deferrable"] else "", "INITIALLY DEFERRED" if key["deferred"] else ""))
    if spec["index"]:
        run(spec["index"]["sql"])


def execute_plan(connection, plan):
    """Runs the block; says what was rewritten or read meanwhile, and what the change was told."""
    cursor = connection.cursor()
    cursor.execute(FILES)
    files = dict(cursor.fetchall())
    cursor.execute("SET client_min_messages = debug1")
    del connection.notices[:]
    connection.autocommit = False
    cursor.execute(plan["text"])
    said = "".join(connection.notices)
    connection.commit()
    connection.autocommit = True
    cursor.execute("RESET client_min_messages")
    cursor.execute(FILES)
    after = dict(cursor.fetchall())
    moved = [oid for oid, node in files.items() if oid in after and after[oid] != node]
    work = re.findall("rewriting table.*|verifying table.*|validating foreign key.*|building index.*", said)
    cursor.execute("SELECT relation::regclass::text, spec, columns FROM pgsluice.change")
    return moved, [w for w in work if "pg_toast" not in w], cursor.fetchone()


@pytest.mark.parametrize("since, until, expected, sql", list(rows()))
def test_plan(server, driver, since, until, expected, sql):
    if not since <= server.version <= until:
        pytest.skip("not of this server")
    online, direct = anew(server, "online"), anew(server, "direct")
    try:
        online.cursor().execute("CREATE TEMP TABLE passing (id int)")
        plan = driver.plan(online, sql)
        if expected.startswith("no"):
            assert expected[3:] in plan.get("why", str(plan))
            return
        if since >= 16 and "can't be read" in plan.get("why", ""):
            pytest.skip("newer than the parser that pgsluice was built with")
        assert "why" not in plan, plan["why"]
        spec = json.loads(plan["spec"]) if "spec" in plan and plan["spec"] else None
        assert (spec is None) == (expected == "lock")
        direct.cursor().execute(sql)
        moved, work, call = execute_plan(online, plan)
        if spec:
            assert (moved, work) == ([], []), plan["text"]
            table, completed, columns = call
            assert plan["columns"] == columns
            complete(online.cursor(), table, completed)
        assert dump(server, "online", online) == dump(server, "direct", direct), plan["text"]
    finally:
        online.close()
        direct.close()

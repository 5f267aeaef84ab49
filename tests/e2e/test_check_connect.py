"""
`pgsluice check --connect`: what it asks of a database, what it takes from there, and that it changes nothing.
"""
import json
import os

import pytest

from harness import PGSLUICE, SANITIZERS, default_version, free_port, run

RISKY = "ALTER TABLE %s ADD COLUMN token uuid DEFAULT gen_random_uuid();\n"
POLICY = ("listen: [{address: 127.0.0.1, port: 1}]\nupstream: {host: 127.0.0.1, port: 2}\n"
          "policy: {profile: standard, small_table: {rows: 100, size: 1MB}%s}\n")


class Checker:
    """Runs the program on files in a folder of their own."""

    def __init__(self, folder, server, database):
        self.folder, self.server, self.database = folder, server, database
        self.conf = folder / "policy.yaml"
        self.policy()

    def policy(self, more=""):
        self.conf.write_text(POLICY % more)

    def conninfo(self, user="postgres", database=None):
        name = (database or self.database).replace("\\", "\\\\").replace("'", "\\'")
        return "host=127.0.0.1 port=%d user=%s dbname='%s'" % (self.server.port, user, name)

    def run(self, *files, options=(), conninfo=None, **keywords):
        paths = []
        for i, text in enumerate(files):
            paths.append(self.folder / ("%02d.sql" % i))
            paths[-1].write_text(text)
        return run([PGSLUICE, "check", "-c", self.conf, "--format", "json", "--connect", conninfo or self.conninfo(),
                    *options, *paths], {**SANITIZERS, **keywords.pop("environment", {})}, **keywords)

    def findings(self, *files, **keywords):
        """The rules found, statement by statement."""
        done = self.run(*files, **keywords)
        assert done.returncode in (0, 1), done.stderr
        return [[f["rule"] + ":" + f["action"] for f in json.loads(line)["findings"]] for line in done.stdout.splitlines()]


@pytest.fixture
def checker(folder, server, database):
    server.sql("CREATE TABLE big (id int PRIMARY KEY, v text); INSERT INTO big SELECT g, 'v' FROM generate_series(1, 500) g;"
               "CREATE TABLE small (id int); INSERT INTO small VALUES (1); ANALYZE", database)
    return Checker(folder, server, database)


REFUSED = ["volatile-default:reject"]


def test_the_size_of_a_table_is_the_databases(checker):
    """…and so is whether it is there: what fails by itself is not refused, but warned of."""
    assert checker.findings(RISKY % "big" + RISKY % "small" + RISKY % "nonesuch") == [REFUSED, [], ["fails:warn"]]


def test_search_path(checker, server):
    """Of the session, of the file, of the role: the same name is another table."""
    server.sql("CREATE SCHEMA tiny; CREATE TABLE tiny.big (id int); ANALYZE tiny.big;"
               "DROP ROLE IF EXISTS pathfinder; CREATE ROLE pathfinder LOGIN;"
               "ALTER ROLE pathfinder SET search_path = tiny; GRANT USAGE ON SCHEMA tiny TO pathfinder", checker.database)
    risky = RISKY % "big"
    assert checker.findings("SET search_path = tiny;" + risky + "RESET search_path;" + risky)[1::2] == [[], REFUSED]
    assert checker.findings("BEGIN; SET LOCAL search_path TO tiny;" + risky + "COMMIT;" + risky)[2::2] == [[], REFUSED]
    assert checker.findings("SELECT pg_catalog.set_config('search_path', '', false);" + RISKY % "tiny.big")[1] == []
    assert checker.findings(risky, conninfo=checker.conninfo("pathfinder")) == [[]]
    assert checker.findings(risky, conninfo=checker.conninfo() + " options='-c search_path=tiny'") == [[]]
    # what one file sets is not in force for the next
    assert checker.findings("SET search_path = tiny;" + risky, risky)[1:] == [[], REFUSED]


def test_role(checker, server):
    """Who connects is who will run it, unless --role says otherwise; waivers and overrides follow."""
    server.sql("DROP ROLE IF EXISTS deployer; CREATE ROLE deployer LOGIN")
    checker.policy(", overrides: [{when: {role: deployer}, rules: {volatile-default: warn}}],"
                   " waivers: {roles: [postgres], require_reason: true}")
    waived = "/* pgsluice: allow volatile-default, planned */ " + RISKY % "big"
    assert checker.findings(RISKY % "big") == [REFUSED]
    assert checker.findings(RISKY % "big", conninfo=checker.conninfo("deployer")) == [["volatile-default:warn"]]
    assert checker.findings(RISKY % "big", options=["--role", "deployer"]) == [["volatile-default:warn"]]
    assert checker.findings(waived) == [["volatile-default:allow"]]
    assert checker.findings(waived, options=["--role", "somebody"]) == [REFUSED]


def test_a_role_of_the_file_decides_what_names_mean(checker, server):
    server.sql('CREATE SCHEMA owner; DROP ROLE IF EXISTS owner; CREATE ROLE owner; GRANT USAGE ON SCHEMA owner TO owner;'
               'CREATE TABLE owner.big (id int)', checker.database)
    both = checker.findings("SET ROLE owner;" + RISKY % "big" + "RESET ROLE;" + RISKY % "big")
    assert both[1::2] == [[], REFUSED]  # "$user" stands first in search_path


def test_the_servers_version_counts(checker):
    """uuidv7() came with 18: where the server is not asked (a variable), its version says what is built in."""
    file = "ALTER TABLE :name ADD COLUMN token uuid DEFAULT uuidv7();\n"
    expected = "reject" if default_version() >= 18 else "warn"
    assert checker.findings(file) == [["volatile-default:" + expected]]
    assert checker.findings(file, options=["--server-version", "18"]) == [REFUSED]


def test_a_server_that_does_not_answer(checker):
    port = free_port()
    done = checker.run(RISKY % "big", conninfo="host=127.0.0.1 port=%d" % port)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("pgsluice check: ") and "refused" in done.stderr and str(port) in done.stderr
    done = checker.run(RISKY % "big", conninfo=checker.conninfo(database="no such database"))
    assert done.returncode == 2 and 'database "no such database" does not exist' in done.stderr
    done = checker.run(RISKY % "big", conninfo="hots=127.0.0.1")
    assert done.returncode == 2 and "hots" in done.stderr


def test_nothing_is_executed(checker, server_factory, folder):
    """The server's own log of statements: questions, and the settings of the file. Its dump is the same before and after."""
    server = server_factory(settings={"log_statement": "'all'", "log_min_duration_statement": "-1"})
    server.sql("CREATE TABLE big (id int PRIMARY KEY); INSERT INTO big VALUES (1)")

    def dump():
        return run([server.bin / "pg_dump", "-h", "127.0.0.1", "-p", server.port, "-U", "postgres", "postgres"]).stdout

    before, start = dump(), len(server.log())
    done = Checker(folder, server, "postgres").run(
        RISKY % "big" + "DROP TABLE big; TRUNCATE big; INSERT INTO big VALUES (2); CREATE TABLE new (a int);"
        "SET search_path = public; SELECT pg_catalog.set_config('search_path', '', false); SET statement_timeout = 1;"
        "DO $$ BEGIN DELETE FROM public.big; END $$; CREATE EXTENSION hstore; VACUUM; COPY big FROM '/dev/null';"
        "SET ROLE postgres; SET search_path = public, (SELECT 1); SELECT pg_sleep(100)")
    assert done.returncode == 1, done.stderr
    log = server.log()[start:]
    said = [line.split(": ", 2)[2].strip() for line in log.splitlines() if " LOG:  " in line and "execute" in line]
    said = [" ".join(statement.split()) for statement in said]
    assert len(said) > 5
    for statement in said:
        assert statement.startswith(("SET search_path", "SET ROLE", "RESET ", "SELECT pg_catalog", "WITH ")), statement
    assert "DELETE" not in log and "pg_sleep" not in log and "CREATE" not in log
    assert "not taken over" in done.stderr  # the SET that the server refused
    assert [line for line in before.splitlines() if "restrict" not in line] == \
        [line for line in dump().splitlines() if "restrict" not in line]


def test_it_may_be_a_standby_or_read_only(checker):
    conninfo = checker.conninfo() + " options='-c default_transaction_read_only=on'"
    assert checker.findings(RISKY % "big", conninfo=conninfo) == [REFUSED]


def test_timeouts(checker, server):
    """A file's own timeouts are not those of the questions; what the connection says holds, and is told."""
    server.sql("SELECT 1", checker.database)
    file = "SET statement_timeout = 1; SET lock_timeout = 1;\n" + RISKY % "big" * 20
    assert checker.findings(file)[2:] == [REFUSED] * 20
    with_timeout = checker.conninfo() + " options='-c statement_timeout=1'"
    done = checker.run(RISKY % "big", conninfo=with_timeout)
    assert done.returncode in (1, 2)  # a fast server answers in a millisecond
    if done.returncode == 2:
        assert "could not be asked" in done.stderr and "statement timeout" in done.stderr


def test_a_lock_on_the_table_is_not_waited_for(checker, server):
    import psycopg2
    blocker = psycopg2.connect(host="127.0.0.1", port=server.port, user="postgres", dbname=checker.database)
    blocker.cursor().execute("LOCK TABLE big")
    try:
        # its size can't be measured then: it counts as big
        assert checker.findings(RISKY % "big", timeout=30) == [REFUSED]
    finally:
        blocker.close()


@pytest.mark.parametrize("name", ["two words", "it's", 'a"quote', "back\\slash", "Größe", "a=b user=nobody", "PG*"])
def test_odd_database_names(checker, server, name):
    quoted = '"' + name.replace('"', '""') + '"'
    server.sql("DROP DATABASE IF EXISTS %s" % quoted)
    server.sql("CREATE DATABASE %s" % quoted)
    made = run(["psql", "-X", "-q", checker.conninfo(database=name), "-c",
                "CREATE TABLE big AS SELECT generate_series(1, 1000) AS a"])
    assert made.returncode == 0, made.stderr
    checker.policy(", overrides: [{when: {database: '%s'}, rules: {volatile-default: warn}}]" %
                   name.replace("\\", "\\\\").replace("'", "''"))  # a glob: \\ stands for itself
    assert checker.findings(RISKY % "big", conninfo=checker.conninfo(database=name)) == [["volatile-default:warn"]]


def test_files_count_as_run_in_order(checker):
    """What one file makes is new in the next; a rolled back transaction makes nothing."""
    made = "CREATE TABLE fresh (a int);\n"
    assert checker.findings(made, RISKY % "fresh" + RISKY % "big") == [[], [], REFUSED]
    anew = "BEGIN; DROP TABLE big; CREATE TABLE big (a int); %s;"
    assert checker.findings(anew % "COMMIT", RISKY % "big")[-1] == []
    assert checker.findings(anew % "ROLLBACK", RISKY % "big")[-1] == REFUSED
    assert checker.findings("ALTER TABLE big RENAME TO moved;", RISKY % "moved")[-1] == REFUSED
    os.mkdir(checker.folder / "order")
    (checker.folder / "order" / "10_then.sql").write_text(RISKY % "fresh")
    (checker.folder / "order" / "9_first.sql").write_text(made)
    done = run([PGSLUICE, "check", "-c", checker.conf, "--format", "json", "--connect", checker.conninfo(),
                checker.folder / "order"], SANITIZERS)
    assert done.returncode == 0, done.stdout


def test_psql_variables(checker):
    """The value isn't known here: a name in its place is not asked for, and no table is taken for small."""
    assert checker.findings("\\set t big\n" + RISKY % ":t" + RISKY % ':"t"' + RISKY % "public.:t") == [REFUSED] * 3
    assert checker.findings("ALTER TABLE big ADD COLUMN c text DEFAULT :'value';\n") == [[]]
    done = checker.run(RISKY % ":t")
    assert "variable" in done.stderr

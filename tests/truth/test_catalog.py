"""
The catalog's answers against servers 13 to 18: volatility of every default as the server finds it, facts of tables, and
that the query can neither fail nor wait, however the session looks.

PGSLUICE_SERVER_BINS names the servers (Debian's without it), PGSLUICE_CATALOG_DRIVER the program test_catalog_driver.
"""
import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import psycopg2
import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "e2e"))
import truth  # noqa: E402
from harness import AS_SERVER, ROOT, Server, free_port, server_bins  # noqa: E402

DRIVER = os.environ.get("PGSLUICE_CATALOG_DRIVER", str(ROOT / "build/asan/tests/unit/test_catalog_driver"))
QUERY = subprocess.run([DRIVER, "sql"], capture_output=True, text=True, check=True).stdout.rstrip("\n")


opened = []


def connect(server, database="truth", user="postgres", **more):
    """A connection that ends with the test, and in any case doesn't wait forever."""
    connection = psycopg2.connect(host="127.0.0.1", port=server.port, user=user, dbname=database, **more)
    connection.autocommit = True
    connection.cursor().execute("SET statement_timeout = '30s'")
    opened.append(connection)
    return connection


@pytest.fixture(autouse=True)
def closed():
    yield
    while opened:
        opened.pop().close()


@pytest.fixture(scope="module", params=sorted(server_bins()))
def server(request):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-catalog-"))
    folder.chmod(0o755)
    made = Server(folder / "server", request.param, settings={"max_prepared_transactions": "5"})
    made.sql("CREATE DATABASE truth")
    connection = psycopg2.connect(host="127.0.0.1", port=made.port, user="postgres", dbname="truth")
    truth.set_up(connection)
    with connection.cursor() as cursor:
        cursor.execute((HERE / "expressions.sql").read_text())
        if request.param >= 14:
            cursor.execute("CREATE FUNCTION i.atomic() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;"
                           "CREATE FUNCTION i.atomic_return() RETURNS int LANGUAGE sql RETURN 1")
        cursor.execute("CREATE ROLE nobody LOGIN")
    connection.commit()
    connection.close()
    yield made
    made.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


class Driver:
    def __init__(self):
        self.process = subprocess.Popen([DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line):
        self.process.stdin.write(line.replace("\n", " ") + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, cursor, statement):
        """The questions that a statement raises, put to the server; what it sent."""
        questions = self.say("ask " + statement)
        assert questions.startswith("{"), questions
        return send(cursor, questions)

    def judge(self, cursor, statement):
        return self.say("judge %s\t%s" % (self.ask(cursor, statement).replace("\n", " "), statement))


@pytest.fixture(scope="module")
def driver():
    made = Driver()
    yield made
    made.process.stdin.close()
    assert made.process.wait(10) == 0


def send(cursor, questions):
    cursor.execute(QUERY.replace("%", "%%").replace("$1", "%s"), (questions,))
    (answer,), = cursor.fetchall()
    return answer


def ask(cursor, **lists):
    """The answer as JSON."""
    answer = send(cursor, json.dumps(lists, ensure_ascii=False))
    encoding, text = answer.split(":", 1)
    codec = {"UTF8": "utf-8", "LATIN1": "latin-1", "SQL_ASCII": "latin-1", "EUC_JP": "euc-jp"}[encoding]
    return json.loads(base64.b64decode(text).decode(codec))


def relation(cursor, name="plain", **more):
    found, = ask(cursor, R=[name], **more)["relations"]
    return found


# ---- what the server does -------------------------------------------------------------------------------------------

# Rewrites that the catalog doesn't judge: they follow from the text alone, or are another's job.
NOT_OURS = r"serial|GENERATED|IF NOT EXISTS|, (ADD|ALTER|DROP)"

# Answers that can't be certain without running the planner: the answer must be "unknown", nothing else.
UNKNOWN = {
    "CASE 1 WHEN 2 THEN 3 ELSE (random() * 10)::int END",            # hangs on the value of a constant expression
    "substring('abc' FROM 'z') || random()::text",
    "coalesce(regexp_replace('abc', 'b', 'c'), random()::text)",
    "o.poly(random())",                                              # polymorphic SQL functions aren't followed
    "o.dv2(1)",                                                      # nor is which default belongs to which argument
    "i.aliased_bare()", "i.two_statements()", "i.strict_coalesce(1)",
    "i.atomic()", "i.atomic_return()",                               # stored as trees
    "i.nested_volatile()", "i.recursive(3)", "(random() * 10)::int +& 2",  # names inside a body inside a body
}


def expressions(version):
    for line in truth.lines("expressions.txt", version):
        kind, expression = line.split(" | ", 1)
        yield expression, "ALTER TABLE plain ADD COLUMN x %s DEFAULT (%s)" % (kind, expression)


def test_volatility_is_the_servers(server, driver):
    judge = truth.Truth(host="127.0.0.1", port=server.port, user="postgres", dbname="truth")
    cursor = connect(server).cursor()
    cases = [(None, sql) for table, sql in truth.cases(server.version, ["plain"])
             if re.match(r"ALTER TABLE plain ADD COLUMN ", sql) and not re.search(NOT_OURS, sql)]
    cases += expressions(server.version)
    wrong, unknown, failed = [], [], 0
    for expression, sql in cases:
        real = judge.of("plain", sql)
        if real["fails"] == "yes":
            failed += 1
            continue
        said = driver.judge(cursor, sql)
        if said == "unknown":
            unknown.append(expression or sql)
        elif said != real["rewrite"]:
            wrong.append("%s: server %s, we %s" % (sql, real["rewrite"], said))
    assert not wrong, "\n".join(wrong)
    assert set(unknown) <= UNKNOWN, "unknown: %s" % sorted(set(unknown) - UNKNOWN)
    assert len(cases) - failed > 300


PATHS = ["shadow, public", "shadow, pg_catalog, public", "pg_catalog, shadow, public", "public, shadow"]


@pytest.mark.parametrize("path", PATHS)
def test_names_mean_what_search_path_says(server, driver, path):
    judge = truth.Truth(host="127.0.0.1", port=server.port, user="postgres", dbname="truth",
                        options="-c search_path=" + path.replace(" ", ""))
    cursor = connect(server, options="-c search_path=" + path.replace(" ", "")).cursor()
    for expression in ["random()", "length(lower('A'))", "inner_volatile()", "pg_catalog.random()",
                       "shadow.random()", "length(upper('a'))"]:
        sql = "ALTER TABLE public.plain ADD COLUMN x double precision DEFAULT (%s)" % expression
        real = judge.of("public.plain", sql)
        if real["fails"] == "no":
            assert driver.judge(cursor, sql) == real["rewrite"], (path, expression)


# ---- facts of tables ------------------------------------------------------------------------------------------------

def test_plain_table(server):
    cursor = connect(server).cursor()
    facts = relation(cursor)
    assert (facts["kind"], facts["persistence"], facts["rows"], facts["owner"]) == ("r", "p", 200, "postgres")
    assert facts["pages"] > 0 and facts["may_own"] and not facts["created_here"]
    assert [c[1] for c in facts["columns"]] == ["id", "v", "n", "m", "vc", "num", "ts", "arr"]
    assert [c[4] for c in facts["columns"]][4:6] == ["character varying(20)", "numeric(10,2)"]
    assert [i[1] for i in facts["indexes"]] == ["plain_pkey", "plain_un", "plain_v"]
    kinds = {k[0]: k[1] for k in facts["constraints"] if k[1] != "n"}
    assert kinds == {"plain_checked": "c", "plain_pkey": "p", "plain_unproven": "c"}
    assert {v[1] for v in facts["views"]} == {"a_view", "a_matview"}
    assert facts["holders"] == [] and facts["children"] == [0, 0, 0, 0]


def test_families(server):
    cursor = connect(server).cursor()
    assert relation(cursor, "parent")["children"][0] == 2
    assert relation(cursor, "parent")["children"][1] == 150
    assert relation(cursor, "elder")["children"][:2] == [1, 20]
    assert relation(cursor, "part1")["parents"] == [["public", "parent"]] and relation(cursor, "part1")["partition"]
    assert relation(cursor, "child")["parents"] == [["public", "elder"]]
    assert relation(cursor, "typed")["typed_of"] != "0"


def test_row_type_in_use(server):
    cursor = connect(server).cursor()
    cursor.execute("BEGIN; CREATE TABLE used (a int); CREATE DOMAIN wrapped AS used[]; CREATE TYPE inner_type AS (u used);"
                   "CREATE TABLE by_domain (w wrapped); CREATE TABLE by_type (i inner_type[]);"
                   "CREATE TABLE dropped (u used); ALTER TABLE dropped DROP COLUMN u")
    assert relation(cursor, "rowtype")["row_type_users"] == [["uses_rowtype", "r"]]
    assert sorted(relation(cursor, "used")["row_type_users"]) == [["by_domain", "w"], ["by_type", "i"]]
    assert relation(cursor, "plain")["row_type_users"] == []
    cursor.execute("ROLLBACK")


def test_temporary_hides_permanent(server):
    cursor = connect(server).cursor()
    cursor.execute("CREATE TEMP TABLE plain (only_here int)")
    found = {r["persistence"]: r for r in ask(cursor, R=["plain"])["relations"]}
    assert set(found) == {"t", "p"}
    answer = ask(cursor, R=["plain"])
    assert answer["path"][0].startswith("pg_temp_")
    assert [name for _, name, temporary in answer["schemas"] if temporary] == [answer["path"][0]]


def test_triggers_publications_keys(server):
    cursor = connect(server).cursor()
    cursor.execute("BEGIN; CREATE TABLE tpk (id int PRIMARY KEY) PARTITION BY RANGE (id);"
                   "CREATE TABLE tpk1 PARTITION OF tpk FOR VALUES FROM (0) TO (9); CREATE TABLE pointing (t int REFERENCES tpk);"
                   "CREATE TRIGGER t1 BEFORE UPDATE ON tpk1 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();"
                   "CREATE TRIGGER t2 BEFORE UPDATE ON tpk1 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();"
                   "ALTER TABLE tpk1 ENABLE ALWAYS TRIGGER t2; ALTER TABLE tpk1 ENABLE ROW LEVEL SECURITY;"
                   "CREATE PUBLICATION by_parent FOR TABLE tpk; CREATE PUBLICATION everything FOR ALL TABLES")
    expected = ["by_parent", "everything"]
    if server.version >= 15:
        cursor.execute("CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA public;"
                       "CREATE PUBLICATION elsewhere FOR TABLES IN SCHEMA side")
        expected = ["by_parent", "by_schema", "everything"]
    facts = relation(cursor, "tpk1")
    assert facts["triggers"] == [2, 1] and facts["rls"] and facts["publications"] == expected
    assert relation(cursor, "tpk")["referenced_by"] == 1
    cursor.execute("ROLLBACK")


def test_event_triggers(server):
    cursor = connect(server).cursor()
    cursor.execute("BEGIN; CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
                   "CREATE EVENT TRIGGER e1 ON table_rewrite EXECUTE FUNCTION noted();"
                   "CREATE EVENT TRIGGER e2 ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION noted();"
                   "CREATE EVENT TRIGGER e3 ON sql_drop EXECUTE FUNCTION noted();"
                   "ALTER EVENT TRIGGER e1 DISABLE")
    assert ask(cursor, R=["plain"])["event_triggers"] == [["e2", "ddl_command_start", ["ALTER TABLE"]]]
    cursor.execute("ROLLBACK")


CREATED = [
    ("CREATE TABLE made (a int)", True),
    ("SAVEPOINT a; CREATE TABLE made (a int)", True),
    ("SAVEPOINT a; CREATE TABLE made (a int); RELEASE a", True),
    ("SAVEPOINT a; SAVEPOINT b; CREATE TABLE made (a int); RELEASE b; SAVEPOINT c; INSERT INTO made VALUES (1)", True),
    ("CREATE TABLE made (a int); ALTER TABLE made ADD b int; ALTER TABLE made OWNER TO nobody", True),
    ("DO $$ BEGIN BEGIN CREATE TABLE made (a int); EXCEPTION WHEN division_by_zero THEN NULL; END; END $$", True),
    ("CREATE TABLE made AS SELECT * FROM plain", True),
    ("ALTER TABLE plain ADD b int; ALTER TABLE plain RENAME TO made", False),
    ("ALTER TABLE plain ADD b uuid DEFAULT gen_random_uuid(); ALTER TABLE plain RENAME TO made", False),
    ("ALTER TABLE plain OWNER TO nobody; TRUNCATE plain CASCADE; ALTER TABLE plain RENAME TO made", False),
]


@pytest.mark.parametrize("statements,here", CREATED)
def test_created_here(server, statements, here):
    cursor = connect(server).cursor()
    cursor.execute("BEGIN")
    for statement in statements.split("; ") if "DO $$" not in statements else [statements]:
        cursor.execute(statement)
    assert relation(cursor, "made")["created_here"] is here
    cursor.execute("ROLLBACK")


def test_created_by_another(server):
    first, second = connect(server).cursor(), connect(server).cursor()
    first.execute("CREATE TABLE theirs (a int)")
    second.execute("BEGIN; CREATE TABLE mine (a int)")
    assert relation(second, "theirs")["created_here"] is False
    assert relation(second, "mine")["created_here"] is True
    second.execute("COMMIT")
    assert relation(second, "mine")["created_here"] is False
    second.execute("DROP TABLE mine, theirs")


# ---- it can't wait --------------------------------------------------------------------------------------------------

def test_beside_access_exclusive(server):
    holder, waiter = connect(server), connect(server)
    holder.cursor().execute("BEGIN; LOCK TABLE plain, a_view, other, part1, parent, rowtype IN ACCESS EXCLUSIVE MODE;"
                            "ALTER TABLE plain ADD later int")
    waiting = threading.Thread(target=lambda: waiter.cursor().execute("SET application_name = 'queue'; SELECT count(*) FROM plain"))
    waiting.start()
    time.sleep(0.3)
    connection = connect(server)
    cursor = connection.cursor()
    cursor.execute("SET statement_timeout = '3s'; SET lock_timeout = '50ms'")
    for name in ["plain", "a_view", "other", "part1", "parent", "rowtype"]:
        relation(cursor, name, f=["f_over", "nextval"], o=["+", "||"], t=["plain", "d_check", "rowtype"])
    holders = relation(cursor)["holders"]
    assert [(h[1], h[2]) for h in holders] == [("AccessExclusiveLock", True), ("AccessShareLock", False)]
    assert holders[0][0] == holder.get_backend_pid() and holders[0][3] >= 300
    assert holders[0][4].startswith("BEGIN; LOCK TABLE") and len(holders[0][4]) == 80
    assert holders[1][5] == "queue"
    # what is not worked on isn't looked up in the lock table
    assert ask(cursor, r=["plain"])["relations"][0]["holders"] == []
    holder.cursor().execute("ROLLBACK")
    waiting.join()


def test_prepared_transaction_holds(server):
    first = connect(server).cursor()
    first.execute("BEGIN; LOCK TABLE other IN SHARE MODE; PREPARE TRANSACTION 'left behind'")
    try:
        cursor = connect(server).cursor()
        assert [h[:3] for h in relation(cursor, "other")["holders"]] == [[None, "ShareLock", True]]
    finally:
        first.execute("ROLLBACK PREPARED 'left behind'")


# ---- it can't fail --------------------------------------------------------------------------------------------------

EVERYTHING = {"R": ["plain", "parent", "rowtype", "no_such", "pg_class"], "r": ["other"], "s": ["side", "shadow", "nope"],
              "f": ["f_over", "f_variadic", "random", "lower", "concat", "now", "no_such"],
              "o": ["+", "||", "+^", "=", "nope"], "t": ["d_over_check", "mood", "pair", "int4", "varchar", "plain"]}

HOSTILE = """
CREATE SCHEMA hostile;
CREATE TABLE hostile.pg_class (oid int, relname int); CREATE TABLE hostile.pg_namespace (a int);
CREATE TABLE hostile.pg_type (a int); CREATE TABLE hostile.pg_proc (a int); CREATE TABLE hostile.pg_attribute (a int);
CREATE TYPE hostile.name AS (a int); CREATE TYPE hostile.text AS (a int); CREATE TYPE hostile.oid AS (a int);
CREATE TYPE hostile."char" AS (a int); CREATE TYPE hostile.json AS (a int); CREATE TYPE hostile.int8 AS (a int);
"""
RAISES = """CREATE FUNCTION hostile.%s RETURNS %s LANGUAGE plpgsql AS $$BEGIN RAISE 'hostile'; END$$;"""
HOSTILE_FUNCTIONS = [
    ("current_schemas(boolean)", "name[]"), ("unnest(anyarray)", "SETOF anyelement"), ("lower(text)", "text"),
    ("count()", "bigint"), ("format_type(oid, int)", "text"), ("pg_lock_status()", "int"), ("encode(bytea, text)", "text"),
    ("concat(text)", "text"), ("json_build_array(int)", "json"), ("current_setting(text)", "text"),
    ("regexp_matches(text, text, text)", "text"), ("length(text)", "int"), ("to_json(anyelement)", "json")]
HOSTILE_OPERATORS = [
    ("=", "name", "name"), ("=", "oid", "oid"), ("=", "name", "text"), ("=", "text", "text"), ("=", "int4", "int4"),
    ("=", "int8", "int8"), ("=", '"char"', '"char"'), ("<>", "oid", "oid"), ("<>", "int4", "int4"), ("<", "int4", "int4"),
    (">", "int4", "int4"), (">", "int2", "int4"), ("||", "name[]", "name[]"), ("->", "json", "text"), ("=", "xid", "xid"),
    ("=", "int2", "int2"), ("*", "float8", "float8"), ("-", "timestamptz", "timestamptz")]


def prepare_hostile(server):
    cursor = connect(server).cursor()
    cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'hostile'")
    if cursor.fetchone():
        return
    cursor.execute(HOSTILE)
    for signature, result in HOSTILE_FUNCTIONS:
        cursor.execute("SET search_path = pg_catalog; " + RAISES % (signature, result))
    for n, (sign, left, right) in enumerate(HOSTILE_OPERATORS):
        cursor.execute(RAISES % ("op%d(%s, %s)" % (n, left, right), "boolean"))
        cursor.execute("CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.op%d)"
                       % (sign, left, right, n))
    cursor.execute("GRANT USAGE ON SCHEMA hostile TO PUBLIC; RESET search_path")


SESSIONS = {
    "empty path": "SET search_path = ''",
    "hostile path": "SET search_path = hostile, pg_catalog, public",
    "path of strangers": "SET search_path = nope, \"$user\", side",
    "read only": "SET default_transaction_read_only = on",
    "serializable": "SET default_transaction_isolation = serializable",
    "strings": "SET standard_conforming_strings = off; SET escape_string_warning = on; SET backslash_quote = on",
    "null equals": "SET transform_null_equals = on",
    "formats": "SET extra_float_digits = -15; SET bytea_output = escape; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'",
    "quotes": "SET quote_all_identifiers = on",
    "row security": "SET row_security = off",
    "planner": "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_nestloop = off; SET enable_hashagg = off;"
               "SET from_collapse_limit = 1; SET join_collapse_limit = 1; SET geqo_threshold = 2",
    "parallel": "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    "small memory": "SET work_mem = '64kB'",
    "no messages": "SET client_min_messages = error; SET log_statement = 'none'",
    "xml": "SET xmloption = document",
    "latin1": "SET client_encoding = LATIN1",
    "sjis": "SET client_encoding = SJIS",
    "nobody": "SET ROLE nobody; SET search_path = hostile, pg_catalog, side, public",
}


@pytest.mark.parametrize("session", SESSIONS)
def test_any_session(server, session):
    prepare_hostile(server)
    plain = ask(connect(server).cursor(), **EVERYTHING)
    connection = connect(server)
    cursor = connection.cursor()
    cursor.execute(SESSIONS[session])
    del connection.notices[:]
    for around in ["", "BEGIN", "BEGIN; SAVEPOINT s", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ"]:
        if around:
            cursor.execute(around)
        answer = ask(cursor, **{**EVERYTHING, "s": ["side", "shadow", "nope", "public", "pg_temp"]})
        assert {r["name"] for r in answer["relations"]} >= {"plain", "parent", "rowtype", "pg_class", "other"}
        assert {f[0] for f in answer["functions"]} >= {f[0] for f in plain["functions"]}
        if around:
            assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INTRANS
            cursor.execute("ROLLBACK")
    assert connection.notices == []


def test_role_without_rights(server):
    cursor = connect(server, user="nobody").cursor()
    cursor.execute("CREATE TEMP TABLE t (a int)" if server.version < 15 else "SELECT 1")
    facts = relation(cursor)
    assert facts["may_own"] is False and ask(cursor, R=["plain"])["superuser"] is False
    admin = connect(server).cursor()
    admin.execute("CREATE SCHEMA closed; CREATE TABLE closed.secret (a int)")
    try:
        assert ask(cursor, R=["secret"], s=["closed"])["relations"][0]["name"] == "secret"
        cursor.execute("SET search_path = closed, public")
        assert ask(cursor, R=["secret"])["path"][-2:] == ["pg_catalog", "public"]  # behind its temporary schema
    finally:
        admin.execute("DROP SCHEMA closed CASCADE")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_any_server_encoding(server, encoding):
    admin = connect(server).cursor()
    database = "enc_" + encoding.lower()
    admin.execute("CREATE DATABASE %s TEMPLATE template0 ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C'" % (database, encoding))
    name = {"EUC_JP": "\u65e5\u672c"}.get(encoding, "\u00e9t\u00e9")
    connection = connect(server, database)
    connection.set_client_encoding("LATIN1" if encoding == "SQL_ASCII" else "UTF8")
    cursor = connection.cursor()
    cursor.execute('CREATE TABLE "%s" ("col%s" int)' % (name, name))
    assert [c[1] for c in relation(cursor, name)["columns"]] == ["col" + name]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1251"])
def test_names_that_the_client_cannot_say(server, encoding):
    cursor = connect(server).cursor()
    cursor.execute('CREATE TABLE strange (a int, "\u65e5\u00e9\U0001f600" int)')
    try:
        other = connect(server)
        other.cursor().execute("SET client_encoding = " + encoding)
        other.cursor().execute("SET application_name = 'x'")
        assert relation(other.cursor(), "strange")["columns"][1][1] == "\u65e5\u00e9\U0001f600"
    finally:
        cursor.execute("DROP TABLE strange")


def test_names_of_every_sort(server, driver):
    cursor = connect(server).cursor()
    for name in ['a"b', "a'b", "a\\b", "a b", "%s", "{}", "\u00e9\U0001f600", "x" * 80, "NULL", "a\tb"]:
        cursor.execute('BEGIN; CREATE TABLE "%s" (a int)' % name.replace('"', '""'))
        assert relation(cursor, name)["name"] == name[:63]
        cursor.execute("ROLLBACK")


def test_dropped_meanwhile(server):
    """Objects come and go under the query; it never notices."""
    ended = threading.Event()

    def churn():
        cursor = connect(server).cursor()
        while not ended.is_set():
            cursor.execute("CREATE TABLE churned (a int DEFAULT 1 CHECK (a > 0), b int REFERENCES other, r rowtype);"
                           "CREATE INDEX ON churned (a); CREATE VIEW churned_view AS SELECT * FROM churned;"
                           "CREATE FUNCTION churn(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE DOMAIN churn_type AS int;"
                           "CREATE ROLE churner; ALTER TABLE churned OWNER TO churner")
            cursor.execute("DROP TABLE churned CASCADE; DROP FUNCTION churn(int); DROP DOMAIN churn_type; DROP ROLE churner")
    threads = [threading.Thread(target=churn)]
    for thread in threads:
        thread.start()
    try:
        cursor = connect(server).cursor()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            ask(cursor, R=["churned", "other", "rowtype"], f=["churn"], t=["churn_type", "churned"])
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_standby(server):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-standby-"))
    folder.chmod(0o777)
    if not (server.bin / "pg_basebackup").exists():
        data, port = folder / "data", free_port()
        admin = connect(server).cursor()
        start, stop = ("pg_start_backup('b', true, false)", "pg_stop_backup(false)") if server.version < 15 else \
            ("pg_backup_start('b', true)", "pg_backup_stop()")
        admin.execute("SELECT " + start)
        subprocess.run(AS_SERVER + ["cp", "-r", str(server.data), str(data)], check=True)
        admin.execute("SELECT lsn, labelfile FROM " + stop)
        label = admin.fetchone()[1]
        subprocess.run(AS_SERVER + ["sh", "-c", "cd '%s' && rm -f postmaster.pid && touch standby.signal && cat > backup_label"
                                    % data], input=label, text=True, check=True)
    else:
        data, port = folder / "data", free_port()
        subprocess.run(AS_SERVER + [str(server.bin / "pg_basebackup"), "-h", "127.0.0.1", "-p", str(server.port), "-U",
                                    "postgres", "-D", str(data), "-X", "stream", "-c", "fast"], check=True, cwd=folder)
        subprocess.run(AS_SERVER + ["touch", str(data / "standby.signal")], check=True)
    settings = ("port = %d\nhot_standby = on\nunix_socket_directories = '%s'\n"
                "primary_conninfo = 'host=127.0.0.1 port=%d user=postgres'\n" % (port, folder, server.port))
    subprocess.run(AS_SERVER + ["sh", "-c", "cat >> '%s/postgresql.conf'" % data], input=settings, text=True, check=True)
    pg_ctl = AS_SERVER + [str(server.bin / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run(pg_ctl + ["-l", str(folder / "log"), "start"], check=True, cwd=folder, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        cursor = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="truth").cursor()
        answer = ask(cursor, **EVERYTHING)
        assert answer["recovery"] and answer["read_only"] and len(answer["relations"]) >= 5
    finally:
        subprocess.run(pg_ctl + ["-m", "immediate", "stop"], cwd=folder, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


# ---- it costs little ------------------------------------------------------------------------------------------------

def test_enters_catalogs_by_index(server):
    """With 3,000 tables no catalog that grows with them is read whole, and JIT has no reason to start."""
    cursor = connect(server).cursor()
    cursor.execute("SELECT 1 FROM pg_class WHERE relname = 'many_1'")
    if not cursor.fetchone():
        cursor.execute("DO $$ BEGIN FOR i IN 1..1500 LOOP EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY, n int"
                       " DEFAULT length(''x'') CHECK (n > 0))', i); END LOOP; END $$")
        cursor.execute("VACUUM ANALYZE")
    questions = json.dumps({"R": ["many_7"], "f": ["gen_random_uuid", "lower"], "o": ["||"], "t": ["uuid"]})
    cursor.execute("EXPLAIN (FORMAT JSON) " + QUERY.replace("%", "%%").replace("$1", "%s"), (questions,))
    plan, = cursor.fetchone()[0]
    scans = []

    def walk(node):
        if node["Node Type"] == "Seq Scan":
            scans.append(node["Relation Name"])
        for child in node.get("Plans", []):
            walk(child)

    walk(plan["Plan"])
    grows = {"pg_class", "pg_attribute", "pg_type", "pg_proc", "pg_depend", "pg_constraint", "pg_index"}
    whole = grows & set(scans)
    assert not whole, whole
    assert plan["Plan"]["Total Cost"] < 50000

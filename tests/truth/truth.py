"""
What PostgreSQL really does with a statement, taken from the server itself: each statement runs in a transaction that is
rolled back, and the server is asked afterwards.

  lock         the strongest mode this session holds on the table (pg_locks); AccessShareLock, which a query takes
               too, counts for none
  rewrite      the table's, or a descendant's, relfilenode changed, or DEBUG1 says "rewriting table"; TRUNCATE begins
               an empty file, which is none
  scan         DEBUG1 says "verifying table" or "validating foreign key constraint"
  index_build  DEBUG1 says "building index" and the index is not one that a rewrite builds again, nor one of a table
               that the statement itself makes, or empties
  fails        it raised an error; `error` has its SQLSTATE and words

cases(version) gives the statements for a major version; Truth(connection).of(sql) the answers.
"""
import pathlib
import re

import psycopg2

HERE = pathlib.Path(__file__).parent
LOCKS = ["AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
         "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]

# The tables that every column definition is tried on, and what has to be said first.
TABLES = ["plain", "empty", "unlogged", "parent", "elder", "rowtype", '"Quoted Table"', "side.apart", "temporary"]


def lines(name, version):
    for line in (HERE / name).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        gate = re.match(r"\[(\d+)\+\] (.*)", line)
        if gate:
            if version < int(gate.group(1)):
                continue
            line = gate.group(2)
        yield line


def cases(version, tables=None):
    """(table, statement) for this server; `table` may be None where the statement names none of ours."""
    for definition in lines("columns.txt", version):
        for table in tables or TABLES:
            yield table, "ALTER TABLE %s ADD COLUMN %s" % (table, definition)
    for statement in lines("statements.txt", version):
        named = re.search(r"\b(plain|empty|unlogged|parent|elder|child|part1|rowtype|side\.apart|keyless|typed|a_view|"
                          r"a_matview|typing|refers|scratch|deferred|halved|barren|joining|joining_unproven|computed|\"Quoted Table\")(?=\W|$)", statement)
        yield (named.group(1) if named else None), statement


def set_up(connection):
    with connection.cursor() as cursor:
        cursor.execute((HERE / "setup.sql").read_text())
    connection.commit()


PRELUDE = ("CREATE TEMP TABLE temporary (id int PRIMARY KEY, v text, n int, m int NOT NULL DEFAULT 1);"
           "INSERT INTO temporary SELECT g, 'v', g FROM generate_series(1, 30) g")

FAMILY = """
WITH RECURSIVE family (oid) AS (
    SELECT to_regclass(%(table)s)::oid
    UNION ALL SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid)
SELECT c.oid, c.relfilenode FROM pg_class c JOIN family USING (oid) WHERE c.relkind IN ('r', 'm', 'p')
"""


class Truth:
    """One connection, autocommit off; its temporary table exists from the start."""

    def __init__(self, **where):
        self.connection = psycopg2.connect(**where)
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()
        self.cursor.execute(PRELUDE)
        self.cursor.execute("SET lock_timeout = '10s'")

    def of(self, table, sql):
        cursor, notices = self.cursor, self.connection.notices
        before, oid = {}, None
        cursor.execute("BEGIN")
        try:
            if table:
                cursor.execute(FAMILY, {"table": table})
                before = dict(cursor.fetchall())
                cursor.execute("SELECT to_regclass(%s)::oid", (table,))
                oid = cursor.fetchone()[0]
            cursor.execute("SAVEPOINT s; SET LOCAL client_min_messages = debug1")
            del notices[:]
            error = None
            try:
                cursor.execute(sql)
            except psycopg2.Error as raised:
                error = (raised.pgcode, raised.diag.message_primary)
            said = "".join(notices)
            if error:
                cursor.execute("ROLLBACK TO s")
            cursor.execute("SET LOCAL client_min_messages = notice")
            lock, rewritten = "none", False
            if oid and not error:
                cursor.execute("SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = %s", (oid,))
                modes = [mode for mode, in cursor.fetchall()]
                lock = max(modes, key=LOCKS.index) if modes else "none"
                cursor.execute("SELECT oid, relfilenode FROM pg_class WHERE oid = ANY(%s)", (list(before),))
                rewritten = any(before[o] != node for o, node in cursor.fetchall())
        finally:
            cursor.execute("ROLLBACK")
        rewrite = (rewritten or "rewriting table" in said) and not sql.startswith("TRUNCATE")
        makes = sql.startswith(("CREATE TABLE", "TRUNCATE"))
        if lock == "AccessShareLock":
            lock = "none"
        return {
            "lock": lock,
            "rewrite": "yes" if rewrite else "no",
            "scan": "yes" if re.search('verifying table|validating foreign key constraint', said) else "no",
            "index_build": "yes" if not makes and self.builds_new_index(said, rewrite) else "no",
            "fails": "yes" if error else "no",
            "error": error,
        }

    def builds_new_index(self, said, rewrite):
        names = re.findall(r'building index "([^"]+)"', said)
        if not rewrite:
            return bool(names)
        # toast indexes and those that existed before are built again by the rewrite, not by the statement's wish
        self.cursor.execute("SELECT relname FROM pg_class WHERE relkind IN ('i', 'I')")
        known = {name for name, in self.cursor.fetchall()}
        return any(not name.startswith(("pg_toast", "pg_class")) and name not in known for name in names)

#!/usr/bin/env python3
"""Run the statements of effects.tsv on a real server and compare what it does with what the file says.

usage: effects_measure.py CONNINFO     (a server that may be played with; needs psql)

Each statement runs in a database of its own making, inside a transaction that is rolled back where it can be. What
the server did is read from pg_locks, from DEBUG1 messages (rewriting, verifying, validating), from the tables' file
nodes, and from the indexes that are new. An expectation of "unknown" agrees with anything. Exit code 1: it differs.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
STRENGTH = ["none", "AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
            "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]
NO_TRANSACTION = re.compile(r"\bCONCURRENTLY\b|^VACUUM", re.I)
NODES = ("SELECT '%s', relname::text || ':' || oid || ':' || coalesce(pg_relation_filenode(oid), 0) || ':' || relkind::text FROM pg_class"
         " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 'p', 'v')")
LOCKS = ("SELECT 'lock', c.relname::text || ':' || l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
         " WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'public'::regnamespace")


def psql(conninfo, script, stop=True):
    return subprocess.run(["psql", "-XqAt", "-F", "=", "-v", "ON_ERROR_STOP=%d" % stop, "-d", conninfo],
                          input=script, capture_output=True, text=True, check=False)


def reset(conninfo):
    with open(os.path.join(HERE, "effects_setup.sql"), encoding="ascii") as file:
        setup = file.read()
    done = psql(conninfo, "DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + setup)
    if done.returncode != 0:
        sys.exit("effects_setup.sql: " + done.stderr)


def run(conninfo, statement):
    script = "SELECT set_config('client_min_messages', 'debug1', false) \\g /dev/null\n" + NODES % "before" + ";\n"
    loose = NO_TRANSACTION.search(statement)
    if not loose:
        script += "BEGIN;\n"
    script += statement + ";\n" + LOCKS + ";\n" + NODES % "after" + ";\n"
    if not loose:
        script += "ROLLBACK;\n"
    done = psql(conninfo, script)
    if loose:
        reset(conninfo)
    return done


def observe(done, table, statement):
    facts = {"before": [], "after": [], "lock": []}
    for line in done.stdout.splitlines():
        word, _, rest = line.partition("=")
        facts.setdefault(word, []).append(rest)
    failed = done.returncode != 0
    nodes = {f.split(":")[1]: f.split(":") for f in facts["before"]}
    after = {f.split(":")[1]: f.split(":") for f in facts["after"]}
    known = any(f[0] == table for f in nodes.values())
    new = known and any(f[3] == "i" and oid not in nodes for oid, f in after.items())
    moved = any(oid in after and f[3] == "r" and after[oid][2] != f[2] for oid, f in nodes.items())
    names = {table, "orders_old" if "RENAME TO" in statement else table, "i" if "INDEX" in statement[6:11] else table}
    locks = [f.split(":")[1] for f in facts["lock"] if f.split(":")[0] in names]
    said = done.stderr
    return {"lock": max(locks, key=STRENGTH.index, default="none") if known else "none",
            "rewrite": moved and not statement.startswith("TRUNCATE"),
            "scan": "verifying table" in said or "validating foreign key" in said,
            "index_build": new or (statement.startswith("REINDEX")),
            "fails": failed, "said": said.strip().splitlines()[-1:] if failed else []}


def applies(versions, version):
    if versions == "all":
        return True
    if versions.endswith("+"):
        return version >= int(versions[:-1])
    low, _, high = versions.partition("-")
    return int(low) <= version <= int(high or low)


def compare(row, seen, loose):
    differ = []
    for name, want in zip(("rewrite", "scan", "index_build", "fails"), row[3:7]):
        have = "yes" if seen[name] else "no"
        if seen["fails"] and name != "fails":  # it stopped before it was done
            continue
        if want != "unknown" and want != have:
            differ.append("%s: file %s, server %s" % (name, want, have))
    gone = row[8].startswith(("DROP TABLE", "DROP INDEX"))  # its lock has no relation to show any more
    if not loose and not gone and not seen["fails"] and row[2] != seen["lock"]:
        differ.append("lock: file %s, server %s" % (row[2], seen["lock"]))
    return differ + (seen["said"] if differ else [])


def main():
    conninfo = sys.argv[1]
    version = int(psql(conninfo, "SHOW server_version_num").stdout) // 10000
    reset(conninfo)
    bad = count = 0
    with open(os.path.join(HERE, "effects.tsv"), encoding="ascii") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]
    for row in rows:
        if not applies(row[0], version):
            continue
        count += 1
        statement = row[8]
        differ = compare(row, observe(run(conninfo, statement), row[1], statement), NO_TRANSACTION.search(statement))
        if differ:
            bad += 1
            print("%s\n    %s" % (statement, "\n    ".join(differ)))
    print("PostgreSQL %d: %d statements, %d differ" % (version, count, bad))
    sys.exit(bad > 0)


main()

#!/usr/bin/python3
"""
tests/bench/linters.py [--server N] [--verbose]

pgsluice check beside squawk and pgfence, each with the same statements (tests/truth), against what a real server does
with them. Prints a markdown table of misses and false alarms.

  heavy        the server rewrites the table, reads all of it to verify something, builds an index, or fails on the rows
               that are there (SQLSTATE class 23)
  miss         a heavy statement of which the tool says nothing that speaks of such work or failure
  false alarm  the server does the statement and none of that, but the tool speaks of it

What a tool says counts when it is at least a warning (pgfence: risk MEDIUM or above) and by a rule that HEAVY names: one
that speaks of rewrites, scans, index builds or failures, or says that the statement can't be read. Rules of style, of
timeouts, and of statements that only take a strong lock for a moment or break an application (DROP, RENAME, TRUNCATE) are
left out on all sides. Statements that fail for other reasons (a name that isn't there) are counted apart: no text tells
them. Left out: statements that can't run in a transaction, those on tables without rows (their rewrite is nobody's
problem, but only a server knows), and VALIDATE CONSTRAINT, which reads under a lock that stops nobody.

"In its effects": what pgsluice's JSON report says of the work in the statements that it missed. "Yes" and "unknown" stand in the report
but don't fail a job; "no" would be a wrong judgement.

Needs npm, the tools of tests/e2e, and the release build (PGSLUICE names another); PGSLUICE_SERVER_BINS names the servers.
"""
import argparse
import collections
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("PGSLUICE", str(ROOT / "build" / "release" / "pgsluice"))
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
sys.path.insert(0, str(ROOT / "tests" / "truth"))
import harness  # noqa: E402
import psycopg2  # noqa: E402
import truth  # noqa: E402

PACKAGES = ["squawk-cli@2.66.0", "@flvmnt/pgfence@0.1.5"]

HEAVY = {
    "pgsluice": {
        "volatile-default", "serial-column", "identity-column", "stored-generated-column", "constrained-domain",
        "inline-unique", "inline-primary-key", "inline-check", "inline-foreign-key", "not-null-without-default",
        "existing-column", "row-type-in-use", "rewrite-with-siblings", "dynamic-ddl", "unparseable", "alter-type",
        "set-not-null", "add-check", "add-foreign-key", "add-unique", "create-index", "table-rewrite", "reindex",
        "attach-partition"},
    "squawk": {
        "adding-field-with-default", "adding-foreign-key-constraint", "adding-not-nullable-field",
        "adding-primary-key-constraint", "adding-required-field", "adding-serial-primary-key-field",
        "ban-alter-domain-with-add-constraint", "ban-create-domain-with-constraint", "changing-column-type",
        "constraint-missing-not-valid", "disallowed-unique-constraint", "require-concurrent-index-creation",
        "require-concurrent-reindex", "syntax-error"},
    "pgfence": {
        "add-column-default-pre-pg11", "add-column-non-constant-default", "add-column-not-null-no-default",
        "add-column-serial", "add-column-stored-generated", "add-constraint-check-no-not-valid",
        "add-constraint-exclude", "add-constraint-fk-no-not-valid", "add-constraint-unique",
        "add-pk-without-using-index", "alter-column-set-not-null", "alter-column-type", "create-index-not-concurrent",
        "vacuum-full", "syntax-error"},
}
WORK = ("rewrite", "scan", "index_build")


def run(command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)


# ---- the tools: {file name: set of rules that spoke} -----------------------------------------------------------------

def pgsluice(files, version, config, *more):
    done = run([harness.PGSLUICE, "check", "-c", config, "--format", "json", "--server-version", version, *more, *files])
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    said = collections.defaultdict(set)
    for line in done.stdout.splitlines():
        statement = json.loads(line)
        said[statement["file"]] |= {"(%s: %s)" % (effect, answer) for effect, answer in statement["effects"].items()
                                    if effect != "lock" and answer != "no"}
        for finding in statement["findings"]:
            if finding["action"] != "allow":
                said[statement["file"]].add(finding["rule"])
    return said, done.stderr.strip().splitlines()[-1]


def squawk(files, version, folder):
    done = run([folder / "node_modules" / ".bin" / "squawk", "--reporter", "json", "--pg-version", "%d.0" % version, *files])
    said = collections.defaultdict(set)
    for finding in json.loads(done.stdout):
        said[finding["file"]].add(finding["rule_name"])
    return said


def pgfence(files, version, folder):
    """One statement that it can't read ends the whole run: then the files are tried in halves."""
    done = run([folder / "node_modules" / ".bin" / "pgfence", "analyze", "--format", "sql", "--output", "json",
                "--min-pg-version", version, *files])
    said = collections.defaultdict(set)
    if done.returncode == 0:
        for result in json.loads(done.stdout)["results"]:
            said[result["filePath"]] |= {check["ruleId"] for check in result["checks"]
                                         if check["risk"] in ("MEDIUM", "HIGH", "CRITICAL")}
        return said
    if len(files) == 1:
        if "syntax error" not in done.stderr:
            raise SystemExit("pgfence: %s" % done.stderr)
        return {str(files[0]): {"syntax-error"}}
    for half in (files[:len(files) // 2], files[len(files) // 2:]):
        said.update(pgfence(half, version, folder))
    return said


# ---- the truth -------------------------------------------------------------------------------------------------------

def harvest(server):
    """[(statement, what it does)]"""
    where = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "dbname": "truth"}
    connection = psycopg2.connect(**where)
    truth.set_up(connection)
    connection.close()
    asked, rows = truth.Truth(**where), []
    for table, sql in truth.cases(server.version, tables=["plain"]):
        facts = asked.of(table, sql)
        if "temporary" in sql or "VALIDATE CONSTRAINT" in sql or (facts["error"] and facts["error"][0] == "25001"):
            continue
        if table and not filled(server, table):
            continue
        rows.append((sql, facts))
    return rows


@functools.cache
def filled(server, table):
    """Does the table hold rows? What isn't there is no reason to leave a statement out."""
    try:
        return server.sql("SELECT 1 FROM %s LIMIT 1" % table, "truth") == "1"
    except RuntimeError:
        return True


def kinds(facts):
    """What makes a statement heavy, as the names of the table's columns."""
    if facts["error"]:
        return ["fails on rows" if facts["error"][0].startswith("23") else "fails otherwise"]
    return [kind for kind in WORK if facts[kind] == "yes"]


def admitted(found, effects):
    """What pgsluice's effects say of the work that no finding spoke of."""
    answers = [answer for kind in found for answer in ("yes", "unknown")
               if "(%s: %s)" % (kind.split()[0], answer) in effects]
    return "yes" if "yes" in answers else "unknown" if answers else "no"


def compare(name, said, files, rows, verbose):
    misses, in_effects, alarms, unread = collections.Counter(), collections.Counter(), 0, 0
    heavy_rules = HEAVY[name.split(",")[0]]
    for file, (sql, facts) in zip(files, rows):
        rules = said.get(str(file), set()) & heavy_rules
        effects = " ".join(sorted(word for word in said.get(str(file), set()) if word.startswith("(")))
        unread += bool(rules & {"syntax-error", "unparseable"})
        found = kinds(facts)
        if found and not rules:
            misses[found[0]] += 1
            if found != ["fails otherwise"]:
                in_effects[admitted(found, effects)] += 1
        if not found and rules:
            alarms += 1
        if not verbose:
            continue
        if bool(found) != bool(rules) and found != ["fails otherwise"]:
            print("%-24s %-11s %-30s %s %s" % (name, "miss" if found else "false alarm", ",".join(found or rules), sql, effects))
    return misses, in_effects, alarms, unread


def table(results, rows):
    columns = ["rewrite", "scan", "index_build", "fails on rows", "fails otherwise"]
    totals = collections.Counter(kinds(facts)[0] for _, facts in rows if kinds(facts))
    light = sum(not kinds(facts) for _, facts in rows)
    head = ["missed: " + column.replace("_", " ") for column in columns[:4]] + [
        "**missed in all**", "in its effects", "**false alarms**", "not readable", "fails otherwise, not said"]
    print("| | " + " | ".join(head) + " |")
    print("|---" * (len(head) + 1) + "|")
    counts = [totals[column] for column in columns[:4]]
    of = ["*%d*" % n for n in counts + [sum(counts)]] + ["–"] + [
        "*%d*" % n for n in (light, len(rows), totals["fails otherwise"])]
    print("| *of* | " + " | ".join(of) + " |")
    for name, (misses, in_effects, alarms, unread) in results.items():
        cells = [misses[column] for column in columns[:4]]
        effects = "–"
        if name.startswith("pgsluice"):
            effects = "%(yes)d yes, %(unknown)d unknown, %(no)d no" % {**dict.fromkeys(("yes", "unknown", "no"), 0), **in_effects}
        print("| %s | %s | **%d** | %s | **%d** | %d | %d |" % (name, " | ".join(map(str, cells)), sum(cells),
                                                                effects, alarms, unread,
                                                           misses["fails otherwise"]))


# ---- the whole -------------------------------------------------------------------------------------------------------

CONFIG = """listen: [{address: 127.0.0.1, port: 6432}]
upstream: {host: 127.0.0.1, port: 5432}
policy: {small_table: {rows: 0, size: 0}}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=int, default=harness.default_version())
    parser.add_argument("--verbose", action="store_true", help="name every miss and false alarm")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-linters-"))
    folder.chmod(0o755)
    server = None
    try:
        done = run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", *PACKAGES])
        if done.returncode:
            raise SystemExit(done.stderr)
        server = harness.Server(folder / "server", options.server, settings={"autovacuum": "off"})
        server.sql("CREATE DATABASE truth")
        rows = harvest(server)
        files = []
        for number, (sql, _) in enumerate(rows):
            files.append(folder / ("%04d.sql" % number))
            files[-1].write_text(sql + ";\n")
        config = folder / "pgsluice.yaml"
        config.write_text(CONFIG)
        server.sql("ANALYZE", "truth")
        conninfo = "host=127.0.0.1 port=%d user=postgres dbname=truth" % server.port
        online, coverage = connected(files, options.server, config, conninfo)
        offline, offline_coverage = pgsluice(files, options.server, config)
        said = {"pgsluice, --connect": online, "pgsluice, offline": offline,
                "squawk": squawk(files, options.server, folder), "pgfence": pgfence(files, options.server, folder)}
        print("PostgreSQL %d, %d statements; %s\n" % (options.server, len(rows), ", ".join(PACKAGES)))
        results = {name: compare(name, rules, files, rows, options.verbose) for name, rules in said.items()}
        table(results, rows)
        print("\n- --connect: %s\n- offline: %s" % (coverage, offline_coverage))
        for name in ("squawk", "pgfence"):
            left_out = set().union(*said[name].values()) - HEAVY[name]
            print("- %s, left out: %s" % (name, ", ".join(sorted(left_out))))
    finally:
        if server:
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def connected(files, version, config, conninfo):
    """A file at a time: each statement is one of its own, and none runs behind another."""
    said, judged = {}, collections.Counter()
    for file in files:
        rules, coverage = pgsluice([file], version, config, "--connect", conninfo)
        said.update(rules)
        judged["not known" if "isn't known" in coverage else "known"] += 1
    return said, "an effect isn't known for %d of %d" % (judged["not known"], len(files))


if __name__ == "__main__":
    main()

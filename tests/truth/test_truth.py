"""
What the policy says of each statement against what servers 13 to 18 do with it: with the catalog's answer of that very
server in that very state, and offline.

How the two are compared:
- Where the server does it: the lock is the same, each effect the same or "unknown", `fails` not "yes". An effect that
  the server has and the policy denies is a miss; one that only the policy has is a false alarm.
- Where the server fails: `fails` is not "no". If the policy knew ("yes") there is nothing else to compare, since nothing
  is done. Else what the server did before it failed (a scan that met a NULL) may not be denied.
- Offline the policy takes the statement at its word: the names are there and mean what they seem to, IF NOT EXISTS has
  something to do, a changed type is another one. So there `fails` is only held against it where the rows decide (SQLSTATE
  class 23), and a false alarm only where the table isn't one that makes that word untrue.
- "unknown" is counted, printed, and bounded.

PGSLUICE_SERVER_BINS names the servers (Debian's without it), PGSLUICE_TRUTH_DRIVER the program truth_driver.
"""
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import psycopg2
import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "e2e"))
import truth  # noqa: E402
from harness import ROOT, Server, server_bins  # noqa: E402

DRIVER = os.environ.get("PGSLUICE_TRUTH_DRIVER", str(ROOT / "build" / "asan" / "tests" / "truth" / "truth_driver"))
EFFECTS = ("rewrite", "scan", "index_build")

# Shares of all statements for which the answer may be "unknown". Of `fails` it is where the rows decide, or what the
# policy doesn't ask for (a child's columns, the labels of an enum): see policy/effects.h.
BOUND_ONLINE = {"rewrite": 0.01, "scan": 0.02, "index_build": 0.02, "fails": 0.40}
BOUND_OFFLINE = {"rewrite": 0.30, "scan": 0.06, "index_build": 0.06, "fails": 0.40}


class Driver:
    def __init__(self):
        self.process = subprocess.Popen([DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the driver ended at %r" % request
        answer = json.loads(line)
        assert "error" not in answer, (request.get("sql"), answer)
        return answer

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


@pytest.fixture(scope="module")
def driver():
    made = Driver()
    yield made
    made.close()


@pytest.fixture(scope="module", params=sorted(server_bins()))
def harvest(request):
    """A server with the tables of setup.sql, and what it does with each statement."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-truth-"))
    folder.chmod(0o755)
    server = Server(folder / "server", request.param, settings={"autovacuum": "off"})
    server.sql("CREATE DATABASE truth")
    where = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "dbname": "truth"}
    connection = psycopg2.connect(**where)
    truth.set_up(connection)
    connection.close()
    asked = truth.Truth(**where)
    rows = [(table, sql, asked.of(table, sql)) for table, sql in truth.cases(request.param)]
    yield request.param, asked, rows
    asked.connection.close()
    server.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


def differences(table, does, says):
    """Where the policy is wrong."""
    wrong = []
    if does["fails"] == "yes":
        if says["fails"] == "no":
            wrong.append("missed: fails with %s %s" % does["error"])
        if says["fails"] != "yes":
            wrong += ["missed: " + name for name in EFFECTS if does[name] == "yes" and says[name] == "no"]
        return wrong
    if says["fails"] == "yes":
        return ["false alarm: fails, %s" % says["fails_with"]]
    for name in EFFECTS:
        if says[name] not in ("unknown", does[name]):
            wrong.append("%s: %s" % ("missed" if does[name] == "yes" else "false alarm", name))
    if table and says["lock"] != does["lock"]:
        wrong.append("lock %s, not %s" % (does["lock"], says["lock"]))
    return wrong


def left_open(does, says):
    """What the policy doesn't know: effects of what the server does, and whether it does it."""
    names = EFFECTS if does["fails"] == "no" else ()
    return [name for name in (*names, "fails") if says[name] == "unknown"]


def report(kind, version, count, unknown, wrong, bound):
    shares = ", ".join("%s %d" % (name, unknown[name]) for name in (*EFFECTS, "fails"))
    print("\nPostgreSQL %d, %s: %d statements, unknown: %s; %d wrong" % (version, kind, count, shares, len(wrong)))
    assert not wrong, "\n" + "\n".join(wrong)
    for name, share in bound.items():
        assert unknown[name] <= share * count, "%s is unknown for %d of %d" % (name, unknown[name], count)


def test_with_the_catalog(harvest, driver):
    version, asked, rows = harvest
    cursor = asked.cursor
    cursor.execute("PREPARE question (text) AS " + driver.ask(do="sql")["sql"])
    wrong, unknown = [], collections.Counter()
    for table, sql, does in rows:
        question = driver.ask(do="questions", sql=sql)["questions"]
        answer = None
        if question is not None:
            cursor.execute("EXECUTE question (%s)", (question,))
            answer = cursor.fetchone()[0]
        says = driver.ask(do="judge", sql=sql, version=version * 10000, answer=answer)["effects"]
        unknown.update(left_open(does, says))
        wrong += ["%s\n    %s" % (sql, one) for one in differences(table, does, says)]
    report("with the catalog", version, len(rows), unknown, wrong, BOUND_ONLINE)


# Where a statement's word isn't kept: the table or the column is not what it takes it for.
WORD_NOT_KEPT = ("IF NOT EXISTS", "IF EXISTS", "TYPE int", "SET LOGGED", "unlogged SET UNLOGGED", "barren")


def test_offline(harvest, driver):
    version, _, rows = harvest
    wrong, unknown = [], collections.Counter()
    for table, sql, does in rows:
        says = driver.ask(do="judge", sql=sql, version=version * 10000, answer=None)["effects"]
        unknown.update(left_open(does, says))
        found = differences(table, does, says)
        if does["fails"] == "yes" and not does["error"][0].startswith("23"):
            found = [one for one in found if not one.startswith("missed: fails")]
        if any(word in sql for word in WORD_NOT_KEPT):
            found = [one for one in found if not one.startswith("false alarm")]
        wrong += ["%s\n    %s" % (sql, one) for one in found]
    report("offline", version, len(rows), unknown, wrong, BOUND_OFFLINE)

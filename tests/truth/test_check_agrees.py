"""
The proxy and `pgsluice check --connect` say the same of the same statement, with the same policy file and on the same
server: verdict, rules, what each rule says, lock, table and kind; and what the client is told by error, notice and
constraint name is what the file's author is told.

Statements: all of statements.txt, columns.txt on a plain, a partitioned and a quoted table, and expressions.txt as
defaults. Each runs in a transaction of its own that is rolled back, in the proxy and, as BEGIN and ROLLBACK around it, in
the file. Under `standard`, with no table small, each server gets a sixth of them (some 240), and one of the next version the
next sixth, so that 13 to 18 see them all; under `strict`, where nothing is excused for being unsure, a twelfth, with the
usual limit for small tables. The temporary table of truth.py is left out: it lives in one session only.

comment-required is left out: to `check` the file is all there will be, to the proxy a comment may yet come, so that it
warns at most. Another difference is allowed: what neither our parser nor the server can read. `check` has to say so (unparseable);
the proxy leaves it to the server, whose syntax error the client gets. The record says reject all the same.

PGSLUICE_SERVER_BINS names the servers (Debian's without it), PGSLUICE the program.
"""
import json
import pathlib
import random
import shutil
import sys
import tempfile

import psycopg2
import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "e2e"))
import truth  # noqa: E402
from harness import PGSLUICE, SANITIZERS, Proxy, Server, basic_config, free_port, run, server_bins  # noqa: E402
from wire import Connection, error_of, fields  # noqa: E402

TABLES = ["plain", "parent", '"Quoted Table"']
POLICIES = {
    "standard": ("policy: {profile: standard, small_table: {rows: 0, size: 0}}\n", 6),
    "strict": ("policy: {profile: strict, rules: {dynamic-ddl: reject, existing-column: warn, comment-required: allow}}\n",
               12),
}


@pytest.fixture(scope="module", params=sorted(server_bins()))
def server(request):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-agrees-"))
    folder.chmod(0o755)
    made = Server(folder / "server", request.param, settings={"autovacuum": "off"})
    made.sql("CREATE DATABASE truth")
    connection = psycopg2.connect(host="127.0.0.1", port=made.port, user="postgres", dbname="truth")
    truth.set_up(connection)
    with connection.cursor() as cursor:
        cursor.execute((HERE / "expressions.sql").read_text())
    connection.commit()
    connection.close()
    yield made
    made.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


def statements(version):
    found = [sql for _, sql in truth.cases(version, TABLES)]
    for line in truth.lines("expressions.txt", version):
        kind, expression = line.split(" | ", 1)
        found.append("ALTER TABLE plain ADD COLUMN x %s DEFAULT (%s)" % (kind, expression))
    random.Random(15).shuffle(found)  # always the same; else a sample would be of one table only
    return found


def by_check(server, folder, config, chosen):
    """What `check` says: a list of statements' answers for each, almost always of one."""
    path = folder / "all.sql"
    path.write_text("".join("BEGIN;\n%s;\nROLLBACK;\n" % sql for sql in chosen))
    done = run([PGSLUICE, "check", "-c", config, "--format", "json", "--connect",
                "host=127.0.0.1 port=%d user=postgres dbname=truth" % server.port, path], SANITIZERS)
    assert done.returncode == 1, done.stderr
    answers = [[] for _ in chosen]
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        # the proxy lets the server say that it fails
        answer["findings"] = [finding for finding in answer["findings"] if finding["rule"] != "fails"]
        nth, of = divmod(answer["line"] - 1, 3)
        if of == 1 and (answer["findings"] or answer["effects"]["lock"] != "none" or answer["action"] != "allow"):
            answers[nth].append(answer)
    return answers


class Audit:
    """The records that a statement adds to the log."""

    def __init__(self, path):
        self.path, self.at, self.torn = path, 0, ""

    def decided(self):
        with open(self.path) as file:
            file.seek(self.at)
            text = self.torn + file.read()
            self.at = file.tell()
        lines = text.split("\n")
        self.torn = lines.pop()
        return [record for record in map(json.loads, lines) if record["record"] == "decided"]


def by_proxy(proxy, chosen):
    """(what was sent back, the decisions on record) for each."""
    audit = Audit(proxy.audit_path)
    with Connection(proxy.port, database="truth") as connection:
        for sql in chosen:
            connection.query("BEGIN")
            got = connection.query(sql)
            decided = audit.decided()
            connection.query("ROLLBACK")
            yield got, decided


def said_by_check(answer):
    """In the words of a record."""
    rules = {}
    for finding in answer["findings"]:
        rules.setdefault(finding["rule"], finding["action"])
    return {"verdict": answer["action"], "rules": rules, "lock": answer["effects"]["lock"], "kind": answer["kind"]}


def said_by_proxy(record):
    """A statement that can't be read has no kind on record; `check` gives its first word."""
    return {"verdict": record["verdict"], "rules": dict(zip(record["rules"], record["actions"])),
            "lock": record["lock"], "kind": record.get("kind", record["sql"].split()[0].upper())}


def told(got, answers):
    """What is wrong with what the client was told, by what `check` has told."""
    first = next((a["findings"][0] for a in answers if a["action"] == "reject"), None)
    error = error_of(got) or {"C": "", "M": ""}
    if first is None:
        ours = [fields(body) for kind, body in got if kind == "N" and b"Mpgsluice (" in body]
        rules = [finding["rule"] for a in answers for finding in a["findings"] if finding["action"] == "warn"]
        if error["C"].startswith("SL"):
            return ["refused: %(C)s %(M)s" % error]
        if sorted({n["n"] for n in ours}) != sorted(set(rules)):
            return ["notices %s" % [n["n"] for n in ours]]
        return []
    wrong = []
    if first["rule"] == "unparseable" and error["C"] == "42601" and error["M"] in first["message"]:
        return []
    if error["C"] != ("SL004" if first["rule"] == "unparseable" else "SL001") or error.get("n") != first["rule"]:
        wrong.append("told %s, constraint %s" % (error["C"], error.get("n")))
    alike = [f for a in answers for f in a["findings"] if (f["rule"], f["action"]) == (first["rule"], first["action"])]
    if len(alike) > 1:
        return wrong  # the client gets one sentence for all of them
    if first["message"] not in error["M"]:
        wrong.append("told: %s\n      check: %s" % (error["M"], first["message"]))
    if (first["hint"] or "") != error.get("H", "") and len(first["hint"]) < 4000 and first["rule"] != "unparseable":
        wrong.append("hint: %s\n      check: %s" % (error.get("H"), first["hint"]))
    return wrong


def differences(answers, got, decided):
    check = [said_by_check(answer) for answer in answers]
    proxy = [said_by_proxy(record) for record in decided if record["rules"] or record.get("lock", "none") != "none" or
             record["verdict"] != "allow"]
    wrong = [] if check == proxy else ["proxy %s\n      check %s" % (proxy, check)]
    return wrong + told(got, answers)


@pytest.mark.parametrize("profile", POLICIES)
def test_the_same_verdict(server, profile):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-agrees-"))
    policy, every = POLICIES[profile]
    port = free_port()
    config = basic_config(server, port, policy + "audit: {path: %s, sync: false}\n" % (folder / "audit.log"))
    proxy = Proxy(folder / "proxy", config)
    proxy.port, proxy.audit_path = port, folder / "audit.log"
    chosen = statements(server.version)[server.version % every::every]
    try:
        answers = by_check(server, folder, proxy.config_path, chosen)
        wrong, refused, warned = [], 0, 0
        for sql, said, (got, decided) in zip(chosen, answers, by_proxy(proxy, chosen)):
            refused += any(a["action"] == "reject" for a in said)
            warned += any(a["action"] == "warn" for a in said)
            wrong += ["%s\n    %s" % (sql, one) for one in differences(said, got, decided)]
    finally:
        assert proxy.stop() == 0, proxy.log()
        shutil.rmtree(folder, ignore_errors=True)
    print("\nPostgreSQL %d, %s: %d statements, %d refused, %d warned of, %d differences" % (
        server.version, profile, len(chosen), refused, warned, len(wrong)))
    assert not wrong, "\n" + "\n".join(wrong)
    assert len(chosen) >= 100 and refused + warned >= 70

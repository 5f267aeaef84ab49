"""
The audit log: a decision is on disk before the statement reaches the server, the outcome follows, the chain holds.
"""
import hashlib
import json
import os
import time

import pytest

from harness import PGSLUICE, run, wait_until
from wire import SYNC, Connection, bind, error_of, execute, parse, query

NOTHING_IS_SMALL = "small_table: {rows: 0, size: 0}"
RISKY = "ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()"


def records(proxy):
    if not proxy.audit_path.exists():
        return []
    return [json.loads(line) for line in proxy.audit_path.read_text().splitlines()]


def settled(proxy, n):
    wait_until(lambda: len(records(proxy)) >= n, 10)
    time.sleep(0.2)
    return records(proxy)


@pytest.fixture
def setting(server, proxy_factory, database):
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    proxy = proxy_factory(server, "environment: test\npolicy: {%s}\n" % NOTHING_IS_SMALL)
    return proxy, Connection(proxy.port, database=database, application_name="the tests")


def outcome(proxy, n):
    """(sql, verdict, sqlstate, end of the transaction) of every statement."""
    found = []
    all_records = settled(proxy, n)
    for decided in all_records:
        if decided["record"] == "decided":
            finished = [r for r in all_records if r["record"] == "finished" and r["of"] == decided["seq"]]
            ended = [r for r in all_records if r["record"] == "transaction" and r["of"] == decided["seq"]]
            assert len(finished) == 1 and len(ended) <= 1, all_records
            found.append((decided["sql"], decided["verdict"], finished[0].get("sqlstate") or "",
                          ended[0]["txn"] if ended else finished[0].get("txn")))
    return found


def test_fields(setting, database):
    proxy, connection = setting
    connection.query("ALTER TABLE t ADD COLUMN b text")
    connection.query(RISKY)
    decided = [r for r in settled(proxy, 4) if r["record"] == "decided"]
    for record in decided:
        for name in ("ts", "seq", "prev", "session", "client", "user", "database", "application", "environment", "kind",
                     "object", "sql", "fingerprint", "verdict", "rules"):
            assert name in record, name
    assert decided[0]["user"] == "postgres" and decided[0]["database"] == database
    assert decided[0]["application"] == "the tests" and decided[0]["environment"] == "test"
    assert decided[0]["kind"] == "ALTER TABLE" and decided[0]["object"] == "t" and decided[0]["verdict"] == "allow"
    assert decided[1]["verdict"] == "reject" and decided[1]["rules"] == ["volatile-default"]
    finished = [r for r in records(proxy) if r["record"] == "finished"]
    assert finished[0]["tag"] == "ALTER TABLE" and finished[0]["duration_ms"] > 0
    assert finished[1]["sqlstate"] == "SL001"


def test_ends_of_transactions(setting):
    proxy, connection = setting
    for sql in ("CREATE TABLE a1 (x int)",                                   # implicit
                "BEGIN", "CREATE TABLE a2 (x int)", "COMMIT",
                "BEGIN", "CREATE TABLE a3 (x int)", "ROLLBACK",
                "BEGIN", "CREATE TABLE a4 (x int)", "SELECT 1/0", "COMMIT",    # COMMIT of a failed one rolls back
                "CREATE TABLE a5 (x int); CREATE TABLE a5 (x int)",           # one implicit transaction, second fails
                "BEGIN; SAVEPOINT s; CREATE TABLE a6 (x int); ROLLBACK TO s; CREATE TABLE a7 (x int); COMMIT"):
        connection.query(sql)
    connection.talk(parse("CREATE TABLE a8 (x int)"), bind(), execute(), SYNC)
    found = {sql.split()[2] + ("'" if i and outcome_ == "42P07" else ""): (outcome_, end)
             for i, (sql, _, outcome_, end) in enumerate(outcome(proxy, 24))}
    assert found["a1"] == ("", "committed")
    assert found["a2"] == ("", "committed")
    assert found["a3"] == ("", "rolled_back")
    assert found["a4"] == ("", "rolled_back")
    assert found["a5"] == ("", "rolled_back") and found["a5'"] == ("42P07", "rolled_back")
    assert found["a6"] == ("", "rolled_back")
    assert found["a7"] == ("", "committed")
    assert found["a8"] == ("", "committed")


def test_a_prepared_statement_is_recorded_at_each_execution(setting):
    proxy, connection = setting
    connection.talk(parse("CREATE TABLE IF NOT EXISTS again (x int)", "s"), SYNC)
    for _ in range(3):
        connection.talk(bind("", "s"), execute(), SYNC)
    assert [o[2:] for o in outcome(proxy, 9)] == [("", "committed")] * 3


def test_chain(setting):
    proxy, connection = setting
    for n in range(20):
        connection.query("CREATE TABLE c%d (x int)" % n)
    settled(proxy, 60)
    lines = proxy.audit_path.read_bytes().splitlines(keepends=True)
    before = None
    for n, line in enumerate(lines):
        record = json.loads(line)
        if before is not None:
            assert record["prev"] == hashlib.sha256(before).hexdigest() or \
                record["prev"] == hashlib.sha256(before.rstrip(b"\n")).hexdigest(), n
        before = line
    done = run([PGSLUICE, "audit", "verify", proxy.audit_path])
    assert done.returncode == 0, done.stderr
    forged = proxy.audit_path.with_suffix(".forged")
    forged.write_bytes(b"".join(lines).replace(b"CREATE TABLE c7 ", b"CREATE TABLE x7 "))
    done = run([PGSLUICE, "audit", "verify", forged])
    assert done.returncode == 1
    forged.write_bytes(b"".join(lines[:5] + lines[6:]))
    assert run([PGSLUICE, "audit", "verify", forged]).returncode == 1
    assert "CREATE TABLE c7" in run([PGSLUICE, "audit", "show", proxy.audit_path]).stdout


def test_ddl_is_refused_while_the_log_cannot_be_written(server, proxy_factory, database, folder):
    """The audit's folder vanishes under a read-only mount; as root, a full device stands in: /dev/full."""
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    config = ("listen: [{address: 127.0.0.1, port: @PORT@}]\nupstream: {host: 127.0.0.1, port: %d}\naudit: {path: %s}\n"
              % (server.port, folder / "audit.log"))
    proxy = proxy_factory(config=config)
    with Connection(proxy.port, database=database) as connection:
        assert error_of(connection.query("ALTER TABLE t ADD COLUMN one int")) is None
        os.system("prlimit --pid %d --fsize=%d:" % (proxy.process.pid, (folder / "audit.log").stat().st_size + 10))
        error = error_of(connection.query("ALTER TABLE t ADD COLUMN two int"))
        assert error["C"] == "SL900" and "audit" in error["M"]
        assert error_of(connection.query("INSERT INTO t VALUES (1); SELECT * FROM t")) is None  # other work goes on
        os.system("prlimit --pid %d --fsize=unlimited:" % proxy.process.pid)
        wait_until(lambda: error_of(connection.query("ALTER TABLE t ADD COLUMN IF NOT EXISTS three int")) is None, 10)
    done = run([PGSLUICE, "audit", "verify", folder / "audit.log"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "two" not in server.sql("SELECT string_agg(attname, ',') FROM pg_attribute WHERE attrelid = 't'::regclass",
                                   database)


def test_decision_is_on_disk_before_the_statement_runs(setting, server, database):
    proxy, connection = setting
    blocker = Connection(server.port, database=database)
    blocker.query("BEGIN; LOCK TABLE t")
    connection.send(query("ALTER TABLE t ADD COLUMN late int"))
    wait_until(lambda: any(r["record"] == "decided" for r in records(proxy)))
    assert not any(r["record"] == "finished" for r in records(proxy))
    blocker.query("ROLLBACK")
    connection.until("Z")
    assert outcome(proxy, 3)[0][2:] == ("", "committed")


def test_kill_leaves_a_chain_that_goes_on(server, proxy_factory, database):
    import signal
    proxy = proxy_factory(server)
    with Connection(proxy.port, database=database) as connection:
        for n in range(10):
            connection.query("CREATE TABLE k%d (x int)" % n)
        connection.send(query("CREATE TABLE k10 (x int)"))
        proxy.process.send_signal(signal.SIGKILL)
        proxy.process.wait()
    second = proxy_factory(config=proxy.config_path.read_text())
    with Connection(proxy.port, database=database) as connection:
        connection.query("CREATE TABLE k11 (x int)")
    time.sleep(0.5)
    assert run([PGSLUICE, "audit", "verify", proxy.audit_path]).returncode == 0
    second.stop()


def test_observe_records_what_it_would_have_done(server, proxy_factory, database):
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    proxy = proxy_factory(server, "policy: {profile: observe, %s}\n" % NOTHING_IS_SMALL)
    with Connection(proxy.port, database=database) as connection:
        got = connection.query(RISKY)
        assert [k for k, _ in got] == ["C", "Z"]  # no notice either
    decided = settled(proxy, 3)[0]
    assert decided["would"] == "reject" and decided["rules"] == ["volatile-default"] and decided["verdict"] == "allow"


def test_waivers(server, proxy_factory, database):
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    proxy = proxy_factory(server, "policy: {%s, waivers: {roles: [postgres], require_reason: true}}\n" % NOTHING_IS_SMALL)
    with Connection(proxy.port, database=database) as connection:
        assert error_of(connection.query("/* pgsluice: allow volatile-default */ " + RISKY))["C"] == "SL001"
        assert error_of(connection.query("SELECT '/* pgsluice: allow volatile-default, x */'; " + RISKY))["C"] == "SL001"
        assert error_of(connection.query("/* pgsluice: allow volatile-default, the table is empty */ " + RISKY)) is None
    with Connection(proxy.port, database=database,
                    options="-c pgsluice.waive=volatile-default:\\ planned\\ downtime") as connection:
        assert error_of(connection.query(RISKY.replace(" u ", " u2 "))) is None
    waived = [r for r in settled(proxy, 8) if r["record"] == "decided" and r["verdict"] != "reject"]
    assert ["the table is empty" in waived[0]["waiver"], "planned downtime" in waived[1]["waiver"]] == [True, True]


def test_execute_in_a_query_is_recorded(setting):
    proxy, connection = setting
    connection.talk(parse("CREATE TABLE exq (a int)", "s9"), SYNC)
    connection.query("EXECUTE S9")
    assert outcome(proxy, 2) == [("CREATE TABLE exq (a int)", "allow", "", "committed")]


def test_summary_says_what_enforcing_would_have_cost(server, proxy_factory, database, folder):
    """A week under observe, in small: two files, transactions of several statements, and what took long."""
    server.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 3000)", database)
    proxy = proxy_factory(server, "policy: {profile: observe, %s, rules: {create-index: reject}}\n" % NOTHING_IS_SMALL)
    blocker = Connection(server.port, database=database)
    with Connection(proxy.port, database=database, application_name="rails") as connection:
        for sql in ("CREATE TABLE quiet (x int)", "BEGIN", "CREATE INDEX ON t (a)", "SAVEPOINT s", "CREATE INDEX ON t (a)",
                    "ROLLBACK TO s", *["CREATE INDEX ON t (a)"] * 4, "COMMIT", "CREATE INDEX ON t (nonesuch)"):
            connection.query(sql)
        settled(proxy, 24)
        os.rename(proxy.audit_path, folder / "audit.log.1")
        proxy.reload()
        blocker.query("BEGIN; SELECT * FROM t LIMIT 1")
        connection.send(query(RISKY))
        time.sleep(1.5)
        blocker.query("COMMIT")
        connection.until("Z")
    settled(proxy, 3)
    command = [PGSLUICE, "audit", "summary"]
    done = run([*command, "--format", "json", proxy.audit_path, folder / "audit.log.1"])
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["statements"]["total"] == summary["statements"]["observed"] == 9
    refused = summary["statements"]["reject"]
    assert [refused[k] for k in ("statements", "transactions", "fingerprints")] == [8, 3, 3]
    assert [refused[k] for k in ("committed", "rolled_back", "failed")] == [6, 2, 1]
    rules = {rule["name"]: rule for rule in summary["rules"]}
    assert [rules["create-index"][k] for k in ("refused", "transactions", "committed")] == [7, 2, 5]
    assert rules["volatile-default"]["longest_ms"] > 1000
    assert [(t["name"], t["refused"]) for t in summary["tables"]] == [("t", 8)]
    assert summary["roles"][0]["name"] == "postgres" and summary["applications"][0]["name"] == "rails"
    assert summary["worst"][0]["lock"] == "AccessExclusiveLock" and summary["worst"][0]["table"] == "t"
    assert summary["settings"] == {"create-index": "warn"}
    text = run([*command, folder / "audit.log.1", proxy.audit_path])
    assert text.returncode == 0, text.stderr
    assert "8 of 9 statements would have been refused: create-index 7, volatile-default 1." in text.stdout
    assert "create-index: warn" in text.stdout and "held AccessExclusiveLock on t" in text.stdout
    # what it advises is a policy
    setting = text.stdout[text.stdout.index("    policy:"):]
    path = folder / "advised.yaml"
    path.write_text("listen: [{address: 127.0.0.1, port: 1}]\nupstream: {host: 127.0.0.1, port: 2}\n" +
                    "".join(line[4:] + "\n" for line in setting.splitlines()))
    assert run([PGSLUICE, "config", "check", path]).returncode == 0


def test_execute_among_other_statements_is_recorded(setting):
    proxy, connection = setting
    connection.talk(parse("CREATE TABLE exm (a int)", "one"), parse("CREATE TABLE exn (a int)", "two"), SYNC)
    connection.query("SELECT 1; EXECUTE one; CREATE TABLE exo (a int); EXECUTE two")
    assert outcome(proxy, 6) == [("CREATE TABLE exo (a int)", "allow", "", "committed"),
                                 ("CREATE TABLE exm (a int)", "allow", "", "committed"),
                                 ("CREATE TABLE exn (a int)", "allow", "", "committed")]


def test_execute_that_was_prepared_itself_is_recorded(setting):
    proxy, connection = setting
    connection.talk(parse("EXECUTE one", "two"), parse("CREATE TABLE exp (a int)", "one"), SYNC)
    connection.talk(bind("", "two"), execute(), SYNC)
    assert outcome(proxy, 2) == [("CREATE TABLE exp (a int)", "allow", "", "committed")]


def test_explain_analyze_execute_is_recorded_where_it_changes_something(setting):
    """EXPLAIN ANALYZE EXECUTE makes the table of a CREATE TABLE AS, and carries out no ALTER TABLE."""
    proxy, connection = setting
    connection.talk(parse("CREATE TABLE exa AS SELECT 1 AS a", "make"), SYNC)
    assert error_of(connection.query("EXPLAIN ANALYZE EXECUTE make")) is None
    assert outcome(proxy, 2) == [("CREATE TABLE exa AS SELECT 1 AS a", "allow", "", "committed")]
    connection.talk(parse("ALTER TABLE exa ADD b int", "change"), SYNC)
    assert error_of(connection.query("EXPLAIN ANALYZE EXECUTE change")) is None
    assert [k for k, _ in connection.query("SELECT b FROM exa")] == ["E", "Z"]
    connection.query("EXPLAIN EXECUTE make")
    connection.query("DROP TABLE exa")
    assert [sql for sql, *_ in outcome(proxy, 4)] == ["CREATE TABLE exa AS SELECT 1 AS a", "DROP TABLE exa"]


def test_savepoint_that_was_prepared_before_is_followed(setting):
    proxy, connection = setting
    connection.talk(parse("SAVEPOINT one", "sp"), parse("ROLLBACK TO one", "rt"), SYNC)
    connection.query("BEGIN")
    connection.query("CREATE TABLE exs (a int)")
    connection.talk(bind("", "sp"), execute(), SYNC)
    connection.query("CREATE TABLE ext (a int)")
    connection.talk(bind("", "rt"), execute(), SYNC)
    connection.query("COMMIT")
    assert outcome(proxy, 4) == [("CREATE TABLE exs (a int)", "allow", "", "committed"),
                                 ("CREATE TABLE ext (a int)", "allow", "", "rolled_back")]


def test_change_at_the_end_of_a_long_text(setting):
    """Texts of some megabytes are read as they arrive; what stands at their end is judged all the same."""
    proxy, connection = setting
    rows = "INSERT INTO t VALUES (1), (2); SELECT 'é;';\n" * 40_000
    got = connection.query(rows + "CREATE TABLE lg1 (a int); " + RISKY)
    assert [kind for kind, _ in got] == ["E", "Z"] and error_of(got)["C"] == "SL001"
    got = connection.query(rows + "SAVEPOINT s; CREATE TABLE lg2 (a int); ROLLBACK TO s; CREATE TABLE lg3 (a int)")
    assert error_of(got)["C"] == "25P01"  # no transaction block
    got = connection.talk(parse("SELECT 1"), parse("/* %s é */ CREATE TABLE lg4 (a int)" % ("x" * 3_000_000)), bind(), execute(),
                          SYNC)
    assert error_of(got) is None
    found = outcome(proxy, 10)
    assert [(sql[-25:], sqlstate, end) for sql, _, sqlstate, end in found] == [
        ("CREATE TABLE lg1 (a int)", "SL001", "rolled_back"), (RISKY[-25:], "SL001", "rolled_back"),
        ("CREATE TABLE lg2 (a int)", "25P01", "rolled_back"), ("CREATE TABLE lg3 (a int)", "25P01", "rolled_back"),
        (found[4][0][-25:], "", "committed")]

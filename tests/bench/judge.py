#!/usr/bin/python3
"""
What judging costs a DDL statement in line: the same statements directly and through the proxy, one client, one at a
time, on this machine's loopback. The proxy parses, asks the catalog over the session (one round trip), judges and
writes the audit (one fdatasync) before the statement goes on.

    PGSLUICE=build/release/pgsluice tests/bench/judge.py [rounds]

Prints the medians, and what a question costs the server: the same query under psql's EXPLAIN ANALYZE isn't needed,
the metrics of the proxy tell the time from asking to the last reply.
"""
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Proxy, Server, basic_config, default_version, free_port  # noqa: E402
from wire import SYNC, Connection, bind, describe, error_of, execute, parse  # noqa: E402

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 200

STATEMENTS = {
    "SELECT 1 (no DDL)": "SELECT 1",
    "ADD COLUMN int": "ALTER TABLE t ADD COLUMN n int",
    "ADD COLUMN uuid DEFAULT gen_random_uuid()": "ALTER TABLE t ADD COLUMN n uuid DEFAULT gen_random_uuid()",
    "six subcommands": "ALTER TABLE t ADD COLUMN n int NOT NULL DEFAULT 1, ADD COLUMN m text DEFAULT lower('X'), "
                       "ADD COLUMN o timestamptz DEFAULT now(), ALTER COLUMN a SET STATISTICS 50, "
                       "ADD CHECK (n > 0) NOT VALID, ADD COLUMN p numeric(10,2) DEFAULT 1.5 + 2",
    "COMMENT": "COMMENT ON TABLE t IS 'x'",
}


def median(connection, sql, extended):
    times = []
    for _ in range(ROUNDS):
        connection.query("BEGIN")
        messages = [parse(sql), bind(), describe(), execute(), SYNC] if extended else None
        begun = time.perf_counter()
        got = connection.talk(*messages) if extended else connection.query(sql)
        times.append(time.perf_counter() - begun)
        assert error_of(got) is None, error_of(got)
        connection.query("ROLLBACK")
    return statistics.median(times) * 1000


def metrics(port):
    text = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=10).read().decode()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line[:1] not in "#" and line}


def measure(server, folder):
    table = "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x'); ANALYZE t"
    server.sql(table)
    port, admin = free_port(), free_port()
    config = basic_config(server, port, "admin: {address: 127.0.0.1, port: %d}\n" % admin, folder)
    proxy = Proxy(folder / "proxy", config)
    try:
        with Connection(server.port) as direct, Connection(port) as proxied:
            print("| statement, ms | direct | proxied | more | extended, direct | proxied | more |\n|---|---|---|---|---|---|---|")
            for name, sql in STATEMENTS.items():
                row = [median(c, sql, e) for e in (False, True) for c in (direct, proxied)]
                print("| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |" % (
                    name, row[0], row[1], row[1] - row[0], row[2], row[3], row[3] - row[2]))
        seen = metrics(admin)
        questions = seen["pgsluice_questions_total"]
        print("\nIn the proxy: reading and judging %.3f ms a statement; a question to the catalog %.2f ms (%d of them)" % (
            1000 * seen["pgsluice_judge_seconds_sum"] / seen["pgsluice_judge_seconds_count"],
            1000 * seen["pgsluice_question_seconds_total"] / questions, questions))
    finally:
        proxy.stop()


def main():
    with tempfile.TemporaryDirectory(prefix="pgsluice-bench-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        server = Server(folder / "server", default_version())
        try:
            measure(server, folder)
        finally:
            server.stop("immediate")


main()

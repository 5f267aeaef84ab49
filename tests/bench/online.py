#!/usr/bin/python3
"""
tests/bench/online.py [--rows N] [--rate TPS] [--before S] [--only VARIANT,…] [--most S] [--program FILE] [--server N]

What an application notices of ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE, and
how long it takes: through pgsluice, directly, and by the recipes of strong_migrations and pgfence.

Four writers and two readers (pgbench, prepared statements) work on the table all the time, through pgsluice; autovacuum
is provoked on it. Each variant has a fresh copy of the table. Latencies are those of pgbench's log, a transaction each,
from its start to its end, without the time that it stood in pgbench's own schedule.
  stall   longest transaction from the statement's start to its end, and how much longer than the longest before
  p99     of all transactions before the statement, while the column was filled, and during all of it
  change  seconds from the statement to its answer;  of UPDATE: divided by what one UPDATE orders SET note = note took
          under the same load
  sweeps  rows filled by the first pass over the table, and by all behind it
Needs: build/release, PostgreSQL, pgbench. Run as root or as an ordinary user. tests/bench/online.md has figures.
"""
import argparse
import bisect
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
os.environ.setdefault("PGSLUICE", str(ROOT / "build" / "release" / "pgsluice"))
import psycopg2  # noqa: E402

import harness  # noqa: E402
from online_proxy import APP, WORKER, hand_over  # noqa: E402

STATEMENT = "ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"
PLAIN = "UPDATE orders SET note = note"
TABLE = """CREATE TABLE orders (id bigserial PRIMARY KEY, customer int NOT NULL, total int NOT NULL, note text NOT NULL,
  placed timestamptz NOT NULL DEFAULT now())
  WITH (autovacuum_vacuum_scale_factor = %(scale)s, autovacuum_analyze_scale_factor = %(scale)s);
INSERT INTO orders (customer, total, note) SELECT n %% 100000, n %% 1000, 'order number ' || n FROM generate_series(1, %(rows)d) n;
CREATE INDEX ON orders (customer);
"""
WRITES = {"update": (16, r"UPDATE orders SET total = total + 1 WHERE id = :id;"),
          "insert": (3, r"INSERT INTO orders (customer, total, note) VALUES (:id % 100000, 1, 'new');"),
          "delete": (1, r"DELETE FROM orders WHERE id = :id;")}
READS = {"read": (1, r"SELECT id, customer, total, note FROM orders WHERE id = :id;")}


# ---- load ------------------------------------------------------------------------------------------------------------

class Load:
    """pgbench at work, until it is stopped; then every transaction's end and length, in seconds."""

    def __init__(self, folder, port, database, rows, rate):
        self.folder, self.ended, self.took, self.processes = folder, [], [], []
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, clients, scripts, share in (("writers", 4, WRITES, 2 / 3), ("readers", 2, READS, 1 / 3)):
            command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", "36000", "-l",
                       "--log-prefix", str(folder / name), "-h", "127.0.0.1", "-p", str(port), "-U", APP, database]
            if rate:
                command += ["--rate", str(rate * share)]
            for script, (weight, text) in scripts.items():
                path = folder / (script + ".sql")
                path.write_text("\\set id random(1, %d)\n%s\n" % (rows, text))
                command += ["-f", "%s@%d" % (path, weight)]
            self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(folder / "errors", "a"),
                                                   cwd=folder))

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait()
        for path in self.folder.glob("*ers.*"):
            for line in open(path):
                word = line.split()
                if len(word) >= 6 and word[2].isdigit():
                    lag = int(word[6]) if len(word) > 6 else 0
                    self.ended.append((int(word[4]) + int(word[5]) / 1e6, (int(word[2]) - lag) / 1e6))
        self.ended.sort()
        self.took = [took for _, took in self.ended]
        self.ended = [end for end, _ in self.ended]
        errors = (self.folder / "errors").read_text()
        lines = [line for line in errors.splitlines() if "error" in line.lower()]
        if lines:
            print("  the application's errors: %d, the first: %s" % (len(lines), lines[0]), file=sys.stderr)

    def between(self, begin, end):
        """Milliseconds of what ended in this time, or was under way at its end."""
        last = end + 5 if end - begin > 0.2 else end
        some = []
        for i in range(bisect.bisect_left(self.ended, begin), bisect.bisect_right(self.ended, last)):
            if self.ended[i] <= end or self.ended[i] - self.took[i] < end:
                some.append(self.took[i] * 1000)
        return some


def p99(values):
    return statistics.quantiles(values, n=100)[98] if len(values) > 100 else float("nan")


# ---- what is measured ------------------------------------------------------------------------------------------------

class Follow:
    """The change's own figures, ten times a second."""

    def __init__(self, server, database):
        self.connection = psycopg2.connect(host="127.0.0.1", port=server.port, user="postgres", dbname=database)
        self.connection.autocommit = True
        self.seen, self.going = [], True
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        with self.connection.cursor() as cursor:
            while self.going:
                cursor.execute("SELECT phase, progress->>'rows', progress->>'block', coalesce(throttled, '') "
                               "FROM pgsluice.change WHERE state NOT IN ('complete', 'undone') ORDER BY id DESC LIMIT 1")
                row = cursor.fetchone()
                if row:
                    self.seen.append((time.time(), *row))
                time.sleep(0.1)

    def stop(self):
        self.going = False
        self.thread.join()
        self.connection.close()

    def phase(self, name):
        """(begin, end), or None."""
        times = [at for at, phase, *_ in self.seen if phase == name]
        return (times[0], times[-1]) if times else None

    def sweeps(self):
        """Rows filled by the first pass, and in all."""
        rows = [(block, int(n)) for _, phase, n, block, _ in self.seen if phase in ("fill", "analyze") and n]
        first = [n for block, n in rows if block != "-1"]
        return (max(first) if first else 0, max(n for _, n in rows)) if rows else (0, 0)

    def first_sweep(self):
        """Its seconds."""
        times = [at for at, phase, _, block, _ in self.seen if phase == "fill" and block != "-1"]
        return times[-1] - times[0] if times else 0

    def paused(self):
        """Seconds of pauses, by reason."""
        found = {}
        for (at, *_, why), (until, *_) in zip(self.seen, self.seen[1:]):
            if why:
                why = re.sub(r"[0-9.]+", "…", why)
                found[why] = found.get(why, 0) + until - at
        return found


def psql(port, database, *texts):
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(port), "-U", APP, "-d", database]
    for text in texts:
        command += ["-c", text]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


class OutOfTime(Exception):
    pass


def session(server, database):
    connection = psycopg2.connect(host="127.0.0.1", port=server.port, user=APP, dbname=database)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("SET lock_timeout = '10s'")
    return cursor


def finish_by_hand(cursor):
    """How both recipes end: NOT NULL and UNIQUE without a long lock."""
    for sql in ("ALTER TABLE orders ADD CONSTRAINT nn CHECK (token IS NOT NULL) NOT VALID",
                "ALTER TABLE orders VALIDATE CONSTRAINT nn", "ALTER TABLE orders ALTER COLUMN token SET NOT NULL",
                "ALTER TABLE orders DROP CONSTRAINT nn",
                "CREATE UNIQUE INDEX CONCURRENTLY orders_token_key ON orders (token)",
                "ALTER TABLE orders ADD CONSTRAINT orders_token_key UNIQUE USING INDEX orders_token_key"):
        cursor.execute(sql)


def strong_migrations(server, database, deadline):
    """Batches of 10,000 by primary key, 10 ms between them."""
    cursor = session(server, database)
    cursor.execute("ALTER TABLE orders ADD COLUMN token uuid")
    cursor.execute("ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid()")
    last = 0
    while True:
        cursor.execute("SELECT id FROM orders WHERE id > %s ORDER BY id LIMIT 10000", (last,))
        ids = [n for n, in cursor.fetchall()]
        if not ids:
            break
        cursor.execute("UPDATE orders SET token = gen_random_uuid() WHERE id > %s AND id <= %s AND token IS NULL",
                       (last, ids[-1]))
        last = ids[-1]
        if time.time() > deadline:
            raise OutOfTime("%d rows were filled" % last)
        time.sleep(0.01)
    finish_by_hand(cursor)


def pgfence(server, database, deadline):
    """Batches of 1,000 rows, whichever are NULL and unlocked, until none is left."""
    cursor = session(server, database)
    cursor.execute("ALTER TABLE orders ADD COLUMN token uuid")
    cursor.execute("ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid()")
    done = 0
    while True:
        cursor.execute("WITH batch AS (SELECT ctid FROM orders WHERE token IS NULL LIMIT 1000 FOR UPDATE SKIP LOCKED) "
                       "UPDATE orders SET token = gen_random_uuid() FROM batch WHERE orders.ctid = batch.ctid")
        done += cursor.rowcount
        if cursor.rowcount == 0:
            break
        if time.time() > deadline:
            raise OutOfTime("%d rows were filled" % done)
    finish_by_hand(cursor)


# ---- variants --------------------------------------------------------------------------------------------------------

def online(stage, database, deadline):
    psql(stage.proxy.port, database, STATEMENT)


def direct(stage, database, deadline):
    psql(stage.server.port, database, STATEMENT)


def plain(stage, database, deadline):
    psql(stage.server.port, database, PLAIN)


def filling(stage, database, deadline):
    psql(stage.server.port, database, "ALTER TABLE orders ADD COLUMN token uuid", "UPDATE orders SET token = gen_random_uuid()")


VARIANTS = [  # name, what is said, rate limited?, settings of online, what is done
    ("update", "plain UPDATE of all rows", True, "", plain),
    ("fill", "one UPDATE that fills the column", True, "", filling),
    ("update-saturated", "plain UPDATE of all rows, saturated", False, "", plain),
    ("online", "pgsluice", True, "", online),
    ("online-unthrottled", "pgsluice, throttle off", True, "throttle: {latency_percent: 0, autovacuum: false}", online),
    ("online-saturated", "pgsluice, saturated", False, "", online),
    ("direct", "the statement itself", True, "", direct),
    ("strong_migrations", "strong_migrations' recipe", True, "",
     lambda stage, database, deadline: strong_migrations(stage.server, database, deadline)),
    ("pgfence", "pgfence's recipe", True, "",
     lambda stage, database, deadline: pgfence(stage.server, database, deadline)),
]


class Stage:
    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-bench-"))
        self.folder.chmod(0o755)
        os.environ["PATH"] = str(harness.server_bins()[options.server]) + ":" + os.environ["PATH"]
        self.server = harness.Server(self.folder / "server", options.server, settings={
            "shared_buffers": "'%s'" % options.shared_buffers, "max_wal_size": "'16GB'", "checkpoint_timeout": "'15min'",
            "autovacuum_naptime": "1s", "maintenance_work_mem": "'256MB'", "fsync": "on" if options.fsync else "off",
            "wal_level": "replica"})
        self.updates = {}
        self.server.sql("CREATE DATABASE model")
        hand_over(self.server, "model", TABLE % {"rows": options.rows, "scale": options.vacuum_scale})
        self.server.sql("VACUUM (FREEZE, ANALYZE) orders; CHECKPOINT", "model")

    def close(self):
        self.server.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_proxy(self, database, settings):
        port = harness.free_port()
        place = self.folder / ("proxy-" + database)
        text = "listen: [{address: 127.0.0.1, port: %d}]\nupstream: {host: 127.0.0.1, port: %d}\n" % (port, self.server.port)
        text += "audit: {path: %s}\nonline:\n  maintenance: 'host=127.0.0.1 port=%d dbname=postgres user=%s'\n" % (
            place / "audit.log", self.server.port, WORKER)
        text += "".join("  %s\n" % line for line in [settings, *self.options.online] if line)
        self.proxy = harness.Proxy(place, text)
        self.proxy.port = port

    def run(self, name, says, limited, settings, what):
        options, database = self.options, name.replace("-", "_")
        self.server.sql("CREATE DATABASE %s TEMPLATE model OWNER %s" % (database, APP))
        self.server.sql("CHECKPOINT")
        self.start_proxy(database, settings)
        load = Load(self.folder / "load", self.proxy.port, database, options.rows, options.rate if limited else 0)
        follow, note = None, ""
        try:
            time.sleep(options.warm_up)
            before = time.time()
            time.sleep(options.before)
            follow = Follow(self.server, database)
            begin = time.time()
            try:
                what(self, database, begin + options.most)
            except OutOfTime as out:
                note = "not done: %s" % out
            end = time.time()
            time.sleep(3)
        finally:
            if follow:
                follow.stop()
            load.stop()
            self.proxy.stop()
        self.report(name, says, limited, load, follow, (before, begin, end), note)
        self.server.sql("DROP DATABASE %s WITH (FORCE)" % database)

    def report(self, name, says, limited, load, follow, times, note):
        before, begin, end = times
        calm, whole = load.between(before, begin), load.between(begin, end)
        fill = follow.phase("fill")
        filling = load.between(*fill) if fill else whole
        seconds = end - begin
        key = "rate" if limited else "saturated"
        if name.startswith("update"):
            self.updates[key] = seconds
        first, rows = follow.sweeps()
        print("| %s | %.0f | %.1f | %.1f | **%.0f** | %.2f | %.2f (%.1f) | %.2f (%.1f) | %.1f%s | %s | %s |" % (
            says, len(calm) / (begin - before), max(calm), max(whole), max(0, max(whole) - max(calm)), p99(calm), p99(filling),
            p99(filling) / p99(calm), p99(whole), p99(whole) / p99(calm), seconds, " (%s)" % note if note else "",
            "%.2f" % (seconds / self.updates[key]) if key in self.updates else "–",
            "%d + %d" % (first, rows - first) if rows else "–"), flush=True)
        for phase in ("added", "fill", "analyze", "check", "validate", "index", "finish"):
            span = follow.phase(phase)
            some = load.between(*span) if span else []
            if some:
                print("  %-9s %6.1f s   longest %6.1f ms   p99 %6.2f ms" % (phase, span[1] - span[0], max(some), p99(some)),
                      file=sys.stderr)
        if rows:
            print("  first sweep %.1f s" % follow.first_sweep(), file=sys.stderr)
        for why, spent in follow.paused().items():
            print("  %.1f s: %s" % (spent, why), file=sys.stderr)
        if self.options.verbose:
            print(self.proxy.log(), file=sys.stderr)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=5000000)
    arguments.add_argument("--rate", type=int, default=1000, help="transactions a second, where it is limited")
    arguments.add_argument("--before", type=float, default=30, help="seconds of measuring before the statement")
    arguments.add_argument("--warm-up", type=float, default=10)
    arguments.add_argument("--most", type=float, default=1200, help="a recipe that takes longer is stopped")
    arguments.add_argument("--only", default=",".join(variant[0] for variant in VARIANTS))
    arguments.add_argument("--online", action="append", default=[], help="a line for the section online, such as 'batch_time: 5ms'")
    arguments.add_argument("--server", type=int, default=harness.default_version())
    arguments.add_argument("--shared-buffers", default="1GB")
    arguments.add_argument("--vacuum-scale", default="0.05", help="autovacuum_vacuum_scale_factor of the table")
    arguments.add_argument("--fsync", action="store_true")
    arguments.add_argument("--program", default=os.environ["PGSLUICE"])
    arguments.add_argument("--verbose", action="store_true")
    options = arguments.parse_args()
    harness.PGSLUICE = options.program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing stays behind
    import online as helpers
    helpers.PGSLUICE = options.program
    stage = Stage(options)
    print("PostgreSQL %d, %d rows, load average %.1f\n" % (options.server, options.rows, os.getloadavg()[0]))
    print("| | tps before | longest before, ms | longest, ms | **stall, ms** | p99 before, ms | p99 while filling | p99 in all | "
          "change, s | of UPDATE | rows: first sweep + later |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    try:
        for name, *variant in VARIANTS:
            if name in options.only.split(","):
                stage.run(name, *variant)
    finally:
        stage.close()


main()

#!/usr/bin/python3
"""
tests/bench/wire.py [--seconds N] [--rounds N] [--clients 1,16,64] [--idle N]

Side by side in one run, against one private PostgreSQL: a bare epoll relay, PgBouncer (session mode), pgsluice.
  - CPU of the proxy process per transaction (pgbench -S, simple and prepared)
  - COPY throughput both ways
  - resident memory per idle session
Rounds are interleaved (relay, PgBouncer, pgsluice, relay, …) and medians are printed, with ratios taken round by
round: absolute figures of a shared machine mean little. CPU is the sum of /proc/PID/task/*/schedstat.
Needs: build/release, PostgreSQL, pgbench and pgbouncer from Debian. Run as root or as an ordinary user.
"""
import argparse
import glob
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402  (the end-to-end harness starts the server)
from wire import Connection  # noqa: E402


def cpu_seconds(pid):
    total = 0
    for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
        try:
            total += int(open(path).read().split()[0])
        except OSError:
            pass
    return total / 1e9


def memory_kb(pid):
    for line in open("/proc/%d/smaps_rollup" % pid):
        if line.startswith("Rss:"):
            return int(line.split()[1])
    return 0


def wait_port(port):
    harness.wait_until(lambda: subprocess.run(
        ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0, 30)


def start_relay(folder, server):
    source, program = ROOT / "tests" / "bench" / "relay.c", folder / "relay"
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", program, source], check=True)
    port = harness.free_port()
    return port, subprocess.Popen([program, str(port), str(server.port)])


def start_pgbouncer(folder, server):
    port = harness.free_port()
    place = folder / "bouncer"
    place.mkdir()
    (place / "users").write_text('"postgres" ""\n')
    (place / "ini").write_text(
        "[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\n"
        "auth_type=trust\nauth_file=%s\npool_mode=session\nmax_client_conn=5000\ndefault_pool_size=4000\n"
        "unix_socket_dir=\nserver_reset_query=\nlogfile=%s\nlog_connections=0\nlog_disconnections=0\n"
        "server_round_robin=0\n" % (server.port, port, place / "users", place / "log"))
    command = ["pgbouncer", "-q", str(place / "ini")]
    if os.getuid() == 0:
        for path in (place, place / "users", place / "ini"):
            shutil.chown(path, "postgres")
        # setpriv replaces itself, so that the process we measure is PgBouncer and no wrapper
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] + command
    return port, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_pgsluice(folder, server, program):
    port = harness.free_port()
    config = folder / "pgsluice.yaml"
    config.write_text("listen: [{address: 127.0.0.1, port: %d}]\nupstream: {host: 127.0.0.1, port: %d}\n"
                      "audit: {path: %s}\n" % (port, server.port, folder / "audit.log"))
    return port, subprocess.Popen([program, "serve", "-c", str(config)], stderr=open(folder / "log", "w"))


def pgbench(port, protocol, clients, seconds):
    done = subprocess.run(["pgbench", "-n", "-S", "-M", protocol, "-c", str(clients), "-j", str(min(clients, 2)), "-T",
                           str(seconds), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return int(re.search(r"actually processed: (\d+)", done.stdout).group(1))


def copy_rate(port, direction, megabytes):
    """Seconds for a COPY of that size; COPY FROM goes to an unlogged table that is emptied."""
    if direction == "out":
        command = ["-c", "COPY (SELECT repeat('x', 100) FROM generate_series(1, %d)) TO STDOUT" % (megabytes * 10000)]
        source = subprocess.DEVNULL
    else:
        command = ["-c", "TRUNCATE sink", "-c", "COPY sink FROM STDIN"]
        source = open(copy_rate.file)
    start = time.monotonic()
    subprocess.run(["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres", *command],
                   stdin=source, stdout=subprocess.DEVNULL, check=True)
    return megabytes / (time.monotonic() - start)


def idle_memory(port, pid, sessions):
    before = memory_kb(pid)
    connections = [Connection(port) for _ in range(sessions)]
    time.sleep(1.5)
    grown = memory_kb(pid) - before
    for connection in connections:
        connection.close()
    return grown * 1024 / sessions


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=5)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--clients", default="1,16,64")
    arguments.add_argument("--idle", type=int, default=1000)
    arguments.add_argument("--copy-megabytes", type=int, default=300)
    arguments.add_argument("--program", default=str(ROOT / "build" / "release" / "pgsluice"))
    options = arguments.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-bench-"))
    folder.chmod(0o755)
    os.environ["PATH"] = str(harness.server_bins()[harness.default_version()]) + ":" + os.environ["PATH"]
    server = harness.Server(folder / "server", harness.default_version(),
                             settings={"max_connections": options.idle * 2 + 200, "shared_buffers": "'256MB'",
                                       "superuser_reserved_connections": 3})
    peers = {}
    try:
        subprocess.run(["pgbench", "-q", "-i", "-s", "5", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres",
                        "postgres"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server.sql("CREATE UNLOGGED TABLE sink (x text)")
        copy_rate.file = folder / "rows"
        with open(copy_rate.file, "w") as file:
            for _ in range(options.copy_megabytes):
                file.write(("x" * 100 + "\n") * 10000)
        peers["relay"] = start_relay(folder, server)
        peers["PgBouncer"] = start_pgbouncer(folder, server)
        peers["pgsluice"] = start_pgsluice(folder, server, options.program)
        for port, _ in peers.values():
            wait_port(port)
        report(peers, options)
    finally:
        for _, process in peers.values():
            process.kill()
            process.wait()
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def row(what, unit, rounds, digits=1):
    """rounds: list of {peer: value}. Prints medians and the median of the ratios, round by round."""
    def median(values):
        return statistics.median(list(values))
    cells = ["%.*f" % (digits, median(r[p] for r in rounds)) for p in ("relay", "PgBouncer", "pgsluice")]
    to_bouncer = median(r["pgsluice"] / r["PgBouncer"] for r in rounds) if all(r["PgBouncer"] for r in rounds) else 0
    to_relay = median(r["pgsluice"] / r["relay"] for r in rounds) if all(r["relay"] for r in rounds) else 0
    print("| %s, %s | %s | %s | %s | %.2f | %.2f |" % (what, unit, *cells, to_bouncer, to_relay), flush=True)


def report(peers, options):
    print("| what | relay | PgBouncer | pgsluice | of PgBouncer | of the relay |")
    print("|---|---:|---:|---:|---:|---:|")
    for protocol in ("simple", "prepared"):
        for clients in (int(c) for c in options.clients.split(",")):
            rounds = []
            for _ in range(options.rounds):
                one = {}
                for name, (port, process) in peers.items():
                    before = cpu_seconds(process.pid)
                    transactions = pgbench(port, protocol, clients, options.seconds)
                    one[name] = (cpu_seconds(process.pid) - before) / transactions * 1e6
                rounds.append(one)
            row("CPU per transaction, %s, %d clients" % (protocol, clients), "µs", rounds, 2)
    for direction in ("out", "in"):
        rounds = []
        for _ in range(options.rounds):
            rounds.append({name: copy_rate(port, direction, options.copy_megabytes)
                           for name, (port, _) in peers.items()})
        row("COPY %s" % direction, "MB/s", rounds, 0)
    row("idle session", "bytes", [{name: idle_memory(port, process.pid, options.idle)
                                   for name, (port, process) in peers.items()}], 0)


main()

#!/usr/bin/python3
"""
tests/bench/wire.py [--rounds N] [--clients 1,16,64] [--idle N] [--copy-megabytes N] [--instructions]

Side by side in one run, against one private PostgreSQL: a bare epoll relay, PgBouncer (session mode), pgsluice with one
thread, as both of those have, and pgsluice with a thread a core.
  - CPU of the proxy process per transaction (pgbench -S, simple and prepared)
  - COPY throughput both ways
  - resident memory per idle session
  - system calls per transaction (strace -c), instructions outside the kernel (callgrind, with --instructions)
A round is short, and the peers take turns within it, each round beginning with another one: whatever else the machine
does meets all of them. Printed are medians, and medians of the ratios within the rounds with their quartiles: a ratio
whose quartiles lie far apart says little. CPU is the sum of /proc/PID/task/*/schedstat; what opening the connections
costs is measured apart and taken off.
Needs: build/release, PostgreSQL, pgbench, pgbouncer, strace and valgrind from Debian. Run as root or as an ordinary user.
"""
import argparse
import glob
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANY = "a thread a core"
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


def start_relay(folder, server, tool=()):
    source, program = ROOT / "tests" / "bench" / "relay.c", folder / "relay"
    if not program.exists():
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", program, source], check=True)
    port = harness.free_port()
    return port, subprocess.Popen([*tool, program, str(port), str(server.port)])


def start_pgbouncer(folder, server, tool=()):
    port = harness.free_port()
    place = folder / ("bouncer%d" % port)
    place.mkdir()
    (place / "users").write_text('"postgres" ""\n')
    (place / "ini").write_text(
        "[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\n"
        "auth_type=trust\nauth_file=%s\npool_mode=session\nmax_client_conn=5000\ndefault_pool_size=4000\n"
        "unix_socket_dir=\nserver_reset_query=\nlogfile=%s\nlog_connections=0\nlog_disconnections=0\n"
        "server_round_robin=0\n" % (server.port, port, place / "users", place / "log"))
    command = [*tool, "pgbouncer", "-q", str(place / "ini")]
    if os.getuid() == 0:
        for path in (place, place / "users", place / "ini"):
            shutil.chown(path, "postgres")
        # setpriv replaces itself, so that the process we measure is PgBouncer and no wrapper
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] + command
    return port, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_pgsluice(folder, server, program, threads, tool=()):
    port = harness.free_port()
    config = folder / ("pgsluice%d.yaml" % port)
    config.write_text("threads: %d\nlisten: [{address: 127.0.0.1, port: %d}]\n"
                      "upstream: {host: 127.0.0.1, port: %d}\naudit: {path: %s}\n"
                      % (threads, port, server.port, folder / ("audit%d.log" % port)))
    return port, subprocess.Popen([*tool, program, "serve", "-c", str(config)], stderr=open(folder / "log", "a"))


def pgbench(port, protocol, clients, transactions):
    """`transactions` of each client."""
    subprocess.run(["pgbench", "-n", "-S", "-M", protocol, "-c", str(clients), "-j", str(min(clients, 2)), "-t",
                    str(transactions), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def cpu_of(peer, protocol, clients, transactions):
    port, process = peer
    before = cpu_seconds(process.pid)
    pgbench(port, protocol, clients, transactions)
    return cpu_seconds(process.pid) - before


def cpu_rounds(peers, protocol, clients, options):
    """Microseconds a transaction, by round and peer."""
    transactions = max(options.transactions // clients, 20)
    opening = {name: statistics.median(cpu_of(peer, protocol, clients, 1) for _ in range(3))
               for name, peer in peers.items()}
    rounds = []
    for number in range(options.rounds):
        names = list(peers)
        turn = number % len(names)
        one = {name: cpu_of(peers[name], protocol, clients, transactions) for name in names[turn:] + names[:turn]}
        rounds.append({name: (one[name] - opening[name]) / (clients * (transactions - 1)) * 1e6 for name in names})
    return rounds


def system_calls(peer, clients, transactions=300):
    """Of each kind, a transaction."""
    port, process = peer
    with tempfile.NamedTemporaryFile(mode="r") as file:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-p", str(process.pid), "-o", file.name],
                                  stderr=subprocess.DEVNULL)
        time.sleep(1)
        pgbench(port, "simple", clients, transactions)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        calls = {words[-1]: int(words[3]) for words in map(str.split, file.read().splitlines())
                 if len(words) >= 5 and words[3].isdigit()}
    return {name: calls.get(name, 0) / clients / transactions for name in ("epoll_wait", "recvfrom", "sendto", "total")}


def instructions(start, protocol):
    """A transaction, outside the kernel: the difference between a long run and a short one."""
    counts = []
    for transactions in (100, 1100):
        with tempfile.NamedTemporaryFile(mode="r") as file:
            os.chmod(file.name, 0o666)
            port, process = start(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                                   "--log-file=" + file.name])
            harness.wait_until(lambda: subprocess.run(
                ["pg_isready", "-q", "-t", "20", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0, 300, 1)
            pgbench(port, protocol, 1, transactions)
            process.terminate()
            process.wait()
            counts.append(int(re.search(r"Collected : (\d+)", file.read()).group(1)))
    return (counts[1] - counts[0]) / 1000


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
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--transactions", type=int, default=4000, help="of all clients together, a round and peer")
    arguments.add_argument("--copy-rounds", type=int, default=5)
    arguments.add_argument("--instructions", action="store_true")
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
        peers["pgsluice"] = start_pgsluice(folder, server, options.program, 1)
        peers[MANY] = start_pgsluice(folder, server, options.program, 0)
        for port, _ in peers.values():
            wait_port(port)
        report_calls(peers)  # first: what is idle later has its say at its end
        report(peers, options)
        if options.instructions:
            report_instructions(folder, server, options)
    finally:
        for _, process in peers.values():
            process.kill()
            process.wait()
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def ratio(rounds, name, to):
    """The median of the ratios within the rounds, and their quartiles."""
    values = [r[name] / r[to] for r in rounds if r[to]]
    if not values:
        return "-"
    if len(values) < 4:
        return "%.2f" % statistics.median(values)
    low, middle, high = statistics.quantiles(values, n=4)
    return "%.2f (%.2f–%.2f)" % (middle, low, high)


def row(what, unit, rounds, digits=1):
    """rounds: list of {peer: value}."""
    cells = ["%.*f" % (digits, statistics.median(r[name] for r in rounds)) for name in rounds[0]]
    ratios = [ratio(rounds, "pgsluice", "PgBouncer"), ratio(rounds, "pgsluice", "relay"), ratio(rounds, MANY, "relay")]
    print("| %s, %s | %s |" % (what, unit, " | ".join(cells + ratios)), flush=True)


def report(peers, options):
    print("\n| what | relay | PgBouncer | pgsluice | %s | of PgBouncer | of the relay | %s: of the relay |" % (MANY, MANY))
    print("|---|" + "---:|" * 7)
    for protocol in ("simple", "prepared"):
        for clients in (int(c) for c in options.clients.split(",")):
            rounds = cpu_rounds(peers, protocol, clients, options)
            row("CPU per transaction, %s, %d clients" % (protocol, clients), "µs", rounds, 2)
    for direction in ("out", "in"):
        rounds = []
        for _ in range(options.copy_rounds):
            rounds.append({name: copy_rate(port, direction, options.copy_megabytes)
                           for name, (port, _) in peers.items()})
        row("COPY %s" % direction, "MB/s", rounds, 0)
    row("idle session", "bytes", [{name: idle_memory(port, process.pid, options.idle)
                                   for name, (port, process) in peers.items()}], 0)


def report_calls(peers):
    print("| system calls a transaction | clients | epoll_wait | recv | send | all |\n|---|" + "---:|" * 5)
    for clients in (1, 16):
        for name, peer in peers.items():
            calls = system_calls(peer, clients)
            print("| %s | %d | %s |" % (name, clients, " | ".join("%.2f" % n for n in calls.values())), flush=True)


def report_instructions(folder, server, options):
    starts = {"relay": lambda tool: start_relay(folder, server, tool),
              "PgBouncer": lambda tool: start_pgbouncer(folder, server, tool),
              "pgsluice": lambda tool: start_pgsluice(folder, server, options.program, 1, tool)}
    print("\n| instructions a transaction | simple | prepared |\n|---|---:|---:|")
    for name, start in starts.items():
        print("| %s | %.0f | %.0f |" % (name, *(instructions(start, protocol) for protocol in ("simple", "prepared"))),
              flush=True)


main()

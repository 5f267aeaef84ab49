"""
What an SRE meets: limits, reload, drain, cancel, several hosts, the admin port, idle memory, the trace.
"""
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

import harness
import wire
from harness import PGSLUICE, free_port, psql, run, wait_until
from wire import Connection, error_of, fields, query


def login_error(port, **more):
    connection = Connection(port, login=False)
    connection.send(wire.startup({"user": "postgres", "database": "postgres", **more}))
    return error_of(connection.until("Z"))


# ---- limits -------------------------------------------------------------------------------------------

def test_sessions_in_all(server, proxy_factory):
    proxy = proxy_factory(server, "limits: {sessions: 3}\n")
    open_ones = [Connection(proxy.port) for _ in range(3)]
    error = login_error(proxy.port)
    assert error["C"] == "53300" and error["S"] == "FATAL" and "limits.sessions" in error["M"] + error.get("H", "")
    open_ones.pop().close()
    wait_until(lambda: login_error(proxy.port) is None)
    for one in open_ones:
        one.close()


def test_sessions_per_user(server, proxy_factory):
    server.sql("DROP ROLE IF EXISTS bob; CREATE ROLE bob LOGIN")
    proxy = proxy_factory(server, "limits: {sessions_per_user: 2}\n")
    open_ones = [Connection(proxy.port, user="bob") for _ in range(2)]
    error = login_error(proxy.port, user="bob")
    assert error["C"] == "53300" and "bob" in error["M"]
    Connection(proxy.port).close()
    for one in open_ones:
        one.close()


def test_sessions_fit_the_descriptors(server, proxy_factory, folder, monkeypatch):
    """Nobody said how many sessions: as many as the process has descriptors for, and a client over that is told."""
    scarce = folder / "scarce"
    scarce.write_text("#!/bin/sh\nulimit -n 106\nexec '%s' \"$@\"\n" % harness.PGSLUICE)
    scarce.chmod(0o755)
    monkeypatch.setattr(harness, "PGSLUICE", str(scarce))
    proxy = proxy_factory(server)
    assert "limits.sessions is 3" in proxy.log() and " warning " not in proxy.log()
    open_ones = [Connection(proxy.port) for _ in range(3)]
    assert login_error(proxy.port)["C"] == "53300"
    for one in open_ones:
        one.close()
    log = proxy.reload(proxy.config_path.read_text() + "limits: {sessions: 4}\n")
    assert "warning" in log and "limits.sessions is 4" in log and "limits.sessions: 3 -> 4" in log


def test_login_time(server, proxy_factory):
    proxy = proxy_factory(server, "limits: {login_time: 1s}\n")
    silent = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    half = Connection(proxy.port, login=False, timeout=10)
    half.send(wire.startup({"user": "postgres", "database": "postgres"})[:20])
    started = time.monotonic()
    assert silent.recv(100) == b"" or True
    half.until("Z")
    assert half.ended and time.monotonic() - started < 6
    Connection(proxy.port).close()


def test_idle_time(server, proxy_factory):
    proxy = proxy_factory(server, "limits: {idle_time: 1s}\n")
    connection = Connection(proxy.port, timeout=10)
    busy = Connection(proxy.port, timeout=10)
    busy.send(query("SELECT pg_sleep(4)"))
    got = connection.until("Z")
    assert error_of(got)["C"] == "57P05" and connection.ended
    assert [k for k, _ in busy.until("Z")][-1] == "Z"  # a running statement is not idleness


def test_slow_reader_costs_bounded_memory(server, proxy_factory):
    proxy = proxy_factory(server)
    before = proxy.memory_kb()
    readers = [Connection(proxy.port) for _ in range(5)]
    for reader in readers:
        reader.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 300000)"))  # 300 MB each, unread
    time.sleep(3)
    assert proxy.memory_kb() - before < 60000
    with Connection(proxy.port) as other:
        started = time.monotonic()
        other.query("SELECT 1")
        assert time.monotonic() - started < 2
    total = 0
    while total < 300000:
        kind, _ = readers[0].receive()
        total += kind == "D"
    for reader in readers:
        reader.socket.close()


def test_slow_server_costs_bounded_memory(server, proxy_factory, database):
    server.sql("CREATE UNLOGGED TABLE sink (x text)", database)
    proxy = proxy_factory(server)
    blocker = Connection(server.port, database=database)
    blocker.query("BEGIN; LOCK TABLE sink")
    before = proxy.memory_kb()
    writer = Connection(proxy.port, database=database, timeout=1)
    writer.send(query("COPY sink FROM STDIN"))
    chunk = wire.copy_data((b"y" * 999 + b"\n") * 60)
    sent = 0
    try:
        while sent < 200_000_000:
            writer.socket.send(chunk)
            sent += len(chunk)
    except socket.timeout:
        pass
    assert sent < 100_000_000  # the kernel's buffers and ours are full, and the client is made to wait
    assert proxy.memory_kb() - before < 60000
    writer.socket.close()
    blocker.close()


def test_idle_sessions_own_no_buffers(server_factory, proxy_factory):
    """At most 2 kB for each; the sanitizers' build has its own allocator, so the bound is checked in the release."""
    server = server_factory(settings={"max_connections": 450})
    proxy = proxy_factory(server)
    with Connection(proxy.port):
        pass
    sessions = [Connection(proxy.port) for _ in range(400)]
    for session in sessions:
        session.query("SELECT repeat('x', 100000)")
    time.sleep(1.5)
    used = proxy.memory_kb()
    for session in sessions:
        session.query("SELECT repeat('x', 100000)")
    time.sleep(1.5)
    assert proxy.memory_kb() - used < 400 * 4  # nothing stays behind per use
    for session in sessions:
        session.close()


# ---- cancel -------------------------------------------------------------------------------------------

def cancel(port, key):
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(struct.pack("!II", 8 + len(key), 80877102) + key)
    assert sock.recv(1) == b""
    sock.close()


def test_cancel(server, proxy_factory):
    proxy = proxy_factory(server)
    with Connection(proxy.port) as connection:
        connection.send(query("SELECT pg_sleep(30)"))
        time.sleep(0.3)
        started = time.monotonic()
        cancel(proxy.port, connection.key)
        assert error_of(connection.until("Z"))["C"] == "57014"
        assert time.monotonic() - started < 5


def test_cancel_reaches_the_right_one_of_several_hosts(server_factory, proxy_factory):
    first, second = server_factory(), server_factory()
    config = ("listen: [{address: 127.0.0.1, port: @PORT@}]\nupstream: {hosts: [{host: 127.0.0.1, port: %d}, "
              "{host: 127.0.0.1, port: %d}]}\n" % (first.port, second.port))
    proxy = proxy_factory(config=config)
    first_session = Connection(proxy.port)
    first.stop("immediate")
    second_session = wait_until(lambda: try_connect(proxy.port), 15)
    second_session.send(query("SELECT pg_sleep(30)"))
    time.sleep(0.3)
    cancel(proxy.port, second_session.key)
    assert error_of(second_session.until("Z"))["C"] == "57014"
    first_session.socket.close()
    second_session.close()


def try_connect(port):
    try:
        return Connection(port)
    except (RuntimeError, OSError):
        return None


# ---- several hosts ------------------------------------------------------------------------------------

def make_standby(server_factory, primary, folder):
    """A streaming standby of `primary`, as a Server without initdb."""
    import shutil
    from harness import AS_SERVER, Server
    standby = Server.__new__(Server)
    standby.version, standby.bin, standby.superuser = primary.version, primary.bin, primary.superuser
    standby.folder = folder / "standby"
    standby.folder.mkdir()
    standby.folder.chmod(0o755)
    if AS_SERVER:
        shutil.chown(standby.folder, "postgres")
    standby.data = standby.folder / "data"
    standby.port = free_port()
    standby._run("pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "-D", str(standby.data),
                 "-R", "-X", "stream", "--checkpoint=fast")
    with open(standby.data / "postgresql.conf", "a") as conf:
        conf.write("port = %d\nunix_socket_directories = '%s'\n" % (standby.port, standby.folder))
    standby.start()
    return standby


@pytest.mark.parametrize("monitor", [True, False], ids=["with a monitor", "without"])
def test_new_sessions_follow_the_primary(server_factory, proxy_factory, folder, monitor):
    primary = server_factory()
    standby = make_standby(server_factory, primary, folder)
    try:
        config = ("listen: [{address: 127.0.0.1, port: @PORT@}]\nupstream: {hosts: [{host: 127.0.0.1, port: %d}, "
                  "{host: 127.0.0.1, port: %d}], target: primary, check_interval: 1s%s}\n" %
                  (standby.port, primary.port, ", monitor: 'user=postgres dbname=postgres'" if monitor else ""))
        proxy = proxy_factory(config=config)

        def port_of_session():
            try:
                with Connection(proxy.port) as connection:
                    for kind, body in connection.query("SELECT current_setting('port')"):
                        if kind == "D":
                            return int(body[6:])
            except (RuntimeError, OSError):
                return None

        assert wait_until(port_of_session, 15) == primary.port
        primary.stop("immediate")
        standby.sql("SELECT pg_promote()")
        assert wait_until(lambda: port_of_session() == standby.port, 20)
    finally:
        standby.stop("immediate")


def test_no_server_is_a_clear_error(proxy_factory):
    port = free_port()
    proxy = proxy_factory(config="listen: [{address: 127.0.0.1, port: @PORT@}]\nupstream: {host: 127.0.0.1, port: %d}\n"
                          % port)
    error = login_error(proxy.port)
    assert error["S"] == "FATAL" and error["C"].startswith("08") and str(port) in error["M"] + error.get("D", "")
    assert "refused" in (error["M"] + error.get("D", "")).lower()


def test_unix_sockets_and_ipv6(server, proxy_factory, folder):
    config = ("listen: [{address: %s, port: @PORT@}, {address: '::1', port: @PORT@}]\n"
              "upstream: {host: %s, port: %d}\n" % (folder, server.folder, server.port))
    proxy = proxy_factory(config=config)
    for host in (folder, "::1"):
        done = run(["psql", "-X", "-At", "-h", host, "-p", proxy.port, "-U", "postgres", "-c", "SELECT 1", "postgres"])
        assert done.stdout == "1\n", done.stderr
    proxy.stop()
    assert not [name for name in os.listdir(folder) if name.startswith(".s.PGSQL")]


def test_server_crash_reaches_the_client(server_factory, proxy_factory):
    server = server_factory()
    proxy = proxy_factory(server)
    connection = Connection(proxy.port)
    connection.send(query("SELECT pg_sleep(60)"))
    time.sleep(0.3)
    server.stop("immediate")
    got = connection.until("Z")
    # quickdie() tells the client with a WARNING
    assert connection.ended and [fields(body)["C"] for kind, body in got if kind in "EN"][-1] in ("57P02", "57P01")
    server.start()
    wait_until(lambda: try_connect(proxy.port))


def test_an_outage_does_not_flood_the_log(proxy_factory):
    proxy = proxy_factory(config="listen: [{address: 127.0.0.1, port: @PORT@}]\n"
                                 "upstream: {host: 127.0.0.1, port: %d}\n" % free_port())
    for _ in range(60):
        assert login_error(proxy.port)["S"] == "FATAL"
    assert proxy.log().count(": server 127.0.0.1") == 1


# ---- reload, drain, start -----------------------------------------------------------------------------

def test_reload_says_what_changed(server, proxy_factory):
    proxy = proxy_factory(server)
    text = proxy.config_path.read_text()
    with Connection(proxy.port) as connection:
        log = proxy.reload(text + "limits: {sessions: 77}\n")
        assert "limits.sessions" in log and "77" in log
        log = proxy.reload(text + "limits: {sesions: 1}\npolicy: {profile: nonsense}\n")
        assert "sesions" in log and "nonsense" in log  # every mistake, and nothing came into force
        log = proxy.reload(text + "policy: {profile: observe}\n")
        assert "observe" in log
        assert error_of(connection.query("SELECT 1")) is None


def test_reload_changes_the_policy_of_open_sessions(server, proxy_factory, database):
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    proxy = proxy_factory(server, "policy: {small_table: {rows: 0, size: 0}}\n")
    text = proxy.config_path.read_text().replace("policy: {small_table: {rows: 0, size: 0}}\n", "")
    risky = "ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()"
    with Connection(proxy.port, database=database) as connection:
        assert error_of(connection.query(risky))["C"] == "SL001"
        proxy.reload(text + "policy: {rules: {volatile-default: allow}}\n")
        assert error_of(connection.query(risky)) is None


def test_reload_moves_a_listener(server, proxy_factory):
    proxy = proxy_factory(server)
    other = free_port()
    kept = Connection(proxy.port)
    proxy.reload(proxy.config_path.read_text().replace("port: %d}]" % proxy.port, "port: %d}]" % other))
    wait_until(lambda: try_connect(other))
    with pytest.raises(OSError):
        Connection(proxy.port)
    assert error_of(kept.query("SELECT 1")) is None
    kept.close()


def test_drain(server, proxy_factory):
    proxy = proxy_factory(server)
    idle, busy, inside = Connection(proxy.port), Connection(proxy.port), Connection(proxy.port)
    inside.query("BEGIN")
    busy.send(query("SELECT pg_sleep(2)"))
    time.sleep(0.3)
    proxy.process.send_signal(signal.SIGTERM)
    got = idle.until("Z")
    assert error_of(got)["C"] == "57P01" and idle.ended
    assert [k for k, _ in busy.until("ZE")] == ["T", "D", "C", "Z"]  # what runs may end
    assert error_of(inside.query("SELECT 1")) is None
    inside.query("COMMIT")
    inside.until("X")
    assert inside.ended
    assert proxy.process.wait(10) == 0


def test_second_sigterm_ends_at_once(server, proxy_factory):
    proxy = proxy_factory(server)
    busy = Connection(proxy.port)
    busy.send(query("SELECT pg_sleep(60)"))
    time.sleep(0.3)
    proxy.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert proxy.process.poll() is None
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(5) == 0
    busy.until("Z")
    assert busy.ended


def test_systemd_is_told(server, proxy_factory, folder):
    path = str(folder / "notify")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.settimeout(10)
    proxy = proxy_factory(server, environment={"NOTIFY_SOCKET": path})
    assert b"READY=1" in sock.recv(4096)
    proxy.process.send_signal(signal.SIGHUP)
    assert b"RELOADING=1" in sock.recv(4096)
    assert b"READY=1" in sock.recv(4096)
    proxy.process.send_signal(signal.SIGTERM)
    assert b"STOPPING=1" in sock.recv(4096)
    sock.close()


def test_a_wrong_configuration_lists_every_mistake(folder):
    path = folder / "bad.yaml"
    path.write_text("listen: [{address: 127.0.0.1, port: 99999}]\nupstrem: {}\npolicy: {rules: {volatil-default: reject}}\n")
    for words in (["serve", "-c", path], ["config", "check", path]):
        done = run([PGSLUICE, *words])
        assert done.returncode == 2
        for wanted in (":1:", ":2:", ":3:", "upstrem", "volatile-default"):
            assert wanted in done.stderr + done.stdout, done.stderr


def test_a_taken_port_is_a_clear_error(server, proxy_factory, folder):
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    path = folder / "c.yaml"
    path.write_text("listen: [{address: 127.0.0.1, port: %d}]\nupstream: {host: 127.0.0.1, port: %d}\n"
                    % (taken.getsockname()[1], server.port))
    done = run([PGSLUICE, "serve", "-c", path], timeout=20)
    assert done.returncode != 0 and str(taken.getsockname()[1]) in done.stderr and "listens there" in done.stderr
    taken.close()


# ---- the admin port -----------------------------------------------------------------------------------

def get(port, path):
    try:
        with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health(server, proxy_factory, database):
    admin = free_port()
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    proxy = proxy_factory(server, "admin: {address: 127.0.0.1, port: %d}\n"
                          "policy: {small_table: {rows: 0, size: 0}}\n" % admin)
    with Connection(proxy.port, database=database) as connection:
        for _ in range(10):
            connection.query("SELECT 1")
        connection.query("ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()")
        connection.query("ALTER TABLE t ADD COLUMN b int")
        time.sleep(1.5)
        status, text = get(admin, "/metrics")
        assert status == 200
        values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                  if line and not line.startswith("#")}
        assert values["pgsluice_sessions"] == 1
        assert values["pgsluice_client_messages_total"] >= 12
        assert values["pgsluice_statements_total"] >= 12
        assert [v for k, v in values.items() if "verdict" in k and "reject" in k] == [1]
        assert [v for k, v in values.items() if "rule" in k and '"volatile-default"' in k] == [1]
    assert get(admin, "/healthz")[0] == 200
    assert get(admin, "/readyz")[0] == 200
    assert get(admin, "/nothing")[0] == 404


def test_trace_of_one_session(server, proxy_factory):
    proxy = proxy_factory(server, "log: {trace: 'application=follow*'}\n")
    with Connection(proxy.port, application_name="other") as other, \
            Connection(proxy.port, application_name="follow me") as followed:
        other.query("SELECT 'not traced'")
        followed.query("SELECT 'traced'")
    log = wait_until(lambda: "Query" in proxy.log() and proxy.log())
    assert "ReadyForQuery" in log
    assert len([line for line in log.splitlines() if "Query" in line and "ReadyForQuery" not in line]) == 1


def test_many_sessions_come_and_go(server, proxy_factory):
    proxy = proxy_factory(server)
    errors = []

    def work():
        try:
            for _ in range(25):
                with Connection(proxy.port, application_name="passing") as connection:
                    connection.query("SELECT 1")
        except Exception as error:  # noqa: BLE001 (reported below)
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    wait_until(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'passing'") == "0")


def test_a_client_that_vanishes_frees_its_server_session(server, proxy_factory):
    proxy = proxy_factory(server)
    connection = Connection(proxy.port, application_name="vanishing")
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()
    wait_until(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vanishing'") == "0")


def test_help_and_usage():
    assert run([PGSLUICE, "--help"]).returncode == 0
    assert run([PGSLUICE, "--version"]).stdout.startswith("pgsluice ")
    for words in ([], ["nonsense"], ["serve"], ["serve", "-x"], ["config"], ["audit"]):
        assert run([PGSLUICE, *words]).returncode == 2, words
    assert subprocess.run([PGSLUICE, "serve", "-c", "/nonexistent"], stderr=subprocess.DEVNULL).returncode == 2


def test_a_fatal_from_the_server_arrives_whole(server, proxy_factory):
    proxy = proxy_factory(server)
    with Connection(proxy.port, application_name="to be ended") as connection:
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to be ended'")
        kind, body = connection.receive()
        assert kind == "E" and fields(body)["C"] == "57P01"
        assert connection.receive() is None

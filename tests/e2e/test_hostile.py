"""
Nothing a client sends can end the process, hang it, grow it without bound, or slow other sessions.
"""
import socket
import struct
import threading
import time

import pytest

import wire
from harness import wait_until
from wire import SYNC, Connection, error_of, message, parse, query

RISKY = "ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()"


def columns(server, database):
    return server.sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0", database)


@pytest.fixture
def setting(server, proxy_factory, database):
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database)
    return proxy_factory(server, "policy: {small_table: {rows: 0, size: 0}}\n")


@pytest.mark.parametrize("kind", ["query", "parse"])
def test_late_discovery_in_a_200_mb_message(setting, server, database, kind):
    """The last statement of a message that is already on its way is an ALTER: nothing of it may be executed."""
    proxy = setting
    before = proxy.memory_kb()
    filler = b"/*" + b"x" * (1 << 20) + b"*/ SELECT 1;"
    body_length = 200 * len(filler) + len(RISKY) + 1
    connection = Connection(proxy.port, database=database, timeout=120)
    prefix = b"\0" if kind == "parse" else b""
    suffix = b"\0\0\0" if kind == "parse" else b"\0"
    length = 4 + len(prefix) + 200 * len(filler) + len(RISKY) + len(suffix)
    assert body_length
    peak = 0
    try:
        connection.send((b"P" if kind == "parse" else b"Q") + struct.pack("!I", length) + prefix)
        for _ in range(200):
            connection.send(filler)
            peak = max(peak, proxy.memory_kb())
        connection.send(RISKY.encode() + suffix)
        if kind == "parse":
            connection.send(SYNC)
    except (ConnectionResetError, BrokenPipeError):
        pass
    got = connection.until("Z")
    assert connection.ended
    error = error_of(got)
    assert error is None or error["S"] == "FATAL"
    assert columns(server, database) == "1"
    assert peak - before < 80000
    with Connection(proxy.port, database=database) as other:
        assert error_of(other.query("SELECT 1")) is None


def test_a_large_message_without_ddl_passes(setting, database):
    connection = Connection(setting.port, database=database, timeout=120)
    text = "SELECT length('" + "x" * 50_000_000 + "')"
    got = connection.query(text)
    assert error_of(got) is None and b"50000000" in got[1][1]
    connection.close()


def test_a_large_migration_is_told_what_to_do(setting, server, database):
    """DDL at the head of a message too long to hold: refused cleanly, the session lives on."""
    connection = Connection(setting.port, database=database, timeout=120)
    got = connection.query(RISKY + "; SELECT '" + "x" * 20_000_000 + "'")
    assert error_of(got)["C"] in ("SL001", "SL004") and [k for k, _ in got][-1] == "Z"
    assert error_of(connection.query("SELECT 1")) is None
    assert columns(server, database) == "1"
    connection.close()


class Latency:
    """Another session's round trips while something goes on."""

    def __init__(self, port):
        self.connection, self.worst, self.n, self.running = Connection(port), 0.0, 0, True
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while self.running:
            started = time.monotonic()
            self.connection.query("SELECT 1")
            self.worst = max(self.worst, time.monotonic() - started)
            self.n += 1
            time.sleep(0.002)

    def stop(self):
        self.running = False
        self.thread.join()
        self.connection.close()
        return self.worst


NASTY = {
    "1 MB of 1+1+… in DDL": "ALTER TABLE t ADD COLUMN x int DEFAULT 1" + "+1" * 500_000,
    "200 kB of 1+1+… in DDL": "ALTER TABLE t ADD COLUMN x int DEFAULT 1" + "+1" * 100_000,
    "deep parentheses": "ALTER TABLE t ADD COLUMN x int DEFAULT " + "(" * 100_000 + "1" + ")" * 100_000,
    "deep NOT": "ALTER TABLE t ADD COLUMN x bool DEFAULT " + "NOT " * 60_000 + "true",
    "deep casts": "ALTER TABLE t ADD COLUMN x int DEFAULT 1" + "::int" * 40_000,
    "deep arrays": "ALTER TABLE t ADD COLUMN x int DEFAULT (" + "ARRAY[" * 30_000 + "1" + "]" * 30_000 + ")[1]",
    "many subcommands": "ALTER TABLE t " + ",".join("ADD COLUMN c%d int" % n for n in range(8000)),
    # a server alone takes time by the square of the depth: 75 s for 100,000
    "nested comments": "/*" * 5_000 + "*/" * 5_000 + " ALTER TABLE t ADD COLUMN x int",
    "an endless comment": "ALTER TABLE t ADD COLUMN x int /* " + "x" * 1_000_000,
    "an endless string": "ALTER TABLE t ADD COLUMN x text DEFAULT '" + "x" * 1_000_000,
    "a DO of DO of DO": "DO $a$ BEGIN EXECUTE $b$ DO $c$ BEGIN EXECUTE $d$ DO $e$ BEGIN EXECUTE $f$ DO $g$ BEGIN END $g$ "
                        "$f$; END $e$ $d$; END $c$ $b$; END $a$",
    "a DO with a deep body": "DO $$ DECLARE x int; BEGIN " + "IF true THEN " * 3000 + "x := 1; " + "END IF; " * 3000
                             + "END $$",
    "100,000 statements": "CREATE TEMP TABLE x (a int);" * 100_000,
    "invalid UTF-8": b"ALTER TABLE t ADD COLUMN \xff\xfe int",
    "a long name": "ALTER TABLE t ADD COLUMN %s int" % ("n" * 100_000),
    "control characters": "ALTER TABLE t ADD COLUMN \"a\nb\x1b[31m\x07\" int",
    "a NUL": b"SELECT 1; \0 " + RISKY.encode(),
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_text(setting, server, database, name):
    text = NASTY[name]
    latency = Latency(setting.port)
    connection = Connection(setting.port, database=database, timeout=60)
    try:
        for attempt in (query(text), parse(text) + SYNC):
            try:
                connection.send(attempt)
                got = connection.until("Z")
            except (ConnectionResetError, BrokenPipeError):
                got = []
            if connection.ended:
                connection = Connection(setting.port, database=database, timeout=60)
            else:
                assert got[-1][0] == "Z"
    finally:
        worst = latency.stop()
        connection.socket.close()
    assert setting.process.poll() is None
    assert worst < 0.5, "another session waited %.0f ms" % (worst * 1000)  # the sanitizers slow everything down
    with Connection(setting.port, database=database) as other:
        assert error_of(other.query("SELECT 1")) is None
    if name in ("a NUL",):
        assert columns(server, database) == "1"


BROKEN = {
    "length 0": b"Q\0\0\0\0",
    "length 3": b"Q\0\0\0\x03",
    "length -1": b"Q\xff\xff\xff\xff",
    "2 GB": b"Q\x7f\xff\xff\xff" + b"x" * 100,
    "an unknown type": b"!\0\0\0\x04",
    "no terminator": message("Q", b"SELECT 1"),
    "parse without an end": message("P", b"name"),
    "bind without an end": message("B", b""),
    "execute of 1 MB": message("E", b"x" * 1_000_000),
    "describe of nothing": message("D", b""),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_messages(setting, name):
    connection = Connection(setting.port, timeout=20)
    try:
        connection.send(BROKEN[name])
        connection.send(SYNC, query("SELECT 1"))
    except OSError:
        pass
    connection.until("Z", 2)
    connection.socket.close()
    with Connection(setting.port) as other:
        assert error_of(other.query("SELECT 1")) is None


STARTS = {
    "nothing": b"",
    "length 0": struct.pack("!II", 0, 196608),
    "length 7": struct.pack("!I", 7) + b"abc",
    "too long": struct.pack("!II", 1 << 20, 196608),
    "protocol 2": struct.pack("!II", 8, 131072),
    "protocol 9": struct.pack("!II", 8, 9 << 16),
    "no terminator": struct.pack("!II", 17, 196608) + b"user\0post",
    "no user": wire.startup({"database": "postgres"}),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a cancel": struct.pack("!II", 10, 80877102) + b"xx",
    "a cancel with a long key": struct.pack("!II", 8 + 2000, 80877102) + b"x" * 2000,
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
}


@pytest.mark.parametrize("name", STARTS)
def test_broken_starts(setting, name):
    sock = socket.create_connection(("127.0.0.1", setting.port), timeout=5)
    sock.sendall(STARTS[name])
    sock.shutdown(socket.SHUT_WR)
    try:
        while sock.recv(4096):
            pass
    except (ConnectionResetError, socket.timeout):
        pass
    sock.close()
    with Connection(setting.port) as other:
        assert error_of(other.query("SELECT 1")) is None


def test_a_pipeline_that_never_reads(setting):
    """Work is queued without end and no answer is read: memory stays bounded, others go on."""
    before = setting.memory_kb()
    connection = Connection(setting.port, timeout=2)
    piece = (parse("SELECT 1") + wire.bind() + wire.execute()) * 1000
    sent = 0
    try:
        while sent < 300_000_000:
            sent += connection.socket.send(piece)
    except (socket.timeout, OSError):
        pass
    assert setting.memory_kb() - before < 60000
    with Connection(setting.port) as other:
        assert error_of(other.query("SELECT 1")) is None
    connection.socket.close()


def test_prepared_ddl_is_bounded(setting, database):
    """A client that prepares DDL without end is refused at some point, and the proxy does not grow."""
    before = setting.memory_kb()
    connection = Connection(setting.port, database=database, timeout=60)
    refused = False
    for n in range(60):
        got = connection.talk(*[parse("CREATE TEMP TABLE x (a text DEFAULT '%s')" % ("y" * 10_000), "s%d_%d" % (n, m))
                                for m in range(100)], SYNC)
        refused = refused or error_of(got) is not None
    assert refused
    assert setting.memory_kb() - before < 120000
    connection.close()


def test_many_hostile_sessions_at_once(setting, database):
    latency = Latency(setting.port)

    def work():
        for _ in range(5):
            try:
                with Connection(setting.port, database=database, timeout=60) as connection:
                    connection.query(NASTY["200 kB of 1+1+… in DDL"])
            except (OSError, RuntimeError):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert latency.stop() < 1.0
    assert setting.process.poll() is None
    wait_until(lambda: True)

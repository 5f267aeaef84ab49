"""
TLS on both legs: every pair of modes, client certificates, channel binding, bytes stuffed behind SSLRequest.
"""
import hashlib
import shutil
import socket
import ssl
import struct
import subprocess
import time

import pytest

import wire
from harness import AS_SERVER, psql, run, wait_until
from wire import Connection, error_of, fields

SSLREQUEST = struct.pack("!II", 8, 80877103)
GSSENCREQUEST = struct.pack("!II", 8, 80877104)


def openssl(*words):
    subprocess.run(["openssl", *[str(w) for w in words]], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def make_certificate(folder, name, common_name, ca=None, names="DNS:localhost,IP:127.0.0.1", days=30):
    key, certificate = folder / (name + ".key"), folder / (name + ".crt")
    if ca is None:
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days, "-subj", "/CN=" + common_name, "-keyout",
                key, "-out", certificate)
    else:
        request = folder / (name + ".csr")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + common_name, "-keyout", key, "-out", request)
        extension = folder / (name + ".ext")
        extension.write_text("subjectAltName=%s\n" % names)
        openssl("x509", "-req", "-in", request, "-CA", ca[1], "-CAkey", ca[0], "-CAcreateserial", "-days", days, "-out",
                certificate, "-extfile", extension)
    key.chmod(0o600)
    return key, certificate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    made = {"ca": make_certificate(folder, "ca", "test CA"), "other_ca": make_certificate(folder, "other", "other CA")}
    made["server"] = make_certificate(folder, "server", "localhost", made["ca"])
    made["proxy"] = make_certificate(folder, "proxy", "localhost", made["ca"])
    made["wrong_name"] = make_certificate(folder, "wrong", "elsewhere", made["ca"], "DNS:elsewhere.example")
    made["postgres"] = make_certificate(folder, "client", "postgres", made["ca"])
    made["stranger"] = make_certificate(folder, "stranger", "postgres", made["other_ca"])
    made["alice"] = make_certificate(folder, "alice", "alice", made["ca"])
    return made


@pytest.fixture
def tls_server(server_factory, certificates, folder):
    """A server with TLS (or without: tls=False), SCRAM for user scram, trust for postgres, certificates for alice."""
    def make(tls=True, hba=None, certificate="server"):
        rules = hba or "host all postgres 127.0.0.1/32 trust\nhost all scram 127.0.0.1/32 scram-sha-256\n"
        server = server_factory(hba="local all all trust\n" + rules)
        if tls:
            place = server.folder / "tls"
            place.mkdir()
            for source, name in ((certificates[certificate][0], "key"), (certificates[certificate][1], "crt"),
                                 (certificates["ca"][1], "ca")):
                shutil.copy(source, place / name)
                (place / name).chmod(0o600)
                if AS_SERVER:
                    shutil.chown(place / name, "postgres")
            place.chmod(0o755)
            server.sql("ALTER SYSTEM SET ssl_cert_file = '%s'" % (place / "crt"))
            server.sql("ALTER SYSTEM SET ssl_key_file = '%s'" % (place / "key"))
            server.sql("ALTER SYSTEM SET ssl_ca_file = '%s'" % (place / "ca"))
            server.sql("ALTER SYSTEM SET ssl = on")
            server.restart()
        server.sql("CREATE ROLE scram LOGIN PASSWORD 'secret'")
        server.sql("CREATE ROLE alice LOGIN")
        return server
    return make


def tls_config(certificates, client="prefer", upstream="prefer", pair="proxy", client_ca=None, upstream_ca="ca",
               upstream_pair=None):
    lines = ["tls:", "  client:", "    mode: %s" % client]
    if client not in ("disable",):
        lines += ["    certificate: %s" % certificates[pair][1], "    key: %s" % certificates[pair][0]]
    if client_ca:
        lines.append("    ca: %s" % certificates[client_ca][1])
    lines += ["  upstream:", "    mode: %s" % upstream]
    if upstream.startswith("verify"):
        lines.append("    ca: %s" % certificates[upstream_ca][1])
    if upstream_pair:
        lines += ["    certificate: %s" % certificates[upstream_pair][1], "    key: %s" % certificates[upstream_pair][0]]
    return "\n".join(lines) + "\n"


MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


def libpq_accepts(mode, offered):
    """Does a client of this sslmode get a session where TLS is offered or not?"""
    return offered or mode in ("disable", "allow", "prefer")


@pytest.mark.parametrize("server_tls", [True, False], ids=["server with TLS", "server without"])
@pytest.mark.parametrize("upstream", MODES)
def test_every_pair_of_modes(tls_server, proxy_factory, certificates, server_tls, upstream):
    server = tls_server(server_tls)
    for client in MODES:
        ca = "ca" if client.startswith("verify") else None
        proxy = proxy_factory(server, tls_config(certificates, client, upstream, client_ca=ca))
        for sslmode in MODES:
            environment = {"PGSSLMODE": sslmode, "PGSSLROOTCERT": certificates["ca"][1], "PGHOST": "localhost"}
            with_certificate = {"PGSSLCERT": certificates["postgres"][1], "PGSSLKEY": certificates["postgres"][0]}
            done = run(["psql", "-X", "-At", "-p", proxy.port, "-U", "postgres", "-c",
                        "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "postgres"],
                       environment={**environment, **(with_certificate if client != "disable" else {})})
            upstream_works = libpq_accepts(upstream, server_tls)
            client_tls = client != "disable" and sslmode not in ("disable", "allow")
            client_works = (libpq_accepts(sslmode, client != "disable") and
                            (client in ("disable", "allow", "prefer") or sslmode != "disable"))
            expected = upstream_works and client_works
            what = "client leg %s, upstream leg %s, sslmode %s" % (client, upstream, sslmode)
            assert (done.returncode == 0) == expected, what + "\n" + done.stderr + proxy.log()
            if expected:
                upstream_tls = server_tls and upstream not in ("disable", "allow")
                assert done.stdout.strip() == ("t" if upstream_tls else "f"), what
                del client_tls
                client_tls = None
        proxy.stop()


def test_upstream_certificate_is_verified(tls_server, proxy_factory, certificates):
    server = tls_server(True)
    proxy = proxy_factory(server, tls_config(certificates, upstream="verify-ca", upstream_ca="other_ca"))
    done = psql(proxy.port, "SELECT 1", environment={"PGSSLMODE": "disable"})
    assert done.returncode != 0 and "certificate" in done.stderr, done.stderr


def test_upstream_name_is_verified(tls_server, proxy_factory, certificates):
    server = tls_server(True, certificate="wrong_name")
    good = proxy_factory(server, tls_config(certificates, upstream="verify-ca"))
    assert psql(good.port, "SELECT 1", environment={"PGSSLMODE": "disable"}).returncode == 0
    bad = proxy_factory(server, tls_config(certificates, upstream="verify-full"))
    done = psql(bad.port, "SELECT 1", environment={"PGSSLMODE": "disable"})
    assert done.returncode != 0 and "127.0.0.1" in done.stderr, done.stderr


def test_client_certificates(tls_server, proxy_factory, certificates):
    server = tls_server(True)
    proxy = proxy_factory(server, tls_config(certificates, client="verify-full", client_ca="ca"))

    def outcome(user, pair=None):
        environment = {"PGSSLMODE": "require"}
        if pair:
            environment.update(PGSSLCERT=certificates[pair][1], PGSSLKEY=certificates[pair][0])
        else:
            environment.update(PGSSLCERT="/nonexistent/crt", PGSSLKEY="/nonexistent/key")
        return psql(proxy.port, "SELECT 1", user=user, environment=environment)

    assert outcome("postgres", "postgres").returncode == 0
    assert outcome("postgres").returncode != 0
    assert outcome("postgres", "stranger").returncode != 0
    wrong = outcome("postgres", "alice")
    assert wrong.returncode != 0 and "common name" in wrong.stderr, wrong.stderr


def test_certificate_to_the_server(tls_server, proxy_factory, certificates):
    server = tls_server(True, hba="hostssl all alice 127.0.0.1/32 cert\nhost all postgres 127.0.0.1/32 trust\n")
    proxy = proxy_factory(server, tls_config(certificates, upstream="require", upstream_pair="alice"))
    done = psql(proxy.port, "SELECT current_user", user="alice", environment={"PGSSLMODE": "disable"})
    assert done.returncode == 0 and "alice" in done.stdout, done.stderr


# ---- SCRAM and channel binding ------------------------------------------------------------------------

def scram(port, binding, sslmode, root):
    return psql(port, "SELECT 'in'", user="scram",
                environment={"PGPASSWORD": "secret", "PGSSLMODE": sslmode, "PGCHANNELBINDING": binding,
                             "PGSSLROOTCERT": root})


def test_scram_passes_through(tls_server, proxy_factory, certificates):
    root = certificates["ca"][1]
    for server_tls in (True, False):
        server = tls_server(server_tls)
        plain = proxy_factory(server, tls_config(certificates, client="disable"))
        assert "in" in scram(plain.port, "prefer", "disable", root).stdout
        assert "in" in scram(plain.port, "prefer", "prefer", root).stdout
        no_upstream = proxy_factory(server, tls_config(certificates, client="require", upstream="disable"))
        assert "in" in scram(no_upstream.port, "prefer", "require", root).stdout
        assert scram(no_upstream.port, "require", "require", root).returncode != 0


def test_channel_binding_where_it_can_succeed(tls_server, proxy_factory, certificates):
    """The proxy presents the server's own certificate."""
    server = tls_server(True)
    proxy = proxy_factory(server, tls_config(certificates, client="require", upstream="require", pair="server"))
    for binding in ("require", "prefer", "disable"):
        done = scram(proxy.port, binding, "require", certificates["ca"][1])
        assert "in" in done.stdout, done.stderr


def test_channel_binding_where_it_cannot(tls_server, proxy_factory, certificates):
    server = tls_server(True)
    proxy = proxy_factory(server, tls_config(certificates, client="require", upstream="require"))
    root = certificates["ca"][1]
    assert "in" in scram(proxy.port, "disable", "require", root).stdout
    done = scram(proxy.port, "prefer", "require", root)
    assert done.returncode != 0
    assert "channel binding" in done.stderr and "tls" in done.stderr and "check failed" not in done.stderr, done.stderr
    done = psql(proxy.port, "SELECT 'in'", user="scram",
                environment={"PGPASSWORD": "wrong", "PGSSLMODE": "require", "PGCHANNELBINDING": "disable"})
    assert "password authentication failed" in done.stderr


# ---- bytes where they do not belong -------------------------------------------------------------------

@pytest.mark.parametrize("request_", [SSLREQUEST, GSSENCREQUEST], ids=["SSLRequest", "GSSENCRequest"])
def test_plaintext_behind_a_request_ends_the_session(server, proxy_factory, certificates, request_):
    proxy = proxy_factory(server, tls_config(certificates))
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    sock.sendall(request_ + wire.startup({"user": "postgres", "database": "postgres"}))
    got = b""
    while True:
        try:
            more = sock.recv(4096)
        except ConnectionResetError:
            break
        if not more:
            break
        got += more
    assert b"Z\0\0\0\x05" not in got and b"R\0\0\0\x08\0\0\0\0" not in got


def test_plaintext_behind_the_servers_answer(proxy_factory, certificates):
    """A server (or someone in between) that sends more than 'S' is cut off; its words reach nobody."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = ("listen: [{address: 127.0.0.1, port: @PORT@}]\nupstream: {host: 127.0.0.1, port: %d}\n"
              % listener.getsockname()[1]) + tls_config(certificates, client="disable", upstream="require")
    proxy = proxy_factory(config=config)
    client = Connection(proxy.port, login=False)
    client.send(wire.startup({"user": "postgres", "database": "postgres"}))
    upstream, _ = listener.accept()
    assert upstream.recv(8) == SSLREQUEST
    upstream.sendall(b"S" + wire.message("E", b"SERROR\0MINJECTED\0\0"))
    got = client.until("Z")
    assert got and got[-1][0] == "E" and "INJECTED" not in fields(got[-1][1])["M"]
    upstream.close()
    listener.close()


def test_gss_is_declined_then_tls_may_follow(server, proxy_factory, certificates):
    proxy = proxy_factory(server, tls_config(certificates))
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    sock.sendall(GSSENCREQUEST)
    assert sock.recv(1) == b"N"
    sock.sendall(SSLREQUEST)
    assert sock.recv(1) == b"S"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    tls = context.wrap_socket(sock)
    tls.sendall(wire.startup({"user": "postgres", "database": "postgres"}))
    assert tls.recv(1) == b"R"
    tls.close()


def test_direct_tls_wants_alpn(server, proxy_factory, certificates):
    proxy = proxy_factory(server, tls_config(certificates))

    def handshake(protocols):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certificates["ca"][1])
        if protocols:
            context.set_alpn_protocols(protocols)
        sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(wire.startup({"user": "postgres", "database": "postgres"}))
            return tls.selected_alpn_protocol(), tls.recv(1)

    assert handshake(["postgresql"]) == ("postgresql", b"R")
    for bad in (["http/1.1"], None):
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            protocol, answer = handshake(bad)
            assert answer == b"R"


def test_old_tls_is_refused(server, proxy_factory, certificates):
    proxy = proxy_factory(server, tls_config(certificates))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    sock.sendall(SSLREQUEST)
    assert sock.recv(1) == b"S"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(sock)


def fingerprint(port):
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(SSLREQUEST)
    sock.recv(1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(sock) as tls:
        return hashlib.sha256(tls.getpeercert(True)).hexdigest()


def test_certificates_are_read_again_on_reload(server, proxy_factory, certificates, folder):
    for kind, source in (("key", certificates["proxy"][0]), ("crt", certificates["proxy"][1])):
        shutil.copy(source, folder / ("c." + kind))
    extra = "tls: {client: {mode: prefer, certificate: %s, key: %s}}\n" % (folder / "c.crt", folder / "c.key")
    proxy = proxy_factory(server, extra)
    before = fingerprint(proxy.port)
    (folder / "c.crt").write_text("nonsense")
    proxy.reload()
    assert fingerprint(proxy.port) == before  # what can't be used does not come into force
    for kind, source in (("key", certificates["server"][0]), ("crt", certificates["server"][1])):
        shutil.copy(source, folder / ("c." + kind))
    proxy.reload()
    wait_until(lambda: fingerprint(proxy.port) != before, 10)


def test_a_long_answer_over_tls(server, proxy_factory, certificates):
    proxy = proxy_factory(server, tls_config(certificates, client="require"))
    started = time.monotonic()
    done = psql(proxy.port, "SELECT md5(string_agg(repeat('x', 1000), '')) FROM generate_series(1, 10);\n"
                "COPY (SELECT repeat('y', 1000) FROM generate_series(1, 30000)) TO STDOUT;\n",
                environment={"PGSSLMODE": "require"})
    assert done.returncode == 0 and done.stdout.count("y" * 1000) == 30000
    assert time.monotonic() - started < 60


def test_no_error_names_a_secret(tls_server, proxy_factory, certificates):
    server = tls_server(True)
    proxy = proxy_factory(server, tls_config(certificates) + "log: {level: debug, trace: 'user=*'}\n")
    scram(proxy.port, "disable", "require", certificates["ca"][1])
    with Connection(server.port) as direct:
        assert error_of(direct.query("SELECT 1")) is None
    assert "secret" not in proxy.log()

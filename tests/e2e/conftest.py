"""
Fixtures of the end-to-end tests (the machinery is in harness.py):

  server            one PostgreSQL for all tests that don't change it as a whole;  database: an empty one in it
  server_factory    server_factory(version=None, settings=…, hba=…): a private one, Debian's if no version is said
  proxy_factory     proxy_factory(server, extra="…yaml…") or proxy_factory(config="… @PORT@ …"): a pgsluice in front;
                    its log is in .log(). A sanitizer report or a wrong exit status fails the test.
                    module_proxy_factory: the same for a whole module
"""
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from harness import Proxy, Server, basic_config, default_version, free_port, server_bins  # noqa: E402


@pytest.fixture
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="pgsluice-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def pytest_generate_tests(metafunc):
    """A module that says ALL_SERVERS = True runs on every server version that is at hand."""
    if "server" in metafunc.fixturenames and getattr(metafunc.module, "ALL_SERVERS", False):
        metafunc.parametrize("server", sorted(server_bins()), indirect=True, scope="session",
                             ids=lambda version: "PostgreSQL %d" % version)


@pytest.fixture(scope="session")
def server(shared_folder, request):
    """One server for all tests that don't change it as a whole; make a database of your own."""
    version = getattr(request, "param", None) or default_version()
    place = pathlib.Path(tempfile.mkdtemp(dir=shared_folder))
    place.chmod(0o755)
    shared = Server(place / "server", version)
    yield shared
    shared.stop("immediate")


@pytest.fixture
def server_factory(folder):
    made = []

    def make(version=None, **keywords):
        new = Server(folder / ("server%d" % len(made)), version or default_version(), **keywords)
        made.append(new)
        return new

    yield make
    for one in made:
        one.stop("immediate")


def proxies(folder):
    made = []

    def make(server=None, extra="", config=None, audit=True, **keywords):
        port = free_port()
        place = folder / ("proxy%d" % len(made))
        place.mkdir()
        if config is None:
            config = basic_config(server, port, extra, place if audit else None)
        new = Proxy(place, config.replace("@PORT@", str(port)), **keywords)
        new.port = port
        new.audit_path = place / "audit.log"
        made.append(new)
        return new

    yield make
    problems = []
    for one in made:
        try:
            code = one.stop()
            if code not in (0, 2, -signal.SIGKILL):
                problems.append("pgsluice ended with %s:\n%s" % (code, one.log()))
        except AssertionError as error:
            problems.append(str(error))
        for word in ("ERROR: AddressSanitizer", "runtime error:", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer"):
            if word in one.log():
                problems.append("sanitizer report:\n" + one.log())
    assert not problems, "\n".join(problems)


@pytest.fixture
def proxy_factory(folder):
    """proxy_factory(server, extra) with the basic configuration, or proxy_factory(config=…) with your own."""
    yield from proxies(folder)


@pytest.fixture(scope="module")
def module_proxy_factory(shared_folder):
    """The same; its proxies serve all tests of a module."""
    yield from proxies(pathlib.Path(tempfile.mkdtemp(dir=shared_folder)))


@pytest.fixture
def database(server, request):
    """
    An empty database of the test's own on the shared server, gone afterwards: a proxy of a later test would look for
    online changes in each of hundreds that were left.
    """
    name = "t_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in request.node.name.lower())[:50]
    server.sql('DROP DATABASE IF EXISTS "%s"' % name)
    server.sql('CREATE DATABASE "%s"' % name)
    yield name
    server.sql('DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name)

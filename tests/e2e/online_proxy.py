"""
A database that belongs to an ordinary role, `app`, and a proxy in front of it that carries changes out: the user's view.
"""
import contextlib
import pathlib
import threading
import time

import psycopg2

from harness import AS_SERVER, ROOT, psql, run, wait_until
from online import WORKER, ask, conninfo, install, role

APP = "app"


def online_config(server, *, more="", policy="", **settings):
    """The configuration behind `upstream`; `settings` go into the section online."""
    lines = ["online:", "  maintenance: '%s'" % conninfo(server, "postgres", WORKER)]
    lines += ["  %s: %s" % item for item in settings.items()]
    lines += ["policy: {small_table: {rows: 0, size: 0}%s}" % (", " + policy if policy else "")]
    return "\n".join(lines) + "\n" + more


def hand_over(server, database, setup=""):
    """Gives the database to `app`, makes it ready for online changes and runs `setup` in it, as app."""
    role(server, APP)
    server.sql('ALTER DATABASE "%s" OWNER TO %s' % (database, APP))
    server.sql("ALTER SCHEMA public OWNER TO %s" % APP, database)
    install(server, database)
    server.sql("GRANT %s TO %s" % (APP, WORKER), database)
    if setup:
        server.sql(setup, database, APP)


def app(port, database, application="test", autocommit=True, **more):
    connection = psycopg2.connect(host="127.0.0.1", port=port, dbname=database, user=APP, application_name=application,
                                  **more)
    connection.autocommit = autocommit
    return connection


@contextlib.contextmanager
def apps(port, database, **more):
    connection = app(port, database, **more)
    try:
        yield connection
    finally:
        connection.close()


def app_psql(port, text, database, *options):
    return psql(port, text, database, user=APP, options=["-q", "-At", "-v", "ON_ERROR_STOP=1", *options])


def dump_program(server):
    """A pg_dump that can read this server, or None."""
    own = server.bin / "pg_dump"
    debian = {int(f.parent.parent.name): f for f in pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_dump")}
    newest = max(debian, default=0)
    return own if own.exists() else debian[newest] if newest >= server.version else None


def dump(server, database, catalog=False):
    """pg_dump -s, without our own schema and the two lines that pg_dump makes up anew each time; with what else the catalog
    knows (columns that are gone are seen there), or that alone, where there is no pg_dump for this server."""
    program, lines = dump_program(server), []
    if catalog or not program:
        lines += server.sql((ROOT / "tests/truth/plan_schema.sql").read_text(), database).splitlines()
    if program:
        done = run([*AS_SERVER, program, "-s", "-h", "127.0.0.1", "-p", server.port, "-U", server.superuser, "-N",
                    "pgsluice", database])
        assert done.returncode == 0, done.stderr
        lines += [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
    return lines


def changes(server, database):
    """The states of all changes, in their order."""
    return server.sql("SELECT state FROM pgsluice.change ORDER BY id", database).split()


def finished(server, database, state="complete", seconds=60):
    """Waits until the last change has ended, and ended so."""
    wait_until(lambda: changes(server, database)[-1] in ("complete", "undone", "stuck"), seconds)
    assert changes(server, database)[-1] == state, server.sql(
        "SELECT row_to_json(c) FROM pgsluice.change c ORDER BY id DESC LIMIT 1", database)


class Doing:
    """A call on a thread of its own."""

    def __init__(self, what, *arguments):
        self.value = self.error = None
        self.took = None
        self.thread = threading.Thread(target=self._run, args=(what, arguments), daemon=True)
        self.thread.start()

    def _run(self, what, arguments):
        began = time.monotonic()
        try:
            self.value = what(*arguments)
        except Exception as error:  # for result() to raise
            self.error = error
        self.took = time.monotonic() - began

    def busy(self):
        return self.thread.is_alive()

    def result(self, seconds=60):
        self.thread.join(seconds)
        assert not self.busy(), "still busy after %s s" % seconds
        if self.error:
            raise self.error
        return self.value


class Writer:
    """Transactions of an application on one table, until it is left; `longest` of them in seconds."""

    def __init__(self, port, database, statements, pause=0.002):
        self.connection = app(port, database, application="writer")
        self.statements, self.pause = statements, pause
        self.n, self.longest, self.errors, self.going = 0, 0, [], True
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while self.going:
            began = time.monotonic()
            try:
                ask(self.connection, self.statements[self.n % len(self.statements)])
            except psycopg2.Error as error:
                self.errors.append(str(error))
            self.longest = max(self.longest, time.monotonic() - began)
            self.n += 1
            time.sleep(self.pause)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()
        self.connection.close()

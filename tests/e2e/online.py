"""
A database that is ready for online changes, and sessions in it: what the tests of schema and worker share.
"""
import contextlib
import json
import threading
import time

import psycopg2

from harness import PGSLUICE, SANITIZERS, run

WORKER = "pgsluice_worker"


def connect(server, database, user=None, application="test", autocommit=True):
    connection = psycopg2.connect(host="127.0.0.1", port=server.port, dbname=database, user=user or server.superuser,
                                  application_name=application)
    connection.autocommit = autocommit
    return connection


@contextlib.contextmanager
def session(server, database, user=None, **more):
    connection = connect(server, database, user, **more)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection, sql, *values):
    """The rows, or None."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else None


def conninfo(server, database, user=None):
    return "host=127.0.0.1 port=%d dbname=%s user=%s" % (server.port, database, user or server.superuser)


def command(*arguments, **keywords):
    return run([PGSLUICE, *arguments], environment=SANITIZERS, **keywords)


def install(server, database, *more, user=None):
    done = command("install", "--connect", conninfo(server, database, user), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def role(server, *names, attributes="LOGIN"):
    for name in names:
        server.sql("DO $$ BEGIN CREATE ROLE \"%s\" %s; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                   % (name, attributes))


def spec(kind="add-column", columns=(), unique=(), **more):
    return json.dumps({"version": 1, "kind": kind, "columns": list(columns), "unique": list(unique), "index": None,
                       "statement": "ALTER TABLE ...", **more})


class Watch:
    """A session that reads a table again and again; how long the longest of its statements took, in seconds. Beside it one
    that reads no table: what that one had to wait, the machine was busy with other things."""

    def __init__(self, server, database, sql, user=None, control="SELECT 1"):
        self.connection = connect(server, database, user, application="watch")
        self.control = Watch(server, database, control, user, None) if control else None
        self.sql, self.longest, self.n, self.over = sql, 0, 0, []
        self.going = True
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        with self.connection.cursor() as cursor:
            while self.going:
                began = time.monotonic()
                cursor.execute(self.sql)
                took = time.monotonic() - began
                self.longest, self.n = max(self.longest, took), self.n + 1
                self.over.append((began, took))
                time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        if self.control:
            self.control.__enter__()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()
        self.connection.close()
        if self.control:
            self.control.__exit__()

    def stalled(self):
        """Seconds that the table alone can have been the reason of."""
        return self.longest - self.control.longest

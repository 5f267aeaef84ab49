"""
The worker's connection to a server that says nothing, or what it shouldn't.
"""
import json
import os
import signal
import time

import psycopg2
import pytest

import harness
import online_worker as online
from online_worker import column, spec


def backend_of(server, change):
    """The server's process of the worker."""
    return int(server.sql("SELECT max(pid) FROM pg_stat_activity WHERE application_name = 'pgsluice change %d' "
                          "AND state = 'active' AND query LIKE '%%SELECT pg_temp.pgsluice_all%%'" % change) or 0)


def test_a_server_that_is_stopped(server_factory, proxy_factory):
    """Nothing answers, not even a cancel: the proxy ends all the same when it is told to."""
    server = server_factory()
    server.sql("CREATE DATABASE shop")
    online.prepare(server, "shop")
    server.sql("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100); CREATE FUNCTION slow() RETURNS int "
               "VOLATILE LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(1000); RETURN 1; END$$", "shop", online.OWNER)
    proxy = proxy_factory(server, online.config(server, more="  stall_budget: 60s\n"))
    change = online.begin(server, "shop", "ALTER TABLE t ADD COLUMN n int, ALTER COLUMN n SET DEFAULT slow()",
                          spec(column("n", fill=True)))
    pid = harness.wait_until(lambda: backend_of(server, change))
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert proxy.stop(signal.SIGTERM, 40) == 0
        assert time.monotonic() - began < 30
    finally:
        os.kill(pid, signal.SIGCONT)
        os.kill(postmaster, signal.SIGCONT)
    assert online.row(server, "shop", change)["state"] == "running"


def test_names_that_are_no_utf8(server, database, proxy_factory):
    """In a database of SQL_ASCII: refused, with nothing left behind; those that are UTF-8 are fine."""
    name = database + "_ascii"
    server.sql('DROP DATABASE IF EXISTS "%s"' % name)
    server.sql('CREATE DATABASE "%s" ENCODING \'SQL_ASCII\' LC_COLLATE \'C\' LC_CTYPE \'C\' TEMPLATE template0' % name)
    try:
        online.prepare(server, name)
        connection = psycopg2.connect(host="127.0.0.1", port=server.port, dbname=name, user=online.OWNER)
        connection.autocommit = True
        connection.set_client_encoding("SQL_ASCII")
        with connection.cursor() as cursor:
            for table in (b"gr\xf6\xdfe", "größe".encode()):
                cursor.execute(b"CREATE TABLE \"" + table + b"\" (id int); INSERT INTO \"" + table + b"\" VALUES (1)")
            proxy = proxy_factory(server, online.config(server) + "policy: {small_table: {rows: 0, size: 0}}\n")
            through = psycopg2.connect(host="127.0.0.1", port=proxy.port, dbname=name, user=online.OWNER)
            through.autocommit = True
            through.set_client_encoding("SQL_ASCII")
            with through.cursor() as author:
                author.execute("ALTER TABLE \"größe\" ADD COLUMN n uuid DEFAULT gen_random_uuid()".encode())
            with pytest.raises(psycopg2.Error) as failed:
                cursor.execute(b"BEGIN; ALTER TABLE \"gr\xf6\xdfe\" ADD COLUMN n uuid; SELECT pgsluice.begin_change("
                               b"'\"gr\xf6\xdfe\"'::regclass, '" + json.dumps(spec(column("n", fill=True))).encode()
                               + b"'::jsonb, '{}', NULL)")
            assert failed.value.pgcode == "SL001" and "not valid UTF-8" in str(failed.value)
            cursor.execute("ROLLBACK")
            with through.cursor() as author, pytest.raises(psycopg2.Error) as refused:  # judged by its text alone
                author.execute(b"ALTER TABLE \"gr\xf6\xdfe\" ADD COLUMN n uuid DEFAULT gen_random_uuid()")
            assert refused.value.pgcode == "SL001"
            through.close()
            cursor.execute("SELECT count(*) FROM pg_attribute WHERE attname = 'n' AND NOT attisdropped AND attrelid IN "
                           "(SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)")
            assert cursor.fetchone() == (1,)
            cursor.execute("SELECT state, count(*) FROM pgsluice.change GROUP BY 1")
            assert cursor.fetchall() == [("complete", 1)]
        connection.close()
        proxy.stop()
    finally:
        server.sql('DROP DATABASE "%s" WITH (FORCE)' % name)

"""
What seems to fail, and doesn't: a statement in front in the same message, or another session's transaction that is about
to commit, makes what the catalog's answer lacked. Whatever the catalog said, a statement that would work through the whole
table is refused, or at least warned of; each case is tried directly first, so that it is known to run.
"""
import threading
import time

import pytest

from harness import psql

ALL_SERVERS = True

SETUP = """
CREATE TABLE oth (id int PRIMARY KEY); INSERT INTO oth SELECT generate_series(1, 100);
CREATE TABLE big (id int NOT NULL, v text, w int CONSTRAINT ck CHECK (w > 0), k int, f int CONSTRAINT fk REFERENCES oth);
INSERT INTO big SELECT g, 'v', g, g, 1 FROM generate_series(1, 100) g;
CREATE TABLE par (id int NOT NULL, w int); CREATE TABLE kid (id int NOT NULL, w int) INHERITS (par);
INSERT INTO kid SELECT g, g FROM generate_series(1, 100) g;
"""

# one message: the rule that must speak of its heavy part
CASES = {
    "ALTER TABLE big DROP COLUMN w, ADD CONSTRAINT ck CHECK (id > 0)": "add-check",
    "ALTER TABLE big DROP COLUMN f, ADD CONSTRAINT fk FOREIGN KEY (k) REFERENCES oth": "add-foreign-key",
    "ALTER TABLE big ADD CONSTRAINT pk PRIMARY KEY (w); ALTER TABLE big DROP COLUMN w, ADD PRIMARY KEY (id)": "add-unique",
    "ALTER TABLE par RENAME w TO zz; ALTER TABLE kid ADD CONSTRAINT k2 CHECK (zz > 0)": "add-check",
    "ALTER TABLE par RENAME w TO zz; ALTER TABLE kid ALTER zz SET NOT NULL": "set-not-null",
    "ALTER TABLE par RENAME w TO zz; ALTER TABLE kid ADD CONSTRAINT u UNIQUE (zz)": "add-unique",
    "ALTER TABLE par ADD COLUMN zz int DEFAULT 1; CREATE INDEX k3 ON kid (zz)": "create-index",
    "DROP TABLE oth CASCADE; ALTER TABLE big ADD CONSTRAINT fk CHECK (id > 0)": "add-check",
    "CREATE DOMAIN ty AS int DEFAULT (random() * 5)::int; ALTER TABLE big ADD COLUMN c ty": "volatile-default",
    "CREATE DOMAIN ty AS int CHECK (value > 0); ALTER TABLE big ADD COLUMN c ty DEFAULT 1": "constrained-domain",
    "CREATE DOMAIN ty AS int CHECK (value > 0); CREATE DOMAIN ty2 AS ty; ALTER TABLE big ADD COLUMN c ty2": "constrained-domain",
    "DO $$BEGIN EXECUTE 'CREATE DOMAIN ty AS int CHECK (value > 0)'; END$$; ALTER TABLE big ADD COLUMN c ty DEFAULT 1":
        "constrained-domain",
    "SELECT 1 AS a INTO ty; ALTER TABLE big ADD COLUMN c _ty DEFAULT ARRAY[row((random() * 3)::int)]::_ty": "volatile-default",
    "CREATE TABLE ty (a int); ALTER TABLE big ADD COLUMN c ty DEFAULT row((random() * 3)::int)::ty": "volatile-default",
    "DO $$BEGIN PERFORM set_config('search_path', 'public', false); END$$; ALTER TABLE big ADD COLUMN c uuid DEFAULT "
    "gen_random_uuid()": "volatile-default",
}

# what the other session has yet to commit, and the statement that waits for it
WAITING = {
    "rename": ("ALTER TABLE big RENAME w TO zz", "ALTER TABLE big ADD CONSTRAINT k CHECK (zz > 0)", "add-check"),
    "type": ("ALTER TABLE big DROP CONSTRAINT ck; ALTER TABLE big RENAME w TO zz", "ALTER TABLE big ALTER zz TYPE bigint",
             "alter-type"),
    "constraint": ("ALTER TABLE big DROP CONSTRAINT ck", "ALTER TABLE big ADD CONSTRAINT ck CHECK (id > 0)", "add-check"),
    "index": ("ALTER TABLE big RENAME w TO zz", "CREATE INDEX i ON big (zz)", "create-index"),
}


@pytest.fixture(scope="module")
def proxy(server, module_proxy_factory):
    return module_proxy_factory(server, "policy: {profile: standard, small_table: {rows: 0, size: 0}}\n")


def send(port, statement, database):
    return psql(port, "", database, options=["-v", "ON_ERROR_STOP=1", "-c", statement])


@pytest.mark.parametrize("statement", CASES)
def test_in_front(server, proxy, database, statement):
    server.sql(SETUP, database)
    direct = send(server.port, "BEGIN; %s; ROLLBACK" % statement, database)
    assert direct.returncode == 0, direct.stderr
    got = send(proxy.port, statement, database)
    assert CASES[statement] in got.stderr, got.stderr


@pytest.mark.parametrize("case", WAITING)
def test_waiting(server, proxy, database, case):
    theirs, ours, rule = WAITING[case]
    server.sql(SETUP, database)
    other = threading.Thread(target=server.sql, args=("BEGIN; %s; SELECT pg_sleep(1.5); COMMIT" % theirs, database))
    other.start()
    time.sleep(0.5)
    got = send(proxy.port, ours, database)
    other.join()
    assert rule in got.stderr and "As things stand, it fails" in got.stderr, got.stderr

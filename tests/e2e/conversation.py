"""
Conversations made up at random: messages of both protocols in any order, errors in any place, cut anywhere. The same
one goes to a server directly and through the proxy, and the two must answer alike. A seed gives the same conversation
again.

A step is a list of (direct, proxied) messages, which differ only where a statement is to be refused: the server is
then sent a text that it can't read. Every barrier ends a COPY, sends a Sync and waits for the answer to an empty
query, of which there is no other.
"""
import random
import struct
import time

import wire
from wire import FLUSH, SYNC, TERMINATE, fields, message

BROKEN = "pgsluice_refused_volatile_default"
RISKY = "ALTER TABLE t ADD COLUMN %s uuid DEFAULT gen_random_uuid()"
SCHEMA = """
CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 40) n;
CREATE TABLE w (a int); CREATE TABLE d (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION five() RETURNS int STABLE LANGUAGE sql AS 'SELECT 5'; GRANT ALL ON t, w, d TO somebody;
"""

PLAIN = """SELECT 1|SELECT a, b FROM t ORDER BY a LIMIT 3|SELECT generate_series(1, 9)|INSERT INTO w VALUES (1)
INSERT INTO w VALUES (2) RETURNING a|UPDATE w SET a = a + 1|SELECT 1/0|SELECT nope|SELEC|TABLE nowhere
INSERT INTO d VALUES (1), (1)|INSERT INTO d VALUES (1)|DELETE FROM d|SELECT 'é'|SELECT 'a\\b'|SELECT E'a\\'b'
SHOW search_path|DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a|FETCH 2 FROM c|CLOSE c|CLOSE ALL
PREPARE q AS SELECT 7|EXECUTE q|DEALLOCATE q|DEALLOCATE s1|DEALLOCATE ALL|DISCARD ALL|DISCARD PLANS|VACUUM w
LOCK TABLE w|EXPLAIN (COSTS off) SELECT 1|CALL nobody()|SELECT pg_notify('ch', 'x')|SELECT count(*) FROM w""".replace(
    "\n", "|").split("|")
BLOCKS = """BEGIN|BEGIN|START TRANSACTION|BEGIN ISOLATION LEVEL SERIALIZABLE|BEGIN READ ONLY|COMMIT|COMMIT|END|ROLLBACK
SAVEPOINT a|SAVEPOINT b|ROLLBACK TO a|ROLLBACK TO SAVEPOINT b|RELEASE a|RELEASE SAVEPOINT b|COMMIT AND CHAIN
ROLLBACK AND CHAIN|SET TRANSACTION ISOLATION LEVEL REPEATABLE READ|SET TRANSACTION READ ONLY|ABORT
SET CONSTRAINTS ALL IMMEDIATE|ROLLBACK AND NO CHAIN""".replace("\n", "|").split("|")
SETTINGS = """SET client_encoding = 'LATIN1'|SET client_encoding = 'UTF8'|SET client_encoding = 'SJIS'
SET standard_conforming_strings = off|SET standard_conforming_strings = on|SET application_name = 'x'|RESET ALL
SET LOCAL application_name = 'y'|SET ROLE somebody|RESET ROLE|SET search_path = pg_temp, public|LISTEN ch|UNLISTEN *
NOTIFY ch, 'hello'|SET escape_string_warning = off|SET client_min_messages = error|SET TIME ZONE 'UTC'
SET default_transaction_isolation = 'serializable'|SET default_transaction_read_only = on
SET SESSION AUTHORIZATION somebody|RESET SESSION AUTHORIZATION|SET DateStyle = 'ISO, DMY'""".replace(
    "\n", "|").split("|")
CHANGES = """ALTER TABLE t ADD COLUMN %s int|ALTER TABLE t ADD COLUMN %s int DEFAULT 5|ALTER TABLE t ADD COLUMN %s text
ALTER TABLE t ADD COLUMN %s int DEFAULT five()|ALTER TABLE t ADD COLUMN %s int
ALTER TABLE t ADD COLUMN %s date DEFAULT current_date|ALTER TABLE t ADD COLUMN %s int, ADD COLUMN a int
ALTER TABLE t ADD COLUMN %s nosuchtype|ALTER TABLE t ADD COLUMN %s int DEFAULT 1/0""".replace("\n", "|").split("|")
OTHERS = """ALTER TABLE nowhere ADD COLUMN a int|DROP TABLE IF EXISTS nowhere|CREATE TEMP TABLE x (a int)
ALTER TABLE x ADD COLUMN b int|DROP TABLE x|CREATE INDEX i ON t (b)|DROP INDEX i|COMMENT ON TABLE t IS 'x'
DO $$ BEGIN RAISE NOTICE 'n'; END $$|DO $$ BEGIN RAISE EXCEPTION 'e'; END $$|CREATE INDEX CONCURRENTLY j ON t (b)
DROP INDEX CONCURRENTLY j|SELECT a INTO TEMP y FROM t|GRANT SELECT ON t TO PUBLIC|ALTER TABLE t ADD|TRUNCATE w
CREATE VIEW v AS SELECT 1 AS a|DROP VIEW v|VACUUM FULL w|ALTER TABLE t OWNER TO somebody|REINDEX TABLE w
ALTER TABLE x ALTER COLUMN b TYPE text|CREATE SCHEMA s|DROP SCHEMA s""".replace("\n", "|").split("|")


class Made:
    """One conversation: steps of (direct, proxied) messages, barriers and pauses."""

    def __init__(self, seed, length=None, refusals=True, only=None):
        self.random = random.Random(seed)
        self.seed = seed
        self.refusals = refusals
        self.columns = []
        self.steps = []
        self.broken_off = False  # the server ended the session before the client did
        self.weights = only or {"plain": 30, "block": 18, "setting": 8, "change": 18, "other": 8,
                                "refused": 10 if refusals else 0, "copy": 6}
        for _ in range(length or self.random.randint(3, 14)):
            self.step()
        self.steps.append("barrier")

    # ---- texts ----

    def column(self):
        self.columns.append("c%d_%d" % (self.seed, len(self.columns)))
        return self.columns[-1]

    def one(self):
        kind, = self.random.choices(list(self.weights), list(self.weights.values()))
        pick = self.random.choice
        if kind == "refused":
            return BROKEN, RISKY % self.column()
        sql = {"plain": lambda: pick(PLAIN), "block": lambda: pick(BLOCKS), "setting": lambda: pick(SETTINGS),
               "change": lambda: pick(CHANGES) % self.column(), "other": lambda: pick(OTHERS),
               "copy": lambda: pick(["COPY w FROM STDIN", "COPY w FROM STDIN", "COPY t (a, b) TO STDOUT",
                                     "COPY (SELECT 1/(a-3) FROM t) TO STDOUT"])}[kind]()
        return sql, sql

    def text(self, many=True):
        ones = [self.one() for _ in range(self.random.choice([1, 1, 1, 1, 1, 2, 3]) if many else 1)]
        direct, proxied = ("; ".join(one[i] for one in ones) for i in (0, 1))
        if self.random.random() < 0.05:
            direct, proxied = direct + " -- \u00e9", proxied + " -- \u00e9"
        return direct, proxied

    def name(self):
        return self.random.choice(["", "", "", "s1", "s2"])

    def portal(self):
        return self.random.choice(["", "", "", "p1", "p2"])

    # ---- messages ----

    def copying(self, texts):
        """What a client sends behind a COPY: as a rule the data."""
        if not any("FROM STDIN" in text for text in texts) or self.random.random() < 0.1:
            return []
        data = [wire.copy_data(self.random.choice([b"1\n", b"2\n3\n", b"x\n", b"4"]))
                for _ in range(self.random.randint(0, 3))]
        if self.random.random() < 0.3:
            data.insert(self.random.randint(0, len(data)), self.random.choice([SYNC, FLUSH]))
        end = self.random.choices([wire.COPY_DONE, wire.copy_fail("enough"), b""], [6, 3, 0.5])[0]
        return [(one, one) for one in data + [end]]

    def simple(self):
        direct, proxied = self.text()
        # From 17 on a server's own state goes astray where a Query comes behind an Execute without a Sync.
        return [(SYNC, SYNC), (wire.query(direct), wire.query(proxied))] + self.copying([direct])

    def pipeline(self):
        """Parse, Bind, Describe, Execute as drivers send them, with something wrong now and then."""
        found, last = [], None
        for _ in range(self.random.choice([1, 1, 1, 2, 2, 3, 5])):
            name, portal = self.name(), self.portal()
            texts = self.text(many=self.random.random() < 0.05)
            if self.random.random() < 0.85:
                found.append(tuple(wire.parse(text, name) for text in texts))
            if self.random.random() < 0.1:
                found.append((wire.describe("S", name),) * 2)
            if self.random.random() < 0.15:
                found.append((SYNC,) * 2)
            if self.random.random() < 0.9:
                found.append((wire.bind(portal, name),) * 2)
            if self.random.random() < 0.5:
                found.append((wire.describe("P", portal),) * 2)
            if self.random.random() < 0.15:
                found.append((FLUSH,) * 2)
            for _ in range(self.random.choice([1, 1, 1, 1, 0, 2])):
                found.append((wire.execute(portal, self.random.choice([0, 0, 0, 2])),) * 2)
            last = texts
            found += self.copying(texts)
        end = self.random.random()
        if end < 0.8:
            found.append((SYNC,) * 2)
        elif end < 0.9:
            found.append((FLUSH,) * 2)
        return found

    def single(self):
        made = self.random.choice([
            SYNC, SYNC, FLUSH, wire.close("S", self.name()), wire.close("P", self.portal()),
            wire.describe("S", self.name()), wire.describe("P", self.portal()), wire.execute(self.portal(), 2),
            wire.bind(self.portal(), self.name()), wire.COPY_DONE, wire.copy_data(b"1\n"), wire.copy_fail(),
            wire.bind(self.portal(), self.name(), [b"x"]), wire.bind("", "nobody"),
            message("F", struct.pack("!IHHH", 89, 0, 0, 0)), message("F", struct.pack("!IHHH", 1, 0, 0, 0)),
            wire.parse("SELECT $1::int + 1", self.name())])
        return [(made, made)]

    def step(self):
        chance = self.random.random()
        if chance < 0.40:
            self.steps.append(self.simple())
        elif chance < 0.80:
            self.steps.append(self.pipeline())
        else:
            self.steps.append(self.single())
        chance = self.random.random()
        if chance < 0.45:
            self.steps.append("barrier")
        elif chance < 0.65:
            self.steps.append("pause")

    def show(self, side=1):
        lines = []
        for step in self.steps:
            if isinstance(step, str):
                lines.append(step)
            else:
                lines += ["  %s %r" % (chr(one[side][0]), one[side][5:]) for one in step if one[side]]
        return "\n".join(lines)

    # ---- holding it ----

    def hold(self, connection, side, pieces=True):
        """Sends it and returns the trace. The connection is at its end afterwards."""
        cuts = random.Random(self.seed)
        trace = []
        for step in self.steps + ["end"]:
            if connection.ended:
                self.broken_off = True
                break
            if step == "pause":
                time.sleep(cuts.choice([0, 0.001, 0.004]))
            elif step == "barrier":
                send(connection, wire.copy_fail() + SYNC + wire.query(""), cuts if pieces else None)
                trace += to_barrier(connection)
            elif step == "end":
                send(connection, TERMINATE, None)
                trace += connection.until("")
            else:
                send(connection, b"".join(one[side] for one in step), cuts if pieces else None)
        connection.socket.close()
        return trace


def send(connection, data, cuts):
    try:
        for _ in range(cuts.choice([0, 0, 0, 1, 3]) if cuts else 0):
            at = cuts.randint(0, len(data))
            connection.socket.sendall(data[:at])
            data = data[at:]
            if cuts.random() < 0.5:
                time.sleep(0.0007)
        connection.socket.sendall(data)
    except OSError:
        pass


def to_barrier(connection):
    got = []
    empty = False
    while True:
        one = connection.receive()
        if one is None:
            return got
        got.append(one)
        empty = empty or one[0] == "I"
        if one[0] == "Z" and empty:
            return got


def alike(one, two):
    """Errors that may differ: a refusal stands for a syntax error, and where several errors are in a message another
    one may come first. What a server in copy mode did not expect may be our question's message."""
    if one["C"] == "42601" and two["C"] in ("SL001", "42601", "25P02"):
        return True
    return "unexpected message type" in one["M"] and "unexpected message type" in two["M"]


def comparable(trace):
    """Warnings of our own are not the server's business; who notified is another in every session."""
    kept = [(kind, b"") if kind == "A" else (kind, body) for kind, body in trace
            if not (kind == "N" and fields(body).get("M", "").startswith("pgsluice ("))]
    return wire.plain(kept)


def differ(direct, proxied):
    """None, or where the two traces part, and why."""
    one, two = comparable(direct), comparable(proxied)
    over = any(t and t[-1][0] == "E" and dict(t[-1][1]).get("V") == "FATAL" for t in (one, two))
    for n, (a, b) in enumerate(zip(one, two)):
        if a == b or a[0] == b[0] == "E" and alike(dict(a[1]), dict(b[1])):
            continue
        if b[0] == "E" and dict(b[1])["C"] == "SL900" and "after a COPY that failed" in dict(b[1])["M"]:
            return None  # cut, for good reason
        return "message %d: directly %r, through the proxy %r" % (n, a, b)
    if len(one) != len(two) and not over:
        return "%d messages directly, %d through the proxy: %r" % (len(one), len(two),
                                                                   one[len(two):] or two[len(one):])
    return None

"""
Online changes without a client: the safe form and pgsluice.begin_change() are sent as the proxy would send them, straight
to the server, and a pgsluice carries the change out.
"""
import json
import re
import subprocess

import harness

WORKER = "pgsluice_worker"
OWNER = "shop_owner"


def prepare(server, database, owner=OWNER):
    """Roles, and the schema pgsluice."""
    server.sql("DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%s') THEN CREATE ROLE %s LOGIN; "
               "END IF; END $$; ALTER ROLE %s LOGIN" % (owner, owner, owner))
    done = harness.run([harness.PGSLUICE, "install", "--connect",
                        "host=127.0.0.1 port=%d user=%s dbname=%s" % (server.port, server.superuser, database)])
    assert done.returncode == 0, done.stderr + done.stdout
    grant = "WITH INHERIT FALSE" if server.version >= 16 else ""
    server.sql("GRANT %s TO %s %s; GRANT CREATE ON DATABASE \"%s\" TO %s" % (owner, WORKER, grant, database, owner))
    server.sql("GRANT CREATE, USAGE ON SCHEMA public TO %s" % owner, database)


def config(server, throttle="", more=""):
    return ("online:\n  maintenance: 'host=127.0.0.1 port=%d user=%s dbname=postgres'\n  lock_time: 5s\n%s"
            "  throttle: {%s}\n" % (server.port, WORKER, more,
                                    throttle or "latency_percent: 0, autovacuum: false"))


def column(name, **more):
    return {"name": name, "added": True, "fill": False, "not_null": False, "not_null_name": None, "identity": None,
            "serial": False, **more}


def unique(*columns, name=None, **more):
    return {"name": name, "columns": list(columns), "include": [], "nulls_not_distinct": False, "deferrable": False,
            "deferred": False, **more}


def spec(*columns, kind="add-column", uniques=(), index=None):
    return {"version": 1, "kind": kind, "columns": list(columns), "unique": list(uniques), "index": index,
            "statement": "ALTER TABLE ..."}


def begin(server, database, safe, what, table="public.t", user=OWNER):
    """Commits a change; returns its id."""
    out = server.sql(
        "BEGIN; CREATE TEMP TABLE before ON COMMIT DROP AS SELECT array_agg(oid) AS them FROM pg_constraint "
        "WHERE conrelid OPERATOR(pg_catalog.=) '%s'::regclass::oid;\n%s;\n"
        "SELECT format('change %%s', pgsluice.begin_change('%s'::regclass, $j$%s$j$::jsonb, coalesce(them, '{}'), NULL)) "
        "FROM before; COMMIT;" % (table, safe, table, json.dumps(what)), database, user)
    return int(re.search(r"change (\d+)", out).group(1))


def row(server, database, change):
    text = server.sql("SELECT row_to_json(c) FROM pgsluice.change c WHERE id = %d" % change, database)
    return json.loads(text)


def wait(server, database, change, *states, seconds=60):
    """The row, when it is in one of the states."""
    states = states or ("complete", "undone")
    last = {}

    def arrived():
        nonlocal last
        last = row(server, database, change)
        return last["state"] in states
    try:
        harness.wait_until(arrived, seconds, 0.05)
    except AssertionError:
        raise AssertionError("change %d is not %s but: %s" % (change, states, last)) from None
    return last


SHAPE = """
SELECT 'column', a.attrelid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
       a.atthasdef, pg_get_expr(d.adbin, d.adrelid), a.attislocal, a.attinhcount, a.attcollation::regcollation
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p'))
   AND a.attnum > 0 AND NOT a.attisdropped;
SELECT 'constraint', c.conrelid::regclass, c.conname, c.contype, c.convalidated, c.condeferrable, c.condeferred, c.conislocal,
       c.coninhcount, c.connoinherit, pg_get_constraintdef(c.oid), c.conindid::regclass
  FROM pg_constraint c WHERE c.connamespace = 'public'::regnamespace;
SELECT 'index', i.indexrelid::regclass, pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indisunique, i.indisprimary,
       i.indimmediate, pg_get_userbyid(c.relowner)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace;
SELECT 'sequence', s.seqrelid::regclass, s.seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle,
       d.deptype, d.refobjid::regclass, d.refobjsubid, pg_get_userbyid(c.relowner), c.relpersistence
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
  LEFT JOIN pg_depend d ON d.objid = s.seqrelid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
 WHERE c.relnamespace = 'public'::regnamespace;
SELECT 'trigger', tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal;
"""


def shape(server, database):
    """What the catalog says of the schema public; and pg_dump, where one for this server is at hand."""
    text = "\n".join(sorted(server.sql(SHAPE, database).splitlines())) + "\n"
    pg_dump = server.bin / "pg_dump"
    if not pg_dump.exists() and server.version < harness.default_version():
        pg_dump = harness.server_bins()[harness.default_version()] / "pg_dump"
    if pg_dump.exists():
        done = subprocess.run([str(pg_dump), "-s", "-N", "pgsluice", "-h", "127.0.0.1", "-p", str(server.port), "-U",
                               server.superuser, database], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        text += "\n".join(line for line in done.stdout.splitlines() if "restrict " not in line)
    return text

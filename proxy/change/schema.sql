-- The schema `pgsluice`, version 1: the tables, who may see what, and steering. schema_lock.sql and schema_begin.sql
-- follow it. Installed by `pgsluice install` in one transaction; every statement can be run again. $WORKER$ stands
-- for the worker's role, quoted.
--
-- What is said of rights here is the trust model:
--   * Whoever installs it owns it: a superuser, or who owns the database. Functions that are SECURITY DEFINER run
--     with its rights, fix their search_path, and take no SQL text that they would execute.
--   * Believe in a schema `pgsluice` only where SCHEMA_TRUSTED (schema.h) is true: anybody with CREATE on the database
--     could have made one. It is owned by a superuser, or by the database's owner if that one is a member of every role
--     that the reader is a member of: an owner of some database must not gain the rights of the worker. Sessions that
--     call lock() and the worker that reads pgsluice.change both have to ask.
--   * pgsluice.change is written by begin_checked() (EXECUTE for PUBLIC), by the steering functions, and by the
--     worker. What counts is current_user, who is asked by row-level security: session_user may be a superuser, or the
--     worker, whose session runs a function of somebody else. begin_change(), with its caller's rights, writes a row of
--     pgsluice.asked, which only a member of the owner of the table and of all below it can; begin_checked() takes
--     that of its own transaction away again.
--   * Anybody may read the rows about tables of roles that he is a member of; pg_monitor sees all of them in the view
--     pgsluice.progress, without what may quote rows of the table.
--   * The worker is a login without attributes, a member (INHERIT FALSE where 16 and later can say so) of the
--     owners of those tables that may be changed online. It may write only the columns that are its own.
--   * spec.index.sql is text that a client wrote. begin_change() lets only one through that begins with CREATE [UNIQUE]
--     INDEX CONCURRENTLY; the worker sends it with the extended protocol (PQexecParams), which takes one statement
--     only, so that it can't be anything else.

-- progress, what the worker writes for people (all optional, beside its own checkpoints): "rows" done in this phase,
--   "rows_total" as estimated, "rate" in rows a second; "blocks" swept of "blocks_total", and "block_rate". pgsluice.progress
--   makes percent and eta of the blocks: rows lie unevenly, and their number is an estimate. Without blocks, of the rows.
--
-- spec, as the proxy sends it (policy/plan.c) -> and as begin_change() completes it:
--   { "version": 1, "kind": "add-column",
--     "columns": [ { "name": "token", "added": true, "fill": true, "not_null": true, "not_null_name": null,
--                    "identity": null | {"always": true},   -> "number": attnum
--                    "serial": false } ],                   -> "sequence": oid, for identity and serial
--     "unique": [ { "name": null | "k",                     -> "name": chosen as PostgreSQL would
--                   "columns": ["token"], "include": [], "nulls_not_distinct": false, "deferrable": false,
--                   "deferred": false } ],
--     "index": null | { "sql": "CREATE INDEX CONCURRENTLY ...", "name": "i" | null, "if_not_exists": false,
--                       "search_path": ["public"] },   in which the author's own words of it are looked up
--     "statement": "ALTER TABLE ..." }
--                                                           -> "settings": {"search_path", "TimeZone", ...} of the
--     author's session, as settings_of() lists them
--                                                           -> "validate": [ {"name", "type": "c"|"f"|"n"} ]:
--     the constraints of the table that are NOT VALID and were not there before (argument `before`; 18's NOT ENFORCED
--     ones left out). "added" columns have to be new in this transaction: undoing drops them.
--
-- pgsluice.lock(relation regclass, mode text, stall_ms int, total_ms int) RETURNS void: SECURITY INVOKER, EXECUTE
--   for PUBLIC. Takes the lock (it stays with the transaction) without ever queueing for longer than the stall
--   budget: first attempts with NOWAIT, then ones with a lock_timeout of a fraction of the budget, with back-off and
--   jitter; autovacuum that is in the way is made to yield (a short deadlock_timeout in force during an attempt).
--   mode as LOCK TABLE says it: 'ACCESS EXCLUSIVE'. A lock_timeout of the session that is shorter than total_ms counts
--   in its place. Partitions and children are locked too.
-- pgsluice.lock_all(relations regclass[], modes text[], stall_ms int, total_ms int) RETURNS void: several tables, all or none.
--   Two calls of lock() would hold the first table for as long as the second takes. SHARE ROW EXCLUSIVE of a table that
--   the caller may refer to (REFERENCES), but not LOCK, is left to his ALTER TABLE.
--   After 2 s and then every 10 s a NOTICE (SQLSTATE SL102) names the blocker: pid, user, application, state, age,
--   query. At the end: ERROR 55P03, with message, detail (the blocker) and hint.
-- pgsluice.add_sequence(relation regclass, column_name name, type text, options text) RETURNS regclass: INVOKER. Call it
--   when the column is there. For serial (`type` is smallserial, serial or bigserial, or `options` is NULL):
--   the sequence as ALTER TABLE ADD COLUMN ... serial would have made it (name, owner), OWNED BY the column, and the
--   column's DEFAULT nextval(). For identity: the same under the name <table>_<column>_fill_seq; `options` is the author's
--   text of the sequence options ("START WITH 5"), '' if none.
-- pgsluice.relation_name(relation regclass, columns text[], label text) RETURNS name: as ChooseRelationName() would. Label
--   key, pkey (no columns), excl, idx or seq; columns INCLUDEd columns too.
-- pgsluice.begin_change(relation regclass, spec jsonb, before oid[], nonce text) RETURNS bigint: INVOKER; what follows is
--   done by pgsluice.begin_checked(), DEFINER, with the same arguments.
--   Call it with the lock on the table held; without one, it takes SHARE UPDATE EXCLUSIVE, or fails at once. Checks what
--   must hold before anything is changed: no ENABLE ALWAYS or REPLICA trigger or rule on UPDATE; FORCE ROW LEVEL SECURITY;
--   a worker role that is a member of the owner; no temporary or foreign table; no unfinished change of this table, its
--   parents or children that another transaction began (one transaction may begin several: they are carried out one by
--   one). Completes the spec,
--   writes the row, and, where nonce is given, RAISEs INFO with MESSAGE nonce, DETAIL the id, ERRCODE 'SL100'.
--   What it refuses is ERROR with ERRCODE 'SL001', DETAIL and HINT. relation may be a partitioned parent: the spec stays
--   that of the parent, the worker goes through the leaves.
-- pgsluice.pause(bigint), resume(bigint), cancel(bigint) RETURNS text (the state): INVOKER; for members of the owner.
-- pgsluice.impatient(ms int) RETURNS boolean: deadlock_timeout for the transaction, from 1 ms to what it is set to anyway;
--   with the installer's rights where the caller has none. False: the installer hasn't either.
-- For the worker alone: pgsluice.replica() RETURNS boolean sets session_replication_role for the transaction, likewise.
--   Call it before SET ROLE.
--   pgsluice.load(relation oid) RETURNS TABLE (lag_ms float8, archive_backlog bigint, autovacuum boolean), for the throttle:
--   what a role without pg_monitor can't see. NULL: the installer can't either.
-- pgsluice.home() RETURNS text: what the column home has to be for a row to be of this database. Rows of another one have
--   come with a dump, and their oids mean nothing: leave them alone.
-- pgsluice.meta: one row; worker is the role's name.
-- pgsluice.progress: a view for people.

CREATE SCHEMA IF NOT EXISTS pgsluice;
-- From here on nobody else can make one of that name.
DO $$
DECLARE
  owner name := (SELECT pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace n WHERE n.nspname = 'pgsluice');
BEGIN
  -- Whoever made the schema could have put triggers on its tables, to be run by our functions.
  IF owner <> current_user AND NOT (SELECT pg_catalog.bool_and(r.rolsuper) FROM pg_catalog.pg_roles r
                                    WHERE r.rolname IN (owner, current_user)) THEN
    RAISE EXCEPTION 'a schema "pgsluice" is there already and belongs to %', owner
      USING ERRCODE = 'insufficient_privilege',
            HINT = pg_catalog.format('Install as %I, or DROP SCHEMA pgsluice CASCADE and install anew.', owner);
  END IF;
END $$;

-- The proxy reads the version here (policy/catalog_sql.c): a comment can be read without a right on the schema, and
-- reading it can't fail. PLAN_SCHEMA_VERSION in policy/plan.h and CHANGE_SCHEMA_VERSION are the same number.
COMMENT ON SCHEMA pgsluice IS 'pgsluice schema version 1';
REVOKE ALL ON SCHEMA pgsluice FROM PUBLIC;
GRANT USAGE ON SCHEMA pgsluice TO PUBLIC;

CREATE TABLE IF NOT EXISTS pgsluice.meta (
  one       boolean PRIMARY KEY DEFAULT true CHECK (one), -- one row; a publication wants a key
  version   int NOT NULL,
  installed timestamptz NOT NULL DEFAULT now(),
  worker    name NOT NULL);
GRANT SELECT ON pgsluice.meta TO PUBLIC;

CREATE TABLE IF NOT EXISTS pgsluice.change (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  state         text NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'running', 'undoing', 'complete', 'undone', 'stuck')),
  wanted        text NOT NULL DEFAULT 'run' CHECK (wanted IN ('run', 'pause', 'cancel')),
  phase         text NOT NULL DEFAULT 'added',  -- added fill check validate index finish analyze undo
  relation      oid NOT NULL,
  table_schema  text NOT NULL,
  table_name    text NOT NULL,
  owner         oid NOT NULL,      -- the table's, when the change began
  session_role  text NOT NULL,     -- who asked: session_user
  application   text NOT NULL,
  kind          text NOT NULL,     -- add-column set-not-null add-check add-foreign-key add-unique create-index
  statement     text,              -- as the author wrote it, for people only
  home          text NOT NULL,     -- pgsluice.home() when it began
  spec          jsonb NOT NULL,    -- what is to be done: see above
  columns       text[] NOT NULL,   -- in quarantine until it is complete
  progress      jsonb NOT NULL DEFAULT '{}', -- checkpoints and figures of the worker
  throttled     text,              -- why the worker makes a pause right now
  error_code    text, error_message text, error_detail text,
  worker        text,              -- who has, or had, the lease: host:pid
  created_at    timestamptz NOT NULL DEFAULT now(),
  started_at    timestamptz, heartbeat_at timestamptz, finished_at timestamptz);
CREATE INDEX IF NOT EXISTS change_unfinished ON pgsluice.change (id) WHERE state NOT IN ('complete', 'undone');
CREATE INDEX IF NOT EXISTS change_of_table ON pgsluice.change (relation) WHERE state NOT IN ('complete', 'undone');

-- This database of this server. A dump brings rows to where their oids mean other tables: they are nobody's work there.
CREATE OR REPLACE FUNCTION pgsluice.home() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.system_identifier || '/' || d.oid FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
$$;

-- May this role do as the owner does? Since 16 a membership can be one that gives no rights.
CREATE OR REPLACE FUNCTION pgsluice.acts_as(role name, owner oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_has_role(role, owner, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'USAGE, SET'
                                       ELSE 'MEMBER' END)
$$;

-- Asked with the rights of whoever reads: also in the view, which runs with its owner's.
CREATE OR REPLACE FUNCTION pgsluice.may_see(owner oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pgsluice.acts_as(current_user, owner) OR pg_has_role('pg_monitor', 'MEMBER')
      OR current_user = (SELECT m.worker FROM pgsluice.meta m)
$$;
REVOKE ALL ON FUNCTION pgsluice.may_see(oid), pgsluice.home(), pgsluice.acts_as(name, oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.may_see(oid), pgsluice.home(), pgsluice.acts_as(name, oid) TO PUBLIC;

ALTER TABLE pgsluice.change ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS see ON pgsluice.change;
-- Whole rows only for who may read the table anyway: error_detail quotes keys, and statement constants. pg_monitor has the
-- view, which shows neither.
CREATE POLICY see ON pgsluice.change FOR SELECT USING (
  pgsluice.acts_as(current_user, owner) OR current_user = (SELECT m.worker FROM pgsluice.meta m));
-- What another database's dump has brought is no work for it, although people see it.
DROP POLICY IF EXISTS at_home ON pgsluice.change;
CREATE POLICY at_home ON pgsluice.change AS RESTRICTIVE FOR ALL TO $WORKER$ USING (home = pgsluice.home());
-- Steering is no more than this.
DROP POLICY IF EXISTS steer ON pgsluice.change;
CREATE POLICY steer ON pgsluice.change FOR UPDATE USING (pgsluice.acts_as(current_user, owner));
DROP POLICY IF EXISTS work ON pgsluice.change;
CREATE POLICY work ON pgsluice.change FOR UPDATE TO $WORKER$ USING (true) WITH CHECK (true);
REVOKE ALL ON pgsluice.change FROM PUBLIC;
GRANT SELECT ON pgsluice.change, pgsluice.change_id_seq TO PUBLIC; -- the sequence for pg_dump
GRANT UPDATE (wanted) ON pgsluice.change TO PUBLIC;
GRANT UPDATE (state, wanted, phase, progress, throttled, error_code, error_message, error_detail, worker, started_at,
  heartbeat_at, finished_at) ON pgsluice.change TO $WORKER$;

CREATE OR REPLACE VIEW pgsluice.progress WITH (security_barrier) AS
  SELECT c.id, CASE WHEN c.home = pgsluice.home() OR c.state IN ('complete', 'undone') THEN c.state ELSE 'foreign' END AS state,
         CASE WHEN c.wanted = 'run' THEN NULL ELSE c.wanted END AS wanted, c.phase,
         format('%I.%I', c.table_schema, c.table_name) AS "table", c.kind, f.rows, f.total AS rows_total,
         round(CASE WHEN c.state = 'complete' THEN 100 WHEN d.total > 0 THEN least(100, 100 * d.done / d.total) END, 1)
           AS percent,
         f.rate, CASE WHEN c.state = 'running' AND d.rate > 0 AND d.total > d.done
                      THEN make_interval(secs => round((d.total - d.done) / d.rate)::float8) END AS eta,
         -- of a change that is stuck it says why, with what the server said in detail
         CASE WHEN c.state <> 'stuck' OR pgsluice.acts_as(current_user, c.owner) THEN c.throttled ELSE 'stuck' END
           AS throttled,
         date_trunc('second', coalesce(c.finished_at, clock_timestamp()) - c.created_at) AS age,
         c.session_role, c.error_message
    FROM pgsluice.change c,
         LATERAL (SELECT CASE WHEN jsonb_typeof(c.progress->'rows') = 'number' THEN (c.progress->>'rows')::numeric END,
                         CASE WHEN jsonb_typeof(c.progress->'rows_total') = 'number'
                              THEN (c.progress->>'rows_total')::numeric END,
                         CASE WHEN jsonb_typeof(c.progress->'rate') = 'number' THEN (c.progress->>'rate')::numeric END,
                         CASE WHEN jsonb_typeof(c.progress->'blocks') = 'number'
                              THEN (c.progress->>'blocks')::numeric END,
                         CASE WHEN jsonb_typeof(c.progress->'blocks_total') = 'number'
                              THEN (c.progress->>'blocks_total')::numeric END,
                         CASE WHEN jsonb_typeof(c.progress->'block_rate') = 'number'
                              THEN (c.progress->>'block_rate')::numeric END)
           AS f (rows, total, rate, blocks, blocks_total, block_rate),
         LATERAL (SELECT CASE WHEN f.blocks_total IS NULL THEN f.rows ELSE f.blocks END,
                         coalesce(f.blocks_total, f.total),
                         CASE WHEN f.blocks_total IS NULL THEN f.rate ELSE f.block_rate END)
           AS d (done, total, rate)
   WHERE pgsluice.may_see(c.owner);
REVOKE ALL ON pgsluice.progress FROM PUBLIC;
GRANT SELECT ON pgsluice.progress TO PUBLIC;

-- ---- steering ----

-- Whoever may not see a change is told the same as if it were not there.
CREATE OR REPLACE FUNCTION pgsluice.steer(change bigint, wish text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
  it record;
BEGIN
  SELECT c.id, c.state, c.owner INTO it FROM pgsluice.change c WHERE c.id = steer.change FOR UPDATE;
  IF it.id IS NULL OR NOT pgsluice.acts_as(current_user, it.owner) THEN
    RAISE EXCEPTION 'there is no change % of a table of yours in this database', change
      USING ERRCODE = 'no_data_found', HINT = 'SELECT id, state, "table" FROM pgsluice.progress lists them.';
  ELSIF it.state IN ('complete', 'undone') OR (it.state = 'undoing' AND wish <> 'run') THEN
    RAISE EXCEPTION 'change % is % already', change, CASE it.state WHEN 'undoing' THEN 'being undone' ELSE it.state END
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Nothing was changed by this call.';
  END IF;
  UPDATE pgsluice.change SET wanted = wish WHERE id = it.id;
  RETURN it.state;
END $$;
CREATE OR REPLACE FUNCTION pgsluice.pause(change bigint) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT pgsluice.steer(change, ''pause'')';
CREATE OR REPLACE FUNCTION pgsluice.resume(change bigint) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT pgsluice.steer(change, ''run'')';
CREATE OR REPLACE FUNCTION pgsluice.cancel(change bigint) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT pgsluice.steer(change, ''cancel'')';
REVOKE ALL ON FUNCTION pgsluice.steer(bigint, text), pgsluice.pause(bigint), pgsluice.resume(bigint), pgsluice.cancel(bigint)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.steer(bigint, text), pgsluice.pause(bigint), pgsluice.resume(bigint), pgsluice.cancel(bigint) TO PUBLIC;

-- ---- what only the installer may set ----

-- No trigger but ENABLE ALWAYS and REPLICA fires from here to the end of the transaction.
CREATE OR REPLACE FUNCTION pgsluice.replica() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('session_replication_role', 'replica', true);
  RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
  RETURN false;
END $$;
REVOKE ALL ON FUNCTION pgsluice.replica() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.replica() TO $WORKER$;

-- The same until RESET ALL, for commands that can't run in a transaction.
CREATE OR REPLACE FUNCTION pgsluice.replica_session() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('session_replication_role', 'replica', false);
  RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
  RETURN false;
END $$;
REVOKE ALL ON FUNCTION pgsluice.replica_session() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.replica_session() TO $WORKER$;

-- An event trigger that fires in replica mode too, and so for what the worker does under another's role; or NULL.
CREATE OR REPLACE FUNCTION pgsluice.event_trigger() RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT min(e.evtname::text)::name FROM pg_event_trigger e
   WHERE e.evtenabled IN ('A', 'R') AND e.evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite')
$$;
REVOKE ALL ON FUNCTION pgsluice.event_trigger() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.event_trigger() TO $WORKER$;

-- For PUBLIC: never above what is in force anyway, so nobody can use it to hide from the deadlock detector or the log.
CREATE OR REPLACE FUNCTION pgsluice.impatient(ms int DEFAULT 5) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('deadlock_timeout', greatest(1, least(ms, s.reset_val::int))::text, true)
     FROM pg_settings s WHERE s.name = 'deadlock_timeout';
  RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
  RETURN false;
END $$;
REVOKE ALL ON FUNCTION pgsluice.impatient(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.impatient(int) TO PUBLIC;

-- ---- the server's load, for the throttle ----

CREATE OR REPLACE FUNCTION pgsluice.archive_backlog() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT count(*) FROM pg_ls_archive_statusdir() f WHERE f.name LIKE '%.ready');
EXCEPTION WHEN insufficient_privilege THEN
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION pgsluice.archive_backlog() FROM PUBLIC;

-- A standby that has replayed everything reports no lag; one that is catching up or was cut off is as late as it says.
CREATE OR REPLACE FUNCTION pgsluice.load(relation oid, OUT lag_ms float8, OUT archive_backlog bigint, OUT autovacuum boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (SELECT max(coalesce(extract(epoch FROM r.replay_lag) * 1000, 0)) FROM pg_stat_replication r
           WHERE r.state IN ('streaming', 'catchup'))::float8,
         pgsluice.archive_backlog(),
         EXISTS (SELECT FROM pg_stat_progress_vacuum v JOIN pg_stat_activity a ON a.pid = v.pid
                  WHERE v.datname = current_database() AND v.relid = load.relation
                    AND a.backend_type = 'autovacuum worker')
$$;
REVOKE ALL ON FUNCTION pgsluice.load(oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.load(oid) TO $WORKER$;

-- pgsluice.lock(): the contract stands in schema.sql. What a waiting ALTER TABLE does to a busy table is what this is
-- about: whoever comes behind it waits too. So most attempts don't queue (NOWAIT), and those that do, which alone can
-- make autovacuum yield or outwait a stream of short transactions, queue for half the stall budget at most, with twice
-- the budget between them, so that what piled up behind one is gone before the next.

-- A table with its partitions or children, the parents first, as LOCK TABLE goes through them.
CREATE OR REPLACE FUNCTION pgsluice.tree(relation oid) RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE tree (member, depth) AS (
    SELECT relation, 0
    UNION
    SELECT i.inhrelid, t.depth + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.member)
  SELECT t.member FROM tree t GROUP BY t.member ORDER BY min(t.depth), t.member
$$;

CREATE OR REPLACE FUNCTION pgsluice.conflicts(mode text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT array_agg(replace(initcap(m.mode), ' ', '') || 'Lock')
    FROM (VALUES ('ACCESS SHARE', 1, 8), ('ROW SHARE', 2, 7), ('ROW EXCLUSIVE', 3, 5), ('SHARE UPDATE EXCLUSIVE', 4, 4),
                 ('SHARE', 5, 3), ('SHARE ROW EXCLUSIVE', 6, 3), ('EXCLUSIVE', 7, 2), ('ACCESS EXCLUSIVE', 8, 1))
           AS m (mode, strength, least),
         (VALUES ('ACCESS SHARE', 1, 8), ('ROW SHARE', 2, 7), ('ROW EXCLUSIVE', 3, 5), ('SHARE UPDATE EXCLUSIVE', 4, 4),
                 ('SHARE', 5, 3), ('SHARE ROW EXCLUSIVE', 6, 3), ('EXCLUSIVE', 7, 2), ('ACCESS EXCLUSIVE', 8, 1))
           AS ours (mode, strength, least)
   WHERE ours.mode = conflicts.mode AND m.strength >= ours.least AND NOT (ours.mode = 'SHARE' AND m.mode = 'SHARE')
$$;

-- Who is in the way, the holders first. With the installer's rights, because most roles may not see another's state:
-- what is told of a session is its pid, user, application, kind, state and age, to those who may lock the table, and
-- of those only who hold or await a lock on it that is in the way. Never its query: that the caller looks up himself.
CREATE OR REPLACE FUNCTION pgsluice.blockers(relation regclass, mode text)
RETURNS TABLE (pid int, role name, application text, kind text, state text, age interval, held text, waits boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH locks AS (
    SELECT l.pid, l.virtualtransaction, l.granted, min(l.relation::regclass::text) AS name, min(l.mode) AS mode
      FROM pg_locks l
     WHERE l.locktype = 'relation' AND l.mode = ANY (pgsluice.conflicts(blockers.mode))
       AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
       AND l.relation IN (SELECT pgsluice.tree(blockers.relation)) AND l.pid IS DISTINCT FROM pg_backend_pid()
       AND (SELECT pgsluice.acts_as(session_user, c.relowner)
                OR has_table_privilege(session_user, c.oid, 'UPDATE, DELETE, TRUNCATE')
                OR has_any_column_privilege(session_user, c.oid, 'REFERENCES')
              FROM pg_class c WHERE c.oid = blockers.relation)
     GROUP BY l.pid, l.virtualtransaction, l.granted)
  SELECT l.pid, coalesce(u.rolname, p.owner), coalesce(a.application_name, p.gid),
         CASE WHEN l.pid IS NULL THEN 'prepared transaction'
              WHEN a.backend_type = 'autovacuum worker' AND a.query LIKE '%(to prevent wraparound)'
              THEN 'autovacuum to prevent wraparound'
              ELSE coalesce(a.backend_type, 'client backend') END,
         a.state, clock_timestamp() - coalesce(a.xact_start, p.prepared), l.mode || ' on ' || l.name, NOT l.granted
    FROM locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_roles u ON u.oid = a.usesysid
    LEFT JOIN LATERAL (SELECT x.* FROM pg_prepared_xacts x JOIN pg_locks t ON t.transactionid = x.transaction
                        WHERE l.pid IS NULL AND t.pid IS NULL AND t.virtualtransaction = l.virtualtransaction
                        LIMIT 1) p ON true
   ORDER BY NOT l.granted, 6 DESC NULLS LAST
$$;

-- What a person is told: who in a few words, all of them one a line, and what to do about the first.
CREATE OR REPLACE FUNCTION pgsluice.blockers_told(relations regclass[], modes text[], OUT who text, OUT detail text,
                                                  OUT hint text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  b record;
  n int := 0;
  line text;
BEGIN
  FOR b IN SELECT x.*, a.query FROM unnest(relations, modes) AS t (relation, mode), pgsluice.blockers(t.relation, t.mode) x
             LEFT JOIN pg_stat_activity a ON a.pid = x.pid AND a.query NOT IN ('', '<insufficient privilege>')
            ORDER BY x.waits, x.age DESC NULLS LAST LOOP
    n := n + 1;
    CONTINUE WHEN n > 5;
    line := CASE WHEN b.kind = 'prepared transaction' THEN format('prepared transaction %L of %s', b.application, b.role)
                 WHEN b.kind LIKE 'autovacuum%' THEN format('%s, session %s,', b.kind, b.pid)
                 ELSE format('session %s (user %s, application %L)', b.pid, b.role, b.application) END;
    IF n = 1 THEN
      who := line || CASE WHEN b.waits THEN ' waits for it too' ELSE ' is in the way' END;
      hint := CASE b.kind
        WHEN 'prepared transaction' THEN format('End it with COMMIT PREPARED %L or ROLLBACK PREPARED %1$L', b.application)
        WHEN 'autovacuum to prevent wraparound' THEN 'This autovacuum does not give way, and should not be ended: wait until it is done'
        WHEN 'autovacuum worker' THEN 'Autovacuum did not give way: is the schema pgsluice installed by a superuser?'
        ELSE format('Let session %s end its transaction, or end it: SELECT pg_terminate_backend(%1$s)', b.pid) END;
    END IF;
    detail := concat_ws(E'\n', detail, concat_ws(', ', rtrim(line, ','), b.state,
      CASE WHEN b.age IS NOT NULL
           THEN format('its transaction is %s s old', round(extract(epoch FROM b.age)::numeric, 1)) END,
      CASE WHEN b.waits THEN 'waits for ' ELSE 'holds ' END || b.held)
      || coalesce(': ' || left(regexp_replace(b.query, '\s+', ' ', 'g'), 200), '') || '.');
  END LOOP;
  IF n = 0 THEN
    who := 'short transactions use it without a gap';
    detail := 'Nobody holds it right now.';
    hint := 'It is likely to work when there is less going on';
  ELSIF n > 5 THEN
    detail := detail || format(E'\nAnd %s more.', n - 5);
  END IF;
END $$;

-- Versions before this one had a function that locked with the installer's rights.
DROP FUNCTION IF EXISTS pgsluice.lock_referenced(regclass, boolean, boolean);

CREATE OR REPLACE FUNCTION pgsluice.lock_one(relation regclass, mode text, only_it boolean, queue boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF mode = 'SHARE ROW EXCLUSIVE'
     AND NOT has_table_privilege(relation, CASE WHEN current_setting('server_version_num')::int >= 170000
                                                THEN 'UPDATE, DELETE, TRUNCATE, MAINTAIN' ELSE 'UPDATE, DELETE, TRUNCATE' END)
     AND has_any_column_privilege(relation, 'REFERENCES') THEN
    RETURN; -- for a foreign key: he may not LOCK it, but ALTER TABLE will do so for him
  END IF;
  EXECUTE format('LOCK TABLE %s %s IN %s MODE %s', CASE WHEN only_it THEN 'ONLY' END, relation, mode,
                 CASE WHEN NOT queue THEN 'NOWAIT' END);
END $$;

-- One attempt at all of them. 0 ms: doesn't queue at all; else it queues for as long in all, however many tables and
-- partitions there are.
CREATE OR REPLACE FUNCTION pgsluice.lock_attempt(relations regclass[], modes text[], ms int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  began constant timestamptz := clock_timestamp();
  relation regclass;
  name text;
  member regclass;
  remain int := ms;
BEGIN
  FOR i IN 1 .. cardinality(relations) LOOP
    relation := relations[i];
    name := relation::text;
    FOR member IN SELECT relation UNION ALL (SELECT t.member FROM pgsluice.tree(relation) t (member) OFFSET 1) LOOP
      remain := ms - extract(epoch FROM clock_timestamp() - began) * 1000;
      EXIT WHEN remain < 1;
      PERFORM set_config('lock_timeout', remain::text, true);
      PERFORM pgsluice.lock_one(member, modes[i], true, true);
    END LOOP;
    PERFORM pgsluice.lock_one(relation, modes[i], false, false);
    IF to_regclass(name) IS DISTINCT FROM relation THEN
      RAISE EXCEPTION 'table % was renamed meanwhile', name USING ERRCODE = 'lock_not_available';
    END IF;
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.check_lock(relations regclass[], modes text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  one record;
BEGIN
  IF coalesce(cardinality(relations), 0) = 0 THEN
    RAISE EXCEPTION 'no table to be locked' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  FOR one IN SELECT t.* FROM unnest(relations, modes) AS t (relation, mode) LOOP
    IF pgsluice.conflicts(one.mode) IS NULL THEN
      RAISE EXCEPTION 'no such lock mode: %', one.mode USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = one.relation) THEN
      RAISE EXCEPTION 'table % does not exist any more', one.relation USING ERRCODE = 'undefined_table';
    END IF;
  END LOOP;
END $$;

-- The settings as they were when lock() was called. Those of an attempt that failed are gone with it.
CREATE OR REPLACE FUNCTION pgsluice.patient(lock_timeout text, deadlock_timeout text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('lock_timeout', lock_timeout, true);
  IF current_setting('deadlock_timeout') <> deadlock_timeout THEN
    BEGIN
      PERFORM set_config('deadlock_timeout', deadlock_timeout, true);
    EXCEPTION WHEN insufficient_privilege THEN
      PERFORM pgsluice.impatient(2147483647);
    END;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.lock_tell(relations regclass[], modes text[], began timestamptz, ends timestamptz)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  told constant record := pgsluice.blockers_told(relations, modes);
  names constant text := array_to_string(relations, ' and ');
BEGIN
  IF clock_timestamp() >= ends THEN
    RAISE EXCEPTION 'pgsluice got no lock on % in % s: %', names,
                    round(extract(epoch FROM clock_timestamp() - began)::numeric, 1), told.who
      USING ERRCODE = 'lock_not_available', DETAIL = told.detail,
            HINT = 'This statement has changed nothing. ' || told.hint || '. Then run it again.';
  END IF;
  RAISE NOTICE 'waiting for a lock on %: %', names, told.who
    USING ERRCODE = 'SL102', DETAIL = told.detail,
          HINT = format('Other statements go on meanwhile; this one tries for another %s s. %s.',
                        ceil(extract(epoch FROM ends - clock_timestamp())), told.hint);
END $$;

-- All of the tables or none: holding one while trying for the other would stall whoever uses the first.
CREATE OR REPLACE FUNCTION pgsluice.lock_all(relations regclass[], modes text[], stall_ms int, total_ms int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  began constant timestamptz := clock_timestamp();
  lock_timeout constant text := current_setting('lock_timeout');
  deadlock_timeout constant text := current_setting('deadlock_timeout');
  own constant interval := nullif(lock_timeout, '0')::interval; -- the author's patience
  total constant interval := least(own, make_interval(secs => total_ms / 1000.0));
  ends constant timestamptz := began + total;
  queue_ms constant int := greatest(5, stall_ms / 2);
  pause_ms float8 := 2 * greatest(stall_ms, 10);
  queues timestamptz := began + least(total / 4, make_interval(secs => 0.25)); -- when the next attempt may queue
  tells timestamptz := began + make_interval(secs => 2);
  sleep_ms float8 := 5;
  attempt_ms int;
  deadlocks int := 0;
BEGIN
  PERFORM pgsluice.check_lock(relations, modes);
  LOOP
    attempt_ms := CASE WHEN clock_timestamp() >= queues THEN queue_ms ELSE 0 END;
    BEGIN
      IF attempt_ms > 0 THEN
        PERFORM pgsluice.impatient(attempt_ms / 5);
      END IF;
      PERFORM pgsluice.lock_attempt(relations, modes, attempt_ms);
      IF attempt_ms > 0 THEN
        PERFORM pgsluice.patient(lock_timeout, deadlock_timeout);
      END IF;
      RETURN;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN -- with the attempt all that it locked and set is gone
      deadlocks := deadlocks + (SQLSTATE = '40P01')::int;
      IF deadlocks > 2 THEN -- not only of attempts: this transaction holds what another one needs
        RAISE;
      END IF;
    END;
    IF attempt_ms > 0 THEN
      pause_ms := least(pause_ms * 1.3, greatest(2000, 2 * stall_ms));
      queues := clock_timestamp() + make_interval(secs => pause_ms * (1 + random() / 2) / 1000);
    END IF;
    IF clock_timestamp() >= tells OR clock_timestamp() >= ends THEN
      PERFORM pgsluice.lock_tell(relations, modes, began, ends);
      tells := clock_timestamp() + make_interval(secs => 10);
    END IF;
    PERFORM pg_sleep(sleep_ms * (0.5 + random()) / 1000);
    sleep_ms := least(sleep_ms * 1.3, 100);
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.lock(relation regclass, mode text, stall_ms int, total_ms int) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS
  $$SELECT pgsluice.lock_all(ARRAY[relation], ARRAY[mode], stall_ms, total_ms)$$;

REVOKE ALL ON FUNCTION pgsluice.tree(oid), pgsluice.conflicts(text), pgsluice.blockers(regclass, text),
  pgsluice.blockers_told(regclass[], text[]),
  pgsluice.lock_one(regclass, text, boolean, boolean), pgsluice.lock_attempt(regclass[], text[], int),
  pgsluice.check_lock(regclass[], text[]), pgsluice.patient(text, text),
  pgsluice.lock_tell(regclass[], text[], timestamptz, timestamptz), pgsluice.lock_all(regclass[], text[], int, int),
  pgsluice.lock(regclass, text, int, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.tree(oid), pgsluice.conflicts(text), pgsluice.blockers(regclass, text),
  pgsluice.blockers_told(regclass[], text[]),
  pgsluice.lock_one(regclass, text, boolean, boolean), pgsluice.lock_attempt(regclass[], text[], int),
  pgsluice.check_lock(regclass[], text[]), pgsluice.patient(text, text),
  pgsluice.lock_tell(regclass[], text[], timestamptz, timestamptz), pgsluice.lock_all(regclass[], text[], int, int),
  pgsluice.lock(regclass, text, int, int) TO PUBLIC;

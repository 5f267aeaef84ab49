-- Beginning a change: names as the server would choose them, sequences, and pgsluice.begin_change(). The contract
-- stands in schema.sql.

-- The longest beginning of at most `bytes` bytes that ends with a whole character: pg_mbcliplen().
CREATE OR REPLACE FUNCTION pgsluice.clip(name text, bytes int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(max(left(clip.name, n)), '') FROM generate_series(0, length(clip.name)) n
   WHERE octet_length(left(clip.name, n)) <= bytes
$$;

-- makeObjectName(): of two names that are too long together the longer one gives way.
CREATE OR REPLACE FUNCTION pgsluice.object_name(name1 text, name2 text, label text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  bytes1 int := octet_length(name1);
  bytes2 int := coalesce(octet_length(name2), 0);
  most constant int := 63 - 1 - octet_length(label) - CASE WHEN name2 IS NULL THEN 0 ELSE 1 END;
BEGIN
  WHILE bytes1 + bytes2 > most LOOP
    IF bytes1 > bytes2 THEN
      bytes1 := bytes1 - 1;
    ELSE
      bytes2 := bytes2 - 1;
    END IF;
  END LOOP;
  RETURN concat_ws('_', pgsluice.clip(name1, bytes1), CASE WHEN name2 IS NOT NULL THEN pgsluice.clip(name2, bytes2) END,
                   label);
END $$;

-- ChooseIndexColumnNames() and ChooseIndexNameAddition(): columns named twice get a number, and the whole is cut.
CREATE OR REPLACE FUNCTION pgsluice.columns_name(columns text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  used text[] := '{}';
  origin text;
  name text;
  whole text := '';
BEGIN
  FOREACH origin IN ARRAY columns LOOP
    name := origin;
    FOR i IN 1 .. 10000 LOOP
      EXIT WHEN name <> ALL (used);
      name := pgsluice.clip(origin, 63 - length(i::text)) || i;
    END LOOP;
    used := used || name;
    IF octet_length(whole) < 64 THEN
      whole := whole || CASE WHEN whole = '' THEN '' ELSE '_' END || name;
    END IF;
  END LOOP;
  RETURN whole;
END $$;

-- ChooseRelationName(); names of constraints count only for a constraint's index (since PostgreSQL 11).
CREATE OR REPLACE FUNCTION pgsluice.relation_name_beside(relation regclass, columns text[], label text, taken text[])
RETURNS name
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  tab record;
  name text;
  suffix text := label;
BEGIN
  SELECT c.relname, c.relnamespace INTO STRICT tab FROM pg_class c WHERE c.oid = relation;
  FOR pass IN 1 .. 100000 LOOP
    name := pgsluice.object_name(tab.relname, CASE WHEN label <> 'pkey' THEN pgsluice.columns_name(columns) END, suffix);
    EXIT WHEN name <> ALL (taken)
      AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relname = name AND c.relnamespace = tab.relnamespace)
      AND NOT (label IN ('key', 'pkey', 'excl')
               AND EXISTS (SELECT FROM pg_constraint k WHERE k.conname = name AND k.connamespace = tab.relnamespace));
    suffix := label || pass;
  END LOOP;
  RETURN name;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.relation_name(relation regclass, columns text[], label text) RETURNS name
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS
  $$SELECT pgsluice.relation_name_beside(relation, columns, label, '{}')$$;

CREATE OR REPLACE FUNCTION pgsluice.add_sequence(relation regclass, column_name name, type text, options text)
RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  serial constant boolean := type LIKE '%serial%' OR options IS NULL;
  of constant regtype := CASE WHEN type IN ('smallserial', 'serial2', 'smallint', 'int2') THEN 'smallint'
                              WHEN type IN ('serial', 'serial4', 'integer', 'int', 'int4') THEN 'integer'
                              WHEN type IN ('bigserial', 'serial8', 'bigint', 'int8') THEN 'bigint' END;
  tab record;
  sequence text;
  me constant text := current_setting('role');
  as_owner boolean;
BEGIN
  IF of IS NULL THEN
    RAISE EXCEPTION 'identity column type must be smallint, integer, or bigint' USING ERRCODE = '22023';
  END IF;
  SELECT n.nspname, r.rolname AS owner, c.relpersistence, has_schema_privilege(r.oid, n.oid, 'CREATE') AS creates INTO STRICT tab
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
   WHERE c.oid = relation;
  -- ALTER TABLE makes it as the table's owner from the start: his are the default privileges that count.
  as_owner := tab.owner <> current_user AND tab.creates;
  sequence := format('%I.%I', tab.nspname, pgsluice.relation_name_beside(relation, ARRAY[column_name::text],
                                             CASE WHEN serial THEN 'seq' ELSE 'fill_seq' END, '{}'));
  -- A table's own persistence since 15; a schema of temporary tables says it by itself.
  IF as_owner THEN
    EXECUTE format('SET LOCAL ROLE %I', tab.owner);
  END IF;
  EXECUTE format('CREATE %s SEQUENCE %s AS %s %s',
                 CASE WHEN tab.relpersistence = 'u' AND current_setting('server_version_num')::int >= 150000
                      THEN 'UNLOGGED' ELSE '' END, sequence, of, coalesce(options, ''));
  IF tab.owner <> current_user THEN
    EXECUTE format('ALTER SEQUENCE %s OWNER TO %I', sequence, tab.owner);
  END IF;
  IF NOT serial THEN -- whoever may INSERT needs no right on the sequence of an identity
    EXECUTE format('GRANT USAGE ON SEQUENCE %s TO PUBLIC', sequence);
  END IF;
  EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT nextval(%L::regclass)', relation, column_name, sequence);
  EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%I', sequence, relation, column_name);
  IF as_owner THEN
    PERFORM set_config('role', me, true);
  END IF;
  RETURN sequence::regclass;
END $$;

-- ---- begin_change() and its parts, which only it calls ----
-- A check returns NULL, or what is refused: message, detail (or NULL), hint. begin_change() raises it, so that what the
-- client sees as the error's context is one line.

CREATE OR REPLACE FUNCTION pgsluice.check_worker(relation regclass, owner oid) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new constant boolean := current_setting('server_version_num')::int >= 160000;
  worker constant name := (SELECT m.worker FROM pgsluice.meta m);
  its constant name := pg_get_userbyid(owner);
BEGIN
  IF to_regrole(quote_ident(worker)) IS NULL THEN
    RETURN ARRAY[format('the role %I, which would do the work, does not exist', worker), NULL,
                 'Nothing was changed. Run "pgsluice install" for this database again.'];
  ELSIF NOT pg_has_role(worker, owner, CASE WHEN new THEN 'SET' ELSE 'MEMBER' END) THEN
    RETURN ARRAY[format('%s cannot be changed online: %I may not act as its owner, %I', relation, worker, its),
                 'What is done to a table online is done as its owner.',
                 CASE WHEN (SELECT o.rolsuper FROM pg_roles o WHERE o.oid = owner)
                      THEN format('Nothing was changed. %I is a superuser, which the worker should not become: give the '
                                  'table to an ordinary role, with ALTER TABLE %s OWNER TO ...', its, relation)
                      ELSE format('Nothing was changed. Let a superuser run: GRANT %I TO %I%s;', its, worker,
                                  CASE WHEN new THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END) END];
  END IF;
  RETURN NULL;
END $$;

-- The worker acts under SET ROLE, and such a trigger's function would be run there, within reach of the owner's own names.
CREATE OR REPLACE FUNCTION pgsluice.check_events() RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT ARRAY[format('nothing can be changed online here: the event trigger %I fires always', e.name),
               'It would fire for the commands that pgsluice gives as the table''s owner.',
               format('Nothing was changed. A superuser may run: ALTER EVENT TRIGGER %I ENABLE;', e.name)]
    FROM pgsluice.event_trigger() e (name) WHERE e.name IS NOT NULL
$$;


-- What is done later is done as the owner, and the undo as well.
CREATE OR REPLACE FUNCTION pgsluice.check_owner(relation regclass, creates boolean) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tab record;
  lacks text;
BEGIN
  SELECT c.relowner AS owner, c.relnamespace AS nsp, n.nspname INTO STRICT tab
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
  lacks := CASE WHEN NOT has_schema_privilege(tab.owner, tab.nsp, 'USAGE') THEN format('USAGE ON SCHEMA %I', tab.nspname)
                WHEN creates AND NOT has_schema_privilege(tab.owner, tab.nsp, 'CREATE')
                  THEN format('CREATE ON SCHEMA %I', tab.nspname)
                WHEN NOT has_database_privilege(tab.owner, current_database(), 'TEMP')
                  THEN format('TEMPORARY ON DATABASE %I', current_database()) END;
  IF lacks IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[format('%s cannot be changed online: its owner, %I, lacks %s', relation, pg_get_userbyid(tab.owner), lacks),
               'What is done to a table online is done as its owner, and so is the undo.',
               format('Nothing was changed. Run: GRANT %s TO %I;', lacks, pg_get_userbyid(tab.owner))];
END $$;

CREATE OR REPLACE FUNCTION pgsluice.check_owners(relation regclass, spec jsonb) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  indexes constant boolean := jsonb_array_length(spec->'unique') > 0
                              OR coalesce(jsonb_typeof(spec->'index'), 'null') <> 'null';
  sequences constant boolean := EXISTS (SELECT FROM jsonb_array_elements(spec->'columns') e
                                         WHERE e @> '{"serial": true}' OR jsonb_typeof(e->'identity') = 'object');
  member regclass;
  no text[];
BEGIN
  FOR member IN SELECT t.oid FROM pgsluice.tree(relation) t (oid) LOOP
    no := pgsluice.check_owner(member, indexes OR (sequences AND member = relation));
    EXIT WHEN no IS NOT NULL;
  END LOOP;
  RETURN no;
END $$;

-- Do the policies of the relation hide rows from this role although it has its owner's rights?
CREATE OR REPLACE FUNCTION pgsluice.row_security_binds(relation oid, role oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.relrowsecurity AND c.relforcerowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
         AND pg_has_role(r.oid, c.relowner, 'USAGE')
    FROM pg_class c, pg_roles r WHERE c.oid = row_security_binds.relation AND r.oid = row_security_binds.role
$$;

-- CheckCmdReplicaIdentity(): an UPDATE of a published table without a replica identity is an error.
CREATE OR REPLACE FUNCTION pgsluice.check_published(relation regclass) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  -- A partition is published with what is above it.
  above constant oid[] := ARRAY(SELECT relation::oid UNION SELECT a.oid FROM pg_partition_ancestors(relation) a (oid));
  publication name;
BEGIN
  IF NOT pg_relation_is_publishable(relation)
     OR EXISTS (SELECT FROM pg_class c
                 WHERE c.oid = relation
                   AND (c.relkind <> 'r' OR c.relreplident = 'f'
                        OR EXISTS (SELECT FROM pg_index i
                                    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
                                      AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                                              WHEN 'i' THEN i.indisreplident END))) THEN
    RETURN NULL;
  END IF;
  SELECT p.pubname INTO publication FROM pg_publication p
   WHERE p.pubupdate AND (p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r
                                                     WHERE r.prpubid = p.oid AND r.prrelid = ANY (above))) LIMIT 1;
  IF publication IS NULL AND current_setting('server_version_num')::int >= 150000 THEN
    SELECT p.pubname INTO publication
      FROM pg_publication p JOIN pg_publication_namespace n ON n.pnpubid = p.oid
      JOIN pg_class c ON c.relnamespace = n.pnnspid WHERE p.pubupdate AND c.oid = ANY (above) LIMIT 1;
  END IF;
  IF publication IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[format('%s cannot be filled: it has no replica identity, and the publication %I publishes updates', relation,
                      publication), 'PostgreSQL refuses to update such a table; adding a column updates no row.',
               format('Nothing was changed. ALTER TABLE %s REPLICA IDENTITY FULL (or USING INDEX, or a primary key) gives it '
                      'one.', relation)];
END $$;

-- A table, or a partition of it, that can't be filled unseen, or whose rows the owner doesn't see.
CREATE OR REPLACE FUNCTION pgsluice.check_fill(relation regclass) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  name name;
  owner constant name := (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = relation);
  lacks constant text := CASE WHEN NOT has_table_privilege(owner, relation, 'SELECT') THEN 'SELECT'
                              WHEN NOT has_table_privilege(owner, relation, 'UPDATE') THEN 'UPDATE' END;
BEGIN
  IF lacks IS NOT NULL THEN
    RETURN ARRAY[format('%s cannot be filled: its owner, %I, has no right to %s', relation, owner, lacks),
                 'Rows are filled as the owner, who once took it from himself.',
                 format('Nothing was changed. Run: GRANT %s ON %s TO %I;', lacks, relation, owner)];
  END IF;
  SELECT t.tgname INTO name FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
   WHERE t.tgrelid = relation AND t.tgenabled IN ('A', 'R') AND t.tgtype & 16 <> 0
     AND NOT (p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^(RI_FKey_|unique_key_recheck$)') LIMIT 1;
  IF name IS NOT NULL THEN
    RETURN ARRAY[format('%s cannot be filled: its trigger %I would fire for each row', relation, name),
                 'Adding a column fires no trigger. One that is ENABLE ALWAYS or ENABLE REPLICA cannot be kept still.',
                 format('Nothing was changed. ALTER TABLE %s ENABLE TRIGGER %I makes it an ordinary one.', relation, name)];
  END IF;
  SELECT r.rulename INTO name FROM pg_rewrite r
   WHERE r.ev_class = relation AND r.ev_type = '2' AND r.ev_enabled IN ('A', 'R') LIMIT 1;
  IF name IS NOT NULL THEN
    RETURN ARRAY[format('%s cannot be filled: its rule %I is about UPDATE', relation, name),
                 'A rule that is ENABLE ALWAYS or ENABLE REPLICA cannot be kept still.',
                 format('Nothing was changed. ALTER TABLE %s ENABLE RULE %I makes it an ordinary one.', relation, name)];
  ELSIF (SELECT pgsluice.row_security_binds(c.oid, c.relowner) FROM pg_class c WHERE c.oid = relation) THEN
    RETURN ARRAY[format('%s cannot be filled: its row-level security binds its owner too', relation),
                 'Rows that the policies hide from the owner would stay empty.',
                 format('Nothing was changed. ALTER TABLE %s NO FORCE ROW LEVEL SECURITY for as long as it is changed, or '
                        'give its owner BYPASSRLS.', relation)];
  END IF;
  RETURN pgsluice.check_published(relation);
END $$;

CREATE OR REPLACE FUNCTION pgsluice.check_tables(relation regclass, fill boolean) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  member record;
  no text[];
  what text;
BEGIN
  FOR member IN SELECT c.oid::regclass AS name, c.relkind, c.relpersistence, c.relowner, c.relnamespace::regnamespace AS nsp
                  FROM pgsluice.tree(relation) t (oid) JOIN pg_class c ON c.oid = t.oid LOOP
    what := CASE WHEN member.relpersistence = 't' THEN 'a temporary table, which only its own session can change'
                 WHEN member.relkind = 'f' THEN 'a foreign table, whose rows are another server''s'
                 WHEN member.relkind NOT IN ('r', 'p') THEN 'not a table'
                 WHEN member.nsp::text IN ('pg_catalog', 'information_schema', 'pgsluice') THEN 'in a system''s schema' END;
    IF what IS NOT NULL THEN
      RETURN ARRAY[format('%s cannot be changed online: %s is %s', relation,
                          CASE WHEN member.name = relation THEN 'it' ELSE member.name::text END, what), NULL,
                   'Nothing was changed.'];
    END IF;
    no := coalesce(pgsluice.check_worker(member.name, member.relowner),
                   CASE WHEN fill THEN pgsluice.check_fill(member.name) END);
    IF no IS NOT NULL THEN
      RETURN no;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

-- Two sessions that begin at the same time see only what is committed. So it takes a lock that only one can hold: the
-- client's transaction has it from pgsluice.lock(), or gets it here if that can be had at once.
CREATE OR REPLACE FUNCTION pgsluice.check_held(relation regclass) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_locks l
                  WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation = check_held.relation AND l.granted
                    AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                                   'AccessExclusiveLock')
                    AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
     AND EXISTS (SELECT FROM pg_class c WHERE c.oid = check_held.relation AND c.relkind IN ('r', 'p')) THEN
    EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', relation);
  END IF;
  RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
  RETURN ARRAY[format('%s is being changed already: another session has just begun, or vacuums it', relation), NULL,
               'Nothing was changed. SELECT * FROM pgsluice.progress shows a change as soon as it commits.'];
END $$;

-- One unfinished change at a time, for a table with all that is above and below it. Those of one transaction, as a
-- migration tool sends them, are carried out one after the other.
CREATE OR REPLACE FUNCTION pgsluice.check_alone(relation regclass) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  other record;
BEGIN
  WITH RECURSIVE above (oid) AS (
    SELECT relation::oid UNION SELECT i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid)
  SELECT c.* INTO other FROM pgsluice.change c
   WHERE c.state NOT IN ('complete', 'undone') AND c.home = pgsluice.home() AND NOT pgsluice.written_now(c.xmin)
     AND (c.relation IN (SELECT pgsluice.tree(relation)) OR c.relation IN (SELECT a.oid FROM above a)) LIMIT 1;
  IF other.id IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[
    format('%I.%I is being changed already: change %s is %s', other.table_schema, other.table_name, other.id,
           CASE other.state WHEN 'running' THEN 'in phase ' || other.phase ELSE other.state END),
    format('%s began it at %s: %s', other.session_role, date_trunc('second', other.created_at),
           CASE WHEN pgsluice.acts_as(session_user, other.owner) THEN coalesce(left(other.statement, 200), other.kind)
                ELSE other.kind END), -- a parent may have another owner, and a statement quotes values
    format('Nothing was changed. "pgsluice changes show %s" follows it; SELECT pgsluice.cancel(%1$s) undoes it.', other.id)];
END $$;

-- An UPDATE asks the constraints that are NOT VALID as well, of rows that were there before them; a rewrite doesn't.
CREATE OR REPLACE FUNCTION pgsluice.check_not_valid(relation regclass, before oid[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  old record;
BEGIN
  -- New ones are this change's own, or of those that this transaction began before: valid by then. By name, as a child's
  -- oids are not in `before`.
  SELECT k.conrelid::regclass AS tab, k.conname INTO old
    FROM pgsluice.tree(relation) t (oid) JOIN pg_constraint k ON k.conrelid = t.oid
   WHERE k.contype IN ('c', 'n') AND NOT k.convalidated AND (to_jsonb(k)->>'conenforced') IS DISTINCT FROM 'false'
     AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = relation AND n.conname = k.conname
                                                   AND n.oid <> ALL (coalesce(before, '{}')))
     AND NOT EXISTS (SELECT FROM pgsluice.change c, jsonb_array_elements(c.spec->'validate') v
                      WHERE c.relation = relation AND c.home = pgsluice.home() AND c.state NOT IN ('complete', 'undone')
                        AND v->>'name' = k.conname) LIMIT 1;
  IF old.conname IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[format('%s cannot be filled: its constraint %I is NOT VALID', old.tab, old.conname),
               'Filling a row would check it, and may fail; adding a column checks no old constraint.',
               format('Nothing was changed. Validate it first: ALTER TABLE %s VALIDATE CONSTRAINT %I;', old.tab, old.conname)];
END $$;

-- To validate a foreign key, the owner reads both tables.
CREATE OR REPLACE FUNCTION pgsluice.check_validate(relation regclass, spec jsonb) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  bound record;
BEGIN
  SELECT k.conname, r.oid::regclass AS tab INTO bound
    FROM jsonb_array_elements(spec->'validate') v
    JOIN pg_constraint k ON k.conrelid = relation AND k.contype = 'f' AND k.conname = v->>'name',
         LATERAL (SELECT k.confrelid UNION SELECT t.oid FROM pgsluice.tree(relation) t (oid)) AS r (oid),
         LATERAL (SELECT c.relowner FROM pg_class c WHERE c.oid = relation) o
   WHERE v->>'type' = 'f' AND pgsluice.row_security_binds(r.oid, o.relowner) LIMIT 1;
  IF bound.conname IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[format('%I of %s cannot be validated: the row-level security of %s binds its owner too', bound.conname, relation,
                      bound.tab), 'Rows that the policies hide from the owner would not be looked at.',
               format('Nothing was changed. ALTER TABLE %s NO FORCE ROW LEVEL SECURITY for as long as it is changed, or give '
                      'its owner BYPASSRLS.', bound.tab)];
END $$;

-- A column that a child has of its own, or from a parent elsewhere: the new one merges into it, and adding it leaves the
-- child's values and default alone.
CREATE OR REPLACE FUNCTION pgsluice.check_merged(relation regclass, col jsonb) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  name constant name := col->>'name';
  child regclass;
BEGIN
  SELECT a.attrelid INTO child FROM pg_attribute a
   WHERE a.attrelid IN (SELECT pgsluice.tree(relation)) AND a.attrelid <> relation AND a.attname = name
     AND (a.attislocal
          OR EXISTS (SELECT FROM pg_inherits i JOIN pg_attribute p ON p.attrelid = i.inhparent AND p.attname = name
                      WHERE i.inhrelid = a.attrelid AND i.inhparent NOT IN (SELECT pgsluice.tree(relation)))) LIMIT 1;
  IF child IS NULL OR (col->'added')::boolean IS NOT TRUE THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[format('column %I cannot be added to %s online: %s has one of its own', name, relation, child),
               'The two become one, and PostgreSQL leaves the values and the default of the child''s as they are.',
               'Nothing was changed. Add it with pgsluice turned off for this statement, or rename the child''s column first.'];
END $$;

-- CHECK (c IS NOT NULL) is true of a row only if all its fields are not null.
CREATE OR REPLACE FUNCTION pgsluice.check_composite(relation regclass, col jsonb) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  composite regtype;
BEGIN
  IF (col->'not_null')::boolean IS NOT TRUE THEN
    RETURN NULL;
  END IF;
  WITH RECURSIVE base (oid, typtype, typbasetype) AS (
    SELECT t.oid, t.typtype, t.typbasetype FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = relation AND a.attname = (col->>'name')::name
    UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM base b JOIN pg_type t ON b.typtype = 'd' AND t.oid = b.typbasetype)
  SELECT b.oid INTO composite FROM base b WHERE b.typtype = 'c';
  IF composite IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[format('column %I of %s cannot be made NOT NULL online: it is of the composite type %s', col->>'name', relation,
                      composite),
               'CHECK (... IS NOT NULL), which would prove it, is false for a row that has a null in any of its fields.',
               'Nothing was changed. Do without NOT NULL, or do it with pgsluice turned off for this statement.'];
END $$;

-- A column of the spec, with its number and its sequence.
CREATE OR REPLACE FUNCTION pgsluice.complete_column(relation regclass, col jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  att record;
  sequence oid;
  no text[];
BEGIN
  SELECT a.attnum, a.xmin INTO att FROM pg_attribute a
   WHERE a.attrelid = relation AND a.attname = (col->>'name')::name AND a.attnum > 0 AND NOT a.attisdropped;
  IF att.attnum IS NULL THEN
    RAISE EXCEPTION 'column "%" of relation "%" does not exist', col->>'name', relation USING ERRCODE = 'undefined_column';
  ELSIF (col->'added')::boolean AND NOT pgsluice.written_now(att.xmin) THEN
    RAISE EXCEPTION '%', format('column %I of %s was there before', col->>'name', relation)
      USING ERRCODE = 'SL001', HINT = 'Nothing was changed.',
            DETAIL = 'Only a column that is new in this transaction may be dropped again if it can''t be filled.';
  END IF;
  no := coalesce(pgsluice.check_merged(relation, col), pgsluice.check_composite(relation, col));
  IF no IS NOT NULL THEN
    RAISE EXCEPTION '%', no[1] USING ERRCODE = 'SL001', DETAIL = no[2], HINT = no[3];
  END IF;
  col := col || jsonb_build_object('number', att.attnum);
  IF (col->'serial')::boolean IS TRUE OR jsonb_typeof(col->'identity') = 'object' THEN
    SELECT max(d.objid) INTO sequence FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = relation
       AND d.refobjsubid = att.attnum AND d.deptype IN ('a', 'i');
    IF sequence IS NULL THEN
      RAISE EXCEPTION 'column "%" of relation "%" owns no sequence', col->>'name', relation USING ERRCODE = 'SL900';
    END IF;
    col := col || jsonb_build_object('sequence', sequence::bigint);
  END IF;
  RETURN col;
END $$;

-- A row that we see although its transaction goes on was written by ourselves, in whichever subtransaction.
CREATE OR REPLACE FUNCTION pgsluice.written_now(written xid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now constant bigint := txid_current();
  epoch constant bigint := now >> 32;
  low constant bigint := written::text::bigint;
BEGIN
  IF low < 3 THEN
    RETURN false; -- frozen
  END IF;
  -- Subtransactions have later numbers than ours: the epoch may have turned in between.
  IF low < (now & 4294967295) THEN
    RETURN low + 2147483648 < (now & 4294967295) AND txid_status(((epoch + 1) << 32) + low) = 'in progress';
  END IF;
  RETURN txid_status((epoch << 32) + low) = 'in progress';
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false; -- "transaction ID is in the future": a very old row
END $$;

CREATE OR REPLACE FUNCTION pgsluice.names_of(list jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(array_agg(e.name ORDER BY e.place), '{}')
    FROM jsonb_array_elements_text(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]' END)
           WITH ORDINALITY AS e (name, place)
$$;

-- What the direct statement would have said at once must not come out hours later.
CREATE OR REPLACE FUNCTION pgsluice.check_unique(relation regclass, name text, columns text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  tab record;
BEGIN
  SELECT c.relname, c.relnamespace INTO tab FROM pg_class c WHERE c.oid = relation;
  IF EXISTS (SELECT FROM pg_class c WHERE c.relname = name AND c.relnamespace = tab.relnamespace) THEN
    RAISE EXCEPTION 'relation "%" already exists', name USING ERRCODE = 'duplicate_table';
  ELSIF EXISTS (SELECT FROM pg_constraint k WHERE k.conname = name AND k.conrelid = relation) THEN
    RAISE EXCEPTION 'constraint "%" for relation "%" already exists', name, tab.relname USING ERRCODE = 'duplicate_object';
  ELSIF EXISTS (SELECT FROM pg_partitioned_table p, unnest(p.partattrs::int2[]) AS key (number)
                 WHERE p.partrelid = relation
                   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = key.number
                                                                AND a.attname = ANY (columns))) THEN
    RAISE EXCEPTION 'unique constraint on partitioned table must include all partitioning columns'
      USING ERRCODE = 'feature_not_supported';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.complete_unique(relation regclass, list jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  one jsonb;
  name text;
  -- Those of changes that this transaction has begun before are to come, and count as if they were there.
  taken text[] := ARRAY(SELECT u->>'name' FROM pgsluice.change c, jsonb_array_elements(c.spec->'unique') u
                         WHERE c.state NOT IN ('complete', 'undone') AND c.home = pgsluice.home()
                           AND c.table_schema = (SELECT n.nspname FROM pg_class t JOIN pg_namespace n
                                                   ON n.oid = t.relnamespace WHERE t.oid = relation));
  whole jsonb := '[]';
BEGIN
  FOR one IN SELECT e FROM jsonb_array_elements(list) e LOOP
    name := coalesce((one->>'name')::name::text, pgsluice.relation_name_beside(relation,
              pgsluice.names_of(one->'columns') || pgsluice.names_of(one->'include'),
              CASE WHEN (one->'primary')::boolean THEN 'pkey' ELSE 'key' END, taken));
    IF name = ANY (taken) THEN
      RAISE EXCEPTION 'relation "%" already exists', name USING ERRCODE = 'duplicate_table';
    END IF;
    PERFORM pgsluice.check_unique(relation, name, pgsluice.names_of(one->'columns'));
    taken := taken || name;
    whole := whole || (one || jsonb_build_object('name', name));
  END LOOP;
  RETURN whole;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.complete_spec(relation regclass, spec jsonb, before oid[]) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT spec || jsonb_build_object(
    'columns', (SELECT coalesce(jsonb_agg(pgsluice.complete_column(relation, e.col) ORDER BY e.place), '[]')
                  FROM jsonb_array_elements(spec->'columns') WITH ORDINALITY AS e (col, place)),
    'unique', pgsluice.complete_unique(relation, spec->'unique'),
    'validate', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.conname, 'type', k.contype) ORDER BY k.oid), '[]')
                   FROM pg_constraint k
                  WHERE k.conrelid = relation AND k.contype IN ('c', 'f', 'n') AND NOT k.convalidated AND k.conparentid = 0
                    AND k.oid <> ALL (coalesce(before, '{}'))
                    AND (to_jsonb(k)->>'conenforced') IS DISTINCT FROM 'false'))
$$;

-- The form of the spec, whose author may be anybody: the worker makes SQL of each name in it, in C. NULL is no answer of
-- these, so that nothing slips through an OR.
CREATE OR REPLACE FUNCTION pgsluice.is_name(value jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(jsonb_typeof(value) = 'string' AND octet_length(value #>> '{}') BETWEEN 1 AND 63, false)
$$;

CREATE OR REPLACE FUNCTION pgsluice.is_name_or_null(value jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT value IS NULL OR value = 'null' OR pgsluice.is_name(value)
$$;

-- A list of names; an empty one or none at all only where `fewest` is 0.
CREATE OR REPLACE FUNCTION pgsluice.are_names(list jsonb, fewest int) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF list IS NULL OR list = 'null' THEN
    RETURN fewest = 0;
  ELSIF jsonb_typeof(list) <> 'array' OR jsonb_array_length(list) NOT BETWEEN fewest AND 100 THEN
    RETURN false;
  END IF;
  RETURN (SELECT coalesce(bool_and(pgsluice.is_name(e)), true) FROM jsonb_array_elements(list) e);
END $$;

-- An object with no other keys than these; `flags` are those that are true or false.
CREATE OR REPLACE FUNCTION pgsluice.is_object(value jsonb, flags text[], others text[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(value) IS DISTINCT FROM 'object' THEN
    RETURN false;
  END IF;
  RETURN (SELECT coalesce(bool_and(CASE WHEN f.key = ANY (flags) THEN jsonb_typeof(f.value) IN ('boolean', 'null')
                                        ELSE f.key = ANY (others) END), true) FROM jsonb_each(value) f);
END $$;

CREATE OR REPLACE FUNCTION pgsluice.is_column(col jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pgsluice.is_object(col, '{added,fill,not_null,serial}', '{name,not_null_name,identity}')
     AND pgsluice.is_name(col->'name') AND pgsluice.is_name_or_null(col->'not_null_name')
     AND (col->'identity' IS NULL OR col->'identity' = 'null' OR pgsluice.is_object(col->'identity', '{always}', '{}'))
$$;

CREATE OR REPLACE FUNCTION pgsluice.is_unique(one jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pgsluice.is_object(one, '{nulls_not_distinct,deferrable,deferred,primary}', '{name,columns,include}')
     AND pgsluice.is_name_or_null(one->'name') AND pgsluice.are_names(one->'columns', 1)
     AND pgsluice.are_names(one->'include', 0)
$$;

CREATE OR REPLACE FUNCTION pgsluice.is_index(index jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT index IS NULL OR index = 'null'
      OR (pgsluice.is_object(index, '{if_not_exists}', '{sql,name,search_path}')
          AND coalesce(jsonb_typeof(index->'sql') = 'string', false) AND pgsluice.is_name_or_null(index->'name')
          AND pgsluice.are_names(index->'search_path', 0))
$$;

CREATE OR REPLACE FUNCTION pgsluice.is_spec(spec jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT pgsluice.is_object(spec, '{}', '{version,kind,columns,unique,index,statement}')
     OR jsonb_typeof(spec->'columns') IS DISTINCT FROM 'array' OR jsonb_typeof(spec->'unique') IS DISTINCT FROM 'array'
     OR coalesce(jsonb_typeof(spec->'statement') NOT IN ('string', 'null'), false) OR pg_column_size(spec) > 1048576 THEN
    RETURN false;
  ELSIF jsonb_array_length(spec->'columns') > 100 OR jsonb_array_length(spec->'unique') > 32 THEN
    RETURN false;
  END IF;
  RETURN pgsluice.is_index(spec->'index')
     AND (SELECT coalesce(bool_and(pgsluice.is_column(e)), true) FROM jsonb_array_elements(spec->'columns') e)
     AND (SELECT coalesce(bool_and(pgsluice.is_unique(e)), true) FROM jsonb_array_elements(spec->'unique') e);
END $$;

CREATE OR REPLACE FUNCTION pgsluice.check_spec(spec jsonb) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (spec->'version') IS DISTINCT FROM '1' THEN
    RETURN ARRAY['the schema pgsluice of this database does not fit this proxy', NULL,
                 'Nothing was changed. Run "pgsluice install" of the proxy''s version for this database.'];
  ELSIF (spec->>'kind') IS NULL OR spec->>'kind' NOT IN ('add-column', 'set-not-null', 'add-check', 'add-foreign-key',
                                                         'add-unique', 'create-index')
     OR NOT pgsluice.is_spec(spec) THEN
    RAISE EXCEPTION 'a change that cannot be read' USING ERRCODE = 'invalid_parameter_value';
  ELSIF spec->'index'->>'sql' !~ '^CREATE (UNIQUE )?INDEX CONCURRENTLY ' THEN
    RAISE EXCEPTION 'not a CREATE INDEX CONCURRENTLY: %', left(spec->'index'->>'sql', 100)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.insert_change(relation regclass, spec jsonb) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO pgsluice.change (home, relation, table_schema, table_name, owner, session_role, application, kind, statement,
                               spec, columns)
  SELECT pgsluice.home(), c.oid, n.nspname, c.relname, c.relowner, session_user,
         left(current_setting('application_name'), 64), spec->>'kind', spec->>'statement', spec - 'statement',
         ARRAY(SELECT e.col->>'name' FROM jsonb_array_elements(spec->'columns') WITH ORDINALITY AS e (col, place)
                WHERE (e.col->'added')::boolean ORDER BY e.place)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = insert_change.relation
  RETURNING id
$$;

-- The settings of the author's session: under them the direct statement would have run the default's functions, and chosen
-- where an index lies.
CREATE OR REPLACE FUNCTION pgsluice.settings_of(path text[]) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object('search_path', (SELECT coalesce(string_agg(quote_ident(p.name), ', ' ORDER BY p.place), '')
                                              FROM unnest(path[:100]) WITH ORDINALITY AS p (name, place)
                                             WHERE p.name !~ '^pg_temp'))
         || jsonb_object_agg(s.name, current_setting(s.name))
    FROM unnest('{TimeZone, DateStyle, IntervalStyle, extra_float_digits, bytea_output, xmloption, xmlbinary, lc_monetary,
                  lc_numeric, lc_time, default_text_search_config, default_tablespace}'::text[]) AS s (name)
$$;

-- The worker speaks UTF-8. In a database of SQL_ASCII a name may be anything.
CREATE OR REPLACE FUNCTION pgsluice.is_utf8(name text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN convert_from(textsend(name), 'UTF8') IS NOT NULL;
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
  RETURN false;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.check_readable(relation regclass, spec jsonb) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  IF getdatabaseencoding() <> 'SQL_ASCII'
     OR (pgsluice.is_utf8(spec::text)
         AND (SELECT bool_and(pgsluice.is_utf8(n.nspname || c.relname || pg_get_userbyid(c.relowner)))
                FROM pgsluice.tree(relation) t (oid) JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace))
  THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY['a table of this database cannot be changed online: a name of it is not valid UTF-8',
               'The database has the encoding SQL_ASCII, which takes any bytes; pgsluice works in UTF-8.',
               'Nothing was changed. Rename what has such a name, or do it with pgsluice turned off for this statement.'];
END $$;

-- What all proxies keep in mind, and look for in each statement, has an end.
CREATE OR REPLACE FUNCTION pgsluice.check_many(relation regclass, spec jsonb) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  owner constant oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = relation);
  there record;
BEGIN
  SELECT count(*) AS changes, coalesce(sum(cardinality(c.columns)), 0) AS columns INTO there
    FROM pgsluice.change c
   WHERE c.owner = owner AND c.state NOT IN ('complete', 'undone') AND c.home = pgsluice.home();
  IF there.changes < 200 AND there.columns + jsonb_array_length(spec->'columns') <= 1000 THEN
    RETURN NULL;
  END IF;
  RETURN ARRAY[format('%s cannot be changed online now: %s changes of tables of %I, with %s columns, are not complete', relation,
                      there.changes, pg_get_userbyid(owner), there.columns),
               'Not more than 200 changes and 1000 columns of one owner wait at a time.',
               'Nothing was changed. SELECT * FROM pgsluice.progress shows them; run it again when some are complete.'];
END $$;

-- Whoever can write a row of it may change the table: the policy asks current_user, whom begin_checked() can't know
-- otherwise. Written by begin_change(), taken away by begin_checked() in the same transaction.
CREATE TABLE IF NOT EXISTS pgsluice.asked (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- a publication wants a key
  relation oid NOT NULL,
  role     name NOT NULL DEFAULT current_user);
ALTER TABLE pgsluice.asked ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS ask ON pgsluice.asked;
CREATE POLICY ask ON pgsluice.asked FOR INSERT WITH CHECK (
  role = current_user AND EXISTS (SELECT FROM pg_catalog.pg_class c
                                   WHERE c.oid = relation AND pgsluice.acts_as(current_user, c.relowner)));
REVOKE ALL ON pgsluice.asked FROM PUBLIC;
GRANT INSERT (relation) ON pgsluice.asked TO PUBLIC;

CREATE OR REPLACE FUNCTION pgsluice.begin_checked(path text[], relation regclass, spec jsonb, before oid[], nonce text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  fill constant boolean := spec->'columns' @> '[{"fill": true}]';
  asker name;
  other text;
  id bigint;
  no text[];
BEGIN
  DELETE FROM pgsluice.asked a WHERE a.relation = begin_checked.relation AND pgsluice.written_now(a.xmin)
  RETURNING a.role INTO asker;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'pgsluice.begin_checked() is called by pgsluice.begin_change()' USING ERRCODE = 'insufficient_privilege';
  END IF;
  no := coalesce(pgsluice.check_spec(spec), pgsluice.check_readable(relation, spec), pgsluice.check_events(), pgsluice.check_many(relation, spec),
                 pgsluice.check_held(relation),
                 pgsluice.check_alone(relation), pgsluice.check_tables(relation, fill),
                 pgsluice.check_owners(relation, spec),
                 CASE WHEN fill THEN pgsluice.check_not_valid(relation, before) END);
  IF no IS NULL THEN
    spec := pgsluice.complete_spec(relation, spec, before) || jsonb_build_object('settings', pgsluice.settings_of(path));
    no := pgsluice.check_validate(relation, spec);
  END IF;
  IF no IS NOT NULL THEN
    RAISE EXCEPTION '%', no[1] USING ERRCODE = 'SL001', DETAIL = coalesce(no[2], ''), HINT = no[3];
  END IF;
  SELECT c.relname INTO other FROM pgsluice.tree(relation) t (oid) JOIN pg_class c ON c.oid = t.oid
   WHERE NOT pgsluice.acts_as(asker, c.relowner) LIMIT 1;
  IF other IS NOT NULL THEN -- the server says the same of a parent's ALTER TABLE
    RAISE EXCEPTION 'must be owner of table %', other USING ERRCODE = 'insufficient_privilege';
  END IF;
  id := pgsluice.insert_change(relation, spec);
  IF nonce IS NOT NULL THEN
    RAISE INFO '%', nonce USING DETAIL = id::text, ERRCODE = 'SL100';
  END IF;
  RETURN id;
END $$;

CREATE OR REPLACE FUNCTION pgsluice.begin_change_in(path text[], relation regclass, spec jsonb, before oid[], nonce text)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  tab record;
BEGIN
  SELECT c.relname, c.relowner INTO tab FROM pg_class c WHERE c.oid = relation;
  IF tab.relname IS NULL OR NOT pgsluice.acts_as(current_user, tab.relowner) THEN
    RAISE EXCEPTION 'must be owner of table %', coalesce(tab.relname, relation::text)
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  INSERT INTO pgsluice.asked (relation) VALUES (relation);
  RETURN pgsluice.begin_checked(path, relation, spec, before, nonce);
END $$;

-- The only one that has no search_path of its own: it looks at its caller's.
CREATE OR REPLACE FUNCTION pgsluice.begin_change(relation regclass, spec jsonb, before oid[], nonce text) RETURNS bigint
LANGUAGE sql AS $$SELECT pgsluice.begin_change_in(pg_catalog.current_schemas(false)::pg_catalog.text[], relation, spec, before, nonce)$$;

-- The functions that a client's session calls; all others are called by begin_checked() alone.
REVOKE ALL ON FUNCTION pgsluice.clip(text, int), pgsluice.object_name(text, text, text), pgsluice.columns_name(text[]),
  pgsluice.relation_name_beside(regclass, text[], text, text[]), pgsluice.relation_name(regclass, text[], text),
  pgsluice.add_sequence(regclass, name, text, text), pgsluice.check_worker(regclass, oid), pgsluice.check_fill(regclass),
  pgsluice.check_events(),
  pgsluice.check_tables(regclass, boolean), pgsluice.check_alone(regclass), pgsluice.check_held(regclass),
  pgsluice.check_owner(regclass, boolean), pgsluice.check_owners(regclass, jsonb), pgsluice.row_security_binds(oid, oid),
  pgsluice.check_published(regclass), pgsluice.check_not_valid(regclass, oid[]), pgsluice.check_validate(regclass, jsonb),
  pgsluice.check_merged(regclass, jsonb), pgsluice.check_composite(regclass, jsonb), pgsluice.complete_column(regclass, jsonb),
  pgsluice.written_now(xid), pgsluice.names_of(jsonb), pgsluice.check_unique(regclass, text, text[]),
  pgsluice.complete_unique(regclass, jsonb), pgsluice.complete_spec(regclass, jsonb, oid[]), pgsluice.check_spec(jsonb),
  pgsluice.is_name(jsonb), pgsluice.is_name_or_null(jsonb), pgsluice.are_names(jsonb, int),
  pgsluice.is_object(jsonb, text[], text[]), pgsluice.is_column(jsonb), pgsluice.is_unique(jsonb), pgsluice.is_index(jsonb),
  pgsluice.is_spec(jsonb),
  pgsluice.insert_change(regclass, jsonb), pgsluice.check_many(regclass, jsonb),
  pgsluice.settings_of(text[]), pgsluice.is_utf8(text), pgsluice.check_readable(regclass, jsonb), pgsluice.begin_checked(text[], regclass, jsonb, oid[], text),
  pgsluice.begin_change_in(text[], regclass, jsonb, oid[], text), pgsluice.begin_change(regclass, jsonb, oid[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgsluice.clip(text, int), pgsluice.object_name(text, text, text), pgsluice.columns_name(text[]),
  pgsluice.relation_name_beside(regclass, text[], text, text[]), pgsluice.relation_name(regclass, text[], text),
  pgsluice.add_sequence(regclass, name, text, text), pgsluice.begin_checked(text[], regclass, jsonb, oid[], text),
  pgsluice.begin_change_in(text[], regclass, jsonb, oid[], text), pgsluice.begin_change(regclass, jsonb, oid[], text) TO PUBLIC;

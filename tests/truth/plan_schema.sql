-- The schema as the catalog has it, a line each: for servers that there is no pg_dump for, and what it doesn't show.
WITH rel AS (
  SELECT c.oid, c.oid::regclass::text AS name, c.relkind, pg_get_userbyid(c.relowner) AS owner FROM pg_class c
   WHERE c.relnamespace::regnamespace::text IN ('public', 'side') AND c.relkind IN ('r', 'p', 'i', 'I', 'S', 'v'))
SELECT concat_ws(' ', 'relation', name, relkind, owner) FROM rel
UNION ALL
SELECT concat_ws(' ', 'column', rel.name, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation, a.attnotnull,
                 a.attidentity, a.attgenerated, a.attstorage, to_json(a)->>'attcompression', a.attislocal, a.attinhcount,
                 coalesce(nullif(to_json(a)->>'attstattarget', '-1'), ''), pg_get_expr(d.adbin, d.adrelid))
  FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid LEFT JOIN pg_attrdef d ON d.adrelid = rel.oid AND d.adnum = a.attnum
 WHERE rel.relkind IN ('r', 'p') AND a.attnum > 0
UNION ALL
SELECT concat_ws(' ', 'constraint', rel.name, k.conname, k.contype, k.convalidated, k.conislocal, k.coninhcount, k.connoinherit,
                 k.condeferrable, k.condeferred, pg_get_constraintdef(k.oid), k.conindid::regclass)
  FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid
UNION ALL
SELECT concat_ws(' ', 'index', rel.name, pg_get_indexdef(rel.oid), i.indisvalid, i.indisready, i.indimmediate)
  FROM rel JOIN pg_index i ON i.indexrelid = rel.oid
UNION ALL
SELECT concat_ws(' ', 'sequence', rel.name, format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache,
                 q.seqcycle, d.deptype, d.refobjid::regclass, d.refobjsubid)
  FROM rel JOIN pg_sequence q ON q.seqrelid = rel.oid
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.deptype IN ('a', 'i')
ORDER BY 1

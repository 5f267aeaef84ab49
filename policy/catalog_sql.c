/*
 * The one query that a client's session is asked in front of a statement that is judged.
 *
 * It must be unable to fail and unable to wait, whatever the session looks like:
 * - Every table, function, type and operator is written with its schema. IN, BETWEEN, LIKE, NULLIF, IS DISTINCT FROM,
 *   simple CASE and USING look operators up by search_path: they don't occur. So doesn't a backslash, which
 *   standard_conforming_strings and escape_string_warning could make something of.
 * - No function that opens a relation or asks for its lock (pg_relation_size, pg_get_expr, regclass, …): another
 *   session may hold ACCESS EXCLUSIVE on it. Nor one that raises for an object that was dropped in between. Sizes
 *   come from pg_class, expressions are the stored trees.
 * - Nothing that asks the statistics collector, which up to 14 could take its time.
 * - A name may hold what client_encoding doesn't have: the answer leaves as base64 of the server's own encoding,
 *   whose name stands in front of it.
 * - Columns that came after 13 are taken out of to_json(row), where they are missing quietly. Tables that came
 *   later (pg_publication_namespace) are seen through pg_depend.
 * - Each catalog is entered by an index, in a LATERAL with OFFSET 0 so that no plan reads a catalog whole.
 */
#include "policy/catalog.h"

#define PG  "pg_catalog."
#define EQ  " OPERATOR(pg_catalog.=) "
#define NE  " OPERATOR(pg_catalog.<>) "
#define LT  " OPERATOR(pg_catalog.<) "
#define GT  " OPERATOR(pg_catalog.>) "
#define GE  " OPERATOR(pg_catalog.>=) "
#define ADD " OPERATOR(pg_catalog.+) "
#define GET " OPERATOR(pg_catalog.->>) "
#define HAS " OPERATOR(pg_catalog.~) "

/* Namespaces where a name is looked for: the one written, or all of search_path. */
#define SITES(schema)                                                                                        \
    "LATERAL (SELECT path.nsp, path.pos FROM path WHERE " schema " IS NULL"                                  \
    " UNION ALL SELECT n.oid, 0 FROM pg_catalog.pg_namespace AS n WHERE n.nspname" EQ "CAST(" schema         \
    " AS pg_catalog.name)"                                                                                   \
    " UNION ALL SELECT pg_catalog.pg_my_temp_schema(), 0 WHERE " schema EQ "'pg_temp') AS site"

#define AGGREGATE(row) "COALESCE(pg_catalog.json_agg(" row "), '[]')"

/* Letters of prokind and the like are "char". */
#define LETTER(column, letter) column EQ "CAST('" letter "' AS " PG "\"char\")"

/* The volatility of what a stored expression calls: the worst letter, 'u' where a volatile SQL function may yet be
 * inlined. */
#define TREE_VOLATILITY(tree)                                                                                \
    "(SELECT CASE WHEN " PG "bool_or(" LETTER("f.provolatile", "v") " AND f.prolang" NE "14) THEN 'v'"       \
    " WHEN " PG "bool_or(" LETTER("f.provolatile", "v") ") THEN 'u'"                                         \
    " WHEN " PG "bool_or(" LETTER("f.provolatile", "s") ") THEN 's' ELSE 'i' END"                            \
    " FROM " PG "regexp_matches(CAST(" tree " AS " PG "text), ':(funcid|opno) ([0-9]+)', 'g') AS m (hit),"   \
    " LATERAL (SELECT p.provolatile, p.prolang FROM " PG "pg_proc AS p"                                      \
    "  WHERE m.hit[1]" EQ "'funcid' AND p.oid" EQ "CAST(m.hit[2] AS " PG "oid)"                              \
    "  UNION ALL SELECT p.provolatile, p.prolang FROM " PG "pg_operator AS o, " PG "pg_proc AS p"            \
    "  WHERE m.hit[1]" EQ "'opno' AND o.oid" EQ "CAST(m.hit[2] AS " PG "oid) AND p.oid" EQ "o.oprcode) AS f)"

/* ---- what was asked, and where names may be found ---- */

#define ASKED                                                                                                \
    "WITH RECURSIVE path (nsp, pos, name) AS MATERIALIZED ("                                                 \
    "SELECT n.oid, p.pos, p.name FROM " PG "unnest(" PG "current_schemas(true)) WITH ORDINALITY"             \
    " AS p (name, pos), LATERAL (SELECT n.oid FROM " PG "pg_namespace AS n WHERE n.nspname" EQ               \
    "p.name OFFSET 0) AS n),"                                                                                \
    "item (id, kind, s, n) AS MATERIALIZED (SELECT q.id, q.v" GET "0, q.v" GET "1, q.v" GET "2 FROM " PG     \
    "json_array_elements(CAST($1 AS " PG "json)) WITH ORDINALITY AS q (v, id) LIMIT 1000),"

/* ---- functions: by name, and those named in the bodies of SQL functions so found ---- */

#define BODY "p.prolang" EQ "14 AND " PG "octet_length(p.prosrc)" LT "2000"

#define WORDS "'(?:([[:alpha:]_][[:alnum:]_$]*)[[:space:]]*[.][[:space:]]*)?([[:alpha:]_][[:alnum:]_$]*)'"

#define FUNCTIONS                                                                                            \
    "fun (oid, level) AS ("                                                                                  \
    "SELECT f.oid, 0 FROM item, " SITES("item.s") ", LATERAL (SELECT p.oid FROM " PG "pg_proc AS p"          \
    " WHERE p.proname" EQ "CAST(item.n AS " PG "name) AND p.pronamespace" EQ "site.nsp OFFSET 0) AS f"       \
    " WHERE item.kind" EQ "'f'"                                                                              \
    " UNION SELECT f.oid, fun.level" ADD "1 FROM fun,"                                                       \
    " LATERAL (SELECT p.prosrc FROM " PG "pg_proc AS p WHERE p.oid" EQ "fun.oid AND " BODY " OFFSET 0) AS b," \
    " LATERAL (SELECT DISTINCT " PG "lower(m.w[1]), " PG "lower(m.w[2]) FROM " PG "regexp_matches(b.prosrc, " \
    WORDS ", 'g') AS m (w) LIMIT 100) AS u (s, n), " SITES("u.s") ","                                        \
    " LATERAL (SELECT p.oid FROM " PG "pg_proc AS p WHERE p.proname" EQ "CAST(u.n AS " PG "name)"            \
    " AND p.pronamespace" EQ "site.nsp OFFSET 0) AS f WHERE fun.level" LT "3),"                              \
    "fn AS MATERIALIZED (SELECT p.* FROM (SELECT DISTINCT fun.oid FROM fun LIMIT 2000) AS f,"                \
    " LATERAL (SELECT p.oid, p.proname, p.pronamespace, p.provolatile, p.prokind, p.proisstrict, p.proretset," \
    " p.provariadic, p.prorettype, p.proargtypes, p.pronargdefaults,"                                        \
    " CASE WHEN " BODY " AND NOT p.prosecdef AND p.proconfig IS NULL AND NOT p.proretset"                    \
    " AND p.proargmodes IS NULL AND " LETTER("p.prokind", "f") " AND " PG "to_json(p)" GET "'prosqlbody'"    \
    " IS NULL THEN p.prosrc END AS src, p.prolang" EQ "14 AS sql, p.proargnames"                             \
    " FROM " PG "pg_proc AS p WHERE p.oid" EQ "f.oid OFFSET 0) AS p),"                                       \
    "word (kind, s, n) AS MATERIALIZED (SELECT item.kind, item.s, item.n FROM item"                          \
    " UNION SELECT 't', " PG "lower(m.w[1]), " PG "lower(m.w[2]) FROM fn, " PG "regexp_matches(fn.src, "     \
    WORDS ", 'g') AS m (w)"                                                                                  \
    " UNION SELECT 'o', NULL, m.w[1] FROM fn, " PG "regexp_matches(fn.src, '[-+*/<>=~!@#%^&|`?]+', 'g')"     \
    " AS m (w)),"

#define OPERATORS                                                                                            \
    "op AS MATERIALIZED (SELECT o.* FROM (SELECT DISTINCT word.s, word.n FROM word WHERE word.kind" EQ "'o'" \
    " LIMIT 100) AS w, " SITES("w.s") ", LATERAL (SELECT o.oid, o.oprname, o.oprnamespace, o.oprleft,"       \
    " o.oprright, o.oprresult, o.oprcode FROM " PG "pg_operator AS o WHERE o.oprname" EQ "CAST(w.n AS "      \
    PG "name) AND o.oprnamespace" EQ "site.nsp OFFSET 0) AS o),"

/* ---- relations ---- */

#define RELATIONS                                                                                            \
    "rel AS MATERIALIZED (SELECT DISTINCT ON (item.id) item.id, item.kind, item.s, item.n, c.*"              \
    " FROM item LEFT JOIN LATERAL (SELECT site.pos, c.oid, c.relname, c.relnamespace, c.relkind,"            \
    " c.relpersistence, c.reltuples, c.relpages, c.relowner, c.reltype, c.reloftype, c.relrowsecurity,"      \
    " c.relforcerowsecurity, c.relispartition FROM " SITES("item.s") ", LATERAL (SELECT c.* FROM " PG        \
    "pg_class AS c WHERE c.relname" EQ "CAST(item.n AS " PG "name) AND c.relnamespace" EQ                    \
    "site.nsp OFFSET 0) AS c) AS c ON true WHERE item.kind" EQ "ANY ('{r,R}') ORDER BY item.id, c.pos),"     \
    "att AS MATERIALIZED (SELECT rel.oid AS rel, a.* FROM (SELECT DISTINCT rel.oid FROM rel) AS rel,"        \
    " LATERAL (SELECT a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull,"           \
    " a.atthasdef, a.atthasmissing, a.attidentity, a.attgenerated, a.attislocal, a.attinhcount"              \
    " FROM " PG "pg_attribute AS a WHERE a.attrelid" EQ "rel.oid AND a.attnum" GT "0 AND NOT a.attisdropped" \
    " OFFSET 0) AS a),"

/* ---- types: those asked for, those of everything found, and what they are made of ---- */

#define TYPES                                                                                                \
    "kin (oid) AS (SELECT u.oid FROM ("                                                                      \
    "SELECT t.oid FROM (SELECT DISTINCT word.s, word.n FROM word WHERE word.kind" EQ "'t') AS w, "           \
    SITES("w.s") ", LATERAL (SELECT t.oid FROM " PG "pg_type AS t WHERE t.typname" EQ "CAST(w.n AS " PG      \
    "name) AND t.typnamespace" EQ "site.nsp OFFSET 0) AS t"                                                  \
    " UNION ALL SELECT fn.prorettype FROM fn"                                                                \
    " UNION ALL SELECT a.t FROM fn, LATERAL " PG "unnest(fn.proargtypes) AS a (t)"                           \
    " UNION ALL SELECT a.t FROM op, LATERAL " PG "unnest(ARRAY[op.oprleft, op.oprright, op.oprresult])"      \
    " AS a (t) UNION ALL SELECT att.atttypid FROM att"                                                       \
    " UNION ALL SELECT a.t FROM " PG "unnest(CAST('{16,20,21,23,25,700,701,705,1042,1043,1082,1083,1114,1184,"    \
    "1186,1266,1560,1562,1700}' AS " PG "oid[])) AS a (t) WHERE EXISTS (SELECT FROM word WHERE word.kind" EQ \
    "ANY ('{f,o,t}'))) AS u"                                                                                 \
    " UNION SELECT a.t FROM kin, LATERAL (SELECT t.typbasetype, t.typelem FROM " PG "pg_type AS t"           \
    " WHERE t.oid" EQ "kin.oid OFFSET 0) AS t, LATERAL " PG "unnest(ARRAY[t.typbasetype, t.typelem])"        \
    " AS a (t)),"                                                                                            \
    "typ AS MATERIALIZED (SELECT t.* FROM kin, LATERAL (SELECT t.oid, t.typname, t.typnamespace, t.typtype," \
    " t.typcategory, t.typispreferred, t.typnotnull, t.typlen, t.typbasetype, t.typtypmod, t.typelem,"       \
    " t.typarray, t.typrelid, t.typdefault IS NOT NULL OR t.typdefaultbin IS NOT NULL AS def,"               \
    " t.typdefaultbin, t.typinput, t.typoutput FROM " PG "pg_type AS t WHERE t.oid" EQ "kin.oid OFFSET 0)"   \
    " AS t LIMIT 3000)"

/* ---- the answer ---- */

#define FUNCTION_ROWS                                                                                        \
    "(SELECT " AGGREGATE(PG "json_build_array(fn.oid, s.nspname, fn.proname, path.pos, fn.provolatile,"      \
    " fn.prokind, fn.proisstrict, fn.proretset, fn.provariadic, fn.prorettype, fn.proargtypes,"              \
    " fn.pronargdefaults, fn.sql, fn.src, fn.proargnames)")                                                  \
    " FROM fn LEFT JOIN path ON path.nsp" EQ "fn.pronamespace, LATERAL (SELECT n.nspname FROM " PG           \
    "pg_namespace AS n WHERE n.oid" EQ "fn.pronamespace OFFSET 0) AS s)"

#define OPERATOR_ROWS                                                                                        \
    "(SELECT " AGGREGATE(PG "json_build_array(op.oid, s.nspname, op.oprname, path.pos, op.oprleft,"          \
    " op.oprright, op.oprresult, f.provolatile, f.proisstrict, CAST(op.oprcode AS " PG "oid))")                                 \
    " FROM op LEFT JOIN path ON path.nsp" EQ "op.oprnamespace, LATERAL (SELECT n.nspname FROM " PG           \
    "pg_namespace AS n WHERE n.oid" EQ "op.oprnamespace OFFSET 0) AS s, LATERAL (SELECT p.provolatile,"      \
    " p.proisstrict FROM " PG "pg_proc AS p WHERE p.oid" EQ "op.oprcode OFFSET 0) AS f)"

#define IO_VOLATILITY(function)                                                                              \
    "(SELECT p.provolatile FROM " PG "pg_proc AS p WHERE p.oid" EQ function ")"

#define TYPE_ROWS                                                                                            \
    "(SELECT " AGGREGATE(PG "json_build_array(typ.oid, s.nspname, typ.typname, path.pos, typ.typtype,"       \
    " typ.typcategory, typ.typispreferred, typ.typnotnull, typ.typlen" EQ "CAST(-1 AS " PG "int2)"           \
    " AND typ.typelem" NE "0 AND " LETTER("typ.typcategory", "A") ", typ.typbasetype, typ.typtypmod,"        \
    " typ.typelem, typ.typarray, typ.typrelid,"                                                              \
    " CASE WHEN " LETTER("typ.typtype", "d") " THEN (SELECT " PG "count(*) FROM " PG "pg_constraint AS k"    \
    " WHERE k.contypid" EQ "typ.oid AND " LETTER("k.contype", "c") ") ELSE 0 END, typ.def,"                  \
    " CASE WHEN typ.typdefaultbin IS NULL THEN 'i' ELSE " TREE_VOLATILITY("typ.typdefaultbin") " END, "      \
    IO_VOLATILITY("typ.typinput") ", " IO_VOLATILITY("typ.typoutput") ")")                                   \
    " FROM typ LEFT JOIN path ON path.nsp" EQ "typ.typnamespace, LATERAL (SELECT n.nspname FROM " PG         \
    "pg_namespace AS n WHERE n.oid" EQ "typ.typnamespace OFFSET 0) AS s)"

#define CAST_ROWS                                                                                            \
    "(SELECT " AGGREGATE(PG "json_build_array(k.castsource, k.casttarget, k.castcontext, k.castmethod,"      \
    " f.provolatile, f.proisstrict)")                                                                        \
    " FROM typ, LATERAL (SELECT k.castsource, k.casttarget, k.castcontext, k.castmethod, k.castfunc"         \
    " FROM " PG "pg_cast AS k WHERE k.castsource" EQ "typ.oid OFFSET 0) AS k LEFT JOIN " PG                  \
    "pg_proc AS f ON f.oid" EQ "k.castfunc WHERE EXISTS (SELECT FROM typ AS t2 WHERE t2.oid" EQ              \
    "k.casttarget))"

#define SETTING(name) PG "current_setting('" name "')"

#define SESSION                                                                                              \
    "'version', CAST(" SETTING("server_version_num") " AS " PG "int4), 'database', " PG                      \
    "current_database(), 'user', current_user, 'session_user', session_user,"                                \
    " 'superuser', (SELECT r.rolsuper FROM " PG "pg_roles AS r WHERE r.rolname" EQ "current_user),"          \
    " 'recovery', " PG "pg_is_in_recovery(), 'read_only', " SETTING("transaction_read_only") EQ "'on',"      \
    " 'path', " PG "current_schemas(true), 'temporary', (SELECT n.nspname FROM " PG "pg_namespace AS n"      \
    " WHERE n.oid" EQ PG "pg_my_temp_schema()),"                                                             \
    " 'event_triggers', (SELECT " AGGREGATE(PG "json_build_array(e.evtname, e.evtevent, e.evttags)")         \
    " FROM " PG "pg_event_trigger AS e WHERE e.evtenabled" NE "CAST('D' AS " PG "\"char\")"                        \
    " AND e.evtevent" EQ "ANY (CAST('{table_rewrite,ddl_command_start}' AS " PG "name[])))"

/* Rows of a relation, each its own subquery. */

#define COLUMN_ROWS                                                                                          \
    "(SELECT " AGGREGATE(PG "json_build_array(a.attnum, a.attname, a.atttypid, a.atttypmod, " PG             \
    "format_type(a.atttypid, a.atttypmod), a.attcollation, a.attnotnull, a.atthasdef, a.atthasmissing,"      \
    " a.attidentity, a.attgenerated, a.attislocal, a.attinhcount) ORDER BY a.attnum")                        \
    " FROM att AS a WHERE a.rel" EQ "rel.oid)"

#define CONSTRAINT_ROWS                                                                                      \
    "(SELECT " AGGREGATE(PG "json_build_array(k.conname, k.contype, k.convalidated, COALESCE(" PG            \
    "to_json(k)" GET "'conenforced', 'true')" EQ "'true', k.condeferrable, k.connoinherit, k.conkey,"        \
    " k.confrelid, k.conindid, CASE WHEN " LETTER("k.contype", "c") " AND " PG "length(CAST(k.conbin AS "    \
    PG "text))" LT "4000 THEN CAST(k.conbin AS " PG "text) END) ORDER BY k.conname")                         \
    " FROM " PG "pg_constraint AS k WHERE k.conrelid" EQ "rel.oid)"

#define INDEX_ROWS                                                                                           \
    "(SELECT " AGGREGATE(PG "json_build_array(i.indexrelid, c.relname, i.indisunique, i.indisvalid,"         \
    " i.indisready, i.indisprimary, i.indimmediate, i.indisexclusion, i.indpred IS NOT NULL,"                \
    " i.indexprs IS NOT NULL, i.indnkeyatts, i.indkey) ORDER BY c.relname")                                  \
    " FROM " PG "pg_index AS i, LATERAL (SELECT c.relname FROM " PG "pg_class AS c WHERE c.oid" EQ           \
    "i.indexrelid OFFSET 0) AS c WHERE i.indrelid" EQ "rel.oid)"

#define ROWS(of)                                                                                             \
    "CASE WHEN " of ".reltuples" LT "CAST(1e15 AS " PG "float4) THEN CAST(" of ".reltuples AS " PG           \
    "int8) ELSE 1000000000000000 END"

#define CHILD_ROW                                                                                            \
    "(WITH RECURSIVE family (oid) AS (SELECT h.inhrelid FROM " PG "pg_inherits AS h WHERE h.inhparent" EQ    \
    "rel.oid UNION SELECT h.inhrelid FROM family, LATERAL (SELECT h.inhrelid FROM " PG "pg_inherits AS h"    \
    " WHERE h.inhparent" EQ "family.oid OFFSET 0) AS h)"                                                     \
    " SELECT " PG "json_build_array(" PG "count(*), COALESCE(" PG "sum(" ROWS("c") ") FILTER (WHERE"         \
    " c.reltuples" GT "CAST(0 AS " PG "float4)), 0), COALESCE(" PG "sum(CAST(c.relpages AS " PG "int8)), 0), " \
    PG "count(*) FILTER (WHERE " LETTER("c.relkind", "f") "))"                                               \
    " FROM family, LATERAL (SELECT c.reltuples, c.relpages, c.relkind FROM " PG "pg_class AS c"              \
    " WHERE c.oid" EQ "family.oid OFFSET 0) AS c)"

#define PARENT_ROWS                                                                                          \
    "(SELECT " AGGREGATE(PG "json_build_array(n.nspname, c.relname) ORDER BY h.inhseqno")                    \
    " FROM " PG "pg_inherits AS h, LATERAL (SELECT c.relname, c.relnamespace FROM " PG "pg_class AS c"       \
    " WHERE c.oid" EQ "h.inhparent OFFSET 0) AS c, LATERAL (SELECT n.nspname FROM " PG "pg_namespace AS n"   \
    " WHERE n.oid" EQ "c.relnamespace OFFSET 0) AS n WHERE h.inhrelid" EQ "rel.oid)"

/* Columns whose values hold rows of this relation, in whatever wrapping: find_composite_type_dependencies(). */
#define ROW_TYPE_ROWS                                                                                        \
    "(WITH RECURSIVE held (type, rel, col) AS (SELECT rel.reltype, CAST(0 AS " PG "oid), 0"                  \
    " UNION SELECT COALESCE(t.oid, 0), COALESCE(c.oid, 0), COALESCE(c.col, 0) FROM held,"                    \
    " LATERAL (SELECT d.classid, d.objid, d.objsubid FROM " PG "pg_depend AS d WHERE d.refclassid" EQ "1247" \
    " AND d.refobjid" EQ "held.type AND held.type" NE "0"                                                    \
    " AND (d.classid" EQ "1247 OR d.classid" EQ "1259 AND d.objsubid" GT "0) OFFSET 0) AS d"                 \
    " LEFT JOIN LATERAL (SELECT c.oid, c.reltype, c.relkind, d.objsubid AS col FROM " PG "pg_class AS c"     \
    "  WHERE d.classid" EQ "1259 AND c.oid" EQ "d.objid OFFSET 0) AS c ON true"                              \
    " LEFT JOIN LATERAL (SELECT d.objid AS oid WHERE d.classid" EQ "1247 UNION ALL SELECT c.reltype"         \
    "  WHERE c.relkind" EQ "ANY (CAST('{c,v,f}' AS " PG "\"char\"[]))) AS t ON true)"                              \
    " SELECT " AGGREGATE(PG "json_build_array(u.relname, u.attname)") " FROM (SELECT DISTINCT c.relname,"    \
    " a.attname FROM held, LATERAL (SELECT c.relname FROM " PG "pg_class AS c WHERE c.oid" EQ "held.rel"     \
    " AND c.relkind" EQ "ANY (CAST('{r,m,p}' AS " PG "\"char\"[])) OFFSET 0) AS c, LATERAL (SELECT a.attname"      \
    " FROM " PG "pg_attribute AS a WHERE a.attrelid" EQ "held.rel AND a.attnum" EQ "held.col"                \
    " AND NOT a.attisdropped OFFSET 0) AS a WHERE held.rel" NE "0 LIMIT 20) AS u)"

#define VIEW_ROWS                                                                                            \
    "(SELECT " AGGREGATE(PG "json_build_array(u.nspname, u.relname, u.col)") " FROM (SELECT DISTINCT"        \
    " n.nspname, c.relname, d.refobjsubid AS col FROM " PG "pg_depend AS d, LATERAL (SELECT r.ev_class"      \
    " FROM " PG "pg_rewrite AS r WHERE r.oid" EQ "d.objid OFFSET 0) AS r, LATERAL (SELECT c.relname,"        \
    " c.relnamespace FROM " PG "pg_class AS c WHERE c.oid" EQ "r.ev_class AND c.oid" NE "rel.oid OFFSET 0)"  \
    " AS c, LATERAL (SELECT n.nspname FROM " PG "pg_namespace AS n WHERE n.oid" EQ "c.relnamespace OFFSET 0)" \
    " AS n WHERE d.refclassid" EQ "1259 AND d.refobjid" EQ "rel.oid AND d.classid" EQ "2618"                 \
    " LIMIT 50) AS u)"

#define TRIGGER_ROW                                                                                          \
    "(SELECT " PG "json_build_array(" PG "count(*), " PG "count(*) FILTER (WHERE t.tgenabled" EQ             \
    "CAST('A' AS " PG "\"char\"))) FROM " PG "pg_trigger AS t WHERE t.tgrelid" EQ "rel.oid AND NOT t.tgisinternal)"

/* FOR ALL TABLES, by the table itself or a parent, or (6237 is pg_publication_namespace) by the schema. */
#define PUBLICATION_ROWS                                                                                     \
    "(WITH RECURSIVE up (oid, nsp) AS (SELECT rel.oid, rel.relnamespace UNION SELECT h.inhparent,"           \
    " c.relnamespace FROM up, LATERAL (SELECT h.inhparent FROM " PG "pg_inherits AS h WHERE h.inhrelid" EQ   \
    "up.oid OFFSET 0) AS h, LATERAL (SELECT c.relnamespace FROM " PG "pg_class AS c WHERE c.oid" EQ          \
    "h.inhparent AND " LETTER("c.relkind", "p") " OFFSET 0) AS c)"                                           \
    " SELECT " AGGREGATE("p.pubname ORDER BY p.pubname") " FROM " PG "pg_publication AS p"                   \
    " WHERE (p.puballtables OR EXISTS (SELECT FROM up, " PG "pg_publication_rel AS r WHERE r.prrelid" EQ     \
    "up.oid AND r.prpubid" EQ "p.oid) OR EXISTS (SELECT FROM up, " PG "pg_depend AS d, " PG "pg_depend AS e" \
    " WHERE d.refclassid" EQ "6104 AND d.refobjid" EQ "p.oid AND d.classid" EQ "6237 AND e.classid" EQ       \
    "d.classid AND e.objid" EQ "d.objid AND e.refclassid" EQ "2615 AND e.refobjid" EQ "up.nsp))"             \
    " AND rel.relpersistence" EQ "CAST('p' AS " PG "\"char\") AND rel.relkind" EQ                                  \
    "ANY (CAST('{r,p}' AS " PG "\"char\"[])))"

/* The lock manager is only looked into for relations that the statement itself works on. */
#define HOLDER_ROWS                                                                                          \
    "(SELECT " AGGREGATE(PG "json_build_array(l.pid, l.mode, l.granted, CAST(" PG "floor(1000.0"             \
    " OPERATOR(pg_catalog.*) " PG "date_part('epoch', " PG "clock_timestamp() OPERATOR(pg_catalog.-) "       \
    "a.xact_start)) AS " PG "int8), " PG "\"left\"(a.query, 80), a.application_name, a.state,"               \
    " a.backend_type)") " FROM (SELECT l.pid, l.mode, l.granted FROM lock AS l WHERE l.relation" EQ          \
    "rel.oid ORDER BY l.granted DESC LIMIT 20) AS l LEFT JOIN LATERAL (SELECT a.* FROM " PG                  \
    "pg_stat_get_activity(l.pid) AS a LIMIT 1) AS a ON true)"

#define LOCKS                                                                                                \
    ",lock AS MATERIALIZED (SELECT l.pid, l.mode, l.granted, l.relation FROM " PG "pg_lock_status() AS l"    \
    " WHERE l.locktype" EQ "'relation' AND l.pid" NE PG "pg_backend_pid() AND l.relation" EQ                 \
    "ANY (ARRAY(SELECT rel.oid FROM rel WHERE rel.kind" EQ "'R')) AND l.database" EQ                         \
    "(SELECT d.oid FROM " PG "pg_database AS d WHERE d.datname" EQ PG "current_database())"                  \
    " AND EXISTS (SELECT FROM rel WHERE rel.kind" EQ "'R' AND rel.oid IS NOT NULL)),"                        \
    /* transactions of ours: the top one and each subtransaction that wrote; released ones keep theirs */    \
    "own (xid) AS MATERIALIZED (SELECT l.transactionid FROM " PG "pg_lock_status() AS l"                     \
    " WHERE " PG "pg_current_xact_id_if_assigned() IS NOT NULL AND l.locktype" EQ "'transactionid'"          \
    " AND l.pid" EQ PG "pg_backend_pid() AND l.granted AND l.mode" EQ "'ExclusiveLock') "

/* ALTER TABLE writes many rows anew, but none the one of the system column ctid. */
#define CREATED_HERE                                                                                         \
    "EXISTS (SELECT FROM " PG "pg_attribute AS a, own WHERE a.attrelid" EQ "rel.oid AND a.attnum" EQ         \
    "CAST(-1 AS " PG "int2) AND a.xmin" EQ "own.xid)"

#define RELATION_ROWS                                                                                        \
    "(SELECT " AGGREGATE(PG "json_build_object('asked', " PG "json_build_array(rel.s, rel.n),"               \
    " 'oid', rel.oid, 'schema', n.nspname, 'name', rel.relname, 'kind', rel.relkind,"                        \
    " 'persistence', rel.relpersistence, 'rows', " ROWS("rel") ", 'size', CAST(rel.relpages AS " PG "int8)"  \
    " OPERATOR(pg_catalog.*) CAST(" SETTING("block_size") " AS " PG "int8), 'block', CAST("                  \
    SETTING("block_size") " AS " PG "int4),"                                                                 \
    " 'owner', " PG "pg_get_userbyid(rel.relowner), 'may_own', " PG "pg_has_role(rel.relowner, 'USAGE'),"    \
    " 'temp', rel.relnamespace" EQ PG "pg_my_temp_schema(), 'rls', rel.relrowsecurity,"                      \
    " 'force_rls', rel.relforcerowsecurity, 'partition', rel.relispartition, 'created_here', " CREATED_HERE  \
    ", 'row_type', rel.reltype, 'typed_of', rel.reloftype, 'columns', " COLUMN_ROWS                          \
    ", 'constraints', " CONSTRAINT_ROWS ", 'indexes', " INDEX_ROWS ", 'children', " CHILD_ROW                \
    ", 'parents', " PARENT_ROWS ", 'row_type_users', " ROW_TYPE_ROWS ", 'views', " VIEW_ROWS                 \
    ", 'triggers', " TRIGGER_ROW ", 'referenced_by', (SELECT " PG "count(*) FROM " PG "pg_depend AS d, "     \
    PG "pg_constraint AS k WHERE d.refclassid" EQ "1259 AND d.refobjid" EQ "rel.oid AND d.classid" EQ        \
    "2606 AND k.oid" EQ "d.objid AND k.confrelid" EQ "rel.oid AND k.conrelid" NE "rel.oid"                   \
    "), 'publications', " PUBLICATION_ROWS ", 'holders', " HOLDER_ROWS ") ORDER BY rel.id")                  \
    " FROM rel LEFT JOIN LATERAL (SELECT n.nspname FROM " PG "pg_namespace AS n WHERE n.oid" EQ              \
    "rel.relnamespace OFFSET 0) AS n ON true)"

#define ANSWER                                                                                               \
    "SELECT " PG "concat(" PG "getdatabaseencoding(), ':', " PG "encode(" PG "convert_to(CAST(" PG           \
    "json_build_object(" SESSION ", 'relations', " RELATION_ROWS ", 'functions', " FUNCTION_ROWS             \
    ", 'operators', " OPERATOR_ROWS ", 'types', " TYPE_ROWS ", 'casts', " CAST_ROWS ") AS " PG "text), "     \
    "CAST(" PG "getdatabaseencoding() AS " PG "name)), 'base64'))"

const char *catalog_sql(void)
{
    return ASKED FUNCTIONS OPERATORS RELATIONS TYPES LOCKS ANSWER;
}

/*
 * The one query that a client's session is asked in front of a statement that is judged.
 *
 * It must be unable to fail and unable to wait, whatever the session looks like:
 * - Every table, function, type and operator is written with its schema. IN, BETWEEN, LIKE, NULLIF, IS
 * DISTINCT FROM, simple CASE and USING look operators up by search_path: they don't occur. So doesn't a
 * backslash, which standard_conforming_strings and escape_string_warning could make something of.
 * - No function that opens a relation or asks for its lock (pg_get_expr, regclass, …): another session
 * may hold ACCESS EXCLUSIVE on it. Nor one that raises for an object that was dropped in between. Expressions
 * are the stored trees.
 * - But for pg_relation_size(): a table that was never analyzed, or filled since, must not be taken for
 * small. It is only called for what the statement works on, where the lock manager shows nobody else who
 * holds or awaits ACCESS EXCLUSIVE; one who comes in that very moment holds up the statement itself as well.
 * - Nothing that asks the statistics collector, which up to 14 could take its time.
 * - A name may hold what client_encoding doesn't have: the answer leaves as base64 of the server's own
 * encoding, whose name stands in front of it.
 * - Columns that came after 13 are taken out of to_json(row), where they are missing quietly. Tables that
 * came later (pg_publication_namespace) are seen through pg_depend.
 * - Each catalog is entered by an index with "= ANY (ARRAY(subquery))", which the planner takes for ten rows:
 * so no plan reads a catalog whole, and none looks expensive enough for JIT to be thrown at it.
 *
 * What a name means is not settled here: everything of that name in any schema that matters is told, with the
 * schemas' places in search_path, and policy/catalog_find.c chooses.
 */
#include "policy/catalog.h"

/* The SQL reads better in lines of its own making. */
/* clang-format off */

#define PG      "pg_catalog."
#define EQ      " OPERATOR(pg_catalog.=) "
#define NE      " OPERATOR(pg_catalog.<>) "
#define LT      " OPERATOR(pg_catalog.<) "
#define GT      " OPERATOR(pg_catalog.>) "
#define GE      " OPERATOR(pg_catalog.>=) "
#define ADD     " OPERATOR(pg_catalog.+) "
#define SUB     " OPERATOR(pg_catalog.-) "
#define GET     " OPERATOR(pg_catalog.->) "
#define GETTEXT " OPERATOR(pg_catalog.->>) "

#define FIRST_OF_USERS "16384" /* the first oid that initdb leaves to users */

#define CHAR PG "\"char\""

/* Letters of prokind and the like. */
#define LETTER(column, letter) column EQ "CAST('" letter "' AS " CHAR ")"

#define AGGREGATE(row) "COALESCE(" PG "json_agg(" row "), '[]')"

/* The volatility of what a stored expression calls: the worst letter; 'u' where that is a volatile SQL
 * function, which may yet be inlined. Letters happen to sort by what they mean. */
#define TREE_VOLATILITY(tree)                                                                                \
    "(SELECT CASE WHEN " PG "bool_or(" LETTER("q.provolatile", "v") " AND q.prolang" NE "14) THEN 'v'"       \
    " WHEN " PG "bool_or(" LETTER("q.provolatile", "v") ") THEN 'u'"                                         \
    " WHEN " PG "bool_or(" LETTER("q.provolatile", "s") ") THEN 's' ELSE 'i' END FROM " PG                   \
    "pg_proc AS q WHERE q.oid" EQ "ANY (ARRAY(SELECT CAST(m.hit[1] AS " PG "oid) FROM " PG                   \
    "regexp_matches(CAST(" tree " AS " PG "text), ':funcid ([0-9]+)', 'g') AS m (hit)"                       \
    " UNION ALL SELECT CAST(o.oprcode AS " PG "oid) FROM " PG "regexp_matches(CAST(" tree " AS " PG          \
    "text), ':opno ([0-9]+)', 'g') AS m (hit), " PG "pg_operator AS o WHERE o.oid" EQ "CAST(m.hit[1] AS "    \
    PG "oid))))"

/* ---- what was asked, and the schemas where it may be found ---- */

/* One of the lists in $1: schemas, relations, relations worked on, functions, operators, types. */
#define ASKED(list)                                                                                          \
    "SELECT CAST(u.n AS " PG "name) FROM ask, " PG "json_array_elements_text(ask.j" GET "'" list "') AS u (n)"

#define SCHEMAS                                                                                              \
    "WITH RECURSIVE ask (j) AS MATERIALIZED (SELECT CAST($1 AS " PG "json)),"                                \
    "space AS MATERIALIZED (SELECT n.oid, n.nspname FROM " PG "pg_namespace AS n WHERE n.nspname" EQ "ANY (" \
    PG "current_schemas(true) OPERATOR(pg_catalog.||) ARRAY(" ASKED("s") "))),"

#define IN_SPACE(column) column EQ "ANY (ARRAY(SELECT space.oid FROM space))"

/* ---- functions: by name, and those named in the bodies of the SQL functions so found ---- */

/* What the planner could inline, and its text where that can be followed. */
#define INLINABLE "p.prolang" EQ "14 AND NOT p.prosecdef AND p.proconfig IS NULL AND NOT p.proretset"

#define FUNCTION_COLUMNS                                                                                     \
    "p.oid, p.proname, p.pronamespace, p.provolatile, p.prokind, p.proisstrict, p.proretset, p.provariadic," \
    " p.prorettype, p.proargtypes, p.pronargdefaults, " INLINABLE " AS sql, CASE WHEN " INLINABLE            \
    " AND p.proargmodes IS NULL AND " LETTER("p.prokind", "f") " AND " PG "octet_length(p.prosrc)" LT        \
    "2000 AND " PG "to_json(p)" GETTEXT "'prosqlbody' IS NULL THEN p.prosrc END AS src, p.proargnames,"      \
    " CASE WHEN p.proargdefaults IS NULL THEN 'i' ELSE " TREE_VOLATILITY("p.proargdefaults") " END AS byd"

#define FUNCTIONS                                                                                            \
    "f0 AS MATERIALIZED (SELECT " FUNCTION_COLUMNS " FROM " PG "pg_proc AS p WHERE p.proname" EQ "ANY"       \
    " (ARRAY(" ASKED("f") ")) AND " IN_SPACE("p.pronamespace") "),"                                          \
    "word (n) AS MATERIALIZED (SELECT DISTINCT CAST(" PG "lower(m.w[1]) AS " PG "name) FROM f0, " PG         \
    "regexp_matches(f0.src, '[[:alpha:]_][[:alnum:]_$]*', 'g') AS m (w) LIMIT 500),"                         \
    "space2 AS MATERIALIZED (SELECT space.oid, space.nspname FROM space UNION SELECT n.oid, n.nspname FROM " \
    PG "pg_namespace AS n WHERE n.nspname" EQ "ANY (ARRAY(SELECT word.n FROM word))),"                       \
    "f1 AS MATERIALIZED (SELECT " FUNCTION_COLUMNS " FROM " PG "pg_proc AS p WHERE p.proname" EQ "ANY"       \
    " (ARRAY(SELECT word.n FROM word)) AND p.pronamespace" EQ                                                \
    "ANY (ARRAY(SELECT space2.oid FROM space2))),"

#define OPERATORS                                                                                            \
    "op AS MATERIALIZED (SELECT o.oid, o.oprname, o.oprnamespace, o.oprleft, o.oprright, o.oprresult,"       \
    " o.oprcode FROM " PG "pg_operator AS o WHERE o.oprname" EQ "ANY (ARRAY(" ASKED("o") " UNION ALL SELECT" \
    " CAST(m.w[1] AS " PG "name) FROM f0, " PG "regexp_matches(f0.src, '[-+*/<>=~!@#%^&|`?]+', 'g') AS m (w)" \
    ")) AND o.oprnamespace" EQ "ANY (ARRAY(SELECT space2.oid FROM space2))),"

/* The functions of operators of ours belong to them: the planner may inline those as well. */
#define ALL_FUNCTIONS                                                                                        \
    "fn AS MATERIALIZED (SELECT f0.* FROM f0 UNION SELECT f1.* FROM f1 UNION SELECT " FUNCTION_COLUMNS       \
    " FROM " PG "pg_proc AS p WHERE p.oid" EQ "ANY (ARRAY(SELECT CAST(op.oprcode AS " PG "oid) FROM op"      \
    " WHERE CAST(op.oprcode AS " PG "oid)" GE FIRST_OF_USERS "))),"

/* ---- relations ---- */

#define RELATIONS                                                                                            \
    "rel AS MATERIALIZED (SELECT c.oid, c.relname, c.relnamespace, c.relkind, c.relpersistence, c.reltuples," \
    " c.relpages, c.relowner, c.reltype, c.reloftype, c.relrowsecurity, c.relforcerowsecurity,"              \
    " c.relispartition, c.relname" EQ "ANY (ARRAY(" ASKED("R") ")) AS worked_on FROM " PG                    \
    "pg_class AS c WHERE c.relname" EQ "ANY (ARRAY(" ASKED("r") " UNION ALL " ASKED("R") ")) AND "           \
    IN_SPACE("c.relnamespace") "),"

/* ---- types: those asked for, those of everything found, and what they are made of ---- */

/* The types of constants, always: bool name int8 int2 int4 text float4 float8 unknown bpchar varchar date
 * time timestamp timestamptz interval timetz bit varbit numeric. */
#define CONSTANT_TYPES                                                                                       \
    "{16,19,20,21,23,25,700,701,705,1042,1043,1082,1083,1114,1184,1186,1266,1560,1562,1700}"

#define TYPES                                                                                                \
    "kin (oid) AS (SELECT " PG "unnest(ARRAY("                                                               \
    "SELECT t.oid FROM " PG "pg_type AS t WHERE t.typname" EQ "ANY (ARRAY(" ASKED("t")                       \
    " UNION ALL SELECT word.n FROM word)) AND t.typnamespace" EQ "ANY (ARRAY(SELECT space2.oid FROM space2))" \
    " UNION SELECT fn.prorettype FROM fn"                                                                    \
    " UNION SELECT a.t FROM fn, " PG "unnest(fn.proargtypes) AS a (t)"                                       \
    " UNION SELECT a.t FROM op, " PG "unnest(ARRAY[op.oprleft, op.oprright, op.oprresult]) AS a (t)"         \
    " UNION SELECT a.atttypid FROM " PG "pg_attribute AS a WHERE a.attrelid" EQ "ANY (ARRAY(SELECT rel.oid"  \
    " FROM rel)) AND a.attnum" GT "0"                                                                        \
    " UNION SELECT " PG "unnest(CAST('" CONSTANT_TYPES "' AS " PG "oid[]))))"                                \
    " UNION SELECT " PG "unnest(ARRAY[t.typbasetype, t.typelem]) FROM kin, LATERAL (SELECT t.typbasetype,"   \
    " t.typelem FROM " PG "pg_type AS t WHERE t.oid" EQ "kin.oid OFFSET 0) AS t)," /* OFFSET 0: by index */  \
    "typ AS MATERIALIZED (SELECT t.* FROM " PG "pg_type AS t WHERE t.oid" EQ                                 \
    "ANY (ARRAY(SELECT kin.oid FROM kin)))"

/* The lock manager is only looked into where the answer can matter. */
#define LOCKS                                                                                                \
    ",lock AS MATERIALIZED (SELECT l.pid, l.mode, l.granted, l.relation FROM " PG "pg_lock_status() AS l"    \
    " WHERE EXISTS (SELECT FROM rel WHERE rel.worked_on) AND l.locktype" EQ "'relation' AND l.relation" EQ   \
    "ANY (ARRAY(SELECT rel.oid FROM rel WHERE rel.worked_on)) AND l.database" EQ "(SELECT d.oid FROM " PG    \
    "pg_database AS d WHERE d.datname" EQ PG "current_database())),"                                         \
    "own (top, xmax) AS MATERIALIZED (SELECT CAST(CAST(" PG "pg_current_xact_id_if_assigned() AS " PG "text)" \
    " AS " PG "int8), CAST(CAST(" PG "pg_snapshot_xmax(" PG "pg_current_snapshot()) AS " PG "text) AS " PG   \
    "int8)) "

/* ---- the answer ---- */

#define FUNCTION_ROWS                                                                                        \
    "(SELECT " AGGREGATE(PG "json_build_array(fn.oid, fn.pronamespace, fn.proname, fn.provolatile, fn.prokind," \
    " fn.proisstrict, fn.proretset, fn.provariadic, fn.prorettype, fn.proargtypes, fn.pronargdefaults,"      \
    " fn.sql, fn.src, fn.proargnames, fn.byd)") " FROM fn)"

#define OPERATOR_ROWS                                                                                        \
    "(SELECT " AGGREGATE(PG "json_build_array(op.oid, op.oprnamespace, op.oprname, op.oprleft, op.oprright," \
    " op.oprresult, f.provolatile, f.proisstrict, CAST(op.oprcode AS " PG "oid))") " FROM op, LATERAL"       \
    " (SELECT p.provolatile, p.proisstrict FROM " PG "pg_proc AS p WHERE p.oid" EQ "op.oprcode OFFSET 0) AS f)"

#define TYPE_ROWS                                                                                            \
    "(SELECT " AGGREGATE(PG "json_build_array(typ.oid, typ.typnamespace, typ.typname, typ.typtype,"          \
    " typ.typcategory, typ.typispreferred, typ.typnotnull, typ.typlen" LT "0 AND typ.typelem" NE "0 AND "    \
    LETTER("typ.typcategory", "A") ", typ.typbasetype, typ.typtypmod, typ.typelem, typ.typarray,"            \
    " typ.typrelid, CASE WHEN " LETTER("typ.typtype", "d") " THEN (SELECT " PG "count(*) FROM " PG           \
    "pg_constraint AS k WHERE k.contypid" EQ "typ.oid AND " LETTER("k.contype", "c") ") ELSE 0 END,"         \
    " typ.typdefault IS NOT NULL OR typ.typdefaultbin IS NOT NULL,"                                          \
    " CASE WHEN typ.typdefaultbin IS NULL THEN 'i' ELSE " TREE_VOLATILITY("typ.typdefaultbin") " END,"       \
    " (SELECT " PG "max(CAST(p.provolatile AS " PG "text)) FROM " PG "pg_proc AS p WHERE p.oid" EQ           \
    "ANY (ARRAY[CAST(typ.typinput AS " PG "oid), CAST(typ.typoutput AS " PG "oid)])), CASE WHEN "            \
    LETTER("typ.typtype", "c") " THEN (SELECT "                                                              \
    AGGREGATE("a.atttypid ORDER BY a.attnum") " FROM " PG "pg_attribute AS a WHERE a.attrelid" EQ "typ.typrelid" \
    " AND a.attnum" GT "0 AND NOT a.attisdropped) ELSE '[]' END)") " FROM typ)"

#define CAST_ROWS                                                                                            \
    "(SELECT " AGGREGATE(PG "json_build_array(k.castsource, k.casttarget, k.castcontext, k.castmethod,"      \
    " f.provolatile, f.proisstrict)") " FROM " PG "pg_cast AS k LEFT JOIN LATERAL (SELECT CASE WHEN "        \
    LETTER("p.provolatile", "v") " AND p.prolang" EQ "14 THEN 'u' ELSE p.provolatile END AS provolatile,"    \
    " p.proisstrict FROM " PG "pg_proc AS p WHERE p.oid" EQ "k.castfunc OFFSET 0) AS f ON true"              \
    " WHERE k.castsource" EQ "ANY (ARRAY(SELECT typ.oid FROM typ)) AND k.casttarget" EQ                      \
    "ANY (ARRAY(SELECT typ.oid FROM typ)))"

#define SETTING(name) PG "current_setting('" name "')"

/* Anybody with CREATE on the database could have made a schema `pgsluice`, with functions that do as they like with
 * the caller's rights: only a superuser's is believed in, and the database owner's by who is a member of no role that
 * this owner isn't a member of. The same as SCHEMA_TRUSTED in proxy/change/schema.h. */
#define BEYOND(role)                                                                                         \
    "(m.rolname" NE role " AND " PG "pg_has_role(" role ", m.oid, 'MEMBER') AND NOT " PG                       \
    "pg_has_role(n.nspowner, m.oid, CASE WHEN CAST(" SETTING("server_version_num") " AS " PG "int4)" GE        \
    "160000 THEN 'USAGE, SET' ELSE 'MEMBER' END))"

#define TRUSTED                                                                                              \
    "(SELECT o.rolsuper OR n.nspowner" EQ "d.datdba AND NOT (SELECT COALESCE(" PG "bool_or(" BEYOND(           \
        "current_user") " OR " BEYOND("session_user") "), false) FROM " PG "pg_roles AS m) FROM " PG           \
    "pg_roles AS o, " PG "pg_database AS d WHERE o.oid" EQ "n.nspowner AND d.datname" EQ PG "current_database())"

#define SESSION                                                                                              \
    "'asked', (SELECT ask.j FROM ask), 'version', CAST(" SETTING("server_version_num") " AS " PG "int4),"    \
    " 'database', " PG                                                                                       \
    "current_database(), 'user', current_user, 'session_user', session_user,"                                \
    " 'superuser', (SELECT r.rolsuper FROM " PG "pg_roles AS r WHERE r.rolname" EQ "current_user),"          \
    " 'recovery', " PG "pg_is_in_recovery(), 'read_only', " SETTING("transaction_read_only") EQ "'on',"      \
    " 'now', (SELECT COALESCE(own.top, own.xmax) FROM own),"                                                  \
    " 'path', " PG "current_schemas(true), 'schemas', (SELECT " AGGREGATE(PG                                 \
    "json_build_array(space2.oid, space2.nspname, space2.oid" EQ PG "pg_my_temp_schema())") " FROM space2)," \
    " 'pgsluice', (SELECT " PG "json_build_array(d.description, " PG "has_schema_privilege(n.oid, 'USAGE'), "    \
    TRUSTED ") FROM " PG "pg_namespace AS n LEFT JOIN LATERAL (SELECT d.description FROM " PG "pg_description AS d"     \
    " WHERE d.objoid" EQ "n.oid AND d.classoid" EQ "2615 AND d.objsubid" EQ "0 OFFSET 0) AS d ON true"         \
    " WHERE n.nspname" EQ "'pgsluice'), 'plpgsql', (SELECT " PG "has_language_privilege(l.oid, 'USAGE') FROM " \
    PG "pg_language AS l WHERE l.lanname" EQ "'plpgsql'),"                                                   \
    " 'event_triggers', (SELECT " AGGREGATE(PG "json_build_array(e.evtname, e.evtevent, e.evttags)")         \
    " FROM " PG "pg_event_trigger AS e WHERE e.evtenabled" NE "CAST('D' AS " CHAR ")"                        \
    " AND e.evtevent" EQ "ANY (CAST('{table_rewrite,ddl_command_start}' AS " PG "name[])))"

/* ---- of one relation, each in a subquery of its own ---- */

#define COLUMN_ROWS                                                                                          \
    "(SELECT " AGGREGATE(PG "json_build_array(a.attnum, a.attname, a.atttypid, a.atttypmod, " PG             \
    "format_type(a.atttypid, a.atttypmod), a.attcollation, a.attnotnull, a.atthasdef, a.atthasmissing,"      \
    " a.attidentity, a.attgenerated, a.attislocal, a.attinhcount) ORDER BY a.attnum") " FROM " PG            \
    "pg_attribute AS a WHERE a.attrelid" EQ "rel.oid AND a.attnum" GT "0 AND NOT a.attisdropped)"

#define CONSTRAINT_ROWS                                                                                      \
    "(SELECT " AGGREGATE(PG "json_build_array(k.conname, k.contype, k.convalidated, COALESCE(" PG            \
    "to_json(k)" GETTEXT "'conenforced', 'true')" EQ "'true', k.condeferrable, k.connoinherit, k.conkey,"    \
    " k.confrelid, k.conindid, CASE WHEN " LETTER("k.contype", "c") " AND " PG "length(CAST(k.conbin AS "    \
    PG "text))" LT "4000 THEN CAST(k.conbin AS " PG "text) END) ORDER BY k.conname")                         \
    " FROM " PG "pg_constraint AS k WHERE k.conrelid" EQ "rel.oid)"

/* Behind an index's own columns those that its expressions and its condition use. */
#define INDEX_USES                                                                                           \
    PG "array_cat(CAST(i.indkey AS " PG "int2[]), ARRAY(SELECT CAST(d.refobjsubid AS " PG "int2) FROM " PG   \
    "pg_depend AS d WHERE d.classid" EQ "1259 AND d.objid" EQ "i.indexrelid AND d.refclassid" EQ "1259"      \
    " AND d.refobjid" EQ "i.indrelid AND d.refobjsubid" GT "0 AND (i.indpred IS NOT NULL OR i.indexprs"      \
    " IS NOT NULL)))"

#define INDEX_ROWS                                                                                           \
    "(SELECT " AGGREGATE(PG "json_build_array(i.indexrelid, c.relname, i.indisunique, i.indisvalid,"         \
    " i.indisready, i.indisprimary, i.indimmediate, i.indisexclusion, i.indpred IS NOT NULL,"                \
    " i.indexprs IS NOT NULL, i.indnkeyatts, " INDEX_USES ") ORDER BY c.relname") " FROM " PG "pg_index AS i, "    \
    PG "pg_class AS c WHERE i.indrelid" EQ "rel.oid AND c.oid" EQ "i.indexrelid)"

#define ROWS(of)                                                                                             \
    "CASE WHEN " of ".reltuples" LT "CAST(1e15 AS " PG "float4) THEN CAST(" of ".reltuples AS " PG           \
    "int8) ELSE 1000000000000000 END"

#define CHILD_ROW                                                                                            \
    "(WITH RECURSIVE family (oid) AS (SELECT rel.oid UNION SELECT h.inhrelid FROM family, " PG               \
    "pg_inherits AS h WHERE h.inhparent" EQ "family.oid)"                                                    \
    " SELECT " PG "json_build_array(" PG "count(*), COALESCE(" PG "sum(" ROWS("c") ") FILTER (WHERE"         \
    " c.reltuples" GT "CAST(0 AS " PG "float4)), 0), COALESCE(" PG "sum(CAST(c.relpages AS " PG "int8)), 0), " \
    PG "count(*) FILTER (WHERE " LETTER("c.relkind", "f") ")) FROM " PG "pg_class AS c WHERE c.oid" EQ       \
    "ANY (ARRAY(SELECT family.oid FROM family)) AND c.oid" NE "rel.oid)"

#define PARENT_ROWS                                                                                          \
    "(SELECT " AGGREGATE(PG "json_build_array(n.nspname, c.relname) ORDER BY h.inhseqno") " FROM " PG        \
    "pg_inherits AS h, " PG "pg_class AS c, " PG "pg_namespace AS n WHERE h.inhrelid" EQ "rel.oid AND c.oid" \
    EQ "h.inhparent AND n.oid" EQ "c.relnamespace)"

/* Columns whose values hold rows of this relation, in whatever wrapping: find_composite_type_dependencies().
 * In the recursion a type stands with column 0; 1247 is pg_type, 1259 pg_class. */
#define ROW_TYPE_ROWS                                                                                        \
    "(WITH RECURSIVE held (oid, col) AS (SELECT rel.reltype, 0 UNION"                                        \
    " SELECT CASE WHEN d.classid" EQ "1259 AND c.relkind" EQ "ANY (CAST('{c,v,f}' AS " CHAR "[]))"           \
    " THEN c.reltype ELSE d.objid END, CASE WHEN c.relkind" EQ "ANY (CAST('{r,m,p}' AS " CHAR "[]))"         \
    " THEN d.objsubid ELSE 0 END FROM held, " PG "pg_depend AS d LEFT JOIN " PG "pg_class AS c"              \
    " ON d.classid" EQ "1259 AND c.oid" EQ "d.objid"                                                         \
    " WHERE d.refclassid" EQ "1247 AND d.refobjid" EQ "held.oid AND held.col" EQ "0 AND held.oid" NE "0"     \
    " AND (d.classid" EQ "1247 OR d.classid" EQ "1259 AND d.objsubid" GT "0))"                               \
    " SELECT " AGGREGATE(PG "json_build_array(u.relname, u.attname)") " FROM (SELECT c.relname, a.attname"   \
    " FROM held, " PG "pg_class AS c, " PG "pg_attribute AS a WHERE held.col" GT "0 AND c.oid" EQ            \
    "held.oid AND a.attrelid" EQ "held.oid AND a.attnum" EQ "held.col AND NOT a.attisdropped LIMIT 20) AS u)"

#define VIEW_ROWS                                                                                            \
    "(SELECT " AGGREGATE(PG "json_build_array(u.nspname, u.relname, u.col)") " FROM (SELECT DISTINCT"        \
    " n.nspname, c.relname, d.refobjsubid AS col FROM " PG "pg_depend AS d, " PG "pg_rewrite AS r, " PG      \
    "pg_class AS c, " PG "pg_namespace AS n WHERE d.refclassid" EQ "1259 AND d.refobjid" EQ "rel.oid AND"    \
    " d.classid" EQ "2618 AND r.oid" EQ "d.objid AND c.oid" EQ "r.ev_class AND c.oid" NE "rel.oid AND n.oid" \
    EQ "c.relnamespace LIMIT 50) AS u)"

#define TRIGGER_ROW                                                                                          \
    "(SELECT " PG "json_build_array(" PG "count(*), " PG "count(*) FILTER (WHERE t.tgenabled" EQ "CAST('A'"  \
    " AS " CHAR "))) FROM " PG "pg_trigger AS t WHERE t.tgrelid" EQ "rel.oid AND NOT t.tgisinternal)"

#define REFERENCED_ROW                                                                                       \
    "(SELECT " PG "count(*) FROM " PG "pg_depend AS d, " PG "pg_constraint AS k WHERE d.refclassid" EQ       \
    "1259 AND d.refobjid" EQ "rel.oid AND d.refobjsubid" GT "0 AND d.classid" EQ "2606 AND k.oid" EQ         \
    "d.objid AND k.confrelid" EQ "rel.oid AND k.conrelid" NE "rel.oid)"

/* FOR ALL TABLES, by the table itself or a partitioned parent, or (6237 is pg_publication_namespace) by the
 * schema. */
#define PUBLICATION_ROWS                                                                                     \
    "(WITH RECURSIVE up (oid, nsp) AS (SELECT rel.oid, rel.relnamespace UNION SELECT c.oid, c.relnamespace"  \
    " FROM up, " PG "pg_inherits AS h, " PG "pg_class AS c WHERE h.inhrelid" EQ "up.oid AND c.oid" EQ        \
    "h.inhparent AND " LETTER("c.relkind", "p") ")"                                                          \
    " SELECT " AGGREGATE("p.pubname ORDER BY p.pubname") " FROM " PG "pg_publication AS p"                   \
    " WHERE (p.puballtables OR p.oid" EQ "ANY (ARRAY(SELECT r.prpubid FROM up, " PG "pg_publication_rel AS r" \
    " WHERE r.prrelid" EQ "up.oid UNION ALL SELECT d.refobjid FROM " PG "pg_depend AS d, " PG                \
    "pg_depend AS e WHERE d.classid" EQ "6237 AND d.refclassid" EQ "6104 AND e.classid" EQ "6237"            \
    " AND e.objid" EQ "d.objid AND e.refclassid" EQ "2615 AND e.refobjid" EQ                                 \
    "ANY (ARRAY(SELECT up.nsp FROM up))))) AND rel.relpersistence" EQ "CAST('p' AS " CHAR ")"                \
    " AND rel.relkind" EQ "ANY (CAST('{r,p}' AS " CHAR "[])))"

/* A prepared transaction has no pid; NULL would mean everybody to pg_stat_get_activity(). */
#define HOLDER_ROWS                                                                                          \
    "(SELECT " AGGREGATE(PG "json_build_array(l.pid, l.mode, l.granted, CAST(" PG "floor(1000.0"             \
    " OPERATOR(pg_catalog.*) " PG "date_part('epoch', " PG "clock_timestamp() OPERATOR(pg_catalog.-) "       \
    "a.xact_start)) AS " PG "int8), " PG "\"left\"(a.query, 80), a.application_name, a.state,"               \
    " a.backend_type)") " FROM (SELECT l.pid, l.mode, l.granted FROM lock AS l WHERE rel.worked_on AND"      \
    " l.relation" EQ "rel.oid AND COALESCE(l.pid, 0)" NE PG                                                  \
    "pg_backend_pid() ORDER BY l.granted DESC, l.pid LIMIT 20) AS l LEFT JOIN LATERAL " PG                   \
    "pg_stat_get_activity(COALESCE(l.pid, 0)) AS a ON true)"

/* Made by this very transaction: the row of the system column ctid, which no ALTER TABLE writes anew, was.
 * That is so if we see it while its transaction is still in progress; a subtransaction that was released has
 * no lock of its own any more by which to know it, but is in progress like its parent. Numbers up to the
 * snapshot's xmax may be asked of pg_xact_status(), it raises for those of the future; above that all that we
 * see is our own. The margin and the lock, which whoever makes a table holds to the end, keep out numbers
 * from before the last wraparound. */
#define CREATED_HERE                                                                                         \
    "COALESCE((SELECT CASE WHEN x.d" EQ "0 THEN true WHEN x.d" GT "2147483647 THEN false"                    \
    " WHEN (x.top" ADD "x.d)" LT "x.xmax THEN " PG "pg_xact_status(CAST(CAST(x.top" ADD "x.d AS " PG "text)" \
    " AS " PG "xid8))" EQ "'in progress' ELSE (x.top" ADD "x.d" SUB "x.xmax)" LT "1000000 END"               \
    " FROM (SELECT own.top, own.xmax, " PG "mod(CAST(CAST(a.xmin AS " PG "text) AS " PG "int8)" ADD          \
    "4294967296" SUB PG "mod(own.top, 4294967296), 4294967296) AS d FROM own, " PG "pg_attribute AS a"       \
    " WHERE own.top IS NOT NULL AND a.attrelid" EQ "rel.oid AND a.attnum" EQ "CAST(-1 AS " PG "int2)"        \
    " AND EXISTS (SELECT FROM lock AS l WHERE l.relation" EQ "rel.oid AND l.pid" EQ PG "pg_backend_pid()"    \
    " AND l.granted AND l.mode" EQ "'AccessExclusiveLock')) AS x), false)"

/* The number of the transaction that made it, of 64 bits; null where it is frozen by its number. The same row. Right
 * for all rows that are not frozen, which are within 2^31 transactions of now; one that is frozen and older keeps its
 * 32 bits and seems younger by a multiple of 2^32 (table_new() in effects_table.c lives with that). */
#define BORN                                                                                                 \
    "(SELECT CASE WHEN x.d" LT "2147483648 THEN x.base" ADD "x.d ELSE x.base" ADD "x.d" SUB "4294967296 END" \
    " FROM (SELECT COALESCE(own.top, own.xmax) AS base, " PG "mod(CAST(CAST(a.xmin AS " PG "text) AS " PG    \
    "int8)" ADD "4294967296" SUB PG "mod(COALESCE(own.top, own.xmax), 4294967296), 4294967296) AS d FROM"    \
    " own, " PG "pg_attribute AS a WHERE a.attrelid" EQ "rel.oid AND a.attnum" EQ "CAST(-1 AS " PG "int2)"   \
    " AND CAST(CAST(a.xmin AS " PG "text) AS " PG "int8)" GT "2) AS x)"

/* Nobody else can be in the way of what this transaction holds already. */
#define LOCKED_HERE                                                                                          \
    "EXISTS (SELECT FROM lock AS l WHERE l.relation" EQ "rel.oid AND l.pid" EQ PG "pg_backend_pid()"         \
    " AND l.granted AND l.mode" EQ "'AccessExclusiveLock')"

/* Bytes as of now, where asking doesn't wait: nobody else holds or awaits ACCESS EXCLUSIVE. */
#define BYTES                                                                                                \
    "CASE WHEN rel.worked_on AND rel.relkind" EQ "ANY (CAST('{r,m}' AS " CHAR "[])) AND NOT EXISTS (SELECT"  \
    " FROM lock AS l WHERE l.relation" EQ "rel.oid AND l.mode" EQ "'AccessExclusiveLock' AND l.pid" NE PG    \
    "pg_backend_pid()) THEN " PG "pg_relation_size(rel.oid, 'main') END"

#define RELATION_ROWS                                                                                        \
    "(SELECT " AGGREGATE(PG "json_build_object('oid', rel.oid, 'schema', rel.relnamespace, 'name',"          \
    " rel.relname, 'kind', rel.relkind, 'persistence', rel.relpersistence, 'rows', " ROWS("rel")             \
    ", 'pages', rel.relpages, 'bytes', " BYTES ", 'owner', " PG "pg_get_userbyid(rel.relowner), 'may_own', " PG                  \
    "pg_has_role(rel.relowner, 'USAGE'), 'rls', rel.relrowsecurity, 'force_rls', rel.relforcerowsecurity,"   \
    " 'partition', rel.relispartition, 'created_here', " CREATED_HERE ", 'born', " BORN                       \
    ", 'locked_here', " LOCKED_HERE ", 'row_type', rel.reltype,"                                                                             \
    " 'typed_of', rel.reloftype, 'columns', " COLUMN_ROWS ", 'constraints', " CONSTRAINT_ROWS                \
    ", 'indexes', " INDEX_ROWS ", 'children', " CHILD_ROW ", 'parents', " PARENT_ROWS                        \
    ", 'row_type_users', " ROW_TYPE_ROWS ", 'views', " VIEW_ROWS ", 'triggers', " TRIGGER_ROW                \
    ", 'referenced_by', " REFERENCED_ROW ", 'publications', " PUBLICATION_ROWS ", 'holders', " HOLDER_ROWS   \
    ")") " FROM rel)"

#define ANSWER                                                                                               \
    "SELECT " PG "concat(" PG "getdatabaseencoding(), ':', " PG "encode(" PG "convert_to(CAST(" PG           \
    "json_build_object(" SESSION ", 'block', CAST(" SETTING("block_size") " AS " PG "int4), 'relations', "   \
    RELATION_ROWS ", 'functions', " FUNCTION_ROWS ", 'operators', " OPERATOR_ROWS ", 'types', " TYPE_ROWS    \
    ", 'casts', " CAST_ROWS ") AS " PG "text), CAST(" PG "getdatabaseencoding() AS " PG "name)), 'base64'))"

/* clang-format on */

const char *catalog_sql(void)
{
    return SCHEMAS FUNCTIONS OPERATORS ALL_FUNCTIONS RELATIONS TYPES LOCKS ANSWER;
}

/*
 * The last step: one short transaction with one lock, which makes the schema what the author asked for and
 * says so in the row. Nothing in it reads or writes rows of the table.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/change/owner.h"

/* The proof goes first: were it dropped in the same statement, it would be gone before it is looked for. */
static char *not_null_sql(struct work *work, char *sql, const struct column *column)
{
    if (!column->not_null)
        return sql;
    if (!column->set)
        sql = talloc_asprintf_append_buffer(sql, "ALTER TABLE %s ALTER COLUMN %s SET NOT NULL;\n",
                                            work->target.sql, column->sql);
    return talloc_asprintf_append_buffer(sql, "ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s;\n",
                                         work->target.sql, check_name(work, column));
}

/* LIKE copies the default, which the identity wouldn't have been: such copies go with the sequence. What else
 * uses it a person has made. */
const char *finish_only_defaults(const struct work *work, const struct column *column)
{
    return talloc_asprintf(work->row,
                           "(SELECT pg_catalog.bool_and(d.classid OPERATOR(pg_catalog.=) "
                           "'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid) "
                           "FROM pg_catalog.pg_depend d WHERE d.refclassid OPERATOR(pg_catalog.=) "
                           "'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid "
                           "AND d.refobjid OPERATOR(pg_catalog.=) %u::pg_catalog.oid "
                           "AND d.deptype OPERATOR(pg_catalog.=) 'n'::pg_catalog.\"char\")",
                           column->sequence);
}

/* The sequence that filled makes room for the one that belongs to the identity, which goes on where it stood.
 */
static char *identity_sql(struct work *work, char *sql, const struct column *column)
{
    if (!column->identity)
        return sql;
    const char *table = sql_text(work, work->target.sql), *name = sql_text(work, column->name);
    return talloc_asprintf_append_buffer(
        sql,
        "SELECT s.* INTO pgsluice_s FROM pg_catalog.pg_sequence s WHERE s.seqrelid "
        "OPERATOR(pg_catalog.=) %u::pg_catalog.oid;\n"
        "EXECUTE pg_catalog.format('SELECT last_value, is_called FROM %%s', "
        "%u::pg_catalog.oid::pg_catalog.regclass) INTO pgsluice_v;\n"
        "ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT;\n"
        "EXECUTE pg_catalog.format('DROP SEQUENCE %%s %%s', %u::pg_catalog.oid::pg_catalog.regclass, "
        "CASE WHEN %s THEN 'CASCADE' ELSE '' END);\n"
        "EXECUTE pg_catalog.format('ALTER TABLE %%s ALTER COLUMN %%I ADD GENERATED %s AS IDENTITY (START "
        "WITH %%s "
        "INCREMENT BY %%s MINVALUE %%s MAXVALUE %%s CACHE %%s %%s)', %s, %s, pgsluice_s.seqstart, "
        "pgsluice_s.seqincrement, pgsluice_s.seqmin, pgsluice_s.seqmax, pgsluice_s.seqcache, "
        "CASE WHEN pgsluice_s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END);\n"
        "PERFORM pg_catalog.setval(pg_catalog.pg_get_serial_sequence(%s, %s)::pg_catalog.regclass, "
        "pgsluice_v.last_value, pgsluice_v.is_called);\n",
        column->sequence, column->sequence, work->target.sql, column->sql, column->sequence,
        finish_only_defaults(work, column), column->always ? "ALWAYS" : "BY DEFAULT", table, name, table,
        name);
}

static char *unique_sql(struct work *work, char *sql, const json_t *unique)
{
    const char *name = json_string_value(json_object_get(unique, "name"));
    if (!name)
        return sql;
    const char *deferred = json_is_true(json_object_get(unique, "deferred"))
                               ? " DEFERRABLE INITIALLY DEFERRED"
                           : json_is_true(json_object_get(unique, "deferrable")) ? " DEFERRABLE"
                                                                                 : "";
    return talloc_asprintf_append_buffer(sql, "ALTER TABLE %s ADD CONSTRAINT %s UNIQUE USING INDEX %s%s;\n",
                                         work->target.sql, sql_name(work, name), sql_name(work, name),
                                         deferred);
}

static char *statements(struct work *work)
{
    const json_t *list = json_object_get(work->row->spec, "unique"), *unique;
    char *sql = talloc_strdup(work->row, "");
    size_t i;
    for (size_t j = 0; j < work->n_columns; j++) {
        sql = not_null_sql(work, sql, &work->columns[j]);
        sql = identity_sql(work, sql, &work->columns[j]);
    }
    json_array_foreach(list, i, unique) sql = unique_sql(work, sql, unique);
    return sql;
}

/* In the transaction that makes it so: where the row isn't as we left it, somebody else has ended the change
 * meanwhile, and nothing of ours happens. */
static char * final(const struct work *work)
{
    return talloc_asprintf(
        work->row,
        "DO 'BEGIN UPDATE pgsluice.change SET state = ''complete'', throttled = NULL, progress = progress - "
        "''tries'', finished_at = clock_timestamp(), heartbeat_at = clock_timestamp() "
        "WHERE id = %" PRId64 " AND state = ''running''; IF NOT FOUND THEN RAISE EXCEPTION USING "
        "ERRCODE = ''40001'', MESSAGE = ''another worker has ended this change''; END IF; END'",
        work->row->id);
}

enum step finish(struct work *work)
{
    char *body = statements(work);
    if (!body[0])
        return work_do(work, "%s", final(work)) ? STEP_DONE : work_failed(work);
    char *whole = talloc_asprintf(work->row,
                                  "%sPERFORM pg_catalog.set_config('lock_timeout', '%" PRId64 "', true);\n"
                                  "DECLARE pgsluice_s record; pgsluice_v record; BEGIN\n%sEND;",
                                  owner_lock(work, "ACCESS EXCLUSIVE"),
                                  work->online->stall_budget ? work->online->stall_budget : 100, body);
    atomic_fetch_add(&work->job->changes->locks_tried, 1);
    work_busy(work, true);
    bool good = owner_run(work, work->target.owner_sql, whole, final(work));
    work_busy(work, false);
    return good ? STEP_DONE : work_failed(work);
}

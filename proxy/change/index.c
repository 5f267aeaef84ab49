/*
 * Unique indexes, built beside readers and writers, under the name that the constraint will have. A build
 * that fails leaves an invalid index; it is dropped before the next attempt.
 */
#include <stdio.h>
#include <string.h>

#include "proxy/change/index.h"

/* ---- what is there ------------------------------------------------------------------------------------- */

char index_state(struct work *work, const char *name)
{
    PGresult *result =
        work_ask(work,
                 "SELECT CASE WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid) "
                 "THEN 'c' WHEN i.indisvalid THEN 't' ELSE 'f' END "
                 "FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid "
                 "WHERE c.relname = %s AND i.indrelid = %u",
                 sql_text(work, name), work->row->relation);
    char state = !result ? '?' : PQntuples(result) ? link_value(result, 0, 0)[0] : ' ';
    PQclear(result);
    return state;
}

enum step index_drop_one(struct work *work, const char *name)
{
    char *sql = talloc_asprintf(work->row, "DROP INDEX CONCURRENTLY IF EXISTS %s.%s",
                                sql_name(work, work->target.schema), sql_name(work, name));
    return owner_top_level(work, work->target.owner_sql, "", sql, false) ? STEP_DONE : work_failed(work);
}

/* ---- unique constraints -------------------------------------------------------------------------------- */

static char *column_list(struct work *work, const json_t *names)
{
    char *list = talloc_strdup(work->row, "");
    const json_t *name;
    size_t i;
    json_array_foreach(names, i, name) list = talloc_asprintf_append_buffer(
        list, "%s%s", i ? ", " : "", target_column(work, json_string_value(name)));
    return list;
}

static char *unique_sql(struct work *work, const json_t *unique, const char *name)
{
    const json_t *include = json_object_get(unique, "include");
    char *sql =
        talloc_asprintf(work->row, "CREATE UNIQUE INDEX CONCURRENTLY %s ON %s (%s)", sql_name(work, name),
                        work->target.sql, column_list(work, json_object_get(unique, "columns")));
    if (json_array_size(include))
        sql = talloc_asprintf_append_buffer(sql, " INCLUDE (%s)", column_list(work, include));
    if (json_is_true(json_object_get(unique, "nulls_not_distinct")))
        sql = talloc_strdup_append_buffer(sql, " NULLS NOT DISTINCT");
    return sql;
}

/* A parallel build takes the processors that the application works on: with the throttle on, one will do. */
const char *index_settings(const struct work *work)
{
    return work->online->throttle.latency_percent ? "SET max_parallel_maintenance_workers = 0; " : "";
}

static enum step build_unique(struct work *work, const json_t *unique)
{
    const char *name = json_string_value(json_object_get(unique, "name"));
    char state = name ? index_state(work, name) : ' ';
    enum step step = STEP_DONE;
    if (state == '?')
        return work_failed(work);
    if (!name || state == 't' || state == 'c')
        return STEP_DONE;
    if (state == 'f')
        step = index_drop_one(work, name);
    if (step == STEP_DONE && !owner_top_level(work, work->target.owner_sql, index_settings(work),
                                              unique_sql(work, unique, name), false))
        step = work_failed(work);
    return step == STEP_DONE ? work_checkpoint(work, NULL) : step;
}

enum step index_build(struct work *work)
{
    const json_t *list = json_object_get(work->row->spec, "unique"), *unique;
    enum step step = STEP_DONE;
    size_t i;
    json_array_foreach(list, i, unique) if (step == STEP_DONE) step = build_unique(work, unique);
    if (step == STEP_DONE && json_is_object(json_object_get(work->row->spec, "index")))
        step = index_create(work);
    return step;
}

/* Those of columns that are dropped anyway go with them. */
enum step index_drop(struct work *work)
{
    const json_t *list = json_object_get(work->row->spec, "unique"), *unique;
    enum step step = STEP_DONE;
    size_t i;
    json_array_foreach(list, i, unique)
    {
        const char *name = json_string_value(json_object_get(unique, "name"));
        char state = name ? index_state(work, name) : ' ';
        if (state == '?')
            return work_failed(work);
        if (step == STEP_DONE && (state == 't' || state == 'f'))
            step = index_drop_one(work, name);
    }
    if (step == STEP_DONE && json_is_object(json_object_get(work->row->spec, "index")))
        step = index_uncreate(work);
    return step;
}

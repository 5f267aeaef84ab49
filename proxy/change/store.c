/*
 * SQL on pgsluice.change. Every name is qualified and the session's search_path is pg_catalog.
 */
#include "proxy/change/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/schema.h"

static const char *const states[] = {"waiting", "running", "undoing", "complete", "undone", "stuck"};

const char *state_name(enum change_state state)
{
    return states[state];
}

bool state_finished(enum change_state state)
{
    return state == STATE_COMPLETE || state == STATE_UNDONE;
}

static enum change_state state_of(const char *name)
{
    for (int i = 0; i < (int)(sizeof states / sizeof *states); i++)
        if (strcmp(states[i], name) == 0)
            return (enum change_state)i;
    return STATE_STUCK;
}

static enum change_wanted wanted_of(const char *name)
{
    if (strcmp(name, "pause") == 0)
        return WANTED_PAUSE;
    return strcmp(name, "cancel") == 0 ? WANTED_CANCEL : WANTED_RUN;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* The lease is tried for and let go in one breath: that somebody works on it is all we want to know. */
#define COLUMNS                                                                                              \
    "c.id, c.state, c.wanted, c.phase, coalesce(c.throttled, ''), c.table_schema, c.table_name, c.kind, "    \
    "coalesce(c.error_code, ''), coalesce(c.error_message, ''), coalesce(c.error_detail, ''), "              \
    "c.relation, c.owner, extract(epoch FROM now() - c.created_at)::float8, to_json(c.columns), "            \
    "c.progress, CASE WHEN c.state NOT IN ('complete', 'undone') AND c.columns <> '{}' THEN "                \
    "(SELECT json_agg(json_build_array(m.oid::bigint, n.nspname, m.relname)) FROM "                          \
    "pgsluice.tree(c.relation) AS "                                                                          \
    "t (oid) JOIN pg_class m ON m.oid = t.oid JOIN pg_namespace n ON n.oid = m.relnamespace) END"

static int row_free(struct change_row *row)
{
    json_decref(row->progress);
    json_decref(row->spec);
    return 0;
}

static json_t *object_of(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return json_object();
}

static void read_columns(const void *parent, struct change_row *row, const char *text)
{
    json_t *list = json_loads(text, 0, NULL), *item;
    size_t i;
    row->columns = talloc_array(parent, const char *, json_array_size(list) + 1);
    json_array_foreach(list, i, item) if (row->columns && json_is_string(item))
        row->columns[row->n_columns++] = talloc_strdup(row->columns, json_string_value(item));
    json_decref(list);
}

static void read_members(const void *parent, struct change_row *row, const char *text)
{
    json_t *list = json_loads(text, 0, NULL), *item;
    size_t i;
    row->members = talloc_zero_array(parent, struct change_member, (unsigned)json_array_size(list) + 1);
    json_array_foreach(list, i, item)
    {
        const char *schema = json_string_value(json_array_get(item, 1));
        const char *table = json_string_value(json_array_get(item, 2));
        if (!row->members || !schema || !table)
            continue;
        row->members[row->n_members++] =
            (struct change_member){(uint32_t)json_integer_value(json_array_get(item, 0)),
                                   talloc_strdup(row->members, schema), talloc_strdup(row->members, table)};
    }
    json_decref(list);
}

static void read_row(const void *parent, struct change_row *row, const PGresult *result, int at)
{
    const char **texts[] = {&row->throttled,  &row->schema,        &row->table,       &row->kind,
                            &row->error_code, &row->error_message, &row->error_detail};
    row->id = strtoll(link_value(result, at, 0), NULL, 10);
    row->state = state_of(link_value(result, at, 1));
    row->wanted = wanted_of(link_value(result, at, 2));
    row->phase = talloc_strdup(parent, link_value(result, at, 3));
    for (int i = 0; i < 7; i++)
        *texts[i] = talloc_strdup(parent, link_value(result, at, 4 + i));
    row->relation = (uint32_t)strtoul(link_value(result, at, 11), NULL, 10);
    row->owner = (uint32_t)strtoul(link_value(result, at, 12), NULL, 10);
    row->age = strtod(link_value(result, at, 13), NULL);
    read_columns(parent, row, link_value(result, at, 14));
    row->progress = object_of(link_value(result, at, 15));
    read_members(parent, row, link_value(result, at, 16));
    row->asker = talloc_strdup(parent, link_value(result, at, 18));
    row->spec = object_of(PQnfields(result) > 19 ? link_value(result, at, 19) : "{}");
    row->free = link_value(result, at, 17)[0] == 't';
}

static int rows_free(struct change_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        row_free(&rows->items[i]);
    return 0;
}

struct change_rows *store_read(const void *parent, struct link *link, const int64_t *watched,
                               size_t n_watched)
{
    char *ids = talloc_strdup(parent, "{");
    for (size_t i = 0; ids && i < n_watched; i++)
        ids = talloc_asprintf_append_buffer(ids, i ? ",%" PRId64 : "%" PRId64, watched[i]);
    ids = ids ? talloc_strdup_append_buffer(ids, "}") : NULL;
    const char *values[] = {ids};
    PGresult *result =
        ids ? link_params(link,
                          "SELECT " COLUMNS ", CASE WHEN c.state IN ('complete', 'undone') THEN NULL "
                          "WHEN pg_try_advisory_lock(1936483176, (c.id & 2147483647)::int) THEN "
                          "pg_advisory_unlock(1936483176, (c.id & 2147483647)::int) END, c.session_role "
                          "FROM pgsluice.change c WHERE c.home = pgsluice.home() "
                          "AND c.state NOT IN ('complete', 'undone') "
                          "OR c.id = ANY($1::bigint[]) ORDER BY c.id",
                          1, values)
            : NULL;
    talloc_free(ids);
    struct change_rows *rows = result ? talloc_zero(parent, struct change_rows) : NULL;
    if (rows) {
        rows->items = talloc_zero_array(rows, struct change_row, (size_t)PQntuples(result) + 1);
        talloc_set_destructor(rows, rows_free);
        for (int i = 0; rows->items && i < PQntuples(result); i++)
            read_row(rows->items, &rows->items[rows->n++], result, i);
    }
    PQclear(result);
    return rows;
}

struct change_row *store_row(const void *parent, struct link *link, int64_t id)
{
    char text[24];
    const char *values[] = {text};
    snprintf(text, sizeof text, "%" PRId64, id);
    PGresult *result = link_params(
        link,
        "SELECT " COLUMNS ", NULL, c.session_role, c.spec FROM pgsluice.change c WHERE c.id = $1::bigint", 1,
        values);
    struct change_row *row = NULL;
    if (result && PQntuples(result) == 1 && (row = talloc_zero(parent, struct change_row))) {
        read_row(row, row, result, 0);
        talloc_set_destructor(row, row_free);
    } else if (result) {
        failure_set(&link->failed, "P0002", "its row in pgsluice.change is gone");
    }
    PQclear(result);
    return row;
}

enum store_presence store_presence(struct link *link)
{
    PGresult *result =
        link_exec(link, "SELECT to_regclass('pgsluice.change') IS NOT NULL AND " SCHEMA_TRUSTED_BY_WORKER);
    enum store_presence presence = STORE_UNKNOWN;
    if (result && PQntuples(result) == 1)
        presence = link_value(result, 0, 0)[0] == 't' ? STORE_PRESENT : STORE_ABSENT;
    PQclear(result);
    return presence;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

bool store_want_cancel(struct link *link, int64_t id, const char *role)
{
    char text[24];
    const char *values[] = {text, role};
    snprintf(text, sizeof text, "%" PRId64, id);
    PGresult *result = link_params(link,
                                   "UPDATE pgsluice.change SET wanted = 'cancel' WHERE id = $1::bigint "
                                   "AND session_role = $2 AND state NOT IN ('complete', 'undone')",
                                   2, values);
    PQclear(result);
    return result != NULL;
}

bool store_throttled(struct link *link, int64_t id, const char *why)
{
    char text[24];
    const char *values[] = {text, why};
    snprintf(text, sizeof text, "%" PRId64, id);
    PGresult *result = link_params(
        link,
        /* a row that somebody steers right now, or keeps locked, can do without it */
        "UPDATE pgsluice.change SET throttled = $2 WHERE id = (SELECT c.id FROM pgsluice.change c "
        "WHERE c.id = $1::bigint AND c.throttled IS DISTINCT FROM $2 "
        "AND c.state NOT IN ('complete', 'undone') FOR UPDATE SKIP LOCKED)",
        2, values);
    PQclear(result);
    return result != NULL;
}

/* Half of an advisory lock has 31 bits for an id of 63: two that share one wait for each other, no more. */
char *store_lease_sql(const void *parent, int64_t id, uint32_t relation)
{
    return talloc_asprintf(parent, "SELECT pg_try_advisory_lock(%d, %d) AND pg_try_advisory_lock(%d, %d)",
                           LEASE_CHANGE, (int)(id & INT32_MAX), LEASE_TABLE, (int)relation);
}

bool store_lease(struct link *link, int64_t id, uint32_t relation)
{
    char *sql = store_lease_sql(NULL, id, relation);
    PGresult *result = sql ? link_exec(link, sql) : NULL;
    talloc_free(sql);
    bool had = result && link_value(result, 0, 0)[0] == 't';
    if (result && !had)
        failure_set(&link->failed, "", "somebody else works on it");
    PQclear(result);
    return had;
}

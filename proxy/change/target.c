/*
 * What the catalog says of the table now. The row of the change knows oids and numbers; names are looked up
 * each time, because anybody may have renamed what they stand for.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/change/work.h"

/* ---- SQL ----------------------------------------------------------------------------------------------- */

/* libpq refuses what isn't valid UTF-8, as a name in a database of SQL_ASCII may be. */
static const char *kept(struct work *work, char *escaped)
{
    const char *copy = escaped ? talloc_strdup(work->row, escaped) : NULL;
    work->link.unsaid |= !copy;
    PQfreemem(escaped);
    return copy ? copy : "";
}

const char *sql_name(struct work *work, const char *name)
{
    return kept(work, name ? PQescapeIdentifier(work->link.pg, name, strlen(name)) : NULL);
}

const char *sql_text(struct work *work, const char *text)
{
    return kept(work, text ? PQescapeLiteral(work->link.pg, text, strlen(text)) : NULL);
}

PGresult *work_ask(struct work *work, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *sql = talloc_vasprintf(work->row, format, arguments);
    va_end(arguments);
    PGresult *result = link_exec(&work->link, sql);
    talloc_free(sql);
    return result;
}

bool work_do(struct work *work, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *sql = talloc_vasprintf(work->row, format, arguments);
    va_end(arguments);
    bool good = link_do(&work->link, sql);
    talloc_free(sql);
    return good;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

static enum step gone(struct work *work, const char *sqlstate, const char *what, const char *name)
{
    failure_set(&work->failed, sqlstate, "%s %s has been dropped in the meantime", what, name);
    return work_blocked(work);
}

/* The owner's own search_path in this database: what its functions would meet in a session of its. The
 * table's schema comes behind it. */
static bool read_owners_path(struct work *work)
{
    PGresult *result =
        work_ask(work,
                 "SELECT coalesce((SELECT substr(s.item, 13) FROM pg_db_role_setting d, unnest(d.setconfig) "
                 "AS s (item) "
                 "WHERE s.item LIKE 'search\\_path=%%' AND d.setdatabase IN (0, (SELECT oid FROM pg_database "
                 "WHERE datname = "
                 "current_database())) AND d.setrole IN (0, (SELECT relowner FROM pg_class WHERE oid = %u)) "
                 "ORDER BY d.setrole = 0, d.setdatabase = 0 LIMIT 1), '\"$user\", public')",
                 work->row->relation);
    if (result) {
        const char *path = link_value(result, 0, 0);
        work->path = talloc_asprintf(work->row, "%s%s%s, pg_temp", path,
                                     strspn(path, " \"") == strlen(path) ? "" : ", ",
                                     sql_name(work, work->target.schema));
    }
    PQclear(result);
    return result != NULL;
}

/* The author's own, whose statement it is, and who is a member of the owner. The list is that of
 * settings_of() in schema_begin.sql: a row that a hand wrote sets nothing else. */
static bool read_settings(struct work *work)
{
    static const char *const names[] = {"TimeZone",
                                        "DateStyle",
                                        "IntervalStyle",
                                        "extra_float_digits",
                                        "bytea_output",
                                        "xmloption",
                                        "xmlbinary",
                                        "lc_monetary",
                                        "lc_numeric",
                                        "lc_time",
                                        "default_text_search_config",
                                        "default_tablespace"};
    const json_t *settings = json_object_get(work->row->spec, "settings");
    const char *path = json_string_value(json_object_get(settings, "search_path"));
    char *clauses = talloc_strdup(work->row, ""), *statements = talloc_strdup(work->row, "");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = json_string_value(json_object_get(settings, names[i]));
        if (!value)
            continue;
        const char *text = sql_text(work, value);
        clauses = talloc_asprintf_append_buffer(clauses, " SET %s TO %s", names[i], text);
        statements = talloc_asprintf_append_buffer(statements, "SET %s TO %s; ", names[i], text);
    }
    work->clauses = clauses;
    work->settings = statements;
    if (!path)
        return read_owners_path(work);
    work->path = talloc_asprintf(work->row, "%s%spg_temp", path, path[0] ? ", " : "");
    return true;
}

static enum step read_table(struct work *work)
{
    struct target *target = &work->target;
    PGresult *result =
        work_ask(work,
                 "SELECT c.relkind, n.nspname, c.relname, pg_get_userbyid(c.relowner), "
                 "EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) "
                 "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %u",
                 work->row->relation);
    if (!result)
        return work_failed(work);
    if (PQntuples(result) != 1) {
        PQclear(result);
        return gone(work, "42P01", "table", work->row->table);
    }
    target->kind = link_value(result, 0, 0)[0];
    target->schema = talloc_strdup(work->row, link_value(result, 0, 1));
    target->name = talloc_strdup(work->row, link_value(result, 0, 2));
    target->sql =
        talloc_asprintf(work->row, "%s.%s", sql_name(work, target->schema), sql_name(work, target->name));
    target->owner_sql = sql_name(work, link_value(result, 0, 3));
    target->alone = link_value(result, 0, 4)[0] == 'f';
    PQclear(result);
    return read_settings(work) ? STEP_DONE : work_failed(work);
}

/* ---- its columns --------------------------------------------------------------------------------------- */

static void read_spec(struct work *work, struct column *column, const json_t *item)
{
    const json_t *identity = json_object_get(item, "identity");
    const char *name = json_string_value(json_object_get(item, "not_null_name"));
    column->number = (int)json_integer_value(json_object_get(item, "number"));
    column->added = json_is_true(json_object_get(item, "added"));
    column->fill = json_is_true(json_object_get(item, "fill"));
    column->not_null = json_is_true(json_object_get(item, "not_null"));
    column->serial = json_is_true(json_object_get(item, "serial"));
    column->identity = json_is_object(identity);
    column->always = json_is_true(json_object_get(identity, "always"));
    column->not_null |= column->identity || column->serial;
    column->sequence = (uint32_t)json_integer_value(json_object_get(item, "sequence"));
    column->not_null_name = name ? talloc_strdup(work->row, name) : NULL;
}

static enum step read_column(struct work *work, struct column *column, const json_t *item)
{
    read_spec(work, column, item);
    PGresult *result =
        work_ask(work,
                 "SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = %u AND attnum = %d "
                 "AND NOT attisdropped",
                 work->row->relation, column->number);
    if (!result)
        return work_failed(work);
    if (PQntuples(result) == 1) {
        column->name = talloc_strdup(work->row, link_value(result, 0, 0));
        column->sql = sql_name(work, column->name);
        column->set = link_value(result, 0, 1)[0] == 't';
    }
    PQclear(result);
    if (column->name)
        return STEP_DONE;
    const char *name = json_string_value(json_object_get(item, "name"));
    return gone(work, "42703", "column", name ? name : "?");
}

enum step target_read(struct work *work)
{
    const json_t *list = json_object_get(work->row->spec, "columns");
    size_t n = json_array_size(list);
    bool missing = false;
    enum step step = read_table(work);
    work->columns = talloc_zero_array(work->row, struct column, n + 1);
    work->n_columns = 0;
    for (size_t i = 0; step == STEP_DONE && work->columns && i < n; i++) {
        enum step one = read_column(work, &work->columns[work->n_columns++], json_array_get(list, i));
        if (one == STEP_UNDO)
            missing = true; /* undoing wants to know the others */
        else
            step = one;
    }
    return step == STEP_DONE && missing ? STEP_UNDO : step;
}

/* The spec's other lists name columns; those of the list of columns may have got another name since. */
const char *target_column(struct work *work, const char *name)
{
    const json_t *list = json_object_get(work->row->spec, "columns");
    for (size_t i = 0; i < work->n_columns; i++) {
        const char *was = json_string_value(json_object_get(json_array_get(list, i), "name"));
        if (was && name && strcmp(was, name) == 0)
            return work->columns[i].sql;
    }
    return sql_name(work, name);
}

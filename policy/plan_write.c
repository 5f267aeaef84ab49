/*
 * The spec of what is left to be done, as pgsluice.begin_change() takes it: proxy/change/schema.sql has the
 * contract.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "policy/plan_inside.h"

static json_t *string_or_null(const char *text)
{
    return text == NULL ? json_null() : json_string(text);
}

static json_t *names(const char *const *list, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_string(list[i]));
    return array;
}

static json_t *columns_json(const struct planner *planner)
{
    json_t *array = json_array();
    for (size_t i = 0; i < planner->n_columns; i++) {
        const struct planned_column *column = &planner->columns[i];
        json_t *identity =
            column->identity == NULL ? json_null() : json_pack("{s:b}", "always", column->identity->always);
        json_array_append_new(array,
                              json_pack("{s:s, s:b, s:b, s:b, s:o, s:o, s:b}", "name", column->name, "added",
                                        column->added, "fill", column->fill, "not_null", column->not_null,
                                        "not_null_name", string_or_null(column->not_null_name), "identity",
                                        identity, "serial", column->serial));
    }
    return array;
}

static json_t *keys_json(const struct planner *planner)
{
    json_t *array = json_array();
    for (size_t i = 0; i < planner->n_keys; i++) {
        const struct planned_key *planned = &planner->keys[i];
        const struct constraint *key = planned->key;
        json_t *columns =
            planned->column != NULL ? names(&planned->column, 1) : names(key->columns, key->n_columns);
        json_array_append_new(array,
                              json_pack("{s:o, s:o, s:o, s:b, s:b, s:b}", "name", string_or_null(key->name),
                                        "columns", columns, "include", names(key->included, key->n_included),
                                        "nulls_not_distinct", key->nulls_not_distinct, "deferrable",
                                        planned->deferrable, "deferred", planned->deferred));
    }
    return array;
}

/* The index's own words were written for the author's search_path; his temporary schema is nobody else's. */
static json_t *search_path(const struct catalog *catalog)
{
    json_t *array = json_array();
    for (size_t i = 0; i < catalog->n_path; i++) {
        if (strncmp(catalog->path[i], "pg_temp_", strlen("pg_temp_")) != 0)
            json_array_append_new(array, json_string(catalog->path[i]));
    }
    return array;
}

static json_t *index_json(const struct planner *planner)
{
    const struct catalog *catalog = planner->look->names;
    if (planner->index == NULL)
        return json_null();
    return json_pack("{s:s, s:o, s:b, s:o}", "sql", planner->index, "name",
                     string_or_null(planner->facts->object.name), "if_not_exists", 0, "search_path",
                     search_path(catalog));
}

static const char *change_kind(const struct planner *planner)
{
    for (size_t i = 0; i < planner->n_columns; i++) {
        if (planner->columns[i].added)
            return "add-column";
    }
    if (planner->index != NULL)
        return "create-index";
    if (planner->n_columns > 0)
        return "set-not-null";
    if (planner->n_validate > 0)
        return planner->validate[0]->kind == CONSTRAINT_CHECK ? "add-check" : "add-foreign-key";
    return "add-unique";
}

/* For people, who read no more of it. */
static json_t *statement_json(const struct planner *planner)
{
    enum { STATEMENT_MAX = 10000 };
    size_t n = planner->request->length;
    if (n > STATEMENT_MAX) {
        n = STATEMENT_MAX;
        while (n > 0 && ((unsigned char)planner->request->text[n] & 0xc0) == 0x80)
            n--;
    }
    json_t *statement = json_stringn(planner->request->text, n);
    return statement == NULL ? json_string("") : statement;
}

static char *spec(const struct planner *planner)
{
    json_t *all = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "version", 1, "kind", change_kind(planner),
                            "columns", columns_json(planner), "unique", keys_json(planner), "index",
                            index_json(planner), "statement", statement_json(planner));
    char *dumped = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
    char *text = dumped == NULL ? NULL : talloc_strdup(planner->plan, dumped);
    free(dumped);
    json_decref(all);
    return text;
}

static bool has_key(const struct planner *planner, const char *column)
{
    for (size_t i = 0; i < planner->n_keys; i++) {
        const struct planned_key *key = &planner->keys[i];
        if (key->column != NULL && strcmp(key->column, column) == 0)
            return true;
        for (size_t j = 0; key->column == NULL && j < key->key->n_columns; j++) {
            if (strcmp(key->key->columns[j], column) == 0)
                return true;
        }
    }
    return false;
}

static void quarantined(struct planner *planner)
{
    struct plan *plan = planner->plan;
    plan->columns = talloc_zero_array(plan, const char *, (unsigned)planner->n_columns + 1);
    plan->awaited = talloc_zero_array(plan, const char *, (unsigned)planner->n_columns + 1);
    for (size_t i = 0; i < planner->n_columns; i++) {
        const struct planned_column *column = &planner->columns[i];
        if (!column->added)
            continue;
        plan->columns[plan->n_columns++] = column->name;
        if (column->fill || has_key(planner, column->name))
            plan->awaited[plan->n_awaited++] = column->name;
    }
}

void plan_write(struct planner *planner)
{
    struct plan *plan = planner->plan;
    bool left = planner->n_columns + planner->n_keys + planner->n_validate > 0 || planner->index != NULL;
    plan->tag = planner->facts->tag;
    if (left) {
        plan->spec = spec(planner);
        if (plan->spec == NULL) {
            plan_refuse(planner, "out of memory");
            return;
        }
        quarantined(planner);
    }
    plan_block(planner);
}

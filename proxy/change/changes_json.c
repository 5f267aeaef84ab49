/*
 * Changes for programs: an object a line; what isn't known is null.
 */
#include <jansson.h>
#include <stdlib.h>

#include "proxy/change/changes.h"

static void put_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text == NULL ? json_null() : json_string(text));
}

static void put_number(json_t *object, const char *key, double number, bool whole)
{
    json_object_set_new(object, key,
                        number < 0 ? json_null()
                        : whole    ? json_integer((json_int_t)number)
                                   : json_real(number));
}

void changes_print_json(const struct changes_list *list, FILE *out)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct changes_row *row = &list->rows[i];
        json_t *object = json_object();
        put_text(object, "database", row->database);
        json_object_set_new(object, "id", json_integer((json_int_t)strtoll(row->id, NULL, 10)));
        put_text(object, "state", row->state);
        put_text(object, "wanted", row->wanted == NULL ? "run" : row->wanted);
        put_text(object, "phase", row->phase);
        put_text(object, "table", row->table);
        put_text(object, "kind", row->kind);
        put_number(object, "rows", row->rows, true);
        put_number(object, "rows_total", row->rows_total, true);
        put_number(object, "percent", row->percent, false);
        put_number(object, "rate", row->rate, false);
        put_number(object, "eta_seconds", row->eta, true);
        put_number(object, "age_seconds", row->age, true);
        put_text(object, "throttled", row->throttled);
        put_text(object, "role", row->role);
        put_text(object, "statement", row->statement);
        put_text(object, "sqlstate", row->error_code);
        put_text(object, "error", row->error);
        json_dumpf(object, out, JSON_COMPACT);
        fputc('\n', out);
        json_decref(object);
    }
}

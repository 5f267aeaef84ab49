/*
 * The server's answer into structs: session, names, functions, operators, types, casts. Relations are in
 * catalog_read_relation.c. The server is no enemy, but what stands between might be: everything is checked.
 */
#include "policy/catalog_read.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

/* ---- the session ---- */

static void read_schemas(struct answer_reader *r, json_t *list)
{
    struct catalog *catalog = r->catalog;
    catalog->schemas = answer_array(r, sizeof *catalog->schemas, list, &catalog->n_schemas);
    for (size_t i = 0; i < catalog->n_schemas; i++) {
        json_t *row = answer_row(r, list, i, 3);
        struct catalog_schema *schema = &catalog->schemas[i];
        schema->oid = answer_oid(r, json_array_get(row, 0));
        schema->name = answer_text(r, json_array_get(row, 1));
        schema->temporary = answer_true(r, json_array_get(row, 2));
        schema->position = -1;
        for (size_t k = 0; k < catalog->n_path; k++) {
            if (schema->position < 0 && strcmp(catalog->path[k], schema->name) == 0)
                schema->position = (int)k;
        }
    }
}

static void read_event_triggers(struct answer_reader *r, json_t *list)
{
    struct catalog *catalog = r->catalog;
    catalog->event_triggers =
        answer_array(r, sizeof *catalog->event_triggers, list, &catalog->n_event_triggers);
    for (size_t i = 0; i < catalog->n_event_triggers; i++) {
        json_t *row = answer_row(r, list, i, 3);
        struct catalog_event_trigger *trigger = &catalog->event_triggers[i];
        trigger->name = answer_text(r, json_array_get(row, 0));
        trigger->event = answer_text(r, json_array_get(row, 1));
        trigger->tags = answer_texts(r, json_array_get(row, 2), &trigger->n_tags);
    }
}

static void read_asked(struct answer_reader *r, json_t *asked)
{
    struct catalog *catalog = r->catalog;
    size_t n_read, n_worked;
    const char **names = answer_texts(r, json_object_get(asked, "r"), &n_read);
    const char **worked = answer_texts(r, json_object_get(asked, "R"), &n_worked);
    const char **all = talloc_realloc(catalog, names, const char *, n_read + n_worked + 1);
    if (all == NULL) {
        r->bad = true;
        return;
    }
    for (size_t i = 0; i < n_worked; i++)
        all[n_read + i] = worked[i];
    catalog->asked_types = answer_texts(r, json_object_get(asked, "t"), &catalog->n_asked_types);
    catalog->asked = all;
    catalog->n_asked = n_read + n_worked;
}

/* "pgsluice schema version 1" */
static void read_installed(struct answer_reader *r, json_t *root)
{
    static const char words[] = "pgsluice schema version ";
    struct catalog *catalog = r->catalog;
    json_t *row = json_object_get(root, "pgsluice");
    const char *comment = json_string_value(json_array_get(row, 0));
    if (json_is_array(row))
        catalog->schema_version = -1;
    if (comment != NULL && strncmp(comment, words, sizeof words - 1) == 0)
        catalog->schema_version = (int)strtol(comment + sizeof words - 1, NULL, 10);
    catalog->schema_usable = json_is_true(json_array_get(row, 1));
    catalog->schema_trusted = json_is_true(json_array_get(row, 2));
    catalog->plpgsql_usable = json_is_true(json_object_get(root, "plpgsql"));
}

static void read_session(struct answer_reader *r, json_t *root)
{
    struct catalog *catalog = r->catalog;
    catalog->server_version = answer_int(r, answer_member(r, root, "version"));
    catalog->database = answer_text(r, answer_member(r, root, "database"));
    catalog->user = answer_text(r, answer_member(r, root, "user"));
    catalog->session_user = answer_text(r, answer_member(r, root, "session_user"));
    json_t *superuser = json_object_get(root, "superuser"); /* null where the role was dropped meanwhile */
    catalog->superuser = json_is_boolean(superuser) && json_is_true(superuser);
    catalog->in_recovery = answer_true(r, answer_member(r, root, "recovery"));
    catalog->read_only = answer_true(r, answer_member(r, root, "read_only"));
    read_installed(r, root);
    catalog->now = answer_count(r, json_object_get(root, "now"));
    catalog->path = answer_texts(r, answer_member(r, root, "path"), &catalog->n_path);
    read_schemas(r, answer_member(r, root, "schemas"));
    read_event_triggers(r, answer_member(r, root, "event_triggers"));
    read_asked(r, answer_member(r, root, "asked"));
    r->block = answer_int(r, answer_member(r, root, "block"));
}

/* ---- what names can mean ---- */

static uint32_t *read_oids(struct answer_reader *r, json_t *list, size_t *n)
{
    uint32_t *oids = answer_array(r, sizeof *oids, list, n);
    for (size_t i = 0; i < *n; i++)
        oids[i] = answer_oid(r, json_array_get(list, i));
    return oids;
}

static void read_function(struct answer_reader *r, json_t *row, struct catalog_function *function)
{
    const struct catalog_schema *schema = answer_schema(r, json_array_get(row, 1));
    size_t n_names = 0;
    function->oid = answer_oid(r, json_array_get(row, 0));
    function->schema = schema->name;
    function->position = schema->position;
    function->name = answer_text(r, json_array_get(row, 2));
    function->volatility = answer_volatility(r, json_array_get(row, 3));
    function->kind = answer_letter(r, json_array_get(row, 4));
    function->strict = answer_true(r, json_array_get(row, 5));
    function->returns_set = answer_true(r, json_array_get(row, 6));
    function->variadic_element = answer_oid(r, json_array_get(row, 7));
    function->variadic = function->variadic_element != 0;
    function->result = answer_oid(r, json_array_get(row, 8));
    function->args = read_oids(r, json_array_get(row, 9), &function->n_args);
    function->n_defaults = (size_t)answer_int(r, json_array_get(row, 10));
    function->sql = answer_true(r, json_array_get(row, 11));
    function->source = answer_text_or_null(r, json_array_get(row, 12));
    function->names = answer_texts(r, json_array_get(row, 13), &n_names);
    function->by_default = answer_volatility(r, json_array_get(row, 14));
    if (n_names < function->n_args)
        function->names = NULL;
    if (function->n_defaults > function->n_args || (function->variadic && function->n_args == 0))
        r->bad = true;
}

static void read_functions(struct answer_reader *r, json_t *list)
{
    struct catalog *catalog = r->catalog;
    catalog->functions = answer_array(r, sizeof *catalog->functions, list, &catalog->n_functions);
    for (size_t i = 0; i < catalog->n_functions; i++)
        read_function(r, answer_row(r, list, i, 15), &catalog->functions[i]);
}

static void read_operators(struct answer_reader *r, json_t *list)
{
    struct catalog *catalog = r->catalog;
    catalog->operators = answer_array(r, sizeof *catalog->operators, list, &catalog->n_operators);
    for (size_t i = 0; i < catalog->n_operators; i++) {
        json_t *row = answer_row(r, list, i, 9);
        struct catalog_operator *op = &catalog->operators[i];
        const struct catalog_schema *schema = answer_schema(r, json_array_get(row, 1));
        op->oid = answer_oid(r, json_array_get(row, 0));
        op->schema = schema->name;
        op->position = schema->position;
        op->name = answer_text(r, json_array_get(row, 2));
        op->args[0] = answer_oid(r, json_array_get(row, 3));
        op->args[1] = answer_oid(r, json_array_get(row, 4));
        op->result = answer_oid(r, json_array_get(row, 5));
        op->volatility = answer_volatility(r, json_array_get(row, 6));
        op->strict = answer_true(r, json_array_get(row, 7));
        op->function = answer_oid(r, json_array_get(row, 8));
    }
}

static void read_type(struct answer_reader *r, json_t *row, struct catalog_type *type)
{
    const struct catalog_schema *schema = answer_schema(r, json_array_get(row, 1));
    type->oid = answer_oid(r, json_array_get(row, 0));
    type->schema = schema->name;
    type->position = schema->position;
    type->name = answer_text(r, json_array_get(row, 2));
    type->type = answer_letter(r, json_array_get(row, 3));
    type->category = answer_letter(r, json_array_get(row, 4));
    type->preferred = answer_true(r, json_array_get(row, 5));
    type->not_null = answer_true(r, json_array_get(row, 6));
    type->is_array = answer_true(r, json_array_get(row, 7));
    type->base = answer_oid(r, json_array_get(row, 8));
    type->modifier = answer_int(r, json_array_get(row, 9));
    type->element = answer_oid(r, json_array_get(row, 10));
    type->array = answer_oid(r, json_array_get(row, 11));
    type->relation = answer_oid(r, json_array_get(row, 12));
    type->checks = (unsigned)answer_int(r, json_array_get(row, 13));
    type->has_default = answer_true(r, json_array_get(row, 14));
    type->by_default = answer_volatility(r, json_array_get(row, 15));
    type->text_form = answer_volatility(r, json_array_get(row, 16));
    type->fields = read_oids(r, json_array_get(row, 17), &type->n_fields);
}

static int by_oid(const void *a, const void *b)
{
    uint32_t left = ((const struct catalog_type *)a)->oid, right = ((const struct catalog_type *)b)->oid;
    return (left > right) - (left < right);
}

static void read_types(struct answer_reader *r, json_t *list)
{
    struct catalog *catalog = r->catalog;
    catalog->types = answer_array(r, sizeof *catalog->types, list, &catalog->n_types);
    for (size_t i = 0; i < catalog->n_types; i++)
        read_type(r, answer_row(r, list, i, 18), &catalog->types[i]);
    if (catalog->n_types > 0)
        qsort(catalog->types, catalog->n_types, sizeof *catalog->types, by_oid);
}

static int by_source(const void *a, const void *b)
{
    const struct catalog_cast *left = a, *right = b;
    if (left->source != right->source)
        return (left->source > right->source) - (left->source < right->source);
    return (left->target > right->target) - (left->target < right->target);
}

static void read_casts(struct answer_reader *r, json_t *list)
{
    struct catalog *catalog = r->catalog;
    catalog->casts = answer_array(r, sizeof *catalog->casts, list, &catalog->n_casts);
    for (size_t i = 0; i < catalog->n_casts; i++) {
        json_t *row = answer_row(r, list, i, 6);
        struct catalog_cast *cast = &catalog->casts[i];
        cast->source = answer_oid(r, json_array_get(row, 0));
        cast->target = answer_oid(r, json_array_get(row, 1));
        cast->context = answer_letter(r, json_array_get(row, 2));
        cast->method = answer_letter(r, json_array_get(row, 3));
        cast->volatility = answer_volatility(r, json_array_get(row, 4));
        json_t *strict = json_array_get(row, 5);
        cast->strict = json_is_null(strict) || answer_true(r, strict);
    }
    if (catalog->n_casts > 0)
        qsort(catalog->casts, catalog->n_casts, sizeof *catalog->casts, by_source);
}

/* ---- the whole ---- */

static void read_root(struct answer_reader *r, json_t *root)
{
    read_session(r, root);
    read_functions(r, answer_member(r, root, "functions"));
    read_operators(r, answer_member(r, root, "operators"));
    read_types(r, answer_member(r, root, "types"));
    read_casts(r, answer_member(r, root, "casts"));
    answer_relations(r, answer_member(r, root, "relations"));
}

struct catalog *catalog_read(const void *talloc_parent, const char *answer, size_t length)
{
    struct answer_reader reader = {.catalog = talloc_zero(talloc_parent, struct catalog)};
    size_t n = 0;
    if (reader.catalog == NULL)
        return NULL;
    char *text = catalog_decode(reader.catalog, answer, length, &n);
    json_t *root = text != NULL ? json_loadb(text, n, 0, NULL) : NULL;
    reader.catalog->replaced = text != NULL && memmem(text, n, "\xef\xbf\xbd", 3) != NULL;
    talloc_free(text);
    reader.bad = !json_is_object(root);
    if (!reader.bad)
        read_root(&reader, root);
    json_decref(root);
    if (!reader.bad)
        return reader.catalog;
    talloc_free(reader.catalog);
    return NULL;
}

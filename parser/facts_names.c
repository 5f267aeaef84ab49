/*
 * Names, types and roles out of libpg_query's tree, and the reader's small tools.
 */
#include "parser/facts_read.h"

#include <string.h>
#include <talloc.h>

char *reader_slice(struct reader *r, const char *from, size_t n)
{
    char *copy = talloc_strndup(r->facts, from, n);
    if (!copy)
        r->failed = true;
    return copy;
}

char *reader_copy(struct reader *r, const char *text)
{
    return text ? reader_slice(r, text, strlen(text)) : NULL;
}

void *reader_array(struct reader *r, size_t size, size_t *n)
{
    if (*n == 0)
        return NULL;
    void *array = _talloc_zero_array(r->facts, size, (unsigned)*n, "array");
    if (!array) {
        r->failed = true;
        *n = 0;
    }
    return array;
}

int reader_place(const struct reader *r, int offset)
{
    return source_place(r->source, offset);
}

int reader_end(const struct reader *r, size_t token)
{
    if (token == 0 || token > r->source->tokens.n)
        return -1;
    return reader_place(r, r->source->tokens.items[token - 1].end);
}

void reader_clause(const struct reader *r, int offset, int *place, int *end)
{
    *place = reader_place(r, offset);
    *end = -1;
    const struct tokens *tokens = &r->source->tokens;
    size_t i = tokens_at(tokens, offset);
    if (offset >= 0 && i < tokens->n && tokens->items[i].start == offset)
        *end = reader_end(r, tokens_clause_end(tokens, i));
}

/* ---- names ------------------------------------------------------------------------------------------ */

struct name name_of_range(struct reader *r, const json_t *range)
{
    return (struct name){.schema = reader_copy(r, tree_text(range, "schemaname")),
                         .name = reader_copy(r, tree_text(range, "relname")),
                         .place = reader_place(r, tree_number(range, "location", -1))};
}

struct name name_of_list(struct reader *r, json_t *strings)
{
    struct name name = {.place = -1};
    size_t n = json_array_size(strings);
    if (n > 0)
        name.name = reader_copy(r, tree_string(json_array_get(strings, n - 1)));
    if (n > 1)
        name.schema = reader_copy(r, tree_string(json_array_get(strings, n - 2)));
    return name;
}

struct name name_of_text(struct reader *r, const char *text)
{
    return (struct name){.name = reader_copy(r, text), .place = -1};
}

const char **names_of_list(struct reader *r, json_t *strings, size_t *n)
{
    *n = json_array_size(strings);
    const char **names = reader_array(r, sizeof *names, n);
    for (size_t i = 0; i < *n; i++) {
        const char *text = tree_string(json_array_get(strings, i));
        names[i] = reader_copy(r, text ? text : "");
    }
    return names;
}

char *role_of(struct reader *r, const json_t *role)
{
    static const char *const words[][2] = {{"ROLESPEC_CURRENT_ROLE", "CURRENT_ROLE"},
                                           {"ROLESPEC_CURRENT_USER", "CURRENT_USER"},
                                           {"ROLESPEC_SESSION_USER", "SESSION_USER"},
                                           {"ROLESPEC_PUBLIC", "PUBLIC"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (tree_is(role, "roletype", words[i][0]))
            return reader_copy(r, words[i][1]);
    return reader_copy(r, tree_text(role, "rolename"));
}

/* Dimensions and modifiers that the text for messages shows; no type has as many. */
enum { SHOWN_MAX = 8 };

/* ---- types ------------------------------------------------------------------------------------------ */

/* What the SQL names are for the types that the grammar renames (PostgreSQL manual, table 8.1). */
static const struct {
    const char *name, *before, *behind; /* the modifiers stand between the two */
} sql_types[] = {{"bool", "boolean", ""},
                 {"int2", "smallint", ""},
                 {"int4", "integer", ""},
                 {"int8", "bigint", ""},
                 {"float4", "real", ""},
                 {"float8", "double precision", ""},
                 {"bpchar", "character", ""},
                 {"varchar", "character varying", ""},
                 {"varbit", "bit varying", ""},
                 {"time", "time", " without time zone"},
                 {"timetz", "time", " with time zone"},
                 {"timestamp", "timestamp", " without time zone"},
                 {"timestamptz", "timestamp", " with time zone"}};

static char *type_modifiers(struct reader *r, json_t *list, struct type_name *type)
{
    type->n_modifiers = json_array_size(list);
    type->modifiers = reader_array(r, sizeof *type->modifiers, &type->n_modifiers);
    size_t n = type->n_modifiers, kept = 0;
    char *text = talloc_strdup(r->facts, "");
    for (size_t i = 0; text && i < n; i++) {
        struct expr *expr = expr_read(r, json_array_get(list, i));
        if (!expr)
            continue;
        if (expr->kind == EXPR_CONSTANT && expr->constant == CONSTANT_INTEGER && expr->text)
            type->modifiers[kept++] = (int)strtol(expr->text, NULL, 0);
        const char *shown = expr->kind == EXPR_COLUMN ? expr->name.name : expr->text;
        if (expr->place >= 0 && shown && i < SHOWN_MAX)
            text = talloc_asprintf_append_buffer(text, "%s%s", *text ? "," : "(", shown);
    }
    if (text && *text)
        text = talloc_strdup_append_buffer(text, ")");
    type->n_modifiers = kept;
    if (!text)
        r->failed = true;
    return text;
}

/* The fields that an interval is limited to, as gram.y writes them into its first modifier. */
static const char *interval_fields(int mask)
{
    enum { MONTH = 1 << 1, YEAR = 1 << 2, DAY = 1 << 3, HOUR = 1 << 10, MINUTE = 1 << 11, SECOND = 1 << 12 };
    static const struct {
        int mask;
        const char *words;
    } fields[] = {{YEAR, " year"},
                  {MONTH, " month"},
                  {DAY, " day"},
                  {HOUR, " hour"},
                  {MINUTE, " minute"},
                  {SECOND, " second"},
                  {YEAR | MONTH, " year to month"},
                  {DAY | HOUR, " day to hour"},
                  {DAY | HOUR | MINUTE, " day to minute"},
                  {DAY | HOUR | MINUTE | SECOND, " day to second"},
                  {HOUR | MINUTE, " hour to minute"},
                  {HOUR | MINUTE | SECOND, " hour to second"},
                  {MINUTE | SECOND, " minute to second"}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].mask == mask)
            return fields[i].words;
    return ""; /* all of them */
}

static const char *interval_modifiers(struct reader *r, const struct type_name *type)
{
    const char *fields = type->n_modifiers > 0 ? interval_fields(type->modifiers[0]) : "";
    return type->n_modifiers < 2 ? fields : talloc_asprintf(r->facts, "%s(%d)", fields, type->modifiers[1]);
}

/* The name without modifiers: what stands in front of them, and what behind. */
static const char *type_words(struct reader *r, const struct type_name *type, bool system,
                              const char **behind)
{
    *behind = "";
    if (strcmp(type->name, "char") == 0)
        return "\"char\""; /* the one-byte type, which only quotes tell from character(1) */
    if (!system && *type->name)
        return quote_name(r->facts, &(struct name){type->schema, type->name, -1});
    for (size_t i = 0; i < sizeof sql_types / sizeof *sql_types; i++)
        if (strcmp(type->name, sql_types[i].name) == 0) {
            *behind = sql_types[i].behind;
            return sql_types[i].before;
        }
    return type->name;
}

static const char *type_text(struct reader *r, const struct type_name *type, const char *modifiers)
{
    bool system = type->schema && strcmp(type->schema, "pg_catalog") == 0;
    const char *behind, *before = type_words(r, type, system, &behind);
    if (system && strcmp(type->name, "interval") == 0)
        modifiers = interval_modifiers(r, type);
    char *text = before ? talloc_asprintf(r->facts, "%s%s%s%s", type->setof ? "SETOF " : "", before,
                                          modifiers ? modifiers : "", behind)
                        : NULL;
    for (int i = 0; text && i < type->array && i < SHOWN_MAX; i++)
        text = talloc_strdup_append_buffer(text, "[]");
    if (text && type->percent_type)
        text = talloc_strdup_append_buffer(text, "%TYPE");
    if (!text)
        r->failed = true;
    return text ? text : type->name;
}

struct type_name type_read(struct reader *r, json_t *tree)
{
    struct name name = name_of_list(r, tree_list(tree, "names"));
    struct type_name type = {.schema = name.schema,
                             .name = name.name ? name.name : "",
                             .array = (int)json_array_size(tree_list(tree, "arrayBounds")),
                             .setof = tree_true(tree, "setof"),
                             .percent_type = tree_true(tree, "pct_type"),
                             .place = reader_place(r, tree_number(tree, "location", -1))};
    const char *modifiers = type_modifiers(r, tree_list(tree, "typmods"), &type);
    type.text = type_text(r, &type, modifiers);
    return type;
}

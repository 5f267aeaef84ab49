/*
 * Rules about columns as they are defined, in CREATE TABLE and in ADD COLUMN: names, types, defaults.
 */
#include <string.h>
#include <talloc.h>

#include "policy/builtins.h"
#include "policy/findings.h"

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)
#define NAME_MAX_BYTES   63
#define DEFAULT_PATTERN  "^[a-z][a-z0-9_]{0,62}$"

static const char *quoted(const struct judge *judge, const char *name)
{
    return quote_identifier(judge->memory, name);
}

static bool in_list(const char *word, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(word, *list) == 0)
            return true;
    }
    return false;
}

/* ---- names ---- */

/* The default pattern, without a regular expression that would have to be compiled here. */
static bool plain_name(const char *name)
{
    if (name[0] < 'a' || name[0] > 'z')
        return false;
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return name[length] == '\0' && length <= NAME_MAX_BYTES;
}

static void check_name(struct judge *judge, const char *name, int place)
{
    struct conf_rule setting = policy_rule(judge->context, RULE_column_name, judge->table);
    bool fits = setting.regex == NULL ? plain_name(name) : regexec(setting.regex, name, 0, NULL, 0) == 0;
    if (fits)
        return;
    struct sight sight = {.rule = RULE_column_name, .sure = ANSWER_YES, .place = place, .object = name};
    sight.message = TEXT(judge, "column name %s doesn't follow the naming rule", quoted(judge, name));
    sight.detail =
        TEXT(judge, "Names here have to match %s.%s",
             setting.regex == NULL || setting.pattern == NULL ? DEFAULT_PATTERN : setting.pattern,
             plain_name(name) ? ""
                              : " A name with capitals or other characters has to be written in double "
                                "quotes in every statement that uses it.");
    sight.hint = TEXT(judge, "Choose a name that matches; the pattern is set by policy.rules.column-name.");
    finding_add(judge, &sight);
}

/* `length`: as written; the parser cuts names as the server does. */
static void check_length(struct judge *judge, const char *name, size_t length, int place)
{
    if (length <= NAME_MAX_BYTES)
        return;
    struct sight sight = {.rule = RULE_name_too_long, .sure = ANSWER_YES, .place = place, .object = name};
    sight.message = TEXT(
        judge, "a name of %zu bytes is longer than %d: PostgreSQL would cut it to %s, with only a NOTICE",
        length, NAME_MAX_BYTES, quoted(judge, name));
    sight.detail = TEXT(
        judge, "Two long names that begin alike become one, and tools that look for the whole name don't "
               "find it.");
    sight.hint = TEXT(judge, "Choose a name of at most %d bytes.", NAME_MAX_BYTES);
    finding_add(judge, &sight);
}

static void check_reserved(struct judge *judge, const char *name, int place)
{
    if (!reserved_word(name))
        return;
    struct sight sight = {.rule = RULE_reserved_word, .sure = ANSWER_YES, .place = place, .object = name};
    sight.message = TEXT(judge, "column name %s is a reserved word of SQL", quoted(judge, name));
    sight.detail =
        TEXT(judge, "It has to be written in double quotes in every statement; where that is forgotten, the "
                    "statement fails or means something else (\"user\" is the role that asks).");
    sight.hint = TEXT(judge, "Choose another name, such as %s.",
                      quoted(judge, TEXT(judge, "%s_%s", name, strcmp(name, "user") == 0 ? "id" : "value")));
    finding_add(judge, &sight);
}

/* ---- types ---- */

static void type_finding(struct judge *judge, const struct column_definition *column, char *detail,
                         char *hint)
{
    struct sight sight = {.rule = RULE_column_type,
                          .sure = ANSWER_YES,
                          .place = column->type.place >= 0 ? column->type.place : column->place,
                          .object = column->name,
                          .detail = detail,
                          .hint = hint};
    sight.message = TEXT(judge, "column %s has type %s, which brings trouble later",
                         quoted(judge, column->name), column->type.text);
    finding_add(judge, &sight);
}

static const struct type_advice {
    const char *name, *trouble, *instead;
} advice[] = {
    {"json",
     "json has no equality: DISTINCT, GROUP BY and UNION over the column fail, and it can't be indexed.",
     "jsonb"},
    {"bpchar",
     "char(n) pads every value with blanks, which comparisons then ignore and LIKE doesn't; it saves no "
     "room.",
     "text, or varchar(n) where the length matters"},
    {"timestamp",
     "timestamp without time zone doesn't say which moment it means: the same value is another moment in "
     "another session's time zone.",
     "timestamptz"},
    {"money",
     "money's meaning depends on the server's lc_monetary: restored elsewhere, euros become dollars.",
     "numeric"},
    {"timetz", "a time of day with an offset but without a date can't know about daylight saving.",
     "timestamptz, or time"},
};

static bool names_money(const char *name)
{
    static const char *const words[] = {"price",  "amount", "cost",    "total",   "balance",  "fee",
                                        "salary", "tax",    "revenue", "payment", "discount", NULL};
    for (size_t i = 0; words[i] != NULL; i++) {
        const char *found = strstr(name, words[i]);
        if (found == NULL)
            continue;
        char before = found == name ? '_' : found[-1], after = found[strlen(words[i])];
        if (before == '_' && (after == '_' || after == '\0'))
            return true;
    }
    return false;
}

static bool is_key(const struct judge *judge, const struct column_definition *column)
{
    size_t length = strlen(column->name);
    if (column_constraint(column, CONSTRAINT_PRIMARY) != NULL || strcmp(column->name, "id") == 0)
        return true;
    if (length > 3 && strcmp(column->name + length - 3, "_id") == 0)
        return true;
    for (size_t i = 0; i < judge->facts->n_constraints; i++) {
        const struct constraint *key = &judge->facts->constraints[i];
        if (key->kind == CONSTRAINT_PRIMARY && key->n_columns == 1 &&
            strcmp(key->columns[0], column->name) == 0)
            return true;
    }
    return false;
}

static void check_serial(struct judge *judge, const struct column_definition *column)
{
    if (judge->facts->kind != STATEMENT_CREATE_TABLE) /* in ADD COLUMN serial-column speaks of it */
        return;
    type_finding(
        judge, column,
        TEXT(judge,
             "serial makes a sequence with rights and an owner of its own, and anyone may overwrite the "
             "number%s.",
             strcmp(column->type.name, "bigserial") == 0 || strcmp(column->type.name, "serial8") == 0
                 ? ""
                 : "; at 2,147,483,647 (smallserial: 32,767) inserts fail"),
        TEXT(judge, "Write %s bigint GENERATED ALWAYS AS IDENTITY.", quoted(judge, column->name)));
}

static void check_type(struct judge *judge, const struct column_definition *column)
{
    static const char *const integers[] = {"int4", "int2", NULL}, *const floats[] = {"float4", "float8",
                                                                                     NULL};
    const struct type_name *type = &column->type;
    if (column_is_serial(column)) {
        check_serial(judge, column);
        return;
    }
    if (type->schema != NULL && strcmp(type->schema, "pg_catalog") != 0)
        return;
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++) {
        if (strcmp(type->name, advice[i].name) == 0)
            type_finding(judge, column, TEXT(judge, "%s", advice[i].trouble),
                         TEXT(judge, "Use %s.", advice[i].instead));
    }
    if (type->array == 0 && in_list(type->name, floats) && names_money(column->name))
        type_finding(judge, column, TEXT(judge, "Binary fractions can't hold 0.10: sums of money drift."),
                     TEXT(judge, "Use numeric, or whole cents as bigint."));
    if (type->array == 0 && in_list(type->name, integers) && is_key(judge, column))
        type_finding(
            judge, column,
            TEXT(judge,
                 "A key of type %s ends at %s; then every insert fails, and changing the type rewrites the "
                 "table.",
                 type->text, strcmp(type->name, "int4") == 0 ? "2,147,483,647" : "32,767"),
            TEXT(judge, "Use bigint for keys and what refers to them."));
}

/* ---- defaults ---- */

static void check_default(struct judge *judge, const struct column_definition *column)
{
    if (column_constraint(column, CONSTRAINT_DEFAULT) != NULL || column_filled(column, judge->look) ||
        column_constraint(column, CONSTRAINT_PRIMARY) != NULL)
        return;
    struct sight sight = {
        .rule = RULE_explicit_default, .sure = ANSWER_YES, .place = column->place, .object = column->name};
    sight.message = TEXT(judge, "column %s doesn't say what its default is", quoted(judge, column->name));
    sight.detail = TEXT(judge, "Rows that don't name the column get NULL without anybody having said so.");
    sight.hint = TEXT(judge, "Write DEFAULT with a constant; or DEFAULT NULL, where that is meant.");
    finding_add(judge, &sight);
}

static void check_nullable(struct judge *judge, const struct column_definition *column)
{
    if (column_not_null(column) != NULL || column_is_serial(column) ||
        column_constraint(column, CONSTRAINT_IDENTITY) != NULL ||
        column_constraint(column, CONSTRAINT_GENERATED) != NULL)
        return;
    for (size_t i = 0; i < judge->facts->n_constraints; i++) {
        const struct constraint *key = &judge->facts->constraints[i];
        if (key->kind == CONSTRAINT_PRIMARY &&
            in_list(column->name, (const char *const[]){key->n_columns > 0 ? key->columns[0] : NULL, NULL}))
            return;
    }
    struct sight sight = {
        .rule = RULE_nullable_column, .sure = ANSWER_YES, .place = column->place, .object = column->name};
    sight.message = TEXT(judge, "column %s may be NULL", quoted(judge, column->name));
    sight.detail = TEXT(judge, "Every reader has to deal with a value that isn't there.");
    sight.hint = TEXT(
        judge, "Write NOT NULL with a constant DEFAULT: on PostgreSQL 11 and later that reads and writes no "
               "row.");
    finding_add(judge, &sight);
}

static void check_column(struct judge *judge, const struct column_definition *column)
{
    check_name(judge, column->name, column->place);
    check_length(judge, column->name, column->written_length, column->place);
    check_reserved(judge, column->name, column->place);
    check_type(judge, column);
    check_default(judge, column);
    check_nullable(judge, column);
}

static void check_new_name(struct judge *judge, const struct alter *alter)
{
    if (alter->new_name == NULL)
        return;
    if (alter->kind == ALTER_RENAME_COLUMN) {
        check_name(judge, alter->new_name, alter->place);
        check_reserved(judge, alter->new_name, alter->place);
    }
}

void findings_definition(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    if (facts->temporary)
        return;
    for (size_t i = 0; i < facts->n_columns; i++)
        check_column(judge, &facts->columns[i]);
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        if (alter->kind == ALTER_ADD_COLUMN && alter->column != NULL)
            check_column(judge, alter->column);
        else
            check_new_name(judge, alter);
    }
}

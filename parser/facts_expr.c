/*
 * Expressions. Only what decides how a default or check behaves is told apart; the rest is EXPR_OTHER with
 * the expressions inside, so that a walk over args meets every function and operator.
 */
#include "parser/facts_read.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

struct list {
    struct expr **items;
    size_t n;
};

static void list_add(struct reader *r, struct list *list, struct expr *expr)
{
    if (!expr)
        return;
    if (list->n == 0 || (list->n >= 4 && (list->n & (list->n - 1)) == 0)) {
        size_t room = list->n < 4 ? 4 : list->n * 2;
        struct expr **more = talloc_realloc(r->facts, list->items, struct expr *, room);
        if (!more) {
            r->failed = true;
            return;
        }
        list->items = more;
    }
    list->items[list->n++] = expr;
}

static bool one_of(const char *kind, const char *const *kinds)
{
    for (; *kinds; kinds++)
        if (strcmp(kind, *kinds) == 0)
            return true;
    return false;
}

/* Gather the expressions in a piece of tree; what only holds others together is looked through. */
static void collect(struct reader *r, json_t *piece, struct list *list)
{
    static const char *const no_expressions[] = {"String", "Integer", "Float",    "Boolean", "BitString",
                                                 "A_Star", "Alias",   "TypeName", "SortBy",  NULL};
    static const char *const holders[] = {"List",         "CaseWhen",      "A_Indices",
                                          "NamedArgExpr", "ResTarget",     "JsonValueExpr",
                                          "JsonKeyValue", "CollateClause", NULL};
    size_t i;
    json_t *value, *inside;
    const char *key;
    if (json_is_array(piece)) {
        json_array_foreach(piece, i, value) collect(r, value, list);
        return;
    }
    if (!json_is_object(piece))
        return;
    const char *kind = tree_kind(piece, &inside);
    bool node = json_object_size(piece) == 1 && json_is_object(inside) && isupper((unsigned char)*kind);
    if (node && one_of(kind, no_expressions))
        return;
    if (node && !one_of(kind, holders)) {
        list_add(r, list, expr_read(r, piece));
        return;
    }
    if (!node)
        inside = piece;
    json_object_foreach(inside, key, value) if (strcmp(key, "typeName") != 0) collect(r, value, list);
}

static void take_args(struct reader *r, struct expr *expr, json_t *piece)
{
    struct list list = {expr->args, expr->n_args};
    collect(r, piece, &list);
    expr->args = list.items;
    expr->n_args = list.n;
}

/* Upper-case words behind a prefix: SVFOP_CURRENT_TIMESTAMP_N -> CURRENT_TIMESTAMP. */
static const char *enum_words(struct reader *r, const char *value, const char *prefix, const char *suffix)
{
    size_t from = strlen(prefix), length = value ? strlen(value) : 0, tail = strlen(suffix);
    if (length <= from)
        return NULL;
    if (length > tail && strcmp(value + length - tail, suffix) == 0)
        length -= tail;
    return reader_slice(r, value + from, length - from);
}

/* A number as the author wrote it: older libpg_query leaves out what is not above zero. */
static const char *written_number(struct reader *r, int location)
{
    const struct tokens *tokens = &r->source->tokens;
    size_t i = tokens_at(tokens, location);
    if (location < 0 || i >= tokens->n || tokens->items[i].start != location)
        return reader_copy(r, "0");
    bool minus = r->source->text[location] == '-';
    if (minus && i + 1 < tokens->n)
        i++;
    const struct token *token = &tokens->items[i];
    char *digits = reader_slice(r, r->source->text + token->start, (size_t)(token->end - token->start));
    return minus && digits ? talloc_asprintf(r->facts, "-%s", digits) : digits;
}

static void constant_read(struct reader *r, json_t *in, struct expr *expr)
{
    static const struct {
        const char *key, *inner;
        enum constant_kind kind;
    } sorts[] = {{"sval", "sval", CONSTANT_STRING},
                 {"fval", "fval", CONSTANT_NUMERIC},
                 {"bsval", "bsval", CONSTANT_BITS}};
    expr->kind = EXPR_CONSTANT;
    for (size_t i = 0; i < sizeof sorts / sizeof *sorts; i++) {
        json_t *value = tree_child(in, sorts[i].key);
        if (!value)
            continue;
        expr->constant = sorts[i].kind;
        expr->text = reader_copy(r, tree_text(value, sorts[i].inner));
        return;
    }
    json_t *value;
    if ((value = tree_child(in, "boolval")) != NULL) {
        expr->constant = CONSTANT_BOOLEAN;
        expr->text = reader_copy(r, tree_true(value, "boolval") ? "true" : "false");
    } else if ((value = tree_child(in, "ival")) != NULL) {
        expr->constant = CONSTANT_INTEGER;
        expr->text = json_object_get(value, "ival")
                         ? talloc_asprintf(r->facts, "%d", tree_number(value, "ival", 0))
                         : written_number(r, tree_number(in, "location", -1));
    } else {
        expr->kind = EXPR_NULL;
    }
}

static void operator_read(struct reader *r, json_t *in, struct expr *expr)
{
    static const char *const plain[] = {
        "AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL", "AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR", NULL};
    const char *kind = tree_text(in, "kind");
    if (kind && one_of(kind, plain)) {
        expr->kind = EXPR_OPERATOR;
        expr->name = name_of_list(r, tree_list(in, "name"));
        expr->any = strcmp(kind, "AEXPR_OP_ANY") == 0 || strcmp(kind, "AEXPR_OP_ALL") == 0;
    } else {
        expr->name.name = enum_words(r, kind, "AEXPR_", "");
    }
    take_args(r, expr, json_object_get(in, "lexpr"));
    take_args(r, expr, json_object_get(in, "rexpr"));
}

static void call_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_FUNCTION;
    expr->name = name_of_list(r, tree_list(in, "funcname"));
    expr->variadic = tree_true(in, "func_variadic");
    expr->distinct = tree_true(in, "agg_distinct");
    expr->star = tree_true(in, "agg_star");
    expr->window = json_object_get(in, "over") != NULL;
    json_t *args = tree_list(in, "args"), *inside;
    for (size_t i = 0; i < json_array_size(args); i++)
        if (strcmp(tree_kind(json_array_get(args, i), &inside), "NamedArgExpr") == 0)
            expr->named = true;
    take_args(r, expr, args);
}

static void cast_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_CAST;
    expr->type = talloc(r->facts, struct type_name);
    if (!expr->type)
        r->failed = true;
    else
        *expr->type = type_read(r, tree_child(in, "typeName"));
    take_args(r, expr, json_object_get(in, "arg"));
}

static void column_ref_read(struct reader *r, json_t *in, struct expr *expr)
{
    json_t *fields = tree_list(in, "fields"), *inside;
    size_t n = json_array_size(fields);
    expr->kind = EXPR_COLUMN;
    if (n > 0 && strcmp(tree_kind(json_array_get(fields, n - 1), &inside), "A_Star") == 0)
        expr->star = true;
    expr->name = name_of_list(r, fields);
}

static void sql_value_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_SQL_VALUE;
    expr->name.name = enum_words(r, tree_text(in, "op"), "SVFOP_", "_N");
}

static void boolean_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_BOOLEAN;
    expr->name.name = enum_words(r, tree_text(in, "boolop"), "", "_EXPR");
    take_args(r, expr, tree_list(in, "args"));
}

static void null_test_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_NULL_TEST;
    expr->name.name = tree_is(in, "nulltesttype", "IS_NULL") ? "IS NULL" : "IS NOT NULL";
    take_args(r, expr, json_object_get(in, "arg"));
}

static void array_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_ARRAY;
    take_args(r, expr, tree_list(in, "elements"));
}

static void subquery_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_SUBQUERY;
    take_args(r, expr, json_object_get(in, "testexpr"));
}

static void parameter_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->kind = EXPR_PARAMETER;
    expr->text = talloc_asprintf(r->facts, "$%d", tree_number(in, "number", 0));
}

static void greatest_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->name.name = enum_words(r, tree_text(in, "op"), "IS_", "");
    take_args(r, expr, in);
}

static void other_read(struct reader *r, json_t *in, struct expr *expr)
{
    take_args(r, expr, in);
}

static void case_read(struct reader *r, json_t *in, struct expr *expr)
{
    expr->tested = json_object_get(in, "arg") != NULL;
    take_args(r, expr, in);
}

static const struct {
    const char *kind;
    void (*read)(struct reader *, json_t *inside, struct expr *);
    const char *name;
} readers[] = {{"A_Const", constant_read, NULL},       {"A_Expr", operator_read, NULL},
               {"FuncCall", call_read, NULL},          {"TypeCast", cast_read, NULL},
               {"ColumnRef", column_ref_read, NULL},   {"SQLValueFunction", sql_value_read, NULL},
               {"BoolExpr", boolean_read, NULL},       {"NullTest", null_test_read, NULL},
               {"A_ArrayExpr", array_read, NULL},      {"SubLink", subquery_read, NULL},
               {"ParamRef", parameter_read, NULL},     {"MinMaxExpr", greatest_read, NULL},
               {"CaseExpr", case_read, "CASE"},        {"CoalesceExpr", other_read, "COALESCE"},
               {"RowExpr", other_read, "ROW"},         {"CollateClause", other_read, "COLLATE"},
               {"SetToDefault", other_read, "DEFAULT"}};

/* The start of an expression is the first place in it: an operator's own place is that of its sign. */
static void first_place(struct expr *expr)
{
    for (size_t i = 0; i < expr->n_args; i++) {
        int place = expr->args[i]->place;
        if (place >= 0 && (expr->place < 0 || place < expr->place))
            expr->place = place;
    }
}

struct expr *expr_read(struct reader *r, json_t *node)
{
    json_t *inside;
    const char *kind = tree_kind(node, &inside);
    if (!node || !inside)
        return NULL;
    struct expr *expr = talloc_zero(r->facts, struct expr);
    if (!expr) {
        r->failed = true;
        return NULL;
    }
    expr->kind = EXPR_OTHER;
    expr->name.place = -1;
    expr->place = reader_place(r, tree_number(inside, "location", -1));
    size_t i = 0, n = sizeof readers / sizeof *readers;
    while (i < n && strcmp(readers[i].kind, kind) != 0)
        i++;
    if (i < n && readers[i].name)
        expr->name.name = readers[i].name;
    if (i < n)
        readers[i].read(r, inside, expr);
    else
        other_read(r, inside, expr);
    expr->name.place = expr->place;
    first_place(expr);
    return expr;
}

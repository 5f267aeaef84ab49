/*
 * What is known of an expression: its type, whether the planner folds it to a constant, how volatile it still
 * is then.
 *
 * `folds` off is the parser's view (old servers, and the body of an SQL function before it is inlined): only
 * literals are constants. On, it follows eval_const_expressions(): CASE, COALESCE, AND and OR lose what can't
 * be reached, strict functions of NULL become NULL however volatile they are. Where that hangs on a
 * constant's value, which nobody computes here, a volatile part makes the answer UNKNOWN.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "policy/catalog_inside.h"

enum { DEPTH_MAX = 500 };

/* ---- combining ---- */

static const int severity[] = {
    [CATALOG_IMMUTABLE] = 0, [CATALOG_STABLE] = 1, [CATALOG_UNKNOWN] = 2, [CATALOG_VOLATILE] = 3};

enum catalog_volatility catalog_worse(enum catalog_volatility a, enum catalog_volatility b)
{
    return severity[a] >= severity[b] ? a : b;
}

struct value value_worse(struct value a, struct value b)
{
    if (severity[b.volatility] > severity[a.volatility]) {
        a.volatility = b.volatility;
        a.culprit = b.culprit;
    }
    a.nonstrict = a.nonstrict || b.nonstrict;
    return a;
}

struct value value_unknown(const struct expr *culprit)
{
    return (struct value){
        .volatility = CATALOG_UNKNOWN, .fold = FOLD_UNKNOWN, .nonstrict = true, .culprit = culprit};
}

struct value value_either(struct value a, struct value b)
{
    struct value result = value_worse(a, b);
    bool alike = (a.volatility == CATALOG_VOLATILE) == (b.volatility == CATALOG_VOLATILE);
    if (!alike)
        result.volatility = CATALOG_UNKNOWN;
    if (a.type != b.type)
        result.type = 0;
    if (a.fold != b.fold)
        result.fold = fold_constant(a.fold) && fold_constant(b.fold) ? FOLD_CONSTANT : FOLD_UNKNOWN;
    result.row = a.row == b.row ? a.row : NULL;
    return result;
}

bool fold_constant(enum fold fold)
{
    return fold != FOLD_NOT && fold != FOLD_UNKNOWN;
}

/* ---- leaves ---- */

static struct value number_value(const char *text)
{
    char *end;
    errno = 0;
    (void)strtoll(text, &end, 10);
    uint32_t type = *end == '\0' && errno == 0                      ? TYPE_INT8
                    : text[strspn(text, "+-.0123456789eE")] == '\0' ? TYPE_NUMERIC
                                                                    : 0; /* 0x…, 1_000 */
    return (struct value){.type = type, .fold = FOLD_SOME};
}

static struct value constant_value(const struct expr *expr)
{
    bool is_true = expr->text != NULL && strcmp(expr->text, "true") == 0;
    switch (expr->constant) {
    case CONSTANT_INTEGER:
        return (struct value){.type = TYPE_INT4, .fold = FOLD_SOME};
    case CONSTANT_NUMERIC:
        return number_value(expr->text != NULL ? expr->text : "?");
    case CONSTANT_BOOLEAN:
        return (struct value){.type = TYPE_BOOL, .fold = is_true ? FOLD_TRUE : FOLD_FALSE};
    case CONSTANT_BITS:
        return (struct value){.type = TYPE_BIT, .fold = FOLD_SOME};
    case CONSTANT_STRING:
        break;
    }
    return (struct value){.type = TYPE_UNKNOWN, .fold = FOLD_SOME};
}

static struct value sql_value(const struct expr *expr)
{
    static const struct {
        const char *name;
        uint32_t type;
    } values[] = {{"CURRENT_DATE", TYPE_DATE},   {"CURRENT_TIMESTAMP", TYPE_TIMESTAMPTZ},
                  {"CURRENT_TIME", TYPE_TIMETZ}, {"LOCALTIMESTAMP", TYPE_TIMESTAMP},
                  {"LOCALTIME", TYPE_TIME},      {"CURRENT_USER", TYPE_NAME},
                  {"CURRENT_ROLE", TYPE_NAME},   {"USER", TYPE_NAME},
                  {"SESSION_USER", TYPE_NAME},   {"CURRENT_SCHEMA", TYPE_NAME},
                  {"CURRENT_CATALOG", TYPE_NAME}};
    struct value value = {.volatility = CATALOG_STABLE, .fold = FOLD_NOT};
    for (size_t i = 0; expr->name.name != NULL && i < sizeof values / sizeof *values; i++) {
        if (strcmp(values[i].name, expr->name.name) == 0)
            value.type = values[i].type;
    }
    return value;
}

/* An argument of the SQL function whose body this is. */
static struct value argument_value(const struct scope *scope, size_t index, const struct expr *expr)
{
    if (scope->body_of == NULL || index >= scope->body_of->n_args)
        return value_unknown(expr);
    scope->arguments[index].used++;
    return scope->arguments[index].value;
}

static struct value column_value(const struct scope *scope, const struct expr *expr)
{
    const struct catalog_function *function = scope->body_of;
    if (function != NULL && function->names != NULL && expr->name.name != NULL && !expr->star &&
        (expr->name.schema == NULL || strcmp(expr->name.schema, function->name) == 0)) {
        for (size_t i = 0; i < function->n_args; i++) {
            if (strcmp(function->names[i], expr->name.name) == 0)
                return argument_value(scope, i, expr);
        }
    }
    const struct catalog_column *column =
        function == NULL && scope->columns != NULL ? catalog_column(scope->columns, expr->name.name) : NULL;
    if (function != NULL || expr->star)
        return value_unknown(expr);
    return (struct value){.type = column != NULL ? column->type : 0, .fold = FOLD_NOT};
}

/* ---- the rest ---- */

static struct value cast_value(const struct scope *scope, const struct expr *expr, struct value *values)
{
    if (expr->type == NULL || expr->n_args != 1)
        return value_unknown(expr);
    uint32_t target = catalog_type_oid(scope->catalog, expr->type);
    return catalog_coerce(scope, values[0], target, COERCE_EXPLICIT, expr);
}

static struct value with_arguments(const struct scope *scope, const struct expr *expr, struct value *values)
{
    switch (expr->kind) {
    case EXPR_OPERATOR:
        return catalog_operate(scope, expr, &expr->name, expr->any, values, expr->n_args);
    case EXPR_CAST:
        return cast_value(scope, expr, values);
    case EXPR_ARRAY:
        return catalog_array(scope, expr, values);
    case EXPR_BOOLEAN:
        return catalog_boolean(scope, expr, values);
    case EXPR_NULL_TEST:
        return expr->n_args == 1 ? catalog_null_test(scope, expr, values) : value_unknown(expr);
    case EXPR_OTHER:
        return catalog_construct(scope, expr, values);
    default:
        return value_unknown(expr);
    }
}

struct value catalog_value(const struct scope *scope, const struct expr *expr, int depth)
{
    if (depth > DEPTH_MAX)
        return value_unknown(expr);
    switch (expr->kind) {
    case EXPR_NULL:
        return (struct value){.type = TYPE_UNKNOWN, .fold = FOLD_NULL};
    case EXPR_CONSTANT:
        return constant_value(expr);
    case EXPR_SQL_VALUE:
        return sql_value(expr);
    case EXPR_COLUMN:
        return column_value(scope, expr);
    case EXPR_PARAMETER: {
        long number = expr->text != NULL && expr->text[0] == '$' ? strtol(expr->text + 1, NULL, 10) : 0;
        return number > 0 ? argument_value(scope, (size_t)number - 1, expr) : value_unknown(expr);
    }
    case EXPR_FUNCTION:
        return catalog_call(scope, expr, depth);
    default:
        break;
    }
    struct value *values = talloc_array(scope->memory, struct value, expr->n_args + 1);
    if (values == NULL)
        return value_unknown(expr);
    for (size_t i = 0; i < expr->n_args; i++)
        values[i] = catalog_value(scope, expr->args[i], depth + 1);
    struct value result = with_arguments(scope, expr, values);
    talloc_free(values);
    return result;
}

/* ---- the door ---- */

/* Since the minor releases of November 2023 DEFAULT is planned before its volatility is asked. */
static bool asks_planned(int version)
{
    static const int first[] = {[13] = 130013, [14] = 140010, [15] = 150005, [16] = 160001};
    int major = version / 10000;
    if (major < 13 || major > 16)
        return major > 16;
    return version >= first[major];
}

struct catalog_answer catalog_expression(const struct catalog *catalog, const struct expr *expr,
                                         const struct type_name *target,
                                         const struct catalog_relation *columns_of)
{
    void *memory = talloc_new(NULL);
    struct scope scope = {.catalog = catalog,
                          .columns = columns_of,
                          .folds = asks_planned(catalog->server_version),
                          .memory = memory};
    struct value value = memory != NULL ? catalog_value(&scope, expr, 0) : value_unknown(expr);
    struct catalog_answer answer = {.type = value.type};
    if (target != NULL)
        value = catalog_coerce(&scope, value, catalog_type_oid(catalog, target), COERCE_ASSIGNMENT, expr);
    talloc_free(memory);
    answer.volatility = value.volatility;
    answer.is_null = value.fold == FOLD_NULL;
    if (value.volatility == CATALOG_VOLATILE || value.volatility == CATALOG_UNKNOWN)
        answer.culprit = value.culprit;
    return answer;
}

/*
 * Volatility as contain_volatile_functions() would see it, from the text alone.
 *
 * The server folds constants before it looks (PostgreSQL 17 and the minor releases of late 2023), so a
 * volatile call may vanish: inside CASE, COALESCE, AND and OR, or beside a NULL argument of a strict
 * function. There the answer is "unknown", never "yes" and never "no".
 */
#include "policy/effects.h"

#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "policy/builtins.h"

/* Deeper than any default that people write; below it the answer is "unknown". */
#define DEPTH_MAX 500

int context_major(const struct policy_context *context)
{
    int version = context->names != NULL ? context->names->server_version : context->server_version;
    return version / 10000;
}

static bool in_pg_catalog(const char *schema)
{
    return schema == NULL || strcmp(schema, "pg_catalog") == 0;
}

/* ---- types ---- */

enum answer type_constrained(const struct type_name *type, const struct look *look)
{
    if (type->array > 0) /* an array of a domain is no domain */
        return ANSWER_NO;
    if (type->percent_type)
        return ANSWER_UNKNOWN;
    const struct column_definition *made = domain_in_front(look, type);
    if (made != NULL && (column_constraint(made, CONSTRAINT_CHECK) != NULL ||
                         column_constraint(made, CONSTRAINT_NOT_NULL) != NULL))
        return ANSWER_YES;
    if (made != NULL && made->type.name != NULL && strcmp(made->type.name, type->name) != 0)
        return type_constrained(&made->type, look);
    if (look->names != NULL) {
        const struct catalog_type *known = catalog_type(look->names, type);
        if (known != NULL)
            return answer_of(catalog_domain(look->names, known).constrained);
    }
    if (type->schema == NULL && serial_type(type->name))
        return ANSWER_NO;
    if (in_pg_catalog(type->schema) && builtin_type(type->name, context_major(look->context)))
        return ANSWER_NO;
    return ANSWER_UNKNOWN;
}

/* ---- volatility ---- */

static struct volatility walk(const struct expr *, const struct look *, int depth);

static struct volatility stronger(struct volatility a, struct volatility b)
{
    if (a.answer == ANSWER_YES || b.answer == ANSWER_NO)
        return a;
    return b.answer == ANSWER_YES || a.answer == ANSWER_NO ? b : a;
}

static struct volatility walk_arguments(const struct expr *expr, const struct look *look, int depth)
{
    struct volatility all = {ANSWER_NO, NULL};
    for (size_t i = 0; i < expr->n_args; i++)
        all = stronger(all, walk(expr->args[i], look, depth + 1));
    return all;
}

static bool has_null_argument(const struct expr *expr, const struct look *look)
{
    for (size_t i = 0; i < expr->n_args; i++) {
        if (expression_is_null(expr->args[i], look))
            return true;
    }
    return false;
}

static struct volatility weakened(struct volatility v)
{
    if (v.answer == ANSWER_YES)
        v.answer = ANSWER_UNKNOWN;
    return v;
}

static bool known_timestamp(const struct expr *expr)
{
    static const char *const names[] = {"now",
                                        "statement_timestamp",
                                        "transaction_timestamp",
                                        "clock_timestamp",
                                        "current_timestamp",
                                        "localtimestamp",
                                        "timestamptz",
                                        "timestamp"};
    const char *name = expr->name.name;
    if (expr->kind == EXPR_CAST && expr->type != NULL)
        name = expr->type->name;
    else if (expr->kind != EXPR_FUNCTION && expr->kind != EXPR_SQL_VALUE)
        return false;
    for (size_t i = 0; name != NULL && i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* The one name in pg_catalog whose overloads differ: timezone(text, timetz) was volatile before 15. */
static enum answer mixed_volatility(const struct expr *call)
{
    bool timestamp =
        strcmp(call->name.name, "timezone") == 0 && call->n_args == 2 && known_timestamp(call->args[1]);
    return timestamp ? ANSWER_NO : ANSWER_UNKNOWN;
}

static enum answer function_volatility(const struct expr *call, const struct look *look)
{
    if (call->name.name == NULL)
        return ANSWER_UNKNOWN;
    if (in_pg_catalog(call->name.schema)) {
        switch (builtin_function(call->name.name, call->n_args, context_major(look->context))) {
        case BUILTIN_IMMUTABLE:
        case BUILTIN_STABLE:
            return ANSWER_NO;
        case BUILTIN_VOLATILE:
            return ANSWER_YES;
        case BUILTIN_MIXED:
            return mixed_volatility(call);
        case BUILTIN_MISSING:
            break;
        }
    }
    return contrib_volatile_function(call->name.name) ? ANSWER_YES : ANSWER_UNKNOWN;
}

static struct volatility call_volatility(const struct expr *expr, const struct look *look, int depth)
{
    struct volatility own = {ANSWER_NO, NULL};
    if (expr->kind == EXPR_FUNCTION)
        own.answer = function_volatility(expr, look);
    else if (expr->name.name == NULL || !in_pg_catalog(expr->name.schema) ||
             !builtin_operator(expr->name.name))
        own.answer = ANSWER_UNKNOWN;
    if (own.answer != ANSWER_NO)
        own.culprit = expr;
    struct volatility all = stronger(own, walk_arguments(expr, look, depth));
    return has_null_argument(expr, look) ? weakened(all) : all;
}

static struct volatility walk(const struct expr *expr, const struct look *look, int depth)
{
    if (depth > DEPTH_MAX)
        return (struct volatility){ANSWER_UNKNOWN, expr};
    switch (expr->kind) {
    case EXPR_NULL:
    case EXPR_CONSTANT:
    case EXPR_SQL_VALUE:
    case EXPR_COLUMN:
        return (struct volatility){ANSWER_NO, NULL};
    case EXPR_FUNCTION:
    case EXPR_OPERATOR:
        return call_volatility(expr, look, depth);
    case EXPR_CAST: {
        struct volatility inner = walk_arguments(expr, look, depth);
        if (expr->type == NULL || (expr->type->array == 0 && type_constrained(expr->type, look) != ANSWER_NO))
            return stronger(inner, (struct volatility){ANSWER_UNKNOWN, expr});
        return inner;
    }
    case EXPR_ARRAY:
    case EXPR_NULL_TEST:
        return walk_arguments(expr, look, depth);
    case EXPR_BOOLEAN:
        return weakened(walk_arguments(expr, look, depth));
    case EXPR_OTHER: /* all that is inside is in args; the server may fold a branch away */
        if (expr->n_args == 0)
            return (struct volatility){ANSWER_UNKNOWN, expr};
        return weakened(walk_arguments(expr, look, depth));
    case EXPR_SUBQUERY:
    case EXPR_PARAMETER:
        break;
    }
    return (struct volatility){ANSWER_UNKNOWN, expr};
}

struct volatility expression_volatility(const struct expr *expr, const struct look *look,
                                        const struct type_name *target)
{
    if (look->names == NULL)
        return walk(expr, look, 0);
    struct catalog_answer answer = catalog_expression(look->names, expr, target, NULL);
    switch (answer.volatility) {
    case CATALOG_IMMUTABLE:
    case CATALOG_STABLE:
        return (struct volatility){ANSWER_NO, NULL};
    case CATALOG_VOLATILE:
        return (struct volatility){ANSWER_YES, answer.culprit};
    case CATALOG_UNKNOWN:
        break;
    }
    return (struct volatility){ANSWER_UNKNOWN, answer.culprit};
}

bool expression_is_null(const struct expr *expr, const struct look *look)
{
    if (look->names != NULL)
        return catalog_expression(look->names, expr, NULL, NULL).is_null;
    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        if (expr->kind == EXPR_NULL)
            return true;
        if (expr->kind != EXPR_CAST || expr->n_args != 1 || expr->type == NULL)
            return false;
        if (type_constrained(expr->type, look) != ANSWER_NO)
            return false;
        expr = expr->args[0];
    }
    return false;
}

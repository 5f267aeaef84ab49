/*
 * What a condition says of a row whose column is NULL: while a column is being filled, its CHECK is in force
 * for every row that the application writes. It mustn't be FALSE then. Certain, or UNKNOWN.
 */
#include <string.h>

#include "policy/plan_inside.h"

enum { DEPTH_MAX = 100 };

struct nulls {
    const struct catalog *names;
    const char *column;
};

static bool is_null(const struct nulls *, const struct expr *, int depth);

static bool any_null(const struct nulls *nulls, const struct expr *expr, int depth)
{
    for (size_t i = 0; i < expr->n_args; i++) {
        if (is_null(nulls, expr->args[i], depth + 1))
            return true;
    }
    return false;
}

/* Everything that the name may mean gives NULL for NULL. */
static bool strict_function(const struct nulls *nulls, const char *name)
{
    size_t found = 0;
    for (size_t i = 0; name != NULL && i < nulls->names->n_functions; i++) {
        const struct catalog_function *function = &nulls->names->functions[i];
        if (strcmp(function->name, name) != 0)
            continue;
        if (!function->strict || function->kind != 'f' || function->returns_set || function->variadic)
            return false;
        found++;
    }
    return found > 0;
}

static bool strict_operator(const struct nulls *nulls, const char *name)
{
    size_t found = 0;
    for (size_t i = 0; name != NULL && i < nulls->names->n_operators; i++) {
        const struct catalog_operator *operator= & nulls->names->operators[i];
        if (strcmp(operator->name, name) != 0)
            continue;
        if (!operator->strict)
            return false;
        found++;
    }
    return found > 0;
}

/* op ANY (ARRAY[…]): of an empty array it would be FALSE. */
static bool operator_null(const struct nulls *nulls, const struct expr *expr, int depth)
{
    if (expr->any)
        return expr->n_args == 2 && expr->args[1]->kind == EXPR_ARRAY && expr->args[1]->n_args > 0 &&
               strict_operator(nulls, expr->name.name) && is_null(nulls, expr->args[0], depth + 1);
    return strict_operator(nulls, expr->name.name) && any_null(nulls, expr, depth);
}

/* x IN (…), x BETWEEN a AND b: comparisons of x, which are NULL where x is, and so are AND and OR of them. */
static bool construct_null(const struct nulls *nulls, const struct expr *expr, int depth)
{
    static const char *const names[] = {"IN", "BETWEEN", "NOT_BETWEEN", "BETWEEN_SYM", "NOT_BETWEEN_SYM"};
    for (size_t i = 0; expr->name.name != NULL && i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], expr->name.name) == 0)
            return expr->n_args > 1 && is_null(nulls, expr->args[0], depth + 1);
    }
    return false;
}

static bool is_null(const struct nulls *nulls, const struct expr *expr, int depth)
{
    if (expr == NULL || depth > DEPTH_MAX)
        return false;
    switch (expr->kind) {
    case EXPR_NULL:
        return true;
    case EXPR_COLUMN:
        return expr->name.name != NULL && strcmp(expr->name.name, nulls->column) == 0;
    case EXPR_CAST:
        return expr->n_args == 1 && is_null(nulls, expr->args[0], depth + 1);
    case EXPR_FUNCTION:
        return !expr->star && strict_function(nulls, expr->name.name) && any_null(nulls, expr, depth);
    case EXPR_OPERATOR:
        return operator_null(nulls, expr, depth);
    case EXPR_OTHER:
        return construct_null(nulls, expr, depth);
    default:
        return false;
    }
}

/* Never `value`: NULL, or the other one. */
static bool never(const struct nulls *nulls, const struct expr *expr, bool value, int depth)
{
    if (expr == NULL || depth > DEPTH_MAX)
        return false;
    if (is_null(nulls, expr, depth))
        return true;
    const char *name = expr->name.name == NULL ? "" : expr->name.name;
    if (expr->kind == EXPR_CONSTANT && expr->constant == CONSTANT_BOOLEAN && expr->text != NULL)
        return (expr->text[0] == 't') != value;
    if (expr->kind == EXPR_NULL_TEST && expr->n_args == 1)
        return is_null(nulls, expr->args[0], depth + 1) && (strcmp(name, "IS NULL") == 0) != value;
    if (expr->kind != EXPR_BOOLEAN || expr->n_args == 0)
        return false;
    if (strcmp(name, "NOT") == 0)
        return never(nulls, expr->args[0], !value, depth + 1);
    /* AND is never FALSE where none of its parts is, and never TRUE where one of them isn't; OR likewise */
    bool all = (strcmp(name, "AND") == 0) == !value;
    for (size_t i = 0; i < expr->n_args; i++) {
        if (never(nulls, expr->args[i], value, depth + 1) != all)
            return !all;
    }
    return all;
}

enum answer plan_false_for_null(const struct look *look, const struct expr *expr, const char *column)
{
    if (look->names == NULL)
        return ANSWER_UNKNOWN;
    const struct nulls nulls = {look->names, column};
    return never(&nulls, expr, false, 0) ? ANSWER_NO : ANSWER_UNKNOWN;
}

/* Or speaks of the whole row, by the table's name. */
static bool speaks_of(const struct expr *expr, const char *column, const char *table, int depth)
{
    if (expr == NULL || depth > DEPTH_MAX)
        return expr != NULL;
    if (expr->kind == EXPR_COLUMN &&
        (expr->star || expr->name.name == NULL || strcmp(expr->name.name, column) == 0 ||
         strcmp(expr->name.name, table) == 0))
        return true;
    for (size_t i = 0; i < expr->n_args; i++) {
        if (speaks_of(expr->args[i], column, table, depth + 1))
            return true;
    }
    return false;
}

void plan_check_in_force(struct planner *planner, const struct constraint *check)
{
    for (size_t i = 0; i < planner->facts->n_alters; i++) {
        const struct alter *alter = &planner->facts->alters[i];
        bool filled = alter->kind == ALTER_ADD_COLUMN && alter->column != NULL &&
                      planner->parts->items[i].rewrite != ANSWER_NO;
        if (filled && speaks_of(check->expr, alter->column->name, planner->relation->name, 0) &&
            plan_false_for_null(planner->look, check->expr, alter->column->name) != ANSWER_NO)
            plan_refuse(
                planner,
                "while %s is being filled, a CHECK would refuse every UPDATE of a row that has no value yet",
                plan_quoted(planner, alter->column->name));
    }
}

/*
 * Constructs of SQL that are neither functions nor operators by name: AND, CASE, COALESCE, IN, ARRAY[…] and
 * the like.
 *
 * The planner drops what it can show to be out of reach. Where that hangs on the value of a constant, which
 * nobody computes here, whatever is volatile in it makes the answer UNKNOWN.
 */
#include <string.h>
#include <talloc.h>

#include "policy/catalog_inside.h"

/* The planner may drop this: it is volatile perhaps. */
static struct value doubtful(struct value value)
{
    if (value.volatility == CATALOG_VOLATILE)
        value.volatility = CATALOG_UNKNOWN;
    return value;
}

/* Fold of something made of constants alone, that is no function and never NULL. */
static enum fold made_of(const struct value *values, size_t n)
{
    enum fold fold = FOLD_SOME;
    for (size_t i = 0; i < n; i++) {
        if (values[i].fold == FOLD_NOT)
            return FOLD_NOT;
        if (values[i].fold == FOLD_UNKNOWN)
            fold = FOLD_UNKNOWN;
    }
    return fold;
}

static struct value all_of(const struct value *values, size_t n, uint32_t type)
{
    struct value result = {.type = type, .fold = made_of(values, n), .nonstrict = true};
    for (size_t i = 0; i < n; i++)
        result = value_worse(result, values[i]);
    return result;
}

/* ---- AND, OR, NOT, IS NULL ---- */

/* `ends`: the constant that decides (true for OR). */
static struct value junction(const struct scope *scope, const struct value *values, size_t n, enum fold ends)
{
    enum fold neutral = ends == FOLD_TRUE ? FOLD_FALSE : FOLD_TRUE;
    struct value result = all_of(values, n, TYPE_BOOL);
    bool doubt = false, constants = true, null = false;
    if (!scope->folds) {
        result.fold = FOLD_NOT;
        return result;
    }
    for (size_t i = 0; i < n; i++) {
        if (values[i].fold == ends)
            return (struct value){.type = TYPE_BOOL, .fold = ends};
        doubt =
            doubt || (values[i].fold != FOLD_NOT && values[i].fold != neutral && values[i].fold != FOLD_NULL);
        constants = constants && fold_constant(values[i].fold);
        null = null || values[i].fold == FOLD_NULL;
    }
    result.fold = constants ? FOLD_CONSTANT : doubt ? FOLD_UNKNOWN : FOLD_NOT;
    if (constants && !doubt)
        result.fold = null ? FOLD_NULL : neutral;
    return doubt ? doubtful(result) : result;
}

struct value catalog_boolean(const struct scope *scope, const struct expr *expr, const struct value *values)
{
    const char *name = expr->name.name;
    if (name != NULL && strcmp(name, "NOT") == 0 && expr->n_args == 1) {
        struct value result = values[0];
        result.type = TYPE_BOOL;
        if (result.fold == FOLD_TRUE || result.fold == FOLD_FALSE)
            result.fold = result.fold == FOLD_TRUE ? FOLD_FALSE : FOLD_TRUE;
        if (!scope->folds)
            result.fold = FOLD_NOT;
        return result;
    }
    bool is_or = name != NULL && strcmp(name, "OR") == 0;
    return junction(scope, values, expr->n_args, is_or ? FOLD_TRUE : FOLD_FALSE);
}

struct value catalog_null_test(const struct scope *scope, const struct expr *expr, const struct value *values)
{
    struct value result = values[0];
    bool positive = expr->name.name != NULL && strcmp(expr->name.name, "IS NULL") == 0;
    result.type = TYPE_BOOL;
    result.nonstrict = true;
    if (!scope->folds || !fold_constant(result.fold))
        result.fold = scope->folds && result.fold == FOLD_UNKNOWN ? FOLD_UNKNOWN : FOLD_NOT;
    else if (result.fold == FOLD_CONSTANT)
        result.fold = FOLD_SOME;
    else
        result.fold = (result.fold == FOLD_NULL) == positive ? FOLD_TRUE : FOLD_FALSE;
    if (result.row != NULL || result.type == 0)
        return value_worse(value_unknown(expr), result);
    return result;
}

/* ---- constructs whose parts must come to one type ---- */

static uint32_t to_common(const struct scope *scope, const struct expr *expr, struct value *values, size_t n)
{
    uint32_t common = catalog_common_type(scope->catalog, values, n);
    for (size_t i = 0; i < n; i++) {
        if (common == 0)
            values[i].type = 0;
        else
            values[i] = catalog_coerce(scope, values[i], common, COERCE_IMPLICIT, expr);
    }
    return common;
}

static struct value coalesce_value(const struct scope *scope, const struct expr *expr, struct value *values)
{
    size_t n = expr->n_args, kept = 0;
    uint32_t type = to_common(scope, expr, values, n);
    struct value result = {.type = type, .fold = FOLD_NOT, .nonstrict = true};
    bool doubt = false;
    for (size_t i = 0; i < n; i++) {
        bool constant = scope->folds && fold_constant(values[i].fold);
        if (constant && values[i].fold == FOLD_NULL)
            continue;
        struct value value = doubt ? doubtful(values[i]) : values[i];
        result = kept++ == 0 ? value : value_worse(result, value);
        result.type = type;
        if (constant && values[i].fold != FOLD_CONSTANT) { /* never NULL: the rest isn't looked at */
            result.fold = kept == 1 ? values[i].fold : doubt ? FOLD_UNKNOWN : FOLD_NOT;
            break;
        }
        doubt = doubt || constant || (scope->folds && values[i].fold == FOLD_UNKNOWN);
        result.fold = doubt ? FOLD_UNKNOWN : FOLD_NOT;
    }
    if (kept == 0)
        result.fold = scope->folds ? FOLD_NULL : FOLD_NOT;
    result.nonstrict = true;
    return result;
}

/* args: [tested] (condition result)… [otherwise] */
struct branches {
    size_t first, n; /* of conditions; each has its result behind it */
    bool otherwise;
};

static struct branches branches_of(const struct expr *expr)
{
    struct branches branches = {.first = expr->tested ? 1 : 0};
    size_t rest = expr->n_args - branches.first;
    branches.n = rest / 2;
    branches.otherwise = rest % 2 == 1;
    return branches;
}

static struct value condition(const struct scope *scope, const struct expr *expr, const struct value *values,
                              size_t index)
{
    static const struct name equals = {.name = "=", .place = -1};
    if (!expr->tested)
        return values[index];
    struct value pair[2] = {values[0], values[index]};
    return catalog_operate(scope, expr, &equals, false, pair, 2);
}

/* The results one behind the other, brought to their common type. */
static uint32_t case_results(const struct scope *scope, const struct expr *expr,
                             const struct branches *branches, const struct value *values,
                             struct value *results)
{
    for (size_t i = 0; i < branches->n; i++)
        results[i] = values[branches->first + 2 * i + 1];
    results[branches->n] = branches->otherwise ? values[expr->n_args - 1]
                                               : (struct value){.type = TYPE_UNKNOWN, .fold = FOLD_NULL};
    return to_common(scope, expr, results, branches->n + 1);
}

static struct value case_value(const struct scope *scope, const struct expr *expr, const struct value *values)
{
    struct branches branches = branches_of(expr);
    if (expr->n_args < branches.first + 2)
        return value_unknown(expr);
    struct value *results = talloc_array(scope->memory, struct value, branches.n + 1);
    if (results == NULL)
        return value_unknown(expr);
    uint32_t type = case_results(scope, expr, &branches, values, results);
    struct value all = {.type = type, .fold = FOLD_NOT, .nonstrict = true};
    size_t kept = 0, i = 0;
    bool doubt = false, ended = false;
    for (; i < branches.n && !ended; i++) {
        struct value test = condition(scope, expr, values, branches.first + 2 * i);
        enum fold fold = scope->folds ? test.fold : FOLD_NOT;
        if (fold == FOLD_FALSE || fold == FOLD_NULL)
            continue;
        ended = fold == FOLD_TRUE;
        if (ended)
            break;
        doubt = doubt || fold != FOLD_NOT;
        struct value both = value_worse(test, results[i]);
        all = value_worse(all, doubt ? doubtful(both) : both);
        kept++;
    }
    struct value last = results[ended ? i : branches.n];
    struct value result = kept == 0 ? last : value_worse(all, doubt ? doubtful(last) : last);
    result.type = type;
    result.nonstrict = true;
    if (kept > 0)
        result.fold = doubt ? FOLD_UNKNOWN : FOLD_NOT;
    talloc_free(results);
    return result;
}

/* ---- constructs that stand for operators ---- */

static struct value operate(const struct scope *scope, const struct expr *expr, const char *sign,
                            struct value a, struct value b)
{
    struct name name = {.name = sign, .place = -1};
    struct value pair[2] = {a, b};
    return catalog_operate(scope, expr, &name, false, pair, 2);
}

/* IN and NOT IN aren't told apart: where = and <> agree that doesn't matter. */
static struct value in_value(const struct scope *scope, const struct expr *expr, struct value *values)
{
    struct value result = {.type = TYPE_BOOL, .fold = FOLD_NOT};
    for (size_t i = 1; i < expr->n_args; i++) {
        struct value one = value_either(operate(scope, expr, "=", values[0], values[i]),
                                        operate(scope, expr, "<>", values[0], values[i]));
        result = value_worse(result, one);
    }
    bool constants = made_of(values, expr->n_args) != FOLD_NOT;
    result.fold = constants && scope->folds ? FOLD_UNKNOWN : FOLD_NOT;
    return constants ? doubtful(result) : result;
}

static struct value between_value(const struct scope *scope, const struct expr *expr, struct value *values)
{
    const char *name = expr->name.name != NULL ? expr->name.name : "";
    bool not_between = strncmp(name, "NOT", 3) == 0, symmetric = strstr(name, "SYM") != NULL;
    struct value pair[2] = {operate(scope, expr, not_between ? "<" : ">=", values[0], values[1]),
                            operate(scope, expr, not_between ? ">" : "<=", values[0], values[2])};
    struct value result = junction(scope, pair, 2, not_between ? FOLD_TRUE : FOLD_FALSE);
    return symmetric ? doubtful(result) : result;
}

/* NULLIF and IS [NOT] DISTINCT FROM aren't strict: no argument vanishes but where all are constants. */
static struct value equality_value(const struct scope *scope, const struct expr *expr, struct value *values)
{
    bool nullif = expr->name.name != NULL && strcmp(expr->name.name, "NULLIF") == 0;
    struct value own = operate(scope, expr, "=", values[0], values[1]);
    struct value result = value_worse(value_worse(own, values[0]), values[1]);
    result.type = nullif ? values[0].type == TYPE_UNKNOWN ? TYPE_TEXT : values[0].type : TYPE_BOOL;
    result.fold = made_of(values, 2) == FOLD_NOT || !scope->folds ? FOLD_NOT : FOLD_CONSTANT;
    result.nonstrict = true;
    return result;
}

struct value catalog_array(const struct scope *scope, const struct expr *expr, struct value *values)
{
    size_t n = expr->n_args;
    if (n == 0)
        return (struct value){.type = TYPE_UNKNOWN, .fold = FOLD_SOME}; /* ARRAY[]: nothing without a cast */
    uint32_t element = to_common(scope, expr, values, n);
    bool nested = expr->args[0]->kind == EXPR_ARRAY;
    struct value result = all_of(values, n, nested ? element : catalog_array_of(scope->catalog, element));
    if (!scope->folds)
        result.fold = FOLD_NOT;
    return result;
}

struct value catalog_construct(const struct scope *scope, const struct expr *expr, struct value *values)
{
    const char *name = expr->name.name != NULL ? expr->name.name : "";
    size_t n = expr->n_args;
    if (strcmp(name, "CASE") == 0)
        return case_value(scope, expr, values);
    if (strcmp(name, "COALESCE") == 0 && n > 0)
        return coalesce_value(scope, expr, values);
    if (strcmp(name, "GREATEST") == 0 || strcmp(name, "LEAST") == 0) {
        uint32_t type = to_common(scope, expr, values, n);
        struct value result = all_of(values, n, type);
        result.fold = !scope->folds || result.fold == FOLD_NOT ? FOLD_NOT : FOLD_CONSTANT;
        return result;
    }
    if (strcmp(name, "IN") == 0 && n >= 2 && values[0].type != TYPE_RECORD)
        return in_value(scope, expr, values);
    if (strstr(name, "BETWEEN") != NULL && n == 3)
        return between_value(scope, expr, values);
    if ((strcmp(name, "NULLIF") == 0 || strcmp(name, "DISTINCT") == 0 || strcmp(name, "NOT_DISTINCT") == 0) &&
        n == 2)
        return equality_value(scope, expr, values);
    if (strcmp(name, "ROW") == 0) {
        struct value result = all_of(values, n, TYPE_RECORD);
        result.fold = FOLD_NOT;
        result.row = expr;
        return result;
    }
    if (strcmp(name, "COLLATE") == 0 && n == 1) {
        if (values[0].type == TYPE_UNKNOWN)
            values[0].type = TYPE_TEXT;
        return values[0];
    }
    struct value result = value_unknown(expr);
    for (size_t i = 0; i < n; i++)
        result = value_worse(result, doubtful(values[i]));
    return result;
}

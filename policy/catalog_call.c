/*
 * Calls of functions and uses of operators: which one is meant, and what is left of it when constants are
 * folded. Where several may be meant, the answer is what they agree on.
 */
#include <string.h>
#include <talloc.h>

#include "policy/catalog_inside.h"

/* ---- one function, once it is known ---- */

/* Immutable functions of the system that make NULL of what isn't NULL are few, and of these kinds. */
static bool never_null(const struct catalog *catalog, const struct catalog_function *function,
                       const struct catalog_operator *op, const struct value *args, size_t n)
{
    static const char scalars[] = "NSDTB";
    uint32_t result = function != NULL ? function->result : op->result;
    if ((function != NULL ? function->oid : op->oid) >= FIRST_OF_USERS ||
        strchr(scalars, catalog_category(catalog, result)) == NULL)
        return false;
    if (function != NULL &&
        (strncmp(function->name, "substring", 9) == 0 || strncmp(function->name, "regexp", 6) == 0))
        return false;
    for (size_t i = 0; i < n; i++) {
        char category = args[i].type == TYPE_UNKNOWN ? 'S' : catalog_category(catalog, args[i].type);
        if (args[i].fold == FOLD_CONSTANT || strchr(scalars, category) == NULL)
            return false;
    }
    return true;
}

struct properties {
    enum catalog_volatility volatility;
    bool strict;
    uint32_t type;
    bool not_null;
};

/* The arguments of a function that isn't inlined: value_worse of all, and what folding does to the whole. */
static struct value applied(const struct scope *scope, const struct properties *p, const struct value *args,
                            size_t n, const struct expr *culprit)
{
    struct value result = {
        .type = p->type, .volatility = p->volatility, .fold = FOLD_NOT, .nonstrict = !p->strict};
    bool constants = true, maybe_null = false, unsure = false;
    result.culprit = p->volatility == CATALOG_VOLATILE || p->volatility == CATALOG_UNKNOWN ? culprit : NULL;
    for (size_t i = 0; i < n; i++) {
        if (scope->folds && p->strict && args[i].fold == FOLD_NULL)
            return (struct value){.type = p->type, .fold = FOLD_NULL};
        result = value_worse(result, args[i]);
        constants = constants && fold_constant(args[i].fold);
        maybe_null = maybe_null || args[i].fold == FOLD_CONSTANT || args[i].fold == FOLD_UNKNOWN;
        unsure = unsure || args[i].fold == FOLD_UNKNOWN;
    }
    if (!scope->folds)
        return result;
    if (p->strict && maybe_null && result.volatility == CATALOG_VOLATILE)
        result.volatility = CATALOG_UNKNOWN;
    if (constants && p->volatility == CATALOG_IMMUTABLE)
        result.fold = p->type == TYPE_BOOL || !p->not_null ? FOLD_CONSTANT : FOLD_SOME;
    else if (unsure || (p->strict && maybe_null))
        result.fold = FOLD_UNKNOWN;
    return result;
}

static struct value arguments_coerced(const struct scope *scope, const struct candidate *c,
                                      struct value *args, size_t n, const struct expr *culprit)
{
    struct value worst = {0};
    for (size_t i = 0; i < n; i++) {
        if (catalog_polymorphic(c->args[i]) || c->args[i] == TYPE_ANY)
            continue;
        args[i] = catalog_coerce(scope, args[i], c->args[i], COERCE_IMPLICIT, culprit);
        worst = value_worse(worst, args[i]);
    }
    return worst;
}

/* The arguments that the call leaves out. Which defaults apply where only some do isn't looked into. */
static struct value left_to_defaults(const struct candidate *c, const struct expr *culprit)
{
    struct value value = {.volatility = c->function->by_default, .fold = FOLD_NOT, .culprit = culprit};
    if (value.volatility == CATALOG_VOLATILE && c->defaults < c->function->n_defaults)
        value.volatility = CATALOG_UNKNOWN;
    return value;
}

/* A call that the planner may inline or not: it never makes anything more volatile than was declared. */
struct value value_if_kept(struct value value, const struct expr *culprit)
{
    if (value.volatility != CATALOG_VOLATILE && value.volatility != CATALOG_UNKNOWN)
        return value;
    struct value doubt = value_unknown(value.culprit != NULL ? value.culprit : culprit);
    doubt.type = value.type;
    return doubt;
}

static struct value meant(const struct scope *scope, const struct candidate *c, const struct value *given,
                          size_t n, const uint32_t *types, const struct expr *culprit, bool any)
{
    const struct catalog_function *function = c->function;
    const struct catalog_operator *op = c->op;
    struct value *args = talloc_array(scope->memory, struct value, n + 1);
    if (args == NULL)
        return value_unknown(culprit);
    for (size_t i = 0; i < n; i++)
        args[i] = given[i];
    arguments_coerced(scope, c, args, n, culprit);
    struct properties p = {.volatility = function != NULL ? function->volatility : op->volatility,
                           .strict = (function != NULL ? function->strict : op->strict) && !any,
                           .type = catalog_result(scope->catalog, c, types, n),
                           .not_null = never_null(scope->catalog, function, op, args, n)};
    struct value result = applied(scope, &p, args, n, culprit);
    const struct catalog_function *body =
        function != NULL ? function : catalog_function_by_oid(scope->catalog, op->function);
    if (function != NULL && c->defaults > 0)
        result = value_worse(result, left_to_defaults(c, culprit));
    if (function != NULL && function->kind != 'f')
        result = value_worse(value_unknown(culprit), result); /* an aggregate or window function: an error */
    else if (scope->folds && !fold_constant(result.fold) && body != NULL && body->sql && !any)
        result = c->variadic || c->defaults > 0 ? value_if_kept(result, culprit)
                                                : catalog_inline(scope, body, args, n, result);
    talloc_free(args);
    return result;
}

static struct value decided(const struct scope *scope, struct candidate *items, size_t n_items,
                            const struct value *args, size_t n, const struct expr *culprit, bool any)
{
    uint32_t *types = talloc_array(scope->memory, uint32_t, n + 1);
    struct value result = value_unknown(culprit);
    bool first = true;
    if (types == NULL)
        return result;
    for (size_t i = 0; i < n; i++)
        types[i] = args[i].type;
    catalog_choose(scope->catalog, items, n_items, types, n);
    for (size_t i = 0; i < n_items; i++) {
        if (items[i].out)
            continue;
        struct value one = meant(scope, &items[i], args, n, types, culprit, any);
        result = first ? one : value_either(result, one);
        first = false;
    }
    talloc_free(types);
    return result;
}

/* ---- functions ---- */

/* Room for a candidate's arguments as the call has them; false: it doesn't take so many. */
static bool spread(const struct scope *scope, const struct catalog_function *function,
                   const struct expr *call, struct candidate *c)
{
    size_t n = call->n_args;
    bool variadic = function->variadic && !call->variadic && n >= function->n_args;
    if (!variadic && (n > function->n_args || n + function->n_defaults < function->n_args))
        return false;
    *c = (struct candidate){.declared = function->args,
                            .n_declared = function->n_args,
                            .args = talloc_array(scope->memory, uint32_t, n + 1),
                            .position = function->position,
                            .variadic = variadic,
                            .defaults = n < function->n_args ? function->n_args - n : 0,
                            .result = function->result,
                            .function = function};
    for (size_t i = 0; c->args != NULL && i < n; i++)
        c->args[i] = variadic && i + 1 >= function->n_args ? function->variadic_element : function->args[i];
    return c->args != NULL;
}

static size_t candidates(const struct scope *scope, const char *schema, const char *name,
                         const struct expr *call, struct candidate *items)
{
    const struct catalog *catalog = scope->catalog;
    size_t n = 0;
    for (size_t i = 0; i < catalog->n_functions; i++) {
        const struct catalog_function *function = &catalog->functions[i];
        if (strcmp(function->name, name) != 0 ||
            !catalog_visible(catalog, schema, function->schema, function->position))
            continue;
        if (spread(scope, function, call, &items[n]))
            n++;
    }
    return n;
}

/* typename(value) is a cast where no function takes just that type, and the cast needs no function. */
static bool is_cast(const struct scope *scope, const struct expr *call, const struct candidate *items,
                    size_t n, const struct value *arg, uint32_t *target)
{
    struct type_name name = {.schema = call->name.schema, .name = call->name.name};
    const struct catalog_cast *cast;
    if (call->n_args != 1 || call->named || call->variadic ||
        (*target = catalog_type_oid(scope->catalog, &name)) == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (items[i].args[0] == arg->type)
            return false;
    }
    if (arg->type == TYPE_UNKNOWN)
        return true;
    if (arg->type == 0)
        return false;
    enum path path = catalog_path(scope->catalog, arg->type, *target, COERCE_EXPLICIT, &cast);
    return path == PATH_RELABEL || path == PATH_TEXT;
}

/* Arguments passed by name aren't put into order: what all candidates agree on. */
static struct value all_agree(const struct scope *scope, struct candidate *items, size_t n,
                              const struct value *args, size_t n_args, const struct expr *culprit)
{
    struct value result = value_unknown(culprit);
    for (size_t i = 0; i < n; i++) {
        const struct catalog_function *function = items[i].function;
        struct properties p = {.volatility = function->volatility,
                               .strict = function->strict,
                               .type = catalog_polymorphic(items[i].result) ? 0 : items[i].result,
                               .not_null = never_null(scope->catalog, function, NULL, args, n_args)};
        struct value one = applied(scope, &p, args, n_args, culprit);
        if (items[i].defaults > 0)
            one = value_worse(one, left_to_defaults(&items[i], culprit));
        if (function->sql)
            one = value_if_kept(one, culprit);
        result = i == 0 ? one : value_either(result, one);
    }
    return result;
}

static struct value call_value(const struct scope *scope, const struct expr *call, const struct value *args)
{
    const struct catalog *catalog = scope->catalog;
    size_t n_args = call->n_args;
    uint32_t target;
    struct candidate *items = talloc_array(scope->memory, struct candidate, catalog->n_functions + 1);
    if (items == NULL)
        return value_unknown(call);
    size_t n = candidates(scope, call->name.schema, call->name.name, call, items);
    if (n == 0 && strcmp(call->name.name, "extract") == 0) /* what EXTRACT was before 14 */
        n = candidates(scope, "pg_catalog", "date_part", call, items);
    if (call->named)
        return all_agree(scope, items, n, args, n_args, call);
    if (is_cast(scope, call, items, n, args, &target))
        return catalog_coerce(scope, args[0], target, COERCE_EXPLICIT, call);
    struct value result = decided(scope, items, n, args, n_args, call, false);
    talloc_free(items);
    return result;
}

struct value catalog_call(const struct scope *scope, const struct expr *call, int depth)
{
    struct value *args = talloc_array(scope->memory, struct value, call->n_args + 1);
    if (args == NULL || call->name.name == NULL)
        return value_unknown(call);
    for (size_t i = 0; i < call->n_args; i++)
        args[i] = catalog_value(scope, call->args[i], depth + 1);
    if (call->star || call->distinct || call->window)
        return value_unknown(call);
    struct value result = call_value(scope, call, args);
    talloc_free(args);
    return result;
}

/* ---- operators ---- */

static size_t operators(const struct scope *scope, const struct name *name, size_t n_args,
                        struct candidate *items)
{
    const struct catalog *catalog = scope->catalog;
    size_t n = 0;
    for (size_t i = 0; i < catalog->n_operators; i++) {
        const struct catalog_operator *op = &catalog->operators[i];
        bool prefix = op->args[0] == 0;
        if (strcmp(op->name, name->name) != 0 || prefix != (n_args == 1) || op->args[1] == 0 ||
            !catalog_visible(catalog, name->schema, op->schema, op->position))
            continue;
        const uint32_t *declared = &op->args[prefix ? 1 : 0];
        items[n++] = (struct candidate){.declared = declared,
                                        .n_declared = n_args,
                                        .args = (uint32_t *)declared,
                                        .position = op->position,
                                        .result = op->result,
                                        .op = op};
    }
    return n;
}

/* With one literal, an operator that takes the other's type on both sides is meant before all others. */
static bool exact_for_literal(const struct catalog *catalog, struct candidate *items, size_t n,
                              const struct value *args)
{
    bool left = args[0].type == TYPE_UNKNOWN, right = args[1].type == TYPE_UNKNOWN;
    uint32_t type = left ? args[1].type : args[0].type;
    size_t found = n;
    if (left == right || type == 0)
        return false;
    for (int base = 0; base < 2 && found == n; base++) {
        uint32_t wanted = base ? catalog_base_of(catalog, type) : type;
        for (size_t i = 0; i < n; i++) {
            if (items[i].args[0] == wanted && items[i].args[1] == wanted &&
                (found == n || items[i].position < items[found].position))
                found = i;
        }
    }
    for (size_t i = 0; found < n && i < n; i++)
        items[i].out = i != found;
    return found < n;
}

static struct value operator_value(const struct scope *scope, const struct expr *culprit,
                                   const struct name *name, const struct value *args, size_t n_args, bool any)
{
    const struct catalog *catalog = scope->catalog;
    struct candidate *items = talloc_array(scope->memory, struct candidate, catalog->n_operators + 1);
    if (items == NULL)
        return value_unknown(culprit);
    size_t n = operators(scope, name, n_args, items);
    struct value result;
    if (n_args == 2 && exact_for_literal(catalog, items, n, args)) {
        for (size_t i = 0; i < n; i++) {
            if (!items[i].out)
                items[0] = items[i];
        }
        result = decided(scope, items, 1, args, n_args, culprit, any);
    } else {
        result = decided(scope, items, n, args, n_args, culprit, any);
    }
    talloc_free(items);
    return result;
}

struct value catalog_operate(const struct scope *scope, const struct expr *culprit, const struct name *name,
                             bool any, const struct value *args, size_t n)
{
    if (name->name == NULL || n < 1 || n > 2)
        return value_unknown(culprit);
    if (!any || n != 2)
        return operator_value(scope, culprit, name, args, n, false);
    struct value pair[2] = {args[0], args[1]};
    if (pair[1].type != TYPE_UNKNOWN)
        pair[1].type = catalog_element_of(scope->catalog, catalog_base_of(scope->catalog, pair[1].type));
    struct value result = operator_value(scope, culprit, name, pair, 2, true);
    if (scope->folds && (args[0].fold == FOLD_NULL || args[1].fold == FOLD_NULL) &&
        result.volatility == CATALOG_VOLATILE)
        result.volatility = CATALOG_UNKNOWN;
    result.type = TYPE_BOOL;
    return result;
}

/*
 * Casts: which way the server would go from one type to another (manual, chapter 10 and CREATE CAST;
 * find_coercion_pathway), and what that makes of a value.
 */
#include <stddef.h>

#include "policy/catalog_inside.h"

/* ---- ways ---- */

static bool allowed(char context, enum coercion coercion)
{
    return context == 'i' || (context == 'a' && coercion != COERCE_IMPLICIT) || coercion == COERCE_EXPLICIT;
}

static enum path array_path(const struct catalog *catalog, uint32_t source, uint32_t target,
                            enum coercion coercion)
{
    uint32_t from = catalog_element_of(catalog, source), to = catalog_element_of(catalog, target);
    const struct catalog_cast *cast;
    if (from == 0 || to == 0)
        return PATH_NONE;
    enum path path = catalog_path(catalog, from, to, coercion, &cast);
    return path == PATH_NONE ? PATH_NONE : path == PATH_RELABEL ? PATH_RELABEL : PATH_ARRAY;
}

enum path catalog_path(const struct catalog *catalog, uint32_t source, uint32_t target,
                       enum coercion coercion, const struct catalog_cast **cast)
{
    *cast = NULL;
    source = catalog_base_of(catalog, source);
    target = catalog_base_of(catalog, target);
    if (source == target)
        return PATH_RELABEL;
    *cast = catalog_cast(catalog, source, target);
    if (*cast != NULL) {
        if (!allowed((*cast)->context, coercion))
            return PATH_NONE;
        return (*cast)->method == 'f' ? PATH_FUNCTION : (*cast)->method == 'b' ? PATH_RELABEL : PATH_TEXT;
    }
    enum path path = array_path(catalog, source, target, coercion);
    if (path != PATH_NONE)
        return path;
    if (coercion != COERCE_IMPLICIT && catalog_category(catalog, target) == 'S')
        return PATH_TEXT;
    if (coercion == COERCE_EXPLICIT && catalog_category(catalog, source) == 'S')
        return PATH_TEXT;
    return PATH_NONE;
}

bool catalog_can_coerce(const struct catalog *catalog, uint32_t source, uint32_t target)
{
    const struct catalog_cast *cast;
    if (source == target || source == TYPE_UNKNOWN || target == TYPE_ANY)
        return true;
    return catalog_path(catalog, source, target, COERCE_IMPLICIT, &cast) != PATH_NONE;
}

/* ---- values ---- */

static enum catalog_volatility text_form(const struct catalog *catalog, uint32_t oid)
{
    const struct catalog_type *type = catalog_type_by_oid(catalog, oid);
    if (type != NULL)
        return type->text_form;
    return catalog_element_of(catalog, oid) != 0 ? CATALOG_STABLE : CATALOG_UNKNOWN;
}

static enum catalog_volatility path_volatility(const struct catalog *catalog, enum path path, uint32_t source,
                                               uint32_t target, const struct catalog_cast *cast)
{
    switch (path) {
    case PATH_RELABEL:
        return CATALOG_IMMUTABLE;
    case PATH_FUNCTION:
        return cast->volatility;
    case PATH_TEXT:
        return catalog_worse(text_form(catalog, source), text_form(catalog, target));
    case PATH_ARRAY: {
        const struct catalog_cast *inner;
        uint32_t from = catalog_element_of(catalog, source), to = catalog_element_of(catalog, target);
        enum path path_inside = catalog_path(catalog, from, to, COERCE_EXPLICIT, &inner);
        if (path_inside == PATH_ARRAY || path_inside == PATH_NONE)
            return CATALOG_UNKNOWN;
        return path_volatility(catalog, path_inside, from, to, inner);
    }
    case PATH_NONE:
        break;
    }
    return CATALOG_UNKNOWN;
}

/* ROW(…) becomes a composite type field by field. */
static struct value coerce_row(const struct scope *scope, struct value value, uint32_t target,
                               enum coercion coercion, const struct expr *culprit)
{
    const struct expr *row = value.row;
    const struct catalog_type *type = catalog_type_by_oid(scope->catalog, target);
    if (type == NULL || type->type != 'c' || type->n_fields != row->n_args)
        return value_worse(value_unknown(culprit), value);
    for (size_t i = 0; i < row->n_args; i++) {
        struct value field = catalog_value(scope, row->args[i], 1);
        value = value_worse(value, catalog_coerce(scope, field, type->fields[i], coercion, culprit));
    }
    value.type = target;
    value.row = NULL;
    return value;
}

/* A literal is read by the type's input function before the planner sees anything; a domain's constraints are
 * checked when it runs. */
static struct value coerce_literal(const struct scope *scope, struct value value, uint32_t target)
{
    const struct catalog_type *type = catalog_type_by_oid(scope->catalog, target);
    if (type != NULL && type->type == 'd' && catalog_domain(scope->catalog, type).constrained)
        value.fold = FOLD_NOT;
    if (value.fold == FOLD_SOME && target == TYPE_BOOL)
        value.fold = FOLD_UNKNOWN; /* true or false: not looked into */
    value.type = target;
    return value;
}

static enum fold folded(struct value value, enum path path, enum catalog_volatility volatility, bool strict)
{
    if (path == PATH_RELABEL)
        return value.fold;
    if (value.fold == FOLD_NULL && strict)
        return FOLD_NULL;
    if (!fold_constant(value.fold))
        return value.fold;
    if (volatility != CATALOG_IMMUTABLE)
        return FOLD_NOT;
    return value.fold == FOLD_CONSTANT || value.fold == FOLD_NULL ? FOLD_CONSTANT : FOLD_SOME;
}

struct value catalog_coerce(const struct scope *scope, struct value value, uint32_t target,
                            enum coercion coercion, const struct expr *culprit)
{
    const struct catalog *catalog = scope->catalog;
    const struct catalog_cast *cast;
    if (value.type == target && target != 0)
        return value;
    if (value.type == 0 || target == 0)
        return value_worse(value_unknown(culprit), value);
    if (value.type == TYPE_UNKNOWN)
        return coerce_literal(scope, value, target);
    if (value.row != NULL)
        return coerce_row(scope, value, target, coercion, culprit);
    enum path path = catalog_path(catalog, value.type, target, coercion, &cast);
    uint32_t from = catalog_base_of(catalog, value.type), to = catalog_base_of(catalog, target);
    enum catalog_volatility own = path_volatility(catalog, path, from, to, cast);
    struct value result = value;
    result.type = target;
    bool strict = path != PATH_FUNCTION || cast->strict;
    if (!scope->folds || !strict || value.fold != FOLD_NULL) {
        struct value step = {.volatility = own, .culprit = own == CATALOG_IMMUTABLE ? NULL : culprit};
        result = value_worse(result, step);
    }
    result.nonstrict = value.nonstrict || !strict;
    result.fold = folded(value, path, own, strict);
    const struct catalog_type *type = catalog_type_by_oid(catalog, target);
    if (type != NULL && type->type == 'd' && catalog_domain(catalog, type).constrained)
        result.fold = FOLD_NOT;
    return result;
}

/* ---- the one type of several values (manual, 10.5) ---- */

static bool better_common(const struct catalog *catalog, uint32_t held, uint32_t offered)
{
    return !catalog_preferred(catalog, held) && catalog_can_coerce(catalog, held, offered) &&
           !catalog_can_coerce(catalog, offered, held);
}

uint32_t catalog_common_type(const struct catalog *catalog, const struct value *values, size_t n)
{
    uint32_t common = TYPE_UNKNOWN;
    bool same = true;
    for (size_t i = 0; i < n; i++) {
        if (values[i].type == 0)
            return 0;
        same = same && values[i].type == values[0].type;
    }
    if (same && n > 0 && values[0].type != TYPE_UNKNOWN)
        return values[0].type;
    for (size_t i = 0; i < n; i++) {
        uint32_t type = catalog_base_of(catalog, values[i].type);
        if (type == TYPE_UNKNOWN || type == common)
            continue;
        if (common == TYPE_UNKNOWN)
            common = type;
        else if (catalog_category(catalog, type) != catalog_category(catalog, common))
            return 0; /* an error */
        else if (better_common(catalog, common, type))
            common = type;
    }
    return common == TYPE_UNKNOWN ? TYPE_TEXT : common;
}

/*
 * Columns and types that a statement names and that aren't there. Only what certainly fails is told of: a
 * name without a qualifier that is no column, no system column and not the table itself can be nothing else.
 */
#include <string.h>

#include "policy/effects.h"

enum { DEPTH_MAX = 200 };

static bool other_name(const struct look *look, const struct catalog_relation *relation, const char *name)
{
    static const char *const system[] = {"tableoid", "ctid", "xmin", "cmin", "xmax", "cmax"};
    for (size_t i = 0; i < sizeof system / sizeof *system; i++) {
        if (strcmp(system[i], name) == 0)
            return true;
    }
    return strcmp(relation->name, name) == 0 || added_column(look->facts, name) != NULL;
}

static const char *missing(const struct look *look, const struct catalog_relation *relation,
                           const struct expr *expr, int depth)
{
    const char *found = NULL;
    if (expr == NULL || depth > DEPTH_MAX || expr->kind == EXPR_SUBQUERY)
        return NULL;
    if (expr->kind == EXPR_COLUMN && expr->name.schema == NULL && expr->name.name != NULL &&
        catalog_column(relation, expr->name.name) == NULL && !other_name(look, relation, expr->name.name))
        return expr->name.name;
    for (size_t i = 0; found == NULL && i < expr->n_args; i++)
        found = missing(look, relation, expr->args[i], depth + 1);
    return found;
}

const char *effects_missing_column(const struct look *look, const struct expr *expr)
{
    const struct catalog_relation *relation = table_structure(look);
    return relation == NULL ? NULL : missing(look, relation, expr, 0);
}

bool effects_missing_type(struct part *part, const struct look *look, const struct type_name *type)
{
    if (look->names == NULL || !catalog_type_missing(look->names, type) ||
        mentioned_in_front(look, type->name))
        return false; /* a table or a view that is made is a type as well */
    part_fails(part, "type \"%s\" does not exist", type->text == NULL ? type->name : type->text);
    return true;
}

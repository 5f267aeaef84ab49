/*
 * Is what was read back what was meant? Two readings of the same words, compared member by member; places
 * aside.
 */
#include <string.h>

#include "policy/plan_inside.h"

enum { DEPTH_MAX = 1000 };

static bool text_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool name_same(const struct name *a, const struct name *b)
{
    return text_same(a->schema, b->schema) && text_same(a->name, b->name);
}

static bool type_same(const struct type_name *a, const struct type_name *b)
{
    return text_same(a->schema, b->schema) && text_same(a->name, b->name) && text_same(a->text, b->text) &&
           a->array == b->array && a->setof == b->setof && a->percent_type == b->percent_type;
}

bool plan_expr_same(const struct expr *a, const struct expr *b, int depth)
{
    if (a == NULL || b == NULL || depth > DEPTH_MAX)
        return a == b;
    bool typed = a->type == NULL || b->type == NULL ? a->type == b->type : type_same(a->type, b->type);
    if (a->kind != b->kind || !name_same(&a->name, &b->name) || !text_same(a->text, b->text) || !typed ||
        a->n_args != b->n_args || (a->kind == EXPR_CONSTANT && a->constant != b->constant))
        return false;
    if (a->variadic != b->variadic || a->distinct != b->distinct || a->star != b->star ||
        a->window != b->window || a->named != b->named || a->any != b->any || a->tested != b->tested)
        return false;
    for (size_t i = 0; i < a->n_args; i++) {
        if (!plan_expr_same(a->args[i], b->args[i], depth + 1))
            return false;
    }
    return true;
}

static bool list_same(const char *const *a, size_t n_a, const char *const *b, size_t n_b)
{
    for (size_t i = 0; n_a == n_b && i < n_a; i++) {
        if (!text_same(a[i], b[i]))
            return false;
    }
    return n_a == n_b;
}

/* NOT VALID apart, which is the point. A foreign key that stood inline has its column named now. */
bool plan_constraint_same(const struct constraint *a, const struct constraint *b, const char *inline_column)
{
    bool columns = a->kind == CONSTRAINT_FOREIGN && inline_column != NULL
                       ? list_same(&inline_column, 1, b->columns, b->n_columns)
                       : list_same(a->columns, a->n_columns, b->columns, b->n_columns);
    return columns && a->kind == b->kind && text_same(a->name, b->name) &&
           plan_expr_same(a->expr, b->expr, 0) && name_same(&a->referenced, &b->referenced) &&
           list_same(a->referenced_columns, a->n_referenced_columns, b->referenced_columns,
                     b->n_referenced_columns) &&
           text_same(a->using_index, b->using_index) && a->no_inherit == b->no_inherit &&
           a->deferrable == b->deferrable && a->initially_deferred == b->initially_deferred &&
           a->always == b->always && a->on_delete == b->on_delete && a->on_update == b->on_update &&
           a->match_full == b->match_full && a->nulls_not_distinct == b->nulls_not_distinct &&
           a->generated_virtual == b->generated_virtual && a->storage == b->storage &&
           list_same(a->included, a->n_included, b->included, b->n_included);
}

static bool is_null_default(const struct constraint *constraint)
{
    return constraint->kind == CONSTRAINT_DEFAULT && constraint->expr != NULL &&
           constraint->expr->kind == EXPR_NULL;
}

/* "bigint" is pg_catalog.int8. */
static bool integer_same(const struct type_name *type, const char *integer)
{
    return text_same(type->schema, "pg_catalog") && text_same(type->text, integer);
}

bool plan_column_same(const struct meant *meant, const struct column_definition *read)
{
    const struct column_definition *written = meant->written->column;
    size_t k = 0;
    if (read == NULL || !text_same(written->name, read->name) ||
        !text_same(written->collation, read->collation))
        return false;
    if (meant->integer != NULL ? !integer_same(&read->type, meant->integer)
                               : !type_same(&written->type, &read->type))
        return false;
    for (size_t i = 0; i < written->n_constraints; i++) {
        if (meant->cut[i])
            continue;
        if (k >= read->n_constraints ||
            !plan_constraint_same(&written->constraints[i], &read->constraints[k++], NULL))
            return false;
    }
    if (meant->null_default && (k >= read->n_constraints || !is_null_default(&read->constraints[k++])))
        return false;
    return k == read->n_constraints;
}

/*
 * ALTER COLUMN … TYPE: is every row written anew, and what is verified and built again where it isn't?
 *
 * The server rewrites unless the conversion, when the planner has simplified it, is the column itself under
 * another type's name: ATColumnChangeRequiresRewrite() in its tablecmds.c. Lengths and precisions that only
 * grow vanish that way for varchar, varbit, numeric, and the times.
 */
#include <string.h>
#include <talloc.h>

#include "policy/catalog_inside.h"
#include "policy/effects.h"

enum { TYPE_BPCHAR = 1042, TYPE_VARCHAR = 1043, TYPE_INTERVAL = 1186, TYPE_VARBIT = 1562 };

/* ---- offline ---- */

/* Types to which no other type can be changed without rewriting (pg_cast has no binary cast to them, and they
 * know no length that could be widened). */
static bool type_always_rewrites(const struct type_name *type)
{
    static const char *const names[] = {"int2",  "int4", "int8", "float4", "float8", "uuid", "json",
                                        "jsonb", "bool", "date", "money",  "point",  NULL};
    if (type->schema != NULL && strcmp(type->schema, "pg_catalog") != 0)
        return false;
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(type->name, names[i]) == 0)
            return true;
    }
    return false;
}

/* USING that can't be the column itself. */
static bool using_computes(const struct alter *alter)
{
    const struct expr *using = alter->expr;
    if (using == NULL)
        return false;
    if (using->kind == EXPR_CONSTANT || using->kind == EXPR_NULL)
        return true;
    return using->kind == EXPR_COLUMN && alter->subject != NULL && using->name.name != NULL &&
           strcmp(using->name.name, alter->subject) != 0;
}

static void type_offline(struct part *part)
{
    const struct alter *alter = part->alter;
    if (using_computes(alter) || (alter->column != NULL && type_always_rewrites(&alter->column->type)))
        part->rewrite = ANSWER_YES;
    part->scan_key = ANSWER_UNKNOWN;    /* foreign keys of another type are verified again */
    part->index_build = ANSWER_UNKNOWN; /* indexes on the column are built anew unless their order is kept */
}

/* ---- lengths and precisions ---- */

/* The type modifier that a written type gets; -2: can't be said. */
static int32_t modifier_of(const struct type_name *type, uint32_t oid)
{
    size_t n = type->n_modifiers;
    switch (oid) {
    case TYPE_VARCHAR:
        return n == 0 ? -1 : n == 1 ? type->modifiers[0] + 4 : -2;
    case TYPE_BPCHAR:
        return n == 0 ? -2 : n == 1 ? type->modifiers[0] + 4 : -2;
    case TYPE_VARBIT:
        return n == 0 ? -1 : n == 1 ? type->modifiers[0] : -2;
    case TYPE_NUMERIC:
        if (n == 0)
            return -1;
        return n > 2 ? -2 : ((type->modifiers[0] << 16) | ((n == 2 ? type->modifiers[1] : 0) & 0x7ff)) + 4;
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIME:
    case TYPE_TIMETZ:
        return n == 0 ? -1 : n == 1 ? type->modifiers[0] : -2;
    default:
        return n == 0 ? -1 : -2;
    }
}

/* Does a value of this type and modifier fit the other modifier as it is? */
static enum answer length_changes(uint32_t oid, int32_t old, int32_t new)
{
    if (new == -2)
        return ANSWER_UNKNOWN;
    if (new == old || new == -1)
        return ANSWER_NO;
    switch (oid) {
    case TYPE_VARCHAR:
    case TYPE_VARBIT:
        return answer_of(old < 0 || new < old);
    case TYPE_NUMERIC: {
        int32_t old_scale = (old - 4) & 0x7ff, new_scale = (new - 4) & 0x7ff;
        return answer_of(old < 0 || new_scale != old_scale || ((new - 4) >> 16) < ((old - 4) >> 16));
    }
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIME:
    case TYPE_TIMETZ:
        return answer_of(new < 6 && (old < 0 || new < old));
    case TYPE_BPCHAR:
        return ANSWER_YES;
    default:
        return ANSWER_UNKNOWN;
    }
}

/* ---- the conversion ---- */

struct change {
    uint32_t old, new;
    int32_t old_modifier, new_modifier;
    bool constrained;
};

/* Both types below their domains. */
static bool change_of(const struct look *look, const struct catalog_column *column,
                      const struct type_name *to, struct change *change)
{
    *change = (struct change){.new = catalog_type_oid(look->names, to)};
    const struct catalog_type *target = catalog_type_by_oid(look->names, change->new);
    const struct catalog_type *source = catalog_type_by_oid(look->names, column->type);
    if (change->new == 0)
        return false;
    change->old = column->type;
    change->old_modifier = column->modifier;
    if (source != NULL && source->type == 'd') {
        change->old = catalog_base_of(look->names, column->type);
        change->old_modifier = -1; /* the server doesn't look for the length below a domain */
    }
    change->new_modifier = modifier_of(to, change->new);
    if (to->array > 0)
        change->new_modifier = to->n_modifiers == 0 ? -1 : -2;
    if (target != NULL && target->type == 'd' && to->array == 0) {
        change->constrained = catalog_domain(look->names, target).constrained;
        change->new = catalog_base_of(look->names, change->new);
        change->new_modifier = target->modifier;
    }
    return true;
}

static enum answer conversion_rewrites(struct part *part, const struct look *look,
                                       const struct change *change, bool with_using)
{
    const struct catalog_cast *cast = NULL;
    if (change->constrained)
        return ANSWER_YES;
    if (change->old == change->new)
        return length_changes(change->new, change->old_modifier, change->new_modifier);
    enum path path = catalog_path(look->names, change->old, change->new,
                                  with_using ? COERCE_EXPLICIT : COERCE_ASSIGNMENT, &cast);
    bool times = (change->old == TYPE_TIMESTAMP && change->new == TYPE_TIMESTAMPTZ) ||
                 (change->old == TYPE_TIMESTAMPTZ && change->new == TYPE_TIMESTAMP);
    switch (path) {
    case PATH_RELABEL:
        if (catalog_element_of(look->names, change->new) != 0 &&
            catalog_element_of(look->names, change->old) != 0)
            return ANSWER_YES; /* element by element, even where those are stored alike */
        if (change->new_modifier == -2)
            return ANSWER_UNKNOWN;
        return answer_of(change->new_modifier != -1);
    case PATH_FUNCTION:
        if (times) /* not where the session's time zone is UTC */
            return ANSWER_UNKNOWN;
        return cast == NULL || cast->volatility == CATALOG_UNKNOWN ? ANSWER_UNKNOWN : ANSWER_YES;
    case PATH_TEXT:
        return ANSWER_YES;
    case PATH_ARRAY:
        return ANSWER_YES;
    case PATH_NONE:
        if (!with_using)
            part_may_fail(part);
        return ANSWER_UNKNOWN;
    }
    return ANSWER_UNKNOWN;
}

/* USING: the column, or a cast of it, is a conversion like the one without USING; all else is computed. */
static enum answer using_rewrites(struct part *part, const struct look *look,
                                  const struct catalog_column *column)
{
    const struct alter *alter = part->alter;
    const struct expr *using = alter->expr;
    struct change change;
    if (using != NULL && using->kind == EXPR_CAST && using->n_args == 1 && using->type != NULL &&
        using->args[0]->kind == EXPR_COLUMN && strcmp(using->type->text, alter->column->type.text) == 0)
        using = using->args[0];
    bool itself = using == NULL || (using->kind == EXPR_COLUMN && using->name.name != NULL &&
                                    strcmp(using->name.name, column->name) == 0);
    if (!itself && using->kind == EXPR_FUNCTION && using->name.schema == NULL)
        return ANSWER_UNKNOWN; /* an SQL function may be inlined to the column itself */
    if (!itself)
        return using->kind == EXPR_CAST ? ANSWER_UNKNOWN : ANSWER_YES;
    if (!change_of(look, column, &alter->column->type, &change))
        return ANSWER_UNKNOWN;
    if (catalog_type_oid(look->names, &alter->column->type) == column->type &&
        alter->column->type.n_modifiers == 0 && column->modifier == -1)
        return ANSWER_NO; /* a domain to itself, too */
    return conversion_rewrites(part, look, &change, alter->expr != NULL);
}

enum answer effects_type_same(const struct look *look, const struct catalog_column *column,
                              const struct type_name *type)
{
    if (look->names == NULL || type->percent_type)
        return ANSWER_UNKNOWN;
    uint32_t oid = catalog_type_oid(look->names, type);
    if (oid == 0 || oid != column->type)
        return oid == 0 ? ANSWER_UNKNOWN : ANSWER_NO;
    int32_t modifier = type->array > 0 ? -2 : modifier_of(type, oid);
    if (modifier == -2)
        return type->n_modifiers == 0 && column->modifier == -1 ? ANSWER_YES : ANSWER_UNKNOWN;
    return answer_of(modifier == column->modifier);
}

/* ---- what hangs on the column ---- */

static bool lists(const int *numbers, size_t n, int number)
{
    for (size_t i = 0; i < n; i++) {
        if (numbers[i] == number)
            return true;
    }
    return false;
}

/* The column's constraints are made anew. A CHECK is verified again; a foreign key where its operators
 * change. */
static void verify_again(struct part *part, const struct catalog_relation *relation,
                         const struct catalog_column *column, bool alike)
{
    for (size_t i = 0; i < relation->n_constraints; i++) {
        const struct catalog_constraint *constraint = &relation->constraints[i];
        if (!lists(constraint->columns, constraint->n_columns, column->number) || !constraint->validated)
            continue;
        if (constraint->type == 'c')
            part->scan = ANSWER_YES;
        if (constraint->type == 'f' && !alike)
            part->scan_key = answer_or(part->scan_key, ANSWER_UNKNOWN);
    }
    for (size_t i = 0; relation->referenced_by > 0 && !alike && i < relation->n_indexes; i++) {
        const struct catalog_index *index = &relation->indexes[i];
        if (index->unique && lists(index->columns, index->n_columns, column->number))
            part->scan_key = answer_or(part->scan_key, ANSWER_UNKNOWN);
    }
}

/* An index is kept where neither rows nor order change. One with an expression or a condition is always built
 * anew when the column is in it. */
static void build_again(struct part *part, const struct catalog_relation *relation,
                        const struct catalog_column *column, bool alike)
{
    part->index_build = ANSWER_NO;
    for (size_t i = 0; part->rewrite != ANSWER_YES && i < relation->n_indexes; i++) {
        const struct catalog_index *index = &relation->indexes[i];
        size_t n = index->n_uses > index->n_columns ? index->n_uses : index->n_columns;
        bool special = index->partial || index->expressions;
        if (!lists(index->columns, n, column->number))
            continue;
        if (special && part->rewrite == ANSWER_NO)
            part->index_build = ANSWER_YES;
        else if (special || index->exclusion || !alike || part->rewrite == ANSWER_UNKNOWN)
            part->index_build = answer_or(part->index_build, ANSWER_UNKNOWN);
    }
}

static void column_in_use(struct part *part, const struct catalog_relation *relation,
                          const struct catalog_column *column)
{
    part_may_fail(
        part); /* values that don't fit, policies, triggers, functions, generated columns, the default */
    for (size_t i = 0; i < relation->n_views; i++) {
        if (relation->views[i].column == column->number)
            part_fails(part, "cannot alter type of a column used by a view or rule");
    }
    if (column->inherited > 0)
        part_fails(part, "cannot alter inherited column \"%s\"", column->name);
    if (relation->typed_of != 0)
        part_fails(part, "cannot alter column type of typed table");
}

void effects_column_type(struct part *part, const struct look *look)
{
    const struct alter *alter = part->alter;
    const struct catalog_relation *relation = table_structure(look);
    if (relation == NULL || alter->column == NULL) {
        type_offline(part);
        return;
    }
    const struct catalog_column *column = catalog_column(relation, alter->subject);
    if (column == NULL) { /* one that this statement adds isn't there yet when types are changed */
        part->rewrite = part->scan = ANSWER_UNKNOWN;
        part_fails(part, "column \"%s\" of relation \"%s\" does not exist", alter->subject, relation->name);
        return;
    }
    if (effects_missing_type(part, look, &alter->column->type)) {
        part->rewrite = part->scan = ANSWER_UNKNOWN;
        return;
    }
    static const uint32_t texts[] = {TYPE_TEXT, TYPE_VARCHAR};
    struct change change;
    bool known = change_of(look, column, &alter->column->type, &change);
    bool texted = known && (change.old == texts[0] || change.old == texts[1]) &&
                  (change.new == texts[0] || change.new == texts[1]);
    bool alike = known && alter->column->collation == NULL && (change.old == change.new || texted);
    part->rewrite = using_rewrites(part, look, column);
    part->new_values = part->rewrite;
    part->scan = ANSWER_NO;
    verify_again(part, relation, column, alike);
    build_again(part, relation, column, alike);
    column_in_use(part, relation, column);
}

/*
 * Keys: is there what a foreign key refers to, is a set of columns unique already.
 */
#include <string.h>

#include "policy/effects.h"

const struct catalog_constraint *effects_constraint(const struct catalog_relation *relation, const char *name)
{
    for (size_t i = 0; name != NULL && i < relation->n_constraints; i++) {
        if (strcmp(relation->constraints[i].name, name) == 0)
            return &relation->constraints[i];
    }
    return NULL;
}

const struct catalog_constraint *effects_primary_key(const struct catalog_relation *relation)
{
    for (size_t i = 0; i < relation->n_constraints; i++) {
        if (relation->constraints[i].type == 'p')
            return &relation->constraints[i];
    }
    return NULL;
}

bool constraint_dropped_here(const struct look *look, const struct catalog_constraint *constraint)
{
    for (size_t i = 0; i < look->facts->n_alters; i++) {
        if (look->facts->alters[i].kind == ALTER_DROP_COLUMN)
            return true; /* columns go first, and constraints with them */
    }
    return dropped_here(look->facts, ALTER_DROP_CONSTRAINT, constraint->name);
}

/* ---- unique already ---- */

static bool has_number(const struct catalog_relation *relation, const char *const *columns, size_t n,
                       int number)
{
    for (size_t i = 0; i < n; i++) {
        const struct catalog_column *column = catalog_column(relation, columns[i]);
        if (column != NULL && column->number == number)
            return true;
    }
    return false;
}

/* A unique index over these very rows, valid and checked at once. */
static bool index_keeps(const struct catalog_index *index)
{
    return index->unique && index->valid && index->immediate && !index->partial && !index->expressions;
}

bool effects_unique_proven(const struct catalog_relation *relation, const char *const *columns, size_t n)
{
    for (size_t i = 0; i < relation->n_indexes; i++) {
        const struct catalog_index *index = &relation->indexes[i];
        size_t covered = 0;
        while (covered < index->n_columns && has_number(relation, columns, n, index->columns[covered]))
            covered++;
        if (index_keeps(index) && index->n_columns > 0 && covered == index->n_columns)
            return true;
    }
    return false;
}

/* ---- foreign keys ---- */

/* The index that the referenced columns are the key of, in any order. */
static const struct catalog_index *key_index(const struct catalog_relation *other,
                                             const struct constraint *key)
{
    for (size_t i = 0; i < other->n_indexes; i++) {
        const struct catalog_index *index = &other->indexes[i];
        if (!index->unique || !index->valid || index->partial || index->expressions ||
            index->n_columns != key->n_referenced_columns)
            continue;
        size_t same = 0;
        while (same < index->n_columns &&
               has_number(other, key->referenced_columns, key->n_referenced_columns, index->columns[same]))
            same++;
        if (same == index->n_columns)
            return index;
    }
    return NULL;
}

static bool in_group(uint32_t type, const uint32_t *group, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (group[i] == type)
            return true;
    }
    return false;
}

/* Types that are compared by a btree operator without anybody having to look it up. */
static bool comparable(const struct look *look, uint32_t a, uint32_t b)
{
    static const uint32_t integers[] = {20, 21, 23}, texts[] = {25, 1043}, floats[] = {700, 701};
    const struct catalog_type *type = catalog_type_by_oid(look->names, a);
    if (type != NULL && type->type == 'd')
        a = catalog_domain(look->names, type).base;
    type = catalog_type_by_oid(look->names, b);
    if (type != NULL && type->type == 'd')
        b = catalog_domain(look->names, type).base;
    if (a == 0 || b == 0)
        return false;
    return a == b || (in_group(a, integers, 3) && in_group(b, integers, 3)) ||
           (in_group(a, texts, 2) && in_group(b, texts, 2)) ||
           (in_group(a, floats, 2) && in_group(b, floats, 2));
}

/* Temporary tables refer to temporary ones, permanent ones to permanent ones; unlogged ones to both but
 * temporary. */
static void check_persistence(struct part *part, const struct look *look, char other)
{
    const struct catalog_relation *relation = table_structure(look);
    if (relation == NULL)
        return;
    bool fits = relation->persistence == 't'   ? other == 't'
                : relation->persistence == 'u' ? other != 't'
                                               : other == 'p';
    if (!fits)
        part_fails(part, "constraints on %s tables may reference only %s tables",
                   relation->persistence == 't'   ? "temporary"
                   : relation->persistence == 'u' ? "unlogged"
                                                  : "permanent",
                   relation->persistence == 't'   ? "temporary"
                   : relation->persistence == 'u' ? "permanent or unlogged"
                                                  : "permanent");
}

static void check_key(struct part *part, const struct look *look, const struct catalog_relation *other,
                      const struct constraint *key, const uint32_t *types, size_t n)
{
    const struct catalog_constraint *primary = effects_primary_key(other);
    bool named = key->n_referenced_columns > 0;
    const struct catalog_index *index = named ? key_index(other, key) : NULL;
    size_t wanted = named ? key->n_referenced_columns : primary == NULL ? 0 : primary->n_columns;
    for (size_t i = 0; i < key->n_referenced_columns; i++) {
        if (catalog_column(other, key->referenced_columns[i]) == NULL)
            part_fails(part, "column \"%s\" referenced in foreign key constraint does not exist",
                       key->referenced_columns[i]);
    }
    if (!named && primary == NULL)
        part_fails(part, "there is no primary key for referenced table \"%s\"", other->name);
    if (named && index == NULL)
        part_fails(part, "there is no unique constraint matching given keys for referenced table \"%s\"",
                   other->name);
    if (wanted != n)
        part_fails(part, "number of referencing and referenced columns for foreign key disagree");
    if ((named && index != NULL && !index->immediate) || (primary != NULL && !named && primary->deferrable))
        part_fails(part, "cannot use a deferrable unique constraint for referenced table \"%s\"",
                   other->name);
    for (size_t i = 0; part->fails != ANSWER_YES && i < n; i++) {
        uint32_t type = 0;
        const struct catalog_column *column =
            named ? catalog_column(other, key->referenced_columns[i]) : NULL;
        for (size_t k = 0; !named && primary != NULL && k < other->n_columns; k++) {
            if (other->columns[k].number == primary->columns[i])
                column = &other->columns[k];
        }
        if (column != NULL)
            type = column->type;
        if (!comparable(look, types[i], type))
            part_may_fail(part);
    }
}

void effects_reference(struct part *part, const struct look *look, const struct constraint *constraint,
                       const uint32_t *types, size_t n)
{
    struct table table = table_named(look, &constraint->referenced);
    if (table.missing)
        part_fails(part, "relation \"%s\" does not exist", constraint->referenced.name);
    if (table.relation == NULL || table.changed || table.relation == look->table.relation) {
        part_may_fail(part); /* not known; or the table itself, whose key this statement may make */
        return;
    }
    const struct catalog_relation *other = table.relation;
    if (strchr("rp", other->kind) == NULL) {
        part_fails(part, "referenced relation \"%s\" is not a table", other->name);
        return;
    }
    if (!other->may_own)
        part_may_fail(part); /* the right REFERENCES isn't asked for */
    check_persistence(part, look, other->persistence);
    check_key(part, look, other, constraint, types, n);
}

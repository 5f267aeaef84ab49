/*
 * Subcommands of ALTER TABLE that the server refuses whatever the rows are: what they name isn't there, is
 * there already, or is of a kind that doesn't take them. Only with the catalog's answer.
 */
#include <string.h>

#include "policy/effects.h"

/* Other subcommands of the statement make or change what this one names: the order decides. */
static bool touched_elsewhere(const struct part *part, const struct facts *facts)
{
    const char *subject = part->alter->subject;
    for (size_t i = 0; subject != NULL && i < facts->n_alters; i++) {
        const struct alter *other = &facts->alters[i];
        bool same = (other->subject != NULL && strcmp(other->subject, subject) == 0) ||
                    (other->column != NULL && strcmp(other->column->name, subject) == 0);
        if (other != part->alter && same)
            return true;
    }
    return false;
}

static void no_such_column(struct part *part, const struct catalog_relation *relation)
{
    part_fails(part, "column \"%s\" of relation \"%s\" does not exist", part->alter->subject, relation->name);
}

static void drop_column(struct part *part, const struct catalog_relation *relation,
                        const struct catalog_column *column)
{
    if (column == NULL) {
        if (!part->alter->missing_ok)
            no_such_column(part, relation);
        return;
    }
    if (column->inherited > 0)
        part_fails(part, "cannot drop inherited column \"%s\"", column->name);
    if (relation->typed_of != 0)
        part_fails(part, "cannot drop column from typed table");
    if (part->alter->cascade)
        return;
    for (size_t i = 0; i < relation->n_views; i++) {
        if (relation->views[i].column == column->number)
            part_fails(part, "cannot drop column %s of table %s because other objects depend on it",
                       column->name, relation->name);
    }
    part_may_fail(part); /* keys of other tables, policies, functions, generated columns may use it */
}

static void drop_not_null(struct part *part, const struct catalog_relation *relation,
                          const struct catalog_column *column)
{
    const struct catalog_constraint *key = effects_primary_key(relation);
    for (size_t i = 0; key != NULL && i < key->n_columns; i++) {
        if (key->columns[i] == column->number)
            part_fails(part, "column \"%s\" is in a primary key", column->name);
    }
    if (column->identity != '\0')
        part_fails(part, "column \"%s\" of relation \"%s\" is an identity column", column->name,
                   relation->name);
    if (column->inherited > 0 || relation->children > 0)
        part_may_fail(part);
}

static void add_identity(struct part *part, const struct catalog_relation *relation,
                         const struct catalog_column *column)
{
    if (column->has_default)
        part_fails(part, "column \"%s\" of relation \"%s\" already has a default value", column->name,
                   relation->name);
    if (column->identity != '\0')
        part_fails(part, "column \"%s\" of relation \"%s\" is already an identity column", column->name,
                   relation->name);
    if (!column->not_null)
        part_fails(part,
                   "column \"%s\" of relation \"%s\" must be declared NOT NULL before identity can be added",
                   column->name, relation->name);
    if (relation->children > 0 || relation->is_partition)
        part_may_fail(part);
}

static void set_default(struct part *part, const struct look *look, const struct catalog_column *column)
{
    if (column->identity != '\0')
        part_fails(part, "column \"%s\" of relation \"%s\" is an identity column", column->name,
                   look->table.relation->name);
    if (column->generated != '\0')
        part_fails(part, "column \"%s\" of relation \"%s\" is a generated column", column->name,
                   look->table.relation->name);
    const struct expr *expr = part->alter->expr;
    if (part->alter->kind != ALTER_SET_DEFAULT || expr == NULL)
        return;
    struct catalog_answer answer = catalog_expression(look->names, expr, NULL, NULL);
    if (!answer.is_null && answer.type != column->type)
        part_may_fail(part);
}

static void rename_column(struct part *part, const struct catalog_relation *relation,
                          const struct catalog_column *column)
{
    if (column->inherited > 0)
        part_fails(part, "cannot rename inherited column \"%s\"", column->name);
    if (catalog_column(relation, part->alter->new_name) != NULL)
        part_fails(part, "column \"%s\" of relation \"%s\" already exists", part->alter->new_name,
                   relation->name);
    part_may_fail(part); /* children may have the name; partitions know it as their key */
}

static void on_column(struct part *part, const struct look *look, const struct catalog_relation *relation)
{
    const struct catalog_column *column = catalog_column(relation, part->alter->subject);
    if (part->alter->kind == ALTER_DROP_COLUMN) {
        drop_column(part, relation, column);
        return;
    }
    if (column == NULL) {
        no_such_column(part, relation);
        return;
    }
    switch (part->alter->kind) {
    case ALTER_DROP_NOT_NULL:
        drop_not_null(part, relation, column);
        return;
    case ALTER_ADD_IDENTITY:
        add_identity(part, relation, column);
        return;
    case ALTER_SET_DEFAULT:
    case ALTER_DROP_DEFAULT:
        set_default(part, look, column);
        return;
    case ALTER_RENAME_COLUMN:
        rename_column(part, relation, column);
        return;
    default:
        part_may_fail(part); /* its options aren't looked into */
        return;
    }
}

static void on_constraint(struct part *part, const struct catalog_relation *relation)
{
    const struct alter *alter = part->alter;
    const struct catalog_constraint *constraint = effects_constraint(relation, alter->subject);
    if (constraint == NULL) {
        if (!alter->missing_ok)
            part_fails(part, "constraint \"%s\" of relation \"%s\" does not exist", alter->subject,
                       relation->name);
        return;
    }
    if (alter->kind == ALTER_RENAME_CONSTRAINT && effects_constraint(relation, alter->new_name) != NULL)
        part_fails(part, "constraint \"%s\" for relation \"%s\" already exists", alter->new_name,
                   relation->name);
    if (alter->kind == ALTER_ALTER_CONSTRAINT && constraint->type != 'f' && constraint->type != 'n')
        part_fails(part, "constraint \"%s\" of relation \"%s\" is not a foreign key constraint",
                   constraint->name, relation->name);
    bool plain = constraint->type == 'c' && relation->n_parents == 0 && alter->kind == ALTER_DROP_CONSTRAINT;
    if (!plain)
        part_may_fail(part);
}

/* Kinds of relation that a subcommand isn't for. Views take defaults and options, and new names. */
static void wrong_kind(struct part *part, const struct catalog_relation *relation)
{
    if (strchr("rpfc", relation->kind) != NULL)
        return;
    switch (part->alter->kind) {
    case ALTER_ADD_COLUMN:
    case ALTER_DROP_COLUMN:
    case ALTER_COLUMN_TYPE:
    case ALTER_SET_NOT_NULL:
    case ALTER_DROP_NOT_NULL:
    case ALTER_ADD_CONSTRAINT:
    case ALTER_VALIDATE_CONSTRAINT:
    case ALTER_DROP_CONSTRAINT:
    case ALTER_ADD_IDENTITY:
        part_fails(part, "ALTER action %s cannot be performed on relation \"%s\"",
                   alter_kind_name(part->alter->kind), relation->name);
        return;
    default:
        part_may_fail(part);
        return;
    }
}

static void on_other_table(struct part *part, const struct look *look)
{
    struct table other = table_named(look, &part->alter->other);
    if (other.missing && part->alter->other.name != NULL)
        part_fails(part, "relation \"%s\" does not exist", part->alter->other.name);
    part_may_fail(part);
}

static void by_kind(struct part *part, const struct look *look, const struct catalog_relation *relation)
{
    switch (part->alter->kind) {
    case ALTER_ADD_COLUMN:
    case ALTER_COLUMN_TYPE:
    case ALTER_SET_NOT_NULL:
    case ALTER_ADD_CONSTRAINT:
    case ALTER_ADD_INDEX_CONSTRAINT:
    case ALTER_VALIDATE_CONSTRAINT:
        return; /* said where their effects are */
    case ALTER_DROP_COLUMN:
    case ALTER_SET_DEFAULT:
    case ALTER_DROP_DEFAULT:
    case ALTER_DROP_NOT_NULL:
    case ALTER_SET_STATISTICS:
    case ALTER_SET_OPTIONS:
    case ALTER_RESET_OPTIONS:
    case ALTER_SET_STORAGE:
    case ALTER_SET_COMPRESSION:
    case ALTER_ADD_IDENTITY:
    case ALTER_SET_IDENTITY:
    case ALTER_SET_EXPRESSION:
    case ALTER_RENAME_COLUMN:
        if (touched_elsewhere(part, look->facts))
            part_may_fail(part);
        else
            on_column(part, look, relation);
        return;
    case ALTER_DROP_CONSTRAINT:
    case ALTER_ALTER_CONSTRAINT:
    case ALTER_RENAME_CONSTRAINT:
        if (touched_elsewhere(part, look->facts))
            part_may_fail(part);
        else
            on_constraint(part, relation);
        return;
    case ALTER_ATTACH_PARTITION:
    case ALTER_DETACH_PARTITION:
    case ALTER_ADD_INHERIT:
    case ALTER_DROP_INHERIT:
        on_other_table(part, look);
        return;
    case ALTER_ROW_SECURITY:
        return;
    default:
        part_may_fail(part);
        return;
    }
}

void effects_refused(struct part *part, const struct look *look)
{
    const struct catalog_relation *relation = table_structure(look);
    if (relation == NULL) {
        if (!look->table.fresh)
            part_may_fail(part);
        return;
    }
    if (!relation->may_own)
        part_fails(part, "must be owner of table %s", relation->name);
    wrong_kind(part, relation);
    if (part->fails != ANSWER_YES)
        by_kind(part, look, relation);
}

/*
 * What a column's definition does to a table that has rows: rewrite, reads, index builds, failure.
 */
#include <string.h>
#include <talloc.h>

#include "policy/builtins.h"
#include "policy/effects.h"

/* ---- columns ---- */

bool column_is_serial(const struct column_definition *column)
{
    return column->type.schema == NULL && column->type.array == 0 && serial_type(column->type.name);
}

const struct expr *column_default(const struct column_definition *column,
                                  const struct policy_context *context)
{
    const struct constraint *constraint = column_constraint(column, CONSTRAINT_DEFAULT);
    if (constraint == NULL || constraint->expr == NULL || expression_is_null(constraint->expr, context))
        return NULL;
    return constraint->expr;
}

const struct constraint *column_not_null(const struct column_definition *column)
{
    const struct constraint *constraint = column_constraint(column, CONSTRAINT_NOT_NULL);
    return constraint != NULL ? constraint : column_constraint(column, CONSTRAINT_PRIMARY);
}

bool column_filled(const struct column_definition *column, const struct policy_context *context)
{
    return column_is_serial(column) || column_constraint(column, CONSTRAINT_IDENTITY) != NULL ||
           column_constraint(column, CONSTRAINT_GENERATED) != NULL || column_default(column, context) != NULL;
}

const struct column_definition *added_column(const struct facts *facts, const char *column)
{
    for (size_t i = 0; column != NULL && i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        if (alter->kind == ALTER_ADD_COLUMN && alter->column != NULL &&
            strcmp(alter->column->name, column) == 0)
            return alter->column;
    }
    return NULL;
}

/* ---- ADD COLUMN ---- */

/* A table without rows rewrites, verifies and fails at nothing worth naming; the server does all the same. */
static void add_column_nulls(struct part *part, const struct facts *facts,
                             const struct policy_context *context)
{
    const struct column_definition *column = part->alter->column;
    part->scan = answer_or(part->scan, ANSWER_YES);
    part->fails = answer_or(part->fails, table_has_rows(context));
    if (part->fails == ANSWER_YES && part->fails_with == NULL)
        part->fails_with =
            talloc_asprintf(part->memory, "column \"%s\" of relation \"%s\" contains null values",
                            column->name, facts->object.name);
}

static void add_column_generated(struct part *part, const struct constraint *generated,
                                 const struct policy_context *context)
{
    int major = context_major(context);
    if (!generated->generated_virtual) {
        part->rewrite = ANSWER_YES;
        return;
    }
    if (major != 0 && major < 18) {
        part->fails = ANSWER_YES;
        part->fails_with = "syntax error: virtual generated columns came with PostgreSQL 18";
        return;
    }
    part->fails = answer_or(part->fails, ANSWER_UNKNOWN);
}

static void add_column_rewrite(struct part *part, const struct policy_context *context)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *generated = column_constraint(column, CONSTRAINT_GENERATED);
    const struct expr *by_default = column_default(column, context);

    if (column_is_serial(column) || column_constraint(column, CONSTRAINT_IDENTITY) != NULL)
        part->rewrite = ANSWER_YES;
    if (generated != NULL)
        add_column_generated(part, generated, context);
    if (by_default != NULL)
        part->by_default = expression_volatility(by_default, context);
    part->rewrite = answer_or(part->rewrite, part->by_default.answer);
    enum answer constrained = type_constrained(&column->type, context);
    part->rewrite = answer_or(part->rewrite, constrained);
    if (constrained != ANSWER_NO) /* a NOT NULL domain without a default fails */
        part->fails = answer_or(part->fails, ANSWER_UNKNOWN);
}

static void add_column_keys(struct part *part, const struct policy_context *context)
{
    const struct column_definition *column = part->alter->column;
    bool key = column_constraint(column, CONSTRAINT_PRIMARY) != NULL ||
               column_constraint(column, CONSTRAINT_UNIQUE) != NULL;
    const struct expr *by_default = column_default(column, context);
    if (key) {
        part->index_build = ANSWER_YES;
        if (by_default != NULL) /* the same value twice, or a volatile one that repeats */
            part->fails = answer_or(part->fails, ANSWER_UNKNOWN);
    }
    if (column_constraint(column, CONSTRAINT_CHECK) != NULL) {
        part->scan = ANSWER_YES;
        part->fails = answer_or(part->fails, ANSWER_UNKNOWN);
    }
    /* The server skips reading for a foreign key only where no DEFAULT at all is written: DEFAULT NULL reads.
     */
    bool written = column_constraint(column, CONSTRAINT_DEFAULT) != NULL || column_is_serial(column) ||
                   column_constraint(column, CONSTRAINT_GENERATED) != NULL;
    if (column_constraint(column, CONSTRAINT_FOREIGN) != NULL && written) {
        part->scan_key = ANSWER_YES;
        if (column_filled(column, context))
            part->fails = answer_or(part->fails, ANSWER_UNKNOWN);
    }
}

void effects_add_column(struct part *part, const struct facts *facts, const struct policy_context *context)
{
    const struct column_definition *column = part->alter->column;
    if (column == NULL)
        return;
    if (table_has_column(context, column->name) == ANSWER_YES) {
        if (part->alter->missing_ok || facts->if_not_exists)
            return; /* skipped with a NOTICE, the lock taken all the same */
        part->fails = ANSWER_YES;
        part->fails_with = talloc_asprintf(part->memory, "column \"%s\" of relation \"%s\" already exists",
                                           column->name, facts->object.name);
        return;
    }
    add_column_rewrite(part, context);
    add_column_keys(part, context);
    const struct constraint *generated = column_constraint(column, CONSTRAINT_GENERATED);
    bool is_virtual = generated != NULL && generated->generated_virtual;
    if (column_not_null(column) == NULL)
        return;
    if (is_virtual)
        part->scan = ANSWER_YES;
    else if (!column_filled(column, context))
        add_column_nulls(part, facts, context);
}

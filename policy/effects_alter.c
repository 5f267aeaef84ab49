/*
 * ALTER TABLE, subcommand by subcommand, and what several of them do together.
 *
 * Locks are those of the manual's page on ALTER TABLE and were compared with pg_locks on servers 13 to 18
 * (tests/sql/effects.tsv). Nothing is guessed: where only the catalog knows, the answer is "unknown".
 */
#include <string.h>
#include <talloc.h>

#include "policy/effects.h"

/* What a kind of subcommand does whatever its text says. `since`: the first server that knows it. */
static const struct alter_row {
    enum lock_mode lock;
    enum answer rewrite, scan, fails;
    int since;
} rows[] = {
#define ROW(kind, lock, rewrite, scan, fails, since)                                                         \
    [ALTER_##kind] = {LOCK_##lock, ANSWER_##rewrite, ANSWER_##scan, ANSWER_##fails, since},
    ROW(ADD_COLUMN, ACCESS_EXCLUSIVE, NO, NO, NO, 0) /* and effects_column.c */
    ROW(DROP_COLUMN, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
        ROW(COLUMN_TYPE, ACCESS_EXCLUSIVE, UNKNOWN, UNKNOWN, UNKNOWN, 0) /* and column_type() */
    ROW(SET_DEFAULT, ACCESS_EXCLUSIVE, NO, NO, NO, 0) ROW(DROP_DEFAULT, ACCESS_EXCLUSIVE, NO, NO, NO, 0) ROW(
        SET_NOT_NULL, ACCESS_EXCLUSIVE, NO, UNKNOWN, UNKNOWN, 0) /* a CHECK may prove it: set_not_null() */
    ROW(DROP_NOT_NULL, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
        ROW(SET_EXPRESSION, ACCESS_EXCLUSIVE, UNKNOWN, UNKNOWN, UNKNOWN,
            17) /* stored or virtual: not in the text */
    ROW(DROP_EXPRESSION, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
        ROW(SET_STATISTICS, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 0)
            ROW(SET_OPTIONS, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 0)
                ROW(RESET_OPTIONS, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 0)
                    ROW(SET_STORAGE, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                        ROW(SET_COMPRESSION, ACCESS_EXCLUSIVE, NO, NO, NO, 14)
                            ROW(ADD_IDENTITY, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                ROW(SET_IDENTITY, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                    ROW(DROP_IDENTITY, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                        ROW(ADD_CONSTRAINT, ACCESS_EXCLUSIVE, NO, NO, NO,
                                            0) /* and add_constraint() */
    ROW(ALTER_CONSTRAINT, ACCESS_EXCLUSIVE, NO, NO, NO, 0) ROW(
        VALIDATE_CONSTRAINT, SHARE_UPDATE_EXCLUSIVE, NO, UNKNOWN, UNKNOWN, 0) /* it may be valid already */
    ROW(DROP_CONSTRAINT, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
        ROW(ADD_INDEX_CONSTRAINT, ACCESS_EXCLUSIVE, NO, NO, NO, 0) ROW(OWNER, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
            ROW(CLUSTER_ON, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 0)
                ROW(DROP_CLUSTER, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 0)
                    ROW(SET_LOGGED, ACCESS_EXCLUSIVE, YES, NO, NO, 0)
                        ROW(SET_UNLOGGED, ACCESS_EXCLUSIVE, YES, NO, NO, 0)
                            ROW(SET_ACCESS_METHOD, ACCESS_EXCLUSIVE, UNKNOWN, NO, NO,
                                15)                           /* the same one again does nothing */
    ROW(SET_TABLESPACE, ACCESS_EXCLUSIVE, UNKNOWN, NO, NO, 0) /* likewise */
    ROW(SET_RELOPTIONS, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 0)
        ROW(RESET_RELOPTIONS, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 0)
            ROW(ENABLE_TRIGGER, SHARE_ROW_EXCLUSIVE, NO, NO, NO, 0)
                ROW(DISABLE_TRIGGER, SHARE_ROW_EXCLUSIVE, NO, NO, NO, 0)
                    ROW(ENABLE_RULE, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                        ROW(DISABLE_RULE, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                            ROW(ADD_INHERIT, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                ROW(DROP_INHERIT, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                    ROW(ADD_OF, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                        ROW(DROP_OF, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                            ROW(REPLICA_IDENTITY, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                                ROW(ROW_SECURITY, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                                                    ROW(ATTACH_PARTITION, SHARE_UPDATE_EXCLUSIVE, NO, UNKNOWN,
                                                        UNKNOWN, 0) /* a CHECK may prove the bound */
    ROW(DETACH_PARTITION, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
        ROW(DETACH_PARTITION_FINALIZE, SHARE_UPDATE_EXCLUSIVE, NO, NO, NO, 14)
            ROW(RENAME_COLUMN, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                ROW(RENAME_CONSTRAINT, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                    ROW(RENAME_TABLE, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                        ROW(SET_SCHEMA, ACCESS_EXCLUSIVE, NO, NO, NO, 0)
                            ROW(OTHER, ACCESS_EXCLUSIVE, UNKNOWN, UNKNOWN, UNKNOWN, 0)
#undef ROW
};

/* ---- ALTER COLUMN … TYPE ---- */

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

static void column_type(struct part *part)
{
    const struct alter *alter = part->alter;
    const struct expr *using = alter->expr;
    if (using != NULL && (using->kind == EXPR_CONSTANT || using->kind == EXPR_NULL))
        part->rewrite = ANSWER_YES;
    if (using != NULL && using->kind == EXPR_COLUMN && alter->subject != NULL && using->name.name != NULL &&
        strcmp(using->name.name, alter->subject) != 0)
        part->rewrite = ANSWER_YES;
    if (alter->column != NULL && type_always_rewrites(&alter->column->type))
        part->rewrite = ANSWER_YES;
    part->index_build = ANSWER_UNKNOWN; /* indexes on the column are built anew unless their order is kept */
}

/* ---- constraints ---- */

static void set_not_null(struct part *part, const struct facts *facts, const struct policy_context *context)
{
    const struct column_definition *column = added_column(facts, part->alter->subject);
    if (column == NULL)
        return; /* the row's answers stand: a CHECK may prove it, or it is NOT NULL already */
    if (column_not_null(column) != NULL) {
        part->scan = part->fails = ANSWER_NO;
        return;
    }
    part->scan = ANSWER_YES;
    part->fails = column_filled(column, context) ? ANSWER_NO : table_has_rows(context);
}

/* Is every column of a new primary key known to be NOT NULL through this very statement? */
static bool key_not_null(const struct constraint *key, const struct facts *facts)
{
    for (size_t i = 0; i < key->n_columns; i++) {
        const struct column_definition *column = added_column(facts, key->columns[i]);
        if (column == NULL)
            return false;
        if (column_not_null(column) == NULL && !column_is_serial(column) &&
            column_constraint(column, CONSTRAINT_IDENTITY) == NULL)
            return false;
    }
    return key->n_columns > 0;
}

static void add_constraint(struct part *part, const struct facts *facts)
{
    const struct constraint *constraint = part->alter->constraint;
    if (constraint == NULL) {
        part->rewrite = part->scan = part->index_build = part->fails = ANSWER_UNKNOWN;
        return;
    }
    switch (constraint->kind) {
    case CONSTRAINT_FOREIGN:
        part->lock = LOCK_SHARE_ROW_EXCLUSIVE;
        part->scan_key = constraint->not_valid ? ANSWER_NO : ANSWER_YES;
        part->fails = constraint->not_valid ? ANSWER_NO : ANSWER_UNKNOWN;
        return;
    case CONSTRAINT_CHECK:
        part->scan = constraint->not_valid ? ANSWER_NO : ANSWER_YES;
        part->fails = constraint->not_valid ? ANSWER_NO : ANSWER_UNKNOWN;
        return;
    case CONSTRAINT_NOT_NULL: /* PostgreSQL 18 */
        part->scan = constraint->not_valid ? ANSWER_NO : ANSWER_UNKNOWN;
        part->fails = part->scan;
        return;
    case CONSTRAINT_PRIMARY:
        if (!key_not_null(constraint, facts))
            part->scan = ANSWER_UNKNOWN;
        part->fails = ANSWER_UNKNOWN;
        part->index_build = constraint->using_index == NULL ? ANSWER_YES : ANSWER_NO;
        return;
    case CONSTRAINT_UNIQUE:
    case CONSTRAINT_EXCLUSION:
        part->index_build = constraint->using_index == NULL ? ANSWER_YES : ANSWER_NO;
        part->fails = part->index_build == ANSWER_YES ? ANSWER_UNKNOWN : ANSWER_NO;
        return;
    case CONSTRAINT_NULL:
    case CONSTRAINT_DEFAULT:
    case CONSTRAINT_IDENTITY:
    case CONSTRAINT_GENERATED:
    case CONSTRAINT_ATTRIBUTE:
        return;
    }
}

/* Already as asked for: the server does nothing. */
static enum answer persistence_changes(const struct policy_context *context, char wanted)
{
    if (context->table == NULL)
        return ANSWER_YES;
    return context->table->relpersistence == wanted ? ANSWER_NO : ANSWER_YES;
}

static void judge_part(struct part *part, const struct facts *facts, const struct policy_context *context)
{
    const struct alter *alter = part->alter;
    const struct alter_row *row = &rows[alter->kind];
    int major = context_major(context);
    part->lock = row->lock;
    part->rewrite = row->rewrite;
    part->scan = row->scan;
    part->fails = row->fails;
    if (row->since > 0 && major > 0 && major < row->since) {
        *part = (struct part){.alter = alter,
                              .memory = part->memory,
                              .fails = ANSWER_YES,
                              .fails_with = "syntax error: newer than this server"};
        return;
    }
    switch (alter->kind) {
    case ALTER_ADD_COLUMN:
        effects_add_column(part, facts, context);
        return;
    case ALTER_COLUMN_TYPE:
        column_type(part);
        return;
    case ALTER_SET_NOT_NULL:
        set_not_null(part, facts, context);
        return;
    case ALTER_ADD_CONSTRAINT:
    case ALTER_ADD_INDEX_CONSTRAINT:
        add_constraint(part, facts);
        return;
    case ALTER_SET_LOGGED:
        part->rewrite = persistence_changes(context, 'p');
        return;
    case ALTER_SET_UNLOGGED:
        part->rewrite = persistence_changes(context, 'u');
        return;
    case ALTER_DETACH_PARTITION:
        if (alter->concurrently)
            part->lock = LOCK_SHARE_UPDATE_EXCLUSIVE;
        return;
    case ALTER_RENAME_TABLE:
        if (strcmp(facts->object_kind, "INDEX") == 0)
            part->lock = LOCK_SHARE_UPDATE_EXCLUSIVE;
        return;
    case ALTER_SET_RELOPTIONS:
    case ALTER_RESET_RELOPTIONS:
        if (strcmp(facts->object_kind, "TABLE") != 0) /* an index's or a view's own options differ */
            part->lock = LOCK_ACCESS_EXCLUSIVE;
        return;
    default:
        return;
    }
}

/* Rewriting reads every row anyway: CHECK and NOT NULL are verified in that pass, foreign keys in another. */
static enum answer scan_beside(enum answer rewrite, enum answer scan, enum answer scan_key)
{
    if (rewrite == ANSWER_YES)
        return scan_key;
    if (rewrite == ANSWER_UNKNOWN && scan == ANSWER_YES)
        scan = ANSWER_UNKNOWN;
    return answer_or(scan, scan_key);
}

bool table_stores_rows(const struct facts *facts, const struct policy_context *context)
{
    if (context->table != NULL && context->table->exists)
        return strchr("vfc", context->table->relkind) == NULL;
    return strcmp(facts->object_kind, "VIEW") != 0 && strcmp(facts->object_kind, "FOREIGN TABLE") != 0 &&
           strcmp(facts->object_kind, "TYPE") != 0;
}

void alter_effects(struct parts *parts, const struct facts *facts, const struct policy_context *context)
{
    struct effects *total = &parts->total;
    enum answer scan = ANSWER_NO, scan_key = ANSWER_NO;
    for (size_t i = 0; i < parts->n; i++) {
        struct part *part = &parts->items[i];
        part->alter = &facts->alters[i];
        part->memory = parts;
        judge_part(part, facts, context);
        if (!table_stores_rows(facts, context))
            part->rewrite = part->scan = part->scan_key = part->index_build = ANSWER_NO;
        if (part->lock > total->lock)
            total->lock = part->lock;
        total->rewrite = answer_or(total->rewrite, part->rewrite);
        total->index_build = answer_or(total->index_build, part->index_build);
        total->fails = answer_or(total->fails, part->fails);
        if (total->fails_with == NULL && part->fails == ANSWER_YES)
            total->fails_with = part->fails_with;
        scan = answer_or(scan, part->scan);
        scan_key = answer_or(scan_key, part->scan_key);
    }
    total->scan = scan_beside(total->rewrite, scan, scan_key);
}

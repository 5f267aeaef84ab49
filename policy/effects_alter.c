/*
 * ALTER TABLE, subcommand by subcommand, and what several of them do together.
 *
 * Locks are those of the manual's page on ALTER TABLE and were compared with pg_locks on servers 13 to 18
 * (tests/sql/effects.tsv). Nothing is guessed: where only the catalog knows, the answer is "unknown".
 */
#include <stdarg.h>
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

void part_fails(struct part *part, const char *format, ...)
{
    va_list arguments;
    if (part->fails == ANSWER_YES)
        return;
    va_start(arguments, format);
    part->fails = ANSWER_YES;
    part->fails_with = talloc_vasprintf(part->memory, format, arguments);
    va_end(arguments);
}

void part_may_fail(struct part *part)
{
    part->fails = answer_or(part->fails, ANSWER_UNKNOWN);
}

/* ---- SET NOT NULL ---- */

/* The catalog's mark alone is no proof on 18: a NOT NULL constraint may be NOT VALID. */
static bool marked_not_null(const struct catalog_relation *relation, const struct catalog_column *column)
{
    for (size_t i = 0; i < relation->n_constraints; i++) {
        const struct catalog_constraint *constraint = &relation->constraints[i];
        if (constraint->type == 'n' && !constraint->validated && constraint->n_columns == 1 &&
            constraint->columns[0] == column->number)
            return false;
    }
    return column->not_null;
}

/* From 18 on the mark is a constraint. One that is inherited is in every child, valid where the parent's is,
 * and can't be dropped there; before, a child may be without what its parent has. */
static bool not_null_below(const struct look *look, const struct catalog_relation *relation,
                           const struct catalog_column *column)
{
    if (relation->children == 0 || relation->kind == 'p')
        return true;
    for (size_t i = 0; context_major(look->context) >= 18 && i < relation->n_constraints; i++) {
        const struct catalog_constraint *constraint = &relation->constraints[i];
        if (constraint->type == 'n' && constraint->validated && !constraint->no_inherit &&
            constraint->n_columns == 1 && constraint->columns[0] == column->number)
            return true;
    }
    return false;
}

/* Would making this column NOT NULL read the table? A CHECK that is dropped, or made, beside it isn't counted
 * on. */
static enum answer reads_for_not_null(const struct look *look, const char *name)
{
    const struct catalog_relation *relation = table_structure(look);
    const struct catalog_column *column = relation == NULL ? NULL : catalog_column(relation, name);
    if (column == NULL)
        return ANSWER_UNKNOWN;
    bool certain = marked_not_null(relation, column), proven = catalog_not_null_proven(relation, column);
    for (size_t i = 0; i < look->facts->n_alters; i++) {
        const struct alter *other = &look->facts->alters[i];
        enum alter_kind kind = other->kind;
        bool proof =
            kind == ALTER_ADD_CONSTRAINT && other->constraint != NULL &&
            (other->constraint->kind == CONSTRAINT_CHECK || other->constraint->kind == CONSTRAINT_NOT_NULL);
        if (kind == ALTER_DROP_CONSTRAINT || kind == ALTER_DROP_NOT_NULL || kind == ALTER_COLUMN_TYPE ||
            proof)
            return ANSWER_UNKNOWN;
    }
    if (certain || proven)
        return not_null_below(look, relation, column) ? ANSWER_NO : ANSWER_UNKNOWN;
    return ANSWER_YES;
}

static void set_not_null(struct part *part, const struct look *look)
{
    const char *name = part->alter->subject;
    const struct catalog_relation *relation = table_structure(look);
    const struct column_definition *column = added_column(look->facts, name);
    if (column != NULL) {
        bool already = column_not_null(column) != NULL;
        part->scan = answer_of(!already);
        part->fails = already || column_filled(column, look) ? ANSWER_NO : table_has_rows(look);
        return;
    }
    if (table_has_column(look, name) == ANSWER_NO)
        part_fails(part, "column \"%s\" of relation \"%s\" does not exist", name, relation->name);
    if (relation == NULL || part->fails == ANSWER_YES)
        return; /* the row's answers stand: a CHECK may prove it, or it is NOT NULL already */
    part->scan = reads_for_not_null(look, name);
    bool fine = part->scan == ANSWER_NO && !look->facts->only;
    part->fails = fine ? ANSWER_NO : table_has_rows(look);
}

/* ---- ADD CONSTRAINT ---- */

/* Does making these columns a primary key read the table for NULLs? */
static enum answer key_reads(const struct constraint *key, const struct look *look)
{
    enum answer reads = key->n_columns > 0 ? ANSWER_NO : ANSWER_UNKNOWN;
    for (size_t i = 0; i < key->n_columns; i++) {
        const struct column_definition *column = added_column(look->facts, key->columns[i]);
        if (column == NULL)
            reads = answer_or(reads, reads_for_not_null(look, key->columns[i]));
        else if (column_not_null(column) == NULL && !column_is_serial(column) &&
                 column_constraint(column, CONSTRAINT_IDENTITY) == NULL)
            reads = ANSWER_YES;
    }
    return reads;
}

/* A primary key that takes an index over sets the index's columns NOT NULL. */
static enum answer index_reads(const struct look *look, const struct catalog_relation *relation,
                               const char *name)
{
    const struct catalog_index *index = NULL;
    enum answer reads = ANSWER_NO;
    for (size_t i = 0; relation != NULL && i < relation->n_indexes; i++) {
        if (strcmp(relation->indexes[i].name, name) == 0)
            index = &relation->indexes[i];
    }
    for (size_t i = 0; index != NULL && i < index->n_columns; i++) {
        const char *column = NULL;
        for (size_t k = 0; k < relation->n_columns; k++) {
            if (relation->columns[k].number == index->columns[i])
                column = relation->columns[k].name;
        }
        reads = answer_or(reads, column == NULL ? ANSWER_UNKNOWN : reads_for_not_null(look, column));
    }
    return index == NULL ? ANSWER_UNKNOWN : reads;
}

static void columns_exist(struct part *part, const struct look *look, const char *const *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (added_column(look->facts, columns[i]) == NULL && table_has_column(look, columns[i]) == ANSWER_NO)
            part_fails(part, "column \"%s\" does not exist", columns[i]);
    }
}

static void name_taken(struct part *part, const struct look *look, const char *name)
{
    const struct catalog_relation *relation = table_structure(look);
    const struct catalog_constraint *old =
        relation == NULL || name == NULL ? NULL : effects_constraint(relation, name);
    if (old != NULL && !constraint_dropped_here(look, old))
        part_fails(part, "constraint \"%s\" for relation \"%s\" already exists", name, relation->name);
}

static void add_foreign_key(struct part *part, const struct look *look, const struct constraint *constraint)
{
    const struct catalog_relation *relation = table_structure(look);
    part->lock = LOCK_SHARE_ROW_EXCLUSIVE;
    part->scan_key = answer_of(!constraint->not_valid);
    part->fails = constraint->not_valid ? ANSWER_NO : table_has_rows(look);
    columns_exist(part, look, constraint->columns, constraint->n_columns);
    if (relation == NULL)
        return;
    if (relation->kind == 'p' && constraint->not_valid && context_major(look->context) < 18)
        part_fails(part, "cannot add NOT VALID foreign key on partitioned table \"%s\"", relation->name);
    uint32_t *types = talloc_zero_array(part->memory, uint32_t, (unsigned)(constraint->n_columns + 1));
    for (size_t i = 0; types != NULL && i < constraint->n_columns; i++) {
        const struct column_definition *added = added_column(look->facts, constraint->columns[i]);
        const struct catalog_column *column = catalog_column(relation, constraint->columns[i]);
        if (added != NULL)
            types[i] = column_is_serial(added) ? 0 : catalog_type_oid(look->names, &added->type);
        else if (column != NULL)
            types[i] = column->type;
    }
    if (types != NULL)
        effects_reference(part, look, constraint, types, constraint->n_columns);
}

static void add_check(struct part *part, const struct look *look, const struct constraint *constraint)
{
    const struct catalog_relation *relation = table_structure(look);
    part->scan = answer_of(!constraint->not_valid);
    part->fails = constraint->not_valid ? ANSWER_NO : ANSWER_UNKNOWN;
    if (constraint->expr != NULL && check_holds(constraint->expr, NULL, NULL) == ANSWER_YES)
        part->fails = ANSWER_NO;
    if (relation == NULL)
        return;
    if (constraint->expr == NULL || check_holds(constraint->expr, NULL, NULL) != ANSWER_YES)
        part_may_fail(part); /* its expression may be wrong; children may have a CHECK of that name */
    if (look->facts->only && relation->children > 0 && !constraint->no_inherit)
        part_fails(part, "constraint must be added to child tables too");
    const char *missing = effects_missing_column(look, constraint->expr);
    if (missing != NULL)
        part_fails(part, "column \"%s\" does not exist", missing);
}

static void add_unique(struct part *part, const struct look *look, const struct constraint *constraint)
{
    const struct catalog_relation *relation = table_structure(look);
    bool primary = constraint->kind == CONSTRAINT_PRIMARY;
    part->index_build = answer_of(constraint->using_index == NULL);
    part->fails = part->index_build == ANSWER_YES ? ANSWER_UNKNOWN : ANSWER_NO;
    if (primary) {
        part->scan = constraint->using_index == NULL ? key_reads(constraint, look)
                                                     : index_reads(look, relation, constraint->using_index);
        part->fails = ANSWER_UNKNOWN;
    }
    columns_exist(part, look, constraint->columns, constraint->n_columns);
    if (relation == NULL)
        return;
    if (look->facts->only && relation->kind == 'p')
        part->index_build = ANSWER_NO; /* the parent's is made invalid, until each partition's is attached */
    const struct catalog_constraint *old = effects_primary_key(relation);
    if (primary && old != NULL && !constraint_dropped_here(look, old))
        part_fails(part, "multiple primary keys for table \"%s\" are not allowed", relation->name);
    if (constraint->using_index != NULL) {
        part_may_fail(part); /* sort order and operator classes of the index are not looked into */
        return;
    }
    if (constraint->kind == CONSTRAINT_UNIQUE && relation->kind == 'r' && constraint->n_columns > 0 &&
        effects_unique_proven(relation, constraint->columns, constraint->n_columns) &&
        constraint->name == NULL)
        part->fails = part->fails == ANSWER_YES ? ANSWER_YES : ANSWER_NO;
}

void effects_add_constraint(struct part *part, const struct look *look)
{
    const struct constraint *constraint = part->alter->constraint;
    if (constraint == NULL) {
        part->rewrite = part->scan = part->index_build = part->fails = ANSWER_UNKNOWN;
        return;
    }
    switch (constraint->kind) {
    case CONSTRAINT_FOREIGN:
        add_foreign_key(part, look, constraint);
        break;
    case CONSTRAINT_CHECK:
        add_check(part, look, constraint);
        break;
    case CONSTRAINT_NOT_NULL: /* PostgreSQL 18 */
        columns_exist(part, look, constraint->columns, constraint->n_columns);
        part->scan = constraint->not_valid        ? ANSWER_NO
                     : constraint->n_columns == 1 ? reads_for_not_null(look, constraint->columns[0])
                                                  : ANSWER_UNKNOWN;
        part->fails = answer_or(part->fails, ANSWER_UNKNOWN);
        break;
    case CONSTRAINT_PRIMARY:
    case CONSTRAINT_UNIQUE:
    case CONSTRAINT_EXCLUSION:
        add_unique(part, look, constraint);
        break;
    case CONSTRAINT_NULL:
    case CONSTRAINT_DEFAULT:
    case CONSTRAINT_IDENTITY:
    case CONSTRAINT_GENERATED:
    case CONSTRAINT_ATTRIBUTE:
        break;
    }
    name_taken(part, look, constraint->name); /* the work is told of all the same: see not_there() */
}

static void validate_constraint(struct part *part, const struct look *look)
{
    const struct catalog_relation *relation = table_structure(look);
    if (relation == NULL)
        return;
    const struct catalog_constraint *constraint = effects_constraint(relation, part->alter->subject);
    if (constraint == NULL) {
        part->scan = ANSWER_NO;
        part_fails(part, "constraint \"%s\" of relation \"%s\" does not exist", part->alter->subject,
                   relation->name);
        return;
    }
    if (strchr(context_major(look->context) < 18 ? "cf" : "cfn", constraint->type) == NULL) {
        part->scan = ANSWER_NO;
        part_fails(part, "constraint \"%s\" of relation \"%s\" can't be validated", constraint->name,
                   relation->name);
        return;
    }
    part->scan = answer_of(!constraint->validated);
    part->fails = constraint->validated ? ANSWER_NO : table_has_rows(look);
}

/* ---- one subcommand ---- */

/* Already as asked for: the server does nothing. */
static enum answer persistence_changes(const struct look *look, char wanted)
{
    const struct catalog_relation *relation = look->table.relation;
    if (relation == NULL || look->table.changed)
        return look->names == NULL ? ANSWER_YES : ANSWER_UNKNOWN;
    return answer_of(relation->persistence != wanted);
}

static void judge_kind(struct part *part, const struct look *look)
{
    const struct alter *alter = part->alter;
    switch (alter->kind) {
    case ALTER_ADD_COLUMN:
        effects_add_column(part, look);
        return;
    case ALTER_COLUMN_TYPE:
        effects_column_type(part, look);
        return;
    case ALTER_SET_NOT_NULL:
        set_not_null(part, look);
        return;
    case ALTER_ADD_CONSTRAINT:
    case ALTER_ADD_INDEX_CONSTRAINT:
        effects_add_constraint(part, look);
        return;
    case ALTER_VALIDATE_CONSTRAINT:
        validate_constraint(part, look);
        return;
    case ALTER_SET_LOGGED:
        part->rewrite = persistence_changes(look, 'p');
        return;
    case ALTER_SET_UNLOGGED:
        part->rewrite = persistence_changes(look, 'u');
        return;
    case ALTER_DETACH_PARTITION:
        if (alter->concurrently)
            part->lock = LOCK_SHARE_UPDATE_EXCLUSIVE;
        return;
    case ALTER_RENAME_TABLE:
        if (strcmp(look->facts->object_kind, "INDEX") == 0)
            part->lock = LOCK_SHARE_UPDATE_EXCLUSIVE;
        return;
    case ALTER_SET_RELOPTIONS:
    case ALTER_RESET_RELOPTIONS:
        if (strcmp(look->facts->object_kind, "TABLE") != 0) /* an index's or a view's own options differ */
            part->lock = LOCK_ACCESS_EXCLUSIVE;
        return;
    default:
        return;
    }
}

static void judge_part(struct part *part, const struct look *look)
{
    const struct alter_row *row = &rows[part->alter->kind];
    int major = context_major(look->context);
    part->lock = row->lock;
    part->rewrite = row->rewrite;
    part->scan = row->scan;
    part->fails = row->fails;
    if (row->since > 0 && major > 0 && major < row->since) {
        *part = (struct part){.alter = part->alter, .memory = part->memory};
        part_fails(part, "syntax error: newer than this server");
        return;
    }
    judge_kind(part, look);
    if (look->names != NULL)
        effects_refused(part, look);
}

/* ---- the whole ---- */

/* Rewriting reads every row anyway: CHECK and NOT NULL are verified in that pass, foreign keys in another. */
static enum answer scan_beside(enum answer rewrite, enum answer scan, enum answer scan_key)
{
    if (rewrite == ANSWER_YES)
        return scan_key;
    if (rewrite == ANSWER_UNKNOWN && scan == ANSWER_YES)
        scan = ANSWER_UNKNOWN;
    return answer_or(scan, scan_key);
}

/* Rows that are held as values elsewhere can't be changed: find_composite_type_dependencies(). */
static void row_type_in_use(struct part *part, const struct look *look)
{
    const struct catalog_relation *relation = look->table.relation;
    enum answer changes = answer_or(part->new_values, part->rewrite);
    if (relation == NULL || relation->n_row_type_users == 0 || changes == ANSWER_NO)
        return;
    const struct name *user = &relation->row_type_users[0];
    if (changes == ANSWER_YES && !look->table.changed)
        part_fails(part, "cannot alter table \"%s\" because column \"%s.%s\" uses its row type",
                   relation->name, user->schema, user->name);
    else
        part_may_fail(part);
}

static void add_part(struct effects *total, const struct part *part)
{
    if (part->lock > total->lock)
        total->lock = part->lock;
    total->rewrite = answer_or(total->rewrite, part->rewrite);
    total->index_build = answer_or(total->index_build, part->index_build);
    total->fails = answer_or(total->fails, part->fails);
    if (total->fails_with == NULL && part->fails == ANSWER_YES)
        total->fails_with = part->fails_with;
}

void alter_effects(struct parts *parts, const struct look *look)
{
    struct effects *total = &parts->total;
    enum answer scan = ANSWER_NO, scan_key = ANSWER_NO;
    bool stores = table_stores_rows(look);
    for (size_t i = 0; i < parts->n; i++) {
        struct part *part = &parts->items[i];
        part->alter = &look->facts->alters[i];
        part->memory = parts;
        judge_part(part, look);
        if (part->alter->kind == ALTER_ATTACH_PARTITION && strcmp(look->facts->object_kind, "INDEX") == 0)
            part->scan = part->index_build = ANSWER_NO; /* definitions are compared, rows aren't */
        if (stores)
            row_type_in_use(part, look);
        else
            part->rewrite = part->scan = part->scan_key = part->index_build = ANSWER_NO;
        add_part(total, part);
        scan = answer_or(scan, part->scan);
        scan_key = answer_or(scan_key, part->scan_key);
    }
    total->scan = scan_beside(total->rewrite, scan, scan_key);
}

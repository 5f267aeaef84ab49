/*
 * What a column's definition does to a table that has rows: rewrite, reads, index builds, failure.
 */
#include <string.h>
#include <talloc.h>

#include "policy/builtins.h"
#include "policy/catalog_inside.h"
#include "policy/effects.h"

enum { TYPE_INT2 = 21 };

/* ---- columns ---- */

bool column_is_serial(const struct column_definition *column)
{
    return column->type.schema == NULL && column->type.array == 0 && serial_type(column->type.name);
}

const struct expr *column_default(const struct column_definition *column, const struct look *look)
{
    const struct constraint *constraint = column_constraint(column, CONSTRAINT_DEFAULT);
    if (constraint == NULL || constraint->expr == NULL || expression_is_null(constraint->expr, look))
        return NULL;
    return constraint->expr;
}

const struct constraint *column_not_null(const struct column_definition *column)
{
    const struct constraint *constraint = column_constraint(column, CONSTRAINT_NOT_NULL);
    return constraint != NULL ? constraint : column_constraint(column, CONSTRAINT_PRIMARY);
}

static const struct catalog_type *known_type(const struct column_definition *column, const struct look *look)
{
    if (look->names == NULL || column_is_serial(column))
        return NULL;
    return catalog_type(look->names, &column->type);
}

/* The default that comes from the type, where the column's definition has none. */
static bool domain_default(const struct column_definition *column, const struct look *look,
                           enum catalog_volatility *volatility)
{
    const struct catalog_type *type = known_type(column, look);
    const struct column_definition *made = domain_in_front(look, &column->type);
    const struct constraint *by_default = made == NULL ? NULL : column_constraint(made, CONSTRAINT_DEFAULT);
    if (by_default != NULL && by_default->expr != NULL &&
        column_constraint(column, CONSTRAINT_DEFAULT) == NULL) {
        enum answer answer = expression_volatility(by_default->expr, look, &made->type).answer;
        *volatility = answer == ANSWER_YES  ? CATALOG_VOLATILE
                      : answer == ANSWER_NO ? CATALOG_STABLE
                                            : CATALOG_UNKNOWN;
        return true;
    }
    if (type == NULL || type->type != 'd' || column->type.array > 0 ||
        column_constraint(column, CONSTRAINT_DEFAULT) != NULL)
        return false;
    struct catalog_domain domain = catalog_domain(look->names, type);
    *volatility = domain.by_default;
    return domain.has_default;
}

bool column_filled(const struct column_definition *column, const struct look *look)
{
    enum catalog_volatility ignored;
    return column_is_serial(column) || column_constraint(column, CONSTRAINT_IDENTITY) != NULL ||
           column_constraint(column, CONSTRAINT_GENERATED) != NULL || column_default(column, look) != NULL ||
           domain_default(column, look, &ignored);
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

bool dropped_here(const struct facts *facts, enum alter_kind kind, const char *name)
{
    for (size_t i = 0; name != NULL && i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        if (alter->kind == kind && alter->subject != NULL && strcmp(alter->subject, name) == 0)
            return true;
    }
    return false;
}

/* ---- the column itself ---- */

static bool system_column(const char *name)
{
    static const char *const names[] = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", NULL};
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* Kinds of tables that take no column of their own. */
static void check_table(struct part *part, const struct look *look)
{
    const struct catalog_relation *relation = table_structure(look);
    if (relation == NULL)
        return;
    if (relation->is_partition)
        part_fails(part, "cannot add column to a partition");
    if (relation->typed_of != 0)
        part_fails(part, "cannot add column to typed table");
    if (look->facts->only && relation->children > 0)
        part_fails(part, "column must be added to child tables too");
    if (relation->children > 0 && relation->kind != 'p')
        part_may_fail(part); /* a child may have a column of that name and another type */
}

/* Clauses of a kind that a column has once, or that exclude each other: transformColumnDefinition(). */
static void check_clauses(struct part *part)
{
    const struct column_definition *column = part->alter->column;
    unsigned n[CONSTRAINT_ATTRIBUTE + 1] = {0};
    bool serial = column_is_serial(column);
    for (size_t i = 0; i < column->n_constraints; i++)
        n[column->constraints[i].kind]++;
    unsigned defaults = n[CONSTRAINT_DEFAULT] + serial, identities = n[CONSTRAINT_IDENTITY];
    if (defaults > 1)
        part_fails(part, "multiple default values specified for column \"%s\"", column->name);
    if (identities > 1)
        part_fails(part, "multiple identity specifications for column \"%s\"", column->name);
    if (n[CONSTRAINT_GENERATED] > 1)
        part_fails(part, "multiple generation clauses specified for column \"%s\"", column->name);
    if ((defaults > 0) + (identities > 0) + (n[CONSTRAINT_GENERATED] > 0) > 1)
        part_fails(part, "more than one of default, identity and generation specified for column \"%s\"",
                   column->name);
    if (n[CONSTRAINT_NULL] > 0 && (n[CONSTRAINT_NOT_NULL] > 0 || serial || identities > 0))
        part_fails(part, "conflicting NULL/NOT NULL declarations for column \"%s\"", column->name);
}

static void check_type(struct part *part, const struct look *look)
{
    const struct column_definition *column = part->alter->column;
    if (look->names == NULL || column_is_serial(column))
        return;
    const struct catalog_type *type = known_type(column, look);
    if (column->type.setof && context_major(look->context) >= 17) /* before, the word meant nothing here */
        part_fails(part, "column \"%s\" cannot be declared SETOF", column->name);
    if (effects_missing_type(part, look, &column->type))
        return;
    if (type == NULL || column->collation != NULL)
        part_may_fail(part);
    if (type == NULL)
        return;
    if (type->type == 'p')
        part_fails(part, "column \"%s\" has pseudo-type %s", column->name, type->name);
    if (type->relation != 0 && look->table.relation != NULL && type->relation == look->table.relation->oid)
        part_fails(part, "composite type %s cannot be made a member of itself", type->name);
    if (type->type == 'c')
        part_may_fail(part); /* it may hold rows of this table further down */
}

/* ---- defaults ---- */

/* DEFAULT and GENERATED take no other rows; DEFAULT takes no columns either. */
static bool holds_kind(const struct expr *expr, enum expr_kind kind, int depth)
{
    if (expr->kind == kind)
        return true;
    for (size_t i = 0; depth < 200 && i < expr->n_args; i++) {
        if (holds_kind(expr->args[i], kind, depth + 1))
            return true;
    }
    return false;
}

/* An aggregate, a window function, one that returns a set: none of them may stand in a default. */
static bool calls_special(const struct expr *expr, const struct look *look, int depth)
{
    for (size_t i = 0; expr->kind == EXPR_FUNCTION && i < look->names->n_functions; i++) {
        const struct catalog_function *function = &look->names->functions[i];
        if (expr->name.name != NULL && strcmp(function->name, expr->name.name) == 0 &&
            (function->returns_set || function->kind != 'f'))
            return true;
    }
    for (size_t i = 0; depth < 200 && i < expr->n_args; i++) {
        if (calls_special(expr->args[i], look, depth + 1))
            return true;
    }
    return false;
}

/* A number as it is written into a column of whole numbers, or of numbers with a precision. */
static bool number_fits(const struct type_name *type, uint32_t base, const struct expr *expr)
{
    long number;
    bool plain = constant_number(expr, &number);
    bool written = expr->kind == EXPR_CONSTANT || (expr->kind == EXPR_OPERATOR && expr->n_args == 1);
    if (!written)
        return true;
    switch (base) {
    case TYPE_INT2:
        return plain && number > -32768 && number < 32768;
    case TYPE_INT4:
    case TYPE_INT8:
        return plain;
    default:
        return type->n_modifiers == 0 || expr->constant == CONSTANT_STRING;
    }
}

/* Does the default become the column's type? A literal is read by the type's input function. */
static void check_default_type(struct part *part, const struct look *look, const struct expr *expr)
{
    const struct column_definition *column = part->alter->column;
    uint32_t target = column_is_serial(column) ? 0 : catalog_type_oid(look->names, &column->type);
    const struct catalog_answer answer = catalog_expression(look->names, expr, &column->type, NULL);
    if (answer.is_null)
        return;
    if (expr->kind == EXPR_CONSTANT && expr->constant == CONSTANT_STRING) {
        struct type_name base = column->type;
        const struct catalog_type *type =
            catalog_type_by_oid(look->names, catalog_base_of(look->names, target));
        if (type != NULL && column->type.array == 0) {
            base.name = type->name;
            base.schema = type->schema;
        }
        enum answer accepted = literal_accepted(&base, expr->text);
        if (accepted == ANSWER_NO)
            part_fails(part, "invalid input syntax for type %s: \"%s\"", base.text, expr->text);
        else if (accepted == ANSWER_UNKNOWN)
            part_may_fail(part);
        return;
    }
    if (answer.type == 0 || answer.type == TYPE_UNKNOWN || target == 0 ||
        answer.volatility == CATALOG_UNKNOWN) {
        part_may_fail(part);
        return;
    }
    if (!number_fits(&column->type, catalog_base_of(look->names, target), expr))
        part_may_fail(part);
    const struct catalog_cast *cast;
    if (answer.type != target && catalog_path(look->names, answer.type, catalog_base_of(look->names, target),
                                              COERCE_ASSIGNMENT, &cast) == PATH_NONE)
        part_may_fail(part);
    if (column->type.n_modifiers > 0)
        part_may_fail(part); /* too long, too large: only the value says */
}

static void check_default(struct part *part, const struct look *look, const struct expr *expr)
{
    if (holds_kind(expr, EXPR_COLUMN, 0))
        part_fails(part, "cannot use column reference in DEFAULT expression");
    if (holds_kind(expr, EXPR_SUBQUERY, 0))
        part_fails(part, "cannot use subquery in DEFAULT expression");
    if (look->names == NULL || part->fails == ANSWER_YES)
        return;
    if (calls_special(expr, look, 0))
        part_may_fail(part);
    check_default_type(part, look, expr);
}

static struct volatility domain_volatility(enum catalog_volatility volatility)
{
    return (struct volatility){volatility == CATALOG_VOLATILE  ? ANSWER_YES
                               : volatility == CATALOG_UNKNOWN ? ANSWER_UNKNOWN
                                                               : ANSWER_NO,
                               NULL};
}

/* ---- rewrites ---- */

static void add_column_generated(struct part *part, const struct constraint *generated,
                                 const struct look *look)
{
    int major = context_major(look->context);
    if (generated->generated_virtual && major != 0 && major < 18) {
        part_fails(part, "syntax error: virtual generated columns came with PostgreSQL 18");
        return;
    }
    if (!generated->generated_virtual) {
        part->rewrite = ANSWER_YES;
        part->new_values = ANSWER_YES;
    }
    if (generated->expr == NULL || look->names == NULL) {
        if (generated->generated_virtual)
            part_may_fail(part);
        return;
    }
    if (holds_kind(generated->expr, EXPR_SUBQUERY, 0))
        part_fails(part, "cannot use subquery in column generation expression");
    struct catalog_answer answer =
        catalog_expression(look->names, generated->expr, &part->alter->column->type, table_structure(look));
    bool mutable = answer.volatility == CATALOG_STABLE || answer.volatility == CATALOG_VOLATILE;
    if (mutable && !holds_kind(generated->expr, EXPR_COLUMN, 0))
        part_fails(part, "generation expression is not immutable");
    else if (mutable) /* what is stable for some types of argument may be planned away for others */
        part_may_fail(part);
    else if (answer.volatility == CATALOG_UNKNOWN || answer.type == 0 || generated->generated_virtual)
        part_may_fail(part);
}

static void add_column_identity(struct part *part, const struct look *look)
{
    const struct column_definition *column = part->alter->column;
    const struct catalog_relation *relation = table_structure(look);
    const char *type = column->type.name;
    part->rewrite = part->new_values = ANSWER_YES;
    if (column_constraint(column, CONSTRAINT_IDENTITY) == NULL)
        return;
    if (column->type.array > 0 ||
        (strcmp(type, "int2") != 0 && strcmp(type, "int4") != 0 && strcmp(type, "int8") != 0))
        look->names != NULL &&known_type(column, look) != NULL &&known_type(column, look)->type != 'd'
            ? part_fails(part, "identity column type must be smallint, integer, or bigint")
            : part_may_fail(part);
    if (relation != NULL && relation->children > 0 &&
        (relation->kind != 'p' || context_major(look->context) < 17))
        part_fails(part, "cannot recursively add identity column to table that has child tables");
}

/* A constrained domain is written into each row, a default or none, and each value is checked. */
static void add_column_domain(struct part *part, const struct look *look)
{
    part->constrained = type_constrained(&part->alter->column->type, look);
    part->rewrite = answer_or(part->rewrite, part->constrained);
    part->new_values = answer_or(part->new_values, part->constrained);
    if (part->constrained != ANSWER_NO && table_has_rows(look) != ANSWER_NO)
        part_may_fail(part);
}

static void add_column_rewrite(struct part *part, const struct look *look)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *generated = column_constraint(column, CONSTRAINT_GENERATED);
    const struct constraint *written = column_constraint(column, CONSTRAINT_DEFAULT);
    const struct expr *by_default = column_default(column, look);
    enum catalog_volatility of_domain;

    if (column_is_serial(column) || column_constraint(column, CONSTRAINT_IDENTITY) != NULL)
        add_column_identity(part, look);
    if (generated != NULL)
        add_column_generated(part, generated, look);
    if (by_default != NULL)
        part->by_default = expression_volatility(by_default, look, &column->type);
    else if (domain_default(column, look, &of_domain))
        part->by_default = domain_volatility(of_domain);
    if (written != NULL && written->expr != NULL)
        check_default(part, look, written->expr);
    /* NULL as a domain's value isn't taken for no default */
    bool domain =
        known_type(column, look) != NULL && known_type(column, look)->type == 'd' && column->type.array == 0;
    if (by_default != NULL || (written != NULL && domain) ||
        (column_filled(column, look) && generated == NULL))
        part->new_values = ANSWER_YES;
    part->rewrite = answer_or(part->rewrite, part->by_default.answer);
    add_column_domain(part, look);
}

/* ---- constraints ---- */

/* Types of pg_catalog without an order: no index, so no key. */
static bool without_order(const struct type_name *type)
{
    static const char *const names[] = {"json", "xml",  "point",   "line",   "lseg",
                                        "box",  "path", "polygon", "circle", NULL};
    for (size_t i = 0; type->array == 0 && names[i] != NULL; i++) {
        if (strcmp(names[i], type->name) == 0 &&
            (type->schema == NULL || strcmp(type->schema, "pg_catalog") == 0))
            return true;
    }
    return false;
}

static void add_column_key(struct part *part, const struct look *look)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *primary = column_constraint(column, CONSTRAINT_PRIMARY);
    const struct constraint *key = primary != NULL ? primary : column_constraint(column, CONSTRAINT_UNIQUE);
    const struct catalog_relation *relation = table_structure(look);
    if (key == NULL)
        return;
    part->index_build = ANSWER_YES;
    if (without_order(&column->type))
        part_fails(part, "data type %s has no default operator class for access method \"btree\"",
                   column->type.text);
    enum catalog_volatility ignored;
    bool by_default = column_default(column, look) != NULL || domain_default(column, look, &ignored);
    if (by_default && table_has_rows(look) != ANSWER_NO)
        part_may_fail(part); /* the same value twice, or a volatile one that repeats */
    if (key->nulls_not_distinct && !column_filled(column, look) && table_has_rows(look) != ANSWER_NO)
        part_may_fail(part); /* NULL twice */
    if (relation == NULL)
        return;
    const struct catalog_type *type = known_type(column, look);
    if (type != NULL && type->oid >= FIRST_OF_USERS && type->type != 'e' && type->type != 'd')
        part_may_fail(part);
    const struct catalog_constraint *old = effects_primary_key(relation);
    if (primary != NULL && old != NULL && !constraint_dropped_here(look, old))
        part_fails(part, "multiple primary keys for table \"%s\" are not allowed", relation->name);
    if (relation->kind == 'p')
        part_fails(part, "unique constraint on partitioned table must include all partitioning columns");
    if (relation->kind == 'f')
        part_fails(part, "primary key or unique constraints are not supported on foreign tables");
}

static void add_column_check(struct part *part, const struct look *look, const struct constraint *check)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *written = column_constraint(column, CONSTRAINT_DEFAULT);
    const struct expr *by_default = column_default(column, look);
    const char *missing = effects_missing_column(look, check->expr);
    if (missing != NULL)
        part_fails(part, "column \"%s\" does not exist", missing);
    part->scan = ANSWER_YES;
    bool plain = written == NULL || by_default == written->expr;
    bool constant = plain && (by_default != NULL || !column_filled(column, look));
    if (!constant || check->expr == NULL || check_holds(check->expr, column->name, by_default) != ANSWER_YES)
        part_may_fail(part);
}

static void add_column_reference(struct part *part, const struct look *look, const struct constraint *key)
{
    const struct column_definition *column = part->alter->column;
    /* The server skips reading only where no DEFAULT at all is written: DEFAULT NULL reads, a domain's
     * doesn't. */
    bool written = column_constraint(column, CONSTRAINT_DEFAULT) != NULL || column_is_serial(column) ||
                   column_constraint(column, CONSTRAINT_GENERATED) != NULL;
    if (written)
        part->scan_key = ANSWER_YES;
    if (written && column_filled(column, look) && table_has_rows(look) != ANSWER_NO)
        part_may_fail(part);
    if (look->names == NULL)
        return;
    uint32_t type = column_is_serial(column) ? 23 : catalog_type_oid(look->names, &column->type);
    effects_reference(part, look, key, &type, 1);
}

/* May a default that isn't NULL come out as NULL? Functions and casts are taken for strict ones of their
 * arguments; NULLIF, CASE and the like, and operators that may find nothing (->), are not looked into. */
static bool may_be_null(const struct expr *expr, int depth)
{
    if (expr == NULL || depth > 100 || expr->kind == EXPR_NULL || expr->kind == EXPR_OTHER)
        return true;
    if (expr->kind == EXPR_ARRAY || expr->kind == EXPR_NULL_TEST)
        return false;
    if (expr->kind == EXPR_OPERATOR && expr->name.name != NULL && strpbrk(expr->name.name, "#>?@") != NULL)
        return true;
    for (size_t i = 0; i < expr->n_args; i++) {
        if (may_be_null(expr->args[i], depth + 1))
            return true;
    }
    return false;
}

/* Where the default is stored once, a NULL that comes of it has the rows read and refused. */
static void add_column_not_null(struct part *part, const struct look *look)
{
    const struct expr *by_default = column_default(part->alter->column, look);
    if (by_default == NULL || !may_be_null(by_default, 0))
        return;
    if (part->rewrite != ANSWER_YES)
        part->scan = answer_or(part->scan, ANSWER_UNKNOWN);
    if (table_has_rows(look) != ANSWER_NO)
        part_may_fail(part);
}

static void add_column_constraints(struct part *part, const struct look *look)
{
    const struct column_definition *column = part->alter->column;
    add_column_key(part, look);
    for (size_t i = 0; i < column->n_constraints; i++) {
        const struct constraint *constraint = &column->constraints[i];
        if (constraint->kind == CONSTRAINT_CHECK)
            add_column_check(part, look, constraint);
        if (constraint->kind == CONSTRAINT_FOREIGN)
            add_column_reference(part, look, constraint);
        if (constraint->name != NULL && table_structure(look) != NULL &&
            effects_constraint(table_structure(look), constraint->name) != NULL &&
            !dropped_here(look->facts, ALTER_DROP_CONSTRAINT, constraint->name))
            part_fails(part, "constraint \"%s\" for relation \"%s\" already exists", constraint->name,
                       look->table.relation->name);
    }
    const struct constraint *generated = column_constraint(column, CONSTRAINT_GENERATED);
    bool is_virtual = generated != NULL && generated->generated_virtual;
    if (column_not_null(column) == NULL)
        return;
    if (column_filled(column, look) && !is_virtual) {
        add_column_not_null(part, look);
        return;
    }
    bool null_value = part->new_values == ANSWER_YES; /* a domain's NULL, which is computed row by row */
    part->scan = null_value ? ANSWER_UNKNOWN : ANSWER_YES;
    if (!is_virtual)
        part->fails = answer_or(part->fails, table_has_rows(look));
}

/* ---- the whole ---- */

void effects_add_column(struct part *part, const struct look *look)
{
    const struct column_definition *column = part->alter->column;
    if (column == NULL)
        return;
    if (system_column(column->name))
        part_fails(part, "column name \"%s\" conflicts with a system column name", column->name);
    check_table(part, look);
    bool exists = (table_has_column(look, column->name) == ANSWER_YES &&
                   !dropped_here(look->facts, ALTER_DROP_COLUMN, column->name)) ||
                  added_column(look->facts, column->name) != column;
    if (exists && (part->alter->missing_ok || look->facts->if_not_exists))
        return; /* skipped with a NOTICE, the lock taken all the same */
    if (exists)
        part_fails(part, "column \"%s\" of relation \"%s\" already exists", column->name,
                   look->facts->object.name == NULL ? "" : look->facts->object.name);
    check_clauses(part);
    if (part->fails == ANSWER_YES)
        return;
    check_type(part, look);
    add_column_rewrite(part, look);
    add_column_constraints(part, look);
}

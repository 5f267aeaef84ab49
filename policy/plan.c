/*
 * From a statement to its plan: what can be planned at all, then subcommand by subcommand, then verified and
 * written. `why` ends it at any point.
 */
#include <stdarg.h>
#include <string.h>
#include <talloc.h>

#include "policy/plan_inside.h"

bool plan_covers(enum rule rule)
{
    return rule_online(rule);
}

void plan_refuse(struct planner *planner, const char *format, ...)
{
    va_list arguments;
    if (planner->why != NULL)
        return;
    va_start(arguments, format);
    planner->why = talloc_vasprintf(planner->plan, format, arguments);
    va_end(arguments);
}

/* ---- small things ---- */

char *plan_slice(const struct planner *planner, int from, int to)
{
    size_t length = planner->request->length;
    if (from < 0 || to < from || (size_t)to > length)
        return talloc_strdup(planner->plan, ""); /* what is read back will not be what was meant */
    return talloc_strndup(planner->plan, planner->request->text + from, (size_t)(to - from));
}

const char *plan_quoted(const struct planner *planner, const char *name)
{
    return name == NULL ? "?" : quote_identifier(planner->plan, name);
}

struct planned_column *plan_column(struct planner *planner, const char *name)
{
    for (size_t i = 0; i < planner->n_columns; i++) {
        if (strcmp(planner->columns[i].name, name) == 0)
            return &planner->columns[i];
    }
    struct planned_column *column = PLAN_ADD(planner, planner->columns, planner->n_columns);
    column->name = name;
    return column;
}

/* ---- other tables ---- */

static bool has_column(const char *const *columns, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(columns[i], name) == 0)
            return true;
    }
    return false;
}

/* The key that it points at is one of those that are made later. */
static bool points_at(const struct constraint *foreign, const struct planned_key *planned)
{
    const char *const *columns = planned->column == NULL ? planned->key->columns : &planned->column;
    size_t n = planned->column == NULL ? planned->key->n_columns : 1;
    for (size_t i = 0; i < foreign->n_referenced_columns; i++) {
        if (!has_column(columns, n, foreign->referenced_columns[i]))
            return false;
    }
    return n == foreign->n_referenced_columns;
}

/* Of the table itself. */
static void reference_itself(struct planner *planner, const struct constraint *key)
{
    for (size_t i = 0; i < planner->n_keys; i++) {
        if (points_at(key, &planner->keys[i]))
            plan_refuse(planner,
                        "a foreign key points at columns whose UNIQUE stands in the same statement, and is "
                        "made later: add the foreign key in a statement of its own, when the change is "
                        "complete");
    }
}

/* A row that isn't filled yet has a part of the key only, which MATCH FULL refuses. */
static void match_full(struct planner *planner, const struct constraint *key)
{
    for (size_t i = 0; key->match_full && key->n_columns > 1 && i < planner->n_columns; i++) {
        const struct planned_column *column = &planner->columns[i];
        if (column->fill && has_column(key->columns, key->n_columns, column->name))
            plan_refuse(planner,
                        "while %s is being filled, MATCH FULL would refuse every UPDATE of a row that has no "
                        "value yet",
                        plan_quoted(planner, column->name));
    }
}

static void reference(struct planner *planner, const struct constraint *key)
{
    const struct catalog_relation *target;
    if (key == NULL || key->kind != CONSTRAINT_FOREIGN || key->referenced.name == NULL)
        return;
    target = catalog_relation(planner->look->names, &key->referenced);
    if (target == NULL || !target->exists)
        plan_refuse(planner, "the table that the foreign key points at could not be looked up");
    else if (target->oid != planner->relation->oid)
        *PLAN_ADD(planner, planner->references, planner->n_references) = &key->referenced;
    else
        reference_itself(planner, key);
    match_full(planner, key);
}

/* All that a foreign key points at: they are locked as well. */
static void references(struct planner *planner)
{
    for (size_t i = 0; i < planner->facts->n_alters; i++) {
        const struct alter *alter = &planner->facts->alters[i];
        reference(planner, alter->constraint);
        for (size_t k = 0; alter->column != NULL && k < alter->column->n_constraints; k++)
            reference(planner, &alter->column->constraints[k]);
    }
}

void plan_not_valid(struct planner *planner, const struct constraint *constraint)
{
    bool key = constraint->kind == CONSTRAINT_FOREIGN;
    if (key && planner->relation->kind == 'p' && context_major(planner->request->context) < 18)
        plan_refuse(planner,
                    "before PostgreSQL 18 a foreign key of a partitioned table can't be added NOT VALID");
    if (key && context_major(planner->request->context) < 18) {
        const struct catalog_relation *target =
            catalog_relation(planner->look->names, &constraint->referenced);
        if (target != NULL && target->exists && target->kind == 'p')
            plan_refuse(planner, "before PostgreSQL 18 VALIDATE leaves a foreign key that references a "
                                 "partitioned table half validated");
    }
    *PLAN_ADD(planner, planner->validate, planner->n_validate) = constraint;
}

/* ---- what can't be planned whatever it says ---- */

static const char *kind_name(char kind)
{
    switch (kind) {
    case 'f':
        return "a foreign table";
    case 'v':
        return "a view";
    case 'm':
        return "a materialized view";
    default:
        return "no table";
    }
}

/* The statement and its table. */
static void statement(struct planner *planner)
{
    const struct facts *facts = planner->facts;
    const struct look *look = planner->look;
    bool index = facts->kind == STATEMENT_CREATE_INDEX;
    if (facts->status != FACTS_OK)
        plan_refuse(planner, "the statement can't be read");
    else if (facts->kind == STATEMENT_DO)
        plan_refuse(planner, "it stands inside a DO block: write it as a plain statement");
    else if (!index && (facts->kind != STATEMENT_ALTER_TABLE || strcmp(facts->object_kind, "TABLE") != 0))
        plan_refuse(planner, "only ALTER TABLE and CREATE INDEX are done online");
    else if (look->names == NULL)
        plan_refuse(planner, "what its names mean could not be asked of the database");
    else if (table_structure(look) == NULL)
        plan_refuse(planner, look->table.changed
                                 ? "a statement in front of it in the same message changes the table"
                                 : "its table was not found");
    else
        planner->relation = look->table.relation;
}

static void table(struct planner *planner)
{
    const struct catalog_relation *relation = planner->relation;
    const struct effects *effects = &planner->parts->total;
    if (strchr("rp", relation->kind) == NULL)
        plan_refuse(planner, "%s is %s", planner->table, kind_name(relation->kind));
    else if (relation->persistence == 't')
        plan_refuse(planner, "%s is a temporary table", planner->table);
    else if (relation->typed_of != 0)
        plan_refuse(planner, "%s is a typed table", planner->table);
    else if (effects->fails == ANSWER_YES)
        plan_refuse(planner, "PostgreSQL would refuse it: %s",
                    effects->fails_with == NULL ? "see its own message" : effects->fails_with);
    else if (planner->look->table.fresh)
        plan_refuse(planner, "%s is new: nobody else can wait for it", planner->table);
}

/* IF NOT EXISTS with nothing to do. */
static bool skipped(const struct planner *planner, const struct alter *alter)
{
    return alter->kind == ALTER_ADD_COLUMN && alter->missing_ok && alter->column != NULL &&
           table_has_column(planner->look, alter->column->name) != ANSWER_NO;
}

/* ---- what would be in the worker's way ---- */

/* Triggers, row-level security and the worker's rights are begin_change()'s to refuse: it knows them as of
 * then. */
static void partitions(struct planner *planner)
{
    if (planner->relation->children_foreign > 0)
        plan_refuse(planner, "%s has foreign tables below it, whose rows are another server's",
                    planner->table);
    if (planner->n_keys > 0 && planner->relation->kind == 'p')
        plan_refuse(planner,
                    "the index of a partitioned table can't be built CONCURRENTLY: build one on each "
                    "partition, and attach them");
}

/* ---- the whole ---- */

static void subcommands(struct planner *planner)
{
    const struct facts *facts = planner->facts;
    for (size_t i = 0; i < facts->n_alters && planner->why == NULL; i++) {
        const struct part *part = &planner->parts->items[i];
        if (skipped(planner, part->alter))
            plan_refuse(planner, "column %s is there already: IF NOT EXISTS has nothing to do",
                        plan_quoted(planner, part->alter->column->name));
        else if (part->alter->kind == ALTER_ADD_COLUMN)
            plan_add_column(planner, part);
        else
            plan_subcommand(planner, part);
    }
}

static void work_out(struct planner *planner)
{
    if (planner->facts->kind == STATEMENT_CREATE_INDEX) {
        bool there = catalog_relation(planner->look->names, &planner->facts->object) != NULL &&
                     catalog_relation(planner->look->names, &planner->facts->object)->exists;
        if (planner->facts->if_not_exists && there)
            plan_refuse(planner, "the index is there already: IF NOT EXISTS has nothing to do");
        plan_create_index(planner);
    } else {
        subcommands(planner);
        references(planner);
        partitions(planner);
    }
    if (planner->why == NULL)
        plan_verify(planner);
}

static bool anything_left(const struct planner *planner)
{
    for (size_t i = 0; i < planner->n_columns; i++) {
        if (planner->columns[i].fill || planner->columns[i].not_null)
            return true;
    }
    return planner->n_keys > 0 || planner->n_validate > 0 || planner->index != NULL;
}

/* A statement that is over in a moment, once it has its lock. */
static bool brief(const struct planner *planner)
{
    const struct effects *effects = &planner->parts->total;
    bool nothing_long =
        effects->rewrite == ANSWER_NO && effects->scan == ANSWER_NO && effects->index_build == ANSWER_NO;
    return planner->facts->kind == STATEMENT_ALTER_TABLE && effects->lock == LOCK_ACCESS_EXCLUSIVE &&
           (nothing_long || table_small(planner->look));
}

static void lock_alone(struct planner *planner)
{
    char *text = talloc_strndup(planner->plan, planner->request->text, planner->request->length);
    if (planner->relation->locked_here)
        plan_refuse(planner, "its transaction holds the lock already");
    if (table_private(planner->look))
        plan_refuse(planner, "%s is new: nobody else can wait for it", planner->table);
    references(planner);
    planner->safe[planner->n_safe++] = text;
    planner->lock = LOCK_ACCESS_EXCLUSIVE;
}

/* Brief ones first: what is over in a moment needs no worker. */
static void make(struct planner *planner)
{
    statement(planner);
    if (planner->why == NULL)
        table(planner);
    if (planner->why != NULL)
        return;
    if (brief(planner)) {
        lock_alone(planner);
    } else {
        work_out(planner);
        if (planner->why == NULL && !anything_left(planner))
            plan_refuse(planner, "there is nothing in it that could be done online");
        plan_only(planner);
    }
    if (planner->why == NULL) {
        plan_write(planner);
        plan_steps(planner);
    }
}

struct plan *plan_of(const void *talloc_parent, const struct plan_request *request, const char **why)
{
    struct plan *plan = talloc_zero(talloc_parent, struct plan);
    struct look look = look_at(request->context, request->facts);
    struct planner planner = {.request = request, .facts = request->facts, .look = &look, .plan = plan};
    *why = "out of memory";
    if (plan == NULL)
        return NULL;
    const struct name *named = request->facts->kind == STATEMENT_CREATE_INDEX ? &request->facts->index_table
                                                                              : &request->facts->object;
    planner.table = named->name == NULL ? "the table" : quote_name(plan, named);
    planner.parts = parts_of(plan, &look);
    make(&planner);
    if (planner.why == NULL && plan->text != NULL)
        return plan;
    if (planner.why != NULL)
        *why = talloc_strdup(talloc_parent, planner.why);
    talloc_free(plan);
    return NULL;
}

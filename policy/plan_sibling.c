/*
 * Every subcommand but ADD COLUMN, and CREATE INDEX: it stays, it gets NOT VALID, or it is left to the
 * worker.
 */
#include <string.h>
#include <talloc.h>

#include "policy/plan_inside.h"

/* Where a change is undone the table is as it was: only what goes with a column that is dropped again may
 * stand in its statement. */
static bool may_stand_beside(const struct planner *planner, const struct alter *alter)
{
    switch (alter->kind) {
    case ALTER_SET_STATISTICS:
    case ALTER_SET_OPTIONS:
    case ALTER_RESET_OPTIONS:
    case ALTER_SET_STORAGE:
    case ALTER_SET_COMPRESSION:
        return added_column(planner->facts, alter->subject) != NULL;
    default:
        return false;
    }
}

/* As the author wrote it, with more words behind it. */
static struct meant *say(struct planner *planner, const struct alter *alter, const char *more)
{
    if (alter->place < 0 || alter->end < alter->place) {
        plan_refuse(planner, "where its subcommands begin and end can't be told with certainty");
        return NULL;
    }
    struct meant *meant = PLAN_ADD(planner, planner->meant, planner->n_meant);
    meant->kind = alter->kind;
    meant->written = alter;
    meant->text = talloc_asprintf(planner->plan, "%s%s", plan_slice(planner, alter->place, alter->end), more);
    return meant;
}

/* What the author makes of a new column in a second breath comes too early where it is filled later. */
static bool on_new_column(const struct planner *planner, const struct alter *alter)
{
    return (alter->kind == ALTER_SET_DEFAULT || alter->kind == ALTER_DROP_DEFAULT ||
            alter->kind == ALTER_DROP_NOT_NULL) &&
           added_column(planner->facts, alter->subject) != NULL;
}

static void stays(struct planner *planner, const struct part *part)
{
    const struct alter *alter = part->alter;
    bool works = part->rewrite != ANSWER_NO || part->scan != ANSWER_NO || part->scan_key != ANSWER_NO ||
                 part->index_build != ANSWER_NO;
    if (alter->kind == ALTER_COLUMN_TYPE)
        plan_refuse(planner,
                    "a column's type is not changed online: that takes a second column and an application "
                    "that writes both");
    else if (works)
        plan_refuse(planner, "%s takes long while the table is locked, and is not done online",
                    alter_kind_name(alter->kind));
    else if (on_new_column(planner, alter))
        plan_refuse(planner,
                    "%s changes the new column again in the same statement: write it into its definition",
                    alter_kind_name(alter->kind));
    else if (!may_stand_beside(planner, alter))
        plan_refuse(
            planner,
            "%s stands in the same statement, and would not be undone if the rest has to be: write it as "
            "a statement of its own",
            alter_kind_name(alter->kind));
    else
        say(planner, alter, "");
}

/* ---- SET NOT NULL ---- */

static void set_not_null(struct planner *planner, const struct part *part)
{
    const char *name = part->alter->subject;
    const struct column_definition *added = added_column(planner->facts, name);
    if (part->scan == ANSWER_NO) {
        stays(planner, part);
        return;
    }
    if (added != NULL && !column_filled(added, planner->look)) {
        plan_refuse(planner,
                    "column %s is NOT NULL and has no default: as soon as the table has a row, that fails",
                    plan_quoted(planner, name));
        return;
    }
    if (added == NULL)
        plan_marked_not_null(planner, name);
    plan_column(planner, name)->not_null = true;
}

/* ---- ADD CONSTRAINT ---- */

static void add_unique(struct planner *planner, const struct part *part)
{
    const struct constraint *key = part->alter->constraint;
    if (key->storage) {
        plan_refuse(planner, "the key is written with storage parameters or a tablespace");
        return;
    }
    struct planned_key *planned = PLAN_ADD(planner, planner->keys, planner->n_keys);
    planned->key = key;
    planned->deferrable = key->deferrable;
    planned->deferred = key->initially_deferred;
}

static void add_not_valid(struct planner *planner, const struct part *part)
{
    const struct constraint *constraint = part->alter->constraint;
    if (constraint->not_valid) {
        plan_refuse(planner,
                    "a NOT VALID constraint stands in the same statement, and would be validated with the "
                    "rest: write it as a statement of its own");
        return;
    }
    if (constraint->kind == CONSTRAINT_CHECK)
        plan_check_in_force(planner, constraint);
    struct meant *meant = say(planner, part->alter, " NOT VALID");
    if (meant == NULL)
        return;
    meant->constraint = constraint;
    meant->written = NULL;
    plan_not_valid(planner, constraint);
}

static void add_constraint(struct planner *planner, const struct part *part)
{
    const struct constraint *constraint = part->alter->constraint;
    switch (constraint == NULL ? CONSTRAINT_ATTRIBUTE : constraint->kind) {
    case CONSTRAINT_CHECK:
    case CONSTRAINT_FOREIGN:
        add_not_valid(planner, part);
        return;
    case CONSTRAINT_UNIQUE:
        add_unique(planner, part);
        return;
    case CONSTRAINT_PRIMARY:
        plan_refuse(planner, "a primary key is not made online: build its index with CREATE UNIQUE INDEX "
                             "CONCURRENTLY, then ADD PRIMARY KEY USING INDEX");
        return;
    case CONSTRAINT_EXCLUSION:
        plan_refuse(planner, "PostgreSQL can't build the index of an EXCLUDE constraint without the lock");
        return;
    default:
        plan_refuse(planner, "this constraint is not added online");
        return;
    }
}

void plan_subcommand(struct planner *planner, const struct part *part)
{
    switch (part->alter->kind) {
    case ALTER_SET_NOT_NULL:
        set_not_null(planner, part);
        return;
    case ALTER_ADD_CONSTRAINT:
        add_constraint(planner, part);
        return;
    default:
        stays(planner, part);
        return;
    }
}

/* ---- CREATE INDEX ---- */

bool plan_literals_typed(const char *sql)
{
    for (const char *at = sql; *at != '\0'; at++) {
        if (*at != '\'' && *at != '"')
            continue;
        const char *end = strchr(at + 1, *at);
        if (end == NULL)
            return false;
        if (*at == '\'' && strncmp(end + 1, "::", 2) != 0 && end[1] != '\'')
            return false;
        at = end;
    }
    return true;
}

/* The table with its schema: the worker looks names up by itself. */
void plan_create_index(struct planner *planner)
{
    const struct facts *facts = planner->facts;
    if (facts->concurrently) {
        plan_refuse(planner, "it is CONCURRENTLY already, and runs as it is");
        return;
    }
    if (planner->relation->kind == 'p') {
        plan_refuse(planner, "an index on a partitioned table can't be built CONCURRENTLY: build one on each "
                             "partition, and attach them");
        return;
    }
    if (facts->index_rest < 0 || facts->index_end < facts->index_rest) {
        plan_refuse(planner, "where its clauses begin and end can't be told with certainty");
        return;
    }
    const char *rest = plan_slice(planner, facts->index_rest, facts->index_end);
    if (planner->request->context->backslashes && strchr(rest, '\\') != NULL) {
        plan_refuse(planner,
                    "it is written with backslash escapes, which the session that builds the index would not "
                    "read as such");
        return;
    }
    if (strchr(rest, '$') != NULL || !plan_literals_typed(rest)) {
        plan_refuse(planner,
                    "a value in quotes stands in it without its type, so that the session which builds "
                    "the index might be made to read it as another: write 'active'::text");
        return;
    }
    const struct name table = {planner->relation->schema, planner->relation->name, -1};
    const char *name = facts->object.name;
    planner->index = talloc_asprintf(planner->plan, "CREATE %sINDEX CONCURRENTLY %s%sON %s%s %s",
                                     facts->unique ? "UNIQUE " : "",
                                     name == NULL ? "" : plan_quoted(planner, name), name == NULL ? "" : " ",
                                     facts->only ? "ONLY " : "", quote_name(planner->plan, &table), rest);
}

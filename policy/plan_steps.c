/*
 * A plan told to people: each step with its lock.
 */
#include <string.h>
#include <talloc.h>

#include "policy/plan_inside.h"

const char *plan_step_name(enum plan_step_kind kind)
{
    static const char *const names[] = {
        [PLAN_LOCK] = "lock",   [PLAN_ALTER] = "alter",   [PLAN_RECORD] = "record",
        [PLAN_FILL] = "fill",   [PLAN_CHECK] = "check",   [PLAN_VALIDATE] = "validate",
        [PLAN_INDEX] = "index", [PLAN_FINISH] = "finish", [PLAN_ANALYZE] = "analyze"};
    return names[kind];
}

static void step(struct planner *planner, enum plan_step_kind kind, enum lock_mode lock, bool brief,
                 const char *what, const char *sql)
{
    struct plan *plan = planner->plan;
    struct plan_step *added = PLAN_ADD(planner, plan->steps, plan->n_steps);
    *added = (struct plan_step){.kind = kind, .lock = lock, .brief = brief, .what = what, .sql = sql};
}

#define TEXT(planner, ...) talloc_asprintf((planner)->plan, __VA_ARGS__)

static void inside_the_statement(struct planner *planner)
{
    step(planner, PLAN_LOCK, planner->lock, true,
         TEXT(planner, "locks %s without queueing; if it is in use, tries again for up to %lld s",
              planner->table, (long long)planner->request->context->conf->online.lock_time / 1000),
         TEXT(planner, "LOCK TABLE %s", planner->table));
    for (size_t i = 0; i < planner->n_references; i++) {
        const char *other = quote_name(planner->plan, planner->references[i]);
        step(planner, PLAN_LOCK, LOCK_SHARE_ROW_EXCLUSIVE, true,
             TEXT(planner, "the same for %s, which the foreign key points at", other),
             TEXT(planner, "LOCK TABLE %s", other));
    }
    for (size_t i = 0; i < planner->n_safe; i++)
        step(planner, PLAN_ALTER, planner->lock, true,
             planner->plan->spec == NULL ? "runs the statement" : "runs what reads and writes no row",
             planner->safe[i]);
}

static void sequences(struct planner *planner)
{
    for (size_t i = 0; i < planner->n_columns; i++) {
        const struct planned_column *column = &planner->columns[i];
        if (column->serial || column->identity != NULL)
            step(planner, PLAN_ALTER, planner->lock, true,
                 TEXT(planner, "makes the sequence that numbers %s", plan_quoted(planner, column->name)),
                 TEXT(planner, "CREATE SEQUENCE ... AS %s", column->integer));
    }
}

static void fills(struct planner *planner)
{
    for (size_t i = 0; i < planner->n_columns; i++) {
        const char *c = plan_quoted(planner, planner->columns[i].name);
        if (planner->columns[i].fill)
            step(planner, PLAN_FILL, LOCK_ROW_EXCLUSIVE, false, TEXT(planner, "fills %s in batches", c),
                 TEXT(planner, "UPDATE %s SET %s = DEFAULT WHERE %s IS NULL ...", planner->table, c, c));
    }
}

static void not_nulls(struct planner *planner)
{
    for (size_t i = 0; i < planner->n_columns; i++) {
        const char *c = plan_quoted(planner, planner->columns[i].name);
        if (!planner->columns[i].not_null)
            continue;
        step(planner, PLAN_CHECK, LOCK_ACCESS_EXCLUSIVE, true, TEXT(planner, "keeps new NULLs out of %s", c),
             TEXT(planner, "ALTER TABLE %s ADD CHECK (%s IS NOT NULL) NOT VALID", planner->table, c));
        step(planner, PLAN_VALIDATE, LOCK_SHARE_UPDATE_EXCLUSIVE, false,
             TEXT(planner, "reads the table to see that %s has no NULL", c),
             TEXT(planner, "ALTER TABLE %s VALIDATE CONSTRAINT ...", planner->table));
    }
}

static void validations(struct planner *planner)
{
    for (size_t i = 0; i < planner->n_validate; i++) {
        const struct constraint *constraint = planner->validate[i];
        bool key = constraint->kind == CONSTRAINT_FOREIGN;
        step(
            planner, PLAN_VALIDATE, LOCK_SHARE_UPDATE_EXCLUSIVE, false,
            key ? TEXT(planner, "looks each row up in %s", quote_name(planner->plan, &constraint->referenced))
                : "reads the table to see that the CHECK holds",
            TEXT(planner, "ALTER TABLE %s VALIDATE CONSTRAINT %s", planner->table,
                 constraint->name == NULL ? "..." : plan_quoted(planner, constraint->name)));
        planner->plan->steps[planner->plan->n_steps - 1].looks_up = key;
    }
}

static const char *key_columns(struct planner *planner, const struct planned_key *key)
{
    if (key->column != NULL)
        return plan_quoted(planner, key->column);
    char *out = talloc_strdup(planner->plan, "");
    for (size_t i = 0; i < key->key->n_columns; i++)
        out = talloc_asprintf_append(out, "%s%s", i > 0 ? ", " : "",
                                     plan_quoted(planner, key->key->columns[i]));
    return out;
}

static void indexes(struct planner *planner)
{
    for (size_t i = 0; i < planner->n_keys; i++)
        step(planner, PLAN_INDEX, LOCK_SHARE_UPDATE_EXCLUSIVE, false,
             TEXT(planner, "builds the unique index of (%s) beside the readers and writers",
                  key_columns(planner, &planner->keys[i])),
             TEXT(planner, "CREATE UNIQUE INDEX CONCURRENTLY ... ON %s (%s)", planner->table,
                  key_columns(planner, &planner->keys[i])));
    if (planner->index != NULL)
        step(planner, PLAN_INDEX, LOCK_SHARE_UPDATE_EXCLUSIVE, false,
             "builds the index beside the readers and writers", planner->index);
}

static void finish(struct planner *planner)
{
    char *sql = TEXT(planner, "ALTER TABLE %s", planner->table);
    const char *between = " ";
    bool filled = false;
    for (size_t i = 0; i < planner->n_columns; i++) {
        const struct planned_column *column = &planner->columns[i];
        const char *c = plan_quoted(planner, column->name);
        filled = filled || column->fill;
        if (column->not_null) {
            sql = talloc_asprintf_append(sql, "%sALTER COLUMN %s SET NOT NULL", between, c);
            between = ", ";
        }
        if (column->identity != NULL)
            sql = talloc_asprintf_append(sql, ", ALTER COLUMN %s ADD GENERATED %s AS IDENTITY", c,
                                         column->identity->always ? "ALWAYS" : "BY DEFAULT");
    }
    for (size_t i = 0; i < planner->n_keys; i++, between = ", ")
        sql = talloc_asprintf_append(sql, "%sADD UNIQUE USING INDEX ...", between);
    if (between[0] == ',')
        step(planner, PLAN_FINISH, LOCK_ACCESS_EXCLUSIVE, true, "puts the pieces together; reads no row",
             sql);
    if (filled)
        step(planner, PLAN_ANALYZE, LOCK_SHARE_UPDATE_EXCLUSIVE, false,
             "lets the planner know what the new column holds", TEXT(planner, "ANALYZE %s", planner->table));
}

void plan_steps(struct planner *planner)
{
    if (planner->why != NULL)
        return;
    inside_the_statement(planner);
    if (planner->plan->spec == NULL) {
        plan_estimate(planner);
        return;
    }
    sequences(planner);
    step(planner, PLAN_RECORD, planner->lock, true, "records the change, in the same transaction",
         "SELECT pgsluice.begin_change(...)");
    fills(planner);
    not_nulls(planner);
    validations(planner);
    indexes(planner);
    finish(planner);
    plan_estimate(planner);
}

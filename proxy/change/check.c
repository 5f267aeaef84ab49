/*
 * The proof of NOT NULL, and validation. SET NOT NULL reads the whole table under its lock, unless a valid
 * CHECK says the same. So a helper of that kind is added NOT VALID (a short lock), validated beside readers
 * and writers, and dropped again when it has served. From 18 on a NOT NULL constraint that has a name of its
 * own can itself be NOT VALID at first; then it needs no helper.
 */
#include <stdio.h>
#include <string.h>

#include "proxy/change/owner.h"

enum { REFILLS_MOST = 3 };

const char *check_name(const struct work *work, const struct column *column)
{
    return talloc_asprintf(work->row, "pgsluice_%lld_%d", (long long)work->row->id, column->number);
}

static bool by_name(const struct work *work, const struct column *column)
{
    return work->link.version >= 180000 && column->not_null_name && !column->identity;
}

/* ' ': there is none; 't', 'f': it is valid, or not. '?': work->link.failed. */
static char constraint_state(struct work *work, const char *name)
{
    PGresult *result =
        work_ask(work, "SELECT convalidated FROM pg_constraint WHERE conrelid = %u AND conname = %s",
                 work->row->relation, sql_text(work, name));
    char state = !result ? '?' : PQntuples(result) ? link_value(result, 0, 0)[0] : ' ';
    PQclear(result);
    return state;
}

/* ---- adding -------------------------------------------------------------------------------------------- */

static char *add_one(struct work *work, char *sql, const struct column *column)
{
    const char *name = by_name(work, column) ? column->not_null_name : check_name(work, column);
    char state = constraint_state(work, name);
    if (state != ' ')
        return state == '?' ? NULL : sql;
    if (by_name(work, column))
        return talloc_asprintf_append_buffer(sql, "ALTER TABLE %s ADD CONSTRAINT %s NOT NULL %s NOT VALID;\n",
                                             work->target.sql, sql_name(work, name), column->sql);
    return talloc_asprintf_append_buffer(
        sql, "ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s IS NOT NULL) NOT VALID;\n", work->target.sql, name,
        column->sql);
}

enum step check_add(struct work *work)
{
    char *sql = talloc_strdup(work->row, owner_lock(work, "ACCESS EXCLUSIVE"));
    size_t lock = strlen(sql);
    for (size_t i = 0; sql && i < work->n_columns; i++) {
        const struct column *column = &work->columns[i];
        if (column->not_null && !column->set && !(sql = add_one(work, sql, column)))
            return work_failed(work);
    }
    if (strlen(sql) == lock)
        return STEP_DONE;
    atomic_fetch_add(&work->job->changes->locks_tried, 1);
    work_busy(work, true);
    bool good = owner_run(work, work->target.owner_sql, sql, NULL);
    work_busy(work, false);
    work->waited_out = good;
    return good ? STEP_DONE : work_failed(work);
}

/* ---- foreign keys -------------------------------------------------------------------------------------- */

static char *filled_numbers(struct work *work)
{
    char *list = talloc_strdup(work->row, "");
    for (size_t i = 0; i < work->n_columns; i++)
        if (work->columns[i].fill)
            list = talloc_asprintf_append_buffer(list, "%s%d", list[0] ? ", " : "", work->columns[i].number);
    return list;
}

/* 't', 'f': there is one to validate that a filled column is part of, or none. '?': work->link.failed. */
static char references_filled(struct work *work)
{
    const char *list = filled_numbers(work);
    if (!list[0])
        return 'f';
    PGresult *result =
        work_ask(work,
                 "SELECT EXISTS (SELECT FROM pgsluice.change c, jsonb_array_elements(c.spec->'validate') v, "
                 "pg_constraint k WHERE c.id = %lld AND k.conrelid = c.relation AND k.conname = v->>'name' "
                 "AND k.contype = 'f' AND NOT k.convalidated AND k.conkey && ARRAY[%s]::int2[])",
                 (long long)work->row->id, list);
    char answer = result ? link_value(result, 0, 0)[0] : '?';
    PQclear(result);
    return answer;
}

/* Who deleted a row of the referenced table before the fill had committed found nothing that refers to it,
 * and the fill, in replica mode, didn't look for it. VALIDATE doesn't wait for him and still sees the row. So
 * he is waited for: his look at our table left a ROW SHARE lock. Whoever looks later sees what was filled. */
static enum step wait_out(struct work *work)
{
    char needed = work->waited_out ? 'f' : references_filled(work);
    if (needed == '?')
        return work_failed(work);
    if (needed == 'f')
        return STEP_DONE;
    atomic_fetch_add(&work->job->changes->locks_tried, 1);
    work_busy(work, true);
    bool good = owner_run(work, work->target.owner_sql, owner_lock(work, "EXCLUSIVE"), NULL);
    work_busy(work, false);
    work->waited_out = good;
    return good ? STEP_DONE : work_failed(work);
}

/* ---- validating ---------------------------------------------------------------------------------------- */

/* A NULL is there all the same. Where we filled, a row may have slipped through: fill again. Where it comes
 * back, or it isn't ours to fill, it is what the direct statement would have failed with. */
static enum step null_found(struct work *work, const struct column *column)
{
    json_int_t refills = json_integer_value(json_object_get(work->progress, "refills"));
    if (!column->fill || refills >= REFILLS_MOST) {
        failure_set(&work->failed, "23502", "column \"%s\" of relation \"%s\" contains null values",
                    column->name, work->target.name);
        return work_blocked(work);
    }
    json_object_set_new(work->progress, "refills", json_integer(refills + 1));
    json_object_set_new(work->progress, "settle", json_true());
    json_object_del(work->progress, "filled");
    work->waited_out = false;
    json_object_del(work->progress, "leaf");
    enum step step = fill(work);
    return step == STEP_DONE ? STEP_RETRY : step;
}

static enum step validate(struct work *work, const char *name, const struct column *column)
{
    char state = constraint_state(work, name);
    if (state == '?')
        return work_failed(work);
    if (state != 'f')
        return STEP_DONE; /* a person dropped it, or it is valid */
    char *sql =
        talloc_asprintf(work->row, "%sALTER TABLE %s VALIDATE CONSTRAINT %s;",
                        owner_lock(work, "SHARE UPDATE EXCLUSIVE"), work->target.sql, sql_name(work, name));
    work_busy(work, true);
    bool good = owner_run(work, work->target.owner_sql, sql, NULL);
    work_busy(work, false);
    if (good)
        return work_checkpoint(work, NULL);
    const char *sqlstate = work->link.failed.sqlstate;
    if (column && (strcmp(sqlstate, "23514") == 0 || strcmp(sqlstate, "23502") == 0))
        return null_found(work, column);
    return work_failed(work);
}

static enum step validate_until(struct work *work, const struct column *column)
{
    const char *name = by_name(work, column) ? column->not_null_name : check_name(work, column);
    enum step step;
    do { /* null_found() ends it */
        memset(&work->failed, 0, sizeof work->failed);
        step = validate(work, name, column);
    } while (step == STEP_RETRY && !work->failed.sqlstate[0] && !work->failed.lost);
    return step;
}

enum step check_validate(struct work *work)
{
    const json_t *list = json_object_get(work->row->spec, "validate"), *item;
    enum step step = STEP_DONE;
    size_t i;
    for (size_t j = 0; step == STEP_DONE && j < work->n_columns; j++)
        if (work->columns[j].not_null)
            step = validate_until(work, &work->columns[j]);
    if (step == STEP_DONE)
        step = wait_out(work);
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (step == STEP_DONE && name)
            step = validate(work, name, NULL);
    }
    return step;
}

/*
 * Filling the columns that were added: every row that was there before gets what its default gives. Leaf by
 * leaf; in each first one sweep that sets all columns together, then column by column what it missed.
 *
 * In progress: "leaf" (its oid; those with smaller ones are done), "block" (of the first sweep; -1: it is
 * over), "filled": true.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/change/fill.h"
#include "proxy/observe/log.h"

static size_t count_columns(const struct work *work)
{
    size_t n = 0;
    for (size_t i = 0; i < work->n_columns; i++)
        n += work->columns[i].fill;
    return n;
}

/* ---- leaves -------------------------------------------------------------------------------------------- */

static const char leaves_sql[] =
    "SELECT c.oid, n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relkind, "
    "CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) / current_setting('block_size')::int END, "
    "greatest(c.reltuples, 0) FROM pgsluice.tree(%u) t (member) JOIN pg_class c ON c.oid = t.member "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 'p' ORDER BY c.oid";

static enum step read_leaves(struct work *work, struct leaf **leaves, size_t *n)
{
    PGresult *result = work_ask(work, leaves_sql, work->row->relation);
    if (!result)
        return work_failed(work);
    *n = (size_t)PQntuples(result);
    *leaves = talloc_zero_array(work->row, struct leaf, *n + 1);
    for (int i = 0; *leaves && i < (int)*n; i++) {
        struct leaf *leaf = &(*leaves)[i];
        leaf->oid = (uint32_t)strtoul(link_value(result, i, 0), NULL, 10);
        leaf->sql = talloc_asprintf(work->row, "%s.%s", sql_name(work, link_value(result, i, 1)),
                                    sql_name(work, link_value(result, i, 2)));
        leaf->owner_sql = sql_name(work, link_value(result, i, 3));
        leaf->blocks = strtoll(link_value(result, i, 5), NULL, 10);
        leaf->rows = strtod(link_value(result, i, 6), NULL);
        if (link_value(result, i, 4)[0] != 'r') {
            failure_set(&work->failed, "0A000",
                        "%s is a foreign table, whose rows can't be filled in batches", leaf->sql);
            PQclear(result);
            return work_blocked(work);
        }
    }
    PQclear(result);
    return STEP_DONE;
}

static void say_total(struct filling *filling, const struct leaf *leaves, size_t n)
{
    json_t *progress = filling->work->progress;
    double rows = 0;
    for (size_t i = 0; i < n; i++) {
        rows += leaves[i].rows;
        filling->total += leaves[i].blocks;
    }
    if (rows > 0)
        json_object_set_new(progress, "rows_total", json_integer((json_int_t)rows));
    json_object_set_new(progress, "blocks_total", json_integer(filling->total));
}

/* The blocks of this leaf that were swept already, by an attempt before this one, count as done. */
static void say_swept(struct filling *filling, int64_t from)
{
    filling->swept = filling->before + (from < 0 ? filling->leaf.blocks : from);
    if (filling->swept < filling->swept_marked || filling->swept_at == 0) {
        filling->swept_marked = filling->swept;
        filling->swept_at = clock_seconds();
    }
    json_object_set_new(filling->work->progress, "blocks", json_integer(filling->swept));
}

/* Which transactions these were an attempt before this one knew; that they began then is known still. */
static void read_nulls(struct filling *filling, bool again)
{
    struct work *work = filling->work;
    char key[24];
    filling->only = NULL;
    filling->nulls = talloc_zero_array(work->row, struct nulls, work->n_columns + 1);
    for (size_t i = 0; again && i < work->n_columns; i++) {
        snprintf(key, sizeof key, "null_%d", work->columns[i].number);
        filling->nulls[i].first = json_integer_value(json_object_get(work->progress, key));
        filling->nulls[i].many = filling->nulls[i].first != 0;
    }
}

static enum step fill_leaf(struct filling *filling)
{
    struct work *work = filling->work;
    struct leaf *leaf = &filling->leaf;
    bool same = (uint32_t)json_integer_value(json_object_get(work->progress, "leaf")) == leaf->oid;
    bool settle = json_is_true(json_object_get(work->progress, "settle")); /* all were swept already */
    int64_t from = settle ? -1 : same ? json_integer_value(json_object_get(work->progress, "block")) : 0;
    double rows = 0;
    enum step step = STEP_DONE;
    json_object_set_new(work->progress, "leaf", json_integer(leaf->oid));
    json_object_set_new(work->progress, "block", json_integer(from));
    say_swept(filling, from);
    read_nulls(filling, same || settle);
    if (from >= 0) {
        if (!fill_make(filling, &filling->all, "all", NULL))
            return work_failed(work);
        step = fill_sweep(filling, &filling->all, from, leaf->blocks, true, &rows);
        if (step == STEP_DONE)
            json_object_set_new(work->progress, "block", json_integer(-1));
    }
    for (size_t i = 0; step == STEP_DONE && i < work->n_columns; i++)
        if (work->columns[i].fill)
            step = fill_settle(filling, &work->columns[i]);
    return step;
}

/* What failed may have failed because a partition was dropped meanwhile, which has nothing left to fill, or
 * because a name has changed. */
static enum step look_again(struct work *work, const struct leaf *leaf)
{
    PGresult *result = work_ask(work, "SELECT to_regclass(%s) = oid FROM pg_class WHERE oid = %u",
                                sql_text(work, leaf->sql), leaf->oid);
    bool gone = result && PQntuples(result) == 0 && leaf->oid != work->row->relation;
    bool renamed = result && PQntuples(result) == 1 && strcmp(link_value(result, 0, 0), "t") != 0;
    PQclear(result);
    if (gone)
        work->failed = (struct failure){0};
    if (renamed)
        failure_set(&work->failed, "40001", "%s was renamed meanwhile", leaf->sql);
    return gone ? STEP_DONE : renamed ? STEP_RETRY : STEP_UNDO;
}

static enum step fill_leaves(struct work *work)
{
    struct leaf *leaves = NULL;
    size_t n = 0;
    struct filling filling = {.work = work, .batch.size = 8, .marked_at = clock_seconds()};
    enum step step = read_leaves(work, &leaves, &n);
    if (step != STEP_DONE)
        return step;
    say_total(&filling, leaves, n);
    filling.rows = filling.marked = json_number_value(json_object_get(work->progress, "rows"));
    throttle_begin(work);
    uint32_t at = (uint32_t)json_integer_value(json_object_get(work->progress, "leaf"));
    for (size_t i = 0; step == STEP_DONE && i < n; i++) {
        if (leaves[i].oid >= at) {
            filling.leaf = leaves[i];
            step = fill_leaf(&filling);
            if (step == STEP_UNDO)
                step = look_again(work, &leaves[i]);
        }
        filling.before += leaves[i].blocks;
    }
    if (step == STEP_DONE)
        json_object_set_new(work->progress, "rows", json_integer((json_int_t)filling.rows));
    return step;
}

/* ---- statistics ---------------------------------------------------------------------------------------- */

/* So that the first query on the new column is planned as well as the hundredth. Not worth failing for. */
static enum step analyze(struct work *work)
{
    char *list = talloc_strdup(work->row, "");
    for (size_t i = 0; i < work->n_columns; i++)
        if (work->columns[i].fill)
            list = talloc_asprintf_append_buffer(list, "%s%s", list[0] ? ", " : "", work->columns[i].sql);
    enum step step = work_phase(work, "analyze");
    if (step != STEP_DONE)
        return step;
    char *sql = talloc_asprintf(work->row, "ANALYZE %s (%s)", work->target.sql, list);
    /* No event trigger is for ANALYZE, and names in it are qualified: the path is for expressions of indexes.
     */
    char *settings =
        talloc_asprintf(work->row, "SET lock_timeout = '10s'; SELECT set_config('search_path', %s, false); ",
                        sql_text(work, work->path));
    if (!owner_top_level(work, work->target.owner_sql, settings, sql, false)) {
        log_debug("online change %" PRId64 ": %s: %s", work->row->id, sql, work->link.failed.message);
        if (work->link.failed.lost || !work->link.pg || work_told(work))
            return work_failed(work);
    }
    return STEP_DONE;
}

enum step fill(struct work *work)
{
    if (!count_columns(work) || json_is_true(json_object_get(work->progress, "filled")))
        return STEP_DONE;
    enum step step = fill_leaves(work);
    if (step != STEP_DONE)
        return step;
    step = analyze(work);
    if (step != STEP_DONE)
        return step;
    json_object_set_new(work->progress, "filled", json_true());
    return work_checkpoint(work, NULL);
}

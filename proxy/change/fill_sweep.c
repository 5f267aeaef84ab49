/*
 * Batches by ranges of blocks. One sweep over the table misses rows: an update of the application may carry a
 * row that isn't filled yet to a block behind us, and a locked row is skipped. So after the sweep the rows
 * that are left are listed, in one statement and hence one snapshot, and their blocks are filled, until a
 * list is empty.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/change/fill.h"

/* No more than BLOCKS_MOST, however empty they are: the next ones may be full. */
enum { BLOCKS_LEAST = 8, BLOCKS_MOST = 1024 };
static const double mark_every = 1, step_most = 1.2, over_most = 3;
/* Whoever wants a row that a batch has written waits for the batch's end. So it is broken off within the
 * stall budget and tried in smaller parts; a single block may take longer at each attempt, up to LONGEST. */
enum { LONGEST = 60000 };
static const double of_budget = 0.8;

/* ---- size ---------------------------------------------------------------------------------------------- */

/* Smaller batches save nothing, except where the rows themselves are slow to fill. */
static double least(const struct batch *batch, double aim)
{
    return batch->cost * BLOCKS_LEAST > over_most * aim ? 1 : BLOCKS_LEAST;
}

static void adapt(struct batch *batch, double aim, double blocks, double milliseconds)
{
    if (batch->fixed <= 0 || milliseconds < batch->fixed)
        batch->fixed = milliseconds;
    double own = milliseconds - batch->fixed, cost = own / blocks;
    batch->cost = batch->cost > 0 ? 0.8 * batch->cost + 0.2 * cost : cost;
    /* a transaction that takes the whole of the aim by itself must not leave nothing to the blocks */
    double room = 0.95 * aim - batch->fixed, most = batch->size * step_most;
    room = room < aim / 2 ? aim / 2 : room;
    double size = batch->cost > 0 ? room / batch->cost : most;
    if (own > 2 * aim && size > batch->size / 2)
        size = batch->size / 2; /* what has just hurt is not done again */
    size = size > most ? most : size;
    size = size > BLOCKS_MOST ? BLOCKS_MOST : size;
    batch->size = size < least(batch, aim) ? least(batch, aim) : size;
}

/* ---- figures ------------------------------------------------------------------------------------------- */

static void put(json_t *progress, const char *key, double number)
{
    json_object_set_new(progress, key, json_integer((json_int_t)number));
}

static double smooth(double before, double now)
{
    return before > 0 ? 0.7 * before + 0.3 * now : now;
}

/* What is swept says how far it is: rows lie unevenly, and their number is an estimate. While what is left is
 * filled no block is swept, and the rate stays what it was. */
static void mark_blocks(struct filling *filling, double now)
{
    json_t *progress = filling->work->progress;
    put(progress, "blocks", (double)filling->swept);
    if (filling->swept <= filling->swept_marked)
        return;
    double rate = (double)(filling->swept - filling->swept_marked) / (now - filling->swept_at);
    double before = json_number_value(json_object_get(progress, "block_rate"));
    json_object_set_new(progress, "block_rate", json_real(smooth(before, rate)));
    filling->swept_marked = filling->swept;
    filling->swept_at = now;
}

static enum step mark(struct filling *filling)
{
    struct work *work = filling->work;
    double now = clock_seconds(), seconds = now - filling->marked_at;
    if (seconds < mark_every)
        return STEP_DONE;
    double rate = (filling->rows - filling->marked) / seconds;
    double before = json_number_value(json_object_get(work->progress, "rate"));
    put(work->progress, "rows", filling->rows);
    put(work->progress, "rate", smooth(before, rate));
    mark_blocks(filling, now);
    json_object_del(work->progress, "tries");
    filling->marked = filling->rows;
    filling->marked_at = now;
    return work_checkpoint(work, work->throttle.why[0] ? work->throttle.why : NULL);
}

/* ---- a batch ------------------------------------------------------------------------------------------- */

static enum step null_yielded(const struct filling *filling)
{
    struct work *work = filling->work;
    const char *name = "?";
    for (size_t i = 0; i < work->n_columns; i++)
        if (work->columns[i].fill && work->columns[i].not_null)
            name = work->columns[i].name;
    failure_set(&work->failed, "23502", "column \"%s\" of relation \"%s\" contains null values", name,
                work->target.name);
    snprintf(work->failed.detail, sizeof work->failed.detail, "Its default gave NULL for an existing row.");
    return work_blocked(work);
}

/* Not the rows: there may be more of them than fit anywhere. It outlives the attempt, roughly. */
static void note_null(struct filling *filling, size_t i, int64_t transaction)
{
    struct work *work = filling->work;
    struct nulls *nulls = &filling->nulls[i];
    char key[24];
    snprintf(key, sizeof key, "null_%d", work->columns[i].number);
    if (!nulls->first)
        nulls->first = transaction;
    if (!json_object_get(work->progress, key))
        json_object_set_new(work->progress, key, json_integer(transaction));
    if (nulls->n == FILL_NULLS)
        nulls->many = true;
    else if (nulls->n++ == 0)
        nulls->list = talloc_asprintf(work->row, "%" PRId64, transaction & UINT32_MAX);
    else
        nulls->list = talloc_asprintf_append_buffer(nulls->list, ",%" PRId64, transaction & UINT32_MAX);
}

static enum step fill_batch(struct filling *filling, const struct owner_function *function, int64_t from,
                            int64_t to, int64_t most, double *rows)
{
    struct work *work = filling->work;
    PGresult *result = owner_call(work, function, from, to, most);
    if (!result)
        return work_failed(work);
    char *at = link_value(result, 0, 0);
    double filled = strtod(at, &at), needed = strtod(at, &at);
    int64_t transaction = strtoll(at, &at, 10);
    for (size_t i = 0; i < work->n_columns; i++) {
        const struct column *column = &work->columns[i];
        bool told = column->fill && !column->not_null && (!filling->only || filling->only == column);
        if (told && strtod(at, &at) > 0)
            note_null(filling, i, transaction);
    }
    PQclear(result);
    *rows += filled;
    filling->rows += filled;
    atomic_fetch_add_explicit(&work->job->changes->rows_filled, (uint64_t)filled, memory_order_relaxed);
    return needed > 0 ? null_yielded(filling) : STEP_DONE;
}

static int64_t longest(const struct filling *filling, int64_t blocks)
{
    int64_t budget = filling->work->online->stall_budget > 0 ? filling->work->online->stall_budget : 100;
    int64_t most = (int64_t)((double)budget * of_budget);
    for (int i = 0; blocks == 1 && i < filling->batch.late && most < LONGEST; i++)
        most *= 2;
    return most < 1 ? 1 : most > LONGEST ? LONGEST : most;
}

/* It was broken off for its time: the next attempt is a smaller one, or a longer one. */
static enum step too_late(struct filling *filling, int64_t blocks, int64_t most)
{
    struct work *work = filling->work;
    struct batch *batch = &filling->batch;
    if (blocks > 1) {
        batch->size = (double)(blocks / 4 > 1 ? blocks / 4 : 1);
        batch->cost =
            batch->cost > (double)most / (double)blocks ? batch->cost : (double)most / (double)blocks;
        return STEP_DONE;
    }
    batch->late++;
    if (most < LONGEST)
        return STEP_DONE;
    if (strcmp(work->failed.sqlstate, "55P03") == 0) /* somebody holds the table: not the default's fault */
        return work_blocked(work);
    failure_set(&work->failed, "57014", "filling the rows of one block of %s took longer than %d s",
                work->target.name, LONGEST / 1000);
    snprintf(work->failed.hint, sizeof work->failed.hint,
             "Make the default's function faster, or add the column without it and fill it by hand.");
    return STEP_UNDO;
}

/* Not for whoever tells us to stop, or cancels our statement. */
static bool is_late(const struct work *work, enum step step, double milliseconds, int64_t most)
{
    if (step == STEP_DONE || step == STEP_LEAVE)
        return false;
    if (strcmp(work->failed.sqlstate, "55P03") == 0)
        return milliseconds >= 0.9 * (double)most;
    return strcmp(work->failed.sqlstate, "57014") == 0 && milliseconds >= (double)most;
}

/* With what belongs to it: its time, its pause, and a mark once in a while. Not all of it may have been done:
 * *to is where the next one begins. */
static enum step paced(struct filling *filling, const struct owner_function *function, int64_t from,
                       int64_t *to, double *rows)
{
    struct work *work = filling->work;
    int64_t aim = work->online->batch_time > 0 ? work->online->batch_time : 20;
    int64_t most = longest(filling, *to - from);
    double began = clock_seconds();
    enum step step = fill_batch(filling, function, from, *to, most, rows);
    double took = clock_seconds() - began;
    if (is_late(work, step, took * 1000, most)) {
        step = too_late(filling, *to - from, most);
        *to = from;
    } else {
        if (filling->batch.late > 0 && took * 4000 < (double)most)
            filling->batch.late--;
        adapt(&filling->batch, (double)aim, (double)(*to - from), took * 1000);
    }
    if (step == STEP_DONE)
        step = (enum step)throttle_pause(work, filling->leaf.oid, took);
    return step == STEP_DONE ? mark(filling) : step;
}

enum step fill_sweep(struct filling *filling, const struct owner_function *function, int64_t from, int64_t to,
                     bool first, double *rows)
{
    json_t *progress = filling->work->progress;
    for (int64_t at = from, next; at < to; at = next) {
        next = at + (int64_t)filling->batch.size < to ? at + (int64_t)filling->batch.size : to;
        enum step step = paced(filling, function, at, &next, rows);
        if (step != STEP_DONE)
            return step;
        if (!first)
            continue;
        json_object_set_new(progress, "block", json_integer(next));
        filling->swept = filling->before + next;
    }
    return STEP_DONE;
}

/* ---- what is left -------------------------------------------------------------------------------------- */

/* Blocks of the list, neighbours together. */
static enum step fill_listed(struct filling *filling, char *blocks, double *rows)
{
    enum step step = STEP_DONE;
    for (char *at = blocks, *behind; step == STEP_DONE; at = behind) {
        int64_t from = strtoll(at, &behind, 10), to = from + 1;
        if (behind == at)
            break;
        for (char *more = behind; to - from < (int64_t)filling->batch.size; behind = more, to++) {
            int64_t next = strtoll(behind, &more, 10);
            if (more == behind || next != to)
                break;
        }
        for (int64_t end; step == STEP_DONE && from < to; from = end) {
            end = from + (int64_t)filling->batch.size < to ? from + (int64_t)filling->batch.size : to;
            step = paced(filling, &filling->some, from, &end, rows);
        }
    }
    return step;
}

/* All of them were locked: wait for one. */
static enum step wait_for_one(struct filling *filling, double left, const char *blocks)
{
    struct work *work = filling->work;
    char why[200];
    double rows = 0;
    int64_t block = strtoll(blocks, NULL, 10);
    snprintf(why, sizeof why, "%.0f row%s left to fill, locked by other transactions", left,
             left == 1 ? " is" : "s are");
    enum step step = work_checkpoint(work, why);
    return step == STEP_DONE ? fill_batch(filling, &filling->wait, block, block + 1, LONGEST, &rows) : step;
}

/* How many are left, in which blocks (malloc'ed), and how many blocks the table has by now. */
static enum step list(struct filling *filling, double *left, int64_t *end, char **blocks)
{
    work_busy(filling->work, true);
    PGresult *result = owner_call(filling->work, &filling->list, FILL_LIST, 0, 0);
    work_busy(filling->work, false);
    if (!result)
        return work_failed(filling->work);
    char *at;
    *left = strtod(link_value(result, 0, 0), &at);
    *end = strtoll(at, &at, 10);
    *blocks = strdup(at);
    PQclear(result);
    return STEP_DONE;
}

static enum step settle_round(struct filling *filling, double *left)
{
    char *blocks = NULL;
    double rows = 0;
    int64_t end = 0;
    enum step step = list(filling, left, &end, &blocks);
    /* More than a list takes: from where they begin, and as far as the table has grown since the first sweep,
     * for that is where updates have put them. */
    if (step == STEP_DONE && *left >= FILL_LIST)
        step = fill_sweep(filling, &filling->some, blocks ? strtoll(blocks, NULL, 10) : 0, end, false, &rows);
    else if (step == STEP_DONE && *left > 0)
        step = fill_listed(filling, blocks ? blocks : (char[]){""}, &rows);
    if (step == STEP_DONE && *left > 0 && rows == 0)
        step = wait_for_one(filling, *left, blocks ? blocks : "0");
    free(blocks);
    return step;
}

/* What a default that gives NULL now and then gave it for isn't filled again. */
enum step fill_settle(struct filling *filling, const struct column *column)
{
    struct work *work = filling->work;
    const struct nulls *nulls = &filling->nulls[column - work->columns];
    size_t known = SIZE_MAX;
    filling->only = column;
    for (double left = 1; left > 0;) {
        if (known != nulls->n && (!fill_make(filling, &filling->some, "some", column) ||
                                  !fill_make_wait(filling, column) || !fill_make_list(filling, column)))
            return work_failed(work);
        known = nulls->many ? SIZE_MAX : nulls->n;
        enum step step = settle_round(filling, &left);
        if (step != STEP_DONE)
            return step;
    }
    return STEP_DONE;
}

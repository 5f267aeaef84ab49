/*
 * How long the steps of a plan take and what they leave, on a small machine that has other things to do as
 * well.
 *
 * Rows and bytes are the catalog's, the speeds measured: a change that takes longer than it was said to is
 * worse than one that is done sooner. Waiting for a lock, and the throttle's pauses, come on top.
 */
#include "policy/plan_inside.h"

/* Rows a second, and bytes where rows are wide. */
#define FILL_ROWS    40e3  /* UPDATE in batches, aimed at online.batch_time each */
#define FILL_ENTRIES 500e3 /* index entries that the new row versions need */
#define READ_ROWS    5e6
#define READ_BYTES   200e6
#define KEY_ROWS     2e6
#define INDEX_ROWS   1e6
#define INDEX_PASSES 2 /* CONCURRENTLY reads the table twice */

#define ROW_HEADER     60 /* of a WAL record that holds a row, and its line pointer */
#define INDEX_ENTRY    80 /* WAL of one */
#define INDEX_ENTRY_AT 32 /* on disk, its page's free space included */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

struct size {
    double rows, bytes, indexes;
};

static double seconds(const struct plan_step *step, const struct size *size)
{
    switch (step->kind) {
    case PLAN_FILL:
        return size->rows / FILL_ROWS + size->rows * size->indexes / FILL_ENTRIES;
    case PLAN_VALIDATE:
        return larger(size->rows / (step->looks_up ? KEY_ROWS : READ_ROWS), size->bytes / READ_BYTES);
    case PLAN_INDEX:
        return INDEX_PASSES * larger(size->rows / INDEX_ROWS, size->bytes / READ_BYTES);
    case PLAN_ANALYZE:
        return 1;
    default:
        return 0;
    }
}

/* A filled row is written anew, and so is, once, each page that it leaves and each that it comes to. */
static void leaves(struct plan *plan, const struct plan_step *step, const struct size *size)
{
    if (step->kind == PLAN_FILL) {
        plan->wal_bytes += 3 * size->bytes + size->rows * (ROW_HEADER + size->indexes * INDEX_ENTRY);
        plan->space_bytes += size->bytes + size->rows * size->indexes * INDEX_ENTRY_AT;
    } else if (step->kind == PLAN_INDEX) {
        plan->wal_bytes += size->rows * INDEX_ENTRY_AT;
        plan->space_bytes += size->rows * INDEX_ENTRY_AT;
    }
}

void plan_estimate(struct planner *planner)
{
    struct plan *plan = planner->plan;
    const struct catalog_relation *relation = planner->relation;
    const struct size size = {table_rows(relation), (double)table_size(relation),
                              (double)relation->n_indexes};
    bool known = size.rows >= 0;
    plan->wal_bytes = plan->space_bytes = known ? 0 : -1;
    for (size_t i = 0; i < plan->n_steps; i++) {
        struct plan_step *step = &plan->steps[i];
        step->seconds = step->brief ? 0 : known ? seconds(step, &size) : -1;
        if (known)
            leaves(plan, step, &size);
    }
}

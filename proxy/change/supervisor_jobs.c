/*
 * Who works on what: a thread for each change, as many as online.workers, no table twice. That two proxies
 * don't do the same work is the lease's business (store.h); here it only saves the attempt.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy/change/change_inside.h"
#include "proxy/observe/log.h"

static const double stuck_rest = 60, describe_after = 2, holders_every = 3;

static void job_free(struct job *job)
{
    if (job->wake >= 0)
        close(job->wake);
    pthread_mutex_destroy(&job->mutex);
    conf_unref(job->conf);
    free(job->database);
    free(job);
}

static void job_wake(const struct job *job)
{
    uint64_t one = 1;
    if (write(job->wake, &one, sizeof one) < 0)
        errno = 0;
}

/* ---- rests --------------------------------------------------------------------------------------------- */

static struct resting *find_rest(const struct database *database, int64_t id)
{
    for (size_t i = 0; i < database->n_resting; i++)
        if (database->resting[i].id == id)
            return &database->resting[i];
    return NULL;
}

static void rest(struct database *database, int64_t id, double seconds)
{
    struct resting *resting = find_rest(database, id);
    if (!resting) {
        struct resting *more =
            realloc(database->resting, (database->n_resting + 1) * sizeof *database->resting);
        if (!more)
            return;
        database->resting = more;
        resting = &more[database->n_resting++];
        resting->id = id;
    }
    resting->until = clock_seconds() + seconds;
}

/* Those of finished changes are forgotten. */
static void forget_rests(struct database *database, const struct change_rows *rows)
{
    size_t kept = 0;
    for (size_t i = 0; i < database->n_resting; i++) {
        bool open = false;
        for (size_t j = 0; j < rows->n && !open; j++)
            open = rows->items[j].id == database->resting[i].id && !state_finished(rows->items[j].state);
        if (open)
            database->resting[kept++] = database->resting[i];
    }
    database->n_resting = kept;
}

/* ---- jobs ---------------------------------------------------------------------------------------------- */

/* We may be in where the worker can't get in any more: our connection is older than what shuts it out. */
static void note_login(struct database *database, const struct job *job)
{
    if (!job->shut_out) {
        database->shut_since = 0;
        return;
    }
    if (database->shut_since <= 0) {
        database->shut_since = clock_seconds();
        log_warning("online changes in database %s are not worked on: %s", database->name, job->why);
    }
    failure_text(database->shut_why, sizeof database->shut_why, job->why);
    char why[FAILURE_TEXT + 40];
    snprintf(why, sizeof why, "nobody works on it: %s", job->why);
    if (database->link.pg && !store_throttled(&database->link, job->id, why))
        log_debug("database %s: %s", database->name, database->link.failed.message);
}

void jobs_reap(struct changes *changes, bool all)
{
    for (struct job *job = changes->jobs; all && job; job = job->next) {
        atomic_store(&job->leave, true);
        job_wake(job);
    }
    for (struct job **at = &changes->jobs; *at;) {
        struct job *job = *at;
        if (!all && !atomic_load(&job->over)) {
            at = &job->next;
            continue;
        }
        pthread_join(job->thread, NULL);
        *at = job->next;
        for (struct database *database = changes->databases; database; database = database->next)
            if (strcmp(database->name, job->database) == 0) {
                rest(database, job->id, atomic_load(&job->rest));
                note_login(database, job);
                database->due = 0;
            }
        job_free(job);
    }
}

static struct job *find_job(const struct changes *changes, const char *database, int64_t id)
{
    struct job *job = changes->jobs;
    while (job && (job->id != id || strcmp(job->database, database) != 0))
        job = job->next;
    return job;
}

static bool table_taken(const struct changes *changes, const char *database, uint32_t relation)
{
    for (const struct job *job = changes->jobs; job; job = job->next)
        if (job->relation == relation && strcmp(job->database, database) == 0)
            return true;
    return false;
}

static size_t count_jobs(const struct changes *changes)
{
    size_t n = 0;
    for (const struct job *job = changes->jobs; job; job = job->next)
        n++;
    return n;
}

static void begin(struct changes *changes, const struct database *database, const struct change_row *row)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return;
    job->changes = changes;
    job->conf = conf_ref(changes->in_force);
    job->database = strdup(database->name);
    job->id = row->id;
    job->relation = row->relation;
    job->owner = row->owner;
    job->wanted = row->wanted;
    job->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&job->mutex, NULL);
    int failed =
        !job->database || job->wake < 0 ? ENOMEM : pthread_create(&job->thread, NULL, worker_run, job);
    if (failed) {
        log_error("online change %" PRId64 " of database %s waits: a thread could not be started: %s",
                  row->id, database->name, strerrordesc_np(failed));
        job_free(job);
        return;
    }
    job->next = changes->jobs;
    changes->jobs = job;
}

/* online.workers at one time; beyond them, up to twice as many, an owner none of whose changes is worked on:
 * what one owner's functions and locks keep busy must not stop everybody. */
static bool has_turn(const struct changes *changes, const struct database *database,
                     const struct change_row *row)
{
    size_t n = count_jobs(changes), most = changes->in_force->online.workers;
    if (n < most)
        return true;
    for (const struct job *job = changes->jobs; job; job = job->next)
        if (job->owner == row->owner && strcmp(job->database, database->name) == 0)
            return false;
    return n < 2 * most;
}

static bool may_begin(const struct changes *changes, const struct database *database,
                      const struct change_row *row)
{
    const struct resting *resting = find_rest(database, row->id);
    if (state_finished(row->state) || !row->free || row->wanted == WANTED_PAUSE)
        return false;
    return (!resting || resting->until <= clock_seconds()) &&
           !table_taken(changes, database->name, row->relation) && has_turn(changes, database, row);
}

/* Those of one table that one transaction began are carried out in their order. */
static bool waits_for_another(const struct change_rows *rows, const struct change_row *row)
{
    for (size_t i = 0; i < rows->n && &rows->items[i] != row; i++)
        if (rows->items[i].relation == row->relation && !state_finished(rows->items[i].state))
            return true;
    return false;
}

static void follow(struct changes *changes, struct database *database, const struct change_rows *rows,
                   const struct change_row *row)
{
    struct job *job = find_job(changes, database->name, row->id);
    if (job) {
        if (atomic_exchange(&job->wanted, (int)row->wanted) != (int)row->wanted)
            job_wake(job);
        return;
    }
    if (!waits_for_another(rows, row) && may_begin(changes, database, row))
        begin(changes, database, row);
    else if (row->wanted == WANTED_PAUSE && row->free && !state_finished(row->state) &&
             !store_throttled(&database->link, row->id, "paused by a person, until somebody resumes it"))
        log_debug("database %s: %s", database->name, database->link.failed.message);
    /* one that this run has never tried, left stuck by an earlier one, need not hurry */
    if (row->state == STATE_STUCK && !find_rest(database, row->id))
        rest(database, row->id, stuck_rest);
}

/* ---- why one that waits does ----------------------------------------------------------------------------
 */

static void put_waiting(struct database *database, const struct change_row *row, const char *why)
{
    if (strcmp(row->throttled, why) != 0 && !store_throttled(&database->link, row->id, why))
        log_debug("database %s: %s", database->name, database->link.failed.message);
}

static void tell_turn(const struct changes *changes, struct database *database, const struct change_row *row)
{
    char why[200];
    const struct resting *resting = find_rest(database, row->id);
    if (row->state != STATE_WAITING || !row->free || row->wanted != WANTED_RUN ||
        (resting && resting->until > clock_seconds()) || find_job(changes, database->name, row->id) ||
        table_taken(changes, database->name, row->relation) || has_turn(changes, database, row))
        return;
    size_t n = (size_t)snprintf(why, sizeof why, "online.workers (%u) are all at work, on change",
                                changes->in_force->online.workers);
    for (const struct job *job = changes->jobs; job && n < sizeof why - 40; job = job->next)
        n += (size_t)snprintf(why + n, sizeof why - n, "%s %" PRId64, job == changes->jobs ? "" : ",",
                              job->id);
    put_waiting(database, row, why);
}

/* A lease is an advisory lock, and any login of the database may take that. */
static const char holders[] =
    "SELECT c.id, format('process %s (user %s) holds an advisory lock by which workers take turns; to end "
    "it: "
    "SELECT pg_terminate_backend(%s)', a.pid, a.usename, a.pid) FROM pgsluice.change c JOIN pg_locks l "
    "ON l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.database = (SELECT d.oid FROM "
    "pg_database d WHERE d.datname = current_database()) AND (l.classid = 1936483176 AND l.objid = "
    "(c.id & 2147483647)::oid OR l.classid = 1936487522 AND l.objid = c.relation) "
    "JOIN pg_stat_activity a ON a.pid = l.pid AND a.usename <> session_user "
    "WHERE c.state NOT IN ('complete', 'undone')"; /* LEASE_CHANGE, LEASE_TABLE */

static void tell_holders(struct database *database, const struct change_rows *rows)
{
    PGresult *result = link_exec(&database->link, holders);
    for (int i = 0; result && i < PQntuples(result); i++)
        for (size_t j = 0; j < rows->n; j++)
            if (rows->items[j].id == strtoll(link_value(result, i, 0), NULL, 10))
                put_waiting(database, &rows->items[j], link_value(result, i, 1));
    PQclear(result);
}

void jobs_follow(struct changes *changes, struct database *database, const struct change_rows *rows)
{
    forget_rests(database, rows);
    for (size_t i = 0; i < rows->n && !atomic_load(&changes->stopping); i++)
        follow(changes, database, rows, &rows->items[i]);
    for (size_t i = 0; i < rows->n; i++)
        tell_turn(changes, database, &rows->items[i]);
    if (database->unfinished > 0 && clock_seconds() >= database->holders_at) {
        tell_holders(database, rows);
        database->holders_at = clock_seconds() + holders_every;
    }
}

/* ---- what a long statement waits for ------------------------------------------------------------------- */

static const char blockers[] =
    "SELECT 'waits for ' || string_agg(format('process %s (user %s, application \"%s\", %s for %s s)', "
    "a.pid, "
    "a.usename, a.application_name, coalesce(a.state, a.wait_event), "
    "round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.backend_start)))), ', ') "
    "FROM pg_stat_activity a WHERE a.pid = ANY(pg_blocking_pids($1::int)) AND a.pid <> $1::int";

/* A worker inside of a statement can't say itself why it takes so long. */
static void describe(struct database *database, struct job *job)
{
    char pid[16], *why = NULL;
    const char *values[] = {pid};
    snprintf(pid, sizeof pid, "%d", atomic_load(&job->backend));
    PGresult *result = link_params(&database->link, blockers, 1, values);
    if (result && !PQgetisnull(result, 0, 0))
        why = strdup(link_value(result, 0, 0));
    PQclear(result);
    pthread_mutex_lock(&job->mutex);
    if (!why && job->notice[0])
        why = strdup(job->notice);
    pthread_mutex_unlock(&job->mutex);
    if (result && !store_throttled(&database->link, job->id, why))
        log_debug("database %s: %s", database->name, database->link.failed.message);
    free(why);
}

void jobs_describe(struct changes *changes, struct database *database)
{
    for (struct job *job = changes->jobs; job; job = job->next) {
        double since = atomic_load(&job->busy_since);
        if (since > 0 && clock_seconds() - since > describe_after &&
            strcmp(job->database, database->name) == 0)
            describe(database, job);
    }
}

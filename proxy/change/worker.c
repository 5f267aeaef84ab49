/*
 * The thread of one change: from the lease to the end, or to a reason to let go of it. It makes one attempt;
 * the supervisor makes the next one after a rest.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/change/work.h"
#include "proxy/observe/log.h"

enum { TRIES_LOCK = 30, TRIES_FAULT = 5, TRIES_OTHER = 60 };

/* ---- being told ---------------------------------------------------------------------------------------- */

bool work_told(const struct work *work)
{
    const struct job *job = work->job;
    enum change_wanted wanted = (enum change_wanted)atomic_load(&job->wanted);
    bool forward = work->row && !json_is_true(json_object_get(work->progress, "undo"));
    return atomic_load(&job->leave) || wanted == WANTED_PAUSE || (wanted == WANTED_CANCEL && forward);
}

static bool on_interrupt(void *argument)
{
    return work_told(argument);
}

static void on_notice(void *argument, const char *message)
{
    struct work *work = argument;
    pthread_mutex_lock(&work->job->mutex);
    failure_text(work->job->notice, sizeof work->job->notice, message);
    pthread_mutex_unlock(&work->job->mutex);
}

void work_busy(struct work *work, bool busy)
{
    atomic_store(&work->job->busy_since, busy ? clock_seconds() : 0);
    pthread_mutex_lock(&work->job->mutex);
    work->job->notice[0] = '\0';
    pthread_mutex_unlock(&work->job->mutex);
}

/* ---- failures ------------------------------------------------------------------------------------------ */

static bool one_of(const char *sqlstate, const char *list)
{
    return sqlstate[0] && strstr(list, sqlstate) != NULL;
}

/* What passes by itself: the server goes down or comes up, is full, or somebody was in the way. */
static bool passes(const struct failure *failed)
{
    return failed->lost || !failed->sqlstate[0] || strncmp(failed->sqlstate, "08", 2) == 0 ||
           strncmp(failed->sqlstate, "40", 2) == 0 || strncmp(failed->sqlstate, "53", 2) == 0 ||
           strncmp(failed->sqlstate, "57", 2) == 0 || strncmp(failed->sqlstate, "58", 2) == 0 ||
           strncmp(failed->sqlstate, "XX", 2) == 0 ||
           one_of(failed->sqlstate, "55P03 55006 55P02 25006 25P03");
}

/* How often in a row one kind of failure may come. A connection that can't be had costs nothing and ends
 * nothing. */
static int tries_most(const struct failure *failed)
{
    if (failed->lost || !failed->sqlstate[0])
        return 0;
    if (strcmp(failed->sqlstate, "55P03") == 0)
        return TRIES_LOCK;
    return strncmp(failed->sqlstate, "XX", 2) == 0 ? TRIES_FAULT : TRIES_OTHER;
}

enum step work_blocked(struct work *work)
{
    if (work_told(work))
        return STEP_LEAVE;
    return passes(&work->failed) ? STEP_RETRY : STEP_UNDO;
}

enum step work_failed(struct work *work)
{
    work->failed = work->link.failed;
    return work_blocked(work);
}

/* ---- the row ------------------------------------------------------------------------------------------- */

enum step work_checkpoint(struct work *work, const char *why)
{
    char id[24], *progress = json_dumps(work->progress, JSON_COMPACT);
    const char *values[] = {id, progress, why};
    snprintf(id, sizeof id, "%" PRId64, work->row->id);
    char *sql = talloc_asprintf(work->row,
                                "UPDATE pgsluice.change SET progress = $2::jsonb, throttled = $3, "
                                "heartbeat_at = clock_timestamp() WHERE id = $1::bigint "
                                "AND state NOT IN ('complete', 'undone') AND (%s) RETURNING wanted",
                                store_lease_sql(work->row, work->row->id, work->row->relation));
    PGresult *result = link_params(&work->link, sql, 3, values);
    talloc_free(sql);
    free(progress);
    work->written = clock_seconds();
    if (!result)
        return work_failed(work);
    static const char *const wanted[] = {"run", "pause", "cancel"};
    bool there = PQntuples(result) == 1;
    for (int i = 0; there && i < 3; i++)
        if (strcmp(wanted[i], link_value(result, 0, 0)) == 0)
            atomic_store(&work->job->wanted, i);
    PQclear(result);
    return !there || work_told(work) ? STEP_LEAVE : STEP_DONE;
}

enum step work_phase(struct work *work, const char *phase)
{
    if (strcmp(work->row->phase, phase) != 0) {
        static const char *const figures[] = {"rows",   "rows_total",   "rate",
                                              "blocks", "blocks_total", "block_rate"};
        for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
            json_object_del(work->progress, figures[i]);
        work->row->phase = phase;
    }
    if (!work_do(work,
                 "UPDATE pgsluice.change SET phase = '%s' WHERE id = %" PRId64 " AND phase <> '%s' "
                 "AND state = 'running'",
                 phase, work->row->id, phase))
        return work_failed(work);
    return work_checkpoint(work, NULL);
}

/* Of an UPDATE ... RETURNING: no row says that somebody else has ended the change, or works on it. */
static enum step written(struct work *work, PGresult *result)
{
    bool there = PQntuples(result) == 1;
    PQclear(result);
    if (!result)
        return work_failed(work);
    return there ? STEP_DONE : STEP_LEAVE;
}

static enum step begin(struct work *work)
{
    char host[256] = "?", *worker;
    gethostname(host, sizeof host - 1);
    worker = talloc_asprintf(work->row, "%s:%d", host, (int)getpid());
    bool undoing = json_is_true(json_object_get(work->progress, "undo"));
    return written(
        work,
        work_ask(work,
                 "UPDATE pgsluice.change SET state = '%s', worker = %s, heartbeat_at = clock_timestamp(), "
                 "started_at = coalesce(started_at, clock_timestamp()) WHERE id = %" PRId64
                 " AND state NOT IN ('complete', 'undone') RETURNING id",
                 undoing ? "undoing" : "running", sql_text(work, worker), work->row->id));
}

/* ---- the straight line --------------------------------------------------------------------------------- */

static enum step carry_out(struct work *work)
{
    static const struct {
        const char *phase;
        enum step (*run)(struct work *);
    } line[] = {{"fill", fill},
                {"check", check_add},
                {"validate", check_validate},
                {"index", index_build},
                {"finish", finish}};
    enum step step = target_read(work);
    for (size_t i = 0; step == STEP_DONE && i < sizeof line / sizeof *line; i++) {
        step = work_phase(work, line[i].phase);
        if (step == STEP_DONE)
            step = line[i].run(work);
    }
    return step;
}

/* From now on there is but one way: back. */
static enum step turn_back(struct work *work)
{
    const struct failure *why = &work->failed;
    const char *detail = why->detail[0] ? why->detail : NULL;
    json_object_set_new(work->progress, "undo", json_true());
    json_object_del(work->progress, "tries");
    char *progress = json_dumps(work->progress, JSON_COMPACT);
    char id[24];
    const char *values[] = {id, progress, why->sqlstate, why->message, detail};
    snprintf(id, sizeof id, "%" PRId64, work->row->id);
    char *sql =
        talloc_asprintf(work->row,
                        "UPDATE pgsluice.change SET state = 'undoing', phase = 'undo', progress = $2::jsonb, "
                        "throttled = NULL, "
                        "error_code = $3, error_message = $4, error_detail = $5 WHERE id = $1::bigint "
                        "AND state NOT IN ('complete', 'undone') AND (%s) RETURNING id",
                        store_lease_sql(work->row, work->row->id, work->row->relation));
    enum step step = written(work, link_params(&work->link, sql, 5, values));
    talloc_free(sql);
    free(progress);
    if (step != STEP_DONE)
        return step;
    log_warning("online change %" PRId64 " of %s.%s in database %s is being undone: %s: %s", work->row->id,
                work->row->schema, work->row->table, work->job->database, why->sqlstate, why->message);
    work->row->phase = "undo";
    return STEP_DONE;
}

static bool open_work(struct work *);

/*
 * Code of the owner's can catch a cancel and go on, and can see to it that the server doesn't notice that we
 * are gone: it would keep its snapshot and our locks for ever. Not so if its process is ended, which the same
 * role may do. True: that is what kept us waiting.
 */
static bool end_abandoned(struct work *work)
{
    struct link link = {.wake = -1};
    int process = work->link.abandoned;
    char sql[200];
    bool there = false;
    work->link.abandoned = 0;
    snprintf(sql, sizeof sql,
             "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.pid = %d AND a.usename = "
             "session_user AND a.datname = current_database()",
             process);
    if (link_open(&link, work->online->maintenance, work->job->database, "pgsluice worker")) {
        PGresult *result = link_exec(&link, sql);
        there = result && PQntuples(result) == 1;
        PQclear(result);
    }
    if (there)
        log_warning("online change %" PRId64 " in database %s: process %d went on although its statement "
                    "was cancelled, and was ended",
                    work->job->id, work->job->database, process);
    link_close(&link);
    return there;
}

/* What takes no cancel is no use trying again. */
static enum step give_up(struct work *work, enum step step)
{
    if (!end_abandoned(work) || work_told(work))
        return step;
    for (int i = 0; i < 20 && !work_told(work); i++) {
        usleep(100000);
        if (open_work(work)) {
            failure_set(&work->failed, "38000",
                        "a function of the table's owner went on although it was cancelled");
            return STEP_UNDO;
        }
    }
    return STEP_RETRY;
}

static enum step run(struct work *work)
{
    /* Of such a row nobody knows what has been done: a person has to look. */
    if (!spec_good(work->row->spec)) {
        failure_set(&work->failed, "22023", "its spec in pgsluice.change can't be read");
        return STEP_UNDO;
    }
    bool undoing = json_is_true(json_object_get(work->progress, "undo"));
    if (!undoing && atomic_load(&work->job->wanted) == WANTED_CANCEL) {
        failure_set(&work->failed, "57014", "the change was cancelled");
        enum step turned = turn_back(work);
        if (turned != STEP_DONE)
            return turned;
        undoing = true;
    }
    enum step step = begin(work);
    if (step == STEP_DONE && !undoing)
        step = carry_out(work);
    if (work->link.abandoned)
        step = give_up(work, step);
    if (step == STEP_UNDO && !undoing)
        step = turn_back(work);
    else if (step != STEP_DONE || !undoing)
        return step;
    if (step != STEP_DONE)
        return step;
    step = target_read(work);
    return step == STEP_DONE || step == STEP_UNDO ? undo(work) : step;
}

/* ---- an attempt's end ---------------------------------------------------------------------------------- */

/* A change that can go neither on nor back: a person is needed, but we look again each minute. */
static void stuck(struct work *work)
{
    const struct failure *why = &work->failed;
    char id[24];
    const char *values[] = {id, why->sqlstate, why->message, why->detail[0] ? why->detail : NULL};
    snprintf(id, sizeof id, "%" PRId64, work->row->id);
    PQclear(link_params(&work->link,
                        "UPDATE pgsluice.change SET state = 'stuck', throttled = concat_ws(': ', 'stuck', "
                        "$2::text, $3::text, "
                        "$4::text) || '; tried again each minute' "
                        "WHERE id = $1::bigint AND state NOT IN ('complete', 'undone')",
                        4, values));
    log_error("online change %" PRId64
              " of %s.%s in database %s is stuck, and is tried again each minute: %s: %s%s%s",
              work->row->id, work->row->schema, work->row->table, work->job->database, why->sqlstate,
              why->message, why->detail[0] ? "; " : "", why->detail);
    atomic_store(&work->job->rest, 60);
}

/* Something that passes. Until how often it came says that it doesn't. */
static void retry(struct work *work)
{
    int most = tries_most(&work->failed);
    const char *phase = json_string_value(json_object_get(work->progress, "tries_of"));
    bool again = phase && strcmp(phase, work->row->phase) == 0;
    int tries = again ? (int)json_integer_value(json_object_get(work->progress, "tries")) + 1 : 1;
    double rest = fmin(60, 0.5 * pow(1.6, tries));
    char why[2 * FAILURE_TEXT];
    json_object_set_new(work->progress, "tries", json_integer(tries));
    json_object_set_new(work->progress, "tries_of", json_string(work->row->phase));
    atomic_store(&work->job->rest, work->failed.lost ? 1 : rest);
    snprintf(why, sizeof why, "tries again in %.0f s (attempt %d): %s", rest, tries, work->failed.message);
    log_info("online change %" PRId64 " in database %s %s", work->job->id, work->job->database, why);
    if (work->failed.lost || !work->link.pg)
        return;
    if (work_checkpoint(work, why) == STEP_DONE && most && tries >= most)
        stuck(work);
}

static void conclude(struct work *work, enum step step)
{
    bool back = json_is_true(json_object_get(work->progress, "undo"));
    if (step == STEP_DONE)
        log_info("online change %" PRId64 " of %s.%s in database %s is %s after %.1f s", work->row->id,
                 work->row->schema, work->row->table, work->job->database, back ? "undone" : "complete",
                 work->row->age + clock_seconds() - work->began);
    else if (step == STEP_RETRY)
        retry(work);
    else if (step == STEP_UNDO) /* of undoing itself */
        stuck(work);
    if (step != STEP_LEAVE)
        return;
    atomic_store(&work->job->rest, 0.2);
    work->link.interrupt = NULL; /* what was reached is written down, whoever waits for us */
    if (work->link.pg && !work->link.failed.lost)
        work_checkpoint(work, NULL);
}

static bool open_work(struct work *work)
{
    char name[64];
    snprintf(name, sizeof name, "pgsluice change %" PRId64, work->job->id);
    if (!link_open(&work->link, work->online->maintenance, work->job->database, name)) {
        log_debug("online change %" PRId64 ": %s", work->job->id, work->link.failed.message);
        link_shut_out(&work->link.failed, work->online->maintenance, work->job->why);
        work->job->shut_out = !work_told(work);
        return false;
    }
    atomic_store(&work->job->backend, PQbackendPID(work->link.pg));
    /* The supervisor tries the lease for a moment, of any proxy: that isn't work. */
    if (store_presence(&work->link) != STORE_PRESENT) /* since the supervisor looked, it may have changed */
        return false;
    for (int i = 0; i < 3; i++) {
        if (store_lease(&work->link, work->job->id, work->job->relation))
            return true;
        usleep(50000);
    }
    return false;
}

void *worker_run(void *argument)
{
    struct job *job = argument;
    struct work work = {.job = job, .online = &job->conf->online, .link = {.wake = job->wake}};
    work.link.interrupt = on_interrupt;
    work.link.notice = on_notice;
    work.link.argument = &work;
    atomic_store(&job->rest, 1);
    if (open_work(&work) && (work.row = store_row(NULL, &work.link, job->id)) &&
        !state_finished(work.row->state)) {
        work.progress = work.row->progress;
        work.began = clock_seconds();
        conclude(&work, run(&work));
    }
    link_close(&work.link);
    if (work.link.abandoned)
        end_abandoned(&work);
    talloc_free(work.row);
    atomic_store(&job->backend, 0);
    atomic_store(&job->over, true);
    changes_wake(job->changes);
    return NULL;
}

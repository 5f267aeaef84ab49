/*
 * A session and its judges: a statement goes to the bench, the judgement comes back to the loop; what the
 * audit hears of a statement afterwards.
 *
 * A `judging` is shared by the loop and, for the time of the job, a judge: the judge only posts it back. If
 * the session ends first, the judging is left behind without it and frees itself when it comes home.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/observe/log.h"
#include "proxy/session/session_inside.h"

struct judging {
    struct loop_task task;
    struct loop *loop;
    struct session *session; /* NULL: it has ended */
    struct judge_job *job;
};

static double clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the audit's list ------------------------------------------------------------------------------- */

static void audit_add(struct session *session, const struct judgement *judgement)
{
    struct audited **end = &session->audited;
    double now = clock_now();
    while (*end)
        end = &(*end)->next;
    for (size_t i = 0; i < judgement->n_records; i++) {
        struct audited *entry = judgement->records[i] ? calloc(1, sizeof *entry) : NULL;
        if (!entry)
            continue; /* without memory a duration is unknown; the record is not */
        entry->record = judgement->records[i];
        entry->since = now;
        *end = entry;
        end = &entry->next;
    }
}

/* Takes a record off the list; how long it took. The server does one thing after the other, so those behind
 * it begin now. -1: not on the list. */
static double audit_take(struct session *session, uint64_t record)
{
    double now = clock_now();
    double milliseconds = -1;
    struct audited **at = &session->audited;
    while (*at) {
        struct audited *entry = *at;
        if (entry->record == record) {
            milliseconds = (now - entry->since) * 1000;
            *at = entry->next;
            free(entry);
            continue;
        }
        if (milliseconds >= 0)
            entry->since = now;
        at = &entry->next;
    }
    return milliseconds;
}

void session_audit_forget(struct session *session)
{
    while (session->audited) {
        struct audited *entry = session->audited;
        session->audited = entry->next;
        free(entry);
    }
}

/* The count at the end of a CommandComplete tag: "INSERT 0 5", "COPY 7"; -1: none. */
static int64_t rows_of(const char *tag)
{
    const char *space = strrchr(tag, ' ');
    char *end;
    if (!space || space[1] < '0' || space[1] > '9')
        return -1;
    long long rows = strtoll(space + 1, &end, 10);
    return *end == '\0' ? (int64_t)rows : -1;
}

void session_audit_finished(struct session *session, const struct engine_finished *finished)
{
    double milliseconds = audit_take(session, finished->record);
    if (!session->room->shared->audit || !finished->record)
        return;
    const char *sqlstate = finished->sqlstate[0] ? finished->sqlstate : NULL;
    const struct audit_finished record = {
        .decided = finished->record,
        .sqlstate = finished->lost ? "08007" : sqlstate, /* transaction resolution unknown */
        .tag = finished->tag[0] ? finished->tag : NULL,
        .rows = rows_of(finished->tag),
        .duration_ms = milliseconds < 0 ? 0 : milliseconds,
        .lock_wait_ms = -1,
        .txn = NULL,
    };
    audit_finished(session->room->shared->audit, &record);
}

void session_audit_ended(struct session *session, const struct engine_transaction_ended *ended)
{
    static const char *const ends[] = {[TRANSACTION_COMMITTED] = "committed",
                                       [TRANSACTION_ROLLED_BACK] = "rolled_back",
                                       [TRANSACTION_OPEN] = "open"};
    if (session->room->shared->audit && ended->record)
        audit_transaction(session->room->shared->audit, ended->record, ends[ended->end]);
}

/* ---- judging ---------------------------------------------------------------------------------------- */

static void answer(struct session *session, const struct judgement *judgement)
{
    audit_add(session, judgement);
    engine_judged(session->engine, judgement);
    relay_events(session);
}

static void come_home(struct loop_task *task)
{
    struct judging *judging = (struct judging *)task;
    struct session *session = judging->session;
    if (session) {
        session->judging = NULL;
        answer(session, &judging->job->judgement);
    }
    judge_job_free(judging->job);
    free(judging);
    if (session)
        session_settle(session);
}

/* On the judge's thread. */
static void post_home(struct judge_job *job)
{
    struct judging *judging = job->owner;
    loop_post(judging->loop, &judging->task);
}

static void fault(struct session *session, const char *message)
{
    struct judgement judgement;
    log_error("session %llu: %s", (unsigned long long)session->number, message);
    judgement_fault(&judgement, message, "Try again; the statement was not carried out.");
    answer(session, &judgement);
}

void session_judge(struct session *session, const struct engine_judge *event)
{
    const struct judge_session who = {
        .session = session->number,
        .client = session->peer,
        .user = session->user,
        .database = session->database,
        .application = engine_application_name(session->engine),
        .client_encoding = engine_client_encoding(session->engine),
        .start_waiver = session->start_waiver,
        .server_version = engine_server_version(session->engine),
    };
    struct judging *judging = calloc(1, sizeof *judging);
    struct judge_job *job = judging ? judge_job_new(event, &who, session->room->conf) : NULL;
    if (!job) {
        free(judging);
        fault(session, "pgsluice has no memory to judge this statement");
        return;
    }
    judging->task.run = come_home;
    judging->loop = session->room->loop;
    judging->session = session;
    judging->job = job;
    job->owner = judging;
    job->done = post_home;
    session->judging = judging;
    if (!judge_submit(session->room->shared->judges, job)) {
        session->judging = NULL;
        judge_job_free(job);
        free(judging);
        fault(session, "too many statements wait to be judged");
    }
}

void session_judge_abandon(struct session *session)
{
    if (!session->judging)
        return;
    session->judging->job->orphan = true;
    session->judging->session = NULL;
    session->judging = NULL;
}

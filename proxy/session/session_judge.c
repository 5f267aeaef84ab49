/*
 * A session and its judges: a statement goes to the bench, the judgement comes back to the loop; what the
 * audit hears of a statement afterwards.
 *
 * Where the judge has to know what the catalog says, the job comes home with a question first. It is asked in
 * the client's own session (engine_ask.h), and the job goes to the bench again with the answer, or without
 * one: then the statement is judged as its text says. An Execute in the pipeline of its own Parse has the
 * Parse's answer: nothing has run in between.
 *
 * A `judging` is shared by the loop and, for the time of the job, a judge: the judge only posts it back. If
 * the session ends first, the judging is left behind without it and frees itself when it comes home, or when
 * its question is over.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>
#include <time.h>

#include "proxy/change/change.h"
#include "proxy/observe/log.h"
#include "proxy/session/engine_ask.h"
#include "proxy/session/session_inside.h"

enum {
    HEARD_MAX = 65536, /* bytes of an answer that is kept for the Execute behind a Parse */
    MADE_MAX = 8192    /* tables that a session is known to have made */
};

struct judging {
    struct loop_task task;
    struct loop *loop;
    struct sessions_shared *shared;
    struct session *session; /* NULL: it has ended */
    struct judge_job *job;
    struct change_columns *columns; /* a reference of those in quarantine that the job knows; or NULL */
    enum judge_occasion occasion;
    uint32_t moment;
    bool only_screened; /* nothing in it but for a name that may be that of a column in quarantine */
    enum { JUDGING_BENCH, JUDGING_ASKS, JUDGING_LEFT } state; /* LEFT: its session is about to end */
    char *answer;                                             /* NULL: none */
    size_t answer_length;
    double asked; /* seconds of the monotonic clock */
};

/* What a Parse heard. */
struct heard {
    uint32_t moment;
    char *question, *answer;
    size_t length;
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
 * it begin now, and a message of many ends in their order: the list is not walked. -1: not on the list. */
static double audit_take(struct session *session, uint64_t record)
{
    struct audited **at = &session->audited;
    while (*at && (*at)->record != record)
        at = &(*at)->next;
    struct audited *entry = *at;
    if (!entry)
        return -1;
    double now = clock_now();
    double since = entry->since > session->audited_since ? entry->since : session->audited_since;
    session->audited_since = now;
    *at = entry->next;
    free(entry);
    return (now - since) * 1000;
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
    if (finished->sqlstate[0] || finished->lost)
        session_locks_gone(session, finished->record);
    if (!session->room->shared->audit || !finished->record || (finished->record & RECORD_UNAUDITED))
        return;
    const char *sqlstate = finished->sqlstate[0] ? finished->sqlstate : NULL;
    const struct audit_finished record = {
        .decided = finished->record,
        .sqlstate = finished->lost ? "08007" : sqlstate, /* transaction resolution unknown */
        .tag = finished->tag[0] ? finished->tag : NULL,
        .rows = rows_of(finished->tag),
        .duration_ms = milliseconds < 0 ? 0 : milliseconds,
        .lock_wait_ms = -1,
        .change = finished->change,
        .txn = NULL,
    };
    audit_finished(session->room->shared->audit, &record);
}

void session_audit_ended(struct session *session, const struct engine_transaction_ended *ended)
{
    static const char *const ends[] = {[TRANSACTION_COMMITTED] = "committed",
                                       [TRANSACTION_ROLLED_BACK] = "rolled_back",
                                       [TRANSACTION_OPEN] = "open"};
    uint64_t first = ended->first & RECORD_UNAUDITED ? ended->record : ended->first;
    session_locks_gone(session, ended->record);
    if (session->room->shared->audit && ended->record && !(ended->record & RECORD_UNAUDITED))
        audit_transaction(session->room->shared->audit, ended->record, first, ends[ended->end]);
}

/* ---- judging ---------------------------------------------------------------------------------------- */

static void answer(struct session *session, const struct judge_job *job)
{
    struct judgement judgement = job->judgement;
    size_t n = judgement.n_records;
    bool runs = judgement.as == JUDGED_FORWARD || judgement.as == JUDGED_REWRITE;
    bool locks = job->locks && n && runs;
    uint64_t *records = locks ? malloc(n * sizeof *records) : NULL;
    audit_add(session, &judgement);
    if (records) {
        memcpy(records, judgement.records, n * sizeof *records);
        session_locks_take(session, job, records, clock_now());
        judgement.records = records;
    }
    engine_judged(session->engine, &judgement);
    free(records);
    relay_events(session);
}

static void judging_free(struct judging *judging)
{
    judge_job_free(judging->job);
    change_columns_release(judging->columns);
    free(judging->answer);
    free(judging);
}

static void fault(struct session *session, const char *message)
{
    struct judgement judgement;
    log_error("session %llu: %s", (unsigned long long)session->number, message);
    judgement_fault(&judgement, message, "Try again; the statement was not carried out.");
    engine_judged(session->engine, &judgement); /* its events are taken up by whoever called the engine */
}

static void submit(struct judging *judging)
{
    struct session *session = judging->session;
    judging->state = JUDGING_BENCH;
    if (judge_submit(judging->shared->judges, judging->job))
        return;
    bool only_screened = judging->only_screened;
    session->judging = NULL;
    judging_free(judging);
    if (only_screened) /* a quarantine must not cost more than it protects */
        engine_judged(session->engine, &(struct judgement){.as = JUDGED_FORWARD});
    else
        fault(session, "too many statements wait to be judged");
}

/* It was decided, and then its session ended before the server was told. */
static void finish_unsent(const struct judging *judging)
{
    const struct judgement *judgement = &judging->job->judgement;
    for (size_t i = 0; judging->shared->audit && i < judgement->n_records; i++) {
        const struct audit_finished record = {.decided = judgement->records[i],
                                              .sqlstate = "08003", /* connection does not exist */
                                              .rows = -1,
                                              .lock_wait_ms = -1,
                                              .txn = "rolled_back"};
        if (record.decided)
            audit_finished(judging->shared->audit, &record);
    }
}

/* ---- the question ------------------------------------------------------------------------------------ */

static void forget_heard(struct session *session)
{
    struct heard *heard = session->heard;
    session->heard = NULL;
    if (!heard)
        return;
    free(heard->question);
    free(heard->answer);
    free(heard);
}

/* In the place of what the Parse before it heard. Without memory it is asked again. */
static void keep_heard(struct session *session, const struct judging *judging)
{
    forget_heard(session);
    struct heard *heard = calloc(1, sizeof *heard);
    session->heard = heard;
    if (!heard)
        return;
    heard->moment = judging->moment;
    heard->length = judging->answer_length;
    heard->question = strdup(judging->job->question);
    heard->answer = malloc(judging->answer_length);
    if (heard->question && heard->answer)
        memcpy(heard->answer, judging->answer, judging->answer_length);
    else
        forget_heard(session);
}

/* One row of one column. */
static void question_reply(void *argument, uint8_t type, const uint8_t *payload, size_t n)
{
    struct judging *judging = argument;
    uint16_t columns;
    uint32_t length;
    if (type != 'D' || judging->answer || n < 6)
        return;
    memcpy(&columns, payload, sizeof columns);
    memcpy(&length, payload + 2, sizeof length);
    length = ntohl(length);
    if (ntohs(columns) != 1 || length != n - 6)
        return;
    judging->answer = malloc(length + 1);
    if (!judging->answer)
        return;
    memcpy(judging->answer, payload + 6, length);
    judging->answer_length = length;
}

static void question_over(void *argument, bool answered)
{
    struct judging *judging = argument;
    struct session *session = judging->session;
    if (!session) {
        judging_free(judging);
        return;
    }
    if (engine_ended(session->engine)) {
        judging->state = JUDGING_LEFT;
        return;
    }
    struct metrics *metrics = &session->room->metrics;
    metric_add(metrics, METRIC_question_seconds_total, (uint64_t)((clock_now() - judging->asked) * 1e9));
    if (!answered || !judging->answer)
        metric_add(metrics, METRIC_questions_unanswered_total, 1);
    else if (judging->occasion == JUDGE_PARSE && judging->answer_length <= HEARD_MAX)
        keep_heard(session, judging);
    judge_answer(judging->job, answered ? judging->answer : NULL, judging->answer_length);
    free(judging->answer);
    judging->answer = NULL;
    submit(judging);
}

/* False: the job goes to the bench again as it is. */
static bool ask(struct session *session, struct judging *judging)
{
    const char *value = judging->job->question;
    const struct engine_question question = {.sql = judging->job->question_sql,
                                             .values = &value,
                                             .n_values = 1,
                                             .reply = question_reply,
                                             .over = question_over,
                                             .argument = judging};
    judging->state = JUDGING_ASKS;
    judging->asked = clock_now();
    if (!engine_ask(session->engine, &question))
        return false;
    metric_add(&session->room->metrics, METRIC_questions_total, 1);
    return true;
}

static void go_on(struct session *session, struct judging *judging)
{
    struct judge_job *job = judging->job;
    const struct heard *heard = session->heard;
    if (heard && heard->moment == judging->moment && strcmp(heard->question, job->question) == 0)
        judge_answer(job, heard->answer, heard->length);
    else if (ask(session, judging))
        return;
    else
        judge_answer(job, NULL, 0);
    submit(judging);
}

/* What the session makes, for the judgements to come: a table is new to nobody but to whoever made it. */
static void keep_made(struct session *session, const struct judge_job *job)
{
    enum judged_as as = job->judgement.as;
    size_t n = as == JUDGED_FORWARD || as == JUDGED_REWRITE ? job->n_made : 0;
    if (n > MADE_MAX - session->n_made)
        n = MADE_MAX - session->n_made;
    uint64_t *made = n ? realloc(session->made, (session->n_made + n) * sizeof *made) : NULL;
    if (!made)
        return;
    memcpy(made + session->n_made, job->made, n * sizeof *made);
    session->made = made;
    session->n_made += n;
}

static void come_home(struct loop_task *task)
{
    struct judging *judging = (struct judging *)task;
    struct session *session = judging->session;
    const struct judge_job *job = judging->job;
    if (session && job->question && !job->asked) {
        go_on(session, judging);
        session_settle(session);
        return;
    }
    if (session) {
        session->judging = NULL;
        session->since = job->since;
        keep_made(session, job);
        answer(session, job);
    } else {
        finish_unsent(judging);
    }
    judging_free(judging);
    if (session)
        session_settle(session);
}

/* On the judge's thread. */
static void post_home(struct judge_job *job)
{
    struct judging *judging = job->owner;
    loop_post(judging->loop, &judging->task);
}

enum { SECRET = 48 };
static char question_name[SECRET];

static void make_secret(char secret[SECRET])
{
    uint64_t number[2];
    if (getrandom(number, sizeof number, 0) != (ssize_t)sizeof number) {
        log_error("no random numbers: the name of our statements can be guessed");
        number[0] = number[1] = (uint64_t)(clock_now() * 1e9);
    }
    snprintf(secret, SECRET, "pgsluice_%016llx%016llx", (unsigned long long)number[0],
             (unsigned long long)number[1]);
}

static void make_question_name(void)
{
    make_secret(question_name);
}

/* NULL, so nothing is done online: no memory. */
static const char *nonce_of(struct session *session)
{
    if (!session->nonce && (session->nonce = malloc(SECRET)) != NULL) {
        make_secret(session->nonce);
        engine_set_nonce(session->engine, session->nonce);
    }
    return session->nonce;
}

const char *session_question_name(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_question_name);
    return question_name;
}

static bool only_other(const struct engine_judge *event)
{
    for (size_t i = 0; i < event->n_statements; i++)
        if (event->statements[i].class != GATE_OTHER || event->statements[i].locks)
            return false;
    return true;
}

static void judge_with(struct session *session, const struct engine_judge *event,
                       const struct judge_column *columns, size_t n_columns, struct change_columns *others)
{
    struct policy_held held;
    if (!session_locks_held(session, event, clock_now(), &held) && n_columns == 0) {
        engine_judged(session->engine, &(struct judgement){.as = JUDGED_FORWARD});
        return; /* whoever called the engine goes on */
    }
    const struct judge_session who = {
        .session = session->number,
        .client = session->peer,
        .user = session->user,
        .database = session->database,
        .application = engine_application_name(session->engine),
        .client_encoding = engine_client_encoding(session->engine),
        .start_waiver = session->start_waiver,
        .server_version = engine_server_version(session->engine),
        .since = session->since,
        .made = session->made,
        .n_made = session->n_made,
        .may_ask = true,
        .columns = columns,
        .n_columns = n_columns,
        .nonce = session_online(session) ? nonce_of(session) : NULL,
        .held = held.table ? &held : NULL,
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
    judging->shared = session->room->shared;
    judging->session = session;
    judging->job = job;
    judging->columns = others ? change_columns_hold(others) : NULL;
    judging->occasion = event->occasion;
    judging->only_screened = event->screened && !event->watched && only_other(event);
    judging->moment = event->moment;
    if (session->heard && session->heard->moment != event->moment)
        forget_heard(session);
    job->owner = judging;
    job->done = post_home;
    session->judging = judging;
    submit(judging);
}

/* Those that aren't complete and that the message must not speak of: its own, and `others`. Below a talloc
 * parent; NULL: out of memory. */
static struct judge_column *columns_for(const void *memory, struct session *session,
                                        const struct engine_judge *event, const struct change_columns *others,
                                        size_t *n)
{
    size_t own = event->watched ? session_locks_columns(session, NULL) : session_own_columns(session, NULL);
    struct judge_column *columns = talloc_array(memory, struct judge_column, own + (others ? others->n : 0));
    if (!columns)
        return NULL;
    *n = event->watched ? session_locks_columns(session, columns) : session_own_columns(session, columns);
    for (size_t i = 0; others && i < others->n; i++) {
        const struct change_column *from = &others->items[i];
        columns[(*n)++] = (struct judge_column){.schema = from->schema,
                                                .table = from->table,
                                                .column = from->column,
                                                .relation = from->relation,
                                                .change = from->change,
                                                .quarantine = from->quarantine};
    }
    return columns;
}

void session_judge(struct session *session, const struct engine_judge *event)
{
    void *memory = talloc_new(NULL);
    size_t n_columns = 0;
    struct change_columns *others = event->screened ? session_quarantine(session) : NULL;
    const struct judge_column *columns =
        memory ? columns_for(memory, session, event, others, &n_columns) : NULL;
    if (columns)
        judge_with(session, event, columns, n_columns, others);
    else
        fault(session, "pgsluice has no memory to judge this statement");
    change_columns_release(others);
    talloc_free(memory);
}

void session_judge_abandon(struct session *session)
{
    struct judging *judging = session->judging;
    forget_heard(session);
    session->judging = NULL;
    if (!judging)
        return;
    judging->job->orphan = true;
    judging->session = NULL;
    if (judging->state == JUDGING_LEFT)
        judging_free(judging);
}

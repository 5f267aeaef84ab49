/*
 * One job: what it copies, and the order of its work: judge each statement, record it, wait for the disk,
 * answer.
 *
 * Whatever fails inside ends in a refusal with SL900: memory that runs out, a parser that gives up, an audit
 * that cannot be written. Profile observe refuses nothing, not even then: who only looks on must not stop a
 * statement.
 */
#include "proxy/session/judge.h"

#include <stdint.h>
#include <string.h>
#include <talloc.h>

#include "proxy/observe/log.h"
#include "proxy/session/judge_inside.h"

/* ---- the job ---------------------------------------------------------------------------------------- */

static const char *copy(const void *memory, const char *text, bool *fine)
{
    const char *result = talloc_strdup(memory, text ? text : "");
    *fine = *fine && result;
    return result;
}

static bool copy_session(struct judge_work *work, const struct judge_session *session)
{
    bool fine = true;
    work->session = *session;
    work->session.client = copy(work, session->client, &fine);
    work->session.user = copy(work, session->user, &fine);
    work->session.database = copy(work, session->database, &fine);
    work->session.application = copy(work, session->application, &fine);
    work->session.client_encoding = copy(work, session->client_encoding, &fine);
    if (session->start_waiver)
        work->session.start_waiver = copy(work, session->start_waiver, &fine);
    if (session->n_made) {
        work->session.made = talloc_memdup(work, session->made, session->n_made * sizeof *session->made);
        fine = fine && work->session.made;
    }
    if (session->n_columns) {
        struct judge_column *columns =
            talloc_zero_array(work, struct judge_column, (unsigned)session->n_columns);
        for (size_t i = 0; columns && i < session->n_columns; i++) {
            columns[i] = session->columns[i];
            if (!columns[i].own)
                continue; /* the caller's */
            columns[i].schema =
                session->columns[i].schema ? copy(columns, session->columns[i].schema, &fine) : NULL;
            columns[i].table = copy(columns, session->columns[i].table, &fine);
            columns[i].column = copy(columns, session->columns[i].column, &fine);
            columns[i].begun =
                session->columns[i].begun ? copy(columns, session->columns[i].begun, &fine) : NULL;
        }
        work->session.columns = columns;
        fine = fine && columns;
    }
    if (session->nonce)
        work->session.nonce = copy(work, session->nonce, &fine);
    if (session->held) {
        work->held = *session->held;
        work->held.table = copy(work, session->held->table, &fine);
        work->held.by = copy(work, session->held->by, &fine);
        work->session.held = &work->held;
    }
    return fine;
}

/* The names of the tables that the message makes. Without memory they do not count as new. */
static void note_made(struct judge_job *job)
{
    const struct judge_work *work = job->work;
    job->made = talloc_array(job, uint64_t, work->n_places);
    for (size_t i = 0; job->made && i < work->n_places; i++) {
        const struct facts *facts = work->places[i].reading.facts;
        if (facts && facts->kind == STATEMENT_CREATE_TABLE && facts->object.name)
            job->made[job->n_made++] = policy_name_hash(facts->object.name);
    }
}

/* Is the statement's text a part of the message's own? */
static bool inside(const struct engine_judge *event, const struct engine_statement *statement)
{
    return !event->too_long && event->sql && statement->offset <= event->sql_length &&
           statement->length <= event->sql_length - statement->offset &&
           statement->text == event->sql + statement->offset;
}

static bool copy_statements(struct judge_work *work, const struct engine_judge *event)
{
    work->n_statements = event->n_statements;
    work->statements = talloc_array(work, struct engine_statement, event->n_statements);
    work->records = talloc_zero_array(work, uint64_t, event->n_statements);
    if (!event->too_long) {
        work->sql_length = event->sql_length;
        work->sql =
            talloc_memdup(work, event->sql_length ? event->sql : "", event->sql_length + !event->sql_length);
    }
    if (!work->statements || !work->records || (!event->too_long && !work->sql))
        return false;
    for (size_t i = 0; i < event->n_statements; i++) {
        struct engine_statement *statement = &work->statements[i];
        *statement = event->statements[i];
        if (inside(event, &event->statements[i]))
            statement->text = work->sql + statement->offset;
        else
            statement->text = talloc_memdup(work, statement->length ? statement->text : "",
                                            statement->length + !statement->length);
        if (!statement->text)
            return false;
    }
    return true;
}

struct judge_job *judge_job_new(const struct engine_judge *event, const struct judge_session *session,
                                struct conf *conf)
{
    struct judge_job *job = talloc_zero(NULL, struct judge_job);
    struct judge_work *work = job ? talloc_zero(job, struct judge_work) : NULL;
    struct judge_session asker = *session;
    if (event->encoding && *event->encoding)
        asker.client_encoding = event->encoding;
    if (!work || !copy_session(work, &asker) || !copy_statements(work, event)) {
        talloc_free(job);
        return NULL;
    }
    work->occasion = event->occasion;
    work->in_transaction = event->in_transaction;
    work->scs = event->scs;
    work->uncertain = event->uncertain;
    work->too_long = event->too_long;
    work->may_ask = session->may_ask;
    work->in_pipeline = event->in_pipeline;
    work->conf = conf_ref(conf);
    job->work = work;
    return job;
}

void judge_job_free(struct judge_job *job)
{
    if (!job)
        return;
    conf_unref(job->work->conf);
    talloc_free(job);
}

void judgement_fault(struct judgement *judgement, const char *message, const char *hint)
{
    *judgement = (struct judgement){.as = JUDGED_REFUSE, .token = "pgsluice_fault"};
    judgement->refusal = (struct report){.severity = "ERROR", .message = message, .hint = hint};
    memcpy(judgement->refusal.sqlstate, "SL900", sizeof judgement->refusal.sqlstate);
}

/* ---- the work --------------------------------------------------------------------------------------- */

static void fault(struct judge_job *job, const char *message)
{
    if (judge_observes(job->work))
        return;
    judgement_fault(&job->judgement, message, "Try again later.");
    job->work->rank = REFUSAL_RULE; /* nothing that comes later takes its place */
    job->work->server_reads = false;
    job->worst = ACTION_REJECT;
}

static void take_up(struct judge_job *job, const struct judged *judged)
{
    struct judge_work *work = job->work;
    bool told = true;
    enum action action = judged->verdict ? judged->verdict->action : ACTION_ALLOW;
    if (judge_observes(work))
        action = ACTION_ALLOW;
    job->worst = action > job->worst ? action : job->worst;
    if (judged->fault)
        log_error("session %llu: a statement could not be judged: %s",
                  (unsigned long long)work->session.session, judged->fault);
    if (judged->rank > work->rank) {
        told = judge_report_refusal(job, judged);
        work->rank = judged->rank;
    }
    work->server_reads = work->server_reads || judged->server_reads;
    if (work->occasion != JUDGE_EXECUTE)
        told = judge_report_notices(job, judged) && told;
    if (!told)
        fault(job, "pgsluice refused this: it ran out of memory while judging it");
}

/* A Parse runs nothing: only its refusal is worth a record. Its Execute will be recorded. */
static bool recorded(const struct judge_work *work, const struct judged *judged)
{
    return !judge_passes_by(judged) && (work->occasion != JUDGE_PARSE || judged->rank != REFUSAL_NONE);
}

static void count(struct metrics *metrics, const struct judge_work *work, const struct judged *judged)
{
    uint8_t rules[RULE_COUNT];
    enum action action = judged->verdict ? judged->verdict->action : ACTION_ALLOW;
    if (judged->fault)
        action = ACTION_REJECT;
    if (!recorded(work, judged))
        metrics_judge_time(metrics, judged->nanoseconds);
    else
        metrics_judged(metrics, judged->nanoseconds, judge_observes(work) ? ACTION_ALLOW : action, rules,
                       judge_rules(judged, rules));
}

/* It takes a lock that its transaction will keep, or begins a change, with whatever lock. */
static void take_lock(struct judge_job *job, size_t i, const struct judged *judged)
{
    struct judge_work *work = job->work;
    bool strong = judged->verdict && judged->verdict->locked;
    const char *table = strong ? judged->verdict->locked : judge_begins(judged) ? "" : NULL;
    if (!table || work->occasion == JUDGE_PARSE)
        return;
    if (!work->locks)
        job->locks = work->locks = talloc_zero_array(work, struct judge_lock, (unsigned)work->n_statements);
    struct judge_lock taken = {.table = talloc_strdup(work, table),
                               .by = talloc_strdup(work, judged->facts->tag),
                               .mode = strong ? judged->verdict->locked_mode : LOCK_NONE};
    judge_added(work, judged, &taken);
    if (!taken.by)
        taken.table = NULL; /* nobody will be warned */
    if (strong) {
        work->latest = taken;
        work->latest_ends = work->statements[i].ends;
    }
    if (work->locks && taken.table)
        work->locks[i] = taken;
}

/* False: it could not be recorded. */
static bool judge_one(struct judge_job *job, size_t i, struct audit *audit, struct metrics *metrics)
{
    struct judge_work *work = job->work;
    struct judged judged;
    void *memory = talloc_new(work);
    if (!memory) {
        fault(job, "pgsluice refused this: it ran out of memory while judging it");
        return true;
    }
    judge_statement(memory, work, i, &judged);
    job->judge_nanoseconds += judged.nanoseconds;
    take_up(job, &judged);
    if (!judge_columns(job, &judged) || !judge_take_plan(work, i, &judged))
        fault(job, "pgsluice refused this: it ran out of memory while judging it");
    if (metrics)
        count(metrics, work, &judged);
    bool fine = true;
    if (audit && recorded(work, &judged)) {
        work->records[i] = judge_record(work, &judged, audit);
        fine = work->records[i] != 0;
        if (fine)
            work->last_record = work->records[i];
    }
    take_lock(job, i, &judged);
    talloc_free(memory);
    return fine;
}

/* A message that must be refused and in which no statement could be told apart. */
static bool refuse_without_statements(struct judge_work *work)
{
    if (work->n_statements || (!work->too_long && !work->uncertain))
        return true;
    work->statements = talloc(work, struct engine_statement);
    if (!work->statements)
        return false;
    *work->statements = (struct engine_statement){.text = work->sql ? work->sql : "",
                                                  .length = work->sql ? work->sql_length : 0};
    work->records = talloc_zero(work, uint64_t);
    work->n_statements = work->records ? 1 : 0;
    return work->records;
}

/* Those records belong to no statement of the event, so nobody else would write their end. */
static void finish_without_statements(struct judge_work *work, struct audit *audit, const char *sqlstate)
{
    const struct audit_finished finished = {.decided = work->records[0],
                                            .sqlstate = sqlstate,
                                            .rows = -1,
                                            .lock_wait_ms = -1,
                                            .txn = "rolled_back"};
    if (audit && work->records[0])
        audit_finished(audit, &finished);
}

void judge_run(struct judge_job *job, struct audit *audit, struct metrics *metrics)
{
    struct judge_work *work = job->work;
    size_t asked = work->n_statements;
    bool on_record = true;
    if (!job->asked)
        judge_widen(work);
    if (!judge_read_message(work))
        fault(job, "pgsluice refused this: it ran out of memory while judging it");
    if (judge_asks(job)) {
        judge_let_go(work);
        return; /* comes back with the answer */
    }
    judge_hear(work);
    job->since = work->session.since;
    note_made(job);
    if (!refuse_without_statements(work))
        fault(job, "pgsluice refused this: it ran out of memory while judging it");
    /* Of a session that has ended nothing more will run: what is on record already gets its end. */
    for (size_t i = 0; i < work->n_statements && !job->orphan; i++)
        on_record = judge_one(job, i, audit, metrics) && on_record;
    if (!judge_report_unsaid(job))
        fault(job, "pgsluice refused this: it ran out of memory while judging it");
    if (work->last_record)
        on_record = audit_wait(audit, work->last_record) && on_record;

    if (!on_record && !judge_observes(work))
        judge_report_audit(job, audit);
    else if (work->rank == REFUSAL_NONE)
        job->judgement.as = JUDGED_FORWARD;
    else if (work->server_reads)
        job->judgement.as = JUDGED_LET_SERVER_READ;
    if (job->judgement.as == JUDGED_FORWARD && work->rank == REFUSAL_NONE && !judge_compose(job))
        fault(job, "pgsluice refused this: it ran out of memory while judging it");
    if (asked == 0 && work->n_statements)
        finish_without_statements(work, audit, job->judgement.refusal.sqlstate);
    if (job->judgement.as == JUDGED_FORWARD || job->judgement.as == JUDGED_REWRITE) {
        job->judgement.notices = work->notices;
        job->judgement.n_notices = work->n_notices;
    }
    job->judgement.records = work->records;
    job->judgement.n_records = asked;
}

void judge_now(struct judge_job *job, struct audit *audit)
{
    judge_run(job, audit, NULL);
}

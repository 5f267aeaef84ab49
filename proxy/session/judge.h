/*
 * The bench of judges: threads that read, judge and record statements, so that no loop ever parses or waits
 * for a disk. One job for one EVENT_JUDGE.
 *
 * A job's life: the loop fills it (copying the texts), judge_submit hands it over; a judge converts the text
 * to UTF-8, takes the facts, judges, writes the `decided` records and waits until they are on disk, builds
 * the reports in the client's encoding; then `done` is called on the judge's thread, which has to post the
 * job back to its loop (net's loop_post). The loop answers engine_judged and frees the job. Where the judge
 * needs to know what the catalog says, the job comes back to its loop after the reading, with a question
 * instead of a judgement; the loop has it answered, or not, and submits the job once more. A session that
 * ends first sets job->orphan under its own loop; the job comes back all the same and is then only freed.
 */
#ifndef PGSLUICE_PROXY_SESSION_JUDGE_H
#define PGSLUICE_PROXY_SESSION_JUDGE_H

#include "conf/conf.h"
#include "policy/policy.h"
#include "proxy/observe/audit.h"
#include "proxy/session/engine.h"

struct judge_bench;

/* A column that isn't complete. UTF-8. */
struct judge_column {
    const char *schema, *table, *column; /* schema NULL: as search_path finds it */
    uint32_t relation;                   /* the table's oid; 0: not known here */
    int64_t change;                      /* 0: the number isn't known here */
    enum quarantine quarantine;
    bool own; /* this very transaction adds it */
    /* Or no column: this transaction has begun a change of the table by this text ("" if it is too long to be
     * kept); `column` is "" then. Else NULL. */
    const char *begun;
};

/* Who asks. Copied into the job, but for the texts of columns that aren't `own`: those live as long as the
 * job. */
struct judge_session {
    uint64_t session;   /* number of the session, for the log */
    const char *client; /* "192.0.2.7:53122" or "local" */
    const char *user, *database, *application;
    const char *client_encoding;
    const char *start_waiver; /* or NULL */
    int server_version;
    uint64_t since;       /* `now` of the first answer this session got; 0: it asked nothing yet */
    const uint64_t *made; /* policy_name_hash of the tables it made */
    size_t n_made;
    bool may_ask;                       /* the session can be asked questions */
    const struct judge_column *columns; /* nobody is to speak of these */
    size_t n_columns;
    const char *nonce;              /* or NULL: nothing is carried out online here */
    const struct policy_held *held; /* a lock that the transaction holds when the message comes; or NULL */
};

/* What a statement will have locked against others; `table` NULL: nothing, "": nothing that others would
 * mind, but a change has begun. */
struct judge_lock {
    const char *table, *by; /* UTF-8 */
    enum lock_mode mode;
    const struct judge_column *columns; /* that it adds and that are filled later */
    size_t n_columns;
};

struct judge_job {
    void *owner;         /* the caller's */
    _Atomic bool orphan; /* set by the loop while a judge may look at it */
    void (*done)(struct judge_job *);
    struct judgement judgement;     /* valid when done was called; lives as long as the job */
    const struct judge_lock *locks; /* one each of the judgement's records; or NULL */
    /* The catalog has to be asked first: the query, its one parameter in the client's encoding (NULL: no
     * question), and whether judge_answer was called. */
    const char *question_sql, *question;
    bool asked;
    uint64_t since; /* judge_session's, or this answer's where that was 0: for the jobs to come */
    uint64_t *made; /* tables that the message makes, as hashes */
    size_t n_made;
    /* for metrics */
    uint64_t judge_nanoseconds;
    enum action worst;
    /* the rest is the judge's own (talloc children of the job) */
    struct judge_work *work;
};

/* Copies everything it needs. `conf` gets a reference of its own. */
struct judge_job *judge_job_new(const struct engine_judge *, const struct judge_session *, struct conf *conf);
void judge_job_free(struct judge_job *);

/* The answer to the job's question (the query's one value); NULL: there is none. Then submit it once more. */
void judge_answer(struct judge_job *, const char *answer, size_t length);

/* `audit` may be NULL (no audit configured). Returns NULL on failure, errno set. */
struct judge_bench *judge_bench_start(unsigned threads, struct audit *);
void judge_bench_stop(struct judge_bench *); /* finishes what was submitted */

/* False where too many jobs wait already (bounded queue): the caller answers SL900. */
bool judge_submit(struct judge_bench *, struct judge_job *);

/* A judgement for the case that a job could not be made or submitted: refuse with SL900 and these words. */
void judgement_fault(struct judgement *, const char *message, const char *hint);

/* The same work on the caller's own thread (must be a parser thread), for tests. */
void judge_now(struct judge_job *, struct audit *);

#endif

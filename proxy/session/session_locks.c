/*
 * The strong locks that the session's transaction holds (ACCESS EXCLUSIVE, and EXCLUSIVE by LOCK TABLE), as
 * far as it took them through statements that were judged: what they are on, by what, since when. While there
 * is one the engine shows the statements behind it (engine_watch). Online changes that the transaction has
 * begun are kept here too, whatever lock they take (their `table` is "" where that is a weak one).
 *
 * A lock goes as its statement goes: failed, rolled back, its transaction ended. That is told by the same
 * events as the audit's; where there is no audit they are numbered here.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/session/engine_online.h"
#include "proxy/session/session_inside.h"

#define HELD_LONG 1.0 /* seconds: as the policy has it */

struct session_lock {
    struct session_lock *next; /* a younger one */
    uint64_t record;
    double since; /* by the monotonic clock */
    enum lock_mode mode;
    struct judge_column *columns; /* talloc; that it adds and that are filled later */
    size_t n_columns;
    char table[256], by[64];
};

static void lock_free(struct session_lock *lock)
{
    talloc_free(lock->columns);
    free(lock);
}

/* Without memory nobody is told that the column isn't filled. */
static void keep_columns(struct session_lock *lock, const struct judge_lock *taken)
{
    lock->columns =
        taken->n_columns ? talloc_zero_array(NULL, struct judge_column, (unsigned)taken->n_columns) : NULL;
    for (size_t i = 0; lock->columns && i < taken->n_columns; i++) {
        struct judge_column *column = &lock->columns[lock->n_columns];
        *column = taken->columns[i];
        column->schema = talloc_strdup(lock->columns, taken->columns[i].schema);
        column->table = talloc_strdup(lock->columns, taken->columns[i].table);
        column->column = talloc_strdup(lock->columns, taken->columns[i].column);
        column->begun = talloc_strdup(lock->columns, taken->columns[i].begun);
        lock->n_columns += column->table && column->column;
    }
}

/* Behind the COMMIT, too, until its answer was given: in a pipeline more may come before. */
static void keep_own(struct session *session, const struct judge_lock *taken)
{
    for (size_t i = 0; i < taken->n_columns; i++) {
        struct judge_column *grown =
            talloc_realloc(NULL, session->own, struct judge_column, (unsigned)session->n_own + 1);
        if (!grown)
            return;
        session->own = grown;
        struct judge_column *column = &session->own[session->n_own];
        *column = taken->columns[i];
        column->schema = talloc_strdup(session->own, taken->columns[i].schema);
        column->table = talloc_strdup(session->own, taken->columns[i].table);
        column->column = talloc_strdup(session->own, taken->columns[i].column);
        column->begun = talloc_strdup(session->own, taken->columns[i].begun);
        session->n_own += column->table && column->column;
    }
}

static void forget_own(struct session *session)
{
    talloc_free(session->own);
    session->own = NULL;
    session->n_own = 0;
}

size_t session_own_columns(struct session *session, struct judge_column *to)
{
    if (!engine_changes_open(session->engine)) {
        forget_own(session);
        return 0;
    }
    if (to && session->n_own)
        memcpy(to, session->own, session->n_own * sizeof *to);
    return session->n_own;
}

size_t session_locks_columns(const struct session *session, struct judge_column *to)
{
    size_t n = 0;
    for (const struct session_lock *lock = session->locks; lock; lock = lock->next)
        for (size_t i = 0; i < lock->n_columns; i++, n++)
            if (to)
                to[n] = lock->columns[i];
    return n;
}

static void lock_add(struct session *session, uint64_t record, const struct judge_lock *taken, double now)
{
    struct session_lock **end = &session->locks;
    struct session_lock *lock = calloc(1, sizeof *lock);
    if (!lock)
        return; /* nobody will be warned */
    while (*end)
        end = &(*end)->next;
    lock->record = record;
    lock->since = now;
    lock->mode = taken->mode;
    snprintf(lock->table, sizeof lock->table, "%s", taken->table);
    snprintf(lock->by, sizeof lock->by, "%s", taken->by);
    keep_columns(lock, taken);
    *end = lock;
}

void session_locks_take(struct session *session, const struct judge_job *job, uint64_t *records, double now)
{
    for (size_t i = 0; i < job->judgement.n_records; i++) {
        if (!job->locks[i].table)
            continue;
        if (records[i] == 0)
            records[i] = RECORD_UNAUDITED | ++session->unaudited;
        lock_add(session, records[i], &job->locks[i], now);
        keep_own(session, &job->locks[i]);
    }
    engine_watch(session->engine, session->locks != NULL);
}

void session_locks_gone(struct session *session, uint64_t record)
{
    struct session_lock **at = &session->locks;
    if (!session->locks)
        return;
    while (*at && (*at)->record != record)
        at = &(*at)->next;
    if (*at) {
        struct session_lock *lock = *at;
        *at = lock->next;
        lock_free(lock);
    }
    session->lock_told = session->lock_told && session->locks;
    engine_watch(session->engine, session->locks != NULL);
}

void session_locks_forget(struct session *session)
{
    forget_own(session);
    while (session->locks) {
        struct session_lock *lock = session->locks;
        session->locks = lock->next;
        lock_free(lock);
    }
}

static bool only_passers_by(const struct engine_judge *event)
{
    for (size_t i = 0; i < event->n_statements; i++)
        if (event->statements[i].class != GATE_OTHER || event->statements[i].work ||
            event->statements[i].locks)
            return false;
    return true;
}

/* The oldest of the strongest; NULL: there is none that others would mind. */
static const struct session_lock *gravest(const struct session *session)
{
    const struct session_lock *lock = NULL;
    for (const struct session_lock *other = session->locks; other; other = other->next)
        if (*other->table && (!lock || other->mode > lock->mode))
            lock = other;
    return lock;
}

bool session_locks_held(struct session *session, const struct engine_judge *event, double now,
                        struct policy_held *held)
{
    const struct session_lock *lock = event->watched ? gravest(session) : NULL;
    *held = (struct policy_held){0};
    if (lock) {
        held->table = lock->table;
        held->by = lock->by;
        held->mode = lock->mode;
        held->seconds = now - lock->since;
        held->tell = !session->lock_told && event->occasion != JUDGE_EXECUTE && held->seconds >= HELD_LONG;
        session->lock_told = session->lock_told || held->tell;
    }
    return held->tell || !only_passers_by(event);
}

/*
 * The ACCESS EXCLUSIVE locks that the session's transaction holds, as far as it took them through statements
 * that were judged: what they are on, by what, since when. While there is one the engine shows the statements
 * behind it (engine_watch).
 *
 * A lock goes as its statement goes: failed, rolled back, its transaction ended. That is told by the same
 * events as the audit's; where there is no audit they are numbered here.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/session/session_inside.h"

#define HELD_LONG 1.0 /* seconds: as the policy has it */

struct session_lock {
    struct session_lock *next; /* a younger one */
    uint64_t record;
    double since; /* by the monotonic clock */
    char table[256], by[64];
};

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
    snprintf(lock->table, sizeof lock->table, "%s", taken->table);
    snprintf(lock->by, sizeof lock->by, "%s", taken->by);
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
        free(lock);
    }
    session->lock_told = session->lock_told && session->locks;
    engine_watch(session->engine, session->locks != NULL);
}

void session_locks_forget(struct session *session)
{
    while (session->locks) {
        struct session_lock *lock = session->locks;
        session->locks = lock->next;
        free(lock);
    }
}

static bool only_passers_by(const struct engine_judge *event)
{
    for (size_t i = 0; i < event->n_statements; i++)
        if (event->statements[i].class != GATE_OTHER || event->statements[i].work)
            return false;
    return true;
}

bool session_locks_held(struct session *session, const struct engine_judge *event, double now,
                        struct policy_held *held)
{
    const struct session_lock *lock = event->watched ? session->locks : NULL;
    *held = (struct policy_held){0};
    if (lock) {
        held->table = lock->table;
        held->by = lock->by;
        held->seconds = now - lock->since;
        held->tell = !session->lock_told && event->occasion != JUDGE_EXECUTE && held->seconds >= HELD_LONG;
        session->lock_told = session->lock_told || held->tell;
    }
    return held->tell || !only_passers_by(event);
}

/*
 * What became of the statements on the audit's list: each one's own end, and the end of the transaction it
 * was in.
 *
 * The server's words decide: CommandComplete's tag ends a transaction (COMMIT, ROLLBACK, PREPARE
 * TRANSACTION), and ReadyForQuery with 'I' ends one that was never begun explicitly: committed, or with an
 * error since the last ReadyForQuery rolled back. A tag ROLLBACK stands for ROLLBACK TO as well; which it was
 * the text of the statement says (engine_words.c). Where that is not known all is taken for rolled back,
 * which is what ROLLBACK means, and what ROLLBACK TO a savepoint from before the first audited statement
 * means too; so only savepoints set behind it count.
 */
#include "proxy/session/engine_inside.h"

#include <stdlib.h>

struct followed {
    uint64_t record;
    unsigned depth; /* savepoints set when it was done */
    bool failed;
};

struct trail {
    struct followed *followed; /* succeeded or failed, the transaction still open; oldest first */
    size_t n, size;
    uint64_t first; /* record of the transaction's first statement that is on the list; 0: none yet */
    size_t entries; /* in the ledger, with records on them */
    struct prepared_name *savepoints;
    size_t n_savepoints;
    bool error; /* since the last ReadyForQuery */
};

bool trail_open(struct engine *engine)
{
    return engine->trail != NULL;
}

bool trail_begin(struct engine *engine)
{
    if (!engine->trail)
        engine->trail = calloc(1, sizeof *engine->trail);
    if (!engine->trail)
        return false;
    engine->trail->entries++;
    return true;
}

void trail_free(struct engine *engine)
{
    if (!engine->trail)
        return;
    free(engine->trail->followed);
    free(engine->trail->savepoints);
    free(engine->trail);
    engine->trail = NULL;
}

/* ---- events ------------------------------------------------------------------------------------------ */

/* Out of memory: the audit loses an end, nothing else. */
static void tell_finished(struct engine *engine, uint64_t record, const char *sqlstate, const char *tag,
                          bool lost, int64_t change)
{
    struct engine_event *event = engine_event_add(engine, EVENT_FINISHED);
    if (!event)
        return;
    event->finished.record = record;
    event->finished.lost = lost;
    event->finished.change = change;
    snprintf(event->finished.sqlstate, sizeof event->finished.sqlstate, "%s", sqlstate);
    snprintf(event->finished.tag, sizeof event->finished.tag, "%s", tag);
}

static void tell_end(struct engine *engine, uint64_t record, enum transaction_end end)
{
    struct engine_event *event = engine_event_add(engine, EVENT_TRANSACTION_ENDED);
    if (!event)
        return;
    event->ended.record = record;
    event->ended.first = engine->trail->first ? engine->trail->first : record;
    event->ended.end = end;
}

/* ---- the transaction --------------------------------------------------------------------------------- */

static void follow(struct engine *engine, uint64_t record, bool failed)
{
    struct trail *trail = engine->trail;
    if (!trail->first)
        trail->first = record;
    if (trail->n == trail->size) {
        size_t size = trail->size ? trail->size * 2 : 4;
        struct followed *grown = realloc(trail->followed, size * sizeof *grown);
        if (!grown)
            return;
        trail->followed = grown;
        trail->size = size;
    }
    trail->followed[trail->n++] = (struct followed){record, (unsigned)trail->n_savepoints, failed};
}

/* All that was done below this depth of savepoints ends so; what failed was rolled back in any case. */
static void end_from(struct engine *engine, unsigned depth, enum transaction_end end)
{
    struct trail *trail = engine->trail;
    size_t kept = 0;
    for (size_t i = 0; i < trail->n; i++) {
        const struct followed *one = &trail->followed[i];
        if (one->depth < depth)
            trail->followed[kept++] = *one;
        else
            tell_end(engine, one->record, one->failed ? TRANSACTION_ROLLED_BACK : end);
    }
    trail->n = kept;
}

static void end_all(struct engine *engine, enum transaction_end end)
{
    end_from(engine, 0, end);
    engine->trail->n_savepoints = 0;
    engine->trail->first = 0;
}

static void set_savepoint(struct trail *trail, const struct prepared_name *name)
{
    if (trail->n_savepoints == SAVEPOINTS_MAX)
        return;
    if (!trail->savepoints)
        trail->savepoints = malloc(SAVEPOINTS_MAX * sizeof *trail->savepoints);
    if (trail->savepoints)
        trail->savepoints[trail->n_savepoints++] = *name;
}

/* How many savepoints stand below the last one of this name; false: there is none. */
static bool find_savepoint(const struct trail *trail, const struct prepared_name *name, unsigned *depth)
{
    for (size_t i = trail->n_savepoints; i-- > 0;) {
        if (strcmp(trail->savepoints[i].text, name->text) != 0)
            continue;
        *depth = (unsigned)i;
        return true;
    }
    return false;
}

static void release_savepoint(struct trail *trail, const struct prepared_name *name)
{
    unsigned depth;
    if (!find_savepoint(trail, name, &depth))
        return;
    trail->n_savepoints = depth;
    for (size_t i = 0; i < trail->n; i++)
        if (trail->followed[i].depth > depth)
            trail->followed[i].depth = depth;
}

static void rollback_to(struct engine *engine, const struct word *word)
{
    unsigned depth;
    if (!word || word->command != WORD_ROLLBACK_TO || !find_savepoint(engine->trail, &word->name, &depth)) {
        end_all(engine, TRANSACTION_ROLLED_BACK);
        return;
    }
    end_from(engine, depth + 1, TRANSACTION_ROLLED_BACK);
    engine->trail->n_savepoints = depth + 1;
}

/* ---- what the server said ---------------------------------------------------------------------------- */

static const struct word *word_at(const struct extra *extra, unsigned index)
{
    for (size_t i = 0; extra && i < extra->n_words; i++)
        if (extra->words[i].index == index)
            return &extra->words[i];
    return NULL;
}

/* The last record has left the entry. */
static void entry_done(struct engine *engine, struct extra *extra)
{
    if (extra->n_records == 0)
        engine->trail->entries--;
}

static void statement_done(struct engine *engine, struct extra *extra, unsigned index, const char *tag)
{
    size_t n = extra->n_records;
    size_t ended = 0;
    if (n == 0)
        return;
    if (engine->doubt == DOUBT_DIRTY) { /* it may be the reply to something else */
        trail_forgotten(engine, extra);
        return;
    }
    for (; ended < n && extra->indices[ended] <= index; ended++) { /* they stand in order */
        const struct rewritten *of = online_at(extra, extra->indices[ended]);
        tell_finished(engine, extra->records[ended], "", tag, false, of ? of->id : 0);
        follow(engine, extra->records[ended], false);
    }
    extra->records += ended;
    extra->indices += ended;
    extra->n_records -= ended;
    entry_done(engine, extra);
}

void trail_statement(struct engine *engine, struct extra *extra, unsigned index, const char *tag)
{
    if (!engine->trail)
        return;
    if (extra)
        statement_done(engine, extra, index, tag);
    const struct word *word = word_at(extra, index);
    struct prepared_name unknown = {{0}};
    if (strcmp(tag, "COMMIT") == 0)
        end_all(engine, TRANSACTION_COMMITTED);
    else if (strcmp(tag, "ROLLBACK") == 0)
        rollback_to(engine, word);
    else if (strcmp(tag, "PREPARE TRANSACTION") == 0)
        end_all(engine, TRANSACTION_OPEN);
    else if (strcmp(tag, "SAVEPOINT") == 0)
        set_savepoint(engine->trail, word ? &word->name : &unknown);
    else if (strcmp(tag, "RELEASE") == 0 && word)
        release_savepoint(engine->trail, &word->name);
}

void trail_failed(struct engine *engine, struct extra *extra, const char *sqlstate)
{
    if (!extra || extra->n_records == 0)
        return;
    for (size_t i = 0; i < extra->n_records; i++) {
        const struct rewritten *of = online_at(extra, extra->indices[i]);
        tell_finished(engine, extra->records[i], sqlstate, "", false, of ? of->id : 0);
        follow(engine, extra->records[i], true);
    }
    extra->n_records = 0;
    entry_done(engine, extra);
}

void trail_forgotten(struct engine *engine, struct extra *extra)
{
    if (!extra || extra->n_records == 0)
        return;
    for (size_t i = 0; i < extra->n_records; i++) {
        tell_finished(engine, extra->records[i], "", "", true, 0);
        tell_end(engine, extra->records[i], TRANSACTION_OPEN);
    }
    extra->n_records = 0;
    entry_done(engine, extra);
}

void trail_error(struct engine *engine)
{
    if (engine->trail)
        engine->trail->error = true;
}

void trail_ready(struct engine *engine, char status)
{
    struct trail *trail = engine->trail;
    if (!trail)
        return;
    if (status == 'I')
        end_all(engine, trail->error ? TRANSACTION_ROLLED_BACK : TRANSACTION_COMMITTED);
    trail->error = false;
    if (trail->n == 0 && trail->entries == 0)
        trail_free(engine);
}

void trail_lost(struct engine *engine)
{
    if (!engine->trail)
        return;
    /* With no reply owed an open transaction was rolled back by the server when its client went. */
    bool known = engine_certain(engine);
    end_all(engine, known ? TRANSACTION_ROLLED_BACK : TRANSACTION_OPEN);
    for (uint32_t i = 0; i < engine->ledger.count; i++)
        trail_forgotten(engine, ledger_at(&engine->ledger, i)->extra);
}

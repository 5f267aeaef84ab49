/*
 * Statements behind a lock: which of those that nobody has to judge are shown all the same, and when.
 *
 * Whether a text comes in the transaction that is watched is certain where no ReadyForQuery is owed and no
 * text that ends a transaction was sent since the last one. Where one is owed and can be awaited, it is;
 * where not (a pipeline goes on behind a Sync whose answer has not come, with no text at its head), nothing
 * is shown.
 */
#include "proxy/session/engine_inside.h"

#include <strings.h>

void engine_watch(struct engine *engine, bool on)
{
    engine->watch = on;
    engine->end_sent = engine->end_sent && on;
}

bool watch_now(struct engine *engine)
{
    if (!engine->watch || engine->end_sent || engine->doubt != DOUBT_NONE || engine->ledger.givers ||
        engine_copy_open(engine))
        return false;
    return engine->unsynced || engine->status == 'T';
}

bool watch_waits(struct engine *engine)
{
    return engine->watch && engine->ledger.count && !engine->unsynced && !engine->copy_in;
}

static size_t first_word(const char *text, size_t length)
{
    size_t n = 0;
    while (n < length && ((text[n] | 0x20) >= 'a' && (text[n] | 0x20) <= 'z'))
        n++;
    return n;
}

static bool is_one_of(const char *const *words, const char *text, size_t length)
{
    size_t n = first_word(text, length);
    for (; *words; words++)
        if (strlen(*words) == n && strncasecmp(text, *words, n) == 0)
            return true;
    return false;
}

bool watch_shows(const char *text, size_t length)
{
    static const char *const commands[] = {"savepoint", "release", "show", NULL};
    return !is_one_of(commands, text, length);
}

bool watch_work(const char *text, size_t length)
{
    static const char *const works[] = {"update", "delete", "merge", "insert", "copy", "with", "call", NULL};
    return is_one_of(works, text, length);
}

/*
 * Statements behind a lock, and LOCK itself: which of those that nobody has to judge are shown all the same,
 * and when.
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

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Where the word behind the one at this place starts. */
static size_t behind_word(const char *text, size_t length, size_t at)
{
    at += first_word(text + at, length - at);
    while (at < length && is_space(text[at]))
        at++;
    return at;
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

/* The mode stands behind the last IN: ACCESS, ROW and SHARE begin those that let others write, but for
 * ACCESS EXCLUSIVE and (not looked for here) SHARE ROW EXCLUSIVE. Without IN it is ACCESS EXCLUSIVE. What
 * this takes for too strong, by a name or a comment, the judge sees through. */
bool watch_locks(const char *text, size_t length)
{
    static const char *const lock[] = {"lock", NULL}, *const in[] = {"in", NULL};
    static const char *const weak[] = {"row", "share", NULL}, *const access[] = {"access", NULL};
    bool begins = length > 0 && (text[0] | 0x20) == 'l' && is_one_of(lock, text, length);
    bool strong = begins;
    for (size_t i = 4; begins && i < length; i++) {
        const char *rest = text + i;
        if (!is_space(rest[-1]) || !is_one_of(in, rest, length - i))
            continue;
        size_t at = behind_word(text, length, i);
        if (is_one_of(access, text + at, length - at))
            at = behind_word(text, length, at);
        strong = !is_one_of(weak, text + at, length - at);
    }
    return strong;
}

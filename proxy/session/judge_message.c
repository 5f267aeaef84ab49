/*
 * A message as its statements follow each other. Each judged statement is read once and its facts are kept
 * until all are judged: those behind it have to know what it makes and changes, and the catalog is asked of
 * all of them together. (Those behind the first JUDGE_PLACES or KEPT_TEXT are judged one by one, as if
 * nothing were known.) How long the answer takes is in the client's hands, so a long text is read again when
 * it has come: what waits has to be small.
 *
 * What else stands between them is looked at only as far as it can make the catalog's answer untrue for what
 * comes behind it. The question goes out in front of the whole message, so a statement behind a SET of
 * search_path or role is judged as if nothing were known: names may mean something else by then. And where
 * the message itself is to choose the moment at which its transaction begins to see (SET TRANSACTION, LOCK),
 * nothing is asked, because a question would have chosen it.
 */
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "proxy/session/judge_inside.h"

enum {
    SETTING_MAX = 8192,
    KEPT_TEXT = 1 << 20, /* facts take up to a hundred times the memory of their text */
    AGAIN = 4096         /* a longer text is rather read again than that its facts wait for the catalog */
};

struct walk {
    struct judge_work *work;
    size_t next; /* of the judged statements */
    size_t kept; /* bytes of those that were read */
    bool doubtful;
    size_t since;
};

/* ---- statements that nobody judges ------------------------------------------------------------------- */

static bool begins_with(const char *text, size_t n, const char *word)
{
    size_t length = strlen(word);
    return n >= length && strncasecmp(text, word, length) == 0;
}

static bool mentions(const char *text, size_t n, const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; i + length <= n; i++)
        if (strncasecmp(text + i, word, length) == 0)
            return true;
    return false;
}

static bool one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcasecmp(name, *names) == 0)
            return true;
    return false;
}

static void doubt(struct walk *walk)
{
    walk->doubtful = true;
    walk->since = walk->work->n_before;
}

static void note_setting(struct walk *walk, const char *text, size_t n)
{
    static const char *const names_change[] = {"search_path", "role", "session_authorization", NULL};
    static const char *const moment[] = {"TRANSACTION", "SESSION CHARACTERISTICS", "TRANSACTION SNAPSHOT",
                                         "transaction_isolation", NULL};
    struct judge_work *work = walk->work;
    struct facts *facts = n <= SETTING_MAX ? facts_of(work, text, n, SETTING_MAX, work->scs) : NULL;
    const char *name = facts && facts->status == FACTS_OK ? facts->object.name : NULL;
    if (!name || one_of(name, names_change)) /* RESET ALL, DISCARD ALL and what can't be read too */
        doubt(walk);
    if ((!name || one_of(name, moment)) && walk->next == 0 && work->in_transaction)
        work->may_ask = false;
    talloc_free(facts);
}

static void note_other(struct walk *walk, const char *text, size_t n)
{
    if (begins_with(text, n, "CALL") || begins_with(text, n, "EXECUTE") || mentions(text, n, "set_config"))
        doubt(walk);
    if (begins_with(text, n, "LOCK") && walk->next == 0 && walk->work->in_transaction)
        walk->work->may_ask = false;
}

/* ---- the walk ---------------------------------------------------------------------------------------- */

static void take(struct walk *walk)
{
    struct judge_work *work = walk->work;
    struct judge_place *place = &work->places[walk->next];
    place->n_before = work->n_before;
    place->doubtful = walk->doubtful;
    place->since = walk->since;
    judge_read(work->places, work, &work->statements[walk->next], &place->reading);
    walk->kept += work->statements[walk->next].length;
    walk->next++;
    work->n_places = walk->next;
    if (work->statements[walk->next - 1].class == GATE_OTHER)
        return; /* changes nothing that those behind it would have to know */
    if (place->reading.facts && place->reading.facts->status == FACTS_OK)
        work->before[work->n_before++] = place->reading.facts;
    else
        doubt(walk);
}

static bool is_next(const struct walk *walk, const struct gate_statement *found)
{
    return walk->work->statements[walk->next].index == found->index;
}

static void note(struct walk *walk, const struct gate_statement *found)
{
    const char *text = walk->work->sql + found->start;
    size_t n = (size_t)(found->end - found->start);
    bool next = is_next(walk, found);
    if (found->class == GATE_SETTING)
        note_setting(walk, text, n);
    else if (found->class == GATE_OTHER)
        note_other(walk, text, n);
    if (next)
        take(walk);
}

static void walk_message(struct walk *walk, size_t n)
{
    struct judge_work *work = walk->work;
    struct gate gate;
    struct gate_statement found;
    gate_init(&gate, work->scs, text_encoding_of(work->session.client_encoding));
    for (size_t at = 0; at < work->sql_length && walk->next < n && walk->kept < KEPT_TEXT;) {
        bool is;
        at += gate_scan(&gate, (const uint8_t *)work->sql + at, work->sql_length - at, &found, &is);
        if (is || (at == work->sql_length && gate_finish(&gate, &found, NULL)))
            note(walk, &found);
    }
}

bool judge_read_message(struct judge_work *work)
{
    struct walk walk = {.work = work};
    size_t n = work->n_statements < JUDGE_PLACES ? work->n_statements : JUDGE_PLACES;
    if (work->places || !work->sql || work->uncertain || n == 0)
        return true;
    work->places = talloc_zero_array(work, struct judge_place, (unsigned)n);
    work->before = talloc_zero_array(work, const struct facts *, (unsigned)n);
    if (!work->places || !work->before)
        return false;
    if (n == 1 && work->statements[0].index == 0)
        take(&walk);
    else
        walk_message(&walk, n);
    return true;
}

void judge_let_go(struct judge_work *work)
{
    if (work->sql_length <= AGAIN)
        return;
    talloc_free(work->places);
    talloc_free(work->before);
    work->places = NULL;
    work->before = NULL;
    work->n_places = work->n_before = 0;
}

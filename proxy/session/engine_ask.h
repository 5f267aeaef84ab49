/*
 * Questions of the proxy's own, asked over the client's session while a message of the client's is held.
 *
 * A question travels as Parse, Bind, Execute, Close, Close under names of its own, so that the client's
 * unnamed statement and portal stay what they are, followed by Sync, or inside the client's own pipeline by
 * Flush: a Sync would commit what the client has done so far. One that ends in Sync goes out when nothing is
 * owed any more; the state of the transaction is certain then, and no COPY is under way. In front of a Query
 * inside an open pipeline there is none: the Query's own transaction would become another. Replies are
 * swallowed and handed to `reply`, and so are notices that the server sends with them below WARNING.
 *
 * A question should be unable to fail. What can hit it all the same (a cancel, a statement_timeout, a server
 * that runs out of something) would have hit the client's own statement: the error passes to the client as
 * the answer to the held message, which is then never carried out: after the judgement it goes to a server
 * that skips everything up to the next Sync, or is dropped here, and so is what follows up to the client's
 * Sync. Only an error that speaks of the question itself (no such column, no permission …), where no
 * transaction of the client's has suffered from it, is swallowed: the question is unanswered, and nothing
 * else has happened. After such an error questions are asked only where another one would be swallowed too.
 *
 * To the server a question is a query. So two things fail (25001) that would not without it: VACUUM prepared
 * in front of a judged Parse and executed behind it in one pipeline, and SET TRANSACTION ISOLATION LEVEL
 * behind a judged Parse that was the first thing in its transaction; and where a judged Execute stands behind
 * a COPY in its pipeline the server complains of message type 0x50, the question's. A Parse can't leave its
 * question to the Execute: the text that goes in its place, if any, has to go there.
 */
#ifndef PGSLUICE_PROXY_SESSION_ENGINE_ASK_H
#define PGSLUICE_PROXY_SESSION_ENGINE_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

#define ENGINE_ANSWER_MAX ((size_t)4 << 20)

struct engine_question {
    const char *sql;           /* in the client's encoding */
    const char *const *values; /* $1 …, text format; NULL members are SQL NULLs */
    uint16_t n_values;
    /* A server's message in answer (DataRow among them, up to ENGINE_ANSWER_MAX bytes; longer ones are lost);
     * payload without the header. */
    void (*reply)(void *argument, uint8_t type, const uint8_t *payload, size_t n);
    /* All replies are in, or none will come, or the session has ended (engine_ended). Called exactly once;
     * not to call into the engine but for engine_judged. */
    void (*over)(void *argument, bool answered);
    void *argument;
};

/* Ask; only between EVENT_JUDGE and engine_judged, one at a time. False: not possible (the transaction has
 * failed, copy mode, a Query in an open pipeline, a message too long to hold, out of memory), and `over` is
 * not called. The question is copied and goes out with an engine_feed of the client's held bytes, which
 * engine_need asks for. */
bool engine_ask(struct engine *, const struct engine_question *);

/* Has the session ended, or is it about to? Nothing of what is held will be carried out then. */
bool engine_ended(const struct engine *);

#endif

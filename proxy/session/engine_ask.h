/*
 * Questions of the proxy's own, asked over the client's session while a message of the client's is held.
 *
 * A question travels as Parse, Bind, Execute, Close, Close under names of its own, so that the client's
 * unnamed statement and portal stay what they are, followed by Sync, or inside the client's own pipeline by
 * Flush. Its replies are swallowed and handed to `reply`. A question must be unable to fail: an error inside
 * the client's pipeline or transaction would undo the client's work, so the engine ends the session then
 * rather than go on.
 */
#ifndef PGSLUICE_PROXY_SESSION_ENGINE_ASK_H
#define PGSLUICE_PROXY_SESSION_ENGINE_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

struct engine_question {
    const char *sql;           /* in the client's encoding */
    const char *const *values; /* $1 …, text format; NULL members are SQL NULLs */
    uint16_t n_values;
    /* A server's message in answer (DataRow among them); payload without the header. */
    void (*reply)(void *argument, uint8_t type, const uint8_t *payload, size_t n);
    /* All replies are in, or the session ended first. Called exactly once. */
    void (*over)(void *argument, bool answered);
    void *argument;
};

/* Ask; only between EVENT_JUDGE and engine_judged, one at a time. False: not possible (the transaction has
 * failed, copy mode, out of memory), and `over` is not called. The question is copied and goes out with the
 * next engine_feed of the client's held bytes, which engine_need asks for. */
bool engine_ask(struct engine *, const struct engine_question *);

#endif

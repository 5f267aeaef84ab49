/*
 * Online changes, as the engine sees them: a text of ours runs in the place of the author's, and the answer
 * to whatever commits it is held until the change is complete.
 *
 * What the engine does for a judgement JUDGED_REWRITE: the message goes on with `judgement.sql`; its
 * CommandComplete gets the author's tag back; errors and notices that come with it lose what speaks of our
 * text (position in it, context). pgsluice.begin_change() tells the change's number in an INFO message that
 * carries the session's nonce; it is swallowed.
 *
 * Holding the answer: at the ReadyForQuery with which the transaction has ended EVENT_CHANGES comes, and the
 * server's stream stands still until engine_changes_over(). Where a CommandComplete stands right in front of
 * it, that one waits too, so that an error can take its place: what the client sees then is a statement that
 * failed. Elsewhere (the client has not sent its Sync yet, other messages stand between) the error comes in
 * front of the ReadyForQuery, as when a COMMIT fails at the Sync. The ReadyForQuery is the server's own.
 *
 * While such a change is under way, messages of the client's behind its Query or Sync wait for that one's
 * answer: in a pipeline too, what comes behind an ALTER finds the column complete. Copied data go on.
 */
#ifndef PGSLUICE_PROXY_SESSION_ENGINE_ONLINE_H
#define PGSLUICE_PROXY_SESSION_ENGINE_ONLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct report;

#define ENGINE_CHANGES_MAX 64U /* of one transaction whose end is awaited; those behind go on unattended */

/* The answer to EVENT_CHANGES. `error` takes the place of the success that the client awaits; NULL: it
 * passes. Copied. */
void engine_changes_over(struct engine *, const struct report *error);

/* A statement that may begin a change was sent, and the end of its transaction is not known yet. */
bool engine_changes_open(const struct engine *);

/* Is EVENT_CHANGES unanswered? */
bool engine_changes_wait(const struct engine *);

/* While this is on, options.screen is shown the text of every Query and Parse that nothing has to be judged
 * of; where it says yes, all of its statements are shown to the judge. */
void engine_screen(struct engine *, bool on);

/* The payload of the server's BackendKeyData, which a CancelRequest of this session repeats; NULL: none came.
 */
const uint8_t *engine_cancel_key(const struct engine *, size_t *length);

#endif

/*
 * The prepared statements and portals of a session whose text matters to the engine: DDL that was judged and
 * let through at Parse (it is judged and recorded when it is executed), EXECUTE of such a statement, and
 * SAVEPOINT, RELEASE and ROLLBACK TO, which an audited transaction may be led through later.
 *
 * Names follow the server: cut to 63 bytes, "" is the unnamed one. What a message will do counts at once, as
 * if the server will agree, and stands in a journal until the server has: prepared_settle when its reply
 * came, prepared_undo when an error made the server skip it and all behind it, up to the next Sync. So that
 * the journal stays one tail of the messages, no look-up may be made while it holds changes from before a
 * Sync (prepared_must_wait).
 *
 * A name that is known here and no longer on the server (DEALLOCATE, DISCARD ALL) costs one judgement for
 * nothing. The other way round can't be: what is executed and was judged at Parse is always found here.
 *
 * Bounds: PREPARED_MAX names, PREPARED_BYTES of text.
 */
#ifndef PGSLUICE_PROXY_SESSION_PREPARED_H
#define PGSLUICE_PROXY_SESSION_PREPARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREPARED_MAX   1000U
#define PREPARED_BYTES ((size_t)8 << 20)
#define PREPARED_NAME  64
#define PREPARED_TAG   40

struct prepared;

struct prepared_text {
    unsigned references;
    bool judged;            /* false: a transaction command, or … */
    bool watched;           /* what was shown because a lock was held, or … */
    bool locks;             /* … because it takes one */
    bool executes;          /* EXECUTE, or EXPLAIN of one */
    bool scs;               /* how it was read */
    bool too_long;          /* only the head of it is here */
    bool rewritten, change; /* the server has a text of ours, under this name: its tag is to become */
    char tag[PREPARED_TAG]; /* … this one again */
    char encoding[24];
    size_t length;
    char sql[];
};

/* Name as the server keeps it. */
struct prepared_name {
    char text[PREPARED_NAME];
};
struct prepared_name prepared_name(const char *name, size_t length);

struct prepared *prepared_new(void);
void prepared_free(struct prepared *);

/* A text with one reference, or NULL. */
struct prepared_text *prepared_text_new(const char *sql, size_t length);
void prepared_text_release(struct prepared_text *);

/* NULL where nothing is known of the name. */
struct prepared_text *prepared_find(struct prepared *, bool portal, const struct prepared_name *);

enum prepared_change { PREPARED_NOTHING, PREPARED_CHANGED, PREPARED_FULL };
/* From now on the name means this text (a reference is taken), or nothing that matters (NULL). `segment` is
 * how many ReadyForQuery were asked for before: where a portal's transaction may end.
 * PREPARED_CHANGED: one change was put into the journal. */
enum prepared_change prepared_set(struct prepared *, bool portal, const struct prepared_name *,
                                  struct prepared_text *, uint32_t segment);

void prepared_settle(struct prepared *); /* the oldest change is true now */
void prepared_undo(struct prepared *);   /* none of the journal's changes will be */
void prepared_synced(struct prepared *); /* a Sync or Query follows what is in the journal */
bool prepared_must_wait(const struct prepared *);
/* A transaction has ended: portals bound before the ReadyForQuery of number `segment` are gone. */
void prepared_transaction_over(struct prepared *, uint32_t segment);
bool prepared_empty(const struct prepared *); /* nothing known, nothing in the journal */
size_t prepared_count(const struct prepared *);
bool prepared_any_judged(const struct prepared *);

#endif

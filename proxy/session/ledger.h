/*
 * The ledger of expected replies: one entry for each client message that the server has to answer, in order.
 *
 *   entry      opened by        ended by the server's
 *   QUERY      Query            ReadyForQuery (one CommandComplete or EmptyQueryResponse a statement before
 * it) FUNCTION   FunctionCall     ReadyForQuery SYNC       Sync             ReadyForQuery PARSE      Parse
 * ParseComplete BIND       Bind             BindComplete DESCRIBE   Describe         RowDescription or NoData
 *   EXECUTE    Execute          CommandComplete, EmptyQueryResponse or PortalSuspended
 *   CLOSE      Close            CloseComplete
 *   FLUSH      a Flush that the server can't read (one that it can read is answered by nothing)
 *   COPY_END   CopyDone or CopyFail sent ahead of its COPY: a marker, answered by nothing
 *
 * Invariants: a marker is never the head. After an ErrorResponse for one of the extended query's entries the
 * head is a SYNC, or the ledger is empty. `givers` entries of QUERY, FUNCTION and SYNC are inside. The bound
 * of LEDGER_MAX entries can't deadlock: when it is reached the client's input waits, and the server, which
 * has been sent all of those messages, fills its output buffer of 8 kB with at most 1,639 of the shortest
 * replies (5 bytes) before it sends them without being asked to.
 *
 * Memory: LEDGER_INLINE entries inside; a longer pipeline spills to the heap, which is released when it has
 * drained.
 */
#ifndef PGSLUICE_PROXY_SESSION_LEDGER_H
#define PGSLUICE_PROXY_SESSION_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_INLINE 8U /* a power of 2 */
#define LEDGER_MAX    4096U

enum ledger_kind {
    LEDGER_QUERY,
    LEDGER_FUNCTION,
    LEDGER_SYNC,
    LEDGER_PARSE,
    LEDGER_BIND,
    LEDGER_DESCRIBE,
    LEDGER_EXECUTE,
    LEDGER_CLOSE,
    LEDGER_FLUSH,
    LEDGER_COPY_END,
    LEDGER_KIND_COUNT
};

enum ledger_disposition {
    LEDGER_FORWARD, /* replies pass */
    LEDGER_SWALLOW, /* replies are for the proxy's own question */
    LEDGER_REPLACE  /* the server must answer with an error, which becomes our refusal */
};

/* What a server's message does to the entry at the head. */
enum ledger_effect {
    LEDGER_MISFIT, /* it can't be a reply to this */
    LEDGER_PART,   /* one of several */
    LEDGER_COUNT,  /* ends one statement of a Query */
    LEDGER_END,    /* ends the entry */
    LEDGER_COPY,   /* copy mode begins: the client's data are awaited */
    LEDGER_ERROR,
    LEDGER_READY
};

struct ledger_entry {
    uint8_t kind, disposition;
    bool answered;       /* a statement or call has ended, well or not: ReadyForQuery may come */
    bool copying;        /* copy mode was entered; of a COPY_END: a SYNC stands in front of it */
    uint32_t statements; /* of a Query, so far */
    void *extra;         /* the engine's, or NULL */
};

struct ledger {
    struct ledger_entry inside[LEDGER_INLINE];
    struct ledger_entry *spill; /* or NULL */
    uint32_t head, count, size; /* size is a power of 2 */
    uint32_t special;           /* entries that are not LEDGER_FORWARD */
    uint32_t givers;            /* entries that end with ReadyForQuery */
    uint32_t givers_pushed;     /* ever; wraps around */
    uint32_t synced_ends;       /* entries of COPY_END right behind a SYNC */
};

void ledger_init(struct ledger *);
void ledger_release(struct ledger *); /* the memory, not the extras */

/* A new last entry, or NULL: out of memory or full. */
struct ledger_entry *ledger_push(struct ledger *, enum ledger_kind, enum ledger_disposition);
void ledger_pop(struct ledger *);
void ledger_drop_second(struct ledger *); /* the entry behind the head, which is there */

/* What stands behind an entry for which copy mode has begun. */
enum ledger_behind {
    LEDGER_NOTHING, /* or only Syncs: the client will say when its data end */
    LEDGER_MARKER,  /* it has said so already */
    LEDGER_OTHER /* a message that the server can't read in copy mode: it will only be read if the COPY fails
                  */
};

/* Copy mode begins for the head: the server ignores the Syncs (and Flushes) that it reads in it. Removes
 * those that follow the head, and the CopyDone or CopyFail behind them if the client has sent it already.
 * *removed counts the Syncs. */
enum ledger_behind ledger_copy_begins(struct ledger *, uint32_t *removed);

const char *ledger_kind_name(enum ledger_kind);

static inline bool ledger_gives_ready(uint8_t kind)
{
    return kind <= LEDGER_SYNC;
}

static inline struct ledger_entry *ledger_at(struct ledger *ledger, uint32_t index)
{
    struct ledger_entry *ring = ledger->spill ? ledger->spill : ledger->inside;
    return &ring[(ledger->head + index) & (ledger->size - 1)];
}

static inline struct ledger_entry *ledger_head(struct ledger *ledger)
{
    return ledger->count ? ledger_at(ledger, 0) : NULL;
}

static inline struct ledger_entry *ledger_tail(struct ledger *ledger)
{
    return ledger->count ? ledger_at(ledger, ledger->count - 1) : NULL;
}

static inline bool ledger_full(const struct ledger *ledger)
{
    return ledger->count >= LEDGER_MAX;
}

extern const uint8_t ledger_effects[LEDGER_KIND_COUNT][128];

static inline enum ledger_effect ledger_effect(uint8_t kind, uint8_t server_message)
{
    return server_message < 128 ? (enum ledger_effect)ledger_effects[kind][server_message] : LEDGER_MISFIT;
}

#endif

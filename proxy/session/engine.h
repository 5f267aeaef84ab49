/*
 * The engine: one client session and its server session, message by message. Bytes and events in, bytes and
 * events out; no I/O, no clock, no threads.
 *
 * Data flow, one statement:
 *
 *   client bytes --feed--> frame --> Query/Parse text --> gate --(nothing to judge)--> sink to server
 *                                                           |
 *                                              EVENT_JUDGE (the message is held, the client's input waits)
 *                                                           |
 *                                             engine_judged: forward it, or put a text in its place that the
 *                                             server must refuse; one ledger entry each
 *   server bytes --feed--> frame --> ledger: forward | swallow | replace --> sink to client
 *
 * The server is the only truth about the session: the engine never makes up a ReadyForQuery or a transaction
 * state. Where the framing itself is broken (a length that cannot be), both legs are cut after a FATAL error.
 *
 * Holding back: bytes that feed does not consume stay with the caller, who presents them again together with
 * what came behind them once engine_need says so. So an idle engine owns no buffer, and back-pressure is
 * simply not reading. Messages longer than limits.held_message pass while they are scanned; if something that
 * must be judged turns up behind forwarded bytes, EVENT_CUT ends the server connection before the message is
 * complete.
 *
 * Cost: a forwarded message costs its header, and for Query and Parse one pass of the gate over its text.
 */
#ifndef PGSLUICE_PROXY_SESSION_ENGINE_H
#define PGSLUICE_PROXY_SESSION_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parser/gate.h"
#include "proxy/wire/sink.h"

enum engine_side { ENGINE_CLIENT, ENGINE_SERVER };

struct engine; /* at most 512 bytes when idle, ledger included (tested) */

/* What the engine is given once, and what stays true for the whole session. */
struct engine_options {
    uint64_t held_message; /* limits.held_message */
    size_t read_ahead;     /* longer texts are read as they arrive, by so much at a time; 0: 64 kB */
    bool client_tls, server_tls;
    bool same_certificate; /* the client sees the server's own certificate: channel binding can succeed */
    bool replication;      /* a walsender session */
    /* Of the statement and the portal of questions (engine_ask.h): one that no client uses. Static text;
     * NULL: "pgsluice_question". */
    const char *question_name;
    /* By which the numbers of changes are known (engine_online.h): another one for each session, since
     * whoever has begun a change has read his own. Lives as long as the engine. NULL: no number is taken; but
     * "pgsluice_question" where question_name is NULL too. */
    const char *nonce;
    uint32_t protocol;
    /* May this session hold `n` more bytes for judging? (limits.held_total); may be NULL: yes. */
    bool (*may_hold)(void *argument, uint64_t n);
    /* Does the text name a column in quarantine? (engine_screen); may be NULL. */
    bool (*screen)(void *argument, const char *sql, size_t length);
    void *argument;
};

struct engine *engine_new(const struct engine_options *);
void engine_set_nonce(struct engine *, const char *);
void engine_free(struct engine *);

/*
 * Bytes from one side. Returns how many were consumed. What goes on to the peers is put into the sinks; the
 * caller flushes both sinks after the call, before the bytes go away.
 */
size_t engine_feed(struct engine *, enum engine_side from, const uint8_t *bytes, size_t n,
                   struct sink *to_client, struct sink *to_server);

/* The smallest number of bytes (kept ones included) with which feeding this side makes progress. 0: this side
 * waits for an event (a judgement, the other side), do not read from it. */
size_t engine_need(const struct engine *, enum engine_side);

/* ---- events ----------------------------------------------------------------------------------------- */

enum engine_event_kind {
    EVENT_NONE,
    EVENT_READY,             /* the first ReadyForQuery passed: login is complete */
    EVENT_JUDGE,             /* answer with engine_judged */
    EVENT_FINISHED,          /* a statement on the audit's list ended */
    EVENT_TRANSACTION_ENDED, /* …and so did the transaction it was in */
    EVENT_CHANGES, /* their transaction has ended: answer with engine_changes_over (engine_online.h) */
    EVENT_CUT      /* end both legs: a FATAL ErrorResponse has been put into the client's sink */
};

/* One statement to be judged; `text` points into the held message: valid until engine_judged. */
struct engine_statement {
    const char *text;
    size_t length;
    uint64_t offset; /* of `text` in the message's SQL text */
    enum gate_class class;
    unsigned index; /* among the message's statements */
    /* How many statements of the message that may end a transaction stand in front of it. */
    unsigned ends;
    bool work; /* GATE_OTHER: its first word is one of a statement that may work for long (UPDATE, COPY, …) */
    bool locks; /* GATE_OTHER: LOCK, in a mode that keeps others from writing */
};

enum judge_occasion {
    JUDGE_QUERY, /* simple Query: all its statements that need it */
    JUDGE_PARSE, /* Parse: nothing is executed yet, so no `decided` record unless it is refused */
    /* What was judged at Parse is to be executed: judged again, recorded. By an Execute of its portal, or by
     * EXECUTE, of which a Query may hold several among other statements: these come one by one, behind the
     * Query's own, until one is refused. */
    JUDGE_EXECUTE
};

struct engine_judge {
    enum judge_occasion occasion;
    const char *sql; /* the whole SQL text of the message, not NUL-terminated */
    size_t sql_length;
    const struct engine_statement *statements;
    size_t n_statements;
    bool in_transaction;  /* by the last ReadyForQuery; pipelined work may have changed it */
    bool scs;             /* standard_conforming_strings for this text */
    bool uncertain;       /* the text reads differently under settings that may be in force when the
                             server gets it: to be refused as unparseable */
    bool too_long;        /* the message is over held_message: refuse; `statements` holds only heads */
    const char *encoding; /* client_encoding for this text */
    /* Between two judged messages of the same moment the client has sent nothing that runs anything. */
    uint32_t moment;
    /* A question now would be executed inside the client's pipeline. The server may then no longer take
     * statements that can't be in a transaction block: it does for the first one that is executed, and for
     * the one behind a COMMIT, a VACUUM and the like. */
    bool in_pipeline;
    /* engine_watch is on, and the message comes in the transaction that it was switched on for. */
    bool watched;
    bool screened; /* options.screen has said yes to the text */
};

/* End of a statement that a judgement put on the list (judgement.records). */
struct engine_finished {
    uint64_t record;  /* the audit's number for it */
    char sqlstate[6]; /* "" : succeeded */
    char tag[64];     /* CommandComplete's tag, "" if none */
    bool lost;        /* the connection ended first: nobody knows */
    int64_t change;   /* the online change that it began; 0: none */
};

struct engine_changes {
    const int64_t *ids; /* valid until engine_changes_over */
    size_t n;
};

enum transaction_end {
    TRANSACTION_COMMITTED,
    TRANSACTION_ROLLED_BACK,
    TRANSACTION_OPEN /* prepared, or lost */
};

struct engine_transaction_ended {
    uint64_t record;
    uint64_t first; /* record of the first statement on the list that was in the same transaction */
    enum transaction_end end;
};

struct engine_event {
    enum engine_event_kind kind;
    union {
        struct engine_judge judge;
        struct engine_finished finished;
        struct engine_transaction_ended ended;
        struct engine_changes changes;
        const char *reason; /* EVENT_CUT: for the log */
    };
};

/* The next event, or EVENT_NONE. Call after every engine_feed, engine_judged and engine_closed until then. */
void engine_next(struct engine *, struct engine_event *);

/* ---- the answer to EVENT_JUDGE ---------------------------------------------------------------------- */

/* One error or warning, in the client's encoding, NUL-terminated; NULL or "" leaves a field out. */
struct report {
    const char *severity; /* "ERROR", "WARNING", "NOTICE" */
    char sqlstate[6];
    const char *message, *detail, *hint;
    const char *constraint; /* the rule */
    const char *schema, *table, *column;
    uint32_t position; /* characters from 1, in the message's SQL text; 0: none */
};

enum judged_as {
    JUDGED_FORWARD,
    JUDGED_REWRITE,        /* `sql` goes in the message's place (engine_online.h) */
    JUDGED_REFUSE,         /* substitute; the server's syntax error becomes `refusal` */
    JUDGED_LET_SERVER_READ /* the parser could not read it: the text goes to the server with a token behind it
                              that no statement can bear. A syntax error in the author's own text passes as
                              the server words it; one at our token means that the server could read it:
                              `refusal` */
};

/* One statement that another was put in the place of. */
struct rewrite {
    size_t statement; /* among the event's */
    const char *tag;  /* the author's: "ALTER TABLE" */
    bool change;      /* it begins a change, whose end is awaited */
    /* Characters: where the author's statement starts in the message (from 0), its length, and that of what
     * was put in its place. For the positions of errors behind it. */
    uint32_t start, old_length, new_length;
};

/* What a judgement decided. Copied by engine_judged as far as it is needed later. */
struct judgement {
    enum judged_as as;
    const char *token; /* the word the server will refuse: "pgsluice_refused_volatile_default" */
    struct report refusal;
    const struct report *notices; /* put in front of the first reply to the message */
    size_t n_notices;
    const uint64_t *records; /* audit numbers, one a judged statement of the event, in its order; 0: none */
    size_t n_records;
    const char
        *sql; /* JUDGED_REWRITE: the whole text, in the client's encoding; as many statements as before */
    const struct rewrite *rewrites;
    size_t n_rewrites;
};

void engine_judged(struct engine *, const struct judgement *);

/*
 * The transaction holds a lock behind which nothing should take long: while this is on, statements of class
 * GATE_OTHER are shown too (with EVENT_JUDGE, as ever), but for transaction commands and in messages too long
 * to be held. A message then waits for what is owed to those before it, where that can be awaited: so that
 * the transaction's end is never missed. In a Query that holds a judged statement those behind it whose
 * `work` is set are shown in any case, up to the end of the transaction. A statement whose `locks` is set is
 * shown, and begins all this, whether it is on or not.
 */
void engine_watch(struct engine *, bool on);

/* ---- what the session knows ------------------------------------------------------------------------- */

/* One side is gone: what was on the audit's list and is not finished becomes events. */
void engine_closed(struct engine *);

char engine_transaction_status(const struct engine *); /* 'I' 'T' 'E' of the last ReadyForQuery; 0 before */
bool engine_quiet(const struct engine *);              /* no reply is owed and nothing is held */
const char *engine_client_encoding(const struct engine *);  /* as reported, "" before */
const char *engine_application_name(const struct engine *); /* as reported; "" before */
const char *engine_session_authorization(const struct engine *);
int engine_server_version(const struct engine *);  /* 150004; 0 before it was reported */
bool engine_in_hot_standby(const struct engine *); /* reported by 14 and later */

/* Put a report onto the wire, in order with the messages (between two of them): e.g. a FATAL before closing.
 * False where the client's stream stands inside a message, so that nothing may be put. */
bool engine_say(struct engine *, const struct report *, struct sink *to_client);

/* One line for each message and decision (the session's trace); NULL turns it off. */
void engine_trace(struct engine *, void (*line)(void *argument, const char *text), void *argument);

/* Counters, added to by the engine and read by the session's loop. */
struct engine_counts {
    uint64_t client_messages, server_messages, statements, judged, refused;
};
void engine_counts_take(struct engine *, struct engine_counts *); /* adds to *counts and starts at 0 again */

#endif

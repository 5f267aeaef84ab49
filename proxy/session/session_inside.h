/*
 * The inside of a session, for the session*.c files only.
 *
 * A session's life (enum session_phase): each callback of a stream does the work of its phase and ends in
 * session_settle, the only place that frees a session. After anything that may end the session, look at its
 * phase before touching its streams or its engine again.
 *
 *   STARTUP ─► CLIENT_TLS ─► STARTUP ─► DIALING ─► AWAITING ─► RELAY ─► CLOSING ─► OVER
 *
 * Ownership: the session owns both streams, the engine, what it keeps of unconsumed bytes, and `login` until
 * the first ReadyForQuery. A judge's job is owned by its `judging`, which outlives the session if it must.
 */
#ifndef PGSLUICE_PROXY_SESSION_SESSION_INSIDE_H
#define PGSLUICE_PROXY_SESSION_SESSION_INSIDE_H

#include <stdint.h>

#include "proxy/net/stream.h"
#include "proxy/session/engine.h"
#include "proxy/session/judge.h"
#include "proxy/session/session.h"
#include "proxy/session/session_dial.h"
#include "proxy/session/startup.h"

enum session_phase {
    SESSION_STARTUP,    /* the client's first packets */
    SESSION_CLIENT_TLS, /* its TLS handshake */
    SESSION_DIALING,    /* connecting to a server; the client is not read */
    SESSION_AWAITING,  /* the StartupMessage is sent; the server's first message decides about another attempt
                        */
    SESSION_CANCELING, /* a CancelRequest is on its way to the servers */
    SESSION_RELAY,     /* the engine speaks */
    SESSION_CLOSING,   /* the server is gone: the client gets what is unsent, then the end */
    SESSION_OVER
};

/* One stream and the bytes that the engine did not consume yet. */
struct leg {
    struct stream stream;
    uint8_t *kept; /* NULL while there are none */
    uint32_t kept_size, kept_length;
    bool ended; /* nothing more can be read */
};

/* What only the start-up needs. */
struct login {
    struct startup startup;
    struct conf *conf;
    struct tls_context *tls_client, *tls_upstream;
    struct upstream_set *set;
    struct dial dial;
    char *failures; /* every server tried and why it did not do */
    bool direct_tls;
};

/* A statement on the audit's list that has not finished. */
struct audited {
    struct audited *next;
    uint64_t record;
    double since; /* seconds of the monotonic clock */
};

struct judging;
struct heard;
struct waiting;
struct session_lock;

struct session {
    uint32_t magic;
    enum session_phase phase;
    struct session_room *room;
    struct session *next, *previous;
    struct leg client, server;
    struct engine *engine;
    struct login *login;     /* until the first ReadyForQuery */
    struct cancel *cancel;   /* while it is on its way */
    struct judging *judging; /* while the client waits for a judge */
    struct waiting *waiting; /* while the answer waits for an online change */
    struct heard *heard;     /* an answer of the catalog that the next judgement may still use */
    struct audited *audited;
    double audited_since;     /* when the last of them ended */
    uint64_t unaudited;       /* how many statements were numbered because of their lock */
    struct judge_column *own; /* columns that its changes add, until their end is known; talloc */
    size_t n_own;
    struct session_lock *locks; /* that the transaction holds; the oldest first */
    uint64_t number;
    uint64_t held;          /* of limits.held_total */
    uint64_t after_death;   /* bytes that the server sent to a client that is gone */
    double started, active; /* by loop_now; active to the second, from `moved` */
    double deadline;        /* CLOSING: when to give up; 0: none */
    char *peer, *user, *database, *start_waiver;
    char *nonce;    /* of its online changes; NULL until something was judged */
    uint64_t since; /* as judge_session.since */
    uint64_t *made; /* as judge_session.made; owned */
    size_t n_made;
    double asked_at;     /* by the monotonic clock: a request whose latency is measured; 0: none */
    uint32_t unmeasured; /* requests, counted round and round */
    unsigned host;       /* of conf.upstream.hosts */
    bool moved;          /* bytes have come since the last tick: asking the clock each time would cost more */
    bool counted;        /* in shared->sessions and shared->users */
    bool logged_in;      /* the first ReadyForQuery has passed */
    bool lock_told;      /* that they have been held for long */
    bool held_now;       /* may_hold was asked during this feed */
};

/* session.c */
void session_settle(struct session *); /* may free the session */
void session_end(struct session *);    /* at once */
/* The server's leg has ended or never began: the client gets what is unsent, then the end of the stream. */
void session_close_client(struct session *);
void session_refuse(struct session *, const char *sqlstate, const char *message, const char *detail,
                    const char *hint);
/* A FATAL to the client, a clean end of the server's session, and the end of both. */
void session_terminate(struct session *, const char *sqlstate, const char *message, const char *hint);
void session_release_login(struct session *);
void session_take_counts(struct session *);
bool session_may_drain(const struct session *); /* draining, and idle outside a transaction */
extern const struct stream_calls session_server_calls;

/* session_login.c: the client's start-up */
void login_client_readable(struct session *);
void login_client_opened(struct session *);

/* session_upstream.c: the server's */
void upstream_begin(struct session *);
void upstream_opened(struct session *);
void upstream_readable(struct session *);
void upstream_tick(struct session *, double now);

/* session_relay.c */
void relay_begin(struct session *); /* feeds what the server's leg keeps */
void relay_readable(struct session *, enum engine_side);
void relay_settle(struct session *);
void relay_events(struct session *);
/* Adds to what a leg keeps; false without memory. */
bool relay_keep(struct leg *, const uint8_t *bytes, size_t n);
void relay_forget(struct leg *);
/* Put a report between two messages; false where that cannot be. */
bool relay_say(struct session *, const char *sqlstate, const char *message, const char *hint);
void relay_release_held(struct session *);
void relay_report(struct session *, const struct report *); /* put between two messages, where that can be */

/* session_judge.c */
void session_judge(struct session *, const struct engine_judge *);
void session_judge_abandon(struct session *);
const char *session_question_name(void); /* of statements of our own: nobody guesses it */
void session_audit_finished(struct session *, const struct engine_finished *);
void session_audit_ended(struct session *, const struct engine_transaction_ended *);
void session_audit_forget(struct session *);

/* session_change.c */
void session_changes_begin(struct session *, const struct engine_changes *);
void session_changes_tick(struct session *, double now);
/* The wait ends without an answer: because of the client, or of us. */
void session_changes_gone(struct session *, bool client);
/* Can the session's statements be carried out online? */
bool session_online(const struct session *);
/* Does the text hold the name of a column of this database that isn't complete? As options.screen. */
bool session_screen(void *session, const char *sql, size_t length);
/* The columns in quarantine of its database, a reference of the caller's; NULL: none. */
struct change_columns *session_quarantine(struct session *);
/* A CancelRequest with this key (process number and secret) came in: does its session wait for a change? */
bool session_changes_cancel(const uint8_t *key, size_t length);

/* session_locks.c */
/* Records with this bit are on no audit: they stand for statements whose end is of interest because of the
 * lock that they take. */
#define RECORD_UNAUDITED ((uint64_t)1 << 63)
/* The job was judged: its locks are remembered. Numbers in `records` (those of the judgement) the statements
 * that nobody else has numbered. */
void session_locks_take(struct session *, const struct judge_job *, uint64_t *records, double now);
void session_locks_gone(struct session *, uint64_t record);
void session_locks_forget(struct session *);
/* What is held when the message comes; `table` NULL: nothing. False: it needs no judge, it may go on. */
bool session_locks_held(struct session *, const struct engine_judge *, double now, struct policy_held *);

/* How many, and where `to` is not NULL, which: those of changes whose answer isn't given yet, whatever has
 * become of their transaction. */
size_t session_own_columns(struct session *, struct judge_column *to);
/* The columns that the transaction adds and that are filled later. Their texts are the session's. */
size_t session_locks_columns(const struct session *, struct judge_column *to);

/* session_trace.c */
void session_trace(struct session *);

#endif

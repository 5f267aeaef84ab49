/*
 * What the files of the engine share; nobody else includes this.
 *
 *   engine.c        life, feeding, waiting, what the session knows
 *   engine_client.c the client's messages: entries in the ledger, names of statements
 *   engine_text.c   SQL texts: what has to be judged, names, passing
 *   engine_find.c   …and what stands in them: the gate, its readings (engine_find.h)
 *   engine_judged.c holding a message, the answer to EVENT_JUDGE, substitution
 *   engine_long.c   messages too long to hold
 *   engine_server.c the server's messages: walking the ledger
 *   engine_reply.c  errors and notices of our own, the rewriting of the server's
 *   engine_login.c  authentication
 *   engine_trail.c  what became of the statements on the audit's list
 *   engine_watch.c  statements behind a lock
 *   engine_words.c  SAVEPOINT, RELEASE, ROLLBACK TO, EXECUTE: the words and the name
 *   engine_execute.c what was judged when it was prepared, and is executed
 *   engine_ask.c    questions of our own inside the session
 *   engine_online.c texts of ours in the place of the author's, answers that wait
 *   engine_trace.c  one line a message
 *
 * Rules: a function that handles a message returns how many bytes it took; 0 means that it left the message
 * where it is and has said in `wait` and `need` what it waits for. Nothing has been put into a sink then.
 */
#ifndef PGSLUICE_PROXY_SESSION_ENGINE_INSIDE_H
#define PGSLUICE_PROXY_SESSION_ENGINE_INSIDE_H

#include <stdio.h>

#include "parser/gate.h"
#include "proxy/session/engine.h"
#include "proxy/session/engine_ask.h"
#include "proxy/session/engine_online.h"
#include "proxy/session/ledger.h"
#include "proxy/session/prepared.h"
#include "proxy/wire/message.h"

#define ENGINE_MAGIC      0x656e6769U
#define SMALL_MESSAGE     65536U /* a server's message that is looked into is held whole up to this */
#define LONG_FIRST        8192U /* of a message too long to hold: what is looked at before any of it goes on */
#define HEAD_BYTES        1024U /* of a statement in such a message: what is shown of it */
#define PREPARED_COMMANDS 100U  /* names above which a prepared transaction command is not followed */
#define COMMANDS_MAX      1000U /* transaction commands that are remembered of one message */
#define SAVEPOINTS_MAX    1000U
#define READ_ALL_MAX      131072U /* bytes of a text that is read in every way that is possible */

/* Why the client's input waits. */
enum client_wait {
    WAIT_BYTES,    /* for `need` bytes */
    WAIT_JUDGE,    /* for engine_judged */
    WAIT_QUIET,    /* for all replies, so that it is certain how a text reads */
    WAIT_COPY,     /* for the outcome of a COPY that decides what the messages behind it are */
    WAIT_LEDGER,   /* for room in the ledger */
    WAIT_LOGIN,    /* for the first ReadyForQuery */
    WAIT_PREPARED, /* for replies that say what a name means */
    WAIT_CHANGE    /* for the answer to what carries an online change */
};

/* A Sync that was sent before copy mode was known of is ignored by the server; but if the COPY fails before
 * the server has read it, it is answered. So after such a failure one ReadyForQuery more may come, and
 * whether the server skips the messages that follow, or takes them, is not known. */
enum doubt {
    DOUBT_NONE,
    DOUBT_SKIP, /* it may be skipping: no Sync was sent since */
    /* A Sync was sent since: what comes behind it is taken for certain. The first reply to that ends the
     * doubt, since any surplus ReadyForQuery comes before it. */
    DOUBT_CLEAN,
    DOUBT_DIRTY /* more was sent without a Sync: nobody knows any more which reply is for what. The session
                   goes on as before, but if there is something to be judged it is cut */
};

enum word_command { WORD_NONE, WORD_SAVEPOINT, WORD_RELEASE, WORD_ROLLBACK, WORD_ROLLBACK_TO };

/* One transaction command of a message. */
struct word {
    enum word_command command;
    unsigned index; /* among the message's statements */
    struct prepared_name name;
};

/* A statement of ours in a message. */
struct rewritten {
    unsigned index; /* of the message's statements */
    bool change;
    int64_t id;                             /* of the change, once it was told; 0 */
    uint32_t start, old_length, new_length; /* as in struct rewrite */
    char tag[PREPARED_TAG];
};

/* What is kept with a ledger entry that is more than its kind. A talloc parent. */
struct extra {
    struct report *refusal; /* of LEDGER_REPLACE */
    struct report *notices; /* still to be put in front of the first reply */
    size_t n_notices;
    bool let_read;       /* JUDGED_LET_SERVER_READ: the author's text stands before the token… */
    uint32_t characters; /* …and has so many characters, as the server counts them */
    char *token;
    uint64_t *records; /* not 0, not finished yet */
    unsigned *indices; /* of the statement of each */
    size_t n_records;
    struct word *words;
    size_t n_words;
    struct rewritten *rewritten;
    size_t n_rewritten;
    bool awaited; /* counted in online->in_flight */
    bool change;  /* one change in the journal of prepared names hangs on this reply */
    struct question *question;
};

/* What a statement of the message executes, and was judged when it was prepared. */
struct run {
    struct prepared_text *text; /* a reference */
    unsigned index;             /* of the statement in the message */
};

/* A message that waits for its judgement, or has it. Its own statements are judged together, then what it
 * runs, one by one; the first refusal is the last word. A talloc parent. */
struct held {
    struct engine_judge judge; /* what is before the judge now */
    struct engine_statement *statements;
    unsigned *indices;
    struct run *runs;
    size_t n_runs, next_run;
    const struct run *run; /* that is before the judge now, or NULL */
    bool indirect;         /* what is run is not the text that the client has sent last under that name */
    struct word *words;
    size_t n_words;
    bool told, answered;
    bool only_watched; /* it would have gone on unseen, but for engine_watch, or … */
    bool locks;        /* … for a LOCK in it */
    bool failed;       /* the client has been told an error that hit our question: nothing is sent any more */
    struct judgement answer; /* a deep copy; its notices and records are those of all judgements */
    uint64_t *records;
    unsigned *record_indices;
    char *sql; /* of ours, in the message's place; or NULL */
    struct rewritten *rewritten;
    size_t n_rewritten;
};

struct trail;
struct long_text;
struct ahead;
struct events;
struct online;

struct engine {
    uint32_t magic;
    char status;           /* of the last ReadyForQuery */
    uint8_t wait;          /* enum client_wait */
    uint8_t doubt;         /* enum doubt */
    bool names_lost;       /* in doubt a name was taken for one that the server has never heard of */
    uint8_t text_encoding; /* enum text_encoding of client_encoding */
    bool login : 1;        /* no ReadyForQuery yet */
    bool answer_due : 1;   /* the server waits for the client's answer to an authentication request */
    bool plus_removed : 1; /* SCRAM-SHA-256-PLUS was taken out of an offer that could have bound TLS */
    bool scs : 1;
    bool hot_standby : 1;
    bool skipping : 1;        /* the server ignores everything up to the next Sync, and none was sent yet */
    bool dropping : 1;        /* …and it is we who do that: the server knows of no error to skip after */
    bool question_left : 1;   /* a question failed: its statement may still be there */
    bool question_faulty : 1; /* …by its own fault: not asked again where that does harm */
    bool unsynced : 1;        /* the client has sent extended messages since the last Sync or Query */
    bool flushed : 1;         /* a Flush of ours was sent, to learn the outcome of a COPY */
    bool copy_in : 1;         /* copy mode: the server reads the client's data, whose end was not sent yet */
    bool client_drops : 1;    /* the rest of the client's message in passage goes nowhere */
    bool server_drops : 1;    /* of the server's */
    bool may_hold_said : 1;   /* asked once a message */
    bool cut : 1, cut_told : 1;
    bool closed : 1;
    bool watch : 1;    /* engine_watch */
    bool screen : 1;   /* engine_screen */
    bool end_sent : 1; /* …and since the last Sync or Query a text that may end the transaction went on */
    uint32_t need[2];
    uint32_t left[2];    /* of the message in passage */
    uint32_t copy_syncs; /* Syncs sent in copy mode: ignored, unless an error came first */
    uint32_t moment;     /* counts the messages of the client that may run something */
    int version;
    struct engine_options options;
    struct ledger ledger;
    struct held *held;
    struct long_text *long_text;
    struct ahead *ahead; /* of a text that is read as it arrives; gone with its message */
    struct prepared *prepared;
    struct trail *trail;
    struct events *events;
    struct question *question;     /* to be sent */
    struct online *online;         /* while a change of this session's transaction is under way */
    struct cancel_key *cancel_key; /* or NULL */
    struct session_names *names;
    struct trace *trace;
    const char *reason; /* of the cut: static text */
    char error[6];      /* SQLSTATE of the last ErrorResponse */
    struct engine_counts counts;
    char client_encoding[24], server_encoding[24];
};

/* Reported by the server, cut to what a name can be there. */
struct session_names {
    char application[64], authorization[64];
};

struct sinks {
    struct sink *client, *server;
};

/* A message at the front of what was fed. */
struct frame {
    const uint8_t *bytes; /* type, length, payload */
    size_t have;          /* of bytes that are there: may be more than the message */
    size_t total;         /* of the whole message */
    uint8_t type;
};

static inline const uint8_t *frame_payload(const struct frame *frame)
{
    return frame->bytes + FRAME_HEADER;
}

static inline size_t frame_payload_length(const struct frame *frame)
{
    return frame->total - FRAME_HEADER;
}

static inline bool frame_whole(const struct frame *frame)
{
    return frame->have >= frame->total;
}

/* No reply is owed and all that was sent was followed by a Sync. */
static inline bool engine_settled(const struct engine *engine)
{
    return engine->ledger.count == 0 && !engine->unsynced;
}

/* What the last ReadyForQuery said still holds. */
static inline bool engine_certain(const struct engine *engine)
{
    return engine_settled(engine) && engine->doubt == DOUBT_NONE;
}

/* A COPY is under way, or the client says so, whose failure would leave in doubt whether the server takes or
 * skips what stands behind it. */
static inline bool engine_copy_open(const struct engine *engine)
{
    return engine->ledger.synced_ends || (engine->copy_syncs && !engine->copy_in && engine->unsynced);
}

/* What is sent now may be skipped, or taken, and the replies can't be told apart. */
static inline bool engine_lost_count(const struct engine *engine)
{
    return engine->doubt == DOUBT_SKIP || engine->doubt == DOUBT_DIRTY;
}

/* ---- engine.c ---- */
bool engine_between_messages(const struct engine *); /* does the client's stream stand there? */
size_t engine_hold(struct engine *, enum engine_side, enum client_wait, size_t need); /* returns 0 */
size_t engine_pass(struct engine *, enum engine_side, const struct frame *, struct sink *);
size_t engine_drop(struct engine *, enum engine_side, const struct frame *);
/* End both legs: FATAL with these words, in the client's stream where that is possible. Returns 0. */
size_t engine_cut(struct engine *, const struct sinks *, const char *sqlstate, const char *message,
                  const char *hint, const char *reason);
size_t engine_out_of_memory(struct engine *, const struct sinks *);
struct engine_event *engine_event_add(struct engine *, enum engine_event_kind); /* NULL: out of memory */
struct extra *engine_extra(struct ledger_entry *);                              /* there, or new; or NULL */
void engine_entry_end(struct engine *, struct ledger_entry *);  /* frees what hangs on it, before it goes */
void engine_entry_drop(struct engine *, struct ledger_entry *); /* the same; it never got its answer */

/* Something has to be judged while nobody knows what the server will do with it. */
size_t engine_cut_in_doubt(struct engine *, const struct sinks *);

/* ---- engine_client.c ---- */
/* The message has to be judged: it waits for the outcome of a COPY. Returns 0. */
size_t client_await_copy(struct engine *, const struct frame *, const struct sinks *);
size_t client_message(struct engine *, const struct frame *, const struct sinks *);
struct ledger_entry *client_entry(struct engine *, enum ledger_kind, enum ledger_disposition);

/* ---- engine_find.c ---- */
/* The SQL text of a whole Query or Parse. */
const char *text_sql(const struct frame *, size_t *length);
void ahead_free(struct engine *);

/* ---- engine_text.c ---- */
size_t text_message(struct engine *, const struct frame *, const struct sinks *);
size_t text_pass(struct engine *, const struct frame *, const struct sinks *, struct held *);
/* A Parse of this name goes on: what the name means then. `held` is NULL where nothing of the text was
 * judged. */
enum prepared_change text_name(struct engine *, const struct prepared_name *, const char *sql, size_t length,
                               const struct held *);

/* ---- engine_judged.c ---- */
struct held *held_new(struct engine *, enum judge_occasion);
size_t held_tell(struct engine *, struct held *); /* EVENT_JUDGE comes; returns 0 */
size_t held_resolve(struct engine *, const struct frame *, const struct sinks *);
void held_free(struct engine *);
bool extra_of_held(struct engine *, struct ledger_entry *, struct held *); /* notices, records, words */
struct report *report_copy(const void *parent, const struct report *, size_t n);
/* The engine's own refusal of a message, as a judgement would say it. */
size_t refuse(struct engine *, const struct frame *, const struct sinks *, enum ledger_kind,
              const char *message, const char *hint);

/* ---- engine_execute.c ---- */
struct execution {
    bool is;                    /* EXECUTE, or EXPLAIN ANALYZE of one */
    bool unreadable;            /* …of nobody knows what */
    struct prepared_text *text; /* that it runs in the end, as far as known here; or NULL */
};
struct execution execution_of(struct engine *, const char *sql, size_t length);
/* The transaction command that a statement is, or runs. */
enum word_command execution_word(struct engine *, const char *sql, size_t length, struct prepared_name *);
bool held_add_run(struct held *, struct prepared_text *, unsigned index); /* false: out of memory */
/* The next of what the message runs goes before the judge. False: there is none, or no memory (cut). */
bool held_next_run(struct engine *);
/* Text that was judged when it was prepared is executed by the client's message. */
size_t judge_execute(struct engine *, struct prepared_text *, bool indirect, const struct sinks *);
size_t refuse_unreadable(struct engine *, const struct frame *, const struct sinks *, enum ledger_kind);

/* ---- engine_long.c ---- */
size_t long_begin(struct engine *, const struct frame *, const struct sinks *);
size_t long_go_on(struct engine *, const uint8_t *bytes, size_t n, const struct sinks *);
/* The judge lets it through: put the first part, and go on without looking. */
size_t long_forward(struct engine *, const struct frame *, const struct sinks *);
void long_free(struct engine *);

/* ---- engine_server.c ---- */
size_t server_message(struct engine *, const struct frame *, const struct sinks *);

/* ---- engine_reply.c ---- */
bool reply_report(struct writer *, const struct report *);
void reply_notices(struct engine *, struct extra *, struct sink *to_client);
/* The frame is an ErrorResponse, whole. Puts the refusal, or what became of the server's words, into the
 * sink; `sqlstate` gets what the client was told. */
void reply_error(struct engine *, const struct frame *, struct extra *, struct sink *to_client,
                 char sqlstate[6]);

/* ---- engine_login.c ---- */
size_t login_client(struct engine *, const struct frame *, const struct sinks *);
size_t login_authentication(struct engine *, const struct frame *, const struct sinks *);
void login_parameter(struct engine *, const char *name, const char *value);

/* ---- engine_trail.c ---- */
bool trail_open(struct engine *); /* is anything to be followed? */
bool trail_begin(struct engine *);
void trail_statement(struct engine *, struct extra *, unsigned index,
                     const char *tag); /* one has succeeded */
/* Those of the entry that are left have failed, or were never begun, for this reason. */
void trail_failed(struct engine *, struct extra *, const char *sqlstate);
/* The entry goes and nothing was said of them: nobody knows. */
void trail_forgotten(struct engine *, struct extra *);
void trail_error(struct engine *); /* an error in the transaction */
void trail_ready(struct engine *, char status);
void trail_lost(struct engine *);
void trail_free(struct engine *);

/* ---- engine_words.c ---- */
enum word_execution {
    EXECUTION_NONE,
    EXECUTION_RUNS,
    EXECUTION_ANALYZED,  /* EXPLAIN ANALYZE: runs what makes a table of a query, and no other change */
    EXECUTION_UNREADABLE /* the name is spelt with Unicode escapes */
};
enum word_execution word_execute(const char *text, size_t length, struct prepared_name *);
/* CREATE TABLE … AS and its like, as far as the first words say. */
bool word_makes_table(const char *text, size_t length);
enum word_command word_of(const char *text, size_t length, struct prepared_name *);

/* ---- engine_watch.c ---- */
/* Do statements come in the transaction that is watched? */
bool watch_now(struct engine *);
/* Replies are owed that may say that the transaction has ended. */
bool watch_waits(struct engine *);
/* A statement of GATE_OTHER that is shown while something is watched. */
bool watch_shows(const char *text, size_t length);
/* Its first word says that it may work for long. */
bool watch_work(const char *text, size_t length);
/* LOCK in a mode behind which others can't write. */
bool watch_locks(const char *text, size_t length);

/* ---- engine_online.c ---- */
/* The entry's message goes on with our statements in it. False: out of memory. */
bool online_attach(struct engine *, struct extra *, struct held *);
void online_entry_end(struct engine *, const struct extra *);
/* Writes the message anew. 0: out of memory. */
size_t online_put(struct engine *, const struct frame *, const struct sinks *, const struct held *);
/* The client's message has to wait. */
bool online_waits(const struct engine *);
/* Must the server's message stand still, before it is looked at? True: it was held. */
bool online_holds(struct engine *, const struct frame *, const struct ledger_entry *head);
/* The error that takes the place of the success; NULL: none. */
const struct report *online_error(const struct engine *);
void online_told(struct engine *);                 /* …the client */
void online_tag(struct engine *, const char *tag); /* of a CommandComplete */
void online_failed(struct engine *);               /* an ErrorResponse to the client's statement */
void online_ready(struct engine *, char status, const struct sinks *);
struct rewritten *online_at(const struct extra *, unsigned index);
/* A notice with a change's number. True: it is to be dropped. */
bool online_number(struct engine *, const struct frame *, struct ledger_entry *head);
/* A notice or an error that comes with a message in which a text of ours stands. True: it was put. */
bool online_reply(const struct frame *, const struct ledger_entry *head, struct sink *to_client);
bool online_open(const struct engine *); /* from the statement that begins a change to the answer's end */
void online_key(struct engine *, const struct frame *);
void online_free(struct engine *);

/* ---- engine_ask.c ---- */
size_t ask_put(struct engine *, const struct sinks *);
bool ask_waits(const struct engine *); /* one that ends in Sync waits until nothing is owed */
/* An ErrorResponse answers a question. True: nobody needs to know. */
bool ask_failed(struct engine *, struct extra *);
void ask_reply(struct engine *, struct extra *, const struct frame *);
void ask_unanswered(struct question *); /* NULL is fine */
void ask_over(struct engine *, struct question *);

/* ---- engine_trace.c ---- */
struct trace {
    void (*line)(void *argument, const char *text);
    void *argument;
};
void trace_line(struct engine *, enum engine_side, const struct frame *, const char *decision);
void trace_note(struct engine *, const char *text);

static inline void trace_message(struct engine *engine, enum engine_side from, const struct frame *frame,
                                 const char *decision)
{
    if (engine->trace)
        trace_line(engine, from, frame, decision);
}

#endif

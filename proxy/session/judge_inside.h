/*
 * Inside the bench of judges: a job's work, and one statement of it. Private to judge*.c.
 *
 * A message may hold thousands of statements. They are taken one after the other: each is read, judged,
 * recorded and freed; what stays is the gravest refusal so far and a bounded number of warnings.
 */
#ifndef PGSLUICE_PROXY_SESSION_JUDGE_INSIDE_H
#define PGSLUICE_PROXY_SESSION_JUDGE_INSIDE_H

#include "policy/policy.h"
#include "proxy/observe/metrics.h"
#include "proxy/session/judge.h"

#define JUDGE_NOTICES 50 /* of one message; beyond it only their number is told */
#define JUDGE_PLACES                                                                                         \
    500 /* statements of one message whose facts are kept; those behind are judged as their text says */

struct catalog;

/* Why a message is refused; of several reasons the greatest is told. */
enum refusal_rank { REFUSAL_NONE, REFUSAL_SYNTAX, REFUSAL_UNREAD, REFUSAL_FAULT, REFUSAL_RULE };

/* Counts the characters in front of a byte of the message, each byte only once. */
struct place_counter {
    uint64_t bytes, characters;
    bool lost; /* something in front cannot be read in the client's encoding */
};

/* Why a statement has no facts of its own. */
enum unread {
    UNREAD_NOT,
    UNREAD_TOO_LONG, /* the message */
    UNREAD_UNCERTAIN,
    UNREAD_ENCODING, /* the bytes are not readable here, and the server may read them all the same */
    UNREAD_INVALID   /* the bytes are not UTF-8: the server refuses them, whatever they say */
};

/* One statement, read. */
struct judge_reading {
    enum unread unread;
    const char *text; /* UTF-8, or the client's own bytes where they cannot be read */
    size_t length;
    struct facts *facts; /* NULL: out of memory */
    uint64_t nanoseconds;
};

/* A statement among those of its message. */
struct judge_place {
    struct judge_reading reading;
    size_t n_before; /* of work->before run before it */
    bool doubtful;   /* what the catalog said need not be true any more when it runs… */
    size_t since;    /* …nor what those of work->before did that stand in front of this one; else 0 */
};

struct judge_work {
    struct conf *conf;
    struct judge_session session; /* with copies of its texts */
    enum judge_occasion occasion;
    const char *sql; /* NULL where the message is too long to be held */
    size_t sql_length;
    struct engine_statement *statements;
    size_t n_statements;
    bool in_transaction, scs, uncertain, too_long;
    bool may_ask, in_pipeline;

    struct judge_place *places; /* of the first n_places statements */
    size_t n_places;
    const struct facts **before; /* theirs, in order */
    size_t n_before;
    char *answer; /* the catalog's, until it is read */
    size_t answer_length;
    struct catalog *names; /* or NULL */

    struct policy_held held;  /* session.held points here */
    struct judge_lock *locks; /* or NULL */
    struct judge_lock latest; /* a lock that the message takes itself… */
    unsigned latest_ends;     /* …in its transaction of this number */
    uint64_t *records;
    uint64_t last_record;
    struct report *notices;
    size_t n_notices, n_unsaid;
    enum refusal_rank rank;
    bool server_reads; /* a statement cannot be read by the parser and the server shall say so */
    struct place_counter counter;
};

/* One statement, judged. */
struct judged {
    const struct engine_statement *statement;
    enum unread unread;
    const char *text; /* UTF-8, or the client's own bytes where they cannot be read */
    size_t length;
    struct facts *facts;
    struct verdict *verdict; /* never NULL but for UNREAD_INVALID and faults */
    const char *fault;       /* what went wrong inside, or NULL */
    uint64_t nanoseconds;
    enum refusal_rank rank;
    bool server_reads;
};

/* judge.c: the whole job; `audit` and `metrics` may be NULL. */
void judge_run(struct judge_job *, struct audit *, struct metrics *);

/* judge_message.c: fills places and before. False: out of memory. */
bool judge_read_message(struct judge_work *);
/* What was read of a long text goes; judge_read_message will read it again. */
void judge_let_go(struct judge_work *);

/* judge_ask.c */
bool judge_asks(struct judge_job *); /* true: the loop has to ask */
void judge_hear(struct judge_work *);

/* judge_widen.c: a statement gets the comments around it, where a waiver may stand. */
void judge_widen(struct judge_work *);

/* judge_statement.c: everything hangs below `memory`. */
void judge_read(const void *memory, const struct judge_work *, const struct engine_statement *,
                struct judge_reading *);
void judge_statement(const void *memory, const struct judge_work *, size_t index, struct judged *);
/* A statement that was only shown because of a lock, and that nothing is to be said of. */
bool judge_passes_by(const struct judged *);
bool judge_observes(const struct judge_work *);

/* judge_report.c: reports in the client's encoding, below the job's work. False: out of memory. */
bool judge_report_refusal(struct judge_job *, const struct judged *);
bool judge_report_notices(struct judge_job *, const struct judged *);
bool judge_report_unsaid(struct judge_job *);
void judge_report_audit(struct judge_job *, struct audit *);

/* judge_record.c */
uint64_t judge_record(const struct judge_work *, const struct judged *, struct audit *);
size_t judge_rules(const struct judged *, uint8_t rules[RULE_COUNT]);

/* judge_redact.c: the statement without the passwords in it; `text` itself where there are none, NULL for
 * want of memory. */
const char *judge_redact(const void *memory, const char *text, size_t n, size_t *length);

#endif

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

/* Another text in a statement's place, in the client's encoding. */
struct judge_rewrite {
    size_t statement;
    const char *text, *tag;
    bool change;
    uint32_t start, old_length, new_length; /* characters, as in struct rewrite */
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
    struct judge_column *own; /* columns that statements of this message add and that are filled later */
    size_t n_own;
    struct judge_rewrite *rewrites; /* in the statements' order */
    size_t n_rewrites;
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

/* Words in UTF-8 that no rule of the policy says; place in the statement, -1: none. */
struct judge_words {
    const char *sqlstate, *constraint, *message, *detail, *hint;
    int place;
};
/* Where the statement starts in the message, in characters from 1; 0: not known. */
uint32_t judge_report_place(struct judge_work *, const struct judged *);
bool judge_report_words(struct judge_job *, const struct judged *, const struct judge_words *, bool refuse);

/* judge_online.c: false: out of memory */
bool judge_columns(struct judge_job *, struct judged *);
/* What the catalog has to be asked because of a column that may be in quarantine; NULL: nothing. */
char *judge_columns_question(struct judge_work *);
void judge_added(struct judge_work *, const struct judged *, struct judge_lock *);
bool judge_take_plan(struct judge_work *, size_t index, const struct judged *);
bool judge_compose(struct judge_job *);

/* judge_behind.c: does the statement begin an online change? */
bool judge_begins(const struct judged *);
/* Adds to n columns the rows that say so; how many there are then (0: out of memory). */
size_t judge_begun(const struct judge_work *, const struct judged *, struct judge_column **, size_t n);
/* It stands behind a change and must not: with its words. */
bool judge_behind(const struct judge_work *, const struct judged *, struct judge_words *);

/* judge_record.c */
uint64_t judge_record(const struct judge_work *, const struct judged *, struct audit *);
size_t judge_rules(const struct judged *, uint8_t rules[RULE_COUNT]);

/* judge_redact.c: the statement without the passwords in it; `text` itself where there are none, NULL for
 * want of memory. */
const char *judge_redact(const void *memory, const char *text, size_t n, size_t *length);

#endif

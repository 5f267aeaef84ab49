/*
 * Judging files, statement by statement. Private to proxy/check.
 *
 * Ownership: what belongs to one statement hangs below its own talloc parent and goes with it; facts that
 * later statements are judged with live as long as the struct check.
 */
#ifndef PGSLUICE_PROXY_CHECK_CHECK_H
#define PGSLUICE_PROXY_CHECK_CHECK_H

#include <stdio.h>

#include "parser/gate.h"
#include "policy/policy.h"
#include "proxy/check/source.h"

struct connection; /* connect.h */
struct readers;    /* ahead.h */
struct report_format;
struct report_state;

/* Why a statement, or a part of what it does, can't be judged. */
enum unread {
    UNREAD_NOT, /* it can */
    UNREAD_SYNTAX,
    UNREAD_TOO_LONG,
    UNREAD_TOO_DEEP,
    UNREAD_FAULT,
    UNREAD_GEXEC,
    UNREAD_COUNT
};

/* One statement and what became of it. `facts` and `verdict` are NULL for statements that change no schema.
 */
struct checked {
    const struct source *source;
    size_t start, end; /* in the file: its first token, behind its last */
    const char *sql;   /* the statement */
    size_t sql_length;
    size_t from;        /* in the file: where `judged` begins, */
    const char *judged; /* the same with the comments around it, where a waiver may stand */
    size_t judged_length;
    const char *kind;  /* "ALTER TABLE", "INSERT" */
    const char *table; /* as written; "" if there is none */
    bool down;         /* of a section that undoes a change, and those don't count */
    enum unread unread;
    const struct facts *facts;
    const struct verdict *verdict;
};

struct check_count {
    unsigned files, statements;
    unsigned judged;                              /* read and judged; of them: */
    unsigned failing;                             /* … fail */
    unsigned dynamic;                             /* … run SQL that is made as they run */
    unsigned unknown;                             /* … have an effect that isn't known */
    unsigned variables;                           /* … hold variables whose values aren't known */
    unsigned unread[UNREAD_COUNT];                /* those that can't be judged */
    unsigned findings[ACTION_COUNT], waived;      /* down sections aside */
    unsigned down_statements, down[ACTION_COUNT]; /* of all statements; findings of down sections */
    unsigned includes;
    unsigned guessed; /* files read as LATIN1, since they are no UTF-8 and don't say what they are */
    unsigned missing; /* files that can't be read */
};

struct check {
    struct policy_context context;
    const struct report_format *format;
    struct report_state *report; /* of the formats that need one */
    bool colour;
    bool down_counts;        /* down sections are judged like any other */
    bool single_transaction; /* each file is run in one transaction */
    struct connection *connection;
    struct readers *readers; /* of all files (ahead.h); or NULL */
    unsigned file;           /* the number of the one being judged */
    FILE *out;
    struct check_count count;
    const struct facts **before; /* of earlier files, in order; only with a connection */
    size_t n_before;
    bool failed; /* the connection is gone */
};

/* Judge one file and report on it. */
void check_source(struct check *, const struct source *);

/* Was anything found that no waiver covers, of this action or a graver one? */
bool check_found(const struct check_count *, enum action at_least);

/* Statements that can't be judged. */
unsigned check_unread(const struct check_count *);

/* That a statement certainly fails, where no rule says a word of it, is a finding of this name; its `rule` is
 * RULE_COUNT. */
#define FAILS_NAME "fails"
const char *checked_rule(const struct finding *);

/* Place of a finding in the file. */
size_t checked_place(const struct checked *, const struct finding *);

#endif

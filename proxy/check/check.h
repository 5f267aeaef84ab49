/*
 * Judging a file, statement by statement. Private to proxy/check.
 */
#ifndef PGSLUICE_PROXY_CHECK_CHECK_H
#define PGSLUICE_PROXY_CHECK_CHECK_H

#include <stdio.h>

#include "parser/gate.h"
#include "policy/policy.h"
#include "proxy/check/source.h"

/* One statement and what became of it. `facts` and `verdict` are NULL for statements that change no schema.
 */
struct checked {
    const struct source *source;
    size_t start, end; /* in the file: its first token, behind its last */
    const char *sql;   /* UTF-8: the statement */
    size_t sql_length;
    size_t from;        /* in the file: where `judged` begins, */
    const char *judged; /* UTF-8: the same with the comments around it, where a waiver may stand */
    size_t judged_length;
    bool bytes;        /* the file is not UTF-8: a byte a character */
    const char *kind;  /* "ALTER TABLE", "INSERT" */
    const char *table; /* as written; "" if there is none */
    const struct facts *facts;
    const struct verdict *verdict;
};

enum check_format { CHECK_TEXT, CHECK_JSON };

struct check_count {
    unsigned files, statements, judged, unreadable;
    unsigned findings[ACTION_COUNT], waived;
};

struct check {
    struct policy_context context;
    enum check_format format;
    bool colour;
    FILE *out;
    struct check_count count;
};

/* Judge one file and report on it. */
void check_source(struct check *, const struct source *);

/* Was anything found that no waiver covers? */
bool check_found(const struct check_count *);

/* Place of a finding in the file. */
size_t checked_place(const struct checked *, const struct finding *);

void report_text(const struct check *, const struct checked *);
void report_json(const struct check *, const struct checked *);
void report_coverage(const struct check_count *, FILE *);
void report_rule(enum rule, FILE *);

#endif

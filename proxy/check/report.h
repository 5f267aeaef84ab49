/*
 * How what was found is told: one row a format, called for every statement in order.
 *
 * Text from a file never reaches a terminal as it is: control characters are shown as '?'.
 */
#ifndef PGSLUICE_PROXY_CHECK_REPORT_H
#define PGSLUICE_PROXY_CHECK_REPORT_H

#include <jansson.h>

#include "proxy/check/check.h"

struct report_format {
    const char *name;
    void (*begin)(struct check *); /* or NULL */
    void (*statement)(struct check *, const struct checked *);
    void (*end)(struct check *); /* or NULL */
};

/* NULL: no such format. */
const struct report_format *report_format_of(const char *name);

/* What a document that is written piece by piece has to remember. */
struct report_state {
    unsigned written;
    struct report_seen *seen; /* fingerprints; report_ci.c */
};

void report_coverage(const struct check *, FILE *);

/* ---- explain.c ---- */

void explain_rule(enum rule, FILE *);
void explain_all(FILE *); /* a table of all rules */
json_t *explain_json(enum rule);

/* ---- shared by the formats: report.c ---- */

/* A finding's place: 1-based, in characters; the end is behind the word that stands there. */
struct place {
    unsigned line, column, end_column;
    size_t offset;
};
struct place report_place(const struct checked *, const struct finding *);

/* "error", "warning", "note": a down section's finding is a note, so is a waived one. */
enum report_level { LEVEL_NOTE, LEVEL_WARNING, LEVEL_ERROR };
enum report_level report_level(const struct checked *, const struct finding *);

/* Message, detail and hint, a line each, below `talloc_parent`. */
char *report_words(const void *talloc_parent, const struct finding *);

/* The path as a URI reference. */
char *report_uri(const void *talloc_parent, const char *path);

void report_safe(FILE *, const char *text, size_t length);
/* Each line of a text with an indent, long ones broken between words; SQL stays whole so that it can be
 * copied. */
void report_paragraph(FILE *, const char *lead, const char *text);
/* json_string() of text that may be NULL or no UTF-8. */
json_t *report_string(const char *text);
/* The steps of a plan. */
struct plan;
json_t *report_plan(const struct plan *);

/* ---- the formats ---- */

void report_text(struct check *, const struct checked *);
void report_json(struct check *, const struct checked *);
void report_github(struct check *, const struct checked *);
void report_gitlab_begin(struct check *);
void report_gitlab(struct check *, const struct checked *);
void report_gitlab_end(struct check *);
void report_sarif_begin(struct check *);
void report_sarif(struct check *, const struct checked *);
void report_sarif_end(struct check *);

#endif

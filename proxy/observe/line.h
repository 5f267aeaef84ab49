/*
 * A line being put together: for the log in fixed memory, for the audit and the metrics in memory that grows.
 *
 * Every put is whole or not at all: a line that is cut is cut between two characters, never inside an escape.
 * After the first put that found no room `full` is set and all later ones are dropped.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_LINE_H
#define PGSLUICE_PROXY_OBSERVE_LINE_H

#include <stdbool.h>
#include <stddef.h>

struct line {
    char *bytes; /* not NUL-terminated */
    size_t length, size;
    bool grows; /* bytes come from malloc and belong to the line */
    bool full;
};

void line_fixed(struct line *, char *bytes, size_t size);
void line_growing(struct line *);
void line_release(struct line *); /* frees what grew; the line is empty then */

void line_put(struct line *, const char *bytes, size_t n);
void line_text(struct line *, const char *text); /* NUL-terminated */
void line_printf(struct line *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* In double quotes, escaped as JSON wants it; bytes that are not UTF-8 become U+FFFD. */
void line_json(struct line *, const char *text, size_t n);
/* For people: control characters and bytes that are not UTF-8 become \n, \x1b, \u202e. */
void line_plain(struct line *, const char *text, size_t n);

/* Length of the UTF-8 character at `text` (RFC 3629), 0 where there is none. `left` is at least 1. */
size_t line_utf8(const char *text, size_t left);

/* RFC 3339, UTC: "2026-01-02T03:04:05.678901Z" with 3 or 6 digits behind the point. */
struct timespec;
void line_time(struct line *, const struct timespec *, int digits);

#endif

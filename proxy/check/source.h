/*
 * A migration file as text: what psql would not send to the server is blanked, byte for byte, so that every
 * offset stays an offset into the file.
 */
#ifndef PGSLUICE_PROXY_CHECK_SOURCE_H
#define PGSLUICE_PROXY_CHECK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct source {
    const char *name; /* for messages: the path, or "<stdin>" */
    char *raw;        /* the file; NUL behind it */
    char *sql;        /* the same length: byte order mark, psql commands and COPY data are spaces */
    size_t length;
    size_t *lines; /* where each line starts */
    size_t n_lines;
};

/* Read all of a stream. NULL: it can't be read or is larger than SOURCE_MAX; errno says why (EFBIG, ENOMEM). */
#define SOURCE_MAX ((size_t)128 << 20)
struct source *source_read(const void *talloc_parent, const char *name, FILE *);

/* The same from memory, which is copied. */
struct source *source_of(const void *talloc_parent, const char *name, const char *text, size_t length);

/* Line and column (in characters of UTF-8) of an offset, from 1. LF, CR LF and a lone CR end a line. */
void source_position(const struct source *, size_t offset, unsigned *line, unsigned *column);

/* The bytes of the line that holds an offset, without its end. */
void source_line(const struct source *, size_t offset, const char **text, size_t *length);

#endif

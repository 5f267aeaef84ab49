/*
 * A migration file as text: what does not go to the server is blanked, byte for byte, so that every offset
 * stays an offset into the file; what migration tools mean by their comments is noted beside it.
 *
 * Ownership: everything hangs below the struct source. Text is UTF-8, whatever the file was.
 */
#ifndef PGSLUICE_PROXY_CHECK_SOURCE_H
#define PGSLUICE_PROXY_CHECK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "proxy/check/convention.h"

/* What was met on the way, at an offset. */
enum mark_kind {
    MARK_GEXEC,   /* the statement that ends here makes statements: \gexec */
    MARK_VARIABLE /* stands in place of a psql variable or a ${placeholder} */
};

struct mark {
    size_t at;
    enum mark_kind kind;
};

struct source {
    const char *name; /* for messages: the path, or "<stdin>" */
    char *raw;        /* the file in UTF-8; NUL behind it */
    char *sql;        /* the same length: byte order mark, psql commands and COPY data are spaces */
    size_t length;
    size_t *lines; /* where each line starts */
    size_t n_lines;
    struct section *sections; /* in order; the first starts at 0 */
    size_t n_sections;
    struct mark *marks; /* in order */
    size_t n_marks;
    unsigned includes;   /* \i, \ir: files that are not followed */
    bool no_transaction; /* the file tells its tool not to open one */
    bool guessed;        /* it is no UTF-8 and doesn't say what it is: read a byte a character */
};

/*
 * Read all of a stream. `encoding` is PostgreSQL's name of the file's encoding, or NULL: what the file itself
 * says (\encoding, SET client_encoding) where its bytes are not UTF-8, else a byte a character.
 * NULL: it can't be read, or not be judged: then *why says so.
 */
#define SOURCE_MAX ((size_t)128 << 20)
struct source *source_read(const void *talloc_parent, const char *name, FILE *, const char *encoding,
                           const char **why);

/* The same from memory, which is copied. */
struct source *source_of(const void *talloc_parent, const char *name, const char *text, size_t length,
                         const char *encoding, const char **why);

/* source_scan.c: fill sql, sections, marks, includes, no_transaction. False: no memory. */
bool source_as_psql(struct source *);

/* Line and column (in characters) of an offset, from 1. LF, CR LF and a lone CR end a line. */
void source_position(const struct source *, size_t offset, unsigned *line, unsigned *column);

/* The bytes of the line that holds an offset, without its end. */
void source_line(const struct source *, size_t offset, const char **text, size_t *length);

/* Is there a mark of this kind in from … to (inclusive)? */
bool source_marked(const struct source *, enum mark_kind, size_t from, size_t to);

#endif

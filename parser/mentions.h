/*
 * Does a statement speak of a column of a table? For columns that aren't complete: nobody is to read or write
 * them yet.
 *
 * The answer is by the text alone and errs on the side of yes: scopes of subqueries aren't told apart, and an
 * unqualified name counts for the table wherever the statement names the table too. What a function, a view
 * or a trigger does inside isn't seen. COMMENT, GRANT and the like don't count as speaking of it.
 */
#ifndef PGSLUICE_PARSER_MENTIONS_H
#define PGSLUICE_PARSER_MENTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum mention_kind {
    MENTION_NONE,
    MENTION_WHOLE, /* `*`, the whole row, NATURAL JOIN, COPY … TO without a list */
    MENTION_COLUMN /* by its name */
};

struct mention {
    enum mention_kind kind;
    int place;        /* byte offset in the text; -1: unknown */
    bool unqualified; /* the table stands without its schema: search_path says whether it is the one */
};

/* A text, read once for any number of columns. */
struct mentions;

/* Below a talloc parent; NULL: out of memory. Call it on a thread of parser_thread_create(). A text that
 * can't be read mentions nothing: the server will refuse it too. */
struct mentions *mentions_new(const void *talloc_parent, const char *text, size_t length, bool scs);

/* schema NULL: any. The names must live as long as `mentions`. */
struct mention mention_in(struct mentions *, const char *schema, const char *table, const char *column);

#endif

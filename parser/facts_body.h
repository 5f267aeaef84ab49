/*
 * The body of DO or of a function while it is being read. Private to this room.
 *
 * Offsets count in the body's own text (what the literal stands for), as `source` has it for libpg_query.
 */
#ifndef PGSLUICE_PARSER_FACTS_BODY_H
#define PGSLUICE_PARSER_FACTS_BODY_H

#include "parser/facts_read.h"

struct body {
    struct reader *r;
    const char *text; /* as the author wrote it */
    const char *what; /* "the DO block" */
    struct source *source;
    int literal; /* where the literal starts in the outer text */
    int first;   /* where the body's first byte is in the outer text; -1: escaped, so unknown */
    int counted; /* lines are counted up to this offset … */
    int line;    /* … which is in this line */
};

/* The line, from 1, that an offset of the copy is in. Offsets have to rise from call to call. */
int body_line(struct body *, int offset);

/* Can the statement that starts with this token do what has to be judged? */
bool body_judged(const struct source *, size_t token);

/* Index of the token that ends the SQL statement at token i: its semicolon, or n. */
size_t body_statement_end(const struct source *, size_t i);

/* The statement of tokens i … end is one that the body hides. */
void body_add_tokens(struct body *, size_t i, size_t end);

/* The statements in a text that the body executes as a string at this token. */
void body_add_text(struct body *, size_t token, const char *text);

/* Something is executed that can't be read; the first reason stays. */
void body_dynamic(struct body *, size_t token, const char *what);

/* plpgsql.c: every statement of a PL/pgSQL body. */
void plpgsql_read(struct body *);

/* plpgsql_execute.c: the text that the expression of tokens i … end stands for where it is made of literals
 * only (with ||, format(), quote_ident() and the like), below `talloc_parent`; or NULL. */
char *plpgsql_constant(struct body *, const void *talloc_parent, size_t i, size_t end);

#endif

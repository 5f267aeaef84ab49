/*
 * Readers of libpg_query's tree: each turns one sort of node into its part of struct facts.
 *
 * Private to this room. A reader never gives up half way: what it doesn't know it leaves empty, and if memory
 * is short it sets `failed`, upon which facts_of() throws the whole away.
 */
#ifndef PGSLUICE_PARSER_FACTS_READ_H
#define PGSLUICE_PARSER_FACTS_READ_H

#include "parser/parse.h"

/* DO in EXECUTE in DO …: deeper than this is dynamic. */
enum { NESTED_MAX = 4 };

/* What may still be read of the statements inside bodies, for one facts_of() in all: a body can repeat or
 * blow up its text on every level. Where it is spent, the rest is dynamic. */
struct budget {
    unsigned statements;
    size_t bytes;
};

struct reader {
    struct facts *facts;
    const struct source *source;
    unsigned level; /* 0: the client's own statement; 1: inside a body of that; … */
    struct budget *budget;
    bool scs;
    bool names_only; /* identities are not wanted any more: the list of them is long enough */
    bool failed;     /* out of memory */
};

/* facts_of() for a text found at some level inside another. */
struct facts *facts_at_level(const void *talloc_parent, const char *text, size_t length, bool scs,
                             unsigned level, struct budget *budget);
bool facts_out_of_memory(const struct facts *);

char *reader_copy(struct reader *, const char *text);            /* NULL stays NULL */
char *reader_slice(struct reader *, const char *from, size_t n); /* a copy of n bytes */
void *reader_array(struct reader *, size_t size, size_t *n);     /* zeroed; *n becomes 0 where it fails */
int reader_place(const struct reader *, int offset);             /* the author's offset */
int reader_end(const struct reader *, size_t token);          /* behind the last token in front of this one */
size_t reader_behind_name(const struct reader *, int offset); /* token behind a table's name: facts_alter.c */
void reader_clause(const struct reader *, int offset, int *place, int *end);

/* ---- names: facts_names.c ---------------------------------------------------------------------------- */

struct name name_of_range(struct reader *, const json_t *range_var);
struct name name_of_list(struct reader *, json_t *strings); /* [schema,] name as String nodes */
struct name name_of_text(struct reader *, const char *text);
const char **names_of_list(struct reader *, json_t *strings, size_t *n);
struct type_name type_read(struct reader *, json_t *tree);
char *role_of(struct reader *, const json_t *role_spec); /* the name, or CURRENT_USER and the like */

/* ---- facts_expr.c, facts_column.c, facts_alter.c ------------------------------------------------------ */

struct expr *expr_read(struct reader *, json_t *node); /* NULL for NULL */
void constraint_read(struct reader *, json_t *inside, struct constraint *);
struct column_definition *domain_read(struct reader *, json_t *inside); /* CREATE DOMAIN; NULL: no memory */
void column_read(struct reader *, json_t *inside, struct column_definition *);

void facts_alter_table(struct reader *, json_t *statement);
void facts_rename(struct reader *, json_t *statement);
void facts_set_schema(struct reader *, json_t *statement);
void facts_set_owner(struct reader *, json_t *statement);

#endif

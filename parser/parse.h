/*
 * Between a text and libpg_query: the copy that is handed over, its tokens, its tree.
 *
 * Private to this room. A source owns a copy of the author's text that libpg_query can read; where that copy
 * had to differ (backslash escapes, GENERATED … VIRTUAL) `edits` maps offsets back. Offsets inside this room
 * count in the copy; whatever leaves through struct facts went through source_place().
 */
#ifndef PGSLUICE_PARSER_PARSE_H
#define PGSLUICE_PARSER_PARSE_H

#include "parser/facts.h"

#include <jansson.h>

/* What sort of thing a token is. Single characters stand for themselves ('(', ',', ';' …). */
enum { TOKEN_WORD = 'w', TOKEN_QUOTED = '"', TOKEN_STRING = '\'', TOKEN_NUMBER = '0' };

/* libpg_query's KeywordKind. */
enum { KEYWORD_NONE, KEYWORD_UNRESERVED, KEYWORD_COLUMN_NAME, KEYWORD_TYPE_FUNCTION, KEYWORD_RESERVED };

struct token {
    int start, end;
    int depth; /* of parentheses and brackets around it; an opening and its closing one have the same */
    char kind;
    uint8_t keyword;
};

struct tokens {
    struct token *items; /* without comments */
    size_t n;
    struct token *comments;
    size_t n_comments;
};

/* `length` bytes that are in the copy at `at` and not in the author's text. */
struct edit {
    int at, length;
    int before; /* bytes that edits in front of this one put in */
};

enum { SOURCE_BLANKED = 8 };

struct source {
    char *text; /* NUL-terminated */
    size_t length;
    const char *refused; /* why this text is not given to libpg_query, or NULL */
    struct edit *edits;
    size_t n_edits;
    int *made_virtual; /* where STORED stands in the copy and the author wrote VIRTUAL or nothing */
    size_t n_made_virtual;
    char *blanked[SOURCE_BLANKED]; /* comments (from their "--" on) that are not in the copy */
    size_t n_blanked;
    struct tokens tokens;
};

/* The author's offset of an offset of the copy; -1 stays. */
int source_place(const struct source *, int offset);

/* Make the copy. NULL: out of memory. */
struct source *source_new(const void *talloc_parent, const char *text, size_t length, bool scs);

/* Read the tokens of the copy; none where the scanner refuses the text. false: out of memory. */
bool source_scan(struct source *);

/* Places in the copy where the same text is to be put in, in rising order. */
struct insertions {
    int *at;
    size_t n;
};
bool source_note(struct source *, struct insertions *, size_t at); /* false: out of memory */

/* Put `insert` in at every place noted; the places become those in the new copy. false: out of memory. */
bool source_apply(struct source *, struct insertions *, const char *insert);

/* parse_virtual.c. Try to make a text with PostgreSQL 18's virtual columns readable; true: something was
 * changed. */
bool source_stored_for_virtual(struct source *);

struct parse_error {
    enum facts_status status; /* FACTS_OK: none */
    const char *message;      /* below the talloc parent */
    int place;                /* offset in the copy or -1 */
};

/* Parse the copy; the tree is the caller's to json_decref. NULL: see the error. */
json_t *parse_tree(const void *talloc_parent, const struct source *, struct parse_error *);

/* libpg_query's fingerprint, or 0 for a text longer than is reasonable to walk a second time. */
uint64_t parse_fingerprint(const struct source *);

/* How many bytes of a text are valid UTF-8 (RFC 3629; NUL counts as valid): text.c. */
size_t text_valid_utf8(const char *text, size_t length);

/* ---- tokens ----------------------------------------------------------------------------------------- */

/* Split `text` (NUL-terminated) into tokens. false: the scanner refused it or memory is short. */
bool tokens_read(const void *talloc_parent, const char *text, struct tokens *);

/* Index of the first token that starts at `offset` or behind it; n if there is none. */
size_t tokens_at(const struct tokens *, int offset);

/* Is token i this word (lower case given), unquoted? False behind the end. */
bool token_is(const char *text, const struct tokens *, size_t i, const char *word);

/* Index of the first token behind the clause that starts at token i: a comma or semicolon beside it, or
 * the parenthesis that closes around it. */
size_t tokens_clause_end(const struct tokens *, size_t i);

/* Bytes of an identifier token as the author means it: without quotes, doubled quotes counted once. */
size_t token_identifier_length(const char *text, const struct token *);

/* ---- the tree: libpg_query's JSON ------------------------------------------------------------------- */

const char *tree_text(const json_t *, const char *key); /* or NULL */
bool tree_true(const json_t *, const char *key);
int tree_number(const json_t *, const char *key, int otherwise);
json_t *tree_list(const json_t *, const char *key);  /* or NULL; json_array_* take that */
json_t *tree_child(const json_t *, const char *key); /* or NULL */
bool tree_is(const json_t *, const char *key, const char *value);

/* A node is {"Kind": {…}}: its kind ("" if it is none) and what is inside. */
const char *tree_kind(json_t *node, json_t **inside);

/* The child named so when it is a node of that kind; else NULL. */
json_t *tree_node(const json_t *, const char *key, const char *kind);

/* The text of a String node; NULL for another. */
const char *tree_string(json_t *node);

#endif

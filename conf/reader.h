/*
 * Inside the configuration room: what the steps of one load share.
 *
 * A load goes through four steps: encoding.c (is it UTF-8 text), document.c (YAML text to nodes), schema.c
 * with read.c (nodes to the snapshot), and the sections' own checks. All of them report into one list and go
 * on, so that every mistake is told at once; only a text that cannot be read as YAML ends a load early.
 *
 * Ownership: a reader lives on the stack of conf_load_text. What a snapshot points to is its talloc child.
 * The mistakes belong to the caller of conf_load. Bounds: the file, the nesting, the anchors, the items of a
 * list and the mistakes are limited, so that no file (aliases of aliases included: they are the same node
 * here, never copies) can cost more than a moment.
 */
#ifndef PGSLUICE_CONF_READER_H
#define PGSLUICE_CONF_READER_H

#include "conf/conf.h"

#include <yaml.h>

enum {
    READER_FILE = 1 << 20, /* bytes of a configuration */
    READER_DEPTH = 32,     /* mappings and lists inside one another */
    READER_ANCHORS = 1000,
    READER_ITEMS = 1000, /* of one list */
    READER_MISTAKES = 1000,
    READER_QUOTE = 96, /* room for a quoted word in a mistake */
};

/* Where in the configuration we are: a chain of keys and list positions that lives on the stack. */
struct place {
    const struct place *outer; /* NULL: the file itself */
    const char *key;           /* NULL: item `index` of a list */
    size_t index;
};

struct reader {
    yaml_document_t *document;
    struct conf *conf;
    struct conf_mistakes *mistakes;
    bool full; /* no further mistake is taken, so nothing more needs to be looked at */
};

/* mistakes.c. `place` may be NULL; line and column start at 1. */
void reader_mistake(struct reader *, unsigned line, unsigned column, const struct place *place,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));
void reader_mistake_at(struct reader *, const yaml_node_t *, const struct place *, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void reader_no_memory(struct reader *);
void reader_sort(struct reader *);
/* A word of the file, fit to be printed: control characters escaped, a long one cut. Returns `out`. */
const char *reader_quote(char out[READER_QUOTE], const char *text, size_t length);
/* The one of `words` that was probably meant, or NULL. */
const char *reader_nearest(const char *word, const char *const *words, size_t n);

/* encoding.c. False: a mistake was added. Steps over a byte order mark. */
bool encoding_check(struct reader *, const char **text, size_t *length);

/* document.c. False: a mistake was added and nothing is to be deleted. */
bool document_load(struct reader *, const char *text, size_t length, yaml_document_t *);
/* The value of a key of a mapping, or NULL. */
const yaml_node_t *document_child(struct reader *, const yaml_node_t *, const char *key);
const yaml_node_t *document_item(struct reader *, const yaml_node_t *list, size_t index);
bool document_is_null(const yaml_node_t *); /* "key:" with nothing behind it, "~", "null" */
bool document_is_word(const yaml_node_t *, const char *word);

/* pattern.c. NULL: `why` says what is wrong; else a child of `parent`. */
regex_t *pattern_compile(const void *parent, const char *pattern, char *why, size_t size);

/* units.c: the shortest exact spelling that conf_duration and conf_size read back. */
void unit_print_duration(FILE *, int64_t milliseconds);
void unit_print_size(FILE *, uint64_t bytes);

#endif

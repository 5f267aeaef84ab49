/*
 * The gate's simple model: what libpg_query, which holds PostgreSQL's own lexer and parser, says of a text.
 * Slow and with standard_conforming_strings on only, but right. Shared by the unit tests and the fuzzer.
 */
#ifndef PGSLUICE_TESTS_TEST_GATE_MODEL_H
#define PGSLUICE_TESTS_TEST_GATE_MODEL_H

#include "parser/gate.h"

enum { GATE_LIST_MAX = 128 };

/* What a gate said of a text. */
struct gate_list {
    struct gate_statement statements[GATE_LIST_MAX];
    size_t n;
    bool unterminated, backslash, high;
    uint64_t offset;
};

/* Feed a text in pieces: `cut` says how many of the `left` bytes come next (NULL: all). */
typedef size_t gate_cut(void *context, size_t left);
void gate_list_of(struct gate_list *, const uint8_t *text, size_t n, bool scs, enum text_encoding, gate_cut *,
                  void *context);

/* NULL, or how they differ (a static buffer). */
const char *gate_list_difference(const struct gate_list *, const struct gate_list *);

enum model_verdict {
    MODEL_AGREES,
    MODEL_REFUSES, /* the text isn't valid for PostgreSQL's lexer: nothing to compare */
    MODEL_DIFFERS  /* *why says how */
};

/* Compare a gate's list of a text (without NUL bytes, ended by one; scs on) with PostgreSQL's: statements
 * from the tokens and, where the text parses, from the parser, with what must be judged. `parsed` (or NULL):
 * whether it parsed. */
enum model_verdict gate_model_compare(const struct gate_list *, const char *text, const char **why,
                                      bool *parsed);

#endif

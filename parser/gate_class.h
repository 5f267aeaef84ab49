/*
 * Private to the gate: between the lexer (gate_lex.h), which finds tokens, and the part that follows a
 * statement's words (gate_class.c).
 */
#ifndef PGSLUICE_PARSER_GATE_CLASS_H
#define PGSLUICE_PARSER_GATE_CLASS_H

#include "parser/gate.h"

/* What is being looked for in the statement being read. The order counts: tokens other than words matter from
 * GATE_LEAD on, words from GATE_INTO on. */
enum gate_mode {
    GATE_SETTLED, /* nothing: its class is known */
    GATE_INTO,    /* a query: the word INTO */
    GATE_LEAD,    /* its first word */
    GATE_WITH,    /* WITH …: the word that leads the statement behind the list */
    GATE_EXPLAIN, /* EXPLAIN: CREATE, REFRESH, INTO */
    GATE_VACUUM,  /* VACUUM: FULL */
    GATE_PREPARE, /* PREPARE: TRANSACTION and a string */
    GATE_CREATE,  /* CREATE: FUNCTION or PROCEDURE */
    GATE_ROUTINE, /* CREATE FUNCTION: BEGIN ATOMIC */
    GATE_BODY     /* in such a body, at the start of a statement: END or CREATE */
};

enum gate_token { GATE_TOKEN_OPEN, GATE_TOKEN_CLOSE, GATE_TOKEN_QUOTED_NAME, GATE_TOKEN_OTHER };

/* A token was read that is no word. `depth` counts it already. */
void gate_class_token(struct gate *, enum gate_token);

/* A word was read: no prefix of a string, not quoted. */
void gate_class_word(struct gate *, const char *text, uint32_t length);

/* The statement being read has to be judged, whatever leads it. */
static inline void gate_class_judge(struct gate *gate)
{
    if (gate->class != GATE_DO)
        gate->class = GATE_DDL;
}

/* encoding.c: for a text in an encoding that is not ASCII-safe, feed `scan` with bytes that are lexically the
 * same in one that is. */
typedef size_t gate_scan_function(struct gate *, const uint8_t *text, size_t n, struct gate_statement *,
                                  bool *found);
size_t gate_scan_encoded(struct gate *, const uint8_t *text, size_t n, struct gate_statement *, bool *found,
                         gate_scan_function *scan);

/* gate_quote.c: is the next byte the one behind a backslash in a string? Is it in a string that knows
 * backslashes?
 */
bool gate_behind_backslash(const struct gate *);
bool gate_in_escape_string(const struct gate *);

#endif

/*
 * Private to the gate's lexer (gate.c, gate_token.c, gate_quote.c): its states, its table of bytes, and what
 * all of its parts do with a token.
 *
 * A state says where in a token the next byte stands, so that a text may be cut anywhere. The functions of
 * the states take the bytes [p, end), at least one, and return the place behind those that they consumed. One
 * that finds its token ended leaves the byte that told it to the next state, as scan.l does with yyless().
 *
 * Invariants: a function consumes a byte or changes the state, and no two states hand a byte to and fro, so
 * the scan ends and is linear. gate.last is the offset behind the last whole token. gate.class is GATE_EMPTY
 * just as long as no token of the statement was seen. Counters of 32 bits are enough: a message of the
 * protocol is shorter than 2^31 bytes.
 */
#ifndef PGSLUICE_PARSER_GATE_LEX_H
#define PGSLUICE_PARSER_GATE_LEX_H

#include "parser/gate_class.h"

/* A text that ends in a state from IN_STRING on is unterminated. */
enum gate_state {
    BETWEEN, /* tokens */
    IN_WORD, /* in a word that began in an earlier piece */
    IN_NUMBER,
    IN_PARAMETER,
    AT_POINT,    /* behind the point of a number: 1. or the operator of 1..2 */
    IN_FRACTION, /* where no further point belongs to the number */
    AT_EXPONENT, /* behind the e of a number: an exponent, or a word */
    AT_EXPONENT_PLUS,
    AT_EXPONENT_MINUS,
    IN_EXPONENT,
    AT_MINUS, /* behind '-': a comment or an operator */
    AT_SLASH, /* behind '/': the same */
    IN_LINE_COMMENT,
    AT_U_AMPERSAND, /* behind U&: a string, a quoted name, or an operator */
    AT_DOLLAR,      /* behind '$': a parameter or a dollar quote */
    IN_TAG,         /* in a dollar quote's opening tag */
    AT_QUOTE_END,   /* behind a quote that may be doubled */
    BEHIND_STRING,  /* it may go on behind a line end, which was not seen yet: 'a' … newline … 'b' */
    BEHIND_STRING_LINE,
    BEHIND_STRING_MINUS,
    BEHIND_STRING_COMMENT,
    IN_STRING,
    AT_BACKSLASH, /* behind one, in a string that knows them */
    IN_NAME,      /* a quoted one */
    IN_BODY,      /* of a dollar quote */
    AT_BODY_DOLLAR,
    IN_BODY_TAG, /* what may be its closing tag */
    IN_COMMENT,
    AT_COMMENT_STAR,
    AT_COMMENT_SLASH
};

enum gate_quote {
    QUOTE_STANDARD, /* '…' */
    QUOTE_LEGACY,   /* '…' with standard_conforming_strings off */
    QUOTE_ESCAPE,   /* E'…' */
    QUOTE_BITS,     /* B'…' X'…' */
    QUOTE_UNICODE   /* U&'…' */
};

/* ---- bytes ------------------------------------------------------------------------------------------ */

enum gate_byte {
    BYTE_SPACE, /* \v counts from PostgreSQL 16 on; before, it is an error outside of quotes */
    BYTE_OTHER, /* operators, punctuation, and what no token may start with */
    BYTE_LETTER,
    BYTE_DIGIT,
    BYTE_OPEN,
    BYTE_CLOSE,
    BYTE_SEMICOLON,
    BYTE_QUOTE,
    BYTE_DOUBLE_QUOTE,
    BYTE_MINUS,
    BYTE_SLASH,
    BYTE_DOLLAR,
    BYTE_KIND = 0x0f, /* the bits that hold one of these */
    BYTE_IN_WORD = 0x10,
    BYTE_IN_TAG = 0x20,
    BYTE_HIGH = 0x40
};

extern const uint8_t gate_bytes[256];

static inline unsigned byte_kind(uint8_t byte)
{
    return gate_bytes[byte] & BYTE_KIND;
}

/* The first a or b, or `end`. Notes a byte of 0x80 or above on the way. */
const uint8_t *gate_find(struct gate *, const uint8_t *p, const uint8_t *end, uint8_t a, uint8_t b);

/* ---- tokens ----------------------------------------------------------------------------------------- */

static inline uint64_t offset_of(const struct gate *gate, const uint8_t *p)
{
    return gate->base + (uintptr_t)p;
}

/* A token starts at `offset`. */
static inline void token_opens(struct gate *gate, uint64_t offset)
{
    if (gate->class != GATE_EMPTY)
        return;
    gate->class = GATE_OTHER;
    gate->start = offset;
}

static inline void token_read(struct gate *gate, enum gate_token token, uint64_t offset)
{
    token_opens(gate, offset);
    if (gate->mode >= GATE_LEAD)
        gate_class_token(gate, token);
}

/* The single byte in front of `end` was an operator after all. */
static inline void operator_read(struct gate *gate, uint64_t end)
{
    token_read(gate, GATE_TOKEN_OTHER, end - 1);
    gate->last = end;
    gate->state = BETWEEN;
}

void gate_word_read(struct gate *, const char *word, uint32_t length);

/* A word has ended in front of `end` and of the byte `next` (-1: the text's end). Its start was told to
 * token_opens() before. True if `next` was consumed: then the word was no word but the prefix of a string. */
bool gate_word_ends(struct gate *, const char *word, uint32_t length, int next, uint64_t end);

void gate_string_opens(struct gate *, enum gate_quote, uint64_t offset);
enum gate_quote gate_plain_quote(const struct gate *);

/* ---- states: gate_token.c --------------------------------------------------------------------------- */

const uint8_t *gate_in_number(struct gate *, const uint8_t *p, const uint8_t *end);
const uint8_t *gate_at_point(struct gate *, const uint8_t *p);
const uint8_t *gate_at_exponent(struct gate *, const uint8_t *p);
const uint8_t *gate_at_minus(struct gate *, const uint8_t *p);
const uint8_t *gate_at_slash(struct gate *, const uint8_t *p);
const uint8_t *gate_in_line_comment(struct gate *, const uint8_t *p, const uint8_t *end,
                                    enum gate_state next);
const uint8_t *gate_in_comment(struct gate *, const uint8_t *p, const uint8_t *end);
const uint8_t *gate_at_comment_star(struct gate *, const uint8_t *p);
const uint8_t *gate_at_comment_slash(struct gate *, const uint8_t *p);
const uint8_t *gate_at_u_ampersand(struct gate *, const uint8_t *p);

/* The text has ended in the midst of a token. */
void gate_token_cut(struct gate *);

/* ---- states: gate_quote.c --------------------------------------------------------------------------- */

const uint8_t *gate_in_name(struct gate *, const uint8_t *p, const uint8_t *end);
const uint8_t *gate_in_string(struct gate *, const uint8_t *p, const uint8_t *end);
const uint8_t *gate_at_backslash(struct gate *, const uint8_t *p);
const uint8_t *gate_at_quote_end(struct gate *, const uint8_t *p);
const uint8_t *gate_behind_string(struct gate *, const uint8_t *p, const uint8_t *end);
const uint8_t *gate_behind_string_minus(struct gate *, const uint8_t *p);
const uint8_t *gate_at_dollar(struct gate *, const uint8_t *p);
const uint8_t *gate_in_tag(struct gate *, const uint8_t *p, const uint8_t *end);
const uint8_t *gate_in_body(struct gate *, const uint8_t *p, const uint8_t *end);
const uint8_t *gate_at_body_dollar(struct gate *, const uint8_t *p);
const uint8_t *gate_in_body_tag(struct gate *, const uint8_t *p, const uint8_t *end);

#endif

/*
 * The gate's lexer: numbers, operators, comments, and which bytes are which.
 */
#include "parser/gate_lex.h"

#include <string.h>

/* clang-format off */
#define A (BYTE_LETTER | BYTE_IN_WORD | BYTE_IN_TAG)
#define D (BYTE_DIGIT | BYTE_IN_WORD | BYTE_IN_TAG)
#define H (A | BYTE_HIGH)
#define O BYTE_OTHER
#define S BYTE_SPACE
#define H16 H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H
const uint8_t gate_bytes[256] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O,
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, BYTE_DOUBLE_QUOTE, O, BYTE_DOLLAR | BYTE_IN_WORD, O, O, BYTE_QUOTE,
    BYTE_OPEN, BYTE_CLOSE, O, O, O, BYTE_MINUS, O, BYTE_SLASH,
    D, D, D, D, D, D, D, D, D, D, O, BYTE_SEMICOLON, O, O, O, O,
    O, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
    A, A, A, A, A, A, A, A, A, A, A, O, O, O, O, A,
    O, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
    A, A, A, A, A, A, A, A, A, A, A, O, O, O, O, O,
    H16, H16, H16, H16, H16, H16, H16, H16,
};
#undef A
#undef D
#undef H
#undef O
#undef S
#undef H16
/* clang-format on */

#define EACH_BYTE(x) (UINT64_C(0x0101010101010101) * (x))

static inline uint64_t has_zero(uint64_t word)
{
    return (word - EACH_BYTE(0x01)) & ~word & EACH_BYTE(0x80);
}

const uint8_t *gate_find(struct gate *gate, const uint8_t *p, const uint8_t *end, uint8_t a, uint8_t b)
{
    uint64_t seen = 0;
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        if (has_zero(word ^ EACH_BYTE(a)) | has_zero(word ^ EACH_BYTE(b)))
            break;
        seen |= word;
        p += sizeof word;
    }
    for (; p < end && *p != a && *p != b; p++)
        seen |= *p;
    if (seen & EACH_BYTE(0x80))
        gate->high = true;
    return p;
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

/* As PostgreSQL 13 and 14 read them: a number ends where it can't go on, and a word may follow at once, so
 * 1e5INTO is a number and INTO. Later versions refuse any number that a letter or '_' follows, but for forms
 * (0x1f, 1_000) that 13 reads as a number and a name: for us that comes to the same. */

static void number_ends(struct gate *gate, uint64_t end)
{
    gate->last = end;
    gate->state = BETWEEN;
}

/* Digits of a number, its fraction, its exponent, or a parameter. */
const uint8_t *gate_in_number(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    while (p < end && byte_kind(*p) == BYTE_DIGIT)
        p++;
    if (p == end)
        return p;
    bool whole = gate->state == IN_NUMBER;
    if (whole && *p == '.') {
        gate->state = AT_POINT;
        return p + 1;
    }
    if ((whole || gate->state == IN_FRACTION) && (*p | 0x20) == 'e') {
        gate->word[0] = (char)*p;
        gate->last = offset_of(gate, p);
        gate->state = AT_EXPONENT;
        return p + 1;
    }
    number_ends(gate, offset_of(gate, p));
    return p;
}

const uint8_t *gate_at_point(struct gate *gate, const uint8_t *p)
{
    if (*p != '.') {
        gate->state = IN_FRACTION;
        return p;
    }
    number_ends(gate, offset_of(gate, p + 1));
    return p + 1;
}

/* Behind e, e+ or e-: without a digit here the number ended in front of the e, which is a word or starts one.
 */
const uint8_t *gate_at_exponent(struct gate *gate, const uint8_t *p)
{
    enum gate_state state = gate->state;
    if (byte_kind(*p) == BYTE_DIGIT) {
        gate->state = IN_EXPONENT;
        return p;
    }
    if (state == AT_EXPONENT && (*p == '+' || *p == '-')) {
        gate->state = *p == '+' ? AT_EXPONENT_PLUS : AT_EXPONENT_MINUS;
        return p + 1;
    }
    if (state == AT_EXPONENT) {
        gate->word_length = 1;
        gate->state = IN_WORD;
        return p;
    }
    gate_word_read(gate, "e", 1);
    gate->last = offset_of(gate, p) - 1;
    if (state == AT_EXPONENT_MINUS)
        gate->state = AT_MINUS;
    else
        operator_read(gate, offset_of(gate, p));
    return p;
}

/* ---- operators and comments ------------------------------------------------------------------------- */

/* Comments win over operators wherever they start (scan.l, rule "operator"), so a pair of bytes tells. */
const uint8_t *gate_at_minus(struct gate *gate, const uint8_t *p)
{
    if (*p != '-') {
        operator_read(gate, offset_of(gate, p));
        return p;
    }
    gate->state = IN_LINE_COMMENT;
    return p + 1;
}

const uint8_t *gate_at_slash(struct gate *gate, const uint8_t *p)
{
    if (*p != '*') {
        operator_read(gate, offset_of(gate, p));
        return p;
    }
    gate->comment_depth = 1;
    gate->state = IN_COMMENT;
    return p + 1;
}

const uint8_t *gate_in_line_comment(struct gate *gate, const uint8_t *p, const uint8_t *end,
                                    enum gate_state next)
{
    p = gate_find(gate, p, end, '\n', '\r');
    if (p == end)
        return p;
    gate->state = (uint8_t)next;
    return p + 1;
}

const uint8_t *gate_in_comment(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    p = gate_find(gate, p, end, '*', '/');
    if (p == end)
        return p;
    gate->state = *p == '*' ? AT_COMMENT_STAR : AT_COMMENT_SLASH;
    return p + 1;
}

const uint8_t *gate_at_comment_star(struct gate *gate, const uint8_t *p)
{
    if (*p == '*')
        return p + 1;
    gate->state = IN_COMMENT;
    if (*p != '/')
        return p;
    if (--gate->comment_depth == 0)
        gate->state = BETWEEN;
    return p + 1;
}

const uint8_t *gate_at_comment_slash(struct gate *gate, const uint8_t *p)
{
    if (*p == '/')
        return p + 1;
    gate->state = IN_COMMENT;
    if (*p != '*')
        return p;
    gate->comment_depth++;
    return p + 1;
}

const uint8_t *gate_at_u_ampersand(struct gate *gate, const uint8_t *p)
{
    if (*p == '\'') {
        gate_string_opens(gate, QUOTE_UNICODE, gate->start);
        return p + 1;
    }
    if (*p == '"') {
        token_read(gate, GATE_TOKEN_QUOTED_NAME, gate->start);
        gate->state = IN_NAME;
        return p + 1;
    }
    gate_word_read(gate, "u", 1);
    operator_read(gate, offset_of(gate, p));
    return p;
}

/* ---- the text's end --------------------------------------------------------------------------------- */

void gate_token_cut(struct gate *gate)
{
    switch ((enum gate_state)gate->state) {
    case IN_WORD:
        gate_word_ends(gate, gate->word, gate->word_length, -1, gate->offset);
        break;
    case IN_TAG:
        gate_word_ends(gate, gate->tag, gate->tag_length, -1, gate->offset);
        break;
    case AT_EXPONENT:
        gate_word_ends(gate, "e", 1, -1, gate->offset);
        break;
    case AT_U_AMPERSAND:
        gate_word_read(gate, "u", 1);
        operator_read(gate, gate->offset);
        break;
    case AT_EXPONENT_PLUS:
    case AT_EXPONENT_MINUS:
        gate_word_read(gate, "e", 1);
        operator_read(gate, gate->offset);
        break;
    case AT_MINUS:
    case AT_SLASH:
    case BEHIND_STRING_MINUS:
        operator_read(gate, gate->offset);
        break;
    case IN_NUMBER:
    case IN_PARAMETER:
    case AT_POINT:
    case IN_FRACTION:
    case IN_EXPONENT:
    case IN_STRING:
    case AT_BACKSLASH:
    case IN_NAME:
    case IN_BODY:
    case AT_BODY_DOLLAR:
    case IN_BODY_TAG:
        gate->last = gate->offset;
        break;
    default:
        break;
    }
}

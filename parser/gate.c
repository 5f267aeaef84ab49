/*
 * The gate: the scan itself, words, and where statements end. between() is the hot path: white space, words,
 * punctuation and numbers are passed without leaving it. See gate_lex.h for the rules of the states.
 */
#include "parser/gate_lex.h"

#include <string.h>

void gate_init(struct gate *gate, bool scs, enum text_encoding encoding)
{
    /* member by member: `word` and `tag` need no clearing, and this stands in the way of every query */
    gate->offset = gate->start = gate->last = gate->base = 0;
    gate->tag_hash = gate->match_hash = 0;
    gate->words = 0;
    gate->index = 0;
    gate->depth = gate->with_depth = gate->comment_depth = gate->atomic_depth = 0;
    gate->word_length = gate->tag_length = gate->match_length = 0;
    gate->state = BETWEEN;
    gate->quote = QUOTE_STANDARD;
    gate->mode = GATE_LEAD;
    gate->step = 0;
    gate->class = GATE_EMPTY;
    gate->backslash = gate->high = gate->executes = gate->match_fails = gate->tag_unsure = false;
    gate->standard_conforming_strings = scs;
    gate->encoding = (uint8_t)encoding;
    gate->trail = 0;
}

/* ---- words ------------------------------------------------------------------------------------------ */

static inline bool is_into(const char *word)
{
    static const char into[4] = {'i', 'n', 't', 'o'};
    uint32_t a, b;
    memcpy(&a, word, sizeof a);
    memcpy(&b, into, sizeof b);
    return (a | UINT32_C(0x20202020)) == b; /* folds as gate_class.c does */
}

static inline void word_read(struct gate *gate, const char *word, uint32_t length)
{
    gate->words += gate->words != UINT32_MAX;
    if (gate->mode == GATE_SETTLED || (gate->mode == GATE_INTO && (length != 4 || !is_into(word))))
        return;
    gate_class_word(gate, word, length);
}

void gate_word_read(struct gate *gate, const char *word, uint32_t length)
{
    word_read(gate, word, length);
}

/* A word of one letter in front of ' or &. */
static bool prefix_read(struct gate *gate, char letter, int next, uint64_t end)
{
    letter |= 0x20;
    if (next == '&' && letter == 'u') {
        gate->state = AT_U_AMPERSAND;
        return true;
    }
    if (next != '\'' || (letter != 'e' && letter != 'b' && letter != 'x'))
        return false; /* N'…' is the word NCHAR and a plain string */
    gate_string_opens(gate, letter == 'e' ? QUOTE_ESCAPE : QUOTE_BITS, end - 1);
    return true;
}

static inline bool word_ends(struct gate *gate, const char *word, uint32_t length, int next, uint64_t end)
{
    gate->last = end;
    if (length == 1 && (next == '\'' || next == '&') && prefix_read(gate, word[0], next, end))
        return true;
    word_read(gate, word, length);
    return false;
}

bool gate_word_ends(struct gate *gate, const char *word, uint32_t length, int next, uint64_t end)
{
    gate->state = BETWEEN;
    return word_ends(gate, word, length, next, end);
}

static const uint8_t *skip_word(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    uint8_t seen = 0;
    while (p < end && gate_bytes[*p] & BYTE_IN_WORD)
        seen |= gate_bytes[*p++];
    gate->high |= (seen & BYTE_HIGH) != 0;
    return p;
}

/* A word that may have begun, or may end, in another piece: its start is kept. */
static const uint8_t *in_word(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from = p;
    p = skip_word(gate, p, end);
    size_t length = (size_t)(p - from);
    if (gate->word_length < sizeof gate->word) {
        size_t room = sizeof gate->word - gate->word_length;
        memcpy(gate->word + gate->word_length, from, length < room ? length : room);
    }
    gate->word_length += (uint32_t)length;
    if (p == end)
        return p;
    return p + gate_word_ends(gate, gate->word, gate->word_length, *p, offset_of(gate, p));
}

static inline const uint8_t *new_word(struct gate *gate, const uint8_t *from, const uint8_t *end)
{
    token_opens(gate, offset_of(gate, from));
    const uint8_t *p = skip_word(gate, from, end);
    if (p == end) {
        gate->word_length = 0;
        gate->state = IN_WORD;
        return in_word(gate, from, end);
    }
    return p + word_ends(gate, (const char *)from, (uint32_t)(p - from), *p, offset_of(gate, p));
}

/* ---- statements ------------------------------------------------------------------------------------- */

/* True if the statement ends here and is not empty. */
static bool semicolon(struct gate *gate, uint64_t offset, struct gate_statement *statement)
{
    if (gate->depth == 0 && gate->atomic_depth == 0) {
        if (gate->class == GATE_EMPTY)
            return false;
        *statement = (struct gate_statement){gate->start, gate->last, gate->class, gate->index++};
        gate->class = GATE_EMPTY;
        gate->mode = GATE_LEAD;
        gate->words = 0;
        return true;
    }
    /* CREATE RULE … DO (a; b), or a function's body */
    token_read(gate, GATE_TOKEN_OTHER, offset);
    gate->last = offset + 1;
    if (gate->depth == 0) {
        gate->mode = GATE_BODY;
        gate->step = 0;
    }
    return false;
}

static const uint8_t *between(struct gate *gate, const uint8_t *p, const uint8_t *end,
                              struct gate_statement *statement, bool *found)
{
    while (p < end) {
        uint64_t here = offset_of(gate, p);
        switch ((enum gate_byte)byte_kind(*p)) {
        case BYTE_SPACE:
            p++;
            continue;
        case BYTE_LETTER:
            p = new_word(gate, p, end);
            if (gate->state != BETWEEN)
                return p;
            continue;
        case BYTE_DIGIT:
            token_read(gate, GATE_TOKEN_OTHER, here);
            gate->state = IN_NUMBER;
            p = gate_in_number(gate, p, end);
            if (gate->state != BETWEEN)
                return p;
            continue;
        case BYTE_OPEN:
            gate->depth++;
            token_read(gate, GATE_TOKEN_OPEN, here);
            break;
        case BYTE_CLOSE:
            gate->depth -= gate->depth > 0;
            token_read(gate, GATE_TOKEN_CLOSE, here);
            break;
        case BYTE_SEMICOLON:
            *found = semicolon(gate, here, statement);
            p++;
            if (*found)
                return p;
            continue;
        case BYTE_QUOTE:
            gate_string_opens(gate, gate_plain_quote(gate), here);
            return p + 1;
        case BYTE_DOUBLE_QUOTE:
            token_read(gate, GATE_TOKEN_QUOTED_NAME, here);
            gate->state = IN_NAME;
            return p + 1;
        case BYTE_MINUS:
            gate->state = AT_MINUS;
            return p + 1;
        case BYTE_SLASH:
            gate->state = AT_SLASH;
            return p + 1;
        case BYTE_DOLLAR:
            gate->state = AT_DOLLAR;
            token_read(gate, GATE_TOKEN_OTHER, here);
            gate->last = here + 1;
            return p + 1;
        default:
            token_read(gate, GATE_TOKEN_OTHER, here);
        }
        gate->last = here + 1;
        p++;
    }
    return p;
}

/* ---- the scan --------------------------------------------------------------------------------------- */

static inline const uint8_t *advance(struct gate *gate, const uint8_t *p, const uint8_t *end,
                                     struct gate_statement *statement, bool *found)
{
    switch ((enum gate_state)gate->state) {
    case BETWEEN:
        return between(gate, p, end, statement, found);
    case IN_WORD:
        return in_word(gate, p, end);
    case IN_NUMBER:
    case IN_PARAMETER:
    case IN_FRACTION:
    case IN_EXPONENT:
        return gate_in_number(gate, p, end);
    case AT_POINT:
        return gate_at_point(gate, p);
    case AT_EXPONENT:
    case AT_EXPONENT_PLUS:
    case AT_EXPONENT_MINUS:
        return gate_at_exponent(gate, p);
    case AT_MINUS:
        return gate_at_minus(gate, p);
    case AT_SLASH:
        return gate_at_slash(gate, p);
    case IN_LINE_COMMENT:
        return gate_in_line_comment(gate, p, end, BETWEEN);
    case AT_U_AMPERSAND:
        return gate_at_u_ampersand(gate, p);
    case AT_DOLLAR:
        return gate_at_dollar(gate, p);
    case IN_TAG:
        return gate_in_tag(gate, p, end);
    case AT_QUOTE_END:
        return gate_at_quote_end(gate, p);
    case BEHIND_STRING:
    case BEHIND_STRING_LINE:
        return gate_behind_string(gate, p, end);
    case BEHIND_STRING_MINUS:
        return gate_behind_string_minus(gate, p);
    case BEHIND_STRING_COMMENT:
        return gate_in_line_comment(gate, p, end, BEHIND_STRING_LINE);
    case IN_STRING:
        return gate_in_string(gate, p, end);
    case AT_BACKSLASH:
        return gate_at_backslash(gate, p);
    case IN_NAME:
        return gate_in_name(gate, p, end);
    case IN_BODY:
        return gate_in_body(gate, p, end);
    case AT_BODY_DOLLAR:
        return gate_at_body_dollar(gate, p);
    case IN_BODY_TAG:
        return gate_in_body_tag(gate, p, end);
    case IN_COMMENT:
        return gate_in_comment(gate, p, end);
    case AT_COMMENT_STAR:
        return gate_at_comment_star(gate, p);
    case AT_COMMENT_SLASH:
        return gate_at_comment_slash(gate, p);
    }
    __builtin_unreachable();
}

static size_t scan(struct gate *gate, const uint8_t *text, size_t n, struct gate_statement *statement,
                   bool *found)
{
    const uint8_t *p = text, *end = text + n;
    gate->base = gate->offset - (uintptr_t)text;
    *found = false;
    while (p < end && !*found)
        p = advance(gate, p, end, statement, found);
    gate->offset += (uint64_t)(p - text);
    return (size_t)(p - text);
}

size_t gate_scan(struct gate *gate, const uint8_t *text, size_t n, struct gate_statement *statement,
                 bool *found)
{
    if (gate->encoding != TEXT_ASCII_SAFE)
        return gate_scan_encoded(gate, text, n, statement, found, scan);
    return scan(gate, text, n, statement, found);
}

bool gate_finish(struct gate *gate, struct gate_statement *statement, bool *unterminated)
{
    bool open = gate->state >= IN_STRING;
    gate_token_cut(gate);
    if (unterminated)
        *unterminated = open;
    if (gate->class == GATE_EMPTY)
        return false;
    *statement = (struct gate_statement){gate->start, gate->last, gate->class, gate->index};
    gate->class = GATE_EMPTY; /* none is open any more: said once, also to who asks again */
    return true;
}

bool gate_class_judged(enum gate_class class)
{
    return class == GATE_DDL || class == GATE_DO;
}

bool gate_pending_judged(const struct gate *gate)
{
    return gate_class_judged(gate->class);
}

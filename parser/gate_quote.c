/*
 * The gate's lexer: strings of all kinds, quoted names, dollar quotes.
 */
#include "parser/gate_lex.h"

const uint8_t *gate_in_name(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    /* A doubled quote inside needs no state: it ends one name and starts the next, at the same places. */
    p = gate_find(gate, p, end, '"', '"');
    if (p == end)
        return p;
    gate->last = offset_of(gate, ++p);
    gate->state = BETWEEN;
    return p;
}

/* ---- strings ---------------------------------------------------------------------------------------- */

enum gate_quote gate_plain_quote(const struct gate *gate)
{
    return gate->standard_conforming_strings ? QUOTE_STANDARD : QUOTE_LEGACY;
}

void gate_string_opens(struct gate *gate, enum gate_quote kind, uint64_t offset)
{
    token_read(gate, GATE_TOKEN_OTHER, offset);
    gate->quote = (uint8_t)kind;
    gate->state = IN_STRING;
}

const uint8_t *gate_in_string(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    /* in a standard string a backslash means nothing; the first one is noted */
    bool look = gate->quote == QUOTE_LEGACY || gate->quote == QUOTE_ESCAPE ||
                (gate->quote == QUOTE_STANDARD && !gate->backslash);
    while ((p = gate_find(gate, p, end, '\'', look ? '\\' : '\'')) < end) {
        if (*p++ == '\'') {
            gate->last = offset_of(gate, p);
            gate->state = AT_QUOTE_END;
            break;
        }
        gate->backslash |= gate->quote != QUOTE_ESCAPE;
        if (gate->quote != QUOTE_STANDARD) {
            gate->state = AT_BACKSLASH;
            break;
        }
        look = false;
    }
    return p;
}

const uint8_t *gate_at_backslash(struct gate *gate, const uint8_t *p)
{
    /* what a longer escape (\x27, \u0027) has further on is no quote and no backslash */
    gate->high |= *p >= 0x80;
    gate->state = IN_STRING;
    return p + 1;
}

const uint8_t *gate_at_quote_end(struct gate *gate, const uint8_t *p)
{
    if (*p != '\'') {
        gate->state = BEHIND_STRING;
        return p;
    }
    if (gate->quote == QUOTE_BITS) /* no doubling there: another string follows */
        gate->quote = (uint8_t)gate_plain_quote(gate);
    gate->state = IN_STRING;
    return p + 1;
}

/* scan.l, "quotecontinue": white space and comments of the kind "--" (no others) with a line end among them.
 */
const uint8_t *gate_behind_string(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    for (; p < end; p++) {
        if (*p == '\n' || *p == '\r') {
            gate->state = BEHIND_STRING_LINE;
            continue;
        }
        if (byte_kind(*p) == BYTE_SPACE)
            continue;
        if (*p == '-') {
            gate->state = BEHIND_STRING_MINUS;
            return p + 1;
        }
        if (*p == '\'' && gate->state == BEHIND_STRING_LINE) {
            gate->state = IN_STRING; /* of the same kind */
            return p + 1;
        }
        gate->state = BETWEEN;
        return p;
    }
    return p;
}

const uint8_t *gate_behind_string_minus(struct gate *gate, const uint8_t *p)
{
    if (*p != '-') {
        operator_read(gate, offset_of(gate, p));
        return p;
    }
    gate->state = BEHIND_STRING_COMMENT;
    return p + 1;
}

bool gate_in_escape_string(const struct gate *gate)
{
    return gate->state == AT_BACKSLASH ||
           (gate->state == IN_STRING && (gate->quote == QUOTE_ESCAPE || gate->quote == QUOTE_LEGACY));
}

bool gate_behind_backslash(const struct gate *gate)
{
    return gate->state == AT_BACKSLASH;
}

/* ---- dollar quotes ---------------------------------------------------------------------------------- */

static uint64_t hash_step(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

const uint8_t *gate_at_dollar(struct gate *gate, const uint8_t *p)
{
    gate->tag_length = 0;
    gate->tag_hash = 0;
    gate->tag_unsure = false;
    if (*p == '$') {
        gate->state = IN_BODY;
        return p + 1;
    }
    unsigned kind = byte_kind(*p);
    gate->state = kind == BYTE_LETTER ? IN_TAG : kind == BYTE_DIGIT ? IN_PARAMETER : BETWEEN;
    return p;
}

const uint8_t *gate_in_tag(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    for (; p < end && gate_bytes[*p] & BYTE_IN_TAG; p++) {
        if (gate->tag_length < sizeof gate->tag)
            gate->tag[gate->tag_length] = (char)*p;
        gate->tag_length++;
        gate->tag_hash = hash_step(gate->tag_hash, *p);
        gate->tag_unsure |= *p >= 0x80 || gate->tag_length > sizeof gate->tag;
        gate->high |= *p >= 0x80;
    }
    if (p == end)
        return p;
    if (*p != '$') /* a stray '$' and a word: a syntax error, always */
        return p + gate_word_ends(gate, gate->tag, gate->tag_length, *p, offset_of(gate, p));
    /* Two tags that differ here may be one for the server (some encodings have two codes for one character),
     * and two long ones with the same hash are two for the server. Where we take the wrong '$' for the end,
     * the statement as we cut it is not one valid statement: so it is given to the parser. */
    if (gate->tag_unsure)
        gate_class_judge(gate);
    gate->state = IN_BODY;
    return p + 1;
}

const uint8_t *gate_in_body(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    p = gate_find(gate, p, end, '$', '$');
    if (p == end)
        return p;
    gate->state = AT_BODY_DOLLAR;
    return p + 1;
}

static const uint8_t *body_ends(struct gate *gate, const uint8_t *p)
{
    gate->last = offset_of(gate, ++p);
    gate->state = BETWEEN;
    return p;
}

const uint8_t *gate_at_body_dollar(struct gate *gate, const uint8_t *p)
{
    if (*p == '$')
        return gate->tag_length == 0 ? body_ends(gate, p) : p + 1;
    gate->state = byte_kind(*p) == BYTE_LETTER ? IN_BODY_TAG : IN_BODY;
    gate->match_length = 0;
    gate->match_hash = 0;
    gate->match_fails = false;
    return p;
}

/* scan.l, <xdolq>{dolqdelim}: a tag that isn't the one gives its second '$' back, which may open the right
 * one. */
const uint8_t *gate_in_body_tag(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    for (; p < end && gate_bytes[*p] & BYTE_IN_TAG; p++) {
        if (gate->match_length < sizeof gate->tag && gate->tag[gate->match_length] != (char)*p)
            gate->match_fails = true;
        gate->match_length++;
        gate->match_hash = hash_step(gate->match_hash, *p);
        gate->high |= *p >= 0x80;
    }
    if (p == end)
        return p;
    if (*p != '$') {
        gate->state = IN_BODY;
        return p;
    }
    if (!gate->match_fails && gate->match_length == gate->tag_length && gate->match_hash == gate->tag_hash)
        return body_ends(gate, p);
    gate->state = AT_BODY_DOLLAR;
    return p + 1;
}

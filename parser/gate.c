/*
 * The gate's lexer: tokens as PostgreSQL's scan.l cuts them, as far as that decides where a statement ends.
 *
 * A state says where in a token the next byte stands, so a text may be cut anywhere. Each state has a
 * function that consumes what it can and returns the place behind it; between() holds the hot path: white
 * space, words and operators are passed without leaving it. A function that finds that its token has ended
 * leaves the byte that told it to the next state, as scan.l does with yyless().
 *
 * Invariants: every function consumes a byte or changes the state, and no two states hand a byte to and fro,
 * so the scan ends and is linear. `last` is the offset behind the last whole token. gate.class is GATE_EMPTY
 * just as long as no token of the statement was seen.
 *
 * Counters of 32 bits are enough: a message of the protocol is shorter than 2^31 bytes.
 */
#include "parser/gate_class.h"

#include <string.h>

/* Those from QUOTED on mean, when the text ends in them, that it is unterminated. */
enum state {
    BETWEEN, /* tokens */
    WORD,    /* in a word that began in an earlier piece */
    DASH,    /* behind '-': a comment or an operator */
    SLASH,   /* behind '/': the same */
    LINE_COMMENT,
    U_AMPERSAND,    /* behind U&: a string, a quoted name, or an operator */
    DOLLAR,         /* behind '$': a parameter or a dollar quote */
    TAG,            /* in a dollar quote's opening tag */
    QUOTE_END,      /* behind a quote that may be doubled */
    CONTINUED,      /* behind a string, no line end since: … newline … 'and it goes on' */
    CONTINUED_LINE, /* the same, a line end was seen */
    CONTINUED_DASH,
    CONTINUED_COMMENT,
    QUOTED,      /* in a string */
    BACKSLASH,   /* behind a backslash in one that knows them */
    NAME,        /* in a quoted name */
    BODY,        /* in a dollar quote */
    BODY_DOLLAR, /* behind a '$' there */
    BODY_TAG,    /* in what may be its closing tag */
    COMMENT,
    COMMENT_STAR,
    COMMENT_SLASH
};

enum quote {
    QUOTE_STANDARD, /* '…' */
    QUOTE_LEGACY,   /* '…' with standard_conforming_strings off */
    QUOTE_ESCAPE,   /* E'…' */
    QUOTE_BITS,     /* B'…' X'…' */
    QUOTE_UNICODE   /* U&'…' */
};

/* ---- bytes ------------------------------------------------------------------------------------------ */

enum {
    SPACE = 0, /* \v counts from PostgreSQL 16 on; before, it is an error outside of quotes */
    OTHER,     /* operators, digits, punctuation, and what no token may start with */
    LETTER,
    OPEN,
    CLOSE,
    SEMICOLON,
    QUOTE,
    DOUBLE_QUOTE,
    MINUS,
    SOLIDUS,
    DOLLAR_SIGN,
    KIND = 0x0f, /* the bits that hold one of these */
    IN_WORD = 0x10,
    IN_TAG = 0x20,
    HIGH = 0x40
};

#define A   (LETTER | IN_WORD | IN_TAG)
#define D   (OTHER | IN_WORD | IN_TAG)
#define H   (LETTER | IN_WORD | IN_TAG | HIGH)
#define O   OTHER
#define S   SPACE
#define H16 H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H
static const uint8_t bytes[256] = {
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    S,
    S,
    S,
    S,
    S,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    O,
    S,
    O,
    DOUBLE_QUOTE,
    O,
    DOLLAR_SIGN | IN_WORD,
    O,
    O,
    QUOTE,
    OPEN,
    CLOSE,
    O,
    O,
    O,
    MINUS,
    O,
    SOLIDUS,
    D,
    D,
    D,
    D,
    D,
    D,
    D,
    D,
    D,
    D,
    O,
    SEMICOLON,
    O,
    O,
    O,
    O,
    O,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    O,
    O,
    O,
    O,
    A,
    O,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    A,
    O,
    O,
    O,
    O,
    O,
    H16,
    H16,
    H16,
    H16,
    H16,
    H16,
    H16,
    H16,
};
#undef A
#undef D
#undef H
#undef O
#undef S
#undef H16

#define EACH_BYTE(x) (UINT64_C(0x0101010101010101) * (x))

static inline uint64_t has_zero(uint64_t word)
{
    return (word - EACH_BYTE(0x01)) & ~word & EACH_BYTE(0x80);
}

/* The first a or b, or `end`. Notes a byte of 0x80 or above on the way. */
static const uint8_t *find(struct gate *gate, const uint8_t *p, const uint8_t *end, uint8_t a, uint8_t b)
{
    uint64_t seen = 0;
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        if (has_zero(word ^ EACH_BYTE(a)) | has_zero(word ^ EACH_BYTE(b)))
            break;
        seen |= word;
        p += 8;
    }
    for (; p < end && *p != a && *p != b; p++)
        seen |= *p;
    if (seen & EACH_BYTE(0x80))
        gate->high = true;
    return p;
}

/* ---- tokens ----------------------------------------------------------------------------------------- */

static inline uint64_t offset_of(const struct gate *gate, const uint8_t *p)
{
    return gate->base + (uintptr_t)p;
}

/* A token starts here. */
static inline void open_token(struct gate *gate, uint64_t offset)
{
    if (gate->class != GATE_EMPTY)
        return;
    gate->class = GATE_OTHER;
    gate->start = offset;
}

static inline void token(struct gate *gate, enum gate_token token, uint64_t offset)
{
    open_token(gate, offset);
    if (gate->mode >= GATE_LEAD)
        gate_class_token(gate, token);
}

static inline bool is_into(const char *word)
{
    static const char into[4] = {'i', 'n', 't', 'o'};
    uint32_t a, b;
    memcpy(&a, word, sizeof a);
    memcpy(&b, into, sizeof b);
    return (a | UINT32_C(0x20202020)) == b;
}

static inline void word_read(struct gate *gate, const char *word, uint32_t length)
{
    gate->words += gate->words != UINT32_MAX;
    if (gate->mode == GATE_SETTLED || (gate->mode == GATE_INTO && (length != 4 || !is_into(word))))
        return;
    gate_class_word(gate, word, length);
}

static void open_string(struct gate *gate, enum quote kind, uint64_t offset)
{
    token(gate, GATE_TOKEN_OTHER, offset);
    gate->quote = (uint8_t)kind;
    gate->state = QUOTED;
}

static enum quote plain_quote(const struct gate *gate)
{
    return gate->standard_conforming_strings ? QUOTE_STANDARD : QUOTE_LEGACY;
}

/* The word's first byte was seen before (open_token). `next` is the byte behind it; true if that is a quote
 * and belongs to the word, which is no word then but the prefix of a string. */
static bool end_word(struct gate *gate, const char *word, uint32_t length, int next, uint64_t end)
{
    gate->last = end;
    gate->state = BETWEEN;
    if (length == 1 && (next == '\'' || next == '&')) {
        char letter = (char)(word[0] | 0x20);
        if (next == '&' && letter == 'u') {
            gate->state = U_AMPERSAND;
            return true;
        }
        if (next == '\'' && (letter == 'e' || letter == 'b' || letter == 'x')) {
            open_string(gate, letter == 'e' ? QUOTE_ESCAPE : QUOTE_BITS, end - 1);
            return true;
        }
    }
    word_read(gate, word, length);
    return false;
}

/* True if the statement ends here and is not empty. */
static bool semicolon(struct gate *gate, uint64_t offset, struct gate_statement *statement)
{
    if (gate->class == GATE_EMPTY)
        return false;
    if (gate->depth > 0 || gate->atomic_depth > 0) {
        /* CREATE RULE … DO (a; b), or a function's body */
        token(gate, GATE_TOKEN_OTHER, offset);
        gate->last = offset + 1;
        if (gate->depth == 0) {
            gate->mode = GATE_BODY;
            gate->step = 0;
        }
        return false;
    }
    *statement = (struct gate_statement){gate->start, gate->last, gate->class, gate->index++};
    gate->class = GATE_EMPTY;
    gate->mode = GATE_LEAD;
    gate->words = 0;
    return true;
}

/* ---- the states ------------------------------------------------------------------------------------- */

static const uint8_t *word(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from = p;
    uint8_t seen = 0;
    while (p < end && bytes[*p] & IN_WORD)
        seen |= bytes[*p++];
    gate->high |= (seen & HIGH) != 0;
    size_t room = gate->word_length < sizeof gate->word ? sizeof gate->word - gate->word_length : 0;
    size_t length = (size_t)(p - from);
    memcpy(gate->word + sizeof gate->word - room, from, length < room ? length : room);
    gate->word_length += (uint32_t)length;
    if (p < end)
        p += end_word(gate, gate->word, gate->word_length, *p, offset_of(gate, p));
    return p;
}

/* A word that starts here and most often ends in this piece. */
static inline const uint8_t *new_word(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    open_token(gate, offset_of(gate, p));
    const uint8_t *from = p;
    uint8_t seen = bytes[*p++];
    while (p < end && bytes[*p] & IN_WORD)
        seen |= bytes[*p++];
    gate->high |= (seen & HIGH) != 0;
    if (p == end) {
        gate->word_length = 0;
        gate->state = WORD;
        return word(gate, from, end);
    }
    return p + end_word(gate, (const char *)from, (uint32_t)(p - from), *p, offset_of(gate, p));
}

static const uint8_t *between(struct gate *gate, const uint8_t *p, const uint8_t *end,
                              struct gate_statement *statement, bool *found)
{
    while (p < end) {
        uint64_t here = offset_of(gate, p);
        switch (bytes[*p] & KIND) {
        case SPACE:
            p++;
            continue;
        case LETTER:
            p = new_word(gate, p, end);
            if (gate->state != BETWEEN)
                return p;
            continue;
        case OPEN:
            gate->depth++;
            token(gate, GATE_TOKEN_OPEN, here);
            break;
        case CLOSE:
            gate->depth -= gate->depth > 0;
            token(gate, GATE_TOKEN_CLOSE, here);
            break;
        case SEMICOLON:
            *found = semicolon(gate, here, statement);
            p++;
            if (*found)
                return p;
            continue;
        case QUOTE:
            open_string(gate, plain_quote(gate), here);
            return p + 1;
        case DOUBLE_QUOTE:
            token(gate, GATE_TOKEN_QUOTED_NAME, here);
            gate->state = NAME;
            return p + 1;
        case MINUS:
            gate->state = DASH;
            return p + 1;
        case SOLIDUS:
            gate->state = SLASH;
            return p + 1;
        case DOLLAR_SIGN:
            token(gate, GATE_TOKEN_OTHER, here);
            gate->last = here + 1;
            gate->state = DOLLAR;
            return p + 1;
        default:
            token(gate, GATE_TOKEN_OTHER, here);
        }
        gate->last = here + 1;
        p++;
    }
    return p;
}

/* A single byte before `end` was an operator after all. */
static void operator_read(struct gate *gate, uint64_t end)
{
    token(gate, GATE_TOKEN_OTHER, end - 1);
    gate->last = end;
    gate->state = BETWEEN;
}

/* Comments win over operators wherever they start (scan.l, rule "operator"): a pair of bytes tells. */
static const uint8_t *dash(struct gate *gate, const uint8_t *p)
{
    if (*p != '-') {
        operator_read(gate, offset_of(gate, p));
        return p;
    }
    gate->state = LINE_COMMENT;
    return p + 1;
}

static const uint8_t *slash(struct gate *gate, const uint8_t *p)
{
    if (*p != '*') {
        operator_read(gate, offset_of(gate, p));
        return p;
    }
    gate->comment_depth = 1;
    gate->state = COMMENT;
    return p + 1;
}

static const uint8_t *comment(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    p = find(gate, p, end, '*', '/');
    if (p == end)
        return p;
    gate->state = *p == '*' ? COMMENT_STAR : COMMENT_SLASH;
    return p + 1;
}

static const uint8_t *comment_star(struct gate *gate, const uint8_t *p)
{
    if (*p == '*')
        return p + 1;
    gate->state = COMMENT;
    if (*p != '/')
        return p;
    if (--gate->comment_depth == 0)
        gate->state = BETWEEN;
    return p + 1;
}

static const uint8_t *comment_slash(struct gate *gate, const uint8_t *p)
{
    if (*p == '/')
        return p + 1;
    gate->state = COMMENT;
    if (*p != '*')
        return p;
    gate->comment_depth++;
    return p + 1;
}

static const uint8_t *line_comment(struct gate *gate, const uint8_t *p, const uint8_t *end, enum state next)
{
    p = find(gate, p, end, '\n', '\r');
    if (p == end)
        return p;
    gate->state = (uint8_t)next;
    return p + 1;
}

static const uint8_t *u_ampersand(struct gate *gate, const uint8_t *p)
{
    if (*p == '\'') {
        open_string(gate, QUOTE_UNICODE, gate->start);
        return p + 1;
    }
    if (*p == '"') {
        token(gate, GATE_TOKEN_QUOTED_NAME, gate->start);
        gate->state = NAME;
        return p + 1;
    }
    word_read(gate, "u", 1);
    operator_read(gate, offset_of(gate, p));
    return p;
}

static const uint8_t *name(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    /* A doubled quote inside needs no state: it ends one name and starts the next, at the same places. */
    p = find(gate, p, end, '"', '"');
    if (p == end)
        return p;
    gate->last = offset_of(gate, ++p);
    gate->state = BETWEEN;
    return p;
}

/* ---- strings ---------------------------------------------------------------------------------------- */

static const uint8_t *quoted(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    bool backslashes = gate->quote <= QUOTE_ESCAPE && (gate->quote != QUOTE_STANDARD || !gate->backslash);
    while ((p = find(gate, p, end, '\'', backslashes ? '\\' : '\'')) < end) {
        if (*p++ == '\'') {
            gate->last = offset_of(gate, p);
            gate->state = QUOTE_END;
            break;
        }
        gate->backslash |= gate->quote != QUOTE_ESCAPE;
        if (gate->quote != QUOTE_STANDARD) {
            gate->state = BACKSLASH;
            break;
        }
        backslashes = false; /* seen once, of no more interest */
    }
    return p;
}

static const uint8_t *backslash(struct gate *gate, const uint8_t *p)
{
    gate->high |= *p >= 0x80;
    gate->state = QUOTED;
    return p + 1;
}

static const uint8_t *quote_end(struct gate *gate, const uint8_t *p)
{
    if (*p != '\'') {
        gate->state = CONTINUED;
        return p;
    }
    if (gate->quote == QUOTE_BITS) /* no doubling there: another string follows */
        gate->quote = (uint8_t)plain_quote(gate);
    gate->state = QUOTED;
    return p + 1;
}

/* scan.l, quotecontinue: white space and comments of the kind "--", with a line end among them. */
static const uint8_t *continued(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    for (; p < end; p++) {
        if (*p == '\n' || *p == '\r') {
            gate->state = CONTINUED_LINE;
        } else if ((bytes[*p] & KIND) != SPACE) {
            bool goes_on = *p == '\'' && gate->state == CONTINUED_LINE;
            gate->state = goes_on ? QUOTED : *p == '-' ? CONTINUED_DASH : BETWEEN;
            return p + (gate->state != BETWEEN);
        }
    }
    return p;
}

static const uint8_t *continued_dash(struct gate *gate, const uint8_t *p)
{
    if (*p != '-') {
        operator_read(gate, offset_of(gate, p));
        return p;
    }
    gate->state = CONTINUED_COMMENT;
    return p + 1;
}

/* ---- dollar quotes ---------------------------------------------------------------------------------- */

static uint64_t tag_hash(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

static const uint8_t *dollar(struct gate *gate, const uint8_t *p)
{
    gate->tag_length = 0;
    gate->tag_hash = 0;
    if (*p == '$') {
        gate->state = BODY;
        return p + 1;
    }
    /* a parameter's digits are read like a number's */
    gate->state = (bytes[*p] & KIND) == LETTER ? TAG : BETWEEN;
    return p;
}

static const uint8_t *tag(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    for (; p < end && bytes[*p] & IN_TAG; p++) {
        if (gate->tag_length < sizeof gate->tag)
            gate->tag[gate->tag_length] = (char)*p;
        gate->tag_length++;
        gate->tag_hash = tag_hash(gate->tag_hash, *p);
        gate->high |= *p >= 0x80;
        gate->match_fails |= *p >= 0x80;
    }
    return p;
}

static const uint8_t *opening_tag(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    if (gate->tag_length == 0)
        gate->match_fails = false; /* while the tag is read: a byte of 0x80 or above is in it */
    p = tag(gate, p, end);
    if (p == end)
        return p;
    if (*p != '$') /* a stray '$' and a word: a syntax error, always */
        return p + end_word(gate, gate->tag, gate->tag_length, *p, offset_of(gate, p));
    /* Two tags that differ here may be one for the server (two codes of one character, in some encodings),
     * and two long ones with the same hash are two for the server. If we take the wrong '$' for the end, the
     * statement as we cut it is no valid one: that is left to the parser. */
    if (gate->match_fails || gate->tag_length > sizeof gate->tag)
        gate_class_judge(gate);
    gate->state = BODY;
    return p + 1;
}

static const uint8_t *body(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    p = find(gate, p, end, '$', '$');
    if (p == end)
        return p;
    gate->state = BODY_DOLLAR;
    return p + 1;
}

static const uint8_t *close_body(struct gate *gate, const uint8_t *p)
{
    gate->last = offset_of(gate, ++p);
    gate->state = BETWEEN;
    return p;
}

static const uint8_t *body_dollar(struct gate *gate, const uint8_t *p)
{
    if (*p == '$')
        return gate->tag_length == 0 ? close_body(gate, p) : p + 1;
    gate->state = (bytes[*p] & KIND) == LETTER ? BODY_TAG : BODY;
    gate->match_length = 0;
    gate->match_hash = 0;
    gate->match_fails = false;
    return p;
}

/* scan.l, <xdolq>{dolqdelim}: a tag that isn't the one gives its second '$' back, which may open the right
 * one. */
static const uint8_t *body_tag(struct gate *gate, const uint8_t *p, const uint8_t *end)
{
    for (; p < end && bytes[*p] & IN_TAG; p++) {
        if (gate->match_length < sizeof gate->tag && gate->tag[gate->match_length] != (char)*p)
            gate->match_fails = true;
        gate->match_length++;
        gate->match_hash = tag_hash(gate->match_hash, *p);
        gate->high |= *p >= 0x80;
    }
    if (p == end)
        return p;
    if (*p != '$') {
        gate->state = BODY;
        return p;
    }
    if (!gate->match_fails && gate->match_length == gate->tag_length && gate->match_hash == gate->tag_hash)
        return close_body(gate, p);
    gate->state = BODY_DOLLAR;
    return p + 1;
}

/* ---- the scan --------------------------------------------------------------------------------------- */

void gate_init(struct gate *gate, bool scs, enum text_encoding encoding)
{
    /* member by member: `word` and `tag` need no clearing, and this stands in the way of every query */
    gate->offset = gate->start = gate->last = 0;
    gate->words = 0;
    gate->index = 0;
    gate->depth = gate->with_depth = gate->comment_depth = gate->atomic_depth = 0;
    gate->word_length = gate->tag_length = gate->match_length = 0;
    gate->tag_hash = gate->match_hash = 0;
    gate->state = BETWEEN;
    gate->quote = QUOTE_STANDARD;
    gate->mode = GATE_LEAD;
    gate->step = 0;
    gate->class = GATE_EMPTY;
    gate->backslash = gate->high = gate->match_fails = false;
    gate->standard_conforming_strings = scs;
    gate->encoding = (uint8_t)encoding;
    gate->trail = 0;
}

static inline const uint8_t *advance(struct gate *gate, const uint8_t *p, const uint8_t *end,
                                     struct gate_statement *statement, bool *found)
{
    switch ((enum state)gate->state) {
    case BETWEEN:
        return between(gate, p, end, statement, found);
    case WORD:
        return word(gate, p, end);
    case DASH:
        return dash(gate, p);
    case SLASH:
        return slash(gate, p);
    case LINE_COMMENT:
        return line_comment(gate, p, end, BETWEEN);
    case U_AMPERSAND:
        return u_ampersand(gate, p);
    case DOLLAR:
        return dollar(gate, p);
    case TAG:
        return opening_tag(gate, p, end);
    case QUOTE_END:
        return quote_end(gate, p);
    case CONTINUED:
    case CONTINUED_LINE:
        return continued(gate, p, end);
    case CONTINUED_DASH:
        return continued_dash(gate, p);
    case CONTINUED_COMMENT:
        return line_comment(gate, p, end, CONTINUED_LINE);
    case QUOTED:
        return quoted(gate, p, end);
    case BACKSLASH:
        return backslash(gate, p);
    case NAME:
        return name(gate, p, end);
    case BODY:
        return body(gate, p, end);
    case BODY_DOLLAR:
        return body_dollar(gate, p);
    case BODY_TAG:
        return body_tag(gate, p, end);
    case COMMENT:
        return comment(gate, p, end);
    case COMMENT_STAR:
        return comment_star(gate, p);
    case COMMENT_SLASH:
        return comment_slash(gate, p);
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
    bool open = gate->state >= QUOTED;
    switch ((enum state)gate->state) {
    case WORD:
        end_word(gate, gate->word, gate->word_length, -1, gate->offset);
        break;
    case TAG:
        end_word(gate, gate->tag, gate->tag_length, -1, gate->offset);
        break;
    case U_AMPERSAND:
        word_read(gate, "u", 1);
        operator_read(gate, gate->offset);
        break;
    case DASH:
    case SLASH:
    case CONTINUED_DASH:
        operator_read(gate, gate->offset);
        break;
    default:
        if (open && gate->state < COMMENT)
            gate->last = gate->offset;
    }
    if (unterminated)
        *unterminated = open;
    if (gate->class == GATE_EMPTY)
        return false;
    *statement = (struct gate_statement){gate->start, gate->last, gate->class, gate->index};
    return true;
}

bool gate_behind_backslash(const struct gate *gate)
{
    return gate->state == BACKSLASH;
}

bool gate_in_escape_string(const struct gate *gate)
{
    return gate->state == BACKSLASH ||
           (gate->state == QUOTED && (gate->quote == QUOTE_ESCAPE || gate->quote == QUOTE_LEGACY));
}

bool gate_class_judged(enum gate_class class)
{
    return class == GATE_DDL || class == GATE_DO;
}

bool gate_pending_judged(const struct gate *gate)
{
    return gate_class_judged(gate->class);
}

/*
 * Tokens by libpg_query's scanner.
 *
 * The scanner's answer is a protobuf message of two levels with four numbers each; it is read here directly,
 * so that nothing depends on the generated headers, whose token numbers change with every PostgreSQL release.
 * What a token is shows in its first bytes; only the keyword's category is taken from the message.
 */
#include "parser/parse.h"

#include <ctype.h>
#include <pg_query.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

struct wire {
    const uint8_t *at, *end;
};

static bool wire_number(struct wire *wire, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && wire->at < wire->end; shift += 7) {
        uint8_t byte = *wire->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* One field: its number, and either its value or the bytes inside. */
static bool wire_field(struct wire *wire, unsigned *field, uint64_t *value, struct wire *inside)
{
    uint64_t key;
    if (!wire_number(wire, &key) || !wire_number(wire, value))
        return false;
    *field = (unsigned)(key >> 3);
    inside->at = inside->end = wire->at;
    if ((key & 7) == 0)
        return true;
    if ((key & 7) != 2 || *value > (uint64_t)(wire->end - wire->at))
        return false;
    wire->at += *value;
    inside->end = wire->at;
    return true;
}

static char kind_of(const char *text, const struct token *token)
{
    const char *at = text + token->start;
    if (token->end - token->start > 1 && (!strncmp(at, "--", 2) || !strncmp(at, "/*", 2)))
        return '-';
    unsigned char c = (unsigned char)*at;
    if ((c == 'U' || c == 'u') && at[1] == '&' && (at[2] == '"' || at[2] == '\''))
        return at[2];
    if (strchr("eEbBxXnN", c) && c && at[1] == '\'')
        return TOKEN_STRING;
    if (isalpha(c) || c == '_' || c >= 0x80)
        return TOKEN_WORD;
    if (isdigit(c) || (c == '.' && isdigit((unsigned char)at[1])))
        return TOKEN_NUMBER;
    if (c == '$' && !isdigit((unsigned char)at[1]))
        return TOKEN_STRING;
    return (char)c;
}

static void add_token(struct tokens *tokens, const char *text, struct token token, int *depth)
{
    token.kind = kind_of(text, &token);
    if (token.kind == '-' && (text[token.start + 1] == '-') && token.end - token.start > 1) {
        tokens->comments[tokens->n_comments++] = token;
        return;
    }
    if (text[token.start] == '/' && token.kind == '-') {
        tokens->comments[tokens->n_comments++] = token;
        return;
    }
    bool one = token.end - token.start == 1;
    if (one && (token.kind == ')' || token.kind == ']') && *depth > 0)
        --*depth;
    token.depth = *depth;
    if (one && (token.kind == '(' || token.kind == '['))
        ++*depth;
    tokens->items[tokens->n++] = token;
}

static bool read_message(struct wire wire, const char *text, struct tokens *tokens)
{
    int depth = 0, length = (int)strlen(text);
    unsigned field;
    uint64_t value;
    struct wire inside, ignored;
    while (wire.at < wire.end) {
        if (!wire_field(&wire, &field, &value, &inside))
            return false;
        if (field != 2)
            continue;
        struct token token = {0};
        while (inside.at < inside.end) {
            if (!wire_field(&inside, &field, &value, &ignored))
                return false;
            if (field == 1)
                token.start = (int)value;
            else if (field == 2)
                token.end = (int)value;
            else if (field == 5)
                token.keyword = (uint8_t)value;
        }
        if (token.start >= 0 && token.start < token.end && token.end <= length)
            add_token(tokens, text, token, &depth);
    }
    return true;
}

/* An upper bound of the tokens in a message: each takes at least four bytes. */
static size_t most_tokens(const PgQueryProtobuf *message)
{
    return message->len / 4 + 1;
}

bool tokens_read(const void *parent, const char *text, struct tokens *tokens)
{
    *tokens = (struct tokens){0};
    PgQueryScanResult result = pg_query_scan(text);
    bool ok = false;
    if (!result.error && result.pbuf.data) {
        size_t most = most_tokens(&result.pbuf);
        tokens->items = talloc_array(parent, struct token, most);
        tokens->comments = talloc_array(parent, struct token, most);
        const uint8_t *data = (const uint8_t *)result.pbuf.data;
        if (tokens->items && tokens->comments)
            ok = read_message((struct wire){data, data + result.pbuf.len}, text, tokens);
    }
    pg_query_free_scan_result(result);
    if (ok)
        return true;
    talloc_free(tokens->items);
    talloc_free(tokens->comments);
    *tokens = (struct tokens){0};
    return false;
}

size_t tokens_at(const struct tokens *tokens, int offset)
{
    size_t low = 0, high = tokens->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tokens->items[middle].start < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool token_is(const char *text, const struct tokens *tokens, size_t i, const char *word)
{
    if (i >= tokens->n)
        return false;
    const struct token *token = &tokens->items[i];
    size_t length = strlen(word);
    return (size_t)(token->end - token->start) == length && !strncasecmp(text + token->start, word, length);
}

size_t tokens_clause_end(const struct tokens *tokens, size_t i)
{
    if (i >= tokens->n)
        return tokens->n;
    int depth = tokens->items[i].depth;
    for (; i < tokens->n; i++) {
        const struct token *token = &tokens->items[i];
        if (token->depth < depth)
            return i;
        if (token->depth > depth || token->end - token->start != 1)
            continue;
        if (token->kind == ',' || token->kind == ';')
            return i;
    }
    return i;
}

size_t token_identifier_length(const char *text, const struct token *token)
{
    const char *at = text + token->start, *end = text + token->end;
    if (*at != '"')
        return (size_t)(end - at);
    size_t length = 0;
    for (at++; at < end - 1; at++, length++)
        if (*at == '"')
            at++;
    return length;
}

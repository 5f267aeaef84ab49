/*
 * Virtual generated columns (PostgreSQL 18) for a libpg_query with an older grammar: in the copy they become
 * stored ones, the rest of the clause is the same. Where that was done the source remembers.
 */
#include "parser/parse.h"

#include <string.h>
#include <talloc.h>

/* The parenthesis that closes the one at token i, or n. */
static size_t closing(const struct tokens *tokens, size_t i)
{
    size_t close = i + 1;
    while (close < tokens->n && tokens->items[close].depth != tokens->items[i].depth)
        close++;
    return close;
}

/*
 * The column that is generated with token i, if it is not stored: the word VIRTUAL is overwritten where it
 * stands, else the place is noted. *next is the token to go on with, behind the expression: what is inside of
 * it is no clause. false: out of memory, or a parenthesis that is never closed.
 */
static bool note_virtual(struct source *source, size_t i, struct insertions *missing, size_t *next)
{
    struct tokens *tokens = &source->tokens;
    *next = i + 1;
    if (!token_is(source->text, tokens, i, "generated") || !token_is(source->text, tokens, i + 1, "always") ||
        !token_is(source->text, tokens, i + 2, "as") || !token_is(source->text, tokens, i + 3, "("))
        return true;
    size_t close = closing(tokens, i + 3);
    if (close == tokens->n)
        return false;
    *next = close + 1;
    if (token_is(source->text, tokens, close + 1, "stored"))
        return true;
    if (!token_is(source->text, tokens, close + 1, "virtual"))
        return source_note(source, missing, (size_t)tokens->items[close].end);
    int at = tokens->items[close + 1].start;
    memcpy(source->text + at, " STORED", strlen("virtual")); /* ends where the author's word ends */
    struct insertions made = {source->made_virtual, source->n_made_virtual};
    bool ok = source_note(source, &made, (size_t)at);
    source->made_virtual = made.at;
    source->n_made_virtual = made.n;
    return ok;
}

/* The places of the words that were overwritten move with those that are put in. */
static bool join_virtual(struct source *source, struct insertions *missing)
{
    struct insertions all = {0};
    size_t overwritten = 0, n_missing = missing->n;
    size_t shift = 0;
    int *before = talloc_memdup(source, missing->at, n_missing * sizeof(int));
    bool ok = before && source_apply(source, missing, " STORED");
    for (size_t i = 0; ok && i < n_missing; i++) {
        while (overwritten < source->n_made_virtual && source->made_virtual[overwritten] < before[i])
            ok = ok && source_note(source, &all, (size_t)source->made_virtual[overwritten++] + shift);
        ok = ok && source_note(source, &all, (size_t)missing->at[i] + 1);
        shift += strlen(" STORED");
    }
    while (ok && overwritten < source->n_made_virtual)
        ok = source_note(source, &all, (size_t)source->made_virtual[overwritten++] + shift);
    talloc_free(before);
    talloc_free(source->made_virtual);
    source->made_virtual = all.at;
    source->n_made_virtual = all.n;
    return ok;
}

bool source_stored_for_virtual(struct source *source)
{
    struct insertions missing = {0};
    bool ok = true;
    for (size_t i = 0; ok && i + 3 < source->tokens.n;)
        ok = note_virtual(source, i, &missing, &i);
    if (ok && missing.n > 0)
        ok = join_virtual(source, &missing);
    talloc_free(missing.at);
    if (!ok || source->n_made_virtual == 0)
        return false;
    talloc_free(source->tokens.items);
    talloc_free(source->tokens.comments);
    return source_scan(source);
}

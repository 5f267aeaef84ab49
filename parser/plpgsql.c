/*
 * PL/pgSQL bodies, statement by statement.
 *
 * pg_query_parse_plpgsql() is not used: it knows no types and so refuses bodies that a server takes (a cursor
 * with parameters that is opened), ends the process by an assertion where there is no body string, and gives
 * lines only. What is needed of the language is little, and its own grammar (pl_gram.y) reads expressions the
 * same way as is done here: up to the keyword that ends them, outside of parentheses. The words this relies
 * on are reserved in PL/pgSQL, so that no variable can be named so.
 *
 * One pass, no recursion: blocks are not nested here, each of their keywords just leads to the next
 * statement.
 */
#include "parser/facts_body.h"

#include <string.h>
#include <talloc.h>

static bool is(const struct body *body, size_t i, const char *word)
{
    return token_is(body->source->text, &body->source->tokens, i, word);
}

/* The next of these words (or the semicolon) at the depth of token i, i itself included; n if none. */
static size_t find(const struct body *body, size_t i, const char *one, const char *other)
{
    const struct tokens *tokens = &body->source->tokens;
    int depth = i < tokens->n ? tokens->items[i].depth : 0;
    for (; i < tokens->n; i++) {
        if (tokens->items[i].depth > depth)
            continue;
        if (tokens->items[i].kind == ';' || (one && is(body, i, one)) || (other && is(body, i, other)))
            return i;
    }
    return tokens->n;
}

static size_t behind(const struct body *body, size_t i, const char *word)
{
    size_t at = find(body, i, word, NULL);
    return at < body->source->tokens.n ? at + 1 : at;
}

/* EXECUTE expression, up to one of the words that may follow it; i is the expression's first token. */
static void execute(struct body *body, size_t i, const char *one, const char *other)
{
    size_t end = find(body, i, one, other);
    char *text = plpgsql_constant(body, body->r->facts, i, end);
    if (text)
        body_add_text(body, i - 1, text);
    else
        body_dynamic(body, i - 1,
                     is(body, i, "format") ? "EXECUTE format(…)" : "EXECUTE of a computed string");
    talloc_free(text);
}

/* ---- statements: each from its first token to the first of the next ----------------------------------- */

static size_t next_token(struct body *body, size_t i)
{
    return i + 1;
}

static size_t to_semicolon(struct body *body, size_t i)
{
    return behind(body, i, NULL);
}

static size_t to_then(struct body *body, size_t i)
{
    return behind(body, i + 1, "then");
}

static size_t to_loop(struct body *body, size_t i)
{
    return behind(body, i + 1, "loop");
}

static size_t to_when(struct body *body, size_t i)
{
    return find(body, i + 1, "when", NULL);
}

static size_t read_declarations(struct body *body, size_t i)
{
    for (i++; i < body->source->tokens.n && !is(body, i, "begin");)
        i = behind(body, i, NULL);
    return i;
}

static size_t read_execute(struct body *body, size_t i)
{
    execute(body, i + 1, "into", "using");
    return to_semicolon(body, i);
}

static size_t read_for(struct body *body, size_t i)
{
    size_t in = find(body, i + 1, "in", "loop");
    if (is(body, in, "in") && is(body, in + 1, "execute"))
        execute(body, in + 2, "using", "loop");
    return behind(body, i + 1, "loop");
}

static size_t read_return(struct body *body, size_t i)
{
    if (is(body, i + 1, "query") && is(body, i + 2, "execute"))
        execute(body, i + 3, "using", NULL);
    return to_semicolon(body, i);
}

static size_t read_open(struct body *body, size_t i)
{
    size_t at = find(body, i + 1, "for", NULL);
    if (is(body, at, "for") && is(body, at + 1, "execute"))
        execute(body, at + 2, "using", NULL);
    return to_semicolon(body, i);
}

static size_t read_sql(struct body *body, size_t i)
{
    size_t end = body_statement_end(body->source, i);
    if (body_judged(body->source, i))
        body_add_tokens(body, i, end);
    return end < body->source->tokens.n ? end + 1 : end;
}

/* `#option dump` and the like, each a line of its own in front of the first block. */
static size_t read_option(struct body *body, size_t i)
{
    return i + 3;
}

static size_t read_label(struct body *body, size_t i)
{
    while (i < body->source->tokens.n && !is(body, i, ">>"))
        i++;
    return i + 1;
}

static const struct {
    const char *word;
    size_t (*read)(struct body *, size_t);
} statements[] = {{"begin", next_token},
                  {"exception", next_token},
                  {"else", next_token},
                  {"loop", next_token},
                  {"declare", read_declarations},
                  {"end", to_semicolon},
                  {"if", to_then},
                  {"elsif", to_then},
                  {"elseif", to_then},
                  {"when", to_then},
                  {"case", to_when},
                  {"while", to_loop},
                  {"for", read_for},
                  {"foreach", to_loop},
                  {"execute", read_execute},
                  {"return", read_return},
                  {"open", read_open},
                  {";", next_token},
                  {"<<", read_label},
                  {"#", read_option}};

/* Words that PL/pgSQL doesn't reserve may be variables: name := …, name.field = …, name[1] := … */
static bool is_assignment(const struct body *body, size_t i)
{
    static const char *const signs[] = {":=", "=", ".", "["};
    for (size_t k = 0; k < sizeof signs / sizeof *signs; k++)
        if (is(body, i + 1, signs[k]))
            return true;
    return false;
}

static size_t read_statement(struct body *body, size_t i)
{
    if (is_assignment(body, i))
        return to_semicolon(body, i);
    for (size_t k = 0; k < sizeof statements / sizeof *statements; k++)
        if (is(body, i, statements[k].word))
            return statements[k].read(body, i);
    return read_sql(body, i);
}

void plpgsql_read(struct body *body)
{
    for (size_t i = 0; i < body->source->tokens.n && !body->r->failed;)
        i = read_statement(body, i);
}

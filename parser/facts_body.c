/*
 * DO and CREATE FUNCTION: the language, and the statements that the body hides.
 */
#include "parser/facts_body.h"
#include "parser/facts_create.h"
#include "parser/facts_objects.h"

#include <string.h>
#include <strings.h>
#include <talloc.h>

/* ---- finding one's way in a body ---------------------------------------------------------------------- */

int body_line(struct body *body, int offset)
{
    int to = source_place(body->source, offset);
    for (; body->counted < to && body->text[body->counted]; body->counted++)
        body->line += body->text[body->counted] == '\n';
    return body->line;
}

bool body_judged(const struct source *source, size_t token)
{
    static const char *const words[] = {"alter",  "create",  "drop",    "truncate", "comment",  "grant",
                                        "revoke", "reindex", "cluster", "refresh",  "security", "reassign",
                                        "import", "vacuum",  "do",      "explain",  "lock"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (token_is(source->text, &source->tokens, token, words[i]))
            return true;
    return false;
}

/* BEGIN ATOMIC … END of a routine has semicolons inside; so may CASE … END in there. */
size_t body_statement_end(const struct source *source, size_t i)
{
    const struct tokens *tokens = &source->tokens;
    const char *text = source->text;
    bool create = token_is(text, tokens, i, "create");
    int depth = i < tokens->n ? tokens->items[i].depth : 0, open = 0;
    for (; i < tokens->n; i++) {
        bool atomic = create && token_is(text, tokens, i, "begin") && token_is(text, tokens, i + 1, "atomic");
        if (atomic || (open > 0 && token_is(text, tokens, i, "case")))
            open++;
        else if (open > 0 && token_is(text, tokens, i, "end"))
            open--;
        else if (open == 0 && tokens->items[i].kind == ';' && tokens->items[i].depth <= depth)
            return i;
    }
    return tokens->n;
}

/* ---- what was found ----------------------------------------------------------------------------------- */

static void set_dynamic(struct reader *r, const char *why)
{
    if (r->facts->dynamic)
        return;
    r->facts->dynamic = true;
    r->facts->dynamic_why = reader_copy(r, why);
}

void body_dynamic(struct body *body, size_t token, const char *what)
{
    if (body->r->facts->dynamic)
        return;
    int line = body_line(body, body->source->tokens.items[token].start);
    char *why = talloc_asprintf(body->r->facts, "%s at line %d of %s", what, line, body->what);
    if (why)
        set_dynamic(body->r, why);
    else
        body->r->failed = true;
    talloc_free(why);
}

/* Room for one more; the list grows by doubling. */
static struct nested *new_nested(struct reader *r)
{
    struct facts *facts = r->facts;
    size_t n = facts->n_nested;
    if ((n & (n - 1)) == 0) {
        struct nested *more = talloc_realloc(facts, facts->nested, struct nested, n ? 2 * n : 1);
        if (!more)
            return NULL;
        facts->nested = more;
    }
    return &facts->nested[n];
}

/* What is known of a statement before it is read. */
struct find {
    const char *text;
    size_t length;
    int line, place;
    bool executed; /* in a string */
};

static void add_nested(struct body *body, const struct find *find)
{
    struct reader *r = body->r;
    struct facts *inner = facts_at_level(r->facts, find->text, find->length, r->scs, r->level + 1, r->budget);
    struct nested *nested = inner ? new_nested(r) : NULL;
    char *text = reader_slice(r, find->text, find->length);
    const char *where = talloc_asprintf(
        r->facts, "%sline %d of %s", find->executed ? "the string executed at " : "", find->line, body->what);
    if (!nested || !where || !text || facts_out_of_memory(inner)) {
        talloc_free(inner);
        r->failed = true;
        return;
    }
    *nested = (struct nested){.facts = inner, .text = text, .where = where, .place = find->place};
    r->facts->n_nested++;
    if (inner->dynamic && inner->kind != STATEMENT_CREATE_FUNCTION)
        set_dynamic(r, inner->dynamic_why);
}

static bool spend(struct body *body, size_t token, size_t length)
{
    struct budget *budget = body->r->budget;
    if (budget->statements == 0 || budget->bytes < length) {
        body_dynamic(body, token, "more than is judged");
        return false;
    }
    budget->statements--;
    budget->bytes -= length;
    return true;
}

/* The author's text of the tokens i … end, which are not empty. */
static void slice(const struct source *source, const char *text, size_t i, size_t end, struct find *find)
{
    int from = source_place(source, source->tokens.items[i].start);
    int to = source_place(source, source->tokens.items[end - 1].end);
    find->text = text + from;
    find->length = (size_t)(to - from);
}

void body_add_tokens(struct body *body, size_t i, size_t end)
{
    if (i >= end)
        return;
    struct find find = {.line = body_line(body, body->source->tokens.items[i].start)};
    slice(body->source, body->text, i, end, &find);
    find.place = body->first < 0 ? body->literal : body->first + (int)(find.text - body->text);
    if (spend(body, i, find.length))
        add_nested(body, &find);
}

void body_add_text(struct body *body, size_t token, const char *text)
{
    struct reader *r = body->r;
    struct source *source = source_new(r->facts, text, strlen(text), r->scs);
    if (!source || !source_scan(source)) {
        talloc_free(source);
        body_dynamic(body, token, "EXECUTE of a string that can't be read");
        return;
    }
    int at = body->source->tokens.items[token].start;
    struct find find = {.line = body_line(body, at), .place = body->literal, .executed = true};
    if (body->first >= 0)
        find.place = body->first + source_place(body->source, at);
    for (size_t i = 0; i < source->tokens.n && !r->failed;) {
        size_t end = body_statement_end(source, i);
        if (end > i && body_judged(source, i)) {
            slice(source, text, i, end, &find);
            if (spend(body, token, find.length))
                add_nested(body, &find);
        }
        i = end + 1;
    }
    talloc_free(source);
}

/* ---- bodies ---------------------------------------------------------------------------------------------
 */

/* A body in SQL: its statements one after the other. */
static void sql_read(struct body *body)
{
    const struct source *source = body->source;
    for (size_t i = 0; i < source->tokens.n && !body->r->failed;) {
        size_t end = body_statement_end(source, i);
        if (body_judged(source, i))
            body_add_tokens(body, i, end);
        i = end + 1;
    }
}

/* Where the literal is, and where its text starts if it stands there unescaped. */
static void find_literal(struct body *body, int location)
{
    const struct source *outer = body->r->source;
    size_t i = tokens_at(&outer->tokens, location), length = strlen(body->text);
    while (i < outer->tokens.n && outer->tokens.items[i].kind != TOKEN_STRING)
        i++;
    body->literal = body->first = -1;
    if (location < 0 || i >= outer->tokens.n)
        return;
    int start = outer->tokens.items[i].start, end = outer->tokens.items[i].end, at = start;
    body->literal = reader_place(body->r, start);
    const char *text = outer->text;
    while (at < end && text[at] != '\'' && text[at] != '$')
        at++;
    for (at++; at < end && text[start] == '$' && text[at] != '$'; at++)
        ;
    at += text[start] == '$';
    int close = text[start] == '$' ? at - start : 1;
    if (end - close - at == (int)length && memcmp(text + at, body->text, length) == 0)
        body->first = reader_place(body->r, at);
}

static void read_body(struct reader *r, const char *text, int location, const char *what, bool plpgsql)
{
    struct body body = {.r = r, .text = text, .what = what, .line = 1};
    find_literal(&body, location);
    body.source = source_new(r->facts, text, strlen(text), r->scs);
    if (!body.source) {
        r->failed = true;
        return;
    }
    if (!source_scan(body.source))
        set_dynamic(r, "a body that can't be read");
    else if (plpgsql)
        plpgsql_read(&body);
    else
        sql_read(&body);
    talloc_free(body.source);
}

struct definition {
    const char *language, *body;
    int location;
};

/* LANGUAGE and AS; what AS has is a string in DO and a list of one or two in CREATE FUNCTION. */
static struct definition definition_of(json_t *options)
{
    struct definition definition = {.location = -1};
    json_t *option;
    size_t i;
    json_array_foreach(options, i, option)
    {
        json_t *element = tree_child(option, "DefElem"), *value = json_object_get(element, "arg");
        json_t *list = tree_list(tree_child(value, "List"), "items");
        if (tree_is(element, "defname", "language"))
            definition.language = tree_string(value);
        if (!tree_is(element, "defname", "as"))
            continue;
        definition.body = tree_string(list ? json_array_get(list, 0) : value);
        definition.location = tree_number(element, "location", -1);
    }
    return definition;
}

static bool changes_names(const char *body)
{
    static const char *const words[] = {"search_path", "set_config", "session_authorization", "role"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(body, words[i]))
            return true;
    return false;
}

void facts_do(struct reader *r, json_t *in)
{
    struct definition definition = definition_of(tree_list(in, "args"));
    r->facts->kind = STATEMENT_DO;
    r->facts->tag = "DO";
    if (definition.language && strcasecmp(definition.language, "plpgsql") != 0) {
        char *why = talloc_asprintf(r->facts, "a DO block in language %s", definition.language);
        set_dynamic(r, why ? why : "a DO block in another language");
    } else if (r->level >= NESTED_MAX) {
        set_dynamic(r, "a DO block inside of others, deeper than is followed");
    } else if (definition.body) {
        read_body(r, definition.body, definition.location, "the DO block", true);
        r->facts->names_change = changes_names(definition.body);
    }
}

void facts_create_function(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    bool procedure = tree_true(in, "is_procedure");
    facts->kind = STATEMENT_CREATE_FUNCTION;
    facts->tag = procedure ? "CREATE PROCEDURE" : "CREATE FUNCTION";
    facts->object_kind = procedure ? "PROCEDURE" : "FUNCTION";
    facts->object = name_of_list(r, tree_list(in, "funcname"));
    char *name = identity_of(r, &facts->object);
    facts_identity(r, name);

    struct definition definition = definition_of(tree_list(in, "options"));
    bool plpgsql = definition.language && !strcasecmp(definition.language, "plpgsql");
    bool sql = definition.language && !strcasecmp(definition.language, "sql");
    if (!definition.body || !name)
        return;
    if (!plpgsql && !sql) /* a note only: to create is not to execute */
        facts->dynamic_why = talloc_asprintf(facts, "the body is in language %s",
                                             definition.language ? definition.language : "unknown");
    else if (r->level >= NESTED_MAX)
        set_dynamic(r, "a function inside of others, deeper than is followed");
    else
        read_body(r, definition.body, definition.location, talloc_asprintf(facts, "the body of %s", name),
                  plpgsql);
}

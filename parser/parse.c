/*
 * The door to libpg_query's parser: threads with a stack that bears the deepest text, and the JSON tree.
 *
 * JSON and not protobuf: for deep trees the protobuf form costs time that grows with the square of the text
 * (each level sums up what is below it), the JSON form is linear. Jansson reads 2,048 levels; what is deeper
 * is FACTS_TOO_DEEP. libpg_query itself knows no limit but the stack it runs on.
 */
#include "parser/parse.h"

#include <pg_query.h>
#include <string.h>
#include <talloc.h>

/* A fingerprint is for finding the same statement again; nobody looks for one of this length. */
enum { FINGERPRINT_MAX = 8192 };

/* A tree of this size is one of some hundred thousand nodes, for which jansson takes about forty times as
 * much memory and a second. The densest 256 kB (the default of limits.statement) stay below. */
enum { TREE_MAX = 8 << 20 };

int parser_thread_create(pthread_t *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    error = pthread_attr_setstacksize(&attributes, PARSER_STACK);
    if (!error)
        error = pthread_create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

/* libpg_query counts characters from 1. */
static int byte_offset(const char *text, int characters)
{
    const char *at = text;
    for (int left = characters - 1; left > 0 && *at; left--)
        for (at++; ((unsigned char)*at & 0xc0) == 0x80; at++)
            ;
    return (int)(at - text);
}

static void parser_error(const void *parent, const struct source *source, const PgQueryError *from,
                         struct parse_error *error)
{
    /* How a message starts; behind that it may hold the author's own words. */
    static const struct {
        const char *words;
        enum facts_status status;
    } starts[] = {{"out of memory", FACTS_FAULT},
                  {"invalid memory alloc request size", FACTS_FAULT},
                  {"memory exhausted", FACTS_TOO_DEEP}}; /* bison: more than 10,000 symbols on its stack */
    const char *message = from->message ? from->message : "the parser gives no reason";
    error->status = FACTS_SYNTAX;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(message, starts[i].words, strlen(starts[i].words)) == 0)
            error->status = starts[i].status;
    error->message = talloc_strdup(parent, message);
    if (from->cursorpos > 0)
        error->place = byte_offset(source->text, from->cursorpos);
}

static json_t *read_tree(const char *text, struct parse_error *error)
{
    size_t length = strlen(text);
    if (length > TREE_MAX) {
        *error = (struct parse_error){FACTS_TOO_LONG, "the statement has too many parts to be judged", -1};
        return NULL;
    }
    json_error_t why;
    json_t *tree = json_loadb(text, length, 0, &why);
    if (tree)
        return tree;
    if (json_error_code(&why) == json_error_stack_overflow)
        *error = (struct parse_error){FACTS_TOO_DEEP, "the statement is nested too deeply to be judged", -1};
    else
        *error = (struct parse_error){FACTS_FAULT, "the parser's tree can't be read", -1};
    return NULL;
}

json_t *parse_tree(const void *parent, const struct source *source, struct parse_error *error)
{
    *error = (struct parse_error){source->refused ? FACTS_SYNTAX : FACTS_OK, source->refused, -1};
    if (source->refused)
        return NULL;
    PgQueryParseResult result = pg_query_parse(source->text);
    json_t *tree = NULL;
    if (result.error)
        parser_error(parent, source, result.error, error);
    else if (result.parse_tree)
        tree = read_tree(result.parse_tree, error);
    else
        *error = (struct parse_error){FACTS_FAULT, "the parser gave no tree", -1};
    pg_query_free_parse_result(result);
    return tree;
}

uint64_t parse_fingerprint(const struct source *source)
{
    if (source->length > FINGERPRINT_MAX)
        return 0;
    PgQueryFingerprintResult result = pg_query_fingerprint(source->text);
    uint64_t fingerprint = result.error ? 0 : result.fingerprint;
    pg_query_free_fingerprint_result(result);
    return fingerprint;
}

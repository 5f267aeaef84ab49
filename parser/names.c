/*
 * Identifiers as SQL text, as quote_identifier() of PostgreSQL's ruleutils.c writes them: bare where every
 * byte is safe and the word is no keyword, or only an unreserved one.
 */
#include "parser/parse.h"

#include <string.h>
#include <talloc.h>

/* No keyword is longer (PostgreSQL's kwlist.h: 17 bytes at most, with room for what is to come). */
enum { KEYWORD_MAX = 32 };

static bool safe_bytes(const char *name)
{
    if (!((*name >= 'a' && *name <= 'z') || *name == '_'))
        return false;
    for (; *name; name++)
        if (!((*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') || *name == '_'))
            return false;
    return true;
}

/* The category of a word, as the parser's own scanner has it. */
static int keyword_of(const char *name)
{
    if (!safe_bytes(name) || strlen(name) > KEYWORD_MAX)
        return KEYWORD_NONE;
    void *scratch = talloc_new(NULL);
    struct tokens tokens;
    int keyword = KEYWORD_NONE;
    if (scratch && tokens_read(scratch, name, &tokens) && tokens.n == 1)
        keyword = tokens.items[0].keyword;
    talloc_free(scratch);
    return keyword;
}

bool reserved_word(const char *name)
{
    int keyword = keyword_of(name);
    return keyword == KEYWORD_RESERVED || keyword == KEYWORD_TYPE_FUNCTION;
}

char *quote_identifier(const void *parent, const char *name)
{
    int keyword = keyword_of(name);
    if (safe_bytes(name) && (keyword == KEYWORD_NONE || keyword == KEYWORD_UNRESERVED))
        return talloc_strdup(parent, name);
    char *quoted = talloc_array(parent, char, 2 * strlen(name) + 3), *to = quoted;
    if (!quoted)
        return NULL;
    *to++ = '"';
    for (; *name; name++) {
        if (*name == '"')
            *to++ = '"';
        *to++ = *name;
    }
    *to++ = '"';
    *to = '\0';
    return quoted;
}

char *quote_name(const void *parent, const struct name *name)
{
    char *last = quote_identifier(parent, name->name ? name->name : "");
    if (!last || !name->schema)
        return last;
    char *schema = quote_identifier(last, name->schema);
    char *whole = schema ? talloc_asprintf(parent, "%s.%s", schema, last) : NULL;
    talloc_free(last);
    return whole;
}

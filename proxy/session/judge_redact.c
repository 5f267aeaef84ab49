/*
 * Passwords do not belong into a log. In SQL they stand behind the word PASSWORD (CREATE ROLE, ALTER USER,
 * OPTIONS of a user mapping), behind password= in a connection string, and in a connection URI (CREATE
 * SUBSCRIPTION, dblink); and behind words that end in the like (sslpassword, oauth_client_secret, a foreign
 * server's secret_access_key). All are found in the bare text, so inside DO blocks and in what cannot be
 * parsed too. A column that is called password is left alone, because no string follows the word. In doubt
 * more is masked, not less.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "proxy/session/judge_inside.h"

/* How the words end that a secret stands behind. */
static const char *const words[] = {"password", "passwd", "passphrase", "secret", "secret_key", "access_key"};
static const char mask[] = "***";
enum { MASK = sizeof mask - 1, BLANK_MAX = 1024 };

/* A stretch of the text; `from` NULL: none. */
struct stretch {
    const char *from, *to;
};

static bool part_of_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static size_t run_of_quotes(const char *at, const char *end)
{
    size_t n = 0;
    while (at + n < end && at[n] == '\'')
        n++;
    return n;
}

static const char *skip_line(const char *at, const char *end)
{
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return newline ? newline : end;
}

static const char *skip_comment(const char *at, const char *end)
{
    for (int depth = 0; end - at > 1; at++) {
        int step = memcmp(at, "/*", 2) == 0 ? 1 : memcmp(at, "*/", 2) == 0 ? -1 : 0;
        depth += step;
        if (depth == 0)
            return at + 2;
        at += step != 0;
    }
    return end;
}

/* White space and comments, as much of them as anybody writes: a text may be full of words that are followed
 * by comments without an end. */
static const char *skip_blank(const char *at, const char *end)
{
    end = end - at > BLANK_MAX ? at + BLANK_MAX : end;
    for (;;) {
        if (at < end && isspace((unsigned char)*at))
            at++;
        else if (end - at > 1 && memcmp(at, "--", 2) == 0)
            at = skip_line(at, end);
        else if (end - at > 1 && memcmp(at, "/*", 2) == 0)
            at = skip_comment(at, end);
        else
            return at;
    }
}

/* The end of a string that opens at `at`. Inside a quoted body (DO '…', a function's) each quote is written
 * twice, and twice that inside a string of it: the run of quotes that opens says how deep it is. */
static const char *quoted_end(const char *at, const char *end)
{
    size_t n = run_of_quotes(at, end);
    size_t level = n & (~n + 1); /* the greatest power of two in it */
    if (level == 0)
        return at;
    if (level > 1 && (at + n == end || !part_of_word(at[n])))
        return at + n; /* an empty string */
    for (at += level; at < end; at++) {
        if (*at == '\\' && at + 1 < end) {
            at++;
            continue;
        }
        size_t run = run_of_quotes(at, end);
        if (run % level != 0)
            return at + (run - run % level); /* the body around it ends here */
        if (run / level % 2 == 1)
            return at + run;
        at += run ? run - 1 : 0;
    }
    return end;
}

/* …and of all its parts: a string goes on behind a newline. */
static const char *string_end(const char *at, const char *end)
{
    for (;;) {
        at = quoted_end(at, end);
        const char *next = skip_blank(at, end);
        if (next == end || *next != '\'' || !memchr(at, '\n', (size_t)(next - at)))
            return at;
        at = next;
    }
}

/* $tag$ … $tag$; `at` itself where none starts here. */
static const char *dollar_end(const char *at, const char *end)
{
    const char *second = at + 1;
    while (second < end && part_of_word(*second))
        second++;
    if (second >= end || *second != '$')
        return at;
    size_t tag = (size_t)(second - at) + 1;
    const char *close = memmem(second + 1, (size_t)(end - second - 1), at, tag);
    return close ? close + tag : end;
}

static struct stretch nothing(void)
{
    return (struct stretch){NULL, NULL};
}

/* What is assigned inside a connection string, up to white space or the string's end. */
static struct stretch assigned(const char *at, const char *end)
{
    const char *from = at;
    while (at < end && !isspace((unsigned char)*at) && *at != '\'' && *at != '&')
        at += *at == '\\' && end - at > 1 ? 2 : 1;
    return at > from ? (struct stretch){from, at} : nothing();
}

/* The secret behind the word, which ends at `at`. */
static struct stretch behind_word(const char *at, const char *end)
{
    if (at + 1 < end && *at == '=' && !isspace((unsigned char)at[1]) && at[1] != '\'')
        return assigned(at + 1, end);
    if (at < end && *at == '"') /* an option's name may be quoted */
        at++;
    at = skip_blank(at, end);
    if (at < end && *at == '=')
        at = skip_blank(at + 1, end);
    if (at + 1 < end && strchr("eE", *at) && at[1] == '\'')
        at++;
    if (at + 2 < end && strchr("uU", *at) && at[1] == '&' && at[2] == '\'')
        at += 2;
    if (at < end && *at == '\'')
        return (struct stretch){at, string_end(at, end)};
    const char *to = at < end && *at == '$' ? dollar_end(at, end) : at;
    return to > at ? (struct stretch){at, to} : nothing();
}

/* user:secret@ of a URI; `at` is behind its "://". */
static struct stretch in_uri(const char *at, const char *end)
{
    while (at < end && !isspace((unsigned char)*at) && !strchr("'/@:?", *at))
        at++;
    if (at == end || *at != ':')
        return nothing();
    const char *from = ++at;
    while (at < end && !isspace((unsigned char)*at) && !strchr("'/@", *at))
        at++;
    return at < end && *at == '@' && at > from ? (struct stretch){from, at} : nothing();
}

/* Where the word that stands at `at` ends, if a secret may follow; else NULL. */
static const char *word_end(const char *at, const char *end)
{
    size_t left = (size_t)(end - at);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (left > n && strncasecmp(at, words[i], n) == 0 && !part_of_word(at[n]))
            return at + n;
    }
    return NULL;
}

static struct stretch secret_at(const char *at, const char *end)
{
    if (end - at > 3 && memcmp(at, "://", 3) == 0)
        return in_uri(at + 3, end);
    const char *behind = word_end(at, end);
    return behind ? behind_word(behind, end) : nothing();
}

const char *judge_redact(const void *memory, const char *text, size_t n, size_t *length)
{
    const char *end = text + n, *copied = text;
    char *result = NULL, *to = NULL;
    *length = n;
    for (const char *at = text; at < end; at++) {
        if (!strchr("pPsSaA:", *at))
            continue;
        struct stretch secret = secret_at(at, end);
        if (!secret.from)
            continue;
        /* each mask has at least three other bytes in front of it */
        if (!result && !(to = result = talloc_array(memory, char, 2 * n + 1)))
            return NULL;
        size_t before = (size_t)(secret.from - copied);
        memcpy(to, copied, before);
        memcpy(to + before, mask, MASK);
        to += before + MASK;
        copied = secret.to;
        at = secret.to - 1;
    }
    if (!result)
        return text;
    memcpy(to, copied, (size_t)(end - copied));
    *length = (size_t)(to - result) + (size_t)(end - copied);
    return result;
}

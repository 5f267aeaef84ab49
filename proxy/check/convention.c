/*
 * dbmate, goose, sql-migrate, node-pg-migrate, tern and sqlx by their comments; golang-migrate, Flyway,
 * Prisma, Diesel and sqitch by the names of their files and folders.
 */
#include "proxy/check/convention.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- comments ---- */

/* The words that a comment begins with, in any number of spaces; letters count as the tools count them. */
static const struct {
    const char *words;
    enum marker_kind kind;
    const char *unless; /* with this word in the line there is no transaction */
} markers[] = {
    {"-- migrate:up", MARKER_UP, "transaction:false"},
    {"-- migrate:down", MARKER_DOWN, "transaction:false"},
    {"-- +goose up", MARKER_UP, NULL},
    {"-- +goose down", MARKER_DOWN, NULL},
    {"-- +goose statementbegin", MARKER_BOUNDARY, NULL},
    {"-- +goose statementend", MARKER_BOUNDARY, NULL},
    {"-- +goose no transaction", MARKER_NO_TRANSACTION, NULL},
    {"-- +migrate up", MARKER_UP, "notransaction"},
    {"-- +migrate down", MARKER_DOWN, "notransaction"},
    {"-- +migrate statementbegin", MARKER_BOUNDARY, NULL},
    {"-- +migrate statementend", MARKER_BOUNDARY, NULL},
    {"-- up migration", MARKER_UP, NULL},
    {"-- down migration", MARKER_DOWN, NULL},
    {"---- create above / drop below ----", MARKER_DOWN, NULL},
};

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Do these words begin the line? A space in them stands for any number, none between "--" and a word too. */
static bool begins_with(const char *line, size_t length, const char *words)
{
    size_t at = 0;
    for (; *words != '\0'; words++) {
        if (*words == ' ') {
            while (at < length && blank(line[at]))
                at++;
        } else if (at >= length || tolower((unsigned char)line[at++]) != *words)
            return false;
    }
    return at == length || !(isalnum((unsigned char)line[at]) || line[at] == '_');
}

static bool has_word(const char *line, size_t length, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= length; i++) {
        if (strncasecmp(line + i, word, n) == 0 && (i == 0 || blank(line[i - 1])) &&
            (i + n == length || blank(line[i + n])))
            return true;
    }
    return false;
}

struct marker convention_marker(const char *line, size_t length, bool first)
{
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        if (!begins_with(line, length, markers[i].words))
            continue;
        bool without = markers[i].unless != NULL && has_word(line, length, markers[i].unless);
        return (struct marker){markers[i].kind, without ? WRAP_NONE : WRAP_SECTION};
    }
    if (first && begins_with(line, length, "-- no-transaction")) /* sqlx: only in the first line */
        return (struct marker){MARKER_NO_TRANSACTION, WRAP_NONE};
    return (struct marker){MARKER_NONE, WRAP_NONE};
}

/* ---- names ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcasecmp(name + n - m, end) == 0;
}

/* V2__x.sql, V2.1_3__x.sql, R__x.sql: the prefix, or NUL. */
static char flyway_prefix(const char *name)
{
    const char *description = strstr(name, "__");
    if (description == NULL || description == name || !ends_with(name, ".sql"))
        return '\0';
    size_t version = (size_t)(description - name) - 1;
    if (strspn(name + 1, "0123456789._") < version)
        return '\0';
    if (name[0] == 'R')
        return version == 0 ? 'R' : '\0';
    return strchr("VUB", name[0]) != NULL && isdigit((unsigned char)name[1]) ? name[0] : '\0';
}

/* Does the folder that holds this part of the path have a sqitch.plan? */
static bool beside_plan(const char *path, size_t folder)
{
    char plan[4096];
    int n = snprintf(plan, sizeof plan, "%.*ssqitch.plan", (int)folder, path);
    return n > 0 && (size_t)n < sizeof plan && access(plan, F_OK) == 0;
}

/* deploy/, revert/ and verify/ are sqitch's where its header or its plan says so. */
static bool sqitch_revert(const char *path, const char *text)
{
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    bool header = begins_with(text, strcspn(text, "\r\n"), "-- revert");
    const char *end = strrchr(path, '/');
    for (const char *at = path; end != NULL && at < end; at = strchr(at, '/') + 1) {
        if (strncmp(at, "revert/", 7) == 0 && (header || beside_plan(path, (size_t)(at - path))))
            return true;
    }
    return false;
}

struct section convention_of(const char *path, const char *text)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    if (ends_with(name, ".up.sql"))
        return (struct section){.wrapping = WRAP_MESSAGE};
    if (ends_with(name, ".down.sql"))
        return (struct section){.down = true, .wrapping = WRAP_MESSAGE};
    if (strcmp(name, "migration.sql") == 0)
        return (struct section){.wrapping = WRAP_MESSAGE};
    if (strcmp(name, "up.sql") == 0)
        return (struct section){.wrapping = WRAP_SECTION};
    if (strcmp(name, "down.sql") == 0)
        return (struct section){.down = true, .wrapping = WRAP_SECTION};
    char prefix = flyway_prefix(name);
    if (prefix != '\0')
        return (struct section){.down = prefix == 'U', .wrapping = WRAP_UNLESS};
    return (struct section){.down = sqitch_revert(path, text), .wrapping = WRAP_NONE};
}

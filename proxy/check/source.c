/*
 * Reading a migration file the way psql reads it.
 *
 * psql looks for its own commands (a backslash outside of quotes) and for the data behind COPY ... FROM STDIN
 * before the server sees anything. This scanner does the same, and knows just enough of SQL's quotes for it;
 * where statements end is the gate's business.
 */
#include "proxy/check/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

struct scan {
    char *sql;
    size_t length, at;
    size_t statement; /* where the statement being read starts; == at while there is none */
    bool open;        /* something of a statement has been read */
};

static bool word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static char byte_at(const struct scan *scan, size_t at)
{
    return at < scan->length ? scan->sql[at] : '\0';
}

static void blank(struct scan *scan, size_t from, size_t to)
{
    for (size_t i = from; i < to && i < scan->length; i++) {
        if (scan->sql[i] != '\n' && scan->sql[i] != '\r')
            scan->sql[i] = ' ';
    }
}

static size_t line_end(const struct scan *scan, size_t at)
{
    while (at < scan->length && scan->sql[at] != '\n' && scan->sql[at] != '\r')
        at++;
    return at;
}

static size_t next_line(const struct scan *scan, size_t at)
{
    at = line_end(scan, at);
    if (byte_at(scan, at) == '\r' && byte_at(scan, at + 1) == '\n')
        return at + 2;
    return at < scan->length ? at + 1 : at;
}

/* ---- what may hold a backslash or a semicolon without meaning it ---- */

static void skip_quoted(struct scan *scan, char quote, bool escapes)
{
    for (scan->at++; scan->at < scan->length; scan->at++) {
        char c = scan->sql[scan->at];
        if (escapes && c == '\\')
            scan->at++;
        else if (c == quote && byte_at(scan, scan->at + 1) == quote)
            scan->at++;
        else if (c == quote) {
            scan->at++;
            return;
        }
    }
}

static void skip_comment(struct scan *scan)
{
    unsigned depth = 0;
    while (scan->at < scan->length) {
        char c = scan->sql[scan->at], next = byte_at(scan, scan->at + 1);
        if (c == '/' && next == '*') {
            depth++;
            scan->at += 2;
        } else if (c == '*' && next == '/') {
            scan->at += 2;
            if (--depth == 0)
                return;
        } else
            scan->at++;
    }
}

/* "$$" or "$tag$"; false: only a dollar sign. */
static bool skip_dollar(struct scan *scan)
{
    size_t end = scan->at + 1;
    if (byte_at(scan, end) >= '0' && byte_at(scan, end) <= '9')
        return false;
    while (end < scan->length && word_byte(scan->sql[end]))
        end++;
    if (byte_at(scan, end) != '$')
        return false;
    size_t tag = end + 1 - scan->at;
    const char *body = scan->sql + end + 1;
    const char *found = memmem(body, scan->length - end - 1, scan->sql + scan->at, tag);
    scan->at = found == NULL ? scan->length : (size_t)(found - scan->sql) + tag;
    return true;
}

/* ---- psql's own ---- */

/* \g and its kin send what has been read so far, as a semicolon does. */
static bool sends(const char *command)
{
    static const char *const words[] = {"g",     "gx",           "gexec", "gset", "gdesc",
                                        "watch", "crosstabview", "bind",  NULL};
    size_t length = 0;
    while (word_byte(command[length]))
        length++;
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strlen(words[i]) == length && memcmp(words[i], command, length) == 0)
            return true;
    }
    return false;
}

static void backslash(struct scan *scan)
{
    size_t start = scan->at;
    if (byte_at(scan, start + 1) == ';') { /* a semicolon that psql sends with the rest */
        scan->sql[start] = ' ';
        scan->at = start + 1;
        return;
    }
    bool ends = scan->open && sends(scan->sql + start + 1);
    scan->at = line_end(scan, start);
    blank(scan, start, scan->at);
    if (ends) {
        scan->sql[start] = ';';
        scan->open = false;
    }
}

static bool same_word(const struct scan *scan, size_t at, const char *word)
{
    size_t length = strlen(word);
    return at + length <= scan->length && strncasecmp(scan->sql + at, word, length) == 0 &&
           !word_byte(byte_at(scan, at + length)) && (at == 0 || !word_byte(scan->sql[at - 1]));
}

static bool copies_from_stdin(const struct scan *scan, size_t end)
{
    if (!same_word(scan, scan->statement, "copy"))
        return false;
    for (size_t i = scan->statement; i < end; i++) {
        if (!same_word(scan, i, "from"))
            continue;
        size_t next = i + 4 + strspn(scan->sql + i + 4, " \t\r\n");
        if (next < end && (same_word(scan, next, "stdin") || same_word(scan, next, "pstdin")))
            return true;
    }
    return false;
}

/* The lines up to and including "\." are data. */
static void skip_copy_data(struct scan *scan)
{
    scan->at = next_line(scan, scan->at);
    while (scan->at < scan->length) {
        size_t start = scan->at, end = line_end(scan, start);
        bool last = end - start == 2 && scan->sql[start] == '\\' && scan->sql[start + 1] == '.';
        scan->at = next_line(scan, start);
        blank(scan, start, end);
        if (last)
            return;
    }
}

static void semicolon(struct scan *scan)
{
    bool data = scan->open && copies_from_stdin(scan, scan->at);
    scan->at++;
    scan->open = false;
    if (data)
        skip_copy_data(scan);
}

static void begin_statement(struct scan *scan)
{
    if (scan->open)
        return;
    scan->open = true;
    scan->statement = scan->at;
}

static void word(struct scan *scan)
{
    size_t start = scan->at;
    while (scan->at < scan->length && (word_byte(scan->sql[scan->at]) || scan->sql[scan->at] == '$'))
        scan->at++;
    bool escape = scan->at - start == 1 && (scan->sql[start] == 'e' || scan->sql[start] == 'E');
    if (escape && byte_at(scan, scan->at) == '\'')
        skip_quoted(scan, '\'', true);
}

static void scan_one(struct scan *scan)
{
    char c = scan->sql[scan->at], next = byte_at(scan, scan->at + 1);
    if (c == '\\')
        backslash(scan);
    else if (c == ';')
        semicolon(scan);
    else if (c == '-' && next == '-')
        scan->at = line_end(scan, scan->at);
    else if (c == '/' && next == '*')
        skip_comment(scan);
    else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v')
        scan->at++;
    else {
        begin_statement(scan);
        if (c == '\'' || c == '"')
            skip_quoted(scan, c, false);
        else if (word_byte(c))
            word(scan);
        else if (c != '$' || !skip_dollar(scan))
            scan->at++;
    }
}

/* ---- the whole ---- */

static bool ends_line(const struct source *source, size_t at)
{
    char c = source->raw[at];
    return c == '\n' || (c == '\r' && source->raw[at + 1] != '\n');
}

static void find_lines(struct source *source)
{
    size_t n = 1;
    for (size_t i = 0; i < source->length; i++)
        n += ends_line(source, i);
    source->lines = talloc_zero_size(source, n * sizeof *source->lines);
    if (source->lines == NULL)
        return;
    source->n_lines = 1;
    for (size_t i = 0; i < source->length; i++) {
        if (ends_line(source, i))
            source->lines[source->n_lines++] = i + 1;
    }
}

struct source *source_of(const void *talloc_parent, const char *name, const char *text, size_t length)
{
    struct source *source = talloc_zero(talloc_parent, struct source);
    source->name = talloc_strdup(source, name);
    source->raw = talloc_size(source, length + 1);
    source->sql = talloc_size(source, length + 1);
    if (source->raw == NULL || source->sql == NULL) {
        talloc_free(source);
        errno = ENOMEM;
        return NULL;
    }
    memcpy(source->raw, text, length);
    source->raw[length] = '\0';
    memcpy(source->sql, source->raw, length + 1);
    source->length = length;
    find_lines(source);
    if (source->lines == NULL) {
        talloc_free(source);
        errno = ENOMEM;
        return NULL;
    }
    struct scan scan = {.sql = source->sql, .length = length};
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        blank(&scan, 0, 3);
    while (scan.at < scan.length)
        scan_one(&scan);
    return source;
}

struct source *source_read(const void *talloc_parent, const char *name, FILE *file)
{
    size_t length = 0, room = (size_t)64 << 10;
    char *text = malloc(room);
    while (text != NULL) {
        length += fread(text + length, 1, room - length, file);
        if (length < room)
            break;
        if (room >= SOURCE_MAX) {
            free(text);
            errno = EFBIG;
            return NULL;
        }
        room *= 2;
        char *more = realloc(text, room);
        if (more == NULL)
            free(text);
        text = more;
    }
    if (text == NULL || ferror(file)) {
        free(text);
        return NULL;
    }
    struct source *source = source_of(talloc_parent, name, text, length);
    free(text);
    return source;
}

/* The line, from 0, that holds an offset: the last one that starts at or before it. */
static size_t line_of(const struct source *source, size_t offset)
{
    size_t low = 0, high = source->n_lines;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (source->lines[middle] <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void source_position(const struct source *source, size_t offset, unsigned *line, unsigned *column)
{
    size_t number = line_of(source, offset), end = offset < source->length ? offset : source->length;
    *line = (unsigned)number + 1;
    *column = 1;
    for (size_t i = source->lines[number]; i < end; i++)
        *column += ((unsigned char)source->raw[i] & 0xc0) != 0x80;
}

void source_line(const struct source *source, size_t offset, const char **text, size_t *length)
{
    size_t start = offset < source->length ? offset : source->length, end = start;
    while (start > 0 && source->raw[start - 1] != '\n' && source->raw[start - 1] != '\r')
        start--;
    while (end < source->length && source->raw[end] != '\n' && source->raw[end] != '\r')
        end++;
    *text = source->raw + start;
    *length = end - start;
}

/*
 * Migration files: reading them, as UTF-8, and finding lines in them. What is in them is source_scan.c's.
 */
#include "proxy/check/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "parser/facts.h"

/* ---- lines ---- */

static bool ends_line(const struct source *source, size_t at)
{
    char c = source->raw[at];
    return c == '\n' || (c == '\r' && source->raw[at + 1] != '\n');
}

static bool find_lines(struct source *source)
{
    size_t n = 1;
    for (size_t i = 0; i < source->length; i++)
        n += ends_line(source, i);
    source->lines = talloc_zero_size(source, n * sizeof *source->lines);
    if (source->lines == NULL)
        return false;
    source->n_lines = 1;
    for (size_t i = 0; i < source->length; i++) {
        if (ends_line(source, i))
            source->lines[source->n_lines++] = i + 1;
    }
    return true;
}

/* ---- encodings ---- */

/* The name behind "\\encoding" or "client_encoding =", in `name`; false: the text has none. */
static bool declared_encoding(const char *text, size_t length, char name[32])
{
    static const char *const words[] = {"\\encoding", "client_encoding"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        for (size_t at = 0; at + n < length; at++) {
            if (strncasecmp(text + at, words[i], n) != 0)
                continue;
            at += n;
            at += strspn(text + at, " \t='\"");
            at += strncasecmp(text + at, "to ", 3) == 0 ? 3 : 0;
            at += strspn(text + at, " \t'\"");
            size_t end = strcspn(text + at, " \t'\";\r\n");
            if (end > 0 && end < 32) {
                memcpy(name, text + at, end);
                name[end] = '\0';
                return true;
            }
        }
    }
    return false;
}

/* PostgreSQL takes "utf-8", "UTF8" and "Latin_1" alike: letters and digits count. */
static void plain_encoding(char *plain, size_t room, const char *name)
{
    bool underscores = strncasecmp(name, "EUC", 3) == 0 || strncasecmp(name, "ISO", 3) == 0 ||
                       strncasecmp(name, "SHIFT", 5) == 0 || strncasecmp(name, "SQL", 3) == 0;
    size_t n = 0;
    for (; *name != '\0' && n + 1 < room; name++) {
        if (*name == '-' || *name == '_') {
            if (underscores)
                plain[n++] = '_';
        } else
            plain[n++] = (char)(*name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name);
    }
    plain[n] = '\0';
}

static char *as_utf8(struct source *source, const char *text, size_t length, const char *encoding)
{
    char declared[32], plain[32];
    if (encoding != NULL) {
        plain_encoding(plain, sizeof plain, encoding);
        return text_to_utf8(source, text, length, plain, &source->length);
    }
    char *utf8 = text_to_utf8(source, text, length, "UTF8", &source->length);
    if (utf8 == NULL && declared_encoding(text, length, declared)) {
        plain_encoding(plain, sizeof plain, declared);
        utf8 = text_to_utf8(source, text, length, plain, &source->length);
    }
    source->guessed = utf8 == NULL;
    return utf8 != NULL ? utf8 : text_to_utf8(source, text, length, "LATIN1", &source->length);
}

/* ---- the whole ---- */

static bool fill(struct source *source, const char *name, const char *text, size_t length,
                 const char *encoding, const char **why)
{
    *why = "it is not valid in this encoding, or there is no such encoding";
    source->name = talloc_strdup(source, name);
    source->raw = as_utf8(source, text, length, encoding);
    if (source->raw == NULL)
        return false;
    *why = strerror(ENOMEM);
    source->sql = talloc_memdup(source, source->raw, source->length + 1);
    return source->name != NULL && source->sql != NULL && find_lines(source) && source_as_psql(source);
}

struct source *source_of(const void *talloc_parent, const char *name, const char *text, size_t length,
                         const char *encoding, const char **why)
{
    struct source *source = talloc_zero(talloc_parent, struct source);
    if (source == NULL) {
        *why = strerror(ENOMEM);
        return NULL;
    }
    if (fill(source, name, text, length, encoding, why))
        return source;
    talloc_free(source);
    return NULL;
}

/* Everything that the stream has, NUL behind it; NULL: *why. */
static char *slurp(FILE *file, size_t *length, const char **why)
{
    size_t room = (size_t)64 << 10;
    char *text = malloc(room);
    *length = 0;
    *why = strerror(ENOMEM);
    while (text != NULL) {
        *length += fread(text + *length, 1, room - 1 - *length, file);
        if (*length < room - 1)
            break;
        if (room >= SOURCE_MAX) {
            free(text);
            *why = strerror(EFBIG);
            return NULL;
        }
        room *= 2;
        char *more = realloc(text, room);
        if (more == NULL)
            free(text);
        text = more;
    }
    if (text != NULL && ferror(file)) {
        free(text);
        *why = strerror(errno);
        return NULL;
    }
    if (text != NULL)
        text[*length] = '\0';
    return text;
}

struct source *source_read(const void *talloc_parent, const char *name, FILE *file, const char *encoding,
                           const char **why)
{
    size_t length;
    char *text = slurp(file, &length, why);
    if (text == NULL)
        return NULL;
    struct source *source = NULL;
    if (memchr(text, '\0', length) != NULL)
        *why = "it holds NUL bytes (is it UTF-16? PostgreSQL reads UTF-8)";
    else
        source = source_of(talloc_parent, name, text, length, encoding, why);
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
    bool marked = number == 0 && end >= 3 && memcmp(source->raw, "\xef\xbb\xbf", 3) == 0;
    for (size_t i = source->lines[number] + (marked ? 3 : 0); i < end; i++)
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

bool source_marked(const struct source *source, enum mark_kind kind, size_t from, size_t to)
{
    size_t low = 0, high = source->n_marks;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (source->marks[middle].at < from)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < source->n_marks && source->marks[low].at <= to; low++) {
        if (source->marks[low].kind == kind)
            return true;
    }
    return false;
}

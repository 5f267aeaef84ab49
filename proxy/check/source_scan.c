/*
 * Reading a migration file the way psql reads it.
 *
 * psql looks for its own commands (a backslash outside of quotes), for its variables and for the data behind
 * COPY ... FROM STDIN before the server sees anything. This scanner does the same, and knows just enough of
 * SQL's quotes for it; where statements end is the gate's business. The branches of \if are all kept: which
 * one runs is not known.
 */
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "proxy/check/source.h"

struct scan {
    struct source *source;
    char *sql;
    size_t length, at;
    size_t statement; /* where the statement being read starts */
    bool open;        /* something of a statement has been read */
    bool failed;      /* no memory */
    size_t first;     /* behind the byte order mark */
    size_t word;      /* the last word's start, and what is behind it; none: both 0 */
    size_t word_end;
};

static bool word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
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

/* ---- what is noted ---- */

/* Room doubles at powers of two. */
static bool full(size_t n)
{
    return (n & (n - 1)) == 0;
}

static void add_mark(struct scan *scan, size_t at, enum mark_kind kind)
{
    struct source *source = scan->source;
    size_t n = source->n_marks;
    if (full(n)) {
        struct mark *more =
            talloc_realloc(source, source->marks, struct mark, (unsigned)(n == 0 ? 1 : 2 * n));
        scan->failed = scan->failed || more == NULL;
        if (more == NULL)
            return;
        source->marks = more;
    }
    source->marks[source->n_marks++] = (struct mark){.at = at, .kind = kind};
}

static void add_section(struct scan *scan, struct section section)
{
    struct source *source = scan->source;
    size_t n = source->n_sections;
    if (full(n)) {
        struct section *more =
            talloc_realloc(source, source->sections, struct section, (unsigned)(n == 0 ? 1 : 2 * n));
        scan->failed = scan->failed || more == NULL;
        if (more == NULL)
            return;
        source->sections = more;
    }
    source->sections[source->n_sections++] = section;
}

/* A comment line; a tool's ends the statement in front of it, semicolon or not. */
static void line_comment(struct scan *scan)
{
    size_t start = scan->at;
    scan->at = line_end(scan, start);
    struct marker marker = convention_marker(scan->sql + start, scan->at - start, start == scan->first);
    if (marker.kind == MARKER_NONE)
        return;
    if (marker.kind == MARKER_NO_TRANSACTION) {
        scan->source->no_transaction = true;
        return;
    }
    blank(scan, start, scan->at);
    scan->sql[start] = ';';
    scan->open = false;
    if (marker.kind != MARKER_BOUNDARY)
        add_section(scan, (struct section){
                              .at = start, .down = marker.kind == MARKER_DOWN, .wrapping = marker.wrapping});
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
    scan->at = scan->length;
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
    scan->at = scan->length;
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

/* ---- variables ---- */

static bool last_word_is(const struct scan *scan, const char *word)
{
    size_t n = strlen(word);
    return scan->word_end - scan->word == n && strncasecmp(scan->sql + scan->word, word, n) == 0;
}

/* Does a value stand here, not a name? Behind DEFAULT and behind an operator it does. */
static bool value_wanted(const struct scan *scan, size_t at)
{
    while (at > 0 && space(scan->sql[at - 1]))
        at--;
    if (at > 0 && strchr("=<>+-*/|%", scan->sql[at - 1]) != NULL)
        return true;
    return at == scan->word_end && last_word_is(scan, "default");
}

/* What a variable holds isn't known: a name in its place where a name is read, else a parameter. */
static void put_placeholder(struct scan *scan, size_t start, size_t lead, size_t end)
{
    add_mark(scan, start, MARK_VARIABLE);
    if (value_wanted(scan, start)) {
        memset(scan->sql + start, '0', end - start);
        scan->sql[start] = '$';
        scan->sql[end - 1] = '1';
    } else
        memset(scan->sql + start, lead == 1 ? ' ' : '_', lead);
    scan->at = end;
}

/* :name, :'name' and :"name" as psql replaces them; false: only a colon. A digit or a bracket in front of it
 * makes it the middle of an array slice. */
static bool psql_variable(struct scan *scan)
{
    size_t start = scan->at, name = start + 1;
    char before = start > 0 ? scan->sql[start - 1] : ' ', c = byte_at(scan, name);
    bool quoted = c == '\'' || c == '"';
    if (word_byte(before) || before == '[' || before == ']' || before == ')' || before == ':')
        return false;
    size_t end = name + quoted;
    while (word_byte(byte_at(scan, end)))
        end++;
    if (end == name + quoted || (quoted && byte_at(scan, end) != c))
        return false;
    if (!quoted) {
        put_placeholder(scan, start, 1, end);
        return true;
    }
    add_mark(scan, start, MARK_VARIABLE);
    scan->sql[start] = ' ';
    scan->at = end + 1;
    return true;
}

/* ${name}, which Flyway, goose and envsubst replace. */
static bool placeholder(struct scan *scan)
{
    size_t end = scan->at + 2;
    if (byte_at(scan, scan->at + 1) != '{')
        return false;
    while (word_byte(byte_at(scan, end)) ||
           (byte_at(scan, end) != '\0' && strchr(".:-", byte_at(scan, end)))) {
        if (!word_byte(scan->sql[end]))
            scan->sql[end] = '_';
        end++;
    }
    if (byte_at(scan, end) != '}')
        return false;
    scan->sql[end] = '_';
    put_placeholder(scan, scan->at, 2, end + 1);
    return true;
}

/* ---- psql's own commands ---- */

static bool command_is(const char *command, const char *const words[])
{
    size_t length = 0;
    while (word_byte(command[length]) || command[length] == '!')
        length++;
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strlen(words[i]) == length && memcmp(words[i], command, length) == 0)
            return true;
    }
    return false;
}

/* Where a command's arguments end: at the line's end, or at \\ outside of quotes. */
static size_t command_end(const struct scan *scan, size_t start, bool whole_line)
{
    size_t end = line_end(scan, start);
    char quote = '\0';
    for (size_t i = start + 1; !whole_line && i + 1 < end; i++) {
        char c = scan->sql[i];
        if (quote != '\0')
            quote = c == quote ? '\0' : quote;
        else if (c == '\'' || c == '"' || c == '`')
            quote = c;
        else if (c == '\\' && scan->sql[i + 1] == '\\')
            return i + 2;
    }
    return end;
}

static bool same_word(const struct scan *scan, size_t at, const char *word)
{
    size_t length = strlen(word);
    return at + length <= scan->length && strncasecmp(scan->sql + at, word, length) == 0 &&
           !word_byte(byte_at(scan, at + length)) && (at == 0 || !word_byte(scan->sql[at - 1]));
}

static bool from_stdin(const struct scan *scan, size_t start, size_t end)
{
    for (size_t i = start; i < end; i++) {
        if (!same_word(scan, i, "from"))
            continue;
        size_t next = i + 4;
        while (next < end && space(scan->sql[next]))
            next++;
        if (next < end && same_word(scan, next, "stdin"))
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

static void backslash(struct scan *scan)
{
    static const char *const sends[] = {"g",          "gx",    "gexec",        "gset",
                                        "gdesc",      "watch", "crosstabview", "bind",
                                        "bind_named", "parse", "sendpipeline", NULL};
    static const char *const whole[] = {"!", "copy", "h", "help", "ef", "ev", "sf", "sv", NULL};
    static const char *const gexec[] = {"gexec", NULL};
    static const char *const copy[] = {"copy", NULL};
    static const char *const include[] = {"i", "ir", "include", "include_relative", NULL};
    size_t start = scan->at;
    if (byte_at(scan, start + 1) == ';') { /* a semicolon that psql sends with the rest */
        scan->sql[start] = ' ';
        scan->at = start + 1;
        return;
    }
    const char *command = scan->sql + start + 1;
    bool ends = scan->open && command_is(command, sends), data = command_is(command, copy);
    if (ends && command_is(command, gexec))
        add_mark(scan, start, MARK_GEXEC);
    scan->source->includes += command_is(command, include);
    scan->at = command_end(scan, start, command_is(command, whole));
    data = data && from_stdin(scan, start, scan->at);
    blank(scan, start, scan->at);
    if (ends) {
        scan->sql[start] = ';';
        scan->open = false;
    }
    if (data)
        skip_copy_data(scan);
}

/* ---- the rest ---- */

static void semicolon(struct scan *scan)
{
    bool data =
        scan->open && same_word(scan, scan->statement, "copy") && from_stdin(scan, scan->statement, scan->at);
    scan->at++;
    scan->open = false;
    if (data)
        skip_copy_data(scan);
}

static void word(struct scan *scan)
{
    size_t start = scan->at;
    while (scan->at < scan->length && (word_byte(scan->sql[scan->at]) || scan->sql[scan->at] == '$')) {
        if (scan->sql[scan->at] == '$' && byte_at(scan, scan->at + 1) == '{')
            break;
        scan->at++;
    }
    scan->word = start;
    scan->word_end = scan->at;
    bool escape = scan->at - start == 1 && (scan->sql[start] == 'e' || scan->sql[start] == 'E');
    if (escape && byte_at(scan, scan->at) == '\'')
        skip_quoted(scan, '\'', true);
}

static void of_statement(struct scan *scan, char c)
{
    if (!scan->open) {
        scan->open = true;
        scan->statement = scan->at;
    }
    if (c == '\'' || c == '"')
        skip_quoted(scan, c, false);
    else if (word_byte(c))
        word(scan);
    else if (c == ':' && byte_at(scan, scan->at + 1) == ':')
        scan->at += 2;
    else if (!(c == ':' && psql_variable(scan)) && !(c == '$' && (placeholder(scan) || skip_dollar(scan))))
        scan->at++;
}

static void scan_one(struct scan *scan)
{
    char c = scan->sql[scan->at], next = byte_at(scan, scan->at + 1);
    if (c == '\\')
        backslash(scan);
    else if (c == ';')
        semicolon(scan);
    else if (c == '-' && next == '-')
        line_comment(scan);
    else if (c == '/' && next == '*')
        skip_comment(scan);
    else if (space(c))
        scan->at++;
    else
        of_statement(scan, c);
}

bool source_as_psql(struct source *source)
{
    struct scan scan = {.source = source, .sql = source->sql, .length = source->length};
    add_section(&scan, convention_of(source->name, source->raw));
    if (source->length >= 3 && memcmp(source->raw, "\xef\xbb\xbf", 3) == 0)
        blank(&scan, 0, scan.first = 3);
    scan.at = scan.first;
    while (scan.at < scan.length && !scan.failed)
        scan_one(&scan);
    return !scan.failed;
}

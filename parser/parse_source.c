/*
 * The copy of the author's text that libpg_query gets to read, and the way back to the author's offsets.
 *
 * libpg_query always reads plain strings as standard_conforming_strings = on does. For a session that has it
 * off, a plain literal with a backslash becomes an E'' literal. Version 15 doesn't know either that a string
 * goes on behind a "--" comment and a newline: such a comment becomes blanks. And a virtual generated column
 * (PostgreSQL 18) becomes a stored one, which the older grammar has: the rest of the clause is the same.
 */
#include "parser/parse.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

/* Steps of the scanner in excess of the text's length: some 50 ms. */
enum { STRAIN_MAX = 32 << 20 };

int source_place(const struct source *source, int offset)
{
    size_t low = 0, high = source->n_edits;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (source->edits[middle].at < offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return offset;
    const struct edit *last = &source->edits[low - 1];
    int inside = offset - last->at;
    return offset - last->before - (inside < last->length ? inside : last->length);
}

bool source_note(struct source *source, struct insertions *insertions, size_t at)
{
    if (insertions->n % 64 == 0) {
        int *more = talloc_realloc(source, insertions->at, int, insertions->n * 2 + 64);
        if (!more)
            return false;
        insertions->at = more;
    }
    insertions->at[insertions->n++] = (int)at;
    return true;
}

/* Both lists of edits as one, in rising order, with the sums that source_place wants. */
static struct edit *merge_edits(struct source *source, const struct insertions *insertions, int length)
{
    struct edit *edits = talloc_array(source, struct edit, source->n_edits + insertions->n);
    size_t old = 0, new = 0;
    int shift = 0, before = 0;
    for (size_t i = 0; edits && i < source->n_edits + insertions->n; i++) {
        if (old < source->n_edits && (new == insertions->n || source->edits[old].at < insertions->at[new])) {
            edits[i] = source->edits[old++];
            edits[i].at += shift;
        } else {
            edits[i] = (struct edit){.at = insertions->at[new ++] + shift, .length = length};
            shift += length;
        }
        edits[i].before = before;
        before += edits[i].length;
    }
    return edits;
}

bool source_apply(struct source *source, struct insertions *insertions, const char *insert)
{
    size_t length = strlen(insert), from = 0, to = 0;
    char *text = talloc_array(source, char, source->length + insertions->n * length + 1);
    struct edit *edits = merge_edits(source, insertions, (int)length);
    if (!text || !edits)
        return false;
    for (size_t i = 0; i < insertions->n; i++) {
        size_t at = (size_t)insertions->at[i];
        memcpy(text + to, source->text + from, at - from);
        to += at - from;
        from = at;
        insertions->at[i] = (int)to;
        to = (size_t)(stpcpy(text + to, insert) - text);
    }
    memcpy(text + to, source->text + from, source->length - from + 1);
    talloc_free(source->text);
    talloc_free(source->edits);
    source->text = text;
    source->length = to + source->length - from;
    source->edits = edits;
    source->n_edits += insertions->n;
    return true;
}

/* ---- strings, and what the scanner is slow at ---- */

static bool word_byte(unsigned char c)
{
    return isalnum(c) || c == '_' || c == '$' || c >= 0x80;
}

static bool operator_byte(char c)
{
    return c && strchr("~!@#^&|`?+-*/%<>=", c) != NULL;
}

/*
 * What libpg_query's scanner (PostgreSQL's scan.l) reads in more than linear time: wherever an operator or
 * the opening of a comment stands it takes in all operator signs that follow, and then gives most of them
 * back.
 */
struct strain {
    size_t spent;
    bool too_much;
};

static void strain_add(struct strain *strain, const char *text, size_t length, size_t i, size_t times)
{
    size_t end = i;
    while (end < length && operator_byte(text[end]))
        end++;
    strain->spent += (end - i) * times;
    if (strain->spent > STRAIN_MAX)
        strain->too_much = true;
}

static size_t skip_block_comment(const char *text, size_t length, size_t i, struct strain *strain)
{
    int depth = 1;
    strain_add(strain, text, length, i, 1);
    for (i += 2; i < length && depth > 0 && !strain->too_much;) {
        if (!strncmp(text + i, "/*", 2)) {
            strain_add(strain, text, length, i, 1);
            depth++;
            i += 2;
        } else if (!strncmp(text + i, "*/", 2)) {
            depth--;
            i += 2;
        } else {
            i++;
        }
    }
    return i;
}

static size_t skip_line(const char *text, size_t length, size_t i)
{
    while (i < length && text[i] != '\n' && text[i] != '\r')
        i++;
    return i;
}

static size_t skip_quoted(const char *text, size_t length, size_t i, char quote)
{
    for (i++; i < length && text[i] != quote;)
        i++;
    return i < length ? i + 1 : length;
}

static size_t skip_dollar(const char *text, size_t length, size_t i)
{
    size_t tag = i + 1;
    if (tag < length && isdigit((unsigned char)text[tag]))
        return tag;
    while (tag < length && text[tag] != '$' && word_byte((unsigned char)text[tag]))
        tag++;
    if (tag >= length || text[tag] != '$')
        return i + 1;
    size_t size = tag + 1 - i;
    char *end = memmem(text + tag + 1, length - tag - 1, text + i, size);
    return end ? (size_t)(end - text) + size : length;
}

/* Behind a closing quote: where the same literal goes on after a newline, or 0. */
static size_t continued(const char *text, size_t length, size_t i)
{
    bool newline = false;
    while (i < length) {
        if (!strncmp(text + i, "--", 2))
            i = skip_line(text, length, i);
        else if (isspace((unsigned char)text[i])) {
            newline |= text[i] == '\n' || text[i] == '\r';
            i++;
        } else
            break;
    }
    return newline && i < length && text[i] == '\'' ? i : 0;
}

/* A waiver may stand in it. */
static bool keep_comment(struct source *source, size_t from, size_t to)
{
    static const char word[] = "pgsluice:";
    size_t i = from;
    while (i + strlen(word) <= to && strncasecmp(source->text + i, word, strlen(word)) != 0)
        i++;
    if (i + strlen(word) > to || source->n_blanked == SOURCE_BLANKED)
        return true;
    char *copy = talloc_strndup(source, source->text + from, to - from);
    source->blanked[source->n_blanked] = copy;
    source->n_blanked += copy != NULL;
    return copy != NULL;
}

/* Between the two parts of a literal. false: out of memory. */
static bool blank_comments(struct source *source, size_t from, size_t to)
{
    bool ok = true;
    while (from < to) {
        size_t end = from + 1;
        if (source->text[from] == '-') {
            end = skip_line(source->text, to, from);
            ok = keep_comment(source, from, end) && ok;
            memset(source->text + from, ' ', end - from);
        }
        from = end;
    }
    return ok;
}

/* The end of a literal whose opening quote is at i, read with backslash escapes. */
static size_t skip_escaped(struct source *source, size_t i, bool *backslash, bool *ok)
{
    const char *text = source->text;
    size_t length = source->length;
    *backslash = false;
    for (i++; i < length; i++) {
        if (text[i] == '\\') {
            *backslash = true;
            i++;
        } else if (text[i] == '\'') {
            if (i + 1 < length && text[i + 1] == '\'') {
                i++;
                continue;
            }
            size_t more = continued(text, length, i + 1);
            if (!more)
                return i + 1;
            *ok = blank_comments(source, i + 1, more) && *ok;
            i = more;
        }
    }
    return length;
}

/* What may stand in front of a quote as part of the literal. */
static bool is_prefix(const char *text, size_t start, size_t end)
{
    return end - start == 1 && strchr("eEbBxXnN", text[start]) != NULL;
}

/* One literal, its quote at i; `prefix` points at the letter in front of it or is NULL. */
static bool skim_string(struct source *source, size_t *i, char *prefix, bool scs,
                        struct insertions *insertions)
{
    size_t start = *i;
    const char *escaped = scs ? "eE" : "eEnN";
    if (prefix ? !strchr(escaped, *prefix) : scs) {
        *i = skip_quoted(source->text, source->length, start, '\'');
        size_t more = continued(source->text, source->length, *i);
        return !more || blank_comments(source, *i, more);
    }
    bool backslash, ok = true;
    *i = skip_escaped(source, start, &backslash, &ok);
    if (!backslash || !ok)
        return ok;
    if (!prefix)
        return source_note(source, insertions, start);
    *prefix = 'E'; /* N'…' is read like a plain one */
    return true;
}

/* Behind an operator, which ends where a comment starts. */
static size_t skip_operator(const char *text, size_t length, size_t i, struct strain *strain)
{
    size_t start = i;
    while (i < length && operator_byte(text[i]) && strncmp(text + i, "--", 2) != 0 &&
           strncmp(text + i, "/*", 2) != 0)
        i++;
    if (i > start)
        strain_add(strain, text, length, start, i - start);
    return i;
}

/* One pass over the text as the session reads it: notes the strings to be escaped, and sees to it that the
 * scanner won't take too long. */
static bool skim(struct source *source, bool scs)
{
    struct insertions insertions = {0};
    struct strain strain = {0};
    char *text = source->text;
    size_t length = source->length, word = 0;
    bool in_word = false;
    for (size_t i = 0; i < length && !strain.too_much;) {
        bool was_word = in_word;
        size_t sign = skip_operator(text, length, i, &strain);
        in_word = false;
        if (sign > i) {
            i = sign;
        } else if (!strncmp(text + i, "--", 2)) {
            i = skip_line(text, length, i);
        } else if (!strncmp(text + i, "/*", 2)) {
            i = skip_block_comment(text, length, i, &strain);
        } else if (text[i] == '"') {
            i = skip_quoted(text, length, i, '"');
        } else if (text[i] == '$' && !was_word) {
            i = skip_dollar(text, length, i);
        } else if (text[i] == '\'') {
            char *prefix = was_word && is_prefix(text, word, i) ? text + word : NULL;
            if (!skim_string(source, &i, prefix, scs, &insertions))
                return false;
        } else {
            in_word = word_byte((unsigned char)text[i]);
            if (in_word && !was_word)
                word = i;
            i++;
        }
    }
    if (strain.too_much)
        source->refused = "too long a run of operator signs";
    bool ok = insertions.n == 0 || source_apply(source, &insertions, " E");
    talloc_free(insertions.at);
    return ok;
}

/* ---- the whole --------------------------------------------------------------------------------------- */

bool source_scan(struct source *source)
{
    return !source->refused && tokens_read(source, source->text, &source->tokens);
}

struct source *source_new(const void *parent, const char *text, size_t length, bool scs)
{
    struct source *source = talloc_zero(parent, struct source);
    if (source)
        source->text = talloc_strndup(source, text, length);
    if (!source || !source->text) {
        talloc_free(source);
        return NULL;
    }
    source->length = length;
    if (!skim(source, scs)) {
        talloc_free(source);
        return NULL;
    }
    return source;
}

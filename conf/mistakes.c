/*
 * The list of mistakes of one load: how they are worded, placed, sorted, and kept from growing without bound.
 */
#include "conf/reader.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

/* Stands in for the whole list when there is no memory for a list. */
static char no_memory_text[] = "out of memory";
static struct conf_mistake no_memory = {1, 1, no_memory_text};

void reader_no_memory(struct reader *reader)
{
    conf_mistakes_free(reader->mistakes);
    reader->mistakes->items = &no_memory;
    reader->mistakes->n = 1;
    reader->full = true;
}

void conf_mistakes_free(struct conf_mistakes *mistakes)
{
    if (mistakes->items != &no_memory)
        talloc_free(mistakes->items);
    mistakes->items = NULL;
    mistakes->n = 0;
}

/* On success `text` becomes a child of the list. */
static void append(struct reader *reader, unsigned line, unsigned column, char *text)
{
    struct conf_mistakes *mistakes = reader->mistakes;
    struct conf_mistake *items =
        text ? talloc_realloc(NULL, mistakes->items, struct conf_mistake, mistakes->n + 1) : NULL;
    if (!items) {
        reader_no_memory(reader);
        return;
    }
    mistakes->items = items;
    items[mistakes->n++] = (struct conf_mistake){line, column, talloc_steal(items, text)};
}

static char *print_place(char *text, const struct place *place)
{
    if (!place || !text)
        return text;
    text = print_place(text, place->outer);
    if (!text)
        return NULL;
    if (!place->key)
        return talloc_asprintf_append_buffer(text, "[%zu]", place->index);
    return talloc_asprintf_append_buffer(text, "%s%s", place->outer ? "." : "", place->key);
}

__attribute__((format(printf, 5, 0))) static void mistake_va(struct reader *reader, unsigned line,
                                                             unsigned column, const struct place *place,
                                                             const char *format, va_list arguments)
{
    if (reader->full)
        return;
    /* the scope takes with it what a failing append leaves behind */
    void *scope = talloc_new(NULL);
    char *text = scope ? talloc_strdup(scope, "") : NULL;
    if (reader->mistakes->n == READER_MISTAKES - 1) {
        reader->full = true;
        text = text ? talloc_strdup_append_buffer(text,
                                                  "more than can be listed; what follows was not looked at")
                    : NULL;
    } else {
        text = print_place(text, place);
        if (place && text)
            text = talloc_strdup_append_buffer(text, ": ");
        if (text)
            text = talloc_vasprintf_append_buffer(text, format, arguments);
    }
    append(reader, line, column, text);
    talloc_free(scope);
}

void reader_mistake(struct reader *reader, unsigned line, unsigned column, const struct place *place,
                    const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    mistake_va(reader, line, column, place, format, arguments);
    va_end(arguments);
}

void reader_mistake_at(struct reader *reader, const yaml_node_t *node, const struct place *place,
                       const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    mistake_va(reader, (unsigned)node->start_mark.line + 1, (unsigned)node->start_mark.column + 1, place,
               format, arguments);
    va_end(arguments);
}

static int by_position(const void *left, const void *right)
{
    const struct conf_mistake *a = left, *b = right;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return strcmp(a->text, b->text);
}

void reader_sort(struct reader *reader)
{
    if (reader->mistakes->n > 1)
        qsort(reader->mistakes->items, reader->mistakes->n, sizeof *reader->mistakes->items, by_position);
}

const char *reader_quote(char out[READER_QUOTE], const char *text, size_t length)
{
    size_t at = 0, i = 0;
    for (; i < length && at < READER_QUOTE - 12; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7f)
            at += (size_t)snprintf(out + at, READER_QUOTE - at, "\\x%02x", byte);
        else
            out[at++] = text[i];
    }
    if (i < length) { /* cut between characters, not inside one */
        while (i > 0 && at > 0 && ((unsigned char)text[i] & 0xc0) == 0x80) {
            i--;
            at--;
        }
        memcpy(out + at, "...", 3);
        at += 3;
    }
    out[at] = '\0';
    return out;
}

enum { NEAREST_LENGTH = 40 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many insertions, deletions, replacements and swaps of neighbours lead from one word to the other. */
static size_t distance(const char *from, size_t n, const char *to, size_t m)
{
    size_t rows[3][NEAREST_LENGTH + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replaced = last[j - 1] + (from[i - 1] != to[j - 1]);
            now[j] = least(replaced, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[m];
}

const char *reader_nearest(const char *word, const char *const *words, size_t n)
{
    size_t length = strlen(word);
    if (length < 2 || length > NEAREST_LENGTH)
        return NULL;
    /* a third of the letters may be wrong; more is another word */
    size_t best = length / 3 + 2;
    const char *found = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t other = strlen(words[i]);
        if (other > NEAREST_LENGTH)
            continue;
        size_t far = distance(word, length, words[i], other);
        if (far < best && far < other) {
            best = far;
            found = words[i];
        }
    }
    return found;
}

/*
 * Appending and escaping. Nothing here blocks or fails but for memory, which `full` tells.
 */
#include "proxy/observe/line.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void line_fixed(struct line *line, char *bytes, size_t size)
{
    *line = (struct line){.bytes = bytes, .size = size};
}

void line_growing(struct line *line)
{
    *line = (struct line){.grows = true};
}

void line_release(struct line *line)
{
    if (line->grows)
        free(line->bytes);
    line_growing(line);
}

static bool room(struct line *line, size_t n)
{
    if (line->full)
        return false;
    if (n <= line->size - line->length)
        return true;
    line->full = true;
    if (!line->grows || n > SIZE_MAX / 4 - line->length)
        return false;
    size_t size = line->size ? line->size * 2 : 512;
    while (size - line->length < n)
        size *= 2;
    char *bytes = realloc(line->bytes, size);
    if (!bytes)
        return false;
    line->bytes = bytes;
    line->size = size;
    line->full = false;
    return true;
}

void line_put(struct line *line, const char *bytes, size_t n)
{
    if (n == 0 || !room(line, n))
        return;
    memcpy(line->bytes + line->length, bytes, n);
    line->length += n;
}

void line_text(struct line *line, const char *text)
{
    line_put(line, text, strlen(text));
}

void line_printf(struct line *line, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n < 0)
        return;
    if ((size_t)n < sizeof text) {
        line_put(line, text, (size_t)n);
        return;
    }
    if (!room(line, (size_t)n + 1))
        return;
    va_start(arguments, format);
    vsnprintf(line->bytes + line->length, (size_t)n + 1, format, arguments);
    va_end(arguments);
    line->length += (size_t)n;
}

size_t line_utf8(const char *text, size_t left)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (left < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* the second byte decides overlong forms, surrogates and what lies above U+10FFFF */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

/* The short escape that JSON and C share, or 0. */
static char short_escape(unsigned char byte)
{
    switch (byte) {
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static void json_character(struct line *line, unsigned char byte)
{
    char escape = byte == '"' || byte == '\\' ? (char)byte : short_escape(byte);
    if (escape)
        line_put(line, (char[]){'\\', escape}, 2);
    else
        line_printf(line, "\\u%04x", byte);
}

static bool json_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

void line_json(struct line *line, const char *text, size_t n)
{
    line_put(line, "\"", 1);
    for (size_t i = 0; i < n;) {
        size_t run = 0;
        while (i + run < n && json_plain((unsigned char)text[i + run]))
            run++;
        /* in fixed memory a run is put in pieces, so that the most of it finds room */
        size_t length = line->grows || run < 2 ? run : 1;
        if (length) {
            line_put(line, text + i, length);
        } else if ((unsigned char)text[i] < 0x80) {
            json_character(line, (unsigned char)text[i]);
            length = 1;
        } else if ((length = line_utf8(text + i, n - i)) != 0) {
            line_put(line, text + i, length);
        } else {
            line_text(line, "\xef\xbf\xbd");
            length = 1;
        }
        i += length;
    }
    line_put(line, "\"", 1);
}

static uint32_t code_point(const char *text, size_t length)
{
    const unsigned char *s = (const unsigned char *)text;
    static const unsigned char first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = s[0] & first[length];
    for (size_t i = 1; i < length; i++)
        code = code << 6 | (s[i] & 0x3f);
    return code;
}

/* Characters that move the cursor, end a line or turn the reading direction. */
static bool deceives(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x200e || code == 0x200f ||
           code == 0x061c || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
           code == 0xfeff;
}

void line_plain(struct line *line, const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t length = line_utf8(text + i, n - i);
        unsigned char byte = (unsigned char)text[i];
        uint32_t code = length ? code_point(text + i, length) : 0;
        if (length && !deceives(code))
            line_put(line, text + i, length);
        else if (length && short_escape(byte))
            line_put(line, (char[]){'\\', short_escape(byte)}, 2);
        else if (length > 1)
            line_printf(line, "\\u%04x", code);
        else
            line_printf(line, "\\x%02x", byte);
        i += length ? length : 1;
    }
}

void line_time(struct line *line, const struct timespec *time, int digits)
{
    struct tm utc;
    if (!gmtime_r(&time->tv_sec, &utc))
        memset(&utc, 0, sizeof utc);
    long fraction = digits == 3 ? time->tv_nsec / 1000000 : time->tv_nsec / 1000;
    line_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%0*ldZ", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                utc.tm_hour, utc.tm_min, utc.tm_sec, digits, fraction);
}

/*
 * Is it text at all: UTF-8 without NUL and control characters. libyaml would stop at the first such byte with
 * an offset and no line, and would read UTF-16 where it sees its mark; here each gets a line that can be
 * found.
 */
#include "conf/reader.h"

#include <string.h>

struct cursor {
    const unsigned char *at, *end;
    unsigned line, column;
};

/* Bytes of the UTF-8 character at the cursor; 0: there is none. RFC 3629, section 4. */
static size_t character(const struct cursor *cursor)
{
    const unsigned char *s = cursor->at;
    size_t left = (size_t)(cursor->end - s);
    if (s[0] < 0x80)
        return 1;
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < length)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

static void step(struct cursor *cursor, size_t length)
{
    unsigned char byte = cursor->at[0];
    cursor->at += length;
    bool lone_return = byte == '\r' && (cursor->at == cursor->end || *cursor->at != '\n');
    if (byte == '\n' || lone_return) {
        cursor->line++;
        cursor->column = 1;
    } else {
        cursor->column++;
    }
}

static unsigned code_point(const unsigned char *s, size_t length)
{
    unsigned value = length == 1 ? s[0] : s[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++)
        value = value << 6 | (s[i] & 0x3f);
    return value;
}

/* Characters that YAML does not take (YAML 1.1, section 5.1): control characters and what is none. */
static bool forbidden(unsigned value)
{
    if (value < 0x20)
        return value != '\t' && value != '\n' && value != '\r';
    return (value >= 0x7f && value < 0xa0 && value != 0x85) || value == 0xfeff || value == 0xfffe ||
           value == 0xffff;
}

static bool utf16(const char *text, size_t length)
{
    if (length < 2)
        return false;
    return memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0;
}

bool encoding_check(struct reader *reader, const char **text, size_t *length)
{
    if (utf16(*text, *length)) {
        reader_mistake(reader, 1, 1, NULL, "this is UTF-16; a configuration must be saved as UTF-8");
        return false;
    }
    if (*length >= 3 && memcmp(*text, "\xef\xbb\xbf", 3) == 0) {
        *text += 3;
        *length -= 3;
    }
    const unsigned char *start = (const unsigned char *)*text;
    struct cursor cursor = {start, start + *length, 1, 1};
    bool fine = true;
    while (cursor.at < cursor.end && !reader->full) {
        size_t bytes = character(&cursor);
        if (bytes == 0)
            reader_mistake(reader, cursor.line, cursor.column, NULL, "byte 0x%02x is not UTF-8",
                           cursor.at[0]);
        else if (cursor.at[0] == 0)
            reader_mistake(reader, cursor.line, cursor.column, NULL, "a NUL byte; this is not a text file");
        else if (forbidden(code_point(cursor.at, bytes)))
            reader_mistake(reader, cursor.line, cursor.column, NULL, "the character U+%04X cannot stand here",
                           code_point(cursor.at, bytes));
        else {
            step(&cursor, bytes);
            continue;
        }
        fine = false;
        step(&cursor, bytes > 0 ? bytes : 1);
    }
    return fine;
}

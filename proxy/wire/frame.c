/*
 * The writer of frames. Invariant: length <= size <= limit (or nothing was ever allocated), and once `failed`
 * is set nothing is added any more.
 */
#include "proxy/wire/frame.h"

#include <stdlib.h>

void writer_init(struct writer *writer, size_t limit)
{
    *writer = (struct writer){.limit = limit};
}

void writer_release(struct writer *writer)
{
    free(writer->bytes);
    *writer = (struct writer){.limit = writer->limit};
}

void writer_clear(struct writer *writer)
{
    writer->length = 0;
    writer->failed = false;
}

bool writer_ok(const struct writer *writer)
{
    return !writer->failed;
}

static bool writer_room(struct writer *writer, size_t n)
{
    if (writer->failed || n > writer->limit - writer->length) {
        writer->failed = true;
        return false;
    }
    size_t wanted = writer->length + n;
    if (wanted <= writer->size)
        return true;
    size_t size = writer->size < 64 ? 64 : writer->size;
    while (size < wanted)
        size = size > writer->limit / 2 ? writer->limit : size * 2;
    uint8_t *bytes = realloc(writer->bytes, size);
    if (!bytes) {
        writer->failed = true;
        return false;
    }
    writer->bytes = bytes;
    writer->size = size;
    return true;
}

void writer_bytes(struct writer *writer, const void *bytes, size_t n)
{
    if (n == 0 || !writer_room(writer, n))
        return;
    memcpy(writer->bytes + writer->length, bytes, n);
    writer->length += n;
}

void writer_u8(struct writer *writer, uint8_t value)
{
    writer_bytes(writer, &value, 1);
}

void writer_u16(struct writer *writer, uint16_t value)
{
    writer_bytes(writer, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
}

void writer_u32(struct writer *writer, uint32_t value)
{
    uint8_t bytes[4];
    put_u32(bytes, value);
    writer_bytes(writer, bytes, sizeof bytes);
}

void writer_string(struct writer *writer, const char *string)
{
    writer_bytes(writer, string ? string : "", (string ? strlen(string) : 0) + 1);
}

void writer_text(struct writer *writer, const char *text, size_t length)
{
    writer_bytes(writer, text, length ? strnlen(text, length) : 0);
    writer_u8(writer, 0);
}

size_t writer_begin(struct writer *writer, uint8_t type)
{
    size_t begun = writer->length;
    writer_u8(writer, type);
    writer_u32(writer, 0);
    return begun;
}

void writer_end(struct writer *writer, size_t begun)
{
    if (writer->failed)
        return;
    size_t length = writer->length - begun - 1;
    if (length > INT32_MAX) {
        writer->failed = true;
        return;
    }
    put_u32(writer->bytes + begun + 1, (uint32_t)length);
}

/*
 * Frames: the checked reader and the writer that everything on the wire goes through.
 *
 * A frame of protocol 3 is a type byte, a length of 4 bytes that counts itself and what follows, and a
 * payload (PostgreSQL manual, 55.7). Packets of the start-up phase lack the type byte.
 *
 * The reader borrows bytes and never reads behind them: what is asked for beyond the end is zero or NULL, and
 * `bad` stays set. A peer's lengths are only ever compared with what is left, never added to a pointer.
 * The writer owns its buffer, keeps its first error and takes everything after it without effect, and never
 * grows beyond its limit: so callers write a whole message and look at writer_ok once.
 */
#ifndef PGSLUICE_PROXY_WIRE_FRAME_H
#define PGSLUICE_PROXY_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRAME_HEADER 5 /* type and length */

static inline uint32_t frame_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static inline struct reader reader_of(const void *bytes, size_t n)
{
    const uint8_t *start = bytes;
    return (struct reader){start, start + n, false};
}

static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* n bytes, or NULL. */
static inline const uint8_t *reader_bytes(struct reader *reader, size_t n)
{
    if (reader->bad || n > reader_left(reader)) {
        reader->bad = true;
        return NULL;
    }
    const uint8_t *bytes = reader->at;
    reader->at += n;
    return bytes;
}

static inline uint8_t reader_u8(struct reader *reader)
{
    const uint8_t *bytes = reader_bytes(reader, 1);
    return bytes ? *bytes : 0;
}

static inline uint16_t reader_u16(struct reader *reader)
{
    const uint8_t *bytes = reader_bytes(reader, 2);
    return bytes ? (uint16_t)(bytes[0] << 8 | bytes[1]) : 0;
}

static inline uint32_t reader_u32(struct reader *reader)
{
    const uint8_t *bytes = reader_bytes(reader, 4);
    return bytes ? frame_u32(bytes) : 0;
}

/* A string that ends in a NUL within the bytes, or NULL. `length` (without the NUL) may be NULL. */
static inline const char *reader_string(struct reader *reader, size_t *length)
{
    const uint8_t *nul = reader->bad ? NULL : memchr(reader->at, 0, reader_left(reader));
    if (length)
        *length = 0;
    if (!nul) {
        reader->bad = true;
        return NULL;
    }
    const char *string = (const char *)reader->at;
    if (length)
        *length = (size_t)(nul - reader->at);
    reader->at = nul + 1;
    return string;
}

/* Everything was there and nothing is left over. */
static inline bool reader_done(const struct reader *reader)
{
    return !reader->bad && reader->at == reader->end;
}

struct writer {
    uint8_t *bytes; /* malloc'ed */
    size_t length, size, limit;
    bool failed; /* out of memory, or over the limit */
};

void writer_init(struct writer *, size_t limit);
void writer_release(struct writer *);
void writer_clear(struct writer *); /* keeps the buffer, forgets content and error */
bool writer_ok(const struct writer *);

void writer_bytes(struct writer *, const void *bytes, size_t n);
void writer_u8(struct writer *, uint8_t);
void writer_u16(struct writer *, uint16_t);
void writer_u32(struct writer *, uint32_t);
void writer_string(struct writer *, const char *); /* with its NUL; NULL writes "" */
/* Text that need not be NUL-terminated, cut at a NUL it may hold, and the NUL behind it. */
void writer_text(struct writer *, const char *text, size_t length);

/* Begin a frame; the result goes to writer_end, which puts the length in. */
size_t writer_begin(struct writer *, uint8_t type);
void writer_end(struct writer *, size_t begun);

#endif

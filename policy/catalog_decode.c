/*
 * From what the server sent to JSON text in UTF-8. The answer is base64 of the text in the server's own
 * encoding, whose name stands in front, so that no client_encoding can stand in its way.
 */
#include "policy/catalog_inside.h"

#include <string.h>
#include <talloc.h>

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* PostgreSQL breaks lines after 76 characters. */
static char *base64(const void *parent, const char *text, size_t length, size_t *out)
{
    char *result = talloc_array(parent, char, length / 4 * 3 + 4);
    uint32_t bits = 0;
    unsigned n = 0;
    size_t at = 0, end = length;
    bool ok = result != NULL;
    while (end > 0 && (text[end - 1] == '=' || text[end - 1] == '\n'))
        end--;
    for (size_t i = 0; i < end && ok; i++) {
        int value = digit(text[i]);
        if (text[i] == '\n')
            continue;
        ok = value >= 0;
        bits = bits << 6 | (uint32_t)(value & 63);
        if (++n % 4 != 1)
            result[at++] = (char)(bits >> (2 * (3 - (n + 3) % 4)) & 0xff);
    }
    if (!ok || n % 4 == 1) {
        talloc_free(result);
        return NULL;
    }
    *out = at;
    return result;
}

char *catalog_decode(const void *parent, const char *answer, size_t length, size_t *out)
{
    const char *colon = memchr(answer, ':', length < 40 ? length : 40);
    if (length > 0 && answer[0] == '{') {
        *out = length;
        return talloc_memdup(parent, answer, length);
    }
    if (colon == NULL)
        return NULL;
    size_t n = 0;
    char *encoding = talloc_strndup(parent, answer, (size_t)(colon - answer));
    char *bytes = base64(parent, colon + 1, length - (size_t)(colon + 1 - answer), &n);
    char *text = encoding != NULL && bytes != NULL ? text_to_utf8(parent, bytes, n, encoding, out) : NULL;
    talloc_free(encoding);
    talloc_free(bytes);
    return text;
}

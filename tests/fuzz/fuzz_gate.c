/*
 * The gate, fed whole and cut at places that the input chooses, must say the same; of a text that
 * PostgreSQL's lexer accepts it must say what that lexer and, where it parses, the parser say.
 *
 * The first byte of an input chooses encoding and standard_conforming_strings, the second seeds the cuts, the
 * rest is the text.
 */
#include "tests/unit/test_gate_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 2048 }; /* libpg_query recurses: its limits are another test's */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t cut_by_seed(void *context, size_t left)
{
    uint32_t *seed = context;
    *seed = *seed * 1664525u + 1013904223u;
    size_t n = 1 + (*seed >> 28);
    return n < left ? n : left;
}

static void check(const char *what, const char *why)
{
    if (!why)
        return;
    fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > TEXT_MAX)
        return 0;
    bool scs = !(data[0] & 0x80);
    enum text_encoding encoding = (enum text_encoding)(data[0] & 7);
    uint32_t seed = data[1];
    const uint8_t *bytes = data + 2;
    size_t n = size - 2;
    static struct gate_list whole, cut;
    gate_list_of(&whole, bytes, n, scs, encoding, NULL, NULL);
    gate_list_of(&cut, bytes, n, scs, encoding, cut_by_seed, &seed);
    check("cut", gate_list_difference(&whole, &cut));
    /* the model knows one setting, no NUL, and statements up to the list's size */
    if (!scs || encoding != TEXT_ASCII_SAFE || memchr(bytes, 0, n) || whole.n == GATE_LIST_MAX)
        return 0;
    char text[TEXT_MAX + 1];
    memcpy(text, bytes, n);
    text[n] = 0;
    const char *why;
    if (gate_model_compare(&whole, text, &why, NULL) == MODEL_DIFFERS)
        check(text, why);
    return 0;
}

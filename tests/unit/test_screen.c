/*
 * Does a text hold the names of a column in quarantine and of its table? Rows of text and answer, and a large
 * list: the time doesn't grow with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <talloc.h>

#include "proxy/change/screen.h"

#define L10 "llllllllll"
#define L63 L10 L10 L10 L10 L10 L10 "lll"
#define O30 "öööööööööööööööööööööööööööööö"

static const struct change_column columns[] = {
    {.table = "items", .column = "token", .quarantine = QUARANTINE_REJECT},
    {.table = "items", .column = "order", .quarantine = QUARANTINE_REJECT},
    {.table = "user", .column = "token", .quarantine = QUARANTINE_WARN},
    {.table = "quo", .column = "a\"b", .quarantine = QUARANTINE_REJECT},
    {.table = "quo", .column = L63, .quarantine = QUARANTINE_REJECT},
    {.table = "quo", .column = "a" O30, .quarantine = QUARANTINE_REJECT}, /* 61 bytes */
    {.table = "My Table", .column = "Some-Column", .quarantine = QUARANTINE_REJECT},
    {.table = "free", .column = "token", .quarantine = QUARANTINE_ALLOW},
};

static const struct {
    const char *sql;
    bool holds;
} rows[] = {
    {"", false},
    {"SELECT 1", false},
    {"SELECT token FROM items", true},
    {"SELECT TOKEN FROM Items", true},
    {"SELECT \"token\" FROM \"items\"", true},
    {"token items", true},
    {"SELECT token FROM other", false},
    {"SELECT id FROM items", false},
    {"SELECT tokens FROM items", false},
    {"SELECT a_token FROM items", false},
    {"SELECT token$ FROM items", false},
    {"SELECT itöken, tökentoken FROM items", false},
    {"SELECT token FROM free", false},
    {"SELECT '\"', token FROM items", true},
    {"SELECT \"x\"\"\", token FROM items", true},
    {"SELECT (items).token", true},
    /* reserved words */
    {"SELECT id FROM items ORDER BY id", false},
    {"SELECT id FROM items i /* i. */ ORDER BY id", false},
    {"SELECT \"order\" FROM items", true},
    {"SELECT i.order FROM items i", true},
    {"SELECT i . \n order FROM items i", true},
    {"SELECT i./* x */order FROM items i", true},
    {"SELECT i. -- x\n order FROM items i", true},
    {"SELECT token FROM user", false},
    {"SELECT token FROM public.user", true},
    {"SELECT token FROM \"user\"", true},
    /* names that only quotes can hold */
    {"SELECT \"a\"\"b\" FROM quo", true},
    {"SELECT \"A\"\"B\" FROM quo", true},
    {"SELECT \"a\"\"bc\" FROM quo", false},
    {"SELECT a\"b FROM quo", false},
    {"SELECT \"a\"\"b FROM quo", false},
    {"SELECT \"Some-Column\" FROM \"My Table\"", true},
    {"SELECT Some-Column FROM \"My Table\"", false},
    {"SELECT '\"' || \"Some-Column\" FROM \"My Table\"", true},
    /* names that are too long */
    {"SELECT " L63 " FROM quo", true},
    {"SELECT " L63 "lllllll FROM quo", true},
    {"SELECT \"" L63 "lllllll\" FROM quo", true},
    {"SELECT " L63 L63 L63 L63 L63 L63 " FROM quo", true},
    {"SELECT " L10 L10 " FROM quo", false},
    {"SELECT a" O30 " FROM quo", true},
    {"SELECT a" O30 "ööö FROM quo", false}, /* cut behind the 31st */
    {"SELECT a" O30 "\xe2\x82\xac\xe2\x82\xac FROM quo", true},
    /* in escapes */
    {"SELECT U&\"tok\\0065n\" FROM items", true},
    {"SELECT u&\"x\" FROM t", true},
    {"SELECT u & \"x\" FROM t", false},
};

static void test_rows(void **state)
{
    unsigned wrong = 0;
    struct screen *screen = screen_new(NULL, columns, sizeof columns / sizeof *columns);
    assert_non_null(screen);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t length = strlen(rows[i].sql);
        char *sql = malloc(length + 1); /* so that a sanitizer sees its end */
        assert_non_null(sql);
        memcpy(sql, rows[i].sql, length);
        char *exact = realloc(sql, length ? length : 1);
        if (screen_holds(screen, exact, length, true) != rows[i].holds) {
            fprintf(stderr, "wrong: %s\n", rows[i].sql);
            wrong++;
        }
        free(exact);
    }
    talloc_free(screen);
    assert_int_equal(wrong, 0);
}

static void test_encoding(void **state)
{
    static const char *const high = "SELECT gr\xf6\xdf"
                                    "e FROM gross",
                             *const plain = "SELECT 1";
    const struct change_column foreign = {.table = "gross", .column = "größe"};
    const struct change_column ascii = {.table = "gross", .column = "size"};
    struct screen *screen = screen_new(NULL, &foreign, 1);
    assert_true(screen_holds(screen, high, strlen(high), false));
    assert_false(screen_holds(screen, high, strlen(high), true));
    assert_false(screen_holds(screen, plain, strlen(plain), false));
    assert_true(screen_holds(screen, "größe gross", strlen("größe gross"), true));
    talloc_free(screen);
    screen = screen_new(NULL, &ascii, 1);
    assert_false(screen_holds(screen, high, strlen(high), false));
    talloc_free(screen);
}

static void test_many(void **state)
{
    enum { N = 5000 };
    void *memory = talloc_new(NULL);
    struct change_column *many = talloc_zero_array(memory, struct change_column, N);
    for (int i = 0; i < N; i++) {
        many[i].table = talloc_asprintf(memory, "wide%d", i / 100);
        many[i].column = talloc_asprintf(memory, "w%d", i);
    }
    struct screen *screen = screen_new(memory, many, N);
    assert_non_null(screen);
    for (int i = 0; i < N; i++) {
        char text[64];
        snprintf(text, sizeof text, "SELECT w%d FROM wide%d", i, i / 100);
        assert_true(screen_holds(screen, text, strlen(text), true));
        snprintf(text, sizeof text, "SELECT w%d FROM wide%d", i, i / 100 + 1);
        assert_false(screen_holds(screen, text, strlen(text), true));
    }
    screen = screen_new(memory, NULL, 0);
    assert_false(screen_holds(screen, "SELECT w1 FROM wide0", 20, true));
    talloc_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_encoding),
                                       cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Encodings to UTF-8, counting characters, quoting of identifiers.
 */
#include "parser/facts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include <cmocka.h>

static void test_encodings(void **state)
{
    static const struct {
        const char *encoding, *text, *utf8; /* NULL: not valid */
    } rows[] = {
        {"UTF8", "a\xc3\xa9", "aé"},
        {"UTF8", "a\xe9", NULL},
        {"UTF8", "\xc0\xaf", NULL},
        {"UTF8", "", ""},
        {"SQL_ASCII", "a\xc3\xa9", "aé"},
        {"SQL_ASCII",
         "a\xe9"
         "b\xff",
         "a\xef\xbf\xbd"
         "b\xef\xbf\xbd"},
        {"LATIN1", "a\xe9", "aé"},
        {"latin1", "a\xe9", "aé"},
        {"LATIN2", "\xb1", "ą"},
        {"LATIN3", "\xa1", "Ħ"},
        {"LATIN4", "\xa2", "ĸ"},
        {"LATIN5", "\xfd", "ı"},
        {"LATIN6", "\xa1", "Ą"},
        {"LATIN7", "\xa8", "Ø"},
        {"LATIN8", "\xa1", "Ḃ"},
        {"LATIN9", "\xa4", "€"},
        {"LATIN10", "\xa1", "Ą"},
        {"ISO_8859_5", "\xd0", "а"},
        {"ISO_8859_6", "\xc7", "ا"},
        {"ISO_8859_7", "\xe1", "α"},
        {"ISO_8859_8", "\xe0", "א"},
        {"WIN1250", "\x8a", "Š"},
        {"WIN1251", "\xe0", "а"},
        {"WIN1252", "\x80", "€"},
        {"WIN1253", "\xe1", "α"},
        {"WIN1254", "\xfd", "ı"},
        {"WIN1255", "\xe0", "א"},
        {"WIN1256", "\xc7", "ا"},
        {"WIN1257", "\xa8", "Ø"},
        {"WIN1258", "\xfe", "₫"},
        {"WIN866", "\xa0", "а"},
        {"WIN874", "\xa1", "ก"},
        {"KOI8R", "\xc1", "а"},
        {"KOI8U", "\xa4", "є"},
        {"EUC_JP", "\xa4\xa2", "あ"},
        {"EUC_JIS_2004", "\xa4\xa2", "あ"},
        {"SHIFT_JIS_2004", "\x82\xa0", "あ"},
        {"SHIFT_JIS_2004", "a\x83\x5c\\\x82\xa0~\xb1", "aソ\\あ~ｱ"},
        {"SHIFT_JIS_2004", "\x81\x5f\x81\xb0\x83\x81\x5f", "\\~メ_"}, /* 0x81 as a trailing byte */
        {"SHIFT_JIS_2004", "\x82\xf5x", "か\xe3\x82\x9ax"},           /* two characters of Unicode */
        {"SHIFT_JIS_2004", "\x81", NULL},
        {"SHIFT_JIS_2004", "a\x83", NULL},
        {"SJIS", "\x83\x5c", "ソ"},
        {"SJIS", "\x83", NULL},
        {"BIG5", "\xa5\x5c", "功"},
        {"GBK", "\x81\x5c", "乗"},
        {"UHC", "\x81\x41", "갂"},
        {"GB18030", "\x81\x30\x84\x36", "¥"},
        {"GB18030", "\x81\x30\x84", NULL},
        {"JOHAB", "\x88\x61", "가"},
        {"JOHAB", "'\x88\x61\\'", "'가\\'"},
        {"JOHAB", "\x88", NULL},
        {"EUC_CN", "\xb0\xa1", "啊"},
        {"EUC_KR", "\xb0\xa1", "가"},
        {"EUC_TW", "\xc4\xa1", "一"},
        {"MULE_INTERNAL", "a", NULL},
        {"NO_SUCH", "a", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t length = 99;
        char *got = text_to_utf8(NULL, rows[i].text, strlen(rows[i].text), rows[i].encoding, &length);
        if (!got != !rows[i].utf8 || (got && strcmp(got, rows[i].utf8) != 0))
            fail_msg("row %zu, %s: got <%s>, expected <%s>", i, rows[i].encoding, got ? got : "nothing",
                     rows[i].utf8 ? rows[i].utf8 : "nothing");
        if (got)
            assert_int_equal(length, strlen(got));
        talloc_free(got);
    }
}

/* A server takes them for ASCII in every client encoding, and so for quotes, backslashes, names. */
static void test_ascii_is_ascii(void **state)
{
    static const char *const encodings[] = {
        "LATIN1",  "LATIN2",  "LATIN3",     "LATIN4",     "LATIN5",       "LATIN6",
        "LATIN7",  "LATIN8",  "LATIN9",     "LATIN10",    "ISO_8859_5",   "ISO_8859_6",
        "WIN866",  "WIN874",  "ISO_8859_7", "ISO_8859_8", "WIN1250",      "WIN1251",
        "WIN1252", "WIN1253", "WIN1254",    "WIN1255",    "WIN1256",      "WIN1257",
        "WIN1258", "KOI8R",   "KOI8U",      "EUC_JP",     "EUC_JIS_2004", "SHIFT_JIS_2004",
        "EUC_CN",  "EUC_KR",  "EUC_TW",     "SJIS",       "BIG5",         "GBK",
        "UHC",     "GB18030", "JOHAB",      "SQL_ASCII",  "UTF8"};
    char ascii[128];
    for (int i = 0; i < 127; i++)
        ascii[i] = (char)(i + 1);
    ascii[127] = '\0';
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        size_t length;
        char *got = text_to_utf8(NULL, ascii, 127, encodings[i], &length);
        if (!got || length != 127 || memcmp(got, ascii, 128) != 0)
            fail_msg("%s changes ASCII", encodings[i]);
        talloc_free(got);
    }
}

static void test_nul_bytes_are_kept(void **state)
{
    static const char *const encodings[] = {"UTF8", "LATIN1", "SQL_ASCII", "SJIS"};
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        size_t length;
        char *got = text_to_utf8(NULL, "a\0b", 3, encodings[i], &length);
        assert_non_null(got);
        assert_int_equal(length, 3);
        assert_memory_equal(got, "a\0b", 4);
        talloc_free(got);
    }
}

static void test_characters(void **state)
{
    assert_int_equal(utf8_characters("aé€𝄞b", 0), 0);
    assert_int_equal(utf8_characters("aé€𝄞b", 1), 1);
    assert_int_equal(utf8_characters("aé€𝄞b", 3), 2);
    assert_int_equal(utf8_characters("aé€𝄞b", 6), 3);
    assert_int_equal(utf8_characters("aé€𝄞b", 10), 4);
    assert_int_equal(utf8_characters("aé€𝄞b", 11), 5);
}

/* As quote_ident() of a server answered for the same names. */
static void test_quoting(void **state)
{
    static const char *const rows[][2] = {{"a", "a"},
                                          {"_a1", "_a1"},
                                          {"A", "\"A\""},
                                          {"1a", "\"1a\""},
                                          {"a b", "\"a b\""},
                                          {"a$", "\"a$\""},
                                          {"é", "\"é\""},
                                          {"", "\"\""},
                                          {"a\"b", "\"a\"\"b\""},
                                          {"select", "\"select\""},
                                          {"user", "\"user\""},
                                          {"table", "\"table\""},
                                          {"int", "\"int\""},
                                          {"between", "\"between\""},
                                          {"left", "\"left\""},
                                          {"ilike", "\"ilike\""},
                                          {"name", "name"},
                                          {"value", "value"},
                                          {"data", "data"},
                                          {"index", "index"},
                                          {"current_timestamp", "\"current_timestamp\""},
                                          {"timestamp", "\"timestamp\""},
                                          {"select1", "select1"},
                                          {"Select", "\"Select\""},
                                          {"e", "e"},
                                          {"u", "u"},
                                          {"abort", "abort"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *got = quote_identifier(NULL, rows[i][0]);
        assert_string_equal(got, rows[i][1]);
        talloc_free(got);
    }
    char *got = quote_name(NULL, &(struct name){"My", "order", 0});
    assert_string_equal(got, "\"My\".\"order\"");
    talloc_free(got);
}

static void test_reserved_words(void **state)
{
    assert_true(reserved_word("select"));
    assert_true(reserved_word("order"));
    assert_true(reserved_word("left"));
    assert_true(reserved_word("authorization"));
    assert_false(reserved_word("int"));
    assert_false(reserved_word("name"));
    assert_false(reserved_word("SELECT")); /* as a name it would have to be quoted for its letters anyway */
    assert_false(reserved_word("orders"));
    assert_false(reserved_word(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_ascii_is_ascii),
        cmocka_unit_test(test_nul_bytes_are_kept),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_reserved_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Passwords in statements: what is masked, and what is left as it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <talloc.h>

#include "proxy/session/judge_inside.h"

static const struct {
    const char *text, *expected; /* NULL: unchanged */
} rows[] = {
    {"ALTER ROLE a PASSWORD 'secret'", "ALTER ROLE a PASSWORD ***"},
    {"create user a encrypted password'secret' valid until '2030'",
     "create user a encrypted password*** valid until '2030'"},
    {"ALTER ROLE a PASSWORD\n\t E'se\\'cret' LOGIN", "ALTER ROLE a PASSWORD\n\t E*** LOGIN"},
    {"ALTER ROLE a PASSWORD U&'secret'", "ALTER ROLE a PASSWORD U&***"},
    {"ALTER ROLE a PASSWORD 'it''s secret' LOGIN", "ALTER ROLE a PASSWORD *** LOGIN"},
    {"ALTER ROLE a PASSWORD '''secret' LOGIN", "ALTER ROLE a PASSWORD *** LOGIN"},
    {"ALTER ROLE a PASSWORD '' LOGIN", "ALTER ROLE a PASSWORD *** LOGIN"},
    {"ALTER ROLE a PASSWORD $$secret$$", "ALTER ROLE a PASSWORD ***"},
    {"ALTER ROLE a PASSWORD $x$sec$$ret$x$ LOGIN", "ALTER ROLE a PASSWORD *** LOGIN"},
    {"ALTER ROLE a PASSWORD 'never closed", "ALTER ROLE a PASSWORD ***"},
    {"ALTER ROLE a PASSWORD/* x /* y */ 'z' */'secret' LOGIN",
     "ALTER ROLE a PASSWORD/* x /* y */ 'z' */*** LOGIN"},
    {"ALTER ROLE a PASSWORD -- it's new\n 'secret'", "ALTER ROLE a PASSWORD -- it's new\n ***"},
    {"ALTER ROLE a PASSWORD 'sec' -- x\n 'ret' LOGIN", "ALTER ROLE a PASSWORD *** LOGIN"},
    {"ALTER ROLE a PASSWORD 'secret' LOGIN -- x\n", "ALTER ROLE a PASSWORD *** LOGIN -- x\n"},
    {"ALTER ROLE a PASSWORD /* never closed 'x'", NULL},
    {"ALTER SERVER s OPTIONS (\"password\" 'secret', sslpassword 'x')",
     "ALTER SERVER s OPTIONS (\"password\" ***, sslpassword ***)"},
    {"CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (aws_access_key 'x', Secret_Access_Key E'y')",
     "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (aws_access_key ***, Secret_Access_Key E***)"},
    {"ALTER SUBSCRIPTION s CONNECTION 'sslpassword=a oauth_client_secret=b password=c\\ d dbname=e'",
     "ALTER SUBSCRIPTION s CONNECTION 'sslpassword=*** oauth_client_secret=*** password=*** dbname=e'"},
    {"ALTER ROLE a PASSWORD NULL", NULL},
    {"CREATE ROLE a PASSWORD 'x'; CREATE ROLE b PASSWORD 'y'",
     "CREATE ROLE a PASSWORD ***; CREATE ROLE b PASSWORD ***"},
    {"DO 'BEGIN ALTER ROLE a PASSWORD ''secret''; END'", "DO 'BEGIN ALTER ROLE a PASSWORD ***; END'"},
    {"DO $$BEGIN ALTER ROLE a PASSWORD 'secret'; END$$", "DO $$BEGIN ALTER ROLE a PASSWORD ***; END$$"},
    {"DO $$BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''secret'''; END$$",
     "DO $$BEGIN EXECUTE 'ALTER ROLE a PASSWORD ***'; END$$"},
    {"CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'secret')",
     "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password ***)"},
    {"CREATE SUBSCRIPTION s CONNECTION 'host=h password=secret user=u' PUBLICATION p",
     "CREATE SUBSCRIPTION s CONNECTION 'host=h password=*** user=u' PUBLICATION p"},
    {"CREATE SUBSCRIPTION s CONNECTION 'host=h password=secret' PUBLICATION p",
     "CREATE SUBSCRIPTION s CONNECTION 'host=h password=***' PUBLICATION p"},
    {"CREATE SUBSCRIPTION s CONNECTION 'host=h password=''se cret'' user=u' PUBLICATION p",
     "CREATE SUBSCRIPTION s CONNECTION 'host=h password=*** user=u' PUBLICATION p"},
    {"CREATE SUBSCRIPTION s CONNECTION 'postgresql://u:secret@h/db?password=other' PUBLICATION p",
     "CREATE SUBSCRIPTION s CONNECTION 'postgresql://u:***@h/db?password=***' PUBLICATION p"},
    {"ALTER SERVER s OPTIONS (host 'x', url 'postgres://h:5432/db')", NULL},
    {"ALTER TABLE users ADD COLUMN password text DEFAULT 'none'", NULL},
    {"ALTER TABLE users ADD COLUMN password_hash text, ADD CHECK (password <> '')", NULL},
    {"COMMENT ON COLUMN users.password IS 'hashed'", NULL},
    {"CREATE TABLE xpassword (a int)", NULL},
    {"", NULL},
    {"password", NULL},
    {"password '", "password ***"},
    {"://:", NULL},
};

static void test_rows(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *memory = talloc_new(NULL);
        const char *expected = rows[i].expected ? rows[i].expected : rows[i].text;
        size_t length;
        /* exactly as many bytes as there are, so that a read behind the end is seen */
        char *text = talloc_memdup(memory, rows[i].text, strlen(rows[i].text) + 1);
        text = talloc_realloc(memory, text, char, strlen(rows[i].text) + (*rows[i].text == '\0'));
        const char *got = judge_redact(memory, text, strlen(rows[i].text), &length);
        if (length != strlen(expected) || memcmp(got, expected, length) != 0)
            fail_msg("%s\n became %.*s", rows[i].text, (int)length, got);
        talloc_free(memory);
    }
}

/* Every beginning of every row: nothing is read or written outside. */
static void test_cut_anywhere(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t n = 0; n <= strlen(rows[i].text); n++) {
            void *memory = talloc_new(NULL);
            size_t length;
            char *text = talloc_memdup(memory, rows[i].text, n + (n == 0));
            const char *got = judge_redact(memory, text, n, &length);
            assert_non_null(got);
            assert_true(length <= 2 * n + 1);
            if (n < 8) /* too short for a secret to stand in it */
                assert_int_equal(length, n);
            assert_true(strnlen(got, length) == length);
            talloc_free(memory);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_cut_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

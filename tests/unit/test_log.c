/*
 * The program's log: its two shapes, and that no text of a client can forge, cut or flood a line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/observe/log.h"

static char output[1 << 20];
static int standard_error = -1, file = -1;

static void capture(void)
{
    char path[] = "/tmp/pgsluice-log-XXXXXX";
    file = mkstemp(path);
    unlink(path);
    standard_error = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
}

static const char *release(void)
{
    ssize_t n = pread(file, output, sizeof output - 1, 0);
    output[n > 0 ? n : 0] = '\0';
    dup2(standard_error, STDERR_FILENO);
    close(standard_error);
    close(file);
    return output;
}

static const char *text_of(enum log_format format, enum log_level level, const char *message)
{
    log_configure(LOG_DEBUG, format);
    capture();
    log_write(level, "%s", message);
    return release();
}

/* What is behind "2026-01-02T03:04:05.678Z ". */
static const char *behind_time(const char *line)
{
    static const char shape[] = "0000-00-00T00:00:00.000Z ";
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        if (shape[i] == '0')
            assert_in_range(line[i], '0', '9');
        else
            assert_int_equal(line[i], shape[i]);
    }
    return line + sizeof shape - 1;
}

static void test_text(void **state)
{
    static const struct {
        const char *message, *line;
    } rows[] = {
        {"listening", "info    listening\n"},
        {"user \"a\nb\rc\td\"", "info    user \"a\\nb\\rc\\td\"\n"},
        {"\x1b[2J\x07\x7f", "info    \\x1b[2J\\x07\\x7f\n"},
        {"caf\xc3\xa9 \xff\xc3", "info    caf\xc3\xa9 \\xff\\xc3\n"},
        {"\xed\xa0\x80 \xf4\x90\x80\x80 \xc0\x80",
         "info    \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xc0\\x80\n"},
        {"a\xe2\x80\xaez \xc2\x85", "info    a\\u202ez \\u0085\n"},
        {"", "info    \n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(behind_time(text_of(LOG_TEXT, LOG_INFO, rows[i].message)), rows[i].line);
    assert_string_equal(behind_time(text_of(LOG_TEXT, LOG_ERROR, "x")), "error   x\n");
    assert_string_equal(behind_time(text_of(LOG_TEXT, LOG_WARNING, "x")), "warning x\n");
    assert_string_equal(behind_time(text_of(LOG_TEXT, LOG_DEBUG, "x")), "debug   x\n");
}

static void test_json(void **state)
{
    static const char *const messages[] = {"listening", "a\nb\"c\\d\x01\x1b", "caf\xc3\xa9", "",
                                           "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        const char *line = text_of(LOG_JSON, LOG_WARNING, messages[i]);
        assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        assert_int_equal(json_object_size(object), 3);
        assert_string_equal(json_string_value(json_object_get(object, "level")), "warning");
        assert_string_equal(json_string_value(json_object_get(object, "message")), messages[i]);
        json_decref(object);
    }
    json_t *object = json_loads(text_of(LOG_JSON, LOG_INFO, "a\xff"), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(object, "message")), "a\xef\xbf\xbd");
    json_decref(object);
}

/* A text of every length around the limit, with characters that become six each. */
static void test_long_lines_are_cut(void **state)
{
    static const char *const units[] = {"x", "\x01", "\xe2\x82\xac", "\"", "\xff"};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        for (size_t n = 1300; n < 9000; n += 97) {
            char *message = calloc(n + 8, 1);
            while (strlen(message) < n)
                strcat(message, units[u]);
            const char *line = text_of(LOG_JSON, LOG_INFO, message);
            assert_in_range(strlen(line), 1300, 8192);
            json_t *object = json_loads(line, 0, NULL);
            if (!object)
                fail_msg("not JSON: unit %zu, length %zu", u, n);
            json_decref(object);
            line = text_of(LOG_TEXT, LOG_INFO, message);
            assert_in_range(strlen(line), 1300 / 3, 8192);
            assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
            free(message);
        }
    }
}

static void test_level(void **state)
{
    log_configure(LOG_WARNING, LOG_TEXT);
    capture();
    log_debug("no");
    log_info("no");
    log_warning("yes 1");
    log_error("yes 2");
    const char *text = release();
    assert_null(strstr(text, "no"));
    assert_non_null(strstr(text, "yes 1\n"));
    assert_non_null(strstr(text, "yes 2\n"));
}

static void test_errno(void **state)
{
    log_configure(LOG_INFO, LOG_TEXT);
    capture();
    errno = ENOENT;
    log_info("%m");
    int after = errno;
    assert_non_null(strstr(release(), "No such file or directory\n"));
    assert_int_equal(after, ENOENT);
}

/* A pipe that nobody reads: lines are lost and counted, the writer goes on, and no line is glued to a torn
 * one. */
static void test_full_pipe(void **state)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    log_configure(LOG_INFO, LOG_TEXT);
    standard_error = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    char message[7000];
    memset(message, 'x', sizeof message - 1);
    message[sizeof message - 1] = '\0';
    for (int i = 0; i < 50; i++)
        log_info("%s", message);
    size_t n = 0;
    ssize_t got;
    while ((got = read(ends[0], output + n, sizeof output - n - 1)) > 0)
        n += (size_t)got;
    log_info("the end");
    while ((got = read(ends[0], output + n, sizeof output - n - 1)) > 0)
        n += (size_t)got;
    dup2(standard_error, STDERR_FILENO);
    close(standard_error);
    close(ends[0]);
    close(ends[1]);
    output[n] = '\0';
    char *lost = strstr(output, "lines of this log could not be written\n");
    assert_non_null(lost);
    char *end = strstr(output, "info    the end\n");
    assert_non_null(end);
    assert_true(end > lost);
    behind_time(lost + strlen("lines of this log could not be written\n"));
    char *start = lost;
    while (start > output && start[-1] != '\n')
        start--;
    behind_time(start);
}

static void *write_many(void *argument)
{
    for (int i = 0; i < 200; i++)
        log_info("%s", (const char *)argument);
    return NULL;
}

static void test_threads_do_not_mix(void **state)
{
    log_configure(LOG_INFO, LOG_TEXT);
    char texts[2][601];
    pthread_t threads[2];
    capture();
    fcntl(STDERR_FILENO, F_SETFL, O_APPEND);
    for (int i = 0; i < 2; i++) {
        memset(texts[i], 'a' + i, 600);
        texts[i][600] = '\0';
        pthread_create(&threads[i], NULL, write_many, texts[i]);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    const char *line = release();
    int lines = 0;
    for (; *line; line = strchr(line, '\n') + 1, lines++) {
        const char *text = behind_time(line) + strlen("info    ");
        assert_int_equal(strspn(text, text[0] == 'a' ? "a" : "b"), 600);
    }
    assert_int_equal(lines, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_full_pipe),
        cmocka_unit_test(test_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

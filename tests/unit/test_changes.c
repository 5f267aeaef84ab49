/*
 * What `pgsluice changes` makes of figures and of texts that came from clients.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/changes.h"
#include "proxy/change/schema.h"

static void test_bar(void **state)
{
    static const struct {
        double percent;
        const char *bar;
    } rows[] = {{-1, "[          ]"},   {0, "[..........]"},   {9.9, "[..........]"}, {10, "[#.........]"},
                {99.9, "[#########.]"}, {100, "[##########]"}, {250, "[##########]"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char bar[13];
        changes_bar(bar, 10, rows[i].percent);
        assert_string_equal(bar, rows[i].bar);
    }
}

static void test_figures(void **state)
{
    static const struct {
        double number;
        const char *count, *duration;
    } rows[] = {{-1, "", ""},
                {0, "0", "0 s"},
                {59.9, "60", "59 s"},
                {61, "61", "1 min 1 s"},
                {999.4, "999", "16 min 39 s"},
                {999.6, "1.0k", "16 min 39 s"},
                {3600, "3.6k", "1 h 0 min"},
                {90061, "90.1k", "1 d 1 h"},
                {99960, "100k", "1 d 3 h"},
                {3100000, "3.1M", "35 d 21 h"},
                {1e18, "1000000T", "11574074074074 d 1 h"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[32];
        changes_count(text, rows[i].number);
        assert_string_equal(text, rows[i].count);
        changes_duration(text, rows[i].number);
        assert_string_equal(text, rows[i].duration);
    }
}

static void test_clean(void **state)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"orders", "orders"},
                                          {"a\nb\tc", "a b c"},
                                          {"\033[2J\a\177", "?[2J??"},
                                          {"\xc2\x9b"
                                           "31m",
                                           "??31m"},
                                          {"\xc2\xa0\xc3\x9b\xc2", "\xc2\xa0\xc3\x9b\xc2"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *clean = changes_clean(NULL, rows[i][0]);
        assert_string_equal(clean, rows[i][1]);
        talloc_free(clean);
    }
}

static char *printed(const struct changes_list *list, bool terminal)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    changes_print(list, terminal, out);
    fclose(out);
    return text;
}

static void test_table(void **state)
{
    struct changes_row rows[] = {{.database = "shop",
                                  .id = "3",
                                  .state = "running",
                                  .phase = "fill",
                                  .table = "public.orders",
                                  .throttled = "replication is 7 s behind",
                                  .percent = 52,
                                  .rate = 12400,
                                  .eta = 200,
                                  .age = 61},
                                 {.database = "crm",
                                  .id = "3",
                                  .state = "undone",
                                  .phase = "undo",
                                  .wanted = "cancel",
                                  .table = "t",
                                  .throttled = "long ago",
                                  .error = "two rows alike",
                                  .error_code = "23505",
                                  .percent = -1,
                                  .rate = -1,
                                  .eta = -1,
                                  .age = 5}};
    struct changes_list list = {.rows = rows, .n = 2, .databases = 2};
    (void)state;
    char *text = printed(&list, true);
    assert_non_null(strstr(text, "shop:\n     3  public.orders  fill "));
    assert_non_null(strstr(text, "[##########..........]  52 %    12.4k  3 min 20 s    1 min 1 s"));
    assert_non_null(strstr(text, "makes a pause: replication is 7 s behind\n"));
    assert_non_null(strstr(text, "crm:\n     3  t              undone "));
    assert_non_null(strstr(text, "        23505: two rows alike\n"));
    assert_null(strstr(text, "long ago"));
    free(text);
    text = printed(&list, false);
    assert_non_null(strstr(text, " 52.0% "));
    assert_null(strchr(text, '['));
    free(text);
    text = printed(&(struct changes_list){0}, true);
    assert_non_null(strstr(text, "no change under way"));
    free(text);
}

static char *printed_one(const struct changes_row *row)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    changes_print_one(row, false, out);
    fclose(out);
    return text;
}

/* Rows are shown where they are known. */
static void test_one(void **state)
{
    struct changes_row row = {.database = "shop",
                              .id = "3",
                              .state = "complete",
                              .phase = "finish",
                              .table = "t",
                              .kind = "add-column",
                              .created = "today",
                              .role = "ann",
                              .percent = 100,
                              .rows = -1,
                              .rows_total = -1,
                              .rate = -1,
                              .eta = -1,
                              .age = 5,
                              .heartbeat = 5};
    (void)state;
    char *text = printed_one(&row);
    assert_non_null(strstr(text, " 100.0%\n"));
    assert_null(strstr(text, "rows"));
    assert_non_null(strstr(text, " today by ann, took 5 s\n"));
    free(text);
    row.state = "running";
    row.percent = 50;
    row.rows = 10;
    text = printed_one(&row);
    assert_non_null(strstr(text, " 50.0%  10 rows\n"));
    assert_non_null(strstr(text, " today by ann, 5 s ago\n"));
    free(text);
    row.rows_total = 4100;
    row.rate = 2;
    text = printed_one(&row);
    assert_non_null(strstr(text, " 50.0%  10 of about 4.1k rows, 2 a second\n"));
    free(text);
}

/* A change that nobody works on says so; one that is worked on says nothing, however long its statement
 * takes. */
static void test_nobody(void **state)
{
    static const struct {
        const char *state, *throttled, *said;
        double age, heartbeat;
        bool leased;
    } rows[] = {
        {"waiting", NULL, "waiting 39 s: no worker has taken it; see the proxy's log\n", 39, -1, false},
        {"waiting", NULL, NULL, 2, -1, false},
        {"waiting", "waits for its turn", NULL, 39, -1, false},
        {"running", NULL, "no worker; last heartbeat 1 min 1 s ago\n", 90, 61, false},
        {"running", NULL, NULL, 90, 61, true},
        {"running", NULL, NULL, 90, 6, false},
        {"complete", NULL, NULL, 90, 61, false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct changes_row row = {.database = "shop",
                                  .id = "3",
                                  .state = rows[i].state,
                                  .phase = "fill",
                                  .table = "t",
                                  .throttled = rows[i].throttled,
                                  .percent = -1,
                                  .rate = -1,
                                  .eta = -1,
                                  .age = rows[i].age,
                                  .heartbeat = rows[i].heartbeat,
                                  .leased = rows[i].leased};
        char *text = printed(&(struct changes_list){.rows = &row, .n = 1, .databases = 1}, false);
        if (rows[i].said)
            assert_non_null(strstr(text, rows[i].said));
        else
            assert_null(strstr(text, "no worker"));
        free(text);
    }
}

/* The schema is built in whole, and its place-holder is there to be replaced. */
static void test_schema(void **state)
{
    (void)state;
    assert_non_null(strstr(schema_sql, SCHEMA_WORKER));
    assert_non_null(strstr(schema_sql, "CREATE OR REPLACE FUNCTION pgsluice.lock("));
    assert_non_null(strstr(schema_sql, "CREATE OR REPLACE FUNCTION pgsluice.begin_change("));
    assert_int_equal(schema_sql[strlen(schema_sql) - 1], '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bar),   cmocka_unit_test(test_figures),
                                       cmocka_unit_test(test_clean), cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_one),   cmocka_unit_test(test_nobody),
                                       cmocka_unit_test(test_schema)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

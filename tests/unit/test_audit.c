/*
 * The audit: what stands in the file after every way of stopping and starting, and who is told when it fails.
 */
#include "audit_help.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void test_fields_and_order(void **state)
{
    const char *actions[] = {"reject", "waived"};
    const char *rules[] = {"volatile-default", "column-name"};
    struct audit_decided decided = {.session = 42,
                                    .client = "192.0.2.7:53122",
                                    .user = "deploy",
                                    .database = "app",
                                    .application = "a\"b\\c\n",
                                    .environment = "production",
                                    .kind = "ALTER TABLE",
                                    .object = "public.orders",
                                    .sql = "ALTER TABLE x",
                                    .sql_length = 13,
                                    .fingerprint = 0xabc,
                                    .verdict = "warn",
                                    .would = "reject",
                                    .rules = rules,
                                    .n_rules = 2,
                                    .actions = actions,
                                    .table = "\"T\"",
                                    .lock = "AccessExclusiveLock",
                                    .waiver = "volatile-default, agreed",
                                    .reason = "why"};
    struct audit *audit = open_log(path_of("fields"));
    uint64_t number = audit_decided(audit, &decided);
    assert_int_equal(number, 1);
    assert_true(audit_wait(audit, number));
    struct audit_finished finished = {.decided = number,
                                      .sqlstate = "SL001",
                                      .tag = "ALTER TABLE",
                                      .rows = 5,
                                      .duration_ms = 1.5,
                                      .lock_wait_ms = -1,
                                      .txn = "open"};
    audit_finished(audit, &finished);
    audit_transaction(audit, number, number, "committed");
    audit_close(audit);

    size_t n;
    char *bytes = slurp(path_of("fields"), &n);
    static const char *const order[] = {"\"ts\":",
                                        "\"seq\":1,",
                                        "\"prev\":",
                                        "\"record\":\"decided\"",
                                        "\"session\":42",
                                        "\"client\":",
                                        "\"user\":",
                                        "\"database\":",
                                        "\"application\":",
                                        "\"environment\":",
                                        "\"kind\":",
                                        "\"object\":",
                                        "\"table\":\"\\\"T\\\"\"",
                                        "\"lock\":\"AccessExclusiveLock\"",
                                        "\"sql\":",
                                        "\"fingerprint\":",
                                        "\"verdict\":",
                                        "\"would\":",
                                        "\"rules\":",
                                        "\"actions\":[\"reject\",\"waived\"]",
                                        "\"waiver\":",
                                        "\"reason\":",
                                        "\"seq\":2,",
                                        "\"record\":\"finished\"",
                                        "\"of\":1",
                                        "\"sqlstate\":",
                                        "\"tag\":",
                                        "\"rows\":5",
                                        "\"duration_ms\":1.500",
                                        "\"txn\":\"open\"",
                                        "\"seq\":3,",
                                        "\"record\":\"transaction\"",
                                        "\"of\":1",
                                        "\"first\":1",
                                        "\"txn\":\"committed\""};
    const char *at = bytes;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const char *found = strstr(at, order[i]);
        if (!found)
            fail_msg("%s is missing or out of order in %s", order[i], bytes);
        at = found + 1;
    }
    assert_null(strstr(bytes, "lock_wait_ms"));
    free(bytes);

    json_t *all = whole_log(path_of("fields"));
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(text_at(all, 0, "application"), "a\"b\\c\n");
    assert_string_equal(text_at(all, 0, "fingerprint"), "0000000000000abc");
    const char *ts = text_at(all, 0, "ts");
    assert_int_equal(strlen(ts), strlen("2026-01-02T03:04:05.678901Z"));
    assert_true(ts[10] == 'T' && ts[19] == '.' && ts[26] == 'Z');
    json_decref(all);
    struct stat status;
    assert_int_equal(stat(path_of("fields"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void test_goes_on_over_a_restart(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct audit *audit = open_log(path_of("restart"));
        assert_int_equal(decide(audit, "ALTER TABLE t"), i + 1);
        audit_close(audit);
    }
    json_t *all = whole_log(path_of("restart"));
    assert_int_equal(json_array_size(all), 3);
    json_decref(all);
}

static void test_text_that_is_not_utf8_and_long(void **state)
{
    struct audit *audit = open_log(path_of("long"));
    size_t n = 200000;
    char *sql = malloc(n + 1);
    memset(sql, 'x', n);
    sql[n] = '\0';
    memcpy(sql, "\xff\x01", 2);
    /* the cut would fall inside this character */
    memcpy(sql + 65535, "\xe2\x82\xac", 3);
    char hash[DIGEST_HEX + 1];
    assert_true(digest_sha256(sql, n, hash));
    assert_true(audit_wait(audit, decide(audit, sql)));
    audit_close(audit);
    free(sql);
    json_t *all = whole_log(path_of("long"));
    const char *text = text_at(all, 0, "sql");
    assert_memory_equal(text, "\xef\xbf\xbd\x01xxx", 7);
    assert_int_equal(strlen(text), 65535 + 2); /* one byte became three */
    assert_string_equal(text_at(all, 0, "sql_sha256"), hash);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(all, 0), "sql_length")), n);
    assert_true(json_is_true(json_object_get(json_array_get(all, 0), "sql_truncated")));
    json_decref(all);
}

static void torn(const char *name, const char *bytes, size_t n, const char *key, const char *kept)
{
    struct audit *audit = open_log(path_of(name));
    decide(audit, "ALTER TABLE first");
    audit_close(audit);
    spill(path_of(name), bytes, n, "a");
    audit = open_log(path_of(name));
    assert_int_equal(decide(audit, "ALTER TABLE second"), 3);
    audit_close(audit);
    json_t *all = whole_log(path_of(name));
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(text_at(all, 1, "record"), "recovered");
    assert_string_equal(text_at(all, 1, key), kept);
    assert_string_equal(text_at(all, 2, "sql"), "ALTER TABLE second");
    json_decref(all);
}

static void test_torn_line_is_kept(void **state)
{
    static const char line[] = "{\"ts\":\"2026-01-02T03:04:05.678901Z\",\"seq\":2,\"prev\":\"00";
    torn("torn", line, sizeof line - 1, "torn", line);
    torn("torn-hex", "{\"a\0\xe2\x82", 6, "torn_hex", "7b226100e282");
    torn("torn-zeros", "\0\0", 2, "torn_hex", "0000");
}

static void test_first_line_torn(void **state)
{
    spill(path_of("only"), "{\"ts\":\"2", 8, "w");
    struct audit *audit = open_log(path_of("only"));
    audit_close(audit);
    json_t *all = whole_log(path_of("only"));
    assert_int_equal(json_array_size(all), 1);
    assert_string_equal(text_at(all, 0, "torn"), "{\"ts\":\"2");
    json_decref(all);
}

static void test_only_the_newline_is_missing(void **state)
{
    struct audit *audit = open_log(path_of("newline"));
    decide(audit, "ALTER TABLE first");
    decide(audit, "ALTER TABLE second");
    audit_close(audit);
    struct stat status;
    assert_int_equal(stat(path_of("newline"), &status), 0);
    assert_int_equal(truncate(path_of("newline"), status.st_size - 1), 0);
    audit = open_log(path_of("newline"));
    assert_int_equal(decide(audit, "ALTER TABLE third"), 3);
    audit_close(audit);
    json_t *all = whole_log(path_of("newline"));
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(text_at(all, 1, "sql"), "ALTER TABLE second");
    json_decref(all);
}

static void refused(const char *path, const char *because)
{
    char error[256] = "";
    assert_null(audit_open(path, true, error, sizeof error));
    if (!strstr(error, because))
        fail_msg("\"%s\" does not say \"%s\"", error, because);
}

static void test_files_that_are_refused(void **state)
{
    static const char other[] = "some text\nof another program\n";
    spill(path_of("other"), other, sizeof other - 1, "w");
    refused(path_of("other"), "move the file away");
    spill(path_of("part"), "no newline", 10, "w");
    refused(path_of("part"), "not an audit log");
    size_t n;
    char *bytes = slurp(path_of("other"), &n);
    assert_string_equal(bytes, other);
    free(bytes);
    refused(path_of("no/such/folder"), "No such file or directory");
    refused("/dev/null", "regular file");
    refused(folder, "directory");
    struct audit *audit = open_log(path_of("busy"));
    refused(path_of("busy"), "another process writes this audit log");
    audit_close(audit);
}

/* ---- a disk that is full ---------------------------------------------------------------------------- */

static void limit_size(rlim_t size)
{
    struct rlimit limit = {.rlim_cur = size, .rlim_max = RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static bool until_working(struct audit *audit, bool working)
{
    struct audit_state audit_now;
    double end = now() + 5;
    do {
        audit_state(audit, &audit_now);
        if (audit_now.working == working)
            return true;
        usleep(10000);
    } while (now() < end);
    return false;
}

static void test_full_disk(void **state)
{
    struct audit_state told;
    struct audit *audit = open_log(path_of("full"));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE before")));
    struct stat status;
    assert_int_equal(stat(path_of("full"), &status), 0);
    limit_size((rlim_t)status.st_size + 20);

    double start = now();
    uint64_t number = decide(audit, "ALTER TABLE during");
    assert_int_equal(number, 2);
    assert_false(audit_wait(audit, number));
    assert_true(now() - start < 1);
    assert_int_equal(decide(audit, "ALTER TABLE later"), 0);
    assert_int_equal(decide(audit, "ALTER TABLE later"), 0);
    audit_finished(audit, &(struct audit_finished){.decided = 2, .sqlstate = "SL900", .rows = -1});
    audit_state(audit, &told);
    assert_false(told.working);
    assert_non_null(strstr(told.error, "File too large"));
    assert_int_equal(told.seq, 1);
    assert_int_equal(told.queued, 2);
    assert_true(told.failures >= 1);

    limit_size(RLIM_INFINITY);
    assert_true(until_working(audit, true));
    assert_true(audit_wait(audit, number));
    number = decide(audit, "ALTER TABLE after");
    assert_true(audit_wait(audit, number));
    audit_close(audit);
    json_t *all = whole_log(path_of("full"));
    assert_int_equal(json_array_size(all), 5);
    assert_string_equal(text_at(all, 1, "sql"), "ALTER TABLE during");
    assert_string_equal(text_at(all, 2, "record"), "finished");
    assert_string_equal(text_at(all, 3, "record"), "outage");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(all, 3), "refused")), 2);
    assert_string_equal(text_at(all, 4, "sql"), "ALTER TABLE after");
    json_decref(all);
}

/* Stopped while the disk is full: what had been written of the next line is cut off, the log is whole. */
static void test_stop_while_full(void **state)
{
    struct audit *audit = open_log(path_of("stop"));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE before")));
    struct stat status;
    assert_int_equal(stat(path_of("stop"), &status), 0);
    limit_size((rlim_t)status.st_size + 20);
    assert_false(audit_wait(audit, decide(audit, "ALTER TABLE during")));
    audit_close(audit);
    limit_size(RLIM_INFINITY);
    json_t *all = whole_log(path_of("stop"));
    assert_int_equal(json_array_size(all), 1);
    json_decref(all);
}

/* The disk is full at the start, and the file ends in a torn line: the program runs, and loses nothing. */
static void test_start_while_full(void **state)
{
    struct audit *audit = open_log(path_of("start"));
    decide(audit, "ALTER TABLE before");
    audit_close(audit);
    spill(path_of("start"), "{\"torn", 6, "a");
    size_t before, after;
    char *bytes = slurp(path_of("start"), &before);
    limit_size((rlim_t)before + 20);
    audit = open_log(path_of("start"));
    assert_true(until_working(audit, false));
    char *still = slurp(path_of("start"), &after);
    assert_true(after >= before);
    assert_memory_equal(bytes, still, before);
    limit_size(RLIM_INFINITY);
    assert_true(until_working(audit, true));
    audit_close(audit);
    json_t *all = whole_log(path_of("start"));
    assert_string_equal(text_at(all, 1, "torn"), "{\"torn");
    json_decref(all);
    free(bytes);
    free(still);
}

/* ---- a disk that fails or does not answer ----------------------------------------------------------- */

static _Atomic int failing, sleeping; /* syncs that fail; seconds that the next one takes */

int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    if (sleeping)
        sleep((unsigned)atomic_exchange(&sleeping, 0));
    if (failing) {
        failing--;
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

/* The kernel may have dropped what it could not sync: it is written again, over the same place. */
static void test_failed_sync(void **state)
{
    struct audit *audit = open_log(path_of("sync"));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE before")));
    failing = 1;
    uint64_t number = decide(audit, "ALTER TABLE during");
    assert_false(audit_wait(audit, number));
    /* as if the pages had been dropped */
    int fd = open(path_of("sync"), O_WRONLY);
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(pwrite(fd, "\0\0\0\0", 4, status.st_size - 4), 4);
    close(fd);
    assert_true(until_working(audit, true));
    assert_true(audit_wait(audit, number));
    audit_close(audit);
    json_t *all = whole_log(path_of("sync"));
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(text_at(all, 1, "sql"), "ALTER TABLE during");
    assert_string_equal(text_at(all, 2, "record"), "outage");
    json_decref(all);
}

static void test_disk_that_does_not_answer(void **state)
{
    struct audit *audit = open_log(path_of("slow"));
    sleeping = 12;
    double start = now();
    assert_false(audit_wait(audit, decide(audit, "ALTER TABLE slow")));
    assert_in_range((uint64_t)(now() - start), 9, 11);
    assert_int_equal(decide(audit, "ALTER TABLE next"), 0); /* and nobody else waits that long */
    assert_true(until_working(audit, true));
    audit_close(audit);
}

/* ---- rotation --------------------------------------------------------------------------------------- */

static void test_rotation(void **state)
{
    char error[256] = "";
    struct audit *audit = open_log(path_of("log"));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE one")));
    assert_true(
        audit_reopen(audit, path_of("log"), true, error, sizeof error)); /* the same file: nothing to do */
    assert_int_equal(rename(path_of("log"), path_of("log.1")), 0);
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE two"))); /* still into the old one */
    assert_true(audit_reopen(audit, path_of("log"), true, error, sizeof error));
    uint64_t number = decide(audit, "ALTER TABLE three");
    assert_true(audit_wait(audit, number));
    audit_close(audit);

    uint64_t seq = 0;
    char hash[DIGEST_HEX + 1];
    memset(hash, '0', DIGEST_HEX);
    hash[DIGEST_HEX] = '\0';
    json_t *old = records_of(path_of("log.1"), &seq, hash);
    json_t *new = records_of(path_of("log"), &seq, hash);
    assert_int_equal(json_array_size(old), 2);
    assert_string_equal(text_at(new, 0, "record"), "rotated");
    assert_string_equal(text_at(new, 1, "sql"), "ALTER TABLE three");
    json_decref(old);
    json_decref(new);
}

static void test_reopen_refuses_another_chain(void **state)
{
    char error[256] = "";
    struct audit *audit = open_log(path_of("foreign"));
    decide(audit, "ALTER TABLE foreign");
    audit_close(audit);
    audit = open_log(path_of("mine"));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE mine")));
    assert_false(audit_reopen(audit, path_of("foreign"), true, error, sizeof error));
    assert_non_null(strstr(error, "another chain"));
    assert_false(audit_reopen(audit, path_of("no/folder"), true, error, sizeof error));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE still")));
    audit_close(audit);
    json_t *all = whole_log(path_of("mine"));
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
}

static void test_deleted_file_is_replaced(void **state)
{
    struct audit *audit = open_log(path_of("gone"));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE one")));
    assert_int_equal(unlink(path_of("gone")), 0);
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE two")));
    size_t n;
    char *bytes = slurp(path_of("gone"), &n);
    assert_non_null(strstr(bytes, "\"seq\":2"));
    free(bytes);
    audit_close(audit);
}

/* ---- many at once ----------------------------------------------------------------------------------- */

enum { THREADS = 6, EACH = 40 };

static void *decide_many(void *argument)
{
    uintptr_t failures = 0;
    for (int i = 0; i < EACH; i++) {
        uint64_t number = decide(argument, "ALTER TABLE many");
        failures += !audit_wait(argument, number);
        audit_finished(argument, &(struct audit_finished){.decided = number, .rows = -1, .txn = "committed"});
    }
    return (void *)failures;
}

static void test_many_threads(void **state)
{
    struct audit *audit = open_log(path_of("many"));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decide_many, audit), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    audit_close(audit);
    json_t *all = whole_log(path_of("many"));
    assert_int_equal(json_array_size(all), 2 * THREADS * EACH);
    for (size_t i = 1; i < json_array_size(all); i++)
        assert_true(strcmp(text_at(all, i - 1, "ts"), text_at(all, i, "ts")) <= 0);
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_and_order),
        cmocka_unit_test(test_goes_on_over_a_restart),
        cmocka_unit_test(test_text_that_is_not_utf8_and_long),
        cmocka_unit_test(test_torn_line_is_kept),
        cmocka_unit_test(test_first_line_torn),
        cmocka_unit_test(test_only_the_newline_is_missing),
        cmocka_unit_test(test_files_that_are_refused),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_stop_while_full),
        cmocka_unit_test(test_start_while_full),
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_disk_that_does_not_answer),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_reopen_refuses_another_chain),
        cmocka_unit_test(test_deleted_file_is_replaced),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}

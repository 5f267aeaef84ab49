/*
 * `pgsluice audit verify` and `show`: every way of tampering is found, and what people read is right and
 * harmless.
 */
#include "audit_help.h"

#include <fcntl.h>

static char *output; /* of the last command, standard output and error */

static int run(int argc, const char **argv)
{
    fflush(stdout);
    fflush(stderr);
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    int file = open(path_of("output"), O_CREAT | O_TRUNC | O_RDWR, 0600);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    int result = cmd_audit(argc, (char **)argv);
    fflush(stdout);
    fflush(stderr);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    close(file);
    size_t n;
    free(output);
    output = slurp(path_of("output"), &n);
    return result;
}

#define RUN(...) run(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void says(const char *words)
{
    if (!strstr(output, words))
        fail_msg("\"%s\" is not in:\n%s", words, output);
}

static void says_not(const char *words)
{
    if (strstr(output, words))
        fail_msg("\"%s\" is in:\n%s", words, output);
}

/* Four decisions: finished and committed; refused; in a transaction that is still open; end unknown. */
static void make_log(const char *path)
{
    const char *rules[] = {"volatile-default"};
    struct audit *audit = open_log(path);
    uint64_t number = decide(audit, "ALTER TABLE one\n\tADD COLUMN  c int");
    audit_finished(audit, &(struct audit_finished){.decided = number,
                                                   .tag = "ALTER TABLE",
                                                   .rows = -1,
                                                   .duration_ms = 2.25,
                                                   .lock_wait_ms = -1,
                                                   .txn = "open"});
    struct audit_decided decided = {.session = 8,
                                    .user = "mallory\x1b[2J",
                                    .database = "app",
                                    .kind = "ALTER TABLE",
                                    .object = "two",
                                    .sql = "ALTER TABLE two",
                                    .sql_length = 15,
                                    .verdict = "reject",
                                    .rules = rules,
                                    .n_rules = 1};
    number = audit_decided(audit, &decided);
    audit_finished(audit, &(struct audit_finished){.decided = number,
                                                   .sqlstate = "SL001",
                                                   .rows = -1,
                                                   .duration_ms = 0.5,
                                                   .lock_wait_ms = -1,
                                                   .txn = "rolled_back"});
    decide(audit, "ALTER TABLE three");
    audit_transaction(audit, 1, "committed");
    audit_close(audit);
}

static void edit(const char *path, const char *from, const char *to)
{
    size_t n;
    char *bytes = slurp(path, &n);
    char *at = strstr(bytes, from);
    assert_non_null(at);
    FILE *out = fopen(path, "w");
    fwrite(bytes, 1, (size_t)(at - bytes), out);
    fputs(to, out);
    fputs(at + strlen(from), out);
    fclose(out);
    free(bytes);
}

static void test_verify_whole(void **state)
{
    const char *log = path_of("log");
    make_log(log);
    assert_int_equal(RUN("audit", "verify", log), 0);
    says("chain unbroken: records 1 to 6, head ");
    spill(path_of("empty"), "", 0, "w");
    assert_int_equal(RUN("audit", "verify", path_of("empty")), 0);
    says("no records");
}

static void test_verify_finds_tampering(void **state)
{
    static const struct {
        const char *name, *from, *to, *says;
    } rows[] = {
        {"a changed word", "\"verdict\":\"reject\"", "\"verdict\":\"allowed\"", ":4: prev of record 4"},
        {"a changed number", "\"seq\":2", "\"seq\":7", ":2: record 7 stands behind record 1"},
        {"a line that is no JSON", "{\"ts\"", "<\"ts\"", ":1: not a JSON object"},
        {"a missing field", "\"record\":\"decided\"", "\"record\":1", ":1: not an audit record"},
        {"an empty line", "}\n", "}\n\n", ":2: not a JSON object"},
        {"a forged beginning", "\"prev\":\"0", "\"prev\":\"1", ":1: record 1 claims"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *log = path_of("tampered");
        assert_int_equal(unlink(log) == 0 || i == 0, 1);
        make_log(log);
        edit(log, rows[i].from, rows[i].to);
        if (RUN("audit", "verify", log) != 1)
            fail_msg("%s was not found: %s", rows[i].name, output);
        says(rows[i].says);
    }
}

static void test_verify_finds_missing_lines(void **state)
{
    const char *log = path_of("missing");
    make_log(log);
    size_t n;
    char *bytes = slurp(log, &n);
    char *second = strchr(bytes, '\n') + 1, *third = strchr(second, '\n') + 1;
    spill(log, bytes, (size_t)(second - bytes), "w");
    spill(log, third, strlen(third), "a");
    assert_int_equal(RUN("audit", "verify", log), 1);
    says(":2: record 3 stands behind record 1");
    spill(log, third, strlen(third), "w"); /* the beginning is gone: said, and no error */
    assert_int_equal(RUN("audit", "verify", log), 0);
    says("what came before record 3 was not given");
    spill(log, bytes, n - 1, "w");
    assert_int_equal(RUN("audit", "verify", log), 1);
    says("torn");
    free(bytes);
}

static void test_verify_several_files(void **state)
{
    char error[256];
    const char *log = path_of("rotated"), *old = path_of("rotated.1");
    struct audit *audit = open_log(log);
    decide(audit, "ALTER TABLE one");
    assert_true(audit_wait(audit, 1));
    rename(log, old);
    assert_true(audit_reopen(audit, log, true, error, sizeof error));
    audit_close(audit);
    assert_int_equal(RUN("audit", "verify", old, log), 0);
    says("records 1 to 2");
    assert_int_equal(RUN("audit", "verify", log, old), 1);
    says("a new chain begins here");
    assert_int_equal(RUN("audit", "verify", old, path_of("no-such-file")), 2);
}

static void test_show(void **state)
{
    const char *log = path_of("show");
    make_log(log);
    assert_int_equal(RUN("audit", "show", log), 0);
    says("deploy@app");
    says("ok, committed, 2.2 ms");
    says("SL001, rolled_back, 0.5 ms");
    says("end unknown");
    says("ALTER TABLE two  volatile-default");
    says("    ALTER TABLE one ADD COLUMN c int\n");
    says("mallory\\x1b[2J"); /* the terminal gets no escape sequence */
    says_not("\x1b");
    assert_true(strstr(output, "one") < strstr(output, "two"));

    assert_int_equal(RUN("audit", "show", "--verdict", "reject", log), 0);
    says("TABLE two");
    says_not("TABLE one");
    assert_int_equal(RUN("audit", "show", "--user", "deploy", log), 0);
    says_not("TABLE two");
    assert_int_equal(RUN("audit", "show", "--since", "2999-01-01", log), 0);
    assert_string_equal(output, "");
    assert_int_equal(RUN("audit", "show", "--since", "1h", log), 0);
    says("TABLE two");
    assert_int_equal(RUN("audit", "show", "--json", "--verdict", "reject", log), 0);
    json_t *joined = json_loads(output, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(joined, "sqlstate")), "SL001");
    assert_string_equal(json_string_value(json_object_get(joined, "txn")), "rolled_back");
    assert_string_equal(json_string_value(json_object_get(joined, "object")), "two");
    json_decref(joined);

    spill(log, "rubbish\n", 8, "a");
    assert_int_equal(RUN("audit", "show", log), 1);
    says(":7: not a JSON object");
    says("TABLE one");
}

static void test_usage(void **state)
{
    assert_int_equal(RUN("audit"), 2);
    assert_int_equal(RUN("audit", "--help"), 0);
    says("usage: pgsluice audit verify");
    assert_int_equal(RUN("audit", "show", "--help"), 0);
    assert_int_equal(RUN("audit", "verify"), 2);
    assert_int_equal(RUN("audit", "prove", "x"), 2);
    assert_int_equal(RUN("audit", "show"), 2);
    assert_int_equal(RUN("audit", "show", "--since", "yesterday", "x"), 2);
    says("no such time");
    assert_int_equal(RUN("audit", "show", "--verdict", "maybe", "x"), 2);
    assert_int_equal(RUN("audit", "show", "--colour", "x"), 2);
    assert_int_equal(RUN("audit", "show", path_of("no-such-file")), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_whole),
        cmocka_unit_test(test_verify_finds_tampering),
        cmocka_unit_test(test_verify_finds_missing_lines),
        cmocka_unit_test(test_verify_several_files),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_usage),
    };
    int failures = cmocka_run_group_tests(tests, folder_make, folder_remove);
    free(output);
    return failures;
}

/*
 * `pgsluice audit verify`, `show` and `summary`: every way of tampering is found, and what people read is
 * right and harmless.
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
    audit_transaction(audit, 1, 1, "committed");
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

static const char *note_sqlstate; /* of what note() writes; NULL: it succeeded */

/* One statement, with how it and its transaction ended; lines of `first` that are in the same transaction. */
static uint64_t note(struct audit *audit, const struct audit_decided *decided, double duration_ms,
                     uint64_t first, const char *txn)
{
    struct audit_decided whole = *decided;
    whole.sql_length = strlen(whole.sql);
    uint64_t number = audit_decided(audit, &whole);
    audit_finished(audit, &(struct audit_finished){.decided = number,
                                                   .sqlstate = note_sqlstate,
                                                   .tag = "ALTER TABLE",
                                                   .rows = -1,
                                                   .duration_ms = duration_ms,
                                                   .lock_wait_ms = -1});
    audit_transaction(audit, number, first ? first : number, txn);
    return number;
}

static const char *const two_rules[] = {"create-index", "column-type"};

/* Under observe: an index that was quick, five times in one transaction; a rewrite that took long; a warning;
 * a waiver; and two of which there is nothing to say. */
static void make_observed(const char *path)
{
    static const char *const index_says[] = {"reject", "warn"}, *const waived_says[] = {"waived", "waived"};
    static const char *const rewrite[] = {"volatile-default"}, *const rewrite_says[] = {"reject"};
    struct audit *audit = open_log(path);
    struct audit_decided quick = {.user = "deploy",
                                  .database = "app",
                                  .application = "rails",
                                  .kind = "CREATE INDEX",
                                  .table = "orders",
                                  .lock = "ShareLock",
                                  .sql = "CREATE INDEX ON orders (a)",
                                  .fingerprint = 7,
                                  .verdict = "allow",
                                  .would = "reject",
                                  .rules = two_rules,
                                  .actions = index_says,
                                  .n_rules = 2};
    struct audit_decided slow = {.user = "admin\x1b",
                                 .database = "app",
                                 .kind = "ALTER TABLE",
                                 .table = "items",
                                 .lock = "AccessExclusiveLock",
                                 .sql = "ALTER TABLE items ADD u uuid",
                                 .fingerprint = 8,
                                 .verdict = "allow",
                                 .would = "reject",
                                 .rules = rewrite,
                                 .actions = rewrite_says,
                                 .n_rules = 1};
    struct audit_decided warned = quick, waived = quick, quiet = quick;
    warned.would = "warn"; /* a log from before there were actions */
    warned.actions = NULL;
    waived.actions = waived_says;
    waived.waiver = "create-index, column-type, agreed";
    quiet.would = "allow";
    quiet.n_rules = 0;
    uint64_t first = note(audit, &quick, 12.5, 0, "committed");
    for (int i = 0; i < 4; i++)
        note(audit, &quick, 20 - i, first, "committed");
    note(audit, &slow, 12300, 0, "rolled_back");
    note(audit, &warned, 3, 0, "committed");
    note(audit, &waived, 3, 0, "committed");
    note(audit, &quiet, 1, 0, "committed");
    note(audit, &quiet, 1, 0, "committed");
    audit_close(audit);
}

static void test_summary_of_observed(void **state)
{
    const char *log = path_of("observed");
    make_observed(log);
    assert_int_equal(RUN("audit", "summary", log), 0);
    says("10 statements, ");
    says("all 10 under observe");
    says("2 with nothing to say of, 1 waived, 1 warned, 6 refused (in 2 transactions)");
    says("create-index                        5        1        1        1        3        7        0     "
         "20.0 ms");
    says("column-type                         0        6        1 ");
    says("items                               1        0        0        1        1        0        0     "
         "12.3 s");
    says("(not set)");
    says("would be refused (volatile-default)  AccessExclusiveLock  items  admin\\x1b");
    says_not("\x1b");
    says("With `profile: standard`, 6 of 10 statements would have been refused: create-index 5, "
         "volatile-default 1.");
    says("volatile-default is worth its refusals: record 16 took 12.3 s and held AccessExclusiveLock on "
         "items.");
    says("        create-index: warn  # 5 ran, none took longer than 20.0 ms");
    says_not("volatile-default: warn");
    says("   shapes transac. committ.");
}

/* What was rolled back, or ran but twice, says nothing of the next one. */
static void test_summary_of_few(void **state)
{
    static const char *const says_reject[] = {"reject", "reject"};
    const char *log = path_of("observed.few");
    struct audit *audit = open_log(log);
    struct audit_decided one = {.user = "deploy",
                                .database = "app",
                                .kind = "CREATE INDEX",
                                .table = "orders",
                                .sql = "CREATE INDEX ON orders (a)",
                                .verdict = "allow",
                                .would = "reject",
                                .rules = two_rules,
                                .actions = says_reject,
                                .n_rules = 2};
    for (int i = 0; i < 9; i++)
        note(audit, &one, 2, 0, i < 2 ? "committed" : "rolled_back");
    audit_close(audit);
    assert_int_equal(RUN("audit", "summary", log), 0);
    says("create-index: 2 ran, which is too few to say how long the next one takes.\n");
    says_not("warn  #");
    assert_int_equal(RUN("audit", "show", "--verdict", "reject", log), 0);
    says("CREATE INDEX ON orders");
    assert_int_equal(RUN("audit", "show", "--verdict", "warn", log), 0);
    says_not("CREATE INDEX ON orders");
}

/* What the server refused took no time, and says nothing of the rule. */
static void test_summary_of_failed(void **state)
{
    const char *log = path_of("observed.failed");
    note_sqlstate = "42703";
    make_observed(log);
    note_sqlstate = NULL;
    assert_int_equal(RUN("audit", "summary", log), 0);
    says("create-index: none of the 5 is known to have run and been committed, so how long they take is not "
         "known.\n");
    says("Set `policy: {profile: standard}`.");
    says_not("warn  #");
    says_not("worth its refusals");
}

static void test_summary_json(void **state)
{
    const char *log = path_of("observed.json");
    make_observed(log);
    assert_int_equal(RUN("audit", "summary", "--format", "json", "--since", "1h", log), 0);
    json_t *all = json_loads(output, 0, NULL);
    json_int_t total, refused, transactions;
    assert_non_null(all);
    assert_int_equal(json_unpack(all, "{s:{s:I, s:{s:I, s:I}}}", "statements", "total", &total, "reject",
                                 "statements", &refused, "transactions", &transactions),
                     0);
    assert_int_equal(total, 10);
    assert_int_equal(refused, 6);
    assert_int_equal(transactions, 2);
    const json_t *rule = json_array_get(json_object_get(all, "rules"), 0);
    assert_string_equal(json_string_value(json_object_get(rule, "name")), "create-index");
    assert_int_equal(json_integer_value(json_object_get(rule, "committed")), 7);
    const json_t *worst = json_array_get(json_object_get(all, "worst"), 0);
    assert_string_equal(json_string_value(json_object_get(worst, "lock")), "AccessExclusiveLock");
    assert_string_equal(json_string_value(json_object_get(worst, "txn")), "rolled_back");
    const json_t *settings = json_object_get(all, "settings");
    assert_int_equal(json_object_size(settings), 1);
    assert_string_equal(json_string_value(json_object_get(settings, "create-index")), "warn");
    json_decref(all);
}

static void test_summary_of_enforced(void **state)
{
    const char *log = path_of("enforced");
    make_log(log);
    assert_int_equal(RUN("audit", "summary", log), 0);
    says("The policy in force refused 1 of 3 statements: volatile-default 1.");
    says_not("would");
    says_not("under observe");
    spill(log, "rubbish\n", 8, "a");
    assert_int_equal(RUN("audit", "summary", log), 1);
    says(":7: not a JSON object");
    says("refused 1 of 3");
}

static void test_summary_of_files(void **state)
{
    char error[256];
    const char *log = path_of("sum"), *old = path_of("sum.1"), *rules[] = {"truncate"};
    struct audit *audit = open_log(log);
    struct audit_decided decided = {.user = "u",
                                    .sql = "TRUNCATE t",
                                    .verdict = "allow",
                                    .would = "reject",
                                    .rules = rules,
                                    .n_rules = 1,
                                    .sql_length = 10};
    uint64_t number = audit_decided(audit, &decided);
    assert_true(audit_wait(audit, number));
    rename(log, old);
    assert_true(audit_reopen(audit, log, true, error, sizeof error));
    audit_finished(audit, &(struct audit_finished){
                              .decided = number, .sqlstate = "42P01", .rows = -1, .duration_ms = 5});
    audit_transaction(audit, number, number, "rolled_back");
    audit_close(audit);
    assert_int_equal(RUN("audit", "summary", log, old), 0); /* as a glob gives them: the newer one first */
    says("truncate                            1        0        0        1        1        0        1      "
         "5.0 ms");
    assert_int_equal(RUN("audit", "summary", "--since", "2999-01-01", log, old), 0);
    says("There is no statement since 2999-01-01 in these files");
    assert_int_equal(RUN("audit", "summary", old, old), 2);
    says("record 1 is there twice");
    spill(path_of("empty.log"), "", 0, "w");
    assert_int_equal(RUN("audit", "summary", path_of("empty.log")), 0);
    says("no record");
    spill(path_of("log.gz"), "\x1f\x8b\x08\x00", 4, "w");
    assert_int_equal(RUN("audit", "summary", path_of("log.gz")), 2);
    says("zcat");
    assert_int_equal(RUN("audit", "summary", path_of("no-such-file")), 2);
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
    assert_int_equal(RUN("audit", "summary"), 2);
    assert_int_equal(RUN("audit", "summary", "--help"), 0);
    assert_int_equal(RUN("audit", "summary", "--format", "xml", "x"), 2);
    says("no such format");
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
        cmocka_unit_test(test_summary_of_observed),
        cmocka_unit_test(test_summary_of_failed),
        cmocka_unit_test(test_summary_of_few),
        cmocka_unit_test(test_summary_json),
        cmocka_unit_test(test_summary_of_enforced),
        cmocka_unit_test(test_summary_of_files),
        cmocka_unit_test(test_usage),
    };
    int failures = cmocka_run_group_tests(tests, folder_make, folder_remove);
    free(output);
    return failures;
}

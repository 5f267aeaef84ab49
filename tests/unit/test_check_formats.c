/*
 * `pgsluice check`: the conventions of migration tools, transactions, encodings, and the formats for CI.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/check/cmd_check.h"
#include "proxy/check/convention.h"
#include "tests/unit/test_check_help.h"

#define DROP_IT "ALTER TABLE orders DROP COLUMN token"

/* ---- which way, and in a transaction or not ---- */

static const struct {
    const char *path, *text;
    bool down;
    enum wrapping wrapping;
} files[] = {
    {"a/0001_x.up.sql", "", false, WRAP_MESSAGE},
    {"a/0001_x.down.sql", "", true, WRAP_MESSAGE},
    {"V1__x.sql", "", false, WRAP_UNLESS},
    {"a/V1.2_3__x.sql", "", false, WRAP_UNLESS},
    {"a/V1__2fa__x.sql", "", false, WRAP_UNLESS},
    {"a/U1__x.sql", "", true, WRAP_UNLESS},
    {"a/R__x.sql", "", false, WRAP_UNLESS},
    {"a/R1__x.sql", "", false, WRAP_NONE},
    {"a/Views__x.sql", "", false, WRAP_NONE},
    {"prisma/migrations/2024_x/migration.sql", "", false, WRAP_MESSAGE},
    {"prisma/migrations/2024_x/down.sql", "", true, WRAP_SECTION},
    {"diesel/2024_x/up.sql", "", false, WRAP_SECTION},
    {"app/deploy/x.sql", "-- Deploy app:x to pg\n", false, WRAP_NONE},
    {"app/revert/x.sql", "-- Revert app:x from pg\n", true, WRAP_NONE},
    {"revert/x.sql", "\xef\xbb\xbf-- Revert app:x from pg\n", true, WRAP_NONE},
    {"app/revert/x.sql", "SELECT 1;", false, WRAP_NONE},
    {"revert", "-- Revert app:x from pg\n", false, WRAP_NONE},
    {"db/structure.sql", "", false, WRAP_NONE},
    {"<stdin>", "", false, WRAP_NONE},
};

static void test_files(void **state)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct section section = convention_of(files[i].path, files[i].text);
        if (section.down != files[i].down || section.wrapping != files[i].wrapping)
            fail_msg("%s: down %d, wrapping %d", files[i].path, section.down, (int)section.wrapping);
    }
}

/* rejected, warned: of up sections; `noted`: of down sections. */
static const struct {
    const char *name, *path, *text, *expect;
    unsigned statements, rejected, warned, noted;
} sections[] = {
    {"dbmate", "m.sql", "-- migrate:up\n" RISKY ";\n-- migrate:down\n" DROP_IT ";\n",
     "m.sql:4:20: note: when undone (warn): dropping column token", 2, 1, 0, 1},
    {"dbmate without semicolons", "m.sql", "-- migrate:up\n" RISKY "\n-- migrate:down\n" DROP_IT "\n",
     "m.sql:2:50: reject", 2, 1, 0, 1},
    {"goose", "m.sql",
     "-- +goose Up\n-- +goose StatementBegin\n" RISKY "\n-- +goose StatementEnd\n" DROP_IT
     ";\n-- +goose Down\n" DROP_IT ";\n",
     "m.sql:7:20: note: when undone", 3, 1, 1, 1},
    {"sql-migrate", "m.sql", "-- +migrate Up\n" RISKY ";\n-- +migrate Down\n" DROP_IT ";\n", "note: when", 2,
     1, 0, 1},
    {"node-pg-migrate", "m.sql", "-- Up Migration\n" RISKY ";\n-- Down Migration\n" DROP_IT ";\n",
     "note: when", 2, 1, 0, 1},
    {"tern", "m.sql", RISKY ";\n---- create above / drop below ----\n" DROP_IT ";\n", "note: when", 2, 1, 0,
     1},
    {"down first", "m.sql", "-- +goose Down\n" DROP_IT ";\n-- +goose Up\n" RISKY ";\n", "m.sql:4:50: reject",
     2, 1, 0, 1},
    {"lone carriage returns", "m.sql", "-- migrate:up\r" RISKY ";\r-- migrate:down\r" DROP_IT ";\r",
     "m.sql:2:50", 2, 1, 0, 1},
    {"golang-migrate's down file", "x.down.sql", DROP_IT ";", "note: when undone", 1, 0, 0, 1},
    {"a comment that only looks alike", "m.sql",
     "-- migrate:upwards\n" DROP_IT ";\n-- migrate:downs\n" DROP_IT ";", "", 2, 0, 2, 0},
    {"a table made by up is not new to down", "m.sql",
     "-- migrate:up\nCREATE TABLE n (id bigint);\n-- migrate:down\nDROP TABLE n;", "note: when undone (warn)",
     2, 0, 0, 1},
    {"nor unknown to what stands behind down", "m.sql",
     "-- +goose Up\nCREATE TABLE orders (id bigint);\n-- +goose Down\nDROP TABLE orders;\n-- +goose "
     "Up\n" RISKY ";",
     "", 3, 0, 0, 1},
    {"a rolled back table is not there", "m.sql",
     "BEGIN; CREATE TABLE orders (id bigint); ROLLBACK; " RISKY ";", "reject", 4, 1, 0, 0},
    {"a committed one is", "m.sql", "BEGIN; CREATE TABLE orders (id bigint); COMMIT; " RISKY ";", "", 4, 0, 0,
     0},
    {"a savepoint is no end", "m.sql",
     "BEGIN; CREATE TABLE orders (id bigint); SAVEPOINT s; ROLLBACK /* x */ TO s; " RISKY "; COMMIT;", "", 6,
     0, 0, 0},
    {"gexec is counted", "m.sql", "SELECT 'x' \\gexec", "1 that can't be (1 made by \\gexec)", 1, 0, 0, 0},
    {"variables are counted", "m.sql", "ALTER TABLE :t ADD COLUMN x serial;",
     "1 judged (1 holding variables)", 1, 1, 0, 0},
    {"an include is counted", "m.sql", "\\i a.sql\n\\ir b.sql\n", "; 2 \\i not followed", 0, 0, 0, 0},
    {"what can't be known is counted", "m.sql", "ALTER TABLE t ADD COLUMN x int DEFAULT f();",
     "1 with an effect that isn't known", 1, 0, 1, 0},
    {"a failure that no rule speaks of", "m.sql", "BEGIN;\nCREATE INDEX CONCURRENTLY i ON t (a);",
     "m.sql:2:1: warn: this fails: CONCURRENTLY cannot run inside a transaction block [fails]", 2, 0, 1, 0},
    {"two at once are one message for golang-migrate", "1_x.up.sql",
     "CREATE INDEX CONCURRENTLY i ON t (a);\nCREATE INDEX CONCURRENTLY j ON t (b);",
     "1_x.up.sql:2:1: warn: this fails: CONCURRENTLY cannot run inside a transaction block, and "
     "golang-migrate sends the statements of this file as one: put each into a file of its own [fails]",
     2, 0, 2, 0},
    {"one fails nowhere", "1_x.up.sql", "CREATE INDEX CONCURRENTLY i ON t (a);", "nothing found", 1, 0, 0, 0},
    {"what fails when undone is a note", "1_x.down.sql",
     "DROP INDEX CONCURRENTLY i;\nDROP INDEX CONCURRENTLY j;", "note: when undone (warn): this fails", 2, 0,
     0, 2},
    {"both branches", "m.sql", "\\if :a\n" RISKY ";\n\\else\n" DROP_IT ";\n\\endif\n", "m.sql:2:50", 2, 1, 1,
     0},
};

static void test_sections(void **state)
{
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        struct job job = {.text = sections[i].text, .name = sections[i].path};
        run(&job);
        const struct check_count *count = &job.count;
        unsigned noted = count->down[ACTION_WARN] + count->down[ACTION_REJECT];
        if (strstr(job.out, sections[i].expect) == NULL || count->statements != sections[i].statements ||
            count->findings[ACTION_REJECT] != sections[i].rejected ||
            count->findings[ACTION_WARN] != sections[i].warned || noted != sections[i].noted)
            fail_msg("%s: %u statements, %u rejected, %u warned, %u noted\n%s", sections[i].name,
                     count->statements, count->findings[ACTION_REJECT], count->findings[ACTION_WARN], noted,
                     job.out);
        free(job.out);
    }
}

static void test_down_counts(void **state)
{
    struct job job = {.text = "-- migrate:down\n" DROP_IT ";", .down_counts = true};
    run(&job);
    assert_int_equal(job.count.findings[ACTION_WARN], 1);
    assert_int_equal(job.count.down_statements, 0);
    assert_non_null(strstr(job.out, "m.sql:2:20: warn: "));
    free(job.out);
}

#define INDEX "CREATE INDEX CONCURRENTLY i ON orders (a);"

/* CONCURRENTLY fails in a transaction: so the effect says whether one is open. */
static const struct {
    const char *path, *text;
    bool inside;
} transactions[] = {
    {"m.sql", INDEX, false},
    {"m.sql", "BEGIN;" INDEX, true},
    {"m.sql", "START TRANSACTION;" INDEX, true},
    {"m.sql", "BEGIN; COMMIT;" INDEX, false},
    {"m.sql", "BEGIN; COMMIT AND CHAIN;" INDEX, true},
    {"m.sql", "BEGIN; ROLLBACK -- to\n;" INDEX, false},
    {"m.sql", "-- migrate:up\n" INDEX, true},
    {"m.sql", "-- migrate:up transaction:false\n" INDEX, false},
    {"m.sql", "-- +goose Up\n" INDEX, true},
    {"m.sql", "-- +goose NO TRANSACTION\n-- +goose Up\n" INDEX, false},
    {"m.sql", "-- +migrate Up notransaction\n" INDEX, false},
    {"m.sql", "-- no-transaction\n" INDEX, false},
    {"x.up.sql", INDEX, false},
    {"x.up.sql", "SELECT 1;" INDEX, true},
    {"migration.sql", INDEX "SELECT 1;", true},
    {"V1__x.sql", "SELECT 1;" INDEX, false},
    {"up.sql", INDEX, true},
};

static void test_transactions(void **state)
{
    for (size_t i = 0; i < sizeof transactions / sizeof *transactions; i++) {
        struct job job = {.text = transactions[i].text, .name = transactions[i].path, .format = "json"};
        run(&job);
        const char *index = strstr(job.out, "\"CREATE INDEX\"");
        assert_non_null(index);
        const char *fails = strstr(index, "\"fails\":");
        if ((strncmp(fails, "\"fails\":\"yes\"", 13) == 0) != transactions[i].inside)
            fail_msg("%s: %s\n%s", transactions[i].path, transactions[i].text, job.out);
        free(job.out);
    }
}

/* ---- encodings ---- */

static void test_encodings(void **state)
{
    static const struct {
        const char *text, *encoding, *raw; /* raw NULL: refused */
    } rows[] = {
        {"SELECT '\xc3\xa4'", NULL, "SELECT '\xc3\xa4'"},
        {"SELECT '\xe4'", NULL, "SELECT '\xc3\xa4'"},
        {"SELECT '\xe4'", "UTF8", NULL},
        {"SELECT '\xe4'", "utf-8", NULL},
        {"SELECT '\xe4'", "latin-1", "SELECT '\xc3\xa4'"},
        {"SELECT '\xe4'", "nonsense", NULL},
        {"\\encoding SJIS\nSELECT '\x95\x5c'", NULL, "\\encoding SJIS\nSELECT '\xe8\xa1\xa8'"},
        {"SET client_encoding TO 'WIN1251';\n-- \xe6", NULL,
         "SET client_encoding TO 'WIN1251';\n-- \xd0\xb6"},
        {"SET client_encoding = latin1;\n-- \xe4", NULL, "SET client_encoding = latin1;\n-- \xc3\xa4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *why = NULL;
        struct source *source =
            source_of(NULL, "m.sql", rows[i].text, strlen(rows[i].text), rows[i].encoding, &why);
        if ((source == NULL) != (rows[i].raw == NULL) ||
            (source != NULL && strcmp(source->raw, rows[i].raw) != 0) || (source == NULL && why == NULL))
            fail_msg("row %zu: %s", i, source == NULL ? why : source->raw);
        talloc_free(source);
    }
}

/* A backslash that is half a character doesn't open a psql command. */
static void test_double_byte(void **state)
{
    static const char text[] = "\\encoding SJIS\nALTER TABLE \"\x95\x5c\" ADD COLUMN c serial;";
    struct job job = {.text = text};
    run(&job);
    assert_non_null(strstr(job.out, "m.sql:2:30: reject"));
    free(job.out);
}

/* ---- formats ---- */

static const char *at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_t *document(const char *format, const char *name, const char *text, const char *role)
{
    struct job job = {.text = text, .name = name, .format = format, .role = role};
    run(&job);
    json_t *json = json_loads(job.out, JSON_DISABLE_EOF_CHECK, NULL);
    if (json == NULL)
        fail_msg("no JSON: %s", job.out);
    free(job.out);
    return json;
}

static void test_sarif(void **state)
{
    json_t *json = document("sarif", "./a b/m.sql", "SELECT 1;\n\xef\xbb\xbf" RISKY ";\n" DROP_IT ";", NULL);
    assert_string_equal(at(json, "version"), "2.1.0");
    const json_t *run_ = json_array_get(json_object_get(json, "runs"), 0);
    const json_t *driver = json_object_get(json_object_get(run_, "tool"), "driver");
    const json_t *rules = json_object_get(driver, "rules");
    assert_int_equal(json_array_size(rules), RULE_COUNT + 1); /* and that it fails */
    const json_t *results = json_object_get(run_, "results");
    json_t *result;
    size_t i;
    json_array_foreach(results, i, result)
    {
        size_t rule = (size_t)json_integer_value(json_object_get(result, "ruleIndex"));
        assert_string_equal(at(json_array_get(rules, rule), "id"), at(result, "ruleId"));
        assert_true(strlen(at(json_object_get(json_array_get(rules, rule), "help"), "text")) > 20);
        const json_t *place =
            json_object_get(json_array_get(json_object_get(result, "locations"), 0), "physicalLocation");
        assert_string_equal(at(json_object_get(place, "artifactLocation"), "uri"), "a%20b/m.sql");
        const json_t *region = json_object_get(place, "region");
        assert_true(json_integer_value(json_object_get(region, "endColumn")) >
                    json_integer_value(json_object_get(region, "startColumn")));
    }
    assert_true(i >= 1);
    json_decref(json);
}

#define FAILING "BEGIN; CREATE INDEX CONCURRENTLY i ON orders (a);"

/* What certainly fails is a finding in each format. */
static void test_failing(void **state)
{
    static const struct {
        const char *format, *expect;
    } rows[] = {
        {"json", "\"findings\":[{\"rule\":\"fails\",\"action\":\"warn\",\"line\":1,\"column\":8,"},
        {"sarif", "\"ruleId\":\"fails\""},
        {"sarif", "\"level\":\"warning\",\"message\":{\"text\":\"this fails: CONCURRENTLY"},
        {"github", "::warning file=m.sql,line=1,endLine=1,col=8,endColumn=14,title=fails::this fails"},
        {"gitlab", "\"check_name\":\"fails\""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct job job = {.text = FAILING, .format = rows[i].format};
        run(&job);
        if (strstr(job.out, rows[i].expect) == NULL || !check_found(&job.count, ACTION_WARN) ||
            check_found(&job.count, ACTION_ONLINE))
            fail_msg("%s: not there: %s\n%s", rows[i].format, rows[i].expect, job.out);
        free(job.out);
    }
}

static void test_sarif_levels(void **state)
{
    json_t *json = document("sarif", "m.sql",
                            RISKY ";" DROP_IT ";/* pgsluice: allow volatile-default, empty */" RISKY
                                  ";\n-- migrate:down\n" DROP_IT ";",
                            "dba");
    const json_t *results = json_object_get(json_array_get(json_object_get(json, "runs"), 0), "results");
    static const char *const levels[] = {"error", "warning", "note", "note"};
    assert_int_equal(json_array_size(results), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(at(json_array_get(results, i), "level"), levels[i]);
    const json_t *suppression =
        json_array_get(json_object_get(json_array_get(results, 2), "suppressions"), 0);
    assert_string_equal(at(suppression, "kind"), "inSource");
    assert_non_null(strstr(at(suppression, "justification"), "empty"));
    json_decref(json);
}

static void test_empty_documents(void **state)
{
    json_t *sarif = document("sarif", "m.sql", "SELECT 1;", NULL);
    json_t *gitlab = document("gitlab", "m.sql", "SELECT 1;", NULL);
    assert_true(json_is_array(gitlab));
    assert_int_equal(json_array_size(gitlab), 0);
    json_decref(sarif);
    json_decref(gitlab);
}

static void test_gitlab(void **state)
{
    json_t *before = document("gitlab", "./m.sql", RISKY ";" RISKY ";", NULL);
    json_t *after = document("gitlab", "m.sql",
                             "-- moved\n\nSELECT 1;\nALTER TABLE  orders\n"
                             "ADD COLUMN token uuid DEFAULT gen_random_uuid();",
                             NULL);
    json_t *other = document("gitlab", "n.sql", RISKY ";", NULL);
    const json_t *first = json_array_get(before, 0), *second = json_array_get(before, 1);
    const json_t *location = json_object_get(first, "location");
    assert_string_equal(at(location, "path"), "m.sql");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(location, "lines"), "begin")), 1);
    assert_string_equal(at(first, "check_name"), "volatile-default");
    assert_string_equal(at(first, "severity"), "critical");
    assert_int_equal(strlen(at(first, "fingerprint")), 32);
    assert_string_not_equal(at(first, "fingerprint"), at(second, "fingerprint"));
    assert_string_equal(at(first, "fingerprint"), at(json_array_get(after, 0), "fingerprint"));
    assert_string_not_equal(at(first, "fingerprint"), at(json_array_get(other, 0), "fingerprint"));
    json_decref(before);
    json_decref(after);
    json_decref(other);
}

static void test_github(void **state)
{
    struct job job = {.name = "a,b:c%.sql",
                      .format = "github",
                      .text = RISKY ";\nDROP TABLE \"x\n::error::y%\";\n-- migrate:down\n" DROP_IT ";"};
    run(&job);
    const char *start =
        "::error file=a%2Cb%3Ac%25.sql,line=1,endLine=1,col=50,endColumn=65,title=volatile-default::";
    assert_memory_equal(job.out, start, strlen(start));
    assert_non_null(strstr(job.out, "\n::warning file="));
    assert_null(strstr(job.out, "\n::error::y"));
    assert_non_null(strstr(job.out, "%0A::error::y%25"));
    assert_non_null(
        strstr(job.out, "\n::notice file=a%2Cb%3Ac%25.sql,line=5,endLine=5,col=20,endColumn=24,"));
    free(job.out);
}

/* ---- directories and exit codes ---- */

static char folder[] = "/tmp/pgsluice-check-XXXXXX";

static void put(const char *name, const char *text, size_t length)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fwrite(text, 1, length, file);
    fclose(file);
}

static int make_files(void **state)
{
    char path[128];
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/in", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/none", folder);
    mkdir(path, 0700);
    put("in/V10__a.sql", RISKY ";", sizeof RISKY);
    put("in/V9__b.sql", DROP_IT ";", sizeof DROP_IT);
    put("in/U9__b.sql", RISKY ";", sizeof RISKY);
    put("in/note.txt", RISKY ";", sizeof RISKY);
    put("warn.sql", DROP_IT ";", sizeof DROP_IT);
    put("down.sql", DROP_IT ";", sizeof DROP_IT);
    put("utf16.sql",
        "\xff\xfe"
        "A\0L\0T\0",
        8);
    return 0;
}

static int remove_files(void **state)
{
    static const char *const names[] = {
        "in/V10__a.sql", "in/V9__b.sql", "in/U9__b.sql", "in/note.txt", "warn.sql",
        "down.sql",      "utf16.sql",    "in",           "none",        ""};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    return 0;
}

static void test_exit_codes(void **state)
{
    static const struct {
        const char *argv[6], *file;
        int code;
    } rows[] = {
        {{"check"}, "in", 1},
        {{"check"}, "none", 2},
        {{"check"}, "warn.sql", 1},
        {{"check", "--fail-on", "warn"}, "warn.sql", 1},
        {{"check", "--fail-on", "reject"}, "warn.sql", 0},
        {{"check", "--fail-on", "reject"}, "in", 1},
        {{"check", "--fail-on", "never"}, "in", 0},
        {{"check", "--fail-on", "allow"}, "in", 2},
        {{"check"}, "down.sql", 0},
        {{"check", "--down"}, "down.sql", 1},
        {{"check"}, "utf16.sql", 2},
        {{"check", "--encoding", "nonsense"}, "warn.sql", 2},
        {{"check", "--explain", "all"}, NULL, 0},
        {{"check", "--format", "json", "--explain", "all"}, NULL, 0},
        {{"check", "--help"}, NULL, 0},
        {{"check", "--connect", "host=/does/not/exist port=1"}, "warn.sql", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[128], *argv[8] = {NULL};
        int argc = 0;
        while (rows[i].argv[argc] != NULL) {
            argv[argc] = (char *)rows[i].argv[argc];
            argc++;
        }
        snprintf(path, sizeof path, "%s/%s", folder, rows[i].file == NULL ? "" : rows[i].file);
        if (rows[i].file != NULL)
            argv[argc++] = path;
        int code = cmd_check(argc, argv);
        if (code != rows[i].code)
            fail_msg("row %zu: exit code %d", i, code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_down_counts),  cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_encodings),    cmocka_unit_test(test_double_byte),
        cmocka_unit_test(test_failing),      cmocka_unit_test(test_sarif),
        cmocka_unit_test(test_sarif_levels), cmocka_unit_test(test_empty_documents),
        cmocka_unit_test(test_gitlab),       cmocka_unit_test(test_github),
        cmocka_unit_test(test_exit_codes),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}

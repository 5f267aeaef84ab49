/*
 * `pgsluice check`: files as psql reads them, and what is reported of them, as JSON and as text.
 *
 * `expect` in a row is looked for in the output; `unexpected` must not be there.
 */
#include "proxy/check/cmd_check.h"
#include "proxy/check/report.h"
#include "tests/unit/test_check_help.h"

/* ---- what psql takes away ---- */

static const struct {
    const char *name, *text, *sql;
} sources[] = {
    {"nothing", "SELECT 1;\n", "SELECT 1;\n"},
    {"byte order mark", "\xef\xbb\xbfSELECT 1;", "   SELECT 1;"},
    {"connect", "\\connect app\nSELECT 1;", "            \nSELECT 1;"},
    {"include", "\\i other.sql\r\nSELECT 1;", "            \r\nSELECT 1;"},
    {"gexec ends", "SELECT 'x' \\gexec\nSELECT 2;", "SELECT 'x' ;     \nSELECT 2;"},
    {"g without a statement", "\\g\nSELECT 2;", "  \nSELECT 2;"},
    {"backslash semicolon", "SELECT 1\\; SELECT 2;", "SELECT 1 ; SELECT 2;"},
    {"in a string", "SELECT '\\d';", "SELECT '\\d';"},
    {"in an escape string", "SELECT E'\\'\\d', 1;", "SELECT E'\\'\\d', 1;"},
    {"in a name", "SELECT \"\\d\";", "SELECT \"\\d\";"},
    {"in a comment", "-- \\d\n/* \\d /* \\d */ \\d */ SELECT 1;",
     "-- \\d\n/* \\d /* \\d */ \\d */ SELECT 1;"},
    {"in dollar quotes", "DO $a$ \\d $b$ $a$;", "DO $a$ \\d $b$ $a$;"},
    {"a name with a dollar", "SELECT a$b \\d", "SELECT a$b   "},
    {"copy data", "COPY t FROM stdin;\n1\\t'x\n\\.\nSELECT 1;", "COPY t FROM stdin;\n     \n  \nSELECT 1;"},
    {"copy data, CR LF", "COPY t (a) FROM STDIN WITH (FORMAT csv);\r\n';\r\n\\.\r\nSELECT 1;",
     "COPY t (a) FROM STDIN WITH (FORMAT csv);\r\n  \r\n  \r\nSELECT 1;"},
    {"copy data without an end", "COPY t FROM stdin;\nx;y", "COPY t FROM stdin;\n   "},
    {"copy from a file", "COPY t FROM 'stdin';\nSELECT 1;", "COPY t FROM 'stdin';\nSELECT 1;"},
    {"unterminated", "SELECT 'x \\d", "SELECT 'x \\d"},
    {"a variable as a name", "ALTER TABLE :t ADD x int DEFAULT :value;",
     "ALTER TABLE  t ADD x int DEFAULT $00001;"},
    {"quoted variables", "SELECT :'a', :\"b\" FROM t;", "SELECT  'a',  \"b\" FROM t;"},
    {"no variables", "SELECT a[1:n], b::text, f(x := 1), ':c';", "SELECT a[1:n], b::text, f(x := 1), ':c';"},
    {"a placeholder in a name", "ALTER TABLE ${app}_log.t ADD x int;", "ALTER TABLE __app__log.t ADD x int;"},
    {"a placeholder for a value", "SELECT 1 WHERE a = ${v};", "SELECT 1 WHERE a = $001;"},
    {"two commands in a line", "\\echo 'a \\\\' \\\\ SELECT 1;", "                SELECT 1;"},
    {"shell takes the line", "\\! a \\\\ b;\nSELECT 1;", "          \nSELECT 1;"},
    {"psql's copy has data", "\\copy t from stdin\n;'\n\\.\nSELECT 1;",
     "                  \n  \n  \nSELECT 1;"},
    {"psql's copy from elsewhere", "\\copy t from pstdin\nSELECT 1;", "                   \nSELECT 1;"},
    {"a section ends a statement", "-- migrate:up\nSELECT 1\n-- migrate:down\nSELECT 2",
     ";            \nSELECT 1\n;              \nSELECT 2"},
    {"a section's words in a string", "SELECT '\n-- migrate:down\n';", "SELECT '\n-- migrate:down\n';"},
    {"a backslash at the end", "SELECT E'\\", "SELECT E'\\"},
    {"only a backslash", "\\", " "},
    {"empty", "", ""},
};

static void test_sources(void **state)
{
    const char *why;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        struct source *source =
            source_of(NULL, "m.sql", sources[i].text, strlen(sources[i].text), NULL, &why);
        if (strcmp(source->sql, sources[i].sql) != 0)
            fail_msg("%s: \"%s\"", sources[i].name, source->sql);
        talloc_free(source);
    }
}

static void test_positions(void **state)
{
    const char *why;
    static const char text[] = "a\r\nb\rc\n\xc3\xa4x";
    static const struct {
        size_t offset;
        unsigned line, column;
    } rows[] = {{0, 1, 1}, {3, 2, 1}, {5, 3, 1}, {7, 4, 1}, {9, 4, 2}, {99, 4, 3}};
    struct source *source = source_of(NULL, "m.sql", text, sizeof text - 1, NULL, &why);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned line, column;
        source_position(source, rows[i].offset, &line, &column);
        if (line != rows[i].line || column != rows[i].column)
            fail_msg("offset %zu: %u:%u", rows[i].offset, line, column);
    }
    talloc_free(source);
}

/* ---- what is reported ---- */

static const struct {
    const char *name, *text;
    size_t length; /* 0: strlen */
    const char *role, *expect, *unexpected;
    unsigned statements, judged, unreadable, rejected, warned, waived;
} reports[] = {
    {"a caret below the call", "SELECT 1;\n  " RISKY ";\n", 0, NULL,
     "m.sql:2:52: reject: adding column token would rewrite all of orders", "\033[", 2, 1, 0, 1, 0, 0},
    {"the whole line is shown", RISKY ";", 0, NULL, "    1 | " RISKY ";\n        | ", NULL, 1, 1, 0, 1, 0, 0},
    {"without a semicolon", RISKY, 0, NULL, "[volatile-default]", NULL, 1, 1, 0, 1, 0, 0},
    {"lone carriage returns", "-- x\r" RISKY ";\r", 0, NULL, "m.sql:2:50: reject", NULL, 1, 1, 0, 1, 0, 0},
    {"a byte order mark", "\xef\xbb\xbf" RISKY ";", 0, NULL, "m.sql:1:50: reject: adding column", NULL, 1, 1,
     0, 1, 0, 0},
    {"behind COPY data", "COPY t FROM stdin;\n;'\n\\.\n" RISKY ";", 0, NULL, "m.sql:4:50: reject", NULL, 2, 1,
     0, 1, 0, 0},
    {"a table of this file", "CREATE TABLE orders (id bigint NOT NULL);\n" RISKY ";", 0, NULL, "", "volatile",
     2, 2, 0, 0, 0, 0},
    {"a table that may be older", "CREATE TABLE IF NOT EXISTS orders (id bigint NOT NULL);\n" RISKY ";", 0,
     NULL, "[volatile-default]", NULL, 2, 2, 0, 1, 0, 0},
    {"dropped again", "CREATE TABLE orders (id bigint); DROP TABLE orders;" RISKY ";", 0, NULL,
     "[volatile-default]", NULL, 3, 3, 0, 1, 0, 0},
    {"can't be read", "ALTER TABLE orders ADD COLUMN ;;", 0, NULL, "[unparseable]", NULL, 1, 0, 1, 1, 0, 0},
    {"waived in front", "-- x\n/* pgsluice: allow volatile-default, it is empty */\n" RISKY ";", 0, "dba",
     "m.sql:3:50: waived: ", "hint", 1, 1, 0, 0, 0, 1},
    {"waived behind", RISKY " /* pgsluice: allow volatile-default, it is empty */;", 0, "dba",
     "m.sql:1:50: waived: ", "hint", 1, 1, 0, 0, 0, 1},
    {"the next statement is not waived",
     "/* pgsluice: allow volatile-default, it is empty */" RISKY ";" RISKY, 0, "dba", "waived: ", NULL, 2, 2,
     0, 1, 0, 1},
    {"may not waive", RISKY " /* pgsluice: allow volatile-default, it is empty */;", 0, "app",
     "role \"app\" may not waive", NULL, 1, 1, 0, 1, 0, 0},
    {"a mistyped waiver", "/* pgsluice allow volatile-default, it is empty */" RISKY ";", 0, "dba",
     "The comment \"pgsluice allow volatile-default, it is empty\" is no waiver", NULL, 1, 1, 0, 1, 0, 0},
    {"a waiver for another rule", "/* pgsluice: allow drop-table, it is empty */" RISKY ";", 0, "dba",
     "The waiver that was given is for another rule.", NULL, 1, 1, 0, 1, 0, 0},
    {"no statement at all", "ALTRE TABLE orders ADD COLUMN c int;", 0, NULL, "[unparseable]", NULL, 1, 0, 1,
     1, 0, 0},
    {"takes a schema's tables along", "DROP SCHEMA app CASCADE;", 0, NULL,
     "warn: dropping schema app with CASCADE", NULL, 1, 1, 0, 0, 1, 0},
    {"a schema of this file", "CREATE SCHEMA app; DROP SCHEMA app CASCADE;", 0, NULL, "", "warn", 2, 2, 0, 0,
     0, 0},
    {"a view made again", "DROP VIEW v; CREATE VIEW v AS SELECT 1 AS a;", 0, NULL, "", "warn", 2, 2, 0, 0, 0,
     0},
    {"control characters are not let through", "ALTER TABLE \"a\033[31mb\" ADD COLUMN c serial;", 0, NULL,
     "rewrite all of \"a?[31mb\"", "\033", 1, 1, 0, 1, 0, 0},
    {"a NUL byte", "ALTER TABLE a\0b ADD COLUMN c serial;", 36, NULL, "[unparseable]", NULL, 1, 0, 1, 1, 0,
     0},
    {"not UTF-8", "/* \xe4\xf6 */ ALTER TABLE t ADD COLUMN c serial;", 0, NULL, "[serial-column]", NULL, 1, 1,
     0, 1, 0, 0},
    {"only warned of", "DROP TABLE orders;", 0, NULL, "warn: dropping table orders", NULL, 1, 1, 0, 0, 1, 0},
    {"nothing but comments", "-- nothing\n/* at all */", 0, NULL, "", "m.sql:", 0, 0, 0, 0, 0, 0},
};

static void test_reports(void **state)
{
    for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
        struct job job = {.text = reports[i].text, .length = reports[i].length, .role = reports[i].role};
        run(&job);
        const struct check_count *count = &job.count;
        if (strstr(job.out, reports[i].expect) == NULL)
            fail_msg("%s: not there: %s\n%s", reports[i].name, reports[i].expect, job.out);
        if (reports[i].unexpected != NULL && strstr(job.out, reports[i].unexpected) != NULL)
            fail_msg("%s: there: %s\n%s", reports[i].name, reports[i].unexpected, job.out);
        if (count->statements != reports[i].statements || count->judged != reports[i].judged ||
            check_unread(count) != reports[i].unreadable ||
            count->findings[ACTION_REJECT] != reports[i].rejected || count->waived != reports[i].waived ||
            count->findings[ACTION_WARN] != reports[i].warned)
            fail_msg("%s: %u statements, %u judged, %u unreadable, %u rejected, %u warned, %u waived\n%s",
                     reports[i].name, count->statements, count->judged, check_unread(count),
                     count->findings[ACTION_REJECT], count->findings[ACTION_WARN], count->waived, job.out);
        free(job.out);
    }
}

static const char *text_at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void test_json(void **state)
{
    struct job job = {.text = "INSERT INTO t VALUES (1);\n\n" RISKY ";\n", .format = "json"};
    run(&job);
    char *second = strchr(job.out, '\n');
    assert_non_null(second);
    *second++ = '\0';
    json_t *insert = json_loads(job.out, 0, NULL), *alter = json_loads(second, JSON_DISABLE_EOF_CHECK, NULL);
    assert_string_equal(text_at(insert, "kind"), "INSERT");
    assert_string_equal(text_at(insert, "action"), "allow");
    assert_int_equal(json_array_size(json_object_get(insert, "findings")), 0);

    assert_int_equal(json_object_size(alter), 8);
    assert_string_equal(text_at(alter, "file"), "m.sql");
    assert_int_equal(json_integer_value(json_object_get(alter, "line")), 3);
    assert_string_equal(text_at(alter, "sql"), RISKY);
    assert_string_equal(text_at(alter, "kind"), "ALTER TABLE");
    assert_string_equal(text_at(alter, "table"), "orders");
    assert_string_equal(text_at(alter, "action"), "reject");
    const json_t *effects = json_object_get(alter, "effects");
    assert_int_equal(json_object_size(effects), 5);
    assert_string_equal(text_at(effects, "lock"), "AccessExclusiveLock");
    assert_string_equal(text_at(effects, "rewrite"), "yes");
    assert_string_equal(text_at(effects, "scan"), "no");
    assert_string_equal(text_at(effects, "index_build"), "no");
    assert_string_equal(text_at(effects, "fails"), "no");
    const json_t *finding = json_array_get(json_object_get(alter, "findings"), 0);
    assert_int_equal(json_object_size(finding), 7);
    assert_string_equal(text_at(finding, "rule"), "volatile-default");
    assert_string_equal(text_at(finding, "action"), "reject");
    assert_int_equal(json_integer_value(json_object_get(finding, "line")), 3);
    assert_int_equal(json_integer_value(json_object_get(finding, "column")), 50);
    assert_non_null(strstr(text_at(finding, "hint"), "SET DEFAULT gen_random_uuid();"));
    json_decref(insert);
    json_decref(alter);
    free(job.out);
}

/* ---- the command line ---- */

static void test_command_line(void **state)
{
    static const struct {
        const char *argv[6];
        int code;
    } rows[] = {
        {{"check"}, 2},
        {{"check", "--explain", "volatile-default"}, 0},
        {{"check", "--explain", "volatile-defalt"}, 2},
        {{"check", "--explain", ""}, 2},
        {{"check", "--explain", "fails"}, 0},
        {{"check", "--server-version", "12", "x.sql"}, 2},
        {{"check", "--server-version", "19", "x.sql"}, 2},
        {{"check", "--format", "xml", "x.sql"}, 2},
        {{"check", "--server-version", "abc", "x.sql"}, 2},
        {{"check", "--server-version", "9.6", "x.sql"}, 2},
        {{"check", "/does/not/exist.sql"}, 2},
        {{"check", "/dev/null"}, 0},
        {{"check", "-c", "/does/not/exist.yaml", "/dev/null"}, 2},
        {{"check", "--server-version", "18", TEST_DATA "/sql/effects_setup.sql"}, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int argc = 0;
        while (argc < 6 && rows[i].argv[argc] != NULL)
            argc++;
        int code = cmd_check(argc, (char **)rows[i].argv);
        if (code != rows[i].code)
            fail_msg("row %zu: exit code %d", i, code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources), cmocka_unit_test(test_positions),    cmocka_unit_test(test_reports),
        cmocka_unit_test(test_json),    cmocka_unit_test(test_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

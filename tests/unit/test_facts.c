/*
 * Facts of ALTER TABLE, CREATE TABLE, CREATE INDEX, DROP and of texts that can't be read: rows in files.
 * Beside them what a row can't show: the fingerprint, waivers, long names, places of names.
 */
#include "tests/unit/facts_table.h"

static void test_alter(void **state)
{
    table_test(TEST_DATA "/unit/facts_alter.txt", 50);
}

static void test_create_and_drop(void **state)
{
    table_test(TEST_DATA "/unit/facts_create.txt", 30);
}

/* ---- waivers ---------------------------------------------------------------------------------------- */

static void test_waivers(void **state)
{
    static const struct {
        const char *text, *waiver;
    } rows[] = {
        {"DROP TABLE t /* pgsluice: allow drop-table, old */", "drop-table, old"},
        {"DROP TABLE t -- pgsluice: allow drop-table", "drop-table"},
        {"-- pgsluice: allow drop-table\nDROP TABLE t", "drop-table"},
        {"/* first */ DROP /*\n * pgsluice:  allow x */ TABLE t", NULL},
        {"/* first */ DROP /*\n * pgsluice: allow   x  \n */ TABLE t", "x"},
        {"DROP TABLE t /* PGSLUICE: ALLOW x */", "x"},
        {"DROP TABLE t /* pgsluice: allowx */", NULL},
        {"DROP TABLE t /* pgsluice: allow */", NULL},
        {"DROP TABLE t /* pgsluice: allow", NULL},
        {"DROP TABLE t -- no pgsluice: allow x", NULL},
        {"COMMENT ON TABLE t IS '/* pgsluice: allow x */'", NULL},
        {"COMMENT ON TABLE t IS $$-- pgsluice: allow x$$", NULL},
        {"COMMENT ON TABLE \"/* pgsluice: allow x */\" IS ''", NULL},
        {"DROP TABLE t /* a /* pgsluice: allow x */ */", NULL},
        {"DROP TABLE (/* pgsluice: allow unparseable, known */", "unparseable, known"},
        {"COMMENT ON TABLE t IS 'a' -- pgsluice: allow x\n 'b'", "x"},
        {"COMMENT ON TABLE t IS 'a' -- other\n -- pgsluice: allow x\n 'b' -- pgsluice: allow y", "y"},
        {"COMMENT ON TABLE t IS 'a -- pgsluice: allow x\n' -- z\n 'b'", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct facts *facts = facts_of(NULL, rows[i].text, strlen(rows[i].text), 1000, true);
        const char *got = facts->waiver ? facts->waiver : "none",
                   *want = rows[i].waiver ? rows[i].waiver : "none";
        if (strcmp(got, want) != 0)
            fail_msg("%s: waiver <%s>, expected <%s>", rows[i].text, got, want);
        talloc_free(facts);
    }
}

static struct facts *read_text(const char *text)
{
    struct facts *facts = facts_of(NULL, text, strlen(text), PARSER_TEXT_MAX, true);
    assert_non_null(facts);
    return facts;
}

static void test_fingerprints(void **state)
{
    struct facts *a = read_text("ALTER TABLE t ADD c int DEFAULT 1");
    struct facts *b = read_text("alter  table t add c int default 2 -- x");
    struct facts *c = read_text("ALTER TABLE t ADD d int DEFAULT 1");
    struct facts *d = read_text("ALTER TABLE t ADD");
    assert_true(a->fingerprint != 0 && a->fingerprint == b->fingerprint);
    assert_true(a->fingerprint != c->fingerprint);
    assert_true(d->fingerprint == 0);
    talloc_free(a);
    talloc_free(b);
    talloc_free(c);
    talloc_free(d);
}

static void test_long_names(void **state)
{
    char text[300], name[64 + 1];
    memset(name, 'x', 64);
    name[64] = '\0';
    snprintf(text, sizeof text, "ALTER TABLE t ADD %s int", name);
    struct facts *facts = read_text(text);
    assert_int_equal(facts->long_name_place, 18);
    assert_int_equal(facts->alters[0].column->written_length, 64);
    assert_int_equal(strlen(facts->alters[0].column->name), 63);
    talloc_free(facts);
    snprintf(text, sizeof text, "ALTER TABLE t ADD %s int", name + 1);
    facts = read_text(text);
    assert_int_equal(facts->long_name_place, -1);
    assert_int_equal(facts->alters[0].column->written_length, 63);
    talloc_free(facts);
    snprintf(text, sizeof text, "ALTER TABLE t ADD \"%s\"\"\" int", name + 3);
    facts = read_text(text);
    assert_int_equal(facts->long_name_place, -1);
    assert_int_equal(facts->alters[0].column->written_length, 62);
    talloc_free(facts);
}

static void test_places(void **state)
{
    const char *text = "ALTER TABLE \"é\".t ADD c int DEFAULT 1 + f(2)";
    struct facts *facts = read_text(text);
    assert_int_equal(facts->object.place, 12);
    const struct alter *alter = &facts->alters[0];
    assert_int_equal(alter->column->type.place, strstr(text, "int") - text);
    const struct expr *expr = column_constraint(alter->column, CONSTRAINT_DEFAULT)->expr;
    assert_int_equal(expr->place, strstr(text, "1 +") - text);
    assert_int_equal(expr->args[1]->place, strstr(text, "f(2)") - text);
    assert_null(column_constraint(alter->column, CONSTRAINT_NOT_NULL));
    talloc_free(facts);
}

/* One string, as a server reads it, where libpg_query 15 would see two. */
static void test_strings_go_on_behind_a_comment(void **state)
{
    static const struct {
        const char *text;
        bool scs;
        const char *value;
    } rows[] = {
        {"ALTER TABLE t ADD c text DEFAULT 'a' -- 'x\n'b', ADD d int", true, "ab"},
        {"ALTER TABLE t ADD c text DEFAULT 'a'--\r\n\t--y\n  --\n'''b', ADD d int", true, "a'b"},
        {"ALTER TABLE t ADD c text DEFAULT E'a' -- x\n 'b\\', ADD d int --'\n, ADD d int", true,
         "ab', ADD d int --"},
        {"ALTER TABLE t ADD c text DEFAULT 'a' -- x\n 'b\\', ADD d int --'\n, ADD d int", false,
         "ab', ADD d int --"},
        {"ALTER TABLE t ADD c text DEFAULT U&'a' -- é\n '\\0062', ADD d int", true, "ab"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *text = rows[i].text;
        struct facts *facts = facts_of(NULL, text, strlen(text), PARSER_TEXT_MAX, rows[i].scs);
        if (facts->status != FACTS_OK || facts->n_alters != 2)
            fail_msg("%s: %s", text, facts->error ? facts->error : "not two columns");
        const struct expr *value = column_constraint(facts->alters[0].column, CONSTRAINT_DEFAULT)->expr;
        assert_string_equal(value->text, rows[i].value);
        assert_int_equal(facts->alters[1].column->type.place, (int)(strlen(text) - strlen("int")));
        talloc_free(facts);
    }
}

static void test_bytes_that_are_no_text(void **state)
{
    struct facts *facts = facts_of(NULL, "DROP TABLE t\0; DROP TABLE u", 26, 100, true);
    assert_int_equal(facts->status, FACTS_SYNTAX);
    assert_int_equal(facts->error_place, 12);
    talloc_free(facts);
    facts = read_text("DROP TABLE \xff");
    assert_int_equal(facts->status, FACTS_SYNTAX);
    assert_int_equal(facts->error_place, 11);
    talloc_free(facts);
    facts = read_text("DROP TABLE \xed\xa0\x80"); /* half of a surrogate pair */
    assert_int_equal(facts->status, FACTS_SYNTAX);
    talloc_free(facts);
    facts = read_text(" -- nothing");
    assert_int_equal(facts->status, FACTS_OK);
    assert_int_equal(facts->kind, STATEMENT_OTHER);
    assert_string_equal(facts->tag, "");
    talloc_free(facts);
}

static void test_every_kind_has_a_name(void **state)
{
    for (int kind = ALTER_ADD_COLUMN; kind < ALTER_OTHER; kind++) {
        assert_non_null(alter_kind_name((enum alter_kind)kind));
        assert_string_not_equal(alter_kind_name((enum alter_kind)kind), "other");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alter),
        cmocka_unit_test(test_create_and_drop),
        cmocka_unit_test(test_waivers),
        cmocka_unit_test(test_fingerprints),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_strings_go_on_behind_a_comment),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_every_kind_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

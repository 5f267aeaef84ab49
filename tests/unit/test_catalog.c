/*
 * The catalog by itself: what is asked, what is read, what names and expressions mean. The answer read here
 * is a real server's (tests/truth/catalog_answer.json: PostgreSQL 15, search_path shadow, pg_catalog, public,
 * a temporary table "plain" in front of the permanent one, which another session holds a SHARE lock on). Real
 * servers are asked by tests/truth/test_catalog.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <talloc.h>

#include "policy/catalog.h"

static char *answer;
static size_t answer_length;

static struct facts *facts_for(const void *memory, const char *sql)
{
    struct facts *facts = facts_of(memory, sql, strlen(sql), PARSER_TEXT_MAX, true);
    assert_non_null(facts);
    if (facts->status != FACTS_OK)
        fail_msg("%s: %s", sql, facts->error);
    return facts;
}

/* ---- questions ---- */

static void test_questions(void **state)
{
    static const struct {
        const char *sql, *questions;
    } rows[] = {
        {"SELECT f(1)", NULL},
        {"BEGIN", NULL},
        {"ALTER TABLE t ADD c int",
         "{\"s\":[\"pg_catalog\"],\"r\":[],\"R\":[\"t\"],\"f\":[],\"o\":[],\"t\":[\"int4\"]}"},
        {"ALTER TABLE a.t ADD c serial", "{\"s\":[\"a\"],\"r\":[],\"R\":[\"t\"],\"f\":[],\"o\":[],\"t\":[]}"},
        {"ALTER TABLE t ADD c d DEFAULT x.f(g(), 1) +^ 2 REFERENCES b.r",
         "{\"s\":[\"x\",\"b\"],\"r\":[\"r\"],\"R\":[\"t\"],\"f\":[\"f\",\"g\"],\"o\":[\"+^\"],\"t\":[\"d\"]"
         "}"},
        {"ALTER TABLE t ADD c e DEFAULT h(1)",
         "{\"s\":[],\"r\":[],\"R\":[\"t\"],\"f\":[\"h\"],\"o\":[],\"t\":[\"e\",\"h\"]}"},
        {"ALTER TABLE t ALTER c SET DEFAULT (CASE a WHEN b THEN 1 END IN (2))",
         "{\"s\":[],\"r\":[],\"R\":[\"t\"],\"f\":[],\"o\":[\"=\",\"<>\"],\"t\":[]}"},
        {"ALTER TABLE t ALTER c TYPE d USING c::e",
         "{\"s\":[],\"r\":[],\"R\":[\"t\"],\"f\":[],\"o\":[],\"t\":[\"d\",\"e\"]}"},
        {"ALTER TABLE p ATTACH PARTITION s.q DEFAULT",
         "{\"s\":[\"s\"],\"r\":[],\"R\":[\"p\",\"q\"],\"f\":[],\"o\":[],\"t\":[]}"},
        {"DROP TABLE a, s.b", "{\"s\":[\"s\"],\"r\":[],\"R\":[\"a\",\"b\"],\"f\":[],\"o\":[],\"t\":[]}"},
        {"TRUNCATE a, b", "{\"s\":[],\"r\":[],\"R\":[\"a\",\"b\"],\"f\":[],\"o\":[],\"t\":[]}"},
        {"CREATE INDEX i ON s.t (x)",
         "{\"s\":[\"s\"],\"r\":[\"i\"],\"R\":[\"t\"],\"f\":[],\"o\":[],\"t\":[]}"},
        {"DO $$ BEGIN ALTER TABLE deep ADD c d DEFAULT f(); END $$",
         "{\"s\":[],\"r\":[],\"R\":[\"deep\"],\"f\":[\"f\"],\"o\":[],\"t\":[\"d\"]}"},
        {"ALTER TABLE \"a\"\"b\\c\" ADD c \"D\"",
         "{\"s\":[],\"r\":[],\"R\":[\"a\\\"b\\\\c\"],\"f\":[],\"o\":[],\"t\":[\"D\"]}"}};
    void *memory = talloc_new(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *questions = catalog_questions(memory, facts_for(memory, rows[i].sql));
        if (questions == NULL || rows[i].questions == NULL)
            assert_ptr_equal(questions, rows[i].questions);
        else if (strcmp(questions, rows[i].questions) != 0)
            fail_msg("%s:\nwanted %s\nhave   %s", rows[i].sql, rows[i].questions, questions);
    }
    assert_null(catalog_questions(memory, NULL));
    talloc_free(memory);
}

/* A statement may name more than anybody looks up; the questions stay bounded. */
static void test_questions_are_bounded(void **state)
{
    void *memory = talloc_new(NULL);
    char *sql = talloc_strdup(memory, "DROP TABLE t0");
    for (int i = 1; i < 5000; i++)
        sql = talloc_asprintf_append_buffer(sql, ", table_%d", i);
    const char *questions = catalog_questions(memory, facts_for(memory, sql));
    assert_non_null(questions);
    assert_true(strlen(questions) < 20000);
    talloc_free(memory);
}

/* The query takes nothing from search_path and holds no backslash: each operator is OPERATOR(pg_catalog.…).
 */
static void test_sql_is_qualified(void **state)
{
    const char *sql = catalog_sql();
    static const char *const unqualified[] = {"\\",      "::",  " IN (", " LIKE ", "BETWEEN", "NULLIF",
                                              "USING (", " = ", " <> ",  " || ",   "CASE x.", "regclass"};
    for (size_t i = 0; i < sizeof unqualified / sizeof *unqualified; i++) {
        if (strstr(sql, unqualified[i]) != NULL)
            fail_msg("the query holds %s", unqualified[i]);
    }
    assert_non_null(strstr(sql, "$1"));
}

/* ---- reading ---- */

static struct catalog *read_answer(const void *memory)
{
    struct catalog *catalog = catalog_read(memory, answer, answer_length);
    assert_non_null(catalog);
    return catalog;
}

static void test_read(void **state)
{
    const struct catalog *catalog = read_answer(NULL);
    assert_int_equal(catalog->server_version, 150018);
    assert_string_equal(catalog->user, "postgres");
    assert_true(catalog->superuser);
    assert_false(catalog->in_recovery);
    assert_int_equal(catalog->n_path, 4);
    assert_string_equal(catalog->path[1], "shadow");
    assert_int_equal(catalog->n_asked, 4);
    talloc_free((void *)catalog);
}

static void test_relations(void **state)
{
    const struct catalog *catalog = read_answer(NULL);
    const struct catalog_relation *temporary = catalog_relation(catalog, &(struct name){.name = "plain"});
    assert_true(temporary->exists && temporary->temporary);
    assert_int_equal(temporary->persistence, 't');
    assert_ptr_equal(catalog_relation(catalog, &(struct name){"pg_temp", "plain", 0}), temporary);
    const struct catalog_relation *plain = catalog_relation(catalog, &(struct name){"public", "plain", 0});
    assert_true(plain->exists && !plain->temporary && plain->may_own && !plain->created_here);
    assert_true(plain->rows == 200 && plain->size == 16384);
    assert_int_equal(plain->n_columns, 8);
    assert_string_equal(catalog_column(plain, "num")->type_text, "numeric(10,2)");
    assert_null(catalog_column(plain, "only_here"));
    assert_int_equal(plain->n_indexes, 3);
    assert_true(plain->n_holders == 1 && plain->holders[0].granted && !plain->holders[0].autovacuum);
    assert_string_equal(plain->holders[0].mode, "ShareLock");
    assert_string_equal(plain->holders[0].query, "lock table public.plain in share mode");
    assert_ptr_equal(catalog_relation_by_oid(catalog, plain->oid), plain);
    const struct catalog_relation *parent = catalog_relation(catalog, &(struct name){.name = "parent"});
    assert_int_equal(parent->kind, 'p');
    assert_true(parent->children == 2 && parent->children_rows == 150);
    assert_false(catalog_relation(catalog, &(struct name){.name = "no_such"})->exists);
    assert_false(catalog_relation(catalog, &(struct name){"shadow", "plain", 0})->exists);
    assert_null(catalog_relation(catalog, &(struct name){.name = "not_asked"}));
    talloc_free((void *)catalog);
}

static void test_types(void **state)
{
    const struct catalog *catalog = read_answer(NULL);
    const struct catalog_type *type = catalog_type(catalog, &(struct type_name){.name = "d_over_check"});
    struct catalog_domain domain = catalog_domain(catalog, type);
    assert_true(domain.is_domain && domain.constrained && domain.checks && !domain.not_null &&
                !domain.has_default);
    assert_int_equal(domain.base, 23);
    domain = catalog_domain(catalog, catalog_type(catalog, &(struct type_name){.name = "d_volatile"}));
    assert_true(domain.is_domain && !domain.constrained && domain.has_default);
    assert_int_equal(domain.by_default, CATALOG_VOLATILE);
    assert_false(catalog_domain(catalog, catalog_type_by_oid(catalog, 23)).is_domain);
    type =
        catalog_type(catalog, &(struct type_name){"pg_catalog", "int4", "int", NULL, 0, 0, false, false, 0});
    assert_int_equal(type->oid, 23);
    assert_int_equal(catalog_type_oid(catalog, &(struct type_name){.name = "int4", .array = 2}), 1007);
    assert_null(catalog_type(catalog, &(struct type_name){.name = "nowhere"}));
    assert_null(catalog_type(catalog, &(struct type_name){.schema = "shadow", .name = "mood"}));
    assert_null(catalog_type_by_oid(catalog, 0));
    talloc_free((void *)catalog);
}

static void test_not_null(void **state)
{
    const struct catalog *catalog = read_answer(NULL);
    struct catalog_relation *plain =
        (struct catalog_relation *)catalog_relation(catalog, &(struct name){"public", "plain", 0});
    const struct catalog_column *n = catalog_column(plain, "n");
    assert_true(catalog_not_null_proven(plain, n));
    assert_true(catalog_not_null_proven(plain, catalog_column(plain, "id")));
    assert_false(catalog_not_null_proven(plain, catalog_column(plain, "v")));

    static const char test[] =
        "{NULLTEST :arg {VAR :varno 1 :varattno 3 :vartype 23} :nulltesttype 1 :argisrow false}";
    static const struct {
        const char *stored;
        bool validated, proven;
    } rows[] = {{"%s", true, true},
                {"%s", false, false},
                {"{BOOLEXPR :boolop and :args (%s {OPEXPR :opno 521}) :location 1}", true, true},
                {"{BOOLEXPR :boolop and :args ({OPEXPR :opno 521 :args ({A} {B})} %s)}", true, true},
                {"{BOOLEXPR :boolop and :args ({BOOLEXPR :boolop and :args ({X} %s)} {Y})}", true, true},
                {"{BOOLEXPR :boolop or :args (%s {OPEXPR :opno 521})}", true, false},
                {"{BOOLEXPR :boolop not :args (%s)}", true, false},
                {"{OPEXPR :args (%s)}", true, false},
                {"{BOOLEXPR :boolop and :args (", true, false},
                {"{NULLTEST :arg {VAR :varattno 3} :nulltesttype 0 :argisrow false}", true, false},
                {"{NULLTEST :arg {VAR :varattno 13} :nulltesttype 1 :argisrow false}", true, false},
                {"", true, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct catalog_constraint check = {
            .name = "k", .type = 'c', .validated = rows[i].validated, .enforced = true};
        const char *place = strstr(rows[i].stored, "%s");
        check.stored = place == NULL ? talloc_strdup(catalog, rows[i].stored)
                                     : talloc_asprintf(catalog, "%.*s%s%s", (int)(place - rows[i].stored),
                                                       rows[i].stored, test, place + 2);
        plain->constraints = &check;
        plain->n_constraints = 1;
        if (catalog_not_null_proven(plain, n) != rows[i].proven)
            fail_msg("row %zu: %s", i, check.stored);
    }
    talloc_free((void *)catalog);
}

/* PostgreSQL 18: a NOT NULL constraint that isn't validated sets attnotnull all the same. */
static void test_not_null_not_valid(void **state)
{
    int column = 3;
    struct catalog_column n = {.number = 3, .not_null = true};
    struct catalog_constraint constraint = {
        .type = 'n', .validated = false, .enforced = true, .columns = &column, .n_columns = 1};
    struct catalog_relation relation = {.constraints = &constraint, .n_constraints = 1};
    assert_false(catalog_not_null_proven(&relation, &n));
    constraint.validated = true;
    assert_true(catalog_not_null_proven(&relation, &n));
}

static char *base64(const void *memory, const char *text, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = talloc_array(memory, char, n * 2 + 10);
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < n ? (unsigned char)text[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            out[at++] = i + k > n ? '=' : digits[bits >> (18 - 6 * k) & 63];
        if (i % 57 == 54)
            out[at++] = '\n';
    }
    out[at] = '\0';
    return out;
}

static void test_encodings(void **state)
{
    static const char name[] = "\"database\": \"ex\"";
    void *memory = talloc_new(NULL);
    const char *place = strstr(answer, name);
    assert_non_null(place);
    /* the same answer from a LATIN1 server whose database is called "é" */
    char *text = talloc_asprintf(memory, "%.*s\"database\": \"\xe9\"%s", (int)(place - answer), answer,
                                 place + sizeof name - 1);
    char *latin = talloc_asprintf(memory, "LATIN1:%s", base64(memory, text, strlen(text)));
    const struct catalog *catalog = catalog_read(memory, latin, strlen(latin));
    assert_non_null(catalog);
    assert_string_equal(catalog->database, "\xc3\xa9");
    char *wrong = talloc_asprintf(memory, "UTF8:%s", base64(memory, text, strlen(text)));
    assert_null(catalog_read(memory, wrong, strlen(wrong)));
    wrong = talloc_asprintf(memory, "NO_SUCH:%s", base64(memory, text, strlen(text)));
    assert_null(catalog_read(memory, wrong, strlen(wrong)));
    for (size_t cut = 1; cut < 6; cut++)
        assert_null(catalog_read(memory, latin, strlen(latin) - 40 - cut));
    talloc_free(memory);
}

static void test_malformed(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "{}",
                                        "[]",
                                        "null",
                                        ":",
                                        "UTF8:",
                                        "UTF8:e30=",
                                        "UTF8:!!!!",
                                        "UTF8:e",
                                        "{\"version\":1}",
                                        "ERROR",
                                        "{\"relations\":[1]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_null(catalog_read(NULL, texts[i], strlen(texts[i])));
    for (size_t length = 0; length < answer_length - 2; length += 37)
        assert_null(catalog_read(NULL, answer, length));
}

/* Every few bytes something else: read or refused, never a crash, and what is read can be used. */
static void test_damaged(void **state)
{
    static const char damage[] = "0-9\"[]{},:xn\\ ";
    unsigned read = 0;
    void *memory = talloc_new(NULL);
    char *text = talloc_memdup(memory, answer, answer_length);
    for (size_t at = 0; at < answer_length; at += 11) {
        char kept = text[at];
        text[at] = damage[at % (sizeof damage - 1)];
        const struct catalog *catalog = catalog_read(memory, text, answer_length);
        if (catalog != NULL) {
            read++;
            (void)catalog_relation(catalog, &(struct name){"public", "plain", 0});
            const struct catalog_type *type =
                catalog_type(catalog, &(struct type_name){.name = "d_over_check"});
            if (type != NULL)
                (void)catalog_domain(catalog, type);
        }
        talloc_free((void *)catalog);
        text[at] = kept;
    }
    assert_true(read > 0);
    talloc_free(memory);
}

/* A domain that is its own base, a cast onto itself: no loop. */
static void test_circles(void **state)
{
    struct catalog_type types[] = {
        {.oid = 1, .schema = "s", .name = "a", .type = 'd', .base = 2, .category = 'N'},
        {.oid = 2, .schema = "s", .name = "b", .type = 'd', .base = 1, .category = 'N'}};
    struct catalog catalog = {.server_version = 180000, .types = types, .n_types = 2};
    assert_false(catalog_domain(&catalog, &types[0]).constrained);
    struct expr one = {.kind = EXPR_CONSTANT, .constant = CONSTANT_INTEGER, .text = "1"};
    struct type_name target = {.schema = "s", .name = "a"};
    assert_int_equal(catalog_expression(&catalog, &one, &target, NULL).volatility, CATALOG_UNKNOWN);
}

/* ---- expressions ---- */

static void test_expressions(void **state)
{
    static const struct {
        const char *type, *expression;
        enum catalog_volatility volatility;
    } rows[] = {{"int", "1", CATALOG_IMMUTABLE},
                {"text", "CURRENT_TIMESTAMP", CATALOG_STABLE},
                {"int", "public.f_over(1)", CATALOG_IMMUTABLE},
                {"double precision", "random()", CATALOG_IMMUTABLE}, /* shadow.random() comes first */
                {"double precision", "pg_catalog.random()", CATALOG_VOLATILE},
                {"text", "lower('A')", CATALOG_VOLATILE}, /* shadow.lower(text) */
                {"text", "pg_catalog.lower('A')", CATALOG_IMMUTABLE},
                {"int", "f_variadic(1, 2)", CATALOG_VOLATILE},
                {"int", "1 +^ 2", CATALOG_VOLATILE},
                {"int", "NULL +^ 2", CATALOG_VOLATILE},            /* not strict */
                {"int", "i.one()", CATALOG_IMMUTABLE},             /* VOLATILE, but inlined */
                {"int", "i.volatile_inside()", CATALOG_IMMUTABLE}, /* its random() is shadow's as well */
                {"int", "i.no_such()", CATALOG_UNKNOWN},
                {"int", "one()", CATALOG_UNKNOWN}, /* i isn't in search_path */
                {"text", "'a' || 'b'", CATALOG_IMMUTABLE},
                {"int", "(SELECT 1)", CATALOG_UNKNOWN},
                {"no_type", "1", CATALOG_UNKNOWN}};
    void *memory = talloc_new(NULL);
    const struct catalog *catalog = read_answer(memory);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *sql = talloc_asprintf(memory, "ALTER TABLE plain ADD c %s DEFAULT (%s)", rows[i].type,
                                          rows[i].expression);
        const struct column_definition *column = facts_for(memory, sql)->alters[0].column;
        const struct expr *expr = column_constraint(column, CONSTRAINT_DEFAULT)->expr;
        struct catalog_answer have = catalog_expression(catalog, expr, &column->type, NULL);
        if (have.volatility != rows[i].volatility)
            fail_msg("%s: wanted %d, have %d", rows[i].expression, (int)rows[i].volatility,
                     (int)have.volatility);
        if (have.volatility == CATALOG_VOLATILE)
            assert_non_null(have.culprit);
        else if (have.volatility != CATALOG_UNKNOWN)
            assert_null(have.culprit);
    }
    talloc_free(memory);
}

/* Before November 2023 servers asked the expression as written: what would be folded away counts. */
static void test_old_minor_releases(void **state)
{
    static const struct {
        int version;
        enum catalog_volatility volatility;
    } rows[] = {{130012, CATALOG_VOLATILE},  {130013, CATALOG_IMMUTABLE}, {140009, CATALOG_VOLATILE},
                {150004, CATALOG_VOLATILE},  {150005, CATALOG_IMMUTABLE}, {160000, CATALOG_VOLATILE},
                {160001, CATALOG_IMMUTABLE}, {170000, CATALOG_IMMUTABLE}};
    void *memory = talloc_new(NULL);
    struct catalog *catalog = read_answer(memory);
    const char *sql = "ALTER TABLE plain ADD c int DEFAULT i.one()";
    const struct column_definition *column = facts_for(memory, sql)->alters[0].column;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        catalog->server_version = rows[i].version;
        const struct expr *expr = column_constraint(column, CONSTRAINT_DEFAULT)->expr;
        assert_int_equal(catalog_expression(catalog, expr, &column->type, NULL).volatility,
                         rows[i].volatility);
    }
    talloc_free(memory);
}

/* Deeper than anything sensible is followed: unknown, and no stack is lost. */
static void test_deep(void **state)
{
    void *memory = talloc_new(NULL);
    const struct catalog *catalog = read_answer(memory);
    struct expr *expr = talloc_zero(memory, struct expr);
    expr->kind = EXPR_CONSTANT;
    expr->text = "1";
    for (int i = 0; i < 20000; i++) {
        struct expr *outer = talloc_zero(memory, struct expr);
        outer->kind = EXPR_BOOLEAN;
        outer->name.name = "NOT";
        outer->args = talloc_array(memory, struct expr *, 1);
        outer->args[0] = expr;
        outer->n_args = 1;
        expr = outer;
    }
    assert_int_equal(catalog_expression(catalog, expr, NULL, NULL).volatility, CATALOG_UNKNOWN);
    talloc_free(memory);
}

static int load(void **state)
{
    FILE *file = fopen(TEST_DATA "/truth/catalog_answer.json", "rb");
    answer = calloc(1, 100000);
    if (file == NULL || answer == NULL)
        return -1;
    answer_length = fread(answer, 1, 99999, file);
    return fclose(file);
}

static int unload(void **state)
{
    free(answer);
    return 0;
}

static void *run(void *result)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_questions),
                                       cmocka_unit_test(test_questions_are_bounded),
                                       cmocka_unit_test(test_sql_is_qualified),
                                       cmocka_unit_test(test_read),
                                       cmocka_unit_test(test_relations),
                                       cmocka_unit_test(test_types),
                                       cmocka_unit_test(test_not_null),
                                       cmocka_unit_test(test_not_null_not_valid),
                                       cmocka_unit_test(test_encodings),
                                       cmocka_unit_test(test_malformed),
                                       cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_circles),
                                       cmocka_unit_test(test_expressions),
                                       cmocka_unit_test(test_old_minor_releases),
                                       cmocka_unit_test(test_deep)};
    *(int *)result = cmocka_run_group_tests(tests, load, unload);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    int failed = 1;
    if (parser_thread_create(&thread, run, &failed) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    return failed;
}

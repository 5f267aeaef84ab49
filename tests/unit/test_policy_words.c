/*
 * What findings say and in which order: places, documentation, and hints that are themselves let through.
 */
#include "test_policy_help.h"

/* ---- order, place, documentation ---- */

static void test_order_and_place(void **state)
{
    struct conf *conf = configured("");
    struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    const char *sql =
        "ALTER TABLE orders ADD COLUMN \"Bad\" json, ADD COLUMN b serial, ADD COLUMN c uuid UNIQUE";
    const struct verdict *verdict = judged(memory, sql, &context);
    assert_int_equal(verdict->n_findings, 5);
    for (size_t i = 1; i < verdict->n_findings; i++) {
        const struct finding *a = &verdict->findings[i - 1], *b = &verdict->findings[i];
        assert_true(a->action > b->action || (a->action == b->action && a->place <= b->place));
    }
    assert_int_equal(verdict->findings[0].rule, RULE_serial_column);
    assert_string_equal(sql + verdict->findings[0].place, "serial, ADD COLUMN c uuid UNIQUE");
    assert_int_equal(verdict->findings[1].rule, RULE_inline_unique);
    assert_string_equal(sql + verdict->findings[1].place, "UNIQUE");
    const char *block = "DO $$ BEGIN\n ALTER TABLE orders ADD COLUMN b serial; END $$";
    verdict = judged(memory, block, &context);
    assert_non_null(strstr(verdict->findings[0].message, "line 2 of the DO block"));
    assert_in_range(verdict->findings[0].place, 1, strlen(block));
    talloc_free(memory);
    conf_unref(conf);
}

static void test_documentation(void **state)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        const struct rule_doc *doc = rule_doc((enum rule)i);
        const char *const texts[] = {doc->summary, doc->happens, doc->matters, doc->safe_way, doc->source};
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++)
            assert_true(texts[j] != NULL && strlen(texts[j]) > 3);
    }
    assert_string_equal(rule_doc(RULE_truncate)->summary, "TRUNCATE removes every row at once");
}

/* ---- as people are told ---- */

static const struct finding *told_of(const struct finding *all, size_t n, enum rule rule)
{
    for (size_t i = 0; i < n; i++)
        if (all[i].rule == rule)
            return &all[i];
    return NULL;
}

/* What a framework writes: one sentence a rule, which names all columns; the verdict keeps them apart. */
static void test_told_together(void **state)
{
    struct conf *conf = configured("");
    struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    size_t n;
    const struct verdict *verdict = judged(
        memory,
        "CREATE TABLE \"Posts\" (id serial PRIMARY KEY, \"authorId\" int, \"user\" text, \"createdAt\" "
        "timestamp, seen timestamp, body json)",
        &context);
    assert_int_equal(verdict->n_findings, 7);
    const struct finding *told = verdict_told(memory, verdict, &n);
    assert_int_equal(n, 3);
    const struct finding *types = told_of(told, n, RULE_column_type);
    assert_string_equal(types->message,
                        "columns id, \"createdAt\", seen and body have types that bring trouble later");
    assert_non_null(strstr(types->detail, "\n\"createdAt\" and seen: timestamp without time zone"));
    assert_non_null(strstr(types->hint, "\nbody: Use jsonb."));
    assert_null(types->object);
    const struct finding *names = told_of(told, n, RULE_column_name);
    assert_string_equal(names->message,
                        "column names \"authorId\" and \"createdAt\" don't follow the naming rule");
    assert_memory_equal(names->detail, "Names here", 10); /* the same for both: said once */
    assert_string_equal(told_of(told, n, RULE_reserved_word)->object, "user");
    talloc_free(memory);
    conf_unref(conf);
}

/* Findings whose hint is SQL of their own stay apart, and what is waived or allowed isn't told. */
static void test_told_apart(void **state)
{
    struct conf *conf = configured("policy: {waivers: {roles: [dba], require_reason: false}}");
    struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    size_t n;
    context.role = "dba";
    verdict_told(memory, judged(memory, "DROP TABLE a, b", &context), &n);
    assert_int_equal(n, 2);
    verdict_told(memory,
                 judged(memory, "ALTER TABLE t ADD a serial, ADD b serial, ADD c json, ADD d json", &context),
                 &n);
    assert_int_equal(n, 4); /* serial-column twice, rewrite-with-siblings, column-type */
    verdict_told(memory, judged(memory, "/* pgsluice: allow drop-table */ DROP TABLE a, b", &context), &n);
    assert_int_equal(n, 0);
    talloc_free(memory);
    conf_unref(conf);
}

/* The parser cuts names as the server does; the rule sees how long they were. */
static void test_long_name(void **state)
{
    static const char name[] = "a23456789_123456789_123456789_123456789_123456789_123456789_1234";
    struct conf *conf = configured("");
    struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    const char *sql = talloc_asprintf(memory, "ALTER TABLE t ADD COLUMN %s int", name);
    const struct verdict *verdict = judged(memory, sql, &context);
    assert_int_equal(verdict->n_findings, 1);
    assert_int_equal(verdict->findings[0].rule, RULE_name_too_long);
    assert_non_null(strstr(verdict->findings[0].message, "of 64 bytes"));
    sql = talloc_asprintf(memory, "ALTER TABLE t ADD COLUMN %.63s int", name);
    assert_int_equal(judged(memory, sql, &context)->n_findings, 0);
    talloc_free(memory);
    conf_unref(conf);
}

/* ---- hints ---- */

static const char *const hinted[] = {
    "ALTER TABLE \"Or'ders\" ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE",
    "ALTER TABLE shop.orders ADD COLUMN nr serial PRIMARY KEY",
    "ALTER TABLE shop.orders ADD COLUMN \"N r\" bigint GENERATED BY DEFAULT AS IDENTITY",
    "ALTER TABLE orders ADD a int CHECK (a > 0 AND a <> 7), ADD b bigint DEFAULT 1 REFERENCES c (id)",
    "ALTER TABLE orders ADD COLUMN a int NOT NULL",
    "ALTER TABLE orders ADD COLUMN a text DEFAULT 'it''s \\ so' UNIQUE",
    "ALTER TABLE orders ADD COLUMN a int GENERATED ALWAYS AS (b * 2) STORED",
    "ALTER TABLE orders ADD CONSTRAINT k UNIQUE (a, \"B\")",
    "ALTER TABLE orders ADD PRIMARY KEY (a)",
    "ALTER TABLE orders ADD CHECK (a IS NOT NULL OR b ~ 'x'), ADD FOREIGN KEY (a, b) REFERENCES c (d, e)",
    "ALTER TABLE orders ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE orders ALTER COLUMN a TYPE bigint",
    "ALTER TABLE orders RENAME TO older",
    "DROP TABLE orders",
};

static void assert_hint(const struct policy_context *context, const char *sql, const char *says)
{
    void *memory = talloc_new(NULL);
    const struct verdict *verdict = judged(memory, sql, context);
    assert_true(verdict->n_findings > 0);
    if (strstr(verdict->findings[0].hint, says) == NULL)
        fail_msg("%s: %s", sql, verdict->findings[0].hint);
    talloc_free(memory);
}

/* A key that takes an index over may yet look for NULLs; a hint that names one must be let through. */
static void test_key_of_index(void **state)
{
    struct conf *conf = configured("");
    const struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    const struct verdict *verdict =
        judged(memory, "ALTER TABLE orders ADD CONSTRAINT k PRIMARY KEY USING INDEX i", &context);
    assert_int_equal(verdict->n_findings, 1);
    assert_int_equal(verdict->action, ACTION_WARN);
    assert_string_equal(verdict->findings[0].message,
                        "adding this primary key reads all of orders while it is locked, unless every column "
                        "of the index is NOT NULL already");
    verdict = judged(memory, "ALTER TABLE orders ADD CONSTRAINT k UNIQUE USING INDEX i", &context);
    assert_int_equal(verdict->n_findings, 0);
    talloc_free(memory);
    conf_unref(conf);
}

/* What the author wrote must not get lost on the safe way. */
static void test_hint_keeps(void **state)
{
    struct conf *conf = configured("");
    const struct policy_context context = context_of(conf);
    assert_hint(&context,
                "ALTER TABLE orders ADD FOREIGN KEY (a) REFERENCES c (d) MATCH FULL ON DELETE CASCADE",
                "REFERENCES c (d) MATCH FULL ON DELETE CASCADE NOT VALID;");
    assert_hint(&context,
                "ALTER TABLE orders ADD b int DEFAULT 1 REFERENCES c ON UPDATE SET NULL DEFERRABLE INITIALLY "
                "DEFERRED",
                "REFERENCES c ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED NOT VALID;");
    assert_hint(&context, "ALTER TABLE orders ADD UNIQUE (a) DEFERRABLE",
                "USING INDEX orders_a_key DEFERRABLE;");
    assert_hint(&context, "ALTER TABLE s.orders RENAME TO old",
                "CREATE VIEW s.orders AS SELECT * FROM s.old;");
    assert_hint(&context, "ALTER TABLE orders ADD n int GENERATED ALWAYS AS IDENTITY",
                "SELECT setval(pg_get_serial_sequence('orders', 'n'), nextval('orders_n_fill_seq'));");
    assert_hint(&context, "ALTER TABLE orders ADD \"role\" \"Role\" NOT NULL", "ADD COLUMN role \"Role\";");
    assert_hint(&context, "ALTER TABLE orders ALTER a TYPE \"My s\".\"T\"[]",
                "ADD COLUMN a_new \"My s\".\"T\"[];");
    assert_hint(&context, "ALTER TABLE orders ALTER a TYPE pg_catalog.\"char\"", "COLUMN a_new \"char\";");
    assert_hint(&context, "ALTER TABLE orders ALTER a TYPE interval(3)", "COLUMN a_new interval(3);");
    assert_hint(&context, "ALTER TABLE orders ALTER a TYPE interval day to second(3)[]",
                "COLUMN a_new interval day to second(3)[];");
    assert_hint(&context, "ALTER TABLE orders ALTER a TYPE interval year to month",
                "COLUMN a_new interval year to month;");
    assert_hint(&context, "ALTER TABLE orders ADD a text COLLATE \"C\" NOT NULL",
                "ADD COLUMN a text COLLATE \"C\";");
    assert_hint(&context, "ALTER TABLE orders ALTER a TYPE text COLLATE pg_catalog.\"de_DE\"",
                "ADD COLUMN a_new text COLLATE pg_catalog.\"de_DE\";");
    assert_hint(&context, "ALTER TABLE orders ADD CHECK (a > 0) NO INHERIT",
                "CHECK (a > 0) NO INHERIT NOT VALID;");
    assert_hint(&context, "ALTER TABLE orders ADD UNIQUE NULLS NOT DISTINCT (a) INCLUDE (b)",
                "ON orders (a) INCLUDE (b) NULLS NOT DISTINCT;");
    assert_hint(&context, "ALTER TABLE orders ADD UNIQUE (a) WITH (fillfactor = 70)",
                "USING INDEX orders_a_key;\n-- and with your own WITH (...) / TABLESPACE");
    assert_hint(&context, "ALTER TABLE orders ADD a text COMPRESSION lz4 UNIQUE USING INDEX TABLESPACE x",
                "\n-- and with your own COMPRESSION or STORAGE / WITH (...) / TABLESPACE");
    conf_unref(conf);
}

static size_t judge_hint(const char *hint, const struct policy_context *context)
{
    size_t n = 0;
    void *memory = talloc_new(NULL);
    for (const char *line = hint; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t length = strcspn(line, "\n");
        bool sql = strncmp(line, "ALTER ", 6) == 0 || strncmp(line, "CREATE ", 7) == 0 ||
                   strncmp(line, "UPDATE ", 7) == 0;
        if (!sql)
            continue;
        const char *end = memmem(line, length, ";", 1);
        assert_non_null(end);
        struct facts *facts = facts_of(memory, line, (size_t)(end - line), PARSER_TEXT_MAX, true);
        if (facts->status != FACTS_OK)
            fail_msg("hint is not SQL: %.*s: %s", (int)length, line, facts->error);
        const struct verdict *verdict = policy_judge(memory, facts, context);
        if (verdict->action > ACTION_WARN)
            fail_msg("hint is refused: %.*s: %s", (int)length, line, verdict->findings[0].message);
        n++;
    }
    talloc_free(memory);
    return n;
}

static void test_each_hint(void **state)
{
    struct conf *conf = configured("");
    struct policy_context context = context_of(conf);
    for (size_t i = 0; i < sizeof hinted / sizeof *hinted; i++) {
        void *memory = talloc_new(NULL);
        const struct verdict *verdict = judged(memory, hinted[i], &context);
        assert_true(verdict->n_findings > 0);
        if (judge_hint(verdict->findings[0].hint, &context) == 0)
            fail_msg("%s: no SQL in: %s", hinted[i], verdict->findings[0].hint);
        for (size_t j = 1; j < verdict->n_findings; j++)
            judge_hint(verdict->findings[j].hint, &context);
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* Deep expressions end in "unknown", not on the stack's floor. */
static void test_deep_expression(void **state)
{
    struct conf *conf = configured("");
    struct policy_context context = context_of(conf);
    char *sql = talloc_strdup(NULL, "ALTER TABLE orders ADD COLUMN c int DEFAULT 1");
    for (int i = 0; i < 600; i++)
        sql = talloc_strdup_append_buffer(sql, "+1");
    const struct verdict *verdict = judged(sql, sql, &context);
    assert_true(verdict->effects.rewrite != ANSWER_YES);
    talloc_free(sql);
    conf_unref(conf);
}

/* ---- all of it on one thread with the parser's stack ---- */

static void *run_all(void *argument)
{
    int *failed = argument;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_place), cmocka_unit_test(test_documentation),
        cmocka_unit_test(test_told_together),   cmocka_unit_test(test_told_apart),
        cmocka_unit_test(test_long_name),       cmocka_unit_test(test_each_hint),
        cmocka_unit_test(test_hint_keeps),      cmocka_unit_test(test_key_of_index),
        cmocka_unit_test(test_deep_expression),
    };
    *failed = cmocka_run_group_tests(tests, NULL, NULL);
    return NULL;
}

int main(void)
{
    return on_parser_thread(run_all);
}

/*
 * The judgement around the effects: which setting is in force, what excuses a table, waivers, profiles, and
 * that the hints themselves would be let through.
 */
#include "test_policy_help.h"

#define VOLATILE "ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid()"
#define UNSURE   "ALTER TABLE orders ADD COLUMN token text DEFAULT my_token()"

/* ---- settings ---- */

static const struct {
    const char *name, *policy, *sql;
    enum action action;
} settings[] = {
    {"standard", "", VOLATILE, ACTION_REJECT},
    {"an index is attached", "", "ALTER INDEX k ATTACH PARTITION k_1", ACTION_ALLOW},
    {"a table is attached", "", "ALTER TABLE orders ATTACH PARTITION o_1 DEFAULT", ACTION_WARN},
    {"harmless", "", "ALTER TABLE orders ADD COLUMN c int", ACTION_ALLOW},
    {"observe never enforces", "policy: {profile: observe}\n", VOLATILE, ACTION_WARN},
    {"unsure: standard warns", "", UNSURE, ACTION_WARN},
    {"unsure: strict refuses", "policy: {profile: strict}\n",
     "ALTER TABLE orders ADD COLUMN token text NOT NULL DEFAULT my_token()", ACTION_REJECT},
    {"unsure: the file's word counts", "policy: {rules: {volatile-default: reject}}\n", UNSURE,
     ACTION_REJECT},
    {"a rule's action", "policy: {rules: {volatile-default: warn}}\n", VOLATILE, ACTION_WARN},
    {"a rule allowed", "policy: {rules: {volatile-default: allow}}\n", VOLATILE, ACTION_ALLOW},
    {"only that rule", "policy: {rules: {serial-column: allow}}\n", VOLATILE, ACTION_REJECT},
    {"an override over a rule",
     "policy: {rules: {volatile-default: warn}, overrides: [{when: {role: deploy}, rules: {volatile-default: "
     "reject}}]}\n",
     VOLATILE, ACTION_REJECT},
    {"an override of another role",
     "policy: {overrides: [{when: {role: 'db*'}, rules: {volatile-default: allow}}]}\n", VOLATILE,
     ACTION_REJECT},
    {"the later override",
     "policy: {overrides: [{when: {role: deploy}, rules: {volatile-default: reject}}, {when: {database: "
     "'a*'}, rules: "
     "{volatile-default: allow}}]}\n",
     VOLATILE, ACTION_ALLOW},
    {"a table without its schema: a bare name",
     "policy: {overrides: [{when: {table: orders}, rules: {volatile-default: allow}}]}\n", VOLATILE,
     ACTION_ALLOW},
    {"a table without its schema: any schema",
     "policy: {overrides: [{when: {table: '*.ord*'}, rules: {volatile-default: allow}}]}\n", VOLATILE,
     ACTION_ALLOW},
    {"a table without its schema is not loosened",
     "policy: {overrides: [{when: {table: public.orders}, rules: {volatile-default: allow}}]}\n", VOLATILE,
     ACTION_REJECT},
    {"a table without its schema is tightened",
     "policy: {overrides: [{when: {table: public.orders}, rules: {drop-table: reject}}]}\n",
     "DROP TABLE orders", ACTION_REJECT},
    {"a table with its schema",
     "policy: {overrides: [{when: {table: public.orders}, rules: {volatile-default: allow}}]}\n",
     "ALTER TABLE public.orders ADD COLUMN token uuid DEFAULT gen_random_uuid()", ACTION_ALLOW},
    {"a table of another schema",
     "policy: {overrides: [{when: {table: public.orders}, rules: {volatile-default: allow}}]}\n",
     "ALTER TABLE shop.orders ADD COLUMN token uuid DEFAULT gen_random_uuid()", ACTION_REJECT},
    {"one table of two", "policy: {overrides: [{when: {table: orders}, rules: {drop-table: reject}}]}\n",
     "DROP TABLE others, orders", ACTION_REJECT},
    {"environment",
     "environment: production\npolicy: {overrides: [{when: {environment: staging}, rules: {drop-table: "
     "reject}}]}\n",
     "DROP TABLE orders", ACTION_WARN},
    {"the default name pattern", "", "ALTER TABLE orders ADD COLUMN \"orderId\" int", ACTION_WARN},
    {"a name pattern", "policy: {rules: {column-name: {action: reject, pattern: '^[a-z]+_[a-z]+$'}}}\n",
     "ALTER TABLE orders ADD COLUMN plain int", ACTION_REJECT},
    {"a name pattern that fits",
     "policy: {rules: {column-name: {action: reject, pattern: '^[a-z]+_[a-z]+$'}}}\n",
     "ALTER TABLE orders ADD COLUMN two_words int", ACTION_ALLOW},
    {"strict: explicit default", "policy: {profile: strict, rules: {comment-required: allow}}\n",
     "ALTER TABLE orders ADD COLUMN c int NOT NULL DEFAULT 1", ACTION_ALLOW},
    {"a comment may come in another message", "policy: {rules: {comment-required: reject}}\n",
     "ALTER TABLE orders ADD COLUMN c int", ACTION_WARN},
    {"a comment in the same block", "policy: {rules: {comment-required: reject}}\n",
     "DO $$ BEGIN ALTER TABLE orders ADD COLUMN c int; COMMENT ON COLUMN orders.c IS 'x'; END $$",
     ACTION_ALLOW},
    {"a comment is not asked for by standard", "", "ALTER TABLE orders ADD COLUMN c int", ACTION_ALLOW},
    {"strict: nullable", "policy: {profile: strict}\n", "ALTER TABLE orders ADD COLUMN c int DEFAULT 1",
     ACTION_REJECT},
    {"can't be read", "", "ALTER TABLE orders FROBNICATE", ACTION_REJECT},
    {"can't be read, allowed", "policy: {unparseable: warn}\n", "ALTER TABLE orders FROBNICATE", ACTION_WARN},
    {"a temporary table by its schema", "", "ALTER TABLE pg_temp.orders ADD COLUMN c serial", ACTION_ALLOW},
    {"a foreign table", "", "ALTER FOREIGN TABLE orders ADD COLUMN c uuid DEFAULT gen_random_uuid()",
     ACTION_ALLOW},
    {"a body is not run", "", "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'TRUNCATE orders'",
     ACTION_ALLOW},
};

static void test_each_setting(void **state)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct conf *conf = configured(settings[i].policy);
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        const struct verdict *verdict = judged(memory, settings[i].sql, &context);
        if (verdict->action != settings[i].action)
            fail_msg("%s: %s", settings[i].name, action_name(verdict->action));
        talloc_free(memory);
        conf_unref(conf);
    }
}

/* ---- what isn't known may tighten, never loosen ---- */

static void test_unknown_role(void **state)
{
    struct conf *conf =
        configured("policy: {overrides: [{when: {role: deploy}, rules: {volatile-default: allow, drop-table: "
                   "reject}}]}\n");
    struct policy_context context = context_of(conf);
    context.role = "";
    assert_int_equal(policy_rule(&context, RULE_volatile_default, NULL).action, ACTION_REJECT);
    assert_int_equal(policy_rule(&context, RULE_drop_table, NULL).action, ACTION_REJECT);
    context.role = "deploy";
    assert_int_equal(policy_rule(&context, RULE_volatile_default, NULL).action, ACTION_ALLOW);
    context.role = "app";
    assert_int_equal(policy_rule(&context, RULE_drop_table, NULL).action, ACTION_WARN);
    assert_false(policy_rule(&context, RULE_drop_table, NULL).has_action);
    conf_unref(conf);
}

/* ---- table facts ---- */

#define TABLE .kind = 'r', .persistence = 'p'

static const struct {
    const char *name, *sql;
    struct catalog_relation table;
    enum action action;
    enum answer rewrite, fails;
} tables[] = {
    {"a key of the parent alone",
     "ALTER TABLE ONLY orders ADD UNIQUE (id)",
     {.kind = 'p', .persistence = 'p', .children = 3, .children_rows = 5e6, .children_size = 1 << 30},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_UNKNOWN},
    {"large", VOLATILE, {TABLE, .rows = 5e6, .size = 1 << 30}, ACTION_REJECT, ANSWER_YES, ANSWER_NO},
    {"small", VOLATILE, {TABLE, .rows = 200, .size = 16384}, ACTION_ALLOW, ANSWER_YES, ANSWER_NO},
    {"few rows, large size",
     VOLATILE,
     {TABLE, .rows = 200, .size = 1 << 30},
     ACTION_REJECT,
     ANSWER_YES,
     ANSWER_NO},
    {"never analyzed", VOLATILE, {TABLE, .rows = -1, .size = 0}, ACTION_REJECT, ANSWER_YES, ANSWER_NO},
    {"a small parent of large partitions",
     VOLATILE,
     {.kind = 'p', .persistence = 'p', .children = 3, .children_rows = 5e6, .children_size = 1 << 30},
     ACTION_REJECT,
     ANSWER_YES,
     ANSWER_NO},
    {"a parent of small partitions",
     VOLATILE,
     {.kind = 'p', .persistence = 'p', .children = 3, .children_rows = 50, .children_size = 1 << 13},
     ACTION_ALLOW,
     ANSWER_YES,
     ANSWER_NO},
    {"a parent without partitions",
     VOLATILE,
     {.kind = 'p', .persistence = 'p'},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_NO},
    {"made here",
     VOLATILE,
     {TABLE, .rows = 5e6, .size = 1 << 30, .created_here = true},
     ACTION_ALLOW,
     ANSWER_YES,
     ANSWER_NO},
    {"made here, its definition",
     "ALTER TABLE orders ADD COLUMN c json",
     {TABLE, .rows = 0, .created_here = true},
     ACTION_WARN,
     ANSWER_NO,
     ANSWER_NO},
    {"temporary",
     VOLATILE,
     {.kind = 'r', .persistence = 't', .rows = 5e6, .size = 1 << 30},
     ACTION_ALLOW,
     ANSWER_YES,
     ANSWER_NO},
    {"small, but it breaks readers",
     "ALTER TABLE orders DROP COLUMN status",
     {TABLE, .rows = 1, .size = 8192},
     ACTION_WARN,
     ANSWER_NO,
     ANSWER_UNKNOWN},
    {"NOT NULL with rows: only an estimate",
     "ALTER TABLE orders ADD COLUMN c int NOT NULL",
     {TABLE, .rows = 200, .size = 8192},
     ACTION_REJECT,
     ANSWER_NO,
     ANSWER_UNKNOWN},
    {"NOT NULL without rows",
     "ALTER TABLE orders ADD COLUMN c int NOT NULL",
     {TABLE, .rows = 0, .size = 0},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_UNKNOWN},
    {"the column exists",
     "ALTER TABLE orders ADD COLUMN status uuid DEFAULT gen_random_uuid()",
     {TABLE, .rows = 5e6, .size = 1 << 30},
     ACTION_WARN,
     ANSWER_NO,
     ANSWER_YES},
    {"the column exists, skipped",
     "ALTER TABLE orders ADD COLUMN IF NOT EXISTS status uuid DEFAULT gen_random_uuid()",
     {TABLE, .rows = 5e6, .size = 1 << 30},
     ACTION_WARN,
     ANSWER_NO,
     ANSWER_NO},
    {"the column exists, skipped, the same type",
     "ALTER TABLE orders ADD COLUMN IF NOT EXISTS status text",
     {TABLE, .rows = 5e6, .size = 1 << 30},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_NO},
    {"foreign", VOLATILE, {.kind = 'f', .persistence = 'p', .rows = -1}, ACTION_ALLOW, ANSWER_NO, ANSWER_NO},
    {"no such table, asked for",
     "ALTER TABLE IF EXISTS nothing ADD COLUMN c uuid DEFAULT gen_random_uuid()",
     {TABLE},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_NO},
    {"no such table", "ALTER TABLE nothing ADD COLUMN c int", {TABLE}, ACTION_ALLOW, ANSWER_NO, ANSWER_YES},
    {"no such table, dropped", "DROP TABLE IF EXISTS nothing", {TABLE}, ACTION_ALLOW, ANSWER_NO, ANSWER_NO},
    {"made here, dropped",
     "DROP TABLE orders",
     {TABLE, .rows = 5e6, .created_here = true},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_UNKNOWN},
    {"made here, emptied",
     "TRUNCATE orders",
     {TABLE, .rows = 5e6, .created_here = true},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_NO},
    {"emptied", "TRUNCATE orders", {TABLE, .rows = 5e6}, ACTION_WARN, ANSWER_NO, ANSWER_NO},
    {"emptied, though it is empty",
     "TRUNCATE orders",
     {TABLE, .rows = 0},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_NO},
    {"unlogged already",
     "ALTER TABLE orders SET UNLOGGED",
     {.kind = 'r', .persistence = 'u'},
     ACTION_ALLOW,
     ANSWER_NO,
     ANSWER_UNKNOWN},
};

static void test_each_table(void **state)
{
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        context.names = catalog_of(memory, &tables[i].table);
        const struct verdict *verdict = judged(memory, tables[i].sql, &context);
        const struct effects *effects = &verdict->effects;
        if (verdict->action != tables[i].action || effects->rewrite != tables[i].rewrite ||
            effects->fails != tables[i].fails)
            fail_msg("%s: %s, rewrite %s, fails %s", tables[i].name, action_name(verdict->action),
                     answer_name(effects->rewrite), answer_name(effects->fails));
        assert_true((effects->fails_with != NULL) == (effects->fails == ANSWER_YES));
        talloc_free(memory);
    }
    struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    context.names = catalog_of(memory, &tables[0].table);
    const struct verdict *verdict = judged(memory, VOLATILE, &context);
    assert_non_null(strstr(verdict->findings[0].detail, "about 5,000,000 rows: expect some 21 s or more"));
    talloc_free(memory);
    conf_unref(conf);
}

/* ---- statements in front of the judged one ---- */

static const struct {
    const char *name, *before, *sql;
    enum action action;
} sequences[] = {
    {"made in front", "CREATE TABLE fresh (id int)",
     "ALTER TABLE fresh ADD COLUMN c uuid DEFAULT gen_random_uuid()", ACTION_ALLOW},
    {"made in front, its index", "CREATE TABLE fresh (id int)", "CREATE INDEX i ON fresh (id)", ACTION_ALLOW},
    {"made in front, if not there", "CREATE TABLE IF NOT EXISTS fresh (id int)",
     "ALTER TABLE fresh ADD COLUMN c uuid DEFAULT gen_random_uuid()", ACTION_REJECT},
    {"another one made in front", "CREATE TABLE fresh (id int)", VOLATILE, ACTION_REJECT},
    {"made in front in another schema", "CREATE TABLE other.orders (id int)",
     "ALTER TABLE public.orders ADD COLUMN c uuid DEFAULT gen_random_uuid()", ACTION_REJECT},
    {"made in front, perhaps in another schema", "CREATE TABLE other.orders (id int)", VOLATILE,
     ACTION_REJECT},
    {"dropped in front", "DROP TABLE orders", VOLATILE, ACTION_REJECT},
};

static void test_each_sequence(void **state)
{
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        const struct facts *before =
            facts_of(memory, sequences[i].before, strlen(sequences[i].before), PARSER_TEXT_MAX, true);
        context.before = &before;
        context.n_before = 1;
        const struct verdict *verdict = judged(memory, sequences[i].sql, &context);
        if (verdict->action != sequences[i].action)
            fail_msg("%s: %s", sequences[i].name, action_name(verdict->action));
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* ---- CONCURRENTLY ---- */

static void test_concurrently(void **state)
{
    static const char *const rows[] = {"CREATE INDEX CONCURRENTLY i ON orders (id)",
                                       "DROP INDEX CONCURRENTLY i", "REINDEX TABLE CONCURRENTLY orders"};
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        assert_int_equal(judged(memory, rows[i], &context)->effects.fails, ANSWER_NO);
        assert_int_equal(judged(memory, rows[i], &context)->effects.lock, LOCK_SHARE_UPDATE_EXCLUSIVE);
        context.in_transaction = true;
        assert_int_equal(judged(memory, rows[i], &context)->effects.fails, ANSWER_YES);
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* What commits in between fails inside a transaction; what doesn't, doesn't. */
static void test_in_transaction(void **state)
{
    static const struct {
        const char *sql;
        enum answer fails;
    } rows[] = {{"VACUUM FULL orders", ANSWER_YES},
                {"REINDEX SCHEMA shop", ANSWER_YES},
                {"CLUSTER", ANSWER_YES},
                {"ALTER TABLE events DETACH PARTITION e CONCURRENTLY", ANSWER_YES},
                {"REINDEX TABLE orders", ANSWER_NO},
                {"CLUSTER orders", ANSWER_NO},
                {"ALTER TABLE events DETACH PARTITION e", ANSWER_NO},
                {"REFRESH MATERIALIZED VIEW CONCURRENTLY m", ANSWER_NO}};
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        assert_int_equal(judged(memory, rows[i].sql, &context)->effects.fails, ANSWER_NO);
        context.in_transaction = true;
        if (judged(memory, rows[i].sql, &context)->effects.fails != rows[i].fails)
            fail_msg("%s", rows[i].sql);
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* ---- waivers ---- */

static const struct {
    const char *name, *role, *comment, *option, *reason; /* reason: in the detail of what was not waived */
    bool waived;
} waivers[] = {
    {"none", "dba", "", NULL, NULL, false},
    {"by comment", "dba", "/* pgsluice: allow volatile-default, the table is empty */", NULL, NULL, true},
    {"with a colon", "dba", "/* pgsluice: allow volatile-default: the table is empty */", NULL, NULL, true},
    {"several rules", "dba", "/* pgsluice: allow drop-table, volatile-default, empty */", NULL, NULL, true},
    {"by option", "dba", "", "volatile-default: the table is empty", NULL, true},
    {"another rule by comment, this one by option", "dba", "/* pgsluice: allow drop-table, x */",
     "volatile-default: y", NULL, true},
    {"another rule", "dba", "/* pgsluice: allow serial-column, x */", NULL, NULL, false},
    {"not this role", "app", "/* pgsluice: allow volatile-default, x */", NULL, "role \"app\" may not waive",
     false},
    {"a role not known", "", "/* pgsluice: allow volatile-default, x */", NULL, "which role will run this",
     false},
    {"without a reason", "dba", "/* pgsluice: allow volatile-default */", NULL, "without a reason", false},
    {"an empty reason", "dba", "", "volatile-default: ", "without a reason", false},
    {"no rule", "dba", "", "please", "doesn't begin with a rule's name", false},
    {"a rule that isn't one", "dba", "", "volatile-defalt: x", "doesn't begin with a rule's name", false},
    {"a name that goes on", "dba", "", "volatile-default-x: y", "doesn't begin with a rule's name", false},
};

static void test_each_waiver(void **state)
{
    struct conf *conf = configured("policy: {waivers: {roles: [dba], require_reason: true}}\n");
    for (size_t i = 0; i < sizeof waivers / sizeof *waivers; i++) {
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        context.role = waivers[i].role;
        context.start_waiver = waivers[i].option;
        const struct verdict *verdict =
            judged(memory, talloc_asprintf(memory, "%s %s", waivers[i].comment, VOLATILE), &context);
        const struct finding *finding = &verdict->findings[0];
        if (finding->waived != waivers[i].waived ||
            verdict->action != (waivers[i].waived ? ACTION_ALLOW : ACTION_REJECT))
            fail_msg("%s: %s", waivers[i].name, action_name(verdict->action));
        if (waivers[i].reason != NULL && strstr(finding->detail, waivers[i].reason) == NULL)
            fail_msg("%s: %s", waivers[i].name, finding->detail);
        assert_true((verdict->waiver != NULL) == waivers[i].waived);
        assert_int_equal(verdict->would, ACTION_REJECT);
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* ---- all of it on one thread with the parser's stack ---- */

static void *run_all(void *argument)
{
    int *failed = argument;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_setting), cmocka_unit_test(test_unknown_role),
        cmocka_unit_test(test_each_table),   cmocka_unit_test(test_each_sequence),
        cmocka_unit_test(test_concurrently), cmocka_unit_test(test_in_transaction),
        cmocka_unit_test(test_each_waiver),
    };
    *failed = cmocka_run_group_tests(tests, NULL, NULL);
    return NULL;
}

int main(void)
{
    return on_parser_thread(run_all);
}

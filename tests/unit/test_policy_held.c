/*
 * lock-held-in-transaction: which statements leave a lock behind that others notice, and which are long work
 * while one is held.
 */
#include "test_policy_help.h"

#define STRICT "policy: {profile: strict}\n"

/* ---- the lock that is left behind ---- */

static const struct {
    const char *sql, *locked; /* NULL: nothing */
} locks[] = {
    {"ALTER TABLE orders ADD COLUMN c int", "orders"},
    {"ALTER TABLE shop.\"Orders\" DROP COLUMN c", "shop.\"Orders\""},
    {"ALTER TABLE orders VALIDATE CONSTRAINT k", NULL},
    {"ALTER TABLE pg_temp.orders ADD COLUMN c int", NULL},
    {"ALTER VIEW orders RENAME TO o", NULL},
    {"DROP TABLE orders", "orders"},
    {"DROP TABLE pg_temp.mine, orders", "orders"},
    {"DROP VIEW orders", NULL},
    {"TRUNCATE orders, lines", "orders"},
    {"CREATE POLICY p ON orders", "orders"},
    {"REFRESH MATERIALIZED VIEW totals", "totals"},
    {"CREATE INDEX ON orders (id)", NULL},
    {"CREATE TABLE orders (a int)", NULL},
    {"DO $$ BEGIN IF true THEN ALTER TABLE orders ADD COLUMN c int; END IF; END $$", "orders"},
    {"DO $$ BEGIN CREATE TABLE mine (a int); ALTER TABLE mine ADD COLUMN c int; END $$", NULL},
    {"UPDATE orders SET a = 1", NULL},
    {"LOCK TABLE orders", "orders"},
    {"LOCK orders, lines NOWAIT", "orders"},
    {"LOCK TABLE ONLY shop.orders IN EXCLUSIVE MODE", "shop.orders"},
    {"LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE", NULL},
    {"LOCK TABLE orders IN ACCESS SHARE MODE", NULL},
    {"LOCK TABLE pg_temp.orders", NULL},
    {"DO $$ BEGIN LOCK TABLE orders IN ACCESS EXCLUSIVE MODE NOWAIT; END $$", "orders"},
    {"DO $$ BEGIN LOCK TABLE lines IN EXCLUSIVE MODE; ALTER TABLE orders ADD COLUMN c int; END $$", "orders"},
    {"ALTER TABLE orders ADD", NULL}, /* can't be read */
};

static void test_locks(void **state)
{
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        const char *locked = judged(memory, locks[i].sql, &context)->locked;
        if ((locked == NULL) != (locks[i].locked == NULL) || (locked && strcmp(locked, locks[i].locked) != 0))
            fail_msg("%s: %s", locks[i].sql, locked ? locked : "nothing");
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* ---- work behind it ---- */

static const struct {
    const char *policy, *sql;
    enum action action; /* of the finding; ACTION_ALLOW: there is none */
} works[] = {
    {"", "UPDATE lines SET a = 1", ACTION_WARN},
    {STRICT, "UPDATE lines SET a = 1", ACTION_REJECT},
    {"policy: {rules: {lock-held-in-transaction: allow}}\n", "UPDATE lines SET a = 1", ACTION_ALLOW},
    {"policy: {rules: {lock-held-in-transaction: reject}}\n", "UPDATE lines SET a = 1", ACTION_REJECT},
    {"policy: {profile: observe}\n", "UPDATE lines SET a = 1", ACTION_WARN},
    {"", "DELETE FROM lines", ACTION_WARN},
    {"", "DELETE FROM pg_temp.lines", ACTION_ALLOW},
    {"", "MERGE INTO lines USING o ON o.id = lines.id WHEN MATCHED THEN DELETE", ACTION_WARN},
    {"", "INSERT INTO lines SELECT * FROM orders", ACTION_WARN},
    {"", "INSERT INTO lines TABLE orders", ACTION_WARN},
    {"", "INSERT INTO lines VALUES (1), (2)", ACTION_ALLOW},
    {"", "INSERT INTO lines DEFAULT VALUES", ACTION_ALLOW},
    {"", "INSERT INTO lines SELECT 'v1' WHERE NOT EXISTS (SELECT 1 FROM lines)", ACTION_ALLOW},
    {"", "WITH d AS (DELETE FROM lines RETURNING *) SELECT count(*) FROM d", ACTION_WARN},
    {"", "WITH d AS (SELECT 1) SELECT * FROM d", ACTION_ALLOW},
    {"", "SELECT * FROM lines", ACTION_ALLOW},
    {"", "COPY lines FROM STDIN", ACTION_WARN},
    {"", "COPY lines TO STDOUT", ACTION_ALLOW},
    {"", "CREATE TABLE kept AS SELECT * FROM lines", ACTION_WARN},
    {"", "CREATE TABLE kept AS SELECT * FROM lines WITH NO DATA", ACTION_ALLOW},
    {"", "SELECT * INTO kept FROM lines", ACTION_WARN},
    {"", "EXPLAIN CREATE TABLE kept AS SELECT * FROM lines", ACTION_ALLOW},
    {"", "CREATE INDEX ON lines (a)", ACTION_WARN},
    {"", "ALTER TABLE lines VALIDATE CONSTRAINT k", ACTION_WARN},
    {"", "ALTER TABLE lines ADD COLUMN a int", ACTION_ALLOW},
    {"", "ALTER TABLE lines ADD COLUMN a uuid DEFAULT gen_random_uuid()", ACTION_WARN},
    {"", "REFRESH MATERIALIZED VIEW totals", ACTION_WARN},
    {"", "CALL fill()", ACTION_WARN},
    {"policy: {rules: {lock-held-in-transaction: reject}}\n", "CALL fill()", ACTION_REJECT},
    {"", "DO $$ BEGIN UPDATE lines SET a = 1; END $$", ACTION_WARN},
    {"", "DO $$ BEGIN ALTER TABLE lines ADD COLUMN a int; END $$", ACTION_ALLOW},
    {"", "DO $$ BEGIN CREATE INDEX ON lines (a); END $$", ACTION_WARN},
    {"", "DO $$ BEGIN LOCK TABLE lines; UPDATE lines SET a = 1; END $$", ACTION_WARN},
    {"", "LOCK TABLE lines", ACTION_ALLOW},
};

static const struct finding *of_rule(const struct verdict *verdict)
{
    for (size_t i = 0; i < verdict->n_findings; i++)
        if (verdict->findings[i].rule == RULE_lock_held_in_transaction)
            return &verdict->findings[i];
    return NULL;
}

static void test_work(void **state)
{
    const struct policy_held held = {
        .table = "orders", .by = "ALTER TABLE", .mode = LOCK_ACCESS_EXCLUSIVE, .seconds = 0.04};
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        struct conf *conf = configured(works[i].policy);
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        assert_null(of_rule(judged(memory, works[i].sql, &context))); /* nothing is held */
        context.held = &held;
        const struct finding *finding = of_rule(judged(memory, works[i].sql, &context));
        enum action action = finding ? finding->action : ACTION_ALLOW;
        if (action != works[i].action)
            fail_msg("%s: %s", works[i].sql, action_name(action));
        talloc_free(memory);
        conf_unref(conf);
    }
}

static void test_small(void **state)
{
    const struct policy_held held = {.table = "lines", .by = "ALTER TABLE", .mode = LOCK_ACCESS_EXCLUSIVE};
    static const struct {
        double rows;
        char persistence;
        bool created_here, found;
    } tables[] = {
        {200, 'p', false, false}, {5e6, 'p', false, true}, {5e6, 't', false, false}, {5e6, 'p', true, false}};
    struct conf *conf = configured("policy: {small_table: {rows: 1000, size: 1GB}}\n");
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        void *memory = talloc_new(NULL);
        const struct catalog_relation said = {.exists = true,
                                              .kind = 'r',
                                              .persistence = tables[i].persistence,
                                              .rows = tables[i].rows,
                                              .created_here = tables[i].created_here,
                                              .may_own = true};
        struct policy_context context = context_of(conf);
        context.names = catalog_of(memory, &said);
        context.held = &held;
        const struct finding *finding = of_rule(judged(memory, "UPDATE orders SET id = 1", &context));
        assert_int_equal(finding != NULL, tables[i].found);
        if (finding)
            assert_non_null(strstr(finding->detail, "5,000,000 rows"));
        const char *locked = judged(memory, "ALTER TABLE orders ADD COLUMN c int", &context)->locked;
        assert_int_equal(locked != NULL, tables[i].persistence == 'p' && !tables[i].created_here);
        talloc_free(memory);
    }
    conf_unref(conf);
}

static void test_long(void **state)
{
    struct policy_held held = {
        .table = "orders", .by = "DROP TABLE", .mode = LOCK_ACCESS_EXCLUSIVE, .seconds = 4.2, .tell = true};
    struct conf *conf = configured(STRICT);
    struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    context.held = &held;
    const struct verdict *verdict = judged(memory, "SELECT 1", &context);
    assert_int_equal(verdict->action, ACTION_WARN); /* never refused for what is past */
    assert_string_equal(of_rule(verdict)->message,
                        "orders has been locked for 4.2 s by this transaction's DROP "
                        "TABLE; nobody else can read or write it");
    held.tell = false;
    assert_null(of_rule(judged(memory, "SELECT 1", &context)));
    held.tell = true;
    held.seconds = 0.9;
    assert_null(of_rule(judged(memory, "SELECT 1", &context)));
    talloc_free(memory);
    conf_unref(conf);
}

/* Readers go on: the words say so. */
static void test_exclusive(void **state)
{
    struct policy_held held = {.table = "orders", .by = "LOCK TABLE", .mode = LOCK_EXCLUSIVE};
    struct conf *conf = configured("");
    struct policy_context context = context_of(conf);
    void *memory = talloc_new(NULL);
    context.held = &held;
    const struct finding *finding = of_rule(judged(memory, "UPDATE lines SET a = 1", &context));
    assert_string_equal(finding->message,
                        "this UPDATE would run while nobody else can write orders, which this "
                        "transaction's LOCK TABLE has locked");
    assert_non_null(strstr(finding->detail,
                           "keeps the ExclusiveLock on orders until the transaction ends: every "
                           "INSERT, UPDATE and DELETE of others on orders waits for this UPDATE"));
    assert_non_null(strstr(finding->hint, "without the LOCK TABLE"));
    talloc_free(memory);
    conf_unref(conf);
}

static void *run_all(void *argument)
{
    int *failed = argument;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_locks), cmocka_unit_test(test_work),
                                       cmocka_unit_test(test_small), cmocka_unit_test(test_long),
                                       cmocka_unit_test(test_exclusive)};
    *failed = cmocka_run_group_tests(tests, NULL, NULL);
    return NULL;
}

int main(void)
{
    return on_parser_thread(run_all);
}

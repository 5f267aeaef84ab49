/*
 * Rules that only the catalog's answer can see, and what is told of those who are at work on the table.
 */
#include "test_policy_help.h"

#define ADD "ALTER TABLE orders ADD COLUMN c int"

static struct catalog_dependant all_columns[] = {
    {"public", "wide", 1}, {"public", "wide", 2}, {"public", "narrow", 1}};
static struct catalog_dependant some_columns[] = {{"public", "narrow", 1}};
static const char *publications[] = {"changes"};
static struct name users[] = {{"archive", "line", -1}};

#define TABLE .kind = 'r', .persistence = 'p', .rows = 5e6, .size = 1 << 30

static const struct {
    const char *name, *sql;
    struct catalog_relation table;
    const char *rule; /* of the gravest finding, or NULL: none */
    enum action action;
    const char *message; /* a part of it */
} rows[] = {
    {"nothing to say", ADD, {TABLE}, NULL, ACTION_ALLOW, NULL},
    {"a view of all columns",
     ADD,
     {TABLE, .views = all_columns, .n_views = 3},
     "dependent-view",
     ACTION_WARN,
     "view public.wide shows every column of orders, but won't show c"},
    {"a view of some", ADD, {TABLE, .views = some_columns, .n_views = 1}, NULL, ACTION_ALLOW, NULL},
    {"published",
     ADD,
     {TABLE, .publications = publications, .n_publications = 1},
     "subscriber-needs-column",
     ACTION_WARN,
     "orders is published by changes"},
    {"published, made here",
     ADD,
     {TABLE, .created_here = true, .publications = publications, .n_publications = 1},
     NULL,
     ACTION_ALLOW,
     NULL},
    {"partitions",
     ADD,
     {.kind = 'p', .persistence = 'p', .children = 12, .children_rows = 5e6, .children_size = 1 << 30},
     "partitioned-parent",
     ACTION_WARN,
     "locks orders and its 12 partitions at once"},
    {"few rows in its partitions",
     ADD,
     {.kind = 'p', .persistence = 'p', .children = 12, .children_rows = 5, .children_size = 8192},
     NULL,
     ACTION_ALLOW,
     NULL},
    {"its rows are held elsewhere",
     "ALTER TABLE orders ADD COLUMN c int DEFAULT 1",
     {TABLE, .row_type_users = users, .n_row_type_users = 1},
     "row-type-in-use",
     ACTION_REJECT,
     "column archive.line holds rows of orders"},
    {"its rows are held elsewhere, no value",
     ADD,
     {TABLE, .row_type_users = users, .n_row_type_users = 1},
     NULL,
     ACTION_ALLOW,
     NULL},
    {"there already",
     "ALTER TABLE orders ADD COLUMN status text",
     {TABLE},
     "existing-column",
     ACTION_WARN,
     "column status of orders is there already, as text: this fails"},
    {"there already with another type",
     "ALTER TABLE orders ADD COLUMN IF NOT EXISTS status int",
     {TABLE},
     "existing-column",
     ACTION_WARN,
     "IF NOT EXISTS leaves it so, in silence"},
    {"dropped and added",
     "ALTER TABLE orders DROP COLUMN id, ADD COLUMN id int",
     {TABLE},
     "drop-column",
     ACTION_WARN,
     ""},
    {"its value violates its CHECK",
     "ALTER TABLE orders ADD COLUMN c int DEFAULT 0 CHECK (c > 0)",
     {TABLE},
     "inline-check",
     ACTION_REJECT,
     "its own value violates the CHECK"},
    {"its value keeps its CHECK",
     "ALTER TABLE orders ADD COLUMN c int DEFAULT 1 CHECK (c > 0)",
     {TABLE},
     "inline-check",
     ACTION_REJECT,
     "while it is locked"},
};

static void test_each_rule(void **state)
{
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        context.names = catalog_of(memory, &rows[i].table);
        const struct verdict *verdict = judged(memory, rows[i].sql, &context);
        const struct finding *first = verdict->n_findings > 0 ? &verdict->findings[0] : NULL;
        if (verdict->action != rows[i].action || (first == NULL) != (rows[i].rule == NULL))
            fail_msg("%s: %s, %s", rows[i].name, action_name(verdict->action),
                     first == NULL ? "nothing" : first->message);
        if (first != NULL && strcmp(rule_name(first->rule), rows[i].rule) != 0)
            fail_msg("%s: %s", rows[i].name, rule_name(first->rule));
        if (first != NULL && strstr(first->message, rows[i].message) == NULL)
            fail_msg("%s: %s", rows[i].name, first->message);
        assert_true(first == NULL || (first->detail != NULL && first->hint != NULL));
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* ---- who is at work on the table ---- */

static struct catalog_holder reader[] = {{.pid = 4711,
                                          .mode = "AccessShareLock",
                                          .granted = true,
                                          .age = 720,
                                          .query = "SELECT 1",
                                          .application = "report",
                                          .state = "active"}};
static struct catalog_holder several[] = {
    {.pid = 1, .mode = "RowExclusiveLock", .granted = true, .age = 3},
    {.pid = 2, .mode = "ShareUpdateExclusiveLock", .granted = true, .age = 9, .autovacuum = true},
    {.pid = 3, .mode = "AccessExclusiveLock", .age = 1, .query = ""}};
static struct catalog_holder waiting[] = {{.pid = 5, .mode = "AccessExclusiveLock", .age = -1}};

static const struct {
    const char *name, *sql;
    struct catalog_holder *holders;
    size_t n;
    const char *said; /* or NULL: nothing of them */
} holders[] = {
    {"nobody", "TRUNCATE orders", NULL, 0, NULL},
    {"a reader", "TRUNCATE orders", reader, 1,
     "Right now pid 4711 (report) has been reading it for 12 min (SELECT 1): this would wait for it, and "
     "everybody "
     "else would wait for this."},
    {"a reader is in nobody's way here", "CREATE INDEX ON orders (id)", reader, 1, NULL},
    {"several", "ALTER TABLE orders ADD UNIQUE (id)", several, 3,
     "Right now autovacuum (pid 2) has been at work on it for 9 s, and 2 others: this"},
    {"one that waits itself", "CREATE INDEX ON orders (id)", waiting, 1,
     "Right now pid 5 already waits to lock it: this"},
    {"not with a remark on a definition", "ALTER TABLE orders ADD COLUMN \"Bad\" int", reader, 1, NULL},
};

static void test_each_holder(void **state)
{
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof holders / sizeof *holders; i++) {
        const struct catalog_relation table = {TABLE, .holders = holders[i].holders,
                                               .n_holders = holders[i].n};
        struct policy_context context = context_of(conf);
        void *memory = talloc_new(NULL);
        context.names = catalog_of(memory, &table);
        const struct verdict *verdict = judged(memory, holders[i].sql, &context);
        assert_true(verdict->n_findings > 0);
        const char *found = strstr(verdict->findings[0].detail, "Right now");
        if ((found == NULL) != (holders[i].said == NULL) ||
            (found != NULL && strstr(found, holders[i].said) == NULL))
            fail_msg("%s: %s", holders[i].name, verdict->findings[0].detail);
        talloc_free(memory);
    }
    conf_unref(conf);
}

/* Rows decide: of a table whose file is empty there are none, unless something ran since it was measured. */
static void test_no_blocks(void **state)
{
    static const struct {
        const char *sql;
        enum answer empty;
    } cases[] = {{"ALTER TABLE orders ADD COLUMN c int NOT NULL", ANSWER_NO},
                 {"ALTER TABLE orders ALTER COLUMN status SET NOT NULL", ANSWER_NO},
                 {"ALTER TABLE orders ADD COLUMN c int CHECK (c > 0 AND status)", ANSWER_UNKNOWN}};
    struct conf *conf = configured("");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int k = 0; k < 4; k++) {
            void *memory = talloc_new(NULL);
            const struct catalog_relation said = {.kind = 'r', .persistence = 'p', .no_blocks = (k & 1) != 0};
            struct policy_context context = context_of(conf);
            context.names = catalog_of(memory, &said);
            context.first = (k & 2) != 0;
            enum answer fails = judged(memory, cases[i].sql, &context)->effects.fails;
            if (fails != (k == 3 ? cases[i].empty : ANSWER_UNKNOWN))
                fail_msg("%s, %d: %s", cases[i].sql, k, answer_name(fails));
            talloc_free(memory);
        }
    }
    conf_unref(conf);
}

static void *run_all(void *argument)
{
    int *failed = argument;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_blocks), cmocka_unit_test(test_each_rule),
                                       cmocka_unit_test(test_each_holder)};
    *failed = cmocka_run_group_tests(tests, NULL, NULL);
    return NULL;
}

int main(void)
{
    return on_parser_thread(run_all);
}

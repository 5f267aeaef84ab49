/*
 * `pgsluice check`: what a statement means by those in front of it and behind it: locks that a transaction
 * holds.
 */
#include "proxy/check/cmd_check.h"
#include "tests/unit/test_check_help.h"

#include <unistd.h>

/* How often does the output hold a word? */
static unsigned times(const char *text, const char *word)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word))
        n++;
    return n;
}

/* ---- work behind a lock ---- */

#define ADD  "ALTER TABLE orders ADD COLUMN note text;\n"
#define FILL "UPDATE orders SET note = 'x';\n"

static const struct {
    const char *name, *path, *text;
    unsigned found;
} locks[] = {
    {"a transaction", NULL, "BEGIN;\n" ADD FILL "COMMIT;\n", 1},
    {"committed in between", NULL, "BEGIN;\n" ADD "COMMIT;\n" FILL, 0},
    {"rolled back", NULL, "BEGIN;\n" ADD "ROLLBACK;\nBEGIN;\n" FILL "COMMIT;\n", 0},
    {"rolled back to a savepoint", NULL, "BEGIN;\nSAVEPOINT s;\n" ADD "ROLLBACK TO s;\n" FILL "COMMIT;\n", 0},
    {"chained", NULL, "BEGIN;\n" ADD "COMMIT AND CHAIN;\n" FILL "COMMIT;\n", 0},
    {"in front of the lock", NULL, "BEGIN;\n" FILL ADD "COMMIT;\n", 0},
    {"psql without a transaction", NULL, ADD FILL, 0},
    {"golang-migrate sends one message", "1_x.up.sql", ADD FILL, 1},
    {"Flyway opens a transaction", "V1__x.sql", ADD FILL, 1},
    {"dbmate", NULL, "-- migrate:up\n" ADD FILL, 1},
    {"dbmate without one", NULL, "-- migrate:up transaction:false\n" ADD FILL, 0},
    {"the next section", NULL, "-- migrate:up\n" ADD "-- migrate:up\n" FILL, 0},
    {"no work", NULL, "BEGIN;\n" ADD "INSERT INTO versions VALUES (1);\nSELECT 1;\nCOMMIT;\n", 0},
    {"each of them", NULL, "BEGIN;\n" ADD FILL "DELETE FROM lines;\nCALL fill();\nCOMMIT;\n", 3},
    {"COPY", NULL, "BEGIN;\n" ADD "COPY lines FROM stdin;\n1\n\\.\nCOMMIT;\n", 1},
    {"an index", NULL, "BEGIN;\n" ADD "CREATE INDEX i ON lines (a);\nCOMMIT;\n", 1},
    {"LOCK TABLE", NULL, "BEGIN;\nLOCK TABLE orders;\n" FILL "COMMIT;\n", 1},
    {"LOCK TABLE in a weak mode", NULL,
     "BEGIN;\nLOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE;\n" FILL "COMMIT;\n", 0},
    {"a table of its own", NULL,
     "BEGIN;\nCREATE TABLE mine (a int);\nALTER TABLE mine ADD COLUMN b int;\n" FILL "COMMIT;\n", 0},
    {"not to be read", NULL, "BEGIN;\n" ADD "UPDATE orders SET;\nCOMMIT;\n", 0},
    {"a waiver", NULL,
     "BEGIN;\n" ADD "/* pgsluice: allow lock-held-in-transaction, quiet hour */ " FILL "COMMIT;\n", 1},
};

static void test_locks(void **state)
{
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        struct job job = {.text = locks[i].text, .name = locks[i].path, .format = "json", .role = "dba"};
        run(&job);
        unsigned found = times(job.out, "\"rule\":\"lock-held-in-transaction\"");
        if (found != locks[i].found)
            fail_msg("%s: %u\n%s", locks[i].name, found, job.out);
        free(job.out);
    }
}

/* The strongest lock is the one spoken of, and there is no age to tell. */
static void test_lock_words(void **state)
{
    struct job job = {.text = "BEGIN;\nLOCK TABLE lines IN EXCLUSIVE MODE;\n" ADD FILL "COMMIT;\n"};
    run(&job);
    assert_non_null(strstr(job.out,
                           "this UPDATE would run while nobody else can read or write orders, which this "
                           "transaction's ALTER TABLE has locked"));
    assert_non_null(strstr(job.out, "until the transaction ends:"));
    assert_int_equal(job.count.statements, 5);
    assert_int_equal(job.count.judged, 2);
    free(job.out);
}

/* ---- comments ---- */

#define COMMENT "COMMENT ON COLUMN orders.note IS 'what the customer wants';\n"

static const struct {
    const char *name, *text;
    unsigned found;
} comments[] = {
    {"none", ADD, 1},
    {"behind it", ADD COMMENT, 0},
    {"in another transaction", "BEGIN;\n" ADD "COMMIT;\nBEGIN;\n" COMMENT "COMMIT;\n", 0},
    {"in front of it", COMMENT ADD, 1},
    {"of another column", ADD "COMMENT ON COLUMN orders.total IS 'x';\n", 1},
    {"of another table", ADD "COMMENT ON COLUMN lines.note IS 'x';\n", 1},
    {"of the table", ADD "COMMENT ON TABLE orders IS 'x';\n", 1},
    {"with the schema", ADD "COMMENT ON COLUMN public.orders.note IS 'x';\n", 0},
    {"in another schema",
     "ALTER TABLE shop.orders ADD note text;\nCOMMENT ON COLUMN public.orders.note IS 'x';\n", 1},
    {"taken away again", ADD COMMENT "COMMENT ON COLUMN orders.note IS NULL;\n", 1},
    {"empty", ADD "COMMENT ON COLUMN orders.note IS '';\n", 1},
    {"in a block", ADD "DO $$ BEGIN " COMMENT " END $$;\n", 0},
    {"a block of both", "DO $$ BEGIN " ADD COMMENT " END $$;\n", 0},
    {"a block without", "DO $$ BEGIN " ADD " END $$;\n", 1},
    {"in the down section", "-- migrate:up\n" ADD "-- migrate:down\n" COMMENT, 1},
    {"a new table", "CREATE TABLE t (a int, b int);\nCOMMENT ON COLUMN t.b IS 'x';\n", 1},
    {"a temporary table", "CREATE TEMP TABLE t (a int, b int);\n", 0},
    {"a partition", "CREATE TABLE p PARTITION OF t (a DEFAULT 1) FOR VALUES IN (1);\n", 0},
    {"dropped", "ALTER TABLE orders DROP COLUMN note;\n", 0},
};

static struct conf *with_rules(const char *rules)
{
    struct conf_mistakes mistakes = {0};
    char *text = talloc_asprintf(NULL,
                                 "listen: [{address: 127.0.0.1, port: 6432}]\n"
                                 "upstream: {host: 127.0.0.1, port: 5432}\npolicy: {rules: {%s}}\n",
                                 rules);
    struct conf *made = conf_load_text(text, strlen(text), "-", &mistakes);
    assert_non_null(made);
    talloc_free(text);
    return made;
}

static void test_comments(void **state)
{
    struct conf *rejects = with_rules("comment-required: reject");
    for (size_t i = 0; i < sizeof comments / sizeof *comments; i++) {
        struct job job = {.text = comments[i].text, .format = "json", .conf = rejects};
        run(&job);
        unsigned found = times(job.out, "{\"rule\":\"comment-required\",\"action\":\"reject\"");
        if (found != comments[i].found || times(job.out, "\"rule\":\"comment-required\"") != found)
            fail_msg("%s: %u\n%s", comments[i].name, found, job.out);
        free(job.out);
        job = (struct job){.text = comments[i].text, .format = "json"};
        run(&job);
        assert_null(strstr(job.out, "comment-required")); /* standard allows it */
        free(job.out);
    }
    conf_unref(rejects);
}

/* ---- queries that go by the columns ---- */

#define STAR "select-star-prepared"
#define ROWS "positional-insert"
#define COPY "copy-without-columns"

static const struct {
    const char *name, *text, *rule; /* NULL: none of the three */
} readers[] = {
    {"INSERT behind it", ADD "INSERT INTO orders VALUES (1);\n", ROWS},
    {"INSERT in front has run", "INSERT INTO orders VALUES (1);\n" ADD, NULL},
    {"INSERT with columns", ADD "INSERT INTO orders (id) VALUES (1);\n", NULL},
    {"INSERT into another", ADD "INSERT INTO lines VALUES (1);\n", NULL},
    {"another schema", "ALTER TABLE a.orders ADD x int;\nINSERT INTO b.orders VALUES (1);\n", NULL},
    {"INSERT of *", ADD "INSERT INTO lines (id) SELECT * FROM orders;\n", ROWS},
    {"dropped", "ALTER TABLE orders DROP note;\nINSERT INTO orders VALUES (1);\n", ROWS},
    {"another type", "ALTER TABLE orders ALTER note TYPE text;\nINSERT INTO orders VALUES (1);\n", NULL},
    {"COPY", ADD "COPY orders FROM stdin;\n1\n\\.\n", COPY},
    {"COPY TO", ADD "COPY orders TO stdout;\n", COPY},
    {"COPY with columns", ADD "COPY orders (id) FROM stdin;\n1\n\\.\n", NULL},
    {"PREPARE in front", "PREPARE p AS SELECT * FROM orders;\n" ADD "EXECUTE p;\n", STAR},
    {"PREPARE behind", ADD "PREPARE p AS SELECT * FROM orders;\nEXECUTE p;\n", NULL},
    {"deallocated", "PREPARE p AS SELECT * FROM orders;\nDEALLOCATE p;\n" ADD, NULL},
    {"another deallocated", "PREPARE p AS SELECT * FROM orders;\nDEALLOCATE q;\n" ADD, STAR},
    {"all discarded", "PREPARE p AS SELECT * FROM orders;\nDISCARD ALL;\n" ADD, NULL},
    {"PREPARE RETURNING *", "PREPARE p AS INSERT INTO orders (id) VALUES (1) RETURNING *;\n" ADD, STAR},
    {"PREPARE and a type", "PREPARE p AS SELECT * FROM orders;\nALTER TABLE orders ALTER id TYPE bigint;\n",
     STAR},
    {"PREPARE and a name", "PREPARE p AS SELECT * FROM orders;\nALTER TABLE orders RENAME id TO no;\n", STAR},
    {"PREPARE and a default",
     "PREPARE p AS SELECT * FROM orders;\nALTER TABLE orders ALTER id SET DEFAULT 1;\n", NULL},
    {"parameters", "SELECT * FROM orders WHERE id = $1;\n" ADD, STAR},
    {"a psql variable is none", "SELECT * FROM orders WHERE id = :id;\n" ADD, NULL},
    {"SELECT *", "SELECT * FROM orders;\n" ADD, NULL},
    {"the down section", "-- migrate:up\n" ADD "-- migrate:down\nINSERT INTO orders VALUES (1);\n", NULL},
    {"a block", "DO $$ BEGIN " ADD " END $$;\nINSERT INTO orders VALUES (1);\n", ROWS},
    {"a new table", "CREATE TABLE orders (id int);\n" ADD "INSERT INTO orders VALUES (1);\n", NULL},
};

static void test_readers(void **state)
{
    static const char *const rules[] = {STAR, ROWS, COPY};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        struct job job = {.text = readers[i].text, .format = "json"};
        run(&job);
        for (size_t k = 0; k < 3; k++)
            if (times(job.out, rules[k]) !=
                (readers[i].rule != NULL && strcmp(readers[i].rule, rules[k]) == 0))
                fail_msg("%s: %s\n%s", readers[i].name, rules[k], job.out);
        free(job.out);
    }
}

/* ---- several files ---- */

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* A history that is numbered has run, or knows of the change; other files are run at any time. */
static void test_files(void **state)
{
    static const struct {
        const char *name;
        int code;
    } files[] = {{"0001_first.sql", 0}, {"V3__later.sql", 0}, {"seeds.sql", 1}, {"R__load.sql", 1}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char folder[] = "/tmp/check_order.XXXXXX", path[256];
        assert_non_null(mkdtemp(folder));
        write_file(folder, "0002_add.sql", "ALTER TABLE orders ADD COLUMN note text;\n");
        write_file(folder, files[i].name, "\nINSERT INTO orders VALUES (1);\n");
        const char *argv[] = {"check", "--format", "json", folder, NULL};
        assert_int_equal(cmd_check(4, (char **)argv), files[i].code);
        snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        assert_int_equal(unlink(path), 0);
        snprintf(path, sizeof path, "%s/0002_add.sql", folder);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(folder), 0);
    }
}

static void test_reader_words(void **state)
{
    struct job job = {.text = ADD "INSERT INTO orders VALUES (1);\nINSERT INTO orders SELECT 1;\n"};
    run(&job);
    assert_non_null(strstr(
        job.out, "an INSERT into orders without a column list (line 2, and 1 more) won't fill column note"));
    assert_non_null(strstr(job.out, "one value less than the table has columns"));
    free(job.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locks),   cmocka_unit_test(test_lock_words),   cmocka_unit_test(test_comments),
        cmocka_unit_test(test_readers), cmocka_unit_test(test_reader_words), cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

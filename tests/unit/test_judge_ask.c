/*
 * What the catalog is asked in front of a message, and what becomes of the answer. The catalog's own sense of
 * it is its tests' business; a server answers in tests/e2e/test_inquiry.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <talloc.h>

#include "proxy/session/judge_inside.h"

static const char configuration[] =
    "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: 127.0.0.1, port: 5432}\n";

/* How the session stands; the rest is filled from here. */
struct stand {
    const char *encoding; /* NULL: UTF8 */
    bool in_transaction, in_pipeline, may_not, uncertain;
    int version; /* 0: 150004 */
};

static struct judge_job *job_of(const char *sql, const struct stand *stand)
{
    static struct engine_statement statements[2000];
    const char *encoding = stand->encoding ? stand->encoding : "UTF8";
    size_t n = strlen(sql), count = 0;
    struct gate gate;
    struct gate_statement found;
    struct conf_mistakes mistakes;
    gate_init(&gate, true, text_encoding_of(encoding));
    for (size_t at = 0; at < n;) {
        bool is;
        at += gate_scan(&gate, (const uint8_t *)sql + at, n - at, &found, &is);
        if ((is || (at == n && gate_finish(&gate, &found, NULL))) && gate_class_judged(found.class))
            statements[count++] = (struct engine_statement){.text = sql + found.start,
                                                            .length = (size_t)(found.end - found.start),
                                                            .offset = found.start,
                                                            .class = found.class,
                                                            .index = found.index};
    }
    struct conf *conf = conf_load_text(configuration, strlen(configuration), "test", &mistakes);
    conf_mistakes_free(&mistakes);
    const struct engine_judge event = {.sql = sql,
                                       .sql_length = n,
                                       .statements = statements,
                                       .n_statements = count,
                                       .in_transaction = stand->in_transaction,
                                       .in_pipeline = stand->in_pipeline,
                                       .uncertain = stand->uncertain,
                                       .scs = true};
    const struct judge_session session = {.client = "local",
                                          .user = "deploy",
                                          .database = "app",
                                          .client_encoding = encoding,
                                          .may_ask = !stand->may_not,
                                          .server_version = stand->version ? stand->version : 150004};
    struct judge_job *job = judge_job_new(&event, &session, conf);
    assert_non_null(job);
    conf_unref(conf);
    return job;
}

static void *on_parser_thread(void *job)
{
    judge_now(job, NULL);
    return NULL;
}

static void run(struct judge_job *job)
{
    pthread_t thread;
    assert_int_equal(parser_thread_create(&thread, on_parser_thread, job), 0);
    pthread_join(thread, NULL);
}

static struct judge_job *begun(const char *sql, const struct stand *stand)
{
    struct judge_job *job = job_of(sql, stand);
    run(job);
    return job;
}

#define BEGUN(sql, ...) begun(sql, &(const struct stand){__VA_ARGS__})

#define RISKY "ALTER TABLE orders ADD COLUMN u uuid DEFAULT gen_random_uuid()"

/* ---- when it is asked -------------------------------------------------------------------------------- */

static const struct {
    const char *name, *sql;
    struct stand stand;
    bool asks;
} cases[] = {
    {"a statement", RISKY, {0}, true},
    {"behind the session's own wish", RISKY, {.may_not = true}, false},
    {"a server that is too old", RISKY, {.version = 120017}, false},
    {"a text of uncertain meaning", RISKY, {.uncertain = true}, false},
    {"nothing that has a name", "CREATE SCHEMA x", {0}, false},
    {"a text that can't be read", "ALTER TABLE orders FROBNICATE", {0}, false},
    {"one of two can be read", "ALTER TABLE orders FROBNICATE; " RISKY, {0}, false},
    {"the other way round", RISKY "; ALTER TABLE orders FROBNICATE", {0}, true},
    {"in a pipeline", RISKY, {.in_pipeline = true}, true},
    {"concurrently", "CREATE INDEX CONCURRENTLY ON orders (a)", {0}, true},
    {"concurrently, in a pipeline", "CREATE INDEX CONCURRENTLY ON orders (a)", {.in_pipeline = true}, false},
    {"detach concurrently, in a pipeline",
     "ALTER TABLE orders DETACH PARTITION p CONCURRENTLY",
     {.in_pipeline = true},
     false},
    {"a DO that may commit, in a pipeline",
     "DO $$ BEGIN ALTER TABLE orders ADD a int; COMMIT; END $$",
     {.in_pipeline = true},
     false},
    {"behind a setting of no matter", "SET lock_timeout = '1s'; " RISKY, {0}, true},
    {"behind search_path", "SET search_path = x; " RISKY, {0}, false},
    {"behind SET SCHEMA", "SET SCHEMA 'x'; " RISKY, {0}, false},
    {"behind RESET ALL", "RESET ALL; " RISKY, {0}, false},
    {"behind SET ROLE", "SET ROLE x; " RISKY, {0}, false},
    {"behind SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION x; " RISKY, {0}, false},
    {"behind set_config", "SELECT pg_catalog.SET_CONFIG('search_path', '', false); " RISKY, {0}, false},
    {"behind CALL", "CALL p(); " RISKY, {0}, false},
    {"in front of search_path", RISKY "; SET search_path = x", {0}, true},
    {"behind LOCK", "LOCK TABLE orders; " RISKY, {0}, true},
    {"behind LOCK in a transaction", "LOCK TABLE orders; " RISKY, {.in_transaction = true}, false},
    {"behind SET TRANSACTION", "SET TRANSACTION READ WRITE; " RISKY, {.in_transaction = true}, false},
    {"behind SET TRANSACTION SNAPSHOT",
     "SET TRANSACTION SNAPSHOT '1-1-1'; " RISKY,
     {.in_transaction = true},
     false},
    {"behind its setting",
     "SET LOCAL transaction_isolation = 'serializable'; " RISKY,
     {.in_transaction = true},
     false},
    {"a name of the encoding", "ALTER TABLE \"\xfc\" ADD a int", {.encoding = "LATIN1"}, true},
    {"a name that the encoding hasn't", "ALTER TABLE U&\"\\0416\" ADD a int", {.encoding = "LATIN1"}, false},
};

static void test_when(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct judge_job *job = begun(cases[i].sql, &cases[i].stand);
        if ((job->question != NULL) != cases[i].asks)
            fail_msg("%s: %s", cases[i].name, job->question ? job->question : "nothing is asked");
        assert_int_equal(job->judgement.n_records > 0, !cases[i].asks); /* judged at once, or not yet */
        judge_job_free(job);
    }
}

/* ---- what is asked ----------------------------------------------------------------------------------- */

static bool asked_for(const struct judge_job *job, const char *list, const char *name)
{
    json_t *all = json_loads(job->question, 0, NULL);
    assert_non_null(all);
    bool found = false;
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(all, list), i, one)
    {
        found = found || strcmp(json_string_value(one), name) == 0;
    }
    json_decref(all);
    return found;
}

static void test_one_question_for_all(void **state)
{
    struct judge_job *job = BEGUN("ALTER TABLE a ADD x int DEFAULT f(1); INSERT INTO c VALUES (1); "
                                  "ALTER TABLE s.b ADD y d DEFAULT g(2); ALTER TABLE a ADD z int");
    assert_non_null(job->question_sql);
    assert_true(asked_for(job, "R", "a") && asked_for(job, "R", "b"));
    assert_true(asked_for(job, "f", "f") && asked_for(job, "f", "g"));
    assert_true(asked_for(job, "s", "s") && asked_for(job, "t", "d"));
    assert_false(asked_for(job, "R", "c") || asked_for(job, "r", "c"));
    judge_job_free(job);
    /* what stands behind a change of names isn't asked for; what stands in front of it is */
    job = BEGUN("ALTER TABLE a ADD x int; SET search_path = s; ALTER TABLE b ADD y int");
    assert_true(asked_for(job, "R", "a"));
    assert_false(asked_for(job, "R", "b"));
    judge_job_free(job);
}

static void test_in_the_clients_encoding(void **state)
{
    struct judge_job *job = BEGUN("ALTER TABLE \"\xfc\" ADD a int", .encoding = "LATIN1");
    assert_non_null(strstr(job->question, "\"\xfc\""));
    judge_job_free(job);
    job = BEGUN("ALTER TABLE \"\x83\x5c\" ADD a int", .encoding = "SJIS");
    assert_non_null(strstr(job->question, "\"\x83\x5c\""));
    judge_job_free(job);
}

static void test_thousands_of_statements(void **state)
{
    enum { N = 1500 };
    char *sql = malloc((size_t)N * 40);
    size_t n = 0;
    for (int i = 0; i < N; i++)
        n += (size_t)sprintf(sql + n, "ALTER TABLE t%d ADD x int;", i);
    struct judge_job *job = BEGUN(sql);
    assert_true(asked_for(job, "R", "t0"));
    judge_answer(job, NULL, 0);
    run(job);
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    assert_int_equal(job->judgement.n_records, N);
    judge_job_free(job);
    free(sql);
}

/* ---- the answer -------------------------------------------------------------------------------------- */

static void test_no_answer(void **state)
{
    static const char *const answers[] = {NULL, "", "UTF8:", "UTF8:!!!!", "UTF8:e30=", "no", "\0\0"};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct judge_job *job = BEGUN(RISKY);
        assert_non_null(job->question);
        assert_int_equal(job->judgement.n_records, 0);
        judge_answer(job, answers[i], answers[i] ? strlen(answers[i]) : 0);
        run(job);
        assert_int_equal(job->judgement.as, JUDGED_REFUSE);
        assert_string_equal(job->judgement.refusal.constraint, "volatile-default");
        assert_int_equal(job->judgement.n_records, 1);
        judge_job_free(job);
    }
}

/* What a message makes itself is new, whatever the catalog says or doesn't say. */
static void test_made_in_the_message(void **state)
{
    static const struct {
        const char *sql;
        bool refused;
    } made[] = {
        {"CREATE TABLE orders (a int); " RISKY, false},
        {"SET search_path = x; CREATE TABLE orders (a int); GRANT ALL ON orders TO PUBLIC; " RISKY, false},
        {"CREATE TABLE orders (a int); SET search_path = x; " RISKY, true},
        {"CREATE TABLE others (a int); " RISKY, true},
        {"CREATE TABLE IF NOT EXISTS orders (a int); " RISKY, true},
        {"CREATE TABLE orders (a int); ALTER TABLE orders RENAME TO past; ALTER TABLE big RENAME TO "
         "orders; " RISKY,
         true},
    };
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        struct judge_job *job = begun(made[i].sql, &(const struct stand){.may_not = true});
        if ((job->judgement.as == JUDGED_REFUSE) != made[i].refused)
            fail_msg("%s: %s", made[i].sql, made[i].refused ? "passes" : job->judgement.refusal.message);
        judge_job_free(job);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_when),
        cmocka_unit_test(test_one_question_for_all),
        cmocka_unit_test(test_in_the_clients_encoding),
        cmocka_unit_test(test_thousands_of_statements),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_made_in_the_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

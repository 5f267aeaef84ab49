/*
 * The judges: from an EVENT_JUDGE to the judgement, its words in the client's encoding, and what goes on
 * record. With the real parser and policy; what rules find is their tests' business, here one of each outcome
 * is enough.
 */
#include "audit_help.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <talloc.h>

#include "parser/facts.h"
#include "proxy/observe/log.h"
#include "proxy/session/judge.h"

#define RISKY  "ALTER TABLE public.orders ADD COLUMN u uuid DEFAULT gen_random_uuid()"
#define FINE   "ALTER TABLE orders ADD COLUMN a int"
#define WARNED "TRUNCATE orders"

static const char minimal[] =
    "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: 127.0.0.1, port: 5432}\n";

/* What is asked; the rest is filled from here. */
struct ask {
    const char *sql;
    size_t length; /* 0: to the NUL */
    const char *encoding, *conf, *waiver;
    enum judge_occasion occasion;
    bool no_scs, uncertain, too_long;
};

static struct conf *conf_of(const char *more)
{
    char text[2048];
    struct conf_mistakes mistakes;
    snprintf(text, sizeof text, "%senvironment: test\n%s", minimal, more ? more : "");
    struct conf *conf = conf_load_text(text, strlen(text), "test", &mistakes);
    for (size_t i = 0; i < mistakes.n; i++)
        print_error("%u: %s\n", mistakes.items[i].line, mistakes.items[i].text);
    conf_mistakes_free(&mistakes);
    assert_non_null(conf);
    return conf;
}

/* As the engine does it: those that the gate says are to be judged. */
static size_t split(const char *sql, size_t n, bool scs, const char *encoding,
                    struct engine_statement *statements)
{
    struct gate gate;
    struct gate_statement found;
    size_t count = 0;
    bool any = true;
    gate_init(&gate, scs, text_encoding_of(encoding));
    for (size_t at = 0; any;) {
        at += gate_scan(&gate, (const uint8_t *)sql + at, n - at, &found, &any);
        if (!any && !gate_finish(&gate, &found, NULL))
            break;
        statements[count++] = (struct engine_statement){.text = sql + found.start,
                                                        .length = found.end - found.start,
                                                        .offset = found.start,
                                                        .class = found.class,
                                                        .index = found.index};
    }
    return count;
}

static struct judge_job *job_of(const struct ask *ask)
{
    static struct engine_statement statements[20000];
    size_t n = ask->length ? ask->length : strlen(ask->sql);
    char *sql = malloc(n + 1); /* freed before it is judged: the job has to own a copy */
    memcpy(sql, ask->sql, n);
    struct engine_judge event = {
        .occasion = ask->occasion,
        .sql = sql,
        .sql_length = n,
        .statements = statements,
        .n_statements = split(sql, n, !ask->no_scs, ask->encoding ? ask->encoding : "UTF8", statements),
        .scs = !ask->no_scs,
        .uncertain = ask->uncertain,
        .too_long = ask->too_long};
    char user[] = "deploy";
    struct judge_session session = {.session = 9,
                                    .client = "192.0.2.7:5",
                                    .user = user,
                                    .database = "app",
                                    .application = "the tests",
                                    .client_encoding = ask->encoding ? ask->encoding : "UTF8",
                                    .start_waiver = ask->waiver,
                                    .server_version = 150004};
    struct conf *conf = conf_of(ask->conf);
    struct judge_job *job = judge_job_new(&event, &session, conf);
    assert_non_null(job);
    conf_unref(conf);
    memset(sql, 'x', n);
    memset(user, 'x', sizeof user - 1);
    free(sql);
    return job;
}

struct waiting {
    struct judge_job *job;
    struct audit *audit;
};

static void *on_parser_thread(void *argument)
{
    struct waiting *waiting = argument;
    judge_now(waiting->job, waiting->audit);
    return NULL;
}

static struct judge_job *judge(struct ask ask, struct audit *audit)
{
    pthread_t thread;
    struct waiting waiting = {job_of(&ask), audit};
    assert_int_equal(parser_thread_create(&thread, on_parser_thread, &waiting), 0);
    pthread_join(thread, NULL);
    return waiting.job;
}

#define JUDGE(...) judge((struct ask){__VA_ARGS__}, NULL)

static const struct report *refusal(const struct judge_job *job)
{
    assert_int_not_equal(job->judgement.as, JUDGED_FORWARD);
    return &job->judgement.refusal;
}

static void has(const char *text, const char *words)
{
    if (!text || !strstr(text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, text ? text : "(nothing)");
}

/* ---- outcomes --------------------------------------------------------------------------------------- */

static void test_forwarded(void **state)
{
    struct judge_job *job = JUDGE(.sql = FINE);
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    assert_int_equal(job->judgement.n_notices, 0);
    assert_int_equal(job->judgement.n_records, 1);
    assert_int_equal(job->judgement.records[0], 0); /* no audit */
    assert_int_equal(job->worst, ACTION_ALLOW);
    assert_true(job->judge_nanoseconds > 0);
    judge_job_free(job);
}

static void test_refused(void **state)
{
    struct judge_job *job = JUDGE(.sql = "  /* \xc3\xa9 */ " RISKY);
    const struct report *report = refusal(job);
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_string_equal(job->judgement.token, "pgsluice_refused_volatile_default");
    assert_string_equal(report->severity, "ERROR");
    assert_string_equal(report->sqlstate, "SL001");
    assert_string_equal(report->constraint, "volatile-default");
    has(report->message, "volatile-default");
    assert_true(*report->detail && *report->hint);
    assert_string_equal(report->schema, "public");
    assert_string_equal(report->table, "orders");
    assert_string_equal(report->column, "u");
    /* characters from 1, in the whole message: é is one */
    const char *ascii = "  /* e */ " RISKY;
    const char *clause = ascii + report->position - 1;
    assert_true(strncmp(clause, "DEFAULT", 7) == 0 || strncmp(clause, "gen_random_uuid", 15) == 0);
    assert_int_equal(job->worst, ACTION_REJECT);
    judge_job_free(job);
}

static void test_position_in_a_later_statement(void **state)
{
    static const char sql[] = FINE "; " FINE "; " RISKY;
    struct judge_job *job = JUDGE(.sql = sql);
    const char *clause = sql + refusal(job)->position - 1;
    assert_true(clause > sql + 2 * strlen(FINE));
    assert_true(strncmp(clause, "DEFAULT", 7) == 0 || strncmp(clause, "gen_random_uuid", 15) == 0);
    assert_int_equal(job->judgement.n_records, 3);
    judge_job_free(job);
}

static void test_warned(void **state)
{
    struct judge_job *job = JUDGE(.sql = FINE "; " WARNED);
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    assert_int_equal(job->judgement.n_notices, 1);
    const struct report *report = &job->judgement.notices[0];
    assert_string_equal(report->severity, "WARNING");
    assert_string_equal(report->constraint, "truncate");
    assert_string_equal(report->table, "orders");
    has(report->message, "truncate");
    assert_true(report->position > strlen(FINE));
    assert_int_equal(job->worst, ACTION_WARN);
    judge_job_free(job);
    /* it was said at Parse; each Execute is only recorded */
    job = JUDGE(.sql = WARNED, .occasion = JUDGE_EXECUTE);
    assert_int_equal(job->judgement.n_notices, 0);
    judge_job_free(job);
    /* a refused message has no warnings: its error is all that is said */
    job = JUDGE(.sql = WARNED "; " RISKY);
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_int_equal(job->judgement.n_notices, 0);
    judge_job_free(job);
}

static void test_warnings_are_bounded(void **state)
{
    char *sql = calloc(1, 20 * 1000);
    for (int i = 0; i < 1000; i++)
        strcat(sql, WARNED ";");
    struct judge_job *job = JUDGE(.sql = sql);
    assert_int_equal(job->judgement.n_notices, 51);
    has(job->judgement.notices[50].message, "950 more warnings");
    assert_int_equal(job->judgement.n_records, 1000);
    judge_job_free(job);
    free(sql);
}

/* A new column's comment is looked for in its own message; what a later one brings isn't known, so nobody is
 * refused for want of it. */
static void test_comment_behind(void **state)
{
    static const char rejects[] = "policy: {rules: {comment-required: reject}}\n";
    static const struct {
        const char *sql;
        size_t notices;
    } rows[] = {
        {"ALTER TABLE orders ADD c int", 1},
        {"ALTER TABLE orders ADD c int; COMMENT ON COLUMN orders.c IS 'x'", 0},
        {"BEGIN; ALTER TABLE orders ADD c int; SELECT 1; COMMENT ON COLUMN public.orders.c IS 'x'; COMMIT",
         0},
        {"COMMENT ON COLUMN orders.c IS 'x'; ALTER TABLE orders ADD c int", 1},
        {"ALTER TABLE orders ADD c int, ADD d int; COMMENT ON COLUMN orders.c IS 'x'", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct judge_job *job = JUDGE(.sql = rows[i].sql, .conf = rejects);
        assert_int_equal(job->judgement.as, JUDGED_FORWARD);
        if (job->judgement.n_notices != rows[i].notices)
            fail_msg("%s: %zu", rows[i].sql, job->judgement.n_notices);
        judge_job_free(job);
    }
}

static void test_syntax_is_left_to_the_server(void **state)
{
    struct judge_job *job = JUDGE(.sql = "ALTER TABLE orders ADD COLUM x int int");
    assert_int_equal(job->judgement.as, JUDGED_LET_SERVER_READ);
    assert_string_equal(job->judgement.token, "pgsluice_unparseable");
    assert_string_equal(refusal(job)->sqlstate, "SL004");
    assert_string_equal(refusal(job)->constraint, "unparseable");
    judge_job_free(job);
    /* beside a statement that a rule refuses: the server still says first what it can't read */
    job = JUDGE(.sql = "ALTER TABLE orders ADD COLUM x int int; " RISKY);
    assert_int_equal(job->judgement.as, JUDGED_LET_SERVER_READ);
    assert_string_equal(refusal(job)->sqlstate, "SL001");
    judge_job_free(job);
    job = JUDGE(.sql = "ALTER TABLE orders ADD COLUM x int int", .conf = "policy: {unparseable: warn}\n");
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    assert_int_equal(job->judgement.n_notices, 1);
    judge_job_free(job);
    job = JUDGE(.sql = "ALTER TABLE orders ADD COLUM x int int", .conf = "policy: {unparseable: allow}\n");
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    assert_int_equal(job->judgement.n_notices, 0);
    judge_job_free(job);
}

static void test_what_is_too_long(void **state)
{
    struct judge_job *job = JUDGE(.sql = FINE, .too_long = true, .conf = "limits: {held_message: 512kB}\n");
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_string_equal(refusal(job)->sqlstate, "SL004");
    has(refusal(job)->detail, "limits.held_message (512kB)");
    has(refusal(job)->hint, "limits.held_message");
    assert_int_equal(refusal(job)->position, 0);
    judge_job_free(job);

    char *sql = calloc(1, 40000);
    strcpy(sql, "ALTER TABLE orders ADD COLUMN c text DEFAULT '");
    memset(sql + strlen(sql), 'x', 20000);
    strcat(sql, "'");
    job = JUDGE(.sql = sql, .conf = "limits: {statement: 10kB}\n");
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_string_equal(refusal(job)->sqlstate, "SL004");
    has(refusal(job)->hint, "limits.statement (10kB");
    assert_int_equal(refusal(job)->position, 1);
    judge_job_free(job);
    free(sql);
}

static void test_what_is_uncertain(void **state)
{
    struct judge_job *job = JUDGE(.sql = FINE, .uncertain = true);
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_string_equal(refusal(job)->sqlstate, "SL004");
    has(refusal(job)->hint, "in a message of their own");
    judge_job_free(job);
    /* not even a statement can be told apart */
    job = JUDGE(.sql = ";", .uncertain = true);
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_int_equal(job->judgement.n_records, 0);
    judge_job_free(job);
}

static void test_observe_refuses_nothing(void **state)
{
    static const struct ask asks[] = {{.sql = RISKY},
                                      {.sql = WARNED},
                                      {.sql = "ALTER TABLE x y z"},
                                      {.sql = FINE, .uncertain = true},
                                      {.sql = FINE, .too_long = true},
                                      {.sql = "ALTER TABLE \xff ADD COLUMN a int"},
                                      {.sql = "ALTER TABLE \x81 ADD COLUMN a int", .encoding = "WIN1252"}};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        struct ask ask = asks[i];
        ask.conf = "policy: {profile: observe}\n";
        struct judge_job *job = judge(ask, NULL);
        assert_int_equal(job->judgement.as, JUDGED_FORWARD);
        assert_int_equal(job->judgement.n_notices, 0);
        assert_int_equal(job->worst, ACTION_ALLOW);
        judge_job_free(job);
    }
}

static void test_waiver(void **state)
{
    static const char conf[] = "policy: {waivers: {roles: [deploy]}}\n";
    struct judge_job *job = JUDGE(.sql = RISKY, .conf = conf, .waiver = "volatile-default: planned");
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    judge_job_free(job);
    job = JUDGE(.sql = RISKY, .waiver = "volatile-default: planned"); /* nobody may */
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    judge_job_free(job);
    job = JUDGE(.sql = FINE, .too_long = true, .conf = conf, .waiver = "unparseable: a big dump");
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    judge_job_free(job);
}

/* A waiver counts for the statement whose comment it is, and nowhere else. */
static void test_waiver_in_a_comment(void **state)
{
    static const char conf[] = "policy: {waivers: {roles: [deploy]}}\n";
    static const char comment[] = "/* PgSluice: allow volatile-default, agreed */";
    static const struct {
        const char *sql;
        bool counts;
    } rows[] = {
        {"%s " RISKY, true},
        {RISKY " %s", true},
        {RISKY " %s;", true},
        {FINE "; %s " RISKY, true},
        {FINE "; " RISKY " %s; " FINE, true},
        {"ALTER TABLE %s orders ADD COLUMN u uuid DEFAULT gen_random_uuid()", true},
        {FINE " %s; " RISKY, false},
        {RISKY "; %s " FINE, false},
        {"COMMENT ON TABLE t IS '%s'; " RISKY, false},
        {"ALTER TABLE t ADD COLUMN c text DEFAULT $$%s$$, ADD COLUMN u uuid DEFAULT gen_random_uuid()",
         false},
        {"/* %s */ " RISKY, false}, /* inside another comment */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[1024], *at = strstr(rows[i].sql, "%s");
        snprintf(sql, sizeof sql, "%.*s%s%s", (int)(at - rows[i].sql), rows[i].sql, comment, at + 2);
        struct judge_job *job = JUDGE(.sql = sql, .conf = conf);
        if ((job->judgement.as == JUDGED_FORWARD) != rows[i].counts)
            fail_msg("%s: %s", sql, rows[i].counts ? "does not count" : "counts");
        if (!rows[i].counts) {
            const char *clause = sql + refusal(job)->position - 1;
            assert_true(strncmp(clause, "DEFAULT gen", 11) == 0 ||
                        strncmp(clause, "gen_random_uuid", 15) == 0);
        }
        judge_job_free(job);
    }
}

static void test_standard_conforming_strings(void **state)
{
    static const char sql[] = "ALTER TABLE t ADD COLUMN c text DEFAULT 'a\\', ADD COLUMN u uuid DEFAULT "
                              "gen_random_uuid(), ADD COLUMN d text DEFAULT '\\''";
    struct judge_job *job = JUDGE(.sql = "ALTER TABLE t ADD COLUMN c text DEFAULT 'it\\'s'", .no_scs = true);
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    judge_job_free(job);
    job = JUDGE(.sql = sql, .no_scs = true);
    assert_int_equal(job->judgement.as, JUDGED_LET_SERVER_READ);
    judge_job_free(job);
}

/* ---- encodings -------------------------------------------------------------------------------------- */

static void test_words_in_the_clients_encoding(void **state)
{
    static const struct {
        const char *encoding, *table, *expected;
    } rows[] = {{"UTF8", "na\xc3\xafve", "na\xc3\xafve"},
                {"LATIN1", "na\xefve", "na\xefve"},
                {"SJIS", "\x95\x5c\x8e\xa6", "\x95\x5c\x8e\xa6"}, /* 0x5c inside a character */
                {"KOI8R", "\xd4\xc1\xc2\xcc", "\xd4\xc1\xc2\xcc"},
                {"GB18030", "\x81\x30\x81\x30", "\x81\x30\x81\x30"},
                {"SQL_ASCII", "na\xc3\xafve", "na\xc3\xafve"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[256];
        snprintf(sql, sizeof sql, "ALTER TABLE \"%s\" ADD COLUMN u uuid DEFAULT gen_random_uuid()",
                 rows[i].table);
        struct judge_job *job = JUDGE(.sql = sql, .encoding = rows[i].encoding);
        assert_string_equal(refusal(job)->sqlstate, "SL001");
        if (strcmp(refusal(job)->table, rows[i].expected) != 0)
            fail_msg("%s: %s", rows[i].encoding, refusal(job)->table);
        has(refusal(job)->message, "volatile-default");
        judge_job_free(job);
    }
}

static void test_position_counts_characters_of_the_client(void **state)
{
    static const char sql[] = "ALTER TABLE \"\x95\x5c\x8e\xa6\" ADD COLUMN u uuid DEFAULT gen_random_uuid()";
    static const char same[] = "ALTER TABLE \"ab\" ADD COLUMN u uuid DEFAULT gen_random_uuid()";
    struct judge_job *job = JUDGE(.sql = sql, .encoding = "SJIS"), *ascii = JUDGE(.sql = same);
    assert_int_equal(refusal(job)->position, refusal(ascii)->position);
    judge_job_free(job);
    judge_job_free(ascii);
}

static void test_bytes_that_cannot_be_read(void **state)
{
    /* every server refuses these itself */
    struct judge_job *job = JUDGE(.sql = "ALTER TABLE \"\xc3\" ADD COLUMN u uuid DEFAULT gen_random_uuid()");
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    judge_job_free(job);
    /* these it may know better than we do */
    job = JUDGE(.sql = "ALTER TABLE \"\x95\" ADD COLUMN a int", .encoding = "SJIS");
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_string_equal(refusal(job)->sqlstate, "SL004");
    has(refusal(job)->message, "SJIS");
    judge_job_free(job);
    job = JUDGE(.sql = "ALTER TABLE \"\x95\x5c\" ADD COLUMN a int", .encoding = "MULE_INTERNAL");
    assert_string_equal(refusal(job)->sqlstate, "SL004");
    judge_job_free(job);
}

/* ---- on record -------------------------------------------------------------------------------------- */

static struct judge_job *recorded(struct ask ask, json_t **all)
{
    static unsigned turn;
    char name[32];
    snprintf(name, sizeof name, "judge.%u", turn++);
    struct audit *audit = open_log(path_of(name));
    struct judge_job *job = judge(ask, audit);
    audit_close(audit);
    *all = whole_log(path_of(name));
    return job;
}

#define RECORDED(all, ...) recorded((struct ask){__VA_ARGS__}, all)

static void test_what_is_recorded(void **state)
{
    json_t *all;
    struct judge_job *job = RECORDED(&all, .sql = FINE "; " RISKY);
    assert_int_equal(json_array_size(all), 2);
    assert_int_equal(job->judgement.n_records, 2);
    assert_int_equal(job->judgement.records[0], 1);
    assert_int_equal(job->judgement.records[1], 2);
    assert_string_equal(text_at(all, 0, "verdict"), "allow");
    assert_string_equal(text_at(all, 1, "verdict"), "reject");
    assert_string_equal(text_at(all, 1, "sql"), RISKY);
    assert_string_equal(text_at(all, 1, "user"), "deploy");
    assert_string_equal(text_at(all, 1, "database"), "app");
    assert_string_equal(text_at(all, 1, "application"), "the tests");
    assert_string_equal(text_at(all, 1, "client"), "192.0.2.7:5");
    assert_string_equal(text_at(all, 1, "environment"), "test");
    assert_string_equal(text_at(all, 1, "kind"), "ALTER TABLE");
    assert_string_equal(text_at(all, 1, "object"), "public.orders");
    assert_non_null(text_at(all, 1, "fingerprint"));
    assert_null(text_at(all, 1, "would"));
    json_t *rules = json_object_get(json_array_get(all, 1), "rules");
    assert_string_equal(json_string_value(json_array_get(rules, 0)), "volatile-default");
    json_decref(all);
    judge_job_free(job);
}

static void test_a_parse_is_recorded_only_when_refused(void **state)
{
    json_t *all;
    struct judge_job *job = RECORDED(&all, .sql = FINE, .occasion = JUDGE_PARSE);
    assert_int_equal(json_array_size(all), 0);
    assert_int_equal(job->judgement.records[0], 0);
    json_decref(all);
    judge_job_free(job);
    job = RECORDED(&all, .sql = RISKY, .occasion = JUDGE_PARSE);
    assert_int_equal(json_array_size(all), 1);
    assert_int_equal(job->judgement.records[0], 1);
    json_decref(all);
    judge_job_free(job);
    job = RECORDED(&all, .sql = FINE, .occasion = JUDGE_EXECUTE);
    assert_int_equal(json_array_size(all), 1);
    json_decref(all);
    judge_job_free(job);
}

static void test_record_of_observe_waiver_and_reasons(void **state)
{
    json_t *all;
    judge_job_free(RECORDED(&all, .sql = RISKY, .conf = "policy: {profile: observe}\n"));
    assert_string_equal(text_at(all, 0, "verdict"), "allow");
    assert_string_equal(text_at(all, 0, "would"), "reject");
    json_decref(all);
    judge_job_free(RECORDED(&all, .sql = RISKY, .waiver = "volatile-default: planned",
                            .conf = "policy: {waivers: {roles: [deploy]}}\n"));
    assert_string_equal(text_at(all, 0, "verdict"), "allow");
    has(text_at(all, 0, "waiver"), "planned");
    json_decref(all);
    judge_job_free(RECORDED(&all, .sql = FINE, .too_long = true));
    assert_string_equal(text_at(all, 0, "verdict"), "reject");
    has(text_at(all, 0, "reason"), "limits.held_message");
    json_decref(all);
    judge_job_free(RECORDED(&all, .sql = "ALTER TABLE \xff"));
    has(text_at(all, 0, "reason"), "not valid UTF-8");
    assert_string_equal(text_at(all, 0, "sql"), "ALTER TABLE \xef\xbf\xbd");
    json_decref(all);
    judge_job_free(RECORDED(&all, .sql = ";", .uncertain = true));
    assert_int_equal(json_array_size(all), 2);
    assert_string_equal(text_at(all, 1, "record"), "finished");
    assert_string_equal(text_at(all, 1, "sqlstate"), "SL004");
    json_decref(all);
}

static void test_passwords_are_not_recorded(void **state)
{
    json_t *all;
    judge_job_free(RECORDED(&all, .sql = "ALTER ROLE app PASSWORD 'sesame'"));
    assert_string_equal(text_at(all, 0, "sql"), "ALTER ROLE app PASSWORD ***");
    json_decref(all);
}

static void test_audit_that_cannot_be_written(void **state)
{
    struct audit *audit = open_log(path_of("full"));
    assert_true(audit_wait(audit, decide(audit, "ALTER TABLE before")));
    struct stat status;
    assert_int_equal(stat(path_of("full"), &status), 0);
    struct rlimit limit = {.rlim_cur = (rlim_t)status.st_size + 10, .rlim_max = RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 2; i++) { /* the first is queued and fails, the second can't even be queued */
        struct judge_job *job = judge((struct ask){.sql = FINE}, audit);
        assert_int_equal(job->judgement.as, JUDGED_REFUSE);
        assert_string_equal(refusal(job)->sqlstate, "SL900");
        has(refusal(job)->message, "audit");
        has(refusal(job)->detail, "File too large");
        assert_true((job->judgement.records[0] != 0) == (i == 0));
        judge_job_free(job);
    }
    /* who only looks on stops nothing */
    struct judge_job *job = judge((struct ask){.sql = FINE, .conf = "policy: {profile: observe}\n"}, audit);
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    judge_job_free(job);
    limit.rlim_cur = RLIM_INFINITY;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    audit_close(audit);
}

/* More records in one message than may wait in memory. */
static void test_a_message_of_very_many_statements(void **state)
{
    enum { N = 12000 };
    char *sql = malloc(N * 2000);
    size_t n = 0;
    for (int i = 0; i < N; i++)
        n += (size_t)sprintf(sql + n, "DROP TABLE t%d -- %01500d\n;", i, 0);
    struct judge_job *job;
    struct audit *audit = open_log(path_of("very-many"));
    job =
        judge((struct ask){.sql = sql, .length = n, .conf = "policy: {rules: {drop-table: allow}}\n"}, audit);
    assert_int_equal(job->judgement.as, JUDGED_FORWARD);
    assert_int_equal(job->judgement.records[N - 1], N);
    judge_job_free(job);
    audit_close(audit);
    free(sql);
}

/* ---- the bench -------------------------------------------------------------------------------------- */

enum { JOBS = 60 };
static sem_t home;
static _Atomic int calls[JOBS];

static void come_home(struct judge_job *job)
{
    atomic_fetch_add(&calls[(uintptr_t)job->owner], 1);
    sem_post(&home);
}

static void test_bench(void **state)
{
    struct judge_job *jobs[JOBS];
    struct audit *audit = open_log(path_of("bench"));
    struct judge_bench *bench = judge_bench_start(3, audit);
    assert_non_null(bench);
    sem_init(&home, 0, 0);
    for (uintptr_t i = 0; i < JOBS; i++) {
        jobs[i] = job_of(&(struct ask){.sql = i % 2 ? RISKY : FINE});
        jobs[i]->owner = (void *)i;
        jobs[i]->done = come_home;
        assert_true(judge_submit(bench, jobs[i]));
    }
    for (int i = 0; i < JOBS / 2; i++)
        sem_wait(&home);
    judge_bench_stop(bench); /* finishes the others */
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(calls[i], 1);
        assert_int_equal(jobs[i]->judgement.as, i % 2 ? JUDGED_REFUSE : JUDGED_FORWARD);
        judge_job_free(jobs[i]);
    }
    audit_close(audit);
    json_t *all = whole_log(path_of("bench"));
    assert_int_equal(json_array_size(all), JOBS);
    json_decref(all);
}

static _Atomic bool may_go;
static void hold(struct judge_job *job)
{
    while (!atomic_load(&may_go))
        usleep(1000);
    sem_post(&home);
}

/* On one thread: how many came home in front of the long one. */
static int behind, before_long;

static void count_behind(struct judge_job *job)
{
    behind++;
}

static void long_is_home(struct judge_job *job)
{
    before_long = behind;
}

static void test_bench_is_bounded(void **state)
{
    enum { MORE = 1030 };
    static struct judge_job *jobs[MORE];
    struct judge_bench *bench = judge_bench_start(1, NULL);
    int taken = 0;
    struct conf *conf = conf_of(NULL);
    for (int i = 0; i < MORE; i++) {
        struct judge_session session = {.client_encoding = "UTF8"};
        jobs[i] = judge_job_new(&(struct engine_judge){.sql = ""}, &session, conf);
        jobs[i]->done = hold;
        if (judge_submit(bench, jobs[i]))
            taken++;
        else
            judge_job_free(jobs[i]);
    }
    assert_in_range(taken, 1024, 1025);
    atomic_store(&may_go, true);
    judge_bench_stop(bench);
    for (int i = 0; i < taken; i++) {
        assert_int_equal(jobs[i]->judgement.as, JUDGED_FORWARD);
        judge_job_free(jobs[i]);
    }
    conf_unref(conf);
}

/* A job for the bench; `length` bytes of text. */
static struct judge_job *bench_job(struct conf *conf, size_t length, void (*done)(struct judge_job *))
{
    char *sql = calloc(1, length + 1);
    memset(sql, ' ', length);
    struct judge_session session = {.client_encoding = "UTF8"};
    struct judge_job *job =
        judge_job_new(&(struct engine_judge){.sql = sql, .sql_length = length}, &session, conf);
    job->done = done;
    free(sql);
    return job;
}

static bool comes_home(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 10;
    return sem_timedwait(&home, &end) == 0;
}

/* However many long texts there are, one thread is left for what is short. */
static void test_long_texts_leave_a_thread(void **state)
{
    enum { LONG = 5 };
    struct judge_job *jobs[LONG + 1];
    struct conf *conf = conf_of(NULL);
    struct judge_bench *bench = judge_bench_start(2, NULL);
    sem_init(&home, 0, 0);
    atomic_store(&may_go, false);
    for (int i = 0; i < LONG; i++) {
        jobs[i] = bench_job(conf, 100000, hold);
        assert_true(judge_submit(bench, jobs[i]));
    }
    jobs[LONG] = bench_job(conf, 10, come_home);
    assert_true(judge_submit(bench, jobs[LONG]));
    bool short_one = comes_home();
    atomic_store(&may_go, true);
    judge_bench_stop(bench); /* and none is forgotten */
    assert_true(short_one);
    for (int i = 0; i < LONG; i++)
        assert_true(comes_home());
    for (int i = 0; i <= LONG; i++)
        judge_job_free(jobs[i]);
    conf_unref(conf);
}

/* Nor do short ones without end keep a long one waiting. */
static void test_short_texts_let_a_long_one_pass(void **state)
{
    enum { SHORT = 200 };
    struct judge_job *jobs[SHORT + 2];
    struct conf *conf = conf_of(NULL);
    struct judge_bench *bench = judge_bench_start(1, NULL);
    sem_init(&home, 0, 0);
    memset(calls, 0, sizeof calls);
    atomic_store(&may_go, false);
    jobs[0] = bench_job(conf, 10, hold); /* so that the others are queued before the first is taken */
    assert_true(judge_submit(bench, jobs[0]));
    for (int i = 1; i <= SHORT; i++) {
        jobs[i] = bench_job(conf, 10, count_behind);
        assert_true(judge_submit(bench, jobs[i]));
    }
    jobs[SHORT + 1] = bench_job(conf, 100000, long_is_home);
    assert_true(judge_submit(bench, jobs[SHORT + 1]));
    atomic_store(&may_go, true);
    judge_bench_stop(bench);
    assert_in_range(before_long, 1, 20);
    for (int i = 0; i < SHORT + 2; i++)
        judge_job_free(jobs[i]);
    conf_unref(conf);
}

/* A session that goes while its message is judged leaves the rest of it alone. */
static void test_an_orphan_is_judged_no_further(void **state)
{
    struct judge_job *job =
        job_of(&(struct ask){.sql = "ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid()"});
    job->orphan = true;
    judge_now(job, NULL);
    assert_int_equal(job->judge_nanoseconds, 0);
    assert_int_equal(job->judgement.records[0], 0);
    judge_job_free(job);
}

/* The client can make the catalog's answer wait as long as it likes: what waits with it is small. */
static void test_what_waits_for_the_catalog_is_small(void **state)
{
    enum { N = 5000 };
    char *sql = malloc(N * 20);
    size_t n = (size_t)sprintf(sql, "ALTER TABLE t ADD a uuid DEFAULT gen_random_uuid()");
    for (int i = 0; i < N; i++)
        n += (size_t)sprintf(sql + n, ", ADD b%d int", i);
    struct conf *conf = conf_of(NULL);
    const struct engine_statement statement = {.text = sql, .length = n, .class = GATE_DDL};
    const struct engine_judge event = {
        .sql = sql, .sql_length = n, .scs = true, .statements = &statement, .n_statements = 1};
    const struct judge_session session = {
        .client_encoding = "UTF8", .may_ask = true, .server_version = 150000};
    struct judge_job *job = judge_job_new(&event, &session, conf);
    judge_now(job, NULL);
    assert_non_null(job->question);
    assert_in_range(talloc_total_size(job), n, 4 * n);
    judge_answer(job, NULL, 0);
    judge_now(job, NULL);
    assert_int_equal(job->judgement.as, JUDGED_REFUSE);
    assert_string_equal(job->judgement.refusal.constraint, "volatile-default");
    judge_job_free(job);
    conf_unref(conf);
    free(sql);
}

/* Whose session has ended costs nothing more. */
static void test_orphans_are_not_judged(void **state)
{
    struct audit *audit = open_log(path_of("orphans"));
    struct judge_bench *bench = judge_bench_start(1, audit);
    struct judge_job *job = job_of(&(struct ask){.sql = RISKY});
    sem_init(&home, 0, 0);
    job->owner = (void *)0;
    job->done = come_home;
    job->orphan = true;
    assert_true(judge_submit(bench, job));
    assert_true(comes_home());
    judge_bench_stop(bench);
    assert_null(job->judgement.records);
    judge_job_free(job);
    audit_close(audit);
    json_t *all = whole_log(path_of("orphans"));
    assert_int_equal(json_array_size(all), 0);
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comment_behind),
        cmocka_unit_test(test_forwarded),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_position_in_a_later_statement),
        cmocka_unit_test(test_warned),
        cmocka_unit_test(test_warnings_are_bounded),
        cmocka_unit_test(test_syntax_is_left_to_the_server),
        cmocka_unit_test(test_what_is_too_long),
        cmocka_unit_test(test_what_is_uncertain),
        cmocka_unit_test(test_observe_refuses_nothing),
        cmocka_unit_test(test_waiver),
        cmocka_unit_test(test_waiver_in_a_comment),
        cmocka_unit_test(test_standard_conforming_strings),
        cmocka_unit_test(test_words_in_the_clients_encoding),
        cmocka_unit_test(test_position_counts_characters_of_the_client),
        cmocka_unit_test(test_bytes_that_cannot_be_read),
        cmocka_unit_test(test_what_is_recorded),
        cmocka_unit_test(test_a_parse_is_recorded_only_when_refused),
        cmocka_unit_test(test_record_of_observe_waiver_and_reasons),
        cmocka_unit_test(test_passwords_are_not_recorded),
        cmocka_unit_test(test_audit_that_cannot_be_written),
        cmocka_unit_test(test_a_message_of_very_many_statements),
        cmocka_unit_test(test_bench),
        cmocka_unit_test(test_bench_is_bounded),
        cmocka_unit_test(test_long_texts_leave_a_thread),
        cmocka_unit_test(test_short_texts_let_a_long_one_pass),
        cmocka_unit_test(test_orphans_are_not_judged),
        cmocka_unit_test(test_an_orphan_is_judged_no_further),
        cmocka_unit_test(test_what_waits_for_the_catalog_is_small),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}

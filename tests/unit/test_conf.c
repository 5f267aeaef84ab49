/*
 * The loader: what a snapshot holds, defaults, units, and texts that are no configuration at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

static const char minimal[] = "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: h, port: 5432}\n";

static struct conf *load(const char *text, size_t length)
{
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load_text(text, length, NULL, &mistakes);
    for (size_t i = 0; i < mistakes.n; i++)
        print_error("%u:%u: %s\n", mistakes.items[i].line, mistakes.items[i].column, mistakes.items[i].text);
    conf_mistakes_free(&mistakes);
    assert_non_null(conf);
    return conf;
}

static void defaults(void **state)
{
    struct conf *conf = load(minimal, strlen(minimal));
    assert_string_equal(conf->path, "-");
    assert_int_equal(conf->threads, 0);
    assert_int_equal(conf->n_listen, 1);
    assert_string_equal(conf->listen[0].address, "127.0.0.1");
    assert_int_equal(conf->listen[0].port, 6432);
    assert_int_equal(conf->upstream.n_hosts, 1);
    assert_string_equal(conf->upstream.hosts[0].host, "h");
    assert_int_equal(conf->upstream.hosts[0].port, 5432);
    assert_int_equal(conf->upstream.target, TARGET_ANY);
    assert_int_equal(conf->upstream.connect_timeout, 5000);
    assert_int_equal(conf->upstream.check_interval, 2000);
    assert_null(conf->upstream.monitor);
    assert_int_equal(conf->tls_client.mode, TLS_DISABLE);
    assert_int_equal(conf->tls_upstream.mode, TLS_PREFER);
    assert_int_equal(conf->limits.sessions, 0); /* serve finds out how many can be had */
    assert_int_equal(conf->limits.sessions_per_user, 0);
    assert_int_equal(conf->limits.login_time, 60000);
    assert_int_equal(conf->limits.idle_time, 0);
    assert_int_equal(conf->limits.drain_time, 0);
    assert_int_equal(conf->limits.statement, 256 * 1024);
    assert_int_equal(conf->limits.held_message, 4 * 1024 * 1024);
    assert_int_equal(conf->limits.held_total, 256 * 1024 * 1024);
    assert_int_equal(conf->limits.buffer, 64 * 1024);
    assert_int_equal(conf->log.level, LOG_INFO);
    assert_int_equal(conf->log.format, LOG_TEXT);
    assert_null(conf->audit.path);
    assert_true(conf->audit.sync);
    assert_null(conf->admin.address);
    assert_int_equal(conf->online.stall_budget, 100);
    assert_int_equal(conf->policy.profile, PROFILE_STANDARD);
    assert_int_equal(conf->policy.small_table_rows, 10000);
    assert_int_equal(conf->policy.small_table_size, 8 * 1024 * 1024);
    assert_int_equal(conf->policy.n_overrides, 0);
    assert_int_equal(conf->policy.n_waiver_roles, 0);
    assert_true(conf->policy.waiver_require_reason);
    assert_string_equal(conf->environment, "");
    conf_unref(conf);
}

static void everything_outside_policy(const struct conf *conf)
{
    assert_int_equal(conf->n_listen, 3);
    assert_string_equal(conf->listen[1].address, "fe80::1%eth0");
    assert_string_equal(conf->listen[2].address, "/run/pgsluice");
    assert_int_equal(conf->upstream.n_hosts, 2);
    assert_string_equal(conf->upstream.hosts[1].host, "/var/run/postgresql");
    assert_int_equal(conf->upstream.hosts[1].port, 5433);
    assert_int_equal(conf->upstream.target, TARGET_PRIMARY);
    assert_int_equal(conf->upstream.connect_timeout, 500);
    assert_string_equal(conf->upstream.monitor, "postgresql://pgsluice@/postgres"); /* online.maintenance */
    assert_int_equal(conf->tls_client.mode, TLS_VERIFY_FULL);
    assert_string_equal(conf->tls_client.ca, "ca.crt");
    assert_int_equal(conf->tls_upstream.mode, TLS_REQUIRE);
    assert_int_equal(conf->online.wait, WAIT_ADDED);
    assert_int_equal(conf->online.wait_limit, 300000);
    assert_int_equal(conf->online.on_disconnect, DISCONNECT_UNDO);
    assert_int_equal(conf->online.stall_budget, 50);
    assert_int_equal(conf->online.lock_time, 10000);
    assert_int_equal(conf->online.batch_time, 5);
    assert_int_equal(conf->online.workers, 3);
    assert_true(conf->online.allow_superuser);
    assert_int_equal(conf->online.quarantine, QUARANTINE_WARN);
    assert_int_equal(conf->online.n_tables, 1);
    assert_int_equal(conf->online.tables[0].quarantine, QUARANTINE_ALLOW);
    assert_int_equal(conf->online.throttle.latency_percent, 150);
    assert_int_equal(conf->online.throttle.archive_backlog, 0);
    assert_false(conf->online.throttle.autovacuum);
    assert_int_equal(conf->limits.sessions, 20);
    assert_int_equal(conf->limits.drain_time, 120000);
    assert_int_equal(conf->limits.held_message, 8 << 20);
    assert_int_equal(conf->threads, 2);
    assert_int_equal(conf->log.level, LOG_DEBUG);
    assert_int_equal(conf->log.format, LOG_JSON);
    assert_true(conf->log.sessions);
    assert_string_equal(conf->log.trace, "user=app*,client=10.*");
    assert_string_equal(conf->audit.path, "/var/log/pgsluice/audit.jsonl");
    assert_false(conf->audit.sync);
    assert_string_equal(conf->admin.address, "::1");
    assert_int_equal(conf->admin.port, 9432);
    assert_string_equal(conf->environment, "production");
}

static void everything_in_policy(const struct conf_policy *policy)
{
    assert_int_equal(policy->profile, PROFILE_STRICT);
    assert_int_equal(policy->small_table_rows, 500);
    assert_int_equal(policy->small_table_size, 1 << 20);
    assert_true(policy->rules[RULE_unparseable].has_action);
    assert_int_equal(policy->rules[RULE_unparseable].action, ACTION_WARN);
    assert_int_equal(policy->rules[RULE_unparseable].line, 40);
    assert_int_equal(policy->rules[RULE_volatile_default].line, 42);
    assert_int_equal(policy->rules[RULE_drop_table].line, 0);
    assert_false(policy->rules[RULE_drop_table].has_action);
    const struct conf_rule *name = &policy->rules[RULE_column_name];
    assert_int_equal(name->action, ACTION_REJECT);
    assert_string_equal(name->pattern, "^[a-z][a-z0-9_]{0,62}$");
    assert_int_equal(regexec(name->regex, "order_id", 0, NULL, 0), 0);
    assert_int_equal(regexec(name->regex, "OrderId", 0, NULL, 0), REG_NOMATCH);
    assert_int_equal(policy->n_overrides, 2);
    const struct conf_override *first = &policy->overrides[0];
    assert_string_equal(first->database, "app*");
    assert_string_equal(first->table, "public.orders");
    assert_string_equal(first->role, "deploy");
    assert_string_equal(first->application, "*");
    assert_string_equal(first->environment, "production");
    assert_int_equal(first->line, 45);
    assert_int_equal(first->rules[RULE_create_index].action, ACTION_WARN);
    assert_false(first->rules[RULE_column_name].has_action);
    assert_non_null(first->rules[RULE_column_name].regex);
    assert_null(policy->overrides[1].database);
    assert_int_equal(policy->overrides[1].rules[RULE_volatile_default].action, ACTION_ALLOW);
    assert_int_equal(policy->n_waiver_roles, 2);
    assert_string_equal(policy->waiver_roles[1], "on call");
    assert_false(policy->waiver_require_reason);
}

static void everything(void **state)
{
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load(TEST_DATA "/unit/conf/everything.yaml", &mistakes);
    assert_non_null(conf);
    assert_string_equal(conf->path, TEST_DATA "/unit/conf/everything.yaml");
    everything_outside_policy(conf);
    everything_in_policy(&conf->policy);
    conf_mistakes_free(&mistakes);
    conf_unref(conf);
}

/* With a certificate, clients are offered TLS without a mode being said. */
static void client_mode(void **state)
{
    static const char text[] = "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: h, port: 5432}\n"
                               "tls: {client: {certificate: a, key: b}}\n";
    struct conf *conf = load(text, strlen(text));
    assert_int_equal(conf->tls_client.mode, TLS_PREFER);
    conf_unref(conf);
}

static void *take_and_give(void *argument)
{
    for (int i = 0; i < 20000; i++)
        conf_unref(conf_ref(argument));
    conf_unref(argument);
    return NULL;
}

static void references(void **state)
{
    struct conf *conf = load(minimal, strlen(minimal));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, conf_ref(conf)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(conf->n_listen, 1);
    conf_unref(conf);
    conf_unref(NULL);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t value; /* -1: refused */
    } rows[] = {
        {"100ms", 100},
        {"5s", 5000},
        {"2 min", 120000},
        {"1h", 3600000},
        {"1d", 86400000},
        {"0", 0},
        {"0s", 0},
        {"106751991167d", 9223372036828800000},
        {"007s", 7000},
        {"", -1},
        {"5", -1},
        {"s", -1},
        {" 5s", -1},
        {"5s ", -1},
        {"5S", -1},
        {"-5s", -1},
        {"+5s", -1},
        {"5us", -1},
        {"1.5s", -1},
        {"5ss", -1},
        {"5\ts", -1},
        {"0x5s", -1},
        {"5 ", -1},
        {"106751991168d", -1},
        {"18446744073709551616ms", -1},
        {"9223372036854775808ms", -1},
        {"99999999999999999999d", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t value = -1;
        bool fine = conf_duration(rows[i].text, &value);
        if (fine != (rows[i].value >= 0) || value != rows[i].value)
            fail_msg("%s: %s %lld", rows[i].text, fine ? "read as" : "refused", (long long)value);
    }
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        bool fine;
        uint64_t value;
    } rows[] = {
        {"8MB", true, 8 << 20},
        {"64kB", true, 65536},
        {"1GB", true, 1 << 30},
        {"512B", true, 512},
        {"2 TB", true, 2ULL << 40},
        {"0", true, 0},
        {"16777215TB", true, 16777215ULL << 40},
        {"8", false, 0},
        {"8mb", false, 0},
        {"8KB", false, 0},
        {"8M", false, 0},
        {"MB", false, 0},
        {"-1B", false, 0},
        {"16777216TB", false, 0},
        {"", false, 0},
        {"1.5GB", false, 0},
        {"8 MB ", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t value = 0;
        bool fine = conf_size(rows[i].text, &value);
        if (fine != rows[i].fine || value != rows[i].value)
            fail_msg("%s: %s %llu", rows[i].text, fine ? "read as" : "refused", (unsigned long long)value);
    }
}

#define TEXT(text) text, sizeof(text) - 1
#define REST       "upstream: {host: h, port: 5432}"

/* Texts that differ in their bytes; mistake NULL: fine. */
static const struct {
    const char *name, *text;
    size_t length;
    unsigned line, column;
    const char *mistake;
} bytes[] = {
    {"byte order mark", TEXT("\xef\xbb\xbflisten: [{address: '::1', port: 1}]\n" REST), 0, 0, NULL},
    {"DOS lines", TEXT("listen: [{address: '::1', port: 1}]\r\n" REST "\r\n"), 0, 0, NULL},
    {"old Mac lines", TEXT("listen: [{address: '::1', port: 1}]\r" REST "\r"), 0, 0, NULL},
    {"a mistake on a DOS line", TEXT("listen: [{address: '::1', port: 1}]\r\nx: 1\r\n" REST), 2, 1,
     "x: no such key"},
    {"a mistake behind other letters",
     TEXT("{environment: '\xc3\xa4\xe2\x82\xac', zz: 1, listen: [{address: '*', port: 1}], " REST "}"), 1, 21,
     "zz: no such key"},
    {"empty", TEXT(""), 1, 1, "nothing is configured; listen and upstream are needed"},
    {"white space", TEXT(" \n\n"), 1, 1, "nothing is configured; listen and upstream are needed"},
    {"only a mark", TEXT("\xef\xbb\xbf"), 1, 1, "nothing is configured; listen and upstream are needed"},
    {"NUL", TEXT("a: 1\nb: \0"), 2, 4, "a NUL byte; this is not a text file"},
    {"a control character", TEXT("a: \x1b[0m"), 1, 4, "the character U+001B cannot stand here"},
    {"UTF-16", TEXT("\xff\xfel\0"), 1, 1, "this is UTF-16; a configuration must be saved as UTF-8"},
    {"UTF-16, the other way", TEXT("\xfe\xff\0l"), 1, 1,
     "this is UTF-16; a configuration must be saved as UTF-8"},
    {"Latin-1", TEXT("# \xc3\xa4\nenvironment: b\xe4r\n"), 2, 15, "byte 0xe4 is not UTF-8"},
    {"overlong", TEXT("# \xc0\xaf"), 1, 3, "byte 0xc0 is not UTF-8"},
    {"overlong, three bytes", TEXT("# \xe0\x80\xaf"), 1, 3, "byte 0xe0 is not UTF-8"},
    {"a surrogate", TEXT("# \xed\xa0\x80"), 1, 3, "byte 0xed is not UTF-8"},
    {"beyond Unicode", TEXT("# \xf4\x90\x80\x80"), 1, 3, "byte 0xf4 is not UTF-8"},
    {"cut short", TEXT("# \xe2\x82"), 1, 3, "byte 0xe2 is not UTF-8"},
    {"U+FFFE", TEXT("a: \xef\xbf\xbe"), 1, 4, "the character U+FFFE cannot stand here"},
    {"a mark inside", TEXT("a: 1\n\xef\xbb\xbf"), 2, 1, "the character U+FEFF cannot stand here"},
    {"U+0080", TEXT("a: \xc2\x80"), 1, 4, "the character U+0080 cannot stand here"},
    {"other planes", TEXT("# \xf0\x9f\x90\x98\xc2\x85listen: [{address: '*', port: 1}]\n" REST), 0, 0, NULL},
};

static void odd_bytes(void **state)
{
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        struct conf_mistakes mistakes;
        struct conf *conf = conf_load_text(bytes[i].text, bytes[i].length, "odd", &mistakes);
        assert_true((conf != NULL) == (mistakes.n == 0));
        bool as_expected = (conf != NULL) == (bytes[i].mistake == NULL);
        if (bytes[i].mistake && mistakes.n > 0)
            as_expected = mistakes.items[0].line == bytes[i].line &&
                          mistakes.items[0].column == bytes[i].column &&
                          strcmp(mistakes.items[0].text, bytes[i].mistake) == 0;
        if (!as_expected) {
            print_error("%s\n", bytes[i].name);
            for (size_t k = 0; k < mistakes.n; k++)
                print_error("  %u:%u: %s\n", mistakes.items[k].line, mistakes.items[k].column,
                            mistakes.items[k].text);
        }
        conf_mistakes_free(&mistakes);
        conf_unref(conf);
        assert_true(as_expected);
    }
}

static void no_file(void **state)
{
    struct conf_mistakes mistakes;
    assert_null(conf_load(TEST_DATA "/unit/conf", &mistakes));
    assert_int_equal(mistakes.n, 1);
    assert_string_equal(mistakes.items[0].text, "cannot be read: it is a directory");
    conf_mistakes_free(&mistakes);
    assert_null(conf_load(TEST_DATA "/unit/conf/there_is_none", &mistakes));
    assert_int_equal(mistakes.n, 1);
    assert_string_equal(mistakes.items[0].text, "cannot be read: No such file or directory");
    assert_int_equal(mistakes.items[0].line, 1);
    assert_int_equal(mistakes.items[0].column, 1);
    conf_mistakes_free(&mistakes);
    assert_null(conf_load("/dev/zero", &mistakes));
    assert_int_equal(mistakes.n, 1);
    assert_string_equal(mistakes.items[0].text, "too large; a configuration has at most 1048576 bytes");
    conf_mistakes_free(&mistakes);
}

/* `head`, then `part` again and again up to the limit, then `tail`. */
static struct conf_mistakes flood(const char *head, const char *part, const char *tail)
{
    char *text = NULL;
    size_t length, step = strlen(part), most = (1 << 20) - strlen(tail);
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    fputs(head, out);
    for (size_t written = strlen(head); written + step <= most; written += step)
        fputs(part, out);
    fputs(tail, out);
    fclose(out);
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load_text(text, length, "flood", &mistakes);
    free(text);
    assert_true((conf != NULL) == (mistakes.n == 0));
    conf_unref(conf);
    return mistakes;
}

/* The greatest files of each kind end soon (the test's time limit is the judge) and in bounded lists. */
static void floods(void **state)
{
    static const struct {
        const char *head, *part, *tail;
        bool fine;
    } rows[] = {
        {"", "[", "", false},
        {"", "{a: ", "", false},
        {"", "- ", "", false},
        {"", "? ", "", false},
        {"", "a: 1\n", "", false},
        {"", "&a b: *a\n", "", false},
        {"listen: [", "&a x,", "]", false},
        {"listen: [", "1,", "]", false},
        {"listen: &a [{address: '::1', port: 1}]\npolicy: {waivers: {roles: [", "a,", "]}}", false},
        {"policy: {rules: {", "drop-table: warn,", "}}", false},
        {"policy: {rules: {column-name: {pattern: '", "(a?)", "'}}}", false},
        {"a: \"", "\\", "\"", false},
        {"a: |\n", " b\n", "", false},
        {"", "#\n", "", false},
        {minimal, "# nothing\n", "", true},
        {minimal, "\n", "environment: x\n", true},
        {"", "\xff", "", false},
        {"", "%Y\n", "", false},
        {"", "---\n", "", false},
        {"", "!a ", "", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf_mistakes mistakes = flood(rows[i].head, rows[i].part, rows[i].tail);
        if ((mistakes.n == 0) != rows[i].fine || mistakes.n > 1000)
            fail_msg("flood of %s: %zu mistakes", rows[i].part, mistakes.n);
        conf_mistakes_free(&mistakes);
    }
}

/* A thousand overrides that share one list of wrong rules: the list of mistakes stays bounded and says so. */
static void shared_mistakes(void **state)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    fputs(minimal, out);
    fputs("policy: {rules: &r {", out);
    for (int i = 0; i < 100; i++)
        fprintf(out, "no-such-%d: warn, ", i);
    fputs("}, overrides: [", out);
    for (int i = 0; i < 1000; i++)
        fputs("{when: {role: a}, rules: *r},", out);
    fputs("]}\n", out);
    fclose(out);
    struct conf_mistakes mistakes;
    assert_null(conf_load_text(text, length, "shared", &mistakes));
    free(text);
    assert_int_equal(mistakes.n, 1000);
    bool said = false;
    for (size_t i = 0; i < mistakes.n; i++)
        said = said || strstr(mistakes.items[i].text, "more than can be listed");
    assert_true(said);
    conf_mistakes_free(&mistakes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),        cmocka_unit_test(everything), cmocka_unit_test(client_mode),
        cmocka_unit_test(references),      cmocka_unit_test(durations),  cmocka_unit_test(sizes),
        cmocka_unit_test(odd_bytes),       cmocka_unit_test(no_file),    cmocka_unit_test(floods),
        cmocka_unit_test(shared_mistakes),
    };
    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}

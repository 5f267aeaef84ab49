/*
 * What a reload is said to change: two configurations, and the lines between them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

static const struct {
    const char *name, *before, *after; /* behind listen and upstream */
    const char *lines;
    size_t restart;
} rows[] = {
    {"nothing", "threads: 1", "# a comment\nthreads: 1\n", "", 0},
    {"number", "limits: {sessions: 100}", "limits: {sessions: 200}", "limits.sessions: 100 -> 200\n", 0},
    {"default", "", "limits: {login_time: 10s}", "limits.login_time: 1min -> 10s\n", 0},
    {"the default, said", "", "limits: {login_time: 60s, buffer: 64kB}\nlog: {level: info}", "", 0},
    {"size, word, bool", "", "limits: {buffer: 1MB}\nlog: {format: json, sessions: true}",
     "limits.buffer: 64kB -> 1MB\nlog.format: text -> json\nlog.sessions: false -> true\n", 0},
    {"restart", "", "threads: 4", "threads: 0 -> 4 (after a restart)\n", 1},
    {"text", "", "environment: \"a\\nb\"\naudit: {path: /a}",
     "audit.path: none -> /a\nenvironment: '' -> a\\x0ab\n", 0},
    {"a text like none", "", "tls: {client: {certificate: none, key: b}}",
     "tls.client.mode: disable -> prefer\ntls.client.certificate: none -> 'none'\ntls.client.key: none -> "
     "b\n",
     0},
    {"secret", "online: {maintenance: 'user=a password=secret1'}",
     "online: {maintenance: 'user=a password=secret2'}",
     "upstream.monitor: (not shown) -> (not shown)\nonline.maintenance: (not shown) -> (not shown)\n", 0},
    {"secret gone", "online: {maintenance: 'password=secret1'}", "",
     "upstream.monitor: (not shown) -> none\nonline.maintenance: (not shown) -> none\n", 0},
    {"rules", "policy: {rules: {drop-table: warn, column-name: {pattern: '^a'}}}",
     "policy: {profile: strict, unparseable: warn, rules: {column-name: {action: warn, pattern: '^b'}}}",
     "policy.profile: standard -> strict\n"
     "policy.rules.unparseable: as the profile says -> warn\n"
     "policy.rules.column-name: {pattern: ^a} -> {action: warn, pattern: ^b}\n"
     "policy.rules.drop-table: warn -> as the profile says\n",
     0},
    {"a rule that moved", "policy: {rules: {drop-table: warn}}",
     "policy:\n  rules:\n\n    drop-table: warn\n", "", 0},
    {"overrides", "policy: {overrides: [{when: {role: a}, rules: {drop-table: warn}}]}",
     "policy: {overrides: [{when: {role: b, table: t}, rules: {drop-table: warn, truncate: allow}}, "
     "{when: {role: c}, rules: {}}]}",
     "policy.overrides[0]: {when: {role: a}, rules: {drop-table: warn}} -> "
     "{when: {table: t, role: b}, rules: {drop-table: warn, truncate: allow}}\n"
     "policy.overrides[1]: none -> {when: {role: c}, rules: {}}\n",
     0},
    {"small table", "",
     "policy: {small_table: {rows: 5, size: 0}, waivers: {roles: [a, b], require_reason: false}}",
     "policy.small_table.rows: 10000 -> 5\npolicy.small_table.size: 8MB -> 0\n"
     "policy.waivers.roles: [] -> [a, b]\npolicy.waivers.require_reason: true -> false\n",
     0},
    {"admin", "", "admin: {address: '::1', port: 1}", "admin.address: none -> ::1\nadmin.port: 0 -> 1\n", 0},
};

static struct conf *load(const char *head, const char *text)
{
    char *whole = NULL;
    assert_true(asprintf(&whole, "%s\n%s\n", head, text) > 0);
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load_text(whole, strlen(whole), NULL, &mistakes);
    if (mistakes.n > 0)
        print_error("%s\n%s\n", whole, mistakes.items[0].text);
    free(whole);
    conf_mistakes_free(&mistakes);
    assert_non_null(conf);
    return conf;
}

static void compare(const char *name, struct conf *before, struct conf *after, const char *lines,
                    size_t restart)
{
    char *got = NULL;
    size_t size, restarts = 99, expected = 0;
    FILE *out = open_memstream(&got, &size);
    assert_non_null(out);
    size_t n = conf_diff(before, after, out, &restarts);
    fclose(out);
    for (const char *at = lines; *at; at++)
        expected += *at == '\n';
    bool fine = strcmp(got, lines) == 0 && n == expected && restarts == restart;
    if (!fine)
        print_error("%s: %zu lines, %zu for a restart\n%s--- expected\n%s", name, n, restarts, got, lines);
    free(got);
    conf_unref(before);
    conf_unref(after);
    assert_true(fine);
}

static void table(void **state)
{
    static const char head[] = "listen: [{address: '::1', port: 6432}]\nupstream: {host: h, port: 5432}";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        compare(rows[i].name, load(head, rows[i].before), load(head, rows[i].after), rows[i].lines,
                rows[i].restart);
}

static void addresses(void **state)
{
    compare("addresses",
            load("listen: [{address: '::1', port: 1}, {address: '::1', port: 2}]",
                 "upstream: {host: h, port: 5432}"),
            load("listen: [{address: '::1', port: 3}]",
                 "upstream: {hosts: [{host: h, port: 5432}, {host: i, port: 5}]}"),
            "listen[0]: {address: ::1, port: 1} -> {address: ::1, port: 3}\n"
            "listen[1]: {address: ::1, port: 2} -> none\n"
            "upstream.hosts[1]: none -> {host: i, port: 5}\n",
            0);
}

/* The restart count may be left out. */
static void no_count(void **state)
{
    struct conf *conf = load("listen: [{address: '::1', port: 1}]", "upstream: {host: h, port: 5432}");
    assert_int_equal(conf_diff(conf, conf, stdout, NULL), 0);
    conf_unref(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(addresses),
        cmocka_unit_test(no_count),
    };
    return cmocka_run_group_tests_name("conf diff", tests, NULL, NULL);
}

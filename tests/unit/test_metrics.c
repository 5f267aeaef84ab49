/*
 * The metrics as Prometheus reads them: an own strict reader of the text format checks every line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/observe/audit.h"
#include "proxy/observe/metrics.h"

/* ---- a reader of the format ------------------------------------------------------------------------- */

struct sample {
    char name[128], labels[128];
    double value;
};

struct family {
    char name[128], type[16];
};

static struct sample samples[512];
static struct family families[128];
static size_t n_samples, n_families;

static size_t name_length(const char *text)
{
    size_t n = 0;
    while (isalpha((unsigned char)text[n]) || text[n] == '_' || text[n] == ':' ||
           (n && isdigit((unsigned char)text[n])))
        n++;
    return n;
}

static void read_comment(const char *line)
{
    bool help = strncmp(line, "# HELP ", 7) == 0;
    if (!help && strncmp(line, "# TYPE ", 7) != 0)
        fail_msg("neither HELP nor TYPE: %s", line);
    size_t n = name_length(line + 7);
    assert_true(n > 0 && n < 128 && line[7 + n] == ' ');
    assert_true(line[7 + n + 1] != '\0');
    char name[128] = "";
    memcpy(name, line + 7, n);
    if (help) {
        for (size_t i = 0; i < n_families; i++)
            assert_string_not_equal(families[i].name, name);
        strcpy(families[n_families++].name, name);
        return;
    }
    /* TYPE comes right behind the HELP of the same family, and names a type that exists */
    assert_string_equal(families[n_families - 1].name, name);
    const char *type = line + 7 + n + 1;
    assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || strcmp(type, "histogram") == 0);
    strcpy(families[n_families - 1].type, type);
}

/* name="value",… ; returns what is behind the closing brace. */
static const char *read_labels(const char *at, char *labels)
{
    const char *start = at;
    while (*at != '}') {
        size_t n = name_length(at);
        assert_true(n > 0 && at[n] == '=' && at[n + 1] == '"');
        for (at += n + 2; *at != '"'; at++) {
            assert_true(*at != '\0');
            if (*at == '\\')
                assert_non_null(strchr("\\\"n", *++at));
        }
        at++;
        assert_true(*at == ',' || *at == '}');
        at += *at == ',';
    }
    memcpy(labels, start, (size_t)(at - start));
    labels[at - start] = '\0';
    return at + 1;
}

static void read_sample(const char *line)
{
    struct sample *sample = &samples[n_samples++];
    *sample = (struct sample){.name = ""};
    size_t n = name_length(line);
    if (n == 0)
        fail_msg("no name: %s", line);
    memcpy(sample->name, line, n);
    const char *at = line + n;
    if (*at == '{')
        at = read_labels(at + 1, sample->labels);
    assert_true(*at == ' ');
    char *end;
    sample->value = strtod(at + 1, &end);
    if (end == at + 1 || *end)
        fail_msg("no value: %s", line);
    const struct family *family = &families[n_families - 1];
    size_t base = strlen(family->name);
    assert_memory_equal(sample->name, family->name, base);
    if (strcmp(family->type, "histogram") == 0)
        assert_true(strcmp(sample->name + base, "_bucket") == 0 || strcmp(sample->name + base, "_sum") == 0 ||
                    strcmp(sample->name + base, "_count") == 0);
    else
        assert_string_equal(sample->name, family->name);
    if (strcmp(family->type, "counter") == 0)
        assert_true(base > 6 && strcmp(family->name + base - 6, "_total") == 0);
    assert_memory_equal(family->name, "pgsluice_", 9);
    for (size_t i = 0; i + 1 < n_samples; i++)
        assert_false(strcmp(samples[i].name, sample->name) == 0 &&
                     strcmp(samples[i].labels, sample->labels) == 0);
}

static void render(void)
{
    size_t length;
    char *text = metrics_render(&length), *line = text, *end;
    assert_non_null(text);
    assert_int_equal(strlen(text), length);
    assert_int_equal(text[length - 1], '\n');
    n_samples = n_families = 0;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        if (*line == '#')
            read_comment(line);
        else
            read_sample(line);
        line = end + 1;
    }
    free(text);
}

static double value_of(const char *name, const char *labels)
{
    for (size_t i = 0; i < n_samples; i++)
        if (strcmp(samples[i].name, name) == 0 && strcmp(samples[i].labels, labels) == 0)
            return samples[i].value;
    fail_msg("no sample %s{%s}", name, labels);
    return 0;
}

/* ---- the tests -------------------------------------------------------------------------------------- */

static struct metrics one, two;

static void test_sums(void **state)
{
    metrics_register(&one);
    metrics_register(&two);
    metric_add(&one, METRIC_sessions, 3);
    metric_sub(&two, METRIC_sessions, 1); /* opened on one loop, closed on another */
    metric_add(&one, METRIC_client_bytes_total, 1ULL << 40);
    render();
    assert_true(value_of("pgsluice_sessions", "") == 2);
    assert_true(value_of("pgsluice_client_bytes_total", "") == 1099511627776.0);
    metric_sub(&one, METRIC_sessions, 3); /* caught in between: never a huge number */
    render();
    assert_true(value_of("pgsluice_sessions", "") == 0);
    metric_add(&one, METRIC_sessions, 3);
}

static void test_verdicts_and_rules(void **state)
{
    const uint8_t rules[] = {RULE_volatile_default, RULE_column_name};
    metrics_judged(&one, 1000, ACTION_REJECT, rules, 2);
    metrics_judged(&two, 1000, ACTION_REJECT, rules, 1);
    metrics_judged(&two, 1000, ACTION_ALLOW, NULL, 0);
    render();
    assert_true(value_of("pgsluice_verdicts_total", "verdict=\"reject\"") == 2);
    assert_true(value_of("pgsluice_verdicts_total", "verdict=\"allow\"") == 1);
    assert_true(value_of("pgsluice_verdicts_total", "verdict=\"warn\"") == 0);
    assert_true(value_of("pgsluice_rules_total", "rule=\"volatile-default\"") == 2);
    assert_true(value_of("pgsluice_rules_total", "rule=\"column-name\"") == 1);
    assert_true(value_of("pgsluice_rules_total", "rule=\"truncate\"") == 0);
}

static void test_histogram(void **state)
{
    static struct metrics fresh;
    metrics_register(&fresh);
    render();
    double before_small = value_of("pgsluice_judge_seconds_bucket", "le=\"5e-05\"");
    double before_all = value_of("pgsluice_judge_seconds_count", "");
    double before_sum = value_of("pgsluice_judge_seconds_sum", "");
    metrics_judge_time(&fresh, 50000);        /* 50 µs: in the first */
    metrics_judge_time(&fresh, 50001);        /* in the second */
    metrics_judge_time(&fresh, 100000000000); /* in the last */
    render();
    assert_true(value_of("pgsluice_judge_seconds_bucket", "le=\"5e-05\"") == before_small + 1);
    assert_true(value_of("pgsluice_judge_seconds_bucket", "le=\"0.0001\"") == before_small + 2);
    assert_true(value_of("pgsluice_judge_seconds_bucket", "le=\"+Inf\"") == before_all + 3);
    assert_true(value_of("pgsluice_judge_seconds_count", "") == before_all + 3);
    assert_true(fabs(value_of("pgsluice_judge_seconds_sum", "") - before_sum - 100.000100001) < 1e-6);
    double last = 0, bound = 0;
    unsigned buckets = 0;
    for (size_t i = 0; i < n_samples; i++) {
        if (strcmp(samples[i].name, "pgsluice_judge_seconds_bucket") != 0)
            continue;
        double le = strtod(samples[i].labels + 4, NULL); /* le="…; "+Inf" too */
        assert_true(samples[i].value >= last && le > bound);
        last = samples[i].value;
        bound = le;
        buckets++;
    }
    assert_int_equal(buckets, METRICS_BUCKETS);
    assert_true(isinf(bound));
}

static void test_process(void **state)
{
    render();
    double started = value_of("pgsluice_process_start_time_seconds", "");
    assert_true(fabs(started - (double)time(NULL)) < 60);
    assert_true(value_of("pgsluice_process_resident_memory_bytes", "") > 100000);
    double before = value_of("pgsluice_process_open_fds", "");
    int fd = dup(0);
    render();
    assert_true(value_of("pgsluice_process_open_fds", "") == before + 1);
    close(fd);
    assert_true(value_of("pgsluice_build_info", "version=\"" PGSLUICE_VERSION "\"") == 1);
}

static void test_audit(void **state)
{
    char path[] = "/tmp/pgsluice-metrics-XXXXXX", error[256];
    close(mkstemp(path));
    struct audit *audit = audit_open(path, true, error, sizeof error);
    assert_non_null(audit);
    uint64_t number = audit_decided(audit, &(struct audit_decided){.verdict = "allow"});
    assert_true(audit_wait(audit, number));
    metrics_audit(audit);
    render();
    assert_true(value_of("pgsluice_audit_up", "") == 1);
    assert_true(value_of("pgsluice_audit_records_total", "") == 1);
    assert_true(value_of("pgsluice_audit_failures_total", "") == 0);
    metrics_audit(NULL);
    audit_close(audit);
    unlink(path);
    render();
    for (size_t i = 0; i < n_samples; i++)
        assert_null(strstr(samples[i].name, "audit"));
}

static void *count_up(void *argument)
{
    for (int i = 0; i < 100000; i++)
        metric_add(argument, METRIC_statements_total, 1);
    return NULL;
}

static void test_rendering_beside_counting(void **state)
{
    static struct metrics busy[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        metrics_register(&busy[i]);
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &busy[i]), 0);
    }
    double last = 0;
    for (int i = 0; i < 20; i++) {
        render();
        assert_true(value_of("pgsluice_statements_total", "") >= last);
        last = value_of("pgsluice_statements_total", "");
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    render();
    assert_true(value_of("pgsluice_statements_total", "") == 200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_verdicts_and_rules),
        cmocka_unit_test(test_histogram), cmocka_unit_test(test_process),
        cmocka_unit_test(test_audit),     cmocka_unit_test(test_rendering_beside_counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Adding up what the loops and judges counted, and rendering it in Prometheus' text format (version 0.0.4).
 *
 * Rows without labels come from metrics.def; the rest is here, one function a metric. A family's HELP and
 * TYPE come once, in front of all its samples.
 */
#include "proxy/observe/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/observe/audit.h"
#include "proxy/observe/line.h"

/* A gauge may be counted up on one loop and down on another: the sum is right, each alone may be "negative".
 */
static const struct {
    const char *name, *type, *help;
} rows[METRIC_COUNT] = {
#define METRIC(id, name, type, help) {name, type, help},
#include "proxy/observe/metrics.def"
#undef METRIC
};

static const uint64_t first_bucket = 50000; /* nanoseconds */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metrics *all;
static struct audit *audit;

void metrics_register(struct metrics *metrics)
{
    pthread_mutex_lock(&lock);
    metrics->next = all;
    all = metrics;
    pthread_mutex_unlock(&lock);
}

void metrics_audit(struct audit *the_audit)
{
    pthread_mutex_lock(&lock);
    audit = the_audit;
    pthread_mutex_unlock(&lock);
}

/* Only the owner writes, so a load and a store are enough. */
static void add(_Atomic uint64_t *value, uint64_t n)
{
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

static uint64_t load(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

void metrics_judge_time(struct metrics *metrics, uint64_t nanoseconds)
{
    unsigned bucket = 0;
    while (bucket < METRICS_BUCKETS - 1 && nanoseconds > first_bucket << bucket)
        bucket++;
    add(&metrics->judge_bucket[bucket], 1);
    add(&metrics->judge_nanoseconds, nanoseconds);
    add(&metrics->judge_count, 1);
}

void metrics_judged(struct metrics *metrics, uint64_t nanoseconds, enum action action, const uint8_t *rules,
                    size_t n_rules)
{
    metrics_judge_time(metrics, nanoseconds);
    add(&metrics->verdicts[action], 1);
    for (size_t i = 0; i < n_rules; i++)
        add(&metrics->rules[rules[i]], 1);
}

/* ---- rendering -------------------------------------------------------------------------------------- */

struct sums {
    uint64_t value[METRIC_COUNT], verdicts[ACTION_COUNT], rules[RULE_COUNT], bucket[METRICS_BUCKETS];
    uint64_t nanoseconds;
};

static void sum(struct sums *sums, const struct metrics *metrics)
{
    for (int i = 0; i < METRIC_COUNT; i++)
        sums->value[i] += load(&metrics->value[i]);
    for (int i = 0; i < ACTION_COUNT; i++)
        sums->verdicts[i] += load(&metrics->verdicts[i]);
    for (int i = 0; i < RULE_COUNT; i++)
        sums->rules[i] += load(&metrics->rules[i]);
    for (int i = 0; i < METRICS_BUCKETS; i++)
        sums->bucket[i] += load(&metrics->judge_bucket[i]);
    sums->nanoseconds += load(&metrics->judge_nanoseconds);
}

/* HELP texts escape backslash and newline, label values the double quote as well. */
static void put_escaped(struct line *line, const char *text, bool label)
{
    for (; *text; text++) {
        if (*text == '\n')
            line_text(line, "\\n");
        else if (*text == '\\' || (label && *text == '"'))
            line_put(line, (char[]){'\\', *text}, 2);
        else
            line_put(line, text, 1);
    }
}

static void family(struct line *line, const char *name, const char *type, const char *help)
{
    line_printf(line, "# HELP %s ", name);
    put_escaped(line, help, false);
    line_printf(line, "\n# TYPE %s %s\n", name, type);
}

static void single(struct line *line, const char *name, const char *type, const char *help, double value)
{
    family(line, name, type, help);
    line_printf(line, "%s %.17g\n", name, value);
}

static void labelled(struct line *line, const char *name, const char *label, const char *text, uint64_t value)
{
    line_printf(line, "%s{%s=\"", name, label);
    put_escaped(line, text, true);
    line_printf(line, "\"} %" PRIu64 "\n", value);
}

static void put_rows(struct line *line, const struct sums *sums)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        family(line, rows[i].name, rows[i].type, rows[i].help);
        /* gauges of several loops are read one after the other: a sum may be caught below zero */
        int64_t value = (int64_t)sums->value[i];
        bool gauge = strcmp(rows[i].type, "gauge") == 0;
        if (i == METRIC_question_seconds_total || i == METRIC_change_pause_seconds_total) /* in nanoseconds */
            line_printf(line, "%s %.9f\n", rows[i].name, (double)value / 1e9);
        else
            line_printf(line, "%s %" PRIu64 "\n", rows[i].name, gauge && value < 0 ? 0 : (uint64_t)value);
    }
}

static void put_verdicts(struct line *line, const struct sums *sums)
{
    family(line, "pgsluice_verdicts_total", "counter",
           "Judged statements by verdict: what was done, so under observe nothing but allow.");
    for (int i = 0; i < ACTION_COUNT; i++)
        labelled(line, "pgsluice_verdicts_total", "verdict", action_name((enum action)i), sums->verdicts[i]);
    family(line, "pgsluice_rules_total", "counter", "Judged statements in which a rule matched, by rule.");
    for (int i = 0; i < RULE_COUNT; i++)
        if (rule_available((enum rule)i))
            labelled(line, "pgsluice_rules_total", "rule", rule_name((enum rule)i), sums->rules[i]);
}

/* The count is the sum of the buckets that were read, so that it always equals the last one. */
static void put_judge_time(struct line *line, const struct sums *sums)
{
    static const char name[] = "pgsluice_judge_seconds";
    uint64_t count = 0;
    family(line, name, "histogram", "Time to read and judge one statement, without the audit.");
    for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
        char bound[32] = "+Inf";
        if (i < METRICS_BUCKETS - 1)
            snprintf(bound, sizeof bound, "%g", (double)(first_bucket << i) / 1e9);
        count += sums->bucket[i];
        line_printf(line, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, bound, count);
    }
    line_printf(line, "%s_sum %.9f\n%s_count %" PRIu64 "\n", name, (double)sums->nanoseconds / 1e9, name,
                count);
}

static void put_audit(struct line *line, struct audit *source)
{
    struct audit_state state;
    if (!source)
        return;
    audit_state(source, &state);
    single(line, "pgsluice_audit_up", "gauge",
           "1 while the audit log can be written; while 0, DDL is refused.", state.working);
    single(line, "pgsluice_audit_records_total", "counter", "Records written since the start.",
           (double)state.records);
    single(line, "pgsluice_audit_failures_total", "counter", "Failed attempts to write the audit log.",
           (double)state.failures);
    single(line, "pgsluice_audit_queued_records", "gauge", "Records that wait to be written.",
           (double)state.queued);
}

static long count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (!directory)
        return -1;
    long n = -3;               /* ".", ".." and the directory's own */
    while (readdir(directory)) // NOLINT(concurrency-mt-unsafe): a stream of our own
        n++;
    closedir(directory);
    return n;
}

static double boot_time(void)
{
    struct timespec now, since_boot;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &since_boot);
    return (double)(now.tv_sec - since_boot.tv_sec) + (double)(now.tv_nsec - since_boot.tv_nsec) / 1e9;
}

/* proc(5): field 22 of stat is the start in clock ticks since boot, field 24 the resident pages. */
static void put_process(struct line *line)
{
    char text[1024];
    FILE *in = fopen("/proc/self/stat", "re");
    size_t n = in ? fread(text, 1, sizeof text - 1, in) : 0;
    if (in)
        fclose(in);
    text[n] = '\0';
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long long start = 0;
    long pages = 0;
    for (int field = 2; at && field < 24; field++) {
        at = strchr(at + 1, ' ');
        if (at && field + 1 == 22)
            start = strtoull(at, NULL, 10);
        if (at && field + 1 == 24)
            pages = strtol(at, NULL, 10);
    }
    if (at) {
        single(line, "pgsluice_process_start_time_seconds", "gauge", "Start of the process, since the epoch.",
               floor((boot_time() + (double)start / (double)sysconf(_SC_CLK_TCK)) * 10 + 0.5) / 10);
        single(line, "pgsluice_process_resident_memory_bytes", "gauge", "Memory in use.",
               (double)pages * (double)sysconf(_SC_PAGESIZE));
    }
    long descriptors = count_descriptors();
    if (descriptors >= 0)
        single(line, "pgsluice_process_open_fds", "gauge", "Open file descriptors.", (double)descriptors);
}

char *metrics_render(size_t *length)
{
    struct sums sums = {0};
    struct line line;
    line_growing(&line);
    pthread_mutex_lock(&lock);
    for (const struct metrics *metrics = all; metrics; metrics = metrics->next)
        sum(&sums, metrics);
    put_audit(&line, audit);
    pthread_mutex_unlock(&lock);
    put_rows(&line, &sums);
    put_verdicts(&line, &sums);
    put_judge_time(&line, &sums);
    put_process(&line);
    family(&line, "pgsluice_build_info", "gauge", "Always 1; the version is in the label.");
    labelled(&line, "pgsluice_build_info", "version", PGSLUICE_VERSION, 1);
    line_put(&line, "", 1); /* the NUL */
    if (line.full) {
        line_release(&line);
        return NULL;
    }
    *length = line.length - 1;
    return line.bytes;
}

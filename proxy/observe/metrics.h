/*
 * Metrics. Each loop and each judge owns a struct metrics and is the only writer of it (relaxed atomic
 * stores, no lock, no shared cache line); the scrape adds them all up. Rows are in metrics.def.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_METRICS_H
#define PGSLUICE_PROXY_OBSERVE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

enum metric {
#define METRIC(id, name, type, help) METRIC_##id,
#include "proxy/observe/metrics.def"
#undef METRIC
    METRIC_COUNT
};

#define METRICS_BUCKETS 12 /* judgement time: 50 µs doubling, the last is +Inf */

struct metrics {
    _Alignas(64) _Atomic uint64_t value[METRIC_COUNT];
    _Atomic uint64_t verdicts[ACTION_COUNT];
    _Atomic uint64_t rules[RULE_COUNT];
    _Atomic uint64_t judge_bucket[METRICS_BUCKETS];
    _Atomic uint64_t judge_count, judge_nanoseconds;
    struct metrics *next; /* list of all, kept by metrics_register */
};

void metrics_register(struct metrics *); /* zeroed by the caller; lives until the process ends */

static inline void metric_add(struct metrics *metrics, enum metric metric, uint64_t n)
{
    _Atomic uint64_t *value = &metrics->value[metric];
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void metric_sub(struct metrics *metrics, enum metric metric, uint64_t n)
{
    metric_add(metrics, metric, (uint64_t)0 - n);
}

/* One statement was judged; the judges call this, nobody else. */
void metrics_judge_time(struct metrics *, uint64_t nanoseconds);
void metrics_judged(struct metrics *, uint64_t nanoseconds, enum action, const uint8_t *rules,
                    size_t n_rules);

struct audit;
void metrics_audit(
    struct audit *); /* whose state is rendered too; NULL: none. It must outlive every rendering */

/* The Prometheus text format (version 0.0.4); malloc'ed, *length without the terminating NUL. */
char *metrics_render(size_t *length);

#endif

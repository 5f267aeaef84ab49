#include "proxy/change/latency.h"

#include <math.h>

static const double first = 0.05, growth = 1.25;

void latency_add(struct latency *latency, double milliseconds)
{
    double bucket = milliseconds > first ? log(milliseconds / first) / log(growth) : 0;
    size_t i = bucket < LATENCY_BUCKETS - 1 ? (size_t)bucket : LATENCY_BUCKETS - 1;
    atomic_fetch_add_explicit(&latency->count[i], 1, memory_order_relaxed);
}

void latency_now(struct latency *latency, struct latency_moment *moment)
{
    for (size_t i = 0; i < LATENCY_BUCKETS; i++)
        moment->count[i] = atomic_load_explicit(&latency->count[i], memory_order_relaxed);
}

uint64_t latency_between(const struct latency_moment *before, struct latency_moment *after)
{
    uint64_t all = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        after->count[i] -= before->count[i];
        all += after->count[i];
    }
    return all;
}

double latency_quantile(const struct latency_moment *moment, double share)
{
    double all = 0, seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++)
        all += (double)moment->count[i];
    for (size_t i = 0; i < LATENCY_BUCKETS && all > 0; i++) {
        double here = (double)moment->count[i];
        if (here > 0 && seen + here >= share * all) {
            /* within the bucket as if spread evenly: else a step of a quarter would look like a slowdown */
            double inside = (share * all - seen) / here;
            return first * pow(growth, (double)i + (inside > 0 ? inside : 0));
        }
        seen += here;
    }
    return 0;
}

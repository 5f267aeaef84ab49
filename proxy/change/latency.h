/*
 * How long the application's requests take, counted by all loops without a lock: a histogram whose buckets
 * grow by a quarter, from 50 µs to some minutes. A reader takes the difference of two moments.
 */
#ifndef PGSLUICE_PROXY_CHANGE_LATENCY_H
#define PGSLUICE_PROXY_CHANGE_LATENCY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { LATENCY_BUCKETS = 72 };

struct latency {
    _Atomic uint64_t count[LATENCY_BUCKETS];
};

struct latency_moment {
    uint64_t count[LATENCY_BUCKETS];
};

void latency_add(struct latency *, double milliseconds);
void latency_now(struct latency *, struct latency_moment *);
/* What came between the two; in `after`. Returns how many requests. */
uint64_t latency_between(const struct latency_moment *before, struct latency_moment *after);
/* The milliseconds that a share of the requests stayed below; 0 with none. */
double latency_quantile(const struct latency_moment *, double share);

#endif

/*
 * When a fill makes a pause, and for how long. Two means: a share of the time that batches may take, which
 * follows the application's latency as TCP follows loss (a step up, a factor down) and leaves room to an
 * autovacuum of the table; and full stops while a standby lags or the archive has a backlog.
 */
#ifndef PGSLUICE_PROXY_CHANGE_THROTTLE_H
#define PGSLUICE_PROXY_CHANGE_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/change/latency.h"

struct work;

struct throttle {
    double share;               /* of wall time, for batches */
    struct latency_moment base; /* the application's latency without us */
    uint64_t base_n;
    double base_at;
    struct latency_moment window; /* what was counted when this window began */
    double window_at;
    double now, allowed; /* milliseconds, of the last window */
    double load_at;      /* when the server was asked last */
    double commits_at, commits;
    uint64_t ours; /* transactions of our own since then */
    double others; /* transactions a second that are not ours, a moving average */
    bool crowded;  /* others use the database */
    bool vacuum;   /* autovacuum works on the table */
    bool slowed;   /* the share is small because of latency */
    char why[300]; /* the reason of the pause, or "" */
};

void throttle_begin(struct work *);
/* Between two batches; the first one took `seconds`. An enum step. */
int throttle_pause(struct work *, uint32_t leaf, double seconds);

#endif

/*
 * See throttle.h. The numbers: while others use the database, half of the time to begin with, nearly all of
 * it where they don't notice, never less than three tenths: people wait for the end, and until then there are
 * two versions of each row that was filled. Alone in the database: all of it. Autovacuum at work on the table
 * gets a quarter at least, and no full stop: it may be at it for hours, and what fills gives it work.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/change/work.h"

static const double share_first = 0.8, share_most = 0.95, share_least = 0.5, share_vacuum = 0.75;
static const double share_suffering = 0.1, suffering = 2; /* times what is allowed */
static const double share_step = 0.03, share_factor = 0.75;
static const double window_length = 0.3, base_length = 0.5, base_age = 30, load_every = 1;
static const double noise = 1;       /* milliseconds that nobody would notice */
static const double quantile = 0.95; /* the 99th of what comes in such a window is but chance */
static const double crowd = 20;      /* transactions of others a second */
enum { WINDOW_LEAST = 30, BASE_LEAST = 50 };

/* ---- sleeping ------------------------------------------------------------------------------------------ */

/* False: we are told to let go. */
static bool doze(struct work *work, double seconds)
{
    double until = clock_seconds() + seconds, left;
    while (!work_told(work) && (left = until - clock_seconds()) > 0) {
        struct pollfd fd = {.fd = work->job->wake, .events = POLLIN};
        struct timespec time = {.tv_sec = (time_t)left,
                                .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
        uint64_t count;
        if (ppoll(&fd, 1, &time, NULL) > 0 && read(fd.fd, &count, sizeof count) < 0)
            break;
    }
    atomic_fetch_add_explicit(&work->job->changes->paused_ms, (uint64_t)(seconds * 1000),
                              memory_order_relaxed);
    return !work_told(work);
}

/* ---- the application's latency ------------------------------------------------------------------------- */

static void window_begin(struct work *work)
{
    latency_now(&work->job->changes->latency, &work->throttle.window);
    work->throttle.window_at = clock_seconds();
}

static uint64_t window_so_far(struct work *work, struct latency_moment *moment)
{
    latency_now(&work->job->changes->latency, moment);
    return latency_between(&work->throttle.window, moment);
}

/* A moment without us, from time to time: what the application's latency is by itself. */
static void measure_base(struct work *work, double seconds)
{
    struct throttle *throttle = &work->throttle;
    struct latency_moment moment;
    window_begin(work);
    doze(work, seconds);
    uint64_t n = window_so_far(work, &moment);
    if (n >= BASE_LEAST) { /* the last ones count too: half a second says little of the slowest requests */
        for (size_t i = 0; i < LATENCY_BUCKETS; i++)
            throttle->base.count[i] = throttle->base.count[i] / 2 + moment.count[i];
        throttle->base_n = throttle->base_n / 2 + n;
    }
    throttle->base_at = clock_seconds();
    window_begin(work);
}

void throttle_begin(struct work *work)
{
    struct throttle *throttle = &work->throttle;
    struct latency_moment moment;
    *throttle = (struct throttle){.share = share_first};
    window_begin(work);
    if (!work->online->throttle.latency_percent)
        return;
    doze(work, 0.05);
    if (window_so_far(work, &moment) > 0)
        measure_base(work, base_length);
}

static void follow_latency(struct work *work)
{
    struct throttle *throttle = &work->throttle;
    struct latency_moment moment;
    double now = clock_seconds();
    if (now - throttle->window_at < window_length)
        return;
    uint64_t n = window_so_far(work, &moment);
    if (n < WINDOW_LEAST) {
        if (now - throttle->window_at > 10 * window_length) {
            window_begin(work); /* nobody there: nothing to be slowed down */
            throttle->base_n = 0;
        }
        return;
    }
    window_begin(work);
    throttle->crowded = true;
    if (!throttle->base_n || now - throttle->base_at > base_age) {
        measure_base(work, base_length);
        return;
    }
    double here = latency_quantile(&moment, quantile);
    throttle->now = throttle->now > 0 ? (throttle->now + here) / 2 : here;
    throttle->allowed =
        latency_quantile(&throttle->base, quantile) * work->online->throttle.latency_percent / 100 + noise;
    throttle->share =
        throttle->now > throttle->allowed ? throttle->share * share_factor : throttle->share + share_step;
    double least = throttle->now > suffering * throttle->allowed ? share_suffering : share_least;
    if (throttle->share < least)
        throttle->share = least;
    if (throttle->share > share_most)
        throttle->share = share_most;
    throttle->slowed = throttle->share < share_first;
}

/* ---- the server's load --------------------------------------------------------------------------------- */

/* False: work->link.failed. */
static bool look_at_load(struct work *work, uint32_t leaf)
{
    const struct conf_throttle *conf = &work->online->throttle;
    struct throttle *throttle = &work->throttle;
    PGresult *result = work_ask(work,
                                "SELECT l.lag_ms, l.archive_backlog, l.autovacuum, "
                                "pg_stat_get_db_xact_commit(d.oid) FROM pgsluice.load(%u) l, pg_database d "
                                "WHERE d.datname = current_database()",
                                leaf);
    if (!result)
        return false;
    double lag = strtod(link_value(result, 0, 0), NULL), backlog = strtod(link_value(result, 0, 1), NULL);
    bool vacuum = link_value(result, 0, 2)[0] == 't';
    double commits = strtod(link_value(result, 0, 3), NULL), now = clock_seconds();
    PQclear(result);
    if (throttle->commits_at > 0)
        throttle->others =
            0.6 * throttle->others +
            0.4 * (commits - throttle->commits - (double)throttle->ours) / (now - throttle->commits_at);
    throttle->crowded = throttle->others > crowd;
    throttle->commits = commits;
    throttle->commits_at = throttle->load_at = now;
    throttle->ours = 0;
    throttle->why[0] = '\0';
    if (conf->replication_lag && lag > (double)conf->replication_lag)
        snprintf(throttle->why, sizeof throttle->why,
                 "a standby is %.1f s behind (online.throttle.replication_lag is %.1f s)", lag / 1000,
                 (double)conf->replication_lag / 1000);
    else if (conf->archive_backlog && backlog > conf->archive_backlog)
        snprintf(throttle->why, sizeof throttle->why,
                 "%.0f WAL segments wait to be archived (online.throttle.archive_backlog is %u)", backlog,
                 conf->archive_backlog);
    throttle->vacuum = conf->autovacuum && vacuum;
    return true;
}

static bool watches_load(const struct work *work)
{
    const struct conf_throttle *conf = &work->online->throttle;
    return conf->replication_lag || conf->archive_backlog || conf->autovacuum || conf->latency_percent;
}

/* ---- between two batches ------------------------------------------------------------------------------- */

static enum step stop_while_loaded(struct work *work, uint32_t leaf)
{
    struct throttle *throttle = &work->throttle;
    bool stopped = false;
    if (!watches_load(work) || clock_seconds() - throttle->load_at < load_every)
        return STEP_DONE;
    for (;;) {
        if (!look_at_load(work, leaf))
            return work_failed(work);
        if (!throttle->why[0])
            break;
        stopped = true;
        enum step step = work_checkpoint(work, throttle->why);
        if (step != STEP_DONE)
            return step;
        if (!doze(work, load_every))
            return STEP_LEAVE;
    }
    if (stopped)
        window_begin(work); /* what was counted meanwhile says nothing of us */
    return stopped ? work_checkpoint(work, NULL) : STEP_DONE;
}

static double share_now(const struct throttle *throttle, const struct conf_throttle *conf)
{
    double share = throttle->crowded && conf->latency_percent ? throttle->share : 1;
    return throttle->vacuum && share > share_vacuum ? share_vacuum : share;
}

int throttle_pause(struct work *work, uint32_t leaf, double seconds)
{
    struct throttle *throttle = &work->throttle;
    const struct conf_throttle *conf = &work->online->throttle;
    throttle->ours++;
    enum step step = stop_while_loaded(work, leaf);
    if (step != STEP_DONE)
        return (int)step;
    if (conf->latency_percent)
        follow_latency(work);
    double share = share_now(throttle, conf);
    throttle->why[0] = '\0';
    if (conf->latency_percent && throttle->slowed)
        snprintf(
            throttle->why, sizeof throttle->why,
            "the application's latency is %.1f ms and should not be above %.1f ms, so it works %.0f%% of the "
            "time",
            throttle->now, throttle->allowed, share * 100);
    else if (throttle->vacuum)
        snprintf(throttle->why, sizeof throttle->why,
                 "autovacuum works on the table, so it works at most %.0f%% of the time", share_vacuum * 100);
    if (share >= 1)
        return work_told(work) ? STEP_LEAVE : STEP_DONE;
    return doze(work, seconds * (1 - share) / share) ? STEP_DONE : STEP_LEAVE;
}

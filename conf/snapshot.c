/*
 * A snapshot's life: made with its defaults, counted, freed as one talloc tree when the last reference goes.
 * Trees of different snapshots share nothing, so the last reference may be given up on any thread.
 */
#include "conf/snapshot.h"

#include <assert.h>
#include <talloc.h>

struct snapshot *snapshot_new(void)
{
    struct snapshot *snapshot = talloc_zero(NULL, struct snapshot);
    if (!snapshot)
        return NULL;
    snapshot->magic = SNAPSHOT_MAGIC;
    atomic_init(&snapshot->references, 1);
    struct conf *conf = &snapshot->conf;
    conf->path = "-";
    conf->environment = "";
    conf->upstream.connect_timeout = 5000;
    conf->upstream.check_interval = 2000;
    conf->tls_upstream.mode = TLS_PREFER;
    conf->limits = (struct conf_limits){
        .login_time = 60000,
        .statement = 256 << 10,
        .held_message = 4 << 20,
        .held_total = 256 << 20,
        .buffer = 64 << 10,
    };
    conf->log.level = LOG_INFO;
    conf->audit.sync = true;
    conf->online = (struct conf_online){
        .stall_budget = 100,
        .lock_time = 60000,
        .batch_time = 20,
        .workers = 2,
        .throttle = {.latency_percent = 200,
                     .replication_lag = 5000,
                     .archive_backlog = 42,
                     .autovacuum = true},
    };
    conf->policy.profile = PROFILE_STANDARD;
    conf->policy.small_table_rows = 10000;
    conf->policy.small_table_size = 8 << 20;
    conf->policy.waiver_require_reason = true;
    return snapshot;
}

static struct snapshot *snapshot_of(struct conf *conf)
{
    struct snapshot *snapshot = (struct snapshot *)conf;
    assert(snapshot->magic == SNAPSHOT_MAGIC);
    return snapshot;
}

struct conf *conf_ref(struct conf *conf)
{
    atomic_fetch_add_explicit(&snapshot_of(conf)->references, 1, memory_order_relaxed);
    return conf;
}

void conf_unref(struct conf *conf)
{
    if (!conf)
        return;
    struct snapshot *snapshot = snapshot_of(conf);
    if (atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) > 1)
        return;
    snapshot->magic = 0;
    talloc_free(snapshot);
}

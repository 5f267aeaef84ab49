/*
 * Which servers there are and in which order a new session should try them. See upstream_state.h for who
 * holds what. A set is built whole, published by one pointer, and freed by whoever gives up the last
 * reference.
 */
#include "proxy/net/upstream.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proxy/net/upstream_state.h"
#include "proxy/observe/log.h"

/* What an upstream_set really is. */
struct counted_set {
    struct upstream_set set; /* first: one pointer is both */
    atomic_uint references;
    struct conf *conf;
};

double upstream_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- sets --------------------------------------------------------------------------------------------- */

static size_t take(enum host_role wanted, const enum host_role *roles, const bool *reachable, size_t n,
                   unsigned *order, size_t at)
{
    for (size_t i = 0; i < n; i++)
        if (reachable[i] && roles[i] == wanted)
            order[at++] = (unsigned)i;
    return at;
}

size_t upstream_order(enum upstream_target target, const enum host_role *roles, const bool *reachable,
                      size_t n, unsigned *order)
{
    size_t at = 0;
    if (target == TARGET_ANY) {
        for (size_t i = 0; i < n; i++)
            if (reachable[i] && roles[i] != HOST_DOWN)
                order[at++] = (unsigned)i;
        return take(HOST_DOWN, roles, reachable, n, order, at);
    }
    at = take(HOST_PRIMARY, roles, reachable, n, order, at);
    at = take(HOST_UNKNOWN, roles, reachable, n, order, at);
    if (at > 0)
        return at;
    /* Nobody is known to be the primary: one of these may have become it since they were last asked. */
    at = take(HOST_STANDBY, roles, reachable, n, order, at);
    return take(HOST_DOWN, roles, reachable, n, order, at);
}

static void set_free(struct counted_set *counted)
{
    conf_unref(counted->conf);
    free(counted->set.addresses);
    free(counted->set.roles);
    free(counted);
}

static struct counted_set *set_new(struct conf *conf, size_t n_addresses)
{
    struct counted_set *counted = calloc(1, sizeof *counted);
    if (!counted)
        return NULL;
    counted->conf = conf_ref(conf);
    counted->set.conf = conf;
    atomic_init(&counted->references, 1);
    counted->set.addresses = calloc(n_addresses ? n_addresses : 1, sizeof *counted->set.addresses);
    counted->set.roles = calloc(conf->upstream.n_hosts, sizeof *counted->set.roles);
    if (counted->set.addresses && counted->set.roles)
        return counted;
    set_free(counted);
    return NULL;
}

static void fill_set(struct upstream_set *set, const struct upstream *upstream, const unsigned *order,
                     size_t n)
{
    for (size_t i = 0; i < upstream->conf->upstream.n_hosts; i++)
        set->roles[i] = upstream->hosts[i].role;
    for (size_t i = 0; i < n; i++) {
        const struct host_addresses *addresses = &upstream->hosts[order[i]].addresses;
        for (size_t k = 0; k < addresses->n; k++) {
            set->addresses[set->n] = addresses->items[k];
            set->addresses[set->n++].host = order[i];
        }
    }
}

void upstream_publish(struct upstream *upstream)
{
    size_t n = upstream->conf->upstream.n_hosts, total = 0;
    unsigned *order = calloc(n, sizeof *order);
    enum host_role *roles = calloc(n, sizeof *roles);
    bool *reachable = calloc(n, sizeof *reachable);
    struct counted_set *counted = NULL;
    if (order && roles && reachable) {
        for (size_t i = 0; i < n; i++) {
            roles[i] = upstream->hosts[i].role;
            reachable[i] = upstream->hosts[i].addresses.n > 0;
            total += upstream->hosts[i].addresses.n;
        }
        size_t usable = upstream_order(upstream->conf->upstream.target, roles, reachable, n, order);
        /* After a reload to names that are not known yet the old servers stay: better than none. */
        if (usable > 0)
            counted = set_new(upstream->conf, total);
        if (counted)
            fill_set(&counted->set, upstream, order, usable);
    }
    free(order);
    free(roles);
    free(reachable);
    if (!counted)
        return;
    upstream_put(upstream->current);
    upstream->current = &counted->set;
}

struct upstream_set *upstream_get(struct upstream *upstream)
{
    pthread_mutex_lock(&upstream->mutex);
    struct upstream_set *set = upstream->current;
    atomic_fetch_add_explicit(&((struct counted_set *)set)->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&upstream->mutex);
    return set;
}

void upstream_put(struct upstream_set *set)
{
    struct counted_set *counted = (struct counted_set *)set;
    if (!set || atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) != 1)
        return;
    set_free(counted);
}

/* ---- roles -------------------------------------------------------------------------------------------- */

static const char *role_text(enum host_role role)
{
    static const char *const texts[] = {"of unknown role", "the primary", "a standby", "down"};
    return texts[role];
}

/* What there is to be said in the log, once the mutex is let go: stderr may be a pipe that nobody empties. */
struct role_news {
    enum host_role role;
    char text[400]; /* "" : nothing */
};

/* The mutex is held. */
static void set_role(struct upstream *upstream, unsigned host, enum host_role role, const char *why,
                     struct role_news *news)
{
    struct host_state *state = &upstream->hosts[host];
    state->since = upstream_clock();
    if (state->role == role)
        return;
    const struct conf_host *conf = &upstream->conf->upstream.hosts[host];
    news->role = role;
    snprintf(news->text, sizeof news->text, "upstream %s:%u is %s%s%.200s", conf->host, (unsigned)conf->port,
             role_text(role), *why ? ": " : "", why);
    state->role = role;
    upstream_publish(upstream);
}

static void tell(const struct role_news *news)
{
    if (news->text[0])
        log_write(news->role == HOST_DOWN ? LOG_WARNING : LOG_INFO, "%s", news->text);
}

void upstream_saw(struct upstream *upstream, unsigned host, enum host_role role)
{
    struct role_news news = {.text = ""};
    pthread_mutex_lock(&upstream->mutex);
    if (host < upstream->conf->upstream.n_hosts) {
        set_role(upstream, host, role, "", &news);
        /* It may have moved to another address. */
        if (role == HOST_DOWN && upstream->hosts[host].by_name && !upstream->resolve_now) {
            upstream->resolve_now = true;
            pthread_cond_signal(&upstream->wake);
        }
    }
    pthread_mutex_unlock(&upstream->mutex);
    tell(&news);
}

void upstream_report(struct upstream *upstream, unsigned generation, unsigned host, enum host_role role,
                     const char *why)
{
    struct role_news news = {.text = ""};
    pthread_mutex_lock(&upstream->mutex);
    bool known = generation == upstream->generation;
    /* "It answers, but doesn't tell" only lifts a host that was down; what sessions saw stays. */
    if (known && role == HOST_UNKNOWN && upstream->hosts[host].role != HOST_DOWN)
        known = false;
    if (known)
        set_role(upstream, host, role, why, &news);
    pthread_mutex_unlock(&upstream->mutex);
    tell(&news);
}

const char *upstream_monitor_conninfo(const struct conf *conf)
{
    if (conf->upstream.monitor)
        return conf->upstream.monitor;
    /* The maintenance login is lent for the question that `target: primary` poses, and for no other. */
    if (conf->upstream.target == TARGET_PRIMARY && conf->upstream.n_hosts > 1)
        return conf->online.maintenance;
    return NULL;
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void hosts_free(struct host_state *hosts, size_t n)
{
    for (size_t i = 0; hosts && i < n; i++)
        host_addresses_free(&hosts[i].addresses);
    free(hosts);
}

void upstream_drop(struct upstream *upstream)
{
    bool last = --upstream->references == 0;
    pthread_mutex_unlock(&upstream->mutex);
    if (!last)
        return;
    upstream_put(upstream->current);
    hosts_free(upstream->hosts, upstream->conf->upstream.n_hosts);
    conf_unref(upstream->conf);
    if (upstream->monitor_wake >= 0)
        close(upstream->monitor_wake);
    pthread_cond_destroy(&upstream->wake);
    pthread_mutex_destroy(&upstream->mutex);
    free(upstream);
}

static struct upstream *upstream_new(struct conf *conf)
{
    struct upstream *upstream = calloc(1, sizeof *upstream);
    struct host_state *hosts = calloc(conf->upstream.n_hosts, sizeof *hosts);
    int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!upstream || !hosts || wake < 0) {
        free(upstream);
        free(hosts);
        if (wake >= 0)
            close(wake);
        return NULL;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&upstream->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&upstream->mutex, NULL);
    upstream->references = 1;
    upstream->conf = conf_ref(conf);
    upstream->hosts = hosts;
    upstream->monitor_wake = wake;
    for (size_t i = 0; i < conf->upstream.n_hosts; i++)
        hosts[i].by_name = host_is_by_name(conf->upstream.hosts[i].host);
    return upstream;
}

struct upstream *upstream_start(struct conf *conf, char *error, size_t size)
{
    struct upstream *upstream = upstream_new(conf);
    if (!upstream) {
        snprintf(error, size, "upstream: %s", strerrordesc_np(errno));
        return NULL;
    }
    pthread_mutex_lock(&upstream->mutex);
    if (upstream_resolve_all(upstream, error, size) == 0 || !upstream->current) {
        upstream_drop(upstream);
        return NULL;
    }
    upstream->references++;
    int failed = pthread_create(&upstream->resolver, NULL, upstream_resolver, upstream);
    if (failed) {
        upstream->references--;
    } else {
        failed = pthread_create(&upstream->monitor, NULL, upstream_monitor, upstream);
        if (failed) { /* the resolver goes by itself and takes its reference along */
            upstream->stopping = true;
            pthread_cond_signal(&upstream->wake);
            pthread_detach(upstream->resolver);
        }
    }
    if (failed) {
        snprintf(error, size, "upstream: no thread: %s", strerrordesc_np(failed));
        upstream_drop(upstream);
        return NULL;
    }
    pthread_mutex_unlock(&upstream->mutex);
    return upstream;
}

static void wake_monitor(struct upstream *upstream)
{
    const uint64_t one = 1;
    if (write(upstream->monitor_wake, &one, sizeof one) < 0)
        errno = 0; /* the counter is full: it is awake */
}

/* What is known of the same host in the configuration so far. */
static void adopt_host(const struct upstream *upstream, const struct conf_host *wanted,
                       struct host_state *state)
{
    for (size_t i = 0; i < upstream->conf->upstream.n_hosts; i++) {
        const struct conf_host *known = &upstream->conf->upstream.hosts[i];
        struct host_state *old = &upstream->hosts[i];
        if (known->port != wanted->port || strcmp(known->host, wanted->host) != 0 || !old->addresses.n)
            continue;
        *state = *old;
        old->addresses = (struct host_addresses){0};
        return;
    }
    state->by_name = host_is_by_name(wanted->host);
    if (!state->by_name)
        host_resolve(wanted, &state->addresses); /* no look-up: doesn't wait */
}

void upstream_reload(struct upstream *upstream, struct conf *conf)
{
    struct host_state *hosts = calloc(conf->upstream.n_hosts, sizeof *hosts);
    if (!hosts) {
        log_error("upstream: out of memory, the servers stay as they were");
        return;
    }
    pthread_mutex_lock(&upstream->mutex);
    for (size_t i = 0; i < conf->upstream.n_hosts; i++)
        adopt_host(upstream, &conf->upstream.hosts[i], &hosts[i]);
    hosts_free(upstream->hosts, upstream->conf->upstream.n_hosts);
    struct conf *before = upstream->conf;
    upstream->conf = conf_ref(conf);
    upstream->hosts = hosts;
    upstream->generation++;
    upstream->resolve_now = true;
    upstream_publish(upstream);
    pthread_cond_signal(&upstream->wake);
    wake_monitor(upstream);
    pthread_mutex_unlock(&upstream->mutex);
    conf_unref(before);
}

void upstream_stop(struct upstream *upstream)
{
    if (!upstream)
        return;
    pthread_mutex_lock(&upstream->mutex);
    upstream->stopping = true;
    bool busy = upstream->resolving;
    pthread_cond_signal(&upstream->wake);
    wake_monitor(upstream);
    /* A look-up can't be interrupted: its thread then outlives us and frees what is left. Decided under the
     * mutex: a resolver that isn't in a look-up begins none any more. */
    pthread_t resolver = upstream->resolver, monitor = upstream->monitor;
    pthread_mutex_unlock(&upstream->mutex);
    pthread_join(monitor, NULL);
    if (busy)
        pthread_detach(resolver);
    else
        pthread_join(resolver, NULL);
    pthread_mutex_lock(&upstream->mutex);
    upstream_drop(upstream);
}

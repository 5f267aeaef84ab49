/*
 * From host names to addresses, on a thread of its own because getaddrinfo waits for name servers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>

#include "proxy/net/upstream_state.h"
#include "proxy/observe/log.h"

static const double REFRESH_SECONDS = 30;
/* After failures sessions ask for a look-up at once; not more often than this. */
static const double LEAST_SECONDS = 1;

bool host_is_by_name(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return host[0] != '/' && !strchr(host, '%') && inet_pton(AF_INET, host, bytes) != 1 &&
           inet_pton(AF_INET6, host, bytes) != 1;
}

void host_addresses_free(struct host_addresses *addresses)
{
    free(addresses->items);
    *addresses = (struct host_addresses){0};
}

static int resolve_unix(const struct conf_host *host, struct host_addresses *addresses)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    int n =
        snprintf(local.sun_path, sizeof local.sun_path, "%s/.s.PGSQL.%u", host->host, (unsigned)host->port);
    if (n < 0 || (size_t)n >= sizeof local.sun_path)
        return EAI_NONAME;
    addresses->items = calloc(1, sizeof *addresses->items);
    if (!addresses->items)
        return EAI_MEMORY;
    memcpy(&addresses->items->address, &local, sizeof local);
    addresses->items->length = sizeof local;
    addresses->n = 1;
    return 0;
}

static int copy_found(const struct addrinfo *found, struct host_addresses *addresses)
{
    size_t n = 0;
    for (const struct addrinfo *i = found; i; i = i->ai_next)
        n++;
    addresses->items = calloc(n ? n : 1, sizeof *addresses->items);
    if (!addresses->items)
        return EAI_MEMORY;
    for (const struct addrinfo *i = found; i; i = i->ai_next) {
        if (i->ai_addrlen > sizeof addresses->items->address)
            continue;
        struct upstream_address *address = &addresses->items[addresses->n++];
        memcpy(&address->address, i->ai_addr, i->ai_addrlen);
        address->length = i->ai_addrlen;
    }
    return addresses->n ? 0 : EAI_NONAME;
}

int host_resolve(const struct conf_host *host, struct host_addresses *addresses)
{
    *addresses = (struct host_addresses){0};
    if (host->host[0] == '/')
        return resolve_unix(host, addresses);
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)host->port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags =
                                       AI_NUMERICSERV | (host_is_by_name(host->host) ? 0 : AI_NUMERICHOST)};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host->host, service, &hints, &found);
    if (failed)
        return failed;
    failed = copy_found(found, addresses);
    freeaddrinfo(found);
    if (failed)
        host_addresses_free(addresses);
    return failed;
}

static bool same_addresses(const struct host_addresses *a, const struct host_addresses *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->items[i].length != b->items[i].length ||
            memcmp(&a->items[i].address, &b->items[i].address, a->items[i].length) != 0)
            return false;
    return true;
}

/* One host's answer; the mutex is held. True: something changed. */
static bool take_answer(struct host_state *state, int failed, struct host_addresses *found)
{
    state->failed = failed != 0;
    if (failed)
        return false; /* the last addresses stay */
    if (same_addresses(&state->addresses, found)) {
        host_addresses_free(found);
        return false;
    }
    host_addresses_free(&state->addresses);
    state->addresses = *found;
    return true;
}

/* Looks up one host; the mutex is let go meanwhile. True: something changed. */
static bool resolve_one(struct upstream *upstream, const struct conf_host *host, size_t i, char *error,
                        size_t size)
{
    unsigned generation = upstream->generation;
    struct host_addresses found = {0};
    bool failed_before = upstream->hosts[i].failed;
    upstream->resolving = true;
    pthread_mutex_unlock(&upstream->mutex);
    int failed = host_resolve(host, &found);
    if (failed) {
        snprintf(error, size, "upstream %s: %s", host->host, gai_strerror(failed));
        if (!failed_before)
            log_warning("upstream %s: the name can't be looked up: %s", host->host, gai_strerror(failed));
    }
    pthread_mutex_lock(&upstream->mutex);
    upstream->resolving = false;
    if (upstream->generation == generation)
        return take_answer(&upstream->hosts[i], failed, &found);
    host_addresses_free(&found);
    return false;
}

size_t upstream_resolve_all(struct upstream *upstream, char *error, size_t size)
{
    struct conf *conf = conf_ref(upstream->conf);
    unsigned generation = upstream->generation;
    bool changed = false;
    upstream->resolve_now = false;
    for (size_t i = 0; i < conf->upstream.n_hosts && upstream->generation == generation; i++)
        if (!upstream->stopping && (upstream->hosts[i].by_name || !upstream->hosts[i].addresses.n))
            changed |= resolve_one(upstream, &conf->upstream.hosts[i], i, error, size);
    if (changed && upstream->generation == generation)
        upstream_publish(upstream);
    upstream->resolved = upstream_clock();
    size_t usable = 0;
    for (size_t i = 0; i < upstream->conf->upstream.n_hosts; i++)
        usable += upstream->hosts[i].addresses.n > 0;
    conf_unref(conf);
    return usable;
}

/* Where nobody asks the hosts, one that was down must get another chance some day. */
static void forget_down(struct upstream *upstream)
{
    bool changed = false;
    if (upstream_monitor_conninfo(upstream->conf))
        return;
    for (size_t i = 0; i < upstream->conf->upstream.n_hosts; i++) {
        struct host_state *state = &upstream->hosts[i];
        if (state->role != HOST_DOWN || upstream_clock() - state->since < REFRESH_SECONDS / 2)
            continue;
        state->role = HOST_UNKNOWN;
        changed = true;
    }
    if (changed)
        upstream_publish(upstream);
}

static void wait_until(struct upstream *upstream, double when)
{
    struct timespec t = {.tv_sec = (time_t)when, .tv_nsec = (long)((when - (double)(time_t)when) * 1e9)};
    pthread_cond_timedwait(&upstream->wake, &upstream->mutex, &t);
}

void *upstream_resolver(void *argument)
{
    struct upstream *upstream = argument;
    pthread_mutex_lock(&upstream->mutex);
    while (!upstream->stopping) {
        double now = upstream_clock();
        double due = upstream->resolved + (upstream->resolve_now ? LEAST_SECONDS : REFRESH_SECONDS);
        if (now < due) {
            wait_until(upstream, due);
            continue;
        }
        char unused[200];
        forget_down(upstream);
        upstream_resolve_all(upstream, unused, sizeof unused);
    }
    upstream_drop(upstream);
    return NULL;
}

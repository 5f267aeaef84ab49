/*
 * The inside of struct upstream, shared by upstream.c, upstream_resolve.c and upstream_monitor.c.
 *
 * Threads: everything in struct upstream is guarded by `mutex`, which is never held over a system call that
 * can wait. The resolver may sit in getaddrinfo for many seconds; the monitor never waits but in poll.
 */
#ifndef PGSLUICE_PROXY_NET_UPSTREAM_STATE_H
#define PGSLUICE_PROXY_NET_UPSTREAM_STATE_H

#include <pthread.h>
#include <stdint.h>

#include "proxy/net/upstream.h"

/* The addresses of one host; `host` in them is set by the one who publishes. */
struct host_addresses {
    struct upstream_address *items;
    size_t n;
};

struct host_state {
    struct host_addresses addresses;
    bool by_name; /* has to be looked up, again and again */
    bool failed;  /* the last look-up failed (said once in the log) */
    enum host_role role;
    double since; /* when the role was last said */
};

struct upstream {
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* the resolver's */
    unsigned references; /* the owner, the resolver */
    struct conf *conf;
    struct host_state *hosts;
    unsigned generation; /* of conf */
    struct upstream_set *current;
    bool stopping, resolve_now, resolving;
    double resolved;  /* when the last round ended */
    int monitor_wake; /* eventfd */
    pthread_t resolver, monitor;
};

double upstream_clock(void);
/* Has the configuration anybody who asks the hosts? */
const char *upstream_monitor_conninfo(const struct conf *);

/* Roles as an order: fills `order` with the hosts to be tried, best first; returns how many. Pure. */
size_t upstream_order(enum upstream_target, const enum host_role *, const bool *reachable, size_t n,
                      unsigned *order);

/* Builds and publishes the current set. The mutex is held. */
void upstream_publish(struct upstream *);
/* What the monitor found; ignored if the configuration has changed since. */
void upstream_report(struct upstream *, unsigned generation, unsigned host, enum host_role, const char *why);
void upstream_drop(struct upstream *); /* one reference; the mutex is held and is released */

/* upstream_resolve.c */
bool host_is_by_name(const char *host);
/* 0, or getaddrinfo's error code; blocks for names. */
int host_resolve(const struct conf_host *, struct host_addresses *);
void host_addresses_free(struct host_addresses *);
void *upstream_resolver(void *argument);
/* Looks up all hosts and publishes; the mutex is held, and let go meanwhile. How many have an address. */
size_t upstream_resolve_all(struct upstream *, char *error, size_t size);

/* upstream_monitor.c */
void *upstream_monitor(void *argument);

#endif

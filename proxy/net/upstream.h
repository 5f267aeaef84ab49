/*
 * The servers: their addresses, which of them is the primary, and how a session gets a connection to one.
 *
 * One struct upstream a process, kept by the control loop; loops read a snapshot. Names are resolved on a
 * thread of their own, never on a loop. With `target: primary` the monitor (upstream.monitor, else
 * online.maintenance) asks each host pg_is_in_recovery(); without one, what sessions see (in_hot_standby, 14
 * and later) is remembered.
 */
#ifndef PGSLUICE_PROXY_NET_UPSTREAM_H
#define PGSLUICE_PROXY_NET_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "conf/conf.h"

enum host_role { HOST_UNKNOWN, HOST_PRIMARY, HOST_STANDBY, HOST_DOWN };

struct upstream_address {
    struct sockaddr_storage address;
    socklen_t length;
    unsigned host; /* index into conf->upstream.hosts */
};

/* Immutable, reference counted. Ordered by preference for a new session. */
struct upstream_set {
    struct upstream_address *addresses;
    size_t n;
    enum host_role *roles; /* by host */
    const struct conf *conf;
};

struct upstream;
struct upstream *upstream_start(struct conf *, char *error, size_t size); /* first resolution included */
void upstream_reload(struct upstream *, struct conf *);
void upstream_stop(struct upstream *);
struct upstream_set *upstream_get(struct upstream *); /* a reference; any thread */
void upstream_put(struct upstream_set *);
void upstream_saw(struct upstream *, unsigned host, enum host_role); /* any thread: what a session saw */

/* A non-blocking socket on its way to the address: TCP_NODELAY, keepalives; -1: errno. */
int upstream_connect(const struct upstream_address *);

#endif

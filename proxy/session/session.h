/*
 * A session: one client stream, one server stream, a start-up and then an engine between them. Lives on one
 * loop.
 */
#ifndef PGSLUICE_PROXY_SESSION_SESSION_H
#define PGSLUICE_PROXY_SESSION_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "proxy/net/loop.h"
#include "proxy/net/tls.h"
#include "proxy/net/upstream.h"
#include "proxy/observe/audit.h"
#include "proxy/observe/metrics.h"
#include "proxy/session/judge.h"

struct changes;

/* What all sessions of the process share. Counters are touched at login and end only, or when a message is
 * held. */
struct sessions_shared {
    struct judge_bench *judges;
    struct audit *audit; /* or NULL */
    struct upstream *upstream;
    struct changes *changes; /* online changes; or NULL */
    _Atomic uint64_t next_number;
    _Atomic uint32_t sessions; /* that a limit counts: from the whole StartupMessage on */
    _Atomic uint32_t open;     /* all connections of clients, cancels too */
    _Atomic uint64_t held;
    struct user_counts *users; /* sessions per user, behind a mutex */
};

struct room_quarantine;

/* What all sessions of one loop share. */
struct session_room {
    struct metrics metrics;
    struct loop *loop;
    struct conf *conf; /* swapped on reload, on this loop's thread */
    struct tls_context *tls_client, *tls_upstream;
    struct sessions_shared *shared;
    struct session *first;              /* all of them, for drain and idle time */
    struct cancel *cancels;             /* on their way */
    struct room_quarantine *quarantine; /* columns that aren't complete, as last heard of; or NULL */
    bool draining;
};

void session_accept(struct session_room *, int fd, const char *peer);
void session_room_drain(struct session_room *); /* no new ones; idle ones end as their transaction allows */
void session_room_tick(struct session_room *);  /* once a second: login time, idle time, drain time */
void session_room_end_all(struct session_room *);
void session_room_release(struct session_room *);  /* what it keeps besides its sessions, which are gone */
void session_room_reloaded(struct session_room *); /* room->conf is another one: trace patterns */

#endif

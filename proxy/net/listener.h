/*
 * Listening sockets. Each loop has its own (SO_REUSEPORT); a Unix socket is shared by all loops. They are
 * bound before any privilege or thread, and live over a reload where the address stays.
 *
 * Threads: a set is opened and closed on its loop's thread, or while that loop doesn't run.
 */
#ifndef PGSLUICE_PROXY_NET_LISTENER_H
#define PGSLUICE_PROXY_NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"

struct loop;
struct listener;

/* `accepted` gets a non-blocking fd that it owns and the peer as text ("192.0.2.7:53122", "[2001:db8::1]:5",
 * "local"). */
typedef void (*listener_accepted)(void *argument, int fd, const char *peer);

/* Opens all sockets of `listen` for one loop; `shared` is the set of another loop, whose Unix sockets are
 * used, or NULL. On failure NULL and which address and why. */
struct listener *listener_open(struct loop *, const struct conf_listen *, size_t n,
                               const struct listener *shared, listener_accepted, void *argument, char *error,
                               size_t size);
/*
 * For a reload: a new set for `listen` that keeps the sockets of `before` (a set of the same loop) whose
 * address stays, with the connections that wait in them. Both sets accept until one is closed: `before` to
 * commit, the new one to roll back. `shared` as above: the new set of another loop, or NULL for the first.
 */
struct listener *listener_reopen(const struct listener *before, const struct conf_listen *, size_t n,
                                 const struct listener *shared, char *error, size_t size);
void listener_close(struct listener *); /* a Unix socket's file goes with the last set that has it */
/* Out of descriptors: accept pauses by itself and logs once. */

#endif

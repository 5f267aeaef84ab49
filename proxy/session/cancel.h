/*
 * A CancelRequest on its way to the servers. Keys pass through unchanged and say nothing of the server they
 * belong to, so with several hosts each of them gets the request: it fits one, the others ignore it (they log
 * "PID n in cancel request did not match any process"). It goes over TLS where the mode of the upstream's leg
 * does.
 *
 * As with a server, the client's connection is closed when the request has been carried out; nothing is
 * answered.
 */
#ifndef PGSLUICE_PROXY_SESSION_CANCEL_H
#define PGSLUICE_PROXY_SESSION_CANCEL_H

#include "proxy/session/session.h"

struct cancel;

enum { CANCEL_HEAD = 8 }; /* of the packet: length and code; the key follows */

/* `packet` is copied. `done` is called from the loop once every server that is not known to be down has taken
 * the request or failed; never from inside this call. NULL: no memory or no address, and nothing will happen.
 */
struct cancel *cancel_carry(struct session_room *, struct tls_context *upstream_leg, const uint8_t *packet,
                            size_t length, void (*done)(void *argument), void *argument);
/* The client is gone: the request goes on, `done` is not called any more. */
void cancel_abandon(struct cancel *);
void cancel_room_tick(struct session_room *, double now);
void cancel_room_end_all(struct session_room *);

#endif

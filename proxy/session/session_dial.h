/*
 * One connection to one server up to the point where a StartupMessage or a CancelRequest may be sent:
 * connect, SSLRequest, TLS, as the mode of the upstream's leg says. Used by sessions and by cancels.
 *
 * The stream belongs to the owner, who passes its events on to dial_opened and dial_readable and acts on what
 * they return. What has failed is in `error`; the stream is closed then.
 */
#ifndef PGSLUICE_PROXY_SESSION_SESSION_DIAL_H
#define PGSLUICE_PROXY_SESSION_SESSION_DIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/net/loop.h"
#include "proxy/net/stream.h"
#include "proxy/net/tls.h"
#include "proxy/net/upstream.h"

enum dial_state { DIAL_GOING, DIAL_READY, DIAL_FAILED };

struct dial {
    struct loop *loop;
    struct stream *stream;
    const struct stream_calls *calls;
    struct tls_context *tls; /* borrowed; NULL: the leg's mode is disable */
    const struct upstream_set *set;
    size_t address;  /* index into the set */
    bool retry;      /* the second attempt of modes allow and prefer: the other way round */
    bool asked;      /* SSLRequest is sent, its answer is awaited */
    double deadline; /* by loop_now; 0: none */
    char error[256];
};

/* Begins. DIAL_GOING or DIAL_FAILED. */
enum dial_state dial_start(struct dial *, bool retry);
enum dial_state dial_opened(struct dial *);
enum dial_state dial_readable(struct dial *);
/* The server refused the login with 28000: begins again where libpq would; DIAL_FAILED (and nothing changed)
 * where it would not. */
enum dial_state dial_again(struct dial *);
bool dial_may_again(const struct dial *);
void dial_close(struct dial *);

/* "db1.example.com:5432", "/run/postgresql/.s.PGSQL.5432" */
void dial_name(const struct dial *, char *text, size_t size);

#endif

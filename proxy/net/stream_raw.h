/*
 * Between stream.c (the socket and what is unsent) and tls_session.c (the records inside): for this folder
 * only.
 */
#ifndef PGSLUICE_PROXY_NET_STREAM_RAW_H
#define PGSLUICE_PROXY_NET_STREAM_RAW_H

#include <sys/types.h>

#include "proxy/net/stream.h"

/* One recv: bytes, 0, or -1 with errno. */
ssize_t stream_raw_read(struct stream *, void *buffer, size_t size);
/* Sends or keeps all of it; drops it when sending has failed. */
void stream_raw_write(struct stream *, const void *bytes, size_t n);
/* The first failure is what counts. The owner is told by `readable`. */
void stream_fail(struct stream *, int error);
/* Have `readable` called from the loop even if the socket has nothing new. */
void stream_wake(struct stream *);

/* A handshake begins: the loop will do its steps and call `opened`. */
void stream_handshaking(struct stream *);

/* tls_session.c */
void tls_session_free(struct stream *);
/* One step of the handshake: 1 done, 0 wait for more, -1 failed (stream->error is set). */
int tls_session_handshake(struct stream *);
ssize_t tls_session_read(struct stream *, void *buffer, size_t size);
void tls_session_write(struct stream *, const void *bytes, size_t n);
void tls_session_shutdown(struct stream *); /* writes close_notify */
bool tls_session_pending(const struct stream *);
const char *tls_session_error(const struct stream *); /* or NULL */

#endif

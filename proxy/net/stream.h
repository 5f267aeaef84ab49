/*
 * A stream: one non-blocking connection, plain or TLS, embedded in its owner (no allocation while idle).
 *
 * Reading is the owner's call: when `readable` fires, the owner calls stream_read into the loop's scratch
 * buffer until it returns STREAM_AGAIN; without TLS, less than was asked for says the same. Writing is
 * immediate: stream_write sends what the socket takes and keeps a copy of the rest in a buffer that is
 * released once it is sent; stream_unsent tells the owner when to stop reading from the other side
 * (back-pressure), `drained` when to go on. Errors are sticky: after one, writes are dropped and reads return
 * STREAM_ERROR; stream_error_text says why. One refinement: when a write fails, what the peer had sent before
 * is still read (a server's last FATAL message must reach the client), and `readable` is called once, even
 * with reading off, so that the owner learns of it.
 *
 * No function calls back into the owner: callbacks come from the loop only, and each is the last thing done
 * with the stream in that event, so an owner may close and free the stream inside any of them.
 *
 * An fd of upstream_connect: stream_init, then stream_opening, then wait for `opened`; what is written before
 * is kept and sent then.
 */
#ifndef PGSLUICE_PROXY_NET_STREAM_H
#define PGSLUICE_PROXY_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proxy/net/loop_edge.h"

struct loop;
struct stream;
struct tls_context; /* tls.h */

struct stream_calls {
    void (*readable)(struct stream *); /* bytes, end or error can be read */
    void (*drained)(struct stream *);  /* everything unsent has gone */
    void (*opened)(struct stream *);   /* connect or TLS handshake has ended; see `error` */
};

struct stream {
    struct loop_edge edge;
    struct loop *loop;
    const struct stream_calls *calls;
    struct tls_session *tls; /* or NULL */
    uint8_t *out;            /* unsent bytes, or NULL */
    uint32_t out_size, out_start, out_end;
    int fd;
    int error; /* errno of the first failure; 0 */
    bool reading, connecting, handshaking, ended;
    bool ready;          /* the socket may have something to read: until a read finds it empty */
    bool more;           /* a short read does not mean that it is */
    bool woken;          /* `readable` is to be called, whatever is ready or wanted */
    bool watches_out;    /* the kernel is asked to tell when the socket takes more */
    bool shutting, shut; /* stream_shutdown was called; it has been carried out */
};

enum { STREAM_AGAIN = -1, STREAM_ERROR = -2 }; /* of stream_read; 0: the peer closed its direction */

void stream_init(struct stream *, struct loop *, const struct stream_calls *,
                 int fd); /* fd: non-blocking, owned */
/* `fd` came from upstream_connect: `opened` will be called, also where the connection stands already. */
void stream_opening(struct stream *);
void stream_close(struct stream *); /* closes the fd, drops what is unsent */
void stream_reading(struct stream *, bool on);
ssize_t stream_read(struct stream *, void *buffer, size_t size);
ssize_t stream_peek(struct stream *, void *buffer, size_t size); /* plain only */
void stream_write(struct stream *, const void *bytes, size_t n);
size_t stream_unsent(const struct stream *);
void stream_shutdown(struct stream *); /* close the sending direction once all is sent */
bool stream_has_tls(const struct stream *);
bool stream_pending(
    const struct stream *); /* TLS holds decrypted bytes that no readable event will announce */
const char *
stream_error_text(const struct stream *); /* "connection reset by peer", "certificate verify failed: …" */

/* Begin TLS on an open stream; `opened` is called when it ends. `host` for SNI and verification, or NULL. */
bool stream_tls_accept(struct stream *, struct tls_context *, bool alpn_required);
bool stream_tls_connect(struct stream *, struct tls_context *, const char *host);

#endif

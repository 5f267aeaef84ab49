/*
 * Start-up: from a client's first byte to the moment when both legs carry protocol messages.
 *
 * No I/O. The caller feeds the bytes that arrive on either leg and carries out the steps that come back, one
 * at a time. Nothing may be read past what a step needs: bytes that follow SSLRequest, GSSENCRequest or the
 * server's 'S' in plaintext end the session (CVE-2021-23214, CVE-2021-23222).
 *
 *   client leg   SSLRequest/GSSENCRequest/direct TLS -> (TLS) -> StartupMessage | CancelRequest
 *   server leg   connect -> SSLRequest -> 'S'|'N' -> (TLS) -> the client's StartupMessage, unchanged
 *
 * A struct startup lives from accept to the first ReadyForQuery, then it is released.
 */
#ifndef PGSLUICE_PROXY_SESSION_STARTUP_H
#define PGSLUICE_PROXY_SESSION_STARTUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

#define STARTUP_PACKET_MAX 10000 /* MAX_STARTUP_PACKET_LENGTH of the server */

enum startup_step {
    STARTUP_READ,       /* wants more bytes from the client */
    STARTUP_ANSWER,     /* send `answer` (one byte: 'S' or 'N') to the client, then go on feeding */
    STARTUP_ANSWER_TLS, /* send 'S', then begin TLS as server on the client's leg */
    STARTUP_DIRECT_TLS, /* begin TLS at once: the byte seen is part of a ClientHello; it must be left unread
                           (peek), ALPN "postgresql" is required */
    STARTUP_CONNECT,    /* the StartupMessage is whole: connect to a server */
    STARTUP_CANCEL,     /* the CancelRequest is whole: carry `packet` to the server(s), then close */
    STARTUP_REFUSE      /* send the FATAL ErrorResponse in `refusal`, then close; empty where PostgreSQL too
                           closes without a word, since the peer may not speak this protocol at all */
};

struct startup_parameter {
    const char *name, *value; /* into the packet */
};

struct startup {
    uint32_t magic;
    const struct conf_tls *tls; /* client leg */
    bool client_tls;            /* TLS is up on the client's leg */
    bool ssl_asked, gss_asked;
    bool local; /* set by the caller: a Unix socket; never TLS there, and none is asked for */
    uint8_t answer;
    uint8_t head[4]; /* the length of the packet that is being read */
    size_t expected; /* its length; 0: not known yet */
    bool certified;  /* the client showed a certificate; its common name: */
    char certificate_cn[256];
    uint8_t *packet; /* owned; the StartupMessage or CancelRequest as it came, length included */
    size_t length;
    uint32_t protocol;                                                 /* 196608 (3.0), 196610 (3.2), … */
    const char *user, *database, *application, *options, *replication; /* into packet; database defaults to
                                   user as in the server; "" if not given */
    const char *start_waiver; /* -c pgsluice.waive=… of `options`, unescaped, owned; or NULL */
    uint8_t *refusal;         /* owned */
    size_t refusal_length;
};

void startup_init(struct startup *, const struct conf_tls *client_leg);
void startup_release(struct startup *);

/* Bytes from the client. *consumed says how many were taken: never more than the current packet. */
enum startup_step startup_feed(struct startup *, const uint8_t *bytes, size_t n, size_t *consumed);
/* How many bytes the current packet still lacks, as far as is known: a caller who cannot peek (TLS) reads no
 * more than that. */
size_t startup_wants(const struct startup *);
/* TLS is up on the client's leg; go on with startup_feed. `certificate_cn` is NULL without a client
 * certificate. */
void startup_tls_done(struct startup *, const char *certificate_cn);
/* Parameter of the StartupMessage or NULL. */
const char *startup_parameter(const struct startup *, const char *name);
/* Is this to become a walsender session (replication=database|true)? */
bool startup_replication(const struct startup *);

/* A FATAL ErrorResponse for a client that no engine speaks to yet; malloc'ed, NULL without memory. `detail`
 * and `hint` may be NULL. */
uint8_t *startup_fatal(const char *sqlstate, const char *message, const char *detail, const char *hint,
                       size_t *length);

/* The server's leg: what to send first, and what its one-byte answer means under this mode. */
enum upstream_step {
    UPSTREAM_SEND_STARTUP,
    UPSTREAM_SEND_SSLREQUEST,
    UPSTREAM_BEGIN_TLS,
    UPSTREAM_RETRY_PLAIN,
    UPSTREAM_RETRY_TLS,
    UPSTREAM_FAIL
};
enum upstream_step upstream_first(enum tls_mode, bool unix_socket, bool retry);
enum upstream_step upstream_answer(enum tls_mode, uint8_t answer);
/* The TLS handshake failed, or the server's first message is an ErrorResponse about who may log in from where
 * (28000): does libpq try once more, the other way? UPSTREAM_RETRY_PLAIN, UPSTREAM_RETRY_TLS or
 * UPSTREAM_FAIL. */
enum upstream_step upstream_refused(enum tls_mode, bool unix_socket, bool tls, bool retry);

#endif

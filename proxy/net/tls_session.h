/*
 * The TLS half of a stream, allocated only where there is TLS. For this folder only.
 */
#ifndef PGSLUICE_PROXY_NET_TLS_SESSION_H
#define PGSLUICE_PROXY_NET_TLS_SESSION_H

#include <openssl/ssl.h>

#include "proxy/net/tls_context.h"

struct tls_session {
    SSL *ssl;
    struct tls_context *context;
    bool accepting; /* we are the server */
    bool alpn_required;
    bool drained;      /* the last recv was short: the socket has nothing more for now */
    bool socket_ended; /* recv said 0 */
    bool pending;      /* OpenSSL may hold bytes that no socket event will announce */
    bool broken;       /* OpenSSL reported a fatal error: it must not be used for shutdown any more */
    int socket_error;  /* errno of recv */
    uint32_t answered; /* bytes that reads made us send while the peer doesn't take any */
    bool over;         /* the end or a fatal error was met while reading */
    char *host;        /* upstream leg, until the handshake is done: the name in the configuration, or "" */
    char *text;        /* what went wrong, or NULL */
};

#endif

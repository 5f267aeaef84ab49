/*
 * The inside of a TLS context, for this folder only.
 */
#ifndef PGSLUICE_PROXY_NET_TLS_CONTEXT_H
#define PGSLUICE_PROXY_NET_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "proxy/net/tls.h"

struct tls_context {
    unsigned magic;
    atomic_uint references;
    SSL_CTX *ssl;
    enum tls_mode mode;
    bool verifies; /* the peer's certificate is checked against `ca` */
};

enum { TLS_CONTEXT_MAGIC = 0x746c7343 };

/* The oldest entry of this thread's OpenSSL error queue in words; empties the queue. */
void tls_error_text(char *text, size_t size);

/* tls_verify.c: does this certificate belong to `host` (a name or an address), as libpq decides it? */
bool tls_certificate_is_for(X509 *, const char *host);
bool tls_is_address(const char *host);
/* The CN of a certificate, as UTF-8; false: none, or with a NUL in it. */
bool tls_certificate_cn(X509 *, char *cn, size_t size);

#endif

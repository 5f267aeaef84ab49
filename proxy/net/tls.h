/*
 * TLS contexts of both legs, made from the configuration. A context is immutable and reference counted: a
 * reload makes new ones, streams that are open keep theirs.
 */
#ifndef PGSLUICE_PROXY_NET_TLS_H
#define PGSLUICE_PROXY_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"

struct tls_context;
struct stream;

/* NULL and a message naming the file when a certificate, key or CA can't be used. TLS 1.2 at least.
 * For a leg whose mode is disable (client leg: also allow without a certificate): NULL with an empty message.
 */
struct tls_context *tls_context_client_leg(const struct conf_tls *, char *error, size_t size);
struct tls_context *tls_context_upstream_leg(const struct conf_tls *, char *error, size_t size);
struct tls_context *tls_context_ref(struct tls_context *);
void tls_context_unref(struct tls_context *);

/* CN of the peer's certificate, or false. */
bool tls_peer_cn(const struct stream *, char *cn, size_t size);
/* Does the upstream present the very certificate that we present to the client? */
bool tls_same_certificate(const struct stream *client, const struct stream *upstream);
/* "TLSv1.3" for the log, or NULL. */
const char *tls_version(const struct stream *);

#endif

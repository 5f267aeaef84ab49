/*
 * TLS contexts: from the configuration to an SSL_CTX. All files are read here, so that a bad one is found at
 * start or reload and never when a session comes.
 *
 * What is switched off, and why: compression (CRIME), renegotiation (a peer could make us work), session
 * tickets and caches (sessions last; a resumed one would skip the certificate check after a reload).
 */
#include "proxy/net/tls_context.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/observe/log.h"

static const unsigned char alpn_postgresql[] = {10, 'p', 'o', 's', 't', 'g', 'r', 'e', 's', 'q', 'l'};

/* Wide enough for a record and a half: fewer calls of recv. Released whenever it is empty. */
enum { READ_AHEAD = 32 * 1024 };

void tls_error_text(char *text, size_t size)
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (reason)
        snprintf(text, size, "%s", reason);
    else if (code && ERR_SYSTEM_ERROR(code))
        snprintf(text, size, "%s", strerrordesc_np(ERR_GET_REASON(code)));
    else if (code)
        snprintf(text, size, "TLS error %lx", code);
    else
        snprintf(text, size, "unknown TLS error");
    ERR_clear_error();
}

/* ---- files -------------------------------------------------------------------------------------------- */

/* A key with a passphrase can't be used by a server without a terminal: fail instead of asking. */
static int no_passphrase(char *buffer, int size, int writing, void *argument)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)argument;
    return 0;
}

/* libpq and the server refuse such keys. Here it is a warning: the session is no less safe for it. */
static void check_key_mode(const char *path)
{
    struct stat file;
    if (stat(path, &file) < 0)
        return;
    mode_t forbidden = file.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
    if (file.st_mode & forbidden)
        log_warning(
            "private key \"%s\" has group or world access; it should have u=rw (0600), or u=rw,g=r (0640) "
            "where root owns it",
            path);
}

static bool load_certificate(SSL_CTX *ssl, const struct conf_tls *conf, const char *leg, char *error,
                             size_t size)
{
    char why[160];
    const char *key = conf->key ? conf->key : conf->certificate;
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ssl, conf->certificate) != 1) {
        tls_error_text(why, sizeof why);
        snprintf(error, size, "tls.%s.certificate: %s: %s", leg, conf->certificate, why);
        return false;
    }
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1) {
        tls_error_text(why, sizeof why);
        snprintf(error, size, "tls.%s.key: %s: %s", leg, key, why);
        return false;
    }
    if (SSL_CTX_check_private_key(ssl) != 1) {
        ERR_clear_error();
        snprintf(error, size, "tls.%s.key: %s: does not belong to the certificate %s", leg, key,
                 conf->certificate);
        return false;
    }
    check_key_mode(key);
    return true;
}

static bool load_ca(SSL_CTX *ssl, const struct conf_tls *conf, const char *leg, char *error, size_t size)
{
    ERR_clear_error();
    if (SSL_CTX_load_verify_file(ssl, conf->ca) == 1)
        return true;
    char why[160];
    tls_error_text(why, sizeof why);
    snprintf(error, size, "tls.%s.ca: %s: %s", leg, conf->ca, why);
    return false;
}

/* ---- contexts ----------------------------------------------------------------------------------------- */

static void set_common(SSL_CTX *ssl)
{
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    /* Auto retry (OpenSSL's default) is relied on: a read ends only when the socket is empty, so that no
     * whole record is left behind without an event. */
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_default_read_buffer_len(ssl, READ_AHEAD);
}

static struct tls_context *context_new(const SSL_METHOD *method, enum tls_mode mode, char *error, size_t size)
{
    struct tls_context *context = calloc(1, sizeof *context);
    if (context)
        context->ssl = SSL_CTX_new(method);
    if (!context || !context->ssl) {
        ERR_clear_error();
        free(context);
        snprintf(error, size, "tls: out of memory");
        return NULL;
    }
    context->magic = TLS_CONTEXT_MAGIC;
    context->mode = mode;
    atomic_init(&context->references, 1);
    set_common(context->ssl);
    return context;
}

/* Another protocol than PostgreSQL is refused with the alert of RFC 7301, as the server does from 17 on. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *length,
                       const unsigned char *offered, unsigned n, void *argument)
{
    (void)ssl;
    (void)argument;
    for (unsigned i = 0; i < n; i += 1U + offered[i]) {
        if (n - i < sizeof alpn_postgresql ||
            memcmp(offered + i, alpn_postgresql, sizeof alpn_postgresql) != 0)
            continue;
        *out = offered + i + 1;
        *length = offered[i];
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool verify_clients(struct tls_context *context, const struct conf_tls *conf, char *error, size_t size)
{
    bool demanded = conf->mode == TLS_VERIFY_CA || conf->mode == TLS_VERIFY_FULL;
    if (!conf->ca && demanded) {
        snprintf(error, size, "tls.client.ca: is needed to verify the certificates of clients");
        return false;
    }
    if (!conf->ca)
        return true;
    if (!load_ca(context->ssl, conf, "client", error, size))
        return false;
    /* The names are sent to the client so that it can choose a certificate. */
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(conf->ca);
    if (!names) {
        ERR_clear_error();
        snprintf(error, size, "tls.client.ca: %s: holds no certificate", conf->ca);
        return false;
    }
    SSL_CTX_set_client_CA_list(context->ssl, names);
    context->verifies = true;
    int mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE | (demanded ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(context->ssl, mode, NULL);
    return true;
}

struct tls_context *tls_context_client_leg(const struct conf_tls *conf, char *error, size_t size)
{
    error[0] = '\0';
    if (conf->mode == TLS_DISABLE || (conf->mode == TLS_ALLOW && !conf->certificate))
        return NULL;
    if (!conf->certificate) {
        snprintf(error, size, "tls.client.certificate: is needed to accept TLS from clients");
        return NULL;
    }
    struct tls_context *context = context_new(TLS_server_method(), conf->mode, error, size);
    if (!context)
        return NULL;
    if (!load_certificate(context->ssl, conf, "client", error, size) ||
        !verify_clients(context, conf, error, size)) {
        tls_context_unref(context);
        return NULL;
    }
    SSL_CTX_set_dh_auto(context->ssl, 1);
    SSL_CTX_set_alpn_select_cb(context->ssl, select_alpn, NULL);
    return context;
}

static bool verify_servers(struct tls_context *context, const struct conf_tls *conf, char *error, size_t size)
{
    if (!conf->ca && (conf->mode == TLS_VERIFY_CA || conf->mode == TLS_VERIFY_FULL)) {
        snprintf(error, size, "tls.upstream.ca: is needed to verify the server's certificate");
        return false;
    }
    /* As in libpq: where there is a root certificate, every mode checks the chain. */
    if (!conf->ca)
        return true;
    context->verifies = true;
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
    return load_ca(context->ssl, conf, "upstream", error, size);
}

struct tls_context *tls_context_upstream_leg(const struct conf_tls *conf, char *error, size_t size)
{
    error[0] = '\0';
    if (conf->mode == TLS_DISABLE)
        return NULL;
    struct tls_context *context = context_new(TLS_client_method(), conf->mode, error, size);
    if (!context)
        return NULL;
    if ((conf->certificate && !load_certificate(context->ssl, conf, "upstream", error, size)) ||
        !verify_servers(context, conf, error, size)) {
        tls_context_unref(context);
        return NULL;
    }
    if (SSL_CTX_set_alpn_protos(context->ssl, alpn_postgresql, sizeof alpn_postgresql) != 0) {
        snprintf(error, size, "tls: out of memory");
        tls_context_unref(context);
        return NULL;
    }
    return context;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    if (context)
        atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(context->ssl);
    context->magic = 0;
    free(context);
}

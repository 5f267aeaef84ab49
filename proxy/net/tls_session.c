/*
 * TLS inside a stream.
 *
 * OpenSSL talks to the stream through a BIO of ours whose write side takes everything: what the socket
 * doesn't take waits in the stream's buffer of unsent bytes, as ciphertext. So SSL_write never stops half
 * way, nothing has to be retried with the same buffer, and neither reading nor the handshake ever waits for
 * the socket to become writable. The read side does one recv an event in the common case: a short one means
 * that the socket is empty.
 *
 * A peer could make us send without reading anything itself (alerts, key updates): `answered` bounds that.
 */
#include "proxy/net/tls_session.h"

#include <assert.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/net/stream_raw.h"

enum { ANSWERED_MOST = 64 * 1024 };

/* ---- the BIO ------------------------------------------------------------------------------------------ */

static BIO_METHOD *method;

static int bio_write(BIO *bio, const char *bytes, int n)
{
    struct stream *stream = BIO_get_data(bio);
    if (n <= 0)
        return 0;
    stream_raw_write(stream, bytes, (size_t)n);
    return n; /* also when sending has failed: what the peer sent before can still be read */
}

static int bio_read(BIO *bio, char *buffer, int size)
{
    struct stream *stream = BIO_get_data(bio);
    struct tls_session *tls = stream->tls;
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    if (tls->drained && !tls->socket_ended) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (tls->socket_ended)
        return 0;
    ssize_t got = stream_raw_read(stream, buffer, (size_t)size);
    if (got > 0) {
        tls->drained = got < size;
        return (int)got;
    }
    if (got == 0) {
        tls->socket_ended = true;
        return 0;
    }
    tls->drained = true;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        BIO_set_retry_read(bio);
    else
        tls->socket_error = errno;
    return -1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    const struct stream *stream = BIO_get_data(bio);
    if (command == BIO_CTRL_FLUSH)
        return 1;
    if (command == BIO_CTRL_EOF)
        return stream && stream->tls && stream->tls->socket_ended;
    return 0;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pgsluice stream");
    if (!method)
        return;
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_ctrl(method, bio_control);
    BIO_meth_set_create(method, bio_create);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static SSL *ssl_new(struct stream *stream, struct tls_context *context)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    SSL *ssl = method ? SSL_new(context->ssl) : NULL;
    BIO *bio = ssl ? BIO_new(method) : NULL;
    if (!bio) {
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, stream);
    SSL_set_bio(ssl, bio, bio);
    return ssl;
}

static struct tls_session *session_begin(struct stream *stream, struct tls_context *context)
{
    assert(context && context->magic == TLS_CONTEXT_MAGIC);
    assert(!stream->tls && !stream->handshaking && !stream->connecting);
    if (stream->error)
        return NULL;
    struct tls_session *tls = calloc(1, sizeof *tls);
    if (!tls) {
        stream_fail(stream, ENOMEM);
        return NULL;
    }
    tls->ssl = ssl_new(stream, context);
    if (!tls->ssl) {
        free(tls);
        stream_fail(stream, ENOMEM);
        return NULL;
    }
    tls->context = tls_context_ref(context);
    stream->tls = tls;
    return tls;
}

bool stream_tls_accept(struct stream *stream, struct tls_context *context, bool alpn_required)
{
    struct tls_session *tls = session_begin(stream, context);
    if (!tls)
        return false;
    tls->accepting = true;
    tls->alpn_required = alpn_required;
    SSL_set_accept_state(tls->ssl);
    stream_handshaking(stream);
    return true;
}

bool stream_tls_connect(struct stream *stream, struct tls_context *context, const char *host)
{
    struct tls_session *tls = session_begin(stream, context);
    if (!tls)
        return false;
    tls->host = strdup(host ? host : "");
    if (!tls->host) {
        stream_fail(stream, ENOMEM);
        return false;
    }
    SSL_set_connect_state(tls->ssl);
    /* RFC 6066 has no addresses in SNI. */
    if (tls->host[0] && !tls_is_address(tls->host) && SSL_set_tlsext_host_name(tls->ssl, tls->host) != 1)
        ERR_clear_error(); /* a name too long for the extension: go without */
    stream_handshaking(stream);
    return true;
}

void tls_session_free(struct stream *stream)
{
    struct tls_session *tls = stream->tls;
    SSL_free(tls->ssl);
    tls_context_unref(tls->context);
    free(tls->host);
    free(tls->text);
    free(tls);
    stream->tls = NULL;
}

const char *tls_session_error(const struct stream *stream)
{
    return stream->tls->text;
}

bool tls_session_pending(const struct stream *stream)
{
    return stream->tls->pending;
}

/* ---- failing ------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static void fail(struct stream *stream, int error, const char *format,
                                                       ...)
{
    struct tls_session *tls = stream->tls;
    tls->broken = true;
    if (!stream->error && !tls->text) {
        va_list arguments;
        va_start(arguments, format);
        if (vasprintf(&tls->text, format, arguments) < 0)
            tls->text = NULL; /* the errno's own words must do */
        va_end(arguments);
    }
    stream_fail(stream, error);
}

/* After an OpenSSL call that failed for good. */
static void fail_ssl(struct stream *stream, bool handshake)
{
    struct tls_session *tls = stream->tls;
    const char *doing = handshake ? "TLS handshake failed" : "TLS error";
    long verified = SSL_get_verify_result(tls->ssl);
    char why[160];
    if (tls->socket_error) {
        fail(stream, tls->socket_error, "%s: %s", doing, strerrordesc_np(tls->socket_error));
    } else if (tls->socket_ended && ERR_peek_error() == 0) {
        fail(stream, ECONNRESET, "%s: the peer closed the connection", doing);
    } else if (handshake && verified != X509_V_OK) {
        fail(stream, EPROTO, "certificate verify failed: %s", X509_verify_cert_error_string(verified));
    } else {
        tls_error_text(why, sizeof why);
        fail(stream, EPROTO, "%s: %s", doing, why);
    }
    ERR_clear_error();
}

/* ---- the handshake ------------------------------------------------------------------------------------ */

static int check_alpn(struct stream *stream)
{
    const unsigned char *protocol = NULL;
    unsigned length = 0;
    SSL_get0_alpn_selected(stream->tls->ssl, &protocol, &length);
    if (!stream->tls->alpn_required || length)
        return 1;
    fail(stream, EPROTO, "direct TLS without the ALPN protocol negotiation extension");
    return -1;
}

static int check_server(struct stream *stream)
{
    struct tls_session *tls = stream->tls;
    if (tls->context->mode != TLS_VERIFY_FULL)
        return 1;
    if (!tls->host || !tls->host[0]) {
        fail(stream, EPROTO, "host name must be specified for a verified TLS connection");
        return -1;
    }
    X509 *certificate = SSL_get1_peer_certificate(tls->ssl);
    bool good = certificate && tls_certificate_is_for(certificate, tls->host);
    X509_free(certificate);
    ERR_clear_error();
    if (good)
        return 1;
    fail(stream, EPROTO,
         "certificate verify failed: the server's certificate is not for host name \"%.100s\"", tls->host);
    return -1;
}

int tls_session_handshake(struct stream *stream)
{
    struct tls_session *tls = stream->tls;
    ERR_clear_error();
    tls->drained = false;
    int done = SSL_do_handshake(tls->ssl);
    if (done != 1) {
        if (!tls->socket_error && SSL_get_error(tls->ssl, done) == SSL_ERROR_WANT_READ)
            return 0;
        fail_ssl(stream, true);
        return -1;
    }
    tls->pending = SSL_has_pending(tls->ssl) != 0;
    int good = tls->accepting ? check_alpn(stream) : check_server(stream);
    free(tls->host);
    tls->host = NULL;
    return good;
}

/* ---- reading and writing ------------------------------------------------------------------------------ */

/* Reading has just made us send `grown` bytes that the peer doesn't take. */
static bool peer_floods(struct tls_session *tls, size_t before, size_t after)
{
    if (after == 0)
        tls->answered = 0;
    else if (after > before)
        tls->answered += (uint32_t)(after - before);
    return tls->answered > ANSWERED_MOST;
}

/* SSL_read_ex gave nothing: STREAM_AGAIN, 0 or STREAM_ERROR. */
static ssize_t read_outcome(struct stream *stream, int result)
{
    struct tls_session *tls = stream->tls;
    int why = tls->socket_error ? SSL_ERROR_SYSCALL : SSL_get_error(tls->ssl, result);
    if (why == SSL_ERROR_WANT_READ)
        return stream->error ? STREAM_ERROR : STREAM_AGAIN;
    if (why == SSL_ERROR_ZERO_RETURN || (tls->socket_ended && why == SSL_ERROR_SYSCALL))
        return stream->error ? STREAM_ERROR : 0;
    fail_ssl(stream, false);
    return STREAM_ERROR;
}

ssize_t tls_session_read(struct stream *stream, void *buffer, size_t size)
{
    struct tls_session *tls = stream->tls;
    size_t total = 0, unsent = stream_unsent(stream);
    if (tls->over)
        return stream->error ? STREAM_ERROR : 0;
    tls->drained = false;
    ssize_t outcome = 1;
    while (total < size && outcome > 0) {
        size_t got = 0;
        ERR_clear_error();
        int result = SSL_read_ex(tls->ssl, (uint8_t *)buffer + total, size - total, &got);
        if (result == 1)
            total += got;
        else
            outcome = read_outcome(stream, result);
    }
    if (peer_floods(tls, unsent, stream_unsent(stream))) {
        fail(stream, EPROTO, "TLS error: the peer makes us answer without reading");
        outcome = STREAM_ERROR;
    }
    /* The end behind the last bytes is told by the next call: see to it that there is one. */
    tls->over = outcome == 0 || outcome == STREAM_ERROR;
    tls->pending = total > 0 && (tls->over || (outcome > 0 && SSL_has_pending(tls->ssl)));
    if (tls->pending && stream->reading)
        stream_wake(stream);
    return total > 0 ? (ssize_t)total : outcome;
}

void tls_session_write(struct stream *stream, const void *bytes, size_t n)
{
    struct tls_session *tls = stream->tls;
    size_t written = 0;
    if (tls->broken)
        return;
    ERR_clear_error();
    if (SSL_write_ex(tls->ssl, bytes, n, &written) != 1 || written != n)
        fail_ssl(stream, false);
}

void tls_session_shutdown(struct stream *stream)
{
    if (stream->tls->broken)
        return;
    ERR_clear_error();
    SSL_shutdown(stream->tls->ssl); /* sends our close_notify; the peer's is not waited for */
    ERR_clear_error();
}

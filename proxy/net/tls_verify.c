/*
 * Questions about certificates, answered as libpq and the server answer them.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "proxy/net/stream.h"
#include "proxy/net/tls_context.h"
#include "proxy/net/tls_session.h"

bool tls_is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

bool tls_certificate_is_for(X509 *certificate, const char *host)
{
    if (!host || !*host || *host == '.') /* OpenSSL takes ".example.com" for any name below */
        return false;
    if (tls_is_address(host) && X509_check_ip_asc(certificate, host, 0) == 1)
        return true;
    /* An address may also stand as a dNSName or in the CN (libpq, for old certificates). "f*.example.com" is
     * no wildcard for libpq, only "*.example.com" is. */
    return X509_check_host(certificate, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

bool tls_certificate_cn(X509 *certificate, char *cn, size_t size)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
    if (at < 0)
        return false;
    unsigned char *text = NULL;
    int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    /* A NUL would let "admin\0.example.com" pass for "admin". */
    bool good = length >= 0 && (size_t)length < size && !memchr(text, '\0', (size_t)length);
    if (good) {
        memcpy(cn, text, (size_t)length);
        cn[length] = '\0';
    }
    OPENSSL_free(text);
    ERR_clear_error();
    return good;
}

bool tls_peer_cn(const struct stream *stream, char *cn, size_t size)
{
    X509 *certificate = stream->tls ? SSL_get1_peer_certificate(stream->tls->ssl) : NULL;
    bool found = certificate && tls_certificate_cn(certificate, cn, size);
    X509_free(certificate);
    return found;
}

bool tls_same_certificate(const struct stream *client, const struct stream *upstream)
{
    if (!client->tls || !upstream->tls)
        return false;
    X509 *theirs = SSL_get1_peer_certificate(upstream->tls->ssl);
    X509 *ours = SSL_get_certificate(client->tls->ssl);
    unsigned char *a = NULL, *b = NULL;
    int na = theirs ? i2d_X509(theirs, &a) : -1, nb = ours ? i2d_X509(ours, &b) : -1;
    bool same = na > 0 && na == nb && memcmp(a, b, (size_t)na) == 0;
    OPENSSL_free(a);
    OPENSSL_free(b);
    X509_free(theirs);
    ERR_clear_error();
    return same;
}

const char *tls_version(const struct stream *stream)
{
    return stream->tls && !stream->handshaking ? SSL_get_version(stream->tls->ssl) : NULL;
}

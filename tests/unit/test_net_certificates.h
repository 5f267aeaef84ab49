/*
 * Certificates for the TLS tests, made on the spot: nothing expires in the tree.
 */
#ifndef PGSLUICE_TEST_NET_CERTIFICATES_H
#define PGSLUICE_TEST_NET_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

struct certified {
    X509 *certificate;
    EVP_PKEY *key;
};

struct wanted_certificate {
    const char *cn;
    size_t cn_length;  /* 0: strlen */
    const char *names; /* subjectAltName as OpenSSL writes it, or NULL */
    bool authority;
    bool expired;
};

/* `issuer` NULL: self-signed. Asserts that all goes well. */
struct certified certificate_make(const struct wanted_certificate *, const struct certified *issuer);
void certificate_free(struct certified *);
/* Writes <directory>/<name>.crt and .key (0600). */
void certificate_write(const struct certified *, const char *directory, const char *name);

#endif

/*
 * See test_net_certificates.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "test_net_certificates.h"

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

struct certified certificate_make(const struct wanted_certificate *wanted, const struct certified *issuer)
{
    static long serial = 1;
    const long day = 24L * 3600;
    struct certified made = {X509_new(), EVP_EC_gen("P-256")};
    assert_non_null(made.certificate);
    assert_non_null(made.key);
    X509_set_version(made.certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(made.certificate), -2 * day);
    X509_gmtime_adj(X509_getm_notAfter(made.certificate), wanted->expired ? -day : day);
    X509_NAME *name = X509_get_subject_name(made.certificate);
    int length = wanted->cn_length ? (int)wanted->cn_length : -1;
    if (wanted->cn)
        assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                                    (const unsigned char *)wanted->cn, length, -1, 0),
                         1);
    X509_set_issuer_name(made.certificate, issuer ? X509_get_subject_name(issuer->certificate) : name);
    X509_set_pubkey(made.certificate, made.key);
    add_extension(made.certificate, NID_basic_constraints,
                  wanted->authority ? "critical,CA:TRUE" : "CA:FALSE");
    if (wanted->names)
        add_extension(made.certificate, NID_subject_alt_name, wanted->names);
    assert_true(X509_sign(made.certificate, issuer ? issuer->key : made.key, EVP_sha256()) > 0);
    return made;
}

void certificate_free(struct certified *certified)
{
    X509_free(certified->certificate);
    EVP_PKEY_free(certified->key);
}

void certificate_write(const struct certified *certified, const char *directory, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s.crt", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certified->certificate), 1);
    fclose(file);
    snprintf(path, sizeof path, "%s/%s.key", directory, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, certified->key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    chmod(path, 0600);
}

/*
 * SHA-256 by OpenSSL's EVP interface.
 */
#include "proxy/net/digest.h"

#include <openssl/evp.h>

bool digest_sha256(const void *bytes, size_t n, char hex[DIGEST_HEX + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(bytes, n, digest, &size, EVP_sha256(), NULL) != 1 || size * 2 != DIGEST_HEX)
        return false;
    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    hex[DIGEST_HEX] = '\0';
    return true;
}

/*
 * SHA-256, for the folders that may not include OpenSSL themselves.
 */
#ifndef PGSLUICE_PROXY_NET_DIGEST_H
#define PGSLUICE_PROXY_NET_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#define DIGEST_HEX 64

/* Lower-case hexadecimal, NUL-terminated. False: the library has no memory for it. Any thread. */
bool digest_sha256(const void *bytes, size_t n, char hex[DIGEST_HEX + 1]);

#endif

/*
 * What single strings of the file must look like. Each function answers NULL for a good value, else what was
 * expected, without repeating the value: it may be a secret.
 */
#include "conf/schema.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <string.h>
#include <sys/un.h>

/* Bytes that PostgreSQL puts behind a socket's directory: "/.s.PGSQL.65535" and the NUL. */
enum { SOCKET_SUFFIX = sizeof "/.s.PGSQL.65535", SOCKET_PATH = sizeof((struct sockaddr_un *)0)->sun_path };

static bool ip_address(const char *text)
{
    struct in6_addr address;
    if (inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1)
        return true;
    const char *zone = strchr(text, '%'); /* fe80::1%eth0 */
    char bare[INET6_ADDRSTRLEN];
    if (!zone || zone[1] == '\0' || (size_t)(zone - text) >= sizeof bare)
        return false;
    memcpy(bare, text, (size_t)(zone - text));
    bare[zone - text] = '\0';
    return inet_pton(AF_INET6, bare, &address) == 1;
}

static const char *socket_directory(const char *path)
{
    if (strlen(path) + SOCKET_SUFFIX > SOCKET_PATH)
        return "this directory's name is too long for a Unix socket";
    return NULL;
}

const char *value_listen_address(const char *text)
{
    if (text[0] == '/')
        return socket_directory(text);
    if (strcmp(text, "*") == 0 || ip_address(text))
        return NULL;
    return "expected an IP address, * for all, or the absolute directory of a Unix socket";
}

const char *value_admin_address(const char *text)
{
    if (strcmp(text, "*") == 0 || ip_address(text))
        return NULL;
    return "expected an IP address, or * for all";
}

const char *value_host(const char *text)
{
    if (text[0] == '/')
        return socket_directory(text);
    if (*text && strlen(text) <= 255 && !strpbrk(text, " \t\r\n/,"))
        return NULL;
    return "expected a host name, an IP address, or the absolute directory of a Unix socket";
}

const char *value_path(const char *text)
{
    size_t length = strlen(text);
    if (length > 0 && length < 4096 && text[length - 1] != '/')
        return NULL;
    return "expected the path of a file";
}

const char *value_not_empty(const char *text)
{
    return *text ? NULL : "expected a text, not an empty one";
}

/* "user=app*,client=10.*": what log.trace selects by. */
const char *value_trace(const char *text)
{
    static const char *const names[] = {"user", "database", "application", "client"};
    static const char expected[] =
        "expected user=..., database=..., application=... or client=..., joined by commas";
    while (true) {
        size_t length = strcspn(text, ",");
        const char *equals = memchr(text, '=', length);
        if (!equals || equals + 1 == text + length)
            return expected;
        bool known = false;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            size_t size = strlen(names[i]);
            if (size == (size_t)(equals - text) && memcmp(text, names[i], size) == 0)
                known = true;
        }
        if (!known)
            return expected;
        if (text[length] == '\0')
            return NULL;
        text += length + 1;
    }
}

const char *value_conninfo(const char *text)
{
    char *error = NULL; /* libpq's own message may quote a password, so it is not shown */
    PQconninfoOption *options = PQconninfoParse(text, &error);
    PQfreemem(error);
    if (!options)
        return "not a connection string as libpq reads it: 'host=... user=...' or postgresql://...";
    PQconninfoFree(options);
    return NULL;
}

/*
 * Opening TCP listening sockets, and what is common to all kinds.
 */
#include "proxy/net/listen_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void address_text(const struct sockaddr_storage *address, socklen_t length, char *text, size_t size)
{
    char host[64], port[8];
    if (address->ss_family == AF_UNIX ||
        getnameinfo((const struct sockaddr *)address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(text, size, "local");
        return;
    }
    snprintf(text, size, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static bool place_numeric(const char *address, uint16_t port, struct listen_place *place)
{
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(address, service, &hints, &found) != 0)
        return false;
    *place = (struct listen_place){.length = found->ai_addrlen};
    memcpy(&place->address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

static bool place_unix(const char *directory, uint16_t port, struct listen_place *place)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    int n = snprintf(local.sun_path, sizeof local.sun_path, "%s/.s.PGSQL.%u", directory, (unsigned)port);
    if (n < 0 || (size_t)n >= sizeof local.sun_path)
        return false;
    *place = (struct listen_place){.length = sizeof local};
    memcpy(&place->address, &local, sizeof local);
    return true;
}

size_t listen_places(const char *address, uint16_t port, struct listen_place places[2], char *error,
                     size_t size)
{
    if (strcmp(address, "*") == 0) {
        if (!place_numeric("::", port, &places[0]) || !place_numeric("0.0.0.0", port, &places[1])) {
            snprintf(error, size, "listen: %s: no such address", address);
            return 0;
        }
        places[0].optional = true;
        return 2;
    }
    if (address[0] == '/') {
        if (place_unix(address, port, &places[0]))
            return 1;
        snprintf(error, size, "listen: the path of a Unix socket has at most %zu bytes: %s/.s.PGSQL.%u",
                 sizeof((struct sockaddr_un *)0)->sun_path - 1, address, (unsigned)port);
        return 0;
    }
    if (place_numeric(address, port, &places[0]))
        return 1;
    snprintf(error, size, "listen: %s: not an IP address", address);
    return 0;
}

bool listen_socket_at(const struct listen_socket *socket, const struct listen_place *place)
{
    return socket->length == place->length && memcmp(&socket->address, &place->address, place->length) == 0;
}

/*
 * SO_REUSEPORT would also let a second proxy of the same user share the port, so that connections would go to
 * either at random. A bind without it finds that out.
 */
static bool tcp_is_free(const struct listen_place *place)
{
    int on = 1;
    int fd = socket(place->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true; /* the real one will tell */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (place->address.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    bool free = bind(fd, (const struct sockaddr *)&place->address, place->length) == 0 || errno != EADDRINUSE;
    close(fd);
    return free;
}

static int tcp_bind(const struct listen_place *place)
{
    int on = 1;
    int fd = socket(place->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    bool v6 = place->address.ss_family == AF_INET6;
    /* The last two are inherited by what is accepted. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
        (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)&place->address, place->length) < 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static int tcp_open(const struct listen_place *place, bool alone, char *error, size_t size)
{
    char name[80];
    address_text(&place->address, place->length, name, sizeof name);
    if (alone && !tcp_is_free(place)) {
        snprintf(error, size, "listen: %s: another program listens there", name);
        errno = EADDRINUSE;
        return -1;
    }
    int fd = tcp_bind(place);
    if (fd < 0) {
        int why = errno;
        snprintf(error, size, "listen: %s: %s", name, strerrordesc_np(why));
        errno = why;
    }
    return fd;
}

struct listen_socket *listen_socket_open(const struct listen_place *place, bool alone, char *error,
                                         size_t size)
{
    struct listen_socket *socket = calloc(1, sizeof *socket);
    if (!socket) {
        snprintf(error, size, "listen: out of memory");
        return NULL;
    }
    atomic_init(&socket->references, 1);
    socket->address = place->address;
    socket->length = place->length;
    socket->lock = -1;
    if (place->address.ss_family == AF_UNIX)
        socket->fd =
            listen_unix_bind((const struct sockaddr_un *)&place->address, &socket->lock, error, size);
    else
        socket->fd = tcp_open(place, alone, error, size);
    if (socket->fd < 0) {
        int why = errno;
        free(socket);
        errno = why;
        return NULL;
    }
    if (listen(socket->fd, SOMAXCONN) < 0) {
        int why = errno;
        snprintf(error, size, "listen: %s", strerrordesc_np(why));
        listen_socket_unref(socket);
        errno = why;
        return NULL;
    }
    return socket;
}

struct listen_socket *listen_socket_ref(struct listen_socket *socket)
{
    atomic_fetch_add_explicit(&socket->references, 1, memory_order_relaxed);
    return socket;
}

void listen_socket_unref(struct listen_socket *socket)
{
    if (!socket || atomic_fetch_sub_explicit(&socket->references, 1, memory_order_acq_rel) != 1)
        return;
    if (socket->address.ss_family == AF_UNIX)
        listen_unix_remove((const struct sockaddr_un *)&socket->address, socket->lock);
    close(socket->fd);
    free(socket);
}

/*
 * One listening socket, shared by reference: by all loops (a Unix socket) or by the old and new sets of one
 * loop (TCP). The fd stays the same number as long as anyone holds it, which epoll needs.
 */
#ifndef PGSLUICE_PROXY_NET_LISTEN_SOCKET_H
#define PGSLUICE_PROXY_NET_LISTEN_SOCKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct listen_socket {
    atomic_uint references;
    int fd, lock; /* lock: of a Unix socket, else -1 */
    struct sockaddr_storage address;
    socklen_t length;
};

/* A place to listen on: "*" is two of them. False: no such place (and why). */
struct listen_place {
    struct sockaddr_storage address;
    socklen_t length;
    bool optional; /* the IPv6 half of "*": not an error where the kernel has no IPv6 */
};
size_t listen_places(const char *address, uint16_t port, struct listen_place places[2], char *error,
                     size_t size);

bool listen_socket_at(const struct listen_socket *, const struct listen_place *);
/* `alone`: fail if any other process listens there, although SO_REUSEPORT would let us. NULL with errno
 * EAFNOSUPPORT or EADDRNOTAVAIL and others; `error` is filled. */
struct listen_socket *listen_socket_open(const struct listen_place *, bool alone, char *error, size_t size);
struct listen_socket *listen_socket_ref(struct listen_socket *);
void listen_socket_unref(struct listen_socket *);

/* "192.0.2.7:53122", "[2001:db8::1]:5", "local". */
void address_text(const struct sockaddr_storage *, socklen_t, char *text, size_t size);

/* listen_unix.c: a bound (not yet listening) socket, and the lock that guards its file; -1 and why. */
int listen_unix_bind(const struct sockaddr_un *, int *lock, char *error, size_t size);
void listen_unix_remove(const struct sockaddr_un *, int lock);

#endif

/*
 * The yardstick: a bare relay. One thread, one epoll; each client connection gets one server connection,
 * bytes go from one to the other, nothing is looked at. What it costs is what any proxy must cost.
 *
 *   relay LISTEN_PORT UPSTREAM_PORT      (127.0.0.1 both)
 *
 * Not a product: it ends the pair on any error, and it waits in poll() where a peer is slow to take bytes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct half {
    int fd;
    struct half *other;
};

static uint8_t buffer[65536];

static int inet_socket(uint16_t port, int listening)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK * listening, 0);
    int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listening ? bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)
                  : connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int send_all(int fd, const uint8_t *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, -1);
            continue;
        }
        if (sent < 0)
            return -1;
        bytes += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static void accept_pair(int epoll, int listener, uint16_t upstream)
{
    int fd = accept4(listener, NULL, NULL, 0);
    if (fd < 0)
        return;
    int server = inet_socket(upstream, 0);
    struct half *pair = server < 0 ? NULL : calloc(2, sizeof *pair);
    if (!pair) {
        close(fd);
        if (server >= 0)
            close(server);
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pair[0] = (struct half){fd, &pair[1]};
    pair[1] = (struct half){server, &pair[0]};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &pair[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, pair[i].fd, &event);
    }
}

static void end_pair(struct half *half)
{
    /* The two halves stay allocated: an event for the other one may be in the batch at hand. */
    close(half->fd);
    close(half->other->fd);
    half->fd = half->other->fd = -1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = inet_socket((uint16_t)atoi(argv[1]), 1);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (listener < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event)) {
        perror("relay");
        return 1;
    }
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct half *half = events[i].data.ptr;
            if (!half) {
                accept_pair(epoll, listener, (uint16_t)atoi(argv[2]));
                continue;
            }
            if (half->fd < 0)
                continue;
            ssize_t got = recv(half->fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN)
                continue;
            if (got <= 0 || send_all(half->other->fd, buffer, (size_t)got))
                end_pair(half);
        }
    }
}

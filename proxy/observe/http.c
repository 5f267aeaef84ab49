/*
 * The admin port. libmicrohttpd has no thread of its own here: its epoll descriptor is watched by the control
 * loop, which calls http_run. Every answer is made whole in memory at once, so nothing here waits for
 * anything.
 *
 * It is meant for the inside of a network: nothing can be changed through it, and it costs a stranger no more
 * than CONNECTIONS descriptors and their buffers.
 */
#include "proxy/observe/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/observe/log.h"
#include "proxy/observe/metrics.h"

enum { CONNECTIONS = 64, CONNECTION_MEMORY = 16 << 10, IDLE_SECONDS = 10, RUNS = 16 };

struct http {
    struct MHD_Daemon *daemon;
    http_ready ready;
    void *argument;
};

static const char text_type[] = "text/plain; charset=utf-8";
static const char metrics_type[] = "text/plain; version=0.0.4; charset=utf-8";

/* ---- answers ---------------------------------------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              const char *bytes, size_t n, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(n, (void *)bytes, mode);
    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free((void *)bytes);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned status, const char *text)
{
    return answer(connection, status, text_type, text, strlen(text), MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result get_index(struct http *http, struct MHD_Connection *connection)
{
    return say(connection, MHD_HTTP_OK,
               "pgsluice " PGSLUICE_VERSION "\n\n/metrics  numbers for Prometheus\n"
               "/healthz  200 while the process answers\n/readyz   200 while it takes sessions, else 503\n");
}

static enum MHD_Result get_metrics(struct http *http, struct MHD_Connection *connection)
{
    size_t n;
    char *text = metrics_render(&n);
    if (!text)
        return say(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    return answer(connection, MHD_HTTP_OK, metrics_type, text, n, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result get_healthz(struct http *http, struct MHD_Connection *connection)
{
    return say(connection, MHD_HTTP_OK, "ok\n");
}

static enum MHD_Result get_readyz(struct http *http, struct MHD_Connection *connection)
{
    char reason[256] = "";
    if (!http->ready || http->ready(http->argument, reason, sizeof reason - 2))
        return say(connection, MHD_HTTP_OK, "ready\n");
    size_t n = strlen(reason);
    reason[n] = '\n';
    reason[n + 1] = '\0';
    return say(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reason);
}

static const struct {
    const char *path;
    enum MHD_Result (*get)(struct http *, struct MHD_Connection *);
} routes[] = {
    {"/", get_index}, {"/metrics", get_metrics}, {"/healthz", get_healthz}, {"/readyz", get_readyz}};

static enum MHD_Result handle(void *argument, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(url, routes[i].path) == 0)
            return routes[i].get(argument, connection);
    return say(connection, MHD_HTTP_NOT_FOUND, "not found\n");
}

/* ---- the socket ------------------------------------------------------------------------------------- */

/* The first of the address's sockets that can be bound; -1 with the reason in errno. */
static int bind_first(const struct addrinfo *found)
{
    int error = EADDRNOTAVAIL;
    for (; found; found = found->ai_next) {
        const int on = 1, off = 0;
        int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            (found->ai_family != AF_INET6 ||
             setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0) &&
            bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, CONNECTIONS) == 0)
            return fd;
        error = errno;
        if (fd >= 0)
            close(fd);
    }
    errno = error;
    return -1;
}

static int open_socket(const char *address, uint16_t port, char *error, size_t size)
{
    char service[8];
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    bool any = strcmp(address, "*") == 0;
    snprintf(service, sizeof service, "%u", port);
    int failed = getaddrinfo(any ? NULL : address, service, &hints, &found);
    if (failed) {
        snprintf(error, size, "admin address %s: %s", address, gai_strerror(failed));
        return -1;
    }
    int fd = bind_first(found);
    char words[128];
    if (fd < 0)
        snprintf(error, size, "admin address %s, port %u: %s", address, port,
                 strerror_r(errno, words, sizeof words));
    freeaddrinfo(found);
    return fd;
}

/* ---- life ------------------------------------------------------------------------------------------- */

struct http *http_start(const char *address, uint16_t port, http_ready ready, void *argument, char *error,
                        size_t size)
{
    int fd = open_socket(address, port, error, size);
    if (fd < 0)
        return NULL;
    struct http *http = calloc(1, sizeof *http);
    if (http) {
        *http = (struct http){.ready = ready, .argument = argument};
        http->daemon = MHD_start_daemon(
            MHD_USE_EPOLL, port, NULL, NULL, handle, http, MHD_OPTION_LISTEN_SOCKET, fd,
            MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
            (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
        if (http->daemon)
            return http;
    }
    snprintf(error, size, "the admin port cannot be started: out of memory or descriptors");
    close(fd);
    free(http);
    return NULL;
}

int http_fd(const struct http *http)
{
    return MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

long http_timeout_ms(const struct http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout;
    if (MHD_get_timeout(http->daemon, &timeout) != MHD_YES)
        return -1;
    return timeout < 1000UL * IDLE_SECONDS ? (long)timeout : 1000L * IDLE_SECONDS;
}

/* More than once where work is left over, but not for ever: the loop has others to serve. */
void http_run(struct http *http)
{
    for (int i = 0; i < RUNS; i++) {
        if (MHD_run(http->daemon) != MHD_YES) {
            log_warning("admin: the HTTP server could not run");
            return;
        }
        if (http_timeout_ms(http) != 0)
            return;
    }
}

void http_stop(struct http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    free(http);
}

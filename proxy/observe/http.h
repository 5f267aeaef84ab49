/*
 * The admin port: /metrics, /healthz (the process answers), /readyz (it takes sessions and the audit works).
 * libmicrohttpd in external-epoll mode; the control loop drives it.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_HTTP_H
#define PGSLUICE_PROXY_OBSERVE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;

/* Returns false and a reason when the process should not get traffic. Called on the control loop. */
typedef bool (*http_ready)(void *argument, char *reason, size_t size);

struct http *http_start(const char *address, uint16_t port, http_ready, void *argument, char *error,
                        size_t size);
int http_fd(const struct http *);          /* readable when there is something to do */
long http_timeout_ms(const struct http *); /* -1: none */
void http_run(struct http *);              /* do what can be done without blocking */
void http_stop(struct http *);

#endif

/*
 * The inside of `pgsluice serve`, for the serve*.c files only.
 *
 * Threads: the main thread runs the control loop (signals, admin port, reload, drain); each worker runs a
 * loop with its listeners and its sessions. The control thread reaches a worker through workers_call only,
 * which waits: so a worker's room is touched by its own thread alone, and a reload is over when it says so.
 */
#ifndef PGSLUICE_PROXY_SERVE_INSIDE_H
#define PGSLUICE_PROXY_SERVE_INSIDE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"
#include "proxy/net/listener.h"
#include "proxy/net/loop.h"
#include "proxy/net/tls.h"
#include "proxy/observe/http.h"
#include "proxy/session/session.h"

/* Made from one configuration, prepared whole before it is put in force. */
struct setting {
    struct conf *conf;
    struct tls_context *tls_client, *tls_upstream; /* NULL: no TLS on that leg */
};

struct worker {
    struct session_room room; /* its counters stand on cache lines of their own */
    struct loop_timer *tick;
    struct listener *listener;
    struct listener *prepared; /* by a reload that is not committed yet */
    pthread_t thread;
    bool running;
};

struct admin {
    struct http *http; /* or NULL */
    struct loop *loop;
    struct loop_watch *watch;
    struct loop_timer *timer;
};

struct serve {
    const char *path;
    struct setting setting;
    struct loop *control;
    struct worker *workers;
    size_t n_workers;
    struct sessions_shared shared;
    struct admin admin;
    struct loop_timer *drain;
    double drain_deadline; /* 0: none */
    bool draining;
};

/* serve_setting.c */
/* Loads the file and everything it names. False: `mistakes` lines went to the log or, at the start, to
 * stderr. */
bool setting_load(struct setting *, const char *path, bool at_start, int *exit_code);
/* limits.sessions and the descriptors of this process: fewer sessions where the file doesn't say how many, a
 * warning where it wants more than can be had. Before the setting is shared. */
void setting_fit(struct setting *);
void setting_release(struct setting *);

/* serve_workers.c */
bool workers_open(struct serve *, char *error, size_t size);
bool workers_start(struct serve *);
void workers_stop(struct serve *); /* joins and frees them */
/* Runs `work` on the worker's thread and waits for it. */
void workers_call(struct worker *, void (*work)(struct worker *, void *argument), void *argument);
void workers_each(struct serve *, void (*work)(struct worker *, void *argument), void *argument);
bool workers_prepare_listeners(struct serve *, const struct conf *, char *error, size_t size);
void workers_rollback_listeners(struct serve *);
/* Puts a setting and the prepared listeners in force. */
void workers_commit(struct serve *, const struct setting *);

/* serve_admin.c */
/* `conf` without an admin address: none. */
bool admin_start(struct admin *, struct serve *, const struct conf *, char *error, size_t size);
bool admin_watch(struct admin *); /* once it stands where it stays: the loop keeps its address */
void admin_stop(struct admin *);

/* serve_reload.c */
void serve_reload(struct serve *);

#endif

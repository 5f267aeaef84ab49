/*
 * Loops: one a thread, over libev and an epoll of its own. Everything that belongs to a loop is touched on
 * its thread only; other threads reach it through loop_post. This header hides libev from the rest of the
 * proxy.
 */
#ifndef PGSLUICE_PROXY_NET_LOOP_H
#define PGSLUICE_PROXY_NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* A piece of work for a loop: embed it; `run` is called once on the loop's thread, in the order of posting.
 */
struct loop_task {
    void (*run)(struct loop_task *);
    struct loop_task *next;
};

struct loop *loop_new(void); /* NULL: errno */
void loop_free(struct loop *);
void loop_run(struct loop *);                      /* until loop_stop */
void loop_stop(struct loop *);                     /* from its own thread or by a posted task */
void loop_post(struct loop *, struct loop_task *); /* any thread */
double loop_now(struct loop *); /* seconds, monotonic enough for durations; cached per iteration */

/* A shared scratch buffer for reading: at most one reader at a time, valid until the next callback. */
uint8_t *loop_scratch(struct loop *, size_t *size);

/* Timers; coarse ones may be late by up to a second. */
struct loop_timer;
struct loop_timer *loop_timer_new(struct loop *, void (*fire)(void *argument), void *argument);
void loop_timer_set(struct loop_timer *, double seconds); /* one shot, replaces what was set */
void loop_timer_stop(struct loop_timer *);
void loop_timer_free(struct loop_timer *);

/* Foreign file descriptors (the HTTP server's, libpq's). */
struct loop_watch;
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_watch *loop_watch_new(struct loop *, int fd, void (*ready)(void *argument, int events),
                                  void *argument);
void loop_watch_set(struct loop_watch *, int events);
void loop_watch_free(struct loop_watch *);

/* Signals, on one loop of the process. */
bool loop_signal(struct loop *, int signal, void (*caught)(void *argument, int signal), void *argument);

#endif

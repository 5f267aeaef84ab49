/*
 * Loops over libev.
 *
 * Invariants: everything but `posted` is touched by the loop's own thread. `posted` is a queue behind a
 * mutex; the loop is woken only by the post that finds it empty, and takes the whole queue at once, so a
 * burst of posts costs one wake-up and tasks posted by tasks cannot starve the sockets. A loop owns its
 * scratch buffer and the signal watchers; timers and watches belong to whoever made them.
 */
#include "proxy/net/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/net/loop_ev.h"

enum { LOOP_MAGIC = 0x6c6f6f70, SCRATCH_SIZE = 64 * 1024 };

struct loop_clock {
    unsigned iteration;
    bool valid;
    double now;
};

struct loop_signal_watch {
    struct ev_signal watcher;
    void (*caught)(void *argument, int signal);
    void *argument;
    struct loop_signal_watch *next;
};

struct loop {
    unsigned magic;
    struct ev_loop *ev;
    uint8_t *scratch;
    struct loop_clock *clock;
    struct loop_signal_watch *signals;

    struct ev_async wake;
    pthread_mutex_t mutex; /* guards the three below */
    struct loop_task *posted, **posted_end;
};

struct loop_timer {
    struct ev_timer watcher;
    struct loop *loop;
    void (*fire)(void *argument);
    void *argument;
};

struct loop_watch {
    struct ev_io watcher;
    struct loop *loop;
    void (*ready)(void *argument, int events);
    void *argument;
};

struct ev_loop *loop_ev(const struct loop *loop)
{
    assert(loop->magic == LOOP_MAGIC);
    return loop->ev;
}

/* ---- tasks from other threads ------------------------------------------------------------------------ */

static void run_posted(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    struct loop_task *task = loop->posted;
    loop->posted = NULL;
    loop->posted_end = &loop->posted;
    pthread_mutex_unlock(&loop->mutex);
    while (task) {
        struct loop_task *next = task->next; /* run may free or post the task again */
        task->run(task);
        task = next;
    }
}

static void on_wake(struct ev_loop *ev, struct ev_async *watcher, int events)
{
    (void)ev;
    (void)events;
    run_posted(watcher->data);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&loop->mutex);
    bool first = !loop->posted;
    *loop->posted_end = task;
    loop->posted_end = &task->next;
    /* Under the mutex: once it is released the loop may run the task and be freed by it. */
    if (first)
        ev_async_send(loop->ev, &loop->wake);
    pthread_mutex_unlock(&loop->mutex);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static bool make_parts(struct loop *loop)
{
    /* The environment (LIBEV_FLAGS) is not asked: a proxy has one way of running. */
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!loop->ev)
        loop->ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    loop->scratch = malloc(SCRATCH_SIZE);
    loop->clock = calloc(1, sizeof *loop->clock);
    return loop->ev && loop->scratch && loop->clock;
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->magic = LOOP_MAGIC;
    loop->posted_end = &loop->posted;
    if (!make_parts(loop)) {
        if (loop->ev)
            ev_loop_destroy(loop->ev);
        free(loop->scratch);
        free(loop->clock);
        free(loop);
        errno = ENOMEM;
        return NULL;
    }
    pthread_mutex_init(&loop->mutex, NULL);
    ev_async_init(&loop->wake, on_wake);
    loop->wake.data = loop;
    ev_async_start(loop->ev, &loop->wake);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(loop->magic == LOOP_MAGIC);
    run_posted(loop); /* every task runs once, so that whoever posted it can let go of it */
    while (loop->signals) {
        struct loop_signal_watch *signal = loop->signals;
        loop->signals = signal->next;
        ev_signal_stop(loop->ev, &signal->watcher);
        free(signal);
    }
    ev_async_stop(loop->ev, &loop->wake);
    ev_loop_destroy(loop->ev);
    pthread_mutex_destroy(&loop->mutex);
    free(loop->scratch);
    free(loop->clock);
    loop->magic = 0;
    free(loop);
}

void loop_run(struct loop *loop)
{
    ev_run(loop_ev(loop), 0);
}

void loop_stop(struct loop *loop)
{
    ev_break(loop_ev(loop), EVBREAK_ALL);
}

double loop_now(const struct loop *loop)
{
    /* Not ev_now: that one follows the wall clock when somebody sets it. */
    struct loop_clock *clock = loop->clock;
    unsigned iteration = ev_iteration(loop->ev);
    if (!clock->valid || clock->iteration != iteration || ev_depth(loop->ev) == 0) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        clock->now = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
        clock->iteration = iteration;
        clock->valid = true;
    }
    return clock->now;
}

uint8_t *loop_scratch(struct loop *loop, size_t *size)
{
    *size = SCRATCH_SIZE;
    return loop->scratch;
}

/* ---- timers ------------------------------------------------------------------------------------------- */

static void on_timer(struct ev_loop *ev, struct ev_timer *watcher, int events)
{
    (void)ev;
    (void)events;
    struct loop_timer *timer = watcher->data;
    timer->fire(timer->argument);
}

struct loop_timer *loop_timer_new(struct loop *loop, void (*fire)(void *argument), void *argument)
{
    struct loop_timer *timer = calloc(1, sizeof *timer);
    if (!timer)
        return NULL;
    timer->loop = loop;
    timer->fire = fire;
    timer->argument = argument;
    ev_timer_init(&timer->watcher, on_timer, 0., 0.);
    timer->watcher.data = timer;
    return timer;
}

void loop_timer_set(struct loop_timer *timer, double seconds)
{
    struct ev_loop *ev = loop_ev(timer->loop);
    ev_timer_stop(ev, &timer->watcher);
    /* libev counts from the start of this iteration; before the first one that may be long ago. */
    if (ev_depth(ev) == 0)
        ev_now_update(ev);
    ev_timer_set(&timer->watcher, seconds > 0 ? seconds : 0., 0.);
    ev_timer_start(ev, &timer->watcher);
}

void loop_timer_stop(struct loop_timer *timer)
{
    ev_timer_stop(loop_ev(timer->loop), &timer->watcher);
}

void loop_timer_free(struct loop_timer *timer)
{
    if (!timer)
        return;
    loop_timer_stop(timer);
    free(timer);
}

/* ---- foreign descriptors ------------------------------------------------------------------------------ */

static void on_watch(struct ev_loop *ev, struct ev_io *watcher, int events)
{
    (void)ev;
    struct loop_watch *watch = watcher->data;
    int ready = (events & EV_READ ? LOOP_READ : 0) | (events & EV_WRITE ? LOOP_WRITE : 0);
    watch->ready(watch->argument, ready);
}

struct loop_watch *loop_watch_new(struct loop *loop, int fd, void (*ready)(void *argument, int events),
                                  void *argument)
{
    struct loop_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    watch->loop = loop;
    watch->ready = ready;
    watch->argument = argument;
    ev_io_init(&watch->watcher, on_watch, fd, 0);
    watch->watcher.data = watch;
    return watch;
}

void loop_watch_set(struct loop_watch *watch, int events)
{
    struct ev_loop *ev = loop_ev(watch->loop);
    int wanted = (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0);
    ev_io_stop(ev, &watch->watcher);
    ev_io_set(&watch->watcher, watch->watcher.fd, wanted);
    if (wanted)
        ev_io_start(ev, &watch->watcher);
}

void loop_watch_free(struct loop_watch *watch)
{
    if (!watch)
        return;
    ev_io_stop(loop_ev(watch->loop), &watch->watcher);
    free(watch);
}

/* ---- signals ------------------------------------------------------------------------------------------ */

static void on_signal(struct ev_loop *ev, struct ev_signal *watcher, int events)
{
    (void)ev;
    (void)events;
    struct loop_signal_watch *signal = watcher->data;
    signal->caught(signal->argument, watcher->signum);
}

bool loop_signal(struct loop *loop, int signal, void (*caught)(void *argument, int signal), void *argument)
{
    struct loop_signal_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return false;
    watch->caught = caught;
    watch->argument = argument;
    ev_signal_init(&watch->watcher, on_signal, signal);
    watch->watcher.data = watch;
    ev_signal_start(loop_ev(loop), &watch->watcher);
    watch->next = loop->signals;
    loop->signals = watch;
    return true;
}

/*
 * Loops: an epoll for edges, and libev inside it (loop_ev.h).
 *
 * Invariants: everything but `posted` is touched by the loop's own thread. `posted` is a queue behind a
 * mutex; the loop is woken only by the post that finds it empty, and takes the whole queue at once, so a
 * burst of posts costs one wake-up and tasks posted by tasks cannot starve the sockets. A loop owns its
 * scratch buffer and the signal watchers; timers and watches belong to whoever made them.
 *
 * libev never waits: it is run when its descriptor or the timerfd says so, or when something in it may have
 * been changed (`touched`), and what it can't take up by itself then comes from here: the timerfd is set to
 * the first of the timers; posts and signals have an eventfd, since libev's own wake-up counts on its
 * waiting. Neither of the two is ever read: an edge is told all the same.
 */
#include "proxy/net/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "proxy/net/loop_ev.h"

enum { LOOP_MAGIC = 0x6c6f6f70, SCRATCH_SIZE = 64 * 1024, BATCH = 64 };

struct loop_signal_watch {
    int signal;
    void (*caught)(void *argument, int signal);
    void *argument;
    struct loop_signal_watch *next;
};

struct loop {
    unsigned magic;
    int epoll;
    bool stopped, touched, clock_valid;
    bool running;
    struct loop_edge *current; /* whose `happened` is running; NULL once it is gone */
    struct loop_edge again;    /* head of a ring */
    struct epoll_event *batch; /* of BATCH; those from batch_at on have not been told */
    int batch_at, batch_n;
    double now;
    uint8_t *scratch;
    struct ev_loop *ev;
    struct loop_timer *timers;
    struct loop_signal_watch *signals;
    int wake, timer;
    struct loop_edge on_wake, on_timer, on_ev;

    pthread_mutex_t mutex; /* guards the two below */
    struct loop_task *posted, **posted_end;
};

struct loop_timer {
    struct ev_timer watcher;
    struct loop *loop;
    struct loop_timer *next, *previous;
    void (*fire)(void *argument);
    void *argument;
};

struct loop_watch {
    struct ev_io watcher;
    struct loop *loop;
    void (*ready)(void *argument, int events);
    void *argument;
};

struct ev_loop *loop_ev(struct loop *loop)
{
    assert(loop->magic == LOOP_MAGIC);
    loop->touched = true;
    return loop->ev;
}

/* ---- edges -------------------------------------------------------------------------------------------- */

static bool control(const struct loop *loop, int operation, struct loop_edge *edge, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = edge};
    return epoll_ctl(loop->epoll, operation, fd, &event) == 0;
}

bool loop_edge_add(struct loop *loop, struct loop_edge *edge, int fd, uint32_t events)
{
    edge->next = edge->previous = NULL;
    return control(loop, EPOLL_CTL_ADD, edge, fd, events);
}

bool loop_edge_change(struct loop *loop, struct loop_edge *edge, int fd, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, edge, fd, events);
}

static void leave_queue(struct loop_edge *edge)
{
    edge->next->previous = edge->previous;
    edge->previous->next = edge->next;
    edge->next = edge->previous = NULL;
}

void loop_edge_gone(struct loop *loop, struct loop_edge *edge)
{
    if (edge->next)
        leave_queue(edge);
    if (loop->current == edge)
        loop->current = NULL;
    for (int i = loop->batch_at; i < loop->batch_n; i++)
        if (loop->batch[i].data.ptr == edge)
            loop->batch[i].data.ptr = NULL;
}

void loop_edge_again(struct loop *loop, struct loop_edge *edge)
{
    if (edge->next)
        return;
    edge->next = &loop->again;
    edge->previous = loop->again.previous;
    edge->previous->next = edge;
    loop->again.previous = edge;
}

bool loop_edge_stands(const struct loop *loop, const struct loop_edge *edge)
{
    return loop->current == edge;
}

static inline void tell(struct loop *loop, struct loop_edge *edge, uint32_t events)
{
    loop->current = edge;
    edge->happened(edge, events);
    loop->current = NULL;
}

/* Those that are queued now: one that queues again has its turn in the next round. */
static void tell_queued(struct loop *loop)
{
    struct loop_edge mark = {0};
    loop_edge_again(loop, &mark);
    while (loop->again.next != &mark) {
        struct loop_edge *edge = loop->again.next;
        leave_queue(edge);
        tell(loop, edge, 0);
    }
    leave_queue(&mark);
}

static void wait_and_tell(struct loop *loop)
{
    bool queued = loop->again.next != &loop->again;
    int n = epoll_wait(loop->epoll, loop->batch, BATCH, queued || loop->touched || loop->stopped ? 0 : -1);
    loop->clock_valid = false;
    loop->batch_n = n > 0 ? n : 0; /* EINTR: a signal; the eventfd tells which */
    for (loop->batch_at = 0; loop->batch_at < loop->batch_n;) {
        const struct epoll_event *event = &loop->batch[loop->batch_at++];
        if (event->data.ptr)
            tell(loop, event->data.ptr, event->events);
    }
    if (queued)
        tell_queued(loop);
}

static struct loop *loop_around(struct loop_edge *edge, size_t offset)
{
    return (struct loop *)((char *)edge - offset);
}

/* ---- tasks from other threads ------------------------------------------------------------------------ */

static void wake(int descriptor)
{
    static const uint64_t one = 1;
    ssize_t written = write(descriptor, &one, sizeof one);
    (void)written; /* it can't fail: 2^64 wake-ups are never reached */
}

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

void loop_post(struct loop *loop, struct loop_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&loop->mutex);
    bool first = !loop->posted;
    *loop->posted_end = task;
    loop->posted_end = &task->next;
    /* Under the mutex: once it is released the loop may run the task and be freed by it. */
    if (first)
        wake(loop->wake);
    pthread_mutex_unlock(&loop->mutex);
}

/* ---- life --------------------------------------------------------------------------------------------- */

/* libev's own epoll: it tells nobody, but has to tell the watcher that embeds one loop in another. */
static int ev_descriptor(struct ev_loop *ev)
{
    struct ev_loop *outer = ev_loop_new(EVBACKEND_SELECT | EVFLAG_NOENV);
    struct ev_embed embed;
    if (!outer)
        return -1;
    ev_embed_init(&embed, NULL, ev);
    ev_embed_start(outer, &embed);
    int descriptor = embed.io.fd;
    ev_embed_stop(outer, &embed);
    ev_loop_destroy(outer);
    return descriptor;
}

static void on_wake(struct loop_edge *edge, uint32_t events);

static void on_timer(struct loop_edge *edge, uint32_t events)
{
    (void)events;
    loop_around(edge, offsetof(struct loop, on_timer))->touched = true;
}

static void on_ev(struct loop_edge *edge, uint32_t events)
{
    (void)events;
    loop_around(edge, offsetof(struct loop, on_ev))->touched = true;
}

static bool make_parts(struct loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    /* The environment (LIBEV_FLAGS) is not asked: a proxy has one way of running. */
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    loop->scratch = malloc(SCRATCH_SIZE);
    loop->batch = calloc(BATCH, sizeof *loop->batch);
    if (loop->epoll < 0 || loop->wake < 0 || loop->timer < 0 || !loop->ev || !loop->scratch || !loop->batch)
        return false;
    loop->on_wake.happened = on_wake;
    loop->on_timer.happened = on_timer;
    loop->on_ev.happened = on_ev;
    /* libev takes so many events at a time: what is left over has to be told again, so no edge. */
    return loop_edge_add(loop, &loop->on_wake, loop->wake, EPOLLIN | EPOLLET) &&
           loop_edge_add(loop, &loop->on_timer, loop->timer, EPOLLIN | EPOLLET) &&
           loop_edge_add(loop, &loop->on_ev, ev_descriptor(loop->ev), EPOLLIN);
}

static void free_parts(struct loop *loop)
{
    if (loop->ev)
        ev_loop_destroy(loop->ev);
    if (loop->epoll >= 0)
        close(loop->epoll);
    if (loop->wake >= 0)
        close(loop->wake);
    if (loop->timer >= 0)
        close(loop->timer);
    free(loop->scratch);
    free(loop->batch);
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->magic = LOOP_MAGIC;
    loop->touched = true;
    loop->again.next = loop->again.previous = &loop->again;
    loop->posted_end = &loop->posted;
    if (!make_parts(loop)) {
        int error = errno;
        free_parts(loop);
        free(loop);
        errno = error ? error : ENOMEM;
        return NULL;
    }
    pthread_mutex_init(&loop->mutex, NULL);
    return loop;
}

static void signals_free(struct loop *loop);

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(loop->magic == LOOP_MAGIC);
    run_posted(loop); /* every task runs once, so that whoever posted it can let go of it */
    signals_free(loop);
    free_parts(loop);
    pthread_mutex_destroy(&loop->mutex);
    loop->magic = 0;
    free(loop);
}

static void set_timer(const struct loop *loop)
{
    struct itimerspec when = {0}; /* stands for no timer at all */
    double first = -1;
    ev_now_update(loop->ev);
    for (struct loop_timer *timer = loop->timers; timer; timer = timer->next) {
        double left = ev_is_active(&timer->watcher) ? ev_timer_remaining(loop->ev, &timer->watcher) : -1;
        if (ev_is_active(&timer->watcher) && (first < 0 || left < first))
            first = left > 0 ? left : 0;
    }
    if (first >= 0) {
        when.it_value.tv_sec = (time_t)first;
        when.it_value.tv_nsec = 1 + (long)((first - (double)(time_t)first) * 999999998.);
    }
    timerfd_settime(loop->timer, 0, &when, NULL);
}

static void run_ev(struct loop *loop)
{
    loop->touched = false; /* again, if a callback changes something */
    ev_run(loop->ev, EVRUN_NOWAIT);
    loop->clock_valid = false;
    set_timer(loop);
}

void loop_run(struct loop *loop)
{
    assert(loop->magic == LOOP_MAGIC && !loop->running);
    loop->stopped = false;
    loop->running = true;
    do {
        if (loop->touched)
            run_ev(loop);
        wait_and_tell(loop); /* after a stop in there too: sockets have had a turn in each round */
    } while (!loop->stopped);
    loop->running = false;
    loop->clock_valid = false;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

double loop_now(struct loop *loop)
{
    /* Not ev_now: that one follows the wall clock when somebody sets it. */
    if (!loop->clock_valid) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        loop->now = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
        loop->clock_valid = loop->running;
    }
    return loop->now;
}

uint8_t *loop_scratch(struct loop *loop, size_t *size)
{
    *size = SCRATCH_SIZE;
    return loop->scratch;
}

/* ---- timers ------------------------------------------------------------------------------------------- */

static void timer_fires(struct ev_loop *ev, struct ev_timer *watcher, int events)
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
    ev_timer_init(&timer->watcher, timer_fires, 0., 0.);
    timer->watcher.data = timer;
    timer->next = loop->timers;
    if (loop->timers)
        loop->timers->previous = timer;
    loop->timers = timer;
    return timer;
}

void loop_timer_set(struct loop_timer *timer, double seconds)
{
    struct ev_loop *ev = loop_ev(timer->loop);
    ev_timer_stop(ev, &timer->watcher);
    ev_now_update(ev); /* libev counts from when it last looked */
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
    if (timer->next)
        timer->next->previous = timer->previous;
    if (timer->previous)
        timer->previous->next = timer->next;
    else
        timer->loop->timers = timer->next;
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

/* By signal: who is to be told, and that it was raised. */
static _Atomic int signal_wakes[NSIG];
static atomic_bool raised[NSIG];

static void on_signal(int signal)
{
    int before = errno;
    atomic_store(&raised[signal], true);
    int descriptor = atomic_load(&signal_wakes[signal]);
    if (descriptor > 0)
        wake(descriptor);
    errno = before;
}

static void on_wake(struct loop_edge *edge, uint32_t events)
{
    (void)events;
    struct loop *loop = loop_around(edge, offsetof(struct loop, on_wake));
    struct loop_signal_watch *next;
    for (struct loop_signal_watch *watch = loop->signals; watch; watch = next) {
        next = watch->next;
        if (atomic_exchange(&raised[watch->signal], false))
            watch->caught(watch->argument, watch->signal);
    }
    run_posted(loop);
}

bool loop_signal(struct loop *loop, int signal, void (*caught)(void *argument, int signal), void *argument)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct loop_signal_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return false;
    *watch = (struct loop_signal_watch){signal, caught, argument, loop->signals};
    loop->signals = watch;
    atomic_store(&raised[signal], false);
    atomic_store(&signal_wakes[signal], loop->wake);
    sigfillset(&action.sa_mask);
    return sigaction(signal, &action, NULL) == 0;
}

/* The handlers stay: a second SIGTERM that comes while the process ends must not kill it half way. */
static void signals_free(struct loop *loop)
{
    while (loop->signals) {
        struct loop_signal_watch *watch = loop->signals;
        loop->signals = watch->next;
        atomic_store(&signal_wakes[watch->signal], 0);
        free(watch);
    }
}

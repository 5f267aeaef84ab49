/*
 * The workers: threads with a loop, listeners and sessions each.
 */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/log.h"
#include "proxy/serve_inside.h"

/* ---- calls ------------------------------------------------------------------------------------------ */

struct call {
    struct loop_task task;
    sem_t over;
    struct worker *worker;
    void (*work)(struct worker *, void *argument);
    void *argument;
};

static void run_call(struct loop_task *task)
{
    struct call *call = (struct call *)task;
    call->work(call->worker, call->argument);
    sem_post(&call->over);
}

void workers_call(struct worker *worker, void (*work)(struct worker *, void *argument), void *argument)
{
    if (!worker->running) {
        work(worker, argument);
        return;
    }
    struct call call = {.task.run = run_call, .worker = worker, .work = work, .argument = argument};
    sem_init(&call.over, 0, 0);
    loop_post(worker->room.loop, &call.task);
    while (sem_wait(&call.over) < 0 && errno == EINTR) {
        /* a signal: its handler only wakes the control loop */
    }
    sem_destroy(&call.over);
}

void workers_each(struct serve *serve, void (*work)(struct worker *, void *argument), void *argument)
{
    for (size_t i = 0; i < serve->n_workers; i++)
        workers_call(&serve->workers[i], work, argument);
}

/* ---- settings --------------------------------------------------------------------------------------- */

static void room_let_go(struct session_room *room)
{
    if (room->tls_client)
        tls_context_unref(room->tls_client);
    if (room->tls_upstream)
        tls_context_unref(room->tls_upstream);
    conf_unref(room->conf);
}

static void room_take(struct session_room *room, const struct setting *setting)
{
    room->conf = conf_ref(setting->conf);
    room->tls_client = setting->tls_client ? tls_context_ref(setting->tls_client) : NULL;
    room->tls_upstream = setting->tls_upstream ? tls_context_ref(setting->tls_upstream) : NULL;
}

static void commit(struct worker *worker, void *argument)
{
    room_let_go(&worker->room);
    room_take(&worker->room, argument);
    if (worker->prepared) {
        listener_close(worker->listener);
        worker->listener = worker->prepared;
        worker->prepared = NULL;
    }
    session_room_reloaded(&worker->room);
}

void workers_commit(struct serve *serve, const struct setting *setting)
{
    workers_each(serve, commit, (void *)setting);
}

struct preparing {
    const struct conf *conf;
    const struct listener *first; /* the first worker's new set */
    bool good;
    char *error;
    size_t size;
};

static void prepare(struct worker *worker, void *argument)
{
    struct preparing *preparing = argument;
    if (!preparing->good)
        return;
    worker->prepared = listener_reopen(worker->listener, preparing->conf->listen, preparing->conf->n_listen,
                                       preparing->first, preparing->error, preparing->size);
    preparing->good = worker->prepared != NULL;
    if (!preparing->first)
        preparing->first = worker->prepared;
}

bool workers_prepare_listeners(struct serve *serve, const struct conf *conf, char *error, size_t size)
{
    struct preparing preparing = {.conf = conf, .good = true, .error = error, .size = size};
    workers_each(serve, prepare, &preparing);
    return preparing.good;
}

static void rollback(struct worker *worker, void *argument)
{
    (void)argument;
    listener_close(worker->prepared);
    worker->prepared = NULL;
}

void workers_rollback_listeners(struct serve *serve)
{
    workers_each(serve, rollback, NULL);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void on_tick(void *argument)
{
    struct worker *worker = argument;
    session_room_tick(&worker->room);
    loop_timer_set(worker->tick, 1);
}

static void on_accepted(void *argument, int fd, const char *peer)
{
    struct worker *worker = argument;
    session_accept(&worker->room, fd, peer);
}

static bool open_worker(struct serve *serve, struct worker *worker, char *error, size_t size)
{
    const struct conf *conf = serve->setting.conf;
    struct loop *loop = loop_new();
    if (!loop) {
        snprintf(error, size, "a loop could not be made: %s", strerrordesc_np(errno));
        return false;
    }
    worker->room.loop = loop;
    worker->room.shared = &serve->shared;
    room_take(&worker->room, &serve->setting);
    worker->tick = loop_timer_new(loop, on_tick, worker);
    if (!worker->tick) {
        snprintf(error, size, "out of memory");
        return false;
    }
    loop_timer_set(worker->tick, 1);
    metrics_register(&worker->room.metrics);
    const struct listener *first = worker == serve->workers ? NULL : serve->workers[0].listener;
    worker->listener =
        listener_open(loop, conf->listen, conf->n_listen, first, on_accepted, worker, error, size);
    return worker->listener != NULL;
}

/* One per core that this process may use. */
static size_t default_threads(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (size_t)n : 1;
}

bool workers_open(struct serve *serve, char *error, size_t size)
{
    size_t n = serve->setting.conf->threads ? serve->setting.conf->threads : default_threads();
    serve->workers = aligned_alloc(_Alignof(struct worker), n * sizeof *serve->workers);
    if (!serve->workers) {
        snprintf(error, size, "out of memory");
        return false;
    }
    memset(serve->workers, 0, n * sizeof *serve->workers);
    while (serve->n_workers < n) {
        if (!open_worker(serve, &serve->workers[serve->n_workers++], error, size))
            return false;
    }
    return true;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    loop_run(worker->room.loop);
    return NULL;
}

bool workers_start(struct serve *serve)
{
    for (size_t i = 0; i < serve->n_workers; i++) {
        struct worker *worker = &serve->workers[i];
        int failed = pthread_create(&worker->thread, NULL, run, worker);
        if (failed) {
            log_error("a thread could not be started: %s", strerrordesc_np(failed));
            return false;
        }
        worker->running = true;
    }
    return true;
}

static void stop(struct worker *worker, void *argument)
{
    (void)argument;
    listener_close(worker->listener);
    worker->listener = NULL;
    loop_timer_free(worker->tick);
    worker->tick = NULL;
    if (worker->running)
        loop_stop(worker->room.loop);
}

void workers_stop(struct serve *serve)
{
    for (size_t i = 0; i < serve->n_workers; i++) {
        struct worker *worker = &serve->workers[i];
        if (!worker->room.loop)
            continue;
        if (worker->tick)
            workers_call(worker, stop, NULL);
        if (worker->running)
            pthread_join(worker->thread, NULL);
        worker->running = false;
        session_room_release(&worker->room);
        loop_free(worker->room.loop);
        room_let_go(&worker->room);
    }
    /* The rooms themselves stay: their counters are on the list of metrics until the process ends. */
}

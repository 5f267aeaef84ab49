/*
 * The set of listening sockets of one loop, and accepting from them.
 *
 * Invariant: while `paused` (out of descriptors) no socket is watched; the timer ends the pause. A listening
 * socket stays readable while connections wait, so without the pause the loop would spin.
 */
#include "proxy/net/listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/net/listen_socket.h"
#include "proxy/net/loop_ev.h"
#include "proxy/observe/log.h"

enum { ACCEPTS_PER_EVENT = 64, PEER_TEXT = 80 };
static const double PAUSE_SECONDS = 0.1;

struct listening {
    struct ev_io watcher;
    struct listener *listener;
    struct listen_socket *socket;
};

struct listener {
    struct loop *loop;
    listener_accepted accepted;
    void *argument;
    struct loop_timer *pause;
    bool *closed; /* set when the set is closed inside `accepted`; on the stack of on_readable */
    size_t n;
    struct listening listening[];
};

static void watch(struct listener *listener, bool on)
{
    struct ev_loop *ev = loop_ev(listener->loop);
    for (size_t i = 0; i < listener->n; i++) {
        if (on)
            ev_io_start(ev, &listener->listening[i].watcher);
        else
            ev_io_stop(ev, &listener->listening[i].watcher);
    }
}

static void end_pause(void *argument)
{
    watch(argument, true);
}

static void begin_pause(struct listener *listener, int why)
{
    static _Atomic time_t last; /* of all loops */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t before = atomic_load(&last);
    if ((before == 0 || now.tv_sec - before >= 60) &&
        atomic_compare_exchange_strong(&last, &before, now.tv_sec))
        log_error("accepting connections pauses: %s", strerrordesc_np(why));
    watch(listener, false);
    loop_timer_set(listener->pause, PAUSE_SECONDS);
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_readable(struct ev_loop *ev, struct ev_io *watcher, int events)
{
    (void)ev;
    (void)events;
    struct listening *listening = watcher->data;
    struct listener *listener = listening->listener;
    bool closed = false;
    listener->closed = &closed;
    for (int i = 0; i < ACCEPTS_PER_EVENT && !closed; i++) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        char peer[PEER_TEXT];
        int fd = accept4(watcher->fd, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            address_text(&address, length, peer, sizeof peer);
            listener->accepted(listener->argument, fd, peer);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        if (is_shortage(errno)) {
            begin_pause(listener, errno);
            break;
        }
        /* Anything else is the fate of that one connection (ECONNABORTED, a network error of its own). */
    }
    if (!closed)
        listener->closed = NULL;
}

static struct listen_socket *find_socket(const struct listener *set, const struct listen_place *place)
{
    for (size_t i = 0; set && i < set->n; i++)
        if (listen_socket_at(set->listening[i].socket, place))
            return set->listening[i].socket;
    return NULL;
}

static struct listen_socket *socket_for(const struct listen_place *place, const struct listener *before,
                                        const struct listener *shared, char *error, size_t size)
{
    struct listen_socket *kept = find_socket(before, place);
    if (!kept && place->address.ss_family == AF_UNIX)
        kept = find_socket(shared, place);
    if (kept)
        return listen_socket_ref(kept);
    /* The first loop makes sure that nobody else is there; the others join it. */
    return listen_socket_open(place, !shared, error, size);
}

static bool add_places(struct listener *listener, const struct conf_listen *listen,
                       const struct listener *before, const struct listener *shared, char *error, size_t size)
{
    struct listen_place places[2];
    size_t n = listen_places(listen->address, listen->port, places, error, size);
    for (size_t i = 0; i < n; i++) {
        struct listen_socket *socket = socket_for(&places[i], before, shared, error, size);
        if (!socket && places[i].optional && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
            continue;
        if (!socket)
            return false;
        struct listening *listening = &listener->listening[listener->n++];
        listening->listener = listener;
        listening->socket = socket;
        ev_io_init(&listening->watcher, on_readable, socket->fd, EV_READ);
        listening->watcher.data = listening;
    }
    return n > 0;
}

static struct listener *open_set(struct loop *loop, listener_accepted accepted, void *argument,
                                 const struct listener *before, const struct conf_listen *listen, size_t n,
                                 const struct listener *shared, char *error, size_t size)
{
    struct listener *listener = calloc(1, sizeof *listener + 2 * n * sizeof *listener->listening);
    if (!listener) {
        snprintf(error, size, "listen: out of memory");
        return NULL;
    }
    listener->loop = loop;
    listener->accepted = accepted;
    listener->argument = argument;
    listener->pause = loop_timer_new(loop, end_pause, listener);
    bool good = listener->pause != NULL;
    if (!good)
        snprintf(error, size, "listen: out of memory");
    for (size_t i = 0; i < n && good; i++)
        good = add_places(listener, &listen[i], before, shared, error, size);
    if (!good) {
        listener_close(listener);
        return NULL;
    }
    watch(listener, true);
    return listener;
}

struct listener *listener_open(struct loop *loop, const struct conf_listen *listen, size_t n,
                               const struct listener *shared, listener_accepted accepted, void *argument,
                               char *error, size_t size)
{
    return open_set(loop, accepted, argument, NULL, listen, n, shared, error, size);
}

struct listener *listener_reopen(const struct listener *before, const struct conf_listen *listen, size_t n,
                                 const struct listener *shared, char *error, size_t size)
{
    return open_set(before->loop, before->accepted, before->argument, before, listen, n, shared, error, size);
}

void listener_close(struct listener *listener)
{
    if (!listener)
        return;
    watch(listener, false);
    loop_timer_free(listener->pause);
    for (size_t i = 0; i < listener->n; i++)
        listen_socket_unref(listener->listening[i].socket);
    if (listener->closed)
        *listener->closed = true;
    free(listener);
}

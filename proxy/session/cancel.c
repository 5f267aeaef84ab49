/*
 * Carrying a CancelRequest: one leg a host; a leg tries the host's addresses until one takes the request,
 * then waits for the server to close, which is its answer.
 *
 * Ownership: a cancel belongs to its room's list and frees itself when its last leg is over. Legs are part of
 * it.
 */
#include "proxy/session/cancel.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/log.h"
#include "proxy/session/session_dial.h"
#include "proxy/session/session_inside.h"

enum leg_state { LEG_DIALING, LEG_SENT, LEG_OVER };

struct cancel_leg {
    struct stream stream;
    struct dial dial;
    struct cancel *cancel;
    unsigned host;
    enum leg_state state;
    bool waited_for; /* by the client: false where the host is known to be down */
};

struct cancel {
    struct cancel *next, *previous;
    struct session_room *room;
    struct tls_context *tls;
    struct upstream_set *set;
    uint8_t *packet;
    size_t length;
    void (*done)(void *argument);
    void *argument;
    struct loop_task task; /* looks whether all is over, outside of any leg's callback */
    bool posted, carried;
    size_t n;
    struct cancel_leg legs[];
};

static void cancel_free(struct cancel *cancel)
{
    for (size_t i = 0; i < cancel->n; i++)
        stream_close(&cancel->legs[i].stream);
    if (cancel->next)
        cancel->next->previous = cancel->previous;
    if (cancel->previous)
        cancel->previous->next = cancel->next;
    else if (cancel->room->cancels == cancel)
        cancel->room->cancels = cancel->next;
    if (cancel->set)
        upstream_put(cancel->set);
    if (cancel->tls)
        tls_context_unref(cancel->tls);
    free(cancel->packet);
    free(cancel);
}

/* ---- ends ------------------------------------------------------------------------------------------- */

static void look(struct loop_task *task)
{
    struct cancel *cancel = (struct cancel *)((char *)task - offsetof(struct cancel, task));
    bool waited_for = false, open = false;
    cancel->posted = false;
    for (size_t i = 0; i < cancel->n; i++) {
        bool leg_open = cancel->legs[i].state != LEG_OVER;
        open = open || leg_open;
        waited_for = waited_for || (leg_open && cancel->legs[i].waited_for);
    }
    if (!waited_for && cancel->done) {
        void (*done)(void *) = cancel->done;
        cancel->done = NULL;
        done(cancel->argument);
    }
    if (!open)
        cancel_free(cancel);
}

static void look_soon(struct cancel *cancel)
{
    if (cancel->posted)
        return;
    cancel->posted = true;
    cancel->task.run = look;
    loop_post(cancel->room->loop, &cancel->task);
}

static void leg_over(struct cancel_leg *leg)
{
    dial_close(&leg->dial);
    leg->state = LEG_OVER;
    look_soon(leg->cancel);
}

/* ---- one leg ---------------------------------------------------------------------------------------- */

/* Anybody may ask for a cancel: one line for each host in ten seconds, with the number of those left out. */
static void tell_failure(const struct cancel_leg *leg)
{
    enum { HOSTS = 64, QUIET_SECONDS = 10 };
    static struct {
        _Atomic int64_t until; /* seconds of the monotonic clock */
        _Atomic uint32_t unsaid;
    } told[HOSTS];
    const char *host = leg->cancel->set->conf->upstream.hosts[leg->host].host;
    int64_t now = (int64_t)loop_now(leg->cancel->room->loop);
    unsigned slot = leg->host % HOSTS;
    int64_t until = atomic_load(&told[slot].until);
    if (now < until || !atomic_compare_exchange_strong(&told[slot].until, &until, now + QUIET_SECONDS)) {
        atomic_fetch_add(&told[slot].unsaid, 1);
        log_debug("a cancel request could not be carried to host %s: %s", host, leg->dial.error);
        return;
    }
    uint32_t unsaid = atomic_exchange(&told[slot].unsaid, 0);
    if (unsaid)
        log_warning("a cancel request could not be carried to host %s: %s; %u more since the last such line",
                    host, leg->dial.error, unsaid);
    else
        log_warning("a cancel request could not be carried to host %s: %s", host, leg->dial.error);
}

/* The next address of this leg's host, from `address` on. */
static void leg_try(struct cancel_leg *leg, size_t address)
{
    const struct upstream_set *set = leg->cancel->set;
    leg->state = LEG_DIALING;
    for (; address < set->n; address++) {
        if (set->addresses[address].host != leg->host)
            continue;
        leg->dial.address = address;
        if (dial_start(&leg->dial, false) == DIAL_GOING)
            return;
    }
    tell_failure(leg);
    leg_over(leg);
}

static void leg_after_dial(struct cancel_leg *leg, enum dial_state state)
{
    struct cancel *cancel = leg->cancel;
    if (state == DIAL_FAILED) {
        leg_try(leg, leg->dial.address + 1);
        return;
    }
    if (state != DIAL_READY)
        return;
    stream_write(&leg->stream, cancel->packet, cancel->length);
    leg->state = LEG_SENT;
    if (!cancel->carried)
        metric_add(&cancel->room->metrics, METRIC_cancels_total, 1);
    cancel->carried = true;
}

static struct cancel_leg *leg_of(struct stream *stream)
{
    return (struct cancel_leg *)((char *)stream - offsetof(struct cancel_leg, stream));
}

static void leg_readable(struct stream *stream)
{
    struct cancel_leg *leg = leg_of(stream);
    uint8_t ignored[256];
    if (leg->state == LEG_DIALING) {
        leg_after_dial(leg, dial_readable(&leg->dial));
        return;
    }
    ssize_t got = stream_read(stream, ignored, sizeof ignored);
    if (got == STREAM_AGAIN)
        return;
    leg_over(leg); /* the end is the server's answer; so is an error message of a server that takes nobody */
}

static void leg_opened(struct stream *stream)
{
    struct cancel_leg *leg = leg_of(stream);
    leg_after_dial(leg, dial_opened(&leg->dial));
}

static void leg_drained(struct stream *stream)
{
    (void)stream;
}

static const struct stream_calls leg_calls = {leg_readable, leg_drained, leg_opened};

/* ---- all of it -------------------------------------------------------------------------------------- */

static void make_leg(struct cancel *cancel, size_t i)
{
    struct cancel_leg *leg = &cancel->legs[i];
    leg->cancel = cancel;
    leg->host = (unsigned)i;
    leg->waited_for = cancel->set->roles[i] != HOST_DOWN || cancel->n == 1;
    leg->stream.fd = -1;
    leg->dial = (struct dial){.loop = cancel->room->loop,
                              .stream = &leg->stream,
                              .calls = &leg_calls,
                              .tls = cancel->tls,
                              .set = cancel->set};
}

struct cancel *cancel_carry(struct session_room *room, struct tls_context *upstream_leg,
                            const uint8_t *packet, size_t length, void (*done)(void *argument),
                            void *argument)
{
    struct upstream_set *set = upstream_get(room->shared->upstream);
    size_t n = set->conf->upstream.n_hosts;
    struct cancel *cancel = calloc(1, sizeof *cancel + n * sizeof cancel->legs[0]);
    uint8_t *copy = malloc(length);
    if (!cancel || !copy) {
        free(cancel);
        free(copy);
        upstream_put(set);
        return NULL;
    }
    memcpy(copy, packet, length);
    *cancel = (struct cancel){.room = room,
                              .tls = upstream_leg ? tls_context_ref(upstream_leg) : NULL,
                              .set = set,
                              .packet = copy,
                              .length = length,
                              .done = done,
                              .argument = argument,
                              .next = room->cancels,
                              .n = n};
    if (room->cancels)
        room->cancels->previous = cancel;
    room->cancels = cancel;
    for (size_t i = 0; i < n; i++)
        make_leg(cancel, i);
    for (size_t i = 0; i < n; i++)
        leg_try(&cancel->legs[i], 0);
    return cancel;
}

void cancel_abandon(struct cancel *cancel)
{
    cancel->done = NULL;
}

static void cancel_tick(struct cancel *cancel, double now)
{
    for (size_t i = 0; i < cancel->n; i++) {
        struct cancel_leg *leg = &cancel->legs[i];
        if (!leg->dial.deadline || now < leg->dial.deadline)
            continue;
        if (leg->state == LEG_DIALING) {
            dial_close(&leg->dial);
            strcpy(leg->dial.error, "no answer within upstream.connect_timeout");
            leg_try(leg, leg->dial.address + 1);
        } else if (leg->state == LEG_SENT) {
            leg_over(leg);
        }
    }
}

void cancel_room_tick(struct session_room *room, double now)
{
    for (struct cancel *cancel = room->cancels; cancel; cancel = cancel->next)
        cancel_tick(cancel, now);
}

void cancel_room_end_all(struct session_room *room)
{
    struct cancel *next;
    for (struct cancel *cancel = room->cancels; cancel; cancel = next) {
        next = cancel->next;
        if (!cancel->posted)
            cancel_free(cancel);
    }
}

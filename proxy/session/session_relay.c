/*
 * A session in full flow: bytes from either stream through the engine to the other.
 *
 * What the engine leaves unconsumed is kept in the leg, in a buffer that exists only while it holds
 * something, and presented again as soon as engine_need says that it makes progress. Back-pressure is not
 * reading: a leg is read while the engine wants its bytes and the other leg has no more than limits.buffer
 * unsent.
 *
 * Ends: what the server has sent reaches the client before its stream is closed. When the client closes its
 * side, everything it has sent is carried through before the server's side is closed in turn, and the session
 * lasts until the server has ended too, as it would directly. A client that has died is told to the server in
 * the same way; if the server then still has much to say, the connection is closed, as a failed write would
 * do.
 *
 * Hot path, a message each way: one read, one engine_feed, one write.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/change/change.h"
#include "proxy/observe/log.h"
#include "proxy/session/engine_online.h"
#include "proxy/session/session_inside.h"

enum {
    LATENCY_SAMPLE = 16,           /* requests of which one is measured while there is no online change */
    ROUNDS = 16,                   /* reads of one leg for one event: others have their turn then… */
    KEPT_A_TURN = 128 * 1024,      /* …sooner where what is read is kept: the engine scans it as it comes */
    KEPT_FIRST = 2048,             /* the smallest buffer for unconsumed bytes */
    READ_LEAST = 1024,             /* room that a read into it finds at least */
    AFTER_DEATH_MOST = 1024 * 1024 /* what the server may say to a dead client before it is cut off */
};

static struct leg *leg_of(struct session *session, enum engine_side side)
{
    return side == ENGINE_CLIENT ? &session->client : &session->server;
}

/* ---- what is kept ----------------------------------------------------------------------------------- */

static bool kept_reserve(struct leg *leg, size_t room)
{
    size_t size = leg->kept_size ? leg->kept_size : KEPT_FIRST;
    if (leg->kept && leg->kept_size - leg->kept_length >= room)
        return true;
    while (size < leg->kept_length + room)
        size *= 2;
    if (size > UINT32_MAX / 2)
        return false;
    uint8_t *bigger = realloc(leg->kept, size);
    if (!bigger)
        return false;
    leg->kept = bigger;
    leg->kept_size = (uint32_t)size;
    return true;
}

bool relay_keep(struct leg *leg, const uint8_t *bytes, size_t n)
{
    if (n == 0)
        return true;
    if (!kept_reserve(leg, n))
        return false;
    memcpy(leg->kept + leg->kept_length, bytes, n);
    leg->kept_length += (uint32_t)n;
    return true;
}

void relay_forget(struct leg *leg)
{
    free(leg->kept);
    leg->kept = NULL;
    leg->kept_size = leg->kept_length = 0;
}

static void drop_front(struct leg *leg, size_t n)
{
    leg->kept_length -= (uint32_t)n;
    if (leg->kept_length == 0)
        relay_forget(leg);
    else if (n)
        memmove(leg->kept, leg->kept + n, leg->kept_length);
}

/* ---- limits.held_total ------------------------------------------------------------------------------ */

static bool may_hold(void *argument, uint64_t n)
{
    struct session *session = argument;
    struct sessions_shared *shared = session->room->shared;
    session->held_now = true;
    if (n <= session->held)
        return true;
    uint64_t more = n - session->held;
    uint64_t before = atomic_fetch_add(&shared->held, more);
    if (before + more > session->room->conf->limits.held_total) {
        atomic_fetch_sub(&shared->held, more);
        return false;
    }
    session->held = n;
    metric_add(&session->room->metrics, METRIC_held_bytes, more);
    return true;
}

void relay_release_held(struct session *session)
{
    if (!session->held)
        return;
    atomic_fetch_sub(&session->room->shared->held, session->held);
    metric_sub(&session->room->metrics, METRIC_held_bytes, session->held);
    session->held = 0;
}

/* ---- events ----------------------------------------------------------------------------------------- */

static void on_ready(struct session *session)
{
    struct session_room *room = session->room;
    session->logged_in = true;
    metric_add(&room->metrics, METRIC_sessions, 1);
    metric_add(&room->metrics, METRIC_sessions_total, 1);
    if (engine_server_version(session->engine) >= 140000)
        upstream_saw(room->shared->upstream, session->host,
                     engine_in_hot_standby(session->engine) ? HOST_STANDBY : HOST_PRIMARY);
    if (room->conf->log.sessions) {
        const char *client_tls = tls_version(&session->client.stream);
        const char *server_tls = tls_version(&session->server.stream);
        log_info("session %llu began: client=%s user=%s database=%s application=%s tls=%s upstream_tls=%s",
                 (unsigned long long)session->number, session->peer, session->user, session->database,
                 engine_application_name(session->engine), client_tls ? client_tls : "off",
                 server_tls ? server_tls : "off");
    }
    session_release_login(session);
}

static void on_cut(struct session *session, const char *reason)
{
    log_warning("session %llu (%s, user %s) is cut: %s", (unsigned long long)session->number, session->peer,
                session->user, reason);
    metric_add(&session->room->metrics, METRIC_cut_total, 1);
    /* What is unsent to the server goes with it: the message must not become complete. */
    stream_close(&session->server.stream);
    session_close_client(session);
}

void relay_events(struct session *session)
{
    struct engine_event event;
    for (;;) {
        engine_next(session->engine, &event);
        switch (event.kind) {
        case EVENT_NONE:
            return;
        case EVENT_READY:
            on_ready(session);
            break;
        case EVENT_JUDGE:
            if (session->phase == SESSION_RELAY)
                session_judge(session, &event.judge);
            break;
        case EVENT_FINISHED:
            session_audit_finished(session, &event.finished);
            break;
        case EVENT_TRANSACTION_ENDED:
            session_audit_ended(session, &event.ended);
            break;
        case EVENT_CHANGES:
            if (session->phase == SESSION_RELAY)
                session_changes_begin(session, &event.changes);
            break;
        case EVENT_CUT:
            if (session->phase == SESSION_RELAY)
                on_cut(session, event.reason);
            break;
        }
    }
}

/* ---- feeding ---------------------------------------------------------------------------------------- */

static void emit(void *argument, const uint8_t *bytes, size_t n)
{
    struct stream *stream = argument;
    if (stream->fd >= 0 && !stream->shutting)
        stream_write(stream, bytes, n);
}

static size_t feed_once(struct session *session, enum engine_side side, const uint8_t *bytes, size_t n)
{
    struct sink to_client = {.emit = emit, .argument = &session->client.stream};
    struct sink to_server = {.emit = emit, .argument = &session->server.stream};
    session->held_now = false;
    size_t used = engine_feed(session->engine, side, bytes, n, &to_client, &to_server);
    sink_flush(&to_client);
    sink_flush(&to_server);
    if (side == ENGINE_CLIENT && used && session->held && !session->held_now)
        relay_release_held(session);
    relay_events(session);
    return used;
}

bool relay_say(struct session *session, const char *sqlstate, const char *message, const char *hint)
{
    struct report report = {.severity = "FATAL", .message = message, .hint = hint};
    struct sink to_client = {.emit = emit, .argument = &session->client.stream};
    memcpy(report.sqlstate, sqlstate, sizeof report.sqlstate);
    bool said = engine_say(session->engine, &report, &to_client);
    sink_flush(&to_client);
    return said;
}

void relay_report(struct session *session, const struct report *report)
{
    struct sink to_client = {.emit = emit, .argument = &session->client.stream};
    (void)engine_say(session->engine, report, &to_client);
    sink_flush(&to_client);
}

static void refuse_standby(struct session *session)
{
    upstream_saw(session->room->shared->upstream, session->host, HOST_STANDBY);
    session_terminate(session, "57P03",
                      "connected to a standby, and this proxy leads to the primary: try again",
                      "`upstream.target` is primary; the server that was reached is in recovery.");
}

/* Until the first ReadyForQuery, with target: primary, whole messages are fed one at a time, so that a
 * standby is turned away before the client believes that it is logged in. */
static size_t feed_login(struct session *session, const uint8_t *bytes, size_t n)
{
    size_t used = 0;
    while (n - used >= 5 && session->phase == SESSION_RELAY && session->login) {
        uint32_t length;
        memcpy(&length, bytes + used + 1, 4);
        length = ntohl(length);
        bool odd = length < 4 || length > 65536; /* nothing of a login: the engine will say */
        if (!odd && n - used < (size_t)length + 1)
            break;
        size_t part = odd ? n - used : (size_t)length + 1;
        size_t taken = feed_once(session, ENGINE_SERVER, bytes + used, part);
        used += taken;
        if (session->phase == SESSION_RELAY && session->login && engine_in_hot_standby(session->engine))
            refuse_standby(session);
        if (taken < part)
            break;
    }
    return used;
}

/* Feeds until the engine wants no more of it. Returns what was consumed. */
static size_t feed(struct session *session, enum engine_side side, const uint8_t *bytes, size_t n)
{
    size_t used = 0;
    bool stuck = false;
    if (side == ENGINE_SERVER && session->login && session->login->conf->upstream.target == TARGET_PRIMARY) {
        used = feed_login(session, bytes, n);
        if (session->phase != SESSION_RELAY || session->login)
            return used;
    }
    while (used < n && session->phase == SESSION_RELAY) {
        size_t taken = feed_once(session, side, bytes + used, n - used);
        used += taken;
        if (session->phase != SESSION_RELAY || used == n)
            break;
        size_t need = engine_need(session->engine, side);
        if (need == 0 || need > n - used || (taken == 0 && stuck))
            break;
        stuck = taken == 0;
    }
    return used;
}

/* Presents again what a leg keeps, if that makes progress. */
static bool feed_kept(struct session *session, enum engine_side side)
{
    struct leg *leg = leg_of(session, side);
    if (!leg->kept_length || session->phase != SESSION_RELAY)
        return false;
    size_t need = engine_need(session->engine, side);
    if (need == 0 || need > leg->kept_length)
        return false;
    size_t used = feed(session, side, leg->kept, leg->kept_length);
    if (session->phase != SESSION_RELAY)
        return false; /* closing has let go of what was kept */
    drop_front(leg, used);
    return used > 0;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static bool wants(const struct session *session, enum engine_side side)
{
    const struct leg *leg = side == ENGINE_CLIENT ? &session->client : &session->server;
    const struct leg *other = side == ENGINE_CLIENT ? &session->server : &session->client;
    return !leg->ended && stream_unsent(&other->stream) <= session->room->conf->limits.buffer &&
           engine_need(session->engine, side) > 0;
}

/* The client has died; the server still speaks. What it says is read for the audit's sake, within a bound. */
static bool is_over_dead(struct session *session, size_t n)
{
    session->after_death += n;
    if (session->after_death <= AFTER_DEATH_MOST)
        return false;
    session_end(session);
    return true;
}

/* Reads once and feeds. False: there is no more for now. */
static bool read_once(struct session *session, enum engine_side side)
{
    struct leg *leg = leg_of(session, side);
    size_t size;
    uint8_t *buffer = loop_scratch(session->room->loop, &size);
    bool into_kept = leg->kept_length > 0;
    if (into_kept) {
        size_t need = engine_need(session->engine, side);
        size_t lacking = need > leg->kept_length ? need - leg->kept_length : 0;
        size_t room = lacking < READ_LEAST ? READ_LEAST : lacking < size ? lacking : size;
        if (!kept_reserve(leg, room)) {
            log_error("session %llu: out of memory", (unsigned long long)session->number);
            session_terminate(session, "53200", "out of memory", NULL);
            return false;
        }
        buffer = leg->kept + leg->kept_length;
        size = room;
    }
    ssize_t got = stream_read(&leg->stream, buffer, size);
    if (got == STREAM_AGAIN)
        return false;
    if (got <= 0) {
        leg->ended = true;
        return false;
    }
    metric_add(&session->room->metrics,
               side == ENGINE_CLIENT ? METRIC_client_bytes_total : METRIC_server_bytes_total, (uint64_t)got);
    if (side == ENGINE_SERVER && session->client.stream.error && is_over_dead(session, (size_t)got))
        return false;
    bool more = (size_t)got == size || stream_has_tls(&leg->stream);
    if (into_kept) {
        leg->kept_length += (uint32_t)got;
        feed_kept(session, side);
        return more;
    }
    size_t used = feed(session, side, buffer, (size_t)got);
    if (session->phase == SESSION_RELAY && used < (size_t)got &&
        !relay_keep(leg, buffer + used, (size_t)got - used)) {
        log_error("session %llu: out of memory", (unsigned long long)session->number);
        session_end(session); /* the stream has lost bytes: nothing can be said in it */
    }
    return more;
}

static double relay_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* For the throttle of online changes: from a message of the client's until nothing is owed any more. One in
 * some while there is no change, so that it is known how it was before; what is judged doesn't count. */
static void note_latency(struct session *session, enum engine_side side)
{
    struct changes *changes = session->room->shared->changes;
    if (!changes || session->phase != SESSION_RELAY)
        return;
    if (session->judging || session->waiting) {
        session->asked_at = 0;
    } else if (side == ENGINE_CLIENT && session->asked_at == 0) {
        bool all = changes_any(changes);
        if ((all || ++session->unmeasured % LATENCY_SAMPLE == 0) && !engine_quiet(session->engine))
            session->asked_at = relay_clock();
    } else if (side == ENGINE_SERVER && session->asked_at > 0 && engine_quiet(session->engine)) {
        changes_latency(changes, (relay_clock() - session->asked_at) * 1000);
        session->asked_at = 0;
    }
}

static void read_rounds(struct session *session, enum engine_side side)
{
    const struct leg *leg = leg_of(session, side);
    size_t kept = leg->kept_length;
    session->moved = true;
    for (int round = 0; round < ROUNDS && leg->kept_length < kept + KEPT_A_TURN; round++) {
        if (!wants(session, side) || !read_once(session, side) || session->phase != SESSION_RELAY)
            return;
    }
    struct stream *stream = &leg_of(session, side)->stream;
    if (stream_pending(stream))
        stream_reading(stream, false); /* switched on again by relay_settle, which wakes us */
}

void relay_readable(struct session *session, enum engine_side side)
{
    read_rounds(session, side);
    note_latency(session, side);
}

/* ---- settling --------------------------------------------------------------------------------------- */

/* Is there something of this leg that an event (a judgement, the other side) will set going again? */
static bool is_waiting(struct session *session, enum engine_side side)
{
    return leg_of(session, side)->kept_length > 0 && engine_need(session->engine, side) == 0;
}

static void settle_client_end(struct session *session)
{
    struct stream *server = &session->server.stream;
    session_changes_gone(session, true);
    if (session->judging || is_waiting(session, ENGINE_CLIENT))
        return;
    relay_forget(&session->client); /* a message that will never be whole */
    relay_release_held(session);
    stream_shutdown(server);
}

static void arm(struct session *session, enum engine_side side)
{
    struct leg *leg = leg_of(session, side);
    bool want = wants(session, side);
    if (leg->stream.reading != want)
        stream_reading(&leg->stream, want);
}

/* Nearly always: nothing is kept, unsent, ended or waited for, and both legs are read already. */
static bool is_settled(const struct session *session)
{
    const struct leg *client = &session->client;
    const struct leg *server = &session->server;
    return client->stream.reading && server->stream.reading && !client->kept && !server->kept &&
           !client->stream.out && !server->stream.out && !client->ended && !server->ended &&
           !session->room->draining && engine_need(session->engine, ENGINE_CLIENT) > 0 &&
           engine_need(session->engine, ENGINE_SERVER) > 0;
}

void relay_settle(struct session *session)
{
    if (is_settled(session))
        return;
    while (feed_kept(session, ENGINE_SERVER) || feed_kept(session, ENGINE_CLIENT)) {
        /* each may set the other going */
    }
    if (session->phase != SESSION_RELAY)
        return;
    if (session->server.ended && !is_waiting(session, ENGINE_SERVER)) {
        session_close_client(session);
        return;
    }
    if (session->client.ended && !session->server.stream.shutting)
        settle_client_end(session);
    while (feed_kept(session, ENGINE_SERVER)) {
        /* what stood still for a client that is gone */
    }
    if (session_may_drain(session)) {
        session_terminate(session, "57P01", "terminating connection due to administrator command", NULL);
        return;
    }
    arm(session, ENGINE_CLIENT);
    arm(session, ENGINE_SERVER);
}

/* ---- beginning -------------------------------------------------------------------------------------- */

void relay_begin(struct session *session)
{
    const struct startup *startup = &session->login->startup;
    const struct engine_options options = {
        .held_message = session->room->conf->limits.held_message,
        .client_tls = stream_has_tls(&session->client.stream),
        .server_tls = stream_has_tls(&session->server.stream),
        .same_certificate = tls_same_certificate(&session->client.stream, &session->server.stream),
        .replication = startup_replication(startup),
        .protocol = startup->protocol,
        .question_name = session_question_name(),
        .may_hold = may_hold,
        .screen = session_screen,
        .argument = session,
    };
    session->engine = engine_new(&options);
    if (!session->engine) {
        session_refuse(session, "53200", "out of memory", NULL, NULL);
        return;
    }
    session->phase = SESSION_RELAY;
    engine_screen(session->engine, session_online(session));
    session_trace(session);
}

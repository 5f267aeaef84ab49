/*
 * The life of a session: accepted, settled after every event, ended, freed; and what a room does with all of
 * its sessions (ticks, drain). The phases' own work is in the session_*.c beside this file.
 */
#include "proxy/session/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/observe/log.h"
#include "proxy/session/cancel.h"
#include "proxy/session/engine_online.h"
#include "proxy/session/session_inside.h"
#include "proxy/session/session_users.h"

enum { MAGIC = 0x5e551011 };

/* How long a client may take to fetch the last bytes, and to close its side after that. */
static const double closing_seconds = 60, lingering_seconds = 2;

static const uint8_t terminate_message[5] = {'X', 0, 0, 0, 4};

static struct session *session_of_client(struct stream *stream)
{
    struct session *session = (struct session *)((char *)stream - offsetof(struct session, client.stream));
    assert(session->magic == MAGIC);
    return session;
}

static struct session *session_of_server(struct stream *stream)
{
    struct session *session = (struct session *)((char *)stream - offsetof(struct session, server.stream));
    assert(session->magic == MAGIC);
    return session;
}

/* ---- the client's stream ---------------------------------------------------------------------------- */

/* What a client still says to a session that has ended is read and thrown away, so that closing the socket
 * does not take back the last bytes it was sent. */
static void discard(struct session *session)
{
    size_t size;
    uint8_t *scratch = loop_scratch(session->room->loop, &size);
    for (int round = 0; round < 16; round++) {
        ssize_t got = stream_read(&session->client.stream, scratch, size);
        if (got == STREAM_AGAIN)
            return;
        if (got <= 0) {
            session->client.ended = true;
            return;
        }
    }
}

static void client_readable(struct stream *stream)
{
    struct session *session = session_of_client(stream);
    switch (session->phase) {
    case SESSION_STARTUP:
        login_client_readable(session);
        break;
    case SESSION_RELAY:
        relay_readable(session, ENGINE_CLIENT);
        break;
    case SESSION_CLOSING:
        discard(session);
        break;
    case SESSION_DIALING:
    case SESSION_AWAITING:
        if (stream->error) /* not read now: only a failed write wakes us */
            session_end(session);
        break;
    case SESSION_CLIENT_TLS:
    case SESSION_CANCELING:
    case SESSION_OVER:
        break;
    }
    session_settle(session);
}

static void client_opened(struct stream *stream)
{
    struct session *session = session_of_client(stream);
    if (session->phase == SESSION_CLIENT_TLS)
        login_client_opened(session);
    session_settle(session);
}

static void client_drained(struct stream *stream)
{
    struct session *session = session_of_client(stream);
    if (session->phase == SESSION_CLOSING)
        session->deadline = loop_now(session->room->loop) + lingering_seconds;
    session_settle(session);
}

static const struct stream_calls client_calls = {client_readable, client_drained, client_opened};

/* ---- the server's stream ---------------------------------------------------------------------------- */

static void server_readable(struct stream *stream)
{
    struct session *session = session_of_server(stream);
    if (session->phase == SESSION_RELAY)
        relay_readable(session, ENGINE_SERVER);
    else if (session->phase == SESSION_DIALING || session->phase == SESSION_AWAITING)
        upstream_readable(session);
    session_settle(session);
}

static void server_opened(struct stream *stream)
{
    struct session *session = session_of_server(stream);
    if (session->phase == SESSION_DIALING)
        upstream_opened(session);
    session_settle(session);
}

static void server_drained(struct stream *stream)
{
    session_settle(session_of_server(stream));
}

const struct stream_calls session_server_calls = {server_readable, server_drained, server_opened};

/* ---- begin and end ---------------------------------------------------------------------------------- */

static struct login *login_new(struct session_room *room, const char *peer)
{
    struct login *login = calloc(1, sizeof *login);
    if (!login)
        return NULL;
    login->conf = conf_ref(room->conf);
    login->tls_client = room->tls_client ? tls_context_ref(room->tls_client) : NULL;
    login->tls_upstream = room->tls_upstream ? tls_context_ref(room->tls_upstream) : NULL;
    startup_init(&login->startup, &login->conf->tls_client);
    login->startup.local = strcmp(peer, "local") == 0;
    return login;
}

void session_accept(struct session_room *room, int fd, const char *peer)
{
    struct session *session = calloc(1, sizeof *session);
    metric_add(&room->metrics, METRIC_connections_total, 1);
    if (session) {
        session->room = room;
        session->login = login_new(room, peer);
        session->peer = strdup(peer);
    }
    if (!session || !session->login || !session->peer) {
        log_error("out of memory: a connection from %s is closed", peer);
        close(fd);
        if (session) {
            session_release_login(session);
            free(session->peer);
            free(session);
        }
        return;
    }
    session->magic = MAGIC;
    session->server.stream.fd = -1;
    session->number = atomic_fetch_add(&room->shared->next_number, 1) + 1;
    session->started = session->active = loop_now(room->loop);
    stream_init(&session->client.stream, room->loop, &client_calls, fd);
    session->next = room->first;
    if (room->first)
        room->first->previous = session;
    room->first = session;
    atomic_fetch_add(&room->shared->open, 1);
    stream_reading(&session->client.stream, true);
}

void session_release_login(struct session *session)
{
    struct login *login = session->login;
    if (!login)
        return;
    session->login = NULL;
    startup_release(&login->startup);
    if (login->set)
        upstream_put(login->set);
    if (login->tls_client)
        tls_context_unref(login->tls_client);
    if (login->tls_upstream)
        tls_context_unref(login->tls_upstream);
    conf_unref(login->conf);
    free(login->failures);
    free(login);
}

void session_take_counts(struct session *session)
{
    struct engine_counts counts = {0};
    struct metrics *metrics = &session->room->metrics;
    if (!session->engine)
        return;
    engine_counts_take(session->engine, &counts);
    metric_add(metrics, METRIC_client_messages_total, counts.client_messages);
    metric_add(metrics, METRIC_server_messages_total, counts.server_messages);
    metric_add(metrics, METRIC_statements_total, counts.statements);
    metric_add(metrics, METRIC_judged_total, counts.judged);
    metric_add(metrics, METRIC_refused_total, counts.refused);
}

void session_end(struct session *session)
{
    if (session->phase == SESSION_OVER)
        return;
    session_changes_gone(session, session->client.ended || session->client.stream.error);
    if (session->engine) {
        engine_closed(session->engine);
        relay_events(session);
    }
    session->phase = SESSION_OVER;
    if (session->cancel)
        cancel_abandon(session->cancel);
    session->cancel = NULL;
    stream_close(&session->server.stream);
    stream_close(&session->client.stream);
}

static void uncount(struct session *session)
{
    struct session_room *room = session->room;
    if (session->logged_in) {
        metric_sub(&room->metrics, METRIC_sessions, 1);
        if (room->conf->log.sessions)
            log_info("session %llu ended: client=%s user=%s database=%s seconds=%.1f",
                     (unsigned long long)session->number, session->peer, session->user, session->database,
                     loop_now(room->loop) - session->started);
    }
    if (session->counted) {
        users_leave(room->shared->users, session->user);
        atomic_fetch_sub(&room->shared->sessions, 1);
    }
    atomic_fetch_sub(&room->shared->open, 1);
}

static void session_free(struct session *session)
{
    struct session_room *room = session->room;
    session_take_counts(session);
    session_judge_abandon(session);
    session_audit_forget(session);
    session_locks_forget(session);
    relay_release_held(session);
    uncount(session);
    if (session->next)
        session->next->previous = session->previous;
    if (session->previous)
        session->previous->next = session->next;
    else
        room->first = session->next;
    session_release_login(session);
    engine_free(session->engine);
    relay_forget(&session->client);
    relay_forget(&session->server);
    free(session->peer);
    free(session->user);
    free(session->database);
    free(session->start_waiver);
    free(session->nonce);
    free(session->made);
    session->magic = 0;
    free(session);
}

void session_close_client(struct session *session)
{
    struct stream *client = &session->client.stream;
    if (session->phase >= SESSION_CLOSING)
        return;
    session_changes_gone(session, client->error);
    if (session->engine) {
        engine_closed(session->engine);
        relay_events(session);
        session_take_counts(session);
    }
    session->phase = SESSION_CLOSING;
    stream_close(&session->server.stream);
    relay_forget(&session->client);
    relay_forget(&session->server);
    session_judge_abandon(session);
    stream_shutdown(client);
    session->deadline =
        loop_now(session->room->loop) + (stream_unsent(client) ? closing_seconds : lingering_seconds);
    if (!session->client.ended)
        stream_reading(client, true);
}

static void closing_settle(struct session *session)
{
    const struct stream *client = &session->client.stream;
    if (client->error || (session->client.ended && stream_unsent(client) == 0))
        session_end(session);
}

void session_settle(struct session *session)
{
    if (session->phase == SESSION_RELAY)
        relay_settle(session);
    if (session->phase == SESSION_CLOSING)
        closing_settle(session);
    if (session->phase == SESSION_OVER)
        session_free(session);
}

void session_refuse(struct session *session, const char *sqlstate, const char *message, const char *detail,
                    const char *hint)
{
    size_t length;
    uint8_t *bytes = startup_fatal(sqlstate, message, detail, hint, &length);
    metric_add(&session->room->metrics, METRIC_refused_connections_total, 1);
    log_debug("session %llu from %s refused: %s", (unsigned long long)session->number, session->peer,
              message);
    stream_write(&session->client.stream, bytes, length);
    free(bytes);
    session_close_client(session);
}

void session_terminate(struct session *session, const char *sqlstate, const char *message, const char *hint)
{
    if (session->phase == SESSION_STARTUP || session->phase == SESSION_CLIENT_TLS) {
        session_end(session);
        return;
    }
    if (session->phase == SESSION_DIALING || session->phase == SESSION_AWAITING) {
        session_refuse(session, sqlstate, message, NULL, hint);
        return;
    }
    if (session->phase != SESSION_RELAY)
        return;
    relay_say(session, sqlstate, message, hint);
    if (engine_quiet(session->engine) && !session->server.stream.shutting)
        stream_write(&session->server.stream, terminate_message, sizeof terminate_message);
    session_close_client(session);
}

/* ---- a room ----------------------------------------------------------------------------------------- */

static bool idle_outside_transaction(const struct session *session)
{
    return session->phase == SESSION_RELAY && session->logged_in && engine_quiet(session->engine) &&
           engine_transaction_status(session->engine) == 'I' && !session->client.kept_length &&
           !session->judging;
}

static void check_login_time(struct session *session, double now)
{
    int64_t limit = session->room->conf->limits.login_time;
    if (limit <= 0 || now - session->started < (double)limit / 1000)
        return;
    log_info("session %llu from %s: login took longer than limits.login_time",
             (unsigned long long)session->number, session->peer);
    metric_add(&session->room->metrics, METRIC_refused_connections_total, 1);
    /* As the server: without a word to somebody who has not said a whole start-up packet. */
    session_terminate(session, "57014", "canceling authentication due to timeout",
                      "limits.login_time of pgsluice is the limit.");
}

static void check_idle_time(struct session *session, double now)
{
    int64_t limit = session->room->conf->limits.idle_time;
    if (limit <= 0 || now - session->active < (double)limit / 1000 || !engine_quiet(session->engine) ||
        session->judging)
        return;
    const char *hint = "limits.idle_time of pgsluice is the limit.";
    if (engine_transaction_status(session->engine) == 'I')
        session_terminate(session, "57P05", "terminating connection due to idle-session timeout", hint);
    else
        session_terminate(session, "25P03", "terminating connection due to idle-in-transaction timeout",
                          hint);
}

static void tick(struct session *session, double now)
{
    session_take_counts(session);
    if (session->moved)
        session->active = now;
    session->moved = false;
    if (session->phase == SESSION_CLOSING && session->deadline && now >= session->deadline)
        session_end(session);
    else if (session->phase < SESSION_CLOSING && session->phase != SESSION_CANCELING && !session->logged_in)
        check_login_time(session, now);
    else if (session->phase == SESSION_RELAY)
        check_idle_time(session, now);
    session_changes_tick(session, now);
    if (session->phase == SESSION_DIALING || session->phase == SESSION_AWAITING)
        upstream_tick(session, now);
}

void session_room_tick(struct session_room *room)
{
    double now = loop_now(room->loop);
    struct session *next;
    for (struct session *session = room->first; session; session = next) {
        next = session->next; /* settling frees this one only */
        tick(session, now);
        session_settle(session);
    }
    cancel_room_tick(room, now);
}

bool session_may_drain(const struct session *session)
{
    return session->room->draining && idle_outside_transaction(session);
}

void session_room_drain(struct session_room *room)
{
    struct session *next;
    room->draining = true;
    for (struct session *session = room->first; session; session = next) {
        next = session->next;
        if (session->phase == SESSION_STARTUP || session->phase == SESSION_CLIENT_TLS)
            session_end(session);
        session_settle(session); /* relay_settle ends those that are idle */
    }
}

void session_room_end_all(struct session_room *room)
{
    struct session *next;
    room->draining = true;
    for (struct session *session = room->first; session; session = next) {
        next = session->next;
        session_terminate(session, "57P01", "terminating connection due to administrator command", NULL);
        session_end(session);
        session_settle(session);
    }
}

void session_room_reloaded(struct session_room *room)
{
    for (struct session *session = room->first; session; session = session->next) {
        session_trace(session);
        if (session->engine)
            engine_screen(session->engine, session_online(session));
    }
}

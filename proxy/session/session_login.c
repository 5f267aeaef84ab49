/*
 * The client's start-up: reads exactly the packets that startup.c asks for and carries out its steps. In
 * plaintext, bytes are looked at (peek) before they are taken, so that a ClientHello is left for TLS.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/log.h"
#include "proxy/session/cancel.h"
#include "proxy/session/session_inside.h"

/* A step's outcome: go on reading packets? */
enum go { GO_ON, GO_WAIT };

static enum go begin_tls(struct session *session, bool direct)
{
    struct login *login = session->login;
    if (!login->tls_client || !stream_tls_accept(&session->client.stream, login->tls_client, direct)) {
        log_error("session %llu from %s: TLS could not be started", (unsigned long long)session->number,
                  session->peer);
        session_end(session);
        return GO_WAIT;
    }
    session->phase = SESSION_CLIENT_TLS;
    return GO_WAIT;
}

static enum go refuse(struct session *session)
{
    struct startup *startup = &session->login->startup;
    metric_add(&session->room->metrics, METRIC_refused_connections_total, 1);
    log_debug("session %llu from %s: start-up refused", (unsigned long long)session->number, session->peer);
    stream_write(&session->client.stream, startup->refusal, startup->refusal_length);
    session_close_client(session);
    return GO_WAIT;
}

static void cancel_done(void *argument)
{
    struct session *session = argument;
    session->cancel = NULL;
    session_end(session);
    session_settle(session);
}

static void carry_cancel(struct session *session)
{
    struct login *login = session->login;
    stream_reading(&session->client.stream, false);
    session->phase = SESSION_CANCELING;
    /* Whose answer waits for a change has an idle server: the request would hit the next statement there. */
    if (login->startup.length > CANCEL_HEAD &&
        session_changes_cancel(login->startup.packet + CANCEL_HEAD, login->startup.length - CANCEL_HEAD)) {
        session_end(session);
        return;
    }
    session->cancel = cancel_carry(session->room, login->tls_upstream, login->startup.packet,
                                   login->startup.length, cancel_done, session);
    if (!session->cancel)
        session_end(session);
}

static enum go take_step(struct session *session, enum startup_step step)
{
    struct login *login = session->login;
    switch (step) {
    case STARTUP_READ:
        return GO_ON;
    case STARTUP_ANSWER:
        stream_write(&session->client.stream, &login->startup.answer, 1);
        return GO_ON;
    case STARTUP_ANSWER_TLS:
        stream_write(&session->client.stream, "S", 1);
        return begin_tls(session, false);
    case STARTUP_DIRECT_TLS:
        return begin_tls(session, true);
    case STARTUP_CONNECT:
        upstream_begin(session);
        return GO_WAIT;
    case STARTUP_CANCEL:
        carry_cancel(session);
        return GO_WAIT;
    case STARTUP_REFUSE:
        return refuse(session);
    }
    return GO_WAIT;
}

/* Bytes for startup_feed: looked at in plaintext, read within the packet's bounds under TLS. */
static ssize_t get(struct session *session, uint8_t *scratch, size_t size)
{
    struct stream *client = &session->client.stream;
    size_t wants = startup_wants(&session->login->startup);
    if (stream_has_tls(client))
        return stream_read(client, scratch, wants < size ? wants : size);
    return stream_peek(client, scratch, size);
}

void login_client_readable(struct session *session)
{
    struct stream *client = &session->client.stream;
    size_t size, consumed;
    uint8_t *scratch = loop_scratch(session->room->loop, &size);
    enum go go = GO_ON;
    for (int round = 0; go == GO_ON && round < 64; round++) {
        ssize_t got = get(session, scratch, size);
        if (got == STREAM_AGAIN)
            return;
        if (got <= 0) {
            session_end(session);
            return;
        }
        metric_add(&session->room->metrics, METRIC_client_bytes_total, (uint64_t)got);
        enum startup_step step = startup_feed(&session->login->startup, scratch, (size_t)got, &consumed);
        if (!stream_has_tls(client) && consumed &&
            stream_read(client, scratch, consumed) != (ssize_t)consumed) {
            session_end(session); /* what was seen a moment ago is gone: the socket has failed */
            return;
        }
        go = take_step(session, step);
    }
    if (go == GO_ON && stream_pending(client)) {
        stream_reading(client, false); /* so that switching it on wakes us for what TLS holds */
        stream_reading(client, true);
    }
}

void login_client_opened(struct session *session)
{
    struct stream *client = &session->client.stream;
    char cn[256];
    if (client->error) {
        log_info("session %llu from %s: TLS handshake failed: %s", (unsigned long long)session->number,
                 session->peer, stream_error_text(client));
        metric_add(&session->room->metrics, METRIC_refused_connections_total, 1);
        session_end(session);
        return;
    }
    bool certified = tls_peer_cn(client, cn, sizeof cn);
    startup_tls_done(&session->login->startup, certified ? cn : NULL);
    session->phase = SESSION_STARTUP;
    stream_reading(client, true);
    login_client_readable(session);
}

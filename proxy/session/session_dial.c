/*
 * Connecting to one server. See session_dial.h; the decisions are upstream_first, upstream_answer and
 * upstream_refused in startup.c.
 */
#include "proxy/session/session_dial.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proxy/session/startup.h"

static const uint8_t ssl_request[8] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f};

static const struct upstream_address *address_of(const struct dial *dial)
{
    return &dial->set->addresses[dial->address];
}

static enum tls_mode mode_of(const struct dial *dial)
{
    return dial->tls ? dial->set->conf->tls_upstream.mode : TLS_DISABLE;
}

static bool is_local(const struct dial *dial)
{
    return address_of(dial)->address.ss_family == AF_UNIX;
}

void dial_name(const struct dial *dial, char *text, size_t size)
{
    const struct conf_host *host = &dial->set->conf->upstream.hosts[address_of(dial)->host];
    if (host->host[0] == '/')
        snprintf(text, size, "%s/.s.PGSQL.%u", host->host, host->port);
    else if (strchr(host->host, ':'))
        snprintf(text, size, "[%s]:%u", host->host, host->port);
    else
        snprintf(text, size, "%s:%u", host->host, host->port);
}

static enum dial_state failed(struct dial *dial, const char *why)
{
    snprintf(dial->error, sizeof dial->error, "%s", why);
    dial_close(dial);
    return DIAL_FAILED;
}

enum dial_state dial_start(struct dial *dial, bool retry)
{
    dial->retry = retry;
    dial->asked = false;
    int fd = upstream_connect(address_of(dial));
    if (fd < 0) {
        const char *why = strerrordesc_np(errno);
        snprintf(dial->error, sizeof dial->error, "%s", why ? why : "unknown error");
        return DIAL_FAILED;
    }
    int64_t timeout = dial->set->conf->upstream.connect_timeout;
    dial->deadline = timeout > 0 ? loop_now(dial->loop) + (double)timeout / 1000 : 0;
    stream_init(dial->stream, dial->loop, dial->calls, fd);
    stream_opening(dial->stream);
    return DIAL_GOING;
}

void dial_close(struct dial *dial)
{
    dial->deadline = 0;
    stream_close(dial->stream);
}

bool dial_may_again(const struct dial *dial)
{
    return upstream_refused(mode_of(dial), is_local(dial), stream_has_tls(dial->stream), dial->retry) !=
           UPSTREAM_FAIL;
}

enum dial_state dial_again(struct dial *dial)
{
    if (!dial_may_again(dial))
        return DIAL_FAILED;
    dial_close(dial);
    return dial_start(dial, true);
}

static enum dial_state take_step(struct dial *dial, enum upstream_step step)
{
    switch (step) {
    case UPSTREAM_SEND_STARTUP:
        stream_reading(dial->stream, true);
        return DIAL_READY;
    case UPSTREAM_SEND_SSLREQUEST:
        dial->asked = true;
        stream_write(dial->stream, ssl_request, sizeof ssl_request);
        stream_reading(dial->stream, true);
        return DIAL_GOING;
    case UPSTREAM_BEGIN_TLS: {
        const char *host = dial->set->conf->upstream.hosts[address_of(dial)->host].host;
        if (!stream_tls_connect(dial->stream, dial->tls, host))
            return failed(dial, "TLS could not be started: out of memory");
        return DIAL_GOING;
    }
    case UPSTREAM_RETRY_PLAIN:
    case UPSTREAM_RETRY_TLS:
    case UPSTREAM_FAIL:
        break;
    }
    return failed(dial, "the server does not support TLS, but tls.upstream.mode demands it");
}

enum dial_state dial_opened(struct dial *dial)
{
    bool handshake = dial->asked;
    if (dial->stream->error) {
        char why[sizeof dial->error];
        snprintf(why, sizeof why, "%s%s", handshake ? "TLS: " : "", stream_error_text(dial->stream));
        if (handshake && dial_may_again(dial))
            return dial_again(dial);
        return failed(dial, why);
    }
    if (!handshake)
        return take_step(dial, upstream_first(mode_of(dial), is_local(dial), dial->retry));
    dial->asked = false;
    return take_step(dial, UPSTREAM_SEND_STARTUP);
}

enum dial_state dial_readable(struct dial *dial)
{
    uint8_t answer, stuffed;
    ssize_t got = stream_read(dial->stream, &answer, 1);
    if (got == STREAM_AGAIN)
        return DIAL_GOING;
    if (got == STREAM_ERROR)
        return failed(dial, stream_error_text(dial->stream));
    if (got == 0)
        return failed(dial, "the server closed the connection unexpectedly");
    if (!dial->asked || (answer != 'S' && answer != 'N'))
        return failed(dial, "the server did not answer the SSLRequest as a PostgreSQL server does");
    if (answer == 'S' && stream_peek(dial->stream, &stuffed, 1) > 0)
        return failed(dial, "received unencrypted data after SSL response");
    return take_step(dial, upstream_answer(mode_of(dial), answer));
}

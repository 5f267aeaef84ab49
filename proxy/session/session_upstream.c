/*
 * The server's side of a start-up: limits, then the addresses of the upstream one after the other until one
 * of them takes the StartupMessage. A server that cannot be reached, that closes without a word, or that says
 * "cannot connect now" (57P03) gives way to the next; what else a server answers is the client's to see.
 * Modes allow and prefer try once more the other way when pg_hba.conf does not let this way in (28000), as
 * libpq does.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/log.h"
#include "proxy/session/session_inside.h"
#include "proxy/session/session_users.h"

enum { FAILURES_MOST = 2000, FIRST_MESSAGE_MOST = 30000 };

/* ---- limits ----------------------------------------------------------------------------------------- */

static bool enter(struct session *session)
{
    struct sessions_shared *shared = session->room->shared;
    const struct conf_limits *limits = &session->room->conf->limits;
    if (atomic_fetch_add(&shared->sessions, 1) >= limits->sessions) {
        atomic_fetch_sub(&shared->sessions, 1);
        session_refuse(session, "53300", "sorry, too many clients already",
                       "This proxy has as many sessions as limits.sessions allows.",
                       "Raise limits.sessions in pgsluice's configuration.");
        return false;
    }
    if (!users_enter(shared->users, session->user, limits->sessions_per_user)) {
        char text[128];
        atomic_fetch_sub(&shared->sessions, 1);
        snprintf(text, sizeof text, "too many connections for role \"%.63s\"", session->user);
        session_refuse(session, "53300", text,
                       "This proxy has as many sessions of this role as limits.sessions_per_user allows.",
                       "Raise limits.sessions_per_user in pgsluice's configuration.");
        return false;
    }
    session->counted = true;
    return true;
}

static bool copy_names(struct session *session)
{
    const struct startup *startup = &session->login->startup;
    session->user = strdup(startup->user);
    session->database = strdup(startup->database);
    if (startup->start_waiver)
        session->start_waiver = strdup(startup->start_waiver);
    return session->user && session->database && (session->start_waiver || !startup->start_waiver);
}

/* ---- failures --------------------------------------------------------------------------------------- */

/* When a server is away every client that comes fails: one line for each server in ten seconds, with the
 * number of those that were left out. */
static void tell_failure(const struct session *session, unsigned host, const char *name, const char *why)
{
    enum { HOSTS = 64, QUIET_SECONDS = 10 };
    static struct {
        _Atomic int64_t until; /* seconds of the monotonic clock */
        _Atomic uint32_t unsaid;
    } told[HOSTS];
    unsigned long long number = session->number;
    int64_t now = (int64_t)loop_now(session->room->loop);
    int64_t until = atomic_load(&told[host % HOSTS].until);
    if (now < until ||
        !atomic_compare_exchange_strong(&told[host % HOSTS].until, &until, now + QUIET_SECONDS)) {
        atomic_fetch_add(&told[host % HOSTS].unsaid, 1);
        log_debug("session %llu: server %s: %s", number, name, why);
        return;
    }
    uint32_t unsaid = atomic_exchange(&told[host % HOSTS].unsaid, 0);
    if (unsaid)
        log_warning("session %llu: server %s: %s; %u more failures since the last such line", number, name,
                    why, unsaid);
    else
        log_warning("session %llu: server %s: %s", number, name, why);
}

static void note_failure(struct session *session, enum host_role seen, const char *why)
{
    struct login *login = session->login;
    char name[300], *text;
    unsigned host = login->set->addresses[login->dial.address].host;
    dial_name(&login->dial, name, sizeof name);
    metric_add(&session->room->metrics, METRIC_upstream_failures_total, 1);
    tell_failure(session, host, name, why);
    upstream_saw(session->room->shared->upstream, host, seen);
    const char *before = login->failures ? login->failures : "";
    if (strlen(before) > FAILURES_MOST ||
        asprintf(&text, "%s%s%s: %s", before, *before ? "; " : "", name, why) < 0)
        return;
    free(login->failures);
    login->failures = text;
}

static void give_up(struct session *session)
{
    const char *failures = session->login->failures;
    char *text = NULL;
    if (asprintf(&text, "could not connect to the server: %s", failures ? failures : "no address is known") <
        0)
        text = NULL;
    session_refuse(
        session, "08006", text ? text : "could not connect to the server", NULL,
        "This is pgsluice speaking: see `upstream` in its configuration, and whether the server is "
        "running and takes TCP/IP connections.");
    free(text);
}

/* A standby that the monitor has seen is no use for target: primary. What sessions saw may be old news. */
static bool worth_trying(const struct login *login, size_t address)
{
    const struct conf_upstream *upstream = &login->set->conf->upstream;
    bool monitored = upstream->monitor || login->set->conf->online.maintenance;
    return upstream->target != TARGET_PRIMARY || !monitored ||
           login->set->roles[login->set->addresses[address].host] != HOST_STANDBY;
}

/* Tries the addresses from `address` on. */
static void try_from(struct session *session, size_t address)
{
    struct login *login = session->login;
    session->phase = SESSION_DIALING;
    for (; address < login->set->n; address++) {
        login->dial.address = address;
        if (!worth_trying(login, address)) {
            note_failure(session, HOST_STANDBY, "a standby, and target is primary");
            continue;
        }
        if (dial_start(&login->dial, false) == DIAL_GOING)
            return;
        note_failure(session, HOST_DOWN, login->dial.error);
    }
    give_up(session);
}

static void try_next(struct session *session, const char *why)
{
    note_failure(session, HOST_DOWN, why);
    dial_close(&session->login->dial);
    relay_forget(&session->server);
    session->server.ended = false;
    try_from(session, session->login->dial.address + 1);
}

void upstream_begin(struct session *session)
{
    struct login *login = session->login;
    stream_reading(&session->client.stream, false);
    if (!copy_names(session)) {
        session_refuse(session, "53200", "out of memory", NULL, NULL);
        return;
    }
    if (session->room->draining) {
        session_refuse(session, "57P03", "the proxy is shutting down", NULL, NULL);
        return;
    }
    if (!enter(session))
        return;
    login->set = upstream_get(session->room->shared->upstream);
    login->dial = (struct dial){.loop = session->room->loop,
                                .stream = &session->server.stream,
                                .calls = &session_server_calls,
                                .tls = login->tls_upstream,
                                .set = login->set};
    try_from(session, 0);
}

/* ---- the server's first message --------------------------------------------------------------------- */

/* SQLSTATE of an ErrorResponse that is whole; "" if it has none. */
static void sqlstate_of(const uint8_t *message, size_t length, char sqlstate[6])
{
    size_t at = 5;
    sqlstate[0] = '\0';
    while (at < length && message[at]) {
        const uint8_t *end = memchr(message + at, 0, length - at);
        if (!end)
            return;
        if (message[at] == 'C' && end - (message + at) == 6) {
            memcpy(sqlstate, message + at + 1, 6);
            return;
        }
        at = (size_t)(end - message) + 1;
    }
}

/* What to do about the first bytes. An ErrorResponse is read whole; anything else begins the session. */
enum verdict_of_first { FIRST_WAIT, FIRST_PASS, FIRST_AGAIN, FIRST_NEXT };

static enum verdict_of_first look_at_first(struct session *session)
{
    const struct leg *leg = &session->server;
    const struct login *login = session->login;
    char sqlstate[6];
    uint32_t length;
    if (leg->kept[0] != 'E')
        return FIRST_PASS;
    if (leg->kept_length < 5)
        return FIRST_WAIT;
    memcpy(&length, leg->kept + 1, 4);
    length = ntohl(length);
    if (length < 4 || length > FIRST_MESSAGE_MOST)
        return FIRST_PASS;
    if (leg->kept_length < length + 1)
        return FIRST_WAIT;
    sqlstate_of(leg->kept, length + 1, sqlstate);
    if (strcmp(sqlstate, "28000") == 0 && dial_may_again(&login->dial))
        return FIRST_AGAIN;
    if (strcmp(sqlstate, "57P03") == 0 && login->dial.address + 1 < login->set->n)
        return FIRST_NEXT;
    return FIRST_PASS;
}

static void take_first(struct session *session)
{
    struct login *login = session->login;
    switch (look_at_first(session)) {
    case FIRST_WAIT:
        return;
    case FIRST_PASS:
        login->dial.deadline = 0;
        session->host = login->set->addresses[login->dial.address].host;
        relay_begin(session);
        return;
    case FIRST_AGAIN:
        log_info("session %llu: the server refused the login %s TLS (28000); trying the other way",
                 (unsigned long long)session->number,
                 stream_has_tls(login->dial.stream) ? "with" : "without");
        relay_forget(&session->server);
        session->phase = SESSION_DIALING;
        if (dial_again(&login->dial) == DIAL_FAILED)
            try_next(session, login->dial.error);
        return;
    case FIRST_NEXT:
        try_next(session, "the server cannot take connections now (57P03)");
        return;
    }
}

static void await_readable(struct session *session)
{
    size_t size;
    uint8_t *scratch = loop_scratch(session->room->loop, &size);
    ssize_t got = stream_read(&session->server.stream, scratch, 4096);
    if (got == STREAM_AGAIN)
        return;
    if (got <= 0) {
        const char *why = got == 0 ? "the server closed the connection unexpectedly"
                                   : stream_error_text(&session->server.stream);
        char text[256];
        snprintf(text, sizeof text, "%s", why);
        try_next(session, text);
        return;
    }
    metric_add(&session->room->metrics, METRIC_server_bytes_total, (uint64_t)got);
    if (!relay_keep(&session->server, scratch, (size_t)got)) {
        session_refuse(session, "53200", "out of memory", NULL, NULL);
        return;
    }
    take_first(session);
}

/* ---- events ----------------------------------------------------------------------------------------- */

static void after_dial(struct session *session, enum dial_state state)
{
    struct login *login = session->login;
    if (state == DIAL_FAILED) {
        try_next(session, login->dial.error);
        return;
    }
    if (state != DIAL_READY)
        return;
    session->phase = SESSION_AWAITING; /* connect_timeout goes on until the server's first word */
    stream_write(&session->server.stream, login->startup.packet, login->startup.length);
    if (stream_pending(&session->server.stream))
        await_readable(session);
}

void upstream_opened(struct session *session)
{
    after_dial(session, dial_opened(&session->login->dial));
}

void upstream_readable(struct session *session)
{
    if (session->phase == SESSION_AWAITING)
        await_readable(session);
    else
        after_dial(session, dial_readable(&session->login->dial));
}

void upstream_tick(struct session *session, double now)
{
    double deadline = session->login->dial.deadline;
    if (deadline && now >= deadline)
        try_next(session, "no answer within upstream.connect_timeout");
}

/*
 * Authentication, up to the first ReadyForQuery, and what the server reports of the session.
 *
 * All of it passes; only the offer of SCRAM-SHA-256-PLUS is taken back where it can't succeed: channel
 * binding ties the password's proof to the server's certificate as the client sees it (RFC 5929,
 * tls-server-end-point), and the client sees ours. A client that could have bound, and is told that the
 * server can't, says so ('y' in its first message); the server, knowing better, would have to take that for
 * an attack. So that client is told what to do.
 */
#include "proxy/session/engine_inside.h"

#include <stdlib.h>

#define MECHANISMS_MAX 16U

static const char binding_hint[] = "Either let pgsluice present the server's own certificate "
                                   "(tls.client.certificate and tls.client.key), or set "
                                   "channel_binding=disable in the client's connection string "
                                   "(PGCHANNELBINDING for libpq), or, where the path to "
                                   "the server is trusted, set tls.upstream.mode to disable.";

/* ---- the client ------------------------------------------------------------------------------------- */

static size_t sasl_answer(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct message_sasl_initial initial;
    if (!frame_whole(frame))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_BYTES, frame->total);
    if (message_sasl_initial_read(frame_payload(frame), frame_payload_length(frame), &initial) &&
        initial.length && initial.data[0] == 'y' && strcmp(initial.mechanism, SASL_SCRAM) == 0)
        return engine_cut(
            engine, sinks, "28000",
            "pgsluice: channel binding can't succeed: client and server are each connected to it by "
            "TLS with different certificates",
            binding_hint, "client insists on channel binding with a certificate that is not the server's");
    engine->plus_removed = false;
    engine->answer_due = false;
    trace_message(engine, ENGINE_CLIENT, frame, NULL);
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

size_t login_client(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    /* While the server waits for an answer anything else makes it end the session; behind that, Query and the
     * like may only be read once encoding and standard_conforming_strings are known. */
    if (frame->type != CLIENT_PASSWORD && frame->type != CLIENT_TERMINATE && !engine->answer_due)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_LOGIN, FRAME_HEADER);
    if (frame->type == CLIENT_PASSWORD && engine->plus_removed)
        return sasl_answer(engine, frame, sinks);
    engine->answer_due = false;
    trace_message(engine, ENGINE_CLIENT, frame, NULL);
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

/* ---- the server ------------------------------------------------------------------------------------- */

static size_t sasl_offer(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                         struct reader list)
{
    const char *kept[MECHANISMS_MAX];
    size_t n = 0;
    bool plus = false;
    for (const char *mechanism; n < MECHANISMS_MAX && (mechanism = message_sasl_mechanism(&list)) != NULL;) {
        if (strcmp(mechanism, SASL_SCRAM_PLUS) == 0)
            plus = true;
        else
            kept[n++] = mechanism;
    }
    bool both_tls = engine->options.client_tls && engine->options.server_tls;
    if (!plus || (both_tls && engine->options.same_certificate))
        return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
    if (n == 0)
        return engine_cut(
            engine, sinks, "28000",
            "pgsluice: the server offers only SCRAM-SHA-256-PLUS, which can't succeed here: it binds the "
            "login to a TLS connection with the server's own certificate",
            binding_hint, "the server offers channel binding only, and it can't succeed");
    struct writer writer;
    writer_init(&writer, SMALL_MESSAGE);
    message_sasl_write(&writer, kept, n);
    if (!writer_ok(&writer)) {
        writer_release(&writer);
        return engine_out_of_memory(engine, sinks);
    }
    sink_put_now(sinks->client, writer.bytes, writer.length);
    writer_release(&writer);
    engine->plus_removed = both_tls;
    trace_note(engine, "SCRAM-SHA-256-PLUS taken out of the offer");
    return engine_drop(engine, ENGINE_SERVER, frame);
}

size_t login_authentication(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    uint32_t code;
    struct reader rest;
    if (!frame_whole(frame) && frame->total <= SMALL_MESSAGE)
        return engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, frame->total);
    trace_message(engine, ENGINE_SERVER, frame, "forward");
    if (!engine->login || !frame_whole(frame) ||
        !message_authentication_read(frame_payload(frame), frame_payload_length(frame), &code, &rest))
        return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
    engine->answer_due = code != AUTHENTICATION_OK && code != AUTHENTICATION_SASL_FINAL;
    if (code == AUTHENTICATION_SASL)
        return sasl_offer(engine, frame, sinks, rest);
    return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
}

/* ---- reports ----------------------------------------------------------------------------------------- */

static void keep(char *to, size_t size, const char *value)
{
    size_t length = strnlen(value, size - 1);
    memcpy(to, value, length);
    to[length] = 0;
}

static struct session_names *session_names(struct engine *engine)
{
    if (!engine->names)
        engine->names = calloc(1, sizeof *engine->names);
    return engine->names;
}

/* "15.4 (Debian 15.4-1)", "18beta1": 150004, 180000. */
static int version_of(const char *text)
{
    char *end;
    unsigned long major = strtoul(text, &end, 10);
    unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return major < 1000 && minor < 10000 ? (int)(major * 10000 + minor) : 0;
}

void login_parameter(struct engine *engine, const char *name, const char *value)
{
    struct session_names *names;
    if (strcmp(name, "client_encoding") == 0) {
        keep(engine->client_encoding, sizeof engine->client_encoding, value);
        engine->text_encoding = (uint8_t)text_encoding_of(value);
    } else if (strcmp(name, "server_encoding") == 0) {
        keep(engine->server_encoding, sizeof engine->server_encoding, value);
    } else if (strcmp(name, "standard_conforming_strings") == 0) {
        engine->scs = strcmp(value, "on") == 0;
    } else if (strcmp(name, "in_hot_standby") == 0) {
        engine->hot_standby = strcmp(value, "on") == 0;
    } else if (strcmp(name, "server_version") == 0) {
        engine->version = version_of(value);
    } else if (strcmp(name, "application_name") == 0 && (names = session_names(engine))) {
        keep(names->application, sizeof names->application, value);
    } else if (strcmp(name, "session_authorization") == 0 && (names = session_names(engine))) {
        keep(names->authorization, sizeof names->authorization, value);
    }
}

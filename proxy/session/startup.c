/*
 * Start-up, the client's side: which of the packets that may open a connection this is, whether it is formed
 * as the server demands it, and whether the TLS mode of this leg lets it pass. ProcessStartupPacket() of the
 * server is the model for every check and every message (PostgreSQL manual, 55.2.1 and 55.7).
 *
 * Ownership: the packet, the refusal and the waiver are malloc'ed here and freed by startup_release. Names
 * point into the packet. Invariant: `length` bytes of the packet have been taken, `expected` is its whole
 * length once four bytes are in, and nothing behind the packet is ever taken.
 */
#include "proxy/session/startup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy/session/startup_options.h"

enum {
    MAGIC = 0x57a47e0b,
    CODE_CANCEL = 80877102,
    CODE_SSL = 80877103,
    CODE_GSS = 80877104,
    CANCEL_SHORTEST = 12 + 4,
    CANCEL_LONGEST = 12 + 256,
    TLS_HANDSHAKE = 0x16
};

void startup_init(struct startup *startup, const struct conf_tls *client_leg)
{
    memset(startup, 0, sizeof *startup);
    startup->magic = MAGIC;
    startup->tls = client_leg;
    startup->user = startup->database = startup->application = startup->options = startup->replication = "";
}

static void forget_packet(struct startup *startup)
{
    free(startup->packet);
    startup->packet = NULL;
    startup->length = startup->expected = 0;
}

void startup_release(struct startup *startup)
{
    assert(startup->magic == MAGIC);
    forget_packet(startup);
    free(startup->refusal);
    free((char *)startup->start_waiver);
    startup->magic = 0;
}

/* ---- refusals --------------------------------------------------------------------------------------- */

static uint32_t read_u32(const uint8_t *bytes)
{
    uint32_t network;
    memcpy(&network, bytes, 4);
    return ntohl(network);
}

static uint8_t *put_field(uint8_t *at, char type, const char *text)
{
    size_t n = strlen(text) + 1;
    *at++ = (uint8_t)type;
    memcpy(at, text, n);
    return at + n;
}

uint8_t *startup_fatal(const char *sqlstate, const char *message, const char *detail, const char *hint,
                       size_t *length)
{
    size_t size = 5 + 4 * 8 + strlen(sqlstate) + strlen(message) + (detail ? strlen(detail) + 2 : 0) +
                  (hint ? strlen(hint) + 2 : 0);
    *length = 0;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return NULL;
    uint8_t *at = bytes + 5;
    at = put_field(at, 'S', "FATAL");
    at = put_field(at, 'V', "FATAL");
    at = put_field(at, 'C', sqlstate);
    at = put_field(at, 'M', message);
    if (detail)
        at = put_field(at, 'D', detail);
    if (hint)
        at = put_field(at, 'H', hint);
    *at++ = 0;
    *length = (size_t)(at - bytes);
    assert(*length <= size);
    bytes[0] = 'E';
    uint32_t network = htonl((uint32_t)*length - 1);
    memcpy(bytes + 1, &network, 4);
    return bytes;
}

static enum startup_step refuse(struct startup *startup, const char *sqlstate, const char *message,
                                const char *detail, const char *hint)
{
    free(startup->refusal);
    startup->refusal = startup_fatal(sqlstate, message, detail, hint, &startup->refusal_length);
    return STARTUP_REFUSE;
}

static enum startup_step refuse_silently(struct startup *startup)
{
    free(startup->refusal);
    startup->refusal = NULL;
    startup->refusal_length = 0;
    return STARTUP_REFUSE;
}

/* ---- the StartupMessage ----------------------------------------------------------------------------- */

/* The next pair of the packet's parameters; false at the terminator or where the layout is broken. */
static bool next_parameter(const struct startup *startup, size_t *offset, struct startup_parameter *parameter)
{
    const char *text = (const char *)startup->packet;
    if (*offset >= startup->length || text[*offset] == '\0')
        return false;
    size_t value = *offset + strlen(text + *offset) + 1;
    if (value >= startup->length)
        return false;
    parameter->name = text + *offset;
    parameter->value = text + value;
    *offset = value + strlen(text + value) + 1;
    return true;
}

const char *startup_parameter(const struct startup *startup, const char *name)
{
    struct startup_parameter parameter;
    size_t offset = 8;
    const char *found = NULL;
    if (!startup->packet)
        return NULL;
    while (next_parameter(startup, &offset, &parameter)) {
        if (strcmp(parameter.name, name) == 0)
            found = parameter.value;
    }
    return found;
}

bool startup_replication(const struct startup *startup)
{
    const char *value = startup->replication;
    size_t n = strlen(value);
    if (n == 0)
        return false;
    if (strcmp(value, "database") == 0 || strcmp(value, "1") == 0 || strcasecmp(value, "on") == 0)
        return true;
    /* As the server reads a boolean: any beginning of the word. */
    return strncasecmp(value, "true", n) == 0 || strncasecmp(value, "yes", n) == 0;
}

static bool read_parameters(struct startup *startup)
{
    struct startup_parameter parameter;
    size_t offset = 8;
    const char *waiver = NULL;
    while (next_parameter(startup, &offset, &parameter)) {
        if (strcmp(parameter.name, "user") == 0)
            startup->user = parameter.value;
        else if (strcmp(parameter.name, "database") == 0)
            startup->database = parameter.value;
        else if (strcmp(parameter.name, "options") == 0)
            startup->options = parameter.value;
        else if (strcmp(parameter.name, "replication") == 0)
            startup->replication = parameter.value;
        else if (strcmp(parameter.name, "application_name") == 0)
            startup->application = parameter.value;
        else if (strcasecmp(parameter.name, STARTUP_WAIVER) == 0)
            waiver = parameter.value;
    }
    if (offset != startup->length - 1)
        return false;
    startup->start_waiver = waiver ? strdup(waiver) : startup_option(startup->options, STARTUP_WAIVER);
    if (startup->database[0] == '\0')
        startup->database = startup->user;
    return true;
}

/* What the TLS mode of the client's leg demands of a session. */
static enum startup_step check_tls(struct startup *startup)
{
    char text[256];
    enum tls_mode mode = startup->tls->mode;
    if (startup->local || mode < TLS_REQUIRE)
        return STARTUP_CONNECT;
    if (!startup->client_tls)
        return refuse(startup, "28000", "TLS is required: set sslmode=require",
                      "This proxy takes sessions over TLS only (tls.client.mode).", NULL);
    if (mode >= TLS_VERIFY_CA && !startup->certified)
        return refuse(startup, "28000", "connection requires a valid client certificate", NULL,
                      "Set sslcert and sslkey in the connection string.");
    if (mode == TLS_VERIFY_FULL && strcmp(startup->certificate_cn, startup->user) != 0) {
        snprintf(text, sizeof text, "certificate authentication failed for user \"%.63s\"", startup->user);
        return refuse(startup, "28000", text, "The certificate's common name is not the user's name.", NULL);
    }
    return STARTUP_CONNECT;
}

static enum startup_step take_startup(struct startup *startup)
{
    char text[128];
    startup->protocol = read_u32(startup->packet + 4);
    unsigned major = startup->protocol >> 16;
    unsigned minor = startup->protocol & 0xffff;
    if (major != 3) {
        snprintf(text, sizeof text, "unsupported frontend protocol %u.%u: server supports 3.0 to 3.2", major,
                 minor);
        return refuse(startup, "0A000", text, NULL, NULL);
    }
    if (!read_parameters(startup))
        return refuse(startup, "08P01", "invalid startup packet layout: expected terminator as last byte",
                      NULL, NULL);
    if (startup->user[0] == '\0')
        return refuse(startup, "28000", "no PostgreSQL user name specified in startup packet", NULL, NULL);
    return check_tls(startup);
}

/* ---- the packets in front of it --------------------------------------------------------------------- */

static bool offers_tls(const struct startup *startup)
{
    return !startup->local && startup->tls->mode != TLS_DISABLE && startup->tls->certificate;
}

static enum startup_step answer_negotiation(struct startup *startup, bool ssl, bool more)
{
    *(ssl ? &startup->ssl_asked : &startup->gss_asked) = true;
    forget_packet(startup);
    if (more && ssl)
        return refuse(startup, "08P01", "received unencrypted data after SSL request",
                      "This could be either a client-software bug or evidence of an attempted "
                      "man-in-the-middle attack.",
                      NULL);
    if (more)
        return refuse(startup, "08P01", "received unencrypted data after GSSAPI encryption request",
                      "This could be either a client-software bug or evidence of an attempted "
                      "man-in-the-middle attack.",
                      NULL);
    startup->answer = ssl && offers_tls(startup) ? 'S' : 'N';
    return startup->answer == 'S' ? STARTUP_ANSWER_TLS : STARTUP_ANSWER;
}

/* A packet is whole. `more`: the caller has bytes behind it. */
static enum startup_step take_packet(struct startup *startup, bool more)
{
    uint32_t code = read_u32(startup->packet + 4);
    if (code == CODE_CANCEL) {
        bool fits = startup->length >= CANCEL_SHORTEST && startup->length <= CANCEL_LONGEST;
        return fits ? STARTUP_CANCEL : refuse_silently(startup);
    }
    if (code == CODE_SSL && startup->length == 8 && !startup->ssl_asked && !startup->client_tls)
        return answer_negotiation(startup, true, more);
    if (code == CODE_GSS && startup->length == 8 && !startup->gss_asked && !startup->client_tls)
        return answer_negotiation(startup, false, more);
    return take_startup(startup);
}

/* The length word; false where it cannot be one. */
static bool take_length(struct startup *startup)
{
    uint32_t length = read_u32(startup->head);
    if (length < 8 || length > STARTUP_PACKET_MAX + 4)
        return false;
    startup->packet = malloc(length + 1);
    if (!startup->packet)
        return false;
    memcpy(startup->packet, startup->head, 4);
    startup->packet[length] = 0; /* so that strings in a broken packet end */
    startup->expected = length;
    return true;
}

size_t startup_wants(const struct startup *startup)
{
    return (startup->expected ? startup->expected : 4) - startup->length;
}

enum startup_step startup_feed(struct startup *startup, const uint8_t *bytes, size_t n, size_t *consumed)
{
    assert(startup->magic == MAGIC);
    *consumed = 0;
    bool first = startup->length == 0 && !startup->ssl_asked && !startup->gss_asked && !startup->client_tls;
    if (first && n && bytes[0] == TLS_HANDSHAKE)
        return offers_tls(startup) ? STARTUP_DIRECT_TLS : refuse_silently(startup);
    while (*consumed < n) {
        size_t wanted = startup_wants(startup);
        size_t part = n - *consumed < wanted ? n - *consumed : wanted;
        uint8_t *into = startup->expected ? startup->packet : startup->head;
        memcpy(into + startup->length, bytes + *consumed, part);
        startup->length += part;
        *consumed += part;
        if (startup->length < 4)
            break;
        if (!startup->expected && !take_length(startup))
            return refuse_silently(startup);
        if (startup->length == startup->expected)
            return take_packet(startup, *consumed < n);
    }
    return STARTUP_READ;
}

void startup_tls_done(struct startup *startup, const char *certificate_cn)
{
    startup->client_tls = true;
    size_t n = certificate_cn ? strlen(certificate_cn) : 0;
    startup->certified = certificate_cn != NULL;
    if (n && n < sizeof startup->certificate_cn)
        memcpy(startup->certificate_cn, certificate_cn, n + 1);
}

/* ---- the server's leg ------------------------------------------------------------------------------- */

enum upstream_step upstream_first(enum tls_mode mode, bool unix_socket, bool retry)
{
    if (unix_socket || mode == TLS_DISABLE)
        return UPSTREAM_SEND_STARTUP;
    if (mode == TLS_ALLOW)
        return retry ? UPSTREAM_SEND_SSLREQUEST : UPSTREAM_SEND_STARTUP;
    if (mode == TLS_PREFER)
        return retry ? UPSTREAM_SEND_STARTUP : UPSTREAM_SEND_SSLREQUEST;
    return UPSTREAM_SEND_SSLREQUEST;
}

enum upstream_step upstream_answer(enum tls_mode mode, uint8_t answer)
{
    if (answer == 'S')
        return UPSTREAM_BEGIN_TLS;
    if (answer == 'N')
        return mode >= TLS_REQUIRE ? UPSTREAM_FAIL : UPSTREAM_SEND_STARTUP;
    return UPSTREAM_FAIL; /* an ErrorResponse in plaintext is not to be believed (CVE-2024-10977) */
}

enum upstream_step upstream_refused(enum tls_mode mode, bool unix_socket, bool tls, bool retry)
{
    if (unix_socket || retry)
        return UPSTREAM_FAIL;
    if (mode == TLS_PREFER && tls)
        return UPSTREAM_RETRY_PLAIN;
    if (mode == TLS_ALLOW && !tls)
        return UPSTREAM_RETRY_TLS;
    return UPSTREAM_FAIL;
}

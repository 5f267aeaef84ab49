/*
 * Start-up packets: every kind whole, split at every byte, broken in every way the server knows, and under
 * every TLS mode of the client's leg. No sockets.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/session/startup.h"
#include "proxy/session/startup_options.h"

static const struct conf_tls plain = {.mode = TLS_DISABLE};
static const struct conf_tls prefer = {.mode = TLS_PREFER, .certificate = "server.crt"};
static const struct conf_tls require = {.mode = TLS_REQUIRE, .certificate = "server.crt"};
static const struct conf_tls verify_ca = {.mode = TLS_VERIFY_CA, .certificate = "server.crt"};
static const struct conf_tls verify_full = {.mode = TLS_VERIFY_FULL, .certificate = "server.crt"};

struct bytes {
    uint8_t at[STARTUP_PACKET_MAX + 64];
    size_t n;
};

static void put32(struct bytes *bytes, uint32_t value)
{
    value = htonl(value);
    memcpy(bytes->at + bytes->n, &value, 4);
    bytes->n += 4;
}

/* A packet with this code and body. */
static struct bytes packet(uint32_t code, const void *body, size_t n)
{
    struct bytes bytes = {.n = 0};
    put32(&bytes, (uint32_t)n + 8);
    put32(&bytes, code);
    memcpy(bytes.at + bytes.n, body, n);
    bytes.n += n;
    return bytes;
}

#define PACKET(code, literal) packet(code, literal, sizeof(literal) - 1)
#define V30                   196608u
#define V32                   196610u
#define SSL_REQUEST           80877103u
#define GSS_REQUEST           80877104u
#define CANCEL_REQUEST        80877102u

static const char *refusal_field(const struct startup *startup, char field)
{
    if (startup->refusal_length < 6)
        return "";
    const char *at = (const char *)startup->refusal + 5;
    while (*at) {
        if (*at == field)
            return at + 1;
        at += strlen(at) + 1;
    }
    return "";
}

/* Feeds all of it in pieces of `piece` bytes until a step other than READ comes. */
static enum startup_step feed(struct startup *startup, const struct bytes *bytes, size_t piece, size_t *taken)
{
    enum startup_step step = STARTUP_READ;
    *taken = 0;
    while (*taken < bytes->n && step == STARTUP_READ) {
        size_t n = bytes->n - *taken < piece ? bytes->n - *taken : piece;
        size_t consumed;
        step = startup_feed(startup, bytes->at + *taken, n, &consumed);
        assert_true(consumed <= n);
        *taken += consumed;
    }
    return step;
}

static void whole_startup_is_read_at_every_split(void **state)
{
    (void)state;
    struct bytes bytes = PACKET(V30, "user\0bob\0database\0shop\0application_name\0psql\0options\0"
                                     "-c pgsluice.waive=volatile-default:\\ seen\0\0");
    for (size_t piece = 1; piece <= bytes.n; piece++) {
        struct startup startup;
        size_t taken;
        startup_init(&startup, &plain);
        assert_int_equal(feed(&startup, &bytes, piece, &taken), STARTUP_CONNECT);
        assert_int_equal(taken, bytes.n);
        assert_int_equal(startup.length, bytes.n);
        assert_memory_equal(startup.packet, bytes.at, bytes.n);
        assert_string_equal(startup.user, "bob");
        assert_string_equal(startup.database, "shop");
        assert_string_equal(startup.application, "psql");
        assert_string_equal(startup.start_waiver, "volatile-default: seen");
        assert_string_equal(startup_parameter(&startup, "user"), "bob");
        assert_null(startup_parameter(&startup, "bob"));
        assert_false(startup_replication(&startup));
        startup_release(&startup);
    }
}

static void wants_never_reaches_past_the_packet(void **state)
{
    (void)state;
    struct bytes bytes = PACKET(V30, "user\0bob\0\0");
    struct startup startup;
    size_t at = 0, consumed;
    startup_init(&startup, &plain);
    assert_int_equal(startup_wants(&startup), 4);
    enum startup_step step = STARTUP_READ;
    while (step == STARTUP_READ) {
        size_t n = startup_wants(&startup);
        assert_true(n > 0 && at + n <= bytes.n);
        step = startup_feed(&startup, bytes.at + at, n, &consumed);
        at += consumed;
    }
    assert_int_equal(step, STARTUP_CONNECT);
    assert_int_equal(at, bytes.n);
    startup_release(&startup);
}

/* One row a packet: what comes of it on a leg. */
struct row { /* NOLINT(clang-analyzer-optin.performance.Padding): written in this order */
    const char *name;
    const struct conf_tls *tls;
    bool local;
    struct bytes bytes;
    enum startup_step step;
    const char *sqlstate, *message;
};

static void check_row(const struct row *row)
{
    struct startup startup;
    size_t taken;
    startup_init(&startup, row->tls);
    startup.local = row->local;
    enum startup_step step = feed(&startup, &row->bytes, row->bytes.n, &taken);
    if (step != row->step)
        fail_msg("%s: step %d, not %d", row->name, step, row->step);
    if (step == STARTUP_REFUSE && strcmp(refusal_field(&startup, 'C'), row->sqlstate) != 0)
        fail_msg("%s: SQLSTATE %s, not %s", row->name, refusal_field(&startup, 'C'), row->sqlstate);
    if (step == STARTUP_REFUSE && !strstr(refusal_field(&startup, 'M'), row->message))
        fail_msg("%s: message %s", row->name, refusal_field(&startup, 'M'));
    startup_release(&startup);
}

static void packets_give_the_servers_answers(void **state)
{
    (void)state;
    static uint8_t key[300];
    const struct row rows[] = {
        {"3.2", &plain, false,
         PACKET(V32, "user\0u\0_pq_.x\0"
                     "1\0\0"),
         STARTUP_CONNECT, "", ""},
        {"3.9", &plain, false, PACKET(V30 + 9, "user\0u\0\0"), STARTUP_CONNECT, "", ""},
        {"2.0", &plain, false, PACKET(131072u, "user\0u\0\0"), STARTUP_REFUSE, "0A000",
         "unsupported frontend protocol 2.0"},
        {"4.0", &plain, false, PACKET(262144u, "user\0u\0\0"), STARTUP_REFUSE, "0A000", "protocol 4.0"},
        {"no terminator", &plain, false, PACKET(V30, "user\0u\0"), STARTUP_REFUSE, "08P01",
         "expected terminator"},
        {"bytes behind it", &plain, false, PACKET(V30, "user\0u\0\0x"), STARTUP_REFUSE, "08P01",
         "terminator"},
        {"name without value", &plain, false, PACKET(V30, "user\0"), STARTUP_REFUSE, "08P01", "terminator"},
        {"empty", &plain, false, PACKET(V30, ""), STARTUP_REFUSE, "08P01", "terminator"},
        {"no user", &plain, false, PACKET(V30, "database\0d\0\0"), STARTUP_REFUSE, "28000",
         "no PostgreSQL user"},
        {"empty user", &plain, false, PACKET(V30, "user\0\0\0"), STARTUP_REFUSE, "28000",
         "no PostgreSQL user"},
        {"cancel, key of 4", &plain, false, packet(CANCEL_REQUEST, key, 8), STARTUP_CANCEL, "", ""},
        {"cancel, key of 256", &plain, false, packet(CANCEL_REQUEST, key, 260), STARTUP_CANCEL, "", ""},
        {"cancel, key of 3", &plain, false, packet(CANCEL_REQUEST, key, 7), STARTUP_REFUSE, "", ""},
        {"cancel, key of 257", &plain, false, packet(CANCEL_REQUEST, key, 261), STARTUP_REFUSE, "", ""},
        {"cancel in plaintext", &require, false, packet(CANCEL_REQUEST, key, 8), STARTUP_CANCEL, "", ""},
        {"TLS off", &plain, false, PACKET(SSL_REQUEST, ""), STARTUP_ANSWER, "", ""},
        {"TLS on", &prefer, false, PACKET(SSL_REQUEST, ""), STARTUP_ANSWER_TLS, "", ""},
        {"TLS on a Unix socket", &prefer, true, PACKET(SSL_REQUEST, ""), STARTUP_ANSWER, "", ""},
        {"GSS", &prefer, false, PACKET(GSS_REQUEST, ""), STARTUP_ANSWER, "", ""},
        {"stuffed SSLRequest", &prefer, false, {.n = 0}, STARTUP_REFUSE, "08P01", "after SSL request"},
        {"stuffed, TLS off", &plain, false, {.n = 0}, STARTUP_REFUSE, "08P01", "after SSL request"},
        {"stuffed GSSENCRequest", &prefer, false, {.n = 1}, STARTUP_REFUSE, "08P01", "after GSSAPI"},
        {"plaintext, prefer", &prefer, false, PACKET(V30, "user\0u\0\0"), STARTUP_CONNECT, "", ""},
        {"plaintext, require", &require, false, PACKET(V30, "user\0u\0\0"), STARTUP_REFUSE, "28000",
         "TLS is required: set sslmode=require"},
        {"plaintext, verify-full", &verify_full, false, PACKET(V30, "user\0u\0\0"), STARTUP_REFUSE, "28000",
         "TLS is required"},
        {"Unix socket, require", &require, true, PACKET(V30, "user\0u\0\0"), STARTUP_CONNECT, "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct row row = rows[i];
        if (strncmp(row.name, "stuffed", 7) == 0) {
            row.bytes = packet(rows[i].bytes.n ? GSS_REQUEST : SSL_REQUEST, "", 0);
            row.bytes.at[row.bytes.n++] = 'x';
        }
        check_row(&row);
    }
}

static void lengths_out_of_bounds_end_in_silence(void **state)
{
    (void)state;
    const uint32_t lengths[] = {0,          4,          7,         STARTUP_PACKET_MAX + 5,
                                0x7fffffff, 0xffffffff, 0x47455420 /* "GET " */};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct bytes bytes = {.n = 0};
        struct startup startup;
        size_t taken;
        put32(&bytes, lengths[i]);
        startup_init(&startup, &plain);
        assert_int_equal(feed(&startup, &bytes, 4, &taken), STARTUP_REFUSE);
        assert_int_equal(startup.refusal_length, 0);
        startup_release(&startup);
    }
    struct bytes longest = {.n = 0};
    put32(&longest, STARTUP_PACKET_MAX + 4);
    struct startup startup;
    size_t taken;
    startup_init(&startup, &plain);
    assert_int_equal(feed(&startup, &longest, 4, &taken), STARTUP_READ);
    assert_int_equal(startup_wants(&startup), STARTUP_PACKET_MAX);
    startup_release(&startup);
}

static enum startup_step next(struct startup *startup, struct bytes bytes)
{
    size_t taken;
    return feed(startup, &bytes, bytes.n, &taken);
}

static void gss_then_ssl_once_each(void **state)
{
    (void)state;
    struct startup startup;
    startup_init(&startup, &prefer);
    assert_int_equal(next(&startup, PACKET(GSS_REQUEST, "")), STARTUP_ANSWER);
    assert_int_equal(startup.answer, 'N');
    assert_int_equal(next(&startup, PACKET(SSL_REQUEST, "")), STARTUP_ANSWER_TLS);
    assert_int_equal(startup.answer, 'S');
    startup_tls_done(&startup, NULL);
    assert_int_equal(next(&startup, PACKET(SSL_REQUEST, "")), STARTUP_REFUSE);
    assert_string_equal(refusal_field(&startup, 'C'), "0A000");
    startup_release(&startup);

    startup_init(&startup, &plain);
    assert_int_equal(next(&startup, PACKET(SSL_REQUEST, "")), STARTUP_ANSWER);
    assert_int_equal(next(&startup, PACKET(GSS_REQUEST, "")), STARTUP_ANSWER);
    assert_int_equal(next(&startup, PACKET(GSS_REQUEST, "")), STARTUP_REFUSE);
    startup_release(&startup);
}

static void direct_tls_is_left_unread(void **state)
{
    (void)state;
    struct bytes hello = {.at = {0x16, 3, 1}, .n = 3};
    struct startup startup;
    size_t consumed;
    startup_init(&startup, &prefer);
    assert_int_equal(startup_feed(&startup, hello.at, hello.n, &consumed), STARTUP_DIRECT_TLS);
    assert_int_equal(consumed, 0);
    startup_release(&startup);
    startup_init(&startup, &plain);
    assert_int_equal(startup_feed(&startup, hello.at, hello.n, &consumed), STARTUP_REFUSE);
    assert_int_equal(startup.refusal_length, 0);
    startup_release(&startup);
}

static void client_certificates(void **state)
{
    (void)state;
    const struct {
        const struct conf_tls *tls;
        const char *cn;
        enum startup_step step;
    } rows[] = {
        {&require, NULL, STARTUP_CONNECT},      {&verify_ca, NULL, STARTUP_REFUSE},
        {&verify_ca, "alice", STARTUP_CONNECT}, {&verify_full, "alice", STARTUP_REFUSE},
        {&verify_full, "bob", STARTUP_CONNECT}, {&verify_full, "", STARTUP_REFUSE},
        {&verify_full, NULL, STARTUP_REFUSE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct startup startup;
        startup_init(&startup, rows[i].tls);
        assert_int_equal(next(&startup, PACKET(SSL_REQUEST, "")), STARTUP_ANSWER_TLS);
        startup_tls_done(&startup, rows[i].cn);
        assert_int_equal(next(&startup, PACKET(V30, "user\0bob\0\0")), rows[i].step);
        if (rows[i].step == STARTUP_REFUSE)
            assert_string_equal(refusal_field(&startup, 'C'), "28000");
        startup_release(&startup);
    }
}

static void options_are_split_as_the_server_does(void **state)
{
    (void)state;
    const struct {
        const char *options, *waiver;
    } rows[] = {
        {"", NULL},
        {"-c pgsluice.waive=a", "a"},
        {"-cpgsluice.waive=a", "a"},
        {"--pgsluice.waive=a", "a"},
        {"--PGSLUICE.Waive=a", "a"},
        {"  -c\tpgsluice.waive=a\\ b\\\\c ", "a b\\c"},
        {"-c pgsluice.waive='a'", "a"},
        {"-c pgsluice.waive=a -c pgsluice.waive=b", "b"},
        {"-c geqo=off --pgsluice.waive=x -c work_mem=1MB", "x"},
        {"-c pgsluice.waived=x", NULL},
        {"-c pgsluice.waiv=x", NULL},
        {"-d 5 -c pgsluice.waive=y", "y"},
        {"-d -cpgsluice.waive=y", NULL}, /* the argument of -d */
        {"-e -c pgsluice.waive=y", "y"},
        {"-c", NULL},
        {"-", NULL},
        {"\\", NULL},
        {"-c pgsluice.waive=", ""},
        {"pgsluice.waive=z", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *found = startup_option(rows[i].options, "pgsluice.waive");
        if (!found != !rows[i].waiver || (found && strcmp(found, rows[i].waiver) != 0))
            fail_msg("%s: %s", rows[i].options, found ? found : "(none)");
        free(found);
    }
}

static void replication_as_the_server_reads_it(void **state)
{
    (void)state;
    const struct {
        struct bytes bytes;
        bool replication;
    } rows[] = {
        {PACKET(V30, "user\0u\0replication\0true\0\0"), true},
        {PACKET(V30, "user\0u\0replication\0database\0\0"), true},
        {PACKET(V30, "user\0u\0replication\0"
                     "1\0\0"),
         true},
        {PACKET(V30, "user\0u\0replication\0on\0\0"), true},
        {PACKET(V30, "user\0u\0replication\0off\0\0"), false},
        {PACKET(V30, "user\0u\0replication\0"
                     "0\0\0"),
         false},
        {PACKET(V30, "user\0u\0\0"), false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct startup startup;
        startup_init(&startup, &plain);
        assert_int_equal(next(&startup, rows[i].bytes), STARTUP_CONNECT);
        assert_int_equal(startup_replication(&startup), rows[i].replication);
        assert_string_equal(startup.database, "u");
        startup_release(&startup);
    }
}

static void upstream_follows_libpqs_modes(void **state)
{
    (void)state;
    static const enum upstream_step first[6][2] = {
        [TLS_DISABLE] = {UPSTREAM_SEND_STARTUP, UPSTREAM_SEND_STARTUP},
        [TLS_ALLOW] = {UPSTREAM_SEND_STARTUP, UPSTREAM_SEND_SSLREQUEST},
        [TLS_PREFER] = {UPSTREAM_SEND_SSLREQUEST, UPSTREAM_SEND_STARTUP},
        [TLS_REQUIRE] = {UPSTREAM_SEND_SSLREQUEST, UPSTREAM_SEND_SSLREQUEST},
        [TLS_VERIFY_CA] = {UPSTREAM_SEND_SSLREQUEST, UPSTREAM_SEND_SSLREQUEST},
        [TLS_VERIFY_FULL] = {UPSTREAM_SEND_SSLREQUEST, UPSTREAM_SEND_SSLREQUEST},
    };
    for (int mode = TLS_DISABLE; mode <= TLS_VERIFY_FULL; mode++) {
        for (int retry = 0; retry < 2; retry++) {
            assert_int_equal(upstream_first((enum tls_mode)mode, false, retry), first[mode][retry]);
            assert_int_equal(upstream_first((enum tls_mode)mode, true, retry), UPSTREAM_SEND_STARTUP);
        }
        assert_int_equal(upstream_answer((enum tls_mode)mode, 'S'), UPSTREAM_BEGIN_TLS);
        assert_int_equal(upstream_answer((enum tls_mode)mode, 'N'),
                         mode >= TLS_REQUIRE ? UPSTREAM_FAIL : UPSTREAM_SEND_STARTUP);
        assert_int_equal(upstream_answer((enum tls_mode)mode, 'E'), UPSTREAM_FAIL);
        assert_int_equal(upstream_refused((enum tls_mode)mode, false, true, false),
                         mode == TLS_PREFER ? UPSTREAM_RETRY_PLAIN : UPSTREAM_FAIL);
        assert_int_equal(upstream_refused((enum tls_mode)mode, false, false, false),
                         mode == TLS_ALLOW ? UPSTREAM_RETRY_TLS : UPSTREAM_FAIL);
        assert_int_equal(upstream_refused((enum tls_mode)mode, false, true, true), UPSTREAM_FAIL);
        assert_int_equal(upstream_refused((enum tls_mode)mode, true, false, false), UPSTREAM_FAIL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_startup_is_read_at_every_split),
        cmocka_unit_test(wants_never_reaches_past_the_packet),
        cmocka_unit_test(packets_give_the_servers_answers),
        cmocka_unit_test(lengths_out_of_bounds_end_in_silence),
        cmocka_unit_test(gss_then_ssl_once_each),
        cmocka_unit_test(direct_tls_is_left_unread),
        cmocka_unit_test(client_certificates),
        cmocka_unit_test(options_are_split_as_the_server_does),
        cmocka_unit_test(replication_as_the_server_reads_it),
        cmocka_unit_test(upstream_follows_libpqs_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

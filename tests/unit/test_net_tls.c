/*
 * TLS of both legs: every combination of what one side shows and the other demands, and then hostile peers.
 * The legs under test are streams; where the peer has to misbehave, it is bare OpenSSL or bare bytes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "proxy/net/loop.h"
#include "proxy/net/stream.h"
#include "proxy/net/tls.h"
#include "test_net_certificates.h"

static char directory[] = "/tmp/pgsluice-test-XXXXXX";
static const char *const names[] = {"ca",    "other-ca", "server", "expired", "by-cn", "nul",
                                    "alice", "stranger", "self",   "address", "wild",  NULL};

static int make_files(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    const struct wanted_certificate wanted_ca = {.cn = "Test CA", .authority = true};
    const struct wanted_certificate wanted_other = {.cn = "Other CA", .authority = true};
    struct certified ca = certificate_make(&wanted_ca, NULL), other = certificate_make(&wanted_other, NULL);
    certificate_write(&ca, directory, "ca");
    certificate_write(&other, directory, "other-ca");
    const struct {
        const char *name;
        struct wanted_certificate wanted;
        const struct certified *issuer;
    } rows[] = {
        {"server", {.cn = "ignored", .names = "DNS:db.example.com,DNS:localhost"}, &ca},
        {"address", {.cn = "ignored", .names = "IP:192.0.2.7,IP:2001:db8::7"}, &ca},
        {"wild", {.cn = "x", .names = "DNS:*.example.com,DNS:f*.example.org"}, &ca},
        {"by-cn", {.cn = "db.example.com"}, &ca},
        {"expired", {.cn = "db.example.com", .expired = true}, &ca},
        {"nul", {.cn = "alice\0.example.com", .cn_length = 18}, &ca},
        {"alice", {.cn = "alice"}, &ca},
        {"stranger", {.cn = "alice"}, &other},
        {"self", {.cn = "db.example.com"}, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct certified made = certificate_make(&rows[i].wanted, rows[i].issuer);
        certificate_write(&made, directory, rows[i].name);
        certificate_free(&made);
    }
    certificate_free(&ca);
    certificate_free(&other);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (size_t i = 0; names[i]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s.crt", directory, names[i]);
        unlink(path);
        snprintf(path, sizeof path, "%s/%s.key", directory, names[i]);
        unlink(path);
    }
    return rmdir(directory);
}

/* What a row says of one leg: names of certificates, NULL for none. */
struct leg {
    enum tls_mode mode;
    const char *certificate, *ca;
};

static struct tls_context *context_of(const struct leg *leg, bool client_leg)
{
    char certificate[256], key[256], ca[256], error[256];
    struct conf_tls conf = {.mode = leg->mode};
    if (leg->certificate) {
        snprintf(certificate, sizeof certificate, "%s/%s.crt", directory, leg->certificate);
        snprintf(key, sizeof key, "%s/%s.key", directory, leg->certificate);
        conf.certificate = certificate;
        conf.key = key;
    }
    if (leg->ca) {
        snprintf(ca, sizeof ca, "%s/%s.crt", directory, leg->ca);
        conf.ca = ca;
    }
    struct tls_context *context = client_leg ? tls_context_client_leg(&conf, error, sizeof error)
                                             : tls_context_upstream_leg(&conf, error, sizeof error);
    if (!context)
        print_error("context: %s\n", error);
    assert_non_null(context);
    return context;
}

/* ---- two streams, or one and a bare peer
 * -------------------------------------------------------------------- */

struct end {
    struct stream stream; /* first */
    struct pair *pair;
    bool open; /* there is such an end */
    bool opened, ended;
    uint8_t *got;
    size_t n_got, room;
    size_t wants;     /* stop the loop once this much has come */
    size_t read_size; /* of one stream_read; 0: the whole scratch buffer */
    bool once;        /* one stream_read an event, as an owner under back-pressure does */
    int calls;
};

struct pair {
    struct loop *loop;
    struct loop_timer *limit;
    struct end a, b; /* a: the server's side (client leg), b: the client's (upstream leg) */
};

static void check_done(struct pair *pair)
{
    bool done = true;
    const struct end *const ends[] = {&pair->a, &pair->b};
    for (int i = 0; i < 2; i++) {
        if (!ends[i]->open)
            continue;
        done = done && ends[i]->opened &&
               (ends[i]->ended || ends[i]->stream.error || ends[i]->n_got >= ends[i]->wants);
    }
    if (done)
        loop_stop(pair->loop);
}

static void on_readable(struct stream *stream)
{
    struct end *end = (struct end *)stream;
    size_t size;
    uint8_t *scratch = loop_scratch(stream->loop, &size);
    if (end->read_size)
        size = end->read_size;
    end->calls++;
    ssize_t got;
    do {
        got = stream_read(stream, scratch, size);
        if (got > 0) {
            if (end->n_got + (size_t)got > end->room) {
                end->room = 2 * (end->n_got + (size_t)got);
                end->got = realloc(end->got, end->room);
                assert_non_null(end->got);
            }
            memcpy(end->got + end->n_got, scratch, (size_t)got);
            end->n_got += (size_t)got;
        }
    } while (got == (ssize_t)size && !end->once);
    if (got == 0 || got == STREAM_ERROR)
        end->ended = true;
    check_done(end->pair);
}

static void on_opened(struct stream *stream)
{
    struct end *end = (struct end *)stream;
    assert_false(end->opened);
    end->opened = true;
    if (!stream->error)
        stream_reading(stream, true);
    check_done(end->pair);
}

static const struct stream_calls calls = {on_readable, NULL, on_opened};

static void give_up(void *argument)
{
    loop_stop(argument);
}

static void end_init(struct pair *pair, struct end *end, int fd)
{
    end->pair = pair;
    end->open = true;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    stream_init(&end->stream, pair->loop, &calls, fd);
}

static void pair_init(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    pair->loop = loop_new();
    pair->limit = loop_timer_new(pair->loop, give_up, pair->loop);
}

static void run(struct pair *pair, double seconds)
{
    loop_timer_set(pair->limit, seconds);
    loop_run(pair->loop);
    loop_timer_stop(pair->limit);
}

static void pair_free(struct pair *pair)
{
    struct end *const ends[] = {&pair->a, &pair->b};
    for (int i = 0; i < 2; i++) {
        if (ends[i]->open)
            stream_close(&ends[i]->stream);
        free(ends[i]->got);
    }
    loop_timer_free(pair->limit);
    loop_free(pair->loop);
}

static void pair_connect(struct pair *pair, const struct leg *server, const struct leg *client,
                         const char *host, bool alpn_required)
{
    int fds[2];
    struct tls_context *accepting = context_of(server, true), *connecting = context_of(client, false);
    pair_init(pair);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    end_init(pair, &pair->a, fds[0]);
    end_init(pair, &pair->b, fds[1]);
    assert_true(stream_tls_accept(&pair->a.stream, accepting, alpn_required));
    assert_true(stream_tls_connect(&pair->b.stream, connecting, host));
    assert_false(pair->a.opened || pair->b.opened);
    tls_context_unref(accepting); /* the streams hold on to theirs */
    tls_context_unref(connecting);
    run(pair, 20);
}

/* ---- the matrix
 * --------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    struct leg server, client;
    const char *host;
    const char *client_error; /* NULL: it opens */
    const char *server_error; /* NULL: it opens, too */
} matrix[] = {
    {"prefer", {TLS_PREFER, "server", NULL}, {TLS_PREFER, NULL, NULL}, "anything", NULL, NULL},
    {"allow", {TLS_ALLOW, "server", NULL}, {TLS_ALLOW, NULL, NULL}, NULL, NULL, NULL},
    {"require", {TLS_REQUIRE, "server", NULL}, {TLS_REQUIRE, NULL, NULL}, "anything", NULL, NULL},
    {"require takes any certificate without a CA",
     {TLS_REQUIRE, "self", NULL},
     {TLS_REQUIRE, NULL, NULL},
     "x",
     NULL,
     NULL},
    {"require with a CA verifies",
     {TLS_REQUIRE, "self", NULL},
     {TLS_REQUIRE, NULL, "ca"},
     "x",
     "certificate verify failed: self-signed certificate",
     "unknown ca"},
    {"prefer with a CA verifies",
     {TLS_REQUIRE, "self", NULL},
     {TLS_PREFER, NULL, "ca"},
     "x",
     "certificate verify failed: self-signed certificate",
     "unknown ca"},
    {"require with a CA ignores the name",
     {TLS_REQUIRE, "server", NULL},
     {TLS_REQUIRE, NULL, "ca"},
     "x",
     NULL,
     NULL},
    {"verify-ca", {TLS_REQUIRE, "server", NULL}, {TLS_VERIFY_CA, NULL, "ca"}, "x", NULL, NULL},
    {"verify-ca, another CA",
     {TLS_REQUIRE, "server", NULL},
     {TLS_VERIFY_CA, NULL, "other-ca"},
     "x",
     "certificate verify failed: unable to get local issuer certificate",
     "unknown ca"},
    {"verify-ca, expired",
     {TLS_REQUIRE, "expired", NULL},
     {TLS_VERIFY_CA, NULL, "ca"},
     "x",
     "certificate verify failed: certificate has expired",
     "certificate expired"},
    {"verify-full",
     {TLS_REQUIRE, "server", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "db.example.com",
     NULL,
     NULL},
    {"verify-full, case",
     {TLS_REQUIRE, "server", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "DB.Example.COM",
     NULL,
     NULL},
    {"verify-full, wrong host",
     {TLS_REQUIRE, "server", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "db2.example.com",
     "not for host name \"db2.example.com\"",
     NULL},
    {"verify-full, the CN counts only without names",
     {TLS_REQUIRE, "server", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "ignored",
     "not for host name \"ignored\"",
     NULL},
    {"verify-full, CN",
     {TLS_REQUIRE, "by-cn", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "db.example.com",
     NULL,
     NULL},
    {"verify-full, no host",
     {TLS_REQUIRE, "server", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     NULL,
     "host name must be specified",
     NULL},
    {"verify-full, a leading dot is no name",
     {TLS_REQUIRE, "server", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     ".example.com",
     "not for host name",
     NULL},
    {"verify-full, IPv4",
     {TLS_REQUIRE, "address", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "192.0.2.7",
     NULL,
     NULL},
    {"verify-full, IPv6",
     {TLS_REQUIRE, "address", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "2001:db8:0::7",
     NULL,
     NULL},
    {"verify-full, wrong address",
     {TLS_REQUIRE, "address", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "192.0.2.8",
     "not for host name",
     NULL},
    {"verify-full, wildcard",
     {TLS_REQUIRE, "wild", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "db.example.com",
     NULL,
     NULL},
    {"verify-full, a wildcard is one label",
     {TLS_REQUIRE, "wild", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "a.db.example.com",
     "not for host name",
     NULL},
    {"verify-full, no partial wildcards",
     {TLS_REQUIRE, "wild", NULL},
     {TLS_VERIFY_FULL, NULL, "ca"},
     "foo.example.org",
     "not for host name",
     NULL},

    {"client verify-ca", {TLS_VERIFY_CA, "server", "ca"}, {TLS_REQUIRE, "alice", NULL}, "x", NULL, NULL},
    {"client verify-ca, none shown",
     {TLS_VERIFY_CA, "server", "ca"},
     {TLS_REQUIRE, NULL, NULL},
     "x",
     NULL,
     "peer did not return a certificate"},
    {"client verify-ca, a stranger's",
     {TLS_VERIFY_CA, "server", "ca"},
     {TLS_REQUIRE, "stranger", NULL},
     "x",
     NULL,
     "certificate verify failed: unable to get local issuer certificate"},
    {"client verify-ca, expired",
     {TLS_VERIFY_CA, "server", "ca"},
     {TLS_REQUIRE, "expired", NULL},
     "x",
     NULL,
     "certificate verify failed: certificate has expired"},
    {"client verify-full, both ways",
     {TLS_VERIFY_FULL, "server", "ca"},
     {TLS_VERIFY_FULL, "alice", "ca"},
     "localhost",
     NULL,
     NULL},
    {"client optional, none shown",
     {TLS_REQUIRE, "server", "ca"},
     {TLS_REQUIRE, NULL, NULL},
     "x",
     NULL,
     NULL},
    {"client optional, a stranger's",
     {TLS_REQUIRE, "server", "ca"},
     {TLS_REQUIRE, "stranger", NULL},
     "x",
     NULL,
     "certificate verify failed"},
    {"client not asked", {TLS_REQUIRE, "server", NULL}, {TLS_REQUIRE, "stranger", NULL}, "x", NULL, NULL},
};

static int check_row(size_t i)
{
    struct pair pair;
    pair_connect(&pair, &matrix[i].server, &matrix[i].client, matrix[i].host, i % 2);
    const char *server = stream_error_text(&pair.a.stream), *client = stream_error_text(&pair.b.stream);
    const char *want_server = matrix[i].server_error, *want_client = matrix[i].client_error;
    bool good = pair.a.opened && pair.b.opened;
    good = good && (want_server ? strcasestr(server, want_server) != NULL : !*server);
    good = good && (want_client ? strcasestr(client, want_client) != NULL : !*client || want_server);
    if (good && !want_server && !want_client) {
        good = strcmp(tls_version(&pair.a.stream), "TLSv1.3") == 0 && stream_has_tls(&pair.a.stream) &&
               tls_same_certificate(&pair.a.stream, &pair.b.stream);
    }
    if (!good)
        print_error("%s: server \"%s\", client \"%s\"\n", matrix[i].name, server, client);
    pair_free(&pair);
    return good ? 0 : 1;
}

static void test_matrix(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++)
        wrong += check_row(i);
    assert_int_equal(wrong, 0);
}

static void test_names_of_clients(void **state)
{
    (void)state;
    const struct leg server = {TLS_REQUIRE, "server", "ca"};
    const struct {
        const char *certificate, *cn;
    } rows[] = {{"alice", "alice"}, {"nul", NULL}, {NULL, NULL}};
    for (size_t i = 0; i < 3; i++) {
        const struct leg client = {TLS_REQUIRE, rows[i].certificate, NULL};
        struct pair pair;
        char cn[64] = "untouched";
        pair_connect(&pair, &server, &client, NULL, true);
        assert_string_equal(stream_error_text(&pair.a.stream), "");
        assert_int_equal(tls_peer_cn(&pair.a.stream, cn, sizeof cn), rows[i].cn != NULL);
        if (rows[i].cn)
            assert_string_equal(cn, rows[i].cn);
        assert_false(tls_peer_cn(&pair.a.stream, cn, 3)); /* doesn't fit: no name rather than a part of one */
        pair_free(&pair);
    }
}

static void test_same_certificate(void **state)
{
    (void)state;
    const struct leg client = {TLS_REQUIRE, NULL, NULL};
    const struct leg one = {TLS_REQUIRE, "server", NULL}, other = {TLS_REQUIRE, "by-cn", NULL};
    struct pair first, second;
    pair_connect(&first, &one, &client, NULL, false);
    pair_connect(&second, &other, &client, NULL, false);
    assert_true(tls_same_certificate(&first.a.stream, &first.b.stream));
    assert_false(tls_same_certificate(&first.a.stream, &second.b.stream));
    pair_free(&first);
    pair_free(&second);
}

/* ---- data
 * ------------------------------------------------------------------------------------------------------ */

static void connect_plainly(struct pair *pair)
{
    const struct leg server = {TLS_REQUIRE, "server", NULL}, client = {TLS_REQUIRE, NULL, NULL};
    pair_connect(pair, &server, &client, "localhost", true);
    assert_string_equal(stream_error_text(&pair->a.stream), "");
    assert_string_equal(stream_error_text(&pair->b.stream), "");
}

enum { MUCH = 1 << 20 };

static void test_data_both_ways(void **state)
{
    (void)state;
    /* read sizes around a record's and the scratch buffer's */
    static const size_t sizes[] = {0, 1000, 16384, 17000};
    static uint8_t bytes[MUCH];
    for (size_t i = 0; i < MUCH; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 9));
    for (int k = 0; k < 8; k++) {
        struct pair pair;
        connect_plainly(&pair);
        int small = 8192;
        setsockopt(pair.a.stream.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        setsockopt(pair.b.stream.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        pair.a.read_size = pair.b.read_size = sizes[k % 4];
        pair.a.once = pair.b.once = k >= 4; /* nothing may get stuck inside TLS */
        pair.a.wants = pair.b.wants = MUCH;
        for (size_t at = 0; at < MUCH; at += MUCH / 4) {
            stream_write(&pair.a.stream, bytes + at, MUCH / 4);
            stream_write(&pair.b.stream, bytes + at, MUCH / 4);
        }
        assert_true(stream_unsent(&pair.a.stream) > MUCH / 2);
        run(&pair, 30);
        assert_int_equal(pair.a.n_got, MUCH);
        assert_int_equal(pair.b.n_got, MUCH);
        assert_memory_equal(pair.a.got, bytes, MUCH);
        assert_memory_equal(pair.b.got, bytes, MUCH);
        run(&pair, 0);
        assert_int_equal(stream_unsent(&pair.a.stream), 0);
        assert_null(pair.a.stream.out);
        pair_free(&pair);
    }
}

static void test_pending(void **state)
{
    (void)state;
    struct pair pair;
    connect_plainly(&pair);
    stream_reading(&pair.a.stream, false);
    stream_write(&pair.b.stream, "0123456789", 10);
    run(&pair, 0);
    char some[16];
    assert_false(stream_pending(&pair.a.stream)); /* still in the socket: an event will tell */
    assert_int_equal(stream_read(&pair.a.stream, some, 4), 4);
    assert_true(stream_pending(&pair.a.stream)); /* inside TLS: no event of the socket */
    pair.a.wants = 6;
    stream_reading(&pair.a.stream, true); /* … but going on is enough */
    run(&pair, 10);
    assert_int_equal(pair.a.n_got, 6);
    assert_memory_equal(pair.a.got, "456789", 6);
    assert_false(stream_pending(&pair.a.stream));
    int before = pair.a.calls;
    run(&pair, 0.02);
    assert_int_equal(pair.a.calls, before); /* no idle spinning */
    pair_free(&pair);
}

static void test_end_is_told(void **state)
{
    (void)state;
    struct pair pair;
    connect_plainly(&pair);
    pair.a.wants = 100;
    stream_write(&pair.b.stream, "bye", 3);
    stream_shutdown(&pair.b.stream); /* close_notify behind the data, in one segment or two */
    pair.b.ended = true;
    run(&pair, 10);
    assert_int_equal(pair.a.n_got, 3);
    assert_true(pair.a.ended);
    assert_int_equal(pair.a.stream.error, 0);
    /* The other direction is still open. */
    pair.b.ended = false;
    pair.b.wants = 5;
    stream_write(&pair.a.stream, "still", 5);
    run(&pair, 10);
    assert_int_equal(pair.b.n_got, 5);
    pair_free(&pair);

    connect_plainly(&pair); /* a peer that just goes away, without close_notify */
    pair.a.wants = 100;
    shutdown(pair.b.stream.fd, SHUT_RDWR);
    run(&pair, 10);
    assert_true(pair.a.ended);
    pair_free(&pair);
}

/* ---- bare peers
 * -------------------------------------------------------------------------------------------------- */

/* A blocking OpenSSL client on a thread. */
struct bare {
    pthread_t thread;
    int fd;
    int most;          /* TLS version, 0: any */
    const char *alpn;  /* in wire form, or NULL */
    const char *first; /* sent after the handshake, or NULL */
    bool dribble;      /* goes out byte by byte */
    bool key_updates;
    bool renegotiate;
    int handshake; /* 1: it worked */
    char back[16];
};

/* Copies from `from` to `to`, one byte at a time in the first direction. */
static void *dribble(void *argument)
{
    const int *fds = argument;
    char byte;
    while (recv(fds[0], &byte, 1, 0) == 1)
        if (send(fds[1], &byte, 1, MSG_NOSIGNAL) != 1)
            break;
    shutdown(fds[1], SHUT_WR);
    return NULL;
}

static void *run_bare(void *argument)
{
    struct bare *bare = argument;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    if (bare->most)
        SSL_CTX_set_max_proto_version(context, bare->most);
    SSL *ssl = SSL_new(context);
    BIO *socket_bio = BIO_new_socket(bare->fd, BIO_NOCLOSE);
    if (bare->alpn)
        SSL_set_alpn_protos(ssl, (const unsigned char *)bare->alpn, (unsigned)strlen(bare->alpn));
    SSL_set_bio(ssl, socket_bio, socket_bio);
    bare->handshake = SSL_connect(ssl);
    if (bare->handshake == 1 && bare->first)
        SSL_write(ssl, bare->first, (int)strlen(bare->first));
    if (bare->handshake == 1 && bare->renegotiate)
        for (int i = 0; i < 3 && SSL_renegotiate(ssl) == 1 && SSL_do_handshake(ssl) == 1; i++)
            bare->handshake = 2;
    for (int i = 0; bare->key_updates && i < 5000; i++)
        if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) != 1 || SSL_do_handshake(ssl) != 1)
            break;
    if (bare->handshake == 1)
        SSL_read(ssl, bare->back, sizeof bare->back - 1);
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(context);
    shutdown(bare->fd, SHUT_RDWR);
    return NULL;
}

static void accept_bare(struct pair *pair, struct bare *bare, bool alpn_required)
{
    int fds[2], relay[2] = {-1, -1};
    const struct leg server = {TLS_REQUIRE, "server", NULL};
    struct tls_context *context = context_of(&server, true);
    pthread_t helpers[2] = {0};
    int one[2] = {-1, -1}, two[2] = {-1, -1};
    pair_init(pair);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    bare->fd = fds[1];
    if (bare->dribble) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, relay), 0);
        one[0] = two[1] = relay[1];
        one[1] = two[0] = dup(fds[1]);
        bare->fd = relay[0];
        pthread_create(&helpers[0], NULL, dribble, one);
        pthread_create(&helpers[1], NULL, dribble, two);
    }
    end_init(pair, &pair->a, fds[0]);
    assert_true(stream_tls_accept(&pair->a.stream, context, alpn_required));
    tls_context_unref(context);
    pair->a.wants = bare->first ? strlen(bare->first) : 0;
    assert_int_equal(pthread_create(&bare->thread, NULL, run_bare, bare), 0);
    run(pair, 20);
    if (!pair->a.stream.error && !bare->key_updates && !bare->renegotiate)
        stream_write(&pair->a.stream, "hello", 5);
    if (bare->key_updates || bare->renegotiate) {
        pair->a.wants = SIZE_MAX;
        run(pair, 20);
    }
    shutdown(pair->a.stream.fd, SHUT_RDWR);
    pthread_join(bare->thread, NULL);
    if (bare->dribble) {
        shutdown(relay[1], SHUT_RDWR);
        shutdown(one[1], SHUT_RDWR);
        pthread_join(helpers[0], NULL);
        pthread_join(helpers[1], NULL);
        close(relay[0]);
        close(relay[1]);
        close(one[1]);
    }
    close(fds[1]);
}

static void test_alpn(void **state)
{
    (void)state;
    static const struct {
        const char *name, *alpn;
        bool required;
        const char *error; /* NULL: it opens */
    } rows[] = {
        {"offered", "\012postgresql", false, NULL},
        {"offered and required", "\012postgresql", true, NULL},
        {"offered beside another", "\002h2\012postgresql", true, NULL},
        {"none", NULL, false, NULL},
        {"none but required", NULL, true, "without the ALPN protocol negotiation extension"},
        {"another", "\002h2", false, "no application protocol"},
        {"another, and required", "\002h2", true, "no application protocol"},
        {"a name that only begins alike", "\013postgresql2", true, "no application protocol"},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bare bare = {.alpn = rows[i].alpn};
        struct pair pair;
        accept_bare(&pair, &bare, rows[i].required);
        const char *text = stream_error_text(&pair.a.stream);
        bool good = rows[i].error ? strcasestr(text, rows[i].error) != NULL
                                  : !*text && strcmp(bare.back, "hello") == 0;
        if (!good)
            print_error("%s: \"%s\", read back \"%s\"\n", rows[i].name, text, bare.back);
        wrong += !good;
        pair_free(&pair);
    }
    assert_int_equal(wrong, 0);
}

static void test_versions(void **state)
{
    (void)state;
    const struct {
        int most;
        const char *version; /* NULL: refused */
    } rows[] = {{TLS1_VERSION, NULL}, {TLS1_1_VERSION, NULL}, {TLS1_2_VERSION, "TLSv1.2"}, {0, "TLSv1.3"}};
    for (size_t i = 0; i < 4; i++) {
        struct bare bare = {.most = rows[i].most};
        struct pair pair;
        accept_bare(&pair, &bare, false);
        if (rows[i].version)
            assert_string_equal(tls_version(&pair.a.stream), rows[i].version);
        else
            assert_non_null(strcasestr(stream_error_text(&pair.a.stream), "protocol"));
        assert_int_equal(pair.a.stream.error != 0, rows[i].version == NULL);
        pair_free(&pair);
    }
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    struct bare bare = {.dribble = true, .first = "query", .alpn = "\012postgresql"};
    struct pair pair;
    accept_bare(&pair, &bare, true);
    assert_string_equal(stream_error_text(&pair.a.stream), "");
    assert_int_equal(pair.a.n_got, 5);
    assert_memory_equal(pair.a.got, "query", 5);
    pair_free(&pair);
}

static void test_no_renegotiation(void **state)
{
    (void)state;
    struct bare bare = {.most = TLS1_2_VERSION, .renegotiate = true};
    struct pair pair;
    accept_bare(&pair, &bare, false);
    assert_int_equal(bare.handshake, 1); /* the second one never came to an end */
    pair_free(&pair);
}

static void test_key_updates(void **state)
{
    (void)state;
    struct bare bare = {.key_updates = true};
    struct pair pair;
    accept_bare(&pair, &bare, false);
    /* Answered, refused, or the peer gone: but nothing piles up here. */
    assert_true(stream_unsent(&pair.a.stream) <= 131072);
    pair_free(&pair);
}

/* A client that sends its Finished, a query and perhaps its end in one segment: one event for all of it. */
static void test_data_behind_finished(void **state)
{
    (void)state;
    for (int with_end = 0; with_end < 2; with_end++) {
        const struct leg server = {TLS_REQUIRE, "server", NULL};
        struct tls_context *accepting = context_of(&server, true);
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        SSL *ssl = SSL_new(context);
        SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        struct pair pair;
        uint8_t bytes[16384];
        int fds[2], n;
        pair_init(&pair);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        end_init(&pair, &pair.a, fds[0]);
        assert_true(stream_tls_accept(&pair.a.stream, accepting, false));
        tls_context_unref(accepting);
        assert_int_equal(SSL_connect(ssl), -1);
        n = BIO_read(SSL_get_wbio(ssl), bytes, sizeof bytes);
        assert_int_equal(write(fds[1], bytes, (size_t)n), n);
        run(&pair, 0.02);
        assert_false(pair.a.opened);
        n = (int)recv(fds[1], bytes, sizeof bytes, MSG_DONTWAIT);
        assert_true(n > 0);
        BIO_write(SSL_get_rbio(ssl), bytes, n);
        assert_int_equal(SSL_connect(ssl), 1);
        assert_int_equal(SSL_write(ssl, "query", 5), 5);
        if (with_end)
            SSL_shutdown(ssl);
        n = BIO_read(SSL_get_wbio(ssl), bytes, sizeof bytes);
        assert_int_equal(write(fds[1], bytes, (size_t)n), n);
        pair.a.wants = with_end ? 100 : 5;
        run(&pair, 10);
        assert_true(pair.a.opened);
        assert_int_equal(pair.a.n_got, 5);
        assert_memory_equal(pair.a.got, "query", 5);
        assert_int_equal(pair.a.ended, with_end);
        SSL_free(ssl);
        SSL_CTX_free(context);
        pair_free(&pair);
        close(fds[1]);
    }
}

/* ---- no TLS at all
 * ------------------------------------------------------------------------------------------------- */

static void test_garbage(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *error;
    } rows[] = {
        {"a startup message", "\0\0\0\010\0\3\0\0", 8, "TLS handshake failed: "},
        {"HTTP", "GET / HTTP/1.1\r\n\r\n", 18, "TLS handshake failed: http request"},
        {"nothing", "", 0, "TLS handshake failed: the peer closed the connection"},
        {"half a record", "\026\003\001\002\000\001\000", 7, "TLS handshake failed: "},
        {"zeros", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, "TLS handshake failed: "},
        {"an empty record", "\026\003\001\000\000", 5, "TLS handshake failed: "},
    };
    for (int server = 0; server < 2; server++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            int fds[2];
            struct pair pair;
            const struct leg leg = {TLS_REQUIRE, server ? "server" : NULL, NULL};
            struct tls_context *context = context_of(&leg, server);
            pair_init(&pair);
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
            end_init(&pair, &pair.a, fds[0]);
            assert_true(server ? stream_tls_accept(&pair.a.stream, context, false)
                               : stream_tls_connect(&pair.a.stream, context, "localhost"));
            tls_context_unref(context);
            assert_int_equal(write(fds[1], rows[i].bytes, rows[i].n), rows[i].n);
            shutdown(fds[1], SHUT_WR);
            run(&pair, 10);
            assert_true(pair.a.opened);
            assert_int_not_equal(pair.a.stream.error, 0);
            const char *text = stream_error_text(&pair.a.stream);
            if (server && strncmp(text, rows[i].error, strlen(rows[i].error)) != 0)
                fail_msg("%s: \"%s\"", rows[i].name, text);
            char one;
            assert_int_equal(stream_read(&pair.a.stream, &one, 1), STREAM_ERROR);
            pair_free(&pair);
            close(fds[1]);
        }
    }
}

static void test_reset_in_handshake(void **state)
{
    (void)state;
    const struct leg leg = {TLS_REQUIRE, "server", NULL};
    struct tls_context *context = context_of(&leg, true);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listening, 1), 0);
    getsockname(listening, (struct sockaddr *)&address, &length);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    struct pair pair;
    pair_init(&pair);
    end_init(&pair, &pair.a, accept(listening, NULL, NULL));
    assert_true(stream_tls_accept(&pair.a.stream, context, false));
    tls_context_unref(context);
    const struct linger none = {1, 0};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(client);
    run(&pair, 10);
    assert_int_equal(pair.a.stream.error, ECONNRESET);
    assert_string_equal(stream_error_text(&pair.a.stream), "TLS handshake failed: Connection reset by peer");
    pair_free(&pair);
    close(listening);
}

static void test_close_in_the_middle(void **state)
{
    (void)state;
    const struct leg leg = {TLS_REQUIRE, NULL, NULL};
    struct tls_context *context = context_of(&leg, false);
    for (int i = 0; i < 2; i++) {
        int fds[2];
        struct pair pair;
        pair_init(&pair);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        end_init(&pair, &pair.a, fds[0]);
        assert_true(stream_tls_connect(&pair.a.stream, context, NULL));
        if (i)
            run(&pair, 0.01); /* the ClientHello has gone, no answer comes */
        assert_false(pair.a.opened);
        assert_null(tls_version(&pair.a.stream));
        pair_free(&pair);
        close(fds[1]);
    }
    tls_context_unref(context);
}

/* ---- configurations
 * ------------------------------------------------------------------------------------------------- */

static void test_bad_files(void **state)
{
    (void)state;
    char crt[256], key[256], other[256], missing[256], error[256];
    snprintf(crt, sizeof crt, "%s/server.crt", directory);
    snprintf(key, sizeof key, "%s/server.key", directory);
    snprintf(other, sizeof other, "%s/alice.key", directory);
    snprintf(missing, sizeof missing, "%s/missing", directory);
    const struct {
        struct conf_tls conf;
        const char *error;
    } rows[] = {
        {{TLS_REQUIRE, NULL, NULL, NULL}, "tls.client.certificate: is needed"},
        {{TLS_REQUIRE, missing, key, NULL}, "missing: No such file or directory"},
        {{TLS_REQUIRE, crt, missing, NULL}, "missing: No such file or directory"},
        {{TLS_REQUIRE, crt, other, NULL}, "key"},
        {{TLS_REQUIRE, key, key, NULL}, "tls.client.certificate: "},
        {{TLS_REQUIRE, crt, crt, NULL}, "tls.client.key: "},
        {{TLS_VERIFY_CA, crt, key, NULL}, "tls.client.ca: is needed"},
        {{TLS_VERIFY_CA, crt, key, missing}, "missing: No such file or directory"},
        {{TLS_VERIFY_CA, crt, key, key}, "tls.client.ca: "},
        {{TLS_DISABLE, missing, missing, missing}, ""},
        {{TLS_ALLOW, NULL, NULL, NULL}, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        strcpy(error, "untouched");
        assert_null(tls_context_client_leg(&rows[i].conf, error, sizeof error));
        if (rows[i].error[0] ? !strstr(error, rows[i].error) : error[0] != '\0')
            fail_msg("row %zu: \"%s\"", i, error);
    }
    const struct conf_tls no_ca = {TLS_VERIFY_FULL, NULL, NULL, NULL}, off = {TLS_DISABLE, NULL, NULL, NULL};
    assert_null(tls_context_upstream_leg(&no_ca, error, sizeof error));
    assert_non_null(strstr(error, "tls.upstream.ca: is needed"));
    assert_null(tls_context_upstream_leg(&off, error, sizeof error));
    assert_string_equal(error, "");
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_names_of_clients),
        cmocka_unit_test(test_same_certificate),
        cmocka_unit_test(test_data_both_ways),
        cmocka_unit_test(test_pending),
        cmocka_unit_test(test_end_is_told),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_data_behind_finished),
        cmocka_unit_test(test_no_renegotiation),
        cmocka_unit_test(test_key_updates),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_reset_in_handshake),
        cmocka_unit_test(test_close_in_the_middle),
        cmocka_unit_test(test_bad_files),
    };
    signal(SIGPIPE, SIG_IGN); /* for the bare peers; the streams don't need it */
    return cmocka_run_group_tests(tests, make_files, remove_files);
}

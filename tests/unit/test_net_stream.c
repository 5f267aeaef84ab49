/*
 * Plain streams over socket pairs and loopback: what is sent arrives, whatever the socket takes at a time;
 * ends and errors are told once and for all; and the common case costs one system call.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/loop.h"
#include "proxy/net/stream.h"
#include "proxy/net/upstream.h"

/* ---- counted system calls (linked with --wrap) -----------------------------------------------------------
 */

static int recvs, sends;

ssize_t __real_recv(int fd, void *buffer, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags)
{
    recvs++;
    return __real_recv(fd, buffer, size, flags);
}

ssize_t __real_send(int fd, const void *buffer, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *buffer, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *buffer, size_t size, int flags)
{
    sends++;
    return __real_send(fd, buffer, size, flags);
}

/* ---- a stream under test and its bare peer ----------------------------------------------------------------
 */

struct subject {
    struct stream stream; /* first */
    struct loop *loop;
    int peer;
    char got[256];
    size_t n_got;
    ssize_t last; /* what the last stream_read said */
    int readable, drained, opened;
    bool echo, stop_at_end, stop_at_read, close_in_callback;
    struct loop_timer *limit;
};

static void give_up(void *argument)
{
    struct subject *subject = argument;
    loop_stop(subject->loop);
}

static void on_readable(struct stream *stream)
{
    struct subject *subject = (struct subject *)stream;
    subject->readable++;
    if (subject->close_in_callback) {
        stream_close(stream);
        loop_stop(subject->loop);
        return;
    }
    size_t size;
    uint8_t *scratch = loop_scratch(stream->loop, &size);
    subject->last = stream_read(stream, scratch, size);
    if (subject->last > 0) {
        size_t n = (size_t)subject->last, room = sizeof subject->got - subject->n_got;
        memcpy(subject->got + subject->n_got, scratch, n < room ? n : room);
        subject->n_got += n < room ? n : room;
        if (subject->echo)
            stream_write(stream, scratch, n);
        if (subject->stop_at_read)
            loop_stop(subject->loop);
    } else if (subject->stop_at_end && subject->last != STREAM_AGAIN) {
        loop_stop(subject->loop);
    }
}

static void on_drained(struct stream *stream)
{
    struct subject *subject = (struct subject *)stream;
    subject->drained++;
    if (subject->close_in_callback)
        stream_close(stream);
    loop_stop(subject->loop);
}

static void on_opened(struct stream *stream)
{
    struct subject *subject = (struct subject *)stream;
    subject->opened++;
    if (subject->close_in_callback)
        stream_close(stream);
    loop_stop(subject->loop);
}

static const struct stream_calls calls = {on_readable, on_drained, on_opened};

static void begin_with(struct subject *subject, int fd, int peer)
{
    memset(subject, 0, sizeof *subject);
    subject->loop = loop_new();
    assert_non_null(subject->loop);
    subject->peer = peer;
    subject->limit = loop_timer_new(subject->loop, give_up, subject);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    stream_init(&subject->stream, subject->loop, &calls, fd);
}

static void begin(struct subject *subject)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    begin_with(subject, ends[0], ends[1]);
}

static int tcp_listening(struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof *address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &length), 0);
    return fd;
}

static void begin_tcp(struct subject *subject)
{
    struct sockaddr_in address;
    int listening = tcp_listening(&address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int peer = accept(listening, NULL, NULL);
    close(listening);
    begin_with(subject, fd, peer);
}

/* Runs until a callback stops the loop, or `seconds` have passed. */
static void run(struct subject *subject, double seconds)
{
    loop_timer_set(subject->limit, seconds);
    loop_run(subject->loop);
    loop_timer_stop(subject->limit);
}

static void end(struct subject *subject)
{
    stream_close(&subject->stream);
    if (subject->peer >= 0)
        close(subject->peer);
    loop_timer_free(subject->limit);
    loop_free(subject->loop);
}

/* ---- the common case --------------------------------------------------------------------------------------
 */

static void test_size(void **state)
{
    (void)state;
    assert_true(sizeof(struct stream) <= 200);
}

static void test_echo_costs_one_recv_and_one_send(void **state)
{
    (void)state;
    struct subject s;
    begin(&s);
    s.echo = s.stop_at_read = true;
    stream_reading(&s.stream, true);
    for (int i = 0; i < 10; i++) {
        char back[5] = "";
        recvs = sends = 0;
        assert_int_equal(write(s.peer, "ping", 4), 4);
        run(&s, 10);
        assert_int_equal(recvs, 1);
        assert_int_equal(sends, 1);
        assert_int_equal(read(s.peer, back, 4), 4);
        assert_string_equal(back, "ping");
    }
    assert_int_equal(s.readable, 10);
    assert_null(s.stream.out);
    end(&s);
}

static void test_reading_off(void **state)
{
    (void)state;
    struct subject s;
    begin(&s);
    s.stop_at_read = true;
    assert_int_equal(write(s.peer, "a", 1), 1);
    run(&s, 0.05);
    assert_int_equal(s.readable, 0);
    stream_reading(&s.stream, true);
    run(&s, 10);
    assert_int_equal(s.n_got, 1);
    stream_reading(&s.stream, false);
    assert_int_equal(write(s.peer, "b", 1), 1);
    run(&s, 0.05);
    assert_int_equal(s.readable, 1);
    char one;
    assert_int_equal(stream_peek(&s.stream, &one, 1), 1);
    assert_int_equal(stream_peek(&s.stream, &one, 1), 1);
    assert_int_equal(stream_read(&s.stream, &one, 1), 1);
    assert_int_equal(one, 'b');
    assert_int_equal(stream_peek(&s.stream, &one, 1), STREAM_AGAIN);
    assert_int_equal(stream_read(&s.stream, &one, 1), STREAM_AGAIN);
    assert_false(stream_pending(&s.stream));
    end(&s);
}

/* ---- partial writes
 * ----------------------------------------------------------------------------------------- */

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

enum { MUCH = 3 << 20 };

static void test_partial_writes(void **state)
{
    (void)state;
    struct subject s;
    begin(&s);
    int small = 4096;
    setsockopt(s.stream.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    size_t sent = 0, received = 0;
    uint8_t chunk[9973];
    /* Writing and reading take turns, with the loop in between: the buffer grows, moves and shrinks. */
    while (received < MUCH) {
        for (int i = 0; i < 3 && sent < MUCH; i++) {
            size_t n = MUCH - sent < sizeof chunk ? MUCH - sent : sizeof chunk;
            for (size_t k = 0; k < n; k++)
                chunk[k] = pattern(sent + k);
            stream_write(&s.stream, chunk, n);
            sent += n;
        }
        assert_true(stream_unsent(&s.stream) <= sent - received);
        ssize_t got = recv(s.peer, chunk, sizeof chunk, MSG_DONTWAIT);
        for (ssize_t k = 0; k < got; k++)
            assert_int_equal(chunk[k], pattern(received + (size_t)k));
        if (got > 0)
            received += (size_t)got;
        run(&s, 0);
    }
    assert_int_equal(received, MUCH);
    assert_true(s.drained >= 1);
    assert_int_equal(stream_unsent(&s.stream), 0);
    assert_null(s.stream.out);
    end(&s);
}

static void test_unbounded_write_is_refused(void **state)
{
    (void)state;
    struct subject s;
    begin(&s);
    s.stop_at_end = true;
    size_t huge = (size_t)3 << 30;
    void *nothing = mmap(NULL, huge, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(nothing != MAP_FAILED);
    stream_write(&s.stream, nothing, huge);
    assert_int_equal(s.stream.error, ENOBUFS);
    assert_int_equal(stream_unsent(&s.stream), 0);
    run(&s, 10); /* the owner is told although reading is off */
    assert_int_equal(s.readable, 1);
    assert_int_equal(s.last, STREAM_ERROR);
    munmap(nothing, huge);
    end(&s);
}

/* ---- ends and errors
 * ------------------------------------------------------------------------------------------ */

static void test_half_close(void **state)
{
    (void)state;
    struct subject s;
    begin(&s);
    s.stop_at_end = true;
    stream_reading(&s.stream, true);
    assert_int_equal(write(s.peer, "last", 4), 4);
    shutdown(s.peer, SHUT_WR);
    run(&s, 10);
    assert_int_equal(s.last, 0);
    assert_int_equal(s.n_got, 4);
    int before = s.readable;
    run(&s, 0.05);
    assert_int_equal(s.readable, before); /* no spinning on a socket that ended */
    /* The other direction lives on. */
    static uint8_t bytes[1 << 20], back[sizeof bytes];
    memset(bytes, 7, sizeof bytes);
    stream_write(&s.stream, bytes, sizeof bytes);
    assert_true(stream_unsent(&s.stream) > 0);
    stream_shutdown(&s.stream);
    size_t received = 0;
    for (;;) {
        ssize_t got = recv(s.peer, back + received, sizeof back - received, MSG_DONTWAIT);
        if (got == 0)
            break;
        received += got > 0 ? (size_t)got : 0;
        run(&s, 0);
    }
    assert_int_equal(received, sizeof bytes);
    assert_memory_equal(bytes, back, sizeof bytes);
    end(&s);
}

static void test_reset(void **state)
{
    (void)state;
    struct subject s;
    begin_tcp(&s);
    s.stop_at_end = true;
    stream_reading(&s.stream, true);
    const struct linger none = {1, 0};
    setsockopt(s.peer, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(s.peer);
    s.peer = -1;
    run(&s, 10);
    assert_int_equal(s.last, STREAM_ERROR);
    assert_int_equal(s.stream.error, ECONNRESET);
    assert_string_equal(stream_error_text(&s.stream), "Connection reset by peer");
    char one;
    assert_int_equal(stream_read(&s.stream, &one, 1), STREAM_ERROR);
    assert_int_equal(stream_peek(&s.stream, &one, 1), STREAM_ERROR);
    stream_write(&s.stream, "x", 1);
    assert_int_equal(stream_unsent(&s.stream), 0);
    end(&s);
}

/* A server that is shut down sends its FATAL message and closes while a query is under way. */
static void test_last_words_are_read_after_a_failed_write(void **state)
{
    (void)state;
    struct subject s;
    begin(&s);
    s.stop_at_read = true;
    assert_int_equal(write(s.peer, "FATAL", 5), 5);
    close(s.peer);
    s.peer = -1;
    stream_write(&s.stream, "query", 5);
    assert_int_equal(s.stream.error, EPIPE);
    run(&s, 10); /* told although reading is off */
    assert_int_equal(s.n_got, 5);
    assert_memory_equal(s.got, "FATAL", 5);
    char one;
    assert_int_equal(stream_read(&s.stream, &one, 1), STREAM_ERROR);
    end(&s);
}

static void test_close_inside_callbacks(void **state)
{
    (void)state;
    struct subject s;
    begin(&s); /* readable */
    s.close_in_callback = true;
    stream_reading(&s.stream, true);
    assert_int_equal(write(s.peer, "x", 1), 1);
    run(&s, 10);
    assert_int_equal(s.readable, 1);
    end(&s);

    begin(&s); /* drained */
    s.close_in_callback = true;
    static uint8_t bytes[1 << 20];
    stream_write(&s.stream, bytes, sizeof bytes);
    assert_true(stream_unsent(&s.stream) > 0);
    while (!s.drained) {
        recv(s.peer, bytes, sizeof bytes, MSG_DONTWAIT);
        run(&s, 0);
    }
    assert_int_equal(s.stream.fd, -1);
    end(&s);
}

/* ---- connecting
 * ------------------------------------------------------------------------------------------------ */

static struct upstream_address address_of(const void *address, socklen_t length)
{
    struct upstream_address upstream = {.length = length};
    memcpy(&upstream.address, address, length);
    return upstream;
}

static void test_connect(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int listening = tcp_listening(&address);
    struct upstream_address upstream = address_of(&address, sizeof address);
    int fd = upstream_connect(&upstream);
    assert_true(fd >= 0);
    int on = 0;
    socklen_t length = sizeof on;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &length), 0);
    assert_int_equal(on, 1);
    struct subject s;
    begin_with(&s, fd, -1);
    stream_opening(&s.stream);
    stream_write(&s.stream, "early", 5); /* kept until the connection stands */
    run(&s, 10);
    assert_int_equal(s.opened, 1);
    assert_int_equal(s.stream.error, 0);
    assert_string_equal(stream_error_text(&s.stream), "");
    s.peer = accept(listening, NULL, NULL);
    run(&s, 10);
    char got[6] = "";
    assert_int_equal(recv(s.peer, got, 5, MSG_WAITALL), 5);
    assert_string_equal(got, "early");
    end(&s);
    close(listening);
}

/* The kernel ends a read at an urgent byte: what stands behind it is read all the same. */
static void test_urgent_data(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int listening = tcp_listening(&address);
    struct upstream_address upstream = address_of(&address, sizeof address);
    int fd = upstream_connect(&upstream);
    assert_true(fd >= 0);
    struct subject s;
    begin_with(&s, fd, accept(listening, NULL, NULL));
    assert_int_equal(send(s.peer, "a", 1, 0), 1);
    assert_int_equal(send(s.peer, "!", 1, MSG_OOB), 1);
    assert_int_equal(send(s.peer, "b", 1, 0), 1);
    stream_reading(&s.stream, true);
    run(&s, 0.2);
    assert_int_equal(s.n_got, 2);
    assert_memory_equal(s.got, "ab", 2);
    end(&s);
    close(listening);
}

static void test_connect_refused(void **state)
{
    (void)state;
    struct sockaddr_in address;
    close(tcp_listening(&address));
    struct upstream_address upstream = address_of(&address, sizeof address);
    for (int closing = 0; closing < 2; closing++) {
        int fd = upstream_connect(&upstream);
        if (fd < 0) {
            assert_int_equal(errno, ECONNREFUSED);
            continue;
        }
        struct subject s;
        begin_with(&s, fd, -1);
        s.close_in_callback = closing;
        stream_opening(&s.stream);
        stream_write(&s.stream, "x", 1);
        run(&s, 10);
        assert_int_equal(s.opened, 1);
        assert_int_equal(s.stream.error, ECONNREFUSED);
        if (!closing)
            assert_int_equal(stream_read(&s.stream, s.got, 1), STREAM_ERROR);
        end(&s);
    }
}

static void test_connect_unix(void **state)
{
    (void)state;
    char directory[] = "/tmp/pgsluice-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    struct upstream_address upstream = address_of(&address, sizeof address);
    assert_int_equal(upstream_connect(&upstream), -1);
    assert_int_equal(errno, ENOENT);
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listening, 1), 0);
    struct subject s;
    begin_with(&s, upstream_connect(&upstream), -1);
    stream_opening(&s.stream);
    assert_int_equal(s.opened, 0); /* never from inside the call */
    run(&s, 10);
    assert_int_equal(s.opened, 1);
    assert_int_equal(s.stream.error, 0);
    end(&s);
    close(listening);
    unlink(address.sun_path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_echo_costs_one_recv_and_one_send),
        cmocka_unit_test(test_reading_off),
        cmocka_unit_test(test_partial_writes),
        cmocka_unit_test(test_unbounded_write_is_refused),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_last_words_are_read_after_a_failed_write),
        cmocka_unit_test(test_close_inside_callbacks),
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_urgent_data),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_unix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

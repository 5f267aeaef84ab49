/*
 * The admin port over real sockets, driven as the control loop drives it: poll the descriptor, run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/observe/http.h"

enum { FIRST_PORT = 21700, LAST_PORT = 21799 };

static struct http *http;
static uint16_t port;
static bool ready = true;
static char answer[1 << 17];

static bool is_ready(void *argument, char *reason, size_t size)
{
    assert_ptr_equal(argument, &ready);
    snprintf(reason, size, "the audit log can't be written");
    return ready;
}

static int start(void **state)
{
    char error[256];
    for (port = FIRST_PORT; !http && port <= LAST_PORT; port++)
        http = http_start("127.0.0.1", port, is_ready, &ready, error, sizeof error);
    port--;
    return http ? 0 : -1;
}

static int stop(void **state)
{
    http_stop(http);
    return 0;
}

static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void drive(int milliseconds)
{
    struct pollfd poll_fd = {.fd = http_fd(http), .events = POLLIN};
    long timeout = http_timeout_ms(http);
    poll(&poll_fd, 1, timeout >= 0 && timeout < milliseconds ? (int)timeout : milliseconds);
    http_run(http);
}

/* Until the server closes. */
static const char *receive(int fd)
{
    size_t n = 0;
    for (int i = 0; i < 500; i++) {
        drive(10);
        ssize_t got = recv(fd, answer + n, sizeof answer - n - 1, MSG_DONTWAIT);
        if (got == 0)
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    answer[n] = '\0';
    close(fd);
    return answer;
}

static const char *request(const char *method, const char *path)
{
    char text[512];
    int fd = dial();
    int n =
        snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
    assert_int_equal(send(fd, text, (size_t)n, 0), n);
    return receive(fd);
}

static void starts(const char *text, const char *with)
{
    if (strncmp(text, with, strlen(with)) != 0)
        fail_msg("not \"%s\" but: %s", with, text);
}

static const char *body(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void test_pages(void **state)
{
    starts(request("GET", "/healthz"), "HTTP/1.1 200");
    assert_string_equal(body(answer), "ok\n");
    starts(request("GET", "/"), "HTTP/1.1 200");
    assert_non_null(strstr(body(answer), "/metrics"));
    starts(request("GET", "/metrics"), "HTTP/1.1 200");
    assert_non_null(strstr(answer, "version=0.0.4"));
    starts(body(answer), "# HELP pgsluice_");
    starts(request("HEAD", "/metrics"), "HTTP/1.1 200");
    assert_string_equal(body(answer), "");
    starts(request("GET", "/metrics?x=1"), "HTTP/1.1 200");
}

static void test_what_is_refused(void **state)
{
    starts(request("GET", "/nothing"), "HTTP/1.1 404");
    starts(request("GET", "/metrics/../healthz"), "HTTP/1.1 404");
    starts(request("POST", "/metrics"), "HTTP/1.1 405");
    assert_non_null(strstr(answer, "Allow: GET, HEAD"));
    starts(request("DELETE", "/"), "HTTP/1.1 405");
}

static void test_ready(void **state)
{
    ready = true;
    starts(request("GET", "/readyz"), "HTTP/1.1 200");
    ready = false;
    starts(request("GET", "/readyz"), "HTTP/1.1 503");
    assert_string_equal(body(answer), "the audit log can't be written\n");
    starts(request("GET", "/healthz"), "HTTP/1.1 200");
    ready = true;
}

/* Rubbish, endless headers, half a request that is left: the next one is served all the same. */
static void test_hostile(void **state)
{
    int fd = dial();
    assert_int_equal(send(fd, "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 11, 0), 11);
    receive(fd);
    fd = dial();
    char header[4096];
    memset(header, 'a', sizeof header);
    send(fd, "GET / HTTP/1.1\r\nX: ", 19, 0);
    for (int i = 0; i < 20; i++) {
        send(fd, header, sizeof header, MSG_NOSIGNAL | MSG_DONTWAIT);
        drive(5);
    }
    receive(fd);
    assert_null(strstr(answer, "200 OK"));
    int idle[100];
    for (int i = 0; i < 100; i++) {
        idle[i] = dial();
        if (i % 8 == 0)
            drive(1);
    }
    for (int i = 0; i < 100; i++)
        close(idle[i]);
    drive(10);
    starts(request("GET", "/healthz"), "HTTP/1.1 200");
}

static void test_start_errors(void **state)
{
    char error[256] = "", want[32];
    assert_null(http_start("127.0.0.1", port, is_ready, &ready, error, sizeof error));
    snprintf(want, sizeof want, "port %u", port);
    assert_non_null(strstr(error, want));
    assert_non_null(strstr(error, "in use"));
    assert_null(http_start("no such host", port, is_ready, &ready, error, sizeof error));
    assert_non_null(strstr(error, "no such host"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),   cmocka_unit_test(test_what_is_refused), cmocka_unit_test(test_ready),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_start_errors),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

/*
 * Listening: every kind of address, sharing among loops, reloads, and files of Unix sockets that others left.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/listener.h"
#include "proxy/net/loop.h"

enum { PORT = 21580 };

static char directory[] = "/tmp/pgsluice-test-XXXXXX";
static char error[300];

struct door {
    struct loop *loop;
    struct loop_timer *limit;
    struct listener *listener;
    int accepted, wanted;
    int fd; /* the last one */
    char peer[80];
    bool close_inside, keep;
};

static void on_accepted(void *argument, int fd, const char *peer)
{
    struct door *door = argument;
    door->accepted++;
    if (door->fd >= 0 && !door->keep)
        close(door->fd);
    door->fd = fd;
    snprintf(door->peer, sizeof door->peer, "%s", peer);
    if (door->close_inside) {
        listener_close(door->listener);
        door->listener = NULL;
    }
    if (door->accepted >= door->wanted)
        loop_stop(door->loop);
}

static void give_up(void *argument)
{
    loop_stop(argument);
}

static void door_init(struct door *door)
{
    *door = (struct door){.loop = loop_new(), .fd = -1, .wanted = 1};
    door->limit = loop_timer_new(door->loop, give_up, door->loop);
}

static bool door_open(struct door *door, const struct conf_listen *listen, size_t n,
                      const struct door *shared)
{
    error[0] = '\0';
    door->listener = listener_open(door->loop, listen, n, shared ? shared->listener : NULL, on_accepted, door,
                                   error, sizeof error);
    return door->listener != NULL;
}

static void door_free(struct door *door)
{
    listener_close(door->listener);
    if (door->fd >= 0)
        close(door->fd);
    loop_timer_free(door->limit);
    loop_free(door->loop);
}

static void run(struct door *door, double seconds)
{
    loop_timer_set(door->limit, seconds);
    loop_run(door->loop);
    loop_timer_stop(door->limit);
}

static int knock4(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static int knock6(uint16_t port)
{
    struct sockaddr_in6 address = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static struct sockaddr_un unix_address(uint16_t port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.%u", directory, (unsigned)port);
    return address;
}

static int knock_unix(uint16_t port)
{
    struct sockaddr_un address = unix_address(port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool have_v6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool have = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return have;
}

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

/* ---- kinds -----------------------------------------------------------------------------------------------
 */

static void test_kinds(void **state)
{
    (void)state;
    const struct {
        const char *name, *address;
        int v4, v6; /* how many of two knocks come in */
    } rows[] = {{"IPv4", "127.0.0.1", 1, 0},
                {"IPv6", "::1", 0, 1},
                {"any IPv4", "0.0.0.0", 1, 0},
                {"any IPv6 and no more", "::", 0, 1},
                {"both", "*", 1, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].v6 && !rows[i].v4 && !have_v6())
            continue;
        struct door door;
        door_init(&door);
        const struct conf_listen place = {rows[i].address, PORT};
        if (!door_open(&door, &place, 1, NULL))
            fail_msg("%s: %s", rows[i].name, error);
        int four = knock4(PORT), six = have_v6() ? knock6(PORT) : -1;
        door.wanted = rows[i].v4 + (have_v6() ? rows[i].v6 : 0);
        run(&door, 10);
        run(&door, 0.01);
        assert_int_equal(door.accepted, door.wanted);
        assert_int_equal(four >= 0, rows[i].v4);
        assert_int_equal(strncmp(door.peer, door.peer[0] == '[' ? "[::1]:" : "127.0.0.1:", 6), 0);
        assert_true(fcntl(door.fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(door.fd, F_GETFD) & FD_CLOEXEC);
        assert_int_not_equal(option(door.fd, IPPROTO_TCP, TCP_NODELAY), 0);
        assert_int_not_equal(option(door.fd, SOL_SOCKET, SO_KEEPALIVE), 0);
        door_free(&door);
        close(four);
        close(six);
    }
}

static void test_unix(void **state)
{
    (void)state;
    struct door first, second;
    const struct conf_listen place = {directory, PORT};
    const struct sockaddr_un address = unix_address(PORT);
    char lock[120];
    snprintf(lock, sizeof lock, "%s.lock", address.sun_path);
    door_init(&first);
    door_init(&second);
    assert_true(door_open(&first, &place, 1, NULL));
    assert_true(door_open(&second, &place, 1, &first));
    struct stat file;
    assert_int_equal(stat(address.sun_path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0777);
    /* Either loop takes what comes. */
    int a = knock_unix(PORT);
    run(&first, 10);
    int b = knock_unix(PORT);
    run(&second, 10);
    assert_int_equal(first.accepted, 1);
    assert_int_equal(second.accepted, 1);
    assert_string_equal(first.peer, "local");
    close(a);
    close(b);
    door_free(&first); /* the file goes with the last */
    assert_int_equal(access(address.sun_path, F_OK), 0);
    a = knock_unix(PORT);
    second.wanted = 2;
    run(&second, 10);
    assert_int_equal(second.accepted, 2);
    close(a);
    door_free(&second);
    assert_int_equal(access(address.sun_path, F_OK), -1);
    assert_int_equal(access(lock, F_OK), -1);
}

static void test_unix_left_overs(void **state)
{
    (void)state;
    const struct conf_listen place = {directory, PORT};
    const struct sockaddr_un address = unix_address(PORT);
    char lock[120];
    snprintf(lock, sizeof lock, "%s.lock", address.sun_path);
    struct door door;
    door_init(&door);

    /* A socket and a lock file of a process that was killed. */
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (const struct sockaddr *)&address, sizeof address), 0);
    close(dead);
    close(open(lock, O_CREAT | O_WRONLY, 0600));
    assert_true(door_open(&door, &place, 1, NULL));
    int fd = knock_unix(PORT);
    assert_true(fd >= 0);
    close(fd);
    listener_close(door.listener);

    /* A server that is alive and knows nothing of our lock. */
    int live = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(live, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(live, 1), 0);
    assert_false(door_open(&door, &place, 1, NULL));
    assert_non_null(strstr(error, "another program listens there"));
    fd = knock_unix(PORT);
    assert_true(fd >= 0); /* still its own */
    close(fd);
    close(live);
    unlink(address.sun_path);

    /* Another of us that has the lock but not yet the socket. */
    int held = open(lock, O_CREAT | O_RDWR, 0600);
    assert_int_equal(flock(held, LOCK_EX), 0);
    assert_false(door_open(&door, &place, 1, NULL));
    assert_non_null(strstr(error, "another pgsluice listens there"));
    close(held);

    /* A file that is no socket is nobody's to delete. */
    close(open(address.sun_path, O_CREAT | O_WRONLY, 0600));
    assert_false(door_open(&door, &place, 1, NULL));
    assert_non_null(strstr(error, "not a socket"));
    assert_int_equal(access(address.sun_path, F_OK), 0);
    unlink(address.sun_path);
    unlink(lock);
    door_free(&door);
}

/* ---- several loops, several programs
 * ------------------------------------------------------------------------ */

static void test_loops_share_a_port(void **state)
{
    (void)state;
    struct door first, second;
    const struct conf_listen place = {"127.0.0.1", PORT};
    door_init(&first);
    door_init(&second);
    assert_true(door_open(&first, &place, 1, NULL));
    assert_true(door_open(&second, &place, 1, &first));
    int fds[64];
    for (int i = 0; i < 64; i++)
        fds[i] = knock4(PORT);
    first.wanted = second.wanted = 1000;
    run(&first, 0.1);
    run(&second, 0.1);
    assert_int_equal(first.accepted + second.accepted, 64);
    assert_true(first.accepted > 0 && second.accepted > 0); /* 2^-63 that the kernel sends all to one */
    for (int i = 0; i < 64; i++)
        close(fds[i]);
    door_free(&first);
    door_free(&second);
}

static void test_somebody_elses_port(void **state)
{
    (void)state;
    struct door first, second;
    const struct conf_listen listen[] = {{"127.0.0.1", PORT + 1}, {"127.0.0.1", PORT}};
    door_init(&first);
    door_init(&second);
    assert_true(door_open(&first, &listen[1], 1, NULL));
    assert_false(
        door_open(&second, listen, 2, NULL)); /* as another proxy would: SO_REUSEPORT alone allows it */
    assert_string_equal(error, "listen: 127.0.0.1:21580: another program listens there");
    assert_int_equal(knock4(PORT + 1), -1); /* all or nothing */
    door_free(&first);
    assert_true(door_open(&second, listen, 2, NULL));
    door_free(&second);
}

static void test_bad_addresses(void **state)
{
    (void)state;
    char deep[300];
    memset(deep, 'd', sizeof deep);
    deep[0] = '/';
    deep[sizeof deep - 1] = '\0';
    const struct {
        struct conf_listen listen;
        const char *error;
    } rows[] = {
        {{"192.0.2.1", PORT}, "listen: 192.0.2.1:21580: Cannot assign requested address"},
        {{"no-address", PORT}, "listen: no-address: not an IP address"},
        {{deep, PORT}, "at most 107 bytes"},
        {{"/nonexistent/directory", PORT}, "No such file or directory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct door door;
        door_init(&door);
        assert_false(door_open(&door, &rows[i].listen, 1, NULL));
        assert_non_null(strstr(error, rows[i].error));
        door_free(&door);
    }
}

/* ---- reload, shortage, closing
 * ---------------------------------------------------------------------------------- */

static void test_reopen(void **state)
{
    (void)state;
    struct door door;
    const struct conf_listen before[] = {{"127.0.0.1", PORT}, {directory, PORT}, {"127.0.0.1", PORT + 1}};
    const struct conf_listen after[] = {{directory, PORT}, {"127.0.0.1", PORT}, {"127.0.0.1", PORT + 2}};
    const struct conf_listen bad[] = {{"127.0.0.1", PORT}, {"192.0.2.1", PORT}};
    door_init(&door);
    assert_true(door_open(&door, before, 3, NULL));
    assert_null(
        listener_reopen(door.listener, bad, 2, NULL, error, sizeof error)); /* nothing has changed then */
    int waiting[] = {knock4(PORT), knock_unix(PORT)}; /* in the backlog while the sets change */
    assert_true(waiting[0] >= 0 && waiting[1] >= 0);
    struct listener *fresh = listener_reopen(door.listener, after, 3, NULL, error, sizeof error);
    if (!fresh)
        fail_msg("%s", error);
    listener_close(door.listener);
    door.listener = fresh;
    door.wanted = 2;
    run(&door, 10);
    assert_int_equal(door.accepted, 2);
    assert_int_equal(knock4(PORT + 1), -1);
    int fd = knock4(PORT + 2);
    assert_true(fd >= 0);
    close(fd);
    close(waiting[0]);
    close(waiting[1]);
    door_free(&door);
    assert_int_equal(knock_unix(PORT), -1);
}

static void test_out_of_descriptors(void **state)
{
    (void)state;
    struct door door;
    const struct conf_listen place = {"127.0.0.1", PORT};
    door_init(&door);
    assert_true(door_open(&door, &place, 1, NULL));
    int client = knock4(PORT);
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = (rlim_t)client + 1; /* all lower numbers are in use */
    int fill[256], n = 0;
    while (n < 256) {
        fill[n] = dup(0);
        if (fill[n] > client) {
            close(fill[n]);
            break;
        }
        n++;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    clock_t before = clock();
    run(&door, 0.5); /* pauses and tries again */
    assert_int_equal(door.accepted, 0);
    assert_true(clock() - before < CLOCKS_PER_SEC / 20); /* without spinning */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    run(&door, 10);
    assert_int_equal(door.accepted, 1);
    while (n > 0)
        close(fill[--n]);
    close(client);
    door_free(&door);
}

static void test_close_inside_accepted(void **state)
{
    (void)state;
    struct door door;
    const struct conf_listen place = {"127.0.0.1", PORT};
    door_init(&door);
    assert_true(door_open(&door, &place, 1, NULL));
    door.close_inside = true;
    int a = knock4(PORT), b = knock4(PORT);
    run(&door, 10);
    assert_int_equal(door.accepted, 1);
    assert_null(door.listener);
    close(a);
    close(b);
    door_free(&door);
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory); /* fails if anything was left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unix_left_overs),
        cmocka_unit_test(test_loops_share_a_port),
        cmocka_unit_test(test_somebody_elses_port),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_close_inside_accepted),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

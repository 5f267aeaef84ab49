/*
 * Which server a session is sent to: the order by role, what sessions saw, reloads, and the monitor against
 * servers that are played by a thread (just enough of the protocol to answer one question).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/upstream.h"
#include "proxy/net/upstream_state.h"
#include "proxy/observe/log.h"

static struct conf *conf_from(const char *upstream)
{
    char text[2000];
    snprintf(text, sizeof text, "listen: [{address: 127.0.0.1, port: 21599}]\nupstream: {%s}\n", upstream);
    struct conf_mistakes mistakes = {0};
    struct conf *conf = conf_load_text(text, strlen(text), "test", &mistakes);
    for (size_t i = 0; i < mistakes.n; i++)
        print_error("%s\n", mistakes.items[i].text);
    conf_mistakes_free(&mistakes);
    assert_non_null(conf);
    return conf;
}

static struct upstream *start(const char *text)
{
    char error[200] = "";
    struct conf *conf = conf_from(text);
    struct upstream *upstream = upstream_start(conf, error, sizeof error);
    conf_unref(conf); /* the upstream has its own reference */
    if (!upstream)
        fail_msg("%s", error);
    return upstream;
}

static void reload(struct upstream *upstream, const char *text)
{
    struct conf *conf = conf_from(text);
    upstream_reload(upstream, conf);
    conf_unref(conf);
}

/* "0 2 1": the hosts of the present set, in its order. */
static void order_of(struct upstream *upstream, char text[64])
{
    struct upstream_set *set = upstream_get(upstream);
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < set->n; i++)
        at += (size_t)snprintf(text + at, 64 - at, "%s%u", i ? " " : "", set->addresses[i].host);
    upstream_put(set);
}

static void assert_order(struct upstream *upstream, const char *wanted)
{
    char text[64];
    order_of(upstream, text);
    assert_string_equal(text, wanted);
}

/* … within ten seconds. */
static void await_order(struct upstream *upstream, const char *wanted)
{
    char text[64];
    for (int i = 0; i < 1000; i++) {
        order_of(upstream, text);
        if (strcmp(text, wanted) == 0)
            return;
        usleep(10000);
    }
    fail_msg("order is %s, not %s", text, wanted);
}

/* ---- order
 * ------------------------------------------------------------------------------------------------- */

static void test_order(void **state)
{
    (void)state;
    /* One letter a host: ? P S D for its role, small where it has no address. */
    static const struct {
        enum upstream_target target;
        const char *hosts, *order;
    } rows[] = {
        {TARGET_ANY, "???", "012"},     {TARGET_ANY, "D?P", "120"},     {TARGET_ANY, "SDP", "021"},
        {TARGET_ANY, "DDD", "012"},     {TARGET_ANY, "?p?", "02"},      {TARGET_ANY, "dds", ""},
        {TARGET_PRIMARY, "???", "012"}, {TARGET_PRIMARY, "?P?", "102"}, {TARGET_PRIMARY, "SP?", "12"},
        {TARGET_PRIMARY, "SDP", "2"},   {TARGET_PRIMARY, "S?D", "1"},   {TARGET_PRIMARY, "DSS", "120"},
        {TARGET_PRIMARY, "DpS", "20"},  {TARGET_PRIMARY, "PP", "01"},   {TARGET_PRIMARY, "p", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum host_role roles[8];
        bool reachable[8];
        unsigned order[8];
        char text[9] = "";
        size_t n = strlen(rows[i].hosts);
        for (size_t k = 0; k < n; k++) {
            char letter = rows[i].hosts[k];
            reachable[k] = letter < 'a';
            roles[k] = (enum host_role)(strchr("?PSD", reachable[k] ? letter : letter - 32) - "?PSD");
        }
        size_t used = upstream_order(rows[i].target, roles, reachable, n, order);
        for (size_t k = 0; k < used; k++)
            text[k] = (char)('0' + order[k]);
        if (strcmp(text, rows[i].order) != 0)
            fail_msg("%s: %s, not %s", rows[i].hosts, text, rows[i].order);
    }
}

#define THREE "hosts: [{host: 127.0.0.1, port: 21590}, {host: '::1', port: 21591}, {host: /tmp, port: 21592}]"

static void test_addresses(void **state)
{
    (void)state;
    struct upstream *upstream = start(THREE);
    struct upstream_set *set = upstream_get(upstream);
    assert_int_equal(set->n, 3);
    assert_int_equal(set->addresses[0].address.ss_family, AF_INET);
    assert_int_equal(ntohs(((struct sockaddr_in *)&set->addresses[0].address)->sin_port), 21590);
    assert_int_equal(set->addresses[1].address.ss_family, AF_INET6);
    assert_int_equal(set->addresses[2].address.ss_family, AF_UNIX);
    assert_string_equal(((struct sockaddr_un *)&set->addresses[2].address)->sun_path, "/tmp/.s.PGSQL.21592");
    assert_string_equal(set->conf->upstream.hosts[set->addresses[2].host].host, "/tmp");
    upstream_stop(upstream);
    assert_int_equal(set->roles[0], HOST_UNKNOWN); /* a set outlives what it came from */
    upstream_put(set);
    upstream_put(NULL);
    upstream_stop(NULL);
}

static void test_names(void **state)
{
    (void)state;
    struct upstream *upstream = start("host: localhost, port: 21590");
    struct upstream_set *set = upstream_get(upstream);
    assert_true(set->n >= 1);
    for (size_t i = 0; i < set->n; i++)
        assert_int_equal(set->addresses[i].host, 0);
    upstream_put(set);
    upstream_stop(upstream);

    char error[200] = "";
    struct conf *conf = conf_from("host: no-such-host.invalid, port: 21590");
    assert_null(upstream_start(conf, error, sizeof error));
    assert_non_null(strstr(error, "upstream no-such-host.invalid: "));
    conf_unref(conf);

    /* One host that is known is enough. */
    upstream = start("hosts: [{host: no-such-host.invalid, port: 1}, {host: 127.0.0.1, port: 21590}]");
    assert_order(upstream, "1");
    upstream_stop(upstream);
}

static void test_what_sessions_saw(void **state)
{
    (void)state;
    struct upstream *upstream = start(THREE ", target: primary");
    assert_order(upstream, "0 1 2");
    upstream_saw(upstream, 1, HOST_PRIMARY);
    assert_order(upstream, "1 0 2");
    upstream_saw(upstream, 0, HOST_STANDBY);
    upstream_saw(upstream, 2, HOST_STANDBY);
    assert_order(upstream, "1");
    struct upstream_set *old = upstream_get(upstream);
    upstream_saw(upstream, 1, HOST_DOWN);
    assert_order(upstream, "0 2 1");
    assert_int_equal(old->n, 1); /* sets don't change */
    assert_int_equal(old->roles[1], HOST_PRIMARY);
    upstream_put(old);
    upstream_saw(upstream, 99, HOST_DOWN); /* of an older configuration */
    upstream_stop(upstream);
}

static void test_reload(void **state)
{
    (void)state;
    struct upstream *upstream = start(THREE ", target: primary");
    upstream_saw(upstream, 1, HOST_PRIMARY);
    reload(upstream, "hosts: [{host: 127.0.0.1, port: 21595}, {host: '::1', port: 21591}], target: primary");
    assert_order(upstream, "1 0"); /* what is known of a host stays with it */
    /* Names that nobody knows: better the old servers than none. */
    reload(upstream, "host: no-such-host.invalid, port: 21590");
    struct upstream_set *set = upstream_get(upstream);
    assert_int_equal(set->n, 2);
    assert_int_equal(set->conf->upstream.n_hosts, 2);
    upstream_put(set);
    reload(upstream, "host: localhost, port: 21596"); /* is looked up beside */
    for (int i = 0;; i++) {
        set = upstream_get(upstream);
        bool there = set->conf->upstream.hosts[0].port == 21596;
        upstream_put(set);
        if (there)
            break;
        assert_true(i < 1000);
        usleep(10000);
    }
    upstream_stop(upstream);
}

struct reader {
    pthread_t thread;
    struct upstream *upstream;
    atomic_bool *stop;
};

static void *read_sets(void *argument)
{
    const struct reader *reader = argument;
    while (!atomic_load(reader->stop)) {
        struct upstream_set *set = upstream_get(reader->upstream);
        if (set->n == 0 || set->addresses[0].host >= set->conf->upstream.n_hosts)
            abort();
        upstream_put(set);
        upstream_saw(reader->upstream, 0, HOST_PRIMARY);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    atomic_bool stop = false;
    struct upstream *upstream = start(THREE ", target: primary");
    struct reader readers[3];
    for (int i = 0; i < 3; i++) {
        readers[i].upstream = upstream;
        readers[i].stop = &stop;
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_sets, &readers[i]), 0);
    }
    for (int i = 0; i < 50; i++) {
        upstream_saw(upstream, 0, HOST_DOWN);
        reload(upstream, i % 2 ? THREE : "host: 127.0.0.1, port: 21590");
        usleep(1000);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(readers[i].thread, NULL);
    upstream_stop(upstream);
}

/* ---- servers of straw
 * --------------------------------------------------------------------------------------- */

enum mood {
    STRAW_PRIMARY,
    STRAW_STANDBY,
    STRAW_SILENT,
    STRAW_STARTING,
    STRAW_FORBIDS,
    STRAW_HANGS_UP,
    STRAW_STRANGE
};

struct straw {
    pthread_t thread;
    int listening;
    uint16_t port;
    _Atomic enum mood mood;
    atomic_bool stop, hang_up; /* hang_up: once, at the next question */
    atomic_int logins, questions;
};

static void straw_send(int fd, char type, const char *body, size_t n)
{
    unsigned char head[5] = {(unsigned char)type, 0, 0, (unsigned char)((n + 4) >> 8),
                             (unsigned char)(n + 4)};
    send(fd, head, 5, MSG_NOSIGNAL);
    send(fd, body, n, MSG_NOSIGNAL);
}

static void straw_error(int fd, const char *sqlstate)
{
    char body[64];
    int n = snprintf(body, sizeof body, "SFATAL%cVFATAL%cC%s%cMno%c", 0, 0, sqlstate, 0, 0);
    straw_send(fd, 'E', body, (size_t)n + 1);
}

static void straw_answer(struct straw *straw, int fd, enum mood mood)
{
    static const char columns[] = "\0\1pg_is_in_recovery\0\0\0\0\0\0\0\0\0\0\020\0\1\377\377\377\377\0\0";
    char row[] = "\0\1\0\0\0\1f";
    straw->questions++;
    row[6] = mood == STRAW_STANDBY ? 't' : 'f';
    if (mood == STRAW_STRANGE) {
        straw_error(fd, "42501");
    } else {
        straw_send(fd, 'T', columns, sizeof columns - 1);
        straw_send(fd, 'D', row, sizeof row - 1);
        straw_send(fd, 'C', "SELECT 1", 9);
    }
    straw_send(fd, 'Z', "I", 1);
}

/* One connection after start-up; returns when it ends. The messages of libpq come whole on loopback. */
static void straw_serve(struct straw *straw, int fd)
{
    char bytes[2048];
    bool in = false;
    while (!straw->stop) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, 20) <= 0)
            continue;
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        enum mood mood = straw->mood;
        if (got <= 0 || mood == STRAW_HANGS_UP || bytes[0] == 'X' ||
            (in && atomic_exchange(&straw->hang_up, false)))
            return;
        if (mood == STRAW_SILENT)
            continue;
        if (!in && got == 8) { /* SSLRequest */
            send(fd, "N", 1, MSG_NOSIGNAL);
            continue;
        }
        if (!in && (mood == STRAW_STARTING || mood == STRAW_FORBIDS)) {
            straw_error(fd, mood == STRAW_STARTING ? "57P03" : "28P01");
            return;
        }
        if (!in) {
            straw->logins++;
            straw_send(fd, 'R', "\0\0\0\0", 4);
            straw_send(fd, 'Z', "I", 1);
            in = true;
        } else {
            straw_answer(straw, fd, mood);
        }
    }
}

static void *run_straw(void *argument)
{
    struct straw *straw = argument;
    while (!straw->stop) {
        struct pollfd waiting = {.fd = straw->listening, .events = POLLIN};
        if (poll(&waiting, 1, 20) <= 0)
            continue;
        int fd = accept(straw->listening, NULL, NULL);
        straw_serve(straw, fd);
        close(fd);
    }
    return NULL;
}

static void straw_start(struct straw *straw, enum mood mood)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    memset(straw, 0, sizeof *straw);
    straw->mood = mood;
    straw->listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(straw->listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(straw->listening, 10), 0);
    getsockname(straw->listening, (struct sockaddr *)&address, &length);
    straw->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&straw->thread, NULL, run_straw, straw), 0);
}

static void straw_stop(struct straw *straw)
{
    straw->stop = true;
    pthread_join(straw->thread, NULL);
    close(straw->listening);
}

static struct upstream *start_monitored(struct straw straws[3], const char *target)
{
    char text[600];
    snprintf(
        text, sizeof text,
        "hosts: [{host: 127.0.0.1, port: %u}, {host: 127.0.0.1, port: %u}, {host: 127.0.0.1, port: %u}], "
        "target: %s, check_interval: 100ms, connect_timeout: 300ms, "
        "monitor: 'user=watch password=x host=192.0.2.1 port=1 hostaddr=192.0.2.1'",
        (unsigned)straws[0].port, (unsigned)straws[1].port, (unsigned)straws[2].port, target);
    return start(text);
}

static void test_monitor_follows_the_primary(void **state)
{
    (void)state;
    struct straw straws[3];
    straw_start(&straws[0], STRAW_STANDBY);
    straw_start(&straws[1], STRAW_PRIMARY);
    straw_start(&straws[2], STRAW_STANDBY);
    struct upstream *upstream = start_monitored(straws, "primary");
    await_order(upstream, "1");
    while (straws[1].questions < 4)
        usleep(10000);
    assert_int_equal(straws[1].logins, 1); /* the connection is kept */
    /* A switch-over. */
    straws[1].mood = STRAW_STANDBY;
    straws[2].mood = STRAW_PRIMARY;
    await_order(upstream, "2");
    /* The primary dies; nobody is it; one of them becomes it. */
    straws[2].mood = STRAW_HANGS_UP;
    await_order(upstream, "0 1 2");
    straws[0].mood = STRAW_PRIMARY;
    await_order(upstream, "0");
    /* It comes back as a standby, over a new connection. */
    straws[2].mood = STRAW_STANDBY;
    int logins = straws[2].logins;
    for (int i = 0; i < 1000 && straws[2].logins == logins; i++)
        usleep(10000);
    assert_true(straws[2].logins > logins);
    upstream_stop(upstream);
    for (int i = 0; i < 3; i++)
        straw_stop(&straws[i]);
}

static void test_monitor_and_trouble(void **state)
{
    (void)state;
    struct straw straws[3];
    straw_start(&straws[0], STRAW_SILENT); /* accepts and says nothing */
    straw_start(&straws[1], STRAW_STARTING);
    straw_start(&straws[2], STRAW_PRIMARY);
    struct upstream *upstream = start_monitored(straws, "any");
    await_order(upstream, "2 0 1");
    /* Alive, though it lets no monitor in: not down. */
    straws[1].mood = STRAW_FORBIDS;
    await_order(upstream, "1 2 0");
    straws[0].mood = STRAW_PRIMARY;
    await_order(upstream, "0 1 2");
    /* A server that answers nonsense is alive, too. */
    straws[2].mood = STRAW_STRANGE;
    int questions = straws[2].questions;
    while (straws[2].questions < questions + 3)
        usleep(10000);
    assert_order(upstream, "0 1 2");
    upstream_stop(upstream);
    for (int i = 0; i < 3; i++)
        straw_stop(&straws[i]);
}

/* A connection that was kept may be cut by anything between here and there: no reason to call the host down.
 */
static void test_monitor_loses_a_connection(void **state)
{
    (void)state;
    struct straw straws[3];
    for (int i = 0; i < 3; i++)
        straw_start(&straws[i], STRAW_PRIMARY);
    struct upstream *upstream = start_monitored(straws, "any");
    while (straws[0].questions < 1)
        usleep(1000);
    straws[0].hang_up = true;
    for (int i = 0; straws[0].logins < 2 || straws[0].questions < 3; i++) {
        assert_true(i < 10000);
        assert_order(upstream, "0 1 2");
        usleep(1000);
    }
    upstream_stop(upstream);
    for (int i = 0; i < 3; i++)
        straw_stop(&straws[i]);
}

static void test_monitor_is_reloaded(void **state)
{
    (void)state;
    struct straw straws[3];
    for (int i = 0; i < 3; i++)
        straw_start(&straws[i], i == 2 ? STRAW_PRIMARY : STRAW_STANDBY);
    struct upstream *upstream = start_monitored(straws, "primary");
    await_order(upstream, "2");
    char text[400];
    snprintf(text, sizeof text,
             "hosts: [{host: 127.0.0.1, port: %u}, {host: 127.0.0.1, port: %u}], target: primary, "
             "check_interval: 100ms, monitor: 'user=watch'",
             (unsigned)straws[2].port, (unsigned)straws[0].port);
    reload(upstream, text);
    assert_order(upstream, "0");
    straws[2].mood = STRAW_STANDBY;
    straws[0].mood = STRAW_PRIMARY;
    await_order(upstream, "1");
    reload(upstream, "host: 127.0.0.1, port: 21590"); /* nobody asks any more */
    assert_order(upstream, "0");
    upstream_stop(upstream);
    for (int i = 0; i < 3; i++)
        straw_stop(&straws[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_what_sessions_saw),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_monitor_follows_the_primary),
        cmocka_unit_test(test_monitor_and_trouble),
        cmocka_unit_test(test_monitor_loses_a_connection),
        cmocka_unit_test(test_monitor_is_reloaded),
    };
    log_configure(LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

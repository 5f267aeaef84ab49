/*
 * Asking each host whether it is the primary: a thread with one libpq connection a host, all of them at the
 * same time, never waiting but in poll. A connection is kept between questions, so a check costs one round
 * trip.
 *
 * A host is down when nobody answers, or when the server says that it takes no sessions (SQLSTATE class 57P).
 * A server that answers but won't let the monitor in is alive: its role is then unknown, and the log says
 * why.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/net/upstream_state.h"
#include "proxy/observe/log.h"

enum probe_state { PROBE_IDLE, PROBE_CONNECTING, PROBE_ASKING };

struct probe {
    enum probe_state state;
    PGconn *connection;  /* or NULL */
    bool warned;         /* that it does not let us ask */
    bool reused;         /* the question goes over a connection of an earlier check */
    short events;        /* what libpq waits for */
    double due;          /* IDLE: when to ask; else: when to give up */
    enum host_role role; /* the answer so far */
};

struct monitor {
    struct upstream *upstream;
    struct conf *conf;
    unsigned generation;
    const char *conninfo; /* or NULL: nobody asks */
    struct probe *probes;
    struct pollfd *fds; /* one a probe, and the wake-up */
    size_t n;
};

/* ---- the connection string ---------------------------------------------------------------------------- */

/* "10.0.0.1,10.0.0.2" and "db,db" and "5432,5432": libpq wants lists of equal length. */
struct place_lists {
    char *host, *address, *port;
};

static void lists_free(struct place_lists *lists)
{
    free(lists->host);
    free(lists->address);
    free(lists->port);
}

static bool lists_write(FILE *host, FILE *address, FILE *port, const struct conf_host *conf,
                        const struct host_addresses *addresses)
{
    for (size_t i = 0; i < addresses->n; i++) {
        char text[64] = "";
        const struct upstream_address *item = &addresses->items[i];
        if (item->address.ss_family != AF_UNIX &&
            getnameinfo((const struct sockaddr *)&item->address, item->length, text, sizeof text, NULL, 0,
                        NI_NUMERICHOST) != 0)
            return false;
        const char *comma = i ? "," : "";
        fprintf(host, "%s%s", comma, conf->host);
        fprintf(address, "%s%s", comma, text);
        fprintf(port, "%s%u", comma, (unsigned)conf->port);
    }
    return addresses->n > 0;
}

static bool lists_make(struct place_lists *lists, const struct conf_host *conf,
                       const struct host_addresses *addresses)
{
    size_t sizes[3];
    *lists = (struct place_lists){0};
    FILE *host = open_memstream(&lists->host, &sizes[0]);
    FILE *address = open_memstream(&lists->address, &sizes[1]);
    FILE *port = open_memstream(&lists->port, &sizes[2]);
    bool good = host && address && port && lists_write(host, address, port, conf, addresses);
    FILE *const files[] = {host, address, port};
    for (size_t i = 0; i < 3; i++)
        if (files[i] && fclose(files[i]) != 0)
            good = false;
    if (!good)
        lists_free(lists);
    return good;
}

static bool is_place(const char *keyword)
{
    return strcmp(keyword, "host") == 0 || strcmp(keyword, "hostaddr") == 0 || strcmp(keyword, "port") == 0;
}

enum { OPTIONS_MOST = 64, OPTIONS_OWN = 8 };

/* The conninfo's own options behind our defaults: libpq lets the last of equal keywords win. */
static PGconn *connect_with(PQconninfoOption *options, const struct place_lists *lists)
{
    const char *keywords[OPTIONS_MOST + OPTIONS_OWN] = {"dbname", "gssencmode", "fallback_application_name"};
    const char *values[OPTIONS_MOST + OPTIONS_OWN] = {"postgres", "disable", "pgsluice monitor"};
    size_t n = 3;
    for (PQconninfoOption *option = options; option->keyword && n < OPTIONS_MOST; option++) {
        if (!option->val || is_place(option->keyword))
            continue;
        keywords[n] = option->keyword;
        values[n++] = option->val;
    }
    keywords[n] = "host";
    values[n++] = lists->host;
    keywords[n] = "hostaddr";
    values[n++] = lists->address;
    keywords[n] = "port";
    values[n++] = lists->port;
    return PQconnectStartParams(keywords, values, 0);
}

static void drop_notice(void *argument, const char *message)
{
    (void)argument;
    (void)message;
}

static PGconn *connect_start(const char *conninfo, const struct conf_host *host,
                             const struct host_addresses *addresses)
{
    struct place_lists lists;
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (!options)
        return NULL;
    PGconn *connection = NULL;
    if (lists_make(&lists, host, addresses)) {
        connection = connect_with(options, &lists);
        lists_free(&lists);
    }
    PQconninfoFree(options);
    if (!connection)
        return NULL;
    PQsetNoticeProcessor(connection, drop_notice, NULL);
    PQsetErrorVerbosity(connection, PQERRORS_VERBOSE); /* so that a refused login shows its SQLSTATE */
    return connection;
}

/* ---- one host's check ---------------------------------------------------------------------------------- */

static double seconds_of(int64_t milliseconds, double otherwise)
{
    return milliseconds > 0 ? (double)milliseconds / 1000 : otherwise;
}

static void probe_close(struct probe *probe)
{
    PQfinish(probe->connection);
    probe->connection = NULL;
    probe->state = PROBE_IDLE;
}

/* The SQLSTATE in "FATAL:  28P01: password …", or NULL. */
static const char *find_sqlstate(const char *message)
{
    for (const char *at = message; (at = strstr(at, ":  ")); at += 3)
        if (strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && at[8] == ':')
            return at + 3;
    return NULL;
}

static void report(struct monitor *monitor, size_t i, enum host_role role, const char *why)
{
    char line[200];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(why, "\n"), why);
    upstream_report(monitor->upstream, monitor->generation, (unsigned)i, role, line);
}

static void probe_failed(struct monitor *monitor, size_t i, const char *why)
{
    struct probe *probe = &monitor->probes[i];
    double now = upstream_clock();
    if (probe->state == PROBE_ASKING && probe->reused) {
        /* An old connection may have been cut in between; that says nothing of the server. */
        probe_close(probe);
        probe->due = now;
        return;
    }
    const char *sqlstate = find_sqlstate(why);
    bool alive = sqlstate && strncmp(sqlstate, "57P", 3) != 0;
    if (alive && !probe->warned) {
        const struct conf_host *host = &monitor->conf->upstream.hosts[i];
        log_warning("upstream %s:%u doesn't let the monitor ask for its role: %.*s", host->host,
                    (unsigned)host->port, (int)strcspn(sqlstate, "\n"), sqlstate);
        probe->warned = true;
    }
    report(monitor, i, alive ? HOST_UNKNOWN : HOST_DOWN, sqlstate ? sqlstate : why);
    probe_close(probe);
    probe->due = now + seconds_of(monitor->conf->upstream.check_interval, 2);
}

static void probe_ask(struct monitor *monitor, size_t i)
{
    struct probe *probe = &monitor->probes[i];
    probe->state = PROBE_ASKING;
    probe->role = HOST_UNKNOWN;
    probe->events = POLLIN;
    probe->due = upstream_clock() + seconds_of(monitor->conf->upstream.connect_timeout, 10);
    if (!PQsendQuery(probe->connection, "SELECT pg_catalog.pg_is_in_recovery()"))
        probe_failed(monitor, i, PQerrorMessage(probe->connection));
}

/* The host's addresses as they are now; a copy. */
static struct host_addresses addresses_of(struct monitor *monitor, size_t i)
{
    struct host_addresses copy = {0};
    pthread_mutex_lock(&monitor->upstream->mutex);
    if (monitor->upstream->generation == monitor->generation) {
        const struct host_addresses *now = &monitor->upstream->hosts[i].addresses;
        copy.items = calloc(now->n ? now->n : 1, sizeof *copy.items);
        if (copy.items && now->n) {
            memcpy(copy.items, now->items, now->n * sizeof *copy.items);
            copy.n = now->n;
        }
    }
    pthread_mutex_unlock(&monitor->upstream->mutex);
    return copy;
}

static void probe_begin(struct monitor *monitor, size_t i)
{
    struct probe *probe = &monitor->probes[i];
    probe->reused = probe->connection != NULL;
    if (probe->reused) {
        probe_ask(monitor, i);
        return;
    }
    struct host_addresses addresses = addresses_of(monitor, i);
    probe->state = PROBE_CONNECTING;
    probe->events = POLLOUT;
    probe->due = upstream_clock() + seconds_of(monitor->conf->upstream.connect_timeout, 10);
    if (addresses.n)
        probe->connection = connect_start(monitor->conninfo, &monitor->conf->upstream.hosts[i], &addresses);
    const char *why = addresses.n ? "out of memory" : "its name can't be looked up";
    host_addresses_free(&addresses);
    if (!probe->connection)
        probe_failed(monitor, i, why);
    else if (PQstatus(probe->connection) == CONNECTION_BAD)
        probe_failed(monitor, i, PQerrorMessage(probe->connection));
}

static void probe_connecting(struct monitor *monitor, size_t i)
{
    struct probe *probe = &monitor->probes[i];
    switch (PQconnectPoll(probe->connection)) {
    case PGRES_POLLING_READING:
        probe->events = POLLIN;
        return;
    case PGRES_POLLING_WRITING:
        probe->events = POLLOUT;
        return;
    case PGRES_POLLING_OK:
        probe_ask(monitor, i);
        return;
    default:
        probe_failed(monitor, i, PQerrorMessage(probe->connection));
    }
}

static void probe_asking(struct monitor *monitor, size_t i)
{
    struct probe *probe = &monitor->probes[i];
    if (!PQconsumeInput(probe->connection)) {
        probe_failed(monitor, i, PQerrorMessage(probe->connection));
        return;
    }
    while (!PQisBusy(probe->connection)) {
        PGresult *result = PQgetResult(probe->connection);
        if (!result) {
            if (probe->role == HOST_UNKNOWN) {
                probe_failed(monitor, i, PQerrorMessage(probe->connection));
                return;
            }
            report(monitor, i, probe->role, "");
            probe->warned = false;
            probe->state = PROBE_IDLE;
            probe->due = upstream_clock() + seconds_of(monitor->conf->upstream.check_interval, 2);
            return;
        }
        if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
            probe->role = *PQgetvalue(result, 0, 0) == 't' ? HOST_STANDBY : HOST_PRIMARY;
        PQclear(result);
    }
}

/* ---- the thread --------------------------------------------------------------------------------------- */

static void monitor_clear(struct monitor *monitor)
{
    for (size_t i = 0; i < monitor->n; i++)
        probe_close(&monitor->probes[i]);
    free(monitor->probes);
    free(monitor->fds);
    conf_unref(monitor->conf);
    *monitor = (struct monitor){.upstream = monitor->upstream};
}

/* Follows the configuration; false: stop. */
static bool monitor_follow(struct monitor *monitor)
{
    struct upstream *upstream = monitor->upstream;
    pthread_mutex_lock(&upstream->mutex);
    bool stop = upstream->stopping, changed = !monitor->conf || upstream->generation != monitor->generation;
    struct conf *conf = changed ? conf_ref(upstream->conf) : NULL;
    unsigned generation = upstream->generation;
    pthread_mutex_unlock(&upstream->mutex);
    if (!changed)
        return !stop;
    monitor_clear(monitor);
    monitor->conf = conf;
    monitor->generation = generation;
    monitor->conninfo = upstream_monitor_conninfo(conf);
    size_t n = monitor->conninfo ? conf->upstream.n_hosts : 0;
    monitor->probes = calloc(n ? n : 1, sizeof *monitor->probes);
    monitor->fds = calloc(n + 1, sizeof *monitor->fds);
    if (monitor->probes && monitor->fds)
        monitor->n = n;
    return !stop;
}

/* Begins what is due, gives up what is late; returns the milliseconds until the next of these. */
static int monitor_advance(struct monitor *monitor)
{
    double next = upstream_clock() + 60;
    for (size_t i = 0; i < monitor->n; i++) {
        struct probe *probe = &monitor->probes[i];
        if (probe->due <= upstream_clock()) {
            if (probe->state == PROBE_IDLE)
                probe_begin(monitor, i);
            else
                probe_failed(monitor, i, "no answer in time");
        }
        next = probe->due < next ? probe->due : next;
    }
    double wait = (next - upstream_clock()) * 1000;
    return wait > 0 ? (int)wait + 1 : 0;
}

static void monitor_wait(struct monitor *monitor, int milliseconds)
{
    for (size_t i = 0; i < monitor->n; i++) {
        const struct probe *probe = &monitor->probes[i];
        bool busy = probe->state != PROBE_IDLE;
        monitor->fds[i] =
            (struct pollfd){.fd = busy ? PQsocket(probe->connection) : -1, .events = probe->events};
    }
    struct pollfd *wake = &monitor->fds[monitor->n];
    *wake = (struct pollfd){.fd = monitor->upstream->monitor_wake, .events = POLLIN};
    if (poll(monitor->fds, monitor->n + 1, milliseconds) <= 0)
        return;
    uint64_t count;
    if (wake->revents && read(wake->fd, &count, sizeof count) < 0)
        errno = 0; /* somebody else's wake-up: nothing to do */
    for (size_t i = 0; i < monitor->n; i++) {
        if (!monitor->fds[i].revents)
            continue;
        if (monitor->probes[i].state == PROBE_CONNECTING)
            probe_connecting(monitor, i);
        else if (monitor->probes[i].state == PROBE_ASKING)
            probe_asking(monitor, i);
    }
}

void *upstream_monitor(void *argument)
{
    struct monitor monitor = {.upstream = argument};
    while (monitor_follow(&monitor)) {
        int milliseconds = monitor_advance(&monitor);
        if (monitor.fds)
            monitor_wait(&monitor, milliseconds);
        else
            poll(NULL, 0, 1000); /* no memory for the list: try again */
    }
    monitor_clear(&monitor);
    return NULL;
}

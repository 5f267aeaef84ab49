/*
 * `pgsluice serve`: start, the control loop with its signals, drain, end.
 */
#include "proxy/serve.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "proxy/change/change.h"
#include "proxy/observe/log.h"
#include "proxy/serve_inside.h"
#include "proxy/session/cancel.h"
#include "proxy/session/session_users.h"

static const char usage[] =
    "usage: pgsluice serve -c FILE\n"
    "\n"
    "Runs the proxy in the foreground. When it is ready it says so on standard error, and to systemd.\n"
    "\n"
    "  -c FILE   the configuration (YAML); `pgsluice config check FILE` looks for mistakes in it\n"
    "\n"
    "SIGHUP   reads the configuration and the certificates again and reopens the audit log\n"
    "SIGTERM  takes no new sessions, ends the idle ones, waits for the others; a second one ends them all\n"
    "SIGINT   ends at once\n";

/* ---- the end ---------------------------------------------------------------------------------------- */

static void end_sessions(struct worker *worker, void *argument)
{
    (void)argument;
    session_room_end_all(&worker->room);
    cancel_room_end_all(&worker->room);
}

static void on_drain_timer(void *argument)
{
    struct serve *serve = argument;
    bool late = serve->drain_deadline > 0 && loop_now(serve->control) >= serve->drain_deadline;
    uint32_t open = atomic_load(&serve->shared.open);
    if (open == 0 || late) {
        if (open)
            log_warning("limits.drain_time is over: %u sessions are ended", open);
        loop_stop(serve->control);
        return;
    }
    loop_timer_set(serve->drain, 0.05);
}

static void drain_worker(struct worker *worker, void *argument)
{
    (void)argument;
    listener_close(worker->listener);
    worker->listener = NULL;
    session_room_drain(&worker->room);
}

static void drain(struct serve *serve)
{
    int64_t limit = serve->setting.conf->limits.drain_time;
    serve->draining = true;
    sd_notify(0, "STOPPING=1");
    log_info("shutting down: waiting for %u sessions", atomic_load(&serve->shared.open));
    if (limit > 0)
        serve->drain_deadline = loop_now(serve->control) + (double)limit / 1000;
    workers_each(serve, drain_worker, NULL);
    loop_timer_set(serve->drain, 0);
}

static void on_signal(void *argument, int signal)
{
    struct serve *serve = argument;
    if (signal == SIGHUP) {
        serve_reload(serve);
        return;
    }
    if (signal == SIGTERM && !serve->draining) {
        drain(serve);
        return;
    }
    if (!serve->draining)
        sd_notify(0, "STOPPING=1");
    log_info("ending now: %u sessions are ended", atomic_load(&serve->shared.open));
    loop_stop(serve->control);
}

/* ---- the start -------------------------------------------------------------------------------------- */

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* The loop's handlers only; other threads are left alone. */
static void block_signals(sigset_t *before)
{
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ours, before);
    signal(SIGPIPE, SIG_IGN);
}

static bool start_shared(struct serve *serve, char *error, size_t size)
{
    const struct conf *conf = serve->setting.conf;
    struct sessions_shared *shared = &serve->shared;
    shared->users = users_new();
    if (!shared->users) {
        snprintf(error, size, "out of memory");
        return false;
    }
    if (conf->audit.path) {
        shared->audit = audit_open(conf->audit.path, conf->audit.sync, error, size);
        if (!shared->audit)
            return false;
    }
    shared->judges = judge_bench_start(2, shared->audit);
    if (!shared->judges) {
        snprintf(error, size, "the judges could not be started: %s", strerrordesc_np(errno));
        return false;
    }
    shared->upstream = upstream_start(serve->setting.conf, error, size);
    if (!shared->upstream)
        return false;
    shared->changes = changes_start(serve->setting.conf);
    if (!shared->changes)
        snprintf(error, size, "the supervisor of online changes could not be started: %s",
                 strerrordesc_np(errno));
    return shared->changes != NULL;
}

static bool start_control(struct serve *serve, char *error, size_t size)
{
    serve->control = loop_new();
    serve->drain = serve->control ? loop_timer_new(serve->control, on_drain_timer, serve) : NULL;
    if (!serve->drain || !loop_signal(serve->control, SIGHUP, on_signal, serve) ||
        !loop_signal(serve->control, SIGTERM, on_signal, serve) ||
        !loop_signal(serve->control, SIGINT, on_signal, serve)) {
        snprintf(error, size, "the control loop could not be made: %s", strerrordesc_np(errno));
        return false;
    }
    return admin_start(&serve->admin, serve, serve->setting.conf, error, size) && admin_watch(&serve->admin);
}

static void print_place(FILE *out, const char *address, unsigned port)
{
    if (address[0] == '/')
        fprintf(out, "%s/.s.PGSQL.%u", address, port);
    else
        fprintf(out, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
}

static void say_ready(const struct serve *serve)
{
    static const char *const modes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"};
    const struct conf *conf = serve->setting.conf;
    flockfile(stderr);
    fprintf(stderr, "pgsluice %s ready: listening on ", PGSLUICE_VERSION);
    for (size_t i = 0; i < conf->n_listen; i++) {
        fputs(i ? ", " : "", stderr);
        print_place(stderr, conf->listen[i].address, conf->listen[i].port);
    }
    fputs(", upstream ", stderr);
    for (size_t i = 0; i < conf->upstream.n_hosts; i++) {
        fputs(i ? ", " : "", stderr);
        print_place(stderr, conf->upstream.hosts[i].host, conf->upstream.hosts[i].port);
    }
    fprintf(stderr, " (policy %s, TLS %s to clients, %s to servers, audit %s, %zu threads)\n",
            profile_name(conf->policy.profile),
            serve->setting.tls_client ? modes[conf->tls_client.mode] : "off",
            serve->setting.tls_upstream ? modes[conf->tls_upstream.mode] : "off",
            conf->audit.path ? "on" : "off", serve->n_workers);
    fflush(stderr);
    funlockfile(stderr);
}

static bool start(struct serve *serve, char *error, size_t size)
{
    if (!start_shared(serve, error, size) || !workers_open(serve, error, size) ||
        !start_control(serve, error, size))
        return false;
    if (workers_start(serve))
        return true;
    snprintf(error, size, "a thread could not be started");
    return false;
}

/* In this order: sessions end while judges and audit still take what they say of it; jobs come home to loops
 * that still run. */
static void finish(struct serve *serve)
{
    struct sessions_shared *shared = &serve->shared;
    sigset_t more;
    if (serve->n_workers)
        workers_each(serve, end_sessions, NULL);
    if (shared->judges)
        judge_bench_stop(shared->judges);
    workers_stop(serve);
    changes_stop(shared->changes); /* nobody watches any more */
    admin_stop(&serve->admin);
    if (serve->control) {
        loop_timer_free(serve->drain);
        sigemptyset(&more);
        sigaddset(&more, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &more,
                        NULL); /* its handler goes with the loop; the audit log is yet to be closed */
        loop_free(serve->control);
    }
    if (shared->upstream)
        upstream_stop(shared->upstream);
    if (shared->audit)
        audit_close(shared->audit);
    users_free(shared->users);
    setting_release(&serve->setting);
}

static int run(const char *path)
{
    static struct serve serve; /* its rooms are on the list of metrics until the process ends */
    char error[512] = "";
    sigset_t before;
    int exit_code;
    serve.path = path;
    if (!setting_load(&serve.setting, path, true, &exit_code))
        return exit_code;
    log_configure(serve.setting.conf->log.level, serve.setting.conf->log.format);
    raise_descriptors();
    setting_fit(&serve.setting);
    block_signals(&before);
    bool started = start(&serve, error, sizeof error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        fprintf(stderr, "pgsluice: %s\n", error);
        finish(&serve);
        return 1;
    }
    say_ready(&serve);
    sd_notify(0, "READY=1");
    loop_run(serve.control);
    finish(&serve);
    log_info("ended");
    return 0;
}

int cmd_serve(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const char *path = NULL;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (option != 'c') {
            fputs(usage, stderr);
            return 2;
        }
        path = optarg;
    }
    if (!path || optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    return run(path);
}

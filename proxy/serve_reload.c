/*
 * SIGHUP: everything that can go wrong is done first (the file, certificates, sockets, the admin port); if
 * anything does, it is undone and the old configuration stays in force. Then the new one is put in force,
 * worker by worker, and the log says what has changed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "proxy/change/change.h"
#include "proxy/observe/log.h"
#include "proxy/serve_inside.h"

static void tell_systemd(bool begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t microseconds = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    if (begin)
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, microseconds);
    else
        sd_notify(0, "READY=1");
}

static void tell_changes(const struct conf *before, const struct conf *after)
{
    char *text = NULL, *rest = NULL;
    size_t length, restart = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return;
    size_t n = conf_diff(before, after, out, &restart);
    fclose(out);
    log_info("reloaded %s: %zu setting%s changed; certificates were read again", after->path, n,
             n == 1 ? "" : "s");
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        log_info("reloaded: %s", line);
    free(text);
    if (restart)
        log_warning("%zu of these come into force with a restart only", restart);
    if (!before->audit.path != !after->audit.path)
        log_warning("audit.path: switching the audit on or off takes a restart; until then it stays %s",
                    before->audit.path ? "on" : "off");
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* A new admin port, where it is to be another; false: it cannot be had. */
static bool prepare_admin(struct serve *serve, const struct conf *conf, struct admin *admin, bool *another,
                          char *error, size_t size)
{
    const struct conf *before = serve->setting.conf;
    *another =
        !same_text(before->admin.address, conf->admin.address) || before->admin.port != conf->admin.port;
    return !*another || admin_start(admin, serve, conf, error, size);
}

static void commit_admin(struct serve *serve, const struct admin *admin)
{
    admin_stop(&serve->admin);
    serve->admin = *admin;
    if (!admin_watch(&serve->admin))
        log_error("out of memory: the admin port is not served");
}

/* The file may have been renamed by log rotation, or another one is named. */
static void reopen_audit(struct serve *serve, const struct conf *conf)
{
    char error[512];
    if (!serve->shared.audit || !conf->audit.path)
        return;
    if (!audit_reopen(serve->shared.audit, conf->audit.path, conf->audit.sync, error, sizeof error))
        log_error("audit: %s", error);
}

static void commit(struct serve *serve, struct setting *setting)
{
    struct setting old = serve->setting;
    workers_commit(serve, setting);
    serve->setting = *setting;
    upstream_reload(serve->shared.upstream, setting->conf);
    changes_reload(serve->shared.changes, setting->conf);
    log_configure(setting->conf->log.level, setting->conf->log.format);
    reopen_audit(serve, setting->conf);
    tell_changes(old.conf, setting->conf);
    setting_release(&old);
}

void serve_reload(struct serve *serve)
{
    struct setting setting;
    struct admin admin = {0};
    char error[512] = "";
    int exit_code;
    bool another_admin = false;
    if (serve->draining)
        return;
    tell_systemd(true);
    if (!setting_load(&setting, serve->path, false, &exit_code)) {
        log_error("not reloaded: the configuration in force stays");
    } else if (!prepare_admin(serve, setting.conf, &admin, &another_admin, error, sizeof error) ||
               !workers_prepare_listeners(serve, setting.conf, error, sizeof error)) {
        log_error("%s", error);
        log_error("not reloaded: the configuration in force stays");
        workers_rollback_listeners(serve);
        admin_stop(&admin);
        setting_release(&setting);
    } else {
        setting_fit(&setting);
        if (another_admin)
            commit_admin(serve, &admin);
        commit(serve, &setting);
    }
    tell_systemd(false);
}

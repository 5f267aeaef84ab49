/*
 * A configuration and what it names (certificates), loaded whole or not at all.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "proxy/observe/log.h"
#include "proxy/serve_inside.h"

static void tell_mistakes(const char *path, const struct conf_mistakes *mistakes, bool at_start)
{
    for (size_t i = 0; i < mistakes->n; i++) {
        const struct conf_mistake *mistake = &mistakes->items[i];
        if (at_start)
            fprintf(stderr, "%s:%u:%u: %s\n", path, mistake->line, mistake->column, mistake->text);
        else
            log_error("%s:%u:%u: %s", path, mistake->line, mistake->column, mistake->text);
    }
}

void setting_release(struct setting *setting)
{
    if (setting->tls_client)
        tls_context_unref(setting->tls_client);
    if (setting->tls_upstream)
        tls_context_unref(setting->tls_upstream);
    conf_unref(setting->conf);
    memset(setting, 0, sizeof *setting);
}

static bool load_tls(struct setting *setting, char *error, size_t size)
{
    error[0] = '\0';
    setting->tls_client = tls_context_client_leg(&setting->conf->tls_client, error, size);
    if (!setting->tls_client && error[0])
        return false;
    setting->tls_upstream = tls_context_upstream_leg(&setting->conf->tls_upstream, error, size);
    return setting->tls_upstream || !error[0];
}

/* Two descriptors a session; listeners, logs and monitors want some, too. */
static uint64_t sessions_possible(void)
{
    enum { OTHERS = 100 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT32_MAX;
    return limit.rlim_cur > OTHERS + 2 ? (limit.rlim_cur - OTHERS) / 2 : 1;
}

void setting_fit(struct setting *setting)
{
    uint32_t *sessions = &setting->conf->limits.sessions;
    uint64_t possible = sessions_possible();
    if (*sessions > possible)
        log_warning("limits.sessions is %u, and this process has file descriptors for %" PRIu64
                    " sessions: raise its limit (LimitNOFILE=, ulimit -n)",
                    *sessions, possible);
    if (*sessions)
        return;
    *sessions = possible < CONF_SESSIONS ? (uint32_t)possible : CONF_SESSIONS;
    if (*sessions < CONF_SESSIONS)
        log_info("limits.sessions is %u: for more this process lacks file descriptors", *sessions);
}

bool setting_load(struct setting *setting, const char *path, bool at_start, int *exit_code)
{
    struct conf_mistakes mistakes = {0};
    char error[512];
    memset(setting, 0, sizeof *setting);
    *exit_code = 2;
    setting->conf = conf_load(path, &mistakes);
    if (!setting->conf) {
        tell_mistakes(path, &mistakes, at_start);
        conf_mistakes_free(&mistakes);
        return false;
    }
    conf_mistakes_free(&mistakes);
    if (load_tls(setting, error, sizeof error))
        return true;
    if (at_start)
        fprintf(stderr, "pgsluice: %s\n", error);
    else
        log_error("%s", error);
    setting_release(setting);
    return false;
}

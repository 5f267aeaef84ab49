/*
 * A configuration and what it names (certificates), loaded whole or not at all.
 */
#include <stdio.h>
#include <string.h>

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

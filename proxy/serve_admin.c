/*
 * The admin port on the control loop: its descriptor and its timeouts.
 */
#include <stdio.h>

#include "proxy/observe/audit.h"
#include "proxy/serve_inside.h"

static void go_on(struct admin *admin)
{
    http_run(admin->http);
    long timeout = http_timeout_ms(admin->http);
    if (timeout < 0)
        loop_timer_stop(admin->timer);
    else
        loop_timer_set(admin->timer, (double)timeout / 1000);
}

static void on_readable(void *argument, int events)
{
    (void)events;
    go_on(argument);
}

static void on_timer(void *argument)
{
    go_on(argument);
}

static bool is_ready(void *argument, char *reason, size_t size)
{
    struct serve *serve = argument;
    struct audit_state state;
    if (serve->draining) {
        snprintf(reason, size, "shutting down");
        return false;
    }
    if (!serve->shared.audit)
        return true;
    audit_state(serve->shared.audit, &state);
    if (!state.working)
        snprintf(reason, size, "the audit log cannot be written: %s", state.error);
    return state.working;
}

bool admin_start(struct admin *admin, struct serve *serve, const struct conf *conf, char *error, size_t size)
{
    *admin = (struct admin){.loop = serve->control};
    if (!conf->admin.address)
        return true;
    admin->http = http_start(conf->admin.address, conf->admin.port, is_ready, serve, error, size);
    return admin->http != NULL;
}

bool admin_watch(struct admin *admin)
{
    if (!admin->http)
        return true;
    admin->watch = loop_watch_new(admin->loop, http_fd(admin->http), on_readable, admin);
    admin->timer = loop_timer_new(admin->loop, on_timer, admin);
    if (!admin->watch || !admin->timer)
        return false;
    loop_watch_set(admin->watch, LOOP_READ);
    go_on(admin);
    return true;
}

void admin_stop(struct admin *admin)
{
    loop_watch_free(admin->watch);
    loop_timer_free(admin->timer);
    if (admin->http)
        http_stop(admin->http);
    *admin = (struct admin){0};
}

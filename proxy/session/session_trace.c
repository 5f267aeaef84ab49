/*
 * The trace flag: which sessions have every message printed (log.trace), and the lines' way into the log.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/log.h"
#include "proxy/session/session_inside.h"

static const char *attribute(const struct session *session, const char *name)
{
    const char *application = session->engine ? engine_application_name(session->engine) : "";
    if (strcmp(name, "user") == 0)
        return session->user;
    if (strcmp(name, "database") == 0)
        return session->database;
    if (strcmp(name, "client") == 0)
        return session->peer;
    if (strcmp(name, "application") != 0)
        return NULL;
    return !application[0] && session->login ? session->login->startup.application : application;
}

/* Does a session match "user=bob,database=app*"? */
static bool matches(const struct session *session, const char *patterns)
{
    char *copy = strdup(patterns), *rest = NULL;
    bool all = copy != NULL;
    for (char *part = copy ? strtok_r(copy, ",", &rest) : NULL; part && all;
         part = strtok_r(NULL, ",", &rest)) {
        part += strspn(part, " ");
        char *equals = strchr(part, '=');
        if (equals)
            *equals = '\0';
        const char *value = equals ? attribute(session, part) : NULL;
        all = value && fnmatch(equals + 1, value, 0) == 0;
    }
    free(copy);
    return all;
}

static void line(void *argument, const char *text)
{
    const struct session *session = argument;
    log_info("trace session=%llu %s", (unsigned long long)session->number, text);
}

void session_trace(struct session *session)
{
    const char *patterns = session->room->conf->log.trace;
    if (!session->engine)
        return;
    engine_trace(session->engine, patterns && matches(session, patterns) ? line : NULL, session);
}

/*
 * Logins of the supervisor, a thread each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/change/change_inside.h"

struct login {
    pthread_t thread;
    struct changes *changes;
    struct link *link;
    struct conf *conf; /* a reference */
    char *database;
    atomic_bool leave, over;
    bool good;
};

static void login_free(struct login *login)
{
    if (login->conf)
        conf_unref(login->conf);
    free(login->database);
    free(login);
}

static bool leaves(void *argument)
{
    const struct login *login = argument;
    return atomic_load(&login->leave) || atomic_load(&login->changes->stopping);
}

static void *log_in(void *argument)
{
    struct login *login = argument;
    /* It waits for nobody's lock: whoever is next would wait with it. */
    login->good =
        link_open(login->link, login->conf->online.maintenance, login->database, "pgsluice supervisor") &&
        link_do(login->link, "SET lock_timeout = '50ms'");
    atomic_store(&login->over, true);
    changes_wake(login->changes);
    return NULL;
}

bool login_start(struct changes *changes, struct database *database)
{
    struct login *login = calloc(1, sizeof *login);
    if (!login)
        return false;
    login->changes = changes;
    login->link = &database->link;
    login->conf = conf_ref(changes->in_force);
    login->database = strdup(database->name);
    database->link.interrupt = leaves;
    database->link.argument = login;
    if (!login->database || pthread_create(&login->thread, NULL, log_in, login) != 0) {
        login_free(login);
        database->link.interrupt = NULL;
        return false;
    }
    database->login = login;
    return true;
}

bool login_is_over(const struct database *database)
{
    return database->login && atomic_load(&database->login->over);
}

enum login_state login_ended(struct database *database)
{
    struct login *login = database->login;
    if (!login)
        return LOGIN_NONE;
    if (!atomic_load(&login->over))
        return LOGIN_RUNS;
    pthread_join(login->thread, NULL);
    bool good = login->good;
    database->login = NULL;
    database->link.interrupt = changes_stopping;
    database->link.argument = login->changes;
    login_free(login);
    return good ? LOGIN_GOOD : LOGIN_FAILED;
}

void database_close(struct database *database)
{
    if (database->login) {
        atomic_store(&database->login->leave, true);
        pthread_join(database->login->thread, NULL);
        login_free(database->login);
        database->login = NULL;
    }
    link_close(&database->link);
}

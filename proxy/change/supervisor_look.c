/*
 * One look at one database: is it there, has it the schema, what do its unfinished changes say.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/change_inside.h"
#include "proxy/observe/log.h"

enum { LOOK_TIME = 5000, WATCHED_MOST = 4096 };
static const double look_every = 1, watched_every = 0.2, check_every = 30, refused_every = 5;

/* A quarter more or less, so that many proxies don't come back at the same moment. */
static double jittered(double seconds)
{
    double part = (double)(rand() % 1000) / 1000; // NOLINT: not a secret
    return seconds * (0.75 + part / 2);
}

/* ---- when it can't be asked ---------------------------------------------------------------------------- */

static bool is_gone(const struct failure *failed)
{
    return strstr(failed->message, "does not exist") && strstr(failed->message, "database \"");
}

static void down(struct changes *changes, struct database *database)
{
    double now = clock_seconds();
    const struct failure *failed = &database->link.failed;
    if (is_gone(failed)) {
        watch_lost(changes, database->name, failed->message);
        quarantine_put(changes, database->name, NULL);
        database->state = DATABASE_ABSENT;
        database->due = now + changes->absent_every;
        return;
    }
    if (database->state != DATABASE_DOWN) {
        database->down_since = now;
        database->delay = 0.25;
        log_warning("online changes in database %s are not looked after: %s", database->name,
                    failed->message);
        database->state = DATABASE_DOWN;
    }
    if (database->link.pg) /* a statement */
        failure_text(database->why, sizeof database->why, failed->message);
    else
        link_shut_out(failed, changes->in_force->online.maintenance, database->why);
    link_close(&database->link);
    database->due = now + jittered(database->delay);
    database->delay = database->delay < 15 ? database->delay * 2 : 30;
}

double database_tell(struct changes *changes, const struct database *database)
{
    if (database->state == DATABASE_DOWN)
        return watch_nobody(changes, database->name, database->down_since, database->why);
    if (database->state == DATABASE_GOOD && database->shut_since > 0)
        return watch_nobody(changes, database->name, database->shut_since, database->shut_why);
    return database->due;
}

/* ---- the login ----------------------------------------------------------------------------------------- */

static bool is_superuser(struct link *link)
{
    PGresult *result = link_exec(link, "SELECT rolsuper FROM pg_roles WHERE rolname = session_user");
    bool superuser = !result || PQntuples(result) != 1 || link_value(result, 0, 0)[0] != 'f';
    PQclear(result);
    return superuser;
}

static void refuse(struct changes *changes, struct database *database)
{
    static const char why[] =
        "the login of online.maintenance is a superuser, and online.allow_superuser is false";
    if (!changes->refused)
        log_error("online changes, of database %s and the others, are not worked on: %s; use the role that "
                  "`pgsluice install` made",
                  database->name, why);
    changes->refused = true;
    database->state = DATABASE_REFUSED;
    snprintf(database->why, sizeof database->why, "%s", why);
    if (!link_do(&database->link, "UPDATE pgsluice.change SET throttled = "
                                  "'nobody works on it: the login of online.maintenance is a superuser, and "
                                  "online.allow_superuser is false' "
                                  "WHERE state NOT IN ('complete', 'undone') AND throttled IS NULL"))
        log_debug("database %s: %s", database->name, database->link.failed.message);
    watch_lost(changes, database->name, why);
}

/* ---- the look ------------------------------------------------------------------------------------------ */

static bool enter(struct changes *changes, struct database *database)
{
    if (!database->login && database->link.pg)
        return true;
    switch (login_ended(database)) {
    case LOGIN_GOOD:
        return true;
    case LOGIN_FAILED:
        down(changes, database);
        return false;
    case LOGIN_RUNS:
        break;
    case LOGIN_NONE:
        database->link.deadline = LOOK_TIME;
        if (login_start(changes, database))
            break;
        failure_set(&database->link.failed, "", "no thread for a login can be started");
        down(changes, database);
        return false;
    }
    database->due = clock_seconds() + check_every; /* its end wakes us */
    return false;
}

/* The schema, once in a while; true: it is there and may be used. */
static bool check_schema(struct changes *changes, struct database *database)
{
    double now = clock_seconds();
    if (database->state == DATABASE_GOOD && now - database->checked < check_every)
        return true;
    enum store_presence presence = store_presence(&database->link);
    if (presence == STORE_UNKNOWN) {
        down(changes, database);
        return false;
    }
    database->checked = now;
    if (presence == STORE_ABSENT) {
        watch_lost(changes, database->name, "this database has no schema pgsluice");
        quarantine_put(changes, database->name, NULL);
        database->state = DATABASE_ABSENT;
        database->due = now + changes->absent_every;
        link_close(&database->link); /* we keep no connection where there is nothing to do */
        return false;
    }
    if (!changes->in_force->online.allow_superuser && is_superuser(&database->link)) {
        refuse(changes, database);
        return true;
    }
    if (database->state == DATABASE_DOWN)
        log_info("online changes in database %s go on", database->name);
    database->state = DATABASE_GOOD;
    return true;
}

static void count(struct database *database, const struct change_rows *rows)
{
    database->unfinished = database->stuck = 0;
    for (size_t i = 0; i < rows->n; i++) {
        database->unfinished += !state_finished(rows->items[i].state);
        database->stuck += rows->items[i].state == STATE_STUCK;
    }
}

/* Whatever is worked on shows that somebody can: this proxy again, or another one. */
static void see_workers(struct database *database, const struct change_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        if (!state_finished(rows->items[i].state) && !rows->items[i].free)
            database->shut_since = 0;
    if (database->unfinished == 0)
        database->shut_since = 0;
}

void database_look(struct changes *changes, struct database *database)
{
    static _Thread_local int64_t ids[WATCHED_MOST];
    if (!enter(changes, database) || !check_schema(changes, database))
        return;
    size_t n = watch_ids(changes, database->name, ids, WATCHED_MOST);
    struct change_rows *rows = store_read(NULL, &database->link, ids, n);
    if (!rows) {
        /* the schema may have been dropped: the next look will see that */
        database->checked = 0;
        down(changes, database);
        return;
    }
    quarantine_put(changes, database->name, rows); /* before anybody is told that it is complete */
    count(database, rows);
    see_workers(database, rows);
    watch_feed(changes, database, rows);
    if (database->state == DATABASE_GOOD) {
        jobs_follow(changes, database, rows);
        jobs_describe(changes, database);
    }
    database->due = clock_seconds() + (n ? watched_every : look_every);
    if (database->state == DATABASE_REFUSED)
        database->due = clock_seconds() + refused_every; /* somebody may wait for a reason */
    talloc_free(rows);
}

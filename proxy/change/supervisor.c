/*
 * The supervisor: a thread that knows the databases with a schema pgsluice, looks at their unfinished
 * changes, has them worked on, and tells who waits. It writes nothing down: what it knows it can read again.
 *
 * Its waits are bounded (CONNECT_SECONDS for a connection, LOOK_TIME for a statement), so that a database
 * that doesn't answer delays the others, and never for long.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy/change/change_inside.h"
#include "proxy/observe/log.h"

static const double discover_every = 30;

/* ---- from other threads -------------------------------------------------------------------------------- */

void changes_wake(struct changes *changes)
{
    uint64_t one = 1;
    if (write(changes->wake, &one, sizeof one) < 0)
        errno = 0; /* it is awake */
}

bool changes_stopping(void *changes)
{
    return atomic_load(&((struct changes *)changes)->stopping);
}

static void wish(struct changes *changes, const char *database, int64_t id, const char *role)
{
    struct wish *new = calloc(1, sizeof *new);
    if (!new || !(new->database = strdup(database)) || !(new->role = strdup(role))) {
        if (new)
            free(new->database);
        free(new);
        return; /* it is seen within a second in any case */
    }
    new->id = id;
    new->until = clock_seconds() + 600;
    pthread_mutex_lock(&changes->mutex);
    new->next = changes->wishes;
    changes->wishes = new;
    pthread_mutex_unlock(&changes->mutex);
    changes_wake(changes);
}

void changes_tell(struct changes *changes, const char *database)
{
    wish(changes, database, 0, "");
}

void changes_cancel(struct changes *changes, const char *database, const char *role, int64_t id)
{
    wish(changes, database, id, role);
}

void changes_latency(struct changes *changes, double milliseconds)
{
    latency_add(&changes->latency, milliseconds);
}

void changes_reload(struct changes *changes, struct conf *conf)
{
    pthread_mutex_lock(&changes->mutex);
    conf_unref(changes->conf);
    changes->conf = conf_ref(conf);
    changes->reloaded = true;
    pthread_mutex_unlock(&changes->mutex);
    changes_wake(changes);
}

/* ---- the databases ------------------------------------------------------------------------------------- */

static struct database *find_database(struct changes *changes, const char *name)
{
    struct database *database = changes->databases;
    while (database && strcmp(database->name, name) != 0)
        database = database->next;
    return database;
}

static struct database *add_database(struct changes *changes, const char *name)
{
    struct database *database = find_database(changes, name);
    if (database)
        return database;
    database = calloc(1, sizeof *database);
    if (!database || !(database->name = strdup(name))) {
        free(database);
        return NULL;
    }
    database->link.wake = -1;
    database->due = clock_seconds();
    database->next = changes->databases;
    changes->databases = database;
    return database;
}

/* Every database of the server that we may enter. The new ones are looked at one by one, at once: there may
 * be work in them. Those without the schema are then looked at again, at most one a second. */
static void discover(struct changes *changes)
{
    struct link link = {.wake = -1, .deadline = 5000, .interrupt = changes_stopping, .argument = changes};
    changes->discover = clock_seconds() + discover_every;
    if (!changes->in_force->online.maintenance)
        return;
    PGresult *result = NULL;
    if (link_open(&link, changes->in_force->online.maintenance, NULL, "pgsluice supervisor"))
        result = link_exec(&link, "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate "
                                  "AND has_database_privilege(oid, 'CONNECT') ORDER BY 1");
    if (!result && !changes->warned)
        log_error(
            "online changes: the login of online.maintenance can't list the databases, so none is looked "
            "after: %s",
            link.failed.message);
    if (result && changes->warned)
        log_info("online changes: the databases can be listed again");
    changes->warned = !result;
    if (!result)
        changes->discover = clock_seconds() + 3;
    int n = PQntuples(result);
    for (struct database *database = changes->databases; database; database = database->next)
        database->listed = !result;
    for (int i = 0; i < n; i++) {
        struct database *database = add_database(changes, link_value(result, i, 0));
        if (!database)
            break;
        database->listed = true;
    }
    changes->absent_every = n > (int)discover_every ? n : discover_every;
    PQclear(result);
    link_close(&link);
}

static void forget_databases(struct changes *changes)
{
    while (changes->databases) {
        struct database *database = changes->databases;
        changes->databases = database->next;
        database_close(database);
        free(database->resting);
        free(database->name);
        free(database);
    }
}

/* ---- wishes -------------------------------------------------------------------------------------------- */

/* True: it is done, or can't be. */
static bool grant(struct changes *changes, struct wish *wish)
{
    struct database *database = add_database(changes, wish->database);
    if (!database || clock_seconds() > wish->until)
        return true;
    if (database->state != DATABASE_DOWN)
        database->due = 0;
    if (!wish->id)
        return true;
    if (database->state == DATABASE_ABSENT)
        return database->checked > 0 && !database->login;
    return !database->login && database->link.pg && store_want_cancel(&database->link, wish->id, wish->role);
}

static void grant_wishes(struct changes *changes)
{
    pthread_mutex_lock(&changes->mutex);
    struct wish *wishes = changes->wishes;
    changes->wishes = NULL;
    pthread_mutex_unlock(&changes->mutex);
    while (wishes) {
        struct wish *wish = wishes;
        wishes = wish->next;
        if (grant(changes, wish)) {
            free(wish->database);
            free(wish->role);
            free(wish);
            continue;
        }
        pthread_mutex_lock(&changes->mutex);
        wish->next = changes->wishes;
        changes->wishes = wish;
        pthread_mutex_unlock(&changes->mutex);
    }
}

/* ---- figures ------------------------------------------------------------------------------------------- */

static void set(struct changes *changes, enum metric metric, uint64_t value)
{
    atomic_store_explicit(&changes->metrics->value[metric], value, memory_order_relaxed);
}

static void publish(struct changes *changes)
{
    size_t unfinished = 0, stuck = 0;
    if (!changes->metrics)
        return;
    for (const struct database *database = changes->databases; database; database = database->next) {
        unfinished += database->unfinished;
        stuck += database->stuck;
    }
    set(changes, METRIC_changes_unfinished, unfinished);
    set(changes, METRIC_changes_stuck, stuck);
    set(changes, METRIC_change_rows_total, atomic_load(&changes->rows_filled));
    set(changes, METRIC_change_pause_seconds_total, atomic_load(&changes->paused_ms) * 1000000);
    set(changes, METRIC_change_locks_total, atomic_load(&changes->locks_tried));
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Another login, or none, means other databases: what is being done is let go, and found again. */
static void follow_conf(struct changes *changes)
{
    pthread_mutex_lock(&changes->mutex);
    bool reloaded = changes->reloaded;
    struct conf *conf = reloaded ? conf_ref(changes->conf) : NULL;
    changes->reloaded = false;
    pthread_mutex_unlock(&changes->mutex);
    if (!reloaded)
        return;
    bool another = !changes->in_force ||
                   !same_text(changes->in_force->online.maintenance, conf->online.maintenance) ||
                   changes->in_force->online.allow_superuser != conf->online.allow_superuser;
    conf_unref(changes->in_force);
    changes->in_force = conf;
    if (!another)
        return;
    for (struct job *job = changes->jobs; job; job = job->next)
        atomic_store(&job->leave, true);
    forget_databases(changes);
    changes->discover = 0;
    changes->warned = changes->refused = false;
}

static double earlier(double a, double b)
{
    return a < b ? a : b;
}

/* Databases without the schema have their logins one at a time, and wait for those that somebody asks for. */
static double look_at_all(struct changes *changes)
{
    double next = changes->discover;
    if (!changes->in_force->online.maintenance) {
        watch_lost(changes, NULL, "online.maintenance is not set, so nobody carries it out");
        return clock_seconds() + 60;
    }
    struct database *absent = NULL;
    bool busy = false;
    for (struct database *database = changes->databases; database; database = database->next) {
        if (atomic_load(&changes->stopping))
            break;
        bool wanted = database->state != DATABASE_ABSENT || database->due <= 0;
        bool due = database->due <= clock_seconds();
        if ((due && wanted) || login_is_over(database))
            database_look(changes, database);
        else if (due && database->listed && (!absent || database->due < absent->due))
            absent = database;
        busy |= database->login && database->state == DATABASE_ABSENT;
        double tell = database_tell(changes, database);
        if (wanted || (database->listed && !due))
            next = earlier(next, earlier(tell, database->due));
    }
    if (absent && !busy)
        database_look(changes, absent); /* else the login's end wakes us */
    return next;
}

static void *supervise(void *argument)
{
    struct changes *changes = argument;
    while (!atomic_load(&changes->stopping)) {
        follow_conf(changes);
        if (changes->in_force->online.maintenance && changes->discover <= clock_seconds())
            discover(changes);
        grant_wishes(changes);
        jobs_reap(changes, false);
        double next = look_at_all(changes);
        publish(changes);
        double wait = (next - clock_seconds()) * 1000;
        struct pollfd fd = {.fd = changes->wake, .events = POLLIN};
        uint64_t count;
        if (poll(&fd, 1, wait > 0 ? (int)wait + 1 : 0) > 0 && read(changes->wake, &count, sizeof count) < 0)
            errno = 0;
    }
    jobs_reap(changes, true);
    forget_databases(changes);
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void changes_free(struct changes *changes)
{
    while (changes->wishes) {
        struct wish *wish = changes->wishes;
        changes->wishes = wish->next;
        free(wish->database);
        free(wish->role);
        free(wish);
    }
    watches_free(changes);
    quarantine_free(changes);
    if (changes->wake >= 0)
        close(changes->wake);
    conf_unref(changes->conf);
    if (changes->in_force)
        conf_unref(changes->in_force);
    free(changes);
}

struct changes *changes_start(struct conf *conf)
{
    struct changes *changes = calloc(1, sizeof *changes);
    pthread_mutexattr_t recursive;
    if (!changes)
        return NULL;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&changes->watching, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_mutex_init(&changes->mutex, NULL);
    pthread_mutex_init(&changes->quarantining, NULL);
    changes->metrics = aligned_alloc(_Alignof(struct metrics), sizeof *changes->metrics);
    if (changes->metrics) {
        memset(changes->metrics, 0, sizeof *changes->metrics);
        metrics_register(changes->metrics); /* on the list until the process ends */
    }
    changes->conf = conf_ref(conf);
    changes->reloaded = true;
    changes->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int failed = changes->wake < 0 ? errno : pthread_create(&changes->thread, NULL, supervise, changes);
    if (failed) {
        changes_free(changes);
        errno = failed;
        return NULL;
    }
    return changes;
}

void changes_stop(struct changes *changes)
{
    if (!changes)
        return;
    atomic_store(&changes->stopping, true);
    changes_wake(changes);
    pthread_join(changes->thread, NULL);
    changes_free(changes);
}

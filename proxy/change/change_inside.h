/*
 * What the supervisor's files share. Private to this room.
 *
 * Threads: the supervisor owns the databases and the list of jobs; each job has a thread of its own, which
 * touches nothing of another one. Sessions come through change.h: watches, wishes and the quarantine have a
 * mutex each, held for the time of a copy or a callback only.
 */
#ifndef PGSLUICE_PROXY_CHANGE_INSIDE_H
#define PGSLUICE_PROXY_CHANGE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "proxy/change/change.h"
#include "proxy/change/latency.h"
#include "proxy/change/link.h"
#include "proxy/change/store.h"
#include "proxy/observe/metrics.h"

/* One change that is being worked on. The supervisor makes it and frees it; its thread runs worker_run(). */
struct job {
    struct changes *changes;
    struct conf *conf;
    char *database;
    int64_t id;
    uint32_t relation, owner;
    pthread_t thread;
    int wake;
    atomic_bool leave;  /* let go of it at the next checkpoint */
    _Atomic int wanted; /* enum change_wanted, as the row said last */
    atomic_bool over;   /* the thread is about to end: join it */
    bool shut_out;      /* it could not log in; set before `over`, like `why` */
    char why[FAILURE_TEXT];
    _Atomic double rest;       /* seconds before the next attempt; set before `over` */
    _Atomic int backend;       /* the server's process; 0: none */
    _Atomic double busy_since; /* of one statement that may take long; 0: none */
    pthread_mutex_t mutex;     /* for `notice` */
    char notice[FAILURE_TEXT]; /* what the server said last while it waited for a lock */
    struct job *next;
};

void *worker_run(void *argument); /* a struct job */

/* A change that is not to be tried before some time, and how it went so far. */
struct resting {
    int64_t id;
    double until;
};

enum database_state { DATABASE_NEW, DATABASE_ABSENT, DATABASE_GOOD, DATABASE_DOWN, DATABASE_REFUSED };

struct database {
    char *name;
    enum database_state state;
    struct link link;
    struct login *login; /* a thread that opens `link`; nobody else touches that meanwhile */
    double due, checked; /* when to look, 0: somebody asks for it; when the schema was last looked for */
    bool listed;         /* by the server, at the last round */
    double down_since, delay;
    char why[FAILURE_TEXT]; /* DOWN, REFUSED */
    double shut_since;      /* since then no worker could log in, though we are; 0: they can */
    char shut_why[FAILURE_TEXT];
    size_t unfinished, stuck; /* changes, at the last look */
    struct resting *resting;
    size_t n_resting;
    double holders_at; /* when to look for foreign holders of our leases */
    struct database *next;
};

struct wish {
    char *database, *role;
    int64_t id; /* 0: only look at it */
    double until;
    struct wish *next;
};

struct changes {
    pthread_t thread;
    int wake;
    atomic_bool stopping;

    pthread_mutex_t mutex; /* for conf, reloaded, wishes */
    struct conf *conf;
    bool reloaded;
    struct wish *wishes;

    pthread_mutex_t watching; /* recursive; held while callbacks run */
    struct change_watch *watches;

    pthread_mutex_t quarantining;
    struct quarantine_list *quarantine;
    _Atomic size_t quarantined;
    _Atomic uint64_t generation; /* of the lists */

    struct latency latency;
    struct metrics *metrics; /* lives until the process ends; only the supervisor writes it */
    _Atomic uint64_t rows_filled, locks_tried, paused_ms; /* by workers */

    /* the supervisor's own */
    struct conf *in_force;
    struct database *databases;
    struct job *jobs;
    double discover;     /* when to list the databases */
    double absent_every; /* seconds between two looks at one without the schema */
    bool warned;         /* that the list of databases can't be had */
    bool refused;        /* a superuser, and that was said */
};

void changes_wake(struct changes *);
bool changes_stopping(void *changes); /* an interrupt of the supervisor's links */

/* supervisor_look.c: one look at one database. */
void database_look(struct changes *, struct database *);

/*
 * supervisor_login.c: opens the link of a database, in a thread of its own: one that lets nobody in, or takes
 * seconds for it, delays none of the others. A login wakes the supervisor when it has ended.
 */
enum login_state { LOGIN_NONE, LOGIN_RUNS, LOGIN_FAILED, LOGIN_GOOD };
bool login_start(struct changes *, struct database *); /* false: no thread could be made */
enum login_state login_ended(struct database *);       /* collects one that has ended */
bool login_is_over(const struct database *);           /* there is something to collect */
void database_close(struct database *);                /* waits for its login, which it tells to stop */
double database_tell(struct changes *,
                     const struct database *); /* who waits, when nobody can work; when next */

/* supervisor_jobs.c */
void jobs_follow(struct changes *, struct database *, const struct change_rows *);
void jobs_reap(struct changes *, bool all);
void jobs_describe(struct changes *, struct database *);

/* watch.c */
size_t watch_ids(struct changes *, const char *database, int64_t *ids, size_t most);
void watch_feed(struct changes *, const struct database *, const struct change_rows *);
void watch_lost(struct changes *, const char *database, const char *why); /* NULL: of all databases */
/* Nobody can work in this database, since then: tells those who wait, again and again, and at last gives up.
 * When it wants to be called again. */
double watch_nobody(struct changes *, const char *database, double since, const char *why);
void watches_free(struct changes *);

/* quarantine.c */
void quarantine_put(struct changes *, const char *database, const struct change_rows *);
void quarantine_free(struct changes *);

/* progress.c: what a person is told of a row. */
char *progress_text(const void *parent, const struct change_row *);

#endif

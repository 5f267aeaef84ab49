/*
 * Online changes, as sessions and commands see them. `struct changes` is made once a process; its functions
 * may be called on any thread. Callbacks come on a thread of its own: post to your loop.
 *
 * What a database says is the truth: a change that is not visible there was never committed.
 */
#ifndef PGSLUICE_PROXY_CHANGE_CHANGE_H
#define PGSLUICE_PROXY_CHANGE_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

#define CHANGE_SCHEMA_VERSION                                                                                \
    1 /* of pgsluice.meta; begin_change() checks nothing, the catalog question does */

struct changes;
struct metrics;
struct screen;

/* Starts the supervisor, which looks for unfinished changes in all databases. NULL: errno. With no
 * online.maintenance it idles. Keeps its own reference of conf. */
struct changes *changes_start(struct conf *);
void changes_reload(struct changes *, struct conf *);
/* Lets go of every lease at the next checkpoint (another proxy, or the next start, continues) and joins the
 * threads. */
void changes_stop(struct changes *);

/* ---- a session's wait ---------------------------------------------------------------------------------- */

enum change_news_kind {
    CHANGE_PROGRESS, /* `text` for a NOTICE */
    CHANGE_COMPLETE,
    CHANGE_UNDONE, /* `text`, `detail`, `hint`, `sqlstate` of the cause */
    CHANGE_UNSEEN, /* no such row: its transaction did not commit */
    CHANGE_UNKNOWN /* the database can't be asked any more; `text` says why */
};

struct change_news {
    enum change_news_kind kind;
    const char *text, *detail, *hint; /* valid during the callback; UTF-8; or NULL */
    char sqlstate[6];
};

struct change_watch;
typedef void change_news_call(void *argument, const struct change_news *);

/* A change of this database has been committed, as far as the caller knows: the supervisor looks at once, and
 * tells what becomes of it; one that another role (session_user) asked for counts as not there: a client can
 * name any number; after any news but PROGRESS there is none any more. NULL: out of memory. */
struct change_watch *changes_watch(struct changes *, const char *database, const char *role, int64_t id,
                                   change_news_call *, void *argument);
/* No callback runs or will run when it returns. */
void changes_unwatch(struct changes *, struct change_watch *);
/* Whoever waited is gone and online.on_disconnect says undo. */
void changes_cancel(struct changes *, const char *database, const char *role, int64_t id);
/* A statement of ours went by in this database: make sure that it is looked at. */
void changes_tell(struct changes *, const char *database);

/* ---- quarantine ---------------------------------------------------------------------------------------- */

/* A column that isn't complete. */
struct change_column {
    const char *schema, *table, *column;
    uint32_t relation; /* oid */
    int64_t change;
    enum quarantine quarantine;
};

/* The columns of one database at one time: immutable, reference counted, for any thread. */
struct change_columns {
    _Atomic unsigned references;
    const struct change_column *items;
    size_t n;
    const struct screen *screen; /* made of them: screen.h */
};

/* Is any column in quarantine anywhere? One relaxed atomic load: for the hot path. */
bool changes_any(const struct changes *);
/* Grows whenever a list has become another: what was fetched under an older number may be old. One atomic
 * load. */
uint64_t changes_generation(const struct changes *);
/* A reference of one database's list; NULL: none. */
struct change_columns *changes_columns(struct changes *, const char *database);
struct change_columns *change_columns_hold(struct change_columns *);
void change_columns_release(struct change_columns *); /* NULL is fine */

/* ---- the application's latency, for the throttle --------------------------------------------------------
 */

/* Any loop, for each request while changes_any(), for a sample of them else: milliseconds from a client's
 * message to the ReadyForQuery. */
void changes_latency(struct changes *, double milliseconds);

#endif

/*
 * A session that waits for its online changes: the engine holds the answer (engine_online.h), the supervisor
 * tells what becomes of them (change.h), people end the wait by a cancel, by going away, or by a limit.
 *
 * News come on a foreign thread; each is copied and posted to the session's loop. A `waiting` is shared by
 * the session and the news under way: whoever lets go last frees it. Those that wait stand in one list of the
 * process, so that a CancelRequest, which may come in on any loop, finds them by their key.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>
#include <uthash.h>

#include "parser/facts.h"
#include "proxy/change/change.h"
#include "proxy/change/screen.h"
#include "proxy/observe/log.h"
#include "proxy/session/engine_online.h"
#include "proxy/session/session_inside.h"

struct waiting;

/* One change that is waited for. */
struct awaited {
    struct waiting *waiting;
    struct change_watch *watch; /* NULL: over */
    int64_t id;
};

struct waiting {
    _Atomic unsigned references;
    struct waiting *next, *previous; /* of all that wait; behind the mutex */
    struct loop *loop;
    struct session *session; /* NULL: it has let go; its loop's only */
    double since;
    size_t n, left;
    uint8_t *key;
    size_t key_length;
    struct report *error; /* talloc; of the first change that failed */
    struct awaited awaited[];
};

struct posted {
    struct loop_task task;
    struct waiting *waiting;
    struct awaited *about; /* NULL: a cancel */
    enum change_news_kind kind;
    char sqlstate[6];
    char *text, *detail, *hint;
};

static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct waiting *all;

static void waiting_release(struct waiting *waiting)
{
    if (atomic_fetch_sub(&waiting->references, 1) > 1)
        return;
    talloc_free(waiting->error);
    free(waiting->key);
    free(waiting);
}

static void posted_free(struct posted *posted)
{
    waiting_release(posted->waiting);
    free(posted->text);
    free(posted->detail);
    free(posted->hint);
    free(posted);
}

/* ---- the end of a wait ------------------------------------------------------------------------------- */

static void unlist(struct waiting *waiting)
{
    pthread_mutex_lock(&all_mutex);
    if (waiting->next)
        waiting->next->previous = waiting->previous;
    if (waiting->previous)
        waiting->previous->next = waiting->next;
    else
        all = waiting->next;
    pthread_mutex_unlock(&all_mutex);
}

static void let_go(struct session *session)
{
    struct waiting *waiting = session->waiting;
    struct changes *changes = session->room->shared->changes;
    session->waiting = NULL;
    waiting->session = NULL;
    unlist(waiting);
    for (size_t i = 0; i < waiting->n; i++)
        if (waiting->awaited[i].watch)
            changes_unwatch(changes, waiting->awaited[i].watch);
    waiting_release(waiting);
}

static const char *numbers(const void *memory, const struct waiting *waiting)
{
    char *text = talloc_asprintf(memory, "%lld", (long long)waiting->awaited[0].id);
    for (size_t i = 1; text && i < waiting->n; i++)
        text = talloc_asprintf_append(text, ", %lld", (long long)waiting->awaited[i].id);
    return text ? text : "?";
}

/* In the client's encoding. */
static const char *in_encoding(const void *memory, const struct session *session, const char *utf8)
{
    const char *encoding = engine_client_encoding(session->engine);
    return utf8 && *utf8 ? text_from_utf8(memory, utf8, *encoding ? encoding : "UTF8") : NULL;
}

static void say(struct session *session, const char *severity, const char *sqlstate, const char *message,
                const char *detail, const char *hint)
{
    void *memory = talloc_new(NULL);
    struct report report = {.severity = severity,
                            .message = in_encoding(memory, session, message),
                            .detail = in_encoding(memory, session, detail),
                            .hint = in_encoding(memory, session, hint)};
    snprintf(report.sqlstate, sizeof report.sqlstate, "%s", sqlstate);
    if (report.message)
        relay_report(session, &report);
    talloc_free(memory);
}

/* The client gets its answer: the success, or this error. */
static void over(struct session *session, const struct report *error)
{
    if (session->waiting)
        let_go(session);
    if (session->engine)
        engine_changes_over(session->engine, error);
}

/* session_user, as the server says it. */
static const char *asker(const struct session *session)
{
    const char *role = engine_session_authorization(session->engine);
    return *role ? role : session->user;
}

static void cancel_all(struct session *session)
{
    const struct waiting *waiting = session->waiting;
    for (size_t i = 0; i < waiting->n; i++)
        changes_cancel(session->room->shared->changes, session->database, asker(session),
                       waiting->awaited[i].id);
}

static const char *what_goes_on(const void *memory, const struct session *session)
{
    const char *which = numbers(memory, session->waiting);
    if (session->room->conf->online.on_disconnect == DISCONNECT_UNDO)
        return talloc_asprintf(memory, "Change %s is being undone; follow it with: pgsluice changes show %s",
                               which, which);
    return talloc_asprintf(
        memory,
        "Change %s goes on in the background. To follow it: pgsluice changes show %s; to take it "
        "back: pgsluice changes cancel %s",
        which, which, which);
}

/* ---- news -------------------------------------------------------------------------------------------- */

static void keep_error(struct session *session, const struct posted *posted)
{
    struct waiting *waiting = session->waiting;
    if (waiting->error)
        return;
    struct report *report = talloc_zero(NULL, struct report);
    if (!report)
        return;
    bool undone = posted->kind == CHANGE_UNDONE;
    const char *text = posted->text ? posted->text : "no reason was given";
    char *message = talloc_asprintf(report,
                                    undone ? "the online change was undone: %s"
                                           : "what became of the online change is not known: %s",
                                    text);
    char *detail =
        talloc_asprintf(report, "%s%sChange %lld. %s", posted->detail ? posted->detail : "",
                        posted->detail ? " " : "", (long long)posted->about->id,
                        undone ? "The table is as it was; what else its transaction did stays committed."
                               : "It is on record, and goes on as soon as a worker reaches the database.");
    report->severity = "ERROR";
    snprintf(report->sqlstate, sizeof report->sqlstate, "%s", undone ? "SL003" : "SL900");
    report->message = in_encoding(report, session, message);
    report->detail = in_encoding(report, session, detail);
    report->hint = in_encoding(report, session, posted->hint);
    waiting->error = report;
}

static void on_record(const struct session *session, int64_t change, const char *state, const char *sqlstate,
                      const char *message)
{
    const struct audit_change record = {.session = session->number,
                                        .database = session->database,
                                        .change = change,
                                        .state = state,
                                        .sqlstate = sqlstate,
                                        .message = message};
    if (session->room->shared->audit)
        audit_change(session->room->shared->audit, &record);
}

/* Those that nobody waits for any more. */
static void left_on_record(const struct session *session, const char *sqlstate)
{
    const struct waiting *waiting = session->waiting;
    for (size_t i = 0; i < waiting->n; i++)
        if (waiting->awaited[i].watch)
            on_record(session, waiting->awaited[i].id, "left", sqlstate, NULL);
}

static void one_is_over(struct session *session, const struct posted *posted)
{
    struct waiting *waiting = session->waiting;
    static const char *const states[] = {
        [CHANGE_COMPLETE] = "complete", [CHANGE_UNDONE] = "undone", [CHANGE_UNKNOWN] = "unknown"};
    posted->about->watch = NULL; /* it frees itself with its last news */
    if (posted->kind != CHANGE_UNSEEN)
        on_record(session, posted->about->id, states[posted->kind],
                  posted->sqlstate[0] ? posted->sqlstate : NULL, posted->text);
    if (posted->kind == CHANGE_UNDONE || posted->kind == CHANGE_UNKNOWN)
        keep_error(session, posted);
    if (--waiting->left > 0)
        return;
    struct report *error = waiting->error;
    waiting->error = NULL;
    over(session, error);
    talloc_free(error);
}

static void cancelled(struct session *session)
{
    void *memory = talloc_new(NULL);
    struct report report = {.severity = "ERROR",
                            .sqlstate = "57014",
                            .message = "canceling statement due to user request",
                            .detail = what_goes_on(memory, session)};
    left_on_record(session, "57014");
    if (session->room->conf->online.on_disconnect == DISCONNECT_UNDO)
        cancel_all(session);
    over(session, &report);
    talloc_free(memory);
}

static void take_news(struct loop_task *task)
{
    struct posted *posted = (struct posted *)task;
    struct session *session = posted->waiting->session;
    if (session && !posted->about)
        cancelled(session);
    else if (session && posted->kind == CHANGE_PROGRESS)
        say(session, "NOTICE", "SL101", posted->text, posted->detail, posted->hint);
    else if (session)
        one_is_over(session, posted);
    posted_free(posted);
    if (session)
        session_settle(session);
}

static struct posted *posted_new(struct waiting *waiting)
{
    struct posted *posted = calloc(1, sizeof *posted);
    if (!posted)
        return NULL;
    atomic_fetch_add(&waiting->references, 1);
    posted->waiting = waiting;
    posted->task.run = take_news;
    return posted;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

/* On the supervisor's thread. */
static void on_news(void *argument, const struct change_news *news)
{
    struct awaited *about = argument;
    struct posted *posted = posted_new(about->waiting);
    if (!posted)
        return; /* the limit, or a cancel, ends the wait */
    posted->about = about;
    posted->kind = news->kind;
    memcpy(posted->sqlstate, news->sqlstate, sizeof posted->sqlstate);
    posted->text = copy(news->text);
    posted->detail = copy(news->detail);
    posted->hint = copy(news->hint);
    loop_post(about->waiting->loop, &posted->task);
}

/* ---- the beginning ----------------------------------------------------------------------------------- */

static struct waiting *waiting_new(struct session *session, const struct engine_changes *event)
{
    struct waiting *waiting = calloc(1, sizeof *waiting + event->n * sizeof waiting->awaited[0]);
    if (!waiting)
        return NULL;
    atomic_init(&waiting->references, 1);
    waiting->loop = session->room->loop;
    waiting->session = session;
    waiting->since = loop_now(session->room->loop);
    waiting->n = waiting->left = event->n;
    const uint8_t *key = engine_cancel_key(session->engine, &waiting->key_length);
    waiting->key = key ? malloc(waiting->key_length) : NULL;
    if (waiting->key)
        memcpy(waiting->key, key, waiting->key_length);
    pthread_mutex_lock(&all_mutex);
    waiting->next = all;
    if (all)
        all->previous = waiting;
    all = waiting;
    pthread_mutex_unlock(&all_mutex);
    return waiting;
}

static void go_on_alone(struct session *session, const struct engine_changes *event)
{
    char message[128];
    snprintf(message, sizeof message, "online change %lld goes on in the background",
             (long long)event->ids[0]);
    changes_tell(session->room->shared->changes, session->database);
    say(session, "NOTICE", "SL101", message, "The column is there and isn't complete yet.",
        "To follow it: pgsluice changes, or SELECT * FROM pgsluice.progress.");
    engine_changes_over(session->engine, NULL);
}

void session_changes_begin(struct session *session, const struct engine_changes *event)
{
    struct changes *changes = session->room->shared->changes;
    if (!changes || session->room->conf->online.wait == WAIT_ADDED) {
        go_on_alone(session, event);
        return;
    }
    session->waiting = waiting_new(session, event);
    for (size_t i = 0; session->waiting && i < event->n; i++) {
        struct awaited *one = &session->waiting->awaited[i];
        one->waiting = session->waiting;
        one->id = event->ids[i];
        one->watch = changes_watch(changes, session->database, asker(session), one->id, on_news, one);
        if (!one->watch)
            session->waiting->left--;
    }
    if (!session->waiting || session->waiting->left == 0) {
        log_error("session %llu: out of memory: it does not wait for its online change",
                  (unsigned long long)session->number);
        say(session, "WARNING", "53200", "out of memory: the online change goes on in the background", NULL,
            NULL);
        over(session, NULL);
    }
}

/* ---- limits and ends --------------------------------------------------------------------------------- */

void session_changes_tick(struct session *session, double now)
{
    const struct conf_online *online = &session->room->conf->online;
    if (!session->waiting)
        return;
    session->active = now;
    bool late = online->wait_limit > 0 && now - session->waiting->since >= (double)online->wait_limit / 1000;
    if (!late && !session->room->draining)
        return;
    void *memory = talloc_new(NULL);
    const char *which = numbers(memory, session->waiting);
    char *hint = talloc_asprintf(memory, "To follow it: pgsluice changes show %s", which);
    left_on_record(session, late ? NULL : "57P01");
    if (late) {
        say(session, "WARNING", "SL101", "the online change isn't complete yet, and is no longer waited for",
            "It goes on in the background; the column is there and isn't complete yet.", hint);
        over(session, NULL);
    } else { /* nobody may take this for done */
        const struct report report = {
            .severity = "ERROR",
            .sqlstate = "57P01",
            .message = "this proxy is being shut down, and the online change isn't complete yet",
            .detail =
                "Its transaction is committed, and it goes on in the background: another proxy, or the next "
                "start of this one, carries it out.",
            .hint = hint};
        over(session, &report);
    }
    talloc_free(memory);
}

void session_changes_gone(struct session *session, bool client)
{
    if (!session->waiting)
        return;
    left_on_record(session, "08006");
    if (client && session->room->conf->online.on_disconnect == DISCONNECT_UNDO)
        cancel_all(session);
    over(session, NULL);
}

bool session_changes_cancel(const uint8_t *key, size_t length)
{
    bool found = false;
    pthread_mutex_lock(&all_mutex);
    for (struct waiting *waiting = all; waiting && !found; waiting = waiting->next) {
        struct posted *posted;
        found = waiting->key && waiting->key_length == length && memcmp(waiting->key, key, length) == 0;
        if (found && (posted = posted_new(waiting)) != NULL)
            loop_post(waiting->loop, &posted->task);
    }
    pthread_mutex_unlock(&all_mutex);
    return found;
}

/* ---- columns that aren't complete -------------------------------------------------------------------- */

/* One database's list, as it was last fetched. */
struct known {
    UT_hash_handle hh;
    struct change_columns *columns; /* a reference; NULL: none */
    char database[];
};

struct room_quarantine {
    uint64_t generation; /* of all of them */
    struct known *known; /* by database */
};

void session_room_release(struct session_room *room)
{
    struct known *known, *next;
    if (!room->quarantine)
        return;
    HASH_ITER(hh, room->quarantine->known, known, next)
    {
        HASH_DEL(room->quarantine->known,
                 known); // NOLINT(clang-analyzer-unix.Malloc): HASH_ITER has the next
        change_columns_release(known->columns);
        free(known);
    }
    free(room->quarantine);
    room->quarantine = NULL;
}

bool session_online(const struct session *session)
{
    return session->room->shared->changes && session->room->conf->online.maintenance;
}

static struct known *known_new(struct session_room *room, const char *database)
{
    size_t length = strlen(database);
    struct known *known = calloc(1, sizeof *known + length + 1);
    if (!known)
        return NULL;
    memcpy(known->database, database, length);
    known->columns = changes_columns(room->shared->changes, database);
    HASH_ADD_STR(room->quarantine->known, database, known);
    return known;
}

/* Of the session's database; the room's reference, until the next call. NULL: none, or no memory. */
static struct change_columns *columns_of(const struct session *session)
{
    struct session_room *room = session->room;
    uint64_t generation = changes_generation(room->shared->changes);
    if (room->quarantine && room->quarantine->generation != generation)
        session_room_release(room);
    if (!room->quarantine && !(room->quarantine = calloc(1, sizeof *room->quarantine)))
        return NULL;
    room->quarantine->generation = generation;
    struct known *known;
    HASH_FIND_STR(room->quarantine->known, session->database, known);
    if (!known)
        known = known_new(room, session->database);
    return known ? known->columns : NULL;
}

bool session_screen(void *argument, const char *sql, size_t length)
{
    struct session *session = argument;
    const struct changes *changes = session->room->shared->changes;
    if (!changes || !changes_any(changes))
        return false;
    const struct change_columns *columns = columns_of(session);
    const char *encoding = engine_client_encoding(session->engine);
    bool utf8 = !*encoding || strcasecmp(encoding, "UTF8") == 0 || strcasecmp(encoding, "UNICODE") == 0;
    return columns && screen_holds(columns->screen, sql, length, utf8);
}

struct change_columns *session_quarantine(struct session *session)
{
    struct change_columns *columns = session->room->shared->changes ? columns_of(session) : NULL;
    return columns ? change_columns_hold(columns) : NULL;
}

/*
 * Sessions that wait for what becomes of a change. Callbacks run on the supervisor's thread with `watching`
 * held: who unwatches waits for the one that runs, and none comes after.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/change_inside.h"

static const double progress_every = 5, nobody_every = 10, lost_after = 60, far = 3600;

struct change_watch {
    char *database, *role;
    int64_t id;
    change_news_call *call;
    void *argument;
    bool asked; /* a look has asked for its row */
    bool over;  /* the last news was told */
    double began, progress;
    struct change_watch *next;
};

static void free_watch(struct change_watch *watch)
{
    free(watch->database);
    free(watch->role);
    free(watch);
}

struct change_watch *changes_watch(struct changes *changes, const char *database, const char *role,
                                   int64_t id, change_news_call *call, void *argument)
{
    struct change_watch *watch = calloc(1, sizeof *watch);
    if (!watch || !(watch->database = strdup(database)) || !(watch->role = strdup(role))) {
        if (watch)
            free_watch(watch);
        return NULL;
    }
    watch->id = id;
    watch->call = call;
    watch->argument = argument;
    watch->began = clock_seconds();
    watch->progress = watch->began + progress_every;
    pthread_mutex_lock(&changes->watching);
    watch->next = changes->watches;
    changes->watches = watch;
    pthread_mutex_unlock(&changes->watching);
    changes_tell(changes, database);
    return watch;
}

void changes_unwatch(struct changes *changes, struct change_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_lock(&changes->watching);
    for (struct change_watch **at = &changes->watches; *at; at = &(*at)->next)
        if (*at == watch) {
            *at = watch->next;
            break;
        }
    pthread_mutex_unlock(&changes->watching);
    free_watch(watch);
}

void watches_free(struct changes *changes)
{
    while (changes->watches) {
        struct change_watch *watch = changes->watches;
        changes->watches = watch->next;
        free_watch(watch);
    }
}

size_t watch_ids(struct changes *changes, const char *database, int64_t *ids, size_t most)
{
    size_t n = 0;
    pthread_mutex_lock(&changes->watching);
    for (struct change_watch *watch = changes->watches; watch && n < most; watch = watch->next)
        if (!watch->over && strcmp(watch->database, database) == 0) {
            watch->asked = true;
            ids[n++] = watch->id;
        }
    pthread_mutex_unlock(&changes->watching);
    return n;
}

static void tell(struct change_watch *watch, const struct change_news *news)
{
    watch->over = news->kind != CHANGE_PROGRESS;
    watch->call(watch->argument, news);
}

void watch_lost(struct changes *changes, const char *database, const char *why)
{
    struct change_news news = {.kind = CHANGE_UNKNOWN, .text = why};
    pthread_mutex_lock(&changes->watching);
    for (struct change_watch *watch = changes->watches, *next; watch; watch = next) {
        next = watch->next;
        if (!watch->over && (!database || strcmp(watch->database, database) == 0))
            tell(watch, &news);
    }
    pthread_mutex_unlock(&changes->watching);
}

/* Since when has this one waited for nothing? */
static double nobody(struct change_watch *watch, double since, const char *why)
{
    double now = clock_seconds(), until = (since > watch->began ? since : watch->began) + lost_after;
    if (now >= until) {
        tell(watch, &(struct change_news){.kind = CHANGE_UNKNOWN, .text = why});
        return now + far;
    }
    if (now >= watch->progress) {
        char text[2 * FAILURE_TEXT];
        watch->progress = now + nobody_every;
        snprintf(text, sizeof text,
                 "online change %" PRId64 ": nobody works on it: %s. It goes on when that is mended; "
                 "pgsluice changes cancel %" PRId64 " takes it back.",
                 watch->id, why, watch->id);
        tell(watch, &(struct change_news){.kind = CHANGE_PROGRESS, .text = text});
        return now + 1; /* the callback may have freed it */
    }
    return watch->progress < until ? watch->progress : until;
}

double watch_nobody(struct changes *changes, const char *database, double since, const char *why)
{
    double next = clock_seconds() + far;
    pthread_mutex_lock(&changes->watching);
    for (struct change_watch *watch = changes->watches, *behind; watch; watch = behind) {
        behind = watch->next;
        if (watch->over || strcmp(watch->database, database) != 0)
            continue;
        double at = nobody(watch, since, why);
        next = at < next ? at : next;
    }
    pthread_mutex_unlock(&changes->watching);
    return next;
}

/* What to do about a change that is undone; NULL: no memory. */
static const char *after_undone(const void *talloc_parent, const struct change_row *row)
{
    static const char *const of_rows[] = {"23505", "23514", "23503", "23502"};
    if (strcmp(row->error_code, "57014") == 0)
        return "Run the statement again when what it was cancelled for is over.";
    if (strcmp(row->error_code, "38000") == 0) /* give_up() in worker.c, or the function's own */
        return "Mend the function that it calls, then run the statement again; nothing of it is left.";
    for (size_t i = 0; i < sizeof of_rows / sizeof *of_rows; i++)
        if (strcmp(row->error_code, of_rows[i]) == 0)
            return row->n_columns == 0
                       ? "Correct those rows, then run the statement again; nothing of it is left."
                       : "Where the value is the new column's own, change its DEFAULT or leave the "
                         "constraint "
                         "out until the column has the right values; where it was there before, correct "
                         "those "
                         "rows. Then run the statement again; nothing of it is left.";
    return talloc_asprintf(talloc_parent,
                           "pgsluice changes show %" PRId64 " says more; run the statement again.", row->id);
}

/* `shut`: nobody can get in to work on it, which is told in another way (watch_nobody) */
static void feed(struct change_watch *watch, const struct change_row *row, bool shut)
{
    struct change_news news = {.kind = CHANGE_UNSEEN};
    void *memory = NULL;
    if (row && row->state == STATE_COMPLETE) {
        news.kind = CHANGE_COMPLETE;
    } else if (row && row->state == STATE_UNDONE) {
        news = (struct change_news){.kind = CHANGE_UNDONE, .text = row->error_message};
        news.detail = row->error_detail[0] ? row->error_detail : NULL;
        memory = talloc_new(NULL);
        news.hint = after_undone(memory, row);
        failure_text(news.sqlstate, sizeof news.sqlstate, row->error_code);
    } else if (row) {
        if (shut || watch->progress > clock_seconds())
            return;
        watch->progress = clock_seconds() + progress_every;
        memory = talloc_new(NULL);
        news = (struct change_news){.kind = CHANGE_PROGRESS, .text = progress_text(memory, row)};
    }
    if (news.kind != CHANGE_PROGRESS || news.text)
        tell(watch, &news);
    talloc_free(memory);
}

void watch_feed(struct changes *changes, const struct database *database, const struct change_rows *rows)
{
    pthread_mutex_lock(&changes->watching);
    for (struct change_watch *watch = changes->watches, *next; watch; watch = next) {
        next = watch->next; /* a callback may unwatch itself */
        if (watch->over || strcmp(watch->database, database->name) != 0)
            continue;
        const struct change_row *row = NULL;
        for (size_t i = 0; i < rows->n && !row; i++)
            if (rows->items[i].id == watch->id && strcmp(rows->items[i].asker, watch->role) == 0)
                row = &rows->items[i];
        if (row || watch->asked) /* else the rows were read before it came: the next look knows */
            feed(watch, row, database->shut_since > 0);
    }
    pthread_mutex_unlock(&changes->watching);
}

/*
 * Sessions per user: a hash table behind a mutex. A user without sessions has no entry.
 */
#include "proxy/session/session_users.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

struct user_count {
    uint32_t sessions;
    UT_hash_handle hh;
    char name[];
};

struct user_counts {
    pthread_mutex_t mutex;
    struct user_count *table;
};

struct user_counts *users_new(void)
{
    struct user_counts *counts = calloc(1, sizeof *counts);
    if (counts)
        pthread_mutex_init(&counts->mutex, NULL);
    return counts;
}

void users_free(struct user_counts *counts)
{
    if (!counts)
        return;
    assert(!counts->table); /* every session has left */
    pthread_mutex_destroy(&counts->mutex);
    free(counts);
}

static struct user_count *find(struct user_counts *counts, const char *user)
{
    struct user_count *entry = NULL;
    HASH_FIND_STR(counts->table, user, entry);
    return entry;
}

static struct user_count *add(struct user_counts *counts, const char *user)
{
    size_t n = strlen(user) + 1;
    struct user_count *entry = calloc(1, sizeof *entry + n);
    if (!entry)
        return NULL;
    memcpy(entry->name, user, n);
    HASH_ADD_STR(counts->table, name, entry);
    return entry;
}

bool users_enter(struct user_counts *counts, const char *user, uint32_t limit)
{
    pthread_mutex_lock(&counts->mutex);
    struct user_count *entry = find(counts, user);
    if (!entry)
        entry = add(counts, user);
    bool fits = entry && (limit == 0 || entry->sessions < limit);
    if (fits)
        entry->sessions++;
    pthread_mutex_unlock(&counts->mutex);
    return fits;
}

void users_leave(struct user_counts *counts, const char *user)
{
    pthread_mutex_lock(&counts->mutex);
    struct user_count *entry = find(counts, user);
    assert(entry && entry->sessions > 0);
    if (--entry->sessions == 0) {
        HASH_DEL(counts->table, entry);
        free(entry);
    }
    pthread_mutex_unlock(&counts->mutex);
}

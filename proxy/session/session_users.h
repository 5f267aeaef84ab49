/*
 * How many sessions each user has, over all loops. Behind a mutex: asked at login and at a session's end
 * only.
 */
#ifndef PGSLUICE_PROXY_SESSION_SESSION_USERS_H
#define PGSLUICE_PROXY_SESSION_SESSION_USERS_H

#include <stdbool.h>
#include <stdint.h>

struct user_counts;

struct user_counts *users_new(void); /* NULL: no memory */
void users_free(struct user_counts *);

/* Counts one session more; false, and not counted, where the user has `limit` already (0: no limit). */
bool users_enter(struct user_counts *, const char *user, uint32_t limit);
void users_leave(struct user_counts *, const char *user);

#endif

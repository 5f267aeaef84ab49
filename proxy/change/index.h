/*
 * Indexes that a worker builds and drops. Private to index*.c and undo.c.
 */
#ifndef PGSLUICE_PROXY_CHANGE_INDEX_H
#define PGSLUICE_PROXY_CHANGE_INDEX_H

#include "proxy/change/owner.h"

/* Of an index of this table: ' ' there is none, 't' valid, 'f' not, 'c' a constraint's; '?':
 * work->link.failed. */
char index_state(struct work *, const char *name);
enum step index_drop_one(struct work *, const char *name);
const char *index_settings(const struct work *); /* SET … before one is built */

/* index_create.c: the author's own CREATE INDEX. */
enum step index_create(struct work *);
enum step index_uncreate(struct work *);

#endif

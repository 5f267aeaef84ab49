/*
 * Reading and writing pgsluice.change. The row is the only memory that a change has: whoever holds its lease
 * can continue from it. Everything here goes over the caller's link.
 */
#ifndef PGSLUICE_PROXY_CHANGE_STORE_H
#define PGSLUICE_PROXY_CHANGE_STORE_H

#include <jansson.h>

#include "proxy/change/link.h"

/* Advisory locks of the form (int, int): one a change, held by the session that works on it; one a table. */
enum { LEASE_CHANGE = 0x736c6368, LEASE_TABLE = 0x736c7462 };

enum change_state { STATE_WAITING, STATE_RUNNING, STATE_UNDOING, STATE_COMPLETE, STATE_UNDONE, STATE_STUCK };
enum change_wanted { WANTED_RUN, WANTED_PAUSE, WANTED_CANCEL };

const char *state_name(enum change_state);
bool state_finished(enum change_state);

/* A table as it is called now: that of a change, or one that has its columns too (partitions, children). */
struct change_member {
    uint32_t relation;
    const char *schema, *table;
};

/* Below a talloc parent; texts are never NULL. */
struct change_row {
    int64_t id;
    enum change_state state;
    enum change_wanted wanted;
    const char *phase, *throttled, *schema, *table, *kind;
    const char *error_code, *error_message, *error_detail;
    const char *asker; /* session_role */
    uint32_t relation, owner;
    double age; /* seconds since it began */
    const char **columns;
    size_t n_columns;
    struct change_member *members; /* of an unfinished one; none: it was dropped */
    size_t n_members;
    json_t *progress; /* never NULL; given back with the row */
    json_t *spec;     /* the same; empty unless asked for */
    bool free;        /* nobody held its lease when it was read */
};

struct change_rows {
    struct change_row *items;
    size_t n;
};

/* Unfinished rows, and the watched ones in any state. NULL: link->failed. talloc_free gives all of it back.
 */
struct change_rows *store_read(const void *parent, struct link *, const int64_t *watched, size_t n_watched);
/* One row with its spec; NULL without link->failed.sqlstate "": there is none. */
struct change_row *store_row(const void *parent, struct link *, int64_t id);

/* Is the schema there? */
enum store_presence { STORE_UNKNOWN, STORE_ABSENT, STORE_PRESENT };
enum store_presence store_presence(struct link *);

bool store_want_cancel(struct link *, int64_t id, const char *role);
bool store_throttled(struct link *, int64_t id, const char *why); /* NULL: not any more */
/* Leases. False with link->failed.lost false and sqlstate "": somebody else has it. */
bool store_lease(struct link *, int64_t id, uint32_t relation);
/* The query that tries for it: a session that has it gets it once more, and one that the owner's code made
 * lose it (pg_advisory_unlock_all) gets it back, unless somebody else has it. Below a talloc parent. */
char *store_lease_sql(const void *parent, int64_t id, uint32_t relation);

#endif

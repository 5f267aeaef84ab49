/*
 * What the files of the fill share. Private to fill*.c.
 */
#ifndef PGSLUICE_PROXY_CHANGE_FILL_H
#define PGSLUICE_PROXY_CHANGE_FILL_H

#include "proxy/change/owner.h"

enum {
    FILL_LIST = 20000, /* rows that one list of what is left names at most */
    FILL_NULLS = 1000  /* transactions that are told apart */
};

/* A table that has rows: the table itself, a child, or a partition that is not partitioned. */
struct leaf {
    uint32_t oid;
    const char *sql, *owner_sql;
    int64_t blocks;
    double rows; /* as estimated */
};

/* How large a batch may be, in blocks, so that it takes the time that it should. */
struct batch {
    double size, cost; /* cost: milliseconds a block, a moving average, without what a transaction costs */
    double fixed;      /* what a transaction costs: the fastest batch so far; 0: none yet */
    int late;          /* attempts in a row at one block that took too long */
};

/* Our transactions in which the default of a nullable column gave NULL, so that rows which had their turn can
 * be told from those that were missed: by the one that wrote them, or, where there are too many, by that it
 * is no older than the first. */
struct nulls {
    char *list; /* 1,2,3; what of it fits */
    size_t n;
    int64_t first; /* 0: none */
    bool many;
};

struct filling {
    struct work *work;
    struct leaf leaf;
    struct batch batch;
    struct owner_function all, some, wait,
        list;                  /* all columns at once; one column: SKIP LOCKED, one row, what is left */
    struct nulls *nulls;       /* by column, in this leaf */
    const struct column *only; /* that is being filled; NULL: all at once */
    double rows, marked;       /* filled in all; at the last mark */
    double marked_at;
    int64_t before, swept, total; /* blocks: of the leaves before this one; swept in all; there are */
    int64_t swept_marked;         /* at the mark that last saw them move, */
    double swept_at;              /* and when that was */
};

/* fill_sql.c: functions in pg_temp; false: work->link.failed. `only`: one column, or NULL for all that are
 * filled. */
bool fill_make(struct filling *, struct owner_function *, const char *what, const struct column *only);
bool fill_make_wait(struct filling *, const struct column *);
bool fill_make_list(struct filling *, const struct column *);

/* fill_sweep.c */
/* Blocks from … to, in batches with pauses. `first`: the pass of all columns, whose place is kept. */
enum step fill_sweep(struct filling *, const struct owner_function *, int64_t from, int64_t to, bool first,
                     double *rows);
/* Until no row of the column is left NULL. */
enum step fill_settle(struct filling *, const struct column *);

#endif

/*
 * A change while a worker carries it out: a straight line of steps, each of which looks at the catalog and
 * does what is missing. So it may be cut off anywhere and begun again from the top, by this process or
 * another.
 */
#ifndef PGSLUICE_PROXY_CHANGE_WORK_H
#define PGSLUICE_PROXY_CHANGE_WORK_H

#include <talloc.h>

#include "proxy/change/change_inside.h"
#include "proxy/change/throttle.h"

enum step {
    STEP_DONE,  /* go on */
    STEP_RETRY, /* something that passes: let go, and come back after a rest */
    STEP_UNDO,  /* something that does not pass: work->failed says what */
    STEP_LEAVE  /* we are told to: the program ends, or a person wants a pause or a cancel */
};

/* The table as it is now. Names ending in _sql are quoted and qualified. */
struct target {
    char kind; /* r, p */
    const char *sql, *schema, *name;
    const char *owner_sql; /* a role */
    bool alone;            /* no children */
};

/* One column of the spec, found again by its number. */
struct column {
    int number;
    const char *name, *sql;
    bool added, fill, not_null, serial, identity, always;
    bool set;                  /* it is NOT NULL already */
    const char *not_null_name; /* or NULL */
    uint32_t sequence;         /* or 0 */
};

struct work {
    struct job *job;
    const struct conf_online *online;
    struct link link;
    struct change_row *row;
    struct target target;
    struct column *columns;
    size_t n_columns;
    json_t *progress; /* what becomes of row->progress; written by work_checkpoint() */
    struct throttle throttle;
    struct failure failed;
    bool waited_out;       /* since the last fill: for all who used the table when it committed */
    const char *path;      /* search_path of the owner's code */
    const char *clauses;   /* the author's other settings, as SET clauses of a function */
    const char *settings;  /* and as statements, each with its semicolon */
    double began, written; /* this attempt; the last checkpoint */
};

/* worker.c */
/* Has somebody said that it should be let go? Looked at between batches, and while the server works. */
bool work_told(const struct work *);
enum step work_failed(struct work *);  /* work->link.failed: which way does it lead? */
enum step work_blocked(struct work *); /* what is in work->failed leads to undoing */
/* Writes progress, phase and heartbeat, and reads what is wanted. `why`: the reason of a pause, or NULL. */
enum step work_checkpoint(struct work *, const char *why);
enum step work_phase(struct work *, const char *phase);
void work_busy(struct work *, bool); /* around a statement that may take long */

/* spec.c: is it as begin_change() completes it? */
bool spec_good(const json_t *spec);

/* target.c: STEP_UNDO when the table or a column is gone. */
enum step target_read(struct work *);
const char *target_column(struct work *, const char *name); /* quoted, by its name in the spec */
/* An SQL identifier or literal, below the row. Where it can't be had, the next statement of the link fails.
 */
const char *sql_name(struct work *, const char *);
const char *sql_text(struct work *, const char *);
__attribute__((format(printf, 2, 3))) PGresult *work_ask(struct work *, const char *format, ...);
__attribute__((format(printf, 2, 3))) bool work_do(struct work *, const char *format, ...);

/* fill.c */
enum step fill(struct work *);

/* check.c */
enum step check_add(struct work *);      /* helpers that prove NOT NULL, not valid yet */
enum step check_validate(struct work *); /* they, and what the client's statement added */
const char *check_name(const struct work *, const struct column *);

/* index.c */
enum step index_build(struct work *);
enum step index_drop(struct work *); /* what it built, where the columns stay */

/* finish.c */
enum step finish(struct work *);
/* An SQL condition: nothing but defaults of columns uses the sequence that fills. */
const char *finish_only_defaults(const struct work *, const struct column *);

/* undo.c */
enum step undo(struct work *);

#endif

/*
 * `pgsluice changes`: what is read of pgsluice.change in one or several databases, and how it is shown.
 * Everything hangs below the talloc parent that it was made with.
 */
#ifndef PGSLUICE_PROXY_CHANGE_CHANGES_H
#define PGSLUICE_PROXY_CHANGE_CHANGES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* One change. Texts are free of control characters, so that they can't steer a terminal; NULL: there is none.
 */
struct changes_row {
    const char *database, *id, *state, *wanted, *phase, *table, *kind, *throttled, *role;
    const char *error, *error_code, *error_detail, *statement, *columns, *worker, *created, *finished;
    double rows, rows_total, percent, rate, eta, age, heartbeat; /* seconds; negative: not known */
    bool leased; /* somebody works on it: a long statement writes no heartbeat */
};

struct changes_list {
    struct changes_row *rows;
    size_t n;
    unsigned databases; /* that have the schema */
};

/* What the command line says. */
struct changes_ask {
    const char *conninfo;
    const char *database; /* only this one, or NULL: all where the schema is */
    const char *id;       /* only this one, or NULL */
    bool all;             /* also what was finished more than a day ago */
    bool reported;        /* of databases that were left out it has been said why: --watch says it once */
};

/* An exit code; why it isn't 0 has been said. */
int changes_read(const void *talloc_parent, struct changes_ask *, struct changes_list *);
/* Calls pgsluice.pause(), resume() or cancel() where the change is. *state: what it answered. */
int changes_steer(const void *talloc_parent, struct changes_ask *, const char *verb, struct changes_list *);

bool changes_finished(const struct changes_row *);

/* ---- for people ---- */

/* A table; on a terminal with a bar of `width` columns' worth. */
void changes_print(const struct changes_list *, bool terminal, FILE *out);
void changes_print_one(const struct changes_row *, bool terminal, FILE *out); /* all that is known of it */
void changes_print_json(const struct changes_list *, FILE *out);              /* an object a line */

/* "[#####.....]"; percent negative: unknown. `text` has room for width + 3 bytes. */
void changes_bar(char *text, unsigned width, double percent);
/* "4 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"; "" when it is negative. */
void changes_duration(char text[32], double seconds);
/* "950", "12.4k", "3.1M"; "" when it is negative. */
void changes_count(char text[32], double number);
/* A copy without control characters: '?' in their place, a space for line feed and tab. */
char *changes_clean(const void *talloc_parent, const char *text);

#endif

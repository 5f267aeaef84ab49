/*
 * What the commands that talk to a database share: one connection each, used in turn.
 */
#ifndef PGSLUICE_PROXY_CHANGE_COMMAND_H
#define PGSLUICE_PROXY_CHANGE_COMMAND_H

#include <libpq-fe.h>
#include <stdbool.h>

enum { COMMAND_FINE = 0, COMMAND_REFUSED = 1, COMMAND_USAGE = 2 };

struct command {
    const char *name;     /* "pgsluice install": begins every message */
    const char *database; /* in place of what conninfo says, or NULL */
    bool quiet;           /* says nothing */
    PGconn *server;
};

/* False: it has been said why. UTF-8, a search_path of pg_catalog alone; the server's notices are dropped. */
bool command_connect(struct command *, const char *conninfo);
void command_disconnect(struct command *);

/* The dbname that conninfo says, below the talloc parent, or NULL. */
char *command_database(const void *talloc_parent, const char *conninfo);

/* The server's answer, to be cleared, or NULL when it has refused: that has been said. Parameters are text.
 */
PGresult *command_ask(struct command *, const char *sql, int n, const char *const *values);
/* Statements without an answer; as one message, so several of them are one transaction outside of one. */
bool command_do(struct command *, const char *sql);
/* The same where a refusal is no failure: nothing is said. Inside a transaction; leaves it usable. */
bool command_try(struct command *, const char *sql);
/* SQL text with one name for %1$s and one for %2$s (or NULL), quoted where they need it; to be freed.
 * NULL: it can't be asked, or out of memory. */
char *command_named(struct command *, const char *format, const char *name1, const char *name2);

/* "name: text" on standard error. */
void command_say(const struct command *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "t" */
bool command_true(const PGresult *, int row, int column);

/* False, and said why: the schema pgsluice is gone, or it, or something in it, is neither a superuser's nor
 * ours. */
bool command_believes(struct command *);

#endif

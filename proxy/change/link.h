/*
 * One connection of pgsluice's own login to one database, used by one thread. Every wait is in poll(2)
 * together with a wake-up, so that whoever uses it can be told to stop in the middle of a long statement.
 *
 * Its settings come with the start-up packet, so that RESET ALL goes back to them: see owner.h for why that
 * matters.
 */
#ifndef PGSLUICE_PROXY_CHANGE_LINK_H
#define PGSLUICE_PROXY_CHANGE_LINK_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAILURE_TEXT = 1000 };

/* Why something failed. Texts are cut, never split inside of a character. */
struct failure {
    char sqlstate[6]; /* "" for a lost connection, or a fault of our own */
    bool lost;        /* the connection is gone */
    char message[FAILURE_TEXT], detail[FAILURE_TEXT], hint[FAILURE_TEXT];
    char constraint[200];
};

__attribute__((format(printf, 3, 4))) void failure_set(struct failure *, const char *sqlstate,
                                                       const char *format, ...);
void failure_text(char *to, size_t size, const char *from); /* cut at a character; NULL is "" */

struct link {
    PGconn *pg; /* or NULL */
    int wake;   /* eventfd, or -1 */
    /* Asked after each wake-up and each half second of waiting: true: the statement is cancelled. */
    bool (*interrupt)(void *argument);
    void (*notice)(void *argument, const char *message); /* or NULL: dropped */
    void *argument;
    int version;           /* the server's, 150018 */
    int64_t deadline;      /* milliseconds that one statement may take; 0: no limit */
    struct failure failed; /* the last failure */
    int abandoned;         /* the server's process of a session that was closed while it worked on; 0: none */
    bool unsaid;           /* a name couldn't be quoted for the next statement, which fails therefore */
};

double clock_seconds(void); /* monotonic */

/* `name` becomes application_name. False: link->failed. */
bool link_open(struct link *, const char *conninfo, const char *database, const char *name);
/* SQL: settings as a session of ours begins with. */
const char *link_reset(const struct link *);
void link_close(struct link *);
/* "pgsluice_worker can't log in (28000: ...)", of an attempt to open one. */
void link_shut_out(const struct failure *, const char *conninfo, char why[FAILURE_TEXT]);

/*
 * Statements in one message, one implicit or explicit transaction. The last result with rows, else the last
 * one; NULL: link->failed says why, and there is no open transaction any more. Release with PQclear.
 */
PGresult *link_exec(struct link *, const char *sql);
/* One statement, text parameters. */
PGresult *link_params(struct link *, const char *sql, int n, const char *const *values);
/* The same, where only the success counts. */
bool link_do(struct link *, const char *sql);
/* PQgetvalue(), or "" where there is no such row or column, whatever the server has sent. */
char *link_value(const PGresult *, int row, int column);

/* One statement that is not ours, with no parameters: the protocol takes but one in such a message. */
bool link_do_single(struct link *, const char *sql);

#endif

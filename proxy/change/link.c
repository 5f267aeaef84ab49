/*
 * libpq without its blocking calls.
 */
#include "proxy/change/link.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_SECONDS = 10, OPTIONS_MOST = 64, OPTIONS_OWN = 12, PATIENCE = 500 /* ms */ };
/* How long a server may take to answer that a statement is cancelled, or to end a transaction. */
enum { END_SECONDS = 10 };

/*
 * What each session of ours begins with. pg_temp comes last so that a temporary table can't stand for a table
 * of the catalog. Nobody sits idle in a transaction of ours for long: if the network is gone, the server lets
 * go of our locks.
 */
static const char settings[] =
    "-c search_path=pg_catalog,pg_temp -c statement_timeout=0 -c lock_timeout=0 "
    "-c idle_in_transaction_session_timeout=60000 -c client_min_messages=notice -c datestyle=ISO "
    "-c standard_conforming_strings=on -c default_transaction_isolation=read\\ committed "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 "
    "-c default_transaction_read_only=off -c default_transaction_deferrable=off -c bytea_output=hex";

/* What older servers don't know, and would refuse a login for. Where the server can, it notices that we are
 * gone also in the middle of a statement. */
const char *link_reset(const struct link *link)
{
    static const char of_14[] = "RESET ALL; SET client_connection_check_interval = '5s'; "
                                "SET idle_session_timeout = 0; ";
    static const char of_17[] =
        "RESET ALL; SET transaction_timeout = 0; SET client_connection_check_interval "
        "= '5s'; SET idle_session_timeout = 0; ";
    return link->version >= 170000 ? of_17 : link->version >= 140000 ? of_14 : "RESET ALL; ";
}

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- failures ------------------------------------------------------------------------------------------ */

void failure_text(char *to, size_t size, const char *from)
{
    size_t length = from ? strlen(from) : 0;
    while (length && (from[length - 1] == '\n' || from[length - 1] == ' '))
        length--;
    if (length >= size) {
        length = size - 1;
        while (length && ((unsigned char)from[length] & 0xc0) == 0x80)
            length--;
    }
    if (length)
        memcpy(to, from, length);
    to[length] = '\0';
}

void failure_set(struct failure *failure, const char *sqlstate, const char *format, ...)
{
    char text[FAILURE_TEXT * 2];
    va_list arguments;
    *failure = (struct failure){0};
    failure_text(failure->sqlstate, sizeof failure->sqlstate, sqlstate);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    failure_text(failure->message, sizeof failure->message, text);
}

static void fail_lost(struct link *link, const char *why)
{
    failure_set(&link->failed, "", "%s", why);
    link->failed.lost = true;
}

static void fail_result(struct link *link, const PGresult *result)
{
    struct failure *failed = &link->failed;
    *failed = (struct failure){.lost = PQstatus(link->pg) != CONNECTION_OK};
    failure_text(failed->sqlstate, sizeof failed->sqlstate, PQresultErrorField(result, PG_DIAG_SQLSTATE));
    failure_text(failed->message, sizeof failed->message,
                 PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    failure_text(failed->detail, sizeof failed->detail, PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL));
    failure_text(failed->hint, sizeof failed->hint, PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
    failure_text(failed->constraint, sizeof failed->constraint,
                 PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME));
    if (!failed->message[0])
        failure_text(failed->message, sizeof failed->message, PQresultErrorMessage(result));
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

/* True: the socket is ready; false: a wake-up, or the time is over. */
static bool wait_for(const struct link *link, short events, int milliseconds)
{
    struct pollfd fds[2] = {{.fd = PQsocket(link->pg), .events = events},
                            {.fd = link->wake, .events = POLLIN}};
    uint64_t count;
    if (poll(fds, 2, milliseconds) <= 0)
        return false;
    if (fds[1].revents && read(link->wake, &count, sizeof count) < 0)
        errno = 0; /* somebody else read it: the flag behind it counts */
    return fds[0].revents != 0;
}

static bool interrupted(const struct link *link)
{
    return link->interrupt && link->interrupt(link->argument);
}

static void *send_cancel(void *argument)
{
    char why[256];
    PQcancel(argument, why, sizeof why);
    PQfreeCancel(argument);
    return NULL;
}

/* PQcancel() waits until the server hangs up, which one that is stopped never does: so it waits on a thread
 * of its own, which nobody waits for. */
static void cancel(const struct link *link)
{
    pthread_t thread;
    PGcancel *handle = PQgetCancel(link->pg);
    if (!handle)
        return;
    if (pthread_create(&thread, NULL, send_cancel, handle) == 0)
        pthread_detach(thread);
    else
        PQfreeCancel(handle);
}

/* ---- connecting ---------------------------------------------------------------------------------------- */

static void on_notice(void *argument, const PGresult *result)
{
    const struct link *link = argument;
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (link->notice && message)
        link->notice(link->argument, message);
}

/* "options" of the conninfo stay in force behind ours. */
static char *options_of(const PQconninfoOption *options)
{
    const char *theirs = "";
    char *all = NULL;
    for (; options->keyword; options++)
        if (strcmp(options->keyword, "options") == 0 && options->val)
            theirs = options->val;
    return asprintf(&all, "%s %s", settings, theirs) < 0 ? NULL : all;
}

/* The conninfo's own words behind our defaults: libpq lets the last of equal keywords win. */
static PGconn *start(const char *conninfo, const char *database, const char *name, char **error)
{
    const char *keywords[OPTIONS_MOST + OPTIONS_OWN] = {
        "gssencmode",       "target_session_attrs", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout",     "connect_timeout"};
    const char *values[OPTIONS_MOST + OPTIONS_OWN] = {"disable", "read-write", "10", "5", "3", "30000", "10"};
    size_t n = 7;
    PQconninfoOption *options = PQconninfoParse(conninfo, error);
    if (!options)
        return NULL;
    char *settled = options_of(options);
    for (PQconninfoOption *option = options; option->keyword && n < OPTIONS_MOST; option++) {
        if (!option->val || strcmp(option->keyword, "options") == 0)
            continue;
        keywords[n] = option->keyword;
        values[n++] = option->val;
    }
    keywords[n] = "application_name";
    values[n++] = name;
    keywords[n] = "client_encoding";
    values[n++] = "UTF8";
    keywords[n] = "options";
    values[n++] = settled;
    if (database) {
        keywords[n] = "dbname";
        values[n++] = database;
    }
    PGconn *pg = settled ? PQconnectStartParams(keywords, values, 0) : NULL;
    PQconninfoFree(options);
    free(settled);
    return pg;
}

/* libpq keeps no SQLSTATE of a login that was refused but in what it says when it is wordy. */
static void fail_login(struct link *link, const char *error)
{
    static const char mark[] = "FATAL:  ";
    const char *why = link->pg ? PQerrorMessage(link->pg) : error;
    const char *at = why ? strstr(why, mark) : NULL;
    fail_lost(link, why && why[0] ? why : "no answer to the attempt to connect");
    if (!at || strlen(at) < sizeof mark + 6 || at[sizeof mark + 4] != ':')
        return;
    at += sizeof mark - 1;
    snprintf(link->failed.sqlstate, sizeof link->failed.sqlstate, "%.5s", at);
    failure_text(link->failed.message, sizeof link->failed.message, at + 7);
    char *end = strchr(link->failed.message, '\n'); /* behind it the place in the server's source */
    if (end)
        *end = '\0';
}

static bool finish_connecting(struct link *link)
{
    double until = clock_seconds() + CONNECT_SECONDS;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    if (PQstatus(link->pg) == CONNECTION_BAD)
        return false;
    PQsetErrorVerbosity(link->pg, PQERRORS_VERBOSE);
    while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
        bool ready = wait_for(link, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, PATIENCE);
        if (interrupted(link) || clock_seconds() > until)
            return false;
        if (ready)
            status = PQconnectPoll(link->pg);
    }
    return status == PGRES_POLLING_OK;
}

bool link_open(struct link *link, const char *conninfo, const char *database, const char *name)
{
    char *error = NULL;
    link_close(link);
    link->pg = start(conninfo, database, name, &error);
    if (!link->pg || !finish_connecting(link)) {
        fail_login(link, error);
        PQfreemem(error);
        link_close(link);
        return false;
    }
    PQsetErrorVerbosity(link->pg, PQERRORS_DEFAULT);
    PQsetNoticeReceiver(link->pg, on_notice, link);
    link->version = PQserverVersion(link->pg);
    if (!link_do(link, link_reset(link))) {
        link_close(link);
        return false;
    }
    return true;
}

void link_shut_out(const struct failure *failed, const char *conninfo, char why[FAILURE_TEXT])
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *user = "the login of online.maintenance";
    for (PQconninfoOption *option = options; option && option->keyword; option++)
        if (strcmp(option->keyword, "user") == 0 && option->val)
            user = option->val;
    char text[2 * FAILURE_TEXT];
    snprintf(text, sizeof text, "%s can't log in (%s%s%s)", user, failed->sqlstate,
             failed->sqlstate[0] ? ": " : "", failed->message);
    failure_text(why, FAILURE_TEXT, text);
    for (char *at = why; *at; at++)
        if (*at == '\n' || *at == '\t')
            *at = ' ';
    PQconninfoFree(options);
}

void link_close(struct link *link)
{
    PQfinish(link->pg);
    link->pg = NULL;
}

/* ---- statements ---------------------------------------------------------------------------------------- */

/* Is it over with this statement? */
static bool given_up(const struct link *link, double since, double cancelled)
{
    double now = clock_seconds();
    if (cancelled > 0 && now - cancelled > END_SECONDS)
        return true;
    return link->deadline && (now - since) * 1000 > 2 * (double)link->deadline;
}

/* Waits until PQgetResult won't block. False: it is not worth waiting any longer; link->failed. */
static bool await(struct link *link, double *cancelled, double since)
{
    for (;;) {
        int flushed = PQflush(link->pg);
        if (flushed < 0 || (flushed == 0 && !PQisBusy(link->pg)))
            return true; /* a lost connection is told by the result */
        wait_for(link, flushed ? POLLIN | POLLOUT : POLLIN, PATIENCE);
        if (!PQconsumeInput(link->pg))
            return true;
        bool late = link->deadline && (clock_seconds() - since) * 1000 > (double)link->deadline;
        if (given_up(link, since, *cancelled)) {
            fail_lost(link, "no answer from the server");
            return false;
        }
        if (*cancelled <= 0 && (late || interrupted(link))) {
            cancel(link);
            *cancelled = clock_seconds();
        }
    }
}

static PGresult *better(PGresult *kept, PGresult *result)
{
    if (PQresultStatus(kept) == PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
        PQclear(result);
        return kept;
    }
    PQclear(kept);
    return result;
}

static bool good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

/* All results of what was sent. */
static PGresult *collect(struct link *link)
{
    PGresult *kept = NULL, *result;
    bool failed = false, answered;
    double since = clock_seconds(), cancelled = 0;
    while ((answered = await(link, &cancelled, since)) && (result = PQgetResult(link->pg))) {
        if (!good(result) && !failed) {
            fail_result(link, result);
            failed = true;
        }
        if (failed)
            PQclear(result);
        else
            kept = kept ? better(kept, result) : result;
        if (PQstatus(link->pg) != CONNECTION_OK)
            break;
    }
    if (!answered) { /* what it would still say belongs to no statement of ours any more */
        PQclear(kept);
        link->abandoned = PQbackendPID(link->pg);
        link_close(link);
        return NULL;
    }
    if (PQstatus(link->pg) != CONNECTION_OK && !failed)
        fail_lost(link, PQerrorMessage(link->pg));
    if (!failed && PQstatus(link->pg) == CONNECTION_OK && kept)
        return kept;
    link->failed.lost |= PQstatus(link->pg) != CONNECTION_OK;
    PQclear(kept);
    return NULL;
}

/* After a failure inside of BEGIN the server waits for an end of that transaction. */
static PGresult *settle(struct link *link, PGresult *result)
{
    if (result || !link->pg || PQstatus(link->pg) != CONNECTION_OK ||
        PQtransactionStatus(link->pg) != PQTRANS_INERROR)
        return result;
    struct failure why = link->failed;
    bool (*interrupt)(void *) = link->interrupt;
    int64_t deadline = link->deadline;
    link->interrupt = NULL;
    link->deadline = (int64_t)END_SECONDS * 1000;
    if (PQsendQuery(link->pg, "ROLLBACK"))
        PQclear(collect(link));
    link->interrupt = interrupt;
    link->deadline = deadline;
    why.lost |= PQstatus(link->pg) != CONNECTION_OK;
    link->failed = why;
    return NULL;
}

/* Some name in the statement that is about to be sent isn't there. */
static bool unsaid(struct link *link)
{
    if (!link->unsaid)
        return false;
    link->unsaid = false;
    failure_set(&link->failed, "22021",
                "a name of the table's is not valid UTF-8, so no statement can be made of it");
    return true;
}

static PGresult *sent(struct link *link, bool success)
{
    if (success)
        return settle(link, collect(link));
    fail_lost(link, link->pg ? PQerrorMessage(link->pg) : "not connected");
    return NULL;
}

PGresult *link_exec(struct link *link, const char *sql)
{
    if (unsaid(link))
        return NULL;
    return sent(link, link->pg && sql && PQsendQuery(link->pg, sql));
}

PGresult *link_params(struct link *link, const char *sql, int n, const char *const *values)
{
    if (unsaid(link))
        return NULL;
    return sent(link, link->pg && PQsendQueryParams(link->pg, sql, n, NULL, values, NULL, NULL, 0));
}

char *link_value(const PGresult *result, int row, int column)
{
    static char nothing[1];
    return row < PQntuples(result) && column < PQnfields(result) ? PQgetvalue(result, row, column) : nothing;
}

bool link_do(struct link *link, const char *sql)
{
    PGresult *result = link_exec(link, sql);
    PQclear(result);
    return result != NULL;
}

bool link_do_single(struct link *link, const char *sql)
{
    PGresult *result = link_params(link, sql, 0, NULL);
    PQclear(result);
    return result != NULL;
}

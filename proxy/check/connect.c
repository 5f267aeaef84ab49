/*
 * One libpq connection, used in turn.
 */
#include "proxy/check/connect.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

struct connection {
    PGconn *server;
    char **settings; /* of the file, for its session, in order */
    size_t n_settings;
    bool local; /* others are in force for its transaction */
};

static int close_it(struct connection *connection)
{
    PQfinish(connection->server);
    return 0;
}

/* libpq's messages end with a line feed. */
static char *words_of(const void *talloc_parent, const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    return talloc_strndup(talloc_parent, text, n);
}

/* The server's words, or NULL where it did as it was told. */
static const char *run(struct connection *connection, const char *sql)
{
    PGresult *result = PQexecParams(connection->server, sql, 0, NULL, NULL, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    const char *error = NULL;
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        error = words_of(connection, PQresultErrorMessage(result));
    PQclear(result);
    return error;
}

static void no_notice(void *argument, const PGresult *result)
{
    (void)argument;
    (void)result;
}

struct connection *connection_open(const void *talloc_parent, const char *conninfo, char **error)
{
    static const char *const names[] = {"dbname", "client_encoding", "fallback_application_name", NULL};
    const char *const values[] = {conninfo, "UTF8", "pgsluice check", NULL};
    struct connection *connection = talloc_zero(talloc_parent, struct connection);
    if (connection == NULL)
        return NULL;
    connection->server = PQconnectdbParams(names, values, 1);
    talloc_set_destructor(connection, close_it);
    PQsetNoticeReceiver(connection->server, no_notice, NULL);
    if (PQstatus(connection->server) == CONNECTION_OK && PQserverVersion(connection->server) >= 130000)
        return connection;
    *error = PQstatus(connection->server) == CONNECTION_OK
                 ? talloc_strdup(talloc_parent, "the server is older than PostgreSQL 13")
                 : words_of(talloc_parent, PQerrorMessage(connection->server));
    talloc_free(connection);
    return NULL;
}

int connection_version(const struct connection *connection)
{
    return PQserverVersion(connection->server);
}

const char *connection_database(const struct connection *connection)
{
    return PQdb(connection->server);
}

const char *connection_user(const struct connection *connection)
{
    return PQuser(connection->server);
}

/* ---- asking ---- */

/* A standby is a good place to ask, and someone who may only read a good one to ask as: what they may not do
 * themselves says nothing of the migration. */
static void forget_who_asks(struct catalog *names, const char *role)
{
    names->in_recovery = names->read_only = false;
    if (*role == '\0' || names->user == NULL || strcmp(names->user, role) == 0)
        return;
    for (size_t i = 0; i < names->n_relations; i++)
        names->relations[i].may_own = true;
}

bool connection_ask(const void *talloc_parent, struct connection *connection, const struct facts *facts,
                    const char *role, const struct catalog **names, const char **error)
{
    char *questions = catalog_questions(talloc_parent, facts);
    *names = NULL;
    if (questions == NULL)
        return true;
    const char *const values[] = {questions};
    PGresult *result = PQexecParams(connection->server, catalog_sql(), 1, NULL, values, NULL, NULL, 0);
    bool answered = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    struct catalog *answer = NULL;
    if (answered)
        answer = catalog_read(talloc_parent, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
    *error = answered ? "its answer can't be read" : words_of(connection, PQresultErrorMessage(result));
    PQclear(result);
    talloc_free(questions);
    if (answer == NULL)
        return false;
    forget_who_asks(answer, role);
    *names = answer;
    return true;
}

/* ---- settings of a file ---- */

/* The next word, in capitals; quoted names and other signs end the words. */
static const char *next_word(const char *at, const char *end, char word[40])
{
    size_t n = 0;
    while (at < end && strchr(" \t\r\n\f\v", *at) != NULL)
        at++;
    for (; at < end && ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_'); at++) {
        if (n < 39)
            word[n++] = (char)(*at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
    }
    word[n] = '\0';
    return at;
}

static bool of_interest(const char *word, const char *next)
{
    return strcmp(word, "SEARCH_PATH") == 0 || strcmp(word, "ROLE") == 0 ||
           (strcmp(word, "SCHEMA") == 0 && *next == '\0') ||
           (strcmp(word, "SESSION") == 0 && strcmp(next, "AUTHORIZATION") == 0);
}

/* pg_dump's way to say it. */
static bool sets_by_function(const char *sql, size_t length)
{
    static const char function[] = "SELECT pg_catalog.set_config('search_path', '', false)";
    return length >= sizeof function - 1 && strncasecmp(sql, function, sizeof function - 1) == 0;
}

/* "SET LOCAL search_path …" without its LOCAL; NULL: it is no setting that matters. */
static char *setting(struct connection *connection, const char *sql, size_t length, bool *local)
{
    const char *end = sql + length, *rest;
    char verb[40], word[40], next[40];
    if (sets_by_function(sql, length))
        return talloc_strdup(connection, "SET search_path = ''");
    const char *at = next_word(sql, end, verb), *what = at;
    bool resets = strcmp(verb, "RESET") == 0 || strcmp(verb, "DISCARD") == 0;
    if (!resets && strcmp(verb, "SET") != 0)
        return NULL;
    rest = next_word(at, end, word);
    next_word(rest, end, next);
    if (resets && strcmp(word, "ALL") == 0)
        return talloc_strdup(connection, "RESET ALL");
    *local = strcmp(word, "LOCAL") == 0;
    if (*local || (strcmp(word, "SESSION") == 0 && strcmp(next, "AUTHORIZATION") != 0)) {
        what = rest;
        rest = next_word(rest, end, word);
        next_word(rest, end, next);
    }
    if (!of_interest(word, next))
        return NULL;
    return talloc_asprintf(connection, "%s %.*s", verb, (int)(end - what), what);
}

static void keep(struct connection *connection, char *wanted)
{
    char **more =
        talloc_realloc(connection, connection->settings, char *, (unsigned)connection->n_settings + 1);
    if (more == NULL)
        return;
    connection->settings = more;
    connection->settings[connection->n_settings++] = wanted;
}

const char *connection_follow(struct connection *connection, const char *sql, size_t length,
                              bool in_transaction)
{
    bool local = false;
    char *wanted = setting(connection, sql, length, &local);
    if (wanted == NULL || (local && !in_transaction)) {
        talloc_free(wanted);
        return NULL;
    }
    const char *error = run(connection, wanted);
    connection->local = connection->local || local;
    if (error == NULL && !local)
        keep(connection, wanted);
    else
        talloc_free(wanted);
    return error;
}

static void begin_anew(struct connection *connection)
{
    run(connection, "RESET SESSION AUTHORIZATION");
    run(connection, "RESET ROLE");
    run(connection, "RESET search_path");
    connection->local = false;
}

void connection_transaction_ended(struct connection *connection)
{
    if (!connection->local)
        return;
    begin_anew(connection);
    for (size_t i = 0; i < connection->n_settings; i++)
        run(connection, connection->settings[i]);
}

void connection_file_ended(struct connection *connection)
{
    if (connection->local || connection->n_settings > 0)
        begin_anew(connection);
    for (size_t i = 0; i < connection->n_settings; i++)
        talloc_free(connection->settings[i]);
    connection->n_settings = 0;
}

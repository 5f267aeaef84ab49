/*
 * One libpq connection and its errors in words.
 */
#include "proxy/change/command.h"
#include "proxy/change/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

void command_say(const struct command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (!command->quiet) {
        fprintf(stderr, "%s: ", command->name);
        vfprintf(stderr, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized) */
        fputc('\n', stderr);
    }
    va_end(arguments);
}

/* libpq's messages end with a line feed. */
static void say_words(const struct command *command, const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    command_say(command, "%.*s", (int)n, text);
}

static void no_notice(void *argument, const PGresult *result)
{
    (void)argument;
    (void)result;
}

bool command_connect(struct command *command, const char *conninfo)
{
    static const char *const names[] = {"dbname", "client_encoding", "fallback_application_name", "dbname",
                                        NULL};
    const char *const values[] = {conninfo, "UTF8", command->name, command->database, NULL};
    command->server = PQconnectdbParams(names, values, 1);
    if (PQstatus(command->server) != CONNECTION_OK) {
        say_words(command, PQerrorMessage(command->server));
    } else if (PQserverVersion(command->server) < 130000) {
        command_say(command, "this server is PostgreSQL %d; pgsluice works with 13 to 18",
                    PQserverVersion(command->server) / 10000);
    } else {
        PQsetNoticeReceiver(command->server, no_notice, NULL);
        if (command_do(command, "SET search_path = pg_catalog, pg_temp"))
            return true;
    }
    command_disconnect(command);
    return false;
}

char *command_database(const void *talloc_parent, const char *conninfo)
{
    char *database = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
        if (strcmp(option->keyword, "dbname") == 0 && option->val != NULL)
            database = talloc_strdup(talloc_parent, option->val);
    }
    PQconninfoFree(options);
    return database;
}

void command_disconnect(struct command *command)
{
    PQfinish(command->server);
    command->server = NULL;
}

static void say_error(const struct command *command, const PGresult *result)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    if (message == NULL) { /* of libpq itself */
        say_words(command, PQerrorMessage(command->server));
        return;
    }
    command_say(command, "%s", message);
    if (detail != NULL)
        command_say(command, "%s", detail);
    if (hint != NULL)
        command_say(command, "%s", hint);
}

PGresult *command_ask(struct command *command, const char *sql, int n, const char *const *values)
{
    PGresult *result = PQexecParams(command->server, sql, n, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        return result;
    say_error(command, result);
    PQclear(result);
    return NULL;
}

bool command_do(struct command *command, const char *sql)
{
    PGresult *result = PQexec(command->server, sql);
    ExecStatusType status = PQresultStatus(result);
    bool done = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    if (!done)
        say_error(command, result);
    PQclear(result);
    return done;
}

static bool quietly(struct command *command, const char *sql)
{
    PGresult *result = PQexec(command->server, sql);
    bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return done;
}

bool command_try(struct command *command, const char *sql)
{
    quietly(command, "SAVEPOINT command_try");
    bool done = quietly(command, sql);
    if (!done)
        quietly(command, "ROLLBACK TO SAVEPOINT command_try");
    return quietly(command, "RELEASE SAVEPOINT command_try") && done;
}

char *command_named(struct command *command, const char *format, const char *name1, const char *name2)
{
    const char *const values[] = {name1, name2};
    PGresult *quoted = command_ask(command, "SELECT quote_ident($1), quote_ident($2)", 2, values);
    char *text = NULL;
    size_t size = 0;
    FILE *out = quoted == NULL ? NULL : open_memstream(&text, &size);
    for (const char *at = format; out != NULL && *at; at++) {
        if (strncmp(at, "%1$s", 4) != 0 && strncmp(at, "%2$s", 4) != 0) {
            fputc(*at, out);
            continue;
        }
        fputs(link_value(quoted, 0, at[1] - '1'), out);
        at += 3;
    }
    if (out == NULL || fclose(out) != 0) {
        free(text);
        text = NULL;
    }
    PQclear(quoted);
    return text;
}

bool command_true(const PGresult *result, int row, int column)
{
    return strcmp(link_value(result, row, column), "t") == 0;
}

/*
 * Whoever has CREATE on the database could have made the schema, with views that run functions of his as soon
 * as they are read, by a superuser too. So before anything in it is read: it is there, and it is a
 * superuser's or our own, as is all that is in it. From then on nobody else can put another one in its place.
 */
static const char strangers_sql[] =
    "WITH believed AS (SELECT r.oid FROM pg_roles r WHERE r.rolsuper OR r.rolname = current_user)"
    " SELECT (SELECT pg_get_userbyid(s.owner) FROM"
    " (SELECT n.nspowner UNION SELECT c.relowner FROM pg_class c WHERE c.relnamespace = n.oid"
    " UNION SELECT p.proowner FROM pg_proc p WHERE p.pronamespace = n.oid"
    " UNION SELECT o.oprowner FROM pg_operator o WHERE o.oprnamespace = n.oid"
    " UNION SELECT t.typowner FROM pg_type t WHERE t.typnamespace = n.oid) AS s (owner)"
    " WHERE s.owner NOT IN (SELECT b.oid FROM believed b) LIMIT 1)"
    " FROM pg_namespace n WHERE n.nspname = 'pgsluice'";

bool command_believes(struct command *command)
{
    PGresult *result = command_ask(command, strangers_sql, 0, NULL);
    bool there = result != NULL && PQntuples(result) == 1, good = there && PQgetisnull(result, 0, 0);
    if (result != NULL && !there)
        command_say(command, "the schema \"pgsluice\" was dropped meanwhile");
    else if (there && !good)
        command_say(
            command,
            "a schema \"pgsluice\" is there already, and it, or something in it, belongs to %s: nothing "
            "in it was read. If %s made it with pgsluice, do this as that role; otherwise look why it is "
            "there, and DROP SCHEMA pgsluice CASCADE",
            link_value(result, 0, 0), link_value(result, 0, 0));
    PQclear(result);
    return good;
}

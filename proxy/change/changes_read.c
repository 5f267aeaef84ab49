/*
 * The databases that have the schema, one connection after the other, and their changes.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/changes.h"
#include "proxy/change/command.h"
#include "proxy/change/link.h"
#include "proxy/change/schema.h"

static const char name[] = "pgsluice changes";

enum {
    STATE,
    WANTED,
    PHASE,
    TABLE,
    KIND,
    THROTTLED,
    ROLE,
    ERROR,
    CODE,
    DETAIL,
    STATEMENT,
    COLUMNS,
    WORKER,
    CREATED,
    FINISHED,
    TEXTS,
    ROWS = TEXTS,
    TOTAL,
    PERCENT,
    RATE,
    ETA,
    AGE,
    HEARTBEAT,
    ID,
    LEASED
};

#define LEASE "1936483176" /* LEASE_CHANGE of store.h */

static const char rows_sql[] =
    "SELECT p.state, p.wanted, p.phase, p.\"table\", p.kind, p.throttled, p.session_role, p.error_message, "
    "c.error_code,"
    " c.error_detail, c.statement, array_to_string(c.columns, ', '), c.worker, date_trunc('second', "
    "c.created_at),"
    " date_trunc('second', c.finished_at), p.rows, p.rows_total, p.percent, p.rate, extract(epoch FROM "
    "p.eta),"
    " extract(epoch FROM p.age), extract(epoch FROM clock_timestamp() - c.heartbeat_at), p.id,"
    " EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = "
    "current_database() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = " LEASE
    " AND l.objid::bigint = p.id & 2147483647)"
    " FROM pgsluice.progress p LEFT JOIN pgsluice.change c ON c.id = p.id"
    " WHERE CASE WHEN $1::bigint IS NOT NULL THEN p.id = $1::bigint ELSE $2::boolean OR p.state NOT IN "
    "('complete', 'undone')"
    " OR c.finished_at > now() - interval '1 day' END ORDER BY p.id";

char *changes_clean(const void *talloc_parent, const char *text)
{
    char *copy = talloc_strdup(talloc_parent, text);
    for (unsigned char *at = (unsigned char *)copy; at != NULL && *at; at++) {
        if (*at == '\n' || *at == '\t')
            *at = ' ';
        else if (*at < ' ' || *at == 0x7f)
            *at = '?';
        else if (*at == 0xc2 && at[1] >= 0x80 &&
                 at[1] < 0xa0) /* the second set of control characters, in UTF-8 */
            *at = at[1] = '?';
    }
    return copy;
}

bool changes_finished(const struct changes_row *row)
{
    return strcmp(row->state, "complete") == 0 || strcmp(row->state, "undone") == 0;
}

/* ---- one database ---- */

static void read_row(const void *parent, const PGresult *result, int i, struct changes_row *row)
{
    const char **texts[TEXTS] = {
        [STATE] = &row->state,         [WANTED] = &row->wanted,       [PHASE] = &row->phase,
        [TABLE] = &row->table,         [KIND] = &row->kind,           [THROTTLED] = &row->throttled,
        [ROLE] = &row->role,           [ERROR] = &row->error,         [CODE] = &row->error_code,
        [DETAIL] = &row->error_detail, [STATEMENT] = &row->statement, [COLUMNS] = &row->columns,
        [WORKER] = &row->worker,       [CREATED] = &row->created,     [FINISHED] = &row->finished};
    double *numbers[] = {&row->rows, &row->rows_total, &row->percent,  &row->rate,
                         &row->eta,  &row->age,        &row->heartbeat};
    for (int column = 0; column < TEXTS; column++)
        *texts[column] =
            PQgetisnull(result, i, column) ? NULL : changes_clean(parent, link_value(result, i, column));
    for (int column = ROWS; column < ID; column++)
        *numbers[column - ROWS] =
            PQgetisnull(result, i, column) ? -1 : strtod(link_value(result, i, column), NULL);
    row->id = talloc_strdup(parent, link_value(result, i, ID));
    row->leased = link_value(result, i, LEASED)[0] == 't';
}

static bool read_rows(const void *parent, struct command *command, const struct changes_ask *ask,
                      struct changes_list *list)
{
    const char *const values[] = {ask->id, ask->all ? "t" : "f"};
    PGresult *result = command_ask(command, rows_sql, 2, values);
    int n = result == NULL ? 0 : PQntuples(result);
    struct changes_row *rows =
        talloc_realloc(parent, list->rows, struct changes_row, (unsigned)list->n + (unsigned)n + 1);
    for (int i = 0; rows != NULL && i < n; i++) {
        rows[list->n].database = changes_clean(parent, PQdb(command->server));
        read_row(parent, result, i, &rows[list->n++]);
    }
    if (rows != NULL)
        list->rows = rows;
    PQclear(result);
    return rows != NULL && result != NULL;
}

/* ---- all of them ---- */

/* 1: read; 0: there is no schema; -1: can't be asked, which has been said. */
static int installed(struct command *command)
{
    PGresult *result =
        command_ask(command, "SELECT " SCHEMA_TRUSTED ", to_regnamespace('pgsluice') IS NOT NULL", 0, NULL);
    int answer = result == NULL ? -1 : command_true(result, 0, 0);
    if (answer == 0 && command_true(result, 0, 1))
        command_say(command,
                    "%s: the schema pgsluice is left out: it is not a superuser's, nor that of a database's "
                    "owner who may act as "
                    "all roles that you may act as",
                    PQdb(command->server));
    PQclear(result);
    return answer;
}

static bool visit(const void *parent, struct changes_ask *ask, const char *database,
                  struct changes_list *list)
{
    struct command command = {.name = name, .database = database, .quiet = ask->reported};
    if (!command_connect(&command, ask->conninfo))
        return false;
    int there = installed(&command);
    bool done = there >= 0 && (there == 0 || read_rows(parent, &command, ask, list));
    list->databases += there == 1;
    command_disconnect(&command);
    return done;
}

/* The databases of this server that one may connect to; NULL: can't be asked, which has been said. */
static PGresult *databases_of(const struct changes_ask *ask)
{
    struct command command = {.name = name};
    if (!command_connect(&command, ask->conninfo))
        return NULL;
    PGresult *result = command_ask(&command,
                                   "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
                                   " AND has_database_privilege(datname, 'CONNECT') ORDER BY datname",
                                   0, NULL);
    command_disconnect(&command);
    return result;
}

static int read_all(const void *parent, struct changes_ask *ask, struct changes_list *list)
{
    PGresult *databases = databases_of(ask);
    int n = databases == NULL ? 0 : PQntuples(databases), read = 0;
    for (int i = 0; i < n; i++)
        read += visit(parent, ask, link_value(databases, i, 0), list);
    PQclear(databases);
    return read > 0 ? COMMAND_FINE : COMMAND_USAGE;
}

int changes_read(const void *talloc_parent, struct changes_ask *ask, struct changes_list *list)
{
    *list = (struct changes_list){0};
    int code;
    if (ask->database != NULL)
        code = visit(talloc_parent, ask, ask->database, list) ? COMMAND_FINE : COMMAND_USAGE;
    else
        code = read_all(talloc_parent, ask, list);
    if (code == COMMAND_FINE && list->databases == 0) {
        command_say(&(struct command){.name = name},
                    "no database here is ready for online changes: `pgsluice install`");
        code = COMMAND_USAGE;
    }
    ask->reported = true;
    return code;
}

/* ---- steering ---- */

static int not_one(const struct changes_ask *ask, const struct changes_list *list)
{
    struct command command = {.name = name};
    if (list->n == 0)
        command_say(&command, "there is no change %s that you may see", ask->id);
    else
        command_say(&command, "there is a change %s in %s and in %s: say which with --database", ask->id,
                    list->rows[0].database, list->rows[1].database);
    return COMMAND_REFUSED;
}

int changes_steer(const void *talloc_parent, struct changes_ask *ask, const char *verb,
                  struct changes_list *list)
{
    static const struct {
        const char *verb, *sql;
    } calls[] = {{"pause", "SELECT pgsluice.pause($1::bigint)"},
                 {"resume", "SELECT pgsluice.resume($1::bigint)"},
                 {"cancel", "SELECT pgsluice.cancel($1::bigint)"}};
    int code = changes_read(talloc_parent, ask, list);
    if (code != COMMAND_FINE || list->n != 1)
        return code != COMMAND_FINE ? code : not_one(ask, list);
    struct command command = {.name = name, .database = list->rows[0].database};
    if (!command_connect(&command, ask->conninfo))
        return COMMAND_USAGE;
    const char *const values[] = {ask->id};
    code = COMMAND_REFUSED;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].verb, verb) != 0)
            continue;
        PGresult *result = command_ask(&command, calls[i].sql, 1, values);
        if (result != NULL)
            code = COMMAND_FINE;
        PQclear(result);
    }
    command_disconnect(&command);
    return code;
}

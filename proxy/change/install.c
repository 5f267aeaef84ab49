/*
 * The schema, the worker's role and its rights, in one transaction that can be run again: a second
 * installation changes nothing, a later version's schema.sql adds what is new to what is there.
 */
#include "proxy/change/install.h"
#include "proxy/change/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/change/change.h"
#include "proxy/change/schema.h"

/* ---- may it be ---- */

static const char about_us[] =
    "SELECT pg_is_in_recovery(), r.rolsuper, d.datdba = r.oid OR pg_has_role(d.datdba, 'USAGE'), "
    "current_user,"
    " d.datname, current_user = session_user"
    " FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()";

static int may_install(struct install *install)
{
    struct command *command = &install->command;
    PGresult *result = command_ask(command, about_us, 0, NULL);
    int code = COMMAND_REFUSED;
    if (result == NULL)
        return COMMAND_REFUSED;
    install->superuser = command_true(result, 0, 1);
    if (command_true(result, 0, 0))
        command_say(command,
                    "this server is a standby: install on its primary, and it arrives here by itself");
    else if (!install->superuser && !command_true(result, 0, 2))
        command_say(command, "%s may not: install as a superuser (best), or as the owner of database %s",
                    link_value(result, 0, 3), link_value(result, 0, 4));
    else
        code = COMMAND_FINE;
    PQclear(result);
    if (PQserverVersion(command->server) >= 190000)
        command_say(command, "mind: this server is PostgreSQL %d, which is newer than this pgsluice knows",
                    PQserverVersion(command->server) / 10000);
    return code;
}

/* ---- what is there ---- */

static bool look_around(struct install *install)
{
    struct command *command = &install->command;
    PGresult *result = command_ask(command, "SELECT to_regclass('pgsluice.meta') IS NOT NULL", 0, NULL);
    bool there = result != NULL && command_true(result, 0, 0);
    PQclear(result);
    if (there) {
        result = command_ask(command, "SELECT version, worker FROM pgsluice.meta", 0, NULL);
        if (result == NULL)
            return false;
        if (PQntuples(result) > 0) {
            install->version = (int)strtol(link_value(result, 0, 0), NULL, 10);
            snprintf(install->was, sizeof install->was, "%s", link_value(result, 0, 1));
        }
        PQclear(result);
    }
    if (install->version > CHANGE_SCHEMA_VERSION) {
        command_say(command,
                    "the schema here is version %d, made by a newer pgsluice; this one knows version %d and "
                    "leaves it as it is",
                    install->version, CHANGE_SCHEMA_VERSION);
        return false;
    }
    const char *worker = install->asked != NULL ? install->asked
                         : install->was[0]      ? install->was
                                                : "pgsluice_worker";
    if (strlen(worker) >= sizeof install->worker || *worker == '\0') {
        command_say(command, "--worker %s: a role's name has 1 to 63 bytes", worker);
        return false;
    }
    snprintf(install->worker, sizeof install->worker, "%s", worker);
    return true;
}

/* A publication FOR ALL TABLES takes ours too, and a subscriber that hasn't got them stops applying, which
 * nobody would expect of an installation. */
static bool may_publish(struct install *install)
{
    struct command *command = &install->command;
    PGresult *result = command_ask(
        command, "SELECT string_agg(quote_ident(pubname), ', ') FROM pg_publication WHERE puballtables", 0,
        NULL);
    bool may = result != NULL && (PQgetisnull(result, 0, 0) || install->published || install->version > 0);
    if (result != NULL && !may) {
        command_say(command,
                    "publication %s is FOR ALL TABLES: it would publish the tables of this schema too, and a "
                    "PostgreSQL "
                    "subscriber that hasn't got them stops applying everything",
                    link_value(result, 0, 0));
        command_say(command,
                    "make it name its tables; or, when every subscriber has them (pg_dump --schema-only "
                    "--schema=pgsluice) or none is a PostgreSQL, install with --published");
    }
    PQclear(result);
    return may;
}

/* ---- the worker's role ---- */

/* NOINHERIT: what the worker does with an owner's rights it does after SET ROLE, never by accident. */
static const char make_role[] =
    "CREATE ROLE %1$s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS";

static bool make_worker(struct install *install)
{
    struct command *command = &install->command;
    const char *const values[] = {install->worker};
    PGresult *result = command_ask(command, "SELECT FROM pg_roles WHERE rolname = $1", 1, values);
    bool there = result != NULL && PQntuples(result) > 0, asked = result != NULL;
    PQclear(result);
    if (!asked || there)
        return asked;
    char *sql = command_named(command, make_role, install->worker, NULL);
    install->made = sql != NULL && command_do(command, sql);
    if (sql != NULL && !install->made)
        command_say(command, "let somebody who may make roles run:\n  %s;\nand install again", sql);
    free(sql);
    return install->made;
}

/* Where the worker is another one now, the former keeps nothing here. */
static bool forget_worker(struct install *install)
{
    struct command *command = &install->command;
    const char *const values[] = {install->was};
    if (install->was[0] == '\0' || strcmp(install->was, install->worker) == 0)
        return true;
    PGresult *result = command_ask(command, "SELECT FROM pg_roles WHERE rolname = $1", 1, values);
    bool there = result != NULL && PQntuples(result) > 0, done = result != NULL;
    PQclear(result);
    if (!there)
        return done;
    char *sql = command_named(command,
                              "REVOKE ALL ON ALL TABLES IN SCHEMA pgsluice FROM %1$s;"
                              "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgsluice FROM %1$s",
                              install->was, NULL);
    done = sql != NULL && command_do(command, sql);
    free(sql);
    return done;
}

/* ---- the schema ---- */

static char *schema_for(struct install *install)
{
    char *worker = PQescapeIdentifier(install->command.server, install->worker, strlen(install->worker));
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    const char *at = schema_sql;
    for (const char *next; worker != NULL && out != NULL && (next = strstr(at, SCHEMA_WORKER)) != NULL;
         at = next + strlen(SCHEMA_WORKER)) {
        fwrite(at, 1, (size_t)(next - at), out);
        fputs(worker, out);
    }
    if (out != NULL)
        fputs(at, out);
    if (out == NULL || worker == NULL || fclose(out) != 0) {
        free(text);
        text = NULL;
    }
    PQfreemem(worker);
    return text;
}

static bool make_schema(struct install *install)
{
    struct command *command = &install->command;
    char version[12];
    char *sql = schema_for(install);
    bool done = sql != NULL && command_do(command, sql);
    free(sql);
    if (!done)
        return false;
    snprintf(version, sizeof version, "%d", CHANGE_SCHEMA_VERSION);
    const char *const values[] = {version, install->worker};
    PGresult *result =
        command_ask(command,
                    "WITH there AS (UPDATE pgsluice.meta SET version = $1::int, worker = $2 RETURNING 1)"
                    " INSERT INTO pgsluice.meta (version, worker)"
                    " SELECT $1::int, $2 WHERE NOT EXISTS (SELECT FROM there)",
                    2, values);
    PQclear(result);
    return result != NULL;
}

/* What the server lets the installer grant; what it doesn't is named by the report. */
static void grant_what_may_be(struct install *install)
{
    static const char *const grants[] = {
        "GRANT CONNECT, TEMPORARY ON DATABASE %2$s TO %1$s",
        "GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO %1$s",
    };
    struct command *command = &install->command;
    for (size_t i = 0; i < sizeof grants / sizeof *grants; i++) {
        char *sql = command_named(command, grants[i], install->worker, PQdb(command->server));
        if (sql != NULL && (i == 0 || PQserverVersion(command->server) >= 150000))
            command_try(command, sql);
        free(sql);
    }
    install->may_set = command_try(command, "SET LOCAL session_replication_role = replica") &&
                       command_try(command, "SET LOCAL deadlock_timeout = '1s'");
}

int install_run(struct install *install)
{
    struct command *command = &install->command;
    int code = may_install(install);
    if (code != COMMAND_FINE)
        return code;
    /* Two installers at a time: the second one waits, and finds everything there. */
    bool done = command_do(command, "BEGIN") && command_do(command, "SET LOCAL lock_timeout = '10s'") &&
                command_do(command, "SELECT pg_advisory_xact_lock(hashtext('pgsluice install'))") &&
                /* From here on nobody else can make one of that name. */
                command_do(command, "CREATE SCHEMA IF NOT EXISTS pgsluice") && command_believes(command) &&
                look_around(install) && may_publish(install) && make_worker(install) &&
                make_schema(install) && forget_worker(install);
    if (done) {
        grant_what_may_be(install);
        done = command_do(command, "COMMIT");
    }
    if (!done)
        command_say(command, "nothing was changed in database %s", PQdb(command->server));
    return done ? COMMAND_FINE : COMMAND_REFUSED;
}

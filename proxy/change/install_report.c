/*
 * What an installation leaves to people: memberships, a password, pg_hba.conf, the proxy's own file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/change/change.h"
#include "proxy/change/install.h"
#include "proxy/change/link.h"
#include "proxy/change/schema.h"

static int step; /* of those that remain */

static void print_step(const char *text)
{
    printf("%s\n  %d. %s\n", step == 0 ? "\nWhat remains to be done:" : "", step + 1, text);
    step++;
}

static bool newer(const struct install *install)
{
    return PQserverVersion(install->command.server) >= 160000;
}

/* ---- the owners of tables ---- */

/* Who owns tables here, and may the worker act as they? */
static const char owners_sql[] =
    "SELECT r.rolname, r.rolsuper, count(*),"
    " pg_has_role($1, r.oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE "
    "'MEMBER' END)"
    " FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pgsluice')"
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
    " AND d.deptype = 'e')"
    " GROUP BY r.rolname, r.rolsuper, r.oid ORDER BY r.rolsuper, r.rolname";

static void print_grant(struct install *install, const char *owner, const char *tables)
{
    char *sql = command_named(&install->command,
                              newer(install) ? "GRANT %1$s TO %2$s WITH INHERIT FALSE, SET TRUE;"
                                             : "GRANT %1$s TO %2$s;",
                              owner, install->worker);
    if (sql != NULL)
        printf("       %s  -- %s table%s\n", sql, tables, strcmp(tables, "1") == 0 ? "" : "s");
    free(sql);
}

static void print_owners(struct install *install)
{
    const char *const values[] = {install->worker};
    PGresult *result = command_ask(&install->command, owners_sql, 1, values);
    int n = result == NULL ? 0 : PQntuples(result);
    bool said = false, superusers = false;
    for (int i = 0; i < n; i++) {
        superusers = superusers || command_true(result, i, 1);
        if (command_true(result, i, 1) || command_true(result, i, 3))
            continue;
        if (!said)
            print_step("The worker acts as the owner of the table that it changes. Let a superuser run, for "
                       "each owner\n"
                       "     whose tables are to be changed online (until then they are not, and the error "
                       "says so):");
        said = true;
        print_grant(install, link_value(result, i, 0), link_value(result, i, 2));
    }
    for (int i = 0; superusers && i < n; i++) {
        if (command_true(result, i, 1))
            printf("\nMind: %s, a superuser, owns %s of the tables here. They can't be changed online, "
                   "unless the worker "
                   "may become a\nsuperuser, which it should not. ALTER TABLE ... OWNER TO gives them to an "
                   "ordinary role.\n",
                   link_value(result, i, 0), link_value(result, i, 2));
    }
    PQclear(result);
}

/* ---- the worker's login ---- */

static const char role_sql[] =
    "SELECT r.rolcanlogin, r.rolsuper, r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR "
    "r.rolbypassrls,"
    " r.rolinherit, has_database_privilege(r.rolname, current_database(), 'CONNECT')"
    " AND has_database_privilege(r.rolname, current_database(), 'TEMPORARY')"
    " FROM pg_roles r WHERE r.rolname = $1";

static void print_role(struct install *install)
{
    const char *const values[] = {install->worker};
    PGresult *result = command_ask(&install->command, role_sql, 1, values);
    char *sql = NULL;
    if (result == NULL || PQntuples(result) != 1) {
        PQclear(result);
        return;
    }
    if (!command_true(result, 0, 0)) {
        print_step("The worker's role can't log in:");
        sql = command_named(&install->command, "ALTER ROLE %1$s LOGIN;", install->worker, NULL);
    } else if (!command_true(result, 0, 4)) {
        print_step("The worker's role may not work in this database:");
        sql = command_named(&install->command, "GRANT CONNECT, TEMPORARY ON DATABASE %2$s TO %1$s;",
                            install->worker, PQdb(install->command.server));
    }
    if (sql != NULL)
        printf("       %s\n", sql);
    free(sql);
    if (command_true(result, 0, 1))
        printf("\nMind: %s is a superuser. `pgsluice serve` refuses to work with such a login "
               "(online.allow_superuser).\n",
               install->worker);
    else if (command_true(result, 0, 2))
        printf("\nMind: %s has attributes that it doesn't need: ALTER ROLE ... NOCREATEROLE NOCREATEDB "
               "NOREPLICATION "
               "NOBYPASSRLS.\n",
               install->worker);
    else if (command_true(result, 0, 3) && !newer(install))
        printf("\nMind: %s inherits the rights of the owners it is a member of: ALTER ROLE ... NOINHERIT.\n",
               install->worker);
    PQclear(result);
}

/* Where the installer may not set what its functions have to set. */
static void print_parameters(struct install *install)
{
    if (install->may_set)
        return;
    if (PQserverVersion(install->command.server) < 150000) {
        printf("\nMind: only a superuser may set session_replication_role and deadlock_timeout. Installed by "
               "%s, the "
               "worker can't\nkeep triggers still, and autovacuum doesn't give way. Let a superuser install "
               "instead "
               "(`pgsluice uninstall` first).\n",
               PQuser(install->command.server));
        return;
    }
    char *sql = command_named(
        &install->command, "GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO %1$s, %2$s;",
        PQuser(install->command.server), install->worker);
    print_step("To keep triggers still while rows are filled, and to make autovacuum give way. Let a "
               "superuser run:");
    if (sql != NULL)
        printf("       %s\n", sql);
    free(sql);
}

/* The roles that the worker may become and the installer may not: while there is one, its schema isn't
 * believed. */
static const char beyond_sql[] =
    "SELECT string_agg(quote_ident(m.rolname), ', ') FROM pg_namespace n, pg_roles m"
    " WHERE n.nspname = 'pgsluice' AND " SCHEMA_BEYOND("$1", "n.nspowner");
static const char administers_sql[] =
    "SELECT " SCHEMA_ADMINISTERS("o", "$1") " FROM pg_roles o JOIN pg_namespace n ON n.nspowner = o.oid"
                                            " WHERE n.nspname = 'pgsluice'";

static void print_trust(struct install *install)
{
    const char *const values[] = {install->worker};
    const char *installer = PQuser(install->command.server);
    if (install->superuser)
        return;
    printf(
        "\nMind: %s is no superuser. The worker believes this schema only as long as %s is itself a member "
        "of "
        "every role that\nthe worker, %s, is a member of, in any database: or its owner could do what all of "
        "them may do.\n",
        installer, installer, install->worker);
    PGresult *result = command_ask(&install->command, beyond_sql, 1, values);
    if (result != NULL && !PQgetisnull(result, 0, 0))
        printf(
            "That is not so now: %s is no member of %s, and nothing is carried out here. Let a superuser "
            "install "
            "instead\n(`pgsluice uninstall` first), or give this database a worker of its own (--worker).\n",
            installer, link_value(result, 0, 0));
    PQclear(result);
    result = command_ask(&install->command, administers_sql, 1, values);
    if (result != NULL && PQntuples(result) == 1 && !command_true(result, 0, 0))
        printf("It also has to be a role that administers %s, and %s does not: nothing is carried out here. "
               "Let a "
               "superuser install\ninstead (`pgsluice uninstall` first), or a role with CREATEROLE that "
               "makes the "
               "worker's role itself (--worker).\n",
               install->worker, installer);
    PQclear(result);
}

int install_report(struct install *install)
{
    PGconn *server = install->command.server;
    const char *host = PQhost(server);
    step = 0;
    printf("%s in database %s: schema pgsluice, version %d; worker %s%s.\n",
           install->version == 0                       ? "Installed"
           : install->version == CHANGE_SCHEMA_VERSION ? "Installed again"
                                                       : "Upgraded",
           PQdb(server), CHANGE_SCHEMA_VERSION, install->worker, install->made ? ", a new role" : "");
    print_role(install);
    print_parameters(install);
    print_owners(install);
    print_trust(install);
    if (install->made)
        print_step("The worker has no password yet. In psql:");
    char *password = command_named(&install->command, "\\password %1$s", install->worker, NULL);
    if (install->made && password != NULL)
        printf("       %s\n", password);
    free(password);
    print_step(
        "If they are not there yet: a line in the server's pg_hba.conf that lets the proxy's host in, and "
        "the line\n"
        "     of the proxy's file that makes it work (then SIGHUP; the password in PGPASSFILE, or here):");
    printf("       host all %s ADDRESS/32 scram-sha-256\n", install->worker);
    printf("       online: {maintenance: 'host=%s port=%s user=%s dbname=%s'}\n", host == NULL ? "" : host,
           PQport(server), install->worker, PQdb(server));
    printf("\nMind: pg_dump as a role that is neither a superuser nor %s needs --exclude-schema=pgsluice, or "
           "it stops at the "
           "rows that\nit may not see.\n",
           PQuser(server));
    printf("\nRun this again for each further database whose tables are to be changed online.\n");
    return COMMAND_FINE;
}

/*
 * Taking the schema `pgsluice` away again.
 */
#include <stdio.h>
#include <string.h>

#include "proxy/change/install.h"
#include "proxy/change/link.h"

static const char unfinished_sql[] =
    "SELECT id, state, pg_catalog.format('%I.%I', table_schema, table_name) FROM pgsluice.change"
    " WHERE state NOT IN ('complete', 'undone') ORDER BY id";

/* 0: none; -1: can't be asked, which has been said. */
static int unfinished(struct command *command)
{
    PGresult *result = command_ask(command, "SELECT to_regclass('pgsluice.change') IS NOT NULL", 0, NULL);
    bool there = result != NULL && command_true(result, 0, 0);
    if (result == NULL)
        return -1;
    PQclear(result);
    if (!there)
        return 0;
    /* Nobody begins one from here on. */
    if (!command_do(command, "LOCK TABLE pgsluice.change IN ACCESS EXCLUSIVE MODE") ||
        (result = command_ask(command, unfinished_sql, 0, NULL)) == NULL)
        return -1;
    int n = PQntuples(result);
    for (int i = 0; i < n; i++)
        command_say(command, "change %s of %s is %s", link_value(result, i, 0), link_value(result, i, 2),
                    link_value(result, i, 1));
    PQclear(result);
    return n;
}

static int refuse(struct command *command, int n)
{
    if (n > 0)
        command_say(command,
                    "%d change%s unfinished. Wait for %s, or undo with `pgsluice changes cancel N`; --force "
                    "takes the "
                    "schema away all the same, and leaves columns half filled",
                    n, n == 1 ? " is" : "s are", n == 1 ? "it" : "them");
    command_do(command, "ROLLBACK");
    return COMMAND_REFUSED;
}

int uninstall_run(struct command *command, bool force)
{
    PGresult *result = command_ask(command, "SELECT to_regnamespace('pgsluice') IS NOT NULL", 0, NULL);
    bool there = result != NULL && command_true(result, 0, 0);
    PQclear(result);
    if (result == NULL)
        return COMMAND_REFUSED;
    if (!there) {
        printf("There is no schema pgsluice in database %s: nothing to do.\n", PQdb(command->server));
        return COMMAND_FINE;
    }
    if (!command_do(command, "BEGIN") || !command_do(command, "SET LOCAL lock_timeout = '10s'"))
        return COMMAND_REFUSED;
    if (!command_believes(command))
        return refuse(command, 0);
    int n = unfinished(command);
    if (n < 0 || (n > 0 && !force))
        return refuse(command, n);
    if (!command_do(command, "DROP SCHEMA pgsluice CASCADE") || !command_do(command, "COMMIT"))
        return refuse(command, 0);
    printf("Uninstalled from database %s. The worker's role and its memberships are left; when no database "
           "needs it any\n"
           "more: DROP OWNED BY it in each database, then DROP ROLE.\n",
           PQdb(command->server));
    return COMMAND_FINE;
}

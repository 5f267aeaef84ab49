/*
 * What would be done, and done wrong: the worker is another session, at another time, and of some things the
 * catalog doesn't let it make what the statement itself would have made. There is no plan then.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "policy/plan_inside.h"

static bool listed(const char *const *list, const char *word, size_t n)
{
    for (; *list != NULL; list++) {
        if (strlen(*list) == n && strncasecmp(*list, word, n) == 0)
            return true;
    }
    return false;
}

/* ---- defaults ---- */

/* Of pg_catalog; what converts by the session's settings (to_char() and the like) is not meant: those are
 * seldom set. */
static const char *const session_functions[] = {"now",
                                                "transaction_timestamp",
                                                "statement_timestamp",
                                                "current_setting",
                                                "current_schema",
                                                "current_schemas",
                                                "current_query",
                                                "current_user",
                                                "session_user",
                                                "user",
                                                "system_user",
                                                "getpgusername",
                                                "inet_client_addr",
                                                "inet_client_port",
                                                "inet_server_addr",
                                                "inet_server_port",
                                                "pg_backend_pid",
                                                "pg_my_temp_schema",
                                                "txid_current",
                                                "txid_current_if_assigned",
                                                "txid_current_snapshot",
                                                "pg_current_xact_id",
                                                "pg_current_xact_id_if_assigned",
                                                "pg_current_snapshot",
                                                "currval",
                                                "lastval",
                                                "pg_has_role",
                                                "has_table_privilege",
                                                "has_schema_privilege",
                                                "row_security_active",
                                                NULL};

/* A function of the users' own that is STABLE reads settings or tables: another session, later, may get
 * something else. */
static bool own_stable(const struct catalog *names, const char *name)
{
    for (size_t i = 0; i < names->n_functions; i++) {
        const struct catalog_function *function = &names->functions[i];
        if (function->volatility == CATALOG_STABLE && strcmp(function->name, name) == 0 &&
            strcmp(function->schema, "pg_catalog") != 0)
            return true;
    }
    return false;
}

static bool session_bound(const struct catalog *names, const struct expr *expr, int depth)
{
    enum { DEPTH_MAX = 200 };
    const char *name = expr->name.name;
    if (depth > DEPTH_MAX || expr->kind == EXPR_SQL_VALUE)
        return true;
    if (expr->kind == EXPR_FUNCTION && name != NULL &&
        (listed(session_functions, name, strlen(name)) || own_stable(names, name)))
        return true;
    for (size_t i = 0; i < expr->n_args; i++) {
        if (session_bound(names, expr->args[i], depth + 1))
            return true;
    }
    return false;
}

/* The statement itself asks once, as its own user; the fill asks batch by batch, as the worker. */
void plan_default_moves(struct planner *planner, const struct expr *by_default)
{
    if (session_bound(planner->look->names, by_default, 0))
        plan_refuse(planner, "its default depends on who runs it, or when: current_user, now(), …");
}

/* ---- identity ---- */

/* Behind blanks and comments. */
static const char *behind_blanks(const char *at)
{
    for (;;) {
        int depth = 0;
        at += strspn(at, " \t\r\n\f\v");
        if (strncmp(at, "--", 2) == 0) {
            at += strcspn(at, "\r\n");
            continue;
        }
        if (strncmp(at, "/*", 2) != 0)
            return at;
        do {
            bool opens = strncmp(at, "/*", 2) == 0, closes = strncmp(at, "*/", 2) == 0;
            depth += opens - closes;
            at += opens || closes ? 2 : 1;
        } while (depth > 0 && *at != '\0');
    }
}

/* The sequence is made anew at the end, from what pg_sequence has of it: numbers, and nothing else. Whatever
 * is no word or number of theirs (a name in quotes, say) is not one of those. */
void plan_identity_options(struct planner *planner, const char *options)
{
    static const char *const known[] = {"START",    "WITH", "INCREMENT", "BY",    "MINVALUE",
                                        "MAXVALUE", "NO",   "CACHE",     "CYCLE", NULL};
    for (const char *at = behind_blanks(options); *at != '\0' && planner->why == NULL;
         at = behind_blanks(at)) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
        size_t word = strspn(at, letters);
        bool sequence = word == strlen("SEQUENCE") && strncasecmp(at, "SEQUENCE", word) == 0;
        if (word == 0 && (isdigit((unsigned char)*at) || strchr("+-", *at) != NULL)) {
            at += 1 + strspn(at + 1, "0123456789_xXoObBaAcCdDeEfF");
            continue;
        }
        if (word == 0)
            plan_refuse(planner, "where the options of its identity begin and end can't be told");
        else if (!listed(known, at, word))
            plan_refuse(planner, "the identity option %.*s is not supported; leave it out and %s afterwards",
                        sequence ? (int)strlen("SEQUENCE NAME") : (int)word, sequence ? "SEQUENCE NAME" : at,
                        sequence ? "rename the sequence" : "alter the sequence");
        at += word;
    }
}

/* ---- tables ---- */

/* The catalog's mark says nothing of the rows where it was made by a constraint NOT VALID, or of the parent
 * alone; but who does the work goes by the mark, and would find nothing left to do. */
void plan_marked_not_null(struct planner *planner, const char *name)
{
    const struct catalog_column *column = catalog_column(planner->relation, name);
    if (column != NULL && column->not_null)
        plan_refuse(planner,
                    "column %s is marked NOT NULL already, by a constraint that is NOT VALID or on the "
                    "parent alone: VALIDATE the constraint, or SET NOT NULL on each child first",
                    plan_quoted(planner, name));
}

/* The worker goes down to the children, which ONLY was to leave as they are. */
void plan_only(struct planner *planner)
{
    if (planner->facts->only && planner->relation->children > 0 && planner->index == NULL)
        plan_refuse(planner,
                    "it says ONLY, and what is done later would be done to the children of %s as well",
                    planner->table);
}

/*
 * See owner.h.
 */
#include "proxy/change/owner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GRACE = 10000 }; /* ms that a batch may be late: its COMMIT waits for the disk */

/* %s: replica, for the transaction; replica_session, until RESET ALL. */
#define REPLICA(function)                                                                                    \
    "DO 'BEGIN IF NOT pgsluice." function "() THEN RAISE EXCEPTION USING ERRCODE = ''42501'', "              \
    "MESSAGE = ''pgsluice may not set session_replication_role, so triggers would fire for every row it "    \
    "fills'', "                                                                                              \
    "HINT = ''Run pgsluice install again, as a superuser.''; END IF; END'; "

static const char replica[] = REPLICA("replica");

/* What the owner's code has set or LISTENs to becomes the session's with COMMIT: forgotten in the same
 * message, so that no statement of ours runs under it. */
static const char forget[] = "; RESET ALL; UNLISTEN *; ";

/* Autovacuum that is in the way of a lock is asked to yield at once. Not for batches, which take no lock that
 * it would mind: it reads pg_settings, which costs as much as a hundred rows. */
static const char impatient[] = "SELECT pgsluice.impatient(); ";

/* Before a command that event triggers are for: they would run under SET ROLE, with a way back to us. In
 * replica mode only these are left, and they are a superuser's to change: so it waits. */
static const char no_event[] =
    "DO 'BEGIN IF pgsluice.event_trigger() IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = ''55006'', "
    "MESSAGE = format(''the event trigger %I fires always, also for what pgsluice does'', "
    "pgsluice.event_trigger()), HINT = ''Let it be ENABLEd without ALWAYS or REPLICA.''; END IF; END'; ";

/*
 * What the owner's code may have left for COMMIT, or written unseen. Replica mode can be left by RESET ALL,
 * but not entered again; while it lasts, only ENABLE ALWAYS and REPLICA triggers are queued, and those of
 * other tables can't be where nothing else was written. (Nor are foreign keys and triggers of other tables
 * evaded then.)
 * `%s`: the check of that, which sets `it`; `%u`: the table.
 */
#define LEFT(written)                                                                                        \
    "SET LOCAL search_path = pg_catalog, pg_temp; "                                                          \
    "IF current_setting(''session_replication_role'') <> ''replica'' THEN "                                  \
    "it := ''a function of the owner changed session_replication_role''; "                                   \
    "ELSIF EXISTS (SELECT FROM pg_cursors WHERE is_holdable) THEN "                                          \
    "it := ''a function of the owner left a cursor WITH HOLD''; ELSE "                                       \
    "SELECT format(''trigger %%s of %%s is deferrable and fires always'', t.tgname, t.tgrelid::regclass) "   \
    "INTO it FROM pg_trigger t WHERE t.tgdeferrable AND t.tgenabled IN (''A'', ''R'') "                      \
    "AND t.tgrelid IN (SELECT pgsluice.tree(%u)) LIMIT 1; END IF; "                                          \
    "IF it IS NULL THEN " written "END IF; "                                                                 \
    "IF it IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = ''0A000'', MESSAGE = it, "                       \
    "DETAIL = ''Triggers of what it does would not fire, or run at COMMIT with the rights of pgsluice.''; "  \
    "END IF; "

/* Locks see what counters don't: TRUNCATE, foreign tables. */
static const char guard[] = "SET LOCAL search_path = pg_catalog, pg_temp; DO 'DECLARE it text; BEGIN " LEFT(
    "SELECT format(''a function of the owner wrote to %%s'', c.oid::regclass) INTO it FROM pg_locks l "
    "JOIN pg_class c ON c.oid = l.relation WHERE l.pid = pg_backend_pid() AND l.locktype = ''relation'' "
    "AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) "
    "AND l.mode NOT IN (''AccessShareLock'', ''RowShareLock'') AND c.relkind IN (''r'', ''p'', ''f'') "
    "AND c.oid <> %u AND c.relnamespace <> ''pg_catalog''::regnamespace LIMIT 1; ") "END'; ";

/*
 * DDL locks other tables of its own (those that foreign keys reference): here rows count. Counters may hold
 * what an earlier transaction of the session did, so they are compared, within one statement: what is in its
 * variables is out of the owner's reach. Our own tables have no triggers.
 */
#define ROWS                                                                                                 \
    "(SELECT sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del) FROM pg_stat_xact_all_tables s WHERE "             \
    "s.schemaname "                                                                                          \
    "NOT IN (''pg_catalog'', ''pg_toast'', ''pgsluice'') AND s.relid NOT IN (SELECT pgsluice.tree(%u)))"
static const char guarded_step[] =
    "DO 'DECLARE it text; before constant numeric := coalesce(" ROWS ", 0); BEGIN "
    "PERFORM pg_temp.pgsluice_step(); " LEFT("IF " ROWS " > before THEN "
                                             "it := ''a function of the owner wrote to another table''; "
                                             "END IF; ") "END'; ";

/* Statements that make a function which belongs to the owner; we are ourselves again behind them. Replica
 * mode is on: no event trigger fires. The body isn't looked at before it runs. */
static char *make_sql(struct work *work, const char *owner_sql, const char *name, const char *arguments,
                      const char *settings, const char *body)
{
    char *whole = talloc_asprintf(work->row, "%s\nEND", body);
    const char *text = whole ? sql_text(work, whole) : NULL, *path = sql_text(work, work->path);
    char *sql = NULL;
    if (text && path)
        sql = talloc_asprintf(
            work->row,
            "%sSET LOCAL check_function_bodies = off; SELECT set_config('search_path', %s, true); "
            "SET LOCAL ROLE %s; "
            "CREATE OR REPLACE FUNCTION pg_temp.%s(%s) RETURNS pg_catalog.text LANGUAGE plpgsql "
            "SECURITY DEFINER SET search_path FROM CURRENT SET row_security = off %s %s AS %s; "
            "GRANT EXECUTE ON FUNCTION pg_temp.%s(%s) TO SESSION_USER; RESET ROLE; "
            "SET LOCAL search_path = pg_catalog, pg_temp; ",
            no_event, path, owner_sql, name, arguments, work->clauses, settings, text, name, arguments);
    talloc_free(whole);
    return sql;
}

/* The same where such a message has failed: perhaps behind its COMMIT, by a setting that was left there. */
static void forget_all(struct link *link)
{
    struct failure why = link->failed;
    bool (*interrupt)(void *) = link->interrupt;
    link->interrupt = NULL;
    bool lost = why.lost || !link->pg || !link_do(link, "RESET ALL") || !link_do(link, "UNLISTEN *") ||
                !link_do(link, link_reset(link));
    link->interrupt = interrupt;
    if (lost)
        link_close(link);
    why.lost |= lost;
    link->failed = why;
}

bool owner_run(struct work *work, const char *owner_sql, const char *body, const char *ours)
{
    char *begun = talloc_asprintf(work->row, "BEGIN\n%s\nRETURN NULL;", body);
    char *make = begun ? make_sql(work, owner_sql, "pgsluice_step", "", "", begun) : NULL;
    uint32_t table = work->row->relation;
    char *step = talloc_asprintf(work->row, guarded_step, table, table, table);
    char *sql = NULL;
    if (make && step)
        sql = talloc_asprintf(work->row,
                              "%sBEGIN; %s%s%s%sSET LOCAL ROLE %s; DROP FUNCTION pg_temp.pgsluice_step(); "
                              "RESET ROLE; %s%sCOMMIT%s%s",
                              link_reset(&work->link), replica, impatient, make, step, owner_sql,
                              ours ? ours : "", ours ? "; " : "", forget, link_reset(&work->link));
    bool good = link_do(&work->link, sql);
    if (!good)
        forget_all(&work->link);
    talloc_free(begun);
    talloc_free(make);
    talloc_free(step);
    talloc_free(sql);
    return good;
}

bool owner_make(struct work *work, const char *owner_sql, struct owner_function *function,
                const char *settings, const char *body)
{
    char *make = make_sql(work, owner_sql, function->name, "bigint, bigint", settings, body);
    char *sql = make ? talloc_asprintf(work->row,
                                       "%sBEGIN; %s%sSELECT p.oid, p.xmin FROM pg_proc p "
                                       "WHERE p.oid = 'pg_temp.%s(bigint, bigint)'::regprocedure; COMMIT",
                                       link_reset(&work->link), replica, make, function->name)
                     : NULL;
    PGresult *result = link_exec(&work->link, sql);
    if (result) {
        snprintf(function->oid, sizeof function->oid, "%s", link_value(result, 0, 0));
        snprintf(function->xmin, sizeof function->xmin, "%s", link_value(result, 0, 1));
    }
    PQclear(result);
    talloc_free(make);
    talloc_free(sql);
    return result != NULL;
}

/* Is it still the one that we made? A statement of its own: the next one is planned, and calls of IMMUTABLE
 * functions are folded then, only when this one has gone well. */
static const char unchanged[] =
    "DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = %s AND p.xmin = ''%s'') THEN "
    "RAISE EXCEPTION USING ERRCODE = ''40001'', "
    "MESSAGE = ''a function that pgsluice made was changed by code of the owner''; END IF; END'; ";

PGresult *owner_call(struct work *work, const struct owner_function *function, int64_t first, int64_t second,
                     int64_t most)
{
    char *check = talloc_asprintf(work->row, unchanged, function->oid, function->xmin);
    char *after = talloc_asprintf(work->row, guard, function->relation, function->relation);
    char *sql = NULL;
    if (check && after)
        sql = talloc_asprintf(work->row,
                              "%sBEGIN; SET LOCAL synchronous_commit = off; SET LOCAL statement_timeout = "
                              "%" PRId64 "; SET LOCAL lock_timeout = %" PRId64
                              "; %s%sSELECT pg_temp.%s(%" PRId64 "::bigint, %" PRId64
                              "::bigint); SET LOCAL statement_timeout = 0; %sCOMMIT%s%s",
                              link_reset(&work->link), most, most * 9 / 10, replica, check, function->name,
                              first, second, after, forget, link_reset(&work->link));
    /* A timeout can be caught: so the time that it has on our side ends as well. */
    work->link.deadline = most ? most + GRACE : 0;
    PGresult *result = link_exec(&work->link, sql);
    work->link.deadline = 0;
    if (!result)
        forget_all(&work->link);
    talloc_free(check);
    talloc_free(after);
    talloc_free(sql);
    return result;
}

const char *owner_lock(struct work *work, const char *mode)
{
    return talloc_asprintf(
        work->row,
        "PERFORM pgsluice.lock(%u::pg_catalog.oid::pg_catalog.regclass, '%s', %" PRId64 ", %" PRId64 ");\n"
        "IF NOT coalesce(pg_catalog.to_regclass(%s)::pg_catalog.oid OPERATOR(pg_catalog.=) "
        "%u::pg_catalog.oid, "
        "false) THEN\n"
        "  RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the table was renamed meanwhile';\n"
        "END IF;\n",
        work->row->relation, mode, work->online->stall_budget ? work->online->stall_budget : 100,
        work->online->lock_time ? work->online->lock_time : 60000, sql_text(work, work->target.sql),
        work->row->relation);
}

bool owner_top_level(struct work *work, const char *owner_sql, const char *settings, const char *sql,
                     bool single)
{
    bool good = work_do(work, "%s%s%s%s%s", link_reset(&work->link), work->settings, settings,
                        REPLICA("replica_session"), no_event) &&
                work_do(work, "SET ROLE %s", owner_sql);
    if (good) {
        work_busy(work, true);
        good = single ? link_do_single(&work->link, sql) : link_do(&work->link, sql);
        work_busy(work, false);
    }
    /* The way back, whatever became of it; a link that has lost its own is of no use any more. */
    struct failure why = work->link.failed;
    bool back = link_do(&work->link, "RESET ROLE") && link_do(&work->link, link_reset(&work->link));
    if (!good)
        work->link.failed = why;
    if (!back)
        link_close(&work->link);
    return good && back;
}

/*
 * Acting as the owner of a table. Code that the owner wrote (a default's function, a CHECK, an index's
 * expression) runs with the owner's rights and can't get ours: it runs inside of a SECURITY DEFINER function
 * that belongs to the owner and lives in pg_temp, where SET ROLE and RESET ROLE are refused. What remains is
 * closed here:
 *
 *   * It may change settings of the session. So each message begins and ends with RESET ALL, and search_path
 * is set by a utility statement before we name anything.
 *   * Others may have made operators in a schema on the owner's search_path (public), which fit better than
 * those of pg_catalog, and would run as the owner. So in what we write for the owner each operator, function
 * and type has its schema, and what has an operator hidden in it (IS DISTINCT FROM, IN, LIKE) isn't used.
 *   * It may replace the function by one that runs as its caller. So a function is made in the transaction
 * that calls it, or called behind a statement that fails unless its row in pg_proc is the one that we made.
 *   * It may leave code for COMMIT, which would run as us: deferred triggers and cursors WITH HOLD. In
 * replica mode only ENABLE ALWAYS and ENABLE REPLICA triggers are queued; where the table has a deferrable
 * one of these, where any other table was written, where replica mode was left, or such a cursor is there,
 * the transaction fails.
 *   * Event triggers run as whoever is current, with ways back to us. None fires in replica mode but those
 * that are ENABLE ALWAYS and REPLICA, and where there is one, nothing is done.
 */
#ifndef PGSLUICE_PROXY_CHANGE_OWNER_H
#define PGSLUICE_PROXY_CHANGE_OWNER_H

#include "proxy/change/work.h"

/* A function that stays for the session. */
struct owner_function {
    char name[80];
    uint32_t relation;      /* the only table that it may write */
    char oid[16], xmin[16]; /* its row in pg_proc */
};

/*
 * `body`: PL/pgSQL statements between BEGIN and END, from catalog names only. `ours`: SQL in the same
 * transaction, run as ourselves behind it; or NULL. False: work->link.failed; nothing was changed.
 */
bool owner_run(struct work *, const char *owner_sql, const char *body, const char *ours);

/* Makes `name`(bigint, bigint) returning text. `settings`: SET clauses. */
bool owner_make(struct work *, const char *owner_sql, struct owner_function *, const char *settings,
                const char *body);
/* Calls it, in a transaction that doesn't wait for the disk. NULL: work->link.failed. */
/* `most`: the milliseconds that it may take (0: no limit); then it fails with 57014, or shortly before with
 * 55P03 if it waits for a lock. */
PGresult *owner_call(struct work *, const struct owner_function *, int64_t first, int64_t second,
                     int64_t most);

/* PL/pgSQL: takes a lock within the stall budget and makes sure that the name still means this table. */
const char *owner_lock(struct work *, const char *mode);

/* One statement at the top level, for those that can't run in a function; the server itself runs the owner's
 * code in them as the owner and without a way back, but what it looks at before, it looks at without that: so
 * search_path is the catalog's. `settings`: SET statements, each with its semicolon.
 * `single`: `sql` is not ours, and sent so that it can be but one statement. */
bool owner_top_level(struct work *, const char *owner_sql, const char *settings, const char *sql,
                     bool single);

#endif

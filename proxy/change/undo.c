/*
 * The way back: whatever the change has made goes, and the row says `undone` in the same transaction. What
 * prevents it (a view that uses the column already) leaves the change stuck until a person has looked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/change/owner.h"

/* In the transaction that makes it so: where the row isn't as we left it, somebody else has ended the change
 * meanwhile, and nothing of ours happens. */
static char * final(const struct work *work)
{
    return talloc_asprintf(
        work->row,
        "DO 'BEGIN UPDATE pgsluice.change SET state = ''undone'', throttled = NULL, progress = progress - "
        "''tries'', finished_at = clock_timestamp(), heartbeat_at = clock_timestamp() "
        "WHERE id = %" PRId64 " AND state = ''undoing''; IF NOT FOUND THEN RAISE EXCEPTION USING "
        "ERRCODE = ''40001'', MESSAGE = ''another worker has ended this change''; END IF; END'",
        work->row->id);
}

static char *add(char *list, const char *what, const char *name)
{
    return talloc_asprintf_append_buffer(list, "%s%s%s", list[0] ? ", " : "", what, name);
}

/* Subcommands of one ALTER TABLE. Constraints come before columns: one may span several. */
static char *subcommands(struct work *work)
{
    const json_t *constraints = json_object_get(work->row->spec, "validate"), *item;
    char *list = talloc_strdup(work->row, "");
    size_t i;
    for (size_t j = 0; j < work->n_columns; j++)
        if (work->columns[j].not_null)
            list = add(list, "DROP CONSTRAINT IF EXISTS ", check_name(work, &work->columns[j]));
    json_array_foreach(constraints, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name)
            list = add(list, "DROP CONSTRAINT IF EXISTS ", sql_name(work, name));
    }
    for (size_t j = 0; j < work->n_columns; j++)
        if (work->columns[j].added && work->columns[j].name)
            list = add(list, "DROP COLUMN ", work->columns[j].sql);
    return list;
}

/* Where a table was made LIKE this one meanwhile, its copy of the default that fills would be in the way. */
static char *sequences(struct work *work)
{
    char *sql = talloc_strdup(work->row, "");
    for (size_t i = 0; i < work->n_columns; i++) {
        const struct column *column = &work->columns[i];
        if (column->identity && column->name)
            sql = talloc_asprintf_append_buffer(sql,
                                                "IF %s THEN\n  ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT;\n"
                                                "  EXECUTE pg_catalog.format('DROP SEQUENCE %%s CASCADE', "
                                                "%u::pg_catalog.oid::pg_catalog.regclass);\nEND IF;\n",
                                                finish_only_defaults(work, column), work->target.sql,
                                                column->sql, column->sequence);
    }
    return sql;
}

static bool drops_columns(const struct work *work)
{
    for (size_t i = 0; i < work->n_columns; i++)
        if (work->columns[i].added)
            return true;
    return false;
}

enum step undo(struct work *work)
{
    enum step step = STEP_DONE;
    if (!work->target.sql) /* the table is gone, and everything with it */
        return work_do(work, "%s", final(work)) ? STEP_DONE : work_failed(work);
    if (!drops_columns(work))
        step = index_drop(work);
    if (step != STEP_DONE)
        return step;
    char *list = subcommands(work);
    if (!list[0])
        return work_do(work, "%s", final(work)) ? STEP_DONE : work_failed(work);
    char *body = talloc_asprintf(work->row,
                                 "%sPERFORM pg_catalog.set_config('lock_timeout', '%" PRId64 "', true);\n"
                                 "%sALTER TABLE %s %s;",
                                 owner_lock(work, "ACCESS EXCLUSIVE"),
                                 work->online->stall_budget ? work->online->stall_budget : 100,
                                 sequences(work), work->target.sql, list);
    atomic_fetch_add(&work->job->changes->locks_tried, 1);
    work_busy(work, true);
    bool good = owner_run(work, work->target.owner_sql, body, final(work));
    work_busy(work, false);
    return good ? STEP_DONE : work_failed(work);
}

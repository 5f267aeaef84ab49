/*
 * The functions that fill: PL/pgSQL text out of catalog names. Our own names in them begin with pgsluice_, so
 * that no column can be meant by accident; operators, functions and types have their schema (owner.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/change/fill.h"

/* A plan by ctid each time, and the same one. */
static const char by_ctid[] =
    "SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = off "
    "SET jit = off SET plan_cache_mode = force_generic_plan";

static bool taken(const struct column *column, const struct column *only)
{
    return column->fill && (!only || column == only);
}

/* Rows of the blocks $1 … $2 - 1. Before 14 there is no scan of a range of ctids, but one of a list: all that
 * a page of 8 kB could hold. */
static const char *range_of(const struct work *work)
{
    if (work->link.version >= 140000)
        return "ctid OPERATOR(pg_catalog.>=) pg_catalog.format('(%s,0)', $1)::pg_catalog.tid "
               "AND ctid OPERATOR(pg_catalog.<) pg_catalog.format('(%s,0)', $2)::pg_catalog.tid";
    return "ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT "
           "pg_catalog.format('(%s,%s)', pgsluice_b, pgsluice_o)::pg_catalog.tid "
           "FROM pg_catalog.generate_series($1, $2 OPERATOR(pg_catalog.-) 1::bigint) AS pgsluice_b, "
           "pg_catalog.generate_series(1, 291) AS pgsluice_o))";
}

/* Waits in line like any statement of the application would; then the name must still mean this table. */
static char *entry(const struct filling *filling, const char *mode)
{
    struct work *work = filling->work;
    return talloc_asprintf(
        work->row,
        "  LOCK TABLE ONLY %s IN %s MODE;\n"
        "  IF NOT coalesce(pg_catalog.to_regclass(%s)::pg_catalog.oid OPERATOR(pg_catalog.=) "
        "%u::pg_catalog.oid, "
        "false) THEN\n"
        "    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'the table was renamed meanwhile';\n"
        "  END IF;\n",
        filling->leaf.sql, mode, sql_text(work, filling->leaf.sql), filling->leaf.oid);
}

struct lists {
    char *set, *where, *needed; /* c = DEFAULT, …; c IS NULL AND …; NULL where it may not be */
    char *nulls, *counts;       /* of each that may: is it NULL, and in how many rows */
};

static char *joined(char *list, const char *between, const char *name, const char *behind)
{
    return talloc_asprintf_append_buffer(list, "%s%s%s", list[0] ? between : "", name, behind);
}

static struct lists lists_of(const struct work *work, const struct column *only)
{
    struct lists lists = {talloc_strdup(work->row, ""), talloc_strdup(work->row, ""),
                          talloc_strdup(work->row, ""), talloc_strdup(work->row, ""),
                          talloc_strdup(work->row, "")};
    for (size_t i = 0; i < work->n_columns; i++) {
        const struct column *column = &work->columns[i];
        if (!taken(column, only))
            continue;
        lists.set = joined(lists.set, ", ", column->sql, " = DEFAULT");
        lists.where = joined(lists.where, " AND ", column->sql, " IS NULL");
        if (column->not_null) {
            lists.needed = joined(lists.needed, " OR ", column->sql, " IS NULL");
            continue;
        }
        lists.nulls = talloc_asprintf_append_buffer(lists.nulls, ", (%s IS NULL) AS pgsluice_null_%d",
                                                    column->sql, column->number);
        lists.counts = talloc_asprintf_append_buffer(
            lists.counts, ", pg_catalog.count(*) FILTER (WHERE pgsluice_null_%d)", column->number);
    }
    return lists;
}

/* Behind "c IS NULL": and it isn't what the default gave. Of all columns at once, where an attempt before
 * this one got so far that its rows lie before us again; what else it leaves out is found column by column.
 */
static const char *untried(const struct filling *filling, const struct column *only)
{
    struct work *work = filling->work;
    const struct nulls *nulls = only ? &filling->nulls[only - work->columns] : filling->nulls;
    for (size_t i = 0; !only && i < work->n_columns && !nulls->many; i++)
        nulls++;
    if (!nulls->first)
        return "";
    if (nulls->many)
        return talloc_asprintf(
            work->row,
            " AND ((xmin::pg_catalog.text::bigint OPERATOR(pg_catalog.-) %" PRId64 "::bigint) "
            "OPERATOR(pg_catalog.&) 4294967295::bigint) OPERATOR(pg_catalog.>=) 2147483648::bigint",
            nulls->first);
    return talloc_asprintf(
        work->row, " AND xmin::pg_catalog.text::bigint OPERATOR(pg_catalog.<>) ALL ('{%s}'::bigint[])",
        nulls->list);
}

/* `behind` the inner SELECT: which rows it locks and how. Told is how many rows, in how many of them there is
 * NULL where it may not be; the transaction, and how many got NULL of each column that may be. */
static char *update_of(const struct filling *filling, const struct column *only, const char *behind)
{
    struct work *work = filling->work;
    struct lists lists = lists_of(work, only);
    return talloc_asprintf(work->row,
                           "  WITH pgsluice_filled AS (\n"
                           "    UPDATE ONLY %s SET %s WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(\n"
                           "      SELECT ctid FROM ONLY %s WHERE %s AND %s%s %s))\n"
                           "    RETURNING (%s) AS pgsluice_needed%s)\n"
                           "  SELECT pg_catalog.concat_ws(' ', pg_catalog.count(*),\n"
                           "           pg_catalog.count(*) FILTER (WHERE pgsluice_needed),\n"
                           "           CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.>) 0::bigint\n"
                           "                THEN pg_catalog.txid_current() ELSE 0::bigint END%s)\n"
                           "    INTO pgsluice_told FROM pgsluice_filled;\n",
                           filling->leaf.sql, lists.set, filling->leaf.sql, range_of(work), lists.where,
                           untried(filling, only), behind, lists.needed[0] ? lists.needed : "false",
                           lists.nulls, lists.counts);
}

static bool make(struct filling *filling, struct owner_function *function, const char *what,
                 const char *settings, const char *body)
{
    snprintf(function->name, sizeof function->name, "pgsluice_%s_%u", what, filling->leaf.oid);
    function->relation = filling->leaf.oid;
    return owner_make(filling->work, filling->leaf.owner_sql, function, settings, body);
}

bool fill_make(struct filling *filling, struct owner_function *function, const char *what,
               const struct column *only)
{
    char *body = talloc_asprintf(
        filling->work->row, "DECLARE\n  pgsluice_told text;\nBEGIN\n%s%s  RETURN pgsluice_told;",
        entry(filling, "ROW EXCLUSIVE"), update_of(filling, only, "FOR NO KEY UPDATE SKIP LOCKED"));
    return make(filling, function, what, by_ctid, body);
}

/* One row only: who waits for a row while he holds another one can be part of a deadlock. */
bool fill_make_wait(struct filling *filling, const struct column *column)
{
    char *settings = talloc_asprintf(filling->work->row, "%s SET lock_timeout = '300ms'", by_ctid);
    char *body = talloc_asprintf(filling->work->row,
                                 "DECLARE\n  pgsluice_told text;\nBEGIN\n%s%s  RETURN pgsluice_told;\n"
                                 "EXCEPTION WHEN lock_not_available THEN\n  RETURN '0 0 0';",
                                 entry(filling, "ROW EXCLUSIVE"),
                                 update_of(filling, column, "LIMIT 1 FOR NO KEY UPDATE"));
    return make(filling, &filling->wait, "wait", settings, body);
}

bool fill_make_list(struct filling *filling, const struct column *column)
{
    char *body = talloc_asprintf(
        filling->work->row,
        "DECLARE\n  pgsluice_told text;\nBEGIN\n%s"
        "  SELECT pg_catalog.concat_ws(' ', pg_catalog.count(*), pg_catalog.pg_relation_size(%u)\n"
        "           OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::bigint,\n"
        "           pg_catalog.array_to_string(pg_catalog.array_agg(DISTINCT\n"
        "           ((pgsluice_tid::pg_catalog.text::pg_catalog.point)[0])::bigint), ' ')) INTO "
        "pgsluice_told\n"
        "    FROM (SELECT ctid AS pgsluice_tid FROM ONLY %s WHERE %s IS NULL%s LIMIT $1) AS pgsluice_left;\n"
        "  RETURN coalesce(pgsluice_told, '0 0');",
        entry(filling, "ACCESS SHARE"), filling->leaf.oid, filling->leaf.sql, column->sql,
        untried(filling, column));
    return make(filling, &filling->list, "list", "SET jit = off", body);
}

/*
 * The author's own index. Its text comes from the client: it is read by our parser, and must be one CREATE
 * INDEX CONCURRENTLY on this table; the protocol sees to it that the server can't find a second statement in
 * it.
 *
 * In progress: "indexes", the oids of those that were there before the first attempt. One that isn't among
 * them is ours: valid, it is the result; invalid, what is left of an attempt.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "parser/facts.h"
#include "policy/plan.h"
#include "proxy/change/index.h"

/* ---- the text ------------------------------------------------------------------------------------------ */

struct reading {
    const char *sql;
    const char *schema, *table; /* as they are now */
    bool good;
};

static void *read_text(void *argument)
{
    struct reading *reading = argument;
    void *memory = talloc_new(NULL);
    const struct facts *facts = facts_of(memory, reading->sql, strlen(reading->sql), PARSER_TEXT_MAX, true);
    reading->good = facts && facts->status == FACTS_OK && facts->kind == STATEMENT_CREATE_INDEX &&
                    facts->concurrently && facts->index_table.schema && facts->index_table.name &&
                    strcmp(facts->index_table.schema, reading->schema) == 0 &&
                    strcmp(facts->index_table.name, reading->table) == 0;
    talloc_free(memory);
    return NULL;
}

/*
 * Literals are read while the server looks at the statement: as the owner, but with a way back to us. So the
 * text may name nothing but its table and what is in pg_catalog (the search_path), each literal has its type
 * with it (else it is the type of a column, which the owner may change between our look and the server's),
 * and where there is more than a list of columns, none of these may be of a type that somebody made. What
 * can't be told at a glance is refused.
 */
static bool plain_words(const char *sql, bool *columns_only)
{
    int depth = 0, dots = 0;
    *columns_only = true;
    for (const char *at = sql; *at; at++) {
        if (*at == '\'' || *at == '"') {
            char quote = *at++;
            *columns_only &= quote != '\'';
            while (*at && *at != quote)
                if (*at++ == '\\')
                    return false;
            if (!*at)
                return false;
        } else if (strchr("$\\", *at) || strncmp(at, "--", 2) == 0 || strncmp(at, "/*", 2) == 0) {
            return false;
        } else if (*at == '.' && !strchr("0123456789", at[1]) && ++dots > 1) {
            return false; /* the first one is the table's */
        } else if (*at == '(' && ++depth > 1) {
            *columns_only = false;
        } else if (*at == ')') {
            depth--;
        } else if (strncasecmp(at, "where", 5) == 0) {
            *columns_only = false;
        }
    }
    return true;
}

static enum step verify_names(struct work *work, const char *sql)
{
    bool columns_only, good = plain_words(sql, &columns_only) && plan_literals_typed(sql);
    if (good && !columns_only) {
        PGresult *result = work_ask(work,
                                    "SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE "
                                    "a.attrelid = %u AND a.attnum > 0 AND NOT a.attisdropped "
                                    "AND t.typnamespace <> 'pg_catalog'::regnamespace",
                                    work->row->relation);
        if (!result)
            return work_failed(work);
        good = PQntuples(result) == 0;
        PQclear(result);
    }
    if (good)
        return STEP_DONE;
    failure_set(
        &work->failed, "0A000",
        "an index that names types, functions or the like outside of pg_catalog, or has a value in quotes "
        "without its type behind it ('active'::text), is not built online: run CREATE INDEX CONCURRENTLY "
        "directly");
    return work_blocked(work);
}

static enum step verify(struct work *work, const char *sql)
{
    pthread_t thread;
    struct reading reading = {.sql = sql, .schema = work->target.schema, .table = work->target.name};
    if (parser_thread_create(&thread, read_text, &reading) != 0) {
        failure_set(&work->failed, "53200", "no thread for the parser");
        return work_blocked(work);
    }
    pthread_join(thread, NULL);
    if (reading.good)
        return verify_names(work, sql);
    failure_set(&work->failed, "42601", "what is to be built is not one CREATE INDEX CONCURRENTLY on %s",
                work->target.sql);
    return work_blocked(work);
}

/* ---- which one is ours --------------------------------------------------------------------------------- */

static enum step note_others(struct work *work)
{
    if (json_object_get(work->progress, "indexes"))
        return STEP_DONE;
    PGresult *result =
        work_ask(work, "SELECT indexrelid FROM pg_index WHERE indrelid = %u", work->row->relation);
    if (!result)
        return work_failed(work);
    json_t *list = json_array();
    for (int i = 0; i < PQntuples(result); i++)
        json_array_append_new(list, json_integer(strtoll(link_value(result, i, 0), NULL, 10)));
    PQclear(result);
    json_object_set_new(work->progress, "indexes", list);
    return work_checkpoint(work, NULL);
}

/* Its name in *name, or NULL where there is none. */
static enum step find_ours(struct work *work, const char **name, bool *valid)
{
    char *known = json_dumps(json_object_get(work->progress, "indexes"), JSON_ENCODE_ANY);
    const char *wanted =
        json_string_value(json_object_get(json_object_get(work->row->spec, "index"), "name"));
    *name = NULL;
    PGresult *result = work_ask(
        work,
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = "
        "i.indexrelid WHERE i.indrelid = %u AND NOT %s::jsonb @> "
        "to_jsonb(i.indexrelid::bigint) AND c.relname = coalesce(%s, c.relname) ORDER BY c.oid "
        "LIMIT 1",
        work->row->relation, sql_text(work, known ? known : "[]"), wanted ? sql_text(work, wanted) : "NULL");
    free(known);
    if (!result)
        return work_failed(work);
    if (PQntuples(result) == 1) {
        *name = talloc_strdup(work->row, link_value(result, 0, 0));
        *valid = link_value(result, 0, 1)[0] == 't';
    }
    PQclear(result);
    return STEP_DONE;
}

enum step index_create(struct work *work)
{
    const char *sql = json_string_value(json_object_get(json_object_get(work->row->spec, "index"), "sql")),
               *name;
    bool valid = false;
    enum step step = sql ? verify(work, sql) : STEP_DONE;
    if (step == STEP_DONE)
        step = note_others(work);
    if (step == STEP_DONE)
        step = find_ours(work, &name, &valid);
    if (step != STEP_DONE || !sql || (name && valid))
        return step;
    if (name)
        step = index_drop_one(work, name);
    if (step != STEP_DONE)
        return step;
    /* Types in pg_temp would be found without being qualified. */
    const char *settings = talloc_asprintf(work->row, "DISCARD TEMP; %s", index_settings(work));
    return owner_top_level(work, work->target.owner_sql, settings, sql, true) ? STEP_DONE : work_failed(work);
}

enum step index_uncreate(struct work *work)
{
    const char *name;
    bool valid = false;
    if (!json_object_get(work->progress, "indexes"))
        return STEP_DONE; /* it never came to an attempt */
    enum step step = find_ours(work, &name, &valid);
    return step == STEP_DONE && name ? index_drop_one(work, name) : step;
}

/*
 * The DO block that runs in the statement's place: the locks, the safe form, the change's record.
 *
 * It says everything with its schema, so that no search_path can make something else of it; only the author's
 * own words are looked up as the author's session looks them up. Whatever he wrote stands in literals.
 */
#include <string.h>
#include <talloc.h>

#include "policy/plan_inside.h"

char *plan_literal(const void *memory, const char *text)
{
    size_t n = 0;
    bool escape = strchr(text, '\\') != NULL;
    char *out = talloc_array(memory, char, (unsigned)(2 * strlen(text) + 4));
    if (out == NULL)
        return NULL;
    if (escape)
        out[n++] = 'E';
    out[n++] = '\'';
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            out[n++] = *text;
        out[n++] = *text;
    }
    out[n++] = '\'';
    out[n] = '\0';
    return out;
}

#define SAY(text, ...) ((text) = talloc_asprintf_append_buffer((text), __VA_ARGS__))

static const char *regclass(const struct planner *planner, const char *name)
{
    return talloc_asprintf(planner->plan, "CAST(%s AS pg_catalog.regclass)",
                           plan_literal(planner->plan, name));
}

static const struct conf_online *online(const struct planner *planner)
{
    return &planner->request->context->conf->online;
}

/* ---- locks ---- */

/* As LOCK TABLE says it. */
static const char *lock_words(enum lock_mode mode)
{
    return mode == LOCK_ACCESS_EXCLUSIVE      ? "ACCESS EXCLUSIVE"
           : mode == LOCK_SHARE_ROW_EXCLUSIVE ? "SHARE ROW EXCLUSIVE"
           : mode == LOCK_EXCLUSIVE           ? "EXCLUSIVE"
                                              : "SHARE UPDATE EXCLUSIVE";
}

/* Whoever waits for another table that this transaction has locked waits for this lock as well: not for long
 * then. */
static int64_t lock_time(const struct planner *planner)
{
    enum { HELD_TIMES = 10 };
    const struct policy_held *held = planner->request->context->held;
    int64_t short_time = HELD_TIMES * online(planner)->stall_budget;
    bool other = held != NULL && strcmp(held->table, planner->table) != 0;
    return other && short_time < online(planner)->lock_time ? short_time : online(planner)->lock_time;
}

static char *say_lock(const struct planner *planner, char *text, const char *table, enum lock_mode mode,
                      const char *milliseconds)
{
    return SAY(text, "  PERFORM pgsluice.lock(%s, '%s', %lld, %s);\n", regclass(planner, table),
               lock_words(mode), (long long)online(planner)->stall_budget, milliseconds);
}

/* Who may only refer to a table may not lock it by a statement: the ALTER itself does it then. */
static bool lockable(const struct planner *planner, const struct name *other)
{
    const struct catalog_relation *target = catalog_relation(planner->look->names, other);
    return target != NULL && target->exists && target->may_own;
}

/* IF NOT EXISTS, of a column that has come since the statement was judged: by the same prepared statement,
 * say. Words and code are the server's own. */
static char *say_there(const struct planner *planner, char *text)
{
    const struct alter *alter = planner->facts->n_alters == 1 ? &planner->facts->alters[0] : NULL;
    if (alter == NULL || alter->kind != ALTER_ADD_COLUMN || !alter->missing_ok || alter->column == NULL)
        return text;
    const char *words = talloc_asprintf(text, "column \"%s\" of relation \"%s\" already exists, skipping",
                                        alter->column->name, planner->relation->name);
    return SAY(text,
               "  IF EXISTS (SELECT FROM pg_catalog.pg_attribute AS a\n"
               "    WHERE a.attrelid OPERATOR(pg_catalog.=) %s AND a.attname OPERATOR(pg_catalog.=) %s"
               " AND NOT a.attisdropped) THEN\n"
               "    RAISE NOTICE USING MESSAGE = %s, ERRCODE = 'duplicate_column'; RETURN;\n"
               "  END IF;\n",
               regclass(planner, planner->table), plan_literal(text, alter->column->name),
               plan_literal(text, words));
}

/* What is NOT VALID already is none of ours. */
static char *say_before(const struct planner *planner, char *text)
{
    return SAY(text,
               "  before := ARRAY(SELECT k.oid FROM pg_catalog.pg_constraint AS k\n"
               "    WHERE k.conrelid OPERATOR(pg_catalog.=) %s AND NOT k.convalidated);\n",
               regclass(planner, planner->table));
}

/* What a backslash means is a setting, which may have been SET since the statement was judged. */
static bool backslash(const struct planner *planner)
{
    bool any = false;
    for (size_t i = 0; i < planner->n_safe; i++)
        any = any || strchr(planner->safe[i], '\\') != NULL;
    return any;
}

/* Read as it was judged, or a literal may end somewhere else, and what stood in it be executed. */
static char *say_safe(const struct planner *planner, char *text)
{
    bool set = backslash(planner);
    if (set)
        SAY(text, "  PERFORM pg_catalog.set_config('standard_conforming_strings', '%s', true);\n",
            planner->request->context->backslashes ? "off" : "on");
    for (size_t i = 0; i < planner->n_safe; i++)
        SAY(text, "  EXECUTE %s;\n", plan_literal(planner->plan, planner->safe[i]));
    if (set)
        SAY(text, "  PERFORM pg_catalog.set_config('standard_conforming_strings', strings, true);\n");
    return text;
}

/* Several tables: the first is held while the next ones are tried for, so those get the stall budget and no
 * more; and if that isn't enough, all are let go of (the inner block is undone) before the next try. An ALTER
 * that locks what we may not lock is one of the tries. */
static char *say_together(const struct planner *planner, char *text)
{
    static const char left[] =
        "GREATEST(1, CAST(pg_catalog.date_part('epoch', ends OPERATOR(pg_catalog.-)"
        " pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000 AS pg_catalog.int4))";
    char *budget = talloc_asprintf(text, "%lld", (long long)online(planner)->stall_budget);
    SAY(text, "  LOOP BEGIN\n");
    text = say_lock(planner, text, planner->table, planner->lock, left);
    text = say_there(planner, text);
    if (planner->plan->spec != NULL)
        text = say_before(planner, text);
    for (size_t i = 0; i < planner->n_references; i++) {
        const char *other = quote_name(planner->plan, planner->references[i]);
        if (lockable(planner, planner->references[i]))
            text = say_lock(planner, text, other, LOCK_SHARE_ROW_EXCLUSIVE, budget);
    }
    SAY(text, "  PERFORM pg_catalog.set_config('lock_timeout', '%sms', true);\n", budget);
    text = say_safe(planner, text);
    SAY(text,
        "  PERFORM pg_catalog.set_config('lock_timeout', patience, true);\n"
        "  EXIT;\n"
        "  EXCEPTION WHEN lock_not_available THEN\n"
        "    IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) ends THEN RAISE; END IF;\n"
        "    PERFORM pg_catalog.pg_sleep(0.002 OPERATOR(pg_catalog.*) %s);\n"
        "  END; END LOOP;\n",
        budget);
    return text;
}

/* ---- the whole ---- */

static char *say_sequences(const struct planner *planner, char *text)
{
    for (size_t i = 0; i < planner->n_columns; i++) {
        const struct planned_column *column = &planner->columns[i];
        if (!column->serial && column->identity == NULL)
            continue;
        SAY(text, "  PERFORM pgsluice.add_sequence(%s, %s, %s, %s);\n", regclass(planner, planner->table),
            plan_literal(text, column->name), plan_literal(text, column->integer),
            column->serial ? "NULL" : plan_literal(text, column->options));
    }
    return text;
}

static char *say_change(const struct planner *planner, char *text)
{
    const char *nonce = planner->request->nonce;
    return SAY(text, "  PERFORM pgsluice.begin_change(%s,\n    CAST(%s AS pg_catalog.jsonb), before, %s);\n",
               regclass(planner, planner->table), plan_literal(planner->plan, planner->plan->spec),
               nonce == NULL ? "NULL" : plan_literal(planner->plan, nonce));
}

static char *body(const struct planner *planner)
{
    bool change = planner->plan->spec != NULL, several = planner->n_references > 0;
    char *text = talloc_strdup(planner->plan, "\nDECLARE\n  before pg_catalog.oid[];\n");
    char *whole = talloc_asprintf(text, "%lld", (long long)lock_time(planner));
    if (several)
        SAY(text,
            "  ends pg_catalog.timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
            " CAST('%s ms' AS pg_catalog.interval);\n"
            "  patience pg_catalog.text := pg_catalog.current_setting('lock_timeout');\n",
            whole);
    if (backslash(planner))
        SAY(text,
            "  strings pg_catalog.text := pg_catalog.current_setting('standard_conforming_strings');\n");
    SAY(text, "BEGIN\n");
    text =
        several ? say_together(planner, text) : say_lock(planner, text, planner->table, planner->lock, whole);
    if (!several)
        text = say_there(planner, text);
    if (change && !several)
        text = say_before(planner, text);
    if (!several)
        text = say_safe(planner, text);
    text = say_sequences(planner, text);
    if (change)
        text = say_change(planner, text);
    return SAY(text, "END ");
}

/* In dollars that don't occur inside, whatever the author wrote. */
void plan_block(struct planner *planner)
{
    const char *inside = body(planner);
    char *tag = talloc_strdup(planner->plan, "$pgsluice$");
    for (unsigned i = 1; strstr(inside, tag) != NULL; i++)
        tag = talloc_asprintf(planner->plan, "$pgsluice_%u$", i);
    planner->plan->text = talloc_asprintf(planner->plan, "DO LANGUAGE plpgsql %s%s%s", tag, inside, tag);
}

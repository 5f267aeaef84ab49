/*
 * A plan for people: what the statement would do by itself, the steps with their locks, then what it costs.
 * For programs the same as one object.
 */
#include "proxy/change/plan_report.h"

#include <jansson.h>
#include <string.h>
#include <talloc.h>

#include "proxy/check/report.h"

/* ---- figures ---- */

static const char *duration(char out[32], double seconds)
{
    if (seconds < 0)
        return "not known";
    if (seconds < 1.5)
        return "a second";
    if (seconds < 120)
        snprintf(out, 32, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600);
    return out;
}

static const char *bytes(char out[32], double size)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    size_t unit = 0;
    for (size /= 1024; size >= 1000 && unit < 3; unit++)
        size /= 1024;
    snprintf(out, 32, size < 10 ? "%.1f %s" : "%.0f %s", size, units[unit]);
    return out;
}

static double total_seconds(const struct plan *plan)
{
    double total = 0;
    for (size_t i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].seconds < 0)
            return -1;
        total += plan->steps[i].seconds;
    }
    return total;
}

static const struct catalog_relation *table_of(const struct plan_told *told)
{
    const struct facts *facts = told->facts;
    const struct name *name = facts->kind == STATEMENT_CREATE_INDEX ? &facts->index_table : &facts->object;
    const struct catalog *names = told->context->names;
    const struct catalog_relation *relation = names == NULL ? NULL : catalog_relation(names, name);
    return relation == NULL || !relation->exists ? NULL : relation;
}

static bool has(const struct plan *plan, enum plan_step_kind kind)
{
    for (size_t i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].kind == kind)
            return true;
    }
    return false;
}

/* ---- for people ---- */

static void put_direct(const struct plan_told *told, FILE *out)
{
    const struct effects *effects = &told->verdict->effects;
    const struct catalog_relation *table = table_of(told);
    char size[32];
    if (table != NULL && table->rows >= 0)
        fprintf(out, "%s.%s: about %.0f rows, %s, %zu indexes\n", table->schema, table->name, table->rows,
                bytes(size, (double)(table->size + table->children_size)), table->n_indexes);
    fprintf(out, "by itself: %s; rewrites the table: %s, reads it: %s, builds an index: %s\n",
            lock_mode_name(effects->lock), answer_name(effects->rewrite), answer_name(effects->scan),
            answer_name(effects->index_build));
}

static void put_step(const struct plan_step *step, size_t number, FILE *out)
{
    char time[32];
    fprintf(out, "%3zu. %s\n     %s, %s", number, step->what, lock_mode_name(step->lock),
            step->brief ? "for a moment" : "beside readers and writers");
    if (!step->brief)
        fprintf(out, "; about %s", duration(time, step->seconds));
    fputc('\n', out);
    report_paragraph(out, "     ", step->sql);
}

static void put_steps(const struct plan *plan, FILE *out)
{
    fputs("\nin the statement's own transaction:\n", out);
    for (size_t i = 0; i < plan->n_steps; i++) {
        if (i > 0 && plan->steps[i - 1].kind == PLAN_RECORD)
            fputs("behind its commit, by pgsluice:\n", out);
        put_step(&plan->steps[i], i + 1, out);
    }
}

static void put_costs(const struct plan_told *told, FILE *out)
{
    const struct plan *plan = told->plan;
    char wal[32], space[32], time[32];
    report_paragraph(
        out, "time:   ",
        talloc_asprintf(told->verdict,
                        "about %s%s. Estimated from the rows and bytes that the catalog knows, at 40,000 "
                        "rows a second for a fill, 5 million for a read, 0.5 million for an index; waiting "
                        "for a lock and the throttle's pauses come on top.",
                        duration(time, total_seconds(plan)),
                        total_seconds(plan) < 0 ? ": ANALYZE the table first" : ""));
    if (plan->wal_bytes > 0)
        report_paragraph(
            out, "space:  ",
            talloc_asprintf(told->verdict,
                            "about %s of WAL, and up to %s on disk: row versions that a fill leaves, which "
                            "VACUUM makes room of again, and new indexes.",
                            bytes(wal, plan->wal_bytes), bytes(space, plan->space_bytes)));
}

static void put_queue(const struct plan_told *told, FILE *out)
{
    const struct conf_online *online = &told->context->conf->online;
    report_paragraph(
        out, "locks:  ",
        talloc_asprintf(told->verdict,
                        "most attempts don't queue; one that does keeps others waiting for at most %lld ms "
                        "(online.stall_budget), and after %lld s (online.lock_time) the statement fails "
                        "and nothing has changed.",
                        (long long)online->stall_budget, (long long)online->lock_time / 1000));
    const struct catalog_relation *table = table_of(told);
    for (size_t i = 0; table != NULL && i < table->n_holders && i < 5; i++)
        fprintf(out, "        right now pid %d %s %s\n", table->holders[i].pid,
                table->holders[i].granted ? "holds" : "waits for", table->holders[i].mode);
}

static void put_notes(const struct plan_told *told, FILE *out)
{
    const struct catalog_relation *table = table_of(told);
    const struct plan *plan = told->plan;
    if (has(plan, PLAN_FILL) && table != NULL && table->n_publications > 0)
        report_paragraph(
            out, "note:   ",
            talloc_asprintf(told->verdict,
                            "each row that is filled goes to the subscribers of publication %s as an UPDATE. "
                            "They need the column before.",
                            table->publications[0]));
    if (has(plan, PLAN_VALIDATE) || has(plan, PLAN_INDEX))
        report_paragraph(
            out, "note:   ",
            has(plan, PLAN_INDEX)
                ? "while an index is built or a constraint validated, VACUUM can't remove what dies in any "
                  "table; and an index waits for every transaction that is older than its build."
                : "while a constraint is validated, VACUUM can't remove what dies in any table.");
    if (plan->n_columns > 0)
        report_paragraph(out, "note:   ",
                         "until it is complete, statements that name the new column are answered as "
                         "online.quarantine says.");
}

static void put_refusal(const struct plan_told *told, FILE *out)
{
    report_paragraph(
        out, "no:     ", talloc_asprintf(told->verdict, "it can't be carried out online: %s.", told->why));
    for (size_t i = 0; i < told->verdict->n_findings; i++) {
        const struct finding *finding = &told->verdict->findings[i];
        report_paragraph(out, i == 0 ? "by hand: " : "        ", finding->message);
        if (finding->hint != NULL)
            report_paragraph(out, "         ", finding->hint);
    }
}

void plan_report_text(const struct plan_told *told, FILE *out)
{
    put_direct(told, out);
    if (told->plan == NULL) {
        put_refusal(told, out);
        return;
    }
    put_steps(told->plan, out);
    fputc('\n', out);
    put_queue(told, out);
    if (told->plan->spec != NULL) {
        put_costs(told, out);
        put_notes(told, out);
    }
    if (told->not_here == NULL)
        return;
    report_paragraph(out, "not yet: ", told->not_here);
    if (told->remedy != NULL)
        fprintf(out, "         %s\n", told->remedy);
}

/* ---- for programs ---- */

static json_t *number(double value)
{
    return value < 0 ? json_null() : json_real(value);
}

static json_t *or_null(const char *text)
{
    return text == NULL ? json_null() : report_string(text);
}

void plan_report_json(const struct plan_told *told, FILE *out)
{
    const struct plan *plan = told->plan;
    const struct effects *effects = &told->verdict->effects;
    json_t *columns = json_array();
    for (size_t i = 0; plan != NULL && i < plan->n_columns; i++)
        json_array_append_new(columns, report_string(plan->columns[i]));
    json_t *object = json_pack(
        "{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sql", report_string(told->sql), "online",
        plan != NULL && told->not_here == NULL, "why",
        plan == NULL ? or_null(told->why) : or_null(told->not_here), "remedy", or_null(told->remedy),
        "columns", columns, "plan", plan == NULL ? json_array() : report_plan(plan), "seconds",
        plan == NULL ? json_null() : number(total_seconds(plan)), "wal_bytes",
        plan == NULL ? json_null() : number(plan->wal_bytes), "space_bytes",
        plan == NULL ? json_null() : number(plan->space_bytes), "statement",
        plan == NULL ? json_null() : report_string(plan->text), "direct",
        json_pack("{s:s, s:s, s:s, s:s}", "lock", lock_mode_name(effects->lock), "rewrite",
                  answer_name(effects->rewrite), "scan", answer_name(effects->scan), "index_build",
                  answer_name(effects->index_build)));
    if (object != NULL)
        json_dumpf(object, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(object);
}

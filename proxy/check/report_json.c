/*
 * For programs: one object a statement and line, as the contract has it; where it is carried out online,
 * "plan" has the steps. A statement of a down section that does not count says so: "section": "down".
 */
#include "policy/plan.h"
#include "proxy/check/report.h"

static json_t *finding_json(const struct checked *checked, const struct finding *finding)
{
    struct place place = report_place(checked, finding);
    enum action action = finding->waived ? ACTION_ALLOW : finding->action;
    return json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o}", "rule", checked_rule(finding), "action",
                     action_name(action), "line", (int)place.line, "column", (int)place.column, "message",
                     report_string(finding->message), "detail", report_string(finding->detail), "hint",
                     report_string(finding->hint));
}

static json_t *effects_json(const struct effects *effects)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "lock", lock_mode_name(effects->lock), "rewrite",
                     answer_name(effects->rewrite), "scan", answer_name(effects->scan), "index_build",
                     answer_name(effects->index_build), "fails", answer_name(effects->fails));
}

json_t *report_plan(const struct plan *plan)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct plan_step *step = &plan->steps[i];
        json_t *seconds = step->seconds < 0 ? json_null() : json_real(step->seconds);
        json_array_append_new(steps,
                              json_pack("{s:s, s:s, s:b, s:s, s:o, s:o}", "step", plan_step_name(step->kind),
                                        "lock", lock_mode_name(step->lock), "brief", step->brief, "what",
                                        step->what, "sql", report_string(step->sql), "seconds", seconds));
    }
    return steps;
}

/* As the author wrote it. */
static json_t *sql_json(const struct checked *checked)
{
    json_t *sql = json_stringn(checked->source->raw + checked->start, checked->end - checked->start);
    return sql == NULL ? json_string("") : sql;
}

void report_json(struct check *check, const struct checked *checked)
{
    static const struct effects none = {.lock = LOCK_NONE};
    const struct verdict *verdict = checked->verdict;
    json_t *findings = json_array();
    unsigned line, column;
    source_position(checked->source, checked->start, &line, &column);
    for (size_t i = 0; verdict != NULL && i < verdict->n_findings; i++)
        json_array_append_new(findings, finding_json(checked, &verdict->findings[i]));
    json_t *object = json_pack(
        "{s:o, s:i, s:o, s:o, s:o, s:o, s:s, s:o}", "file", report_string(checked->source->name), "line",
        (int)line, "sql", sql_json(checked), "kind", report_string(checked->kind), "table",
        report_string(checked->table), "effects", effects_json(verdict == NULL ? &none : &verdict->effects),
        "action", action_name(verdict == NULL ? ACTION_ALLOW : verdict->action), "findings", findings);
    if (object != NULL && verdict != NULL && verdict->action == ACTION_ONLINE && verdict->plan != NULL)
        json_object_set_new(object, "plan", report_plan(verdict->plan));
    if (object != NULL && checked->down)
        json_object_set_new(object, "section", json_string("down"));
    if (object != NULL)
        json_dumpf(object, check->out, JSON_COMPACT);
    fputc('\n', check->out);
    json_decref(object);
}

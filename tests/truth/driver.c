/*
 * The judgement, asked line by line over standard input and output: one JSON object in, one out.
 *
 *   {"do": "sql"}                                        -> {"sql": the query that asks a server}
 *   {"do": "questions", "sql": ...}                      -> {"questions": its $1, or null}
 *   {"do": "judge", "sql": ..., "version": 150018,
 *    "answer": the server's, or null: offline}           -> {"effects": {...}, "findings": [...], "action":
 * ...}
 *
 *   {"do": "plan", the same}                             -> {"text": the DO block, "spec", "columns",
 * "steps", "action"}, or {"why": there is none}
 *
 * test_truth.py compares what it says with what real servers do. No I/O but these lines; it ends at end of
 * file.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "policy/catalog.h"
#include "policy/plan.h"

static const struct conf conf = {
    .environment = "",
    .policy = {.profile = PROFILE_STANDARD, .small_table_rows = 10000, .small_table_size = 8 << 20}};

/* The same where changes can be carried out, and no table is small. */
static const struct conf online = {.environment = "",
                                   .online = {.maintenance = "", .stall_budget = 100, .lock_time = 60000},
                                   .policy = {.profile = PROFILE_STANDARD}};

static const char *text_of(const json_t *in, const char *key)
{
    const char *text = json_string_value(json_object_get(in, key));
    return text == NULL ? "" : text;
}

static json_t *effects_json(const struct effects *effects)
{
    return json_pack("{ss ss ss ss ss ss?}", "lock", lock_mode_name(effects->lock), "rewrite",
                     answer_name(effects->rewrite), "scan", answer_name(effects->scan), "index_build",
                     answer_name(effects->index_build), "fails", answer_name(effects->fails), "fails_with",
                     effects->fails_with);
}

static json_t *findings_json(const struct verdict *verdict)
{
    json_t *all = json_array();
    for (size_t i = 0; i < verdict->n_findings; i++) {
        const struct finding *finding = &verdict->findings[i];
        json_array_append_new(all, json_pack("{ss ss ss ss? ss?}", "rule", rule_name(finding->rule), "action",
                                             action_name(finding->action), "message", finding->message,
                                             "detail", finding->detail, "hint", finding->hint));
    }
    return all;
}

static json_t *judge(const void *memory, const json_t *in, const struct facts *facts)
{
    const char *answer = json_string_value(json_object_get(in, "answer"));
    struct policy_context context = {.conf = &conf,
                                     .first = true,
                                     .database = "",
                                     .role = "",
                                     .application = "",
                                     .server_version =
                                         (int)json_integer_value(json_object_get(in, "version"))};
    if (answer != NULL) {
        context.names = catalog_read(memory, answer, strlen(answer));
        if (context.names == NULL)
            return json_pack("{ss}", "error", "catalog_read() refused the answer");
    }
    const struct verdict *verdict = policy_judge(memory, facts, &context);
    return json_pack("{so so ss}", "effects", effects_json(&verdict->effects), "findings",
                     findings_json(verdict), "action", action_name(verdict->action));
}

static json_t *plan_json(const struct plan *plan)
{
    json_t *columns = json_array(), *steps = json_array();
    for (size_t i = 0; i < plan->n_columns; i++)
        json_array_append_new(columns, json_string(plan->columns[i]));
    for (size_t i = 0; i < plan->n_steps; i++)
        json_array_append_new(steps, json_pack("{ss sb ss ss}", "lock", lock_mode_name(plan->steps[i].lock),
                                               "brief", plan->steps[i].brief, "what", plan->steps[i].what,
                                               "sql", plan->steps[i].sql));
    return json_pack("{ss ss ss? so so}", "text", plan->text, "tag", plan->tag, "spec", plan->spec, "columns",
                     columns, "steps", steps);
}

static json_t *plan(const void *memory, const json_t *in, const struct facts *facts, const char *sql)
{
    const char *answer = text_of(in, "answer"), *why;
    struct policy_context context = {.conf = &online,
                                     .first = true,
                                     .database = "",
                                     .role = "",
                                     .application = "",
                                     .names = catalog_read(memory, answer, strlen(answer)),
                                     .server_version =
                                         (int)json_integer_value(json_object_get(in, "version"))};
    const struct plan_request request = {
        .facts = facts, .text = sql, .length = strlen(sql), .context = &context, .nonce = "nonce"};
    const struct plan *made = plan_of(memory, &request, &why);
    const struct verdict *verdict = policy_judge(memory, facts, &context);
    json_t *out = made == NULL ? json_pack("{ss}", "why", why) : plan_json(made);
    json_object_set_new(out, "action", json_string(action_name(verdict->action)));
    return out;
}

static json_t *answer_to(const void *memory, const json_t *in)
{
    const char *what = text_of(in, "do"), *sql = text_of(in, "sql");
    if (strcmp(what, "sql") == 0)
        return json_pack("{ss}", "sql", catalog_sql());
    const struct facts *facts = facts_of(memory, sql, strlen(sql), PARSER_TEXT_MAX, true);
    if (strcmp(what, "questions") == 0)
        return json_pack("{ss?}", "questions", catalog_questions(memory, facts));
    return strcmp(what, "plan") == 0 ? plan(memory, in, facts, sql) : judge(memory, in, facts);
}

static void *answer_lines(void *unused)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        void *memory = talloc_new(NULL);
        json_t *in = json_loads(line, 0, NULL);
        json_t *out = in == NULL ? json_pack("{ss}", "error", "not JSON") : answer_to(memory, in);
        json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(in);
        talloc_free(memory);
    }
    free(line);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    if (parser_thread_create(&thread, answer_lines, NULL) != 0)
        return 1;
    pthread_join(thread, NULL);
    return 0;
}

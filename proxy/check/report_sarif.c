/*
 * SARIF 2.1.0: one run, all rules with their documentation, results as they come. The document is written
 * piece by piece, so that a large one needs no memory.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/check/report.h"

static const char *const levels[] = {
    [LEVEL_NOTE] = "note", [LEVEL_WARNING] = "warning", [LEVEL_ERROR] = "error"};

static const char *rule_level(const struct check *check, enum rule rule)
{
    enum action action = policy_rule(&check->context, rule, NULL).action;
    return action == ACTION_ALLOW     ? "none"
           : action >= ACTION_APPROVE ? levels[LEVEL_ERROR]
                                      : levels[LEVEL_WARNING];
}

static json_t *rule_json(const struct check *check, enum rule rule)
{
    const struct rule_doc *doc = rule_doc(rule);
    char *text = talloc_asprintf(NULL, "%s\n%s\n%s\nPostgreSQL manual: %s", doc->happens, doc->matters,
                                 doc->safe_way, doc->source);
    char *markdown = talloc_asprintf(
        NULL,
        "**What happens** %s\n\n**Why it matters** %s\n\n**The safe way** %s\n\n*PostgreSQL manual: %s*",
        doc->happens, doc->matters, doc->safe_way, doc->source);
    json_t *json =
        json_pack("{s:s, s:{s:s}, s:{s:o}, s:{s:o, s:o}, s:{s:s}}", "id", rule_name(rule), "shortDescription",
                  "text", doc->summary, "fullDescription", "text", report_string(doc->happens), "help",
                  "text", report_string(text), "markdown", report_string(markdown), "defaultConfiguration",
                  "level", rule_level(check, rule));
    talloc_free(text);
    talloc_free(markdown);
    return json;
}

/* What no rule is about: the row behind the rules. */
static json_t *fails_json(void)
{
    static const char what[] = "The statement certainly fails.",
                      how[] = "Correct the statement, or run it where it can succeed: the message says what "
                              "PostgreSQL would answer.";
    return json_pack("{s:s, s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s}}", "id", FAILS_NAME, "shortDescription",
                     "text", what, "fullDescription", "text", what, "help", "text", how,
                     "defaultConfiguration", "level", levels[LEVEL_WARNING]);
}

void report_sarif_begin(struct check *check)
{
    json_t *rules = json_array();
    for (int i = 0; i < RULE_COUNT; i++)
        json_array_append_new(rules, rule_json(check, (enum rule)i));
    json_array_append_new(rules, fails_json());
    json_t *tool = json_pack("{s:{s:s, s:s, s:s, s:o}}", "driver", "name", "pgsluice", "version",
                             PGSLUICE_VERSION, "semanticVersion", PGSLUICE_VERSION, "rules", rules);
    check->report = calloc(1, sizeof *check->report);
    fputs("{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\"runs\":[{"
          "\"tool\":",
          check->out);
    json_dumpf(tool, check->out, JSON_COMPACT);
    fputs(",\"columnKind\":\"unicodeCodePoints\",\"results\":[", check->out);
    json_decref(tool);
}

static json_t *location_json(const struct checked *checked, const struct finding *finding)
{
    struct place place = report_place(checked, finding);
    char *uri = report_uri(NULL, checked->source->name);
    const char *line;
    size_t length;
    source_line(checked->source, place.offset, &line, &length);
    json_t *snippet = json_stringn(line, length);
    json_t *json =
        json_pack("{s:{s:{s:o}, s:{s:i, s:i, s:i, s:i, s:{s:o}}}}", "physicalLocation", "artifactLocation",
                  "uri", report_string(uri), "region", "startLine", (int)place.line, "startColumn",
                  (int)place.column, "endLine", (int)place.line, "endColumn", (int)place.end_column,
                  "snippet", "text", snippet == NULL ? json_string("") : snippet);
    talloc_free(uri);
    return json;
}

static void put_result(struct check *check, const struct checked *checked, const struct finding *finding)
{
    char *words = report_words(NULL, finding);
    json_t *result =
        json_pack("{s:s, s:i, s:s, s:{s:o}, s:[o]}", "ruleId", checked_rule(finding), "ruleIndex",
                  (int)finding->rule, "level", levels[report_level(checked, finding)], "message", "text",
                  report_string(words), "locations", location_json(checked, finding));
    talloc_free(words);
    if (result != NULL && finding->waived)
        json_object_set_new(result, "suppressions",
                            json_pack("[{s:s, s:o}]", "kind", "inSource", "justification",
                                      report_string(checked->verdict->waiver)));
    if (check->report != NULL && check->report->written++ > 0)
        fputc(',', check->out);
    json_dumpf(result, check->out, JSON_COMPACT);
    json_decref(result);
}

void report_sarif(struct check *check, const struct checked *checked)
{
    for (size_t i = 0; checked->verdict != NULL && i < checked->verdict->n_findings; i++)
        put_result(check, checked, &checked->verdict->findings[i]);
}

void report_sarif_end(struct check *check)
{
    fputs("]}]}\n", check->out);
    free(check->report);
    check->report = NULL;
}

/*
 * The summary as one JSON object. Fields are only ever added.
 */
#include "proxy/observe/audit_summary.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const class_names[] = {"allow", "waived", "warn", "reject"};
static const char *const end_names[] = {"unknown", "committed", "rolled_back", "open"};

static json_t *group_json(const struct summary_group *group, const char *name)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "name", name,
                     "statements", (json_int_t)group->statements, "refused", (json_int_t)group->refused,
                     "warned", (json_int_t)group->warned, "waived", (json_int_t)group->waived, "committed",
                     (json_int_t)group->committed, "rolled_back", (json_int_t)group->rolled_back, "failed",
                     (json_int_t)group->failed, "fingerprints", (json_int_t)group->fingerprints,
                     "transactions", (json_int_t)group->transactions, "longest_ms", group->longest_ms,
                     "total_ms", group->total_ms);
}

static json_t *groups_json(const struct summary *summary, enum summary_by by)
{
    size_t n;
    struct summary_group *groups = summary_groups(summary, by, &n);
    json_t *all = json_array();
    for (size_t i = 0; groups && i < n; i++)
        json_array_append_new(all, group_json(&groups[i], summary_name(&summary->names[by], groups[i].name)));
    if (!groups) {
        json_decref(all);
        return NULL;
    }
    free(groups);
    return all;
}

static json_t *worst_json(const struct summary *summary)
{
    static const char *const kept[] = {"ts",    "user", "database", "application", "kind",   "object",
                                       "table", "lock", "sql",      "rules",       "actions"};
    const struct summary_statement *worst[SUMMARY_WORST];
    size_t n = summary_worst(summary, worst);
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_pack("{s:I, s:s, s:b, s:f, s:s, s:I}", "seq", (json_int_t)worst[i]->seq, "verdict",
                                class_names[worst[i]->class], "observed", worst[i]->observed, "duration_ms",
                                worst[i]->duration_ms, "txn", end_names[worst[i]->end], "first",
                                (json_int_t)worst[i]->transaction);
        for (size_t k = 0; one && k < sizeof kept / sizeof *kept; k++)
            json_object_set(one, kept[k], json_object_get(worst[i]->record, kept[k]));
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *totals_json(const struct summary *summary)
{
    struct summary_group classes[SUMMARY_CLASSES];
    if (!summary_classes(summary, classes))
        return NULL;
    json_t *all = json_pack("{s:I, s:I, s:I}", "total", (json_int_t)summary->n, "observed",
                            (json_int_t)summary->observed, "files", (json_int_t)summary->files);
    for (int class = 0; all && class < SUMMARY_CLASSES; class ++) {
        json_t *one = group_json(&classes[class], class_names[class]);
        json_object_del(one, "name");
        json_object_set_new(all, class_names[class], one);
    }
    return all;
}

bool summary_json(const struct summary *summary)
{
    json_t *settings = json_object();
    char *advice = summary_advice(summary, settings);
    json_t *all = json_object();
    json_object_set_new(all, "since", summary->since ? json_string(summary->since) : json_null());
    json_object_set_new(all, "first", summary->n ? json_string(summary->earliest) : json_null());
    json_object_set_new(all, "last", summary->n ? json_string(summary->latest) : json_null());
    json_object_set_new(all, "statements", totals_json(summary));
    json_object_set_new(all, "rules", groups_json(summary, BY_RULE));
    json_object_set_new(all, "tables", groups_json(summary, BY_TABLE));
    json_object_set_new(all, "roles", groups_json(summary, BY_ROLE));
    json_object_set_new(all, "applications", groups_json(summary, BY_APPLICATION));
    json_object_set_new(all, "worst", worst_json(summary));
    json_object_set_new(all, "recommendation", json_string(advice ? advice : ""));
    json_object_set_new(all, "settings", settings);
    bool fine = advice && json_object_size(all) == 11 && json_dumpf(all, stdout, JSON_INDENT(1)) == 0 &&
                putchar('\n') != EOF;
    json_decref(all);
    free(advice);
    return fine;
}

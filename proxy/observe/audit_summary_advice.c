/*
 * What a team should do with the summary: the sentences at its end.
 *
 * A rule that would have refused several statements, none of which took longer than a stall budget, is set to
 * warn, to begin with: people get to know its words while nothing fails. A rule whose statements did stop
 * others for longer is worth its refusals from the first day; where too few have run to say, nothing is
 * advised.
 */
#include "proxy/observe/audit_summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "proxy/observe/line.h"

#define LONG_MS    100.0 /* stall_budget's default: longer than that is a stall that somebody notices */
#define ENOUGH_RAN 5     /* fewer say nothing of the next one */

/* What a rule refused, or would have. */
struct refusals {
    uint32_t rule;
    size_t n, ran;                           /* ran: succeeded, and were not rolled back */
    const struct summary_statement *longest; /* of those that succeeded; NULL: no duration is known */
};

static int most_first(const void *a, const void *b)
{
    const struct refusals *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return (x->rule > y->rule) - (x->rule < y->rule);
}

/* By rule, most first; `observed` tells which statements count. */
static size_t refusals_of(const struct summary *summary, bool observed,
                          struct refusals by_rule[SUMMARY_RULES], size_t *statements)
{
    size_t n = 0;
    *statements = 0;
    for (uint32_t rule = 0; rule < SUMMARY_RULES; rule++)
        by_rule[rule] = (struct refusals){.rule = rule};
    for (size_t i = 0; i < summary->n; i++) {
        const struct summary_statement *one = &summary->statements[i];
        if (one->observed != observed || one->class != SUMMARY_REFUSED)
            continue;
        (*statements)++;
        for (uint32_t rule = 0; rule < SUMMARY_RULES; rule++) {
            struct refusals *here = &by_rule[rule];
            if (!(one->refuse & (uint64_t)1 << rule))
                continue;
            here->n++;
            here->ran += one->duration_ms >= 0 && !one->failed && one->end != SUMMARY_ROLLED_BACK;
            if (one->duration_ms >= 0 && !one->failed &&
                (!here->longest || one->duration_ms > here->longest->duration_ms))
                here->longest = one;
        }
    }
    qsort(by_rule, SUMMARY_RULES, sizeof *by_rule, most_first);
    while (n < SUMMARY_RULES && by_rule[n].n > 0)
        n++;
    return n;
}

static void put_plain(struct line *line, const char *text)
{
    line_plain(line, text, strlen(text));
}

static const char *rule_text(const struct summary *summary, const struct refusals *one)
{
    return summary_name(&summary->names[BY_RULE], one->rule);
}

/* ": create-index 2, volatile-default 1." */
static void put_counts(struct line *line, const struct summary *summary, const struct refusals *by_rule,
                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        line_text(line, i ? ", " : ": ");
        put_plain(line, rule_text(summary, &by_rule[i]));
        line_printf(line, " %zu", by_rule[i].n);
    }
    line_text(line, ".\n");
}

static bool took_long(const struct refusals *one)
{
    return one->longest && one->longest->duration_ms >= LONG_MS;
}

static bool brief(const struct refusals *one)
{
    return one->ran >= ENOUGH_RAN && !took_long(one);
}

/* Names come from a log: nothing goes into a configuration that it would not take. */
static bool is_rule(const char *name, enum rule *rule)
{
    return rule_of(name, strlen(name), rule);
}

static void put_settings(struct line *line, const struct summary *summary, const struct refusals *by_rule,
                         size_t n, json_t *settings)
{
    enum rule known;
    for (size_t i = 0; i < n; i++)
        if (brief(&by_rule[i]) && is_rule(rule_text(summary, &by_rule[i]), &known))
            json_object_set_new(settings, rule_name(known), json_string("warn"));
    if (json_object_size(settings) == 0) {
        line_text(line, "Set `policy: {profile: standard}`.\n");
        return;
    }
    line_text(line, "To begin with, let those only warn that took less than 0.1 s each time, and set\n\n"
                    "    policy:\n      profile: standard\n      rules:\n");
    for (size_t i = 0; i < n; i++) {
        const struct refusals *one = &by_rule[i];
        const char *rule = rule_text(summary, one);
        if (!json_object_get(settings, rule))
            continue;
        line_printf(line, "        %s: warn  # %zu ran, none took longer than %.1f ms\n", rule, one->ran,
                    one->longest->duration_ms);
    }
    line_text(line, "\n");
}

/* What failed, or was rolled back, says nothing of how long the next one takes. */
static void put_not_known(struct line *line, const struct summary *summary, const struct refusals *one)
{
    put_plain(line, rule_text(summary, one));
    if (one->ran == 0)
        line_printf(line,
                    ": none of the %zu is known to have run and been committed, so how long they take is not "
                    "known.\n",
                    one->n);
    else
        line_printf(line, ": %zu ran, which is too few to say how long the next one takes.\n", one->ran);
}

static void put_worth_refusing(struct line *line, const struct summary *summary, const struct refusals *one)
{
    const json_t *record = one->longest->record;
    const char *lock = json_string_value(json_object_get(record, "lock"));
    line_printf(line, "%s is worth its refusals: record %" PRIu64 " took %.1f s", rule_text(summary, one),
                one->longest->seq, one->longest->duration_ms / 1000);
    if (lock && strcmp(lock, "none") != 0 && one->longest->names[BY_TABLE]) {
        line_text(line, " and held ");
        put_plain(line, lock);
        line_text(line, " on ");
        put_plain(line, summary_name(&summary->names[BY_TABLE], one->longest->names[BY_TABLE]));
    }
    line_text(line, ".\n");
}

/* What was only observed. */
static void advise_enforcing(struct line *line, const struct summary *summary, json_t *settings)
{
    struct refusals by_rule[SUMMARY_RULES];
    size_t statements, n = refusals_of(summary, true, by_rule, &statements);
    if (n == 0) {
        line_printf(line,
                    "With `profile: standard` none of the %zu statements that were observed would have been "
                    "refused. Set `policy: {profile: standard}`.\n",
                    summary->observed);
        return;
    }
    line_printf(line, "With `profile: standard`, %zu of %zu statements would have been refused", statements,
                summary->observed);
    put_counts(line, summary, by_rule, n);
    for (size_t i = 0; i < n; i++)
        if (took_long(&by_rule[i]))
            put_worth_refusing(line, summary, &by_rule[i]);
        else if (!brief(&by_rule[i]))
            put_not_known(line, summary, &by_rule[i]);
    put_settings(line, summary, by_rule, n, settings);
}

static void advise_enforced(struct line *line, const struct summary *summary)
{
    struct refusals by_rule[SUMMARY_RULES];
    size_t statements, n = refusals_of(summary, false, by_rule, &statements);
    if (n == 0) {
        line_printf(line, "None of the %zu statements that the policy was in force for was refused.\n",
                    summary->n - summary->observed);
        return;
    }
    line_printf(line, "The policy in force refused %zu of %zu statements", statements,
                summary->n - summary->observed);
    put_counts(line, summary, by_rule, n);
    line_text(line, "Each client was told the safe way in the error's hint. Where a rule is wrong for one "
                    "table, role or application, loosen it there with `policy.overrides`.\n");
}

char *summary_advice(const struct summary *summary, json_t *settings)
{
    struct line line;
    line_growing(&line);
    if (summary->n == 0 && summary->newest[0])
        line_printf(&line,
                    "There is no statement since %s in these files, whose newest record is of %s. Ask for "
                    "more with --since.\n",
                    summary->since ? summary->since : "their beginning", summary->newest);
    else if (summary->n == 0)
        line_text(&line, "There is no record in these files.\n");
    if (summary->observed)
        advise_enforcing(&line, summary, settings);
    if (summary->observed < summary->n)
        advise_enforced(&line, summary);
    line_put(&line, "", 1);
    char *text = line.full ? NULL : strdup(line.bytes);
    line_release(&line);
    return text;
}

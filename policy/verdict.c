/*
 * The verdict: effects, findings, waivers, and the one action that follows.
 */
#include <stdlib.h>
#include <talloc.h>

#include "policy/findings.h"
#include "policy/waiver.h"

/* Gravest first, waived ones last; then in the order of the text; then in the order of rules.def. */
static int graver_first(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    if (x->waived != y->waived)
        return x->waived ? 1 : -1;
    if (x->action != y->action)
        return x->action > y->action ? -1 : 1;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return (x->rule > y->rule) - (x->rule < y->rule);
}

static enum action gravest(const struct verdict *verdict, bool with_waived)
{
    enum action action = ACTION_ALLOW;
    for (size_t i = 0; i < verdict->n_findings; i++) {
        const struct finding *finding = &verdict->findings[i];
        if ((with_waived || !finding->waived) && finding->action > action)
            action = finding->action;
    }
    return action;
}

/* Who is in the way is said once, with the gravest finding, unless all there is are remarks on definitions.
 */
static void say_who_waits(struct verdict *verdict, const struct judge *judge)
{
    if (verdict->n_findings == 0 || verdict->findings[0].detail == NULL ||
        rule_group_of(verdict->findings[0].rule) == RULE_GROUP_DEFINITION)
        return;
    verdict->findings[0].detail =
        talloc_asprintf(verdict, "%s%s", verdict->findings[0].detail, waiting_text(judge));
}

struct verdict *policy_judge(const void *talloc_parent, const struct facts *facts,
                             const struct policy_context *context)
{
    struct verdict *verdict = talloc_zero(talloc_parent, struct verdict);
    if (verdict == NULL)
        return NULL;
    struct look look = look_at(context, facts);
    struct parts *parts = parts_of(verdict, &look);
    struct judge judge = {.memory = verdict, .context = context, .look = &look, .parts = parts};
    verdict->effects = parts->total;
    held_after(verdict, &look, parts);
    findings_of(&judge, facts);
    verdict->would = gravest(verdict, true);
    waivers_apply(verdict, facts, context);
    verdict->action = gravest(verdict, false);
    if (context->conf->policy.profile == PROFILE_OBSERVE && verdict->action > ACTION_WARN)
        verdict->action = ACTION_WARN;
    verdict_plan(verdict, facts, context);
    if (verdict->n_findings > 1)
        qsort(verdict->findings, verdict->n_findings, sizeof *verdict->findings, graver_first);
    say_who_waits(verdict, &judge);
    return verdict;
}

/*
 * A waiver is a list of rule names, then a reason: rule[, rule ...] and behind a comma or a colon the reason.
 * Who may waive, and whether a reason is asked for, the configuration says.
 */
#include "policy/waiver.h"

#include <string.h>
#include <talloc.h>

struct waiver {
    const char *text;
    bool rules[RULE_COUNT];
    bool any;           /* names at least one rule */
    const char *reason; /* "" if there is none */
};

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t\r\n");
}

/* Takes rule names off the front for as long as there are any; what is left is the reason. */
static struct waiver waiver_read(const char *text)
{
    struct waiver waiver = {.text = text, .reason = ""};
    const char *at = skip_space(text);
    for (;;) {
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz-");
        enum rule rule;
        const char *behind = skip_space(at + length);
        bool ends = *behind == '\0' || *behind == ',' || *behind == ':';
        if (!ends || !rule_of(at, length, &rule))
            break;
        waiver.rules[rule] = waiver.any = true;
        if (*behind == '\0')
            return waiver;
        at = skip_space(behind + 1);
        if (*behind == ':')
            break;
    }
    waiver.reason = at;
    return waiver;
}

static bool may_waive(const struct policy_context *context)
{
    const struct conf_policy *policy = &context->conf->policy;
    for (size_t i = 0; context->role != NULL && i < policy->n_waiver_roles; i++) {
        if (strcmp(policy->waiver_roles[i], context->role) == 0)
            return true;
    }
    return false;
}

/* Why the waiver doesn't count for this rule; NULL: it does. */
static const char *refused(const void *memory, const struct waiver *waiver,
                           const struct policy_context *context)
{
    if (!waiver->any)
        return talloc_asprintf(memory,
                               "A waiver was given, but \"%s\" doesn't begin with a rule's name: write "
                               "\"rule, reason\".",
                               waiver->text);
    if (!may_waive(context)) {
        if (context->conf->policy.n_waiver_roles == 0)
            return "A waiver was given, but no role may waive: policy.waivers.roles names nobody.";
        if (context->role == NULL || context->role[0] == '\0')
            return "A waiver was given, but which role will run this is not known here (check --role NAME).";
        return talloc_asprintf(memory,
                               "A waiver was given, but role \"%s\" may not waive (policy.waivers.roles).",
                               context->role);
    }
    if (context->conf->policy.waiver_require_reason && waiver->reason[0] == '\0')
        return "A waiver was given, but without a reason: write \"rule, reason\".";
    return NULL;
}

static void add_note(struct verdict *verdict, struct finding *finding, const char *note)
{
    finding->detail = talloc_asprintf(verdict, "%s%s%s", finding->detail == NULL ? "" : finding->detail,
                                      finding->detail == NULL ? "" : " ", note);
}

static void waive(struct verdict *verdict, const struct waiver *waiver, const struct policy_context *context)
{
    const char *why = refused(verdict, waiver, context);
    for (size_t i = 0; i < verdict->n_findings; i++) {
        struct finding *finding = &verdict->findings[i];
        if (finding->waived)
            continue;
        if (waiver->any && !waiver->rules[finding->rule]) {
            add_note(verdict, finding, "The waiver that was given is for another rule.");
            continue;
        }
        if (why != NULL) {
            add_note(verdict, finding, why);
            continue;
        }
        finding->waived = true;
        if (verdict->waiver == NULL)
            verdict->waiver = talloc_strdup(verdict, waiver->text);
        else if (strcmp(verdict->waiver, waiver->text) != 0 && strstr(verdict->waiver, waiver->text) == NULL)
            verdict->waiver = talloc_asprintf(verdict, "%s; %s", verdict->waiver, waiver->text);
    }
}

void waivers_apply(struct verdict *verdict, const struct facts *facts, const struct policy_context *context)
{
    const char *const given[] = {facts->waiver, context->start_waiver};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (given[i] == NULL || *skip_space(given[i]) == '\0')
            continue;
        struct waiver waiver = waiver_read(given[i]);
        waive(verdict, &waiver, context);
    }
    for (size_t i = 0; facts->waiver == NULL && facts->not_waiver != NULL && i < verdict->n_findings; i++) {
        if (!verdict->findings[i].waived)
            add_note(
                verdict, &verdict->findings[i],
                talloc_asprintf(verdict,
                                "The comment \"%s\" is no waiver: write /* pgsluice: allow RULE, REASON */.",
                                facts->not_waiver));
    }
}

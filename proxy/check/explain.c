/*
 * The documentation of the rules, as policy/rule_doc has it.
 */
#include "proxy/check/report.h"

static const char *const groups[] = {[RULE_GROUP_CHANGE] = "the change",
                                     [RULE_GROUP_DEFINITION] = "the definition",
                                     [RULE_GROUP_READERS] = "the readers",
                                     [RULE_GROUP_SIBLING] = "siblings"};

void explain_rule(enum rule rule, FILE *out)
{
    const struct rule_doc *doc = rule_doc(rule);
    fprintf(out, "%s: %s\n\n", rule_name(rule), doc->summary);
    report_paragraph(out, "  What happens    ", doc->happens);
    report_paragraph(out, "  Why it matters  ", doc->matters);
    report_paragraph(out, "  The safe way    ", doc->safe_way);
    report_paragraph(out, "  Source          PostgreSQL manual: ", doc->source);
    fprintf(out, "  Action          standard: %s, strict: %s%s\n",
            action_name(rule_profile_action(rule, PROFILE_STANDARD)),
            action_name(rule_profile_action(rule, PROFILE_STRICT)),
            rule_available(rule) ? "" : " (not implemented yet: a configuration can't name it)");
}

void explain_all(FILE *out)
{
    int group = -1;
    fprintf(out, "%-26s %-9s %-9s %s\n", "rule", "standard", "strict", "what it is about");
    for (int i = 0; i < RULE_COUNT; i++) {
        enum rule rule = (enum rule)i;
        if ((int)rule_group_of(rule) != group) {
            group = (int)rule_group_of(rule);
            fprintf(out, "\n%s\n", groups[group]);
        }
        fprintf(out, "%-26s %-9s %-9s %s%s\n", rule_name(rule),
                action_name(rule_profile_action(rule, PROFILE_STANDARD)),
                action_name(rule_profile_action(rule, PROFILE_STRICT)), rule_doc(rule)->summary,
                rule_available(rule) ? "" : " (not implemented yet)");
    }
}

json_t *explain_json(enum rule rule)
{
    const struct rule_doc *doc = rule_doc(rule);
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o}", "rule", rule_name(rule), "group",
                     groups[rule_group_of(rule)], "standard",
                     action_name(rule_profile_action(rule, PROFILE_STANDARD)), "strict",
                     action_name(rule_profile_action(rule, PROFILE_STRICT)), "available",
                     rule_available(rule), "summary", report_string(doc->summary), "happens",
                     report_string(doc->happens), "matters", report_string(doc->matters), "safe_way",
                     report_string(doc->safe_way), "source", report_string(doc->source));
}

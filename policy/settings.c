/*
 * Which setting is in force: the profile, then policy.rules, then the overrides in the file's order.
 *
 * Where an override asks for something that is not known (a table written without its schema, a database or
 * role that `check` was not told), it may still tighten, but never loosen: an action counts only if it is
 * graver than the one in force. To loosen a rule for a table whatever its schema, the file says 'orders' or
 * '*.orders'.
 */
#include <fnmatch.h>
#include <string.h>

#include "policy/policy.h"

/* From certain to certain: MAYBE is a match that rests on something unknown. */
enum match { MATCH_NO, MATCH_MAYBE, MATCH_YES };

static enum match weaker(enum match a, enum match b)
{
    return a < b ? a : b;
}

static enum match match_text(const char *glob, const char *value)
{
    if (glob == NULL)
        return MATCH_YES;
    return fnmatch(glob, value, 0) == 0 ? MATCH_YES : MATCH_NO;
}

/* Empty: not known here. */
static enum match match_known(const char *glob, const char *value)
{
    if (glob == NULL || strcmp(glob, "*") == 0)
        return MATCH_YES;
    if (value == NULL || value[0] == '\0')
        return MATCH_MAYBE;
    return match_text(glob, value);
}

/* 'public.orders' against public.orders; 'orders' against orders in any schema; 'public.orders' against
 * orders without a schema: maybe. */
static enum match match_table(const char *glob, const struct name *table)
{
    if (glob == NULL || strcmp(glob, "*") == 0)
        return MATCH_YES;
    if (table == NULL || table->name == NULL)
        return MATCH_MAYBE;
    const char *dot = strrchr(glob, '.');
    if (dot == NULL)
        return match_text(glob, table->name);
    if (match_text(dot + 1, table->name) == MATCH_NO)
        return MATCH_NO;
    char schema[256];
    size_t length = (size_t)(dot - glob);
    if (length >= sizeof schema)
        return MATCH_NO;
    memcpy(schema, glob, length);
    schema[length] = '\0';
    if (strcmp(schema, "*") == 0)
        return MATCH_YES;
    return table->schema == NULL ? MATCH_MAYBE : match_text(schema, table->schema);
}

static enum match match_override(const struct conf_override *override, const struct policy_context *context,
                                 const struct name *table)
{
    enum match match = match_known(override->database, context->database);
    match = weaker(match, match_known(override->role, context->role));
    match = weaker(
        match, match_text(override->application, context->application == NULL ? "" : context->application));
    const char *environment = context->conf->environment;
    match = weaker(match, match_text(override->environment, environment == NULL ? "" : environment));
    return weaker(match, match_table(override->table, table));
}

static void apply(struct conf_rule *setting, const struct conf_rule *said, enum match match)
{
    bool graver = said->has_action && said->action > setting->action;
    if (match == MATCH_NO || (match == MATCH_MAYBE && !graver))
        return;
    if (said->has_action) {
        setting->has_action = true;
        setting->action = said->action;
        setting->line = said->line;
    }
    if (said->regex != NULL && match == MATCH_YES) {
        setting->pattern = said->pattern;
        setting->regex = said->regex;
    }
}

struct conf_rule policy_rule(const struct policy_context *context, enum rule rule, const struct name *object)
{
    const struct conf_policy *policy = &context->conf->policy;
    struct conf_rule setting = {.action = conf_default_action(context->conf, rule)};
    apply(&setting, &policy->rules[rule], MATCH_YES);
    for (size_t i = 0; i < policy->n_overrides; i++)
        apply(&setting, &policy->overrides[i].rules[rule],
              match_override(&policy->overrides[i], context, object));
    return setting;
}

/*
 * The names of actions, profiles and rules, and what each profile says of each rule: all from rules.def.
 */
#include "conf/conf.h"

#include <string.h>

static const char *const actions[ACTION_COUNT] = {"allow", "warn", "online", "approve", "reject"};
static const char *const profiles[PROFILE_COUNT] = {"observe", "standard", "strict"};

enum { AVAILABLE = 1, LATER = 0 };

static const struct {
    const char *name;
    enum rule_group group;
    enum action standard, strict;
    int speaks;
} rules[RULE_COUNT] = {
#define RULE(id, name, group, standard, strict, speaks)                                                      \
    [RULE_##id] = {name, RULE_GROUP_##group, ACTION_##standard, ACTION_##strict, speaks},
#include "conf/rules.def"
#undef RULE
};

const char *action_name(enum action action)
{
    return actions[action];
}

bool action_of(const char *name, enum action *action)
{
    for (int i = 0; i < ACTION_COUNT; i++) {
        if (strcmp(name, actions[i]) == 0) {
            *action = (enum action)i;
            return true;
        }
    }
    return false;
}

const char *profile_name(enum profile profile)
{
    return profiles[profile];
}

const char *rule_name(enum rule rule)
{
    return rules[rule].name;
}

bool rule_of(const char *name, size_t length, enum rule *rule)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        if (strlen(rules[i].name) == length && memcmp(rules[i].name, name, length) == 0) {
            *rule = (enum rule)i;
            return true;
        }
    }
    return false;
}

enum rule_group rule_group_of(enum rule rule)
{
    return rules[rule].group;
}

bool rule_available(enum rule rule)
{
    return rules[rule].speaks == AVAILABLE;
}

bool rule_online(enum rule rule)
{
    switch (rule) {
    case RULE_volatile_default:
    case RULE_serial_column:
    case RULE_identity_column:
    case RULE_inline_unique:
    case RULE_inline_check:
    case RULE_inline_foreign_key:
    case RULE_rewrite_with_siblings:
    case RULE_set_not_null:
    case RULE_add_check:
    case RULE_add_foreign_key:
    case RULE_add_unique:
    case RULE_create_index:
        return true;
    default:
        return false;
    }
}

enum action rule_profile_action(enum rule rule, enum profile profile)
{
    return profile == PROFILE_STRICT ? rules[rule].strict : rules[rule].standard;
}

enum action conf_default_action(const struct conf *conf, enum rule rule)
{
    enum action action = rule_profile_action(rule, conf->policy.profile);
    bool instead = action == ACTION_REJECT && rule_online(rule) && conf->online.maintenance != NULL;
    return instead ? ACTION_ONLINE : action;
}

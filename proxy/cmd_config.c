/*
 * `pgsluice config check FILE`: every mistake at once, one a line, where an editor can jump to; or the rules
 * in force, each with the place that decided it. What holds for a statement: the profile, then policy.rules,
 * then every override that fits, in the file's order; a later one wins. So each rule's table reads downwards.
 */
#include "proxy/cmd_config.h"

#include "conf/conf.h"

#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 24, ACTION_WIDTH = 7 };

static void print_mistakes(const char *path, const struct conf_mistakes *mistakes)
{
    for (size_t i = 0; i < mistakes->n; i++) {
        const struct conf_mistake *mistake = &mistakes->items[i];
        fprintf(stderr, "%s:%u:%u: %s\n", path, mistake->line, mistake->column, mistake->text);
    }
}

/* " role=deploy table=public.orders" */
static void print_when(const struct conf_override *override)
{
    const struct {
        const char *name, *glob;
    } parts[] = {
        {"database", override->database},
        {"table", override->table},
        {"role", override->role},
        {"application", override->application},
        {"environment", override->environment},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].glob)
            printf(" %s='%s'", parts[i].name, parts[i].glob);
    }
}

static void print_pattern(const struct conf_rule *rule)
{
    if (rule->pattern)
        printf(", pattern %s", rule->pattern);
}

/* An override may give a pattern alone; the action then comes from further out and is not repeated. */
static void print_overrides(const struct conf_policy *policy, enum rule rule)
{
    for (size_t i = 0; i < policy->n_overrides; i++) {
        const struct conf_override *override = &policy->overrides[i];
        const struct conf_rule *said = &override->rules[rule];
        if (said->line == 0)
            continue;
        printf("%-*s  %-*s  override, line %u: when", NAME_WIDTH, "", ACTION_WIDTH,
               said->has_action ? action_name(said->action) : "", said->line);
        print_when(override);
        print_pattern(said);
        putchar('\n');
    }
}

/* What an action can't do where. */
static const struct {
    enum rule rule;
    enum action from; /* of this action or a graver one */
    const char *note;
} notes[] = {
    {RULE_comment_required, ACTION_ONLINE,
     "in `check`; through the proxy it only warns, since the COMMENT may come in a message of its own"},
    {RULE_select_star_prepared, ACTION_WARN, "in `check` only"},
    {RULE_positional_insert, ACTION_WARN, "in `check` only"},
    {RULE_copy_without_columns, ACTION_WARN, "in `check` only"},
};

static void print_note(enum rule rule, enum action action)
{
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++)
        if (notes[i].rule == rule && action >= notes[i].from)
            printf("; %s", notes[i].note);
}

static void print_rule(const struct conf *conf, enum rule rule)
{
    const struct conf_policy *policy = &conf->policy;
    const struct conf_rule *said = &policy->rules[rule];
    enum action by_default = conf_default_action(conf, rule);
    bool instead = by_default != rule_profile_action(rule, policy->profile);
    enum action action = said->has_action ? said->action : by_default;
    printf("%-*s  %-*s  ", NAME_WIDTH, rule_name(rule), ACTION_WIDTH, action_name(action));
    if (said->has_action)
        printf("policy, line %u", said->line);
    else
        printf("profile %s%s", profile_name(policy->profile), instead ? ", with online.maintenance" : "");
    if (said->pattern && !said->has_action)
        printf("; policy, line %u", said->line);
    print_pattern(said);
    print_note(rule, action);
    putchar('\n');
    print_overrides(policy, rule);
}

/* Rules that the contract has and this version doesn't. */
static void print_later(void)
{
    bool any = false;
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        if (rule_available((enum rule)rule))
            continue;
        printf("%s %s", any ? "" : "\nNot in this version:", rule_name((enum rule)rule));
        any = true;
    }
    if (any)
        putchar('\n');
}

static void print_policy(const struct conf *conf)
{
    const struct conf_policy *policy = &conf->policy;
    printf(
        "\nFirst the profile speaks, then policy.rules, then each override that fits, in the file's order.\n"
        "The last one to speak of a rule decides.\n");
    if (policy->profile == PROFILE_OBSERVE)
        printf("Profile observe: nothing is held up; the actions are what is put on record.\n");
    printf("\n%-*s  %-*s  %s\n", NAME_WIDTH, "RULE", ACTION_WIDTH, "ACTION", "DECIDED BY");
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        if (rule_available((enum rule)rule))
            print_rule(conf, (enum rule)rule);
    }
    print_later();
}

static int check(const char *path)
{
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load(path, &mistakes);
    if (!conf) {
        print_mistakes(path, &mistakes);
        conf_mistakes_free(&mistakes);
        return 2;
    }
    printf("%s: fine\n", path);
    print_policy(conf);
    conf_mistakes_free(&mistakes);
    conf_unref(conf);
    return 0;
}

int cmd_config(int argc, char **argv)
{
    static const char usage[] =
        "usage: pgsluice config check FILE\n"
        "\n"
        "Names every mistake in a configuration with its line and column, or prints the rules in "
        "force and what decided each.\n";
    bool helped = argc > 1 && (strcmp(argv[argc - 1], "--help") == 0 || strcmp(argv[argc - 1], "-h") == 0);
    if (argc != 3 || strcmp(argv[1], "check") != 0 || helped) {
        fputs(usage, helped ? stdout : stderr);
        return helped ? 0 : 2;
    }
    return check(argv[2]);
}

/*
 * What a file says of rules: an action word, or a mapping of action and pattern. What the contract has but
 * this version does not implement is a mistake that says so, never silently ignored.
 */
#include "conf/schema.h"

#include <string.h>
#include <talloc.h>

/* Why an action cannot be used yet; NULL: it can. Lifting one is emptying its row. */
static const char *const action_later[ACTION_COUNT] = {
    [ACTION_APPROVE] = "action approve needs approvals, which this version does not implement yet",
};

static void read_action(struct reader *reader, const yaml_node_t *node, const struct place *place,
                        struct conf_rule *rule)
{
    char quoted[READER_QUOTE];
    enum action action;
    reader_quote(quoted, (const char *)node->data.scalar.value, node->data.scalar.length);
    if (document_is_null(node) || !action_of(quoted, &action))
        reader_mistake_at(reader, node, place, "expected allow, warn, online or reject, not %s",
                          document_is_null(node) ? "nothing" : quoted);
    else if (action_later[action])
        reader_mistake_at(reader, node, place, "%s", action_later[action]);
    else {
        rule->has_action = true;
        rule->action = action;
    }
}

/* No change that runs online answers this rule. */
static void never_online(struct reader *reader, enum rule name, const yaml_node_t *node,
                         const struct place *place, const struct conf_rule *rule)
{
    if (rule->has_action && rule->action == ACTION_ONLINE && !rule_online(name))
        reader_mistake_at(reader, node, place,
                          "what this rule is about can't be done online; say allow, warn or reject");
}

static void read_pattern(struct reader *reader, enum rule name, const yaml_node_t *node,
                         const struct place *place, struct conf_rule *rule)
{
    if (name != RULE_column_name) {
        reader_mistake_at(reader, node, place, "only column-name takes a pattern");
        return;
    }
    const char *text = (const char *)node->data.scalar.value;
    if (node->type != YAML_SCALAR_NODE || document_is_null(node) || !*text ||
        strlen(text) != node->data.scalar.length) {
        reader_mistake_at(reader, node, place, "expected an extended regular expression in quotes");
        return;
    }
    char why[128];
    rule->regex = pattern_compile(reader->conf, text, why, sizeof why);
    if (!rule->regex) {
        reader_mistake_at(reader, node, place, "cannot be used: %s", why);
        return;
    }
    rule->pattern = talloc_strdup(reader->conf, text);
    if (!rule->pattern)
        reader_no_memory(reader);
}

static void read_part(struct reader *reader, enum rule name, const yaml_node_pair_t *pair,
                      const struct place *outer, struct conf_rule *rule, bool seen[2])
{
    static const char *const parts[] = {"action", "pattern"};
    const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(reader->document, pair->value);
    int part = document_is_word(key, parts[0]) ? 0 : document_is_word(key, parts[1]) ? 1 : -1;
    if (part < 0) {
        reader_mistake_at(reader, key, outer,
                          "a rule has an action and, for column-name, a pattern; nothing else");
        return;
    }
    const struct place place = {outer, parts[part], 0};
    if (seen[part]) {
        reader_mistake_at(reader, key, &place, "said twice");
        return;
    }
    seen[part] = true;
    if (part == 1)
        read_pattern(reader, name, value, &place, rule);
    else if (value->type == YAML_SCALAR_NODE)
        read_action(reader, value, &place, rule);
    else
        reader_mistake_at(reader, value, &place, "expected allow, warn or reject");
}

void rules_read_one(struct reader *reader, enum rule name, const yaml_node_t *node, const struct place *place,
                    struct conf_rule *rule)
{
    if (rule->line > 0) { /* policy.unparseable and policy.rules.unparseable are the same */
        reader_mistake_at(reader, node, place, "said twice; first on line %u", rule->line);
        return;
    }
    rule->line = (unsigned)node->start_mark.line + 1;
    if (node->type == YAML_SCALAR_NODE) {
        read_action(reader, node, place, rule);
        never_online(reader, name, node, place, rule);
        return;
    }
    if (node->type != YAML_MAPPING_NODE || node->data.mapping.pairs.start == node->data.mapping.pairs.top) {
        reader_mistake_at(reader, node, place, "expected an action, or {action: ..., pattern: ...}");
        return;
    }
    bool seen[2] = {false, false};
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && !reader->full; pair++)
        read_part(reader, name, pair, place, rule, seen);
    never_online(reader, name, node, place, rule);
}

static void unknown_rule(struct reader *reader, const yaml_node_t *key, const char *quoted,
                         const struct place *place)
{
    const char *names[RULE_COUNT];
    for (int i = 0; i < RULE_COUNT; i++)
        names[i] = rule_name((enum rule)i);
    const char *meant = reader_nearest(quoted, names, RULE_COUNT);
    if (meant)
        reader_mistake_at(reader, key, place, "no such rule; did you mean %s?", meant);
    else
        reader_mistake_at(reader, key, place, "no such rule");
}

static void read_rule(struct reader *reader, const yaml_node_pair_t *pair, const struct place *outer,
                      struct conf_rule rules[RULE_COUNT])
{
    const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
    if (key->type != YAML_SCALAR_NODE) {
        reader_mistake_at(reader, key, outer, "a key must be the name of a rule");
        return;
    }
    char quoted[READER_QUOTE];
    const char *name = (const char *)key->data.scalar.value;
    reader_quote(quoted, name, key->data.scalar.length);
    const struct place place = {outer, quoted, 0};
    enum rule rule;
    if (!rule_of(name, key->data.scalar.length, &rule)) {
        unknown_rule(reader, key, quoted, &place);
        return;
    }
    if (!rule_available(rule)) {
        reader_mistake_at(reader, key, &place,
                          "is part of the contract, but this version does not implement it");
        return;
    }
    if (rules[rule].line > 0) {
        reader_mistake_at(reader, key, &place, "said twice; first on line %u", rules[rule].line);
        return;
    }
    rules_read_one(reader, rule, yaml_document_get_node(reader->document, pair->value), &place, &rules[rule]);
    rules[rule].line = (unsigned)key->start_mark.line + 1;
}

void rules_read(struct reader *reader, const yaml_node_t *node, const struct place *place,
                struct conf_rule rules[RULE_COUNT])
{
    if (document_is_null(node))
        return;
    if (node->type != YAML_MAPPING_NODE) {
        reader_mistake_at(reader, node, place, "expected a mapping of rules to actions");
        return;
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && !reader->full; pair++)
        read_rule(reader, pair, place, rules);
}

/*
 * The summary's counting: statements by what they have in common.
 */
#include "proxy/observe/audit_summary.h"

#include <stdlib.h>
#include <string.h>

struct member {
    uint32_t group;
    enum summary_class class; /* what this group's rule says of it, or all rules together */
    const struct summary_statement *statement;
};

static int by_group(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return (x->group > y->group) - (x->group < y->group);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static size_t distinct(uint64_t *numbers, size_t n)
{
    size_t found = n > 0;
    qsort(numbers, n, sizeof *numbers, by_number);
    for (size_t i = 1; i < n; i++)
        found += numbers[i] != numbers[i - 1];
    return found;
}

static void count(struct summary_group *group, const struct member *member)
{
    const struct summary_statement *statement = member->statement;
    group->statements++;
    group->refused += member->class == SUMMARY_REFUSED;
    group->warned += member->class == SUMMARY_WARNED;
    group->waived += member->class == SUMMARY_WAIVED;
    group->committed += statement->end == SUMMARY_COMMITTED;
    group->rolled_back += statement->end == SUMMARY_ROLLED_BACK;
    group->failed += statement->failed;
    if (statement->duration_ms < 0)
        return;
    group->total_ms += statement->duration_ms;
    if (statement->duration_ms > group->longest_ms)
        group->longest_ms = statement->duration_ms;
}

/* Counts the members of one group; `numbers` has room for all of them. */
static void count_all(struct summary_group *group, const struct member *members, size_t n, uint64_t *numbers)
{
    for (size_t i = 0; i < n; i++)
        count(group, &members[i]);
    for (size_t i = 0; i < n; i++)
        numbers[i] = members[i].statement->fingerprint;
    group->fingerprints = distinct(numbers, n);
    for (size_t i = 0; i < n; i++)
        numbers[i] = members[i].statement->transaction;
    group->transactions = distinct(numbers, n);
}

/* Sorts the members and fills one group each; gives the number of groups. */
static size_t gather(struct member *members, size_t n, struct summary_group *groups, uint64_t *numbers)
{
    size_t n_groups = 0;
    qsort(members, n, sizeof *members, by_group);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from; to < n && members[to].group == members[from].group;)
            to++;
        groups[n_groups] = (struct summary_group){.name = members[from].group};
        count_all(&groups[n_groups++], members + from, to - from, numbers);
    }
    return n_groups;
}

static int gravest_first(const void *a, const void *b)
{
    const struct summary_group *x = a, *y = b;
    if (x->refused != y->refused)
        return x->refused > y->refused ? -1 : 1;
    if (x->warned != y->warned)
        return x->warned > y->warned ? -1 : 1;
    if (x->longest_ms > y->longest_ms || x->longest_ms < y->longest_ms)
        return x->longest_ms > y->longest_ms ? -1 : 1;
    return (x->name > y->name) - (x->name < y->name);
}

static enum summary_class class_by_rule(const struct summary_statement *statement, uint64_t bit)
{
    if (statement->refuse & bit)
        return SUMMARY_REFUSED;
    if (statement->warn & bit)
        return SUMMARY_WARNED;
    return statement->waived & bit ? SUMMARY_WAIVED : SUMMARY_ALLOWED;
}

/* The statements, once for each group that they are in; with `members` NULL only their number. */
static size_t list(const struct summary *summary, enum summary_by by, struct member *members)
{
    size_t n = 0;
    for (size_t i = 0; i < summary->n; i++) {
        const struct summary_statement *statement = &summary->statements[i];
        if (statement->class == SUMMARY_ALLOWED)
            continue;
        for (uint32_t rule = 0; rule < (by == BY_RULE ? SUMMARY_RULES : 1); rule++) {
            struct member one = {statement->names[by], statement->class, statement};
            if (by == BY_RULE)
                one = (struct member){rule, class_by_rule(statement, (uint64_t)1 << rule), statement};
            if (one.class == SUMMARY_ALLOWED)
                continue;
            if (members)
                members[n] = one;
            n++;
        }
    }
    return n;
}

struct summary_group *summary_groups(const struct summary *summary, enum summary_by by, size_t *n)
{
    size_t n_members = list(summary, by, NULL);
    struct member *members = calloc(n_members + 1, sizeof *members);
    uint64_t *numbers = calloc(n_members + 1, sizeof *numbers);
    struct summary_group *groups = calloc(n_members + 1, sizeof *groups);
    *n = 0;
    if (members && numbers && groups) {
        list(summary, by, members);
        *n = gather(members, n_members, groups, numbers);
        qsort(groups, *n, sizeof *groups, gravest_first);
    }
    free(members);
    free(numbers);
    return groups;
}

bool summary_classes(const struct summary *summary, struct summary_group classes[SUMMARY_CLASSES])
{
    struct member *members = calloc(summary->n + 1, sizeof *members);
    uint64_t *numbers = calloc(summary->n + 1, sizeof *numbers);
    struct summary_group found[SUMMARY_CLASSES];
    bool fine = members && numbers;
    for (uint32_t class = 0; class < SUMMARY_CLASSES; class ++)
        classes[class] = (struct summary_group){.name = class};
    for (size_t i = 0; fine && i < summary->n; i++) {
        const struct summary_statement *statement = &summary->statements[i];
        members[i] = (struct member){statement->class, statement->class, statement};
    }
    size_t n = fine ? gather(members, summary->n, found, numbers) : 0;
    for (size_t i = 0; i < n; i++)
        classes[found[i].name] = found[i];
    free(members);
    free(numbers);
    return fine;
}

size_t summary_worst(const struct summary *summary, const struct summary_statement *worst[SUMMARY_WORST])
{
    size_t n = 0;
    for (size_t i = 0; i < summary->n; i++) {
        const struct summary_statement *one = &summary->statements[i];
        bool ran = one->observed || one->class != SUMMARY_REFUSED;
        if (one->class == SUMMARY_ALLOWED || !ran || one->duration_ms < 0)
            continue;
        size_t at = n < SUMMARY_WORST ? n++ : SUMMARY_WORST;
        for (; at > 0 && worst[at - 1]->duration_ms < one->duration_ms; at--)
            if (at < SUMMARY_WORST)
                worst[at] = worst[at - 1];
        if (at < SUMMARY_WORST)
            worst[at] = one;
    }
    return n;
}

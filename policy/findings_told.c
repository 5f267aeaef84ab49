/*
 * Findings as people are told of them: a table with twenty columns gets one sentence a rule, not twenty. Logs
 * and programs get them one by one, from the verdict itself.
 *
 * Put together are rules on definitions, and findings that differ in their column only: what others advise is
 * SQL for one column or table.
 */
#include "policy/findings.h"

#include <string.h>
#include <talloc.h>

/* Findings of one rule and action, in their order. */
struct told {
    const struct finding *items[64];
    size_t n;
};

enum { TOLD_MAX = sizeof((struct told){{NULL}, 0}.items) / sizeof(struct finding *) };

static bool counts(const struct finding *finding)
{
    return !finding->waived && finding->action >= ACTION_WARN;
}

static const char *detail_at(const struct finding *finding)
{
    return finding->detail == NULL ? "" : finding->detail;
}

static const char *hint_at(const struct finding *finding)
{
    return finding->hint == NULL ? "" : finding->hint;
}

static bool goes_with(const struct finding *first, const struct finding *other)
{
    bool same =
        strcmp(detail_at(first), detail_at(other)) == 0 && strcmp(hint_at(first), hint_at(other)) == 0;
    return counts(other) && other->rule == first->rule && other->action == first->action &&
           other->object != NULL && first->object != NULL &&
           (same || rule_group_of(first->rule) == RULE_GROUP_DEFINITION);
}

/* One of another group, or the first of its own. */
static bool leads(const struct verdict *verdict, size_t index)
{
    if (!counts(&verdict->findings[index]))
        return false;
    for (size_t i = 0; i < index; i++)
        if (goes_with(&verdict->findings[i], &verdict->findings[index]))
            return false;
    return true;
}

/* "a, b and c" */
static char *append_names(char *text, const struct told *told, const bool *these)
{
    size_t n = 0, said = 0;
    for (size_t i = 0; i < told->n; i++)
        n += these == NULL || these[i];
    for (size_t i = 0; i < told->n; i++) {
        if (these != NULL && !these[i])
            continue;
        text = talloc_asprintf_append(text, "%s%s",
                                      said == 0       ? ""
                                      : said + 1 == n ? " and "
                                                      : ", ",
                                      quote_identifier(text, told->items[i]->object));
        said++;
    }
    return text;
}

/* What is said of all of them; %s stands for their names. */
static const char *sentence_of(enum rule rule)
{
    switch (rule) {
    case RULE_column_name:
        return "column names %s don't follow the naming rule";
    case RULE_reserved_word:
        return "column names %s are reserved words of SQL";
    case RULE_name_too_long:
        return "names of more than 63 bytes: PostgreSQL would cut them to %s, with only a NOTICE";
    case RULE_column_type:
        return "columns %s have types that bring trouble later";
    case RULE_explicit_default:
        return "columns %s don't say what their default is";
    case RULE_nullable_column:
        return "columns %s may be NULL";
    case RULE_comment_required:
        return "columns %s get no comment";
    default:
        return NULL;
    }
}

static char *message_of(const void *memory, const struct told *told)
{
    const char *sentence = sentence_of(told->items[0]->rule);
    if (sentence == NULL) {
        char *text = talloc_asprintf(memory, "%s; likewise ", told->items[0]->message);
        struct told others = {.n = told->n - 1};
        memcpy(others.items, told->items + 1, others.n * sizeof *others.items);
        return append_names(text, &others, NULL);
    }
    const char *names = strstr(sentence, "%s");
    char *text = talloc_strndup(memory, sentence, (size_t)(names - sentence));
    return talloc_strdup_append(append_names(text, told, NULL), names + 2);
}

/* Each text once, behind the columns that it is about where there is more than one text. */
static char *merged(const void *memory, const struct told *told,
                    const char *(*text_at)(const struct finding *))
{
    char *text = talloc_strdup(memory, "");
    bool done[TOLD_MAX] = {false};
    for (size_t i = 0; i < told->n; i++) {
        bool same[TOLD_MAX] = {false};
        size_t n = 0;
        if (done[i])
            continue;
        for (size_t k = i; k < told->n; k++) {
            same[k] = !done[k] && strcmp(text_at(told->items[i]), text_at(told->items[k])) == 0;
            done[k] = done[k] || same[k];
            n += same[k];
        }
        if (n == told->n)
            return talloc_strdup_append(text, text_at(told->items[i]));
        text = append_names(talloc_strdup_append(text, i == 0 ? "" : "\n"), told, same);
        text = talloc_asprintf_append(text, ": %s", text_at(told->items[i]));
    }
    return text;
}

static struct finding together(const void *memory, const struct told *told)
{
    struct finding finding = *told->items[0];
    if (told->n == 1)
        return finding;
    finding.message = message_of(memory, told);
    finding.detail = merged(memory, told, detail_at);
    finding.hint = merged(memory, told, hint_at);
    finding.object = NULL;
    return finding;
}

struct finding *verdict_told(const void *talloc_parent, const struct verdict *verdict, size_t *n)
{
    struct finding *all = talloc_array(talloc_parent, struct finding, (unsigned)verdict->n_findings + 1);
    *n = 0;
    for (size_t i = 0; all != NULL && i < verdict->n_findings; i++) {
        struct told told = {.n = 0};
        if (!leads(verdict, i))
            continue;
        told.items[told.n++] = &verdict->findings[i];
        for (size_t k = i + 1; k < verdict->n_findings && told.n < TOLD_MAX; k++)
            if (goes_with(&verdict->findings[i], &verdict->findings[k]))
                told.items[told.n++] = &verdict->findings[k];
        all[(*n)++] = together(all, &told);
    }
    return all;
}

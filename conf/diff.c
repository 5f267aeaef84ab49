/*
 * What a reload changes, key by key, led by the schema. Values are compared as they would be printed, except
 * connection strings: these may hold a password and are compared, never shown.
 */
#include "conf/schema.h"

#include <stdlib.h>
#include <string.h>

struct diff {
    FILE *out;
    size_t lines, restart;
};

static void print_section(FILE *, const struct section *, const char *base);

static void print_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == 0x7f)
            fprintf(out, "\\x%02x", byte);
        else
            fputc(byte, out);
    }
}

static void print_rule(FILE *out, const struct conf_rule *rule)
{
    if (rule->pattern) {
        fputs("{", out);
        if (rule->has_action)
            fprintf(out, "action: %s, ", action_name(rule->action));
        fputs("pattern: ", out);
        print_text(out, rule->pattern);
        fputs("}", out);
    } else {
        fputs(rule->has_action ? action_name(rule->action) : "as the profile says", out);
    }
}

static void print_rules(FILE *out, const struct conf_rule *rules)
{
    const char *comma = "{";
    for (int i = 0; i < RULE_COUNT; i++) {
        if (rules[i].line == 0)
            continue;
        fprintf(out, "%s%s: ", comma, rule_name((enum rule)i));
        print_rule(out, &rules[i]);
        comma = ", ";
    }
    fputs(*comma == '{' ? "{}" : "}", out);
}

static void print_strings(FILE *out, const char *const *strings, size_t n)
{
    fputc('[', out);
    for (size_t i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_text(out, strings[i]);
    }
    fputc(']', out);
}

static void print_string(FILE *out, const char *text)
{
    if (!text)
        fputs("none", out);
    else if (!*text || strcmp(text, "none") == 0)
        fprintf(out, "'%s'", text); /* not to be taken for no text at all */
    else
        print_text(out, text);
}

static void print_value(FILE *out, const struct field *field, const char *base)
{
    const void *at = base + field->offset;
    switch (field->kind) {
    case FIELD_STRING:
        print_string(out, *(const char *const *)at);
        break;
    case FIELD_BOOL:
        fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case FIELD_NUMBER:
        fprintf(out, "%u", *(const uint32_t *)at);
        break;
    case FIELD_COUNT:
        fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    case FIELD_PORT:
        fprintf(out, "%u", *(const uint16_t *)at);
        break;
    case FIELD_DURATION:
        unit_print_duration(out, *(const int64_t *)at);
        break;
    case FIELD_SIZE:
        unit_print_size(out, *(const uint64_t *)at);
        break;
    case FIELD_WORD:
        fputs(field->words[*(const unsigned *)at], out);
        break;
    case FIELD_ACTION:
        print_rule(out, at);
        break;
    case FIELD_RULES:
        print_rules(out, at);
        break;
    case FIELD_STRINGS:
        print_strings(out, *(const char *const *const *)at, *(const size_t *)(base + field->count));
        break;
    case FIELD_SECTION:
        print_section(out, field->section, at);
        break;
    case FIELD_CONNINFO: /* never */
    case FIELD_LIST:     /* not inside of an item */
    case FIELD_LATER:
        break;
    }
}

/* "{address: 127.0.0.1, port: 6432}"; what is not said is left out. */
static void print_section(FILE *out, const struct section *section, const char *base)
{
    const char *comma = "{";
    for (size_t i = 0; i < section->n; i++) {
        const struct field *field = &section->fields[i];
        if (field->kind == FIELD_STRING && !*(const char *const *)(base + field->offset))
            continue;
        fprintf(out, "%s%s: ", comma, field->key);
        print_value(out, field, base);
        comma = ", ";
    }
    fputs(*comma == '{' ? "{}" : "}", out);
}

static void print_place(FILE *out, const struct place *place)
{
    if (place->outer)
        print_place(out, place->outer);
    if (place->key)
        fprintf(out, "%s%s", place->outer ? "." : "", place->key);
    else
        fprintf(out, "[%zu]", place->index);
}

static void line(struct diff *diff, const struct field *field, const struct place *place, const char *before,
                 const char *after)
{
    bool restart = (field->flags & FIELD_RESTART) != 0;
    print_place(diff->out, place);
    fprintf(diff->out, ": %s -> %s%s\n", before, after, restart ? " (after a restart)" : "");
    diff->lines++;
    diff->restart += restart;
}

/* The printed value, to be freed; NULL: out of memory. */
static char *printed(const struct field *field, const char *base, bool item)
{
    if (!base)
        return strdup("none");
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    if (item)
        print_section(out, field->section, base);
    else
        print_value(out, field, base);
    bool fine = !ferror(out);
    if (fclose(out) != 0 || !fine) {
        free(text);
        return NULL;
    }
    return text;
}

/* One value, or one item of a list; NULL: this item is not in the list. */
static void diff_value(struct diff *diff, const struct field *field, const struct place *place,
                       const char *before, const char *after, bool item)
{
    char *was = printed(field, before, item), *is = printed(field, after, item);
    if (!was || !is) /* better one line too many than a change untold */
        line(diff, field, place, "?", "? (out of memory)");
    else if (strcmp(was, is) != 0)
        line(diff, field, place, was, is);
    free(was);
    free(is);
}

static void diff_conninfo(struct diff *diff, const struct field *field, const struct place *place,
                          const char *before, const char *after)
{
    const char *was = *(const char *const *)(before + field->offset);
    const char *is = *(const char *const *)(after + field->offset);
    if (was == is || (was && is && strcmp(was, is) == 0))
        return;
    line(diff, field, place, was ? "(not shown)" : "none", is ? "(not shown)" : "none");
}

static void diff_list(struct diff *diff, const struct field *field, const struct place *place,
                      const char *before, const char *after)
{
    const char *was = *(const char *const *)(before + field->offset);
    const char *is = *(const char *const *)(after + field->offset);
    size_t n_was = *(const size_t *)(before + field->count), n_is = *(const size_t *)(after + field->count);
    for (size_t i = 0; i < n_was || i < n_is; i++) {
        const struct place at = {place, NULL, i};
        diff_value(diff, field, &at, i < n_was ? was + i * field->size : NULL,
                   i < n_is ? is + i * field->size : NULL, true);
    }
}

static void diff_rules(struct diff *diff, const struct place *place, const struct conf_rule *before,
                       const struct conf_rule *after)
{
    static const struct field rule = {.kind = FIELD_ACTION};
    for (int i = 0; i < RULE_COUNT; i++) {
        const struct place at = {place, rule_name((enum rule)i), 0};
        diff_value(diff, &rule, &at, (const char *)&before[i], (const char *)&after[i], false);
    }
}

static void diff_section(struct diff *diff, const struct section *section, const struct place *outer,
                         const char *before, const char *after)
{
    for (size_t i = 0; i < section->n; i++) {
        const struct field *field = &section->fields[i];
        const struct place place = {outer, field->key, 0};
        const char *was = before + field->offset, *is = after + field->offset;
        if (field->flags & FIELD_ALIAS || field->kind == FIELD_LATER)
            continue;
        if (field->kind == FIELD_SECTION)
            diff_section(diff, field->section, &place, was, is);
        else if (field->kind == FIELD_LIST)
            diff_list(diff, field, &place, before, after);
        else if (field->kind == FIELD_CONNINFO)
            diff_conninfo(diff, field, &place, before, after);
        else if (field->kind == FIELD_RULES)
            diff_rules(diff, &place, (const void *)was, (const void *)is);
        else
            diff_value(diff, field, &place, before, after, false);
    }
}

size_t conf_diff(const struct conf *before, const struct conf *after, FILE *out, size_t *restart)
{
    struct diff diff = {.out = out};
    diff_section(&diff, &schema_root, NULL, (const char *)before, (const char *)after);
    if (restart)
        *restart = diff.restart;
    return diff.lines;
}

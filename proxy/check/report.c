/*
 * How findings look: for people (text), for programs (JSON, one object a line), and the documentation of a
 * rule.
 *
 * Text from a file is not let through to a terminal as it is: control characters are shown as '?'.
 */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "proxy/check/check.h"

enum { LINE_SHOWN = 160, WRAP = 100 };

/* ---- text ---- */

static const char *colour(const struct check *check, enum action action)
{
    static const char *const codes[ACTION_COUNT] = {
        [ACTION_ALLOW] = "\033[32m",   [ACTION_WARN] = "\033[33m",   [ACTION_ONLINE] = "\033[36m",
        [ACTION_APPROVE] = "\033[35m", [ACTION_REJECT] = "\033[31m",
    };
    return check->colour ? codes[action] : "";
}

static const char *plain(const struct check *check)
{
    return check->colour ? "\033[0m" : "";
}

static void put_safe(FILE *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && i + 1 < length && (unsigned char)text[i + 1] < 0xa0;
        fputc((c < 0x20 && c != '\t') || c == 0x7f || c1 ? '?' : c, out);
    }
}

/* Each line of a text with an indent, long ones broken between words; SQL stays whole so that it can be
 * copied. */
static void put_paragraph(FILE *out, const char *lead, const char *text)
{
    int indent = (int)strlen(lead);
    fputs(lead, out);
    for (;;) {
        size_t line = strcspn(text, "\n"), column = (size_t)indent;
        bool sql = line > 0 && (text[line - 1] == ';' || memmem(text, line, ";  --", 5) != NULL);
        for (size_t i = 0; i < line;) {
            size_t word = strcspn(text + i, " \n");
            bool first = column == (size_t)indent;
            if (!first && !sql && column + word > WRAP) {
                fprintf(out, "\n%*s", indent, "");
                column = (size_t)indent;
            } else if (!first)
                fputc(' ', out);
            put_safe(out, text + i, word);
            column += word + 1;
            i += word + (i + word < line);
        }
        if (text[line] == '\0')
            break;
        text += line + 1;
        fprintf(out, "\n%*s", indent, "");
    }
    fputc('\n', out);
}

/* The source line, and a caret under the place. */
static void put_source(const struct check *check, const struct checked *checked, size_t place, unsigned line)
{
    const char *text;
    size_t length;
    source_line(checked->source, place, &text, &length);
    size_t before = place - (size_t)(text - checked->source->raw);
    size_t from = length > LINE_SHOWN && before > LINE_SHOWN / 2 ? before - LINE_SHOWN / 2 : 0;
    while (from > 0 && ((unsigned char)text[from] & 0xc0) == 0x80)
        from--;
    size_t shown = length - from < LINE_SHOWN ? length - from : LINE_SHOWN;
    while (from + shown < length && ((unsigned char)text[from + shown] & 0xc0) == 0x80)
        shown++;
    fprintf(check->out, "  %5u | %s", line, from > 0 ? "..." : "");
    put_safe(check->out, text + from, shown);
    fprintf(check->out, "%s\n        | %s", from + shown < length ? "..." : "", from > 0 ? "   " : "");
    for (size_t i = from; i < before; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            fputc(text[i] == '\t' ? '\t' : ' ', check->out);
    }
    fputs("^\n", check->out);
}

static bool said_before(const struct verdict *verdict, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (verdict->findings[i].hint != NULL &&
            strcmp(verdict->findings[i].hint, verdict->findings[n].hint) == 0)
            return true;
    }
    return false;
}

static void put_finding(const struct check *check, const struct checked *checked, size_t n)
{
    const struct finding *finding = &checked->verdict->findings[n];
    size_t place = checked_place(checked, finding);
    unsigned line, column;
    source_position(checked->source, place, &line, &column);
    put_safe(check->out, checked->source->name, strlen(checked->source->name));
    fprintf(check->out, ":%u:%u: %s%s%s: ", line, column,
            colour(check, finding->waived ? ACTION_ALLOW : finding->action),
            finding->waived ? "waived" : action_name(finding->action), plain(check));
    put_safe(check->out, finding->message, strlen(finding->message));
    fprintf(check->out, " [%s]\n", rule_name(finding->rule));
    put_source(check, checked, place, line);
    if (finding->waived)
        return;
    if (finding->detail != NULL)
        put_paragraph(check->out, "    ", finding->detail);
    if (finding->hint != NULL && said_before(checked->verdict, n))
        fputs("    hint: as above\n", check->out);
    else if (finding->hint != NULL)
        put_paragraph(check->out, "    hint: ", finding->hint);
    fputc('\n', check->out);
}

void report_text(const struct check *check, const struct checked *checked)
{
    for (size_t i = 0; checked->verdict != NULL && i < checked->verdict->n_findings; i++)
        put_finding(check, checked, i);
}

/* ---- JSON ---- */

static json_t *text_or_empty(const char *text)
{
    json_t *value = text == NULL ? NULL : json_string(text);
    return value == NULL ? json_string("") : value;
}

static json_t *finding_json(const struct checked *checked, const struct finding *finding)
{
    unsigned line, column;
    source_position(checked->source, checked_place(checked, finding), &line, &column);
    return json_pack("{s:s, s:s, s:i, s:i, s:o, s:o}", "rule", rule_name(finding->rule), "action",
                     finding->waived ? action_name(ACTION_ALLOW) : action_name(finding->action), "line",
                     (int)line, "column", (int)column, "message", text_or_empty(finding->message), "hint",
                     text_or_empty(finding->hint));
}

static json_t *effects_json(const struct effects *effects)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "lock", lock_mode_name(effects->lock), "rewrite",
                     answer_name(effects->rewrite), "scan", answer_name(effects->scan), "index_build",
                     answer_name(effects->index_build), "fails", answer_name(effects->fails));
}

void report_json(const struct check *check, const struct checked *checked)
{
    static const struct effects none = {.lock = LOCK_NONE};
    const struct verdict *verdict = checked->verdict;
    json_t *findings = json_array(), *sql = json_stringn(checked->sql, checked->sql_length);
    unsigned line, column;
    source_position(checked->source, checked->start, &line, &column);
    for (size_t i = 0; verdict != NULL && i < verdict->n_findings; i++)
        json_array_append_new(findings, finding_json(checked, &verdict->findings[i]));
    json_t *object = json_pack(
        "{s:o, s:i, s:o, s:o, s:o, s:o, s:s, s:o}", "file", text_or_empty(checked->source->name), "line",
        (int)line, "sql", sql == NULL ? json_string("") : sql, "kind", text_or_empty(checked->kind), "table",
        text_or_empty(checked->table), "effects", effects_json(verdict == NULL ? &none : &verdict->effects),
        "action", action_name(verdict == NULL ? ACTION_ALLOW : verdict->action), "findings", findings);
    if (object != NULL)
        json_dumpf(object, check->out, JSON_COMPACT);
    fputc('\n', check->out);
    json_decref(object);
}

/* ---- the rest ---- */

void report_coverage(const struct check_count *count, FILE *out)
{
    fprintf(
        out,
        "pgsluice check: %u statement%s in %u file%s: %u judged, %u that can't be, %u that change no schema;",
        count->statements, count->statements == 1 ? "" : "s", count->files, count->files == 1 ? "" : "s",
        count->judged, count->unreadable, count->statements - count->judged - count->unreadable);
    bool any = false;
    for (int action = ACTION_COUNT - 1; action > ACTION_ALLOW; action--) {
        if (count->findings[action] == 0)
            continue;
        fprintf(out, "%s %u %s", any ? "," : "", count->findings[action], action_name((enum action)action));
        any = true;
    }
    if (count->waived > 0)
        fprintf(out, "%s %u waived", any ? "," : "", count->waived);
    fprintf(out, "%s\n", any || count->waived > 0 ? "" : " nothing found");
}

void report_rule(enum rule rule, FILE *out)
{
    const struct rule_doc *doc = rule_doc(rule);
    fprintf(out, "%s: %s\n\n", rule_name(rule), doc->summary);
    put_paragraph(out, "  What happens    ", doc->happens);
    put_paragraph(out, "  Why it matters  ", doc->matters);
    put_paragraph(out, "  The safe way    ", doc->safe_way);
    put_paragraph(out, "  Source          PostgreSQL manual: ", doc->source);
    fprintf(out, "  Action          standard: %s, strict: %s%s\n",
            action_name(rule_profile_action(rule, PROFILE_STANDARD)),
            action_name(rule_profile_action(rule, PROFILE_STRICT)),
            rule_available(rule) ? "" : " (not implemented yet: a configuration can't name it)");
}

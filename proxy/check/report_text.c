/*
 * For people: the finding, its line with a caret below the place, what would happen, and what to do.
 */
#include <string.h>

#include "policy/plan.h"
#include "proxy/check/report.h"

enum { LINE_SHOWN = 160 };

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

static void put_source(const struct check *check, const struct checked *checked, struct place place)
{
    const char *text;
    size_t length;
    source_line(checked->source, place.offset, &text, &length);
    size_t before = place.offset - (size_t)(text - checked->source->raw);
    size_t from = length > LINE_SHOWN && before > LINE_SHOWN / 2 ? before - LINE_SHOWN / 2 : 0;
    while (from > 0 && ((unsigned char)text[from] & 0xc0) == 0x80)
        from--;
    size_t shown = length - from < LINE_SHOWN ? length - from : LINE_SHOWN;
    while (from + shown < length && ((unsigned char)text[from + shown] & 0xc0) == 0x80)
        shown++;
    fprintf(check->out, "  %5u | %s", place.line, from > 0 ? "..." : "");
    report_safe(check->out, text + from, shown);
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

static void put_title(const struct check *check, const struct checked *checked, const struct finding *finding,
                      struct place place)
{
    const char *message = finding->message == NULL ? "" : finding->message;
    enum action shown = finding->waived ? ACTION_ALLOW : finding->action;
    report_safe(check->out, checked->source->name, strlen(checked->source->name));
    fprintf(check->out, ":%u:%u: %s", place.line, place.column, colour(check, shown));
    if (finding->waived)
        fputs("waived", check->out);
    else if (checked->down)
        fprintf(check->out, "note: when undone (%s)", action_name(finding->action));
    else
        fputs(action_name(finding->action), check->out);
    fprintf(check->out, "%s: ", plain(check));
    report_safe(check->out, message, strlen(message));
    fprintf(check->out, " [%s]\n", checked_rule(finding));
}

static void put_finding(const struct check *check, const struct checked *checked, size_t n)
{
    const struct finding *finding = &checked->verdict->findings[n];
    struct place place = report_place(checked, finding);
    put_title(check, checked, finding, place);
    put_source(check, checked, place);
    if (finding->waived || checked->down)
        return;
    if (finding->detail != NULL)
        report_paragraph(check->out, "    ", finding->detail);
    if (finding->hint != NULL && said_before(checked->verdict, n))
        fputs("    hint: as above\n", check->out);
    else if (finding->hint != NULL)
        report_paragraph(check->out, "    hint: ", finding->hint);
    fputc('\n', check->out);
}

/* What pgsluice would do in its place. */
static void put_plan(const struct check *check, const struct plan *plan)
{
    fputs("    online, in these steps:\n", check->out);
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct plan_step *step = &plan->steps[i];
        fprintf(check->out, "    %2zu. ", i + 1);
        report_safe(check->out, step->what, strlen(step->what));
        fprintf(check->out, " (%s%s)\n", lock_mode_name(step->lock), step->brief ? ", for a moment" : "");
        report_paragraph(check->out, "        ", step->sql);
    }
    fputc('\n', check->out);
}

void report_text(struct check *check, const struct checked *checked)
{
    for (size_t i = 0; checked->verdict != NULL && i < checked->verdict->n_findings; i++)
        put_finding(check, checked, i);
    if (checked->verdict != NULL && checked->verdict->action == ACTION_ONLINE &&
        checked->verdict->plan != NULL)
        put_plan(check, checked->verdict->plan);
}

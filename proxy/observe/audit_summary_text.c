/*
 * The summary for people: a page of tables, and what to do.
 */
#include "proxy/observe/audit_summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/line.h"

enum { ROWS = 10, NAME_WIDTH = 28, SQL_WIDTH = 160 };

static void put_plain(struct line *line, const char *text)
{
    line_plain(line, text, strlen(text));
}

/* Filled up with blanks; a character counts as a column. */
static void put_name(struct line *line, const char *text)
{
    size_t start = line->length;
    int width = 0;
    put_plain(line, text);
    for (size_t i = start; i < line->length; i++)
        width += ((unsigned char)line->bytes[i] & 0xc0) != 0x80;
    for (; width < NAME_WIDTH; width++)
        line_put(line, " ", 1);
}

static void put_duration(struct line *line, double milliseconds)
{
    if (milliseconds < 1000)
        line_printf(line, "%9.1f ms", milliseconds);
    else if (milliseconds < 120e3)
        line_printf(line, "%9.1f s ", milliseconds / 1000);
    else
        line_printf(line, "%8.1f min", milliseconds / 60e3);
}

static void put_heading(struct line *line, const char *name)
{
    line_text(line, "\n");
    put_name(line, name);
    line_printf(line, "%9s%9s%9s%9s%9s%9s%9s%12s\n", "refused", "warned", "waived", "shapes", "transac.",
                "committ.", "failed", "longest");
}

static void put_group(struct line *line, const struct summary_group *group, const char *name)
{
    put_name(line, name);
    line_printf(line, "%9zu%9zu%9zu%9zu%9zu%9zu%9zu", group->refused, group->warned, group->waived,
                group->fingerprints, group->transactions, group->committed, group->failed);
    put_duration(line, group->longest_ms);
    line_text(line, "\n");
}

static bool put_groups(struct line *line, const struct summary *summary, enum summary_by by, const char *name)
{
    size_t n;
    struct summary_group *groups = summary_groups(summary, by, &n);
    if (groups && n > 0)
        put_heading(line, name);
    for (size_t i = 0; groups && i < n && i < ROWS; i++)
        put_group(line, &groups[i], summary_name(&summary->names[by], groups[i].name));
    if (n > ROWS)
        line_printf(line, "(and %zu more: --format json has all)\n", n - ROWS);
    bool fine = groups;
    free(groups);
    return fine;
}

/* Runs of white space become one blank. */
static void put_sql(struct line *line, const char *sql)
{
    line_text(line, "             ");
    for (int width = 0; *sql && width < SQL_WIDTH; width++) {
        size_t length = strspn(sql, " \t\r\n");
        if (length > 0) {
            line_put(line, " ", 1);
        } else {
            length = line_utf8(sql, strlen(sql));
            length = length ? length : 1;
            line_plain(line, sql, length);
        }
        sql += length;
    }
    line_text(line, *sql ? "…\n" : "\n");
}

static void put_worst(struct line *line, const struct summary *summary)
{
    static const char *const fields[] = {"lock", "table", "user", "ts"};
    static const char *const words[] = {"", "waived", "warned", "refused"};
    const struct summary_statement *worst[SUMMARY_WORST];
    size_t n = summary_worst(summary, worst);
    if (n > 0)
        line_text(line, "\nthe longest, waiting for locks counted in\n");
    for (size_t i = 0; i < n; i++) {
        const struct summary_statement *one = worst[i];
        put_duration(line, one->duration_ms);
        line_printf(line, "  %s%s (", one->observed && one->class != SUMMARY_WAIVED ? "would be " : "",
                    words[one->class]);
        put_plain(line, summary_name(&summary->names[BY_RULE], one->names[BY_RULE]));
        line_text(line, ")");
        for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
            const char *text = json_string_value(json_object_get(one->record, fields[k]));
            if (!text)
                continue;
            line_text(line, "  ");
            put_plain(line, text);
        }
        line_printf(line, "  record %" PRIu64 "\n", one->seq);
        const char *sql = json_string_value(json_object_get(one->record, "sql"));
        put_sql(line, sql ? sql : "");
    }
}

static void put_head(struct line *line, const struct summary *summary, const struct summary_group *classes)
{
    line_printf(line, "%zu statements", summary->n);
    if (summary->n > 0) {
        line_text(line, ", ");
        put_plain(line, summary->earliest);
        line_text(line, " to ");
        put_plain(line, summary->latest);
    }
    if (summary->observed > 0)
        line_printf(line, "\n%s%zu under observe, where \"refused\" and \"warned\" say what would have been",
                    summary->observed == summary->n ? "all " : "", summary->observed);
    line_printf(line,
                "\n%zu with nothing to say of, %zu waived, %zu warned, %zu refused (in %zu transactions)\n",
                classes[SUMMARY_ALLOWED].statements, classes[SUMMARY_WAIVED].statements,
                classes[SUMMARY_WARNED].statements, classes[SUMMARY_REFUSED].statements,
                classes[SUMMARY_REFUSED].transactions);
}

bool summary_text(const struct summary *summary)
{
    struct line line;
    struct summary_group classes[SUMMARY_CLASSES];
    json_t *settings = json_object();
    char *advice = summary_advice(summary, settings);
    bool fine = advice && summary_classes(summary, classes);
    line_growing(&line);
    if (fine) {
        put_head(&line, summary, classes);
        fine = put_groups(&line, summary, BY_RULE, "rule") && put_groups(&line, summary, BY_TABLE, "table") &&
               put_groups(&line, summary, BY_ROLE, "role") &&
               put_groups(&line, summary, BY_APPLICATION, "application");
        put_worst(&line, summary);
        line_text(&line, "\n");
        line_text(&line, advice);
    }
    fine = fine && !line.full && fwrite(line.bytes, 1, line.length, stdout) == line.length;
    line_release(&line);
    json_decref(settings);
    free(advice);
    return fine;
}

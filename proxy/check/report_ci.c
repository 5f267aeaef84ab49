/*
 * For two CI systems: GitHub's workflow commands, and GitLab's code quality report, whose fingerprints stay
 * the same when a statement moves to another line.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>
#include <xxhash.h>

#include "proxy/check/report.h"

/* ---- GitHub ---- */

/* Percent, CR and LF are escaped; in a property colon and comma too. Other control characters are blanked. */
static void put_escaped(FILE *out, const char *text, bool property)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '%' || c == '\r' || c == '\n' || (property && (c == ':' || c == ',')))
            fprintf(out, "%%%02X", c);
        else
            fputc(c < 0x20 || c == 0x7f ? ' ' : c, out);
    }
}

void report_github(struct check *check, const struct checked *checked)
{
    static const char *const commands[] = {
        [LEVEL_NOTE] = "notice", [LEVEL_WARNING] = "warning", [LEVEL_ERROR] = "error"};
    for (size_t i = 0; checked->verdict != NULL && i < checked->verdict->n_findings; i++) {
        const struct finding *finding = &checked->verdict->findings[i];
        struct place place = report_place(checked, finding);
        char *words = report_words(NULL, finding);
        fprintf(check->out, "::%s file=", commands[report_level(checked, finding)]);
        put_escaped(check->out, checked->source->name, true);
        fprintf(check->out, ",line=%u,endLine=%u,col=%u,endColumn=%u,title=%s%s::", place.line, place.line,
                place.column, place.end_column, checked_rule(finding),
                finding->waived ? " (waived)"
                : checked->down ? " (when undone)"
                                : "");
        put_escaped(check->out, words, false);
        fputc('\n', check->out);
        talloc_free(words);
    }
}

/* ---- GitLab ---- */

struct report_seen {
    char fingerprint[33];
    UT_hash_handle hh;
};

void report_gitlab_begin(struct check *check)
{
    check->report = calloc(1, sizeof *check->report);
    fputc('[', check->out);
}

/* As the repository has it. */
static const char *path_of(const struct checked *checked)
{
    const char *path = checked->source->name;
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    return path;
}

/* The statement with its white space evened out: what indents it doesn't make it another one. */
static char *evened(const void *talloc_parent, const char *sql, size_t length)
{
    char *text = talloc_size(talloc_parent, length + 1), *to = text;
    for (size_t i = 0; text != NULL && i < length; i++) {
        bool space = strchr(" \t\r\n\f\v", sql[i]) != NULL;
        if (!space)
            *to++ = sql[i];
        else if (to > text && to[-1] != ' ')
            *to++ = ' ';
    }
    if (text != NULL)
        *to = '\0';
    return text;
}

static void hash_of(const struct checked *checked, const struct finding *finding, unsigned n, char hex[33])
{
    char *sql = evened(NULL, checked->source->raw + checked->start, checked->end - checked->start);
    char *all = talloc_asprintf(NULL, "%s\n%s\n%s\n%s\n%u", path_of(checked), checked_rule(finding),
                                finding->object == NULL ? "" : finding->object, sql == NULL ? "" : sql, n);
    XXH128_hash_t hash = XXH3_128bits(all == NULL ? "" : all, all == NULL ? 0 : strlen(all));
    snprintf(hex, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
    talloc_free(sql);
    talloc_free(all);
}

/* The same statement again in the same file is another finding: it gets the next number. */
static void fingerprint(struct check *check, const struct checked *checked, const struct finding *finding,
                        char hex[33])
{
    struct report_seen *seen = NULL;
    unsigned n = 0;
    do {
        hash_of(checked, finding, n++, hex);
        if (check->report != NULL)
            HASH_FIND_STR(check->report->seen, hex, seen);
    } while (seen != NULL);
    seen = check->report == NULL ? NULL : calloc(1, sizeof *seen);
    if (seen == NULL)
        return;
    memcpy(seen->fingerprint, hex, sizeof seen->fingerprint);
    HASH_ADD_STR(check->report->seen, fingerprint, seen);
}

static const char *severity(const struct checked *checked, const struct finding *finding)
{
    static const char *const severities[ACTION_COUNT] = {[ACTION_ALLOW] = "info",
                                                         [ACTION_WARN] = "minor",
                                                         [ACTION_ONLINE] = "minor",
                                                         [ACTION_APPROVE] = "major",
                                                         [ACTION_REJECT] = "critical"};
    return report_level(checked, finding) == LEVEL_NOTE ? "info" : severities[finding->action];
}

static void put_issue(struct check *check, const struct checked *checked, const struct finding *finding)
{
    struct place place = report_place(checked, finding);
    char hex[33];
    char *words = report_words(NULL, finding);
    fingerprint(check, checked, finding, hex);
    json_t *issue =
        json_pack("{s:s, s:[s], s:o, s:s, s:{s:o}, s:s, s:s, s:{s:o, s:{s:i, s:i}}}", "type", "issue",
                  "categories", "Bug Risk", "description", report_string(finding->message), "check_name",
                  checked_rule(finding), "content", "body", report_string(words), "fingerprint", hex,
                  "severity", severity(checked, finding), "location", "path", report_string(path_of(checked)),
                  "lines", "begin", (int)place.line, "end", (int)place.line);
    talloc_free(words);
    if (check->report != NULL && check->report->written++ > 0)
        fputc(',', check->out);
    fputc('\n', check->out);
    json_dumpf(issue, check->out, JSON_COMPACT);
    json_decref(issue);
}

void report_gitlab(struct check *check, const struct checked *checked)
{
    for (size_t i = 0; checked->verdict != NULL && i < checked->verdict->n_findings; i++)
        put_issue(check, checked, &checked->verdict->findings[i]);
}

void report_gitlab_end(struct check *check)
{
    fputs("\n]\n", check->out);
    if (check->report == NULL)
        return;
    struct report_seen *seen = check->report->seen;
    HASH_CLEAR(hh, check->report->seen);
    while (seen != NULL) {
        struct report_seen *next = seen->hh.next;
        free(seen);
        seen = next;
    }
    free(check->report);
    check->report = NULL;
}

/*
 * What the formats share, and the coverage line.
 */
#include "proxy/check/report.h"

#include <ctype.h>
#include <string.h>
#include <talloc.h>

enum { WRAP = 100 };

const struct report_format *report_format_of(const char *name)
{
    static const struct report_format formats[] = {
        {"text", NULL, report_text, NULL},
        {"json", NULL, report_json, NULL},
        {"sarif", report_sarif_begin, report_sarif, report_sarif_end},
        {"github", NULL, report_github, NULL},
        {"gitlab", report_gitlab_begin, report_gitlab, report_gitlab_end},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    }
    return NULL;
}

/* ---- places ---- */

static bool word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* Behind the word, or the quoted name or string, that starts at an offset; it never leaves its line. */
static size_t token_end(const struct source *source, size_t at)
{
    const char *raw = source->raw;
    size_t end = at + 1;
    if (at >= source->length)
        return at;
    if (raw[at] == '"' || raw[at] == '\'') {
        while (end < source->length && raw[end] != raw[at] && raw[end] != '\n' && raw[end] != '\r')
            end++;
        return end + (end < source->length && raw[end] == raw[at]);
    }
    while (word_byte(raw[at]) && end < source->length && word_byte(raw[end]))
        end++;
    return end;
}

struct place report_place(const struct checked *checked, const struct finding *finding)
{
    struct place place = {.offset = checked_place(checked, finding)};
    unsigned line;
    source_position(checked->source, place.offset, &place.line, &place.column);
    source_position(checked->source, token_end(checked->source, place.offset), &line, &place.end_column);
    if (line != place.line)
        place.end_column = place.column + 1;
    return place;
}

enum report_level report_level(const struct checked *checked, const struct finding *finding)
{
    if (finding->waived || checked->down || finding->action == ACTION_ALLOW)
        return LEVEL_NOTE;
    return finding->action >= ACTION_APPROVE ? LEVEL_ERROR : LEVEL_WARNING;
}

/* ---- texts ---- */

char *report_words(const void *talloc_parent, const struct finding *finding)
{
    const char *message = finding->message == NULL ? "" : finding->message;
    char *words =
        talloc_asprintf(talloc_parent, "%s%s%s%s%s", message, finding->detail == NULL ? "" : "\n",
                        finding->detail == NULL ? "" : finding->detail,
                        finding->hint == NULL ? "" : "\nHint: ", finding->hint == NULL ? "" : finding->hint);
    return words == NULL ? talloc_strdup(talloc_parent, "") : words;
}

char *report_uri(const void *talloc_parent, const char *path)
{
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    size_t n = strlen(path), at = 0;
    char *uri = talloc_array(talloc_parent, char, (unsigned)(3 * n + 8));
    if (uri == NULL)
        return NULL;
    if (*path == '/')
        at = (size_t)sprintf(uri, "file://");
    for (; *path != '\0'; path++) {
        unsigned char c = (unsigned char)*path;
        if (isalnum(c) || strchr("-._~/", c) != NULL)
            uri[at++] = (char)c;
        else
            at += (size_t)sprintf(uri + at, "%%%02X", c);
    }
    uri[at] = '\0';
    return uri;
}

void report_safe(FILE *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && i + 1 < length && (unsigned char)text[i + 1] < 0xa0;
        fputc((c < 0x20 && c != '\t') || c == 0x7f || c1 ? '?' : c, out);
    }
}

void report_paragraph(FILE *out, const char *lead, const char *text)
{
    int indent = (int)strlen(lead);
    fputs(lead, out);
    for (;;) {
        size_t line = strcspn(text, "\n"), column = (size_t)indent;
        bool sql =
            line > 0 && (*text == ' ' || text[line - 1] == ';' || memmem(text, line, ";  --", 5) != NULL);
        for (size_t i = 0; i < line;) {
            size_t word = strcspn(text + i, " \n");
            bool first = column == (size_t)indent;
            if (!first && !sql && column + word > WRAP) {
                fprintf(out, "\n%*s", indent, "");
                column = (size_t)indent;
            } else if (!first)
                fputc(' ', out);
            report_safe(out, text + i, word);
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

json_t *report_string(const char *text)
{
    json_t *value = text == NULL ? NULL : json_string(text);
    return value == NULL ? json_string("") : value;
}

/* ---- the coverage line ---- */

/* "2 reject, 1 warn"; false: none at all. */
static bool put_actions(const unsigned counts[ACTION_COUNT], FILE *out)
{
    bool any = false;
    for (int action = ACTION_COUNT - 1; action > ACTION_ALLOW; action--) {
        if (counts[action] == 0)
            continue;
        fprintf(out, "%s%u %s", any ? ", " : "", counts[action], action_name((enum action)action));
        any = true;
    }
    return any;
}

static void put_unread(const struct check_count *count, FILE *out)
{
    static const char *const why[UNREAD_COUNT] = {[UNREAD_SYNTAX] = "not readable",
                                                  [UNREAD_TOO_LONG] = "too long",
                                                  [UNREAD_TOO_DEEP] = "nested too deep",
                                                  [UNREAD_FAULT] = "out of memory",
                                                  [UNREAD_GEXEC] = "made by \\gexec"};
    const char *lead = " (";
    fprintf(out, ", %u that can't be", check_unread(count));
    for (int i = UNREAD_NOT + 1; i < UNREAD_COUNT; i++) {
        if (count->unread[i] == 0)
            continue;
        fprintf(out, "%s%u %s", lead, count->unread[i], why[i]);
        lead = ", ";
    }
    fputs(lead[0] == ',' ? ")" : "", out);
}

static void put_judged(const struct check_count *count, FILE *out)
{
    const struct {
        unsigned n;
        const char *words;
    } parts[] = {{count->failing, "failing"},
                 {count->unknown, "with an effect that isn't known"},
                 {count->dynamic, "running SQL that is made as they run"},
                 {count->variables, "holding variables"}};
    const char *lead = " (";
    fprintf(out, " %u judged", count->judged);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].n == 0)
            continue;
        fprintf(out, "%s%u %s", lead, parts[i].n, parts[i].words);
        lead = ", ";
    }
    fputs(lead[0] == ',' ? ")" : "", out);
}

void report_coverage(const struct check *check, FILE *out)
{
    const struct check_count *count = &check->count;
    unsigned rest = count->statements - count->judged - check_unread(count);
    fprintf(out, "pgsluice check: %u statement%s in %u file%s:", count->statements,
            count->statements == 1 ? "" : "s", count->files, count->files == 1 ? "" : "s");
    put_judged(count, out);
    put_unread(count, out);
    fprintf(out, ", %u that change no schema; ", rest);
    bool any = put_actions(count->findings, out);
    if (count->waived > 0)
        fprintf(out, "%s%u waived", any ? ", " : "", count->waived);
    if (!any && count->waived == 0)
        fputs(count->missing > 0 ? "nothing found in what could be read" : "nothing found", out);
    if (count->down_statements > 0) {
        fprintf(out, "; %u in down sections, not counted: ", count->down_statements);
        fputs(put_actions(count->down, out) ? "" : "nothing found", out);
    }
    if (count->includes > 0)
        fprintf(out, "; %u \\i not followed", count->includes);
    if (count->guessed > 0)
        fprintf(out, "; %u not UTF-8, read as LATIN1 (--encoding says otherwise)", count->guessed);
    if (count->missing > 0)
        fprintf(out, "; %u file%s could not be read", count->missing, count->missing == 1 ? "" : "s");
    fputc('\n', out);
}

/*
 * `pgsluice audit summary FILE…`: what the policy did, or under observe would have done, to the statements of
 * the last days. This file reads: decisions and ends are gathered, sorted by their numbers and joined, so
 * that the order of the files doesn't matter.
 *
 * Only what the policy had something to say of is kept whole; of the others a week's worth fits into memory.
 */
#include "proxy/observe/audit_summary.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/audit_command.h"
#include "proxy/observe/audit_file.h"

enum { COMPLAINTS = 5 }; /* lines of a file that are told; the rest are counted */

static const char *text_of(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    return text ? text : "";
}

static uint64_t number_of(const json_t *record, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(record, key));
}

/* ---- names ------------------------------------------------------------------------------------------- */

static bool names_begin(struct summary_names *names, const char *nothing)
{
    *names = (struct summary_names){json_object(), json_array()};
    return names->numbers && names->texts && json_array_append_new(names->texts, json_string(nothing)) == 0;
}

/* 0 for "" and, as good as any, where memory ends. */
static uint32_t number_for(struct summary_names *names, const char *text)
{
    if (!*text)
        return 0;
    const json_t *known = json_object_get(names->numbers, text);
    if (known)
        return (uint32_t)json_integer_value(known);
    size_t next = json_array_size(names->texts);
    if (json_array_append_new(names->texts, json_string(text)) != 0)
        return 0;
    json_object_set_new(names->numbers, text, json_integer((json_int_t)next));
    return (uint32_t)next;
}

const char *summary_name(const struct summary_names *names, uint32_t number)
{
    const char *text = json_string_value(json_array_get(names->texts, number));
    return text ? text : "";
}

/* ---- decisions --------------------------------------------------------------------------------------- */

static void *grown(void *array, size_t n, size_t *size, size_t one)
{
    if (n < *size)
        return array;
    size_t wanted = *size ? 2 * *size : 256;
    void *bigger = realloc(array, wanted * one);
    if (bigger)
        *size = wanted;
    return bigger;
}

/* Waiting for an approval counts as refused, a change made online as a warning: the statement went through.
 */
static enum summary_class class_of(const char *action)
{
    if (strcmp(action, "reject") == 0 || strcmp(action, "approve") == 0)
        return SUMMARY_REFUSED;
    if (strcmp(action, "warn") == 0 || strcmp(action, "online") == 0)
        return SUMMARY_WARNED;
    return strcmp(action, "waived") == 0 ? SUMMARY_WAIVED : SUMMARY_ALLOWED;
}

/* Each rule with what it said; in logs from before `actions` was written, with what was said in all. */
static void take_rules(struct summary *summary, struct summary_statement *statement, const json_t *record,
                       const char *verdict)
{
    const json_t *rules = json_object_get(record, "rules"), *actions = json_object_get(record, "actions");
    bool waived = *text_of(record, "waiver") && class_of(verdict) < SUMMARY_WARNED;
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const char *rule = json_string_value(json_array_get(rules, i));
        const char *action = json_string_value(json_array_get(actions, i));
        uint32_t number = number_for(&summary->names[BY_RULE], rule ? rule : "");
        enum summary_class class = class_of(action ? action : waived ? "waived" : verdict);
        uint64_t bit = (uint64_t)1 << (number < SUMMARY_RULES ? number : SUMMARY_RULES - 1);
        statement->refuse |= class == SUMMARY_REFUSED ? bit : 0;
        statement->warn |= class == SUMMARY_WARNED ? bit : 0;
        statement->waived |= class == SUMMARY_WAIVED ? bit : 0;
        statement->class = class > statement->class ? class : statement->class;
        if (i == 0)
            statement->names[BY_RULE] = number;
    }
    if (json_array_size(rules) == 0 && class_of(verdict) == SUMMARY_REFUSED) {
        statement->class = SUMMARY_REFUSED; /* a fault: number 0 stands for no rule */
        statement->refuse = 1;
    }
}

static void widen_times(struct summary *summary, const char *ts)
{
    if (!summary->earliest[0] || strcmp(ts, summary->earliest) < 0)
        snprintf(summary->earliest, sizeof summary->earliest, "%s", ts);
    if (strcmp(ts, summary->latest) > 0)
        snprintf(summary->latest, sizeof summary->latest, "%s", ts);
}

static bool take_decided(struct summary *summary, uint64_t seq, json_t *record)
{
    const char *ts = text_of(record, "ts"), *would = text_of(record, "would");
    if (summary->since && strncmp(ts, summary->since, strlen(summary->since)) < 0)
        return true;
    void *statements = grown(summary->statements, summary->n, &summary->size, sizeof *summary->statements);
    if (!statements)
        return false;
    summary->statements = statements;
    struct summary_statement *statement = &summary->statements[summary->n++];
    *statement = (struct summary_statement){.seq = seq, .transaction = seq, .duration_ms = -1};
    statement->fingerprint = strtoull(text_of(record, "fingerprint"), NULL, 16);
    statement->observed = *would != '\0';
    summary->observed += statement->observed;
    widen_times(summary, ts);
    take_rules(summary, statement, record, *would ? would : text_of(record, "verdict"));
    if (statement->class == SUMMARY_ALLOWED)
        return true;
    statement->record = json_incref(record);
    statement->names[BY_TABLE] = number_for(&summary->names[BY_TABLE], text_of(record, "table"));
    statement->names[BY_ROLE] = number_for(&summary->names[BY_ROLE], text_of(record, "user"));
    statement->names[BY_APPLICATION] =
        number_for(&summary->names[BY_APPLICATION], text_of(record, "application"));
    return true;
}

/* ---- ends -------------------------------------------------------------------------------------------- */

static enum summary_end end_of(const char *txn)
{
    static const char *const words[] = {
        [SUMMARY_COMMITTED] = "committed", [SUMMARY_ROLLED_BACK] = "rolled_back", [SUMMARY_OPEN] = "open"};
    for (int i = SUMMARY_COMMITTED; i <= SUMMARY_OPEN; i++)
        if (strcmp(txn, words[i]) == 0)
            return (enum summary_end)i;
    return SUMMARY_UNKNOWN;
}

static bool take_end(struct summary *summary, const json_t *record, bool transaction)
{
    void *ends = grown(summary->ends, summary->n_ends, &summary->ends_size, sizeof *summary->ends);
    if (!ends)
        return false;
    summary->ends = ends;
    const json_t *duration = json_object_get(record, "duration_ms");
    const char *sqlstate = text_of(record, "sqlstate");
    struct summary_end_record end = {.of = number_of(record, "of"),
                                     .end = end_of(text_of(record, "txn")),
                                     .failed = *sqlstate && strncmp(sqlstate, "SL", 2) != 0,
                                     .duration_ms = duration ? json_number_value(duration) : -1};
    if (transaction) {
        end.first = number_of(record, "first");
        end.first = end.first ? end.first : end.of;
    }
    summary->ends[summary->n_ends++] = end;
    return true;
}

static int by_seq(const void *a, const void *b)
{
    const struct summary_statement *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static void join(struct summary *summary)
{
    for (size_t i = 0; i < summary->n_ends; i++) {
        const struct summary_end_record *end = &summary->ends[i];
        const struct summary_statement wanted = {.seq = end->of};
        struct summary_statement *statement =
            summary->n ? bsearch(&wanted, summary->statements, summary->n, sizeof wanted, by_seq) : NULL;
        if (!statement)
            continue;
        if (end->first) {
            statement->transaction = end->first;
            statement->end = end->end;
            continue;
        }
        statement->finished = true;
        statement->failed = end->failed;
        statement->duration_ms = end->duration_ms;
        if (statement->end == SUMMARY_UNKNOWN)
            statement->end = end->end;
    }
}

/* ---- files ------------------------------------------------------------------------------------------- */

static bool take_line(struct summary *summary, const char *line, size_t n, char *reason, size_t size)
{
    uint64_t seq;
    const char *prev;
    json_t *record = chain_read(line, n, &seq, &prev, reason, size);
    if (!record)
        return false;
    const char *sort = text_of(record, "record"), *ts = text_of(record, "ts");
    bool fine = true;
    if (strcmp(ts, summary->newest) > 0)
        snprintf(summary->newest, sizeof summary->newest, "%s", ts);
    if (strcmp(sort, "decided") == 0)
        fine = take_decided(summary, seq, record);
    else if (strcmp(sort, "finished") == 0 || strcmp(sort, "transaction") == 0)
        fine = take_end(summary, record, sort[0] == 't');
    json_decref(record);
    if (!fine)
        snprintf(reason, size, "out of memory");
    return fine;
}

/* Which lines cannot be read is told; the others still count. */
static int take_lines(struct summary *summary, const char *path, FILE *in)
{
    char *line = NULL, reason[256];
    size_t room = 0, bad = 0;
    ssize_t n;
    for (uint64_t number = 1; (n = getline(&line, &room, in)) >= 0; number++) {
        size_t length = n > 0 && line[n - 1] == '\n' ? (size_t)n - 1 : (size_t)n;
        if (number == 1 && length > 2 && memcmp(line, "\x1f\x8b", 2) == 0) {
            fprintf(stderr, "pgsluice: %s is compressed: zcat %s | pgsluice audit summary -\n", path, path);
            free(line);
            return 2;
        }
        if (!take_line(summary, line, length, reason, sizeof reason) && ++bad <= COMPLAINTS)
            fprintf(stderr, "pgsluice: %s:%" PRIu64 ": %s\n", path, number, reason);
    }
    free(line);
    if (bad > COMPLAINTS)
        fprintf(stderr, "pgsluice: %s: and %zu more lines that can't be read\n", path, bad - COMPLAINTS);
    return bad ? 1 : 0;
}

static int take_file(struct summary *summary, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *in = standard ? stdin : fopen(path, "re");
    if (!in) {
        fprintf(stderr, "pgsluice: %s: %s\n", path, strerror(errno));
        return 2;
    }
    int exit_code = take_lines(summary, path, in);
    if (ferror(in)) {
        fprintf(stderr, "pgsluice: %s: %s\n", path, strerror(errno));
        exit_code = 2;
    }
    if (!standard)
        fclose(in);
    summary->files++;
    return exit_code;
}

/* Two logs of two proxies have the same numbers: what ended which could not be told. */
static bool numbers_are_unique(const struct summary *summary)
{
    for (size_t i = 1; i < summary->n; i++) {
        if (summary->statements[i].seq != summary->statements[i - 1].seq)
            continue;
        fprintf(stderr,
                "pgsluice: record %" PRIu64
                " is there twice: a file was given twice, or the logs are those of "
                "several proxies. Summarise each proxy's files by themselves.\n",
                summary->statements[i].seq);
        return false;
    }
    return true;
}

static bool begin(struct summary *summary)
{
    static const char *const nothing[] = {"(no rule)", "(none, or many)", "(none)", "(not set)"};
    bool fine = true;
    for (int by = 0; by < SUMMARY_BY; by++)
        fine = names_begin(&summary->names[by], nothing[by]) && fine;
    return fine;
}

static void release(struct summary *summary)
{
    for (size_t i = 0; i < summary->n; i++)
        json_decref(summary->statements[i].record);
    for (int by = 0; by < SUMMARY_BY; by++) {
        json_decref(summary->names[by].numbers);
        json_decref(summary->names[by].texts);
    }
    free(summary->statements);
    free(summary->ends);
}

int audit_summary(const struct audit_filter *filter, int n, char **paths)
{
    struct summary summary = {.since = filter->since};
    int exit_code = begin(&summary) ? 0 : 2;
    for (int i = 0; i < n && exit_code < 2; i++) {
        int result = take_file(&summary, paths[i]);
        exit_code = result > exit_code ? result : exit_code;
    }
    if (summary.n)
        qsort(summary.statements, summary.n, sizeof *summary.statements, by_seq);
    if (exit_code < 2 && !numbers_are_unique(&summary))
        exit_code = 2;
    if (exit_code < 2) {
        join(&summary);
        bool printed = filter->json ? summary_json(&summary) : summary_text(&summary);
        if (!printed || fflush(stdout) != 0) {
            fprintf(stderr, "pgsluice: the summary can't be written: %s\n", strerror(errno));
            exit_code = 2;
        }
    }
    release(&summary);
    return exit_code;
}

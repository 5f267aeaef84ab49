/*
 * `pgsluice audit show FILE…`: each decision with how it ended, one row each, in the order of the log.
 *
 * A decision, the end of its statement and the end of its transaction are records of their own; they are
 * joined here. An entry is printed as soon as it and all before it are complete, so memory holds only what
 * lies between the first decision whose end is still to come and the line that is being read. The text is the
 * clients' own: control characters are escaped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/audit_command.h"
#include "proxy/observe/audit_file.h"
#include "proxy/observe/line.h"

enum { SQL_WIDTH = 100 };

struct entry {
    struct entry *next;
    uint64_t seq;
    json_t *record; /* the decision; the fields of its ends are added to it */
    bool complete;
};

struct show {
    const struct audit_filter *filter;
    struct entry *first, **last;
    bool heading;
};

static const char *text_of(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    return text ? text : "";
}

static bool wanted(const struct audit_filter *filter, const json_t *record)
{
    if (filter->since && strncmp(text_of(record, "ts"), filter->since, strlen(filter->since)) < 0)
        return false;
    if (filter->user && strcmp(text_of(record, "user"), filter->user) != 0)
        return false;
    const char *verdict = text_of(record, "verdict"), *would = text_of(record, "would");
    return !filter->verdict || strcmp(verdict, filter->verdict) == 0 || strcmp(would, filter->verdict) == 0;
}

/* ---- one row ---------------------------------------------------------------------------------------- */

static void put(struct line *line, const char *text)
{
    line_plain(line, text, strlen(text));
}

/* Terminal columns are taken as characters: near enough for names. */
static void column(struct line *line, size_t start, int width)
{
    int characters = 0;
    for (size_t i = start; i < line->length; i++)
        characters += ((unsigned char)line->bytes[i] & 0xc0) != 0x80;
    for (int i = characters; i < width; i++)
        line_put(line, " ", 1);
    line_put(line, "  ", 2);
}

static void put_result(struct line *line, const json_t *record)
{
    const char *sqlstate = text_of(record, "sqlstate");
    const char *txn = text_of(record, "txn");
    const json_t *duration = json_object_get(record, "duration_ms");
    if (*sqlstate)
        put(line, sqlstate);
    else
        put(line, duration ? "ok" : "end unknown");
    if (*txn) {
        line_text(line, ", ");
        put(line, txn);
    }
    if (duration)
        line_printf(line, ", %.1f ms", json_number_value(duration));
}

static void put_rules(struct line *line, const json_t *record)
{
    const json_t *rules = json_object_get(record, "rules");
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const char *rule = json_string_value(json_array_get(rules, i));
        line_text(line, i ? "," : "  ");
        put(line, rule ? rule : "");
    }
    if (*text_of(record, "waiver")) {
        line_text(line, "  waived: ");
        put(line, text_of(record, "waiver"));
    }
}

/* The statement in one line: runs of white space become one blank. */
static void put_sql(struct line *line, const char *sql)
{
    int characters = 0;
    line_text(line, "    ");
    while (*sql && characters < SQL_WIDTH) {
        size_t length = strcspn(sql, " \t\r\n");
        if (length == 0) {
            sql += strspn(sql, " \t\r\n");
            line_put(line, " ", 1);
            characters++;
            continue;
        }
        length = line_utf8(sql, strlen(sql));
        line_plain(line, sql, length ? length : 1);
        sql += length ? length : 1;
        characters++;
    }
    line_text(line, *sql ? "…\n" : "\n");
}

static void put_row(struct line *line, const json_t *record)
{
    size_t start = line->length;
    put(line, text_of(record, "ts"));
    column(line, start, 27);
    start = line->length;
    put(line, text_of(record, "verdict"));
    if (*text_of(record, "would")) {
        line_text(line, "/");
        put(line, text_of(record, "would"));
    }
    column(line, start, 12);
    start = line->length;
    put(line, text_of(record, "user"));
    line_text(line, "@");
    put(line, text_of(record, "database"));
    column(line, start, 20);
    start = line->length;
    put_result(line, record);
    column(line, start, 28);
    put(line, text_of(record, "kind"));
    line_text(line, *text_of(record, "object") ? " " : "");
    put(line, text_of(record, "object"));
    put_rules(line, record);
    line_text(line, "\n");
    put_sql(line, text_of(record, "sql"));
}

static void print(struct show *show, const json_t *record)
{
    if (show->filter->json) {
        json_dumpf(record, stdout, JSON_COMPACT);
        putchar('\n');
        return;
    }
    if (!show->heading)
        printf("%-27s  %-12s  %-20s  %-28s  %s\n", "time", "verdict", "user@database", "result",
               "statement, rules");
    show->heading = true;
    struct line line;
    line_growing(&line);
    put_row(&line, record);
    fwrite(line.bytes, 1, line.length, stdout);
    line_release(&line);
}

/* ---- joining ---------------------------------------------------------------------------------------- */

static void flush(struct show *show, bool all)
{
    while (show->first && (all || show->first->complete)) {
        struct entry *entry = show->first;
        print(show, entry->record);
        show->first = entry->next;
        json_decref(entry->record);
        free(entry);
    }
    if (!show->first)
        show->last = &show->first;
}

static bool decision(struct show *show, uint64_t seq, json_t *record)
{
    if (!wanted(show->filter, record))
        return true;
    struct entry *entry = malloc(sizeof *entry);
    if (!entry)
        return false;
    *entry = (struct entry){.seq = seq, .record = json_incref(record)};
    *show->last = entry;
    show->last = &entry->next;
    return true;
}

static void ending(struct show *show, const json_t *record)
{
    static const char *const keys[] = {"sqlstate", "tag", "rows", "duration_ms", "lock_wait_ms", "txn"};
    uint64_t of = (uint64_t)json_integer_value(json_object_get(record, "of"));
    struct entry *entry = show->first;
    while (entry && entry->seq != of)
        entry = entry->next;
    if (!entry)
        return;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(record, keys[i]);
        if (value)
            json_object_set(entry->record, keys[i], value);
    }
    const char *txn = text_of(record, "txn");
    bool last = strcmp(text_of(record, "record"), "transaction") == 0;
    entry->complete = last || (*txn && strcmp(txn, "open") != 0);
}

/* How an online change ended: a line of its own, behind those of the statements so far. */
static void change_line(struct show *show, const json_t *record)
{
    char message[400];
    if (!wanted(show->filter, record))
        return;
    snprintf(message, sizeof message, "%s", text_of(record, "message"));
    for (char *at = message; *at; at++)
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
    const char *sqlstate = text_of(record, "sqlstate");
    printf("%-27s  online change %lld of database %s: %s%s%s%s%s\n", text_of(record, "ts"),
           (long long)json_integer_value(json_object_get(record, "change")), text_of(record, "database"),
           text_of(record, "state"), *sqlstate ? ", " : "", sqlstate, *message ? ": " : "", message);
}

static bool show_line(struct show *show, const char *line, size_t n, char *reason, size_t size)
{
    uint64_t seq;
    const char *prev;
    json_t *record = chain_read(line, n, &seq, &prev, reason, size);
    if (!record)
        return false;
    const char *sort = text_of(record, "record");
    bool fine = true;
    if (strcmp(sort, "decided") == 0)
        fine = decision(show, seq, record);
    else if (strcmp(sort, "finished") == 0 || strcmp(sort, "transaction") == 0)
        ending(show, record);
    else if (strcmp(sort, "change") == 0)
        change_line(show, record);
    json_decref(record);
    if (!fine)
        snprintf(reason, size, "out of memory");
    flush(show, false);
    return fine;
}

/* A line that cannot be read is told and passed over: the rest is still worth showing. */
static int show_file(struct show *show, const char *path)
{
    FILE *in = fopen(path, "re");
    if (!in) {
        fprintf(stderr, "pgsluice: %s: %s\n", path, strerror(errno));
        return 2;
    }
    char *line = NULL;
    size_t room = 0;
    char reason[256];
    int exit_code = 0;
    ssize_t n;
    for (uint64_t number = 1; (n = getline(&line, &room, in)) >= 0; number++) {
        size_t length = n > 0 && line[n - 1] == '\n' ? (size_t)n - 1 : (size_t)n;
        if (show_line(show, line, length, reason, sizeof reason))
            continue;
        fprintf(stderr, "pgsluice: %s:%" PRIu64 ": %s\n", path, number, reason);
        exit_code = 1;
    }
    if (ferror(in)) {
        fprintf(stderr, "pgsluice: %s: %s\n", path, strerror(errno));
        exit_code = 2;
    }
    free(line);
    fclose(in);
    return exit_code;
}

int audit_show(const struct audit_filter *filter, int n, char **paths)
{
    struct show show = {.filter = filter, .last = &show.first};
    int exit_code = 0;
    for (int i = 0; i < n && exit_code < 2; i++) {
        int result = show_file(&show, paths[i]);
        exit_code = result > exit_code ? result : exit_code;
    }
    flush(&show, true);
    if (fflush(stdout) != 0)
        exit_code = 2;
    return exit_code;
}

/*
 * What a record says, field by field, always in this order.
 */
#include "proxy/observe/audit_record.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Cut between two characters. */
static size_t cut(const char *text, size_t n, size_t most)
{
    if (n <= most)
        return n;
    size_t length = most;
    while (length > most - 4 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return length;
}

static void put_key(struct line *line, const char *key)
{
    line_put(line, ",\"", 2);
    line_text(line, key);
    line_put(line, "\":", 2);
}

static void put_bytes(struct line *line, const char *key, const char *text, size_t n)
{
    put_key(line, key);
    line_json(line, text, n);
}

static void put_text(struct line *line, const char *key, const char *text)
{
    if (text)
        put_bytes(line, key, text, cut(text, strlen(text), AUDIT_TEXT_MAX));
}

static void put_number(struct line *line, const char *key, uint64_t number)
{
    put_key(line, key);
    line_printf(line, "%" PRIu64, number);
}

static void put_milliseconds(struct line *line, const char *key, double milliseconds)
{
    if (!isfinite(milliseconds) || milliseconds < 0)
        return;
    put_key(line, key);
    line_printf(line, "%.3f", milliseconds);
}

static void put_time(struct line *line, const char *key, const struct timespec *time)
{
    put_key(line, key);
    line_put(line, "\"", 1);
    line_time(line, time, 6);
    line_put(line, "\"", 1);
}

static void put_sql(struct line *line, const char *sql, size_t n)
{
    if (!sql)
        return;
    size_t length = cut(sql, n, AUDIT_SQL_MAX);
    put_bytes(line, "sql", sql, length);
    char hash[DIGEST_HEX + 1];
    if (length == n)
        return;
    line_text(line, ",\"sql_truncated\":true");
    put_number(line, "sql_length", n);
    if (digest_sha256(sql, n, hash))
        put_text(line, "sql_sha256", hash);
    else
        line->full = true;
}

static void put_names(struct line *line, const char *key, const char *const *names, size_t n)
{
    put_key(line, key);
    for (size_t i = 0; i < n; i++)
        line_printf(line, "%s\"%s\"", i ? "," : "[", names[i]);
    line_text(line, n ? "]" : "[]");
}

static struct audit_record *record_of(struct line *line)
{
    line_put(line, "}\n", 2);
    struct audit_record *record = line->full ? NULL : malloc(sizeof *record + line->length);
    if (record) {
        *record = (struct audit_record){.length = line->length};
        memcpy(record->rest, line->bytes, line->length);
    }
    line_release(line);
    return record;
}

struct audit_record *record_decided(const struct audit_decided *decided)
{
    struct line line;
    line_growing(&line);
    line_text(&line, ",\"record\":\"decided\"");
    put_number(&line, "session", decided->session);
    put_text(&line, "client", decided->client);
    put_text(&line, "user", decided->user);
    put_text(&line, "database", decided->database);
    put_text(&line, "application", decided->application);
    put_text(&line, "environment", decided->environment);
    put_text(&line, "kind", decided->kind);
    put_text(&line, "object", decided->object);
    put_text(&line, "table", decided->table);
    put_text(&line, "lock", decided->lock);
    put_sql(&line, decided->sql, decided->sql_length);
    if (decided->fingerprint) {
        put_key(&line, "fingerprint");
        line_printf(&line, "\"%016" PRIx64 "\"", decided->fingerprint);
    }
    put_text(&line, "verdict", decided->verdict);
    put_text(&line, "would", decided->would);
    put_names(&line, "rules", decided->rules, decided->n_rules);
    if (decided->actions)
        put_names(&line, "actions", decided->actions, decided->n_rules);
    put_text(&line, "waiver", decided->waiver);
    if (decided->rewritten)
        line_text(&line, ",\"rewritten\":true");
    put_text(&line, "reason", decided->reason);
    return record_of(&line);
}

struct audit_record *record_finished(const struct audit_finished *finished)
{
    struct line line;
    line_growing(&line);
    line_text(&line, ",\"record\":\"finished\"");
    put_number(&line, "of", finished->decided);
    put_text(&line, "sqlstate", finished->sqlstate);
    put_text(&line, "tag", finished->tag);
    if (finished->rows >= 0)
        put_number(&line, "rows", (uint64_t)finished->rows);
    put_milliseconds(&line, "duration_ms", finished->duration_ms);
    put_milliseconds(&line, "lock_wait_ms", finished->lock_wait_ms);
    if (finished->change > 0)
        put_number(&line, "change", (uint64_t)finished->change);
    put_text(&line, "txn", finished->txn);
    return record_of(&line);
}

struct audit_record *record_transaction(uint64_t decided, uint64_t first, const char *txn)
{
    struct line line;
    line_growing(&line);
    line_text(&line, ",\"record\":\"transaction\"");
    put_number(&line, "of", decided);
    put_number(&line, "first", first);
    put_text(&line, "txn", txn);
    return record_of(&line);
}

struct audit_record *record_change(const struct audit_change *change)
{
    struct line line;
    line_growing(&line);
    line_text(&line, ",\"record\":\"change\"");
    put_number(&line, "change", (uint64_t)change->change);
    put_number(&line, "session", change->session);
    put_text(&line, "database", change->database);
    put_text(&line, "state", change->state);
    put_text(&line, "sqlstate", change->sqlstate);
    put_text(&line, "message", change->message);
    return record_of(&line);
}

/* NUL is left out: many readers of JSON cannot take it. */
static bool all_text(const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t length = line_utf8(text + i, n - i);
        if (length == 0 || text[i] == '\0')
            return false;
        i += length;
    }
    return true;
}

struct audit_record *record_recovered(const char *torn, size_t n)
{
    struct line line;
    line_growing(&line);
    line_text(&line, ",\"record\":\"recovered\"");
    put_number(&line, "torn_bytes", n);
    if (all_text(torn, n)) {
        put_bytes(&line, "torn", torn, n);
        return record_of(&line);
    }
    put_key(&line, "torn_hex");
    line_put(&line, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)torn[i];
        line_put(&line, (char[]){"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]}, 2);
    }
    line_put(&line, "\"", 1);
    return record_of(&line);
}

struct audit_record *record_rotated(const char *from)
{
    struct line line;
    line_growing(&line);
    line_text(&line, ",\"record\":\"rotated\"");
    put_text(&line, "from", from);
    return record_of(&line);
}

struct audit_record *record_outage(const struct audit_outage *outage)
{
    struct line line;
    line_growing(&line);
    line_text(&line, ",\"record\":\"outage\"");
    put_time(&line, "since", &outage->since);
    put_text(&line, "error", outage->error);
    put_number(&line, "refused", outage->refused);
    put_number(&line, "lost", outage->lost);
    return record_of(&line);
}

bool record_chain(struct line *batch, const struct audit_record *record, struct chain *chain)
{
    size_t start = batch->length;
    line_text(batch, "{\"ts\":\"");
    line_time(batch, &record->ts, 6);
    line_printf(batch, "\",\"seq\":%" PRIu64 ",\"prev\":\"%s\"", record->seq, chain->hash);
    line_put(batch, record->rest, record->length);
    if (batch->full)
        return false;
    chain->seq = record->seq;
    return digest_sha256(batch->bytes + start, batch->length - start - 1, chain->hash);
}

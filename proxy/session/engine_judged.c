/*
 * A message that is held for its judgement, and what becomes of it: it goes on, or a text goes in its place
 * that the server must refuse. Until then nothing of it has been consumed, so it stands at the front of the
 * next feed.
 */
#include "proxy/session/engine_inside.h"

#include <talloc.h>

#include "parser/facts.h"

#define REFUSED_NAME                                                                                         \
    "pgsluice_refused" /* statement name and word of a substitute that has none of its own                   \
                        */
#define SUBSTITUTE_ROOM 4096U

struct held *held_new(struct engine *engine, enum judge_occasion occasion)
{
    struct held *held = talloc_zero(NULL, struct held);
    if (!held)
        return NULL;
    engine->held = held;
    held->judge.occasion = occasion;
    held->judge.in_transaction = engine->status == 'T' || engine->status == 'E';
    held->judge.scs = engine->scs;
    held->judge.encoding = engine->client_encoding;
    held->judge.moment = engine->moment;
    held->judge.in_pipeline = engine->unsynced;
    held->judge.watched = watch_now(engine);
    return held;
}

size_t held_tell(struct engine *engine, struct held *held)
{
    held->judge.statements = held->statements;
    engine->counts.judged += held->only_watched ? 0 : held->judge.n_statements;
    engine->counts.statements += held->judge.n_statements;
    trace_note(engine, "judge: the message is held");
    engine->wait = WAIT_JUDGE;
    return 0;
}

void held_free(struct engine *engine)
{
    struct held *held = engine->held;
    if (!held)
        return;
    engine->held = NULL;
    prepared_text_release(held->text);
    talloc_free(held);
}

/* ---- copies ------------------------------------------------------------------------------------------ */

static const char *copy_string(const void *parent, const char *text, bool *failed)
{
    if (!text)
        return NULL;
    const char *copy = talloc_strdup(parent, text);
    *failed = *failed || !copy;
    return copy;
}

struct report *report_copy(const void *parent, const struct report *reports, size_t n)
{
    struct report *copies = talloc_array(parent, struct report, n ? n : 1);
    bool failed = !copies;
    for (size_t i = 0; i < n && !failed; i++) {
        const struct report *from = &reports[i];
        struct report *to = &copies[i];
        *to = *from;
        to->severity = copy_string(copies, from->severity, &failed);
        to->message = copy_string(copies, from->message, &failed);
        to->detail = copy_string(copies, from->detail, &failed);
        to->hint = copy_string(copies, from->hint, &failed);
        to->constraint = copy_string(copies, from->constraint, &failed);
        to->schema = copy_string(copies, from->schema, &failed);
        to->table = copy_string(copies, from->table, &failed);
        to->column = copy_string(copies, from->column, &failed);
    }
    if (!failed)
        return copies;
    talloc_free(copies);
    return NULL;
}

void engine_judged(struct engine *engine, const struct judgement *judgement)
{
    struct held *held = engine->held;
    if (!held || held->answered || engine->cut)
        return;
    bool failed = false;
    struct judgement *answer = &held->answer;
    answer->as = judgement->as;
    answer->token = copy_string(held, judgement->token, &failed);
    struct report *refusal = report_copy(held, &judgement->refusal, 1);
    struct report *notices = report_copy(held, judgement->notices, judgement->n_notices);
    size_t n_records = judgement->n_records;
    uint64_t *records = talloc_array(held, uint64_t, n_records ? n_records : 1);
    if (failed || !refusal || !notices || !records) {
        (void)engine_out_of_memory(engine, NULL);
        return;
    }
    if (n_records)
        memcpy(records, judgement->records, n_records * sizeof *records);
    answer->refusal = *refusal;
    answer->notices = notices;
    answer->n_notices = judgement->n_notices;
    answer->records = records;
    answer->n_records = n_records;
    held->answered = true;
    held->told = true;
    held->judge.sql = NULL; /* the caller's bytes may go now */
}

/* ---- what hangs on the ledger entry ------------------------------------------------------------------ */

/* Index of the statement that record k is about. Where only heads are known, all are the message's first. */
static unsigned record_index(const struct held *held, size_t k)
{
    return held->indices && k < held->judge.n_statements ? held->indices[k] : 0;
}

bool extra_of_held(struct engine *engine, struct ledger_entry *entry, struct held *held)
{
    const struct judgement *answer = &held->answer;
    struct extra *extra = engine_extra(entry);
    if (!extra)
        return false;
    extra->notices = talloc_steal(extra, (struct report *)answer->notices);
    extra->n_notices = answer->n_notices;
    extra->words = held->words ? talloc_steal(extra, held->words) : NULL;
    extra->n_words = held->n_words;
    extra->records = talloc_array(extra, uint64_t, answer->n_records + 1);
    extra->indices = talloc_array(extra, unsigned, answer->n_records + 1);
    if (!extra->records || !extra->indices)
        return false;
    for (size_t k = 0; k < answer->n_records; k++) {
        if (answer->records[k] == 0)
            continue;
        extra->records[extra->n_records] = answer->records[k];
        extra->indices[extra->n_records++] = record_index(held, k);
    }
    return extra->n_records == 0 || trail_begin(engine);
}

/* ---- substitution ------------------------------------------------------------------------------------ */

/* Characters of the author's text as the server will count them: those of the server's encoding, which are as
 * many as the client's unless one of the two does not know characters. */
static uint32_t characters_of(struct engine *engine, const struct frame *frame)
{
    size_t length;
    const char *sql = text_sql(frame, &length);
    const char *encoding = engine->client_encoding;
    if (strcmp(engine->server_encoding, "SQL_ASCII") == 0)
        return (uint32_t)length;
    if (strcmp(encoding, "SQL_ASCII") == 0)
        encoding = engine->server_encoding;
    size_t n = 0;
    char *text = text_to_utf8(NULL, sql, length, encoding, &n);
    uint32_t characters = (uint32_t)(text ? utf8_characters(text, n) : length);
    talloc_free(text);
    return characters;
}

/* What the judgement was told of the text points into bytes that are gone: the frame has it again. */
static void write_substitute(struct writer *writer, const struct frame *frame, bool read, const char *token)
{
    struct writer sql;
    writer_init(&sql, writer->limit);
    if (read) {
        size_t length;
        const char *text = text_sql(frame, &length);
        writer_bytes(&sql, text, length);
        writer_bytes(&sql, "\n;", 2);
    }
    writer_bytes(&sql, token, strlen(token));
    writer->failed = writer->failed || !writer_ok(&sql);
    size_t begun = writer_begin(writer, frame->type == CLIENT_QUERY ? CLIENT_QUERY : CLIENT_PARSE);
    if (frame->type == CLIENT_PARSE) {
        size_t there = (frame_whole(frame) ? frame->total : frame->have) - FRAME_HEADER;
        writer_text(writer, (const char *)frame_payload(frame), there);
    } else if (frame->type != CLIENT_QUERY) {
        writer_string(writer, REFUSED_NAME);
    }
    writer_text(writer, (const char *)sql.bytes, sql.length);
    if (frame->type != CLIENT_QUERY)
        writer_u16(writer, 0);
    writer_end(writer, begun);
    writer_release(&sql);
}

static size_t substitute(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                         enum ledger_kind kind)
{
    struct held *held = engine->held;
    bool read = held->answer.as == JUDGED_LET_SERVER_READ && kind != LEDGER_EXECUTE && !held->judge.too_long;
    const char *token = held->answer.token && *held->answer.token ? held->answer.token : REFUSED_NAME;
    struct ledger_entry *entry = client_entry(engine, kind, LEDGER_REPLACE);
    struct extra *extra = entry && extra_of_held(engine, entry, held) ? entry->extra : NULL;
    if (!extra)
        return engine_out_of_memory(engine, sinks);
    extra->refusal = report_copy(extra, &held->answer.refusal, 1);
    if (extra->refusal && frame->type == CLIENT_QUERY && held->judge.occasion == JUDGE_EXECUTE)
        extra->refusal->position = 0; /* it is one in the prepared text */
    extra->token = talloc_strdup(extra, token);
    extra->let_read = read;
    if (read)
        extra->characters = characters_of(engine, frame);
    struct writer writer;
    writer_init(&writer, frame->total + strlen(token) + SUBSTITUTE_ROOM);
    write_substitute(&writer, frame, read, token);
    if (!extra->refusal || !extra->token || !writer_ok(&writer)) {
        writer_release(&writer);
        return engine_out_of_memory(engine, sinks);
    }
    sink_put_now(sinks->server, writer.bytes, writer.length);
    writer_release(&writer);
    engine->counts.refused++;
    trace_message(engine, ENGINE_CLIENT, frame,
                  read ? "judged: the server shall read it" : "judged: refused");
    return engine_drop(engine, ENGINE_CLIENT, frame);
}

static enum ledger_kind kind_of(uint8_t type)
{
    return type == CLIENT_QUERY ? LEDGER_QUERY : type == CLIENT_PARSE ? LEDGER_PARSE : LEDGER_EXECUTE;
}

static size_t forward(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct held *held = engine->held;
    if (engine->long_text)
        return long_forward(engine, frame, sinks);
    if (frame->type != CLIENT_EXECUTE)
        return text_pass(engine, frame, sinks, held);
    struct ledger_entry *entry = client_entry(engine, LEDGER_EXECUTE, LEDGER_FORWARD);
    if (!entry || !extra_of_held(engine, entry, held))
        return engine_out_of_memory(engine, sinks);
    trace_message(engine, ENGINE_CLIENT, frame, "judged: forward");
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

/* While the message was held an error made the server skip everything up to the next Sync. */
static size_t forward_skipped(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct ledger_entry none = {.kind = (uint8_t)kind_of(frame->type)};
    if (!extra_of_held(engine, &none, engine->held))
        return engine_out_of_memory(engine, sinks);
    trail_failed(engine, none.extra, engine->error);
    engine_entry_end(engine, &none);
    trace_message(engine, ENGINE_CLIENT, frame, "ignored by the server until Sync");
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

/* While the message was held a COPY has failed that leaves in doubt what would become of it. */
static size_t cut_held(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct ledger_entry none = {.kind = (uint8_t)kind_of(frame->type)};
    if (!extra_of_held(engine, &none, engine->held))
        return engine_out_of_memory(engine, sinks);
    trail_failed(engine, none.extra, "SL900");
    engine_entry_end(engine, &none);
    return engine_cut_in_doubt(engine, sinks);
}

/* An error that hit our question has been the answer. A Query's end is still owed: a Sync in its place brings
 * the ReadyForQuery. In the extended query all is ignored up to the client's own Sync. */
static size_t drop_failed(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct ledger_entry none = {.kind = (uint8_t)kind_of(frame->type)};
    bool query = frame->type == CLIENT_QUERY;
    struct ledger_entry *entry = query ? client_entry(engine, LEDGER_SYNC, LEDGER_FORWARD) : &none;
    if (!entry || !extra_of_held(engine, entry, engine->held))
        return engine_out_of_memory(engine, sinks);
    struct extra *extra = entry->extra;
    extra->n_notices = 0;
    trail_failed(engine, extra, engine->error);
    trail_error(engine);
    if (query) {
        static const uint8_t sync[] = {CLIENT_SYNC, 0, 0, 0, 4};
        sink_put_now(sinks->server, sync, sizeof sync);
    } else {
        engine_entry_end(engine, &none);
        engine->skipping = engine->dropping = engine->unsynced = true;
    }
    trace_message(engine, ENGINE_CLIENT, frame, "dropped: an error has answered it");
    return engine_drop(engine, ENGINE_CLIENT, frame);
}

size_t held_resolve(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct held *held = engine->held;
    if (!held->answered)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_JUDGE, engine->need[ENGINE_CLIENT]);
    size_t taken;
    if (held->failed)
        taken = drop_failed(engine, frame, sinks);
    else if (engine->skipping)
        taken = forward_skipped(engine, frame, sinks);
    else if (engine_lost_count(engine))
        taken = cut_held(engine, frame, sinks);
    else if (held->answer.as == JUDGED_FORWARD)
        taken = forward(engine, frame, sinks);
    else
        taken = substitute(engine, frame, sinks, kind_of(frame->type));
    long_free(engine);
    held_free(engine);
    return taken;
}

size_t refuse(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
              enum ledger_kind kind, const char *message, const char *hint)
{
    bool held_before = engine->held != NULL;
    struct held *held = held_before ? engine->held : held_new(engine, JUDGE_PARSE);
    if (!held)
        return engine_out_of_memory(engine, sinks);
    held->answer.as = JUDGED_REFUSE;
    held->answer.token = NULL;
    held->answer.refusal =
        (struct report){.severity = "ERROR", .sqlstate = "SL900", .message = message, .hint = hint};
    if (!held->answer.notices)
        held->answer.notices = talloc_array(held, struct report, 1);
    size_t taken =
        held->answer.notices ? substitute(engine, frame, sinks, kind) : engine_out_of_memory(engine, sinks);
    if (!held_before)
        held_free(engine);
    return taken;
}

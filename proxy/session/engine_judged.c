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
    for (size_t i = 0; i < held->n_runs; i++)
        prepared_text_release(held->runs[i].text);
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

/* The strings become children of `parent`. */
static bool copy_reports(const void *parent, struct report *to, const struct report *from, size_t n)
{
    bool failed = false;
    for (; n > 0 && !failed; n--, to++, from++) {
        *to = *from;
        to->severity = copy_string(parent, from->severity, &failed);
        to->message = copy_string(parent, from->message, &failed);
        to->detail = copy_string(parent, from->detail, &failed);
        to->hint = copy_string(parent, from->hint, &failed);
        to->constraint = copy_string(parent, from->constraint, &failed);
        to->schema = copy_string(parent, from->schema, &failed);
        to->table = copy_string(parent, from->table, &failed);
        to->column = copy_string(parent, from->column, &failed);
    }
    return !failed;
}

struct report *report_copy(const void *parent, const struct report *reports, size_t n)
{
    struct report *copies = talloc_array(parent, struct report, n ? n : 1);
    if (copies && copy_reports(copies, copies, reports, n))
        return copies;
    talloc_free(copies);
    return NULL;
}

/* Index of the statement that record k of the judgement is about. Where only heads are known, all are the
 * message's first. */
static unsigned record_index(const struct held *held, size_t k)
{
    if (held->run)
        return held->run->index;
    return held->indices && k < held->judge.n_statements ? held->indices[k] : 0;
}

/* Behind those of the judgements before it; what a message runs may stand in front of its own. */
static bool add_records(struct held *held, const struct judgement *judgement)
{
    size_t n = held->answer.n_records;
    size_t room = n + judgement->n_records + 1;
    held->records = talloc_realloc(held, held->records, uint64_t, room);
    held->record_indices = talloc_realloc(held, held->record_indices, unsigned, room);
    if (!held->records || !held->record_indices)
        return false;
    for (size_t k = 0; k < judgement->n_records; k++) {
        unsigned index = record_index(held, k);
        size_t at = n;
        if (judgement->records[k] == 0)
            continue;
        for (; at > 0 && held->record_indices[at - 1] > index; at--) {
            held->records[at] = held->records[at - 1];
            held->record_indices[at] = held->record_indices[at - 1];
        }
        held->records[at] = judgement->records[k];
        held->record_indices[at] = index;
        n++;
    }
    held->answer.n_records = n;
    return true;
}

static bool add_notices(struct held *held, const struct judgement *judgement)
{
    size_t n = held->answer.n_notices;
    struct report *notices = talloc_realloc(held, (struct report *)held->answer.notices, struct report,
                                            n + judgement->n_notices + 1);
    if (!notices)
        return false;
    held->answer.notices = notices;
    held->answer.n_notices = n + judgement->n_notices;
    return copy_reports(notices, notices + n, judgement->notices, judgement->n_notices);
}

/* Is there more to be judged? Not where nothing of the message will be carried out anyway. */
static bool next_run(struct engine *engine)
{
    const struct held *held = engine->held;
    return held->answer.as == JUDGED_FORWARD && !held->failed && !engine->skipping && !engine_ended(engine) &&
           !engine_lost_count(engine) && held_next_run(engine);
}

/* Texts of ours: what goes in the message's place, and what was put under the names that it runs. A statement
 * that the server has as the author wrote it can't be carried out online any more. */
static bool add_rewrites(struct held *held, const struct judgement *judgement)
{
    const struct prepared_text *text = held->run ? held->run->text : NULL;
    bool rewrite = judgement->as == JUDGED_REWRITE;
    size_t more = text ? text->rewritten : rewrite ? judgement->n_rewrites : 0;
    bool failed = false;
    if (rewrite && !text)
        held->sql = (char *)copy_string(held, judgement->sql, &failed);
    held->rewritten = talloc_realloc(held, held->rewritten, struct rewritten, held->n_rewritten + more + 1);
    if (failed || !held->rewritten)
        return false;
    for (size_t i = 0; i < more; i++) {
        struct rewritten *to = &held->rewritten[held->n_rewritten++];
        const struct rewrite *from = text ? NULL : &judgement->rewrites[i];
        *to = (struct rewritten){.index = record_index(held, from ? from->statement : 0),
                                 .change = text ? text->change : judgement->rewrites[i].change};
        if (from) {
            to->start = from->start;
            to->old_length = from->old_length;
            to->new_length = from->new_length;
        } else {
            to->new_length = UINT32_MAX; /* no place in it is one in a text of the client's */
        }
        snprintf(to->tag, sizeof to->tag, "%s", from ? from->tag : text->tag);
    }
    return true;
}

/* What is run was prepared as the author wrote it: it is too late for another text. */
static bool comes_too_late(const struct held *held, const struct judgement *judgement)
{
    bool change = false;
    for (size_t i = 0; i < judgement->n_rewrites; i++)
        change = change || judgement->rewrites[i].change;
    return judgement->as == JUDGED_REWRITE && change && held->run && !held->run->text->rewritten;
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
    if (failed || !refusal || !add_notices(held, judgement) || !add_records(held, judgement) ||
        !add_rewrites(held, judgement)) {
        (void)engine_out_of_memory(engine, NULL);
        return;
    }
    answer->refusal = *refusal;
    if (comes_too_late(held, judgement)) {
        static const struct report too_late = {
            .severity = "ERROR",
            .sqlstate = "SL900",
            .message = "this statement was prepared before it was to be carried out online",
            .hint = "Prepare it again."};
        answer->as = JUDGED_REFUSE;
        answer->refusal = too_late;
        answer->token = NULL;
    } else if (answer->as == JUDGED_REWRITE) {
        answer->as = JUDGED_FORWARD;
    }
    held->answered = true;
    held->told = true;
    held->judge.sql = NULL; /* the caller's bytes may go now */
    (void)next_run(engine);
}

/* ---- what hangs on the ledger entry ------------------------------------------------------------------ */

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
    extra->records = talloc_steal(extra, held->records);
    extra->indices = talloc_steal(extra, held->record_indices);
    extra->n_records = answer->n_records;
    return online_attach(engine, extra, held) && (extra->n_records == 0 || trail_begin(engine));
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
    if (extra->refusal && held->run && (frame->type == CLIENT_QUERY || held->indirect))
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

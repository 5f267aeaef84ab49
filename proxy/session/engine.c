/*
 * The engine's life, feeding and waiting. One place decides what is read next: engine_need, from `wait`
 * alone.
 *
 * Invariants: left[side] > 0 exactly while a message of that side is in passage, with its header gone. A held
 * message has had none of its bytes consumed. After a cut nothing is put and everything fed is thrown away.
 */
#include "proxy/session/engine_inside.h"

#include <stdlib.h>
#include <talloc.h>

struct events {
    size_t first, n, size;
    struct engine_event at[];
};

struct engine *engine_new(const struct engine_options *options)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return NULL;
    engine->magic = ENGINE_MAGIC;
    engine->options = *options;
    engine->login = true;
    engine->scs = true;
    engine->need[ENGINE_CLIENT] = engine->need[ENGINE_SERVER] = FRAME_HEADER;
    ledger_init(&engine->ledger);
    return engine;
}

void engine_free(struct engine *engine)
{
    if (!engine)
        return;
    while (engine->ledger.count) {
        engine_entry_drop(engine, ledger_head(&engine->ledger));
        ledger_pop(&engine->ledger);
    }
    ask_unanswered(engine->question);
    if (engine->question)
        ask_over(engine, engine->question);
    ledger_release(&engine->ledger);
    online_free(engine);
    held_free(engine);
    long_free(engine);
    ahead_free(engine);
    trail_free(engine);
    prepared_free(engine->prepared);
    free(engine->events);
    free(engine->names);
    free(engine->trace);
    engine->magic = 0;
    free(engine);
}

/* ---- entries ---------------------------------------------------------------------------------------- */

struct extra *engine_extra(struct ledger_entry *entry)
{
    if (!entry->extra)
        entry->extra = talloc_zero(NULL, struct extra);
    return entry->extra;
}

void engine_entry_end(struct engine *engine, struct ledger_entry *entry)
{
    struct extra *extra = entry->extra;
    if (!extra)
        return;
    entry->extra = NULL;
    if (extra->question)
        ask_over(engine, extra->question);
    online_entry_end(engine, extra);
    talloc_free(extra);
}

void engine_entry_drop(struct engine *engine, struct ledger_entry *entry)
{
    struct extra *extra = entry->extra;
    if (extra)
        ask_unanswered(extra->question);
    engine_entry_end(engine, entry);
}

/* ---- passing ---------------------------------------------------------------------------------------- */

size_t engine_hold(struct engine *engine, enum engine_side side, enum client_wait wait, size_t need)
{
    if (side == ENGINE_CLIENT)
        engine->wait = (uint8_t)wait;
    engine->need[side] = (uint32_t)need;
    return 0;
}

size_t engine_pass(struct engine *engine, enum engine_side side, const struct frame *frame, struct sink *sink)
{
    size_t taken = frame_whole(frame) ? frame->total : frame->have;
    sink_put(sink, frame->bytes, taken);
    engine->left[side] = (uint32_t)(frame->total - taken);
    if (side == ENGINE_CLIENT)
        engine->client_drops = false;
    else
        engine->server_drops = false;
    return taken;
}

size_t engine_drop(struct engine *engine, enum engine_side side, const struct frame *frame)
{
    size_t taken = frame_whole(frame) ? frame->total : frame->have;
    engine->left[side] = (uint32_t)(frame->total - taken);
    if (side == ENGINE_CLIENT)
        engine->client_drops = true;
    else
        engine->server_drops = true;
    return taken;
}

/* Does the client's stream stand between two messages? */
bool engine_between_messages(const struct engine *engine)
{
    return engine->left[ENGINE_SERVER] == 0 || engine->server_drops;
}

bool engine_say(struct engine *engine, const struct report *report, struct sink *to_client)
{
    if (engine->cut || !engine_between_messages(engine))
        return false;
    struct writer writer;
    writer_init(&writer, SMALL_MESSAGE);
    bool done = reply_report(&writer, report);
    if (done)
        sink_put_now(to_client, writer.bytes, writer.length);
    writer_release(&writer);
    return done;
}

size_t engine_cut(struct engine *engine, const struct sinks *sinks, const char *sqlstate, const char *message,
                  const char *hint, const char *reason)
{
    if (engine->cut)
        return 0;
    struct report report = {.severity = "FATAL", .message = message, .hint = hint};
    memcpy(report.sqlstate, sqlstate, sizeof report.sqlstate);
    if (sinks)
        (void)engine_say(engine, &report, sinks->client);
    trace_note(engine, reason);
    engine->cut = true;
    engine->reason = reason;
    return 0;
}

size_t engine_cut_in_doubt(struct engine *engine, const struct sinks *sinks)
{
    return engine_cut(
        engine, sinks, "SL900",
        "pgsluice: a schema change can't be judged here: after a COPY that failed it is not certain what "
        "the server does with messages sent without a Sync",
        "Connect again.", "a schema change without a Sync behind a COPY that failed");
}

size_t engine_out_of_memory(struct engine *engine, const struct sinks *sinks)
{
    return engine_cut(engine, sinks, "53200", "pgsluice: out of memory", NULL, "out of memory");
}

/* ---- feeding ---------------------------------------------------------------------------------------- */

/* The server owes replies, and will give them whatever else the client sends. */
static bool replies_are_due(const struct engine *engine)
{
    return engine->ledger.count && !engine->unsynced && !engine->copy_in && !engine_lost_count(engine);
}

static bool frame_acceptable(struct engine *engine, enum engine_side side, const struct frame *frame,
                             uint32_t length, const struct sinks *sinks)
{
    uint32_t limit = side == ENGINE_CLIENT ? message_client_limit(frame->type, engine->version) : INT32_MAX;
    if (length >= 4 && length <= limit)
        return true;
    if (side == ENGINE_CLIENT && replies_are_due(engine)) { /* what stood in front is answered first */
        (void)engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, FRAME_HEADER);
        return false;
    }
    char text[160];
    snprintf(text, sizeof text, "invalid length %u of message type \"%c\" (0x%02X) from the %s", length,
             frame->type >= ' ' && frame->type < 127 ? frame->type : '?', frame->type,
             side == ENGINE_CLIENT ? "client" : "server");
    (void)engine_cut(engine, sinks, "08P01", text, NULL,
                     side == ENGINE_CLIENT ? "the client sent a message of an impossible length"
                                           : "the server sent a message of an impossible length");
    return false;
}

/* More of the message in passage. */
static size_t feed_rest(struct engine *engine, enum engine_side side, const uint8_t *bytes, size_t n,
                        const struct sinks *sinks)
{
    size_t taken = n < engine->left[side] ? n : engine->left[side];
    if (side == ENGINE_CLIENT && engine->long_text)
        return long_go_on(engine, bytes, taken, sinks);
    if (side == ENGINE_CLIENT && !engine->client_drops)
        sink_put(sinks->server, bytes, taken);
    else if (side == ENGINE_SERVER && !engine->server_drops)
        sink_put(sinks->client, bytes, taken);
    engine->left[side] -= (uint32_t)taken;
    return taken;
}

/* Rows and copied data: do messages of this type go on without a look at any of them? As long as one of them
 * does, so does the next: only other messages change what is asked here. */
static bool rows_pass(const struct engine *engine, enum engine_side side, uint8_t type)
{
    if (engine->trace)
        return false;
    if (side == ENGINE_CLIENT)
        return type == CLIENT_COPY_DATA && engine->copy_in && !engine->held && !engine->login &&
               !engine->skipping && !engine->prepared && !ledger_full(&engine->ledger);
    if (type != SERVER_DATA_ROW && type != SERVER_COPY_DATA)
        return false;
    const struct ledger_entry *head = ledger_head((struct ledger *)&engine->ledger);
    return head && !head->extra && head->disposition == LEDGER_FORWARD &&
           ledger_effect(head->kind, type) == LEDGER_PART;
}

/* How many bytes at the front are whole messages of one type. The hot path of COPY and of long results. */
static size_t rows_length(const uint8_t *bytes, size_t n, uint64_t *messages)
{
    size_t at = 0;
    while (n - at >= FRAME_HEADER && bytes[at] == bytes[0]) {
        uint32_t length = frame_u32(bytes + at + 1);
        if (length < 4 || length >= n - at)
            break;
        at += (size_t)length + 1;
        (*messages)++;
    }
    return at;
}

static size_t feed_rows(struct engine *engine, enum engine_side side, const uint8_t *bytes, size_t n,
                        const struct sinks *sinks)
{
    if (!rows_pass(engine, side, bytes[0]))
        return 0;
    bool client = side == ENGINE_CLIENT;
    size_t length =
        rows_length(bytes, n, client ? &engine->counts.client_messages : &engine->counts.server_messages);
    if (length)
        sink_put(client ? sinks->server : sinks->client, bytes, length);
    return length;
}

static size_t feed_side(struct engine *engine, enum engine_side side, const uint8_t *bytes, size_t n,
                        const struct sinks *sinks)
{
    size_t at = 0;
    while (!engine->cut) {
        if (engine->left[side]) {
            engine->need[side] = 1;
            if (at == n)
                break;
            at += feed_rest(engine, side, bytes + at, n - at, sinks);
            continue;
        }
        engine->need[side] = FRAME_HEADER;
        if (n - at < FRAME_HEADER)
            break;
        size_t rows = feed_rows(engine, side, bytes + at, n - at, sinks);
        if (rows) {
            at += rows;
            continue;
        }
        uint32_t length = frame_u32(bytes + at + 1);
        struct frame frame = {bytes + at, n - at, (size_t)length + 1, bytes[at]};
        if (!frame_acceptable(engine, side, &frame, length, sinks))
            break;
        size_t taken = side == ENGINE_CLIENT ? client_message(engine, &frame, sinks)
                                             : server_message(engine, &frame, sinks);
        if (taken == 0)
            break;
        at += taken;
    }
    return engine->cut ? n : at;
}

size_t engine_feed(struct engine *engine, enum engine_side from, const uint8_t *bytes, size_t n,
                   struct sink *to_client, struct sink *to_server)
{
    struct sinks sinks = {to_client, to_server};
    if (engine->cut || engine->closed)
        return n;
    if (from == ENGINE_SERVER)
        return feed_side(engine, from, bytes, n, &sinks);
    if (engine->question && !engine->left[ENGINE_CLIENT])
        return ask_put(engine, &sinks);
    if (engine_need(engine, ENGINE_CLIENT) == 0)
        return 0;
    engine->wait = WAIT_BYTES;
    return feed_side(engine, from, bytes, n, &sinks);
}

static bool client_waits(const struct engine *engine)
{
    switch ((enum client_wait)engine->wait) {
    case WAIT_BYTES:
        return false;
    case WAIT_JUDGE:
        return engine->held && !engine->held->answered && (!engine->question || ask_waits(engine));
    case WAIT_QUIET:
        return replies_are_due(engine);
    case WAIT_COPY:
        return engine_copy_open(engine) && !engine_lost_count(engine);
    case WAIT_LEDGER:
        return ledger_full(&engine->ledger) && engine->doubt != DOUBT_DIRTY;
    case WAIT_LOGIN:
        return engine->login && !engine->answer_due;
    case WAIT_PREPARED:
        return engine->prepared && prepared_must_wait(engine->prepared) && !engine_lost_count(engine);
    case WAIT_CHANGE:
        return online_waits(engine);
    }
    return false;
}

size_t engine_need(const struct engine *engine, enum engine_side side)
{
    if (engine->cut || (side == ENGINE_CLIENT && client_waits(engine)))
        return 0;
    return engine->need[side];
}

/* ---- events ----------------------------------------------------------------------------------------- */

struct engine_event *engine_event_add(struct engine *engine, enum engine_event_kind kind)
{
    struct events *events = engine->events;
    if (!events || events->n == events->size) {
        size_t size = events ? events->size * 2 : 4;
        struct events *grown = realloc(events, sizeof *events + size * sizeof events->at[0]);
        if (!grown)
            return NULL;
        if (!events)
            grown->first = grown->n = 0;
        grown->size = size;
        engine->events = events = grown;
    }
    struct engine_event *event = &events->at[events->n++];
    *event = (struct engine_event){.kind = kind};
    return event;
}

static bool event_from_queue(struct engine *engine, struct engine_event *event)
{
    struct events *events = engine->events;
    if (!events)
        return false;
    *event = events->at[events->first++];
    if (events->first == events->n) {
        free(events);
        engine->events = NULL;
    }
    return true;
}

void engine_next(struct engine *engine, struct engine_event *event)
{
    if (!engine->events && !engine->cut && !engine->held) { /* after nearly every message */
        event->kind = EVENT_NONE;
        return;
    }
    *event = (struct engine_event){.kind = EVENT_NONE};
    if (event_from_queue(engine, event))
        return;
    if (engine->cut) {
        if (engine->cut_told)
            return;
        engine->cut_told = true;
        event->kind = EVENT_CUT;
        event->reason = engine->reason;
        return;
    }
    if (engine->held && !engine->held->told) {
        engine->held->told = true;
        event->kind = EVENT_JUDGE;
        event->judge = engine->held->judge;
    }
}

void engine_closed(struct engine *engine)
{
    if (engine->closed)
        return;
    engine->closed = true;
    trail_lost(engine);
    for (uint32_t i = 0; i < engine->ledger.count; i++)
        engine_entry_drop(engine, ledger_at(&engine->ledger, i));
}

/* ---- what the session knows ------------------------------------------------------------------------- */

char engine_transaction_status(const struct engine *engine)
{
    return engine->status;
}

bool engine_quiet(const struct engine *engine)
{
    return engine->ledger.count == 0 && !engine->held && !engine->left[ENGINE_CLIENT] &&
           !engine->left[ENGINE_SERVER] && engine->wait == WAIT_BYTES &&
           engine->need[ENGINE_CLIENT] == FRAME_HEADER;
}

const char *engine_client_encoding(const struct engine *engine)
{
    return engine->client_encoding;
}

const char *engine_application_name(const struct engine *engine)
{
    return engine->names ? engine->names->application : "";
}

const char *engine_session_authorization(const struct engine *engine)
{
    return engine->names ? engine->names->authorization : "";
}

int engine_server_version(const struct engine *engine)
{
    return engine->version;
}

bool engine_in_hot_standby(const struct engine *engine)
{
    return engine->hot_standby;
}

void engine_counts_take(struct engine *engine, struct engine_counts *counts)
{
    counts->client_messages += engine->counts.client_messages;
    counts->server_messages += engine->counts.server_messages;
    counts->statements += engine->counts.statements;
    counts->judged += engine->counts.judged;
    counts->refused += engine->counts.refused;
    engine->counts = (struct engine_counts){0};
}

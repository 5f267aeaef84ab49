/*
 * Texts of ours in the place of the author's, and answers that wait for a change (engine_online.h).
 *
 * `online` is there from the moment that a statement which begins a change is sent until the ReadyForQuery
 * that ends its transaction. The numbers of the changes come with the server's INFO messages. Whether the
 * transaction committed is not concluded from the messages: a number that the database doesn't know was never
 * committed. Only where it ended in ROLLBACK for certain nobody is asked.
 */
#include "proxy/session/engine_online.h"

#include <inttypes.h>
#include <stdlib.h>
#include <talloc.h>

#include "proxy/session/engine_inside.h"

#define REWRITE_MAX ((size_t)256 << 20)

struct online {
    int64_t ids[ENGINE_CHANGES_MAX];
    size_t n;
    size_t in_flight;                    /* entries in the ledger that may begin a change */
    bool committed, rolled_back, failed; /* failed: an ErrorResponse since the last ReadyForQuery */
    enum { ONLINE_OPEN, ONLINE_ASKED, ONLINE_ANSWERED } state;
    struct report *error; /* talloc, or NULL */
};

struct cancel_key {
    size_t length;
    uint8_t bytes[];
};

/* ---- the message that goes on ------------------------------------------------------------------------ */

static bool online_begin(struct engine *engine)
{
    if (!engine->online)
        engine->online = calloc(1, sizeof *engine->online);
    return engine->online;
}

bool online_attach(struct engine *engine, struct extra *extra, struct held *held)
{
    extra->rewritten = held->rewritten ? talloc_steal(extra, held->rewritten) : NULL;
    extra->n_rewritten = extra->rewritten ? held->n_rewritten : 0;
    held->rewritten = NULL;
    for (size_t i = 0; i < extra->n_rewritten && held->judge.occasion != JUDGE_PARSE; i++)
        extra->awaited = extra->awaited || extra->rewritten[i].change;
    if (!extra->awaited)
        return true;
    if (!online_begin(engine))
        return extra->awaited = false;
    engine->online->in_flight++;
    return true;
}

void online_entry_end(struct engine *engine, const struct extra *extra)
{
    if (extra->awaited && engine->online)
        engine->online->in_flight--;
}

size_t online_put(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                  const struct held *held)
{
    const char *sql = held->sql;
    struct writer writer;
    writer_init(&writer, REWRITE_MAX);
    if (frame->type == CLIENT_QUERY) {
        message_query_write(&writer, sql, strlen(sql));
    } else {
        size_t length;
        const char *old = text_sql(frame, &length);
        const char *name = (const char *)frame_payload(frame);
        const uint8_t *rest = (const uint8_t *)old + length + 1;
        size_t begun = writer_begin(&writer, CLIENT_PARSE);
        writer_string(&writer, name);
        writer_string(&writer, sql);
        if (rest < frame->bytes + frame->total)
            writer_bytes(&writer, rest, (size_t)(frame->bytes + frame->total - rest));
        writer_end(&writer, begun);
    }
    bool done = writer_ok(&writer);
    if (done)
        sink_put_now(sinks->server, writer.bytes, writer.length);
    writer_release(&writer);
    if (!done)
        return 0;
    trace_message(engine, ENGINE_CLIENT, frame, "judged: rewritten");
    return engine_drop(engine, ENGINE_CLIENT, frame);
}

/* ---- what the server says of it ---------------------------------------------------------------------- */

struct rewritten *online_at(const struct extra *extra, unsigned index)
{
    for (size_t i = 0; extra && i < extra->n_rewritten; i++)
        if (extra->rewritten[i].index == index)
            return &extra->rewritten[i];
    return NULL;
}

static void note_change(struct engine *engine, struct rewritten *of, const char *number)
{
    char *end;
    int64_t id = number ? (int64_t)strtoll(number, &end, 10) : 0;
    if (id <= 0 || *end != '\0' || !online_begin(engine))
        return;
    if (of)
        of->id = id;
    if (engine->online->n < ENGINE_CHANGES_MAX)
        engine->online->ids[engine->online->n++] = id;
}

/* A place in the text that the server has, as one in the author's; 0: it is in a text of ours. */
static unsigned long authors_place(const struct extra *extra, unsigned long place)
{
    unsigned long shift_back = 0, shift_on = 0;
    for (size_t i = 0; i < extra->n_rewritten; i++) {
        const struct rewritten *one = &extra->rewritten[i];
        unsigned long start = one->start + shift_on - shift_back;
        if (place - 1 < start)
            break;
        if (place - 1 - start < one->new_length)
            return 0;
        shift_on += one->new_length;
        shift_back += one->old_length;
    }
    return place + shift_back - shift_on;
}

/* The same message with its place in the author's text, and, of a statement of ours, without what speaks of a
 * text that the client never sent. */
static bool put_plain(const struct frame *frame, const struct extra *extra, bool ours,
                      struct message_error *said, struct sink *to_client)
{
    struct writer writer;
    char position[24];
    unsigned long place = said->position ? strtoul(said->position, NULL, 10) : 0;
    place = place > 0 ? authors_place(extra, place) : 0;
    snprintf(position, sizeof position, "%lu", place);
    said->position = place > 0 ? position : NULL;
    if (ours)
        said->internal_position = said->internal_query = said->where = NULL;
    writer_init(&writer, frame->total + 64);
    message_error_write(&writer, frame->type, said);
    said->position = NULL; /* it is ours */
    bool done = writer_ok(&writer);
    if (done)
        sink_put_now(to_client, writer.bytes, writer.length);
    writer_release(&writer);
    return done;
}

/* The number of a change: swallowed, whatever it came with (a DO block may execute what was prepared). */
bool online_number(struct engine *engine, const struct frame *frame, struct ledger_entry *head)
{
    struct message_error said;
    struct rewritten *of = head ? online_at(head->extra, head->statements) : NULL;
    const char *nonce = engine->options.nonce           ? engine->options.nonce
                        : engine->options.question_name ? NULL
                                                        : "pgsluice_question";
    if (!nonce || !frame_whole(frame) ||
        !message_error_read(frame_payload(frame), frame_payload_length(frame), &said) || !said.sqlstate ||
        strcmp(said.sqlstate, "SL100") != 0 || !said.message || strcmp(said.message, nonce) != 0)
        return false;
    note_change(engine, of, said.detail);
    trace_message(engine, ENGINE_SERVER, frame, "swallow: the number of a change");
    return true;
}

bool online_reply(const struct frame *frame, const struct ledger_entry *head, struct sink *to_client)
{
    struct message_error said;
    const struct extra *extra = head ? head->extra : NULL;
    return extra && extra->n_rewritten && frame_whole(frame) &&
           message_error_read(frame_payload(frame), frame_payload_length(frame), &said) &&
           put_plain(frame, extra, online_at(extra, head->statements) != NULL, &said, to_client);
}

void engine_set_nonce(struct engine *engine, const char *nonce)
{
    engine->options.nonce = nonce;
}

/* ---- waiting ----------------------------------------------------------------------------------------- */

bool online_open(const struct engine *engine)
{
    return engine->online != NULL;
}

bool engine_changes_open(const struct engine *engine)
{
    return online_open(engine);
}

bool online_waits(const struct engine *engine)
{
    return engine->online && engine->ledger.givers > 0 && !engine->copy_in;
}

bool engine_changes_wait(const struct engine *engine)
{
    return engine->online && engine->online->state == ONLINE_ASKED;
}

/* Their transaction is over with this ReadyForQuery: behind COMMIT AND CHAIN another one is open already. Of
 * a Query that failed before a COMMIT in it nothing is left. Of a pipeline that can't be said: what is in
 * front of the error may have committed by itself. */
static bool has_ended(const struct online *online, char status, const struct ledger_entry *head)
{
    bool undone = online->rolled_back || (online->failed && head->kind == LEDGER_QUERY);
    return online->n && (status == 'I' || online->committed) && !(undone && !online->committed);
}

/* Holds the server's stream until engine_changes_over. */
static bool stand_still(struct engine *engine)
{
    struct online *online = engine->online;
    if (online->state == ONLINE_OPEN) {
        struct engine_event *event = engine_event_add(engine, EVENT_CHANGES);
        if (!event)
            return false; /* without memory nobody waits: the change goes on all the same */
        event->changes = (struct engine_changes){online->ids, online->n};
        online->state = ONLINE_ASKED;
        trace_note(engine, "the answer waits for a change");
    }
    (void)engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, 0);
    return true;
}

/* Would a ReadyForQuery right behind this CommandComplete be the answer's end? */
static bool may_be_last(struct engine *engine, const struct ledger_entry *head)
{
    if (head->kind == LEDGER_QUERY)
        return true;
    return head->kind == LEDGER_EXECUTE && engine->ledger.count > 1 &&
           ledger_at(&engine->ledger, 1)->kind == LEDGER_SYNC;
}

static bool complete_holds(struct engine *engine, const struct frame *frame, const struct ledger_entry *head)
{
    const uint8_t *next = frame->bytes + frame->total;
    const char *tag;
    if (!may_be_last(engine, head) || !frame_whole(frame))
        return false;
    if (message_command_read(frame_payload(frame), frame_payload_length(frame), &tag))
        online_tag(engine, tag);
    size_t need = frame->total + FRAME_HEADER;
    if (frame->have >= need && next[0] == SERVER_READY)
        need++; /* the status */
    if (frame->have < need) {
        (void)engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, need);
        return true;
    }
    return next[0] == SERVER_READY && has_ended(engine->online, (char)next[FRAME_HEADER], head) &&
           stand_still(engine);
}

bool online_holds(struct engine *engine, const struct frame *frame, const struct ledger_entry *head)
{
    const struct online *online = engine->online;
    char status;
    if (!online || !head || online->state == ONLINE_ANSWERED || online->n == 0 ||
        head->disposition == LEDGER_SWALLOW)
        return false;
    if (frame->type == SERVER_COMMAND_COMPLETE)
        return complete_holds(engine, frame, head);
    return frame->type == SERVER_READY && frame_whole(frame) &&
           message_ready_read(frame_payload(frame), frame_payload_length(frame), &status) &&
           has_ended(online, status, head) && stand_still(engine);
}

const struct report *online_error(const struct engine *engine)
{
    const struct online *online = engine->online;
    return online && online->state == ONLINE_ANSWERED ? online->error : NULL;
}

void online_failed(struct engine *engine)
{
    if (engine->online)
        engine->online->failed = true;
}

void online_tag(struct engine *engine, const char *tag)
{
    struct online *online = engine->online;
    online->committed = online->committed || strcmp(tag, "COMMIT") == 0;
    online->rolled_back = strcmp(tag, "ROLLBACK") == 0;
}

void engine_changes_over(struct engine *engine, const struct report *error)
{
    struct online *online = engine->online;
    if (!engine_changes_wait(engine) || engine->cut)
        return;
    online->state = ONLINE_ANSWERED;
    if (error)
        online->error = report_copy(NULL, error, 1);
    engine->need[ENGINE_SERVER] = FRAME_HEADER;
    trace_note(engine, error ? "the change has failed" : "the change is over");
}

/* The client has been told: an error for what it took to be a success, or nothing. */
void online_told(struct engine *engine)
{
    talloc_free(engine->online->error);
    engine->online->error = NULL;
}

void online_ready(struct engine *engine, char status, const struct sinks *sinks)
{
    struct online *online = engine->online;
    if (online)
        online->failed = false;
    if (!online || (status != 'I' && !online->committed))
        return;
    if (online->error && sinks) {
        struct writer writer;
        writer_init(&writer, SMALL_MESSAGE);
        if (reply_report(&writer, online->error))
            sink_put_now(sinks->client, writer.bytes, writer.length);
        writer_release(&writer);
    }
    online_told(engine);
    if (online->in_flight == 0) {
        free(online);
        engine->online = NULL;
        return;
    }
    online->n = 0;
    online->state = ONLINE_OPEN;
    online->committed = online->rolled_back = false;
}

void online_free(struct engine *engine)
{
    if (engine->online)
        online_told(engine);
    free(engine->online);
    free(engine->cancel_key);
    engine->online = NULL;
    engine->cancel_key = NULL;
}

/* ---- the rest ---------------------------------------------------------------------------------------- */

void engine_screen(struct engine *engine, bool on)
{
    engine->screen = on;
}

void online_key(struct engine *engine, const struct frame *frame)
{
    if (!frame_whole(frame) || engine->cancel_key)
        return;
    size_t n = frame_payload_length(frame);
    engine->cancel_key = malloc(sizeof *engine->cancel_key + n);
    if (!engine->cancel_key)
        return; /* a cancel will not be noticed while it waits */
    engine->cancel_key->length = n;
    memcpy(engine->cancel_key->bytes, frame_payload(frame), n);
}

const uint8_t *engine_cancel_key(const struct engine *engine, size_t *length)
{
    *length = engine->cancel_key ? engine->cancel_key->length : 0;
    return engine->cancel_key ? engine->cancel_key->bytes : NULL;
}

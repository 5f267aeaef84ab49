/*
 * The server's messages: each is looked up against the entry at the ledger's head, and the entry says whether
 * it is forwarded, swallowed, or becomes our refusal.
 *
 * After an error in the extended query the server skips everything up to the next Sync: so do the entries,
 * and if there is no Sync among them yet `skipping` says that the client's next messages make none. Where
 * that is in doubt (enum doubt) nothing is taken for skipped, and a surplus ReadyForQuery passes.
 */
#include "proxy/session/engine_inside.h"

/* The reply to our substitute, or to our question, or anything at all, isn't one that the server can have
 * given. */
static size_t misfit(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    if (engine->ledger.special == 0)
        return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
    return engine_cut(engine, sinks, "SL900", "pgsluice: the server's answer does not fit what it was asked",
                      NULL, "a reply of the server does not fit the ledger");
}

static void end_head(struct engine *engine)
{
    struct ledger_entry *head = ledger_head(&engine->ledger);
    if (head->extra) {
        trail_forgotten(engine, head->extra);
        engine_entry_end(engine, head);
    }
    ledger_pop(&engine->ledger);
}

/* The head never got its answer. Of the changes of names all that are not settled stand between the same two
 * Syncs (prepared_must_wait): with one of them all are dropped. */
static void drop_head(struct engine *engine)
{
    struct ledger_entry *head = ledger_head(&engine->ledger);
    const struct extra *extra = head->extra;
    if (extra) {
        if (extra->change && engine->prepared)
            prepared_undo(engine->prepared);
        engine->names_lost |= extra->change && engine_lost_count(engine);
        trail_forgotten(engine, head->extra);
        engine_entry_drop(engine, head);
    }
    ledger_pop(&engine->ledger);
}

static void copy_ends(struct engine *engine)
{
    engine->copy_in = false;
    engine->copy_syncs = 0;
}

/* A reply to this entry has come: what was in doubt before is decided, and a COPY that fails may bring a new
 * one. */
static void note_doubt(struct engine *engine, const struct ledger_entry *head, bool error)
{
    if (engine->doubt == DOUBT_CLEAN && head->kind != LEDGER_SYNC)
        engine->doubt = DOUBT_NONE;
    if (error && head->copying && engine->copy_syncs && engine->doubt == DOUBT_NONE)
        engine->doubt = ledger_gives_ready(head->kind) ? DOUBT_CLEAN : DOUBT_SKIP;
}

/* ---- errors ------------------------------------------------------------------------------------------ */

/* The error was said to this entry; where the count is lost, perhaps to another one. */
static void answered_error(struct engine *engine, struct extra *extra)
{
    if (engine->doubt == DOUBT_DIRTY)
        trail_forgotten(engine, extra);
    else
        trail_failed(engine, extra, engine->error);
}

/* Entries that the server skips: up to the next Sync, which stays. In doubt it may have taken those behind
 * the COPY all the same, and what became of them nobody knows. */
static void drop_skipped(struct engine *engine)
{
    struct ledger_entry *head;
    unsigned dropped = 0;
    for (; (head = ledger_head(&engine->ledger)) != NULL && head->kind != LEDGER_SYNC; dropped++) {
        if (dropped == 0 || engine->doubt != DOUBT_SKIP)
            answered_error(engine, head->extra);
        drop_head(engine);
    }
    engine->skipping = !head && engine->doubt == DOUBT_NONE;
    if (engine->doubt == DOUBT_SKIP && dropped > 1)
        engine->doubt = DOUBT_DIRTY;
    else if (engine->doubt == DOUBT_SKIP && head)
        engine->doubt = DOUBT_CLEAN;
}

/* A server before 14 reads a message that has no place in copy mode to its end and throws it away; later ones
 * end the session. */
static void drop_eaten(struct engine *engine, const struct ledger_entry *head)
{
    if (engine->version >= 140000 || engine->ledger.count < 2 || !ledger_gives_ready(head->kind) ||
        strcmp(engine->error, "08P01") != 0)
        return;
    struct ledger_entry *eaten = ledger_at(&engine->ledger, 1);
    const struct extra *extra = eaten->extra;
    if (extra && extra->change && engine->prepared)
        prepared_undo(engine->prepared);
    trail_failed(engine, eaten->extra, engine->error);
    engine_entry_drop(engine, eaten);
    ledger_drop_second(&engine->ledger);
}

static void note_error(struct engine *engine, const struct frame *frame, bool *fatal)
{
    struct message_error error;
    bool read =
        frame_whole(frame) && message_error_read(frame_payload(frame), frame_payload_length(frame), &error);
    *fatal = read && message_error_fatal(&error);
    snprintf(engine->error, sizeof engine->error, "%s", read && error.sqlstate ? error.sqlstate : "XX000");
}

/* An error while nothing was asked, or one that ends the session whatever was asked. */
static size_t error_aside(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    trail_error(engine);
    trace_message(engine, ENGINE_SERVER, frame, "forward");
    return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
}

static size_t error_passes(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                           struct ledger_entry *head)
{
    struct extra *extra = head->extra;
    bool replaced = head->disposition == LEDGER_REPLACE && frame_whole(frame);
    if (extra && extra->n_notices)
        reply_notices(engine, extra, sinks->client);
    if (replaced)
        reply_error(engine, frame, extra, sinks->client, engine->error);
    else
        replaced = online_reply(frame, head, sinks->client);
    trace_message(engine, ENGINE_SERVER, frame, replaced ? "replace" : "forward");
    return replaced ? engine_drop(engine, ENGINE_SERVER, frame)
                    : engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
}

static size_t error_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct ledger_entry *head = ledger_head(&engine->ledger);
    bool replace = head && head->disposition == LEDGER_REPLACE;
    size_t room = SMALL_MESSAGE + (replace ? (size_t)engine->options.held_message : 0);
    if (!frame_whole(frame) && frame->total <= room)
        return engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, frame->total);
    bool fatal;
    note_error(engine, frame, &fatal);
    if (fatal && online_reply(frame, head, sinks->client)) {
        trail_error(engine);
        return engine_drop(engine, ENGINE_SERVER, frame);
    }
    if (!head || fatal)
        return error_aside(engine, frame, sinks);
    if (head->disposition == LEDGER_SWALLOW && ask_failed(engine, head->extra)) {
        trace_message(engine, ENGINE_SERVER, frame, "swallow: a question of our own failed");
        drop_skipped(engine);
        return engine_drop(engine, ENGINE_SERVER, frame);
    }
    size_t taken = error_passes(engine, frame, sinks, head);
    online_failed(engine);
    note_doubt(engine, head, true);
    trail_error(engine);
    answered_error(engine, head->extra);
    head->answered = true;
    if (head->copying) {
        copy_ends(engine);
        drop_eaten(engine, head);
    }
    if (!ledger_gives_ready(head->kind))
        drop_skipped(engine);
    return taken;
}

/* ---- ReadyForQuery ----------------------------------------------------------------------------------- */

/* How many ReadyForQuery were asked for before the head. */
static uint32_t segment_of_head(const struct engine *engine)
{
    return engine->ledger.givers_pushed - engine->ledger.givers;
}

static void note_ready(struct engine *engine, char status)
{
    engine->status = status;
    trail_ready(engine, status);
    if (!engine->prepared)
        return;
    if (status == 'I')
        prepared_transaction_over(engine->prepared, segment_of_head(engine));
    if (prepared_empty(engine->prepared)) {
        prepared_free(engine->prepared);
        engine->prepared = NULL;
    }
}

/* Entries that never got an answer, up to the one that this ReadyForQuery ends. */
static void drop_unanswered(struct engine *engine)
{
    struct ledger_entry *head;
    while ((head = ledger_head(&engine->ledger)) != NULL && !ledger_gives_ready(head->kind))
        drop_head(engine);
}

/* One more than was asked for, since a Sync was answered after all: what is owed next has had no reply yet.
 */
static bool ready_is_surplus(struct engine *engine)
{
    const struct ledger_entry *head = ledger_head(&engine->ledger);
    return engine->doubt == DOUBT_CLEAN && head && head->kind != LEDGER_SYNC && !head->answered;
}

static size_t ready_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    char status;
    if (!frame_whole(frame) && frame->total <= SMALL_MESSAGE)
        return engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, frame->total);
    if (!frame_whole(frame) ||
        !message_ready_read(frame_payload(frame), frame_payload_length(frame), &status))
        return engine_cut(engine, sinks, "08P01",
                          "pgsluice: the server sent a ReadyForQuery that can't be read", NULL,
                          "ReadyForQuery of a wrong length");
    bool swallow = false;
    if (online_holds(engine, frame, ledger_head(&engine->ledger)))
        return 0;
    if (ready_is_surplus(engine)) {
        trace_message(engine, ENGINE_SERVER, frame, "forward: for a Sync that came before copy mode");
        return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
    }
    if (engine->login) {
        engine->login = false;
        (void)engine_event_add(engine, EVENT_READY);
    } else if (engine->ledger.count) {
        drop_unanswered(engine);
        struct ledger_entry *head = ledger_head(&engine->ledger);
        if (head && head->kind != LEDGER_SYNC && !head->answered) /* one more than was asked for */
            return misfit(engine, frame, sinks);
        swallow = head && head->disposition == LEDGER_SWALLOW;
        if (swallow)
            ask_reply(engine, head->extra, frame);
        else if (head && head->extra)
            reply_notices(engine, head->extra, sinks->client);
        if (head)
            end_head(engine);
    }
    note_ready(engine, status);
    if (!swallow)
        online_ready(engine, status, sinks);
    trace_message(engine, ENGINE_SERVER, frame, swallow ? "swallow" : "forward");
    return swallow ? engine_drop(engine, ENGINE_SERVER, frame)
                   : engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
}

/* ---- other replies ----------------------------------------------------------------------------------- */

static size_t parameter_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    const char *name;
    const char *value;
    if (!frame_whole(frame) && frame->total <= SMALL_MESSAGE)
        return engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, frame->total);
    if (frame_whole(frame) &&
        message_parameter_read(frame_payload(frame), frame_payload_length(frame), &name, &value))
        login_parameter(engine, name, value);
    trace_message(engine, ENGINE_SERVER, frame, "forward");
    return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
}

/* Does the last of the messages that are to be answered bring a ReadyForQuery? */
static bool ends_in_ready(struct engine *engine)
{
    uint32_t last = engine->ledger.count - 1;
    while (last && ledger_at(&engine->ledger, last)->kind == LEDGER_COPY_END)
        last--;
    return ledger_gives_ready(ledger_at(&engine->ledger, last)->kind);
}

static void put_tag(const char *tag, struct sink *to_client)
{
    struct writer writer;
    writer_init(&writer, SMALL_MESSAGE);
    message_command_write(&writer, tag);
    if (writer_ok(&writer))
        sink_put_now(to_client, writer.bytes, writer.length);
    writer_release(&writer);
}

/* The success that the client awaits has become an error. */
static size_t complete_fails(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                             struct ledger_entry *head)
{
    struct writer writer;
    writer_init(&writer, SMALL_MESSAGE);
    bool done = reply_report(&writer, online_error(engine));
    if (done)
        sink_put_now(sinks->client, writer.bytes, writer.length);
    writer_release(&writer);
    if (!done)
        return engine_out_of_memory(engine, sinks);
    online_told(engine);
    trace_message(engine, ENGINE_SERVER, frame, "replace: the change was undone");
    return engine_drop(engine, ENGINE_SERVER, frame);
}

static void copy_begins(struct engine *engine, struct ledger_entry *head)
{
    uint32_t removed;
    engine->copy_in = ledger_copy_begins(&engine->ledger, &removed) == LEDGER_NOTHING;
    engine->copy_syncs = removed;
    head->copying = true;
    if (removed)
        engine->unsynced = !ends_in_ready(engine);
}

/* The reply ends a statement, or the entry. */
static void reply_ends(struct engine *engine, const struct frame *frame, struct ledger_entry *head,
                       bool whole_entry)
{
    const char *tag = "";
    struct extra *extra = head->extra;
    if (frame->type == SERVER_COMMAND_COMPLETE && frame_whole(frame) &&
        !message_command_read(frame_payload(frame), frame_payload_length(frame), &tag))
        tag = "";
    const struct rewritten *rewritten = online_at(extra, head->statements);
    if (rewritten)
        tag = rewritten->tag;
    if (engine->online && frame->type == SERVER_COMMAND_COMPLETE)
        online_tag(engine, tag);
    if (frame->type == SERVER_COMMAND_COMPLETE || frame->type == SERVER_EMPTY_QUERY)
        trail_statement(engine, extra, head->statements, tag);
    head->statements++;
    head->answered = true;
    if (head->copying && frame->type == SERVER_COMMAND_COMPLETE) {
        head->copying = false;
        copy_ends(engine);
    }
    if (!whole_entry)
        return;
    if (extra && extra->change && engine->prepared)
        prepared_settle(engine->prepared);
    if (extra && head->kind == LEDGER_PARSE)
        trail_forgotten(engine, extra);
    end_head(engine);
}

/* A reply to the head entry, where more than its type counts. */
static size_t reply_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                            struct ledger_entry *head, enum ledger_effect effect)
{
    struct extra *extra = head->extra;
    bool swallow = head->disposition == LEDGER_SWALLOW;
    bool tag = frame->type == SERVER_COMMAND_COMPLETE && (trail_open(engine) || engine->online || extra);
    const struct rewritten *rewritten =
        frame->type == SERVER_COMMAND_COMPLETE ? online_at(extra, head->statements) : NULL;
    if (head->disposition == LEDGER_REPLACE)
        return misfit(engine, frame, sinks);
    if ((tag || swallow) && !frame_whole(frame) &&
        frame->total <= (swallow ? ENGINE_ANSWER_MAX : SMALL_MESSAGE))
        return engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, frame->total);
    if (online_holds(engine, frame, head))
        return 0;
    if (extra && extra->n_notices && !swallow)
        reply_notices(engine, extra, sinks->client);
    size_t failed = 0;
    if (frame->type == SERVER_COMMAND_COMPLETE && online_error(engine) && !swallow)
        failed = complete_fails(engine, frame, sinks, head);
    else if (rewritten)
        put_tag(rewritten->tag, sinks->client);
    bool replaced = failed || rewritten;
    if (swallow)
        ask_reply(engine, extra, frame);
    trace_message(engine, ENGINE_SERVER, frame, swallow ? "swallow" : "forward");
    note_doubt(engine, head, false);
    if (effect == LEDGER_COPY)
        copy_begins(engine, head);
    else if (effect == LEDGER_COUNT || effect == LEDGER_END)
        reply_ends(engine, frame, head, effect == LEDGER_END);
    return swallow || replaced ? engine_drop(engine, ENGINE_SERVER, frame)
                               : engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
}

static size_t other_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    if (frame->type == SERVER_BACKEND_KEY && engine->login) {
        if (!frame_whole(frame) && frame->total <= SMALL_MESSAGE)
            return engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, frame->total);
        online_key(engine, frame);
    }
    struct ledger_entry *head = ledger_head(&engine->ledger);
    enum ledger_effect effect = head ? ledger_effect(head->kind, frame->type) : LEDGER_MISFIT;
    if (effect == LEDGER_MISFIT) {
        trace_message(engine, ENGINE_SERVER, frame, engine->login ? "forward" : "forward: not asked for");
        return misfit(engine, frame, sinks);
    }
    if (effect == LEDGER_PART && !head->extra && head->disposition == LEDGER_FORWARD && !engine->trace)
        return engine_pass(engine, ENGINE_SERVER, frame, sinks->client); /* rows */
    return reply_message(engine, frame, sinks, head, effect);
}

/* With client_min_messages low enough the server speaks of our question as well. A WARNING may be about the
 * server itself. */
static size_t notice_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct ledger_entry *head = ledger_head(&engine->ledger);
    struct message_error notice;
    if (!frame_whole(frame) && frame->total <= SMALL_MESSAGE)
        return engine_hold(engine, ENGINE_SERVER, WAIT_BYTES, frame->total);
    if (online_number(engine, frame, head))
        return engine_drop(engine, ENGINE_SERVER, frame);
    if (online_reply(frame, head, sinks->client)) {
        trace_message(engine, ENGINE_SERVER, frame, "forward, as one of the author's text");
        return engine_drop(engine, ENGINE_SERVER, frame);
    }
    if (!head || head->disposition != LEDGER_SWALLOW) {
        trace_message(engine, ENGINE_SERVER, frame, "forward");
        return engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
    }
    bool warning = frame_whole(frame) &&
                   message_error_read(frame_payload(frame), frame_payload_length(frame), &notice) &&
                   notice.severity_plain && strcmp(notice.severity_plain, "WARNING") == 0;
    trace_message(engine, ENGINE_SERVER, frame, warning ? "forward" : "swallow");
    return warning ? engine_pass(engine, ENGINE_SERVER, frame, sinks->client)
                   : engine_drop(engine, ENGINE_SERVER, frame);
}

size_t server_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    size_t taken;
    switch (frame->type) {
    case SERVER_READY:
        taken = ready_message(engine, frame, sinks);
        break;
    case SERVER_ERROR:
        taken = error_message(engine, frame, sinks);
        break;
    case SERVER_PARAMETER_STATUS:
        taken = parameter_message(engine, frame, sinks);
        break;
    case SERVER_AUTHENTICATION:
        taken = login_authentication(engine, frame, sinks);
        break;
    case SERVER_NOTICE:
        taken = notice_message(engine, frame, sinks);
        break;
    case SERVER_NOTIFICATION:
        trace_message(engine, ENGINE_SERVER, frame, "forward");
        taken = engine_pass(engine, ENGINE_SERVER, frame, sinks->client);
        break;
    default:
        taken = other_message(engine, frame, sinks);
    }
    engine->counts.server_messages += taken != 0;
    return taken;
}

/*
 * The client's messages. Most cost a look at their type and an entry in the ledger. Names of statements and
 * portals are read only while there is one whose text matters.
 */
#include "proxy/session/engine_inside.h"

#include <talloc.h>

enum role {
    ROLE_STRANGE,  /* the server has to say what it thinks of it */
    ROLE_TEXT,     /* Query, Parse */
    ROLE_EXTENDED, /* Bind, Describe, Execute, Close */
    ROLE_FLUSH,
    ROLE_SYNC,
    ROLE_FUNCTION,
    ROLE_DATA,     /* CopyData */
    ROLE_DATA_END, /* CopyDone, CopyFail */
    ROLE_END,      /* Terminate */
    ROLE_COUNT
};

static const struct {
    uint8_t role, kind;
} messages[256] = {
    [CLIENT_QUERY] = {ROLE_TEXT, LEDGER_QUERY},
    [CLIENT_PARSE] = {ROLE_TEXT, LEDGER_PARSE},
    [CLIENT_BIND] = {ROLE_EXTENDED, LEDGER_BIND},
    [CLIENT_DESCRIBE] = {ROLE_EXTENDED, LEDGER_DESCRIBE},
    [CLIENT_EXECUTE] = {ROLE_EXTENDED, LEDGER_EXECUTE},
    [CLIENT_CLOSE] = {ROLE_EXTENDED, LEDGER_CLOSE},
    [CLIENT_FLUSH] = {ROLE_FLUSH, LEDGER_FLUSH},
    [CLIENT_SYNC] = {ROLE_SYNC, LEDGER_SYNC},
    [CLIENT_FUNCTION_CALL] = {ROLE_FUNCTION, LEDGER_FUNCTION},
    [CLIENT_COPY_DATA] = {ROLE_DATA, 0},
    [CLIENT_COPY_DONE] = {ROLE_DATA_END, LEDGER_COPY_END},
    [CLIENT_COPY_FAIL] = {ROLE_DATA_END, LEDGER_COPY_END},
    [CLIENT_TERMINATE] = {ROLE_END, 0},
};

struct ledger_entry *client_entry(struct engine *engine, enum ledger_kind kind,
                                  enum ledger_disposition disposition)
{
    struct ledger_entry *entry = ledger_push(&engine->ledger, kind, disposition);
    if (!entry || kind == LEDGER_COPY_END)
        return entry;
    bool giver = ledger_gives_ready((uint8_t)kind);
    if (engine->doubt == DOUBT_SKIP)
        engine->doubt = kind == LEDGER_SYNC ? DOUBT_CLEAN : DOUBT_DIRTY;
    if (kind != LEDGER_SYNC && kind != LEDGER_FLUSH)
        engine->copy_in = false; /* it will only be read once copy mode has ended */
    engine->flushed = false;
    engine->unsynced = !giver;
    engine->end_sent = engine->end_sent && !giver;
    engine->moment += giver || kind == LEDGER_EXECUTE;
    if (giver && engine->prepared)
        prepared_synced(engine->prepared);
    return entry;
}

/* In the extended query the server says nothing of a COPY's end before a Sync or a Flush. */
size_t client_await_copy(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    static const uint8_t flush[] = {CLIENT_FLUSH, 0, 0, 0, 4};
    if (!engine->flushed) {
        engine->flushed = true;
        sink_put_now(sinks->server, flush, sizeof flush);
        trace_note(engine, "a Flush of our own goes out");
    }
    return engine_hold(engine, ENGINE_CLIENT, WAIT_COPY, frame->total);
}

static size_t pass_with_entry(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                              enum ledger_kind kind)
{
    if (!client_entry(engine, kind, LEDGER_FORWARD))
        return engine_out_of_memory(engine, sinks);
    trace_message(engine, ENGINE_CLIENT, frame, NULL);
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

static size_t pass_alone(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                         const char *decision)
{
    trace_message(engine, ENGINE_CLIENT, frame, decision);
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

/* ---- names that matter ------------------------------------------------------------------------------- */

/* Put a change of what a name means behind the entry that is about to be made. */
static bool name_change(struct engine *engine, bool portal, const struct prepared_name *name,
                        struct prepared_text *text, enum prepared_change *change)
{
    *change = prepared_set(engine->prepared, portal, name, text, engine->ledger.givers_pushed);
    return *change != PREPARED_FULL;
}

static size_t pass_with_change(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                               enum ledger_kind kind, enum prepared_change change)
{
    struct ledger_entry *entry = client_entry(engine, kind, LEDGER_FORWARD);
    if (!entry)
        return engine_out_of_memory(engine, sinks);
    if (change == PREPARED_CHANGED) {
        struct extra *extra = engine_extra(entry);
        if (!extra)
            return engine_out_of_memory(engine, sinks);
        extra->change = true;
    }
    return pass_alone(engine, frame, sinks, change == PREPARED_CHANGED ? "name followed" : NULL);
}

static size_t bind_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    size_t there = frame_whole(frame) ? frame->total : frame->have;
    struct reader reader = reader_of(frame_payload(frame), there - FRAME_HEADER);
    size_t portal_length;
    size_t statement_length;
    const char *portal = reader_string(&reader, &portal_length);
    const char *statement = reader_string(&reader, &statement_length);
    if (!statement && !frame_whole(frame) && there < SMALL_MESSAGE)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_BYTES,
                           frame->total < SMALL_MESSAGE ? frame->total : SMALL_MESSAGE);
    if (!statement && !frame_whole(frame))
        return engine_cut(engine, sinks, "08P01",
                          "pgsluice: the names in a Bind message are longer than 64 kB", NULL,
                          "names too long to read in a Bind");
    if (!statement) /* the server will refuse the message */
        return pass_with_entry(engine, frame, sinks, LEDGER_BIND);
    struct prepared_name from = prepared_name(statement, statement_length);
    struct prepared_name to = prepared_name(portal, portal_length);
    enum prepared_change change;
    if (!name_change(engine, true, &to, prepared_find(engine->prepared, false, &from), &change))
        return refuse(engine, frame, sinks, LEDGER_BIND, "too many portals of schema changes are open",
                      "Close some, or end the transaction.");
    return pass_with_change(engine, frame, sinks, LEDGER_BIND, change);
}

static size_t close_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct message_target target;
    if (!message_target_read(frame_payload(frame), frame_payload_length(frame), &target))
        return pass_with_entry(engine, frame, sinks, LEDGER_CLOSE);
    struct prepared_name name = prepared_name(target.name, target.name_length);
    enum prepared_change change;
    if (!name_change(engine, target.kind == 'P', &name, NULL, &change))
        return engine_out_of_memory(engine, sinks);
    return pass_with_change(engine, frame, sinks, LEDGER_CLOSE, change);
}

/* A transaction command that was prepared. */
static size_t execute_word(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                           const struct prepared_text *text)
{
    struct word word = {WORD_NONE, 0, {{0}}};
    if (text && trail_open(engine))
        word.command = execution_word(engine, text->sql, text->length, &word.name);
    if (word.command == WORD_NONE)
        return pass_with_entry(engine, frame, sinks, LEDGER_EXECUTE);
    struct ledger_entry *entry = client_entry(engine, LEDGER_EXECUTE, LEDGER_FORWARD);
    struct extra *extra = entry ? engine_extra(entry) : NULL;
    if (!extra || !(extra->words = talloc_memdup(extra, &word, sizeof word)))
        return engine_out_of_memory(engine, sinks);
    extra->n_words = 1;
    return pass_alone(engine, frame, sinks, "transaction command");
}

static size_t execute_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct message_execute execute;
    if (!message_execute_read(frame_payload(frame), frame_payload_length(frame), &execute))
        return pass_with_entry(engine, frame, sinks, LEDGER_EXECUTE);
    struct prepared_name name = prepared_name(execute.portal, execute.portal_length);
    struct prepared_text *named = prepared_find(engine->prepared, true, &name);
    struct execution execution = {.text = named};
    bool failed = engine->status == 'E' && engine_certain(engine);
    if (named && named->executes)
        execution = execution_of(engine, named->sql, named->length);
    struct prepared_text *text = execution.text ? execution.text : named;
    bool locks = text && text->locks && engine->doubt == DOUBT_NONE;
    bool judged = text && (text->judged || locks || (text->watched && watch_now(engine)));
    if (failed || !(judged || execution.unreadable))
        return execute_word(engine, frame, sinks, named);
    if (engine_copy_open(engine))
        return client_await_copy(engine, frame, sinks);
    if (!judged)
        return refuse_unreadable(engine, frame, sinks, LEDGER_EXECUTE);
    engine->need[ENGINE_CLIENT] = (uint32_t)frame->total;
    return judge_execute(engine, text, text != named, sinks);
}

static size_t extended_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    enum ledger_kind kind = messages[frame->type].kind;
    if (!engine->prepared || kind == LEDGER_DESCRIBE)
        return pass_with_entry(engine, frame, sinks, kind);
    if (prepared_must_wait(engine->prepared))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_PREPARED, FRAME_HEADER);
    if (kind == LEDGER_BIND)
        return bind_message(engine, frame, sinks);
    if (!frame_whole(frame) && frame->total <= SMALL_MESSAGE)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_BYTES, frame->total);
    if (!frame_whole(frame)) /* only a server before 14 takes such a name */
        return engine_cut(engine, sinks, "08P01", "pgsluice: the name in a message is longer than 64 kB",
                          NULL, "name too long to read");
    return kind == LEDGER_CLOSE ? close_message(engine, frame, sinks) : execute_message(engine, frame, sinks);
}

/* ---- the rest ---------------------------------------------------------------------------------------- */

static size_t sync_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    if (engine->copy_in) {
        engine->copy_syncs++;
        return pass_alone(engine, frame, sinks, "in copy mode: no reply");
    }
    engine->skipping = engine->dropping = false;
    return pass_with_entry(engine, frame, sinks, LEDGER_SYNC);
}

static size_t data_end_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    if (engine->copy_in || engine->ledger.count == 0) {
        engine->copy_in = false;
        return pass_alone(engine, frame, sinks, NULL);
    }
    return pass_with_entry(engine, frame, sinks, LEDGER_COPY_END);
}

static size_t flush_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    if (frame->total == FRAME_HEADER || engine->copy_in)
        return pass_alone(engine, frame, sinks, NULL);
    return pass_with_entry(engine, frame, sinks, LEDGER_FLUSH); /* the server can't read it */
}

static size_t dispatch(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    switch ((enum role)messages[frame->type].role) {
    case ROLE_TEXT:
        return text_message(engine, frame, sinks);
    case ROLE_EXTENDED:
        return extended_message(engine, frame, sinks);
    case ROLE_FLUSH:
        return flush_message(engine, frame, sinks);
    case ROLE_SYNC:
        return sync_message(engine, frame, sinks);
    case ROLE_FUNCTION:
        return pass_with_entry(engine, frame, sinks, LEDGER_FUNCTION);
    case ROLE_DATA_END:
        return data_end_message(engine, frame, sinks);
    case ROLE_DATA:
    case ROLE_END:
    case ROLE_STRANGE:
    case ROLE_COUNT:
        break;
    }
    return pass_alone(engine, frame, sinks, NULL);
}

/* The server ignores it, or would if it knew of the error that the client was told. */
static size_t skip_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    enum role role = messages[frame->type].role;
    if (!engine->dropping || role == ROLE_STRANGE || role == ROLE_END)
        return pass_alone(engine, frame, sinks, "ignored by the server until Sync");
    trace_message(engine, ENGINE_CLIENT, frame, "ignored until Sync");
    return engine_drop(engine, ENGINE_CLIENT, frame);
}

/* Copied data belong to what is under way; a Terminate is no statement. */
static bool waits_for_change(uint8_t type)
{
    enum role role = messages[type].role;
    return role == ROLE_TEXT || role == ROLE_EXTENDED || role == ROLE_SYNC || role == ROLE_FUNCTION;
}

size_t client_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    size_t taken;
    if (engine->held) /* this is its message, whatever has happened since */
        taken = held_resolve(engine, frame, sinks);
    else if (engine->login)
        taken = login_client(engine, frame, sinks);
    else if (engine->skipping && frame->type != CLIENT_SYNC)
        taken = skip_message(engine, frame, sinks);
    else if ((engine->prepared || engine->names_lost) && engine_lost_count(engine) &&
             frame->type != CLIENT_SYNC)
        taken = engine_cut_in_doubt(engine, sinks); /* a name might no longer be followed */
    else if (online_waits(engine) && waits_for_change(frame->type))
        taken = engine_hold(engine, ENGINE_CLIENT, WAIT_CHANGE, FRAME_HEADER);
    else if (ledger_full(&engine->ledger) && engine->doubt == DOUBT_DIRTY)
        taken = engine_cut_in_doubt(engine, sinks); /* what is owed by no one would be awaited for ever */
    else if (ledger_full(&engine->ledger))
        taken = engine_hold(engine, ENGINE_CLIENT, WAIT_LEDGER, FRAME_HEADER);
    else
        taken = dispatch(engine, frame, sinks);
    engine->counts.client_messages += taken != 0;
    if (taken) {
        engine->may_hold_said = false;
        if (engine->ahead)
            ahead_free(engine);
    }
    return taken;
}

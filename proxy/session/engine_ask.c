/*
 * Questions inside the client's session (engine_ask.h). All entries of a question point to it; it is over
 * when the last of them ends.
 */
#include "proxy/session/engine_ask.h"

#include <talloc.h>

#include "proxy/session/engine_inside.h"

#define ASK_MAX ((size_t)1 << 20)

struct question {
    struct engine_question asked;
    bool failed; /* some of its messages never got an answer */
    bool synced; /* it ends in Sync */
};

static bool question_copy(struct question *question, const struct engine_question *from)
{
    const char **values = talloc_zero_array(question, const char *, from->n_values + 1U);
    question->asked = *from;
    question->asked.sql = talloc_strdup(question, from->sql);
    question->asked.values = values;
    if (!values || !question->asked.sql)
        return false;
    for (uint16_t i = 0; i < from->n_values; i++) {
        values[i] = from->values[i] ? talloc_strdup(question, from->values[i]) : NULL;
        if (from->values[i] && !values[i])
            return false;
    }
    return true;
}

/* A Query that follows extended messages without a Sync. From 17 on the server puts what comes behind the
 * first thing that is executed in a pipeline into a transaction block, which a Query's end does not commit.
 */
static bool ask_before_query(const struct engine *engine)
{
    return engine->held && engine->held->judge.occasion == JUDGE_QUERY && engine->unsynced;
}

bool engine_ask(struct engine *engine, const struct engine_question *asked)
{
    if (!engine->held || engine->held->answered || engine->question || engine_ended(engine) ||
        engine->skipping || engine->doubt != DOUBT_NONE || engine->copy_in || engine->long_text ||
        ask_before_query(engine) ||
        (engine->status == 'E' && (engine->unsynced || engine->ledger.count == 0)))
        return false;
    if (engine->question_faulty && (engine->unsynced || engine->status != 'I'))
        return false;
    struct question *question = talloc_zero(NULL, struct question);
    if (!question || !question_copy(question, asked)) {
        talloc_free(question);
        return false;
    }
    engine->question = question;
    return true;
}

/* One message of the question: its entry and its bytes. */
static struct ledger_entry *ask_entry(struct engine *engine, enum ledger_kind kind, struct question *question)
{
    struct ledger_entry *entry = ledger_push(&engine->ledger, kind, LEDGER_SWALLOW);
    struct extra *extra = entry ? engine_extra(entry) : NULL;
    if (extra)
        extra->question = question;
    return extra ? entry : NULL;
}

static bool ask_write(struct engine *engine, struct question *question, struct writer *writer)
{
    static const enum ledger_kind kinds[] = {LEDGER_CLOSE,   LEDGER_PARSE, LEDGER_BIND,
                                             LEDGER_EXECUTE, LEDGER_CLOSE, LEDGER_CLOSE};
    const struct engine_question *asked = &question->asked;
    const char *name = engine->options.question_name ? engine->options.question_name : "pgsluice_question";
    if (engine->question_left)
        message_target_write(writer, CLIENT_CLOSE, 'S', name);
    message_parse_write(writer, name, asked->sql, strlen(asked->sql), NULL, 0);
    message_bind_write(writer, name, name, asked->values, asked->n_values);
    message_execute_write(writer, name, 0);
    message_target_write(writer, CLIENT_CLOSE, 'P', name);
    message_target_write(writer, CLIENT_CLOSE, 'S', name);
    message_plain_write(writer, question->synced ? CLIENT_SYNC : CLIENT_FLUSH);
    size_t n = sizeof kinds / sizeof kinds[0];
    bool done = writer_ok(writer);
    for (size_t i = !engine->question_left; i < n && done; i++)
        done = ask_entry(engine, kinds[i], question) != NULL;
    if (done && question->synced)
        done = ask_entry(engine, LEDGER_SYNC, question) != NULL;
    engine->question_left = false;
    return done;
}

bool ask_waits(const struct engine *engine)
{
    return !engine->unsynced && engine->ledger.count > 0 && !engine->copy_in && !engine_lost_count(engine);
}

/* Can it be asked now? What has happened since engine_ask may have changed that. */
static bool ask_possible(const struct engine *engine)
{
    return !engine->skipping && !engine->copy_in && !engine_lost_count(engine) && !ask_before_query(engine) &&
           engine->ledger.count + 8 <= LEDGER_MAX && (engine->unsynced || engine->status != 'E');
}

size_t ask_put(struct engine *engine, const struct sinks *sinks)
{
    struct question *question = engine->question;
    struct writer writer;
    if (ask_waits(engine))
        return 0;
    if (!ask_possible(engine)) {
        engine->question = NULL;
        question->failed = true;
        ask_over(engine, question);
        return 0;
    }
    writer_init(&writer, ASK_MAX);
    engine->question = NULL;
    question->synced = !engine->unsynced;
    if (!ask_write(engine, question, &writer)) {
        writer_release(&writer);
        return engine_out_of_memory(engine, sinks);
    }
    sink_put_now(sinks->server, writer.bytes, writer.length);
    writer_release(&writer);
    trace_note(engine, "a question of our own goes out");
    return 0;
}

void ask_reply(struct engine *engine, struct extra *extra, const struct frame *frame)
{
    const struct question *question = extra ? extra->question : NULL;
    if (question && frame_whole(frame))
        question->asked.reply(question->asked.argument, frame->type, frame_payload(frame),
                              frame_payload_length(frame));
}

/* Does the error speak of the question, not of what goes on in the server? */
static bool ask_fault(const char *sqlstate)
{
    static const char *const classes[] = {"0A", "21", "22", "42", "54", "XX"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strncmp(sqlstate, classes[i], 2) == 0)
            return true;
    return false;
}

bool ask_failed(struct engine *engine, struct extra *extra)
{
    struct question *question = extra ? extra->question : NULL;
    bool fault = ask_fault(engine->error);
    bool harmless = question && question->synced && engine->status == 'I' && fault;
    if (!harmless && engine->held && question && question->synced)
        engine->held->failed = true;
    engine->question_left = true;
    engine->question_faulty = engine->question_faulty || fault;
    ask_unanswered(question);
    return harmless;
}

void ask_unanswered(struct question *question)
{
    if (question)
        question->failed = true;
}

/* Every entry of a question ends through here; the last one ends the question. */
void ask_over(struct engine *engine, struct question *question)
{
    for (uint32_t i = 0; i < engine->ledger.count; i++) {
        const struct extra *extra = ledger_at(&engine->ledger, i)->extra;
        if (extra && extra->question == question)
            return;
    }
    void (*over)(void *, bool) = question->asked.over;
    void *argument = question->asked.argument;
    bool answered = !question->failed;
    talloc_free(question);
    over(argument, answered);
}

bool engine_ended(const struct engine *engine)
{
    return engine->cut || engine->closed;
}

/*
 * SQL texts. A text is read by the gate as the server will read it (engine_find.c); where nothing in it has
 * to be judged the message goes on with no more ado.
 *
 * How a text reads depends on standard_conforming_strings and client_encoding. The server reports their
 * changes no later than with ReadyForQuery, so while a reply is owed (or extended messages were sent without
 * a Sync) a text that could read differently is read in every way it could: if no reading holds anything to
 * be judged, it goes on; if all hold the same, it is judged; else it waits until the setting is certain, and
 * where that can't be awaited (inside a pipeline) the judge is told that it is uncertain. A text of more than
 * READ_ALL_MAX is read with both values of standard_conforming_strings, and a byte of 0x80 or above in front
 * of one of \ ; _ [ ] makes it uncertain: inside a pipeline it is refused then.
 */
#include "proxy/session/engine_find.h"

#include <strings.h>
#include <talloc.h>

#define STATEMENTS_MAX 10000U /* to be judged, of one message; more are refused like a message too long */
#define WATCHED_MAX    200U   /* others of a message that are shown; those behind go on unseen */
#define RUNS_MAX       1000U  /* prepared changes that are executed by one message */
#define SHOWN_MAX      100U   /* of such a message: the first of them go on record */

/* ---- judging ----------------------------------------------------------------------------------------- */

static bool held_add_word(struct held *held, const struct word *word)
{
    if (held->n_words == COMMANDS_MAX)
        return true;
    if (!held->words)
        held->words = talloc_array(held, struct word, COMMANDS_MAX);
    if (!held->words)
        return false;
    held->words[held->n_words++] = *word;
    return true;
}

/* How far a message has been walked through. */
struct passage {
    bool screened;      /* it names a column in quarantine */
    bool altered;       /* an ALTER stands in front */
    bool watched;       /* its beginning is in the transaction that is watched */
    bool judged;        /* a judged statement, or a LOCK, stands in front, in the same transaction */
    unsigned ends;      /* statements that may end a transaction, so far */
    unsigned watched_n; /* shown though they need not be judged… */
    unsigned most; /* …and how many may be: none may pass unseen where a column is not to be spoken of */
};

/* Is a statement that need not be judged shown? */
static bool shown(struct passage *passage, enum gate_class class, const char *start, size_t length)
{
    bool watched = ((passage->watched && passage->ends == 0) || passage->altered || passage->screened) &&
                   watch_shows(start, length);
    bool locks = class == GATE_OTHER && watch_locks(start, length);
    if (class != GATE_OTHER || passage->watched_n == passage->most ||
        (!watched && !locks && !(passage->judged && watch_work(start, length))))
        return false;
    passage->judged = passage->judged || locks;
    passage->watched_n++;
    return true;
}

static bool held_add_statement(struct held *held, const struct text *text,
                               const struct gate_statement *statement, unsigned ends)
{
    size_t n = held->judge.n_statements;
    const char *start = text->sql + statement->start;
    size_t length = (size_t)(statement->end - statement->start);
    bool judged = gate_class_judged(statement->class);
    bool locks = !judged && watch_locks(start, length);
    held->only_watched = held->only_watched && !judged;
    held->locks = held->locks || locks;
    if (n == STATEMENTS_MAX) {
        held->judge.too_long = true;
        held->judge.n_statements = SHOWN_MAX;
    }
    if (held->judge.too_long)
        return true;
    if ((n & (n - 1)) == 0) { /* room for 1, 2, 4, … */
        size_t room = n ? n * 2 : 1;
        held->statements = talloc_realloc(held, held->statements, struct engine_statement, room);
        held->indices = talloc_realloc(held, held->indices, unsigned, room);
        if (!held->statements || !held->indices)
            return false;
    }
    held->statements[n] = (struct engine_statement){.text = start,
                                                    .length = length,
                                                    .offset = statement->start,
                                                    .class = statement->class,
                                                    .index = statement->index,
                                                    .ends = ends,
                                                    .work = !judged && watch_work(start, length),
                                                    .locks = locks};
    held->indices[n] = statement->index;
    held->judge.n_statements++;
    return true;
}

static bool held_add(struct engine *engine, const struct text *text, const struct gate_statement *statement,
                     struct passage *passage)
{
    struct held *held = engine->held;
    const char *start = text->sql + statement->start;
    size_t length = (size_t)(statement->end - statement->start);
    bool judged = gate_class_judged(statement->class);
    bool end = statement->class == GATE_TRANSACTION_END;
    struct execution execution = {.is = false};
    if (engine->prepared && held->judge.occasion == JUDGE_QUERY && statement->class == GATE_OTHER)
        execution = execution_of(engine, start, length);
    if (execution.text && execution.text->judged) {
        held->only_watched = false;
        return held_add_run(held, execution.text, statement->index);
    }
    passage->ends += end;
    passage->judged = judged || (passage->judged && !end);
    /* Where changes can be carried out online, what is behind the end of their transaction in the same
     * message would find the column unfilled. */
    passage->altered = (passage->altered && !(end && !engine->screen)) ||
                       (judged && length > 5 && strncasecmp(start, "alter", 5) == 0);
    if (judged || shown(passage, statement->class, start, length))
        return held_add_statement(held, text, statement, passage->ends);
    struct word word = {.index = statement->index};
    word.command = execution_word(engine, start, length, &word.name);
    return word.command == WORD_NONE || held_add_word(held, &word);
}

/* Does it name a column in quarantine? */
static bool screened(const struct engine *engine, const struct text *text)
{
    const struct engine_options *options = &engine->options;
    return engine->screen && options->screen && options->screen(options->argument, text->sql, text->length);
}

static size_t judge_text(struct engine *engine, const struct frame *frame, const struct text *text,
                         bool uncertain, const struct sinks *sinks)
{
    struct held *held = held_new(engine, frame->type == CLIENT_PARSE ? JUDGE_PARSE : JUDGE_QUERY);
    if (!held)
        return engine_out_of_memory(engine, sinks);
    struct walk walk;
    struct gate_statement statement;
    held->judge.screened = text->screened;
    struct passage passage = {.watched = held->judge.watched,
                              .screened = held->judge.screened || online_open(engine),
                              .most = engine->screen ? STATEMENTS_MAX : WATCHED_MAX};
    held->only_watched = true;
    walk_begin(&walk, engine);
    while (walk_next(&walk, text, &statement)) {
        if (!held_add(engine, text, &statement, &passage))
            return engine_out_of_memory(engine, sinks);
    }
    held->judge.sql = text->sql;
    held->judge.sql_length = text->length;
    held->judge.uncertain = uncertain;
    engine->need[ENGINE_CLIENT] = (uint32_t)frame->total;
    if (held->judge.n_statements)
        return held_tell(engine, held);
    (void)held_next_run(engine);
    return 0;
}

/* ---- passing ----------------------------------------------------------------------------------------- */

static bool collect_words(struct engine *engine, const struct text *text, struct extra *extra)
{
    struct walk walk;
    struct gate_statement statement;
    extra->words = talloc_array(extra, struct word, COMMANDS_MAX);
    if (!extra->words)
        return false;
    walk_begin(&walk, engine);
    while (extra->n_words < COMMANDS_MAX && walk_next(&walk, text, &statement)) {
        struct word word = {.index = statement.index};
        word.command = execution_word(engine, text->sql + statement.start,
                                      (size_t)(statement.end - statement.start), &word.name);
        if (word.command != WORD_NONE)
            extra->words[extra->n_words++] = word;
    }
    return true;
}

/* SAVEPOINT, RELEASE, ROLLBACK TO: an audited transaction may be led through it later. (A ROLLBACK of all is
 * told by its tag.) */
static bool text_commands(const struct engine *engine, const char *sql, size_t length)
{
    struct prepared_name name;
    enum word_command word = word_of(sql, length, &name);
    return word != WORD_NONE && word != WORD_ROLLBACK &&
           (!engine->prepared || prepared_count(engine->prepared) < PREPARED_COMMANDS);
}

enum prepared_change text_name(struct engine *engine, const struct prepared_name *name, const char *sql,
                               size_t length, const struct held *held)
{
    struct prepared_name word;
    uint32_t segment = engine->ledger.givers_pushed;
    bool executes = !held && word_execute(sql, length, &word) != EXECUTION_NONE;
    if (!held && !executes && !text_commands(engine, sql, length))
        return engine->prepared ? prepared_set(engine->prepared, false, name, NULL, segment)
                                : PREPARED_NOTHING;
    if (!engine->prepared)
        engine->prepared = prepared_new();
    struct prepared_text *copy = engine->prepared ? prepared_text_new(sql, length) : NULL;
    if (!copy)
        return PREPARED_FULL;
    copy->judged = held && !held->only_watched;
    copy->watched = held && held->only_watched;
    copy->locks = held && held->locks;
    copy->executes = executes || (copy->watched && word_execute(sql, length, &word) != EXECUTION_NONE);
    copy->too_long = held && held->judge.too_long;
    copy->scs = engine->scs;
    memcpy(copy->encoding, engine->client_encoding, sizeof copy->encoding);
    if (held && held->sql && held->n_rewritten) {
        copy->rewritten = true;
        copy->change = held->rewritten[0].change;
        snprintf(copy->tag, sizeof copy->tag, "%s", held->rewritten[0].tag);
    }
    enum prepared_change change = prepared_set(engine->prepared, false, name, copy, segment);
    if (change == PREPARED_FULL && !copy->judged && !copy->executes)
        change = prepared_set(engine->prepared, false, name, NULL, segment);
    prepared_text_release(copy);
    return change;
}

size_t text_pass(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                 struct held *held)
{
    struct text text = text_of(frame);
    bool parse = frame->type == CLIENT_PARSE;
    enum prepared_change change =
        parse ? text_name(engine, &text.name, text.sql, text.length, held) : PREPARED_NOTHING;
    if (change == PREPARED_FULL)
        return refuse(engine, frame, sinks, LEDGER_PARSE,
                      "too many schema changes are prepared in this session",
                      "Deallocate some, or send schema changes without preparing them.");
    struct ledger_entry *entry = client_entry(engine, parse ? LEDGER_PARSE : LEDGER_QUERY, LEDGER_FORWARD);
    if (!entry)
        return engine_out_of_memory(engine, sinks);
    bool words = !parse && !held && trail_open(engine);
    struct extra *extra = words || held || change == PREPARED_CHANGED ? engine_extra(entry) : NULL;
    if (extra)
        extra->change = change == PREPARED_CHANGED;
    if ((words && (!extra || !collect_words(engine, &text, extra))) ||
        (held && !extra_of_held(engine, entry, held)) || (change == PREPARED_CHANGED && !extra))
        return engine_out_of_memory(engine, sinks);
    if (held && held->sql) {
        /* Nobody is to wait in the dark: where nothing else is owed, what is to be said is said now. */
        if (engine->ledger.count == 1 && engine_between_messages(engine))
            reply_notices(engine, extra, sinks->client);
        size_t taken = online_put(engine, frame, sinks, held);
        return taken ? taken : engine_out_of_memory(engine, sinks);
    }
    trace_message(engine, ENGINE_CLIENT, frame, held ? "judged: forward" : NULL);
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

/* Nothing to follow, nothing to judge: the common case. */
static size_t text_pass_plain(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    if (!client_entry(engine, frame->type == CLIENT_PARSE ? LEDGER_PARSE : LEDGER_QUERY, LEDGER_FORWARD))
        return engine_out_of_memory(engine, sinks);
    trace_message(engine, ENGINE_CLIENT, frame, NULL);
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

/* The message has to be judged, or can't be. */
static size_t text_judged(struct engine *engine, const struct frame *frame, const struct text *text,
                          const struct findings *now, bool same, const struct sinks *sinks)
{
    if (engine_lost_count(engine))
        return engine_cut_in_doubt(engine, sinks);
    if (engine_copy_open(engine))
        return client_await_copy(engine, frame, sinks);
    if (now->unreadable)
        return refuse_unreadable(engine, frame, sinks, LEDGER_QUERY);
    if (now->runs > RUNS_MAX)
        return refuse(engine, frame, sinks, LEDGER_QUERY,
                      "too many prepared schema changes are executed by one message",
                      "Send them in several messages.");
    return judge_text(engine, frame, text, !same, sinks);
}

static size_t text_whole(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct text text = text_of(frame);
    struct findings now;
    bool certain = engine_certain(engine);
    bool same = true;
    if (watch_waits(engine))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, frame->total);
    struct looking looking = find_looking(engine, frame);
    text.screened = screened(engine, &text);
    looking.screen = online_open(engine) || text.screened;
    find(engine, &text, looking, &now);
    if (now.executes && prepared_must_wait(engine->prepared) && !engine_lost_count(engine))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_PREPARED, frame->total);
    bool judged = now.judged;
    /* A reply that was not counted would be awaited for ever. */
    bool waits = engine->ledger.count && !engine->unsynced && !engine->copy_in && !engine_lost_count(engine);
    if (now.doubtful && !certain && waits && text.length > READ_ALL_MAX)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, frame->total);
    if (now.doubtful && !certain)
        find_all(engine, &text, looking, &now, &judged, &same);
    if (!same && waits)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, frame->total);
    if (judged && !(engine->status == 'E' && certain && !now.end_first))
        return text_judged(engine, frame, &text, &now, same, sinks);
    if (now.shown && engine->status != 'E' && !engine_lost_count(engine) && !engine_copy_open(engine))
        return judge_text(engine, frame, &text, false, sinks);
    engine->end_sent = engine->end_sent || (engine->watch && now.ends);
    engine->counts.statements += now.statements;
    if (now.words || (frame->type == CLIENT_PARSE && engine->prepared))
        return text_pass(engine, frame, sinks, NULL);
    return text_pass_plain(engine, frame, sinks);
}

size_t text_message(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    const struct engine_options *options = &engine->options;
    if (frame->type == CLIENT_PARSE && engine->prepared && prepared_must_wait(engine->prepared))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_PREPARED, FRAME_HEADER);
    if (frame->total > options->held_message)
        return long_begin(engine, frame, sinks);
    if (frame_whole(frame))
        return text_whole(engine, frame, sinks);
    if (!engine->may_hold_said && options->may_hold && !options->may_hold(options->argument, frame->total))
        return long_begin(engine, frame, sinks);
    engine->may_hold_said = true;
    return engine_hold(engine, ENGINE_CLIENT, WAIT_BYTES, find_ahead(engine, frame));
}

/*
 * SQL texts. A text is read by the gate as the server will read it, in place and in one go; where nothing in
 * it has to be judged the message goes on with no more ado.
 *
 * How a text reads depends on standard_conforming_strings and client_encoding. The server reports their
 * changes no later than with ReadyForQuery, so while a reply is owed (or extended messages were sent without
 * a Sync) a text that could read differently is read in every way it could: if no reading holds anything to
 * be judged, it goes on; if all hold the same, it is judged; else it waits until the setting is certain, and
 * where that can't be awaited (inside a pipeline) the judge is told that it is uncertain.
 */
#include "proxy/session/engine_inside.h"

#include <talloc.h>

#define STATEMENTS_MAX 10000U /* to be judged, of one message; more are refused like a message too long */
#define WATCHED_MAX    200U   /* others of a message that are shown; those behind go on unseen */
#define SHOWN_MAX      100U   /* of such a message: the first of them go on record */

struct text {
    const char *sql;
    size_t length;
    struct prepared_name name; /* of a Parse */
};

struct reading {
    bool scs;
    enum text_encoding encoding;
};

/* What is looked for besides what has to be judged. */
struct looking {
    bool words, watch;
};

struct findings {
    unsigned statements;
    bool judged;    /* a statement has to be judged */
    bool end_first; /* in front of it stands one that can leave a failed transaction */
    bool ends;      /* …and one stands anywhere */
    bool shown;     /* one that is not judged, to be shown while something is watched */
    bool words;     /* a transaction command that an audited transaction is followed through */
    bool doubtful;  /* might read differently under other settings */
    uint64_t hash;  /* of the places and classes of those to be judged */
};

static struct text text_of(const struct frame *frame)
{
    const char *payload = (const char *)frame_payload(frame);
    size_t n = frame_payload_length(frame);
    struct text text = {.sql = payload, .length = n};
    if (frame->type == CLIENT_PARSE) {
        const char *nul = n ? memchr(payload, 0, n) : NULL;
        size_t name = nul ? (size_t)(nul - payload) : n;
        text.name = prepared_name(payload, name);
        text.sql = payload + name + (nul ? 1 : 0);
        text.length = n - name - (nul ? 1 : 0);
        nul = text.length ? memchr(text.sql, 0, text.length) : NULL;
        text.length = nul ? (size_t)(nul - text.sql) : text.length;
    } else if (n && payload[n - 1] == 0) {
        text.length--;
    }
    return text;
}

const char *text_sql(const struct frame *frame, size_t *length)
{
    struct text text = text_of(frame);
    *length = strnlen(text.sql, text.length);
    return text.sql;
}

struct walk {
    struct gate gate;
    bool ended;
};

static void walk_begin(struct walk *walk, struct reading reading)
{
    walk->ended = false;
    gate_init(&walk->gate, reading.scs, reading.encoding);
}

/* The next statement of the text, or false. */
static bool walk_next(struct walk *walk, const struct text *text, struct gate_statement *statement)
{
    struct gate *gate = &walk->gate;
    bool found = false;
    while (!found && gate->offset < text->length)
        (void)gate_scan(gate, (const uint8_t *)text->sql + gate->offset, text->length - (size_t)gate->offset,
                        statement, &found);
    if (found || walk->ended)
        return found;
    walk->ended = true;
    return gate_finish(gate, statement, NULL);
}

static void scan(const struct text *text, struct reading reading, struct looking looking,
                 struct findings *findings)
{
    struct walk walk;
    struct gate_statement statement;
    struct prepared_name name;
    *findings = (struct findings){0};
    walk_begin(&walk, reading);
    while (walk_next(&walk, text, &statement)) {
        findings->statements++;
        if (gate_class_judged(statement.class)) {
            findings->judged = true;
            findings->hash = (findings->hash ^ statement.start ^ statement.end << 32 ^ statement.class) *
                             0x9e3779b97f4a7c15U;
        } else if (statement.class == GATE_TRANSACTION_END) {
            findings->ends = true;
            findings->end_first = findings->end_first || !findings->judged;
        } else if (looking.watch && statement.class == GATE_OTHER && !findings->ends) {
            findings->shown = findings->shown || watch_shows(text->sql + statement.start,
                                                             (size_t)(statement.end - statement.start));
        }
        if (looking.words &&
            word_of(text->sql + statement.start, (size_t)(statement.end - statement.start), &name))
            findings->words = true;
    }
    findings->doubtful = walk.gate.backslash || walk.gate.high;
}

/*
 * Can the text's statements end elsewhere when it is read in another encoding? Only where a byte of 0x80 or
 * above is followed by one that ends a statement or escapes a quote: no encoding has '\'', '"', '$', '-', '/'
 * or '*' as the second half of a character, and a server refuses halves that do not fit. 0x81 0x5F is a
 * backslash in SHIFT_JIS_2004.
 */
static bool hangs_on_encoding(const struct text *text)
{
    for (size_t i = 0; i + 1 < text->length; i++)
        if ((uint8_t)text->sql[i] >= 0x80 && strchr("\\;_[]", text->sql[i + 1]))
            return true;
    return false;
}

/* Every way in which the text could be read. A loop has no time to read a long text in sixteen ways: where
 * that would be needed, it counts as unclear. */
static void scan_all(const struct engine *engine, const struct text *text, const struct findings *now,
                     bool *judged, bool *same)
{
    *judged = now->judged;
    *same = true;
    if (text->length > READ_ALL_MAX) {
        struct findings other;
        scan(text, (struct reading){!engine->scs, engine->text_encoding}, (struct looking){0}, &other);
        *same = other.judged == now->judged && other.hash == now->hash && !hangs_on_encoding(text);
        *judged = *judged || !*same;
        return;
    }
    for (int encoding = TEXT_ASCII_SAFE; encoding <= TEXT_SHIFT_JIS_2004; encoding++) {
        for (int scs = 0; scs <= 1; scs++) {
            struct findings other;
            scan(text, (struct reading){scs != 0, (enum text_encoding)encoding}, (struct looking){0}, &other);
            *judged = *judged || other.judged;
            *same = *same && other.judged == now->judged && other.hash == now->hash;
        }
    }
}

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
    bool watched;       /* its beginning is in the transaction that is watched */
    bool judged;        /* a judged statement stands in front, in the same transaction */
    unsigned ends;      /* statements that may end a transaction, so far */
    unsigned watched_n; /* shown though they need not be judged */
};

/* Is a statement that need not be judged shown? */
static bool shown(struct passage *passage, enum gate_class class, const char *start, size_t length)
{
    bool watched = passage->watched && passage->ends == 0 && watch_shows(start, length);
    if (class != GATE_OTHER || passage->watched_n == WATCHED_MAX ||
        (!watched && !(passage->judged && watch_work(start, length))))
        return false;
    passage->watched_n++;
    return true;
}

static bool held_add(struct held *held, const struct text *text, const struct gate_statement *statement,
                     struct passage *passage)
{
    size_t n = held->judge.n_statements;
    const char *start = text->sql + statement->start;
    size_t length = (size_t)(statement->end - statement->start);
    bool judged = gate_class_judged(statement->class);
    bool end = statement->class == GATE_TRANSACTION_END;
    passage->ends += end;
    passage->judged = judged || (passage->judged && !end);
    if (!judged && !shown(passage, statement->class, start, length)) {
        struct word word = {.index = statement->index};
        word.command = word_of(start, length, &word.name);
        return word.command == WORD_NONE || held_add_word(held, &word);
    }
    held->only_watched = held->only_watched && !judged;
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
                                                    .ends = passage->ends,
                                                    .work = !judged && watch_work(start, length)};
    held->indices[n] = statement->index;
    held->judge.n_statements++;
    return true;
}

static size_t judge_text(struct engine *engine, const struct frame *frame, const struct text *text,
                         bool uncertain, const struct sinks *sinks)
{
    struct held *held = held_new(engine, frame->type == CLIENT_PARSE ? JUDGE_PARSE : JUDGE_QUERY);
    if (!held)
        return engine_out_of_memory(engine, sinks);
    struct walk walk;
    struct gate_statement statement;
    struct passage passage = {.watched = held->judge.watched};
    held->only_watched = true;
    walk_begin(&walk, (struct reading){engine->scs, engine->text_encoding});
    while (walk_next(&walk, text, &statement)) {
        if (!held_add(held, text, &statement, &passage))
            return engine_out_of_memory(engine, sinks);
    }
    held->judge.sql = text->sql;
    held->judge.sql_length = text->length;
    held->judge.uncertain = uncertain;
    engine->need[ENGINE_CLIENT] = (uint32_t)frame->total;
    return held_tell(engine, held);
}

/* ---- passing ----------------------------------------------------------------------------------------- */

static bool collect_words(struct engine *engine, const struct text *text, struct extra *extra)
{
    struct walk walk;
    struct gate_statement statement;
    extra->words = talloc_array(extra, struct word, COMMANDS_MAX);
    if (!extra->words)
        return false;
    walk_begin(&walk, (struct reading){engine->scs, engine->text_encoding});
    while (extra->n_words < COMMANDS_MAX && walk_next(&walk, text, &statement)) {
        struct word word = {.index = statement.index};
        word.command =
            word_of(text->sql + statement.start, (size_t)(statement.end - statement.start), &word.name);
        if (word.command != WORD_NONE)
            extra->words[extra->n_words++] = word;
    }
    return true;
}

enum prepared_change text_name(struct engine *engine, const struct prepared_name *name, const char *sql,
                               size_t length, const struct held *held)
{
    struct prepared_name word;
    uint32_t segment = engine->ledger.givers_pushed;
    bool command = !held && trail_open(engine) && word_of(sql, length, &word) != WORD_NONE;
    if (!held && !command)
        return engine->prepared ? prepared_set(engine->prepared, false, name, NULL, segment)
                                : PREPARED_NOTHING;
    if (!engine->prepared)
        engine->prepared = prepared_new();
    struct prepared_text *copy = engine->prepared ? prepared_text_new(sql, length) : NULL;
    if (!copy)
        return PREPARED_FULL;
    copy->judged = held && !held->only_watched;
    copy->watched = held && held->only_watched;
    copy->too_long = held && held->judge.too_long;
    copy->scs = engine->scs;
    memcpy(copy->encoding, engine->client_encoding, sizeof copy->encoding);
    enum prepared_change change = prepared_set(engine->prepared, false, name, copy, segment);
    if (change == PREPARED_FULL && !copy->judged)
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

static size_t text_whole(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct text text = text_of(frame);
    struct findings now;
    bool certain = engine_certain(engine);
    bool same = true;
    if (watch_waits(engine))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, frame->total);
    struct looking looking = {.words = trail_open(engine), .watch = watch_now(engine)};
    scan(&text, (struct reading){engine->scs, engine->text_encoding}, looking, &now);
    bool judged = now.judged;
    /* A reply that was not counted would be awaited for ever. */
    bool waits = engine->ledger.count && !engine->unsynced && !engine->copy_in && !engine_lost_count(engine);
    if (now.doubtful && !certain && waits && text.length > READ_ALL_MAX)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, frame->total);
    if (now.doubtful && !certain)
        scan_all(engine, &text, &now, &judged, &same);
    if (!same && waits)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, frame->total);
    if (judged && !(engine->status == 'E' && certain && !now.end_first)) {
        if (engine_lost_count(engine))
            return engine_cut_in_doubt(engine, sinks);
        return engine_copy_open(engine) ? client_await_copy(engine, frame, sinks)
                                        : judge_text(engine, frame, &text, !same, sinks);
    }
    if (now.shown && engine->status != 'E')
        return judge_text(engine, frame, &text, false, sinks);
    engine->end_sent = engine->end_sent || (engine->watch && now.ends);
    if (engine->prepared && now.statements == 1 &&
        client_query_executes(engine, frame, text.sql, text.length, sinks))
        return 0;
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
    return engine_hold(engine, ENGINE_CLIENT, WAIT_BYTES, frame->total);
}

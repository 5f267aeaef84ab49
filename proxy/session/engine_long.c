/*
 * Messages too long to hold (or that may not be held): Query and Parse pass while they are scanned.
 *
 * Nothing goes on before it was scanned. What has to be judged and turns up within the first LONG_FIRST bytes
 * is put before the judge like any other, with only its head to show. If it turns up later, bytes of the
 * message have gone already: both legs are cut, so that the server never gets the end of the message and
 * executes nothing of it.
 */
#include "proxy/session/engine_inside.h"

#include <ctype.h>
#include <stdlib.h>
#include <talloc.h>

#define READINGS_MAX (2 * (TEXT_SHIFT_JIS_2004 + 1))

enum part { PART_NAME, PART_TEXT, PART_REST };

struct long_text {
    enum part part;
    bool failed; /* the transaction has failed for certain: only what may end it makes statements matter */
    bool judged; /* found */
    /* EXECUTE may run what has to be judged, and what it runs isn't known: its words are not held. */
    bool executes_matter;
    size_t name_length;
    struct prepared_name name;
    struct gate_statement first; /* the one that was found; end 0: still being read */
    uint64_t seen_end;           /* of the last statement that the first gate has seen whole */
    unsigned seen;
    unsigned n_gates;
    struct gate gates[];
};

void long_free(struct engine *engine)
{
    free(engine->long_text);
    engine->long_text = NULL;
}

/* Where the SQL text begins in what is there of the payload. */
static const char *text_start(const struct frame *frame, size_t there)
{
    const char *payload = (const char *)frame_payload(frame);
    if (frame->type != CLIENT_PARSE)
        return payload;
    size_t name = strnlen(payload, there);
    return payload + (name < there ? name + 1 : there);
}

/* The first bytes of it. */
static const char *text_head(const struct frame *frame, size_t there, size_t *n)
{
    const char *start = text_start(frame, there);
    *n = (size_t)((const char *)frame_payload(frame) + there - start);
    *n = strnlen(start, *n < HEAD_BYTES ? *n : HEAD_BYTES);
    return start;
}

/* One gate for each way in which the text could be read. */
static struct long_text *long_new(struct engine *engine, const struct frame *frame, size_t there)
{
    struct prepared_name name;
    bool parse = frame->type == CLIENT_PARSE;
    bool certain = engine_certain(engine);
    unsigned n = certain ? 1 : READINGS_MAX;
    struct long_text *text = calloc(1, sizeof *text + n * sizeof text->gates[0]);
    if (!text)
        return NULL;
    text->part = parse ? PART_NAME : PART_TEXT;
    size_t n_head;
    const char *head = text_head(frame, there, &n_head);
    text->executes_matter = parse ? word_execute(head, n_head, &name) == EXECUTION_NONE
                                  : engine->prepared && prepared_any_judged(engine->prepared);
    text->failed = certain && engine->status == 'E';
    text->n_gates = n;
    gate_init(&text->gates[0], engine->scs, engine->text_encoding);
    for (unsigned i = 0; i < n && !certain; i++)
        gate_init(&text->gates[i], i & 1, (enum text_encoding)(i / 2));
    return text;
}

static void found(struct long_text *text, const struct gate_statement *statement)
{
    if (statement->class == GATE_TRANSACTION_END)
        text->failed = false;
    if (!gate_class_judged(statement->class) || text->failed || text->judged)
        return;
    text->judged = true;
    text->first = *statement;
}

static void scan_piece(struct long_text *text, struct gate *gate, const uint8_t *bytes, size_t n)
{
    for (size_t at = 0; at < n;) {
        struct gate_statement statement;
        bool is;
        at += gate_scan(gate, bytes + at, n - at, &statement, &is);
        if (!is)
            continue;
        found(text, &statement);
        if (gate == text->gates) {
            text->seen_end = statement.end;
            text->seen++;
        }
    }
    bool executes = gate->executes && text->executes_matter;
    if ((gate_pending_judged(gate) || executes) && !text->failed && !text->judged) {
        text->judged = true;
        text->first = (struct gate_statement){.start = text->seen_end,
                                              .class = executes ? GATE_DDL : (enum gate_class)gate->class,
                                              .index = text->seen};
    }
}

/* Scan the next n bytes of the payload. */
static void long_scan(struct long_text *text, const uint8_t *bytes, size_t n)
{
    if (text->part == PART_NAME) {
        const uint8_t *nul = memchr(bytes, 0, n);
        size_t name = nul ? (size_t)(nul - bytes) : n;
        for (size_t i = 0; i < name && text->name_length < PREPARED_NAME - 1; i++)
            text->name.text[text->name_length++] = (char)bytes[i];
        if (!nul)
            return;
        text->part = PART_TEXT;
        bytes += name + 1;
        n -= name + 1;
    }
    if (text->part == PART_TEXT && n) {
        const uint8_t *nul = memchr(bytes, 0, n);
        size_t length = nul ? (size_t)(nul - bytes) : n;
        for (unsigned i = 0; i < text->n_gates; i++) {
            scan_piece(text, &text->gates[i], bytes, length);
            struct gate_statement last;
            if (nul && gate_finish(&text->gates[i], &last, NULL))
                found(text, &last);
        }
        if (nul)
            text->part = PART_REST;
    }
}

static size_t long_judge(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                         size_t there)
{
    const struct long_text *text = engine->long_text;
    struct held *held = held_new(engine, frame->type == CLIENT_PARSE ? JUDGE_PARSE : JUDGE_QUERY);
    if (held)
        held->statements = talloc_zero(held, struct engine_statement);
    if (held)
        held->indices = talloc_zero(held, unsigned);
    if (!held || !held->statements || !held->indices)
        return engine_out_of_memory(engine, sinks);
    const char *start = text_start(frame, there);
    size_t length = (size_t)((const char *)frame_payload(frame) + there - start);
    size_t from = text->first.start < length ? (size_t)text->first.start : length;
    size_t to = text->first.end && text->first.end < length ? (size_t)text->first.end : length;
    while (from < to && (start[from] == ';' || isspace((unsigned char)start[from])))
        from++;
    to = to - from > HEAD_BYTES ? from + HEAD_BYTES : to;
    *held->statements = (struct engine_statement){.text = start + from,
                                                  .length = to - from,
                                                  .offset = from,
                                                  .class = text->first.class,
                                                  .index = text->first.index};
    *held->indices = text->first.index;
    held->judge.sql = start;
    held->judge.sql_length = length;
    held->judge.n_statements = 1;
    held->judge.too_long = true;
    engine->need[ENGINE_CLIENT] = (uint32_t)(there + FRAME_HEADER);
    return held_tell(engine, held);
}

/* What the Parse's name means from now on: of a statement that was judged, its head. */
static enum prepared_change long_name(struct engine *engine, const struct frame *frame,
                                      const struct held *held)
{
    const struct prepared_name *name = &engine->long_text->name;
    size_t there = (frame_whole(frame) ? frame->total : frame->have) - FRAME_HEADER;
    size_t n_head;
    const char *head = text_head(frame, there, &n_head);
    if (!held)
        return text_name(engine, name, head, n_head, NULL);
    const struct engine_statement *statement = held->statements;
    return text_name(engine, name, text_start(frame, there) + statement->offset, statement->length, held);
}

/* The message's entry, when its first bytes go on. */
static struct ledger_entry *long_entry(struct engine *engine, const struct frame *frame, struct held *held,
                                       const struct sinks *sinks)
{
    enum prepared_change change = PREPARED_NOTHING;
    if (frame->type == CLIENT_PARSE)
        change = long_name(engine, frame, held);
    if (change == PREPARED_FULL) {
        (void)engine_cut(engine, sinks, "SL900",
                         "pgsluice: too many schema changes are prepared in this session", NULL,
                         "too many prepared schema changes");
        return NULL;
    }
    struct ledger_entry *entry =
        client_entry(engine, frame->type == CLIENT_PARSE ? LEDGER_PARSE : LEDGER_QUERY, LEDGER_FORWARD);
    struct extra *extra = entry && (held || change == PREPARED_CHANGED) ? engine_extra(entry) : NULL;
    if (!entry || ((held || change == PREPARED_CHANGED) && !extra)) {
        (void)engine_out_of_memory(engine, sinks);
        return NULL;
    }
    if (extra)
        extra->change = change == PREPARED_CHANGED;
    return entry;
}

size_t long_forward(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    struct ledger_entry *entry = long_entry(engine, frame, engine->held, sinks);
    if (!entry)
        return 0;
    if (!extra_of_held(engine, entry, engine->held))
        return engine_out_of_memory(engine, sinks);
    trace_message(engine, ENGINE_CLIENT, frame, "judged: forward, too long to hold");
    return engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
}

size_t long_begin(struct engine *engine, const struct frame *frame, const struct sinks *sinks)
{
    size_t first = frame->total < LONG_FIRST ? frame->total : LONG_FIRST;
    if (frame->have < first)
        return engine_hold(engine, ENGINE_CLIENT, WAIT_BYTES, first);
    const struct ledger_entry *tail = ledger_tail(&engine->ledger);
    if (tail && ledger_gives_ready(tail->kind) && !engine->copy_in && !engine_lost_count(engine))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_QUIET, first);
    if (engine->prepared && prepared_must_wait(engine->prepared))
        return engine_hold(engine, ENGINE_CLIENT, WAIT_PREPARED, first);
    size_t there = (frame_whole(frame) ? frame->total : frame->have) - FRAME_HEADER;
    engine->long_text = long_new(engine, frame, there);
    if (!engine->long_text)
        return engine_out_of_memory(engine, sinks);
    long_scan(engine->long_text, frame_payload(frame), there);
    if (engine->long_text->judged && engine_lost_count(engine))
        return engine_cut_in_doubt(engine, sinks);
    if (engine->long_text->judged)
        return long_judge(engine, frame, sinks, there);
    if (!long_entry(engine, frame, NULL, sinks))
        return 0;
    trace_message(engine, ENGINE_CLIENT, frame, "too long to hold: passes while it is scanned");
    size_t taken = engine_pass(engine, ENGINE_CLIENT, frame, sinks->server);
    if (engine->left[ENGINE_CLIENT] == 0)
        long_free(engine);
    return taken;
}

size_t long_go_on(struct engine *engine, const uint8_t *bytes, size_t n, const struct sinks *sinks)
{
    struct long_text *text = engine->long_text;
    if (text->part != PART_REST)
        long_scan(text, bytes, n);
    if (text->judged)
        return engine_cut(
            engine, sinks, "SL004",
            "pgsluice: a schema change stands in a message that is too long to be judged",
            "Nothing of the message was executed. Send the schema change in a message of its own, or "
            "raise limits.held_message.",
            "late discovery in a message that had begun to pass");
    sink_put(sinks->server, bytes, n);
    engine->left[ENGINE_CLIENT] -= (uint32_t)n;
    if (engine->left[ENGINE_CLIENT] == 0)
        long_free(engine);
    return n;
}

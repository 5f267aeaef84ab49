/*
 * Reading SQL texts (engine_find.h).
 */
#include "proxy/session/engine_find.h"

#include <stdlib.h>

#define READ_AHEAD ((size_t)64 * 1024) /* options.read_ahead */

struct ahead {
    struct looking looking;
    struct reading reading; /* of the first gate; the second one reads strings the other way */
    unsigned n_gates;       /* 2: how the text reads wasn't certain */
    bool whole, hangs, list_full;
    struct gate gates[2];
    struct findings findings[2];
    size_t scanned; /* bytes of the text */
    struct gate_statement *list;
    size_t n, size;
};

void ahead_free(struct engine *engine)
{
    if (engine->ahead)
        free(engine->ahead->list);
    free(engine->ahead);
    engine->ahead = NULL;
}

struct text text_of(const struct frame *frame)
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

static struct reading reading_of(const struct engine *engine)
{
    return (struct reading){engine->scs, (enum text_encoding)engine->text_encoding};
}

static bool same_reading(struct reading one, struct reading two)
{
    return one.scs == two.scs && one.encoding == two.encoding;
}

/* ---- statements one after the other ------------------------------------------------------------------ */

/* What is ahead of the message at hand, as the text reads now; or NULL. */
static struct ahead *ahead_of(const struct engine *engine)
{
    struct ahead *ahead = engine->ahead;
    return ahead && ahead->whole && same_reading(ahead->reading, reading_of(engine)) ? ahead : NULL;
}

static void walk_reading(struct walk *walk, struct reading reading)
{
    walk->ahead = NULL;
    walk->ended = false;
    gate_init(&walk->gate, reading.scs, reading.encoding);
}

void walk_begin(struct walk *walk, const struct engine *engine)
{
    const struct ahead *ahead = ahead_of(engine);
    walk_reading(walk, reading_of(engine));
    walk->ahead = ahead && !ahead->list_full ? ahead : NULL;
    walk->next = 0;
}

bool walk_next(struct walk *walk, const struct text *text, struct gate_statement *statement)
{
    struct gate *gate = &walk->gate;
    bool found = false;
    if (walk->ahead && walk->next == walk->ahead->n)
        return false;
    if (walk->ahead) {
        *statement = walk->ahead->list[walk->next++];
        return true;
    }
    while (!found && gate->offset < text->length)
        (void)gate_scan(gate, (const uint8_t *)text->sql + gate->offset, text->length - (size_t)gate->offset,
                        statement, &found);
    if (found || walk->ended)
        return found;
    walk->ended = true;
    return gate_finish(gate, statement, NULL);
}

/* ---- findings ---------------------------------------------------------------------------------------- */

struct looking find_looking(struct engine *engine, const struct frame *frame)
{
    bool parse = frame->type == CLIENT_PARSE;
    return (struct looking){.executes = engine->prepared && !parse ? engine : NULL,
                            .words = trail_open(engine) || parse,
                            .watch = watch_now(engine),
                            .locks = engine->doubt == DOUBT_NONE && !engine_copy_open(engine),
                            .prepares = parse};
}

static bool same_looking(const struct looking *one, const struct looking *two)
{
    return one->executes == two->executes && one->words == two->words && one->watch == two->watch &&
           one->locks == two->locks && one->prepares == two->prepares && one->screen == two->screen;
}

/* Does the statement run what has to be judged? */
static bool find_execution(struct engine *engine, const char *sql, size_t length, struct findings *findings)
{
    struct execution execution = execution_of(engine, sql, length);
    findings->executes = findings->executes || execution.is;
    findings->unreadable = findings->unreadable || execution.unreadable;
    bool judged = execution.text && execution.text->judged;
    findings->runs += judged;
    return judged || execution.unreadable;
}

/* A command that is followed, or has to be known when it is executed. */
static bool find_word(const struct looking *looking, const char *sql, size_t length)
{
    struct prepared_name name;
    if (looking->executes)
        return execution_word(looking->executes, sql, length, &name) != WORD_NONE;
    return word_of(sql, length, &name) != WORD_NONE ||
           (looking->prepares && word_execute(sql, length, &name) != EXECUTION_NONE);
}

static void note(const struct text *text, const struct looking *looking,
                 const struct gate_statement *statement, struct findings *findings)
{
    const char *sql = text->sql + statement->start;
    size_t length = (size_t)(statement->end - statement->start);
    bool runs = looking->executes && statement->class == GATE_OTHER &&
                find_execution(looking->executes, sql, length, findings);
    findings->statements++;
    if (gate_class_judged(statement->class) || runs) {
        findings->judged = true;
        findings->hash = (findings->hash ^ statement->start ^ statement->end << 32 ^ statement->class) *
                         0x9e3779b97f4a7c15U;
    } else if (statement->class == GATE_TRANSACTION_END) {
        findings->ends = true;
        findings->end_first = findings->end_first || !findings->judged;
    } else if (statement->class == GATE_OTHER && !findings->shown) {
        bool watched = (looking->watch && !findings->ends) || looking->screen;
        findings->shown =
            (looking->locks && watch_locks(sql, length)) || (watched && watch_shows(sql, length));
    }
    if (looking->words && find_word(looking, sql, length))
        findings->words = true;
}

static void scan(const struct text *text, struct reading reading, struct looking looking,
                 struct findings *findings)
{
    struct walk walk;
    struct gate_statement statement;
    *findings = (struct findings){0};
    walk_reading(&walk, reading);
    while (walk_next(&walk, text, &statement))
        note(text, &looking, &statement, findings);
    findings->high = walk.gate.high;
    findings->doubtful = walk.gate.backslash || walk.gate.high;
}

/*
 * Can the text's statements end elsewhere when it is read in another encoding? Only where a byte of 0x80 or
 * above is followed by one that ends a statement or escapes a quote: no encoding has '\'', '"', '$', '-', '/'
 * or '*' as the second half of a character, and a server refuses halves that do not fit. 0x81 0x5F is a
 * backslash in SHIFT_JIS_2004.
 */
static bool hangs_on_encoding(const char *sql, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++)
        if ((uint8_t)sql[i] >= 0x80 && strchr("\\;_[]", sql[i + 1]))
            return true;
    return false;
}

/* ---- as it arrives ----------------------------------------------------------------------------------- */

/* What is there of the text. False: not even its beginning. */
static bool text_so_far(const struct frame *frame, size_t scanned, struct text *text)
{
    const char *payload = (const char *)frame_payload(frame);
    size_t n = frame->have - FRAME_HEADER;
    *text = (struct text){.sql = payload, .length = n};
    if (frame->type != CLIENT_PARSE)
        return true;
    const char *nul = memchr(payload, 0, n);
    if (!nul)
        return false;
    text->sql = nul + 1;
    text->length = n - (size_t)(text->sql - payload);
    nul = text->length > scanned ? memchr(text->sql + scanned, 0, text->length - scanned) : NULL;
    text->length = nul ? (size_t)(nul - text->sql) : text->length;
    return true;
}

/* The list takes about as much memory as the text at most; of more statements (and without memory) there is
 * none, and who wants them reads the text again. */
static void list_add(struct ahead *ahead, const struct gate_statement *statement)
{
    if (ahead->n == ahead->size && !ahead->list_full) {
        size_t size = ahead->size ? ahead->size * 2 : 64;
        bool much = size * sizeof *ahead->list > ahead->scanned + READ_AHEAD;
        struct gate_statement *grown = much ? NULL : realloc(ahead->list, size * sizeof *grown);
        ahead->list_full = !grown;
        if (grown) {
            ahead->list = grown;
            ahead->size = size;
        }
    }
    if (!ahead->list_full)
        ahead->list[ahead->n++] = *statement;
}

static void ahead_note(struct ahead *ahead, unsigned i, const struct text *text,
                       const struct gate_statement *statement)
{
    struct looking looking = ahead->looking;
    if (i == 0)
        list_add(ahead, statement);
    else
        looking.words = looking.watch = looking.locks = false;
    note(text, &looking, statement, &ahead->findings[i]);
}

static void ahead_scan(struct ahead *ahead, const struct text *text, bool whole)
{
    size_t before = ahead->scanned ? ahead->scanned - 1 : 0;
    if (text->length > before && ahead->n_gates > 1)
        ahead->hangs = ahead->hangs || hangs_on_encoding(text->sql + before, text->length - before);
    if (text->length > ahead->scanned)
        ahead->scanned = text->length;
    for (unsigned i = 0; i < ahead->n_gates; i++) {
        struct gate *gate = &ahead->gates[i];
        struct gate_statement statement;
        while (gate->offset < text->length) {
            bool found;
            (void)gate_scan(gate, (const uint8_t *)text->sql + gate->offset,
                            text->length - (size_t)gate->offset, &statement, &found);
            if (found)
                ahead_note(ahead, i, text, &statement);
        }
        if (whole && gate_finish(gate, &statement, NULL))
            ahead_note(ahead, i, text, &statement);
        ahead->findings[i].high = gate->high;
        ahead->findings[i].doubtful = gate->backslash || gate->high;
    }
    ahead->whole = whole;
}

static struct ahead *ahead_new(struct engine *engine, const struct frame *frame)
{
    struct ahead *ahead = calloc(1, sizeof *ahead);
    if (!ahead)
        return NULL;
    ahead->looking = find_looking(engine, frame);
    ahead->reading = reading_of(engine);
    ahead->n_gates = engine_certain(engine) ? 1 : 2;
    for (unsigned i = 0; i < ahead->n_gates; i++)
        gate_init(&ahead->gates[i], engine->scs != (i == 1), ahead->reading.encoding);
    return ahead;
}

size_t find_ahead(struct engine *engine, const struct frame *frame)
{
    struct text text;
    size_t step = engine->options.read_ahead ? engine->options.read_ahead : READ_AHEAD;
    if (frame->total <= step)
        return frame->total;
    if (!engine->ahead)
        engine->ahead = ahead_new(engine, frame);
    if (!engine->ahead)
        return frame->total;
    if (text_so_far(frame, engine->ahead->scanned, &text))
        ahead_scan(engine->ahead, &text, false);
    return frame->total - frame->have < step ? frame->total : frame->have + step;
}

/* What an EXECUTE runs may have changed since it was read. */
static bool ahead_holds(struct engine *engine, const struct looking *looking)
{
    const struct ahead *ahead = engine->ahead;
    return same_reading(ahead->reading, reading_of(engine)) && same_looking(&ahead->looking, looking) &&
           !ahead->findings[0].executes && (ahead->n_gates > 1 || engine_certain(engine));
}

void find(struct engine *engine, const struct text *text, struct looking looking, struct findings *findings)
{
    struct ahead *ahead = engine->ahead;
    if (ahead && !ahead->whole)
        ahead_scan(ahead, text, true);
    if (ahead && ahead_holds(engine, &looking)) {
        *findings = ahead->findings[0];
        return;
    }
    ahead_free(engine);
    scan(text, reading_of(engine), looking, findings);
}

static void read_otherwise(const struct engine *engine, const struct text *text, struct looking looking,
                           struct findings *other, bool *hangs)
{
    const struct ahead *ahead = ahead_of(engine);
    if (ahead && ahead->n_gates > 1) {
        *other = ahead->findings[1];
        *hangs = ahead->hangs;
        return;
    }
    scan(text, (struct reading){!engine->scs, (enum text_encoding)engine->text_encoding}, looking, other);
    *hangs = hangs_on_encoding(text->sql, text->length);
}

void find_all(const struct engine *engine, const struct text *text, struct looking looking,
              const struct findings *now, bool *judged, bool *same)
{
    struct findings other;
    bool hangs;
    looking.words = looking.watch = looking.locks = looking.screen = false;
    read_otherwise(engine, text, looking, &other, &hangs);
    *same = other.judged == now->judged && other.hash == now->hash;
    if (text->length > READ_ALL_MAX && hangs)
        *same = false;
    *judged = now->judged || other.judged || !*same;
    if (text->length > READ_ALL_MAX || !now->high)
        return;
    for (int encoding = TEXT_ASCII_SAFE; encoding <= TEXT_SHIFT_JIS_2004; encoding++) {
        for (int scs = 0; scs <= 1; scs++) {
            scan(text, (struct reading){scs != 0, (enum text_encoding)encoding}, looking, &other);
            *judged = *judged || other.judged;
            *same = *same && other.judged == now->judged && other.hash == now->hash;
        }
    }
}

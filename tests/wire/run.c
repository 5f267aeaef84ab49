/*
 * Runs wire scripts against the engine: each as written, byte by byte, cut in two at every place of every
 * message, and with neighbouring messages of one side in one piece. The caller's part is played as a session
 * plays it: bytes that are not consumed are kept and presented again once engine_need says so.
 */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/session/engine.h"
#include "proxy/session/engine_ask.h"
#include "proxy/session/engine_online.h"
#include "proxy/wire/message.h"
#include "script.h"

#define NOTES_MAX 256

/* How the bytes of a step are cut. */
struct cut {
    const char *name;
    size_t at;     /* two pieces, cut here; 0: not */
    bool bytes;    /* one by one */
    bool together; /* neighbouring steps of a side in one piece */
};

struct run {
    const char *path;
    struct cut cut;
    struct engine *engine;
    struct writer kept[2], out[2]; /* by enum engine_side */
    size_t read[2];                /* of out: what expectations have taken */
    struct sink sinks[2];
    char *notes[NOTES_MAX]; /* events, printed as a script writes them */
    size_t n_notes, note;
    bool judging, hold_denied;
    unsigned line;
    struct engine_options options;
};

static int failures;

__attribute__((format(printf, 2, 3))) static void fail(struct run *run, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "%s:%u (%s %zu): ", run->path, run->line, run->cut.name, run->cut.at);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    failures++;
}

static void emit(void *argument, const uint8_t *bytes, size_t n)
{
    writer_bytes(argument, bytes, n);
}

static bool may_hold(void *argument, uint64_t n)
{
    const struct run *run = argument;
    return !run->hold_denied;
}

/* ---- events ------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static void note(struct run *run, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (run->n_notes == NOTES_MAX || vasprintf(&run->notes[run->n_notes], format, arguments) < 0)
        abort();
    run->n_notes++;
    va_end(arguments);
}

static void note_judge(struct run *run, const struct engine_judge *judge)
{
    static const char *const occasions[] = {"query", "parse", "execute"};
    run->judging = true;
    note(run, "judge %s%s%s%s%s%s", occasions[judge->occasion],
         judge->in_transaction ? " in-transaction" : "", judge->scs ? "" : " scs-off",
         judge->uncertain ? " uncertain" : "", judge->too_long ? " too-long" : "",
         judge->screened ? " screened" : "");
    for (size_t i = 0; i < judge->n_statements; i++) {
        const struct engine_statement *statement = &judge->statements[i];
        if (statement->text != judge->sql + statement->offset)
            fail(run, "statement %zu does not stand at its offset", i);
        note(run, "statement %u %.*s", statement->index, (int)statement->length, statement->text);
    }
}

static void drain(struct run *run)
{
    static const char *const ends[] = {"committed", "rolled-back", "open"};
    struct engine_event event;
    for (engine_next(run->engine, &event); event.kind != EVENT_NONE; engine_next(run->engine, &event)) {
        if (event.kind == EVENT_READY)
            note(run, "ready");
        else if (event.kind == EVENT_JUDGE)
            note_judge(run, &event.judge);
        else if (event.kind == EVENT_FINISHED)
            note(run, "finished %lu %s%s%s", (unsigned long)event.finished.record,
                 event.finished.lost          ? "lost"
                 : event.finished.sqlstate[0] ? event.finished.sqlstate
                                              : "ok",
                 event.finished.tag[0] ? " " : "", event.finished.tag);
        else if (event.kind == EVENT_TRANSACTION_ENDED)
            note(run, "ended %lu %s", (unsigned long)event.ended.record, ends[event.ended.end]);
        else if (event.kind == EVENT_CHANGES)
            note(run, "changes %ld of %zu", (long)event.changes.ids[0], event.changes.n);
        else
            note(run, "cut");
    }
}

/* ---- feeding ----------------------------------------------------------------------------------------- */

static void flush_sinks(struct run *run)
{
    sink_flush(&run->sinks[ENGINE_CLIENT]);
    sink_flush(&run->sinks[ENGINE_SERVER]);
}

/* Present what is kept for as long as the engine wants it. */
static void feed_kept(struct run *run)
{
    bool progress = true;
    while (progress) {
        progress = false;
        for (int side = ENGINE_CLIENT; side <= ENGINE_SERVER; side++) {
            struct writer *kept = &run->kept[side];
            size_t need = engine_need(run->engine, side);
            if (need == 0 || kept->length < need)
                continue;
            /* A copy, so that a slice that outlives its buffer is seen. */
            uint8_t *bytes = malloc(kept->length);
            if (!bytes)
                abort();
            memcpy(bytes, kept->bytes, kept->length);
            size_t out_before = run->out[0].length + run->out[1].length;
            size_t taken = engine_feed(run->engine, side, bytes, kept->length, &run->sinks[ENGINE_CLIENT],
                                       &run->sinks[ENGINE_SERVER]);
            flush_sinks(run);
            drain(run);
            free(bytes);
            if (taken > kept->length)
                abort();
            size_t now = engine_need(run->engine, side);
            bool wants_more = now == 0 || now > kept->length - taken;
            if (taken == 0 && !wants_more && run->out[0].length + run->out[1].length == out_before)
                fail(run, "no progress with %zu bytes where %zu were asked for", kept->length, need);
            memmove(kept->bytes, kept->bytes + taken, kept->length - taken);
            kept->length -= taken;
            progress = taken != 0 || (now != 0 && now <= kept->length && now != need);
        }
    }
}

static void feed_piece(struct run *run, enum engine_side side, const uint8_t *bytes, size_t n)
{
    writer_bytes(&run->kept[side], bytes, n);
    feed_kept(run);
}

static void feed(struct run *run, enum engine_side side, const struct writer *bytes)
{
    if (run->cut.bytes) {
        for (size_t i = 0; i < bytes->length; i++)
            feed_piece(run, side, bytes->bytes + i, 1);
        return;
    }
    size_t first = run->cut.at && run->cut.at < bytes->length ? run->cut.at : bytes->length;
    feed_piece(run, side, bytes->bytes, first);
    if (first < bytes->length)
        feed_piece(run, side, bytes->bytes + first, bytes->length - first);
}

/* ---- expectations ------------------------------------------------------------------------------------ */

static void show(const char *what, const uint8_t *bytes, size_t n)
{
    fprintf(stderr, "    %s (%zu):", what, n);
    for (size_t i = 0; i < n && i < 400; i++)
        fprintf(stderr, bytes[i] >= ' ' && bytes[i] < 127 ? "%c" : "\\x%02x", bytes[i]);
    fputc('\n', stderr);
}

static void expect_out(struct run *run, enum engine_side side, const struct writer *wanted)
{
    const struct writer *out = &run->out[side];
    size_t left = out->length - run->read[side];
    if (left < wanted->length || memcmp(out->bytes + run->read[side], wanted->bytes, wanted->length) != 0) {
        fail(run, "the %s should have got another message", side == ENGINE_CLIENT ? "client" : "server");
        show("wanted", wanted->bytes, wanted->length);
        show("got", out->bytes + run->read[side], left);
        run->read[side] = out->length;
        return;
    }
    run->read[side] += wanted->length;
}

static void join(const struct step *step, unsigned from, char *text, size_t size)
{
    text[0] = 0;
    for (unsigned i = from; i < step->n; i++) {
        size_t n = strlen(text);
        snprintf(text + n, size - n, "%s%s", i > from ? " " : "", step->words[i]);
    }
}

static void expect_note(struct run *run, const char *wanted)
{
    const char *got = run->note < run->n_notes ? run->notes[run->note] : "nothing";
    if (strcmp(got, wanted) != 0)
        fail(run, "wanted: %s; got: %s", wanted, got);
    if (run->note < run->n_notes)
        run->note++;
}

/* ---- answers ----------------------------------------------------------------------------------------- */

/* "1=ALTER TABLE": the event's statement 1 was put by a text of ours. */
static void add_rewrite(struct judgement *judgement, struct rewrite *rewrites, const char *value, bool change)
{
    rewrites[judgement->n_rewrites++] = (struct rewrite){
        .statement = strtoul(value, NULL, 10), .tag = strchr(value, '=') + 1, .change = change};
}

/* "10,36,46": where the author's statement starts, its length, that of ours. */
static void place_rewrite(struct rewrite *rewrite, const char *value)
{
    if (sscanf(value, "%u,%u,%u", &rewrite->start, &rewrite->old_length, &rewrite->new_length) != 3)
        abort();
}

/* answer forward|refuse|let-read|rewrite [code SL001] [message "…"] [position 7] [token t] [record 5]…
 * [notice "…"]…
 */
static void answer(struct run *run, const struct step *step)
{
    struct report notices[WORDS_MAX];
    uint64_t records[WORDS_MAX];
    struct rewrite rewrites[WORDS_MAX];
    struct judgement judgement = {.token = "pgsluice_refused_test",
                                  .refusal = {.severity = "ERROR", .sqlstate = "SL001", .message = "refused"},
                                  .notices = notices,
                                  .records = records,
                                  .rewrites = rewrites};
    judgement.as = strcmp(step->words[1], "rewrite") == 0   ? JUDGED_REWRITE
                   : strcmp(step->words[1], "forward") == 0 ? JUDGED_FORWARD
                   : strcmp(step->words[1], "refuse") == 0  ? JUDGED_REFUSE
                                                            : JUDGED_LET_SERVER_READ;
    for (unsigned i = 2; i + 1 < step->n; i += 2) {
        const char *what = step->words[i];
        const char *value = step->words[i + 1];
        if (strcmp(what, "code") == 0)
            snprintf(judgement.refusal.sqlstate, 6, "%s", value);
        else if (strcmp(what, "message") == 0)
            judgement.refusal.message = value;
        else if (strcmp(what, "rule") == 0)
            judgement.refusal.constraint = value;
        else if (strcmp(what, "position") == 0)
            judgement.refusal.position = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(what, "token") == 0)
            judgement.token = value;
        else if (strcmp(what, "record") == 0)
            records[judgement.n_records++] = (uint64_t)strtoul(value, NULL, 10);
        else if (strcmp(what, "notice") == 0)
            notices[judgement.n_notices++] =
                (struct report){.severity = "WARNING", .sqlstate = "01000", .message = value};
        else if (strcmp(what, "sql") == 0)
            judgement.sql = value;
        else if (strcmp(what, "change") == 0 || strcmp(what, "safe") == 0)
            add_rewrite(&judgement, rewrites, value, *what == 'c');
        else if (strcmp(what, "at") == 0)
            place_rewrite(&rewrites[judgement.n_rewrites - 1], value);
        else
            fail(run, "unknown word in an answer: %s", what);
    }
    run->judging = false;
    engine_judged(run->engine, &judgement);
    drain(run);
    feed_kept(run);
}

static void asked_reply(void *argument, uint8_t type, const uint8_t *payload, size_t n)
{
    note(argument, "reply %s", message_server_name(type));
}

static void asked_over(void *argument, bool answered)
{
    note(argument, answered ? "answered" : "unanswered");
}

static void ask(struct run *run, const struct step *step)
{
    struct engine_question question = {.sql = step->words[1],
                                       .values = (const char *const *)&step->words[2],
                                       .n_values = (uint16_t)(step->n - 2),
                                       .reply = asked_reply,
                                       .over = asked_over,
                                       .argument = run};
    note(run, engine_ask(run->engine, &question) ? "asked" : "not asked");
    /* The held message is there already. */
    feed_kept(run);
}

static bool screen(void *argument, const char *sql, size_t length)
{
    return memmem(sql, length, "token", 5) != NULL;
}

/* over: the change is complete; over M: it was undone */
static void over(struct run *run, const struct step *step)
{
    struct report report = {
        .severity = "ERROR", .sqlstate = "SL003", .message = step->n > 1 ? step->words[1] : ""};
    engine_changes_over(run->engine, step->n > 1 ? &report : NULL);
    drain(run);
    feed_kept(run);
}

/* ---- steps ------------------------------------------------------------------------------------------- */

static void option(struct run *run, const struct step *step)
{
    const char *name = step->words[1];
    if (strcmp(name, "client-tls") == 0)
        run->options.client_tls = true;
    else if (strcmp(name, "server-tls") == 0)
        run->options.server_tls = true;
    else if (strcmp(name, "same-certificate") == 0)
        run->options.same_certificate = true;
    else if (strcmp(name, "held") == 0)
        run->options.held_message = (uint64_t)strtoul(step->words[2], NULL, 10);
    else if (strcmp(name, "may-not-hold") == 0)
        run->hold_denied = true;
    else
        fail(run, "unknown option %s", name);
}

static void start(struct run *run)
{
    run->options.may_hold = may_hold;
    run->options.screen = screen;
    run->options.read_ahead = run->cut.bytes || run->cut.at ? 8 : 0; /* as it arrives, and in one go */
    run->options.argument = run;
    run->engine = engine_new(&run->options);
    if (!run->engine)
        abort();
}

/* What every session begins with, for scripts that are about something else. */
static void login(struct run *run, const char *version)
{
    struct writer bytes;
    writer_init(&bytes, 4096);
    size_t begun = writer_begin(&bytes, SERVER_AUTHENTICATION);
    writer_u32(&bytes, AUTHENTICATION_OK);
    writer_end(&bytes, begun);
    message_parameter_write(&bytes, "client_encoding", "UTF8");
    message_parameter_write(&bytes, "server_encoding", "UTF8");
    message_parameter_write(&bytes, "standard_conforming_strings", "on");
    message_parameter_write(&bytes, "server_version", version);
    message_ready_write(&bytes, 'I');
    feed(run, ENGINE_SERVER, &bytes);
    expect_out(run, ENGINE_CLIENT, &bytes);
    expect_note(run, "ready");
    writer_release(&bytes);
}

static void expect_waits(struct run *run, bool wanted)
{
    if ((engine_need(run->engine, ENGINE_CLIENT) == 0) != wanted)
        fail(run, "the client's input should%s wait", wanted ? "" : " not");
}

static void other_step(struct run *run, const struct step *step)
{
    const char *verb = step->words[0];
    char text[8192];
    join(step, 1, text, sizeof text);
    if (strcmp(verb, "event") == 0)
        expect_note(run, text);
    else if (strcmp(verb, "answer") == 0)
        answer(run, step);
    else if (strcmp(verb, "watch") == 0)
        engine_watch(run->engine, strcmp(step->words[1], "on") == 0);
    else if (strcmp(verb, "ask") == 0)
        ask(run, step);
    else if (strcmp(verb, "over") == 0)
        over(run, step);
    else if (strcmp(verb, "screen") == 0)
        engine_screen(run->engine, strcmp(step->words[1], "on") == 0);
    else if (strcmp(verb, "waits") == 0)
        expect_waits(run, true);
    else if (strcmp(verb, "reads") == 0)
        expect_waits(run, false);
    else if (strcmp(verb, "quiet") == 0 && !engine_quiet(run->engine))
        fail(run, "should be quiet");
    else if (strcmp(verb, "status") == 0 && engine_transaction_status(run->engine) != step->words[1][0])
        fail(run, "status is %c", engine_transaction_status(run->engine));
    else if (strcmp(verb, "closed") == 0)
        engine_closed(run->engine);
    else if (!strstr(" quiet status closed ", verb))
        fail(run, "unknown step %s", verb);
    drain(run);
}

enum verb { VERB_OTHER, VERB_FEED = 1, VERB_EXPECT = 2, VERB_PASS = 3 };

/* client, server: feed. to-client, to-server: expect. "pass client M": both. */
static enum verb step_verb(const struct step *step, enum engine_side *side, unsigned *at)
{
    const char *verb = step->words[0];
    *at = 1;
    if (strcmp(verb, "pass") == 0 && step->n > 1) {
        *at = 2;
        *side = strcmp(step->words[1], "client") == 0 ? ENGINE_CLIENT : ENGINE_SERVER;
        return VERB_PASS;
    }
    if (strcmp(verb, "client") == 0 || strcmp(verb, "server") == 0) {
        *side = *verb == 'c' ? ENGINE_CLIENT : ENGINE_SERVER;
        return VERB_FEED;
    }
    if (strcmp(verb, "to-client") == 0 || strcmp(verb, "to-server") == 0) {
        *side = verb[3] == 's' ? ENGINE_CLIENT : ENGINE_SERVER; /* who sends it */
        return VERB_EXPECT;
    }
    return VERB_OTHER;
}

static void run_step(struct run *run, struct step *step)
{
    enum engine_side side;
    unsigned at;
    enum verb verb = step_verb(step, &side, &at);
    run->line = step->line;
    if (verb == VERB_OTHER) {
        if (strcmp(step->words[0], "option") == 0)
            option(run, step);
        else if (!run->engine)
            start(run);
        if (strcmp(step->words[0], "login") == 0)
            login(run, step->n > 1 ? step->words[1] : "15.4");
        else if (strcmp(step->words[0], "option") != 0 && strcmp(step->words[0], "start") != 0)
            other_step(run, step);
        return;
    }
    if (verb & VERB_FEED)
        feed(run, side, &step->bytes);
    if (verb & VERB_EXPECT)
        expect_out(run, side == ENGINE_CLIENT ? ENGINE_SERVER : ENGINE_CLIENT, &step->bytes);
}

/* Feed steps of one side that follow one another in one piece, then look at what each should have led to. */
static size_t run_together(struct run *run, struct script *script, size_t i)
{
    enum engine_side side;
    enum engine_side other;
    unsigned at;
    enum verb verb = step_verb(&script->steps[i], &side, &at);
    if (!(verb & VERB_FEED)) {
        run_step(run, &script->steps[i]);
        return i + 1;
    }
    struct writer all;
    writer_init(&all, (size_t)1 << 26);
    size_t end = i;
    for (; end < script->n; end++) {
        verb = step_verb(&script->steps[end], &other, &at);
        if (!(verb & VERB_FEED) || other != side)
            break;
        writer_bytes(&all, script->steps[end].bytes.bytes, script->steps[end].bytes.length);
    }
    run->line = script->steps[i].line;
    feed(run, side, &all);
    writer_release(&all);
    for (; i < end; i++) {
        run->line = script->steps[i].line;
        if (step_verb(&script->steps[i], &other, &at) & VERB_EXPECT)
            expect_out(run, side == ENGINE_CLIENT ? ENGINE_SERVER : ENGINE_CLIENT, &script->steps[i].bytes);
    }
    return end;
}

static void finish(struct run *run)
{
    for (int side = 0; side < 2; side++) {
        if (run->read[side] != run->out[side].length) {
            fail(run, "more than expected went to the %s", side == ENGINE_CLIENT ? "client" : "server");
            show("more", run->out[side].bytes + run->read[side], run->out[side].length - run->read[side]);
        }
    }
    engine_free(run->engine);
    if (run->note < run->n_notes)
        fail(run, "not expected: %s", run->notes[run->note]);
    for (size_t i = 0; i < run->n_notes; i++)
        free(run->notes[i]);
    for (int side = 0; side < 2; side++) {
        writer_release(&run->kept[side]);
        writer_release(&run->out[side]);
    }
}

static void run_once(const char *path, struct script *script, struct cut cut)
{
    struct run run = {.path = path, .cut = cut};
    run.options.held_message = 4 << 20;
    for (int side = 0; side < 2; side++) {
        writer_init(&run.kept[side], (size_t)1 << 26);
        writer_init(&run.out[side], (size_t)1 << 26);
        run.sinks[side] = (struct sink){.emit = emit, .argument = &run.out[side]};
    }
    for (size_t i = 0; i < script->n;) {
        if (cut.together)
            i = run_together(&run, script, i);
        else
            run_step(&run, &script->steps[i++]);
    }
    finish(&run);
}

static bool encode_all(const char *path, struct script *script, size_t *longest)
{
    *longest = 0;
    for (size_t i = 0; i < script->n; i++) {
        enum engine_side side;
        unsigned at;
        struct step *step = &script->steps[i];
        if (step_verb(step, &side, &at) == VERB_OTHER)
            continue;
        if (!step_encode(step, side == ENGINE_CLIENT, at)) {
            fprintf(stderr, "%s:%u: no such message\n", path, step->line);
            return false;
        }
        if (step->bytes.length > *longest)
            *longest = step->bytes.length;
    }
    return true;
}

static void run_script(const char *path)
{
    struct script script;
    size_t longest;
    int before = failures;
    if (!script_read(path, &script)) {
        perror(path);
        failures++;
        return;
    }
    if (!encode_all(path, &script, &longest)) {
        failures++;
        return;
    }
    run_once(path, &script, (struct cut){.name = "as written"});
    if (failures == before)
        run_once(path, &script, (struct cut){.name = "together", .together = true});
    if (failures == before && longest < 100000)
        run_once(path, &script, (struct cut){.name = "byte by byte", .bytes = true});
    for (size_t at = 1; failures == before && at < longest && at < 256; at++)
        run_once(path, &script, (struct cut){.name = "cut at", .at = at});
    script_free(&script);
}

static int wire_file(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && strcmp(entry->d_name + n - 5, ".wire") == 0;
}

int main(int argc, char **argv)
{
    int ran = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **entries;
        int n = scandir(argv[i], &entries, wire_file, alphasort);
        if (n < 0) {
            run_script(argv[i]);
            ran++;
            continue;
        }
        for (int k = 0; k < n; k++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], entries[k]->d_name);
            run_script(path);
            free(entries[k]);
            ran++;
        }
        free(entries);
    }
    printf("%d wire scripts, %d failures\n", ran, failures);
    return failures != 0 || ran == 0;
}

/*
 * The engine between a client that the input describes and a server that tells the truth (server_model.c),
 * or, where the input's first byte says so, with the input's bytes on both sides.
 *
 * Checked after every step of the first kind:
 *   the client sees what the server said, with the errors over substitutes as refusals, and not a byte else;
 *   no change is executed that was not judged and let through (in simple query, and again at each Execute),
 *   and is not on record;
 *   nobody waits for ever: when the server has answered all it got, the engine has taken all that the client
 * sent; every recorded statement ends once, and so does its transaction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/session/engine.h"
#include "server_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#define RECORDS 4096

struct input {
    const uint8_t *at, *end;
};

static uint8_t take(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

struct play {
    struct engine *engine;
    struct model server;
    struct writer client; /* sent and not taken yet */
    struct writer got;    /* by the client */
    size_t delivered;     /* of what the server said */
    struct sink sinks[2];
    bool may_refuse, any_text, judged, cut;
    bool copy_failed; /* early: then a session may be cut */
    bool gave_up;     /* the client has sent CopyFail: then too */
    unsigned next_statement;
    unsigned next_record;
    uint8_t finished[RECORDS], ended[RECORDS];
    bool allowed[65536];         /* changes that may be executed, by the number in their text */
    unsigned executed, recorded; /* changes; those on record as carried out, or as nobody knows, */
    unsigned lost;               /* which these are */
};

static void emit_client(void *argument, const uint8_t *bytes, size_t n)
{
    writer_bytes(&((struct play *)argument)->got, bytes, n);
}

static void emit_server(void *argument, const uint8_t *bytes, size_t n)
{
    writer_bytes(&((struct play *)argument)->server.in, bytes, n);
}

static void executed(void *argument, const char *statement)
{
    struct play *play = argument;
    unsigned number;
    if (sscanf(statement, "DROP TABLE t%u", &number) != 1)
        return;
    CHECK(play->allowed[number]);
    play->executed++;
}

/* ---- the judge --------------------------------------------------------------------------------------- */

static void judge(struct play *play, const struct engine_judge *asked)
{
    uint64_t records[16];
    struct judgement answer = {.as = JUDGED_FORWARD,
                               .token = MODEL_TOKEN,
                               .refusal = {.severity = "ERROR", .sqlstate = "SL001", .message = "refused"},
                               .records = records};
    if (play->any_text) {
        answer.as = asked->sql_length % 2 ? JUDGED_REFUSE : JUDGED_LET_SERVER_READ;
        engine_judged(play->engine, &answer);
        return;
    }
    CHECK(asked->n_statements > 0 && asked->n_statements <= 16);
    for (size_t i = 0; i < asked->n_statements; i++) {
        unsigned number = 0;
        CHECK(sscanf(asked->statements[i].text, "DROP TABLE t%u", &number) == 1);
        play->allowed[number] = true;
        if (play->may_refuse && number % 3 == 0)
            answer.as = JUDGED_REFUSE;
        if (asked->occasion != JUDGE_PARSE && play->next_record < RECORDS)
            records[answer.n_records++] = play->next_record++;
    }
    for (size_t i = 0; answer.as == JUDGED_REFUSE && i < asked->n_statements; i++) {
        unsigned number = 0;
        (void)sscanf(asked->statements[i].text, "DROP TABLE t%u", &number);
        play->allowed[number] = false;
    }
    engine_judged(play->engine, &answer);
}

static void drain(struct play *play)
{
    struct engine_event event;
    for (engine_next(play->engine, &event); event.kind != EVENT_NONE; engine_next(play->engine, &event)) {
        play->judged = play->judged || event.kind == EVENT_JUDGE;
        if (event.kind == EVENT_JUDGE)
            judge(play, &event.judge);
        else if (event.kind == EVENT_FINISHED) {
            play->finished[event.finished.record]++;
            play->recorded += !event.finished.sqlstate[0];
            play->lost += event.finished.lost;
        } else if (event.kind == EVENT_TRANSACTION_ENDED)
            play->ended[event.ended.record]++;
        else if (event.kind == EVENT_CUT)
            play->cut = true;
    }
}

/* ---- moving bytes ------------------------------------------------------------------------------------ */

static size_t feed(struct play *play, enum engine_side side, const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, n);
    size_t taken =
        engine_feed(play->engine, side, copy, n, &play->sinks[ENGINE_CLIENT], &play->sinks[ENGINE_SERVER]);
    sink_flush(&play->sinks[ENGINE_CLIENT]);
    sink_flush(&play->sinks[ENGINE_SERVER]);
    CHECK(taken <= n);
    drain(play);
    free(copy);
    return taken;
}

static bool offer_client(struct play *play, size_t piece)
{
    size_t need = engine_need(play->engine, ENGINE_CLIENT);
    size_t n = piece > need ? piece : need;
    if (need == 0 || play->client.length < need)
        return false;
    n = n < play->client.length ? n : play->client.length;
    size_t taken = feed(play, ENGINE_CLIENT, play->client.bytes, n);
    memmove(play->client.bytes, play->client.bytes + taken, play->client.length - taken);
    play->client.length -= taken;
    bool judged = play->judged;
    play->judged = false;
    return taken != 0 || judged;
}

static bool offer_server(struct play *play, size_t piece)
{
    size_t left = play->server.said.length - play->delivered;
    size_t need = engine_need(play->engine, ENGINE_SERVER);
    size_t n = piece > need ? piece : need;
    if (left == 0 || need == 0 || left < need)
        return false;
    size_t taken = feed(play, ENGINE_SERVER, play->server.said.bytes + play->delivered, n < left ? n : left);
    play->delivered += taken;
    return taken != 0;
}

static void check_seen(struct play *play, bool complete)
{
    const struct writer *seen = &play->server.seen;
    if (play->cut && (play->copy_failed || play->gave_up)) {
        play->server.dead = true;
        return;
    }
    CHECK(!play->cut);
    CHECK(play->got.length <= seen->length);
    CHECK(play->got.length == 0 || memcmp(play->got.bytes, seen->bytes, play->got.length) == 0);
    CHECK(!complete || play->got.length == seen->length);
}

/* ---- the client -------------------------------------------------------------------------------------- */

static void text(struct play *play, struct input *input, char *sql, size_t size)
{
    static const char *const texts[] = {"SELECT 1",
                                        "DROP TABLE t%u",
                                        "BEGIN",
                                        "ROLLBACK",
                                        "COMMIT",
                                        "ERROR",
                                        "COPY IN",
                                        "SELECT 1; DROP TABLE t%u",
                                        "ROLLBACK; DROP TABLE t%u",
                                        "",
                                        "DROP TABLE t%u; ERROR",
                                        "SELECT '\\'",
                                        "COPY FAIL",
                                        "BEGIN; DROP TABLE t%u",
                                        "DROP TABLE t%u",
                                        "SAVEPOINT one"};
    unsigned which = take(input) % (play->may_refuse ? 12 : 16);
    unsigned number = play->next_statement++ & 0xffff;
    const char *from = texts[which];
    play->copy_failed = play->copy_failed || which == 12;
    const char *place = strstr(from, "%u");
    play->allowed[number] = false;
    if (place)
        snprintf(sql, size, "%.*s%u%s", (int)(place - from), from, number, place + 2);
    else
        snprintf(sql, size, "%s", from);
}

static void client_says(struct play *play, struct input *input)
{
    static const char *const names[] = {"", "a", "b", "c"};
    static const char types[] = "QPBEDCSHdcfFPBESQ";
    char sql[128];
    uint8_t type = (uint8_t)types[take(input) % (sizeof types - 1)];
    const char *name = names[take(input) % 4];
    const char *other = names[take(input) % 4];
    struct writer *out = &play->client;
    play->gave_up = play->gave_up || type == 'f';
    if (type == 'Q' || type == 'P')
        text(play, input, sql, sizeof sql);
    if (type == 'Q')
        message_query_write(out, sql, strlen(sql));
    else if (type == 'P')
        message_parse_write(out, name, sql, strlen(sql), NULL, 0);
    else if (type == 'B')
        message_bind_write(out, name, other, NULL, 0);
    else if (type == 'E')
        message_execute_write(out, name, 0);
    else if (type == 'D' || type == 'C')
        message_target_write(out, (enum client_message)type, other[0] == 'a' ? 'P' : 'S', name);
    else
        message_plain_write(out, type);
}

/* EXECUTE, in a Query or prepared. */
static void client_executes(struct play *play, struct input *input)
{
    static const char *const texts[] = {"EXECUTE a", "SELECT 1; EXECUTE b; EXECUTE a",
                                        "DROP TABLE t%u; EXECUTE c; ERROR", "EXECUTE c; ROLLBACK; EXECUTE b"};
    char sql[64];
    uint8_t what = take(input);
    if (what & 4) {
        const char *name = what & 1 ? "b" : "c";
        message_parse_write(&play->client, name, what & 2 || *name == 'b' ? "EXECUTE a" : "EXECUTE b", 9,
                            NULL, 0);
        return;
    }
    unsigned number = play->next_statement++ & 0xffff;
    play->allowed[number] = false;
    const char *from = texts[what % 4];
    const char *place = strstr(from, "%u");
    if (place)
        snprintf(sql, sizeof sql, "%.*s%u%s", (int)(place - from), from, number, place + 2);
    else
        snprintf(sql, sizeof sql, "%s", from);
    message_query_write(&play->client, sql, strlen(sql));
}

/* ---- one input --------------------------------------------------------------------------------------- */

static void settle(struct play *play)
{
    bool progress = true;
    while (progress && !play->server.dead) {
        progress = offer_client(play, 1000);
        while (model_run(&play->server))
            progress = true;
        while (offer_server(play, 1000))
            progress = true;
        check_seen(play, false);
    }
}

static void check_end(struct play *play)
{
    if (!play->server.dead) {
        check_seen(play, true);
        CHECK(play->client.length == 0);
    }
    engine_closed(play->engine);
    drain(play);
    /* A statement that the client never got to send is not the engine's. */
    if (play->client.length)
        return;
    if (!play->cut && !play->server.dead && play->next_record < RECORDS) {
        CHECK(play->executed <= play->recorded);
        CHECK(play->copy_failed || play->executed + play->lost >= play->recorded);
    }
    for (unsigned i = 1; i < play->next_record; i++)
        CHECK(play->finished[i] == 1 && play->ended[i] == 1);
}

static void trace_line(void *argument, const char *text)
{
    fprintf(stderr, "%s\n", text);
}

/* ENGINE_TRACE in the environment prints every message: to read a finding. */
static void play_begin(struct play *play, bool may_refuse)
{
    struct engine_options options = {.held_message = 1000, .read_ahead = 16};
    play->engine = engine_new(&options);
    CHECK(play->engine);
    play->may_refuse = may_refuse;
    if (getenv("ENGINE_TRACE"))
        engine_trace(play->engine, trace_line, NULL);
    play->next_record = 1;
    model_init(&play->server);
    play->server.executed = executed;
    play->server.argument = play;
    writer_init(&play->client, 1 << 22);
    writer_init(&play->got, 1 << 26);
    play->sinks[ENGINE_CLIENT] = (struct sink){.emit = emit_client, .argument = play};
    play->sinks[ENGINE_SERVER] = (struct sink){.emit = emit_server, .argument = play};
    message_ready_write(&play->server.said, 'I');
    message_ready_write(&play->server.seen, 'I');
    (void)offer_server(play, 6);
}

static void play_end(struct play *play)
{
    engine_free(play->engine);
    model_release(&play->server);
    writer_release(&play->client);
    writer_release(&play->got);
    free(play);
}

static void truthful(struct input *input, bool may_refuse)
{
    struct play *play = calloc(1, sizeof *play);
    if (!play)
        abort();
    play_begin(play, may_refuse);
    while (input->at < input->end && !play->server.dead && play->next_record + 16 < RECORDS) {
        uint8_t what = take(input);
        if (what < 128)
            client_says(play, input);
        else if (what < 160)
            (void)offer_client(play, what - 127U);
        else if (what < 192)
            (void)model_run(&play->server);
        else if (what < 224)
            (void)offer_server(play, what - 191U);
        else if (what >= 232 && what < 240)
            client_executes(play, input);
        else
            settle(play);
        check_seen(play, false);
    }
    settle(play);
    check_end(play);
    play_end(play);
}

/* Bytes on both sides: nothing may crash or hang, and no more goes out than came in but for errors of our
 * own. */
static void bytes(struct input *input)
{
    struct play *play = calloc(1, sizeof *play);
    if (!play)
        abort();
    play_begin(play, true);
    play->any_text = true;
    while (input->at < input->end && !play->cut) {
        uint8_t what = take(input);
        size_t n = what % 32;
        n = n < (size_t)(input->end - input->at) ? n : (size_t)(input->end - input->at);
        if (what < 128) {
            writer_bytes(&play->client, input->at, n);
            (void)offer_client(play, n);
        } else {
            writer_bytes(&play->server.said, input->at, n);
            (void)offer_server(play, n);
        }
        input->at += n;
    }
    engine_closed(play->engine);
    drain(play);
    play_end(play);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    uint8_t kind = take(&input) % 4;
    if (kind == 3)
        bytes(&input);
    else
        truthful(&input, kind != 0);
    return 0;
}

/*
 * What the wire scripts can't say of the engine: its size, messages too long to hold in all their cuts,
 * bounds, and what it answers to questions about the session.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/session/engine_inside.h"

struct table {
    struct engine *engine;
    struct writer out[2];
    struct sink sinks[2];
    unsigned runs; /* calls of emit */
};

static struct table table;

static void emit(void *argument, const uint8_t *bytes, size_t n)
{
    table.runs++;
    writer_bytes(argument, bytes, n);
}

static size_t feed(enum engine_side side, const void *bytes, size_t n)
{
    size_t taken =
        engine_feed(table.engine, side, bytes, n, &table.sinks[ENGINE_CLIENT], &table.sinks[ENGINE_SERVER]);
    sink_flush(&table.sinks[ENGINE_CLIENT]);
    sink_flush(&table.sinks[ENGINE_SERVER]);
    return taken;
}

static enum engine_event_kind next(struct engine_event *event)
{
    engine_next(table.engine, event);
    return event->kind;
}

static void begin(const struct engine_options *options)
{
    struct engine_event event;
    table = (struct table){.engine = engine_new(options)};
    assert_non_null(table.engine);
    for (int side = 0; side < 2; side++) {
        writer_init(&table.out[side], (size_t)1 << 28);
        table.sinks[side] = (struct sink){.emit = emit, .argument = &table.out[side]};
    }
    assert_int_equal(feed(ENGINE_SERVER, "Z\0\0\0\5I", 6), 6);
    assert_int_equal(next(&event), EVENT_READY);
    writer_clear(&table.out[ENGINE_CLIENT]);
    table.runs = 0;
}

static int tear_down(void **state)
{
    engine_free(table.engine);
    writer_release(&table.out[0]);
    writer_release(&table.out[1]);
    return 0;
}

static const struct engine_options plain = {.held_message = 100000};

static void size(void **state)
{
    begin(&plain);
    assert_true(sizeof(struct engine) <= 512);
    assert_null(table.engine->names);
    assert_null(table.engine->events);
    assert_null(table.engine->prepared);
    assert_null(table.engine->ledger.spill);
}

/* A statement at offset `at` of a Query (or Parse) of n bytes, the rest harmless. */
static struct writer long_message(uint8_t type, size_t n, size_t at, const char *statement)
{
    struct writer message;
    char *sql = malloc(n);
    assert_non_null(sql);
    memset(sql, ' ', n);
    memcpy(sql, "SELECT 1;", 9);
    if (statement)
        memcpy(sql + at, statement, strlen(statement));
    writer_init(&message, n + 1000);
    if (type == 'Q')
        message_query_write(&message, sql, n);
    else
        message_parse_write(&message, "name", sql, n, NULL, 0);
    free(sql);
    return message;
}

/* Present it in pieces, as a session with a buffer of `piece` bytes would. */
static size_t feed_pieces(const struct writer *message, size_t piece)
{
    size_t kept = 0;
    size_t at = 0;
    while (at < message->length && !table.engine->cut) {
        size_t need = engine_need(table.engine, ENGINE_CLIENT);
        size_t n = need > piece ? need : piece;
        n = n > message->length - at ? message->length - at : n;
        if (need == 0)
            break;
        size_t taken = feed(ENGINE_CLIENT, message->bytes + at, n);
        assert_true(taken <= n);
        at += taken;
        if (taken == 0 && ++kept > 3)
            break;
    }
    return at;
}

static void long_harmless(void **state)
{
    for (size_t piece = 4096; piece < 200000; piece *= 3) {
        begin(&plain);
        struct writer message = long_message('Q', 300000, 0, NULL);
        assert_int_equal(feed_pieces(&message, piece), message.length);
        assert_int_equal(table.out[ENGINE_SERVER].length, message.length);
        assert_memory_equal(table.out[ENGINE_SERVER].bytes, message.bytes, message.length);
        writer_release(&message);
        tear_down(NULL);
    }
    begin(&plain);
}

/* Behind the first bytes: the legs are cut before the message is complete, and nothing behind the find goes
 * on. */
static void long_late(void **state)
{
    static const uint8_t types[] = {'Q', 'P'};
    for (unsigned i = 0; i < 2; i++) {
        for (size_t at = 20000; at < 299000; at += 55555) {
            struct engine_event event;
            begin(&plain);
            struct writer message = long_message(types[i], 300000, at, "drop table t");
            feed_pieces(&message, 9000);
            assert_int_equal(next(&event), EVENT_CUT);
            assert_true(table.out[ENGINE_SERVER].length < at + 100);
            assert_true(table.out[ENGINE_SERVER].length < message.length);
            assert_int_equal(table.out[ENGINE_CLIENT].bytes[0], 'E');
            assert_int_equal(engine_need(table.engine, ENGINE_CLIENT), 0);
            assert_int_equal(next(&event), EVENT_NONE);
            writer_release(&message);
            tear_down(NULL);
        }
    }
    begin(&plain);
}

/* The very last statement, without so much as a semicolon behind it. */
static void long_last(void **state)
{
    struct engine_event event;
    begin(&plain);
    struct writer message = long_message('Q', 300000, 300000 - 14, ";drop table tt");
    feed_pieces(&message, 9000);
    assert_int_equal(next(&event), EVENT_CUT);
    assert_true(table.out[ENGINE_SERVER].length < message.length);
    writer_release(&message);
}

static void long_early(void **state)
{
    static const uint8_t types[] = {'Q', 'P'};
    for (unsigned i = 0; i < 2; i++) {
        struct engine_event event;
        begin(&plain);
        struct writer message = long_message(types[i], 300000, 100, "drop table t;");
        assert_int_equal(feed_pieces(&message, 9000), 0);
        assert_int_equal(next(&event), EVENT_JUDGE);
        assert_true(event.judge.too_long);
        assert_memory_equal(event.judge.statements[0].text, "drop table t", 12);
        assert_ptr_equal(event.judge.statements[0].text, event.judge.sql + event.judge.statements[0].offset);
        struct judgement judgement = {.as = JUDGED_REFUSE,
                                      .token = "no",
                                      .refusal = {.severity = "ERROR", .sqlstate = "SL001", .message = "m"}};
        engine_judged(table.engine, &judgement);
        assert_int_equal(feed_pieces(&message, 9000), message.length);
        const char *expected = types[i] == 'Q' ? "Q\0\0\0\7no" : "P\0\0\0\16name\0no\0\0";
        assert_int_equal(table.out[ENGINE_SERVER].length, types[i] == 'Q' ? 8 : 15);
        assert_memory_equal(table.out[ENGINE_SERVER].bytes, expected, table.out[ENGINE_SERVER].length);
        writer_release(&message);
        tear_down(NULL);
    }
    begin(&plain);
}

static bool never(void *argument, uint64_t n)
{
    return false;
}

/* What may not be held passes while it is scanned, though it is short. */
static void hold_denied(void **state)
{
    const struct engine_options options = {.held_message = 100000, .may_hold = never};
    struct engine_event event;
    begin(&options);
    struct writer message = long_message('Q', 50000, 30000, "drop table t");
    feed_pieces(&message, 9000);
    assert_int_equal(next(&event), EVENT_CUT);
    writer_release(&message);
}

/* In a failed transaction the server refuses changes itself, unless the message leaves it first. */
static void long_failed_transaction(void **state)
{
    struct engine_event event;
    begin(&plain);
    table.engine->status = 'E';
    struct writer message = long_message('Q', 300000, 100, "drop table t;");
    assert_int_equal(feed_pieces(&message, 9000), message.length);
    assert_int_equal(next(&event), EVENT_NONE);
    writer_release(&message);
    tear_down(NULL);
    begin(&plain);
    table.engine->status = 'E';
    message = long_message('Q', 300000, 100, "rollback; drop table t;");
    assert_int_equal(feed_pieces(&message, 9000), 0);
    assert_int_equal(next(&event), EVENT_JUDGE);
    writer_release(&message);
}

/* 4096 replies owed: the client's input waits, and goes on when one has come. */
/* `n` statements in one Query, judged or refused for their number; what its judge is asked. */
static void judge_many(unsigned n, struct engine_judge *judge)
{
    static const char drop[] = "DROP TABLE x;";
    static const struct engine_options roomy = {.held_message = 1 << 20};
    struct engine_event event;
    struct writer message;
    char *sql = malloc(n * strlen(drop));
    assert_non_null(sql);
    for (unsigned i = 0; i < n; i++)
        memcpy(sql + i * strlen(drop), drop, strlen(drop));
    begin(&roomy);
    writer_init(&message, 1 << 20);
    message_query_write(&message, sql, n * strlen(drop));
    free(sql);
    assert_int_equal(feed(ENGINE_CLIENT, message.bytes, message.length), 0);
    assert_int_equal(next(&event), EVENT_JUDGE);
    *judge = event.judge;
    if (!judge->too_long) {
        uint64_t *records = calloc(n, sizeof *records);
        assert_non_null(records);
        for (unsigned i = 0; i < n; i++)
            records[i] = i + 1;
        engine_judged(table.engine,
                      &(struct judgement){.as = JUDGED_FORWARD, .records = records, .n_records = n});
        free(records);
        assert_int_equal(feed(ENGINE_CLIENT, message.bytes, message.length), message.length);
    }
    writer_release(&message);
}

/* Of a message refused for the number of its statements only the first are looked at and recorded. */
static void too_many(void **state)
{
    struct engine_judge judge;
    judge_many(10001, &judge);
    assert_true(judge.too_long);
    assert_int_equal(judge.n_statements, 100);
}

static void many(void **state)
{
    enum { ALL = 10000 };
    static const uint8_t drop[] = "C\0\0\0\17DROP TABLE";
    struct engine_judge judge;
    struct engine_event event;
    judge_many(ALL, &judge);
    assert_false(judge.too_long);
    assert_int_equal(judge.n_statements, ALL);
    for (uint64_t record = 1; record <= ALL; record++) {
        assert_int_equal(feed(ENGINE_SERVER, drop, sizeof drop), sizeof drop);
        assert_int_equal(next(&event), EVENT_FINISHED);
        assert_int_equal(event.finished.record, record);
        assert_string_equal(event.finished.tag, "DROP TABLE");
        assert_int_equal(next(&event), EVENT_NONE);
    }
    assert_int_equal(feed(ENGINE_SERVER, "Z\0\0\0\5I", 6), 6);
    for (uint64_t record = 1; record <= ALL; record++) {
        assert_int_equal(next(&event), EVENT_TRANSACTION_ENDED);
        assert_int_equal(event.ended.record, record);
    }
    assert_int_equal(next(&event), EVENT_NONE);
}

static void ledger_bound(void **state)
{
    begin(&plain);
    for (unsigned i = 0; i < LEDGER_MAX; i++)
        assert_int_equal(feed(ENGINE_CLIENT, "S\0\0\0\4", 5), 5);
    assert_int_equal(feed(ENGINE_CLIENT, "S\0\0\0\4", 5), 0);
    assert_int_equal(engine_need(table.engine, ENGINE_CLIENT), 0);
    assert_int_equal(feed(ENGINE_SERVER, "Z\0\0\0\5I", 6), 6);
    assert_int_equal(engine_need(table.engine, ENGINE_CLIENT), 5);
    assert_int_equal(feed(ENGINE_CLIENT, "S\0\0\0\4", 5), 5);
}

/* Neighbouring messages leave in one run. */
static void one_run(void **state)
{
    static const char replies[] = "T\0\0\0\6\0\0D\0\0\0\6\0\0D\0\0\0\6\0\0C\0\0\0\x0dSELECT 2\0Z\0\0\0\5I";
    begin(&plain);
    assert_int_equal(feed(ENGINE_CLIENT, "Q\0\0\0\x0dSELECT 1", 14), 14);
    assert_int_equal(table.runs, 1);
    assert_int_equal(feed(ENGINE_SERVER, replies, sizeof replies - 1), sizeof replies - 1);
    assert_int_equal(table.runs, 2);
    assert_true(engine_quiet(table.engine));
    struct engine_counts counts = {0};
    engine_counts_take(table.engine, &counts);
    assert_int_equal(counts.client_messages, 1);
    assert_int_equal(counts.server_messages, 6); /* and the one that ended the login */
}

static void report(const char *name, const char *value)
{
    struct writer writer;
    writer_init(&writer, 1000);
    message_parameter_write(&writer, name, value);
    assert_int_equal(feed(ENGINE_SERVER, writer.bytes, writer.length), writer.length);
    writer_release(&writer);
}

static void knows(void **state)
{
    begin(&plain);
    assert_string_equal(engine_application_name(table.engine), "");
    report("application_name", "psql");
    report("session_authorization", "0123456789012345678901234567890123456789012345678901234567890123456789");
    report("client_encoding", "SHIFT_JIS_2004");
    report("in_hot_standby", "on");
    assert_string_equal(engine_application_name(table.engine), "psql");
    assert_int_equal(strlen(engine_session_authorization(table.engine)), 63);
    assert_string_equal(engine_client_encoding(table.engine), "SHIFT_JIS_2004");
    assert_true(engine_in_hot_standby(table.engine));
    static const struct {
        const char *text;
        int number;
    } versions[] = {{"15.4 (Debian 15.4-1)", 150004}, {"18beta1", 180000}, {"13.23", 130023}, {"odd", 0}};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        report("server_version", versions[i].text);
        assert_int_equal(engine_server_version(table.engine), versions[i].number);
    }
}

/* Nothing of ours may stand inside one of the server's messages. */
static void say_between(void **state)
{
    struct report fatal = {.severity = "FATAL", .sqlstate = "57P01", .message = "bye"};
    begin(&plain);
    assert_true(engine_say(table.engine, &fatal, &table.sinks[ENGINE_CLIENT]));
    assert_int_equal(table.out[ENGINE_CLIENT].bytes[0], 'E');
    feed(ENGINE_CLIENT, "Q\0\0\0\x0dSELECT 1", 14);
    feed(ENGINE_SERVER, "D\0\0\0\x20x", 6);
    assert_false(engine_say(table.engine, &fatal, &table.sinks[ENGINE_CLIENT]));
}

/* The journal of names: what an error undoes, and what it does not. */
static void prepared_names(void **state)
{
    struct prepared *prepared = prepared_new();
    struct prepared_text *one = prepared_text_new("one", 3);
    struct prepared_text *two = prepared_text_new("two", 3);
    struct prepared_name name = prepared_name("n", 1);
    begin(&plain);
    assert_int_equal(prepared_set(prepared, false, &name, NULL, 0), PREPARED_NOTHING);
    assert_int_equal(prepared_set(prepared, false, &name, one, 0), PREPARED_CHANGED);
    prepared_settle(prepared);
    assert_int_equal(prepared_set(prepared, false, &name, two, 0), PREPARED_CHANGED);
    assert_int_equal(prepared_set(prepared, false, &name, NULL, 0), PREPARED_CHANGED);
    assert_null(prepared_find(prepared, false, &name));
    prepared_synced(prepared);
    assert_true(prepared_must_wait(prepared));
    prepared_settle(prepared); /* the first holds, the second does not */
    assert_null(prepared_find(prepared, false, &name));
    prepared_undo(prepared);
    assert_ptr_equal(prepared_find(prepared, false, &name), two);
    assert_false(prepared_must_wait(prepared));
    assert_int_equal(prepared_set(prepared, true, &name, one, 5), PREPARED_CHANGED);
    prepared_settle(prepared);
    prepared_transaction_over(prepared, 5);
    assert_non_null(prepared_find(prepared, true, &name));
    prepared_transaction_over(prepared, 6);
    assert_null(prepared_find(prepared, true, &name));
    for (unsigned i = 0; i < PREPARED_MAX + 10; i++) {
        char text[16];
        snprintf(text, sizeof text, "s%u", i);
        struct prepared_name other = prepared_name(text, strlen(text));
        enum prepared_change change = prepared_set(prepared, false, &other, one, 0);
        assert_int_equal(change, i + 1 < PREPARED_MAX ? PREPARED_CHANGED : PREPARED_FULL);
        prepared_settle(prepared);
    }
    prepared_text_release(one);
    prepared_text_release(two);
    prepared_free(prepared);
}

static void words(void **state)
{
    static const struct {
        const char *text;
        enum word_command command;
        const char *name;
    } rows[] = {
        {"SAVEPOINT a", WORD_SAVEPOINT, "a"},
        {"savepoint\n--x\n/* /* y */ */ A1_$ ", WORD_SAVEPOINT, "a1_$"},
        {"release savepoint \"A\"\"b\"", WORD_RELEASE, "A\"b"},
        {"RELEASE x", WORD_RELEASE, "x"},
        {"rollback", WORD_ROLLBACK, ""},
        {"ROLLBACK AND CHAIN", WORD_ROLLBACK, ""},
        {"abort work", WORD_ROLLBACK, ""},
        {"ROLLBACK TO x", WORD_ROLLBACK_TO, "x"},
        {"rollback transaction to savepoint x", WORD_ROLLBACK_TO, "x"},
        {"/* a */ rollback work to x;", WORD_ROLLBACK_TO, "x"},
        {"ROLLBACK PREPARED 'x'", WORD_ROLLBACK, ""},
        {"SELECT 1", WORD_NONE, ""},
        {"savepoints", WORD_NONE, ""},
        {"", WORD_NONE, ""},
        {"/*", WORD_NONE, ""},
    };
    begin(&plain);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct prepared_name name;
        if (word_of(rows[i].text, strlen(rows[i].text), &name) != rows[i].command ||
            strcmp(name.text, rows[i].name) != 0)
            fail_msg("%s: %s", rows[i].text, name.text);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(size),
        TEST(long_harmless),
        TEST(long_late),
        TEST(long_last),
        TEST(long_early),
        TEST(hold_denied),
        TEST(too_many),
        TEST(many),
        TEST(ledger_bound),
        TEST(one_run),
        TEST(long_failed_transaction),
        TEST(knows),
        TEST(say_between),
        TEST(prepared_names),
        TEST(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

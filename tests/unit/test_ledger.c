/*
 * The ledger's ring, and the whole product of what may be owed and what a server may send, through the
 * engine. The expectation is written down a second time, as the manual's prose has it, and not taken from the
 * ledger's table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/session/engine_inside.h"

/* ---- the ring ---------------------------------------------------------------------------------------- */

static void ring(void **state)
{
    struct ledger ledger;
    ledger_init(&ledger);
    uint32_t in = 0;
    uint32_t out = 0;
    for (uint32_t round = 0; round < 2000; round++) {
        for (uint32_t i = 0; i < round % 23; i++) {
            struct ledger_entry *entry = ledger_push(&ledger, LEDGER_PARSE, LEDGER_FORWARD);
            assert_non_null(entry);
            entry->statements = in++;
        }
        for (uint32_t i = 0; i < round % 19 && ledger.count; i++) {
            assert_int_equal(ledger_head(&ledger)->statements, out++);
            ledger_pop(&ledger);
        }
        if (round % 100 == 99)
            while (ledger.count) {
                assert_int_equal(ledger_head(&ledger)->statements, out++);
                ledger_pop(&ledger);
            }
        if (ledger.count == 0)
            assert_null(ledger.spill);
    }
    ledger_release(&ledger);
}

static void bound(void **state)
{
    struct ledger ledger;
    ledger_init(&ledger);
    for (uint32_t i = 0; i < LEDGER_MAX; i++)
        assert_non_null(ledger_push(&ledger, LEDGER_SYNC, LEDGER_SWALLOW));
    assert_null(ledger_push(&ledger, LEDGER_SYNC, LEDGER_FORWARD));
    assert_int_equal(ledger.special, LEDGER_MAX);
    assert_int_equal(ledger.givers, LEDGER_MAX);
    while (ledger.count)
        ledger_pop(&ledger);
    assert_int_equal(ledger.special + ledger.givers, 0);
    ledger_release(&ledger);
}

static void copy_takes_syncs(void **state)
{
    static const enum ledger_kind kinds[] = {LEDGER_EXECUTE,  LEDGER_SYNC, LEDGER_FLUSH, LEDGER_SYNC,
                                             LEDGER_COPY_END, LEDGER_SYNC, LEDGER_QUERY, LEDGER_COPY_END};
    struct ledger ledger;
    ledger_init(&ledger);
    for (size_t i = 0; i < 8; i++)
        ledger_push(&ledger, kinds[i], LEDGER_FORWARD);
    uint32_t removed;
    assert_int_equal(ledger_copy_begins(&ledger, &removed), LEDGER_MARKER);
    assert_int_equal(removed, 2);
    assert_int_equal(ledger.count, 4);
    assert_int_equal(ledger_at(&ledger, 1)->kind, LEDGER_SYNC);
    assert_int_equal(ledger_at(&ledger, 2)->kind, LEDGER_QUERY);
    ledger_pop(&ledger);
    assert_false(ledger.count == 0);
    ledger_pop(&ledger);
    ledger_pop(&ledger); /* a marker is never the head */
    assert_int_equal(ledger.count, 0);
    ledger_push(&ledger, LEDGER_EXECUTE, LEDGER_FORWARD);
    ledger_push(&ledger, LEDGER_SYNC, LEDGER_FORWARD);
    assert_int_equal(ledger_copy_begins(&ledger, &removed), LEDGER_NOTHING);
    assert_int_equal(removed, 1);
    assert_int_equal(ledger.count, 1);
    /* Behind what can't be read in copy mode a Sync is not ignored. */
    ledger_push(&ledger, LEDGER_SYNC, LEDGER_FORWARD);
    ledger_push(&ledger, LEDGER_PARSE, LEDGER_FORWARD);
    ledger_push(&ledger, LEDGER_SYNC, LEDGER_FORWARD);
    assert_int_equal(ledger_copy_begins(&ledger, &removed), LEDGER_OTHER);
    assert_int_equal(removed, 1);
    assert_int_equal(ledger.count, 3);
    ledger_release(&ledger);
}

/* ---- the product ------------------------------------------------------------------------------------- */

struct out {
    struct writer bytes;
    struct sink sink;
};

static void emit(void *argument, const uint8_t *bytes, size_t n)
{
    writer_bytes(argument, bytes, n);
}

static void out_init(struct out *out)
{
    writer_init(&out->bytes, 1 << 20);
    out->sink = (struct sink){.emit = emit, .argument = &out->bytes};
}

struct table {
    struct engine *engine;
    struct out client, server;
};

static void give(struct table *table, enum engine_side side, const struct writer *bytes)
{
    size_t taken = engine_feed(table->engine, side, bytes->bytes, bytes->length, &table->client.sink,
                               &table->server.sink);
    assert_int_equal(taken, bytes->length);
    sink_flush(&table->client.sink);
    sink_flush(&table->server.sink);
}

static void server_writes(struct writer *writer, uint8_t type)
{
    size_t begun = writer_begin(writer, type);
    if (type == SERVER_READY)
        writer_u8(writer, 'I');
    else if (type == SERVER_ERROR)
        writer_bytes(writer, "SERROR\0C42601\0", 15);
    else
        writer_bytes(writer, "x\0y", 4);
    writer_end(writer, begun);
}

static void table_init(struct table *table)
{
    struct engine_options options = {.held_message = 1000};
    struct writer ready;
    table->engine = engine_new(&options);
    assert_non_null(table->engine);
    out_init(&table->client);
    out_init(&table->server);
    writer_init(&ready, 100);
    server_writes(&ready, SERVER_READY);
    give(table, ENGINE_SERVER, &ready);
    struct engine_event event;
    engine_next(table->engine, &event);
    assert_int_equal(event.kind, EVENT_READY);
    writer_clear(&table->client.bytes);
    writer_release(&ready);
}

static void table_release(struct table *table)
{
    engine_free(table->engine);
    writer_release(&table->client.bytes);
    writer_release(&table->server.bytes);
}

static const struct {
    enum ledger_kind kind;
    uint8_t message;
    const char *part, *end; /* replies that go on, and that end it */
} owed[] = {
    {LEDGER_QUERY, 'Q', "TDHdcGWCI", ""},
    {LEDGER_FUNCTION, 'F', "V", ""},
    {LEDGER_SYNC, 'S', "", "Z"},
    {LEDGER_PARSE, 'P', "", "1"},
    {LEDGER_BIND, 'B', "", "2"},
    {LEDGER_DESCRIBE, 'D', "t", "Tn"},
    {LEDGER_EXECUTE, 'E', "DHdcGW", "CIs"},
    {LEDGER_CLOSE, 'C', "", "3"},
};

static void client_writes(struct writer *writer, uint8_t type)
{
    size_t begun = writer_begin(writer, type);
    if (type != 'S')
        writer_bytes(writer, "\0\0\0\0", type == 'Q' ? 1 : 4);
    writer_end(writer, begun);
}

/* How many entries [owed, Sync] are left after the server's message. */
static uint32_t expected_left(size_t i, uint8_t type)
{
    bool extended = owed[i].kind >= LEDGER_PARSE;
    if (strchr("NSA", type))
        return 2;
    if (type == 'E')
        return extended ? 1 : 2;
    if (type == 'Z') /* ends a Sync; where entries were left without an answer it ends the Sync behind them */
        return extended ? 0 : owed[i].kind == LEDGER_SYNC ? 1 : 2;
    if (strchr("GW", type) && strchr(owed[i].part, type))
        return 1; /* the Sync behind it is read in copy mode */
    return strchr(owed[i].end, type) ? 1 : 2;
}

static void product(void **state)
{
    struct writer bytes;
    writer_init(&bytes, 1000);
    for (size_t i = 0; i < sizeof owed / sizeof owed[0]; i++) {
        for (unsigned type = 1; type < 256; type++) {
            struct table table;
            table_init(&table);
            writer_clear(&bytes);
            client_writes(&bytes, owed[i].message);
            client_writes(&bytes, 'S');
            give(&table, ENGINE_CLIENT, &bytes);
            assert_int_equal(table.server.bytes.length, bytes.length);
            assert_int_equal(table.engine->ledger.count, 2);
            writer_clear(&bytes);
            server_writes(&bytes, (uint8_t)type);
            give(&table, ENGINE_SERVER, &bytes);
            uint32_t left = expected_left(i, (uint8_t)type);
            if (table.engine->ledger.count != left)
                fail_msg("%s owed, '%c' (%u) came: %u entries left, not %u", ledger_kind_name(owed[i].kind),
                         type, type, table.engine->ledger.count, left);
            /* Nothing was judged: the client gets just what the server sent. */
            assert_int_equal(table.client.bytes.length, bytes.length);
            assert_memory_equal(table.client.bytes.bytes, bytes.bytes, bytes.length);
            table_release(&table);
        }
    }
    writer_release(&bytes);
}

/* The same, with a refusal owed: an error is replaced, what may come at any time passes, all else ends the
 * session. */
static void product_replaced(void **state)
{
    struct writer bytes;
    writer_init(&bytes, 1000);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned type = 1; type < 256; type++) {
            struct table table;
            struct engine_event event;
            table_init(&table);
            writer_clear(&bytes);
            if (i)
                message_parse_write(&bytes, "", "DROP TABLE t", 12, NULL, 0);
            else
                message_query_write(&bytes, "DROP TABLE t", 12);
            assert_int_equal(engine_feed(table.engine, ENGINE_CLIENT, bytes.bytes, bytes.length,
                                         &table.client.sink, &table.server.sink),
                             0);
            engine_next(table.engine, &event);
            assert_int_equal(event.kind, EVENT_JUDGE);
            assert_int_equal(engine_need(table.engine, ENGINE_CLIENT), 0);
            struct judgement judgement = {
                .as = JUDGED_REFUSE,
                .token = "no",
                .refusal = {.severity = "ERROR", .sqlstate = "SL001", .message = "m"}};
            engine_judged(table.engine, &judgement);
            give(&table, ENGINE_CLIENT, &bytes);
            writer_clear(&bytes);
            server_writes(&bytes, (uint8_t)type);
            give(&table, ENGINE_SERVER, &bytes);
            engine_next(table.engine, &event);
            /* A ReadyForQuery in front of a Parse's answer is one that was not expected, as after a COPY that
             * failed early; it says nothing of the Parse. */
            bool aside = strchr(i ? "NSARZ" : "NSAR", (int)type) != NULL;
            bool same = table.client.bytes.length == bytes.length &&
                        memcmp(table.client.bytes.bytes, bytes.bytes, bytes.length) == 0;
            if (aside != same || (event.kind == EVENT_CUT) != (!aside && type != 'E'))
                fail_msg("refused %s, '%c' (%u) came: same %d, event %d", i ? "Parse" : "Query", type, type,
                         same, event.kind);
            table_release(&table);
        }
    }
    writer_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring),
        cmocka_unit_test(bound),
        cmocka_unit_test(copy_takes_syncs),
        cmocka_unit_test(product),
        cmocka_unit_test(product_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

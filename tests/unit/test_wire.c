/*
 * Frames and messages: what is written is read back, what is cut short is refused, nothing grows beyond its
 * limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/wire/message.h"

static struct writer written;

static int set_up(void **state)
{
    writer_init(&written, 1 << 16);
    return 0;
}

static int tear_down(void **state)
{
    writer_release(&written);
    return 0;
}

/* A payload in memory of just its size, so that a read behind it is seen. */
static uint8_t *payload(size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, written.bytes + FRAME_HEADER, n);
    return copy;
}

typedef bool (*read_message)(const uint8_t *bytes, size_t n);

/* Whole it is read; cut short anywhere, or with a byte too many, it is not. */
static void cut_everywhere(uint8_t type, read_message read)
{
    assert_true(writer_ok(&written));
    assert_int_equal(written.bytes[0], type);
    assert_int_equal(frame_u32(written.bytes + 1), written.length - 1);
    size_t n = written.length - FRAME_HEADER;
    for (size_t cut = 0; cut <= n; cut++) {
        uint8_t *bytes = payload(cut);
        if (read(bytes, cut) != (cut == n))
            fail_msg("%c cut to %zu of %zu bytes", type, cut, n);
        free(bytes);
    }
    writer_u8(&written, 7);
    uint8_t *bytes = payload(n + 1);
    assert_false(read(bytes, n + 1));
    free(bytes);
}

static bool read_query(const uint8_t *bytes, size_t n)
{
    struct message_query query;
    bool done = message_query_read(bytes, n, &query);
    if (done)
        assert_string_equal(query.sql, "SELECT 1");
    return done;
}

static void query(void **state)
{
    message_query_write(&written, "SELECT 1xx", 8);
    cut_everywhere('Q', read_query);
}

static bool read_parse(const uint8_t *bytes, size_t n)
{
    struct message_parse parse;
    bool done = message_parse_read(bytes, n, &parse);
    if (done) {
        assert_string_equal(parse.name, "s");
        assert_string_equal(parse.sql, "SELECT $1");
        assert_int_equal(parse.n_types, 2);
        assert_int_equal(frame_u32(parse.types + 4), 25);
    }
    return done;
}

static void parse(void **state)
{
    message_parse_write(&written, "s", "SELECT $1", 9, (uint32_t[]){23, 25}, 2);
    cut_everywhere('P', read_parse);
}

static bool read_bind(const uint8_t *bytes, size_t n)
{
    struct message_bind bind;
    struct message_value value;
    bool done = message_bind_read(bytes, n, &bind);
    if (done) {
        assert_string_equal(bind.portal, "p");
        assert_string_equal(bind.statement, "s");
        assert_true(message_bind_value(&bind, &value));
        assert_memory_equal(value.bytes, "seven", 5);
        assert_true(message_bind_value(&bind, &value));
        assert_null(value.bytes);
        assert_false(message_bind_value(&bind, &value));
    }
    return done;
}

static void bind(void **state)
{
    message_bind_write(&written, "p", "s", (const char *const[]){"seven", NULL}, 2);
    cut_everywhere('B', read_bind);
}

static bool read_execute(const uint8_t *bytes, size_t n)
{
    struct message_execute execute;
    bool done = message_execute_read(bytes, n, &execute);
    if (done)
        assert_true(strcmp(execute.portal, "p") == 0 && execute.rows == 70000);
    return done;
}

static void execute(void **state)
{
    message_execute_write(&written, "p", 70000);
    cut_everywhere('E', read_execute);
}

static bool read_target(const uint8_t *bytes, size_t n)
{
    struct message_target target;
    bool done = message_target_read(bytes, n, &target);
    if (done)
        assert_true(target.kind == 'S' && strcmp(target.name, "name") == 0);
    return done;
}

static void target(void **state)
{
    message_target_write(&written, CLIENT_DESCRIBE, 'S', "name");
    cut_everywhere('D', read_target);
    writer_clear(&written);
    message_target_write(&written, CLIENT_CLOSE, 'S', "name");
    cut_everywhere('C', read_target);
}

static bool read_error(const uint8_t *bytes, size_t n)
{
    struct message_error error;
    bool done = message_error_read(bytes, n, &error);
    if (done) {
#define FIELD(code, member) assert_string_equal(error.member, #member);
        MESSAGE_ERROR_FIELDS(FIELD)
#undef FIELD
    }
    return done;
}

static void error_fields(void **state)
{
    struct message_error error = {
#define FIELD(code, member) .member = #member,
        MESSAGE_ERROR_FIELDS(FIELD)
#undef FIELD
    };
    message_error_write(&written, SERVER_ERROR, &error);
    cut_everywhere('E', read_error);
}

static void error_unknown_field(void **state)
{
    struct message_error error;
    assert_true(message_error_read((const uint8_t *)"Zwhat\0Mtext\0", 13, &error));
    assert_string_equal(error.message, "text");
    assert_null(error.sqlstate);
    assert_false(message_error_fatal(&error));
    assert_true(message_error_read((const uint8_t *)"SFATAL\0", 8, &error));
    assert_true(message_error_fatal(&error));
    assert_true(message_error_read((const uint8_t *)"SFATAL\0VERROR\0", 15, &error));
    assert_false(message_error_fatal(&error));
}

static bool read_parameter(const uint8_t *bytes, size_t n)
{
    const char *name;
    const char *value;
    bool done = message_parameter_read(bytes, n, &name, &value);
    if (done)
        assert_true(strcmp(name, "a") == 0 && strcmp(value, "b c") == 0);
    return done;
}

static void parameter(void **state)
{
    message_parameter_write(&written, "a", "b c");
    cut_everywhere('S', read_parameter);
}

static bool read_command(const uint8_t *bytes, size_t n)
{
    const char *tag;
    bool done = message_command_read(bytes, n, &tag);
    if (done)
        assert_string_equal(tag, "INSERT 0 1");
    return done;
}

static bool read_ready(const uint8_t *bytes, size_t n)
{
    char status;
    bool done = message_ready_read(bytes, n, &status);
    if (done)
        assert_int_equal(status, 'T');
    return done;
}

static void command_and_ready(void **state)
{
    message_command_write(&written, "INSERT 0 1");
    cut_everywhere('C', read_command);
    writer_clear(&written);
    message_ready_write(&written, 'T');
    cut_everywhere('Z', read_ready);
}

static bool read_initial(const uint8_t *bytes, size_t n)
{
    struct message_sasl_initial initial;
    bool done = message_sasl_initial_read(bytes, n, &initial);
    if (done)
        assert_memory_equal(initial.data, "n,,", 3);
    return done;
}

static void sasl(void **state)
{
    struct message_sasl_initial initial = {SASL_SCRAM, (const uint8_t *)"n,,", 3};
    message_sasl_initial_write(&written, &initial);
    cut_everywhere('p', read_initial);
    writer_clear(&written);
    message_sasl_write(&written, (const char *const[]){SASL_SCRAM_PLUS, SASL_SCRAM}, 2);
    uint32_t code;
    struct reader rest;
    assert_true(message_authentication_read(written.bytes + 5, written.length - 5, &code, &rest));
    assert_int_equal(code, AUTHENTICATION_SASL);
    assert_string_equal(message_sasl_mechanism(&rest), SASL_SCRAM_PLUS);
    assert_string_equal(message_sasl_mechanism(&rest), SASL_SCRAM);
    assert_null(message_sasl_mechanism(&rest));
    assert_false(rest.bad);
    rest = reader_of("SCRAM", 5); /* no end */
    assert_null(message_sasl_mechanism(&rest));
    assert_true(rest.bad);
}

static void reader_stays_inside(void **state)
{
    const uint8_t bytes[] = {1, 2, 3};
    struct reader reader = reader_of(bytes, sizeof bytes);
    assert_int_equal(reader_u16(&reader), 0x0102);
    assert_int_equal(reader_u32(&reader), 0);
    assert_true(reader.bad);
    assert_int_equal(reader_u8(&reader), 0); /* the first error stays */
    assert_null(reader_bytes(&reader, SIZE_MAX));
    assert_null(reader_string(&reader, NULL));
    assert_false(reader_done(&reader));
}

static void writer_keeps_its_limit(void **state)
{
    struct writer writer;
    writer_init(&writer, 100);
    for (int i = 0; i < 100; i++)
        writer_u8(&writer, (uint8_t)i);
    assert_true(writer_ok(&writer) && writer.length == 100 && writer.size <= 100);
    writer_u8(&writer, 0);
    assert_false(writer_ok(&writer));
    writer_clear(&writer);
    writer_u32(&writer, 5);
    assert_true(writer_ok(&writer));
    writer_bytes(&writer, "x", SIZE_MAX); /* must not wrap around */
    assert_false(writer_ok(&writer));
    writer_u8(&writer, 1);
    assert_int_equal(writer.length, 4);
    writer_release(&writer);
}

static void limits(void **state)
{
    assert_int_equal(message_client_limit('S', 150000), 10000);
    assert_int_equal(message_client_limit('S', 130010), 0x3ffffffe);
    assert_int_equal(message_client_limit('Q', 150000), 0x3ffffffe);
    assert_int_equal(message_client_limit('p', 150000), 65535);
    assert_int_equal(message_client_limit('z', 150000), 0x3ffffffe);
    assert_string_equal(message_client_name('Q'), "Query");
    assert_null(message_client_name('z'));
    assert_string_equal(message_server_name('Z'), "ReadyForQuery");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(query),
        TEST(parse),
        TEST(bind),
        TEST(execute),
        TEST(target),
        TEST(error_fields),
        TEST(error_unknown_field),
        TEST(parameter),
        TEST(command_and_ready),
        TEST(sasl),
        TEST(reader_stays_inside),
        TEST(writer_keeps_its_limit),
        TEST(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

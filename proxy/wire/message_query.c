/*
 * Simple and extended query: Query, Parse, Bind, Execute, Describe, Close.
 */
#include "proxy/wire/message.h"

bool message_query_read(const uint8_t *payload, size_t n, struct message_query *query)
{
    struct reader reader = reader_of(payload, n);
    query->sql = reader_string(&reader, &query->length);
    return reader_done(&reader);
}

void message_query_write(struct writer *writer, const char *sql, size_t length)
{
    size_t begun = writer_begin(writer, CLIENT_QUERY);
    writer_text(writer, sql, length);
    writer_end(writer, begun);
}

bool message_parse_read(const uint8_t *payload, size_t n, struct message_parse *parse)
{
    struct reader reader = reader_of(payload, n);
    parse->name = reader_string(&reader, &parse->name_length);
    parse->sql = reader_string(&reader, &parse->length);
    parse->n_types = reader_u16(&reader);
    parse->types = reader_bytes(&reader, (size_t)parse->n_types * 4);
    return reader_done(&reader);
}

void message_parse_write(struct writer *writer, const char *name, const char *sql, size_t length,
                         const uint32_t *types, uint16_t n_types)
{
    size_t begun = writer_begin(writer, CLIENT_PARSE);
    writer_string(writer, name);
    writer_text(writer, sql, length);
    writer_u16(writer, n_types);
    for (uint16_t i = 0; i < n_types; i++)
        writer_u32(writer, types[i]);
    writer_end(writer, begun);
}

bool message_bind_value(struct message_bind *bind, struct message_value *value)
{
    if (bind->values.bad || bind->values.at == bind->values.end)
        return false;
    uint32_t length = reader_u32(&bind->values);
    value->length = length == UINT32_MAX ? 0 : length;
    value->bytes = length == UINT32_MAX ? NULL : reader_bytes(&bind->values, length);
    return !bind->values.bad;
}

bool message_bind_read(const uint8_t *payload, size_t n, struct message_bind *bind)
{
    struct reader reader = reader_of(payload, n);
    bind->portal = reader_string(&reader, &bind->portal_length);
    bind->statement = reader_string(&reader, &bind->statement_length);
    bind->n_formats = reader_u16(&reader);
    bind->formats = reader_bytes(&reader, (size_t)bind->n_formats * 2);
    bind->n_values = reader_u16(&reader);
    const uint8_t *values = reader.at;
    for (uint16_t i = 0; i < bind->n_values && !reader.bad; i++) {
        uint32_t length = reader_u32(&reader);
        if (length != UINT32_MAX)
            (void)reader_bytes(&reader, length);
    }
    bind->values = reader_of(values, (size_t)(reader.at - values));
    bind->n_results = reader_u16(&reader);
    bind->results = reader_bytes(&reader, (size_t)bind->n_results * 2);
    return reader_done(&reader);
}

void message_bind_write(struct writer *writer, const char *portal, const char *statement,
                        const char *const *values, uint16_t n_values)
{
    size_t begun = writer_begin(writer, CLIENT_BIND);
    writer_string(writer, portal);
    writer_string(writer, statement);
    writer_u16(writer, 0);
    writer_u16(writer, n_values);
    for (uint16_t i = 0; i < n_values; i++) {
        size_t length = values[i] ? strlen(values[i]) : 0;
        writer_u32(writer, values[i] ? (uint32_t)length : UINT32_MAX);
        writer_bytes(writer, values[i], length);
    }
    writer_u16(writer, 0);
    writer_end(writer, begun);
}

bool message_execute_read(const uint8_t *payload, size_t n, struct message_execute *execute)
{
    struct reader reader = reader_of(payload, n);
    execute->portal = reader_string(&reader, &execute->portal_length);
    execute->rows = reader_u32(&reader);
    return reader_done(&reader);
}

void message_execute_write(struct writer *writer, const char *portal, uint32_t rows)
{
    size_t begun = writer_begin(writer, CLIENT_EXECUTE);
    writer_string(writer, portal);
    writer_u32(writer, rows);
    writer_end(writer, begun);
}

bool message_target_read(const uint8_t *payload, size_t n, struct message_target *target)
{
    struct reader reader = reader_of(payload, n);
    target->kind = reader_u8(&reader);
    target->name = reader_string(&reader, &target->name_length);
    return reader_done(&reader);
}

void message_target_write(struct writer *writer, enum client_message type, uint8_t kind, const char *name)
{
    size_t begun = writer_begin(writer, (uint8_t)type);
    writer_u8(writer, kind);
    writer_string(writer, name);
    writer_end(writer, begun);
}

void message_plain_write(struct writer *writer, uint8_t type)
{
    writer_end(writer, writer_begin(writer, type));
}

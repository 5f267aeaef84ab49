/*
 * Replies: ErrorResponse and NoticeResponse, ParameterStatus, CommandComplete, ReadyForQuery.
 */
#include "proxy/wire/message.h"

static const char **error_member(struct message_error *error, uint8_t code)
{
    switch (code) {
#define FIELD(letter, member)                                                                                \
    case letter:                                                                                             \
        return &error->member;
        MESSAGE_ERROR_FIELDS(FIELD)
#undef FIELD
    default:
        return NULL;
    }
}

bool message_error_read(const uint8_t *payload, size_t n, struct message_error *error)
{
    struct reader reader = reader_of(payload, n);
    *error = (struct message_error){0};
    for (uint8_t code; (code = reader_u8(&reader)) != 0;) {
        const char *text = reader_string(&reader, NULL);
        const char **member = error_member(error, code);
        if (member && text)
            *member = text;
    }
    return reader_done(&reader);
}

void message_error_write(struct writer *writer, uint8_t type, const struct message_error *error)
{
    size_t begun = writer_begin(writer, type);
#define FIELD(letter, member)                                                                                \
    if (error->member && *error->member) {                                                                   \
        writer_u8(writer, letter);                                                                           \
        writer_string(writer, error->member);                                                                \
    }
    MESSAGE_ERROR_FIELDS(FIELD)
#undef FIELD
    writer_u8(writer, 0);
    writer_end(writer, begun);
}

bool message_error_fatal(const struct message_error *error)
{
    const char *severity = error->severity_plain ? error->severity_plain : error->severity;
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

bool message_parameter_read(const uint8_t *payload, size_t n, const char **name, const char **value)
{
    struct reader reader = reader_of(payload, n);
    *name = reader_string(&reader, NULL);
    *value = reader_string(&reader, NULL);
    return reader_done(&reader);
}

void message_parameter_write(struct writer *writer, const char *name, const char *value)
{
    size_t begun = writer_begin(writer, SERVER_PARAMETER_STATUS);
    writer_string(writer, name);
    writer_string(writer, value);
    writer_end(writer, begun);
}

bool message_command_read(const uint8_t *payload, size_t n, const char **tag)
{
    struct reader reader = reader_of(payload, n);
    *tag = reader_string(&reader, NULL);
    return reader_done(&reader);
}

void message_command_write(struct writer *writer, const char *tag)
{
    size_t begun = writer_begin(writer, SERVER_COMMAND_COMPLETE);
    writer_string(writer, tag);
    writer_end(writer, begun);
}

bool message_ready_read(const uint8_t *payload, size_t n, char *status)
{
    struct reader reader = reader_of(payload, n);
    *status = (char)reader_u8(&reader);
    return reader_done(&reader);
}

void message_ready_write(struct writer *writer, char status)
{
    size_t begun = writer_begin(writer, SERVER_READY);
    writer_u8(writer, (uint8_t)status);
    writer_end(writer, begun);
}

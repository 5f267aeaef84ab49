/*
 * Authentication requests and SASL's first answer (PostgreSQL manual, 55.3; RFC 5802 for SCRAM).
 */
#include "proxy/wire/message.h"

bool message_authentication_read(const uint8_t *payload, size_t n, uint32_t *code, struct reader *rest)
{
    *rest = reader_of(payload, n);
    *code = reader_u32(rest);
    return !rest->bad;
}

const char *message_sasl_mechanism(struct reader *rest)
{
    const char *name = reader_string(rest, NULL);
    return name && *name ? name : NULL;
}

void message_sasl_write(struct writer *writer, const char *const *mechanisms, size_t n)
{
    size_t begun = writer_begin(writer, SERVER_AUTHENTICATION);
    writer_u32(writer, AUTHENTICATION_SASL);
    for (size_t i = 0; i < n; i++)
        writer_string(writer, mechanisms[i]);
    writer_u8(writer, 0);
    writer_end(writer, begun);
}

bool message_sasl_initial_read(const uint8_t *payload, size_t n, struct message_sasl_initial *initial)
{
    struct reader reader = reader_of(payload, n);
    initial->mechanism = reader_string(&reader, NULL);
    initial->length = reader_u32(&reader);
    initial->data = NULL;
    if (initial->length == UINT32_MAX)
        initial->length = 0;
    else
        initial->data = reader_bytes(&reader, initial->length);
    return reader_done(&reader);
}

void message_sasl_initial_write(struct writer *writer, const struct message_sasl_initial *initial)
{
    size_t begun = writer_begin(writer, CLIENT_PASSWORD);
    writer_string(writer, initial->mechanism);
    writer_u32(writer, initial->data ? initial->length : UINT32_MAX);
    if (initial->data)
        writer_bytes(writer, initial->data, initial->length);
    writer_end(writer, begun);
}

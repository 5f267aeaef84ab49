/*
 * The messages of protocol 3 (PostgreSQL manual, 55.7): their types, names and limits, and for those that the
 * proxy looks into, decode and encode side by side.
 *
 * Decoders take the payload (behind type and length) and borrow from it; strings they give are NUL-terminated
 * inside the payload. They return false where the server would answer "invalid message format". Encoders put
 * a whole frame into a writer.
 */
#ifndef PGSLUICE_PROXY_WIRE_MESSAGE_H
#define PGSLUICE_PROXY_WIRE_MESSAGE_H

#include "proxy/wire/frame.h"

/* What a client sends. Passwords, GSS and SASL answers share 'p'. */
enum client_message {
    CLIENT_BIND = 'B',
    CLIENT_CLOSE = 'C',
    CLIENT_COPY_DATA = 'd',
    CLIENT_COPY_DONE = 'c',
    CLIENT_COPY_FAIL = 'f',
    CLIENT_DESCRIBE = 'D',
    CLIENT_EXECUTE = 'E',
    CLIENT_FLUSH = 'H',
    CLIENT_FUNCTION_CALL = 'F',
    CLIENT_PARSE = 'P',
    CLIENT_PASSWORD = 'p',
    CLIENT_QUERY = 'Q',
    CLIENT_SYNC = 'S',
    CLIENT_TERMINATE = 'X'
};

enum server_message {
    SERVER_AUTHENTICATION = 'R',
    SERVER_BACKEND_KEY = 'K',
    SERVER_BIND_COMPLETE = '2',
    SERVER_CLOSE_COMPLETE = '3',
    SERVER_COMMAND_COMPLETE = 'C',
    SERVER_COPY_DATA = 'd',
    SERVER_COPY_DONE = 'c',
    SERVER_COPY_IN = 'G',
    SERVER_COPY_OUT = 'H',
    SERVER_COPY_BOTH = 'W',
    SERVER_DATA_ROW = 'D',
    SERVER_EMPTY_QUERY = 'I',
    SERVER_ERROR = 'E',
    SERVER_FUNCTION_RESULT = 'V',
    SERVER_NEGOTIATE = 'v',
    SERVER_NO_DATA = 'n',
    SERVER_NOTICE = 'N',
    SERVER_NOTIFICATION = 'A',
    SERVER_PARAMETER_DESCRIPTION = 't',
    SERVER_PARAMETER_STATUS = 'S',
    SERVER_PARSE_COMPLETE = '1',
    SERVER_PORTAL_SUSPENDED = 's',
    SERVER_READY = 'Z',
    SERVER_ROW_DESCRIPTION = 'T'
};

const char *message_client_name(uint8_t type); /* "Query"; NULL for a type that no client message has */
const char *message_server_name(uint8_t type);

/* The greatest length field that a server takes for this type: 10,000 for those that carry no data, 1 GB less
 * two bytes else (PQ_SMALL_MESSAGE_LIMIT and PQ_LARGE_MESSAGE_LIMIT; servers before 14 know only the latter),
 * 65,535 for what answers an authentication request (PG_MAX_AUTH_TOKEN_LENGTH). */
uint32_t message_client_limit(uint8_t type, int server_version);

/* ---- what a client asks ------------------------------------------------------------------------------ */

struct message_query {
    const char *sql;
    size_t length;
};

struct message_parse {
    const char *name;
    size_t name_length;
    const char *sql;
    size_t length;
    uint16_t n_types;
    const uint8_t *types; /* n_types numbers of 4 bytes */
};

/* One parameter of a Bind. */
struct message_value {
    const uint8_t *bytes; /* NULL: the SQL NULL */
    uint32_t length;
};

struct message_bind {
    const char *portal, *statement;
    size_t portal_length, statement_length;
    uint16_t n_formats, n_values, n_results;
    const uint8_t *formats, *results; /* numbers of 2 bytes */
    struct reader values;             /* for message_bind_value */
};

struct message_execute {
    const char *portal;
    size_t portal_length;
    uint32_t rows; /* 0: all */
};

/* Describe and Close look alike. */
struct message_target {
    uint8_t kind; /* 'S' statement, 'P' portal */
    const char *name;
    size_t name_length;
};

bool message_query_read(const uint8_t *payload, size_t n, struct message_query *);
bool message_parse_read(const uint8_t *payload, size_t n, struct message_parse *);
bool message_bind_read(const uint8_t *payload, size_t n, struct message_bind *);
bool message_bind_value(struct message_bind *, struct message_value *); /* the next one; false: no more */
bool message_execute_read(const uint8_t *payload, size_t n, struct message_execute *);
bool message_target_read(const uint8_t *payload, size_t n, struct message_target *);

void message_query_write(struct writer *, const char *sql, size_t length);
void message_parse_write(struct writer *, const char *name, const char *sql, size_t length,
                         const uint32_t *types, uint16_t n_types);
/* All parameters and results in text format. A value is a C string, or NULL. */
void message_bind_write(struct writer *, const char *portal, const char *statement, const char *const *values,
                        uint16_t n_values);
void message_execute_write(struct writer *, const char *portal, uint32_t rows);
void message_target_write(struct writer *, enum client_message type, uint8_t kind, const char *name);
void message_plain_write(struct writer *, uint8_t type); /* Sync, Flush, … : no payload */

/* ---- what a server answers --------------------------------------------------------------------------- */

/* The fields of ErrorResponse and NoticeResponse (55.8): code, member. */
#define MESSAGE_ERROR_FIELDS(FIELD)                                                                          \
    FIELD('S', severity)                                                                                     \
    FIELD('V', severity_plain)                                                                               \
    FIELD('C', sqlstate)                                                                                     \
    FIELD('M', message)                                                                                      \
    FIELD('D', detail)                                                                                       \
    FIELD('H', hint)                                                                                         \
    FIELD('P', position)                                                                                     \
    FIELD('p', internal_position)                                                                            \
    FIELD('q', internal_query)                                                                               \
    FIELD('W', where)                                                                                        \
    FIELD('s', schema)                                                                                       \
    FIELD('t', table)                                                                                        \
    FIELD('c', column)                                                                                       \
    FIELD('d', data_type)                                                                                    \
    FIELD('n', constraint)                                                                                   \
    FIELD('F', file)                                                                                         \
    FIELD('L', line)                                                                                         \
    FIELD('R', routine)

/* Members are NULL where the message lacks the field. Fields of other codes are left out. */
struct message_error {
#define FIELD(code, member) const char *member;
    MESSAGE_ERROR_FIELDS(FIELD)
#undef FIELD
};

bool message_error_read(const uint8_t *payload, size_t n, struct message_error *);
/* NULL and "" are left out. `type` is SERVER_ERROR or SERVER_NOTICE. */
void message_error_write(struct writer *, uint8_t type, const struct message_error *);
/* "FATAL" or "PANIC", in whatever language: the session ends with it. */
bool message_error_fatal(const struct message_error *);

bool message_parameter_read(const uint8_t *payload, size_t n, const char **name, const char **value);
void message_parameter_write(struct writer *, const char *name, const char *value);
bool message_command_read(const uint8_t *payload, size_t n, const char **tag);
void message_command_write(struct writer *, const char *tag);
bool message_ready_read(const uint8_t *payload, size_t n, char *status);
void message_ready_write(struct writer *, char status);

/* ---- authentication ---------------------------------------------------------------------------------- */

enum authentication {
    AUTHENTICATION_OK = 0,
    AUTHENTICATION_SASL = 10,
    AUTHENTICATION_SASL_CONTINUE = 11,
    AUTHENTICATION_SASL_FINAL = 12
};

#define SASL_SCRAM      "SCRAM-SHA-256"
#define SASL_SCRAM_PLUS "SCRAM-SHA-256-PLUS"

/* `rest` is what follows the code. */
bool message_authentication_read(const uint8_t *payload, size_t n, uint32_t *code, struct reader *rest);
/* The next mechanism's name, or NULL at the end of the list (rest->bad: the list has no end). */
const char *message_sasl_mechanism(struct reader *rest);
void message_sasl_write(struct writer *, const char *const *mechanisms, size_t n);

/* `data` is NULL where the client sent none. */
struct message_sasl_initial {
    const char *mechanism;
    const uint8_t *data;
    uint32_t length;
};
bool message_sasl_initial_read(const uint8_t *payload, size_t n, struct message_sasl_initial *);
void message_sasl_initial_write(struct writer *, const struct message_sasl_initial *);

#endif

/*
 * Types, names and limits of the messages: one table a direction.
 */
#include "proxy/wire/message.h"

#define SMALL_LIMIT 10000U
#define LARGE_LIMIT 0x3ffffffeU
#define TOKEN_LIMIT 65535U

static const struct {
    const char *name;
    uint32_t limit;
} client_messages[256] = {
    [CLIENT_BIND] = {"Bind", LARGE_LIMIT},
    [CLIENT_CLOSE] = {"Close", SMALL_LIMIT},
    [CLIENT_COPY_DATA] = {"CopyData", LARGE_LIMIT},
    [CLIENT_COPY_DONE] = {"CopyDone", SMALL_LIMIT},
    [CLIENT_COPY_FAIL] = {"CopyFail", SMALL_LIMIT},
    [CLIENT_DESCRIBE] = {"Describe", SMALL_LIMIT},
    [CLIENT_EXECUTE] = {"Execute", SMALL_LIMIT},
    [CLIENT_FLUSH] = {"Flush", SMALL_LIMIT},
    [CLIENT_FUNCTION_CALL] = {"FunctionCall", LARGE_LIMIT},
    [CLIENT_PARSE] = {"Parse", LARGE_LIMIT},
    [CLIENT_PASSWORD] = {"PasswordMessage", TOKEN_LIMIT},
    [CLIENT_QUERY] = {"Query", LARGE_LIMIT},
    [CLIENT_SYNC] = {"Sync", SMALL_LIMIT},
    [CLIENT_TERMINATE] = {"Terminate", SMALL_LIMIT},
};

static const char *const server_names[256] = {
    [SERVER_AUTHENTICATION] = "Authentication",
    [SERVER_BACKEND_KEY] = "BackendKeyData",
    [SERVER_BIND_COMPLETE] = "BindComplete",
    [SERVER_CLOSE_COMPLETE] = "CloseComplete",
    [SERVER_COMMAND_COMPLETE] = "CommandComplete",
    [SERVER_COPY_DATA] = "CopyData",
    [SERVER_COPY_DONE] = "CopyDone",
    [SERVER_COPY_IN] = "CopyInResponse",
    [SERVER_COPY_OUT] = "CopyOutResponse",
    [SERVER_COPY_BOTH] = "CopyBothResponse",
    [SERVER_DATA_ROW] = "DataRow",
    [SERVER_EMPTY_QUERY] = "EmptyQueryResponse",
    [SERVER_ERROR] = "ErrorResponse",
    [SERVER_FUNCTION_RESULT] = "FunctionCallResponse",
    [SERVER_NEGOTIATE] = "NegotiateProtocolVersion",
    [SERVER_NO_DATA] = "NoData",
    [SERVER_NOTICE] = "NoticeResponse",
    [SERVER_NOTIFICATION] = "NotificationResponse",
    [SERVER_PARAMETER_DESCRIPTION] = "ParameterDescription",
    [SERVER_PARAMETER_STATUS] = "ParameterStatus",
    [SERVER_PARSE_COMPLETE] = "ParseComplete",
    [SERVER_PORTAL_SUSPENDED] = "PortalSuspended",
    [SERVER_READY] = "ReadyForQuery",
    [SERVER_ROW_DESCRIPTION] = "RowDescription",
};

const char *message_client_name(uint8_t type)
{
    return client_messages[type].name;
}

const char *message_server_name(uint8_t type)
{
    return server_names[type];
}

uint32_t message_client_limit(uint8_t type, int server_version)
{
    uint32_t limit = client_messages[type].limit;
    if (limit == 0)
        return LARGE_LIMIT; /* not a message we know: the server has to say so */
    if (limit == SMALL_LIMIT && server_version != 0 && server_version < 140000)
        return LARGE_LIMIT;
    return limit;
}

/*
 * Errors and notices in our words, and what becomes of the server's error on a text of ours.
 */
#include "proxy/session/engine_inside.h"

#include <stdlib.h>

#define REPORT_MAX ((size_t)1 << 20)

bool reply_report(struct writer *writer, const struct report *report)
{
    char position[16] = "";
    if (report->position)
        snprintf(position, sizeof position, "%u", report->position);
    const struct message_error error = {
        .severity = report->severity,
        .severity_plain = report->severity,
        .sqlstate = report->sqlstate,
        .message = report->message,
        .detail = report->detail,
        .hint = report->hint,
        .position = position,
        .schema = report->schema,
        .table = report->table,
        .column = report->column,
        .constraint = report->constraint,
    };
    bool warns = strcmp(report->severity, "WARNING") == 0 || strcmp(report->severity, "NOTICE") == 0;
    message_error_write(writer, warns ? SERVER_NOTICE : SERVER_ERROR, &error);
    return writer_ok(writer);
}

static bool put_report(const struct report *report, struct sink *to_client)
{
    struct writer writer;
    writer_init(&writer, REPORT_MAX);
    bool done = reply_report(&writer, report);
    if (done)
        sink_put_now(to_client, writer.bytes, writer.length);
    writer_release(&writer);
    return done;
}

void reply_notices(struct engine *engine, struct extra *extra, struct sink *to_client)
{
    for (size_t i = 0; i < extra->n_notices; i++)
        (void)put_report(&extra->notices[i], to_client);
    if (extra->n_notices)
        trace_note(engine, "notices put in front");
    extra->n_notices = 0;
}

static void put_error(const struct message_error *error, struct sink *to_client, const struct frame *frame)
{
    struct writer writer;
    writer_init(&writer, frame->total + 256);
    message_error_write(&writer, SERVER_ERROR, error);
    if (writer_ok(&writer))
        sink_put_now(to_client, writer.bytes, writer.length);
    else
        sink_put_now(to_client, frame->bytes, frame->total);
    writer_release(&writer);
}

/* The server quotes the rest of the text where a literal has no end: take what is ours out of the quotation.
 */
static char *without_ours(const char *message, const char *token)
{
    char *copy = message ? strdup(message) : NULL;
    size_t length = strlen(token);
    for (char *at = copy; at && (at = strstr(at, token)) != NULL;) {
        char *from = at - copy >= 2 && at[-2] == '\n' && at[-1] == ';' ? at - 2 : at;
        memmove(from, at + length, strlen(at + length) + 1);
        at = from;
    }
    return copy;
}

/* A syntax error in the author's text (or at its end, where our semicolon stands): as the server would have
 * said it. */
static void put_authors(const struct frame *frame, const struct message_error *said,
                        const struct extra *extra, unsigned long position, struct sink *to_client)
{
    struct message_error error = *said;
    char place[16];
    char *message = without_ours(said->message, extra->token);
    bool at_end = position > extra->characters;
    if (message)
        error.message = message;
    if (at_end) {
        snprintf(place, sizeof place, "%u", extra->characters + 1);
        error.position = place;
        if (strcmp(error.message ? error.message : "", "syntax error at or near \";\"") == 0)
            error.message = "syntax error at end of input";
    }
    put_error(&error, to_client, frame);
    free(message);
}

void reply_error(struct engine *engine, const struct frame *frame, struct extra *extra,
                 struct sink *to_client, char sqlstate[6])
{
    struct message_error error;
    bool read = message_error_read(frame_payload(frame), frame_payload_length(frame), &error);
    bool syntax = read && error.sqlstate && strcmp(error.sqlstate, "42601") == 0;
    unsigned long position = read && error.position ? strtoul(error.position, NULL, 10) : 0;
    if (!syntax) { /* cancelled, shut down, bytes that are no text, … : the server's own words */
        sink_put_now(to_client, frame->bytes, frame->total);
        return;
    }
    /* "\n" and ";" follow the author's last character; our token stands behind them. */
    if (extra->let_read && position <= (unsigned long)extra->characters + 2) {
        put_authors(frame, &error, extra, position, to_client);
        return;
    }
    if (!put_report(extra->refusal, to_client))
        sink_put_now(to_client, frame->bytes, frame->total);
    memcpy(sqlstate, extra->refusal->sqlstate, 6);
    sqlstate[5] = 0;
}

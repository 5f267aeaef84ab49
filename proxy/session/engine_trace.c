/*
 * One line for each message and decision: "client> Query 27: judged: refused". Contents are never printed:
 * they may hold passwords.
 */
#include "proxy/session/engine_inside.h"

#include <stdlib.h>

void engine_trace(struct engine *engine, void (*line)(void *argument, const char *text), void *argument)
{
    free(engine->trace);
    engine->trace = line ? malloc(sizeof *engine->trace) : NULL;
    if (engine->trace)
        *engine->trace = (struct trace){line, argument};
}

void trace_line(struct engine *engine, enum engine_side from, const struct frame *frame, const char *decision)
{
    bool client = from == ENGINE_CLIENT;
    const char *name = client ? message_client_name(frame->type) : message_server_name(frame->type);
    char unknown[16];
    char text[160];
    if (!name)
        snprintf(unknown, sizeof unknown, "0x%02X", frame->type);
    snprintf(text, sizeof text, "%s %s %zu%s%s; %u owed", client ? "client>" : "server<",
             name ? name : unknown, frame->total, decision ? ": " : "", decision ? decision : "",
             engine->ledger.count);
    engine->trace->line(engine->trace->argument, text);
}

void trace_note(struct engine *engine, const char *text)
{
    if (engine->trace)
        engine->trace->line(engine->trace->argument, text);
}

/*
 * The ring of the ledger, and the table of which reply means what to which entry.
 */
#include "proxy/session/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/wire/message.h"

/* (PostgreSQL manual, 55.2.2 to 55.2.5.) Notices, notifications and parameter reports may come at any time
 * and are not looked up here. */
const uint8_t ledger_effects[LEDGER_KIND_COUNT][128] = {
    [LEDGER_QUERY] =
        {
            [SERVER_ROW_DESCRIPTION] = LEDGER_PART,
            [SERVER_DATA_ROW] = LEDGER_PART,
            [SERVER_COPY_OUT] = LEDGER_PART,
            [SERVER_COPY_DATA] = LEDGER_PART,
            [SERVER_COPY_DONE] = LEDGER_PART,
            [SERVER_COPY_IN] = LEDGER_COPY,
            [SERVER_COPY_BOTH] = LEDGER_COPY,
            [SERVER_COMMAND_COMPLETE] = LEDGER_COUNT,
            [SERVER_EMPTY_QUERY] = LEDGER_COUNT,
            [SERVER_ERROR] = LEDGER_ERROR,
            [SERVER_READY] = LEDGER_READY,
        },
    [LEDGER_FUNCTION] =
        {
            [SERVER_FUNCTION_RESULT] = LEDGER_COUNT,
            [SERVER_ERROR] = LEDGER_ERROR,
            [SERVER_READY] = LEDGER_READY,
        },
    [LEDGER_SYNC] =
        {
            [SERVER_ERROR] = LEDGER_ERROR, /* what only the end of the transaction finds */
            [SERVER_READY] = LEDGER_READY,
        },
    [LEDGER_PARSE] =
        {
            [SERVER_PARSE_COMPLETE] = LEDGER_END,
            [SERVER_ERROR] = LEDGER_ERROR,
        },
    [LEDGER_BIND] =
        {
            [SERVER_BIND_COMPLETE] = LEDGER_END,
            [SERVER_ERROR] = LEDGER_ERROR,
        },
    [LEDGER_DESCRIBE] =
        {
            [SERVER_PARAMETER_DESCRIPTION] = LEDGER_PART,
            [SERVER_ROW_DESCRIPTION] = LEDGER_END,
            [SERVER_NO_DATA] = LEDGER_END,
            [SERVER_ERROR] = LEDGER_ERROR,
        },
    [LEDGER_EXECUTE] =
        {
            [SERVER_DATA_ROW] = LEDGER_PART,
            [SERVER_COPY_OUT] = LEDGER_PART,
            [SERVER_COPY_DATA] = LEDGER_PART,
            [SERVER_COPY_DONE] = LEDGER_PART,
            [SERVER_COPY_IN] = LEDGER_COPY,
            [SERVER_COPY_BOTH] = LEDGER_COPY,
            [SERVER_COMMAND_COMPLETE] = LEDGER_END,
            [SERVER_EMPTY_QUERY] = LEDGER_END,
            [SERVER_PORTAL_SUSPENDED] = LEDGER_END,
            [SERVER_ERROR] = LEDGER_ERROR,
        },
    [LEDGER_CLOSE] =
        {
            [SERVER_CLOSE_COMPLETE] = LEDGER_END,
            [SERVER_ERROR] = LEDGER_ERROR,
        },
    [LEDGER_FLUSH] = {[SERVER_ERROR] = LEDGER_ERROR},
    [LEDGER_COPY_END] = {0},
};

static const char *const kind_names[LEDGER_KIND_COUNT] = {
    [LEDGER_QUERY] = "Query",     [LEDGER_FUNCTION] = "FunctionCall",
    [LEDGER_SYNC] = "Sync",       [LEDGER_PARSE] = "Parse",
    [LEDGER_BIND] = "Bind",       [LEDGER_DESCRIBE] = "Describe",
    [LEDGER_EXECUTE] = "Execute", [LEDGER_CLOSE] = "Close",
    [LEDGER_FLUSH] = "Flush",     [LEDGER_COPY_END] = "CopyDone",
};

const char *ledger_kind_name(enum ledger_kind kind)
{
    return kind_names[kind];
}

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){.size = LEDGER_INLINE};
}

void ledger_release(struct ledger *ledger)
{
    free(ledger->spill);
    ledger_init(ledger);
}

static bool ledger_grow(struct ledger *ledger)
{
    struct ledger_entry *spill = calloc((size_t)ledger->size * 2, sizeof *spill);
    if (!spill)
        return false;
    for (uint32_t i = 0; i < ledger->count; i++)
        spill[i] = *ledger_at(ledger, i);
    free(ledger->spill);
    ledger->spill = spill;
    ledger->head = 0;
    ledger->size *= 2;
    return true;
}

struct ledger_entry *ledger_push(struct ledger *ledger, enum ledger_kind kind,
                                 enum ledger_disposition disposition)
{
    if (ledger_full(ledger) || (ledger->count == ledger->size && !ledger_grow(ledger)))
        return NULL;
    int before = ledger->count ? ledger_at(ledger, ledger->count - 1)->kind : LEDGER_KIND_COUNT;
    struct ledger_entry *entry = ledger_at(ledger, ledger->count++);
    *entry = (struct ledger_entry){.kind = (uint8_t)kind, .disposition = (uint8_t)disposition};
    ledger->special += disposition != LEDGER_FORWARD;
    ledger->givers += ledger_gives_ready((uint8_t)kind);
    ledger->givers_pushed += ledger_gives_ready((uint8_t)kind);
    entry->copying = kind == LEDGER_COPY_END && before == LEDGER_SYNC;
    ledger->synced_ends += entry->copying;
    return entry;
}

static void ledger_forget(struct ledger *ledger, const struct ledger_entry *entry)
{
    ledger->special -= entry->disposition != LEDGER_FORWARD;
    ledger->givers -= ledger_gives_ready(entry->kind);
    ledger->synced_ends -= entry->kind == LEDGER_COPY_END && entry->copying;
    ledger->count--;
}

static void ledger_drained(struct ledger *ledger)
{
    if (ledger->count || !ledger->spill)
        return;
    free(ledger->spill);
    ledger->spill = NULL;
    ledger->size = LEDGER_INLINE;
    ledger->head = 0;
}

void ledger_pop(struct ledger *ledger)
{
    do {
        ledger_forget(ledger, ledger_at(ledger, 0));
        ledger->head = (ledger->head + 1) & (ledger->size - 1);
    } while (ledger->count && ledger_at(ledger, 0)->kind == LEDGER_COPY_END);
    ledger_drained(ledger);
}

void ledger_drop_second(struct ledger *ledger)
{
    ledger_forget(ledger, ledger_at(ledger, 1));
    for (uint32_t i = 1; i < ledger->count; i++)
        *ledger_at(ledger, i) = *ledger_at(ledger, i + 1);
}

enum ledger_behind ledger_copy_begins(struct ledger *ledger, uint32_t *removed)
{
    enum ledger_behind behind = LEDGER_NOTHING;
    uint32_t to = 1;
    uint32_t count = ledger->count;
    *removed = 0;
    for (uint32_t from = 1; from < count; from++) {
        struct ledger_entry entry = *ledger_at(ledger, from);
        bool ignored = (entry.kind == LEDGER_SYNC || entry.kind == LEDGER_FLUSH) && !entry.extra;
        if (behind == LEDGER_NOTHING && (ignored || entry.kind == LEDGER_COPY_END)) {
            behind = ignored ? LEDGER_NOTHING : LEDGER_MARKER;
            *removed += entry.kind == LEDGER_SYNC;
            ledger_forget(ledger, &entry);
            continue;
        }
        behind = behind == LEDGER_NOTHING ? LEDGER_OTHER : behind;
        *ledger_at(ledger, to++) = entry;
    }
    return behind;
}

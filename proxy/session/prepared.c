/*
 * Names in one array, few as a rule; the journal keeps what a name meant before.
 */
#include "proxy/session/prepared.h"

#include <stdlib.h>
#include <string.h>

struct item {
    struct prepared_name name;
    bool portal;
    uint32_t segment;
    struct prepared_text *text; /* in the journal: what it was before, or NULL */
};

struct items {
    struct item *at;
    size_t n, size;
};

struct prepared {
    struct items names, journal;
    size_t settled; /* of the journal: from the front */
    size_t bytes;
    bool synced;
};

struct prepared_name prepared_name(const char *name, size_t length)
{
    struct prepared_name result = {{0}};
    memcpy(result.text, name, length < PREPARED_NAME ? length : PREPARED_NAME - 1);
    return result;
}

struct prepared_text *prepared_text_new(const char *sql, size_t length)
{
    struct prepared_text *text = malloc(sizeof *text + length + 1);
    if (!text)
        return NULL;
    *text = (struct prepared_text){.references = 1, .length = length};
    memcpy(text->sql, sql, length);
    text->sql[length] = 0;
    return text;
}

void prepared_text_release(struct prepared_text *text)
{
    if (text && --text->references == 0)
        free(text);
}

struct prepared *prepared_new(void)
{
    return calloc(1, sizeof(struct prepared));
}

/* The map's own references also count the bytes: once for every name that holds them. */
static void text_take(struct prepared *prepared, struct prepared_text *text)
{
    if (!text)
        return;
    text->references++;
    prepared->bytes += text->length;
}

static void text_drop(struct prepared *prepared, struct prepared_text *text)
{
    if (!text)
        return;
    prepared->bytes -= text->length;
    prepared_text_release(text);
}

void prepared_free(struct prepared *prepared)
{
    if (!prepared)
        return;
    for (size_t i = 0; i < prepared->names.n; i++)
        text_drop(prepared, prepared->names.at[i].text);
    for (size_t i = prepared->settled; i < prepared->journal.n; i++)
        text_drop(prepared, prepared->journal.at[i].text);
    free(prepared->names.at);
    free(prepared->journal.at);
    free(prepared);
}

static bool items_add(struct items *items, const struct item *item)
{
    if (items->n == items->size) {
        size_t size = items->size ? items->size * 2 : 8;
        struct item *at = realloc(items->at, size * sizeof *at);
        if (!at)
            return false;
        items->at = at;
        items->size = size;
    }
    items->at[items->n++] = *item;
    return true;
}

static struct item *names_find(struct prepared *prepared, bool portal, const struct prepared_name *name)
{
    for (size_t i = 0; i < prepared->names.n; i++) {
        struct item *item = &prepared->names.at[i];
        if (item->portal == portal && strcmp(item->name.text, name->text) == 0)
            return item;
    }
    return NULL;
}

struct prepared_text *prepared_find(struct prepared *prepared, bool portal, const struct prepared_name *name)
{
    struct item *item = names_find(prepared, portal, name);
    return item ? item->text : NULL;
}

static void names_drop(struct prepared *prepared, struct item *item)
{
    *item = prepared->names.at[--prepared->names.n];
}

/* The name means `text` (whose reference and bytes move into the map); room must be there. */
static void names_put(struct prepared *prepared, const struct item *wanted)
{
    struct item *item = names_find(prepared, wanted->portal, &wanted->name);
    if (item && !wanted->text)
        names_drop(prepared, item);
    else if (item)
        *item = *wanted;
    else if (wanted->text)
        (void)items_add(&prepared->names, wanted);
}

static bool names_room(struct prepared *prepared)
{
    struct item none = {.portal = false};
    if (!items_add(&prepared->names, &none))
        return false;
    prepared->names.n--;
    return true;
}

enum prepared_change prepared_set(struct prepared *prepared, bool portal, const struct prepared_name *name,
                                  struct prepared_text *text, uint32_t segment)
{
    struct item *item = names_find(prepared, portal, name);
    struct item before = {.name = *name, .portal = portal};
    if (item)
        before = *item;
    if (!item && !text)
        return PREPARED_NOTHING;
    if (text && (prepared->names.n + prepared->journal.n >= PREPARED_MAX ||
                 text->length > PREPARED_BYTES - prepared->bytes))
        return PREPARED_FULL;
    /* An undo puts a name back that a later change may have taken out: keep room for it. */
    if (!names_room(prepared) || !items_add(&prepared->journal, &before))
        return PREPARED_FULL;
    text_take(prepared, text);
    names_put(prepared, &(struct item){.name = *name, .portal = portal, .segment = segment, .text = text});
    return PREPARED_CHANGED;
}

static void journal_restart(struct prepared *prepared)
{
    free(prepared->journal.at);
    prepared->journal = (struct items){0};
    prepared->settled = 0;
    prepared->synced = false;
}

void prepared_settle(struct prepared *prepared)
{
    if (prepared->settled == prepared->journal.n)
        return;
    text_drop(prepared, prepared->journal.at[prepared->settled++].text);
    if (prepared->settled == prepared->journal.n)
        journal_restart(prepared);
}

void prepared_undo(struct prepared *prepared)
{
    while (prepared->journal.n > prepared->settled) {
        struct item before = prepared->journal.at[--prepared->journal.n];
        struct item *now = names_find(prepared, before.portal, &before.name);
        if (now)
            text_drop(prepared, now->text);
        names_put(prepared, &before);
    }
    journal_restart(prepared);
}

void prepared_synced(struct prepared *prepared)
{
    prepared->synced = prepared->journal.n != 0;
}

bool prepared_must_wait(const struct prepared *prepared)
{
    return prepared->synced;
}

void prepared_transaction_over(struct prepared *prepared, uint32_t segment)
{
    for (size_t i = prepared->names.n; i-- > 0;) {
        struct item *item = &prepared->names.at[i];
        if (!item->portal || (int32_t)(segment - item->segment) <= 0)
            continue;
        text_drop(prepared, item->text);
        names_drop(prepared, item);
    }
}

bool prepared_empty(const struct prepared *prepared)
{
    return prepared->names.n == 0 && prepared->journal.n == 0;
}

size_t prepared_count(const struct prepared *prepared)
{
    return prepared->names.n;
}

bool prepared_any_judged(const struct prepared *prepared)
{
    for (size_t i = 0; i < prepared->names.n; i++)
        if (prepared->names.at[i].text->judged)
            return true;
    return false;
}

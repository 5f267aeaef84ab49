/*
 * One walk over a file's statements, for those few that later ones, or earlier ones, have to know of.
 */
#include "proxy/check/ahead.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "parser/gate.h"

enum {
    READERS_MAX = 10000, /* of all files */
    PARSED_MAX = 20000,  /* statements of one file that are read for it */
    ALIKE_MAX = 64,      /* beginnings of INSERTs that are remembered */
    ALIKE_TEXT = 400
};

/* ---- the walk ---- */

typedef void visitor(void *argument, const char *text, size_t length, size_t at, bool down);

static void walk(const struct source *source, visitor *visit, void *argument)
{
    struct gate gate;
    struct gate_statement statement;
    size_t section = 0;
    bool more = true;
    gate_init(&gate, true, TEXT_ASCII_SAFE);
    for (size_t at = 0; more;) {
        bool found = false;
        if (at < source->length)
            at +=
                gate_scan(&gate, (const uint8_t *)source->sql + at, source->length - at, &statement, &found);
        else
            more = found = gate_finish(&gate, &statement, NULL);
        if (!found)
            continue;
        while (section + 1 < source->n_sections && source->sections[section + 1].at <= statement.start)
            section++;
        visit(argument, source->sql + statement.start, statement.end - statement.start, statement.start,
              source->sections[section].down);
        more = at < source->length;
    }
}

static bool begins_with(const char *text, size_t length, const char *word)
{
    size_t n = strlen(word);
    return length > n && strncasecmp(text, word, n) == 0 && !isalnum((unsigned char)text[n]) &&
           text[n] != '_';
}

static bool begins_with_one(const char *text, size_t length, const char *const *words)
{
    for (; *words != NULL; words++)
        if (begins_with(text, length, *words))
            return true;
    return false;
}

/* ---- comments ---- */

struct commenting {
    const void *memory;
    struct comments *comments;
    bool down;
    size_t limit;
};

static void take_comment(void *argument, const char *text, size_t length, size_t at, bool down)
{
    struct commenting *c = argument;
    struct comments *comments = c->comments;
    static const char *const words[] = {"COMMENT", "DO", "CREATE VIEW", "CREATE OR REPLACE VIEW", NULL};
    if (down != c->down || !begins_with_one(text, length, words))
        return;
    size_t n = comments->n, room = n == 0 ? 1 : 2 * n;
    if ((n & (n - 1)) == 0) {
        comments->facts = talloc_realloc(c->memory, comments->facts, const struct facts *, (unsigned)room);
        comments->at = talloc_realloc(c->memory, comments->at, size_t, (unsigned)room);
    }
    const struct facts *facts = facts_of(c->memory, text, length, c->limit, true);
    if (comments->facts == NULL || comments->at == NULL || facts == NULL) {
        comments->n = 0;
        return;
    }
    comments->facts[n] = facts;
    comments->at[n] = at;
    comments->n++;
}

struct comments comments_gather(const void *talloc_parent, const struct source *source, bool down,
                                size_t limit)
{
    struct comments comments = {.n = 0};
    struct commenting commenting = {talloc_parent, &comments, down, limit};
    walk(source, take_comment, &commenting);
    return comments;
}

size_t comments_behind(const struct comments *comments, size_t at, const struct facts *const **behind)
{
    size_t first = 0;
    while (first < comments->n && comments->at[first] <= at)
        first++;
    *behind = comments->facts + first;
    return comments->n - first;
}

/* ---- readers ---- */

struct reader_found {
    enum row_use use;
    struct name table;
    const char *file_name;
    const char *prepare; /* by PREPARE, of this name; NULL: by itself */
    bool parameters, numbered;
    unsigned file, line;
    size_t at, until; /* until: deallocated there */
};

struct readers {
    struct reader_found *items;
    size_t n;
};

/* Of one file. */
struct reading {
    struct readers *readers;
    const struct source *source;
    const char *name;
    unsigned file;
    size_t limit, parsed;
    bool numbered;
    char alike[ALIKE_MAX][ALIKE_TEXT];
    size_t n_alike;
};

struct readers *readers_new(const void *talloc_parent)
{
    return talloc_zero(talloc_parent, struct readers);
}

/* 0001_x.sql, V1__x.sql, 2024/up.sql: one of an ordered history. */
static bool is_numbered(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    static const char *const in_folder[] = {"up.sql", "migration.sql", NULL};
    for (size_t i = 0; in_folder[i] != NULL && slash != NULL; i++) {
        if (strcmp(name, in_folder[i]) != 0)
            continue;
        for (name = slash; name > path && name[-1] != '/';)
            name--;
        break;
    }
    if (strchr("VvUuBb", name[0]) != NULL && name[0] != '\0')
        name++;
    return isdigit((unsigned char)name[0]);
}

/* A dump has the same INSERT a million times over: what stands in front of VALUES tells them apart. */
static bool seen_alike(struct reading *reading, const char *text, size_t length)
{
    size_t n = length < ALIKE_TEXT - 1 ? length : ALIKE_TEXT - 1;
    char start[ALIKE_TEXT];
    memcpy(start, text, n);
    start[n] = '\0';
    char *values = strcasestr(start, "VALUES");
    if (values == NULL || !begins_with(text, length, "INSERT"))
        return false;
    *values = '\0';
    for (size_t i = 0; i < reading->n_alike && i < ALIKE_MAX; i++)
        if (strcmp(reading->alike[i], start) == 0)
            return true;
    memcpy(reading->alike[reading->n_alike++ % ALIKE_MAX], start, sizeof start);
    return false;
}

/* May the statement be a reader, or end one that was prepared? */
static bool is_candidate(struct reading *reading, const char *text, size_t length)
{
    static const char *const by_themselves[] = {"INSERT", "COPY", "PREPARE", "DEALLOCATE", "DISCARD", NULL};
    static const char *const prepared[] = {"SELECT", "TABLE", "WITH", "UPDATE", "DELETE", NULL};
    bool candidate = begins_with_one(text, length, by_themselves) ||
                     (begins_with_one(text, length, prepared) && memchr(text, '$', length) != NULL);
    return candidate && reading->parsed < PARSED_MAX && !seen_alike(reading, text, length);
}

static void deallocate(struct reading *reading, const struct facts *facts, size_t at)
{
    for (size_t i = 0; i < reading->readers->n; i++) {
        struct reader_found *reader = &reading->readers->items[i];
        if (reader->file == reading->file && reader->prepare != NULL && reader->until == SIZE_MAX &&
            (facts->prepared == NULL || strcmp(facts->prepared, reader->prepare) == 0))
            reader->until = at;
    }
}

static void add_reader(struct reading *reading, const struct reader_found *found)
{
    struct readers *readers = reading->readers;
    size_t n = readers->n;
    if (n == READERS_MAX)
        return;
    if ((n & (n - 1)) == 0) {
        struct reader_found *more =
            talloc_realloc(readers, readers->items, struct reader_found, (unsigned)(n == 0 ? 1 : 2 * n));
        if (more == NULL)
            return;
        readers->items = more;
    }
    readers->items[n] = *found;
    readers->n++;
}

static const char *copy(struct readers *readers, const char *text)
{
    return text == NULL ? NULL : talloc_strdup(readers, text);
}

static void take_users(struct reading *reading, const struct facts *facts, size_t at, bool parameters)
{
    struct readers *readers = reading->readers;
    unsigned line, column;
    source_position(reading->source, at, &line, &column);
    for (size_t i = 0; i < facts->n_row_users; i++) {
        const struct row_user *user = &facts->row_users[i];
        if (user->use == ROW_STAR && facts->prepared == NULL && !parameters)
            continue;
        const struct reader_found found = {
            .use = user->use,
            .table = {copy(readers, user->table.schema), copy(readers, user->table.name), -1},
            .file_name = reading->name,
            .prepare = copy(readers, facts->prepared),
            .parameters = parameters,
            .numbered = reading->numbered,
            .file = reading->file,
            .line = line,
            .at = at,
            .until = SIZE_MAX};
        add_reader(reading, &found);
    }
}

static void take_reader(void *argument, const char *text, size_t length, size_t at, bool down)
{
    struct reading *reading = argument;
    if (down || !is_candidate(reading, text, length))
        return;
    void *memory = talloc_new(reading->readers);
    const struct facts *facts = facts_of(memory, text, length, reading->limit, true);
    reading->parsed++;
    if (facts != NULL && facts->status == FACTS_OK) {
        bool parameters =
            facts->parameters && !source_marked(reading->source, MARK_VARIABLE, at, at + length);
        if (strcmp(facts->tag, "DEALLOCATE") == 0 || strcmp(facts->tag, "DISCARD ALL") == 0)
            deallocate(reading, facts, at);
        take_users(reading, facts, at, parameters);
    }
    talloc_free(memory);
}

void readers_gather(struct readers *readers, const struct source *source, unsigned file, size_t limit)
{
    struct reading *reading = talloc_zero(readers, struct reading);
    if (reading == NULL)
        return;
    reading->readers = readers;
    reading->source = source;
    reading->name = copy(readers, source->name);
    reading->file = file;
    reading->limit = limit;
    reading->numbered = is_numbered(source->name);
    walk(source, take_reader, reading);
    talloc_free(reading);
}

/* Does it meet the columns that a statement here has changed? */
static bool counts(const struct reader_found *reader, unsigned file, size_t at)
{
    bool here = reader->file == file;
    if (reader->prepare != NULL && reader->use == ROW_STAR)
        return here && reader->at < at && at < reader->until;
    if (here)
        return reader->at > at || (reader->use == ROW_STAR && reader->parameters);
    return !reader->numbered;
}

size_t readers_for(const void *memory, const struct readers *readers, unsigned file, size_t at,
                   const struct policy_reader **list)
{
    size_t n = 0;
    struct policy_reader *found = readers == NULL || readers->n == 0
                                      ? NULL
                                      : talloc_array(memory, struct policy_reader, (unsigned)readers->n);
    for (size_t i = 0; found != NULL && i < readers->n; i++) {
        const struct reader_found *reader = &readers->items[i];
        if (!counts(reader, file, at))
            continue;
        bool here = reader->file == file;
        const char *where =
            talloc_asprintf(found, here ? "%sline %u" : "%s:%u", here ? "" : reader->file_name, reader->line);
        found[n++] = (struct policy_reader){reader->use, reader->table, where == NULL ? "" : where};
    }
    *list = found;
    return n;
}

/*
 * A file's statements, one after the other, with what the file itself tells: the tables that it made before.
 *
 * A table made by the same file counts as made by the same transaction: nobody else uses it yet.
 */
#include "proxy/check/check.h"

#include <ctype.h>
#include <string.h>
#include <talloc.h>

/* Tables that the file has made so far, as written. */
struct made {
    char *name;
    bool temporary;
    struct made *next;
};

struct run {
    struct check *check;
    const struct source *source;
    struct made *made;
    void *memory; /* for the whole file */
};

/* ---- tables made by the file ---- */

static const struct name *table_name(const struct facts *facts)
{
    return facts->kind == STATEMENT_CREATE_INDEX || facts->object.name == NULL ? &facts->index_table
                                                                               : &facts->object;
}

static struct made *find_made(const struct run *run, const char *name)
{
    for (struct made *made = run->made; made != NULL; made = made->next) {
        if (strcmp(made->name, name) == 0)
            return made;
    }
    return NULL;
}

static void remember(struct run *run, const struct facts *facts)
{
    if (facts->status != FACTS_OK)
        return;
    for (size_t i = 0; facts->kind == STATEMENT_DROP && i < facts->n_objects; i++) {
        struct made *gone = find_made(run, quote_name(run->memory, &facts->objects[i]));
        if (gone != NULL)
            gone->name[0] = '\0'; /* no table is called so */
    }
    if (facts->kind != STATEMENT_CREATE_TABLE || facts->if_not_exists || facts->object.name == NULL)
        return;
    struct made *made = talloc_zero(run->memory, struct made);
    made->name = quote_name(made, &facts->object);
    made->temporary = facts->temporary;
    made->next = run->made;
    run->made = made;
}

/* ---- one statement ---- */

/* "INSERT": the first word, for statements that are not parsed. */
static char *first_word(const void *memory, const char *sql, size_t length)
{
    size_t n = 0;
    while (n < length && isalpha((unsigned char)sql[n]))
        n++;
    char *word = talloc_strndup(memory, sql, n);
    for (char *c = word; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
    return word;
}

static void count_findings(struct check_count *count, const struct verdict *verdict)
{
    for (size_t i = 0; i < verdict->n_findings; i++) {
        if (verdict->findings[i].waived)
            count->waived++;
        else
            count->findings[verdict->findings[i].action]++;
    }
}

static void judge(struct run *run, struct checked *checked, const void *memory)
{
    struct check *check = run->check;
    struct facts *facts = facts_of(memory, checked->judged, checked->judged_length,
                                   check->context.conf->limits.statement, true);
    if (facts == NULL)
        return;
    struct policy_context context = check->context;
    const struct name *table = table_name(facts);
    checked->table = table->name == NULL ? "" : quote_name(memory, table);
    const struct made *made = find_made(run, checked->table);
    struct table_facts own = {
        .exists = true, .relkind = 'r', .relpersistence = 'p', .rows = -1, .created_here = true};
    if (made != NULL && checked->table[0] != '\0') {
        own.relpersistence = made->temporary ? 't' : 'p';
        context.table = &own;
    }
    checked->facts = facts;
    if (facts->tag != NULL && facts->tag[0] != '\0')
        checked->kind = facts->tag;
    checked->verdict = policy_judge(memory, facts, &context);
    remember(run, facts);
    if (facts->status == FACTS_OK)
        check->count.judged++;
    else
        check->count.unreadable++;
    if (checked->verdict != NULL)
        count_findings(&check->count, checked->verdict);
}

/* As UTF-8; a text that isn't is judged all the same, each byte a character. */
static const char *utf8(const void *memory, const struct source *source, size_t from, size_t to,
                        size_t *length, bool *bytes)
{
    const char *text = text_to_utf8(memory, source->sql + from, to - from, "UTF8", length);
    *bytes = text == NULL;
    if (text == NULL)
        text = text_to_utf8(memory, source->sql + from, to - from, "LATIN1", length);
    if (text != NULL)
        return text;
    *length = 0;
    return "";
}

/* `from` and `to`: with the comments in front of it and those behind it, up to the semicolon. */
static void check_statement(struct run *run, const struct gate_statement *statement, size_t from, size_t to)
{
    struct check *check = run->check;
    void *memory = talloc_new(run->memory);
    struct checked checked = {
        .source = run->source, .start = statement->start, .end = statement->end, .from = from, .table = ""};

    if (to - from > check->context.conf->limits.statement) { /* a long preface must not make it too long */
        checked.from = statement->start;
        to = statement->end;
    }
    checked.sql = utf8(memory, run->source, checked.start, checked.end, &checked.sql_length, &checked.bytes);
    checked.judged = utf8(memory, run->source, checked.from, to, &checked.judged_length, &checked.bytes);
    checked.kind = first_word(memory, checked.sql, checked.sql_length);
    check->count.statements++;
    if (gate_class_judged(statement->class))
        judge(run, &checked, memory);
    if (check->format == CHECK_JSON)
        report_json(check, &checked);
    else
        report_text(check, &checked);
    talloc_free(memory);
}

void check_source(struct check *check, const struct source *source)
{
    struct run run = {.check = check, .source = source, .memory = talloc_new(NULL)};
    struct gate gate;
    struct gate_statement statement;
    size_t from = 0;
    gate_init(&gate, true, TEXT_ASCII_SAFE);
    for (size_t at = 0; at < source->length;) {
        bool found = false;
        at += gate_scan(&gate, (const uint8_t *)source->sql + at, source->length - at, &statement, &found);
        if (!found)
            continue;
        check_statement(&run, &statement, from, at > 0 && source->sql[at - 1] == ';' ? at - 1 : at);
        from = at;
    }
    if (gate_finish(&gate, &statement, NULL))
        check_statement(&run, &statement, from, source->length);
    check->count.files++;
    talloc_free(run.memory);
}

bool check_found(const struct check_count *count)
{
    for (int action = ACTION_WARN; action < ACTION_COUNT; action++) {
        if (count->findings[action] > 0)
            return true;
    }
    return false;
}

size_t checked_place(const struct checked *checked, const struct finding *finding)
{
    if (finding->place <= 0)
        return checked->start;
    size_t at = (size_t)finding->place;
    if (checked->bytes)
        at = utf8_characters(checked->judged, at);
    at += checked->from;
    return at >= checked->start && at < checked->source->length ? at : checked->start;
}

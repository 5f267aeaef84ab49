/*
 * The table that a statement works on, as the policy wants to know it: from the catalog's answer, or because
 * a statement in front of it in the same message has made it.
 */
#include <string.h>
#include <talloc.h>

#include "policy/catalog.h"
#include "proxy/session/judge_inside.h"

/* The tables that it works on: one, or as many as DROP and TRUNCATE name. */
static const struct name *tables_of(const struct facts *facts, size_t *n)
{
    *n = 1;
    switch (facts->kind) {
    case STATEMENT_ALTER_TABLE:
        return &facts->object;
    case STATEMENT_CREATE_INDEX:
        return &facts->index_table;
    case STATEMENT_DROP:
    case STATEMENT_TRUNCATE:
        *n = facts->n_objects;
        return facts->objects;
    case STATEMENT_CREATE_TABLE:
    case STATEMENT_DO:
    case STATEMENT_CREATE_FUNCTION:
    case STATEMENT_CREATE_EXTENSION:
    case STATEMENT_OTHER_DDL:
    case STATEMENT_TRANSACTION:
    case STATEMENT_SETTING:
    case STATEMENT_QUERY:
    case STATEMENT_OTHER:
        break;
    }
    *n = 0;
    return NULL;
}

static bool same(const struct name *a, const struct name *b)
{
    if (!a->name || !b->name || strcmp(a->name, b->name) != 0)
        return false;
    return a->schema && b->schema ? strcmp(a->schema, b->schema) == 0 : !a->schema && !b->schema;
}

enum past { PAST_UNTOUCHED, PAST_MADE, PAST_UNCLEAR };

static bool begins_with(const char *text, const char *word)
{
    return strncmp(text, word, strlen(word)) == 0;
}

static bool drops(const struct facts *facts, const struct name *table)
{
    static const char *const kinds[] = {"TABLE",    "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW",
                                        "SEQUENCE", "INDEX"};
    if (strcmp(facts->object_kind, "SCHEMA") == 0)
        return true;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t i = 0; strcmp(facts->object_kind, kinds[k]) == 0 && i < facts->n_objects; i++)
            if (!facts->objects[i].name || strcmp(facts->objects[i].name, table->name) == 0)
                return true;
    return false;
}

/* May this statement change which table a name means? */
static bool renames(const struct facts *facts, const struct name *table)
{
    const char *tag = facts->tag ? facts->tag : "";
    if (facts->kind == STATEMENT_CREATE_TABLE || facts->kind == STATEMENT_CREATE_INDEX ||
        facts->kind == STATEMENT_CREATE_FUNCTION || facts->kind == STATEMENT_TRUNCATE)
        return false;
    if (facts->kind == STATEMENT_DROP)
        return drops(facts, table);
    if (facts->kind != STATEMENT_ALTER_TABLE)
        return strcmp(tag, "CREATE SCHEMA") == 0 ||
               !(begins_with(tag, "CREATE ") || begins_with(tag, "COMMENT") || begins_with(tag, "GRANT") ||
                 begins_with(tag, "REVOKE") || begins_with(tag, "REFRESH"));
    for (size_t i = 0; i < facts->n_alters; i++)
        if (facts->alters[i].kind == ALTER_RENAME_TABLE || facts->alters[i].kind == ALTER_SET_SCHEMA)
            return true;
    return false;
}

/* What statements in front of it have done to a table. `there`: one of the name existed before the message.
 */
static enum past past_of(const struct judge_work *work, const struct judge_place *place,
                         const struct name *table, bool there)
{
    enum past past = PAST_UNTOUCHED;
    for (size_t i = place->since; i < place->n_before; i++) {
        const struct facts *facts = work->before[i];
        if (facts->kind == STATEMENT_CREATE_TABLE && same(&facts->object, table))
            past = facts->if_not_exists && there ? past : PAST_MADE;
        else if (facts->kind == STATEMENT_CREATE_TABLE && facts->object.name &&
                 strcmp(facts->object.name, table->name) == 0)
            past = PAST_UNCLEAR; /* perhaps this one: it is written with a schema here, without one there */
        else if (renames(facts, table))
            past = PAST_UNCLEAR;
    }
    return past;
}

static const struct catalog_relation *relation_of(const struct judge_work *work,
                                                  const struct judge_place *place, const struct name *table)
{
    return work->names && !place->doubtful ? catalog_relation(work->names, table) : NULL;
}

/* False: nothing certain is known of it. */
static bool add(struct table_facts *sum, const struct judge_work *work, const struct judge_place *place,
                const struct name *table)
{
    if (!table->name)
        return false;
    const struct catalog_relation *found = relation_of(work, place, table);
    enum past past = past_of(work, place, table, !found || found->exists);
    if (past == PAST_MADE) {
        sum->exists = true;
        return true;
    }
    if (!found || past == PAST_UNCLEAR)
        return false;
    if (!found->exists)
        return true;
    bool never = found->rows < 0 || (found->rows == 0 && work->session.server_version < 140000);
    sum->exists = true;
    sum->relkind = found->kind;
    sum->relpersistence = found->temporary ? 't' : found->persistence;
    sum->created_here = sum->created_here && (found->created_here || found->temporary);
    sum->rows = never || sum->rows < 0 ? -1 : sum->rows + found->rows;
    sum->size += found->size;
    sum->children += found->children;
    sum->row_type_in_use = sum->row_type_in_use || found->n_row_type_users > 0;
    return true;
}

static bool columns(const void *memory, struct table_facts *table, const struct catalog_relation *relation)
{
    table->columns = talloc_array(memory, const char *, (unsigned)relation->n_columns + 1);
    if (!table->columns)
        return false;
    for (size_t i = 0; i < relation->n_columns; i++)
        table->columns[i] = relation->columns[i].name;
    table->n_columns = relation->n_columns;
    return true;
}

/* Has a statement in front of it worked on the same table? Its columns are not those of the answer then. */
static bool touched(const struct judge_work *work, const struct judge_place *place, const struct name *table)
{
    for (size_t i = place->since; i < place->n_before; i++)
        if (work->before[i]->object.name && table->name &&
            strcmp(work->before[i]->object.name, table->name) == 0)
            return true;
    return false;
}

const struct table_facts *judge_table(const void *memory, const struct judge_work *work,
                                      const struct judge_place *place)
{
    size_t n;
    const struct facts *facts = place->reading.facts;
    const struct name *tables = facts && facts->status == FACTS_OK ? tables_of(facts, &n) : NULL;
    if (!tables || n == 0)
        return NULL;
    struct table_facts *sum = talloc_zero(memory, struct table_facts);
    if (!sum)
        return NULL;
    sum->created_here = true;
    sum->relkind = 'r';
    sum->relpersistence = 'p';
    for (size_t i = 0; i < n; i++)
        if (!add(sum, work, place, &tables[i]))
            return NULL;
    const struct catalog_relation *found = relation_of(work, place, tables);
    if (n == 1 && found && found->exists && !touched(work, place, tables) && !columns(memory, sum, found))
        return NULL;
    return sum;
}

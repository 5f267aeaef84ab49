/*
 * What is known of a table: the catalog's answer, and what the statements in front of this one make of it.
 *
 * A catalog is asked once for a message or a file; the statements of it run one after the other. So what an
 * earlier one creates is new (and harmless to work on), and what an earlier one changes is no longer as the
 * catalog said: then only existence, kind and size are still believed.
 */
#include <string.h>

#include "policy/effects.h"

static bool same_text(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* May these be one table? A schema that isn't written may be any. */
static bool may_be_same(const struct name *a, const struct name *b)
{
    return same_text(a->name, b->name) &&
           (a->schema == NULL || b->schema == NULL || same_text(a->schema, b->schema));
}

/* ---- statements in front ---- */

/* From here on a name may mean something else. */
static bool changes_names(const struct facts *facts)
{
    static const char *const tags[] = {
        "CREATE SCHEMA", "DROP SCHEMA",      "ALTER SCHEMA",         "SET ROLE",
        "DISCARD ALL",   "CREATE EXTENSION", "IMPORT FOREIGN SCHEMA"};
    if (facts->status != FACTS_OK || facts->names_change)
        return true;
    if (facts->kind == STATEMENT_SETTING && same_text(facts->object.name, "search_path"))
        return true;
    for (size_t i = 0; facts->tag != NULL && i < sizeof tags / sizeof *tags; i++) {
        if (strcmp(facts->tag, tags[i]) == 0)
            return true;
    }
    return false;
}

/* Functions, types, operators, casts that the catalog answered for may be others now. */
static bool changes_meaning(const struct facts *facts, int depth)
{
    static const char *const kinds[] = {"FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "TYPE",
                                        "DOMAIN",   "OPERATOR",  "CAST",    "EXTENSION"};
    if (changes_names(facts) || facts->kind == STATEMENT_CREATE_FUNCTION || depth > 8)
        return true;
    if (facts->kind == STATEMENT_DO && facts->dynamic)
        return true;
    for (size_t i = 0; facts->kind == STATEMENT_DO && i < facts->n_nested; i++) {
        if (changes_meaning(facts->nested[i].facts, depth + 1))
            return true;
    }
    if (facts->kind == STATEMENT_QUERY || facts->kind == STATEMENT_TRANSACTION)
        return false;
    for (size_t i = 0; facts->object_kind != NULL && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(facts->object_kind, kinds[i]) == 0)
            return true;
    }
    return false;
}

static bool mentions(const struct facts *facts, const struct name *name)
{
    if (may_be_same(&facts->object, name) || may_be_same(&facts->index_table, name))
        return true;
    for (size_t i = 0; i < facts->n_objects; i++) {
        if (may_be_same(&facts->objects[i], name))
            return true;
    }
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        if (may_be_same(&alter->other, name) || same_text(alter->new_name, name->name))
            return true;
    }
    return false;
}

static bool mentioned(const struct facts *facts, const struct name *name, int depth)
{
    if (depth > 8 || facts->status != FACTS_OK || facts->kind == STATEMENT_QUERY || mentions(facts, name))
        return true; /* a query may call a function that makes it */
    for (size_t i = 0; facts->kind == STATEMENT_DO && i < facts->n_nested; i++) {
        if (mentioned(facts->nested[i].facts, name, depth + 1))
            return true;
    }
    return false;
}

static const struct column_definition *domain_of(const struct facts *facts, const struct type_name *type,
                                                 int depth)
{
    const struct name name = {type->schema, type->name, -1};
    const struct column_definition *domain = NULL;
    if (depth > 8 || facts->status != FACTS_OK)
        return NULL;
    if (facts->domain != NULL && may_be_same(&facts->object, &name))
        return facts->domain;
    for (size_t i = facts->n_nested; facts->kind == STATEMENT_DO && domain == NULL && i > 0; i--)
        domain = domain_of(facts->nested[i - 1].facts, type, depth + 1);
    return domain;
}

const struct column_definition *domain_in_front(const struct look *look, const struct type_name *type)
{
    const struct column_definition *domain = NULL;
    for (size_t i = look->context->n_before; type->array == 0 && domain == NULL && i > 0; i--)
        domain = domain_of(look->context->before[i - 1], type, 0);
    return domain;
}

bool mentioned_in_front(const struct look *look, const char *name)
{
    const struct name any = {NULL, name, -1};
    for (size_t i = 0; i < look->context->n_before; i++) {
        if (mentioned(look->context->before[i], &any, 0))
            return true;
    }
    return false;
}

/* Another table may have the name from here on, or none. */
static bool moves_names(const struct facts *facts)
{
    for (size_t i = 0; i < facts->n_alters; i++) {
        if (facts->alters[i].kind == ALTER_RENAME_TABLE || facts->alters[i].kind == ALTER_SET_SCHEMA)
            return true;
    }
    return false;
}

/* CREATE TABLE of that name. Written with a schema here and without one there it may be another table. */
static void table_made(struct table *table, const struct facts *facts, const struct name *name)
{
    bool same = (facts->object.schema == NULL) == (name->schema == NULL);
    if (!same)
        *table = (struct table){.changed = true};
    else if (!facts->if_not_exists || table->missing)
        *table = (struct table){.fresh = true, .changed = true};
    else
        table->changed = true;
}

static void table_after(struct table *, const struct facts *, const struct name *, int depth);

static void table_after_body(struct table *table, const struct facts *facts, const struct name *name,
                             int depth)
{
    if (facts->dynamic)
        table->changed = true;
    for (size_t i = 0; i < facts->n_nested; i++) {
        bool was_missing = table->missing;
        table_after(table, facts->nested[i].facts, name, depth + 1);
        if (was_missing && !table->missing && !table->fresh)
            table->missing =
                false; /* an IF may have kept it from being made: then this fails, and no harm done */
    }
}

/* CASCADE takes columns, constraints and defaults of tables that it doesn't name; what is done to a parent
 * reaches its children. */
static bool reaches_others(const struct table *table, const struct facts *facts)
{
    bool child = table->relation != NULL && (table->relation->n_parents > 0 || table->relation->is_partition);
    bool cascades = facts->cascade;
    for (size_t i = 0; i < facts->n_alters; i++)
        cascades |= facts->alters[i].cascade;
    return cascades || strcmp(facts->tag, "DROP OWNED") == 0 ||
           (child && facts->kind == STATEMENT_ALTER_TABLE);
}

static void table_after(struct table *table, const struct facts *facts, const struct name *name, int depth)
{
    if (depth > 8 || facts->status != FACTS_OK) {
        *table = (struct table){.relation = table->relation, .fresh = table->fresh, .changed = true};
        return;
    }
    if (facts->kind == STATEMENT_DO) {
        table_after_body(table, facts, name, depth);
        return;
    }
    if (facts->kind == STATEMENT_QUERY || facts->kind == STATEMENT_TRANSACTION ||
        facts->kind == STATEMENT_SETTING)
        return;
    if (!mentions(facts, name)) {
        table->changed = table->changed || reaches_others(table, facts);
        return;
    }
    if (facts->kind == STATEMENT_CREATE_TABLE && may_be_same(&facts->object, name)) {
        table_made(table, facts, name);
        return;
    }
    if (facts->kind == STATEMENT_DROP && strstr(facts->object_kind, "TABLE") != NULL) {
        *table = (struct table){.changed = true};
        return;
    }
    if (moves_names(facts)) {
        *table = (struct table){.changed = true};
        return;
    }
    bool data_only = facts->kind == STATEMENT_TRUNCATE;
    table->changed = table->changed || !data_only;
    if (!data_only)
        table->missing = false;
}

/* ---- the table ---- */

bool look_blind(const struct look *look)
{
    const struct catalog *names = look->context->names;
    return look->facts->replaced || (names != NULL && names->replaced && look->facts->high_bytes);
}

struct table table_named(const struct look *look, const struct name *name)
{
    struct table table = {.relation = NULL};
    const struct policy_context *context = look->context;
    if (name == NULL || name->name == NULL)
        return table;
    bool resolved = context->names != NULL && !look_blind(look);
    if (resolved) {
        table.relation = catalog_relation(context->names, name);
        table.missing = table.relation != NULL && !table.relation->exists;
        if (table.missing)
            table.relation = NULL;
        table.fresh = table.relation != NULL && table.relation->created_here;
    }
    for (size_t i = 0; i < context->n_before; i++) {
        if (changes_names(context->before[i]) && name->schema == NULL)
            table = (struct table){.fresh = table.fresh && !resolved, .changed = true};
        table_after(&table, context->before[i], name, 0);
    }
    return table;
}

static const struct name *subject_of(const struct facts *facts)
{
    bool on_other = facts->kind == STATEMENT_CREATE_INDEX ||
                    (facts->kind == STATEMENT_OTHER_DDL && facts->index_table.name != NULL);
    return on_other ? &facts->index_table : &facts->object;
}

struct look look_at(const struct policy_context *context, const struct facts *facts)
{
    struct look look = {.context = context, .facts = facts, .names = context->names};
    if (look_blind(&look))
        look.names = NULL;
    for (size_t i = 0; i < context->n_before; i++) {
        if (changes_meaning(context->before[i], 0))
            look.names = NULL;
    }
    if (facts->status == FACTS_OK)
        look.table = table_named(&look, subject_of(facts));
    return look;
}

const struct catalog_relation *table_structure(const struct look *look)
{
    return look->table.changed || look->names == NULL ? NULL : look->table.relation;
}

/* ---- rows ---- */

double table_rows(const struct catalog_relation *relation)
{
    double own = relation->rows;
    bool holds = strchr("rm", relation->kind) != NULL;
    if (holds && own < 0)
        return -1;
    bool leaves = relation->children > relation->children_foreign;
    if (leaves && (relation->children_rows <= 0 || relation->children_size == 0))
        return -1; /* those below were never analyzed */
    return (holds ? own : 0) + relation->children_rows;
}

uint64_t table_size(const struct catalog_relation *relation)
{
    return relation->size + relation->children_size;
}

bool table_small(const struct look *look)
{
    const struct catalog_relation *relation = look->table.relation;
    const struct conf_policy *policy = &look->context->conf->policy;
    if (relation == NULL || !relation->exists || strchr("iI", relation->kind) != NULL)
        return false; /* an index's numbers are those of its last build */
    double rows = table_rows(relation);
    return rows >= 0 && rows <= (double)policy->small_table_rows &&
           table_size(relation) <= policy->small_table_size;
}

/* Made since the session began to ask? A frozen row keeps its number's 32 bits, and nothing that SQL shows
 * tells it from one made in this turn of the counter: a table that is 2^32 transactions old, or a multiple of
 * that, can seem born now. So only the last million count. That leaves a chance of one in 4,000 for each such
 * table, to a session that has seen as many transactions go by; and what is older is no longer new in any
 * case. */
static bool table_new(const struct look *look)
{
    static const uint64_t window = 1 << 20;
    const struct catalog_relation *relation = look->table.relation;
    const struct policy_context *context = look->context;
    if (relation == NULL || context->names == NULL || context->since == 0 || relation->born == 0)
        return false;
    bool made = false;
    uint64_t hash = policy_name_hash(relation->name);
    for (size_t i = 0; i < context->n_made && !made; i++)
        made = context->made[i] == hash;
    if (!made)
        return false;
    uint64_t now = context->names->now;
    return relation->born >= context->since && relation->born <= now && now - relation->born < window;
}

bool table_private(const struct look *look)
{
    const struct catalog_relation *relation = look->table.relation;
    if (table_new(look))
        return true;
    return look->table.fresh || (relation != NULL && relation->persistence == 't');
}

bool table_stores_rows(const struct look *look)
{
    const struct catalog_relation *relation = look->table.relation;
    const char *kind = look->facts->object_kind;
    if (relation != NULL) {
        if (relation->kind == 'p')
            return relation->children > relation->children_foreign;
        return strchr("vfc", relation->kind) == NULL || relation->children > relation->children_foreign;
    }
    return strcmp(kind, "VIEW") != 0 && strcmp(kind, "FOREIGN TABLE") != 0 && strcmp(kind, "TYPE") != 0;
}

enum answer table_has_rows(const struct look *look)
{
    const struct catalog_relation *relation = table_structure(look);
    bool none = relation != NULL && relation->no_blocks && look->context->first;
    return table_stores_rows(look) && !none ? ANSWER_UNKNOWN : ANSWER_NO;
}

bool table_empty(const struct look *look)
{
    const struct catalog_relation *relation = look->table.relation;
    if (table_has_rows(look) == ANSWER_NO)
        return true;
    return relation != NULL && table_rows(relation) == 0 && table_size(relation) == 0;
}

/* ---- columns ---- */

enum answer table_has_column(const struct look *look, const char *column)
{
    const struct catalog_relation *relation = table_structure(look);
    if (relation == NULL)
        return ANSWER_UNKNOWN;
    return answer_of(catalog_column(relation, column) != NULL);
}

/*
 * Walks the whole tree twice: first for the table and the names it goes by, then for what stands for the
 * column. Objects of the tree are known by their members, since statements hold some nodes unwrapped.
 */
#include "parser/mentions.h"

#include <stdint.h>
#include <string.h>
#include <talloc.h>

#include "parser/parse.h"

enum { ALIASES_MAX = 16 };

/*
 * The tree of a text, and a filter of the strings in it (one bit for a string's hash): names that aren't
 * there need no walk, however many are asked for.
 */
struct mentions {
    struct source *source;
    json_t *tree;   /* NULL: it can't be read */
    uint64_t *bits; /* of `mask` + 1 bits, a power of two */
    uint64_t mask;
    size_t n_strings;
    /* The last answer for a table, of a column that the text does not name. */
    const char *last_schema, *last_table;
    struct mention last;
};

struct search {
    const char *schema, *table, *column;
    const char *aliases[ALIASES_MAX]; /* names by which the table goes in expressions */
    size_t n_aliases;
    bool there;
    struct mention found;
};

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* ---- the table --------------------------------------------------------------------------------------- */

static bool is_table(const struct search *search, const json_t *range)
{
    const char *schema = tree_text(range, "schemaname");
    return same(tree_text(range, "relname"), search->table) &&
           (!schema || !search->schema || strcmp(schema, search->schema) == 0);
}

/* A RangeVar, wrapped or not. */
static void note_table(struct search *search, const json_t *object)
{
    if (!tree_text(object, "relname") || !is_table(search, object))
        return;
    const json_t *alias = tree_child(object, "alias");
    const char *name = alias ? tree_text(alias, "aliasname") : search->table;
    search->there = true;
    search->found.unqualified = search->found.unqualified || !tree_text(object, "schemaname");
    if (name && search->n_aliases < ALIASES_MAX)
        search->aliases[search->n_aliases++] = name;
}

static bool is_alias(const struct search *search, const char *name)
{
    for (size_t i = 0; i < search->n_aliases; i++)
        if (same(search->aliases[i], name))
            return true;
    return search->n_aliases == ALIASES_MAX;
}

/* ---- the column -------------------------------------------------------------------------------------- */

static void note(struct search *search, enum mention_kind kind, const json_t *object)
{
    if (kind < search->found.kind || (kind == search->found.kind && search->found.place >= 0))
        return;
    search->found.kind = kind;
    search->found.place = object ? tree_number(object, "location", 0) : -1;
}

static void note_reference(struct search *search, const json_t *reference)
{
    json_t *fields = tree_list(reference, "fields");
    size_t n = json_array_size(fields);
    json_t *inside;
    json_t *last = n ? json_array_get(fields, n - 1) : NULL;
    const char *name = last ? tree_string(last) : NULL;
    const char *qualifier = n > 1 ? tree_string(json_array_get(fields, n - 2)) : NULL;
    if (qualifier && !is_alias(search, qualifier))
        return;
    if (last && strcmp(tree_kind(last, &inside), "A_Star") == 0)
        note(search, MENTION_WHOLE, reference);
    else if (same(name, search->column))
        note(search, MENTION_COLUMN, reference);
    else if (n == 1 && name && is_alias(search, name))
        note(search, MENTION_WHOLE, reference);
}

/* A list of names: of a key, of COPY, of USING, of a trigger. */
static void note_names(struct search *search, const json_t *object, const char *key)
{
    json_t *list = tree_list(object, key);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (same(tree_string(json_array_get(list, i)), search->column))
            note(search, MENTION_COLUMN, NULL);
}

/* What INSERT and UPDATE write. */
static void note_targets(struct search *search, const json_t *object, const char *key)
{
    json_t *list = tree_list(object, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *inside;
        if (strcmp(tree_kind(json_array_get(list, i), &inside), "ResTarget") == 0 &&
            same(tree_text(inside, "name"), search->column))
            note(search, MENTION_COLUMN, inside);
    }
}

/* What MERGE writes. */
static void note_merge(struct search *search, const json_t *object)
{
    json_t *clauses = tree_list(object, "mergeWhenClauses");
    for (size_t i = 0; i < json_array_size(clauses); i++) {
        json_t *inside;
        if (strcmp(tree_kind(json_array_get(clauses, i), &inside), "MergeWhenClause") == 0)
            note_targets(search, inside, "targetList");
    }
}

static void note_relation(struct search *search, const json_t *object)
{
    const json_t *relation = tree_child(object, "relation");
    if (!relation || !is_table(search, relation))
        return;
    note_targets(search, object, "cols");
    note_targets(search, object, "targetList");
    note_merge(search, object);
    note_names(search, object, "attlist");
    if (same(tree_text(object, "subname"), search->column)) /* RENAME COLUMN */
        note(search, MENTION_COLUMN, NULL);
    json_t *conflict = tree_child(object, "onConflictClause");
    if (conflict)
        note_targets(search, conflict, "targetList");
}

static void note_statement(struct search *search, const char *kind, const json_t *inside)
{
    static const char *const names[] = {"keys", "fk_attrs", "usingClause", "columns", "including"};
    note_relation(search, inside);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        note_names(search, inside, names[i]);
    if (tree_true(inside, "isNatural"))
        note(search, MENTION_WHOLE, NULL);
    if (strcmp(kind, "CopyStmt") == 0 && tree_child(inside, "relation") && !tree_true(inside, "is_from") &&
        json_array_size(tree_list(inside, "attlist")) == 0)
        note(search, MENTION_WHOLE, NULL);
    if ((strcmp(kind, "IndexElem") == 0 || strcmp(kind, "AlterTableCmd") == 0) &&
        same(tree_text(inside, "name"), search->column))
        note(search, MENTION_COLUMN, NULL);
    if (strcmp(kind, "ColumnRef") == 0)
        note_reference(search, inside);
    if (strcmp(kind, "A_Indirection") == 0)
        note_names(search, inside, "indirection"); /* (t).c */
}

static void walk(struct search *search, json_t *node, bool columns)
{
    const char *key;
    json_t *child;
    size_t i;
    if (json_is_array(node)) {
        json_array_foreach(node, i, child) walk(search, child, columns);
        return;
    }
    if (!json_is_object(node))
        return;
    if (!columns)
        note_table(search, node);
    json_object_foreach(node, key, child)
    {
        if (columns && json_is_object(child))
            note_statement(search, key, child);
        walk(search, child, columns);
    }
}

/* ---- a text ------------------------------------------------------------------------------------------ */

static uint64_t hash(const char *string)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (; *string; string++)
        h = (h ^ (unsigned char)*string) * 0x100000001b3U;
    return h ^ h >> 32;
}

static bool may_hold(const struct mentions *mentions, const char *string)
{
    uint64_t bit = hash(string) & mentions->mask;
    return mentions->bits[bit / 64] >> bit % 64 & 1;
}

/* Counts the strings, or where there are bits, sets theirs. */
static void walk_strings(struct mentions *mentions, json_t *node)
{
    const char *key;
    json_t *child;
    size_t i;
    if (json_is_array(node)) {
        json_array_foreach(node, i, child) walk_strings(mentions, child);
    } else if (json_is_object(node)) {
        json_object_foreach(node, key, child) walk_strings(mentions, child);
    } else if (json_is_string(node) && mentions->bits) {
        uint64_t bit = hash(json_string_value(node)) & mentions->mask;
        mentions->bits[bit / 64] |= (uint64_t)1 << bit % 64;
    } else if (json_is_string(node)) {
        mentions->n_strings++;
    }
}

static bool make_filter(struct mentions *mentions)
{
    uint64_t n = 64;
    walk_strings(mentions, mentions->tree);
    while (n < 16 * (uint64_t)mentions->n_strings)
        n *= 2;
    mentions->mask = n - 1;
    mentions->bits = talloc_zero_size(mentions, n / 8);
    if (mentions->bits)
        walk_strings(mentions, mentions->tree);
    return mentions->bits;
}

static int mentions_destroy(struct mentions *mentions)
{
    json_decref(mentions->tree);
    return 0;
}

struct mentions *mentions_new(const void *talloc_parent, const char *text, size_t length, bool scs)
{
    struct parse_error error;
    struct mentions *mentions = talloc_zero(talloc_parent, struct mentions);
    if (!mentions)
        return NULL;
    talloc_set_destructor(mentions, mentions_destroy);
    mentions->source = source_new(mentions, text, length, scs);
    if (mentions->source && !mentions->source->refused)
        mentions->tree = parse_tree(mentions, mentions->source, &error);
    if (!mentions->source || (mentions->tree && !make_filter(mentions))) {
        talloc_free(mentions);
        return NULL;
    }
    return mentions;
}

static struct mention look(const struct mentions *mentions, const char *schema, const char *table,
                           const char *column)
{
    struct search search = {
        .schema = schema, .table = table, .column = column, .found = {MENTION_NONE, -1, false}};
    walk(&search, mentions->tree, false);
    if (search.there)
        walk(&search, mentions->tree, true);
    search.found.place = source_place(mentions->source, search.found.place);
    return search.found;
}

struct mention mention_in(struct mentions *mentions, const char *schema, const char *table,
                          const char *column)
{
    if (!mentions->tree || !may_hold(mentions, table))
        return (struct mention){MENTION_NONE, -1, false};
    if (may_hold(mentions, column))
        return look(mentions, schema, table, column);
    bool known = mentions->last_table && strcmp(mentions->last_table, table) == 0 &&
                 !mentions->last_schema == !schema && (!schema || strcmp(mentions->last_schema, schema) == 0);
    if (!known) {
        mentions->last = look(mentions, schema, table, column);
        mentions->last_schema = schema;
        mentions->last_table = table;
    }
    return mentions->last;
}

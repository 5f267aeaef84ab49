/*
 * Names to objects, as search_path has it: the schema written, or the first one in the path that has the
 * name. The temporary schema is looked into first for relations and types, never for functions and operators
 * (manual, 19.11.1, search_path).
 */
#include "policy/catalog_inside.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool temporary(const struct catalog *catalog, const char *schema)
{
    for (size_t i = 0; i < catalog->n_schemas; i++) {
        if (catalog->schemas[i].temporary && strcmp(catalog->schemas[i].name, schema) == 0)
            return true;
    }
    return false;
}

static bool in_written(const struct catalog *catalog, const char *written, const char *schema)
{
    return strcmp(written, schema) == 0 || (strcmp(written, "pg_temp") == 0 && temporary(catalog, schema));
}

bool catalog_visible(const struct catalog *catalog, const char *written, const char *schema, int position)
{
    if (written != NULL)
        return in_written(catalog, written, schema);
    return position >= 0 && !temporary(catalog, schema);
}

/* ---- relations ---- */

static int place_of(const struct catalog *catalog, const char *schema)
{
    for (size_t i = 0; i < catalog->n_path; i++) {
        if (strcmp(catalog->path[i], schema) == 0)
            return (int)i;
    }
    return -1;
}

const struct catalog_relation *catalog_relation(const struct catalog *catalog, const struct name *name)
{
    const struct catalog_relation *best = NULL;
    int best_place = INT_MAX;
    for (size_t i = 0; name->name != NULL && i < catalog->n_relations; i++) {
        const struct catalog_relation *relation = &catalog->relations[i];
        if (strcmp(relation->name, name->name) != 0)
            continue;
        int place = place_of(catalog, relation->schema);
        if (name->schema != NULL && in_written(catalog, name->schema, relation->schema))
            return relation;
        if (name->schema != NULL || place < 0 || place >= best_place)
            continue;
        best = relation;
        best_place = place;
    }
    for (size_t i = 0; best == NULL && name->name != NULL && i < catalog->n_asked; i++) {
        if (strcmp(catalog->asked[i], name->name) == 0)
            best = &catalog->missing;
    }
    return best;
}

const struct catalog_relation *catalog_relation_by_oid(const struct catalog *catalog, uint32_t oid)
{
    for (size_t i = 0; i < catalog->n_relations; i++) {
        if (catalog->relations[i].oid == oid)
            return &catalog->relations[i];
    }
    return NULL;
}

const struct catalog_column *catalog_column(const struct catalog_relation *relation, const char *name)
{
    for (size_t i = 0; name != NULL && i < relation->n_columns; i++) {
        if (strcmp(relation->columns[i].name, name) == 0)
            return &relation->columns[i];
    }
    return NULL;
}

/* ---- types ---- */

const struct catalog_type *catalog_type(const struct catalog *catalog, const struct type_name *name)
{
    const struct catalog_type *best = NULL;
    for (size_t i = 0; name->name != NULL && !name->percent_type && i < catalog->n_types; i++) {
        const struct catalog_type *type = &catalog->types[i];
        if (strcmp(type->name, name->name) != 0)
            continue;
        if (name->schema != NULL ? in_written(catalog, name->schema, type->schema)
                                 : type->position >= 0 && (best == NULL || type->position < best->position))
            best = type;
    }
    return best;
}

bool catalog_type_missing(const struct catalog *catalog, const struct type_name *name)
{
    if (name->name == NULL || name->percent_type || catalog_type(catalog, name) != NULL)
        return false;
    for (size_t i = 0; i < catalog->n_asked_types; i++) {
        if (strcmp(catalog->asked_types[i], name->name) == 0)
            return true;
    }
    return false;
}

const struct catalog_type *catalog_type_by_oid(const struct catalog *catalog, uint32_t oid)
{
    size_t low = 0, high = catalog->n_types;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (catalog->types[middle].oid < oid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < catalog->n_types && catalog->types[low].oid == oid ? &catalog->types[low] : NULL;
}

uint32_t catalog_array_of(const struct catalog *catalog, uint32_t oid)
{
    const struct catalog_type *type = catalog_type_by_oid(catalog, oid);
    return type != NULL ? type->array : 0;
}

uint32_t catalog_element_of(const struct catalog *catalog, uint32_t oid)
{
    const struct catalog_type *type = catalog_type_by_oid(catalog, oid);
    if (type != NULL)
        return type->is_array ? type->element : 0;
    for (size_t i = 0; oid != 0 && i < catalog->n_types; i++) { /* array types have no row unless asked for */
        if (catalog->types[i].array == oid)
            return catalog->types[i].oid;
    }
    return 0;
}

uint32_t catalog_type_oid(const struct catalog *catalog, const struct type_name *name)
{
    const struct catalog_type *type = catalog_type(catalog, name);
    if (type == NULL)
        return 0;
    return name->array > 0 ? type->array : type->oid;
}

uint32_t catalog_base_of(const struct catalog *catalog, uint32_t oid)
{
    const struct catalog_type *type = catalog_type_by_oid(catalog, oid);
    for (int level = 0; type != NULL && type->type == 'd' && level < 100; level++) {
        oid = type->base;
        type = catalog_type_by_oid(catalog, oid);
    }
    return oid;
}

char catalog_category(const struct catalog *catalog, uint32_t oid)
{
    const struct catalog_type *type = catalog_type_by_oid(catalog, oid);
    if (type != NULL)
        return type->category;
    return catalog_element_of(catalog, oid) != 0 ? 'A' : 'X';
}

bool catalog_preferred(const struct catalog *catalog, uint32_t oid)
{
    const struct catalog_type *type = catalog_type_by_oid(catalog, oid);
    return type != NULL && type->preferred;
}

struct catalog_domain catalog_domain(const struct catalog *catalog, const struct catalog_type *type)
{
    struct catalog_domain domain = {.is_domain = type->type == 'd',
                                    .base = type->oid,
                                    .has_default = type->has_default,
                                    .by_default = type->by_default};
    for (int level = 0; type != NULL && type->type == 'd' && level < 100; level++) {
        domain.checks = domain.checks || type->checks > 0;
        domain.not_null = domain.not_null || type->not_null;
        domain.base = type->base;
        type = catalog_type_by_oid(catalog, type->base);
    }
    domain.constrained = domain.checks || domain.not_null;
    return domain;
}

/* ---- functions and casts ---- */

const struct catalog_function *catalog_function_by_oid(const struct catalog *catalog, uint32_t oid)
{
    for (size_t i = 0; i < catalog->n_functions; i++) {
        if (catalog->functions[i].oid == oid)
            return &catalog->functions[i];
    }
    return NULL;
}

const struct catalog_cast *catalog_cast(const struct catalog *catalog, uint32_t source, uint32_t target)
{
    size_t low = 0, high = catalog->n_casts;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct catalog_cast *cast = &catalog->casts[middle];
        if (cast->source < source || (cast->source == source && cast->target < target))
            low = middle + 1;
        else
            high = middle;
    }
    const struct catalog_cast *cast = &catalog->casts[low];
    return low < catalog->n_casts && cast->source == source && cast->target == target ? cast : NULL;
}

/* ---- NOT NULL ---- */

/* The node that starts at `node` ("{KIND …}") ends here. */
static const char *node_end(const char *node)
{
    int depth = 0;
    for (; *node != '\0'; node++) {
        if (*node == '\\' && node[1] != '\0')
            node++;
        else if (*node == '{')
            depth++;
        else if (*node == '}' && --depth == 0)
            return node + 1;
    }
    return node;
}

static const char *within(const char *from, const char *end, const char *words)
{
    const char *found = strstr(from, words);
    return found != NULL && found < end ? found + strlen(words) : NULL;
}

/* {NULLTEST :arg {VAR … :varattno 3 …} :nulltesttype 1 …} */
static bool tests_not_null(const char *node, int column)
{
    static const char start[] = "{NULLTEST :arg {VAR ";
    if (strncmp(node, start, sizeof start - 1) != 0)
        return false;
    const char *var = node + sizeof start - 1 - strlen("{VAR "), *end = node_end(var);
    const char *number = within(var, end, ":varattno ");
    if (number == NULL || strtol(number, NULL, 10) != column)
        return false;
    return within(end, node_end(node), ":nulltesttype 1 ") != NULL &&
           within(end, node_end(node), ":argisrow false") != NULL;
}

static bool proves_not_null(const char *stored, int column, int depth)
{
    static const char conjunction[] = "{BOOLEXPR :boolop and :args (";
    if (tests_not_null(stored, column))
        return true;
    if (depth > 20 || strncmp(stored, conjunction, sizeof conjunction - 1) != 0)
        return false;
    const char *node = stored + sizeof conjunction - 1;
    while (*node == '{') {
        if (proves_not_null(node, column, depth + 1))
            return true;
        node = node_end(node);
        while (*node == ' ')
            node++;
    }
    return false;
}

bool catalog_not_null_proven(const struct catalog_relation *relation, const struct catalog_column *column)
{
    bool doubted = false;
    for (size_t i = 0; i < relation->n_constraints; i++) {
        const struct catalog_constraint *constraint = &relation->constraints[i];
        bool holds = constraint->validated && constraint->enforced;
        if (constraint->type == 'c' && holds && constraint->stored != NULL &&
            proves_not_null(constraint->stored, column->number, 0))
            return true;
        if (constraint->type == 'n' && !holds && constraint->n_columns == 1 &&
            constraint->columns[0] == column->number)
            doubted = true;
    }
    return column->not_null && !doubted;
}

/*
 * Column definitions and constraints, each with the span of its clause in the text.
 *
 * libpg_query tells where a clause starts; where it ends follows from the tokens: in front of the next
 * clause of the same column, or of the comma or parenthesis that ends the whole.
 */
#include "parser/facts_read.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

const struct constraint *column_constraint(const struct column_definition *column, enum constraint_kind kind)
{
    for (size_t i = 0; i < column->n_constraints; i++)
        if (column->constraints[i].kind == kind)
            return &column->constraints[i];
    return NULL;
}

static enum constraint_kind kind_of(const json_t *in)
{
    static const struct {
        const char *name;
        enum constraint_kind kind;
    } kinds[] = {{"CONSTR_NULL", CONSTRAINT_NULL},           {"CONSTR_NOTNULL", CONSTRAINT_NOT_NULL},
                 {"CONSTR_DEFAULT", CONSTRAINT_DEFAULT},     {"CONSTR_IDENTITY", CONSTRAINT_IDENTITY},
                 {"CONSTR_GENERATED", CONSTRAINT_GENERATED}, {"CONSTR_CHECK", CONSTRAINT_CHECK},
                 {"CONSTR_PRIMARY", CONSTRAINT_PRIMARY},     {"CONSTR_UNIQUE", CONSTRAINT_UNIQUE},
                 {"CONSTR_EXCLUSION", CONSTRAINT_EXCLUSION}, {"CONSTR_FOREIGN", CONSTRAINT_FOREIGN}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (tree_is(in, "contype", kinds[i].name))
            return kinds[i].kind;
    return CONSTRAINT_ATTRIBUTE;
}

static void exclusion_columns(struct reader *r, json_t *exclusions, struct constraint *constraint)
{
    size_t kept = 0, n = json_array_size(exclusions);
    const char **names = reader_array(r, sizeof *names, &n);
    for (size_t i = 0; i < n; i++) {
        json_t *pair = tree_child(json_array_get(exclusions, i), "List");
        json_t *element = tree_child(json_array_get(tree_list(pair, "items"), 0), "IndexElem");
        const char *name = tree_text(element, "name");
        if (name)
            names[kept++] = reader_copy(r, name);
    }
    constraint->columns = names;
    constraint->n_columns = kept;
}

static void attribute_read(const json_t *in, struct constraint *constraint)
{
    constraint->initially_deferred = tree_is(in, "contype", "CONSTR_ATTR_DEFERRED");
    constraint->deferrable =
        constraint->initially_deferred || tree_is(in, "contype", "CONSTR_ATTR_DEFERRABLE");
}

static bool was_virtual(const struct reader *r, int from, int to)
{
    const struct source *source = r->source;
    size_t low = 0, high = source->n_made_virtual;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (source->made_virtual[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < source->n_made_virtual && source->made_virtual[low] < to;
}

static char first_letter(json_t *in, const char *key)
{
    const char *text = tree_text(in, key);
    return text != NULL ? text[0] : '\0';
}

/* Where the clause that starts at an offset says what it is. */
static int word_place(const struct reader *r, int from)
{
    const struct tokens *tokens = &r->source->tokens;
    size_t i = tokens_at(tokens, from);
    if (from >= 0 && token_is(r->source->text, tokens, i, "constraint"))
        i += 2;
    return from >= 0 && i < tokens->n ? reader_place(r, tokens->items[i].start) : -1;
}

/* What an index is made with, and a sequence. */
static void read_options(struct reader *r, json_t *in, struct constraint *constraint)
{
    json_t *options = tree_list(in, "options");
    json_t *first = tree_child(json_array_get(options, 0), "DefElem");
    constraint->included = names_of_list(r, tree_list(in, "including"), &constraint->n_included);
    constraint->storage = json_array_size(options) > 0 || tree_text(in, "indexspace") != NULL;
    constraint->options = first ? reader_place(r, tree_number(first, "location", -1)) : -1;
}

static void read_constraint(struct reader *r, json_t *in, struct constraint *constraint)
{
    *constraint = (struct constraint){.kind = kind_of(in)};
    constraint->word = word_place(r, tree_number(in, "location", -1));
    read_options(r, in, constraint);
    constraint->name = reader_copy(r, tree_text(in, "conname"));
    constraint->expr = expr_read(r, json_object_get(in, "raw_expr"));
    json_t *columns = tree_list(in, constraint->kind == CONSTRAINT_FOREIGN ? "fk_attrs" : "keys");
    constraint->columns = names_of_list(r, columns, &constraint->n_columns);
    constraint->referenced = name_of_range(r, tree_child(in, "pktable"));
    constraint->referenced_columns =
        names_of_list(r, tree_list(in, "pk_attrs"), &constraint->n_referenced_columns);
    constraint->using_index = reader_copy(r, tree_text(in, "indexname"));
    constraint->on_delete = first_letter(in, "fk_del_action");
    constraint->on_update = first_letter(in, "fk_upd_action");
    constraint->match_full = tree_is(in, "fk_matchtype", "f");
    constraint->nulls_not_distinct = tree_true(in, "nulls_not_distinct");
    constraint->not_valid = tree_true(in, "skip_validation");
    constraint->no_inherit = tree_true(in, "is_no_inherit");
    constraint->deferrable = tree_true(in, "deferrable");
    constraint->initially_deferred = tree_true(in, "initdeferred");
    constraint->always = tree_is(in, "generated_when", "a");
    if (constraint->kind == CONSTRAINT_EXCLUSION)
        exclusion_columns(r, tree_list(in, "exclusions"), constraint);
    if (constraint->kind == CONSTRAINT_ATTRIBUTE)
        attribute_read(in, constraint);
}

void constraint_read(struct reader *r, json_t *in, struct constraint *constraint)
{
    read_constraint(r, in, constraint);
    reader_clause(r, tree_number(in, "location", -1), &constraint->place, &constraint->end);
}

/* ---- columns ---------------------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;
    return (left > right) - (left < right);
}

/* Where the clauses of a column start, in rising order; the caller frees. */
static int *clause_starts(struct reader *r, json_t *in, size_t *n)
{
    json_t *constraints = tree_list(in, "constraints");
    *n = json_array_size(constraints) + 1;
    int *starts = reader_array(r, sizeof *starts, n);
    for (size_t i = 0; i < *n; i++) {
        json_t *constraint = tree_child(json_array_get(constraints, i), "Constraint");
        json_t *clause = i + 1 < *n ? constraint : tree_child(in, "collClause");
        starts[i] = tree_number(clause, "location", -1);
    }
    if (starts)
        qsort(starts, *n, sizeof *starts, compare_ints);
    return starts;
}

/* A clause ends in front of the column's next one, or with the column. */
static void span_clause(const struct reader *r, int from, const int *starts, size_t n, int column_end,
                        struct constraint *constraint)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (starts[middle] <= from)
            low = middle + 1;
        else
            high = middle;
    }
    int limit = low < n ? starts[low] : (int)r->source->length + 1;
    constraint->place = reader_place(r, from);
    constraint->end = low < n ? reader_end(r, tokens_at(&r->source->tokens, limit)) : column_end;
    constraint->generated_virtual = constraint->kind == CONSTRAINT_GENERATED && was_virtual(r, from, limit);
}

static void written_length(struct reader *r, int location, struct column_definition *column)
{
    const struct tokens *tokens = &r->source->tokens;
    size_t i = tokens_at(tokens, location);
    column->written_length = column->name ? strlen(column->name) : 0;
    if (column->name && location >= 0 && i < tokens->n && tokens->items[i].start == location)
        column->written_length = token_identifier_length(r->source->text, &tokens->items[i]);
}

struct column_definition *domain_read(struct reader *r, json_t *in)
{
    json_t *constraints = tree_list(in, "constraints");
    struct column_definition *domain = reader_array(r, sizeof *domain, &(size_t){1});
    if (!domain)
        return NULL;
    *domain = (struct column_definition){.name = "", .type = type_read(r, tree_child(in, "typeName"))};
    domain->n_constraints = json_array_size(constraints);
    domain->constraints = reader_array(r, sizeof *domain->constraints, &domain->n_constraints);
    for (size_t i = 0; i < domain->n_constraints; i++)
        constraint_read(r, tree_child(json_array_get(constraints, i), "Constraint"), &domain->constraints[i]);
    return domain;
}

void column_read(struct reader *r, json_t *in, struct column_definition *column)
{
    *column = (struct column_definition){.name = reader_copy(r, tree_text(in, "colname"))};
    int location = tree_number(in, "location", -1);
    column->type = type_read(r, tree_child(in, "typeName"));
    struct name collation = name_of_list(r, tree_list(tree_child(in, "collClause"), "collname"));
    column->collation = collation.name;
    column->collation_schema = collation.schema;
    column->stored_so = tree_text(in, "compression") || tree_text(in, "storage_name");
    reader_clause(r, location, &column->place, &column->end);
    written_length(r, location, column);
    const struct tokens *tokens = &r->source->tokens;
    size_t type = tokens_at(tokens, tree_number(tree_child(in, "typeName"), "location", -1));
    column->type_end =
        column->type.place >= 0 && type < tokens->n ? reader_place(r, tokens->items[type].end) : -1;

    json_t *constraints = tree_list(in, "constraints");
    column->n_constraints = json_array_size(constraints);
    column->constraints = reader_array(r, sizeof *column->constraints, &column->n_constraints);
    size_t n;
    int *starts = clause_starts(r, in, &n);
    for (size_t i = 0; i < column->n_constraints; i++) {
        json_t *constraint = tree_child(json_array_get(constraints, i), "Constraint");
        int from = tree_number(constraint, "location", -1);
        read_constraint(r, constraint, &column->constraints[i]);
        span_clause(r, from, starts, n, column->end, &column->constraints[i]);
    }
    talloc_free(starts);
}

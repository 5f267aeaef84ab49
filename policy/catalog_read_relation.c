/*
 * The server's answer into structs: relations and what hangs from them.
 */
#include "policy/catalog_read.h"

#include <string.h>
#include <talloc.h>

static void read_columns(struct answer_reader *r, json_t *list, struct catalog_relation *relation)
{
    relation->columns = answer_array(r, sizeof *relation->columns, list, &relation->n_columns);
    for (size_t i = 0; i < relation->n_columns; i++) {
        json_t *row = answer_row(r, list, i, 13);
        struct catalog_column *column = &relation->columns[i];
        column->number = answer_int(r, json_array_get(row, 0));
        column->name = answer_text(r, json_array_get(row, 1));
        column->type = answer_oid(r, json_array_get(row, 2));
        column->modifier = answer_int(r, json_array_get(row, 3));
        column->type_text = answer_text(r, json_array_get(row, 4));
        column->collation = answer_oid(r, json_array_get(row, 5));
        column->not_null = answer_true(r, json_array_get(row, 6));
        column->has_default = answer_true(r, json_array_get(row, 7));
        column->missing = answer_true(r, json_array_get(row, 8));
        column->identity = answer_letter(r, json_array_get(row, 9));
        column->generated = answer_letter(r, json_array_get(row, 10));
        column->is_local = answer_true(r, json_array_get(row, 11));
        column->inherited = answer_int(r, json_array_get(row, 12));
    }
}

static void read_constraints(struct answer_reader *r, json_t *list, struct catalog_relation *relation)
{
    relation->constraints = answer_array(r, sizeof *relation->constraints, list, &relation->n_constraints);
    for (size_t i = 0; i < relation->n_constraints; i++) {
        json_t *row = answer_row(r, list, i, 10);
        struct catalog_constraint *constraint = &relation->constraints[i];
        constraint->name = answer_text(r, json_array_get(row, 0));
        constraint->type = answer_letter(r, json_array_get(row, 1));
        constraint->validated = answer_true(r, json_array_get(row, 2));
        constraint->enforced = answer_true(r, json_array_get(row, 3));
        constraint->deferrable = answer_true(r, json_array_get(row, 4));
        constraint->no_inherit = answer_true(r, json_array_get(row, 5));
        constraint->columns = answer_ints(r, json_array_get(row, 6), &constraint->n_columns);
        constraint->referenced = answer_oid(r, json_array_get(row, 7));
        constraint->index = answer_oid(r, json_array_get(row, 8));
        constraint->stored = answer_text_or_null(r, json_array_get(row, 9));
    }
}

static void read_indexes(struct answer_reader *r, json_t *list, struct catalog_relation *relation)
{
    relation->indexes = answer_array(r, sizeof *relation->indexes, list, &relation->n_indexes);
    for (size_t i = 0; i < relation->n_indexes; i++) {
        json_t *row = answer_row(r, list, i, 12);
        struct catalog_index *index = &relation->indexes[i];
        index->oid = answer_oid(r, json_array_get(row, 0));
        index->name = answer_text(r, json_array_get(row, 1));
        index->unique = answer_true(r, json_array_get(row, 2));
        index->valid = answer_true(r, json_array_get(row, 3));
        index->ready = answer_true(r, json_array_get(row, 4));
        index->primary = answer_true(r, json_array_get(row, 5));
        index->immediate = answer_true(r, json_array_get(row, 6));
        index->exclusion = answer_true(r, json_array_get(row, 7));
        index->partial = answer_true(r, json_array_get(row, 8));
        index->expressions = answer_true(r, json_array_get(row, 9));
        int keys = answer_int(r, json_array_get(row, 10));
        index->columns = answer_ints(r, json_array_get(row, 11), &index->n_uses);
        if (keys < 0 || (size_t)keys > index->n_uses)
            r->bad = true;
        else
            index->n_columns = (size_t)keys;
    }
}

static void read_children(struct answer_reader *r, json_t *row, struct catalog_relation *relation)
{
    if (!json_is_array(row) || json_array_size(row) != 4)
        r->bad = true;
    relation->children = (unsigned)answer_int(r, json_array_get(row, 0));
    relation->children_rows = answer_number(r, json_array_get(row, 1));
    relation->children_size = (uint64_t)(answer_number(r, json_array_get(row, 2)) * (double)r->block);
    relation->children_foreign = (unsigned)answer_int(r, json_array_get(row, 3));
}

static struct name *read_names(struct answer_reader *r, json_t *list, size_t *n)
{
    struct name *names = answer_array(r, sizeof *names, list, n);
    for (size_t i = 0; i < *n; i++) {
        json_t *row = answer_row(r, list, i, 2);
        names[i].schema = answer_text(r, json_array_get(row, 0));
        names[i].name = answer_text(r, json_array_get(row, 1));
        names[i].place = -1;
    }
    return names;
}

static void read_views(struct answer_reader *r, json_t *list, struct catalog_relation *relation)
{
    relation->views = answer_array(r, sizeof *relation->views, list, &relation->n_views);
    for (size_t i = 0; i < relation->n_views; i++) {
        json_t *row = answer_row(r, list, i, 3);
        relation->views[i].schema = answer_text(r, json_array_get(row, 0));
        relation->views[i].name = answer_text(r, json_array_get(row, 1));
        relation->views[i].column = answer_int(r, json_array_get(row, 2));
    }
}

static void read_holders(struct answer_reader *r, json_t *list, struct catalog_relation *relation)
{
    relation->holders = answer_array(r, sizeof *relation->holders, list, &relation->n_holders);
    for (size_t i = 0; i < relation->n_holders; i++) {
        json_t *row = answer_row(r, list, i, 8), *pid = json_array_get(row, 0), *age = json_array_get(row, 3);
        struct catalog_holder *holder = &relation->holders[i];
        holder->pid = json_is_null(pid) ? 0 : answer_int(r, pid); /* a prepared transaction has none */
        holder->mode = answer_text(r, json_array_get(row, 1));
        holder->granted = answer_true(r, json_array_get(row, 2));
        holder->age = json_is_null(age) ? -1 : answer_number(r, age) / 1000;
        holder->query = answer_text_or_null(r, json_array_get(row, 4));
        holder->application = answer_text_or_null(r, json_array_get(row, 5));
        holder->state = answer_text_or_null(r, json_array_get(row, 6));
        const char *sort = answer_text_or_null(r, json_array_get(row, 7));
        holder->autovacuum = sort != NULL && strcmp(sort, "autovacuum worker") == 0;
    }
}

/* Rows as the planner would guess them: as dense as at the last VACUUM or ANALYZE, on as many pages as there
 * are now. Never analyzed: as many as fit, each column taken to be as narrow as an integer. -1: unknown.
 * Before 14 a table that was never analyzed has 0 rows in 0 pages, as has one that is known to be empty. */
static void measure(struct answer_reader *r, json_t *in, struct catalog_relation *relation)
{
    json_t *bytes = json_object_get(in, "bytes");
    bool before_14 = r->catalog->server_version < 140000;
    if (relation->rows < 0 || (relation->rows == 0 && relation->size == 0 && before_14))
        relation->rows = -1;
    if (!json_is_number(bytes))
        return;
    double now = json_number_value(bytes);
    if (relation->rows < 0 || relation->size == 0)
        relation->rows = now / (28 + 4 * (double)relation->n_columns);
    else
        relation->rows *= now / (double)relation->size;
    relation->size = (uint64_t)now;
    relation->no_blocks = now == 0; /* children: read_relation() */
}

static void read_plain(struct answer_reader *r, json_t *in, struct catalog_relation *relation)
{
    const struct catalog_schema *schema = answer_schema(r, answer_member(r, in, "schema"));
    relation->exists = true;
    relation->oid = answer_oid(r, answer_member(r, in, "oid"));
    relation->schema = schema->name;
    relation->temporary = schema->temporary;
    relation->name = answer_text(r, answer_member(r, in, "name"));
    relation->kind = answer_letter(r, answer_member(r, in, "kind"));
    relation->persistence = answer_letter(r, answer_member(r, in, "persistence"));
    relation->rows = answer_number(r, answer_member(r, in, "rows"));
    relation->size = (uint64_t)(answer_number(r, answer_member(r, in, "pages")) * (double)r->block);
    relation->owner = answer_text(r, answer_member(r, in, "owner"));
    relation->may_own = answer_true(r, answer_member(r, in, "may_own"));
    relation->row_security = answer_true(r, answer_member(r, in, "rls"));
    relation->force_row_security = answer_true(r, answer_member(r, in, "force_rls"));
    relation->is_partition = answer_true(r, answer_member(r, in, "partition"));
    relation->created_here = answer_true(r, answer_member(r, in, "created_here"));
    relation->locked_here = json_is_true(json_object_get(in, "locked_here"));
    relation->born = answer_count(r, json_object_get(in, "born"));
    relation->row_type = answer_oid(r, answer_member(r, in, "row_type"));
    relation->typed_of = answer_oid(r, answer_member(r, in, "typed_of"));
}

static void read_relation(struct answer_reader *r, json_t *in, struct catalog_relation *relation)
{
    read_plain(r, in, relation);
    read_columns(r, answer_member(r, in, "columns"), relation);
    measure(r, in, relation);
    read_constraints(r, answer_member(r, in, "constraints"), relation);
    read_indexes(r, answer_member(r, in, "indexes"), relation);
    read_children(r, answer_member(r, in, "children"), relation);
    relation->no_blocks = relation->no_blocks && relation->children == 0;
    relation->parents = read_names(r, answer_member(r, in, "parents"), &relation->n_parents);
    relation->row_type_users =
        read_names(r, answer_member(r, in, "row_type_users"), &relation->n_row_type_users);
    read_views(r, answer_member(r, in, "views"), relation);
    json_t *triggers = answer_member(r, in, "triggers");
    relation->triggers = (unsigned)answer_int(r, json_array_get(triggers, 0));
    relation->triggers_always = (unsigned)answer_int(r, json_array_get(triggers, 1));
    relation->referenced_by = (unsigned)answer_int(r, answer_member(r, in, "referenced_by"));
    relation->publications = answer_texts(r, answer_member(r, in, "publications"), &relation->n_publications);
    read_holders(r, answer_member(r, in, "holders"), relation);
}

void answer_relations(struct answer_reader *r, json_t *list)
{
    struct catalog *catalog = r->catalog;
    catalog->relations = answer_array(r, sizeof *catalog->relations, list, &catalog->n_relations);
    for (size_t i = 0; i < catalog->n_relations; i++)
        read_relation(r, json_array_get(list, i), &catalog->relations[i]);
}

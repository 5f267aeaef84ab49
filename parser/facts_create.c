/*
 * The statements that judging looks into, ALTER TABLE apart: CREATE TABLE and INDEX, DROP, TRUNCATE, and
 * those whose tag depends on what is inside (GRANT, DEFINE, VACUUM, SET, transactions).
 */
#include "parser/facts_create.h"
#include "parser/facts_objects.h"

#include <string.h>
#include <talloc.h>

enum { FEW_ROWS = 100 /* of a VALUES list: a moment's work */ };

/* ---- CREATE TABLE ----------------------------------------------------------------------------------- */

static void read_elements(struct reader *r, json_t *list)
{
    struct facts *facts = r->facts;
    facts->n_columns = facts->n_constraints = json_array_size(list);
    facts->columns = reader_array(r, sizeof *facts->columns, &facts->n_columns);
    facts->constraints = reader_array(r, sizeof *facts->constraints, &facts->n_constraints);
    size_t n = facts->n_columns < facts->n_constraints ? facts->n_columns : facts->n_constraints;
    facts->n_columns = facts->n_constraints = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *inside;
        const char *kind = tree_kind(json_array_get(list, i), &inside);
        if (strcmp(kind, "ColumnDef") == 0)
            column_read(r, inside, &facts->columns[facts->n_columns++]);
        else if (strcmp(kind, "Constraint") == 0)
            constraint_read(r, inside, &facts->constraints[facts->n_constraints++]);
    }
}

void facts_create_table(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    facts->kind = STATEMENT_CREATE_TABLE;
    facts->tag = "CREATE TABLE";
    facts->object_kind = "TABLE";
    facts_on_relation(r, tree_child(in, "relation"));
    facts->only = false;
    facts->if_not_exists = tree_true(in, "if_not_exists");
    read_elements(r, tree_list(in, "tableElts"));
    json_t *parent = json_array_get(tree_list(in, "inhRelations"), 0);
    facts->index_table = name_of_range(r, tree_child(parent, "RangeVar"));
    facts->partition_of = json_object_get(in, "partbound") != NULL;
}

void facts_create_foreign_table(struct reader *r, json_t *in)
{
    facts_create_table(r, tree_child(in, "base"));
    r->facts->tag = "CREATE FOREIGN TABLE";
    r->facts->object_kind = "FOREIGN TABLE";
}

void facts_create_table_as(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    bool view = tree_is(in, "objtype", "OBJECT_MATVIEW");
    facts->kind = view ? STATEMENT_OTHER_DDL : STATEMENT_CREATE_TABLE;
    facts->tag = view                              ? "CREATE MATERIALIZED VIEW"
                 : tree_true(in, "is_select_into") ? "SELECT INTO"
                                                   : "CREATE TABLE AS";
    facts->object_kind = view ? "MATERIALIZED VIEW" : "TABLE";
    facts_on_relation(r, tree_child(tree_child(in, "into"), "rel"));
    facts->only = false;
    facts->if_not_exists = tree_true(in, "if_not_exists");
    facts->moves = !tree_true(tree_child(in, "into"), "skipData") &&
                   facts_query_moves(tree_node(in, "query", "SelectStmt"));
}

/* A WITH holds a statement that changes rows. */
static bool with_changes(const json_t *statement)
{
    static const char *const kinds[] = {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"};
    json_t *list = tree_list(tree_child(statement, "withClause"), "ctes"), *one, *inside;
    size_t i;
    json_array_foreach(list, i, one)
    {
        (void)tree_kind(one, &inside);
        const char *kind = tree_kind(tree_child(inside, "ctequery"), &inside);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (strcmp(kind, kinds[k]) == 0)
                return true;
    }
    return false;
}

bool facts_query_moves(const json_t *select)
{
    return json_array_size(tree_list(select, "valuesLists")) > FEW_ROWS ||
           json_array_size(tree_list(select, "fromClause")) > 0 || tree_child(select, "larg") ||
           with_changes(select);
}

/* The INTO clause stands in the leftmost SELECT of a UNION. */
static json_t *into_clause(json_t *select)
{
    while (select && !tree_child(select, "intoClause"))
        select = tree_child(select, "larg");
    return tree_child(select, "intoClause");
}

void facts_select(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    json_t *into = into_clause(in);
    facts->kind = into ? STATEMENT_CREATE_TABLE : STATEMENT_QUERY;
    facts->tag = into ? "SELECT INTO" : "SELECT";
    facts->moves = into ? facts_query_moves(in) : with_changes(in);
    if (!into)
        return;
    facts->object_kind = "TABLE";
    facts_on_relation(r, tree_child(into, "rel"));
    facts->only = false;
}

void facts_explain(struct reader *r, json_t *in)
{
    json_t *inside;
    const char *kind = tree_kind(json_object_get(in, "query"), &inside);
    r->facts->kind = STATEMENT_QUERY;
    if (strcmp(kind, "CreateTableAsStmt") == 0)
        facts_create_table_as(r, inside);
    else if (strcmp(kind, "SelectStmt") == 0)
        facts_select(r, inside);
    r->facts->tag = "EXPLAIN";
    r->facts->moves = false;
}

/* ---- CREATE INDEX, DROP, TRUNCATE ------------------------------------------------------------------- */

/* The place of the index's name: the word behind INDEX [CONCURRENTLY] [IF NOT EXISTS]. */
static int index_name_place(const struct reader *r)
{
    const struct tokens *tokens = &r->source->tokens;
    const char *text = r->source->text;
    size_t i = token_is(text, tokens, 1, "unique") ? 3 : 2;
    if (token_is(text, tokens, i, "concurrently"))
        i++;
    if (token_is(text, tokens, i, "if") && token_is(text, tokens, i + 1, "not"))
        i += 3;
    return i < tokens->n ? reader_place(r, tokens->items[i].start) : -1;
}

static struct expr *index_part(struct reader *r, json_t *element)
{
    const char *column = tree_text(element, "name");
    if (!column)
        return expr_read(r, json_object_get(element, "expr"));
    struct expr *part = reader_array(r, sizeof *part, &(size_t){1});
    if (part)
        *part = (struct expr){.kind = EXPR_COLUMN, .name = {NULL, reader_copy(r, column), -1}, .place = -1};
    return part;
}

static void index_parts(struct reader *r, json_t *in)
{
    static const char *const lists[] = {"indexParams", "indexIncludingParams"};
    struct facts *facts = r->facts;
    size_t n = 1;
    for (int list = 0; list < 2; list++)
        n += json_array_size(tree_list(in, lists[list]));
    facts->index_parts = reader_array(r, sizeof(struct expr *), &n);
    for (int list = 0; facts->index_parts && list < 2; list++) {
        json_t *elements = tree_list(in, lists[list]);
        for (size_t i = 0; i < json_array_size(elements); i++) {
            struct expr *part = index_part(r, tree_child(json_array_get(elements, i), "IndexElem"));
            if (part)
                facts->index_parts[facts->n_index_parts++] = part;
        }
    }
    struct expr *where = expr_read(r, json_object_get(in, "whereClause"));
    if (facts->index_parts && where)
        facts->index_parts[facts->n_index_parts++] = where;
}

void facts_create_index(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    facts->kind = STATEMENT_CREATE_INDEX;
    facts->tag = "CREATE INDEX";
    facts->object_kind = "INDEX";
    json_t *relation = tree_child(in, "relation");
    facts_on_relation(r, relation);
    facts->index_table = facts->object;
    facts->object = name_of_text(r, tree_text(in, "idxname"));
    if (facts->object.name) {
        facts->object.schema = facts->index_table.schema;
        facts->object.place = index_name_place(r);
    }
    char *table = identity_of(r, &facts->index_table), *index = identity_of(r, &facts->object);
    facts_identity(r, index ? index : table ? talloc_asprintf(facts, "ON %s", table) : NULL);
    size_t rest = reader_behind_name(r, tree_number(relation, "location", -1));
    if (facts->index_table.place >= 0 && rest < r->source->tokens.n) {
        facts->index_rest = reader_place(r, r->source->tokens.items[rest].start);
        facts->index_end = reader_end(r, tokens_clause_end(&r->source->tokens, rest));
    }
    facts->unique = tree_true(in, "unique");
    facts->concurrently = tree_true(in, "concurrent");
    facts->if_not_exists = tree_true(in, "if_not_exists");
    index_parts(r, in);
}

void facts_drop(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    const char *type = tree_text(in, "removeType");
    facts->kind = STATEMENT_DROP;
    facts->tag = facts_tag(r, "DROP", type);
    facts_object_kind(r, type);
    facts_objects(r, type, tree_list(in, "objects"));
    facts->if_exists = tree_true(in, "missing_ok");
    facts->cascade = tree_is(in, "behavior", "DROP_CASCADE");
    facts->concurrently = tree_true(in, "concurrent");
}

void facts_truncate(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    facts->kind = STATEMENT_TRUNCATE;
    facts->tag = "TRUNCATE TABLE";
    facts->object_kind = "TABLE";
    json_t *list = tree_list(in, "relations");
    facts_objects(r, "OBJECT_TABLE", list);
    json_t *first = tree_child(json_array_get(list, 0), "RangeVar");
    facts->only = first && !tree_true(first, "inh");
    facts->cascade = tree_is(in, "behavior", "DROP_CASCADE");
}

/* ---- tags that depend on what is inside -----------------------------------------------------------------
 */

void facts_grant(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    const char *type = tree_text(in, "objtype");
    facts->kind = STATEMENT_OTHER_DDL;
    facts->tag = tree_true(in, "is_grant") ? "GRANT" : "REVOKE";
    facts_object_kind(r, type);
    facts_objects(r, type, tree_list(in, "objects"));
    if (!tree_is(in, "targtype", "ACL_TARGET_ALL_IN_SCHEMA"))
        return;
    for (size_t i = 0; i < facts->n_objects; i++)
        facts->objects[i] = (struct name){.schema = facts->objects[i].name, .place = -1};
    if (facts->n_objects > 0)
        facts->object = facts->objects[0];
    facts_identity(r, talloc_asprintf(facts, "ALL IN SCHEMA %s", facts->identity));
}

void facts_grant_role(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    facts->kind = STATEMENT_OTHER_DDL;
    facts->tag = tree_true(in, "is_grant") ? "GRANT ROLE" : "REVOKE ROLE";
    facts->object_kind = "ROLE";
    facts_objects(r, "OBJECT_ROLE", tree_list(in, "granted_roles"));
}

void facts_default_privileges(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    facts->kind = STATEMENT_OTHER_DDL;
    facts->tag = "ALTER DEFAULT PRIVILEGES";
    facts_object_kind(r, tree_text(tree_child(in, "action"), "objtype"));
    json_t *option;
    size_t i;
    json_array_foreach(tree_list(in, "options"), i, option)
    {
        json_t *element = tree_child(option, "DefElem");
        if (tree_is(element, "defname", "schemas"))
            facts_objects(r, "OBJECT_SCHEMA", tree_list(tree_node(element, "arg", "List"), "items"));
    }
    for (i = 0; i < facts->n_objects; i++)
        facts->objects[i] = (struct name){.schema = facts->objects[i].name, .place = -1};
    if (facts->n_objects > 0)
        facts->object = facts->objects[0];
}

void facts_define(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    const char *type = tree_text(in, "kind");
    facts->kind = STATEMENT_OTHER_DDL;
    facts->tag = facts_tag(r, "CREATE", type);
    facts_object_kind(r, type);
    facts->object = name_of_list(r, tree_list(in, "defnames"));
    facts->if_not_exists = tree_true(in, "if_not_exists");
    facts_identity(r, type && !strcmp(type, "OBJECT_OPERATOR") ? operator_identity(r, &facts->object)
                                                               : identity_of(r, &facts->object));
}

void facts_alter_function(struct reader *r, json_t *in)
{
    const char *type = tree_text(in, "objtype");
    r->facts->kind = STATEMENT_OTHER_DDL;
    r->facts->tag = facts_alter_tag(r, type);
    facts_object_kind(r, type);
    json_t *list = json_pack("[{s:O}]", "ObjectWithArgs", tree_child(in, "func"));
    if (!list) {
        r->failed = true;
        return;
    }
    facts_objects(r, type, list);
    json_decref(list);
}

void facts_move_all(struct reader *r, json_t *in)
{
    const char *type = tree_text(in, "objtype");
    r->facts->kind = STATEMENT_OTHER_DDL;
    r->facts->tag = facts_alter_tag(r, type);
    facts_object_kind(r, type);
    facts_identity(r,
                   talloc_asprintf(r->facts, "ALL IN TABLESPACE %s", tree_text(in, "orig_tablespacename")));
}

static bool has_option(json_t *options, const char *name)
{
    json_t *option;
    size_t i;
    json_array_foreach(options, i, option)
    {
        json_t *element = tree_child(option, "DefElem"), *value = json_object_get(element, "arg"), *inside;
        if (!tree_is(element, "defname", name))
            continue;
        if (!value)
            return true;
        const char *kind = tree_kind(value, &inside), *text = tree_string(value);
        if (text)
            return strcasecmp(text, "false") != 0 && strcasecmp(text, "off") != 0;
        if (strcmp(kind, "Boolean") == 0)
            return tree_true(inside, "boolval");
        return tree_number(inside, "ival", 0) != 0;
    }
    return false;
}

/* VACUUM FULL rewrites the table under the strongest lock; plain VACUUM and ANALYZE are no DDL. */
void facts_vacuum(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    facts->tag = tree_true(in, "is_vacuumcmd") ? "VACUUM" : "ANALYZE";
    facts->kind = has_option(tree_list(in, "options"), "full") ? STATEMENT_OTHER_DDL : STATEMENT_OTHER;
    facts->object_kind = "TABLE";
    json_t *tables = json_array(), *one;
    size_t i;
    json_array_foreach(tree_list(in, "rels"), i, one)
    {
        json_t *range = tree_child(tree_child(one, "VacuumRelation"), "relation");
        json_t *node = range ? json_pack("{s:O}", "RangeVar", range) : NULL;
        if (node && json_array_append_new(tables, node) != 0)
            r->failed = true;
    }
    facts_objects(r, "OBJECT_TABLE", tables);
    json_decref(tables);
}

void facts_reindex(struct reader *r, json_t *in)
{
    static const char *const kinds[][2] = {{"REINDEX_OBJECT_INDEX", "INDEX"},
                                           {"REINDEX_OBJECT_TABLE", "TABLE"},
                                           {"REINDEX_OBJECT_SCHEMA", "SCHEMA"},
                                           {"REINDEX_OBJECT_SYSTEM", "SYSTEM"},
                                           {"REINDEX_OBJECT_DATABASE", "DATABASE"}};
    struct facts *facts = r->facts;
    facts->kind = STATEMENT_OTHER_DDL;
    facts->tag = "REINDEX";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (tree_is(in, "kind", kinds[i][0]))
            facts->object_kind = kinds[i][1];
    facts->concurrently = has_option(tree_list(in, "params"), "concurrently");
    json_t *relation = tree_child(in, "relation");
    if (relation) {
        facts_on_relation(r, relation);
        return;
    }
    facts->object = name_of_text(r, tree_text(in, "name"));
    facts_identity(r, identity_of(r, &facts->object));
}

void facts_transaction(struct reader *r, json_t *in)
{
    static const char *const tags[][2] = {{"TRANS_STMT_BEGIN", "BEGIN"},
                                          {"TRANS_STMT_START", "START TRANSACTION"},
                                          {"TRANS_STMT_COMMIT", "COMMIT"},
                                          {"TRANS_STMT_ROLLBACK", "ROLLBACK"},
                                          {"TRANS_STMT_ROLLBACK_TO", "ROLLBACK"},
                                          {"TRANS_STMT_SAVEPOINT", "SAVEPOINT"},
                                          {"TRANS_STMT_RELEASE", "RELEASE"},
                                          {"TRANS_STMT_PREPARE", "PREPARE TRANSACTION"},
                                          {"TRANS_STMT_COMMIT_PREPARED", "COMMIT PREPARED"},
                                          {"TRANS_STMT_ROLLBACK_PREPARED", "ROLLBACK PREPARED"}};
    r->facts->kind = STATEMENT_TRANSACTION;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (tree_is(in, "kind", tags[i][0]))
            r->facts->tag = tags[i][1];
}

void facts_set(struct reader *r, json_t *in)
{
    bool reset = tree_is(in, "kind", "VAR_RESET") || tree_is(in, "kind", "VAR_RESET_ALL");
    r->facts->kind = STATEMENT_SETTING;
    r->facts->tag = reset ? "RESET" : "SET";
    r->facts->object = name_of_text(r, tree_text(in, "name"));
}

void facts_discard(struct reader *r, json_t *in)
{
    static const char *const tags[][2] = {{"DISCARD_ALL", "DISCARD ALL"},
                                          {"DISCARD_PLANS", "DISCARD PLANS"},
                                          {"DISCARD_SEQUENCES", "DISCARD SEQUENCES"},
                                          {"DISCARD_TEMP", "DISCARD TEMP"}};
    r->facts->kind = STATEMENT_SETTING;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (tree_is(in, "target", tags[i][0]))
            r->facts->tag = tags[i][1];
}

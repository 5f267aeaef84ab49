/*
 * ALTER TABLE and its relatives: the subcommands, with their spans.
 *
 * libpg_query gives subcommands no location. They are what stands between the commas that follow the table's
 * name outside of parentheses; where the count differs from the tree's, the spans stay unknown.
 */
#include "parser/facts_objects.h"
#include "parser/facts_read.h"

#include <string.h>
#include <strings.h>
#include <talloc.h>

/* AlterTableType of the parser -> our kinds, with the words of the manual. */
static const struct {
    const char *type;
    enum alter_kind kind;
} types[] = {{"AT_AddColumn", ALTER_ADD_COLUMN},
             {"AT_AddColumnRecurse", ALTER_ADD_COLUMN},
             {"AT_ColumnDefault", ALTER_SET_DEFAULT},
             {"AT_DropNotNull", ALTER_DROP_NOT_NULL},
             {"AT_SetNotNull", ALTER_SET_NOT_NULL},
             {"AT_SetExpression", ALTER_SET_EXPRESSION},
             {"AT_DropExpression", ALTER_DROP_EXPRESSION},
             {"AT_SetStatistics", ALTER_SET_STATISTICS},
             {"AT_SetOptions", ALTER_SET_OPTIONS},
             {"AT_ResetOptions", ALTER_RESET_OPTIONS},
             {"AT_AlterColumnGenericOptions", ALTER_SET_OPTIONS},
             {"AT_SetStorage", ALTER_SET_STORAGE},
             {"AT_SetCompression", ALTER_SET_COMPRESSION},
             {"AT_DropColumn", ALTER_DROP_COLUMN},
             {"AT_AddConstraint", ALTER_ADD_CONSTRAINT},
             {"AT_AlterConstraint", ALTER_ALTER_CONSTRAINT},
             {"AT_ValidateConstraint", ALTER_VALIDATE_CONSTRAINT},
             {"AT_AddIndexConstraint", ALTER_ADD_INDEX_CONSTRAINT},
             {"AT_DropConstraint", ALTER_DROP_CONSTRAINT},
             {"AT_AlterColumnType", ALTER_COLUMN_TYPE},
             {"AT_ChangeOwner", ALTER_OWNER},
             {"AT_ClusterOn", ALTER_CLUSTER_ON},
             {"AT_DropCluster", ALTER_DROP_CLUSTER},
             {"AT_SetLogged", ALTER_SET_LOGGED},
             {"AT_SetUnLogged", ALTER_SET_UNLOGGED},
             {"AT_SetAccessMethod", ALTER_SET_ACCESS_METHOD},
             {"AT_SetTableSpace", ALTER_SET_TABLESPACE},
             {"AT_SetRelOptions", ALTER_SET_RELOPTIONS},
             {"AT_ResetRelOptions", ALTER_RESET_RELOPTIONS},
             {"AT_EnableTrig", ALTER_ENABLE_TRIGGER},
             {"AT_EnableAlwaysTrig", ALTER_ENABLE_TRIGGER},
             {"AT_EnableReplicaTrig", ALTER_ENABLE_TRIGGER},
             {"AT_EnableTrigAll", ALTER_ENABLE_TRIGGER},
             {"AT_EnableTrigUser", ALTER_ENABLE_TRIGGER},
             {"AT_DisableTrig", ALTER_DISABLE_TRIGGER},
             {"AT_DisableTrigAll", ALTER_DISABLE_TRIGGER},
             {"AT_DisableTrigUser", ALTER_DISABLE_TRIGGER},
             {"AT_EnableRule", ALTER_ENABLE_RULE},
             {"AT_EnableAlwaysRule", ALTER_ENABLE_RULE},
             {"AT_EnableReplicaRule", ALTER_ENABLE_RULE},
             {"AT_DisableRule", ALTER_DISABLE_RULE},
             {"AT_AddInherit", ALTER_ADD_INHERIT},
             {"AT_DropInherit", ALTER_DROP_INHERIT},
             {"AT_AddOf", ALTER_ADD_OF},
             {"AT_DropOf", ALTER_DROP_OF},
             {"AT_ReplicaIdentity", ALTER_REPLICA_IDENTITY},
             {"AT_EnableRowSecurity", ALTER_ROW_SECURITY},
             {"AT_DisableRowSecurity", ALTER_ROW_SECURITY},
             {"AT_ForceRowSecurity", ALTER_ROW_SECURITY},
             {"AT_NoForceRowSecurity", ALTER_ROW_SECURITY},
             {"AT_AttachPartition", ALTER_ATTACH_PARTITION},
             {"AT_DetachPartition", ALTER_DETACH_PARTITION},
             {"AT_DetachPartitionFinalize", ALTER_DETACH_PARTITION_FINALIZE},
             {"AT_AddIdentity", ALTER_ADD_IDENTITY},
             {"AT_SetIdentity", ALTER_SET_IDENTITY},
             {"AT_DropIdentity", ALTER_DROP_IDENTITY}};

const char *alter_kind_name(enum alter_kind kind)
{
    static const char *const names[] = {
        [ALTER_ADD_COLUMN] = "ADD COLUMN",
        [ALTER_DROP_COLUMN] = "DROP COLUMN",
        [ALTER_COLUMN_TYPE] = "ALTER COLUMN TYPE",
        [ALTER_SET_DEFAULT] = "SET DEFAULT",
        [ALTER_DROP_DEFAULT] = "DROP DEFAULT",
        [ALTER_SET_NOT_NULL] = "SET NOT NULL",
        [ALTER_DROP_NOT_NULL] = "DROP NOT NULL",
        [ALTER_SET_EXPRESSION] = "SET EXPRESSION",
        [ALTER_DROP_EXPRESSION] = "DROP EXPRESSION",
        [ALTER_SET_STATISTICS] = "SET STATISTICS",
        [ALTER_SET_OPTIONS] = "SET column options",
        [ALTER_RESET_OPTIONS] = "RESET column options",
        [ALTER_SET_STORAGE] = "SET STORAGE",
        [ALTER_SET_COMPRESSION] = "SET COMPRESSION",
        [ALTER_ADD_IDENTITY] = "ADD IDENTITY",
        [ALTER_SET_IDENTITY] = "SET IDENTITY",
        [ALTER_DROP_IDENTITY] = "DROP IDENTITY",
        [ALTER_ADD_CONSTRAINT] = "ADD CONSTRAINT",
        [ALTER_ALTER_CONSTRAINT] = "ALTER CONSTRAINT",
        [ALTER_VALIDATE_CONSTRAINT] = "VALIDATE CONSTRAINT",
        [ALTER_DROP_CONSTRAINT] = "DROP CONSTRAINT",
        [ALTER_ADD_INDEX_CONSTRAINT] = "ADD CONSTRAINT USING INDEX",
        [ALTER_OWNER] = "OWNER TO",
        [ALTER_CLUSTER_ON] = "CLUSTER ON",
        [ALTER_DROP_CLUSTER] = "SET WITHOUT CLUSTER",
        [ALTER_SET_LOGGED] = "SET LOGGED",
        [ALTER_SET_UNLOGGED] = "SET UNLOGGED",
        [ALTER_SET_ACCESS_METHOD] = "SET ACCESS METHOD",
        [ALTER_SET_TABLESPACE] = "SET TABLESPACE",
        [ALTER_SET_RELOPTIONS] = "SET storage parameters",
        [ALTER_RESET_RELOPTIONS] = "RESET storage parameters",
        [ALTER_ENABLE_TRIGGER] = "ENABLE TRIGGER",
        [ALTER_DISABLE_TRIGGER] = "DISABLE TRIGGER",
        [ALTER_ENABLE_RULE] = "ENABLE RULE",
        [ALTER_DISABLE_RULE] = "DISABLE RULE",
        [ALTER_ADD_INHERIT] = "INHERIT",
        [ALTER_DROP_INHERIT] = "NO INHERIT",
        [ALTER_ADD_OF] = "OF",
        [ALTER_DROP_OF] = "NOT OF",
        [ALTER_REPLICA_IDENTITY] = "REPLICA IDENTITY",
        [ALTER_ROW_SECURITY] = "ROW LEVEL SECURITY",
        [ALTER_ATTACH_PARTITION] = "ATTACH PARTITION",
        [ALTER_DETACH_PARTITION] = "DETACH PARTITION",
        [ALTER_DETACH_PARTITION_FINALIZE] = "DETACH PARTITION FINALIZE",
        [ALTER_RENAME_COLUMN] = "RENAME COLUMN",
        [ALTER_RENAME_CONSTRAINT] = "RENAME CONSTRAINT",
        [ALTER_RENAME_TABLE] = "RENAME TO",
        [ALTER_SET_SCHEMA] = "SET SCHEMA",
        [ALTER_OTHER] = "other",
    };
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "other";
}

/* ---- spans ------------------------------------------------------------------------------------------ */

/* Index of the first token behind the name that starts at `offset`: [ONLY] [(] a.b [)] [*]. */
size_t reader_behind_name(const struct reader *r, int offset)
{
    const struct tokens *tokens = &r->source->tokens;
    const char *text = r->source->text;
    size_t i = tokens_at(tokens, offset);
    bool bracketed = i > 0 && i < tokens->n && token_is(text, tokens, i - 1, "(");
    for (i++; token_is(text, tokens, i, "."); i += 2)
        ;
    if (bracketed)
        i++;
    return token_is(text, tokens, i, "*") ? i + 1 : i;
}

static void span_alters(struct reader *r, int location)
{
    struct facts *facts = r->facts;
    const struct tokens *tokens = &r->source->tokens;
    size_t i = reader_behind_name(r, location), k = 0;
    while (i < tokens->n && k < facts->n_alters) {
        size_t end = tokens_clause_end(tokens, i);
        facts->alters[k].place = reader_place(r, tokens->items[i].start);
        facts->alters[k++].end = reader_end(r, end);
        if (end >= tokens->n || tokens->items[end].kind != ',')
            break;
        i = end + 1;
    }
    if (k == facts->n_alters)
        return;
    for (k = 0; k < facts->n_alters; k++)
        facts->alters[k].place = facts->alters[k].end = -1;
}

/* The one alter of a RENAME and the like: everything behind the name. */
static void span_rest(struct reader *r, struct alter *alter, int location)
{
    const struct tokens *tokens = &r->source->tokens;
    size_t i = reader_behind_name(r, location);
    alter->place = alter->end = -1;
    if (location < 0 || i >= tokens->n)
        return;
    alter->place = reader_place(r, tokens->items[i].start);
    alter->end = reader_end(r, tokens_clause_end(tokens, i));
}

/* ---- subcommands ------------------------------------------------------------------------------------ */

static enum alter_kind kind_of(const json_t *command)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (tree_is(command, "subtype", types[i].type))
            return types[i].kind;
    return ALTER_OTHER;
}

static void read_column(struct reader *r, json_t *definition, struct alter *alter)
{
    alter->column = talloc(r->facts, struct column_definition);
    if (!alter->column) {
        r->failed = true;
        return;
    }
    column_read(r, definition, alter->column);
    if (alter->kind == ALTER_ADD_COLUMN) {
        alter->subject = alter->column->name;
        return;
    }
    alter->column->name = alter->subject;
    alter->expr = expr_read(r, json_object_get(definition, "raw_default"));
}

static void read_constraint(struct reader *r, json_t *definition, struct alter *alter)
{
    alter->constraint = talloc(r->facts, struct constraint);
    if (!alter->constraint) {
        r->failed = true;
        return;
    }
    constraint_read(r, definition, alter->constraint);
    if (alter->kind != ALTER_ADD_IDENTITY)
        alter->subject = alter->constraint->name;
    if (alter->kind == ALTER_ADD_CONSTRAINT && alter->constraint->using_index)
        alter->kind = ALTER_ADD_INDEX_CONSTRAINT;
}

static void read_expression(struct reader *r, json_t *definition, struct alter *alter)
{
    alter->expr = expr_read(r, definition);
    if (alter->kind != ALTER_SET_EXPRESSION)
        return;
    alter->constraint = talloc_zero(r->facts, struct constraint);
    if (!alter->constraint) {
        r->failed = true;
        return;
    }
    *alter->constraint =
        (struct constraint){.kind = CONSTRAINT_GENERATED, .expr = alter->expr, .always = true};
    alter->constraint->word = alter->constraint->options = -1;
    alter->constraint->place = alter->constraint->end = alter->constraint->referenced.place = -1;
}

/* What stands in the subcommand's "def", by the sort of node that it is. */
static void read_definition(struct reader *r, json_t *definition, struct alter *alter)
{
    json_t *inside;
    const char *kind = tree_kind(definition, &inside);
    if (alter->kind == ALTER_SET_DEFAULT || alter->kind == ALTER_SET_EXPRESSION)
        read_expression(r, definition, alter);
    else if (strcmp(kind, "ColumnDef") == 0)
        read_column(r, inside, alter);
    else if (strcmp(kind, "Constraint") == 0)
        read_constraint(r, inside, alter);
    else if (strcmp(kind, "RangeVar") == 0)
        alter->other = name_of_range(r, inside);
    else if (strcmp(kind, "TypeName") == 0)
        alter->other = name_of_list(r, tree_list(inside, "names"));
    else if (strcmp(kind, "ReplicaIdentityStmt") == 0)
        alter->subject = reader_copy(r, tree_text(inside, "name"));
    else if (strcmp(kind, "PartitionCmd") == 0) {
        alter->other = name_of_range(r, tree_child(inside, "name"));
        alter->concurrently = tree_true(inside, "concurrent");
    }
}

static void alter_read(struct reader *r, json_t *command, struct alter *alter)
{
    *alter = (struct alter){.kind = kind_of(command), .other.place = -1, .place = -1, .end = -1};
    alter->subject = reader_copy(r, tree_text(command, "name"));
    alter->missing_ok = tree_true(command, "missing_ok");
    alter->cascade = tree_is(command, "behavior", "DROP_CASCADE");
    if (alter->kind == ALTER_SET_DEFAULT && !json_object_get(command, "def"))
        alter->kind = ALTER_DROP_DEFAULT;
    if (alter->kind == ALTER_OWNER)
        alter->new_name = role_of(r, tree_child(command, "newowner"));
    json_t *definition = json_object_get(command, "def");
    if (definition)
        read_definition(r, definition, alter);
    const char *type = tree_text(command, "subtype");
    if (!alter->subject && type && strstr(type, "TrigAll"))
        alter->subject = "ALL";
    if (!alter->subject && type && strstr(type, "TrigUser"))
        alter->subject = "USER";
}

/* ALTER COLUMN … TYPE has no constraints; its column's span starts where the parser says. */
void facts_alter_table(struct reader *r, json_t *statement)
{
    struct facts *facts = r->facts;
    json_t *relation = tree_child(statement, "relation"), *commands = tree_list(statement, "cmds");
    facts_object_kind(r, tree_text(statement, "objtype"));
    bool composite = strcmp(facts->object_kind, "TYPE") == 0;
    facts->kind = composite ? STATEMENT_OTHER_DDL : STATEMENT_ALTER_TABLE;
    facts->tag = facts_alter_tag(r, tree_text(statement, "objtype"));
    facts_on_relation(r, relation);
    facts->if_exists = tree_true(statement, "missing_ok");

    facts->n_alters = json_array_size(commands);
    facts->alters = reader_array(r, sizeof *facts->alters, &facts->n_alters);
    for (size_t i = 0; i < facts->n_alters; i++)
        alter_read(r, tree_child(json_array_get(commands, i), "AlterTableCmd"), &facts->alters[i]);
    span_alters(r, tree_number(relation, "location", -1));
}

/* ---- what libpg_query has other statements for --------------------------------------------------------- */

/* Is this object one of those that ALTER TABLE works on? */
static bool is_relation(const char *type)
{
    static const char *const relations[] = {"OBJECT_TABLE",   "OBJECT_INDEX",    "OBJECT_VIEW",
                                            "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE"};
    for (size_t i = 0; type && i < sizeof relations / sizeof *relations; i++)
        if (strcmp(type, relations[i]) == 0)
            return true;
    return false;
}

static struct alter *one_alter(struct reader *r, enum alter_kind kind, json_t *relation)
{
    struct facts *facts = r->facts;
    facts->kind = STATEMENT_ALTER_TABLE;
    facts->n_alters = 1;
    facts->alters = reader_array(r, sizeof *facts->alters, &facts->n_alters);
    if (!facts->alters)
        return NULL;
    *facts->alters = (struct alter){.kind = kind, .other.place = -1};
    span_rest(r, facts->alters, tree_number(relation, "location", -1));
    return facts->alters;
}

void facts_rename(struct reader *r, json_t *statement)
{
    struct facts *facts = r->facts;
    const char *what = tree_text(statement, "renameType"), *on = tree_text(statement, "relationType");
    bool column = what && (!strcmp(what, "OBJECT_COLUMN") || !strcmp(what, "OBJECT_ATTRIBUTE"));
    bool constraint = what && !strcmp(what, "OBJECT_TABCONSTRAINT");
    const char *object = column ? on : constraint ? "OBJECT_TABLE" : what;
    json_t *relation = tree_child(statement, "relation");
    facts->kind = STATEMENT_OTHER_DDL;
    facts->tag = facts_alter_tag(r, object && !strcmp(object, "OBJECT_ATTRIBUTE") ? "OBJECT_TYPE" : object);
    facts_object_kind(r, object);
    facts->if_exists = tree_true(statement, "missing_ok");
    if (!is_relation(object)) {
        facts_named_object(r, what, statement);
        facts->new_name = reader_copy(r, tree_text(statement, "newname"));
        return;
    }
    facts_on_relation(r, relation);
    struct alter *alter = one_alter(r,
                                    column       ? ALTER_RENAME_COLUMN
                                    : constraint ? ALTER_RENAME_CONSTRAINT
                                                 : ALTER_RENAME_TABLE,
                                    relation);
    if (!alter)
        return;
    alter->subject = reader_copy(r, tree_text(statement, "subname"));
    alter->new_name = reader_copy(r, tree_text(statement, "newname"));
    alter->cascade = tree_is(statement, "behavior", "DROP_CASCADE");
}

void facts_set_schema(struct reader *r, json_t *statement)
{
    struct facts *facts = r->facts;
    const char *what = tree_text(statement, "objectType");
    facts->kind = STATEMENT_OTHER_DDL;
    facts->tag = facts_alter_tag(r, what);
    facts_object_kind(r, what);
    facts->if_exists = tree_true(statement, "missing_ok");
    json_t *relation = tree_child(statement, "relation");
    if (!is_relation(what)) {
        facts_named_object(r, what, statement);
        return;
    }
    facts_on_relation(r, relation);
    struct alter *alter = one_alter(r, ALTER_SET_SCHEMA, relation);
    if (alter)
        alter->new_name = reader_copy(r, tree_text(statement, "newschema"));
}

void facts_set_owner(struct reader *r, json_t *statement)
{
    const char *what = tree_text(statement, "objectType");
    r->facts->kind = STATEMENT_OTHER_DDL;
    r->facts->tag = facts_alter_tag(r, what);
    facts_object_kind(r, what);
    facts_named_object(r, what, statement);
}

/*
 * Every statement that needs no more than its tag and its object: one row each. The rows follow the list of
 * CreateCommandTag() in PostgreSQL's utility.c; a kind of statement that is in no row is STATEMENT_OTHER.
 */
#include "parser/facts_create.h"
#include "parser/facts_objects.h"

#include <string.h>
#include <talloc.h>

/* How the member with the object is to be read. */
enum form {
    FORM_NONE,
    FORM_RANGE,   /* a range variable */
    FORM_LIST,    /* [schema,] name */
    FORM_TEXT,    /* one string */
    FORM_TYPE,    /* a type */
    FORM_ROUTINE, /* a function with arguments */
    FORM_ROLE,
    FORM_OBJECTS, /* a list of object nodes */
    FORM_OF_TYPE  /* tag verb, the object's type in `member`: rename-like statements */
};

static const struct row {
    const char *kind, *tag;
    enum statement_kind statement;
    enum form form;
    const char *object_kind;
    const char *member; /* with the object */
    const char *on;     /* member with the table that it is on, or NULL */
} rows[] = {
    {"CreateTrigStmt", "CREATE TRIGGER", STATEMENT_OTHER_DDL, FORM_TEXT, "TRIGGER", "trigname", "relation"},
    {"CreatePolicyStmt", "CREATE POLICY", STATEMENT_OTHER_DDL, FORM_TEXT, "POLICY", "policy_name", "table"},
    {"AlterPolicyStmt", "ALTER POLICY", STATEMENT_OTHER_DDL, FORM_TEXT, "POLICY", "policy_name", "table"},
    {"RuleStmt", "CREATE RULE", STATEMENT_OTHER_DDL, FORM_TEXT, "RULE", "rulename", "relation"},
    {"ViewStmt", "CREATE VIEW", STATEMENT_OTHER_DDL, FORM_RANGE, "VIEW", "view", NULL},
    {"CreateSeqStmt", "CREATE SEQUENCE", STATEMENT_OTHER_DDL, FORM_RANGE, "SEQUENCE", "sequence", NULL},
    {"AlterSeqStmt", "ALTER SEQUENCE", STATEMENT_OTHER_DDL, FORM_RANGE, "SEQUENCE", "sequence", NULL},
    {"CompositeTypeStmt", "CREATE TYPE", STATEMENT_OTHER_DDL, FORM_RANGE, "TYPE", "typevar", NULL},
    {"CreateEnumStmt", "CREATE TYPE", STATEMENT_OTHER_DDL, FORM_LIST, "TYPE", "typeName", NULL},
    {"CreateRangeStmt", "CREATE TYPE", STATEMENT_OTHER_DDL, FORM_LIST, "TYPE", "typeName", NULL},
    {"AlterEnumStmt", "ALTER TYPE", STATEMENT_OTHER_DDL, FORM_LIST, "TYPE", "typeName", NULL},
    {"AlterTypeStmt", "ALTER TYPE", STATEMENT_OTHER_DDL, FORM_LIST, "TYPE", "typeName", NULL},
    {"CreateDomainStmt", "CREATE DOMAIN", STATEMENT_OTHER_DDL, FORM_LIST, "DOMAIN", "domainname", NULL},
    {"AlterDomainStmt", "ALTER DOMAIN", STATEMENT_OTHER_DDL, FORM_LIST, "DOMAIN", "typeName", NULL},
    {"CreateConversionStmt", "CREATE CONVERSION", STATEMENT_OTHER_DDL, FORM_LIST, "CONVERSION",
     "conversion_name", NULL},
    {"CreateOpClassStmt", "CREATE OPERATOR CLASS", STATEMENT_OTHER_DDL, FORM_LIST, "OPERATOR CLASS",
     "opclassname", NULL},
    {"CreateOpFamilyStmt", "CREATE OPERATOR FAMILY", STATEMENT_OTHER_DDL, FORM_LIST, "OPERATOR FAMILY",
     "opfamilyname", NULL},
    {"AlterOpFamilyStmt", "ALTER OPERATOR FAMILY", STATEMENT_OTHER_DDL, FORM_LIST, "OPERATOR FAMILY",
     "opfamilyname", NULL},
    {"AlterOperatorStmt", "ALTER OPERATOR", STATEMENT_OTHER_DDL, FORM_ROUTINE, "OPERATOR", "opername", NULL},
    {"CreateTransformStmt", "CREATE TRANSFORM", STATEMENT_OTHER_DDL, FORM_TYPE, "TRANSFORM", "type_name",
     NULL},
    {"CreateCastStmt", "CREATE CAST", STATEMENT_OTHER_DDL, FORM_TYPE, "CAST", "sourcetype", NULL},
    {"CreatePLangStmt", "CREATE LANGUAGE", STATEMENT_OTHER_DDL, FORM_TEXT, "LANGUAGE", "plname", NULL},
    {"CreateAmStmt", "CREATE ACCESS METHOD", STATEMENT_OTHER_DDL, FORM_TEXT, "ACCESS METHOD", "amname", NULL},
    {"CreateStatsStmt", "CREATE STATISTICS", STATEMENT_OTHER_DDL, FORM_LIST, "STATISTICS", "defnames", NULL},
    {"AlterStatsStmt", "ALTER STATISTICS", STATEMENT_OTHER_DDL, FORM_LIST, "STATISTICS", "defnames", NULL},
    {"AlterCollationStmt", "ALTER COLLATION", STATEMENT_OTHER_DDL, FORM_LIST, "COLLATION", "collname", NULL},
    {"AlterTSDictionaryStmt", "ALTER TEXT SEARCH DICTIONARY", STATEMENT_OTHER_DDL, FORM_LIST,
     "TEXT SEARCH DICTIONARY", "dictname", NULL},
    {"AlterTSConfigurationStmt", "ALTER TEXT SEARCH CONFIGURATION", STATEMENT_OTHER_DDL, FORM_LIST,
     "TEXT SEARCH CONFIGURATION", "cfgname", NULL},
    {"CreateExtensionStmt", "CREATE EXTENSION", STATEMENT_CREATE_EXTENSION, FORM_TEXT, "EXTENSION", "extname",
     NULL},
    {"AlterExtensionStmt", "ALTER EXTENSION", STATEMENT_OTHER_DDL, FORM_TEXT, "EXTENSION", "extname", NULL},
    {"AlterExtensionContentsStmt", "ALTER EXTENSION", STATEMENT_OTHER_DDL, FORM_TEXT, "EXTENSION", "extname",
     NULL},
    {"CreateFdwStmt", "CREATE FOREIGN DATA WRAPPER", STATEMENT_OTHER_DDL, FORM_TEXT, "FOREIGN DATA WRAPPER",
     "fdwname", NULL},
    {"AlterFdwStmt", "ALTER FOREIGN DATA WRAPPER", STATEMENT_OTHER_DDL, FORM_TEXT, "FOREIGN DATA WRAPPER",
     "fdwname", NULL},
    {"CreateForeignServerStmt", "CREATE SERVER", STATEMENT_OTHER_DDL, FORM_TEXT, "SERVER", "servername",
     NULL},
    {"AlterForeignServerStmt", "ALTER SERVER", STATEMENT_OTHER_DDL, FORM_TEXT, "SERVER", "servername", NULL},
    {"CreateUserMappingStmt", "CREATE USER MAPPING", STATEMENT_OTHER_DDL, FORM_ROLE, "USER MAPPING", "user",
     NULL},
    {"AlterUserMappingStmt", "ALTER USER MAPPING", STATEMENT_OTHER_DDL, FORM_ROLE, "USER MAPPING", "user",
     NULL},
    {"DropUserMappingStmt", "DROP USER MAPPING", STATEMENT_DROP, FORM_ROLE, "USER MAPPING", "user", NULL},
    {"ImportForeignSchemaStmt", "IMPORT FOREIGN SCHEMA", STATEMENT_OTHER_DDL, FORM_TEXT, "SCHEMA",
     "local_schema", NULL},
    {"CreateTableSpaceStmt", "CREATE TABLESPACE", STATEMENT_OTHER_DDL, FORM_TEXT, "TABLESPACE",
     "tablespacename", NULL},
    {"AlterTableSpaceOptionsStmt", "ALTER TABLESPACE", STATEMENT_OTHER_DDL, FORM_TEXT, "TABLESPACE",
     "tablespacename", NULL},
    {"DropTableSpaceStmt", "DROP TABLESPACE", STATEMENT_DROP, FORM_TEXT, "TABLESPACE", "tablespacename",
     NULL},
    {"CreatePublicationStmt", "CREATE PUBLICATION", STATEMENT_OTHER_DDL, FORM_TEXT, "PUBLICATION", "pubname",
     NULL},
    {"AlterPublicationStmt", "ALTER PUBLICATION", STATEMENT_OTHER_DDL, FORM_TEXT, "PUBLICATION", "pubname",
     NULL},
    {"CreateSubscriptionStmt", "CREATE SUBSCRIPTION", STATEMENT_OTHER_DDL, FORM_TEXT, "SUBSCRIPTION",
     "subname", NULL},
    {"AlterSubscriptionStmt", "ALTER SUBSCRIPTION", STATEMENT_OTHER_DDL, FORM_TEXT, "SUBSCRIPTION", "subname",
     NULL},
    {"DropSubscriptionStmt", "DROP SUBSCRIPTION", STATEMENT_DROP, FORM_TEXT, "SUBSCRIPTION", "subname", NULL},
    {"CreateEventTrigStmt", "CREATE EVENT TRIGGER", STATEMENT_OTHER_DDL, FORM_TEXT, "EVENT TRIGGER",
     "trigname", NULL},
    {"AlterEventTrigStmt", "ALTER EVENT TRIGGER", STATEMENT_OTHER_DDL, FORM_TEXT, "EVENT TRIGGER", "trigname",
     NULL},
    {"CreateSchemaStmt", "CREATE SCHEMA", STATEMENT_OTHER_DDL, FORM_TEXT, "SCHEMA", "schemaname", NULL},
    {"CreatedbStmt", "CREATE DATABASE", STATEMENT_OTHER_DDL, FORM_TEXT, "DATABASE", "dbname", NULL},
    {"AlterDatabaseStmt", "ALTER DATABASE", STATEMENT_OTHER_DDL, FORM_TEXT, "DATABASE", "dbname", NULL},
    {"AlterDatabaseSetStmt", "ALTER DATABASE", STATEMENT_OTHER_DDL, FORM_TEXT, "DATABASE", "dbname", NULL},
    {"AlterDatabaseRefreshCollStmt", "ALTER DATABASE", STATEMENT_OTHER_DDL, FORM_TEXT, "DATABASE", "dbname",
     NULL},
    {"DropdbStmt", "DROP DATABASE", STATEMENT_DROP, FORM_TEXT, "DATABASE", "dbname", NULL},
    {"CreateRoleStmt", "CREATE ROLE", STATEMENT_OTHER_DDL, FORM_TEXT, "ROLE", "role", NULL},
    {"AlterRoleStmt", "ALTER ROLE", STATEMENT_OTHER_DDL, FORM_ROLE, "ROLE", "role", NULL},
    {"AlterRoleSetStmt", "ALTER ROLE", STATEMENT_OTHER_DDL, FORM_ROLE, "ROLE", "role", NULL},
    {"DropRoleStmt", "DROP ROLE", STATEMENT_DROP, FORM_OBJECTS, "ROLE", "roles", NULL},
    {"DropOwnedStmt", "DROP OWNED", STATEMENT_OTHER_DDL, FORM_OBJECTS, "ROLE", "roles", NULL},
    {"ReassignOwnedStmt", "REASSIGN OWNED", STATEMENT_OTHER_DDL, FORM_OBJECTS, "ROLE", "roles", NULL},
    {"AlterSystemStmt", "ALTER SYSTEM", STATEMENT_OTHER_DDL, FORM_NONE, "", NULL, NULL},
    {"ClusterStmt", "CLUSTER", STATEMENT_OTHER_DDL, FORM_RANGE, "TABLE", "relation", NULL},
    {"RefreshMatViewStmt", "REFRESH MATERIALIZED VIEW", STATEMENT_OTHER_DDL, FORM_RANGE, "MATERIALIZED VIEW",
     "relation", NULL},
    {"CommentStmt", "COMMENT", STATEMENT_OTHER_DDL, FORM_OF_TYPE, NULL, "objtype", NULL},
    {"SecLabelStmt", "SECURITY LABEL", STATEMENT_OTHER_DDL, FORM_OF_TYPE, NULL, "objtype", NULL},
    {"AlterObjectDependsStmt", NULL, STATEMENT_OTHER_DDL, FORM_OF_TYPE, NULL, "objectType", NULL},
    {"CallStmt", "CALL", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
    {"LockStmt", "LOCK TABLE", STATEMENT_OTHER, FORM_OBJECTS, "TABLE", "relations", NULL},
    {"CopyStmt", "COPY", STATEMENT_QUERY, FORM_RANGE, "TABLE", "relation", NULL},
    {"InsertStmt", "INSERT", STATEMENT_QUERY, FORM_RANGE, "TABLE", "relation", NULL},
    {"UpdateStmt", "UPDATE", STATEMENT_QUERY, FORM_RANGE, "TABLE", "relation", NULL},
    {"DeleteStmt", "DELETE", STATEMENT_QUERY, FORM_RANGE, "TABLE", "relation", NULL},
    {"MergeStmt", "MERGE", STATEMENT_QUERY, FORM_RANGE, "TABLE", "relation", NULL},
    {"DeclareCursorStmt", "DECLARE CURSOR", STATEMENT_QUERY, FORM_NONE, "", NULL, NULL},
    {"ClosePortalStmt", "CLOSE CURSOR", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
    {"FetchStmt", "FETCH", STATEMENT_QUERY, FORM_NONE, "", NULL, NULL},
    {"PrepareStmt", "PREPARE", STATEMENT_QUERY, FORM_NONE, "", NULL, NULL},
    {"ExecuteStmt", "EXECUTE", STATEMENT_QUERY, FORM_NONE, "", NULL, NULL},
    {"DeallocateStmt", "DEALLOCATE", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
    {"VariableShowStmt", "SHOW", STATEMENT_QUERY, FORM_NONE, "", NULL, NULL},
    {"ConstraintsSetStmt", "SET CONSTRAINTS", STATEMENT_SETTING, FORM_NONE, "", NULL, NULL},
    {"CheckPointStmt", "CHECKPOINT", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
    {"ListenStmt", "LISTEN", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
    {"UnlistenStmt", "UNLISTEN", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
    {"NotifyStmt", "NOTIFY", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
    {"LoadStmt", "LOAD", STATEMENT_OTHER, FORM_NONE, "", NULL, NULL},
};

static void read_type(struct reader *r, json_t *tree)
{
    struct type_name type = type_read(r, tree);
    r->facts->object = (struct name){type.schema, type.name, type.place};
    facts_identity(r, talloc_strdup(r->facts, type.text));
}

static void read_routine(struct reader *r, json_t *tree)
{
    json_t *node = tree ? json_pack("{s:O}", "ObjectWithArgs", tree) : NULL;
    if (!node) {
        r->failed = true;
        return;
    }
    struct name on;
    facts_identity(r, object_read(r, NULL, node, &r->facts->object, &on));
    json_decref(node);
}

/* A cast is named by both of its types. */
static void read_cast_target(struct reader *r, json_t *tree)
{
    struct type_name type = type_read(r, tree);
    facts_identity(r, talloc_asprintf(r->facts, "(%s AS %s)", r->facts->identity, type.text));
}

/* ALTER, COMMENT ON …: the type of the object stands in a member. */
static void read_of_type(struct reader *r, const struct row *row, json_t *in)
{
    const char *type = tree_text(in, row->member);
    if (!row->tag)
        r->facts->tag = facts_alter_tag(r, type);
    facts_object_kind(r, type);
    facts_named_object(r, type, in);
}

static void read_object(struct reader *r, const struct row *row, json_t *in)
{
    struct facts *facts = r->facts;
    switch (row->form) {
    case FORM_NONE:
        return;
    case FORM_RANGE:
        facts_on_relation(r, tree_child(in, row->member));
        return;
    case FORM_LIST:
        facts->object = name_of_list(r, tree_list(in, row->member));
        break;
    case FORM_TEXT:
        facts->object = name_of_text(r, tree_text(in, row->member));
        if (!facts->object.name && tree_child(in, "authrole")) /* CREATE SCHEMA AUTHORIZATION role */
            facts->object.name = role_of(r, tree_child(in, "authrole"));
        break;
    case FORM_TYPE:
        read_type(r, tree_child(in, row->member));
        if (tree_child(in, "targettype"))
            read_cast_target(r, tree_child(in, "targettype"));
        return;
    case FORM_ROUTINE:
        read_routine(r, tree_child(in, row->member));
        return;
    case FORM_ROLE:
        facts->object = (struct name){.name = role_of(r, tree_child(in, row->member)), .place = -1};
        break;
    case FORM_OBJECTS:
        facts_objects(r, NULL, tree_list(in, row->member));
        return;
    case FORM_OF_TYPE:
        read_of_type(r, row, in);
        return;
    }
    facts_identity(r, identity_of(r, &facts->object));
}

static void read_table(struct reader *r, const struct row *row, json_t *in)
{
    struct facts *facts = r->facts;
    facts->index_table = name_of_range(r, tree_child(in, row->on));
    char *table = identity_of(r, &facts->index_table);
    if (table && *facts->identity)
        facts_identity(r, talloc_asprintf(facts, "%s ON %s", facts->identity, table));
}

static bool moves(const char *kind, json_t *in)
{
    if (strcmp(kind, "InsertStmt") == 0)
        return tree_child(in, "withClause") || facts_query_moves(tree_node(in, "selectStmt", "SelectStmt"));
    if (strcmp(kind, "CopyStmt") == 0)
        return tree_true(in, "is_from");
    return strcmp(kind, "UpdateStmt") == 0 || strcmp(kind, "DeleteStmt") == 0 ||
           strcmp(kind, "MergeStmt") == 0;
}

/* ALTER DOMAIN: what its subtype letter says. */
static void read_domain_change(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    const char *subtype = tree_text(in, "subtype");
    bool adds = subtype && *subtype == 'C', fills = subtype && *subtype == 'O';
    json_t *definition = tree_child(tree_child(in, "def"), "Constraint");
    if (!adds && !fills)
        return;
    size_t one = 1;
    facts->alters = reader_array(r, sizeof *facts->alters, &one);
    if (!facts->alters)
        return;
    *facts->alters = (struct alter){
        .kind = adds ? ALTER_ADD_CONSTRAINT : ALTER_SET_NOT_NULL, .other.place = -1, .place = -1, .end = -1};
    facts->n_alters = 1;
    if (adds && definition) {
        facts->alters->constraint = reader_array(r, sizeof *facts->alters->constraint, &one);
        if (facts->alters->constraint)
            constraint_read(r, definition, facts->alters->constraint);
    }
}

bool facts_other(struct reader *r, const char *kind, json_t *in)
{
    struct facts *facts = r->facts;
    size_t i = 0, n = sizeof rows / sizeof *rows;
    while (i < n && strcmp(rows[i].kind, kind) != 0)
        i++;
    if (i == n)
        return false;
    facts->kind = rows[i].statement;
    facts->tag = rows[i].tag;
    if (rows[i].object_kind)
        facts->object_kind = rows[i].object_kind;
    read_object(r, &rows[i], in);
    if (rows[i].on)
        read_table(r, &rows[i], in);
    if (strcmp(kind, "CreateDomainStmt") == 0)
        facts->domain = domain_read(r, in);
    if (strcmp(kind, "AlterDomainStmt") == 0)
        read_domain_change(r, in);
    facts->if_not_exists = tree_true(in, "if_not_exists");
    facts->if_exists = tree_true(in, "missing_ok");
    facts->cascade = tree_is(in, "behavior", "DROP_CASCADE");
    facts->concurrently = tree_true(in, "concurrent");
    facts->moves = moves(kind, in);
    facts->uncomments =
        strcmp(kind, "CommentStmt") == 0 && !*(tree_text(in, "comment") ? tree_text(in, "comment") : "");
    facts->lock = strcmp(kind, "LockStmt") == 0 ? tree_number(in, "mode", 0) : 0;
    return true;
}

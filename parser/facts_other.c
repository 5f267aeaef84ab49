/*
 * Every statement that needs no more than its tag and its object: one row each. The rows follow the list of
 * CreateCommandTag() in PostgreSQL's utility.c; a kind of statement that is in no row is STATEMENT_OTHER.
 */
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
    const char *object_kind;
    enum form form;
    const char *member; /* with the object */
    const char *on;     /* member with the table that it is on, or NULL */
} rows[] = {
    {"CreateTrigStmt", "CREATE TRIGGER", STATEMENT_OTHER_DDL, "TRIGGER", FORM_TEXT, "trigname", "relation"},
    {"CreatePolicyStmt", "CREATE POLICY", STATEMENT_OTHER_DDL, "POLICY", FORM_TEXT, "policy_name", "table"},
    {"AlterPolicyStmt", "ALTER POLICY", STATEMENT_OTHER_DDL, "POLICY", FORM_TEXT, "policy_name", "table"},
    {"RuleStmt", "CREATE RULE", STATEMENT_OTHER_DDL, "RULE", FORM_TEXT, "rulename", "relation"},
    {"ViewStmt", "CREATE VIEW", STATEMENT_OTHER_DDL, "VIEW", FORM_RANGE, "view", NULL},
    {"CreateSeqStmt", "CREATE SEQUENCE", STATEMENT_OTHER_DDL, "SEQUENCE", FORM_RANGE, "sequence", NULL},
    {"AlterSeqStmt", "ALTER SEQUENCE", STATEMENT_OTHER_DDL, "SEQUENCE", FORM_RANGE, "sequence", NULL},
    {"CompositeTypeStmt", "CREATE TYPE", STATEMENT_OTHER_DDL, "TYPE", FORM_RANGE, "typevar", NULL},
    {"CreateEnumStmt", "CREATE TYPE", STATEMENT_OTHER_DDL, "TYPE", FORM_LIST, "typeName", NULL},
    {"CreateRangeStmt", "CREATE TYPE", STATEMENT_OTHER_DDL, "TYPE", FORM_LIST, "typeName", NULL},
    {"AlterEnumStmt", "ALTER TYPE", STATEMENT_OTHER_DDL, "TYPE", FORM_LIST, "typeName", NULL},
    {"AlterTypeStmt", "ALTER TYPE", STATEMENT_OTHER_DDL, "TYPE", FORM_LIST, "typeName", NULL},
    {"CreateDomainStmt", "CREATE DOMAIN", STATEMENT_OTHER_DDL, "DOMAIN", FORM_LIST, "domainname", NULL},
    {"AlterDomainStmt", "ALTER DOMAIN", STATEMENT_OTHER_DDL, "DOMAIN", FORM_LIST, "typeName", NULL},
    {"CreateConversionStmt", "CREATE CONVERSION", STATEMENT_OTHER_DDL, "CONVERSION", FORM_LIST,
     "conversion_name", NULL},
    {"CreateOpClassStmt", "CREATE OPERATOR CLASS", STATEMENT_OTHER_DDL, "OPERATOR CLASS", FORM_LIST,
     "opclassname", NULL},
    {"CreateOpFamilyStmt", "CREATE OPERATOR FAMILY", STATEMENT_OTHER_DDL, "OPERATOR FAMILY", FORM_LIST,
     "opfamilyname", NULL},
    {"AlterOpFamilyStmt", "ALTER OPERATOR FAMILY", STATEMENT_OTHER_DDL, "OPERATOR FAMILY", FORM_LIST,
     "opfamilyname", NULL},
    {"AlterOperatorStmt", "ALTER OPERATOR", STATEMENT_OTHER_DDL, "OPERATOR", FORM_ROUTINE, "opername", NULL},
    {"CreateTransformStmt", "CREATE TRANSFORM", STATEMENT_OTHER_DDL, "TRANSFORM", FORM_TYPE, "type_name",
     NULL},
    {"CreateCastStmt", "CREATE CAST", STATEMENT_OTHER_DDL, "CAST", FORM_TYPE, "sourcetype", NULL},
    {"CreatePLangStmt", "CREATE LANGUAGE", STATEMENT_OTHER_DDL, "LANGUAGE", FORM_TEXT, "plname", NULL},
    {"CreateAmStmt", "CREATE ACCESS METHOD", STATEMENT_OTHER_DDL, "ACCESS METHOD", FORM_TEXT, "amname", NULL},
    {"CreateStatsStmt", "CREATE STATISTICS", STATEMENT_OTHER_DDL, "STATISTICS", FORM_LIST, "defnames", NULL},
    {"AlterStatsStmt", "ALTER STATISTICS", STATEMENT_OTHER_DDL, "STATISTICS", FORM_LIST, "defnames", NULL},
    {"AlterCollationStmt", "ALTER COLLATION", STATEMENT_OTHER_DDL, "COLLATION", FORM_LIST, "collname", NULL},
    {"AlterTSDictionaryStmt", "ALTER TEXT SEARCH DICTIONARY", STATEMENT_OTHER_DDL, "TEXT SEARCH DICTIONARY",
     FORM_LIST, "dictname", NULL},
    {"AlterTSConfigurationStmt", "ALTER TEXT SEARCH CONFIGURATION", STATEMENT_OTHER_DDL,
     "TEXT SEARCH CONFIGURATION", FORM_LIST, "cfgname", NULL},
    {"CreateExtensionStmt", "CREATE EXTENSION", STATEMENT_CREATE_EXTENSION, "EXTENSION", FORM_TEXT, "extname",
     NULL},
    {"AlterExtensionStmt", "ALTER EXTENSION", STATEMENT_OTHER_DDL, "EXTENSION", FORM_TEXT, "extname", NULL},
    {"AlterExtensionContentsStmt", "ALTER EXTENSION", STATEMENT_OTHER_DDL, "EXTENSION", FORM_TEXT, "extname",
     NULL},
    {"CreateFdwStmt", "CREATE FOREIGN DATA WRAPPER", STATEMENT_OTHER_DDL, "FOREIGN DATA WRAPPER", FORM_TEXT,
     "fdwname", NULL},
    {"AlterFdwStmt", "ALTER FOREIGN DATA WRAPPER", STATEMENT_OTHER_DDL, "FOREIGN DATA WRAPPER", FORM_TEXT,
     "fdwname", NULL},
    {"CreateForeignServerStmt", "CREATE SERVER", STATEMENT_OTHER_DDL, "SERVER", FORM_TEXT, "servername",
     NULL},
    {"AlterForeignServerStmt", "ALTER SERVER", STATEMENT_OTHER_DDL, "SERVER", FORM_TEXT, "servername", NULL},
    {"CreateUserMappingStmt", "CREATE USER MAPPING", STATEMENT_OTHER_DDL, "USER MAPPING", FORM_ROLE, "user",
     NULL},
    {"AlterUserMappingStmt", "ALTER USER MAPPING", STATEMENT_OTHER_DDL, "USER MAPPING", FORM_ROLE, "user",
     NULL},
    {"DropUserMappingStmt", "DROP USER MAPPING", STATEMENT_DROP, "USER MAPPING", FORM_ROLE, "user", NULL},
    {"ImportForeignSchemaStmt", "IMPORT FOREIGN SCHEMA", STATEMENT_OTHER_DDL, "SCHEMA", FORM_TEXT,
     "local_schema", NULL},
    {"CreateTableSpaceStmt", "CREATE TABLESPACE", STATEMENT_OTHER_DDL, "TABLESPACE", FORM_TEXT,
     "tablespacename", NULL},
    {"AlterTableSpaceOptionsStmt", "ALTER TABLESPACE", STATEMENT_OTHER_DDL, "TABLESPACE", FORM_TEXT,
     "tablespacename", NULL},
    {"DropTableSpaceStmt", "DROP TABLESPACE", STATEMENT_DROP, "TABLESPACE", FORM_TEXT, "tablespacename",
     NULL},
    {"CreatePublicationStmt", "CREATE PUBLICATION", STATEMENT_OTHER_DDL, "PUBLICATION", FORM_TEXT, "pubname",
     NULL},
    {"AlterPublicationStmt", "ALTER PUBLICATION", STATEMENT_OTHER_DDL, "PUBLICATION", FORM_TEXT, "pubname",
     NULL},
    {"CreateSubscriptionStmt", "CREATE SUBSCRIPTION", STATEMENT_OTHER_DDL, "SUBSCRIPTION", FORM_TEXT,
     "subname", NULL},
    {"AlterSubscriptionStmt", "ALTER SUBSCRIPTION", STATEMENT_OTHER_DDL, "SUBSCRIPTION", FORM_TEXT, "subname",
     NULL},
    {"DropSubscriptionStmt", "DROP SUBSCRIPTION", STATEMENT_DROP, "SUBSCRIPTION", FORM_TEXT, "subname", NULL},
    {"CreateEventTrigStmt", "CREATE EVENT TRIGGER", STATEMENT_OTHER_DDL, "EVENT TRIGGER", FORM_TEXT,
     "trigname", NULL},
    {"AlterEventTrigStmt", "ALTER EVENT TRIGGER", STATEMENT_OTHER_DDL, "EVENT TRIGGER", FORM_TEXT, "trigname",
     NULL},
    {"CreateSchemaStmt", "CREATE SCHEMA", STATEMENT_OTHER_DDL, "SCHEMA", FORM_TEXT, "schemaname", NULL},
    {"CreatedbStmt", "CREATE DATABASE", STATEMENT_OTHER_DDL, "DATABASE", FORM_TEXT, "dbname", NULL},
    {"AlterDatabaseStmt", "ALTER DATABASE", STATEMENT_OTHER_DDL, "DATABASE", FORM_TEXT, "dbname", NULL},
    {"AlterDatabaseSetStmt", "ALTER DATABASE", STATEMENT_OTHER_DDL, "DATABASE", FORM_TEXT, "dbname", NULL},
    {"AlterDatabaseRefreshCollStmt", "ALTER DATABASE", STATEMENT_OTHER_DDL, "DATABASE", FORM_TEXT, "dbname",
     NULL},
    {"DropdbStmt", "DROP DATABASE", STATEMENT_DROP, "DATABASE", FORM_TEXT, "dbname", NULL},
    {"CreateRoleStmt", "CREATE ROLE", STATEMENT_OTHER_DDL, "ROLE", FORM_TEXT, "role", NULL},
    {"AlterRoleStmt", "ALTER ROLE", STATEMENT_OTHER_DDL, "ROLE", FORM_ROLE, "role", NULL},
    {"AlterRoleSetStmt", "ALTER ROLE", STATEMENT_OTHER_DDL, "ROLE", FORM_ROLE, "role", NULL},
    {"DropRoleStmt", "DROP ROLE", STATEMENT_DROP, "ROLE", FORM_OBJECTS, "roles", NULL},
    {"DropOwnedStmt", "DROP OWNED", STATEMENT_OTHER_DDL, "ROLE", FORM_OBJECTS, "roles", NULL},
    {"ReassignOwnedStmt", "REASSIGN OWNED", STATEMENT_OTHER_DDL, "ROLE", FORM_OBJECTS, "roles", NULL},
    {"AlterSystemStmt", "ALTER SYSTEM", STATEMENT_OTHER_DDL, "", FORM_NONE, NULL, NULL},
    {"ClusterStmt", "CLUSTER", STATEMENT_OTHER_DDL, "TABLE", FORM_RANGE, "relation", NULL},
    {"RefreshMatViewStmt", "REFRESH MATERIALIZED VIEW", STATEMENT_OTHER_DDL, "MATERIALIZED VIEW", FORM_RANGE,
     "relation", NULL},
    {"CommentStmt", "COMMENT", STATEMENT_OTHER_DDL, NULL, FORM_OF_TYPE, "objtype", NULL},
    {"SecLabelStmt", "SECURITY LABEL", STATEMENT_OTHER_DDL, NULL, FORM_OF_TYPE, "objtype", NULL},
    {"AlterObjectDependsStmt", NULL, STATEMENT_OTHER_DDL, NULL, FORM_OF_TYPE, "objectType", NULL},
    {"CallStmt", "CALL", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
    {"LockStmt", "LOCK TABLE", STATEMENT_OTHER, "TABLE", FORM_OBJECTS, "relations", NULL},
    {"CopyStmt", "COPY", STATEMENT_QUERY, "TABLE", FORM_RANGE, "relation", NULL},
    {"InsertStmt", "INSERT", STATEMENT_QUERY, "TABLE", FORM_RANGE, "relation", NULL},
    {"UpdateStmt", "UPDATE", STATEMENT_QUERY, "TABLE", FORM_RANGE, "relation", NULL},
    {"DeleteStmt", "DELETE", STATEMENT_QUERY, "TABLE", FORM_RANGE, "relation", NULL},
    {"MergeStmt", "MERGE", STATEMENT_QUERY, "TABLE", FORM_RANGE, "relation", NULL},
    {"DeclareCursorStmt", "DECLARE CURSOR", STATEMENT_QUERY, "", FORM_NONE, NULL, NULL},
    {"ClosePortalStmt", "CLOSE CURSOR", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
    {"FetchStmt", "FETCH", STATEMENT_QUERY, "", FORM_NONE, NULL, NULL},
    {"PrepareStmt", "PREPARE", STATEMENT_QUERY, "", FORM_NONE, NULL, NULL},
    {"ExecuteStmt", "EXECUTE", STATEMENT_QUERY, "", FORM_NONE, NULL, NULL},
    {"DeallocateStmt", "DEALLOCATE", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
    {"VariableShowStmt", "SHOW", STATEMENT_QUERY, "", FORM_NONE, NULL, NULL},
    {"ConstraintsSetStmt", "SET CONSTRAINTS", STATEMENT_SETTING, "", FORM_NONE, NULL, NULL},
    {"CheckPointStmt", "CHECKPOINT", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
    {"ListenStmt", "LISTEN", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
    {"UnlistenStmt", "UNLISTEN", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
    {"NotifyStmt", "NOTIFY", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
    {"LoadStmt", "LOAD", STATEMENT_OTHER, "", FORM_NONE, NULL, NULL},
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
    facts->if_not_exists = tree_true(in, "if_not_exists");
    facts->if_exists = tree_true(in, "missing_ok");
    facts->cascade = tree_is(in, "behavior", "DROP_CASCADE");
    facts->concurrently = tree_true(in, "concurrent");
    return true;
}

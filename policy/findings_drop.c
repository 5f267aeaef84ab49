/*
 * What goes away: tables, views and indexes that are dropped or emptied, and what takes tables or columns
 * along when it is dropped itself: a schema, a database, a role's objects, a type with CASCADE. What depends
 * on what is PostgreSQL's "Dependency Tracking"; tests/e2e/test_refusal.py asks servers what a CASCADE takes.
 */
#include <string.h>
#include <talloc.h>

#include "policy/findings.h"

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)

static const struct name nothing = {NULL, NULL, -1};

/* One of several relations that a statement names. */
static struct look look_at_object(const struct judge *judge, size_t index)
{
    struct look look = *judge->look;
    look.table = table_named(&look, &judge->facts->objects[index]);
    return look;
}

/* The judge of what is no relation: no table of its name may excuse it. */
static struct judge judge_of_none(const struct judge *judge, struct look *look)
{
    struct judge one = *judge;
    *look = *judge->look;
    look->table = (struct table){.relation = NULL};
    one.look = look;
    one.table = &nothing;
    return one;
}

/* ---- relations ---- */

static void table_dropped(const struct judge *one, struct sight *sight)
{
    const struct facts *facts = one->facts;
    bool foreign = strcmp(facts->object_kind, "FOREIGN TABLE") == 0;
    const char *cascade =
        facts->cascade ? " CASCADE drops the views and foreign keys that use it as well." : "";
    sight->rule = RULE_drop_table;
    if (foreign) {
        sight->message = TEXT(one, "dropping foreign table %s breaks every statement that still names it",
                              one->table_text);
        sight->detail = TEXT(one, "Its rows stay where they are: on the foreign server.%s", cascade);
    } else {
        sight->message =
            TEXT(one, "dropping table %s takes its data and breaks every statement that still names it",
                 one->table_text);
        sight->detail = TEXT(one, "It can't be brought back but from a backup.%s", cascade);
    }
    sight->hint = TEXT(one,
                       "Rename it first, wait a few days whether anybody misses it, and drop it then:\n"
                       "ALTER %s %s RENAME TO %s;",
                       facts->object_kind, one->table_text,
                       quote_identifier(one->memory, TEXT(one, "%s_dropped", one->table->name)));
    const struct catalog_relation *relation = one->look->table.relation;
    if (relation == NULL || !relation->is_partition)
        return;
    sight->message = TEXT(one, "dropping partition %s takes its rows out of the partitioned table, for good",
                          one->table_text);
    sight->detail = TEXT(one,
                         "PostgreSQL would hold an AccessExclusiveLock on the partitioned table as well, so "
                         "that every query of it "
                         "waits, on any partition. The rows can't be brought back but from a backup.%s",
                         cascade);
    sight->hint = TEXT(one,
                       "Detach it first (ALTER TABLE ... DETACH PARTITION %s CONCURRENTLY, PostgreSQL 14), "
                       "wait a few days whether "
                       "anybody misses its rows, and drop it then: by itself it locks nothing else.",
                       one->table_text);
}

/* A statement behind it makes a view of that name again: so views are changed. */
static bool made_again(const struct judge *judge, const struct name *view)
{
    const struct policy_context *context = judge->context;
    for (size_t i = 0; i < context->n_behind; i++) {
        const struct facts *behind = context->behind[i];
        if (behind->status == FACTS_OK && behind->tag != NULL && strcmp(behind->tag, "CREATE VIEW") == 0 &&
            behind->object.name != NULL && strcmp(behind->object.name, view->name) == 0)
            return true;
    }
    return false;
}

static void view_dropped(const struct judge *one, struct sight *sight)
{
    const struct facts *facts = one->facts;
    bool stored = strcmp(facts->object_kind, "MATERIALIZED VIEW") == 0;
    sight->rule = RULE_drop_table;
    sight->message = TEXT(one, "dropping %s %s breaks every statement that still names it",
                          stored ? "materialized view" : "view", one->table_text);
    sight->detail =
        TEXT(one,
             "PostgreSQL would hold an AccessExclusiveLock on it, and waits for every query of it that is "
             "running: others queue "
             "up behind it meanwhile.%s%s",
             stored ? " If it comes back, its rows and its indexes have to be computed anew." : "",
             facts->cascade ? " CASCADE drops the views that use it as well." : "");
    sight->hint =
        TEXT(one, "%s",
             stored ? "To change its query, make the new one under another name, WITH DATA, and swap "
                      "the names in one short transaction."
                    : "To change its query, CREATE OR REPLACE VIEW keeps it there all the time (columns "
                      "may only be added at the end); else drop and create it in one transaction.");
}

static void index_dropped(const struct judge *one, struct sight *sight)
{
    const struct catalog_relation *index = one->look->table.relation;
    bool partitioned = index != NULL && index->kind == 'I';
    sight->rule = RULE_drop_index;
    sight->message =
        TEXT(one, "dropping index %s without CONCURRENTLY locks its table for everybody", one->table_text);
    sight->detail = TEXT(
        one,
        "PostgreSQL would hold an AccessExclusiveLock on the table%s: that is short, but it waits for every "
        "query that is running there, and all others queue up behind it meanwhile. Queries that used the "
        "index are slow from then on.",
        partitioned ? " and on each of its partitions" : "");
    sight->hint =
        partitioned
            ? TEXT(one,
                   "An index of a partitioned table can't be dropped concurrently: SET lock_timeout = '2s' "
                   "before it, and try again when it fails.")
            : TEXT(one,
                   "Write DROP INDEX CONCURRENTLY %s, outside a transaction (Rails: "
                   "disable_ddl_transaction!, "
                   "Django: atomic = False). The index of a PRIMARY KEY or UNIQUE constraint goes with ALTER "
                   "TABLE ... DROP CONSTRAINT only.",
                   one->table_text);
}

static void relations_dropped(struct judge *judge, void (*describe)(const struct judge *, struct sight *))
{
    const struct facts *facts = judge->facts;
    for (size_t i = 0; i < facts->n_objects; i++) {
        struct look look = look_at_object(judge, i);
        struct judge one = *judge;
        one.look = &look;
        if (look.table.missing)
            continue;
        one.table = &facts->objects[i];
        one.table_text = quote_name(judge->memory, one.table);
        struct sight sight = {.sure = ANSWER_YES, .place = one.table->place, .object = one.table->name};
        describe(&one, &sight);
        if (strcmp(facts->object_kind, "VIEW") != 0 || !made_again(judge, one.table))
            finding_add(&one, &sight);
    }
}

/* ---- what holds tables ---- */

/* A statement in front made it: what hangs on it is new. */
static bool made_before(const struct judge *judge, const char *kind, const char *name)
{
    const struct policy_context *context = judge->context;
    for (size_t i = 0; i < context->n_before; i++) {
        const struct facts *before = context->before[i];
        if (before->status == FACTS_OK && strncmp(before->tag, "CREATE ", 7) == 0 &&
            strcmp(before->tag + 7, kind) == 0 && !before->if_not_exists && before->object.name != NULL &&
            strcmp(before->object.name, name) == 0)
            return true;
    }
    return false;
}

/* It was asked for (catalog_question.c), first thing in the message, and isn't there. */
static bool schema_missing(const struct judge *judge, const char *name)
{
    const struct catalog *names = judge->look->names;
    if (names == NULL || judge->context->n_before > 0)
        return false;
    for (size_t i = 0; i < names->n_schemas; i++) {
        if (strcmp(names->schemas[i].name, name) == 0)
            return false;
    }
    return true;
}

static bool type_missing(const struct judge *judge)
{
    const struct facts *facts = judge->facts;
    bool type = strcmp(facts->object_kind, "TYPE") == 0 || strcmp(facts->object_kind, "DOMAIN") == 0;
    const struct type_name name = {.schema = facts->object.schema, .name = facts->object.name};
    return type && facts->n_objects == 1 && judge->context->n_before == 0 && judge->look->names != NULL &&
           catalog_type_missing(judge->look->names, &name);
}

/* DROP SCHEMA … CASCADE; without CASCADE it only succeeds where nothing is in it. */
static void schemas_dropped(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    for (size_t i = 0; facts->cascade && i < facts->n_objects; i++) {
        const char *name = facts->objects[i].name;
        struct look look;
        struct judge one = judge_of_none(judge, &look);
        if (name == NULL || made_before(judge, "SCHEMA", name) || schema_missing(judge, name))
            continue;
        struct sight sight = {
            .rule = RULE_drop_table, .sure = ANSWER_YES, .place = facts->objects[i].place, .object = name};
        sight.message =
            TEXT(judge, "dropping schema %s with CASCADE takes every table in it, and all of their data",
                 quote_identifier(judge->memory, name));
        sight.detail = TEXT(
            judge,
            "Every table, view, type and function of the schema goes, and so do columns, views and foreign "
            "keys of other schemas that use them. PostgreSQL would hold an AccessExclusiveLock on each "
            "table; "
            "none can be brought back but from a backup.");
        sight.hint = TEXT(judge,
                          "Rename it first, wait a few days whether anybody misses it, and drop it then:\n"
                          "ALTER SCHEMA %s RENAME TO %s;",
                          quote_identifier(judge->memory, name),
                          quote_identifier(judge->memory, TEXT(judge, "%s_dropped", name)));
        finding_add(&one, &sight);
    }
}

static void database_dropped(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    struct look look;
    struct judge one = judge_of_none(judge, &look);
    const char *name = facts->object.name == NULL ? "?" : quote_identifier(judge->memory, facts->object.name);
    struct sight sight = {.rule = RULE_drop_table,
                          .sure = ANSWER_YES,
                          .place = facts->object.place,
                          .object = facts->object.name};
    sight.message = TEXT(judge, "dropping database %s takes every table in it, and all of their data", name);
    sight.detail = TEXT(judge, "Its files are removed at once; it can't be brought back but from a backup.");
    sight.hint = TEXT(judge,
                      "Let nobody in first, wait a few days whether anybody misses it, and drop it then:\n"
                      "ALTER DATABASE %s ALLOW_CONNECTIONS false;",
                      name);
    finding_add(&one, &sight);
}

/* ---- what other things depend on ---- */

/* What goes along when something of this kind is dropped with CASCADE. */
static const struct taken {
    const char *kind;
    enum rule rule;
    bool keeps_data;
    const char *takes;
} taken[] = {
    {"TYPE", RULE_drop_column, false, "every column of that type, in every table, with its data"},
    {"DOMAIN", RULE_drop_column, false, "every column of that domain, in every table, with its data"},
    {"EXTENSION", RULE_drop_column, false,
     "every column of its types, in every table, and the indexes, defaults and functions that use it"},
    {"COLLATION", RULE_drop_column, false, "every column with that collation, and its data"},
    {"ACCESS METHOD", RULE_drop_table, false, "every table or index that is stored by it"},
    {"SERVER", RULE_drop_table, false, "every foreign table on it"},
    {"FOREIGN DATA WRAPPER", RULE_drop_table, false, "its servers, and every foreign table on them"},
    {"LANGUAGE", RULE_drop_column, true,
     "every function in it, and the triggers, generated columns, defaults and views that use those"},
    {"SEQUENCE", RULE_drop_column, true, "the defaults of columns that count by it"},
    {"FUNCTION", RULE_drop_column, true,
     "the triggers, generated columns, defaults, CHECK constraints, indexes and views that use it"},
    {"ROUTINE", RULE_drop_column, true,
     "the triggers, generated columns, defaults, CHECK constraints, indexes and views that use it"},
    {"AGGREGATE", RULE_drop_column, true, "the views that use it"},
    {"OPERATOR", RULE_drop_column, true,
     "the generated columns, defaults, CHECK constraints, indexes and views that use it"},
    {"OPERATOR CLASS", RULE_drop_index, true, "every index that uses it"},
    {"OPERATOR FAMILY", RULE_drop_index, true, "every index that uses it"},
    {"CAST", RULE_drop_column, true,
     "the generated columns, defaults, CHECK constraints, indexes and views that use it"},
};

static void dependants_dropped(struct judge *judge, const struct taken *row)
{
    const struct facts *facts = judge->facts;
    struct look look;
    struct judge one = judge_of_none(judge, &look);
    const char *what = TEXT(judge, "DROP %s", row->kind);
    if (type_missing(judge) ||
        (facts->object.name != NULL && made_before(judge, row->kind, facts->object.name)))
        return;
    struct sight sight = {
        .rule = row->rule, .sure = ANSWER_YES, .place = facts->object.place, .object = facts->object.name};
    sight.message = TEXT(judge, "%s %s CASCADE also drops %s", what, facts->identity, row->takes);
    sight.detail = TEXT(
        judge,
        "PostgreSQL tells what went only afterwards, as a NOTICE, and locks each table concerned with an "
        "AccessExclusiveLock. %s",
        row->keeps_data ? "Statements that relied on it fail, or write rows without it."
                        : "None of the data can be brought back but from a backup.");
    sight.hint = TEXT(
        judge, "Write it without CASCADE: if something depends on it, the statement fails and names all that "
               "does, and nothing is lost. Change those first.");
    finding_add(&one, &sight);
}

void findings_drop(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    const char *kind = facts->object_kind;
    if (judge->parts->total.fails == ANSWER_YES)
        return;
    if (strcmp(kind, "TABLE") == 0 || strcmp(kind, "FOREIGN TABLE") == 0)
        relations_dropped(judge, table_dropped);
    else if (strcmp(kind, "VIEW") == 0 || strcmp(kind, "MATERIALIZED VIEW") == 0)
        relations_dropped(judge, view_dropped);
    else if (strcmp(kind, "INDEX") == 0 && !facts->concurrently)
        relations_dropped(judge, index_dropped);
    else if (strcmp(kind, "SCHEMA") == 0)
        schemas_dropped(judge);
    else if (strcmp(kind, "DATABASE") == 0)
        database_dropped(judge);
    for (size_t i = 0; facts->cascade && i < sizeof taken / sizeof *taken; i++) {
        if (strcmp(kind, taken[i].kind) == 0)
            dependants_dropped(judge, &taken[i]);
    }
}

/* ---- TRUNCATE ---- */

void findings_truncate(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    for (size_t i = 0; i < facts->n_objects; i++) {
        struct look look = look_at_object(judge, i);
        struct judge one = *judge;
        one.look = &look;
        if (look.table.missing || (look.table.relation != NULL && table_empty(&look)))
            continue;
        one.table = &facts->objects[i];
        one.table_text = quote_name(judge->memory, one.table);
        struct sight sight = {
            .rule = RULE_truncate, .sure = ANSWER_YES, .place = one.table->place, .object = one.table->name};
        sight.message = TEXT(judge, "truncating %s removes every row at once", one.table_text);
        sight.detail = TEXT(
            judge,
            "PostgreSQL would hold an AccessExclusiveLock on %s; a snapshot taken before sees the "
            "table as empty, and no row can be brought back but from a backup.%s",
            one.table_text, facts->cascade ? " CASCADE empties every table that refers to it as well." : "");
        sight.hint = TEXT(
            judge, "Where the rows are old ones, DELETE them in batches; where all must go, see to it that "
                   "nobody reads the table.");
        finding_add(&one, &sight);
    }
}

/* ---- statements that are not called DROP ---- */

/* With or without CASCADE, the role's own tables go. */
static void owned_dropped(struct judge *judge)
{
    struct look look;
    struct judge one = judge_of_none(judge, &look);
    const char *role = judge->facts->identity;
    struct sight sight = {
        .rule = RULE_drop_table, .sure = ANSWER_YES, .place = -1, .object = judge->facts->object.name};
    sight.message = TEXT(
        judge, "DROP OWNED BY %s takes every table that the role owns in this database, with its data", role);
    sight.detail =
        TEXT(judge,
             "So do its views, functions, types and schemas, and all rights granted to it; none of the data "
             "can be "
             "brought back but from a backup.%s",
             judge->facts->cascade ? " CASCADE drops what others own and depends on them as well." : "");
    sight.hint = TEXT(
        judge,
        "To remove the role and keep its tables, give them to another one first; then only the rights are "
        "left to drop:\nREASSIGN OWNED BY %s TO ...;",
        role);
    finding_add(&one, &sight);
}

static void schema_renamed(struct judge *judge)
{
    struct look look;
    struct judge one = judge_of_none(judge, &look);
    const char *name =
        judge->facts->object.name == NULL ? "?" : quote_identifier(judge->memory, judge->facts->object.name);
    struct sight sight = {.rule = RULE_rename_table,
                          .sure = ANSWER_YES,
                          .place = judge->facts->object.place,
                          .object = judge->facts->object.name};
    sight.message = TEXT(
        judge, "renaming schema %s breaks every statement and every search_path that says %s", name, name);
    sight.detail = TEXT(judge, "The old name is gone the moment this commits, for all tables in it, and no "
                               "application changes its SQL "
                               "in that moment. Where a search_path names a schema that isn't there, it is "
                               "passed over in silence, and "
                               "a table of another schema may be found in its stead.");
    sight.hint =
        TEXT(judge, "Make a new schema and move the tables one by one, leaving views under their old names.");
    finding_add(&one, &sight);
}

/* Tables OF a composite type follow it; without CASCADE it fails where there are any. */
static void attribute_changed(struct judge *judge, const struct alter *alter)
{
    struct look look;
    struct judge one = judge_of_none(judge, &look);
    bool drops = alter->kind == ALTER_DROP_COLUMN;
    if (!alter->cascade || (!drops && alter->kind != ALTER_COLUMN_TYPE))
        return;
    const char *type = judge->facts->identity;
    const char *name = alter->subject == NULL ? "?" : quote_identifier(judge->memory, alter->subject);
    struct sight sight = {.rule = drops ? RULE_drop_column : RULE_alter_type,
                          .sure = ANSWER_UNKNOWN,
                          .place = alter->place,
                          .object = alter->subject};
    sight.message =
        drops
            ? TEXT(judge,
                   "dropping attribute %s of type %s with CASCADE drops the column of every table OF it",
                   name, type)
            : TEXT(
                  judge,
                  "changing attribute %s of type %s with CASCADE changes, and may rewrite, every table OF it",
                  name, type);
    sight.detail = TEXT(judge, "PostgreSQL would hold an AccessExclusiveLock on each of them%s",
                        drops ? "; the data can't be brought back but from a backup."
                              : " while it writes them anew; until then nobody can read or write them.");
    sight.hint = TEXT(
        judge,
        "Write it without CASCADE: if there are such tables, it fails and names one. Make them independent "
        "first: ALTER TABLE ... NOT OF.");
    finding_add(&one, &sight);
}

/* Every table with a column of the domain is read, while writes to it wait. Seen on 13 to 18: a ShareLock on
 * each. */
static void domain_constrained(struct judge *judge, const struct alter *alter)
{
    struct look look;
    struct judge one = judge_of_none(judge, &look);
    bool check = alter->kind == ALTER_ADD_CONSTRAINT;
    const struct constraint *constraint = alter->constraint;
    if (check && (constraint == NULL || constraint->not_valid))
        return;
    const char *domain = judge->facts->identity;
    struct sight sight = {.rule = check ? RULE_add_check : RULE_set_not_null,
                          .sure = ANSWER_UNKNOWN,
                          .place = judge->facts->object.place};
    sight.object = judge->facts->object.name;
    sight.message =
        TEXT(judge, "%s domain %s reads every table that has a column of it while writes to them wait",
             check ? "adding a CHECK to" : "setting NOT NULL on", domain);
    sight.detail = TEXT(
        judge,
        "PostgreSQL would hold a ShareLock on each such table, one after the other and until the transaction "
        "ends, and verify every row: INSERT, UPDATE and DELETE wait. From then on adding a column of the "
        "domain rewrites a table.");
    sight.hint =
        check
            ? TEXT(judge,
                   "Do it in steps, each in a transaction of its own:\n"
                   "-- ALTER DOMAIN %s ADD CONSTRAINT NAME CHECK (...) NOT VALID;\n"
                   "-- ALTER DOMAIN %s VALIDATE CONSTRAINT NAME;  -- reads them as well: in a quiet hour",
                   domain, domain)
            : TEXT(judge,
                   "Say it in the tables instead, where a validated CHECK (... IS NOT NULL) saves the scan; "
                   "the manual advises against NOT NULL on domains.");
    finding_add(&one, &sight);
}

void findings_away(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    const char *tag = facts->tag == NULL ? "" : facts->tag;
    for (size_t i = 0; i < facts->n_alters; i++) {
        if (strcmp(tag, "ALTER TYPE") == 0)
            attribute_changed(judge, &facts->alters[i]);
        else if (strcmp(tag, "ALTER DOMAIN") == 0)
            domain_constrained(judge, &facts->alters[i]);
    }
    if (strcmp(tag, "DROP OWNED") == 0)
        owned_dropped(judge);
    else if (strcmp(tag, "ALTER SCHEMA") == 0 && facts->new_name != NULL)
        schema_renamed(judge);
}

/*
 * Work that grows with the table and changes neither its definition nor its data: rewrites for their own
 * sake, indexes built anew, partitions that are read before they are attached.
 */
#include <string.h>
#include <talloc.h>

#include "policy/findings.h"

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)

/* ---- subcommands of ALTER TABLE ---- */

static const char *rewrite_hint(const struct judge *judge, enum alter_kind kind)
{
    switch (kind) {
    case ALTER_SET_LOGGED:
    case ALTER_SET_UNLOGGED:
        return "A new table is made LOGGED or UNLOGGED at no cost: decide before it is filled. Else do this "
               "in a "
               "quiet hour, with lock_timeout set.";
    case ALTER_SET_EXPRESSION:
        return "PostgreSQL has no way to compute stored values anew without the lock: do it in a quiet hour, "
               "with "
               "lock_timeout set, or fill a plain column beside it in batches and move the readers.";
    case ALTER_SET_TABLESPACE:
        return strcmp(judge->facts->object_kind, "INDEX") == 0
                   ? "Build the index anew there instead, on PostgreSQL 14 and later: REINDEX (CONCURRENTLY, "
                     "TABLESPACE ...) INDEX ...."
                   : "Do it in a quiet hour, with lock_timeout set; or fill a new table there in batches and "
                     "move the readers.";
    default:
        return "Do it in a quiet hour, with lock_timeout set; or fill a new table of that kind in batches "
               "and move "
               "the readers.";
    }
}

static void rewriting_subcommand(struct judge *judge, const struct part *part)
{
    const struct alter *alter = part->alter;
    if (part->rewrite == ANSWER_NO)
        return;
    bool sure = part->rewrite == ANSWER_YES, moves = alter->kind == ALTER_SET_TABLESPACE;
    struct sight sight = {
        .rule = RULE_table_rewrite, .sure = part->rewrite, .place = alter->place, .object = alter->subject};
    sight.message = TEXT(judge, "%s %s %s all of %s%s", alter_kind_name(alter->kind), sure ? "would" : "may",
                         moves ? "copy" : "rewrite", judge->table_text,
                         sure ? "" : ", unless it is already as asked for, which can't be known here");
    if (alter->kind == ALTER_SET_EXPRESSION && !sure)
        sight.message = TEXT(judge,
                             "changing the expression of column %s may rewrite all of %s: whether it is "
                             "stored can't be known here",
                             alter->subject == NULL ? "?" : quote_identifier(judge->memory, alter->subject),
                             judge->table_text);
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s while it writes all of it anew%s; "
             "until then nobody can read or write it. %s",
             judge->table_text, moves ? "" : " and rebuilds all of its indexes",
             work_estimate(judge, WORK_REWRITE));
    sight.hint = TEXT(judge, "%s", rewrite_hint(judge, alter->kind));
    finding_add(judge, &sight);
}

/* The table that is attached is the one that is read; the parent's default partition is as well, if it has
 * one: which the catalog's answer doesn't say. */
static void attach_partition(struct judge *judge, const struct part *part)
{
    const struct alter *alter = part->alter;
    if (part->scan == ANSWER_NO || alter->other.name == NULL)
        return;
    struct look look = *judge->look;
    look.table = table_named(&look, &alter->other);
    struct judge one = *judge;
    const char *other = quote_name(judge->memory, &alter->other);
    one.look = &look;
    one.table_text = other; /* the estimate's */
    struct sight sight = {.rule = RULE_attach_partition,
                          .sure = part->scan,
                          .place = alter->place,
                          .object = alter->other.name};
    sight.message =
        TEXT(judge, "attaching %s to %s reads all of it under lock, unless a CHECK proves its bound", other,
             judge->table_text);
    sight.detail = TEXT(
        judge,
        "PostgreSQL would hold an AccessExclusiveLock on %s, and on a default partition of %s if there is "
        "one, while it verifies every row of both; until then nobody can read or write them. Indexes that "
        "%s has and %s lacks are built as well. %s",
        other, judge->table_text, judge->table_text, other, work_estimate(&one, WORK_READ));
    sight.hint =
        TEXT(judge,
             "Before it, prove the bound without a strong lock:\n"
             "-- ALTER TABLE %s ADD CONSTRAINT bound CHECK (key IS NOT NULL AND key >= ... AND key < ...) "
             "NOT VALID;\n"
             "-- ALTER TABLE %s VALIDATE CONSTRAINT bound;  -- in a transaction of its own\n"
             "A default partition needs a CHECK that it holds nothing of that range. Create missing "
             "indexes with CONCURRENTLY.",
             other, other);
    finding_add(&one, &sight);
}

/* CONCURRENTLY waits for those that use the parent, and stops nobody. */
static void detach_partition(struct judge *judge, const struct alter *alter)
{
    if (alter->concurrently || alter->other.name == NULL)
        return;
    struct look look = *judge->look;
    look.table = table_named(&look, &alter->other);
    struct judge one = *judge;
    const char *other = quote_name(judge->memory, &alter->other);
    one.look = &look;
    struct sight sight = {.rule = RULE_detach_partition,
                          .sure = ANSWER_YES,
                          .place = alter->place,
                          .object = alter->other.name};
    sight.message =
        TEXT(judge, "detaching %s without CONCURRENTLY locks all of %s, and takes its rows out of it", other,
             judge->table_text);
    sight.detail = TEXT(judge,
                        "PostgreSQL would hold an AccessExclusiveLock on %s and on %s: that is short, but it "
                        "waits for every query "
                        "that is running there, on any partition, and all others queue up behind it "
                        "meanwhile. From then on queries of "
                        "%s no longer see these rows.",
                        judge->table_text, other, judge->table_text);
    sight.hint =
        TEXT(judge,
             "On PostgreSQL 14 and later, outside a transaction, and where there is no default partition:\n"
             "ALTER TABLE %s DETACH PARTITION %s CONCURRENTLY;\n"
             "Else SET lock_timeout = '2s' before it, and try again when it fails.",
             judge->table_text, other);
    finding_add(&one, &sight);
}

void findings_work_alter(struct judge *judge, const struct part *part)
{
    switch (part->alter->kind) {
    case ALTER_SET_LOGGED:
    case ALTER_SET_UNLOGGED:
    case ALTER_SET_ACCESS_METHOD:
    case ALTER_SET_TABLESPACE:
    case ALTER_SET_EXPRESSION:
        rewriting_subcommand(judge, part);
        return;
    case ALTER_ATTACH_PARTITION:
        attach_partition(judge, part);
        return;
    case ALTER_DETACH_PARTITION:
        detach_partition(judge, part->alter);
        return;
    default:
        return;
    }
}

/* ---- statements of their own ---- */

static void rewriting_statement(struct judge *judge, const char *what, const char *happens, const char *hint)
{
    struct sight sight = {.rule = RULE_table_rewrite, .sure = ANSWER_YES, .place = 0};
    sight.object = judge->table->name;
    sight.message =
        TEXT(judge, "%s would write all of %s anew while nobody can read it", what, judge->table_text);
    sight.detail = TEXT(
        judge,
        "PostgreSQL would hold an AccessExclusiveLock on %s %s; until then nobody can read or write it. %s",
        judge->table_text, happens, work_estimate(judge, WORK_REWRITE));
    sight.hint = TEXT(judge, "%s", hint);
    finding_add(judge, &sight);
}

/* One of the tables that a statement lists, or all there are: then nothing excuses it. */
static struct judge judge_of(const struct judge *judge, struct look *look, const struct name *name)
{
    static const struct name all = {NULL, NULL, -1};
    struct judge one = *judge;
    *look = *judge->look;
    look->table = (struct table){.relation = NULL};
    if (name != NULL && name->name != NULL)
        look->table = table_named(look, name);
    one.look = look;
    one.table = name != NULL ? name : &all;
    one.table_text = one.table->name == NULL ? "each table" : quote_name(judge->memory, one.table);
    return one;
}

static void vacuum_full(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    size_t n = facts->n_objects > 0 ? facts->n_objects : 1;
    for (size_t i = 0; i < n; i++) {
        struct look look;
        struct judge one = judge_of(judge, &look, facts->n_objects > 0 ? &facts->objects[i] : NULL);
        if (!look.table.missing)
            rewriting_statement(
                &one, "VACUUM FULL", "while it copies the rows and rebuilds all of its indexes",
                "VACUUM without FULL makes dead rows' room free for new ones and stops nobody. To "
                "give room back to the disk, use pg_repack or a quiet hour, with lock_timeout set.");
    }
}

static void reindex(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    bool index = strcmp(facts->object_kind, "INDEX") == 0, table = strcmp(facts->object_kind, "TABLE") == 0;
    struct look look;
    struct judge one = judge_of(judge, &look, index || table ? &facts->object : NULL);
    if (facts->concurrently || look.table.missing)
        return;
    struct sight sight = {.rule = RULE_reindex, .sure = ANSWER_YES, .place = 0, .object = one.table->name};
    sight.message = TEXT(judge, "rebuilding %s without CONCURRENTLY stops every write to %s, and most reads",
                         index   ? TEXT(judge, "index %s", one.table_text)
                         : table ? TEXT(judge, "the indexes of %s", one.table_text)
                                 : "the indexes of many tables",
                         index   ? "its table"
                         : table ? "it"
                                 : "each of them in turn");
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold a ShareLock on the table and an AccessExclusiveLock on the index "
             "that it rebuilds: INSERT, UPDATE and DELETE wait, and so does every query of the table "
             "that has yet to be planned. %s",
             index ? "The larger the table, the longer that takes." : work_estimate(&one, WORK_INDEX));
    if (strcmp(facts->object_kind, "SYSTEM") == 0)
        sight.hint = TEXT(judge, "Catalogs can't be reindexed concurrently: do it in a quiet hour.");
    else
        sight.hint = TEXT(judge,
                          "Write REINDEX %s CONCURRENTLY %s, outside a transaction. If it fails, drop the "
                          "invalid index it leaves (its name ends in _ccnew) before the next try.",
                          facts->object_kind, index || table ? one.table_text : "...");
    finding_add(&one, &sight);
}

void findings_work(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    const char *tag = facts->tag == NULL ? "" : facts->tag;
    if (judge->parts->total.fails == ANSWER_YES)
        return;
    if (strcmp(tag, "VACUUM") == 0) {
        vacuum_full(judge);
    } else if (strcmp(tag, "REINDEX") == 0) {
        reindex(judge);
    } else if (strcmp(tag, "CLUSTER") == 0) {
        struct look look;
        struct judge one = judge_of(judge, &look, &facts->object);
        if (!look.table.missing)
            rewriting_statement(
                &one, "CLUSTER", "while it sorts the rows and rebuilds all of its indexes",
                "PostgreSQL doesn't keep rows in that order anyway. Use pg_repack, or a quiet hour "
                "with lock_timeout set.");
    } else if (strcmp(tag, "REFRESH MATERIALIZED VIEW") == 0 && !facts->concurrently &&
               !judge->look->table.missing) {
        rewriting_statement(
            judge, "REFRESH MATERIALIZED VIEW", "while it runs the query and writes the result",
            TEXT(judge,
                 "Write REFRESH MATERIALIZED VIEW CONCURRENTLY %s: readers go on with the old rows. It needs "
                 "a unique index on plain columns, without a condition.",
                 judge->table_text));
    }
}

/*
 * The siblings of ADD COLUMN: other subcommands of ALTER TABLE that stall, break readers, or lose data.
 */
#include <string.h>
#include <talloc.h>

#include "policy/findings.h"

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)

static const char *quoted(const struct judge *judge, const char *name)
{
    return name == NULL ? "?" : quote_identifier(judge->memory, name);
}

/* A change of type that keeps the rows as they are, and yet reads them or builds indexes. */
static void type_without_rewrite(struct judge *judge, const struct part *part)
{
    const struct alter *alter = part->alter;
    enum answer scan = answer_or(part->scan, part->scan_key), work = answer_or(scan, part->index_build);
    if (work == ANSWER_NO)
        return;
    bool reads = scan == ANSWER_YES || part->index_build == ANSWER_NO;
    const char *what = reads && part->index_build == ANSWER_NO ? "verify its constraints on all of"
                       : scan == ANSWER_NO                     ? "build its indexes anew over all of"
                                           : "verify its constraints and build its indexes anew over all of";
    struct sight sight = {
        .rule = RULE_alter_type, .sure = work, .place = alter->place, .object = alter->subject};
    sight.message =
        TEXT(judge, "changing the type of column %s rewrites nothing, but %s %s %s",
             quoted(judge, alter->subject), work == ANSWER_YES ? "would" : "may", what, judge->table_text);
    sight.detail = TEXT(
        judge,
        "PostgreSQL makes every CHECK, foreign key and index that uses the column anew, and would hold an "
        "AccessExclusiveLock on %s meanwhile; until then nobody can read or write it. %s",
        judge->table_text, work_estimate(judge, scan == ANSWER_NO ? WORK_INDEX : WORK_READ));
    sight.hint =
        TEXT(judge, "Drop what uses the column first, constraints and indexes (with CONCURRENTLY); "
                    "after the change add constraints NOT VALID and VALIDATE them, and create indexes "
                    "CONCURRENTLY. Meanwhile nothing enforces them.");
    finding_add(judge, &sight);
}

/* Between timestamp and timestamptz nothing is rewritten where the session's time zone is UTC. */
static const char *why_unsure(const struct judge *judge, const struct alter *alter)
{
    const struct catalog_relation *relation = table_structure(judge->look);
    const struct catalog_column *column = relation == NULL ? NULL : catalog_column(relation, alter->subject);
    bool time = alter->column != NULL && strncmp(alter->column->type.name, "timestamp", 9) == 0;
    if (column == NULL)
        return ": the type it has now can't be known here";
    return time ? ", unless the session's TimeZone is UTC"
                : ": whether both are stored alike can't be known here";
}

static void alter_type(struct judge *judge, const struct part *part)
{
    const struct alter *alter = part->alter;
    if (part->rewrite == ANSWER_NO) {
        type_without_rewrite(judge, part);
        return;
    }
    bool sure = part->rewrite == ANSWER_YES;
    const char *type = alter->column == NULL ? "another type" : alter->column->type.text;
    struct sight sight = {
        .rule = RULE_alter_type, .sure = part->rewrite, .place = alter->place, .object = alter->subject};
    sight.message =
        TEXT(judge, "changing column %s to %s %s all of %s%s", quoted(judge, alter->subject), type,
             sure ? "would rewrite" : "may rewrite", judge->table_text, sure ? "" : why_unsure(judge, alter));
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s while it writes the whole table anew and "
             "rebuilds all of its indexes; until then nobody can read or write it. %s%s",
             judge->table_text, work_estimate(judge, WORK_REWRITE),
             sure ? ""
                  : " Only where both types are stored alike (a longer varchar, varchar to text) is "
                    "nothing rewritten.");
    sight.hint = recipe_type(judge, alter);
    finding_add(judge, &sight);
}

static void set_not_null(struct judge *judge, const struct part *part)
{
    const struct alter *alter = part->alter;
    if (part->scan == ANSWER_NO)
        return;
    bool sure = part->scan == ANSWER_YES;
    struct sight sight = {
        .rule = RULE_set_not_null, .sure = part->scan, .place = alter->place, .object = alter->subject};
    sight.message = TEXT(
        judge, "setting column %s NOT NULL %s all of %s while it is locked%s", quoted(judge, alter->subject),
        sure ? "would read" : "reads", judge->table_text,
        sure ? "" : ", unless a valid CHECK already proves that no row is NULL, which can't be known here");
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s while it looks for a NULL in every row; "
             "until then nobody can read or write it. %s",
             judge->table_text, work_estimate(judge, WORK_READ));
    sight.hint = recipe_not_null(judge, alter->subject == NULL ? "column" : alter->subject);
    finding_add(judge, &sight);
}

/* ---- ADD CONSTRAINT ---- */

static void add_check(struct judge *judge, const struct part *part, const struct constraint *constraint)
{
    if (part->scan == ANSWER_NO)
        return;
    struct sight sight = {
        .rule = RULE_add_check, .sure = part->scan, .place = part->alter->place, .object = constraint->name};
    bool check = constraint->kind == CONSTRAINT_CHECK;
    sight.message =
        TEXT(judge, "adding a %s constraint would read all of %s while it is locked%s",
             check ? "CHECK" : "NOT NULL", judge->table_text,
             part->scan == ANSWER_YES
                 ? ""
                 : ", unless a valid CHECK already proves that no row is NULL, which can't be known here");
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s while it verifies every row; until then "
             "nobody can read or write it. %s",
             judge->table_text, work_estimate(judge, WORK_READ));
    sight.hint = recipe_constraint(judge, constraint);
    finding_add(judge, &sight);
}

static void add_foreign_key(struct judge *judge, const struct part *part, const struct constraint *constraint)
{
    if (part->scan_key == ANSWER_NO)
        return;
    const char *target = constraint->referenced.name == NULL
                             ? "the other table"
                             : quote_name(judge->memory, &constraint->referenced);
    struct sight sight = {.rule = RULE_add_foreign_key,
                          .sure = ANSWER_YES,
                          .place = part->alter->place,
                          .object = constraint->name};
    sight.message =
        TEXT(judge, "adding a foreign key would look up every row of %s in %s while writes to both wait",
             judge->table_text, target);
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold a ShareRowExclusiveLock on %s and on %s until each row is checked; until "
             "then nobody can write to either of them. %s",
             judge->table_text, target, work_estimate(judge, WORK_KEY));
    sight.hint = recipe_constraint(judge, constraint);
    finding_add(judge, &sight);
}

/* The index is there: what is left is to look for a NULL. */
static void key_of_index(struct judge *judge, const struct part *part, const struct constraint *constraint)
{
    if (constraint->using_index == NULL || constraint->kind != CONSTRAINT_PRIMARY || part->scan == ANSWER_NO)
        return;
    struct sight sight = {.rule = RULE_add_unique,
                          .sure = part->scan,
                          .only_warn = true,
                          .place = part->alter->place,
                          .object = constraint->name};
    sight.message =
        TEXT(judge, "adding this primary key reads all of %s while it is locked%s", judge->table_text,
             part->scan == ANSWER_YES ? ": not every column of the index is NOT NULL"
                                      : ", unless every column of the index is NOT NULL already");
    sight.detail =
        TEXT(judge,
             "PostgreSQL would set them NOT NULL, and hold an AccessExclusiveLock on %s while it looks for a "
             "NULL in every row; until then nobody can read or write it. %s",
             judge->table_text, work_estimate(judge, WORK_READ));
    sight.hint =
        TEXT(judge,
             "See with \\d %s. Where one is not, first ADD CONSTRAINT ... CHECK (COLUMN IS NOT NULL) "
             "NOT VALID, VALIDATE it in a transaction of its own, and SET NOT NULL.",
             judge->table_text);
    finding_add(judge, &sight);
}

static void add_unique(struct judge *judge, const struct part *part, const struct constraint *constraint)
{
    if (part->index_build == ANSWER_NO) {
        key_of_index(judge, part, constraint);
        return;
    }
    static const char *const words[] = {[CONSTRAINT_PRIMARY] = "a primary key",
                                        [CONSTRAINT_UNIQUE] = "a UNIQUE constraint",
                                        [CONSTRAINT_EXCLUSION] = "an EXCLUDE constraint"};
    struct sight sight = {
        .rule = RULE_add_unique, .sure = ANSWER_YES, .place = part->alter->place, .object = constraint->name};
    sight.message = TEXT(judge, "adding %s would build an index over all of %s while it is locked",
                         words[constraint->kind], judge->table_text);
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s until the index is built; until then nobody "
             "can read or write it. %s",
             judge->table_text, work_estimate(judge, WORK_INDEX));
    sight.hint = recipe_constraint(judge, constraint);
    finding_add(judge, &sight);
}

static void add_constraint(struct judge *judge, const struct part *part)
{
    const struct constraint *constraint = part->alter->constraint;
    if (constraint == NULL)
        return;
    switch (constraint->kind) {
    case CONSTRAINT_CHECK:
    case CONSTRAINT_NOT_NULL:
        add_check(judge, part, constraint);
        return;
    case CONSTRAINT_FOREIGN:
        add_foreign_key(judge, part, constraint);
        return;
    case CONSTRAINT_PRIMARY:
    case CONSTRAINT_UNIQUE:
    case CONSTRAINT_EXCLUSION:
        add_unique(judge, part, constraint);
        return;
    default:
        return;
    }
}

/* ---- what breaks readers ---- */

static void drop_column(struct judge *judge, const struct alter *alter)
{
    const char *c = quoted(judge, alter->subject);
    struct sight sight = {
        .rule = RULE_drop_column, .sure = ANSWER_YES, .place = alter->place, .object = alter->subject};
    sight.message = TEXT(
        judge, "dropping column %s of %s breaks every statement that still names it, at once and for good", c,
        judge->table_text);
    sight.detail =
        TEXT(judge,
             "The data can't be brought back but from a backup. Prepared statements with SELECT * fail "
             "with \"cached plan must not change result type\" until they are prepared anew.%s",
             alter->cascade ? " CASCADE drops the views and constraints that use it as well." : "");
    sight.hint =
        TEXT(judge, "First release an application that doesn't use column %s any more, then drop it.", c);
    finding_add(judge, &sight);
}

static void drop_constraint(struct judge *judge, const struct alter *alter)
{
    if (!alter->cascade)
        return;
    const char *c = quoted(judge, alter->subject);
    struct sight sight = {
        .rule = RULE_drop_constraint, .sure = ANSWER_YES, .place = alter->place, .object = alter->subject};
    sight.message =
        TEXT(judge, "dropping constraint %s of %s with CASCADE also drops the foreign keys that refer to it",
             c, judge->table_text);
    sight.detail = TEXT(
        judge, "PostgreSQL tells which ones only afterwards, as a NOTICE, and locks their tables with an "
               "AccessExclusiveLock. From then on rows can be written there that refer to nothing.");
    sight.hint = TEXT(
        judge,
        "Write it without CASCADE: if a foreign key depends on it, the statement fails and names it, and "
        "nothing is lost.");
    finding_add(judge, &sight);
}

static void rename_column(struct judge *judge, const struct alter *alter)
{
    struct sight sight = {
        .rule = RULE_rename_column, .sure = ANSWER_YES, .place = alter->place, .object = alter->subject};
    const char *from = quoted(judge, alter->subject), *to = quoted(judge, alter->new_name);
    sight.message = TEXT(judge, "renaming column %s of %s to %s breaks every statement that still says %s",
                         from, judge->table_text, to, from);
    sight.detail = TEXT(
        judge, "The old name is gone the moment this commits, and no application changes its SQL in that "
               "moment; views and functions in SQL text may keep the old name as well.");
    sight.hint = TEXT(
        judge, "Add the new column beside the old one, write both, move the readers, drop the old one. Or "
               "leave the name and give it an alias where it is read.");
    finding_add(judge, &sight);
}

static void rename_table(struct judge *judge, const struct alter *alter)
{
    if (judge->facts->object_kind[0] == 'I') /* an index's name is in no statement */
        return;
    struct sight sight = {.rule = RULE_rename_table, .sure = ANSWER_YES, .place = alter->place};
    sight.message = TEXT(judge, "renaming %s to %s breaks every statement that still says %s",
                         judge->table_text, quoted(judge, alter->new_name), judge->table_text);
    sight.detail = TEXT(
        judge, "The old name is gone the moment this commits, and no application changes its SQL in that "
               "moment.");
    const struct name renamed = {judge->table->schema, alter->new_name, -1};
    const char *renamed_text = quote_name(judge->memory, &renamed);
    sight.hint =
        TEXT(judge,
             "Rename it and leave a view under the old name, in the same transaction; drop the view when "
             "nothing uses it:\nCREATE VIEW %s AS SELECT * FROM %s;",
             judge->table_text, renamed_text);
    finding_add(judge, &sight);
}

static void set_schema(struct judge *judge, const struct alter *alter)
{
    if (judge->facts->object_kind[0] == 'I' || judge->facts->object_kind[0] == 'S')
        return; /* an index's name is in no statement; a sequence mostly stands in a default, by its number */
    const struct name moved = {alter->new_name, judge->table->name, -1};
    const char *moved_text = quote_name(judge->memory, &moved);
    struct sight sight = {.rule = RULE_rename_table, .sure = ANSWER_YES, .place = alter->place};
    sight.message = TEXT(judge, "moving %s to schema %s breaks every statement that doesn't find it there",
                         judge->table_text, quoted(judge, alter->new_name));
    sight.detail = TEXT(judge, "It is gone from its old schema the moment this commits: statements that say "
                               "the old schema fail, and "
                               "so do those that say none, unless their search_path names the new one.");
    sight.hint =
        TEXT(judge,
             "Leave a view in its old place, in the same transaction; drop the view when nothing uses it:\n"
             "CREATE VIEW %s AS SELECT * FROM %s;",
             judge->table_text, moved_text);
    finding_add(judge, &sight);
}

/* DROP COLUMN IF EXISTS of a column that isn't there. */
static bool passed_over(const struct judge *judge, const struct part *part)
{
    const struct alter *alter = part->alter;
    return alter->kind == ALTER_DROP_COLUMN && alter->missing_ok && alter->subject != NULL &&
           table_has_column(judge->look, alter->subject) == ANSWER_NO &&
           added_column(judge->facts, alter->subject) == NULL;
}

void findings_alter(struct judge *judge, const struct part *part)
{
    if (passed_over(judge, part))
        return;
    switch (part->alter->kind) {
    case ALTER_COLUMN_TYPE:
        alter_type(judge, part);
        return;
    case ALTER_SET_NOT_NULL:
        set_not_null(judge, part);
        return;
    case ALTER_ADD_CONSTRAINT:
    case ALTER_ADD_INDEX_CONSTRAINT:
        add_constraint(judge, part);
        return;
    case ALTER_DROP_COLUMN:
        drop_column(judge, part->alter);
        return;
    case ALTER_DROP_CONSTRAINT:
        drop_constraint(judge, part->alter);
        return;
    case ALTER_RENAME_COLUMN:
        rename_column(judge, part->alter);
        return;
    case ALTER_RENAME_TABLE:
        rename_table(judge, part->alter);
        return;
    case ALTER_SET_SCHEMA:
        set_schema(judge, part->alter);
        return;
    default:
        findings_work_alter(judge, part);
        return;
    }
}

/*
 * ADD COLUMN: the rules about the change itself.
 */
#include <talloc.h>

#include "policy/findings.h"

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)

static const char *quoted(const struct judge *judge, const char *name)
{
    return quote_identifier(judge->memory, name);
}

static char *rewrite_detail(const struct judge *judge)
{
    return TEXT(judge,
                "PostgreSQL would hold an AccessExclusiveLock on %s while it writes the whole table anew and "
                "rebuilds "
                "all of its indexes; until then nobody can read or write it. %s",
                judge->table_text, work_estimate(judge, WORK_REWRITE));
}

static int place_of(const struct constraint *constraint, const struct column_definition *column)
{
    return constraint != NULL && constraint->place >= 0 ? constraint->place : column->place;
}

/* The domain's default goes to rows to come, not to those that are there. */
static char *domain_default_hint(const struct judge *judge, const struct column_definition *column)
{
    const char *c = quoted(judge, column->name);
    return TEXT(judge,
                "Leave the domain's default to new rows, and fill the old ones in batches:\n"
                "ALTER TABLE %s ADD COLUMN %s %s DEFAULT NULL;\n"
                "ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT;  -- from here on the domain's counts",
                judge->table_text, c, column->type.text, judge->table_text, c);
}

static void volatile_default(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    if (part->by_default.answer == ANSWER_NO || part->rewrite == ANSWER_NO)
        return;
    bool sure = part->by_default.answer == ANSWER_YES;
    const char *c = quoted(judge, column->name);
    const char *label = column_default(column, judge->look) == NULL
                            ? TEXT(judge, "the default of domain %s", column->type.text)
                            : expression_label(judge->memory, part->by_default.culprit);
    struct sight sight = {
        .rule = RULE_volatile_default, .sure = part->by_default.answer, .object = column->name};
    const struct constraint *clause = column_constraint(column, CONSTRAINT_DEFAULT);
    const struct expr *culprit = part->by_default.culprit;
    sight.place = culprit != NULL && culprit->place >= 0 ? culprit->place : place_of(clause, column);
    if (sure) {
        sight.message = TEXT(
            judge, "adding column %s would rewrite all of %s, because %s has to be called anew for each row",
            c, judge->table_text, label);
        sight.detail = rewrite_detail(judge);
    } else {
        sight.message =
            TEXT(judge, "adding column %s may rewrite all of %s: whether %s is volatile can't be known here",
                 c, judge->table_text, label);
        sight.detail =
            TEXT(judge, "If it is volatile, it is called anew for each row. %s", rewrite_detail(judge));
    }
    sight.hint = column_default(column, judge->look) != NULL ? recipe_column(judge, column)
                                                             : domain_default_hint(judge, column);
    finding_add(judge, &sight);
}

static void numbered(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *identity = column_constraint(column, CONSTRAINT_IDENTITY);
    if ((identity == NULL && !column_is_serial(column)) || part->rewrite == ANSWER_NO)
        return;
    struct sight sight = {.sure = ANSWER_YES, .object = column->name};
    sight.rule = identity != NULL ? RULE_identity_column : RULE_serial_column;
    sight.place = identity != NULL          ? place_of(identity, column)
                  : column->type.place >= 0 ? column->type.place
                                            : column->place;
    sight.message = TEXT(
        judge, "adding %s column %s would rewrite all of %s, because each row gets a number of its own",
        identity != NULL ? "identity" : column->type.name, quoted(judge, column->name), judge->table_text);
    sight.detail = rewrite_detail(judge);
    sight.hint = recipe_column(judge, column);
    finding_add(judge, &sight);
}

static void stored_generated(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *generated = column_constraint(column, CONSTRAINT_GENERATED);
    if (generated == NULL || generated->generated_virtual || part->rewrite == ANSWER_NO)
        return;
    const char *c = quoted(judge, column->name);
    struct sight sight = {.rule = RULE_stored_generated_column, .sure = ANSWER_YES, .object = column->name};
    sight.place = place_of(generated, column);
    sight.message = TEXT(judge,
                         "adding stored generated column %s would rewrite all of %s, because its value is "
                         "written into each row",
                         c, judge->table_text);
    sight.detail = rewrite_detail(judge);
    sight.hint = TEXT(
        judge,
        "No later statement turns a plain column into a stored generated one. Either compute the value "
        "in a view or a query (PostgreSQL 18: GENERATED ALWAYS AS (...) VIRTUAL costs nothing), or add a "
        "plain column, let a trigger fill it, and fill the old rows in batches:\n"
        "ALTER TABLE %s ADD COLUMN %s %s;",
        judge->table_text, c, column->type.text);
    finding_add(judge, &sight);
}

static void not_null(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *clause = column_constraint(column, CONSTRAINT_NOT_NULL);
    if (clause == NULL || column_filled(column, judge->look) || table_empty(judge->look))
        return;
    struct sight sight = {.rule = RULE_not_null_without_default, .sure = ANSWER_YES, .object = column->name};
    sight.place = place_of(clause, column);
    bool null_default = column_constraint(column, CONSTRAINT_DEFAULT) != NULL;
    sight.message =
        TEXT(judge, "adding NOT NULL column %s %s fails as soon as %s has a row", quoted(judge, column->name),
             null_default ? "with DEFAULT NULL" : "without a default", judge->table_text);
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s, read its rows, and stop at the first: "
             "column \"%s\" contains null values.",
             judge->table_text, column->name);
    sight.hint =
        TEXT(judge,
             "Give it a constant default (ADD COLUMN %s %s NOT NULL DEFAULT ...: that reads and writes "
             "no row). Where there is no sensible one:\n%s",
             quoted(judge, column->name), column->type.text, recipe_column(judge, column));
    finding_add(judge, &sight);
}

/* A virtual column (18) has its NULLs looked for in every row: there is no value that all rows share. */
static void virtual_not_null(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *generated = column_constraint(column, CONSTRAINT_GENERATED);
    const struct constraint *clause = column_constraint(column, CONSTRAINT_NOT_NULL);
    if (generated == NULL || !generated->generated_virtual || clause == NULL || part->scan == ANSWER_NO)
        return;
    struct sight sight = {.rule = RULE_set_not_null, .sure = part->scan, .object = column->name};
    sight.place = place_of(clause, column);
    sight.message = TEXT(judge, "adding virtual column %s NOT NULL would read all of %s while it is locked",
                         quoted(judge, column->name), judge->table_text);
    sight.detail = TEXT(
        judge,
        "PostgreSQL would hold an AccessExclusiveLock on %s while it computes the value of every row and "
        "looks for a NULL; until then nobody can read or write it. %s",
        judge->table_text, work_estimate(judge, WORK_READ));
    sight.hint = TEXT(judge, "Add the column without NOT NULL, which reads nothing. %s",
                      recipe_not_null(judge, column->name));
    finding_add(judge, &sight);
}

static void inline_key(struct judge *judge, const struct part *part, enum constraint_kind kind)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *key = column_constraint(column, kind);
    if (key == NULL || part->index_build == ANSWER_NO)
        return;
    bool primary = kind == CONSTRAINT_PRIMARY, repeats = part->by_default.answer == ANSWER_NO;
    struct sight sight = {.sure = ANSWER_YES, .object = column->name};
    sight.rule = primary ? RULE_inline_primary_key : RULE_inline_unique;
    sight.place = place_of(key, column);
    sight.message =
        TEXT(judge, "adding column %s with %s would build an index over all of %s while it is locked",
             quoted(judge, column->name), primary ? "PRIMARY KEY" : "UNIQUE", judge->table_text);
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s until the index is built; until then nobody "
             "can read or write it. %s%s",
             judge->table_text, work_estimate(judge, WORK_INDEX),
             column_default(column, judge->look) != NULL && !primary && repeats
                 ? " A default that is the same for two rows makes it fail at the end."
                 : "");
    sight.hint = recipe_column(judge, column);
    finding_add(judge, &sight);
}

static void inline_check(struct judge *judge, const struct column_definition *column)
{
    const struct constraint *check = column_constraint(column, CONSTRAINT_CHECK);
    if (check == NULL)
        return;
    struct sight sight = {.rule = RULE_inline_check, .sure = ANSWER_YES, .object = column->name};
    sight.place = place_of(check, column);
    const struct expr *by_default = column_default(column, judge->look);
    bool violated = check->expr != NULL && (by_default != NULL || !column_filled(column, judge->look)) &&
                    check_holds(check->expr, column->name, by_default) == ANSWER_NO;
    sight.message = TEXT(judge, "adding column %s with a CHECK would read all of %s while it is locked%s",
                         quoted(judge, column->name), judge->table_text,
                         violated ? ", and fail at the first row: its own value violates the CHECK" : "");
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s while it verifies every row, even where "
             "the new column is NULL in all of them; until then nobody can read or write it. %s",
             judge->table_text, work_estimate(judge, WORK_READ));
    sight.hint = violated ? TEXT(judge, "Correct the default, or the CHECK.") : recipe_column(judge, column);
    finding_add(judge, &sight);
}

static void inline_foreign_key(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    const struct constraint *key = column_constraint(column, CONSTRAINT_FOREIGN);
    if (key == NULL || part->scan_key == ANSWER_NO)
        return;
    const char *target =
        key->referenced.name == NULL ? "the other table" : quote_name(judge->memory, &key->referenced);
    struct sight sight = {.rule = RULE_inline_foreign_key, .sure = ANSWER_YES, .object = column->name};
    sight.place = place_of(key, column);
    sight.message =
        TEXT(judge,
             "adding column %s with REFERENCES and a default would look up every row of %s in %s under lock",
             quoted(judge, column->name), judge->table_text, target);
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold an AccessExclusiveLock on %s and a ShareRowExclusiveLock on %s until "
             "each row is checked; until then nobody can read or write %s, nor write %s. %s",
             judge->table_text, target, judge->table_text, target, work_estimate(judge, WORK_KEY));
    sight.hint = recipe_column(judge, column);
    finding_add(judge, &sight);
}

void findings_column(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    if (column == NULL)
        return;
    findings_catalog(judge, part);
    if (table_has_column(judge->look, column->name) == ANSWER_YES &&
        !dropped_here(judge->facts, ALTER_DROP_COLUMN, column->name))
        return;
    volatile_default(judge, part);
    numbered(judge, part);
    stored_generated(judge, part);
    not_null(judge, part);
    virtual_not_null(judge, part);
    inline_key(judge, part, CONSTRAINT_UNIQUE);
    inline_key(judge, part, CONSTRAINT_PRIMARY);
    inline_check(judge, column);
    inline_foreign_key(judge, part);
}

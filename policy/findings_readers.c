/*
 * The readers of a table whose columns change: prepared SELECT *, INSERT and COPY without a column list. They
 * are told of where a query is known that goes by the columns (policy_context.readers): nobody sees them all,
 * so that none is known of is no proof that there is none. What happens to them was asked of servers 13
 * to 18.
 */
#include "policy/findings.h"

#include <string.h>
#include <talloc.h>

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)

enum change { CHANGE_NONE, CHANGE_ADD, CHANGE_DROP, CHANGE_TYPE, CHANGE_RENAME, CHANGE_COUNT };

static enum change change_of(enum alter_kind kind)
{
    switch (kind) {
    case ALTER_ADD_COLUMN:
        return CHANGE_ADD;
    case ALTER_DROP_COLUMN:
        return CHANGE_DROP;
    case ALTER_COLUMN_TYPE:
        return CHANGE_TYPE;
    case ALTER_RENAME_COLUMN:
        return CHANGE_RENAME;
    default:
        return CHANGE_NONE;
    }
}

/* What becomes of a reader of this use; NULL: nothing. */
static const char *outcome(enum row_use use, enum change change)
{
    static const char stale[] =
        "it fails with \"cached plan must not change result type\" (0A000) in every session "
        "that has it prepared, until it is prepared anew";
    static const char *const of[][CHANGE_COUNT] = {
        [ROW_STAR] = {NULL, stale, stale, stale, stale},
        [ROW_POSITION] =
            {NULL,
             "it goes on with one value less than the table has columns: the new one gets its default, "
             "in silence",
             "it fails with \"INSERT has more expressions than target columns\", or its values end in "
             "other columns than before",
             NULL, NULL},
        [ROW_STAR_INSERTED] =
            {NULL, "it fails with \"INSERT has more expressions than target columns\"",
             "the columns behind the one that is gone end in other columns than before, or it fails", NULL,
             NULL},
        [ROW_COPY_FROM] = {NULL, "it fails with \"missing data for column\" at the first row",
                           "it fails with \"extra data after last expected column\" at the first row", NULL,
                           NULL},
        [ROW_COPY_TO] = {NULL,
                         "each of its lines gets one field more, which whoever reads them may not expect",
                         "each of its lines gets one field less, which whoever reads them may not expect",
                         NULL, NULL},
    };
    return of[use][change];
}

static enum rule rule_of_use(enum row_use use)
{
    static const enum rule rules[] = {[ROW_STAR] = RULE_select_star_prepared,
                                      [ROW_POSITION] = RULE_positional_insert,
                                      [ROW_STAR_INSERTED] = RULE_positional_insert,
                                      [ROW_COPY_FROM] = RULE_copy_without_columns,
                                      [ROW_COPY_TO] = RULE_copy_without_columns};
    return rules[use];
}

/* "adding column note" */
static const char *deed(const struct judge *judge, enum change change, const char *column)
{
    static const char *const verbs[CHANGE_COUNT] = {"", "adding", "dropping", "changing the type of",
                                                    "renaming"};
    return TEXT(judge, "%s column %s", verbs[change], quote_identifier(judge->memory, column));
}

static char *message_of(const struct judge *judge, enum row_use use, enum change change, const char *column,
                        const char *where)
{
    const char *table = judge->table_text, *name = quote_identifier(judge->memory, column);
    const char *what = deed(judge, change, column);
    if (use == ROW_POSITION && change == CHANGE_ADD)
        return TEXT(judge, "an INSERT into %s without a column list (%s) won't fill column %s", table, where,
                    name);
    switch (use) {
    case ROW_STAR:
        return TEXT(judge, "%s breaks a prepared SELECT * or RETURNING * of %s (%s)", what, table, where);
    case ROW_POSITION:
        return TEXT(judge, "%s breaks an INSERT into %s without a column list (%s)", what, table, where);
    case ROW_STAR_INSERTED:
        return TEXT(judge, "%s breaks an INSERT of SELECT * FROM %s (%s)", what, table, where);
    case ROW_COPY_FROM:
        return TEXT(judge, "%s breaks a COPY %s FROM without a column list (%s)", what, table, where);
    case ROW_COPY_TO:
        break;
    }
    return TEXT(judge, "%s changes what a COPY %s TO without a column list (%s) writes", what, table, where);
}

static const char *hint_of_use(enum row_use use)
{
    static const char *const hints[] = {
        [ROW_STAR] =
            ("Name the columns in the query before this runs. Where that can't be, every session has to "
             "prepare it anew right behind it: reconnect, or DEALLOCATE ALL."),
        [ROW_POSITION] = "Name the columns: INSERT INTO ... (a, b, ...) VALUES ...",
        [ROW_STAR_INSERTED] = "Name the columns on both sides: INSERT INTO ... (a, b, ...) SELECT a, b, ...",
        [ROW_COPY_FROM] = "Name the columns: COPY ... (a, b, ...) FROM ...",
        [ROW_COPY_TO] = "Name the columns: COPY ... (a, b, ...) TO ..."};
    return hints[use];
}

static bool is_table(const struct name *a, const struct name *b)
{
    return a->name != NULL && b->name != NULL && strcmp(a->name, b->name) == 0 &&
           (a->schema == NULL || b->schema == NULL || strcmp(a->schema, b->schema) == 0);
}

/* "line 12, and 2 more"; NULL: nobody uses the table so. */
static const char *where_used(const struct judge *judge, enum row_use use)
{
    const struct policy_context *context = judge->context;
    const char *where = NULL;
    size_t more = 0;
    for (size_t i = 0; i < context->n_readers; i++) {
        const struct policy_reader *reader = &context->readers[i];
        if (reader->use != use || !is_table(&reader->table, judge->table))
            continue;
        more += where != NULL;
        where = where == NULL ? reader->where : where;
    }
    return more == 0 ? where : TEXT(judge, "%s, and %zu more", where, more);
}

/* One finding for all readers that meet the same fate. */
static void readers_of(struct judge *judge, const struct alter *alter, enum row_use use)
{
    static const char *const done[CHANGE_COUNT] = {"", "added", "dropped", "of another type", "renamed"};
    enum change change = change_of(alter->kind);
    const char *fate = outcome(use, change), *where = where_used(judge, use);
    const char *column = alter->column != NULL ? alter->column->name : alter->subject;
    if (where == NULL || fate == NULL || column == NULL)
        return;
    struct sight sight = {
        .rule = rule_of_use(use), .sure = ANSWER_YES, .place = alter->place, .object = column};
    sight.message = message_of(judge, use, change, column, where);
    sight.detail = TEXT(judge, "Once the column is %s, %s.", done[change], fate);
    sight.hint = TEXT(judge, "%s", hint_of_use(use));
    finding_add(judge, &sight);
}

void findings_readers(struct judge *judge, const struct part *part)
{
    if (judge->context->n_readers == 0 || part->fails == ANSWER_YES ||
        change_of(part->alter->kind) == CHANGE_NONE)
        return;
    for (enum row_use use = ROW_STAR; use <= ROW_COPY_TO; use++)
        readers_of(judge, part->alter, use);
}

/*
 * comment-required: a new column is to have a comment, which PostgreSQL only takes in a statement of its own.
 * So it is looked for behind the one that makes the column, in the same message or the same file. What a
 * later message will bring isn't known, and whoever sends statement by statement must not be locked out:
 * through the proxy the rule never does more than warn.
 */
#include "policy/findings.h"

#include <string.h>
#include <talloc.h>

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)
#define NESTING_MAX      8

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* A schema that isn't written may be any. */
static bool may_be(const struct name *a, const struct name *b)
{
    return same(a->name, b->name) &&
           (a->schema == NULL || b->schema == NULL || strcmp(a->schema, b->schema) == 0);
}

/* The last one to speak of the column decides. */
static void listen(const struct facts *facts, const struct name *table, const char *column, bool *commented,
                   int depth)
{
    if (facts->status != FACTS_OK || depth > NESTING_MAX)
        return;
    if (facts->kind == STATEMENT_DO)
        for (size_t i = 0; i < facts->n_nested; i++)
            listen(facts->nested[i].facts, table, column, commented, depth + 1);
    if (same(facts->tag, "COMMENT") && same(facts->object_kind, "COLUMN") &&
        may_be(&facts->index_table, table) && same(facts->object.name, column))
        *commented = !facts->uncomments;
}

static void check_column(struct judge *judge, const struct column_definition *column)
{
    const struct policy_context *context = judge->context;
    const char *name = quote_identifier(judge->memory, column->name);
    bool commented = false;
    for (size_t i = 0; i < context->n_behind; i++)
        listen(context->behind[i], judge->table, column->name, &commented, 0);
    if (commented)
        return;
    struct sight sight = {.rule = RULE_comment_required,
                          .sure = ANSWER_YES,
                          .place = column->place,
                          .object = column->name,
                          .only_warn = !context->whole};
    sight.message = TEXT(judge, "column %s of %s gets no comment", name, judge->table_text);
    sight.detail =
        TEXT(judge, "A year from now nobody knows what is in it.%s",
             context->whole ? ""
                            : " (Where the COMMENT comes in a message of its own, all is well: this "
                              "warning can't see that, and so never turns into a refusal.)");
    sight.hint = TEXT(judge, "Behind it, in the same %s: COMMENT ON COLUMN %s.%s IS '...';",
                      context->whole ? "file" : "transaction", judge->table_text, name);
    finding_add(judge, &sight);
}

/* Of a partition, or a table of a type, the columns that are listed aren't new: they have no type. */
static bool is_new(const struct column_definition *column)
{
    return column->type.name[0] != '\0';
}

void findings_comment(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    bool there =
        facts->kind == STATEMENT_CREATE_TABLE && facts->if_not_exists && judge->look->table.relation != NULL;
    if (facts->temporary || there || judge->table->name == NULL)
        return;
    for (size_t i = 0; i < facts->n_columns; i++)
        if (is_new(&facts->columns[i]))
            check_column(judge, &facts->columns[i]);
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        if (alter->kind == ALTER_ADD_COLUMN && alter->column != NULL &&
            table_has_column(judge->look, alter->column->name) != ANSWER_YES)
            check_column(judge, alter->column);
    }
}

/*
 * The safe form is read back, and has to be what was meant, subcommand by subcommand, and has to have no
 * effects that take long: a splice that went wrong, whatever the text, ends here.
 */
#include <string.h>
#include <talloc.h>

#include "policy/plan_inside.h"

static bool text_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* A subcommand that stays as the author wrote it. */
static bool unchanged(const struct alter *a, const struct alter *b)
{
    bool constraints = a->constraint == NULL || b->constraint == NULL
                           ? a->constraint == b->constraint
                           : plan_constraint_same(a->constraint, b->constraint, NULL);
    return text_same(a->subject, b->subject) && text_same(a->new_name, b->new_name) && constraints &&
           plan_expr_same(a->expr, b->expr, 0) && text_same(a->other.schema, b->other.schema) &&
           text_same(a->other.name, b->other.name) && a->cascade == b->cascade &&
           a->concurrently == b->concurrently && (a->column == NULL) == (b->column == NULL);
}

static bool as_meant(const struct meant *meant, const struct alter *read)
{
    if (read->kind != meant->kind || (read->missing_ok && meant->kind == ALTER_ADD_COLUMN))
        return false;
    switch (meant->kind) {
    case ALTER_ADD_COLUMN:
        return plan_column_same(meant, read->column);
    case ALTER_SET_DEFAULT:
    case ALTER_DROP_DEFAULT:
        if (meant->column == NULL)
            break;
        return text_same(read->subject, meant->column) &&
               plan_expr_same(meant->constraint == NULL ? NULL : meant->constraint->expr, read->expr, 0);
    case ALTER_ADD_CONSTRAINT:
        if (meant->constraint == NULL)
            break;
        return read->constraint != NULL && read->constraint->not_valid &&
               plan_constraint_same(meant->constraint, read->constraint, meant->column);
    default:
        break;
    }
    return unchanged(meant->written, read);
}

static bool all_as_meant(const struct planner *planner, const struct facts *read, const struct meant *meant,
                         size_t n)
{
    const struct facts *facts = planner->facts;
    if (read == NULL || read->status != FACTS_OK || read->kind != STATEMENT_ALTER_TABLE ||
        !text_same(read->object_kind, facts->object_kind) || read->n_alters != n ||
        !text_same(read->object.schema, facts->object.schema) ||
        !text_same(read->object.name, facts->object.name) || read->only != facts->only || read->if_exists)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!as_meant(&meant[i], &read->alters[i]))
            return false;
    }
    return true;
}

/* What is left must not take long, and takes this lock. */
static void harmless(struct planner *planner, const struct facts *read)
{
    struct effects effects = policy_effects(planner->plan, read, planner->request->context);
    if (effects.rewrite != ANSWER_NO || effects.scan != ANSWER_NO || effects.index_build != ANSWER_NO)
        plan_refuse(planner, "what is left of it after rewriting might still take long under its lock");
    else if (effects.fails == ANSWER_YES)
        plan_refuse(planner, "PostgreSQL would refuse it: %s",
                    effects.fails_with == NULL ? "see its own message" : effects.fails_with);
    if (effects.lock > planner->lock)
        planner->lock = effects.lock;
}

static char *statement(const struct planner *planner, const struct meant *meant, size_t n)
{
    char *text = talloc_asprintf(planner->plan, "ALTER TABLE %s%s ", planner->facts->only ? "ONLY " : "",
                                 planner->table);
    for (size_t i = 0; i < n; i++)
        text = talloc_asprintf_append_buffer(text, "%s%s", i > 0 ? ", " : "", meant[i].text);
    return text;
}

static void verify(struct planner *planner, const struct meant *meant, size_t n, bool effects)
{
    const struct policy_context *context = planner->request->context;
    if (n == 0 || planner->why != NULL)
        return;
    const char *text = statement(planner, meant, n);
    const struct facts *read =
        facts_of(planner->plan, text, strlen(text), PARSER_TEXT_MAX, !context->backslashes);
    if (!all_as_meant(planner, read, meant, n)) {
        plan_refuse(planner, "the statement could not be rewritten with certainty");
        return;
    }
    if (effects)
        harmless(planner, read);
    planner->safe[planner->n_safe++] = text;
}

/* The index's statement is read back as well; what is behind the table's name is the author's. */
static void verify_index(struct planner *planner)
{
    const struct facts *facts = planner->facts;
    const struct facts *read = facts_of(planner->plan, planner->index, strlen(planner->index),
                                        PARSER_TEXT_MAX, !planner->request->context->backslashes);
    bool fine = read != NULL && read->status == FACTS_OK && read->kind == STATEMENT_CREATE_INDEX &&
                read->concurrently && !read->if_not_exists && read->unique == facts->unique &&
                text_same(read->object.name, facts->object.name) &&
                text_same(read->index_table.name, planner->relation->name) &&
                text_same(read->index_table.schema, planner->relation->schema);
    if (!fine)
        plan_refuse(planner, "the statement could not be rewritten with certainty");
}

void plan_verify(struct planner *planner)
{
    planner->lock = LOCK_SHARE_UPDATE_EXCLUSIVE;
    if (planner->index != NULL)
        verify_index(planner);
    verify(planner, planner->meant, planner->n_meant, true);
    verify(planner, planner->behind, planner->n_behind, false);
}

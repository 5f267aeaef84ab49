/*
 * lock-held-in-transaction: an ACCESS EXCLUSIVE lock is kept until its transaction ends, so what the
 * transaction does behind it is done while nobody else can read or write that table.
 *
 * Two things are seen: which lock a statement leaves behind (the caller remembers it for as long as the
 * transaction lasts), and whether a statement that comes while one is held is long work. What the text can't
 * tell (CALL, a DO block whose body isn't schema changes) counts as unsure. Work on a table that is small, or
 * the transaction's own, is nobody's problem: a migration tool's UPDATE of its version, for one.
 */
#include "policy/findings.h"

#include <string.h>
#include <talloc.h>

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)
#define NESTING_MAX      8
#define HELD_LONG        1.0 /* seconds */

/* ---- the lock that is left behind ---- */

static bool private_name(const struct name *name)
{
    return name->schema != NULL && strcmp(name->schema, "pg_temp") == 0;
}

/* Others can notice that this table is locked. */
static bool felt(const struct look *look, const struct name *name, const struct table *table)
{
    struct look at = *look;
    at.table = *table;
    return name->name != NULL && !private_name(name) && !table->missing && !table_private(&at);
}

static const struct name *locked_of_several(const struct look *look)
{
    const struct facts *facts = look->facts;
    for (size_t i = 0; i < facts->n_objects; i++) {
        struct table table = table_named(look, &facts->objects[i]);
        if (felt(look, &facts->objects[i], &table))
            return &facts->objects[i];
    }
    return NULL;
}

static bool holds_rows(const char *kind)
{
    return strcmp(kind, "TABLE") == 0 || strcmp(kind, "MATERIALIZED VIEW") == 0;
}

static const struct name *locked_by(const struct look *look)
{
    const struct facts *facts = look->facts;
    const struct name *name = &facts->object;
    switch (facts->kind) {
    case STATEMENT_DROP:
        return holds_rows(facts->object_kind) ? locked_of_several(look) : NULL;
    case STATEMENT_TRUNCATE:
        return locked_of_several(look);
    case STATEMENT_ALTER_TABLE:
        break;
    case STATEMENT_OTHER_DDL: /* CREATE POLICY …, REFRESH, CLUSTER */
        if (facts->index_table.name != NULL)
            return felt(look, &facts->index_table, &look->table) ? &facts->index_table : NULL;
        break;
    default:
        return NULL;
    }
    return holds_rows(facts->object_kind) && felt(look, name, &look->table) ? name : NULL;
}

static const char *left_behind(const void *memory, const struct look *look, const struct parts *parts,
                               int depth)
{
    const struct facts *facts = look->facts;
    if (facts->status != FACTS_OK || parts->total.fails == ANSWER_YES || depth > NESTING_MAX)
        return NULL;
    if (facts->kind != STATEMENT_DO) {
        const struct name *name = parts->total.lock == LOCK_ACCESS_EXCLUSIVE ? locked_by(look) : NULL;
        return name == NULL ? NULL : quote_name(memory, name);
    }
    for (size_t i = 0; i < facts->n_nested; i++) {
        struct policy_context inner = nested_context(memory, look, i);
        struct look within = look_at(&inner, facts->nested[i].facts);
        const char *table = left_behind(memory, &within, parts_of(memory, &within), depth + 1);
        if (table != NULL)
            return table;
    }
    return NULL;
}

const char *held_after(const void *memory, const struct look *look, const struct parts *parts)
{
    return left_behind(memory, look, parts, 0);
}

/* ---- work behind it ---- */

/* Its length has to do with the size of the table that it works on, and with nothing else. */
static bool grows_with_its_table(const struct facts *facts)
{
    return !facts->moves || strcmp(facts->tag, "UPDATE") == 0 || strcmp(facts->tag, "DELETE") == 0;
}

/* Valid already, for all that the text says, but that is not what people write it for. */
static bool may_validate(const struct facts *facts, const struct effects *effects)
{
    for (size_t i = 0; i < facts->n_alters; i++)
        if (facts->alters[i].kind == ALTER_VALIDATE_CONSTRAINT)
            return effects->scan == ANSWER_UNKNOWN;
    return false;
}

static enum answer is_work(const struct judge *judge)
{
    const struct facts *facts = judge->facts;
    const struct effects *effects = &judge->parts->total;
    bool reads = effects->rewrite == ANSWER_YES || effects->scan == ANSWER_YES ||
                 effects->index_build == ANSWER_YES || may_validate(facts, effects);
    if (effects->fails == ANSWER_YES)
        return ANSWER_NO;
    if (strcmp(facts->tag, "CALL") == 0)
        return ANSWER_UNKNOWN;
    if (facts->kind == STATEMENT_DO) /* those that it shows are judged one by one */
        return facts->dynamic || facts->n_nested == 0 ? ANSWER_UNKNOWN : ANSWER_NO;
    if (!facts->moves && (!reads || facts->concurrently))
        return ANSWER_NO;
    if (grows_with_its_table(facts) && judge->table->name != NULL &&
        (private_name(judge->table) || table_private(judge->look) || table_small(judge->look) ||
         judge->look->table.missing))
        return ANSWER_NO;
    return ANSWER_YES;
}

static void behind_the_lock(struct judge *judge, enum answer sure)
{
    const struct policy_held *held = judge->context->held;
    const char *tag = judge->facts->tag;
    bool about_rows = grows_with_its_table(judge->facts) && judge->table->name != NULL;
    struct sight sight = {.rule = RULE_lock_held_in_transaction, .sure = sure, .place = 0};
    sight.message = TEXT(judge,
                         "this %s would run while nobody else can read or write %s, which this "
                         "transaction's %s has locked",
                         tag, held->table, held->by);
    sight.detail =
        TEXT(judge,
             "PostgreSQL keeps the AccessExclusiveLock on %s until the transaction ends (it is %.1f s old): "
             "every statement of others that names %s waits for this %s too.%s%s",
             held->table, held->seconds, held->table, tag, about_rows ? " " : "",
             about_rows ? work_estimate(judge, judge->facts->moves ? WORK_REWRITE : WORK_READ) : "");
    sight.hint =
        TEXT(judge,
             "COMMIT right after the %s and do this in a transaction of its own, rows in batches; or "
             "do it before the %s.",
             held->by, held->by);
    finding_add(judge, &sight);
}

static void held_long(struct judge *judge)
{
    const struct policy_held *held = judge->context->held;
    struct sight sight = {
        .rule = RULE_lock_held_in_transaction, .sure = ANSWER_YES, .place = 0, .only_warn = true};
    sight.message = TEXT(judge,
                         "%s has been locked for %.1f s by this transaction's %s; nobody else can read "
                         "or write it",
                         held->table, held->seconds, held->by);
    sight.detail = TEXT(judge,
                        "PostgreSQL keeps the AccessExclusiveLock until the transaction ends, and "
                        "every statement of others that names %s waits for that.",
                        held->table);
    sight.hint = TEXT(judge, "COMMIT now.");
    finding_add(judge, &sight);
}

void findings_held(struct judge *judge)
{
    const struct policy_held *held = judge->context->held;
    if (held == NULL)
        return;
    enum answer work = is_work(judge);
    if (work != ANSWER_NO)
        behind_the_lock(judge, work);
    else if (held->tell && held->seconds >= HELD_LONG && judge->where == NULL)
        held_long(judge);
}

/*
 * lock-held-in-transaction: an ACCESS EXCLUSIVE lock is kept until its transaction ends, so what the
 * transaction does behind it is done while nobody else can read or write that table.
 *
 * LOCK TABLE counts from EXCLUSIVE on, behind which all writers wait.
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
    case STATEMENT_OTHER: /* LOCK TABLE */
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

/* As PostgreSQL numbers them, so does enum lock_mode. */
static enum lock_mode mode_of(const struct facts *facts, const struct parts *parts)
{
    return facts->lock > 0 && facts->lock <= LOCK_ACCESS_EXCLUSIVE ? (enum lock_mode)facts->lock
                                                                   : parts->total.lock;
}

static void left_behind(struct verdict *verdict, const struct look *look, const struct parts *parts,
                        int depth)
{
    const struct facts *facts = look->facts;
    if (facts->status != FACTS_OK || parts->total.fails == ANSWER_YES || depth > NESTING_MAX)
        return;
    enum lock_mode mode = mode_of(facts, parts);
    bool strong = mode == LOCK_ACCESS_EXCLUSIVE || (mode == LOCK_EXCLUSIVE && facts->lock > 0);
    if (facts->kind != STATEMENT_DO) {
        const struct name *name = strong ? locked_by(look) : NULL;
        if (name != NULL && mode > verdict->locked_mode) {
            verdict->locked = quote_name(verdict, name);
            verdict->locked_mode = mode;
        }
        return;
    }
    for (size_t i = 0; i < facts->n_nested && verdict->locked_mode < LOCK_ACCESS_EXCLUSIVE; i++) {
        struct policy_context inner = nested_context(verdict, look, i);
        struct look within = look_at(&inner, facts->nested[i].facts);
        left_behind(verdict, &within, parts_of(verdict, &within), depth + 1);
    }
}

void held_after(struct verdict *verdict, const struct look *look, const struct parts *parts)
{
    left_behind(verdict, look, parts, 0);
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

/* A block that shows nothing but locks may do anything behind them. */
static bool shows_changes(const struct facts *facts)
{
    for (size_t i = 0; i < facts->n_nested; i++)
        if (facts->nested[i].facts->kind != STATEMENT_OTHER)
            return true;
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
        return facts->dynamic || !shows_changes(facts) ? ANSWER_UNKNOWN : ANSWER_NO;
    if (!facts->moves && (!reads || facts->concurrently))
        return ANSWER_NO;
    if (grows_with_its_table(facts) && judge->table->name != NULL &&
        (private_name(judge->table) || table_private(judge->look) || table_small(judge->look) ||
         judge->look->table.missing))
        return ANSWER_NO;
    return ANSWER_YES;
}

/* What the others can't do meanwhile. */
static const char *barred(const struct policy_held *held)
{
    return held->mode == LOCK_EXCLUSIVE ? "write" : "read or write";
}

/* Who waits for the lock. */
static const char *waiting(const struct judge *judge)
{
    const struct policy_held *held = judge->context->held;
    return held->mode == LOCK_EXCLUSIVE
               ? TEXT(judge, "every INSERT, UPDATE and DELETE of others on %s", held->table)
               : TEXT(judge, "every statement of others that names %s", held->table);
}

static void behind_the_lock(struct judge *judge, enum answer sure)
{
    const struct policy_held *held = judge->context->held;
    const char *tag = judge->facts->tag;
    const char *age = held->seconds > 0 ? TEXT(judge, " (it is %.1f s old)", held->seconds) : "";
    bool about_rows = grows_with_its_table(judge->facts) && judge->table->name != NULL;
    struct sight sight = {.rule = RULE_lock_held_in_transaction, .sure = sure, .place = 0};
    sight.message = TEXT(judge,
                         "this %s would run while nobody else can %s %s, which this transaction's %s has "
                         "locked",
                         tag, barred(held), held->table, held->by);
    sight.detail = TEXT(
        judge, "PostgreSQL keeps the %s on %s until the transaction ends%s: %s waits for this %s too.%s%s",
        lock_mode_name(held->mode), held->table, age, waiting(judge), tag, about_rows ? " " : "",
        about_rows ? work_estimate(judge, judge->facts->moves ? WORK_REWRITE : WORK_READ) : "");
    sight.hint =
        strcmp(held->by, "LOCK TABLE") == 0
            ? TEXT(judge,
                   "Do this without the LOCK TABLE, or before it; rows in batches, each in a transaction "
                   "of its own.")
            : TEXT(judge,
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
    sight.message =
        TEXT(judge, "%s has been locked for %.1f s by this transaction's %s; nobody else can %s it",
             held->table, held->seconds, held->by, barred(held));
    sight.detail = TEXT(judge, "PostgreSQL keeps the %s until the transaction ends, and %s waits for that.",
                        lock_mode_name(held->mode), waiting(judge));
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

/*
 * Effects of a whole statement: the sum over what it holds. ALTER TABLE is in effects_alter.c.
 */
#include "policy/effects.h"

#include <string.h>
#include <strings.h>
#include <talloc.h>

enum answer answer_or(enum answer a, enum answer b)
{
    if (a == ANSWER_YES || b == ANSWER_YES)
        return ANSWER_YES;
    return a == ANSWER_UNKNOWN ? a : b;
}

bool table_small(const struct policy_context *context)
{
    const struct table_facts *table = context->table;
    const struct conf_policy *policy = &context->conf->policy;
    if (table == NULL || !table->exists || table->rows < 0 || table->children > 0)
        return false;
    return table->rows <= (double)policy->small_table_rows && table->size <= policy->small_table_size;
}

bool table_private(const struct policy_context *context)
{
    const struct table_facts *table = context->table;
    return table != NULL && table->exists && (table->created_here || table->relpersistence == 't');
}

enum answer table_has_rows(const struct policy_context *context)
{
    const struct table_facts *table = context->table;
    if (table == NULL || !table->exists || table->rows < 0 || table->children > 0)
        return ANSWER_UNKNOWN;
    if (table->size == 0)
        return ANSWER_NO;
    return table->rows >= 1 ? ANSWER_YES : ANSWER_UNKNOWN; /* pages, but no rows when last analyzed */
}

enum answer table_has_column(const struct policy_context *context, const char *column)
{
    const struct table_facts *table = context->table;
    if (table == NULL || !table->exists)
        return ANSWER_UNKNOWN;
    for (size_t i = 0; i < table->n_columns; i++) {
        if (strcmp(table->columns[i], column) == 0)
            return ANSWER_YES;
    }
    return ANSWER_NO;
}

/* ---- statements that are told apart by their tag ---- */

static const struct tag_row {
    const char *tag;
    enum lock_mode lock, concurrently; /* on the table itself */
    enum answer rewrite, index_build;
} tags[] = {
    {"CREATE TRIGGER", LOCK_SHARE_ROW_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"ALTER TRIGGER", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"CREATE RULE", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"ALTER RULE", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"CREATE POLICY", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"ALTER POLICY", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"CREATE STATISTICS", LOCK_SHARE_UPDATE_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"COMMENT", LOCK_SHARE_UPDATE_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"SECURITY LABEL", LOCK_SHARE_UPDATE_EXCLUSIVE, 0, ANSWER_NO, ANSWER_NO},
    {"REINDEX", LOCK_SHARE, LOCK_SHARE_UPDATE_EXCLUSIVE, ANSWER_NO, ANSWER_YES},
    {"CLUSTER", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_YES, ANSWER_NO},
    {"VACUUM", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_YES, ANSWER_NO},
    {"REFRESH MATERIALIZED VIEW", LOCK_ACCESS_EXCLUSIVE, LOCK_EXCLUSIVE, ANSWER_YES, ANSWER_NO},
    {"ALTER TABLE", LOCK_ACCESS_EXCLUSIVE, 0, ANSWER_UNKNOWN, ANSWER_UNKNOWN},
};

static void other_effects(struct effects *effects, const struct facts *facts)
{
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        const struct tag_row *row = &tags[i];
        if (facts->tag == NULL || strcmp(row->tag, facts->tag) != 0)
            continue;
        effects->lock = facts->concurrently && row->concurrently != LOCK_NONE ? row->concurrently : row->lock;
        effects->rewrite = facts->concurrently ? ANSWER_NO : row->rewrite;
        effects->index_build = row->index_build;
    }
}

static void create_index_effects(struct effects *effects, const struct facts *facts)
{
    effects->lock = facts->concurrently ? LOCK_SHARE_UPDATE_EXCLUSIVE : LOCK_SHARE;
    effects->index_build = ANSWER_YES;
    effects->fails = facts->unique ? ANSWER_UNKNOWN : ANSWER_NO;
}

static void drop_effects(struct effects *effects, const struct facts *facts)
{
    static const char *const locking[] = {
        "TABLE",   "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "INDEX", "RULE",
        "TRIGGER", "POLICY",        NULL};
    for (size_t i = 0; locking[i] != NULL; i++) {
        if (strcmp(locking[i], facts->object_kind) == 0)
            effects->lock = facts->concurrently ? LOCK_SHARE_UPDATE_EXCLUSIVE : LOCK_ACCESS_EXCLUSIVE;
    }
    if (strcmp(facts->object_kind, "STATISTICS") == 0)
        effects->lock = LOCK_SHARE_UPDATE_EXCLUSIVE;
}

/* ---- statements that run others ---- */

static void add_effects(struct effects *sum, const struct effects *one)
{
    if (one->lock > sum->lock)
        sum->lock = one->lock;
    sum->rewrite = answer_or(sum->rewrite, one->rewrite);
    sum->scan = answer_or(sum->scan, one->scan);
    sum->index_build = answer_or(sum->index_build, one->index_build);
    sum->fails = answer_or(sum->fails, one->fails);
    if (sum->fails_with == NULL)
        sum->fails_with = one->fails_with;
}

/* Text that can't be read may do anything: nothing but the lock stays unsaid, and that is the strongest. */
static struct effects anything(void)
{
    return (struct effects){.lock = LOCK_ACCESS_EXCLUSIVE,
                            .rewrite = ANSWER_UNKNOWN,
                            .scan = ANSWER_UNKNOWN,
                            .index_build = ANSWER_UNKNOWN,
                            .fails = ANSWER_UNKNOWN};
}

static void nested_effects(struct parts *parts, const struct facts *facts,
                           const struct policy_context *context)
{
    struct policy_context inner = *context;
    inner.table = NULL; /* those are facts of another table */
    inner.in_transaction = true;
    for (size_t i = 0; i < facts->n_nested; i++) {
        struct parts *one = parts_of(parts, facts->nested[i].facts, &inner);
        add_effects(&parts->total, &one->total);
        /* an EXCEPTION block or an IF may keep a nested failure from failing the whole */
        if (parts->total.fails == ANSWER_YES)
            parts->total.fails = ANSWER_UNKNOWN;
    }
    if (facts->dynamic) {
        struct effects any = anything();
        add_effects(&parts->total, &any);
    }
}

/* ---- the whole ---- */

static void statement_effects(struct parts *parts, const struct facts *facts,
                              const struct policy_context *context)
{
    struct effects *effects = &parts->total;
    switch (facts->kind) {
    case STATEMENT_ALTER_TABLE:
        parts->n = facts->n_alters;
        parts->items = talloc_zero_array(parts, struct part, (unsigned)(parts->n > 0 ? parts->n : 1));
        alter_effects(parts, facts, context);
        return;
    case STATEMENT_CREATE_INDEX:
        create_index_effects(effects, facts);
        return;
    case STATEMENT_DROP:
        drop_effects(effects, facts);
        return;
    case STATEMENT_TRUNCATE:
        effects->lock = LOCK_ACCESS_EXCLUSIVE;
        return;
    case STATEMENT_DO:
        nested_effects(parts, facts, context);
        return;
    case STATEMENT_CREATE_EXTENSION:
        effects->rewrite = effects->scan = effects->index_build = effects->fails = ANSWER_UNKNOWN;
        return;
    case STATEMENT_OTHER_DDL:
        other_effects(effects, facts);
        return;
    case STATEMENT_CREATE_TABLE:
    case STATEMENT_CREATE_FUNCTION:
    case STATEMENT_TRANSACTION:
    case STATEMENT_SETTING:
    case STATEMENT_QUERY:
    case STATEMENT_OTHER:
        return;
    }
}

/* The table isn't there: nothing is locked and nothing is done. */
static bool table_missing(struct effects *effects, const void *parent, const struct facts *facts,
                          const struct policy_context *context)
{
    bool on_table = facts->kind == STATEMENT_ALTER_TABLE || facts->kind == STATEMENT_CREATE_INDEX;
    if (!on_table || context->table == NULL || context->table->exists)
        return false;
    if (facts->if_exists)
        return true;
    const struct name *table = facts->kind == STATEMENT_CREATE_INDEX ? &facts->index_table : &facts->object;
    effects->fails = ANSWER_YES;
    effects->fails_with =
        talloc_asprintf(parent, "relation \"%s\" does not exist", table->name == NULL ? "" : table->name);
    return true;
}

/* CONCURRENTLY commits in between, so it refuses to run inside a transaction (or a DO block). */
static void concurrently_in_transaction(struct effects *effects, const struct facts *facts,
                                        const struct policy_context *context)
{
    bool commits = facts->kind == STATEMENT_CREATE_INDEX || facts->kind == STATEMENT_DROP ||
                   strcmp(facts->tag == NULL ? "" : facts->tag, "REINDEX") == 0;
    if (!facts->concurrently || !commits || !context->in_transaction)
        return;
    *effects = (struct effects){.fails = ANSWER_YES,
                                .fails_with = "CONCURRENTLY cannot run inside a transaction block"};
}

struct parts *parts_of(const void *talloc_parent, const struct facts *facts,
                       const struct policy_context *context)
{
    struct parts *parts = talloc_zero(talloc_parent, struct parts);
    if (facts->status != FACTS_OK) {
        parts->total = anything();
        return parts;
    }
    if (!table_missing(&parts->total, parts, facts, context))
        statement_effects(parts, facts, context);
    concurrently_in_transaction(&parts->total, facts, context);
    return parts;
}

struct effects policy_effects(const void *talloc_parent, const struct facts *facts,
                              const struct policy_context *context)
{
    return parts_of(talloc_parent, facts, context)->total;
}

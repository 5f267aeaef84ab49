/*
 * Effects of a whole statement: the sum over what it holds. ALTER TABLE is in effects_alter.c.
 */
#include "policy/effects.h"

#include <stdarg.h>
#include <string.h>
#include <talloc.h>

enum answer answer_or(enum answer a, enum answer b)
{
    if (a == ANSWER_YES || b == ANSWER_YES)
        return ANSWER_YES;
    return a == ANSWER_UNKNOWN ? a : b;
}

enum answer answer_of(bool is)
{
    return is ? ANSWER_YES : ANSWER_NO;
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

/* ALTER DOMAIN and ALTER TYPE … CASCADE work on tables that they don't name. */
static void type_effects(struct effects *effects, const struct facts *facts)
{
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        bool domain = strcmp(facts->tag, "ALTER DOMAIN") == 0;
        if (domain && (alter->constraint == NULL || !alter->constraint->not_valid))
            effects->scan = ANSWER_UNKNOWN;
        if (!domain && alter->cascade && alter->kind == ALTER_COLUMN_TYPE)
            effects->rewrite = effects->scan = effects->index_build = ANSWER_UNKNOWN;
    }
}

static void other_effects(struct effects *effects, const struct facts *facts)
{
    type_effects(effects, facts);
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        const struct tag_row *row = &tags[i];
        if (facts->tag == NULL || strcmp(row->tag, facts->tag) != 0)
            continue;
        effects->lock = facts->concurrently && row->concurrently != LOCK_NONE ? row->concurrently : row->lock;
        effects->rewrite = facts->concurrently ? ANSWER_NO : row->rewrite;
        effects->index_build = row->index_build;
    }
}

/* ---- failing for certain ---- */

static void fails(struct parts *parts, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fails(struct parts *parts, const char *format, ...)
{
    va_list arguments;
    if (parts->total.fails == ANSWER_YES)
        return;
    va_start(arguments, format);
    parts->total = (struct effects){.fails = ANSWER_YES};
    parts->total.fails_with = talloc_vasprintf(parts, format, arguments);
    va_end(arguments);
}

static void may_fail(struct parts *parts)
{
    parts->total.fails = answer_or(parts->total.fails, ANSWER_UNKNOWN);
}

/* ---- CREATE INDEX ---- */

/* An index lives in its table's schema. UNKNOWN where the catalog can't say. */
static enum answer index_exists(const struct look *look, const struct catalog_relation *table)
{
    const struct facts *facts = look->facts;
    if (facts->object.name == NULL)
        return ANSWER_NO;
    if (table == NULL)
        return ANSWER_UNKNOWN;
    for (size_t i = 0; i < table->n_indexes; i++) {
        if (strcmp(table->indexes[i].name, facts->object.name) == 0)
            return ANSWER_YES;
    }
    const struct name full = {table->schema, facts->object.name, -1};
    const struct catalog_relation *other = catalog_relation(look->names, &full);
    return other == NULL ? ANSWER_UNKNOWN : answer_of(other->exists);
}

static void create_index_effects(struct parts *parts, const struct look *look)
{
    const struct facts *facts = look->facts;
    const struct catalog_relation *table = table_structure(look);
    struct effects *effects = &parts->total;
    effects->lock = facts->concurrently ? LOCK_SHARE_UPDATE_EXCLUSIVE : LOCK_SHARE;
    effects->index_build = ANSWER_YES;
    effects->fails = facts->unique ? ANSWER_UNKNOWN : ANSWER_NO;
    if (table == NULL) {
        effects->index_build = facts->only ? ANSWER_UNKNOWN : ANSWER_YES;
        return;
    }
    may_fail(parts); /* its operator classes are not looked into */
    for (size_t i = 0; i < facts->n_index_parts; i++) {
        const char *missing = effects_missing_column(look, facts->index_parts[i]);
        if (missing != NULL && effects->fails != ANSWER_YES) { /* the work is told of all the same */
            effects->fails = ANSWER_YES;
            effects->fails_with = talloc_asprintf(parts, "column \"%s\" does not exist", missing);
        }
    }
    if (strchr("rmp", table->kind) == NULL)
        fails(parts, "cannot create index on relation \"%s\"", table->name);
    if (!table->may_own)
        fails(parts, "must be owner of table %s", table->name);
    if (table->kind == 'p' && facts->concurrently)
        fails(parts, "cannot create index on partitioned table \"%s\" concurrently", table->name);
    enum answer exists = index_exists(look, table);
    if (exists == ANSWER_YES && !facts->if_not_exists)
        fails(parts, "relation \"%s\" already exists", facts->object.name);
    if (effects->fails == ANSWER_YES)
        return;
    if (facts->if_not_exists && facts->object.name != NULL)
        effects->index_build = exists == ANSWER_YES  ? ANSWER_NO
                               : exists == ANSWER_NO ? ANSWER_YES
                                                     : ANSWER_UNKNOWN;
    if (table->kind == 'p' && (facts->only || !table_stores_rows(look)))
        effects->index_build = ANSWER_NO;
}

/* ---- CREATE TABLE ---- */

/* The schema that a table without one is made in: the first of the path that isn't implied. */
static const char *creation_schema(const struct catalog *names)
{
    for (size_t i = 0; i < names->n_path; i++) {
        if (strcmp(names->path[i], "pg_catalog") != 0 && strncmp(names->path[i], "pg_temp", 7) != 0)
            return names->path[i];
    }
    return NULL;
}

static enum answer made_already(const struct look *look)
{
    const struct facts *facts = look->facts;
    if (look->context->names == NULL || facts->temporary || look_blind(look))
        return ANSWER_UNKNOWN;
    const struct name full = {facts->object.schema != NULL ? facts->object.schema
                                                           : creation_schema(look->context->names),
                              facts->object.name, -1};
    if (full.schema == NULL || full.name == NULL)
        return ANSWER_UNKNOWN;
    struct table table = table_named(look, &full);
    if (table.relation == NULL && !table.missing)
        return table.fresh ? ANSWER_YES : ANSWER_UNKNOWN;
    return table.changed ? ANSWER_UNKNOWN : answer_of(table.relation != NULL);
}

/* What it does to tables that are there: a new partition locks its parent; its bound may send it through the
 * parent's default partition. */
static void create_table_effects(struct parts *parts, const struct look *look)
{
    const struct facts *facts = look->facts;
    enum answer made = made_already(look);
    if (made == ANSWER_YES && facts->if_not_exists)
        return;
    if (made == ANSWER_YES) {
        fails(parts, "relation \"%s\" already exists", facts->object.name);
        return;
    }
    if (look->names != NULL)
        may_fail(parts); /* its columns are not looked into */
    if (facts->index_table.name == NULL)
        return;
    struct table parent = table_named(look, &facts->index_table);
    if (parent.missing && !facts->if_not_exists)
        fails(parts, "relation \"%s\" does not exist", facts->index_table.name);
    else if (!parent.fresh)
        parts->total.lock = facts->partition_of ? LOCK_ACCESS_EXCLUSIVE : LOCK_SHARE_UPDATE_EXCLUSIVE;
    if (facts->partition_of && parts->total.fails != ANSWER_YES && !parent.fresh)
        parts->total.scan = ANSWER_UNKNOWN;
}

/* ---- DROP and TRUNCATE ---- */

static enum lock_mode drop_lock(const struct facts *facts)
{
    static const char *const locking[] = {
        "TABLE",   "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "INDEX", "RULE",
        "TRIGGER", "POLICY",        NULL};
    for (size_t i = 0; locking[i] != NULL; i++) {
        if (strcmp(locking[i], facts->object_kind) == 0)
            return facts->concurrently ? LOCK_SHARE_UPDATE_EXCLUSIVE : LOCK_ACCESS_EXCLUSIVE;
    }
    return strcmp(facts->object_kind, "STATISTICS") == 0 ? LOCK_SHARE_UPDATE_EXCLUSIVE : LOCK_NONE;
}

static bool is_relation(const char *kind)
{
    static const char *const kinds[] = {"TABLE",    "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW",
                                        "SEQUENCE", "INDEX",         NULL};
    for (size_t i = 0; kinds[i] != NULL; i++) {
        if (strcmp(kinds[i], kind) == 0)
            return true;
    }
    return false;
}

/* pg_class.relkind of what DROP takes under this name, and PostgreSQL's word for it. */
static const struct kind_row {
    const char *kind, *letters, *words;
} drop_kinds[] = {{"TABLE", "rp", "table"},      {"FOREIGN TABLE", "f", "foreign table"},
                  {"VIEW", "v", "view"},         {"MATERIALIZED VIEW", "m", "materialized view"},
                  {"SEQUENCE", "S", "sequence"}, {"INDEX", "iI", "index"}};

static const struct kind_row *kind_row_of(const char *kind)
{
    size_t i = 0;
    while (i + 1 < sizeof drop_kinds / sizeof *drop_kinds && strcmp(drop_kinds[i].kind, kind) != 0)
        i++;
    return &drop_kinds[i];
}

static const char *letters_of(const char *kind)
{
    return kind_row_of(kind)->letters;
}

static const char *words_of(const char *kind)
{
    return kind_row_of(kind)->words;
}

/* Something else uses the table, and isn't dropped with it. */
static void drop_in_use(struct parts *parts, const struct facts *facts, const struct table *table)
{
    const struct catalog_relation *relation = table->relation;
    may_fail(parts); /* functions and policies may depend on it; rights */
    if (facts->cascade || facts->n_objects > 1 || relation == NULL || table->changed)
        return;
    if (relation->n_views > 0 || relation->referenced_by > 0 || relation->n_row_type_users > 0 ||
        (relation->children > 0 && relation->kind != 'p'))
        fails(parts, "cannot drop table %s because other objects depend on it", relation->name);
}

static void drop_effects(struct parts *parts, const struct look *look)
{
    const struct facts *facts = look->facts;
    enum lock_mode lock = drop_lock(facts);
    if (!is_relation(facts->object_kind) || facts->n_objects == 0 || look->context->names == NULL ||
        look_blind(look)) {
        parts->total.lock = lock;
        if (look->names != NULL || lock == LOCK_NONE)
            may_fail(parts); /* nobody is asked whether a schema, a type, a function is there, and in use */
        return;
    }
    for (size_t i = 0; i < facts->n_objects; i++) {
        struct table table = table_named(look, &facts->objects[i]);
        if (table.missing && !facts->if_exists)
            fails(parts, "%s \"%s\" does not exist",
                  strcmp(facts->object_kind, "TABLE") == 0 ? "table" : "relation", facts->objects[i].name);
        if (table.missing || parts->total.fails == ANSWER_YES)
            continue;
        if (table.relation != NULL && !table.changed &&
            strchr(letters_of(facts->object_kind), table.relation->kind) == NULL)
            fails(parts, "\"%s\" is not a %s", facts->objects[i].name, words_of(facts->object_kind));
        if (parts->total.fails == ANSWER_YES)
            continue;
        parts->total.lock = lock;
        drop_in_use(parts, facts, &table);
    }
}

static void truncate_effects(struct parts *parts, const struct look *look)
{
    const struct facts *facts = look->facts;
    parts->total.lock = LOCK_ACCESS_EXCLUSIVE;
    for (size_t i = 0; look->names != NULL && i < facts->n_objects; i++) {
        struct table table = table_named(look, &facts->objects[i]);
        const struct catalog_relation *relation = table.relation;
        if (table.missing)
            fails(parts, "relation \"%s\" does not exist", facts->objects[i].name);
        if (relation == NULL || table.changed || !relation->may_own) {
            may_fail(parts);
            continue;
        }
        if (strchr("rp", relation->kind) == NULL)
            relation->kind == 'f' ? may_fail(parts) : fails(parts, "\"%s\" is not a table", relation->name);
        if (relation->referenced_by > 0 && !facts->cascade)
            facts->n_objects > 1
                ? may_fail(parts)
                : fails(parts, "cannot truncate a table referenced in a foreign key constraint");
    }
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

/* The list, and the block's own statements from … to in front of it or behind it. */
static const struct facts **with_nested(const void *memory, const struct facts *block, size_t from, size_t to,
                                        const struct facts *const *list, size_t n, bool in_front)
{
    size_t own = to - from;
    const struct facts **all = talloc_array(memory, const struct facts *, (unsigned)(n + own + 1));
    for (size_t i = 0; all != NULL && i < n; i++)
        all[(in_front ? own : 0) + i] = list[i];
    for (size_t i = 0; all != NULL && i < own; i++)
        all[(in_front ? 0 : n) + i] = block->nested[from + i].facts;
    return all;
}

struct policy_context nested_context(const void *memory, const struct look *look, size_t index)
{
    struct policy_context inner = *look->context;
    const struct facts *block = look->facts;
    size_t n = block->n_nested - index - 1;
    const struct facts **before = with_nested(memory, block, 0, index, inner.before, inner.n_before, false);
    const struct facts **behind =
        with_nested(memory, block, index + 1, block->n_nested, inner.behind, inner.n_behind, true);
    inner.before = before;
    inner.n_before = before == NULL ? 0 : inner.n_before + index;
    inner.behind = behind;
    inner.n_behind = behind == NULL ? 0 : inner.n_behind + n;
    inner.in_transaction = true;
    return inner;
}

static void nested_effects(struct parts *parts, const struct look *look)
{
    const struct facts *facts = look->facts;
    for (size_t i = 0; i < facts->n_nested; i++) {
        struct policy_context inner = nested_context(parts, look, i);
        struct look within = look_at(&inner, facts->nested[i].facts);
        struct parts *one = parts_of(parts, &within);
        add_effects(&parts->total, &one->total);
        /* an EXCEPTION block or an IF may keep a nested failure from failing the whole */
        if (parts->total.fails == ANSWER_YES)
            parts->total.fails = ANSWER_UNKNOWN;
    }
    if (parts->total.fails != ANSWER_YES)
        parts->total.fails_with = NULL;
    if (facts->dynamic) {
        struct effects any = anything();
        add_effects(&parts->total, &any);
    }
    if (look->names != NULL)
        may_fail(parts); /* the rest of the block isn't looked into */
}

/* ---- the whole ---- */

static void alter_table_effects(struct parts *parts, const struct look *look)
{
    parts->n = look->facts->n_alters;
    parts->items = talloc_zero_array(parts, struct part, (unsigned)(parts->n > 0 ? parts->n : 1));
    if (parts->items == NULL)
        parts->n = 0;
    alter_effects(parts, look);
}

static void statement_effects(struct parts *parts, const struct look *look)
{
    struct effects *effects = &parts->total;
    switch (look->facts->kind) {
    case STATEMENT_ALTER_TABLE:
        alter_table_effects(parts, look);
        return;
    case STATEMENT_CREATE_TABLE:
        create_table_effects(parts, look);
        return;
    case STATEMENT_CREATE_INDEX:
        create_index_effects(parts, look);
        return;
    case STATEMENT_DROP:
        drop_effects(parts, look);
        return;
    case STATEMENT_TRUNCATE:
        truncate_effects(parts, look);
        return;
    case STATEMENT_DO:
        nested_effects(parts, look);
        return;
    case STATEMENT_CREATE_EXTENSION:
        effects->rewrite = effects->scan = effects->index_build = effects->fails = ANSWER_UNKNOWN;
        return;
    case STATEMENT_OTHER_DDL:
        other_effects(effects, look->facts);
        if (look->names != NULL)
            may_fail(parts);
        return;
    case STATEMENT_CREATE_FUNCTION:
        if (look->names != NULL)
            may_fail(parts);
        return;
    case STATEMENT_TRANSACTION:
    case STATEMENT_SETTING:
    case STATEMENT_QUERY:
    case STATEMENT_OTHER:
        return;
    }
}

/* The table isn't there: nothing is locked and nothing is done. */
static bool table_missing(struct parts *parts, const struct look *look)
{
    const struct facts *facts = look->facts;
    bool on_table = facts->kind == STATEMENT_ALTER_TABLE || facts->kind == STATEMENT_CREATE_INDEX;
    if (!on_table || !look->table.missing)
        return false;
    if (facts->if_exists)
        return true;
    const struct name *table = facts->kind == STATEMENT_CREATE_INDEX ? &facts->index_table : &facts->object;
    fails(parts, "relation \"%s\" does not exist", table->name == NULL ? "" : table->name);
    return true;
}

/* Several tables, each in a transaction of its own. CLUSTER of a partitioned table came with 15. */
static bool commits_each(const struct look *look)
{
    const struct facts *facts = look->facts;
    const char *tag = facts->tag == NULL ? "" : facts->tag, *kind = facts->object_kind;
    const struct catalog_relation *relation = look->table.relation;
    bool whole = relation != NULL && strchr("pI", relation->kind) != NULL;
    if (strcmp(tag, "CLUSTER") == 0)
        return facts->object.name == NULL || (whole && context_major(look->context) >= 15);
    if (strcmp(tag, "REINDEX") != 0)
        return false;
    if (strcmp(kind, "TABLE") != 0 && strcmp(kind, "INDEX") != 0)
        return true;
    return whole && context_major(look->context) >= 14;
}

/* What commits in between refuses to run inside a transaction (or a DO block). REFRESH … CONCURRENTLY
 * doesn't. */
static void commits_in_transaction(struct parts *parts, const struct look *look)
{
    const struct facts *facts = look->facts;
    const char *tag = facts->tag == NULL ? "" : facts->tag;
    bool concurrently = facts->concurrently && (facts->kind == STATEMENT_CREATE_INDEX ||
                                                facts->kind == STATEMENT_DROP || strcmp(tag, "REINDEX") == 0);
    bool vacuum = facts->kind == STATEMENT_OTHER_DDL && strcmp(tag, "VACUUM") == 0;
    if (!look->context->in_transaction)
        return;
    for (size_t i = 0; i < facts->n_alters; i++)
        concurrently = concurrently ||
                       (facts->alters[i].kind == ALTER_DETACH_PARTITION && facts->alters[i].concurrently);
    if (concurrently)
        fails(parts, "CONCURRENTLY cannot run inside a transaction block");
    else if (vacuum || commits_each(look))
        fails(parts, "%s cannot run inside a transaction block", tag);
}

/* What the session, and event triggers, make of any DDL. */
static void session_refuses(struct parts *parts, const struct look *look)
{
    const struct catalog *names = look->context->names;
    const struct facts *facts = look->facts;
    if (names == NULL || facts->kind == STATEMENT_QUERY || facts->kind == STATEMENT_SETTING ||
        facts->kind == STATEMENT_TRANSACTION || facts->kind == STATEMENT_OTHER || facts->kind == STATEMENT_DO)
        return;
    if (names->in_recovery)
        fails(parts, "cannot execute %s during recovery", facts->tag == NULL ? "DDL" : facts->tag);
    else if (names->read_only && !facts->temporary && look->context->n_before == 0)
        fails(parts, "cannot execute %s in a read-only transaction", facts->tag == NULL ? "DDL" : facts->tag);
    for (size_t i = 0; i < names->n_event_triggers; i++) {
        bool rewrites = parts->total.rewrite != ANSWER_NO;
        if (strcmp(names->event_triggers[i].event, "table_rewrite") != 0 || rewrites)
            may_fail(parts);
    }
}

struct parts *parts_of(const void *talloc_parent, const struct look *look)
{
    struct parts *parts = talloc_zero(talloc_parent, struct parts);
    if (look->facts->status != FACTS_OK) {
        parts->total = anything();
        return parts;
    }
    if (!table_missing(parts, look))
        statement_effects(parts, look);
    commits_in_transaction(parts, look);
    session_refuses(parts, look);
    return parts;
}

struct effects policy_effects(const void *talloc_parent, const struct facts *facts,
                              const struct policy_context *context)
{
    struct look look = look_at(context, facts);
    return parts_of(talloc_parent, &look)->total;
}

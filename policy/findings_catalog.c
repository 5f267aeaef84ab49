/*
 * Rules that only the catalog's answer can see: what is there already, what hangs on the table, who is at
 * work on it.
 */
#include <string.h>
#include <talloc.h>

#include "policy/findings.h"

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)

static const char *quoted(const struct judge *judge, const char *name)
{
    return quote_identifier(judge->memory, name);
}

/* ---- who is at work on the table ---- */

/* The modes that each mode conflicts with, as bits: the manual's table 13.2. */
static unsigned conflicts(enum lock_mode mode)
{
#define BIT(mode) (1u << LOCK_##mode)
    static const unsigned of[] = {
        [LOCK_ACCESS_SHARE] = BIT(ACCESS_EXCLUSIVE),
        [LOCK_ROW_SHARE] = BIT(EXCLUSIVE) | BIT(ACCESS_EXCLUSIVE),
        [LOCK_ROW_EXCLUSIVE] = BIT(SHARE) | BIT(SHARE_ROW_EXCLUSIVE) | BIT(EXCLUSIVE) | BIT(ACCESS_EXCLUSIVE),
        [LOCK_SHARE_UPDATE_EXCLUSIVE] = BIT(SHARE_UPDATE_EXCLUSIVE) | BIT(SHARE) | BIT(SHARE_ROW_EXCLUSIVE) |
                                        BIT(EXCLUSIVE) | BIT(ACCESS_EXCLUSIVE),
        [LOCK_SHARE] = BIT(ROW_EXCLUSIVE) | BIT(SHARE_UPDATE_EXCLUSIVE) | BIT(SHARE_ROW_EXCLUSIVE) |
                       BIT(EXCLUSIVE) | BIT(ACCESS_EXCLUSIVE),
        [LOCK_SHARE_ROW_EXCLUSIVE] = BIT(ROW_EXCLUSIVE) | BIT(SHARE_UPDATE_EXCLUSIVE) | BIT(SHARE) |
                                     BIT(SHARE_ROW_EXCLUSIVE) | BIT(EXCLUSIVE) | BIT(ACCESS_EXCLUSIVE),
        [LOCK_EXCLUSIVE] = ~(BIT(NONE) | BIT(ACCESS_SHARE)),
        [LOCK_ACCESS_EXCLUSIVE] = ~BIT(NONE),
    };
#undef BIT
    return of[mode];
}

static enum lock_mode mode_of(const char *name)
{
    for (enum lock_mode mode = LOCK_ACCESS_SHARE; name != NULL && mode <= LOCK_ACCESS_EXCLUSIVE; mode++) {
        if (strcmp(lock_mode_name(mode), name) == 0)
            return mode;
    }
    return LOCK_NONE;
}

static char *duration(const struct judge *judge, double seconds)
{
    if (seconds < 90)
        return TEXT(judge, "%.0f s", seconds);
    return seconds < 5400 ? TEXT(judge, "%.0f min", seconds / 60) : TEXT(judge, "%.0f h", seconds / 3600);
}

/* What the session in the way is doing: "pid 4711 (psql, idle in transaction)". */
static char *holder_text(const struct judge *judge, const struct catalog_holder *holder)
{
    const char *application = holder->application == NULL ? "" : holder->application;
    const char *state = holder->state == NULL || strcmp(holder->state, "active") == 0 ? "" : holder->state;
    if (holder->autovacuum)
        return TEXT(judge, "autovacuum (pid %d)", holder->pid);
    if (application[0] == '\0' && state[0] == '\0')
        return TEXT(judge, "pid %d", holder->pid);
    return TEXT(judge, "pid %d (%s%s%s)", holder->pid, application,
                application[0] != '\0' && state[0] != '\0' ? ", " : "", state);
}

const char *waiting_text(const struct judge *judge)
{
    const struct catalog_relation *relation = judge->look->table.relation;
    unsigned in_the_way = conflicts(judge->parts->total.lock);
    const struct catalog_holder *oldest = NULL;
    unsigned others = 0;
    for (size_t i = 0; relation != NULL && i < relation->n_holders; i++) {
        const struct catalog_holder *holder = &relation->holders[i];
        /* who has held it for less than a second is the ordinary traffic, and gone by the time this is read
         */
        bool passing = holder->granted && holder->age < 1;
        if (passing || (in_the_way & (1u << mode_of(holder->mode))) == 0)
            continue;
        others++;
        if (oldest == NULL || holder->age > oldest->age)
            oldest = holder;
    }
    if (oldest == NULL)
        return "";
    bool reads = mode_of(oldest->mode) == LOCK_ACCESS_SHARE;
    return TEXT(
        judge, " Right now %s %s it%s%s%s%s: this would wait for it, and everybody else would wait for this.",
        holder_text(judge, oldest),
        !oldest->granted ? "already waits to lock"
        : reads          ? "has been reading"
                         : "has been at work on",
        oldest->age >= 1 ? " for " : "", oldest->age >= 1 ? duration(judge, oldest->age) : "",
        oldest->query != NULL && oldest->query[0] != '\0' ? TEXT(judge, " (%s)", oldest->query) : "",
        others > 2    ? TEXT(judge, ", and %u others", others - 1)
        : others == 2 ? ", and 1 other"
                      : "");
}

/* ---- ADD COLUMN of one that is there ---- */

static void existing_column(struct judge *judge, const struct part *part, const struct catalog_column *old)
{
    const struct column_definition *column = part->alter->column;
    const char *c = quoted(judge, column->name);
    bool skips = part->alter->missing_ok || judge->facts->if_not_exists;
    if (skips && effects_type_same(judge->look, old, &column->type) != ANSWER_NO)
        return;
    struct sight sight = {
        .rule = RULE_existing_column, .sure = ANSWER_YES, .place = column->place, .object = column->name};
    if (skips) {
        sight.message =
            TEXT(judge, "column %s of %s is there already as %s: IF NOT EXISTS leaves it so, in silence", c,
                 judge->table_text, old->type_text);
        sight.detail = TEXT(judge, "The migration would count as done, and the column would not be %s.",
                            column->type.text);
        sight.hint =
            TEXT(judge,
                 "See with \\d %s what is there, and who made it. Where the type has to change, that is "
                 "a change of its own (ALTER COLUMN %s TYPE %s), and may rewrite the table.",
                 judge->table_text, c, column->type.text);
    } else {
        sight.message = TEXT(judge, "column %s of %s is there already, as %s: this fails", c,
                             judge->table_text, old->type_text);
        sight.detail =
            TEXT(judge,
                 "PostgreSQL would wait for an AccessExclusiveLock on %s first, with everybody else "
                 "behind it, and then say so.",
                 judge->table_text);
        sight.hint = TEXT(judge,
                          "Has this migration run already? Then tell your migration tool so. Else see with "
                          "\\d %s what is there, and take another name.",
                          judge->table_text);
    }
    finding_add(judge, &sight);
}

/* ---- what hangs on the table ---- */

static void constrained_domain(struct judge *judge, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    if (part->constrained != ANSWER_YES)
        return;
    struct sight sight = {.rule = RULE_constrained_domain,
                          .sure = ANSWER_YES,
                          .place = column->type.place >= 0 ? column->type.place : column->place,
                          .object = column->name};
    sight.message =
        TEXT(judge, "adding column %s would rewrite all of %s, because %s is a domain with constraints",
             quoted(judge, column->name), judge->table_text, column->type.text);
    sight.detail =
        TEXT(judge,
             "PostgreSQL checks the domain's constraints row by row, with a default or without, while it "
             "holds an AccessExclusiveLock on %s; until then nobody can read or write it. %s",
             judge->table_text, work_estimate(judge, WORK_REWRITE));
    sight.hint = TEXT(
        judge,
        "No split of the statement avoids it. Use the type that the domain is made of instead (\\dD %s shows "
        "it), and the domain's condition as a CHECK of the table: ADD CONSTRAINT ... CHECK (...) NOT VALID, "
        "then VALIDATE CONSTRAINT in a transaction of its own.",
        column->type.text);
    finding_add(judge, &sight);
}

static void row_type_in_use(struct judge *judge, const struct part *part,
                            const struct catalog_relation *relation)
{
    const struct column_definition *column = part->alter->column;
    enum answer changes = answer_or(part->new_values, part->rewrite);
    if (relation->n_row_type_users == 0 || changes == ANSWER_NO)
        return;
    const char *user = quote_name(judge->memory, &relation->row_type_users[0]);
    struct sight sight = {
        .rule = RULE_row_type_in_use, .sure = changes, .place = column->place, .object = column->name};
    sight.message =
        TEXT(judge, "adding column %s with a value for every row fails, because column %s holds rows of %s",
             quoted(judge, column->name), user, judge->table_text);
    sight.detail =
        TEXT(judge,
             "PostgreSQL can't change the rows that are stored there: cannot alter table \"%s\" because "
             "column \"%s\" uses its row type.",
             relation->name, user);
    sight.hint = recipe_row_type(judge, column);
    finding_add(judge, &sight);
}

static void partitioned_parent(struct judge *judge, const struct part *part,
                               const struct catalog_relation *relation)
{
    const struct column_definition *column = part->alter->column;
    if (relation->children == 0 || judge->facts->only)
        return;
    bool one = relation->children == 1;
    const char *kin = relation->kind == 'p'
                          ? one ? "its partition" : TEXT(judge, "its %u partitions", relation->children)
                      : one ? "its child"
                            : TEXT(judge, "its %u children", relation->children);
    struct sight sight = {
        .rule = RULE_partitioned_parent, .sure = ANSWER_YES, .place = column->place, .object = column->name};
    sight.message = TEXT(judge, "adding column %s locks %s and %s at once", quoted(judge, column->name),
                         judge->table_text, kin);
    sight.detail =
        TEXT(judge,
             "PostgreSQL waits for an AccessExclusiveLock on each of them in turn and holds those it has: a "
             "single long query on one stalls everybody on the others.");
    sight.hint = TEXT(judge, "Put SET lock_timeout = '100ms'; in front of it, and try again when it fails.");
    finding_add(judge, &sight);
}

/* ---- readers ---- */

/* Does the view depend on every column that the table has? Then it most likely says SELECT *. */
static bool shows_all(const struct catalog_relation *relation, const struct catalog_dependant *view)
{
    size_t shown = 0;
    for (size_t c = 0; c < relation->n_columns; c++) {
        for (size_t i = 0; i < relation->n_views; i++) {
            const struct catalog_dependant *one = &relation->views[i];
            if (one->column == relation->columns[c].number && strcmp(one->name, view->name) == 0 &&
                strcmp(one->schema, view->schema) == 0) {
                shown++;
                break;
            }
        }
    }
    return shown == relation->n_columns && shown > 0;
}

static void dependent_view(struct judge *judge, const struct part *part,
                           const struct catalog_relation *relation)
{
    const struct column_definition *column = part->alter->column;
    const struct catalog_dependant *view = NULL;
    for (size_t i = 0; view == NULL && i < relation->n_views; i++) {
        if (shows_all(relation, &relation->views[i]))
            view = &relation->views[i];
    }
    if (view == NULL)
        return;
    const struct name name = {view->schema, view->name, -1};
    const char *text = quote_name(judge->memory, &name);
    struct sight sight = {
        .rule = RULE_dependent_view, .sure = ANSWER_YES, .place = column->place, .object = column->name};
    sight.message = TEXT(judge, "view %s shows every column of %s, but won't show %s", text,
                         judge->table_text, quoted(judge, column->name));
    sight.detail = TEXT(judge, "SELECT * in a view means the columns there were when the view was made.");
    sight.hint =
        TEXT(judge,
             "Where its readers need the column: CREATE OR REPLACE VIEW %s AS ..., with the new column "
             "last, in the same migration (a materialized view has to be made anew).",
             text);
    finding_add(judge, &sight);
}

static void subscriber_needs_column(struct judge *judge, const struct part *part,
                                    const struct catalog_relation *relation)
{
    const struct column_definition *column = part->alter->column;
    if (relation->n_publications == 0)
        return;
    struct sight sight = {.rule = RULE_subscriber_needs_column,
                          .sure = ANSWER_YES,
                          .place = column->place,
                          .object = column->name};
    sight.message =
        TEXT(judge, "%s is published by %s: each subscriber needs column %s first", judge->table_text,
             quoted(judge, relation->publications[0]), quoted(judge, column->name));
    sight.detail = TEXT(
        judge, "Logical replication doesn't carry DDL. At the first row that has the column, a subscriber "
               "without it stops applying, and WAL is kept here until it goes on.");
    sight.hint = TEXT(judge, "Add the column at the subscribers, then here.");
    finding_add(judge, &sight);
}

void findings_catalog(struct judge *judge, const struct part *part)
{
    const struct catalog_relation *relation = table_structure(judge->look);
    const struct column_definition *column = part->alter->column;
    if (column == NULL)
        return;
    const struct catalog_column *old = relation == NULL ? NULL : catalog_column(relation, column->name);
    if (old != NULL && !dropped_here(judge->facts, ALTER_DROP_COLUMN, column->name)) {
        existing_column(judge, part, old);
        return;
    }
    constrained_domain(judge, part);
    if (relation == NULL)
        return;
    row_type_in_use(judge, part, relation);
    partitioned_parent(judge, part, relation);
    dependent_view(judge, part, relation);
    subscriber_needs_column(judge, part, relation);
}

/*
 * From a statement to its findings: which rules look at which kind of statement, what excuses a table, and
 * what becomes of statements inside statements.
 */
#include "policy/findings.h"

#include <stdio.h>
#include <string.h>
#include <talloc.h>

#define TEXT(judge, ...) talloc_asprintf((judge)->memory, __VA_ARGS__)
#define NESTING_MAX      8

/* ---- taking a finding up ---- */

/* What the text alone can't tell is not refused by a profile's default, only warned of; `strict`, and an
 * action that the file names itself, are taken at their word. Online it does no harm whatever comes of it:
 * that is tried, and where there is no plan it is a warning again (verdict_plan.c). */
static enum action action_for(const struct judge *judge, const struct sight *sight, bool *unsure)
{
    const struct policy_context *context = judge->context;
    struct conf_rule setting = policy_rule(context, sight->rule, judge->table);
    if (sight->only_warn && setting.action > ACTION_WARN)
        return ACTION_WARN;
    *unsure = sight->sure == ANSWER_UNKNOWN && !setting.has_action && setting.action > ACTION_WARN &&
              context->conf->policy.profile != PROFILE_STRICT;
    bool tried = setting.action == ACTION_ONLINE && context->text != NULL && context->names != NULL;
    return *unsure && !tried ? ACTION_WARN : setting.action;
}

void finding_add(struct judge *judge, const struct sight *sight)
{
    struct verdict *verdict = judge->memory;
    bool unsure = false;
    enum action action = action_for(judge, sight, &unsure);
    if (action == ACTION_ALLOW || rule_excused(judge, sight->rule))
        return;
    const char *message = sight->message;
    if (judge->where != NULL)
        message = TEXT(judge, "%s (in %s)", message, judge->where);
    size_t n = verdict->n_findings;
    verdict->findings = talloc_realloc(verdict, verdict->findings, struct finding, (unsigned)n + 1);
    verdict->findings[n] = (struct finding){.rule = sight->rule,
                                            .action = action,
                                            .unsure = unsure,
                                            .place = judge->where != NULL ? judge->outer_place : sight->place,
                                            .message = message,
                                            .detail = sight->detail,
                                            .hint = sight->hint,
                                            .object = sight->object};
    verdict->n_findings = n + 1;
}

/* Rules about work that grows with the table. The others speak of readers, of data, of definitions. */
static bool grows_with_table(enum rule rule)
{
    switch (rule) {
    case RULE_volatile_default:
    case RULE_serial_column:
    case RULE_identity_column:
    case RULE_stored_generated_column:
    case RULE_constrained_domain:
    case RULE_inline_unique:
    case RULE_inline_primary_key:
    case RULE_inline_check:
    case RULE_inline_foreign_key:
    case RULE_partitioned_parent:
    case RULE_rewrite_with_siblings:
    case RULE_alter_type:
    case RULE_set_not_null:
    case RULE_add_check:
    case RULE_add_foreign_key:
    case RULE_add_unique:
    case RULE_create_index:
    case RULE_table_rewrite:
    case RULE_reindex:
    case RULE_attach_partition:
        return true;
    default:
        return false;
    }
}

bool rule_excused(const struct judge *judge, enum rule rule)
{
    enum rule_group group = rule_group_of(rule);
    if (rule == RULE_unparseable || rule == RULE_dynamic_ddl || rule == RULE_lock_held_in_transaction)
        return false;
    if (judge->table != NULL && judge->table->schema != NULL && strcmp(judge->table->schema, "pg_temp") == 0)
        return true;
    if (group == RULE_GROUP_DEFINITION)
        return judge->look->table.relation != NULL && judge->look->table.relation->persistence == 't';
    if (table_private(judge->look))
        return true;
    if (judge->table != NULL && judge->table->name == NULL)
        return false; /* it works on tables that it doesn't name */
    if (!table_stores_rows(judge->look) && rule == RULE_not_null_without_default)
        return true;
    return grows_with_table(rule) && (table_small(judge->look) || !table_stores_rows(judge->look));
}

bool not_there(const char *fails_with)
{
    static const char words[] = " does not exist";
    size_t length = fails_with == NULL ? 0 : strlen(fails_with);
    return length >= sizeof words - 1 && strcmp(fails_with + length - (sizeof words - 1), words) == 0;
}

/* ---- estimates ---- */

/* "5,000,000"; it is an estimate, and two digits are all that can be said. */
static char *grouped(const struct judge *judge, double number)
{
    char digits[64];
    double unit = 1;
    while (number / unit >= 100)
        unit *= 10;
    number = (double)(long long)(number / unit + 0.5) * unit;
    int n = snprintf(digits, sizeof digits, "%.0f", number);
    char *out = talloc_strdup(judge->memory, "");
    for (int i = 0; i < n && i < (int)sizeof digits; i++)
        out = talloc_asprintf_append(out, "%s%c", i > 0 && (n - i) % 3 == 0 ? "," : "", digits[i]);
    return out;
}

const char *work_estimate(const struct judge *judge, enum work work)
{
    /* Rows a second, and bytes where rows are wide, on a small machine that has other things to do as well: a
     * statement that takes longer than it was said to is worse than one that is done sooner. */
    static const double speed[] = {
        [WORK_REWRITE] = 0.5e6, [WORK_READ] = 5e6, [WORK_INDEX] = 1e6, [WORK_KEY] = 2e6};
    static const double index_speed = 1e6, bytes_read = 200e6, bytes_written = 50e6;
    const struct catalog_relation *table = judge->look->table.relation;
    double rows = table == NULL ? -1 : table_rows(table);
    if (rows < 0)
        return "The larger the table, the longer that takes.";
    double seconds = rows / speed[work];
    if (work == WORK_REWRITE)
        seconds += rows * (double)table->n_indexes / index_speed;
    double bytes = (double)table_size(table) / (work == WORK_REWRITE ? bytes_written : bytes_read);
    seconds = seconds > bytes ? seconds : bytes;
    if (seconds < 1.5)
        return TEXT(judge, "%s holds about %s rows: expect a second or so.", judge->table_text,
                    grouped(judge, rows));
    if (seconds < 120)
        return TEXT(judge, "%s holds about %s rows: expect some %.0f s or more.", judge->table_text,
                    grouped(judge, rows), seconds);
    return TEXT(judge, "%s holds about %s rows: expect some %.0f minutes or more.", judge->table_text,
                grouped(judge, rows), seconds / 60);
}

/* The catalog's answer is a moment's: another transaction may be about to commit what is missing, and another
 * database may have it. So the findings stand, and say what they rest on. */
static void add_failure(struct judge *judge, size_t first, const char *fails_with)
{
    struct verdict *verdict = judge->memory;
    for (size_t i = first; i < verdict->n_findings; i++) {
        struct finding *finding = &verdict->findings[i];
        finding->detail =
            TEXT(judge, "As things stand, it fails: %s.%s%s", fails_with, finding->detail == NULL ? "" : " ",
                 finding->detail == NULL ? "" : finding->detail);
    }
}

/* ---- statements other than ALTER TABLE ---- */

/* CONCURRENTLY is refused on a partitioned table. */
static void index_of_partitions(const struct judge *judge, struct sight *sight)
{
    const char *unique = judge->facts->unique ? "UNIQUE " : "", *name = judge->facts->object.name;
    sight->message = TEXT(judge, "creating an index on %s stops every write to all of its partitions at once",
                          judge->table_text);
    sight->detail =
        TEXT(judge,
             "PostgreSQL would hold a ShareLock on %s and on each partition until the last index is "
             "built: they can be read, but INSERT, UPDATE and DELETE wait. %s",
             judge->table_text, work_estimate(judge, WORK_INDEX));
    const char *index = name == NULL ? "NAME" : quote_identifier(judge->memory, name);
    const struct name full = {judge->table->schema, name, -1};
    sight->hint = TEXT(judge,
                       "Do it in steps, each in a transaction of its own:\n"
                       "-- CREATE %sINDEX %s ON ONLY %s (...);  -- reads nothing, and is not yet valid\n"
                       "-- then, for each partition P (the index turns valid with the last one):\n"
                       "-- CREATE %sINDEX CONCURRENTLY P_index ON P (...);\n"
                       "-- ALTER INDEX %s ATTACH PARTITION P_index;",
                       unique, index, judge->table_text, unique,
                       name == NULL ? index : quote_name(judge->memory, &full));
}

static void create_index(struct judge *judge)
{
    const struct facts *facts = judge->facts;
    if (facts->concurrently || judge->parts->total.index_build == ANSWER_NO)
        return;
    size_t first = judge->memory->n_findings;
    struct sight sight = {.rule = RULE_create_index,
                          .sure = judge->parts->total.index_build,
                          .place = 0,
                          .object = facts->object.name};
    sight.message =
        TEXT(judge, "creating an index on %s without CONCURRENTLY stops every write to it until it is built",
             judge->table_text);
    sight.detail =
        TEXT(judge,
             "PostgreSQL would hold a ShareLock on %s: it can be read, but INSERT, UPDATE and DELETE "
             "wait. %s",
             judge->table_text, work_estimate(judge, WORK_INDEX));
    const struct name index = {judge->table->schema, facts->object.name, -1};
    sight.hint = TEXT(
        judge,
        "Write CREATE %sINDEX CONCURRENTLY, outside a transaction (Rails: disable_ddl_transaction!, "
        "Django: atomic = False). If it fails, it leaves an invalid index: %s before the next try.",
        facts->unique ? "UNIQUE " : "",
        index.name == NULL ? "find it with \\d and drop it"
                           : TEXT(judge, "DROP INDEX CONCURRENTLY %s;", quote_name(judge->memory, &index)));
    if (judge->look->table.relation != NULL && judge->look->table.relation->kind == 'p')
        index_of_partitions(judge, &sight);
    finding_add(judge, &sight);
    if (not_there(judge->parts->total.fails_with))
        add_failure(judge, first, judge->parts->total.fails_with);
}

/* ---- ALTER TABLE ---- */

static void rewrite_with_siblings(struct judge *judge)
{
    const struct parts *parts = judge->parts;
    size_t first = parts->n, gentle = 0;
    for (size_t i = 0; i < parts->n; i++) {
        if (parts->items[i].rewrite == ANSWER_YES && first == parts->n)
            first = i;
        gentle += parts->items[i].rewrite == ANSWER_NO;
    }
    if (first == parts->n || gentle == 0)
        return;
    struct sight sight = {
        .rule = RULE_rewrite_with_siblings, .sure = ANSWER_YES, .place = parts->items[first].alter->place};
    const struct alter *alter = parts->items[first].alter;
    const char *subject =
        alter->column != NULL && alter->column->name != NULL ? alter->column->name : alter->subject;
    sight.message =
        TEXT(judge, "one of %zu subcommands makes the whole statement rewrite %s: %s%s%s", parts->n,
             judge->table_text, alter_kind_name(alter->kind), subject == NULL ? "" : " ",
             subject == NULL ? "" : quote_identifier(judge->memory, subject));
    sight.detail = TEXT(
        judge, "The other subcommands, which would take a moment by themselves, wait for the rewrite and are "
               "undone with it.");
    sight.hint = TEXT(judge, "Put the subcommand that rewrites into a statement of its own.");
    finding_add(judge, &sight);
}

/* The server would refuse it before anything is locked for long. Who asks may not be who will run it: what he
 * may not do is no reason. A column to add may fail on the rows that are there. */
static bool refused_at_once(const struct part *part)
{
    static const char owner[] = "must be owner of ";
    if (part->fails != ANSWER_YES || part->alter->kind == ALTER_ADD_COLUMN)
        return part->fails == ANSWER_YES && not_there(part->fails_with);
    return part->fails_with != NULL && strncmp(part->fails_with, owner, sizeof owner - 1) != 0;
}

static void alter_table(struct judge *judge)
{
    const struct parts *parts = judge->parts;
    for (size_t i = 0; i < parts->n; i++) {
        size_t first = judge->memory->n_findings;
        if (parts->items[i].alter->kind == ALTER_ADD_COLUMN)
            findings_column(judge, &parts->items[i]);
        else
            findings_alter(judge, &parts->items[i]);
        findings_readers(judge, &parts->items[i]);
        if (refused_at_once(&parts->items[i]))
            add_failure(judge, first, parts->items[i].fails_with);
    }
    rewrite_with_siblings(judge);
}

/* ---- what can't be read ---- */

static void unparseable(struct judge *judge, const struct facts *facts)
{
    static const char *const why[] = {[FACTS_SYNTAX] = "it can't be read",
                                      [FACTS_TOO_LONG] = "it is longer than limits.statement",
                                      [FACTS_TOO_DEEP] = "it is nested deeper than is followed",
                                      [FACTS_FAULT] = "reading it failed inside pgsluice"};
    struct sight sight = {.rule = RULE_unparseable, .sure = ANSWER_YES, .place = facts->error_place};
    sight.message = TEXT(judge, "this statement can't be judged, because %s%s%s", why[facts->status],
                         facts->error == NULL ? "" : ": ", facts->error == NULL ? "" : facts->error);
    sight.detail =
        TEXT(judge,
             "It may be wrong, or newer than the SQL that this pgsluice knows. What it would lock or rewrite "
             "is not known.");
    sight.hint = TEXT(
        judge, facts->status == FACTS_TOO_LONG
                   ? "Split it, or raise limits.statement."
                   : "Try it on a test server. If it is right, have a role of policy.waivers.roles write "
                     "/* pgsluice: allow unparseable, REASON */ in front of it; where the SQL can't be "
                     "edited: PGOPTIONS='-c pgsluice.waive=unparseable:REASON' (no blanks in REASON, or "
                     "\"\\ \" for each).");
    finding_add(judge, &sight);
}

static void dynamic(struct judge *judge, const char *what)
{
    struct sight sight = {.rule = RULE_dynamic_ddl, .sure = ANSWER_YES, .place = judge->outer_place};
    sight.message =
        TEXT(judge, "this block runs SQL that is put together only while it runs, so it can't be judged%s%s",
             what == NULL ? "" : ": ", what == NULL ? "" : what);
    sight.detail = TEXT(
        judge, "If what it runs changes a table, the lock and the time it takes are not known beforehand.");
    sight.hint = TEXT(judge, "Write schema changes as plain statements outside the block.");
    finding_add(judge, &sight);
}

/* ---- the statement, and those inside ---- */

static void judge_statement(struct judge *, int depth);

static void nested(struct judge *judge, int depth)
{
    const struct facts *facts = judge->facts;
    for (size_t i = 0; i < facts->n_nested; i++) {
        const struct nested *one = &facts->nested[i];
        struct policy_context inner = nested_context(judge->memory, judge->look, i);
        struct look look = look_at(&inner, one->facts);
        struct judge within = *judge;
        within.context = &inner;
        within.look = &look;
        within.facts = one->facts;
        within.where = judge->where == NULL ? one->where : TEXT(judge, "%s, %s", one->where, judge->where);
        within.outer_place = judge->where == NULL ? one->place : judge->outer_place;
        within.table = NULL;
        within.parts = parts_of(judge->memory, &look);
        if (one->facts->status != FACTS_OK || depth >= NESTING_MAX)
            dynamic(&within, one->facts->error);
        else
            judge_statement(&within, depth + 1);
    }
    if (facts->dynamic) {
        struct judge own = *judge;
        if (own.where == NULL)
            own.outer_place = facts->n_nested > 0 ? facts->nested[0].place : 0;
        dynamic(&own, facts->dynamic_why);
    }
}

static void judge_statement(struct judge *judge, int depth)
{
    const struct facts *facts = judge->facts;
    judge->table = facts->kind == STATEMENT_CREATE_INDEX ? &facts->index_table : &facts->object;
    judge->table_text = judge->table->name == NULL ? "the table" : quote_name(judge->memory, judge->table);
    switch (facts->kind) {
    case STATEMENT_ALTER_TABLE:
        alter_table(judge);
        break;
    case STATEMENT_CREATE_INDEX:
        create_index(judge);
        break;
    case STATEMENT_DROP:
        findings_drop(judge);
        break;
    case STATEMENT_TRUNCATE:
        findings_truncate(judge);
        break;
    case STATEMENT_DO:
        nested(judge, depth);
        break;
    case STATEMENT_OTHER_DDL:
        findings_work(judge);
        findings_away(judge);
        break;
    default: /* a function's body is not run by CREATE FUNCTION */
        break;
    }
    findings_definition(judge);
    findings_comment(judge);
    findings_held(judge);
}

void findings_of(struct judge *judge, const struct facts *facts)
{
    judge->facts = facts;
    judge->outer_place = 0;
    if (facts->status != FACTS_OK) {
        static const struct name nothing = {NULL, NULL, -1};
        judge->table = &nothing;
        judge->table_text = "the table";
        unparseable(judge, facts);
        return;
    }
    judge_statement(judge, 0);
}

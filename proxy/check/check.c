/*
 * A file's statements, one after the other, with what the file itself tells: the way each goes, the
 * transaction it is in, and what the statements in front of it have made.
 *
 * A table made by the same file counts as new: nobody else uses it yet. A down section is run another day: it
 * is judged by its text alone.
 */
#include "proxy/check/check.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "proxy/check/ahead.h"
#include "proxy/check/connect.h"
#include "proxy/check/made.h"
#include "proxy/check/report.h"

/* A statement found; `from` and `to`: with the comments in front of it and those behind it, up to the
 * semicolon. */
struct found {
    struct gate_statement gate;
    size_t from, to, section;
};

struct run {
    struct check *check;
    const struct source *source;
    struct found *found;
    size_t n_found;
    struct made made;
    struct comments comments[2]; /* of up sections, of down sections */
    bool wrapped;                /* somebody opens a transaction for the section */
    void *memory;                /* for the whole file */
};

/* ---- finding ---- */

static bool add_found(struct run *run, const struct gate_statement *statement, size_t from, size_t to)
{
    const struct source *source = run->source;
    size_t n = run->n_found;
    size_t section = n == 0 ? 0 : run->found[n - 1].section;
    if ((n & (n - 1)) == 0)
        run->found = talloc_realloc(run->memory, run->found, struct found, (unsigned)(n == 0 ? 1 : 2 * n));
    if (run->found == NULL)
        return false;
    while (section + 1 < source->n_sections && source->sections[section + 1].at <= statement->start)
        section++;
    run->found[run->n_found++] =
        (struct found){.gate = *statement, .from = from, .to = to, .section = section};
    return true;
}

static bool find_statements(struct run *run)
{
    const struct source *source = run->source;
    struct gate gate;
    struct gate_statement statement;
    size_t from = 0;
    gate_init(&gate, true, TEXT_ASCII_SAFE);
    for (size_t at = 0; at < source->length;) {
        bool found = false;
        at += gate_scan(&gate, (const uint8_t *)source->sql + at, source->length - at, &statement, &found);
        if (!found)
            continue;
        size_t to = at > 0 && source->sql[at - 1] == ';' ? at - 1 : at;
        if (!add_found(run, &statement, from, to))
            return false;
        from = at;
    }
    return !gate_finish(&gate, &statement, NULL) || add_found(run, &statement, from, source->length);
}

static bool contains(const char *text, size_t length, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= length; i++) {
        if (strncasecmp(text + i, word, n) == 0)
            return true;
    }
    return false;
}

/* VACUUM and what is done CONCURRENTLY: a tool that wraps files in transactions leaves such a file alone. */
static bool refuses_transaction(const struct run *run, const struct found *found)
{
    const char *sql = run->source->sql + found->gate.start;
    size_t length = found->gate.end - found->gate.start;
    return contains(sql, length < 6 ? length : 6, "VACUUM") ||
           contains(sql, length < 80 ? length : 80, "CONCURRENTLY");
}

/* Does the tool, or the server, open a transaction for the section of this statement? */
static bool wrapped(const struct run *run, size_t first)
{
    const struct section *section = &run->source->sections[run->found[first].section];
    bool several = false;
    if (run->check->single_transaction)
        return true;
    if (run->source->no_transaction || section->wrapping == WRAP_NONE)
        return false;
    for (size_t i = first; i < run->n_found && run->found[i].section == run->found[first].section; i++) {
        if (section->wrapping == WRAP_UNLESS && refuses_transaction(run, &run->found[i]))
            return false;
        several = several || i > first;
    }
    return several || section->wrapping != WRAP_MESSAGE;
}

/* ---- counting ---- */

static enum unread unread_of(const struct facts *facts)
{
    static const enum unread why[] = {[FACTS_OK] = UNREAD_NOT,
                                      [FACTS_SYNTAX] = UNREAD_SYNTAX,
                                      [FACTS_TOO_LONG] = UNREAD_TOO_LONG,
                                      [FACTS_TOO_DEEP] = UNREAD_TOO_DEEP,
                                      [FACTS_FAULT] = UNREAD_FAULT};
    return why[facts->status];
}

static bool any_unknown(const struct effects *effects)
{
    return effects->rewrite == ANSWER_UNKNOWN || effects->scan == ANSWER_UNKNOWN ||
           effects->index_build == ANSWER_UNKNOWN || effects->fails == ANSWER_UNKNOWN;
}

static void count_judged(struct check_count *count, const struct checked *checked)
{
    const struct verdict *verdict = checked->verdict;
    count->judged++;
    count->dynamic += checked->facts->dynamic;
    count->failing += verdict != NULL && verdict->effects.fails == ANSWER_YES;
    count->unknown += verdict != NULL && any_unknown(&verdict->effects);
    count->variables += source_marked(checked->source, MARK_VARIABLE, checked->start, checked->end);
}

static void count_statement(struct check_count *count, const struct checked *checked)
{
    const struct verdict *verdict = checked->verdict;
    count->statements++;
    count->down_statements += checked->down;
    if (checked->unread != UNREAD_NOT)
        count->unread[checked->unread]++;
    else if (checked->facts != NULL)
        count_judged(count, checked);
    for (size_t i = 0; verdict != NULL && i < verdict->n_findings; i++) {
        const struct finding *finding = &verdict->findings[i];
        if (finding->waived)
            count->waived += !checked->down;
        else
            (checked->down ? count->down : count->findings)[finding->action]++;
    }
}

/* ---- one statement ---- */

/* "INSERT": the first word, for statements that are not parsed. */
static char *first_word(const void *memory, const char *sql, size_t length)
{
    size_t n = 0;
    while (n < length && isalpha((unsigned char)sql[n]))
        n++;
    char *word = talloc_strndup(memory, sql, n);
    for (char *c = word; c != NULL && *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
    return word;
}

/* The table it is about, as written. */
static const struct name *table_name(const struct facts *facts)
{
    return facts->kind == STATEMENT_CREATE_INDEX || facts->object.name == NULL ? &facts->index_table
                                                                               : &facts->object;
}

static const struct catalog *ask(struct run *run, const struct checked *checked)
{
    struct check *check = run->check;
    const struct catalog *names = NULL;
    const char *error;
    bool guessed = source_marked(run->source, MARK_VARIABLE, checked->start, checked->end);
    if (check->connection == NULL || checked->down || guessed || check->failed ||
        checked->facts->status != FACTS_OK)
        return NULL;
    if (connection_ask(run->memory, check->connection, checked->facts, check->context.role, &names, &error))
        return names;
    fprintf(stderr, "pgsluice check: the server could not be asked: %s\n", error);
    check->failed = true;
    return NULL;
}

static struct verdict *judge_facts(struct run *run, const struct checked *checked, const void *memory)
{
    struct policy_context context = run->check->context;
    struct made *made = &run->made;
    context.in_transaction = made->in_transaction;
    context.held = made->held.table != NULL ? &made->held : NULL;
    context.before = made->facts;
    context.n_before = made->n;
    context.n_behind = comments_behind(&run->comments[checked->down], checked->start, &context.behind);
    context.whole = true;
    if (!checked->down && checked->facts->kind != STATEMENT_QUERY)
        context.n_readers =
            readers_for(memory, run->check->readers, run->check->file, checked->start, &context.readers);
    context.names = ask(run, checked);
    if (context.names != NULL) {
        context.text = checked->judged;
        context.length = checked->judged_length;
        context.asked_anew = true;
    }
    struct verdict *verdict = policy_judge(memory, checked->facts, &context);
    if (verdict != NULL)
        made_lock(run->memory, made, checked->facts, verdict);
    return verdict;
}

/* ", and golang-migrate sends …": what the author can't see in the file. */
static const char *wrapped_by(const struct run *run, const struct checked *checked, const char *why)
{
    const struct source *source = run->source;
    size_t section = 0, length = strlen(source->name);
    while (section + 1 < source->n_sections && source->sections[section + 1].at <= checked->start)
        section++;
    if (!run->wrapped || !run->made.in_transaction || strstr(why, "inside a transaction block") == NULL)
        return "";
    if (run->check->single_transaction)
        return ", and --single-transaction says that the file is run in one";
    if (source->sections[section].wrapping != WRAP_MESSAGE)
        return ", and the migration tool runs this section in one: tell it not to";
    return length > 13 && strcasecmp(source->name + length - 13, "migration.sql") == 0
               ? ", and Prisma sends the statements of this file as one: put each into a file of its own"
               : ", and golang-migrate sends the statements of this file as one: put each into a file of its "
                 "own";
}

/* That it certainly fails is worth a warning where no rule has one. */
static void add_failure(const struct run *run, const struct checked *checked, struct verdict *verdict)
{
    const char *why = verdict->effects.fails_with == NULL ? "" : verdict->effects.fails_with;
    size_t n = verdict->n_findings;
    if (verdict->effects.fails != ANSWER_YES || strncmp(why, "must be owner of ", 17) == 0)
        return; /* the rights of who asks say nothing of the migration */
    for (size_t i = 0; i < n; i++) {
        if (!verdict->findings[i].waived)
            return;
    }
    struct finding *more = talloc_realloc(verdict, verdict->findings, struct finding, (unsigned)n + 1);
    if (more == NULL)
        return;
    verdict->findings = more;
    more[n] =
        (struct finding){.rule = RULE_COUNT,
                         .action = ACTION_WARN,
                         .place = -1,
                         .message = talloc_asprintf(verdict, "this fails%s%s%s", *why == '\0' ? "" : ": ",
                                                    why, wrapped_by(run, checked, why))};
    verdict->n_findings = n + 1;
}

static const struct facts *read_facts(const struct run *run, const struct checked *checked,
                                      const void *memory)
{
    size_t limit = run->check->context.conf->limits.statement;
    return facts_of(memory, checked->judged, checked->judged_length, limit, true);
}

static void name_it(struct checked *checked, const void *memory)
{
    const struct name *table = table_name(checked->facts);
    checked->table = table->name == NULL ? "" : quote_name(memory, table);
    if (checked->facts->tag != NULL && checked->facts->tag[0] != '\0')
        checked->kind = checked->facts->tag;
}

static void judge(struct run *run, struct checked *checked, const void *memory)
{
    checked->facts = read_facts(run, checked, run->memory);
    if (checked->facts == NULL) {
        checked->unread = UNREAD_FAULT;
        return;
    }
    checked->unread = unread_of(checked->facts);
    name_it(checked, memory);
    struct verdict *verdict = judge_facts(run, checked, memory);
    if (verdict != NULL)
        add_failure(run, checked, verdict);
    checked->verdict = verdict;
    made_add(run->memory, &run->made, checked->facts);
}

/* A statement that changes no schema, in a transaction: does it lock a table, or work behind a lock? Unless
 * there is something to say of it, it stays one that nobody has read. */
static void pass_by(struct run *run, struct checked *checked, const void *memory)
{
    const struct made *made = &run->made;
    bool locks = strcmp(checked->kind, "LOCK") == 0;
    if (!made->in_transaction || (made->held.table == NULL && !locks))
        return;
    checked->facts = read_facts(run, checked, memory);
    if (checked->facts != NULL && checked->facts->status == FACTS_OK)
        checked->verdict = judge_facts(run, checked, memory);
    if (checked->verdict != NULL && checked->verdict->n_findings > 0) {
        name_it(checked, memory);
        return;
    }
    checked->facts = NULL;
    checked->verdict = NULL;
}

/* Does a statement of PostgreSQL begin with this word? (Those of "SQL Commands" in its manual.) One that
 * doesn't is a mistake, or newer than we are: that it changes no schema can't be said. */
static bool is_command(const char *word)
{
    static const char *const commands[] = {
        "ABORT",   "ALTER",   "ANALYZE", "ANALYSE", "BEGIN",    "CALL",      "CHECKPOINT",
        "CLOSE",   "CLUSTER", "COMMENT", "COMMIT",  "COPY",     "CREATE",    "DEALLOCATE",
        "DECLARE", "DELETE",  "DISCARD", "DO",      "DROP",     "END",       "EXECUTE",
        "EXPLAIN", "FETCH",   "GRANT",   "IMPORT",  "INSERT",   "LISTEN",    "LOAD",
        "LOCK",    "MERGE",   "MOVE",    "NOTIFY",  "PREPARE",  "REASSIGN",  "REFRESH",
        "REINDEX", "RELEASE", "RESET",   "REVOKE",  "ROLLBACK", "SAVEPOINT", "SECURITY",
        "SELECT",  "SET",     "SHOW",    "START",   "TABLE",    "TRUNCATE",  "UNLISTEN",
        "UPDATE",  "VACUUM",  "VALUES",  "WITH",    ""};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i], word) == 0)
            return true;
    }
    return false;
}

/* What changes how later statements are read. */
static void follow(struct run *run, const struct checked *checked, enum gate_class class)
{
    struct connection *connection = run->check->connection;
    if (class == GATE_TRANSACTION_BEGIN || class == GATE_TRANSACTION_END) {
        bool ended =
            made_transaction(&run->made, checked->sql, checked->sql_length, class == GATE_TRANSACTION_BEGIN);
        if (ended && connection != NULL)
            connection_transaction_ended(connection);
    } else if (connection != NULL && !checked->down) {
        const char *error =
            connection_follow(connection, checked->sql, checked->sql_length, run->made.in_transaction);
        if (error != NULL)
            fprintf(stderr, "pgsluice check: %s: not taken over: %.*s: %s\n", checked->source->name,
                    (int)(checked->sql_length < 80 ? checked->sql_length : 80), checked->sql, error);
    }
}

static void check_statement(struct run *run, const struct found *found, bool down)
{
    struct check *check = run->check;
    const char *sql = run->source->sql;
    size_t start = found->gate.start, end = found->gate.end, from = found->from, to = found->to;
    void *memory = talloc_new(run->memory);
    if (to - from > check->context.conf->limits.statement) { /* a long preface must not make it too long */
        from = start;
        to = end;
    }
    struct checked checked = {.source = run->source,
                              .start = start,
                              .end = end,
                              .sql = sql + start,
                              .sql_length = end - start,
                              .from = from,
                              .judged = sql + from,
                              .judged_length = to - from,
                              .kind = first_word(memory, sql + start, end - start),
                              .table = "",
                              .down = down};
    bool known = found->gate.class != GATE_OTHER || checked.kind == NULL || is_command(checked.kind);
    if (checked.kind == NULL)
        checked.unread = UNREAD_FAULT;
    else if (gate_class_judged(found->gate.class) || !known)
        judge(run, &checked, memory);
    else if (source_marked(run->source, MARK_GEXEC, start, to))
        checked.unread = UNREAD_GEXEC;
    else {
        if (found->gate.class == GATE_OTHER)
            pass_by(run, &checked, memory);
        follow(run, &checked, found->gate.class);
    }
    count_statement(&check->count, &checked);
    check->format->statement(check, &checked);
    talloc_free(memory);
}

/* ---- the file ---- */

/* What the file's up sections did stays known while there is a server to be asked: files run in order. */
static void keep(struct run *run)
{
    struct check *check = run->check;
    if (check->connection == NULL) {
        talloc_free(run->memory);
        return;
    }
    check->before = run->made.facts;
    check->n_before = run->made.n;
    connection_file_ended(check->connection);
}

/* A down section starts from nothing known; whatever stands behind it, from what stood in front. */
static void begin_section(struct run *run, struct made *up, bool down, size_t first)
{
    if (down) {
        *up = run->made;
        run->made = (struct made){.facts = NULL};
    }
    run->wrapped = wrapped(run, first);
    made_section(&run->made, run->wrapped);
}

void check_source(struct check *check, const struct source *source)
{
    struct run run = {.check = check, .source = source, .memory = talloc_new(check->connection)};
    struct made up = {.facts = NULL};
    bool was_down = false;
    run.made.facts = check->before;
    run.made.n = check->n_before;
    size_t limit = check->context.conf->limits.statement;
    bool fine = find_statements(&run);
    for (int down = 0; down < 2; down++)
        run.comments[down] = comments_gather(run.memory, source, down != 0, limit);
    for (size_t i = 0; fine && i < run.n_found; i++) {
        bool down = source->sections[run.found[i].section].down;
        if (was_down && !down)
            run.made = up;
        if (i == 0 || run.found[i].section != run.found[i - 1].section)
            begin_section(&run, &up, down && !was_down, i);
        was_down = down;
        check_statement(&run, &run.found[i], down && !check->down_counts);
    }
    if (was_down)
        run.made = up;
    check->failed = check->failed || !fine || run.made.failed;
    check->count.files++;
    check->file++;
    check->count.includes += source->includes;
    check->count.guessed += source->guessed;
    keep(&run);
}

bool check_found(const struct check_count *count, enum action at_least)
{
    for (int action = at_least; action < ACTION_COUNT; action++) {
        if (count->findings[action] > 0)
            return true;
    }
    return false;
}

unsigned check_unread(const struct check_count *count)
{
    unsigned n = 0;
    for (int i = UNREAD_NOT + 1; i < UNREAD_COUNT; i++)
        n += count->unread[i];
    return n;
}

const char *checked_rule(const struct finding *finding)
{
    return finding->rule < RULE_COUNT ? rule_name(finding->rule) : FAILS_NAME;
}

size_t checked_place(const struct checked *checked, const struct finding *finding)
{
    if (finding->place <= 0)
        return checked->start;
    size_t at = (size_t)finding->place + checked->from;
    return at >= checked->start && at < checked->source->length ? at : checked->start;
}

/*
 * Online changes in a judgement: the message's text with our statements in it, and statements that speak of a
 * column which isn't complete.
 *
 * Two sorts of such columns. One that this very transaction adds: the direct statement would have filled it
 * by now, so whoever would see it unfilled (by name, by `*`, whole rows, a CHECK on it) is
 * refused with the way to split the migration; a key, an index or NOT NULL waits as well, and finds it
 * filled. And one that somebody's change is still filling: who names it is answered as if it were not there,
 * as long as online.quarantine says so; `*` goes on.
 */
#include <string.h>
#include <talloc.h>

#include "parser/mentions.h"
#include "policy/catalog.h"
#include "policy/plan.h"
#include "proxy/session/judge_inside.h"

/* ---- columns that aren't complete -------------------------------------------------------------------- */

/* Another table of the same name, as the session's search_path has it. Where it could not be asked, the name
 * is taken for the one that it may be. */
static bool is_another(const struct judge_work *work, const struct judge_column *column,
                       const struct mention *mention)
{
    const struct name name = {.name = column->table};
    if (column->own || !column->relation || !mention->unqualified || !work->names)
        return false;
    const struct catalog_relation *found = catalog_relation(work->names, &name);
    return found && found->oid != column->relation;
}

/*
 * Its work waits as well, and is done behind that on the column: one transaction's changes of a table keep
 * their order. A CHECK is not among these: it is in force at once, and rows that aren't filled would break
 * it.
 */
static bool comes_behind(const struct judged *judged)
{
    const struct facts *facts = judged->facts;
    if (!facts || !judge_begins(judged))
        return false;
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        bool key = alter->kind == ALTER_ADD_CONSTRAINT && alter->constraint &&
                   (alter->constraint->kind == CONSTRAINT_UNIQUE ||
                    (alter->constraint->kind == CONSTRAINT_FOREIGN && alter->constraint->n_columns == 1));
        if (!key && alter->kind != ALTER_SET_NOT_NULL)
            return false;
    }
    return facts->n_alters > 0 || facts->kind == STATEMENT_CREATE_INDEX;
}

/* The column that the statement speaks of and must not; NULL: none. */
static const struct judge_column *spoken_of(const struct judge_work *work, const struct judged *judged,
                                            struct mentions *mentions, struct mention *mention)
{
    const struct judge_column *lists[] = {work->session.columns, work->own};
    size_t sizes[] = {work->session.n_columns, work->n_own};
    bool behind = comes_behind(judged);
    for (size_t list = 0; list < 2; list++)
        for (size_t i = 0; i < sizes[list]; i++) {
            const struct judge_column *column = &lists[list][i];
            if (column->begun || (column->own && behind))
                continue;
            *mention = mention_in(mentions, column->schema, column->table, column->column);
            if (is_another(work, column, mention))
                continue;
            if (mention->kind == MENTION_COLUMN || (column->own && mention->kind == MENTION_WHOLE))
                return column;
        }
    return NULL;
}

static void own_words(const struct judge_work *work, const struct judge_column *column,
                      struct judge_words *words)
{
    words->sqlstate = "SL001";
    words->constraint = "quarantine";
    words->message = talloc_asprintf(work,
                                     "refused by pgsluice (quarantine): column %s of %s is added online by "
                                     "this transaction, and this statement would see it unfilled",
                                     column->column, column->table);
    words->detail =
        "Its rows are filled after the COMMIT. Until then they are NULL, which is not what the statement "
        "would find if the column had been added directly.";
    words->hint = "Split the migration: COMMIT behind the ALTER TABLE (the COMMIT returns when the column is "
                  "complete), "
                  "and do this in a transaction of its own.";
}

static void quarantine_words(const struct judge_work *work, const struct judge_column *column,
                             struct judge_words *words)
{
    words->sqlstate = "42703";
    words->constraint = NULL;
    words->message = talloc_asprintf(work, "column \"%s\" does not exist", column->column);
    words->detail = talloc_asprintf(
        work,
        "pgsluice is adding it to %s.%s online (change %lld), and not all rows have their value "
        "yet: until the change is complete the column counts as not there.",
        column->schema, column->table, (long long)column->change);
    words->hint = talloc_asprintf(
        work,
        "Wait for the change (pgsluice changes show %lld), or set online.quarantine to warn or "
        "allow for this table.",
        (long long)column->change);
}

/* The column that the text names and whose table it leaves to search_path; NULL: none. */
static const struct judge_column *asked_of(const struct judge_work *work, const struct judge_reading *reading)
{
    const struct judge_column *found = NULL;
    struct mentions *mentions = mentions_new(work, reading->text, reading->length, work->scs);
    for (size_t i = 0; mentions && !found && i < work->session.n_columns; i++) {
        const struct judge_column *column = &work->session.columns[i];
        if (column->own || !column->relation)
            continue;
        struct mention mention = mention_in(mentions, column->schema, column->table, column->column);
        if (mention.kind == MENTION_COLUMN && mention.unqualified)
            found = column;
    }
    talloc_free(mentions);
    return found;
}

char *judge_columns_question(struct judge_work *work)
{
    for (size_t i = 0; i < work->n_places; i++) {
        const struct judge_reading *reading = &work->places[i].reading;
        const struct judge_column *column = reading->unread == UNREAD_NOT ? asked_of(work, reading) : NULL;
        if (column)
            return catalog_question_of_table(work, column->table);
    }
    return NULL;
}

static bool refuse(struct judge_job *job, struct judged *judged, const struct judge_words *words)
{
    judged->rank = REFUSAL_RULE;
    judged->server_reads = false;
    job->work->rank = REFUSAL_RULE;
    return judge_report_words(job, judged, words, true);
}

bool judge_columns(struct judge_job *job, struct judged *judged)
{
    struct judge_work *work = job->work;
    struct mention mention = {0};
    struct judge_words words = {0};
    bool there = work->session.n_columns || work->n_own;
    if (!there || judged->unread != UNREAD_NOT || judge_observes(work) || judged->rank >= REFUSAL_RULE)
        return true;
    struct mentions *mentions = mentions_new(work, judged->text, judged->length, work->scs);
    if (!mentions)
        return false;
    const struct judge_column *column = spoken_of(work, judged, mentions, &mention);
    talloc_free(mentions);
    if (!column && judge_behind(work, judged, &words))
        return refuse(job, judged, &words);
    if (!column || (!column->own && column->quarantine == QUARANTINE_ALLOW))
        return true;
    if (column->own)
        own_words(work, column, &words);
    else
        quarantine_words(work, column, &words);
    words.place = mention.place;
    if (!column->own && column->quarantine == QUARANTINE_WARN) {
        words.message = talloc_asprintf(work, "pgsluice: column %s of %s isn't complete yet", column->column,
                                        column->table);
        words.sqlstate = "01000";
        return judge_report_words(job, judged, &words, false);
    }
    return refuse(job, judged, &words);
}

/* ---- our statements ---------------------------------------------------------------------------------- */

/* The change that begins, and the columns that the plan leaves to be filled, for the statements behind it. */
void judge_added(struct judge_work *work, const struct judged *judged, struct judge_lock *lock)
{
    if (!judge_begins(judged))
        return;
    const struct plan *plan = judged->verdict->plan;
    struct judge_column *columns =
        talloc_zero_array(work, struct judge_column, (unsigned)plan->n_awaited + 1);
    for (size_t i = 0; columns && i < plan->n_awaited; i++) {
        columns[i].own = true;
        columns[i].schema = talloc_strdup(work, judged->facts->object.schema);
        columns[i].table = talloc_strdup(work, judged->facts->object.name);
        columns[i].column = talloc_strdup(work, plan->awaited[i]);
    }
    lock->n_columns = columns ? judge_begun(work, judged, &columns, plan->n_awaited) : 0;
    lock->columns = columns;
    work->own = talloc_realloc(work, work->own, struct judge_column, work->n_own + lock->n_columns + 1);
    for (size_t i = 0; work->own && i < lock->n_columns; i++)
        work->own[work->n_own++] = columns[i];
}

/* Keeps what goes in the statement's place, in the client's encoding. False: out of memory. */
bool judge_take_plan(struct judge_work *work, size_t index, const struct judged *judged)
{
    const struct plan *plan = judged->verdict ? judged->verdict->plan : NULL;
    if (!plan || judge_observes(work) || judged->rank != REFUSAL_NONE || !work->sql)
        return true;
    if (!work->rewrites)
        work->rewrites = talloc_zero_array(work, struct judge_rewrite, (unsigned)work->n_statements);
    if (!work->rewrites)
        return false;
    struct judge_rewrite *rewrite = &work->rewrites[work->n_rewrites];
    rewrite->statement = index;
    rewrite->text = text_from_utf8(work->rewrites, plan->text, work->session.client_encoding);
    rewrite->tag = talloc_strdup(work->rewrites, plan->tag);
    rewrite->change = plan->spec != NULL;
    uint32_t place = judge_report_place(work, judged);
    rewrite->start = place > 0 ? place - 1 : 0;
    rewrite->old_length = (uint32_t)utf8_characters(judged->text, judged->length);
    rewrite->new_length = place > 0 ? (uint32_t)utf8_characters(plan->text, strlen(plan->text)) : UINT32_MAX;
    if (!rewrite->text || !rewrite->tag)
        return false;
    work->n_rewrites++;
    return true;
}

static char *append(char *text, const char *bytes, size_t n)
{
    return text ? talloc_strndup_append_buffer(text, bytes, n) : NULL;
}

/* The author's own bytes, but for the statements that have another in their place. */
bool judge_compose(struct judge_job *job)
{
    struct judge_work *work = job->work;
    if (work->n_rewrites == 0)
        return true;
    char *text = talloc_strdup(work, "");
    struct rewrite *rewrites = talloc_zero_array(work, struct rewrite, (unsigned)work->n_rewrites);
    uint64_t at = 0;
    for (size_t i = 0; rewrites && i < work->n_rewrites; i++) {
        const struct judge_rewrite *one = &work->rewrites[i];
        const struct engine_statement *statement = &work->statements[one->statement];
        text = append(text, work->sql + at, (size_t)(statement->offset - at));
        text = append(text, one->text, strlen(one->text));
        at = statement->offset + statement->length;
        rewrites[i] = (struct rewrite){.statement = one->statement,
                                       .tag = one->tag,
                                       .change = one->change,
                                       .start = one->start,
                                       .old_length = one->old_length,
                                       .new_length = one->new_length};
    }
    text = append(text, work->sql + at, work->sql_length - (size_t)at);
    if (!text || !rewrites)
        return false;
    job->judgement.as = JUDGED_REWRITE;
    job->judgement.sql = text;
    job->judgement.rewrites = rewrites;
    job->judgement.n_rewrites = work->n_rewrites;
    return true;
}

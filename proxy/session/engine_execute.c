/*
 * What was judged when it was prepared over the protocol, and is executed: it is judged again, for the
 * record. It may be executed by an Execute, by EXECUTE in a Query (among other statements), and by an Execute
 * of a prepared EXECUTE; EXPLAIN ANALYZE EXECUTE runs a CREATE TABLE AS or SELECT INTO, while of any other
 * change it only says that it has no plan.
 *
 * Not seen: EXECUTE that a DO block or a function runs; and EXECUTE of what SQL itself prepared (PREPARE … AS
 * SELECT … INTO, from 15 on), which is on record as it is prepared.
 */
#include "proxy/session/engine_inside.h"

#include <talloc.h>

#define HOPS_MAX 16U /* EXECUTE of an EXECUTE of … */

struct execution execution_of(struct engine *engine, const char *sql, size_t length)
{
    struct execution execution = {.is = false};
    bool analyzed = false;
    for (unsigned hop = 0; hop < HOPS_MAX; hop++) {
        struct prepared_name name;
        enum word_execution word = word_execute(sql, length, &name);
        execution.is = execution.is || word != EXECUTION_NONE;
        execution.unreadable = word == EXECUTION_UNREADABLE;
        if (word == EXECUTION_NONE || execution.unreadable || !engine->prepared)
            return execution;
        if (analyzed && word == EXECUTION_ANALYZED) /* EXPLAIN of an EXPLAIN has no plan */
            return execution;
        analyzed = analyzed || word == EXECUTION_ANALYZED;
        struct prepared_text *text = prepared_find(engine->prepared, false, &name);
        if (!text || !text->executes) {
            bool runs = text && (!analyzed || (text->judged && word_makes_table(text->sql, text->length)));
            execution.text = runs ? text : NULL;
            return execution;
        }
        sql = text->sql;
        length = text->length;
    }
    execution.unreadable = true;
    return execution;
}

enum word_command execution_word(struct engine *engine, const char *sql, size_t length,
                                 struct prepared_name *name)
{
    enum word_command command = word_of(sql, length, name);
    if (command != WORD_NONE || !engine->prepared)
        return command;
    const struct prepared_text *text = execution_of(engine, sql, length).text;
    return text && !text->judged ? word_of(text->sql, text->length, name) : WORD_NONE;
}

bool held_add_run(struct held *held, struct prepared_text *text, unsigned index)
{
    size_t n = held->n_runs;
    if ((n & (n - 1)) == 0) /* room for 1, 2, 4, … */
        held->runs = talloc_realloc(held, held->runs, struct run, n ? n * 2 : 1);
    if (!held->runs)
        return false;
    text->references++;
    held->runs[held->n_runs++] = (struct run){text, index};
    return true;
}

/* The statement of a prepared text: there is one, or the server would have refused it. */
static void statement_of(const struct prepared_text *text, struct engine_statement *statement)
{
    struct gate gate;
    gate_init(&gate, text->scs, text_encoding_of(text->encoding));
    for (size_t at = 0; at < text->length;) {
        struct gate_statement found;
        bool is;
        at += gate_scan(&gate, (const uint8_t *)text->sql + at, text->length - at, &found, &is);
        if (!is && (at < text->length || !gate_finish(&gate, &found, NULL)))
            continue;
        *statement = (struct engine_statement){.text = text->sql + found.start,
                                               .length = (size_t)(found.end - found.start),
                                               .offset = found.start,
                                               .class = found.class};
        statement->work = text->watched && watch_work(statement->text, statement->length);
        statement->locks = text->locks && watch_locks(statement->text, statement->length);
        if (gate_class_judged(found.class))
            break;
    }
}

bool held_next_run(struct engine *engine)
{
    struct held *held = engine->held;
    if (held->next_run == held->n_runs)
        return false;
    const struct run *run = &held->runs[held->next_run++];
    held->statements = talloc_zero(held, struct engine_statement);
    if (!held->statements) {
        (void)engine_out_of_memory(engine, NULL);
        return false;
    }
    statement_of(run->text, held->statements);
    held->run = run;
    held->told = held->answered = false;
    held->judge.occasion = JUDGE_EXECUTE;
    held->judge.sql = run->text->sql;
    held->judge.sql_length = run->text->length;
    held->judge.n_statements = 1;
    held->judge.scs = run->text->scs;
    held->judge.uncertain = false;
    held->judge.too_long = run->text->too_long;
    held->judge.encoding = run->text->encoding;
    (void)held_tell(engine, held);
    return true;
}

size_t judge_execute(struct engine *engine, struct prepared_text *text, bool indirect,
                     const struct sinks *sinks)
{
    struct held *held = held_new(engine, JUDGE_EXECUTE);
    if (!held || !held_add_run(held, text, 0))
        return engine_out_of_memory(engine, sinks);
    held->only_watched = !text->judged;
    held->indirect = indirect;
    (void)held_next_run(engine);
    return 0;
}

size_t refuse_unreadable(struct engine *engine, const struct frame *frame, const struct sinks *sinks,
                         enum ledger_kind kind)
{
    return refuse(engine, frame, sinks, kind,
                  "pgsluice can't tell which prepared statement this EXECUTE is about",
                  "Write the statement's name without Unicode escapes, and EXECUTE it directly.");
}

/*
 * A statement's comments. The gate tells a statement from its first token to its last; a waiver may as well
 * stand in front of it or behind it. So where the message speaks of pgsluice at all, each judged statement is
 * widened to what lies between the semicolons around it. The gate finds those: a semicolon or a waiver inside
 * a string, a dollar quote or another statement is none.
 */
#include <string.h>
#include <strings.h>

#include "parser/gate.h"
#include "proxy/session/judge_inside.h"

static bool mentions(const char *text, size_t n, const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; i + length <= n; i++)
        if ((text[i] == 'p' || text[i] == 'P') && strncasecmp(text + i, word, length) == 0)
            return true;
    return false;
}

/* `from` and `to` are the borders of the statement `found`; *next is the first that may be meant. */
static void widen(struct judge_work *work, const struct gate_statement *found, uint64_t from, uint64_t to,
                  size_t *next)
{
    while (*next < work->n_statements && work->statements[*next].offset < found->start)
        ++*next;
    if (*next == work->n_statements)
        return;
    struct engine_statement *statement = &work->statements[*next];
    if (statement->offset != found->start || statement->length != found->end - found->start)
        return;
    statement->text = work->sql + from;
    statement->offset = from;
    statement->length = to - from;
    ++*next;
}

void judge_widen(struct judge_work *work)
{
    struct gate gate;
    struct gate_statement statement;
    uint64_t from = 0, at = 0;
    size_t next = 0;
    bool found;
    if (!work->sql || work->uncertain || !mentions(work->sql, work->sql_length, "pgsluice:"))
        return;
    gate_init(&gate, work->scs, text_encoding_of(work->session.client_encoding));
    while (at < work->sql_length) {
        at += gate_scan(&gate, (const uint8_t *)work->sql + at, work->sql_length - at, &statement, &found);
        if (!found)
            break;
        widen(work, &statement, from, at - (work->sql[at - 1] == ';'), &next);
        from = at;
    }
    if (gate_finish(&gate, &statement, NULL))
        widen(work, &statement, from, work->sql_length, &next);
}

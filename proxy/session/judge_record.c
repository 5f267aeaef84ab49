/*
 * The `decided` record of one judged statement.
 */
#include <string.h>
#include <talloc.h>

#include "proxy/session/judge_inside.h"

size_t judge_rules(const struct judged *judged, uint8_t rules[RULE_COUNT])
{
    bool seen[RULE_COUNT] = {false};
    size_t n = 0;
    for (size_t i = 0; judged->verdict && i < judged->verdict->n_findings; i++) {
        enum rule rule = judged->verdict->findings[i].rule;
        if (!seen[rule])
            rules[n++] = (uint8_t)rule;
        seen[rule] = true;
    }
    return n;
}

/* What a rule says: of several findings the gravest; "waived" where none of them counts. They are sorted so.
 */
static const char *action_of_rule(const struct verdict *verdict, enum rule rule)
{
    for (size_t i = 0; i < verdict->n_findings; i++) {
        const struct finding *finding = &verdict->findings[i];
        if (finding->rule == rule)
            return finding->waived ? "waived" : action_name(finding->action);
    }
    return action_name(ACTION_ALLOW);
}

/* The table that it is about, as SQL; NULL: none, or many. */
static const char *table_of(const void *memory, const struct facts *facts)
{
    if (!facts || facts->status != FACTS_OK)
        return NULL;
    bool on = facts->kind == STATEMENT_CREATE_INDEX || !facts->object.name;
    const struct name *table = on ? &facts->index_table : &facts->object;
    if (!table->name || (!on && strcmp(facts->object_kind, "TABLE") != 0))
        return NULL;
    return quote_name(memory, table);
}

static const char *given(const char *text)
{
    return text && *text ? text : NULL;
}

static const char *verdict_name(const struct judge_work *work, const struct judged *judged)
{
    if (judge_observes(work))
        return action_name(ACTION_ALLOW);
    if (judged->fault)
        return action_name(ACTION_REJECT);
    return action_name(judged->verdict ? judged->verdict->action : ACTION_ALLOW);
}

static const char *reason(const struct judged *judged)
{
    if (judged->fault)
        return judged->fault;
    if (judged->unread == UNREAD_INVALID)
        return "its bytes are not valid UTF-8: left to the server, which refuses them";
    return judged->facts && judged->facts->status != FACTS_OK ? judged->facts->error : NULL;
}

static bool is_rewritten(const struct judge_work *work, const struct judged *judged)
{
    const struct judge_rewrite *last = work->n_rewrites ? &work->rewrites[work->n_rewrites - 1] : NULL;
    return last && &work->statements[last->statement] == judged->statement;
}

uint64_t judge_record(const struct judge_work *work, const struct judged *judged, struct audit *audit)
{
    uint8_t rules[RULE_COUNT];
    const char *names[RULE_COUNT], *actions[RULE_COUNT];
    size_t n_rules = judge_rules(judged, rules), length = 0;
    for (size_t i = 0; i < n_rules; i++) {
        names[i] = rule_name((enum rule)rules[i]);
        actions[i] = action_of_rule(judged->verdict, (enum rule)rules[i]);
    }
    void *memory = talloc_new(NULL);
    const char *sql = memory ? judge_redact(memory, judged->text, judged->length, &length) : NULL;
    const struct facts *facts = judged->facts;
    const struct judge_session *session = &work->session;
    const struct audit_decided decided = {
        .session = session->session,
        .client = session->client,
        .user = session->user,
        .database = session->database,
        .application = given(session->application),
        .environment = given(work->conf->environment),
        .kind = facts ? given(facts->tag) : NULL,
        .object = facts ? given(facts->identity) : NULL,
        .table = sql ? table_of(memory, facts) : NULL,
        .lock = judged->verdict ? lock_mode_name(judged->verdict->effects.lock) : NULL,
        .sql = sql,
        .sql_length = length,
        .fingerprint = facts ? facts->fingerprint : 0,
        .verdict = verdict_name(work, judged),
        .would = judge_observes(work) && judged->verdict ? action_name(judged->verdict->would) : NULL,
        .rules = names,
        .actions = actions,
        .n_rules = n_rules,
        .waiver = judged->verdict ? judged->verdict->waiver : NULL,
        .rewritten = is_rewritten(work, judged),
        .reason = reason(judged)};
    uint64_t number = sql ? audit_decided(audit, &decided) : 0;
    if (number == 0 && sql && work->last_record && audit_wait(audit, work->last_record))
        number = audit_decided(audit, &decided); /* the queue was full of this message's own records */
    talloc_free(memory);
    return number;
}

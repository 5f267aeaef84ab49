/*
 * One statement: bytes to UTF-8, to facts, to a verdict.
 *
 * What cannot be read is still judged by policy, as the rule `unparseable`: so that rule's action, its
 * overrides, its waivers and profile observe mean the same whatever the reason. Decided safely:
 * - Bytes that are not valid in UTF8 are forwarded: every server checks that encoding (pg_any_to_server) and
 *   refuses them before it looks for a meaning.
 * - Bytes that iconv cannot read in another encoding count as unparseable: PostgreSQL's own tables may know
 *   characters that iconv's do not, so the server may well run the statement.
 * - A fault of our own is a refusal, even where `unparseable` is allowed.
 */
#include <string.h>
#include <strings.h>
#include <talloc.h>
#include <time.h>

#include "proxy/session/judge_inside.h"

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

bool judge_observes(const struct judge_work *work)
{
    return work->conf->policy.profile == PROFILE_OBSERVE;
}

static bool is_utf8(const char *encoding)
{
    return strcasecmp(encoding, "UTF8") == 0 || strcasecmp(encoding, "UNICODE") == 0;
}

/* Facts of a statement that was not given to the parser. */
static struct facts *no_facts(const void *memory, enum facts_status status, const char *error)
{
    struct facts *facts = talloc_zero(memory, struct facts);
    if (!facts)
        return NULL;
    facts->status = status;
    facts->error = error;
    facts->error_place = -1;
    facts->tag = "";
    facts->object_kind = "";
    facts->identity = "";
    facts->object.place = -1;
    facts->index_table.place = -1;
    return facts;
}

static struct facts *read_text(const void *memory, const struct judge_work *work,
                               struct judge_reading *reading)
{
    const char *encoding = work->session.client_encoding;
    size_t length;
    char *text = text_to_utf8(memory, reading->text, reading->length, encoding, &length);
    if (text) {
        reading->text = text;
        reading->length = length;
        return facts_of(memory, text, length, work->conf->limits.statement, work->scs);
    }
    reading->unread = is_utf8(encoding) ? UNREAD_INVALID : UNREAD_ENCODING;
    return no_facts(memory, FACTS_SYNTAX,
                    talloc_asprintf(memory, "it holds bytes that can't be read as %s", encoding));
}

static struct facts *read_facts(const void *memory, const struct judge_work *work,
                                struct judge_reading *reading)
{
    if (work->too_long) {
        reading->unread = UNREAD_TOO_LONG;
        return no_facts(memory, FACTS_TOO_LONG, "the message is longer than limits.held_message");
    }
    if (work->uncertain) {
        reading->unread = UNREAD_UNCERTAIN;
        return no_facts(memory, FACTS_SYNTAX, "how it reads depends on settings that are being changed");
    }
    return read_text(memory, work, reading);
}

static enum refusal_rank rank_of(const struct judge_work *work, const struct judged *judged)
{
    if (judge_observes(work) || (!judged->verdict && !judged->fault))
        return REFUSAL_NONE;
    if (judged->fault)
        return REFUSAL_FAULT;
    if (judged->unread == UNREAD_INVALID || judged->verdict->action <= ACTION_WARN)
        return REFUSAL_NONE;
    if (judged->verdict->action == ACTION_ONLINE && judged->verdict->plan)
        return REFUSAL_NONE;
    if (judged->facts->status == FACTS_OK)
        return REFUSAL_RULE;
    return judged->facts->status == FACTS_SYNTAX && judged->unread == UNREAD_NOT ? REFUSAL_SYNTAX
                                                                                 : REFUSAL_UNREAD;
}

void judge_read(const void *memory, const struct judge_work *work, const struct engine_statement *statement,
                struct judge_reading *reading)
{
    uint64_t start = now();
    *reading = (struct judge_reading){.text = statement->text, .length = statement->length};
    reading->facts = read_facts(memory, work, reading);
    reading->nanoseconds = now() - start;
}

bool judge_passes_by(const struct judged *judged)
{
    return judged->statement->class == GATE_OTHER && (!judged->verdict || judged->verdict->n_findings == 0);
}

/* A lock that is held when the statement comes: by the transaction of the message's beginning, or by a
 * statement of the message in front of it. */
static const struct policy_held *held_at(const struct judge_work *work, size_t index,
                                         struct policy_held *held)
{
    const struct engine_statement *statement = &work->statements[index];
    if (work->session.held && statement->ends == 0) {
        *held = *work->session.held;
        held->tell = held->tell && index == 0;
        return held;
    }
    if (!work->latest.table || work->latest_ends != statement->ends)
        return NULL;
    *held =
        (struct policy_held){.table = work->latest.table, .by = work->latest.by, .mode = work->latest.mode};
    return held;
}

/* Another text can only take the place of one that is held whole and was read as it stands. */
static bool may_plan(const struct judge_work *work, const struct judge_reading *reading)
{
    return work->session.nonce && work->sql && reading->unread == UNREAD_NOT;
}

/* What stands behind it in the message, as far as that was read. */
static size_t behind(const struct judge_work *work, const struct judge_place *place,
                     const struct facts *const **list)
{
    size_t from = place->n_before;
    if (from < work->n_before && work->before[from] == place->reading.facts)
        from++;
    *list = work->before ? work->before + from : NULL;
    return work->n_before - from;
}

/* Who can't read a statement that nobody has to judge lets it pass. */
static void judge_facts(const void *memory, const struct policy_context *context, struct judged *judged)
{
    bool read = judged->facts && judged->facts->status == FACTS_OK;
    if (judged->statement->class == GATE_OTHER && !read)
        return;
    if (!judged->facts)
        judged->fault = "out of memory";
    else if (judged->facts->status == FACTS_FAULT)
        judged->fault = judged->facts->error ? judged->facts->error : "the parser failed";
    if (judged->facts && judged->unread != UNREAD_INVALID)
        judged->verdict = policy_judge(memory, judged->facts, context);
    if (!judged->verdict && judged->unread != UNREAD_INVALID && !judged->fault)
        judged->fault = "out of memory";
}

void judge_statement(const void *memory, const struct judge_work *work, size_t index, struct judged *judged)
{
    uint64_t start = now();
    struct judge_place place = {.doubtful = true, .n_before = work->n_before, .since = work->n_before};
    if (index < work->n_places)
        place = work->places[index];
    else
        judge_read(memory, work, &work->statements[index], &place.reading);
    const struct judge_reading *reading = &place.reading;
    struct policy_held held;
    *judged = (struct judged){.statement = &work->statements[index],
                              .unread = reading->unread,
                              .text = reading->text,
                              .length = reading->length,
                              .facts = reading->facts};
    const struct facts *const *later;
    size_t n_later = behind(work, &place, &later);
    const struct policy_context context = {.conf = work->conf,
                                           .database = work->session.database,
                                           .role = work->session.user,
                                           .application = work->session.application,
                                           .server_version = work->session.server_version,
                                           .in_transaction = work->in_transaction,
                                           .held = held_at(work, index, &held),
                                           .start_waiver = work->session.start_waiver,
                                           .names = place.doubtful ? NULL : work->names,
                                           .since = work->session.since,
                                           .made = work->session.made,
                                           .n_made = work->session.n_made,
                                           .before = work->before ? work->before + place.since : NULL,
                                           .n_before = place.n_before - place.since,
                                           .first = judged->statement->index == 0 && index == 0,
                                           .behind = later,
                                           .n_behind = n_later,
                                           .text = may_plan(work, reading) ? reading->text : NULL,
                                           .length = reading->length,
                                           .backslashes = !work->scs,
                                           .nonce = work->session.nonce};
    judge_facts(memory, &context, judged);
    judged->rank = rank_of(work, judged);
    judged->server_reads = judged->rank == REFUSAL_SYNTAX;
    judged->nanoseconds = now() - start + (index < work->n_places ? reading->nanoseconds : 0);
}

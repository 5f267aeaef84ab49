/*
 * What a client is told: the refusal, and the warnings of statements that pass. All texts are made in UTF-8
 * and then put into the client's encoding. They hang below the job's work.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "proxy/session/judge_inside.h"

enum { TEXT_MAX = 4096, OTHERS_MAX = 5 };

/* ---- texts and places ------------------------------------------------------------------------------- */

/* In the client's encoding, cut between two characters. NULL stays NULL; *fine turns false for want of
 * memory. */
static const char *put(const struct judge_work *work, const char *utf8, bool *fine)
{
    if (!utf8)
        return NULL;
    size_t n = strlen(utf8);
    const char *cut = utf8;
    if (n > TEXT_MAX) {
        n = TEXT_MAX;
        while (((unsigned char)utf8[n] & 0xc0) == 0x80)
            n--;
        cut = talloc_asprintf(work, "%.*s ...", (int)n, utf8);
    }
    const char *result = cut ? text_from_utf8(work, cut, work->session.client_encoding) : NULL;
    *fine = *fine && result;
    return result;
}

/* Characters in front of a byte of the message. Statements come in order, so each byte is looked at once. */
static bool characters_before(struct judge_work *work, uint64_t offset, uint64_t *characters)
{
    struct place_counter *counter = &work->counter;
    if (!work->sql || counter->lost || offset < counter->bytes || offset > work->sql_length)
        return false;
    size_t length;
    char *text = text_to_utf8(work, work->sql + counter->bytes, (size_t)(offset - counter->bytes),
                              work->session.client_encoding, &length);
    if (!text) {
        counter->lost = true;
        return false;
    }
    counter->characters += utf8_characters(text, length);
    counter->bytes = offset;
    talloc_free(text);
    *characters = counter->characters;
    return true;
}

/* The finding's clause, or the statement's beginning; 0 where that cannot be counted. */
static uint32_t position(struct judge_work *work, const struct judged *judged, int place)
{
    uint64_t before;
    if (judged->unread == UNREAD_TOO_LONG || !characters_before(work, judged->statement->offset, &before))
        return 0;
    bool inside = place > 0 && (size_t)place <= judged->length && judged->unread == UNREAD_NOT;
    before += inside ? utf8_characters(judged->text, (size_t)place) : 0;
    return before < UINT32_MAX ? (uint32_t)before + 1 : 0;
}

uint32_t judge_report_place(struct judge_work *work, const struct judged *judged)
{
    return position(work, judged, -1);
}

/* Is this the name of a column in the statement? A finding's object may be a constraint too. */
static bool names_column(const struct facts *facts, const char *object)
{
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        bool of_column = alter->kind <= ALTER_DROP_IDENTITY || alter->kind == ALTER_RENAME_COLUMN;
        if (alter->column && alter->column->name && strcmp(alter->column->name, object) == 0)
            return true;
        if (of_column && alter->subject && strcmp(alter->subject, object) == 0)
            return true;
    }
    for (size_t i = 0; i < facts->n_columns; i++)
        if (strcmp(facts->columns[i].name, object) == 0)
            return true;
    return false;
}

static bool is_relation(const char *object_kind)
{
    static const char *const kinds[] = {"TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(object_kind, kinds[i]) == 0)
            return true;
    return false;
}

static bool put_names(const struct judge_work *work, const struct judged *judged,
                      const struct finding *finding, struct report *report)
{
    const struct facts *facts = judged->facts;
    bool fine = true;
    const struct name *table = facts->index_table.name ? &facts->index_table : &facts->object;
    if (facts->status != FACTS_OK || !table->name ||
        (table == &facts->object && !is_relation(facts->object_kind)))
        return true;
    report->schema = put(work, table->schema, &fine);
    report->table = put(work, table->name, &fine);
    if (finding->object && names_column(facts, finding->object))
        report->column = put(work, finding->object, &fine);
    return fine;
}

/* ---- words ------------------------------------------------------------------------------------------ */

static char *size_text(const void *memory, uint64_t bytes)
{
    if (bytes % (1 << 20) == 0)
        return talloc_asprintf(memory, "%" PRIu64 "MB", bytes >> 20);
    if (bytes % (1 << 10) == 0)
        return talloc_asprintf(memory, "%" PRIu64 "kB", bytes >> 10);
    return talloc_asprintf(memory, "%" PRIu64 "B", bytes);
}

struct words {
    const char *message, *detail, *hint;
};

/* Our own words where policy knows only that a statement cannot be read. */
static void unread_words(const struct judge_work *work, const struct judged *judged, struct words *words)
{
    const struct conf_limits *limits = &work->conf->limits;
    switch (judged->unread) {
    case UNREAD_TOO_LONG:
        words->message = "a schema change stands in a message that is too long to be judged";
        words->detail = talloc_asprintf(work, "The message is longer than limits.held_message (%s).",
                                        size_text(work, limits->held_message));
        words->hint = "Send the schema change in a message of its own: split the file, or let psql send it "
                      "statement by statement. Or raise limits.held_message.";
        break;
    case UNREAD_UNCERTAIN:
        words->message =
            "a schema change can't be judged, because how the text reads depends on a setting that "
            "is being changed";
        words->detail =
            "standard_conforming_strings or client_encoding may change before the server gets this "
            "text, and it reads differently with each value.";
        words->hint = "Set them first, in a message of their own, and wait for the answer before sending the "
                      "schema change.";
        break;
    case UNREAD_ENCODING:
        words->message = talloc_asprintf(work,
                                         "a schema change can't be judged, because it holds bytes that "
                                         "can't be read as %s",
                                         work->session.client_encoding);
        words->detail = "The server may know characters there that pgsluice does not.";
        words->hint = "Set client_encoding to UTF8 and send the statement in that.";
        break;
    case UNREAD_NOT:
    case UNREAD_INVALID:
        break;
    }
    if (judged->facts->status == FACTS_TOO_LONG && judged->unread == UNREAD_NOT)
        words->hint =
            talloc_asprintf(work, "Split the statement, or raise limits.statement (%s; at most 1MB).",
                            size_text(work, limits->statement));
}

/* The detail, and what else the same statement would be refused for or warned of. */
static const char *with_others(const struct judge_work *work, const struct finding *findings, size_t n,
                               const char *detail)
{
    char *text = talloc_strdup(work, detail ? detail : "");
    for (size_t i = 1; i < n && i <= OTHERS_MAX; i++)
        text = talloc_asprintf_append(text, "%sAlso %s: %s.", text && *text ? "\n" : "",
                                      rule_name(findings[i].rule), findings[i].message);
    if (n > OTHERS_MAX + 1)
        text = talloc_asprintf_append(text, "\nAnd %zu more.", n - OTHERS_MAX - 1);
    return text;
}

static char *token_of(const struct judge_work *work, enum rule rule)
{
    if (rule == RULE_unparseable)
        return talloc_strdup(work, "pgsluice_unparseable");
    char *token = talloc_asprintf(work, "pgsluice_refused_%s", rule_name(rule));
    for (char *at = token; at && *at; at++)
        *at = *at == '-' ? '_' : *at;
    return token;
}

static bool put_finding(struct judge_work *work, const struct judged *judged, const struct finding *finding,
                        struct words words, const char *prefix, struct report *report)
{
    bool fine = true;
    char *message = talloc_asprintf(work, "%s (%s): %s", prefix, rule_name(finding->rule), words.message);
    report->message = message ? put(work, message, &fine) : NULL;
    report->detail = put(work, words.detail, &fine);
    report->hint = put(work, words.hint, &fine);
    report->constraint = rule_name(finding->rule);
    report->position = position(work, judged, finding->place);
    fine = put_names(work, judged, finding, report) && fine;
    return fine && report->message;
}

/* ---- refusal ---------------------------------------------------------------------------------------- */

static bool refuse_fault(struct judge_job *job, const struct judged *judged)
{
    bool fine = true;
    judgement_fault(
        &job->judgement, "pgsluice refused this: judging it failed inside pgsluice",
        "Try again. If it happens again, look at pgsluice's log and report the statement; to get it "
        "through, run it on a direct connection to the server.");
    char *detail = talloc_asprintf(job->work, "The cause: %s.", judged->fault);
    job->judgement.refusal.detail = put(job->work, detail, &fine);
    return fine;
}

bool judge_report_refusal(struct judge_job *job, const struct judged *judged)
{
    struct judge_work *work = job->work;
    if (judged->rank == REFUSAL_FAULT)
        return refuse_fault(job, judged);
    /* the findings are sorted: the first one is the gravest, and it is not waived */
    size_t n;
    const struct finding *finding = verdict_told(work, judged->verdict, &n);
    if (!finding || n == 0)
        return false;
    struct words words = {finding->message, finding->detail, finding->hint};
    unread_words(work, judged, &words);
    words.detail = with_others(work, finding, n, words.detail);

    struct report report = {.severity = "ERROR"};
    memcpy(report.sqlstate, judged->rank == REFUSAL_RULE ? "SL001" : "SL004", sizeof report.sqlstate);
    char *token = token_of(work, finding->rule);
    if (!token || !words.detail || !put_finding(work, judged, finding, words, "refused by pgsluice", &report))
        return false;
    job->judgement.as = JUDGED_REFUSE;
    job->judgement.token = token;
    job->judgement.refusal = report;
    return true;
}

void judge_report_audit(struct judge_job *job, struct audit *audit)
{
    struct audit_state state;
    audit_state(audit, &state);
    bool fine = true;
    char *detail = talloc_asprintf(job->work, "The reason: %s. Other statements go on.",
                                   *state.error ? state.error : "the record could not be written in time");
    judgement_fault(
        &job->judgement, "pgsluice refused this: the audit log can't be written, so DDL is refused",
        "Make room for the audit log or repair its file system; pgsluice tries again every second. "
        "pgsluice_audit_up tells the state.");
    job->judgement.refusal.detail = put(job->work, detail, &fine);
}

/* ---- warnings --------------------------------------------------------------------------------------- */

static struct report *notice(struct judge_work *work, size_t most)
{
    if (work->n_notices == most)
        return NULL;
    if (!work->notices)
        work->notices = talloc_zero_array(work, struct report, JUDGE_NOTICES + 1);
    return work->notices ? &work->notices[work->n_notices] : NULL;
}

bool judge_report_notices(struct judge_job *job, const struct judged *judged)
{
    struct judge_work *work = job->work;
    if (judge_observes(work) || !judged->verdict || judged->rank != REFUSAL_NONE)
        return true;
    size_t n;
    const struct finding *findings = verdict_told(work, judged->verdict, &n);
    if (!findings)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct finding *finding = &findings[i];
        if (work->n_notices == JUDGE_NOTICES) {
            work->n_unsaid++;
            continue;
        }
        struct report *report = notice(work, JUDGE_NOTICES);
        if (!report)
            return false;
        struct words words = {finding->message, finding->detail, finding->hint};
        if (judged->facts->status != FACTS_OK)
            unread_words(work, judged, &words);
        bool online = finding->action == ACTION_ONLINE;
        *report = (struct report){.severity = online ? "NOTICE" : "WARNING"};
        /* 01000, warning: clients that look at the class of an SQLSTATE know what to make of it */
        memcpy(report->sqlstate, online ? "SL101" : "01000", sizeof report->sqlstate);
        if (!put_finding(work, judged, finding, words, online ? "pgsluice does this online" : "pgsluice",
                         report))
            return false;
        work->n_notices++;
    }
    return true;
}

bool judge_report_words(struct judge_job *job, const struct judged *judged, const struct judge_words *words,
                        bool refuse)
{
    struct judge_work *work = job->work;
    bool fine = true;
    struct report report = {.severity = refuse ? "ERROR" : "WARNING", .constraint = words->constraint};
    snprintf(report.sqlstate, sizeof report.sqlstate, "%s", words->sqlstate);
    report.message = put(work, words->message, &fine);
    report.detail = put(work, words->detail, &fine);
    report.hint = put(work, words->hint, &fine);
    report.position = position(work, judged, words->place);
    struct report *place = refuse ? &job->judgement.refusal : notice(work, JUDGE_NOTICES);
    if (!fine || !report.message)
        return false;
    if (!place)
        return true; /* enough was said */
    *place = report;
    work->n_notices += !refuse;
    if (refuse) {
        job->judgement.as = JUDGED_REFUSE;
        job->judgement.token = "pgsluice_quarantine";
    }
    return true;
}

bool judge_report_unsaid(struct judge_job *job)
{
    struct judge_work *work = job->work;
    if (work->n_unsaid == 0)
        return true;
    struct report *report = notice(work, JUDGE_NOTICES + 1);
    char *message = talloc_asprintf(
        work, "pgsluice: %zu more warnings of this message are in the audit log only", work->n_unsaid);
    if (!report || !message)
        return false;
    *report = (struct report){.severity = "WARNING", .message = message};
    memcpy(report->sqlstate, "01000", sizeof report->sqlstate);
    work->n_notices++;
    return true;
}

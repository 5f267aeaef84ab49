/*
 * What the catalog is asked in front of a message: one question for all its statements, in the client's
 * encoding; and the answer.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "policy/catalog.h"
#include "proxy/session/judge_inside.h"

enum {
    QUESTION_MAX = 256 * 1024, /* bytes: a message that mentions more names is judged as its text says */
    VERSION_FIRST = 130000
};

/* Statements that the server takes only outside a transaction block, or that behave otherwise inside one. */
static bool minds_blocks(const struct facts *facts)
{
    static const char *const tags[] = {"VACUUM",
                                       "CLUSTER",
                                       "REINDEX",
                                       "DO",
                                       "CREATE DATABASE",
                                       "DROP DATABASE",
                                       "ALTER DATABASE",
                                       "ALTER SYSTEM",
                                       "CREATE TABLESPACE",
                                       "DROP TABLESPACE",
                                       "CREATE SUBSCRIPTION",
                                       "ALTER SUBSCRIPTION",
                                       "DROP SUBSCRIPTION"};
    if (facts->concurrently)
        return true;
    for (size_t i = 0; i < facts->n_alters; i++)
        if (facts->alters[i].concurrently || facts->alters[i].kind == ALTER_DETACH_PARTITION_FINALIZE)
            return true;
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        if (facts->tag && strcmp(facts->tag, tags[i]) == 0)
            return true;
    return false;
}

/* Adds the lists of one statement's questions to those of all. */
static bool merge(json_t *all, const char *text)
{
    json_t *one = json_loads(text, 0, NULL);
    json_t *list;
    const char *key;
    bool fine = one != NULL;
    json_object_foreach(one, key, list)
    {
        json_t *seen = json_object_get(all, key);
        json_t *name;
        size_t i;
        if (!seen) {
            seen = json_object();
            fine = json_object_set_new(all, key, seen) == 0 && fine;
        }
        json_array_foreach(list, i, name)
        {
            const char *value = json_string_value(name);
            fine = fine && value && json_object_set_new(seen, value, json_true()) == 0;
        }
    }
    json_decref(one);
    return fine;
}

static bool lists_of_names(json_t *all)
{
    json_t *seen;
    const char *key;
    void *next;
    bool fine = true;
    json_object_foreach_safe(all, next, key, seen)
    {
        json_t *list = json_array();
        json_t *unused;
        const char *name;
        json_object_foreach(seen, name, unused)
        {
            fine = json_array_append_new(list, json_string(name)) == 0 && fine;
        }
        fine = json_object_set_new(all, key, list) == 0 && fine;
    }
    return fine;
}

/* The questions of the message, in UTF-8; NULL: none, or no memory. */
static char *questions_of(struct judge_work *work)
{
    char *text = NULL;
    bool ask = false;
    json_t *all = json_object();
    bool fine = all != NULL;
    for (size_t i = 0; i < work->n_places && fine; i++) {
        const struct judge_place *place = &work->places[i];
        const struct facts *facts = place->reading.facts;
        const struct engine_statement *statement = &work->statements[i];
        if (statement->class == GATE_OTHER && !statement->work)
            continue;
        if (!facts || facts->status != FACTS_OK || place->doubtful)
            continue;
        if (work->in_pipeline && minds_blocks(facts)) {
            json_decref(all);
            return NULL;
        }
        /* The first thing a session makes is worth a question about nothing: what is made since is new. */
        if (facts->kind == STATEMENT_CREATE_TABLE && work->session.since == 0)
            ask = true;
        char *one = catalog_questions(work, facts);
        fine = !one || merge(all, one);
        talloc_free(one);
    }
    char *dumped =
        fine && (ask || json_object_size(all)) && lists_of_names(all) ? json_dumps(all, JSON_COMPACT) : NULL;
    if (dumped)
        text = talloc_strdup(work, dumped);
    free(dumped);
    json_decref(all);
    return text;
}

/* As the client would write it. NULL where its encoding hasn't all the names: half a question would be
 * answered wrongly. */
static const char *in_clients_encoding(struct judge_work *work, const char *utf8)
{
    const char *encoding = work->session.client_encoding;
    size_t n = 0;
    const char *text = text_from_utf8(work, utf8, encoding);
    const char *back = text ? text_to_utf8(work, text, strlen(text), encoding, &n) : NULL;
    return back && n == strlen(utf8) && memcmp(back, utf8, n) == 0 ? text : NULL;
}

bool judge_asks(struct judge_job *job)
{
    struct judge_work *work = job->work;
    if (job->asked || !work->may_ask || work->session.server_version < VERSION_FIRST)
        return false;
    char *utf8 = questions_of(work);
    if (!utf8 && work->session.n_columns)
        utf8 = judge_columns_question(work);
    const char *text = utf8 && strlen(utf8) <= QUESTION_MAX ? in_clients_encoding(work, utf8) : NULL;
    if (!text)
        return false;
    job->question_sql = catalog_sql();
    job->question = text;
    return true;
}

void judge_answer(struct judge_job *job, const char *answer, size_t length)
{
    struct judge_work *work = job->work;
    job->asked = true;
    work->answer = answer ? talloc_memdup(work, answer, length + !length) : NULL;
    work->answer_length = work->answer ? length : 0;
}

void judge_hear(struct judge_work *work)
{
    if (work->answer)
        work->names = catalog_read(work, work->answer, work->answer_length);
    if (work->names && work->session.since == 0)
        work->session.since = work->names->now;
    talloc_free(work->answer);
    work->answer = NULL;
}

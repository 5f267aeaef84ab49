/*
 * The truthful server. One message a step; simple and extended query as in exec_simple_query and its
 * siblings, errors as in PostgresMain: what was read as extended query makes it skip to the next Sync, all
 * else ends with ReadyForQuery.
 */
#include "server_model.h"

#include <stdio.h>
#include <stdlib.h>

void model_init(struct model *model)
{
    *model = (struct model){.status = 'I'};
    writer_init(&model->in, (size_t)1 << 26);
    writer_init(&model->said, (size_t)1 << 26);
    writer_init(&model->seen, (size_t)1 << 26);
}

void model_release(struct model *model)
{
    writer_release(&model->in);
    writer_release(&model->said);
    writer_release(&model->seen);
}

/* ---- saying ------------------------------------------------------------------------------------------ */

static void say(struct model *model, uint8_t type, const char *payload, size_t n)
{
    struct writer *out[] = {&model->said, &model->seen};
    for (int i = 0; i < 2; i++) {
        size_t begun = writer_begin(out[i], type);
        writer_bytes(out[i], payload, n);
        writer_end(out[i], begun);
    }
}

static void say_ready(struct model *model)
{
    if (model->status == 'I' || model->implicit_failed)
        memset(model->portals, 0, sizeof model->portals);
    model->implicit_failed = false;
    say(model, 'Z', &model->status, 1);
}

static void say_error(struct model *model, const char *sqlstate, bool refusal)
{
    struct message_error error = {
        .severity = "ERROR", .severity_plain = "ERROR", .sqlstate = sqlstate, .message = "syntax error"};
    message_error_write(&model->said, SERVER_ERROR, &error);
    if (refusal)
        error = (struct message_error){
            .severity = "ERROR", .severity_plain = "ERROR", .sqlstate = "SL001", .message = "refused"};
    message_error_write(&model->seen, SERVER_ERROR, &error);
}

static void failed(struct model *model, const char *sqlstate, bool refusal)
{
    say_error(model, sqlstate, refusal);
    model->implicit_failed = model->status == 'I';
    if (model->status == 'T')
        model->status = 'E';
    model->copying = false;
    if (model->extended)
        model->skipping = true;
    else
        say_ready(model);
}

/* ---- statements -------------------------------------------------------------------------------------- */

static bool is_end(const char *statement)
{
    return strncmp(statement, "ROLLBACK", 8) == 0 || strncmp(statement, "COMMIT", 6) == 0;
}

static unsigned slot(const char *name)
{
    return *name ? 1 + (unsigned)(name[0] - 'a') % (MODEL_NAMES - 1) : 0;
}

/* False: it failed, or copy mode began and the rest waits for its end. */
static bool run_statement(struct model *model, const char *statement)
{
    if (model->status == 'E' && !is_end(statement)) {
        failed(model, "25P02", false);
        return false;
    }
    if (strncmp(statement, "ERROR", 5) == 0) {
        failed(model, "22012", false);
        return false;
    }
    if (strncmp(statement, "COPY", 4) == 0) {
        say(model, 'G', "\0\0\0", 3);
        model->copying = true;
        if (strncmp(statement, "COPY FAIL", 9) == 0)
            failed(model, "P0001", false);
        return false;
    }
    if (strncmp(statement, "EXECUTE ", 8) == 0) {
        const char *text = model->statements[slot(statement + 8)];
        if (!*text)
            failed(model, "26000", false);
        return *text && run_statement(model, text + 1);
    }
    const char *tag = "DONE";
    if (strncmp(statement, "BEGIN", 5) == 0) {
        tag = "BEGIN";
        model->status = 'T';
    } else if (is_end(statement)) {
        tag = model->status == 'E' || *statement == 'R' ? "ROLLBACK" : "COMMIT";
        model->status = 'I';
    }
    model->executed(model->argument, statement);
    say(model, 'C', tag, strlen(tag) + 1);
    return true;
}

/* From `rest` on; ReadyForQuery when all is done. */
static void run_query(struct model *model)
{
    while (model->rest && *model->rest) {
        char statement[128];
        size_t n = strcspn(model->rest, ";");
        snprintf(statement, sizeof statement, "%.*s", (int)n, model->rest);
        model->rest += n + (model->rest[n] == ';');
        model->rest += *model->rest == ' ';
        if (!run_statement(model, statement)) {
            if (!model->copying)
                model->rest = NULL;
            return;
        }
    }
    model->rest = NULL;
    say_ready(model);
}

static void simple_query(struct model *model, const char *sql)
{
    model->extended = false;
    memset(model->statements[0], 0, sizeof model->statements[0]);
    memset(model->portals[0], 0, sizeof model->portals[0]);
    if (strstr(sql, MODEL_TOKEN)) {
        failed(model, "42601", true);
        return;
    }
    snprintf(model->query, sizeof model->query, "%s", sql);
    model->rest = model->query;
    if (!*sql)
        say(model, 'I', "", 0);
    run_query(model);
}

/* ---- extended query ---------------------------------------------------------------------------------- */

static void parse(struct model *model, const uint8_t *payload, size_t n)
{
    struct message_parse parse;
    if (!message_parse_read(payload, n, &parse)) {
        failed(model, "08P01", false);
        return;
    }
    unsigned i = slot(parse.name);
    if (i == 0)
        memset(model->statements[0], 0, sizeof model->statements[0]);
    if (strstr(parse.sql, MODEL_TOKEN))
        failed(model, "42601", true);
    else if (model->status == 'E' && !is_end(parse.sql))
        failed(model, "25P02", false);
    else if (strchr(parse.sql, ';'))
        failed(model, "42601", false);
    else if (i && model->statements[i][0])
        failed(model, "42P05", false);
    else {
        snprintf(model->statements[i], sizeof model->statements[i], "=%s", parse.sql);
        say(model, '1', "", 0);
    }
}

static void bind(struct model *model, const uint8_t *payload, size_t n)
{
    struct message_bind bind;
    if (!message_bind_read(payload, n, &bind)) {
        failed(model, "08P01", false);
        return;
    }
    const char *text = model->statements[slot(bind.statement)];
    unsigned to = slot(bind.portal);
    if (!*text)
        failed(model, "26000", false);
    else if (model->status == 'E' && !is_end(text + 1))
        failed(model, "25P02", false);
    else if (to && model->portals[to][0])
        failed(model, "42P03", false);
    else {
        memcpy(model->portals[to], text, sizeof model->portals[to]);
        say(model, '2', "", 0);
    }
}

static void execute(struct model *model, const uint8_t *payload, size_t n)
{
    struct message_execute execute;
    if (!message_execute_read(payload, n, &execute)) {
        failed(model, "08P01", false);
        return;
    }
    const char *text = model->portals[slot(execute.portal)];
    if (!*text)
        failed(model, "34000", false);
    else if (!text[1])
        say(model, 'I', "", 0);
    else
        (void)run_statement(model, text + 1);
}

static void describe_or_close(struct model *model, uint8_t type, const uint8_t *payload, size_t n)
{
    struct message_target target;
    if (!message_target_read(payload, n, &target)) {
        failed(model, "08P01", false);
        return;
    }
    char *text =
        target.kind == 'P' ? model->portals[slot(target.name)] : model->statements[slot(target.name)];
    if (type == 'C') {
        *text = 0;
        say(model, '3', "", 0);
    } else if (!*text) {
        failed(model, target.kind == 'P' ? "34000" : "26000", false);
    } else {
        if (target.kind == 'S')
            say(model, 't', "\0\0", 2);
        say(model, text[1] == 'S' ? 'T' : 'n', "\0\0", text[1] == 'S' ? 2 : 0);
    }
}

/* ---- messages ---------------------------------------------------------------------------------------- */

static void copy_message(struct model *model, uint8_t type)
{
    if (type == 'c') {
        model->copying = false;
        say(model, 'C', "COPY 1", 7);
        if (model->rest)
            run_query(model);
    } else if (type == 'f') {
        model->rest = NULL;
        failed(model, "57014", false);
    } else if (!strchr("dHS", type)) {
        model->dead = true; /* protocol synchronization was lost */
    }
}

static void sync_message(struct model *model)
{
    model->skipping = false;
    model->extended = false;
    say_ready(model);
}

static void message(struct model *model, uint8_t type, const uint8_t *payload, size_t n)
{
    if (strchr("PBEDCH", type))
        model->extended = true;
    else if (strchr("QFSdcfX", type))
        model->extended = false;
    if (model->skipping && !strchr("SX", type))
        return;
    if (type == 'Q')
        simple_query(model, (const char *)payload);
    else if (type == 'P')
        parse(model, payload, n);
    else if (type == 'B')
        bind(model, payload, n);
    else if (type == 'E')
        execute(model, payload, n);
    else if (type == 'D' || type == 'C')
        describe_or_close(model, type, payload, n);
    else if (type == 'S')
        sync_message(model);
    else if (type == 'H' && n)
        failed(model, "08P01", false);
    else if (type == 'F') {
        say(model, 'V', "\0\0\0\0", 4);
        say_ready(model);
    } else if (!strchr("Hdcf", type)) {
        model->dead = true;
    }
}

bool model_run(struct model *model)
{
    size_t left = model->in.length - model->at;
    if (model->dead || left < FRAME_HEADER)
        return false;
    const uint8_t *bytes = model->in.bytes + model->at;
    size_t total = (size_t)frame_u32(bytes + 1) + 1;
    if (left < total)
        return false;
    /* A copy with a NUL behind it, so that a Query can be read as a string. */
    uint8_t *payload = calloc(total, 1);
    if (!payload)
        abort();
    memcpy(payload, bytes + FRAME_HEADER, total - FRAME_HEADER);
    model->at += total;
    if (model->copying)
        copy_message(model, *bytes);
    else
        message(model, *bytes, payload, total - FRAME_HEADER);
    free(payload);
    return true;
}

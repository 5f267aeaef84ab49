/*
 * One text judged as a file, on a thread with the parser's stack; for the tests of `pgsluice check`.
 */
#ifndef PGSLUICE_TESTS_UNIT_TEST_CHECK_HELP_H
#define PGSLUICE_TESTS_UNIT_TEST_CHECK_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <talloc.h>

#include "proxy/check/ahead.h"
#include "proxy/check/report.h"

#define RISKY "ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid()"

static const char *const waivers[] = {"dba"};
static const struct conf conf = {.environment = "",
                                 .limits = {.statement = 256 << 10},
                                 .policy = {.profile = PROFILE_STANDARD,
                                            .waiver_roles = (const char **)waivers,
                                            .n_waiver_roles = 1,
                                            .waiver_require_reason = true}};

struct job {
    const char *text;
    size_t length;
    const char *name;   /* NULL: m.sql */
    const char *format; /* NULL: text */
    bool down_counts;
    const char *role;
    const struct conf *conf; /* NULL: conf */
    char *out;
    struct check_count count;
};

static void *run_job(void *argument)
{
    struct job *job = argument;
    size_t size;
    struct check check = {.context = {.conf = job->conf == NULL ? &conf : job->conf,
                                      .database = "",
                                      .role = job->role == NULL ? "" : job->role,
                                      .application = ""},
                          .format = report_format_of(job->format == NULL ? "text" : job->format),
                          .down_counts = job->down_counts,
                          .out = open_memstream(&job->out, &size)};
    const char *why;
    struct source *source =
        source_of(NULL, job->name == NULL ? "m.sql" : job->name, job->text, job->length, NULL, &why);
    check.readers = readers_new(source);
    readers_gather(check.readers, source, 0, check.context.conf->limits.statement);
    if (check.format->begin != NULL)
        check.format->begin(&check);
    check_source(&check, source);
    if (check.format->end != NULL)
        check.format->end(&check);
    report_coverage(&check, check.out);
    talloc_free(source);
    fclose(check.out);
    job->count = check.count;
    return NULL;
}

/* The caller frees job->out. */
static void run(struct job *job)
{
    pthread_t thread;
    if (job->length == 0)
        job->length = strlen(job->text);
    assert_int_equal(parser_thread_create(&thread, run_job, job), 0);
    pthread_join(thread, NULL);
}

#endif

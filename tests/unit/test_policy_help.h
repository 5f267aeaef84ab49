/*
 * What the tests of the policy share: a configuration out of text, a verdict out of SQL, and a thread with
 * the parser's stack to run on.
 */
#ifndef PGSLUICE_TESTS_TEST_POLICY_HELP_H
#define PGSLUICE_TESTS_TEST_POLICY_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <talloc.h>

#include "policy/policy.h"

static const char head[] = "listen: [{address: 127.0.0.1, port: 6432}]\n"
                           "upstream: {host: 127.0.0.1, port: 5432}\n";

static inline struct conf *configured(const char *policy)
{
    struct conf_mistakes mistakes = {0};
    char *text = talloc_asprintf(NULL, "%s%s", head, policy);
    struct conf *conf = conf_load_text(text, strlen(text), "-", &mistakes);
    if (conf == NULL) {
        fprintf(stderr, "%u:%u: %s\n%s", mistakes.items[0].line, mistakes.items[0].column,
                mistakes.items[0].text, text);
        abort();
    }
    conf_mistakes_free(&mistakes);
    talloc_free(text);
    return conf;
}

static inline struct verdict *judged(const void *memory, const char *sql,
                                     const struct policy_context *context)
{
    struct facts *facts = facts_of(memory, sql, strlen(sql), PARSER_TEXT_MAX, true);
    return policy_judge(memory, facts, context);
}

static inline struct policy_context context_of(const struct conf *conf)
{
    return (struct policy_context){
        .conf = conf, .database = "app", .role = "deploy", .application = "psql", .server_version = 150004};
}

/* The tests of a file, run on a thread that may parse. */
static inline int on_parser_thread(void *(*run)(void *))
{
    int failed = 1;
    pthread_t thread;
    if (parser_thread_create(&thread, run, &failed) != 0)
        return 1;
    pthread_join(thread, NULL);
    return failed;
}

#endif

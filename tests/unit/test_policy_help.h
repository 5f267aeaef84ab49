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

#include "policy/catalog.h"
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

/* What a server might have answered: the table public.orders (id integer, status text) as said, a few types,
 * and gen_random_uuid(). `nothing` was asked for, and isn't there. */
static inline struct catalog *catalog_of(const void *memory, const struct catalog_relation *said)
{
    static const char *path[] = {"pg_catalog", "public"}, *asked[] = {"orders", "nothing"};
    static struct catalog_column columns[] = {
        {.number = 1, .name = "id", .type = 23, .modifier = -1, .type_text = "integer", .is_local = true},
        {.number = 2, .name = "status", .type = 25, .modifier = -1, .type_text = "text", .is_local = true}};
    static struct catalog_type types[] = {
        {.oid = 23, .schema = "pg_catalog", .name = "int4", .type = 'b', .category = 'N', .modifier = -1},
        {.oid = 25, .schema = "pg_catalog", .name = "text", .type = 'b', .category = 'S', .modifier = -1},
        {.oid = 114, .schema = "pg_catalog", .name = "json", .type = 'b', .category = 'U', .modifier = -1},
        {.oid = 2950, .schema = "pg_catalog", .name = "uuid", .type = 'b', .category = 'U', .modifier = -1}};
    static struct catalog_function functions[] = {{.oid = 3432,
                                                   .schema = "pg_catalog",
                                                   .name = "gen_random_uuid",
                                                   .volatility = CATALOG_VOLATILE,
                                                   .kind = 'f',
                                                   .result = 2950}};
    struct catalog *catalog = talloc_zero(memory, struct catalog);
    struct catalog_relation *relation = talloc(catalog, struct catalog_relation);
    *relation = *said;
    relation->exists = true;
    relation->may_own = true;
    relation->oid = 16384;
    relation->schema = "public";
    relation->name = "orders";
    relation->columns = columns;
    relation->n_columns = 2;
    *catalog = (struct catalog){.server_version = 150004,
                                .database = "app",
                                .user = "deploy",
                                .session_user = "deploy",
                                .path = path,
                                .n_path = 2,
                                .asked = asked,
                                .n_asked = 2,
                                .relations = relation,
                                .n_relations = 1,
                                .types = types,
                                .n_types = 4,
                                .functions = functions,
                                .n_functions = 1};
    return catalog;
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

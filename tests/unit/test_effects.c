/*
 * Effects and findings against tests/sql/effects.tsv: a new case is a new line there, no code.
 *
 * The same file is compared with real servers by tests/sql/effects_measure.py. Each row is judged for every
 * server version that it speaks of, and twice, since a verdict must not depend on what was judged before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <talloc.h>

#include "policy/policy.h"

enum { FIRST_SERVER = 13, LAST_SERVER = 18, N_FIELDS = 9 };
enum { SERVERS, TABLE, LOCK, REWRITE, SCAN, INDEX_BUILD, FAILS, RULES, STATEMENT };

static const struct conf conf = {
    .environment = "",
    .policy = {.profile = PROFILE_STANDARD, .small_table_rows = 10000, .small_table_size = 8 << 20}};

static bool applies(const char *servers, int version)
{
    if (strcmp(servers, "all") == 0)
        return true;
    char *end;
    long low = strtol(servers, &end, 10), high = low;
    if (*end == '+')
        high = LAST_SERVER;
    else if (*end == '-')
        high = strtol(end + 1, NULL, 10);
    return low <= version && version <= high;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "inline-unique:reject,volatile-default:reject", sorted; "-" for none. */
static char *findings_text(const struct verdict *verdict)
{
    const char *one[64];
    size_t n = verdict->n_findings < 64 ? verdict->n_findings : 64;
    for (size_t i = 0; i < n; i++)
        one[i] = talloc_asprintf(verdict, "%s:%s", rule_name(verdict->findings[i].rule),
                                 action_name(verdict->findings[i].action));
    qsort(one, n, sizeof *one, by_text);
    char *all = talloc_strdup(verdict, n == 0 ? "-" : "");
    for (size_t i = 0; i < n; i++)
        all = talloc_asprintf_append(all, "%s%s", i > 0 ? "," : "", one[i]);
    return all;
}

static unsigned differ(const char *what, const char *want, const char *have, int version,
                       const char *statement)
{
    if (strcmp(want, have) == 0)
        return 0;
    fprintf(stderr, "%s\n    server %d, %s: file %s, policy %s\n", statement, version, what, want, have);
    return 1;
}

static unsigned judge_row(char *const *field, int version)
{
    void *memory = talloc_new(NULL);
    const struct policy_context context = {
        .conf = &conf, .database = "", .role = "", .application = "", .server_version = version * 10000};
    const char *statement = field[STATEMENT];
    struct facts *facts = facts_of(memory, statement, strlen(statement), PARSER_TEXT_MAX, true);
    const struct verdict *verdict = policy_judge(memory, facts, &context);
    const struct effects *effects = &verdict->effects;
    const char *rules = findings_text(verdict);
    unsigned wrong = 0;
    wrong += differ("lock", field[LOCK], lock_mode_name(effects->lock), version, statement);
    wrong += differ("rewrite", field[REWRITE], answer_name(effects->rewrite), version, statement);
    wrong += differ("scan", field[SCAN], answer_name(effects->scan), version, statement);
    wrong += differ("index_build", field[INDEX_BUILD], answer_name(effects->index_build), version, statement);
    wrong += differ("fails", field[FAILS], answer_name(effects->fails), version, statement);
    wrong += differ("rules", field[RULES], rules, version, statement);
    wrong += differ("rules, judged again", rules, findings_text(policy_judge(memory, facts, &context)),
                    version, statement);
    talloc_free(memory);
    return wrong;
}

static void *judge_file(void *argument)
{
    unsigned *wrong = argument;
    FILE *file = fopen(TEST_DATA "/sql/effects.tsv", "r");
    assert_non_null(file);
    char *line = NULL;
    size_t size = 0, rows = 0;
    while (getline(&line, &size, file) > 0) {
        char *field[N_FIELDS], *at = line;
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        for (int i = 0; i < N_FIELDS; i++) {
            field[i] = strsep(&at, "\t");
            if (field[i] == NULL) {
                fprintf(stderr, "effects.tsv: a row with %d fields\n", i);
                abort();
            }
        }
        for (int version = FIRST_SERVER; version <= LAST_SERVER; version++)
            *wrong += applies(field[SERVERS], version) ? judge_row(field, version) : 0;
        rows++;
    }
    free(line);
    fclose(file);
    *wrong += rows < 100; /* the file was really read */
    return NULL;
}

static void test_file(void **state)
{
    unsigned wrong = 0;
    pthread_t thread;
    assert_int_equal(parser_thread_create(&thread, judge_file, &wrong), 0);
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

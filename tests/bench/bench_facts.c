/*
 * What reading a statement costs: bench_facts prints microseconds a statement for typical ones, and the time
 * and the memory for the largest that are read at all.
 */
#include "parser/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <talloc.h>
#include <time.h>

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void measure(const char *name, const char *text, size_t length, double for_seconds)
{
    unsigned long runs = 0;
    double start = now(), end = start + for_seconds;
    enum facts_status status = FACTS_OK;
    do {
        struct facts *facts = facts_of(NULL, text, length, PARSER_TEXT_MAX, true);
        status = facts ? facts->status : FACTS_FAULT;
        talloc_free(facts);
        runs++;
    } while (now() < end);
    printf("%-28s %8zu bytes %12.1f us  status %d\n", name, length, (now() - start) / (double)runs * 1e6,
           (int)status);
}

static void large(const char *name, const char *head, const char *unit, const char *tail, size_t size)
{
    char *text = malloc(size + 1), *to = text;
    if (!text)
        return;
    to = stpcpy(to, head);
    while ((size_t)(to - text) + strlen(unit) + strlen(tail) <= size)
        to = stpcpy(to, unit);
    to = stpcpy(to, tail);
    measure(name, text, (size_t)(to - text), 0);
    free(text);
}

static void *run(void *unused)
{
    static const char *const typical[][2] = {
        {"add a column",
         "ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE"},
        {"five subcommands", "ALTER TABLE app.orders ADD a int, ADD b text DEFAULT 'x' NOT NULL, DROP c, "
                             "ADD CONSTRAINT k CHECK (d > 0) NOT VALID, ALTER e TYPE bigint USING e::bigint"},
        {"create a table", "CREATE TABLE t (id bigserial PRIMARY KEY, a text NOT NULL, b int DEFAULT 0, "
                           "c timestamptz DEFAULT now(), FOREIGN KEY (b) REFERENCES u (id))"},
        {"create an index", "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a, b)"},
        {"a DO block", "DO $$ BEGIN IF NOT EXISTS (SELECT 1) THEN ALTER TABLE t ADD c int; END IF; "
                       "EXECUTE format('DROP TABLE %I', 'x'); END $$"},
        {"a syntax error", "ALTER TABLE t ADD COLUMN"}};
    for (size_t i = 0; i < sizeof typical / sizeof *typical; i++)
        measure(typical[i][0], typical[i][1], strlen(typical[i][1]), 0.5);
    for (size_t size = 1 << 18; size <= PARSER_TEXT_MAX; size *= 4) {
        large("a list of tables", "DROP TABLE a", ",a", "", size);
        large("a list of values", "CREATE VIEW v AS VALUES (1)", ",(1)", "", size);
        large("a sum", "ALTER TABLE t ADD c int DEFAULT 1", "+1", "", size);
        large("columns", "CREATE TABLE t (a int", ", column_name varchar(20) NOT NULL DEFAULT 'x'", ")",
              size);
        large("statements in DO", "DO $$BEGIN ", "DROP TABLE a;", "END$$", size);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("most memory in use at any time: %ld MB\n", usage.ru_maxrss / 1024);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    if (parser_thread_create(&thread, run, NULL) != 0)
        return 1;
    return pthread_join(thread, NULL) != 0;
}

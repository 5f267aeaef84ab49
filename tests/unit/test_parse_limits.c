/*
 * No text can end the process: PARSER_TEXT_MAX bytes of the most deeply nested texts that are known, each
 * read on a thread of PARSER_STACK bytes. The deepest touch of the stack is measured and has to stay below
 * half of it, so that the pair of constants has a margin; the time is bounded too.
 *
 * The proof is that of an ordinary build. libpg_query, the one that recurses without a limit, is the system's
 * library and has the same frames in a sanitized build, where only the allocations of the trees take many
 * times as long: there the texts are shorter, to find errors of memory, and the text printed says so.
 */
#include "parser/facts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <talloc.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#    define TEXT_SIZE ((size_t)1 << 16)
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define TEXT_SIZE ((size_t)1 << 16)
#    endif
#endif
#ifndef TEXT_SIZE
#    define TEXT_SIZE PARSER_TEXT_MAX
#endif

enum { ORDINARY_DEPTH = 300, SLOWEST = 30 /* seconds, on a loaded machine under a sanitizer */ };

struct text {
    const char *name, *head, *unit, *middle, *closing, *tail;
};

/* head + unit × n + middle + closing × n + tail */
static const struct text texts[] = {
    {"1+1+1", "ALTER TABLE t ADD c int DEFAULT 1", "+1", "", "", ""},
    {"1^1^1", "ALTER TABLE t ADD c int DEFAULT 1", "^1", "", "", ""},
    {"- - -", "ALTER TABLE t ADD c int DEFAULT ", "- ", "1", "", ""},
    {"@@@", "ALTER TABLE t ADD c int DEFAULT ", "@ ", "1", "", ""},
    {"NOT NOT", "ALTER TABLE t ADD c bool CHECK (", "NOT ", "a", "", ")"},
    {"((((", "ALTER TABLE t ADD c int DEFAULT ", "(", "1", ")", ""},
    {"(((( unclosed", "ALTER TABLE t ADD c int DEFAULT ", "(", "1", "", ""},
    {"[1][1]", "ALTER TABLE t ADD CHECK (a", "[1]", "", "", " > 0)"},
    {"[[[[", "ALTER TABLE t ADD c int DEFAULT a", "[a", "", "]", ""},
    {"ARRAY[ARRAY[", "ALTER TABLE t ADD c int[] DEFAULT ", "ARRAY[", "1", "]", ""},
    {"ARRAY[[[", "ALTER TABLE t ADD c int[] DEFAULT ARRAY", "[", "1", "]", ""},
    {"a.b.c.d", "ALTER TABLE t ADD CHECK (a", ".b", "", "", " > 0)"},
    {"(a).b.b", "ALTER TABLE t ADD CHECK ((a)", ".b", "", "", " > 0)"},
    {"::int::int", "ALTER TABLE t ADD c int DEFAULT 1", "::int", "", "", ""},
    {"CAST(CAST(", "ALTER TABLE t ADD c int DEFAULT ", "CAST(", "1", " AS int)", ""},
    {"IS NULL IS NULL", "ALTER TABLE t ADD CHECK (a", " IS NULL", "", "", ")"},
    {"IS TRUE IS TRUE", "ALTER TABLE t ADD CHECK (a", " IS TRUE", "", "", ")"},
    {"COLLATE COLLATE", "ALTER TABLE t ADD c text DEFAULT a", " COLLATE b", "", "", ""},
    {"AT TIME ZONE", "ALTER TABLE t ADD CHECK (a", " AT TIME ZONE b", "", "", ")"},
    {"CASE CASE", "ALTER TABLE t ADD c int DEFAULT ", "CASE WHEN a THEN ", "1", " END", ""},
    {"CASE in WHEN", "ALTER TABLE t ADD c int DEFAULT ", "CASE WHEN ", "a", " THEN a END", ""},
    {"CASE many WHEN", "ALTER TABLE t ADD c int DEFAULT CASE", " WHEN a THEN 1", "", "", " END"},
    {"f(f(f(", "ALTER TABLE t ADD c int DEFAULT ", "f(", "1", ")", ""},
    {"coalesce", "ALTER TABLE t ADD c int DEFAULT ", "coalesce(", "1", ")", ""},
    {"ROW(ROW(", "ALTER TABLE t ADD c int DEFAULT ", "ROW(", "1", ")", ""},
    {"a AND b", "ALTER TABLE t ADD CHECK (a", " AND b", "", "", ")"},
    {"a AND b OR c", "ALTER TABLE t ADD CHECK (a", " AND b OR c", "", "", ")"},
    {"(a AND (b OR", "ALTER TABLE t ADD CHECK (", "(a AND ", "a", ")", ")"},
    {"a IN (a IN", "ALTER TABLE t ADD CHECK (", "a IN (", "a", ")", ")"},
    {"BETWEEN", "ALTER TABLE t ADD CHECK (a", " BETWEEN 1 AND 1", "", "", ")"},
    {"a LIKE a LIKE", "ALTER TABLE t ADD CHECK (", "a LIKE (", "a", ")", ")"},
    {"a || b", "ALTER TABLE t ADD c text DEFAULT 'a'", "||'b'", "", "", ""},
    {"OPERATOR(+)", "ALTER TABLE t ADD c int DEFAULT 1", " OPERATOR(+) 1", "", "", ""},
    {"JOIN", "CREATE VIEW v AS SELECT 1 FROM a", " CROSS JOIN b", "", "", ""},
    {"nested JOIN", "CREATE VIEW v AS SELECT 1 FROM ", "(", "a", " CROSS JOIN b)", ""},
    {"JOIN ON", "CREATE VIEW v AS SELECT 1 FROM a", " JOIN b ON c", "", "", ""},
    {"UNION", "CREATE VIEW v AS SELECT 1", " UNION SELECT 1", "", "", ""},
    {"UNION (", "CREATE VIEW v AS ", "SELECT 1 UNION (", "SELECT 1", ")", ""},
    {"VALUES", "CREATE VIEW v AS VALUES (1)", ",(1)", "", "", ""},
    {"subselects", "CREATE VIEW v AS ", "SELECT (", "SELECT 1", ")", ""},
    {"FROM (SELECT", "CREATE VIEW v AS ", "SELECT 1 FROM (", "SELECT 1", ") a", ""},
    {"WITH", "CREATE VIEW v AS ", "WITH a AS (", "SELECT 1", ") SELECT 1", ""},
    {"EXISTS", "CREATE VIEW v AS SELECT ", "EXISTS(SELECT ", "1", ")", ""},
    {"XMLELEMENT", "CREATE VIEW v AS SELECT ", "xmlelement(name a, ", "1", ")", ""},
    {"INSERT in WITH", "CREATE RULE r AS ON INSERT TO t DO ALSO ", "WITH a AS (INSERT INTO t ", "SELECT 1",
     " RETURNING 1) SELECT 1", ""},
    {"int[][]", "ALTER TABLE t ADD c int", "[]", "", "", ""},
    {"int(1,1", "ALTER TABLE t ADD c int(1", ",1", "", "", ")"},
    {"column list", "CREATE TABLE t (a int", ",a int", "", "", ")"},
    {"constraints", "ALTER TABLE t ADD c int", " NOT NULL", "", "", ""},
    {"subcommands", "ALTER TABLE t ADD a int", ",ADD a int", "", "", ""},
    {"DROP list", "DROP TABLE a", ",a", "", "", ""},
    {"operators", "ALTER TABLE t ADD c int DEFAULT 1 ", "+", "", "", " 1"},
    {"comments", "ALTER TABLE t ADD c int ", "/*", "", "*/", ""},
    {"open comments", "ALTER TABLE t ADD c int ", "/*", "", "", ""},
    {"line comments", "ALTER TABLE t ADD c int ", "--\n", "", "", ""},
    {"long name", "ALTER TABLE t ADD ", "x", " int", "", ""},
    {"long string", "ALTER TABLE t ADD c text DEFAULT '", "''", "'", "", ""},
    {"strings", "ALTER TABLE t ADD c text DEFAULT 'a'", "\n'a'", "", "", ""},
    {"backslashes", "ALTER TABLE t ADD c text DEFAULT f('\\'')", ", ADD c text DEFAULT '\\''", "", "", ""},
    {"virtual", "ALTER TABLE t ADD c int", " GENERATED ALWAYS AS (1)", "", "", ""},
    {"semicolons", "ALTER TABLE t ADD c int", ";", "", "", ""},
    {"DO statements", "DO $$BEGIN ", "DROP TABLE a;", "END$$", "", ""},
    {"DO ifs", "DO $$BEGIN ", "IF a THEN ", "", "END IF;", "END$$"},
    {"DO blocks", "DO $$BEGIN ", "BEGIN ", "", "END;", "END$$"},
    {"DO execute", "DO $$BEGIN EXECUTE ", "format('%s%1$s', ", "'DROP TABLE a;'", ")", ";END$$"},
    {"DO executes", "DO $$BEGIN ", "EXECUTE format('%1$s%1$s%1$s%1$s', 'DROP TABLE a;');", "END$$", "", ""},
    {"DO concatenation", "DO $$BEGIN EXECUTE 'DROP TABLE a'", "||'a'", ";END$$", "", ""},
    {"function arguments", "CREATE FUNCTION f(a int", ",a int", "", "", ") RETURNS int LANGUAGE sql AS ''"},
    {"BEGIN ATOMIC", "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC ", "SELECT 1;", "END", "",
     ""},
    {"partition bounds", "ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (1", ",1", "", "", ")"},
    {"JSON", "CREATE VIEW v AS SELECT a", "->'b'", "", "", ""},
};

static char *fill(const struct text *text, size_t size, size_t *length)
{
    size_t each = strlen(text->unit) + strlen(text->closing);
    size_t fixed = strlen(text->head) + strlen(text->middle) + strlen(text->tail);
    size_t n = (size - fixed) / each;
    char *all = malloc(size + 1), *to = all;
    assert_non_null(all);
    to = stpcpy(to, text->head);
    for (size_t i = 0; i < n; i++)
        to = stpcpy(to, text->unit);
    to = stpcpy(to, text->middle);
    for (size_t i = 0; i < n; i++)
        to = stpcpy(to, text->closing);
    to = stpcpy(to, text->tail);
    *length = (size_t)(to - all);
    assert_true(*length <= size);
    return all;
}

/* ---- one text on a thread whose stack can be looked at --------------------------------------------------
 */

struct run {
    const char *text;
    size_t length;
    bool scs;
    enum facts_status status;
    size_t touched; /* bytes of stack */
    double seconds;
};

/* The stack is fresh memory: pages that were never touched are not resident. */
static size_t resident(const char *from, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = size / page, first = 0;
    unsigned char *map = malloc(pages);
    assert_non_null(map);
    assert_int_equal(mincore((void *)(uintptr_t)from, pages * page, map), 0);
    while (first < pages && !(map[first] & 1))
        first++;
    free(map);
    return (pages - first) * page;
}

static void *run_one(void *argument)
{
    struct run *run = argument;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    struct facts *facts = facts_of(NULL, run->text, run->length, PARSER_TEXT_MAX, run->scs);
    clock_gettime(CLOCK_MONOTONIC, &after);
    run->seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    run->status = facts ? facts->status : FACTS_FAULT;
    talloc_free(facts);

    pthread_attr_t attributes;
    void *stack;
    size_t size;
    assert_int_equal(pthread_getattr_np(pthread_self(), &attributes), 0);
    assert_int_equal(pthread_attr_getstack(&attributes, &stack, &size), 0);
    pthread_attr_destroy(&attributes);
    run->touched = resident(stack, size);
    return NULL;
}

/* What an earlier text touched of a stack that glibc hands out again would only raise the figure. */
static void run_text(struct run *run)
{
    pthread_t thread;
    assert_int_equal(parser_thread_create(&thread, run_one, run), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void worst_texts(bool scs)
{
    size_t deepest = 0, size = TEXT_SIZE;
    double slowest = 0;
    const char *deepest_name = "", *slowest_name = "";
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct run run = {.scs = scs};
        run.text = fill(&texts[i], size, &run.length);
        run_text(&run);
        free((void *)(uintptr_t)run.text);
        if (run.touched > deepest) {
            deepest = run.touched;
            deepest_name = texts[i].name;
        }
        if (run.seconds > slowest) {
            slowest = run.seconds;
            slowest_name = texts[i].name;
        }
        print_message("  %-20s %s %6.2f s %5zu MB of stack\n", texts[i].name,
                      run.status == FACTS_OK         ? "read    "
                      : run.status == FACTS_TOO_DEEP ? "too deep"
                      : run.status == FACTS_TOO_LONG ? "too long"
                      : run.status == FACTS_SYNTAX   ? "refused "
                                                     : "fault   ",
                      run.seconds, run.touched >> 20);
        assert_int_not_equal(run.status, FACTS_FAULT);
        assert_true(run.touched < PARSER_STACK / 2);
        assert_true(run.seconds < SLOWEST);
    }
    print_message("%zu bytes%s: deepest %s (%zu of %zu MB), slowest %s (%.2f s)\n", size,
                  size < PARSER_TEXT_MAX ? " (sanitized, no proof)" : "", deepest_name, deepest >> 20,
                  PARSER_STACK >> 20, slowest_name, slowest);
}

static void test_worst_texts(void **state)
{
    worst_texts(true);
}

static void test_worst_texts_without_scs(void **state)
{
    worst_texts(false);
}

/* What people write is far from the limits. */
static void test_ordinary_depth_is_read(void **state)
{
    for (size_t i = 0; i < 3; i++) {
        struct run run = {.scs = true};
        run.text = fill(&texts[i], strlen(texts[i].head) + (size_t)2 * ORDINARY_DEPTH, &run.length);
        run_text(&run);
        free((void *)(uintptr_t)run.text);
        assert_int_equal(run.status, FACTS_OK);
    }
}

static void test_limits(void **state)
{
    struct facts *facts = facts_of(NULL, "DROP TABLE t", 12, 11, true);
    assert_int_equal(facts->status, FACTS_TOO_LONG);
    talloc_free(facts);
    facts = facts_of(NULL, "DROP TABLE t", 12, 12, true);
    assert_int_equal(facts->status, FACTS_OK);
    talloc_free(facts);
    char *text = malloc(PARSER_TEXT_MAX + 1);
    assert_non_null(text);
    memset(text, ' ', PARSER_TEXT_MAX + 1);
    facts = facts_of(NULL, text, PARSER_TEXT_MAX + 1, PARSER_TEXT_MAX + 1, true);
    assert_int_equal(facts->status, FACTS_TOO_LONG);
    talloc_free(facts);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worst_texts),
        cmocka_unit_test(test_worst_texts_without_scs),
        cmocka_unit_test(test_ordinary_depth_is_read),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The gate against PostgreSQL's own lexer and parser: on the statements of tests/sql/gate (paragraphs, apart
 * by an empty line), on texts composed of fragments, and with standard_conforming_strings off on the same
 * texts with each plain string's E left out.
 */
#include "test_gate_model.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXTS = 30000, TEXT_MAX = 4096 };

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(random_state >> 33) % n;
}

static size_t cut_at_random(void *context, size_t left)
{
    (void)context;
    size_t n = 1 + random_below(12);
    return n < left ? n : left;
}

static struct gate_list scan(const char *text, bool scs, gate_cut *cut)
{
    struct gate_list list;
    gate_list_of(&list, (const uint8_t *)text, strlen(text), scs, TEXT_ASCII_SAFE, cut, NULL);
    return list;
}

struct counts {
    unsigned texts, compared, parsed, judged;
};

static void check_text(const char *name, const char *text, struct counts *counts)
{
    struct gate_list whole = scan(text, true, NULL), cut = scan(text, true, cut_at_random);
    const char *why = gate_list_difference(&whole, &cut);
    if (why)
        fail_msg("%s, cut: %s\n%s", name, why, text);
    bool parsed;
    enum model_verdict verdict = gate_model_compare(&whole, text, &why, &parsed);
    if (verdict == MODEL_DIFFERS)
        fail_msg("%s: %s\n%s", name, why, text);
    counts->texts++;
    counts->compared += verdict == MODEL_AGREES;
    counts->parsed += parsed;
    for (size_t i = 0; i < whole.n; i++)
        counts->judged += gate_class_judged(whole.statements[i].class);
}

/* ---- files ------------------------------------------------------------------------------------------ */

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s can't be opened", path);
    static char buffer[1 << 18];
    size_t n = fread(buffer, 1, sizeof buffer - 1, file);
    fclose(file);
    buffer[n] = 0;
    return buffer;
}

static struct counts check_file(const char *name, bool must_parse)
{
    struct counts counts = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s/sql/gate/%s", TEST_DATA, name);
    random_state = 3;
    for (char *text = read_file(path), *next; text; text = next) {
        next = strstr(text, "\n\n");
        if (next) {
            *next = 0;
            next += 2;
        }
        unsigned before = counts.parsed;
        check_text(name, text, &counts);
        if (must_parse && counts.parsed == before)
            fail_msg("%s: not valid for the parser: %s", name, text);
    }
    return counts;
}

static void test_ddl_files(void **state)
{
    (void)state;
    static const char *const names[] = {"alter.sql", "create.sql", "other_ddl.sql"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct counts counts = check_file(names[i], true);
        print_message("%s: %u texts, %u statements to be judged\n", names[i], counts.texts, counts.judged);
        assert_true(counts.texts > 30);
        assert_true(counts.judged >= counts.texts);
    }
}

/* Nothing in these may cost a visit to the parser. */
static void test_other_files(void **state)
{
    (void)state;
    struct counts counts = check_file("query.sql", true);
    assert_int_equal(counts.judged, 0);
    assert_true(counts.texts > 30);
    counts = check_file("utility.sql", true);
    assert_int_equal(counts.judged, 0);
    assert_true(counts.texts > 10);
}

/* ---- composed texts --------------------------------------------------------------------------------- */

/* Pieces of statements; "'" in a piece that has no prefix of its own is written E' where `escapes` is wanted.
 */
static const char *const pieces[] = {
    "select",
    "SELECT 1",
    "select a, b from t",
    "from t",
    "where a = b",
    "insert into t values (1)",
    "into",
    "INTO x",
    "alter table t add c int",
    "create table t (a int)",
    "create view v as select 1",
    "drop table a",
    "truncate t",
    "begin",
    "BEGIN",
    "commit",
    "end",
    "END",
    "atomic",
    "case",
    "case when a then b end",
    "when",
    "then",
    "else",
    "create function f() returns int begin atomic",
    "create or replace procedure p() begin atomic",
    "create function f() returns int language sql as",
    "return 1",
    "as",
    "AS",
    "or",
    "replace",
    "function",
    "with a as (select 1)",
    "with a as (insert into t values (1) returning b)",
    "with recursive a(b) as (select 1)",
    "explain",
    "explain analyze",
    "explain (costs off)",
    "vacuum",
    "full",
    "(full)",
    "(\"full\")",
    "analyze t",
    "prepare p as",
    "prepare transaction",
    "execute p",
    "do",
    "set a to 1",
    "reset a",
    "grant a to b",
    "comment on table t is",
    "create rule r as on insert to t do (",
    "create rule r as on insert to t do nothing",
    ";",
    ";",
    ";",
    ";",
    ";",
    ";",
    "(",
    "(",
    ")",
    ")",
    "[",
    "]",
    ",",
    ".",
    "::",
    ":=",
    "=>",
    "*",
    "+",
    "-",
    "/",
    "<",
    ">",
    "=",
    "~",
    "!",
    "@",
    "#",
    "%",
    "^",
    "&",
    "|",
    "`",
    "?",
    "||",
    "->>",
    "@-",
    "<->",
    "=-",
    "+-+",
    "1",
    "2.5",
    ".5",
    "1.",
    "1e5",
    "1e-5",
    "1.5e+5",
    "$1",
    "$23",
    "t.a",
    "t.*",
    "x",
    "E",
    "e",
    "b",
    "n",
    "u",
    "x.end",
    "as end",
    "as case",
    "between 1 and 2",
    "is null",
    "not",
    "'a'",
    "''",
    "'a;b'",
    "'it''s'",
    "'\"'",
    "'--'",
    "'/*'",
    "'$$'",
    "'a'\n'b;'",
    "'a' -- ;\n 'b'",
    "'a'\n-- '\n\t';'",
    "'a' /* */ 'b'",
    "'\n'",
    "'(' ",
    "')'",
    "\"a\"",
    "\"a;b\"",
    "\"a\"\"b\"",
    "\"'\"",
    "\"--\"",
    "u&\"a;\"",
    "u&\"a\"",
    "U&'a;'",
    "u&'a'\n'b;'",
    "b'01'",
    "B'0'\n'1'",
    "x'ff'",
    "n'a;'",
    "N'it''s'",
    "E'a'",
    "E'\\''",
    "e'\\\\'",
    "E'a\\';b'",
    "E'a'\n'\\''",
    "E'a' -- b\n'\\';'",
    "e''",
    "E'\\n\\x41'",
    "$$a;b$$",
    "$$'$$",
    "$$$$",
    "$a$;$a$",
    "$a$ $$ $b$ ' $a$",
    "$a$$b$a$",
    "$_1$ ; $_1$",
    "$ab$ $a$ $abc $ab$",
    "$A$;$a$;$A$",
    "a$b$",
    "a$$",
    "_$1",
    "/* c */",
    "/* ; */",
    "/* ' */",
    "/* /* ; */ */",
    "/**/",
    "/***/",
    "/*/*/**/*/*/",
    "/* -- */",
    "/* $$ */",
    "-- c\n",
    "-- ;\n",
    "-- '\n",
    "--\r",
    "--/*\n",
    "- -",
    "/ *",
    "*/",
    "+/* ; */",
    "<-- ;\n",
    "@/**/@",
    "--\n--\n",
    "\xc3\xa9",
    "\"\xe6\x97\xa5;\"",
    "'\xf0\x9f\x98\x80;'",
    "$\xc3\xa9$;$\xc3\xa9$",
    "-- \xc3\xa9;\n",
};

static const char *const glue[] = {" ", " ", " ", " ", "", "", "\n", "\t", "\r\n", " /**/ ", "--\n"};

static void add(char *text, const char *piece)
{
    if (strlen(text) + strlen(piece) < TEXT_MAX - 1)
        strcat(text, piece);
}

static void compose(char *text, unsigned most)
{
    text[0] = 0;
    for (unsigned n = 1 + random_below(most); n > 0; n--) {
        add(text, pieces[random_below(sizeof pieces / sizeof *pieces)]);
        add(text, glue[random_below(sizeof glue / sizeof *glue)]);
    }
}

static void test_composed(void **state)
{
    (void)state;
    static char text[TEXT_MAX], name[64];
    struct counts counts = {0};
    random_state = 1;
    for (unsigned i = 0; i < TEXTS; i++) {
        compose(text, i % 3 ? 6 : 20);
        snprintf(name, sizeof name, "composed text %u", i);
        check_text(name, text, &counts);
    }
    print_message("%u texts, %u valid for the lexer, %u for the parser\n", counts.texts, counts.compared,
                  counts.parsed);
    assert_true(counts.compared > 20000);
    assert_true(counts.parsed > 1000);
}

/* Whole statements, valid most of the time, with comments and strings at every place between their words. */
static const char *const frames[] = {
    "select @ from t where a = @ and b > @",
    "select @ into t",
    "with a as (select @) select @ into t",
    "with a as (select @), b as (insert into t values (@) returning a) select @ as insert",
    "with into_ as (select @ as insert) insert into t select @",
    "insert into t values (@, @)",
    "select case when @ = @ then @ else @ end",
    "select @ as end, @ as case, x.end",
    "create function f() returns text begin atomic select @; select case @ when @ then @ end; end",
    "create or replace function f() returns text language sql begin atomic select @ as end; end",
    "create procedure p() begin atomic insert into t values (@); update t set a = @; end",
    "create function f() returns text return @",
    "create table t (a text default @, check (a > @))",
    "create rule r as on insert to t do (select @; select @;)",
    "alter table t alter a set default @",
    "comment on table t is @",
    "explain select @",
    "explain analyze create table t as select @",
    "explain (analyze) select @ into t",
    "prepare p as select @ into t",
    "prepare p (text) as insert into t values (@)",
    "prepare transaction @",
    "do @",
    "set a = @",
    "copy t from @",
    "vacuum (full) t",
    "vacuum (analyze) t",
    "(select @ into t)",
    "(with a as (select @) select @)",
    "values (@)",
    "begin",
    "commit",
    "update t set a = @",
    "call p(@)",
    "execute p (@)",
    "truncate t",
    "merge into t using s on @ = @ when not matched then do nothing",
};

static const char *const strings[] = {
    "'a;'", "''",   "'it''s'", "'a'\n';b'", "'a'\r\n \n'b'",
    "'/*'", "'--'", "'$$'",    "'(''\"'",   "'alter table t'",
};

static const char *const escapes[] = {
    "'a\\';b'", "'\\\\'", "'\\''", "'a'\n'\\';'", "'\\n;'", "'a\\''\r\n\n '\\''", "'x\\\\''y'", "'\\\n;'",
};

static const char *const spaces[] = {" ",  " ",    " ", "\n", " /* ; */ ", " -- ;'\n", "/* /* */ ' */",
                                     "\t", "/***/"};

/* A frame with its places filled. `mark` (or none) goes before each string that knows escapes: "E" for the
 * model,
 * "" for a server with standard_conforming_strings off. */
static void fill(char *text, const char *frame, const char *mark, bool escaping)
{
    for (; *frame; frame++) {
        char letter[2] = {*frame, 0};
        if (*frame == ' ') {
            add(text, spaces[random_below(sizeof spaces / sizeof *spaces)]);
        } else if (*frame != '@') {
            add(text, letter);
        } else if (escaping) {
            add(text, mark);
            add(text, escapes[random_below(sizeof escapes / sizeof *escapes)]);
        } else {
            add(text, strings[random_below(sizeof strings / sizeof *strings)]);
        }
    }
}

static void compose_frames(char *text, const char *mark, bool escaping)
{
    text[0] = 0;
    for (unsigned n = 1 + random_below(4); n > 0; n--) {
        fill(text, frames[random_below(sizeof frames / sizeof *frames)], mark, escaping);
        add(text, ";");
    }
}

static void test_frames(void **state)
{
    (void)state;
    static char text[TEXT_MAX], name[64];
    struct counts counts = {0};
    random_state = 2;
    for (unsigned i = 0; i < TEXTS; i++) {
        compose_frames(text, "E", i & 1);
        snprintf(name, sizeof name, "frames %u", i);
        check_text(name, text, &counts);
    }
    print_message("%u texts, %u valid for the lexer, %u for the parser\n", counts.texts, counts.compared,
                  counts.parsed);
    assert_true(counts.compared == counts.texts);
    assert_true(counts.parsed > counts.texts / 2);
}

/* The same text with E before each string and without: with standard_conforming_strings off both read alike,
 * and the first was compared with PostgreSQL. */
static void test_legacy_strings(void **state)
{
    (void)state;
    static char with[TEXT_MAX], without[TEXT_MAX];
    for (unsigned i = 0; i < 5000; i++) {
        random_state = 1000 + i;
        compose_frames(with, "E", true);
        random_state = 1000 + i;
        compose_frames(without, "", true);
        struct gate_list a = scan(with, true, NULL), b = scan(without, false, NULL),
                         cut = scan(without, false, cut_at_random);
        const char *why = gate_list_difference(&b, &cut);
        if (why)
            fail_msg("legacy text %u, cut: %s\n%s", i, why, without);
        assert_int_equal(a.n, b.n);
        assert_false(b.unterminated);
        for (size_t s = 0; s < a.n; s++) {
            /* the E's are all that is missing */
            uint64_t marks = 0, longer = (a.statements[s].end - a.statements[s].start);
            for (uint64_t at = a.statements[s].start; at + 1 < a.statements[s].end; at++)
                marks += with[at] == 'E' && with[at + 1] == '\'';
            assert_int_equal(longer - marks, b.statements[s].end - b.statements[s].start);
            assert_int_equal(a.statements[s].class, b.statements[s].class);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ddl_files),      cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_composed),       cmocka_unit_test(test_frames),
        cmocka_unit_test(test_legacy_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

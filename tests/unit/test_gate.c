/*
 * The gate, case by case: each row is a text and the statements that PostgreSQL finds in it, read whole, cut
 * in two at every byte, and byte by byte. What can be compared with PostgreSQL's own lexer is compared with
 * it too.
 */
#include "test_gate_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A statement's class as a letter, and its text. */
struct want {
    char class;
    const char *text;
};

enum {
    LEGACY = 1,       /* standard_conforming_strings off */
    UNTERMINATED = 2, /* the text ends inside a string or a comment */
    BACKSLASH = 4,    /* gate.backslash must be set */
    ANOTHER = 8,      /* another version than libpg_query's: not to be compared with it */
    WANT_MAX = 5
};

struct row {
    const char *name;
    const char *text;
    struct want want[WANT_MAX];
    unsigned flags;
    enum text_encoding encoding;
    size_t length; /* 0: as strlen says */
};

#define NEXT "; alter table t add c int"
#define ALTER                                                                                                \
    {                                                                                                        \
        'd', "alter table t add c int"                                                                       \
    }

static const struct row rows[] = {
    {"empty", "", {{0}}, 0, 0, 0},
    {"white space", " \t\r\n\f", {{0}}, 0, 0, 0},
    {"vertical tab", "\vselect\v1", {{'o', "select\v1"}}, ANOTHER, 0, 0},
    {"semicolons", ";; ;", {{0}}, 0, 0, 0},
    {"one", "select 1", {{'o', "select 1"}}, 0, 0, 0},
    {"trailing white space", " select 1 ; ", {{'o', "select 1"}}, 0, 0, 0},
    {"two", "select 1" NEXT, {{'o', "select 1"}, ALTER}, 0, 0, 0},
    {"empty ones between", ";select 1;;" NEXT ";", {{'o', "select 1"}, ALTER}, 0, 0, 0},

    {"line comment", "-- a;b\nselect 1 -- ;\n" NEXT, {{'o', "select 1"}, ALTER}, 0, 0, 0},
    {"line comment, carriage return", "-- a\rselect 1 --;\r" NEXT, {{'o', "select 1"}, ALTER}, 0, 0, 0},
    {"line comment to the end", "select 1 -- ; drop table x", {{'o', "select 1"}}, 0, 0, 0},
    {"comment", "/* ; */select/**/1/***/" NEXT, {{'o', "select/**/1"}, ALTER}, 0, 0, 0},
    {"nested comment", "/* /* ; */ ; /*/ */ */ drop table t", {{'d', "drop table t"}}, 0, 0, 0},
    {"/*/ doesn't close", "/*/ ; */ select 1", {{'o', "select 1"}}, 0, 0, 0},
    {"stars and slashes", "/**//***//*/**/*/ select 1 /*//**/*/", {{'o', "select 1"}}, 0, 0, 0},
    {"line comment in a comment", "/* -- */ select 1", {{'o', "select 1"}}, 0, 0, 0},
    {"comment in a line comment", "-- /*\nselect 1", {{'o', "select 1"}}, 0, 0, 0},
    {"quote in a comment", "/* ' */ select 1 -- '\n" NEXT, {{'o', "select 1"}, ALTER}, 0, 0, 0},
    {"open comment", "select 1 /* ; */ /* /* */ ; drop table t", {{'o', "select 1"}}, UNTERMINATED, 0, 0},
    {"comment behind an operator",
     "select 1 +/* ; */ 2 *-- ;\n3",
     {{'o', "select 1 +/* ; */ 2 *-- ;\n3"}},
     0,
     0,
     0},
    {"comment in an operator", "select 1 <-->;\n1", {{'o', "select 1 <-->;\n1"}}, 0, 0, 0},
    {"operators that look like comments",
     "select a */ b - - c / * d",
     {{'o', "select a */ b - - c / * d"}},
     0,
     0,
     0},
    {"ends in a minus", "select 1 -", {{'o', "select 1 -"}}, 0, 0, 0},
    {"ends in a slash", "select 1 /", {{'o', "select 1 /"}}, 0, 0, 0},
    {"a minus alone", "-; select 1", {{'o', "-"}, {'o', "select 1"}}, 0, 0, 0},

    {"string", "select ';', 'a'';b', ''" NEXT, {{'o', "select ';', 'a'';b', ''"}, ALTER}, 0, 0, 0},
    {"backslash in a string", "select '\\'" NEXT " --'", {{'o', "select '\\'"}, ALTER}, BACKSLASH, 0, 0},
    {"the same, legacy",
     "select '\\'" NEXT " --'",
     {{'o', "select '\\'; alter table t add c int --'"}},
     LEGACY | BACKSLASH,
     0,
     0},
    {"legacy, two backslashes",
     "select '\\\\'" NEXT,
     {{'o', "select '\\\\'"}, ALTER},
     LEGACY | BACKSLASH,
     0,
     0},
    {"legacy, N string", "select n'\\''" NEXT, {{'o', "select n'\\''"}, ALTER}, LEGACY | BACKSLASH, 0, 0},
    {"legacy, bits have no escapes", "select b'\\'" NEXT, {{'o', "select b'\\'"}, ALTER}, LEGACY, 0, 0},
    {"legacy, a string behind bits",
     "select b'0''\\';'",
     {{'o', "select b'0''\\';'"}},
     LEGACY | BACKSLASH,
     0,
     0},
    {"escape string",
     "select E'\\';', e'a''\\\\'" NEXT,
     {{'o', "select E'\\';', e'a''\\\\'"}, ALTER},
     0,
     0,
     0},
    {"escaped line end", "select E'\\\n;'" NEXT, {{'o', "select E'\\\n;'"}, ALTER}, 0, 0, 0},
    {"escapes with numbers",
     "select E'\\x27;\\u003b\\047'" NEXT,
     {{'o', "select E'\\x27;\\u003b\\047'"}, ALTER},
     0,
     0,
     0},
    {"no prefix: a longer word", "select te'\\'" NEXT, {{'o', "select te'\\'"}, ALTER}, BACKSLASH, 0, 0},
    {"no prefix: a space", "select e '\\'" NEXT, {{'o', "select e '\\'"}, ALTER}, BACKSLASH, 0, 0},
    {"bits and bytes",
     "select B'0;1', X'a;b', N'\\'" NEXT,
     {{'o', "select B'0;1', X'a;b', N'\\'"}, ALTER},
     BACKSLASH,
     0,
     0},
    {"unicode",
     "select U&'\\;', u&\"\\;\"\"\"" NEXT,
     {{'o', "select U&'\\;', u&\"\\;\"\"\""}, ALTER},
     0,
     0,
     0},
    {"u and an operator", "select u&1, u & ';'" NEXT, {{'o', "select u&1, u & ';'"}, ALTER}, 0, 0, 0},
    {"ends in U&", "select u&", {{'o', "select u&"}}, 0, 0, 0},
    {"open string",
     "select 1; select 'a; drop table t",
     {{'o', "select 1"}, {'o', "select 'a; drop table t"}},
     UNTERMINATED,
     0,
     0},
    {"open escape", "select E'a\\", {{'o', "select E'a\\"}}, UNTERMINATED, 0, 0},
    {"string goes on", "select 'a'\n';b'" NEXT, {{'o', "select 'a'\n';b'"}, ALTER}, 0, 0, 0},
    {"escape string goes on",
     "select e'a' \r\n '\\';b'" NEXT,
     {{'o', "select e'a' \r\n '\\';b'"}, ALTER},
     0,
     0,
     0},
    {"goes on behind line comments",
     "select e'a' -- ' ;\n -- \n '\\';b'" NEXT,
     {{'o', "select e'a' -- ' ;\n -- \n '\\';b'"}, ALTER},
     0,
     0,
     0},
    {"doesn't go on behind a comment",
     "select e'a' /*\n*/ '\\'" NEXT,
     {{'o', "select e'a' /*\n*/ '\\'"}, ALTER},
     BACKSLASH,
     0,
     0},
    {"doesn't behind a comment and a line end",
     "select e'a'\n/**/\n'\\'" NEXT,
     {{'o', "select e'a'\n/**/\n'\\'"}, ALTER},
     BACKSLASH,
     0,
     0},
    {"doesn't go on without a line end",
     "select e'a' '\\'" NEXT,
     {{'o', "select e'a' '\\'"}, ALTER},
     BACKSLASH,
     0,
     0},
    {"a minus behind a string",
     "select 'a'\n- '\\'" NEXT,
     {{'o', "select 'a'\n- '\\'"}, ALTER},
     BACKSLASH,
     0,
     0},
    {"ends behind a string", "select 'a'\n", {{'o', "select 'a'"}}, 0, 0, 0},
    {"ends behind a string's comment", "select 'a'\n-- b", {{'o', "select 'a'"}}, 0, 0, 0},
    {"ends in a minus behind a string", "select 'a'\n-", {{'o', "select 'a'\n-"}}, 0, 0, 0},
    {"unicode string goes on", "select u&'a'\n'\\;'" NEXT, {{'o', "select u&'a'\n'\\;'"}, ALTER}, 0, 0, 0},

    {"quoted name", "select \";\"\";\", \"'\"" NEXT, {{'o', "select \";\"\";\", \"'\""}, ALTER}, 0, 0, 0},
    {"a quoted keyword is none", "\"alter\" table t", {{'o', "\"alter\" table t"}}, 0, 0, 0},
    {"open name", "select \"a; drop", {{'o', "select \"a; drop"}}, UNTERMINATED, 0, 0},

    {"dollar quote", "select $$;'$$" NEXT, {{'o', "select $$;'$$"}, ALTER}, 0, 0, 0},
    {"tag", "select $a$;$$;$b$;$a;$a$" NEXT, {{'o', "select $a$;$$;$b$;$a;$a$"}, ALTER}, 0, 0, 0},
    {"tag within a tag",
     "select $ab$ $a$ $abc$ab$" NEXT,
     {{'o', "select $ab$ $a$ $abc$ab$"}, ALTER},
     0,
     0,
     0},
    {"tags share a dollar", "select $a$;$b$a$" NEXT, {{'o', "select $a$;$b$a$"}, ALTER}, 0, 0, 0},
    {"many dollars", "select $a$ $$$$$a$" NEXT, {{'o', "select $a$ $$$$$a$"}, ALTER}, 0, 0, 0},
    {"digits in a tag", "select $a1$;$1$;$a$;$a1$" NEXT, {{'o', "select $a1$;$1$;$a$;$a1$"}, ALTER}, 0, 0, 0},
    {"tags mind their case", "select $a$;$A$;$a$" NEXT, {{'o', "select $a$;$A$;$a$"}, ALTER}, 0, 0, 0},
    {"parameters", "select $1, $2$$;$$" NEXT, {{'o', "select $1, $2$$;$$"}, ALTER}, 0, 0, 0},
    {"a name with dollars",
     "select a$b$;$b$;$b$" NEXT,
     {{'o', "select a$b$"}, {'o', "$b$;$b$"}, ALTER},
     0,
     0,
     0},
    {"a name that ends in dollars", "select a$$;select 1", {{'o', "select a$$"}, {'o', "select 1"}}, 0, 0, 0},
    {"stray dollar",
     "select $ ;select $a;select $e'\\'",
     {{'o', "select $"}, {'o', "select $a"}, {'o', "select $e'\\'"}},
     UNTERMINATED,
     0,
     0},
    {"ends in a dollar", "select $", {{'o', "select $"}}, 0, 0, 0},
    {"ends in a tag", "select $a", {{'o', "select $a"}}, 0, 0, 0},
    {"open dollar quote",
     "select $a$; drop table t; $a",
     {{'o', "select $a$; drop table t; $a"}},
     UNTERMINATED,
     0,
     0},
    {"a tag with high bytes is left to the parser",
     "select $\xc3\xa9$;$\xc3\xa8$;$\xc3\xa9$" NEXT,
     {{'d', "select $\xc3\xa9$;$\xc3\xa8$;$\xc3\xa9$"}, ALTER},
     0,
     0,
     0},
    {"a long tag is left to the parser",
     "select $a123456789a123456789a123456789a123456789a123456789a123456789abcdef$;"
     "$a123456789a123456789a123456789a123456789a123456789a123456789abcdeg$;"
     "$a123456789a123456789a123456789a123456789a123456789a123456789abcdef$" NEXT,
     {{'d', "select $a123456789a123456789a123456789a123456789a123456789a123456789abcdef$;"
            "$a123456789a123456789a123456789a123456789a123456789a123456789abcdeg$;"
            "$a123456789a123456789a123456789a123456789a123456789a123456789abcdef$"},
      ALTER},
     0,
     0,
     0},
    {"a tag of 64 isn't",
     "select $a123456789a123456789a123456789a123456789a123456789a123456789abcd$;"
     "$a123456789a123456789a123456789a123456789a123456789a123456789abcd$" NEXT,
     {{'o', "select $a123456789a123456789a123456789a123456789a123456789a123456789abcd$;"
            "$a123456789a123456789a123456789a123456789a123456789a123456789abcd$"},
      ALTER},
     0,
     0,
     0},
    {"DO keeps its class", "do $\xc3\xa9$;$\xc3\xa9$", {{'x', "do $\xc3\xa9$;$\xc3\xa9$"}}, 0, 0, 0},

    {"numbers",
     "select 1, 1.5, .5, 1., 1e5, 1.e5, 1e+5, 1e-5, 1.5e-5" NEXT,
     {{'o', "select 1, 1.5, .5, 1., 1e5, 1.e5, 1e+5, 1e-5, 1.5e-5"}, ALTER},
     0,
     0,
     0},
    {"two points", "select 1..2", {{'o', "select 1..2"}}, 0, 0, 0},
    {"a word at a number (13)", "select 1into t", {{'d', "select 1into t"}}, ANOTHER, 0, 0},
    {"a word at an exponent (13)",
     "select 1e5into t;select 1.5e-5into t",
     {{'d', "select 1e5into t"}, {'d', "select 1.5e-5into t"}},
     ANOTHER,
     0,
     0},
    {"no exponent (13)",
     "select 1e$$;select '$$'" NEXT,
     {{'o', "select 1e$$"}, {'o', "select '$$'"}, ALTER},
     ANOTHER,
     0,
     0},
    {"an exponent at a name (13)",
     "select 1e+5e6$$;select 1 a$$" NEXT,
     {{'o', "select 1e+5e6$$"}, {'o', "select 1 a$$"}, ALTER},
     ANOTHER,
     0,
     0},
    {"an exponent that is none (13)",
     "select 1e+a, 1e-a, 1e--;\n, 1e'\\';'",
     {{'o', "select 1e+a, 1e-a, 1e--;\n, 1e'\\';'"}},
     ANOTHER,
     0,
     0},
    {"underscores and bases (16)",
     "select 1_000, 0x1f, 0b1, 0o7" NEXT,
     {{'o', "select 1_000, 0x1f, 0b1, 0o7"}, ALTER},
     ANOTHER,
     0,
     0},
    {"parameter at a word (13)",
     "select $1into t; select $1e5into t",
     {{'d', "select $1into t"}, {'o', "select $1e5into t"}},
     ANOTHER,
     0,
     0},
    {"ends in a number",
     "select 1; select 1.; select 1e",
     {{'o', "select 1"}, {'o', "select 1."}, {'o', "select 1e"}},
     ANOTHER,
     0,
     0},
    {"ends in an exponent's sign", "select 1e-", {{'o', "select 1e-"}}, ANOTHER, 0, 0},
    {"ends in an exponent", "select 1e-5", {{'o', "select 1e-5"}}, 0, 0, 0},
    {"comment in place of an exponent (13)", "select 1e--", {{'o', "select 1e"}}, ANOTHER, 0, 0},

    {"parentheses",
     "create rule r as on update to t do (select 1; select 2;)" NEXT,
     {{'d', "create rule r as on update to t do (select 1; select 2;)"}, ALTER},
     0,
     0,
     0},
    {"too many closed", "select 1)" NEXT, {{'o', "select 1)"}, ALTER}, 0, 0, 0},

    {"function body",
     "create function f() returns int begin atomic select 1; select case when a then 1 end; end" NEXT,
     {{'d', "create function f() returns int begin atomic select 1; select case when a then 1 end; end"},
      ALTER},
     0,
     0,
     0},
    {"END as a label",
     "create or replace procedure p() begin atomic select 1 end; select x.end, y case; end" NEXT,
     {{'d', "create or replace procedure p() begin atomic select 1 end; select x.end, y case; end"}, ALTER},
     0,
     0,
     0},
    {"empty body",
     "create function f() returns int BEGIN/**/ATOMIC END" NEXT,
     {{'d', "create function f() returns int BEGIN/**/ATOMIC END"}, ALTER},
     0,
     0,
     0},
    {"body in a body",
     "create function f() returns int begin atomic create function g() returns int begin atomic "
     "select 1; end; select 2; end" NEXT,
     {{'d', "create function f() returns int begin atomic create function g() returns int begin atomic "
            "select 1; end; select 2; end"},
      ALTER},
     0,
     0,
     0},
    {"names begin and atomic",
     "create function f() returns int begin atomic select begin atomic from t; end" NEXT,
     {{'d', "create function f() returns int begin atomic select begin atomic from t; end"}, ALTER},
     0,
     0,
     0},
    {"no body in a view",
     "create view v as select begin atomic from t" NEXT,
     {{'d', "create view v as select begin atomic from t"}, ALTER},
     0,
     0,
     0},
    {"no body by a default",
     "create function f(a int = (select begin atomic)) returns int return 1" NEXT,
     {{'d', "create function f(a int = (select begin atomic)) returns int return 1"}, ALTER},
     0,
     0,
     0},
    {"BEGIN alone", "begin; atomic; end", {{'b', "begin"}, {'o', "atomic"}, {'e', "end"}}, 0, 0, 0},

    {"capitals",
     "ALTER table t; aLtEr table t; SELECT 1 InTo t; COMMIT",
     {{'d', "ALTER table t"}, {'d', "aLtEr table t"}, {'d', "SELECT 1 InTo t"}, {'e', "COMMIT"}},
     0,
     0,
     0},
    {"longer words",
     "altera; alterr table t; alter_ t; alter$ t; \xc3\xa4lter",
     {{'o', "altera"}, {'o', "alterr table t"}, {'o', "alter_ t"}, {'o', "alter$ t"}, {'o', "\xc3\xa4lter"}},
     0,
     0,
     0},
    {"bits of letters",
     "\x01LTER; @lter; `lter; selec4 1 into t",
     {{'o', "\x01LTER"}, {'o', "@lter"}, {'o', "`lter"}, {'o', "selec4 1 into t"}},
     ANOTHER,
     0,
     0},
    {"transactions",
     "start transaction; end; abort; rollback to a; savepoint a",
     {{'b', "start transaction"}, {'e', "end"}, {'e', "abort"}, {'e', "rollback to a"}, {'o', "savepoint a"}},
     0,
     0,
     0},
    {"settings",
     "set a = 1; reset all; discard all; show a",
     {{'s', "set a = 1"}, {'s', "reset all"}, {'s', "discard all"}, {'o', "show a"}},
     0,
     0,
     0},
    {"DO", "do $$ ; $$" NEXT "; do 'x'", {{'x', "do $$ ; $$"}, ALTER, {'x', "do 'x'"}}, 0, 0, 0},
    {"prepared transaction",
     "prepare transaction 'a'; prepare transaction $$a$$; prepare transaction as select 1;"
     "prepare/**/transaction e'\\''",
     {{'e', "prepare transaction 'a'"},
      {'e', "prepare transaction $$a$$"},
      {'o', "prepare transaction as select 1"},
      {'e', "prepare/**/transaction e'\\''"}},
     0,
     0,
     0},
    {"prepare",
     "prepare p as insert into t values (1); prepare p (int) as select 1 into t; prepare p as with w as "
     "(select 1) select 1 into t",
     {{'o', "prepare p as insert into t values (1)"},
      {'d', "prepare p (int) as select 1 into t"},
      {'d', "prepare p as with w as (select 1) select 1 into t"}},
     0,
     0,
     0},
    {"INTO",
     "insert into t select 1; select 1 as insert into t; select \"into\" from t; (select 1 into t)",
     {{'o', "insert into t select 1"},
      {'d', "select 1 as insert into t"},
      {'o', "select \"into\" from t"},
      {'d', "(select 1 into t)"}},
     0,
     0,
     0},
    {"WITH",
     "with a as (insert into t values (1) returning b) select 1; with a as (select 1), b as (select 2) "
     "insert "
     "into t select 1; with a as (select 1) select 2 into t; with a(b) as (select 1) (select 2 into t)",
     {{'o', "with a as (insert into t values (1) returning b) select 1"},
      {'o', "with a as (select 1), b as (select 2) insert into t select 1"},
      {'d', "with a as (select 1) select 2 into t"},
      {'d', "with a(b) as (select 1) (select 2 into t)"}},
     0,
     0,
     0},
    {"WITH a misleading list",
     "with insert as (select 1) select f(1) insert into t from insert; (with a as (select 1) "
     "select 1 into t)",
     {{'d', "with insert as (select 1) select f(1) insert into t from insert"},
      {'d', "(with a as (select 1) select 1 into t)"}},
     0,
     0,
     0},
    {"EXPLAIN",
     "explain analyze create table t as select 1; explain (analyze) select 1 into t; explain select 1",
     {{'d', "explain analyze create table t as select 1"},
      {'d', "explain (analyze) select 1 into t"},
      {'o', "explain select 1"}},
     0,
     0,
     0},
    {"VACUUM",
     "vacuum full t; vacuum (analyze, FULL) t; vacuum (\"full\") t; vacuum \"full\"",
     {{'d', "vacuum full t"},
      {'d', "vacuum (analyze, FULL) t"},
      {'d', "vacuum (\"full\") t"},
      {'o', "vacuum \"full\""}},
     0,
     0,
     0},

    {"NUL", "select 1\0; drop table t", {{'o', "select 1\0"}, {'d', "drop table t"}}, ANOTHER, 0, 24},
    {"NUL in a word", "alter\0x", {{'d', "alter\0x"}}, ANOTHER, 0, 7},

    {"SJIS trail is a backslash",
     "select E'\x83\x5c'" NEXT,
     {{'o', "select E'\x83\x5c'"}, ALTER},
     ANOTHER,
     TEXT_SJIS,
     0},
    {"SJIS katakana are single",
     "select E'\xb1\x5c';'",
     {{'o', "select E'\xb1\x5c';'"}},
     ANOTHER,
     TEXT_SJIS,
     0},
    {"SJIS trail in a word",
     "select \x83\x41lter, e\x83\x45'\\'" NEXT,
     {{'o', "select \x83\x41lter, e\x83\x45'\\'"}, ALTER},
     ANOTHER | BACKSLASH,
     TEXT_SJIS,
     0},
    {"an escaped character",
     "select E'\\\x83\x5c'" NEXT,
     {{'o', "select E'\\\x83\x5c'"}, ALTER},
     ANOTHER,
     TEXT_SJIS,
     0},
    {"read as UTF-8 it goes on", "select E'\x83\x5c';'", {{'o', "select E'\x83\x5c';'"}}, ANOTHER, 0, 0},
    {"BIG5",
     "select E'\xa5\x5c', '\xa4\x7c'" NEXT,
     {{'o', "select E'\xa5\x5c', '\xa4\x7c'"}, ALTER},
     ANOTHER,
     TEXT_BIG5,
     0},
    {"GBK", "select E'\x95\x5c'" NEXT, {{'o', "select E'\x95\x5c'"}, ALTER}, ANOTHER, TEXT_GBK, 0},
    {"UHC", "select E'\x81\x5c'" NEXT, {{'o', "select E'\x81\x5c'"}, ALTER}, ANOTHER, TEXT_UHC, 0},
    {"JOHAB",
     "select E'\x88\x5c', '\x8f\xa1\xa1'" NEXT,
     {{'o', "select E'\x88\x5c', '\x8f\xa1\xa1'"}, ALTER},
     ANOTHER,
     TEXT_JOHAB,
     0},
    {"GB18030 of two and four",
     "select E'\x81\x5c', '\x81\x30\x81\x30', \x81\x30\x81\x30'\\'" NEXT,
     {{'o', "select E'\x81\x5c', '\x81\x30\x81\x30', \x81\x30\x81\x30'\\'"}, ALTER},
     ANOTHER | BACKSLASH,
     TEXT_GB18030,
     0},
    {"SHIFT_JIS_2004's backslash",
     "select E'\x81\x5f';'" NEXT,
     {{'d', "select E'\x81\x5f';'"}, ALTER},
     ANOTHER,
     TEXT_SHIFT_JIS_2004,
     0},
    {"two of it",
     "select E'\x81\x5f\x81\x5f'" NEXT,
     {{'d', "select E'\x81\x5f\x81\x5f'"}, ALTER},
     ANOTHER,
     TEXT_SHIFT_JIS_2004,
     0},
    {"of no effect in a plain string",
     "select '\x81\x5f'" NEXT,
     {{'o', "select '\x81\x5f'"}, ALTER},
     ANOTHER | BACKSLASH,
     TEXT_SHIFT_JIS_2004,
     0},
    {"SHIFT_JIS_2004's tilde",
     "select 1\x81\xb0into t",
     {{'d', "select 1\x81\xb0into t"}},
     ANOTHER,
     TEXT_SHIFT_JIS_2004,
     0},
    {"others with that lead",
     "select \x81\x40into, $\x81\x41$;$\x81\x41$",
     {{'d', "select \x81\x40into, $\x81\x41$;"
            "$\x81\x41$"}},
     ANOTHER,
     TEXT_SHIFT_JIS_2004,
     0},
};

static size_t length_of(const struct row *row)
{
    return row->length ? row->length : strlen(row->text);
}

static enum gate_class class_of_letter(char letter)
{
    switch (letter) {
    case 'd':
        return GATE_DDL;
    case 'x':
        return GATE_DO;
    case 'b':
        return GATE_TRANSACTION_BEGIN;
    case 'e':
        return GATE_TRANSACTION_END;
    case 's':
        return GATE_SETTING;
    default:
        return GATE_OTHER;
    }
}

static void check_row(const struct row *row)
{
    struct gate_list list;
    gate_list_of(&list, (const uint8_t *)row->text, length_of(row), !(row->flags & LEGACY), row->encoding,
                 NULL, NULL);
    size_t n = 0;
    while (n < WANT_MAX && row->want[n].text)
        n++;
    if (list.n != n)
        fail_msg("%s: %zu statements, wanted %zu", row->name, list.n, n);
    for (size_t i = 0; i < n; i++) {
        const struct gate_statement *got = &list.statements[i];
        const char *text = row->want[i].text;
        size_t length = row->length ? (size_t)(got->end - got->start) : strlen(text);
        if (got->end - got->start != length || memcmp(row->text + got->start, text, length) != 0)
            fail_msg("%s: statement %zu is \"%.*s\"", row->name, i, (int)(got->end - got->start),
                     row->text + got->start);
        if (got->class != class_of_letter(row->want[i].class) || got->index != i)
            fail_msg("%s: statement %zu has class %d, index %u", row->name, i, got->class, got->index);
    }
    if (list.unterminated != ((row->flags & UNTERMINATED) != 0))
        fail_msg("%s: unterminated %d", row->name, list.unterminated);
    if (list.backslash != ((row->flags & BACKSLASH) != 0) && !(row->flags & UNTERMINATED))
        fail_msg("%s: backslash %d", row->name, list.backslash);
}

/* EXECUTE, or EXPLAIN of it: seen in every cut. */
static void test_executes(void **state)
{
    static const struct {
        const char *text;
        bool executes;
    } texts[] = {
        {"execute a", true},
        {"select 1; /* */ EXECUTE \"a\"(1)", true},
        {"explain execute a", true},
        {"explain analyze verbose execute a", true},
        {"explain (analyze, costs off) execute a", true},
        {"explain (format execute) select 1", false},
        {"explain select execute from t", false},
        {"select execute; prepare execute as select 1; grant execute on function f() to a", false},
        {"'execute a'; \"execute\" a; executes", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t n = strlen(texts[i].text);
        for (size_t step = 1; step <= n; step++) {
            struct gate gate;
            gate_init(&gate, true, TEXT_ASCII_SAFE);
            for (size_t at = 0; at < n;) {
                struct gate_statement found;
                bool is;
                at += gate_scan(&gate, (const uint8_t *)texts[i].text + at, n - at < step ? n - at : step,
                                &found, &is);
            }
            (void)gate_finish(&gate, &(struct gate_statement){0}, NULL);
            if (gate.executes != texts[i].executes)
                fail_msg("%s, in steps of %zu: %d", texts[i].text, step, gate.executes);
        }
    }
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(&rows[i]);
}

static size_t cut_once(void *context, size_t left)
{
    size_t *first = context, n = *first;
    *first = 0;
    return n && n < left ? n : left;
}

static size_t cut_bytes(void *context, size_t left)
{
    (void)context;
    (void)left;
    return 1;
}

static void test_rows_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct gate_list whole, cut;
        const uint8_t *text = (const uint8_t *)row->text;
        size_t n = length_of(row);
        bool scs = !(row->flags & LEGACY);
        gate_list_of(&whole, text, n, scs, row->encoding, NULL, NULL);
        for (size_t at = 1; at < n; at++) {
            size_t first = at;
            gate_list_of(&cut, text, n, scs, row->encoding, cut_once, &first);
            const char *why = gate_list_difference(&whole, &cut);
            if (why)
                fail_msg("%s, cut at %zu: %s", row->name, at, why);
        }
        gate_list_of(&cut, text, n, scs, row->encoding, cut_bytes, NULL);
        const char *why = gate_list_difference(&whole, &cut);
        if (why)
            fail_msg("%s, byte by byte: %s", row->name, why);
    }
}

/* The rows themselves against PostgreSQL's lexer and parser. */
static void test_rows_model(void **state)
{
    (void)state;
    size_t compared = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (row->flags & (ANOTHER | LEGACY))
            continue;
        struct gate_list list;
        const char *why;
        gate_list_of(&list, (const uint8_t *)row->text, length_of(row), true, TEXT_ASCII_SAFE, NULL, NULL);
        enum model_verdict verdict = gate_model_compare(&list, row->text, &why, NULL);
        if (verdict == MODEL_DIFFERS)
            fail_msg("%s: %s", row->name, why);
        compared += verdict == MODEL_AGREES;
    }
    assert_true(compared > 60);
}

static void test_members(void **state)
{
    (void)state;
    struct gate gate;
    struct gate_statement statement;
    bool found;
    assert_true(sizeof gate < 512);
    gate_init(&gate, true, TEXT_ASCII_SAFE);
    assert_int_equal(gate.class, GATE_EMPTY);
    assert_false(gate_pending_judged(&gate));
    static const uint8_t text[] = " drop table a, b";
    assert_int_equal(gate_scan(&gate, text, 8, &statement, &found), 8);
    assert_false(found);
    assert_true(gate_pending_judged(&gate));
    assert_int_equal(gate.class, GATE_DDL);
    assert_int_equal(gate.words, 1);
    assert_int_equal(gate_scan(&gate, text + 8, sizeof text - 9, &statement, &found), sizeof text - 9);
    assert_true(gate_finish(&gate, &statement, NULL));
    assert_int_equal(gate.words, 4);
    assert_int_equal(gate.offset, sizeof text - 1);
    for (int class = 0; class < GATE_CLASS_COUNT; class ++)
        assert_int_equal(gate_class_judged((enum gate_class) class), class == GATE_DDL || class == GATE_DO);
}

static void test_high(void **state)
{
    (void)state;
    static const char *texts[] = {
        "select \xc3",      "select '\xc3'",  "select E'\\\xc3'",
        "select \"\xc3\"",  "--\xc3",         "/*\xc3*/",
        "/*****\xc3",       "select $\xc3$",  "select $$\xc3$$",
        "select $a$ $\xc3", "select 'a'\xc3", "select 'twenty bytes and \xc3 more than that'"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct gate_list list;
        gate_list_of(&list, (const uint8_t *)texts[i], strlen(texts[i]), true, TEXT_ASCII_SAFE, NULL, NULL);
        assert_true(list.high);
    }
    struct gate_list list;
    gate_list_of(&list, (const uint8_t *)"select 'a' -- b", 15, true, TEXT_ASCII_SAFE, NULL, NULL);
    assert_false(list.high);
}

static void test_encoding_names(void **state)
{
    (void)state;
    assert_int_equal(text_encoding_of("UTF8"), TEXT_ASCII_SAFE);
    assert_int_equal(text_encoding_of("SQL_ASCII"), TEXT_ASCII_SAFE);
    assert_int_equal(text_encoding_of("EUC_JP"), TEXT_ASCII_SAFE);
    assert_int_equal(text_encoding_of("SJIS"), TEXT_SJIS);
    assert_int_equal(text_encoding_of("SHIFT_JIS_2004"), TEXT_SHIFT_JIS_2004);
    assert_int_equal(text_encoding_of("big5"), TEXT_BIG5);
    assert_int_equal(text_encoding_of("GBK"), TEXT_GBK);
    assert_int_equal(text_encoding_of("UHC"), TEXT_UHC);
    assert_int_equal(text_encoding_of("GB18030"), TEXT_GB18030);
    assert_int_equal(text_encoding_of("JOHAB"), TEXT_JOHAB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_executes),       cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rows_cut),       cmocka_unit_test(test_rows_model),
        cmocka_unit_test(test_members),        cmocka_unit_test(test_high),
        cmocka_unit_test(test_encoding_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

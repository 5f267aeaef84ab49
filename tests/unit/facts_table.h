/*
 * Runs a file of statements and expected facts: a line with the statement, below it, indented by four spaces,
 * the line that facts_show.h makes of it. "!scs " in front of a statement: standard_conforming_strings is
 * off. A literal \n in a statement is a newline.
 */
#ifndef PGSLUICE_TESTS_FACTS_TABLE_H
#define PGSLUICE_TESTS_FACTS_TABLE_H

#include "tests/unit/facts_show.h"

#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

struct table_run {
    const char *file;
    unsigned rows, wrong;
};

static size_t unescape_newlines(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        bool newline = from[0] == '\\' && from[1] == 'n';
        *to++ = newline ? '\n' : *from;
        from += newline;
    }
    *to = '\0';
    return (size_t)(to - text);
}

static bool table_row(char *statement, const char *expected)
{
    bool scs = strncmp(statement, "!scs ", 5) != 0;
    char *text = scs ? statement : statement + 5;
    size_t length = unescape_newlines(text);
    struct facts *facts = facts_of(NULL, text, length, PARSER_TEXT_MAX, scs);
    char *shown = facts ? show_facts(facts, facts, text) : NULL;
    bool right = shown && strcmp(shown, expected) == 0;
    if (!right)
        print_error("%s\n  expected: %s\n  got:      %s\n", text, expected, shown ? shown : "nothing");
    talloc_free(facts);
    return right;
}

static void *table_run(void *argument)
{
    struct table_run *run = argument;
    char *statement = NULL, *line = NULL;
    size_t room = 0;
    FILE *file = fopen(run->file, "r");
    for (ssize_t n; file && (n = getline(&line, &room, file)) > 0;) {
        line[n - 1] = '\0';
        if (strncmp(line, "    ", 4) != 0) {
            free(statement);
            statement = strdup(line);
        } else if (statement) {
            run->rows++;
            run->wrong += !table_row(statement, line + 4);
        }
    }
    if (file)
        fclose(file);
    free(statement);
    free(line);
    return NULL;
}

/* Every row is run, then the test fails if one was wrong or fewer than `least` were found. */
static void table_test(const char *file, unsigned least)
{
    struct table_run run = {.file = file};
    pthread_t thread;
    assert_int_equal(parser_thread_create(&thread, table_run, &run), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%u rows of %s\n", run.rows, file);
    assert_true(run.rows >= least);
    assert_int_equal(run.wrong, 0);
}

#endif

/*
 * Any bytes through facts_of(): it must not crash, and what it says must hold together. The first byte says
 * whether standard_conforming_strings is on. Texts are read on one long-lived parser thread, since neither
 * libFuzzer's nor the replay's own thread has the stack for it.
 */
#include "parser/facts.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static void check_place(int place, size_t length)
{
    HOLDS(place >= -1 && (place < 0 || (size_t)place <= length));
}

static void check_span(int place, int end, size_t length)
{
    check_place(place, length);
    check_place(end, length);
    HOLDS(end < 0 || (place >= 0 && place < end));
}

/* The inner span, where it is known, lies in the outer one. */
static void check_inside(int place, int end, int outer_place, int outer_end)
{
    if (place < 0 || outer_place < 0)
        return;
    HOLDS(place >= outer_place);
    HOLDS(outer_end < 0 || end < 0 || end <= outer_end);
}

static void check_expr(const struct expr *expr, size_t length)
{
    if (!expr)
        return;
    check_place(expr->place, length);
    HOLDS(expr->kind != EXPR_CONSTANT || expr->text);
    HOLDS(expr->kind != EXPR_CAST || expr->type);
    for (size_t i = 0; i < expr->n_args; i++) {
        HOLDS(expr->args[i]);
        check_expr(expr->args[i], length);
    }
}

static void check_constraint(const struct constraint *constraint, size_t length)
{
    check_span(constraint->place, constraint->end, length);
    check_expr(constraint->expr, length);
    for (size_t i = 0; i < constraint->n_columns; i++)
        HOLDS(constraint->columns[i]);
    HOLDS(!constraint->generated_virtual || constraint->kind == CONSTRAINT_GENERATED);
}

static void check_column(const struct column_definition *column, size_t length)
{
    check_span(column->place, column->end, length);
    HOLDS(column->type.name && column->type.text);
    for (size_t i = 0; i < column->n_constraints; i++) {
        const struct constraint *constraint = &column->constraints[i];
        check_constraint(constraint, length);
        check_inside(constraint->place, constraint->end, column->place, column->end);
    }
}

static void check_alter(const struct alter *alter, size_t length)
{
    check_span(alter->place, alter->end, length);
    check_expr(alter->expr, length);
    if (alter->column) {
        check_column(alter->column, length);
        check_inside(alter->column->place, alter->column->end, alter->place, alter->end);
    }
    if (alter->constraint) {
        check_constraint(alter->constraint, length);
        check_inside(alter->constraint->place, alter->constraint->end, alter->place, alter->end);
    }
}

static void check_facts(const struct facts *facts, size_t length)
{
    HOLDS(facts->tag && facts->object_kind && facts->identity);
    HOLDS((facts->status != FACTS_OK) == (facts->error != NULL));
    HOLDS(facts->status != FACTS_FAULT);
    HOLDS(!facts->dynamic || facts->dynamic_why);
    check_place(facts->error_place, length);
    check_place(facts->object.place, length);
    check_place(facts->long_name_place, length);
    for (size_t i = 0; i < facts->n_alters; i++) {
        check_alter(&facts->alters[i], length);
        HOLDS(i == 0 || facts->alters[i].place < 0 || facts->alters[i].place >= facts->alters[i - 1].end);
    }
    for (size_t i = 0; i < facts->n_columns; i++)
        check_column(&facts->columns[i], length);
    for (size_t i = 0; i < facts->n_constraints; i++)
        check_constraint(&facts->constraints[i], length);
    for (size_t i = 0; i < facts->n_nested; i++) {
        check_place(facts->nested[i].place, length);
        HOLDS(facts->nested[i].where && facts->nested[i].text);
        check_facts(facts->nested[i].facts, strlen(facts->nested[i].text));
    }
}

/* ---- the thread ------------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const uint8_t *data;
    size_t size;
    bool waiting; /* a text is there to be read */
} hand = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void read_text(const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    const char *text = (const char *)data + 1;
    struct facts *facts = facts_of(NULL, text, size - 1, PARSER_TEXT_MAX, (data[0] & 1) != 0);
    HOLDS(facts);
    check_facts(facts, size - 1);
    talloc_free(facts);
}

static void *serve(void *unused)
{
    pthread_mutex_lock(&hand.lock);
    for (;;) {
        while (!hand.waiting)
            pthread_cond_wait(&hand.changed, &hand.lock);
        read_text(hand.data, hand.size);
        hand.waiting = false;
        pthread_cond_broadcast(&hand.changed);
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pthread_t thread;
    static bool started;
    if (!started) {
        HOLDS(parser_thread_create(&thread, serve, NULL) == 0);
        HOLDS(pthread_detach(thread) == 0);
        started = true;
    }
    pthread_mutex_lock(&hand.lock);
    hand.data = data;
    hand.size = size;
    hand.waiting = true;
    pthread_cond_broadcast(&hand.changed);
    while (hand.waiting)
        pthread_cond_wait(&hand.changed, &hand.lock);
    pthread_mutex_unlock(&hand.lock);
    return 0;
}

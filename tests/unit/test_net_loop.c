/*
 * Loops: tasks from other threads, timers, watches, signals. Meant to be run under ThreadSanitizer, too.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/loop.h"

/* ---- tasks --------------------------------------------------------------------------------------------- */

enum { POSTERS = 4, POSTS = 2000 };

struct counted {
    struct loop_task task;
    struct tally *tally;
    int poster, number;
};

struct tally {
    struct loop *loop;
    int next[POSTERS]; /* the number expected from each */
    int wrong, total;
};

struct poster {
    pthread_t thread;
    struct tally *tally;
    int number;
};

static void count(struct loop_task *task)
{
    struct counted *counted = (struct counted *)task;
    struct tally *tally = counted->tally;
    tally->wrong += counted->number != tally->next[counted->poster]++;
    if (++tally->total == POSTERS * POSTS)
        loop_stop(tally->loop);
    free(counted);
}

static void *post_all(void *argument)
{
    const struct poster *poster = argument;
    for (int i = 0; i < POSTS; i++) {
        struct counted *counted = malloc(sizeof *counted);
        if (!counted)
            abort();
        *counted = (struct counted){{count, NULL}, poster->tally, poster->number, i};
        loop_post(poster->tally->loop, &counted->task);
    }
    return NULL;
}

static void test_posts_from_many_threads(void **state)
{
    (void)state;
    struct tally tally = {.loop = loop_new()};
    assert_non_null(tally.loop);
    struct poster posters[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        posters[i].tally = &tally;
        posters[i].number = i;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    loop_run(tally.loop);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(tally.total, POSTERS * POSTS);
    assert_int_equal(tally.wrong, 0);
    loop_free(tally.loop);
}

struct again {
    struct loop_task task;
    struct loop *loop;
    int runs;
};

static void run_again(struct loop_task *task)
{
    struct again *again = (struct again *)task;
    if (++again->runs < 3)
        loop_post(again->loop, task);
    else
        loop_stop(again->loop);
}

static void test_post_before_run_and_from_itself(void **state)
{
    (void)state;
    struct again again = {{run_again, NULL}, loop_new(), 0};
    loop_post(again.loop, &again.task);
    loop_run(again.loop);
    assert_int_equal(again.runs, 3);
    loop_free(again.loop);
}

static void test_free_runs_what_is_left(void **state)
{
    (void)state;
    struct again again = {{run_again, NULL}, loop_new(), 1};
    loop_post(again.loop, &again.task);
    again.runs = 5; /* the task won't post itself again, only stop a loop that doesn't run */
    loop_free(again.loop);
    assert_int_equal(again.runs, 6);
}

/* ---- timers ---------------------------------------------------------------------------------------------
 */

struct clockwork {
    struct loop *loop;
    struct loop_timer *first, *second, *never, *end;
    char order[8];
    size_t n;
    double began;
};

static void fire_first(void *argument)
{
    struct clockwork *clockwork = argument;
    clockwork->order[clockwork->n++] = '1';
    if (clockwork->n < 3)
        loop_timer_set(clockwork->first, 0.001); /* one shot: fires again only because it is set again */
    loop_timer_stop(clockwork->never);
}

static void fire_second(void *argument)
{
    struct clockwork *clockwork = argument;
    clockwork->order[clockwork->n++] = '2';
}

static void fire_never(void *argument)
{
    struct clockwork *clockwork = argument;
    clockwork->order[clockwork->n++] = '!';
}

static void fire_end(void *argument)
{
    struct clockwork *clockwork = argument;
    loop_stop(clockwork->loop);
}

static void test_timers(void **state)
{
    (void)state;
    struct clockwork c = {.loop = loop_new()};
    c.first = loop_timer_new(c.loop, fire_first, &c);
    c.second = loop_timer_new(c.loop, fire_second, &c);
    c.never = loop_timer_new(c.loop, fire_never, &c);
    c.end = loop_timer_new(c.loop, fire_end, &c);
    c.began = loop_now(c.loop);
    usleep(20000); /* time before loop_run must not count as passed */
    loop_timer_set(c.never, 0.05);
    loop_timer_set(c.first, 60);
    loop_timer_set(c.first, 0.01); /* replaces the minute */
    loop_timer_set(c.second, 0.04);
    loop_timer_set(c.end, 0.1);
    loop_run(c.loop);
    assert_string_equal(c.order, "1112");
    double passed = loop_now(c.loop) - c.began;
    assert_true(passed >= 0.11 && passed < 30);
    loop_timer_free(c.first);
    loop_timer_free(c.second);
    loop_timer_free(c.never);
    loop_timer_free(c.end);
    loop_timer_free(NULL);
    loop_free(c.loop);
}

/* ---- watches and signals --------------------------------------------------------------------------------
 */

struct piped {
    struct loop *loop;
    struct loop_watch *in, *out;
    int ends[2];
    char got;
};

static void pipe_writable(void *argument, int events)
{
    struct piped *piped = argument;
    assert_int_equal(events, LOOP_WRITE);
    assert_int_equal(write(piped->ends[1], "x", 1), 1);
    loop_watch_set(piped->out, 0);
    loop_watch_set(piped->in, LOOP_READ);
}

static void pipe_readable(void *argument, int events)
{
    struct piped *piped = argument;
    assert_int_equal(events, LOOP_READ);
    assert_int_equal(read(piped->ends[0], &piped->got, 1), 1);
    loop_watch_free(piped->in); /* inside its own callback */
    loop_stop(piped->loop);
}

static void test_watches(void **state)
{
    (void)state;
    struct piped piped = {.loop = loop_new()};
    assert_int_equal(pipe(piped.ends), 0);
    piped.in = loop_watch_new(piped.loop, piped.ends[0], pipe_readable, &piped);
    piped.out = loop_watch_new(piped.loop, piped.ends[1], pipe_writable, &piped);
    loop_watch_set(piped.out, LOOP_WRITE);
    loop_run(piped.loop);
    assert_int_equal(piped.got, 'x');
    loop_watch_free(piped.out);
    close(piped.ends[0]);
    close(piped.ends[1]);
    loop_free(piped.loop);
}

struct caught {
    struct loop *loop;
    int signal;
};

static void on_signal(void *argument, int signal)
{
    struct caught *caught = argument;
    caught->signal = signal;
    loop_stop(caught->loop);
}

static void test_signals(void **state)
{
    (void)state;
    struct caught caught = {.loop = loop_new()};
    assert_true(loop_signal(caught.loop, SIGUSR1, on_signal, &caught));
    assert_true(loop_signal(caught.loop, SIGUSR2, on_signal, &caught));
    kill(getpid(), SIGUSR2);
    loop_run(caught.loop);
    assert_int_equal(caught.signal, SIGUSR2);
    loop_free(caught.loop);
}

static void test_scratch(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    size_t size = 0;
    uint8_t *scratch = loop_scratch(loop, &size);
    assert_true(size >= 65536);
    scratch[0] = scratch[size - 1] = 1;
    loop_free(loop);
    loop_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posts_from_many_threads),
        cmocka_unit_test(test_post_before_run_and_from_itself),
        cmocka_unit_test(test_free_runs_what_is_left),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_watches),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

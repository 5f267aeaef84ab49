/*
 * The threads and their queues, one for short texts and one for long ones.
 *
 * A long text takes up to seconds, and a client may send them without end over many sessions; so one thread
 * is kept free of them, and the ordinary ALTER of somebody else waits for short ones at most. In turn a long
 * one is never passed by more than SHORT_IN_A_ROW short ones that a thread could have left.
 *
 * The queues are rings of fixed size: a session asks one question at a time, so they fill only where very
 * many sessions run DDL at once, and then the next one is told so instead of waiting unseen. What a session
 * left behind when it ended is not worked on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "proxy/session/judge_inside.h"

enum { QUEUE = 1024, SHORT_TEXT = 16 << 10, SHORT_IN_A_ROW = 16 };

struct judge_thread {
    pthread_t thread;
    struct judge_bench *bench;
    struct metrics *metrics;
};

struct queue {
    struct judge_job *jobs[QUEUE];
    unsigned first, count;
};

struct judge_bench {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct queue short_ones, long_ones;
    unsigned long_most, long_now; /* threads that may, and do, work on long ones */
    unsigned in_a_row;            /* short ones taken while a long one could have been */
    bool stop;
    struct audit *audit;
    unsigned n_threads;
    struct judge_thread threads[];
};

static struct judge_job *take(struct queue *queue)
{
    struct judge_job *job = queue->jobs[queue->first];
    queue->first = (queue->first + 1) % QUEUE;
    queue->count--;
    return job;
}

/* Under the lock. NULL: nothing that this thread may do now. */
static struct judge_job *choose(struct judge_bench *bench, bool *is_long)
{
    bool may = bench->long_ones.count && (bench->stop || bench->long_now < bench->long_most);
    *is_long = may && (!bench->short_ones.count || bench->in_a_row >= SHORT_IN_A_ROW);
    if (!*is_long && !bench->short_ones.count)
        return NULL;
    bench->in_a_row = may && !*is_long ? bench->in_a_row + 1 : 0;
    bench->long_now += *is_long;
    return take(*is_long ? &bench->long_ones : &bench->short_ones);
}

/* NULL: the bench stops and nothing is left. `is_long` says what the last job was, and then what this is. */
static struct judge_job *next_job(struct judge_bench *bench, bool *is_long)
{
    struct judge_job *job;
    pthread_mutex_lock(&bench->lock);
    bench->long_now -= *is_long;
    while ((job = choose(bench, is_long)) == NULL && !bench->stop)
        pthread_cond_wait(&bench->work, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
    return job;
}

static void *judge_thread(void *argument)
{
    struct judge_thread *self = argument;
    struct judge_job *job;
    bool is_long = false;
    while ((job = next_job(self->bench, &is_long)) != NULL) {
        if (!job->orphan)
            judge_run(job, self->bench->audit, self->metrics);
        job->done(job); /* the job is not ours from here on */
    }
    return NULL;
}

/* The metrics stay on the list of all for ever, so they are not the thread's to free. */
static bool start_thread(struct judge_bench *bench, struct judge_thread *thread)
{
    thread->bench = bench;
    thread->metrics = aligned_alloc(_Alignof(struct metrics), sizeof *thread->metrics);
    if (!thread->metrics) {
        errno = ENOMEM;
        return false;
    }
    *thread->metrics = (struct metrics){.next = NULL};
    int error = parser_thread_create(&thread->thread, judge_thread, thread);
    if (error) {
        free(thread->metrics);
        errno = error;
        return false;
    }
    metrics_register(thread->metrics);
    return true;
}

struct judge_bench *judge_bench_start(unsigned threads, struct audit *audit)
{
    struct judge_bench *bench = calloc(1, sizeof *bench + threads * sizeof *bench->threads);
    if (!bench)
        return NULL;
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->work, NULL);
    bench->audit = audit;
    bench->long_most = threads > 1 ? threads - 1 : 1;
    while (bench->n_threads < threads && start_thread(bench, &bench->threads[bench->n_threads]))
        bench->n_threads++;
    if (bench->n_threads == threads && threads > 0)
        return bench;
    int error = threads ? errno : EINVAL;
    judge_bench_stop(bench);
    errno = error;
    return NULL;
}

void judge_bench_stop(struct judge_bench *bench)
{
    if (!bench)
        return;
    pthread_mutex_lock(&bench->lock);
    bench->stop = true;
    pthread_cond_broadcast(&bench->work);
    pthread_mutex_unlock(&bench->lock);
    for (unsigned i = 0; i < bench->n_threads; i++)
        pthread_join(bench->threads[i].thread, NULL);
    pthread_cond_destroy(&bench->work);
    pthread_mutex_destroy(&bench->lock);
    free(bench);
}

bool judge_submit(struct judge_bench *bench, struct judge_job *job)
{
    pthread_mutex_lock(&bench->lock);
    struct queue *queue = job->work->sql_length > SHORT_TEXT ? &bench->long_ones : &bench->short_ones;
    bool room = queue->count < QUEUE && !bench->stop;
    if (room) {
        queue->jobs[(queue->first + queue->count) % QUEUE] = job;
        queue->count++;
        pthread_cond_signal(&bench->work);
    }
    pthread_mutex_unlock(&bench->lock);
    return room;
}

/*
 * The threads and their queue. The queue is a ring of fixed size: a session asks one question at a time, so
 * it fills only where very many sessions run DDL at once, and then the next one is told so instead of waiting
 * unseen.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "proxy/session/judge_inside.h"

enum { QUEUE = 1024 };

struct judge_thread {
    pthread_t thread;
    struct judge_bench *bench;
    struct metrics *metrics;
};

struct judge_bench {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct judge_job *queue[QUEUE];
    unsigned first, count;
    bool stop;
    struct audit *audit;
    unsigned n_threads;
    struct judge_thread threads[];
};

/* NULL: the bench stops and nothing is left. */
static struct judge_job *next_job(struct judge_bench *bench)
{
    struct judge_job *job = NULL;
    pthread_mutex_lock(&bench->lock);
    while (bench->count == 0 && !bench->stop)
        pthread_cond_wait(&bench->work, &bench->lock);
    if (bench->count) {
        job = bench->queue[bench->first];
        bench->first = (bench->first + 1) % QUEUE;
        bench->count--;
    }
    pthread_mutex_unlock(&bench->lock);
    return job;
}

static void *judge_thread(void *argument)
{
    struct judge_thread *self = argument;
    struct judge_job *job;
    while ((job = next_job(self->bench)) != NULL) {
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
    bool room = bench->count < QUEUE && !bench->stop;
    if (room) {
        bench->queue[(bench->first + bench->count) % QUEUE] = job;
        bench->count++;
        pthread_cond_signal(&bench->work);
    }
    pthread_mutex_unlock(&bench->lock);
    return room;
}

/*
 * The audit: a queue in memory and one thread that carries it to the file.
 *
 * Invariants
 * - A record gets its number, its time and its place in the queue in one step under the lock, so the order of
 *   numbers, of times and of lines in the file is one and the same.
 * - `durable` is the number of the last record that is on the disk. It only grows.
 * - While `broken`, no `decided` record is taken, and whoever waits is told at once. What was taken before
 * stays in memory and is tried again every second; only the end of a statement may be dropped, beyond
 * QUEUE_MAX, and the `outage` record that is written first thing afterwards counts those.
 * - The writer alone touches `file`, `taken`, `batch` and the chains; the rest is under the lock.
 */
#include "proxy/observe/audit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/observe/audit_file.h"
#include "proxy/observe/audit_record.h"
#include "proxy/observe/line.h"
#include "proxy/observe/log.h"

enum {
    QUEUE_MAX = 16 << 20, /* bytes that wait in memory */
    RETRY_SECONDS = 1,
    PATIENCE_SECONDS = 10 /* a disk that has not answered by then counts as broken */
};

struct audit {
    pthread_t writer;
    pthread_mutex_t lock;
    pthread_cond_t work; /* something for the writer to do */
    pthread_cond_t news; /* durable or broken has changed, or a swap is done */

    struct audit_record *first, **last;
    size_t queued_bytes; /* of all that is in memory, what the writer took included */
    uint64_t queued, next, durable, records, failures;
    bool stop, broken;
    char error[256];
    struct audit_outage outage;
    struct audit_file *swap; /* a new file that the writer shall go on with */
    bool swapped;

    struct audit_identity identity; /* of the file in use */
    bool sync;

    struct audit_record *taken; /* out of the queue and not yet durable; the counts are under the lock */
    uint64_t taken_records;
    size_t taken_bytes;
    struct audit_file file;
    struct chain written;  /* the end of what is durable */
    struct chain composed; /* the end of the batch */
    struct line batch;     /* what was taken, as lines; empty until it is composed */
};

static struct timespec deadline(int seconds)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += seconds;
    return time;
}

/* ---- the queue -------------------------------------------------------------------------------------- */

/* The lock is held. */
static uint64_t enqueue(struct audit *audit, struct audit_record *record)
{
    clock_gettime(CLOCK_REALTIME, &record->ts);
    record->seq = ++audit->next;
    record->next = NULL;
    *audit->last = record;
    audit->last = &record->next;
    audit->queued++;
    audit->queued_bytes += sizeof *record + record->length;
    pthread_cond_signal(&audit->work);
    return record->seq;
}

/* The lock is held. */
static void break_down(struct audit *audit, const char *error)
{
    if (!audit->broken) {
        audit->broken = true;
        audit->outage = (struct audit_outage){.refused = 0};
        clock_gettime(CLOCK_REALTIME, &audit->outage.since);
        snprintf(audit->outage.error, sizeof audit->outage.error, "%s", error);
        log_error("audit: %s; DDL is refused until it can be written again", error);
    }
    snprintf(audit->error, sizeof audit->error, "%s", error);
    pthread_cond_broadcast(&audit->news);
}

uint64_t audit_decided(struct audit *audit, const struct audit_decided *decided)
{
    struct audit_record *record = record_decided(decided);
    uint64_t number = 0;
    pthread_mutex_lock(&audit->lock);
    if (record && !audit->broken && !audit->stop && audit->queued_bytes < QUEUE_MAX)
        number = enqueue(audit, record);
    else if (audit->broken)
        audit->outage.refused++;
    pthread_mutex_unlock(&audit->lock);
    if (number == 0)
        free(record);
    return number;
}

static void append_end(struct audit *audit, struct audit_record *record)
{
    pthread_mutex_lock(&audit->lock);
    bool room = record && audit->queued_bytes < QUEUE_MAX;
    if (room) {
        enqueue(audit, record);
    } else {
        break_down(audit, record ? "too many records wait to be written" : "out of memory");
        audit->outage.lost++;
        /* wakes a writer that has nothing else to do: its next success ends the outage */
        pthread_cond_signal(&audit->work);
    }
    pthread_mutex_unlock(&audit->lock);
    if (!room)
        free(record);
}

void audit_finished(struct audit *audit, const struct audit_finished *finished)
{
    append_end(audit, record_finished(finished));
}

void audit_transaction(struct audit *audit, uint64_t decided, const char *txn)
{
    append_end(audit, record_transaction(decided, txn));
}

bool audit_wait(struct audit *audit, uint64_t number)
{
    if (number == 0)
        return false;
    struct timespec until = deadline(PATIENCE_SECONDS);
    int timeout = 0;
    pthread_mutex_lock(&audit->lock);
    while (audit->durable < number && !audit->broken && timeout != ETIMEDOUT)
        timeout = pthread_cond_timedwait(&audit->news, &audit->lock, &until);
    bool durable = audit->durable >= number;
    if (!durable && timeout == ETIMEDOUT)
        break_down(audit, "the disk has not answered for 10 seconds");
    pthread_mutex_unlock(&audit->lock);
    return durable;
}

void audit_state(struct audit *audit, struct audit_state *state)
{
    pthread_mutex_lock(&audit->lock);
    *state = (struct audit_state){.working = !audit->broken,
                                  .seq = audit->durable,
                                  .records = audit->records,
                                  .failures = audit->failures,
                                  .queued = audit->queued + audit->taken_records};
    if (audit->broken)
        memcpy(state->error, audit->error, sizeof state->error);
    pthread_mutex_unlock(&audit->lock);
}

/* ---- the writer ------------------------------------------------------------------------------------- */

/* The lock is held. */
static void take(struct audit *audit)
{
    audit->taken = audit->first;
    audit->taken_records = audit->queued;
    audit->taken_bytes = audit->queued_bytes;
    audit->first = NULL;
    audit->last = &audit->first;
    audit->queued = 0;
}

static void free_list(struct audit_record *record)
{
    while (record) {
        struct audit_record *next = record->next;
        free(record);
        record = next;
    }
}

/* Turns what was taken into lines. On failure it stays as it is. */
static bool compose(struct audit *audit)
{
    audit->composed = audit->written;
    if (audit->file.newline)
        line_put(&audit->batch, "\n", 1);
    for (const struct audit_record *record = audit->taken; record; record = record->next) {
        if (!record_chain(&audit->batch, record, &audit->composed)) {
            line_release(&audit->batch);
            return false;
        }
    }
    return true;
}

/* The lock is held. */
static void adopt(struct audit *audit, struct audit_file *file)
{
    audit_file_close(&audit->file);
    audit->file = *file;
    audit->identity = audit_file_identity(&audit->file);
    audit->sync = file->sync;
    if (audit->batch.length && audit->batch.bytes[0] == '\n')
        memmove(audit->batch.bytes, audit->batch.bytes + 1, --audit->batch.length);
}

/* A deleted file is replaced at once: what went there nobody could read. */
static void replace_deleted(struct audit *audit)
{
    struct audit_file file;
    char error[256];
    if (!audit_file_deleted(&audit->file))
        return;
    if (!audit_file_open(&file, audit->file.path, audit->file.sync, error, sizeof error)) {
        log_warning("audit: the file was deleted, and %s", error);
        return;
    }
    if (file.end != 0 || file.torn) {
        log_warning("audit: %s was deleted, and another log stands in its place", file.path);
        audit_file_close(&file);
        return;
    }
    log_warning("audit: %s was deleted; a new file goes on with the chain behind record %llu", file.path,
                (unsigned long long)audit->written.seq);
    pthread_mutex_lock(&audit->lock);
    adopt(audit, &file);
    pthread_mutex_unlock(&audit->lock);
}

/* The lock is not held. */
static bool carry(struct audit *audit, char *error, size_t size)
{
    replace_deleted(audit);
    if (audit->batch.length == 0 && !compose(audit)) {
        snprintf(error, size, "out of memory");
        return false;
    }
    return audit_file_append(&audit->file, audit->batch.bytes, audit->batch.length, error, size);
}

/* The lock is held. */
static void end_outage(struct audit *audit)
{
    audit->broken = false;
    audit->error[0] = '\0';
    log_info("audit: can be written again; refused meanwhile: %llu, lost: %llu",
             (unsigned long long)audit->outage.refused, (unsigned long long)audit->outage.lost);
    struct audit_record *record = record_outage(&audit->outage);
    if (record)
        enqueue(audit, record);
}

/* The lock is held. */
static void delivered(struct audit *audit)
{
    free_list(audit->taken);
    audit->taken = NULL;
    audit->records += audit->taken_records;
    audit->queued_bytes -= audit->taken_bytes;
    audit->taken_records = 0;
    audit->taken_bytes = 0;
    audit->written = audit->composed;
    audit->durable = audit->written.seq;
    audit->batch.length = 0;
    if (audit->batch.size > QUEUE_MAX / 16)
        line_release(&audit->batch);
    if (audit->broken)
        end_outage(audit);
    pthread_cond_broadcast(&audit->news);
}

/* The lock is held; let go meanwhile. */
static void pause_before_retry(struct audit *audit)
{
    struct timespec until = deadline(RETRY_SECONDS);
    int timeout = 0;
    while (!audit->stop && !audit->swap && timeout != ETIMEDOUT)
        timeout = pthread_cond_timedwait(&audit->work, &audit->lock, &until);
}

/* The lock is held. Takes the file that audit_reopen offers, unless it holds another chain. */
static void do_swap(struct audit *audit)
{
    struct audit_file *file = audit->swap;
    bool empty = file->end == 0 && !file->torn;
    bool ours = strcmp(file->head.hash, audit->written.hash) == 0 && !file->torn && !file->newline;
    audit->swap = NULL;
    audit->swapped = empty || ours;
    if (audit->swapped) {
        struct audit_record *record = record_rotated(audit->file.path);
        adopt(audit, file);
        if (record)
            enqueue(audit, record);
    }
    pthread_cond_broadcast(&audit->news);
}

static void *write_records(void *argument)
{
    struct audit *audit = argument;
    char error[256];
    pthread_mutex_lock(&audit->lock);
    for (;;) {
        while (!audit->first && !audit->taken && !audit->swap && !audit->stop && !audit->broken)
            pthread_cond_wait(&audit->work, &audit->lock);
        if (audit->swap)
            do_swap(audit);
        if (!audit->taken)
            take(audit);
        audit->file.sync = audit->sync;
        if (!audit->taken && audit->broken) {
            end_outage(audit); /* memory was short, the file is well */
            continue;
        }
        if (!audit->taken) {
            if (audit->stop)
                break;
            continue;
        }
        pthread_mutex_unlock(&audit->lock);
        bool fine = carry(audit, error, sizeof error);
        pthread_mutex_lock(&audit->lock);
        if (fine) {
            delivered(audit);
            continue;
        }
        audit->failures++;
        break_down(audit, error);
        if (audit->stop)
            break;
        pause_before_retry(audit);
    }
    pthread_mutex_unlock(&audit->lock);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void initialise(struct audit *audit)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&audit->work, &monotonic);
    pthread_cond_init(&audit->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&audit->lock, NULL);
    audit->last = &audit->first;
    audit->written = audit->file.head;
    audit->next = audit->durable = audit->written.seq;
    audit->identity = audit_file_identity(&audit->file);
    audit->sync = audit->file.sync;
    line_growing(&audit->batch);
}

static void release(struct audit *audit)
{
    free_list(audit->taken);
    free_list(audit->first);
    line_release(&audit->batch);
    audit_file_close(&audit->file);
    pthread_cond_destroy(&audit->work);
    pthread_cond_destroy(&audit->news);
    pthread_mutex_destroy(&audit->lock);
    free(audit);
}

static bool recover_torn(struct audit *audit)
{
    if (!audit->file.torn)
        return true;
    struct audit_record *record = record_recovered(audit->file.torn, audit->file.torn_length);
    if (!record)
        return false;
    log_warning("audit: the last line of %s was torn (%zu bytes); it is kept in a record of its own",
                audit->file.path, audit->file.torn_length);
    enqueue(audit, record);
    return true;
}

struct audit *audit_open(const char *path, bool sync, char *error, size_t error_size)
{
    struct audit *audit = calloc(1, sizeof *audit);
    if (!audit) {
        snprintf(error, error_size, "%s: out of memory", path);
        return NULL;
    }
    if (!audit_file_open(&audit->file, path, sync, error, error_size)) {
        free(audit);
        return NULL;
    }
    /* a file size limit shall be an error of the write, as a full disk is, and not end the process */
    signal(SIGXFSZ, SIG_IGN);
    initialise(audit);
    if (recover_torn(audit) && pthread_create(&audit->writer, NULL, write_records, audit) == 0)
        return audit;
    snprintf(error, error_size, "%s: out of memory or threads", path);
    release(audit);
    return NULL;
}

void audit_close(struct audit *audit)
{
    if (!audit)
        return;
    pthread_mutex_lock(&audit->lock);
    audit->stop = true;
    pthread_cond_broadcast(&audit->work);
    pthread_mutex_unlock(&audit->lock);
    pthread_join(audit->writer, NULL);
    uint64_t left = audit->queued + audit->taken_records;
    if (left)
        log_error("audit: %llu records could not be written", (unsigned long long)left);
    release(audit);
}

/* The lock is held. */
static bool offer(struct audit *audit, struct audit_file *file)
{
    struct timespec until = deadline(PATIENCE_SECONDS);
    int timeout = 0;
    audit->swap = file;
    audit->swapped = false;
    pthread_cond_broadcast(&audit->work);
    while (audit->swap && timeout != ETIMEDOUT)
        timeout = pthread_cond_timedwait(&audit->news, &audit->lock, &until);
    audit->swap = NULL;
    return audit->swapped;
}

bool audit_reopen(struct audit *audit, const char *path, bool sync, char *error, size_t error_size)
{
    pthread_mutex_lock(&audit->lock);
    bool same = audit_identity_is(&audit->identity, path);
    if (same)
        audit->sync = sync;
    pthread_mutex_unlock(&audit->lock);
    if (same)
        return true;

    struct audit_file file;
    if (!audit_file_open(&file, path, sync, error, error_size))
        return false;
    pthread_mutex_lock(&audit->lock);
    bool swapped = offer(audit, &file);
    pthread_mutex_unlock(&audit->lock);
    if (swapped)
        return true;
    snprintf(error, error_size,
             "%s: holds another chain, or the disk does not answer; the old file stays in use", path);
    audit_file_close(&file);
    return false;
}

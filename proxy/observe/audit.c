/*
 * The audit as its callers see it: the queue in memory, waiting for the disk, opening and closing. The thread
 * that carries the queue to the file is in audit_writer.c; what holds for both is said in audit_inside.h.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/observe/audit_inside.h"
#include "proxy/observe/log.h"

struct timespec audit_deadline(int seconds)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += seconds;
    return time;
}

/* ---- the queue -------------------------------------------------------------------------------------- */

/* The lock is held. */
uint64_t audit_enqueue(struct audit *audit, struct audit_record *record)
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
void audit_break(struct audit *audit, const char *error)
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
        number = audit_enqueue(audit, record);
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
        audit_enqueue(audit, record);
    } else {
        audit_break(audit, record ? "too many records wait to be written" : "out of memory");
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

void audit_transaction(struct audit *audit, uint64_t decided, uint64_t first, const char *txn)
{
    append_end(audit, record_transaction(decided, first, txn));
}

void audit_change(struct audit *audit, const struct audit_change *change)
{
    append_end(audit, record_change(change));
}

bool audit_wait(struct audit *audit, uint64_t number)
{
    if (number == 0)
        return false;
    struct timespec until = audit_deadline(PATIENCE_SECONDS);
    int timeout = 0;
    pthread_mutex_lock(&audit->lock);
    while (audit->durable < number && !audit->broken && timeout != ETIMEDOUT)
        timeout = pthread_cond_timedwait(&audit->news, &audit->lock, &until);
    bool durable = audit->durable >= number;
    if (!durable && timeout == ETIMEDOUT)
        audit_break(audit, "the disk has not answered for 10 seconds");
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
    audit_free_list(audit->taken);
    audit_free_list(audit->first);
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
    audit_enqueue(audit, record);
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
    if (recover_torn(audit) && pthread_create(&audit->writer, NULL, audit_write, audit) == 0)
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
    struct timespec until = audit_deadline(PATIENCE_SECONDS);
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

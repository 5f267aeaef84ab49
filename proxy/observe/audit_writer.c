/*
 * The audit's writer: takes all that is queued, chains it into lines, makes them durable with one sync, and
 * tells whoever waits. One batch is under way at a time; one that failed is tried again as it is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/audit_inside.h"
#include "proxy/observe/log.h"

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

void audit_free_list(struct audit_record *record)
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
        audit_enqueue(audit, record);
}

/* The lock is held. */
static void delivered(struct audit *audit)
{
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
    struct timespec until = audit_deadline(RETRY_SECONDS);
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
            audit_enqueue(audit, record);
    }
    pthread_cond_broadcast(&audit->news);
}

void *audit_write(void *argument)
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
        if (fine) { /* not under the lock, which loops wait for */
            audit_free_list(audit->taken);
            audit->taken = NULL;
        }
        pthread_mutex_lock(&audit->lock);
        if (fine) {
            delivered(audit);
            continue;
        }
        audit->failures++;
        audit_break(audit, error);
        if (audit->stop)
            break;
        pause_before_retry(audit);
    }
    pthread_mutex_unlock(&audit->lock);
    return NULL;
}

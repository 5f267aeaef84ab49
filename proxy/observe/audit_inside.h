/*
 * Inside the audit: what its callers' side (audit.c) and its writer (audit_writer.c) share.
 *
 * Invariants
 * - A record gets its number, its time and its place in the queue in one step under the lock, so the order of
 *   numbers, of times and of lines in the file is one and the same.
 * - `durable` is the number of the last record that is on the disk. It only grows.
 * - While `broken`, no `decided` record is taken, and whoever waits is told at once. What was taken before
 * stays in memory and is tried again every second; only ends of statements and transactions may be dropped,
 * beyond QUEUE_MAX, and the `outage` record that is written first thing afterwards counts those.
 * - The writer alone touches `file`, `taken`, `batch` and the chains; the rest is under the lock.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_AUDIT_INSIDE_H
#define PGSLUICE_PROXY_OBSERVE_AUDIT_INSIDE_H

#include <pthread.h>

#include "proxy/observe/audit.h"
#include "proxy/observe/audit_file.h"
#include "proxy/observe/audit_record.h"
#include "proxy/observe/line.h"

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

/* On CLOCK_MONOTONIC. */
struct timespec audit_deadline(int seconds);

/* The lock is held for each of these. */
uint64_t audit_enqueue(struct audit *, struct audit_record *);
void audit_break(struct audit *, const char *error);

/* The writer's thread. */
void *audit_write(void *argument);
void audit_free_list(struct audit_record *);

#endif

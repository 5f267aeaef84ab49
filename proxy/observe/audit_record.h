/*
 * The records of the audit as JSON text. Private to the audit.
 *
 * A record is made in two parts: what it says (on the caller's thread, `rest`), and its place in the chain
 * (`ts` and `seq` when it is queued, `prev` by the writer, who alone knows the line before).
 */
#ifndef PGSLUICE_PROXY_OBSERVE_AUDIT_RECORD_H
#define PGSLUICE_PROXY_OBSERVE_AUDIT_RECORD_H

#include <time.h>

#include "proxy/observe/audit.h"
#include "proxy/observe/audit_file.h"
#include "proxy/observe/line.h"

#define AUDIT_SQL_MAX  ((size_t)64 << 10) /* of a statement; the rest is told by length and SHA-256 */
#define AUDIT_TEXT_MAX ((size_t)4 << 10)  /* of any other text */

struct audit_record {
    struct audit_record *next;
    uint64_t seq;
    struct timespec ts;
    size_t length;
    char rest[]; /* `,"record":"decided", … }` */
};

/* Each gives a malloc'ed record, or NULL: out of memory. */
struct audit_record *record_decided(const struct audit_decided *);
struct audit_record *record_finished(const struct audit_finished *);
struct audit_record *record_change(const struct audit_change *);
struct audit_record *record_transaction(uint64_t decided, uint64_t first, const char *txn);
/* A torn line that was found at the file's end: as text, or in hexadecimal where it is not UTF-8 or holds
 * NUL. */
struct audit_record *record_recovered(const char *torn, size_t n);
/* The first record of a new file: says which file the chain comes from. */
struct audit_record *record_rotated(const char *from);

struct audit_outage {
    struct timespec since;
    uint64_t refused; /* decisions that could not be queued, and so were refused */
    uint64_t lost;    /* ends of statements and transactions that found no room in memory */
    char error[256];
};
struct audit_record *record_outage(const struct audit_outage *);

/* Puts the record's line, newline included, and moves the chain's end to it. False: out of memory. */
bool record_chain(struct line *batch, const struct audit_record *, struct chain *);

#endif

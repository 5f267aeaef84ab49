/*
 * The audit's file and its chain. Private to the audit.
 *
 * A file holds whole lines up to `end`; what lies behind (a line that was torn by a crash or a full disk) is
 * overwritten in place by the next append, which is always at least as long: it holds either the same bytes
 * or a `recovered` record that carries them.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_AUDIT_FILE_H
#define PGSLUICE_PROXY_OBSERVE_AUDIT_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proxy/net/digest.h"

/* A torn line longer than this was not written by us; records are shorter by far. */
#define AUDIT_LINE_MAX ((size_t)1 << 20)
/* A `recovered` record may carry a torn line with every byte escaped. */
#define AUDIT_RECOVERED_MAX (8 * AUDIT_LINE_MAX)

/* The end of a chain: what the next record refers to. */
struct chain {
    uint64_t seq;
    char hash[DIGEST_HEX + 1];
};

void chain_begin(struct chain *); /* seq 0 and a hash of zeros: nothing came before */

/* What a line says of its own place. The object is the caller's to json_decref. NULL and a reason if the line
 * is no record. `prev` points into the object. */
json_t *chain_read(const char *line, size_t n, uint64_t *seq, const char **prev, char *reason, size_t size);

struct audit_file {
    char *path;
    int fd;
    bool sync;
    bool repair;  /* bytes lie behind `end` */
    bool newline; /* the last record is whole but for its newline */
    off_t end;
    struct chain head; /* as found when it was opened */
    char *torn;        /* owned; or NULL */
    size_t torn_length;
};

/* Opens or creates, locks, and reads the end. Leaves no descriptor open on failure. */
bool audit_file_open(struct audit_file *, const char *path, bool sync, char *error, size_t size);
void audit_file_close(struct audit_file *); /* cuts off what a failed append of ours left behind `end` */

/* Writes whole lines and makes them durable. After a failure the same bytes must be given again, or bytes
 * that are at least as long. */
bool audit_file_append(struct audit_file *, const char *bytes, size_t n, char *error, size_t size);

/* A file that was moved away stays in use until we are told to reopen; one that was deleted cannot: nobody
 * could ever read what goes there. */
bool audit_file_deleted(const struct audit_file *);

struct audit_identity {
    dev_t device;
    ino_t inode;
};
struct audit_identity audit_file_identity(const struct audit_file *);
bool audit_identity_is(const struct audit_identity *, const char *path);

#endif

/*
 * The audit log: JSON Lines, each record chained to the one before (`prev` is the SHA-256 of the previous
 * line, `seq` counts without a gap over restarts).
 *
 * One writer thread owns the file. Callers append from any thread; audit_wait blocks until a record is on
 * disk (group commit: one fdatasync for all that came meanwhile) and must not be called on a loop. If the
 * file cannot be written or synced, appends of `decided` fail until a later attempt succeeds: whoever asked
 * refuses its DDL. The file is reopened on SIGHUP (log rotation); a new file goes on with the chain.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_AUDIT_H
#define PGSLUICE_PROXY_OBSERVE_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct audit;

/* Opens or creates `path` (0600), checks the end of the chain (a torn last line is set aside and said so).
 * NULL on failure with a message in error. */
struct audit *audit_open(const char *path, bool sync, char *error, size_t error_size);
void audit_close(struct audit *); /* writes what is queued */
bool audit_reopen(struct audit *, const char *path, bool sync, char *error, size_t error_size);

/* Strings may be NULL: left out of the record. UTF-8 (invalid bytes are written as U+FFFD). */
struct audit_decided {
    uint64_t session;
    const char *client, *user, *database, *application, *environment;
    const char *kind; /* command tag */
    const char *object;
    const char *table; /* that it is about, as SQL; an index's or a trigger's is the one that it is on */
    const char *lock;  /* that it would hold on that table: PostgreSQL's name, or "none" */
    const char *sql;
    size_t sql_length;
    uint64_t fingerprint;
    const char *verdict; /* "allow" … */
    const char *would;   /* under observe: what would have been; or NULL */
    const char *const *rules;
    const char *const *actions; /* what each of the rules says, "waived" where it was; or NULL */
    size_t n_rules;
    const char *waiver;
    bool rewritten;     /* another text of ours runs in its place */
    const char *reason; /* why a statement that no rule names is refused; or NULL */
};

/* Returns the record's number (its seq, never 0), or 0: it could not be queued. Does not block. */
uint64_t audit_decided(struct audit *, const struct audit_decided *);
/* True when record `number` (and all before it) are on disk; false when writing failed. Blocks. */
bool audit_wait(struct audit *, uint64_t number);

struct audit_finished {
    uint64_t decided;     /* number of the decided record: field "of" */
    const char *sqlstate; /* NULL: succeeded */
    const char *tag;
    int64_t rows; /* -1: none */
    double duration_ms;
    double lock_wait_ms; /* -1: not known */
    int64_t change;      /* the online change that it began; 0: none */
    const char *txn;     /* "committed" "rolled_back" "open" */
};
/* Neither blocks nor fails: queued in memory within a bound; beyond it the audit counts as broken. */
void audit_finished(struct audit *, const struct audit_finished *);
/* `first`: the first audited statement of the same transaction; may be `decided` itself. */
void audit_transaction(struct audit *, uint64_t decided, uint64_t first, const char *txn);

/* How an online change ended for the client that waited for it: "complete", "undone", "unknown", or "left":
 * it is no longer waited for. */
struct audit_change {
    uint64_t session;
    const char *database;
    int64_t change;
    const char *state, *sqlstate, *message; /* or NULL */
};
void audit_change(struct audit *, const struct audit_change *);

struct audit_state {
    bool working;
    uint64_t seq, records, failures, queued;
    char error[256];
};
void audit_state(struct audit *, struct audit_state *);

/* `pgsluice audit verify FILE` and `show FILE`: exit codes as of proxy/README.md. */
int cmd_audit(int argc, char **argv);

#endif

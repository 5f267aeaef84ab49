/*
 * The plan of an online change: how the author's statement is written anew so that it takes no long lock, and
 * what is left to be done behind it. Pure, like everything in policy/.
 *
 * The safe form is spliced from the author's own text at parse locations and parsed again to verify it; no
 * deparser. It runs as one DO block, because that is one statement in every place a statement can stand
 * (simple Query, Parse, the middle of a multi-statement Query), can retry a lock (an exception handler) and
 * carries the change's record in the same transaction.
 *
 * Ownership: everything hangs below the talloc parent.
 */
#ifndef PGSLUICE_POLICY_PLAN_H
#define PGSLUICE_POLICY_PLAN_H

#include "policy/policy.h"

enum plan_step_kind {
    PLAN_LOCK,     /* attempts that don't queue, then short ones; inside the client's statement */
    PLAN_ALTER,    /* the safe form; inside the client's statement */
    PLAN_RECORD,   /* the change's row; inside the client's statement */
    PLAN_FILL,     /* batches */
    PLAN_CHECK,    /* CHECK (c IS NOT NULL) NOT VALID */
    PLAN_VALIDATE, /* of a constraint: NOT NULL, CHECK or FOREIGN KEY */
    PLAN_INDEX,    /* CREATE [UNIQUE] INDEX CONCURRENTLY */
    PLAN_FINISH,   /* SET NOT NULL, ADD CONSTRAINT USING INDEX, IDENTITY: one short transaction */
    PLAN_ANALYZE
};

const char *plan_step_name(enum plan_step_kind); /* "fill" */

struct plan_step {
    enum plan_step_kind kind;
    enum lock_mode lock; /* on the table */
    bool looks_up;       /* PLAN_VALIDATE: each row is looked up in another table */
    bool brief;          /* the lock is held for milliseconds; else readers and writers go on beside it */
    const char *what;    /* "fills token in batches", for people */
    const char *sql;     /* what is executed, for people */
    double seconds;      /* estimated (plan_estimate.c); below 0: nothing is known */
};

struct plan {
    const char *text;     /* what the server gets in the statement's place: one DO block, UTF-8 */
    const char *tag;      /* the author's command tag: "ALTER TABLE" */
    const char *spec;     /* JSON for pgsluice.begin_change(); NULL: nothing is left to be done */
    const char **columns; /* that are quarantined until the change is complete: names as catalogued */
    size_t n_columns;
    const char **awaited; /* those of them whose rows or keys are made later: not even the transaction that
                             adds them may use them yet */
    size_t n_awaited;
    struct plan_step *steps;
    size_t n_steps;
    /* What it costs, estimated; below 0: nothing is known. */
    double wal_bytes, space_bytes; /* written to the log; on disk, until VACUUM gives room back for reuse */
};

struct plan_request {
    const struct facts *facts;
    const char *text; /* the statement's, UTF-8; facts' places count in it */
    size_t length;
    const struct policy_context *context; /* context->names must be there */
    const char *nonce; /* a word that nobody can guess: begin_change() names it in the message to the proxy */
};

/*
 * A plan, or NULL and *why: "a STORED generated column can only be made by rewriting the table". For a
 * statement that only takes a short ACCESS EXCLUSIVE lock on an existing table in use the plan is the lock
 * alone.
 */
struct plan *plan_of(const void *talloc_parent, const struct plan_request *, const char **why);

/* Version of the schema pgsluice that plans are written for. */
#define PLAN_SCHEMA_VERSION 1

/* Can changes be carried out in this database, by this role? Else *why, and in *remedy the command that
 * helps (or NULL). */
bool plan_possible(const void *talloc_parent, const struct policy_context *, const char **why,
                   const char **remedy);

/*
 * Is each string literal of an index's clauses followed by its type, as in 'active'::text? One that isn't is
 * read by the input function of what it is compared with, while the server looks at the statement: by the
 * time that it is built, its table's owner can have made that a type of his own, with code in it. The text
 * has neither backslashes, dollar quotes nor comments.
 */
bool plan_literals_typed(const char *sql);

/* Rules whose findings a plan answers: `online` may stand for them. */
bool plan_covers(enum rule);

#endif

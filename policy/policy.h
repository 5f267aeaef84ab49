/*
 * The judgement: facts + table facts + configuration -> effects, findings, verdict.
 *
 * Pure: no I/O, no clock, no global state; the same input gives the same verdict in the proxy and in
 * `pgsluice check`. Ownership: what is returned hangs below the talloc parent that is passed in.
 */
#ifndef PGSLUICE_POLICY_POLICY_H
#define PGSLUICE_POLICY_POLICY_H

#include "conf/conf.h"
#include "parser/facts.h"

struct catalog; /* policy/catalog.h */
struct plan;    /* policy/plan.h */

/* ---- effects: what PostgreSQL would do -------------------------------------------------------------- */

/* Weakest first, as the manual's table 13.2 lists them. */
enum lock_mode {
    LOCK_NONE,
    LOCK_ACCESS_SHARE,
    LOCK_ROW_SHARE,
    LOCK_ROW_EXCLUSIVE,
    LOCK_SHARE_UPDATE_EXCLUSIVE,
    LOCK_SHARE,
    LOCK_SHARE_ROW_EXCLUSIVE,
    LOCK_EXCLUSIVE,
    LOCK_ACCESS_EXCLUSIVE
};
const char *lock_mode_name(enum lock_mode); /* "AccessExclusiveLock"; "none" */

enum answer { ANSWER_NO, ANSWER_YES, ANSWER_UNKNOWN };
const char *answer_name(enum answer); /* "no" "yes" "unknown" */

struct effects {
    enum lock_mode lock; /* the strongest on the table itself */
    enum answer rewrite, scan, index_build, fails;
    const char *fails_with; /* PostgreSQL's message when fails is yes, or NULL */
};

/* ---- the verdict ------------------------------------------------------------------------------------ */

struct finding {
    enum rule rule;
    enum action action; /* what policy says; under observe: what it would have said */
    bool waived;
    bool unsure;         /* it rests on something unknown, and the file doesn't ask for it: never refused */
    int place;           /* byte offset in the statement; -1 if none */
    const char *message; /* one sentence: what the statement would do */
    const char *detail;  /* why it matters: lock, rows, time */
    const char *hint;    /* what to do now: the safe way, as SQL where there is some */
    const char *object;  /* column or constraint concerned, or NULL */
};

struct verdict {
    enum action action; /* in force: under observe never above warn (and then without a notice) */
    enum action would;  /* what the rules said before observe and waivers */
    struct effects effects;
    struct finding *findings; /* gravest first, then by place */
    size_t n_findings;
    const char *waiver; /* the waiver that was used: "volatile-default, reason", or NULL */
    /* The table (as SQL) that its transaction keeps locked behind this statement, so that others can notice,
     * and how: ACCESS EXCLUSIVE, or by LOCK TABLE at least EXCLUSIVE. NULL: none. */
    const char *locked;
    enum lock_mode locked_mode;
    /* What is to run in the statement's place: with action online never NULL where context.text was given;
     * with allow and warn a lock taken without queueing, or NULL. */
    struct plan *plan;
};

/* A lock that the transaction holds when the statement comes. */
struct policy_held {
    const char *table; /* as SQL */
    const char *by;    /* the tag of the statement that took it: "ALTER TABLE" */
    enum lock_mode mode;
    double seconds; /* for how long; 0: by a statement of the same message, or it isn't known */
    bool tell;      /* that it has been long was not said yet */
};

/* A query that takes something for granted of a table's columns, and may run against them when the statement
 * has changed them. */
struct policy_reader {
    enum row_use use;
    struct name table;
    const char *where; /* "line 12", "seeds.sql:12" */
};

struct policy_context {
    const struct conf *conf;
    const char *database, *role, *application; /* "" if unknown (application: or not set) */
    int server_version; /* 150004; 0: unknown, judged as the oldest that is supported */
    bool in_transaction;
    const struct policy_held *held; /* NULL: none is known */
    const char *start_waiver;       /* value of the start-up option pgsluice.waive, or NULL */
    /* What the server said of the names in the statement (and in statements in front of it in one message);
     * NULL: nothing is known (offline). */
    const struct catalog *names;
    /* `now` of the first catalog answer that this session got; 0: none before this one. A table that was made
     * since is new: whoever restores a dump or loads a table builds its keys on what nobody uses yet. */
    uint64_t since;
    /* policy_name_hash of the tables that this very session made: only those count as new. */
    const uint64_t *made;
    size_t n_made;
    /* Statements of the same message, or file, that run before this one and that `names` doesn't know of yet:
     * what they make is known to be new, what they change is no longer taken for as it was. */
    const struct facts *const *before;
    size_t n_before;
    bool first; /* nothing runs between what `names` says and this statement */
    /* Those that run behind it: a COMMENT may be among them. `whole`: nothing else will come (a file). */
    const struct facts *const *behind;
    size_t n_behind;
    bool whole;
    /* Queries that are known to be run; none of ROW_STAR but prepared ones. */
    const struct policy_reader *readers;
    size_t n_readers;
    /* For plans of online changes: the statement itself, that facts' places count in. NULL: no plans. */
    const char *text; /* UTF-8 */
    size_t length;
    bool backslashes; /* standard_conforming_strings is off: plain strings know backslash escapes */
    bool asked_anew;  /* of the statements in front, the server will know when this one runs: `pgsluice check`
                       */
    const char *nonce; /* by which the change's own message is known; NULL: none is wanted */
};

uint64_t policy_name_hash(const char *name);

struct verdict *policy_judge(const void *talloc_parent, const struct facts *, const struct policy_context *);

/* The findings that count, for people: what a rule on definitions says of several columns is one finding,
 * which names them all and has no object. NULL: out of memory. */
struct finding *verdict_told(const void *talloc_parent, const struct verdict *, size_t *n);

/* The effects alone. What hangs from the answer's pointers lives below talloc_parent. */
struct effects policy_effects(const void *talloc_parent, const struct facts *, const struct policy_context *);

/* The setting in force for a rule on an object, after profile, rules and overrides. `object` may be NULL.
 * `action` is always filled; has_action says that the file named it, not the profile. */
struct conf_rule policy_rule(const struct policy_context *, enum rule, const struct name *object);

/* Documentation of a rule, for `check --explain`. */
struct rule_doc {
    const char *summary;  /* one line */
    const char *happens;  /* what PostgreSQL does */
    const char *matters;  /* why that hurts */
    const char *safe_way; /* what to write instead */
    const char *source;   /* section of the PostgreSQL manual */
};
const struct rule_doc *rule_doc(enum rule);

#endif

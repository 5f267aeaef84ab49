/*
 * The configuration: one immutable snapshot, built whole from a YAML file or not at all.
 *
 * Ownership: a snapshot is reference counted. conf_load gives one reference; conf_ref takes another; the
 * last conf_unref frees it. Every pointer inside lives as long as the snapshot; nobody writes to it after
 * conf_load has returned, so any thread may read it without a lock.
 * Units: durations are milliseconds (int64_t, 0 = no limit unless said otherwise), sizes are bytes
 * (uint64_t). Strings are NUL-terminated, never NULL unless said "or NULL".
 */
#ifndef PGSLUICE_CONF_CONF_H
#define PGSLUICE_CONF_CONF_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What happens to a statement. Ordered: of several findings the greatest wins. */
enum action { ACTION_ALLOW, ACTION_WARN, ACTION_ONLINE, ACTION_APPROVE, ACTION_REJECT, ACTION_COUNT };

enum profile { PROFILE_OBSERVE, PROFILE_STANDARD, PROFILE_STRICT, PROFILE_COUNT };

enum rule_group { RULE_GROUP_CHANGE, RULE_GROUP_DEFINITION, RULE_GROUP_READERS, RULE_GROUP_SIBLING };

enum rule {
#define RULE(id, name, group, standard, strict, speaks) RULE_##id,
#include "conf/rules.def"
#undef RULE
    RULE_COUNT
};

const char *action_name(enum action);            /* "reject" */
bool action_of(const char *name, enum action *); /* false: no such action */
const char *profile_name(enum profile);
const char *rule_name(enum rule); /* "volatile-default" */
bool rule_of(const char *name, size_t length, enum rule *);
enum rule_group rule_group_of(enum rule);
bool rule_available(enum rule); /* false: the name is taken, the rule comes later */
bool rule_online(enum rule);    /* an online change answers it: action online can stand for it */
/* What the profile itself says of a rule; observe answers as standard does (and enforces nothing). */
enum action rule_profile_action(enum rule, enum profile);

/* libpq's names; on the client's leg verify-ca asks the client for a certificate that `ca` signed, and
 * verify-full also that its CN is the user's name. */
enum tls_mode { TLS_DISABLE, TLS_ALLOW, TLS_PREFER, TLS_REQUIRE, TLS_VERIFY_CA, TLS_VERIFY_FULL };

struct conf_tls {
    enum tls_mode mode;      /* default: client leg prefer when a certificate is given, else disable;
                                upstream leg prefer */
    const char *certificate; /* path or NULL */
    const char *key;         /* path or NULL */
    const char *ca;          /* path or NULL */
};

struct conf_listen {
    const char *address; /* "127.0.0.1", "::", "*", or an absolute directory for a socket .s.PGSQL.<port> */
    uint16_t port;
};

struct conf_host {
    const char *host; /* name, address, or absolute directory of a Unix socket */
    uint16_t port;
};

enum upstream_target { TARGET_ANY, TARGET_PRIMARY };

struct conf_upstream {
    struct conf_host *hosts;
    size_t n_hosts;              /* at least 1 */
    enum upstream_target target; /* default any */
    int64_t connect_timeout;     /* default 5 s; for one host */
    const char *monitor;         /* CONNINFO used to ask each host whether it is the primary, or NULL */
    int64_t check_interval;      /* default 2 s: how often the monitor asks */
};

#define CONF_SESSIONS 10000

struct conf_limits {
    uint32_t sessions;          /* in all; 0: not said, then CONF_SESSIONS or what the descriptors allow */
    uint32_t sessions_per_user; /* default 0: no limit */
    int64_t login_time;         /* default 60 s, as authentication_timeout */
    int64_t idle_time;          /* default 0: none */
    int64_t drain_time;         /* default 0: none; after SIGTERM, sessions still open are ended */
    uint64_t statement;         /* default 256 kB: the longest DDL statement that is parsed; at most 1 MB */
    uint64_t held_message;      /* default 4 MB: the longest message that is held whole until it is judged */
    uint64_t held_total;        /* default 256 MB: all held messages of the process together */
    uint64_t buffer;            /* default 64 kB: unsent bytes of one direction before reading stops */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct conf_log {
    enum log_level level;   /* default info */
    enum log_format format; /* default text; on standard error */
    bool sessions;          /* default false: a line for each session's start and end */
    const char *trace;      /* sessions whose every message is printed: "user=…", "database=…",
                               "application=…", "client=…" joined by ',' (all must match; globs), or NULL */
};

struct conf_audit {
    const char *path; /* or NULL: no audit */
    bool sync;        /* default true: fdatasync before a decision counts as written */
};

struct conf_admin {
    const char *address; /* or NULL: no admin port */
    uint16_t port;
};

enum wait_until { WAIT_DONE, WAIT_ADDED };
enum quarantine { QUARANTINE_REJECT, QUARANTINE_WARN, QUARANTINE_ALLOW };
enum on_disconnect { DISCONNECT_CONTINUE, DISCONNECT_UNDO };

/* When a backfill makes a pause; 0 and false: never for this reason. */
struct conf_throttle {
    uint32_t latency_percent; /* default 200: of what the application's latency was before the change */
    int64_t replication_lag;  /* default 5 s */
    uint32_t archive_backlog; /* default 42: WAL segments that wait to be archived */
    bool autovacuum;          /* default true: slower while autovacuum works on the table */
};

struct conf_online_table {
    const char *table; /* glob; without a dot: in any schema */
    enum quarantine quarantine;
};

struct conf_online {
    const char *maintenance; /* CONNINFO of the worker's login, or NULL: no online changes */
    enum wait_until wait;    /* default done */
    int64_t wait_limit;      /* default 0: none. The longest that an answer is held */
    enum on_disconnect
        on_disconnect;          /* default continue: of a client that is gone, or cancels, while it waits */
    int64_t stall_budget;       /* default 100 ms */
    int64_t lock_time;          /* default 60 s: how long a lock is tried for before the change fails */
    int64_t batch_time;         /* default 20 ms: what a batch of a backfill is aimed at */
    uint32_t workers;           /* default 2: changes that are worked on at one time */
    bool allow_superuser;       /* default false: the worker's login may be a superuser */
    enum quarantine quarantine; /* default reject */
    struct conf_online_table *tables; /* exceptions, in the file's order; a later one wins */
    size_t n_tables;
    struct conf_throttle throttle;
};

/* What a configuration says of one rule. Unset members fall back to the next outer scope. */
struct conf_rule {
    bool has_action;
    enum action action;
    const char *pattern; /* column-name only: POSIX extended regular expression, or NULL */
    regex_t *regex;      /* the same, compiled, or NULL */
    unsigned line;       /* where it was said; 0: not said */
};

/* Globs as of fnmatch(3); NULL: anything. */
struct conf_override {
    const char *database, *table, *role, *application, *environment;
    struct conf_rule rules[RULE_COUNT];
    unsigned line;
};

struct conf_policy {
    enum profile profile;      /* default standard */
    uint64_t small_table_rows; /* default 10000 */
    uint64_t small_table_size; /* default 8 MB */
    struct conf_rule rules[RULE_COUNT];
    struct conf_override *overrides; /* in the file's order; a later one wins */
    size_t n_overrides;
    const char **waiver_roles; /* roles that may waive; n 0: nobody */
    size_t n_waiver_roles;
    bool waiver_require_reason; /* default true */
};

struct conf {
    const char *path; /* the file it came from; "-" for text */
    unsigned threads; /* default 0: one per core */
    struct conf_listen *listen;
    size_t n_listen;
    struct conf_upstream upstream;
    struct conf_tls tls_client, tls_upstream; /* tls.client, tls.upstream */
    struct conf_limits limits;
    struct conf_log log;
    struct conf_audit audit;
    struct conf_admin admin;
    struct conf_online online;
    struct conf_policy policy;
    const char *environment; /* what this installation calls itself: "production"; "" if not said */
};

/* One mistake in a file; line and column start at 1. */
struct conf_mistake {
    unsigned line, column;
    char *text; /* "policy.rules.volatile-defalt: no such rule; did you mean volatile-default?" */
};

struct conf_mistakes {
    struct conf_mistake *items; /* in the file's order */
    size_t n;
};

/*
 * Read a configuration. On success a snapshot with one reference; else NULL and at least one mistake.
 * Every mistake is reported, not only the first (a YAML syntax error ends the list, since nothing behind it
 * can be read). The mistakes are the caller's, to be released with conf_mistakes_free in either case.
 * Files that are named inside (certificates, audit path) are not opened here.
 */
struct conf *conf_load(const char *path, struct conf_mistakes *);
struct conf *conf_load_text(const char *text, size_t length, const char *name, struct conf_mistakes *);
void conf_mistakes_free(struct conf_mistakes *);

/* Where nothing of the file speaks of a rule: the profile's action, but online instead of reject where an
 * online change answers it and this installation can carry one out. */
enum action conf_default_action(const struct conf *, enum rule);

struct conf *conf_ref(struct conf *);
void conf_unref(struct conf *);

/* What differs, one line each ("limits.sessions: 100 -> 200"), written to `out`; returns the number of
 * lines. `restart` counts those that only a restart brings into force (threads). */
size_t conf_diff(const struct conf *before, const struct conf *after, FILE *out, size_t *restart);

/* "100ms", "5s", "2 min", "1h", "1d" -> milliseconds. "8MB", "64kB", "1GB", "512B" -> bytes (units of 1024,
 * as PostgreSQL's memory parameters). A bare number is refused except 0: units must be said. */
bool conf_duration(const char *text, int64_t *milliseconds);
bool conf_size(const char *text, uint64_t *bytes);

#endif

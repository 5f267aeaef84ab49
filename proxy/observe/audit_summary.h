/*
 * `pgsluice audit summary`: what is gathered from a log. Private to audit_summary*.c.
 *
 * audit_summary.c reads; audit_summary_groups.c counts; audit_summary_advice.c says what to do;
 * audit_summary_text.c and audit_summary_json.c print.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_AUDIT_SUMMARY_H
#define PGSLUICE_PROXY_OBSERVE_AUDIT_SUMMARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SUMMARY_RULES = 64, SUMMARY_WORST = 5 };

/* What the policy said of a statement, or under observe would have said; what was waived apart. */
enum summary_class { SUMMARY_ALLOWED, SUMMARY_WAIVED, SUMMARY_WARNED, SUMMARY_REFUSED, SUMMARY_CLASSES };
enum summary_end { SUMMARY_UNKNOWN, SUMMARY_COMMITTED, SUMMARY_ROLLED_BACK, SUMMARY_OPEN };
enum summary_by { BY_RULE, BY_TABLE, BY_ROLE, BY_APPLICATION, SUMMARY_BY };

/* Texts by number; number 0 is the one for what has no name. */
struct summary_names {
    json_t *numbers, *texts;
};
const char *summary_name(const struct summary_names *, uint32_t number);

struct summary_statement {
    uint64_t seq, transaction, fingerprint;
    uint64_t refuse, warn, waived; /* a bit a rule */
    uint32_t names[SUMMARY_BY];    /* BY_RULE: the rule that is named first */
    enum summary_class class;
    enum summary_end end;
    bool observed, finished, failed; /* failed: the server refused it, not we */
    double duration_ms;
    json_t *record; /* NULL where nothing was said of it */
};

struct summary_end_record {
    uint64_t of, first; /* first 0: `finished` */
    enum summary_end end;
    bool failed;
    double duration_ms; /* below 0: not said */
};

struct summary {
    const char *since;                         /* the beginning of a time as the log writes it, or NULL */
    char earliest[40], latest[40], newest[40]; /* times of statements; newest: of any record */
    struct summary_names names[SUMMARY_BY];
    struct summary_statement *statements; /* by seq */
    size_t n, size;
    struct summary_end_record *ends;
    size_t n_ends, ends_size;
    size_t files, observed;
};

/* Statements with something in common. */
struct summary_group {
    uint32_t name;
    size_t statements, refused, warned, waived, committed, rolled_back, failed, fingerprints, transactions;
    double longest_ms, total_ms;
};

/* Groups of what the policy had something to say of, gravest first; to be freed. NULL: none, or no memory. */
struct summary_group *summary_groups(const struct summary *, enum summary_by, size_t *n);
/* Groups by enum summary_class, in that order. False: no memory. */
bool summary_classes(const struct summary *, struct summary_group[SUMMARY_CLASSES]);
/* The longest of those; how many were found. */
size_t summary_worst(const struct summary *, const struct summary_statement *[SUMMARY_WORST]);

/* What to do now, in sentences; to be freed. `settings` gets the rules that should only warn, to begin with.
 */
char *summary_advice(const struct summary *, json_t *settings);

bool summary_text(const struct summary *);
bool summary_json(const struct summary *);

#endif

/*
 * The schema: every key of the file as a row of a table. Reading (read.c) and comparing (diff.c) are led by
 * it.
 */
#ifndef PGSLUICE_CONF_SCHEMA_H
#define PGSLUICE_CONF_SCHEMA_H

#include "conf/reader.h"
#include "conf/snapshot.h"

enum field_kind {
    FIELD_STRING,   /* const char * */
    FIELD_CONNINFO, /* const char *, may hold a password: never printed */
    FIELD_BOOL,     /* bool */
    FIELD_NUMBER,   /* uint32_t */
    FIELD_COUNT,    /* uint64_t, a number of things */
    FIELD_PORT,     /* uint16_t */
    FIELD_DURATION, /* int64_t */
    FIELD_SIZE,     /* uint64_t */
    FIELD_WORD,     /* an enum, from 0 in the order of `words` */
    FIELD_ACTION,   /* a struct conf_rule: what is said of one rule */
    FIELD_RULES,    /* struct conf_rule[RULE_COUNT] */
    FIELD_STRINGS,  /* const char **, and a size_t at `count` */
    FIELD_LIST,     /* pointer to `size` byte items of `section`, and a size_t at `count` */
    FIELD_SECTION,  /* `section`, inside the same struct at `offset` */
    FIELD_LATER,    /* part of the contract, not implemented yet */
};

enum field_flag {
    FIELD_REQUIRED = 1, /* a section that stands in the file must have it */
    FIELD_RESTART = 2,  /* a change of it comes into force with a restart only */
    FIELD_ALIAS = 4,    /* another spelling of what another row holds: not compared */
    FIELD_FILLED = 8,   /* a list that may not be empty */
};

struct field {
    const char *key;
    enum field_kind kind;
    unsigned flags;
    size_t offset;
    uint64_t low, high;                 /* NUMBER, PORT, DURATION, SIZE */
    const char *const *words;           /* WORD; ends with NULL */
    const struct section *section;      /* SECTION, LIST */
    size_t count, size;                 /* LIST, STRINGS */
    enum rule rule;                     /* ACTION */
    const char *(*wrong)(const char *); /* STRING: NULL if the value is fine, else what it should be */
};

struct section {
    const struct field *fields;
    size_t n;
    /* What no row can say; called once all rows are read. `base` is what the rows' offsets count from. */
    void (*check)(struct reader *, const yaml_node_t *, const struct place *, void *base);
};

extern const struct section schema_root;

/* Reads a whole section into `base`; every mistake goes to the reader. */
void schema_read(struct reader *, const struct section *, const yaml_node_t *, const struct place *,
                 void *base);

/* rules.c: what a file says of rules. */
void rules_read(struct reader *, const yaml_node_t *, const struct place *,
                struct conf_rule rules[RULE_COUNT]);
void rules_read_one(struct reader *, enum rule, const yaml_node_t *, const struct place *,
                    struct conf_rule *);

/* values.c: what a string of the file must look like. */
const char *value_listen_address(const char *);
const char *value_admin_address(const char *);
const char *value_host(const char *);
const char *value_trace(const char *);
const char *value_path(const char *);
const char *value_not_empty(const char *);
const char *value_conninfo(const char *);

/* checks.c: what must hold between the keys of a section. */
void check_root(struct reader *, const yaml_node_t *, const struct place *, void *base);
void check_upstream(struct reader *, const yaml_node_t *, const struct place *, void *base);
void check_tls_client(struct reader *, const yaml_node_t *, const struct place *, void *base);
void check_tls_upstream(struct reader *, const yaml_node_t *, const struct place *, void *base);
void check_override(struct reader *, const yaml_node_t *, const struct place *, void *base);

#endif

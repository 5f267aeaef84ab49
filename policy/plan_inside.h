/*
 * A plan under construction. Private to policy/plan*.c.
 *
 * Each subcommand of the author's becomes: itself; or itself without what takes long, with more subcommands
 * behind it; or nothing, where all of it is left to the worker. What it became is a row of `meant`, and only
 * a statement that is read back as exactly those rows is ever executed (plan_verify.c).
 */
#ifndef PGSLUICE_POLICY_PLAN_INSIDE_H
#define PGSLUICE_POLICY_PLAN_INSIDE_H

#include "policy/effects.h"
#include "policy/plan.h"

/* A subcommand of the safe form. */
struct meant {
    enum alter_kind kind;
    const char *text;
    const struct alter *written; /* the author's, that this one stays or comes from */
    const bool *cut;             /* ADD COLUMN: which of the column's constraints it has no more */
    const char *integer;         /* ADD COLUMN of a serial: the type that stands there now; or NULL */
    bool null_default;           /* ADD COLUMN: DEFAULT NULL was put behind it */
    const char *column;          /* SET DEFAULT, DROP DEFAULT and constraints that stood inline; or NULL */
    const struct constraint *constraint; /* ADD CONSTRAINT */
};

/* A column that something is left to be done for, or that is new. */
struct planned_column {
    const char *name;
    bool added, fill, not_null, serial;
    const char *not_null_name;         /* or NULL */
    const struct constraint *identity; /* or NULL */
    const char *integer;               /* serial, identity: "bigint" */
    const char *options;               /* identity: the author's text; "" if there are none */
};

/* UNIQUE. */
struct planned_key {
    const struct constraint *key;
    const char *column; /* inline: its column; else NULL */
    bool deferrable, deferred;
};

struct planner {
    const struct plan_request *request;
    const struct facts *facts;
    const struct look *look;
    const struct parts *parts;
    const struct catalog_relation *relation;
    const char *table; /* as SQL */
    struct plan *plan; /* the memory of everything */
    const char *why;   /* there will be no plan */

    struct meant *meant; /* the safe ALTER */
    size_t n_meant;
    struct meant *behind; /* a second ALTER, for what can't stand in one with the first */
    size_t n_behind;
    struct planned_column *columns;
    size_t n_columns;
    struct planned_key *keys;
    size_t n_keys;
    const struct constraint **validate; /* CHECK and foreign keys that were made NOT VALID */
    size_t n_validate;
    const struct name **references; /* other tables that a foreign key points at */
    size_t n_references;
    const char *index;   /* CREATE INDEX … CONCURRENTLY */
    const char *safe[2]; /* statements to be executed, verified */
    size_t n_safe;
    enum lock_mode lock;
};

/* The first reason is the one that is told. */
void plan_refuse(struct planner *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends a zeroed row to a list; never NULL but for want of memory, which refuses. */
#define PLAN_ADD(planner, list, n)                                                                           \
    ((list) = talloc_realloc_size((planner)->plan, (list), sizeof *(list) * ((n) + 1)),                      \
     (list)[(n)] = (__typeof__(*(list))){0}, &(list)[(n)++])

/* The author's own text. */
char *plan_slice(const struct planner *, int from, int to);
const char *plan_quoted(const struct planner *, const char *name);
/* A literal that reads the same whatever standard_conforming_strings is. */
char *plan_literal(const void *memory, const char *text);

/* The row of a column, made where there is none. */
struct planned_column *plan_column(struct planner *, const char *name);
/* It becomes NOT VALID, and is validated later. */
void plan_not_valid(struct planner *, const struct constraint *);

void plan_add_column(struct planner *, const struct part *); /* plan_column.c */
void plan_subcommand(struct planner *, const struct part *); /* plan_sibling.c: all the others */
void plan_create_index(struct planner *);                    /* plan_sibling.c */
void plan_verify(struct planner *);                          /* plan_verify.c: meant -> safe, or why not */
bool plan_expr_same(const struct expr *, const struct expr *, int depth); /* plan_same.c */
bool plan_constraint_same(const struct constraint *, const struct constraint *, const char *inline_column);
bool plan_column_same(const struct meant *, const struct column_definition *);
void plan_write(struct planner *);    /* plan_write.c: the spec, and then */
void plan_block(struct planner *);    /* plan_block.c: the text */
void plan_steps(struct planner *);    /* plan_steps.c */
void plan_estimate(struct planner *); /* plan_estimate.c */

/* plan_refuse.c: what another session, later, would not make the same. */
void plan_default_moves(struct planner *, const struct expr *by_default);
void plan_identity_options(struct planner *, const char *options);
void plan_marked_not_null(struct planner *, const char *name);
void plan_only(struct planner *);

/* A CHECK that is in force while columns are being filled has to let their NULLs pass. */
void plan_check_in_force(struct planner *, const struct constraint *check);
/* May this expression be FALSE for a row in which the column is NULL? NO is certain. */
enum answer plan_false_for_null(const struct look *, const struct expr *, const char *column);

#endif

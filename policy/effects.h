/*
 * Effects of a statement, and of each of its parts: what findings are built on. Private to policy/.
 *
 * `fails` answers for what the statement itself and the catalog decide. It doesn't answer for rights that are
 * not an owner's, for a full disk, or for what a function that the statement calls may raise; and since the
 * number of rows is only ever an estimate, what depends on the rows is UNKNOWN. Offline it takes for granted
 * that the names the statement uses are there.
 */
#ifndef PGSLUICE_POLICY_EFFECTS_H
#define PGSLUICE_POLICY_EFFECTS_H

#include "policy/catalog.h"
#include "policy/expression.h"
#include "policy/policy.h"

/* ---- what is known of the table that a statement is about -------------------------------------------- */

struct table {
    const struct catalog_relation *relation; /* NULL: not known, or not there */
    bool missing;                            /* surely not there */
    bool fresh;   /* made by this transaction, or by a statement in front of this one */
    bool changed; /* a statement in front changes it: its columns and constraints are not those of the catalog
                   */
};

/* What the effects of one statement are derived from. */
struct look {
    const struct policy_context *context;
    const struct facts *facts;
    const struct catalog *names; /* NULL: names can't be resolved */
    struct table table;
};

struct look look_at(const struct policy_context *, const struct facts *);

/* Names of the statement can't be compared with the catalog's: their bytes are no characters (SQL_ASCII). */
bool look_blind(const struct look *);

/* Any table that a statement names, with the statements in front taken into account. */
struct table table_named(const struct look *, const struct name *);

/* The relation, where its columns and constraints are as the catalog says; else NULL. */
const struct catalog_relation *table_structure(const struct look *);

/* The table is smaller than policy.small_table says, its partitions and children included, and that is known.
 */
bool table_small(const struct look *);
double table_rows(const struct catalog_relation *); /* with children; -1: unknown */
uint64_t table_size(const struct catalog_relation *);

/* Nothing that this statement does to its table can hurt anybody: made by the same transaction, or since
 * the session began to ask, or temporary. */
bool table_private(const struct look *);

/* Can it, or a child, have rows of its own? Not views, foreign tables and composite types: they are never
 * read or rewritten. */
bool table_stores_rows(const struct look *);

/* Does the table hold rows? NO where that is certain, else UNKNOWN. */
enum answer table_has_rows(const struct look *);

/* The server believes it to be empty: nothing to worry about, and no proof. */
bool table_empty(const struct look *);

/* A statement in front makes, changes or drops something of this name. */
bool mentioned_in_front(const struct look *, const char *name);

/* The CREATE DOMAIN in front that makes this type, or NULL. */
const struct column_definition *domain_in_front(const struct look *, const struct type_name *);

/* Does the table have this column already? UNKNOWN where its columns are not known. */
enum answer table_has_column(const struct look *, const char *column);

/* ---- the parts of a statement ------------------------------------------------------------------------- */

/* One subcommand of ALTER TABLE. */
struct part {
    const struct alter *alter;
    const void *memory; /* parent for what is pointed to */
    enum lock_mode lock;
    enum answer rewrite;
    enum answer scan;     /* read to verify CHECK or NOT NULL: part of the rewrite where there is one */
    enum answer scan_key; /* read to verify a foreign key: a pass of its own in any case */
    enum answer index_build, fails;
    const char *fails_with;
    struct volatility by_default; /* ADD COLUMN: of its DEFAULT, or of the one that its domain has */
    enum answer constrained;      /* ADD COLUMN: of a domain with CHECK or NOT NULL */
    enum answer new_values;       /* rows get values: not possible where the row type is in use elsewhere */
};

struct parts {
    struct part *items; /* one each of facts->alters */
    size_t n;
    struct effects total;
};

/* Where the nested statement of this index runs: behind the ones in front of it. */
struct policy_context nested_context(const void *memory, const struct look *, size_t index);

/* The answer hangs below talloc_parent. */
struct parts *parts_of(const void *talloc_parent, const struct look *);

/* ALTER TABLE: fill the items of parts, which are zeroed, and the total. */
void alter_effects(struct parts *, const struct look *);
void effects_add_column(struct part *, const struct look *);
void effects_column_type(struct part *, const struct look *);
void effects_add_constraint(struct part *, const struct look *);
/* Does a subcommand that only changes the catalog fail? Needs the catalog. */
void effects_refused(struct part *, const struct look *);

enum answer answer_or(enum answer, enum answer);
enum answer answer_of(bool);

/* It fails for certain, with PostgreSQL's words. The first to say so is believed. */
void part_fails(struct part *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* It may fail. */
void part_may_fail(struct part *);

/* Is the written type the one that the column has, its length included? */
enum answer effects_type_same(const struct look *, const struct catalog_column *, const struct type_name *);

/* ---- keys (effects_key.c) ----------------------------------------------------------------------------- */

/* Is there what a foreign key refers to, and can these columns refer to it? `types` of the referring columns,
 * 0 where unknown. Only ever adds YES or UNKNOWN. */
void effects_reference(struct part *, const struct look *, const struct constraint *, const uint32_t *types,
                       size_t n);
/* A valid unique index already keeps two rows from being alike in these columns. */
bool effects_unique_proven(const struct catalog_relation *, const char *const *columns, size_t n);
const struct catalog_constraint *effects_constraint(const struct catalog_relation *, const char *name);
const struct catalog_constraint *effects_primary_key(const struct catalog_relation *);

/* ---- what isn't there (effects_missing.c) ------------------------------------------------------------ */

/* The column that an expression about the table names and the table doesn't have; NULL: none, or not known.
 */
const char *effects_missing_column(const struct look *, const struct expr *);
/* The type is known not to exist: the part fails. */
bool effects_missing_type(struct part *, const struct look *, const struct type_name *);

/* ---- constants (effects_constant.c) -------------------------------------------------------------------- */

/* Is the text one that the type's input function takes? UNKNOWN for types that are not looked into. */
enum answer literal_accepted(const struct type_name *, const char *text);
/* A whole number of at most nine digits, with its sign. */
bool constant_number(const struct expr *, long *out);
/* Does a CHECK hold for a column with this constant (NULL: for NULL)? YES, NO, or UNKNOWN: too hard to say.
 */
enum answer check_holds(const struct expr *check, const char *column, const struct expr *value);

/* ---- columns as they are defined ----------------------------------------------------------------------- */

/* The ADD COLUMN of the same statement that makes this column, or NULL. */
const struct column_definition *added_column(const struct facts *, const char *column);
/* The same statement drops this column, or this constraint. */
bool dropped_here(const struct facts *, enum alter_kind, const char *name);
/* The same statement drops the constraint, or a column, with which it may go. */
struct catalog_constraint;
bool constraint_dropped_here(const struct look *, const struct catalog_constraint *);

/* What a column's definition brings of its own accord. */
bool column_is_serial(const struct column_definition *);
/* A DEFAULT that is more than NULL, or NULL. */
const struct expr *column_default(const struct column_definition *, const struct look *);
/* NOT NULL or PRIMARY KEY is written. */
const struct constraint *column_not_null(const struct column_definition *);
/* Every row gets a value: serial, identity, generated, or a default (its domain's, too) that isn't NULL. */
bool column_filled(const struct column_definition *, const struct look *);

#endif

/*
 * Effects of a statement, and of each of its parts: what findings are built on. Private to policy/.
 */
#ifndef PGSLUICE_POLICY_EFFECTS_H
#define PGSLUICE_POLICY_EFFECTS_H

#include "policy/expression.h"
#include "policy/policy.h"

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
    struct volatility by_default; /* ADD COLUMN: of its own DEFAULT */
};

struct parts {
    struct part *items; /* one each of facts->alters */
    size_t n;
    struct effects total;
};

/* The answer hangs below talloc_parent. */
struct parts *parts_of(const void *talloc_parent, const struct facts *, const struct policy_context *);

/* ALTER TABLE: fill the items of parts, which are zeroed, and the total. */
void alter_effects(struct parts *, const struct facts *, const struct policy_context *);
/* ADD COLUMN, by itself. */
void effects_add_column(struct part *, const struct facts *, const struct policy_context *);

enum answer answer_or(enum answer, enum answer);

/* The table is smaller than policy.small_table says, and that is known. */
bool table_small(const struct policy_context *);

/* Nothing that this statement does to its table can hurt anybody: made by the same transaction, or temporary.
 */
bool table_private(const struct policy_context *);

/* Can it have rows of its own? Not views, foreign tables and composite types: they are never read or
 * rewritten. */
bool table_stores_rows(const struct facts *, const struct policy_context *);

/* Does the table hold rows? UNKNOWN without table facts. */
enum answer table_has_rows(const struct policy_context *);

/* Does the table have this column already? UNKNOWN without table facts. */
enum answer table_has_column(const struct policy_context *, const char *column);

/* The ADD COLUMN of the same statement that makes this column, or NULL. */
const struct column_definition *added_column(const struct facts *, const char *column);

/* What a column's definition brings of its own accord. */
bool column_is_serial(const struct column_definition *);
/* A DEFAULT that is more than NULL, or NULL. */
const struct expr *column_default(const struct column_definition *, const struct policy_context *);
/* NOT NULL or PRIMARY KEY is written. */
const struct constraint *column_not_null(const struct column_definition *);
/* Every row gets a value: serial, identity, generated, or a default that isn't NULL. */
bool column_filled(const struct column_definition *, const struct policy_context *);

#endif

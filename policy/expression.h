/*
 * What can be said of an expression from its text: is it volatile, is it NULL, how does it read.
 */
#ifndef PGSLUICE_POLICY_EXPRESSION_H
#define PGSLUICE_POLICY_EXPRESSION_H

#include "policy/policy.h"

struct look; /* policy/effects.h */

struct volatility {
    enum answer answer;
    const struct expr *culprit; /* the call (or cast, or operator) that decided; NULL when the answer is no */
};

/* With the catalog: cast to the column's type and as the planner leaves it. `target` may be NULL. */
struct volatility expression_volatility(const struct expr *, const struct look *,
                                        const struct type_name *target);

/* The constant NULL, casts of it to built-in types included: PostgreSQL takes such a default for none. */
bool expression_is_null(const struct expr *, const struct look *);

/* The expression as SQL text, or NULL where it holds something that can't be written back faithfully. */
char *expression_text(const void *talloc_parent, const struct expr *);

/* The culprit for a message: "gen_random_uuid()", "the cast to money_amount". */
char *expression_label(const void *talloc_parent, const struct expr *);

/* Can a column of this type be a domain with constraints, so that adding it rewrites? NO for built-in types
 * and arrays. */
enum answer type_constrained(const struct type_name *, const struct look *);

/* Major version to look names up with; 0 if the server is unknown. */
int context_major(const struct policy_context *);

#endif

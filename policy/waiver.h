/*
 * Waivers: "volatile-default, inline-check: the table is empty". Private to policy/.
 */
#ifndef PGSLUICE_POLICY_WAIVER_H
#define PGSLUICE_POLICY_WAIVER_H

#include "policy/policy.h"

/* Apply the statement's own waiver and the session's to the findings: waived ones are marked and allowed, and
 * a waiver that was given but doesn't count is explained in the finding's detail. */
void waivers_apply(struct verdict *, const struct facts *, const struct policy_context *);

#endif

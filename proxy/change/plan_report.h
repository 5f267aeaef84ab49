/*
 * What `pgsluice plan` has found out, told to people or to programs.
 */
#ifndef PGSLUICE_PROXY_CHANGE_PLAN_REPORT_H
#define PGSLUICE_PROXY_CHANGE_PLAN_REPORT_H

#include <stdio.h>

#include "policy/catalog.h"
#include "policy/plan.h"

struct plan_told {
    const char *sql;
    const struct facts *facts;
    const struct policy_context *context;
    const struct verdict *verdict; /* as the policy has it, without a plan */
    const struct plan *plan;       /* or NULL: */
    const char *why;               /* there is none */
    const char *not_here, *remedy; /* it can't be carried out in this database yet; or NULL */
};

void plan_report_text(const struct plan_told *, FILE *);
void plan_report_json(const struct plan_told *, FILE *);

#endif

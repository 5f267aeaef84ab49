/*
 * The parts of `pgsluice audit`. Private to the audit.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_AUDIT_COMMAND_H
#define PGSLUICE_PROXY_OBSERVE_AUDIT_COMMAND_H

int audit_verify(int n, char **paths);

struct audit_filter {
    const char *since; /* the beginning of a time as the log writes it, or NULL */
    const char *user, *verdict;
    int json;
};
int audit_show(const struct audit_filter *, int n, char **paths);
int audit_summary(const struct audit_filter *, int n, char **paths); /* since and json count */

#endif

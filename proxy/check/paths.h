/*
 * What the command line names: files as they are, a directory for the *.sql files below it.
 */
#ifndef PGSLUICE_PROXY_CHECK_PATHS_H
#define PGSLUICE_PROXY_CHECK_PATHS_H

#include <stdbool.h>
#include <stddef.h>

/* Called for each file; false ends nothing, but is remembered. */
typedef bool path_visitor(void *argument, const char *path);

/* A directory's files come in the order of their numbers (V9 before V10), hidden folders are left out. False:
 * a visit was, or the directory can't be read or holds no such file (which is said on standard error). */
bool paths_visit(const char *path, path_visitor *, void *argument);

#endif

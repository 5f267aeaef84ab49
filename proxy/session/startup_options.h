/*
 * The start-up parameter `options`: command-line switches of the server, in one string.
 */
#ifndef PGSLUICE_PROXY_SESSION_STARTUP_OPTIONS_H
#define PGSLUICE_PROXY_SESSION_STARTUP_OPTIONS_H

#define STARTUP_WAIVER "pgsluice.waive"

/* The value that `options` gives a setting (-c name=value, -cname=value, --name=value), the last one if there
 * are several; malloc'ed, or NULL. */
char *startup_option(const char *options, const char *name);

#endif

/*
 * The command `pgsluice serve`: the proxy in the foreground.
 */
#ifndef PGSLUICE_PROXY_SERVE_H
#define PGSLUICE_PROXY_SERVE_H

/* argv[0] is "serve". Returns the exit code: 0 after SIGTERM or SIGINT, 1 where the start failed, 2 for wrong
 * usage or a mistake in the configuration. */
int cmd_serve(int argc, char **argv);

#endif

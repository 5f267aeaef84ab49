/*
 * `pgsluice check`: judge migration files with the policy that the proxy has.
 */
#ifndef PGSLUICE_PROXY_CHECK_CMD_CHECK_H
#define PGSLUICE_PROXY_CHECK_CMD_CHECK_H

/* argv[0] is "check". Returns the exit code: 0 nothing found (or nothing as grave as --fail-on says), 1
 * findings, 2 usage, configuration, a file that can't be read, or a server that can't be asked. Reports go to
 * standard output, the coverage line and errors to standard error. */
int cmd_check(int argc, char **argv);

#endif

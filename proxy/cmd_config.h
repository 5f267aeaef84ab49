/*
 * The command `pgsluice config check FILE`: is this configuration fine, and what does its policy come to.
 */
#ifndef PGSLUICE_PROXY_CMD_CONFIG_H
#define PGSLUICE_PROXY_CMD_CONFIG_H

/* argv[0] is "config". Returns the exit code: 0 fine, 2 mistakes or wrong usage. */
int cmd_config(int argc, char **argv);

#endif

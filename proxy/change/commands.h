/* The commands about online changes. */
#ifndef PGSLUICE_PROXY_CHANGE_COMMANDS_H
#define PGSLUICE_PROXY_CHANGE_COMMANDS_H

int cmd_plan(int argc, char **argv);
int cmd_install(int argc, char **argv);
int cmd_uninstall(int argc, char **argv);
int cmd_changes(int argc, char **argv);

#endif

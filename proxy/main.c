/*
 * pgsluice: one binary, one row a command.
 */
#include <stdio.h>
#include <string.h>

#include "proxy/change/commands.h"
#include "proxy/check/cmd_check.h"
#include "proxy/cmd_config.h"
#include "proxy/observe/audit.h"
#include "proxy/serve.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *arguments, *summary;
} commands[] = {
    {"serve", cmd_serve, "-c FILE", "run the proxy in the foreground"},
    {"check", cmd_check, "[-c FILE] [FILE...|-]", "judge migration files with the same policy"},
    {"config", cmd_config, "check FILE", "every mistake in a configuration, with line and column"},
    {"audit", cmd_audit, "verify|show|summary F", "check and read the audit log, sum it up"},
    {"changes", cmd_changes, "[show|cancel ... N]", "follow and steer online changes"},
    {"plan", cmd_plan, "--connect CONNINFO SQL", "the steps an online change would take"},
    {"install", cmd_install, "--connect CONNINFO", "make a database ready for online changes"},
    {"uninstall", cmd_uninstall, "--connect CONNINFO", "take that back"},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out)
{
    fputs("usage: pgsluice COMMAND ...\n\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-9s %-22s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    fputs("\n`pgsluice COMMAND --help` says more; `pgsluice --version` says which one this is.\n", out);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) {
        printf("pgsluice %s\n", PGSLUICE_VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0) {
        print_usage(stdout);
        return 0;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (*name)
        fprintf(stderr, "pgsluice: no such command: %s\n", name);
    print_usage(stderr);
    return 2;
}

/*
 * The command lines of `pgsluice install` and `pgsluice uninstall`.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "proxy/change/commands.h"
#include "proxy/change/install.h"

static const char install_usage[] =
    "usage: pgsluice install --connect CONNINFO [--worker ROLE] [--published]\n";

static const char install_help[] =
    "Makes one database ready for online changes: the schema `pgsluice`, where they are on record, and the "
    "role that\n"
    "carries them out. One transaction; can be run again, and is what upgrades the schema. Then it says what "
    "remains\n"
    "to be done, as statements to be run.\n"
    "\n"
    "      --connect CONNINFO  the database, as a superuser (best) or as its owner: 'host=db1 dbname=shop "
    "user=postgres'\n"
    "      --worker ROLE       the worker's login; made if it is missing. Default: as before, else "
    "pgsluice_worker\n"
    "      --published         also where a publication is FOR ALL TABLES, whose subscribers have the tables "
    "or want none\n"
    "\n"
    "Exit code: 0 done, 1 the server refused and nothing was changed, 2 wrong usage or no connection.\n";

static const char uninstall_usage[] = "usage: pgsluice uninstall --connect CONNINFO [--force]\n";

static const char uninstall_help[] =
    "Takes the schema `pgsluice` and its record of changes out of one database. The worker's role stays.\n"
    "\n"
    "      --connect CONNINFO  the database, as whoever installed it or a superuser\n"
    "      --force             also while changes are unfinished: what they have done so far is left as it "
    "is\n"
    "\n"
    "Exit code: 0 done or nothing to do, 1 refused and nothing was changed, 2 wrong usage or no "
    "connection.\n";

struct options {
    const char *connect, *worker;
    bool published, force, helped;
};

static bool read_options(struct options *options, int argc, char **argv, const struct option *known)
{
    optind = 0; /* glibc: begin anew */
    for (int option; (option = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        if (option == 'C')
            options->connect = optarg;
        else if (option == 'w')
            options->worker = optarg;
        else if (option == 'p')
            options->published = true;
        else if (option == 'F')
            options->force = true;
        else if (option == 'h')
            options->helped = true;
        else
            return false;
    }
    return options->helped || (options->connect != NULL && optind == argc);
}

int cmd_install(int argc, char **argv)
{
    static const struct option known[] = {{"connect", required_argument, NULL, 'C'},
                                          {"worker", required_argument, NULL, 'w'},
                                          {"published", no_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct options options = {0};
    if (!read_options(&options, argc, argv, known)) {
        fputs(install_usage, stderr);
        return COMMAND_USAGE;
    }
    if (options.helped) {
        printf("%s%s", install_usage, install_help);
        return COMMAND_FINE;
    }
    struct install install = {
        .command = {.name = "pgsluice install"}, .asked = options.worker, .published = options.published};
    if (!command_connect(&install.command, options.connect))
        return COMMAND_USAGE;
    int code = install_run(&install);
    if (code == COMMAND_FINE)
        code = install_report(&install);
    command_disconnect(&install.command);
    return code;
}

int cmd_uninstall(int argc, char **argv)
{
    static const struct option known[] = {{"connect", required_argument, NULL, 'C'},
                                          {"force", no_argument, NULL, 'F'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct options options = {0};
    struct command command = {.name = "pgsluice uninstall"};
    if (!read_options(&options, argc, argv, known)) {
        fputs(uninstall_usage, stderr);
        return COMMAND_USAGE;
    }
    if (options.helped) {
        printf("%s%s", uninstall_usage, uninstall_help);
        return COMMAND_FINE;
    }
    if (!command_connect(&command, options.connect))
        return COMMAND_USAGE;
    int code = uninstall_run(&command, options.force);
    command_disconnect(&command);
    return code;
}

/*
 * The command line of `pgsluice changes`.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "conf/conf.h"
#include "proxy/change/changes.h"
#include "proxy/change/command.h"
#include "proxy/change/commands.h"

static const char usage[] = "usage: pgsluice changes [-c FILE | --connect CONNINFO] [--database NAME] "
                            "[--format text|json] [--watch] [--all]\n"
                            "       pgsluice changes ... show N|pause N|resume N|cancel N\n";

static const char help[] =
    "Follow and steer online changes: those under way and those finished since yesterday, of every database "
    "of the\n"
    "server that has the schema `pgsluice`.\n"
    "\n"
    "  -c, --config FILE       connect as online.maintenance says in the proxy's configuration\n"
    "      --connect CONNINFO  connect so; you see the changes of tables that you own. With a dbname: only "
    "there\n"
    "  -d, --database NAME     only this database\n"
    "      --format FORMAT     text, or json: an object a line\n"
    "      --watch             again each second, until nothing is under way any more\n"
    "      --all               also what was finished before yesterday\n"
    "\n"
    "  show N                  all that is known of change N; with --watch, until it is finished\n"
    "  pause N, resume N       the worker stops at its next checkpoint, and goes on\n"
    "  cancel N                undo it: what it added is dropped again, and whoever waits for it is told\n"
    "\n"
    "Without -c and --connect, libpq's variables (PGHOST, PGDATABASE ...) say where.\n"
    "Exit code: 0 fine, 1 refused, or there is no such change, or one that is shown is stuck (show: or was "
    "undone),\n"
    "2 wrong usage or configuration, or no database that can be asked.\n";

struct options {
    const char *config, *connect, *verb;
    struct changes_ask ask;
    bool json, watch, helped;
    struct conf *conf;
};

/* ---- options ---- */

static bool read_option(struct options *options, int option)
{
    switch (option) {
    case 'c':
        options->config = optarg;
        return true;
    case 'C':
        options->connect = optarg;
        return true;
    case 'd':
        options->ask.database = optarg;
        return true;
    case 'f':
        options->json = strcmp(optarg, "json") == 0;
        if (!options->json && strcmp(optarg, "text") != 0)
            fprintf(stderr, "pgsluice changes: no such format: %s (text, json)\n", optarg);
        return options->json || strcmp(optarg, "text") == 0;
    case 'w':
        return options->watch = true;
    case 'a':
        return options->ask.all = true;
    case 'h':
        return options->helped = true;
    default:
        fputs(usage, stderr);
        return false;
    }
}

/* "show 3" */
static bool read_verb(struct options *options, int argc, char **argv)
{
    static const char *const verbs[] = {"show", "pause", "resume", "cancel"};
    if (argc == 0)
        return true;
    options->verb = argv[0];
    if (strcmp(argv[0], "approve") == 0 || strcmp(argv[0], "deny") == 0) {
        fprintf(stderr, "pgsluice changes: approvals come with a later version; there is nothing to %s yet\n",
                argv[0]);
        return false;
    }
    bool known = false;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        known = known || strcmp(argv[0], verbs[i]) == 0;
    if (known && argc == 2 && strspn(argv[1], "0123456789") == strlen(argv[1]) && *argv[1] &&
        strlen(argv[1]) < 19) {
        options->ask.id = argv[1];
        return true;
    }
    fputs(usage, stderr);
    return false;
}

static bool read_options(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},   {"connect", required_argument, NULL, 'C'},
        {"database", required_argument, NULL, 'd'}, {"format", required_argument, NULL, 'f'},
        {"watch", no_argument, NULL, 'w'},          {"all", no_argument, NULL, 'a'},
        {"help", no_argument, NULL, 'h'},           {0}};
    optind = 0; /* glibc: begin anew */
    for (int option; (option = getopt_long(argc, argv, "c:d:h", known, NULL)) != -1;) {
        if (!read_option(options, option))
            return false;
    }
    if (options->config != NULL && options->connect != NULL) {
        fputs("pgsluice changes: either -c or --connect\n", stderr);
        return false;
    }
    return options->helped || read_verb(options, argc - optind, argv + optind);
}

/* ---- where ---- */

static bool read_config(struct options *options)
{
    struct conf_mistakes mistakes = {0};
    options->conf = conf_load(options->config, &mistakes);
    for (size_t i = 0; i < mistakes.n; i++)
        fprintf(stderr, "%s:%u:%u: %s\n", options->config, mistakes.items[i].line, mistakes.items[i].column,
                mistakes.items[i].text);
    conf_mistakes_free(&mistakes);
    if (options->conf == NULL)
        return false;
    options->ask.conninfo = options->conf->online.maintenance;
    if (options->ask.conninfo == NULL)
        fprintf(stderr,
                "pgsluice changes: %s has no online.maintenance: this proxy makes no online changes\n",
                options->config);
    return options->ask.conninfo != NULL;
}

static bool find_place(const void *parent, struct options *options)
{
    if (options->config != NULL)
        return read_config(options);
    options->ask.conninfo = options->connect == NULL ? "" : options->connect;
    if (options->ask.database == NULL)
        options->ask.database = command_database(parent, options->ask.conninfo);
    return true;
}

/* ---- showing ---- */

static int show(const struct options *options, const struct changes_list *list, bool terminal)
{
    bool one = options->ask.id != NULL, bad = one && list->n == 0;
    if (options->json)
        changes_print_json(list, stdout);
    else if (!one)
        changes_print(list, terminal, stdout);
    for (size_t i = 0; one && !options->json && i < list->n; i++)
        changes_print_one(&list->rows[i], terminal, stdout);
    if (one && list->n == 0)
        fprintf(stderr, "pgsluice changes: there is no change %s that you may see\n", options->ask.id);
    for (size_t i = 0; i < list->n; i++)
        bad = bad || strcmp(list->rows[i].state, "stuck") == 0 ||
              (one && strcmp(list->rows[i].state, "undone") == 0);
    fflush(stdout);
    return bad ? COMMAND_REFUSED : COMMAND_FINE;
}

/* Nothing moves by itself any more. */
static bool at_rest(const struct changes_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *state = list->rows[i].state;
        if (!changes_finished(&list->rows[i]) && strcmp(state, "stuck") != 0 && strcmp(state, "foreign") != 0)
            return false;
    }
    return true;
}

static int list_changes(struct options *options)
{
    bool terminal = isatty(STDOUT_FILENO) == 1 && !options->json;
    for (;;) {
        struct changes_list list;
        void *parent = talloc_new(NULL);
        int code = changes_read(parent, &options->ask, &list);
        if (code == COMMAND_FINE) {
            if (options->watch && terminal)
                fputs("\033[H\033[J", stdout); /* home, and clear what is below */
            code = show(options, &list, terminal);
        }
        bool over = code == COMMAND_USAGE || at_rest(&list);
        talloc_free(parent);
        if (!options->watch || over)
            return code;
        sleep(1);
    }
}

static int steer(struct options *options)
{
    static const struct {
        const char *verb, *then;
    } words[] = {{"pause", "will make a pause at its next checkpoint; `resume` makes it go on"},
                 {"resume", "goes on"},
                 {"cancel", "will be undone; `show` says when it is"}};
    void *parent = talloc_new(NULL);
    struct changes_list list;
    int code = changes_steer(parent, &options->ask, options->verb, &list);
    for (size_t i = 0; code == COMMAND_FINE && i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].verb, options->verb) == 0)
            printf("change %s of %s in %s %s\n", options->ask.id, list.rows[0].table, list.rows[0].database,
                   words[i].then);
    }
    talloc_free(parent);
    return code;
}

int cmd_changes(int argc, char **argv)
{
    struct options options = {0};
    if (!read_options(&options, argc, argv))
        return COMMAND_USAGE;
    if (options.helped) {
        printf("%s\n%s", usage, help);
        return COMMAND_FINE;
    }
    void *parent = talloc_new(NULL);
    int code = COMMAND_USAGE;
    if (find_place(parent, &options))
        code = options.verb == NULL || strcmp(options.verb, "show") == 0 ? list_changes(&options)
                                                                         : steer(&options);
    if (options.conf != NULL)
        conf_unref(options.conf);
    talloc_free(parent);
    return code;
}

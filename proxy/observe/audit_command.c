/*
 * `pgsluice audit verify|show|summary FILE…`: reading the command line.
 */
#include "proxy/observe/audit_command.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
#include "proxy/observe/audit.h"
#include "proxy/observe/line.h"

static const char usage_text[] =
    "usage: pgsluice audit verify FILE...\n"
    "       pgsluice audit show [--since TIME] [--user NAME] [--verdict VERDICT] [--json] FILE...\n"
    "       pgsluice audit summary [--since TIME] [--format text|json] FILE...\n"
    "\n"
    "verify   checks that each record follows from the one before; 1 if not\n"
    "show     one row a decision, with how the statement and its transaction ended\n"
    "summary  what the policy refused and warned of in the last 7 days, or under observe would\n"
    "         have: by rule, table, role and application, the statements that took longest, and\n"
    "         which settings to begin with\n"
    "\n"
    "Several files are given in the order of their rotation, oldest first; summary takes them in any\n"
    "order, and - for standard input. Exit status: 0 fine; 1 the chain is broken, or a line can't be\n"
    "read; 2 usage, or a file can't be read.\n"
    "TIME: 2026-01-31, 2026-01-31T17:00 (UTC), or how long ago: 90min, 2h, 7d\n"
    "\n"
    "In the summary a shape is a statement without its constants (the record's fingerprint),\n"
    "transact. is how many transactions the statements were in, committ. how many of the statements\n"
    "were committed, failed how many the server itself refused.\n";

static int usage(void)
{
    fputs(usage_text, stderr);
    return 2;
}

/* Is it the beginning of "2026-01-31T17:00:00.000000Z", at least a day? Such texts sort as times do. */
static bool time_shaped(const char *text)
{
    static const char shape[] = "0000-00-00T00:00:00.000000Z";
    size_t n = strlen(text);
    if (n < 10 || n >= sizeof shape)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool digit = isdigit((unsigned char)text[i]) != 0;
        if (shape[i] == '0' ? !digit : text[i] != shape[i])
            return false;
    }
    return true;
}

static bool since_of(const char *text, char *since, size_t size)
{
    int64_t milliseconds;
    if (time_shaped(text)) {
        snprintf(since, size, "%s", text);
        since[strcspn(since, "Z")] = '\0';
        return true;
    }
    if (!conf_duration(text, &milliseconds) || milliseconds < 0)
        return false;
    struct timespec then;
    struct line line;
    clock_gettime(CLOCK_REALTIME, &then);
    then.tv_sec -= milliseconds / 1000;
    line_fixed(&line, since, size - 1);
    line_time(&line, &then, 6);
    since[line.length] = '\0';
    return true;
}

static int show(int argc, char **argv)
{
    static const struct option options[] = {{"since", required_argument, NULL, 's'},
                                            {"user", required_argument, NULL, 'u'},
                                            {"verdict", required_argument, NULL, 'v'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    struct audit_filter filter = {0};
    char since[40];
    enum action action;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's' && since_of(optarg, since, sizeof since)) {
            filter.since = since;
        } else if (option == 'u') {
            filter.user = optarg;
        } else if (option == 'v' && action_of(optarg, &action)) {
            filter.verdict = optarg;
        } else if (option == 'j') {
            filter.json = 1;
        } else {
            if (option == 's' || option == 'v')
                fprintf(stderr, "pgsluice: %s: no such %s\n", optarg,
                        option == 's'
                            ? "time"
                            : "verdict (allow, warn, online, approve, reject; what profile observe only "
                              "would have done counts as well)");
            return usage();
        }
    }
    if (optind >= argc)
        return usage();
    return audit_show(&filter, argc - optind, argv + optind);
}

static int summary(int argc, char **argv)
{
    static const struct option options[] = {
        {"since", required_argument, NULL, 's'}, {"format", required_argument, NULL, 'f'}, {0}};
    char since[40];
    struct audit_filter filter = {.since = since};
    int option;
    since_of("7d", since, sizeof since);
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's' && since_of(optarg, since, sizeof since))
            continue;
        if (option == 'f' && (strcmp(optarg, "json") == 0 || strcmp(optarg, "text") == 0)) {
            filter.json = optarg[0] == 'j';
            continue;
        }
        if (option == 's' || option == 'f')
            fprintf(stderr, "pgsluice: %s: no such %s\n", optarg, option == 's' ? "time" : "format");
        return usage();
    }
    if (optind >= argc)
        return usage();
    return audit_summary(&filter, argc - optind, argv + optind);
}

int cmd_audit(int argc, char **argv)
{
    for (int i = 1; i < argc && i <= 2; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage_text, stdout);
            return 0;
        }
    }
    if (argc >= 3 && strcmp(argv[1], "verify") == 0 && argv[2][0] != '-')
        return audit_verify(argc - 2, argv + 2);
    if (argc >= 3 && strcmp(argv[1], "show") == 0)
        return show(argc - 1, argv + 1);
    if (argc >= 3 && strcmp(argv[1], "summary") == 0)
        return summary(argc - 1, argv + 1);
    return usage();
}

/*
 * The command line of `pgsluice check`: options, configuration, files; the work is in check.c.
 */
#include "proxy/check/cmd_check.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "proxy/check/check.h"

enum { EXIT_FINE = 0, EXIT_FOUND = 1, EXIT_USAGE = 2 };

/* What judging needs when no file is given: the profile `standard`. */
static const char no_file[] =
    "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: 127.0.0.1, port: 5432}\n";

static const char usage[] =
    "usage: pgsluice check [OPTION]... FILE...|-\n"
    "       pgsluice check --explain RULE\n"
    "Judge the statements of migration files as the proxy would.\n"
    "  -c, --config FILE         the policy's configuration; without it, profile standard\n"
    "      --format text|json    for people, or one object a statement and line\n"
    "      --server-version N    13 to 18, or 15.4; without it, names are looked up in all of them\n"
    "      --role NAME           who will run them: for waivers and overrides\n"
    "      --database NAME, --application NAME  likewise, for overrides\n"
    "      --explain RULE        what a rule is about, and the safe way\n";

struct options {
    const char *config, *explain;
    struct check check;
    char **files;
    int n_files;
    int result; /* of the thread */
};

/* "15", "15.4" or "150004"; 0: none of these. */
static int server_version(const char *text)
{
    char *end;
    long major = strtol(text, &end, 10), minor = 0;
    if (end != text && *end == '.')
        minor = strtol(end + 1, &end, 10);
    if (end == text || *end != '\0' || minor < 0 || minor > 9999)
        return 0;
    if (major >= 90000 && major <= 999999)
        return (int)major;
    return major >= 10 && major <= 99 ? (int)(major * 10000 + minor) : 0;
}

static bool read_format(struct check *check, const char *text)
{
    if (strcmp(text, "text") == 0)
        check->format = CHECK_TEXT;
    else if (strcmp(text, "json") == 0)
        check->format = CHECK_JSON;
    else {
        fprintf(stderr, "pgsluice check: no such format: %s (text, json)\n", text);
        return false;
    }
    return true;
}

static bool read_version(struct check *check, const char *text)
{
    check->context.server_version = server_version(text);
    if (check->context.server_version == 0)
        fprintf(stderr, "pgsluice check: not a server version: %s (write 13 to 18, or 15.4)\n", text);
    return check->context.server_version != 0;
}

static bool read_option(struct options *options, int option)
{
    struct check *check = &options->check;
    switch (option) {
    case 'c':
        options->config = optarg;
        return true;
    case 'f':
        return read_format(check, optarg);
    case 'v':
        return read_version(check, optarg);
    case 'r':
        check->context.role = optarg;
        return true;
    case 'd':
        check->context.database = optarg;
        return true;
    case 'a':
        check->context.application = optarg;
        return true;
    case 'e':
        options->explain = optarg;
        return true;
    default:
        fputs(usage, stderr);
        return false;
    }
}

static bool read_options(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},         {"format", required_argument, NULL, 'f'},
        {"server-version", required_argument, NULL, 'v'}, {"role", required_argument, NULL, 'r'},
        {"database", required_argument, NULL, 'd'},       {"application", required_argument, NULL, 'a'},
        {"explain", required_argument, NULL, 'e'},        {NULL, 0, NULL, 0}};
    optind = 0; /* glibc: begin anew */
    for (int option; (option = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        if (!read_option(options, option))
            return false;
    }
    options->files = argv + optind;
    options->n_files = argc - optind;
    if (options->n_files == 0 && options->explain == NULL)
        fputs(usage, stderr);
    return options->n_files > 0 || options->explain != NULL;
}

static int explain(const char *name)
{
    enum rule rule;
    if (rule_of(name, strlen(name), &rule)) {
        report_rule(rule, stdout);
        return EXIT_FINE;
    }
    fprintf(stderr, "pgsluice check: no such rule: %s; the rules are", name);
    for (int i = 0; i < RULE_COUNT; i++)
        fprintf(stderr, " %s", rule_name((enum rule)i));
    fputc('\n', stderr);
    return EXIT_USAGE;
}

static bool check_file(struct check *check, const char *path)
{
    bool standard_input = strcmp(path, "-") == 0;
    FILE *file = standard_input ? stdin : fopen(path, "re");
    struct source *source = file == NULL ? NULL : source_read(NULL, standard_input ? "<stdin>" : path, file);
    if (source == NULL)
        fprintf(stderr, "pgsluice check: %s: %s\n", path, strerror(errno));
    if (file != NULL && !standard_input)
        fclose(file);
    if (source == NULL)
        return false;
    check_source(check, source);
    talloc_free(source);
    return true;
}

static void *check_files(void *argument)
{
    struct options *options = argument;
    bool read = true;
    for (int i = 0; i < options->n_files; i++)
        read = check_file(&options->check, options->files[i]) && read;
    fflush(options->check.out);
    report_coverage(&options->check.count, stderr);
    if (!read || ferror(options->check.out))
        options->result = EXIT_USAGE;
    else
        options->result = check_found(&options->check.count) ? EXIT_FOUND : EXIT_FINE;
    return NULL;
}

static struct conf *read_config(const char *path)
{
    struct conf_mistakes mistakes = {0};
    struct conf *conf = path == NULL ? conf_load_text(no_file, sizeof no_file - 1, "-", &mistakes)
                                     : conf_load(path, &mistakes);
    for (size_t i = 0; i < mistakes.n; i++)
        fprintf(stderr, "%s:%u:%u: %s\n", path == NULL ? "-" : path, mistakes.items[i].line,
                mistakes.items[i].column, mistakes.items[i].text);
    conf_mistakes_free(&mistakes);
    return conf;
}

int cmd_check(int argc, char **argv)
{
    struct options options = {.check = {.context = {.database = "", .role = "", .application = ""},
                                        .out = stdout,
                                        .colour = isatty(1) == 1}};
    if (!read_options(&options, argc, argv))
        return EXIT_USAGE;
    if (options.explain != NULL)
        return explain(options.explain);
    struct conf *conf = read_config(options.config);
    if (conf == NULL)
        return EXIT_USAGE;
    options.check.context.conf = conf;
    pthread_t thread; /* parsing wants a large stack */
    if (parser_thread_create(&thread, check_files, &options) != 0) {
        fprintf(stderr, "pgsluice check: no thread: %s\n", strerror(errno));
        conf_unref(conf);
        return EXIT_USAGE;
    }
    pthread_join(thread, NULL);
    conf_unref(conf);
    return options.result;
}

/*
 * The command line of `pgsluice check`: options, configuration, files; the work is in check.c.
 */
#include "proxy/check/cmd_check.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "proxy/check/ahead.h"
#include "proxy/check/connect.h"
#include "proxy/check/paths.h"
#include "proxy/check/report.h"

enum { SERVER_OLDEST = 13, SERVER_NEWEST = 18 };
enum { EXIT_FINE = 0, EXIT_FOUND = 1, EXIT_USAGE = 2 };

/* What judging needs when no file is given: the profile `standard`. */
static const char no_file[] =
    "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: 127.0.0.1, port: 5432}\n";

static const char usage[] = "usage: pgsluice check [OPTION]... FILE|DIRECTORY...|-\n"
                            "       pgsluice check [--format json] --explain RULE|all\n";

static const char help[] =
    "Judge the statements of migration files as the proxy would. A directory stands for the *.sql files "
    "below it,\n"
    "in the order of their numbers; - is standard input.\n"
    "\n"
    "  -c, --config FILE         the policy's configuration; without it, profile standard\n"
    "      --format FORMAT       text, json (one object a statement and line), sarif, github (workflow "
    "commands) or\n"
    "                            gitlab (code quality report)\n"
    "      --server-version N    13 to 18, or 15.4; without it, what holds for all of them is said\n"
    "      --connect CONNINFO    ask this database what the statements' names mean; nothing in it is "
    "changed, and\n"
    "                            a standby will do\n"
    "      --fail-on ACTION      warn (the default), online, approve, reject or never: the least grave "
    "finding that\n"
    "                            makes the exit code 1\n"
    "      --down                down sections count like any other\n"
    "  -1, --single-transaction  each file will be run in one transaction\n"
    "      --encoding NAME       of the files, as PostgreSQL calls it; without it UTF-8, or what a file "
    "itself says\n"
    "      --role NAME           who will run them: for waivers and overrides\n"
    "      --database NAME, --application NAME  likewise, for overrides\n"
    "      --explain RULE        what a rule is about, and the safe way; all: a table of the rules\n"
    "\n"
    "Files are read as psql reads them: its commands and COPY data are skipped, both branches of \\if are "
    "judged, a\n"
    "variable stands for any value, \\i is counted but not followed. The comments of dbmate, goose, "
    "sql-migrate,\n"
    "node-pg-migrate, tern and sqlx and the file names of golang-migrate, Flyway, Prisma, Diesel and sqitch "
    "say which\n"
    "statements undo a change, and which run in a transaction. What undoes a change is judged by its text "
    "alone and\n"
    "reported as a note: it is meant to drop things, and does not count for the exit code without --down. "
    "Give "
    "the files\n"
    "with seeds, loads and queries as well: those that go by the columns of a table which a migration "
    "changes are "
    "told of.\n"
    "\n"
    "A statement that certainly fails is warned of as [fails] where no rule says more of it.\n"
    "\n"
    "Exit code: 0 nothing found, 1 findings, 2 wrong usage or configuration, a file that can't be read, or a "
    "server\n"
    "that can't be asked. The last line, on standard error, says how many statements could be judged.\n";

struct options {
    const char *config, *explain, *connect, *encoding, *format;
    enum action fail_on; /* ACTION_COUNT: never */
    struct check check;
    char **files;
    int n_files;
    struct item *items; /* what the files stand for, in order */
    size_t n_items;
    int result;  /* of the thread */
    bool helped; /* --help */
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
    if (major >= 100000 && major <= 999999)
        return (int)major;
    return major >= 10 && major <= 99 ? (int)(major * 10000 + minor) : -1;
}

static bool read_format(struct options *options, const char *text)
{
    options->format = text;
    options->check.format = report_format_of(text);
    if (options->check.format == NULL)
        fprintf(stderr, "pgsluice check: no such format: %s (text, json, sarif, github, gitlab)\n", text);
    return options->check.format != NULL;
}

static bool read_version(struct check *check, const char *text)
{
    check->context.server_version = server_version(text);
    int major = check->context.server_version / 10000;
    bool known = major >= SERVER_OLDEST && major <= SERVER_NEWEST;
    if (!known)
        fprintf(stderr,
                "pgsluice check: --server-version %s: write 13 to 18, or 15.4; what others do is not known\n",
                text);
    return known;
}

static bool read_fail_on(struct options *options, const char *text)
{
    bool never = strcmp(text, "never") == 0;
    if (never)
        options->fail_on = ACTION_COUNT;
    if (never || (action_of(text, &options->fail_on) && options->fail_on != ACTION_ALLOW))
        return true;
    fprintf(stderr, "pgsluice check: --fail-on %s: write warn, online, approve, reject or never\n", text);
    return false;
}

static bool read_option(struct options *options, int option)
{
    struct check *check = &options->check;
    const struct {
        int option;
        const char **value;
    } texts[] = {{'c', &options->config},           {'e', &options->explain},
                 {'C', &options->connect},          {'E', &options->encoding},
                 {'r', &check->context.role},       {'d', &check->context.database},
                 {'a', &check->context.application}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].option == option) {
            *texts[i].value = optarg;
            return true;
        }
    }
    switch (option) {
    case 'f':
        return read_format(options, optarg);
    case 'v':
        return read_version(check, optarg);
    case 'F':
        return read_fail_on(options, optarg);
    case 'D':
        return check->down_counts = true;
    case '1':
        return check->single_transaction = true;
    case 'h':
        return options->helped = true;
    default:
        fputs(usage, stderr);
        return false;
    }
}

static bool read_options(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {{"config", required_argument, NULL, 'c'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"server-version", required_argument, NULL, 'v'},
                                          {"connect", required_argument, NULL, 'C'},
                                          {"fail-on", required_argument, NULL, 'F'},
                                          {"down", no_argument, NULL, 'D'},
                                          {"single-transaction", no_argument, NULL, '1'},
                                          {"encoding", required_argument, NULL, 'E'},
                                          {"role", required_argument, NULL, 'r'},
                                          {"database", required_argument, NULL, 'd'},
                                          {"application", required_argument, NULL, 'a'},
                                          {"explain", required_argument, NULL, 'e'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    optind = 0; /* glibc: begin anew */
    for (int option; (option = getopt_long(argc, argv, "c:1h", known, NULL)) != -1;) {
        if (!read_option(options, option))
            return false;
    }
    options->files = argv + optind;
    options->n_files = argc - optind;
    if (options->n_files > 0 || options->explain != NULL || options->helped)
        return true;
    fputs(usage, stderr);
    return false;
}

/* ---- --explain ---- */

/* Letters to change, insert or leave out to make one of the other; `b` is a rule's name. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t row[LONGEST + 1], n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t k = 0; k <= m; k++)
        row[k] = k;
    for (size_t i = 1; i <= n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t k = 1; k <= m; k++) {
            size_t above = row[k], best = corner + (tolower((unsigned char)a[i - 1]) != b[k - 1]);
            best = above + 1 < best ? above + 1 : best;
            row[k] = row[k - 1] + 1 < best ? row[k - 1] + 1 : best;
            corner = above;
        }
    }
    return row[m];
}

static const char *nearest(const char *name)
{
    const char *best = NULL;
    size_t least = strlen(name) < 6 ? 2 : 4;
    for (int i = 0; i < RULE_COUNT; i++) {
        size_t here = distance(name, rule_name((enum rule)i));
        bool part = strlen(name) >= 4 && strstr(rule_name((enum rule)i), name) != NULL;
        if (here < least || (part && best == NULL)) {
            best = rule_name((enum rule)i);
            least = here < least ? here : least;
        }
    }
    return best;
}

static int no_such_rule(const char *name)
{
    const char *meant = nearest(name);
    if (meant != NULL) {
        fprintf(stderr, "pgsluice check: no such rule: \"%s\"; did you mean %s? --explain all lists them\n",
                name, meant);
        return EXIT_USAGE;
    }
    fprintf(stderr, "pgsluice check: no such rule: \"%s\"; the rules are", name);
    for (int i = 0; i < RULE_COUNT; i++)
        fprintf(stderr, " %s", rule_name((enum rule)i));
    fputc('\n', stderr);
    return EXIT_USAGE;
}

static void explain_one(const struct options *options, enum rule rule)
{
    if (strcmp(options->format, "json") != 0) {
        explain_rule(rule, stdout);
        return;
    }
    json_t *json = explain_json(rule);
    json_dumpf(json, stdout, JSON_COMPACT);
    fputc('\n', stdout);
    json_decref(json);
}

static int explain(const struct options *options)
{
    enum rule rule;
    const char *name = options->explain;
    bool all = strcmp(name, "all") == 0;
    if (all && strcmp(options->format, "json") != 0)
        explain_all(stdout);
    else if (all)
        for (int i = 0; i < RULE_COUNT; i++)
            explain_one(options, (enum rule)i);
    else if (rule_of(name, strlen(name), &rule))
        explain_one(options, rule);
    else if (strcmp(name, FAILS_NAME) == 0)
        fputs("fails: a statement that certainly fails\n\n"
              "  Not a rule of the policy: `check` warns of it where no rule says more, for instance because "
              "a table, a\n"
              "  column or a type isn't there (--connect), or because CONCURRENTLY stands inside a "
              "transaction. The proxy\n"
              "  lets the server say so.\n",
              stdout);
    else
        return no_such_rule(name);
    return EXIT_FINE;
}

/* ---- files ---- */

/* They are read twice, since each has to be judged with what all others hold; small ones, and standard input,
 * are kept. */
enum { KEPT_MAX = 1 << 20 };

struct item {
    const char *path;
    struct source *source; /* NULL: to be read again */
};

static struct source *read_file(struct options *options, const char *path)
{
    bool standard_input = strcmp(path, "-") == 0;
    const char *why = NULL;
    FILE *file = standard_input ? stdin : fopen(path, "re");
    struct source *source = NULL;
    if (file == NULL)
        why = strerror(errno);
    else
        source = source_read(NULL, standard_input ? "<stdin>" : path, file, options->encoding, &why);
    if (file != NULL && !standard_input)
        fclose(file);
    if (source == NULL)
        fprintf(stderr, "pgsluice check: %s: %s\n", path, why);
    options->check.count.missing += source == NULL;
    return source;
}

static bool gather_file(void *argument, const char *path)
{
    struct options *options = argument;
    struct check *check = &options->check;
    struct source *source = read_file(options, path);
    size_t n = options->n_items;
    if (source == NULL)
        return false;
    if ((n & (n - 1)) == 0)
        options->items =
            talloc_realloc(check->readers, options->items, struct item, (unsigned)(n == 0 ? 1 : 2 * n));
    if (options->items == NULL) {
        talloc_free(source);
        return false;
    }
    readers_gather(check->readers, source, (unsigned)n, check->context.conf->limits.statement);
    bool kept = source->length <= KEPT_MAX || strcmp(path, "-") == 0;
    options->items[n] = (struct item){talloc_strdup(check->readers, path), kept ? source : NULL};
    options->n_items++;
    if (!kept)
        talloc_free(source);
    return true;
}

static bool check_item(struct options *options, const struct item *item)
{
    struct source *source = item->source != NULL ? item->source : read_file(options, item->path);
    options->check.file = (unsigned)(item - options->items);
    if (source == NULL)
        return false;
    check_source(&options->check, source);
    talloc_free(source);
    return true;
}

static void *check_files(void *argument)
{
    struct options *options = argument;
    struct check *check = &options->check;
    check->readers = readers_new(NULL);
    bool read = check->readers != NULL;
    for (int i = 0; check->readers != NULL && i < options->n_files; i++)
        read = paths_visit(options->files[i], gather_file, options) && read;
    if (check->format->begin != NULL)
        check->format->begin(check);
    for (size_t i = 0; i < options->n_items; i++)
        read = check_item(options, &options->items[i]) && read;
    if (check->format->end != NULL)
        check->format->end(check);
    fflush(check->out);
    report_coverage(check, stderr);
    if (!read || check->failed || ferror(check->out))
        options->result = EXIT_USAGE;
    else
        options->result = check_found(&check->count, options->fail_on) ? EXIT_FOUND : EXIT_FINE;
    talloc_free(check->readers);
    return NULL;
}

/* ---- the whole ---- */

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

/* The server says what the command line did not. */
static bool connect_to(struct options *options)
{
    struct policy_context *context = &options->check.context;
    char *error = NULL;
    if (options->connect == NULL)
        return true;
    struct connection *connection = connection_open(NULL, options->connect, &error);
    options->check.connection = connection;
    if (connection == NULL) {
        fprintf(stderr, "pgsluice check: %s\n", error == NULL ? strerror(ENOMEM) : error);
        talloc_free(error);
        return false;
    }
    if (context->server_version == 0)
        context->server_version = connection_version(connection);
    if (*context->database == '\0')
        context->database = connection_database(connection);
    if (*context->role == '\0')
        context->role = connection_user(connection);
    return true;
}

static bool colour_wanted(void)
{
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
    bool dumb = terminal == NULL || strcmp(terminal, "dumb") == 0;
    return isatty(STDOUT_FILENO) == 1 && (no == NULL || *no == '\0') && !dumb;
}

static int check_with(struct options *options, struct conf *conf)
{
    pthread_t thread; /* parsing wants a large stack */
    options->check.context.conf = conf;
    if (!connect_to(options))
        return EXIT_USAGE;
    if (parser_thread_create(&thread, check_files, options) != 0) {
        fprintf(stderr, "pgsluice check: no thread: %s\n", strerror(errno));
        return EXIT_USAGE;
    }
    pthread_join(thread, NULL);
    return options->result;
}

int cmd_check(int argc, char **argv)
{
    struct options options = {.format = "text",
                              .fail_on = ACTION_WARN,
                              .check = {.context = {.database = "", .role = "", .application = ""},
                                        .format = report_format_of("text"),
                                        .out = stdout,
                                        .colour = colour_wanted()}};
    if (!read_options(&options, argc, argv))
        return EXIT_USAGE;
    if (options.helped) {
        printf("%s%s", usage, help);
        return EXIT_FINE;
    }
    if (options.explain != NULL)
        return explain(&options);
    struct conf *conf = read_config(options.config);
    if (conf == NULL)
        return EXIT_USAGE;
    int result = check_with(&options, conf);
    talloc_free(options.check.connection);
    conf_unref(conf);
    return result;
}

/*
 * `pgsluice plan`: what an online change of this statement would do to this database. Nothing is executed in
 * it but the catalog's question.
 */
#include <errno.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/change.h"
#include "proxy/change/command.h"
#include "proxy/change/commands.h"
#include "proxy/change/plan_report.h"
#include "proxy/check/connect.h"

_Static_assert(PLAN_SCHEMA_VERSION == CHANGE_SCHEMA_VERSION, "one schema, one version");

/* Without a file, as if changes could be carried out. */
static const char no_file[] = "listen: [{address: 127.0.0.1, port: 6432}]\n"
                              "upstream: {host: 127.0.0.1, port: 5432}\n"
                              "online: {maintenance: 'user=pgsluice_worker'}\n";

static const char usage[] = "usage: pgsluice plan [-c FILE] [--format text|json] --connect CONNINFO 'SQL'\n";

static const char help[] = "Say how this ALTER TABLE or CREATE INDEX would be carried out online in this "
                           "database: the steps, their locks, "
                           "about\n"
                           "how long they take and what they leave behind; or why it can't be. Nothing is "
                           "changed; a standby will do.\n"
                           "\n"
                           "  -c, --config FILE       the proxy's configuration; without it, the defaults\n"
                           "      --connect CONNINFO  the database, straight or through the proxy\n"
                           "      --format FORMAT     text or json\n"
                           "\n"
                           "Exit code: 0 it can be carried out, 1 it can't, 2 wrong usage or configuration, "
                           "or the server can't be asked.\n";

struct asked {
    const char *config, *connect, *sql;
    bool json, helped;
    struct conf *conf;
    void *memory;
    int result;
};

static bool read_option(struct asked *asked, int option)
{
    switch (option) {
    case 'c':
        asked->config = optarg;
        return true;
    case 'C':
        asked->connect = optarg;
        return true;
    case 'f':
        asked->json = strcmp(optarg, "json") == 0;
        return asked->json || strcmp(optarg, "text") == 0;
    case 'h':
        return asked->helped = true;
    default:
        return false;
    }
}

static bool read_options(struct asked *asked, int argc, char **argv)
{
    static const struct option known[] = {{"config", required_argument, NULL, 'c'},
                                          {"connect", required_argument, NULL, 'C'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    bool fine = true;
    optind = 0; /* glibc: begin anew */
    for (int option; fine && (option = getopt_long(argc, argv, "c:h", known, NULL)) != -1;)
        fine = read_option(asked, option);
    if (asked->helped)
        return true;
    asked->sql = optind < argc ? argv[optind] : NULL;
    if (fine && asked->sql != NULL && optind + 1 == argc && asked->connect != NULL)
        return true;
    fputs(usage, stderr);
    return false;
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

/* ---- the answer ---- */

/* The same connection, to be typed: without what is secret, which would end in a shell's history or a ticket.
 */
static char *typed_again(const void *memory, const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    char *text = talloc_strdup(memory, "");
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        bool secret = o->dispchar[0] == '*' || strcmp(o->keyword, "sslpassword") == 0;
        if (o->val == NULL || secret)
            continue;
        bool plain = *o->val != '\0' && strpbrk(o->val, " \t\n'\\\"$`!") == NULL;
        text = talloc_asprintf_append(text, "%s%s=%s", *text == '\0' ? "" : " ", o->keyword,
                                      plain ? o->val : "...");
    }
    PQconninfoFree(options);
    return text;
}

static void tell(struct asked *asked, struct plan_told *told, const struct policy_context *context)
{
    const struct plan_request request = {
        .facts = told->facts, .text = asked->sql, .length = strlen(asked->sql), .context = context};
    told->context = context;
    told->verdict = policy_judge(asked->memory, told->facts, context);
    told->plan = plan_of(asked->memory, &request, &told->why);
    plan_possible(asked->memory, context, &told->not_here, &told->remedy);
    if (told->remedy != NULL && strncmp(told->remedy, "pgsluice install ", strlen("pgsluice install ")) == 0)
        told->remedy = talloc_asprintf(asked->memory, "pgsluice install --connect '%s'",
                                       typed_again(asked->memory, asked->connect));
    asked->result = told->plan != NULL && told->not_here == NULL ? COMMAND_FINE : COMMAND_REFUSED;
    (asked->json ? plan_report_json : plan_report_text)(told, stdout);
}

static void ask(struct asked *asked, struct connection *connection)
{
    struct plan_told told = {.sql = asked->sql};
    struct policy_context context = {.conf = asked->conf,
                                     .database = connection_database(connection),
                                     .role = connection_user(connection),
                                     .application = "",
                                     .server_version = connection_version(connection)};
    const char *error;
    told.facts = facts_of(asked->memory, asked->sql, strlen(asked->sql), PARSER_TEXT_MAX, true);
    if (told.facts == NULL || told.facts->status != FACTS_OK) {
        fprintf(stderr, "pgsluice plan: the statement can't be read: %s\n",
                told.facts == NULL || told.facts->error == NULL ? "out of memory" : told.facts->error);
        asked->result = COMMAND_USAGE;
    } else if (!connection_ask(asked->memory, connection, told.facts, context.role, &context.names, &error)) {
        fprintf(stderr, "pgsluice plan: the server could not be asked: %s\n", error);
        asked->result = COMMAND_USAGE;
    } else {
        tell(asked, &told, &context);
    }
}

/* On a thread with the parser's stack. */
static void *run(void *argument)
{
    struct asked *asked = argument;
    char *error = NULL;
    struct connection *connection = connection_open(asked->memory, asked->connect, &error);
    if (connection == NULL) {
        fprintf(stderr, "pgsluice plan: %s\n", error == NULL ? strerror(ENOMEM) : error);
        asked->result = COMMAND_USAGE;
        return NULL;
    }
    ask(asked, connection);
    return NULL;
}

int cmd_plan(int argc, char **argv)
{
    struct asked asked = {.result = COMMAND_USAGE};
    pthread_t thread;
    if (!read_options(&asked, argc, argv))
        return COMMAND_USAGE;
    if (asked.helped) {
        printf("%s\n%s", usage, help);
        return COMMAND_FINE;
    }
    asked.conf = read_config(asked.config);
    if (asked.conf == NULL)
        return COMMAND_USAGE;
    asked.memory = talloc_new(NULL);
    if (parser_thread_create(&thread, run, &asked) == 0)
        pthread_join(thread, NULL);
    else
        fprintf(stderr, "pgsluice plan: no thread: %s\n", strerror(errno));
    talloc_free(asked.memory);
    conf_unref(asked.conf);
    return asked.result;
}

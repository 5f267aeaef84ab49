/*
 * Plans: plan_table.txt has statements, and below each, indented, what becomes of it: the statements that are
 * executed in its place, the sequences that are made, and the spec of what is left; or why there is no plan.
 * On real servers the same is done by tests/truth/test_plan.py.
 *
 * "!scs " in front of a statement: standard_conforming_strings is off; "!18 ": on PostgreSQL 18. A literal \n
 * in it is a line feed; an empty line ends a row.
 */
#include "policy/plan.h"
#include "tests/unit/test_policy_help.h"

/* ---- what a server might have answered ---- */

static struct catalog_column order_columns[] = {
    {.number = 1, .name = "id", .type = 23, .modifier = -1, .type_text = "integer", .is_local = true},
    {.number = 2, .name = "status", .type = 25, .modifier = -1, .type_text = "text", .is_local = true}};

static struct catalog_column marked_columns[] = {{.number = 1,
                                                  .name = "id",
                                                  .type = 23,
                                                  .modifier = -1,
                                                  .type_text = "integer",
                                                  .not_null = true,
                                                  .is_local = true},
                                                 {.number = 2,
                                                  .name = "status",
                                                  .type = 25,
                                                  .modifier = -1,
                                                  .type_text = "text",
                                                  .not_null = true,
                                                  .is_local = true}};

static struct catalog_type types[] = {
    {.oid = 20, .schema = "pg_catalog", .name = "int8", .type = 'b', .category = 'N', .modifier = -1},
    {.oid = 21, .schema = "pg_catalog", .name = "int2", .type = 'b', .category = 'N', .modifier = -1},
    {.oid = 23, .schema = "pg_catalog", .name = "int4", .type = 'b', .category = 'N', .modifier = -1},
    {.oid = 25, .schema = "pg_catalog", .name = "text", .type = 'b', .category = 'S', .modifier = -1},
    {.oid = 701, .schema = "pg_catalog", .name = "float8", .type = 'b', .category = 'N', .modifier = -1},
    {.oid = 2950, .schema = "pg_catalog", .name = "uuid", .type = 'b', .category = 'U', .modifier = -1},
    {.oid = 20000,
     .schema = "public",
     .name = "dice",
     .position = 1,
     .type = 'd',
     .base = 701,
     .category = 'N',
     .modifier = -1,
     .has_default = true,
     .by_default = CATALOG_VOLATILE}};

static uint32_t of_text[] = {25};
static struct catalog_function functions[] = {{.oid = 3432,
                                               .schema = "pg_catalog",
                                               .name = "gen_random_uuid",
                                               .volatility = CATALOG_VOLATILE,
                                               .kind = 'f',
                                               .result = 2950},
                                              {.oid = 1598,
                                               .schema = "pg_catalog",
                                               .name = "random",
                                               .volatility = CATALOG_VOLATILE,
                                               .kind = 'f',
                                               .strict = true,
                                               .result = 701},
                                              {.oid = 1317,
                                               .schema = "pg_catalog",
                                               .name = "length",
                                               .volatility = CATALOG_IMMUTABLE,
                                               .kind = 'f',
                                               .strict = true,
                                               .result = 23,
                                               .args = of_text,
                                               .n_args = 1},
                                              {.oid = 30000,
                                               .schema = "public",
                                               .name = "lenient",
                                               .position = 1,
                                               .volatility = CATALOG_IMMUTABLE,
                                               .kind = 'f',
                                               .result = 16,
                                               .args = of_text,
                                               .n_args = 1}};

static struct catalog_operator operators[] = {
    {.oid = 521, .schema = "pg_catalog", .name = ">", .args = {23, 23}, .result = 16, .strict = true},
    {.oid = 96, .schema = "pg_catalog", .name = "=", .args = {23, 23}, .result = 16, .strict = true},
    {.oid = 531, .schema = "pg_catalog", .name = "<>", .args = {25, 25}, .result = 16, .strict = true}};

static int first[] = {1};
static struct catalog_constraint customers_key = {.name = "customers_pkey",
                                                  .type = 'p',
                                                  .validated = true,
                                                  .enforced = true,
                                                  .columns = first,
                                                  .n_columns = 1,
                                                  .index = 40000};
static struct catalog_index customers_index = {.oid = 40000,
                                               .name = "customers_pkey",
                                               .unique = true,
                                               .valid = true,
                                               .ready = true,
                                               .primary = true,
                                               .immediate = true,
                                               .columns = first,
                                               .n_columns = 1,
                                               .n_uses = 1};

static int both[] = {1, 2};
static struct catalog_constraint customers_keys[2];
static struct catalog_index customers_indexes[2];

/* (id), and (id, status). */
static void key_customers(struct catalog_relation *customers)
{
    for (size_t i = 0; i < 2; i++) {
        customers_keys[i] = customers_key;
        customers_indexes[i] = customers_index;
    }
    customers_keys[1].type = 'u';
    customers_keys[1].name = customers_indexes[1].name = "customers_id_status_key";
    customers_keys[1].columns = customers_indexes[1].columns = both;
    customers_keys[1].n_columns = customers_indexes[1].n_columns = 2;
    customers_keys[1].index = customers_indexes[1].oid = 40001;
    customers_indexes[1].primary = false;
    customers->constraints = customers_keys;
    customers->indexes = customers_indexes;
    customers->n_constraints = customers->n_indexes = 2;
}

static struct catalog *answer_of(const void *memory)
{
    static const char *path[] = {"pg_catalog", "public"},
                      *asked[] = {"orders", "Order Lines", "parted", "customers",
                                  "marked", "elder",       "nothing"};
    struct catalog *catalog = talloc_zero(memory, struct catalog);
    const struct catalog_relation like = {.exists = true,
                                          .may_own = true,
                                          .schema = "public",
                                          .kind = 'r',
                                          .persistence = 'p',
                                          .rows = 5e6,
                                          .size = 400 << 20,
                                          .owner = "deploy",
                                          .columns = order_columns,
                                          .n_columns = 2};
    catalog->n_relations = 6;
    catalog->relations = talloc_array(catalog, struct catalog_relation, 6);
    for (uint32_t i = 0; i < 6; i++) {
        catalog->relations[i] = like;
        catalog->relations[i].oid = 16384 + i;
        catalog->relations[i].name = asked[i];
    }
    catalog->relations[2].kind = 'p';
    catalog->relations[2].children = 3;
    catalog->relations[4].kind = 'p';
    catalog->relations[4].children = 3;
    catalog->relations[4].columns = catalog->relations[5].columns = marked_columns;
    catalog->relations[5].children = 2; /* which may lack what it has */
    catalog->relations[4].constraints = &customers_key;
    catalog->relations[4].indexes = &customers_index;
    catalog->relations[4].n_constraints = catalog->relations[4].n_indexes = 1;
    key_customers(&catalog->relations[3]);
    catalog->server_version = 150004;
    catalog->database = "app";
    catalog->user = catalog->session_user = "deploy";
    catalog->path = path;
    catalog->n_path = 2;
    catalog->asked = asked;
    catalog->n_asked = 7;
    catalog->types = types;
    catalog->n_types = sizeof types / sizeof *types;
    catalog->functions = functions;
    catalog->n_functions = sizeof functions / sizeof *functions;
    catalog->operators = operators;
    catalog->n_operators = sizeof operators / sizeof *operators;
    catalog->schema_version = PLAN_SCHEMA_VERSION;
    catalog->schema_usable = catalog->schema_trusted = catalog->plpgsql_usable = true;
    return catalog;
}

static const char online[] = "online: {maintenance: 'user=worker', stall_budget: 100ms, lock_time: 60s}\n"
                             "policy: {small_table: {rows: 0, size: 0}}\n";

/* ---- the table ---- */

static bool is_shown(const char *line)
{
    static const char *const starts[] = {"  EXECUTE", "  PERFORM pgsluice.add", "  PERFORM pgsluice.lock",
                                         "  PERFORM pg_catalog.set_config('standard", NULL};
    for (size_t i = 0; starts[i] != NULL; i++) {
        if (strncmp(line, starts[i], strlen(starts[i])) == 0)
            return true;
    }
    return false;
}

/* The lines of the block that say what is done, each indented by four spaces. */
static char *shown(const void *memory, const struct plan *plan, const char *why)
{
    char *out = talloc_strdup(memory, "");
    if (plan == NULL)
        return talloc_asprintf(memory, "    no: %s\n", why);
    char *text = talloc_strdup(memory, plan->text), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (!is_shown(line))
            continue;
        out = talloc_asprintf_append(out, "    %s", line + 2);
        while (line[0] == '\0' || line[strlen(line) - 1] != ';') {
            line = strsep(&rest, "\n");
            out = talloc_asprintf_append(out, "\\n%s", line);
        }
        out = talloc_strdup_append(out, "\n");
    }
    const char *end = plan->spec == NULL ? NULL : strstr(plan->spec, ",\"statement\":");
    if (end != NULL)
        out = talloc_asprintf_append(out, "    %.*s}\n", (int)(end - plan->spec), plan->spec);
    return out;
}

static char *unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        bool newline = from[0] == '\\' && from[1] == 'n';
        *to++ = newline ? '\n' : *from;
        from += newline;
    }
    *to = '\0';
    return text;
}

static char *plan_shown(const void *memory, const struct policy_context *said, char *statement)
{
    struct policy_context context = *said;
    statement += strncmp(statement, "!18 ", 4) == 0 ? 4 : 0;
    bool scs = strncmp(statement, "!scs ", 5) != 0;
    char *sql = unescape(scs ? statement : statement + 5);
    context.backslashes = !scs;
    const struct facts *facts = facts_of(memory, sql, strlen(sql), PARSER_TEXT_MAX, scs);
    const struct plan_request request = {
        .facts = facts, .text = sql, .length = strlen(sql), .context = &context};
    const char *why = NULL;
    const struct plan *plan = plan_of(memory, &request, &why);
    return shown(memory, plan, why);
}

/* One statement with what is expected below it; `next` is the line behind. False: the end. */
static bool row_read(FILE *file, char **statement, char **expected, char **line, size_t *room)
{
    while (*statement == NULL && getline(line, room, file) > 0) {
        if ((*line)[0] != '#' && (*line)[0] != '\n' && (*line)[0] != ' ')
            *statement = talloc_strndup(NULL, *line, strcspn(*line, "\n"));
    }
    *expected = talloc_strdup(*statement, "");
    while (*statement != NULL && getline(line, room, file) > 0 && strncmp(*line, "    ", 4) == 0)
        *expected = talloc_strdup_append(*expected, *line);
    return *statement != NULL;
}

static void table(void **state)
{
    struct conf *conf = configured(online);
    char *statement = NULL, *expected, *line = NULL;
    size_t room = 0;
    unsigned rows = 0, wrong = 0;
    FILE *file = fopen(TEST_DATA "/unit/plan_table.txt", "r");
    assert_non_null(file);
    for (; row_read(file, &statement, &expected, &line, &room); rows++) {
        struct policy_context context = context_of(conf);
        struct catalog *names = answer_of(statement);
        if (strncmp(statement, "!18 ", 4) == 0)
            names->server_version = 180000;
        context.names = names;
        char *title = talloc_strdup(statement, statement);
        char *got = plan_shown(statement, &context, statement);
        if (strcmp(got, expected) != 0) {
            print_error("%s\n%s", title, got);
            wrong++;
        }
        talloc_free(statement);
        statement = NULL;
    }
    talloc_free(expected); /* of the row that is none: the end */
    free(line);
    fclose(file);
    conf_unref(conf);
    assert_int_equal(wrong, 0);
    assert_true(rows > 50);
}

/* ---- the verdict ---- */

static struct verdict *verdict_of(const void *memory, struct policy_context *context, const char *sql)
{
    context->text = sql;
    context->length = strlen(sql);
    return judged(memory, sql, context);
}

static const char add_token[] = "ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid()";

static void online_where_it_can(void **state)
{
    struct conf *conf = configured(online);
    struct policy_context context = context_of(conf);
    struct catalog *names = answer_of(NULL);
    context.names = names;
    const struct verdict *verdict = verdict_of(names, &context, add_token);
    assert_int_equal(verdict->action, ACTION_ONLINE);
    assert_non_null(verdict->plan);
    assert_string_equal(verdict->plan->columns[0], "token");
    verdict =
        verdict_of(names, &context, "ALTER TABLE orders ADD COLUMN a int GENERATED ALWAYS AS (id) STORED");
    assert_int_equal(verdict->action, ACTION_REJECT);
    assert_null(verdict->plan);
    verdict = verdict_of(names, &context, "ALTER TABLE orders ADD COLUMN a int");
    assert_int_equal(verdict->action, ACTION_ALLOW);
    assert_non_null(verdict->plan); /* the lock alone */
    assert_null(verdict->plan->spec);
    names->relations[0].locked_here = true;
    assert_null(verdict_of(names, &context, "ALTER TABLE orders ADD COLUMN a int")->plan);
    talloc_free(names);
    conf_unref(conf);
}

static void refused_with_its_reason(void **state)
{
    struct conf *conf = configured(online);
    struct policy_context context = context_of(conf);
    struct catalog *names = answer_of(NULL);
    context.names = names;
    const char *sql = "ALTER TABLE orders ADD COLUMN a float8 DEFAULT random() CHECK (a IS NOT NULL)";
    const struct verdict *verdict = verdict_of(names, &context, sql);
    assert_int_equal(verdict->action, ACTION_REJECT);
    assert_int_equal(verdict->would, ACTION_ONLINE);
    assert_non_null(strstr(verdict->findings[0].hint, "It can't be done online: while a is being filled"));
    names->schema_version = 0;
    verdict = verdict_of(names, &context, add_token);
    assert_int_equal(verdict->action, ACTION_REJECT);
    assert_non_null(strstr(verdict->findings[0].hint,
                           "\npgsluice install --connect 'host=127.0.0.1 port=5432 dbname=app'\n"));
    names->schema_version = PLAN_SCHEMA_VERSION;
    names->schema_usable = false;
    verdict = verdict_of(names, &context, add_token);
    assert_non_null(strstr(verdict->findings[0].hint, "GRANT USAGE ON SCHEMA pgsluice TO deploy;"));
    names->schema_trusted = false;
    verdict = verdict_of(names, &context, add_token);
    assert_non_null(strstr(verdict->findings[0].hint, "can't be trusted"));
    context.names = NULL; /* nobody could be asked */
    verdict = verdict_of(names, &context, add_token);
    assert_int_equal(verdict->action, ACTION_REJECT);
    talloc_free(names);
    conf_unref(conf);
}

/* What isn't known does no harm online, and where it can't be done online it is warned of as ever. */
static void unsure(void **state)
{
    struct conf *conf = configured(online);
    struct policy_context context = context_of(conf);
    struct catalog *names = answer_of(NULL);
    context.names = names;
    const char *sql = "ALTER TABLE orders ADD COLUMN a text DEFAULT unheard_of()";
    const struct verdict *verdict = verdict_of(names, &context, sql);
    assert_int_equal(verdict->action, ACTION_ONLINE);
    assert_non_null(
        strstr(verdict->plan->text, "ADD COLUMN a text, ALTER COLUMN a SET DEFAULT unheard_of()"));
    names->schema_version = 0;
    verdict = verdict_of(names, &context, sql);
    assert_int_equal(verdict->action, ACTION_WARN);
    assert_null(verdict->plan);
    talloc_free(names);
    conf_unref(conf);
}

/* The work that would have been done behind a lock isn't done behind it. */
static void behind_a_lock(void **state)
{
    struct conf *conf = configured("online: {maintenance: 'user=worker'}\n"
                                   "policy: {profile: strict, small_table: {rows: 0, size: 0}}\n");
    struct policy_context context = context_of(conf);
    const struct policy_held held = {
        .table = "customers", .by = "ALTER TABLE", .seconds = 0.1, .mode = LOCK_ACCESS_EXCLUSIVE};
    struct catalog *names = answer_of(NULL);
    context.names = names;
    context.held = &held;
    context.in_transaction = true;
    const char *sql = "ALTER TABLE orders ADD CHECK (id > 0)";
    const struct verdict *verdict = verdict_of(names, &context, sql);
    assert_int_equal(verdict->action, ACTION_ONLINE);
    assert_int_equal(verdict->n_findings, 1);
    assert_non_null(strstr(verdict->plan->text, "'ACCESS EXCLUSIVE', 100, 1000)"));
    names->schema_version = 0;
    verdict = verdict_of(names, &context, sql);
    assert_int_equal(verdict->action, ACTION_REJECT);
    assert_int_equal(verdict->n_findings, 2);
    talloc_free(names);
    conf_unref(conf);
}

static void nothing_where_it_is_not_wanted(void **state)
{
    struct catalog *names = answer_of(NULL);
    static const char *const policies[] = {
        "policy: {small_table: {rows: 0, size: 0}}\n", /* no online.maintenance */
        "online: {maintenance: 'user=worker'}\npolicy: {profile: observe, small_table: {rows: 0, size: 0}}\n",
        "online: {maintenance: 'user=worker'}\npolicy: {rules: {volatile-default: warn}}\n"};
    static const enum action actions[] = {ACTION_REJECT, ACTION_WARN, ACTION_WARN};
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        struct conf *conf = configured(policies[i]);
        struct policy_context context = context_of(conf);
        context.names = names;
        const struct verdict *verdict = verdict_of(names, &context, add_token);
        assert_int_equal(verdict->action, actions[i]);
        assert_null(verdict->plan);
        conf_unref(conf);
    }
    talloc_free(names);
}

static void *run(void *failed)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table),
                                       cmocka_unit_test(online_where_it_can),
                                       cmocka_unit_test(refused_with_its_reason),
                                       cmocka_unit_test(unsure),
                                       cmocka_unit_test(behind_a_lock),
                                       cmocka_unit_test(nothing_where_it_is_not_wanted)};
    *(int *)failed = cmocka_run_group_tests(tests, NULL, NULL);
    return NULL;
}

int main(void)
{
    return on_parser_thread(run);
}

/*
 * The catalog's judgement for tests/truth/test_catalog.py, which brings the server: no test by itself.
 *
 *   test_catalog_driver sql          prints catalog_sql()
 *   test_catalog_driver              reads lines, answers each with one line:
 *     ask STATEMENT                  -> the questions, or "-"
 *     judge ANSWER<TAB>STATEMENT     -> rewrite yes/no/unknown as ADD COLUMN's types and defaults say, then
 * the culprit value ANSWER<TAB>STATEMENT     -> the volatility of the first default, its type's oid, whether
 * it is NULL
 *
 * Newlines inside ANSWER (base64 has some) come as spaces.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "policy/catalog.h"

static const char *const words[] = {"immutable", "stable", "volatile", "unknown"};

static enum catalog_volatility worse(enum catalog_volatility a, enum catalog_volatility b)
{
    if (a == CATALOG_VOLATILE || b == CATALOG_VOLATILE)
        return CATALOG_VOLATILE;
    return a == CATALOG_UNKNOWN || b == CATALOG_UNKNOWN ? CATALOG_UNKNOWN : CATALOG_STABLE;
}

static const char *rewrite_word(enum catalog_volatility volatility)
{
    return volatility == CATALOG_VOLATILE ? "yes" : volatility == CATALOG_UNKNOWN ? "unknown" : "no";
}

static enum catalog_volatility column_rewrites(const struct catalog *catalog,
                                               const struct column_definition *column,
                                               const struct catalog_relation *relation)
{
    const struct constraint *by_default = column_constraint(column, CONSTRAINT_DEFAULT);
    const struct catalog_type *type = catalog_type(catalog, &column->type);
    enum catalog_volatility result = CATALOG_STABLE;
    if (type != NULL && type->type == 'd' && column->type.array == 0) {
        struct catalog_domain domain = catalog_domain(catalog, type);
        if (domain.constrained)
            result = CATALOG_VOLATILE;
        if (by_default == NULL && domain.has_default)
            result = worse(result, domain.by_default);
    }
    if (by_default != NULL && by_default->expr != NULL)
        result =
            worse(result, catalog_expression(catalog, by_default->expr, &column->type, relation).volatility);
    return result;
}

static void judge(const struct catalog *catalog, const struct facts *facts)
{
    enum catalog_volatility result = CATALOG_STABLE;
    const struct catalog_relation *relation = catalog_relation(catalog, &facts->object);
    for (size_t i = 0; i < facts->n_alters; i++) {
        if (facts->alters[i].kind == ALTER_ADD_COLUMN && facts->alters[i].column != NULL)
            result = worse(result, column_rewrites(catalog, facts->alters[i].column, relation));
    }
    printf("%s\n", rewrite_word(result));
}

static void value(const struct catalog *catalog, const struct facts *facts)
{
    const struct column_definition *column = facts->n_alters > 0 ? facts->alters[0].column : NULL;
    const struct constraint *by_default =
        column != NULL ? column_constraint(column, CONSTRAINT_DEFAULT) : NULL;
    const struct expr *expr = by_default != NULL ? by_default->expr : NULL;
    if (expr == NULL && facts->n_alters > 0)
        expr = facts->alters[0].expr;
    if (expr == NULL) {
        printf("no default\n");
        return;
    }
    struct catalog_answer answer =
        catalog_expression(catalog, expr, column != NULL ? &column->type : NULL, NULL);
    printf("%s %u %d\n", words[answer.volatility], (unsigned)answer.type, answer.is_null);
}

static void line_read(char *line)
{
    char *rest = strchr(line, ' ');
    void *memory = talloc_new(NULL);
    if (rest == NULL)
        return;
    *rest++ = '\0';
    char *statement = strcmp(line, "ask") == 0 ? rest : strchr(rest, '\t');
    if (statement == NULL)
        return;
    if (statement != rest)
        *statement++ = '\0';
    struct facts *facts = facts_of(memory, statement, strlen(statement), PARSER_TEXT_MAX, true);
    if (facts->status != FACTS_OK) {
        printf("unreadable: %s\n", facts->error);
    } else if (strcmp(line, "ask") == 0) {
        const char *questions = catalog_questions(memory, facts);
        printf("%s\n", questions != NULL ? questions : "-");
    } else {
        for (char *c = rest; *c != '\0'; c++) {
            if (*c == ' ')
                *c = '\n';
        }
        const struct catalog *catalog = catalog_read(memory, rest, strlen(rest));
        if (catalog == NULL)
            printf("unreadable answer\n");
        else if (strcmp(line, "judge") == 0)
            judge(catalog, facts);
        else
            value(catalog, facts);
    }
    talloc_free(memory);
}

static void *run(void *unused)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    while ((n = getline(&line, &room, stdin)) > 0) {
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        line_read(line);
        fflush(stdout);
    }
    free(line);
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc > 1 && strcmp(argv[1], "sql") == 0)
        return puts(catalog_sql()) < 0;
    if (parser_thread_create(&thread, run, NULL) != 0)
        return 1;
    return pthread_join(thread, NULL) != 0;
}

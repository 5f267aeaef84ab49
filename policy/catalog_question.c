/*
 * What a statement mentions that only the server can say the meaning of.
 *
 * The questions are six lists of bare names: s schemas, r relations, R relations that the statement works on
 * (whose locks matter too), f functions, o operators, t types. Which of several objects of a name is meant is
 * settled when the answer is there.
 */
#include "policy/catalog.h"

#include <jansson.h>
#include <string.h>
#include <talloc.h>

#include "policy/builtins.h"

enum {
    NAMES_MAX = 1000, /* of one list: a statement that mentions more is judged without the rest */
    DEPTH_MAX = 500
};

enum list { SCHEMAS, RELATIONS, WORKED_ON, FUNCTIONS, OPERATORS, TYPES, N_LISTS };
static const char *const keys[N_LISTS] = {"s", "r", "R", "f", "o", "t"};

struct questions {
    json_t *seen[N_LISTS]; /* objects: their keys are the names */
    bool failed;
};

static void add(struct questions *q, enum list list, const char *name)
{
    if (name == NULL || *name == '\0' || json_object_size(q->seen[list]) >= NAMES_MAX)
        return;
    if (json_object_set_new(q->seen[list], name, json_true()) != 0)
        q->failed = true;
}

static void ask(struct questions *q, enum list list, const struct name *name)
{
    add(q, list, name->name);
    if (name->name != NULL)
        add(q, SCHEMAS, name->schema);
}

/* ---- types and expressions ---- */

static void ask_type(struct questions *q, const struct type_name *type)
{
    if (type == NULL || type->name == NULL || type->percent_type)
        return;
    if (type->schema == NULL && serial_type(type->name))
        return;
    add(q, TYPES, type->name);
    add(q, SCHEMAS, type->schema);
}

/* Operators that a construct of SQL's own means without naming them. */
static void ask_implied(struct questions *q, const struct expr *expr)
{
    static const struct {
        const char *construct, *operators[4];
    } implied[] = {{"CASE", {"="}},
                   {"IN", {"=", "<>"}},
                   {"NULLIF", {"="}},
                   {"DISTINCT", {"="}},
                   {"NOT_DISTINCT", {"="}},
                   {"BETWEEN", {">=", "<="}},
                   {"NOT_BETWEEN", {"<", ">"}},
                   {"BETWEEN_SYM", {">=", "<="}},
                   {"NOT_BETWEEN_SYM", {"<", ">"}}};
    const char *name = expr->name.name;
    for (size_t i = 0; name != NULL && i < sizeof implied / sizeof *implied; i++) {
        if (strcmp(implied[i].construct, name) != 0)
            continue;
        for (size_t k = 0; k < 4 && implied[i].operators[k] != NULL; k++)
            add(q, OPERATORS, implied[i].operators[k]);
    }
}

static void ask_expr(struct questions *q, const struct expr *expr, int depth)
{
    if (expr == NULL || depth > DEPTH_MAX)
        return;
    switch (expr->kind) {
    case EXPR_FUNCTION:
        ask(q, FUNCTIONS, &expr->name);
        if (expr->n_args == 1 && expr->name.name != NULL) /* typename(value) is a cast */
            ask(q, TYPES, &expr->name);
        if (expr->name.name != NULL && strcmp(expr->name.name, "extract") == 0) /* before 14 */
            add(q, FUNCTIONS, "date_part");
        break;
    case EXPR_OPERATOR:
        ask(q, OPERATORS, &expr->name);
        break;
    case EXPR_CAST:
        ask_type(q, expr->type);
        break;
    case EXPR_OTHER:
        ask_implied(q, expr);
        break;
    default:
        break;
    }
    for (size_t i = 0; i < expr->n_args; i++)
        ask_expr(q, expr->args[i], depth + 1);
}

static void ask_constraint(struct questions *q, const struct constraint *constraint)
{
    if (constraint == NULL)
        return;
    ask_expr(q, constraint->expr, 0);
    if (constraint->kind == CONSTRAINT_FOREIGN)
        ask(q, RELATIONS, &constraint->referenced);
}

static void ask_column(struct questions *q, const struct column_definition *column)
{
    if (column == NULL)
        return;
    ask_type(q, &column->type);
    for (size_t i = 0; i < column->n_constraints; i++)
        ask_constraint(q, &column->constraints[i]);
}

/* ---- statements ---- */

static bool is_relation_kind(const char *kind)
{
    static const char *const kinds[] = {"TABLE",         "INDEX",   "VIEW", "MATERIALIZED VIEW",
                                        "FOREIGN TABLE", "SEQUENCE"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    }
    return false;
}

static void ask_objects(struct questions *q, const struct facts *facts)
{
    bool made = facts->kind == STATEMENT_CREATE_TABLE || facts->kind == STATEMENT_CREATE_INDEX;
    if (facts->kind == STATEMENT_ALTER_TABLE || made || is_relation_kind(facts->object_kind))
        ask(q, made ? RELATIONS : WORKED_ON, &facts->object);
    if (facts->index_table.name != NULL)
        ask(q, WORKED_ON, &facts->index_table);
    for (size_t i = 0; i < facts->n_objects; i++) {
        if (is_relation_kind(facts->object_kind))
            ask(q, WORKED_ON, &facts->objects[i]);
        if (facts->kind != STATEMENT_DROP)
            continue;
        if (strcmp(facts->object_kind, "SCHEMA") == 0) {
            add(q, SCHEMAS, facts->objects[i].name);
            add(q, TYPES, facts->objects[i].name); /* a question about schemas alone isn't asked */
        } else if (strcmp(facts->object_kind, "TYPE") == 0 || strcmp(facts->object_kind, "DOMAIN") == 0) {
            ask(q, TYPES, &facts->objects[i]);
        }
    }
    ask_column(q, facts->domain);
}

static void ask_statement(struct questions *q, const struct facts *facts)
{
    switch (facts->kind) {
    case STATEMENT_TRANSACTION:
    case STATEMENT_SETTING:
        return;
    case STATEMENT_QUERY: /* how large is what it works on? */
        if (facts->moves)
            ask(q, RELATIONS, &facts->object);
        return;
    default:
        break;
    }
    ask_objects(q, facts);
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        ask_column(q, alter->column);
        ask_constraint(q, alter->constraint);
        ask_expr(q, alter->expr, 0);
        if (alter->kind == ALTER_ADD_OF)
            ask(q, TYPES, &alter->other);
        else
            ask(q, WORKED_ON, &alter->other);
        if (alter->kind == ALTER_SET_SCHEMA)
            add(q, SCHEMAS, alter->new_name);
    }
    for (size_t i = 0; i < facts->n_columns; i++)
        ask_column(q, &facts->columns[i]);
    for (size_t i = 0; i < facts->n_constraints; i++)
        ask_constraint(q, &facts->constraints[i]);
    for (size_t i = 0; i < facts->n_nested; i++)
        ask_statement(q, facts->nested[i].facts);
}

/* ---- the text ---- */

static json_t *keys_of(json_t *object)
{
    json_t *array = json_array(), *value;
    const char *key;
    bool failed = array == NULL;
    json_object_foreach(object, key, value)
    {
        if (!failed && json_array_append_new(array, json_string(key)) != 0)
            failed = true;
    }
    if (failed)
        json_decref(array);
    return failed ? NULL : array;
}

static char *text_of(const void *parent, const struct questions *q)
{
    json_t *all = json_object();
    bool any = false, failed = all == NULL || q->failed;
    for (int list = 0; list < N_LISTS && !failed; list++) {
        any = any || (list != SCHEMAS && json_object_size(q->seen[list]) > 0);
        failed = json_object_set_new(all, keys[list], keys_of(q->seen[list])) != 0;
    }
    char *dumped = any && !failed ? json_dumps(all, JSON_COMPACT) : NULL;
    char *text = dumped != NULL ? talloc_strdup(parent, dumped) : NULL;
    free(dumped);
    json_decref(all);
    return text;
}

char *catalog_questions(const void *talloc_parent, const struct facts *facts)
{
    struct questions q = {.failed = false};
    if (facts == NULL || facts->status != FACTS_OK || facts->replaced)
        return NULL;
    for (int list = 0; list < N_LISTS; list++) {
        q.seen[list] = json_object();
        q.failed = q.failed || q.seen[list] == NULL;
    }
    if (!q.failed)
        ask_statement(&q, facts);
    char *text = text_of(talloc_parent, &q);
    for (int list = 0; list < N_LISTS; list++)
        json_decref(q.seen[list]);
    return text;
}

char *catalog_question_of_table(const void *talloc_parent, const char *table)
{
    json_t *question = json_pack("{s:[],s:[s],s:[],s:[],s:[],s:[]}", "s", "r", table, "R", "f", "o", "t");
    char *dumped = question == NULL ? NULL : json_dumps(question, JSON_COMPACT);
    char *text = dumped == NULL ? NULL : talloc_strdup(talloc_parent, dumped);
    free(dumped);
    json_decref(question);
    return text;
}

/*
 * What EXECUTE executes, where the text alone says it: literals, joined with ||, concat() or format().
 */
#include "parser/facts_body.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

static char *value_of(const void *scratch, const struct expr *expr);

/* format() can repeat its arguments, and stand in another's: what is made of an expression is kept short. */
enum { VALUE_MAX = 16384 };

static char *bounded(char *text)
{
    if (text && strlen(text) <= VALUE_MAX)
        return text;
    talloc_free(text);
    return NULL;
}

static char *quoted_literal(const void *scratch, const char *text)
{
    bool escape = strchr(text, '\\') != NULL;
    char *quoted = talloc_array(scratch, char, 2 * strlen(text) + 5), *to = quoted;
    if (!quoted)
        return NULL;
    if (escape) {
        *to++ = ' ';
        *to++ = 'E';
    }
    *to++ = '\'';
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            *to++ = *text;
        *to++ = *text;
    }
    *to++ = '\'';
    *to = '\0';
    return quoted;
}

static char *joined(const void *scratch, const struct expr *expr, size_t least)
{
    char *all = expr->n_args >= least ? talloc_strdup(scratch, "") : NULL;
    for (size_t i = 0; all && i < expr->n_args; i++) {
        char *part = value_of(scratch, expr->args[i]);
        char *more = part ? talloc_strdup_append_buffer(all, part) : NULL;
        if (!more)
            talloc_free(all);
        talloc_free(part);
        all = bounded(more);
    }
    return all;
}

/* One specifier of format() at `at`, behind its %: [position$] type. The next byte, or NULL where we don't
 * read it (a width, an unknown type). */
static const char *specifier(const char *at, size_t *argument, char *type)
{
    if (isdigit((unsigned char)*at)) {
        char *end;
        unsigned long position = strtoul(at, &end, 10);
        if (*end != '$' || position == 0 || position > 1000)
            return NULL;
        *argument = position;
        at = end + 1;
    }
    *type = *at;
    return *at && strchr("sIL", *at) ? at + 1 : NULL;
}

static char *append_argument(const void *scratch, char *all, const struct expr *call, size_t argument,
                             char type)
{
    char *value = argument < call->n_args ? value_of(scratch, call->args[argument]) : NULL;
    char *shown = !value        ? NULL
                  : type == 'I' ? quote_identifier(scratch, value)
                  : type == 'L' ? quoted_literal(scratch, value)
                                : talloc_strdup(scratch, value);
    char *more = shown ? talloc_strdup_append_buffer(all, shown) : NULL;
    if (!more)
        talloc_free(all);
    talloc_free(value);
    talloc_free(shown);
    return bounded(more);
}

static char *formatted(const void *scratch, const struct expr *call)
{
    char *format = call->n_args > 0 ? value_of(scratch, call->args[0]) : NULL;
    char *all = format ? talloc_strdup(scratch, "") : NULL;
    size_t next = 1;
    for (const char *at = format; all && *at;) {
        size_t plain = strcspn(at, "%");
        bool percent = at[plain] == '%' && at[plain + 1] == '%';
        char *more = talloc_strndup_append_buffer(all, at, plain + percent);
        at += plain + 2 * (size_t)percent;
        if (!more)
            talloc_free(all);
        all = bounded(more);
        if (!all || percent || !*at)
            continue;
        char type;
        size_t argument = next;
        at = specifier(at + 1, &argument, &type);
        next = argument + 1;
        if (!at) {
            talloc_free(all);
            all = NULL;
            break;
        }
        all = append_argument(scratch, all, call, argument, type);
    }
    talloc_free(format);
    return all;
}

static char *one_argument(const void *scratch, const struct expr *call, bool identifier)
{
    char *value = call->n_args == 1 ? value_of(scratch, call->args[0]) : NULL;
    char *quoted = !value       ? NULL
                   : identifier ? quote_identifier(scratch, value)
                                : quoted_literal(scratch, value);
    talloc_free(value);
    return bounded(quoted);
}

static char *call_value(const void *scratch, const struct expr *call)
{
    if (call->variadic || call->distinct || call->star || call->window)
        return NULL;
    if (strcmp(call->name.name, "format") == 0)
        return formatted(scratch, call);
    if (strcmp(call->name.name, "concat") == 0)
        return joined(scratch, call, 1);
    if (strcmp(call->name.name, "quote_ident") == 0)
        return one_argument(scratch, call, true);
    if (strcmp(call->name.name, "quote_literal") == 0)
        return one_argument(scratch, call, false);
    return NULL;
}

static bool is_text_type(const struct type_name *type)
{
    return type && type->array == 0 && type->n_modifiers == 0 &&
           (strcmp(type->name, "text") == 0 || strcmp(type->name, "varchar") == 0);
}

static bool is_system(const struct name *name)
{
    return name->name && (!name->schema || strcmp(name->schema, "pg_catalog") == 0);
}

static char *value_of(const void *scratch, const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_CONSTANT:
        if (expr->constant != CONSTANT_STRING && expr->constant != CONSTANT_INTEGER)
            return NULL;
        return expr->text ? talloc_strdup(scratch, expr->text) : NULL;
    case EXPR_OPERATOR:
        return is_system(&expr->name) && !strcmp(expr->name.name, "||") ? joined(scratch, expr, 2) : NULL;
    case EXPR_CAST:
        return is_text_type(expr->type) && expr->n_args == 1 ? value_of(scratch, expr->args[0]) : NULL;
    case EXPR_FUNCTION:
        return is_system(&expr->name) ? call_value(scratch, expr) : NULL;
    default:
        return NULL;
    }
}

/* The one expression of SELECT expression. */
static json_t *only_target(json_t *tree)
{
    json_t *statements = tree_list(tree, "stmts");
    json_t *select = tree_child(tree_child(json_array_get(statements, 0), "stmt"), "SelectStmt");
    json_t *targets = tree_list(select, "targetList");
    if (json_array_size(statements) != 1 || json_array_size(targets) != 1 || tree_list(select, "fromClause"))
        return NULL;
    return json_object_get(tree_child(json_array_get(targets, 0), "ResTarget"), "val");
}

char *plpgsql_constant(struct body *body, const void *parent, size_t i, size_t end)
{
    const struct tokens *tokens = &body->source->tokens;
    if (i >= end || end > tokens->n)
        return NULL;
    int from = tokens->items[i].start, to = tokens->items[end - 1].end;
    void *scratch = talloc_new(NULL);
    char *text =
        scratch ? talloc_asprintf(scratch, "SELECT %.*s", to - from, body->source->text + from) : NULL;
    /* The copy has its backslashes escaped already, so it is read as standard strings are. */
    struct source *source = text ? source_new(scratch, text, strlen(text), true) : NULL;
    struct facts *facts = talloc_zero(scratch, struct facts);
    char *value = NULL;
    if (source && facts && source_scan(source)) {
        struct parse_error error;
        struct reader reader = {.facts = facts, .source = source};
        json_t *tree = parse_tree(scratch, source, &error);
        struct expr *expr = expr_read(&reader, only_target(tree));
        char *found = expr && !reader.failed ? value_of(scratch, expr) : NULL;
        value = found ? talloc_strdup(parent, found) : NULL;
        json_decref(tree);
    }
    talloc_free(scratch);
    return value;
}

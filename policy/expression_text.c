/*
 * Expressions written back as SQL, for hints. What can't be written back faithfully is not written at all.
 */
#include <ctype.h>
#include <string.h>
#include <talloc.h>

#include "policy/expression.h"

/* A hint is read by a person: nobody reads more than this. */
#define TEXT_MAX  200
#define DEPTH_MAX 12

static bool write_expression(char **out, const struct expr *, int depth);

static bool write_list(char **out, const struct expr *expr, const char *between, int depth)
{
    for (size_t i = 0; i < expr->n_args; i++) {
        if (i > 0)
            *out = talloc_strdup_append(*out, between);
        if (!write_expression(out, expr->args[i], depth + 1))
            return false;
    }
    return true;
}

static bool write_constant(char **out, const struct expr *expr)
{
    if (expr->text == NULL)
        return false;
    if (expr->constant == CONSTANT_BITS)
        return false;
    if (expr->constant != CONSTANT_STRING) {
        *out = talloc_strdup_append(*out, expr->text);
        return true;
    }
    bool escape = strchr(expr->text, '\\') != NULL;
    *out = talloc_strdup_append(*out, escape ? "E'" : "'");
    for (const char *c = expr->text; *c != '\0'; c++)
        *out = talloc_asprintf_append(*out, *c == '\'' || *c == '\\' ? "%c%c" : "%c", *c, *c);
    *out = talloc_strdup_append(*out, "'");
    return true;
}

static bool write_call(char **out, const struct expr *expr, int depth)
{
    if (expr->variadic || expr->distinct || expr->star || expr->window || expr->name.name == NULL)
        return false;
    char *name = quote_name(*out, &expr->name);
    *out = talloc_asprintf_append(*out, "%s(", name);
    if (!write_list(out, expr, ", ", depth))
        return false;
    *out = talloc_strdup_append(*out, ")");
    return true;
}

/* Operands that are no single word are put into parentheses: precedence never matters then. */
static bool write_operand(char **out, const struct expr *expr, int depth)
{
    bool bare = expr->kind == EXPR_CONSTANT || expr->kind == EXPR_COLUMN || expr->kind == EXPR_FUNCTION ||
                expr->kind == EXPR_NULL || expr->kind == EXPR_SQL_VALUE;
    if (!bare)
        *out = talloc_strdup_append(*out, "(");
    if (!write_expression(out, expr, depth + 1))
        return false;
    if (!bare)
        *out = talloc_strdup_append(*out, ")");
    return true;
}

static bool write_operator(char **out, const struct expr *expr, int depth)
{
    if (expr->name.name == NULL || expr->name.schema != NULL || expr->n_args < 1 || expr->n_args > 2)
        return false;
    if (expr->n_args == 1) {
        *out = talloc_asprintf_append(*out, "%s ", expr->name.name);
        return write_operand(out, expr->args[0], depth);
    }
    if (!write_operand(out, expr->args[0], depth))
        return false;
    *out = talloc_asprintf_append(*out, " %s ", expr->name.name);
    return write_operand(out, expr->args[1], depth);
}

static bool write_boolean(char **out, const struct expr *expr, int depth)
{
    if (expr->name.name == NULL)
        return false;
    if (expr->n_args == 1) {
        *out = talloc_asprintf_append(*out, "%s ", expr->name.name);
        return write_operand(out, expr->args[0], depth);
    }
    for (size_t i = 0; i < expr->n_args; i++) {
        if (i > 0)
            *out = talloc_asprintf_append(*out, " %s ", expr->name.name);
        if (!write_operand(out, expr->args[i], depth))
            return false;
    }
    return true;
}

static bool write_suffixed(char **out, const struct expr *expr, const char *before, const char *after,
                           int depth)
{
    if (expr->n_args != 1 || after == NULL || !write_operand(out, expr->args[0], depth))
        return false;
    *out = talloc_asprintf_append(*out, "%s%s", before, after);
    return true;
}

static bool write_expression(char **out, const struct expr *expr, int depth)
{
    if (depth > DEPTH_MAX || talloc_get_size(*out) > TEXT_MAX)
        return false;
    switch (expr->kind) {
    case EXPR_NULL:
        *out = talloc_strdup_append(*out, "NULL");
        return true;
    case EXPR_CONSTANT:
        return write_constant(out, expr);
    case EXPR_FUNCTION:
        return write_call(out, expr, depth);
    case EXPR_OPERATOR:
        return write_operator(out, expr, depth);
    case EXPR_CAST:
        return expr->type != NULL && write_suffixed(out, expr, "::", expr->type->text, depth);
    case EXPR_SQL_VALUE:
        if (expr->name.name == NULL)
            return false;
        *out = talloc_strdup_append(*out, expr->name.name);
        return true;
    case EXPR_COLUMN: {
        if (expr->name.name == NULL)
            return false;
        char *name = quote_name(*out, &expr->name);
        *out = talloc_strdup_append(*out, name);
        return true;
    }
    case EXPR_BOOLEAN:
        return write_boolean(out, expr, depth);
    case EXPR_NULL_TEST:
        return write_suffixed(out, expr, " ", expr->name.name, depth);
    case EXPR_ARRAY:
        *out = talloc_strdup_append(*out, "ARRAY[");
        if (!write_list(out, expr, ", ", depth))
            return false;
        *out = talloc_strdup_append(*out, "]");
        return true;
    case EXPR_SUBQUERY:
    case EXPR_PARAMETER:
    case EXPR_OTHER:
        break;
    }
    return false;
}

char *expression_text(const void *talloc_parent, const struct expr *expr)
{
    char *out = talloc_strdup(talloc_parent, "");
    if (expr != NULL && write_expression(&out, expr, 0) && talloc_get_size(out) <= TEXT_MAX)
        return out;
    talloc_free(out);
    return NULL;
}

char *expression_label(const void *talloc_parent, const struct expr *expr)
{
    if (expr == NULL)
        return talloc_strdup(talloc_parent, "the default");
    if (expr->kind == EXPR_FUNCTION && expr->name.name != NULL)
        return talloc_asprintf(talloc_parent, "%s(%s)", expr->name.name, expr->n_args > 0 ? "…" : "");
    if (expr->kind == EXPR_CAST && expr->type != NULL)
        return talloc_asprintf(talloc_parent, "the cast to %s", expr->type->text);
    if (expr->kind == EXPR_OPERATOR && expr->name.name != NULL)
        return talloc_asprintf(talloc_parent, "the operator %s", expr->name.name);
    return talloc_strdup(talloc_parent, "part of the default");
}

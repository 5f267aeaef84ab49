/*
 * What the planner makes of a call of an SQL function (inline_function): where the body is one plain
 * expression, it takes the place of the call, and with it the function's own word on how volatile it is. So a
 * function that is VOLATILE by default and returns a constant causes no rewrite, and an IMMUTABLE one that
 * drops a volatile argument neither.
 *
 * The body is read by facts_of(), as the default of a column. Three readings tell where the body stands: as
 * an expression (it can be inlined), as a subquery that takes another FROM (it is something else that we
 * don't follow), or as one that doesn't (it has a FROM or another clause: never inlined).
 */
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "policy/catalog_inside.h"

enum { BODIES_MAX = 5, BODY_MAX = 2000 };

enum body { BODY_EXPRESSION, BODY_QUERY, BODY_UNSURE };

/* ---- reading the body ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/* The text behind SELECT, without a semicolon at the end. NULL: the body doesn't begin with SELECT. */
static char *select_list(const void *memory, const char *source)
{
    while (is_space(*source))
        source++;
    if (strncasecmp(source, "select", 6) != 0 || !is_space(source[6]))
        return NULL;
    source += 7;
    size_t length = strlen(source);
    while (length > 0 && (is_space(source[length - 1]) || source[length - 1] == ';'))
        length--;
    return talloc_strndup(memory, source, length);
}

static const struct facts *read_as_default(const void *memory, const char *before, const char *list,
                                           const char *behind)
{
    char *text =
        talloc_asprintf(memory, "ALTER TABLE t ALTER COLUMN c SET DEFAULT (%s%s\n%s)", before, list, behind);
    return text != NULL ? facts_of(memory, text, strlen(text), PARSER_TEXT_MAX, true) : NULL;
}

static const struct expr *expression_of(const struct facts *facts)
{
    if (facts == NULL || facts->status != FACTS_OK || facts->n_alters != 1)
        return NULL;
    return facts->alters[0].expr;
}

/* "x AS name" without the last two words. */
static bool cut_alias(char *list)
{
    size_t end = strlen(list), from = end;
    while (from > 0 && !is_space(list[from - 1]))
        from--;
    size_t word = from;
    while (word > 0 && is_space(list[word - 1]))
        word--;
    if (word < 3 || from == end || strncasecmp(list + word - 2, "as", 2) != 0 || !is_space(list[word - 3]) ||
        strpbrk(list + from, "'\"()") != NULL)
        return false;
    list[word - 3] = '\0';
    return true;
}

static bool begins_query(const char *source)
{
    static const char *const words[] = {"insert", "update", "delete", "with", "values", "merge"};
    while (is_space(*source))
        source++;
    if (*source == '\0')
        return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strncasecmp(source, words[i], strlen(words[i])) == 0)
            return true;
    }
    return false;
}

static enum body read_body(const void *memory, const char *source, const struct expr **expr)
{
    char *list = select_list(memory, source);
    if (list == NULL)
        return begins_query(source) ? BODY_QUERY : BODY_UNSURE;
    *expr = expression_of(read_as_default(memory, "", list, ""));
    bool query = expression_of(read_as_default(memory, "SELECT ", list, "")) != NULL;
    bool takes_from = expression_of(read_as_default(memory, "SELECT ", list, "FROM x")) != NULL;
    if (*expr == NULL && query && takes_from && cut_alias(list))
        *expr = expression_of(read_as_default(memory, "", list, ""));
    if (*expr != NULL && query && takes_from)
        return BODY_EXPRESSION;
    *expr = NULL;
    return query && !takes_from ? BODY_QUERY : BODY_UNSURE;
}

/* ---- what the planner asks before it inlines ---- */

static bool being_inlined(const struct scope *scope, const struct catalog_function *function)
{
    for (; scope != NULL; scope = scope->outer) {
        if (scope->body_of == function)
            return true;
    }
    return false;
}

/* The body by itself, its arguments not known. */
static struct value body_as_written(const struct scope *scope, const struct catalog_function *function,
                                    const struct expr *expr, struct argument *arguments)
{
    struct scope inside = {.catalog = scope->catalog,
                           .body_of = function,
                           .arguments = arguments,
                           .outer = scope,
                           .memory = scope->memory,
                           .depth = scope->depth + 1};
    for (size_t i = 0; i < function->n_args; i++)
        arguments[i] = (struct argument){.value = {.type = function->args[i], .fold = FOLD_NOT}};
    struct value value = catalog_value(&inside, expr, 0);
    return catalog_coerce(&inside, value, function->result, COERCE_ASSIGNMENT, expr);
}

enum verdict_inline { INLINE_NO, INLINE_YES, INLINE_UNSURE };

static enum verdict_inline arguments_allow(const struct catalog_function *function,
                                           const struct argument *arguments, const struct value *args)
{
    enum verdict_inline allow = INLINE_YES;
    for (size_t i = 0; i < function->n_args; i++) {
        if (arguments[i].used == 0 && function->strict)
            return INLINE_NO;
        if (arguments[i].used < 2 || args[i].fold == FOLD_SOME || args[i].fold == FOLD_NULL)
            continue;
        if (args[i].volatility == CATALOG_VOLATILE)
            return INLINE_NO;
        if (!fold_constant(args[i].fold)) /* what it costs to compute it twice isn't known */
            allow = INLINE_UNSURE;
    }
    return allow;
}

static enum verdict_inline may_inline(const struct catalog_function *function, const struct value *body,
                                      const struct argument *arguments, const struct value *args)
{
    enum verdict_inline allow = arguments_allow(function, arguments, args);
    if (body->type == 0 || body->type == TYPE_UNKNOWN)
        return INLINE_UNSURE;
    if (function->volatility == CATALOG_IMMUTABLE && body->volatility != CATALOG_IMMUTABLE)
        return body->volatility == CATALOG_UNKNOWN ? INLINE_UNSURE : INLINE_NO;
    if (function->volatility == CATALOG_STABLE && body->volatility == CATALOG_VOLATILE)
        return INLINE_NO;
    if (function->volatility == CATALOG_STABLE && body->volatility == CATALOG_UNKNOWN)
        return INLINE_UNSURE;
    if (function->strict && body->nonstrict && allow == INLINE_YES)
        return INLINE_UNSURE;
    return allow;
}

/* ---- inlining ---- */

static struct value inlined(const struct scope *scope, const struct catalog_function *function,
                            const struct expr *expr, const struct value *args, struct argument *arguments)
{
    struct scope inside = {.catalog = scope->catalog,
                           .body_of = function,
                           .arguments = arguments,
                           .outer = scope,
                           .folds = true,
                           .memory = scope->memory,
                           .depth = scope->depth + 1};
    for (size_t i = 0; i < function->n_args; i++)
        arguments[i] = (struct argument){.value = args[i]};
    struct value value = catalog_value(&inside, expr, 0);
    return catalog_coerce(&inside, value, function->result, COERCE_ASSIGNMENT, expr);
}

static bool plain_signature(const struct catalog_function *function, size_t n)
{
    if (function->n_args != n || catalog_polymorphic(function->result))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (catalog_polymorphic(function->args[i]) || function->args[i] == TYPE_ANY)
            return false;
    }
    return true;
}

struct value catalog_inline(const struct scope *scope, const struct catalog_function *function,
                            const struct value *args, size_t n, struct value plain)
{
    const struct expr *expr = NULL;
    if (function->source == NULL || !plain_signature(function, n) || scope->depth >= BODIES_MAX)
        return value_if_kept(plain, plain.culprit);
    if (being_inlined(scope, function))
        return plain;
    void *memory = talloc_new(scope->memory);
    struct argument *arguments = talloc_array(memory, struct argument, n + 1);
    enum body body = arguments != NULL ? read_body(memory, function->source, &expr) : BODY_UNSURE;
    enum verdict_inline verdict = body == BODY_QUERY ? INLINE_NO : INLINE_UNSURE;
    if (body == BODY_EXPRESSION) {
        struct value written = body_as_written(scope, function, expr, arguments);
        verdict = may_inline(function, &written, arguments, args);
    }
    struct value result = value_if_kept(plain, plain.culprit);
    if (verdict == INLINE_NO)
        result = plain;
    if (verdict == INLINE_YES)
        result = inlined(scope, function, expr, args, arguments);
    /* what stands in the body can't be shown to the author */
    if (result.culprit != NULL)
        result.culprit = plain.culprit;
    result.type = plain.type;
    talloc_free(memory);
    return result;
}

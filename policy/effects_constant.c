/*
 * Constants: would their type take them, and would a CHECK hold for them? Answered only where it is plain.
 */
#include <string.h>

#include "policy/effects.h"

/* ---- literals ---- */

static const char *skip_digits(const char *text)
{
    return text + strspn(text, "0123456789");
}

/* An integer of at most 9 digits, blanks around it: any integer type but int2 takes it. */
static enum answer integer_accepted(const char *text, size_t digits_max)
{
    const char *at = text + strspn(text, " ");
    at += *at == '-' || *at == '+';
    const char *end = skip_digits(at);
    const char *rest = end + strspn(end, " ");
    if (end == at)
        return strpbrk(text, "0123456789") == NULL ? ANSWER_NO : ANSWER_UNKNOWN;
    if (*rest != '\0')
        return ANSWER_UNKNOWN; /* 0x1f, 1_000: since 16 */
    return (size_t)(end - at) <= digits_max ? ANSWER_YES : ANSWER_UNKNOWN;
}

static enum answer number_accepted(const char *text)
{
    const char *at = text + (*text == '-' || *text == '+');
    const char *end = skip_digits(at);
    if (*end == '.')
        end = skip_digits(end + 1);
    return end > at && *end == '\0' && strpbrk(at, "0123456789") != NULL && strlen(at) < 15 ? ANSWER_YES
                                                                                            : ANSWER_UNKNOWN;
}

static enum answer one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(text, *words) == 0)
            return ANSWER_YES;
    }
    return ANSWER_UNKNOWN;
}

static enum answer uuid_accepted(const char *text)
{
    static const char pattern[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    size_t i = 0;
    for (; text[i] != '\0' && i < sizeof pattern - 1; i++) {
        bool fits = pattern[i] == '-' ? text[i] == '-' : strchr("0123456789abcdefABCDEF", text[i]) != NULL;
        if (!fits)
            return ANSWER_UNKNOWN;
    }
    return i == sizeof pattern - 1 && text[i] == '\0' ? ANSWER_YES : ANSWER_UNKNOWN;
}

/* Characters of UTF-8 text: what varchar(n) counts. */
static size_t characters(const char *text)
{
    return utf8_characters(text, strlen(text));
}

static enum answer text_accepted(const struct type_name *type, const char *text)
{
    bool limited = strcmp(type->name, "text") != 0;
    if (limited && type->n_modifiers == 0)
        return strcmp(type->name, "bpchar") == 0 ? ANSWER_UNKNOWN : ANSWER_YES;
    return !limited || (long)characters(text) <= type->modifiers[0] ? ANSWER_YES : ANSWER_UNKNOWN;
}

static enum answer array_accepted(const struct type_name *type, const char *text)
{
    size_t length = strlen(text);
    if (strcmp(text, "{}") == 0)
        return ANSWER_YES;
    bool plain = length > 2 && text[0] == '{' && strspn(text + 1, "0123456789,") == length - 2 &&
                 text[length - 1] == '}' && text[1] != ',' && text[length - 2] != ',' &&
                 strstr(text, ",,") == NULL;
    bool integers = strcmp(type->name, "int4") == 0 || strcmp(type->name, "int8") == 0;
    return plain && integers && length < 12 ? ANSWER_YES : ANSWER_UNKNOWN;
}

enum answer literal_accepted(const struct type_name *type, const char *text)
{
    static const char *const booleans[] = {"true", "false", "t", "f", "yes", "no",
                                           "on",   "off",   "1", "0", NULL};
    static const char *const moments[] = {"now",   "today",    "tomorrow",  "yesterday",
                                          "epoch", "infinity", "-infinity", NULL};
    static const char *const jsons[] = {"{}", "[]", "null", "true", "false", "\"\"", NULL};
    const char *name = type->name;
    if (text == NULL || (type->schema != NULL && strcmp(type->schema, "pg_catalog") != 0))
        return ANSWER_UNKNOWN;
    if (type->array > 0)
        return array_accepted(type, text);
    if (strcmp(name, "int4") == 0 || strcmp(name, "int8") == 0)
        return integer_accepted(text, 9);
    if (strcmp(name, "int2") == 0)
        return integer_accepted(text, 4);
    if (strcmp(name, "text") == 0 || strcmp(name, "varchar") == 0 || strcmp(name, "bpchar") == 0)
        return text_accepted(type, text);
    if (strcmp(name, "numeric") == 0 && type->n_modifiers > 0)
        return ANSWER_UNKNOWN;
    if (strcmp(name, "numeric") == 0 || strcmp(name, "float8") == 0 || strcmp(name, "float4") == 0)
        return number_accepted(text);
    if (strcmp(name, "bool") == 0)
        return one_of(text, booleans);
    if (strcmp(name, "uuid") == 0)
        return uuid_accepted(text);
    if (strcmp(name, "json") == 0 || strcmp(name, "jsonb") == 0)
        return one_of(text, jsons);
    if (strcmp(name, "timestamptz") == 0 || strcmp(name, "timestamp") == 0 || strcmp(name, "date") == 0)
        return one_of(text, moments);
    return ANSWER_UNKNOWN;
}

/* ---- CHECK ---- */

/* A small whole number, its sign included: what both sides compare as the same type. */
static bool whole_number(const struct expr *expr, const char *column, const struct expr *value, long *out)
{
    if (expr->kind == EXPR_COLUMN && column != NULL && value != NULL && expr->name.schema == NULL &&
        expr->name.name != NULL && strcmp(expr->name.name, column) == 0)
        return whole_number(value, NULL, NULL, out);
    if (expr->kind == EXPR_OPERATOR && expr->n_args == 1 && expr->name.name != NULL &&
        strcmp(expr->name.name, "-") == 0 && expr->name.schema == NULL &&
        expr->args[0]->kind == EXPR_CONSTANT && whole_number(expr->args[0], NULL, NULL, out)) {
        *out = -*out;
        return true;
    }
    if (expr->kind != EXPR_CONSTANT || expr->constant != CONSTANT_INTEGER || expr->text == NULL)
        return false;
    const char *digits = expr->text + (expr->text[0] == '-');
    const char *end = skip_digits(digits);
    if (end == digits || *end != '\0' || end - digits > 9)
        return false;
    *out = 0;
    for (const char *at = digits; at < end; at++)
        *out = *out * 10 + (*at - '0');
    if (expr->text[0] == '-')
        *out = -*out;
    return true;
}

bool constant_number(const struct expr *expr, long *out)
{
    return whole_number(expr, NULL, NULL, out);
}

static enum answer compare(const char *operator, long a, long b)
{
    if (strcmp(operator, "<") == 0)
        return answer_of(a < b);
    if (strcmp(operator, "<=") == 0)
        return answer_of(a <= b);
    if (strcmp(operator, ">") == 0)
        return answer_of(a > b);
    if (strcmp(operator, ">=") == 0)
        return answer_of(a >= b);
    if (strcmp(operator, "=") == 0)
        return answer_of(a == b);
    return strcmp(operator, "<>") == 0 ? answer_of(a != b) : ANSWER_UNKNOWN;
}

static bool is_column(const struct expr *expr, const char *column)
{
    return column != NULL && expr->kind == EXPR_COLUMN && expr->name.schema == NULL &&
           expr->name.name != NULL && strcmp(expr->name.name, column) == 0;
}

/* `column op constant`, or the other way round, of a column that is NULL: NULL, which a CHECK lets pass. */
static bool null_comparison(const struct expr *check, const char *column)
{
    long number;
    if (check->kind != EXPR_OPERATOR || check->n_args != 2 || check->name.schema != NULL ||
        compare(check->name.name == NULL ? "" : check->name.name, 0, 0) == ANSWER_UNKNOWN)
        return false;
    return (is_column(check->args[0], column) && whole_number(check->args[1], NULL, NULL, &number)) ||
           (is_column(check->args[1], column) && whole_number(check->args[0], NULL, NULL, &number));
}

enum answer check_holds(const struct expr *check, const char *column, const struct expr *value)
{
    long a, b;
    if (check->kind == EXPR_CONSTANT && check->constant == CONSTANT_BOOLEAN && check->text != NULL)
        return answer_of(check->text[0] == 't');
    if (check->kind == EXPR_NULL_TEST && check->n_args == 1 && check->name.name != NULL &&
        is_column(check->args[0], column)) {
        bool not_null = strcmp(check->name.name, "IS NOT NULL") == 0;
        bool constant =
            value != NULL && (value->kind == EXPR_CONSTANT || whole_number(value, NULL, NULL, &a));
        return value == NULL || constant ? answer_of(not_null == constant) : ANSWER_UNKNOWN;
    }
    if (value == NULL)
        return null_comparison(check, column) ? ANSWER_YES : ANSWER_UNKNOWN;
    if (check->kind != EXPR_OPERATOR || check->n_args != 2 || check->name.schema != NULL ||
        check->name.name == NULL || !whole_number(check->args[0], column, value, &a) ||
        !whole_number(check->args[1], column, value, &b))
        return ANSWER_UNKNOWN;
    return compare(check->name.name, a, b);
}

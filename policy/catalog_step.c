/*
 * Checked steps through the JSON of an answer.
 */
#include "policy/catalog_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

json_t *answer_list(struct answer_reader *r, json_t *list)
{
    if (!json_is_array(list))
        r->bad = true;
    return list;
}

json_t *answer_row(struct answer_reader *r, json_t *list, size_t index, size_t width)
{
    json_t *row = json_array_get(list, index);
    if (!json_is_array(row) || json_array_size(row) != width)
        r->bad = true;
    return row;
}

json_t *answer_member(struct answer_reader *r, json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (value == NULL)
        r->bad = true;
    return value;
}

void *answer_array(struct answer_reader *r, size_t size, json_t *list, size_t *n)
{
    *n = json_array_size(answer_list(r, list));
    if (*n == 0)
        return NULL;
    void *array = _talloc_zero_array(r->catalog, size, (unsigned)*n, "catalog rows");
    if (array == NULL) {
        r->bad = true;
        *n = 0;
    }
    return array;
}

const char *answer_text_or_null(struct answer_reader *r, json_t *value)
{
    if (json_is_null(value))
        return NULL;
    const char *text = json_string_value(value);
    char *copy = text != NULL ? talloc_strndup(r->catalog, text, json_string_length(value)) : NULL;
    if (copy == NULL)
        r->bad = true;
    return copy;
}

const char *answer_text(struct answer_reader *r, json_t *value)
{
    const char *text = answer_text_or_null(r, value);
    if (text == NULL)
        r->bad = true;
    return text != NULL ? text : "";
}

bool answer_true(struct answer_reader *r, json_t *value)
{
    if (!json_is_boolean(value))
        r->bad = true;
    return json_is_true(value);
}

char answer_letter(struct answer_reader *r, json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL || strlen(text) > 1) {
        r->bad = true;
        return '\0';
    }
    return text[0];
}

double answer_number(struct answer_reader *r, json_t *value)
{
    if (!json_is_number(value))
        r->bad = true;
    return json_number_value(value);
}

uint64_t answer_count(struct answer_reader *r, json_t *value)
{
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        r->bad = true;
        return 0;
    }
    return (uint64_t)json_integer_value(value);
}

int answer_int(struct answer_reader *r, json_t *value)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < INT32_MIN || number > INT32_MAX)
        r->bad = true;
    return (int)number;
}

uint32_t answer_oid(struct answer_reader *r, json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL && json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) <= UINT32_MAX)
        return (uint32_t)json_integer_value(value);
    char *end = NULL;
    errno = 0;
    unsigned long long number = text != NULL && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (end == NULL || *end != '\0' || errno != 0 || number > UINT32_MAX)
        r->bad = true;
    return (uint32_t)number;
}

enum catalog_volatility answer_volatility(struct answer_reader *r, json_t *value)
{
    if (json_is_null(value))
        return CATALOG_IMMUTABLE;
    switch (answer_letter(r, value)) {
    case 'i':
        return CATALOG_IMMUTABLE;
    case 's':
        return CATALOG_STABLE;
    case 'v':
        return CATALOG_VOLATILE;
    default:
        return CATALOG_UNKNOWN;
    }
}

int *answer_ints(struct answer_reader *r, json_t *list, size_t *n)
{
    *n = 0;
    if (json_is_null(list))
        return NULL;
    int *numbers = answer_array(r, sizeof *numbers, list, n);
    for (size_t i = 0; i < *n; i++)
        numbers[i] = answer_int(r, json_array_get(list, i));
    return numbers;
}

const char **answer_texts(struct answer_reader *r, json_t *list, size_t *n)
{
    *n = 0;
    if (json_is_null(list))
        return NULL;
    const char **texts = answer_array(r, sizeof *texts, list, n);
    for (size_t i = 0; i < *n; i++) {
        json_t *text = json_array_get(list, i);
        texts[i] = json_is_null(text) ? "" : answer_text(r, text);
    }
    return texts;
}

const struct catalog_schema *answer_schema(struct answer_reader *r, json_t *oid)
{
    static const struct catalog_schema none = {.name = "", .position = -1};
    uint32_t wanted = answer_oid(r, oid);
    for (size_t i = 0; i < r->catalog->n_schemas; i++) {
        if (r->catalog->schemas[i].oid == wanted)
            return &r->catalog->schemas[i];
    }
    return &none; /* of a type or function that was reached through another */
}

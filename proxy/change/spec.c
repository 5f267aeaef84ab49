/*
 * The form of a spec, asked once more. begin_change() looks at what a client wrote, but the row may come from
 * an older schema or from a hand: what isn't as the worker's code expects must be told before any SQL is made
 * of it.
 */
#include "proxy/change/work.h"

enum { NAME_MOST = 63, COLUMNS_MOST = 1600 };

static bool is_name(const json_t *value)
{
    size_t length = json_is_string(value) ? json_string_length(value) : 0;
    return length > 0 && length <= NAME_MOST;
}

static bool is_absent(const json_t *value)
{
    return !value || json_is_null(value);
}

static bool are_names(const json_t *list)
{
    const json_t *name;
    size_t i;
    json_array_foreach(list, i, name) if (!is_name(name)) return false;
    return json_is_array(list);
}

static bool is_column(const json_t *column)
{
    const json_t *name = json_object_get(column, "not_null_name");
    json_int_t number = json_integer_value(json_object_get(column, "number"));
    return is_name(json_object_get(column, "name")) && (is_absent(name) || is_name(name)) && number > 0 &&
           number <= COLUMNS_MOST;
}

static bool is_unique(const json_t *unique)
{
    const json_t *columns = json_object_get(unique, "columns"), *include = json_object_get(unique, "include");
    return is_name(json_object_get(unique, "name")) && are_names(columns) && json_array_size(columns) > 0 &&
           (is_absent(include) || are_names(include));
}

static bool is_constraint(const json_t *constraint)
{
    return is_name(json_object_get(constraint, "name"));
}

static bool is_index(const json_t *index)
{
    const json_t *name = json_object_get(index, "name"), *path = json_object_get(index, "search_path");
    return is_absent(index) || (json_is_string(json_object_get(index, "sql")) &&
                                (is_absent(name) || is_name(name)) && (is_absent(path) || are_names(path)));
}

static bool all(const json_t *list, bool (*good)(const json_t *))
{
    const json_t *item;
    size_t i;
    json_array_foreach(list, i, item) if (!good(item)) return false;
    return json_is_array(list);
}

static bool are_settings(const json_t *settings)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)settings, name, value) if (!json_is_string(value)) return false;
    return is_absent(settings) || json_is_object(settings);
}

bool spec_good(const json_t *spec)
{
    return all(json_object_get(spec, "columns"), is_column) &&
           all(json_object_get(spec, "unique"), is_unique) &&
           all(json_object_get(spec, "validate"), is_constraint) &&
           is_index(json_object_get(spec, "index")) && are_settings(json_object_get(spec, "settings"));
}

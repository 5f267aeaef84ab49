/*
 * Looking into libpg_query's JSON tree. Everything takes NULL for "not there", so that readers need no
 * checks of their own: libpg_query leaves out what is zero, and releases differ in what they write.
 */
#include "parser/parse.h"

#include <string.h>

const char *tree_text(const json_t *tree, const char *key)
{
    return json_string_value(json_object_get(tree, key));
}

bool tree_true(const json_t *tree, const char *key)
{
    return json_is_true(json_object_get(tree, key));
}

int tree_number(const json_t *tree, const char *key, int otherwise)
{
    const json_t *value = json_object_get(tree, key);
    return json_is_integer(value) ? (int)json_integer_value(value) : otherwise;
}

json_t *tree_list(const json_t *tree, const char *key)
{
    json_t *value = json_object_get(tree, key);
    return json_is_array(value) ? value : NULL;
}

json_t *tree_child(const json_t *tree, const char *key)
{
    json_t *value = json_object_get(tree, key);
    return json_is_object(value) ? value : NULL;
}

bool tree_is(const json_t *tree, const char *key, const char *value)
{
    const char *text = tree_text(tree, key);
    return text && strcmp(text, value) == 0;
}

const char *tree_kind(json_t *node, json_t **inside)
{
    void *first = json_object_iter(node);
    if (!first) {
        *inside = NULL;
        return "";
    }
    *inside = json_object_iter_value(first);
    return json_object_iter_key(first);
}

json_t *tree_node(const json_t *tree, const char *key, const char *kind)
{
    return tree_child(tree_child(tree, key), kind);
}

const char *tree_string(json_t *node)
{
    json_t *inside;
    if (strcmp(tree_kind(node, &inside), "String") != 0)
        return NULL;
    return tree_text(inside, "sval");
}

/*
 * Objects and command tags.
 *
 * The grammar has a dozen forms for "the object": a list of strings, one string, a range variable, a type, a
 * function with its arguments, a role, a number. Which one is used depends on the type of object only.
 */
#include "parser/facts_objects.h"

#include <string.h>
#include <talloc.h>

/* Names in the log are for reading: more than this is cut. */
enum { IDENTITY_MAX = 1000 };

/* ObjectType -> its words in a statement, and those of its ALTER tag where they differ. */
static const struct {
    const char *type, *words, *alter;
} objects[] = {{"OBJECT_TABLE", "TABLE", NULL},
               {"OBJECT_INDEX", "INDEX", NULL},
               {"OBJECT_VIEW", "VIEW", NULL},
               {"OBJECT_MATVIEW", "MATERIALIZED VIEW", NULL},
               {"OBJECT_SEQUENCE", "SEQUENCE", NULL},
               {"OBJECT_FOREIGN_TABLE", "FOREIGN TABLE", NULL},
               {"OBJECT_COLUMN", "COLUMN", "TABLE"},
               {"OBJECT_TABCONSTRAINT", "CONSTRAINT", "TABLE"},
               {"OBJECT_TYPE", "TYPE", NULL},
               {"OBJECT_ATTRIBUTE", "ATTRIBUTE", "TYPE"},
               {"OBJECT_DOMAIN", "DOMAIN", NULL},
               {"OBJECT_DOMCONSTRAINT", "CONSTRAINT", "DOMAIN"},
               {"OBJECT_FUNCTION", "FUNCTION", NULL},
               {"OBJECT_PROCEDURE", "PROCEDURE", NULL},
               {"OBJECT_ROUTINE", "ROUTINE", NULL},
               {"OBJECT_AGGREGATE", "AGGREGATE", NULL},
               {"OBJECT_SCHEMA", "SCHEMA", NULL},
               {"OBJECT_DATABASE", "DATABASE", NULL},
               {"OBJECT_ROLE", "ROLE", NULL},
               {"OBJECT_TRIGGER", "TRIGGER", NULL},
               {"OBJECT_EVENT_TRIGGER", "EVENT TRIGGER", NULL},
               {"OBJECT_RULE", "RULE", NULL},
               {"OBJECT_POLICY", "POLICY", NULL},
               {"OBJECT_EXTENSION", "EXTENSION", NULL},
               {"OBJECT_CAST", "CAST", NULL},
               {"OBJECT_COLLATION", "COLLATION", NULL},
               {"OBJECT_CONVERSION", "CONVERSION", NULL},
               {"OBJECT_FDW", "FOREIGN DATA WRAPPER", NULL},
               {"OBJECT_FOREIGN_SERVER", "SERVER", NULL},
               {"OBJECT_USER_MAPPING", "USER MAPPING", NULL},
               {"OBJECT_LANGUAGE", "LANGUAGE", NULL},
               {"OBJECT_LARGEOBJECT", "LARGE OBJECT", NULL},
               {"OBJECT_OPERATOR", "OPERATOR", NULL},
               {"OBJECT_OPCLASS", "OPERATOR CLASS", NULL},
               {"OBJECT_OPFAMILY", "OPERATOR FAMILY", NULL},
               {"OBJECT_ACCESS_METHOD", "ACCESS METHOD", NULL},
               {"OBJECT_PUBLICATION", "PUBLICATION", NULL},
               {"OBJECT_SUBSCRIPTION", "SUBSCRIPTION", NULL},
               {"OBJECT_STATISTIC_EXT", "STATISTICS", NULL},
               {"OBJECT_TABLESPACE", "TABLESPACE", NULL},
               {"OBJECT_TRANSFORM", "TRANSFORM", NULL},
               {"OBJECT_TSCONFIGURATION", "TEXT SEARCH CONFIGURATION", NULL},
               {"OBJECT_TSDICTIONARY", "TEXT SEARCH DICTIONARY", NULL},
               {"OBJECT_TSPARSER", "TEXT SEARCH PARSER", NULL},
               {"OBJECT_TSTEMPLATE", "TEXT SEARCH TEMPLATE", NULL},
               {"OBJECT_PARAMETER_ACL", "PARAMETER", NULL}};

static const size_t n_objects = sizeof objects / sizeof *objects;

static size_t find_object(const char *type)
{
    size_t i = 0;
    while (i < n_objects && (!type || strcmp(objects[i].type, type) != 0))
        i++;
    return i;
}

const char *object_words(const char *type)
{
    size_t i = find_object(type);
    return i < n_objects ? objects[i].words : "";
}

void facts_object_kind(struct reader *r, const char *type)
{
    r->facts->object_kind = object_words(type);
}

char *facts_tag(struct reader *r, const char *verb, const char *type)
{
    char *tag = talloc_asprintf(r->facts, "%s %s", verb, object_words(type));
    if (!tag)
        r->failed = true;
    return tag;
}

const char *facts_alter_tag(struct reader *r, const char *type)
{
    size_t i = find_object(type);
    if (i == n_objects || !objects[i].alter)
        return facts_tag(r, "ALTER", type);
    return strcmp(objects[i].alter, "TABLE") == 0  ? "ALTER TABLE"
           : strcmp(objects[i].alter, "TYPE") == 0 ? "ALTER TYPE"
                                                   : "ALTER DOMAIN";
}

/* ---- one object ------------------------------------------------------------------------------------- */

static char *text_of(struct reader *r, char *text)
{
    if (!text)
        r->failed = true;
    return text;
}

char *identity_of(struct reader *r, const struct name *name)
{
    return name->name && !r->names_only ? text_of(r, quote_name(r->facts, name)) : NULL;
}

static bool is_one_of(const char *type, const char *const *types)
{
    for (; type && *types; types++)
        if (strcmp(type, *types) == 0)
            return true;
    return false;
}

/* The strings of a list but for the first `skip` and the last `leave`, as a name. */
static struct name name_within(struct reader *r, json_t *items, size_t skip, size_t leave)
{
    struct name name = {.place = -1};
    size_t n = json_array_size(items);
    if (n < skip + leave + 1)
        return name;
    name.name = reader_copy(r, tree_string(json_array_get(items, n - leave - 1)));
    if (n >= skip + leave + 2)
        name.schema = reader_copy(r, tree_string(json_array_get(items, n - leave - 2)));
    return name;
}

static char *part_of(struct reader *r, struct name *object, struct name *on, const char *format)
{
    char *table = identity_of(r, on), *part = identity_of(r, object);
    if (!table || !part)
        return part;
    return text_of(r, strcmp(format, ".") == 0 ? talloc_asprintf(r->facts, "%s.%s", table, part)
                                               : talloc_asprintf(r->facts, "%s ON %s", part, table));
}

/* Two things in one list: CAST (a AS b), TRANSFORM FOR a LANGUAGE b, CONSTRAINT b ON DOMAIN a. */
static char *pair_read(struct reader *r, const char *type, json_t *items, struct name *object,
                       struct name *on)
{
    json_t *first = tree_child(json_array_get(items, 0), "TypeName");
    json_t *second = tree_child(json_array_get(items, 1), "TypeName");
    const char *text = tree_string(json_array_get(items, 1));
    struct type_name from = type_read(r, first);
    if (second) {
        struct type_name to = type_read(r, second);
        *object = (struct name){from.schema, from.name, from.place};
        return text_of(r, talloc_asprintf(r->facts, "(%s AS %s)", from.text, to.text));
    }
    if (strcmp(type, "OBJECT_TRANSFORM") == 0) {
        *object = (struct name){from.schema, from.name, from.place};
        return text_of(r, talloc_asprintf(r->facts, "FOR %s LANGUAGE %s", from.text, text ? text : ""));
    }
    *on = (struct name){from.schema, from.name, from.place};
    *object = name_of_text(r, text);
    return part_of(r, object, on, " ON ");
}

static char *list_read(struct reader *r, const char *type, json_t *items, struct name *object,
                       struct name *on)
{
    static const char *const on_table[] = {"OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY",
                                           "OBJECT_TABCONSTRAINT", NULL};
    static const char *const pairs[] = {"OBJECT_CAST", "OBJECT_TRANSFORM", "OBJECT_DOMCONSTRAINT", NULL};
    static const char *const in_method[] = {"OBJECT_OPCLASS", "OBJECT_OPFAMILY", NULL};
    if (is_one_of(type, pairs))
        return pair_read(r, type, items, object, on);
    if (is_one_of(type, in_method)) {
        *object = name_within(r, items, 1, 0);
        return identity_of(r, object);
    }
    bool column = type && strcmp(type, "OBJECT_COLUMN") == 0;
    if (!column && !is_one_of(type, on_table)) {
        *object = name_of_list(r, items);
        return identity_of(r, object);
    }
    *object = name_of_text(r, tree_string(json_array_get(items, json_array_size(items) - 1)));
    *on = name_within(r, items, 0, 1);
    return part_of(r, object, on, column ? "." : " ON ");
}

/* An operator's signs are not quoted. */
char *operator_identity(struct reader *r, const struct name *name)
{
    char *schema = name->schema ? text_of(r, quote_identifier(r->facts, name->schema)) : NULL;
    return text_of(r, talloc_asprintf(r->facts, "%s%s%s", schema ? schema : "", schema ? "." : "",
                                      name->name ? name->name : ""));
}

/* f(integer, text); without parentheses where the author wrote none. */
static char *routine_read(struct reader *r, json_t *in, struct name *object)
{
    *object = name_of_list(r, tree_list(in, "objname"));
    char *text = strpbrk(object->name ? object->name : "a", "abcdefghijklmnopqrstuvwxyz_")
                     ? identity_of(r, object)
                     : operator_identity(r, object);
    if (!text || tree_true(in, "args_unspecified"))
        return text;
    json_t *args = tree_list(in, "objargs"), *arg;
    size_t i;
    text = text_of(r, talloc_strdup_append_buffer(text, "("));
    json_array_foreach(args, i, arg)
    {
        json_t *type = tree_child(arg, "TypeName");
        const char *shown = type ? type_read(r, type).text : "NONE";
        if (text && strlen(text) < IDENTITY_MAX)
            text = text_of(r, talloc_asprintf_append_buffer(text, "%s%s", i ? ", " : "", shown));
    }
    return text ? text_of(r, talloc_strdup_append_buffer(text, ")")) : NULL;
}

char *object_read(struct reader *r, const char *type, json_t *node, struct name *object, struct name *on)
{
    json_t *in;
    const char *kind = tree_kind(node, &in);
    *object = *on = (struct name){.place = -1};
    if (strcmp(kind, "List") == 0)
        return list_read(r, type, tree_list(in, "items"), object, on);
    if (strcmp(kind, "ObjectWithArgs") == 0)
        return routine_read(r, in, object);
    if (strcmp(kind, "TypeName") == 0) {
        struct type_name name = type_read(r, in);
        *object = (struct name){name.schema, name.name, name.place};
        return text_of(r, talloc_strdup(r->facts, name.text));
    }
    if (strcmp(kind, "RangeVar") == 0)
        *object = name_of_range(r, in);
    else if (strcmp(kind, "RoleSpec") == 0)
        object->name = role_of(r, in);
    else if (strcmp(kind, "String") == 0)
        *object = name_of_text(r, tree_text(in, "sval"));
    else if (strcmp(kind, "AccessPriv") == 0)
        *object = name_of_text(r, tree_text(in, "priv_name"));
    else if (strcmp(kind, "Integer") == 0)
        object->name = text_of(r, talloc_asprintf(r->facts, "%d", tree_number(in, "ival", 0)));
    else if (strcmp(kind, "Float") == 0)
        *object = name_of_text(r, tree_text(in, "fval"));
    bool number = strcmp(kind, "Integer") == 0 || strcmp(kind, "Float") == 0;
    bool word = strcmp(kind, "RoleSpec") == 0 && !tree_text(in, "rolename");
    return number || word ? reader_copy(r, object->name) : identity_of(r, object);
}

/* ---- the objects of a statement ----------------------------------------------------------------------- */

void facts_identity(struct reader *r, char *text)
{
    if (text)
        r->facts->identity = text;
}

void facts_on_relation(struct reader *r, const json_t *range)
{
    r->facts->object = name_of_range(r, range);
    r->facts->only = range && !tree_true(range, "inh") && strcmp(r->facts->object_kind, "TYPE") != 0;
    r->facts->temporary = tree_is(range, "relpersistence", "t");
    r->facts->unlogged = tree_is(range, "relpersistence", "u");
    facts_identity(r, identity_of(r, &r->facts->object));
}

/* Several identities with commas, cut where it gets long. */
struct joined {
    char *text;
    bool full;
};

static void join(struct reader *r, struct joined *all, const char *one)
{
    if (!one || all->full)
        return;
    if (!all->text) {
        all->text = text_of(r, talloc_strdup(r->facts, one));
        return;
    }
    all->full = strlen(all->text) + strlen(one) + 2 > IDENTITY_MAX;
    all->text = text_of(r, talloc_asprintf_append_buffer(all->text, ", %s", all->full ? "…" : one));
}

void facts_objects(struct reader *r, const char *type, json_t *list)
{
    struct facts *facts = r->facts;
    facts->n_objects = json_array_size(list);
    facts->objects = reader_array(r, sizeof *facts->objects, &facts->n_objects);
    struct joined all = {0};
    for (size_t i = 0; i < facts->n_objects; i++) {
        struct name on;
        r->names_only = all.full;
        char *one = object_read(r, type, json_array_get(list, i), &facts->objects[i], &on);
        if (i == 0)
            facts->index_table = on;
        join(r, &all, one);
    }
    r->names_only = false;
    if (facts->n_objects > 0)
        facts->object = facts->objects[0];
    facts_identity(r, all.text);
}

void facts_named_object(struct reader *r, const char *type, json_t *statement)
{
    struct facts *facts = r->facts;
    json_t *relation = tree_child(statement, "relation"), *object = json_object_get(statement, "object");
    const char *part = tree_text(statement, "subname");
    static const char *const on_table[] = {"OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY", NULL};
    if (relation && is_one_of(type, on_table)) {
        facts->index_table = name_of_range(r, relation);
        facts->object = name_of_text(r, part);
        if (object)
            facts->object = name_of_list(r, tree_list(tree_child(object, "List"), "items"));
        facts_identity(r, part_of(r, &facts->object, &facts->index_table, " ON "));
    } else if (relation) {
        facts_on_relation(r, relation);
    } else if (object && part) { /* RENAME CONSTRAINT of a domain */
        facts->index_table = name_of_list(r, tree_list(tree_child(object, "List"), "items"));
        facts->object = name_of_text(r, part);
        facts_identity(r, part_of(r, &facts->object, &facts->index_table, " ON "));
    } else if (object) {
        facts_identity(r, object_read(r, type, object, &facts->object, &facts->index_table));
    } else {
        facts->object = name_of_text(r, part);
        facts_identity(r, identity_of(r, &facts->object));
    }
}

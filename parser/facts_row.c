/*
 * What a query takes for granted of the columns that its tables have: SELECT * and RETURNING *, INSERT and
 * COPY without a column list. As far as its text says: functions, views and what * means in EXISTS aren't
 * followed.
 */
#include "parser/facts_create.h"

#include <ctype.h>
#include <string.h>
#include <talloc.h>

enum {
    USERS_MAX = 64,  /* of one statement */
    DEPTH_MAX = 16,  /* of subqueries, set operations and joins that are followed */
    STEPS_MAX = 1000 /* FROM items looked at in all: a WITH can lead to itself many times over */
};

/* The WITH lists that a name may come from. */
struct scope {
    const struct scope *outer;
    json_t *with; /* list of CommonTableExpr nodes */
};

struct seeker {
    struct reader *r;
    enum row_use use;
    unsigned depth, steps;
};

static void star_tables(struct seeker *, json_t *select, const struct scope *);

static bool is_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void add(struct reader *r, enum row_use use, const json_t *range)
{
    struct facts *facts = r->facts;
    const char *name = tree_text(range, "relname");
    size_t n = facts->n_row_users;
    for (size_t i = 0; i < n; i++)
        if (facts->row_users[i].use == use && is_text(facts->row_users[i].table.name, name) &&
            is_text(facts->row_users[i].table.schema, tree_text(range, "schemaname")))
            return;
    if (!name || n == USERS_MAX)
        return;
    if ((n & (n - 1)) == 0) {
        struct row_user *more =
            talloc_realloc(facts, facts->row_users, struct row_user, (unsigned)(n ? 2 * n : 1));
        r->failed = r->failed || !more;
        if (!more)
            return;
        facts->row_users = more;
    }
    facts->row_users[facts->n_row_users++] = (struct row_user){use, name_of_range(r, range)};
}

/* ---- * ------------------------------------------------------------------------------------------------ */

/* "*" and "t.*" in a list of results. */
static bool is_star(json_t *node, const char **of)
{
    json_t *fields = tree_list(tree_node(tree_child(node, "ResTarget"), "val", "ColumnRef"), "fields"),
           *inside;
    size_t n = json_array_size(fields);
    *of = n > 1 ? tree_string(json_array_get(fields, n - 2)) : NULL;
    return n > 0 && strcmp(tree_kind(json_array_get(fields, n - 1), &inside), "A_Star") == 0;
}

static bool alias_is(const json_t *item, const char *of, const char *name)
{
    const char *alias = tree_text(tree_child(item, "alias"), "aliasname");
    const char *own = alias ? alias : name;
    return !of || (own && strcmp(own, of) == 0);
}

/* The query that WITH gives this name, and where names in it come from. */
static json_t *with_query(const char *name, const struct scope **scope)
{
    for (; *scope; *scope = (*scope)->outer) {
        json_t *one;
        size_t i;
        json_array_foreach((*scope)->with, i, one)
        {
            json_t *inside = tree_child(one, "CommonTableExpr");
            if (tree_is(inside, "ctename", name))
                return inside;
        }
    }
    return NULL;
}

static void star_of_range(struct seeker *seeker, json_t *range, const struct scope *scope)
{
    const char *name = tree_text(range, "relname");
    json_t *with = name && !tree_text(range, "schemaname") ? with_query(name, &scope) : NULL;
    if (!with)
        add(seeker->r, seeker->use, range);
    else
        star_tables(seeker, tree_node(with, "ctequery", "SelectStmt"), scope);
}

/* The tables of a FROM item that "of.*" takes all columns of; `of` NULL: any. */
static void star_of_item(struct seeker *seeker, json_t *item, const char *of, const struct scope *scope)
{
    json_t *in;
    const char *kind = tree_kind(item, &in);
    if (++seeker->depth <= DEPTH_MAX && ++seeker->steps <= STEPS_MAX) {
        if (strcmp(kind, "RangeVar") == 0 && alias_is(in, of, tree_text(in, "relname")))
            star_of_range(seeker, in, scope);
        else if (strcmp(kind, "RangeSubselect") == 0 && alias_is(in, of, NULL))
            star_tables(seeker, tree_node(in, "subquery", "SelectStmt"), scope);
        else if (strcmp(kind, "JoinExpr") == 0) {
            star_of_item(seeker, json_object_get(in, "larg"), of, scope);
            star_of_item(seeker, json_object_get(in, "rarg"), of, scope);
        }
    }
    seeker->depth--;
}

static void star_of_list(struct seeker *seeker, json_t *results, json_t *from, const struct scope *scope)
{
    json_t *result, *item;
    const char *of;
    size_t i, k;
    json_array_foreach(results, i, result)
    {
        if (!is_star(result, &of))
            continue;
        json_array_foreach(from, k, item) star_of_item(seeker, item, of, scope);
    }
}

/* The tables whose columns are this query's, all of them. */
static void star_tables(struct seeker *seeker, json_t *select, const struct scope *outer)
{
    struct scope scope = {outer, tree_list(tree_child(select, "withClause"), "ctes")};
    if (!select || ++seeker->depth > DEPTH_MAX) {
        seeker->depth -= select ? 1 : 0;
        return;
    }
    star_tables(seeker, tree_child(select, "larg"), &scope);
    star_tables(seeker, tree_child(select, "rarg"), &scope);
    star_of_list(seeker, tree_list(select, "targetList"), tree_list(select, "fromClause"), &scope);
    seeker->depth--;
}

/* RETURNING * takes the table's columns, and those of FROM or USING. */
static void returning(struct reader *r, json_t *in, const char *others)
{
    struct seeker seeker = {r, ROW_STAR, 0, 0};
    struct scope scope = {NULL, tree_list(tree_child(in, "withClause"), "ctes")};
    json_t *results = tree_list(in, "returningList"), *relation = tree_child(in, "relation"), *result;
    const char *of;
    size_t i;
    json_array_foreach(results, i, result)
    {
        if (is_star(result, &of) && alias_is(relation, of, tree_text(relation, "relname")))
            add(r, ROW_STAR, relation);
    }
    star_of_list(&seeker, results, others ? tree_list(in, others) : NULL, &scope);
}

/* ---- statements ---------------------------------------------------------------------------------------- */

static void row_users_of_insert(struct reader *r, json_t *in)
{
    struct seeker seeker = {r, ROW_STAR_INSERTED, 0, 0};
    struct scope scope = {NULL, tree_list(tree_child(in, "withClause"), "ctes")};
    json_t *source = tree_node(in, "selectStmt", "SelectStmt");
    if (source && json_array_size(tree_list(in, "cols")) == 0) /* else DEFAULT VALUES */
        add(r, ROW_POSITION, tree_child(in, "relation"));
    star_tables(&seeker, source, &scope);
    returning(r, in, NULL);
}

static void row_users_of_copy(struct reader *r, json_t *in)
{
    enum row_use use = tree_true(in, "is_from") ? ROW_COPY_FROM : ROW_COPY_TO;
    struct seeker seeker = {r, use, 0, 0};
    if (tree_child(in, "relation") && json_array_size(tree_list(in, "attlist")) == 0)
        add(r, use, tree_child(in, "relation"));
    star_tables(&seeker, tree_node(in, "query", "SelectStmt"), NULL);
}

/* A text with $1 in it can only be run prepared. */
static bool has_parameters(const struct source *source)
{
    for (size_t i = 0; i < source->tokens.n; i++) {
        const char *token = source->text + source->tokens.items[i].start;
        if (token[0] == '$' && isdigit((unsigned char)token[1]))
            return true;
    }
    return false;
}

void facts_row_users(struct reader *r, const char *kind, json_t *in)
{
    struct seeker seeker = {r, ROW_STAR, 0, 0};
    if (strcmp(kind, "PrepareStmt") == 0) {
        r->facts->prepared = reader_copy(r, tree_text(in, "name"));
        json_t *inside;
        kind = tree_kind(json_object_get(in, "query"), &inside);
        in = inside;
    } else if (strcmp(kind, "DeallocateStmt") == 0) {
        r->facts->prepared = reader_copy(r, tree_text(in, "name"));
    } else {
        r->facts->parameters = has_parameters(r->source);
    }
    if (strcmp(kind, "SelectStmt") == 0 && r->facts->kind == STATEMENT_QUERY)
        star_tables(&seeker, in, NULL);
    else if (strcmp(kind, "InsertStmt") == 0)
        row_users_of_insert(r, in);
    else if (strcmp(kind, "UpdateStmt") == 0)
        returning(r, in, "fromClause");
    else if (strcmp(kind, "DeleteStmt") == 0)
        returning(r, in, "usingClause");
    else if (strcmp(kind, "CopyStmt") == 0)
        row_users_of_copy(r, in);
}

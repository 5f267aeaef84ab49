/*
 * ADD COLUMN: what stays of its definition, and what is put behind it.
 *
 * The definition is the author's own text with whole clauses cut out of it: a volatile DEFAULT (set behind,
 * for rows to come), the NOT NULL of a column that has to be filled first, UNIQUE, CHECK, and REFERENCES
 * where rows have values. Names that the author didn't give are left for the server to choose, as it would
 * have.
 */
#include <string.h>
#include <talloc.h>

#include "policy/plan_inside.h"

/* One column on its way. */
struct addition {
    struct planner *planner;
    const struct part *part;
    const struct column_definition *column;
    struct planned_column *planned;
    bool *cut;           /* one each of the column's constraints */
    bool default_moves;  /* the DEFAULT is volatile, or may be */
    bool domain_default; /* it is the domain's that is volatile */
    bool null_default;   /* DEFAULT NULL is written, so that the domain's own gives rows no value */
    const struct constraint *by_default;
};

/* Clauses of their own that belong to the constraint in front: DEFERRABLE and the like. */
static size_t attributes_of(const struct column_definition *column, size_t i, bool *deferrable,
                            bool *deferred)
{
    size_t n = 0;
    *deferrable = *deferred = false;
    for (i++; i < column->n_constraints && column->constraints[i].kind == CONSTRAINT_ATTRIBUTE; i++, n++) {
        *deferrable = *deferrable || column->constraints[i].deferrable;
        *deferred = *deferred || column->constraints[i].initially_deferred;
    }
    return n;
}

static void cut(struct addition *addition, size_t i)
{
    bool ignored, also;
    size_t n = attributes_of(addition->column, i, &ignored, &also);
    for (size_t k = i; k <= i + n; k++)
        addition->cut[k] = true;
}

/* ---- values ---- */

static const char *integer_of(const char *serial)
{
    if (strcmp(serial, "bigserial") == 0 || strcmp(serial, "serial8") == 0)
        return "bigint";
    return strcmp(serial, "smallserial") == 0 || strcmp(serial, "serial2") == 0 ? "smallint" : "integer";
}

static void serial(struct addition *addition)
{
    struct planned_column *planned = addition->planned;
    planned->serial = planned->fill = planned->not_null = true;
    planned->integer = integer_of(addition->column->type.name);
    planned->options = "";
}

static void identity(struct addition *addition, size_t i)
{
    const struct constraint *clause = &addition->column->constraints[i];
    struct planned_column *planned = addition->planned;
    planned->identity = clause;
    planned->fill = planned->not_null = true;
    planned->integer = addition->column->type.text;
    planned->options = "";
    if (clause->options >= 0 && clause->end > clause->options)
        planned->options = plan_slice(addition->planner, clause->options, clause->end - 1);
    plan_identity_options(addition->planner, planned->options);
    cut(addition, i);
}

/* Where the rows that are there get their value: from the catalog, from a fill, or not at all. */
static void values(struct addition *addition)
{
    const struct column_definition *column = addition->column;
    const struct part *part = addition->part;
    addition->by_default = column_constraint(column, CONSTRAINT_DEFAULT);
    bool moves = part->by_default.answer != ANSWER_NO;
    addition->default_moves = moves && column_default(column, addition->planner->look) != NULL;
    addition->domain_default = moves && addition->by_default == NULL;
    if (addition->default_moves)
        plan_default_moves(addition->planner, column_default(column, addition->planner->look));
    const struct catalog_type *type =
        column->type.array > 0 ? NULL : catalog_type(addition->planner->look->names, &column->type);
    addition->null_default = moves && type != NULL && type->type == 'd' &&
                             catalog_domain(addition->planner->look->names, type).has_default;
    if (column_is_serial(column))
        serial(addition);
    else if (moves)
        addition->planned->fill = true;
}

/* ---- clauses ---- */

static void not_null(struct addition *addition, size_t i)
{
    struct planned_column *planned = addition->planned;
    bool filled = column_filled(addition->column, addition->planner->look);
    if (column_constraint(addition->column, CONSTRAINT_GENERATED) != NULL) {
        plan_refuse(addition->planner,
                    "a generated column that is NOT NULL has its value computed for every row "
                    "while the table is locked");
        return;
    }
    if (!filled) {
        plan_refuse(addition->planner,
                    "column %s is NOT NULL and has no default: as soon as the table has a row, that fails",
                    plan_quoted(addition->planner, addition->column->name));
        return;
    }
    if (!planned->fill)
        return; /* every row has the value that the catalog holds: nothing is read */
    if (planned->identity != NULL && addition->column->constraints[i].name != NULL &&
        context_major(addition->planner->request->context) >= 18) {
        plan_refuse(
            addition->planner,
            "since PostgreSQL 18 an identity column's NOT NULL has a name, and %s would be lost: leave "
            "the name out",
            plan_quoted(addition->planner, addition->column->constraints[i].name));
        return;
    }
    for (size_t k = 0; k < i; k++) {
        if (addition->column->constraints[k].kind == CONSTRAINT_NOT_NULL)
            plan_refuse(addition->planner, "column %s is NOT NULL twice: write it once",
                        plan_quoted(addition->planner, addition->column->name));
    }
    planned->not_null = true;
    planned->not_null_name = addition->column->constraints[i].name;
    addition->cut[i] = true;
}

static void unique(struct addition *addition, size_t i)
{
    const struct constraint *key = &addition->column->constraints[i];
    struct planner *planner = addition->planner;
    if (key->storage)
        plan_refuse(planner, "the key is written with storage parameters or a tablespace");
    if (planner->n_keys > 0 && planner->keys[planner->n_keys - 1].column == addition->column->name)
        plan_refuse(planner, "column %s is UNIQUE twice, of which PostgreSQL makes one key: write it once",
                    plan_quoted(planner, addition->column->name));
    if (column_default(addition->column, planner->look) != NULL && !addition->planned->fill)
        plan_refuse(planner,
                    "every row would get the same value for %s, and UNIQUE refuses the second of them",
                    plan_quoted(planner, addition->column->name));
    else if (key->nulls_not_distinct && !addition->planned->fill)
        plan_refuse(planner, "every row would be NULL, and NULLS NOT DISTINCT refuses the second");
    struct planned_key *planned = PLAN_ADD(planner, planner->keys, planner->n_keys);
    planned->key = key;
    planned->column = addition->column->name;
    attributes_of(addition->column, i, &planned->deferrable, &planned->deferred);
    cut(addition, i);
}

/* Not only would it be undone at the end: until then no row could be updated. */
static bool violated(const struct addition *addition, const struct constraint *check)
{
    const struct look *look = addition->planner->look;
    const struct expr *value = column_default(addition->column, look);
    bool known = value != NULL || !column_filled(addition->column, look);
    return !addition->planned->fill && known && check->expr != NULL &&
           check_holds(check->expr, addition->column->name, value) == ANSWER_NO;
}

static void check(struct addition *addition, size_t i)
{
    if (violated(addition, &addition->column->constraints[i]))
        plan_refuse(addition->planner, "the value that every row would get for %s violates its own CHECK",
                    plan_quoted(addition->planner, addition->column->name));
    plan_check_in_force(addition->planner, &addition->column->constraints[i]);
    cut(addition, i);
}

/* Without a value in any row nothing is looked up, and it is valid from the start. */
static void foreign(struct addition *addition, size_t i)
{
    if (addition->planned->fill || addition->part->scan_key != ANSWER_NO)
        cut(addition, i);
}

static void clause(struct addition *addition, size_t i)
{
    struct planner *planner = addition->planner;
    const struct constraint *clause = &addition->column->constraints[i];
    if (clause->place < 0 || clause->end < clause->place)
        plan_refuse(planner, "where its clauses begin and end can't be told with certainty");
    switch (clause->kind) {
    case CONSTRAINT_DEFAULT:
        addition->cut[i] = addition->default_moves;
        return;
    case CONSTRAINT_NOT_NULL:
        not_null(addition, i);
        return;
    case CONSTRAINT_IDENTITY:
        identity(addition, i);
        return;
    case CONSTRAINT_GENERATED:
        if (!clause->generated_virtual)
            plan_refuse(planner, "a STORED generated column can only be made by rewriting the whole table");
        return;
    case CONSTRAINT_PRIMARY:
        plan_refuse(planner, "a primary key is not made online: add the column UNIQUE NOT NULL first");
        return;
    case CONSTRAINT_UNIQUE:
        unique(addition, i);
        return;
    case CONSTRAINT_CHECK:
        check(addition, i);
        return;
    case CONSTRAINT_FOREIGN:
        foreign(addition, i);
        return;
    default:
        return;
    }
}

/* ---- the text ---- */

/* The definition without what was cut; the serial's word replaced. */
static char *definition(const struct addition *addition)
{
    const struct column_definition *column = addition->column;
    const struct planner *planner = addition->planner;
    char *out = talloc_strdup(planner->plan, "ADD COLUMN ");
    int at = column->place;
    if (addition->planned->serial) {
        out = talloc_asprintf_append(out, "%s%s", plan_slice(planner, at, column->type.place),
                                     addition->planned->integer);
        at = column->type_end;
    }
    for (size_t i = 0; i < column->n_constraints; i++) {
        if (!addition->cut[i])
            continue;
        out = talloc_asprintf_append(out, "%s", plan_slice(planner, at, column->constraints[i].place));
        at = column->constraints[i].end;
    }
    out = talloc_strdup_append(out, plan_slice(planner, at, column->end));
    size_t n = strlen(out);
    while (n > 0 && strchr(" \t", out[n - 1]) != NULL)
        out[--n] = '\0';
    return addition->null_default ? talloc_strdup_append(out, " DEFAULT NULL") : out;
}

static void say_column(struct addition *addition)
{
    struct planner *planner = addition->planner;
    const struct column_definition *column = addition->column;
    struct meant *meant = PLAN_ADD(planner, planner->meant, planner->n_meant);
    meant->kind = ALTER_ADD_COLUMN;
    meant->written = addition->part->alter;
    meant->cut = addition->cut;
    meant->integer = addition->planned->serial ? addition->planned->integer : NULL;
    meant->null_default = addition->null_default;
    meant->text = definition(addition);
    if (addition->domain_default) {
        meant = PLAN_ADD(planner, planner->behind, planner->n_behind);
        meant->kind = ALTER_DROP_DEFAULT;
        meant->column = column->name;
        meant->text = talloc_asprintf(planner->plan, "ALTER COLUMN %s DROP DEFAULT",
                                      plan_quoted(planner, column->name));
    }
}

static void say_default(struct addition *addition)
{
    static const char word[] = "DEFAULT";
    struct planner *planner = addition->planner;
    const struct constraint *clause = addition->by_default;
    struct meant *meant = PLAN_ADD(planner, planner->meant, planner->n_meant);
    if (clause->word < clause->place || clause->end < clause->word + (int)sizeof word - 1) {
        plan_refuse(planner, "where its clauses begin and end can't be told with certainty");
        return;
    }
    meant->kind = ALTER_SET_DEFAULT;
    meant->column = addition->column->name;
    meant->constraint = clause;
    const char *expr = plan_slice(planner, clause->word + (int)sizeof word - 1, clause->end);
    meant->text = talloc_asprintf(planner->plan, "ALTER COLUMN %s SET DEFAULT %s",
                                  plan_quoted(planner, addition->column->name), expr + strspn(expr, " "));
}

static char *constraint_name(const struct planner *planner, const struct constraint *constraint)
{
    return constraint->name == NULL
               ? talloc_strdup(planner->plan, "")
               : talloc_asprintf(planner->plan, "CONSTRAINT %s ", plan_quoted(planner, constraint->name));
}

/* "CHECK (…)" or "FOREIGN KEY (c) REFERENCES …" with its attributes, not yet valid. */
static void say_constraint(struct addition *addition, size_t i)
{
    struct planner *planner = addition->planner;
    const struct column_definition *column = addition->column;
    const struct constraint *constraint = &column->constraints[i];
    bool deferrable, deferred, key = constraint->kind == CONSTRAINT_FOREIGN;
    size_t n = attributes_of(column, i, &deferrable, &deferred);
    int from = key ? constraint->referenced.place : constraint->word;
    if (from < constraint->place) {
        plan_refuse(planner, "where its clauses begin and end can't be told with certainty");
        return;
    }
    struct meant *meant = PLAN_ADD(planner, planner->meant, planner->n_meant);
    meant->kind = ALTER_ADD_CONSTRAINT;
    meant->column = column->name;
    struct constraint *whole = talloc_memdup(planner->plan, constraint, sizeof *constraint);
    whole->deferrable = whole->deferrable || deferrable;
    whole->initially_deferred = whole->initially_deferred || deferred;
    meant->constraint = whole;
    char *text = talloc_asprintf(planner->plan, "ADD %s", constraint_name(planner, constraint));
    if (key)
        text =
            talloc_asprintf_append(text, "FOREIGN KEY (%s) REFERENCES ", plan_quoted(planner, column->name));
    text = talloc_strdup_append(text, plan_slice(planner, from, constraint->end));
    for (size_t k = 1; k <= n; k++)
        text = talloc_asprintf_append(
            text, " %s",
            plan_slice(planner, column->constraints[i + k].place, column->constraints[i + k].end));
    meant->text = talloc_strdup_append(text, " NOT VALID");
    plan_not_valid(planner, whole);
}

void plan_add_column(struct planner *planner, const struct part *part)
{
    const struct column_definition *column = part->alter->column;
    if (column == NULL || column->place < 0 || column->end < column->place || column->type.place < 0) {
        plan_refuse(planner, "where the column's definition begins and ends can't be told with certainty");
        return;
    }
    if (part->constrained == ANSWER_UNKNOWN) {
        plan_refuse(planner, "what type %s is could not be found out: is there one?", column->type.text);
        return;
    }
    if (part->constrained != ANSWER_NO) {
        plan_refuse(
            planner,
            "type %s is a domain with constraints: PostgreSQL always writes the whole table anew for it",
            column->type.text);
        return;
    }
    struct addition addition = {.planner = planner, .part = part, .column = column};
    addition.cut = talloc_zero_array(planner->plan, bool, (unsigned)column->n_constraints + 1);
    addition.planned = plan_column(planner, column->name);
    addition.planned->added = true;
    values(&addition);
    for (size_t i = 0; i < column->n_constraints; i++) /* what decides about the fill comes first */
        if (column->constraints[i].kind == CONSTRAINT_IDENTITY)
            clause(&addition, i);
    for (size_t i = 0; i < column->n_constraints; i++)
        if (column->constraints[i].kind != CONSTRAINT_IDENTITY)
            clause(&addition, i);
    if (planner->why != NULL)
        return;
    say_column(&addition);
    if (addition.default_moves)
        say_default(&addition);
    for (size_t i = 0; i < column->n_constraints; i++) {
        enum constraint_kind kind = column->constraints[i].kind;
        if (addition.cut[i] && (kind == CONSTRAINT_CHECK || kind == CONSTRAINT_FOREIGN))
            say_constraint(&addition, i);
    }
}

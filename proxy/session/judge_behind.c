/*
 * DDL behind an online change of the same transaction. The change is carried out behind the COMMIT and goes
 * by names: of the table, its columns, constraints, indexes and sequences. What the transaction does to those
 * after it has begun the change would be done to something else, or not at all, where the direct statement
 * would have been over by then. So it is refused, but for what surely makes no difference.
 *
 * What a change names is found in its own text, word by word: a name that stands there for something else
 * counts all the same.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "policy/catalog.h"
#include "policy/plan.h"
#include "proxy/session/judge_inside.h"

enum {
    DEPTH_MAX = 16,
    TEXT_MAX = 1 << 16, /* of a longer change any name may be one of its own */
    NAME_PART = 28      /* of a table's and a column's name so much at least is in the names made of them */
};

/* ---- names that a change speaks of ------------------------------------------------------------------- */

static bool word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = text; n > 0 && *at; at++)
        if (strncasecmp(at, word, n) == 0 && (at == text || !word_byte(at[-1])) && !word_byte(at[n]))
            return true;
    return false;
}

/* Doubtful spellings count as speaking of everything. */
static bool speaks_of(const struct judge_column *change, const char *name)
{
    return name && (!*change->begun || strcasestr(change->begun, "U&\"") || strchr(name, '"') ||
                    has_word(change->begun, name));
}

static bool begins_with_table(const struct judge_column *change, const char *name)
{
    return strncmp(name, change->table, strnlen(change->table, NAME_PART)) == 0;
}

/* Or PostgreSQL may have chosen it for a constraint or an index of the change. */
static bool may_be_its_own(const struct judge_column *change, const char *name)
{
    static const struct {
        const char *suffix, *word; /* where the change says this */
    } made[] = {{"_check", "check"},
                {"_key", "unique"},
                {"_fkey", "references"},
                {"_idx", "index"},
                {"_not_null", "null"}};
    if (!name || speaks_of(change, name))
        return name;
    size_t n = strlen(name);
    while (n > 0 && isdigit((unsigned char)name[n - 1]))
        n--;
    for (size_t i = 0; i < sizeof made / sizeof *made && begins_with_table(change, name); i++) {
        size_t suffix = strlen(made[i].suffix);
        if (n > suffix && strncmp(name + n - suffix, made[i].suffix, suffix) == 0 &&
            has_word(change->begun, made[i].word))
            return true;
    }
    return false;
}

static bool contains(const char *text, size_t length, const char *part, size_t n)
{
    for (size_t i = 0; n > 0 && i + n <= length; i++)
        if (strncasecmp(text + i, part, n) == 0)
            return true;
    return false;
}

/* table_column_seq, or a call of pg_get_serial_sequence('table', 'column'): of a column that the change adds.
 */
static bool names_sequence(const struct judge_work *work, const struct judge_column *change, const char *text,
                           size_t length)
{
    const struct judge_column *lists[] = {work->session.columns, work->own};
    size_t sizes[] = {work->session.n_columns, work->n_own};
    if (!contains(text, length, change->table, strnlen(change->table, NAME_PART)))
        return false;
    for (size_t list = 0; list < 2; list++)
        for (size_t i = 0; i < sizes[list]; i++) {
            const struct judge_column *column = &lists[list][i];
            if (!column->own || column->begun || strcmp(column->table, change->table) != 0)
                continue;
            const char *chosen = talloc_asprintf(work, "_%.*s%s", NAME_PART, column->column,
                                                 strlen(column->column) < NAME_PART ? "_seq" : "");
            const char *asked = talloc_asprintf(work, "'%s'", column->column);
            if (!chosen || !asked || contains(text, length, chosen, strlen(chosen)) ||
                contains(text, length, asked, strlen(asked)))
                return true;
        }
    return false;
}

/* ---- the table and its tree -------------------------------------------------------------------------- */

static bool is_table(const struct judge_column *change, const struct name *name)
{
    return name->name && strcmp(name->name, change->table) == 0 &&
           (!name->schema || !change->schema || strcmp(name->schema, change->schema) == 0);
}

static bool is_child(const struct judge_work *work, const struct judge_column *change,
                     const struct name *name)
{
    const struct catalog_relation *found =
        work->names && name->name ? catalog_relation(work->names, name) : NULL;
    for (size_t i = 0; found && found->exists && i < found->n_parents; i++)
        if (is_table(change, &found->parents[i]))
            return true;
    return false;
}

static bool in_tree(const struct judge_work *work, const struct judge_column *change, const struct name *name)
{
    return is_table(change, name) || is_child(work, change, name);
}

/* ---- statements -------------------------------------------------------------------------------------- */

static bool one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(*list, text) == 0)
            return true;
    return false;
}

/* Of the table itself or of its tree. */
static bool alter_matters(const struct judge_column *change, const struct alter *alter, bool child)
{
    switch (alter->kind) {
    case ALTER_ADD_COLUMN:
    case ALTER_ADD_CONSTRAINT:
    case ALTER_ADD_INDEX_CONSTRAINT:
        return false;
    case ALTER_SET_DEFAULT: /* columns that the transaction adds are answered for by themselves */
    case ALTER_DROP_DEFAULT:
    case ALTER_SET_NOT_NULL:
    case ALTER_SET_STATISTICS:
    case ALTER_SET_OPTIONS:
    case ALTER_RESET_OPTIONS:
    case ALTER_SET_STORAGE:
    case ALTER_SET_COMPRESSION:
    case ALTER_SET_RELOPTIONS:
    case ALTER_RESET_RELOPTIONS:
    case ALTER_VALIDATE_CONSTRAINT:
        return child && speaks_of(change, alter->subject);
    case ALTER_DROP_COLUMN:
    case ALTER_COLUMN_TYPE:
    case ALTER_DROP_NOT_NULL:
    case ALTER_RENAME_COLUMN:
        return speaks_of(change, alter->subject) || speaks_of(change, alter->new_name);
    case ALTER_DROP_CONSTRAINT:
    case ALTER_ALTER_CONSTRAINT:
    case ALTER_RENAME_CONSTRAINT:
        return may_be_its_own(change, alter->subject) || speaks_of(change, alter->new_name);
    default:
        return true;
    }
}

static const char *alters_matter(const struct judge_work *work, const struct judge_column *change,
                                 const struct facts *facts)
{
    bool child = is_child(work, change, &facts->object), tree = child || is_table(change, &facts->object);
    for (size_t i = 0; i < facts->n_alters; i++) {
        const struct alter *alter = &facts->alters[i];
        if ((tree && alter_matters(change, alter, child)) || is_table(change, &alter->other))
            return alter_kind_name(alter->kind);
    }
    return NULL;
}

static bool object_matters(const struct judge_work *work, const struct judge_column *change,
                           const struct facts *facts, const struct name *object)
{
    if (!object->name)
        return false;
    if (strcmp(facts->object_kind, "INDEX") == 0)
        return may_be_its_own(change, object->name);
    if (strcmp(facts->object_kind, "SEQUENCE") == 0)
        return names_sequence(work, change, object->name, strlen(object->name));
    return facts->kind == STATEMENT_DROP && in_tree(work, change, object);
}

/* What of it the change would miss: its words for people; NULL: nothing. */
static const char *statement_matters(const struct judge_work *work, const struct judge_column *change,
                                     const struct facts *facts, unsigned depth)
{
    static const char *const apart[] = {"COMMENT",        "GRANT",        "REVOKE",          "SECURITY LABEL",
                                        "TRUNCATE TABLE", "CREATE INDEX", "CREATE SEQUENCE", NULL};
    static const char *const on_table[] = {"TRIGGER", "RULE", "POLICY", NULL};
    const char *what = NULL;
    if (!facts || facts->status != FACTS_OK || one_of(facts->tag, apart))
        return NULL;
    if (facts->n_alters)
        what = alters_matter(work, change, facts);
    if (!what && (one_of(facts->object_kind, on_table) || facts->kind == STATEMENT_CREATE_TABLE) &&
        in_tree(work, change, &facts->index_table))
        what = facts->tag;
    if (!what && object_matters(work, change, facts, &facts->object))
        what = facts->tag;
    for (size_t i = 0; !what && i < facts->n_objects; i++)
        if (object_matters(work, change, facts, &facts->objects[i]))
            what = facts->tag;
    for (size_t i = 0; !what && i < facts->n_nested && depth < DEPTH_MAX; i++)
        what = statement_matters(work, change, facts->nested[i].facts, depth + 1);
    return what;
}

static bool sets_sequence(const struct judge_work *work, const struct judge_column *change,
                          const struct judged *judged)
{
    return contains(judged->text, judged->length, "setval", strlen("setval")) &&
           names_sequence(work, change, judged->text, judged->length);
}

bool judge_behind(const struct judge_work *work, const struct judged *judged, struct judge_words *words)
{
    const struct judge_column *lists[] = {work->session.columns, work->own};
    size_t sizes[] = {work->session.n_columns, work->n_own};
    for (size_t list = 0; list < 2; list++)
        for (size_t i = 0; i < sizes[list]; i++) {
            const struct judge_column *change = &lists[list][i];
            if (!change->begun)
                continue;
            const char *what = statement_matters(work, change, judged->facts, 0);
            if (!what && sets_sequence(work, change, judged))
                what = "setval()";
            if (!what)
                continue;
            *words = (struct judge_words){.sqlstate = "SL001", .constraint = "quarantine", .place = -1};
            words->message = talloc_asprintf(
                work,
                "refused by pgsluice (quarantine): %s stands behind an online change of %s in the same "
                "transaction",
                what, change->table);
            words->detail = "The change is carried out after the COMMIT, and goes by the names that it has "
                            "found; this statement would miss what is not there yet, or change it under its "
                            "hands.";
            words->hint = talloc_asprintf(
                work,
                "Split the migration: COMMIT first. The change must be complete before %s (with online.wait "
                "done the COMMIT returns when it is), which then stands in a transaction of its own.",
                what);
            return true;
        }
    return false;
}

/* ---- a change begins --------------------------------------------------------------------------------- */

bool judge_begins(const struct judged *judged)
{
    const struct verdict *verdict = judged->verdict;
    return verdict && verdict->action == ACTION_ONLINE && verdict->plan && verdict->plan->spec;
}

static const struct name *table_of(const struct facts *facts)
{
    return facts->kind == STATEMENT_CREATE_INDEX ? &facts->index_table : &facts->object;
}

/* A row for the table and one for each that it is a child of. */
size_t judge_begun(const struct judge_work *work, const struct judged *judged, struct judge_column **columns,
                   size_t n)
{
    const struct name *table = table_of(judged->facts);
    const struct catalog_relation *found = work->names ? catalog_relation(work->names, table) : NULL;
    size_t parents = found && found->exists ? found->n_parents : 0;
    *columns = talloc_realloc(work, *columns, struct judge_column, (unsigned)(n + 1 + parents));
    for (size_t i = 0; *columns && i < 1 + parents; i++) {
        const struct name *name = i == 0 ? table : &found->parents[i - 1];
        (*columns)[n++] = (struct judge_column){
            .own = true,
            .schema = name->schema ? talloc_strdup(*columns, name->schema) : NULL,
            .table = talloc_strdup(*columns, name->name ? name->name : ""),
            .column = "",
            .begun = judged->length < TEXT_MAX ? talloc_strndup(*columns, judged->text, judged->length) : ""};
    }
    return *columns ? n : 0;
}

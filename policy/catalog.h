/*
 * Table facts and what names mean, as the server at hand would have it.
 *
 * Three steps, none of which does I/O: catalog_questions() says what a statement mentions, catalog_sql() is
 * the one query that a session is asked (its $1 are the questions, its one value the answer), catalog_read()
 * checks the answer into plain structs. On those stand the lookups (a name is found where the session's
 * search_path finds it) and catalog_expression(), which resolves overloads, operators and casts by the rules
 * of the manual's chapter 10 and asks of the result what ALTER TABLE asks: is anything volatile left when the
 * planner is done?
 *
 * Everything hangs below the talloc parent that is passed in; lists are pointer + count; strings are UTF-8
 * and never NULL unless said. oid 0 stands for "none". Whatever could not be made certain is CATALOG_UNKNOWN:
 * never a guess.
 *
 * catalog_expression() may read the body of an SQL function with facts_of(): call it on a thread made by
 * parser_thread_create().
 */
#ifndef PGSLUICE_POLICY_CATALOG_H
#define PGSLUICE_POLICY_CATALOG_H

#include "parser/facts.h"

/* ---- asking ------------------------------------------------------------------------------------------- */

/* The questions as JSON text in UTF-8 (to be put into the client's encoding as the statement was), or NULL:
 * there is nothing to ask. */
char *catalog_questions(const void *talloc_parent, const struct facts *);

/* The question that only asks what this name means in the session's search_path. */
char *catalog_question_of_table(const void *talloc_parent, const char *table);

/* One query for PostgreSQL 13 to 18; $1 is text; one row, one column of ASCII text. It changes nothing
 * and doesn't depend on search_path, role or settings. It locks (ACCESS SHARE) system catalogs and, for its
 * size, what the statement works on where nobody else holds or awaits ACCESS EXCLUSIVE. */
const char *catalog_sql(void);

/* ---- the answer --------------------------------------------------------------------------------------- */

struct catalog_column {
    int number; /* attnum */
    const char *name;
    uint32_t type;
    int32_t modifier;
    const char *type_text; /* format_type: "character varying(20)" */
    uint32_t collation;
    bool not_null, has_default, missing; /* missing: old rows get their value from the catalog */
    char identity, generated;            /* as in pg_attribute; '\0': neither */
    bool is_local;                       /* declared here, not (only) inherited */
    int inherited;                       /* from how many parents */
};

struct catalog_constraint {
    const char *name;
    char type; /* contype: c f n p t u x */
    bool validated, enforced, deferrable, no_inherit;
    int *columns; /* attnums */
    size_t n_columns;
    uint32_t referenced; /* 'f': the other table */
    uint32_t index;      /* 'p' 'u' 'x' (and 'f': the referenced one) */
    const char *stored;  /* 'c': the stored form of the expression, or NULL; see catalog_not_null_proven() */
};

struct catalog_index {
    uint32_t oid;
    const char *name;
    bool unique, valid, ready, primary, immediate, exclusion, partial, expressions;
    /* Key columns' attnums, 0 for an expression; behind them, up to n_uses, those INCLUDEd and those that the
     * condition and the expressions use. */
    int *columns;
    size_t n_columns, n_uses;
};

/* Another session that holds or awaits a lock on a relation. */
struct catalog_holder {
    int pid;
    const char *mode; /* "AccessShareLock" */
    bool granted, autovacuum;
    double age;        /* seconds that its transaction is open; -1: unknown to this role */
    const char *query; /* at most 80 characters; or NULL: unknown to this role */
    const char *application, *state;
};

struct catalog_dependant {
    const char *schema, *name;
    int column; /* attnum that it depends on; 0: the whole */
};

struct catalog_relation {
    bool exists; /* false: nothing else is filled in */
    uint32_t oid;
    const char *schema, *name;
    char kind, persistence; /* relkind, relpersistence */
    double rows;            /* estimated; below 0: unknown */
    uint64_t size;  /* bytes: as of now where the statement works on it and asking doesn't wait, else as of
                       the last VACUUM or ANALYZE */
    bool no_blocks; /* measured: its file holds nothing, so that it has no rows, nor has a child any */
    const char *owner;
    bool may_own;   /* the current user has the owner's rights */
    bool temporary; /* this session's */
    bool row_security, force_row_security;
    bool is_partition, created_here; /* created_here: by this very transaction */
    bool locked_here;                /* ACCESS EXCLUSIVE, by this very transaction */
    uint64_t born;                   /* number of the transaction that made it; 0: unknown, or long ago */
    uint32_t row_type, typed_of;
    struct catalog_column *columns; /* in order, dropped ones left out */
    size_t n_columns;
    struct catalog_constraint *constraints;
    size_t n_constraints;
    struct catalog_index *indexes;
    size_t n_indexes;
    unsigned children; /* partitions and inheriting tables, all levels */
    double children_rows;
    uint64_t children_size;
    unsigned children_foreign; /* of them foreign tables */
    struct name *parents;
    size_t n_parents;
    struct name *row_type_users; /* schema: the table, name: the column; at most 20 */
    size_t n_row_type_users;
    struct catalog_dependant *views; /* at most 50 */
    size_t n_views;
    unsigned triggers, triggers_always; /* user triggers; of them ENABLE ALWAYS */
    unsigned referenced_by;             /* foreign keys of other tables that point here */
    const char **publications;
    size_t n_publications;
    struct catalog_holder *holders; /* at most 20, granted ones first */
    size_t n_holders;
};

enum catalog_volatility { CATALOG_IMMUTABLE, CATALOG_STABLE, CATALOG_VOLATILE, CATALOG_UNKNOWN };

struct catalog_type {
    uint32_t oid;
    const char *schema, *name;
    int position;  /* in search_path; -1: not in it */
    char type;     /* typtype: b c d e m p r */
    char category; /* typcategory */
    bool preferred, not_null, is_array;
    uint32_t base; /* of a domain */
    int32_t modifier;
    uint32_t element, array; /* array: the type of arrays of this one */
    uint32_t relation;       /* composite: its pg_class entry */
    uint32_t *fields;        /* composite: their types */
    size_t n_fields;
    unsigned checks; /* CHECK constraints of this level */
    bool has_default;
    enum catalog_volatility by_default; /* its own default's */
    enum catalog_volatility text_form;  /* the worse of its input and output functions */
};

struct catalog_function {
    uint32_t oid;
    const char *schema, *name;
    int position; /* in search_path; -1: not in it */
    enum catalog_volatility volatility;
    char kind; /* prokind: f p a w */
    bool strict, returns_set, variadic;
    uint32_t result;
    uint32_t *args;
    size_t n_args, n_defaults;
    uint32_t variadic_element;
    enum catalog_volatility by_default; /* the worst of its arguments' defaults */
    bool sql;           /* LANGUAGE sql, and nothing that keeps the planner from inlining it */
    const char *source; /* of such a function, or NULL: not asked for, too long, or BEGIN ATOMIC */
    const char **names; /* its arguments' names, n_args of them ("" where there is none), or NULL */
};

struct catalog_operator {
    uint32_t oid;
    const char *schema, *name;
    int position;
    uint32_t args[2], result; /* args[0] 0: prefix */
    enum catalog_volatility volatility;
    bool strict;
    uint32_t function;
};

struct catalog_cast {
    uint32_t source, target;
    char context, method; /* castcontext: a e i; castmethod: b f i */
    enum catalog_volatility volatility;
    bool strict;
};

struct catalog_event_trigger {
    const char *name, *event;
    const char **tags; /* none: every command */
    size_t n_tags;
};

struct catalog_schema {
    uint32_t oid;
    const char *name;
    int position; /* in search_path; -1: not in it */
    bool temporary;
};

struct catalog {
    int server_version; /* 150018 */
    const char *database, *user, *session_user;
    bool superuser, in_recovery, read_only;
    int schema_version; /* of the schema pgsluice, as its comment says; 0: there is none; -1: it doesn't say
                         */
    bool schema_usable, plpgsql_usable; /* by the current user */
    bool schema_trusted; /* it belongs to a superuser; or to the database's owner, and no superuser asks */
    uint64_t now;        /* number of this transaction, or the next to come; 0: unknown */
    const char **path;   /* current_schemas(true) */
    size_t n_path;
    struct catalog_schema *schemas; /* those that names were looked for in */
    size_t n_schemas;
    const char **asked; /* names of relations asked for */
    size_t n_asked;
    bool replaced; /* names in it aren't valid in the server's encoding: those beyond ASCII can't be relied
                      upon */
    const char **asked_types;
    size_t n_asked_types;
    struct catalog_relation missing; /* what is found under a name that isn't there */
    struct catalog_relation *relations;
    size_t n_relations;
    struct catalog_type *types; /* sorted by oid */
    size_t n_types;
    struct catalog_function *functions;
    size_t n_functions;
    struct catalog_operator *operators;
    size_t n_operators;
    struct catalog_cast *casts; /* sorted by source, target */
    size_t n_casts;
    struct catalog_event_trigger *event_triggers; /* enabled ones on table_rewrite and ddl_command_start */
    size_t n_event_triggers;
};

/* NULL: not the answer to catalog_sql(), or no memory. */
struct catalog *catalog_read(const void *talloc_parent, const char *answer, size_t length);

/* ---- looking up --------------------------------------------------------------------------------------- */

/* The relation that was asked for under this name; NULL: it wasn't. `exists` says what became of it. */
const struct catalog_relation *catalog_relation(const struct catalog *, const struct name *);
const struct catalog_relation *catalog_relation_by_oid(const struct catalog *, uint32_t oid);
const struct catalog_column *catalog_column(const struct catalog_relation *, const char *name);

/* The type that a type's name means, its array dimensions aside; NULL: there is none, or it wasn't asked for.
 * serial and its like are no types. */
const struct catalog_type *catalog_type(const struct catalog *, const struct type_name *);
const struct catalog_type *catalog_type_by_oid(const struct catalog *, uint32_t oid);

/* It was asked for, and there is no such type. */
bool catalog_type_missing(const struct catalog *, const struct type_name *);

/* The oid of the type meant, arrays included; 0: unknown. */
uint32_t catalog_type_oid(const struct catalog *, const struct type_name *);

/* What comes of a domain through all its levels. */
struct catalog_domain {
    bool is_domain;
    bool constrained, checks, not_null; /* constrained: a column of it is always rewritten */
    uint32_t base;                      /* the type below all domains */
    bool has_default;                   /* the outermost level's own; a domain over it copies at creation */
    enum catalog_volatility by_default; /* volatile: adding a column of it without DEFAULT rewrites */
};
struct catalog_domain catalog_domain(const struct catalog *, const struct catalog_type *);

/* CHECK constraints that hold prove that the column has no NULLs: SET NOT NULL doesn't read the table then.
 */
bool catalog_not_null_proven(const struct catalog_relation *, const struct catalog_column *);

/* ---- expressions -------------------------------------------------------------------------------------- */

/*
 * How volatile an expression still is when the planner has folded constants and inlined SQL functions, cast
 * (as an assignment) to the column's type. `target` and `columns_of` (for names of columns) may be NULL.
 * Server versions from before this was asked of the planned form (late 2023) are answered as written.
 */
struct catalog_answer {
    enum catalog_volatility volatility;
    const struct expr *culprit; /* what decided a VOLATILE or UNKNOWN, or NULL */
    bool is_null;               /* a constant NULL: the server takes such a DEFAULT for none */
    uint32_t type;              /* of the expression as written, before the cast; 0: unknown */
};
struct catalog_answer catalog_expression(const struct catalog *, const struct expr *,
                                         const struct type_name *target,
                                         const struct catalog_relation *columns_of);

#endif

/*
 * Facts: what the text of one statement says, before anything is known of the database.
 *
 * facts_of() is the only door to libpg_query. It must be called on a thread made by parser_thread_create()
 * (a large stack): libpg_query recurses without a check of its own. With PARSER_TEXT_MAX bytes at most and
 * PARSER_STACK bytes of stack no text can end the process (tests/unit/test_parse_limits.c proves the pair).
 *
 * Ownership: everything hangs below the struct facts that is returned (talloc); free that one.
 * Text is UTF-8. Places are byte offsets into that text, -1 where there is none. Strings may be NULL only
 * where said. Lists are pointer + count.
 */
#ifndef PGSLUICE_PARSER_FACTS_H
#define PGSLUICE_PARSER_FACTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARSER_TEXT_MAX ((size_t)1 << 20) /* bytes of one statement that are ever parsed */
#define PARSER_STACK    ((size_t)1 << 30) /* virtual; touched only as deep as a text is nested */

int parser_thread_create(pthread_t *, void *(*run)(void *), void *argument);

/* ---- names ------------------------------------------------------------------------------------------ */

struct name {
    const char *schema; /* or NULL: to be found through search_path */
    const char *name;
    int place;
};

/* A type as written. `names` "int4" in schema pg_catalog for the SQL spellings (int, integer, …). */
struct type_name {
    const char *schema; /* or NULL */
    const char *name;   /* "int4", "varchar", "serial", "citext"; never NULL */
    const char *text;   /* for messages, as the author would write it: "character varying(20)", "int[]" */
    int *modifiers;     /* numbers in parentheses; those that are not integer constants are left out */
    size_t n_modifiers;
    int array; /* dimensions; 0: not an array */
    bool setof, percent_type;
    int place;
};

/* ---- expressions ------------------------------------------------------------------------------------ */

enum expr_kind {
    EXPR_NULL,
    EXPR_CONSTANT,  /* `text` is the value as written, without quotes; `constant` says its sort */
    EXPR_FUNCTION,  /* name, args; COALESCE, GREATEST, CASE and the like are EXPR_OTHER with args */
    EXPR_OPERATOR,  /* name is the operator; one arg: prefix */
    EXPR_CAST,      /* type, args[0] */
    EXPR_SQL_VALUE, /* CURRENT_TIMESTAMP, CURRENT_USER, LOCALTIME …: all STABLE; name */
    EXPR_COLUMN,    /* name (the last part), qualifier in name.schema */
    EXPR_ARRAY,
    EXPR_BOOLEAN,   /* AND OR NOT: name */
    EXPR_NULL_TEST, /* name "IS NULL" or "IS NOT NULL" */
    EXPR_SUBQUERY,
    EXPR_PARAMETER,
    EXPR_OTHER /* anything else; args holds the expressions directly inside */
};

enum constant_kind { CONSTANT_STRING, CONSTANT_INTEGER, CONSTANT_NUMERIC, CONSTANT_BOOLEAN, CONSTANT_BITS };

struct expr {
    enum expr_kind kind;
    enum constant_kind constant;
    struct name name;
    struct type_name *type; /* or NULL */
    const char *text;       /* or NULL */
    struct expr **args;
    size_t n_args;
    bool variadic, distinct, star, window; /* of a function call */
    bool named;                            /* of a function call: some argument is passed by name */
    bool any;                              /* of an operator: op ANY (…) or op ALL (…) */
    bool tested;                           /* of CASE: args[0] is compared with each WHEN */
    int place;                             /* where it starts, as far as the parser says */
};

/* ---- constraints and columns ------------------------------------------------------------------------ */

enum constraint_kind {
    CONSTRAINT_NULL,
    CONSTRAINT_NOT_NULL,
    CONSTRAINT_DEFAULT,
    CONSTRAINT_IDENTITY,
    CONSTRAINT_GENERATED,
    CONSTRAINT_CHECK,
    CONSTRAINT_PRIMARY,
    CONSTRAINT_UNIQUE,
    CONSTRAINT_EXCLUSION,
    CONSTRAINT_FOREIGN,
    CONSTRAINT_ATTRIBUTE /* DEFERRABLE and the like, as clauses of their own */
};

struct constraint {
    enum constraint_kind kind;
    const char *name;     /* or NULL: PostgreSQL chooses */
    struct expr *expr;    /* CHECK, DEFAULT, GENERATED; or NULL */
    const char **columns; /* PRIMARY, UNIQUE, FOREIGN: the columns named (empty when inline) */
    size_t n_columns;
    struct name referenced; /* FOREIGN */
    const char **referenced_columns;
    size_t n_referenced_columns;
    const char *using_index; /* UNIQUE USING INDEX, or NULL */
    bool not_valid, no_inherit, deferrable, initially_deferred, always /* identity */;
    char on_delete, on_update; /* FOREIGN: r restrict, c cascade, n set null, d set default; else neither */
    bool match_full, nulls_not_distinct;
    bool generated_virtual; /* GENERATED … VIRTUAL, or neither word (PostgreSQL 18: virtual) */
    const char **included;  /* UNIQUE, PRIMARY: INCLUDE (…) */
    size_t n_included;
    bool storage;   /* UNIQUE, PRIMARY: WITH (…) or USING INDEX TABLESPACE */
    int options;    /* IDENTITY: the first of its options, whose list ends with the clause; else -1 */
    int place, end; /* the clause from its first word to behind its last; end -1 if unknown */
    int word;       /* its first word behind CONSTRAINT name */
};

struct column_definition {
    const char *name;
    struct type_name type;
    const char *collation, *collation_schema; /* or NULL */
    bool stored_so;                           /* COMPRESSION or STORAGE */
    struct constraint *constraints;
    size_t n_constraints;
    int place, end;        /* name … last constraint */
    int type_end;          /* behind the first word of the type; -1 if unknown */
    size_t written_length; /* bytes of the name as written, before PostgreSQL cuts it to 63 */
};

/* The first constraint of a kind, or NULL. */
const struct constraint *column_constraint(const struct column_definition *, enum constraint_kind);

/* ---- ALTER TABLE ------------------------------------------------------------------------------------ */

/* Every subcommand of ALTER TABLE has a kind; those that only need a name have no further members. */
enum alter_kind {
    ALTER_ADD_COLUMN,
    ALTER_DROP_COLUMN,
    ALTER_COLUMN_TYPE,
    ALTER_SET_DEFAULT,
    ALTER_DROP_DEFAULT,
    ALTER_SET_NOT_NULL,
    ALTER_DROP_NOT_NULL,
    ALTER_SET_EXPRESSION,
    ALTER_DROP_EXPRESSION,
    ALTER_SET_STATISTICS,
    ALTER_SET_OPTIONS,
    ALTER_RESET_OPTIONS,
    ALTER_SET_STORAGE,
    ALTER_SET_COMPRESSION,
    ALTER_ADD_IDENTITY,
    ALTER_SET_IDENTITY,
    ALTER_DROP_IDENTITY,
    ALTER_ADD_CONSTRAINT,
    ALTER_ALTER_CONSTRAINT,
    ALTER_VALIDATE_CONSTRAINT,
    ALTER_DROP_CONSTRAINT,
    ALTER_ADD_INDEX_CONSTRAINT,
    ALTER_OWNER,
    ALTER_CLUSTER_ON,
    ALTER_DROP_CLUSTER,
    ALTER_SET_LOGGED,
    ALTER_SET_UNLOGGED,
    ALTER_SET_ACCESS_METHOD,
    ALTER_SET_TABLESPACE,
    ALTER_SET_RELOPTIONS,
    ALTER_RESET_RELOPTIONS,
    ALTER_ENABLE_TRIGGER,
    ALTER_DISABLE_TRIGGER,
    ALTER_ENABLE_RULE,
    ALTER_DISABLE_RULE,
    ALTER_ADD_INHERIT,
    ALTER_DROP_INHERIT,
    ALTER_ADD_OF,
    ALTER_DROP_OF,
    ALTER_REPLICA_IDENTITY,
    ALTER_ROW_SECURITY,
    ALTER_ATTACH_PARTITION,
    ALTER_DETACH_PARTITION,
    ALTER_DETACH_PARTITION_FINALIZE,
    ALTER_RENAME_COLUMN,
    ALTER_RENAME_CONSTRAINT,
    ALTER_RENAME_TABLE,
    ALTER_SET_SCHEMA,
    ALTER_OTHER
};

const char *alter_kind_name(enum alter_kind); /* "ADD COLUMN" */

struct alter {
    enum alter_kind kind;
    const char *subject;              /* the column, constraint, trigger … named, or NULL */
    const char *new_name;             /* RENAME, SET SCHEMA, OWNER, or NULL */
    struct column_definition *column; /* ADD COLUMN; ALTER TYPE: the new type in column->type; or NULL */
    struct constraint *constraint;    /* ADD CONSTRAINT, ADD IDENTITY, SET EXPRESSION; or NULL */
    struct expr *expr;                /* SET DEFAULT; ALTER TYPE … USING; or NULL */
    struct name other;                /* ATTACH/DETACH, INHERIT: the other table */
    bool missing_ok, cascade, concurrently;
    int place, end; /* the subcommand, without the comma; end -1 if unknown */
};

/* ---- the statement ---------------------------------------------------------------------------------- */

enum facts_status {
    FACTS_OK,
    FACTS_SYNTAX,   /* the parser refused it: wrong, or newer than the parser */
    FACTS_TOO_LONG, /* over the limit given */
    FACTS_TOO_DEEP, /* nested deeper than is followed */
    FACTS_FAULT     /* out of memory or an internal error of the parser */
};

enum statement_kind {
    STATEMENT_ALTER_TABLE,  /* also ALTER INDEX/VIEW/… as `object_kind` says, RENAME, SET SCHEMA, OWNER of
                               tables */
    STATEMENT_CREATE_TABLE, /* also CREATE TABLE AS, SELECT INTO */
    STATEMENT_CREATE_INDEX,
    STATEMENT_DROP, /* `object_kind` says of what */
    STATEMENT_TRUNCATE,
    STATEMENT_DO,
    STATEMENT_CREATE_FUNCTION, /* and procedures */
    STATEMENT_CREATE_EXTENSION,
    STATEMENT_OTHER_DDL,
    STATEMENT_TRANSACTION,
    STATEMENT_SETTING,
    STATEMENT_QUERY,
    STATEMENT_OTHER
};

/* What a query takes for granted of a table's columns: their number, or their order. */
enum row_use {
    ROW_STAR,          /* SELECT * FROM t, RETURNING *: its result has them all */
    ROW_POSITION,      /* INSERT INTO t without a column list */
    ROW_STAR_INSERTED, /* INSERT INTO … SELECT * FROM t */
    ROW_COPY_FROM,     /* COPY t FROM without a column list */
    ROW_COPY_TO        /* COPY t TO without one, COPY (SELECT * FROM t) TO */
};

struct row_user {
    enum row_use use;
    struct name table;
};

/* One statement found in a body: of DO, a function, a literal EXECUTE string. */
struct nested {
    struct facts *facts;
    const char *text;  /* what the places in facts count in */
    const char *where; /* "line 3 of the DO block"; "the string executed at line 3 of the DO block" */
    int place;         /* in the outer text: where the statement (the EXECUTE) starts if the body stands there
                          unescaped, else the body's literal */
};

struct facts {
    enum facts_status status;
    const char *error; /* status not OK: libpg_query's or our own words; else NULL */
    int error_place;   /* -1 if unknown */

    enum statement_kind kind;
    const char *tag;         /* as PostgreSQL's command tag: "ALTER TABLE", "CREATE INDEX" */
    const char *object_kind; /* "TABLE", "INDEX", "VIEW", "FUNCTION"; "" if none */
    struct name object;      /* the (first) object; name may be NULL */
    struct name *objects;    /* DROP, TRUNCATE: all of them */
    size_t n_objects;
    const char *identity; /* for the log: quoted, schema-qualified where the author did; "" if none */

    bool if_exists, if_not_exists, only, cascade, concurrently, temporary, unlogged, unique;
    bool moves; /* it reads or writes many rows, as far as its text says: UPDATE, DELETE, MERGE, INSERT of a
                   query or of many VALUES, COPY … FROM, CREATE TABLE AS, or WITH one of these */
    int index_rest, index_end; /* CREATE INDEX: what stands behind the table's name; -1 if unknown */
    struct expr **index_parts; /* CREATE INDEX: its columns and expressions, INCLUDE and WHERE too */
    size_t n_index_parts;
    struct name index_table;    /* CREATE INDEX, CREATE TRIGGER …: the table it is on; CREATE TABLE: the
                                 (first) table it inherits from or is a partition of */
    bool partition_of;          /* CREATE TABLE … PARTITION OF */
    bool uncomments;            /* COMMENT … IS NULL, or '' */
    const char *new_name;       /* RENAME of what is no relation (those have an alter), or NULL */
    struct row_user *row_users; /* SELECT, INSERT, UPDATE, DELETE, COPY; PREPARE of one */
    size_t n_row_users;
    const char *prepared; /* PREPARE, DEALLOCATE: the name; or NULL (ALL) */
    bool parameters;      /* it has $1 …: it can only be run prepared */
    int lock;             /* LOCK TABLE: the mode, numbered as PostgreSQL does: 1 ACCESS SHARE … 8 */
    struct alter
        *alters; /* ALTER TABLE; ALTER TYPE of a composite type; ALTER DOMAIN: its constraint or NOT NULL */
    size_t n_alters;
    struct column_definition *domain;  /* CREATE DOMAIN: its type and constraints; or NULL */
    struct column_definition *columns; /* CREATE TABLE */
    size_t n_columns;
    struct constraint *constraints; /* CREATE TABLE, table constraints */
    size_t n_constraints;

    struct nested *nested; /* statements that this one hides, in order */
    size_t n_nested;
    bool names_change; /* DO: its body speaks of search_path, set_config or a role: names may mean others
                          behind it */
    bool dynamic;      /* a body executes text that is not a literal, or is in a language we don't read */
    const char *dynamic_why; /* "EXECUTE format(…) at line 4 of the DO block", or NULL. A function in a
                                language that we don't read has this as a note, without `dynamic` */

    int long_name_place; /* the first identifier of more than 63 bytes, which PostgreSQL would cut; or -1 */
    bool high_bytes,
        replaced;         /* the text holds more than ASCII; holds U+FFFD, which may stand for any byte */
    uint64_t fingerprint; /* libpg_query's; 0 if there is none: nested, or longer than 8 kB */
    const char *
        not_waiver; /* a comment that begins with "pgsluice" and is no waiver, where there is none; or NULL */
    const char *waiver; /* text behind "pgsluice: allow" in a comment of the statement, trimmed, or NULL */
};

/*
 * Read one statement. `text` need not be NUL-terminated and may hold NUL bytes (FACTS_SYNTAX). `limit` is the
 * configured limits.statement. `scs` false: plain strings know backslash escapes. Never returns NULL unless
 * talloc cannot give even the struct.
 */
struct facts *facts_of(const void *talloc_parent, const char *text, size_t length, size_t limit, bool scs);

/* Convert a client's text to UTF-8. `encoding` is PostgreSQL's name ("LATIN1", "SJIS", "UTF8", "SQL_ASCII").
 * NULL where the bytes can't be read: a server refuses invalid UTF8, but of other encodings it may know
 * characters that iconv doesn't. A character stays one, but for a few of JIS X 0213 that are two in Unicode.
 */
char *text_to_utf8(const void *talloc_parent, const char *text, size_t length, const char *encoding,
                   size_t *utf8_length);

/* The way back, for what is said to a client: a character that the encoding does not have becomes '?'. NULL
 * only for want of memory. */
char *text_from_utf8(const void *talloc_parent, const char *utf8, const char *encoding);

/* Characters in front of a byte offset of UTF-8 text: what the Position field of an error counts (plus 1). */
size_t utf8_characters(const char *text, size_t bytes);

/* An identifier as SQL text: quoted where PostgreSQL's quote_ident would. */
char *quote_identifier(const void *talloc_parent, const char *name);
char *quote_name(const void *talloc_parent, const struct name *);
bool reserved_word(const char *name); /* RESERVED or TYPE_FUNC_NAME keyword of the parser's version */

#endif

/*
 * Between the files of the catalog: private to policy/.
 */
#ifndef PGSLUICE_POLICY_CATALOG_INSIDE_H
#define PGSLUICE_POLICY_CATALOG_INSIDE_H

#include "policy/catalog.h"

/* Types that have a meaning of their own in the rules of resolution. */
enum {
    TYPE_BOOL = 16,
    TYPE_NAME = 19,
    TYPE_INT8 = 20,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_UNKNOWN = 705, /* of a literal whose type isn't said */
    TYPE_DATE = 1082,
    TYPE_TIME = 1083,
    TYPE_TIMESTAMP = 1114,
    TYPE_TIMESTAMPTZ = 1184,
    TYPE_TIMETZ = 1266,
    TYPE_BIT = 1560,
    TYPE_NUMERIC = 1700,
    TYPE_RECORD = 2249,
    TYPE_ANY = 2276,
    FIRST_OF_USERS = 16384 /* oids below it are made by initdb */
};

/* ---- reading: catalog_decode.c ----------------------------------------------------------------------- */

/* The JSON text in UTF-8 out of what the server sent ("UTF8:base64…", or plain JSON); NULL: neither. */
char *catalog_decode(const void *talloc_parent, const char *answer, size_t length, size_t *out);

/* ---- looking up: catalog_find.c ---------------------------------------------------------------------- */

/* Does the schema (as written, or NULL) lead to an object with this schema and place in search_path? */
bool catalog_visible(const struct catalog *, const char *written, const char *schema, int position);

const struct catalog_function *catalog_function_by_oid(const struct catalog *, uint32_t oid);
const struct catalog_cast *catalog_cast(const struct catalog *, uint32_t source, uint32_t target);
uint32_t catalog_array_of(const struct catalog *, uint32_t oid);   /* 0: unknown */
uint32_t catalog_element_of(const struct catalog *, uint32_t oid); /* 0: no array */
uint32_t catalog_base_of(const struct catalog *, uint32_t oid);    /* below all domains; itself else */
char catalog_category(const struct catalog *, uint32_t oid);       /* typcategory; 'X' unknown */
bool catalog_preferred(const struct catalog *, uint32_t oid);

/* ---- values: what is known of a (part of an) expression ----------------------------------------------- */

/* What the planner's folding of constants makes of it. */
enum fold {
    FOLD_NOT,  /* no constant */
    FOLD_NULL, /* the constant NULL */
    FOLD_TRUE, /* the constant true */
    FOLD_FALSE,
    FOLD_SOME,     /* a constant that is not NULL */
    FOLD_CONSTANT, /* a constant, NULL or not */
    FOLD_UNKNOWN
};

struct value {
    uint32_t type; /* 0: unknown */
    enum catalog_volatility volatility;
    enum fold fold;
    bool nonstrict;         /* holds something that may be not NULL though an input is */
    const struct expr *row; /* a ROW(…) as written, or NULL */
    const struct expr *culprit;
};

struct argument {
    struct value value;
    unsigned used;
};

/* Where an expression stands. */
struct scope {
    const struct catalog *catalog;
    const struct catalog_relation *columns; /* or NULL */
    const struct catalog_function *body_of; /* an SQL function's, or NULL */
    struct argument *arguments;             /* of that */
    const struct scope *outer;              /* the call's, or NULL */
    bool folds;                             /* the planner's view; else as written */
    const void *memory;
    int depth; /* of bodies inside bodies */
};

bool fold_constant(enum fold); /* surely a constant */
enum catalog_volatility catalog_worse(enum catalog_volatility, enum catalog_volatility);
struct value value_worse(struct value, struct value);  /* volatility and culprit; the rest is the first's */
struct value value_either(struct value, struct value); /* one of the two, nobody knows which */
struct value value_unknown(const struct expr *culprit);
struct value value_if_kept(struct value, const struct expr *culprit);

/* catalog_value.c: an expression by itself. */
struct value catalog_value(const struct scope *, const struct expr *, int depth);

/* catalog_construct.c: of an expression of such a kind, its parts being known. */
struct value catalog_boolean(const struct scope *, const struct expr *, const struct value *values);
struct value catalog_null_test(const struct scope *, const struct expr *, const struct value *values);
struct value catalog_array(const struct scope *, const struct expr *, struct value *values);
struct value catalog_construct(const struct scope *, const struct expr *, struct value *values);

/* catalog_cast.c */
enum coercion { COERCE_IMPLICIT, COERCE_ASSIGNMENT, COERCE_EXPLICIT };
enum path { PATH_NONE, PATH_RELABEL, PATH_FUNCTION, PATH_ARRAY, PATH_TEXT };
enum path catalog_path(const struct catalog *, uint32_t source, uint32_t target, enum coercion,
                       const struct catalog_cast **);
bool catalog_can_coerce(const struct catalog *, uint32_t source, uint32_t target);
struct value catalog_coerce(const struct scope *, struct value, uint32_t target, enum coercion,
                            const struct expr *culprit);
uint32_t catalog_common_type(const struct catalog *, const struct value *, size_t n);

/* catalog_choose.c: one of several functions or operators of a name. */
struct candidate {
    const uint32_t *declared;
    uint32_t *args; /* what each argument written is taken as: variadic ones spread */
    size_t n_declared;
    int position;
    bool variadic;
    size_t defaults; /* how many are left to their defaults */
    uint32_t result;
    const struct catalog_function *function;
    const struct catalog_operator *op;
    bool out;
};

/* Marks with `out` those that the call can't mean. Returns how many may be meant: 1 is certain. */
size_t catalog_choose(const struct catalog *, struct candidate *, size_t n, const uint32_t *types,
                      size_t n_types);
bool catalog_polymorphic(uint32_t type);
uint32_t catalog_result(const struct catalog *, const struct candidate *, const uint32_t *types,
                        size_t n_types);

/* catalog_call.c */
struct value catalog_call(const struct scope *, const struct expr *, int depth);
struct value catalog_operate(const struct scope *, const struct expr *culprit, const struct name *, bool any,
                             const struct value *args, size_t n);

/* catalog_inline.c: what is left of a call of an SQL function when the planner is done. `plain` is the call
 * as it is when it isn't inlined. */
struct value catalog_inline(const struct scope *, const struct catalog_function *, const struct value *args,
                            size_t n, struct value plain);

#endif

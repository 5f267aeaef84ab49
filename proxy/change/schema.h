/*
 * The schema `pgsluice` as it is installed: schema.sql and what follows it, built in.
 */
#ifndef PGSLUICE_PROXY_CHANGE_SCHEMA_H
#define PGSLUICE_PROXY_CHANGE_SCHEMA_H

extern const char schema_sql[];  /* NUL-terminated */
#define SCHEMA_WORKER "$WORKER$" /* stands in it for the worker's role, quoted */

/*
 * An SQL expression: is there a schema `pgsluice` that this session may believe in? Whoever reads it runs the
 * functions of its owner, with all that this session may do: SET ROLE to any role that it is a member of. So
 * the schema is a superuser's; or it is the database's owner's (anybody who has CREATEDB can be one, and the
 * worker enters every database), if that owner is itself a member of every role that this session is a member
 * of, and so gains nothing. A superuser is a member of all of them, and believes only in a superuser's.
 */
#define SCHEMA_TRUSTED                                                                                       \
    "EXISTS (SELECT FROM pg_catalog.pg_namespace n"                                                          \
    " JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner"                                                      \
    " JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()"                            \
    " WHERE n.nspname = 'pgsluice' AND (o.rolsuper OR (n.nspowner = d.datdba AND NOT"                        \
    " EXISTS (SELECT FROM pg_catalog.pg_roles m WHERE " SCHEMA_BEYOND(                                       \
        "session_user", "n.nspowner") " OR " SCHEMA_BEYOND("current_user", "n.nspowner") "))))"

/*
 * The same for the worker, who stays for long in a database that it has entered: code of the schema's owner
 * that runs there may wait until the worker is made a member of one more role. So an owner who is no
 * superuser has to be one who could be the worker in any case: who administers that role.
 */
#define SCHEMA_TRUSTED_BY_WORKER                                                                             \
    SCHEMA_TRUSTED " AND EXISTS (SELECT FROM pg_catalog.pg_namespace n"                                      \
                   " JOIN pg_catalog.pg_roles o ON o.oid = n.nspowner"                                       \
                   " WHERE n.nspname = 'pgsluice' AND " SCHEMA_ADMINISTERS("o", "session_user") ")"

/* Before 16 CREATEROLE administers every role that is no superuser. */
#define SCHEMA_ADMINISTERS(owner, role)                                                                      \
    "(" owner ".rolsuper OR pg_catalog.pg_has_role(" owner ".oid, " role ", 'MEMBER WITH ADMIN OPTION')"     \
    " OR (" owner ".rolcreaterole AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4"     \
    " < 160000))"

/* Is `role` a member of m, which `owner` may not act as? Since 16 a membership can be one that gives no
 * rights. */
#define SCHEMA_BEYOND(role, owner)                                                                           \
    "(m.rolname <> " role " AND pg_catalog.pg_has_role(" role ", m.oid, 'MEMBER')"                           \
    " AND NOT pg_catalog.pg_has_role(" owner ", m.oid, CASE WHEN"                                            \
    " pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000"                           \
    " THEN 'USAGE, SET' ELSE 'MEMBER' END))"

#endif

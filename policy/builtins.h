/*
 * What pg_catalog itself holds, for servers 13 and later: written from real servers by generate_builtins.py.
 *
 * A version is a major version; 0 means that it is not known: then the oldest server that has the name
 * answers.
 */
#ifndef PGSLUICE_POLICY_BUILTINS_H
#define PGSLUICE_POLICY_BUILTINS_H

#include <stdbool.h>
#include <stddef.h>

enum builtin_volatility {
    BUILTIN_MISSING, /* pg_catalog has no such function with so many arguments */
    BUILTIN_IMMUTABLE,
    BUILTIN_STABLE,
    BUILTIN_VOLATILE,
    BUILTIN_MIXED /* overloads differ, and one of them is volatile */
};

enum builtin_volatility builtin_function(const char *name, size_t n_args, int version);
bool builtin_type(const char *name, int version);
bool builtin_operator(const char *name);

/* Functions of the contrib modules that schemas use as defaults: all VOLATILE. */
bool contrib_volatile_function(const char *name);

/* serial, bigserial, smallserial and their numbered spellings. */
bool serial_type(const char *name);

#endif

/*
 * Look-ups in the generated tables, which are sorted by name.
 */
#include "policy/builtins.h"

#include <stdlib.h>
#include <string.h>

#define IMMUTABLE BUILTIN_IMMUTABLE
#define STABLE    BUILTIN_STABLE
#define VOLATILE  BUILTIN_VOLATILE
#define MIXED     BUILTIN_MIXED

/* Every row begins with its name, so one comparison serves all tables. */
static const struct function_row {
    const char *name;
    unsigned char fewest, most, volatility, since, until;
} functions[] = {
#define BUILTIN_FUNCTION(name, fewest, most, volatility, since, until)                                       \
    {name, fewest, most, volatility, since, until},
#include "policy/builtin_functions.def"
#undef BUILTIN_FUNCTION
};

static const struct type_row {
    const char *name;
    unsigned char since, until;
} types[] = {
#define BUILTIN_TYPE(name, since, until) {name, since, until},
#include "policy/builtin_types.def"
#undef BUILTIN_TYPE
};

static const struct operator_row {
    const char *name;
} operators[] = {
#define BUILTIN_OPERATOR(name) {name},
#include "policy/builtin_operators.def"
#undef BUILTIN_OPERATOR
};

enum {
    N_FUNCTIONS = sizeof functions / sizeof *functions,
    N_TYPES = sizeof types / sizeof *types,
    N_OPERATORS = sizeof operators / sizeof *operators
};

static int by_name(const void *name, const void *row)
{
    return strcmp(name, *(const char *const *)row);
}

static bool version_in(int version, int since, int until)
{
    return version == 0 || (since <= version && (until == 0 || version <= until));
}

enum builtin_volatility builtin_function(const char *name, size_t n_args, int version)
{
    const struct function_row *row = bsearch(name, functions, N_FUNCTIONS, sizeof *functions, by_name);
    if (row == NULL)
        return BUILTIN_MISSING;
    while (row > functions && strcmp(row[-1].name, name) == 0)
        row--;
    const struct function_row *oldest = NULL;
    for (; row < functions + N_FUNCTIONS && strcmp(row->name, name) == 0; row++) {
        if (n_args < row->fewest || n_args > row->most || !version_in(version, row->since, row->until))
            continue;
        if (oldest == NULL || row->since < oldest->since)
            oldest = row;
    }
    return oldest == NULL ? BUILTIN_MISSING : (enum builtin_volatility)oldest->volatility;
}

bool builtin_type(const char *name, int version)
{
    const struct type_row *row = bsearch(name, types, N_TYPES, sizeof *types, by_name);
    return row != NULL && version_in(version, row->since, row->until);
}

bool builtin_operator(const char *name)
{
    return bsearch(name, operators, N_OPERATORS, sizeof *operators, by_name) != NULL;
}

static bool one_of(const char *name, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(name, *list) == 0)
            return true;
    }
    return false;
}

bool contrib_volatile_function(const char *name)
{
    static const char *const names[] = {"uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4",
                                        "gen_random_bytes", "gen_salt",           NULL};
    return one_of(name, names);
}

bool serial_type(const char *name)
{
    static const char *const names[] = {"serial",  "serial4",     "bigserial", "serial8",
                                        "serial2", "smallserial", NULL};
    return one_of(name, names);
}

/*
 * Durations and sizes with units, read and printed. A number without its unit is refused: "60" of what is the
 * mistake that nobody sees. The spellings are those of PostgreSQL's parameters (manual, section 20.1.1).
 */
#include "conf/reader.h"

#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1},
};

static const struct unit sizes[] = {
    {"TB", 1ULL << 40}, {"GB", 1ULL << 30}, {"MB", 1ULL << 20}, {"kB", 1ULL << 10}, {"B", 1},
};

enum { N_DURATIONS = sizeof durations / sizeof *durations, N_SIZES = sizeof sizes / sizeof *sizes };

static bool read_units(const char *text, const struct unit *units, size_t n, uint64_t *value)
{
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    }
    if (at == text)
        return false;
    if (*at == '\0' && number == 0) {
        *value = 0;
        return true;
    }
    while (*at == ' ')
        at++;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(at, units[i].name) == 0)
            return !__builtin_mul_overflow(number, units[i].factor, value);
    }
    return false;
}

bool conf_duration(const char *text, int64_t *milliseconds)
{
    uint64_t value;
    if (!read_units(text, durations, N_DURATIONS, &value) || value > INT64_MAX)
        return false;
    *milliseconds = (int64_t)value;
    return true;
}

bool conf_size(const char *text, uint64_t *bytes)
{
    uint64_t value;
    if (!read_units(text, sizes, N_SIZES, &value))
        return false;
    *bytes = value;
    return true;
}

static void print_units(FILE *out, uint64_t value, const struct unit *units, size_t n)
{
    if (value == 0) {
        fputc('0', out);
        return;
    }
    size_t i = 0;
    while (i < n - 1 && value % units[i].factor != 0)
        i++;
    fprintf(out, "%llu%s", (unsigned long long)(value / units[i].factor), units[i].name);
}

void unit_print_duration(FILE *out, int64_t milliseconds)
{
    print_units(out, (uint64_t)milliseconds, durations, N_DURATIONS);
}

void unit_print_size(FILE *out, uint64_t bytes)
{
    print_units(out, bytes, sizes, N_SIZES);
}

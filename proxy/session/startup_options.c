/*
 * `options` split and read as the server does: pg_split_opts() (white space separates, a backslash takes the
 * next byte as it is), then getopt() over its switches, names of settings without regard to case and with '-'
 * for '_'.
 */
#include "proxy/session/startup_options.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Switches of the server that take an argument (process_postgres_switches). */
static const char with_argument[] = "BCcDdfhkNprStvW";

/* The next word of *text into `word` (which has room for all of it); false at the end. */
static bool next_word(const char **text, char *word)
{
    const char *at = *text;
    while (isspace((unsigned char)*at))
        at++;
    if (*at == '\0')
        return false;
    while (*at && !isspace((unsigned char)*at)) {
        if (*at == '\\' && at[1])
            at++;
        else if (*at == '\\')
            break;
        *word++ = *at++;
    }
    if (*at == '\\')
        at++;
    *word = '\0';
    *text = at;
    return true;
}

/* The value in "name=value" if the name is the one that is looked for. */
static const char *value_of(const char *assignment, const char *name)
{
    for (; *name; name++, assignment++) {
        char c = *assignment == '-' ? '_' : (char)tolower((unsigned char)*assignment);
        if (c != *name)
            return NULL;
    }
    return *assignment == '=' ? assignment + 1 : NULL;
}

/* People quote as in SQL; the server keeps such quotes as part of the value. */
static char *without_quotes(const char *value)
{
    size_t n = strlen(value);
    if (n >= 2 && value[0] == '\'' && value[n - 1] == '\'')
        return strndup(value + 1, n - 2);
    return strdup(value);
}

char *startup_option(const char *options, const char *name)
{
    char *found = NULL;
    char *word = malloc(strlen(options) + 1);
    if (!word)
        return NULL;
    while (next_word(&options, word)) {
        const char *assignment = NULL;
        if (word[0] != '-' || word[1] == '\0')
            continue;
        if (word[1] == '-')
            assignment = word + 2;
        else if (word[1] == 'c' && word[2])
            assignment = word + 2;
        else if (strchr(with_argument, word[1]) && word[2] == '\0') {
            bool is_setting = word[1] == 'c';
            if (!next_word(&options, word))
                break;
            assignment = is_setting ? word : NULL;
        }
        const char *value = assignment ? value_of(assignment, name) : NULL;
        if (value) {
            free(found);
            found = without_quotes(value);
        }
    }
    free(word);
    return found;
}

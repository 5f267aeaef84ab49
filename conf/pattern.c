/*
 * A name pattern: a POSIX extended regular expression, compiled once. The C library's regcomp unfolds
 * repetitions ("a{200}" becomes 200 copies, "(a{200}){200}" 40,000), and its memory grows with the square of
 * that, so the unfolded size is reckoned first. What POSIX leaves undefined (an empty group or alternative, a
 * quantifier behind nothing or behind another one) is refused: the library takes it, and may never come back.
 * What may be empty inside what is repeated, "((a+)?)+", costs
 * it time that doubles with each level (minutes at twenty), so such a quantifier counts as a copy too.
 * Back-references are not part of extended expressions and can take exponential time: refused, although the C
 * library would take them.
 */
#include "conf/reader.h"

#include <string.h>
#include <talloc.h>

enum { PATTERN_LENGTH = 1000, PATTERN_WEIGHT = 2000, PATTERN_DEPTH = 50 };

/* The end of a bracket expression whose '[' is at `at`; the end of the text when it is not closed. */
static const char *skip_bracket(const char *at)
{
    at++;
    if (*at == '^')
        at++;
    if (*at == ']')
        at++;
    while (*at && *at != ']') {
        if (at[0] == '[' && (at[1] == ':' || at[1] == '.' || at[1] == '=')) {
            const char closing[] = {at[1], ']', '\0'};
            const char *close = strstr(at + 2, closing);
            at = close ? close + 2 : at + 1;
        } else {
            at++;
        }
    }
    return *at ? at + 1 : at;
}

static unsigned long number(const char **at)
{
    unsigned long value = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        if (value <= PATTERN_WEIGHT)
            value = value * 10 + (unsigned long)(**at - '0');
    }
    return value;
}

/* Copies that a quantifier makes of what stands before it, and is reckoned to; `at` moves behind it. 0: none
 * stands here. `plain`: it stands behind a single character. */
static unsigned long quantifier(const char **at, bool plain)
{
    char mark = **at;
    if (mark == '*' || mark == '?' || mark == '+') {
        (*at)++;
        return mark == '+' || !plain ? 2 : 1;
    }
    if (mark != '{')
        return 0;
    const char *look = *at + 1;
    unsigned long low = number(&look), high = low;
    if (*look == ',') {
        look++;
        high = number(&look);
    }
    if (*look != '}')
        return 0;
    *at = look + 1;
    unsigned long most = high > low + 1 ? high : low + 1; /* "{3,}" is three and a loop */
    return most < 2 && !plain ? 2 : most;
}

struct weigh {
    unsigned long sum[PATTERN_DEPTH + 1]; /* of each group that is open */
    unsigned depth;
    unsigned long last; /* weight of the atom just read */
    bool plain;         /* which is a single character */
    bool anchor;        /* or holds ^ or $ */
    bool anchors[PATTERN_DEPTH + 1];
};

/* Steps over one atom; NULL, or what is wrong. */
static const char *weigh_atom(struct weigh *weigh, const char **at)
{
    if (**at == '(') {
        if (weigh->depth == PATTERN_DEPTH)
            return "groups nested too deeply";
        weigh->sum[++weigh->depth] = 1;
        weigh->anchors[weigh->depth] = false;
        weigh->last = 0;
        (*at)++;
        return NULL;
    }
    weigh->plain = **at != ')';
    weigh->anchor = **at == '^' || **at == '$';
    if (**at == ')' && weigh->depth > 0) {
        weigh->anchor = weigh->anchors[weigh->depth];
        weigh->last = weigh->sum[weigh->depth--];
        (*at)++;
    } else if (**at == '[') {
        *at = skip_bracket(*at);
        weigh->last = 1;
    } else if (**at == '\\' && (*at)[1]) {
        if ((*at)[1] >= '1' && (*at)[1] <= '9')
            return "a back-reference is not part of extended regular expressions";
        *at += 2;
        weigh->last = 1;
    } else {
        (*at)++;
        weigh->last = 1;
    }
    weigh->sum[weigh->depth] += weigh->last;
    weigh->anchors[weigh->depth] |= weigh->anchor;
    return NULL;
}

/* What has no meaning here, behind `before` ('\0': at the beginning). */
static const char *undefined(char before, char here)
{
    bool opening = before == '\0' || before == '(' || before == '|' || before == '^';
    bool repeats = here != '\0' && strchr("*+?{", here);
    if (opening && repeats)
        return "a quantifier stands where there is nothing to repeat";
    if (opening && before != '^' && (here == '|' || (here == ')' && before != '\0')))
        return "an empty group or alternative has no meaning in extended regular expressions";
    if (before == '|' && here == '\0')
        return "an empty alternative has no meaning in extended regular expressions";
    return NULL;
}

static const char *too_heavy(const char *pattern)
{
    struct weigh weigh = {.depth = 0};
    char before = '\0';
    if (strlen(pattern) > PATTERN_LENGTH)
        return "longer than 1000 bytes";
    for (const char *at = pattern; *at;) {
        const char *why = undefined(before, *at);
        before = *at;
        if (!why)
            why = weigh_atom(&weigh, &at);
        if (why)
            return why;
        unsigned long copies = weigh.last > 0 ? quantifier(&at, weigh.plain) : 0;
        if (copies > 0) {
            if (weigh.anchor)
                return "what is repeated holds ^ or $";
            weigh.sum[weigh.depth] += weigh.last * (copies - 1);
            weigh.last *= copies;
            if (weigh.last > PATTERN_WEIGHT)
                return "its repetitions unfold to too large an expression";
            if (*at && strchr("*+?{", *at))
                return "a quantifier behind another one has no meaning in extended regular expressions";
        }
        if (weigh.sum[weigh.depth] > PATTERN_WEIGHT)
            return "its repetitions unfold to too large an expression";
    }
    return undefined(before, '\0');
}

static int regex_destroy(regex_t *regex)
{
    regfree(regex);
    return 0;
}

regex_t *pattern_compile(const void *parent, const char *pattern, char *why, size_t size)
{
    const char *heavy = too_heavy(pattern);
    if (heavy) {
        snprintf(why, size, "%s", heavy);
        return NULL;
    }
    regex_t *regex = talloc(parent, regex_t);
    if (!regex) {
        snprintf(why, size, "out of memory");
        return NULL;
    }
    int error = regcomp(regex, pattern, REG_EXTENDED | REG_NOSUB);
    if (error != 0) {
        regerror(error, regex, why, size);
        talloc_free(regex);
        return NULL;
    }
    talloc_set_destructor(regex, regex_destroy);
    return regex;
}

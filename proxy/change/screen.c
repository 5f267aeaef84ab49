/*
 * A word is what an identifier without quotes may consist of: letters, digits, '_', '$' and bytes of 0x80 and
 * above. Names that hold anything else (spaces, quotes) are looked up at each opening quote as well. Letters
 * are folded everywhere, since what stands in quotes is not told apart from what doesn't.
 *
 * A reserved word is a name in quotes only, and behind a dot. After a dot and a comment, which is not read
 * here, it is taken for one everywhere.
 */
#include "proxy/change/screen.h"

#include <stdint.h>
#include <string.h>
#include <talloc.h>

#include "parser/facts.h"

#define NAME_MAX_BYTES 63U  /* of a name; the server cuts longer ones: NAMEDATALEN */
#define NAME_BYTES     256U /* of one here: 63 of a server's encoding can be more of UTF-8 */
#define SEEN_AT_HAND   64U  /* words of bits on the stack: 4096 names */

struct entry {
    const char *folded;
    size_t length;
    bool reserved;
};

struct pair {
    unsigned table, column; /* of names */
};

struct screen {
    struct entry *names;
    unsigned n_names;
    unsigned *slots; /* a name's number + 1; 0: free */
    uint32_t mask;
    struct pair *pairs;
    size_t n_pairs;
    bool odd;          /* a name holds what no word does */
    bool foreign;      /* a name isn't ASCII */
    uint8_t fold[256]; /* see fold() */
    bool first[256];
    bool lengths[NAME_BYTES];
};

/* 0: no part of a word. */
static uint8_t fold(char byte)
{
    uint8_t b = (uint8_t)byte;
    if (b >= 'A' && b <= 'Z')
        return b | 0x20;
    return b >= 0x80 || (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '_' || b == '$' ? b : 0;
}

static bool is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static uint32_t hash(const char *folded, size_t length)
{
    uint32_t h = 0x811c9dc5U;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (uint8_t)folded[i]) * 0x01000193U;
    return h ^ h >> 15;
}

/* Where the name stands, or a free slot. */
static unsigned *slot_of(const struct screen *screen, const char *folded, size_t length)
{
    uint32_t at = hash(folded, length) & screen->mask;
    for (;; at = (at + 1) & screen->mask) {
        unsigned *slot = &screen->slots[at];
        const struct entry *name = *slot ? &screen->names[*slot - 1] : NULL;
        if (!name || (name->length == length && memcmp(name->folded, folded, length) == 0))
            return slot;
    }
}

/* ---- the table --------------------------------------------------------------------------------------- */

static bool add(struct screen *screen, const char *text, unsigned *number)
{
    size_t length = strlen(text);
    char *folded = talloc_strdup(screen, text);
    if (!folded)
        return false;
    bool odd = false;
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = fold(folded[i]);
        odd = odd || !byte;
        screen->foreign = screen->foreign || byte >= 0x80;
        folded[i] = byte ? (char)byte : folded[i];
    }
    unsigned *slot = slot_of(screen, folded, length);
    if (!*slot) {
        screen->names[screen->n_names++] =
            (struct entry){.folded = folded, .length = length, .reserved = reserved_word(folded)};
        *slot = screen->n_names;
    }
    *number = *slot - 1;
    screen->odd = screen->odd || odd;
    screen->first[(uint8_t)folded[0]] = true;
    screen->lengths[length < NAME_BYTES ? length : NAME_BYTES - 1] = true;
    return true;
}

struct screen *screen_new(const void *talloc_parent, const struct change_column *columns, size_t n)
{
    struct screen *screen = talloc_zero(talloc_parent, struct screen);
    if (!screen)
        return NULL;
    for (unsigned byte = 0; byte < 256; byte++)
        screen->fold[byte] = fold((char)byte);
    screen->mask = 7;
    while (screen->mask < 4 * n) /* two names each: at most half full */
        screen->mask = screen->mask * 2 + 1;
    screen->names = talloc_array(screen, struct entry, 2 * n);
    screen->slots = talloc_zero_array(screen, unsigned, (size_t)screen->mask + 1);
    screen->pairs = talloc_array(screen, struct pair, n);
    bool good = screen->names && screen->slots && screen->pairs;
    for (size_t i = 0; good && i < n; i++) {
        struct pair *pair = &screen->pairs[screen->n_pairs];
        if (columns[i].quarantine == QUARANTINE_ALLOW)
            continue;
        good = add(screen, columns[i].table, &pair->table) && add(screen, columns[i].column, &pair->column);
        screen->n_pairs += good;
    }
    if (good)
        return screen;
    talloc_free(screen);
    return NULL;
}

/* ---- a text ------------------------------------------------------------------------------------------ */

struct looking {
    const struct screen *screen;
    const char *sql;
    size_t length;
    uint64_t *seen; /* a bit for each name */
    bool any;       /* of them is set */
    bool all_names; /* a dot and a comment went by: any reserved word may be a name */
};

/* Where pg_mbcliplen cuts a name in UTF-8. */
static size_t clipped(const char *name, size_t length)
{
    if (length <= NAME_MAX_BYTES)
        return length;
    length = NAME_MAX_BYTES;
    while (length && ((uint8_t)name[length] & 0xc0) == 0x80)
        length--;
    return length;
}

static void look_up(struct looking *looking, const char *folded, size_t length, bool name)
{
    const struct screen *screen = looking->screen;
    unsigned found = screen->lengths[length] ? *slot_of(screen, folded, length) : 0;
    if (!found || (!name && screen->names[found - 1].reserved))
        return;
    looking->seen[(found - 1) / 64] |= (uint64_t)1 << (found - 1) % 64;
    looking->any = true;
}

/* As it is written, and as the server cuts it. */
static void look(struct looking *looking, const char *folded, size_t length, bool name)
{
    if (length < NAME_BYTES)
        look_up(looking, folded, length, name);
    size_t cut = clipped(folded, length);
    if (cut < length)
        look_up(looking, folded, cut, name);
}

/* Is there a dot in front of it? */
static bool behind_dot(const struct looking *looking, size_t at)
{
    while (at > 0 && is_space(looking->sql[at - 1]))
        at--;
    return at > 0 && looking->sql[at - 1] == '.';
}

/* The word at `at`; where it ends. */
static size_t word(struct looking *looking, size_t at)
{
    const char *sql = looking->sql;
    const uint8_t *fold_of = looking->screen->fold;
    size_t end = at + 1;
    while (end < looking->length && fold_of[(uint8_t)sql[end]])
        end++;
    size_t n = end - at < NAME_BYTES ? end - at : NAME_BYTES;
    if (!looking->screen->first[fold_of[(uint8_t)sql[at]]] ||
        (n <= NAME_MAX_BYTES && !looking->screen->lengths[n]))
        return end;
    char folded[NAME_BYTES];
    for (size_t i = 0; i < n; i++)
        folded[i] = (char)fold_of[(uint8_t)sql[at + i]];
    bool name = looking->all_names || (at > 0 && sql[at - 1] == '"') || behind_dot(looking, at);
    look(looking, folded, n, name);
    return end;
}

/* A name in quotes, which open at `at`. What it holds is walked through all the same: the quote may be one in
 * a string, or close another. */
static void quoted(struct looking *looking, size_t at)
{
    const char *sql = looking->sql;
    char folded[NAME_BYTES];
    size_t n = 0, i = at + 1;
    for (; i < looking->length && n < NAME_BYTES; i++) {
        if (sql[i] == '"' && (i + 1 == looking->length || sql[++i] != '"'))
            break;
        uint8_t byte = fold(sql[i]);
        folded[n++] = byte ? (char)byte : sql[i];
    }
    if (n && looking->screen->first[(uint8_t)folded[0]])
        look(looking, folded, n, true);
}

static void dot(struct looking *looking, size_t at)
{
    const char *sql = looking->sql;
    for (at++; at < looking->length && is_space(sql[at]);)
        at++;
    looking->all_names = looking->all_names ||
                         (at + 1 < looking->length &&
                          ((sql[at] == '-' && sql[at + 1] == '-') || (sql[at] == '/' && sql[at + 1] == '*')));
}

static bool pair_seen(const struct looking *looking)
{
    const struct screen *screen = looking->screen;
    const uint64_t *seen = looking->seen;
    for (size_t i = 0; looking->any && i < screen->n_pairs; i++) {
        unsigned table = screen->pairs[i].table, column = screen->pairs[i].column;
        if ((seen[table / 64] >> table % 64 & 1) && (seen[column / 64] >> column % 64 & 1))
            return true;
    }
    return false;
}

static bool has_high(const char *sql, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((uint8_t)sql[i] >= 0x80)
            return true;
    return false;
}

/* True: a name may be written in escapes. */
static bool walk(struct looking *looking)
{
    const char *sql = looking->sql;
    for (size_t i = 0; i < looking->length;) {
        if (looking->screen->fold[(uint8_t)sql[i]]) {
            i = word(looking, i);
            continue;
        }
        if (sql[i] == '"' && i > 1 && sql[i - 1] == '&' && (sql[i - 2] | 0x20) == 'u')
            return true;
        if (sql[i] == '"' && looking->screen->odd && (i == 0 || sql[i - 1] != '"'))
            quoted(looking, i);
        if (sql[i] == '.')
            dot(looking, i);
        i++;
    }
    return false;
}

bool screen_holds(const struct screen *screen, const char *sql, size_t length, bool utf8)
{
    uint64_t at_hand[SEEN_AT_HAND] = {0};
    size_t words = screen->n_names / 64 + 1;
    if (screen->n_pairs == 0)
        return false;
    if (!utf8 && screen->foreign && has_high(sql, length))
        return true;
    struct looking looking = {.screen = screen, .sql = sql, .length = length, .seen = at_hand};
    if (words > SEEN_AT_HAND)
        looking.seen = talloc_zero_array(NULL, uint64_t, words);
    if (!looking.seen)
        return true;
    bool holds = walk(&looking) || pair_seen(&looking);
    if (looking.seen != at_hand)
        talloc_free(looking.seen);
    return holds;
}

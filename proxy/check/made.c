/*
 * Transactions by their words, and the list of facts.
 */
#include "proxy/check/made.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

/* ---- transactions ---- */

void made_section(struct made *made, bool wrapped)
{
    made->in_transaction = wrapped;
    made->begun = made->n;
    made->held = (struct policy_held){.table = NULL};
}

/* The words of a transaction statement, comments aside, in capitals: "ROLLBACK TO SAVEPOINT A". */
static size_t words_of(const char *sql, size_t length, char *words, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < length && n + 2 < room;) {
        const char *rest = sql + i;
        if (length - i > 1 && memcmp(rest, "--", 2) == 0)
            while (i < length && sql[i] != '\n' && sql[i] != '\r')
                i++;
        else if (length - i > 1 && memcmp(rest, "/*", 2) == 0) {
            const char *end = memmem(rest + 2, length - i - 2, "*/", 2);
            i = end == NULL ? length : (size_t)(end - sql) + 2;
        } else if (isalnum((unsigned char)sql[i]) || sql[i] == '_') {
            while (i < length && (isalnum((unsigned char)sql[i]) || sql[i] == '_') && n + 2 < room)
                words[n++] = (char)toupper((unsigned char)sql[i++]);
            words[n++] = ' ';
        } else
            i++;
    }
    words[n] = '\0';
    return n;
}

bool made_transaction(struct made *made, const char *sql, size_t length, bool begins)
{
    char words[256];
    words_of(sql, length, words, sizeof words);
    if (begins) {
        if (!made->in_transaction)
            made->begun = made->n;
        made->in_transaction = true;
        return false;
    }
    bool undone = strncmp(words, "ROLLBACK ", 9) == 0 || strncmp(words, "ABORT ", 6) == 0;
    if (strncmp(words, "ROLLBACK PREPARED ", 18) == 0 || strncmp(words, "COMMIT PREPARED ", 16) == 0)
        return false;
    if (undone && strstr(words, " TO ") != NULL) { /* a savepoint: what was made since isn't told apart… */
        made->held.table = NULL;                   /* …and the lock may be gone */
        return false;
    }
    made->held.table = NULL;
    if (undone && made->in_transaction)
        made->n = made->begun;
    made->begun = made->n;
    made->in_transaction = strstr(words, " AND CHAIN ") != NULL;
    return true;
}

/* ---- facts ---- */

static bool matters(const struct facts *facts)
{
    static const char *const none[] = {"COMMENT",     "GRANT",          "REVOKE", "GRANT ROLE",
                                       "REVOKE ROLE", "SECURITY LABEL", NULL};
    for (size_t i = 0; facts->status == FACTS_OK && facts->tag != NULL && none[i] != NULL; i++) {
        if (strcmp(facts->tag, none[i]) == 0)
            return false;
    }
    return true;
}

void made_add(const void *talloc_parent, struct made *made, const struct facts *facts)
{
    if (!matters(facts))
        return;
    if ((made->n & (made->n - 1)) == 0) {
        size_t room = made->n == 0 ? 1 : 2 * made->n;
        const struct facts **more =
            talloc_realloc(talloc_parent, made->facts, const struct facts *, (unsigned)room);
        made->failed = made->failed || more == NULL;
        if (more == NULL)
            return;
        made->facts = more;
    }
    made->facts[made->n++] = facts;
}

void made_lock(const void *talloc_parent, struct made *made, const struct facts *facts,
               const struct verdict *verdict)
{
    if (!made->in_transaction || verdict->locked == NULL ||
        (made->held.table != NULL && verdict->locked_mode <= made->held.mode))
        return;
    made->held = (struct policy_held){.table = talloc_strdup(talloc_parent, verdict->locked),
                                      .by = talloc_strdup(talloc_parent, facts->tag),
                                      .mode = verdict->locked_mode};
    made->failed = made->failed || made->held.table == NULL || made->held.by == NULL;
}

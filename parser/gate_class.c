/*
 * Which words decide what a statement is. The lexer hands over words and the few other tokens that matter; a
 * small state machine (struct gate: mode, step) follows them until the class can't change any more.
 *
 * Invariant: once a statement's class is a judged one it stays so. What isn't recognised becomes GATE_OTHER
 * only where PostgreSQL's grammar (13 to 18) has no way from there to a statement that has to be judged, or
 * where analysis refuses it without executing anything; the reason stands at each place.
 */
#include "parser/gate_class.h"

#include <string.h>

enum key {
    KEY_NONE,
    KEY_ALTER,
    KEY_CREATE,
    KEY_DROP,
    KEY_TRUNCATE,
    KEY_COMMENT,
    KEY_GRANT,
    KEY_REVOKE,
    KEY_REINDEX,
    KEY_CLUSTER,
    KEY_REFRESH,
    KEY_SECURITY,
    KEY_REASSIGN,
    KEY_IMPORT,
    KEY_DO,
    KEY_BEGIN,
    KEY_START,
    KEY_COMMIT,
    KEY_END,
    KEY_ROLLBACK,
    KEY_ABORT,
    KEY_SET,
    KEY_RESET,
    KEY_DISCARD,
    KEY_SELECT,
    KEY_VALUES,
    KEY_TABLE,
    KEY_WITH,
    KEY_INSERT,
    KEY_UPDATE,
    KEY_DELETE,
    KEY_MERGE,
    KEY_EXPLAIN,
    KEY_EXECUTE,
    KEY_VACUUM,
    KEY_PREPARE,
    KEY_TRANSACTION,
    KEY_INTO,
    KEY_AS,
    KEY_FULL,
    KEY_OR,
    KEY_REPLACE,
    KEY_FUNCTION,
    KEY_PROCEDURE,
    KEY_ATOMIC
};

enum {
    KEY_MAX = 12, /* longer words are no keywords of ours */
    KEYS_A_LETTER = 10
};

struct word {
    char text[KEY_MAX];
    uint8_t key;
};

/* By first letter, the frequent ones first; an empty text ends a row. */
static const struct word words[26][KEYS_A_LETTER] = {
    ['a' - 'a'] = {{"as", KEY_AS}, {"alter", KEY_ALTER}, {"abort", KEY_ABORT}, {"atomic", KEY_ATOMIC}},
    ['b' - 'a'] = {{"begin", KEY_BEGIN}},
    ['c' - 'a'] = {{"commit", KEY_COMMIT},
                   {"create", KEY_CREATE},
                   {"comment", KEY_COMMENT},
                   {"cluster", KEY_CLUSTER}},
    ['d' - 'a'] = {{"delete", KEY_DELETE}, {"discard", KEY_DISCARD}, {"drop", KEY_DROP}, {"do", KEY_DO}},
    ['e' - 'a'] = {{"end", KEY_END}, {"explain", KEY_EXPLAIN}, {"execute", KEY_EXECUTE}},
    ['f' - 'a'] = {{"function", KEY_FUNCTION}, {"full", KEY_FULL}},
    ['g' - 'a'] = {{"grant", KEY_GRANT}},
    ['i' - 'a'] = {{"insert", KEY_INSERT}, {"into", KEY_INTO}, {"import", KEY_IMPORT}},
    ['m' - 'a'] = {{"merge", KEY_MERGE}},
    ['o' - 'a'] = {{"or", KEY_OR}},
    ['p' - 'a'] = {{"prepare", KEY_PREPARE}, {"procedure", KEY_PROCEDURE}},
    ['r' - 'a'] = {{"rollback", KEY_ROLLBACK},
                   {"reset", KEY_RESET},
                   {"replace", KEY_REPLACE},
                   {"refresh", KEY_REFRESH},
                   {"reindex", KEY_REINDEX},
                   {"revoke", KEY_REVOKE},
                   {"reassign", KEY_REASSIGN}},
    ['s' -
        'a'] = {{"select", KEY_SELECT}, {"set", KEY_SET}, {"start", KEY_START}, {"security", KEY_SECURITY}},
    ['t' - 'a'] = {{"table", KEY_TABLE}, {"truncate", KEY_TRUNCATE}, {"transaction", KEY_TRANSACTION}},
    ['u' - 'a'] = {{"update", KEY_UPDATE}},
    ['v' - 'a'] = {{"values", KEY_VALUES}, {"vacuum", KEY_VACUUM}},
    ['w' - 'a'] = {{"with", KEY_WITH}},
};

/* Keywords are folded as ASCII only, whatever the locale (scan.l, ScanKeywordLookup). Among the bytes that a
 * word is made of (letters, digits, '_', '$', 0x80 and above) setting 0x20 makes a letter of nothing but that
 * letter's capital. */
static enum key key_of(const char *text, uint32_t length)
{
    if (length >= KEY_MAX)
        return KEY_NONE;
    char folded[KEY_MAX] = {0};
    for (uint32_t i = 0; i < length; i++)
        folded[i] = (char)(text[i] | 0x20);
    unsigned letter = (unsigned char)folded[0] - (unsigned)'a';
    if (letter >= 26)
        return KEY_NONE;
    for (const struct word *word = words[letter]; word < words[letter] + KEYS_A_LETTER && word->text[0];
         word++)
        if (memcmp(word->text, folded, KEY_MAX) == 0)
            return word->key;
    return KEY_NONE;
}

static void settle(struct gate *gate, enum gate_class class)
{
    if (!gate_class_judged(gate->class))
        gate->class = (uint8_t) class;
    gate->mode = GATE_SETTLED;
}

static void follow(struct gate *gate, enum gate_mode mode)
{
    gate->mode = (uint8_t)mode;
    gate->step = 0;
}

/* ---- the first word --------------------------------------------------------------------------------- */

/* Not here, as nothing judged can come of them: INSERT UPDATE DELETE MERGE (a SELECT … INTO inside is
 * refused), COPY and DECLARE CURSOR (so is one there), EXECUTE and CALL (what they run was judged when it was
 * prepared or created), LOCK, ANALYZE, SAVEPOINT, RELEASE, SHOW, FETCH, LISTEN … */
static void lead(struct gate *gate, enum key key)
{
    switch (key) {
    case KEY_SELECT:
    case KEY_VALUES: /* a set operation may follow these two; INTO there is an error, so this says too much */
    case KEY_TABLE:
        follow(gate, GATE_INTO);
        return;
    case KEY_WITH:
        follow(gate, GATE_WITH);
        gate->with_depth = gate->depth;
        return;
    case KEY_CREATE:
        gate_class_judge(gate);
        follow(gate, GATE_CREATE);
        return;
    case KEY_EXPLAIN:
        follow(gate, GATE_EXPLAIN);
        return;
    case KEY_VACUUM:
        follow(gate, GATE_VACUUM);
        return;
    case KEY_PREPARE:
        follow(gate, GATE_PREPARE);
        return;
    case KEY_ALTER:
    case KEY_DROP:
    case KEY_TRUNCATE:
    case KEY_COMMENT:
    case KEY_GRANT:
    case KEY_REVOKE:
    case KEY_REINDEX:
    case KEY_CLUSTER:
    case KEY_REFRESH:
    case KEY_SECURITY:
    case KEY_REASSIGN:
    case KEY_IMPORT:
        settle(gate, GATE_DDL);
        return;
    case KEY_DO:
        settle(gate, GATE_DO);
        return;
    case KEY_BEGIN:
    case KEY_START:
        settle(gate, GATE_TRANSACTION_BEGIN);
        return;
    case KEY_COMMIT:
    case KEY_END:
    case KEY_ROLLBACK:
    case KEY_ABORT:
        settle(gate, GATE_TRANSACTION_END);
        return;
    case KEY_SET:
    case KEY_RESET:
    case KEY_DISCARD:
        settle(gate, GATE_SETTING);
        return;
    case KEY_EXECUTE:
        gate->executes = true;
        settle(gate, GATE_OTHER);
        return;
    default:
        settle(gate, GATE_OTHER);
    }
}

/* ---- words further in ------------------------------------------------------------------------------- */

enum with_step {
    WITH_LIST,  /* in the list of WITH */
    WITH_CLOSED /* behind a ')' on the list's own level */
};

/*
 * WITH a [(columns)] AS [[NOT] MATERIALIZED] (…) [SEARCH …] [CYCLE …], b AS (…) … statement
 *
 * The statement's first word follows directly on a ')' of the list's level, but for SEARCH and CYCLE, behind
 * which any word could be a column's name; from there (as from everything unforeseen) any INTO is taken for
 * that of SELECT … INTO. An INTO inside the list's parentheses is INSERT INTO, or is refused.
 */
static void with_word(struct gate *gate, enum key key)
{
    if (gate->depth != gate->with_depth)
        return;
    if (key == KEY_INTO) {
        settle(gate, GATE_DDL);
        return;
    }
    if (gate->step != WITH_CLOSED)
        return;
    if (key == KEY_AS)
        gate->step = WITH_LIST;
    else if (key == KEY_INSERT || key == KEY_UPDATE || key == KEY_DELETE || key == KEY_MERGE)
        settle(gate, GATE_OTHER);
    else
        follow(gate, GATE_INTO);
}

static void prepare_word(struct gate *gate, enum key key)
{
    /* PREPARE TRANSACTION 'name'; or PREPARE name [(types)] AS query, where the name may be "transaction".
     * The query may be a SELECT … INTO (from 15 on). */
    if (gate->depth > 0)
        return;
    if (key == KEY_AS) {
        settle(gate, GATE_OTHER);
        follow(gate, GATE_LEAD);
    } else if (gate->step == 0 && key == KEY_TRANSACTION) {
        settle(gate, GATE_TRANSACTION_END);
        follow(gate, GATE_PREPARE);
        gate->step = 1;
    }
}

static void create_word(struct gate *gate, enum key key)
{
    bool routine = key == KEY_FUNCTION || key == KEY_PROCEDURE;
    if (routine && gate->step != 1)
        follow(gate, GATE_ROUTINE);
    else if ((gate->step == 0 && key == KEY_OR) || (gate->step == 1 && key == KEY_REPLACE))
        gate->step++;
    else
        gate->mode = GATE_SETTLED;
}

/* Neither BEGIN nor ATOMIC is reserved, but outside parentheses no clause of CREATE FUNCTION has room for two
 * names side by side. */
static void routine_word(struct gate *gate, enum key key)
{
    if (gate->depth > 0)
        return;
    if (gate->step == 1 && key == KEY_ATOMIC) {
        gate->atomic_depth++;
        follow(gate, GATE_BODY);
        return;
    }
    gate->step = key == KEY_BEGIN;
}

/* Each statement of a body ends with ';', so the END that closes it stands behind a ';' or ATOMIC and nowhere
 * else (elsewhere it ends a CASE, or is a column's label). A body may hold a CREATE FUNCTION as far as the
 * grammar goes. */
static void body_word(struct gate *gate, enum key key)
{
    if (key == KEY_CREATE) {
        follow(gate, GATE_CREATE);
        return;
    }
    gate->mode = GATE_SETTLED;
    if (key != KEY_END)
        return;
    gate->atomic_depth--;
    follow(gate, GATE_ROUTINE);
}

/* CREATE TABLE AS, CREATE MATERIALIZED VIEW, REFRESH MATERIALIZED VIEW, SELECT … INTO; and, too much, INSERT
 * INTO and such words as names. EXECUTE stands behind the options, in front of any word that leads a query.
 */
static void explain_word(struct gate *gate, enum key key)
{
    if (key == KEY_CREATE || key == KEY_REFRESH || key == KEY_INTO)
        settle(gate, GATE_DDL);
    else if (gate->depth == 0 && key >= KEY_SELECT && key <= KEY_MERGE)
        gate->step = 1;
    else if (gate->depth == 0 && key == KEY_EXECUTE && gate->step == 0)
        gate->executes = true;
}

void gate_class_word(struct gate *gate, const char *text, uint32_t length)
{
    enum key key = key_of(text, length);
    switch ((enum gate_mode)gate->mode) {
    case GATE_SETTLED:
        break;
    case GATE_INTO:
        /* INTO is reserved. A data-modifying WITH, the one other place for it in a query, is refused but at
         * the top level, and there the lead is WITH. */
        if (key == KEY_INTO)
            settle(gate, GATE_DDL);
        break;
    case GATE_LEAD:
        lead(gate, key);
        break;
    case GATE_WITH:
        with_word(gate, key);
        break;
    case GATE_EXPLAIN:
        explain_word(gate, key);
        break;
    case GATE_VACUUM:
        if (key == KEY_FULL)
            settle(gate, GATE_DDL);
        break;
    case GATE_PREPARE:
        prepare_word(gate, key);
        break;
    case GATE_CREATE:
        create_word(gate, key);
        break;
    case GATE_ROUTINE:
        routine_word(gate, key);
        break;
    case GATE_BODY:
        body_word(gate, key);
        break;
    }
}

/* ---- other tokens ----------------------------------------------------------------------------------- */

static void with_token(struct gate *gate, enum gate_token token)
{
    switch (token) {
    case GATE_TOKEN_OPEN:
        if (gate->step == WITH_CLOSED && gate->depth == gate->with_depth + 1)
            follow(gate, GATE_INTO); /* WITH … (SELECT … INTO …) */
        break;
    case GATE_TOKEN_CLOSE:
        if (gate->depth == gate->with_depth)
            gate->step = WITH_CLOSED;
        else if (gate->depth < gate->with_depth)
            follow(gate, GATE_INTO);
        break;
    default:
        if (gate->depth == gate->with_depth)
            gate->step = WITH_LIST;
    }
}

void gate_class_token(struct gate *gate, enum gate_token token)
{
    switch ((enum gate_mode)gate->mode) {
    case GATE_LEAD:
        /* A statement starts with a word, or with parentheses around a query. */
        if (token != GATE_TOKEN_OPEN)
            settle(gate, GATE_OTHER);
        break;
    case GATE_WITH:
        with_token(gate, token);
        break;
    case GATE_VACUUM:
        /* VACUUM ("full"): an option's name may be quoted, or spelt with Unicode escapes. */
        if (token == GATE_TOKEN_QUOTED_NAME && gate->depth > 0)
            settle(gate, GATE_DDL);
        break;
    case GATE_CREATE:
    case GATE_BODY:
        gate->mode = GATE_SETTLED;
        break;
    case GATE_ROUTINE:
        gate->step = 0;
        break;
    case GATE_SETTLED:
    case GATE_INTO:
    case GATE_EXPLAIN:
    case GATE_PREPARE:
        break;
    }
}

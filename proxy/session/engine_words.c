/*
 * The words of SAVEPOINT, RELEASE and ROLLBACK, as far as an audited transaction has to be followed through
 * them, and of EXECUTE. A text that these few rules can't read is taken for no such command; the tag that the
 * server answers with (engine_trail.c) decides then.
 */
#include "proxy/session/engine_inside.h"

#include <ctype.h>
#include <strings.h>

struct cursor {
    const char *at, *end;
};

static void skip_comment(struct cursor *cursor)
{
    unsigned depth = 0;
    do {
        if (cursor->end - cursor->at >= 2 && cursor->at[0] == '/' && cursor->at[1] == '*') {
            depth++;
            cursor->at += 2;
        } else if (cursor->end - cursor->at >= 2 && cursor->at[0] == '*' && cursor->at[1] == '/') {
            depth--;
            cursor->at += 2;
        } else {
            cursor->at++;
        }
    } while (depth && cursor->at < cursor->end);
}

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end) {
        bool two = cursor->end - cursor->at >= 2;
        if (isspace((unsigned char)*cursor->at)) {
            cursor->at++;
        } else if (two && cursor->at[0] == '-' && cursor->at[1] == '-') {
            while (cursor->at < cursor->end && *cursor->at != '\n' && *cursor->at != '\r')
                cursor->at++;
        } else if (two && cursor->at[0] == '/' && cursor->at[1] == '*') {
            skip_comment(cursor);
        } else {
            break;
        }
    }
}

static bool word_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '_' || byte == '$' || (byte & 0x80);
}

static bool take_word(struct cursor *cursor, const char *word)
{
    size_t length = strlen(word);
    skip_space(cursor);
    if ((size_t)(cursor->end - cursor->at) < length || strncasecmp(cursor->at, word, length) != 0)
        return false;
    if ((size_t)(cursor->end - cursor->at) > length && word_byte(cursor->at[length]))
        return false;
    cursor->at += length;
    return true;
}

/* An identifier, folded to lower case unless it is quoted, cut to 63 bytes. */
static void take_name(struct cursor *cursor, struct prepared_name *name)
{
    size_t n = 0;
    *name = (struct prepared_name){{0}};
    skip_space(cursor);
    bool quoted = cursor->at < cursor->end && *cursor->at == '"';
    cursor->at += quoted;
    for (; cursor->at < cursor->end; cursor->at++) {
        char byte = *cursor->at;
        if (quoted && byte == '"' && !(cursor->end - cursor->at >= 2 && *++cursor->at == '"'))
            break;
        if (!quoted && !word_byte(byte))
            break;
        if (n + 1 < sizeof name->text)
            name->text[n++] = quoted || (byte & 0x80) ? byte : (char)tolower((unsigned char)byte);
    }
}

/* At the first word of a text: statements that are empty stand in front of it. */
static struct cursor cursor_of(const char *text, size_t length)
{
    struct cursor cursor = {text, text + length};
    skip_space(&cursor);
    while (cursor.at < cursor.end && *cursor.at == ';') {
        cursor.at++;
        skip_space(&cursor);
    }
    return cursor;
}

/* The options of EXPLAIN in parentheses: is ANALYZE among them? Told twice, the last one counts on the
 * server; here it counts if it is on once. A name in quotes may be it. */
static bool take_options(struct cursor *cursor)
{
    bool analyze = false;
    cursor->at++;
    while (cursor->at < cursor->end && *cursor->at != ')') {
        if (take_word(cursor, "analyze") || take_word(cursor, "analyse"))
            analyze = analyze ||
                      !(take_word(cursor, "off") || take_word(cursor, "false") || take_word(cursor, "0"));
        else if (cursor->at < cursor->end && *cursor->at != ')')
            analyze = *cursor->at++ == '"' || analyze;
    }
    cursor->at += cursor->at < cursor->end;
    return analyze;
}

static bool take_explain(struct cursor *cursor)
{
    bool analyze = false;
    skip_space(cursor);
    if (cursor->at < cursor->end && *cursor->at == '(')
        return take_options(cursor);
    for (;;) {
        if (take_word(cursor, "analyze") || take_word(cursor, "analyse"))
            analyze = true;
        else if (!take_word(cursor, "verbose"))
            return analyze;
    }
}

enum word_execution word_execute(const char *text, size_t length, struct prepared_name *name)
{
    struct cursor cursor = cursor_of(text, length);
    enum word_execution execution = EXECUTION_RUNS;
    if (cursor.at == cursor.end || (*cursor.at | 0x20) != 'e')
        return EXECUTION_NONE;
    if (take_word(&cursor, "explain"))
        execution = take_explain(&cursor) ? EXECUTION_ANALYZED : EXECUTION_NONE;
    if (execution == EXECUTION_NONE || !take_word(&cursor, "execute"))
        return EXECUTION_NONE;
    take_name(&cursor, name);
    bool escapes = strcmp(name->text, "u") == 0 && cursor.at < cursor.end && *cursor.at == '&';
    return escapes ? EXECUTION_UNREADABLE : execution;
}

bool word_makes_table(const char *text, size_t length)
{
    static const char *const kinds[] = {"global", "local", "temporary", "temp", "unlogged"};
    struct cursor cursor = cursor_of(text, length);
    if (cursor.at == cursor.end)
        return false;
    if (!take_word(&cursor, "create"))
        return *cursor.at == '(' || take_word(&cursor, "select") || take_word(&cursor, "with");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        (void)take_word(&cursor, kinds[i]);
    return take_word(&cursor, "table") || take_word(&cursor, "materialized");
}

enum word_command word_of(const char *text, size_t length, struct prepared_name *name)
{
    struct cursor cursor = cursor_of(text, length);
    *name = (struct prepared_name){{0}};
    if (cursor.at == cursor.end || !strchr("sSrRaA", *cursor.at))
        return WORD_NONE;
    if (take_word(&cursor, "savepoint")) {
        take_name(&cursor, name);
        return WORD_SAVEPOINT;
    }
    if (take_word(&cursor, "release")) {
        (void)take_word(&cursor, "savepoint");
        take_name(&cursor, name);
        return WORD_RELEASE;
    }
    if (!take_word(&cursor, "rollback") && !take_word(&cursor, "abort"))
        return WORD_NONE;
    if (!take_word(&cursor, "work"))
        (void)take_word(&cursor, "transaction");
    if (!take_word(&cursor, "to"))
        return WORD_ROLLBACK;
    (void)take_word(&cursor, "savepoint");
    take_name(&cursor, name);
    return WORD_ROLLBACK_TO;
}

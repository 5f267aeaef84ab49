/*
 * See test_gate_model.h.
 */
#include "test_gate_model.h"

#include <jansson.h>
#include <pg_query.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char message[512];

/* ---- the gate --------------------------------------------------------------------------------------- */

void gate_list_of(struct gate_list *list, const uint8_t *text, size_t n, bool scs,
                  enum text_encoding encoding, gate_cut *cut, void *context)
{
    struct gate gate;
    gate_init(&gate, scs, encoding);
    list->n = 0;
    for (size_t done = 0; done < n;) {
        size_t piece = cut ? cut(context, n - done) : n - done;
        /* a copy of its own size, so that a read behind it is seen by the sanitizers */
        uint8_t *copy = malloc(piece ? piece : 1);
        if (!copy)
            abort();
        memcpy(copy, text + done, piece);
        for (size_t taken = 0; taken < piece;) {
            struct gate_statement statement;
            bool found;
            taken += gate_scan(&gate, copy + taken, piece - taken, &statement, &found);
            if (found && list->n < GATE_LIST_MAX)
                list->statements[list->n++] = statement;
        }
        free(copy);
        done += piece;
    }
    struct gate_statement last;
    if (gate_finish(&gate, &last, &list->unterminated) && list->n < GATE_LIST_MAX)
        list->statements[list->n++] = last;
    list->backslash = gate.backslash;
    list->high = gate.high;
    list->offset = gate.offset;
}

const char *gate_list_difference(const struct gate_list *a, const struct gate_list *b)
{
    if (a->n != b->n || a->unterminated != b->unterminated || a->backslash != b->backslash ||
        a->high != b->high || a->offset != b->offset) {
        snprintf(message, sizeof message,
                 "statements %zu %zu, unterminated %d %d, backslash %d %d, high %d %d", a->n, b->n,
                 a->unterminated, b->unterminated, a->backslash, b->backslash, a->high, b->high);
        return message;
    }
    for (size_t i = 0; i < a->n; i++) {
        const struct gate_statement *x = &a->statements[i], *y = &b->statements[i];
        if (x->start != y->start || x->end != y->end || x->class != y->class || x->index != y->index) {
            snprintf(message, sizeof message,
                     "statement %zu: %llu-%llu class %d index %u, %llu-%llu class %d index %u", i,
                     (unsigned long long)x->start, (unsigned long long)x->end, x->class, x->index,
                     (unsigned long long)y->start, (unsigned long long)y->end, y->class, y->index);
            return message;
        }
    }
    return NULL;
}

/* ---- tokens ----------------------------------------------------------------------------------------- */

struct token {
    size_t start, end;
    bool end_unknown;
};

struct tokens {
    struct token *list;
    size_t n, room;
    bool commented; /* a comment stood behind the last token */
    bool deviates;
};

static bool is_string(const char *text, const struct token *token)
{
    const char *quote = strchr(text + token->start, '\'');
    return quote && (quote == text + token->start ||
                     strspn(text + token->start, "eEbBxXuU&") == (size_t)(quote - text - token->start));
}

static uint64_t varint(const uint8_t **p, const uint8_t *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t byte = *(*p)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    return value;
}

/* ScanToken of pg_query.proto: 1 start, 2 end, further numbers. */
static struct token token_of(const uint8_t *p, const uint8_t *end)
{
    struct token token = {0};
    while (p < end) {
        uint64_t field = varint(&p, end), value = varint(&p, end);
        if (field >> 3 == 1)
            token.start = (size_t)value;
        else if (field >> 3 == 2)
            token.end = (size_t)value;
    }
    return token;
}

static void keep_token(struct tokens *tokens, struct token token, const char *text)
{
    const char *at = text + token.start;
    if (strncasecmp(at, "u&\"", 3) == 0 || strncasecmp(at, "u&'", 3) == 0) {
        token.end = token.start + 1;
        token.end_unknown = true; /* libpg_query 15 gives a wrong one */
    }
    if (token.end >= token.start + 2 && (strncmp(at, "--", 2) == 0 || strncmp(at, "/*", 2) == 0)) {
        tokens->commented = true;
        return;
    }
    /* For PostgreSQL a string goes on behind a line comment, for libpg_query 15 it doesn't. */
    if (tokens->commented && *at == '\'' && tokens->n > 0 && is_string(text, &tokens->list[tokens->n - 1]))
        tokens->deviates = true;
    if (*at == '\v') /* white space from PostgreSQL 16 on, before that a syntax error */
        tokens->deviates = true;
    tokens->commented = false;
    if (tokens->n == tokens->room) {
        tokens->room = tokens->room ? tokens->room * 2 : 64;
        tokens->list = realloc(tokens->list, tokens->room * sizeof *tokens->list);
        if (!tokens->list)
            abort();
    }
    tokens->list[tokens->n++] = token;
}

/* ScanResult: 1 version, 2 tokens. Comments are left out. False: the lexer refuses the text, or can't be
 * trusted. */
static bool scan_tokens(const char *text, struct tokens *tokens)
{
    PgQueryScanResult result = pg_query_scan(text);
    bool valid = result.error == NULL;
    const uint8_t *p = (const uint8_t *)result.pbuf.data, *end = valid ? p + result.pbuf.len : p;
    while (p < end) {
        uint64_t field = varint(&p, end), value = varint(&p, end);
        if ((field & 7) != 2)
            continue;
        keep_token(tokens, token_of(p, p + value), text);
        p += value;
    }
    pg_query_free_scan_result(result);
    return valid && !tokens->deviates;
}

/* ---- statements ------------------------------------------------------------------------------------- */

static size_t split_tokens(const char *text, const struct tokens *tokens, struct token *statements)
{
    size_t n = 0, depth = 0;
    bool open = false;
    for (size_t i = 0; i < tokens->n; i++) {
        struct token token = tokens->list[i];
        char single = 0;
        if (token.end - token.start == 1)
            single = text[token.start];
        if (single == ';' && depth == 0) {
            open = false;
            continue;
        }
        depth += single == '(';
        depth -= single == ')' && depth > 0;
        if (!open && n == GATE_LIST_MAX)
            break;
        if (!open)
            statements[n++] = token;
        statements[n - 1].end = token.end;
        statements[n - 1].end_unknown = token.end_unknown;
        open = true;
    }
    return n;
}

/* The parser's pieces, without the white space and comments around them. SIZE_MAX: it refuses the text. */
static size_t split_parser(const char *text, const struct tokens *tokens, struct token *statements)
{
    PgQuerySplitResult result = pg_query_split_with_parser(text);
    size_t n = 0;
    if (result.error) {
        pg_query_free_split_result(result);
        return SIZE_MAX;
    }
    for (int i = 0; i < result.n_stmts && n < GATE_LIST_MAX; i++) {
        size_t from = (size_t)result.stmts[i]->stmt_location, to = from + (size_t)result.stmts[i]->stmt_len;
        bool open = false;
        for (size_t t = 0; t < tokens->n; t++) {
            if (tokens->list[t].start < from || tokens->list[t].end > to)
                continue;
            if (!open)
                statements[n++] = tokens->list[t];
            statements[n - 1].end = tokens->list[t].end;
            statements[n - 1].end_unknown = tokens->list[t].end_unknown;
            open = true;
        }
    }
    pg_query_free_split_result(result);
    return n;
}

static const char *compare_places(const struct gate_list *list, const struct token *statements, size_t n,
                                  const char *who)
{
    if (list->n != n) {
        snprintf(message, sizeof message, "the gate finds %zu statements, the %s %zu", list->n, who, n);
        return message;
    }
    for (size_t i = 0; i < n; i++) {
        if (list->statements[i].start == statements[i].start &&
            (list->statements[i].end == statements[i].end || statements[i].end_unknown))
            continue;
        snprintf(message, sizeof message, "statement %zu: the gate says %llu-%llu, the %s %zu-%zu", i,
                 (unsigned long long)list->statements[i].start, (unsigned long long)list->statements[i].end,
                 who, statements[i].start, statements[i].end);
        return message;
    }
    return NULL;
}

/* ---- what must be judged ---------------------------------------------------------------------------- */

static const struct {
    const char *node;
    int class; /* -1: judged only for what is inside */
} nodes[] = {
    {"SelectStmt", -1},
    {"ExplainStmt", -1},
    {"PrepareStmt", -1},
    {"VacuumStmt", -1},
    {"DoStmt", GATE_DO},
    {"InsertStmt", GATE_OTHER},
    {"UpdateStmt", GATE_OTHER},
    {"DeleteStmt", GATE_OTHER},
    {"MergeStmt", GATE_OTHER},
    {"VariableShowStmt", GATE_OTHER},
    {"ExecuteStmt", GATE_OTHER},
    {"DeallocateStmt", GATE_OTHER},
    {"DeclareCursorStmt", GATE_OTHER},
    {"FetchStmt", GATE_OTHER},
    {"ClosePortalStmt", GATE_OTHER},
    {"CopyStmt", GATE_OTHER},
    {"CallStmt", GATE_OTHER},
    {"LockStmt", GATE_OTHER},
    {"NotifyStmt", GATE_OTHER},
    {"ListenStmt", GATE_OTHER},
    {"UnlistenStmt", GATE_OTHER},
    {"CheckPointStmt", GATE_OTHER},
    {"LoadStmt", GATE_OTHER},
    {"VariableSetStmt", GATE_SETTING},
    {"DiscardStmt", GATE_SETTING},
    {"ConstraintsSetStmt", GATE_SETTING},
};

static bool has_into(const json_t *select)
{
    for (; select; select = json_object_get(select, "larg")) {
        if (json_object_get(select, "SelectStmt"))
            select = json_object_get(select, "SelectStmt");
        if (json_object_get(select, "intoClause"))
            return true;
    }
    return false;
}

static int class_of_transaction(const json_t *node)
{
    const char *kind = json_string_value(json_object_get(node, "kind"));
    if (!kind)
        return GATE_OTHER;
    if (strcmp(kind, "TRANS_STMT_BEGIN") == 0 || strcmp(kind, "TRANS_STMT_START") == 0)
        return GATE_TRANSACTION_BEGIN;
    if (strcmp(kind, "TRANS_STMT_SAVEPOINT") == 0 || strcmp(kind, "TRANS_STMT_RELEASE") == 0)
        return GATE_OTHER;
    return GATE_TRANSACTION_END;
}

/* The class that a statement has to have. */
static int class_of(const json_t *statement)
{
    void *entry = json_object_iter((json_t *)statement);
    if (!entry)
        return GATE_OTHER;
    const char *node = json_object_iter_key(entry);
    const json_t *value = json_object_iter_value(entry);
    if (strcmp(node, "TransactionStmt") == 0)
        return class_of_transaction(value);
    size_t i = 0;
    while (i < sizeof nodes / sizeof *nodes && strcmp(nodes[i].node, node) != 0)
        i++;
    if (i == sizeof nodes / sizeof *nodes)
        return GATE_DDL;
    if (nodes[i].class >= 0)
        return nodes[i].class;
    if (strcmp(node, "SelectStmt") == 0)
        return has_into(value) ? GATE_DDL : GATE_OTHER;
    if (strcmp(node, "VacuumStmt") != 0)
        return gate_class_judged((enum gate_class)class_of(json_object_get(value, "query"))) ? GATE_DDL
                                                                                             : GATE_OTHER;
    size_t o;
    json_t *option;
    json_array_foreach(json_object_get(value, "options"), o, option)
    {
        const char *name = json_string_value(json_object_get(json_object_get(option, "DefElem"), "defname"));
        if (name && strcmp(name, "full") == 0)
            return GATE_DDL;
    }
    return GATE_OTHER;
}

static const char *compare_classes(const struct gate_list *list, const char *text)
{
    PgQueryParseResult result = pg_query_parse(text);
    const char *why = NULL;
    json_t *root = result.error ? NULL : json_loads(result.parse_tree, 0, NULL);
    const json_t *statements = json_object_get(root, "stmts");
    for (size_t i = 0; i < json_array_size(statements) && i < list->n && !why; i++) {
        int want = class_of(json_object_get(json_array_get(statements, i), "stmt"));
        int got = list->statements[i].class;
        /* too much is allowed where nothing but a query or the like is taken for DDL */
        if (got == want || (got == GATE_DDL && want == GATE_OTHER))
            continue;
        snprintf(message, sizeof message, "statement %zu has class %d, must have %d", i, got, want);
        why = message;
    }
    json_decref(root);
    pg_query_free_parse_result(result);
    return why;
}

enum model_verdict gate_model_compare(const struct gate_list *list, const char *text, const char **why,
                                      bool *parsed)
{
    struct tokens tokens = {0};
    struct token statements[GATE_LIST_MAX];
    *why = NULL;
    if (parsed)
        *parsed = false;
    if (!scan_tokens(text, &tokens)) {
        free(tokens.list);
        return MODEL_REFUSES;
    }
    size_t n = split_parser(text, &tokens, statements);
    if (n != SIZE_MAX) {
        if (parsed)
            *parsed = true;
        *why = compare_places(list, statements, n, "parser");
        if (!*why)
            *why = compare_classes(list, text);
    } else if (!strcasestr(text, "atomic")) {
        /* the tokens alone don't tell a function's body */
        n = split_tokens(text, &tokens, statements);
        *why = compare_places(list, statements, n, "lexer");
    }
    if (!*why && list->unterminated)
        *why = "the gate calls it unterminated";
    free(tokens.list);
    return *why ? MODEL_DIFFERS : MODEL_AGREES;
}

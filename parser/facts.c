/*
 * facts_of(): one statement's text to struct facts. The order is: bounds, a copy that libpg_query can read,
 * its tokens, its tree, and then the reader for the kind of statement found.
 */
#include "parser/facts.h"
#include "parser/facts_create.h"
#include "parser/facts_objects.h"

#include <string.h>
#include <talloc.h>

static const struct {
    const char *kind;
    void (*read)(struct reader *, json_t *inside);
} readers[] = {{"AlterTableStmt", facts_alter_table},
               {"RenameStmt", facts_rename},
               {"AlterObjectSchemaStmt", facts_set_schema},
               {"AlterOwnerStmt", facts_set_owner},
               {"CreateStmt", facts_create_table},
               {"CreateForeignTableStmt", facts_create_foreign_table},
               {"CreateTableAsStmt", facts_create_table_as},
               {"SelectStmt", facts_select},
               {"ExplainStmt", facts_explain},
               {"IndexStmt", facts_create_index},
               {"DropStmt", facts_drop},
               {"TruncateStmt", facts_truncate},
               {"DoStmt", facts_do},
               {"CreateFunctionStmt", facts_create_function},
               {"GrantStmt", facts_grant},
               {"GrantRoleStmt", facts_grant_role},
               {"AlterDefaultPrivilegesStmt", facts_default_privileges},
               {"DefineStmt", facts_define},
               {"AlterFunctionStmt", facts_alter_function},
               {"AlterTableMoveAllStmt", facts_move_all},
               {"VacuumStmt", facts_vacuum},
               {"ReindexStmt", facts_reindex},
               {"TransactionStmt", facts_transaction},
               {"VariableSetStmt", facts_set},
               {"DiscardStmt", facts_discard}};

static void fail(struct facts *facts, enum facts_status status, const char *error, int place)
{
    facts->status = status;
    facts->error = error;
    facts->error_place = place;
}

/* ---- the text --------------------------------------------------------------------------------------- */

static bool check_text(struct facts *facts, const char *text, size_t length)
{
    size_t good = text_valid_utf8(text, length);
    const char *nul = memchr(text, '\0', good);
    if (nul)
        fail(facts, FACTS_SYNTAX, "the text holds a NUL byte", (int)(nul - text));
    else if (good < length)
        fail(facts, FACTS_SYNTAX, "the text is not valid UTF-8", (int)good);
    return facts->status == FACTS_OK;
}

/* ---- comments: the waiver ------------------------------------------------------------------------------ */

enum { NOT_WAIVER_SHOWN = 60 };

/* A comment from behind its opening. */
static void read_comment(struct reader *r, const char *from, const char *to)
{
    static const char words[] = "pgsluice: allow", name[] = "pgsluice";
    while (from < to && strchr(" \t\r\n*", *from))
        from++;
    while (to > from && strchr(" \t\r\n", to[-1]))
        to--;
    size_t length = (size_t)(to - from);
    bool waives = length >= sizeof words && strncasecmp(from, words, sizeof words - 1) == 0 &&
                  strchr(" \t\r\n", from[sizeof words - 1]);
    if (!waives && !r->facts->not_waiver && length >= sizeof name &&
        strncasecmp(from, name, sizeof name - 1) == 0)
        r->facts->not_waiver = reader_slice(r, from, length < NOT_WAIVER_SHOWN ? length : NOT_WAIVER_SHOWN);
    if (!waives)
        return;
    from += sizeof words - 1;
    while (from < to && strchr(" \t\r\n", *from))
        from++;
    if (from < to)
        r->facts->waiver = reader_slice(r, from, (size_t)(to - from));
}

static void read_waiver(struct reader *r)
{
    const struct source *source = r->source;
    for (size_t i = 0; i < source->tokens.n_comments && !r->facts->waiver; i++) {
        const char *from = source->text + source->tokens.comments[i].start + 2;
        const char *to = source->text + source->tokens.comments[i].end;
        read_comment(r, from, from[-1] == '*' ? to - 2 : to);
    }
    for (size_t i = 0; i < source->n_blanked && !r->facts->waiver; i++)
        read_comment(r, source->blanked[i] + 2, source->blanked[i] + strlen(source->blanked[i]));
}

static void read_long_name(struct reader *r)
{
    const struct tokens *tokens = &r->source->tokens;
    for (size_t i = 0; i < tokens->n && r->facts->long_name_place < 0; i++) {
        const struct token *token = &tokens->items[i];
        if (token->kind != TOKEN_WORD && token->kind != TOKEN_QUOTED)
            continue;
        if (token_identifier_length(r->source->text, token) > 63)
            r->facts->long_name_place = reader_place(r, token->start);
    }
}

/* ---- the tree --------------------------------------------------------------------------------------- */

static void read_statement(struct reader *r, json_t *statement)
{
    json_t *inside;
    const char *kind = tree_kind(tree_child(statement, "stmt"), &inside);
    size_t i = 0, n = sizeof readers / sizeof *readers;
    while (i < n && strcmp(readers[i].kind, kind) != 0)
        i++;
    if (i < n)
        readers[i].read(r, inside);
    else if (!facts_other(r, kind, inside))
        r->facts->kind = STATEMENT_OTHER;
    if (r->facts->kind == STATEMENT_QUERY || r->facts->kind == STATEMENT_OTHER)
        facts_row_users(r, kind, inside);
}

static json_t *parse(struct reader *r, struct source *source)
{
    struct parse_error error;
    json_t *tree = parse_tree(r->facts, source, &error);
    if (tree || error.status != FACTS_SYNTAX) {
        if (!tree)
            fail(r->facts, error.status, error.message, -1);
        return tree;
    }
    fail(r->facts, FACTS_SYNTAX, error.message, source_place(source, error.place));
    if (source_stored_for_virtual(source))
        tree = parse_tree(r->facts, source, &error);
    if (tree)
        fail(r->facts, FACTS_OK, NULL, -1);
    return tree;
}

static void read_source(struct reader *r, struct source *source)
{
    if (!source_scan(source))
        source->tokens = (struct tokens){0};
    read_waiver(r);
    read_long_name(r);
    json_t *tree = parse(r, source);
    if (!tree)
        return;
    json_t *statements = tree_list(tree, "stmts");
    if (json_array_size(statements) > 1)
        fail(r->facts, FACTS_SYNTAX, "the text holds more than one statement", -1);
    else if (json_array_size(statements) == 1)
        read_statement(r, json_array_get(statements, 0));
    json_decref(tree);
    if (r->facts->status == FACTS_OK && r->level == 0)
        r->facts->fingerprint = parse_fingerprint(source);
}

static struct facts *facts_new(const void *parent)
{
    struct facts *facts = talloc_zero(parent, struct facts);
    if (!facts)
        return NULL;
    facts->error_place = facts->object.place = facts->index_table.place = facts->long_name_place = -1;
    facts->index_rest = facts->index_end = -1;
    facts->kind = STATEMENT_OTHER;
    facts->tag = facts->object_kind = facts->identity = "";
    return facts;
}

static const char out_of_memory[] = "out of memory";

/* Memory ran out on the way: nothing of what was read is to be relied upon. */
static struct facts *facts_fault(const void *parent, struct facts *facts)
{
    talloc_free(facts);
    facts = facts_new(parent);
    if (facts)
        fail(facts, FACTS_FAULT, out_of_memory, -1);
    return facts;
}

bool facts_out_of_memory(const struct facts *facts)
{
    return facts->error == out_of_memory;
}

struct facts *facts_at_level(const void *parent, const char *text, size_t length, bool scs, unsigned level,
                             struct budget *budget)
{
    struct facts *facts = facts_new(parent);
    if (!facts || !check_text(facts, text, length))
        return facts;
    for (size_t i = 0; i < length && !facts->high_bytes; i++)
        facts->high_bytes = (unsigned char)text[i] >= 0x80;
    facts->replaced = facts->high_bytes && memmem(text, length, "\xef\xbf\xbd", 3);
    struct source *source = source_new(facts, text, length, scs);
    struct reader reader = {.facts = facts, .source = source, .level = level, .budget = budget, .scs = scs};
    if (!source)
        return facts_fault(parent, facts);
    read_source(&reader, source);
    talloc_free(source);
    return reader.failed ? facts_fault(parent, facts) : facts;
}

struct facts *facts_of(const void *parent, const char *text, size_t length, size_t limit, bool scs)
{
    struct budget budget = {.statements = 1000, .bytes = 2 * PARSER_TEXT_MAX};
    if (length <= limit && length <= PARSER_TEXT_MAX)
        return facts_at_level(parent, text, length, scs, 0, &budget);
    struct facts *facts = facts_new(parent);
    if (facts)
        fail(facts, FACTS_TOO_LONG, "the statement is longer than is judged", -1);
    return facts;
}

/*
 * Text to YAML nodes, through libyaml. The text is walked twice: first as events, where the limits are kept
 * (nesting, anchors, one document, no tags), then into a document whose nodes carry line and column. In a
 * document an alias is the very node it names, so aliases of aliases cost nothing, and a node may even hold
 * itself: whoever walks it must be led by the schema, never by the nodes.
 */
#include "conf/reader.h"

#include <string.h>

static void parser_start(yaml_parser_t *parser, const char *text, size_t length)
{
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, length);
}

/* The byte that libyaml stumbled over, or 0. Its mark's index counts characters, so the line is looked up. */
static char byte_at(const char *text, size_t length, yaml_mark_t mark)
{
    size_t at = 0;
    for (size_t i = 0; i < mark.index && at < length; i++) {
        at++;
        while (at < length && ((unsigned char)text[at] & 0xc0) == 0x80)
            at++;
    }
    return at < length ? text[at] : '\0';
}

static void syntax_mistake(struct reader *reader, const yaml_parser_t *parser, const char *text,
                           size_t length)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        reader_no_memory(reader);
        return;
    }
    yaml_mark_t mark = parser->error == YAML_READER_ERROR ? parser->mark : parser->problem_mark;
    unsigned line = (unsigned)mark.line + 1, column = (unsigned)mark.column + 1;
    const char *problem = parser->problem ? parser->problem : "unreadable";
    char stumbled = byte_at(text, length, mark);
    if (parser->error == YAML_SCANNER_ERROR && stumbled == '\t')
        reader_mistake(reader, line, column, NULL, "a tab cannot stand here; indent with spaces");
    else if (parser->error == YAML_PARSER_ERROR && stumbled == ':')
        reader_mistake(reader, line, column, NULL,
                       "a value cannot begin with a colon; put it in quotes: '::1'");
    else if (parser->context)
        reader_mistake(reader, line, column, NULL, "not YAML: %s, %s that begins on line %zu", problem,
                       parser->context, parser->context_mark.line + 1);
    else
        reader_mistake(reader, line, column, NULL, "not YAML: %s", problem);
}

struct scan {
    unsigned depth, anchors, documents;
};

static bool scan_tag(struct reader *reader, const yaml_event_t *event, const yaml_char_t *tag)
{
    if (!tag || strcmp((const char *)tag, "!") == 0)
        return true;
    char quoted[READER_QUOTE];
    reader_mistake(reader, (unsigned)event->start_mark.line + 1, (unsigned)event->start_mark.column + 1, NULL,
                   "the tag %s means nothing here; leave it out",
                   reader_quote(quoted, (const char *)tag, strlen((const char *)tag)));
    return false;
}

/* NULL: within the limits. */
static const char *scan_event(struct scan *scan, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    if (event->type == YAML_DOCUMENT_START_EVENT && ++scan->documents > 1)
        return "a second YAML document begins here; a configuration is one";
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT)
        scan->depth--;
    if (event->type == YAML_SCALAR_EVENT)
        anchor = event->data.scalar.anchor;
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.anchor
                                                         : event->data.sequence_start.anchor;
        if (++scan->depth > READER_DEPTH)
            return "nested too deeply";
    }
    if (anchor && ++scan->anchors > READER_ANCHORS)
        return "too many anchors";
    return NULL;
}

static bool scan_one(struct reader *reader, struct scan *scan, const yaml_event_t *event)
{
    const char *limit = scan_event(scan, event);
    if (limit) {
        reader_mistake(reader, (unsigned)event->start_mark.line + 1, (unsigned)event->start_mark.column + 1,
                       NULL, "%s", limit);
        return false;
    }
    if (event->type == YAML_SCALAR_EVENT)
        return scan_tag(reader, event, event->data.scalar.tag);
    if (event->type == YAML_SEQUENCE_START_EVENT)
        return scan_tag(reader, event, event->data.sequence_start.tag);
    if (event->type == YAML_MAPPING_START_EVENT)
        return scan_tag(reader, event, event->data.mapping_start.tag);
    return true;
}

static bool scan_events(struct reader *reader, yaml_parser_t *parser, const char *text, size_t length)
{
    struct scan scan = {0};
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            syntax_mistake(reader, parser, text, length);
            return false;
        }
        bool fine = scan_one(reader, &scan, &event);
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (!fine)
            return false;
    }
    return true;
}

static bool within_limits(struct reader *reader, const char *text, size_t length)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        reader_no_memory(reader);
        return false;
    }
    parser_start(&parser, text, length);
    bool fine = scan_events(reader, &parser, text, length);
    yaml_parser_delete(&parser);
    return fine;
}

bool document_load(struct reader *reader, const char *text, size_t length, yaml_document_t *document)
{
    if (!within_limits(reader, text, length))
        return false;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        reader_no_memory(reader);
        return false;
    }
    parser_start(&parser, text, length);
    bool fine = yaml_parser_load(&parser, document) != 0;
    if (!fine)
        syntax_mistake(reader, &parser, text, length);
    yaml_parser_delete(&parser);
    return fine;
}

bool document_is_word(const yaml_node_t *node, const char *word)
{
    size_t length = strlen(word);
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == length &&
           memcmp(node->data.scalar.value, word, length) == 0;
}

bool document_is_null(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return document_is_word(node, "") || document_is_word(node, "~") || document_is_word(node, "null");
}

const yaml_node_t *document_child(struct reader *reader, const yaml_node_t *node, const char *key)
{
    if (!node || node->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *name = yaml_document_get_node(reader->document, pair->key);
        if (name && document_is_word(name, key))
            return yaml_document_get_node(reader->document, pair->value);
    }
    return NULL;
}

const yaml_node_t *document_item(struct reader *reader, const yaml_node_t *list, size_t index)
{
    if (!list || list->type != YAML_SEQUENCE_NODE)
        return NULL;
    const yaml_node_item_t *item = list->data.sequence.items.start;
    if (index >= (size_t)(list->data.sequence.items.top - item))
        return NULL;
    return yaml_document_get_node(reader->document, item[index]);
}

/*
 * Nodes into a snapshot, led by the schema. Every reader here goes on after a mistake: the caller learns of
 * it from the list, never from a result.
 */
#include "conf/schema.h"

#include <assert.h>
#include <string.h>
#include <talloc.h>

enum { MAX_FIELDS = 32 };

/* The node's text, NUL-terminated, or NULL after a mistake. libyaml terminates every scalar. */
static const char *scalar(struct reader *reader, const yaml_node_t *node, const struct place *place,
                          const char *expected)
{
    if (node->type != YAML_SCALAR_NODE) {
        reader_mistake_at(reader, node, place, "expected %s, not a %s", expected,
                          node->type == YAML_MAPPING_NODE ? "mapping" : "list");
        return NULL;
    }
    if (document_is_null(node)) {
        reader_mistake_at(reader, node, place, "the value is missing; expected %s", expected);
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    if (strlen(text) != node->data.scalar.length) {
        reader_mistake_at(reader, node, place, "holds a NUL character");
        return NULL;
    }
    return text;
}

static void read_string(struct reader *reader, const struct field *field, const yaml_node_t *node,
                        const struct place *place, const char **target)
{
    const char *text = scalar(reader, node, place, "a text");
    if (!text)
        return;
    const char *wrong = field->wrong ? field->wrong(text) : NULL;
    if (wrong) {
        reader_mistake_at(reader, node, place, "%s", wrong);
        return;
    }
    *target = talloc_strdup(reader->conf, text);
    if (!*target)
        reader_no_memory(reader);
}

static void read_bool(struct reader *reader, const yaml_node_t *node, const struct place *place, bool *target)
{
    const char *text = scalar(reader, node, place, "true or false");
    if (!text)
        return;
    char quoted[READER_QUOTE];
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        reader_mistake_at(reader, node, place, "expected true or false, not %s",
                          reader_quote(quoted, text, strlen(text)));
    *target = strcmp(text, "true") == 0;
}

/* Digits only; false also for what does not fit. */
static bool whole_number(const char *text, uint64_t *value)
{
    if (!*text)
        return false;
    for (*value = 0; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*text - '0'), value))
            return false;
    }
    return true;
}

static bool read_number(struct reader *reader, const yaml_node_t *node, const struct place *place,
                        const char *what, uint64_t low, uint64_t high, uint64_t *value)
{
    const char *text = scalar(reader, node, place, what);
    if (!text)
        return false;
    char quoted[READER_QUOTE];
    reader_quote(quoted, text, strlen(text));
    if (whole_number(text, value) && *value >= low && *value <= high)
        return true;
    if (high == INT64_MAX)
        reader_mistake_at(reader, node, place, "expected %s, not %s", what, quoted);
    else
        reader_mistake_at(reader, node, place, "expected %s from %llu to %llu, not %s", what,
                          (unsigned long long)low, (unsigned long long)high, quoted);
    return false;
}

/* A duration or a size outside its limits, told in units. */
static void out_of_range(struct reader *reader, const struct field *field, const yaml_node_t *node,
                         const struct place *place)
{
    char range[2][32];
    const uint64_t ends[2] = {field->low, field->high};
    for (int i = 0; i < 2; i++) {
        FILE *out = fmemopen(range[i], sizeof range[i], "w");
        if (!out) {
            reader_no_memory(reader);
            return;
        }
        if (field->kind == FIELD_DURATION)
            unit_print_duration(out, (int64_t)ends[i]);
        else
            unit_print_size(out, ends[i]);
        fclose(out);
    }
    char quoted[READER_QUOTE];
    reader_mistake_at(reader, node, place, "%s is out of range; from %s to %s",
                      reader_quote(quoted, (const char *)node->data.scalar.value, node->data.scalar.length),
                      range[0], range[1]);
}

static void read_units(struct reader *reader, const struct field *field, const yaml_node_t *node,
                       const struct place *place, void *target)
{
    bool time = field->kind == FIELD_DURATION;
    const char *expected =
        time ? "a duration with its unit: ms, s, min, h or d" : "a size with its unit: B, kB, MB, GB or TB";
    const char *text = scalar(reader, node, place, expected);
    if (!text)
        return;
    int64_t milliseconds = 0;
    uint64_t value = 0;
    bool fine = time ? conf_duration(text, &milliseconds) : conf_size(text, &value);
    if (time)
        value = (uint64_t)milliseconds;
    if (!fine) {
        char quoted[READER_QUOTE];
        reader_mistake_at(reader, node, place, "expected %s, not %s", expected,
                          reader_quote(quoted, text, strlen(text)));
    } else if (value < field->low || value > field->high) {
        out_of_range(reader, field, node, place);
    } else if (time) {
        *(int64_t *)target = milliseconds;
    } else {
        *(uint64_t *)target = value;
    }
}

static void read_word(struct reader *reader, const struct field *field, const yaml_node_t *node,
                      const struct place *place, unsigned *target)
{
    char list[160] = "";
    size_t n = 0;
    for (; field->words[n]; n++) {
        strncat(list, n == 0 ? "" : field->words[n + 1] ? ", " : " or ", sizeof list - strlen(list) - 1);
        strncat(list, field->words[n], sizeof list - strlen(list) - 1);
    }
    const char *text = scalar(reader, node, place, list);
    if (!text)
        return;
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(text, field->words[i]) == 0) {
            *target = i;
            return;
        }
    }
    char quoted[READER_QUOTE];
    reader_mistake_at(reader, node, place, "expected %s, not %s", list,
                      reader_quote(quoted, text, strlen(text)));
}

/* How many items a list has; 0 also after a mistake. */
static size_t list_length(struct reader *reader, const struct field *field, const yaml_node_t *node,
                          const struct place *place)
{
    bool empty = document_is_null(node); /* "overrides:" with every line below it commented out */
    if (!empty && node->type != YAML_SEQUENCE_NODE) {
        reader_mistake_at(reader, node, place, "expected a list: [...], or lines that begin with '- '");
        return 0;
    }
    size_t n = empty ? 0 : (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (n > READER_ITEMS) {
        reader_mistake_at(reader, node, place, "%zu items are too many; at most %d", n, READER_ITEMS);
        return 0;
    }
    if (n == 0 && (field->flags & FIELD_FILLED))
        reader_mistake_at(reader, node, place, "the list is empty");
    return n;
}

static void read_list(struct reader *reader, const struct field *field, const yaml_node_t *node,
                      const struct place *place, char *base)
{
    size_t n = list_length(reader, field, node, place);
    if (n == 0)
        return;
    bool strings = field->kind == FIELD_STRINGS;
    size_t size = strings ? sizeof(const char *) : field->size;
    char *items = talloc_zero_size(reader->conf, n * size);
    if (!items) {
        reader_no_memory(reader);
        return;
    }
    *(void **)(base + field->offset) = items;
    *(size_t *)(base + field->count) = n;
    for (size_t i = 0; i < n && !reader->full; i++) {
        const struct place at = {place, NULL, i};
        const yaml_node_t *item = document_item(reader, node, i);
        if (strings)
            read_string(reader, field, item, &at, (const char **)(items + i * size));
        else
            schema_read(reader, field->section, item, &at, items + i * size);
    }
}

static void read_field(struct reader *reader, const struct field *field, const yaml_node_t *node,
                       const struct place *place, char *base)
{
    void *target = base + field->offset;
    uint64_t number;
    switch (field->kind) {
    case FIELD_STRING:
    case FIELD_CONNINFO:
        read_string(reader, field, node, place, target);
        break;
    case FIELD_BOOL:
        read_bool(reader, node, place, target);
        break;
    case FIELD_NUMBER:
        if (read_number(reader, node, place, "a whole number", field->low, field->high, &number))
            *(uint32_t *)target = (uint32_t)number;
        break;
    case FIELD_COUNT:
        if (read_number(reader, node, place, "a whole number", field->low, field->high, &number))
            *(uint64_t *)target = number;
        break;
    case FIELD_PORT:
        if (read_number(reader, node, place, "a port", 1, UINT16_MAX, &number))
            *(uint16_t *)target = (uint16_t)number;
        break;
    case FIELD_DURATION:
    case FIELD_SIZE:
        read_units(reader, field, node, place, target);
        break;
    case FIELD_WORD:
        read_word(reader, field, node, place, target);
        break;
    case FIELD_ACTION:
        rules_read_one(reader, field->rule, node, place, target);
        break;
    case FIELD_RULES:
        rules_read(reader, node, place, target);
        break;
    case FIELD_STRINGS:
    case FIELD_LIST:
        read_list(reader, field, node, place, base);
        break;
    case FIELD_SECTION:
        schema_read(reader, field->section, node, place, target);
        break;
    case FIELD_LATER: /* told already */
        break;
    }
}

static void unknown_key(struct reader *reader, const struct section *section, const yaml_node_t *key,
                        const struct place *outer)
{
    char quoted[READER_QUOTE];
    reader_quote(quoted, (const char *)key->data.scalar.value, key->data.scalar.length);
    const struct place place = {outer, quoted, 0};
    const char *names[MAX_FIELDS];
    for (size_t i = 0; i < section->n; i++)
        names[i] = section->fields[i].key;
    const char *meant = reader_nearest(quoted, names, section->n);
    if (strcmp(quoted, "<<") == 0)
        reader_mistake_at(reader, key, &place, "merge keys are not supported; repeat the lines");
    else if (meant)
        reader_mistake_at(reader, key, &place, "no such key; did you mean %s?", meant);
    else
        reader_mistake_at(reader, key, &place, "no such key");
}

static const struct field *field_of(const struct section *section, const yaml_node_t *key)
{
    for (size_t i = 0; i < section->n; i++) {
        if (document_is_word(key, section->fields[i].key))
            return &section->fields[i];
    }
    return NULL;
}

/* `lines` holds for each field the line that it was said on, 0 for none. */
static void read_pair(struct reader *reader, const struct section *section, const yaml_node_pair_t *pair,
                      const struct place *outer, char *base, size_t lines[MAX_FIELDS])
{
    const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
    if (key->type != YAML_SCALAR_NODE) {
        reader_mistake_at(reader, key, outer, "a key must be a word");
        return;
    }
    const struct field *field = field_of(section, key);
    if (!field) {
        unknown_key(reader, section, key, outer);
        return;
    }
    const struct place place = {outer, field->key, 0};
    size_t i = (size_t)(field - section->fields);
    if (lines[i] > 0) {
        reader_mistake_at(reader, key, &place, "said twice; first on line %zu", lines[i]);
        return;
    }
    lines[i] = key->start_mark.line + 1;
    if (field->kind == FIELD_LATER)
        reader_mistake_at(reader, key, &place,
                          "is part of the contract, but this version does not implement it");
    read_field(reader, field, yaml_document_get_node(reader->document, pair->value), &place, base);
}

static void read_pairs(struct reader *reader, const struct section *section, const yaml_node_t *node,
                       const struct place *place, char *base, size_t lines[MAX_FIELDS])
{
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && !reader->full; pair++)
        read_pair(reader, section, pair, place, base, lines);
}

void schema_read(struct reader *reader, const struct section *section, const yaml_node_t *node,
                 const struct place *place, void *base)
{
    assert(section->n <= MAX_FIELDS);
    size_t lines[MAX_FIELDS] = {0};
    bool empty = document_is_null(node); /* "limits:" with every line below it commented out */
    if (!empty && node->type != YAML_MAPPING_NODE) {
        reader_mistake_at(reader, node, place, "expected a mapping: {...}, or lines of 'key: value'");
        return;
    }
    if (!empty)
        read_pairs(reader, section, node, place, base, lines);
    for (size_t i = 0; i < section->n; i++) {
        const struct place at = {place, section->fields[i].key, 0};
        if ((section->fields[i].flags & FIELD_REQUIRED) && lines[i] == 0)
            reader_mistake_at(reader, node, &at, "is missing");
    }
    if (section->check && !reader->full)
        section->check(reader, node, place, base);
}

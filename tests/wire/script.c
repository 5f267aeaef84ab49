/*
 * Reading wire scripts and encoding the messages that they name.
 */
#include "script.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/wire/message.h"

/* ---- words ------------------------------------------------------------------------------------------- */

static int hex(int c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

static char escaped(const char **at)
{
    char c = *(*at)++;
    if (c == 'x' && hex((unsigned char)(*at)[0]) >= 0 && hex((unsigned char)(*at)[1]) >= 0) {
        c = (char)(hex((unsigned char)(*at)[0]) * 16 + hex((unsigned char)(*at)[1]));
        *at += 2;
        return c;
    }
    return c == 'n' ? '\n' : c == '0' ? '\0' : c == 't' ? '\t' : c;
}

/* "text", word, or 100*"text" for a repetition. */
static bool read_word(const char **at, struct step *step)
{
    char buffer[4096];
    size_t n = 0;
    unsigned long times = 1;
    char *star;
    while (**at == ' ' || **at == '\t')
        (*at)++;
    if (**at == 0 || **at == '\n' || **at == '#')
        return false;
    if (isdigit((unsigned char)**at) && (times = strtoul(*at, &star, 10), *star == '*'))
        *at = star + 1;
    else
        times = 1;
    bool quoted = **at == '"';
    *at += quoted;
    while (**at && **at != '\n' && (quoted ? **at != '"' : !isspace((unsigned char)**at)) &&
           n < sizeof buffer) {
        char c = *(*at)++;
        buffer[n++] = c == '\\' && quoted ? escaped(at) : c;
    }
    *at += quoted && **at == '"';
    char *word = malloc(n * times + 1);
    if (!word || step->n == WORDS_MAX)
        abort();
    for (unsigned long i = 0; i < times; i++)
        memcpy(word + i * n, buffer, n);
    word[n * times] = 0;
    step->lengths[step->n] = n * times;
    step->words[step->n++] = word;
    return true;
}

bool script_read(const char *path, struct script *script)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    char *text = NULL;
    size_t size = 0;
    *script = (struct script){0};
    for (unsigned line = 1; getline(&text, &size, file) >= 0; line++) {
        struct step step = {.line = line};
        const char *at = text;
        while (read_word(&at, &step))
            ;
        if (step.n == 0)
            continue;
        script->steps = realloc(script->steps, (script->n + 1) * sizeof *script->steps);
        if (!script->steps)
            abort();
        script->steps[script->n++] = step;
    }
    free(text);
    fclose(file);
    return true;
}

void script_free(struct script *script)
{
    for (size_t i = 0; i < script->n; i++) {
        for (unsigned w = 0; w < script->steps[i].n; w++)
            free(script->steps[i].words[w]);
        writer_release(&script->steps[i].bytes);
    }
    free(script->steps);
}

/* ---- messages ---------------------------------------------------------------------------------------- */

/* How the words behind a message's name are laid out: s string, i number of 4 bytes, h of 2, c one byte,
 * b bytes as they are, * the rest as strings. */
static const struct layout {
    const char *name;
    const char *fields;
    uint8_t type;
    bool client;
} layouts[] = {
    {"Query", "s", 'Q', true},
    {"Describe", "cs", 'D', true},
    {"Close", "cs", 'C', true},
    {"Execute", "si", 'E', true},
    {"Sync", "", 'S', true},
    {"Flush", "b", 'H', true},
    {"CopyData", "b", 'd', true},
    {"CopyDone", "", 'c', true},
    {"CopyFail", "s", 'f', true},
    {"FunctionCall", "b", 'F', true},
    {"Terminate", "", 'X', true},
    {"Password", "s", 'p', true},
    {"Authentication", "ib", 'R', false},
    {"AuthenticationSASL", "i*", 'R', false},
    {"ParameterStatus", "ss", 'S', false},
    {"BackendKeyData", "ib", 'K', false},
    {"NegotiateProtocolVersion", "ii", 'v', false},
    {"ReadyForQuery", "c", 'Z', false},
    {"RowDescription", "hb", 'T', false},
    {"DataRow", "hb", 'D', false},
    {"CommandComplete", "s", 'C', false},
    {"EmptyQueryResponse", "", 'I', false},
    {"ParseComplete", "", '1', false},
    {"BindComplete", "", '2', false},
    {"CloseComplete", "", '3', false},
    {"NoData", "", 'n', false},
    {"PortalSuspended", "", 's', false},
    {"ParameterDescription", "h", 't', false},
    {"CopyInResponse", "ch", 'G', false},
    {"CopyOutResponse", "ch", 'H', false},
    {"CopyBothResponse", "ch", 'W', false},
    {"CopyData", "b", 'd', false},
    {"CopyDone", "", 'c', false},
    {"FunctionCallResponse", "i", 'V', false},
    {"NotificationResponse", "iss", 'A', false},
};

static void put_field(struct writer *writer, char field, const char *word, size_t length)
{
    unsigned long number = strtoul(word, NULL, 0);
    if (field == 's')
        writer_bytes(writer, word, length);
    if (field == 's')
        writer_u8(writer, 0);
    else if (field == 'i')
        writer_u32(writer, (uint32_t)number);
    else if (field == 'h')
        writer_u16(writer, (uint16_t)number);
    else if (field == 'c')
        writer_u8(writer, (uint8_t)*word);
    else if (field == 'b')
        writer_bytes(writer, word, length);
}

static bool encode_layout(struct step *step, const struct layout *layout, unsigned at)
{
    size_t begun = writer_begin(&step->bytes, layout->type);
    if (strcmp(layout->name, "AuthenticationSASL") == 0) {
        writer_u32(&step->bytes, AUTHENTICATION_SASL);
        for (; at < step->n; at++)
            writer_string(&step->bytes, step->words[at]);
        writer_u8(&step->bytes, 0);
    } else {
        for (const char *field = layout->fields; *field; field++, at++) {
            bool given = at < step->n;
            put_field(&step->bytes, *field, given ? step->words[at] : "", given ? step->lengths[at] : 0);
        }
    }
    writer_end(&step->bytes, begun);
    return true;
}

static void encode_error(struct step *step, unsigned at, uint8_t type)
{
    size_t begun = writer_begin(&step->bytes, type);
    for (; at < step->n; at++) { /* "C=42601" */
        writer_u8(&step->bytes, (uint8_t)step->words[at][0]);
        writer_string(&step->bytes, step->words[at] + 2);
    }
    writer_u8(&step->bytes, 0);
    writer_end(&step->bytes, begun);
}

static void encode_hex(struct step *step, unsigned at)
{
    for (; at < step->n; at++)
        for (const char *c = step->words[at]; c[0] && c[1]; c += 2)
            writer_u8(&step->bytes, (uint8_t)(hex((unsigned char)c[0]) * 16 + hex((unsigned char)c[1])));
}

static void encode_parse(struct step *step, unsigned at)
{
    uint32_t types[WORDS_MAX];
    uint16_t n = 0;
    for (unsigned i = at + 2; i < step->n; i++)
        types[n++] = (uint32_t)strtoul(step->words[i], NULL, 0);
    message_parse_write(&step->bytes, step->words[at], step->words[at + 1], step->lengths[at + 1], types, n);
}

bool step_encode(struct step *step, bool client, unsigned at)
{
    if (at >= step->n)
        return false;
    const char *name = step->words[at++];
    writer_init(&step->bytes, (size_t)1 << 26);
    if (strcmp(name, "Hex") == 0) {
        encode_hex(step, at);
        return true;
    }
    if (client && strcmp(name, "Parse") == 0 && at + 2 <= step->n) {
        encode_parse(step, at);
        return true;
    }
    if (client && strcmp(name, "Bind") == 0 && at + 2 <= step->n) {
        message_bind_write(&step->bytes, step->words[at], step->words[at + 1],
                           (const char *const *)&step->words[at + 2], (uint16_t)(step->n - at - 2));
        return true;
    }
    if (client && strcmp(name, "SASLInitialResponse") == 0 && at + 2 <= step->n) {
        struct message_sasl_initial initial = {step->words[at], (const uint8_t *)step->words[at + 1],
                                               (uint32_t)step->lengths[at + 1]};
        message_sasl_initial_write(&step->bytes, &initial);
        return true;
    }
    if (!client && (strcmp(name, "ErrorResponse") == 0 || strcmp(name, "NoticeResponse") == 0)) {
        encode_error(step, at, *name == 'E' ? SERVER_ERROR : SERVER_NOTICE);
        return true;
    }
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].client == client && strcmp(layouts[i].name, name) == 0)
            return encode_layout(step, &layouts[i], at);
    return false;
}

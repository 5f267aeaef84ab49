/*
 * Start reading here: a file or a text through all the steps into one snapshot, or a list of mistakes.
 */
#include "conf/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

/* Encoding and YAML are in order; everything the schema has to say is said. */
static void read_document(struct reader *reader)
{
    const yaml_node_t *root = yaml_document_get_root_node(reader->document);
    if (!root)
        reader_mistake(reader, 1, 1, NULL, "nothing is configured; listen and upstream are needed");
    else
        schema_read(reader, &schema_root, root, NULL, reader->conf);
}

static void read_text(struct reader *reader, const char *text, size_t length)
{
    yaml_document_t document;
    if (length > READER_FILE) {
        reader_mistake(reader, 1, 1, NULL, "too large; a configuration has at most %d bytes", READER_FILE);
        return;
    }
    if (!encoding_check(reader, &text, &length) || !document_load(reader, text, length, &document))
        return;
    reader->document = &document;
    read_document(reader);
    yaml_document_delete(&document);
}

struct conf *conf_load_text(const char *text, size_t length, const char *name, struct conf_mistakes *mistakes)
{
    struct snapshot *snapshot = snapshot_new();
    struct reader reader = {.conf = (struct conf *)snapshot, .mistakes = mistakes};
    *mistakes = (struct conf_mistakes){0};
    if (!snapshot) {
        reader_no_memory(&reader);
        return NULL;
    }
    snapshot->conf.path = talloc_strdup(snapshot, name ? name : "-");
    if (!snapshot->conf.path)
        reader_no_memory(&reader);
    else
        read_text(&reader, text, length);
    if (mistakes->n > 0) {
        reader_sort(&reader);
        conf_unref(&snapshot->conf);
        return NULL;
    }
    return &snapshot->conf;
}

/* NULL: read to the end, or to one byte more than a configuration may have; else why not. */
static const char *read_all(int file, char *buffer, size_t size, size_t *length)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return strerror(errno);
    if (S_ISDIR(status.st_mode))
        return "it is a directory";
    for (*length = 0; *length < size;) {
        ssize_t got = read(file, buffer + *length, size - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return strerror(errno);
        if (got == 0)
            break;
        *length += (size_t)got;
    }
    return NULL;
}

struct conf *conf_load(const char *path, struct conf_mistakes *mistakes)
{
    struct reader reader = {.mistakes = mistakes};
    *mistakes = (struct conf_mistakes){0};
    const size_t size = READER_FILE + 1;
    char *buffer = talloc_size(NULL, size);
    if (!buffer) {
        reader_no_memory(&reader);
        return NULL;
    }
    struct conf *conf = NULL;
    size_t length = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const char *why = file < 0 ? strerror(errno) : read_all(file, buffer, size, &length);
    if (file >= 0)
        close(file);
    if (why)
        reader_mistake(&reader, 1, 1, NULL, "cannot be read: %s", why);
    else
        conf = conf_load_text(buffer, length, path, mistakes);
    talloc_free(buffer);
    return conf;
}

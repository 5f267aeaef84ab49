/*
 * What the audit's tests share: a folder of their own, files read back line by line, and the chain checked
 * with a few lines that share nothing with the code under test but SHA-256.
 */
#ifndef PGSLUICE_TESTS_UNIT_AUDIT_HELP_H
#define PGSLUICE_TESTS_UNIT_AUDIT_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/net/digest.h"
#include "proxy/observe/audit.h"

static char folder[64];

static int folder_make(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/pgsluice-audit-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

__attribute__((unused)) static char *path_of(const char *name)
{
    static char paths[64][128];
    static unsigned turn;
    char *path = paths[turn++ % 64];
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

static char *slurp(const char *path, size_t *n)
{
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char *bytes = malloc(16 << 20);
    *n = fread(bytes, 1, (16 << 20) - 1, in);
    bytes[*n] = '\0';
    fclose(in);
    return bytes;
}

__attribute__((unused)) static void spill(const char *path, const char *bytes, size_t n, const char *mode)
{
    FILE *out = fopen(path, mode);
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

/* The records of one file as a JSON array, with every link checked. `hash` is the line before, and after that
 * the last line. */
__attribute__((unused)) static json_t *records_of(const char *path, uint64_t *seq, char hash[DIGEST_HEX + 1])
{
    size_t n;
    char *bytes = slurp(path, &n);
    json_t *all = json_array();
    for (char *line = bytes; line < bytes + n;) {
        char *end = memchr(line, '\n', (size_t)(bytes + n - line));
        assert_non_null(end);
        json_t *record = json_loadb(line, (size_t)(end - line), 0, NULL);
        assert_non_null(record);
        assert_int_equal(json_integer_value(json_object_get(record, "seq")), ++*seq);
        assert_string_equal(json_string_value(json_object_get(record, "prev")), hash);
        assert_true(digest_sha256(line, (size_t)(end - line), hash));
        json_array_append_new(all, record);
        line = end + 1;
    }
    free(bytes);
    return all;
}

/* The same for a file that begins its chain. */
__attribute__((unused)) static json_t *whole_log(const char *path)
{
    uint64_t seq = 0;
    char hash[DIGEST_HEX + 1];
    memset(hash, '0', DIGEST_HEX);
    hash[DIGEST_HEX] = '\0';
    return records_of(path, &seq, hash);
}

__attribute__((unused)) static const char *text_at(const json_t *all, size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(all, i), key));
}

__attribute__((unused)) static struct audit *open_log(const char *path)
{
    char error[256] = "";
    struct audit *audit = audit_open(path, true, error, sizeof error);
    if (!audit)
        print_error("%s\n", error);
    assert_non_null(audit);
    return audit;
}

__attribute__((unused)) static uint64_t decide(struct audit *audit, const char *sql)
{
    struct audit_decided decided = {.session = 7,
                                    .user = "deploy",
                                    .database = "app",
                                    .kind = "ALTER TABLE",
                                    .object = "orders",
                                    .sql = sql,
                                    .sql_length = strlen(sql),
                                    .verdict = "allow"};
    return audit_decided(audit, &decided);
}

#endif

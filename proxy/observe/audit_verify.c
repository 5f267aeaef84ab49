/*
 * `pgsluice audit verify FILE…`: does each record follow from the one before, over several files in the order
 * of their rotation? The chain proves that nothing inside was changed or left out; that nothing was cut off
 * the end is proved by comparing the head that is printed with one noted elsewhere.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/observe/audit.h"
#include "proxy/observe/audit_command.h"
#include "proxy/observe/audit_file.h"

/* Where the walk stands. `seq` 0: no record was read yet. */
struct walk {
    struct chain chain;
    uint64_t first, records, recovered, outages;
};

static bool begins_a_chain(uint64_t seq, const char *prev)
{
    struct chain nothing;
    chain_begin(&nothing);
    return seq == 1 && strcmp(prev, nothing.hash) == 0;
}

static bool follows(const struct walk *walk, uint64_t seq, const char *prev, char *reason, size_t size)
{
    if (walk->records == 0) {
        if (seq != 1 || begins_a_chain(seq, prev))
            return true;
        snprintf(reason, size, "record 1 claims that another came before it");
        return false;
    }
    if (begins_a_chain(seq, prev)) {
        snprintf(reason, size, "a new chain begins here: it does not follow record %" PRIu64,
                 walk->chain.seq);
        return false;
    }
    if (seq != walk->chain.seq + 1) {
        snprintf(reason, size, "record %" PRIu64 " stands behind record %" PRIu64 ": records are missing",
                 seq, walk->chain.seq);
        return false;
    }
    if (strcmp(prev, walk->chain.hash) == 0)
        return true;
    snprintf(reason, size,
             "prev of record %" PRIu64 " does not match the line before: record %" PRIu64 " was changed", seq,
             walk->chain.seq);
    return false;
}

static bool step(struct walk *walk, const char *line, size_t n, char *reason, size_t size)
{
    uint64_t seq;
    const char *prev;
    json_t *record = chain_read(line, n, &seq, &prev, reason, size);
    if (!record)
        return false;
    bool fine = follows(walk, seq, prev, reason, size);
    const char *sort = json_string_value(json_object_get(record, "record"));
    walk->recovered += strcmp(sort, "recovered") == 0;
    walk->outages += strcmp(sort, "outage") == 0;
    json_decref(record);
    if (!fine)
        return false;
    if (walk->records++ == 0)
        walk->first = seq;
    walk->chain.seq = seq;
    if (digest_sha256(line, n, walk->chain.hash))
        return true;
    snprintf(reason, size, "out of memory");
    return false;
}

static int verify_lines(struct walk *walk, FILE *in, const char *path)
{
    char *line = NULL;
    size_t room = 0;
    char reason[256];
    uint64_t number = 0;
    ssize_t n;
    int exit_code = 0;
    errno = 0;
    while (exit_code == 0 && (n = getline(&line, &room, in)) >= 0) {
        number++;
        bool whole = n > 0 && line[n - 1] == '\n';
        if (!whole)
            snprintf(reason, sizeof reason, "the last line is torn; the next start sets it aside");
        if (whole && step(walk, line, (size_t)n - 1, reason, sizeof reason))
            continue;
        printf("%s:%" PRIu64 ": %s\n", path, number, reason);
        exit_code = 1;
    }
    if (exit_code == 0 && !feof(in)) {
        fprintf(stderr, "pgsluice: %s: %s\n", path, strerror(errno));
        exit_code = 2;
    }
    free(line);
    return exit_code;
}

static int verify_file(struct walk *walk, const char *path)
{
    FILE *in = fopen(path, "re");
    if (!in) {
        fprintf(stderr, "pgsluice: %s: %s\n", path, strerror(errno));
        return 2;
    }
    uint64_t before = walk->records;
    int exit_code = verify_lines(walk, in, path);
    fclose(in);
    if (exit_code == 0 && walk->records == before)
        printf("%s: no records\n", path);
    else if (exit_code == 0)
        printf("%s: %" PRIu64 " records, the last is %" PRIu64 "\n", path, walk->records - before,
               walk->chain.seq);
    return exit_code;
}

int audit_verify(int n, char **paths)
{
    struct walk walk = {0};
    chain_begin(&walk.chain);
    for (int i = 0; i < n; i++) {
        int exit_code = verify_file(&walk, paths[i]);
        if (exit_code)
            return exit_code;
    }
    if (walk.records == 0)
        return 0;
    if (walk.recovered || walk.outages)
        printf("torn lines set aside: %" PRIu64 ", outages: %" PRIu64 "\n", walk.recovered, walk.outages);
    if (walk.first != 1)
        printf("what came before record %" PRIu64 " was not given\n", walk.first);
    printf("chain unbroken: records %" PRIu64 " to %" PRIu64 ", head %s\n", walk.first, walk.chain.seq,
           walk.chain.hash);
    return 0;
}

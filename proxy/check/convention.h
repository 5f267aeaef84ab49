/*
 * What migration tools mean by a file's name and by their comments: which way a part of a file goes, and
 * whether the tool runs it in a transaction. Pure but for one question to the file system (is there a
 * sqitch.plan?).
 */
#ifndef PGSLUICE_PROXY_CHECK_CONVENTION_H
#define PGSLUICE_PROXY_CHECK_CONVENTION_H

#include <stdbool.h>
#include <stddef.h>

/* Who opens a transaction around a section's statements. */
enum wrapping {
    WRAP_NONE,    /* nobody: psql without --single-transaction */
    WRAP_SECTION, /* the tool */
    WRAP_MESSAGE, /* the server: several statements in one message (golang-migrate, Prisma) */
    WRAP_UNLESS   /* the tool, but not where a statement can't run in one (Flyway) */
};

struct section {
    size_t at;
    bool down; /* undoes the change: run by hand, in need */
    enum wrapping wrapping;
};

/* What a comment line of a tool says. */
enum marker_kind { MARKER_NONE, MARKER_UP, MARKER_DOWN, MARKER_BOUNDARY, MARKER_NO_TRANSACTION };

struct marker {
    enum marker_kind kind;
    enum wrapping wrapping;
};

/* `line` begins with "--". `first`: nothing stands in front of it in the file. */
struct marker convention_marker(const char *line, size_t length, bool first);

/* How a file starts, by its path and its first bytes. */
struct section convention_of(const char *path, const char *text);

#endif

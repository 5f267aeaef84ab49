/*
 * What the files hold besides the statement that is being judged: comments behind it, and queries that go by
 * the columns of tables. Gathered before anything is judged.
 *
 * Which queries count. What is written in the numbered files of a migration tool, or in front of the change
 * in its own file, has run when the change runs, and what comes later in numbered files was written with the
 * change known. So they are those
 * - behind the change in its own file,
 * - anywhere in a file that isn't numbered: seeds, loads, an application's queries,
 * - prepared in front of the change in its own file (PREPARE, not deallocated), since that is one session.
 * A SELECT * counts where it is prepared: by PREPARE, or a text with parameters ($1), which can't be run
 * otherwise.
 */
#ifndef PGSLUICE_PROXY_CHECK_AHEAD_H
#define PGSLUICE_PROXY_CHECK_AHEAD_H

#include "policy/policy.h"
#include "proxy/check/source.h"

/* ---- comments of one file ---- */

struct comments {
    const struct facts **facts; /* of each COMMENT */
    size_t *at;                 /* where it stands */
    size_t n;
};

/* `down`: those of sections that undo a change, or the others. What was gathered hangs below the parent. */
struct comments comments_gather(const void *talloc_parent, const struct source *, bool down, size_t limit);

/* Those behind this place. */
size_t comments_behind(const struct comments *, size_t at, const struct facts *const **);

/* ---- readers in all files ---- */

struct readers;

/* NULL: no memory. */
struct readers *readers_new(const void *talloc_parent);
/* `file`: its number among those of the command line. */
void readers_gather(struct readers *, const struct source *, unsigned file, size_t limit);

/* Those that count for a statement at this place of this file; below `memory`. */
size_t readers_for(const void *memory, const struct readers *, unsigned file, size_t at,
                   const struct policy_reader **);

#endif

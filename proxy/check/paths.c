/*
 * Walking directories with fts(3), which sees loops of symbolic links.
 */
#include "proxy/check/paths.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static int by_number(const FTSENT **a, const FTSENT **b)
{
    return strverscmp((*a)->fts_name, (*b)->fts_name);
}

static bool is_sql(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcasecmp(name + n - 4, ".sql") == 0;
}

/* One entry of a directory; false: it can't be read, or its visit was false. */
static bool visit_entry(FTS *tree, FTSENT *entry, path_visitor *visit, void *argument, size_t *files)
{
    switch (entry->fts_info) {
    case FTS_D:
        if (entry->fts_level > 0 && entry->fts_name[0] == '.')
            fts_set(tree, entry, FTS_SKIP);
        return true;
    case FTS_F:
        if (!is_sql(entry->fts_name))
            return true;
        ++*files;
        return visit(argument, entry->fts_path);
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        fprintf(stderr, "pgsluice check: %s: %s\n", entry->fts_path, strerror(entry->fts_errno));
        return false;
    default:
        return true;
    }
}

static bool visit_directory(const char *path, path_visitor *visit, void *argument)
{
    char *const roots[] = {(char *)path, NULL};
    FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_number);
    size_t files = 0;
    bool fine = tree != NULL;
    for (FTSENT *entry; tree != NULL && (entry = fts_read(tree)) != NULL;)
        fine = visit_entry(tree, entry, visit, argument, &files) && fine;
    if (tree == NULL)
        fprintf(stderr, "pgsluice check: %s: %s\n", path, strerror(errno));
    else
        fts_close(tree);
    if (fine && files == 0)
        fprintf(stderr, "pgsluice check: %s: no *.sql file below it\n", path);
    return fine && files > 0;
}

bool paths_visit(const char *path, path_visitor *visit, void *argument)
{
    struct stat status;
    if (strcmp(path, "-") != 0 && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return visit_directory(path, visit, argument);
    return visit(argument, path);
}

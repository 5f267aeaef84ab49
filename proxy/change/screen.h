/*
 * Does a text hold the names of a column in quarantine and of its table? For a loop, in front of the judges:
 * by the words alone, wherever they stand (in strings and comments too), and it errs on the side of yes. But
 * what has to be looked at must not be everything, or whoever may add a column could slow down everybody.
 *
 * The names are put into a table once, when the list is made; then a text is walked once, whatever their
 * number.
 */
#ifndef PGSLUICE_PROXY_CHANGE_SCREEN_H
#define PGSLUICE_PROXY_CHANGE_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/change/change.h"

struct screen;

/* Below a talloc parent, with copies of the names; those with QUARANTINE_ALLOW are left out. NULL: out of
 * memory. It is never changed: any thread may ask it. */
struct screen *screen_new(const void *talloc_parent, const struct change_column *, size_t n);

/* `utf8`: the text is in UTF-8. In another encoding every byte of 0x80 and above may be a part of a name that
 * isn't ASCII. */
bool screen_holds(const struct screen *, const char *sql, size_t length, bool utf8);

#endif

/*
 * A row in one line, for the person who waits.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/change_inside.h"

static const char *doing(const char *phase)
{
    static const char *const words[][2] = {
        {"added", "waits for its turn"},
        {"fill", "fills rows"},
        {"analyze", "collects statistics"},
        {"check", "prepares the proof of NOT NULL"},
        {"validate", "checks the rows against the constraints"},
        {"index", "builds the index"},
        {"finish", "puts the finished schema in force"},
        {"undo", "is being undone"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i][0], phase) == 0)
            return words[i][1];
    return phase;
}

static double figure(const json_t *progress, const char *key)
{
    return json_number_value(json_object_get(progress, key));
}

/* How far it is, and for how long still, go by blocks: where the rows lie nobody knows. */
static char *add_figures(char *text, const json_t *progress)
{
    double rows = figure(progress, "rows"), rows_total = figure(progress, "rows_total");
    double rate = figure(progress, "rate"), block_rate = figure(progress, "block_rate");
    double blocks = figure(progress, "blocks"), total = figure(progress, "blocks_total");
    if (total > 0) /* when all are swept, what was missed is still to be filled */
        text = talloc_asprintf_append_buffer(text, ", %.0f%% of the table",
                                             blocks < total ? floor(100 * blocks / total) : 99);
    if (rows > 0 && rows_total > 0)
        text = talloc_asprintf_append_buffer(text, " (%.0f of its about %.0f rows)", rows, rows_total);
    if (rate > 0)
        text = talloc_asprintf_append_buffer(text, ", %.0f rows a second", rate);
    if (block_rate > 0 && total > blocks)
        text =
            talloc_asprintf_append_buffer(text, ", about %.0f s left", ceil((total - blocks) / block_rate));
    return text;
}

char *progress_text(const void *parent, const struct change_row *row)
{
    char *text = talloc_asprintf(parent, "online change %" PRId64 " of %s.%s: %s", row->id, row->schema,
                                 row->table, doing(row->phase));
    if (text && row->state != STATE_STUCK)
        text = add_figures(text, row->progress);
    if (text && row->throttled[0])
        text = talloc_asprintf_append_buffer(text, "; %s", row->throttled);
    return text;
}

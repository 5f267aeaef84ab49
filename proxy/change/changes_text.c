/*
 * Changes as people read them: a table with a bar where there is a terminal, plain lines elsewhere.
 */
#include <string.h>

#include "proxy/change/changes.h"

enum { BAR = 20 };

void changes_bar(char *text, unsigned width, double percent)
{
    unsigned full = percent <= 0 ? 0 : percent >= 100 ? width : (unsigned)(percent * width / 100);
    *text++ = '[';
    memset(text, '#', full);
    memset(text + full, percent < 0 ? ' ' : '.', width - full);
    text += width;
    *text++ = ']';
    *text = '\0';
}

void changes_duration(char text[32], double seconds)
{
    long long s = (long long)seconds;
    if (seconds < 0)
        *text = '\0';
    else if (s < 60)
        snprintf(text, 32, "%lld s", s);
    else if (s < 3600)
        snprintf(text, 32, "%lld min %lld s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, 32, "%lld h %lld min", s / 3600, s % 3600 / 60);
    else
        snprintf(text, 32, "%lld d %lld h", s / 86400, s % 86400 / 3600);
}

void changes_count(char text[32], double number)
{
    static const char units[] = " kMGT";
    size_t unit = 0;
    if (number < 0) {
        *text = '\0';
        return;
    }
    while (number >= 999.5 && unit < sizeof units - 2) {
        number /= 1000;
        unit++;
    }
    if (unit == 0)
        snprintf(text, 32, "%.0f", number);
    else
        snprintf(text, 32, number < 99.95 ? "%.1f%c" : "%.0f%c", number, units[unit]);
}

/* "running fill", "running, to be paused", "complete" */
static void state_of(char text[48], const struct changes_row *row)
{
    bool moves = strcmp(row->state, "running") == 0;
    const char *wish = row->wanted == NULL || changes_finished(row) ? ""
                       : strcmp(row->wanted, "pause") == 0          ? ", paused"
                       : strcmp(row->state, "undoing") == 0         ? ""
                                                                    : ", to be undone";
    snprintf(text, 48, "%s%s", moves ? row->phase : row->state, wish);
}

static void progress_of(char text[64], const struct changes_row *row, bool terminal)
{
    char bar[BAR + 3];
    changes_bar(bar, BAR, row->percent);
    if (row->percent < 0)
        snprintf(text, 64, "%s", terminal ? bar : "-");
    else if (terminal)
        snprintf(text, 64, "%s %3.0f %%", bar, row->percent);
    else
        snprintf(text, 64, "%.1f%%", row->percent);
}

/* Alive ones write a heartbeat each few seconds, and take a change within a moment. */
static bool nobody_works(char text[128], const struct changes_row *row)
{
    enum { TAKEN = 5, ALIVE = 30 };
    char duration[32];
    bool waits = strcmp(row->state, "waiting") == 0;
    if (changes_finished(row) || row->leased || row->throttled != NULL || row->wanted != NULL)
        return false;
    if (waits && row->heartbeat < 0 && row->age > TAKEN) {
        changes_duration(duration, row->age);
        snprintf(text, 128, "waiting %s: no worker has taken it; see the proxy's log", duration);
        return true;
    }
    changes_duration(duration, row->heartbeat);
    snprintf(text, 128, "no worker; last heartbeat %s ago", duration);
    return row->heartbeat > ALIVE;
}

static void print_row(const struct changes_row *row, int tables, bool terminal, FILE *out)
{
    char state[48], progress[64], rate[32], eta[32], age[32];
    state_of(state, row);
    progress_of(progress, row, terminal);
    changes_count(rate, row->rate);
    changes_duration(eta, row->eta);
    changes_duration(age, row->age);
    fprintf(out, "%6s  %-*s  %-18s  %-*s  %7s  %-13s %-13s\n", row->id, tables, row->table, state,
            terminal ? BAR + 8 : 8, progress, *rate ? rate : "-", *eta ? eta : "-", age);
    if (row->throttled != NULL && !changes_finished(row))
        fprintf(out, "        %s%s\n",
                strcmp(row->state, "stuck") == 0 ? "" : "makes a pause: ", row->throttled);
    char nobody[128];
    if (nobody_works(nobody, row))
        fprintf(out, "        %s\n", nobody);
    if (row->error != NULL)
        fprintf(out, "        %s%s%s\n", row->error_code == NULL ? "" : row->error_code,
                row->error_code == NULL ? "" : ": ", row->error);
}

void changes_print(const struct changes_list *list, bool terminal, FILE *out)
{
    int tables = 5;
    const char *database = "";
    for (size_t i = 0; i < list->n; i++) {
        if ((int)strlen(list->rows[i].table) > tables)
            tables = (int)strlen(list->rows[i].table);
    }
    if (list->n == 0)
        fputs("no change under way, and none finished since yesterday\n", out);
    else
        fprintf(out, "%6s  %-*s  %-18s  %-*s  %7s  %-13s %-13s\n", "id", tables, "table", "state",
                terminal ? BAR + 8 : 8, "progress", "rows/s", "left", "age");
    for (size_t i = 0; i < list->n; i++) {
        if (list->databases > 1 && strcmp(database, list->rows[i].database) != 0)
            fprintf(out, "%s:\n", list->rows[i].database);
        database = list->rows[i].database;
        print_row(&list->rows[i], tables, terminal, out);
    }
}

static void print_field(FILE *out, const char *label, const char *text)
{
    if (text != NULL && *text)
        fprintf(out, "  %-10s %s\n", label, text);
}

static void print_figures(const struct changes_row *row, bool terminal, FILE *out)
{
    char text[64], rows[32], total[32], rate[32], duration[32];
    progress_of(text, row, terminal);
    changes_count(rows, row->rows);
    changes_count(total, row->rows_total);
    changes_count(rate, row->rate);
    if (row->percent >= 0 || row->rows >= 0)
        fprintf(out, "  %-10s %s", "progress", text);
    if (row->rows >= 0)
        fprintf(out, "  %s%s%s rows%s%s%s", rows, *total ? " of about " : "", total, *rate ? ", " : "", rate,
                *rate ? " a second" : "");
    if (row->percent >= 0 || row->rows >= 0)
        fputc('\n', out);
    changes_duration(duration, row->eta);
    print_field(out, "left", duration);
    changes_duration(duration, changes_finished(row) ? -1 : row->heartbeat);
    if (*duration)
        fprintf(out, "  %-10s %s ago\n", "heartbeat", duration);
}

void changes_print_one(const struct changes_row *row, bool terminal, FILE *out)
{
    char state[48], age[32];
    state_of(state, row);
    changes_duration(age, row->age);
    fprintf(out, "change %s in %s: %s of %s\n", row->id, row->database, row->kind, row->table);
    print_field(out, "state", state);
    print_figures(row, terminal, out);
    print_field(out, "pauses", changes_finished(row) ? NULL : row->throttled);
    char nobody[128];
    if (nobody_works(nobody, row))
        print_field(out, "worker", nobody);
    print_field(out, "columns", row->columns);
    print_field(out, "statement", row->statement);
    bool finished = changes_finished(row); /* its age ends there */
    fprintf(out, "  %-10s %s by %s, %s%s%s%s%s\n", "began", row->created, row->role, finished ? "took " : "",
            age, finished ? "" : " ago", row->finished == NULL ? "" : "; finished ",
            row->finished == NULL ? "" : row->finished);
    print_field(out, "worker", row->worker);
    print_field(out, "error", row->error);
    print_field(out, "sqlstate", row->error_code);
    print_field(out, "detail", row->error_detail);
}

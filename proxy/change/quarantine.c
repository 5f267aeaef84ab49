/*
 * Columns that are not complete, by database: what the last look saw. Where a database can't be asked, the
 * last list stays in force.
 *
 * A list is never changed: a look that saw something else puts another in its place, and whoever holds the
 * old one keeps it until it lets go.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "proxy/change/change_inside.h"
#include "proxy/change/screen.h"

struct quarantine_list {
    char *database;
    struct change_columns *columns; /* a reference */
    struct quarantine_list *next;
};

struct change_columns *change_columns_hold(struct change_columns *columns)
{
    atomic_fetch_add_explicit(&columns->references, 1, memory_order_relaxed);
    return columns;
}

void change_columns_release(struct change_columns *columns)
{
    if (columns && atomic_fetch_sub_explicit(&columns->references, 1, memory_order_acq_rel) == 1)
        talloc_free(columns);
}

static void list_free(struct quarantine_list *list)
{
    if (list)
        change_columns_release(list->columns);
    talloc_free(list);
}

/* The last entry of online.tables that fits. */
static enum quarantine quarantine_of(const struct conf_online *online, const struct change_row *row)
{
    char full[300];
    enum quarantine quarantine = online->quarantine;
    snprintf(full, sizeof full, "%s.%s", row->schema, row->table);
    for (size_t i = 0; i < online->n_tables; i++) {
        const char *glob = online->tables[i].table;
        if (fnmatch(glob, strchr(glob, '.') ? full : row->table, 0) == 0)
            quarantine = online->tables[i].quarantine;
    }
    return quarantine;
}

static bool add(struct change_columns *columns, const void *parent, const struct change_column *from)
{
    struct change_column *items =
        talloc_realloc(parent, (void *)columns->items, struct change_column, columns->n + 1);
    if (!items)
        return false;
    columns->items = items;
    struct change_column *to = &items[columns->n];
    *to = *from;
    to->schema = talloc_strdup(parent, from->schema);
    to->table = talloc_strdup(parent, from->table);
    to->column = talloc_strdup(parent, from->column);
    if (!to->schema || !to->table || !to->column)
        return false;
    columns->n++;
    return true;
}

/* The columns under one table's name. */
static bool add_table(struct change_columns *columns, const struct change_row *row,
                      const struct change_member *table, enum quarantine quarantine)
{
    bool good = true;
    for (size_t i = 0; good && i < row->n_columns; i++)
        good = add(columns, columns,
                   &(struct change_column){.schema = table->schema,
                                           .table = table->table,
                                           .column = row->columns[i],
                                           .relation = table->relation,
                                           .change = row->id,
                                           .quarantine = quarantine});
    return good;
}

/* A partition is asked by its own name as well, and so is a child. */
static bool add_row(struct change_columns *columns, const struct conf_online *online,
                    const struct change_row *row)
{
    const struct change_member recorded = {row->relation, row->schema, row->table};
    enum quarantine quarantine = quarantine_of(online, row);
    bool good = add_table(columns, row, &recorded, quarantine);
    for (size_t i = 0; good && i < row->n_members; i++) {
        const struct change_member *member = &row->members[i];
        if (strcmp(member->table, row->table) != 0 || strcmp(member->schema, row->schema) != 0)
            good = add_table(columns, row, member, quarantine);
    }
    return good;
}

static struct change_columns *make(const struct conf_online *online, const struct change_rows *rows)
{
    struct change_columns *columns = talloc_zero(NULL, struct change_columns);
    bool good = columns;
    for (size_t i = 0; good && rows && i < rows->n; i++)
        if (!state_finished(rows->items[i].state))
            good = add_row(columns, online, &rows->items[i]);
    if (good && (columns->screen = screen_new(columns, columns->items, columns->n)) != NULL) {
        atomic_init(&columns->references, 1);
        return columns;
    }
    talloc_free(columns);
    return NULL;
}

static struct quarantine_list *list_new(const struct conf_online *online, const char *database,
                                        const struct change_rows *rows)
{
    struct quarantine_list *list = talloc_zero(NULL, struct quarantine_list);
    if (list && (list->database = talloc_strdup(list, database)) && (list->columns = make(online, rows)))
        return list;
    talloc_free(list);
    return NULL;
}

static bool same_column(const struct change_column *a, const struct change_column *b)
{
    return a->relation == b->relation && a->change == b->change && a->quarantine == b->quarantine &&
           strcmp(a->schema, b->schema) == 0 && strcmp(a->table, b->table) == 0 &&
           strcmp(a->column, b->column) == 0;
}

static bool same(const struct change_columns *a, const struct change_columns *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!same_column(&a->items[i], &b->items[i]))
            return false;
    return true;
}

/* What is to be freed: the old one, or this one where nothing has changed, or both, one behind the other. */
static struct quarantine_list *exchange(struct changes *changes, struct quarantine_list *list)
{
    struct quarantine_list **at = &changes->quarantine;
    while (*at && strcmp((*at)->database, list->database) != 0)
        at = &(*at)->next;
    struct quarantine_list *old = *at;
    size_t before = old ? old->columns->n : 0, n = list->columns->n;
    if (old ? same(old->columns, list->columns) : n == 0)
        return list;
    list->next = old ? old->next : NULL;
    *at = n ? list : list->next;
    atomic_fetch_add_explicit(&changes->quarantined, n - before, memory_order_relaxed);
    atomic_fetch_add_explicit(&changes->generation, 1, memory_order_release);
    if (old)
        old->next = n ? NULL : list;
    list->next = n ? list->next : NULL;
    return old;
}

void quarantine_put(struct changes *changes, const char *database, const struct change_rows *rows)
{
    struct quarantine_list *list = list_new(&changes->in_force->online, database, rows);
    if (!list)
        return; /* no memory: the last one stays */
    pthread_mutex_lock(&changes->quarantining);
    struct quarantine_list *left = exchange(changes, list);
    pthread_mutex_unlock(&changes->quarantining);
    while (left) {
        list = left->next;
        list_free(left);
        left = list;
    }
}

void quarantine_free(struct changes *changes)
{
    while (changes->quarantine) {
        struct quarantine_list *list = changes->quarantine;
        changes->quarantine = list->next;
        list_free(list);
    }
}

bool changes_any(const struct changes *changes)
{
    return atomic_load_explicit(&changes->quarantined, memory_order_relaxed) > 0;
}

uint64_t changes_generation(const struct changes *changes)
{
    return atomic_load_explicit(&changes->generation, memory_order_acquire);
}

struct change_columns *changes_columns(struct changes *changes, const char *database)
{
    pthread_mutex_lock(&changes->quarantining);
    const struct quarantine_list *list = changes->quarantine;
    while (list && strcmp(list->database, database) != 0)
        list = list->next;
    struct change_columns *columns = list ? change_columns_hold(list->columns) : NULL;
    pthread_mutex_unlock(&changes->quarantining);
    return columns;
}

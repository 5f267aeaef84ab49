/*
 * Facts as one line of text, so that a test is a row: statement, expected line. Spans are shown as the text
 * they cut out.
 */
#ifndef PGSLUICE_TESTS_FACTS_SHOW_H
#define PGSLUICE_TESTS_FACTS_SHOW_H

#include "parser/facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

struct show {
    char *out;
    const char *text;
};

static void show(struct show *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void show(struct show *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    s->out = talloc_vasprintf_append_buffer(s->out, format, args);
    va_end(args);
}

static void show_span(struct show *s, int place, int end)
{
    if (place >= 0 && end >= place)
        show(s, " [%.*s]", end - place, s->text + place);
    else
        show(s, " [?]");
}

static void show_name(struct show *s, const struct name *name)
{
    show(s, "%s%s%s", name->schema ? name->schema : "", name->schema ? "." : "",
         name->name ? name->name : "-");
}

static void show_expr(struct show *s, const struct expr *expr)
{
    static const char *const kinds[] = {"null",  "const", "call",     "op",       "cast",  "value", "column",
                                        "array", "bool",  "nulltest", "subquery", "param", "other"};
    static const char *const constants[] = {"string", "integer", "numeric", "boolean", "bits"};
    show(s, "%s", expr->kind == EXPR_CONSTANT ? constants[expr->constant] : kinds[expr->kind]);
    if (expr->name.name) {
        show(s, " ");
        show_name(s, &expr->name);
    }
    if (expr->text)
        show(s, " '%s'", expr->text);
    if (expr->type)
        show(s, " <%s>", expr->type->text);
    show(s, "%s%s%s%s", expr->variadic ? " variadic" : "", expr->distinct ? " distinct" : "",
         expr->star ? " *" : "", expr->window ? " over" : "");
    for (size_t i = 0; i < expr->n_args; i++) {
        show(s, i ? ", " : " (");
        show_expr(s, expr->args[i]);
    }
    if (expr->n_args)
        show(s, ")");
}

static void show_constraint(struct show *s, const struct constraint *c)
{
    static const char *const kinds[] = {"null",    "not-null", "default",   "identity", "generated", "check",
                                        "primary", "unique",   "exclusion", "foreign",  "attribute"};
    show(s, "{%s", kinds[c->kind]);
    if (c->name)
        show(s, " %s", c->name);
    for (size_t i = 0; i < c->n_columns; i++)
        show(s, " col:%s", c->columns[i]);
    if (c->referenced.name) {
        show(s, " ref:");
        show_name(s, &c->referenced);
    }
    for (size_t i = 0; i < c->n_referenced_columns; i++)
        show(s, " ref-col:%s", c->referenced_columns[i]);
    if (c->using_index)
        show(s, " index:%s", c->using_index);
    show(s, "%s%s%s%s%s%s", c->not_valid ? " not-valid" : "", c->no_inherit ? " no-inherit" : "",
         c->deferrable ? " deferrable" : "", c->initially_deferred ? " deferred" : "",
         c->always ? " always" : "", c->generated_virtual ? " virtual" : "");
    show_span(s, c->place, c->end);
    if (c->expr) {
        show(s, " = ");
        show_expr(s, c->expr);
    }
    show(s, "}");
}

static void show_column(struct show *s, const struct column_definition *c)
{
    show(s, "(%s %s", c->name ? c->name : "-", c->type.text);
    if (c->collation)
        show(s, " collate:%s", c->collation);
    show_span(s, c->place, c->end);
    for (size_t i = 0; i < c->n_constraints; i++) {
        show(s, " ");
        show_constraint(s, &c->constraints[i]);
    }
    show(s, ")");
}

static void show_alter(struct show *s, const struct alter *a)
{
    show(s, "; %s", alter_kind_name(a->kind));
    if (a->subject)
        show(s, " subject:%s", a->subject);
    if (a->new_name)
        show(s, " new:%s", a->new_name);
    if (a->other.name) {
        show(s, " other:");
        show_name(s, &a->other);
    }
    show(s, "%s%s%s", a->missing_ok ? " missing-ok" : "", a->cascade ? " cascade" : "",
         a->concurrently ? " concurrently" : "");
    show_span(s, a->place, a->end);
    if (a->column) {
        show(s, " ");
        show_column(s, a->column);
    }
    if (a->constraint) {
        show(s, " ");
        show_constraint(s, a->constraint);
    }
    if (a->expr) {
        show(s, " = ");
        show_expr(s, a->expr);
    }
}

/* Below `parent`. */
static char *show_facts(const void *parent, const struct facts *f, const char *text)
{
    struct show s = {talloc_strdup(parent, ""), text};
    if (f->status != FACTS_OK) {
        static const char *const statuses[] = {"ok", "syntax", "too long", "too deep", "fault"};
        show(&s, "%s: %s at %d", statuses[f->status], f->error, f->error_place);
        return s.out;
    }
    show(&s, "%s %s <%s>", f->tag, f->object_kind, f->identity);
    if (f->index_table.name) {
        show(&s, " on ");
        show_name(&s, &f->index_table);
    }
    show(&s, "%s%s%s%s%s%s%s%s%s", f->if_exists ? " if-exists" : "", f->if_not_exists ? " if-not-exists" : "",
         f->only ? " only" : "", f->cascade ? " cascade" : "", f->concurrently ? " concurrently" : "",
         f->temporary ? " temporary" : "", f->unlogged ? " unlogged" : "", f->unique ? " unique" : "",
         f->partition_of ? " partition" : "");
    static const char *const uses[] = {"star", "position", "star-inserted", "copy-from", "copy-to"};
    for (size_t i = 0; i < f->n_row_users; i++) {
        show(&s, "; %s ", uses[f->row_users[i].use]);
        show_name(&s, &f->row_users[i].table);
    }
    if (f->prepared)
        show(&s, "; prepared %s", f->prepared);
    if (f->parameters)
        show(&s, "; parameters");
    if (f->uncomments)
        show(&s, " uncomments");
    if (f->lock)
        show(&s, " mode:%d", f->lock);
    for (size_t i = 0; i < f->n_alters; i++)
        show_alter(&s, &f->alters[i]);
    for (size_t i = 0; i < f->n_columns; i++) {
        show(&s, "; ");
        show_column(&s, &f->columns[i]);
    }
    for (size_t i = 0; i < f->n_constraints; i++) {
        show(&s, "; ");
        show_constraint(&s, &f->constraints[i]);
    }
    if (f->dynamic_why)
        show(&s, "; %s: %s", f->dynamic ? "dynamic" : "note", f->dynamic_why);
    for (size_t i = 0; i < f->n_nested; i++) {
        const struct nested *nested = &f->nested[i];
        char *inner = show_facts(s.out, nested->facts, nested->text);
        show(&s, "; <<%s @%.4s: %s>>", nested->where, nested->place >= 0 ? text + nested->place : "?", inner);
    }
    return s.out;
}

#endif

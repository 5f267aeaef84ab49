/*
 * Readers of single statements, each from what is inside its node into r->facts. Private to this room.
 */
#ifndef PGSLUICE_PARSER_FACTS_CREATE_H
#define PGSLUICE_PARSER_FACTS_CREATE_H

#include "parser/facts_read.h"

void facts_create_table(struct reader *, json_t *inside);
void facts_create_foreign_table(struct reader *, json_t *inside);
void facts_create_table_as(struct reader *, json_t *inside);
/* Does an INSERT, or a CREATE TABLE AS, of this query move many rows? */
bool facts_query_moves(const json_t *select);
void facts_select(struct reader *, json_t *inside);
void facts_explain(struct reader *, json_t *inside);
void facts_create_index(struct reader *, json_t *inside);
void facts_drop(struct reader *, json_t *inside);
void facts_truncate(struct reader *, json_t *inside);
void facts_grant(struct reader *, json_t *inside);
void facts_grant_role(struct reader *, json_t *inside);
void facts_default_privileges(struct reader *, json_t *inside);
void facts_define(struct reader *, json_t *inside);
void facts_alter_function(struct reader *, json_t *inside);
void facts_move_all(struct reader *, json_t *inside);
void facts_vacuum(struct reader *, json_t *inside);
void facts_reindex(struct reader *, json_t *inside);
void facts_transaction(struct reader *, json_t *inside);
void facts_set(struct reader *, json_t *inside);
void facts_discard(struct reader *, json_t *inside);
/* What a query of this kind takes for granted of its tables' columns: facts_row.c. */
void facts_row_users(struct reader *, const char *kind, json_t *inside);

/* Bodies: facts_body.c. */
void facts_do(struct reader *, json_t *inside);
void facts_create_function(struct reader *, json_t *inside);

#endif

/*
 * What a statement works on, and its command tag. Private to this room.
 */
#ifndef PGSLUICE_PARSER_FACTS_OBJECTS_H
#define PGSLUICE_PARSER_FACTS_OBJECTS_H

#include "parser/facts_read.h"

/* Words for an ObjectType ("OBJECT_TABLE" -> "TABLE"); "" for one that is not known. */
const char *object_words(const char *object_type);
void facts_object_kind(struct reader *, const char *object_type);

/* "ALTER TABLE", "DROP FUNCTION" … as CreateCommandTag() in PostgreSQL's utility.c has them. */
const char *facts_alter_tag(struct reader *, const char *object_type);
char *facts_tag(struct reader *, const char *verb, const char *object_type);

char *identity_of(struct reader *, const struct name *); /* NULL for no name */
char *operator_identity(struct reader *, const struct name *);
void facts_identity(struct reader *, char *text); /* NULL leaves it as it is */

/* The statement is on this RangeVar: object, only, temporary, unlogged. */
void facts_on_relation(struct reader *, const json_t *range_var);

/* The object of a statement with the members relation, object, subname as libpg_query's have them. */
void facts_named_object(struct reader *, const char *object_type, json_t *statement);

/* One object node, of any of the forms the grammar uses for this type. `on` takes the table a trigger, rule,
 * policy, column or constraint is on. Returns the identity as text, below the facts. */
char *object_read(struct reader *, const char *object_type, json_t *node, struct name *object,
                  struct name *on);

/* All objects of DROP, GRANT, COMMENT …, and the identity of them together. */
void facts_objects(struct reader *, const char *object_type, json_t *list);

/* Every other statement, by its node's kind. false: none of ours. */
bool facts_other(struct reader *, const char *kind, json_t *inside);

#endif

/*
 * DO and CREATE FUNCTION: which language, and what the body hides.
 */
#include "parser/facts_create.h"
#include "parser/facts_objects.h"

#include <string.h>
#include <talloc.h>

void facts_do(struct reader *r, json_t *in)
{
    r->facts->kind = STATEMENT_DO;
    r->facts->tag = "DO";
    r->facts->dynamic = true;
    r->facts->dynamic_why = "the body of the DO block";
}

void facts_create_function(struct reader *r, json_t *in)
{
    struct facts *facts = r->facts;
    bool procedure = tree_true(in, "is_procedure");
    facts->kind = STATEMENT_CREATE_FUNCTION;
    facts->tag = procedure ? "CREATE PROCEDURE" : "CREATE FUNCTION";
    facts->object_kind = procedure ? "PROCEDURE" : "FUNCTION";
    facts->object = name_of_list(r, tree_list(in, "funcname"));
    facts_identity(r, identity_of(r, &facts->object));
}

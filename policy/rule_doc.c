/*
 * What each rule is about: printed by `pgsluice check --explain`.
 */
#include "policy/policy.h"

static const struct rule_doc docs[] = {
#define DOC(id, summary, happens, matters, safe_way, source)                                                 \
    [RULE_##id] = {summary, happens, matters, safe_way, source},
#include "policy/rule_doc.def"
#undef DOC
};

/* A rule without its row fails to compile: one enumerator a row, counted against the contract. */
enum {
#define DOC(id, summary, happens, matters, safe_way, source) DOC_OF_##id,
#include "policy/rule_doc.def"
#undef DOC
    DOC_COUNT
};
_Static_assert((int)DOC_COUNT == (int)RULE_COUNT, "rule_doc.def has a row for each rule of conf/rules.def");
_Static_assert(sizeof docs / sizeof *docs == RULE_COUNT, "rule_doc.def names the last rule");

const struct rule_doc *rule_doc(enum rule rule)
{
    return &docs[rule];
}

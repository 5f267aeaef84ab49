/*
 * Findings: the rules that matched one statement. Private to policy/.
 *
 * Every message is one sentence that says what the statement would do; every detail says what PostgreSQL does
 * meanwhile; every hint says what to write instead. They are read at night by someone who did not write them.
 */
#ifndef PGSLUICE_POLICY_FINDINGS_H
#define PGSLUICE_POLICY_FINDINGS_H

#include "policy/effects.h"

/* One judgement under way. All texts are allocated below `memory`. */
struct judge {
    struct verdict *memory; /* findings are gathered here */
    const struct policy_context *context;
    const struct facts *facts;
    const struct look *look;
    const struct parts *parts;
    const struct name *table; /* the table that the statement is about; its name may be NULL */
    const char *table_text;   /* the same, quoted where it must be */
    const char *where;        /* "line 3 of the DO block", or NULL for the statement itself */
    int outer_place;          /* place of all findings where `where` is set */
};

/* What a rule saw. `sure`: NO never gets here; UNKNOWN where the text alone can't tell. */
struct sight {
    enum rule rule;
    enum answer sure;
    int place;
    const char *object; /* column or constraint, or NULL */
    bool only_warn;     /* it speaks of what has happened: refusing the statement would not help */
    char *message, *detail, *hint;
};

/* Take it up as a finding, unless the policy allows it. */
void finding_add(struct judge *, const struct sight *);

void findings_of(struct judge *, const struct facts *);        /* everything below, and what is nested */
void findings_column(struct judge *, const struct part *);     /* ADD COLUMN: the change */
void findings_alter(struct judge *, const struct part *);      /* the other subcommands */
void findings_catalog(struct judge *, const struct part *);    /* ADD COLUMN: what only the catalog shows */
void findings_work(struct judge *);                            /* VACUUM FULL, CLUSTER, REINDEX, REFRESH */
void findings_work_alter(struct judge *, const struct part *); /* SET LOGGED, ATTACH PARTITION … */
void findings_drop(struct judge *); /* DROP, of whatever takes tables or columns along */
void findings_truncate(struct judge *);
void findings_away(struct judge *);                         /* DROP OWNED, ALTER SCHEMA … RENAME */
void findings_definition(struct judge *);                   /* columns as they are defined */
void findings_comment(struct judge *);                      /* new columns without a comment */
void findings_readers(struct judge *, const struct part *); /* queries that go by a table's columns */
void findings_held(struct judge *);                         /* work behind a lock that is held */
void held_after(struct verdict *, const struct look *, const struct parts *); /* verdict.locked */

/* Is the rule silent on this table: private to the transaction, or small? */
bool rule_excused(const struct judge *, enum rule);

/* It fails for certain, with these words, since what it names isn't there: before it has locked anything for
 * long. */
bool not_there(const char *fails_with);

/* "It holds about 5,000,000 rows: expect some 10 s." or, with nothing known, a sentence without numbers. */
enum work { WORK_REWRITE, WORK_READ, WORK_INDEX, WORK_KEY };
const char *work_estimate(const struct judge *, enum work);

/* " Right now pid 4711 has been reading it for 12 min: ..."; "" where nobody is in the way. */
const char *waiting_text(const struct judge *);

/* verdict.plan; or, where action online can't be kept, reject and why (verdict_plan.c). */
void verdict_plan(struct verdict *, const struct facts *, const struct policy_context *);

/* ---- the safe way, as SQL (recipe.c) ---- */

/* The whole of an ADD COLUMN in steps that stall nobody; NULL where there is no such way. */
char *recipe_column(const struct judge *, const struct column_definition *);
/* The same where a column holds rows of the table: a value for old rows has to come later. */
char *recipe_row_type(const struct judge *, const struct column_definition *);
char *recipe_not_null(const struct judge *, const char *column);
char *recipe_constraint(const struct judge *, const struct constraint *);
char *recipe_type(const struct judge *, const struct alter *);

#endif

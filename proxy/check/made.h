/*
 * What a file's earlier statements have done: whether a transaction is open, what it keeps locked, and the
 * facts that the policy wants to know of. A transaction that is rolled back takes its facts with it.
 */
#ifndef PGSLUICE_PROXY_CHECK_MADE_H
#define PGSLUICE_PROXY_CHECK_MADE_H

#include "policy/policy.h"
#include "proxy/check/source.h"

struct made {
    const struct facts **facts;
    size_t n;
    size_t begun; /* n at the start of the transaction */
    bool in_transaction;
    struct policy_held held; /* by the transaction: a lock that others notice; `table` NULL: none */
    bool failed;             /* no memory */
};

/* A section begins: `wrapped` says that its tool opens a transaction. The facts stay. */
void made_section(struct made *, bool wrapped);

/* BEGIN, COMMIT, ROLLBACK and their kin as the text says. True: a transaction has ended. */
bool made_transaction(struct made *, const char *sql, size_t length, bool begins);

/* Remember what changes names or tables; the facts must live as long. */
void made_add(const void *talloc_parent, struct made *, const struct facts *);

/* Remember the lock that a statement leaves behind in its transaction; the strongest counts. */
void made_lock(const void *talloc_parent, struct made *, const struct facts *, const struct verdict *);

#endif

/*
 * The database that `--connect` names: asked what the names in a statement mean, in the words of
 * policy/catalog.h. Nothing of a file is executed but the settings that say how names are found and who asks
 * (search_path, role).
 *
 * Blocking, and used by one thread. Errors are texts for people, owned by the connection or the talloc
 * parent.
 */
#ifndef PGSLUICE_PROXY_CHECK_CONNECT_H
#define PGSLUICE_PROXY_CHECK_CONNECT_H

#include "policy/catalog.h"
#include "policy/policy.h"

struct connection;

/* NULL: *error says why. Freed with talloc_free(). */
struct connection *connection_open(const void *talloc_parent, const char *conninfo, char **error);

int connection_version(const struct connection *); /* 150004 */
const char *connection_database(const struct connection *);
const char *connection_user(const struct connection *);

/* What a statement's names mean. True with *names NULL: there is nothing to ask. False: *error. `role`: who
 * will run the statement; where that is not who asks, the rights of the one who asks say nothing. */
bool connection_ask(const void *talloc_parent, struct connection *, const struct facts *, const char *role,
                    const struct catalog **names, const char **error);

/* A file's setting: where it is search_path or the role, it is taken over until it would end; SET LOCAL
 * counts only in a transaction. NULL: taken over, or of no interest; else the server's words. */
const char *connection_follow(struct connection *, const char *sql, size_t length, bool in_transaction);
void connection_transaction_ended(struct connection *);
/* A file has ended: its settings with it. */
void connection_file_ended(struct connection *);

#endif

/*
 * From action online to a plan, or to a refusal that says why there is none. And for statements that pass:
 * a lock that is taken without queueing.
 */
#include <talloc.h>

#include "policy/catalog.h"
#include "policy/findings.h"
#include "policy/plan.h"

/* ---- can anything be done online here? ---- */

/* Where the server is, for a command line. */
static const char *install_command(const void *memory, const struct policy_context *context)
{
    const struct conf_upstream *upstream = &context->conf->upstream;
    const struct conf_host *host = upstream->n_hosts > 0 ? &upstream->hosts[0] : NULL;
    const char *database = context->names->database != NULL ? context->names->database : context->database;
    if (host == NULL || host->host == NULL)
        return talloc_asprintf(memory, "pgsluice install --connect 'dbname=%s'", database);
    return talloc_asprintf(memory, "pgsluice install --connect 'host=%s port=%u dbname=%s'", host->host,
                           (unsigned)host->port, database);
}

static const char *not_usable(const void *memory, const struct catalog *names, const char **remedy)
{
    const char *user = names->user == NULL ? "this role" : quote_identifier(memory, names->user);
    if (!names->schema_usable) {
        *remedy = talloc_asprintf(memory, "GRANT USAGE ON SCHEMA pgsluice TO %s;", user);
        return talloc_asprintf(memory, "role %s may not use the schema pgsluice of this database", user);
    }
    *remedy = talloc_asprintf(memory, "GRANT USAGE ON LANGUAGE plpgsql TO %s;", user);
    return talloc_asprintf(
        memory, "role %s may not use the language plpgsql, or this database doesn't have it", user);
}

bool plan_possible(const void *talloc_parent, const struct policy_context *context, const char **why,
                   const char **remedy)
{
    const struct catalog *names = context->names;
    *remedy = NULL;
    *why = NULL;
    if (context->conf->online.maintenance == NULL)
        *why = "online.maintenance is not configured";
    else if (names == NULL)
        *why = "what its names mean could not be asked of the database";
    else if (names->schema_version == 0)
        *why = talloc_asprintf(talloc_parent, "the schema pgsluice is not installed in database %s",
                               names->database);
    else if (!names->schema_trusted)
        *why = talloc_asprintf(
            talloc_parent,
            "the schema pgsluice of database %s belongs to somebody who can't be trusted with it: "
            "neither a superuser nor a database's owner who is a member of every role that you are a member "
            "of",
            names->database);
    else if (names->schema_version != PLAN_SCHEMA_VERSION)
        *why = talloc_asprintf(
            talloc_parent,
            "the schema pgsluice of database %s is not of version %d, which this pgsluice needs",
            names->database, PLAN_SCHEMA_VERSION);
    else if (!names->schema_usable || !names->plpgsql_usable)
        *why = not_usable(talloc_parent, names, remedy);
    if (*why != NULL && names != NULL && *remedy == NULL && context->conf->online.maintenance != NULL)
        *remedy = install_command(talloc_parent, context);
    return *why == NULL;
}

/* ---- the verdict ---- */

static struct plan *plan(struct verdict *verdict, const struct facts *facts,
                         const struct policy_context *context, const char **why)
{
    const struct plan_request request = {.facts = facts,
                                         .text = context->text,
                                         .length = context->length,
                                         .context = context,
                                         .nonce = context->nonce};
    return plan_of(verdict, &request, why);
}

static enum action gravest(const struct verdict *verdict)
{
    enum action action = ACTION_ALLOW;
    for (size_t i = 0; i < verdict->n_findings; i++) {
        if (!verdict->findings[i].waived && verdict->findings[i].action > action)
            action = verdict->findings[i].action;
    }
    return action;
}

/* The finding's own way is what is left to the author. */
static void refuse(struct verdict *verdict, const char *why, const char *remedy)
{
    for (size_t i = 0; i < verdict->n_findings; i++) {
        struct finding *finding = &verdict->findings[i];
        if (finding->action != ACTION_ONLINE || finding->waived)
            continue;
        finding->action = finding->unsure ? ACTION_WARN : ACTION_REJECT;
        finding->hint =
            talloc_asprintf(verdict, "It can't be done online: %s.%s%s%s%s", why, remedy == NULL ? "" : "\n",
                            remedy == NULL ? "" : remedy, finding->hint == NULL ? "" : "\n",
                            finding->hint == NULL ? "" : finding->hint);
    }
    verdict->action = gravest(verdict);
}

/* Is online what the policy wants, work behind a lock aside? A change takes its time when the lock is gone.
 */
static bool wants_online(const struct verdict *verdict)
{
    bool online = false;
    for (size_t i = 0; i < verdict->n_findings; i++) {
        const struct finding *finding = &verdict->findings[i];
        if (finding->waived || finding->rule == RULE_lock_held_in_transaction)
            continue;
        if (finding->action > ACTION_ONLINE)
            return false;
        online = online || finding->action == ACTION_ONLINE;
    }
    return online;
}

static void forget_work_behind_lock(struct verdict *verdict)
{
    size_t n = 0;
    for (size_t i = 0; i < verdict->n_findings; i++) {
        if (verdict->findings[i].rule != RULE_lock_held_in_transaction)
            verdict->findings[n++] = verdict->findings[i];
    }
    verdict->n_findings = n;
    verdict->action = gravest(verdict);
}

/* What the author is to do now: nothing. Said once. */
static void carried_out(struct verdict *verdict, const struct policy_context *context)
{
    const char *hint =
        context->conf->online.wait == WAIT_DONE
            ? "Unless an error follows, nothing is to be done: pgsluice carries it out in steps "
              "that stall nobody, and the answer (to the COMMIT, where one is due) comes when it is complete."
            : "Unless an error follows, nothing is to be done: pgsluice carries it out in steps "
              "that stall nobody. The answer comes at once; what is left is done after the "
              "commit.";
    for (size_t i = 0; i < verdict->n_findings; i++) {
        struct finding *finding = &verdict->findings[i];
        if (finding->action != ACTION_ONLINE || finding->waived)
            continue;
        finding->hint = hint;
        hint = NULL;
    }
}

/* What its table is like when the statement runs is not known yet. */
static bool known_later(const struct facts *facts, const struct policy_context *context)
{
    const struct look look = look_at(context, facts);
    return context->asked_anew && context->names != NULL && table_structure(&look) == NULL &&
           (look.table.changed || look.names == NULL);
}

void verdict_plan(struct verdict *verdict, const struct facts *facts, const struct policy_context *context)
{
    const char *why, *remedy;
    bool online = wants_online(verdict);
    bool passes = verdict->action < ACTION_ONLINE && verdict->effects.lock == LOCK_ACCESS_EXCLUSIVE;
    if (context->text == NULL || context->conf->policy.profile == PROFILE_OBSERVE || (!online && !passes))
        return;
    if (plan_possible(verdict, context, &why, &remedy))
        verdict->plan = plan(verdict, facts, context, &why);
    if (verdict->plan != NULL && online) {
        forget_work_behind_lock(verdict);
        carried_out(verdict, context);
    } else if (online && !known_later(facts, context)) {
        refuse(verdict, why, remedy);
    } else if (verdict->plan != NULL && verdict->plan->spec != NULL) {
        verdict->plan = NULL; /* policy lets it pass as it is */
    }
}

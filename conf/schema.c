/*
 * The tables of the schema: one row a key. A new key is a new row here, a member in conf.h, a default in
 * snapshot.c and a line in pgsluice.yaml.
 */
#include "conf/schema.h"

/* ROW(key, kind, flags, where it goes, and what else its kind needs) */
#define ROW(name, type, flag, where, ...)                                                                    \
    {                                                                                                        \
        .key = (name), .kind = FIELD_##type, .flags = (flag), .offset = (where), __VA_ARGS__                 \
    }
#define LATER(name)                                                                                          \
    {                                                                                                        \
        .key = (name), .kind = FIELD_LATER                                                                   \
    }
#define RANGE(from, to) .low = (from), .high = (to)
#define ROWS(table)     (table), sizeof(table) / sizeof(*(table))

static const char *const targets[] = {"any", "primary", NULL};
static const char *const tls_modes[] = {"disable",   "allow",       "prefer", "require",
                                        "verify-ca", "verify-full", NULL};
static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const waits[] = {"done", "added", NULL};
static const char *const quarantines[] = {"reject", "warn", "allow", NULL};
static const char *const disconnects[] = {"continue", "undo", NULL};
static const char *const profiles[] = {"observe", "standard", "strict", NULL};

#define DAY      UINT64_C(86400000)
#define KILOBYTE UINT64_C(1024)
#define MEGABYTE (1024 * KILOBYTE)
#define GIGABYTE (1024 * MEGABYTE)

static const struct field listen_fields[] = {
    ROW("address", STRING, FIELD_REQUIRED, offsetof(struct conf_listen, address),
        .wrong = value_listen_address),
    ROW("port", PORT, FIELD_REQUIRED, offsetof(struct conf_listen, port)),
};
static const struct section listen_section = {ROWS(listen_fields), NULL};

static const struct field host_fields[] = {
    ROW("host", STRING, FIELD_REQUIRED, offsetof(struct conf_host, host), .wrong = value_host),
    ROW("port", PORT, FIELD_REQUIRED, offsetof(struct conf_host, port)),
};
static const struct section host_section = {ROWS(host_fields), NULL};

/* Offsets count from the snapshot: a single host has its place there. */
#define UPSTREAM(member) offsetof(struct snapshot, conf.upstream.member)
static const struct field upstream_fields[] = {
    ROW("host", STRING, FIELD_ALIAS, offsetof(struct snapshot, single.host), .wrong = value_host),
    ROW("port", PORT, FIELD_ALIAS, offsetof(struct snapshot, single.port)),
    ROW("hosts", LIST, FIELD_FILLED, UPSTREAM(hosts), .section = &host_section, .count = UPSTREAM(n_hosts),
        .size = sizeof(struct conf_host)),
    ROW("target", WORD, 0, UPSTREAM(target), .words = targets),
    ROW("connect_timeout", DURATION, 0, UPSTREAM(connect_timeout), RANGE(0, DAY)),
    ROW("monitor", CONNINFO, 0, UPSTREAM(monitor), .wrong = value_conninfo),
    ROW("check_interval", DURATION, 0, UPSTREAM(check_interval), RANGE(10, DAY)),
};
static const struct section upstream_section = {ROWS(upstream_fields), check_upstream};

static const struct field tls_leg_fields[] = {
    ROW("mode", WORD, 0, offsetof(struct conf_tls, mode), .words = tls_modes),
    ROW("certificate", STRING, 0, offsetof(struct conf_tls, certificate), .wrong = value_path),
    ROW("key", STRING, 0, offsetof(struct conf_tls, key), .wrong = value_path),
    ROW("ca", STRING, 0, offsetof(struct conf_tls, ca), .wrong = value_path),
};
static const struct section tls_client_section = {ROWS(tls_leg_fields), check_tls_client};
static const struct section tls_upstream_section = {ROWS(tls_leg_fields), check_tls_upstream};

static const struct field tls_fields[] = {
    ROW("client", SECTION, 0, offsetof(struct conf, tls_client), .section = &tls_client_section),
    ROW("upstream", SECTION, 0, offsetof(struct conf, tls_upstream), .section = &tls_upstream_section),
};
static const struct section tls_section = {ROWS(tls_fields), NULL};

#define LIMIT(member) offsetof(struct conf_limits, member)
static const struct field limits_fields[] = {
    ROW("sessions", NUMBER, 0, LIMIT(sessions), RANGE(1, 10000000)),
    ROW("sessions_per_user", NUMBER, 0, LIMIT(sessions_per_user), RANGE(0, 10000000)),
    ROW("login_time", DURATION, 0, LIMIT(login_time), RANGE(0, DAY)),
    ROW("idle_time", DURATION, 0, LIMIT(idle_time), RANGE(0, 365 * DAY)),
    ROW("drain_time", DURATION, 0, LIMIT(drain_time), RANGE(0, 365 * DAY)),
    ROW("statement", SIZE, 0, LIMIT(statement), RANGE(KILOBYTE, MEGABYTE)),
    ROW("held_message", SIZE, 0, LIMIT(held_message), RANGE(KILOBYTE, GIGABYTE)),
    ROW("held_total", SIZE, 0, LIMIT(held_total), RANGE(KILOBYTE, 1024 * GIGABYTE)),
    ROW("buffer", SIZE, 0, LIMIT(buffer), RANGE(KILOBYTE, GIGABYTE)),
};
static const struct section limits_section = {ROWS(limits_fields), NULL};

static const struct field log_fields[] = {
    ROW("level", WORD, 0, offsetof(struct conf_log, level), .words = log_levels),
    ROW("format", WORD, 0, offsetof(struct conf_log, format), .words = log_formats),
    ROW("sessions", BOOL, 0, offsetof(struct conf_log, sessions)),
    ROW("trace", STRING, 0, offsetof(struct conf_log, trace), .wrong = value_trace),
};
static const struct section log_section = {ROWS(log_fields), NULL};

static const struct field audit_fields[] = {
    ROW("path", STRING, FIELD_REQUIRED, offsetof(struct conf_audit, path), .wrong = value_path),
    ROW("sync", BOOL, 0, offsetof(struct conf_audit, sync)),
};
static const struct section audit_section = {ROWS(audit_fields), NULL};

static const struct field admin_fields[] = {
    ROW("address", STRING, FIELD_REQUIRED, offsetof(struct conf_admin, address),
        .wrong = value_admin_address),
    ROW("port", PORT, FIELD_REQUIRED, offsetof(struct conf_admin, port)),
};
static const struct section admin_section = {ROWS(admin_fields), NULL};

#define THROTTLE(member) offsetof(struct conf_throttle, member)
static const struct field throttle_fields[] = {
    ROW("latency_percent", NUMBER, 0, THROTTLE(latency_percent), RANGE(0, 100000)),
    ROW("replication_lag", DURATION, 0, THROTTLE(replication_lag), RANGE(0, DAY)),
    ROW("archive_backlog", NUMBER, 0, THROTTLE(archive_backlog), RANGE(0, 1000000)),
    ROW("autovacuum", BOOL, 0, THROTTLE(autovacuum)),
};
static const struct section throttle_section = {ROWS(throttle_fields), NULL};

static const struct field online_table_fields[] = {
    ROW("table", STRING, FIELD_REQUIRED, offsetof(struct conf_online_table, table), .wrong = value_not_empty),
    ROW("quarantine", WORD, FIELD_REQUIRED, offsetof(struct conf_online_table, quarantine),
        .words = quarantines),
};
static const struct section online_table_section = {ROWS(online_table_fields), NULL};

#define ONLINE(member) offsetof(struct conf_online, member)
static const struct field online_fields[] = {
    ROW("maintenance", CONNINFO, 0, ONLINE(maintenance), .wrong = value_conninfo),
    ROW("wait", WORD, 0, ONLINE(wait), .words = waits),
    ROW("wait_limit", DURATION, 0, ONLINE(wait_limit), RANGE(0, 365 * DAY)),
    ROW("on_disconnect", WORD, 0, ONLINE(on_disconnect), .words = disconnects),
    ROW("stall_budget", DURATION, 0, ONLINE(stall_budget), RANGE(10, 60000)),
    ROW("lock_time", DURATION, 0, ONLINE(lock_time), RANGE(1, DAY)),
    ROW("batch_time", DURATION, 0, ONLINE(batch_time), RANGE(1, 60000)),
    ROW("workers", NUMBER, FIELD_RESTART, ONLINE(workers), RANGE(1, 64)),
    ROW("allow_superuser", BOOL, 0, ONLINE(allow_superuser)),
    ROW("quarantine", WORD, 0, ONLINE(quarantine), .words = quarantines),
    ROW("tables", LIST, 0, ONLINE(tables), .section = &online_table_section, .count = ONLINE(n_tables),
        .size = sizeof(struct conf_online_table)),
    ROW("throttle", SECTION, 0, ONLINE(throttle), .section = &throttle_section),
};
static const struct section online_section = {ROWS(online_fields), NULL};

#define POLICY(member) offsetof(struct conf_policy, member)
static const struct field small_table_fields[] = {
    ROW("rows", COUNT, 0, POLICY(small_table_rows), RANGE(0, INT64_MAX)),
    ROW("size", SIZE, 0, POLICY(small_table_size), RANGE(0, INT64_MAX)),
};
static const struct section small_table_section = {ROWS(small_table_fields), NULL};

#define WHEN(member) offsetof(struct conf_override, member)
static const struct field when_fields[] = {
    ROW("database", STRING, 0, WHEN(database), .wrong = value_not_empty),
    ROW("table", STRING, 0, WHEN(table), .wrong = value_not_empty),
    ROW("role", STRING, 0, WHEN(role), .wrong = value_not_empty),
    ROW("application", STRING, 0, WHEN(application)),
    ROW("environment", STRING, 0, WHEN(environment)),
};
static const struct section when_section = {ROWS(when_fields), NULL};

static const struct field override_fields[] = {
    ROW("when", SECTION, FIELD_REQUIRED, 0, .section = &when_section),
    ROW("rules", RULES, FIELD_REQUIRED, WHEN(rules)),
};
static const struct section override_section = {ROWS(override_fields), check_override};

static const struct field waivers_fields[] = {
    ROW("roles", STRINGS, 0, POLICY(waiver_roles), .count = POLICY(n_waiver_roles), .wrong = value_not_empty),
    ROW("require_reason", BOOL, 0, POLICY(waiver_require_reason)),
};
static const struct section waivers_section = {ROWS(waivers_fields), NULL};

static const struct field policy_fields[] = {
    ROW("profile", WORD, 0, POLICY(profile), .words = profiles),
    ROW("small_table", SECTION, 0, 0, .section = &small_table_section),
    ROW("unparseable", ACTION, FIELD_ALIAS, POLICY(rules[RULE_unparseable]), .rule = RULE_unparseable),
    ROW("rules", RULES, 0, POLICY(rules)),
    ROW("overrides", LIST, 0, POLICY(overrides), .section = &override_section, .count = POLICY(n_overrides),
        .size = sizeof(struct conf_override)),
    ROW("waivers", SECTION, 0, 0, .section = &waivers_section),
};
static const struct section policy_section = {ROWS(policy_fields), NULL};

#define ROOT(member) offsetof(struct conf, member)
static const struct field root_fields[] = {
    ROW("listen", LIST, FIELD_REQUIRED | FIELD_FILLED, ROOT(listen), .section = &listen_section,
        .count = ROOT(n_listen), .size = sizeof(struct conf_listen)),
    ROW("upstream", SECTION, FIELD_REQUIRED, 0, .section = &upstream_section),
    ROW("tls", SECTION, 0, 0, .section = &tls_section),
    ROW("limits", SECTION, 0, ROOT(limits), .section = &limits_section),
    ROW("threads", NUMBER, FIELD_RESTART, ROOT(threads), RANGE(0, 1024)),
    ROW("log", SECTION, 0, ROOT(log), .section = &log_section),
    ROW("audit", SECTION, 0, ROOT(audit), .section = &audit_section),
    ROW("admin", SECTION, 0, ROOT(admin), .section = &admin_section),
    ROW("online", SECTION, 0, ROOT(online), .section = &online_section),
    ROW("policy", SECTION, 0, ROOT(policy), .section = &policy_section),
    ROW("environment", STRING, 0, ROOT(environment)),
    LATER("environments"),
    LATER("console"),
};
const struct section schema_root = {ROWS(root_fields), check_root};

/*
 * What must hold between several keys. A check looks at what was read; a value that was a mistake itself kept
 * its default, so that no mistake is told twice.
 */
#include "conf/schema.h"

#include <string.h>
#include <strings.h>

/* The node to blame: the key's value if it was said, else the section. */
static const yaml_node_t *blame(struct reader *reader, const yaml_node_t *section, const char *key)
{
    const yaml_node_t *node = document_child(reader, section, key);
    return node ? node : section;
}

static void same_hosts(struct reader *reader, const yaml_node_t *node, const struct place *outer,
                       const struct conf_upstream *upstream)
{
    const struct place place = {outer, "hosts", 0};
    const yaml_node_t *list = document_child(reader, node, "hosts");
    for (size_t i = 1; i < upstream->n_hosts; i++) {
        const struct conf_host *host = &upstream->hosts[i];
        for (size_t j = 0; j < i && host->host; j++) {
            const struct conf_host *other = &upstream->hosts[j];
            if (!other->host || host->port != other->port || strcasecmp(host->host, other->host) != 0)
                continue;
            const struct place at = {&place, NULL, i};
            reader_mistake_at(reader, document_item(reader, list, i), &at, "stands in the list already");
            break;
        }
    }
}

void check_upstream(struct reader *reader, const yaml_node_t *node, const struct place *place, void *base)
{
    struct snapshot *snapshot = base;
    struct conf_upstream *upstream = &snapshot->conf.upstream;
    const yaml_node_t *host = document_child(reader, node, "host");
    const yaml_node_t *port = document_child(reader, node, "port");
    const yaml_node_t *hosts = document_child(reader, node, "hosts");
    if (hosts && (host || port)) {
        reader_mistake_at(reader, host ? host : port, place, "host and port cannot stand beside hosts");
    } else if (!hosts) {
        if (!host || !port)
            reader_mistake_at(reader, node, place,
                              "expected host and port, or hosts: [{host: ..., port: ...}]");
        upstream->hosts = &snapshot->single;
        upstream->n_hosts = 1;
    } else {
        same_hosts(reader, node, place, upstream);
    }
}

static void check_tls(struct reader *reader, const yaml_node_t *node, const struct place *place,
                      const struct conf_tls *tls)
{
    const yaml_node_t *certificate = document_child(reader, node, "certificate");
    const yaml_node_t *key = document_child(reader, node, "key");
    const yaml_node_t *ca = document_child(reader, node, "ca");
    bool verifies = tls->mode == TLS_VERIFY_CA || tls->mode == TLS_VERIFY_FULL;
    if (certificate && !key)
        reader_mistake_at(reader, certificate, place, "a certificate needs its key");
    if (key && !certificate)
        reader_mistake_at(reader, key, place, "a key needs its certificate");
    if (verifies && !ca)
        reader_mistake_at(reader, blame(reader, node, "mode"), place,
                          "this mode needs ca, to check certificates by");
    /* else somebody believes that certificates are checked */
    if (ca && !verifies)
        reader_mistake_at(
            reader, ca, place,
            "ca is used with mode verify-ca and verify-full only; say one of them, or leave ca out");
}

void check_tls_client(struct reader *reader, const yaml_node_t *node, const struct place *place, void *base)
{
    struct conf_tls *tls = base;
    bool certificate = document_child(reader, node, "certificate") || document_child(reader, node, "key");
    if (!document_child(reader, node, "mode"))
        tls->mode = certificate ? TLS_PREFER : TLS_DISABLE;
    else if (tls->mode > TLS_ALLOW && !certificate)
        reader_mistake_at(reader, blame(reader, node, "mode"), place,
                          "this mode needs certificate and key, to be shown to clients");
    check_tls(reader, node, place, tls);
}

void check_tls_upstream(struct reader *reader, const yaml_node_t *node, const struct place *place, void *base)
{
    check_tls(reader, node, place, base);
}

void check_override(struct reader *reader, const yaml_node_t *node, const struct place *place, void *base)
{
    struct conf_override *override = base;
    override->line = (unsigned)node->start_mark.line + 1;
    const yaml_node_t *when = document_child(reader, node, "when");
    bool empty = when && when->type == YAML_MAPPING_NODE &&
                 when->data.mapping.pairs.start == when->data.mapping.pairs.top;
    if (when && (empty || document_is_null(when)))
        reader_mistake_at(reader, when, place, "when is empty; what always holds belongs in policy.rules");
}

static bool loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcasecmp(address, "localhost") == 0;
}

/* Would two listeners on these addresses, or one and the server there, be in each other's way? */
static bool overlap(const char *one, const char *other)
{
    if (one[0] == '/' || other[0] == '/')
        return strcmp(one, other) == 0;
    if (strcmp(one, "*") == 0 || strcmp(other, "*") == 0 || strcasecmp(one, other) == 0)
        return true;
    bool six = strchr(one, ':') != NULL, other_six = strchr(other, ':') != NULL;
    if (six != other_six)
        return false;
    const char *any = six ? "::" : "0.0.0.0";
    return strcmp(one, any) == 0 || strcmp(other, any) == 0;
}

/* Listening where the server listens: pgsluice would connect to itself for ever. */
static bool circle(const struct conf_listen *listen, const struct conf_host *host)
{
    if (!listen->address || !host->host || listen->port != host->port)
        return false;
    if (listen->address[0] == '/' || host->host[0] == '/' || strcasecmp(listen->address, host->host) == 0)
        return strcasecmp(listen->address, host->host) == 0;
    if (!loopback(host->host))
        return false;
    if (strcasecmp(host->host, "localhost") == 0)
        return loopback(listen->address) || overlap(listen->address, "127.0.0.1") ||
               overlap(listen->address, "::1");
    return overlap(listen->address, host->host);
}

static void check_listen(struct reader *reader, const yaml_node_t *list, const struct conf *conf, size_t i)
{
    static const struct place outer = {NULL, "listen", 0};
    const struct place place = {&outer, NULL, i};
    const yaml_node_t *node = document_item(reader, list, i);
    const struct conf_listen *listen = &conf->listen[i];
    if (!listen->address || listen->port == 0)
        return;
    for (size_t j = 0; j < i; j++) {
        const struct conf_listen *other = &conf->listen[j];
        if (other->address && other->port == listen->port && overlap(listen->address, other->address)) {
            reader_mistake_at(reader, node, &place, "takes the same address and port as listen[%zu]", j);
            break;
        }
    }
    for (size_t j = 0; j < conf->upstream.n_hosts; j++) {
        if (circle(listen, &conf->upstream.hosts[j])) {
            reader_mistake_at(reader, node, &place,
                              "this is where the upstream listens; pgsluice would connect to itself");
            break;
        }
    }
    if (conf->admin.address && conf->admin.port == listen->port &&
        overlap(listen->address, conf->admin.address))
        reader_mistake_at(reader, node, &place, "takes the same address and port as admin");
}

/* Action online, and nobody to carry it out. */
static void check_online(struct reader *reader, const yaml_node_t *rules, const struct place *outer,
                         const struct conf_rule said[RULE_COUNT])
{
    const struct place place = {outer, "rules", 0};
    for (int rule = 0; rule < RULE_COUNT && !reader->full; rule++) {
        if (!said[rule].has_action || said[rule].action != ACTION_ONLINE || !rule_online((enum rule)rule))
            continue;
        const struct place at = {&place, rule_name((enum rule)rule), 0};
        const yaml_node_t *node = document_child(reader, rules, rule_name((enum rule)rule));
        reader_mistake_at(reader, node ? node : rules, &at,
                          "action online needs online.maintenance, the connection that carries changes out");
    }
}

static void check_online_policy(struct reader *reader, const yaml_node_t *root, const struct conf *conf)
{
    static const struct place outer = {NULL, "policy", 0}, overrides = {&outer, "overrides", 0};
    const yaml_node_t *policy = document_child(reader, root, "policy");
    const yaml_node_t *list = document_child(reader, policy, "overrides");
    if (conf->online.maintenance || !policy)
        return;
    check_online(reader, document_child(reader, policy, "rules"), &outer, conf->policy.rules);
    for (size_t i = 0; list && i < conf->policy.n_overrides; i++) {
        const struct place place = {&overrides, NULL, i};
        const yaml_node_t *item = document_item(reader, list, i);
        check_online(reader, document_child(reader, item, "rules"), &place, conf->policy.overrides[i].rules);
    }
}

void check_root(struct reader *reader, const yaml_node_t *node, const struct place *place, void *base)
{
    struct conf *conf = base;
    const yaml_node_t *list = document_child(reader, node, "listen");
    for (size_t i = 0; i < conf->n_listen && !reader->full; i++)
        check_listen(reader, list, conf, i);
    if (!conf->upstream.monitor)
        conf->upstream.monitor = conf->online.maintenance;
    check_online_policy(reader, node, conf);
    if (conf->limits.held_total < conf->limits.held_message)
        reader_mistake_at(reader, blame(reader, document_child(reader, node, "limits"), "held_total"), place,
                          "limits.held_total is less than limits.held_message");
    if (conf->limits.held_message < conf->limits.statement)
        reader_mistake_at(reader, blame(reader, document_child(reader, node, "limits"), "held_message"),
                          place, "limits.held_message is less than limits.statement");
}

/*
 * Any bytes as a configuration: a snapshot or at least one mistake, never both; every mistake has its place
 * and is one line; a snapshot differs from nothing but itself.
 */
#include "conf/conf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_mistakes(const struct conf_mistakes *mistakes)
{
    for (size_t i = 0; i < mistakes->n; i++) {
        const struct conf_mistake *mistake = &mistakes->items[i];
        must(mistake->line > 0 && mistake->column > 0 && *mistake->text);
        must(!strpbrk(mistake->text, "\r\n"));
        must(i == 0 || mistakes->items[i - 1].line <= mistake->line);
    }
}

static void check_snapshot(struct conf *conf)
{
    must(conf->n_listen > 0 && conf->upstream.n_hosts > 0);
    for (size_t i = 0; i < conf->n_listen; i++)
        must(conf->listen[i].address && conf->listen[i].port > 0);
    for (size_t i = 0; i < conf->upstream.n_hosts; i++)
        must(conf->upstream.hosts[i].host && conf->upstream.hosts[i].port > 0);
    must(conf_diff(conf, conf, stderr, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char plain[] = "listen: [{address: '::1', port: 1}]\nupstream: {host: h, port: 2}\n";
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load_text((const char *)data, size, "fuzz", &mistakes);
    must((conf != NULL) == (mistakes.n == 0));
    check_mistakes(&mistakes);
    conf_mistakes_free(&mistakes);
    if (!conf)
        return 0;
    check_snapshot(conf);
    struct conf *other = conf_load_text(plain, strlen(plain), "plain", &mistakes);
    FILE *out = fopen("/dev/null", "w");
    must(other && out);
    conf_diff(other, conf, out, NULL);
    fclose(out);
    conf_unref(other);
    conf_unref(conf);
    return 0;
}

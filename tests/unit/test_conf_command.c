/*
 * `pgsluice config check` and the shipped pgsluice.yaml.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "proxy/cmd_config.h"

static const char shipped[] = TEST_DATA "/../conf/pgsluice.yaml";

/* Runs the command with both outputs in `out`, to be freed. */
static int run(char **out, int argc, const char **argv)
{
    size_t size;
    FILE *memory = open_memstream(out, &size);
    assert_non_null(memory);
    FILE *real_out = stdout, *real_error = stderr;
    stdout = memory;
    stderr = memory;
    int status = cmd_config(argc, (char **)argv);
    stdout = real_out;
    stderr = real_error;
    fclose(memory);
    return status;
}

static int check(char **out, const char *path)
{
    const char *argv[] = {"config", "check", path, NULL};
    return run(out, 3, argv);
}

static void expect(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("not found: %s\n--- in\n%s", part, text);
}

static void rules_in_force(void **state)
{
    char *out = NULL;
    assert_int_equal(check(&out, TEST_DATA "/unit/conf/everything.yaml"), 0);
    expect(out, "/unit/conf/everything.yaml: fine\n");
    expect(out, "\nvolatile-default          reject   policy, line 42\n"
                "                          allow    override, line 48: when table='tmp.*'\n");
    expect(out, "\nunparseable               warn     policy, line 40\n");
    expect(out, "\ndrop-table                reject   profile strict\n");
    expect(out,
           "\ncolumn-name               reject   policy, line 43, pattern ^[a-z][a-z0-9_]{0,62}$\n"
           "                                   override, line 46: when database='app*' table='public.orders' "
           "role='deploy' application='*' environment='production', pattern ^o_\n");
    expect(
        out,
        "\ncomment-required          reject   profile strict; in `check`; through the proxy it only warns");
    expect(out, "\npositional-insert         warn     profile strict; in `check` only\n");
    assert_null(strstr(out, "Not in this version"));
    free(out);
}

static void mistakes_in_order(void **state)
{
    char *out = NULL;
    assert_int_equal(check(&out, TEST_DATA "/unit/conf/twice.yaml"), 2);
    expect(out, "/twice.yaml:2:41: upstream.port: said twice; first on line 2\n");
    expect(out, "/twice.yaml:11:1: threads: said twice; first on line 3\n");
    assert_null(strstr(out, "fine"));
    free(out);
    assert_int_equal(check(&out, "there_is_none.yaml"), 2);
    assert_string_equal(out, "there_is_none.yaml:1:1: cannot be read: No such file or directory\n");
    free(out);
}

static void usage(void **state)
{
    char *out = NULL;
    const char *none[] = {"config", NULL}, *no_file[] = {"config", "check", NULL},
               *other[] = {"config", "show", "x", NULL};
    assert_int_equal(run(&out, 1, none), 2);
    expect(out, "usage: pgsluice config check FILE");
    free(out);
    assert_int_equal(run(&out, 2, no_file), 2);
    free(out);
    assert_int_equal(run(&out, 3, other), 2);
    free(out);
}

/* The shipped file says what the defaults are: with two lines only, everything is the same. */
static void shipped_is_default(void **state)
{
    static const char minimal[] =
        "listen: [{address: 127.0.0.1, port: 6432}]\nupstream: {host: 127.0.0.1, port: 5432}\n";
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load(shipped, &mistakes);
    assert_non_null(conf);
    struct conf *plain = conf_load_text(minimal, strlen(minimal), NULL, &mistakes);
    assert_non_null(plain);
    assert_int_equal(conf_diff(plain, conf, stdout, NULL), 0);
    conf_unref(conf);
    conf_unref(plain);
}

/* "# key: ..." and "# - ..." are lines to be used; other comments are prose. */
static bool usable(const char *comment)
{
    comment += strspn(comment, " ");
    if (strncmp(comment, "- {", 3) == 0 || strncmp(comment, "- when:", 7) == 0)
        return true;
    size_t word = strspn(comment, "abcdefghijklmnopqrstuvwxyz_-");
    return word > 0 && comment[word] == ':' && (comment[word + 1] == ' ' || comment[word + 1] == '\n');
}

/* With every line in use there is one contradiction, which the file itself speaks of. */
static void shipped_in_full(void **state)
{
    FILE *file = fopen(shipped, "r");
    assert_non_null(file);
    char *text = NULL, *line = NULL;
    size_t length, size = 0, used = 0;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    while (getline(&line, &size, file) > 0) {
        size_t indent = strspn(line, " ");
        bool use = strncmp(line + indent, "# ", 2) == 0 && usable(line + indent + 2);
        fprintf(out, "%.*s%s", (int)indent, line, line + indent + (use ? 2 : 0));
        used += use;
    }
    free(line);
    fclose(file);
    fclose(out);
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load_text(text, length, NULL, &mistakes);
    assert_null(conf);
    for (size_t i = 0; i < mistakes.n; i++)
        print_message("%u: %s\n", mistakes.items[i].line, mistakes.items[i].text);
    free(text);
    assert_true(used >= 50);
    assert_int_equal(mistakes.n, 1);
    assert_string_equal(mistakes.items[0].text, "upstream: host and port cannot stand beside hosts");
    conf_mistakes_free(&mistakes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_in_force),     cmocka_unit_test(mistakes_in_order), cmocka_unit_test(usage),
        cmocka_unit_test(shipped_is_default), cmocka_unit_test(shipped_in_full),
    };
    return cmocka_run_group_tests_name("config check", tests, NULL, NULL);
}

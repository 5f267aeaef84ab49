/*
 * Every .yaml file in conf beside its .expected: the whole list of its mistakes, "LINE:COLUMN: text" each; an
 * empty list means that the file is fine. A new case is two new files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

static char *read_file(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        return NULL;
    ssize_t length = getdelim(&text, &size, '\0', file);
    fclose(file);
    if (length < 0) {
        free(text);
        return strdup("");
    }
    return text;
}

static char *list(const struct conf_mistakes *mistakes)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    for (size_t i = 0; i < mistakes->n; i++)
        fprintf(out, "%u:%u: %s\n", mistakes->items[i].line, mistakes->items[i].column,
                mistakes->items[i].text);
    fclose(out);
    return text;
}

/* True: as expected. */
static bool run(const char *path)
{
    char *expected_path = NULL;
    assert_true(asprintf(&expected_path, "%.*s.expected", (int)(strlen(path) - strlen(".yaml")), path) > 0);
    char *expected = read_file(expected_path);
    struct conf_mistakes mistakes;
    struct conf *conf = conf_load(path, &mistakes);
    char *got = list(&mistakes);
    bool fine = expected && strcmp(got, expected) == 0 && (conf != NULL) == (mistakes.n == 0);
    if (!fine)
        print_error("%s\n--- expected\n%s--- got\n%s", path, expected ? expected : "(no such file)\n", got);
    free(got);
    free(expected);
    free(expected_path);
    conf_mistakes_free(&mistakes);
    conf_unref(conf);
    return fine;
}

static void files(void **state)
{
    glob_t found;
    assert_int_equal(glob(TEST_DATA "/unit/conf/*.yaml", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 40);
    size_t wrong = 0;
    for (size_t i = 0; i < found.gl_pathc; i++)
        wrong += !run(found.gl_pathv[i]);
    print_message("%zu files\n", found.gl_pathc);
    globfree(&found);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(files)};
    return cmocka_run_group_tests_name("conf files", tests, NULL, NULL);
}

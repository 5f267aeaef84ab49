/*
 * What DO blocks, function bodies and executed strings hide: rows in a file.
 */
#include "tests/unit/facts_table.h"

static void test_bodies(void **state)
{
    table_test(TEST_DATA "/unit/facts_body.txt", 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bodies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

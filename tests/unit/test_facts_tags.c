/*
 * Tag, kind of object and identity of every other statement of the manual: rows in a file. The tags are those
 * that PostgreSQL 15 sent in CommandComplete for the same statements.
 */
#include "tests/unit/facts_table.h"

static void test_tags(void **state)
{
    table_test(TEST_DATA "/unit/facts_tags.txt", 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

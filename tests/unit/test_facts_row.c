/*
 * Queries and what they take for granted of their tables' columns; the rows are in facts_row.txt.
 */
#include "tests/unit/facts_table.h"

static void test_row_users(void **state)
{
    table_test(TEST_DATA "/unit/facts_row.txt", 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_row_users)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Does a statement speak of orders.token? Rows of statement and answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <talloc.h>

#include "parser/facts.h"
#include "parser/mentions.h"

static const struct {
    const char *sql;
    enum mention_kind kind;
    const char *at; /* what stands at the place; NULL: no place */
} rows[] = {
    {"SELECT id FROM orders", MENTION_NONE, NULL},
    {"SELECT count(*) FROM orders", MENTION_NONE, NULL},
    {"SELECT token FROM orders", MENTION_COLUMN, "token"},
    {"SELECT token FROM other", MENTION_NONE, NULL},
    {"SELECT 'token' FROM orders", MENTION_NONE, NULL},
    {"SELECT id AS token FROM orders", MENTION_NONE, NULL},
    {"SELECT \"Token\" FROM orders", MENTION_NONE, NULL},
    {"SELECT Token FROM Orders", MENTION_COLUMN, "Token"},
    {"SELECT o.token FROM orders o", MENTION_COLUMN, "o.token"},
    {"SELECT u.token FROM orders o JOIN users u ON u.id = o.user_id", MENTION_NONE, NULL},
    {"SELECT o.id FROM orders o JOIN users u USING (token)", MENTION_COLUMN, NULL},
    {"SELECT id FROM orders NATURAL JOIN users", MENTION_WHOLE, NULL},
    {"SELECT * FROM orders", MENTION_WHOLE, "*"},
    {"SELECT u.* FROM orders o, users u", MENTION_NONE, NULL},
    {"SELECT o.* FROM orders o, users u", MENTION_WHOLE, "o.*"},
    {"SELECT o FROM orders o", MENTION_WHOLE, "o FROM"},
    {"SELECT row_to_json(orders) FROM orders", MENTION_WHOLE, "orders)"},
    {"SELECT (orders).token FROM orders", MENTION_COLUMN, NULL},
    {"TABLE orders", MENTION_WHOLE, NULL},
    {"SELECT id FROM other.orders WHERE token IS NULL", MENTION_NONE, NULL},
    {"SELECT id FROM public.orders WHERE token IS NULL", MENTION_COLUMN, "token"},
    {"WITH x AS (SELECT id FROM orders WHERE token IS NULL) SELECT * FROM x", MENTION_COLUMN, "token"},
    {"INSERT INTO orders (id) VALUES (1)", MENTION_NONE, NULL},
    {"INSERT INTO orders (id, token) VALUES (1, 'x')", MENTION_COLUMN, "token"},
    {"INSERT INTO orders VALUES (1)", MENTION_NONE, NULL},
    {"INSERT INTO orders (id) VALUES (1) RETURNING token", MENTION_COLUMN, "token"},
    {"INSERT INTO copy_of (token) SELECT id FROM orders", MENTION_NONE, NULL},
    {"INSERT INTO copy_of SELECT token FROM orders", MENTION_COLUMN, "token"},
    {"INSERT INTO orders (id) VALUES (1) ON CONFLICT (token) DO NOTHING", MENTION_COLUMN, NULL},
    {"INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET token = 'x'", MENTION_COLUMN,
     "token"},
    {"UPDATE orders SET note = 'x' WHERE id = 1", MENTION_NONE, NULL},
    {"UPDATE orders SET token = 'x' WHERE id = 1", MENTION_COLUMN, "token"},
    {"UPDATE orders SET note = token", MENTION_COLUMN, "token"},
    {"UPDATE users SET token = (SELECT max(id) FROM orders)", MENTION_NONE, NULL},
    {"DELETE FROM orders WHERE token IS NULL", MENTION_COLUMN, "token"},
    {"DELETE FROM orders WHERE id = 1", MENTION_NONE, NULL},
    {"MERGE INTO orders o USING v ON o.id = v.x WHEN MATCHED THEN UPDATE SET token = NULL", MENTION_COLUMN,
     "token"},
    {"MERGE INTO orders o USING v ON o.id = v.x WHEN NOT MATCHED THEN INSERT (id, token) VALUES (v.x, NULL)",
     MENTION_COLUMN, "token"},
    {"MERGE INTO orders o USING v ON o.id = v.x WHEN MATCHED THEN DELETE", MENTION_NONE, NULL},
    {"MERGE INTO orders o USING v ON o.id = v.x WHEN NOT MATCHED THEN INSERT (id) VALUES (v.x)", MENTION_NONE,
     NULL},
    {"MERGE INTO users u USING orders o ON o.id = u.id WHEN MATCHED THEN UPDATE SET token = 'x'",
     MENTION_NONE, NULL},
    {"COPY orders TO STDOUT", MENTION_WHOLE, NULL},
    {"COPY orders (id) TO STDOUT", MENTION_NONE, NULL},
    {"COPY orders (id, token) FROM STDIN", MENTION_COLUMN, NULL},
    {"COPY (SELECT token FROM orders) TO STDOUT", MENTION_COLUMN, "token"},
    {"CREATE INDEX ON orders (token)", MENTION_COLUMN, NULL},
    {"CREATE INDEX ON orders (id) WHERE token IS NULL", MENTION_COLUMN, "token"},
    {"CREATE INDEX ON users (token)", MENTION_NONE, NULL},
    {"CREATE VIEW v AS SELECT token FROM orders", MENTION_COLUMN, "token"},
    {"ALTER TABLE orders ALTER token SET NOT NULL", MENTION_COLUMN, NULL},
    {"ALTER TABLE orders ADD CHECK (token IS NOT NULL)", MENTION_COLUMN, "token"},
    {"ALTER TABLE orders ADD UNIQUE (id, token)", MENTION_COLUMN, NULL},
    {"ALTER TABLE orders ADD FOREIGN KEY (token) REFERENCES t", MENTION_COLUMN, NULL},
    {"ALTER TABLE orders RENAME token TO t", MENTION_COLUMN, NULL},
    {"ALTER TABLE orders ADD note text", MENTION_NONE, NULL},
    {"COMMENT ON COLUMN orders.token IS 'x'", MENTION_NONE, NULL},
    {"EXPLAIN ANALYZE SELECT token FROM orders", MENTION_COLUMN, "token"},
    {"DECLARE c CURSOR FOR SELECT token FROM orders", MENTION_COLUMN, "token"},
    {"SELECT token FROM orders WHERE (", MENTION_NONE, NULL}, /* the server refuses it */
};

static void *on_parser_thread(void *argument)
{
    unsigned *wrong = argument;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *sql = rows[i].sql;
        struct mentions *mentions = mentions_new(NULL, sql, strlen(sql), true);
        struct mention mention = mention_in(mentions, "public", "orders", "token");
        bool place = !rows[i].at || (mention.place >= 0 &&
                                     strncmp(sql + mention.place, rows[i].at, strlen(rows[i].at)) == 0);
        talloc_free(mentions);
        if (mention.kind == rows[i].kind && place)
            continue;
        fprintf(stderr, "%s: %d at %d\n", sql, mention.kind, mention.place);
        ++*wrong;
    }
    return NULL;
}

static void test_rows(void **state)
{
    unsigned wrong = 0;
    pthread_t thread;
    assert_int_equal(parser_thread_create(&thread, on_parser_thread, &wrong), 0);
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

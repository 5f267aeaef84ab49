/*
 * What the gate costs: nanoseconds per text and per byte, on texts as applications send them and on long
 * ones. Build with "cmake --preset release -DPGSLUICE_TESTS=ON", target bench_gate; no arguments.
 */
#include "parser/gate.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LONG_TEXT = 1 << 20 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static unsigned run(const uint8_t *text, size_t n, enum text_encoding encoding)
{
    struct gate gate;
    struct gate_statement statement;
    unsigned judged = 0;
    bool found;
    gate_init(&gate, true, encoding);
    for (size_t done = 0; done < n;) {
        done += gate_scan(&gate, text + done, n - done, &statement, &found);
        judged += found && gate_class_judged(statement.class);
    }
    judged += gate_finish(&gate, &statement, NULL) && gate_class_judged(statement.class);
    return judged;
}

static void measure(const char *name, const uint8_t *text, size_t n, enum text_encoding encoding)
{
    size_t rounds = 30000000 / (n + 20) + 1;
    double best = 1e30;
    volatile unsigned sink = 0;
    for (int repeat = 0; repeat < 7; repeat++) {
        double start = now();
        for (size_t i = 0; i < rounds; i++)
            sink += run(text, n, encoding);
        double time = (now() - start) / (double)rounds;
        best = time < best ? time : best;
    }
    printf("%-34s %8zu bytes %12.1f ns %7.3f ns/byte\n", name, n, best, n ? best / (double)n : 0);
}

/* `piece` again and again behind `head`. */
static uint8_t *repeat(const char *head, const char *piece)
{
    uint8_t *text = malloc(LONG_TEXT);
    if (!text)
        exit(1);
    size_t length = strlen(piece), n = strlen(head);
    memcpy(text, head, n);
    for (; n < LONG_TEXT; n++)
        text[n] = (uint8_t)piece[(n - strlen(head)) % length];
    return text;
}

int main(void)
{
    static const struct {
        const char *name, *text;
    } texts[] = {
        {"nothing", ""},
        {"BEGIN", "BEGIN"},
        {"SELECT 1", "SELECT 1"},
        {"pgbench -S", "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;"},
        {"pgbench update", "UPDATE pgbench_accounts SET abalance = abalance + -4711 WHERE aid = 123456;"},
        {"pgbench insert",
         "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (3, 1, 12345, -4711, "
         "CURRENT_TIMESTAMP);"},
        {"ORM select",
         "SELECT \"auth_user\".\"id\", \"auth_user\".\"password\", \"auth_user\".\"last_login\", "
         "\"auth_user\".\"is_superuser\", \"auth_user\".\"username\" FROM \"auth_user\" WHERE "
         "(\"auth_user\".\"username\" = 'ann' AND \"auth_user\".\"is_active\") ORDER BY \"auth_user\".\"id\" "
         "ASC LIMIT 21"},
        {"joins",
         "select o.id, o.total, c.name, count(*) over (partition by c.id) from orders o join customers c on "
         "c.id = o.customer_id left join lateral (select max(p.paid_at) as paid from payments p where "
         "p.order_id = o.id) x on true where o.created_at > $1 and o.state in ('new', 'open') order by 1 "
         "limit "
         "50"},
        {"ALTER", "ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        measure(texts[i].name, (const uint8_t *)texts[i].text, strlen(texts[i].text), TEXT_ASCII_SAFE);
    measure("pgbench -S, SJIS", (const uint8_t *)texts[3].text, strlen(texts[3].text), TEXT_SJIS);
    static const struct {
        const char *name, *head, *piece;
    } longs[] = {
        {"1 MB: rows of VALUES", "insert into t values ", "(4711, 'a short text', 3.14, null, now()), "},
        {"1 MB: one string", "select '", "lorem ipsum dolor sit amet "},
        {"1 MB: one string, UTF-8", "select '", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e "},
        {"1 MB: one dollar quote", "do $$", "begin perform f(a, 'b'); end; "},
        {"1 MB: a comment", "/*", " a comment "},
        {"1 MB: statements", "", "update t set a = 'x' where b = 1;\n"},
        {"1 MB: parentheses", "select ", "("},
        {"1 MB: quotes", "select ", "'"},
    };
    for (size_t i = 0; i < sizeof longs / sizeof *longs; i++) {
        uint8_t *text = repeat(longs[i].head, longs[i].piece);
        measure(longs[i].name, text, LONG_TEXT, TEXT_ASCII_SAFE);
        free(text);
    }
    return 0;
}

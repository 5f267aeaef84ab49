/*
 * The loader when there is no memory: the N-th allocation fails, for every N until a load succeeds. Each
 * attempt ends with a mistake that says so, and nothing is left behind. Where a sanitizer owns malloc, one
 * load without failures is all that can be tried here. Connection strings and patterns are left out: under
 * such failures PQconninfoParse (libpq 15) loses a block, and regcomp (glibc 2.36) loses one or frees one
 * twice, so there is nothing of ours to hold to account.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define OWN_MALLOC 0
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define OWN_MALLOC 0
#    endif
#endif
#ifndef OWN_MALLOC
#    define OWN_MALLOC 1
#endif

static long countdown = -1; /* allocations until one fails; negative: none does */

#if OWN_MALLOC
static long living; /* allocations not freed, while we count */
static bool counting;

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);

static bool fails(void)
{
    if (countdown < 0 || countdown-- > 0)
        return false;
    countdown = -1; /* one failure an attempt: what follows must cope with memory that is there again */
    errno = ENOMEM;
    return true;
}

static void *count(void *memory)
{
    living += counting && memory;
    return memory;
}

void *malloc(size_t size)
{
    return fails() ? NULL : count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : count(__libc_calloc(n, size));
}

void *realloc(void *memory, size_t size)
{
    if (fails())
        return NULL;
    return memory ? __libc_realloc(memory, size) : count(__libc_realloc(memory, size));
}

void free(void *memory)
{
    living -= counting && memory;
    __libc_free(memory);
}
#endif

static const char text[] = "listen: [{address: 127.0.0.1, port: 6432}]\n"
                           "upstream: {hosts: [{host: a, port: 1}, {host: b, port: 2}]}\n"
                           "policy:\n"
                           "  rules: {column-name: {action: warn}, alter-type: reject}\n"
                           "  overrides: [{when: {role: x}, rules: {drop-table: warn}}]\n"
                           "  waivers: {roles: [a, b]}\n";
static const char wrong[] = "listen: []\nupstrem: 1\nlimits: {login_time: 366d, buffer: 0}\n";

/* True: the load went through without a failure. */
static bool attempt(const char *source, bool good, long n)
{
    struct conf_mistakes mistakes;
    countdown = n;
    struct conf *conf = conf_load_text(source, strlen(source), "memory", &mistakes);
    bool failed = countdown < 0 && n >= 0;
    countdown = -1;
    if ((conf != NULL) != (mistakes.n == 0) || (!failed && (conf != NULL) != good))
        fail_msg("allocation %ld: %s with %zu mistakes", n, conf ? "a snapshot" : "none", mistakes.n);
    conf_unref(conf);
    conf_mistakes_free(&mistakes);
    return !failed;
}

static void every_allocation(const char *source, bool good)
{
    attempt(source, good, -1); /* what libraries keep for good is kept now */
#if OWN_MALLOC
    long n = 0;
    for (bool through = false; !through; n++) {
        assert_true(n < 100000);
        living = 0;
        counting = true;
        through = attempt(source, good, n);
        counting = false;
        if (living != 0)
            fail_msg("allocation %ld: %ld left behind", n, living);
    }
    print_message("%ld allocations failed, one at a time\n", n - 1);
    assert_true(n > 50);
#endif
}

static void good_file(void **state)
{
    every_allocation(text, true);
}

static void bad_file(void **state)
{
    every_allocation(wrong, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good_file), cmocka_unit_test(bad_file)};
    return cmocka_run_group_tests_name("conf memory", tests, NULL, NULL);
}

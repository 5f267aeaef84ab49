/*
 * A server that always tells the truth: the smallest thing that answers protocol messages as PostgreSQL does,
 * as far as the order of replies goes. It knows BEGIN, COMMIT, ROLLBACK, COPY IN, EXECUTE, ERROR, and a word
 * that is a syntax error; every other statement succeeds. What it says is kept twice: as sent, and as a
 * client should see it, with its syntax errors over substitutes turned into the refusal.
 */
#ifndef PGSLUICE_TESTS_FUZZ_SERVER_MODEL_H
#define PGSLUICE_TESTS_FUZZ_SERVER_MODEL_H

#include <stdbool.h>

#include "proxy/wire/message.h"

#define MODEL_TOKEN "pgsluice_no"
#define MODEL_NAMES 4

struct model {
    struct writer in; /* not read yet, from `at` */
    size_t at;
    struct writer said, seen;
    char status;
    bool skipping, copying, extended; /* copying: reads data now */
    bool implicit_failed;
    bool dead;
    char statements[MODEL_NAMES][64]; /* "" : none */
    char portals[MODEL_NAMES][64];
    const char *rest; /* of the Query that the COPY stands in */
    char query[512];
    /* A statement is executed. */
    void (*executed)(void *argument, const char *statement);
    void *argument;
};

void model_init(struct model *);
void model_release(struct model *);
/* Read one message and answer. False: there is none whole. */
bool model_run(struct model *);

#endif

/*
 * Wire scripts: one step a line, read into a list. The language is described in README.md.
 */
#ifndef PGSLUICE_TESTS_WIRE_SCRIPT_H
#define PGSLUICE_TESTS_WIRE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/wire/frame.h"

#define WORDS_MAX 24

struct step {
    unsigned line;
    unsigned n;             /* words */
    char *words[WORDS_MAX]; /* unescaped; lengths may count NULs */
    size_t lengths[WORDS_MAX];
    struct writer bytes; /* of a step that names a message */
};

struct script {
    struct step *steps;
    size_t n;
};

bool script_read(const char *path, struct script *);
void script_free(struct script *);

/* Encode the message that words[at…] name. False: no such message. */
bool step_encode(struct step *, bool client, unsigned at);

#endif

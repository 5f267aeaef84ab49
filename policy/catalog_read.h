/*
 * Checked steps through the JSON of an answer: private to catalog_read*.c. Whatever isn't what it should be
 * sets `bad`, upon which the whole answer is thrown away; until then every step returns something harmless.
 */
#ifndef PGSLUICE_POLICY_CATALOG_READ_H
#define PGSLUICE_POLICY_CATALOG_READ_H

#include "policy/catalog_inside.h"

#include <jansson.h>

struct answer_reader {
    struct catalog *catalog;
    long block; /* bytes of a page */
    bool bad;
};

json_t *answer_list(struct answer_reader *, json_t *); /* the array itself */
json_t *answer_row(struct answer_reader *, json_t *list, size_t index,
                   size_t width); /* an array of that width */
json_t *answer_member(struct answer_reader *, json_t *object, const char *key);
void *answer_array(struct answer_reader *, size_t size, json_t *list, size_t *n); /* room for a list's rows */

const char *answer_text(struct answer_reader *, json_t *); /* never NULL */
const char *answer_text_or_null(struct answer_reader *, json_t *);
bool answer_true(struct answer_reader *, json_t *);
char answer_letter(struct answer_reader *, json_t *); /* "char": '\0' for "" */
double answer_number(struct answer_reader *, json_t *);
int answer_int(struct answer_reader *, json_t *);
uint64_t answer_count(struct answer_reader *, json_t *);                     /* null or left out: 0 */
uint32_t answer_oid(struct answer_reader *, json_t *);                       /* a number, as text or not */
enum catalog_volatility answer_volatility(struct answer_reader *, json_t *); /* null: IMMUTABLE */
int *answer_ints(struct answer_reader *, json_t *, size_t *n);               /* null: none */
const char **answer_texts(struct answer_reader *, json_t *, size_t *n);
const struct catalog_schema *answer_schema(struct answer_reader *, json_t *oid);

void answer_relations(struct answer_reader *, json_t *list);

#endif

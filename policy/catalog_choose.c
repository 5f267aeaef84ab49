/*
 * One of several functions or operators of a name, by the types of what is passed to it: the rules of the
 * manual's sections 10.2 and 10.3, step by step (func_match_argtypes, func_select_candidate). Candidates that
 * lose get `out`; where a type isn't known nothing more is decided than what holds for any.
 */
#include "policy/catalog_inside.h"

/* ---- polymorphic types (manual, 38.2.5) ---- */

enum family { FAMILY_NONE, FAMILY_ANY, FAMILY_COMPATIBLE };
enum shape { SHAPE_ELEMENT, SHAPE_ARRAY, SHAPE_NOT_ARRAY, SHAPE_ENUM, SHAPE_RANGE, SHAPE_MULTIRANGE };

static const struct {
    uint32_t type;
    enum family family;
    enum shape shape;
} polymorphic[] = {{2283, FAMILY_ANY, SHAPE_ELEMENT},
                   {2277, FAMILY_ANY, SHAPE_ARRAY},
                   {2776, FAMILY_ANY, SHAPE_NOT_ARRAY},
                   {3500, FAMILY_ANY, SHAPE_ENUM},
                   {3831, FAMILY_ANY, SHAPE_RANGE},
                   {4537, FAMILY_ANY, SHAPE_MULTIRANGE},
                   {5077, FAMILY_COMPATIBLE, SHAPE_ELEMENT},
                   {5078, FAMILY_COMPATIBLE, SHAPE_ARRAY},
                   {5079, FAMILY_COMPATIBLE, SHAPE_NOT_ARRAY},
                   {5080, FAMILY_COMPATIBLE, SHAPE_RANGE},
                   {4538, FAMILY_COMPATIBLE, SHAPE_MULTIRANGE}};

static int shape_of(uint32_t type, enum family *family)
{
    for (size_t i = 0; i < sizeof polymorphic / sizeof *polymorphic; i++) {
        if (polymorphic[i].type == type) {
            *family = polymorphic[i].family;
            return (int)polymorphic[i].shape;
        }
    }
    *family = FAMILY_NONE;
    return -1;
}

bool catalog_polymorphic(uint32_t type)
{
    enum family family;
    return shape_of(type, &family) >= 0;
}

static bool fits_shape(const struct catalog *catalog, uint32_t type, int shape)
{
    const struct catalog_type *row = catalog_type_by_oid(catalog, catalog_base_of(catalog, type));
    bool array = catalog_element_of(catalog, catalog_base_of(catalog, type)) != 0;
    switch (shape) {
    case SHAPE_ARRAY:
        return array;
    case SHAPE_NOT_ARRAY:
        return !array;
    case SHAPE_ENUM:
        return row != NULL && row->type == 'e';
    case SHAPE_RANGE:
        return row != NULL && row->type == 'r';
    case SHAPE_MULTIRANGE:
        return row != NULL && row->type == 'm';
    default:
        return true;
    }
}

/* The element type that an argument speaks for; 0: none or unknown. */
static uint32_t element_said(const struct catalog *catalog, uint32_t declared, uint32_t type)
{
    enum family family;
    int shape = shape_of(declared, &family);
    if (type == TYPE_UNKNOWN || type == 0)
        return 0;
    if (shape == SHAPE_ARRAY)
        return catalog_element_of(catalog, catalog_base_of(catalog, type));
    return shape == SHAPE_ELEMENT || shape == SHAPE_NOT_ARRAY || shape == SHAPE_ENUM ? type : 0;
}

/* anyelement and its like must all mean the same type. */
static bool consistent(const struct catalog *catalog, const struct candidate *c, const uint32_t *types,
                       size_t n)
{
    uint32_t element = 0;
    for (size_t i = 0; i < n; i++) {
        enum family family;
        int shape = shape_of(c->args[i], &family);
        if (shape < 0 || types[i] == 0 || types[i] == TYPE_UNKNOWN)
            continue;
        if (!fits_shape(catalog, types[i], shape))
            return false;
        uint32_t said = element_said(catalog, c->args[i], types[i]);
        if (family != FAMILY_ANY || said == 0)
            continue;
        if (element != 0 && said != element)
            return false;
        element = said;
    }
    return true;
}

uint32_t catalog_result(const struct catalog *catalog, const struct candidate *c, const uint32_t *types,
                        size_t n)
{
    enum family wanted, family;
    int shape = shape_of(c->result, &wanted);
    uint32_t element = 0;
    if (shape < 0)
        return c->result;
    for (size_t i = 0; i < n; i++) {
        int said_shape = shape_of(c->args[i], &family);
        if (said_shape < 0 || family != wanted)
            continue;
        uint32_t said = element_said(catalog, c->args[i], types[i]);
        if (said_shape == shape && wanted == FAMILY_ANY && types[i] != TYPE_UNKNOWN)
            return types[i];
        if (said == 0 && types[i] == TYPE_UNKNOWN)
            continue;
        if (said == 0 || (element != 0 && said != element))
            return 0;
        element = said;
    }
    if (shape == SHAPE_ARRAY)
        return catalog_array_of(catalog, element);
    return shape == SHAPE_ELEMENT || shape == SHAPE_NOT_ARRAY || shape == SHAPE_ENUM ? element : 0;
}

/* ---- steps ---- */

struct choice {
    const struct catalog *catalog;
    struct candidate *items;
    size_t n;
    const uint32_t *types;
    size_t n_types;
};

static size_t left(const struct choice *choice)
{
    size_t count = 0;
    for (size_t i = 0; i < choice->n; i++)
        count += !choice->items[i].out;
    return count;
}

static bool same_args(const struct candidate *a, const struct candidate *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a->args[i] != b->args[i])
            return false;
    }
    return true;
}

/* Two that take the same: the one earlier in search_path hides the other; in one schema the one that isn't
 * variadic, or leaves less to defaults. */
static bool hides(const struct candidate *a, const struct candidate *b)
{
    if (a->position != b->position)
        return a->position < b->position;
    if (a->variadic != b->variadic)
        return !a->variadic;
    return a->defaults < b->defaults;
}

static void drop_hidden(struct choice *choice)
{
    for (size_t i = 0; i < choice->n; i++) {
        for (size_t k = 0; k < choice->n && !choice->items[i].out; k++) {
            if (k != i && !choice->items[k].out && hides(&choice->items[k], &choice->items[i]) &&
                same_args(&choice->items[i], &choice->items[k], choice->n_types))
                choice->items[i].out = true;
        }
    }
}

static bool takes(const struct choice *choice, const struct candidate *c)
{
    for (size_t i = 0; i < choice->n_types; i++) {
        if (choice->types[i] == 0 || catalog_polymorphic(c->args[i]))
            continue;
        if (!catalog_can_coerce(choice->catalog, choice->types[i], c->args[i]))
            return false;
    }
    return consistent(choice->catalog, c, choice->types, choice->n_types);
}

static bool keep_exact(struct choice *choice)
{
    for (size_t i = 0; i < choice->n; i++) {
        if (choice->items[i].out ||
            !same_args(&choice->items[i], &(struct candidate){.args = (uint32_t *)choice->types},
                       choice->n_types))
            continue;
        for (size_t k = 0; k < choice->n; k++)
            choice->items[k].out = k != i;
        return true;
    }
    return false;
}

typedef unsigned score_function(const struct choice *, const struct candidate *);

static unsigned exact_matches(const struct choice *choice, const struct candidate *c)
{
    unsigned score = 0;
    for (size_t i = 0; i < choice->n_types; i++)
        score += choice->types[i] != TYPE_UNKNOWN &&
                 c->args[i] == catalog_base_of(choice->catalog, choice->types[i]);
    return score;
}

static unsigned preferred_matches(const struct choice *choice, const struct candidate *c)
{
    unsigned score = 0;
    for (size_t i = 0; i < choice->n_types; i++) {
        uint32_t type = catalog_base_of(choice->catalog, choice->types[i]);
        if (type == TYPE_UNKNOWN)
            continue;
        bool preferred =
            catalog_preferred(choice->catalog, c->args[i]) &&
            catalog_category(choice->catalog, c->args[i]) == catalog_category(choice->catalog, type);
        score += c->args[i] == type || preferred;
    }
    return score;
}

static void keep_best(struct choice *choice, score_function *score)
{
    unsigned best = 0;
    for (size_t i = 0; i < choice->n; i++) {
        unsigned own = choice->items[i].out ? 0 : score(choice, &choice->items[i]);
        best = own > best ? own : best;
    }
    for (size_t i = 0; i < choice->n; i++)
        choice->items[i].out = choice->items[i].out || score(choice, &choice->items[i]) < best;
}

/* The category that literals at this place are taken for, or '\0'. */
static char literal_category(const struct choice *choice, size_t place, bool *preferred)
{
    char category = '\0';
    bool conflict = false;
    *preferred = false;
    for (size_t i = 0; i < choice->n; i++) {
        if (choice->items[i].out)
            continue;
        uint32_t type = choice->items[i].args[place];
        char own = catalog_category(choice->catalog, type);
        bool own_preferred = catalog_preferred(choice->catalog, type);
        if (category == '\0') {
            category = own;
            *preferred = own_preferred;
        } else if (own == category) {
            *preferred = *preferred || own_preferred;
        } else if (own == 'S') {
            category = own;
            *preferred = own_preferred;
        } else if (category != 'S') {
            conflict = true;
        }
    }
    return conflict && category != 'S' ? '\0' : category;
}

static bool right_category(const struct choice *choice, const struct candidate *c, const char *categories,
                           const bool *preferred)
{
    for (size_t i = 0; i < choice->n_types; i++) {
        if (choice->types[i] != TYPE_UNKNOWN)
            continue;
        if (catalog_category(choice->catalog, c->args[i]) != categories[i] ||
            (preferred[i] && !catalog_preferred(choice->catalog, c->args[i])))
            return false;
    }
    return true;
}

enum { ARGS_MAX = 100 };

static void by_categories(struct choice *choice)
{
    char categories[ARGS_MAX];
    bool preferred[ARGS_MAX], any = false;
    for (size_t i = 0; i < choice->n_types; i++) {
        if (choice->types[i] != TYPE_UNKNOWN)
            continue;
        categories[i] = literal_category(choice, i, &preferred[i]);
        if (categories[i] == '\0')
            return;
    }
    for (size_t i = 0; i < choice->n; i++)
        any = any ||
              (!choice->items[i].out && right_category(choice, &choice->items[i], categories, preferred));
    for (size_t i = 0; any && i < choice->n; i++)
        choice->items[i].out =
            choice->items[i].out || !right_category(choice, &choice->items[i], categories, preferred);
}

/* If all that is known is of one type, literals are taken for it too, where just one candidate allows that.
 */
static void by_same_type(struct choice *choice)
{
    uint32_t known = TYPE_UNKNOWN;
    size_t found = choice->n, matches = 0;
    for (size_t i = 0; i < choice->n_types; i++) {
        uint32_t type = catalog_base_of(choice->catalog, choice->types[i]);
        if (type == TYPE_UNKNOWN)
            continue;
        if (known != TYPE_UNKNOWN && known != type)
            return;
        known = type;
    }
    for (size_t i = 0; known != TYPE_UNKNOWN && i < choice->n; i++) {
        bool all = !choice->items[i].out;
        for (size_t k = 0; k < choice->n_types && all; k++)
            all = catalog_can_coerce(choice->catalog, known, choice->items[i].args[k]);
        if (all) {
            found = i;
            matches++;
        }
    }
    for (size_t i = 0; matches == 1 && i < choice->n; i++)
        choice->items[i].out = i != found;
}

static bool any_type(const struct choice *choice, uint32_t type)
{
    for (size_t i = 0; i < choice->n_types; i++) {
        if (choice->types[i] == type)
            return true;
    }
    return false;
}

size_t catalog_choose(const struct catalog *catalog, struct candidate *items, size_t n, const uint32_t *types,
                      size_t n_types)
{
    struct choice choice = {catalog, items, n, types, n_types};
    drop_hidden(&choice);
    if (n_types > ARGS_MAX)
        return left(&choice);
    bool unknown_type = any_type(&choice, 0);
    if (!unknown_type && keep_exact(&choice))
        return 1;
    for (size_t i = 0; i < n; i++)
        items[i].out = items[i].out || !takes(&choice, &items[i]);
    if (unknown_type || left(&choice) <= 1)
        return left(&choice);
    keep_best(&choice, exact_matches);
    if (left(&choice) > 1)
        keep_best(&choice, preferred_matches);
    if (left(&choice) > 1 && any_type(&choice, TYPE_UNKNOWN)) {
        by_categories(&choice);
        if (left(&choice) > 1)
            by_same_type(&choice);
    }
    return left(&choice);
}

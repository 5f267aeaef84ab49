/*
 * What stands in an SQL text: engine_find.c reads it, engine_text.c decides what becomes of its message.
 *
 * A text is read when its message is there: in place, in one go. One longer than options.read_ahead is read
 * as it arrives, so that no loop is held up by it when it is whole; the findings are those that one go would
 * have had, or (settings have changed on the way) it is read again.
 */
#ifndef PGSLUICE_PROXY_SESSION_ENGINE_FIND_H
#define PGSLUICE_PROXY_SESSION_ENGINE_FIND_H

#include "proxy/session/engine_inside.h"

struct text {
    const char *sql;
    size_t length;
    struct prepared_name name; /* of a Parse */
    bool screened;             /* it names a column in quarantine */
};

struct reading {
    bool scs;
    enum text_encoding encoding;
};

/* What is looked for besides what has to be judged. */
struct looking {
    struct engine *executes; /* EXECUTE of what was judged when it was prepared here; NULL: not */
    bool words, watch, locks, prepares;
    bool screen; /* all of them are shown */
};

struct findings {
    unsigned statements;
    bool judged;     /* a statement has to be judged, or runs what has */
    bool executes;   /* there is an EXECUTE… */
    bool unreadable; /* …of nobody knows what */
    unsigned runs;   /* …of what has to be judged */
    bool end_first;  /* in front of it stands one that can leave a failed transaction */
    bool ends;       /* …and one stands anywhere */
    bool shown;      /* one that is not judged, to be shown all the same */
    bool words;      /* a transaction command that an audited transaction is followed through */
    bool doubtful;   /* might read differently under other settings… */
    bool high;       /* …of the encoding too */
    uint64_t hash;   /* of the places and classes of those to be judged */
};

/* Of a whole Query or Parse. */
struct text text_of(const struct frame *);

/* The statements of a text as it reads now. */
struct walk {
    struct gate gate;
    const struct ahead *ahead; /* it has listed them; or NULL */
    size_t next;
    bool ended;
};
void walk_begin(struct walk *, const struct engine *);
bool walk_next(struct walk *, const struct text *, struct gate_statement *);

struct looking find_looking(struct engine *, const struct frame *);
/* What stands in the whole message's text. */
void find(struct engine *, const struct text *, struct looking, struct findings *);
/* Every way in which the text could be read. A loop has no time to read a long text in sixteen ways: where
 * that would be needed, it counts as unclear. */
void find_all(const struct engine *, const struct text *, struct looking, const struct findings *now,
              bool *judged, bool *same);
/* Reads what is there of a message that isn't whole; how many bytes of it have to be there for more. */
size_t find_ahead(struct engine *, const struct frame *);

#endif

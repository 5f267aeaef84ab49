/*
 * The gate: a streaming lexer that finds where the statements of an SQL text start and end, and which words
 * lead them, so that only those that can matter are parsed.
 *
 * It follows PostgreSQL's scan.l (13 to 18) for whatever decides where a statement ends: comments (nested),
 * quoted strings ('…', E'…', B'…', X'…', N'…', U&'…') and their continuation over a line end, quoted
 * identifiers, dollar quotes, parameters, operators (a comment may start inside one), parentheses, and the
 * BEGIN ATOMIC … END bodies of functions.
 *
 * What it promises: in a text that the server's own lexer accepts, statements are found exactly, and none
 * that has to be judged is classed as one that has not. (PostgreSQL parses the whole text before it executes
 * any of it, so nothing of a text that its lexer refuses is ever run; there the gate's answer is only
 * defined, not meaningful.) The converse may fail: a harmless statement may be classed GATE_DDL, and the
 * parser corrects.
 *
 * A NUL byte has no meaning here: it is read on like any character that is no part of a token. The server
 * stops at the first one, or refuses the message; a statement's class never falls as more of it is read, so
 * the gate never takes a text that is cut short at a NUL for less than the server does.
 *
 * Memory: a gate is a plain struct of fixed size, no allocation, no I/O, and may be fed a text in pieces cut
 * anywhere: the result is the same for every cut (tested). Cost is linear in the bytes fed.
 */
#ifndef PGSLUICE_PARSER_GATE_H
#define PGSLUICE_PARSER_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How bytes of 0x80 and above are grouped into characters. All of PostgreSQL's server encodings are
 * ASCII-safe: each byte of a multibyte character is 0x80 or above. The client-only encodings are not:
 * a trailing byte may look like an ASCII letter, a digit, '\\', '|' or '@'. (PostgreSQL manual, 24.3.) */
enum text_encoding {
    TEXT_ASCII_SAFE,
    TEXT_SJIS,
    TEXT_BIG5,
    TEXT_GBK,
    TEXT_UHC,
    TEXT_GB18030,
    TEXT_JOHAB,
    TEXT_SHIFT_JIS_2004 /* as SJIS, and two of its characters become '\\' and '~' in a UTF-8 database */
};

/* From the value of the parameter client_encoding as a server reports it ("SJIS", "UTF8", …). */
enum text_encoding text_encoding_of(const char *client_encoding);

/* What the words that lead a statement say of it. */
enum gate_class {
    GATE_EMPTY, /* nothing but white space and comments */
    GATE_OTHER, /* forwarded without a further look */
    GATE_DDL,   /* has to be parsed: ALTER CREATE DROP TRUNCATE COMMENT GRANT REVOKE REINDEX CLUSTER REFRESH
                   SECURITY REASSIGN IMPORT, VACUUM FULL, SELECT … INTO, EXPLAIN of any of these, and any
                   statement whose dollar quote has a tag that the gate can't be sure of */
    GATE_DO,    /* DO: has to be parsed, its body too */
    GATE_TRANSACTION_BEGIN, /* BEGIN, START TRANSACTION */
    GATE_TRANSACTION_END,   /* COMMIT END ROLLBACK ABORT, PREPARE TRANSACTION; ROLLBACK TO too: anything that
                               can leave a failed transaction */
    GATE_SETTING,           /* SET RESET DISCARD: may change how the next text is read */
    GATE_CLASS_COUNT
};

struct gate_statement {
    uint64_t start; /* offset of the first byte of its first token, from the text's start */
    uint64_t end;   /* offset behind its last token; the ';' is not part of it */
    enum gate_class class;
    unsigned index; /* 0 for the text's first statement; empty ones are not counted and not reported */
};

struct gate {
    /* Private but for the members named in comments. The implementation may change their number; the size
     * stays below 512 bytes, tested. */
    uint64_t offset; /* public: bytes consumed so far */
    uint64_t start, last;
    uint64_t base; /* plus a pointer into the piece being read: that byte's offset in the text */
    uint64_t tag_hash, match_hash;
    uint32_t words; /* public: words read of the current statement, saturating */
    unsigned index;
    uint32_t depth, with_depth, comment_depth, atomic_depth;
    uint32_t word_length, tag_length, match_length;
    uint8_t state;  /* where in a token: enum gate_state in gate_lex.h */
    uint8_t quote;  /* the kind of the string being read */
    uint8_t mode;   /* what is being looked for: enum gate_mode in gate_class.h */
    uint8_t step;   /* how far it has been found */
    uint8_t class;  /* public: what the current statement is known to be so far */
    bool backslash; /* public: a backslash stood in a plain '…' string: the reading depends on
                       standard_conforming_strings */
    bool high;      /* public: a byte of 0x80 or above was seen: the reading may depend on the encoding */
    bool executes;  /* public: a statement was seen that EXECUTE leads, or EXPLAIN and then EXECUTE */
    bool standard_conforming_strings, match_fails, tag_unsure;
    uint8_t encoding;
    uint8_t trail; /* bytes still to come of a multibyte character, or a mark of encoding.c */
    char word[16]; /* the start of a word that is cut between two pieces */
    char tag[64];  /* the dollar quote's tag; longer tags are told apart by length and hash as well */
};

/* `scs` is standard_conforming_strings. */
void gate_init(struct gate *, bool scs, enum text_encoding);

/*
 * Consume bytes up to the end of the next statement that is not empty, or all of them.
 * Returns the bytes consumed (at most n). *found says whether *statement was filled.
 * Call again with the rest while the returned number is below n.
 */
size_t gate_scan(struct gate *, const uint8_t *text, size_t n, struct gate_statement *statement, bool *found);

/* The text has ended: the last statement, if one is open. Also true with an unterminated string or comment
 * (the server will refuse those); `unterminated` may be NULL. */
bool gate_finish(struct gate *, struct gate_statement *statement, bool *unterminated);

/* Does a statement of this class have to be judged? DDL and DO. */
bool gate_class_judged(enum gate_class);

/* Is the statement being read already known to be one that has to be judged? */
bool gate_pending_judged(const struct gate *);

#endif

/*
 * Which of PostgreSQL's client encodings may hide an ASCII byte inside a character (manual, 24.3.1), and how
 * the gate reads texts in those.
 *
 * The server converts a text to its own encoding before it lexes it, and refuses what isn't valid; in all of
 * its own encodings every byte of a multibyte character is 0x80 or above. So the bytes of such characters are
 * given to the lexer with their top bit set: as many bytes, none that means anything. How long a character is
 * follows the mblen functions of PostgreSQL's src/common/wchar.c.
 *
 * One encoding is worse: in a UTF-8 database SHIFT_JIS_2004's 0x815F becomes a backslash and 0x81B0 a tilde
 * (seen on 13 and 18; no other character of any client encoding becomes an ASCII one). In an EUC_JIS_2004
 * database 0x815F stays an ordinary character, which can't be known here: where the difference counts, the
 * statement is to be judged.
 */
#include "parser/gate_class.h"

#include <string.h>
#include <strings.h>

enum {
    PIECE = 512,
    /* marks in gate.trail, beside a count of bytes */
    TRAIL_GB18030 = 0x80, /* the second byte tells whether two more follow it */
    TRAIL_HELD = 0x81,    /* SHIFT_JIS_2004: a 0x81 was consumed and not yet given to the lexer */
    JIS_LEAD = 0x81,
    JIS_BACKSLASH = 0x5f,
    JIS_TILDE = 0xb0
};

enum text_encoding text_encoding_of(const char *client_encoding)
{
    static const struct {
        const char *name;
        enum text_encoding encoding;
    } table[] = {{"SJIS", TEXT_SJIS},  {"SHIFT_JIS_2004", TEXT_SHIFT_JIS_2004},
                 {"BIG5", TEXT_BIG5},  {"GBK", TEXT_GBK},
                 {"UHC", TEXT_UHC},    {"GB18030", TEXT_GB18030},
                 {"JOHAB", TEXT_JOHAB}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcasecmp(client_encoding, table[i].name) == 0)
            return table[i].encoding;
    return TEXT_ASCII_SAFE;
}

/* What comes behind the first byte (0x80 or above) of a character. */
static uint8_t trail_of(enum text_encoding encoding, uint8_t lead)
{
    switch (encoding) {
    case TEXT_SJIS:
    case TEXT_SHIFT_JIS_2004:
        return lead >= 0xa1 && lead <= 0xdf ? 0 : 1; /* half-width katakana */
    case TEXT_BIG5:
    case TEXT_GBK:
    case TEXT_UHC:
        return 1;
    case TEXT_GB18030:
        return TRAIL_GB18030;
    case TEXT_JOHAB:
        return lead == 0x8f ? 2 : 1; /* as EUC */
    case TEXT_ASCII_SAFE:
        break;
    }
    return 0;
}

/* Give up to PIECE bytes to the lexer. Returns how many were masked into `out`; stops before a lead byte that
 * must be seen together with its second. */
static size_t mask(struct gate *gate, const uint8_t *text, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i < n && i < PIECE; i++) {
        uint8_t byte = text[i];
        if (gate->trail == TRAIL_GB18030) {
            gate->trail = byte >= '0' && byte <= '9' ? 2 : 0;
            out[i] = byte | 0x80;
        } else if (gate->trail > 0) {
            gate->trail--;
            out[i] = byte | 0x80;
        } else if (byte < 0x80) {
            out[i] = byte;
        } else if (gate->encoding == TEXT_SHIFT_JIS_2004 && byte == JIS_LEAD) {
            break;
        } else {
            gate->trail = trail_of(gate->encoding, byte);
            out[i] = byte;
        }
    }
    return i;
}

/* A character of SHIFT_JIS_2004 that starts with 0x81, whole: the lexer gets two bytes that have the effect
 * of the one that the server will see. The filler is a byte that is content in a string. */
static void scan_jis_pair(struct gate *gate, uint8_t second, gate_scan_function *scan)
{
    uint8_t pair[2] = {JIS_LEAD, second | 0x80};
    if (second == JIS_TILDE) {
        pair[0] = pair[1] = '~';
    } else if (second == JIS_BACKSLASH) {
        bool escaped = gate_behind_backslash(gate);
        pair[escaped ? 0 : 1] = '\\';
        if (gate_in_escape_string(gate))
            gate_class_judge(gate);
    }
    struct gate_statement none;
    bool found;
    scan(gate, pair, sizeof pair, &none, &found); /* holds no ';': finds nothing */
    gate->high = true;
}

size_t gate_scan_encoded(struct gate *gate, const uint8_t *text, size_t n, struct gate_statement *statement,
                         bool *found, gate_scan_function *scan)
{
    uint8_t piece[PIECE];
    size_t done = 0;
    *found = false;
    while (done < n) {
        if (gate->trail == TRAIL_HELD) {
            gate->trail = 0;
            gate->offset--; /* the held byte was counted when it was consumed */
            scan_jis_pair(gate, text[done++], scan);
            continue;
        }
        size_t masked = mask(gate, text + done, n - done, piece);
        if (masked == 0) {
            gate->trail = TRAIL_HELD;
            gate->offset++;
            done++;
            continue;
        }
        size_t taken = scan(gate, piece, masked, statement, found);
        done += taken;
        if (*found) {
            gate->trail = 0; /* the ';' that ended it stands between characters */
            break;
        }
    }
    return done;
}

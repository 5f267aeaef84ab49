/*
 * Which of PostgreSQL's client encodings may hide an ASCII byte inside a character (manual, 24.3.1).
 */
#include "parser/gate.h"

#include <strings.h>

enum text_encoding text_encoding_of(const char *client_encoding)
{
    static const struct {
        const char *name;
        enum text_encoding encoding;
    } table[] = {{"SJIS", TEXT_SJIS},
                 {"SHIFT_JIS_2004", TEXT_SJIS},
                 {"BIG5", TEXT_BIG5},
                 {"GBK", TEXT_GBK},
                 {"UHC", TEXT_UHC},
                 {"GB18030", TEXT_GB18030},
                 {"JOHAB", TEXT_JOHAB}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcasecmp(client_encoding, table[i].name) == 0)
            return table[i].encoding;
    return TEXT_ASCII_SAFE;
}

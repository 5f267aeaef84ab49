/*
 * Texts in a client's encoding, and counting characters of UTF-8.
 *
 * PostgreSQL's names of encodings are mapped to iconv's (manual, table 24.3). What glibc's iconv has no table
 * for (MULE_INTERNAL) is NULL: such a text can't be judged.
 *
 * For the server a byte below 0x80 that is no part of a longer character is ASCII in every encoding. glibc's
 * SHIFT_JISX0213 has a yen sign and an overline at 0x5C and 0x7E, its JOHAB a won sign at 0x5C: a backslash
 * that the server obeys would be lost. So of these two only the longer characters are given to iconv.
 */
#include "parser/parse.h"

#include <errno.h>
#include <iconv.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

static const char *const encodings[][2] = {{"LATIN1", "ISO-8859-1"},
                                           {"LATIN2", "ISO-8859-2"},
                                           {"LATIN3", "ISO-8859-3"},
                                           {"LATIN4", "ISO-8859-4"},
                                           {"LATIN5", "ISO-8859-9"},
                                           {"LATIN6", "ISO-8859-10"},
                                           {"LATIN7", "ISO-8859-13"},
                                           {"LATIN8", "ISO-8859-14"},
                                           {"LATIN9", "ISO-8859-15"},
                                           {"LATIN10", "ISO-8859-16"},
                                           {"ISO_8859_5", "ISO-8859-5"},
                                           {"ISO_8859_6", "ISO-8859-6"},
                                           {"ISO_8859_7", "ISO-8859-7"},
                                           {"ISO_8859_8", "ISO-8859-8"},
                                           {"WIN866", "CP866"},
                                           {"WIN874", "CP874"},
                                           {"WIN1250", "CP1250"},
                                           {"WIN1251", "CP1251"},
                                           {"WIN1252", "CP1252"},
                                           {"WIN1253", "CP1253"},
                                           {"WIN1254", "CP1254"},
                                           {"WIN1255", "CP1255"},
                                           {"WIN1256", "CP1256"},
                                           {"WIN1257", "CP1257"},
                                           {"WIN1258", "CP1258"},
                                           {"KOI8R", "KOI8-R"},
                                           {"KOI8U", "KOI8-U"},
                                           {"EUC_JP", "EUC-JP"},
                                           {"EUC_JIS_2004", "EUC-JISX0213"},
                                           {"SHIFT_JIS_2004", "SHIFT_JISX0213"},
                                           {"EUC_CN", "EUC-CN"},
                                           {"EUC_KR", "EUC-KR"},
                                           {"EUC_TW", "EUC-TW"},
                                           {"SJIS", "CP932"},
                                           {"BIG5", "CP950"},
                                           {"GBK", "GBK"},
                                           {"UHC", "CP949"},
                                           {"GB18030", "GB18030"},
                                           {"JOHAB", "JOHAB"}};

/* Bytes of the UTF-8 character at `at`, 0 if it is none. */
static size_t character_length(const unsigned char *at, size_t left)
{
    size_t n = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : *at < 0xf5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if (n == 3 && ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f)))
        return 0;
    if (n == 4 && ((*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f)))
        return 0;
    return n;
}

size_t text_valid_utf8(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length) {
        size_t n = character_length((const unsigned char *)text + i, length - i);
        if (n == 0)
            break;
        i += n;
    }
    return i;
}

static char *copy(const void *parent, const char *text, size_t length, size_t *out)
{
    char *result = talloc_array(parent, char, length + 1);
    if (!result)
        return NULL;
    memcpy(result, text, length);
    result[length] = '\0';
    *out = length;
    return result;
}

/* SQL_ASCII says nothing of bytes above 0x7f: valid UTF-8 is taken for that, else each is one character. */
static char *from_ascii(const void *parent, const char *text, size_t length, size_t *out)
{
    char *result = talloc_array(parent, char, 3 * length + 1), *to = result;
    if (!result)
        return NULL;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x80) {
            *to++ = text[i];
        } else {
            memcpy(to, "\xef\xbf\xbd", 3); /* U+FFFD */
            to += 3;
        }
    }
    *to = '\0';
    *out = (size_t)(to - result);
    return result;
}

/* A place to read from and one to write to. */
struct passage {
    char *from, *to;
    size_t input, room;
};

static bool convert_all(iconv_t conversion, struct passage *passage)
{
    return iconv(conversion, &passage->from, &passage->input, &passage->to, &passage->room) == 0 &&
           passage->input == 0 && iconv(conversion, NULL, NULL, &passage->to, &passage->room) == 0;
}

/* What a character of SHIFT_JIS_2004 is for a server with UTF-8 (seen on 13 to 18), or 0. */
static char ascii_of(const char *at, size_t left)
{
    if (left < 2 || (unsigned char)at[0] != 0x81)
        return 0;
    return (unsigned char)at[1] == 0x5f ? '\\' : (unsigned char)at[1] == 0xb0 ? '~' : '\0';
}

/* Bytes of the character, in an encoding where only half-width katakana are single bytes above 0x7f. */
static size_t bytes_of(const char *at, bool katakana)
{
    unsigned char lead = (unsigned char)*at;
    return lead < 0x80 || (katakana && lead >= 0xa1 && lead <= 0xdf) ? 1 : 2;
}

/* ASCII goes as it is, what stands in between to iconv. */
static bool convert_beside_ascii(iconv_t conversion, struct passage *passage, bool katakana)
{
    while (passage->input > 0) {
        size_t left = passage->input, n = 0;
        char plain = (unsigned char)*passage->from < 0x80 ? *passage->from
                     : katakana                           ? ascii_of(passage->from, left)
                                                          : '\0';
        if ((unsigned char)*passage->from < 0x80 || plain) {
            n = bytes_of(passage->from, katakana);
            *passage->to++ = plain;
            passage->from += n;
            passage->input -= n;
            passage->room--;
            continue;
        }
        while (n < left && (unsigned char)passage->from[n] >= 0x80 &&
               !(katakana && ascii_of(passage->from + n, left - n)))
            n += bytes_of(passage->from + n, katakana);
        passage->input = n < left ? n : left;
        if (!convert_all(conversion, passage))
            return false;
        passage->input = n < left ? left - n : 0;
    }
    return true;
}

static char *convert(const void *parent, const char *text, size_t length, const char *from, size_t *out)
{
    iconv_t conversion = iconv_open("UTF-8", from);
    if (conversion == (iconv_t)-1)
        return NULL;
    size_t room = 4 * length + 4;
    char *result = talloc_array(parent, char, room + 1);
    char *source = result && length ? talloc_memdup(result, text, length) : NULL;
    struct passage passage = {source, result, length, room};
    bool katakana = strcmp(from, "SHIFT_JISX0213") == 0;
    bool ok = result && (source || length == 0);
    if (ok && length > 0)
        ok = katakana || strcmp(from, "JOHAB") == 0 ? convert_beside_ascii(conversion, &passage, katakana)
                                                    : convert_all(conversion, &passage);
    iconv_close(conversion);
    talloc_free(source);
    if (!ok) {
        talloc_free(result);
        return NULL;
    }
    *passage.to = '\0';
    *out = (size_t)(passage.to - result);
    return result;
}

/* iconv's name, or NULL where it has no table. */
static const char *iconv_name(const char *encoding)
{
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
        if (strcasecmp(encoding, encodings[i][0]) == 0)
            return encodings[i][1];
    return NULL;
}

char *text_to_utf8(const void *talloc_parent, const char *text, size_t length, const char *encoding,
                   size_t *utf8_length)
{
    bool valid = text_valid_utf8(text, length) == length;
    if (strcasecmp(encoding, "SQL_ASCII") == 0 && !valid)
        return from_ascii(talloc_parent, text, length, utf8_length);
    if (strcasecmp(encoding, "UTF8") == 0 || strcasecmp(encoding, "SQL_ASCII") == 0 ||
        strcasecmp(encoding, "UNICODE") == 0)
        return valid ? copy(talloc_parent, text, length, utf8_length) : NULL;
    const char *name = iconv_name(encoding);
    return name ? convert(talloc_parent, text, length, name, utf8_length) : NULL;
}

/* One character at a time, so that the one that fails is known. Without a conversion only ASCII is kept. `to`
 * has room for 4 bytes a byte. */
static void substitute(iconv_t conversion, const char *utf8, char *to)
{
    const char *end = utf8 + strlen(utf8);
    while (utf8 < end) {
        size_t n = character_length((const unsigned char *)utf8, (size_t)(end - utf8));
        char character[4], *from = character;
        size_t left = n ? n : 1, room = 4;
        memcpy(character, utf8, left);
        utf8 += left;
        if (n == 1)
            *to++ = character[0];
        else if (n == 0 || conversion == (iconv_t)-1 || iconv(conversion, &from, &left, &to, &room) != 0)
            *to++ = '?';
        else
            iconv(conversion, NULL, NULL, &to, &room); /* some encodings wait for a combining mark */
    }
    *to = '\0';
}

char *text_from_utf8(const void *talloc_parent, const char *utf8, const char *encoding)
{
    if (strcasecmp(encoding, "UTF8") == 0 || strcasecmp(encoding, "SQL_ASCII") == 0 ||
        strcasecmp(encoding, "UNICODE") == 0)
        return talloc_strdup(talloc_parent, utf8);
    char *result = talloc_array(talloc_parent, char, 4 * strlen(utf8) + 1);
    if (!result)
        return NULL;
    const char *name = iconv_name(encoding);
    iconv_t conversion = name ? iconv_open(name, "UTF-8") : (iconv_t)-1;
    substitute(conversion, utf8, result);
    if (conversion != (iconv_t)-1)
        iconv_close(conversion);
    return result;
}

size_t utf8_characters(const char *text, size_t bytes)
{
    size_t characters = 0;
    for (size_t i = 0; i < bytes; i++)
        characters += ((unsigned char)text[i] & 0xc0) != 0x80;
    return characters;
}

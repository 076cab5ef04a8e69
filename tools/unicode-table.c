/* unicode-table: writes src/text/tok_unicode.c from the Unicode Character Database.
 *
 *   unicode-table /usr/share/unicode/UnicodeData.txt > src/text/tok_unicode.c
 *
 * The input is Debian's package unicode-data (15.0.0). Each code point gets one of the categories
 * of text/tok_unicode.h; neighbours of equal category form a run, and the table is the list of runs
 * with an index by block of 256 code points. White space is the property White_Space: the
 * separators (Z) and U+0009 to U+000D and U+0085. Ideographs that Unicode 15.1 added (Extension I)
 * are letters here although the input does not have them: the vocabularies in use were made with
 * newer tables.
 */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/tok_unicode.h"

#define POINTS     0x110000u
#define INDEXED    0x20000u
#define INPUT_MAX  ((size_t)16 << 20)
#define EXT_I_LOW  0x2EBF0u
#define EXT_I_HIGH 0x2EE5Du

static enum tok_cat category(str general)
{
    static const struct {
        char name[3];
        enum tok_cat cat;
    } exact[] = {{"Lu", TOK_CAT_LU},
                 {"Ll", TOK_CAT_LL},
                 {"Lt", TOK_CAT_LT},
                 {"Lm", TOK_CAT_LM},
                 {"Lo", TOK_CAT_LO}};
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        if (str_eqc(general, exact[i].name)) return exact[i].cat;
    switch (general.n ? general.p[0] : 0) {
    case 'M': return TOK_CAT_MARK;
    case 'N': return TOK_CAT_NUMBER;
    case 'P': return TOK_CAT_PUNCT;
    case 'S': return TOK_CAT_SYMBOL;
    case 'Z': return TOK_CAT_SPACE;
    default: return TOK_CAT_OTHER;
    }
}

static uint32_t hex(str s)
{
    uint32_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        v = v * 16 + (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
        if (v >= POINTS) return 0;
    }
    return v;
}

static void fill(uint8_t *cats, uint32_t from, uint32_t to, enum tok_cat cat)
{
    for (uint32_t c = from; c <= to; c++)
        cats[c] = (uint8_t)cat;
}

static void read_lines(str text, uint8_t *cats)
{
    uint32_t first = 0;
    bool range = false;
    while (text.n) {
        str line = str_cut(text, '\n', &text), rest;
        uint32_t cp = hex(str_cut(line, ';', &rest));
        str name = str_cut(rest, ';', &rest);
        enum tok_cat cat = category(str_cut(rest, ';', &rest));
        if (name.n && str_ends(name, S("First>"))) {
            first = cp;
            range = true;
            continue;
        }
        fill(cats, range ? first : cp, cp, cat);
        range = false;
    }
    fill(cats, 0x09, 0x0D, TOK_CAT_SPACE);
    fill(cats, 0x85, 0x85, TOK_CAT_SPACE);
    fill(cats, EXT_I_LOW, EXT_I_HIGH, TOK_CAT_LO);
}

static void write_runs(const uint8_t *cats)
{
    uint32_t runs = 0;
    printf("const uint32_t tok_unicode_run[] = {");
    for (uint32_t c = 0; c < POINTS; c++) {
        if (c && cats[c] == cats[c - 1]) continue;
        printf("%s0x%xu,", runs++ % 10 ? " " : "\n    ", c << 4 | cats[c]);
    }
    printf("\n};\n\nconst uint16_t tok_unicode_index[] = {");
    uint32_t run = 0;
    for (uint32_t c = 0; c < INDEXED; c++) {
        if (c && cats[c] != cats[c - 1]) run++;
        if (c % 256 == 0) printf("%s%u,", c / 256 % 16 ? " " : "\n    ", run);
    }
    printf(" %u, %u,\n};\n", run, runs);
}

int main(int argc, char **argv)
{
    struct err_info e;
    char *text;
    size_t n;
    if (argc != 2 || map_read_file(argv[1], INPUT_MAX, &text, &n, &e) != ERR_OK) {
        fprintf(stderr, "usage: unicode-table UnicodeData.txt (of Debian's unicode-data)\n");
        return 64;
    }
    uint8_t *cats = mem_alloc(POINTS);
    if (!cats) return 71;
    read_lines((str){text, n}, cats);
    printf("/* tok_unicode: the category of every code point, as runs.\n *\n"
           " * Written by tools/unicode-table.c from UnicodeData.txt 15.0.0 (Debian package\n"
           " * unicode-data; Unicode data files are free to use, "
           "https://www.unicode.org/license.txt).\n"
           " * Do not edit. A run is first code point << 4 | category and lasts until the next "
           "one; the\n"
           " * index holds the run in which each block of 256 code points below U+20000 begins, "
           "then the\n"
           " * last of these runs and the number of runs.\n */\n"
           "#include \"text/tok_unicode.h\"\n\n/* clang-format off */\n");
    printf("const uint8_t tok_unicode_ascii[128] = {");
    for (uint32_t c = 0; c < 128; c++)
        printf("%s%u,", c % 16 ? " " : "\n    ", cats[c]);
    printf("\n};\n\n");
    write_runs(cats);
    printf("/* clang-format on */\n");
    mem_free(cats);
    mem_free(text);
    return 0;
}

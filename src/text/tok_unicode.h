/* tok_unicode: what kind of character a code point is.
 *
 * Eleven categories are all that pre-tokenizers ask for. tok_cat() looks one up; sets of categories
 * are bit masks of TOK_IN(). Code points that Unicode does not assign, and controls, are OTHER.
 */
#ifndef TEXT_TOK_UNICODE_H
#define TEXT_TOK_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

enum tok_cat {
    TOK_CAT_OTHER,
    TOK_CAT_SPACE,  /* property White_Space: \s */
    TOK_CAT_LU,     /* upper case */
    TOK_CAT_LL,     /* lower case */
    TOK_CAT_LT,     /* title case */
    TOK_CAT_LM,     /* modifier letter */
    TOK_CAT_LO,     /* other letter: ideographs, scripts without case */
    TOK_CAT_MARK,   /* \p{M} */
    TOK_CAT_NUMBER, /* \p{N} */
    TOK_CAT_PUNCT,  /* \p{P} */
    TOK_CAT_SYMBOL, /* \p{S} */
    TOK_CAT_NONE    /* no character: beyond the end of the text */
};

#define TOK_IN(cat) (1u << TOK_CAT_##cat)
#define TOK_LETTERS (TOK_IN(LU) | TOK_IN(LL) | TOK_IN(LT) | TOK_IN(LM) | TOK_IN(LO))

extern const uint8_t tok_unicode_ascii[128];
extern const uint32_t tok_unicode_run[];
extern const uint16_t tok_unicode_index[]; /* 512 blocks, last indexed run, number of runs */

/* Any value is allowed; above U+10FFFF the last category is given. */
static inline enum tok_cat tok_cat(uint32_t cp)
{
    if (cp < 128) return (enum tok_cat)tok_unicode_ascii[cp];
    uint32_t block = cp < 0x20000 ? cp >> 8 : 512;
    uint32_t low = tok_unicode_index[block], high = tok_unicode_index[block + 1] + 1u;
    if (block == 512) high--;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (tok_unicode_run[mid] >> 4 <= cp)
            low = mid;
        else
            high = mid;
    }
    return (enum tok_cat)(tok_unicode_run[low] & 15);
}

#endif

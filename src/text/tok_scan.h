/* tok_scan: the scanners that cut text into words, and what their arguments mean.
 *
 * All of them are tok_scan_fn: pure, and they read each character of a text a bounded number of
 * times. Which vocabulary uses which is said in tok_pre.c.
 */
#ifndef TEXT_TOK_SCAN_H
#define TEXT_TOK_SCAN_H

#include "text/tok_spec.h"

tok_scan_fn tok_scan_gpt2;
tok_scan_fn tok_scan_words; /* arg: TOK_W_* */
tok_scan_fn tok_scan_set;   /* arg: enum tok_set | TOK_AT_MOST(n) */
tok_scan_fn tok_scan_three;
tok_scan_fn tok_scan_spaced; /* arg: enum tok_set | TOK_ONLY_BLANK */
tok_scan_fn tok_scan_trailing;
tok_scan_fn tok_scan_deepseek3; /* arg: 1 without line ends after punctuation */
tok_scan_fn tok_scan_threes;    /* arg: 1 for cuts before threes of decimal digits only */
tok_scan_fn tok_scan_threes_word;
tok_scan_fn tok_scan_youtu;
tok_scan_fn tok_scan_chameleon; /* arg: 0 sentinel, 1 image, 2 indent */
tok_scan_fn tok_scan_blanks;    /* arg: 1 cuts off punctuation too */
tok_scan_fn tok_scan_spelled;   /* arg: 1 for single digits */
tok_scan_fn tok_scan_metaspace;

/* What differs between the rules of the tiktoken family. */
enum {
    TOK_W_DIGITS = 15,     /* longest group of digits; 0: no limit */
    TOK_W_FRONT = 16,      /* a contraction is a word */
    TOK_W_BACK = 32,       /* a contraction ends a word (TOK_W_CASED) */
    TOK_W_CASED = 64,      /* a word is upper case and then lower case */
    TOK_W_MARKS = 128,     /* marks are part of words */
    TOK_W_TAIL_NL = 256,   /* line ends follow punctuation */
    TOK_W_TAIL_SL = 512,   /* and slashes */
    TOK_W_NO_HAN = 1024,   /* Han is no part of other words */
    TOK_W_CASCADE = 2048,  /* white space in powers of two */
    TOK_W_TAIL_ONE = 4096, /* one line end or slash follows punctuation */
    TOK_W_PHRASE = 8192    /* words go on over single spaces, with their marks */
};

enum tok_set {
    TOK_SET_NUMBER,
    TOK_SET_LETTER,
    TOK_SET_PUNCT,
    TOK_SET_LINE_END,   /* [\r\n] */
    TOK_SET_LINE_FEED,  /* [\n] */
    TOK_SET_FALCON,     /* [\p{P}$+<=>^~|`] */
    TOK_SET_DEFAULT,    /* [\p{P}$+<=>^~|] */
    TOK_SET_BLOOM,      /* no white space, no bracket, bar, full stop or comma of any script */
    TOK_SET_KANA,       /* Han up to U+9FA5, hiragana, katakana */
    TOK_SET_CJK,        /* U+0800 to U+9FA5 and Hangul */
    TOK_SET_CASED,      /* the letters with case that DeepSeek LLM lists */
    TOK_SET_WIDE_PUNCT, /* ASCII but letters and digits, its full-width forms, quotes */
    TOK_SET_MARKS,      /* \p{P} and ASCII symbols */
    TOK_SET_ASIAN       /* scripts without spaces that AFMoE lists */
};
#define TOK_AT_MOST(n) ((unsigned)(n) << 8)
#define TOK_ONLY_BLANK 256u

#endif

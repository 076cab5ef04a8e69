/* tok_spec: a vocabulary and its rules in one normal form, whatever file they came from.
 *
 * GGUF metadata, Hugging Face's tokenizer.json, SentencePiece's tokenizer.model, tiktoken's ranks
 * and GPT-2's vocab.json with merges.txt are each read into a `struct tok_spec`; tok_build() makes
 * a `struct tok` of it and knows no file. The readers are pure functions of bytes: they open
 * nothing, check everything and refuse by name what is not understood. What they fill in are views
 * of the bytes and memory of the arena they were given; both must outlive the tokenizer.
 */
#ifndef TEXT_TOK_SPEC_H
#define TEXT_TOK_SPEC_H

#include "base/arena.h"
#include "base/err.h"
#include "model/gguf.h"

struct tok_split;

enum tok_algo {
    TOK_SPM, /* neighbours join into the token of the best score */
    TOK_BPE, /* neighbours join by a list of merges or by rank */
    TOK_WPM, /* WordPiece: longest match, word by word */
    TOK_UGM, /* Unigram: the best sum of scores */
    TOK_RWKV /* longest match over bytes */
};

/* ---- text before it is cut ---- */
enum tok_norm_op {
    TOK_NORM_NFC,
    TOK_NORM_NFD,
    TOK_NORM_NFKC,
    TOK_NORM_NFKD,
    TOK_NORM_LOWER,
    TOK_NORM_STRIP_MARKS, /* everything of category M */
    TOK_NORM_BERT,        /* flags: TOK_BERT_* */
    TOK_NORM_REPLACE,     /* from (or what `split` matches) becomes to */
    TOK_NORM_PREPEND,     /* to, before a text that is not empty */
    TOK_NORM_STRIP,       /* flags: 1 left, 2 right */
    TOK_NORM_CHARSMAP, /* SentencePiece's compiled rules, in from; flags: 1 as tokenizers has it */
    TOK_NORM_NMT,      /* SentencePiece's rules for odd spaces and controls */
    TOK_NORM_SPACES,   /* flags: TOK_SPACES_* */
    TOK_NORM_WORDS,    /* U+2581 before each word, no other white space */
    TOK_NORM_METASPACE /* a space becomes to; flags: TOK_PREFIX_*; from: what a prefix is */
};

enum {
    TOK_BERT_CLEAN = 1,   /* controls go, white space becomes a space */
    TOK_BERT_HAN = 2,     /* spaces around ideographs */
    TOK_BERT_ACCENTS = 4, /* NFD without its non-spacing marks */
    TOK_BERT_LOWER = 8
};

enum {
    TOK_SPACES_MERGE = 1,  /* none at the ends, one where there are several */
    TOK_SPACES_PREFIX = 2, /* one in front */
    TOK_SPACES_SUFFIX = 4, /* one at the end */
    TOK_SPACES_ESCAPE = 8  /* written as U+2581 */
};

enum {
    TOK_PREFIX_FIRST = 1, /* a prefix at the beginning of the whole text */
    TOK_PREFIX_ALWAYS = 2 /* and after special tokens */
};

struct tok_norm {
    enum tok_norm_op op;
    unsigned flags;
    str from, to;
    const struct tok_split *split;
};

#define TOK_NORMS_MAX 24

/* ---- words ---- */
#define TOK_STAGES_MAX 10

/* The end of the word that begins at `at` in p[0, end): more than `at`, at most `end`; with
 * TOK_SKIP what lies between is no word but dropped. */
typedef size_t tok_scan_fn(const char *p, size_t at, size_t end, unsigned arg);
#define TOK_SKIP ((size_t)1 << (sizeof(size_t) * 8 - 1))

struct tok_stage {
    tok_scan_fn *scan;
    unsigned arg;
    const struct tok_split *split; /* instead of scan: a pattern */
};

/* Each stage cuts the pieces of the one before it. */
struct tok_pre {
    const char *name;
    struct tok_stage stage[TOK_STAGES_MAX]; /* ends with neither scan nor split */
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;       /* unless the file says otherwise */
    bool whole_lines;   /* as ignore_merges, for line feeds only */
    bool raw;           /* the vocabulary spells text as it is, with U+2581 for a space */
};

const struct tok_pre *tok_pre_find(str name); /* NULL: no such pre-tokenizer */
/* A name in GGUF's list for what cuts words so; NULL: there is none. */
const char *tok_pre_name(const struct tok_pre *pre);
/* The stage that a regular expression of a tokenizer.json is known to mean. */
bool tok_pre_pattern(str regex, struct tok_stage *out);

/* ---- the whole ---- */
#define TOK_AROUND_MAX 4

struct tok_spec {
    enum tok_algo algo;
    uint32_t n;
    const str *text;    /* [n] as the vocabulary spells it */
    uint8_t *attr;      /* [n] enum tok_kind | TOK_ATTR_* */
    const float *score; /* [n] SPM, UGM; NULL: all equal */
    const str *merge;   /* BPE: in order of rank, "left right" each, or two each with merge_pairs */
    size_t n_merges;
    bool merge_pairs;
    bool by_rank;       /* BPE: any two tokens join into a token, the smallest id first */
    struct tok_pre pre; /* how text is cut into words; no stage: it is not */
    struct tok_norm norm[TOK_NORMS_MAX];
    uint32_t n_norm;
    int32_t bos, eos, unk;                              /* -1: none */
    int32_t head[TOK_AROUND_MAX], tail[TOK_AROUND_MAX]; /* put around a text */
    uint32_t n_head, n_tail;
    bool add_space;     /* SPM without norm: a space before each stretch of text */
    bool strips_space;  /* decoding takes the first space off */
    bool backwards;     /* UGM as PLaMo has it: whole numbers, from the end, spaces as they are */
    bool user_joins;    /* a user-defined token in a text does not begin it anew */
    bool byte_fallback; /* what is no token becomes <0xHH> tokens */
    bool fuse_unk;      /* several unknown characters in a row are one unknown token */
    str word_start, word_next; /* WPM: how a piece is spelled at the start of a word and within */
    uint32_t word_max;         /* WPM: longer words (in characters) are unknown; 0: no limit */
};

/* All of them expect *s zeroed and fill it. */
MUST_CHECK enum err tok_spec_from_gguf(struct tok_spec *s, struct arena *a, const struct gguf *g,
                                       struct err_info *e);
/* tokenizer.json; `config` is tokenizer_config.json, `special` special_tokens_map.json, either may
 * be empty. */
MUST_CHECK enum err tok_spec_from_json(struct tok_spec *s, struct arena *a, str json, str config,
                                       str special, struct err_info *e);
/* SentencePiece's tokenizer.model: BPE and Unigram. */
MUST_CHECK enum err tok_spec_from_model(struct tok_spec *s, struct arena *a, str model, str config,
                                        struct err_info *e);
/* "base64 rank" lines. `pre` names the pre-tokenizer, which the file does not. */
MUST_CHECK enum err tok_spec_from_ranks(struct tok_spec *s, struct arena *a, str ranks, str pre,
                                        str config, struct err_info *e);
/* vocab.json and merges.txt of GPT-2 and its relatives. */
MUST_CHECK enum err tok_spec_from_merges(struct tok_spec *s, struct arena *a, str vocab, str merges,
                                         str pre, str config, struct err_info *e);

#endif

/* tok_int: what the files of the tokenizer share.
 *
 * Readers (tok_gguf.c, tok_hf.c with tok_hf_rules.c, tok_model.c, tok_ranks.c) fill a tok_spec;
 * tok_build.c makes a vocabulary of it; tok.c drives a call. tok_index.c finds tokens by spelling
 * and special tokens in text, tok_trie.c the tokens that begin at a place. tok_norm.c rewrites
 * text, tok_pre.c and tok_split.c cut it into words. tok_merge.c joins the symbols of one word;
 * tok_spm.c and tok_bpe.c know what the symbols and the pairs of their kind are; tok_match.c is for
 * the kinds that match whole tokens (WordPiece, Unigram, RWKV).
 */
#ifndef TEXT_TOK_INT_H
#define TEXT_TOK_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "text/tok.h"
#include "text/tok_spec.h"

/* ---- spelling -> id ---- */
struct tok_slot {
    uint32_t tag; /* upper half of the hash */
    uint32_t id1; /* id + 1; 0: free */
};

/* Open addressing, at most half full. Equal spellings: the lowest id stands. */
struct tok_index {
    struct tok_slot *slot;
    size_t mask;
    uint64_t seed; /* from the system: a file cannot be made to collide */
};

static inline uint64_t tok_mix(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t tok_hash(str s, uint64_t seed);

/* ---- the vocabulary ---- */
enum {
    TOK_ATTR_KIND = 7,
    TOK_ATTR_END = 8,     /* ends a turn */
    TOK_ATTR_RSTRIP = 16, /* white space after it belongs to it */
    TOK_ATTR_LSTRIP = 32, /* and before it */
    TOK_ATTR_WORD = 64,   /* only where it is a word of its own */
};

struct tok_special {
    str text;
    int32_t id;
};

/* Longer ones are not recognised in text; bounds the work at one position. */
#define TOK_SPECIAL_LEN_MAX 512
/* A merge whose result is longer is ignored. */
#define TOK_MERGE_LEN_MAX 4096

/* Longer ones are not joined by rank. */
#define TOK_RANK_LEN_MAX 512

struct tok_pair {
    uint64_t key; /* left << 32 | right, plus 1 so that 0 is free */
    uint32_t rank;
    uint32_t id; /* of the joined symbol */
};

/* Merge ranks by pair of ids. Parts and results that the vocabulary lacks get ids from n up. */
struct tok_merges {
    struct arena arena;
    struct tok_pair *pair;
    size_t mask;
    uint32_t byte[256]; /* the symbol of each byte */
};

/* ---- tokens as a tree of bytes ---- */
struct tok_node {
    uint32_t kid; /* the first of its children; they lie side by side, by byte */
    uint16_t n_kid;
    uint8_t byte;
    int32_t id; /* of the token that ends here, or -1 */
};

struct tok_trie {
    struct tok_node *node; /* [0] is the root */
    uint32_t n;
};

/* Tokens that are longer are not matched in text; bounds the work at one position. */
#define TOK_MATCH_LEN_MAX 1024

/* Over the spellings text[id] for which use[id]; of equal ones the lowest id stands. */
MUST_CHECK enum err tok_trie_build(struct tok_trie *tr, struct arena *a, const str *text,
                                   const bool *use, uint32_t n, struct err_info *e);
/* The child by that byte, or 0. */
uint32_t tok_trie_step(const struct tok_trie *tr, uint32_t node, uint8_t byte);

#define TOK_FILES 4

struct tok {
    struct arena arena;
    struct map file[TOK_FILES]; /* what the spec's views point into, where we opened it */
    enum tok_algo algo;
    bool raw; /* BPE over characters as they are, not over bytes */
    uint32_t n;
    const str *text;    /* [n] in the file's bytes */
    uint8_t *attr;      /* [n] */
    uint32_t *prio;     /* [n] SPM: scores as numbers that sort upwards, best first; else NULL */
    const float *score; /* [n] UGM */
    double unk_score;   /* UGM */
    struct tok_index index;
    struct tok_special *special; /* sorted by text */
    uint32_t n_special;
    bool user_special;           /* some of them are recognised in any text */
    bool lstrip;                 /* some of them take the white space before them */
    uint32_t special_first[257]; /* those that begin with byte b: [first[b], first[b + 1]) */
    size_t text_max;             /* longest spelling */
    int32_t bos, eos, unk;       /* -1: none */
    int32_t head[TOK_AROUND_MAX], tail[TOK_AROUND_MAX];
    uint32_t n_head, n_tail;
    bool add_space;    /* SPM: a space before the text */
    bool strips_space; /* decoding takes it off */
    bool word_bounds;  /* no token goes on past the space that ends a word */
    bool backwards;    /* UGM as PLaMo has it */
    bool user_joins;   /* user-defined tokens do not interrupt the text around them */
    bool byte_fallback, fuse_unk;
    bool fuse_text;       /* unknown ones are joined across words */
    int32_t byte_id[256]; /* byte fallback, -1: none */
    struct tok_pre pre;
    struct tok_norm norm[TOK_NORMS_MAX];
    uint32_t n_norm;
    struct tok_trie trie; /* WPM, UGM, RWKV */
    const str *plain;     /* RWKV: [n] what text[] stands for */
    str word_start, word_next;
    uint32_t start_node, next_node; /* WPM: where in the trie a word and its rest begin */
    bool start_none, next_none;     /* there are none such */
    uint32_t word_max;
    const str *merge; /* BPE: in order of rank */
    size_t n_merges;
    bool merge_pairs, by_rank;
    pthread_mutex_t lock; /* building the merges */
    _Atomic(struct tok_merges *) merges;
};

/* Fills t, whose arena and files are already as they should be. */
MUST_CHECK enum err tok_build(struct tok *t, const struct tok_spec *s, struct err_info *e);
struct tok *tok_new(void); /* NULL: no memory; tok_close() frees it */
/* "<0x0A>" is 10; anything else -1. */
int tok_byte_of(str s);
/* Marks what no file says: chat markers and ends of a turn by their names. */
void tok_mark_names(struct tok *t);

/* ---- patterns ---- */
enum tok_split_how {
    TOK_SPLIT_ISOLATED,  /* a match is a word */
    TOK_SPLIT_REMOVED,   /* a match is dropped */
    TOK_SPLIT_PREVIOUS,  /* a match ends the word before it */
    TOK_SPLIT_NEXT,      /* a match begins the word after it */
    TOK_SPLIT_CONTIGUOUS /* neighbours of one kind are one word */
};

/* Compiles into the arena. `invert`: what lies between matches is what matches. */
MUST_CHECK enum err tok_split_new(const struct tok_split **out, struct arena *a, str regex,
                                  enum tok_split_how how, bool invert, struct err_info *e);
/* A text as it stands instead of a regular expression. */
MUST_CHECK enum err tok_split_literal(const struct tok_split **out, struct arena *a, str text,
                                      enum tok_split_how how, bool invert, struct err_info *e);

/* Of the vocabulary: id, or -1. */
int32_t tok_index_find(const struct tok_index *ix, const str *text, str s);
int32_t tok_index_find_hash(const struct tok_index *ix, const str *text, str s, uint64_t h);
/* The spelling that find would look at first, for prefetching; NULL: none. */
const str *tok_index_likely(const struct tok_index *ix, const str *text, uint64_t h);
MUST_CHECK enum err tok_index_build(struct tok *t, struct err_info *e);
/* Sorts the special tokens; attr must be complete. */
MUST_CHECK enum err tok_special_build(struct tok *t, struct err_info *e);
/* The longest special token at s[at]; NULL: none. Control and unknown tokens only if `control`. */
const struct tok_special *tok_special_at(const struct tok *t, str s, size_t at, bool control);

/* ---- one call ---- */
struct tok_sym {
    uint32_t at, len; /* in work.base */
    int32_t prev, next;
    int32_t id; /* -1: not a token (SPM) */
};

struct tok_cand {
    uint64_t key; /* priority << 32 | left symbol: the smallest is joined first */
    uint32_t len; /* of both; differs from the symbols' own once one of them has changed */
    int32_t id;   /* of the result */
};

/* A word met before: its ids are at out[ids, ids + count). */
struct tok_seen {
    uint32_t at, len, ids, count;
};

struct tok_work {
    const struct tok *t;
    const struct tok_merges *m; /* BPE */
    const char *base;           /* what is being cut into words */
    int32_t *out;
    size_t n, cap;
    struct tok_sym *sym;
    size_t sym_cap;
    struct tok_cand *heap;
    size_t heap_n, heap_cap;
    struct tok_seen *seen; /* direct-mapped, NULL for short texts */
    size_t seen_mask;
    buf norm;   /* the text as its vocabulary spells it */
    buf tmp[2]; /* between two steps of that */
    uint32_t *points;
    size_t points_cap;
    struct tok_best *best; /* UGM */
    size_t best_cap;
    struct tok_match *match; /* of the stages that are patterns */
    int32_t last;            /* the id before, while unknown ones are joined */
    size_t unknown;          /* how many were met */
    bool failed;             /* no memory */
    const char *why;         /* or this reason */
};

void tok_work_init(struct tok_work *w, const struct tok *t, size_t text_len);
void tok_work_fini(struct tok_work *w);
void tok_emit(struct tok_work *w, int32_t id);
/* Appends the unknown token, or nothing where there is none or one stands already. */
void tok_emit_unknown(struct tok_work *w);
/* What is no token, as bytes if the vocabulary has them, else as unknown. */
void tok_emit_bytes(struct tok_work *w, str s);
/* Room for `need` elements of `size` in *p; false sets w->failed. */
bool tok_work_grow(struct tok_work *w, void **p, size_t *cap, size_t need, size_t size);

/* Where a stretch of text lies. */
enum {
    TOK_EDGE_FIRST = 1, /* at the beginning of the whole text */
    TOK_EDGE_LEFT = 2,  /* after a user-defined token that does not interrupt the text */
    TOK_EDGE_RIGHT = 4  /* before one */
};

/* Appends the text, rewritten, to w->norm. */
void tok_norm_text(struct tok_work *w, str text, unsigned edges);
/* Cuts base[at, end) into words and tokenises each. */
void tok_split_text(struct tok_work *w, size_t at, size_t end);
/* As a tok_scan_fn, over the piece p[start, end). */
size_t tok_split_next(struct tok_work *w, unsigned depth, const struct tok_split *sp, size_t start,
                      size_t at, size_t end);
/* Replaces what matches in s; appends to out. */
void tok_split_replace(struct tok_work *w, const struct tok_split *sp, str s, str to, buf *out);
/* Forgets what was found: another text comes. */
void tok_split_begin(struct tok_work *w);
void tok_split_fini(struct tok_work *w);

/* Tokenises base[at, at + len) as one word. */
void tok_merge_word(struct tok_work *w, size_t at, size_t len);
void tok_match_wpm(struct tok_work *w, size_t at, size_t len);
void tok_match_ugm(struct tok_work *w, size_t at, size_t len);
void tok_match_rwkv(struct tok_work *w, size_t at, size_t len);
MUST_CHECK enum err tok_match_build(struct tok *t, struct err_info *e);
/* The bytes that GGUF's escaped spelling of an RWKV token stands for; .p NULL: no memory. */
str tok_match_unescape(struct arena *a, str s);

void tok_spm_text(struct tok_work *w, str text, bool space_first);
MUST_CHECK enum err tok_bpe_prepare(struct tok_work *w, struct err_info *e);
void tok_bpe_free(struct tok *t);
/* Two symbols side by side: whether they join, how early, into what. */
bool tok_spm_pair(const struct tok_work *w, const struct tok_sym *l, const struct tok_sym *r,
                  uint32_t *prio, int32_t *id);
bool tok_bpe_pair(const struct tok_work *w, const struct tok_sym *l, const struct tok_sym *r,
                  uint32_t *prio, int32_t *id);
/* Appends what one symbol that is left over stands for. */
void tok_spm_emit(struct tok_work *w, const struct tok_sym *s);
void tok_bpe_emit(struct tok_work *w, const struct tok_sym *s);
/* A word that is a token as it stands: its id, or -1. */
int32_t tok_bpe_whole(const struct tok_work *w, size_t at, size_t len);
/* The byte that a code point of a byte-level spelling stands for, or -1. */
int tok_bpe_byte(uint32_t cp);
/* Its inverse. */
uint32_t tok_bpe_point(unsigned byte);
/* Byte-level spelling of some bytes, in the arena; .p NULL: no memory. */
str tok_bpe_spell(struct arena *a, str bytes);

#define TOK_SPACE "\xE2\x96\x81" /* U+2581, SPM's space */

static inline enum tok_kind tok_attr_kind(uint8_t attr)
{
    return (enum tok_kind)(attr & TOK_ATTR_KIND);
}

/* Not to be made from plain text. */
static inline bool tok_attr_hidden(uint8_t attr)
{
    enum tok_kind k = tok_attr_kind(attr);
    return k == TOK_CONTROL || k == TOK_UNKNOWN;
}

#endif

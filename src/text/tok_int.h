/* tok_int: what the files of the tokenizer share.
 *
 * tok.c opens a vocabulary and drives a call; tok_index.c finds tokens by spelling and special
 * tokens in text; tok_merge.c joins symbols of one word; tok_spm.c and tok_bpe.c know what the
 * symbols and the pairs of their kind are; tok_pre.c cuts text into words for BPE.
 */
#ifndef TEXT_TOK_INT_H
#define TEXT_TOK_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "text/tok.h"

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

/* ---- pre-tokenizers ---- */
#define TOK_STAGES_MAX 6

/* The end of the word that begins at `at` in p[0, end): more than `at`, at most `end`. */
typedef size_t tok_scan_fn(const char *p, size_t at, size_t end, unsigned arg);

struct tok_stage {
    tok_scan_fn *scan;
    unsigned arg;
};

/* Each stage cuts the pieces of the one before it. */
struct tok_pre {
    const char *name;
    struct tok_stage stage[TOK_STAGES_MAX]; /* ends with a NULL scan */
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;       /* unless the file says otherwise */
};

const struct tok_pre *tok_pre_find(str name); /* NULL: no such pre-tokenizer */

/* ---- the vocabulary ---- */
enum {
    TOK_ATTR_KIND = 7,
    TOK_ATTR_END = 8,     /* ends a turn */
    TOK_ATTR_RSTRIP = 16, /* white space after it belongs to it */
};

struct tok_special {
    str text;
    int32_t id;
};

/* Longer ones are not recognised in text; bounds the work at one position. */
#define TOK_SPECIAL_LEN_MAX 512
/* A merge whose result is longer is ignored. */
#define TOK_MERGE_LEN_MAX 4096

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

struct tok {
    struct arena arena;
    bool bpe;
    uint32_t n;
    const str *text; /* [n] in the file's bytes */
    uint8_t *attr;   /* [n] */
    uint32_t *prio;  /* [n] SPM: scores as numbers that sort upwards, best first; BPE: NULL */
    struct tok_index index;
    struct tok_special *special; /* sorted by text */
    uint32_t n_special;
    bool user_special;           /* some of them are recognised in any text */
    uint32_t special_first[257]; /* those that begin with byte b: [first[b], first[b + 1]) */
    size_t text_max;             /* longest spelling */
    int32_t bos, eos, unk;       /* -1: none */
    bool add_bos, add_eos;
    bool add_space;       /* SPM: a space before the text */
    bool word_bounds;     /* SPM: no token goes on past the space that ends a word */
    int32_t byte_id[256]; /* SPM: byte fallback, -1: none */
    const struct tok_pre *pre;
    const str *merge_text; /* BPE: "left right", in order of rank */
    size_t n_merges;
    pthread_mutex_t lock; /* building the merges */
    _Atomic(struct tok_merges *) merges;
};

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
    buf norm;    /* SPM: the text with its spaces written as U+2581 */
    bool failed; /* no memory */
};

void tok_work_init(struct tok_work *w, const struct tok *t, size_t text_len);
void tok_work_fini(struct tok_work *w);
void tok_emit(struct tok_work *w, int32_t id);

/* Tokenises base[at, at + len) as one word. */
void tok_merge_word(struct tok_work *w, size_t at, size_t len);

void tok_spm_text(struct tok_work *w, str text, bool space_first);
MUST_CHECK enum err tok_bpe_prepare(struct tok_work *w, struct err_info *e);
void tok_bpe_text(struct tok_work *w, size_t at, size_t end);
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

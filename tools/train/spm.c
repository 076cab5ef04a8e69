/* spm: a small SentencePiece-style vocabulary: trained by byte-pair merges, used by score.
 *
 * Text is cut into units: a run of letters, a single digit, or a run of marks, each with the space
 * before it. No merge crosses a unit, so the global order of merges by score gives the same pieces
 * as working unit by unit. Training counts distinct units and joins the most frequent pair; ties go
 * to the pair whose text is smaller, so the vocabulary does not depend on any table's order.
 */
#include "spm.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"

static const char spm_chars[] = " etaoinshrdlucmfwypvbgkjqxz.,!?'\"-:;()+=/"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static size_t slot_of(const struct spm *s, const char *p, size_t n)
{
    size_t i = (size_t)str_hash((str){p, n}) % SPM_SLOTS;
    while (s->slot[i] >= 0) {
        const struct spm_piece *x = &s->piece[s->slot[i]];
        if (x->n == n && memcmp(x->text, p, n) == 0) break;
        i = (i + 1) % SPM_SLOTS;
    }
    return i;
}

/* A normal piece, or -1. */
static int32_t find(const struct spm *s, const char *p, size_t n)
{
    int32_t id = n < SPM_PIECE_MAX ? s->slot[slot_of(s, p, n)] : -1;
    return id >= 0 && s->piece[id].type == SPM_NORMAL ? id : -1;
}

void spm_add(struct spm *s, str text, float score, enum spm_type type)
{
    ASSERT(s->count < SPM_VOCAB_MAX && text.n < SPM_PIECE_MAX);
    struct spm_piece *x = &s->piece[s->count];
    *x = (struct spm_piece){.n = (uint32_t)text.n, .score = score, .type = type};
    memcpy(x->text, text.p, text.n);
    s->slot[slot_of(s, text.p, text.n)] = (int32_t)s->count++;
}

void spm_init(struct spm *s)
{
    s->count = 0;
    memset(s->slot, -1, sizeof s->slot);
    spm_add(s, S("<unk>"), 0, SPM_UNKNOWN);
    spm_add(s, S("<s>"), 0, SPM_CONTROL);
    spm_add(s, S("</s>"), 0, SPM_CONTROL);
    for (int i = 0; i < 256; i++) {
        char t[8];
        int n = snprintf(t, sizeof t, "<0x%02X>", (unsigned)i);
        spm_add(s, (str){t, (size_t)n}, 0, SPM_BYTE);
    }
    spm_add(s, S("<|im_start|>"), 0, SPM_CONTROL);
    spm_add(s, S("<|im_end|>"), 0, SPM_CONTROL);
}

/* ---- units ---- */

enum kind { SPACE, LETTER, MARK, OTHER };

static enum kind kind_of(char c)
{
    if (c == ' ') return SPACE;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '\'') return LETTER;
    if (c != 0 && strchr(".,!?\"-:;()+=/", c)) return MARK;
    return OTHER; /* digits, line ends, anything else: alone */
}

/* Cuts the next unit off *rest. */
static str unit(str *rest)
{
    str s = *rest;
    size_t n = 0;
    if (s.p[0] == ' ') n++;
    if (n < s.n && kind_of(s.p[n]) != SPACE) {
        enum kind k = kind_of(s.p[n++]);
        while (k != OTHER && n < s.n && kind_of(s.p[n]) == k)
            n++;
    }
    *rest = (str){s.p + n, s.n - n};
    return (str){s.p, n};
}

/* The control token that begins at s, or -1. */
static int32_t control(const struct spm *s, str at)
{
    if (at.p[0] != '<') return -1;
    for (int32_t id = SPM_BOS; id < SPM_FIRST; id++) {
        const struct spm_piece *x = &s->piece[id];
        if (x->type == SPM_CONTROL && str_starts(at, (str){x->text, x->n})) return id;
    }
    return -1;
}

/* ---- training ---- */

enum { WORD_MAX = 48, WORDS_MAX = 1 << 14 };

struct word {
    char text[WORD_MAX];
    uint8_t cut[WORD_MAX]; /* where each symbol begins; cut[n_sym] is the length */
    size_t n_sym;
    uint64_t count;
};

struct pair {
    char text[SPM_PIECE_MAX];
    uint32_t n;
    uint64_t count;
};

enum { PAIRS_MAX = 1 << 15 };

static void count_words(const struct spm *s, str text, struct word *words)
{
    while (text.n) {
        if (text.p[0] == '<' && control(s, text) >= 0) {
            size_t n = s->piece[control(s, text)].n;
            text = (str){text.p + n, text.n - n};
            continue;
        }
        str u = unit(&text);
        if (u.n >= WORD_MAX) continue;
        size_t i = (size_t)str_hash(u) % WORDS_MAX, tries = 0;
        while (words[i].count && !str_eq(u, (str){words[i].text, words[i].cut[words[i].n_sym]})) {
            i = (i + 1) % WORDS_MAX;
            if (++tries == WORDS_MAX) return; /* table full: rare words do not matter */
        }
        if (words[i].count++) continue;
        memcpy(words[i].text, u.p, u.n);
        words[i].n_sym = u.n;
        for (size_t c = 0; c <= u.n; c++)
            words[i].cut[c] = (uint8_t)c;
    }
}

static void count_pairs(const struct word *words, struct pair *pairs)
{
    memset(pairs, 0, PAIRS_MAX * sizeof *pairs);
    for (size_t w = 0; w < WORDS_MAX; w++) {
        const struct word *x = &words[w];
        for (size_t k = 0; x->count && k + 1 < x->n_sym; k++) {
            str t = {x->text + x->cut[k], (size_t)(x->cut[k + 2] - x->cut[k])};
            if (t.n >= SPM_PIECE_MAX || kind_of(t.p[t.n - 1]) == OTHER) continue;
            size_t i = (size_t)str_hash(t) % PAIRS_MAX;
            while (pairs[i].n && !str_eq(t, (str){pairs[i].text, pairs[i].n}))
                i = (i + 1) % PAIRS_MAX;
            if (!pairs[i].n) memcpy(pairs[i].text, t.p, t.n);
            pairs[i].n = (uint32_t)t.n;
            pairs[i].count += x->count;
        }
    }
}

static str best_pair(const struct pair *pairs)
{
    const struct pair *best = NULL;
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        const struct pair *p = &pairs[i];
        if (p->count < 2 || (best && p->count < best->count)) continue;
        if (!best || p->count > best->count ||
            str_cmp((str){p->text, p->n}, (str){best->text, best->n}) < 0)
            best = p;
    }
    return best ? (str){best->text, best->n} : (str){NULL, 0};
}

static void join(struct word *words, str piece)
{
    for (size_t w = 0; w < WORDS_MAX; w++) {
        struct word *x = &words[w];
        for (size_t k = 0; x->count && k + 1 < x->n_sym; k++) {
            str t = {x->text + x->cut[k], (size_t)(x->cut[k + 2] - x->cut[k])};
            if (!str_eq(t, piece)) continue;
            memmove(x->cut + k + 1, x->cut + k + 2, x->n_sym - k - 1);
            x->n_sym--;
        }
    }
}

void spm_train(struct spm *s, str text, size_t vocab)
{
    struct word *words = mem_need(WORDS_MAX * sizeof *words);
    struct pair *pairs = mem_need(PAIRS_MAX * sizeof *pairs);
    size_t chars = sizeof spm_chars - 1, rank = 0;
    spm_init(s);
    ASSERT(vocab > SPM_FIRST + chars && vocab <= SPM_VOCAB_MAX);
    count_words(s, text, words);
    while (s->count + chars < vocab) {
        count_pairs(words, pairs);
        str piece = best_pair(pairs);
        if (!piece.n) break;
        spm_add(s, piece, -(float)rank++, SPM_NORMAL);
        join(words, (str){s->piece[s->count - 1].text, piece.n});
    }
    for (size_t i = 0; i < chars; i++)
        spm_add(s, (str){spm_chars + i, 1}, -(float)rank++, SPM_NORMAL);
    mem_free(words);
    mem_free(pairs);
}

/* ---- use ---- */

static void put(buf *out, int32_t id)
{
    buf_put(out, &id, sizeof id);
}

static void encode_unit(const struct spm *s, str u, buf *out)
{
    size_t cut[256], n = 0;
    if (u.n >= 256) { /* merges never get that long: in halves */
        encode_unit(s, str_sub(u, 0, 255), out);
        encode_unit(s, str_sub(u, 255, u.n), out);
        return;
    }
    for (size_t i = 0; i <= u.n; i++)
        cut[i] = i;
    n = u.n;
    for (;;) {
        size_t best = SIZE_MAX;
        float score = 0;
        for (size_t k = 0; k + 1 < n; k++) {
            int32_t id = find(s, u.p + cut[k], cut[k + 2] - cut[k]);
            if (id < 0 || (best != SIZE_MAX && s->piece[id].score <= score)) continue;
            best = k;
            score = s->piece[id].score;
        }
        if (best == SIZE_MAX) break;
        memmove(cut + best + 1, cut + best + 2, (n - best - 1) * sizeof *cut);
        n--;
    }
    for (size_t k = 0; k < n; k++) {
        int32_t id = find(s, u.p + cut[k], cut[k + 1] - cut[k]);
        put(out, id >= 0 ? id : SPM_BYTE0 + (uint8_t)u.p[cut[k]]);
    }
}

static void encode_text(const struct spm *s, str text, buf *out)
{
    while (text.n)
        encode_unit(s, unit(&text), out);
}

void spm_encode(const struct spm *s, str text, buf *out)
{
    buf plain = {.cap = MIB(64)};
    put(out, SPM_BOS);
    while (text.n) {
        size_t n = 0;
        int32_t id = -1;
        while (n < text.n && (id = control(s, str_sub(text, n, text.n))) < 0)
            n++;
        if (n) {
            buf_clear(&plain);
            buf_ch(&plain, ' ');
            buf_str(&plain, str_sub(text, 0, n));
            encode_text(s, buf_view(&plain), out);
        }
        if (id >= 0) {
            put(out, id);
            n += s->piece[id].n;
        }
        text = str_sub(text, n, text.n);
    }
    buf_fini(&plain);
}

void spm_decode(const struct spm *s, int32_t id, buf *out)
{
    const struct spm_piece *x = &s->piece[id];
    if (x->type == SPM_BYTE)
        buf_ch(out, (char)(id - SPM_BYTE0));
    else
        buf_put(out, x->text, x->n);
}

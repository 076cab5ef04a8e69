/* sample: the sampler stages as one table.
 *
 * The candidates are three parallel arrays (logit, id, share), in order of id; at first they are
 * the back end's row itself and no array is filled. A stage finds a threshold (the logit of the
 * last candidate that stays and how many of those equal to it stay) and filters. Thresholds come
 * from a heap when few are wanted, else from a radix selection over the bits of the floats: three
 * passes of a histogram, by count (top_k) or by probability (top_p). Nothing is ever sorted.
 *
 * Invariant: ids are ascending and unique; logits are finite or -inf, the largest finite.
 *
 * Left out: which tokens are allowed (grammars), and the end of text: the engine's.
 */
#include "engine/sample.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

#define LANES    16   /* loops over the vocabulary work on so many at once */
#define BLOCK    128  /* and skip so many at once */
#define HEAP_MAX 256  /* top_k up to this uses the heap */
#define RADIX    2048 /* 11 bits a pass, three passes make 32 */
#define SPREAD   64   /* buckets of the first histogram per unit of logit */

struct sampler {
    uint32_t n_vocab;
    uint32_t *count; /* [n_vocab], zero between calls: occurrences, for penalties */
    float *logit;    /* [n_vocab] */
    float *share;    /* [n_vocab]: exp(logit - largest) */
    int32_t *id;     /* [n_vocab] */
    float *edge;     /* [2][n_vocab]: logits and shares of one bucket */
    struct bucket {
        double mass;
        uint32_t n;
    } hist[RADIX];
    struct sample_logprob heap[HEAP_MAX];
};

/* What the stages work on. */
struct work {
    struct sampler *s;
    const struct sample_input *in;
    const float *logit; /* [n]: the input's row or s->logit */
    const int32_t *id;  /* [n], or NULL: candidate i is token i */
    uint32_t n;
    float largest;
    double sum; /* of the shares, once temperature() has run */
};

struct threshold {
    float logit;
    uint32_t equal; /* how many candidates with exactly this logit stay, lowest ids first */
};

uint64_t sample_bytes(uint32_t n_vocab)
{
    return sizeof(struct sampler) +
           (uint64_t)n_vocab * (sizeof(uint32_t) + 4 * sizeof(float) + sizeof(int32_t));
}

enum err sample_new(struct sampler **out, uint32_t n_vocab, struct err_info *e)
{
    ASSERT(n_vocab > 0);
    struct sampler *s = mem_alloc(sizeof *s);
    if (!s) return ERR_FAIL(e, NOMEM, "no memory for the sampler");
    s->n_vocab = n_vocab;
    s->count = mem_array(n_vocab, sizeof *s->count);
    s->logit = mem_array(n_vocab, sizeof *s->logit);
    s->share = mem_array(n_vocab, sizeof *s->share);
    s->id = mem_array(n_vocab, sizeof *s->id);
    s->edge = mem_array(n_vocab, 2 * sizeof *s->edge);
    if (!s->count || !s->logit || !s->share || !s->id || !s->edge) {
        sample_free(s);
        return ERR_FAIL(e, NOMEM, "no memory for the sampler of %u tokens", n_vocab);
    }
    *out = s;
    return ERR_OK;
}

void sample_free(struct sampler *s)
{
    if (!s) return;
    mem_free(s->count);
    mem_free(s->logit);
    mem_free(s->share);
    mem_free(s->id);
    mem_free(s->edge);
    mem_free(s);
}

/* ---- passes over many floats ---- */

/* The largest, not-a-numbers aside; -inf when there is none. */
static float largest_of(const float *x, uint32_t n)
{
    float m[LANES], best = -INFINITY;
    uint32_t i = 0;
    for (int j = 0; j < LANES; j++)
        m[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES) {
        const float *p = x + i;
        for (int j = 0; j < LANES; j++)
            m[j] = p[j] > m[j] ? p[j] : m[j];
    }
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    for (int j = 0; j < LANES; j++)
        best = m[j] > best ? m[j] : best;
    return best;
}

/* Four at once, by the compilers' vector types: any processor. */
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));

/* exp(x) for x <= 0 within 2 ulp, zero below -87 and for what is not a number: 2^n * e^r with r in
 * [-ln 2 / 2, ln 2 / 2], e^r by its Taylor series to the seventh power. */
static inline f32x4 exp_small(f32x4 x)
{
    i32x4 inside = x > -87.0f;
    f32x4 c = (f32x4)((i32x4)x & inside);
    f32x4 n = c * 1.44269504f + 12582912.0f - 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
    f32x4 r = c - n * 0.693145752f - n * 1.42860677e-6f;   /* ln 2 in two parts */
    f32x4 p = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    i32x4 scale = (__builtin_convertvector(n, i32x4) + 127) * (1 << 23);
    return (f32x4)((i32x4)(p * (f32x4)scale) & inside);
}

/* out[i] = exp((x[i] - largest) * beta); returns the sum. `out` may be x. */
static double exp_all(const float *x, uint32_t n, float largest, float beta, float *out)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i += 4) {
        f32x4 v = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
        uint32_t some = n - i < 4 ? n - i : 4;
        if (some == 4)
            memcpy(&v, x + i, sizeof v);
        else
            memcpy(&v, x + i, some * sizeof *x);
        v = exp_small((v - largest) * beta);
        if (some == 4)
            memcpy(out + i, &v, sizeof v);
        else
            memcpy(out + i, &v, some * sizeof *out);
        sum += (double)((v[0] + v[1]) + (v[2] + v[3]));
    }
    return sum;
}

/* ---- the k largest ---- */

/* The order of a heap and of a report: larger logit first, then lower id. */
static bool before(struct sample_logprob a, struct sample_logprob b)
{
    return a.logprob > b.logprob || (a.logprob >= b.logprob && a.id < b.id);
}

/* Restores the heap below `at`; its top is what comes last in the order. */
static void sift_down(struct sample_logprob *h, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && before(h[child], h[child + 1])) child++;
        if (before(h[child], h[at])) return;
        struct sample_logprob t = h[at];
        h[at] = h[child];
        h[child] = t;
        at = child;
    }
}

/* The k largest of x[0..n) as a heap with the last of them on top; returns how many there are,
 * which is less than k only when x holds fewer numbers. `id` as in struct work. */
static uint32_t heap_select(struct sample_logprob *h, uint32_t k, const float *x, const int32_t *id,
                            uint32_t n)
{
    uint32_t have = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t end = i + BLOCK < n ? i + BLOCK : n;
        if (have == k && !(largest_of(x + i, end - i) > h[0].logprob)) {
            i = end; /* most blocks hold nothing that belongs into the heap */
            continue;
        }
        for (; i < end; i++) {
            struct sample_logprob c = {id ? id[i] : (int32_t)i, x[i]};
            if (isnan(x[i])) continue;
            if (have < k) {
                h[have++] = c;
                if (have == k)
                    for (uint32_t at = k / 2; at-- > 0;)
                        sift_down(h, k, at);
            } else if (before(c, h[0])) {
                h[0] = c;
                sift_down(h, k, 0);
            }
        }
    }
    if (have < k)
        for (uint32_t at = have / 2; at-- > 0;)
            sift_down(h, have, at);
    return have;
}

/* A float as a number in the same order; what is not a number comes first. */
static inline uint32_t radix_key(float f)
{
    uint32_t u;
    f = f + 0.0f; /* -0 becomes +0: they are equal */
    if (f != f) return 0;
    memcpy(&u, &f, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* The first bucket, from the top down or the bottom up by `step`, at which *reached comes to
 * target; *reached is then what lies before it. When rounding leaves the sum short, the last one
 * that holds anything. */
static uint32_t edge_bucket(const struct sampler *s, uint32_t first, int step, uint32_t n,
                            double target, double *reached)
{
    uint32_t last = first, at = first;
    double before_last = *reached, sum = *reached;
    for (uint32_t i = 0; i < n; i++, at += (uint32_t)step) {
        if (s->hist[at].n == 0) continue;
        last = at;
        before_last = sum;
        sum += s->hist[at].mass;
        if (sum >= target) break;
    }
    *reached = before_last;
    return last;
}

/* The threshold at which the likeliest of x[0..n) come to the target: a count, or with `share` (one
 * each) a sum of shares; `reached` of it is there before. The candidate that comes to it stays. */
static struct threshold radix_select(struct sampler *s, const float *x, const float *share,
                                     uint32_t n, double target, double reached)
{
    static const int shift[3] = {21, 10, 0}, bits[3] = {11, 11, 10};
    uint32_t prefix = 0, prefix_mask = 0, digit = 0;
    for (int pass = 0; pass < 3; pass++) {
        uint32_t digit_mask = (1u << bits[pass]) - 1;
        memset(s->hist, 0, sizeof s->hist);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t key = radix_key(x[i]);
            if ((key & prefix_mask) != prefix) continue;
            struct bucket *b = &s->hist[(key >> shift[pass]) & digit_mask];
            b->n++;
            b->mass += share ? (double)share[i] : 1.0;
        }
        digit = edge_bucket(s, digit_mask, -1, digit_mask + 1, target, &reached);
        prefix |= digit << shift[pass];
        prefix_mask |= digit_mask << shift[pass];
    }
    const struct bucket *b = &s->hist[digit]; /* equal logits */
    uint32_t u = prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix;
    struct threshold t = {.equal = 1};
    while (t.equal < b->n && reached + b->mass / b->n * t.equal < target)
        t.equal++;
    memcpy(&t.logit, &u, sizeof t.logit);
    if (isnan(t.logit)) t.logit = -INFINITY; /* fewer numbers than the target: all of them */
    return t;
}

static inline uint32_t spread(float largest, float x)
{
    float d = (largest - x) * SPREAD;
    return d < RADIX - 1 ? (uint32_t)d : RADIX - 1; /* the last one takes the rest, NaN too */
}

/* As radix_select(), for many candidates: a histogram finds the few near the edge. */
static struct threshold select_edge(struct sampler *s, const struct work *w, const float *share,
                                    double target)
{
    double reached = 0;
    uint32_t n = 0, at[LANES];
    float *edge_share = s->edge + s->n_vocab;
    memset(s->hist, 0, sizeof s->hist);
    for (uint32_t i = 0; i < w->n; i += LANES) {
        uint32_t some = w->n - i < LANES ? w->n - i : LANES;
        for (uint32_t j = 0; j < some; j++)
            at[j] = spread(w->largest, w->logit[i + j]);
        for (uint32_t j = 0; j < some; j++) {
            s->hist[at[j]].n++;
            s->hist[at[j]].mass += share ? (double)share[i + j] : 1.0;
        }
    }
    uint32_t edge = edge_bucket(s, 0, 1, RADIX, target, &reached);
    for (uint32_t i = 0; i < w->n; i++) {
        if (spread(w->largest, w->logit[i]) != edge) continue;
        if (share) edge_share[n] = share[i];
        s->edge[n++] = w->logit[i];
    }
    return radix_select(s, s->edge, share ? edge_share : NULL, n, target, reached);
}

/* Keeps the candidates above the threshold and t.equal of those on it. */
static void filter(struct work *w, struct threshold t)
{
    struct sampler *s = w->s;
    uint32_t kept = 0, i = 0, equal = t.equal;
    while (i < w->n) {
        uint32_t end = i + BLOCK < w->n ? i + BLOCK : w->n;
        if (largest_of(w->logit + i, end - i) < t.logit) {
            i = end;
            continue;
        }
        for (; i < end; i++) {
            float x = w->logit[i];
            bool above = x > t.logit, on = x >= t.logit && !above && equal > 0;
            s->id[kept] = w->id ? w->id[i] : (int32_t)i; /* kept <= i: nothing unread is lost */
            s->logit[kept] = x;
            kept += above || on;
            equal -= on;
        }
    }
    w->logit = s->logit;
    w->id = s->id;
    w->n = kept;
}

/* ---- stages ---- */

static bool has_penalties(const struct params *p)
{
    return p->repeat_last_n != 0 &&
           (p->repeat_penalty < 1 || p->repeat_penalty > 1 || p->presence_penalty < 0 ||
            p->presence_penalty > 0 || p->frequency_penalty < 0 || p->frequency_penalty > 0);
}

/* Repetition as in CTRL (Keskar et al. 2019), presence and frequency as OpenAI defines them. */
static void penalties(struct work *w)
{
    struct sampler *s = w->s;
    const struct params *p = w->in->params;
    uint32_t n = w->in->n_prior;
    if (p->repeat_last_n >= 0 && p->repeat_last_n < n) n = (uint32_t)p->repeat_last_n;
    if (n == 0) return;
    const int32_t *recent = w->in->prior + (w->in->n_prior - n);
    memcpy(s->logit, w->logit, w->n * sizeof *s->logit);
    for (uint32_t i = 0; i < n; i++)
        s->count[recent[i]]++;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *count = &s->count[recent[i]];
        float *x = &s->logit[recent[i]];
        if (*count == 0) continue;
        double v = (double)*x;
        v = v > 0 ? v / p->repeat_penalty : v * p->repeat_penalty;
        *x = (float)(v - p->presence_penalty - p->frequency_penalty * *count);
        *count = 0;
    }
    w->logit = s->logit;
    w->largest = largest_of(w->logit, w->n);
}

static bool has_top_k(const struct params *p)
{
    return p->top_k > 0;
}

static void top_k(struct work *w)
{
    uint32_t k = w->in->params->top_k < w->n ? (uint32_t)w->in->params->top_k : w->n;
    struct threshold t = {0};
    if (k == w->n) return;
    if (k > HEAP_MAX) {
        t = select_edge(w->s, w, NULL, k);
    } else {
        struct sample_logprob *h = w->s->heap;
        uint32_t n = heap_select(h, k, w->logit, w->id, w->n);
        t.logit = h[0].logprob;
        for (uint32_t i = 0; i < n; i++)
            t.equal += h[i].logprob <= t.logit;
    }
    filter(w, t);
}

static bool has_top_p(const struct params *p)
{
    return p->top_p < 1;
}

/* Holtzman et al. 2020: the smallest set of likeliest tokens that reaches the probability. */
static void top_p(struct work *w)
{
    double sum = exp_all(w->logit, w->n, w->largest, 1, w->s->share);
    filter(w, select_edge(w->s, w, w->s->share, w->in->params->top_p * sum));
}

static bool has_min_p(const struct params *p)
{
    return p->min_p > 0;
}

/* p >= min_p * p_largest is the same as logit >= largest + log(min_p). */
static void min_p(struct work *w)
{
    float limit = w->largest + (float)log(w->in->params->min_p);
    if (limit > w->largest) limit = w->largest;
    filter(w, (struct threshold){limit, UINT32_MAX});
}

static bool always(const struct params *p)
{
    return p != NULL;
}

/* Ends with shares, which draw() reads. */
static void temperature(struct work *w)
{
    float beta = (float)(1 / w->in->params->temperature);
    w->sum = exp_all(w->logit, w->n, w->largest, beta, w->s->share);
}

static const struct stage {
    const char *name;
    bool greedy_too; /* changes which token is the likeliest */
    bool (*wanted)(const struct params *p);
    void (*run)(struct work *w);
} stages[] = {
    {"penalties", true, has_penalties, penalties},
    {"top_k", false, has_top_k, top_k},
    {"top_p", false, has_top_p, top_p},
    {"min_p", false, has_min_p, min_p},
    {"temperature", false, always, temperature},
};

#define N_STAGES (sizeof stages / sizeof stages[0])

const char *sample_stage_name(uint32_t i)
{
    return i < N_STAGES ? stages[i].name : NULL;
}

/* ---- the draw ---- */

/* Steele, Lea, Flood 2014 (splitmix64): a good hash of a counter. */
static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int32_t draw(const struct work *w)
{
    double u = (double)(mix(mix(w->in->seed) ^ w->in->index) >> 11) * 0x1p-53 * w->sum;
    uint32_t last = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        if (!(w->s->share[i] > 0)) continue;
        last = i;
        u -= (double)w->s->share[i];
        if (u < 0) break;
    }
    return w->id ? w->id[last] : (int32_t)last;
}

static int32_t likeliest(const struct work *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (w->logit[i] >= w->largest) return (int32_t)i;
    return -1;
}

int32_t sample_token(struct sampler *s, const struct sample_input *in)
{
    struct work w = {.s = s, .in = in, .logit = in->logits, .n = s->n_vocab};
    bool greedy = !(in->params->temperature > 0);
    w.largest = largest_of(w.logit, w.n);
    if (!isfinite(w.largest)) return -1;
    for (size_t i = 0; i < N_STAGES; i++) {
        if ((greedy && !stages[i].greedy_too) || !stages[i].wanted(in->params)) continue;
        stages[i].run(&w);
        if (!isfinite(w.largest)) return -1;
    }
    return greedy ? likeliest(&w) : draw(&w);
}

uint32_t sample_logprobs(struct sampler *s, const float *logits, int32_t id, float *logprob,
                         struct sample_logprob *top, uint32_t n)
{
    float largest = largest_of(logits, s->n_vocab);
    double log_sum = log(exp_all(logits, s->n_vocab, largest, 1, s->share)) + (double)largest;
    *logprob = (float)((double)logits[id] - log_sum);
    if (n > LIMIT_TOP_LOGPROBS) n = LIMIT_TOP_LOGPROBS;
    if (n == 0) return 0;
    n = heap_select(s->heap, n, logits, NULL, s->n_vocab);
    for (uint32_t i = n; i-- > 0;) { /* the heap gives the last first */
        top[i] =
            (struct sample_logprob){s->heap[0].id, (float)((double)s->heap[0].logprob - log_sum)};
        s->heap[0] = s->heap[i];
        sift_down(s->heap, i, 0);
    }
    return n;
}

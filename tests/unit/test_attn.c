/* test_attn: attention and the KV cache of the CPU back end, on every instruction set of this
 * machine, against a plain double-precision attention written here (and so the reference back end).
 *
 * A case is a shape, a mask and what it does to scores, and the types of the cache. Its sequences
 * are computed in several ways: in one piece, in odd pieces, singly, beside others, with 1 to 3
 * threads. All ways must give the same bits; one is compared with what is expected.
 */
#include "compute/cpu/cpu.h"

#include "compute/cpu/cpu_int.h"
#include "compute/ref/ref.h"
#include "model/quant.h"
#include "opcase.h"

#define VOCAB  61
#define N_SEQ  3
#define BLOCKS 48
#define BOUND  1e-10 /* of one head of one row; rounding of float32 is 1e-14 to 1e-11 */

static const char *isas[MAT_ISA_COUNT];
static int n_isas;

/* ---- cases ---- */

struct shape {
    uint32_t n_head, n_kv, k_dim, v_dim;
};

struct trait {
    const char *name;
    uint32_t window;
    bool all, sinks;
    float softcap, alibi;
};

struct attn_case {
    struct opcase c;
    struct shape h;
    struct trait t;
    enum dtype ktype, vtype;
    const float *q, *k, *v, *sinks; /* tables of VOCAB rows */
    int32_t *tok[N_SEQ];
};

static const uint32_t lengths[N_SEQ] = {290, 70, 40};

static const float *table(const struct opcase *c, int step)
{
    return c->w[c->steps[step].w].data;
}

static void case_init(struct attn_case *a, const struct shape *h, const struct trait *t,
                      enum dtype ktype, enum dtype vtype)
{
    struct opcase *c = &a->c;
    opcase_init(c);
    a->h = *h;
    a->t = *t;
    a->ktype = ktype;
    a->vtype = vtype;
    opcase_input(c, REG_Q, VOCAB, h->n_head * h->k_dim);
    opcase_input(c, REG_K, VOCAB, h->n_kv * h->k_dim);
    opcase_input(c, REG_V, VOCAB, h->n_kv * h->v_dim);
    a->q = table(c, 0);
    a->k = table(c, 1);
    a->v = table(c, 2);
    opcase_cache(c, 3, 32, 64); /* of no step: what follows must not look there */
    uint32_t cache = opcase_cache(c, h->n_kv, h->k_dim, h->v_dim);
    struct plan_step *put = opcase_step(c, OP_KVPUT, REG_NONE, 0);
    put->src = REG_K;
    put->src2 = REG_V;
    put->index = cache;
    struct plan_step *s = opcase_step(c, OP_ATTN, REG_A, h->n_head * h->v_dim);
    s->src = REG_Q;
    s->n_src = h->n_head * h->k_dim;
    s->n_head = h->n_head;
    s->head_dim = h->k_dim;
    s->scale = 2.0f / sqrtf((float)h->k_dim);
    s->index = cache;
    s->u.attn.window = t->window;
    s->u.attn.all = t->all;
    s->u.attn.softcap = t->softcap;
    s->u.attn.alibi = t->alibi;
    if (t->sinks) {
        s->w = opcase_tensor(c, DTYPE_F32, 1, h->n_head);
        a->sinks = c->w[s->w].data;
        for (uint32_t i = 0; i < h->n_head; i++) /* some below and some above all scores */
            ((float *)(uintptr_t)a->sinks)[i] *= 6;
    }
    opcase_output(c, REG_A, h->n_head * h->v_dim);
    for (uint32_t s2 = 0; s2 < N_SEQ; s2++) {
        a->tok[s2] = ARENA_NEW(&c->a, int32_t, lengths[s2]);
        for (uint32_t i = 0; i < lengths[s2]; i++)
            a->tok[s2][i] = (int32_t)(opcase_random(c) % VOCAB);
    }
}

/* ---- what is expected ---- */

/* A table as a cache of this type keeps it, head by head. */
static float *kept(struct attn_case *a, enum dtype t, const float *x, uint32_t dim)
{
    size_t n = (size_t)VOCAB * a->h.n_kv * dim;
    float *out = ARENA_NEW(&a->c.a, float, n);
    char blocks[4096];
    for (size_t i = 0; i < n; i += dim) {
        quant_row(t, x + i, blocks, dim);
        dtype_dequant(t, blocks, out + i, dim);
    }
    return out;
}

static double slope_of(const struct attn_case *a, uint32_t head)
{
    /* The two series of the paper's appendix, each as a geometric sequence. */
    double n = exp2(floor(log2(a->h.n_head)));
    double m0 = exp2(-a->t.alibi / n), m1 = exp2(-a->t.alibi / 2 / n);
    return head < n ? pow(m0, head + 1) : pow(m1, 2 * (head - n) + 1);
}

static bool is_seen(const struct trait *t, int64_t i, int64_t j)
{
    if (t->all) return t->window == 0 || llabs(i - j) <= t->window / 2;
    return j <= i && (t->window == 0 || i - j < t->window);
}

/* One head of the row at position i of sequence s, n positions long. */
static void expect_head(const struct attn_case *a, const float *k, const float *v, uint32_t s,
                        uint32_t i, uint32_t head, float *out)
{
    const struct shape *h = &a->h;
    static double weight[512], sum[1024];
    uint32_t kv = head / (h->n_head / h->n_kv);
    const float *q = a->q + ((size_t)a->tok[s][i] * h->n_head + head) * h->k_dim;
    double scale = 2.0f / sqrtf((float)h->k_dim), total = 0;
    double top = a->sinks ? a->sinks[head] : -INFINITY;
    for (uint32_t j = 0; j < lengths[s]; j++) {
        const float *key = k + ((size_t)a->tok[s][j] * h->n_kv + kv) * h->k_dim;
        double x = 0;
        if (!is_seen(&a->t, i, j)) continue;
        for (uint32_t c = 0; c < h->k_dim; c++)
            x += (double)q[c] * key[c];
        x *= scale;
        if (a->t.softcap > 0) x = a->t.softcap * tanh(x / a->t.softcap);
        if (a->t.alibi > 0) x -= slope_of(a, head) * fabs((double)i - j);
        weight[j] = x;
        if (x > top) top = x;
    }
    memset(sum, 0, sizeof sum);
    for (uint32_t j = 0; j < lengths[s]; j++) {
        const float *value = v + ((size_t)a->tok[s][j] * h->n_kv + kv) * h->v_dim;
        if (!is_seen(&a->t, i, j)) continue;
        double w = exp(weight[j] - top);
        total += w;
        for (uint32_t c = 0; c < h->v_dim; c++)
            sum[c] += w * value[c];
    }
    if (a->sinks) total += exp(a->sinks[head] - top);
    for (uint32_t c = 0; c < h->v_dim; c++)
        out[c] = (float)(sum[c] / total);
}

/* Results lie [sequence][position][n_head][v_dim]. */
static size_t n_rows(void)
{
    size_t n = 0;
    for (uint32_t s = 0; s < N_SEQ; s++)
        n += lengths[s];
    return n;
}

static size_t row_at(uint32_t s, uint32_t pos)
{
    size_t n = pos;
    for (uint32_t i = 0; i < s; i++)
        n += lengths[i];
    return n;
}

/* Of many heads some are enough. */
static bool is_sampled(const struct shape *h, uint32_t head)
{
    return h->n_head <= 20 || head % 16 == 0 || head + 1 == h->n_head;
}

static void expect(struct attn_case *a, float *out)
{
    const float *k = kept(a, a->ktype, a->k, a->h.k_dim), *v = kept(a, a->vtype, a->v, a->h.v_dim);
    for (uint32_t s = 0; s < N_SEQ; s++)
        for (uint32_t i = 0; i < lengths[s]; i++)
            for (uint32_t h = 0; h < a->h.n_head; h++, out += a->h.v_dim)
                if (is_sampled(&a->h, h)) expect_head(a, k, v, s, i, h, out);
}

/* NMSE of the heads that were worked out. */
static double error_of(const struct attn_case *a, const float *got, const float *want)
{
    double worst = 0, nmse;
    size_t n = n_rows() * a->h.n_head;
    for (size_t i = 0; i < n; i++, got += a->h.v_dim, want += a->h.v_dim) {
        if (!is_sampled(&a->h, (uint32_t)(i % a->h.n_head))) continue;
        nmse = opcase_nmse(got, want, a->h.v_dim);
        if (nmse > worst) worst = nmse;
    }
    return worst;
}

/* ---- ways to compute the sequences ---- */

struct piece {
    uint32_t batch, seq, n;
};

static const struct piece whole[] = {{0, 0, 290}, {0, 1, 70}, {0, 2, 40}};
static const struct piece apart[] = {{0, 2, 40}, {1, 1, 70}, {2, 0, 290}};
static const struct piece mixed[] = {{0, 0, 70},  {0, 1, 33}, {1, 0, 1},  {1, 2, 5},  {1, 1, 1},
                                     {2, 0, 200}, {3, 1, 36}, {3, 2, 34}, {3, 0, 15}, {4, 0, 1},
                                     {4, 2, 1},   {5, 0, 1},  {6, 0, 1},  {7, 0, 1}};
static const struct piece edges[] = {{0, 1, 70}, {1, 0, 31},  {2, 0, 1}, {2, 2, 40},
                                     {3, 0, 1},  {4, 0, 223}, {5, 0, 1}, {6, 0, 33}};

struct way {
    const char *name;
    const struct piece *pieces;
    uint32_t n;
    bool cut; /* sequences come in pieces: not for attention to all positions */
};

static const struct way ways[] = {
    {"together", whole, 3, false},
    {"apart", apart, 3, false},
    {"mixed", mixed, sizeof mixed / sizeof *mixed, true},
    {"at the edges", edges, sizeof edges / sizeof *edges, true},
};

/* Sequences go to blocks of their own, in no order. */
static void spread(struct opcase_seq *q)
{
    for (uint32_t s = 0; s < N_SEQ; s++)
        for (uint32_t i = 0; i < BLOCKS / N_SEQ; i++)
            q[s].blocks[i] = i * 7 % (BLOCKS / N_SEQ) * N_SEQ + s;
}

static struct dev_conf conf_of(const struct attn_case *a, const char *isa, uint32_t n_threads)
{
    return (struct dev_conf){.n_threads = n_threads,
                             .max_batch = 512,
                             .max_out = 512,
                             .n_blocks = BLOCKS,
                             .ktype = a->ktype,
                             .vtype = a->vtype,
                             .isa = isa};
}

static bool compute(struct attn_case *a, const struct backend *be, const struct dev_conf *conf,
                    const struct way *way, float *out)
{
    struct opcase_seq q[N_SEQ] = {{0}};
    struct dev *d;
    struct err_info e = {0};
    struct batch b = {0};
    size_t width = (size_t)a->h.n_head * a->h.v_dim;
    spread(q);
    if (be->open(&d, &a->c.plan, a->c.w, conf, &e) != ERR_OK) {
        printf("# open: %s\n", e.text);
        return false;
    }
    for (uint32_t i = 0; i < way->n; i++) {
        const struct piece *p = &way->pieces[i];
        uint32_t first = b.n;
        if (i == 0 || p->batch != way->pieces[i - 1].batch) {
            b.n = b.n_spans = b.n_out = first = 0;
        }
        opcase_span(&a->c, &b, &q[p->seq], p->n, VOCAB);
        memcpy((int32_t *)(uintptr_t)b.tok + first, a->tok[p->seq] + q[p->seq].n - p->n,
               p->n * sizeof *b.tok);
        if (i + 1 < way->n && way->pieces[i + 1].batch == p->batch) continue;
        opcase_step_run(d, &a->c, be, &b);
        for (uint32_t s = 0; s < b.n_spans; s++) {
            const struct batch_span *span = &b.spans[s];
            uint32_t seq = 0;
            while (span->blocks != q[seq].blocks)
                seq++;
            for (uint32_t r = 0; r < span->n; r++)
                memcpy(out + row_at(seq, span->pos + r) * width, be->result(d, span->first + r),
                       width * sizeof *out);
        }
    }
    be->close(d);
    return true;
}

static void check_case(const struct shape *h, const struct trait *t, enum dtype ktype,
                       enum dtype vtype)
{
    struct attn_case a = {0};
    struct dev_conf conf;
    char what[128];
    case_init(&a, h, t, ktype, vtype);
    snprintf(what, sizeof what, "%u/%u heads of %u/%u, %s, %s %s", h->n_head, h->n_kv, h->k_dim,
             h->v_dim, t->name, dtype_info(ktype)->name, dtype_info(vtype)->name);
    size_t n = n_rows() * h->n_head * h->v_dim;
    float *want = mem_need(n * 4), *got = mem_need(n * 4), *again = mem_need(n * 4);
    expect(&a, want);
    conf = conf_of(&a, NULL, 1);
    bool ran = true;
    double nmse;
    if (h->n_head * h->k_dim < 4096) { /* it takes its time */
        ran = compute(&a, &ref_backend, &conf, &ways[t->all ? 0 : 2], got);
        nmse = error_of(&a, got, want);
        ok(ran && nmse <= BOUND, "%s, ref: NMSE %.2g", what, nmse);
    }
    for (int i = 0; i < n_isas; i++) {
        bool same = true;
        conf = conf_of(&a, isas[i], 1);
        ran = compute(&a, &cpu_backend, &conf, &ways[0], got);
        nmse = error_of(&a, got, want);
        ok(ran && nmse <= BOUND, "%s, %s: NMSE %.2g", what, isas[i], nmse);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            uint32_t threads = 1 + (uint32_t)(w + 1) % 3;
            if (ways[w].cut && t->all) continue;
            conf = conf_of(&a, isas[i], threads);
            memset(again, 0, n * 4);
            ran = compute(&a, &cpu_backend, &conf, &ways[w], again);
            if (!ran || memcmp(got, again, n * 4) != 0) {
                same = false;
                printf("# differs: %s, %u threads\n", ways[w].name, threads);
            }
        }
        ok(same, "%s, %s: to the bit the same in every way", what, isas[i]);
    }
    mem_free(want);
    mem_free(got);
    mem_free(again);
    opcase_fini(&a.c);
}

/* ---- what is stored ---- */

/* One side of a piece as float32, [lines][width], by the functions attention uses. */
static void widen(const struct dev *d, const struct cpu_side *s, bool keys, const char *piece,
                  float *out)
{
    struct cpu_widen w = {out, piece, piece + s->scales, piece, s->lines, s->width};
    switch (s->type) {
    case DTYPE_F16: d->vec->widen_f16(&w); break;
    case DTYPE_BF16: d->vec->widen_bf16(&w); break;
    case DTYPE_Q8_0: d->vec->widen_q8_0[keys ? 0 : 1](&w); break;
    case DTYPE_Q4_0: d->vec->widen_q4_0[keys ? 0 : 1](&w); break;
    default: memcpy(out, piece, s->lines * s->line);
    }
}

/* Value c of position p in what widen() made. */
static float wide_at(const struct cpu_side *s, bool keys, const float *wide, uint32_t p, uint32_t c)
{
    return keys ? wide[(size_t)c * KV_BLOCK + p] : wide[(size_t)p * s->width + c];
}

/* Opens the case and puts sequence 0 whole. */
static struct dev *filled(struct attn_case *a, const char *isa, struct opcase_seq *q)
{
    struct dev_conf conf = conf_of(a, isa, 2);
    struct batch b = {0};
    struct dev *d;
    spread(q);
    if (cpu_backend.open(&d, &a->c.plan, a->c.w, &conf, NULL) != ERR_OK) return NULL;
    opcase_span(&a->c, &b, &q[0], lengths[0], VOCAB);
    memcpy((int32_t *)(uintptr_t)b.tok, a->tok[0], lengths[0] * sizeof *b.tok);
    opcase_step_run(d, &a->c, &cpu_backend, &b);
    return d;
}

/* The cache holds, to the bit, what dequantising a quantised row of a head gives. */
static void test_stored(enum dtype type, const char *isa)
{
    static const struct shape h = {4, 2, 96, 160};
    static const struct trait t = {.name = ""};
    static float wide[160 * KV_BLOCK];
    struct attn_case a = {0};
    struct opcase_seq q[N_SEQ] = {{0}};
    uint32_t bad = 0;
    case_init(&a, &h, &t, type, type);
    struct dev *d = filled(&a, isa, q);
    if (!ok(d != NULL, "%s %s opens", isa, dtype_info(type)->name)) return;
    const struct cpu_cache *c = &d->kv.caches[1];
    for (int keys = 0; keys < 2; keys++) {
        const struct cpu_side *s = keys ? &c->k : &c->v;
        const float *want = kept(&a, type, keys ? a.k : a.v, s->dim);
        for (uint32_t head = 0; head < h.n_kv; head++) {
            for (uint32_t p = 0; p < lengths[0]; p++) {
                const float *row = want + ((size_t)a.tok[0][p] * h.n_kv + head) * s->dim;
                if (p % KV_BLOCK == 0)
                    widen(d, s, keys, cpu_cache_piece(c, s, q[0].blocks[p / KV_BLOCK], head), wide);
                for (uint32_t i = 0; i < s->dim; i++) {
                    float x = wide_at(s, keys, wide, p % KV_BLOCK, i);
                    if (memcmp(&x, row + i, sizeof x) != 0 && !(x == 0 && row[i] == 0)) bad++;
                }
            }
        }
    }
    is_int(bad, 0, "every value is the one that model/quant makes");
    cpu_backend.close(d);
    opcase_fini(&a.c);
}

/* The vector functions' codes and scales are those of quant_row(), also of odd rows. */
static void test_quant(enum dtype type, const struct cpu_vec *vec)
{
    struct opcase c;
    uint32_t bad = 0;
    opcase_init(&c);
    for (int n = 0; n < 20000; n++) {
        float x[32], want[32], got[32];
        char block[34];
        int8_t q[32];
        float size = powf(10, (float)(n % 60) - 35);
        for (int i = 0; i < 32; i++)
            x[i] = n % 3 ? opcase_normal(&c) * size : (float)(opcase_random(&c) % 9) * 0.25f - 1;
        if (n % 7 == 0) x[opcase_random(&c) % 32] = NAN;
        if (n % 11 == 0) x[opcase_random(&c) % 32] = -INFINITY;
        if (n % 101 == 0) memset(x, 0, sizeof x);
        if (n % 103 == 0)
            for (int i = 0; i < 32; i++)
                x[i] = NAN;
        quant_row(type, x, block, 32);
        dtype_dequant(type, block, want, 32);
        uint16_t scale = type == DTYPE_Q8_0 ? vec->quant_q8_0(q, x) : vec->quant_q4_0(q, x);
        for (int i = 0; i < 32; i++)
            got[i] = (float)q[i] * dtype_f16_to_f32(scale);
        bad += memcmp(block, &scale, 2) != 0;
        for (int i = 0; i < 32; i++) /* 0 may have either sign, NaN any payload */
            bad += got[i] != want[i] && !(isnan(got[i]) && isnan(want[i]));
    }
    ok(bad == 0, "%s: %s is that of model/quant", vec->name, dtype_info(type)->name);
    opcase_fini(&c);
}

/* What a block holds for a head, [dim][KV_BLOCK] and [KV_BLOCK][dim rounded up]. */
struct held {
    float k[64 * KV_BLOCK], v[96 * KV_BLOCK];
};

static void look(const struct dev *d, uint32_t block, struct held *out)
{
    const struct cpu_cache *c = &d->kv.caches[1];
    widen(d, &c->k, true, cpu_cache_piece(c, &c->k, block, 1), out->k);
    widen(d, &c->v, false, cpu_cache_piece(c, &c->v, block, 1), out->v);
}

/* Values of position p in which two blocks differ. */
static uint32_t differ(const struct held *a, const struct held *b, uint32_t p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < 64; i++)
        n += a->k[i * KV_BLOCK + p] != b->k[i * KV_BLOCK + p];
    for (uint32_t i = 0; i < 96; i++)
        n += a->v[p * 96 + i] != b->v[p * 96 + i];
    return n;
}

/* Copying n positions of a block: these are those of the original, the others stay. */
static void test_copy(enum dtype type)
{
    static const struct shape h = {4, 2, 64, 96};
    static const struct trait t = {.name = ""};
    static const uint32_t counts[] = {1, 15, 16, 17, 31, 32};
    static struct held from, old, now;
    struct attn_case a = {0};
    struct opcase_seq q[N_SEQ] = {{0}};
    uint32_t bad = 0;
    case_init(&a, &h, &t, type, type);
    struct dev *d = filled(&a, NULL, q);
    if (!ok(d != NULL, "%s opens", dtype_info(type)->name)) return;
    look(d, q[0].blocks[0], &from);
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t target = q[0].blocks[i + 1];
        look(d, target, &old);
        cpu_backend.kv_copy(d, q[0].blocks[0], target, counts[i]);
        look(d, target, &now);
        for (uint32_t p = 0; p < KV_BLOCK; p++)
            bad += differ(&now, p < counts[i] ? &from : &old, p);
        bad += differ(&old, &from, 3) == 0; /* they were different before */
    }
    is_int(bad, 0, "copies so many positions and no more");
    cpu_backend.close(d);
    opcase_fini(&a.c);
}

/* A sequence that shares whole blocks with another and has a copy of a part of the next goes on as
 * the other one did. */
static void test_shared(enum dtype ktype, enum dtype vtype)
{
    static const struct shape h = {6, 2, 64, 32};
    static const struct trait t = {.name = "", .window = 100};
    static float want[60][6 * 32];
    struct attn_case a = {0};
    struct opcase_seq q[N_SEQ] = {{0}}, twin = {0};
    struct batch b = {0}, rest = {0};
    struct dev *d;
    case_init(&a, &h, &t, ktype, vtype);
    struct dev_conf conf = conf_of(&a, NULL, 2);
    spread(q);
    if (!ok(cpu_backend.open(&d, &a.c.plan, a.c.w, &conf, NULL) == ERR_OK, "opens")) return;
    opcase_span(&a.c, &b, &q[0], 144, VOCAB);
    memcpy((int32_t *)(uintptr_t)b.tok, a.tok[0], 144 * sizeof *b.tok);
    opcase_step_run(d, &a.c, &cpu_backend, &b);
    for (uint32_t i = 0; i < 60; i++)
        memcpy(want[i], cpu_backend.result(d, 84 + i), sizeof want[i]);
    twin = q[1];
    twin.n = 84; /* two blocks and 20 positions */
    memcpy(twin.blocks, q[0].blocks, 2 * sizeof *twin.blocks);
    cpu_backend.kv_copy(d, q[0].blocks[2], twin.blocks[2], 20);
    opcase_span(&a.c, &rest, &twin, 60, VOCAB);
    memcpy((int32_t *)(uintptr_t)rest.tok, a.tok[0] + 84, 60 * sizeof *rest.tok);
    opcase_step_run(d, &a.c, &cpu_backend, &rest);
    bool same = true;
    for (uint32_t i = 0; i < 60; i++)
        same = same && memcmp(want[i], cpu_backend.result(d, i), sizeof want[i]) == 0;
    ok(same, "%s %s: shared and copied blocks serve as one's own", dtype_info(ktype)->name,
       dtype_info(vtype)->name);
    cpu_backend.close(d);
    opcase_fini(&a.c);
}

/* ---- what is not touched ---- */

/* Blocks before the window may hold anything: they are not read. */
static void test_skips(void)
{
    static const struct shape h = {4, 2, 64, 64};
    static const struct trait t = {.name = "", .window = 40};
    struct attn_case a = {0};
    struct opcase_seq q[N_SEQ] = {{0}};
    struct batch b = {0};
    float want[4 * 64];
    bool finite = true;
    case_init(&a, &h, &t, DTYPE_F32, DTYPE_F32);
    struct dev *d = filled(&a, NULL, q);
    if (!ok(d != NULL, "opens")) return;
    const struct cpu_cache *c = &d->kv.caches[1];
    for (uint32_t i = 0; i < 7; i++) { /* positions 0 .. 223; 290 sees 251 .. 290 */
        for (uint32_t head = 0; head < 2; head++) {
            memset(cpu_cache_piece(c, &c->k, q[0].blocks[i], head), 0xff, c->k.piece);
            memset(cpu_cache_piece(c, &c->v, q[0].blocks[i], head), 0xff, c->v.piece);
        }
    }
    opcase_span(&a.c, &b, &q[0], 1, VOCAB);
    opcase_step_run(d, &a.c, &cpu_backend, &b);
    memcpy(want, cpu_backend.result(d, 0), sizeof want);
    for (int i = 0; i < 4 * 64; i++)
        finite = finite && isfinite(want[i]);
    ok(finite, "blocks of NaN before the window do not matter");
    cpu_backend.close(d);
    opcase_fini(&a.c);
}

/* ---- several caches ---- */

/* Two caches of different shapes, one of them read by two steps; each is compared with a case that
 * has only it. */
static void test_caches(void)
{
    struct opcase c;
    struct opcase_seq q = {0};
    struct batch b[3] = {{0}};
    enum { WIDTH = 8 * 24 + 4 * 64 + 8 * 24, ROWS = 131 };
    opcase_init(&c);
    opcase_input(&c, REG_Q, VOCAB, 8 * 24);
    opcase_input(&c, REG_T0, VOCAB, 4 * 40);
    opcase_input(&c, REG_T1, VOCAB, 8 * 24);
    opcase_input(&c, REG_K, VOCAB, 2 * 24);
    opcase_input(&c, REG_V, VOCAB, 2 * 24);
    opcase_input(&c, REG_T2, VOCAB, 4 * 40);
    opcase_input(&c, REG_T3, VOCAB, 4 * 64);
    opcase_cache(&c, 2, 24, 24);
    opcase_cache(&c, 4, 40, 64);
    static const enum plan_reg io[3][4] = {{REG_Q, REG_A, REG_K, REG_V},
                                           {REG_T0, REG_T4, REG_T2, REG_T3},
                                           {REG_T1, REG_T5, REG_NONE, REG_NONE}};
    uint32_t to = 0;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t n_head = i == 1 ? 4 : 8, width = i == 1 ? 4 * 64 : 8 * 24;
        if (i < 2) {
            struct plan_step *put = opcase_step(&c, OP_KVPUT, REG_NONE, 0);
            put->src = io[i][2];
            put->src2 = io[i][3];
            put->index = i;
        }
        struct plan_step *s = opcase_step(&c, OP_ATTN, io[i][1], width);
        s->src = io[i][0];
        s->n_head = n_head;
        s->scale = 0.3f;
        s->index = i % 2;
        s->u.attn.window = i == 2 ? 33 : 0;
    }
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t width = i == 1 ? 4 * 64 : 8 * 24;
        struct plan_step *s = opcase_step(&c, OP_COLS, REG_X, WIDTH);
        s->src = io[i][1];
        s->n_src = s->group = width;
        s->n_head = 1;
        s->u.cols.to = to;
        s->u.cols.onto = i > 0;
        to += width;
    }
    opcase_output(&c, REG_X, WIDTH);
    opcase_blocks(&q, 0, 1, 64);
    opcase_span(&c, &b[0], &q, 100, VOCAB);
    opcase_span(&c, &b[1], &q, 30, VOCAB);
    opcase_span(&c, &b[2], &q, 1, VOCAB);
    float *want = mem_need(ROWS * WIDTH * 4), *got = mem_need(ROWS * WIDTH * 4);
    struct dev_conf conf = {.n_threads = 2, .max_batch = 128, .max_out = 128, .n_blocks = 64};
    conf.ktype = conf.vtype = DTYPE_F16;
    ok(opcase_run(&c, &ref_backend, &conf, b, 3, want) == ROWS * WIDTH, "ref runs");
    for (int i = 0; i < n_isas; i++) {
        conf.isa = isas[i];
        size_t n = opcase_run(&c, &cpu_backend, &conf, b, 3, got);
        double nmse = opcase_nmse(got, want, ROWS * WIDTH);
        ok(n == ROWS * WIDTH && nmse <= BOUND, "two caches, three attentions, %s: NMSE %.2g",
           isas[i], nmse);
    }
    mem_free(want);
    mem_free(got);
    opcase_fini(&c);
}

/* ---- opening ---- */

static void test_open(void)
{
    static const struct shape odd = {4, 2, 80, 96};
    static const struct trait t = {.name = ""};
    struct attn_case a = {0};
    struct dev *d;
    struct err_info e = {0};
    case_init(&a, &odd, &t, DTYPE_Q8_0, DTYPE_F16);
    struct dev_conf conf = conf_of(&a, NULL, 1);
    ok(cpu_backend.open(&d, &a.c.plan, a.c.w, &conf, &e) == ERR_UNSUPPORTED && !d &&
           strstr(e.text, "f16"),
       "keys of 80 as q8_0: %s", e.text);
    conf.ktype = DTYPE_BF16;
    conf.vtype = DTYPE_Q4_0;
    ok(cpu_backend.open(&d, &a.c.plan, a.c.w, &conf, &e) == ERR_OK, "values of 96 as q4_0");
    cpu_backend.close(d);
    conf.vtype = DTYPE_Q4_K;
    ok(cpu_backend.open(&d, &a.c.plan, a.c.w, &conf, &e) == ERR_UNSUPPORTED && !d, "%s", e.text);
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};
    static const uint32_t bytes_of_32[] = {128, 64, 64, 34, 18};
    for (int i = 0; i < 5; i++) {
        conf.ktype = DTYPE_F32;
        conf.vtype = types[i];
        conf.n_blocks = 100;
        uint64_t less = cpu_backend.bytes(&a.c.plan, &conf);
        conf.n_blocks = 200;
        /* 3 heads of 32 and 64, 2 of 80 and 96 */
        uint64_t want = (3 * 32 + 2 * 80) * 4 + (3 * 2 + 2 * 3) * bytes_of_32[i];
        is_int(cpu_backend.bytes(&a.c.plan, &conf) - less, want * KV_BLOCK * 100,
               "memory for positions is what they hold");
        ok(cpu_backend.has_kv(types[i], types[4 - i]), "keeps %s", dtype_info(types[i])->name);
    }
    ok(!cpu_backend.has_kv(DTYPE_Q4_K, DTYPE_F16) && !cpu_backend.has_kv(DTYPE_F16, DTYPE_Q5_0),
       "and no other");
    a.c.plan.n_caches = 0;
    a.c.plan.n_steps = 1;
    a.c.plan.out = REG_Q;
    conf.n_blocks = 100;
    uint64_t less = cpu_backend.bytes(&a.c.plan, &conf);
    conf.n_blocks = 100000;
    is_int(cpu_backend.bytes(&a.c.plan, &conf), less, "a plan without attention takes no cache");
    opcase_fini(&a.c);
}

int main(void)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};
    static const struct trait plain = {.name = "causal"};
    static const struct shape shapes[] = {
        {4, 2, 8, 8},   {8, 2, 64, 64}, {5, 5, 20, 20},  {6, 3, 24, 24},  {4, 1, 72, 72},
        {8, 1, 80, 80}, {6, 3, 96, 96}, {60, 1, 16, 16}, {4, 2, 272, 40}, {3, 3, 24, 112}};
    static const struct trait traits[] = {
        {.name = "window of 1", .window = 1},
        {.name = "window of 7", .window = 7},
        {.name = "window of 32", .window = 32},
        {.name = "window of 33", .window = 33},
        {.name = "window of 100", .window = 100},
        {.name = "window of 256", .window = 256},
        {.name = "window of 1000", .window = 1000},
        {.name = "all", .all = true},
        {.name = "all, window of 10", .all = true, .window = 10},
        {.name = "all, window of 65", .all = true, .window = 65},
        {.name = "softcap", .softcap = 3},
        {.name = "alibi", .alibi = 8},
        {.name = "sinks", .sinks = true},
        {.name = "all, alibi", .all = true, .alibi = 8},
        {.name = "window, sinks, softcap", .window = 50, .sinks = true, .softcap = 5},
    };
    static const struct shape grouped = {12, 4, 32, 32}, small = {4, 2, 32, 64},
                              mla = {50, 1, 576, 512};
    static const struct trait window = {.name = "window of 90", .window = 90};
    n_isas = (int)mat_best_isa() + 1;
    for (int i = 0; i < n_isas; i++)
        isas[i] = mat_isa_name((enum mat_isa)i);
    test_open();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_case(&shapes[i], &plain, i % 2 ? DTYPE_F16 : DTYPE_F32, DTYPE_F16);
    for (size_t i = 0; i < sizeof traits / sizeof *traits; i++)
        check_case(&grouped, &traits[i], DTYPE_F16, DTYPE_F32);
    for (int k = 0; k < 5; k++)
        for (int v = 0; v < 5; v++)
            check_case(&small, &window, types[k], types[v]);
    check_case(&mla, &plain, DTYPE_F16, DTYPE_Q8_0);
    for (int i = 0; i < 5; i++) {
        for (int isa = 0; isa < n_isas; isa++)
            test_stored(types[i], isas[isa]);
        test_copy(types[i]);
        test_shared(types[i], types[4 - i]);
    }
    for (int isa = 0; isa < n_isas; isa++) {
        test_quant(DTYPE_Q8_0, cpu_vec_of((enum mat_isa)isa));
        test_quant(DTYPE_Q4_0, cpu_vec_of((enum mat_isa)isa));
    }
    test_skips();
    test_caches();
    return tap_end();
}

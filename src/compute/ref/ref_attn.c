/* ref_attn: RoPE, the KV cache and attention.
 *
 * A cache holds rows, one of each head at each position, in the cache's type: a quantised row is
 * rounded block by block when it is put and expanded when it is read. Attention of a query head is
 * done in the order of its definition: all scores, their softmax, the weighted sum of the values.
 */
#include <math.h>
#include <string.h>

#include "compute/ref/ref_int.h"
#include "model/quant.h"

/* ---- positions ---- */

/* Rotates the columns of one head by the angles of a position; mscale stretches them. */
static void rotate(const struct plan_rope *r, bool longer, double pos, float *x)
{
    bool second = longer && r->freq_long;
    const float *freq = second ? r->freq_long : r->freq;
    double mscale = second ? r->mscale_long : r->mscale;
    uint32_t half = r->n_rot / 2;
    for (uint32_t j = 0; j < half; j++) {
        double angle = pos * (double)freq[j];
        double c = cos(angle) * mscale, s = sin(angle) * mscale;
        float *a = r->pairs ? x + 2 * j : x + j;
        float *z = r->pairs ? x + 2 * j + 1 : x + j + half;
        double u = *a, v = *z;
        *a = (float)(u * c - v * s);
        *z = (float)(u * s + v * c);
    }
}

/* Rotary position embedding: Su et al. 2021. Columns of a head that do not turn stay. */
void ref_op_rope(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t g = 0; g < b->n_spans; g++) {
        const struct batch_span *span = &b->spans[g];
        for (uint32_t i = span->first; i < span->first + span->n; i++) {
            float *x = ref_row(d, s->dst, s->n, i) + s->u.rope.first;
            for (uint32_t h = 0; h < s->n_head; h++)
                rotate(&d->plan->ropes[s->index], span->rope_long, b->pos[i],
                       x + (uint64_t)h * s->head_dim);
        }
    }
}

/* ---- cache ---- */

static char *cache_row(const struct ref_cache *c, uint32_t block, uint32_t pos, uint32_t head)
{
    return c->at + (((uint64_t)block * KV_BLOCK + pos) * c->n_head + head) * c->row;
}

/* The row of a head at position p of a sequence, in place or expanded into `tmp`. */
static const float *cache_get(const struct ref_cache *c, const uint32_t *blocks, uint32_t p,
                              uint32_t head, float *tmp)
{
    const char *at = cache_row(c, blocks[p / KV_BLOCK], p % KV_BLOCK, head);
    if (c->type == DTYPE_F32) return (const float *)(const void *)at;
    dtype_dequant(c->type, at, tmp, c->dim);
    return tmp;
}

static void put_row(enum dtype type, const float *x, uint32_t n, char *at)
{
    uint16_t *half = (uint16_t *)(void *)at;
    if (type == DTYPE_F32)
        memcpy(at, x, n * sizeof *x);
    else if (type == DTYPE_F16 || type == DTYPE_BF16)
        for (uint32_t j = 0; j < n; j++)
            half[j] = type == DTYPE_F16 ? dtype_f32_to_f16(x[j]) : dtype_f32_to_bf16(x[j]);
    else
        quant_row(type, x, at, n);
}

/* x: [n_head][dim] */
static void cache_put(struct ref_cache *c, uint32_t block, uint32_t pos, const float *x)
{
    for (uint32_t h = 0; h < c->n_head; h++)
        put_row(c->type, x + (uint64_t)h * c->dim, c->dim, cache_row(c, block, pos, h));
}

void ref_op_kvput(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct ref_cache *k = &d->k[s->index], *v = &d->v[s->index];
    for (uint32_t g = 0; g < b->n_spans; g++) {
        const struct batch_span *span = &b->spans[g];
        for (uint32_t i = 0; i < span->n; i++) {
            uint32_t pos = span->pos + i, block = span->blocks[pos / KV_BLOCK];
            uint32_t row = span->first + i;
            cache_put(k, block, pos % KV_BLOCK, ref_row(d, s->src, k->n_head * k->dim, row));
            cache_put(v, block, pos % KV_BLOCK, ref_row(d, s->src2, v->n_head * v->dim, row));
        }
    }
}

void ref_kv_copy(struct dev *d, uint32_t from, uint32_t to, uint32_t n)
{
    if (from == to) return;
    for (uint32_t i = 0; i < d->plan->n_caches; i++) {
        struct ref_cache *kv[2] = {&d->k[i], &d->v[i]};
        for (int k = 0; k < 2; k++)
            memcpy(cache_row(kv[k], to, 0, 0), cache_row(kv[k], from, 0, 0),
                   n * kv[k]->n_head * kv[k]->row);
    }
}

/* ---- attention ---- */

/* Positions from..to-1 that the query at `pos` of a span sees. */
struct sight {
    uint32_t from, to;
};

static struct sight sees(const struct plan_step *s, const struct batch_span *span, uint32_t pos)
{
    uint32_t window = s->u.attn.window;
    if (s->u.attn.all) {
        uint32_t end = span->pos + span->n, reach = window / 2;
        if (window == 0) return (struct sight){0, end};
        return (struct sight){pos > reach ? pos - reach : 0,
                              end - pos > reach + 1 ? pos + reach + 1 : end};
    }
    return (struct sight){window && pos + 1 > window ? pos + 1 - window : 0, pos + 1};
}

/* Slope of a head: Press, Smith and Lewis 2022, section 3 and, for head counts that are no power of
 * two, its appendix A.2. */
static double alibi_slope(double max_bias, uint32_t n_head, uint32_t h)
{
    uint32_t n = 1;
    if (max_bias <= 0) return 0;
    while (n * 2 <= n_head)
        n *= 2;
    if (h < n) return pow(2, -max_bias / n * (h + 1));
    return pow(2, -max_bias / 2 / n * (2 * (h - n) + 1));
}

struct head {
    const struct plan_step *s;
    const struct ref_cache *k, *v;
    const uint32_t *blocks;
    uint32_t pos, kv_head;
    struct sight sight;
    double slope, sink; /* sink -INFINITY: none */
};

static double score(const struct head *a, const float *q, const float *k, uint32_t p)
{
    double sum = 0, cap = a->s->u.attn.softcap;
    double far = fabs((double)p - (double)a->pos);
    for (uint32_t c = 0; c < a->k->dim; c++)
        sum += (double)q[c] * k[c];
    sum *= a->s->scale;
    if (cap > 0) sum = cap * tanh(sum / cap);
    return sum - a->slope * far;
}

static void attend(struct dev *d, const struct head *a, const float *q, float *out)
{
    double max = a->sink, total = 0;
    for (uint32_t p = a->sight.from; p < a->sight.to; p++) {
        const float *k = cache_get(a->k, a->blocks, p, a->kv_head, d->tmp[0]);
        d->scores[p] = score(a, q, k, p);
        max = fmax(max, d->scores[p]);
    }
    memset(d->sum, 0, a->v->dim * sizeof *d->sum);
    for (uint32_t p = a->sight.from; p < a->sight.to; p++) {
        const float *v = cache_get(a->v, a->blocks, p, a->kv_head, d->tmp[0]);
        double w = exp(d->scores[p] - max);
        total += w;
        for (uint32_t c = 0; c < a->v->dim; c++)
            d->sum[c] += w * v[c];
    }
    if (a->sink > -INFINITY) total += exp(a->sink - max);
    for (uint32_t c = 0; c < a->v->dim; c++)
        out[c] = (float)(d->sum[c] / total);
}

void ref_op_attn(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const float *sinks = ref_vector(d, s->w);
    struct head a = {.s = s, .k = &d->k[s->index], .v = &d->v[s->index]};
    uint32_t n_q = s->n_head * a.k->dim, n_out = s->n_head * a.v->dim;
    for (uint32_t g = 0; g < b->n_spans; g++) {
        const struct batch_span *span = &b->spans[g];
        a.blocks = span->blocks;
        for (uint32_t i = 0; i < span->n; i++) {
            const float *q = ref_row(d, s->src, n_q, span->first + i);
            float *out = ref_row(d, s->dst, n_out, span->first + i);
            a.pos = span->pos + i;
            a.sight = sees(s, span, a.pos);
            for (uint32_t h = 0; h < s->n_head; h++) {
                a.kv_head = h / (s->n_head / a.k->n_head);
                a.slope = alibi_slope(s->u.attn.alibi, s->n_head, h);
                a.sink = sinks ? sinks[h] : -INFINITY;
                attend(d, &a, q + (uint64_t)h * a.k->dim, out + (uint64_t)h * a.v->dim);
            }
        }
    }
}

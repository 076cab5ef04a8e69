/* cpu_cache: sizes, layout, writing and copying of the KV cache; cpu_cache.h says how it lies.
 *
 * KVPUT is dealt out by blocks and kv heads, so that no two threads write to one piece: two
 * positions may share a byte. Codes are those of model/quant, which the reference back end
 * uses, to the bit.
 */
#include "compute/cpu/cpu_cache.h"

#include <string.h>

#include "compute/cpu/cpu_int.h"

enum { GROUP = 32 }; /* columns that share a scale */

/* ---- sizes ---- */

static bool is_quant(enum dtype t)
{
    return t == DTYPE_Q8_0 || t == DTYPE_Q4_0;
}

static bool can_keep(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || is_quant(t);
}

bool cpu_kv_has(enum dtype ktype, enum dtype vtype)
{
    return can_keep(ktype) && can_keep(vtype);
}

static enum err check_side(enum dtype t, uint32_t dim, const char *what, struct err_info *e)
{
    if (!is_quant(t) || dim % GROUP == 0) return ERR_OK;
    return ERR_FAIL(e, UNSUPPORTED,
                    "a cache of type %s needs heads of a multiple of %d values, and the %s of this "
                    "model have %u: f16, bf16 and f32 work",
                    dtype_info(t)->name, GROUP, what, dim);
}

enum err cpu_kv_check(const struct plan *p, const struct dev_conf *c, struct err_info *e)
{
    if (!cpu_kv_has(c->ktype, c->vtype))
        return ERR_FAIL(e, UNSUPPORTED,
                        "the CPU back end keeps a cache of f32, f16, bf16, q8_0 or q4_0, "
                        "not %s and %s",
                        dtype_info(c->ktype)->name, dtype_info(c->vtype)->name);
    for (uint32_t i = 0; i < p->n_caches; i++) {
        enum err bad = check_side(c->ktype, p->caches[i].k_dim, "keys", e);
        if (!bad) bad = check_side(c->vtype, p->caches[i].v_dim, "values", e);
        if (bad) return bad;
    }
    return ERR_OK;
}

static struct cpu_side side_of(enum dtype t, uint32_t dim, bool keys)
{
    const struct dtype_info *type = dtype_info(t);
    struct cpu_side s = {.type = t, .dim = dim, .lines = keys ? dim : KV_BLOCK};
    s.width = keys ? KV_BLOCK : (dim + 15) / 16 * 16;
    if (is_quant(t))
        s.line = (uint64_t)s.width * (t == DTYPE_Q8_0 ? 8 : 4) / 8;
    else
        s.line = (uint64_t)s.width * type->bytes;
    s.scales = s.lines * s.line;
    s.piece = s.scales;
    if (is_quant(t)) s.piece += (uint64_t)dim / GROUP * KV_BLOCK * sizeof(uint16_t);
    return s;
}

static struct cpu_cache cache_of(const struct plan_cache *p, const struct dev_conf *c)
{
    return (struct cpu_cache){p->n_head, side_of(c->ktype, p->k_dim, true),
                              side_of(c->vtype, p->v_dim, false)};
}

static uint64_t side_bytes(const struct dev_conf *c, const struct cpu_cache *cache,
                           const struct cpu_side *s)
{
    return cpu_mul(cpu_mul(c->n_blocks, cache->n_head), s->piece);
}

void cpu_kv_measure(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c)
{
    l->kv.table = cpu_place(l, cpu_mul(p->n_caches, sizeof(struct cpu_cache)));
    l->kv.data = cpu_place(l, 0);
    for (uint32_t i = 0; i < p->n_caches; i++) {
        struct cpu_cache cache = cache_of(&p->caches[i], c);
        cpu_place(l, side_bytes(c, &cache, &cache.k));
        cpu_place(l, side_bytes(c, &cache, &cache.v));
    }
    cpu_attn_measure(l, p, c);
}

static char *bind_side(const struct dev *d, const struct cpu_cache *cache, struct cpu_side *s,
                       char *at)
{
    s->at = at;
    return at + (side_bytes(&d->conf, cache, s) + CPU_LINE - 1) / CPU_LINE * CPU_LINE;
}

void cpu_kv_bind(struct dev *d, const struct cpu_layout *l, char *base)
{
    char *at = base + l->kv.data;
    d->kv.caches = (struct cpu_cache *)(void *)(base + l->kv.table);
    for (uint32_t i = 0; i < d->plan->n_caches; i++) {
        struct cpu_cache *cache = &d->kv.caches[i];
        *cache = cache_of(&d->plan->caches[i], &d->conf);
        at = bind_side(d, cache, &cache->k, at);
        at = bind_side(d, cache, &cache->v, at);
    }
    cpu_attn_bind(d, l, base);
}

/* ---- writing ---- */

static uint16_t *scales_of(const struct cpu_side *s, char *piece)
{
    return (uint16_t *)(void *)(piece + s->scales);
}

/* The four bits of position `at` in a line of 4-bit codes. */
static void put_nibble(uint8_t *line, uint32_t at, int code)
{
    int shift = at < 16 ? 0 : 4;
    uint8_t *byte = line + at % 16;
    *byte = (uint8_t)((*byte & (0xf0 >> shift)) | code << shift);
}

/* 32 columns to codes; returns their scale. Codes of 4 bits are made positive. */
static uint16_t codes_of(const struct dev *d, enum dtype t, const float *x, int8_t *q)
{
    if (t == DTYPE_Q8_0) return d->vec->quant_q8_0(q, x);
    uint16_t scale = d->vec->quant_q4_0(q, x);
    for (int i = 0; i < GROUP; i++)
        q[i] = (int8_t)(q[i] + 8);
    return scale;
}

static void put_key_quant(const struct dev *d, const struct cpu_side *s, char *piece, uint32_t at,
                          const float *k)
{
    uint16_t *scale = scales_of(s, piece) + at;
    uint8_t *line = (uint8_t *)piece;
    int8_t q[GROUP];
    for (uint32_t c = 0; c < s->dim; c += GROUP, scale += KV_BLOCK) {
        *scale = codes_of(d, s->type, k + c, q);
        for (int i = 0; i < GROUP; i++, line += s->line) {
            if (s->type == DTYPE_Q8_0)
                line[at] = (uint8_t)q[i];
            else
                put_nibble(line, at, q[i]);
        }
    }
}

static void put_value_quant(const struct dev *d, const struct cpu_side *s, char *piece, uint32_t at,
                            const float *v)
{
    uint16_t *scale = scales_of(s, piece) + (size_t)at * (s->dim / GROUP);
    char *codes = piece + at * s->line;
    int8_t q[GROUP];
    for (uint32_t c = 0; c < s->dim; c += GROUP) {
        *scale++ = codes_of(d, s->type, v + c, q);
        if (s->type == DTYPE_Q8_0) {
            memcpy(codes, q, GROUP);
            codes += GROUP;
        } else {
            for (int i = 0; i < 16; i++)
                *codes++ = (char)(q[i] | q[i + 16] << 4);
        }
    }
}

/* n floats to a side's 16-bit type. */
static void to_half(const struct dev *d, const struct cpu_side *s, uint16_t *y, const float *x,
                    uint32_t n)
{
    if (s->type == DTYPE_F16)
        d->vec->to_f16(y, x, n);
    else
        d->vec->to_bf16(y, x, n);
}

static void put_key(const struct dev *d, const struct cpu_side *s, char *piece, uint32_t at,
                    const float *k)
{
    uint16_t half[256];
    if (is_quant(s->type)) {
        put_key_quant(d, s, piece, at, k);
        return;
    }
    for (uint32_t c = 0; c < s->dim; c += 256) {
        uint32_t n = s->dim - c < 256 ? s->dim - c : 256;
        if (s->type == DTYPE_F32) {
            float *out = (float *)(void *)piece + (size_t)c * KV_BLOCK + at;
            for (uint32_t i = 0; i < n; i++)
                out[(size_t)i * KV_BLOCK] = k[c + i];
        } else {
            uint16_t *out = (uint16_t *)(void *)piece + (size_t)c * KV_BLOCK + at;
            to_half(d, s, half, k + c, n);
            for (uint32_t i = 0; i < n; i++)
                out[(size_t)i * KV_BLOCK] = half[i];
        }
    }
}

static void put_value(const struct dev *d, const struct cpu_side *s, char *piece, uint32_t at,
                      const float *v)
{
    char *line = piece + at * s->line;
    if (is_quant(s->type))
        put_value_quant(d, s, piece, at, v);
    else if (s->type == DTYPE_F32)
        memcpy(line, v, s->dim * sizeof *v);
    else
        to_half(d, s, (uint16_t *)(void *)line, v, s->dim);
}

/* The rows of a span that lie in its block `index`, counted from position 0, for one head. */
static void put_block(const struct cpu_work *w, const struct batch_span *span, uint32_t index,
                      uint32_t head)
{
    const struct dev *d = w->d;
    const struct cpu_cache *c = &d->kv.caches[w->s->index];
    char *k = cpu_cache_piece(c, &c->k, span->blocks[index], head);
    char *v = cpu_cache_piece(c, &c->v, span->blocks[index], head);
    uint32_t from = index * KV_BLOCK, to = from + KV_BLOCK;
    if (from < span->pos) from = span->pos;
    if (to > span->pos + span->n) to = span->pos + span->n;
    for (uint32_t pos = from; pos < to; pos++) {
        uint64_t row = ((uint64_t)span->first + pos - span->pos) * c->n_head + head;
        put_key(d, &c->k, k, pos % KV_BLOCK, d->reg[w->s->src] + row * c->k.dim);
        put_value(d, &c->v, v, pos % KV_BLOCK, d->reg[w->s->src2] + row * c->v.dim);
    }
}

static uint32_t blocks_of(const struct batch_span *s)
{
    return s->n ? (s->pos + s->n - 1) / KV_BLOCK - s->pos / KV_BLOCK + 1 : 0;
}

/* Units are the blocks of all spans, times kv heads. */
static void put_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    uint32_t n_head = w->d->kv.caches[w->s->index].n_head;
    uint64_t at = 0;
    for (uint32_t i = 0; i < w->b->n_spans && at < to; i++) {
        const struct batch_span *span = &w->b->spans[i];
        uint64_t n = (uint64_t)blocks_of(span) * n_head;
        for (uint64_t u = from > at ? from - at : 0; u < n && at + u < to; u++)
            put_block(w, span, span->pos / KV_BLOCK + (uint32_t)(u / n_head),
                      (uint32_t)(u % n_head));
        at += n;
    }
}

void cpu_op_kvput(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct cpu_cache *c = &d->kv.caches[s->index];
    uint64_t values = (uint64_t)b->n * c->n_head * (c->k.dim + c->v.dim);
    struct cpu_work w = {d, s, b, put_units, 0};
    for (uint32_t i = 0; i < b->n_spans; i++)
        w.n += (uint64_t)blocks_of(&b->spans[i]) * c->n_head;
    cpu_run(&w, is_quant(c->k.type) || is_quant(c->v.type) ? values * 8 : values);
}

/* ---- copying ---- */

static void copy_keys(const struct cpu_side *s, const char *from, char *to, uint32_t n)
{
    size_t size = is_quant(s->type) ? 1 : dtype_info(s->type)->bytes;
    for (uint32_t c = 0; c < s->dim; c++, from += s->line, to += s->line) {
        if (s->type != DTYPE_Q4_0) {
            memcpy(to, from, n * size);
            continue;
        }
        for (uint32_t i = 0; i < n; i++)
            put_nibble((uint8_t *)to, i, (uint8_t)from[i % 16] >> (i < 16 ? 0 : 4) & 15);
    }
    if (!is_quant(s->type)) return;
    for (uint32_t c = 0; c < s->dim; c += GROUP, from += KV_BLOCK * 2, to += KV_BLOCK * 2)
        memcpy(to, from, n * sizeof(uint16_t));
}

static void copy_values(const struct cpu_side *s, const char *from, char *to, uint32_t n)
{
    memcpy(to, from, n * s->line);
    if (is_quant(s->type))
        memcpy(to + s->scales, from + s->scales, n * (size_t)(s->dim / GROUP) * sizeof(uint16_t));
}

void cpu_kv_copy(struct dev *d, uint32_t from, uint32_t to, uint32_t n)
{
    if (from == to || n == 0) return;
    for (uint32_t i = 0; i < d->plan->n_caches; i++) {
        const struct cpu_cache *c = &d->kv.caches[i];
        for (uint32_t h = 0; h < c->n_head; h++) {
            copy_keys(&c->k, cpu_cache_piece(c, &c->k, from, h), cpu_cache_piece(c, &c->k, to, h),
                      n);
            copy_values(&c->v, cpu_cache_piece(c, &c->v, from, h), cpu_cache_piece(c, &c->v, to, h),
                        n);
        }
    }
}

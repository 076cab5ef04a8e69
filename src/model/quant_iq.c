/* quant_iq: quantisers of the codebook types.
 *
 * A group of 8 (4) values is stored as the index of a point of a codebook, so quantising is a
 * search for the nearest point. It is exhaustive, yet cheap: the error of a point is that of its
 * lower half plus that of its upper half, either half has at most 81 (64) different settings, and
 * codebooks are sorted by the upper half, so whole runs are skipped when the upper half alone is
 * worse than the best point so far.
 *
 * Scales of sub-blocks are odd multiples u (2c + 1) of a unit. For each sub-block scales are tried
 * and refined by least squares; a unit is chosen that suits all of them; with it each sub-block
 * tries the codes c next to its own; least squares over the whole block make the final unit.
 *
 * The types of two and three bits see magnitudes; where signs have only seven bits for eight
 * values, an odd number of minus signs is made even by treating the cheapest value as if it were on
 * the wrong side of zero. The types of one bit see signed values, with a shift of an eighth either
 * way.
 */
#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "model/dtype_int.h"
#include "model/quant_int.h"

enum { QK = 256, TRIES = 5, WIDE = 13 /* scales of a sub-block, of a flat one */ };

enum { MOST = 81 /* settings of half a group: three levels to the fourth; 64 of eight squared */ };

/* A codebook of points of `width` values of `bits` bits each. Settings of a half are numbered in
 * the order in which half_errors() makes them. */
struct book {
    const uint16_t *grid;
    int width, bits, n_levels, n_runs;
    float level[2][8];  /* two sets only where there is a shift */
    uint8_t low[2048];  /* setting of the lower half of each point */
    uint8_t high[MOST]; /* the upper half of run i of points, first[i]..first[i + 1] - 1 */
    uint16_t first[MOST + 1];
};

/* How a type uses its codebook. */
struct form {
    struct book book;
    int sub;         /* values under one scale */
    int top;         /* scale codes 0..top */
    float unit;      /* of the scale, in terms of d */
    int shift_width; /* values under one shift; 0: magnitudes and signs instead */
    float first,
        step; /* the scales to try: where the largest value is the last level times these */
};

/* The number of a setting: its codes as digits, the first the lowest. */
static uint8_t setting(const struct book *b, int half)
{
    int v = 0;

    for (int i = b->width / 2 - 1; i >= 0; i--)
        v = v * b->n_levels + (half >> (i * b->bits) & ((1 << b->bits) - 1));
    return (uint8_t)v;
}

static void book_open(struct book *b, const uint16_t *grid, int n, int width)
{
    int half = width == 8 ? 8 : 6, mask = (1 << half) - 1;

    b->grid = grid;
    b->width = width;
    b->bits = width == 8 ? 2 : 3;
    b->n_levels = width == 8 ? 3 : 8;
    b->n_runs = 0;
    for (int i = 0; i < n; i++) {
        b->low[i] = setting(b, grid[i] & mask);
        if (i > 0 && grid[i] >> half == grid[i - 1] >> half) continue;
        b->high[b->n_runs] = setting(b, grid[i] >> half);
        b->first[b->n_runs++] = (uint16_t)i;
    }
    b->first[b->n_runs] = (uint16_t)n;
}

static void book_levels(struct book *b, const float *level, float shift)
{
    for (int i = 0; i < b->n_levels; i++) {
        b->level[0][i] = level[i] + shift;
        b->level[1][i] = level[i] - shift;
    }
}

/* The errors of all settings of half a group at scale s. Returns the least. */
static float half_errors(const struct book *b, const float *level, const float *v, const float *w,
                         float s, float out[MOST])
{
    int count = 1;
    float least = 0;

    out[0] = 0;
    for (int i = 0; i < b->width / 2; i++) {
        float one[8], least_one = INFINITY;

        for (int k = 0; k < b->n_levels; k++) {
            float e = v[i] - s * level[k];

            one[k] = w[i] * e * e;
            least_one = one[k] < least_one ? one[k] : least_one;
        }
        least += least_one;
        for (int k = b->n_levels - 1; k >= 0; k--)
            for (int c = 0; c < count; c++)
                out[k * count + c] = out[c] + one[k];
        count *= b->n_levels;
    }
    return least;
}

/* The point nearest to v at scale s, and its error. */
static int nearest(const struct book *b, const float *level, const float *v, const float *w,
                   float s, float *error)
{
    float low[MOST], high[MOST], best = INFINITY, base;
    int half = b->width / 2, found = 0, start = 0;

    base = half_errors(b, level, v, w, s, low);
    half_errors(b, level, v + half, w + half, s, high);
    for (int r = 1; r < b->n_runs; r++)
        if (high[b->high[r]] < high[b->high[start]]) start = r;
    for (int k = -1; k < b->n_runs;
         k++) { /* the best upper half first, so that others are skipped */
        int r = k < 0 ? start : k;
        float h = high[b->high[r]];

        if (h + base >= best) continue;
        for (int i = b->first[r]; i < b->first[r + 1]; i++) {
            float e = h + low[b->low[i]];

            if (e < best) {
                best = e;
                found = i;
            }
        }
    }
    *error = best;
    return found;
}

/* What one sub-block is stored as. */
struct sub {
    uint16_t index[8]; /* of each group */
    uint8_t shift[4];  /* of each group of 8 */
    float err, xq, qq; /* error at the scale; sums for least squares */
};

/* Adds what a group stored as point `index` contributes to the sums. */
static void add_sums(const struct book *b, const float *level, int index, const float *v,
                     const float *w, struct sub *out)
{
    int code = b->grid[index], mask = (1 << b->bits) - 1;

    for (int i = 0; i < b->width; i++, code >>= b->bits) {
        float q = level[code & mask];

        out->xq += w[i] * v[i] * q;
        out->qq += w[i] * q * q;
    }
}

/* All groups of a sub-block at scale s. */
static void assign(const struct form *f, const float *v, const float *w, float s, struct sub *out)
{
    const struct book *b = &f->book;
    int per = f->shift_width ? f->shift_width : f->sub, g = 0;

    out->err = out->xq = out->qq = 0;
    for (int at = 0; at < f->sub; at += per) {
        float best = INFINITY;
        uint16_t index[8];
        int best_set = 0, n = 0;

        for (int set = 0; set < (f->shift_width ? 2 : 1); set++) {
            float err = 0, e;

            n = 0;
            for (int i = at; i < at + per; i += b->width) {
                index[n++] = (uint16_t)nearest(b, b->level[set], v + i, w + i, s, &e);
                err += e;
            }
            if (set && err >= best) continue;
            best = err;
            best_set = set;
            memcpy(out->index + g, index, (size_t)n * sizeof *index);
        }
        out->err += best;
        for (int i = 0; i < per; i += b->width, g++) {
            add_sums(b, b->level[best_set], out->index[g], v + at + i, w + at + i, out);
            if (f->shift_width) out->shift[g] = (uint8_t)best_set;
        }
    }
}

/* Are all values of about the same magnitude? Then the best point may have no level near the end.
 */
static bool is_flat(const struct form *f, const float *v, const float *w, float top)
{
    float sum = 0, most = 0;

    for (int i = 0; i < f->sub; i++) {
        sum += w[i] * v[i] * v[i];
        most += w[i] * top * top;
    }
    return sum > 0.4f * most;
}

/* The scale that suits a sub-block alone; the curvature of its error goes to *qq. */
static float free_scale(const struct form *f, const float *v, const float *w, float *qq)
{
    float top = fabsf(quant_largest(v, f->sub)), best = 0, scale = 0, wide = 1;
    float end = f->book.level[0][f->book.n_levels - 1];
    int tries = TRIES + (is_flat(f, v, w, top) ? WIDE : 0);
    struct sub t;

    *qq = 0;
    if (top == 0) return 0;
    for (int i = 0; i <= tries; i++) {
        float s = top / end * (f->first + f->step * (float)i);

        if (i >= TRIES) s = top / end * (wide *= 1.15f);
        if (i == tries) s = scale; /* refine the best */
        assign(f, v, w, s, &t);
        if (!(t.qq > 0 && t.xq > 0)) continue;
        s = t.xq / t.qq;
        if (t.xq * s <= best) continue;
        best = t.xq * s;
        scale = s;
        *qq = t.qq;
    }
    return scale;
}

static int scale_code(float s, float u, int top)
{
    return quant_round(0.5f * (s / u - 1), 0, top);
}

/* The unit with the least loss over all sub-blocks, each with the code that suits it best. */
static float choose_unit(const struct form *f, const float *scale, const float *qq)
{
    float most = 0, best = INFINITY, unit = 0;

    for (int j = 0; j < QK / f->sub; j++)
        most = fmaxf(most, scale[j]);
    for (int t = 0; t < 64; t++) {
        float u = most / (float)(2 * f->top + 1) * (0.7f + 0.02f * (float)t), loss = 0;

        for (int j = 0; j < QK / f->sub && u > 0; j++) {
            float e = scale[j] - u * (float)(2 * scale_code(scale[j], u, f->top) + 1);

            loss += qq[j] * e * e;
        }
        if (loss < best) {
            best = loss;
            unit = u;
        }
    }
    return unit;
}

/* A block: the half-float d, and of each sub-block its scale code and the rest. */
struct block {
    uint16_t d;
    uint8_t code[16];
    struct sub sub[16];
};

/* The codes of all sub-blocks for the unit that d makes; the whole error. `reach` codes on either
 * side of the obvious one are tried. */
static float place(const struct form *f, const float *v, const float *w, const float *scale,
                   int reach, struct block *b)
{
    float u = dtype_f16_to_f32(b->d) * f->unit, total = 0;

    for (int j = 0; j < QK / f->sub; j++) {
        int c0 = u > 0 && reach ? scale_code(scale[j], u, f->top) : b->code[j];
        float best = INFINITY;

        for (int c = c0 - reach; c <= c0 + reach; c++) {
            struct sub t;

            if (c < 0 || c > f->top) continue;
            assign(f, v + j * f->sub, w + j * f->sub, u * (float)(2 * c + 1), &t);
            if (t.err >= best && best < INFINITY) continue;
            best = t.err;
            b->code[j] = (uint8_t)c;
            b->sub[j] = t;
        }
        total += best;
    }
    return total;
}

static void fit(const struct form *f, const float *v, const float *w, struct block *b)
{
    float scale[16], qq[16], xa = 0, aa = 0, before;
    struct block again;

    memset(b, 0, sizeof *b);
    for (int j = 0; j < QK / f->sub; j++)
        scale[j] = free_scale(f, v + j * f->sub, w + j * f->sub, &qq[j]);
    b->d = quant_half(choose_unit(f, scale, qq) / f->unit);
    before = place(f, v, w, scale, 1, b);
    for (int j = 0; j < QK / f->sub; j++) {
        float m = f->unit * (float)(2 * b->code[j] + 1);

        xa += b->sub[j].xq * m;
        aa += b->sub[j].qq * m * m;
    }
    if (!(aa > 0 && xa > 0)) return;
    again = *b;
    again.d = quant_half(xa / aa);
    if (place(f, v, w, scale, 0, &again) < before) *b = again;
}

/* ---- signs ---- */

/* Magnitudes of x, and a byte of signs for every eight. With `even` the number of minus signs in a
 * byte is even: the value whose sign matters least is given the other one, and its magnitude counts
 * as negative. */
static void split_signs(const float *x, const float *w, bool even, float v[QK], uint8_t signs[32])
{
    for (int g = 0; g < 32; g++) {
        int cheapest = 0;
        unsigned s = 0;

        for (int i = 0; i < 8; i++) {
            int e = 8 * g + i, c = 8 * g + cheapest;

            v[e] = fabsf(x[e]);
            s |= (unsigned)(x[e] < 0) << i;
            if (w[e] * v[e] * v[e] < w[c] * v[c] * v[c]) cheapest = i;
        }
        if (even && __builtin_parity(s)) {
            s ^= 1u << cheapest;
            v[8 * g + cheapest] = -v[8 * g + cheapest];
        }
        signs[g] = (uint8_t)s;
    }
}

static const float levels2[] = {8, 25, 43};
static const float levels3[] = {4, 12, 20, 28, 36, 44, 52, 62};
static const float levels3_odd[] = {1, 3, 5, 7, 9, 11, 13, 15};
static const float levels1[] = {-1, 0, 1};

/* Seven bits of the signs of groups 4j..4j+3 each, and the scale code above them. */
static uint32_t signs_and_scale(const uint8_t *signs, const struct block *b, int j)
{
    uint32_t v = (uint32_t)b->code[j] << 28;

    for (int k = 0; k < 4; k++)
        v |= (uint32_t)(signs[4 * j + k] & 127) << (7 * k);
    return v;
}

void quant_iq2_xxs(const float *x, const float *w, void *block)
{
    struct form f = {.sub = 32, .top = 15, .unit = 0.125f, .first = 0.6f, .step = 0.1f};
    struct block_iq2_xxs *o = block;
    struct block b;
    uint8_t signs[32];
    float v[QK];

    book_open(&f.book, dtype_grid_iq2_xxs, 256, 8);
    book_levels(&f.book, levels2, 0);
    split_signs(x, w, true, v, signs);
    fit(&f, v, w, &b);
    o->d = b.d;
    for (int j = 0; j < 8; j++) {
        uint32_t rest = signs_and_scale(signs, &b, j);
        const uint16_t *i = b.sub[j].index;

        o->qs[4 * j] = (uint16_t)(i[0] | i[1] << 8);
        o->qs[4 * j + 1] = (uint16_t)(i[2] | i[3] << 8);
        o->qs[4 * j + 2] = (uint16_t)rest;
        o->qs[4 * j + 3] = (uint16_t)(rest >> 16);
    }
}

void quant_iq2_xs(const float *x, const float *w, void *block)
{
    struct form f = {.sub = 16, .top = 15, .unit = 0.125f, .first = 0.6f, .step = 0.1f};
    struct block_iq2_xs *o = block;
    struct block b;
    uint8_t signs[32];
    float v[QK];

    book_open(&f.book, dtype_grid_iq2_xs, 512, 8);
    book_levels(&f.book, levels2, 0);
    split_signs(x, w, true, v, signs);
    fit(&f, v, w, &b);
    memset(o, 0, sizeof *o);
    o->d = b.d;
    for (int g = 0; g < 32; g++)
        o->qs[g] = (uint16_t)(b.sub[g / 2].index[g % 2] | (signs[g] & 127) << 9);
    for (int j = 0; j < 16; j++)
        o->scales[j / 2] |= (uint8_t)(b.code[j] << (4 * (j % 2)));
}

void quant_iq2_s(const float *x, const float *w, void *block)
{
    struct form f = {.sub = 16, .top = 15, .unit = 0.125f, .first = 0.6f, .step = 0.1f};
    struct block_iq2_s *o = block;
    struct block b;
    uint8_t signs[32];
    float v[QK];

    book_open(&f.book, dtype_grid_iq2_s, 1024, 8);
    book_levels(&f.book, levels2, 0);
    split_signs(x, w, false, v, signs);
    fit(&f, v, w, &b);
    memset(o, 0, sizeof *o);
    o->d = b.d;
    for (int g = 0; g < 32; g++) {
        int index = b.sub[g / 2].index[g % 2];

        o->qs[g] = (uint8_t)index;
        o->qs[32 + g] = signs[g];
        o->qh[g / 4] |= (uint8_t)(index >> 8 << (2 * (g % 4)));
    }
    for (int j = 0; j < 16; j++)
        o->scales[j / 2] |= (uint8_t)(b.code[j] << (4 * (j % 2)));
}

void quant_iq3_xxs(const float *x, const float *w, void *block)
{
    struct form f = {.sub = 32, .top = 15, .unit = 0.25f, .first = 0.76f, .step = 0.08f};
    struct block_iq3_xxs *o = block;
    struct block b;
    uint8_t signs[32];
    float v[QK];

    book_open(&f.book, dtype_grid_iq3_xxs, 256, 4);
    book_levels(&f.book, levels3, 0);
    split_signs(x, w, true, v, signs);
    fit(&f, v, w, &b);
    o->d = b.d;
    for (int g = 0; g < 64; g++)
        o->qs[g] = (uint8_t)b.sub[g / 8].index[g % 8];
    for (int j = 0; j < 8; j++) {
        uint32_t rest = signs_and_scale(signs, &b, j);

        memcpy(o->qs + 64 + 4 * j, &rest, sizeof rest);
    }
}

void quant_iq3_s(const float *x, const float *w, void *block)
{
    struct form f = {.sub = 32, .top = 15, .unit = 1, .first = 0.76f, .step = 0.08f};
    struct block_iq3_s *o = block;
    struct block b;
    float v[QK];

    book_open(&f.book, dtype_grid_iq3_s, 512, 4);
    book_levels(&f.book, levels3_odd, 0);
    memset(o, 0, sizeof *o);
    split_signs(x, w, false, v, o->signs);
    fit(&f, v, w, &b);
    o->d = b.d;
    for (int g = 0; g < 64; g++) {
        int index = b.sub[g / 8].index[g % 8];

        o->qs[g] = (uint8_t)index;
        o->qh[g / 8] |= (uint8_t)(index >> 8 << (g % 8));
    }
    for (int j = 0; j < 8; j++)
        o->scales[j / 2] |= (uint8_t)(b.code[j] << (4 * (j % 2)));
}

/* ---- one bit ---- */

void quant_iq1_s(const float *x, const float *w, void *block)
{
    struct form f = {
        .sub = 32, .top = 7, .unit = 1, .shift_width = 32, .first = 0.35f, .step = 0.14f};
    struct block_iq1_s *o = block;
    struct block b;

    book_open(&f.book, dtype_grid_iq1, 2048, 8);
    book_levels(&f.book, levels1, 0.125f);
    fit(&f, x, w, &b);
    memset(o, 0, sizeof *o);
    o->d = b.d;
    for (int j = 0; j < 8; j++) {
        int h = b.code[j] << 12 | (b.sub[j].shift[0] ? 0x8000 : 0);

        for (int k = 0; k < 4; k++) {
            o->qs[4 * j + k] = (uint8_t)b.sub[j].index[k];
            h |= b.sub[j].index[k] >> 8 << (3 * k);
        }
        o->qh[j] = (uint16_t)h;
    }
}

void quant_iq1_m(const float *x, const float *w, void *block)
{
    struct form f = {
        .sub = 16, .top = 7, .unit = 1, .shift_width = 8, .first = 0.35f, .step = 0.14f};
    struct block_iq1_m *o = block;
    struct block b;
    uint16_t sc[4] = {0};

    book_open(&f.book, dtype_grid_iq1, 2048, 8);
    book_levels(&f.book, levels1, 0.125f);
    fit(&f, x, w, &b);
    memset(o, 0, sizeof *o);
    for (int j = 0; j < 16; j++)
        sc[j / 4] = (uint16_t)(sc[j / 4] | b.code[j] << (3 * (j % 4)));
    for (int k = 0; k < 4; k++) /* the digits of d, the lowest first, above the scale codes */
        sc[k] = (uint16_t)(sc[k] | (b.d >> (4 * k) & 15) << 12);
    memcpy(o->scales, sc, sizeof sc);
    for (int g = 0; g < 32; g++) {
        const struct sub *s = &b.sub[g / 2];
        int h = s->index[g % 2] >> 8 | (s->shift[g % 2] ? 8 : 0);

        o->qs[g] = (uint8_t)s->index[g % 2];
        o->qh[g / 2] |= (uint8_t)(h << (4 * (g % 2)));
    }
}

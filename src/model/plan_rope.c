/* plan_rope: the rotation frequencies of a model, all scalings folded in.
 *
 * Pair i of n_rot / 2 turns by p * freq[i] at position p. Without scaling freq[i] is
 * base^(-2i / n_rot) (RoFormer, Su et al. 2021). A factor tensor ("rope_freqs.weight", Llama 3)
 * divides it. Linear scaling divides by the factor. YaRN (Peng et al. 2023, section 3.2) divides
 * only the slow pairs: those that turn fewer than beta_slow times in the original context are
 * divided, those that turn more than beta_fast times are not, with a linear ramp between them; and
 * it lengthens q and k by 0.1 ln(factor) + 1. GGUF's conventions on top: rope.scaling.attn_factor
 * multiplies that length, and a yarn_log_multiplier m divides it by 0.1 m ln(factor) + 1.
 *
 * LongRoPE (Ding et al. 2024) has two lists of factors, one for sequences within the original
 * context and one for longer ones; dynamic NTK scaling leaves the former alone and raises the base
 * for the latter. Both become two tables, between which the engine chooses for each sequence.
 * Layers with a window have a table of their own where their base or scaling differs.
 */
#include <math.h>

#include "model/plan_int.h"

#define FREQ_MAX 1e6 /* radians a position; models stay at or below 1 */

/* The pair (as a fraction) that turns `turns` times over the original context. */
static double pair_of(const struct meta *m, double turns)
{
    const double pi = 3.14159265358979323846;

    return m->n_rot * log(m->rope_orig_ctx / (turns * 2 * pi)) / (2 * log((double)m->rope_base));
}

/* How much of pair i keeps its frequency: 1 for fast pairs, 0 for slow ones. */
static double yarn_keep(const struct meta *m, uint32_t i)
{
    double low = floor(pair_of(m, (double)m->yarn_beta_fast));
    double high = ceil(pair_of(m, (double)m->yarn_beta_slow));
    double ramp;

    low = low > 0 ? low : 0;
    high = high < m->n_rot - 1 ? high : m->n_rot - 1;
    ramp = (i - low) / (high - low > 0.001 ? high - low : 0.001);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return (1 - ramp) * (double)m->yarn_ext_factor;
}

static double yarn_length(double factor, double mul)
{
    return factor <= 1 ? 1 : 0.1 * mul * log(factor) + 1;
}

static double mscale(const struct meta *m)
{
    double s = (double)m->yarn_attn_factor, factor = (double)m->rope_factor;

    if (m->rope_scaling != ROPE_YARN || m->yarn_ext_factor == 0.0f) return s;
    /* Latent attention lengthens its scores instead. */
    if (m->kv_lora && m->yarn_log_mul != 0.0f) return s;
    s *= yarn_length(factor, 1);
    if (m->yarn_log_mul != 0.0f) s /= yarn_length(factor, (double)m->yarn_log_mul);
    return s;
}

/* ---- one table ---- */

static float *table(struct builder *b, double base, bool scaled, uint32_t n_rot)
{
    const struct meta *m = b->m;
    float *freq = ARENA_NEW(b->a, float, n_rot / 2);

    for (uint32_t i = 0; freq && i < n_rot / 2; i++) {
        double f = pow(base, -2.0 * i / n_rot);
        double keep = m->rope_scaling == ROPE_YARN ? yarn_keep(m, i) : 0;

        if (scaled) f = f * keep + f / (double)m->rope_factor * (1 - keep);
        freq[i] = (float)f;
    }
    return freq;
}

static enum err check(struct builder *b, const float *freq, uint32_t n)
{
    if (!freq) return ERR_FAIL(b->e, NOMEM, "no memory for %u frequencies", n);
    for (uint32_t i = 0; i < n; i++)
        if (!(fabsf(freq[i]) <= (float)FREQ_MAX))
            return ERR_FAIL(b->e, FORMAT, "RoPE base %g and factor %g give no usable frequency",
                            (double)b->m->rope_base, (double)b->m->rope_factor);
    return ERR_OK;
}

/* Divides by the factors of the file, where their values are at hand. *found tells whether the file
 * has them. */
static enum err divide(struct builder *b, float *freq, uint32_t n, const char *name, bool *found)
{
    struct plan_tensor t;
    const void *data = NULL;
    float f;

    *found = b->src->find(b->src->owner, str_c(name), &t, &data);
    if (!*found) return ERR_OK;
    if (t.dtype != DTYPE_F32 || t.rows != 1 || t.cols != n)
        return ERR_FAIL(b->e, FORMAT, "tensor '%s' has %llu %s values; %u f32 are needed", name,
                        (unsigned long long)(t.rows * t.cols), dtype_info(t.dtype)->name, n);
    for (uint32_t i = 0; data && i < n; i++) {
        dtype_dequant(DTYPE_F32, (const uint8_t *)data + i * sizeof f, &f, 1);
        if (!isfinite(f) || f <= 0)
            return ERR_FAIL(b->e, FORMAT, "tensor '%s' holds %g; factors are above 0", name,
                            (double)f);
        freq[i] /= f;
    }
    return ERR_OK;
}

/* ---- scalings with two tables ---- */

static enum err longrope(struct builder *b, struct plan_rope *r, float *freq)
{
    float *wide = table(b, (double)b->m->rope_base, true, r->n_rot);
    uint32_t n = r->n_rot / 2;
    bool is_short, is_long;
    enum err e;

    if ((e = check(b, wide, n)) ||
        (e = divide(b, freq, n, "rope_factors_short.weight", &is_short)) ||
        (e = divide(b, wide, n, "rope_factors_long.weight", &is_long)))
        return e;
    if (is_short != is_long)
        return ERR_FAIL(b->e, FORMAT, "the model lacks the tensor 'rope_factors_%s.weight'",
                        is_short ? "long" : "short");
    if (b->m->rope_scaling == ROPE_LONGROPE && !is_long && b->src->count)
        return ERR_FAIL(b->e, FORMAT,
                        "RoPE scaling 'longrope' needs the tensors 'rope_factors_short.weight' and "
                        "'rope_factors_long.weight', which the file lacks");
    if (!is_long) return ERR_OK;
    r->freq_long = wide;
    r->mscale_long = r->mscale;
    b->p->rope_long_from = b->m->rope_orig_ctx;
    return ERR_OK;
}

/* Dynamic NTK scaling, for the longest sequence that the plan is for. */
static enum err dynamic(struct builder *b, struct plan_rope *r)
{
    const struct meta *m = b->m;
    double ctx = b->conf->n_ctx ? b->conf->n_ctx : m->n_ctx_train, d = r->n_rot;
    double factor = (double)m->rope_factor, grown = factor * ctx / m->rope_orig_ctx - (factor - 1);

    if (ctx <= m->rope_orig_ctx || r->n_rot <= 2) return ERR_OK;
    r->freq_long = table(b, (double)m->rope_base * pow(grown, d / (d - 2)), false, r->n_rot);
    r->mscale_long = r->mscale;
    b->p->rope_long_from = m->rope_orig_ctx;
    return check(b, r->freq_long, r->n_rot / 2);
}

static enum err global_table(struct builder *b, struct plan_rope *r)
{
    const struct meta *m = b->m;
    float *freq;
    bool found;
    enum err e;

    *r = (struct plan_rope){.n_rot = m->n_rot,
                            .mscale = (float)mscale(m),
                            .pairs = m->family->rope == ROPE_PAIRS && !m->rope_halves};
    freq = table(b, (double)m->rope_base, m->rope_scaling != ROPE_DYNAMIC, m->n_rot);
    if ((e = check(b, freq, m->n_rot / 2)) ||
        (e = divide(b, freq, m->n_rot / 2, "rope_freqs.weight", &found)))
        return e;
    r->freq = freq;
    return m->rope_scaling == ROPE_DYNAMIC ? dynamic(b, r) : longrope(b, r, freq);
}

static enum err local_table(struct builder *b, struct plan_rope *r)
{
    const struct meta *m = b->m;
    bool plain = (m->family->flags & FAMILY_SWA_PLAIN_ROPE) || m->rope_base_swa != 0.0f;
    double base = (double)(m->rope_base_swa != 0.0f ? m->rope_base_swa : m->rope_base);
    uint32_t n_rot = m->n_rot_swa ? m->n_rot_swa : m->n_rot;

    *r = (struct plan_rope){.n_rot = n_rot,
                            .mscale = plain ? 1.0f : (float)mscale(m),
                            .pairs = m->family->rope == ROPE_PAIRS && !m->rope_halves};
    r->freq = table(b, base, !plain, n_rot);
    return check(b, r->freq, n_rot / 2);
}

enum err plan_ropes(struct builder *b)
{
    const struct meta *m = b->m;
    struct plan_rope *r;
    enum err e;

    b->rope_global = b->rope_local = -1;
    if (m->family->rope == ROPE_NO || m->no_rope || m->n_rot == 0) return ERR_OK;
    r = ARENA_NEW(b->a, struct plan_rope, 2);
    if (!r) return ERR_FAIL(b->e, NOMEM, "no memory for the rotations");
    b->p->ropes = r;
    b->p->n_ropes = 1;
    b->rope_global = b->rope_local = 0;
    if ((e = global_table(b, &r[0]))) return e;
    if (!m->window ||
        (m->rope_base_swa == 0.0f && !m->n_rot_swa && !(m->family->flags & FAMILY_SWA_PLAIN_ROPE)))
        return ERR_OK;
    b->rope_local = 1;
    b->p->n_ropes = 2;
    return local_table(b, &r[1]);
}

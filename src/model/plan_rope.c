/* plan_rope: the rotation frequencies of a model, all scalings folded in.
 *
 * Pair i of n_rot / 2 turns by p * freq[i] at position p. Without scaling freq[i] is
 * base^(-2i / n_rot) (RoFormer, Su et al. 2021). A factor tensor ("rope_freqs.weight", Llama 3)
 * divides it. Linear scaling divides by the factor. YaRN (Peng et al. 2023, section 3.2) divides
 * only the slow pairs: those that turn fewer than beta_slow times in the original context are
 * divided, those that turn more than beta_fast times are not, with a linear ramp between them; and
 * it lengthens q and k by 0.1 ln(factor) + 1. GGUF's conventions on top: rope.scaling.attn_factor
 * multiplies that length, and a yarn_log_multiplier m divides it by 0.1 m ln(factor) + 1.
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
    s *= yarn_length(factor, 1);
    if (m->yarn_log_mul != 0.0f) s /= yarn_length(factor, (double)m->yarn_log_mul);
    return s;
}

/* Divides by the factors of the file, where their values are at hand. */
static enum err divide(float *freq, uint32_t n, const struct plan_source *src, struct err_info *e)
{
    struct plan_tensor t;
    const void *data = NULL;
    float f;

    if (!src->find(src->owner, S("rope_freqs.weight"), &t, &data)) return ERR_OK;
    if (t.dtype != DTYPE_F32 || t.rows != 1 || t.cols != n)
        return ERR_FAIL(e, FORMAT,
                        "tensor 'rope_freqs.weight' has %llu %s values; %u f32 are needed",
                        (unsigned long long)(t.rows * t.cols), dtype_info(t.dtype)->name, n);
    for (uint32_t i = 0; data && i < n; i++) {
        dtype_dequant(DTYPE_F32, (const uint8_t *)data + i * sizeof f, &f, 1);
        if (!isfinite(f) || f <= 0)
            return ERR_FAIL(e, FORMAT, "tensor 'rope_freqs.weight' holds %g; factors are above 0",
                            (double)f);
        freq[i] /= f;
    }
    return ERR_OK;
}

enum err plan_rope(struct plan *p, struct arena *a, const struct plan_source *src,
                   struct err_info *e)
{
    const struct meta *m = p->meta;
    uint32_t n = m->n_rot / 2;
    float *freq = ARENA_NEW(a, float, n);
    enum err r;

    if (n && !freq) return ERR_FAIL(e, NOMEM, "no memory for %u frequencies", n);
    for (uint32_t i = 0; i < n; i++) {
        double f = pow((double)m->rope_base, -2.0 * i / m->n_rot);
        double keep = m->rope_scaling == ROPE_YARN ? yarn_keep(m, i) : 0;

        f = f * keep + f / (double)m->rope_factor * (1 - keep);
        if (!(fabs(f) <= FREQ_MAX))
            return ERR_FAIL(e, FORMAT, "RoPE base %g and factor %g give no usable frequency",
                            (double)m->rope_base, (double)m->rope_factor);
        freq[i] = (float)f;
    }
    if ((r = divide(freq, n, src, e))) return r;
    p->rope_freq = freq;
    p->n_rot = m->n_rot;
    p->rope_mscale = (float)mscale(m);
    p->rope_pairs = m->family->rope == ROPE_PAIRS;
    return ERR_OK;
}

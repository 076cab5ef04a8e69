/* hf_rope: the rotation that config.json describes, as GGUF states it.
 *
 * transformers up to 4 writes rope_theta and rope_scaling {rope_type or type, ...}, from 5 on
 * rope_parameters with everything in it, per kind of layer where they differ; hf_rope() of
 * hf_config.c reads both. GGUF has keys for linear and yarn; llama3 and longrope become tensors of
 * factors that divide the frequencies, computed here as llama.cpp's converter computes them.
 */
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "model/hf_int.h"

static double number(const struct hf *h, const char *names, double dflt)
{
    return json_num(hf_rope(h, names), dflt);
}

static str type_of(const struct hf *h)
{
    return json_str(hf_rope(h, "rope_type|type"), S("default"));
}

static bool is_long(str type)
{
    return str_eqc(type, "longrope") || str_eqc(type, "su");
}

/* The context that the model was trained with before it was stretched. */
static enum err original(struct hf *h, uint32_t *out)
{
    const struct json *v = hf_rope(h, "original_max_position_embeddings");
    int64_t n;

    if (!v) v = hf_get(h, "original_max_position_embeddings");
    n = json_int(v, h->n_ctx);
    if (n < 1 || n > LIMIT_MODEL_CONTEXT)
        return ERR_FAIL(h->e, FORMAT,
                        "config.json: RoPE scaling needs original_max_position_embeddings, 1 to %u",
                        LIMIT_MODEL_CONTEXT);
    *out = (uint32_t)n;
    return ERR_OK;
}

static enum err factor(struct hf *h, double *out)
{
    *out = number(h, "factor", 0);
    if (*out > 0 && *out <= 1e6) return ERR_OK;
    return ERR_FAIL(h->e, FORMAT, "config.json: RoPE scaling '%.*s' has a factor of %g",
                    HF_NAME(type_of(h)), *out);
}

static enum err yarn_keys(struct hf *h)
{
    const struct json *attn = hf_rope(h, "attention_factor");
    double f, m = number(h, "mscale", 0), all = number(h, "mscale_all_dim", 0);
    uint32_t ctx;
    enum err r;

    if ((r = factor(h, &f)) || (r = original(h, &ctx))) return r;
    hf_put_str(h, "rope.scaling.type", S("yarn"));
    hf_put_f32(h, "rope.scaling.factor", f);
    hf_put_u32(h, "rope.scaling.original_context_length", ctx);
    if (number(h, "beta_fast", 32) != 32)
        hf_put_f32(h, "rope.scaling.yarn_beta_fast", number(h, "beta_fast", 32));
    if (number(h, "beta_slow", 1) != 1)
        hf_put_f32(h, "rope.scaling.yarn_beta_slow", number(h, "beta_slow", 1));
    if (!strcmp(h->gguf_arch, "deepseek2")) {
        /* Lengthens the scores, too: the reader of the key knows. */
        if (all != 0) hf_put_f32(h, "rope.scaling.yarn_log_multiplier", 0.1 * all);
        return ERR_OK;
    }
    /* The key multiplies the length that yarn derives by itself. */
    if (attn)
        hf_put_f32(h, "rope.scaling.attn_factor",
                   json_num(attn, 1) / (f > 1 ? 0.1 * log(f) + 1 : 1));
    else if (m != 0 && all != 0 && f > 1)
        hf_put_f32(h, "rope.scaling.attn_factor",
                   (0.1 * m * log(f) + 1) / (0.1 * all * log(f) + 1) / (0.1 * log(f) + 1));
    return ERR_OK;
}

static enum err long_keys(struct hf *h)
{
    const struct json *attn = hf_rope(h, "attention_factor");
    double scale, length = 1;
    uint32_t ctx;
    enum err r = original(h, &ctx);

    if (r) return r;
    if (strcmp(h->gguf_arch, "phi3")) /* hf_keys_phi3() states it in any case */
        hf_put_u32(h, "rope.scaling.original_context_length", ctx);
    scale = (double)h->n_ctx / ctx;
    if (scale > 1 && ctx > 1) length = sqrt(1 + log(scale) / log((double)ctx));
    if (attn) length = json_num(attn, length);
    hf_put_f32(h, "rope.scaling.attn_factor", length);
    return ERR_OK;
}

enum err hf_rope_keys(struct hf *h)
{
    str type = type_of(h);
    uint32_t ctx;
    double f;
    enum err r;

    if (!(h->rope_base > 0 && h->rope_base <= 1e12))
        return ERR_FAIL(h->e, FORMAT, "config.json: RoPE has a base of %g", h->rope_base);
    hf_put_f32(h, "rope.freq_base", h->rope_base);
    if (str_eqc(type, "default") || str_eqc(type, "none") || str_eqc(type, "llama3")) return ERR_OK;
    if (str_eqc(type, "yarn")) return yarn_keys(h);
    if (is_long(type)) return long_keys(h);
    if (str_eqc(type, "mrope")) return ERR_OK; /* text alone: all sections turn alike */
    if (!str_eqc(type, "linear") && !str_eqc(type, "dynamic"))
        return ERR_FAIL(h->e, UNSUPPORTED,
                        "RoPE scaling '%.*s' is not one this version runs; it runs linear, "
                        "dynamic, yarn, llama3 and longrope",
                        HF_NAME(type));
    if ((r = factor(h, &f))) return r;
    hf_put_str(h, "rope.scaling.type", type);
    hf_put_f32(h, "rope.scaling.factor", f);
    if (str_eqc(type, "linear")) return ERR_OK;
    if ((r = original(h, &ctx))) return r;
    hf_put_u32(h, "rope.scaling.original_context_length", ctx);
    return ERR_OK;
}

/* ---- factors ---- */

static enum err add_factors(struct hf *h, const char *name, const float *f, uint32_t n)
{
    uint64_t dim[1] = {n};
    float *own = ARENA_NEW(&h->g->arena, float, n);

    if (!own) return ERR_FAIL(h->e, NOMEM, "no memory for %u RoPE factors", n);
    memcpy(own, f, n * sizeof *f);
    return hf_tensors_add(h, str_c(name), DTYPE_F32, dim, 1, (const uint8_t *)own);
}

/* Llama 3.1: slow pairs are divided by the factor, fast ones are not, between them it is smooth. */
static enum err llama3_factors(struct hf *h)
{
    uint32_t n = h->n_rot / 2, ctx;
    float *f = ARENA_NEW(&h->tree, float, n ? n : 1);
    double low = number(h, "low_freq_factor", 1), high = number(h, "high_freq_factor", 4);
    double by;
    enum err r;

    if (!f) return ERR_FAIL(h->e, NOMEM, "no memory for %u RoPE factors", n);
    if ((r = factor(h, &by)) || (r = original(h, &ctx))) return r;
    if (!(low > 0 && high > low))
        return ERR_FAIL(h->e, FORMAT, "config.json: RoPE scaling 'llama3' from %g to %g", low,
                        high);
    for (uint32_t i = 0; i < n; i++) {
        /* The frequencies are float32 where the reference computes them. */
        float freq = 1.0f / powf((float)h->rope_base, (float)(2 * i) / (float)h->n_rot);
        double wave = 2 * 3.14159265358979323846 / (double)freq;
        double smooth = (ctx / wave - low) / (high - low);

        if (wave < ctx / high)
            f[i] = 1;
        else if (wave > ctx / low)
            f[i] = (float)by;
        else
            f[i] = (float)(1 / ((1 - smooth) / by + smooth));
    }
    return n ? add_factors(h, "rope_freqs.weight", f, n) : ERR_OK;
}

static enum err long_factors(struct hf *h, const char *key, const char *name)
{
    const struct json *v = hf_rope(h, key);
    uint32_t n = h->n_rot / 2;
    float *f = ARENA_NEW(&h->tree, float, n ? n : 1);

    if (!f) return ERR_FAIL(h->e, NOMEM, "no memory for %u RoPE factors", n);
    if (!v || v->type != JSON_ARR || v->n != n || n == 0)
        return ERR_FAIL(h->e, FORMAT, "config.json: '%s' of RoPE must be a list of %u numbers", key,
                        n);
    for (uint32_t i = 0; i < n; i++) {
        f[i] = (float)json_num(&v->items[i], 0);
        if (!(f[i] > 0))
            return ERR_FAIL(h->e, FORMAT, "config.json: '%s' of RoPE holds a factor of %g", key,
                            (double)f[i]);
    }
    return add_factors(h, name, f, n);
}

enum err hf_rope_tensors(struct hf *h)
{
    str type = type_of(h);
    enum err r;

    if (h->arch->flags & HF_NO_ROPE) return ERR_OK;
    if (str_eqc(type, "llama3")) return llama3_factors(h);
    if (!is_long(type)) return ERR_OK;
    if ((r = long_factors(h, "long_factor", "rope_factors_long.weight"))) return r;
    return long_factors(h, "short_factor", "rope_factors_short.weight");
}

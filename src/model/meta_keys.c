/* meta_keys: reads numbers under an architecture's prefix ("llama.block_count"), within bounds.
 *
 * What older files of a family lack stands in one table of defaults; it is asked only when the key
 * itself is absent.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/meta_int.h"

/* Numbers that some files of a family leave out and every program knows. */
static const struct {
    const char *family, *key;
    float value;
} defaults[] = {
    {"gemma2", "attn_logit_softcapping", 50},     {"gemma2", "final_logit_softcapping", 30},
    {"gemma3", "rope.freq_base_swa", 10000},      {"gemma-embedding", "rope.freq_base_swa", 10000},
    {"modern-bert", "rope.freq_base_swa", 10000}, {"gemma3n", "rope.freq_base_swa", 10000},
    {"gemma3n", "final_logit_softcapping", 30},   {"gemma3n", "attention.scale", 1},
    {"gemma4", "rope.freq_base_swa", 10000},      {"gemma4", "attention.scale", 1},
    {"bloom", "attention.max_alibi_bias", 8},     {"jina-bert-v2", "attention.max_alibi_bias", 8},
    {"refact", "attention.max_alibi_bias", 8},    {"minicpm", "embedding_scale", 12},
    {"minicpm3", "embedding_scale", 12},
};

const char *meta_key(struct meta_reader *r, const char *suffix)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->m->family->name, suffix);
    return r->key;
}

bool meta_has(struct meta_reader *r, const char *suffix)
{
    return gguf_find(r->g, meta_key(r, suffix)) != NULL;
}

enum err meta_u32(struct meta_reader *r, const char *suffix, uint32_t *out, size_t max)
{
    const struct gguf_kv *kv = gguf_find(r->g, meta_key(r, suffix));
    const int32_t *v;
    size_t n;
    enum err err;

    if (!kv) return ERR_OK;
    if (kv->type != GGUF_ARR) {
        err = gguf_get_u32(r->g, r->key, out, r->e);
    } else if (!(err = gguf_get_i32s(r->g, r->a, r->key, &v, &n, r->e))) {
        for (size_t i = 0; i < n; i++) {
            if (v[i] < 0) return ERR_FAIL(r->e, FORMAT, "key '%s' holds %d", r->key, v[i]);
            if (v[i] != v[0])
                return ERR_FAIL(r->e, UNSUPPORTED,
                                "key '%s' differs from layer to layer (%d, %d), which this version "
                                "does not run",
                                r->key, v[0], v[i]);
            *out = (uint32_t)v[i];
        }
    }
    if (!err && *out > max)
        return ERR_FAIL(r->e, FORMAT, "key '%s' is %u; at most %zu is allowed", r->key, *out, max);
    return err;
}

enum err meta_need_u32(struct meta_reader *r, const char *suffix, uint32_t *out, uint32_t absent,
                       size_t max)
{
    enum err err;

    *out = absent;
    if ((err = meta_u32(r, suffix, out, UINT32_MAX))) return err;
    if (!gguf_find(r->g, r->key) && absent == 0)
        return ERR_FAIL(r->e, FORMAT, "the GGUF file lacks the key '%s'", r->key);
    if (*out < 1 || *out > max)
        return ERR_FAIL(r->e, FORMAT, "key '%s' is %u; 1 to %zu are allowed", r->key, *out, max);
    return ERR_OK;
}

static uint32_t *field(struct meta_reader *r, uint32_t layer, size_t offset)
{
    return (uint32_t *)(void *)((char *)&r->layers[layer] + offset);
}

enum err meta_each(struct meta_reader *r, const char *suffix, size_t offset, size_t max,
                   uint32_t *top, bool *found)
{
    const struct gguf_kv *kv = gguf_find(r->g, meta_key(r, suffix));
    const int32_t *v = NULL;
    uint32_t one = 0;
    size_t n = 0;
    enum err err;

    *found = kv != NULL;
    *top = 0;
    if (!kv) return ERR_OK;
    err = kv->type == GGUF_ARR ? gguf_get_i32s(r->g, r->a, r->key, &v, &n, r->e)
                               : gguf_get_u32(r->g, r->key, &one, r->e);
    if (err) return err;
    if (v && n < r->m->n_layer)
        return ERR_FAIL(r->e, FORMAT, "key '%s' has %zu values for %u layers", r->key, n,
                        r->m->n_layer);
    for (uint32_t i = 0; i < r->m->n_layer; i++) {
        if (v && v[i] < 0) return ERR_FAIL(r->e, FORMAT, "key '%s' holds %d", r->key, v[i]);
        if (v) one = (uint32_t)v[i];
        if (one > max)
            return ERR_FAIL(r->e, FORMAT, "key '%s' is %u; at most %zu is allowed", r->key, one,
                            max);
        *field(r, i, offset) = one;
        if (*top < one) *top = one;
    }
    return ERR_OK;
}

enum err meta_f32(struct meta_reader *r, const char *suffix, float *out, float min)
{
    enum err err;

    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (!strcmp(defaults[i].key, suffix) && !strcmp(defaults[i].family, r->m->family->name))
            *out = defaults[i].value;
    if ((err = gguf_get_f32(r->g, meta_key(r, suffix), out, r->e))) return err;
    if (!isfinite(*out) || *out < min)
        return ERR_FAIL(r->e, FORMAT, "key '%s' is %g; a finite number of at least %g is needed",
                        r->key, (double)*out, (double)min);
    return ERR_OK;
}

/* tiny_model: builds a small model's GGUF header in memory, whole or with one thing wrong.
 *
 * 2 layers, embedding 64, 4 heads over 2 key heads of 16, feed-forward 96, 40 tokens. A test
 * changes the numbers or names a key or tensor to leave out or to spoil, and parses the result.
 */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include "base/limits.h"
#include "base/mem.h"
#include "model/gguf_write.h"
#include "model/meta.h"
#include "model/plan.h"

struct tiny {
    const char *arch;
    uint32_t layers, layers_said, embd, ff, heads, heads_kv, head_dim, vocab;
    enum dtype matrix;
    bool tied, bias, qk_norm, factors;
    float factor;            /* values of rope_freqs.weight */
    const char *without;     /* a key suffix or tensor name to leave out */
    const char *extra;       /* one more tensor */
    const char *wrong_shape; /* a tensor whose rows are doubled */
    const char *wrong_type;  /* a tensor that is F16 */
    void (*keys)(struct gguf_write *w);
    /* the model */
    struct gguf_write w;
    buf bytes;
    struct arena arena;
    struct gguf g;
};

__attribute__((unused)) static struct tiny tiny_default(const char *arch)
{
    return (struct tiny){.arch = arch,
                         .layers = 2,
                         .layers_said = 2,
                         .embd = 64,
                         .ff = 96,
                         .heads = 4,
                         .heads_kv = 2,
                         .head_dim = 16,
                         .vocab = 40,
                         .matrix = DTYPE_F16,
                         .factor = 2};
}

static void tiny_key(struct tiny *t, const char *suffix, uint32_t v)
{
    char key[96];

    if (t->without && !strcmp(t->without, suffix)) return;
    snprintf(key, sizeof key, "%s.%s", t->arch, suffix);
    gguf_write_u32(&t->w, key, v);
}

static void tiny_tensor(struct tiny *t, int layer, const char *name, uint64_t cols, uint64_t rows)
{
    uint64_t dim[2] = {cols, rows};
    enum dtype type = rows > 1 ? t->matrix : DTYPE_F32;
    char full[96];

    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    if (t->without && !strcmp(t->without, full)) return;
    if (t->wrong_shape && !strcmp(t->wrong_shape, full)) dim[rows > 1] *= 2;
    if (t->wrong_type && !strcmp(t->wrong_type, full)) type = DTYPE_F16;
    gguf_write_tensor(&t->w, str_c(full), type, dim, rows > 1 ? 2 : 1);
}

static void tiny_layer(struct tiny *t, int i)
{
    uint32_t q = t->heads * t->head_dim, kv = t->heads_kv * t->head_dim;

    tiny_tensor(t, i, "attn_norm.weight", t->embd, 1);
    tiny_tensor(t, i, "attn_q.weight", t->embd, q);
    tiny_tensor(t, i, "attn_k.weight", t->embd, kv);
    tiny_tensor(t, i, "attn_v.weight", t->embd, kv);
    tiny_tensor(t, i, "attn_output.weight", q, t->embd);
    tiny_tensor(t, i, "ffn_norm.weight", t->embd, 1);
    tiny_tensor(t, i, "ffn_gate.weight", t->embd, t->ff);
    tiny_tensor(t, i, "ffn_up.weight", t->embd, t->ff);
    tiny_tensor(t, i, "ffn_down.weight", t->ff, t->embd);
    if (t->bias) tiny_tensor(t, i, "attn_q.bias", q, 1);
    if (t->bias) tiny_tensor(t, i, "attn_k.bias", kv, 1);
    if (t->bias) tiny_tensor(t, i, "attn_v.bias", kv, 1);
    if (t->qk_norm) tiny_tensor(t, i, "attn_q_norm.weight", t->head_dim, 1);
    if (t->qk_norm) tiny_tensor(t, i, "attn_k_norm.weight", t->head_dim, 1);
}

static void tiny_header(struct tiny *t)
{
    char key[96];

    if (!t->without || strcmp(t->without, "architecture"))
        gguf_write_str(&t->w, "general.architecture", str_c(t->arch));
    tiny_key(t, "context_length", 128);
    tiny_key(t, "block_count", t->layers_said);
    tiny_key(t, "embedding_length", t->embd);
    tiny_key(t, "feed_forward_length", t->ff);
    tiny_key(t, "attention.head_count", t->heads);
    tiny_key(t, "attention.head_count_kv", t->heads_kv);
    if (t->head_dim * t->heads != t->embd) {
        tiny_key(t, "attention.key_length", t->head_dim);
        tiny_key(t, "attention.value_length", t->head_dim);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", t->arch);
    if (!t->without || strcmp(t->without, "attention.layer_norm_rms_epsilon"))
        gguf_write_f32(&t->w, key, 1e-5f);
    if (t->keys) t->keys(&t->w);
}

/* Builds and parses; the caller calls tiny_fini() in every case. */
__attribute__((unused)) static enum err tiny_build(struct tiny *t, struct err_info *e)
{
    size_t data;
    const struct gguf_tensor *f;
    enum err r;

    gguf_write_init(&t->w);
    arena_init(&t->arena, MIB(64));
    buf_init(&t->bytes, MIB(64));
    tiny_header(t);
    tiny_tensor(t, -1, "token_embd.weight", t->embd, t->vocab);
    tiny_tensor(t, -1, "output_norm.weight", t->embd, 1);
    if (!t->tied) tiny_tensor(t, -1, "output.weight", t->embd, t->vocab);
    if (t->factors) tiny_tensor(t, -1, "rope_freqs.weight", t->head_dim / 2, 1);
    for (uint32_t i = 0; i < t->layers; i++)
        tiny_layer(t, (int)i);
    if (t->extra) tiny_tensor(t, -1, t->extra, t->embd, 2);
    if ((r = gguf_write_header(&t->w, &t->bytes, e))) return r;
    data = t->bytes.n;
    while (t->bytes.n < data + t->w.declared && !t->bytes.failed)
        buf_put(&t->bytes, (char[64]){0}, 32);
    r = gguf_parse(&t->g, &t->arena, (const uint8_t *)t->bytes.p, t->bytes.n, t->bytes.n, NULL, e);
    if (!r && (f = gguf_tensor(&t->g, S("rope_freqs.weight"))))
        for (uint64_t i = 0; i < f->dim[0]; i++)
            memcpy(t->bytes.p + f->offset + i * sizeof(float), &t->factor, sizeof(float));
    return r;
}

__attribute__((unused)) static void tiny_fini(struct tiny *t)
{
    gguf_write_fini(&t->w);
    buf_fini(&t->bytes);
    arena_fini(&t->arena);
}

#endif

/* tiny: a Llama-family model of random weights, written to a temporary GGUF file, for tests that
 * must not depend on data outside the tree.
 *
 * Always the same for the same options. Vocabulary: SPM with <unk>, <s>, </s>, the 256 byte tokens,
 * and two-letter words up to TINY_VOCAB. The caller removes the file.
 */
#ifndef TESTS_TINY_H
#define TESTS_TINY_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "model/dtype.h"

enum {
    TINY_VOCAB = 320,
    TINY_EMBD = 64,
    TINY_FF = 96,
    TINY_HEADS = 4,
    TINY_KV_HEADS = 2,
    TINY_LAYERS = 2,
    TINY_CTX = 512,
    TINY_BOS = 1,
    TINY_EOS = 2
};

struct tiny {
    enum dtype attn_q; /* of that tensor: F32, or any type by name to see it refused */
    bool always_ends;  /* the end token is always the likeliest */
};

struct tiny_tensor {
    char name[64];
    uint64_t cols, rows;
    enum dtype dtype;
    bool ones;
};

static void tiny_put(buf *b, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buf_ch(b, (char)(i < 8 ? v >> (8 * i) : 0));
}

static void tiny_name(buf *b, const char *s)
{
    tiny_put(b, strlen(s), 8);
    buf_c(b, s);
}

static void tiny_key(buf *b, const char *key, uint32_t type)
{
    tiny_name(b, key);
    tiny_put(b, type, 4);
}

static void tiny_u32(buf *b, const char *key, uint32_t v)
{
    tiny_key(b, key, 4);
    tiny_put(b, v, 4);
}

static void tiny_f32(buf *b, const char *key, float v)
{
    tiny_key(b, key, 6);
    buf_put(b, &v, sizeof v);
}

static void tiny_text(buf *b, const char *key, const char *v)
{
    tiny_key(b, key, 8);
    tiny_name(b, v);
}

static void tiny_array(buf *b, const char *key, uint32_t elem)
{
    tiny_key(b, key, 9);
    tiny_put(b, elem, 4);
    tiny_put(b, TINY_VOCAB, 8);
}

static void tiny_vocab(buf *b)
{
    static const char *const special[3] = {"<unk>", "<s>", "</s>"};
    tiny_array(b, "tokenizer.ggml.tokens", 8);
    for (int i = 0; i < TINY_VOCAB; i++) {
        char s[16];
        if (i < 3)
            snprintf(s, sizeof s, "%s", special[i]);
        else if (i < 259)
            snprintf(s, sizeof s, "<0x%02X>", (unsigned)(i - 3));
        else
            snprintf(s, sizeof s, "%s%c%c", i % 3 ? "" : "\xe2\x96\x81", 'a' + i % 26,
                     'a' + i / 7 % 26);
        tiny_name(b, s);
    }
    tiny_array(b, "tokenizer.ggml.scores", 6);
    for (int i = 0; i < TINY_VOCAB; i++) {
        float score = (float)-i;
        buf_put(b, &score, sizeof score);
    }
    tiny_array(b, "tokenizer.ggml.token_type", 5);
    for (int i = 0; i < TINY_VOCAB; i++)
        tiny_put(b, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1, 4);
}

static float tiny_gauss(uint64_t *state)
{
    float sum = 0; /* of four uniform numbers: near enough */
    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(*state >> 40) / (float)(1 << 24) - 0.5f;
    }
    return sum * 1.7320508f;
}

static void tiny_data(buf *b, const struct tiny_tensor *t, uint64_t *state)
{
    uint64_t row = 0;
    if (t->dtype != DTYPE_F32) {
        dtype_row_bytes(t->dtype, t->cols, &row);
        tiny_put(b, 0, (size_t)(row * t->rows));
    } else {
        float scale = 1.6f / sqrtf((float)t->cols);
        for (uint64_t i = 0; i < t->cols * t->rows; i++) {
            float v = t->ones ? 1.0f + 0.1f * tiny_gauss(state) : scale * tiny_gauss(state);
            /* words rather than bytes */
            if (strcmp(t->name, "output.weight") == 0 && i / t->cols < 259) v *= 0.3f;
            if (strcmp(t->name, "output.bias") == 0) v = i == TINY_EOS ? 1000.0f : 0.0f;
            buf_put(b, &v, sizeof v);
        }
    }
    while (b->n % 32)
        buf_ch(b, 0);
}

static uint32_t tiny_tensors(const struct tiny *o, struct tiny_tensor *t)
{
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } layer[] = {
        {"attn_norm", TINY_EMBD, 1},           {"attn_q", TINY_EMBD, TINY_EMBD},
        {"attn_k", TINY_EMBD, TINY_EMBD / 2},  {"attn_v", TINY_EMBD, TINY_EMBD / 2},
        {"attn_output", TINY_EMBD, TINY_EMBD}, {"ffn_norm", TINY_EMBD, 1},
        {"ffn_gate", TINY_EMBD, TINY_FF},      {"ffn_up", TINY_EMBD, TINY_FF},
        {"ffn_down", TINY_FF, TINY_EMBD},
    };
    uint32_t n = 0;
    t[n++] = (struct tiny_tensor){"token_embd.weight", TINY_EMBD, TINY_VOCAB, DTYPE_F32, false};
    t[n++] = (struct tiny_tensor){"output_norm.weight", TINY_EMBD, 1, DTYPE_F32, true};
    t[n++] = (struct tiny_tensor){"output.weight", TINY_EMBD, TINY_VOCAB, DTYPE_F32, false};
    if (o->always_ends)
        t[n++] = (struct tiny_tensor){"output.bias", TINY_VOCAB, 1, DTYPE_F32, false};
    for (int l = 0; l < TINY_LAYERS; l++)
        for (size_t i = 0; i < sizeof layer / sizeof layer[0]; i++, n++) {
            t[n] = (struct tiny_tensor){
                .cols = layer[i].cols, .rows = layer[i].rows, .ones = layer[i].rows == 1};
            snprintf(t[n].name, sizeof t[n].name, "blk.%d.%s.weight", l, layer[i].name);
            t[n].dtype = strcmp(layer[i].name, "attn_q") == 0 ? o->attn_q : DTYPE_F32;
        }
    return n;
}

/* Writes the model to a fresh file and its path to `path` [64]. False on failure. */
static bool tiny_write(const struct tiny *o, char *path)
{
    struct tiny_tensor t[4 + 9 * TINY_LAYERS];
    uint32_t n = tiny_tensors(o, t);
    uint64_t offset = 0, bytes = 0, state = 20;
    buf b = {.cap = (size_t)1 << 22};
    tiny_put(&b, 0x46554747u, 4);
    tiny_put(&b, 3, 4);
    tiny_put(&b, n, 8);
    tiny_put(&b, 17, 8);
    tiny_text(&b, "general.architecture", "llama");
    tiny_text(&b, "general.name", "tiny");
    tiny_u32(&b, "llama.vocab_size", TINY_VOCAB);
    tiny_u32(&b, "llama.context_length", TINY_CTX);
    tiny_u32(&b, "llama.embedding_length", TINY_EMBD);
    tiny_u32(&b, "llama.block_count", TINY_LAYERS);
    tiny_u32(&b, "llama.feed_forward_length", TINY_FF);
    tiny_u32(&b, "llama.attention.head_count", TINY_HEADS);
    tiny_u32(&b, "llama.attention.head_count_kv", TINY_KV_HEADS);
    tiny_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_u32(&b, "llama.rope.dimension_count", TINY_EMBD / TINY_HEADS);
    tiny_text(&b, "tokenizer.ggml.model", "llama");
    tiny_u32(&b, "tokenizer.ggml.bos_token_id", TINY_BOS);
    tiny_u32(&b, "tokenizer.ggml.eos_token_id", TINY_EOS);
    tiny_vocab(&b);
    for (uint32_t i = 0; i < n; i++) {
        tiny_name(&b, t[i].name);
        tiny_put(&b, t[i].rows == 1 ? 1 : 2, 4);
        tiny_put(&b, t[i].cols, 8);
        if (t[i].rows > 1) tiny_put(&b, t[i].rows, 8);
        tiny_put(&b, dtype_info(t[i].dtype)->ggml_id, 4);
        tiny_put(&b, offset, 8);
        dtype_row_bytes(t[i].dtype, t[i].cols, &bytes);
        offset += (bytes * t[i].rows + 31) / 32 * 32;
    }
    while (b.n % 32)
        buf_ch(&b, 0);
    for (uint32_t i = 0; i < n; i++)
        tiny_data(&b, &t[i], &state);
    snprintf(path, 64, "%s", "/tmp/rbee-tiny-XXXXXX");
    int fd = mkstemp(path);
    bool good = fd >= 0 && !b.failed && write(fd, b.p, b.n) == (ssize_t)b.n;
    if (fd >= 0) close(fd);
    buf_fini(&b);
    return good;
}

#endif

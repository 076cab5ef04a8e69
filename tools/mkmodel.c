/* mkmodel: writes a model with random weights in a real shape.
 *
 *   mkmodel SHAPE TYPE OUT.gguf [--seed N]
 *
 * For measuring speed and for tests: tensors, sizes and metadata are those of the named model, the
 * numbers are N(0, 0.02). A matrix of up to POOL elements gets values of its own. For larger ones a
 * pool of that many values is quantised once a type, and every row is a stretch of it that begins
 * at a random block, so a 7B file is written as fast as the disk takes it and all rows still
 * differ. The vocabulary is a complete SPM one: unknown, begin, end, 256 byte tokens, printable
 * characters, then made-up words.
 */
#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/gguf_write.h"
#include "model/meta.h"
#include "model/quant.h"

enum { POOL = 1 << 21 };

struct shape {
    const char *name, *arch;
    uint32_t vocab, ctx, layers, embd, ff, heads, heads_kv, head_dim;
    float rope_base, eps;
    bool tied, qk_norm, qkv_bias, llama3;
    uint32_t experts, used; /* 0: one dense feed-forward block a layer */
};

/* clang-format off */
static const struct shape shapes[] = {
    /* name           arch     vocab   ctx     L   embd  ff     h   kv  hd   base      eps    tied   norm   bias   llama3 experts */
    {"tinyllama-1.1b", "llama", 32000,  2048,   22, 2048, 5632,  32, 4,  64,  10000,    1e-5f, false, false, false, false, 0,  0},
    {"llama-3.2-1b",   "llama", 128256, 131072, 16, 2048, 8192,  32, 8,  64,  500000,   1e-5f, true,  false, false, true,  0,  0},
    {"qwen3-0.6b",     "qwen3", 151936, 40960,  28, 1024, 3072,  16, 8,  128, 1000000,  1e-6f, true,  true,  false, false, 0,  0},
    {"qwen2-0.5b",     "qwen2", 151936, 32768,  24, 896,  4864,  14, 2,  64,  1000000,  1e-6f, true,  false, true,  false, 0,  0},
    {"qwen3-1.7b",     "qwen3", 151936, 40960,  28, 2048, 6144,  16, 8,  128, 1000000,  1e-6f, true,  true,  false, false, 0,  0},
    {"qwen3-4b",       "qwen3", 151936, 40960,  36, 2560, 9728,  32, 8,  128, 1000000,  1e-6f, true,  true,  false, false, 0,  0},
    {"mistral-7b",     "llama", 32000,  32768,  32, 4096, 14336, 32, 8,  128, 10000,    1e-5f, false, false, false, false, 0,  0},
    {"llama-2-7b",     "llama", 32000,  4096,   32, 4096, 11008, 32, 32, 128, 10000,    1e-5f, false, false, false, false, 0,  0},
    {"granite-1b-a400m", "granitemoe", 49155, 131072, 24, 1024, 512, 16, 8, 64, 1500000, 1e-6f, true, false, false, false, 32, 8},
    {"olmoe-1b-7b",    "olmoe", 50304,  4096,   16, 2048, 1024,  16, 16, 128, 10000,    1e-5f, false, true,  false, false, 64, 8},
    {"tiny-llama",     "llama", 512,    512,    2,  256,  512,   4,  2,  64,  10000,    1e-5f, false, false, false, false, 0,  0},
    {"tiny-llama3",    "llama", 512,    512,    2,  256,  512,   4,  2,  64,  500000,   1e-5f, true,  false, false, true,  0,  0},
    {"tiny-qwen2",     "qwen2", 512,    512,    2,  256,  512,   4,  2,  64,  1000000,  1e-6f, true,  false, true,  false, 0,  0},
    {"tiny-qwen3",     "qwen3", 512,    512,    2,  256,  512,   4,  2,  128, 1000000,  1e-6f, true,  true,  false, false, 0,  0},
    {"tiny-odd",       "llama", 337,    256,    3,  96,   160,   3,  1,  32,  10000,    1e-5f, false, false, false, false, 0,  0},
};
/* clang-format on */

struct maker {
    const struct shape *s;
    struct quant_mix mix;
    struct gguf_write w;
    uint64_t state; /* of the generator */
    float *x;       /* [POOL] */
    uint8_t *pool[DTYPE_COUNT];
    bool writing; /* second pass: data; first pass: directory */
    struct err_info *e;
};

/* ---- numbers ---- */

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next(struct maker *m)
{
    uint64_t z = m->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Four uniform 16-bit numbers added: close enough to normal, no logarithm. */
static float normal(struct maker *m, float mean, float deviation)
{
    uint64_t r = next(m);
    float sum = (float)(r & 0xffff) + (float)(r >> 16 & 0xffff) + (float)(r >> 32 & 0xffff) +
                (float)(r >> 48);

    return mean + deviation * (sum / 65536 - 2) * 1.7320508f;
}

static void fill(struct maker *m, size_t n, float mean, float deviation)
{
    for (size_t i = 0; i < n; i++)
        m->x[i] = normal(m, mean, deviation);
}

/* ---- tensors ---- */

/* Rows of the pool of type t, each from a block of its own choosing. */
static enum err write_rows(struct maker *m, enum dtype t, uint64_t cols, uint64_t rows)
{
    const struct dtype_info *info = dtype_info(t);
    uint64_t row = cols / info->elems * info->bytes, starts = (POOL - cols) / info->elems + 1;
    enum err r = ERR_OK;

    if (!m->pool[t]) {
        m->pool[t] = mem_need((size_t)POOL / info->elems * info->bytes);
        fill(m, POOL, 0, 0.02f);
        quant_row(t, m->x, m->pool[t], POOL);
    }
    for (uint64_t i = 0; i < rows && !r; i++)
        r = gguf_write_data(&m->w, m->pool[t] + next(m) % starts * info->bytes, (size_t)row, m->e);
    return r;
}

/* The values of a tensor that the directory names. */
static enum err values(struct maker *m, enum dtype t, uint64_t cols, uint64_t rows, float mean,
                       float deviation)
{
    uint64_t n = cols * rows, bytes;
    uint8_t *blocks;
    enum err r;

    if ((r = gguf_write_align(&m->w, m->e))) return r;
    if (n > POOL) return write_rows(m, t, cols, rows);
    bytes = n / dtype_info(t)->elems * dtype_info(t)->bytes;
    blocks = mem_need((size_t)bytes);
    fill(m, (size_t)n, mean, deviation);
    quant_row(t, m->x, blocks, (size_t)n);
    r = gguf_write_data(&m->w, blocks, (size_t)bytes, m->e);
    mem_free(blocks);
    return r;
}

static enum err tensor(struct maker *m, const char *name, enum dtype t, uint64_t cols,
                       uint64_t rows, float mean, float deviation)
{
    const uint64_t dim[2] = {cols, rows};

    if (m->writing) return values(m, t, cols, rows, mean, deviation);
    gguf_write_tensor(&m->w, str_c(name), t, dim, rows > 1 ? 2 : 1);
    return ERR_OK;
}

static enum dtype type_of(const struct maker *m, const char *name, uint64_t cols)
{
    struct quant_model model = {.n_layer = m->s->layers,
                                .n_gqa = m->s->heads / m->s->heads_kv,
                                .n_expert = m->s->experts,
                                .tied = m->s->tied};

    return quant_mix_pick(&m->mix, str_c(name), &model, cols);
}

static enum err matrix(struct maker *m, const char *name, uint64_t cols, uint64_t rows)
{
    return tensor(m, name, type_of(m, name, cols), cols, rows, 0, 0.02f);
}

/* A matrix of each expert, one behind the other. */
static enum err experts(struct maker *m, const char *name, uint64_t cols, uint64_t rows)
{
    const uint64_t dim[3] = {cols, rows, m->s->experts};
    enum dtype t = type_of(m, name, cols);

    if (m->writing) return values(m, t, cols, rows * m->s->experts, 0, 0.02f);
    gguf_write_tensor(&m->w, str_c(name), t, dim, 3);
    return ERR_OK;
}

/* Where there are experts, blocks add little to what a token is, so that tokens choose different
 * ones, as those of trained models do. */
static enum err norm(struct maker *m, const char *name, uint64_t n)
{
    float mean = m->s->experts ? 0.02f : 1;

    return tensor(m, name, DTYPE_F32, n, 1, mean, 0.05f * mean);
}

static enum err bias(struct maker *m, const char *name, uint64_t n)
{
    return tensor(m, name, DTYPE_F32, n, 1, 0, 0.02f);
}

/* Llama 3's factors: slow pairs are stretched 32 times, fast ones not, with a ramp between them. */
static enum err rope_factors(struct maker *m)
{
    const struct shape *s = m->s;
    uint32_t n = s->head_dim / 2;
    enum err r = ERR_OK;

    if (!m->writing) return tensor(m, "rope_freqs.weight", DTYPE_F32, n, 1, 1, 0);
    r = gguf_write_align(&m->w, m->e);
    for (uint32_t i = 0; i < n && !r; i++) {
        double freq = pow((double)s->rope_base, -2.0 * i / s->head_dim);
        double turns = 8192 * freq / 6.283185307179586; /* in the original context */
        double smooth = (turns - 1) / (4 - 1);
        float f = turns < 1 ? 32 : turns > 4 ? 1 : (float)(1 / ((1 - smooth) / 32 + smooth));

        r = gguf_write_data(&m->w, &f, sizeof f, m->e);
    }
    return r;
}

static enum err layer(struct maker *m, uint32_t i)
{
    const struct shape *s = m->s;
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->heads_kv * s->head_dim;
    bool whole = str_eqc(str_c(s->arch), "olmoe"); /* norms over all heads together */
    char name[64];
    enum err r;

#define NAME(suffix) (snprintf(name, sizeof name, "blk.%u." suffix, i), name)
    if ((r = norm(m, NAME("attn_norm.weight"), s->embd)) ||
        (r = matrix(m, NAME("attn_q.weight"), s->embd, q)) ||
        (r = matrix(m, NAME("attn_k.weight"), s->embd, kv)) ||
        (r = matrix(m, NAME("attn_v.weight"), s->embd, kv)))
        return r;
    if (s->qkv_bias &&
        ((r = bias(m, NAME("attn_q.bias"), q)) || (r = bias(m, NAME("attn_k.bias"), kv)) ||
         (r = bias(m, NAME("attn_v.bias"), kv))))
        return r;
    if (s->qk_norm && ((r = norm(m, NAME("attn_q_norm.weight"), whole ? q : s->head_dim)) ||
                       (r = norm(m, NAME("attn_k_norm.weight"), whole ? kv : s->head_dim))))
        return r;
    if ((r = matrix(m, NAME("attn_output.weight"), q, s->embd)) ||
        (r = norm(m, NAME("ffn_norm.weight"), s->embd)))
        return r;
    if (s->experts) {
        if ((r = tensor(m, NAME("ffn_gate_inp.weight"), DTYPE_F32, s->embd, s->experts, 0, 0.5f)) ||
            (r = experts(m, NAME("ffn_gate_exps.weight"), s->embd, s->ff)) ||
            (r = experts(m, NAME("ffn_up_exps.weight"), s->embd, s->ff)))
            return r;
        return experts(m, NAME("ffn_down_exps.weight"), s->ff, s->embd);
    }
    if ((r = matrix(m, NAME("ffn_gate.weight"), s->embd, s->ff)) ||
        (r = matrix(m, NAME("ffn_up.weight"), s->embd, s->ff)))
        return r;
    return matrix(m, NAME("ffn_down.weight"), s->ff, s->embd);
#undef NAME
}

static enum err tensors(struct maker *m)
{
    const struct shape *s = m->s;
    enum err r;

    if ((r = matrix(m, "token_embd.weight", s->embd, s->vocab)) ||
        (r = norm(m, "output_norm.weight", s->embd)))
        return r;
    if (!s->tied && (r = matrix(m, "output.weight", s->embd, s->vocab))) return r;
    if (s->llama3 && (r = rope_factors(m))) return r;
    for (uint32_t i = 0; i < s->layers; i++)
        if ((r = layer(m, i))) return r;
    return ERR_OK;
}

/* ---- metadata ---- */

/* Word number k: letters in bijective base 26, two at least; every other one begins a word. */
static str word(uint32_t k, char out[16])
{
    char letters[8];
    size_t n = 0, at = 0;

    for (uint32_t v = k / 2 + 26; v != UINT32_MAX; v = v >= 26 ? v / 26 - 1 : UINT32_MAX)
        letters[n++] = (char)('a' + v % 26);
    if (k % 2 == 0) at = (size_t)snprintf(out, 16, "\xe2\x96\x81");
    while (n > 0)
        out[at++] = letters[--n];
    return (str){out, at};
}

static str token(uint32_t i, int32_t *type, char out[16])
{
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    enum {
        NORMAL = 1,
        UNKNOWN,
        CONTROL,
        BYTE = 6,
        FIRST_BYTE = 3,
        FIRST_CHAR = 259,
        FIRST_WORD = 354
    };

    if (i < FIRST_BYTE) {
        *type = i == 0 ? UNKNOWN : CONTROL;
        return str_c(special[i]);
    }
    *type = i < FIRST_CHAR ? BYTE : NORMAL;
    if (i < FIRST_CHAR) return (str){out, (size_t)snprintf(out, 16, "<0x%02X>", i - FIRST_BYTE)};
    if (i == FIRST_CHAR) return (str){out, (size_t)snprintf(out, 16, "\xe2\x96\x81")};
    if (i < FIRST_WORD) {
        out[0] = (char)('!' + (int)(i - FIRST_CHAR - 1));
        return (str){out, 1};
    }
    return word(i - FIRST_WORD, out);
}

static void vocabulary(struct maker *m)
{
    uint32_t n = m->s->vocab;
    str *tokens = mem_need(n * sizeof *tokens);
    float *scores = mem_need(n * sizeof *scores);
    int32_t *types = mem_need(n * sizeof *types);
    char(*text)[16] = mem_need(n * sizeof *text);

    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = token(i, &types[i], text[i]);
        scores[i] = i < 259 ? 0 : -(float)(i - 259);
    }
    gguf_write_str(&m->w, "tokenizer.ggml.model", S("llama"));
    gguf_write_str(&m->w, "tokenizer.ggml.pre", S("default"));
    gguf_write_strs(&m->w, "tokenizer.ggml.tokens", tokens, n);
    gguf_write_f32s(&m->w, "tokenizer.ggml.scores", scores, n);
    gguf_write_i32s(&m->w, "tokenizer.ggml.token_type", types, n);
    gguf_write_u32(&m->w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_write_u32(&m->w, "tokenizer.ggml.bos_token_id", 1);
    gguf_write_u32(&m->w, "tokenizer.ggml.eos_token_id", 2);
    gguf_write_bool(&m->w, "tokenizer.ggml.add_bos_token", true);
    gguf_write_bool(&m->w, "tokenizer.ggml.add_eos_token", false);
    mem_free(tokens);
    mem_free(scores);
    mem_free(types);
    mem_free(text);
}

static void metadata(struct maker *m)
{
    const struct shape *s = m->s;
    const struct {
        const char *key;
        uint32_t v;
    } numbers[] = {
        {"context_length", s->ctx},
        {"embedding_length", s->embd},
        {"block_count", s->layers},
        {"feed_forward_length", s->ff},
        {"attention.head_count", s->heads},
        {"attention.head_count_kv", s->heads_kv},
        {"attention.key_length", s->head_dim},
        {"attention.value_length", s->head_dim},
        {"rope.dimension_count", s->head_dim},
        {"vocab_size", s->vocab},
        {"expert_count", s->experts},
        {"expert_used_count", s->used},
    };
    char key[64];
    uint32_t file_type;

    gguf_write_str(&m->w, "general.architecture", str_c(s->arch));
    gguf_write_str(&m->w, "general.name", str_c(s->name));
    if (meta_file_type_from(str_c(m->mix.name), &file_type))
        gguf_write_u32(&m->w, "general.file_type", file_type);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!numbers[i].v) continue;
        snprintf(key, sizeof key, "%s.%s", s->arch, numbers[i].key);
        gguf_write_u32(&m->w, key, numbers[i].v);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", s->arch);
    gguf_write_f32(&m->w, key, s->eps);
    snprintf(key, sizeof key, "%s.rope.freq_base", s->arch);
    gguf_write_f32(&m->w, key, s->rope_base);
    vocabulary(m);
}

/* ---- program ---- */

static enum err make(struct maker *m, const char *path)
{
    enum err r;

    metadata(m);
    if ((r = tensors(m)) || (r = gguf_write_open(&m->w, path, m->e))) return r;
    m->writing = true;
    m->x = mem_need(POOL * sizeof *m->x);
    if ((r = tensors(m))) return r;
    return gguf_write_close(&m->w, m->e);
}

static int usage(void)
{
    fprintf(stderr, "usage: mkmodel SHAPE TYPE OUT.gguf [--seed N]\nshapes:");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        fprintf(stderr, " %s", shapes[i].name);
    fprintf(stderr, "\ntypes: f32 f16 bf16 q8_0 q4_0 q4_K q6_K ..., or a mix: Q4_K_M Q5_K_M\n");
    return err_exit(ERR_INVALID);
}

int main(int argc, char **argv)
{
    struct err_info e;
    struct maker m = {.e = &e};
    int64_t seed = 1;
    enum err r;

    if (argc != 4 &&
        !(argc == 6 && str_eqc(str_c(argv[4]), "--seed") && str_int(str_c(argv[5]), &seed)))
        return usage();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (str_eqc(str_c(argv[1]), shapes[i].name)) m.s = &shapes[i];
    if (!m.s || !quant_mix_from(str_c(argv[2]), &m.mix)) return usage();
    m.state = (uint64_t)seed;
    gguf_write_init(&m.w);
    r = make(&m, argv[3]);
    if (r) fprintf(stderr, "mkmodel: %s\n", e.text);
    gguf_write_fini(&m.w);
    mem_free(m.x);
    for (int t = 0; t < DTYPE_COUNT; t++)
        mem_free(m.pool[t]);
    return err_exit(r);
}

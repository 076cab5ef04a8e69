/* test_meta: the normal form of a model: its numbers, its defaults, and what is refused. */
#include "tap.h"

#include "unit/tiny_model.h"

static struct err_info e;

static enum err read(struct tiny *t, struct meta *m)
{
    enum err r = tiny_build(t, &e);

    return r ? r : meta_from_gguf(m, &t->arena, &t->g, &e);
}

static void refused(struct tiny t, enum err code, const char *words)
{
    struct meta m;
    enum err r = read(&t, &m);

    if (!ok(r == code && strstr(e.text, words), "refused: %s", words))
        printf("#   got %s: %s\n", err_name(r), r ? e.text : "");
    tiny_fini(&t);
}

static void more_keys(struct gguf_write *w)
{
    const int32_t ff[2] = {96, 96};

    gguf_write_str(w, "general.name", S("Tiny"));
    gguf_write_u32(w, "general.file_type", 15);
    gguf_write_str(w, "tokenizer.chat_template", S("{{ x }}"));
    gguf_write_str(w, "tokenizer.ggml.model", S("gpt2"));
    gguf_write_str(w, "tokenizer.ggml.pre", S("qwen2"));
    gguf_write_f32(w, "qwen2.rope.freq_base", 5000);
    gguf_write_u32(w, "qwen2.rope.dimension_count", 8);
    gguf_write_i32s(w, "qwen2.nothing", ff, 2);
}

static void test_numbers(void)
{
    struct tiny t = tiny_default("qwen2");
    struct meta m;

    t.keys = more_keys;
    t.tied = true;
    ok(!read(&t, &m), "a small qwen2 reads");
    ok(m.n_layer == 2 && m.n_embd == 64 && m.n_ff == 96 && m.n_head == 4 && m.n_head_kv == 2 &&
           m.head_dim == 16 && m.head_dim_v == 16 && m.n_vocab == 40 && m.n_ctx_train == 128,
       "its dimensions");
    ok(m.n_rot == 8 && m.rope_base == 5000 && m.rope_scaling == ROPE_NONE && m.rope_factor == 1,
       "its rotation");
    ok(m.tied_head && m.embed_scale == 1 && m.norm_eps == 1e-5f, "its head and scales");
    is_str(m.name, S("Tiny"), "its name");
    is_str(m.file_type, S("Q4_K_M"), "its file type");
    is_str(m.chat_template, S("{{ x }}"), "its template");
    is_str(m.tokenizer_pre, S("qwen2"), "its pre-tokenizer");
    is_int(m.main_dtype, DTYPE_F16, "most bytes are f16");
    is_int(m.n_params, 64 * 40 + 64 + 2 * (64 * 2 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96),
           "parameters");
    tiny_fini(&t);
}

static void linear_keys(struct gguf_write *w)
{
    gguf_write_f32(w, "llama.rope.scale_linear", 4);
}

static void yarn_keys(struct gguf_write *w)
{
    gguf_write_str(w, "llama.rope.scaling.type", S("yarn"));
    gguf_write_f32(w, "llama.rope.scaling.factor", 8);
    gguf_write_u32(w, "llama.rope.scaling.original_context_length", 64);
    gguf_write_f32(w, "llama.rope.scaling.yarn_beta_fast", 16);
    gguf_write_f32(w, "llama.rope.scaling.attn_factor", 1.5f);
}

static void test_rope(void)
{
    struct tiny t = tiny_default("llama");
    struct meta m;

    t.keys = linear_keys;
    ok(!read(&t, &m) && m.rope_scaling == ROPE_LINEAR && m.rope_factor == 4, "linear, the old key");
    tiny_fini(&t);
    t = tiny_default("llama");
    t.keys = yarn_keys;
    ok(!read(&t, &m) && m.rope_scaling == ROPE_YARN && m.rope_factor == 8 &&
           m.rope_orig_ctx == 64 && m.yarn_beta_fast == 16 && m.yarn_beta_slow == 1 &&
           m.yarn_ext_factor == 1 && m.yarn_attn_factor == 1.5f,
       "yarn");
    tiny_fini(&t);
    t = tiny_default("llama");
    t.factors = true;
    ok(!read(&t, &m) && m.rope_scaling == ROPE_LLAMA3, "llama3 by its tensor");
    tiny_fini(&t);
}

static void array_keys(struct gguf_write *w)
{
    const int32_t kv[2] = {2, 2};

    gguf_write_i32s(w, "llama.attention.head_count_kv", kv, 2);
}

static void uneven_keys(struct gguf_write *w)
{
    const int32_t kv[2] = {2, 4};

    gguf_write_i32s(w, "llama.attention.head_count_kv", kv, 2);
}

static void expert_keys(struct gguf_write *w)
{
    gguf_write_u32(w, "llama.expert_count", 8);
    gguf_write_u32(w, "llama.expert_used_count", 9);
}

static void group_keys(struct gguf_write *w)
{
    gguf_write_u32(w, "llama.expert_count", 8);
    gguf_write_u32(w, "llama.expert_used_count", 4);
    gguf_write_u32(w, "llama.expert_group_count", 4);
    gguf_write_u32(w, "llama.expert_group_used_count", 1);
}

static void gating_keys(struct gguf_write *w)
{
    gguf_write_u32(w, "llama.expert_gating_func", 9);
}

static void short_array_keys(struct gguf_write *w)
{
    const int32_t kv[1] = {2};

    gguf_write_i32s(w, "llama.attention.head_count_kv", kv, 1);
}

static void strange_rope_keys(struct gguf_write *w)
{
    gguf_write_str(w, "llama.rope.scaling.type", S("spiral"));
}

static void nan_keys(struct gguf_write *w)
{
    gguf_write_f32(w, "llama.rope.freq_base", NAN);
}

static void odd_keys(struct gguf_write *w)
{
    gguf_write_u32(w, "llama.rope.dimension_count", 7);
}

static void many_tokens_keys(struct gguf_write *w)
{
    str tokens[41] = {{0}};

    gguf_write_strs(w, "tokenizer.ggml.tokens", tokens, 41);
}

static void text_keys(struct gguf_write *w)
{
    gguf_write_str(w, "llama.rope.freq_base", S("10000"));
}

static void test_arrays(void)
{
    struct tiny t = tiny_default("llama");
    struct meta m;

    t.without = "attention.head_count_kv";
    ok(!read(&t, &m) && m.n_head_kv == 4, "without head_count_kv all heads have keys of their own");
    tiny_fini(&t);
    t.keys = array_keys;
    ok(!read(&t, &m) && m.n_head_kv == 2, "an array of equal values is one value");
    tiny_fini(&t);
    t.keys = uneven_keys;
    ok(!read(&t, &m) && m.n_head_kv == 4 && m.layers[0].n_head_kv == 2 &&
           m.layers[1].n_head_kv == 4,
       "layers may differ in their key heads");
    tiny_fini(&t);
}

static void test_refusals(void)
{
    static const char *const required[] = {
        "context_length",      "block_count",          "embedding_length",
        "feed_forward_length", "attention.head_count", "attention.layer_norm_rms_epsilon"};
    static const struct {
        void (*keys)(struct gguf_write *w);
        enum err code;
        const char *words;
    } bad[] = {
        {expert_keys, ERR_FORMAT, "9 of 8 experts"},
        {group_keys, ERR_FORMAT, "8 experts in 4 groups, 1 of them used: 4 experts"},
        {gating_keys, ERR_FORMAT, "'llama.expert_gating_func' is 9"},
        {strange_rope_keys, ERR_UNSUPPORTED, "RoPE scaling 'spiral' is not one"},
        {nan_keys, ERR_FORMAT, "'llama.rope.freq_base' is nan"},
        {odd_keys, ERR_FORMAT, "dimension_count' is 7"},
        {many_tokens_keys, ERR_FORMAT, "the tokenizer has 41 tokens"},
        {text_keys, ERR_FORMAT, "'llama.rope.freq_base' holds a value of type string"},
    };
    struct tiny t = tiny_default("llama");

    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        t.without = required[i];
        refused(t, ERR_FORMAT, required[i]);
    }
    t.without = "architecture";
    refused(t, ERR_FORMAT, "general.architecture");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        t = tiny_default("llama");
        t.keys = bad[i].keys;
        refused(t, bad[i].code, bad[i].words);
    }
    refused(tiny_default("xyz"), ERR_UNSUPPORTED,
            "architecture 'xyz' is not one this version runs; it runs llama, qwen2, qwen3");
    t = tiny_default("llama");
    t.layers_said = 1;
    refused(t, ERR_FORMAT, "belongs to layer 1, but 'llama.block_count' is 1");
    t = tiny_default("llama");
    t.layers_said = 2000;
    refused(t, ERR_FORMAT, "'llama.block_count' is 2000");
    t = tiny_default("llama");
    t.without = "attention.head_count_kv";
    t.keys = short_array_keys;
    refused(t, ERR_FORMAT, "has 1 values for 2 layers");
    t = tiny_default("llama");
    t.heads_kv = 3;
    refused(t, ERR_FORMAT, "4 attention heads cannot share 3");
    t = tiny_default("llama");
    t.extra = "blk.x.attn_q.weight";
    refused(t, ERR_FORMAT, "has no layer number");
}

static void test_tables(void)
{
    uint32_t id = 0;
    size_t n;

    ok(meta_file_type_from(S("q4_k_m"), &id) && id == 15, "a file type by name");
    ok(!meta_file_type_from(S("q9"), &id), "no such file type");
    ok(meta_file_type(5) == NULL && meta_file_type(UINT32_MAX) == NULL, "ids without a name");
    ok(!strcmp(meta_file_type(1024 + 7), "Q8_0"), "a guessed file type");
    family_all(&n);
    ok(n >= 3 && !family_find(S("llam")) && family_find(S("qwen3"))->rope == ROPE_HALVES,
       "families");
}

int main(void)
{
    test_numbers();
    test_rope();
    test_arrays();
    test_refusals();
    test_tables();
    return tap_end();
}

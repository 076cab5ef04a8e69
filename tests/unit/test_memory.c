/* What a model needs: the loader's arithmetic, and the prediction against what a worker's back end
 * and engine say they allocate, for the project's own golden models, opened, and for shapes of real
 * models from 0.5B to 7B, planned.
 */
#include "base/limits.h"
#include "base/map.h"
#include "compute/cpu/cpu.h"
#include "engine/engine.h"
#include "engine/load.h"
#include "model/hf.h"
#include "model/memory.h"
#include "tap.h"

/* ---- models opened ---- */

static uint64_t tensor_bytes(const void *owner, uint32_t file)
{
    const struct gguf *g = owner;
    return g->tensors[file].bytes;
}

static bool near(uint64_t a, uint64_t b, uint64_t slack)
{
    uint64_t most = a > b ? a : b, diff = a > b ? a - b : b - a;
    return diff <= most / 20 || diff <= slack;
}

static struct memory_conf conf_of(const struct engine_conf *c)
{
    return (struct memory_conf){.n_ctx = c->n_ctx,
                                .n_slots = c->n_slots,
                                .max_batch = c->max_batch,
                                .n_threads = c->n_threads,
                                .ktype = c->ktype,
                                .vtype = c->vtype,
                                .all_rows = c->want != ENGINE_AUTO};
}

static void opened(const char *path, const char *name, const struct engine_conf *conf)
{
    struct err_info e;
    struct engine *en;
    struct engine_stats st;
    if (engine_open(&en, path, conf, &e)) {
        ok(false, "%s opens: %s", name, e.text);
        return;
    }
    engine_stats(en, &st);
    const struct plan *p = engine_plan(en);
    struct memory_conf c = conf_of(conf);
    c.all_rows = engine_want(en) != ENGINE_LOGITS;
    memory_defaults(&c, engine_meta(en));
    memory_settle(&c, p, conf->max_batch != 0);
    struct memory_need n = memory_need(p, &c, memory_weights(p, tensor_bytes, engine_gguf(en)));
    bool good = n.weights == st.weight_bytes && n.kv == st.kv_bytes && n.n_blocks == st.kv_blocks &&
                near(n.compute, st.compute_bytes, MIB(2));
    if (!ok(good, "%s, context %u, %u slots: as predicted", name, c.n_ctx, c.n_slots))
        printf("#   predicted %llu + %llu + %llu, allocated %llu + %llu + %llu\n",
               (unsigned long long)n.weights, (unsigned long long)n.kv,
               (unsigned long long)n.compute, (unsigned long long)st.weight_bytes,
               (unsigned long long)st.kv_bytes, (unsigned long long)st.compute_bytes);
    engine_close(en);
}

static void test_opened(void)
{
    static const char *const names[] = {"llama-gqa8",   "gemma4",           "qwen35moe",
                                        "nemotron_h",   "deepseek2-groups", "modern-bert",
                                        "mamba2-groups"};
    char path[512];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct engine_conf a = {
            .backend = &cpu_backend, .n_threads = 2, .ktype = DTYPE_F16, .vtype = DTYPE_F16};
        struct engine_conf b = a;
        b.n_ctx = 128;
        b.n_slots = 3;
        b.ktype = b.vtype = DTYPE_F32;
        snprintf(path, sizeof path, "%s/tests/golden/families/%s/model.gguf", RBEE_SOURCE_DIR,
                 names[i]);
        opened(path, names[i], &a);
        opened(path, names[i], &b);
    }
    snprintf(path, sizeof path, "%s/models/rbee-tiny.gguf", RBEE_SOURCE_DIR);
    opened(path, "rbee-tiny",
           &(struct engine_conf){.backend = &cpu_backend,
                                 .n_threads = 2,
                                 .n_ctx = 512,
                                 .n_slots = 4,
                                 .ktype = DTYPE_Q8_0,
                                 .vtype = DTYPE_Q4_0});
}

/* ---- shapes planned ---- */

/* Tensors that a dense model or a mixture of the Llama kind has. */
struct shape {
    const char *name, *config;
    uint64_t embd, ff, q, kv, vocab, experts;
    bool bias, tied;
    enum dtype dtype;
};

static bool is_kind(str name, const char *end)
{
    return str_ends(name, str_c(end));
}

static bool find(const void *owner, str name, struct plan_tensor *t, const void **data)
{
    const struct shape *s = owner;
    static const struct {
        const char *end;
        int cols, rows; /* 1 embd, 2 ff, 3 q, 4 kv, 5 vocab, 6 experts; 0: a vector */
        bool moe, dense;
    } rows[] = {
        {"token_embd.weight", 1, 5, 1, 1},    {"attn_norm.weight", 1, 0, 1, 1},
        {"ffn_norm.weight", 1, 0, 1, 1},      {"output_norm.weight", 1, 0, 1, 1},
        {"attn_q.weight", 1, 3, 1, 1},        {"attn_k.weight", 1, 4, 1, 1},
        {"attn_v.weight", 1, 4, 1, 1},        {"attn_output.weight", 3, 1, 1, 1},
        {"ffn_gate.weight", 1, 2, 0, 1},      {"ffn_up.weight", 1, 2, 0, 1},
        {"ffn_down.weight", 2, 1, 0, 1},      {"ffn_gate_inp.weight", 1, 6, 1, 0},
        {"ffn_gate_exps.weight", 1, 2, 1, 0}, {"ffn_up_exps.weight", 1, 2, 1, 0},
        {"ffn_down_exps.weight", 2, 1, 1, 0},
    };
    const uint64_t dims[] = {1, s->embd, s->ff, s->q, s->kv, s->vocab, s->experts};
    if (data) *data = NULL;
    *t = (struct plan_tensor){.name = name, .n_parts = 1, .dtype = DTYPE_F32};
    if (is_kind(name, "output.weight") && !is_kind(name, "attn_output.weight")) {
        if (s->tied) return false;
        t->cols = s->embd;
        t->rows = s->vocab;
        t->dtype = s->dtype;
        return true;
    }
    for (size_t i = 0; i < 3 && s->bias; i++) {
        static const char *const b[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
        if (!is_kind(name, b[i])) continue;
        t->cols = i ? s->kv : s->q;
        t->rows = 1;
        return true;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!is_kind(name, rows[i].end) || !(s->experts ? rows[i].moe : rows[i].dense)) continue;
        t->cols = dims[rows[i].cols];
        t->rows = dims[rows[i].rows];
        if (rows[i].rows && rows[i].rows != 6) t->dtype = s->dtype;
        if (str_find(name, S("_exps"), 0) != SIZE_MAX) {
            t->n_parts = (uint32_t)s->experts;
            t->rows *= s->experts;
        }
        return true;
    }
    return false;
}

static str no_name(const void *owner, uint32_t i)
{
    (void)owner;
    (void)i;
    return S("");
}

static void planned(const struct shape *s, uint32_t n_ctx, uint32_t n_slots, uint32_t n_threads)
{
    struct plan_source src = {find, no_name, 1, s};
    struct memory_conf c = {.n_ctx = n_ctx,
                            .n_slots = n_slots,
                            .n_threads = n_threads,
                            .ktype = DTYPE_F16,
                            .vtype = DTYPE_F16};
    struct err_info e = {0};
    struct arena a;
    struct gguf g;
    struct meta m;
    struct plan p;
    arena_init(&a, MIB(64));
    if (hf_parse_config(&g, str_c(s->config), &e)) {
        ok(false, "%s: %s", s->name, e.text);
        return;
    }
    if (meta_from_gguf(&m, &a, &g, &e) ||
        plan_build(&p, &a, &m, &src, &(struct plan_conf){0}, &e) ||
        plan_fuse(&p, &a, cpu_backend.has, &e)) {
        ok(false, "%s: %s", s->name, e.text);
    } else {
        memory_defaults(&c, &m);
        memory_settle(&c, &p, false);
        struct memory_need n = memory_need(&p, &c, 0);
        struct dev_conf d = {.n_threads = n_threads,
                             .max_batch = c.max_batch,
                             .max_out = c.max_out,
                             .n_blocks = n.n_blocks,
                             .ktype = c.ktype,
                             .vtype = c.vtype};
        uint64_t dev = cpu_backend.bytes(&p, &d);
        if (!ok(near(n.total, dev, MIB(8)) && n.kv > 0,
                "%s, context %u, %u slots, %u threads: as predicted", s->name, c.n_ctx, c.n_slots,
                n_threads))
            printf("#   predicted %llu, the back end says %llu\n", (unsigned long long)n.total,
                   (unsigned long long)dev);
    }
    arena_fini(&a);
    gguf_close(&g);
}

static const struct shape shapes[] = {
    {"qwen2 0.5B, q4_K",
     "{\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_size\":896,\"num_hidden_layers\":24,"
     "\"num_attention_heads\":14,\"num_key_value_heads\":2,\"intermediate_size\":4864,"
     "\"vocab_size\":151936,\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-6,"
     "\"rope_theta\":1000000,\"tie_word_embeddings\":true}",
     896, 4864, 896, 128, 151936, 0, true, true, DTYPE_Q8_0},
    {"llama 8B, q4_K",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":4096,\"num_hidden_layers\":32,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"intermediate_size\":14336,"
     "\"vocab_size\":128256,\"max_position_embeddings\":131072,\"rms_norm_eps\":1e-5}",
     4096, 14336, 4096, 1024, 128256, 0, false, false, DTYPE_Q4_K},
    {"mixtral 8x7B, q8_0",
     "{\"architectures\":[\"MixtralForCausalLM\"],\"hidden_size\":4096,\"num_hidden_layers\":32,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"intermediate_size\":14336,"
     "\"vocab_size\":32000,\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-5,"
     "\"num_local_experts\":8,\"num_experts_per_tok\":2}",
     4096, 14336, 4096, 1024, 32000, 8, false, false, DTYPE_Q8_0},
};

static void test_planned(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        planned(&shapes[i], 4096, 1, 2);
        planned(&shapes[i], 2048, 16, 8);
        planned(&shapes[i], 32768, 2, 16);
    }
}

/* ---- rules ---- */

static void test_rules(void)
{
    static const struct plan_cache caches[] = {{8, 128, 128}};
    struct plan p = {.caches = caches, .n_caches = 1, .out = REG_LOGITS};
    struct memory_conf c = {.n_ctx = 4096, .n_slots = 4, .ktype = DTYPE_F16, .vtype = DTYPE_F16};
    is_int(memory_blocks(&p, &c), 512, "four sequences of 4096 are 512 blocks");
    is_int(memory_kv(&p, &c, 1), 32 * 8 * 256 * 2, "a block is 32 positions of all heads");
    c.kv_budget = MIB(1);
    is_int(memory_blocks(&p, &c), 128, "and never less than one sequence");
    c.kv_budget = MIB(32);
    is_int(memory_blocks(&p, &c), 256, "a budget buys what it buys");

    struct plan_cache many[] = {{64, 128, 128}};
    p.caches = many;
    struct meta m = {.n_ctx_train = 65536};
    c = (struct memory_conf){.n_ctx = 16384, .n_slots = 16, .ktype = DTYPE_F16, .vtype = DTYPE_F16};
    memory_defaults(&c, &m);
    is_int(memory_blocks(&p, &c), 16 * 512, "context and slots are asked for: all have room");
    c = (struct memory_conf){.n_ctx = 16384, .ktype = DTYPE_F16, .vtype = DTYPE_F16};
    memory_defaults(&c, &m);
    is_int(memory_kv(&p, &c, memory_blocks(&p, &c)), (uint64_t)2 << 30, "else they share 2 GiB");
    c = (struct memory_conf){.n_ctx = 16384, .n_slots = 16, .kv_budget = MIB(64)};
    memory_defaults(&c, &m);
    is_int(c.kv_budget, MIB(64), "a budget that is given stands");
    p.caches = caches;
    c = (struct memory_conf){.n_ctx = 4096,
                             .n_slots = 4,
                             .max_batch = 512,
                             .ktype = DTYPE_F16,
                             .vtype = DTYPE_F16,
                             .n_threads = 1};
    memory_settle(&c, &p, false);
    uint64_t all = memory_need(&p, &c, 1000).total;
    ok(memory_shrink(&p, &c, 1000, all) && c.n_slots == 4 && c.n_ctx == 4096, "what fits, stays");
    ok(memory_shrink(&p, &c, 1000, all - 1) && c.n_slots == 2 && c.n_ctx == 4096,
       "a byte short: fewer slots");
    ok(memory_shrink(&p, &c, 1000, all / 8) && c.n_slots == 1 && c.n_ctx < 4096,
       "much too large: a shorter context");
    ok(!memory_shrink(&p, &c, all, all), "weights that fill the memory leave no way");
    c.n_ctx = UINT32_MAX;
    c.n_slots = UINT32_MAX;
    ok(memory_kv(&p, &c, UINT64_MAX) == UINT64_MAX,
       "too many bytes to count are the most there are");
}

int main(void)
{
    test_rules();
    test_planned();
    test_opened();
    return tap_end();
}

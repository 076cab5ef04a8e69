/* test_plan: the compiled plan of a small model: invariants, shapes, fusion, rotation, the listing.
 *
 * The listings are kept in tests/golden/explain-*.txt; RBEE_WRITE_GOLDEN=1 writes them anew.
 */
#include "tap.h"

#include <dirent.h>

#include "base/map.h"
#include "model/plan_int.h"
#include "unit/tiny_model.h"

static struct err_info e;
static struct meta m;
static struct plan p;
static struct plan_conf conf;

static enum err compile(struct tiny *t)
{
    struct plan_source src;
    enum err r = tiny_build(t, &e);

    if (r || (r = meta_from_gguf(&m, &t->arena, &t->g, &e))) return r;
    src = gguf_source(&t->g);
    return plan_build(&p, &t->arena, &m, &src, &conf, &e);
}

static bool all_ops(enum op op, enum dtype w)
{
    (void)op;
    return w == DTYPE_F16 || w == DTYPE_F32;
}

static bool no_fused(enum op op, enum dtype w)
{
    (void)w;
    return op < OP_LINEAR2;
}

static bool only_two(enum op op, enum dtype w)
{
    (void)w;
    return op <= OP_LINEAR2;
}

static bool no_f16_linear(enum op op, enum dtype w)
{
    return op != OP_LINEAR || w != DTYPE_F16;
}

static bool fits(int w, uint64_t rows, uint64_t cols)
{
    return w == PLAN_NO_TENSOR || (w >= 0 && (uint32_t)w < p.n_tensors &&
                                   p.tensors[w].rows == rows && p.tensors[w].cols == cols);
}

/* Every register is written before it is read and no wider than its allocation, every index is
 * valid, every product's shape fits. */
static bool sound(void)
{
    uint32_t written = 0;

    for (uint32_t i = 0; i < p.n_steps; i++) {
        const struct plan_step *s = &p.steps[i];
        bool product =
            plan_op_weights(s->op) == PLAN_W_MAT && s->op != OP_HEADLIN && s->op != OP_EXPERT;

        if (plan_reads(s) & ~written) return false;
        written |= plan_writes(s);
        if (s->dst != REG_NONE && (s->n == 0 || s->n > p.width[s->dst])) return false;
        if (s->src != REG_NONE && (s->n_src == 0 || s->n_src > p.width[s->src])) return false;
        if (!product) continue;
        if (!fits(s->w, s->n, s->n_src)) return false;
        if (s->w2 != PLAN_NO_TENSOR && !fits(s->w2, p.tensors[s->w2].rows, s->n_src)) return false;
        if (s->w3 != PLAN_NO_TENSOR && !fits(s->w3, p.tensors[s->w3].rows, s->n_src)) return false;
    }
    return (written & 1u << p.out) != 0;
}

static int count(enum op op)
{
    int n = 0;

    for (uint32_t i = 0; i < p.n_steps; i++)
        n += p.steps[i].op == op;
    return n;
}

static void test_build(void)
{
    struct tiny t = tiny_default("llama");

    ok(!compile(&t), "a llama compiles");
    is_int(p.n_steps, 1 + 2 * 16 + 3, "its steps");
    is_int(p.n_tensors, 3 + 2 * 9, "its tensors");
    ok(sound(), "it is sound");
    ok(p.ropes[0].pairs && p.ropes[0].n_rot == 16, "llama rotates pairs");
    is_int(p.width[REG_LOGITS], 40, "columns of the logits");
    is_int((long)plan_kv_bytes_per_pos(&p, DTYPE_F16, DTYPE_F32), 2 * (32 * 2 + 32 * 4),
           "bytes of a position");
    is_int((long)plan_kv_bytes_per_pos(&p, DTYPE_Q8_0, DTYPE_Q8_0), 2 * 2 * 2 * 34,
           "the same in q8_0, each head rounded up to a block");
    ok(!plan_unsupported(&p, all_ops), "a back end with all ops runs it");
    ok(plan_unsupported(&p, no_f16_linear) && plan_unsupported(&p, no_f16_linear)->op == OP_LINEAR,
       "the first step that one without f16 cannot run");
    ok(p.steps[p.n_steps - 1].w != p.steps[0].w, "the head has a weight of its own");
    tiny_fini(&t);

    t = tiny_default("qwen3");
    t.qk_norm = t.tied = true;
    t.head_dim = 32;
    ok(!compile(&t) && sound(), "a qwen3 with heads wider than the embedding compiles");
    is_int(p.n_steps, 1 + 2 * 18 + 3, "its steps: two norms more a layer");
    ok(!p.ropes[0].pairs, "qwen3 rotates halves");
    is_int(p.steps[5].group, 32, "q is normalised head by head");
    is_str(p.tensors[p.steps[p.n_steps - 1].w].name, S("token_embd.weight"), "a tied head");
    tiny_fini(&t);

    t = tiny_default("qwen2");
    t.bias = true;
    ok(!compile(&t) && sound() && p.steps[2].b != PLAN_NO_TENSOR && p.steps[9].b == PLAN_NO_TENSOR,
       "biases are used where the file has them");
    tiny_fini(&t);
}

static void refused(struct tiny t, enum err code, const char *words)
{
    enum err r = compile(&t);

    if (!ok(r == code && strstr(e.text, words), "refused: %s", words))
        printf("#   got %s: %s\n", err_name(r), r ? e.text : "");
    tiny_fini(&t);
}

static void test_refusals(void)
{
    static const char *const names[] = {
        "token_embd.weight",   "output_norm.weight",       "blk.1.attn_norm.weight",
        "blk.0.attn_q.weight", "blk.1.attn_k.weight",      "blk.0.attn_v.weight",
        "blk.1.ffn_up.weight", "blk.1.attn_output.weight", "blk.0.ffn_down.weight"};
    struct tiny t = tiny_default("llama");

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        t.without = names[i];
        t.wrong_shape = NULL;
        refused(t, ERR_FORMAT, names[i]);
        if (i == 0) continue; /* its rows are the vocabulary */
        t.without = NULL;
        t.wrong_shape = names[i];
        refused(t, ERR_FORMAT, names[i]);
    }
    t = tiny_default("llama");
    t.bias = true;
    t.wrong_type = "blk.1.attn_k.bias";
    ok(!compile(&t) && sound(), "a bias may be of any type");
    tiny_fini(&t);
    t.wrong_type = NULL;
    t.wrong_shape = "blk.1.attn_k.bias";
    refused(t, ERR_FORMAT, "blk.1.attn_k.bias");
    t = tiny_default("qwen3");
    t.qk_norm = true;
    t.wrong_shape = "blk.0.attn_q_norm.weight";
    refused(t, ERR_FORMAT, "blk.0.attn_q_norm.weight");
    t = tiny_default("llama");
    t.extra = "blk.0.attn_sinks.weights";
    refused(t, ERR_UNSUPPORTED, "'blk.0.attn_sinks.weights' has no place");
    t = tiny_default("llama");
    t.factors = true;
    t.factor = 0;
    refused(t, ERR_FORMAT, "rope_freqs.weight' holds 0");
    t.factor = 2;
    t.wrong_shape = "rope_freqs.weight";
    refused(t, ERR_FORMAT, "rope_freqs.weight' has 16");
}

static void test_fuse(void)
{
    struct tiny t = tiny_default("llama");
    uint32_t n;

    ok(!compile(&t), "a llama to fuse");
    n = p.n_steps;
    ok(!plan_fuse(&p, &t.arena, no_fused, &e) && p.n_steps == n, "nothing to fuse with");
    ok(!plan_fuse(&p, &t.arena, only_two, &e) && sound(), "with pairs only it stays sound");
    ok(count(OP_LINEAR2) == 4 && p.n_steps == n - 4, "q with k, gate with up");
    tiny_fini(&t);

    t = tiny_default("qwen3");
    t.qk_norm = true;
    ok(!compile(&t) && !plan_fuse(&p, &t.arena, all_ops, &e) && sound(), "all fused is sound");
    ok(count(OP_LINEAR3) == 2 && count(OP_LINEAR_GLU) == 2 && count(OP_LINEAR_ADD) == 4 &&
           count(OP_LINEAR) == 1 && count(OP_ADD) == 0 && count(OP_GLU) == 0,
       "everything that can be fused is");
    tiny_fini(&t);

    t = tiny_default("llama");
    t.matrix = DTYPE_Q8_0;
    ok(!compile(&t) && !plan_fuse(&p, &t.arena, all_ops, &e) && p.n_steps == n,
       "weights that the fused op does not take stay apart");
    tiny_fini(&t);
}

/* ---- rotation ---- */

static void linear_keys(struct gguf_write *w)
{
    gguf_write_str(w, "llama.rope.scaling.type", S("linear"));
    gguf_write_f32(w, "llama.rope.scaling.factor", 4);
}

static void yarn_keys(struct gguf_write *w)
{
    gguf_write_str(w, "llama.rope.scaling.type", S("yarn"));
    gguf_write_f32(w, "llama.rope.scaling.factor", 4);
    gguf_write_u32(w, "llama.rope.scaling.original_context_length", 128);
}

static void broken_keys(struct gguf_write *w)
{
    gguf_write_str(w, "llama.rope.scaling.type", S("linear"));
    gguf_write_f32(w, "llama.rope.scaling.factor", 1e-9f);
}

static double freq(int i)
{
    return pow(10000, -2.0 * i / 16);
}

static bool close_to(double got, double want)
{
    return fabs(got - want) <= 2e-7 * fabs(want);
}

static void test_rope(void)
{
    struct tiny t = tiny_default("llama");
    bool good = true;

    ok(!compile(&t), "plain");
    for (int i = 0; i < 8; i++)
        good = good && close_to((double)p.ropes[0].freq[i], freq(i));
    ok(good && p.ropes[0].mscale == 1, "frequencies without scaling");
    tiny_fini(&t);

    t.keys = linear_keys;
    t.factors = true;
    ok(!compile(&t), "linear with factors");
    for (int i = 0; i < 8; i++)
        good = good && close_to((double)p.ropes[0].freq[i], freq(i) / 8);
    ok(good, "both divide");
    tiny_fini(&t);

    /* 16 columns, 128 positions, base 10^4: 32 turns at pair -0.39 -> 0, one turn at 2.62 -> 3. */
    t = tiny_default("llama");
    t.keys = yarn_keys;
    ok(!compile(&t), "yarn");
    for (int i = 0; i < 8; i++) {
        double keep = i >= 3 ? 0 : 1 - i / 3.0;

        good =
            good && close_to((double)p.ropes[0].freq[i], freq(i) * keep + freq(i) / 4 * (1 - keep));
    }
    ok(good, "fast pairs are kept, slow ones divided, with a ramp between");
    ok(close_to((double)p.ropes[0].mscale, 1 + 0.1 * log(4)), "q and k are lengthened");
    tiny_fini(&t);

    t.keys = broken_keys;
    refused(t, ERR_FORMAT, "RoPE base 10000 and factor 1e-09 give no usable frequency");
}

/* ---- listings ---- */

static void golden(const char *name, bool full)
{
    char path[1024];
    buf out = {.cap = MIB(1)};
    char *want = NULL;
    size_t n = 0;
    FILE *f;

    plan_explain(&p, full, &out);
    snprintf(path, sizeof path, "%s/tests/golden/%s", RBEE_SOURCE_DIR, name);
    if (getenv("RBEE_WRITE_GOLDEN") && (f = fopen(path, "wb"))) {
        fwrite(out.p, 1, out.n, f);
        fclose(f);
    }
    if (map_read_file(path, MIB(1), &want, &n, &e)) {
        ok(false, "%s", e.text);
    } else {
        str text = {want, n};

        is_str(buf_view(&out), text, name);
    }
    mem_free(want);
    buf_fini(&out);
}

static void test_explain(void)
{
    struct tiny t = tiny_default("llama");

    t.layers = t.layers_said = 4;
    ok(!compile(&t), "four equal layers");
    golden("explain-llama.txt", false);
    golden("explain-llama-full.txt", true);
    ok(!plan_fuse(&p, &t.arena, all_ops, &e), "fused");
    golden("explain-llama-fused.txt", false);
    tiny_fini(&t);
    t = tiny_default("qwen3");
    t.qk_norm = t.tied = t.bias = true;
    ok(!compile(&t), "a qwen3");
    golden("explain-qwen3.txt", false);
    tiny_fini(&t);
}

/* ---- real files ---- */

static void test_golden(void)
{
    const char *root = tap_data("golden");
    int good = 0, refusals = 0;
    struct dirent *x;
    DIR *d = root ? opendir(root) : NULL;

    if (!d) {
        skip("no golden data");
        return;
    }
    while ((x = readdir(d))) {
        char path[2048];
        struct arena a;
        struct gguf g;
        struct plan_source src;
        enum err r;
        str arch = {0};

        snprintf(path, sizeof path, "%s/%s/model.gguf", root, x->d_name);
        if (x->d_name[0] == '.' || gguf_open(&g, path, &e)) continue;
        arena_init(&a, MIB(16));
        src = gguf_source(&g);
        if (gguf_get_str(&g, "general.architecture", &arch, &e)) arch = (str){0};
        r = meta_from_gguf(&m, &a, &g, &e);
        conf.want = !r && (m.pooling || !m.causal) ? PLAN_HIDDEN : PLAN_LOGITS;
        if (!r) r = plan_build(&p, &a, &m, &src, &conf, &e);
        if (family_find(arch)) {
            if (r || !sound() || plan_fuse(&p, &a, all_ops, &e) || !sound())
                ok(false, "%s: %s", x->d_name, r ? e.text : "not sound");
            else
                good++;
        } else if (r == ERR_UNSUPPORTED) {
            refusals++;
        } else {
            ok(false, "%s: not refused as unsupported", x->d_name);
        }
        arena_fini(&a);
        gguf_close(&g);
    }
    closedir(d);
    ok(good > 90 && refusals == 0, "golden: %d files compile, %d are refused by name", good,
       refusals);
}

int main(void)
{
    test_build();
    test_refusals();
    test_fuse();
    test_rope();
    test_explain();
    test_golden();
    return tap_end();
}

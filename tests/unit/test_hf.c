/* test_hf: Hugging Face directories against the GGUF files with the same weights, crafted ones
 * against the answer worked out by hand, and the faults each of which must be named. */
#include "tap.h"

#include <dirent.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/hf.h"
#include "model/meta.h"
#include "model/source.h"

/* ---- golden directories ---- */

static bool is_qk(str name, bool *key)
{
    str rest = name;

    if (str_starts(name, S("blk."))) (void)str_cut(str_sub(name, 4, name.n), '.', &rest);
    *key = str_starts(rest, S("attn_k."));
    return *key || str_starts(rest, S("attn_q."));
}

/* The row of a GGUF tensor that holds row r of the directory's: pairs against halves. */
static uint64_t pair_row(uint64_t r, uint64_t head)
{
    uint64_t in = r % head, half = head / 2;

    return r - in + (in < half ? 2 * in : 2 * (in - half) + 1);
}

static bool same_shape(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
    return a->n_dims == b->n_dims && a->dim[0] == b->dim[0] && a->dim[1] == b->dim[1] &&
           a->dim[2] == b->dim[2] && a->dim[3] == b->dim[3];
}

/* Row r over all dimensions but the first, as floats. */
static void row_of(const struct gguf_tensor *t, uint64_t r, float *out)
{
    uint64_t row, third = r / t->dim[1];

    if (!dtype_row_bytes(t->dtype, t->dim[0], &row)) return;
    if (t->parts)
        dtype_dequant(t->dtype, t->parts[third] + r % t->dim[1] * row, out, t->dim[0]);
    else
        dtype_dequant(t->dtype, t->data + r * row, out, t->dim[0]);
}

static bool same_values(const struct gguf_tensor *a, const struct gguf_tensor *b, uint64_t head)
{
    uint64_t rows = a->dim[1] * a->dim[2] * a->dim[3];
    float x[512], y[512];

    if (a->dim[0] > 512) return false;
    for (uint64_t r = 0; r < rows; r++) {
        row_of(a, r, x);
        row_of(b, head ? pair_row(r, head) : r, y);
        for (uint64_t i = 0; i < a->dim[0]; i++)
            if (!(fabsf(x[i] - y[i]) <= 1e-6f * fabsf(y[i]))) return false;
    }
    return true;
}

static void check_tensors(const char *name, const struct gguf *hf, const struct gguf *g)
{
    bool halves = false, good = hf->n_tensors == g->n_tensors;
    uint32_t heads = 1;
    struct err_info e;
    char key[96];

    (void)!gguf_get_bool(hf, "rbee.rope.halves", &halves, &e);
    if (!good)
        printf("# %s: %llu tensors, %llu in GGUF\n", name, (unsigned long long)hf->n_tensors,
               (unsigned long long)g->n_tensors);
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i], *u = gguf_tensor(hf, t->name);
        bool is_key, fit = u && same_shape(u, t);
        uint64_t head = 0;

        if (fit && halves && is_qk(t->name, &is_key)) {
            str arch = {0};

            (void)!gguf_get_str(g, "general.architecture", &arch, &e);
            snprintf(key, sizeof key, "%.*s.attention.head_count%s", STR(arch),
                     is_key ? "_kv" : "");
            (void)!gguf_get_u32(g, key, &heads, &e);
            head = t->dim[1] / heads;
        }
        if (fit && same_values(u, t, head)) continue;
        printf("# %s: tensor %.*s %s\n", name, STR(t->name),
               !u    ? "is missing"
               : fit ? "has other values"
                     : "has another shape");
        good = false;
    }
    ok(good, "%s: tensors", name);
}

static bool same_kv(const struct gguf_kv *a, const struct gguf_kv *b)
{
    if (a->type != b->type || a->elem != b->elem || a->count != b->count) return false;
    if (a->elem != GGUF_STR) return a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
    for (uint64_t i = 0; i < a->count; i++)
        if (!str_eq(a->strs[i], b->strs[i])) return false;
    return true;
}

/* Keys of the architecture, both ways; the tokenizer's are not this module's. */
static bool compare_keys(const char *name, const struct gguf *a, const struct gguf *b)
{
    bool good = true;
    char key[128];

    for (uint64_t i = 0; i < a->n_kv; i++) {
        const struct gguf_kv *kv = &a->kv[i], *other;

        if (str_starts(kv->key, S("tokenizer.")) || str_starts(kv->key, S("rbee.")) ||
            (str_starts(kv->key, S("general.")) && !str_eq(kv->key, S("general.architecture"))))
            continue;
        snprintf(key, sizeof key, "%.*s", STR(kv->key));
        other = gguf_find(b, key);
        if (other && same_kv(kv, other)) continue;
        printf("# %s: key %s %s\n", name, key, other ? "differs" : "is on one side only");
        good = false;
    }
    return good;
}

/* ---- the same from headers ---- */

/* Of a file of weights its length and its header. */
static str first_bytes(const char *name, char *text, size_t n)
{
    uint64_t len = 0;

    if (!str_ends(str_c(name), S(".safetensors")) || n < 8) return (str){text, n};
    memcpy(&len, text, 8);
    return (str){text, n > 8 + len ? 8 + len : n};
}

static size_t read_files(const char *folder, struct hf_file *files, size_t most)
{
    DIR *d = opendir(folder);
    struct dirent *x;
    size_t n = 0;

    while (d && n < most && (x = readdir(d))) {
        char path[512], *text;
        struct err_info e;
        size_t bytes;

        snprintf(path, sizeof path, "%s/%s", folder, x->d_name);
        if (x->d_name[0] == '.' || map_read_file(path, MIB(64), &text, &bytes, &e)) continue;
        files[n].name = str_c(strcpy(mem_need(strlen(x->d_name) + 1), x->d_name));
        files[n].bytes = first_bytes(x->d_name, text, bytes);
        files[n++].size = bytes;
    }
    if (d) closedir(d);
    return n;
}

/* What headers cannot say: whether a product of 8-bit floats and their scales is exact in BF16. */
static bool same_tensor(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
    bool wider = a->dtype == DTYPE_BF16 && b->dtype == DTYPE_F32;
    bool made = str_starts(a->name, S("rope_")); /* from config.json */

    return str_eq(a->name, b->name) && same_shape(a, b) && (made || !b->data) && !b->parts &&
           ((a->dtype == b->dtype && a->bytes == b->bytes) || (wider && 2 * a->bytes == b->bytes));
}

/* Opens the folder by the headers of its files: the keys and the tensors of g, without values. */
static void check_headers(const char *name, const char *folder, const struct gguf *g)
{
    struct hf_file files[64];
    size_t n = read_files(folder, files, 64);
    struct err_info e = {0};
    struct gguf h;
    bool good = !hf_open_files(&h, "org/name", files, n, &e);

    if (!good) printf("# %s\n", e.text);
    good = good && h.n_tensors == g->n_tensors && h.file_bytes == g->file_bytes;
    for (uint64_t i = 0; good && i < g->n_tensors; i++)
        good = same_tensor(&g->tensors[i], &h.tensors[i]);
    ok(good && compare_keys(name, g, &h) && compare_keys(name, &h, g), "%s: by its headers alone",
       name);
    if (!e.code) gguf_close(&h);
    for (size_t i = 0; i < n; i++) {
        mem_free((void *)(uintptr_t)files[i].name.p);
        mem_free((void *)(uintptr_t)files[i].bytes.p);
    }
}

static void check_golden(const char *name)
{
    struct gguf hf, g;
    struct err_info e = {0};
    char rel[256];
    const char *folder, *file;
    enum err r;
    bool good;

    snprintf(rel, sizeof rel, "golden/%s/hf", name);
    folder = tap_data(rel);
    snprintf(rel, sizeof rel, "golden/%s/model.gguf", name);
    file = tap_data(rel);
    if (!folder || !file) return;
    r = source_open(&hf, folder, &e);
    if (!ok(r == ERR_OK, "%s: opens", name)) {
        printf("# %s\n", e.text);
        return;
    }
    check_headers(name, folder, &hf);
    r = source_open(&g, file, &e);
    ok(r == ERR_OK, "%s: its GGUF opens", name);
    if (!r) {
        check_tensors(name, &hf, &g);
        good = compare_keys(name, &hf, &g);
        ok(compare_keys(name, &g, &hf) && good, "%s: keys", name);
        gguf_close(&g);
    }
    gguf_close(&hf);
}

static void test_golden(void)
{
    const char *root = tap_data("golden");
    struct dirent **list;
    int n = root ? scandir(root, &list, NULL, alphasort) : -1;

    if (n < 0) {
        skip("no golden data here");
        return;
    }
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.') check_golden(list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

/* ---- config.json alone ---- */

/* The classes among the real configurations that are refused by name. */
static bool is_refused(const char *file)
{
    static const char *const none[] = {"gpt_j.json", "phi-3_5-vision.json", "qwen.json",
                                       "rwkv5_3b.json"};

    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (!strcmp(file, none[i])) return true;
    return false;
}

static uint32_t number(const struct gguf *g, const char *suffix)
{
    struct err_info e;
    uint32_t v = 0;
    char key[128];
    str arch = {0};

    (void)!gguf_get_str(g, "general.architecture", &arch, &e);
    snprintf(key, sizeof key, "%.*s.%s", STR(arch), suffix);
    (void)!gguf_get_u32(g, key, &v, &e);
    return v;
}

static void check_config(const char *folder, const char *file)
{
    struct err_info e = {0};
    struct gguf g;
    char path[512], *text;
    size_t n;
    enum err r;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (map_read_file(path, MIB(1), &text, &n, &e)) return;
    r = hf_parse_config(&g, (str){text, n}, &e);
    if (is_refused(file)) {
        ok(r == ERR_UNSUPPORTED && strstr(e.text, "of class '"), "%s: refused by name", file);
        if (!r) gguf_close(&g);
    } else if (ok(r == ERR_OK, "%s: has keys", file)) {
        ok(number(&g, "block_count") && number(&g, "embedding_length") &&
               number(&g, "context_length") && number(&g, "vocab_size") &&
               (number(&g, "attention.head_count") && number(&g, "feed_forward_length")),
           "%s: and all that a model has", file);
        gguf_close(&g);
    } else {
        printf("# %s\n", e.text);
    }
    mem_free(text);
}

static void test_configs(void)
{
    const char *folder = tap_data("hub/configs");
    struct dirent **list;
    int n = folder ? scandir(folder, &list, NULL, alphasort) : -1;

    if (n < 0) {
        skip("no configurations here");
        return;
    }
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.') check_config(folder, list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

/* ---- crafted directories ---- */

static char dir[64];

static void write_file(const char *name, const void *p, size_t n)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f) return;
    fwrite(p, 1, n, f);
    fclose(f);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void remove_file(const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    remove(path);
}

/* A SafeTensors file under construction: each tensor counts up from `first`. */
static struct {
    buf head, data;
    bool pad;
} st;

static void st_begin(void)
{
    buf_clear(&st.head);
    buf_clear(&st.data);
    buf_c(&st.head, "{");
}

static void st_head(const char *name, const char *type, const char *shape, size_t bytes)
{
    buf_printf(&st.head, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
               st.head.n > 1 ? "," : "", name, type, shape, st.data.n, st.data.n + bytes);
}

static void st_f32(const char *name, const char *shape, size_t n, float first)
{
    st_head(name, "F32", shape, 4 * n);
    for (size_t i = 0; i < n; i++) {
        float f = first + (float)i;

        buf_put(&st.data, &f, sizeof f);
    }
}

static void st_bytes(const char *name, const char *type, const char *shape, size_t n,
                     const uint8_t *p)
{
    st_head(name, type, shape, n);
    buf_put(&st.data, p, n);
}

static void st_end(const char *file)
{
    buf out = {.cap = MIB(4)};
    uint64_t len;

    buf_c(&st.head, "}");
    while (st.head.n % 8)
        buf_ch(&st.head, ' ');
    if (st.pad) buf_ch(&st.head, ' '); /* nothing is aligned behind it */
    len = st.head.n;
    buf_put(&out, &len, sizeof len);
    buf_str(&out, buf_view(&st.head));
    buf_str(&out, buf_view(&st.data));
    write_file(file, out.p, out.n);
    buf_fini(&out);
}

/* Is element i of the tensor what it must be? Rows run over all dimensions but the first. */
static bool is_value(const struct gguf *g, const char *name, uint64_t col, uint64_t row, float want)
{
    const struct gguf_tensor *t = gguf_tensor(g, str_c(name));
    float x[512];

    if (!t || t->dim[0] > 512 || col >= t->dim[0]) return false;
    row_of(t, row, x);
    if (x[col] == want) return true;
    printf("# %s[%llu][%llu] is %g, not %g\n", name, (unsigned long long)row,
           (unsigned long long)col, (double)x[col], (double)want);
    return false;
}

static bool opens(struct gguf *g, const char *what)
{
    struct err_info e = {0};
    enum err r = source_open(g, dir, &e);

    if (!ok(r == ERR_OK, "%s: opens", what)) printf("# %s\n", e.text);
    if (!r) check_headers(what, dir, g);
    return r == ERR_OK;
}

static void refuses(enum err code, const char *says, const char *what)
{
    struct err_info e = {0};
    struct gguf g;
    enum err r = source_open(&g, dir, &e);

    if (!ok(r == code && strstr(e.text, says), "refused: %s", what))
        printf("# %d: %s\n", (int)r, r ? e.text : "it opened");
    if (!r) gguf_close(&g);
}

#define NUMBERS                                                                                    \
    "\"vocab_size\":4,\"hidden_size\":4,\"num_hidden_layers\":1,\"num_attention_heads\":2,"        \
    "\"max_position_embeddings\":8,\"intermediate_size\":6"
#define CONFIG(class, more) "{\"architectures\":[\"" class "\"]," NUMBERS more "}"

static void test_layouts(void)
{
    struct gguf g;

    /* Rows grouped by key head, here 1 for each query: [q0 k0 v0 q1 k1 v1], head size 2. */
    write_text("config.json", CONFIG("BloomForCausalLM", ",\"n_head\":2"));
    st_begin();
    st_f32("transformer.h.0.self_attention.query_key_value.weight", "[12,4]", 48, 0);
    st_f32("transformer.h.0.self_attention.query_key_value.bias", "[12]", 12, 0);
    st_end("model.safetensors");
    if (opens(&g, "grouped q, k, v")) {
        ok(is_value(&g, "blk.0.attn_qkv.weight", 0, 0, 0) &&
               is_value(&g, "blk.0.attn_qkv.weight", 0, 2, 24) &&
               is_value(&g, "blk.0.attn_qkv.weight", 1, 4, 9) &&
               is_value(&g, "blk.0.attn_qkv.weight", 0, 8, 16),
           "all queries, then all keys, then all values");
        ok(is_value(&g, "blk.0.attn_qkv.bias", 2, 0, 6) &&
               is_value(&g, "blk.0.attn_qkv.bias", 4, 0, 2),
           "the bias likewise");
        gguf_close(&g);
    }
    write_text("config.json", CONFIG("InternLM2ForCausalLM", ",\"num_key_value_heads\":1"));
    st_begin();
    st_f32("model.layers.0.attention.wqkv.weight", "[8,4]", 32, 0);
    st_end("model.safetensors");
    if (opens(&g, "internlm2")) {
        ok(is_value(&g, "blk.0.attn_q.weight", 0, 3, 12) &&
               is_value(&g, "blk.0.attn_k.weight", 0, 0, 16) &&
               is_value(&g, "blk.0.attn_v.weight", 3, 1, 31),
           "wqkv is three tensors");
        gguf_close(&g);
    }
    write_text("config.json", CONFIG("BaichuanForCausalLM", ""));
    st_begin();
    st_f32("model.layers.0.self_attn.W_pack.weight", "[12,4]", 48, 0);
    st_end("model.safetensors");
    if (opens(&g, "baichuan")) {
        ok(is_value(&g, "blk.0.attn_q.weight", 0, 0, 0) &&
               is_value(&g, "blk.0.attn_k.weight", 0, 0, 16) &&
               is_value(&g, "blk.0.attn_v.weight", 0, 0, 32) && g.copied_bytes == 0,
           "W_pack is three tensors, where they lie");
        gguf_close(&g);
    }
    write_text("config.json", CONFIG("GPT2LMHeadModel", ",\"n_inner\":null"));
    st_begin();
    st_f32("h.0.mlp.c_fc.weight", "[4,16]", 64, 0);
    st_f32("h.0.mlp.c_fc.bias", "[16]", 16, 0);
    st_f32("h.0.attn.bias", "[1,1,8,8]", 64, 0);
    st_end("model.safetensors");
    if (opens(&g, "gpt2")) {
        ok(is_value(&g, "blk.0.ffn_up.weight", 0, 15, 15) &&
               is_value(&g, "blk.0.ffn_up.weight", 3, 1, 49) && g.n_tensors == 2,
           "matrices are transposed, masks dropped");
        gguf_close(&g);
    }
    write_text("config.json", CONFIG("NemotronForCausalLM", ""));
    st_begin();
    st_f32("model.norm.weight", "[4]", 4, 0);
    st_f32("model.norm.bias", "[4]", 4, 0);
    st_end("model.safetensors");
    if (opens(&g, "nemotron")) {
        ok(is_value(&g, "output_norm.weight", 3, 0, 4) && is_value(&g, "output_norm.bias", 3, 0, 3),
           "norms + 1, their biases as they are");
        gguf_close(&g);
    }
}

static void test_state_space(void)
{
    struct gguf g;

    write_text("config.json", "{\"architectures\":[\"Mamba2ForCausalLM\"],\"hidden_size\":4,"
                              "\"num_hidden_layers\":1,\"head_dim\":4,\"n_groups\":2,"
                              "\"conv_kernel\":4,\"state_size\":2,\"vocab_size\":4,"
                              "\"time_step_limit\":[0.0,Infinity]}");
    st_begin();
    st_f32("backbone.layers.0.mixer.A_log", "[2]", 2, 0);
    st_f32("backbone.layers.0.mixer.D", "[2]", 2, 5);
    st_f32("backbone.layers.0.mixer.dt_bias", "[2]", 2, 7);
    st_f32("backbone.layers.0.mixer.conv1d.weight", "[12,1,4]", 48, 0);
    st_f32("backbone.layers.0.mixer.conv1d.bias", "[12]", 12, 0);
    st_f32("backbone.layers.0.mixer.norm.weight", "[8]", 8, 0);
    st_end("model.safetensors");
    if (!opens(&g, "mamba2")) return;
    ok(is_value(&g, "blk.0.ssm_a", 0, 0, -1) && is_value(&g, "blk.0.ssm_a", 0, 1, -expf(1)),
       "A is -exp(A_log), a column");
    ok(is_value(&g, "blk.0.ssm_d", 0, 1, 6), "D is a column");
    ok(is_value(&g, "blk.0.ssm_conv1d.weight", 3, 11, 47), "the convolution is a matrix");
    ok(is_value(&g, "blk.0.ssm_norm.weight", 3, 1, 7), "the norm has a row for each group");
    ok(is_value(&g, "blk.0.ssm_dt.bias", 1, 0, 8), "dt_bias");
    is_int(number(&g, "ssm.time_step_rank"), 2, "as many heads as fit");
    gguf_close(&g);
}

static void test_experts(void)
{
    struct gguf g;
    const struct gguf_tensor *t;
    uint8_t blocks[2 * 2 * 16], scales[4] = {127, 128, 127, 128};

    write_text("config.json", CONFIG("Qwen3MoeForCausalLM", ",\"num_experts\":2,"
                                                            "\"num_experts_per_tok\":1,"
                                                            "\"moe_intermediate_size\":2"));
    st_begin();
    st_f32("model.layers.0.mlp.experts.gate_up_proj", "[2,4,4]", 32, 0);
    st_f32("model.layers.0.mlp.experts.down_proj", "[2,4,2]", 16, 0);
    st_end("model.safetensors");
    if (opens(&g, "stacked experts")) {
        ok(is_value(&g, "blk.0.ffn_gate_exps.weight", 0, 3, 20) &&
               is_value(&g, "blk.0.ffn_up_exps.weight", 0, 0, 8) &&
               is_value(&g, "blk.0.ffn_up_exps.weight", 0, 2, 24) && g.copied_bytes == 0,
           "gate and up, where they lie");
        t = gguf_tensor(&g, S("blk.0.ffn_up_exps.weight"));
        ok(t && t->dim[0] == 4 && t->dim[1] == 2 && t->dim[2] == 2, "a third dimension of experts");
        gguf_close(&g);
    }
    write_text("config.json", CONFIG("GptOssForCausalLM", ",\"num_local_experts\":1,"
                                                          "\"num_experts_per_tok\":1,"
                                                          "\"quantization_config\":"
                                                          "{\"quant_method\":\"mxfp4\"}"));
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (uint8_t)(i % 16 * 2 % 8 | (i % 16 * 2 % 8 + 1) << 4); /* codes 0..7 in turn */
    st_begin();
    st_bytes("model.layers.0.mlp.experts.gate_up_proj_blocks", "U8", "[1,2,2,16]", 64, blocks);
    st_bytes("model.layers.0.mlp.experts.gate_up_proj_scales", "U8", "[1,2,2]", 4, scales);
    st_f32("model.layers.0.mlp.experts.gate_up_proj_bias", "[1,4]", 4, 0);
    st_f32("model.layers.0.mlp.experts.down_proj", "[1,2,4]", 8, 0);
    st_end("model.safetensors");
    if (opens(&g, "gpt-oss")) {
        /* Codes 0..7 of E2M1 are 0 0.5 1 1.5 2 3 4 6; the scale 128 doubles. */
        ok(is_value(&g, "blk.0.ffn_gate_exps.weight", 1, 0, 0.5f) &&
               is_value(&g, "blk.0.ffn_gate_exps.weight", 7, 0, 6) &&
               is_value(&g, "blk.0.ffn_gate_exps.weight", 15, 0, 6) &&
               is_value(&g, "blk.0.ffn_up_exps.weight", 37, 0, 6) &&
               is_value(&g, "blk.0.ffn_up_exps.weight", 63, 0, 12),
           "MXFP4 in ggml's order, gate and up apart");
        ok(is_value(&g, "blk.0.ffn_gate_exps.bias", 1, 0, 2) &&
               is_value(&g, "blk.0.ffn_up_exps.bias", 1, 0, 3),
           "their biases, too");
        ok(is_value(&g, "blk.0.ffn_down_exps.weight", 1, 3, 7), "down is transposed");
        gguf_close(&g);
    }
}

/* "gelu" of a configuration is the exact one, but for Gemma, whose classes compute it by tanh. */
static void test_activation(void)
{
    static const struct {
        const char *config;
        enum family_act act;
    } cases[] = {
        {CONFIG("GPTNeoXForCausalLM", ",\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-5"),
         FFN_GELU_ERF},
        {CONFIG("GPTNeoXForCausalLM", ",\"hidden_act\":\"gelu_new\",\"layer_norm_eps\":1e-5"),
         FFN_GELU},
        {CONFIG("GemmaForCausalLM", ",\"hidden_act\":\"gelu\""), FFN_GELU},
        {CONFIG("LlamaForCausalLM", ",\"hidden_act\":\"silu\""), FFN_SILU},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gguf g = {0};
        struct err_info e;
        struct meta m;
        struct arena a;
        arena_init(&a, MIB(4));
        enum err r = hf_parse_config(&g, str_c(cases[i].config), &e);
        if (!r && !(r = meta_from_gguf(&m, &a, &g, &e)))
            ok(m.act == cases[i].act, "activation of configuration %zu", i);
        else
            ok(false, "configuration %zu: %s", i, e.text);
        if (g.n_kv) gguf_close(&g);
        arena_fini(&a);
    }
}

static void test_float8(void)
{
    static const uint8_t ones[8] = {0x38, 0x38, 0x38, 0x38, 0x40, 0x40, 0x40, 0x40}; /* E4M3 1, 2 */
    struct gguf g;
    const struct gguf_tensor *t;

    write_text("config.json", CONFIG("LlamaForCausalLM", ",\"quantization_config\":"
                                                         "{\"quant_method\":\"fp8\","
                                                         "\"weight_block_size\":[1,2]}"));
    st_begin();
    st_bytes("model.layers.0.mlp.up_proj.weight", "F8_E4M3", "[2,4]", 8, ones);
    st_f32("model.layers.0.mlp.up_proj.weight_scale_inv", "[2,2]", 4, 1);
    st_bytes("model.layers.0.mlp.gate_proj.weight", "F8_E4M3", "[2,4]", 8, ones);
    st_f32("model.layers.0.mlp.gate_proj.weight_scale", "[]", 1, 0.3f);
    st_f32("model.layers.0.mlp.gate_proj.input_scale", "[]", 1, 9);
    st_bytes("model.layers.0.mlp.down_proj.weight", "F8_E4M3", "[4,2]", 8, ones);
    st_f32("model.layers.0.mlp.down_proj.weight_scale", "[4,1]", 4, 1);
    st_bytes("model.layers.0.self_attn.o_proj.weight", "F8_E5M2", "[2,4]", 8, ones);
    st_end("model.safetensors");
    if (!opens(&g, "8-bit floats")) return;
    t = gguf_tensor(&g, S("blk.0.ffn_up.weight"));
    ok(t && t->dtype == DTYPE_BF16 && is_value(&g, "blk.0.ffn_up.weight", 1, 0, 1) &&
           is_value(&g, "blk.0.ffn_up.weight", 2, 0, 2) &&
           is_value(&g, "blk.0.ffn_up.weight", 0, 1, 6) &&
           is_value(&g, "blk.0.ffn_up.weight", 3, 1, 8),
       "scaled in blocks: multiplied out to BF16");
    t = gguf_tensor(&g, S("blk.0.ffn_gate.weight"));
    ok(t && t->dtype == DTYPE_F32 && is_value(&g, "blk.0.ffn_gate.weight", 0, 1, 2 * 0.3f),
       "a scale that BF16 cannot hold: F32");
    ok(is_value(&g, "blk.0.ffn_down.weight", 1, 3, 8), "a scale for each row");
    t = gguf_tensor(&g, S("blk.0.attn_output.weight"));
    ok(t && t->dtype == DTYPE_F8_E5M2 && is_value(&g, "blk.0.attn_output.weight", 0, 0, 0.5f),
       "unscaled: as it is");
    gguf_close(&g);
    st_begin();
    st_bytes("model.layers.0.mlp.up_proj.weight", "F8_E4M3", "[2,4]", 8, ones);
    st_f32("model.layers.0.mlp.up_proj.weight_scale_inv", "[3]", 3, 1);
    st_end("model.safetensors");
    refuses(ERR_FORMAT, "has 3 scales", "too few scales");
}

static void test_rope(void)
{
    struct gguf g;
    float f = 0;
    str type = {0};
    struct err_info e;

    st_begin();
    st_f32("model.norm.weight", "[4]", 4, 0);
    st_end("model.safetensors");
    write_text("config.json",
               CONFIG("LlamaForCausalLM", ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}"));
    if (opens(&g, "dynamic NTK")) {
        (void)!gguf_get_str(&g, "llama.rope.scaling.type", &type, &e);
        (void)!gguf_get_f32(&g, "llama.rope.scaling.factor", &f, &e);
        ok(str_eqc(type, "dynamic") && f == 4 &&
               number(&g, "rope.scaling.original_context_length") == 8,
           "its type, factor and context");
        gguf_close(&g);
    }
    write_text("config.json", CONFIG("LlamaForCausalLM",
                                     ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2,"
                                     "\"rope_theta\":5000,\"attention_factor\":1,"
                                     "\"original_max_position_embeddings\":4}"));
    if (opens(&g, "RoPE as transformers 5 writes it")) {
        (void)!gguf_get_f32(&g, "llama.rope.freq_base", &f, &e);
        ok(f == 5000, "its base");
        (void)!gguf_get_f32(&g, "llama.rope.scaling.attn_factor", &f, &e);
        ok(fabsf(f * (0.1f * logf(2) + 1) - 1) < 1e-6f, "its length is as stated");
        gguf_close(&g);
    }
    write_text("config.json",
               CONFIG("LlamaForCausalLM", ",\"rope_scaling\":{\"type\":\"spiral\",\"factor\":4}"));
    refuses(ERR_UNSUPPORTED, "'spiral'", "an unknown scaling");
    write_text("config.json",
               CONFIG("LlamaForCausalLM", ",\"rope_scaling\":{\"type\":\"linear\"}"));
    refuses(ERR_FORMAT, "a factor of 0", "a scaling without a factor");
    write_text("config.json",
               CONFIG("Phi3ForCausalLM", ",\"rope_scaling\":{\"type\":\"longrope\","
                                         "\"long_factor\":[1,2],\"short_factor\":[1]}"));
    refuses(ERR_FORMAT, "must be a list of 1", "factors of another length");
}

static void test_refused(void)
{
    static const struct {
        const char *what, *config, *says;
        enum err code;
    } configs[] = {
        {"broken config.json", "{\"a\":", "config.json: JSON ends", ERR_FORMAT},
        {"a list as config.json", "[]", "not an object", ERR_FORMAT},
        {"no architecture", "{}", "names no class", ERR_FORMAT},
        {"an unknown architecture", CONFIG("GPTJForCausalLM", ""), "class 'GPTJForCausalLM'",
         ERR_UNSUPPORTED},
        {"packed weights",
         CONFIG("LlamaForCausalLM", ",\"quantization_config\":"
                                    "{\"quant_method\":\"gptq\"}"),
         "quantised by 'gptq'", ERR_UNSUPPORTED},
        {"no hidden size", "{\"architectures\":[\"LlamaForCausalLM\"]}",
         "the hidden size is missing", ERR_FORMAT},
        {"a hidden size in words",
         "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":\"4\"}",
         "'hidden_size' is string", ERR_FORMAT},
        {"too many layers", CONFIG("LlamaForCausalLM", ",\"num_hidden_layers\":100000"),
         "layers is too large", ERR_FORMAT},
        {"more key heads than heads", CONFIG("LlamaForCausalLM", ",\"num_key_value_heads\":3"),
         "key heads is too large", ERR_FORMAT},
        {"a negative size", CONFIG("LlamaForCausalLM", ",\"head_dim\":-2"), "'head_dim' is",
         ERR_FORMAT},
    };

    st_begin();
    st_f32("model.norm.weight", "[4]", 4, 0);
    st_end("model.safetensors");
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        write_text("config.json", configs[i].config);
        refuses(configs[i].code, configs[i].says, configs[i].what);
    }
    write_text("config.json", CONFIG("LlamaForCausalLM", ""));
    st_begin();
    st_f32("model.layers.0.mlp.wings.weight", "[4]", 4, 0);
    st_end("model.safetensors");
    refuses(ERR_UNSUPPORTED, "has no place", "a tensor that nobody knows");
    st_begin();
    st_f32("model.layers.7.input_layernorm.weight", "[4]", 4, 0);
    st_end("model.safetensors");
    refuses(ERR_FORMAT, "belongs to layer 7", "a layer too many");
    st_begin();
    st_f32("model.norm.weight", "[4]", 4, 0);
    st_f32("norm.weight", "[4]", 4, 0);
    st_end("model.safetensors");
    refuses(ERR_FORMAT, "are both 'output_norm.weight'", "two names of one tensor");
    st_begin();
    st_f32("model.norm.weight", "[0]", 0, 0);
    st_end("model.safetensors");
    refuses(ERR_FORMAT, "has no elements", "an empty tensor");
    st_begin();
    st_bytes("model.layers.0.mlp.up_proj.weight", "I8", "[2,2]", 4, (const uint8_t *)"abcd");
    st_end("model.safetensors");
    refuses(ERR_UNSUPPORTED, "is stored as I8", "integers as weights");
    write_text("config.json", CONFIG("MixtralForCausalLM", ",\"num_key_value_heads\":2"));
    st_begin();
    st_f32("model.layers.0.block_sparse_moe.experts.0.w1.weight", "[2,2]", 4, 0);
    st_f32("model.layers.0.block_sparse_moe.experts.2.w1.weight", "[2,2]", 4, 0);
    st_end("model.safetensors");
    refuses(ERR_FORMAT, "part 1 of it is missing", "a missing expert");
    st_begin();
    st_f32("model.layers.0.block_sparse_moe.experts.0.w1.weight", "[2,2]", 4, 0);
    st_f32("model.layers.0.block_sparse_moe.experts.1.w1.weight", "[2,3]", 6, 0);
    st_end("model.safetensors");
    refuses(ERR_FORMAT, "different shapes", "experts of different shapes");
}

static void test_files(void)
{
    static const struct {
        const char *what, *index, *says;
    } indexes[] = {
        {"a broken index", "{", "model.safetensors.index.json: JSON ends"},
        {"an index without a map", "{\"weight_map\":{}}", "no object 'weight_map'"},
        {"a shard that is a path", "{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "plain names"},
        {"a shard below", "{\"weight_map\":{\"a\":\"x/y.safetensors\"}}", "plain names"},
        {"a hidden shard", "{\"weight_map\":{\"a\":\".safetensors\"}}", "plain names"},
        {"a shard that is no SafeTensors", "{\"weight_map\":{\"a\":\"config.json\"}}",
         "plain names"},
        {"a shard that is a number", "{\"weight_map\":{\"a\":1}}", "does not name a file"},
        {"a tensor that is not where it should be", "{\"weight_map\":{\"a\":\"one.safetensors\"}}",
         "but it is not"},
        {"a tensor in two shards",
         "{\"weight_map\":{\"model.norm.weight\":\"one.safetensors\","
         "\"norm.bias\":\"two.safetensors\"}}",
         "occurs in two shards"},
    };
    struct gguf g;

    remove_file("model.safetensors");
    write_text("config.json", CONFIG("LlamaForCausalLM", ""));
    refuses(ERR_NOMODEL, "neither model.safetensors", "a directory without weights");
    write_text("pytorch_model.bin", "x");
    refuses(ERR_UNSUPPORTED, "there is pytorch_model.bin", "a pickle");
    remove_file("pytorch_model.bin");
    st_begin();
    st_f32("model.norm.weight", "[4]", 4, 0);
    st_end("one.safetensors");
    st_f32("norm.bias", "[4]", 4, 0);
    st_begin();
    st_f32("model.norm.weight", "[4]", 4, 0);
    st_f32("norm.bias", "[4]", 4, 0);
    st_end("two.safetensors");
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        write_text("model.safetensors.index.json", indexes[i].index);
        refuses(ERR_FORMAT, indexes[i].says, indexes[i].what);
    }
    write_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"missing.safetensors\"}}");
    refuses(ERR_NOTFOUND, "missing.safetensors", "a shard that is not there");
    write_text("one.safetensors", "short");
    write_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"one.safetensors\"}}");
    refuses(ERR_FORMAT, "one.safetensors: not a SafeTensors file", "a shard that is none");
    remove_file("model.safetensors.index.json");
    remove_file("one.safetensors");
    remove_file("two.safetensors");
    st.pad = true;
    st_begin();
    st_f32("model.norm.weight", "[4]", 4, 1);
    st_f32("model.embed_tokens.weight", "[4,4]", 16, 1);
    st_end("model.safetensors");
    st.pad = false;
    write_text("tokenizer_config.json",
               "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"T\"},"
               "{\"name\":\"default\",\"template\":\"D\"}]}");
    if (opens(&g, "values that are not aligned")) {
        str text = {0};
        struct err_info e;

        ok(is_value(&g, "token_embd.weight", 3, 3, 16) &&
               is_value(&g, "output_norm.weight", 0, 0, 1) && g.copied_bytes == 80,
           "are copied");
        (void)!gguf_get_str(&g, "tokenizer.chat_template", &text, &e);
        is_str(text, S("D"), "the default chat template");
        gguf_close(&g);
    }
    remove_file("tokenizer_config.json");
}

/* Families that share a layout and have no directory among the golden ones: their names. */
static void test_names(void)
{
    static const struct {
        const char *class, *arch, *hf, *gguf;
    } rows[] = {
        {"Glm4MoeForCausalLM", "glm4moe", "model.layers.0.post_attention_layernorm.weight",
         "blk.0.post_attention_norm.weight"},
        {"Glm4MoeForCausalLM", "glm4moe", "model.layers.0.mlp.gate.e_score_correction_bias",
         "blk.0.exp_probs_b.bias"},
        {"Glm4ForCausalLM", "glm4", "model.layers.0.post_mlp_layernorm.weight",
         "blk.0.post_ffw_norm.weight"},
        {"Exaone4ForCausalLM", "exaone4", "model.layers.0.post_feedforward_layernorm.weight",
         "blk.0.post_ffw_norm.weight"},
        {"ExaoneForCausalLM", "exaone", "transformer.h.0.ln_2.weight", "blk.0.ffn_norm.weight"},
        {"ExaoneForCausalLM", "exaone", "transformer.h.0.attn.attention.out_proj.bias",
         "blk.0.attn_output.bias"},
        {"SeedOssForCausalLM", "seed_oss", "model.layers.0.post_attention_layernorm.weight",
         "blk.0.post_attention_norm.weight"},
        {"OrionForCausalLM", "orion", "model.norm.bias", "output_norm.bias"},
        {"ArceeForCausalLM", "arcee", "model.layers.0.input_layernorm.weight",
         "blk.0.attn_norm.weight"},
        {"Ernie4_5ForCausalLM", "ernie4_5", "model.layers.0.self_attn.q_proj.bias",
         "blk.0.attn_q.bias"},
        {"Lfm2ForCausalLM", "lfm2", "model.embedding_norm.weight", "token_embd_norm.weight"},
        {"Lfm2ForCausalLM", "lfm2", "model.layers.0.operator_norm.weight",
         "blk.0.attn_norm.weight"},
        {"CohereForCausalLM", "command-r", "model.layers.0.input_layernorm.weight",
         "blk.0.attn_norm.weight"},
        {"GPTBigCodeForCausalLM", "starcoder", "transformer.h.0.attn.c_attn.bias",
         "blk.0.attn_qkv.bias"},
        {"MPTForCausalLM", "mpt", "transformer.blocks.0.norm_2.weight", "blk.0.ffn_norm.weight"},
        {"GPTNeoXForCausalLM", "gptneox", "gpt_neox.layers.0.attention.dense.bias",
         "blk.0.attn_output.bias"},
        {"ChatGLMModel", "chatglm", "transformer.encoder.layers.0.post_attention_layernorm.weight",
         "blk.0.ffn_norm.weight"},
        {"BertModel", "bert", "bert.encoder.layer.0.attention.output.LayerNorm.beta",
         "blk.0.attn_output_norm.bias"},
        {"NomicBertModel", "nomic-bert", "encoder.layers.0.norm2.weight",
         "blk.0.layer_output_norm.weight"},
        {"JambaForCausalLM", "jamba", "model.layers.0.mamba.dt_layernorm.weight",
         "blk.0.ssm_dt_norm.weight"},
        {"Mistral3ForConditionalGeneration", "llama", "language_model.model.norm.weight",
         "output_norm.weight"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char config[512];
        struct gguf g;
        str arch = {0};
        struct err_info e;

        snprintf(config, sizeof config,
                 "{\"architectures\":[\"%s\"]," NUMBERS ",\"mamba_d_conv\":4,"
                 "\"mamba_d_state\":2,\"block_ff_dim\":6}",
                 rows[i].class);
        write_text("config.json", config);
        st_begin();
        st_f32(rows[i].hf, "[4]", 4, 0);
        st_end("model.safetensors");
        if (!opens(&g, rows[i].class)) continue;
        (void)!gguf_get_str(&g, "general.architecture", &arch, &e);
        ok(str_eqc(arch, rows[i].arch) && gguf_tensor(&g, str_c(rows[i].gguf)), "%s is %s of %s",
           rows[i].hf, rows[i].gguf, rows[i].arch);
        gguf_close(&g);
    }
}

static void test_crafted(void)
{
    snprintf(dir, sizeof dir, "/tmp/test_hf-XXXXXX");
    if (!mkdtemp(dir)) {
        skip("no temporary directory");
        return;
    }
    buf_init(&st.head, MIB(1));
    buf_init(&st.data, MIB(1));
    test_layouts();
    test_names();
    test_state_space();
    test_experts();
    test_activation();
    test_float8();
    test_rope();
    test_refused();
    test_files();
    remove_file("config.json");
    remove_file("model.safetensors");
    refuses(ERR_FORMAT, "is a directory", "a directory that is no model");
    rmdir(dir);
    buf_fini(&st.head);
    buf_fini(&st.data);
}

int main(void)
{
    test_golden();
    test_configs();
    test_crafted();
    return tap_end();
}

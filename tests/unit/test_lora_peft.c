/* test_lora_peft: adapters as PEFT saves them, against models with the same change made in their
 * weights.
 *
 * By PEFT's definition W becomes W + factor * B A. That is done here to the SafeTensors of small
 * Hugging Face directories, whose rows are in PEFT's order; the directory and the GGUF file that
 * llama.cpp's converter made of it must, with the adapter, give the logits of that.
 */
#include "model/lora.h"

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "engine/engine.h"
#include "model/safetensors.h"
#include "tap.h"
#include "lora_rows.h"

#include <unistd.h>

#define BASE RBEE_SOURCE_DIR "/tests/golden/families/llama-gqa8/model.gguf"
enum { MAX_SIDE = 128, MAX_RANK = 5, MAX_MODULES = 6 };

static uint64_t seed = 5;

static float noise(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / (float)(1 << 24) - 0.5f;
}

/* ---- adapters ---- */

struct module {
    const char *name;   /* as PEFT has it */
    const char *target; /* the tensor it changes, NULL: NAME.weight */
    uint64_t first;     /* row of it */
    uint64_t rows, cols;
    uint64_t rank;
    double factor;
    float a[MAX_RANK * MAX_SIDE], b[MAX_SIDE * MAX_RANK];
};

struct adapter {
    char dir[64];
    const char *conf; /* adapter_config.json */
    const char *word; /* between lora_A and weight: "." or ".default." */
    const char *kind; /* "lora_%c", or what stands in its place */
    struct module m[MAX_MODULES];
    int n;
    bool without_b;
};

static struct module *add(struct adapter *ad, const char *name, uint64_t rows, uint64_t cols,
                          uint64_t rank, double factor)
{
    struct module *m = &ad->m[ad->n++];
    ASSERT(ad->n <= MAX_MODULES && rows <= MAX_SIDE && cols <= MAX_SIDE && rank <= MAX_RANK);
    *m = (struct module){.name = name, .rows = rows, .cols = cols, .rank = rank, .factor = factor};
    for (uint64_t i = 0; i < rank * cols; i++)
        m->a[i] = noise();
    for (uint64_t i = 0; i < rows * rank; i++)
        m->b[i] = noise();
    return m;
}

static void put_file(const char *dir, const char *name, const void *p, size_t n)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    ASSERT(f && fwrite(p, 1, n, f) == n);
    fclose(f);
}

static void write_adapter(struct adapter *ad)
{
    static char head[8192], file[1 << 18];
    size_t n = 0, at = 0;
    for (int i = 0; i < 2 * ad->n - ad->without_b; i++) {
        const struct module *m = &ad->m[i / 2];
        bool b = i % 2;
        size_t bytes = (b ? m->rows : m->cols) * m->rank * sizeof(float);
        char kind[40];
        snprintf(kind, sizeof kind, "%s%c", ad->kind ? ad->kind : "lora_", b ? 'B' : 'A');
        n += (size_t)snprintf(head + n, sizeof head - n,
                              "%c\"base_model.model.%s.%s%sweight\":{\"dtype\":\"F32\",\"shape\":"
                              "[%d,%d],\"data_offsets\":[%zu,%zu]}",
                              i ? ',' : '{', m->name, kind, ad->word ? ad->word : ".",
                              (int)(b ? m->rows : m->rank), (int)(b ? m->rank : m->cols), at,
                              at + bytes);
        at += bytes;
    }
    head[n++] = '}';
    while (n % 8)
        head[n++] = ' ';
    ASSERT(n < sizeof head && 8 + n + at <= sizeof file);
    memcpy(file, &(uint64_t){n}, 8);
    memcpy(file + 8, head, n);
    at = 8 + n;
    for (int i = 0; i < 2 * ad->n - ad->without_b; i++) {
        const struct module *m = &ad->m[i / 2];
        size_t bytes = (i % 2 ? m->rows : m->cols) * m->rank * sizeof(float);
        memcpy(file + at, i % 2 ? m->b : m->a, bytes);
        at += bytes;
    }
    snprintf(ad->dir, sizeof ad->dir, "/tmp/rbee-peft-XXXXXX");
    ASSERT(mkdtemp(ad->dir));
    put_file(ad->dir, "adapter_model.safetensors", file, at);
    if (ad->conf) put_file(ad->dir, "adapter_config.json", ad->conf, strlen(ad->conf));
}

static void drop(const char *dir)
{
    static const char *const names[] = {"adapter_model.safetensors",
                                        "adapter_config.json",
                                        "model.safetensors",
                                        "config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json"};
    char path[200];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)remove(path);
    }
    (void)rmdir(dir);
}

/* ---- logits ---- */

static void compare(const char *what, const char *base, const char *merged, const char *dir)
{
    static const struct backend *const backends[] = {&ref_backend, &cpu_backend};
    static struct rows plain, want, got;
    const struct engine_lora lora = {dir, 0.5f};
    for (int i = 0; i < 2; i++) {
        struct err_info e = {0};
        bool good = logits(backends[i], base, NULL, 0, &plain, &e) == ERR_OK &&
                    logits(backends[i], merged, NULL, 0, &want, &e) == ERR_OK &&
                    logits(backends[i], base, &lora, 1, &got, &e) == ERR_OK;
        double off = distance(&got, &want), moved = distance(&plain, &want);
        ok(good && off < 1e-10 && moved > 1e-3, "%s, %s: NMSE %.1e of merged (plain %.1e) %s", what,
           backends[i]->name, off, moved, good ? "" : e.text);
    }
}

/* ---- merged weights ---- */

/* w[rows][cols] += 0.5 factor B A, where row r of the adapter is row[r] of w (NULL: r). */
static void merge(float *w, const struct module *m, const uint64_t *row)
{
    for (uint64_t r = 0; r < m->rows; r++)
        for (uint64_t c = 0; c < m->cols; c++) {
            double sum = 0;
            for (uint64_t k = 0; k < m->rank; k++)
                sum += (double)m->b[r * m->rank + k] * (double)m->a[k * m->cols + c];
            w[(row ? row[r] : r) * m->cols + c] += (float)(sum * m->factor * 0.5);
        }
}

/* A GGUF file of Llama's kind: rows of q and k are in pairs there, halves in PEFT. */
static void test_gguf(void)
{
    static struct adapter ad = {
        .conf = "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,\"bias\":\"none\","
                "\"rank_pattern\":{\"v_proj\":2,\"q.proj\":3},"
                "\"alpha_pattern\":{\"^model\\\\.layers\\\\.1\\\\.mlp\\\\.down_proj$\":12},"
                "\"modules_to_save\":null,\"fan_in_fan_out\":false,\"init_lora_weights\":true}"};
    const struct {
        const char *peft, *gguf;
        uint64_t rank;
        double factor;
        bool turned;
    } list[] = {{"model.layers.0.self_attn.q_proj", "blk.0.attn_q.weight", 3, 2, true},
                {"model.layers.1.self_attn.k_proj", "blk.1.attn_k.weight", 3, 2, true},
                {"model.layers.1.self_attn.v_proj", "blk.1.attn_v.weight", 2, 3, false},
                {"model.layers.1.mlp.down_proj", "blk.1.ffn_down.weight", 3, 4, false}};
    struct err_info e = {0};
    struct gguf g;
    char *bytes, path[] = "/tmp/rbee-merged-XXXXXX";
    uint32_t heads = 0;
    size_t n;
    ASSERT(gguf_open(&g, BASE, &e) == ERR_OK && map_read_file(BASE, 1 << 24, &bytes, &n, &e) == 0 &&
           gguf_get_u32(&g, "llama.attention.head_count", &heads, &e) == ERR_OK && heads);
    uint64_t dim = gguf_tensor(&g, S("blk.0.attn_q.weight"))->dim[1] / heads;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const struct gguf_tensor *t = gguf_tensor(&g, str_c(list[i].gguf));
        struct module *m =
            add(&ad, list[i].peft, t->dim[1], t->dim[0], list[i].rank, list[i].factor);
        uint64_t row[MAX_SIDE];
        for (uint64_t r = 0; r < m->rows; r++) {
            uint64_t in = r % dim;
            row[r] = r - in + (in < dim / 2 ? 2 * in : 2 * (in - dim / 2) + 1);
        }
        merge((float *)(void *)(bytes + t->offset), m, list[i].turned ? row : NULL);
    }
    int fd = mkstemp(path);
    ASSERT(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
    write_adapter(&ad);
    compare("llama-gqa8, a GGUF file", BASE, path, ad.dir);
    drop(ad.dir);
    remove(path);
    mem_free(bytes);
    gguf_close(&g);
}

static char *read_data(const char *model, const char *name, size_t *n)
{
    char rel[200], *p;
    struct err_info e;
    snprintf(rel, sizeof rel, "golden/%s/%s", model, name);
    const char *path = tap_data(rel);
    return path && map_read_file(path, 1 << 24, &p, n, &e) == ERR_OK ? p : NULL;
}

/* The directory of a model with the adapter in its weights. */
static void write_merged(const char *model, const struct adapter *ad, char dir[64])
{
    static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer_config.json"};
    struct safetensors st;
    struct arena a;
    struct err_info e;
    size_t n;
    char *bytes = read_data(model, "hf/model.safetensors", &n);
    arena_init(&a, MIB(64));
    ASSERT(bytes && safetensors_parse(&st, &a, (const uint8_t *)bytes, n, &e) == ERR_OK);
    for (int i = 0; i < ad->n; i++) {
        const struct module *m = &ad->m[i];
        char name[128];
        snprintf(name, sizeof name, "%s.weight", m->target ? m->target : m->name);
        const struct safetensors_tensor *t = safetensors_find(&st, str_c(name));
        ASSERT(t && t->dtype == DTYPE_F32 && t->dim[1] == m->cols);
        ASSERT(m->first + m->rows <= t->dim[0] && (m->target || m->rows == t->dim[0]));
        merge((float *)(void *)(bytes + (t->data - (uint8_t *)bytes)) + m->first * m->cols, m,
              NULL);
    }
    snprintf(dir, 64, "/tmp/rbee-merged-XXXXXX");
    ASSERT(mkdtemp(dir));
    put_file(dir, "model.safetensors", bytes, n);
    mem_free(bytes);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char rel[64];
        snprintf(rel, sizeof rel, "hf/%s", names[i]);
        if (!(bytes = read_data(model, rel, &n))) continue;
        put_file(dir, names[i], bytes, n);
        mem_free(bytes);
    }
    arena_fini(&a);
}

/* Both forms of a model with the adapter against the directory with merged weights. */
static void test_golden(const char *model, struct adapter *ad)
{
    char rel[200], path[300], merged[64], what[80];
    snprintf(rel, sizeof rel, "golden/%s/hf/model.safetensors", model);
    if (!tap_data(rel)) {
        skip("no golden data here");
        return;
    }
    write_adapter(ad);
    write_merged(model, ad, merged);
    for (int i = 0; i < 2; i++) {
        snprintf(rel, sizeof rel, "golden/%s/%s", model, i ? "hf" : "model.gguf");
        snprintf(path, sizeof path, "%s", tap_data(rel));
        snprintf(what, sizeof what, "%s, %s", model, i ? "a directory" : "a GGUF file");
        compare(what, path, merged, ad->dir);
    }
    drop(merged);
    drop(ad->dir);
}

static void test_goldens(void)
{
    static const char rs[] = "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":6,"
                             "\"use_rslora\":true,\"bias\":\"none\"}";
    static struct adapter llama = {.conf = rs, .word = ".default."}, fused = {.conf = rs},
                          apart = {.conf = rs}, falcon = {.conf = rs};
    add(&llama, "model.layers.0.self_attn.q_proj", 32, 32, 4, 3);
    add(&llama, "model.layers.1.self_attn.k_proj", 16, 32, 4, 3);
    add(&llama, "model.layers.1.mlp.up_proj", 48, 32, 4, 3);
    test_golden("llama", &llama);
    add(&fused, "model.layers.0.self_attn.qkv_proj", 64, 32, 4, 3);
    add(&fused, "model.layers.1.mlp.gate_up_proj", 96, 32, 4, 3);
    test_golden("phi3", &fused);
    static const char qkv[] = "model.layers.0.self_attn.qkv_proj";
    add(&apart, "model.layers.0.self_attn.q_proj", 32, 32, 4, 3)->target = qkv;
    struct module *m = add(&apart, "model.layers.0.self_attn.k_proj", 16, 32, 4, 3);
    m->target = qkv, m->first = 32;
    m = add(&apart, "model.layers.0.self_attn.v_proj", 16, 32, 4, 3);
    m->target = qkv, m->first = 48;
    test_golden("phi3", &apart);
    add(&falcon, "transformer.h.0.self_attention.query_key_value", 64, 32, 4, 3);
    add(&falcon, "transformer.h.1.mlp.dense_4h_to_h", 32, 128, 4, 3);
    test_golden("falcon-40b", &falcon);
}

/* ---- refusals ---- */

static void refused(struct adapter *ad, enum err want, const char *word)
{
    static struct rows r;
    const struct engine_lora lora = {ad->dir, 0.5f};
    struct err_info e = {0};
    struct lora l;
    write_adapter(ad);
    enum err err = logits(&ref_backend, BASE, &lora, 1, &r, &e);
    ok(err == want && strstr(e.text, word) && strstr(e.text, ad->dir), "refused: %s", e.text);
    /* Without a model no more is refused than with one. */
    if (lora_open(&l, ad->dir, 1, NULL, &e) == ERR_OK) lora_close(&l);
    drop(ad->dir);
}

static void refused_conf(const char *members, enum err want, const char *word)
{
    static struct adapter ad;
    char conf[300];
    snprintf(conf, sizeof conf, "{\"r\":2,\"lora_alpha\":2,%s}", members);
    ad = (struct adapter){.conf = conf};
    add(&ad, "model.layers.0.self_attn.q_proj", 32, 32, 2, 1);
    refused(&ad, want, word);
}

static void refused_module(const char *name, uint64_t rows, uint64_t rank, enum err want,
                           const char *word)
{
    static struct adapter ad;
    ad = (struct adapter){.conf = "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":2}"};
    add(&ad, name, rows, 32, rank, 1);
    refused(&ad, want, word);
}

static void test_refusals(void)
{
    static struct adapter ad;
    refused_conf("\"peft_type\":\"LOHA\"", ERR_UNSUPPORTED, "LOHA");
    refused_conf("\"peft_type\":\"LORA\",\"use_dora\":true", ERR_UNSUPPORTED, "use_dora");
    refused_conf("\"peft_type\":\"LORA\",\"bias\":\"all\"", ERR_UNSUPPORTED, "'bias'");
    refused_conf("\"peft_type\":\"LORA\",\"modules_to_save\":[\"lm_head\"]", ERR_UNSUPPORTED,
                 "modules_to_save");
    refused_conf("\"peft_type\":\"LORA\",\"init_lora_weights\":\"pissa\"", ERR_UNSUPPORTED,
                 "pissa");
    refused_conf("\"peft_type\":\"LORA\",\"alpha_pattern\":{\"layers.[01].q\":1}", ERR_UNSUPPORTED,
                 "regular expression");
    refused_conf("\"peft_type\":\"LORA\",\"rank_pattern\":{\"q_proj\":3}", ERR_FORMAT, "rank 2");
    refused_conf("\"peft_type\":\"LORA\",\"lora_alpha\":\"2\"", ERR_FORMAT, "lora_alpha");
    refused_conf("\"peft_type\":\"LORA\",", ERR_FORMAT, "adapter_config.json");
    refused_module("model.layers.9.self_attn.q_proj", 32, 2, ERR_INVALID, "layer 9");
    refused_module("model.layers.0.self_attn.x_proj", 32, 2, ERR_UNSUPPORTED, "x_proj");
    refused_module("model.layers.0.mlp.experts.1.up_proj", 32, 2, ERR_UNSUPPORTED, "expert");
    refused_module("model.layers.0.self_attn.q_proj", 24, 2, ERR_FORMAT, "do not fit");
    refused_module("model.layers.0.self_attn.v_proj", 96, 2, ERR_FORMAT, "do not fit");
    refused_module("model.layers.0.self_attn.q_proj", 32, 3, ERR_FORMAT, "has rank 3");
    refused_module("model.embed_tokens", 32, 2, ERR_UNSUPPORTED, "token_embd");
    ad = (struct adapter){.conf = "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":2}",
                          .kind = "lora_embedding_"};
    add(&ad, "model.embed_tokens", 32, 32, 2, 1);
    refused(&ad, ERR_UNSUPPORTED, "embeddings");
    ad.kind = NULL;
    ad.without_b = true;
    refused(&ad, ERR_FORMAT, "no lora_B");
    ad.without_b = false;
    ad.conf = NULL;
    refused(&ad, ERR_INVALID, "no adapter_config.json");
}

int main(void)
{
    test_gguf();
    test_goldens();
    test_refusals();
    return tap_end();
}

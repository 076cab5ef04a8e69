/* test_lora: adapters against models with the same change made in their weights.
 *
 * The base is a tiny model of tests/golden/families in F32. An adapter of random matrices is
 * written as a GGUF file; scale * alpha / rank * B A is added to the weights of a copy of the base;
 * both must give the same logits.
 */
#include "model/lora.h"

#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "engine/engine.h"
#include "model/gguf_write.h"
#include "tap.h"
#include "lora_rows.h"

#include <unistd.h>

#define BASE RBEE_SOURCE_DIR "/tests/golden/families/llama-gqa8/model.gguf"
enum { RANK = 3, MAX_SIDE = 128, MAX_PAIRS = 4 };

static uint64_t seed = 5;

static float noise(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / (float)(1 << 24) - 0.5f;
}

/* One pair: B A for a tensor of the base. */
struct pair {
    const char *name;
    uint64_t cols, rows;
    float a[RANK * MAX_SIDE], b[MAX_SIDE * RANK];
};

struct adapter {
    char path[64];
    float alpha;
    struct pair pairs[MAX_PAIRS];
    uint32_t n;
    const char *arch, *type; /* NULL: those that are right */
};

static void adapter_add(struct adapter *ad, const struct gguf *g, const char *name)
{
    struct pair *m = &ad->pairs[ad->n++];
    const struct gguf_tensor *t = gguf_tensor(g, str_c(name));
    *m = (struct pair){.name = name, .cols = t ? t->dim[0] : 32, .rows = t ? t->dim[1] : 32};
    ASSERT(m->cols <= MAX_SIDE && m->rows <= MAX_SIDE);
    for (uint64_t i = 0; i < RANK * m->cols; i++)
        m->a[i] = noise();
    for (uint64_t i = 0; i < m->rows * RANK; i++)
        m->b[i] = noise();
}

static void put(struct gguf_write *w, const struct pair *m, bool b, bool data)
{
    struct err_info e;
    uint64_t dim[2] = {b ? RANK : m->cols, b ? m->rows : RANK};
    char name[96];
    snprintf(name, sizeof name, "%s.lora_%c", m->name, b ? 'b' : 'a');
    if (!data) {
        gguf_write_tensor(w, str_c(name), DTYPE_F32, dim, 2);
        return;
    }
    ASSERT(gguf_write_align(w, &e) == ERR_OK);
    ASSERT(gguf_write_data(w, b ? m->b : m->a, dim[0] * dim[1] * sizeof(float), &e) == ERR_OK);
}

static void adapter_write(struct adapter *ad)
{
    struct gguf_write w;
    struct err_info e;
    gguf_write_init(&w);
    gguf_write_str(&w, "general.architecture", str_c(ad->arch ? ad->arch : "llama"));
    gguf_write_str(&w, "general.type", str_c(ad->type ? ad->type : "adapter"));
    gguf_write_str(&w, "adapter.type", S("lora"));
    gguf_write_f32(&w, "adapter.lora.alpha", ad->alpha);
    for (uint32_t i = 0; i < 2 * ad->n; i++)
        put(&w, &ad->pairs[i / 2], i % 2, false);
    snprintf(ad->path, sizeof ad->path, "/tmp/rbee-lora-XXXXXX");
    close(mkstemp(ad->path));
    ASSERT(gguf_write_open(&w, ad->path, &e) == ERR_OK);
    for (uint32_t i = 0; i < 2 * ad->n; i++)
        put(&w, &ad->pairs[i / 2], i % 2, true);
    ASSERT(gguf_write_close(&w, &e) == ERR_OK);
    gguf_write_fini(&w);
}

/* Adds what an adapter does to the bytes of the base. */
static void merge(const struct gguf *g, char *bytes, const struct adapter *ad, float scale)
{
    for (uint32_t i = 0; i < ad->n; i++) {
        const struct pair *m = &ad->pairs[i];
        float *w = (float *)(void *)(bytes + gguf_tensor(g, str_c(m->name))->offset);
        for (uint64_t r = 0; r < m->rows; r++)
            for (uint64_t c = 0; c < m->cols; c++) {
                double sum = 0;
                for (uint64_t k = 0; k < RANK; k++)
                    sum += (double)m->b[r * RANK + k] * (double)m->a[k * m->cols + c];
                w[r * m->cols + c] += (float)(sum * (double)(scale * ad->alpha / RANK));
            }
    }
}

static void test_merged(const struct gguf *g, const struct adapter *one, const struct adapter *two)
{
    static const struct backend *const backends[] = {&ref_backend, &cpu_backend};
    static struct rows plain, merged, adapted;
    struct err_info e = {0};
    char path[] = "/tmp/rbee-merged-XXXXXX", *bytes;
    size_t n;
    ASSERT(map_read_file(BASE, 1 << 24, &bytes, &n, &e) == ERR_OK);
    merge(g, bytes, one, 0.5f);
    merge(g, bytes, two, -1);
    int fd = mkstemp(path);
    ASSERT(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
    mem_free(bytes);
    const struct engine_lora both[] = {{one->path, 0.5f}, {two->path, -1}};
    for (int i = 0; i < 2; i++) {
        const struct backend *be = backends[i];
        bool good = logits(be, BASE, NULL, 0, &plain, &e) == ERR_OK &&
                    logits(be, path, NULL, 0, &merged, &e) == ERR_OK &&
                    logits(be, BASE, both, 2, &adapted, &e) == ERR_OK;
        double off = distance(&adapted, &merged), moved = distance(&plain, &merged);
        ok(good && off < 1e-10 && moved > 1e-3,
           "%s: two adapters with scales, NMSE %.1e of merged weights (unadapted %.1e) %s",
           be->name, off, moved, e.text);
    }
    remove(path);
}

static void refused(struct adapter *ad, enum err want, const char *word, const char *what)
{
    static struct rows r;
    struct err_info e = {0};
    adapter_write(ad);
    const struct engine_lora lora = {ad->path, 1};
    enum err err = logits(&ref_backend, BASE, &lora, 1, &r, &e);
    ok(err == want && strstr(e.text, word), "%s: %s", what, e.text);
    remove(ad->path);
}

int main(void)
{
    static struct adapter one = {.alpha = 6}, two = {.alpha = 1.5f}, bad;
    struct gguf g;
    struct err_info e;
    if (!ok(gguf_open(&g, BASE, &e) == ERR_OK, "the base opens")) return tap_end();
    adapter_add(&one, &g, "blk.0.attn_q.weight");
    adapter_add(&one, &g, "blk.1.ffn_down.weight");
    adapter_add(&one, &g, "blk.1.ffn_gate.weight");
    adapter_add(&two, &g, "blk.0.attn_q.weight");
    adapter_add(&two, &g, "blk.0.attn_v.weight");
    adapter_add(&two, &g, "blk.1.attn_output.weight");
    adapter_write(&one);
    adapter_write(&two);
    test_merged(&g, &one, &two);
    remove(one.path);
    remove(two.path);

    bad = (struct adapter){.alpha = 1};
    adapter_add(&bad, &g, "blk.7.attn_q.weight");
    refused(&bad, ERR_INVALID, "blk.7.attn_q", "a tensor that the model lacks");
    bad = (struct adapter){.alpha = 1};
    adapter_add(&bad, &g, "blk.0.attn_q.weight");
    bad.pairs[0].cols--;
    refused(&bad, ERR_FORMAT, "do not fit", "a matrix of another width");
    bad = (struct adapter){.alpha = 1};
    adapter_add(&bad, &g, "token_embd.weight");
    refused(&bad, ERR_UNSUPPORTED, "embed", "an adapter of the embedding");
    bad = (struct adapter){.alpha = 1, .arch = "qwen2"};
    adapter_add(&bad, &g, "blk.0.attn_q.weight");
    refused(&bad, ERR_INVALID, "qwen2", "an adapter for another architecture");
    bad.arch = NULL;
    bad.type = "model";
    refused(&bad, ERR_INVALID, "no LoRA adapter", "a file that is no adapter");
    gguf_close(&g);
    return tap_end();
}

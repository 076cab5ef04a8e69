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

static void check_golden(const char *name)
{
    struct gguf hf, g;
    struct err_info e = {0};
    char rel[256];
    const char *dir, *file;
    enum err r;

    snprintf(rel, sizeof rel, "golden/%s/hf", name);
    dir = tap_data(rel);
    snprintf(rel, sizeof rel, "golden/%s/model.gguf", name);
    file = tap_data(rel);
    if (!dir || !file) return;
    r = source_open(&hf, dir, &e);
    if (!ok(r == ERR_OK, "%s: opens", name)) {
        printf("# %s\n", e.text);
        return;
    }
    r = source_open(&g, file, &e);
    ok(r == ERR_OK, "%s: its GGUF opens", name);
    if (!r) {
        check_tensors(name, &hf, &g);
        ok(compare_keys(name, &hf, &g) & compare_keys(name, &g, &hf), "%s: keys", name);
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
    static const char *const none[] = {"gpt_j.json", "orion.json", "phi-3_5-vision.json",
                                       "qwen.json", "rwkv5_3b.json"};

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

static void check_config(const char *dir, const char *file)
{
    struct err_info e = {0};
    struct gguf g;
    char path[512], *text;
    size_t n;
    enum err r;

    snprintf(path, sizeof path, "%s/%s", dir, file);
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
    const char *dir = tap_data("hub/configs");
    struct dirent **list;
    int n = dir ? scandir(dir, &list, NULL, alphasort) : -1;

    if (n < 0) {
        skip("no configurations here");
        return;
    }
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.') check_config(dir, list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

int main(void)
{
    test_golden();
    test_configs();
    return tap_end();
}

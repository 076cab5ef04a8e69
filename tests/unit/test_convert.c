/* test_convert: a golden directory written as GGUF must hold, bit for bit, the tensors of the file
 * that llama.cpp runs, the same keys, and a vocabulary that cuts text alike; files are written
 * whole or not at all; quantised ones hold what quant_row() makes of each row. */
#include "tap.h"

#include <dirent.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/convert.h"
#include "model/meta.h"
#include "model/source.h"
#include "text/tok.h"

static char out[64];

struct vocabulary {
    const struct tok *tok;
    uint32_t n;
};

static enum err add_keys(struct gguf_write *w, void *owner, struct err_info *e)
{
    const struct vocabulary *v = owner;

    return tok_export(v->tok, v->n, w, e);
}

/* ---- golden directories ---- */

static bool same_tensor(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
    uint64_t n = b->dim[0] * b->dim[1] * b->dim[2] * b->dim[3];
    float x, y;

    if (a->n_dims != b->n_dims || memcmp(a->dim, b->dim, sizeof a->dim) != 0) return false;
    for (uint64_t i = 0; i < n; i++) {
        dtype_dequant(a->dtype, a->data + i * dtype_info(a->dtype)->bytes, &x, 1);
        dtype_dequant(b->dtype, b->data + i * dtype_info(b->dtype)->bytes, &y, 1);
        if (memcmp(&x, &y, sizeof x) != 0) return false;
    }
    return true;
}

static uint32_t differing_tensors(const struct gguf *a, const struct gguf *b)
{
    uint32_t n = a->n_tensors != b->n_tensors;

    for (uint64_t i = 0; i < b->n_tensors; i++) {
        const struct gguf_tensor *t = gguf_tensor(a, b->tensors[i].name);

        if (t && same_tensor(t, &b->tensors[i])) continue;
        printf("# tensor %.*s\n", STR(b->tensors[i].name));
        n++;
    }
    return n;
}

static void check_text(const char *name, const struct tok *a, const struct tok *b)
{
    static const char *const texts[] = {
        "Once upon a time, there were 1234 hens.", "  two  spaces\n\n\tand a tab ",
        "\xC3\xA4\xC3\xB6\xC3\xBC \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x90\x9D", "the the thethe", ""};
    bool same = true;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t *x, *y;
        size_t n, m;
        struct arena mem;
        struct err_info e;

        arena_init(&mem, MIB(16));
        same = same && !tok_encode(a, &mem, str_c(texts[i]), TOK_ADD_SPECIAL, &x, &n, &e) &&
               !tok_encode(b, &mem, str_c(texts[i]), TOK_ADD_SPECIAL, &y, &m, &e) && n == m &&
               (n == 0 || !memcmp(x, y, n * sizeof *x));
        arena_fini(&mem);
    }
    ok(same, "%s: the written vocabulary cuts text as the directory's does", name);
}

static void check_written(const char *name, const struct tok *dir_tok, const char *golden)
{
    struct gguf a, b;
    struct tok *tok;
    struct err_info e = {0};

    if (!ok(!gguf_open(&a, out, &e), "%s: the file opens", name)) {
        printf("# %s\n", e.text);
        return;
    }
    if (!gguf_open(&b, golden, &e)) {
        is_int(differing_tensors(&a, &b), 0,
               "its tensors are those of the golden file, bit by bit");
        gguf_close(&b);
    }
    ok(!gguf_find(&a, "rbee.rope.halves") && gguf_find(&a, "general.architecture"),
       "%s: no key of our own is left", name);
    if (ok(!tok_open(&tok, &a, &e), "%s: its vocabulary opens", name)) {
        check_text(name, dir_tok, tok);
        tok_close(tok);
    } else {
        printf("# %s\n", e.text);
    }
    gguf_close(&a);
}

static void check_golden(const char *name)
{
    struct convert c = {.keys = add_keys, .force = true, .n_threads = 2};
    struct vocabulary v = {0};
    struct gguf g;
    struct tok *tok;
    struct err_info e = {0};
    char rel[256];
    const char *dir, *file;
    enum err r;

    snprintf(rel, sizeof rel, "golden/%s/hf", name);
    dir = tap_data(rel);
    snprintf(rel, sizeof rel, "golden/%s/model.gguf", name);
    file = tap_data(rel);
    if (!dir || !file || source_open(&g, dir, &e)) return;
    if (ok(!tok_open(&tok, &g, &e), "%s: vocabulary", name)) {
        v = (struct vocabulary){tok, (uint32_t)gguf_tensor(&g, S("token_embd.weight"))->dim[1]};
        c.owner = &v;
        r = convert_write(&g, out, &c, &e);
        if (!ok(r == ERR_OK, "%s: written", name)) printf("# %s\n", e.text);
        if (!r) check_written(name, tok, file);
        tok_close(tok);
    }
    gguf_close(&g);
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

/* ---- quantised ---- */

static const char tiny[] = RBEE_SOURCE_DIR "/models/rbee-tiny.gguf";

/* Does every row of the written tensor hold what the quantiser makes of the source's row? */
static bool is_quantised(const struct gguf_tensor *t, const struct gguf_tensor *from,
                         const float *importance)
{
    uint64_t cols = t->dim[0], row, from_row;
    float x[4096];
    uint8_t want[4096 * 4];

    if (cols > 4096 || !dtype_row_bytes(t->dtype, cols, &row) ||
        !dtype_row_bytes(from->dtype, cols, &from_row))
        return false;
    for (uint64_t i = 0; i < t->dim[1]; i++) {
        dtype_dequant(from->dtype, from->data + i * from_row, x, cols);
        quant_row_weighted(t->dtype, x, importance, want, cols);
        if (memcmp(want, t->data + i * row, row) != 0) return false;
    }
    return true;
}

static void check_type(const struct gguf *g, const char *type)
{
    struct convert c = {.force = true, .n_threads = 3};
    struct quant_mix mix;
    struct gguf q;
    struct err_info e = {0};
    bool good = true, smaller = false;
    uint32_t id = 0, want = 0;

    if (!ok(quant_mix_from(str_c(type), &mix), "%s can be written", type)) return;
    c.mix = &mix;
    if (!ok(!convert_write(g, out, &c, &e) && !gguf_open(&q, out, &e), "%s: written", type)) {
        printf("# %s\n", e.text);
        return;
    }
    for (uint64_t i = 0; i < q.n_tensors; i++) {
        const struct gguf_tensor *t = &q.tensors[i], *from = gguf_tensor(g, t->name);

        smaller = smaller || t->bytes < from->bytes;
        good = good && (t->dtype == from->dtype ? !memcmp(t->data, from->data, t->bytes)
                                                : is_quantised(t, from, NULL));
    }
    ok(good, "%s: every row is as its quantiser makes it", type);
    ok(smaller, "%s: and it is smaller", type);
    if (meta_file_type_from(str_c(mix.name), &want)) {
        (void)!gguf_get_u32(&q, "general.file_type", &id, &e);
        is_int(id, want, "the file says so");
    }
    gguf_close(&q);
}

static void check_importance(const struct gguf *g)
{
    static const char matrix[] = "blk.0.ffn_up.weight";
    const struct gguf_tensor *from = gguf_tensor(g, str_c(matrix)), *t;
    struct convert c = {.force = true};
    struct gguf_write w;
    struct quant_mix mix;
    struct gguf m, q;
    struct err_info e = {0};
    char name[96];
    float sum[4096], mean[4096], count = 4;
    uint64_t dim[2] = {from->dim[0], 1}, one[2] = {1, 1};

    for (uint64_t i = 0; i < dim[0]; i++) {
        sum[i] = (float)(i % 7);
        mean[i] = sum[i] / count;
    }
    gguf_write_init(&w);
    gguf_write_str(&w, "general.type", S("imatrix"));
    gguf_write_tensor(&w, str_c("blk.0.ffn_up.weight.in_sum2"), DTYPE_F32, dim, 2);
    gguf_write_tensor(&w, str_c("blk.0.ffn_up.weight.counts"), DTYPE_F32, one, 2);
    snprintf(name, sizeof name, "%s.im", out);
    ok(!gguf_write_open(&w, name, &e) && !gguf_write_data(&w, sum, dim[0] * sizeof *sum, &e) &&
           !gguf_write_align(&w, &e) && !gguf_write_data(&w, &count, sizeof count, &e) &&
           !gguf_write_close(&w, &e) && !gguf_open(&m, name, &e),
       "an importance matrix");
    gguf_write_fini(&w);
    (void)!quant_mix_from(S("q4_K"), &mix);
    c.mix = &mix;
    c.importance = &m;
    if (ok(!convert_write(g, out, &c, &e) && !gguf_open(&q, out, &e), "is used")) {
        t = gguf_tensor(&q, str_c(matrix));
        ok(t && t->dtype == DTYPE_Q4_K && is_quantised(t, from, mean) &&
               !is_quantised(t, from, NULL),
           "for the matrix that it names");
        gguf_close(&q);
    }
    m.tensors[0].dim[0]--;
    m.tensors[1].dim[0]--;
    ok(convert_write(g, out, &c, &e) == ERR_FORMAT && strstr(e.text, "another model"),
       "one of another model is refused");
    gguf_close(&m);
    unlink(name);
}

static void test_quantised(void)
{
    static const char *const types[] = {"q8_0", "q4_0", "q6_K", "q5_1", "Q4_K_M", "IQ4_XS"};
    struct gguf g;
    struct err_info e = {0};

    if (!ok(!gguf_open(&g, tiny, &e), "the tiny model opens")) return;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        check_type(&g, types[i]);
    check_importance(&g);
    gguf_close(&g);
}

/* ---- quantised where it lies ---- */

static void test_in_place(void)
{
    const char *dir = tap_data("golden/mixtral/hf");
    struct quant_mix mix;
    struct quant_model model;
    struct gguf g, plain;
    struct err_info e = {0};
    const struct gguf_tensor *t, *from;
    uint8_t want[64];

    if (!dir || source_open(&g, dir, &e)) {
        skip("no golden data here");
        return;
    }
    (void)!source_open(&plain, dir, &e);
    (void)!quant_mix_from(S("q8_0"), &mix);
    convert_learn(&g, &model);
    is_int(model.n_expert, 4, "experts are counted");
    ok(!convert_in_place(&g, 0, &mix, &model, 2, &e), "quantised where it lies");
    t = gguf_tensor(&g, S("blk.1.ffn_gate_exps.weight"));
    from = gguf_tensor(&plain, S("blk.1.ffn_gate_exps.weight"));
    quant_row(DTYPE_Q8_0, (const float *)(const void *)gguf_tensor_part(from, 2), want, 32);
    ok(t->dtype == DTYPE_Q8_0 && t->data && !t->parts && !memcmp(gguf_tensor_part(t, 2), want, 34),
       "experts that lay apart are one tensor");
    t = gguf_tensor(&g, S("blk.1.ffn_norm.weight"));
    ok(t->dtype == DTYPE_F32, "norms stay");
    gguf_close(&g);
    gguf_close(&plain);
}

/* ---- files ---- */

static bool leaves_nothing(void)
{
    char dir[64];
    DIR *d;
    struct dirent *x;
    bool none = true;

    snprintf(dir, sizeof dir, "%s", out);
    *strrchr(dir, '/') = 0;
    if (!(d = opendir(dir))) return false;
    while ((x = readdir(d)))
        none = none && !strstr(x->d_name, "partial");
    closedir(d);
    return none;
}

static enum err fail_keys(struct gguf_write *w, void *owner, struct err_info *e)
{
    (void)w;
    (void)owner;
    return ERR_FAIL(e, UNSUPPORTED, "no keys today");
}

static void test_files(void)
{
    struct convert c = {0};
    struct gguf g;
    struct err_info e = {0};
    char path[96];

    if (gguf_open(&g, tiny, &e)) return;
    unlink(out);
    ok(!convert_write(&g, out, &c, &e), "a new file is written");
    ok(convert_write(&g, out, &c, &e) == ERR_INVALID && strstr(e.text, "--force"),
       "an existing one is not replaced");
    c.force = true;
    ok(!convert_write(&g, out, &c, &e), "unless that is wanted");
    c.keys = fail_keys;
    unlink(out);
    ok(convert_write(&g, out, &c, &e) == ERR_UNSUPPORTED && access(out, F_OK) != 0,
       "after an error there is no file");
    snprintf(path, sizeof path, "%s/none/x.gguf", out);
    c.keys = NULL;
    ok(convert_write(&g, path, &c, &e) != ERR_OK && strstr(e.text, "none"),
       "a folder that is not there is named");
    ok(leaves_nothing(), "and nothing half-done is left");
    gguf_close(&g);
}

int main(void)
{
    char dir[] = "/tmp/test_convert-XXXXXX";

    if (!mkdtemp(dir)) {
        skip("no temporary directory");
        return tap_end();
    }
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    test_golden();
    test_quantised();
    test_in_place();
    test_files();
    unlink(out);
    rmdir(dir);
    return tap_end();
}

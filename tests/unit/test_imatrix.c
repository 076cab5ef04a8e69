/* test_imatrix: what `rbee imatrix` measures, against sums worked out from the model's own tensors.
 */
#include "tap.h"

#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "model/gguf.h"
#include "model/meta.h"
#include "text/tok.h"
#include "worker/worker.h"

static const char tiny[] = RBEE_SOURCE_DIR "/models/rbee-tiny.gguf";
static const char text[] = "Once upon a time there was a hen. She had two red wings.";
static char text_file[64], matrix_file[64];

static enum err run(const struct backend *be, const char *model)
{
    const struct backend *const backends[] = {be, NULL};
    const struct worker_kind kind = {"test", "cpu", backends};
    char *argv[] = {(char *)"imatrix",
                    (char *)(uintptr_t)model,
                    text_file,
                    matrix_file,
                    (char *)"--sandbox",
                    (char *)"off",
                    NULL};
    struct err_info e = {0};
    enum err r = worker_imatrix(&kind, 6, argv, &e);

    if (r) printf("# %s\n", e.text);
    return r;
}

static const float *values(const struct gguf *g, const char *name, uint64_t n)
{
    const struct gguf_tensor *t = gguf_tensor(g, str_c(name));

    return t && t->dtype == DTYPE_F32 && t->bytes == n * sizeof(float)
               ? (const float *)(const void *)t->data
               : NULL;
}

static size_t tokens(const struct gguf *g, struct arena *a, int32_t **ids)
{
    struct tok *tok;
    struct err_info e;
    size_t n = 0;

    if (tok_open(&tok, g, &e)) return 0;
    if (tok_encode(tok, a, str_c(text), TOK_ADD_SPECIAL, ids, &n, &e)) n = 0;
    tok_close(tok);
    return n;
}

/* The first layer's q sees the embedding, normalised: this can be worked out from two tensors. */
static void check_first(const struct gguf *g, const struct gguf *m)
{
    const struct gguf_tensor *embd = gguf_tensor(g, S("token_embd.weight"));
    uint64_t cols = embd->dim[0], row;
    double *want = mem_array(cols, sizeof *want);
    const float *norm = values(g, "blk.0.attn_norm.weight", cols), *got, *count;
    struct meta meta;
    struct arena a;
    struct err_info e;
    int32_t *ids;
    size_t n;
    bool good = true;

    arena_init(&a, MIB(64));
    n = tokens(g, &a, &ids);
    if (!want || !norm || !n || meta_from_gguf(&meta, &a, g, &e) ||
        !dtype_row_bytes(embd->dtype, cols, &row)) {
        ok(false, "the tiny model can be read");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float x[4096];
        double sum = 0, by;

        dtype_dequant(embd->dtype, embd->data + (uint64_t)ids[i] * row, x, cols);
        for (uint64_t k = 0; k < cols; k++)
            sum += (double)x[k] * (double)x[k];
        by = 1 / sqrt(sum / (double)cols + (double)meta.norm_eps);
        for (uint64_t k = 0; k < cols; k++)
            want[k] += pow((double)x[k] * by * (double)norm[k], 2);
    }
    got = values(m, "blk.0.attn_q.weight.in_sum2", cols);
    count = values(m, "blk.0.attn_q.weight.counts", 1);
    for (uint64_t k = 0; got && k < cols; k++)
        good = good && fabs((double)got[k] - want[k]) <= 1e-4 * want[k] + 1e-9;
    ok(got && good, "sums of the first layer's inputs");
    ok(count && *count == (float)n, "over all tokens");
    count = values(m, "token_embd.weight.counts", 1);
    if (!count) count = values(m, "output.weight.counts", 1);
    ok(count && *count == (float)n, "the head's, too");
    ok(!gguf_tensor(m, S("blk.0.attn_norm.weight.in_sum2")), "no norms");
    arena_fini(&a);
    mem_free(want);
}

static void check_dense(const struct backend *be)
{
    struct gguf g, m;
    struct err_info e;

    if (gguf_open(&g, tiny, &e)) return;
    if (ok(run(be, tiny) == ERR_OK && !gguf_open(&m, matrix_file, &e), "measured on %s",
           be->name)) {
        check_first(&g, &m);
        gguf_close(&m);
    }
    gguf_close(&g);
}

static void check_experts(const struct backend *be)
{
    const char *path = tap_data("golden/mixtral/hf");
    const float *gate, *down;
    struct gguf g, m;
    struct err_info e;
    struct arena a;
    int32_t *ids;
    size_t n;
    float chosen = 0;
    bool same = true;

    if (!path) {
        skip("no golden data here");
        return;
    }
    if (!ok(run(be, path) == ERR_OK && !gguf_open(&m, matrix_file, &e), "experts on %s", be->name))
        return;
    gate = values(&m, "blk.0.ffn_gate_exps.weight.counts", 4);
    down = values(&m, "blk.0.ffn_down_exps.weight.counts", 4);
    arena_init(&a, MIB(64));
    if (ok(gate && down && !gguf_open(&g, tap_data("golden/mixtral/model.gguf"), &e),
           "a count for each expert")) {
        n = tokens(&g, &a, &ids);
        for (int i = 0; i < 4; i++) {
            chosen += gate[i];
            same = same && gate[i] == down[i];
        }
        ok(n && chosen == 2 * (float)n && same, "each token chose two");
        gguf_close(&g);
    }
    arena_fini(&a);
    gguf_close(&m);
}

int main(void)
{
    char dir[] = "/tmp/test_imatrix-XXXXXX";
    FILE *f;

    if (!mkdtemp(dir)) {
        skip("no temporary directory");
        return tap_end();
    }
    snprintf(text_file, sizeof text_file, "%s/text", dir);
    snprintf(matrix_file, sizeof matrix_file, "%s/matrix", dir);
    if ((f = fopen(text_file, "w"))) {
        fputs(text, f);
        fclose(f);
    }
    check_dense(&ref_backend);
    check_dense(&cpu_backend);
    check_experts(&ref_backend);
    check_experts(&cpu_backend);
    ok(run(&ref_backend, "/nowhere/x.gguf") != ERR_OK, "a model that is not there");
    unlink(text_file);
    unlink(matrix_file);
    rmdir(dir);
    return tap_end();
}

/* test_hf_run: Hugging Face directories through the engine, against the logits that llama.cpp
 * computed from the GGUF files with the same weights; as they are, and quantised while they are
 * loaded. */
#include "tap.h"

#include <dirent.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "engine/engine.h"
#include "model/convert.h"
#include "model/hf.h"
#include "model/source.h"

enum { MAX_IDS = 256 };

struct logits {
    float *p; /* [n][n_vocab] */
    uint32_t n, n_vocab;
};

static void keep_row(uint32_t i, const float *row, void *owner)
{
    struct logits *l = owner;

    memcpy(l->p + (size_t)i * l->n_vocab, row, l->n_vocab * sizeof *row);
    l->n = i + 1 > l->n ? i + 1 : l->n;
}

static char *slurp(const char *name, const char *file, size_t *n)
{
    char rel[300], *p = NULL;
    const char *path;
    struct err_info e;

    snprintf(rel, sizeof rel, "golden/%s/%s", name, file);
    path = tap_data(rel);
    return path && !map_read_file(path, (size_t)1 << 24, &p, n, &e) ? p : NULL;
}

static uint32_t read_ids(const char *name, int32_t *ids)
{
    size_t n;
    uint32_t count = 0;
    char *text = slurp(name, "tokens.txt", &n);

    if (!text) return 0;
    for (char *p = text, *end; count < MAX_IDS; p = end) {
        long v = strtol(p, &end, 10);

        if (end == p) break;
        ids[count++] = (int32_t)v;
    }
    mem_free(text);
    return count;
}

static bool run(const char *path, const struct backend *be, const char *quantize,
                const int32_t *ids, uint32_t n, struct logits *out)
{
    struct engine_conf conf = {.backend = be,
                               .n_threads = 2,
                               .n_ctx = 128,
                               .n_slots = 1,
                               .max_batch = 64,
                               .max_out = 64,
                               .quantize = quantize};
    struct engine *en;
    struct err_info e = {0};
    bool good;

    *out = (struct logits){0};
    if (engine_open(&en, path, &conf, &e)) {
        printf("# %s\n", e.text);
        return false;
    }
    out->n_vocab = engine_meta(en)->n_vocab;
    out->p = mem_need((size_t)n * out->n_vocab * sizeof *out->p);
    good = engine_eval(en, ids, n, keep_row, out, &e) == ERR_OK && out->n == n;
    if (!good) printf("# %s\n", e.text);
    engine_close(en);
    return good;
}

static double nmse(const float *got, const float *want, size_t n, double *max)
{
    double err = 0, power = 0;

    *max = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];

        if (!(fabs(d) < 1e30)) return INFINITY;
        err += d * d;
        power += (double)want[i] * (double)want[i];
        *max = fabs(d) > *max ? fabs(d) : *max;
    }
    return err / power;
}

static const struct backend *const backends[] = {&ref_backend, &cpu_backend};

static void check_golden(const char *name)
{
    int32_t ids[MAX_IDS];
    uint32_t n = read_ids(name, ids);
    size_t bytes;
    char rel[300];
    const char *dir;
    float *want = (float *)(void *)slurp(name, "logits.f32", &bytes);

    snprintf(rel, sizeof rel, "golden/%s/hf", name);
    dir = tap_data(rel);
    for (size_t i = 0; dir && want && n && i < 2; i++) {
        struct logits got;
        double max = 0, d = INFINITY;

        if (run(dir, backends[i], NULL, ids, n, &got) &&
            (size_t)got.n * got.n_vocab * sizeof *want == bytes)
            d = nmse(got.p, want, (size_t)got.n * got.n_vocab, &max);
        if (!ok(d <= 1e-10 && max <= 2e-4, "%s on %s", name, backends[i]->name))
            printf("# NMSE %.2e, largest %.2e\n", d, max);
        mem_free(got.p);
    }
    mem_free(want);
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
        char rel[300];

        snprintf(rel, sizeof rel, "golden/%s/hf", list[i]->d_name);
        if (list[i]->d_name[0] != '.' && tap_data(rel)) check_golden(list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

/* What is quantised on the way in must be what is quantised into a file. */
static void check_quantised(const char *name, const char *type)
{
    int32_t ids[MAX_IDS];
    uint32_t n = read_ids(name, ids);
    char rel[300], file[] = "/tmp/test_hf_run-XXXXXX";
    const char *dir, *golden;
    struct convert c = {.force = true};
    struct quant_mix mix;
    struct gguf g;
    struct err_info e = {0};
    struct logits a = {0}, b = {0};
    double max, d = INFINITY;
    int fd;

    snprintf(rel, sizeof rel, "golden/%s/hf", name);
    dir = tap_data(rel);
    snprintf(rel, sizeof rel, "golden/%s/model.gguf", name);
    golden = tap_data(rel);
    if (!dir || !golden || !n) {
        skip("no golden data here");
        return;
    }
    if ((fd = mkstemp(file)) < 0) return;
    close(fd);
    (void)!quant_mix_from(str_c(type), &mix);
    c.mix = &mix;
    if (!gguf_open(&g, golden, &e)) {
        ok(!convert_write(&g, file, &c, &e), "%s in %s: a file", name, type);
        gguf_close(&g);
    }
    if (run(dir, &ref_backend, type, ids, n, &a) && run(file, &ref_backend, NULL, ids, n, &b))
        d = nmse(a.p, b.p, (size_t)a.n * a.n_vocab, &max);
    if (!ok(d <= 1e-10, "and loaded so from the directory: the same logits"))
        printf("# NMSE %.2e\n", d);
    mem_free(a.p);
    mem_free(b.p);
    unlink(file);
}

static void test_refused(void)
{
    struct engine_conf conf = {.backend = &ref_backend, .quantize = "q8_0"};
    struct engine *en;
    struct err_info e = {0};

    ok(engine_open(&en, RBEE_SOURCE_DIR "/models/rbee-tiny.gguf", &conf, &e) == ERR_INVALID &&
           strstr(e.text, "rbee quantize"),
       "a GGUF file is not quantised while it is loaded");
    conf.quantize = "q9_X";
    ok(engine_open(&en, RBEE_SOURCE_DIR "/models/rbee-tiny.gguf", &conf, &e) == ERR_INVALID &&
           strstr(e.text, "'q9_X'"),
       "nor to a type that is none");
}

int main(void)
{
    test_golden();
    check_quantised("llama", "q8_0");
    check_quantised("mixtral", "q4_0");
    check_quantised("deepseek3", "q8_0");
    check_quantised("llama-bf16", "Q4_K_M");
    test_refused();
    return tap_end();
}

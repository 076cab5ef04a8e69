/* cmd_convert: `rbee convert` and `rbee quantize`: a model as one GGUF file, without any daemon. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/os.h"
#include "cli/cli.h"
#include "model/convert.h"
#include "model/source.h"
#include "store/store.h"
#include "text/tok.h"

struct convert_opts {
    const char *in, *out, *type, *imatrix, *importance;
    int64_t threads;
    bool force, json;
};

struct task {
    struct gguf g;
    char path[STORE_PATH_MAX];
    bool shown; /* a line of progress stands on the terminal */
};

/* ---- what convert_write() asks for ---- */

/* A directory's vocabulary lies beside its weights; a GGUF file's is among its keys already. */
static enum err add_vocabulary(struct gguf_write *w, void *owner, struct err_info *e)
{
    const struct task *k = owner;
    const struct gguf_tensor *embd = gguf_tensor(&k->g, S("token_embd.weight"));
    struct tok *t;
    enum err code;

    if (!k->g.dir) return ERR_OK;
    if ((code = tok_open(&t, &k->g, e))) return code;
    code = tok_export(t, embd && embd->dim[1] <= LIMIT_VOCAB ? (uint32_t)embd->dim[1] : 0, w, e);
    tok_close(t);
    return code;
}

static void show_progress(void *owner, str tensor, uint64_t done, uint64_t total)
{
    struct task *k = owner;

    if (!isatty(2)) return;
    if (tensor.n)
        fprintf(stderr, "\r%3.0f %%  %-48.*s", total ? 100.0 * (double)done / (double)total : 0,
                (int)(tensor.n > 48 ? 48 : tensor.n), tensor.p);
    else if (k->shown)
        fprintf(stderr, "\r%-60s\r", "");
    k->shown = tensor.n > 0;
    fflush(stderr);
}

/* ---- the work of both ---- */

static void report(const struct convert_opts *o, const struct task *k)
{
    struct err_info e;
    struct gguf g;
    char a[24], b[24];
    buf out = {.cap = MIB(1)};
    struct jsonw w;

    if (gguf_open(&g, o->out, &e)) return; /* a device, say */
    if (o->json) {
        jsonw_init(&w, &out);
        jsonw_obj(&w);
        jsonw_kc(&w, "path", o->out);
        jsonw_kint(&w, "bytes", (int64_t)g.file_bytes);
        jsonw_kint(&w, "bytes_before", (int64_t)k->g.file_bytes);
        jsonw_kint(&w, "tensors", (int64_t)g.n_tensors);
        jsonw_end(&w, '}');
        buf_ch(&out, '\n');
        fwrite(out.p, 1, out.n, stdout);
    } else {
        printf("%s: %llu tensors, %s (from %s)\n", o->out, (unsigned long long)g.n_tensors,
               cli_bytes(g.file_bytes, a), cli_bytes(k->g.file_bytes, b));
    }
    buf_fini(&out);
    gguf_close(&g);
}

static enum err write_model(const struct convert_opts *o, struct convert *c, struct err_info *e)
{
    static struct store st;
    static struct task k;
    enum err code;

    if ((code = store_init(&st, e)) || (code = store_resolve(&st, str_c(o->in), k.path, e)) ||
        (code = source_open(&k.g, k.path, e)))
        return code;
    c->force = o->force;
    c->n_threads = o->threads > 0 ? (uint32_t)o->threads : (uint32_t)os_cpu_count();
    c->keys = add_vocabulary;
    c->progress = show_progress;
    c->owner = &k;
    code = convert_write(&k.g, o->out, c, e);
    if (k.shown) fputc('\n', stderr);
    if (!code)
        report(o, &k);
    else if (code == ERR_FORMAT || code == ERR_UNSUPPORTED) /* the others are of what is written */
        code = store_blame(k.path, e);
    gguf_close(&k.g);
    return code;
}

/* ---- convert ---- */

static const struct opt convert_rows[] = {
    {"force", 'f', OPT_BOOL, offsetof(struct convert_opts, force), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "replace OUT if it exists"},
    {"json", 0, OPT_BOOL, offsetof(struct convert_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print the result as JSON"},
    {0},
};

static const struct opt_pos convert_pos[] = {
    {"DIR", offsetof(struct convert_opts, in), true, false,
     "a Hugging Face directory: config.json with SafeTensors"},
    {"OUT", offsetof(struct convert_opts, out), true, false, "the .gguf file to write"},
    {0},
};

static const struct opt_spec convert_spec = {
    .opts = convert_rows,
    .pos = convert_pos,
    .command = "rbee convert",
    .summary = "Writes a Hugging Face directory as one GGUF file, every weight in its own type.",
    .examples = "rbee convert ./Qwen3-0.6B qwen3.gguf",
};

static enum err run_convert(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct convert_opts o = {0};
    struct convert c = {0};
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    return write_model(&o, &c, e);
}

const struct cli_cmd cmd_convert = {
    .name = "convert",
    .group = "Look at models",
    .summary = "write a Hugging Face directory as a GGUF file",
    .spec = &convert_spec,
    .run = run_convert,
};

/* ---- quantize ---- */

static const struct opt quantize_rows[] = {
    {"imatrix", 0, OPT_STR, offsetof(struct convert_opts, imatrix), "FILE", NULL, NULL, 0, 0, NULL,
     NULL, "importance of each column, as `rbee imatrix` or llama.cpp write it (GGUF)"},
    {"importance", 0, OPT_STR, offsetof(struct convert_opts, importance), "TEXT", NULL, NULL, 0, 0,
     NULL, NULL, "measure the importance on this text file first, as `rbee imatrix` does"},
    {"threads", 't', OPT_INT, offsetof(struct convert_opts, threads), "N", NULL, NULL, 0, 64,
     "RBEE_THREADS", NULL, "threads; 0: all cores"},
    {"force", 'f', OPT_BOOL, offsetof(struct convert_opts, force), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "replace OUT if it exists"},
    {"json", 0, OPT_BOOL, offsetof(struct convert_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print the result as JSON"},
    {0},
};

static const struct opt_pos quantize_pos[] = {
    {"IN", offsetof(struct convert_opts, in), true, false,
     "a model here, a .gguf file or a Hugging Face directory"},
    {"OUT", offsetof(struct convert_opts, out), true, false, "the .gguf file to write"},
    {"TYPE", offsetof(struct convert_opts, type), true, false,
     "a type (q8_0, q4_K, iq4_xs, bf16, ...) or a mix (Q4_K_M, Q5_K_M, ...)"},
    {0},
};

static const struct opt_spec quantize_spec = {
    .opts = quantize_rows,
    .pos = quantize_pos,
    .command = "rbee quantize",
    .summary = "Writes a model with its matrices in another type.",
    .examples = "rbee quantize ./Qwen3-0.6B qwen3-Q4_K_M.gguf Q4_K_M\n"
                "rbee quantize model-F16.gguf model-IQ3_S.gguf IQ3_S --importance letters.txt",
};

static enum err unknown_type(const char *type, struct err_info *e)
{
    buf names = {.cap = ERR_TEXT_MAX / 2};
    const char *name;

    for (size_t i = 0; (name = quant_mix_name(i)); i++)
        buf_printf(&names, "%s%s", i ? ", " : "", name);
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (quant_has((enum dtype)t)) buf_printf(&names, ", %s", dtype_info((enum dtype)t)->name);
    err_fail(e, ERR_INVALID, __FILE__, __LINE__, "'%.40s' is no type that can be written: %s", type,
             names.p ? names.p : "");
    buf_fini(&names);
    return ERR_INVALID;
}

/* Runs `imatrix` of the worker executable, for this program links no kernel. */
static enum err measure(const struct convert_opts *o, const char *matrix, struct err_info *e)
{
    char exe[STORE_PATH_MAX];
    const char *args[] = {exe, "imatrix", o->in, o->importance, matrix, NULL};
    enum err code = cmd_worker_path(exe, sizeof exe, e);
    int status = 0;
    pid_t child;

    if (code) return code;
    fflush(stdout);
    child = fork();
    if (child < 0) return err_errno(e, errno, "start", exe);
    if (child == 0) {
        (void)dup2(2, 1); /* its line about the matrix is no result of ours */
        execv(exe, (char *const *)(uintptr_t)args);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return err_errno(e, errno, "wait for", exe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return ERR_OK;
    return ERR_FAIL(e, UNSUPPORTED, "the importance could not be measured on %s; %s says why above",
                    o->importance, exe);
}

static enum err weighted(const struct convert_opts *o, const char *matrix, struct convert *c,
                         struct err_info *e)
{
    struct gguf importance;
    enum err code = gguf_open(&importance, matrix, e);

    if (code) return code;
    c->importance = &importance;
    code = write_model(o, c, e);
    gguf_close(&importance);
    return code;
}

static enum err run_quantize(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct convert_opts o = {0};
    struct convert c = {0};
    struct quant_mix mix;
    char matrix[STORE_PATH_MAX];
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if (!quant_mix_from(str_c(o.type), &mix)) return unknown_type(o.type, e);
    c.mix = &mix;
    if (o.imatrix && o.importance)
        return ERR_FAIL(e, INVALID, "give --imatrix or --importance, not both");
    if (o.imatrix) return weighted(&o, o.imatrix, &c, e);
    if (!o.importance) return write_model(&o, &c, e);
    snprintf(matrix, sizeof matrix, "%s.imatrix-%ld", o.out, (long)getpid());
    if (!(code = measure(&o, matrix, e))) code = weighted(&o, matrix, &c, e);
    (void)unlink(matrix);
    return code;
}

const struct cli_cmd cmd_quantize = {
    .name = "quantize",
    .group = "Look at models",
    .summary = "write a model with its matrices in another type",
    .spec = &quantize_spec,
    .run = run_quantize,
};

/* worker: chooses the command. See worker.h. */
#include "worker/worker.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/opt.h"
#include "base/os.h"
#include "engine/load.h"
#include "store/store.h"
#include "worker/measure.h"

static const struct command {
    const char *name;
    enum err (*run)(const struct worker_kind *kind, int argc, char **argv, struct err_info *e);
    const char *help;
} commands[] = {
    {"serve", worker_serve, "answer requests for one model (started by a hive)"},
    {"eval", worker_eval, "write the logits or vectors of a token file, or its perplexity"},
    {"bench", worker_bench, "measure prefill and decode speed"},
    {"imatrix", worker_imatrix, "measure on a text which columns of the weights matter"},
};

/* FILE[=SCALE]; the path is copied to `path`. */
static enum err read_lora(str text, char *path, struct engine_lora *out, struct err_info *e)
{
    double scale = 1;
    size_t eq = text.n;

    while (eq > 0 && text.p[eq - 1] != '=')
        eq--;
    if (eq > 1 && str_num(str_sub(text, eq, text.n), &scale)) text = str_sub(text, 0, eq - 1);
    if (text.n == 0 || text.n >= STORE_PATH_MAX || !(scale > -1e6 && scale < 1e6))
        return ERR_FAIL(e, INVALID, "--lora takes FILE or FILE=SCALE, not '%.*s'",
                        (int)(text.n < 80 ? text.n : 80), text.p);
    memcpy(path, text.p, text.n);
    path[text.n] = 0;
    *out = (struct engine_lora){path, (float)scale};
    return ERR_OK;
}

/* The adapters of the options, in memory that lives as long as the program: a worker runs one
 * model. */
static enum err read_loras(const struct opt_list *list, struct engine_conf *out, struct err_info *e)
{
    static struct engine_lora loras[OPT_LIST_MAX];
    static char paths[OPT_LIST_MAX][STORE_PATH_MAX];

    out->loras = loras;
    for (int i = 0; i < list->n; i++) {
        str rest = str_c(list->v[i]);

        while (rest.n) {
            str item = str_cut(rest, ',', &rest);
            enum err code;

            if (out->n_loras == OPT_LIST_MAX)
                return ERR_FAIL(e, LIMIT, "more than %d adapters", OPT_LIST_MAX);
            if ((code = read_lora(item, paths[out->n_loras], &loras[out->n_loras], e))) return code;
            out->n_loras++;
        }
    }
    return ERR_OK;
}

enum err worker_conf_engine(const struct worker_kind *kind, const struct worker_conf *c,
                            struct engine_conf *out, struct err_info *e)
{
    const char *both;
    const struct backend *be = kind->backends[0];

    if (c->backend) {
        size_t i = 0;

        while (kind->backends[i] && strcmp(kind->backends[i]->name, c->backend) != 0)
            i++;
        if (!(be = kind->backends[i]))
            return ERR_FAIL(e, UNSUPPORTED, "%s has no back end '%s'; see --capabilities",
                            kind->name, c->backend);
    }
    both = c->kv_type ? c->kv_type : "f16";
    *out = (struct engine_conf){
        .backend = be,
        .n_threads = (uint32_t)c->threads,
        .n_ctx = (uint32_t)c->ctx,
        .n_slots = (uint32_t)c->slots,
        .max_batch = (uint32_t)c->batch,
        .kv_budget = (uint64_t)c->kv_budget,
        .ktype = dtype_from_name(str_c(c->ktype ? c->ktype : both)),
        .vtype = dtype_from_name(str_c(c->vtype ? c->vtype : both)),
        .isa = c->isa,
        .quantize = c->quantize,
    };
    return read_loras(&c->lora, out, e);
}

enum err worker_chat(struct chat **out, const struct meta *m, const struct tok *t,
                     struct err_info *e)
{
    buf bos = {.cap = KIB(1)}, eos = {.cap = KIB(1)};
    enum err code;

    if (tok_bos(t) >= 0) tok_piece(t, tok_bos(t), true, &bos);
    if (tok_eos(t) >= 0) tok_piece(t, tok_eos(t), true, &eos);
    code = chat_open(out, m->chat_template, buf_view(&bos), buf_view(&eos), e);
    buf_fini(&bos);
    buf_fini(&eos);
    return code;
}

struct vetting {
    const char *path;
    const struct engine_conf *conf;
    bool chat;
};

static enum err open_and_close(void *arg, struct err_info *e)
{
    const struct vetting *v = arg;
    struct load l;
    struct chat *chat;
    struct engine_conf conf = *v->conf;
    enum err code;

    conf.quantize = NULL; /* the work of whoever keeps the result */
    conf.n_loras = 0;     /* looked at by themselves */
    code = load_check(&l, v->path, &conf, e);
    if (code) return code;
    if (v->chat && !(code = worker_chat(&chat, &l.meta, l.tok, e))) chat_close(chat);
    load_close(&l);
    return code;
}

static enum err open_and_close_lora(void *arg, struct err_info *e)
{
    struct lora l;
    enum err code = lora_open(&l, arg, 1.0f, NULL, e);

    if (!code) lora_close(&l);
    return code;
}

enum err worker_vet(const char *path, const struct worker_conf *c, const struct engine_conf *conf,
                    bool chat, struct err_info *e)
{
    struct vetting arg = {.path = path, .conf = conf, .chat = chat};
    const struct vet v = {
        .path = path, .mode = vet_mode(c->sandbox), .open = open_and_close, .arg = &arg};
    enum err code = vet_run(&v, e);

    if (code) return code != ERR_INVALID ? store_blame(path, e) : code;
    for (uint32_t i = 0; i < conf->n_loras; i++) {
        const char *file = conf->loras[i].path;
        const struct vet w = {.path = file,
                              .mode = v.mode,
                              .open = open_and_close_lora,
                              .arg = (void *)(uintptr_t)file};

        if ((code = vet_run(&w, e))) return code;
    }
    return ERR_OK;
}

enum err worker_resolve(const char *model, char *out, struct err_info *e)
{
    static struct store st;
    enum err code = store_init(&st, e);

    return code ? code : store_resolve(&st, str_c(model), out, e);
}

static void print_help(const struct worker_kind *kind)
{
    printf("%s: runs one model on one device (%s); part of rbee.\n\nUsage: %s COMMAND [OPTIONS]\n\n"
           "Commands:\n",
           kind->name, kind->device, kind->name);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].help);
    printf("\n  --capabilities  what this executable can run, as JSON\n"
           "  --measure       how fast its kernels are here, as JSON; takes seconds\n"
           "  --version       its version\n\nEvery command has its own --help.\n");
}

static enum err print_rates(const struct worker_kind *kind, int argc, char **argv,
                            struct err_info *e)
{
    static const struct opt opts[] = {
        {"threads", 't', OPT_INT, 0, "N", NULL, NULL, 0, LIMIT_THREADS, "RBEE_THREADS", NULL,
         "kernel threads; 0: all cores"},
        {0},
    };
    const struct opt_spec spec = {
        .opts = opts, .command = "--measure", .summary = "Measures how fast the kernels are."};
    struct speed_rates rates;
    int64_t threads = 0;
    bool help;
    enum err code;
    struct jsonw w;
    buf b;

    if ((code = opt_parse(&spec, argc, argv, &threads, &help, e))) return code;
    if (help) {
        opt_print(&spec, 0);
        return ERR_OK;
    }
    if ((code = measure_rates(&rates, kind->backends[0], (uint32_t)threads, e))) return code;
    buf_init(&b, MIB(1));
    jsonw_init(&w, &b);
    speed_rates_write(&rates, &w);
    puts(b.p);
    buf_fini(&b);
    return ERR_OK;
}

int worker_main(const struct worker_kind *kind, int argc, char **argv)
{
    struct err_info e = {0};
    const char *name = argc > 1 ? argv[1] : "--help";

    os_prepare();
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(name, commands[i].name) != 0) continue;
        enum err code = commands[i].run(kind, argc - 1, argv + 1, &e);

        if (code) fprintf(stderr, "%s: %s\n", kind->name, e.text);
        return err_exit(code);
    }
    if (strcmp(name, "--capabilities") == 0) {
        buf b;

        buf_init(&b, MIB(1));
        worker_capabilities(kind, &b);
        puts(b.p);
        buf_fini(&b);
        return 0;
    }
    if (strcmp(name, "--measure") == 0) {
        enum err code = print_rates(kind, argc - 1, argv + 1, &e);

        if (code) fprintf(stderr, "%s: %s\n", kind->name, e.text);
        return err_exit(code);
    }
    if (strcmp(name, "--version") == 0) {
        printf("%s %s\n", kind->name, RBEE_VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help(kind);
        return 0;
    }
    fprintf(stderr, "%s: no command '%s'; see %s --help\n", kind->name, name, kind->name);
    return err_exit(ERR_INVALID);
}

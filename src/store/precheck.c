/* precheck: see precheck.h. */
#include "store/precheck.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/os.h"
#include "model/gguf.h"
#include "model/hf.h"
#include "model/meta.h"

#define HEADER_FIRST MIB(1) /* most headers with a vocabulary take a few of them */
#define USUAL_CTX    4096   /* that a worker has when nobody asks for more */

struct look {
    struct precheck *out;
    struct arena *a;
    const struct download_conf *c;
    const struct hubapi_repo *r;
    const struct pick *p;
};

static enum err refuse(struct precheck *out, const struct err_info *why)
{
    out->refused = why->code;
    snprintf(out->why, sizeof out->why, "%s", why->text);
    return ERR_OK;
}

static enum err fetch(const struct look *l, const struct pick_file *f, uint64_t from, uint64_t n,
                      buf *out, struct err_info *e)
{
    const char *url = hubapi_url(l->r, l->a, l->c->endpoint, f->path);
    char what[300];

    snprintf(what, sizeof what, "%.*s", STR(str_sub(f->path, 0, 256)));
    if (!url) return ERR_FAIL(e, NOMEM, "no memory for the address of %s", what);
    l->out->fetched += n;
    return download_get(l->c, url, what, from, n, out, e);
}

/* The header of one part, in bytes that stay in the arena. *why.code: it is none that we read. */
static enum err read_header(const struct look *l, const struct pick_file *f, struct gguf *g,
                            struct err_info *why, struct err_info *e)
{
    uint64_t want = f->bytes < HEADER_FIRST ? f->bytes : HEADER_FIRST, need = 0;
    buf b = {.cap = LIMIT_GGUF_HEADER};
    enum err code = ERR_OK, parsed;
    str kept;

    why->code = ERR_OK;
    if (want == 0) code = ERR_FAIL(e, FORMAT, "%.*s is empty", STR(f->path));
    while (!code && b.n < want) {
        if ((code = fetch(l, f, b.n, want - b.n, &b, e))) break;
        kept = arena_str(l->a, buf_view(&b));
        if (!kept.p) {
            code = ERR_FAIL(e, NOMEM, "no memory for the header of %.*s", STR(f->path));
            break;
        }
        parsed = gguf_parse(g, l->a, (const uint8_t *)kept.p, kept.n, f->bytes, &need, why);
        why->code = parsed;
        if (parsed != ERR_LIMIT) break;
        want = need > 2 * (uint64_t)b.n ? need : 2 * (uint64_t)b.n;
        if (want > f->bytes) want = f->bytes;
        if (want > LIMIT_GGUF_HEADER) want = LIMIT_GGUF_HEADER;
    }
    buf_fini(&b);
    return code;
}

/* Appends the tensors of a later part. */
static enum err join(const struct look *l, struct gguf *g, const struct gguf *part,
                     struct err_info *e)
{
    uint64_t n = g->n_tensors + part->n_tensors;
    struct gguf_tensor *all = ARENA_NEW(l->a, struct gguf_tensor, n ? n : 1);

    if (!all) return ERR_FAIL(e, NOMEM, "no memory for a list of tensors");
    if (g->n_tensors) memcpy(all, g->tensors, (size_t)g->n_tensors * sizeof *all);
    for (uint64_t i = 0; i < part->n_tensors; i++) {
        all[g->n_tensors + i] = part->tensors[i];
        all[g->n_tensors + i].part = g->n_parts;
    }
    g->tensors = all;
    g->n_tensors = n;
    g->n_parts++;
    g->file_bytes += part->file_bytes;
    return ERR_OK;
}

static enum err compile(const struct look *l, const struct gguf *g, struct err_info *why)
{
    struct precheck *out = l->out;
    struct plan_source src = gguf_source(g);
    struct plan_conf conf = {0};
    struct meta m;
    struct plan plan;
    enum err code = meta_from_gguf(&m, l->a, g, why);

    if (code) return code;
    conf.want = plan_want_of(&m);
    out->arch = m.arch;
    out->weight_bytes = m.weight_bytes;
    if ((code = plan_build(&plan, l->a, &m, &src, &conf, why))) return code;
    out->n_ctx = m.n_ctx_train < USUAL_CTX ? m.n_ctx_train : USUAL_CTX;
    out->cache_bytes = out->n_ctx * plan_kv_bytes_per_pos(&plan, DTYPE_F16, DTYPE_F16) +
                       4 * plan_state_floats(&plan);
    return ERR_OK;
}

static enum err look_gguf(const struct look *l, struct err_info *e)
{
    const struct pick *p = l->p;
    struct err_info why = {0};
    struct gguf g, part;
    enum err code = read_header(l, &l->r->files[p->main], &g, &why, e);

    if (code) return code;
    if (why.code) return refuse(l->out, &why);
    g.n_parts = 1;
    for (size_t i = 0; i + 1 < p->n; i++) {
        if ((code = read_header(l, &l->r->files[p->files[i]], &part, &why, e))) return code;
        if (why.code) return refuse(l->out, &why);
        if ((code = join(l, &g, &part, e))) return code;
    }
    if (gguf_index_tensors(&g, l->a, &why) || compile(l, &g, &why)) return refuse(l->out, &why);
    return ERR_OK;
}

static enum err look_folder(const struct look *l, struct err_info *e)
{
    const struct pick_file *config = &l->r->files[l->p->main];
    struct err_info why = {0};
    struct gguf g = {0};
    buf b = {.cap = LIMIT_PULL_SMALL};
    enum err code = fetch(l, config, 0, config->bytes, &b, e);
    str arch = {0};

    l->out->weight_bytes = l->p->bytes;
    if (!code && !hf_parse_config(&g, buf_view(&b), &why)) {
        if (gguf_get_str(&g, "general.architecture", &arch, &why) == ERR_OK && arch.n)
            l->out->arch = arena_str(l->a, arch);
        gguf_close(&g);
    } else if (!code) {
        code = refuse(l->out, &why);
    }
    buf_fini(&b);
    return code;
}

enum err precheck_run(struct precheck *out, struct arena *a, const struct download_conf *c,
                      const struct hubapi_repo *r, const struct pick *p, struct err_info *e)
{
    struct look l = {out, a, c, r, p};
    uint64_t total = os_mem_total(), need;
    enum err code;

    *out = (struct precheck){0};
    code = p->folder ? look_folder(&l, e) : look_gguf(&l, e);
    need = out->weight_bytes + out->cache_bytes;
    if (code || out->refused || need <= total) return code;
    out->refused = ERR_NOMEM;
    snprintf(out->why, sizeof out->why,
             "it needs %llu bytes of memory (weights %llu, cache for %u positions %llu) and this "
             "machine has %llu: %llu short; choose a smaller quantisation",
             (unsigned long long)need, (unsigned long long)out->weight_bytes, out->n_ctx,
             (unsigned long long)out->cache_bytes, (unsigned long long)total,
             (unsigned long long)(need - total));
    return ERR_OK;
}

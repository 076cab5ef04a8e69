/* precheck: see precheck.h. */
#include "store/precheck.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/os.h"
#include "model/gguf.h"
#include "model/meta.h"

#define USUAL_CTX 4096 /* that a worker has when nobody asks for more */

struct look {
    struct precheck *out;
    struct arena *a;
    const struct pick *p;
};

static enum err refuse(struct precheck *out, const struct err_info *why)
{
    out->refused = why->code;
    snprintf(out->why, sizeof out->why, "%s", why->text);
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

static enum err look_at(const struct look *l, const struct remote *r)
{
    struct err_info why = {0};
    str arch = {0};

    if (r->refused) {
        l->out->refused = r->refused;
        snprintf(l->out->why, sizeof l->out->why, "%s", r->why);
        return ERR_OK;
    }
    if (r->headers) return compile(l, &r->g, &why) ? refuse(l->out, &why) : ERR_OK;
    l->out->weight_bytes = l->p->bytes;
    if (gguf_get_str(&r->g, "general.architecture", &arch, &why) == ERR_OK && arch.n)
        l->out->arch = arena_str(l->a, arch);
    return ERR_OK;
}

enum err precheck_run(struct precheck *out, struct arena *a, const struct remote_conf *c,
                      const struct hubapi_repo *r, const struct pick *p, struct err_info *e)
{
    struct look l = {out, a, p};
    uint64_t total = os_mem_total(), need;
    struct remote remote;
    enum err code;

    *out = (struct precheck){0};
    if ((code = remote_open(&remote, a, c, r, p, e))) return code;
    code = look_at(&l, &remote);
    out->fetched = remote.fetched;
    remote_close(&remote);
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

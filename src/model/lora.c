/* lora: adapters of files, and the steps they become. See lora.h.
 *
 * After a product that an adapter changes come three steps: A x into REG_L0, B of that into REG_L1,
 * and its sum with what the product wrote. A product with rows first.. of a fused matrix takes the
 * same rows of B.
 */
#include "model/lora.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"

/* ---- files ---- */

static enum err check_file(struct lora *l, str arch, struct err_info *e)
{
    str type = {0}, kind = {0}, of = {0};
    enum err r;

    if ((r = gguf_get_str(&l->gguf, "general.type", &type, e)) ||
        (r = gguf_get_str(&l->gguf, "adapter.type", &kind, e)) ||
        (r = gguf_get_str(&l->gguf, "general.architecture", &of, e)) ||
        (r = gguf_get_f32(&l->gguf, "adapter.lora.alpha", &l->alpha, e)))
        return r;
    if (!str_eqc(type, "adapter") || !str_eqc(kind, "lora"))
        return ERR_FAIL(e, INVALID, "%s is no LoRA adapter: its general.type is '%.*s'", l->path,
                        (int)(type.n < 40 ? type.n : 40), type.p ? type.p : "");
    if (arch.n && !str_eq(of, arch))
        return ERR_FAIL(e, INVALID,
                        "%s is an adapter for models of architecture '%.*s', not '%.*s'", l->path,
                        (int)(of.n < 40 ? of.n : 40), of.p ? of.p : "", STR(arch));
    return ERR_OK;
}

enum err lora_open(struct lora *l, const char *path, float scale, const struct meta *base,
                   struct err_info *e)
{
    enum err r;

    *l = (struct lora){.path = path, .scale = scale};
    if (lora_peft_is_dir(path))
        r = lora_peft_open(l, path, base, e);
    else if ((r = gguf_open(&l->gguf, path, e)))
        return r;
    else
        r = check_file(l, base ? base->arch : S(""), e);
    if (r) lora_close(l);
    return r;
}

void lora_close(struct lora *l)
{
    gguf_close(&l->gguf);
    *l = (struct lora){0};
}

const struct gguf_tensor *lora_tensor(const struct lora *l, uint32_t n, uint64_t index)
{
    for (uint32_t i = 0; i < n; i++) {
        if (index < l[i].gguf.n_tensors) return &l[i].gguf.tensors[index];
        index -= l[i].gguf.n_tensors;
    }
    BUG("no such tensor of an adapter");
}

/* ---- the rewriting ---- */

struct rewrite {
    struct plan *p;
    const struct lora *l; /* the adapter at hand */
    uint32_t file;        /* of its first tensor */
    struct plan_step *steps;
    struct plan_tensor *tensors;
    uint32_t n_steps, n_tensors;
    bool *used; /* [tensors of all adapters] */
    struct err_info *e;
};

struct pair {
    const struct gguf_tensor *a, *b;
    uint64_t first, rows; /* where a step's rows begin in B, and how many B should have */
};

static const struct gguf_tensor *find(const struct lora *l, str name, const char *suffix)
{
    size_t n = strlen(suffix);

    for (uint64_t i = 0; i < l->gguf.n_tensors; i++) {
        str full = l->gguf.tensors[i].name;

        if (full.n == name.n + n && str_starts(full, name) && str_ends(full, str_c(suffix)))
            return &l->gguf.tensors[i];
    }
    return NULL;
}

/* All rows of the tensor that a step uses a slice of. */
static uint64_t rows_of(const struct rewrite *w, const struct plan_tensor *t)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < w->p->n_tensors; i++) {
        const struct plan_tensor *o = &w->p->tensors[i];

        if (o->file == t->file && o->first + o->rows > n) n = o->first + o->rows;
    }
    return n;
}

/* What the adapter has for this tensor, or under the name that its rows have where q, k and v lie
 * apart. False when it has nothing. */
static bool find_pair(const struct rewrite *w, const struct plan_tensor *t, struct pair *out)
{
    const str whole = S("attn_qkv.weight");
    char name[64];
    str part = {name, t->name.n - 2};

    *out = (struct pair){find(w->l, t->name, ".lora_a"), find(w->l, t->name, ".lora_b"), t->first,
                         rows_of(w, t)};
    if (out->a || out->b) return true;
    if (!str_ends(t->name, whole) || t->name.n > sizeof name) return false;
    snprintf(name, sizeof name, "%.*sattn_%c.weight", (int)(t->name.n - whole.n), t->name.p,
             t->first == 0                         ? 'q'
             : t->first + t->rows == rows_of(w, t) ? 'v'
                                                   : 'k');
    *out = (struct pair){find(w->l, part, ".lora_a"), find(w->l, part, ".lora_b"), 0, t->rows};
    return out->a || out->b;
}

static uint32_t file_of(const struct rewrite *w, const struct gguf_tensor *t)
{
    return w->file + (uint32_t)(t - w->l->gguf.tensors);
}

static int add_tensor(struct rewrite *w, const struct gguf_tensor *t, uint64_t first, uint64_t rows)
{
    w->tensors[w->n_tensors] = (struct plan_tensor){.name = t->name,
                                                    .file = file_of(w, t),
                                                    .dtype = t->dtype,
                                                    .rows = rows,
                                                    .cols = t->dim[0],
                                                    .first = first,
                                                    .n_parts = 1};
    return (int)w->n_tensors++;
}

static struct plan_step *add_step(struct rewrite *w, const struct plan_step *like, enum op op,
                                  enum plan_reg dst, enum plan_reg src, uint32_t n)
{
    struct plan_step *s = &w->steps[w->n_steps++];

    *s = (struct plan_step){
        .op = op, .layer = like->layer, .dst = dst, .src = src, .n = n, .scale = 1.0f};
    s->dst2 = s->dst3 = s->src2 = s->src3 = s->src4 = s->src5 = s->src6 = REG_NONE;
    s->w = s->w2 = s->w3 = s->b = s->b2 = s->b3 = PLAN_NO_TENSOR;
    if (w->p->width[dst] < n) w->p->width[dst] = n;
    return s;
}

static enum err check_pair(const struct rewrite *w, const struct plan_step *s, const struct pair *m)
{
    const struct plan_tensor *t = &w->p->tensors[s->w];

    if (m->a && m->b && m->a->n_dims <= 2 && m->b->n_dims <= 2 && m->a->dim[0] == t->cols &&
        m->a->dim[1] == m->b->dim[0] && m->a->dim[1] <= LIMIT_MODEL_DIM && m->b->dim[1] == m->rows)
        return ERR_OK;
    return ERR_FAIL(w->e, FORMAT, "%s: the matrices for tensor '%.*s' do not fit it", w->l->path,
                    STR(t->name));
}

static float factor_of(const struct lora *l, const struct gguf_tensor *a)
{
    if (l->factors) return l->factors[a - l->gguf.tensors];
    return l->alpha != 0.0f ? l->alpha / (float)a->dim[1] : 1.0f;
}

static enum err add_product(struct rewrite *w, const struct plan_step *s, const struct pair *m,
                            uint32_t first_used)
{
    const struct plan_tensor *t = &w->p->tensors[s->w];
    uint32_t rank = (uint32_t)m->a->dim[1];
    struct plan_step *x;
    enum err r = check_pair(w, s, m);

    if (r) return r;
    x = add_step(w, s, OP_LINEAR, REG_L0, s->src, rank);
    x->n_src = s->n_src;
    x->w = add_tensor(w, m->a, 0, rank);
    x = add_step(w, s, OP_LINEAR, REG_L1, REG_L0, s->n);
    x->n_src = rank;
    x->w = add_tensor(w, m->b, m->first, t->rows);
    x = add_step(w, s, OP_ADD, s->dst, s->dst, s->n);
    x->src2 = REG_L1;
    x->n_src = x->n_src2 = s->n;
    x->scale = w->l->scale * factor_of(w->l, m->a);
    w->used[file_of(w, m->a) - first_used] = w->used[file_of(w, m->b) - first_used] = true;
    return ERR_OK;
}

/* What one adapter does to one step. */
static enum err adapt(struct rewrite *w, const struct plan_step *s, uint32_t first_used)
{
    const int weights[3] = {s->w, s->w2, s->w3};
    struct pair m;

    for (int i = 0; i < 3; i++) {
        if (weights[i] == PLAN_NO_TENSOR) continue;
        const struct plan_tensor *t = &w->p->tensors[weights[i]];

        if (!find_pair(w, t, &m)) continue;
        if (s->op == OP_LINEAR) return add_product(w, s, &m, first_used);
        return ERR_FAIL(w->e, UNSUPPORTED,
                        "%s changes tensor '%.*s', which the model uses in the step %s; adapters "
                        "can change plain products only",
                        w->l->path, STR(t->name), plan_op_name(s->op));
    }
    return ERR_OK;
}

static enum err check_used(const struct lora *l, uint32_t n, const bool *used, struct err_info *e)
{
    for (uint32_t i = 0; i < n; used += l[i++].gguf.n_tensors)
        for (uint64_t k = 0; k < l[i].gguf.n_tensors; k++)
            if (!used[k])
                return ERR_FAIL(e, INVALID,
                                "%s holds '%.*s', and the model has no matrix of that name",
                                l[i].path, STR(l[i].gguf.tensors[k].name));
    return ERR_OK;
}

enum err lora_apply(struct plan *p, struct arena *a, const struct lora *l, uint32_t n,
                    uint32_t first_file, struct err_info *e)
{
    struct rewrite w = {.p = p, .e = e};
    uint64_t all = 0;
    size_t more = (size_t)p->n_steps * n;

    if (n == 0) return ERR_OK;
    for (uint32_t i = 0; i < n; i++)
        all += l[i].gguf.n_tensors;
    w.steps = ARENA_NEW(a, struct plan_step, p->n_steps + 3 * more);
    w.tensors = ARENA_NEW(a, struct plan_tensor, p->n_tensors + 2 * more);
    w.used = ARENA_NEW(a, bool, all ? all : 1);
    if (!w.steps || !w.tensors || !w.used)
        return ERR_FAIL(e, NOMEM, "no memory for a plan with %u adapters", n);
    memcpy(w.tensors, p->tensors, p->n_tensors * sizeof *w.tensors);
    w.n_tensors = p->n_tensors;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        w.steps[w.n_steps++] = p->steps[i];
        w.file = first_file;
        for (uint32_t k = 0; k < n; w.file += (uint32_t)l[k++].gguf.n_tensors) {
            enum err r;

            w.l = &l[k];
            if ((r = adapt(&w, &p->steps[i], first_file))) return r;
        }
    }
    p->steps = w.steps;
    p->n_steps = w.n_steps;
    p->tensors = w.tensors;
    p->n_tensors = w.n_tensors;
    return check_used(l, n, w.used, e);
}

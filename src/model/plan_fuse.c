/* plan_fuse: a peephole pass that puts fused ops in the place of their parts.
 *
 * At each step the patterns are tried from the one that saves most; the first whose weights the
 * back end accepts replaces the steps it covers. A register that only carried a value between the
 * parts is no longer written, so a pattern applies only if nothing reads that register before it is
 * written again; one that no step touches any more has no columns. Steps keep their order and their
 * meaning; tensors are not touched.
 */
#include <string.h>

#include "model/plan_int.h"

struct pass {
    struct plan *p;
    plan_has_fn *has;
};

static const struct plan_step *at(const struct pass *f, uint32_t i)
{
    static const struct plan_step none = {.op = OP_COUNT};

    return i < f->p->n_steps ? &f->p->steps[i] : &none;
}

static bool accepts(const struct pass *f, enum op op, int w)
{
    return f->has(op, f->p->tensors[w].dtype);
}

/* No step from `i` on reads register r before one writes it. */
static bool dead(const struct pass *f, uint32_t i, enum plan_reg r)
{
    for (; i < f->p->n_steps; i++) {
        if (plan_reads(at(f, i)) & 1u << r) return false;
        if (plan_writes(at(f, i)) & 1u << r) return true;
    }
    return true;
}

/* LINEARs of one src into different registers, none of them the src. */
static bool parallel(const struct plan_step *a, const struct plan_step *b)
{
    return a->op == OP_LINEAR && b->op == OP_LINEAR && a->layer == b->layer && a->src == b->src &&
           a->dst != b->dst && a->dst != a->src;
}

/* gate, up, GLU -> linear+glu */
static uint32_t fuse_glu(const struct pass *f, uint32_t i, struct plan_step *out)
{
    const struct plan_step *g = at(f, i), *u = at(f, i + 1), *glu = at(f, i + 2);

    if (!parallel(g, u) || u->dst == u->src || glu->op != OP_GLU || glu->src != g->dst ||
        glu->src2 != u->dst || glu->dst == u->dst || !accepts(f, OP_LINEAR_GLU, g->w) ||
        !accepts(f, OP_LINEAR_GLU, u->w) || !dead(f, i + 3, u->dst) ||
        (glu->dst != g->dst && !dead(f, i + 3, g->dst)))
        return 0;
    *out = *g;
    out->op = OP_LINEAR_GLU;
    out->dst = glu->dst;
    out->n = glu->n;
    out->w2 = u->w;
    out->b2 = u->b;
    out->act = glu->act;
    return 3;
}

/* two or three LINEARs of one src */
static uint32_t fuse_parallel(const struct pass *f, uint32_t i, struct plan_step *out)
{
    const struct plan_step *a = at(f, i), *b = at(f, i + 1), *c = at(f, i + 2);

    if (!parallel(a, b)) return 0;
    *out = *a;
    out->dst2 = b->dst;
    out->w2 = b->w;
    out->b2 = b->b;
    if (parallel(b, c) && a->dst != c->dst && accepts(f, OP_LINEAR3, a->w) &&
        accepts(f, OP_LINEAR3, b->w) && accepts(f, OP_LINEAR3, c->w)) {
        out->op = OP_LINEAR3;
        out->dst3 = c->dst;
        out->w3 = c->w;
        out->b3 = c->b;
        return 3;
    }
    out->op = OP_LINEAR2;
    return accepts(f, OP_LINEAR2, a->w) && accepts(f, OP_LINEAR2, b->w) ? 2 : 0;
}

/* d = W s; x = x + d -> x += W s */
static uint32_t fuse_add(const struct pass *f, uint32_t i, struct plan_step *out)
{
    const struct plan_step *l = at(f, i), *add = at(f, i + 1);

    if (l->op != OP_LINEAR || add->op != OP_ADD || add->dst != add->src || add->src2 != l->dst ||
        add->scale != 1.0f || add->dst == l->dst || add->dst == l->src ||
        !accepts(f, OP_LINEAR_ADD, l->w) || !dead(f, i + 2, l->dst))
        return 0;
    *out = *l;
    out->op = OP_LINEAR_ADD;
    out->dst = add->dst;
    return 2;
}

static void drop_unused(struct plan *p)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < p->n_steps; i++)
        used |= plan_reads(&p->steps[i]) | plan_writes(&p->steps[i]);
    for (int r = 0; r < REG_COUNT; r++)
        if (!(used >> r & 1)) p->width[r] = 0;
}

enum err plan_fuse(struct plan *p, struct arena *a, plan_has_fn *has, struct err_info *e)
{
    static uint32_t (*const patterns[])(const struct pass *, uint32_t,
                                        struct plan_step *) = {fuse_glu, fuse_parallel, fuse_add};
    struct pass f = {.p = p, .has = has};
    struct plan_step *out = ARENA_NEW(a, struct plan_step, p->n_steps);
    uint32_t n = 0;

    if (p->n_steps && !out) return ERR_FAIL(e, NOMEM, "no memory for %u fused steps", p->n_steps);
    for (uint32_t i = 0, took; i < p->n_steps; i += took) {
        took = 0;
        for (size_t k = 0; k < sizeof patterns / sizeof *patterns && !took; k++)
            took = patterns[k](&f, i, &out[n]);
        if (!took) {
            out[n] = p->steps[i];
            took = 1;
        }
        n++;
    }
    p->steps = out;
    p->n_steps = n;
    drop_unused(p);
    return ERR_OK;
}

/* plan_check: walks a finished plan once and refuses it where a step would read what was not
 * written or reach beyond its operands.
 *
 * The blocks take widths from metadata and from the shapes of tensors, and a file can make the two
 * disagree in ways that no block sees: a register that another tensor would have filled, pieces
 * past the end of a row, heads that do not divide. Back ends trust a plan, so this is where it is
 * settled, for every block at once and whatever the file says.
 *
 * Invariant: after success each operand of each step holds at least the columns that the step's
 * kernel reads, and each weight has the shape that the step's numbers say.
 */
#include <stdio.h>

#include "model/plan_int.h"

struct checker {
    const struct plan *p;
    const struct plan_step *s;
    uint32_t have[REG_COUNT]; /* columns written so far; 0: none */
};

static bool reads(const struct checker *c, enum plan_reg r, uint64_t n)
{
    return r < REG_NONE && n > 0 && n <= c->have[r];
}

static bool reads_if(const struct checker *c, enum plan_reg r, uint64_t n)
{
    return r == REG_NONE || reads(c, r, n);
}

static const struct plan_tensor *weight(const struct checker *c, int w)
{
    return w >= 0 && (uint32_t)w < c->p->n_tensors ? &c->p->tensors[w] : NULL;
}

static uint64_t values(const struct plan_tensor *t)
{
    return t ? t->rows * t->cols : 0;
}

/* ---- by kind ---- */

static bool product(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_tensor *w = weight(c, s->w), *b = weight(c, s->b);

    return w && reads(c, s->src, s->n_src) && w->cols == s->n_src && w->rows == s->n &&
           (!b || values(b) == s->n);
}

static bool head_product(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_tensor *w = weight(c, s->w);
    uint64_t heads = w ? w->n_parts : 0, last = heads ? heads - 1 : 0;

    return heads && heads == s->n_head && w->rows % heads == 0 &&
           reads(c, s->src, last * s->u.headlin.in_stride + w->cols) &&
           last * s->u.headlin.out_stride + w->rows / heads <= s->n;
}

static bool norm(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_tensor *w = weight(c, s->w), *b = weight(c, s->b);
    uint32_t group = s->group ? s->group : s->n;

    return reads(c, s->src, s->n) && s->n % group == 0 &&
           (!w || values(w) == group || values(w) == s->n) && (!b || values(b) == values(w));
}

static bool rotation(const struct checker *c)
{
    const struct plan_step *s = c->s;

    return s->index < c->p->n_ropes && reads(c, s->dst, (uint64_t)s->n_head * s->head_dim) &&
           (uint64_t)s->u.rope.first + c->p->ropes[s->index].n_rot <= s->head_dim;
}

static bool caching(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_cache *k = s->index < c->p->n_caches ? &c->p->caches[s->index] : NULL;

    return k && k->n_head && reads(c, s->src, (uint64_t)k->n_head * k->k_dim) &&
           reads(c, s->src2, (uint64_t)k->n_head * k->v_dim);
}

static bool attention(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_cache *k = s->index < c->p->n_caches ? &c->p->caches[s->index] : NULL;
    const struct plan_tensor *sinks = weight(c, s->w);

    return k && k->n_head && s->n_head && s->n_head % k->n_head == 0 && s->head_dim == k->k_dim &&
           reads(c, s->src, (uint64_t)s->n_head * s->head_dim) &&
           s->n == (uint64_t)s->n_head * k->v_dim && (!sinks || values(sinks) == s->n_head);
}

static bool multiplication(const struct checker *c)
{
    const struct plan_step *s = c->s;
    uint64_t n = s->src2 != REG_NONE ? s->n_src2 : values(weight(c, s->w));

    return reads(c, s->src, s->n) && reads_if(c, s->src2, s->n_src2) && n && s->n % n == 0;
}

static bool pieces(const struct checker *c)
{
    const struct plan_step *s = c->s;
    uint64_t last = s->n_head ? s->n_head - 1 : 0;

    return s->n_head && s->group &&
           reads(c, s->src, s->u.cols.from + last * s->u.cols.from_stride + s->group) &&
           s->u.cols.to + last * s->u.cols.to_stride + s->group <= s->n;
}

static bool choice(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_tensor *bias = weight(c, s->w);
    uint32_t n_used = s->u.route.n_used, groups = s->u.route.n_group;

    return reads(c, s->src, s->n_src) && n_used && n_used <= s->n_src && s->n >= n_used &&
           (!groups || (s->n_src % groups == 0 && s->u.route.n_group_used <= groups &&
                        n_used <= (uint64_t)s->n_src / groups * s->u.route.n_group_used)) &&
           (!bias || values(bias) == s->n_src);
}

static bool experts(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_tensor *w = weight(c, s->w);
    uint64_t n_used = s->u.route.n_used;

    return w && w->n_parts && w->rows % w->n_parts == 0 && n_used && reads(c, s->src2, n_used) &&
           reads(c, s->src, s->n_src) && (s->n_src == w->cols || s->n_src == n_used * w->cols) &&
           s->n == n_used * (w->rows / w->n_parts);
}

static bool mixture(const struct checker *c)
{
    const struct plan_step *s = c->s;

    return reads(c, s->src, (uint64_t)s->u.route.n_used * s->n) &&
           reads(c, s->src2, s->u.route.n_used);
}

/* ---- with a state ---- */

static bool state(const struct checker *c, uint64_t floats)
{
    return c->s->index < c->p->n_states && floats <= c->p->states[c->s->index];
}

static bool convolution(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_tensor *b = weight(c, s->b);
    uint64_t taps = values(weight(c, s->w)) / s->n;

    return taps && values(weight(c, s->w)) == taps * s->n && reads(c, s->src, s->n) &&
           (!b || values(b) == s->n) && state(c, (taps - 1) * s->n);
}

static bool scan(const struct checker *c)
{
    const struct plan_step *s = c->s;
    const struct plan_tensor *skip = weight(c, s->w2);
    uint64_t size = s->u.scan.n_state, groups = s->u.scan.n_group ? s->u.scan.n_group : 1;
    bool heads = s->op == OP_SCAN_HEADS;
    uint64_t n = heads ? s->n_head : s->n; /* columns of dt */

    if (heads && (s->n_head % groups || (uint64_t)s->n_head * s->head_dim != s->n)) return false;
    return reads(c, s->src, s->n) && reads(c, s->src2, n) && reads(c, s->src3, groups * size) &&
           reads(c, s->src4, groups * size) && values(weight(c, s->w)) == (heads ? n : n * size) &&
           (!skip || values(skip) == n) && state(c, s->n * size);
}

static bool wkv(const struct checker *c)
{
    const struct plan_step *s = c->s;

    return s->head_dim && (uint64_t)s->n_head * s->head_dim == s->n && reads(c, s->src, s->n) &&
           reads(c, s->src2, s->n) && reads(c, s->src3, s->n) && reads(c, s->src4, s->n) &&
           reads_if(c, s->src5, s->n) && reads_if(c, s->src6, s->n) &&
           (s->op == OP_WKV7 || values(weight(c, s->w)) == s->n) &&
           state(c, (uint64_t)s->n * s->head_dim);
}

static bool delta(const struct checker *c)
{
    const struct plan_step *s = c->s;
    uint64_t keys = (uint64_t)s->n_head * s->head_dim;

    return s->n_head && s->n % s->n_head == 0 && reads(c, s->src, keys) &&
           reads(c, s->src2, keys) && reads(c, s->src3, s->n) && reads(c, s->src4, s->n_head) &&
           reads(c, s->src5, s->n_head) && state(c, (uint64_t)s->n * s->head_dim);
}

/* ---- the walk ---- */

static bool fits(const struct checker *c)
{
    const struct plan_step *s = c->s;

    switch (s->op) {
    case OP_EMBED:
    case OP_ROWADD:
        return weight(c, s->w) && weight(c, s->w)->cols == s->n && reads_if(c, s->src, s->n);
    case OP_RMSNORM:
    case OP_LAYERNORM:
    case OP_L2NORM: return norm(c);
    case OP_LINEAR: return product(c);
    case OP_HEADLIN: return head_product(c);
    case OP_ROPE: return rotation(c);
    case OP_KVPUT: return caching(c);
    case OP_ATTN: return attention(c);
    case OP_GLU:
    case OP_ADD: return reads(c, s->src, s->n) && reads(c, s->src2, s->n);
    case OP_MUL: return multiplication(c);
    case OP_HEADSUM:
        return reads(c, s->src, (uint64_t)s->n_head * s->head_dim) && s->n == s->n_head;
    case OP_COLS: return pieces(c);
    case OP_ROUTE: return choice(c);
    case OP_EXPERT: return experts(c);
    case OP_MIX: return mixture(c);
    case OP_LERP:
        return reads(c, s->src, s->n) && reads(c, s->src2, s->n) && reads_if(c, s->src3, s->n) &&
               values(weight(c, s->w)) >= s->n;
    case OP_SHIFT: return reads(c, s->src, s->n) && state(c, s->n);
    case OP_CONV: return convolution(c);
    case OP_SCAN:
    case OP_SCAN_HEADS: return scan(c);
    case OP_WKV6:
    case OP_WKV7: return wkv(c);
    case OP_DELTA: return delta(c);
    default: return reads(c, s->src, s->n);
    }
}

enum err plan_check(const struct plan *p, struct err_info *e)
{
    struct checker c = {.p = p};

    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = c.s = &p->steps[i];
        char where[32] = "outside the layers";

        if (s->layer >= 0) snprintf(where, sizeof where, "in layer %d", s->layer);
        if ((s->dst != REG_NONE && s->n == 0) || !fits(&c))
            return ERR_FAIL(e, FORMAT,
                            "the model's numbers and tensors contradict each other: step %u (%s, "
                            "%s) does not fit its operands",
                            i, plan_op_name(s->op), where);
        if (s->dst != REG_NONE && s->op != OP_ROPE) c.have[s->dst] = s->n;
        if (s->dst2 != REG_NONE) c.have[s->dst2] = s->n;
    }
    return ERR_OK;
}

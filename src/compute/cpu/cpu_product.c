/* cpu_product: the ops of the CPU back end that go through mat: products with matrices.
 *
 * mat shares the rows of a matrix among the threads; here steps are turned into its calls. A GLU
 * that mat does not fuse has its second product in scratch and is multiplied afterwards.
 */
#include "compute/cpu/cpu_int.h"

/* ---- scratch ---- */

static bool is_linear(enum op op)
{
    return op == OP_LINEAR || op == OP_LINEAR2 || op == OP_LINEAR3 || op == OP_LINEAR_ADD ||
           op == OP_LINEAR_GLU;
}

void cpu_product_measure(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c)
{
    uint64_t cols = 1, rows = 1, glu = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (plan_op_weights(s->op) != PLAN_W_MAT) continue;
        int t[3] = {s->w, s->w2, s->w3};
        for (int k = 0; k < 3; k++) {
            if (t[k] == PLAN_NO_TENSOR) continue;
            if (cols < p->tensors[t[k]].cols) cols = p->tensors[t[k]].cols;
            if (rows < p->tensors[t[k]].rows) rows = p->tensors[t[k]].rows;
        }
        if (s->op == OP_LINEAR_GLU && s->act != ACT_SILU && glu < s->n) glu = s->n;
        if (!is_linear(s->op) && glu < p->tensors[s->w].cols) glu = p->tensors[s->w].cols;
    }
    uint64_t n = c->max_batch > c->max_out ? c->max_batch : c->max_out;
    l->glu = cpu_place(l, cpu_mul(cpu_mul(n, glu), sizeof(float)));
    l->mat = cpu_place(l, mat_scratch_bytes(n, cols, rows, c->n_threads));
}

/* ---- one matrix for all rows ---- */

static struct mat_weight weight(const struct dev *d, int w, int b, enum plan_reg dst)
{
    const struct plan_tensor *t = &d->plan->tensors[w];
    return (struct mat_weight){.dtype = t->dtype,
                               .w = d->w[w].data,
                               .rows = t->rows,
                               .bias = cpu_small(d, b),
                               .y = d->reg[dst],
                               .y_stride = t->rows};
}

/* The first n_w weights of the step, all of one source. */
static void product(struct dev *d, const struct plan_step *s, const struct batch *b, uint32_t n_w,
                    enum mat_epilogue epilogue)
{
    struct mat_call c = {.x = d->reg[s->src],
                         .n = cpu_rows(d, s, b),
                         .cols = d->plan->tensors[s->w].cols,
                         .n_w = n_w,
                         .epilogue = epilogue,
                         .scratch = d->mat};
    if (c.n == 0) return;
    c.w[0] = weight(d, s->w, s->b, s->dst);
    if (n_w > 1) c.w[1] = weight(d, s->w2, s->b2, s->dst2);
    if (n_w > 2) c.w[2] = weight(d, s->w3, s->b3, s->dst3);
    mat_run(d->pool, d->isa, &c);
}

void cpu_op_linear(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 1, MAT_STORE);
}

void cpu_op_linear2(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 2, MAT_STORE);
}

void cpu_op_linear3(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 3, MAT_STORE);
}

void cpu_op_linear_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 1, MAT_ADD);
}

static void glu_kept_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint64_t n = w->s->n;
    float *y = d->reg[w->s->dst] + from * n;
    d->vec->glu[w->s->act](y, y, d->glu + from * n, (to - from) * n);
}

void cpu_op_linear_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint64_t n = cpu_rows(d, s, b);
    struct mat_call c = {.x = d->reg[s->src],
                         .n = n,
                         .cols = d->plan->tensors[s->w].cols,
                         .n_w = 2,
                         .epilogue = s->act == ACT_SILU ? MAT_SILU_MUL : MAT_STORE,
                         .scratch = d->mat};
    if (n == 0) return;
    c.w[0] = weight(d, s->w, s->b, s->dst);
    c.w[1] = weight(d, s->w2, s->b2, s->dst);
    if (s->act != ACT_SILU) c.w[1].y = d->glu;
    mat_run(d->pool, d->isa, &c);
    if (s->act == ACT_SILU) return;
    struct cpu_work w = {d, s, b, glu_kept_rows, n};
    cpu_run(&w, n * s->n);
}

/* ---- a matrix for each slot ---- */

/* Matrix e of a tensor that has several. */
static const void *matrix(const struct dev *d, int w, uint32_t e)
{
    const struct plan_tensor *t = &d->plan->tensors[w];
    const struct dtype_info *type = dtype_info(t->dtype);
    uint64_t bytes = t->rows / t->n_parts * (t->cols / type->elems * type->bytes);
    if (d->w[w].parts) return d->w[w].parts[e];
    return (const char *)d->w[w].data + e * bytes;
}

void cpu_op_headlin(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct plan_tensor *t = &d->plan->tensors[s->w];
    uint64_t n = cpu_rows(d, s, b);
    for (uint32_t h = 0; h < s->n_head && n > 0; h++) {
        struct mat_call c = {.x = d->glu, .n = n, .cols = t->cols, .n_w = 1, .scratch = d->mat};
        for (uint64_t i = 0; i < n; i++)
            d->vec->scale(d->glu + i * t->cols,
                          d->reg[s->src] + i * s->n_src + (uint64_t)h * s->u.headlin.in_stride, 1,
                          t->cols);
        c.w[0] = (struct mat_weight){.dtype = t->dtype,
                                     .w = matrix(d, s->w, h),
                                     .rows = t->rows / s->n_head,
                                     .y = d->reg[s->dst] + (uint64_t)h * s->u.headlin.out_stride,
                                     .y_stride = s->n};
        mat_run(d->pool, d->isa, &c);
    }
}

void cpu_op_expert(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct plan_tensor *t = &d->plan->tensors[s->w];
    uint64_t n = cpu_rows(d, s, b), rows = t->rows / t->n_parts;
    uint32_t n_used = s->u.route.n_used;
    const float *bias = cpu_small(d, s->b);
    for (uint64_t i = 0; i < n * n_used; i++) {
        uint32_t e = (uint32_t)d->reg[s->src2][i];
        struct mat_call c = {.x = d->reg[s->src] + (s->n_src == t->cols ? i / n_used : i) * t->cols,
                             .n = 1,
                             .cols = t->cols,
                             .n_w = 1,
                             .scratch = d->mat};
        c.w[0] = (struct mat_weight){.dtype = t->dtype,
                                     .w = matrix(d, s->w, e),
                                     .rows = rows,
                                     .bias = bias ? bias + e * rows : NULL,
                                     .y = d->reg[s->dst] + i * rows,
                                     .y_stride = rows};
        mat_run(d->pool, d->isa, &c);
    }
}

/* cpu_product: the ops of the CPU back end that go through mat: products with matrices.
 *
 * mat shares the rows of matrices among the threads; here steps are turned into its calls. A GLU
 * that mat does not fuse has its second product in scratch and is multiplied afterwards.
 */
#include "compute/cpu/cpu_int.h"

/* ---- scratch ---- */

/* The call of an EXPERT or HEADLIN, but for where its data lie. */
static struct mat_experts slots_of(const struct plan *p, const struct plan_step *s, uint64_t n)
{
    const struct plan_tensor *t = &p->tensors[s->w];
    bool heads = s->op == OP_HEADLIN;
    uint32_t n_experts = heads ? s->n_head : t->n_parts;
    struct mat_experts c = {.dtype = t->dtype,
                            .n_experts = n_experts,
                            .rows = t->rows / n_experts,
                            .cols = t->cols,
                            .n = n,
                            .n_used = heads ? n_experts : s->u.route.n_used,
                            .x_row = s->n_src,
                            .y_row = s->n};
    if (heads) {
        c.x_slot = s->u.headlin.in_stride;
        c.y_slot = s->u.headlin.out_stride;
    } else {
        c.x_slot = s->n_src == t->cols ? 0 : t->cols; /* one input a row, or one a slot */
        c.y_slot = c.rows;
        c.y_row = c.n_used * c.rows;
    }
    return c;
}

void cpu_product_measure(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c)
{
    uint64_t cols = 1, rows = 1, glu = 0, scratch = 0;
    uint64_t n = c->max_batch > c->max_out ? c->max_batch : c->max_out;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        int t[3] = {s->w, s->w2, s->w3};
        if (plan_op_weights(s->op) != PLAN_W_MAT) continue;
        if (s->op == OP_EXPERT || s->op == OP_HEADLIN) {
            struct mat_experts call = slots_of(p, s, n);
            uint64_t bytes = mat_experts_scratch_bytes(&call, c->n_threads);
            if (scratch < bytes) scratch = bytes;
            continue;
        }
        for (int k = 0; k < 3; k++) {
            if (t[k] == PLAN_NO_TENSOR) continue;
            if (cols < p->tensors[t[k]].cols) cols = p->tensors[t[k]].cols;
            if (rows < p->tensors[t[k]].rows) rows = p->tensors[t[k]].rows;
        }
        if (s->op == OP_LINEAR_GLU && s->act != ACT_SILU && glu < s->n) glu = s->n;
    }
    uint64_t bytes = mat_scratch_bytes(n, cols, rows, c->n_threads);
    l->glu = cpu_place(l, cpu_mul(cpu_mul(n, glu), sizeof(float)));
    l->mat = cpu_place(l, scratch < bytes ? bytes : scratch);
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

static void slots(struct dev *d, const struct plan_step *s, const struct batch *b, const float *ids)
{
    struct mat_experts c = slots_of(d->plan, s, cpu_rows(d, s, b));
    c.w = d->w[s->w].data;
    c.parts = d->w[s->w].parts;
    c.bias = cpu_small(d, s->b);
    c.ids = ids;
    c.x = d->reg[s->src];
    c.y = d->reg[s->dst];
    c.scratch = d->mat;
    if (c.n > 0) mat_experts_run(d->pool, d->isa, &c);
}

void cpu_op_headlin(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    slots(d, s, b, NULL);
}

void cpu_op_expert(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    slots(d, s, b, d->reg[s->src2]);
}

/* ref_ops: the ops that treat each row by itself: look-ups, norms, products, element by element.
 *
 * A weight row is dequantised to float32 and multiplied with every row of the batch. Fused ops are
 * their parts. An op whose dst is its src works in place, because a value is read before the value
 * at the same place is written; products and COLS need a dst of their own.
 */
#include <math.h>
#include <string.h>

#include "compute/ref/ref_int.h"

/* ---- rows in, rows out ---- */

void ref_op_embed(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        float *y = ref_row(d, s->dst, s->n, i);
        ref_weight_row(d, s->w, 0, (uint64_t)b->tok[i], y);
        for (uint32_t c = 0; c < s->n; c++)
            y[c] *= s->scale;
    }
}

void ref_op_rowadd(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *x = ref_row(d, s->src, s->n, i);
        float *y = ref_row(d, s->dst, s->n, i);
        ref_weight_row(d, s->w, 0, s->u.rowadd.by_pos ? (uint64_t)b->pos[i] : 0, d->tmp[0]);
        for (uint32_t c = 0; c < s->n; c++)
            y[c] = x[c] + d->tmp[0][c];
    }
}

void ref_op_gather(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_out; i++)
        memcpy(ref_row(d, s->dst, s->n, i), ref_row(d, s->src, s->n, b->out[i]),
               s->n * sizeof(float));
}

/* ---- norms ---- */

/* What the columns of a group are divided by and, before that, freed of. */
struct spread {
    double middle, by;
};

static struct spread rms(const float *x, uint32_t n, double eps)
{
    double sum = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += (double)x[c] * x[c];
    return (struct spread){0, sqrt(sum / n + eps)};
}

static struct spread deviation(const float *x, uint32_t n, double eps)
{
    double sum = 0, squares = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += x[c];
    double mean = sum / n;
    for (uint32_t c = 0; c < n; c++)
        squares += (x[c] - mean) * (x[c] - mean);
    return (struct spread){mean, sqrt(squares / n + eps)};
}

static struct spread length(const float *x, uint32_t n, double eps)
{
    double sum = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += (double)x[c] * x[c];
    return (struct spread){0, fmax(sqrt(sum), eps)};
}

/* dst = (src - middle) / by * w + b, each group of columns by itself. Weights repeat over a row. */
static void normalise(struct dev *d, const struct plan_step *s, const struct batch *b,
                      struct spread (*measure)(const float *x, uint32_t n, double eps))
{
    const float *w = ref_vector(d, s->w), *bias = ref_vector(d, s->b);
    uint64_t n_w = ref_vector_len(d, s->w), n_b = ref_vector_len(d, s->b);
    uint32_t group = s->group ? s->group : s->n;
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *x = ref_row(d, s->src, s->n, i);
        float *y = ref_row(d, s->dst, s->n, i);
        for (uint32_t g = 0; g < s->n; g += group) {
            struct spread by = measure(x + g, group, s->eps);
            for (uint32_t c = g; c < g + group; c++) {
                double v = (x[c] - by.middle) / by.by;
                if (w) v *= w[c % n_w];
                if (bias) v += bias[c % n_b];
                y[c] = (float)v;
            }
        }
    }
}

/* Root mean square normalisation: Zhang and Sennrich 2019. */
void ref_op_rmsnorm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    normalise(d, s, b, rms);
}

/* Layer normalisation: Ba, Kiros and Hinton 2016. */
void ref_op_layernorm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    normalise(d, s, b, deviation);
}

void ref_op_l2norm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    normalise(d, s, b, length);
}

/* ---- products ---- */

/* One product of a step: y = w x (+ b), or y += with `onto`. */
struct product {
    enum plan_reg dst;
    int w, b;
    bool onto;
};

static void product(struct dev *d, const struct plan_step *s, const struct batch *b,
                    struct product p)
{
    const struct plan_tensor *t = &d->plan->tensors[p.w];
    const float *bias = ref_vector(d, p.b);
    uint32_t cols = (uint32_t)t->cols, rows = (uint32_t)t->rows;
    for (uint32_t r = 0; r < rows; r++) {
        ref_weight_row(d, p.w, 0, r, d->tmp[0]);
        for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
            float *y = ref_row(d, p.dst, rows, i) + r;
            float v = ref_dot(d->tmp[0], ref_row(d, s->src, cols, i), cols);
            if (bias) v += bias[r];
            *y = p.onto ? *y + v : v;
        }
    }
}

void ref_op_linear(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, (struct product){s->dst, s->w, s->b, false});
}

void ref_op_linear2(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, (struct product){s->dst, s->w, s->b, false});
    product(d, s, b, (struct product){s->dst2, s->w2, s->b2, false});
}

void ref_op_linear3(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    ref_op_linear2(d, s, b);
    product(d, s, b, (struct product){s->dst3, s->w3, s->b3, false});
}

void ref_op_linear_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, (struct product){s->dst, s->w, s->b, true});
}

/* Each head's columns times the matrix of that head. */
void ref_op_headlin(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct plan_tensor *t = &d->plan->tensors[s->w];
    uint64_t rows = t->rows / s->n_head;
    for (uint32_t h = 0; h < s->n_head; h++)
        for (uint64_t r = 0; r < rows; r++) {
            ref_weight_row(d, s->w, h, r, d->tmp[0]);
            for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
                const float *x = ref_row(d, s->src, s->n_src, i) + h * s->u.headlin.in_stride;
                float *y = ref_row(d, s->dst, s->n, i) + h * s->u.headlin.out_stride;
                y[r] = ref_dot(d->tmp[0], x, t->cols);
            }
        }
}

/* ---- element by element ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static float activate(enum plan_act act, float v)
{
    double x = v;
    switch (act) {
    case ACT_SILU: return (float)(x * sigmoid(x));
    /* Hendrycks and Gimpel 2016: sqrt(2 / pi), 0.044715 and 1.702 are the paper's. */
    case ACT_GELU_TANH:
        return (float)(0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))));
    case ACT_GELU_ERF: return (float)(0.5 * x * (1 + erf(x * 0.70710678118654752440)));
    case ACT_GELU_QUICK: return (float)(x * sigmoid(1.702 * x));
    case ACT_RELU: return v > 0 ? v : 0;
    case ACT_RELU_SQR: return v > 0 ? (float)(x * x) : 0;
    case ACT_SIGMOID: return (float)sigmoid(x);
    case ACT_TANH: return (float)tanh(x);
    /* log(1 + e^x) without e^x leaving the range */
    case ACT_SOFTPLUS: return (float)(fmax(x, 0) + log1p(exp(-fabs(x))));
    case ACT_NEG_EXP_DECAY: return (float)exp(-exp(x));
    case ACT_SIGMOID_DECAY: return (float)exp(-0.60653065971263342360 * sigmoid(x));
    default: BUG("no activation of one value");
    }
}

/* act(g) * u */
static float gate(enum plan_act act, float g, float u)
{
    if (act != ACT_SWIGLU_CLAMPED) return activate(act, g) * u;
    double x = g < 7 ? g : 7, up = u < -7 ? -7 : u > 7 ? 7 : u;
    return (float)(x * sigmoid(1.702 * x) * (up + 1));
}

void ref_op_linear_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct plan_tensor *t = &d->plan->tensors[s->w];
    const float *bias = ref_vector(d, s->b), *bias2 = ref_vector(d, s->b2);
    uint32_t cols = (uint32_t)t->cols, rows = (uint32_t)t->rows;
    for (uint32_t r = 0; r < rows; r++) {
        ref_weight_row(d, s->w, 0, r, d->tmp[0]);
        ref_weight_row(d, s->w2, 0, r, d->tmp[1]);
        for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
            const float *x = ref_row(d, s->src, cols, i);
            float g = ref_dot(d->tmp[0], x, cols), u = ref_dot(d->tmp[1], x, cols);
            if (bias) g += bias[r];
            if (bias2) u += bias2[r];
            ref_row(d, s->dst, rows, i)[r] = gate(s->act, g, u);
        }
    }
}

/* Values of the register that the step writes. */
static uint64_t values(const struct dev *d, const struct plan_step *s, const struct batch *b)
{
    return (uint64_t)ref_rows(d, s, b) * s->n;
}

void ref_op_act(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint64_t i = 0; i < values(d, s, b); i++)
        d->reg[s->dst][i] = activate(s->act, d->reg[s->src][i]);
}

void ref_op_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint64_t i = 0; i < values(d, s, b); i++)
        d->reg[s->dst][i] = gate(s->act, d->reg[s->src][i], d->reg[s->src2][i]);
}

void ref_op_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint64_t i = 0; i < values(d, s, b); i++)
        d->reg[s->dst][i] = d->reg[s->src][i] + s->scale * d->reg[s->src2][i];
}

/* Times a vector that repeats over the columns, or times columns of src2, each over its share. */
void ref_op_mul(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const float *w = ref_vector(d, s->w);
    uint64_t n_w = ref_vector_len(d, s->w);
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *x = ref_row(d, s->src, s->n, i), *by = NULL;
        float *y = ref_row(d, s->dst, s->n, i);
        if (s->src2 != REG_NONE) by = ref_row(d, s->src2, s->n_src2, i);
        for (uint32_t c = 0; c < s->n; c++)
            y[c] = x[c] * (by ? by[c / (s->n / s->n_src2)] : w[c % n_w]);
    }
}

void ref_op_scale(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint64_t i = 0; i < values(d, s, b); i++)
        d->reg[s->dst][i] = s->scale * d->reg[s->src][i];
}

void ref_op_softcap(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    double cap = s->scale;
    for (uint64_t i = 0; i < values(d, s, b); i++)
        d->reg[s->dst][i] = (float)(cap * tanh(d->reg[s->src][i] / cap));
}

/* The deviation is that of a sample (n - 1), as Gemma 3n was trained with. */
void ref_op_topgauss(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *x = ref_row(d, s->src, s->n, i);
        float *y = ref_row(d, s->dst, s->n, i);
        double mean = 0, var = 0, floor;
        for (uint32_t c = 0; c < s->n; c++)
            mean += x[c];
        mean /= s->n;
        for (uint32_t c = 0; c < s->n; c++)
            var += (x[c] - mean) * (x[c] - mean);
        floor = mean + s->scale * sqrt(s->n > 1 ? var / (s->n - 1) : 0);
        for (uint32_t c = 0; c < s->n; c++)
            y[c] = x[c] > floor ? (float)(x[c] - floor) : 0;
    }
}

void ref_op_headsum(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *x = ref_row(d, s->src, s->n_head * s->head_dim, i);
        float *y = ref_row(d, s->dst, s->n_head, i);
        for (uint32_t h = 0; h < s->n_head; h++) {
            double sum = 0;
            for (uint32_t c = 0; c < s->head_dim; c++)
                sum += x[h * s->head_dim + c];
            y[h] = (float)sum;
        }
    }
}

void ref_op_clamp(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint64_t i = 0; i < values(d, s, b); i++) {
        float x = d->reg[s->src][i];
        d->reg[s->dst][i] = x < -s->scale ? -s->scale : x > s->scale ? s->scale : x;
    }
}

void ref_op_cols(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *x = ref_row(d, s->src, s->n_src, i) + s->u.cols.from;
        float *y = ref_row(d, s->dst, s->n, i) + s->u.cols.to;
        for (uint32_t k = 0; k < s->n_head; k++)
            memcpy(y + (uint64_t)k * s->u.cols.to_stride, x + (uint64_t)k * s->u.cols.from_stride,
                   s->group * sizeof(float));
    }
}

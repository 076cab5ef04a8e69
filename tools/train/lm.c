/* lm: the weights of the model, the optimiser, and running it token by token.
 *
 * Weights lie in one array in the order of lm_layout(); the q, k, v matrices of a block are
 * adjacent and so are gate and up, so that each group is one product in training. Forward and
 * backward over batches are in lm_grad.c.
 */
#include "lm.h"

#include <math.h>

#include "base/err.h"
#include "base/mem.h"
#include "lm_int.h"
#include "rng.h"

static struct lm_slot slot(size_t *at, size_t rows, size_t cols)
{
    struct lm_slot s = {*at, rows, cols};
    *at += rows * cols;
    return s;
}

static void layout(struct lm *m)
{
    const struct lm_shape *s = &m->s;
    size_t at = 0, q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    m->embd = slot(&at, s->vocab, s->embd);
    for (size_t l = 0; l < s->layers; l++) {
        struct lm_slot *p = m->layer[l];
        p[LM_NORM1] = slot(&at, 1, s->embd);
        p[LM_Q] = slot(&at, q, s->embd);
        p[LM_K] = slot(&at, kv, s->embd);
        p[LM_V] = slot(&at, kv, s->embd);
        p[LM_O] = slot(&at, s->embd, q);
        p[LM_NORM2] = slot(&at, 1, s->embd);
        p[LM_GATE] = slot(&at, s->ff, s->embd);
        p[LM_UP] = slot(&at, s->ff, s->embd);
        p[LM_DOWN] = slot(&at, s->embd, s->ff);
    }
    m->norm = slot(&at, 1, s->embd);
    m->n_weights = at;
}

/* Uniform with the given standard deviation: needs no libm, so it is exact everywhere. */
static void fill(struct lm *m, struct lm_slot s, float std, struct rng *r)
{
    float *w = m->w + s.at;
    for (size_t i = 0; i < s.rows * s.cols; i++)
        w[i] = s.rows == 1 ? 1.0f : ((float)rng_unit(r) * 2.0f - 1.0f) * 1.7320508f * std;
}

void lm_init(struct lm *m, struct lm_shape s, uint64_t seed, bool train)
{
    struct rng r = rng_from(seed);
    *m = (struct lm){.s = s};
    ASSERT(s.layers >= 1 && s.layers <= LM_LAYERS_MAX);
    ASSERT(s.embd % 8 == 0 && s.head_dim % 8 == 0 && s.heads % s.kv_heads == 0);
    layout(m);
    m->w = mem_need(m->n_weights * sizeof(float));
    if (train) {
        m->grad = mem_need(m->n_weights * sizeof(float));
        m->m1 = mem_need(m->n_weights * sizeof(float));
        m->m2 = mem_need(m->n_weights * sizeof(float));
    }
    float deep = 1.0f / sqrtf(2.0f * (float)s.layers);
    fill(m, m->embd, 0.05f, &r);
    for (size_t l = 0; l < s.layers; l++)
        for (int p = 0; p < LM_PARTS; p++) {
            struct lm_slot sl = m->layer[l][p];
            float std = 1.0f / sqrtf((float)sl.cols);
            fill(m, sl, p == LM_O || p == LM_DOWN ? std * deep * 0.5f : std * 0.7f, &r);
        }
    fill(m, m->norm, 1.0f, &r);
}

void lm_fini(struct lm *m)
{
    mem_free(m->w);
    mem_free(m->grad);
    mem_free(m->m1);
    mem_free(m->m2);
    *m = (struct lm){0};
}

/* ---- optimiser ---- */

enum { CHUNK = 1 << 14 };

struct adam_job {
    struct lm *m;
    struct lm_adam opt;
    float scale, fix1, fix2; /* clipping; bias corrections */
    double *sum;             /* [tasks] squares of the gradient */
};

static void square_task(void *arg, size_t task, unsigned thread)
{
    struct adam_job *j = arg;
    size_t from = task * CHUNK,
           to = from + CHUNK < j->m->n_weights ? from + CHUNK : j->m->n_weights;
    double s = 0;
    (void)thread;
    for (size_t i = from; i < to; i++)
        s += (double)j->m->grad[i] * (double)j->m->grad[i];
    j->sum[task] = s;
}

static void update(struct adam_job *j, size_t from, size_t to, float decay)
{
    struct lm *m = j->m;
    const struct lm_adam o = j->opt;
    for (size_t i = from; i < to; i++) {
        float g = m->grad[i] * j->scale;
        float a = m->m1[i] = o.beta1 * m->m1[i] + (1.0f - o.beta1) * g;
        float b = m->m2[i] = o.beta2 * m->m2[i] + (1.0f - o.beta2) * g * g;
        float step = (a * j->fix1) / (sqrtf(b * j->fix2) + o.eps);
        m->w[i] -= o.rate * (step + decay * m->w[i]);
        m->grad[i] = 0.0f;
    }
}

/* Task 0 is the embedding, the last one the final norm, the others a part of a block each. */
static void update_task(void *arg, size_t task, unsigned thread)
{
    struct adam_job *j = arg;
    struct lm *m = j->m;
    struct lm_slot s = task == 0 ? m->embd : m->norm;
    bool inner = task > 0 && task <= m->s.layers * LM_PARTS;
    (void)thread;
    if (inner) s = m->layer[(task - 1) / LM_PARTS][(task - 1) % LM_PARTS];
    update(j, s.at, s.at + s.rows * s.cols, inner && s.rows > 1 ? j->opt.decay : 0.0f);
}

double lm_adam_step(struct lm *m, struct lm_adam opt, struct team *t)
{
    size_t tasks = (m->n_weights + CHUNK - 1) / CHUNK;
    struct adam_job j = {.m = m, .opt = opt, .sum = mem_need(tasks * sizeof(double))};
    double norm = 0;
    team_for(t, tasks, square_task, &j);
    for (size_t i = 0; i < tasks; i++)
        norm += j.sum[i];
    mem_free(j.sum);
    norm = sqrt(norm);
    m->n_steps++;
    double b1 = 1, b2 = 1;
    for (uint64_t i = 0; i < m->n_steps && i < 100000; i++) {
        b1 *= (double)opt.beta1;
        b2 *= (double)opt.beta2;
    }
    j.scale = norm > (double)opt.clip ? (float)((double)opt.clip / norm) : 1.0f;
    j.fix1 = (float)(1.0 / (1.0 - b1));
    j.fix2 = (float)(1.0 / (1.0 - b2));
    team_for(t, m->s.layers * LM_PARTS + 2, update_task, &j);
    return norm;
}

/* ---- running ---- */

struct lm_run {
    size_t context, n;
    float *k, *v; /* [layer][context][kv] */
    float *x, *h, *q, *att, *gate, *up, *score, *logits;
};

struct lm_run *lm_run_new(const struct lm *m, size_t context)
{
    const struct lm_shape *s = &m->s;
    size_t kv = s->kv_heads * s->head_dim, q = s->heads * s->head_dim;
    struct lm_run *r = mem_need(sizeof *r);
    r->context = context;
    r->k = mem_need(s->layers * context * kv * sizeof(float));
    r->v = mem_need(s->layers * context * kv * sizeof(float));
    r->x = mem_need(s->embd * sizeof(float));
    r->h = mem_need(s->embd * sizeof(float));
    r->q = mem_need(q * sizeof(float));
    r->att = mem_need(q * sizeof(float));
    r->gate = mem_need(s->ff * sizeof(float));
    r->up = mem_need(s->ff * sizeof(float));
    r->score = mem_need(context * sizeof(float));
    r->logits = mem_need(s->vocab * sizeof(float));
    return r;
}

void lm_run_free(struct lm_run *r)
{
    if (!r) return;
    float *all[] = {r->k, r->v, r->x, r->h, r->q, r->att, r->gate, r->up, r->score, r->logits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    mem_free(r);
}

static void norm_row(float *out, const float *x, const float *w, size_t n)
{
    float r = 1.0f / sqrtf(lm_dot(x, x, n) / (float)n + LM_EPS);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * r * w[i];
}

static void times(const struct lm *m, struct lm_slot s, const float *x, float *out, bool add)
{
    for (size_t i = 0; i < s.rows; i++) {
        float d = lm_dot(m->w + s.at + i * s.cols, x, s.cols);
        out[i] = add ? out[i] + d : d;
    }
}

static void rotate(float *x, size_t heads, size_t dim, size_t pos)
{
    for (size_t i = 0; i < dim / 2; i++) {
        double f = (double)pos * pow((double)LM_THETA, -2.0 * (double)i / (double)dim);
        float c = (float)cos(f), s = (float)sin(f);
        for (size_t h = 0; h < heads; h++) {
            float *p = x + h * dim + 2 * i, a = p[0], b = p[1];
            p[0] = a * c - b * s;
            p[1] = a * s + b * c;
        }
    }
}

static void attend(const struct lm *m, struct lm_run *r, size_t layer)
{
    const struct lm_shape *s = &m->s;
    size_t d = s->head_dim, kv = s->kv_heads * d, group = s->heads / s->kv_heads;
    const float *keys = r->k + layer * r->context * kv, *vals = r->v + layer * r->context * kv;
    float scale = 1.0f / sqrtf((float)d);
    for (size_t h = 0; h < s->heads; h++) {
        const float *q = r->q + h * d;
        float *out = r->att + h * d, top = -1e30f, sum = 0;
        for (size_t t = 0; t <= r->n; t++) {
            r->score[t] = scale * lm_dot(q, keys + t * kv + h / group * d, d);
            if (r->score[t] > top) top = r->score[t];
        }
        memset(out, 0, d * sizeof *out);
        for (size_t t = 0; t <= r->n; t++) {
            float p = lm_exp(r->score[t] - top);
            const float *v = vals + t * kv + h / group * d;
            sum += p;
            for (size_t i = 0; i < d; i++)
                out[i] += p * v[i];
        }
        for (size_t i = 0; i < d; i++)
            out[i] /= sum;
    }
}

const float *lm_run_step(const struct lm *m, struct lm_run *r, int32_t id)
{
    const struct lm_shape *s = &m->s;
    size_t kv = s->kv_heads * s->head_dim;
    if (r->n >= r->context) return NULL;
    memcpy(r->x, m->w + m->embd.at + (size_t)id * s->embd, s->embd * sizeof(float));
    for (size_t l = 0; l < s->layers; l++) {
        const struct lm_slot *p = m->layer[l];
        float *k = r->k + (l * r->context + r->n) * kv, *v = r->v + (l * r->context + r->n) * kv;
        norm_row(r->h, r->x, m->w + p[LM_NORM1].at, s->embd);
        times(m, p[LM_Q], r->h, r->q, false);
        times(m, p[LM_K], r->h, k, false);
        times(m, p[LM_V], r->h, v, false);
        rotate(r->q, s->heads, s->head_dim, r->n);
        rotate(k, s->kv_heads, s->head_dim, r->n);
        attend(m, r, l);
        times(m, p[LM_O], r->att, r->x, true);
        norm_row(r->h, r->x, m->w + p[LM_NORM2].at, s->embd);
        times(m, p[LM_GATE], r->h, r->gate, false);
        times(m, p[LM_UP], r->h, r->up, false);
        for (size_t i = 0; i < s->ff; i++)
            r->gate[i] = r->gate[i] / (1.0f + lm_exp(-r->gate[i])) * r->up[i];
        times(m, p[LM_DOWN], r->gate, r->x, true);
    }
    norm_row(r->h, r->x, m->w + m->norm.at, s->embd);
    times(m, m->embd, r->h, r->logits, false);
    r->n++;
    return r->logits;
}

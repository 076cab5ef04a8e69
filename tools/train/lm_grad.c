/* lm_grad: forward and backward of the model over a batch.
 *
 * Forward keeps what backward needs; softmax probabilities are kept too, which costs memory and
 * saves a product. Work is shared out by rows, by (window, head) or by tiles of a product, never by
 * parts of one sum, except the gradients of norms and of the embedding, whose parts are fixed in
 * number and added in order.
 */
#include <math.h>

#include "base/err.h"
#include "base/mem.h"
#include "lm_int.h"

static float *floats(size_t n)
{
    float *p = mem_aligned(64, n * sizeof(float));
    return p ? p : mem_need(n * sizeof(float));
}

struct lm_acts *lm_acts_new(const struct lm *m, size_t batch, size_t window, struct team *t)
{
    const struct lm_shape *s = &m->s;
    struct lm_acts *a = mem_need(sizeof *a);
    ASSERT(window % 8 == 0); /* lm_dot over a window */
    size_t n = batch * window, q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    *a = (struct lm_acts){.batch = batch, .window = window, .n = n, .team = t};
    for (size_t l = 0; l < s->layers; l++)
        a->layer[l] = (struct lm_layer_acts){
            .x = floats(n * s->embd),
            .h1 = floats(n * s->embd),
            .qkv = floats(n * (q + 2 * kv)),
            .prob = floats(n * s->heads * window),
            .att = floats(n * q),
            .mid = floats(n * s->embd),
            .h2 = floats(n * s->embd),
            .gu = floats(n * 2 * s->ff),
            .act = floats(n * s->ff),
            .r1 = floats(n),
            .r2 = floats(n),
        };
    a->out = floats(n * s->embd);
    a->hn = floats(n * s->embd);
    a->rn = floats(n);
    a->logits = floats(n * s->vocab);
    a->row_loss = mem_need(n * sizeof(double));
    a->dx = floats(n * s->embd);
    a->dh = floats(n * s->embd);
    a->dqkv = floats(n * (q + 2 * kv));
    a->datt = floats(n * q);
    a->dgu = floats(n * 2 * s->ff);
    a->dact = floats(n * s->ff);
    a->dprob = floats(team_threads(t) * LM_BLOCK * window);
    a->dnorm = floats(LM_NORM_TASKS * s->embd);
    a->cos = floats(window * s->head_dim / 2);
    a->sin = floats(window * s->head_dim / 2);
    for (size_t p = 0; p < window; p++)
        for (size_t i = 0; i < s->head_dim / 2; i++) {
            double f = (double)p * pow((double)LM_THETA, -2.0 * (double)i / (double)s->head_dim);
            a->cos[p * s->head_dim / 2 + i] = (float)cos(f);
            a->sin[p * s->head_dim / 2 + i] = (float)sin(f);
        }
    return a;
}

void lm_acts_free(struct lm_acts *a)
{
    if (!a) return;
    for (size_t l = 0; l < LM_LAYERS_MAX; l++) {
        struct lm_layer_acts *y = &a->layer[l];
        float *all[] = {y->x,  y->h1, y->qkv, y->prob, y->att, y->mid,
                        y->h2, y->gu, y->act, y->r1,   y->r2};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            mem_free(all[i]);
    }
    float *all[] = {a->out,  a->hn,  a->rn,   a->logits, a->dx,    a->dh,  a->dqkv,
                    a->datt, a->dgu, a->dact, a->dprob,  a->dnorm, a->cos, a->sin};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    mem_free(a->row_loss);
    for (unsigned i = 0; i < TEAM_MAX; i++)
        gemm_room_fini(&a->room[i]);
    mem_free(a);
}

/* ---- products ---- */

/* y [n][rows] = x [n][cols] W^T */
static void linear(struct lm_acts *a, const float *w, size_t rows, size_t cols, const float *x,
                   float *y)
{
    gemm_all(a->team, a->room,
             &(struct gemm_job){.c = y,
                                .ldc = rows,
                                .a = {x, cols, 1},
                                .b = {w, 1, cols},
                                .m = a->n,
                                .n = rows,
                                .k = cols});
}

struct back {
    const float *w;
    float *dw; /* gradient of w, added to */
    size_t rows, cols;
};

/* dx [n][cols] = dy W, dW += dy^T x */
static void linear_back(struct lm_acts *a, struct back b, const float *x, const float *dy,
                        float *dx)
{
    gemm_all(a->team, a->room,
             &(struct gemm_job){.c = dx,
                                .ldc = b.cols,
                                .a = {dy, b.rows, 1},
                                .b = {b.w, b.cols, 1},
                                .m = a->n,
                                .n = b.cols,
                                .k = b.rows});
    gemm_all(a->team, a->room,
             &(struct gemm_job){.c = b.dw,
                                .ldc = b.cols,
                                .a = {dy, 1, b.rows},
                                .b = {x, b.cols, 1},
                                .m = b.rows,
                                .n = b.cols,
                                .k = a->n,
                                .add = true});
}

/* ---- rows ---- */

struct rows_job {
    struct lm_acts *a;
    const struct lm *m;
    const float *x, *w;
    float *y, *r;    /* norm: output and 1 / rms */
    const float *dy; /* norm backward */
    float *dx;
    struct lm_layer_acts *y_layer;
    const int32_t *ids, *target;
    float inv_count;
    bool backward;
};

enum { ROWS = 64 }; /* rows of a task */

static size_t row_tasks(const struct lm_acts *a)
{
    return (a->n + ROWS - 1) / ROWS;
}

static size_t row_end(const struct lm_acts *a, size_t task)
{
    return (task + 1) * ROWS < a->n ? (task + 1) * ROWS : a->n;
}

static void norm_task(void *arg, size_t task, unsigned thread)
{
    const struct rows_job *j = arg;
    size_t d = j->m->s.embd;
    (void)thread;
    for (size_t i = task * ROWS; i < row_end(j->a, task); i++) {
        const float *x = j->x + i * d;
        float *y = j->y + i * d, r = 1.0f / sqrtf(lm_dot(x, x, d) / (float)d + LM_EPS);
        j->r[i] = r;
        for (size_t c = 0; c < d; c++)
            y[c] = x[c] * r * j->w[c];
    }
}

static void norm(const struct lm *m, struct lm_acts *a, struct lm_slot w, const float *x, float *y,
                 float *r)
{
    struct rows_job j = {.a = a, .m = m, .x = x, .w = m->w + w.at, .y = y, .r = r};
    team_for(a->team, row_tasks(a), norm_task, &j);
}

/* dx += the gradient through y = x r w; part of dw into a->dnorm[task]. */
static void norm_back_task(void *arg, size_t task, unsigned thread)
{
    const struct rows_job *j = arg;
    size_t d = j->m->s.embd, n = j->a->n;
    float *dw = j->a->dnorm + task * d;
    (void)thread;
    memset(dw, 0, d * sizeof *dw);
    for (size_t i = n * task / LM_NORM_TASKS; i < n * (task + 1) / LM_NORM_TASKS; i++) {
        const float *x = j->x + i * d, *dy = j->dy + i * d;
        float *dx = j->dx + i * d, r = j->r[i], s[8] = {0};
        for (size_t c = 0; c < d; c += 8)
            for (size_t e = 0; e < 8; e++)
                s[e] += dy[c + e] * j->w[c + e] * x[c + e];
        float dot = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        float k = dot * r * r * r / (float)d;
        for (size_t c = 0; c < d; c++) {
            dw[c] += dy[c] * x[c] * r;
            dx[c] += dy[c] * j->w[c] * r - x[c] * k;
        }
    }
}

static void norm_back(struct lm *m, struct lm_acts *a, struct lm_slot w, const float *x, float *r,
                      const float *dy)
{
    size_t d = m->s.embd;
    struct rows_job j = {.a = a, .m = m, .x = x, .w = m->w + w.at, .r = r, .dy = dy, .dx = a->dx};
    team_for(a->team, LM_NORM_TASKS, norm_back_task, &j);
    for (size_t t = 0; t < LM_NORM_TASKS; t++)
        for (size_t c = 0; c < d; c++)
            m->grad[w.at + c] += a->dnorm[t * d + c];
}

static void glu_task(void *arg, size_t task, unsigned thread)
{
    const struct rows_job *j = arg;
    size_t ff = j->m->s.ff;
    (void)thread;
    for (size_t i = task * ROWS; i < row_end(j->a, task); i++) {
        const float *g = j->y_layer->gu + i * 2 * ff, *u = g + ff;
        float *y = j->y_layer->act + i * ff;
        for (size_t c = 0; c < ff; c++)
            y[c] = g[c] / (1.0f + lm_exp(-g[c])) * u[c];
    }
}

static void glu_back_task(void *arg, size_t task, unsigned thread)
{
    const struct rows_job *j = arg;
    size_t ff = j->m->s.ff;
    (void)thread;
    for (size_t i = task * ROWS; i < row_end(j->a, task); i++) {
        const float *g = j->y_layer->gu + i * 2 * ff, *u = g + ff, *dy = j->a->dact + i * ff;
        float *dg = j->a->dgu + i * 2 * ff, *du = dg + ff;
        for (size_t c = 0; c < ff; c++) {
            float sig = 1.0f / (1.0f + lm_exp(-g[c])), silu = g[c] * sig;
            dg[c] = dy[c] * u[c] * (sig + silu * (1.0f - sig));
            du[c] = dy[c] * silu;
        }
    }
}

/* Rotates q and k of row i in place, by -angle for gradients. */
static void rotate_row(const struct lm *m, const struct lm_acts *a, float *row, size_t pos,
                       bool back)
{
    size_t d = m->s.head_dim, heads = m->s.heads + m->s.kv_heads;
    const float *cs = a->cos + pos * d / 2, *sn = a->sin + pos * d / 2;
    for (size_t h = 0; h < heads; h++)
        for (size_t i = 0; i < d / 2; i++) {
            float *p = row + h * d + 2 * i, x = p[0], y = p[1], s = back ? -sn[i] : sn[i];
            p[0] = x * cs[i] - y * s;
            p[1] = x * s + y * cs[i];
        }
}

static void rotate_task(void *arg, size_t task, unsigned thread)
{
    const struct rows_job *j = arg;
    size_t width = (j->m->s.heads + 2 * j->m->s.kv_heads) * j->m->s.head_dim;
    (void)thread;
    for (size_t i = task * ROWS; i < row_end(j->a, task); i++)
        rotate_row(j->m, j->a, j->y + i * width, i % j->a->window, j->backward);
}

static void add_task(void *arg, size_t task, unsigned thread)
{
    const struct rows_job *j = arg;
    size_t d = j->m->s.embd;
    (void)thread;
    for (size_t i = task * ROWS * d; i < row_end(j->a, task) * d; i++)
        j->y[i] = j->x[i] + j->dy[i];
}

static void add(const struct lm *m, struct lm_acts *a, float *y, const float *x, const float *z)
{
    struct rows_job j = {.a = a, .m = m, .y = y, .x = x, .dy = z};
    team_for(a->team, row_tasks(a), add_task, &j);
}

/* ---- attention: one task is one head of one window ---- */

struct heads_job {
    struct lm_acts *a;
    const struct lm *m;
    struct lm_layer_acts *y;
};

struct head {
    size_t t, d, width, q_width;
    const float *q, *k, *v; /* row stride width */
    float *prob;            /* [t][t] */
    size_t at, kv_at;       /* column of this head in att; of its k in qkv */
    size_t row;             /* first row of the window */
};

static struct head head_of(const struct heads_job *j, size_t task)
{
    const struct lm_shape *s = &j->m->s;
    size_t b = task / s->heads, h = task % s->heads, group = s->heads / s->kv_heads;
    struct head x = {.t = j->a->window, .d = s->head_dim};
    x.width = (s->heads + 2 * s->kv_heads) * x.d;
    x.q_width = s->heads * x.d;
    x.row = b * x.t;
    x.at = h * x.d;
    x.kv_at = x.q_width + h / group * x.d;
    x.q = j->y->qkv + x.row * x.width + x.at;
    x.k = j->y->qkv + x.row * x.width + x.kv_at;
    x.v = x.k + s->kv_heads * x.d;
    x.prob = j->y->prob + task * x.t * x.t;
    return x;
}

/* Over s[from..n-1]; zero before and after, up to width. */
static void softmax_row(float *row, size_t from, size_t to, size_t width, float scale)
{
    float *s = row + from;
    size_t n = to - from;
    memset(row, 0, from * sizeof *row);
    float top = lm_max(s, n);
    for (size_t i = 0; i < n; i++)
        s[i] = lm_exp((s[i] - top) * scale);
    float inv = 1.0f / lm_sum(s, n);
    for (size_t i = 0; i < n; i++)
        s[i] *= inv;
    memset(row + to, 0, (width - to) * sizeof *row);
}

static void attend_task(void *arg, size_t task, unsigned thread)
{
    const struct heads_job *j = arg;
    struct head x = head_of(j, task);
    struct gemm_room *room = &j->a->room[thread];
    const int32_t *from = j->a->from ? j->a->from + x.row : NULL;
    float scale = 1.0f / sqrtf((float)x.d);
    for (size_t i = 0; i < x.t; i += LM_BLOCK) {
        size_t rows = x.t - i < LM_BLOCK ? x.t - i : LM_BLOCK, seen = i + rows;
        float *p = x.prob + i * x.t;
        gemm_one(room, &(struct gemm_job){.c = p,
                                          .ldc = x.t,
                                          .a = {x.q + i * x.width, x.width, 1},
                                          .b = {x.k, 1, x.width},
                                          .m = rows,
                                          .n = seen,
                                          .k = x.d});
        for (size_t r = 0; r < rows; r++)
            softmax_row(p + r * x.t, from ? (size_t)from[i + r] : 0, i + r + 1, seen, scale);
        gemm_one(room, &(struct gemm_job){.c = j->y->att + (x.row + i) * x.q_width + x.at,
                                          .ldc = x.q_width,
                                          .a = {p, x.t, 1},
                                          .b = {x.v, x.width, 1},
                                          .m = rows,
                                          .n = x.d,
                                          .k = seen});
    }
}

/* One task is one window and one KV head with all the query heads that share it, so that no two
 * tasks add to the same gradient. */
static void attend_back_task(void *arg, size_t task, unsigned thread)
{
    const struct heads_job *j = arg;
    const struct lm_shape *s = &j->m->s;
    size_t group = s->heads / s->kv_heads, b = task / s->kv_heads, kv = task % s->kv_heads;
    struct gemm_room *room = &j->a->room[thread];
    float scale = 1.0f / sqrtf((float)s->head_dim);
    for (size_t g = 0; g < group; g++) {
        struct head x = head_of(j, b * s->heads + kv * group + g);
        float *ds = j->a->dprob + thread * LM_BLOCK * x.t;
        float *dq = j->a->dqkv + x.row * x.width + x.at;
        float *dk = j->a->dqkv + x.row * x.width + x.kv_at, *dv = dk + s->kv_heads * x.d;
        for (size_t i = 0; i < x.t; i += LM_BLOCK) {
            size_t rows = x.t - i < LM_BLOCK ? x.t - i : LM_BLOCK, seen = i + rows;
            const float *p = x.prob + i * x.t;
            const float *dout = j->a->datt + (x.row + i) * x.q_width + x.at;
            gemm_one(room, &(struct gemm_job){.c = ds,
                                              .ldc = x.t,
                                              .a = {dout, x.q_width, 1},
                                              .b = {x.v, 1, x.width},
                                              .m = rows,
                                              .n = seen,
                                              .k = x.d});
            gemm_one(room, &(struct gemm_job){.c = dv,
                                              .ldc = x.width,
                                              .a = {p, 1, x.t},
                                              .b = {dout, x.q_width, 1},
                                              .m = seen,
                                              .n = x.d,
                                              .k = rows,
                                              .add = true});
            for (size_t r = 0; r < rows; r++) {
                float *dr = ds + r * x.t;
                const float *pr = p + r * x.t;
                float sum = lm_dot(pr, dr, seen);
                for (size_t c = 0; c < seen; c++)
                    dr[c] = pr[c] * (dr[c] - sum) * scale;
            }
            gemm_one(room, &(struct gemm_job){.c = dq + i * x.width,
                                              .ldc = x.width,
                                              .a = {ds, x.t, 1},
                                              .b = {x.k, x.width, 1},
                                              .m = rows,
                                              .n = x.d,
                                              .k = seen});
            gemm_one(room, &(struct gemm_job){.c = dk,
                                              .ldc = x.width,
                                              .a = {ds, 1, x.t},
                                              .b = {x.q + i * x.width, x.width, 1},
                                              .m = seen,
                                              .n = x.d,
                                              .k = rows,
                                              .add = true});
        }
    }
}

/* ---- head and loss ---- */

/* Loss of each row; with backward the logits become their gradient. */
static void loss_task(void *arg, size_t task, unsigned thread)
{
    const struct rows_job *j = arg;
    size_t v = j->m->s.vocab;
    (void)thread;
    for (size_t i = task * ROWS; i < row_end(j->a, task); i++) {
        float *l = j->a->logits + i * v;
        int32_t want = j->target[i];
        j->a->row_loss[i] = 0;
        if (want < 0) {
            if (j->backward) memset(l, 0, v * sizeof *l);
            continue;
        }
        float top = lm_max(l, v), hit = l[want] - top;
        for (size_t c = 0; c < v; c++)
            l[c] = lm_exp(l[c] - top);
        float sum = lm_sum(l, v);
        j->a->row_loss[i] = log((double)sum) - (double)hit;
        if (!j->backward) continue;
        float k = j->inv_count / sum;
        for (size_t c = 0; c < v; c++)
            l[c] *= k;
        l[want] -= j->inv_count;
    }
}

static double loss(const struct lm *m, struct lm_acts *a, const int32_t *target, bool backward)
{
    size_t count = 0;
    double sum = 0;
    for (size_t i = 0; i < a->n; i++)
        count += target[i] >= 0;
    if (!count) return 0;
    struct rows_job j = {
        .a = a, .m = m, .target = target, .backward = backward, .inv_count = 1.0f / (float)count};
    team_for(a->team, row_tasks(a), loss_task, &j);
    for (size_t i = 0; i < a->n; i++)
        sum += a->row_loss[i];
    return sum / (double)count;
}

/* ---- the whole ---- */

static void forward(const struct lm *m, struct lm_acts *a, const int32_t *ids)
{
    const struct lm_shape *s = &m->s;
    size_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    for (size_t i = 0; i < a->n; i++)
        memcpy(a->layer[0].x + i * s->embd, m->w + m->embd.at + (size_t)ids[i] * s->embd,
               s->embd * sizeof(float));
    for (size_t l = 0; l < s->layers; l++) {
        const struct lm_slot *p = m->layer[l];
        struct lm_layer_acts *y = &a->layer[l];
        float *out = l + 1 < s->layers ? a->layer[l + 1].x : a->out;
        struct rows_job rot = {.a = a, .m = m, .y = y->qkv}, glu = {.a = a, .m = m, .y_layer = y};
        struct heads_job heads = {a, m, y};
        norm(m, a, p[LM_NORM1], y->x, y->h1, y->r1);
        linear(a, m->w + p[LM_Q].at, q + 2 * kv, s->embd, y->h1, y->qkv);
        team_for(a->team, row_tasks(a), rotate_task, &rot);
        team_for(a->team, a->batch * s->heads, attend_task, &heads);
        linear(a, m->w + p[LM_O].at, s->embd, q, y->att, a->dh);
        add(m, a, y->mid, y->x, a->dh);
        norm(m, a, p[LM_NORM2], y->mid, y->h2, y->r2);
        linear(a, m->w + p[LM_GATE].at, 2 * s->ff, s->embd, y->h2, y->gu);
        team_for(a->team, row_tasks(a), glu_task, &glu);
        linear(a, m->w + p[LM_DOWN].at, s->embd, s->ff, y->act, a->dh);
        add(m, a, out, y->mid, a->dh);
    }
    norm(m, a, m->norm, a->out, a->hn, a->rn);
    linear(a, m->w + m->embd.at, s->vocab, s->embd, a->hn, a->logits);
}

static struct back slot_back(struct lm *m, struct lm_slot s, size_t rows)
{
    return (struct back){m->w + s.at, m->grad + s.at, rows, s.cols};
}

static void backward(struct lm *m, struct lm_acts *a, const int32_t *ids)
{
    const struct lm_shape *s = &m->s;
    size_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    linear_back(a, slot_back(m, m->embd, s->vocab), a->hn, a->logits, a->dh);
    memset(a->dx, 0, a->n * s->embd * sizeof(float));
    norm_back(m, a, m->norm, a->out, a->rn, a->dh);
    for (size_t l = s->layers; l-- > 0;) {
        const struct lm_slot *p = m->layer[l];
        struct lm_layer_acts *y = &a->layer[l];
        struct rows_job glu = {.a = a, .m = m, .y_layer = y};
        struct rows_job rot = {.a = a, .m = m, .y = a->dqkv, .backward = true};
        struct heads_job heads = {a, m, y};
        linear_back(a, slot_back(m, p[LM_DOWN], s->embd), y->act, a->dx, a->dact);
        team_for(a->team, row_tasks(a), glu_back_task, &glu);
        linear_back(a, slot_back(m, p[LM_GATE], 2 * s->ff), y->h2, a->dgu, a->dh);
        norm_back(m, a, p[LM_NORM2], y->mid, y->r2, a->dh);
        linear_back(a, slot_back(m, p[LM_O], s->embd), y->att, a->dx, a->datt);
        memset(a->dqkv, 0, a->n * (q + 2 * kv) * sizeof(float));
        team_for(a->team, a->batch * s->kv_heads, attend_back_task, &heads);
        team_for(a->team, row_tasks(a), rotate_task, &rot);
        linear_back(a, slot_back(m, p[LM_Q], q + 2 * kv), y->h1, a->dqkv, a->dh);
        norm_back(m, a, p[LM_NORM1], y->x, y->r1, a->dh);
    }
    for (size_t i = 0; i < a->n; i++) {
        float *g = m->grad + m->embd.at + (size_t)ids[i] * s->embd;
        for (size_t c = 0; c < s->embd; c++)
            g[c] += a->dx[i * s->embd + c];
    }
}

double lm_loss(struct lm *m, struct lm_acts *a, const struct lm_batch *b, bool back)
{
    ASSERT(!back || m->grad);
    a->from = b->from;
    forward(m, a, b->ids);
    double l = loss(m, a, b->target, back);
    if (back) backward(m, a, b->ids);
    return l;
}

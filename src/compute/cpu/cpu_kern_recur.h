/* cpu_kern_recur: recurrences over the rows of one span, a part of cpu_kern.h.
 *
 * Each goes through the rows in order and through the state once or twice a row, vectors lying
 * along the state's last dimension; sums along that dimension run over lanes first, sums along the
 * other one in order. Nothing depends on how many rows come at a time.
 */

/* The vector at p + j of an array of n floats; lanes past the end are 0. */
INLINE vf at_end(const float *p, uint32_t j, uint32_t n)
{
    return n - j >= VW ? vf_load(p + j) : vf_load_n(p + j, n - j);
}

INLINE void put_end(float *p, uint32_t j, uint32_t n, vf v)
{
    if (n - j >= VW)
        vf_store(p + j, v);
    else
        vf_store_n(p + j, v, n - j);
}

/* ---- convolution ---- */

/* Columns c..c + n - 1, n <= VW, of a convolution with k taps: the last k - 1 rows are in `win`. */
INLINE void conv_columns(const struct cpu_conv *a, uint32_t c, uint32_t n, const uint32_t k)
{
    vf tap[CPU_TAPS], win[CPU_TAPS], bias = a->b ? vf_load_n(a->b + c, n) : (vf){0};
    float lane[VW] = {0};
    const float *x = a->x.p + c;
    float *y = a->y + c;
    for (uint32_t i = 0; i < k; i++) {
        for (uint32_t l = 0; l < n; l++)
            lane[l] = a->w[(c + l) * (uint64_t)k + i];
        tap[i] = vf_load(lane);
        if (i + 1 < k) win[i] = vf_load_n(a->state + i * a->state_step + c, n);
    }
    for (uint32_t t = 0; t < a->rows; t++, x += a->x.step, y += a->x.step) {
        vf sum = bias;
        win[k - 1] = n == VW ? vf_load(x) : vf_load_n(x, n);
        for (uint32_t i = 0; i < k; i++)
            sum = vf_fma(tap[i], win[i], sum);
        for (uint32_t i = 0; i + 1 < k; i++)
            win[i] = win[i + 1];
        if (n == VW)
            vf_store(y, sum);
        else
            vf_store_n(y, sum, n);
    }
    for (uint32_t i = 0; i + 1 < k; i++)
        vf_store_n(a->state + i * a->state_step + c, win[i], n);
}

static void conv(const struct cpu_conv *a)
{
    for (uint32_t c = 0; c < a->n; c += VW) {
        uint32_t n = a->n - c < VW ? a->n - c : VW;
        if (a->k == 4)
            conv_columns(a, c, n, 4);
        else if (a->k == 3)
            conv_columns(a, c, n, 3);
        else
            conv_columns(a, c, n, a->k);
    }
}

/* ---- state spaces ---- */

/* in: x [dim], dt [dim], B [dim2], C [dim2]; w: A [dim][dim2]; w2: D [dim] or NULL. dim is at most
 * CPU_COLUMNS. */
static void scan(const struct cpu_recur *a)
{
    float dt[CPU_COLUMNS];
    for (uint32_t t = 0; t < a->rows; t++) {
        const float *x = a->in[0].p + t * a->in[0].step, *b = a->in[2].p + t * a->in[2].step;
        const float *c = a->in[3].p + t * a->in[3].step;
        float *y = a->y + t * a->y_step, *s = a->state;
        const float *w = a->w;
        map_softplus(dt, a->in[1].p + t * a->in[1].step, a->dim);
        for (uint32_t i = 0; i < a->dim; i++, s += a->dim2, w += a->dim2) {
            vf sum = {0}, step = vf_set(dt[i]), in = vf_set(dt[i] * x[i]);
            for (uint32_t j = 0; j < a->dim2; j += VW) {
                vf v = at_end(s, j, a->dim2) * vf_exp(step * at_end(w, j, a->dim2));
                v = vf_fma(in, at_end(b, j, a->dim2), v);
                sum = vf_fma(v, at_end(c, j, a->dim2), sum);
                put_end(s, j, a->dim2, v);
            }
            y[i] = vf_sum(sum) + (a->w2 ? a->w2[i] * x[i] : 0.0f);
        }
    }
}

/* One row of a state against B and C: s = s * decay + in * B; returns s . C. */
INLINE float scan_line(float *s, vf decay, vf in, const float *const bc[2], uint32_t n)
{
    vf sum[2] = {{0}, {0}};
    uint32_t j = 0;
    for (; j + 2 * VW <= n; j += 2 * VW) {
        for (uint32_t v = 0; v < 2; v++) {
            float *p = s + j + v * VW;
            vf next = vf_fma(in, vf_load(bc[0] + j + v * VW), vf_load(p) * decay);
            sum[v] = vf_fma(next, vf_load(bc[1] + j + v * VW), sum[v]);
            vf_store(p, next);
        }
    }
    for (; j < n; j += VW) {
        vf next = vf_fma(in, at_end(bc[0], j, n), at_end(s, j, n) * decay);
        sum[0] = vf_fma(next, at_end(bc[1], j, n), sum[0]);
        put_end(s, j, n, next);
    }
    return vf_sum(sum[0] + sum[1]);
}

/* in: x [dim], dt [1], B [dim2], C [dim2]; w: A [1]; w2: D [1] or NULL. */
static void scan_head(const struct cpu_recur *a)
{
    for (uint32_t t = 0; t < a->rows; t++) {
        const float *x = a->in[0].p + t * a->in[0].step, *dt = a->in[1].p + t * a->in[1].step;
        const float *bc[2] = {a->in[2].p + t * a->in[2].step, a->in[3].p + t * a->in[3].step};
        float *y = a->y + t * a->y_step, step;
        map_softplus(&step, dt, 1);
        vf decay = vf_exp(vf_set(step * a->w[0]));
        for (uint32_t i = 0; i < a->dim; i++) {
            float out = scan_line(a->state + (uint64_t)i * a->dim2, decay, vf_set(step * x[i]), bc,
                                  a->dim2);
            y[i] = out + (a->w2 ? a->w2[0] * x[i] : 0.0f);
        }
    }
}

/* ---- linear attention ---- */

/* Columns j.. of the state, `vecs` vectors of them, the last maybe in part. */
INLINE void wkv6_columns(const struct cpu_recur *a, uint32_t t, uint32_t j, const uint32_t vecs)
{
    const float *r = a->in[0].p + t * a->in[0].step, *k = a->in[1].p + t * a->in[1].step;
    const float *v = a->in[2].p + t * a->in[2].step, *w = a->in[3].p + t * a->in[3].step;
    float *s = a->state;
    vf sum[4], value[4];
    for (uint32_t u = 0; u < vecs; u++) {
        sum[u] = (vf){0};
        value[u] = at_end(v, j + u * VW, a->dim2);
    }
    for (uint32_t i = 0; i < a->dim; i++, s += a->dim2) {
        vf ri = vf_set(r[i]), ki = vf_set(k[i]), wi = vf_set(w[i]), first = vf_set(a->w[i]);
        for (uint32_t u = 0; u < vecs; u++) {
            vf old = at_end(s, j + u * VW, a->dim2), kv = ki * value[u];
            sum[u] = vf_fma(ri, vf_fma(first, kv, old), sum[u]);
            put_end(s, j + u * VW, a->dim2, vf_fma(old, wi, kv));
        }
    }
    for (uint32_t u = 0; u < vecs; u++)
        put_end(a->y + t * a->y_step, j + u * VW, a->dim2, sum[u]);
}

/* in: r [dim], k [dim], v [dim2], decay [dim]; w: first [dim]. */
static void wkv6(const struct cpu_recur *a)
{
    for (uint32_t t = 0; t < a->rows; t++) {
        uint32_t j = 0;
        for (; j + 4 * VW <= a->dim2; j += 4 * VW)
            wkv6_columns(a, t, j, 4);
        for (; j < a->dim2; j += VW)
            wkv6_columns(a, t, j, 1);
    }
}

/* in: r, decay, k [dim2], v [dim], a, b [dim2]; the state's rows are values, its columns keys. */
static void wkv7(const struct cpu_recur *a)
{
    uint32_t n = a->dim2;
    for (uint32_t t = 0; t < a->rows; t++) {
        const float *in[6];
        float *s = a->state, *y = a->y + t * a->y_step;
        for (int o = 0; o < 6; o++)
            in[o] = a->in[o].p + t * a->in[o].step;
        for (uint32_t i = 0; i < a->dim; i++, s += n) {
            vf known = {0}, sum = {0}, value = vf_set(in[3][i]);
            for (uint32_t j = 0; j < n; j += VW)
                known = vf_fma(at_end(in[4], j, n), at_end(s, j, n), known);
            vf sa = vf_set(vf_sum(known));
            for (uint32_t j = 0; j < n; j += VW) {
                vf next = at_end(s, j, n) * at_end(in[1], j, n);
                next = vf_fma(sa, at_end(in[5], j, n), next);
                next = vf_fma(value, at_end(in[2], j, n), next);
                sum = vf_fma(at_end(in[0], j, n), next, sum);
                put_end(s, j, n, next);
            }
            y[i] = vf_sum(sum);
        }
    }
}

/* Columns j.. of the state, `vecs` vectors of them. */
INLINE void delta_columns(const struct cpu_recur *a, uint32_t t, uint32_t j, vf decay,
                          const uint32_t vecs)
{
    const float *q = a->in[0].p + t * a->in[0].step, *k = a->in[1].p + t * a->in[1].step;
    const float *v = a->in[2].p + t * a->in[2].step;
    vf beta = vf_set(a->in[4].p[t * a->in[4].step]);
    vf known[4], more[4], sum[4];
    float *s = a->state;
    for (uint32_t u = 0; u < vecs; u++)
        known[u] = sum[u] = (vf){0};
    for (uint32_t i = 0; i < a->dim; i++, s += a->dim2)
        for (uint32_t u = 0; u < vecs; u++)
            known[u] = vf_fma(vf_set(k[i]), at_end(s, j + u * VW, a->dim2), known[u]);
    for (uint32_t u = 0; u < vecs; u++)
        more[u] = (at_end(v, j + u * VW, a->dim2) - known[u] * decay) * beta;
    s = a->state;
    for (uint32_t i = 0; i < a->dim; i++, s += a->dim2) {
        for (uint32_t u = 0; u < vecs; u++) {
            vf next = vf_fma(vf_set(k[i]), more[u], at_end(s, j + u * VW, a->dim2) * decay);
            sum[u] = vf_fma(vf_set(q[i]), next, sum[u]);
            put_end(s, j + u * VW, a->dim2, next);
        }
    }
    for (uint32_t u = 0; u < vecs; u++)
        put_end(a->y + t * a->y_step, j + u * VW, a->dim2, sum[u] * vf_set(a->scale));
}

/* in: q [dim], k [dim], v [dim2], log of the decay [1], beta [1]; y is times scale. */
static void delta(const struct cpu_recur *a)
{
    for (uint32_t t = 0; t < a->rows; t++) {
        vf decay = vf_exp(vf_set(a->in[3].p[t * a->in[3].step]));
        uint32_t j = 0;
        for (; j + 4 * VW <= a->dim2; j += 4 * VW)
            delta_columns(a, t, j, decay, 4);
        for (; j < a->dim2; j += VW)
            delta_columns(a, t, j, decay, 1);
    }
}

#define KERN_RECUR                                                                                 \
    .conv = conv, .scan = scan, .scan_head = scan_head, .wkv6 = wkv6, .wkv7 = wkv7, .delta = delta

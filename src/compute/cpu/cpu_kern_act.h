/* cpu_kern_act: activations and what else works element by element, a part of cpu_kern.h.
 *
 * All are good to about 2 units in the last place of float32 where they are not cancelled by
 * definition, also at both ends: tanh keeps its digits near 0, softplus those of e^x, and GELU is
 * made of erfc, so that nothing is subtracted that nearly cancels. NaN stays NaN.
 */

INLINE vu vf_bits(vf v)
{
    vu b;
    memcpy(&b, &v, sizeof b);
    return b;
}

INLINE vf vf_from_bits(vu b)
{
    vf v;
    memcpy(&v, &b, sizeof v);
    return v;
}

INLINE vf vf_abs(vf v)
{
    return vf_from_bits(vf_bits(v) & 0x7fffffffu);
}

/* a where x < y, else b */
INLINE vf vf_less(vf x, vf y, vf a, vf b)
{
    vu m = (vu)(x < y);
    return vf_from_bits((vf_bits(a) & m) | (vf_bits(b) & ~m));
}

INLINE vf vf_clamp(vf x, float limit)
{
    return vf_min(vf_set(limit), vf_max(vf_set(-limit), x));
}

/* ---- functions ---- */

INLINE vf act_sigmoid(vf x)
{
    return vf_set(1.0f) / (vf_set(1.0f) + vf_exp(-x));
}

/* x sigmoid(u), u the steeper of both. Far out on the left the factor x must not grow, as the
 * sigmoid ends at e^-88 instead of 0. */
INLINE vf act_swish(vf x, vf u)
{
    return vf_max(vf_set(-100.0f), x) * act_sigmoid(u);
}

INLINE vf act_silu(vf x)
{
    return act_swish(x, x);
}

/* 0.5 x (1 + tanh u) is x sigmoid(2 u); sqrt(2 / pi), 0.044715 and 1.702 are of Hendrycks and
 * Gimpel 2016. */
INLINE vf act_gelu_tanh(vf x)
{
    vf cubic = vf_fma(x * x, x * vf_set(0.044715f), x);
    return act_swish(x, cubic * vf_set(2 * 0.79788456080286536f));
}

INLINE vf act_gelu_quick(vf x)
{
    return act_swish(x, x * vf_set(1.702f));
}

/* 0.5 x (1 + erf(x / sqrt 2)) = max(x, 0) - 0.5 |x| erfc(|x| / sqrt 2). With a >= 0, (1 + 2a)
 * e^(a^2) erfc(a) is smooth in t = (a - 2) / (a + 2), as in Shepherd and Laframboise 1981; the
 * polynomial interpolates it at Chebyshev nodes, 2e-8 off at most up to a = 9.4, where erfc is
 * 1e-40. */
INLINE vf act_gelu_erf(vf x)
{
    vf b = vf_min(vf_set(13.3f), vf_abs(x)), a = b * vf_set(0.70710678118654752f);
    vf t = (a - vf_set(2.0f)) / (a + vf_set(2.0f));
    vf p = vf_set(-4.2874630435e-4f);
    p = vf_fma(p, t, vf_set(-1.2744821704e-3f));
    p = vf_fma(p, t, vf_set(1.3242442613e-3f));
    p = vf_fma(p, t, vf_set(8.6704456878e-3f));
    p = vf_fma(p, t, vf_set(-8.0569527590e-3f));
    p = vf_fma(p, t, vf_set(-5.4215183726e-2f));
    p = vf_fma(p, t, vf_set(1.6405410396e-1f));
    p = vf_fma(p, t, vf_set(-1.6603040632e-1f));
    p = vf_fma(p, t, vf_set(-9.2763909759e-2f));
    p = vf_fma(p, t, vf_set(1.2769783780e+0f));
    vf erfc = vf_exp(b * b * vf_set(-0.5f)) * p / vf_fma(a, vf_set(2.0f), vf_set(1.0f));
    return vf_max((vf){0}, x) - b * vf_set(0.5f) * erfc;
}

INLINE vf act_relu(vf x)
{
    return vf_max((vf){0}, x);
}

INLINE vf act_relu_sqr(vf x)
{
    vf y = act_relu(x);
    return y * y;
}

/* Near 0 the odd polynomial that interpolates tanh up to 0.625, 2e-8 off at most. */
INLINE vf act_tanh(vf x)
{
    vf a = vf_abs(x), z = a * a;
    vf p = vf_set(-6.0967141631e-3f);
    p = vf_fma(p, z, vf_set(2.0997178997e-2f));
    p = vf_fma(p, z, vf_set(-5.3850909578e-2f));
    p = vf_fma(p, z, vf_set(1.3332769737e-1f));
    p = vf_fma(p, z, vf_set(-3.3333328944e-1f));
    vf near = vf_fma(a * z, p, a);
    vf far = vf_set(1.0f) - vf_set(2.0f) / (vf_exp(a + a) + vf_set(1.0f));
    vf y = vf_less(a, vf_set(0.625f), near, far);
    return vf_from_bits(vf_bits(y) | (vf_bits(x) & 0x80000000u));
}

/* max(x, 0) + log(1 + e), e = exp(-|x|); log(1 + e) = 2 atanh(s), s = e / (2 + e) <= 1 / 3, by its
 * series up to s^15. */
INLINE vf act_softplus(vf x)
{
    vf e = vf_exp(-vf_abs(x)), s = e / (e + vf_set(2.0f)), z = s * s;
    vf p = vf_set(2.0f / 15);
    p = vf_fma(p, z, vf_set(2.0f / 13));
    p = vf_fma(p, z, vf_set(2.0f / 11));
    p = vf_fma(p, z, vf_set(2.0f / 9));
    p = vf_fma(p, z, vf_set(2.0f / 7));
    p = vf_fma(p, z, vf_set(2.0f / 5));
    p = vf_fma(p, z, vf_set(2.0f / 3));
    return vf_max((vf){0}, x) + vf_fma(s * z, p, s + s);
}

INLINE vf act_neg_exp_decay(vf x)
{
    return vf_exp(-vf_exp(x));
}

INLINE vf act_sigmoid_decay(vf x)
{
    return vf_exp(act_sigmoid(x) * vf_set(-0.60653065971263342f));
}

INLINE vf swiglu_clamped(vf g, vf u)
{
    g = vf_min(vf_set(7.0f), g);
    return act_gelu_quick(g) * (vf_clamp(u, 7.0f) + vf_set(1.0f));
}

/* ---- over arrays ---- */

#define ACTS(X)                                                                                    \
    X(SILU, silu)                                                                                  \
    X(GELU_TANH, gelu_tanh)                                                                        \
    X(GELU_ERF, gelu_erf)                                                                          \
    X(GELU_QUICK, gelu_quick)                                                                      \
    X(RELU, relu)                                                                                  \
    X(RELU_SQR, relu_sqr)                                                                          \
    X(SIGMOID, sigmoid)                                                                            \
    X(TANH, tanh)                                                                                  \
    X(SOFTPLUS, softplus)                                                                          \
    X(NEG_EXP_DECAY, neg_exp_decay)                                                                \
    X(SIGMOID_DECAY, sigmoid_decay)

#define ACT_FNS(NAME, name)                                                                        \
    static void map_##name(float *y, const float *x, uint64_t n)                                   \
    {                                                                                              \
        MAP(y, n, act_##name(AT(x)));                                                              \
    }                                                                                              \
    static void glu_##name(float *y, const float *g, const float *u, uint64_t n)                   \
    {                                                                                              \
        MAP(y, n, act_##name(AT(g)) * AT(u));                                                      \
    }
ACTS(ACT_FNS)

static void glu_swiglu_clamped(float *y, const float *g, const float *u, uint64_t n)
{
    MAP(y, n, swiglu_clamped(AT(g), AT(u)));
}

static void add(float *y, const float *a, const float *b, float by, uint64_t n)
{
    MAP(y, n, vf_fma(AT(b), vf_set(by), AT(a)));
}

static void mul(float *y, const float *a, const float *b, uint64_t n)
{
    MAP(y, n, AT(a) * AT(b));
}

static void scale(float *y, const float *x, float by, uint64_t n)
{
    MAP(y, n, AT(x) * vf_set(by));
}

static void softcap(float *y, const float *x, float cap, uint64_t n)
{
    MAP(y, n, vf_set(cap) * act_tanh(AT(x) / vf_set(cap)));
}

static void clamp(float *y, const float *x, float limit, uint64_t n)
{
    MAP(y, n, vf_clamp(AT(x), limit));
}

static void lerp(float *y, const float *a, const float *b, const float *const w[2], uint64_t n)
{
    const float *w0 = w[0], *w1 = w[1];
    if (w1)
        MAP(y, n, vf_fma(AT(b) - AT(a), AT(w0) + AT(w1), AT(a)));
    else
        MAP(y, n, vf_fma(AT(b) - AT(a), AT(w0), AT(a)));
}

#define KERN_ACT_ROW(NAME, name) [ACT_##NAME] = map_##name,
#define KERN_GLU_ROW(NAME, name) [ACT_##NAME] = glu_##name,
#define KERN_ACT                                                                                   \
    .act = {ACTS(KERN_ACT_ROW)},                                                                   \
    .glu = {ACTS(KERN_GLU_ROW)[ACT_SWIGLU_CLAMPED] = glu_swiglu_clamped}, .add = add, .mul = mul,  \
    .scale = scale, .softcap = softcap, .clamp = clamp, .lerp = lerp

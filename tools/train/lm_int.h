/* lm_int: what the files of lm share: the activations of a step and elementwise helpers. */
#ifndef TRAIN_LM_INT_H
#define TRAIN_LM_INT_H

#include <stdint.h>
#include <string.h>

#include "lm.h"

struct lm_layer_acts { /* n = batch * window rows each */
    float *x;          /* [n][embd] into the block */
    float *h1;         /* [n][embd] after the first norm */
    float *qkv;        /* [n][q | k | v], q and k rotated */
    float *prob;       /* [batch][heads][window][window] */
    float *att;        /* [n][heads * head_dim] */
    float *mid;        /* [n][embd] after attention */
    float *h2;         /* [n][embd] after the second norm */
    float *gu;         /* [n][gate | up] */
    float *act;        /* [n][ff] */
    float *r1, *r2;    /* [n] 1 / rms */
};

struct lm_acts {
    struct lm_layer_acts layer[LM_LAYERS_MAX];
    size_t batch, window, n;
    const int32_t *from;  /* [n] first position of the window that a row may look at; NULL: all 0 */
    float *out, *hn, *rn; /* [n][embd] out of the last block; normed; [n] 1 / rms */
    float *logits;        /* [n][vocab]; its gradient after the loss */
    double *row_loss;     /* [n] */
    float *cos, *sin;     /* [window][head_dim / 2] */
    /* gradients of one block, reused by all */
    float *dx, *dh, *dqkv, *datt, *dgu, *dact; /* as above */
    float *dprob;                              /* [threads][BLOCK][window] */
    float *dnorm;                              /* [NORM_TASKS][embd] */
    struct team *team;
    struct gemm_room room[TEAM_MAX];
};

/* Rows of a window that attention takes at a time, and the parts a norm's gradient is summed in:
 * both fixed, so that sums do not depend on the thread count. */
enum { LM_BLOCK = 64, LM_NORM_TASKS = 32 };

/* e^x to about 2 ulp without libm: 2^n by exponent bits, the rest by a polynomial on [-ln2/2,
 * ln2/2] (Taylor to x^7). Saturates at both ends. */
static inline float lm_exp(float x)
{
    float lo = x < -87.0f ? -87.0f : x;
    float y = lo > 88.0f ? 88.0f : lo;
    float n = (y * 1.44269504f + 12582912.0f) - 12582912.0f;
    float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union {
        int32_t i;
        float f;
    } scale = {.i = ((int32_t)n + 127) << 23};
    return p * scale.f;
}

/* Sum of products with eight running sums, the order a vector unit gives. n is a multiple of 8. */
static inline float lm_dot(const float *a, const float *b, size_t n)
{
    float s[8] = {0};
    for (size_t i = 0; i < n; i += 8)
        for (size_t j = 0; j < 8; j++)
            s[j] += a[i + j] * b[i + j];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static inline float lm_sum(const float *a, size_t n)
{
    float s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            s[j] += a[i + j];
    for (size_t j = 0; i + j < n; j++)
        s[j] += a[i + j];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static inline float lm_max(const float *a, size_t n)
{
    float s[8];
    size_t i = 8;
    for (size_t j = 0; j < 8; j++)
        s[j] = a[j < n ? j : 0];
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            s[j] = a[i + j] > s[j] ? a[i + j] : s[j];
    for (; i < n; i++)
        s[0] = a[i] > s[0] ? a[i] : s[0];
    for (size_t j = 1; j < 8; j++)
        s[0] = s[j] > s[0] ? s[j] : s[0];
    return s[0];
}

#endif

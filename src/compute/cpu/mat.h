/* mat: matrix products of quantised and plain weights with float32 activations.
 *
 * y[i][r] = sum_c W[r][c] * x[i][c] (+ bias[r]) for n rows of activations, W straight from the
 * model's mapping in GGUF blocks. Quantised weights meet int8 activations, quantised once per call
 * for all weights of a fused group: one scale per 32 values for the 32-element types, one per 256
 * for the K-quants and IQ4_XS; F32, F16 and BF16 weights meet float32 activations. One row (decode)
 * runs at memory bandwidth, many rows (prefill) expand strips of weights in cache. Every other type
 * that can be dequantised is expanded to float32 a piece at a time and meets float32 activations:
 * exact, and as fast as its dequantiser.
 *
 * Determinism: a row of y depends on neither n nor the thread count beyond the rounding of float
 * sums; mat_*.c say where it is exact.
 */
#ifndef COMPUTE_CPU_MAT_H
#define COMPUTE_CPU_MAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/cpu/pool.h"
#include "model/dtype.h"

/* What a processor of this architecture may have; one that has an isa has all before it. */
enum mat_isa {
    MAT_GENERIC,
#if defined(__aarch64__)
    MAT_NEON,
    MAT_DOTPROD,
#elif defined(__x86_64__)
    MAT_AVX2,
    MAT_AVX512,
#endif
    MAT_ISA_COUNT
};

enum mat_epilogue {
    MAT_STORE,    /* y = W x + b */
    MAT_ADD,      /* y += W x + b */
    MAT_SILU_MUL, /* two weights: y[0] = silu(W0 x + b0) * (W1 x + b1) */
};

struct mat_weight {
    enum dtype dtype;
    const void *w; /* rows x cols, GGUF rows one after the other */
    uint64_t rows;
    const float *bias; /* [rows] or NULL */
    float *y;          /* [n][y_stride] */
    uint64_t y_stride; /* floats */
};

struct mat_call {
    const float *x; /* [n][cols], rows adjacent */
    uint64_t n, cols;
    struct mat_weight w[3];
    uint32_t n_w; /* 1..3 */
    enum mat_epilogue epilogue;
    void *scratch; /* mat_scratch_bytes() of the largest call, 64-byte aligned */
};

/* Products of which each row chooses its own matrices: mixtures of experts, one matrix a head.
 * Matrix e is at parts[e], or at w + e * its bytes where parts is NULL. Slot k of row i:
 *   y[i * y_row + k * y_slot + r] = sum_c W_e[r][c] * x[i * x_row + k * x_slot + c] (+ bias[e][r])
 * with e = ids[i * n_used + k]; without ids, slot k has matrix k. */
struct mat_experts {
    enum dtype dtype;
    const void *w;
    const void *const *parts; /* [n_experts] or NULL */
    uint32_t n_experts;
    uint64_t rows, cols; /* of one matrix */
    const float *bias;   /* [n_experts][rows] or NULL */
    const float *ids;    /* [n][n_used], whole numbers below n_experts; or NULL */
    uint64_t n;
    uint32_t n_used;
    const float *x;
    uint64_t x_row, x_slot; /* floats; x_slot 0: the slots of a row share its x */
    float *y;
    uint64_t y_row, y_slot; /* floats */
    void *scratch;          /* mat_experts_scratch_bytes() of the largest call, 64-byte aligned */
};

enum mat_isa mat_best_isa(void); /* by cpuid and the system's saved state */
const char *mat_isa_name(enum mat_isa isa);
/* True when weights of this type have a kernel (all isas then have one). */
bool mat_has(enum dtype w);
/* Scratch for calls up to n rows of cols columns with the given number of threads. */
size_t mat_scratch_bytes(uint64_t n, uint64_t cols, uint64_t max_rows, uint32_t n_threads);
/* Runs the call on the pool. Allocates nothing. */
void mat_run(struct pool *p, enum mat_isa isa, const struct mat_call *c);

/* Scratch for calls up to the n, n_used, n_experts and cols of `most` (nothing else is read). */
size_t mat_experts_scratch_bytes(const struct mat_experts *most, uint32_t n_threads);
/* Runs the call on the pool. The pairs of row and slot are gathered by matrix, so that each matrix
 * is read once, whoever wants it; all threads share the rows of all matrices. Allocates nothing. */
void mat_experts_run(struct pool *p, enum mat_isa isa, const struct mat_experts *c);

#endif

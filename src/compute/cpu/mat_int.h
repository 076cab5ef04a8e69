/* mat_int: what the files of mat share: the type list, the forms of activations and the isa table.
 *
 * Activations are brought into one of two forms before any weight is read. The *direct* form (few
 * columns) keeps each column apart: groups of 128 values (struct mat_q32) or super-blocks of 256
 * (struct mat_q256). The *panel* form (many columns) holds 16 columns side by side for 256 values
 * of k, so that one 32-bit piece of a weight row, broadcast, meets 16 columns in one instruction.
 *
 * A weight is w = d * (q - 2^off) - m with q an unsigned byte; off = MAT_NO_OFF means no offset.
 * Both the offset and m meet sums of activations, kept negated (nsum) so that the integer
 * accumulator can start from nsum << off.
 */
#ifndef COMPUTE_CPU_MAT_INT_H
#define COMPUTE_CPU_MAT_INT_H

#include "compute/cpu/mat.h"

#define MAT_NO_OFF 32     /* a shift by 32 clears an int32 lane */
#define MAT_UNIT   16     /* columns of a panel */
#define MAT_CHUNK  256    /* values of k in a panel and in a piece of a strip */
#define MAT_FCHUNK 128    /* the same for float weights */
#define MAT_RUN    16     /* rows of one stream between two epilogues in decode */
#define MAT_TILE   12     /* strips hold a multiple of this many rows */
#define MAT_STRIP  96     /* most rows of a strip */
#define MAT_ZERO   1e-35f /* activations whose largest is below this count as zeros */

/* X(NAME, off, has m): 32 values a block, activations scaled per 32 */
#define MAT_TYPES_Q32(X)                                                                           \
    X(Q4_0, 3, 0)                                                                                  \
    X(Q4_1, MAT_NO_OFF, 1)                                                                         \
    X(Q5_0, 4, 0)                                                                                  \
    X(Q5_1, MAT_NO_OFF, 1)                                                                         \
    X(Q8_0, 7, 0)                                                                                  \
    X(IQ4_NL, 7, 0)                                                                                \
    X(MXFP4, 7, 0)

/* X(NAME, off, has m, values under one scale): 256 values a block, activations scaled per 256 */
#define MAT_TYPES_Q256(X)                                                                          \
    X(Q2_K, MAT_NO_OFF, 1, 16)                                                                     \
    X(Q3_K, 2, 0, 16)                                                                              \
    X(Q4_K, MAT_NO_OFF, 1, 32)                                                                     \
    X(Q5_K, MAT_NO_OFF, 1, 32)                                                                     \
    X(Q6_K, 5, 0, 16)                                                                              \
    X(IQ4_XS, 7, 0, 32)

/* X(NAME): plain values, activations as they are */
#define MAT_TYPES_F(X)                                                                             \
    X(F32)                                                                                         \
    X(F16)                                                                                         \
    X(BF16)

enum mat_act { MAT_ACT_NONE, MAT_ACT_F32, MAT_ACT_Q32, MAT_ACT_Q256, MAT_ACT_COUNT };

/* 128 values: the first halves of four blocks of 32, then their second halves, as 4-bit blocks
 * unpack. */
struct mat_q32 {
    _Alignas(64) int8_t q[128];
    float d[16];      /* scale of block i at 4i..4i+3 */
    int32_t nsum[16]; /* -sum of lane l: q[4l..4l+3] + q[64+4l..64+4l+3] */
};

struct mat_q256 {
    _Alignas(64) int8_t q[256];
    int16_t nsum[16]; /* -sum of 16 values */
    float d;
    float pad[7];
};

struct mat_panel {
    _Alignas(64) int8_t q[MAT_CHUNK / 4][4 * MAT_UNIT]; /* [k/4][column][4] */
    float d[8][MAT_UNIT];       /* per 32 values; only d[0] for scales per 256 */
    int32_t nsum[16][MAT_UNIT]; /* per 16 values */
};

struct mat_fpanel {
    _Alignas(64) float x[MAT_FCHUNK][MAT_UNIT];
};

/* One row of a strip over one chunk of k, in natural order. */
struct mat_piece {
    _Alignas(64) uint8_t q[MAT_CHUNK];
    float d[16]; /* per 16 values; both halves of a block of 32 hold its scale */
    float m[16];
};

struct mat_fpiece {
    _Alignas(64) float w[MAT_FCHUNK];
};

/* The panels of one or two neighbouring units over one chunk. */
struct mat_gemm {
    const void *w; /* [rows] pieces */
    uint32_t rows; /* multiple of MAT_TILE */
    const void *x[2];
    uint32_t units; /* 1 or 2 */
    uint32_t k;     /* values of this chunk; a multiple of 32 for quantised weights */
    uint32_t off;
    float *o; /* [rows][2 * MAT_UNIT], accumulated into */
};

/* Up to four rows against up to eight columns in the direct form. */
struct mat_dot {
    enum dtype dtype;
    uint64_t cols;
    const uint8_t *w[4];
    const void *x[8];
    float *out; /* [row][column] of the shape */
};

/* Shapes of the direct kernels: rows taken from far apart, so that each row is a stream of its own.
 */
enum mat_shape { MAT_4X1, MAT_2X2, MAT_2X4, MAT_1X8, MAT_SHAPE_COUNT };

typedef void mat_dot_fn(const struct mat_dot *a);
/* n values (a multiple of 32, or any for floats) of a row into a struct mat_piece or mat_fpiece. */
typedef void mat_unpack_fn(const void *blocks, uint32_t n, void *piece);
typedef void mat_gemm_fn(const struct mat_gemm *g);

/* How a type takes the panel path. */
struct mat_strip {
    mat_unpack_fn *unpack;
    mat_gemm_fn *gemm;
    uint32_t off;
};

/* What is applied to a run of finished values of one column. */
enum mat_finish { MAT_FIN_STORE, MAT_FIN_ADD, MAT_FIN_SILU_MUL };

struct mat_isa_ops {
    mat_dot_fn *const (*dots)[MAT_SHAPE_COUNT]; /* [DTYPE_COUNT]; only types of the lists above */
    const struct mat_strip *strips;  /* [DTYPE_COUNT]; NULL: the direct form serves any n */
    dtype_dequant_fn *const *expand; /* [DTYPE_COUNT]; NULL or no entry: dtype_dequant() does it */
    /* One group: n <= 128 values, the rest of the group becomes zero. */
    void (*quant32)(const float *x, uint32_t n, struct mat_q32 *out);
    void (*quant256)(const float *x, struct mat_q256 *out);
    /* dst[j][i] = src[i][j] for 16 x 16 items of 32 bits; strides in items. */
    void (*transpose)(const void *src, size_t src_stride, void *dst, size_t dst_stride);
    /* y = v + b; y += v + b; y = silu(y) * (v + b). bias may be NULL. */
    void (*finish)(float *y, const float *v, const float *bias, uint32_t n, enum mat_finish f);
};

extern const struct mat_isa_ops mat_ops_generic;
#if defined(__aarch64__)
extern const struct mat_isa_ops mat_ops_neon;
extern const struct mat_isa_ops mat_ops_dotprod;
#elif defined(__x86_64__)
extern const struct mat_isa_ops mat_ops_avx2;
extern const struct mat_isa_ops mat_ops_avx512;
extern mat_dot_fn *const mat_dots_avx2[DTYPE_COUNT][MAT_SHAPE_COUNT];
extern mat_dot_fn *const mat_dots_avx512[DTYPE_COUNT][MAT_SHAPE_COUNT];
extern const struct mat_strip mat_strips_avx2[DTYPE_COUNT];
extern const struct mat_strip mat_strips_avx512[DTYPE_COUNT];
extern dtype_dequant_fn *const mat_expand_avx2[DTYPE_COUNT];
#endif

/* Statements for i = 0..n-1, n <= 4 rows or n <= 8 columns, as straight code: arrays indexed by i
 * then live in registers, which compilers do not manage for loops at the top of a function. */
#define MAT_STEP(i, k, n, ...)                                                                     \
    if ((k) < (n)) {                                                                               \
        enum { i = (k) };                                                                          \
        __VA_ARGS__                                                                                \
    }
#define MAT_ROWS(i, n, ...)                                                                        \
    do {                                                                                           \
        MAT_STEP(i, 0, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 1, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 2, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 3, n, __VA_ARGS__)                                                             \
    } while (0)
#define MAT_COLS(i, n, ...)                                                                        \
    do {                                                                                           \
        MAT_STEP(i, 0, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 1, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 2, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 3, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 4, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 5, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 6, n, __VA_ARGS__)                                                             \
        MAT_STEP(i, 7, n, __VA_ARGS__)                                                             \
    } while (0)

/* The form of activations that weights of this type meet; MAT_ACT_NONE when it cannot be run. */
enum mat_act mat_act_of(enum dtype t);
const struct mat_isa_ops *mat_ops_of(enum mat_isa isa);
/* Position of value e of block b within struct mat_q32.q. */
static inline uint32_t mat_q32_at(uint32_t b, uint32_t e)
{
    return (e / 16) * 64 + b * 16 + e % 16;
}

#endif

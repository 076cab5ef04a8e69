/* cpu_int: what the files of the CPU back end share: the open device and the vector functions.
 *
 * cpu.c opens, sizes and closes; cpu_ops.c has the ops but ATTN, which is in cpu_attn.c;
 * cpu_generic.c, cpu_avx2.c and cpu_avx512.c each make one `struct cpu_vec` of cpu_kern.h.
 */
#ifndef COMPUTE_CPU_CPU_INT_H
#define COMPUTE_CPU_CPU_INT_H

#include <stdatomic.h>

#include "base/limits.h"
#include "compute/backend.h"
#include "compute/cpu/mat.h"
#include "compute/cpu/pool.h"

#define CPU_LINE 64

/* Attention works on tiles of rows (query heads that share a kv head, times positions) against
 * groups of keys. The order of every sum follows from these two alone. */
#define CPU_ROWS  48  /* most rows of a tile; a multiple of every tile height */
#define CPU_GROUP 256 /* keys; a multiple of KV_BLOCK */
#define CPU_LD                                                                                     \
    (CPU_GROUP + 16) /* floats between rows of a left operand, an odd number of lines              \
                      */

/* c[rows][n] (+)= a[rows][k] * b[k][n], n a multiple of 16, rows of `a` CPU_LD floats apart, rows
 * of b adjacent. Sums over k in order, one accumulator an element. While it reads b it prefetches
 * `next`, which is as long. */
struct cpu_gemm {
    float *c;
    const float *a;
    const void *b, *next;
    uint32_t ldc, rows, k, n;
    bool onto; /* add to c */
};

struct cpu_vec {
    const char *name;
    uint32_t tile; /* rows that gemm takes in one pass over b */
    void (*gemm_f32)(const struct cpu_gemm *g);
    void (*gemm_f16)(const struct cpu_gemm *g); /* b is float16 */
    /* s[0..n-1] = exp(s - max), s[n..n_all-1] = 0; returns max and the sum; n >= 1, n_all % 16 == 0
     */
    float (*softmax)(float *s, uint32_t n, uint32_t n_all, float *sum);
    /* o[n] = o * a + x * b */
    void (*blend)(float *o, float a, const float *x, float b, uint32_t n);
    float (*exp1)(float x); /* one value, as softmax does it; x <= 0 */
    void (*rmsnorm)(float *y, const float *x, const float *w, uint32_t n,
                    float eps);                                           /* w: or NULL */
    void (*glu[4])(float *y, const float *g, const float *u, uint64_t n); /* by enum plan_act */
    void (*add)(float *y, const float *a, const float *b, uint64_t n);
    void (*scale)(float *y, const float *x, float by, uint64_t n);
    void (*rope_pairs)(float *x, const float *c, const float *s, uint32_t half);
    void (*rope_halves)(float *x, const float *c, const float *s, uint32_t half);
    void (*to_f16)(uint16_t *y, const float *x, uint64_t n);
    void (*from_f16)(float *y, const uint16_t *x, uint64_t n);
};

extern const struct cpu_vec cpu_generic;
#if defined(__x86_64__)
extern const struct cpu_vec cpu_avx2;
extern const struct cpu_vec cpu_avx512;
#endif

/* The cache of keys or values: for a layer, a block and a kv head, one piece of KV_BLOCK positions.
 * Keys lie [head_dim][KV_BLOCK], values [KV_BLOCK][width], so that both are the right operand of a
 * gemm. The width of values is head_dim_v rounded up to 16, the rest zero. */
struct cpu_cache {
    char *at; /* [n_layer][n_blocks][n_head_kv][piece] */
    enum dtype type;
    uint32_t size;  /* of a value: 2 or 4 bytes */
    uint32_t dim;   /* values of one position of one head */
    uint32_t width; /* dim, or rounded up for values */
    uint64_t piece; /* bytes */
};

/* Rows of the batch that attention takes together: positions of one span. */
struct cpu_tile {
    uint32_t span, first, n; /* index of the span, first row within it, rows */
};

/* What one tile got from one group of keys, or from all groups so far: rows of m (maximum), rows of
 * sum (0: no key seen), rows x width of the weighted values, not yet divided by sum. */
struct cpu_part {
    float *m, *sum, *o;
};

/* Where everything lies in the one allocation, and how long it is. */
struct cpu_layout {
    uint64_t reg[REG_COUNT], k, v, cos, sin, tiles, small, glu, mat, attn, part;
    uint64_t attn_thread; /* bytes of one thread's attention scratch */
    uint64_t total;
};

struct dev {
    const struct plan *plan;
    const struct dev_weight *w;
    struct dev_conf conf;
    const struct cpu_vec *vec;
    enum mat_isa isa;
    struct pool *pool;
    char *memory; /* the allocation; all below points into it */
    float *reg[REG_COUNT];
    struct cpu_cache k, v;
    uint32_t n_layer, n_head_kv;
    float *cos, *sin;       /* [rows of the step][n_rot / 2] */
    struct cpu_tile *tiles; /* [max_batch] */
    uint32_t n_tiles, tile_rows;
    const float **small; /* [n_tensors] norm weights and biases as float32, NULL for others */
    float *glu;          /* the second product of a LINEAR_GLU that mat has no epilogue for */
    void *mat;           /* mat's scratch */
    char *attn;          /* [n_threads][attn_thread] */
    uint64_t attn_thread;
    float *part; /* parts of tiles split over groups */
    char text[48];
};

/* ---- cpu_ops.c ---- */
backend_op_fn cpu_op_embed, cpu_op_rmsnorm, cpu_op_linear, cpu_op_linear2, cpu_op_linear3,
    cpu_op_linear_add, cpu_op_linear_glu, cpu_op_rope, cpu_op_kvput, cpu_op_glu, cpu_op_add,
    cpu_op_gather;
/* cos and sin of the rows of a step. */
void cpu_rope_table(struct dev *d, const struct batch *b);
/* The piece of the cache of one block and head. */
void *cpu_cache_at(const struct dev *d, const struct cpu_cache *c, uint32_t layer, uint32_t block,
                   uint32_t head);

/* ---- cpu_attn.c ---- */
backend_op_fn cpu_op_attn;
/* Cuts the rows of a step into tiles, for all layers. */
void cpu_attn_begin(struct dev *d, const struct batch *b);
uint64_t cpu_attn_thread_bytes(const struct plan *p);
uint64_t cpu_attn_part_bytes(const struct plan *p, uint32_t n_threads);

#endif

/* cpu_int: what the files of the CPU back end share: the open device and the vector functions.
 *
 * cpu.c opens, sizes and closes; cpu_ops.c has the ops that work row by row, cpu_moe.c the mixtures
 * of experts, cpu_recur.c the ops with a state, cpu_attn.c and cpu_cache.c attention.
 * cpu_generic.c, cpu_avx2.c, cpu_avx512.c and cpu_neon.c each make one `struct cpu_vec` of
 * cpu_kern.h.
 */
#ifndef COMPUTE_CPU_CPU_INT_H
#define COMPUTE_CPU_CPU_INT_H

#include <stdatomic.h>

#include "base/limits.h"
#include "compute/backend.h"
#include "compute/cpu/cpu_cache.h"
#include "compute/cpu/mat.h"
#include "compute/cpu/pool.h"

#define CPU_LINE    64
#define CPU_COLUMNS 64   /* of a unit of a recurrence that has no heads */
#define CPU_TAPS    64   /* rows that a convolution sees at most */
#define CPU_EXPERTS 4096 /* experts that ROUTE chooses from at most */

/* ---- vector functions ---- */

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
    const float *scale; /* of codes: of keys [k / 32][n], of values [k][n / 32] */
    uint32_t ldc, rows, k, n;
    bool onto; /* add to c */
};

/* k lines of a piece of the cache to float32, prefetching `next`. Scales are float16: of keys a
 * line of n for 32 lines, of values one for 32 columns of a line. */
struct cpu_widen {
    float *y; /* [k][n] */
    const void *b, *scale, *next;
    uint32_t k, n;
};

/* One operand of a recurrence: row t lies at p + t * step. */
struct cpu_seq {
    const float *p;
    uint64_t step; /* floats */
};

/* Some columns of a causal convolution over the rows of one span: y = b + sum w[c][i] x[t-k+1+i].
 * `state` holds the k - 1 rows before the first and is renewed; rows of it are state_step apart. y
 * may be x. */
struct cpu_conv {
    struct cpu_seq x;
    float *y;       /* rows x.step apart */
    const float *w; /* [n][k] */
    const float *b; /* [n] or NULL */
    float *state;   /* [k - 1][n] */
    uint64_t state_step;
    uint32_t rows, n, k;
};

/* A recurrence of one head (SCAN: of some columns) over the rows of one span. What `in`, the sizes
 * and w, w2 are, cpu_kern_recur.h says function by function. y is none of the operands. */
struct cpu_recur {
    struct cpu_seq in[6];
    float *y;
    uint64_t y_step;
    const float *w, *w2;
    float *state; /* [dim][dim2], renewed */
    uint32_t rows, dim, dim2;
    float scale;
};

/* The vector functions. y may be x; n counts floats. */
struct cpu_vec {
    const char *name;
    /* attention and cache */
    uint32_t tile; /* rows that gemm takes in one pass over b */
    void (*gemm_f32)(const struct cpu_gemm *g);
    void (*gemm_f16)(const struct cpu_gemm *g); /* b is float16 */
    /* s[0..n-1] = exp(s - max), s[n..n_all-1] = 0; returns max and the sum; n >= 1, n_all % 16 == 0
     */
    float (*softmax)(float *s, uint32_t n, uint32_t n_all, float *sum);
    /* o[n] = o * a + x * b */
    void (*blend)(float *o, float a, const float *x, float b, uint32_t n);
    float (*exp1)(float x); /* one value, as softmax does it; x <= 0 */
    void (*gemm_bf16)(const struct cpu_gemm *g);
    void (*gemm_q8_0[2])(const struct cpu_gemm *g); /* of keys, of values; with scale */
    void (*widen_f16)(const struct cpu_widen *w);
    void (*widen_bf16)(const struct cpu_widen *w);
    void (*widen_q8_0[2])(const struct cpu_widen *w); /* of keys, of values */
    void (*widen_q4_0[2])(const struct cpu_widen *w);
    /* 32 floats to signed codes and a float16 scale, to the bit those of quant_row() */
    uint16_t (*quant_q8_0)(int8_t *q, const float *x);
    uint16_t (*quant_q4_0)(int8_t *q, const float *x);
    void (*to_f16)(uint16_t *y, const float *x, uint64_t n);
    void (*to_bf16)(uint16_t *y, const float *x, uint64_t n);
    /* s[i] -= slope * |at - i| */
    void (*alibi)(float *s, float slope, float at, uint32_t n);
    /* norms of n values; w and b may be NULL */
    void (*rmsnorm)(float *y, const float *x, const float *w, uint32_t n, float eps);
    void (*layernorm)(float *y, const float *x, const float *const wb[2], uint32_t n, float eps);
    void (*l2norm)(float *y, const float *x, uint32_t n, float eps);
    /* element by element */
    void (*act[ACT_COUNT])(float *y, const float *x, uint64_t n);
    void (*glu[ACT_COUNT])(float *y, const float *g, const float *u, uint64_t n);
    void (*add)(float *y, const float *a, const float *b, float by, uint64_t n); /* a + by * b */
    void (*mul)(float *y, const float *a, const float *b, uint64_t n);
    void (*scale)(float *y, const float *x, float by, uint64_t n);
    void (*softcap)(float *y, const float *x, float cap, uint64_t n);
    void (*clamp)(float *y, const float *x, float limit, uint64_t n);
    float (*sum)(const float *x, uint32_t n);
    /* y = a + (b - a) * (w + w2), w2 may be NULL */
    void (*lerp)(float *y, const float *a, const float *b, const float *const w[2], uint64_t n);
    void (*rope_pairs)(float *x, const float *c, const float *s, uint32_t half);
    void (*rope_halves)(float *x, const float *c, const float *s, uint32_t half);
    /* recurrences */
    void (*conv)(const struct cpu_conv *a);
    void (*scan)(const struct cpu_recur *a);
    void (*scan_head)(const struct cpu_recur *a);
    void (*wkv6)(const struct cpu_recur *a);
    void (*wkv7)(const struct cpu_recur *a);
    void (*delta)(const struct cpu_recur *a);
};

extern const struct cpu_vec cpu_generic;
#if defined(__aarch64__)
extern const struct cpu_vec cpu_neon;
#elif defined(__x86_64__)
extern const struct cpu_vec cpu_avx2;
extern const struct cpu_vec cpu_avx512;
#endif

/* ---- the device ---- */

/* Where everything lies in the one allocation, and how long it is. */
struct cpu_layout {
    uint64_t reg[REG_COUNT], tables, table, states, state_at, small, floats, glu, mat;
    struct cpu_kv_at kv;
    uint64_t total;
};

/* cos and sin of one plan_rope for the rows of a step, [rows][n_rot / 2]. */
struct cpu_table {
    float *cos, *sin;
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
    struct cpu_table *tables; /* [n_ropes] */
    const float **small;      /* [n_tensors] vectors as float32, NULL for other tensors */
    float *glu;               /* a second product, or packed rows, where mat takes none */
    void *mat;                /* mat's scratch */
    float *states;            /* [n_states of conf][state_floats] */
    uint64_t *state_at;       /* [plan.n_states] where each begins in a set */
    uint64_t state_floats;
    const struct plan_step *gather; /* the first GATHER; NULL: none */
    struct cpu_kv kv;
    char text[48];
};

/* ---- cpu.c ---- */
const struct cpu_vec *cpu_vec_of(enum mat_isa isa);
/* Sizes saturate, so that an absurd configuration ends as "not enough memory". */
uint64_t cpu_mul(uint64_t a, uint64_t b);
/* Gives n bytes the next place in the layout; returns where. */
uint64_t cpu_place(struct cpu_layout *l, uint64_t n);

/* ---- cpu_ops.c: sharing out, and the ops that work row by row ---- */
struct cpu_work {
    struct dev *d;
    const struct plan_step *s;
    const struct batch *b;
    void (*units)(const struct cpu_work *w, uint64_t from, uint64_t to);
    uint64_t n; /* units */
};
/* Runs w->units over all units; `values` is what they hold together: few run on this thread. */
void cpu_run(struct cpu_work *w, uint64_t values);
/* Rows that a step works on: the wanted ones from GATHER on. */
uint32_t cpu_rows(const struct dev *d, const struct plan_step *s, const struct batch *b);
/* The float32 copy of a vector; NULL for PLAN_NO_TENSOR. */
const float *cpu_small(const struct dev *d, int tensor);
/* cos and sin of the rows of a step. */
void cpu_rope_tables(struct dev *d, const struct batch *b);
backend_op_fn cpu_op_embed, cpu_op_rowadd, cpu_op_gather, cpu_op_rmsnorm, cpu_op_layernorm,
    cpu_op_l2norm, cpu_op_rope, cpu_op_act, cpu_op_glu, cpu_op_add, cpu_op_mul, cpu_op_scale,
    cpu_op_softcap, cpu_op_clamp, cpu_op_topgauss, cpu_op_headsum, cpu_op_cols, cpu_op_lerp;

/* ---- cpu_product.c: what goes through mat ---- */
backend_op_fn cpu_op_linear, cpu_op_linear2, cpu_op_linear3, cpu_op_linear_add, cpu_op_linear_glu,
    cpu_op_headlin, cpu_op_expert;
/* Scratch: mat's and the products'. */
void cpu_product_measure(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c);

/* ---- cpu_moe.c ---- */
backend_op_fn cpu_op_route, cpu_op_mix;

/* ---- cpu_recur.c: the ops with a state ---- */
backend_op_fn cpu_op_shift, cpu_op_conv, cpu_op_scan, cpu_op_scan_heads, cpu_op_wkv6, cpu_op_wkv7,
    cpu_op_delta;

/* ---- cpu_cache.c ---- */
bool cpu_kv_has(enum dtype ktype, enum dtype vtype);
/* Can the plan be run with caches of these types? If not the text names what works. */
MUST_CHECK enum err cpu_kv_check(const struct plan *p, const struct dev_conf *c,
                                 struct err_info *e);
void cpu_kv_measure(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c);
/* Sets d->kv; plan, conf, vec and isa of the device are there already. */
void cpu_kv_bind(struct dev *d, const struct cpu_layout *l, char *base);
void cpu_kv_copy(struct dev *d, uint32_t from, uint32_t to, uint32_t n);
backend_op_fn cpu_op_kvput;

/* ---- cpu_attn.c ---- */
backend_op_fn cpu_op_attn;
/* Before the first op of a step. */
void cpu_kv_begin(struct dev *d, const struct batch *b);
/* Lays out attention's scratch, in the same way for both. */
void cpu_attn_measure(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c);
void cpu_attn_bind(struct dev *d, const struct cpu_layout *l, char *base);

#endif

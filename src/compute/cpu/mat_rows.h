/* mat_rows: the two ways of rows against columns, and the forms of activations they need.
 *
 * A column is one row of activations. Few columns take the direct way, many the way of panels (see
 * mat_int.h). The drivers (mat.c, mat_expert.c) say which columns a weight meets and hand out its
 * rows; here rows are multiplied. Nothing here knows about threads but the preparation, of which
 * each thread does a share.
 */
#ifndef COMPUTE_CPU_MAT_ROWS_H
#define COMPUTE_CPU_MAT_ROWS_H

#include "compute/cpu/mat_int.h"

#define MAT_DIRECT_MAX   8   /* columns that the direct way serves best */
#define MAT_DIRECT_LEAST 256 /* rows of a piece: shorter streams cost more than they balance */
#define MAT_ALIGN        64
#define MAT_CEIL(a, b)   (((a) + (b)-1) / (b))
#define MAT_MIN(a, b)    ((a) < (b) ? (a) : (b))

/* Where one column lies when columns are not adjacent. */
struct mat_col {
    const float *x;
    const uint8_t *direct; /* in the direct form; NULL for float32 */
    float *y;              /* its results, from row 0 on */
};

struct mat_cols {
    uint64_t n, cols;         /* columns, values of each */
    const struct mat_col *at; /* [n], or NULL: as follows */
    const float *x;           /* column i at x + i * x_stride */
    uint64_t x_stride;
    float *y; /* results of column i at y + i * y_stride */
    uint64_t y_stride;
    uint8_t *direct; /* [n] direct forms */
    uint8_t *panels; /* [unit][chunk] panels */
};

/* The area of one thread for the way of panels; the strip follows. */
struct mat_own {
    _Alignas(64) float o[MAT_STRIP][2 * MAT_UNIT];
    float t[2 * MAT_UNIT][MAT_STRIP];
};

/* Rows from..to-1 of one weight, and what they meet. */
struct mat_job {
    const struct mat_isa_ops *ops;
    const struct mat_cols *c;
    enum dtype dtype;
    enum dtype kernel; /* whose kernels serve: dtype's own, or F32's behind the dequantiser */
    dtype_dequant_fn *expand; /* that dequantiser */
    enum mat_act act;
    enum mat_finish fin;
    const uint8_t *w;
    uint64_t row_bytes;
    const float *bias; /* of row 0, or NULL */
    uint64_t from, to;
    struct mat_own *own; /* panels only */
};

/* The fields that the weight's type and the columns decide. */
struct mat_job mat_rows_job(const struct mat_isa_ops *ops, const struct mat_cols *c, enum dtype t);
void mat_rows_direct(const struct mat_job *j);
void mat_rows_panel(const struct mat_job *j);

/* This thread's share of bringing the columns into a form; all threads must be done with it before
 * rows begin. */
void mat_rows_to_direct(const struct mat_isa_ops *ops, enum mat_act act, const struct mat_cols *c,
                        uint32_t thread, uint32_t n_threads);
void mat_rows_to_panels(const struct mat_isa_ops *ops, enum mat_act act, const struct mat_cols *c,
                        uint32_t thread, uint32_t n_threads);

/* Bytes of one column in the direct form, of the panels of n columns, of a thread's area. The last
 * grows with cols, so that the largest call's serves every other. */
uint64_t mat_rows_direct_bytes(enum mat_act act, uint64_t cols);
uint64_t mat_rows_panel_bytes(enum mat_act act, uint64_t n, uint64_t cols);
uint64_t mat_rows_own_bytes(uint64_t cols);
/* Most rows of a strip: what fits the cache, at least one tile. */
uint32_t mat_rows_strip(enum mat_act act, uint64_t cols);

#endif

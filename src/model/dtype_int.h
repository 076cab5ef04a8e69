/* dtype_int: what the files of dtype and quant share: the dequantisers and the shared code tables.
 */
#ifndef MODEL_DTYPE_INT_H
#define MODEL_DTYPE_INT_H

#include "model/dtype.h"

/* 16 levels of IQ4_NL and IQ4_XS, ascending. */
extern const int8_t dtype_iq4_levels[16];
/* Twice the 16 values of an e2m1 float (MXFP4, NVFP4): sign in bit 3. */
extern const int8_t dtype_e2m1_twice[16];

/* Scale and minimum of sub-block j (0..7) of a Q4_K or Q5_K block: 6 bits each. */
void dtype_k4_scale(const uint8_t scales[12], unsigned j, uint8_t *scale, uint8_t *min);
/* The 16 signed 6-bit scales of a Q3_K block. */
void dtype_k3_scales(const uint8_t packed[12], int8_t scales[16]);

dtype_dequant_fn dtype_dq_block_f32, dtype_dq_block_f64, dtype_dq_block_f16, dtype_dq_block_bf16;
dtype_dequant_fn dtype_dq_block_q4_0, dtype_dq_block_q4_1, dtype_dq_block_q5_0, dtype_dq_block_q5_1,
    dtype_dq_block_q8_0, dtype_dq_block_q8_1, dtype_dq_block_iq4_nl, dtype_dq_block_mxfp4;
dtype_dequant_fn dtype_dq_block_q2_k, dtype_dq_block_q3_k, dtype_dq_block_q4_k, dtype_dq_block_q5_k,
    dtype_dq_block_q6_k, dtype_dq_block_q8_k, dtype_dq_block_iq4_xs;

#endif

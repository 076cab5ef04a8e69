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

/* Codebooks of the IQ types, packed as dtype_iq_grid.c says. */
extern const uint16_t dtype_grid_iq2_xxs[256], dtype_grid_iq2_xs[512], dtype_grid_iq2_s[1024];
extern const uint16_t dtype_grid_iq3_xxs[256], dtype_grid_iq3_s[512], dtype_grid_iq1[2048];

/* Eight indices of two bits to the bytes of a number, the first lowest. */
static inline uint64_t dtype_spread2(uint16_t code)
{
    uint64_t v = code;

    v = (v | v << 24) & 0x000000ff000000ff;
    v = (v | v << 12) & 0x000f000f000f000f;
    return (v | v << 6) & 0x0303030303030303;
}

/* Four indices of three bits to the bytes of a number. */
static inline uint32_t dtype_spread3(uint16_t code)
{
    uint32_t v = code;

    v = (v | v << 10) & 0x003f003f;
    return (v | v << 5) & 0x07070707;
}

/* A code of a codebook to the levels that it stands for, a byte each (signed for iq1). */
static inline uint64_t dtype_iq2_levels(uint16_t code)
{
    uint64_t v = dtype_spread2(code);

    return v * 17 + 0x0808080808080808 + (v >> 1 & 0x0101010101010101);
}

static inline uint32_t dtype_iq3_xxs_levels(uint16_t code)
{
    uint32_t v = dtype_spread3(code);

    return v * 8 + 0x04040404 + (v & v >> 1 & v >> 2 & 0x01010101) * 2;
}

static inline uint32_t dtype_iq3_s_levels(uint16_t code)
{
    return dtype_spread3(code) * 2 + 0x01010101;
}

static inline uint64_t dtype_iq1_levels(uint16_t code)
{
    uint64_t v = dtype_spread2(code), none = ~(v | v >> 1) & 0x0101010101010101;

    return (v >> 1 & 0x0101010101010101) | none * 255;
}

/* Eight signs, bit set for minus, from the lowest seven bits: their number is even. */
static inline unsigned dtype_iq_signs(uint32_t seven)
{
    unsigned s = seven & 127;

    return s | (unsigned)__builtin_parity(s) << 7;
}

/* The half-float scale of an IQ1_M block lies in the top bits of its four scale words. */
static inline uint16_t dtype_iq1_m_d(const uint16_t sc[4])
{
    return (uint16_t)(sc[0] >> 12 | (sc[1] >> 8 & 0xf0) | (sc[2] >> 4 & 0xf00) | (sc[3] & 0xf000));
}

/* The value of an NVFP4 scale: E4M3 without a sign. ggml reads the code for NaN as 0. */
float dtype_ue4m3(uint8_t u);

dtype_dequant_fn dtype_dq_block_f32, dtype_dq_block_f64, dtype_dq_block_f16, dtype_dq_block_bf16;
dtype_dequant_fn dtype_dq_block_q4_0, dtype_dq_block_q4_1, dtype_dq_block_q5_0, dtype_dq_block_q5_1,
    dtype_dq_block_q8_0, dtype_dq_block_q8_1, dtype_dq_block_iq4_nl, dtype_dq_block_mxfp4;
dtype_dequant_fn dtype_dq_block_q2_k, dtype_dq_block_q3_k, dtype_dq_block_q4_k, dtype_dq_block_q5_k,
    dtype_dq_block_q6_k, dtype_dq_block_q8_k, dtype_dq_block_iq4_xs;
dtype_dequant_fn dtype_dq_block_iq1_s, dtype_dq_block_iq1_m, dtype_dq_block_iq2_xxs,
    dtype_dq_block_iq2_xs, dtype_dq_block_iq2_s, dtype_dq_block_iq3_xxs, dtype_dq_block_iq3_s;
dtype_dequant_fn dtype_dq_block_tq1_0, dtype_dq_block_tq2_0, dtype_dq_block_nvfp4,
    dtype_dq_block_q1_0, dtype_dq_block_q2_0, dtype_dq_block_f8_e4m3, dtype_dq_block_f8_e5m2;

#endif

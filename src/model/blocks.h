/* blocks: the byte layout of every quantised block of ggml, one struct a type.
 *
 * A row of a tensor is an array of these, little-endian, without padding. All structs are packed,
 * so they may be read at any address; multi-byte members are 16-bit or 32-bit values in file order.
 * The asserts hold each size against the published format; dtype.def names the struct of each type
 * and nothing else in the program states a block's size.
 *
 * Conventions: d, m, dmin are IEEE half floats as bits. "low then high" means that byte j of n
 * holds element j in its low nibble and element j + n in its high nibble.
 */
#ifndef MODEL_BLOCKS_H
#define MODEL_BLOCKS_H

#include <stdint.h>

/* clang-format off */
#define BLOCK(NAME, BYTES, ...)                                                                    \
    struct NAME { __VA_ARGS__ } __attribute__((packed));                                           \
    _Static_assert(sizeof(struct NAME) == (BYTES), #NAME)

/* plain values */
BLOCK(block_f32, 4,  float v;);
BLOCK(block_f64, 8,  double v;);
BLOCK(block_f16, 2,  uint16_t v;);
BLOCK(block_bf16, 2, uint16_t v;);
BLOCK(block_f8_e4m3, 1, uint8_t v;);
BLOCK(block_f8_e5m2, 1, uint8_t v;);
BLOCK(block_i8, 1,   int8_t v;);
BLOCK(block_i16, 2,  int16_t v;);
BLOCK(block_i32, 4,  int32_t v;);
BLOCK(block_i64, 8,  int64_t v;);

/* 32 elements; 4-bit codes low then high; the fifth bit of element j is bit j of qh */
BLOCK(block_q4_0, 18, uint16_t d; uint8_t qs[16];);                          /* d * (q - 8) */
BLOCK(block_q4_1, 20, uint16_t d; uint16_t m; uint8_t qs[16];);              /* d * q + m */
BLOCK(block_q5_0, 22, uint16_t d; uint8_t qh[4]; uint8_t qs[16];);           /* d * (q - 16) */
BLOCK(block_q5_1, 24, uint16_t d; uint16_t m; uint8_t qh[4]; uint8_t qs[16];); /* d * q + m */
BLOCK(block_q8_0, 34, uint16_t d; int8_t qs[32];);                           /* d * q */
BLOCK(block_q8_1, 36, uint16_t d; uint16_t s; int8_t qs[32];);               /* d * q; s = d * sum q */
BLOCK(block_iq4_nl, 18, uint16_t d; uint8_t qs[16];);                        /* d * table[q] */
BLOCK(block_mxfp4, 17, uint8_t e; uint8_t qs[16];);                          /* 2^(e - 127) * e2m1 */

/* 256 elements ("K"): sub-blocks of 16 or 32 with scales of their own */
BLOCK(block_q2_k, 84,  uint8_t scales[16]; uint8_t qs[64]; uint16_t d; uint16_t dmin;);
BLOCK(block_q3_k, 110, uint8_t hmask[32]; uint8_t qs[64]; uint8_t scales[12]; uint16_t d;);
BLOCK(block_q4_k, 144, uint16_t d; uint16_t dmin; uint8_t scales[12]; uint8_t qs[128];);
BLOCK(block_q5_k, 176, uint16_t d; uint16_t dmin; uint8_t scales[12]; uint8_t qh[32]; uint8_t qs[128];);
BLOCK(block_q6_k, 210, uint8_t ql[128]; uint8_t qh[64]; int8_t scales[16]; uint16_t d;);
BLOCK(block_q8_k, 292, float d; int8_t qs[256]; int16_t bsums[16];);
BLOCK(block_iq4_xs, 136, uint16_t d; uint16_t scales_h; uint8_t scales_l[4]; uint8_t qs[128];);

/* 256 elements, codebook types */
BLOCK(block_iq1_s, 50,   uint16_t d; uint8_t qs[32]; uint16_t qh[8];);
BLOCK(block_iq1_m, 56,   uint8_t qs[32]; uint8_t qh[16]; uint8_t scales[8];);
BLOCK(block_iq2_xxs, 66, uint16_t d; uint16_t qs[32];);
BLOCK(block_iq2_xs, 74,  uint16_t d; uint16_t qs[32]; uint8_t scales[8];);
BLOCK(block_iq2_s, 82,   uint16_t d; uint8_t qs[64]; uint8_t qh[8]; uint8_t scales[8];);
BLOCK(block_iq3_xxs, 98, uint16_t d; uint8_t qs[96];);
BLOCK(block_iq3_s, 110,  uint16_t d; uint8_t qs[64]; uint8_t qh[8]; uint8_t signs[32]; uint8_t scales[4];);

/* ternary, binary and other small types */
BLOCK(block_tq1_0, 54, uint8_t qs[48]; uint8_t qh[4]; uint16_t d;);
BLOCK(block_tq2_0, 66, uint8_t qs[64]; uint16_t d;);
BLOCK(block_nvfp4, 36, uint8_t d[4]; uint8_t qs[32];);  /* 64 elements, a UE4M3 scale per 16 */
BLOCK(block_q1_0, 18,  uint16_t d; uint8_t qs[16];);    /* 128 elements */
BLOCK(block_q2_0, 18,  uint16_t d; uint8_t qs[16];);    /* 64 elements */
#undef BLOCK
/* clang-format on */

#endif

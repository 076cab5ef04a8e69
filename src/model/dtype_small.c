/* dtype_small: dequantisers of the ternary and binary types, of NVFP4 and of 8-bit floats.
 *
 * The 8-bit floats have no id in GGUF; they are what SafeTensors files of quantised models hold.
 * Their scales, where a model has any, are tensors of their own and none of this file's business.
 */
#include "model/dtype_int.h"

#include <string.h>

#include "model/blocks.h"

/* Five (in qs) or four (in qh) digits of base 3 a byte, as a fraction of 256: multiplying by 3
 * moves the next digit out of the top. Digits of one weight lie far apart: digit k of the 32 bytes
 * from 0 on, then of the 16 bytes from 32 on, then of qh. */
static int trit(uint8_t byte, int k)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    uint8_t fraction = (uint8_t)(byte * power[k]);

    return (fraction * 3 >> 8) - 1;
}

void dtype_dq_block_tq1_0(const void *blocks, float *out, size_t n)
{
    const struct block_tq1_0 *b = blocks;

    for (const struct block_tq1_0 *end = b + n / 256; b < end; b++) {
        float d = dtype_f16_to_f32(b->d);

        for (int k = 0; k < 5; k++)
            for (int m = 0; m < 32; m++)
                *out++ = d * (float)trit(b->qs[m], k);
        for (int k = 0; k < 5; k++)
            for (int m = 32; m < 48; m++)
                *out++ = d * (float)trit(b->qs[m], k);
        for (int k = 0; k < 4; k++)
            for (int m = 0; m < 4; m++)
                *out++ = d * (float)trit(b->qh[m], k);
    }
}

void dtype_dq_block_tq2_0(const void *blocks, float *out, size_t n)
{
    const struct block_tq2_0 *b = blocks;

    for (const struct block_tq2_0 *end = b + n / 256; b < end; b++, out += 256) {
        float d = dtype_f16_to_f32(b->d);

        for (int e = 0; e < 256; e++)
            out[e] = d * (float)((b->qs[e / 128 * 32 + e % 32] >> (2 * (e % 128 / 32)) & 3) - 1);
    }
}

void dtype_dq_block_q1_0(const void *blocks, float *out, size_t n)
{
    const struct block_q1_0 *b = blocks;

    for (const struct block_q1_0 *end = b + n / 128; b < end; b++, out += 128) {
        float d = dtype_f16_to_f32(b->d);

        for (int e = 0; e < 128; e++)
            out[e] = b->qs[e / 8] >> (e % 8) & 1 ? d : -d;
    }
}

void dtype_dq_block_q2_0(const void *blocks, float *out, size_t n)
{
    const struct block_q2_0 *b = blocks;

    for (const struct block_q2_0 *end = b + n / 64; b < end; b++, out += 64) {
        float d = dtype_f16_to_f32(b->d);

        for (int e = 0; e < 64; e++)
            out[e] = d * (float)((b->qs[e / 4] >> (2 * (e % 4)) & 3) - 1);
    }
}

static float from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

/* Four bits of exponent (bias 7) and three of fraction at the bottom of u; no infinity. */
static float e4m3(uint32_t u)
{
    uint32_t e = u >> 3 & 15, m = u & 7;

    return e ? from_bits((e + 120) << 23 | m << 20) : (float)m * 0x1p-9f;
}

float dtype_ue4m3(uint8_t u)
{
    return u == 0x7f ? 0 : e4m3(u & 0x7f);
}

void dtype_dq_block_nvfp4(const void *blocks, float *out, size_t n)
{
    const struct block_nvfp4 *b = blocks;

    for (const struct block_nvfp4 *end = b + n / 64; b < end; b++)
        for (int s = 0; s < 4; s++, out += 16) {
            float d = 0.5f * dtype_ue4m3(b->d[s]);

            for (int j = 0; j < 8; j++) {
                uint8_t q = b->qs[8 * s + j];

                out[j] = d * (float)dtype_e2m1_twice[q & 15];
                out[j + 8] = d * (float)dtype_e2m1_twice[q >> 4];
            }
        }
}

/* OCP 8-bit floating point, E4M3: the largest code of either sign is NaN, there is no infinity. */
void dtype_dq_block_f8_e4m3(const void *blocks, float *out, size_t n)
{
    const struct block_f8_e4m3 *b = blocks;

    for (size_t i = 0; i < n; i++) {
        uint8_t v = b[i].v;
        float f = (v & 0x7f) == 0x7f ? from_bits(0x7fc00000) : e4m3(v & 0x7f);

        out[i] = v & 0x80 ? -f : f;
    }
}

/* OCP 8-bit floating point, E5M2: the upper half of a half float. */
void dtype_dq_block_f8_e5m2(const void *blocks, float *out, size_t n)
{
    const struct block_f8_e5m2 *b = blocks;

    for (size_t i = 0; i < n; i++)
        out[i] = dtype_f16_to_f32((uint16_t)(b[i].v << 8));
}

/* dtype_k: dequantisers of the 256-element block types.
 *
 * A super-block holds half-float scales d (and dmin), and 8 sub-blocks of 32 or 16 of 16 elements
 * with small integer scales. The codes are interleaved so that a byte serves elements 32 apart: the
 * loops below run over element numbers and compute where each bit lies, which is slower than
 * necessary and hard to get wrong.
 */
#include "model/dtype_int.h"

#include "model/blocks.h"

enum { QK = 256 };

void dtype_k4_scale(const uint8_t scales[12], unsigned j, uint8_t *scale, uint8_t *min)
{
    if (j < 4) {
        *scale = scales[j] & 63;
        *min = scales[j + 4] & 63;
    } else {
        *scale = (uint8_t)((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
        *min = (uint8_t)((scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
    }
}

void dtype_k3_scales(const uint8_t packed[12], int8_t scales[16])
{
    for (int i = 0; i < 16; i++) {
        int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
        int high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;

        scales[i] = (int8_t)((low | high << 4) - 32);
    }
}

/* Two-bit codes of Q2_K and Q3_K: 128 elements share 32 bytes, 32 elements a shift. */
static int two_bits(const uint8_t qs[64], int e)
{
    return qs[e / 128 * 32 + e % 32] >> (2 * (e % 128 / 32)) & 3;
}

void dtype_dq_block_q2_k(const void *blocks, float *out, size_t n)
{
    const struct block_q2_k *b = blocks;

    for (const struct block_q2_k *end = b + n / QK; b < end; b++, out += QK) {
        float d = dtype_f16_to_f32(b->d), dmin = dtype_f16_to_f32(b->dmin);

        for (int e = 0; e < QK; e++) {
            uint8_t sc = b->scales[e / 16];

            out[e] = d * (float)(sc & 15) * (float)two_bits(b->qs, e) - dmin * (float)(sc >> 4);
        }
    }
}

void dtype_dq_block_q3_k(const void *blocks, float *out, size_t n)
{
    const struct block_q3_k *b = blocks;
    int8_t scales[16];

    for (const struct block_q3_k *end = b + n / QK; b < end; b++, out += QK) {
        float d = dtype_f16_to_f32(b->d);

        dtype_k3_scales(b->scales, scales);
        for (int e = 0; e < QK; e++) {
            int high = b->hmask[e % 32] >> (e / 32) & 1;

            out[e] = d * (float)scales[e / 16] * (float)(two_bits(b->qs, e) - (high ? 0 : 4));
        }
    }
}

void dtype_dq_block_q4_k(const void *blocks, float *out, size_t n)
{
    const struct block_q4_k *b = blocks;

    for (const struct block_q4_k *end = b + n / QK; b < end; b++, out += QK) {
        float d = dtype_f16_to_f32(b->d), dmin = dtype_f16_to_f32(b->dmin);

        for (unsigned j = 0; j < 8; j++) {
            uint8_t sc, m;

            dtype_k4_scale(b->scales, j, &sc, &m);
            for (unsigned l = 0; l < 32; l++) {
                int q = b->qs[j / 2 * 32 + l] >> (4 * (j % 2)) & 15;

                out[j * 32 + l] = d * (float)sc * (float)q - dmin * (float)m;
            }
        }
    }
}

void dtype_dq_block_q5_k(const void *blocks, float *out, size_t n)
{
    const struct block_q5_k *b = blocks;

    for (const struct block_q5_k *end = b + n / QK; b < end; b++, out += QK) {
        float d = dtype_f16_to_f32(b->d), dmin = dtype_f16_to_f32(b->dmin);

        for (unsigned j = 0; j < 8; j++) {
            uint8_t sc, m;

            dtype_k4_scale(b->scales, j, &sc, &m);
            for (unsigned l = 0; l < 32; l++) {
                int q = b->qs[j / 2 * 32 + l] >> (4 * (j % 2)) & 15;

                q |= (b->qh[l] >> j & 1) << 4;
                out[j * 32 + l] = d * (float)sc * (float)q - dmin * (float)m;
            }
        }
    }
}

void dtype_dq_block_q6_k(const void *blocks, float *out, size_t n)
{
    const struct block_q6_k *b = blocks;

    for (const struct block_q6_k *end = b + n / QK; b < end; b++, out += QK) {
        float d = dtype_f16_to_f32(b->d);

        for (int e = 0; e < QK; e++) {
            int half = e / 128, g = e % 128 / 32, l = e % 32;
            int low = b->ql[half * 64 + g % 2 * 32 + l] >> (4 * (g / 2)) & 15;
            int high = b->qh[half * 32 + l] >> (2 * g) & 3;

            out[e] = d * (float)b->scales[e / 16] * (float)((low | high << 4) - 32);
        }
    }
}

void dtype_dq_block_q8_k(const void *blocks, float *out, size_t n)
{
    const struct block_q8_k *b = blocks;

    for (const struct block_q8_k *end = b + n / QK; b < end; b++, out += QK)
        for (int e = 0; e < QK; e++)
            out[e] = b->d * (float)b->qs[e];
}

void dtype_dq_block_iq4_xs(const void *blocks, float *out, size_t n)
{
    const struct block_iq4_xs *b = blocks;

    for (const struct block_iq4_xs *end = b + n / QK; b < end; b++, out += QK) {
        float d = dtype_f16_to_f32(b->d);

        for (int j = 0; j < 8; j++) {
            int low = b->scales_l[j / 2] >> (4 * (j % 2)) & 15;
            int high = b->scales_h >> (2 * j) & 3;
            float ds = d * (float)((low | high << 4) - 32);

            for (int l = 0; l < 16; l++) {
                uint8_t q = b->qs[j * 16 + l];

                out[j * 32 + l] = ds * (float)dtype_iq4_levels[q & 15];
                out[j * 32 + l + 16] = ds * (float)dtype_iq4_levels[q >> 4];
            }
        }
    }
}

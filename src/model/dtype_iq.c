/* dtype_iq: dequantisers of the codebook types, 256 elements a block.
 *
 * A code names a point of a lattice (dtype_iq_grid.c): eight or four small numbers at once. Types
 * of two and three bits keep the signs apart: a byte for eight values, or seven bits whose parity
 * is the eighth sign. Scales are small odd integers over a half-float d, one per 32 or 16 values.
 * The types of one bit have signed levels and a shift by an eighth of the scale instead.
 */
#include "model/dtype_int.h"

#include <string.h>

#include "model/blocks.h"

enum { QK = 256 };

/* Values i = 0..n-1 of a spread code, d times each, negative where bit i of signs is set. */
static void put(float *out, uint64_t v, int n, unsigned signs, float d)
{
    for (int i = 0; i < n; i++) {
        float f = d * (float)(v >> (8 * i) & 255);

        out[i] = signs >> i & 1 ? -f : f;
    }
}

void dtype_dq_block_iq2_xxs(const void *blocks, float *out, size_t n)
{
    const struct block_iq2_xxs *b = blocks;

    for (const struct block_iq2_xxs *end = b + n / QK; b < end; b++) {
        float d = dtype_f16_to_f32(b->d);

        for (int s = 0; s < 8; s++) {
            const uint16_t *q = b->qs + 4 * s;
            uint32_t rest = q[2] | (uint32_t)q[3] << 16;
            float ds = d * (0.5f + (float)(rest >> 28)) * 0.25f;

            for (int g = 0; g < 4; g++, out += 8) {
                unsigned code = q[g / 2] >> (8 * (g % 2)) & 255;

                put(out, dtype_iq2_levels(dtype_grid_iq2_xxs[code]), 8,
                    dtype_iq_signs(rest >> (7 * g)), ds);
            }
        }
    }
}

void dtype_dq_block_iq2_xs(const void *blocks, float *out, size_t n)
{
    const struct block_iq2_xs *b = blocks;

    for (const struct block_iq2_xs *end = b + n / QK; b < end; b++) {
        float d = dtype_f16_to_f32(b->d);

        for (int g = 0; g < 32; g++, out += 8) {
            int scale = b->scales[g / 4] >> (4 * (g / 2 % 2)) & 15;

            put(out, dtype_iq2_levels(dtype_grid_iq2_xs[b->qs[g] & 511]), 8,
                dtype_iq_signs(b->qs[g] >> 9), d * (0.5f + (float)scale) * 0.25f);
        }
    }
}

void dtype_dq_block_iq2_s(const void *blocks, float *out, size_t n)
{
    const struct block_iq2_s *b = blocks;

    for (const struct block_iq2_s *end = b + n / QK; b < end; b++) {
        float d = dtype_f16_to_f32(b->d);

        for (int g = 0; g < 32; g++, out += 8) {
            unsigned high = b->qh[g / 4] >> (2 * (g % 4)) & 3;
            int scale = b->scales[g / 4] >> (4 * (g / 2 % 2)) & 15;

            put(out, dtype_iq2_levels(dtype_grid_iq2_s[b->qs[g] | high << 8]), 8, b->qs[32 + g],
                d * (0.5f + (float)scale) * 0.25f);
        }
    }
}

void dtype_dq_block_iq3_xxs(const void *blocks, float *out, size_t n)
{
    const struct block_iq3_xxs *b = blocks;

    for (const struct block_iq3_xxs *end = b + n / QK; b < end; b++) {
        float d = dtype_f16_to_f32(b->d);

        for (int g = 0; g < 64; g++, out += 4) {
            uint32_t rest;

            memcpy(&rest, b->qs + 64 + g / 8 * 4, sizeof rest);
            put(out, dtype_iq3_xxs_levels(dtype_grid_iq3_xxs[b->qs[g]]), 4,
                dtype_iq_signs(rest >> (7 * (g / 2 % 4))) >> (4 * (g % 2)),
                d * (0.5f + (float)(rest >> 28)) * 0.5f);
        }
    }
}

void dtype_dq_block_iq3_s(const void *blocks, float *out, size_t n)
{
    const struct block_iq3_s *b = blocks;

    for (const struct block_iq3_s *end = b + n / QK; b < end; b++) {
        float d = dtype_f16_to_f32(b->d);

        for (int g = 0; g < 64; g++, out += 4) {
            unsigned high = (unsigned)b->qh[g / 8] >> (g % 8) & 1;
            int scale = b->scales[g / 16] >> (4 * (g / 8 % 2)) & 15;

            put(out, dtype_iq3_s_levels(dtype_grid_iq3_s[b->qs[g] | high << 8]), 4,
                (unsigned)b->signs[g / 2] >> (4 * (g % 2)), d * (float)(1 + 2 * scale));
        }
    }
}

/* Eight values of one bit: d times (level + shift). */
static void put1(float *out, unsigned code, float shift, float d)
{
    uint64_t v = dtype_iq1_levels(dtype_grid_iq1[code]);

    for (int i = 0; i < 8; i++)
        out[i] = d * ((float)(int8_t)(v >> (8 * i) & 255) + shift);
}

void dtype_dq_block_iq1_s(const void *blocks, float *out, size_t n)
{
    const struct block_iq1_s *b = blocks;

    for (const struct block_iq1_s *end = b + n / QK; b < end; b++) {
        float d = dtype_f16_to_f32(b->d);

        for (int g = 0; g < 32; g++, out += 8) {
            unsigned h = b->qh[g / 4], high = h >> (3 * (g % 4)) & 7;

            put1(out, b->qs[g] | high << 8, h & 0x8000 ? -0.125f : 0.125f,
                 d * (float)(2 * (h >> 12 & 7) + 1));
        }
    }
}

void dtype_dq_block_iq1_m(const void *blocks, float *out, size_t n)
{
    const struct block_iq1_m *b = blocks;

    for (const struct block_iq1_m *end = b + n / QK; b < end; b++) {
        uint16_t sc[4];
        float d;

        memcpy(sc, b->scales, sizeof sc);
        d = dtype_f16_to_f32(dtype_iq1_m_d(sc));
        for (int g = 0; g < 32; g++, out += 8) {
            unsigned h = b->qh[g / 2] >> (4 * (g % 2)) & 15;
            int scale = sc[g / 8] >> (3 * (g / 2 % 4)) & 7;

            put1(out, b->qs[g] | (h & 7) << 8, h & 8 ? -0.125f : 0.125f,
                 d * (float)(2 * scale + 1));
        }
    }
}

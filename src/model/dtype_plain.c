/* dtype_plain: dequantisers of plain floats and of the 32-element block types.
 *
 * Each function walks whole blocks and writes the values that the format defines; the order of the
 * multiplications follows the formula in blocks.h. Nothing here is tuned: it is the definition that
 * faster paths are tested against. Blocks are packed structs and may lie at any address.
 */
#include "model/dtype_int.h"

#include <string.h>

#include "model/blocks.h"

const int8_t dtype_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
const int8_t dtype_e2m1_twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void dtype_dq_block_f32(const void *blocks, float *out, size_t n)
{
    memcpy(out, blocks, n * sizeof *out);
}

void dtype_dq_block_f64(const void *blocks, float *out, size_t n)
{
    const struct block_f64 *b = blocks;

    for (size_t i = 0; i < n; i++)
        out[i] = (float)b[i].v;
}

void dtype_dq_block_f16(const void *blocks, float *out, size_t n)
{
    const struct block_f16 *b = blocks;

    for (size_t i = 0; i < n; i++)
        out[i] = dtype_f16_to_f32(b[i].v);
}

void dtype_dq_block_bf16(const void *blocks, float *out, size_t n)
{
    const struct block_bf16 *b = blocks;

    for (size_t i = 0; i < n; i++)
        out[i] = dtype_bf16_to_f32(b[i].v);
}

void dtype_dq_block_q4_0(const void *blocks, float *out, size_t n)
{
    const struct block_q4_0 *b = blocks;

    for (const struct block_q4_0 *end = b + n / 32; b < end; b++, out += 32) {
        float d = dtype_f16_to_f32(b->d);

        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b->qs[j] & 15) - 8);
            out[j + 16] = d * (float)((b->qs[j] >> 4) - 8);
        }
    }
}

void dtype_dq_block_q4_1(const void *blocks, float *out, size_t n)
{
    const struct block_q4_1 *b = blocks;

    for (const struct block_q4_1 *end = b + n / 32; b < end; b++, out += 32) {
        float d = dtype_f16_to_f32(b->d), m = dtype_f16_to_f32(b->m);

        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(b->qs[j] & 15) + m;
            out[j + 16] = d * (float)(b->qs[j] >> 4) + m;
        }
    }
}

/* The fifth bit of element j, in place. */
static int fifth(const uint8_t qh[4], int j)
{
    return ((qh[j / 8] >> (j % 8)) & 1) << 4;
}

void dtype_dq_block_q5_0(const void *blocks, float *out, size_t n)
{
    const struct block_q5_0 *b = blocks;

    for (const struct block_q5_0 *end = b + n / 32; b < end; b++, out += 32) {
        float d = dtype_f16_to_f32(b->d);

        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(((b->qs[j] & 15) | fifth(b->qh, j)) - 16);
            out[j + 16] = d * (float)(((b->qs[j] >> 4) | fifth(b->qh, j + 16)) - 16);
        }
    }
}

void dtype_dq_block_q5_1(const void *blocks, float *out, size_t n)
{
    const struct block_q5_1 *b = blocks;

    for (const struct block_q5_1 *end = b + n / 32; b < end; b++, out += 32) {
        float d = dtype_f16_to_f32(b->d), m = dtype_f16_to_f32(b->m);

        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b->qs[j] & 15) | fifth(b->qh, j)) + m;
            out[j + 16] = d * (float)((b->qs[j] >> 4) | fifth(b->qh, j + 16)) + m;
        }
    }
}

void dtype_dq_block_q8_0(const void *blocks, float *out, size_t n)
{
    const struct block_q8_0 *b = blocks;

    for (const struct block_q8_0 *end = b + n / 32; b < end; b++, out += 32) {
        float d = dtype_f16_to_f32(b->d);

        for (int j = 0; j < 32; j++)
            out[j] = d * (float)b->qs[j];
    }
}

void dtype_dq_block_q8_1(const void *blocks, float *out, size_t n)
{
    const struct block_q8_1 *b = blocks;

    for (const struct block_q8_1 *end = b + n / 32; b < end; b++, out += 32) {
        float d = dtype_f16_to_f32(b->d);

        for (int j = 0; j < 32; j++)
            out[j] = d * (float)b->qs[j];
    }
}

void dtype_dq_block_iq4_nl(const void *blocks, float *out, size_t n)
{
    const struct block_iq4_nl *b = blocks;

    for (const struct block_iq4_nl *end = b + n / 32; b < end; b++, out += 32) {
        float d = dtype_f16_to_f32(b->d);

        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)dtype_iq4_levels[b->qs[j] & 15];
            out[j + 16] = d * (float)dtype_iq4_levels[b->qs[j] >> 4];
        }
    }
}

/* OCP Microscaling: the scale is the power of two 2^(e - 127); halved, for the table is doubled. */
static float half_e8m0(uint8_t e)
{
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

void dtype_dq_block_mxfp4(const void *blocks, float *out, size_t n)
{
    const struct block_mxfp4 *b = blocks;

    for (const struct block_mxfp4 *end = b + n / 32; b < end; b++, out += 32) {
        float d = half_e8m0(b->e);

        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)dtype_e2m1_twice[b->qs[j] & 15];
            out[j + 16] = d * (float)dtype_e2m1_twice[b->qs[j] >> 4];
        }
    }
}

/* dtype: the table of element types, look-ups in it, and half-float conversions.
 *
 * The table is dtype.def crossed with the block structs of blocks.h (sizes) and the dequantisers of
 * dtype_*.c (named after the structs). A type without a dequantiser is known by name and size, and
 * cannot be run.
 */
#include "model/dtype.h"

#include <stdio.h>
#include <string.h>

#include "model/blocks.h"
#include "model/dtype_int.h"

/* Known by name only. */
#define dtype_dq_block_i8  NULL
#define dtype_dq_block_i16 NULL
#define dtype_dq_block_i32 NULL
#define dtype_dq_block_i64 NULL

static const struct dtype_info table[DTYPE_COUNT] = {
#define DTYPE(NAME, id, text, elems, block)                                                        \
    [DTYPE_##NAME] = {text, id, elems, sizeof(struct block), dtype_dq_##block},
#include "model/dtype.def"
#undef DTYPE
};

/* Ids that once were or elsewhere are in use, so that a refusal can say what the file holds. */
static const struct {
    uint32_t from, to;
    const char *what;
} foreign[] = {
    {4, 5, "removed from ggml in 2023"},
    {31, 33, "repacked, removed from ggml"},
    {36, 38, "repacked, removed from ggml"},
    {97, 400, "private to ik_llama.cpp"},
};

const struct dtype_info *dtype_info(enum dtype t)
{
    ASSERT((unsigned)t < DTYPE_COUNT);
    return &table[t];
}

enum dtype dtype_from_ggml(uint32_t id)
{
    int t = id == DTYPE_NO_GGML ? DTYPE_COUNT : 0;

    while (t < DTYPE_COUNT && table[t].ggml_id != id)
        t++;
    return (enum dtype)t;
}

const char *dtype_ggml_name(uint32_t id, char out[48])
{
    enum dtype t = dtype_from_ggml(id);

    if (t != DTYPE_COUNT) return table[t].name;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (id < foreign[i].from || id > foreign[i].to) continue;
        snprintf(out, 48, "type %u (%s)", id, foreign[i].what);
        return out;
    }
    snprintf(out, 48, "type %u (unknown)", id);
    return out;
}

enum dtype dtype_from_name(str name)
{
    int t = 0;

    while (t < DTYPE_COUNT && !str_ieq(str_c(table[t].name), name))
        t++;
    return (enum dtype)t;
}

bool dtype_row_bytes(enum dtype t, uint64_t n, uint64_t *bytes)
{
    const struct dtype_info *i = dtype_info(t);

    if (n % i->elems != 0) return false;
    return !__builtin_mul_overflow(n / i->elems, (uint64_t)i->bytes, bytes);
}

void dtype_dequant(enum dtype t, const void *blocks, float *out, size_t n)
{
    const struct dtype_info *i = dtype_info(t);

    ASSERT(i->dequant && n % i->elems == 0);
    i->dequant(blocks, out, n);
}

static float from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

float dtype_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;

    if (rest >= 0x7c00) return from_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x0400) return from_bits(sign | ((rest << 13) + 0x38000000));
    /* subnormal: rest units of 2^-24, exact in float32 */
    return from_bits(sign | to_bits((float)rest * 0x1p-24f));
}

uint16_t dtype_f32_to_f16(float f)
{
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;

    if (mag > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff)); /* NaN, quiet */
    if (mag >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (mag < 0x38800000) {
        /* Below 2^-14: adding 0.5 aligns the units of 2^-24 with the float's last bit, so that the
         * addition itself rounds to nearest even. */
        uint32_t units = to_bits(from_bits(mag) + 0.5f) - to_bits(0.5f);

        return (uint16_t)(sign | units);
    }
    mag += 0xfff + (mag >> 13 & 1);
    return (uint16_t)(sign | (mag - 0x38000000) >> 13);
}

float dtype_bf16_to_f32(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t dtype_f32_to_bf16(float f)
{
    uint32_t u = to_bits(f);

    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40); /* NaN, quiet */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* cpu_neon: the vector functions for AArch64, whose processors all have NEON. */
#include "compute/cpu/cpu_int.h"

#include <arm_neon.h>
#include <string.h>

#define KERN      cpu_neon
#define KERN_NAME "neon"
#define VW        4
#define TILE      8 /* 16 accumulators, 2 vectors of b and a broadcast in 32 registers */

typedef float32x4_t vf;
typedef uint32x4_t vu;

#define vf_fma(a, b, c) vfmaq_f32((c), (a), (b))
#define vf_max(a, b)    vmaxq_f32((a), (b)) /* NaN where either is */
#define vf_min(a, b)    vminq_f32((a), (b))

static inline vf vf_half(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static inline void vf_to_half(uint16_t *p, vf v)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}

static inline vf vf_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}

static inline vf vf_i8(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

static inline vf vf_u4(const uint8_t *p, int shift)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    four = four >> shift & 0x0f0f0f0fu;
    uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    int32x4_t v = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
    return vcvtq_f32_s32(vsubq_s32(v, vdupq_n_s32(8)));
}

#include "compute/cpu/cpu_kern.h"

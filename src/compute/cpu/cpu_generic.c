/* cpu_generic: the vector functions in plain C, four lanes wide, for any processor. */
#include "compute/cpu/cpu_int.h"

#define KERN      cpu_generic
#define KERN_NAME "generic"
#define VW        4
#define TILE      4

typedef float vf __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));

static inline vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

static inline vf vf_max(vf a, vf b)
{
    for (int i = 0; i < VW; i++)
        b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}

static inline vf vf_min(vf a, vf b)
{
    for (int i = 0; i < VW; i++)
        b[i] = a[i] < b[i] ? a[i] : b[i];
    return b;
}

static inline vf vf_half(const uint16_t *p)
{
    return (vf){dtype_f16_to_f32(p[0]), dtype_f16_to_f32(p[1]), dtype_f16_to_f32(p[2]),
                dtype_f16_to_f32(p[3])};
}

static inline void vf_to_half(uint16_t *p, vf v)
{
    for (int i = 0; i < VW; i++)
        p[i] = dtype_f32_to_f16(v[i]);
}

static inline vf vf_bf16(const uint16_t *p)
{
    return (vf){dtype_bf16_to_f32(p[0]), dtype_bf16_to_f32(p[1]), dtype_bf16_to_f32(p[2]),
                dtype_bf16_to_f32(p[3])};
}

static inline vf vf_i8(const int8_t *p)
{
    return (vf){p[0], p[1], p[2], p[3]};
}

static inline vf vf_u4(const uint8_t *p, int shift)
{
    vf v;
    for (int i = 0; i < VW; i++)
        v[i] = (float)((p[i] >> shift & 15) - 8);
    return v;
}

#include "compute/cpu/cpu_kern.h"

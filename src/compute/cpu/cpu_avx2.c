/* cpu_avx2: the vector functions for AVX2 with FMA and F16C. */
#include "compute/cpu/cpu_int.h"

#include <immintrin.h>

#define KERN      cpu_avx2
#define KERN_NAME "avx2"
#define VW        8
#define TILE      6 /* 12 accumulators, 2 vectors of b and a broadcast in 16 registers */

typedef __m256 vf;
typedef uint32_t vu __attribute__((vector_size(32)));

#define vf_fma(a, b, c) _mm256_fmadd_ps((a), (b), (c))
#define vf_max(a, b)    _mm256_max_ps((a), (b))
#define vf_min(a, b)    _mm256_min_ps((a), (b))

static inline vf vf_half(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline void vf_to_half(uint16_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#include "compute/cpu/cpu_kern.h"

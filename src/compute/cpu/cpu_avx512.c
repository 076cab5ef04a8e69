/* cpu_avx512: the vector functions for AVX-512. */
#include "compute/cpu/cpu_int.h"

#include <immintrin.h>

#define KERN      cpu_avx512
#define KERN_NAME "avx512-vnni" /* mat's half of this instruction set needs VNNI */
#define VW        16
#define TILE      12 /* 24 accumulators, 2 vectors of b and a broadcast in 32 registers */

typedef __m512 vf;
typedef uint32_t vu __attribute__((vector_size(64)));

#define vf_fma(a, b, c) _mm512_fmadd_ps((a), (b), (c))
#define vf_max(a, b)    _mm512_max_ps((a), (b))
#define vf_min(a, b)    _mm512_min_ps((a), (b))

static inline vf vf_half(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline void vf_to_half(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#include "compute/cpu/cpu_kern.h"

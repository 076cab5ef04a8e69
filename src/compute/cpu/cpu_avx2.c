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

static inline vf vf_bf16(const uint16_t *p)
{
    __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

static inline vf vf_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

static inline vf vf_u4(const uint8_t *p, int shift)
{
    __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    v = _mm256_and_si256(_mm256_srli_epi32(v, shift), _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(v, _mm256_set1_epi32(8)));
}

#include "compute/cpu/cpu_kern.h"

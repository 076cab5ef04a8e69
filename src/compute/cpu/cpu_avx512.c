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

static inline vf vf_bf16(const uint16_t *p)
{
    __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}

static inline vf vf_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

static inline vf vf_u4(const uint8_t *p, int shift)
{
    __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
    v = _mm512_and_si512(_mm512_srli_epi32(v, (unsigned)shift), _mm512_set1_epi32(15));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(v, _mm512_set1_epi32(8)));
}

#include "compute/cpu/cpu_kern.h"

/* mat_neon: mat for every AArch64 processor: bytes are multiplied to 16 bits
 * and added in pairs. Two products of bytes within +-128 and +-127 fit 16 bits.
 */
#include "compute/cpu/mat.h"

#define OPS              mat_ops_neon
#define DOT16(acc, a, b) dot16((acc), (a), (b))

#include <arm_neon.h>

static inline __attribute__((always_inline)) int32x4_t dot16(int32x4_t acc, int8x16_t a,
                                                             int8x16_t b)
{
    int16x8_t p = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    return vpadalq_s16(acc, vmlal_s8(p, vget_high_s8(a), vget_high_s8(b)));
}

#include "compute/cpu/mat_dot_neon.h"
